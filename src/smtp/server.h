/* The receiving side of SMTP (RFC 5321), message submission (RFC 6409) and LMTP (RFC 2033): one machine, three faces.
 *
 * The machine parses and answers; everything it cannot know it asks (ask): whether a sender, a recipient, a body is
 * taken, whether credentials are good. Body bytes leave through SMTP_BODY questions as slices, dots and chunk framing
 * removed, header fix-ups of submission and trace headers put in front.
 *
 * Promises: pipelined commands are answered in order; only CRLF "." CRLF ends DATA; a bare CR or LF in DATA text makes
 * the message refused after its true end (550 5.6.11); bytes after STARTTLS's CRLF are never interpreted; no AUTH
 * without TLS unless the options say so; no reply is built from unescaped input; memory is bounded by the limits below. */
#ifndef THURN_SMTP_SERVER_H
#define THURN_SMTP_SERVER_H

#include "base/arena.h"
#include "base/fault.h"
#include "mail/address.h"
#include "mail/date.h"
#include "sasl/sasl.h"
#include "wire/machine.h"

enum {
    SMTP_LINE_MAX = 4096,           /* a command line: 512 in RFC 5321 4.5.3.1.4, more for extensions and AUTH */
    SMTP_AUTH_LINE_MAX = 12288,     /* RFC 4954 4 */
    SMTP_RECIPIENTS_MAX = 1000,     /* a transaction; 452 4.5.3 past it (RFC 5321 4.5.3.1.8 wants at least 100) */
    SMTP_ERRORS_MAX = 20,           /* then 421 */
    SMTP_AUTH_FAILURES_MAX = 3,     /* then 421 */
    SMTP_OUTPUT_MAX = 64 * 1024,
};

enum smtp_face { SMTP_MX, SMTP_SUBMISSION, SMTP_LMTP };

struct smtp_server_options {
    enum smtp_face face;
    struct slice host_name;
    uint64_t size_max;              /* of a message; announced as SIZE; 0: no limit */
    bool offers_tls;                /* a certificate is there and TLS is not active from the start */
    bool auth_without_tls;          /* on loopback, by setting */
    bool requires_auth;             /* submission: MAIL before AUTH is 530 5.7.0 */
    uint32_t recipients_max;        /* 0: SMTP_RECIPIENTS_MAX */
};

