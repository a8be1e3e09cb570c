/* The inside of the out role: outbound SMTP and LMTP. Files:
 *     out.c        powers, channels, frames, resolver
 *     out_job.c    one job: next hop -> targets -> connection -> outcomes
 *     out_pool.c   connections with their client machine; idle ones wait for a further job to the same next hop */
#ifndef THURN_ROLE_OUT_H
#define THURN_ROLE_OUT_H

#include "base/map.h"
#include "config/config.h"
#include "dns/dns.h"
#include "os/conn.h"
#include "os/loop.h"
#include "os/tls.h"
#include "role/channel.h"
#include "smtp/client.h"

enum {
    OUT_POSTS_MAX = 64,
    OUT_JOBS_MAX = 10000,               /* post limits itself far below */
    OUT_RECIPIENTS_MAX = 100,           /* of a job: QUEUE_JOB_RECIPIENTS_MAX */
    OUT_JOB_MEMORY_MAX = 1024 * 1024,   /* envelope, targets, texts */
    OUT_BODY_AHEAD = 256 * 1024,        /* asked for and not yet sent, of one job */
    OUT_BODY_ASK = 128 * 1024,          /* asked for at once */
    OUT_IDLE_MS = 5000,                 /* how long a connection waits for a further message */
    OUT_IDLE_MAX = 200,                 /* connections that wait */
    OUT_MESSAGES_MAX = 100,             /* over one connection: then a fresh one, perhaps to another exchanger */
    OUT_CONNECT_MS = 30 * 1000,         /* per address */
    OUT_RESOLVE_MS = 60 * 1000,         /* all lookups of a job */
    OUT_JOB_MS = 2 * 3600 * 1000,       /* a peer that trickles must not hold a job for ever */
    OUT_STOP_MS = 20 * 1000,
    OUT_INPUT_MAX = 64 * 1024, OUT_OUTPUT_MAX = 256 * 1024,
};

struct out;

struct out_post {
    struct out *out;
    struct channel *channel;            /* NULL: gone */
    struct map jobs;                    /* by session */
};

struct out_secret {
    struct list list;
    char *route, *password;
};

struct out {
    struct loop *loop;
    struct config config;
    struct dns *dns;
    struct loop_watch dns_watch;
    struct tls_context *tls, *tls_verified;     /* opportunistic; for routes that insist */
    struct out_post posts[OUT_POSTS_MAX];
    struct list secrets;
    struct list idle, busy;             /* sessions */
    size_t idle_count, job_count;
    bool is_stopping;
    struct loop_timer stop_timer;
    int64_t stop_until_ms;
    uint64_t connections, reused, delivered, deferred, refused;     /* figures */
};

/* For role_out_main and the tests, which play the launcher. */
void out_init(struct out *, struct loop *);
void out_free(struct out *);            /* everything but the loop, the resolver and the configuration */
struct role_self;
struct role_self out_self(struct out *);

/* ---- sessions (out_pool.c) ------------------------------------------------------------------------------------- */

struct out_job;

struct out_session {
    struct list list;
    struct out *out;
    struct out_job *job;                /* NULL: idle, or saying goodbye */
    struct conn *conn;                  /* NULL: gone */
    struct smtp_client *client;         /* NULL until connected */
    struct smtp_client_options options;
    char *key, *helo, *user, *password; /* key: the next hop it leads to, as in its jobs */
    char nonce[24];
    char server_name[256];
    char remote[340];                   /* "name[address]:port" */
    char tls_text[96];
    unsigned messages;
    bool is_connected, is_starting_tls;
    bool is_asking;                     /* the machine's question is standing */
    bool is_idle;
    bool was_idle;                      /* has carried a message before the one at hand */
    bool is_lost;                       /* the connection ended under the message */
    struct tls_context *tls;
    struct loop_timer idle_timer;
};

struct out_target {                     /* where to connect */
    const char *address;                /* numeric, or a path */
    const char *name;
    uint16_t port;
};
/* Begins to connect for the job. RC_TEMP: not even that. */
enum rc out_session_begin(struct out_job *, const struct out_target *, bool with_tls, bool is_loopback, struct fault *);
/* An idle one that leads where the job wants to go takes the job. (The job may be over when this returns.) */
bool out_session_reuse(struct out_job *);
/* Without a word to anybody. Never from within what the session tells its job. */
void out_session_drop(struct out_session *);
void out_session_close_idle(struct out *);
void out_session_body_arrived(struct out_session *);
void out_session_close_idle(struct out *);

/* ---- jobs (out_job.c) -------------------------------------------------------------------------------------------- */

struct out_job {
    struct out_post *post;
    uint32_t session;
    struct out *out;
    struct arena arena;
    char *id;                           /* queue id, for the log */
    char *key;
    char *host;
    struct slice user;
    struct slice helo;
    uint16_t port;
    bool is_lmtp, is_route;
    int tls;                            /* ROUTE_TLS_* */
    const char *password;
    struct smtp_message message;
    size_t rcpts_expected;
    bool is_broken;                     /* out of memory while it was read */

    struct mx *mx;
    uint32_t query;
    const struct mx_target *targets;
    size_t target_count, target_at;
    bool without_tls;                   /* the handshake with the target at hand failed: in the clear, then */
    bool was_connected;
    bool is_again;                      /* a reused connection had died: once more from the start */
    struct out_session *active;
    struct smtp_outcome last;           /* why the last target did not do */
    struct slice last_remote;
    char choice[400];
    struct loop_timer timer;            /* resolve, then the whole job */
    struct loop_task next_task;         /* the next target, from the loop's end of turn */

    struct buf incoming, lent;          /* body from post; body that the client holds */
    uint64_t asked, arrived;            /* offsets */
};

/* False: the frame makes no sense (or there is no room): the channel is closed. */
bool out_job_begin(struct out_post *, uint32_t session, const struct frame *);
bool out_job_rcpt(struct out_job *, const struct frame *);
bool out_job_body(struct out_job *, const struct frame *);
void out_job_cancel(struct out_job *);              /* post does not want to hear of it any more */

void out_job_resolve(struct out_job *);             /* from the start: lookups, targets */

/* What the session tells its job; it has left the job and lives until these return. */
void out_job_connect_failed(struct out_job *, const struct out_session *, const char *why);
void out_job_tls_failed(struct out_job *, const struct out_session *, const char *why);
void out_job_session_failed(struct out_job *, const struct out_session *, const struct smtp_outcome *);   /* greeting, EHLO, AUTH */
void out_job_outcomes(struct out_job *, const struct out_session *);
/* The next piece for the client, empty at the end; false: not here yet. */
bool out_job_piece(struct out_job *, struct slice *piece);

#endif
