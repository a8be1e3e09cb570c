/* IMAP after login (RFC 3501 and the extensions in doc/rfc.md), in the post role, straight on the store.
 *
 * A machine like all others. Where a command has to wait until its change is on stable storage, step returns
 * WANT_ANSWER and imap_session_wait() is the store position: the driver steps again when store_settled() no longer says
 * RC_MORE (imap_session_answer). In IDLE it returns WANT_INPUT and has a watch on its view: the driver's `wake` is called
 * from store_poll when there is news; it then steps the session with no input.
 * Output is bounded: a long FETCH returns WANT_FLUSH as often as it has to and goes on where it was. WANT_FLUSH with
 * nothing in the output means "step me again soon": a SEARCH lets others have their turn. The driver's input must hold
 * IMAP_LINE_MAX and CRLF. */
#ifndef THURN_IMAP_SESSION_H
#define THURN_IMAP_SESSION_H

#include "store/store.h"
#include "wire/machine.h"

enum {
    IMAP_LINE_MAX = 65536,              /* a command line without its literals */
    IMAP_LITERAL_MAX = 65536,           /* any literal but a message */
    IMAP_COMMAND_MAX = 1024 * 1024,     /* a whole command, a message's literal apart */
    IMAP_OUTPUT_MAX = 256 * 1024,       /* WANT_FLUSH at half of it, and never more than that at a time */
    IMAP_ERRORS_MAX = 50,               /* bad commands in a row, then BYE */
};

struct imap_session_options {
    struct store *store;
    uint64_t account;
    struct slice account_name;          /* for logs and ID */
    struct slice host_name;
    uint64_t quota_bytes;               /* 0: none */
    uint64_t append_max;                /* of a message */
    uint64_t hash_seed[2];
    struct slice tag;                   /* of the login command: its tagged OK is this session's first output */
    bool was_login;
    void (*wake)(void *arg);
    void *wake_arg;
};

struct imap_session;
struct imap_session *imap_session_new(const struct imap_session_options *);
void imap_session_free(struct imap_session *);
enum want imap_session_step(struct imap_session *, struct slice *in, struct mail_date now);
uint64_t imap_session_wait(const struct imap_session *);
void imap_session_answer(struct imap_session *, enum rc settled);
struct buf *imap_session_output(struct imap_session *);
/* "* BYE text", unless the session is in the middle of an answer; then WANT_CLOSE. What is to go out is in the output. */
void imap_session_stop(struct imap_session *, const char *text);
/* Seconds of silence before auto-logout: 30 minutes (RFC 3501 5.4). */
unsigned imap_session_timeout_s(const struct imap_session *);

#endif
