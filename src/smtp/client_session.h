/* What the two files of the SMTP client share: client.c has the session (greeting, TLS, AUTH, the step loop),
 * transaction.c the messages. Nobody else includes this. */
#ifndef THURN_SMTP_CLIENT_SESSION_H
#define THURN_SMTP_CLIENT_SESSION_H

#include "smtp/client.h"
#include "smtp/reply_reader.h"
#include "wire/dot.h"

enum {
    CLIENT_OUTPUT_MAX = 64 * 1024,
    CLIENT_OUTPUT_ROOM = 4096,      /* no command is longer, but for AUTH messages */
    CLIENT_EXTENSIONS_MAX = 64,     /* further ones are not seen */
    CLIENT_TEXT_MAX = 1024,         /* of a reply, kept in an outcome */
    CLIENT_PIPELINE_MAX = 100,      /* commands under way: their replies fit any socket's buffers, so neither side
                                       can wait for the other to read (RFC 2920 3.1) */
};

enum client_stage {
    CLIENT_GREETING, CLIENT_EHLO, CLIENT_HELO, CLIENT_STARTTLS, CLIENT_TLS, CLIENT_AUTH, CLIENT_READY,
    CLIENT_RSET,                    /* clearing up behind the message before */
    CLIENT_ENVELOPE,                /* MAIL, RCPTs, DATA: sent and answered, perhaps pipelined */
    CLIENT_TEXT,                    /* DATA goes out */
    CLIENT_CHUNK,                   /* a BDAT chunk goes out, then its reply comes in */
    CLIENT_FINAL,                   /* the reply, or LMTP's replies, to the message */
    CLIENT_LONE_DOT,                /* the reply to a message for nobody */
    CLIENT_DONE,                    /* outcomes wait to be taken */
    CLIENT_QUIT, CLIENT_CLOSED, CLIENT_STAGES
};

struct client_rcpt {
    bool is_left_out;               /* cannot be sent to this server */
    bool is_taken;
    bool is_decided;                /* its outcome stands */
};

struct smtp_client {
    struct smtp_client_options options;
    const struct peer *peer;
    enum client_stage stage;
    enum smtp_client_ask ask;
    struct buf output;
    struct smtp_reply_reader reader;
    struct arena arena;             /* of the session */
    struct slice greeting;
    struct slice extensions[CLIENT_EXTENSIONS_MAX];
    size_t extension_count;
    struct arena extension_arena;   /* forgotten with each EHLO */
    struct arena sasl_arena;
    struct sasl_client *sasl;
    bool has_tls_failed;            /* STARTTLS was refused: goes on without */
    bool has_authenticated;
    bool is_over;                   /* the connection is of no more use */
    bool has_session_outcome;
    struct smtp_outcome session_outcome;

    bool needs_rset;
    const struct smtp_message *message;
    struct arena message_arena;
    struct smtp_outcome *outcomes;
    struct client_rcpt *rcpts;
    size_t sent, replied;           /* of the commands of the envelope: 0 MAIL, 1.. RCPT, then DATA */
    size_t taken_count;
    size_t final_at;                /* LMTP: whose reply is next */
    bool has_mail_failed;
    bool uses_bdat;
    struct dot_writer dots;
    struct slice piece;             /* of the body, still to be sent */
};

/* ---- client.c ---- */

bool client_find_extension(const struct smtp_client *, struct slice keyword, struct slice *parameters);
struct smtp_outcome client_outcome_of(struct arena *, const struct smtp_reply *);
/* Our own words. */
struct smtp_outcome client_outcome_own(enum rc, uint32_t esc, const char *text);
/* The connection is of no more use: what is unfinished gets this outcome. */
void client_fail(struct smtp_client *, struct smtp_outcome);
void client_ready(struct smtp_client *);

/* ---- transaction.c ---- */

bool client_pump_envelope(struct smtp_client *);            /* true: something was sent */
void client_on_rset(struct smtp_client *, const struct smtp_reply *);
void client_on_envelope(struct smtp_client *, const struct smtp_reply *);
bool client_pump_text(struct smtp_client *);
bool client_pump_chunk(struct smtp_client *);
void client_on_early(struct smtp_client *, const struct smtp_reply *);
void client_on_chunk(struct smtp_client *, const struct smtp_reply *);
void client_on_final(struct smtp_client *, const struct smtp_reply *);
void client_on_lone_dot(struct smtp_client *, const struct smtp_reply *);
void client_decide_open(struct smtp_client *, struct smtp_outcome);     /* the outcome of every recipient without one */

#endif