enum smtp_body { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME, SMTP_BODY_BINARYMIME };
enum { NOTIFY_DEFAULT = 0, NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum smtp_ret { SMTP_RET_DEFAULT, SMTP_RET_FULL, SMTP_RET_HDRS };

struct smtp_mail {                  /* MAIL FROM and its parameters */
    struct address reverse_path;
    uint64_t size;                  /* declared; 0: not */
    enum smtp_body body;
    bool is_utf8;                   /* SMTPUTF8 */
    enum smtp_ret ret;
    struct slice envid;             /* xtext decoded */
};

struct smtp_rcpt {
    struct address forward_path;
    unsigned notify;                /* NOTIFY_* */
    struct slice orcpt;             /* "rfc822;..." decoded, or empty */
};

enum smtp_ask_kind {
    SMTP_ASK_NONE,
    SMTP_ASK_AUTH,          /* auth_mechanism, has_message, message: begin (is_auth_start: whatever was going on is forgotten)
                               or continue; answer with smtp_server_answer_auth. Wipe your copies of the message */
    SMTP_ASK_MAIL,          /* mail, helo; answer rc; on OK give the message id (text for Received and the final reply) */
    SMTP_ASK_RCPT,          /* rcpt; answer rc */
    SMTP_ASK_BODY,          /* body: bytes of the message; it may point into the input given to step, so the driver leaves
                               the input's memory alone until it has answered; answer rc (RC_TEMP/RC_PERM: the rest is
                               read and dropped and that refusal is the final reply). prefix_bytes on the first one */
    SMTP_ASK_COMMIT,        /* all of the body has been handed over; answer rc (LMTP: smtp_server_answer_recipients) */
    SMTP_ASK_ABANDON,       /* the transaction is over without commit (RSET, HELO, QUIT, refusal): answer RC_OK. Every MAIL
                               that was answered RC_OK ends in exactly one COMMIT or ABANDON, unless the connection ends
                               under it */
    SMTP_ASK_VRFY,          /* rcpt.forward_path; answer rc; RC_NONE: we do not tell (252) */
};

struct smtp_ask {
    enum smtp_ask_kind kind;
    const struct smtp_mail *mail;
    const struct smtp_rcpt *rcpt;
    struct slice body;
    uint32_t trace_bytes;           /* SMTP_ASK_BODY, first one: so many bytes at the front are Return-Path for the
                                       mailbox; a relay leaves them out */
    uint64_t body_bytes;            /* SMTP_ASK_COMMIT: total handed over */
    bool has_8bit;                  /* SMTP_ASK_COMMIT: what a next hop must be able to take */
    bool has_long_line;             /* SMTP_ASK_COMMIT: a line over 998 bytes */
    bool has_bare_eol;              /* SMTP_ASK_COMMIT: bare CR, LF or NUL (BINARYMIME only) */
    bool lacks_final_eol;           /* SMTP_ASK_COMMIT: does not end with CRLF (BDAT only) */
    struct slice header_from;       /* SMTP_ASK_COMMIT, submission: body of the first From field, raw, folding kept; empty
                                       when there is none or it has more than 4096 bytes */
    unsigned header_from_count;     /* From fields seen */
    bool has_utf8_header;           /* SMTP_ASK_COMMIT: header holds 8-bit: next hop needs SMTPUTF8 (when mail->is_utf8) */
    enum sasl_mechanism auth_mechanism;
    bool is_auth_start;
    bool has_message;
    struct slice message;           /* decoded */
};

struct smtp_server;

/* Lives in its own memory, bounded; free with smtp_server_free. peer and options outlive it. */
struct smtp_server *smtp_server_new(const struct smtp_server_options *, const struct peer *);
void smtp_server_free(struct smtp_server *);
/* The driver gives the time of day with each step (for Received and Date). */
enum want smtp_server_step(struct smtp_server *, struct slice *in, struct mail_date now);
const struct smtp_ask *smtp_server_ask(const struct smtp_server *);
/* Continues. The fault gives code class, enhanced status and text of a refusal; NULL or RC_OK: accepted.
 * message_id: with MAIL's RC_OK, at most 32 characters of [A-Za-z0-9]. */
void smtp_server_answer(struct smtp_server *, enum rc, const struct fault *, struct slice message_id);
/* LMTP after COMMIT: one outcome per accepted recipient, in order. */
void smtp_server_answer_recipients(struct smtp_server *, const struct fault *outcomes, size_t count);
/* AUTH: SASL_CHALLENGE with the bytes to send; SASL_OK with the user's name (at most 255 bytes); SASL_FAILED with the fault (RC_TEMP:
 * 454 4.7.0, RC_PERM: 535 5.7.8). */
void smtp_server_answer_auth(struct smtp_server *, enum sasl_state, struct slice bytes, const struct fault *);
struct buf *smtp_server_output(struct smtp_server *);
/* The peer struct has been updated after a successful handshake: all knowledge from before is forgotten (RFC 3207 4.2). */
void smtp_server_tls_started(struct smtp_server *);
/* Time-out, shutdown: the next steps say 421 with that text (at most 127 bytes) and close; in the middle of a body they
 * just close. A question that stands is still to be answered, a message that is there to its last byte still gets its
 * reply, and an open transaction is abandoned. */
void smtp_server_stop(struct smtp_server *, const char *text);
bool smtp_server_is_idle(const struct smtp_server *);       /* no transaction is open: may be stopped without harm */
/* For logs and Received. */
struct slice smtp_server_user(const struct smtp_server *);  /* authenticated name or empty */
struct slice smtp_server_helo(const struct smtp_server *);

#endif
