/* The sending side of SMTP, submission and LMTP: one machine for the out role, `thurn send` and the tests.
 *
 * A client session greets, upgrades to TLS when it may, authenticates when it has to, then transmits any number of
 * messages, each to recipients that share it. It pipelines where the server allows, prefers BDAT when the message needs
 * it, and downgrades nothing silently: a message that needs an extension the server lacks fails with the right status
 * (5.6.3 8BITMIME/BINARYMIME conversion not supported - 8-bit text is sent as it is to servers without 8BITMIME only when
 * options allow -, 5.6.7 SMTPUTF8). Outcomes are per recipient. */
#ifndef THURN_SMTP_CLIENT_H
#define THURN_SMTP_CLIENT_H

#include "base/arena.h"
#include "base/fault.h"
#include "smtp/server.h"        /* struct smtp_mail, struct smtp_rcpt */
#include "wire/machine.h"

struct smtp_client_options {
    struct slice helo;              /* our name */
    bool is_lmtp;
    enum { SMTP_TLS_NEVER, SMTP_TLS_MAY, SMTP_TLS_MUST, SMTP_TLS_IMPLICIT } tls;
    struct slice user, password;    /* empty: no AUTH */
    bool plain_without_tls;
    bool sends_8bit_anyway;         /* to servers without 8BITMIME too, as it is */
    struct slice nonce;             /* fresh randomness for SCRAM, at least 18 bytes */
};

struct smtp_outcome {               /* of one recipient, or of the session */
    enum rc rc;
    uint32_t esc;                   /* enhanced status, the remote's or ours */
    int code;                       /* SMTP reply code; 0: no reply */
    struct slice text;              /* the remote's reply text, lines joined by SP; or our own */
    bool is_remote;                 /* text is what the remote said */
};

struct smtp_message {
    struct smtp_mail mail;
    struct smtp_rcpt *rcpts;
    size_t rcpt_count;
    uint64_t size;                  /* exact, bytes to come */
    bool has_8bit, has_long_line, has_bare_eol, needs_utf8;
    bool lacks_final_eol;           /* goes by BDAT where it can; DATA adds a line end */
};

enum smtp_client_ask {
    SMTP_CLIENT_ASK_NONE,
    SMTP_CLIENT_ASK_MESSAGE,        /* ready: smtp_client_send or smtp_client_quit (or wait, keeping the connection) */
    SMTP_CLIENT_ASK_BODY,           /* give the next piece: smtp_client_body; an empty slice ends it */
    SMTP_CLIENT_ASK_DONE,           /* outcomes are there: smtp_client_outcomes, then smtp_client_next */
};

struct smtp_client;
/* The options are copied; what they point to, and the peer, outlive the client. */
struct smtp_client *smtp_client_new(const struct smtp_client_options *, const struct peer *);
void smtp_client_free(struct smtp_client *);
/* While ASK_MESSAGE stands, or ASK_BODY, the driver may step again when the server says something unasked (421). */
enum want smtp_client_step(struct smtp_client *, struct slice *in);
enum smtp_client_ask smtp_client_ask(const struct smtp_client *);
struct buf *smtp_client_output(struct smtp_client *);
void smtp_client_tls_started(struct smtp_client *);
/* The handshake failed: the session is over; with SMTP_TLS_MAY the caller may connect again with SMTP_TLS_NEVER. */
void smtp_client_tls_failed(struct smtp_client *, const char *why);
/* The message lives until its outcomes have been taken. */
void smtp_client_send(struct smtp_client *, const struct smtp_message *);
void smtp_client_body(struct smtp_client *, struct slice piece);        /* consumed by the next steps; must live until asked again */
const struct smtp_outcome *smtp_client_outcomes(const struct smtp_client *, size_t *count);
/* ASK_MESSAGE again, or WANT_CLOSE when the session is over. */
void smtp_client_next(struct smtp_client *);
void smtp_client_quit(struct smtp_client *);            /* at ASK_MESSAGE */
/* The connection ended (or timed out, or has to be cut because the body cannot be had to its end) under it: everything
 * unfinished gets that temporary outcome, then ASK_DONE. */
void smtp_client_lost(struct smtp_client *, const char *why);
/* Set when the session itself failed (greeting, EHLO, AUTH, TLS, 421, connection lost), else NULL: all messages that are
 * not sent yet share this outcome. */
const struct smtp_outcome *smtp_client_session_outcome(const struct smtp_client *);
struct slice smtp_client_greeting(const struct smtp_client *);
/* What it has logged in by: "SCRAM-SHA-256", "PLAIN", ...; "" when it has not. */
const char *smtp_client_mechanism(const struct smtp_client *);
bool smtp_client_has_extension(const struct smtp_client *, struct slice keyword);
/* Seconds the peer may take for what is awaited now (RFC 5321 4.5.3.2). */
unsigned smtp_client_timeout_s(const struct smtp_client *);

#endif
