/* POP3 before login (RFC 1939 4, RFC 2449, RFC 2595, RFC 5034): greeting, CAPA, USER, PASS, AUTH, STLS, QUIT.
 * Runs in the edge role; see imap/login.h, which this mirrors. APOP needs the password in clear and is not offered. */
#ifndef THURN_POP3_LOGIN_H
#define THURN_POP3_LOGIN_H

#include "sasl/sasl.h"
#include "wire/machine.h"

struct pop3_login_options {
    struct slice host_name;
    bool offers_tls;
    bool auth_without_tls;
};

enum pop3_login_ask_kind { POP3_LOGIN_ASK_NONE, POP3_LOGIN_ASK_AUTH, POP3_LOGIN_DONE };

struct pop3_login_ask {
    enum pop3_login_ask_kind kind;      /* DONE: the session sends the +OK (or -ERR [IN-USE], [SYS/TEMP]) */
    enum sasl_mechanism mechanism;      /* USER and PASS come as SASL_PLAIN */
    bool is_start, has_message;
    struct slice message;
};

struct pop3_login;
struct pop3_login *pop3_login_new(const struct pop3_login_options *, const struct peer *);
void pop3_login_free(struct pop3_login *);
enum want pop3_login_step(struct pop3_login *, struct slice *in);
const struct pop3_login_ask *pop3_login_ask(const struct pop3_login *);
void pop3_login_answer_auth(struct pop3_login *, enum sasl_state, struct slice bytes, const struct fault *);
struct buf *pop3_login_output(struct pop3_login *);
void pop3_login_tls_started(struct pop3_login *);
void pop3_login_stop(struct pop3_login *, const char *text);

#endif
