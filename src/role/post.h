/* The inside of the post role: store, queue, and readers' sessions after login. Files:
 *     post.c           start, channels, the loop's glue between store, queue and waiting sessions
 *     post_mail.c      transactions from the edges: MAIL, RCPT, body, commit
 *     post_resolve.c   who may send what to whom, and where a recipient leads
 *     post_session.c   IMAP and POP3 sessions on streams from the edges, against tickets
 *     post_directory.c the routing table as auth streams it
 *     post_control.c   the administrator's commands
 *     post_ledger.c    one of them: is every message accounted for?
 *     post_kept.c      and two: mailboxes as they were
 *     post_append.c    and three: messages from a backup */
#ifndef THURN_ROLE_POST_H
#define THURN_ROLE_POST_H

#include "base/map.h"
#include "config/config.h"
#include "config/routing.h"
#include "mail/encoded.h"
#include "os/loop.h"
#include "queue/queue.h"
#include "role/channel.h"
#include "role/dispatch.h"
#include "store/store.h"

enum {
    POST_EDGES_MAX = 64,
    POST_LOCAL = POST_EDGES_MAX,        /* the role local stands behind the edges */
    POST_TICKETS_MAX = 200000,          /* the oldest goes first: its connection must log in again */
    POST_TRANSACTION_MEMORY_MAX = 4 * 1024 * 1024,      /* SMTP_RECIPIENTS_MAX recipients with everything they lead to */
    POST_GATHERED_MAX = 192 * 1024 * 1024,              /* all transactions together: past it they are told to come again */
    POST_BODY_HELD_MAX = 128 * 1024,                    /* of a message under way; the rest is in the log (store/body.c) */
    POST_TICK_MS = 60 * 1000,
    POST_REOPEN_MS = 1000,          /* for the answers to those whose change has failed */
    POST_AGAIN_MS = 1000,
};

struct post;

struct post_edge {
    struct post *post;
    struct channel *channel;
    uint32_t index;
    struct map transactions;            /* by session number */
};

struct ticket {
    struct list list;                   /* oldest first */
    uint64_t number;
    uint64_t account;
    uint32_t edge;
    char name[256];
};

/* Something that waits until the store says that a position is settled. */
struct post_wait {
    struct list list;
    uint64_t position;
    void (*settled)(struct post_wait *, enum rc);
};

struct post {
    struct loop *loop;
    struct config config;
    struct store *store;
    struct queue *queue;
    struct dispatch *dispatch;
    struct charset_converters charsets; /* loaded, and kept */
    struct routing *routing;            /* NULL until auth has sent the directory */
    struct routing *routing_next;       /* being received */
    uint64_t routing_version;
    bool lacks_directory;               /* what auth sent could not be taken: it is asked for again */
    bool lacks_mailboxes;               /* of an account in the routing table: they could not be made yet */
    struct channel *launcher, *auth;
    struct control *control;
    struct post_edge edges[POST_EDGES_MAX + 1];
    struct map tickets;                 /* by number */
    struct list ticket_list;
    struct list waits;                  /* in order of position */
    struct list sessions;
    size_t session_count;
    struct loop_watch store_watch;
    struct loop_timer background, tick, reopening;
    bool is_reopening;
    struct loop_task settle_task;
    char store_dir[4096];
    struct post_append *append;         /* a message on its way through the control socket; NULL: none */
    bool is_stopping, is_walking_ledger;
    bool are_edges_held;                /* the disk does not keep up: nothing is read from them */
    struct loop_timer stop_timer;
    int64_t stop_until_ms;
    uint64_t hash_seed[2];
    size_t gathered_bytes;              /* what transactions hold in memory; see POST_GATHERED_MAX */
    uint64_t messages_accepted, messages_refused;       /* figures */
    uint64_t kept_given_up;             /* as the log has it */
};

/* For role_post_main and the tests, which play the launcher. */
void post_init(struct post *, struct loop *);

/* ---- waiting ----------------------------------------------------------------------------------------------- */

/* Settled later, in order; at once (from the next turn) for position 0. */
void post_wait_add(struct post *, struct post_wait *, uint64_t position);
void post_wait_drop(struct post_wait *);

/* ---- tickets ------------------------------------------------------------------------------------------------ */

void post_ticket_add(struct post *, uint64_t number, uint64_t account, uint32_t edge, struct slice name);
/* NULL: there is none, or it belongs to another edge. Pending ones are read from auth first. */
struct ticket *post_ticket_find(struct post *, uint64_t number, uint32_t edge);
void post_ticket_drop(struct post *, struct ticket *);
void post_ticket_drop_disabled(struct post *);

/* ---- frames -------------------------------------------------------------------------------------------------- */

void post_mail_frame(struct post_edge *, const struct frame *);
void post_mail_go_on(struct post *);                    /* when the disk has caught up */
void post_mail_forget_all(struct post_edge *);          /* the edge is gone */
void post_session_open(struct post_edge *, struct frame *);     /* takes the descriptor */
void post_session_stop_all(struct post *, const char *text);
void post_session_stop_disabled(struct post *);         /* of accounts that the routing table in force does not let in (any more) */
void post_directory_frame(struct post *, const struct frame *);
void post_directory_tick(struct post *);                /* makes mailboxes that could not be made before */
void post_control_begin(struct post *, struct frame *listener);     /* takes the descriptor */

struct control_call;
void post_ledger_command(struct post *, struct control_call *, struct slice arguments);
bool post_append_command(struct post *, struct control_call *, struct slice command, struct slice arguments);  /* false: none of them */
void post_append_forget(struct post *);                 /* the message on its way, if any: before the store is closed */
void post_kept_command(struct post *, struct control_call *, struct slice arguments, bool restores);

/* ---- resolving ------------------------------------------------------------------------------------------------ */

struct post_sender {                    /* who speaks in a transaction */
    enum smtp_face face;
    uint64_t account;                   /* of the ticket; 0: a stranger */
    bool is_local_user;                 /* over submit.sock */
};
/* Fills the fault with the refusal (RC_TEMP or RC_PERM), or RC_OK. */
enum rc post_may_send(struct post *, const struct post_sender *, const struct address *reverse_path, struct fault *);
/* The same for the authors that a submitted message names in its From header: addresses, NUL behind each. */
enum rc post_may_author(struct post *, const struct post_sender *, bool is_understood, struct slice addresses, struct arena *, struct fault *);
/* Has the account of this target room for so much, with what is on its way? */
enum rc post_check_room(struct post *, const struct routing_target *, uint64_t size_bytes, struct fault *);
/* Everything the address leads to, refused when any of it is not allowed or has no room for size_bytes. */
enum rc post_resolve(struct post *, const struct post_sender *, const struct address *, uint64_t size_bytes, struct arena *,
                     struct routing_target **, size_t *count, struct fault *);
/* How a report (DSN) gets to whom it is for: queue_reporter.route. */
enum rc post_route_report(void *post, const struct queue_report *, struct arena *, struct store_delivery **, size_t *delivery_count,
                          struct slice **names, struct queue_recipient **, size_t *recipient_count);

#endif
