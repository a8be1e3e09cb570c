/* IMAP before login (RFC 3501 6.1, 6.2): greeting, CAPABILITY, NOOP, LOGOUT, ID, STARTTLS, LOGIN, AUTHENTICATE.
 *
 * Runs in the edge role, on strangers' bytes. After a login everything further belongs to the session in the post role:
 * the machine hands over with IMAP_LOGIN_DONE, and the bytes not yet consumed go along. */
#ifndef THURN_IMAP_LOGIN_H
#define THURN_IMAP_LOGIN_H

#include "sasl/sasl.h"
#include "wire/machine.h"

struct imap_login_options {
    struct slice host_name;
    bool offers_tls;            /* STARTTLS possible */
    bool auth_without_tls;      /* else LOGINDISABLED until TLS */
};

enum imap_login_ask_kind {
    IMAP_LOGIN_ASK_NONE,
    IMAP_LOGIN_ASK_AUTH,        /* mechanism, is_start, has_message, message: as in smtp_ask; LOGIN comes as SASL_PLAIN */
    IMAP_LOGIN_DONE,            /* logged in: the driver opens the session with `tag`; output has been sent but the tagged OK
                                   has not: the session sends it (with its capabilities), so that refusal is still possible */
};

struct imap_login_ask {
    enum imap_login_ask_kind kind;
    enum sasl_mechanism mechanism;
    bool is_start, has_message;
    struct slice message;
    struct slice tag;           /* of the command that logged in */
    bool was_login;             /* LOGIN rather than AUTHENTICATE */
};

struct imap_login;
struct imap_login *imap_login_new(const struct imap_login_options *, const struct peer *);
void imap_login_free(struct imap_login *);
enum want imap_login_step(struct imap_login *, struct slice *in);
const struct imap_login_ask *imap_login_ask(const struct imap_login *);
void imap_login_answer_auth(struct imap_login *, enum sasl_state, struct slice bytes, const struct fault *);
struct buf *imap_login_output(struct imap_login *);
void imap_login_tls_started(struct imap_login *);
void imap_login_stop(struct imap_login *, const char *text);       /* "* BYE text" */

#endif
