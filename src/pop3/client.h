/* The reader's side of POP3 (RFC 1939): one machine for `thurn fetch` and the tests.
 *
 * It greets, asks CAPA, upgrades to TLS (STLS), logs in by the best SASL mechanism both sides know (USER and PASS when
 * there is none), then runs commands. Lines and listings are limited, message bodies pass through in pieces; what stands
 * behind STLS's answer is dropped, and SCRAM's server signature is checked. */
#ifndef THURN_POP3_CLIENT_H
#define THURN_POP3_CLIENT_H

#include "base/fault.h"
#include "wire/machine.h"

enum { POP3_CLIENT_LINE_MAX = 8192, POP3_CLIENT_LISTING_MAX = 10 * 1000 * 1000 };

struct pop3_client_options {
    enum pop3_client_tls { POP3_CLIENT_TLS_NEVER, POP3_CLIENT_TLS_MUST, POP3_CLIENT_TLS_IMPLICIT } tls;
    struct slice user, password;
    bool plain_without_tls;
    struct slice nonce;             /* fresh randomness for SCRAM, at least 18 bytes */
};

enum pop3_client_ask {
    POP3_CLIENT_ASK_NONE,
    POP3_CLIENT_ASK_READY,          /* logged in, nothing under way: pop3_client_command or pop3_client_quit */
    POP3_CLIENT_ASK_LINE,           /* a line of a listing: pop3_client_line, then pop3_client_next */
    POP3_CLIENT_ASK_PIECE,          /* bytes of a message, dots removed: pop3_client_piece, then pop3_client_next */
    POP3_CLIENT_ASK_DONE,           /* the command ended: pop3_client_result, then pop3_client_next */
};

enum pop3_reply_kind { POP3_REPLY_LINE, POP3_REPLY_LISTING, POP3_REPLY_MESSAGE };

struct pop3_client_result {
    enum rc rc;                     /* RC_OK; RC_TEMP for -ERR [SYS/TEMP] and [IN-USE]; RC_PERM for any other -ERR */
    struct slice text;              /* of the first line, until the next command */
};

struct pop3_client;
struct pop3_client *pop3_client_new(const struct pop3_client_options *, const struct peer *);
void pop3_client_free(struct pop3_client *);
enum want pop3_client_step(struct pop3_client *, struct slice *in);
enum pop3_client_ask pop3_client_ask(const struct pop3_client *);
struct buf *pop3_client_output(struct pop3_client *);
void pop3_client_tls_started(struct pop3_client *);
/* Why it ended (WANT_CLOSE): NULL after a QUIT that was answered +OK. */
const struct fault *pop3_client_fault(const struct pop3_client *);

/* "RETR 7": our own words and numbers only. */
void pop3_client_command(struct pop3_client *, const char *command, enum pop3_reply_kind);
void pop3_client_quit(struct pop3_client *);
void pop3_client_next(struct pop3_client *);
struct slice pop3_client_line(const struct pop3_client *);
struct slice pop3_client_piece(const struct pop3_client *);
const struct pop3_client_result *pop3_client_result(const struct pop3_client *);
bool pop3_client_has(const struct pop3_client *, struct slice capability);       /* "UIDL" */
const char *pop3_client_mechanism(const struct pop3_client *);

#endif
