/* The reader's side of IMAP (RFC 3501): one machine for `thurn fetch`, `import`, `export` and the tests.
 *
 * It greets, upgrades to TLS, logs in by the best mechanism both sides know (LOGIN when there is none), then runs commands;
 * what the server says comes as questions, one at a time. It trusts no server: lines, literals, nesting and counts are
 * limited, a PREAUTH greeting where STARTTLS was due is refused (RFC 9051 11.1), what stands behind STARTTLS's answer is
 * dropped, and SCRAM's server signature is checked.
 * Memory is bounded: message bodies pass through in pieces and are never held. */
#ifndef THURN_IMAP_CLIENT_H
#define THURN_IMAP_CLIENT_H

#include "imap/response.h"
#include "wire/machine.h"

enum {
    IMAP_CLIENT_LINE_MAX = 256 * 1024,          /* the driver's input must hold that much and CRLF */
    IMAP_CLIENT_RESPONSE_MAX = 1024 * 1024,     /* a whole response, bodies apart */
    IMAP_CLIENT_IN_FLIGHT_MAX = 32,
};

struct imap_client_options {
    enum imap_client_tls { IMAP_CLIENT_TLS_NEVER, IMAP_CLIENT_TLS_MUST, IMAP_CLIENT_TLS_IMPLICIT } tls;
    struct slice user, password;
    bool plain_without_tls;
    struct slice nonce;             /* fresh randomness for SCRAM, at least 18 bytes */
    unsigned in_flight;             /* commands under way at once, up to the maximum; 0 is 1 */
};

enum imap_client_ask {
    IMAP_CLIENT_ASK_NONE,
    IMAP_CLIENT_ASK_READY,      /* logged in: imap_client_command, _append, _logout, or _wait for those under way */
    IMAP_CLIENT_ASK_RESPONSE,   /* an untagged response: look at it, then imap_client_next */
    IMAP_CLIENT_ASK_PIECE,      /* bytes of the body in the response that comes when its body is through; then imap_client_next */
    IMAP_CLIENT_ASK_BODY,       /* APPEND: the next piece of the message: imap_client_body; `size` bytes in all */
    IMAP_CLIENT_ASK_DONE,       /* a command ended: imap_client_result, then imap_client_next */
};

struct imap_client_result {
    uint32_t command;           /* as imap_client_command returned it */
    enum rc rc;                 /* RC_OK; RC_PERM for NO and BAD */
    struct slice code, text;    /* until imap_client_next */
};

struct imap_client;
struct imap_client *imap_client_new(const struct imap_client_options *, const struct peer *);
void imap_client_free(struct imap_client *);
enum want imap_client_step(struct imap_client *, struct slice *in);
enum imap_client_ask imap_client_ask(const struct imap_client *);
struct buf *imap_client_output(struct imap_client *);
void imap_client_tls_started(struct imap_client *);
/* Why it ended (WANT_CLOSE): NULL after a clean logout. */
const struct fault *imap_client_fault(const struct imap_client *);

/* Starts a command; "%m" stands for the mailbox (UTF-8). 0: the name cannot be a mailbox's; nothing was sent. */
uint32_t imap_client_command(struct imap_client *, const char *command, struct slice mailbox);
/* The same with a name as a server spelled it (imap_response.wire_name). */
uint32_t imap_client_command_raw(struct imap_client *, const char *command, struct slice wire_name);
/* APPEND of `size` bytes; flags "(\Seen keyword)" or "". */
uint32_t imap_client_append(struct imap_client *, struct slice mailbox, struct slice flags, const struct mail_date *, uint64_t size);
void imap_client_body(struct imap_client *, struct slice piece);    /* not empty; lives until asked again */
void imap_client_wait(struct imap_client *);
void imap_client_logout(struct imap_client *);
void imap_client_next(struct imap_client *);

const struct imap_response *imap_client_response(const struct imap_client *);
struct slice imap_client_piece(const struct imap_client *, uint32_t *number);      /* number: the message's sequence number */
const struct imap_client_result *imap_client_result(const struct imap_client *);
unsigned imap_client_in_flight(const struct imap_client *);
bool imap_client_has(const struct imap_client *, struct slice capability);
const char *imap_client_mechanism(const struct imap_client *);      /* "SCRAM-SHA-256", "LOGIN", ... */

#endif
