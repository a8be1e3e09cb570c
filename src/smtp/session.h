/* What the files of the SMTP server share: the session's state and its parts. Nobody else includes this.
 *
 *     server.c   the step loop, the verb table and the verbs
 *     params.c   parameters of MAIL and RCPT
 *     auth.c     the AUTH exchange
 *     body.c     DATA and BDAT: from the connection to the questions
 *     reply.c    replies, and what reply a fault becomes
 *     header.c   the filter that the header section passes through (smtp/header.h) */
#ifndef THURN_SMTP_SESSION_H
#define THURN_SMTP_SESSION_H

#include "smtp/header.h"
#include "smtp/server.h"
#include "smtp/textscan.h"
#include "wire/dot.h"
#include "wire/line.h"

enum {
    SMTP_REPLY_TEXT_MAX = 480,      /* RFC 5321 4.5.3.1.5: a reply line has at most 512 bytes */
    SMTP_REPLY_ROOM = 4096,         /* no command is answered with more, but for LMTP's outcomes */
    SMTP_HELO_MAX = 255,            /* a domain */
    SMTP_USER_MAX = 255,
    SMTP_ID_MAX = 32,
    SMTP_CHALLENGE_MAX = 2048,      /* of SASL, before base64 */
};

enum smtp_stage { STAGE_GREETING, STAGE_COMMAND, STAGE_AUTH, STAGE_DATA, STAGE_CHUNK, STAGE_CLOSED, STAGES };

/* A body on its way in. */
struct smtp_incoming {
    bool has_begun;                 /* DATA or a first BDAT was taken */
    bool is_at_end;                 /* its last byte has been seen */
    bool has_handed_over;           /* a first SMTP_ASK_BODY has been asked */
    struct dot_reader dot;          /* DATA */
    struct text_scan scan;          /* BDAT */
    bool is_chunked;
    bool is_last_chunk;
    struct header_filter filter;
    bool is_in_header;
    struct buf head;                /* trace and header fields, filtered, waiting to be handed over */
    uint32_t trace_bytes;
    uint64_t text_bytes;            /* as received, for the limit */
    uint64_t bytes;                 /* handed over */
    enum {
        REFUSED_NOT, REFUSED_LOOP, REFUSED_BY_ANSWER, REFUSED_BARE_EOL, REFUSED_SIZE
    } refused;                      /* the rest is read and dropped; a later reason goes before an earlier one, so that
                                       the reply does not depend on which of them a chunk happens to show first */
    bool is_flooded;                /* ... and is far too much */
    int refusal_code;
    struct fault refusal;
};

struct smtp_server {
    const struct smtp_server_options *options;
    const struct peer *peer;
    enum smtp_stage stage;
    bool wants_tls;
    char stop_text[128];            /* not empty: the driver wants an end */
    struct mail_date now;
    struct line_reader lines;
    struct buf output;
    struct buf replies;             /* LMTP's outcomes, which may be more than the output holds at a time */
    struct smtp_ask ask;

    char helo[SMTP_HELO_MAX + 1];   /* empty: not greeted yet */
    bool is_extended;               /* EHLO or LHLO */
    char user[SMTP_USER_MAX + 1];   /* empty: not authenticated */
    unsigned errors;
    unsigned auth_failures;
    enum sasl_mechanism mechanism;
    struct buf auth_message;        /* secret: wiped after each use */

    bool has_mail;                  /* a transaction is open */
    bool is_abandoned;              /* the asker has already been told that it will come to nothing */
    struct arena transaction;
    struct arena scratch;           /* rewound around each command */
    char id[SMTP_ID_MAX + 1];
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;          /* the one in question */
    uint32_t rcpt_count;            /* accepted */
    struct address first_rcpt;
    struct smtp_incoming in;
    uint64_t chunk_bytes, chunk_left;       /* BDAT */
    const char *chunk_refusal;      /* not NULL: the chunk is read, dropped and answered with this */
    int chunk_code;
};

/* ---- reply.c ---- */

__attribute__((format(printf, 4, 5)))
void smtp_reply(struct smtp_server *, int code, uint32_t esc, const char *format, ...);
/* A reply that counts as the client's error. */
__attribute__((format(printf, 4, 5)))
void smtp_refuse(struct smtp_server *, int code, uint32_t esc, const char *format, ...);
/* The reply to a refused question; otherwise_code is for permanent faults that name no special status. */
void smtp_reply_fault(struct smtp_server *, enum rc, const struct fault *, int otherwise_code);
void smtp_reply_coded(struct smtp_server *, int code, enum rc, const struct fault *);
int smtp_code_of(enum rc, uint32_t esc, int otherwise_code);

/* ---- server.c ---- */

void smtp_ask_set(struct smtp_server *, enum smtp_ask_kind);
/* Ends the transaction for us and, unless committed or told already, for the asker (SMTP_ASK_ABANDON). */
void smtp_transaction_abandon(struct smtp_server *);
void smtp_transaction_clear(struct smtp_server *);
void smtp_close(struct smtp_server *);

/* ---- params.c ---- */

/* `params` is what stands behind the path. False: it has been refused with a reply. */
bool smtp_params_mail(struct smtp_server *, struct slice params, struct smtp_mail *);
bool smtp_params_rcpt(struct smtp_server *, struct slice params, struct smtp_rcpt *);

/* ---- auth.c ---- */

bool smtp_auth_is_offered(const struct smtp_server *);
void smtp_auth_list(const struct smtp_server *, struct buf *out);      /* " SCRAM-SHA-256 PLAIN ..." */
void smtp_on_auth(struct smtp_server *, struct slice arguments);
bool smtp_stage_auth(struct smtp_server *, struct slice *in);

/* ---- body.c ---- */

void smtp_on_data(struct smtp_server *, struct slice arguments);
void smtp_on_bdat(struct smtp_server *, struct slice arguments);
bool smtp_stage_data(struct smtp_server *, struct slice *in);
bool smtp_stage_chunk(struct smtp_server *, struct slice *in);
void smtp_body_answered(struct smtp_server *, enum rc, const struct fault *);
void smtp_commit_answered(struct smtp_server *, enum rc, const struct fault *);
void smtp_incoming_clear(struct smtp_server *);

#endif
