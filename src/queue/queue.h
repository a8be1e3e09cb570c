/* The queue and the life of every message.
 *
 * It rides on the store's log (store_rider): a message that is accepted is one record with its body, its deliveries into
 * mailboxes and what the queue keeps. Entries and histories are memory built from the log and checkpointed with the store.
 * Message ids are 64-bit: milliseconds of acceptance << 20 | count, always rising; people see them in base 32.
 *
 * A message whose handling killed the role that delivers twice in a row is set aside: held, with the reason, until an administrator
 * releases it (then it has one more try). After the first death those that were being tried go on as suspects, later and one
 * at a time, so that a second death can be laid at one door; an attempt that comes to its end clears them.
 *
 * States of a recipient:  due -> trying -> delivered | bounced | due again;  held <-> due;  any but trying -> deleted.
 * "trying" is never on disk: after a crash a recipient that was being tried is due. That is the one window in which a
 * remote may get a message twice (its 250 came, our record of it did not); it is as long as one log write.
 *
 * Invariants:
 *   Q1  A recipient leaves the queue only by a durable record of why.
 *   Q2  No delivery attempt starts unless its outcome can be recorded (store_has_reserve).
 *   Q3  A failure that NOTIFY wants told is recorded in the same record as the message that tells it.
 *   Q4  A message with the null reverse-path never causes another message.
 *   Q5  A body is kept while an entry has a recipient that is not done. */
#ifndef THURN_QUEUE_QUEUE_H
#define THURN_QUEUE_QUEUE_H

#include "base/arena.h"
#include "base/fault.h"
#include "base/heap.h"
#include "base/list.h"
#include "mail/address.h"
#include "smtp/client.h"
#include "store/store.h"

struct queue;

enum { QUEUE_ID_TEXT = 14 };        /* 13 base 32 digits and NUL */
void queue_id_write(uint64_t id, char out[QUEUE_ID_TEXT]);
enum rc queue_id_parse(struct slice, uint64_t *id);

enum queue_state { QUEUE_DUE, QUEUE_TRYING, QUEUE_HELD, QUEUE_DELIVERED, QUEUE_BOUNCED, QUEUE_DELETED };
const char *queue_state_name(enum queue_state);

struct queue_recipient {
    struct address address;
    struct slice orcpt;
    unsigned notify;
    enum queue_state state;
    uint32_t attempts;
    bool is_delay_told;
    int64_t due_ms;                 /* when DUE */
    struct slice last_text;         /* last outcome: the remote's reply or our own words */
    struct slice last_remote;
    uint32_t last_esc;
    int64_t last_attempt_ms;
    struct slice destination_text;  /* nobody can be reached where it has to go: what the last attempt there met; else empty */
    int64_t probe_ms;               /* and when that is tried again, with one message */
};

struct queue_entry {
    uint64_t id;
    uint64_t body_id, body_size;
    uint32_t trace_bytes;           /* not relayed */
    struct smtp_mail mail;          /* reverse path and parameters */
    bool has_8bit, has_long_line, has_bare_eol, has_utf8_header, lacks_final_eol;
    int64_t accepted_ms;
    struct slice user;              /* who submitted it; empty: a stranger, or ourselves */
    struct queue_recipient *recipients;
    size_t recipient_count;
};

/* ---- building the rider operation of an accepted message -------------------------------------------------- */

struct queue_new {
    uint64_t id;                    /* queue_next_id() */
    const struct smtp_mail *mail;
    uint32_t trace_bytes;
    bool has_8bit, has_long_line, has_bare_eol, has_utf8_header, lacks_final_eol;
    int64_t now_ms;
    struct slice user, peer, helo, tls, protocol;       /* for the history: who sent it, what was checked */
    const struct queue_recipient *recipients;           /* address, orcpt, notify; none for purely local mail */
    size_t recipient_count;
    const struct store_delivery *deliveries;            /* for the history: those handed to store_accept */
    size_t delivery_count;
    const struct slice *delivery_names;                 /* address each delivery was for */
    uint64_t parent;                /* a report's: the id of what it reports on; 0 */
};
bool queue_encode_new(const struct queue_new *, struct buf *op);
/* The same as store_accept.write_op, with the queue_new as its argument: then the history has the UIDs. */
bool queue_write_new(void *queue_new, struct buf *op);

/* ---- life -------------------------------------------------------------------------------------------------- */

struct queue_options {
    struct store *store;            /* set by queue_attach, after store_open with queue_rider() */
    uint32_t retry_first_s, retry_max_s, lifetime_s, delay_warning_s;
    uint32_t concurrency, destination_concurrency;
    uint32_t history_days;
    uint64_t hash_seed[2];
};
struct queue *queue_new(const struct queue_options *);
/* After a reload: intervals and limits anew (store and hash_seed stay). */
void queue_configure(struct queue *, const struct queue_options *);
struct store_rider queue_rider(struct queue *);         /* for store_options */
void queue_attach(struct queue *, struct store *);
void queue_free(struct queue *);
uint64_t queue_next_id(struct queue *, int64_t now_ms);
/* Entries live in memory packed (about 200 bytes a recipient); these unpack one. It lives until the next call that gives
 * one or that changes the queue (queue_find, queue_after, queue_next_job, queue_job_done, queue_tick, queue_act, store_poll). */
const struct queue_entry *queue_find(const struct queue *, uint64_t id);
size_t queue_count(const struct queue *, size_t *recipients);
/* Iterate in id order from after `after` (0 starts): NULL at the end. */
const struct queue_entry *queue_after(const struct queue *, uint64_t after);

/* ---- the scheduler: a machine without I/O ------------------------------------------------------------------ */

/* A job is one message to those of its recipients that share a destination (next hop). The destination of an address is
 * given by the caller (routes are configuration): */
typedef struct slice queue_destination(void *arg, const struct address *, struct arena *);
void queue_set_destination(struct queue *, queue_destination *, void *arg);     /* anew after a reload: everything is routed again */

enum { QUEUE_JOB_RECIPIENTS_MAX = 100 };
struct queue_job {
    uint64_t entry;                 /* id */
    struct slice destination;       /* until queue_job_done, _died or _lost */
    size_t recipients[QUEUE_JOB_RECIPIENTS_MAX];         /* indexes */
    size_t recipient_count;
    uint32_t number;                /* of this job, unique while it runs */
    bool is_suspect;                /* the last attempt for these ended with the death of who tried */
};
/* The next job that may start now, marked as trying; RC_NONE: nothing is due (or limits are reached). A destination that
 * does not answer is probed by one job at a time. Everything random (jitter, order) comes from `random`. */
enum rc queue_next_job(struct queue *, int64_t now_ms, uint64_t random, struct queue_job *);
/* When to ask again (INT64_MAX: never by itself). */
int64_t queue_wake_ms(const struct queue *);

/* What is known of an attempt as a whole. */
struct queue_attempt {
    struct slice tls;               /* "TLSv1.3 TLS_AES_256_GCM_SHA384", empty without */
    struct slice mx;                /* which next hop, and of which choice */
    struct slice greeting;          /* what the remote calls itself */
    bool is_destination_dead;       /* no connection could be made */
    bool has_dsn;                   /* the next hop has taken NOTIFY over (RFC 3461 5.2.3): no "relayed" report from us */
    bool is_final;                  /* LMTP: a success is a delivery, not a relay */
};

/* An attempt's outcomes, one per recipient of the job. Records them (with bounces, delay warnings and success reports as
 * needed, each accepted through the reporter) and frees the destination. RC_TEMP: could not be recorded (the fault says why);
 * then its recipients are due again later. */
struct queue_report {               /* what to deliver when a report has to be sent: filled by queue, routed by the caller */
    uint64_t about;
    struct address to;
    struct buf *message;            /* the whole DSN */
    bool is_utf8;
};
struct queue_reporter {
    void *self;
    struct slice host_name;
    /* Resolves `to` into deliveries (local) and/or queue recipients (remote), to be accepted in the same record. */
    enum rc (*route)(void *self, const struct queue_report *, struct arena *, struct store_delivery **, size_t *delivery_count,
                     struct slice **names, struct queue_recipient **, size_t *recipient_count);
};
void queue_set_reporter(struct queue *, const struct queue_reporter *);
enum rc queue_job_done(struct queue *, const struct queue_job *, const struct smtp_outcome *outcomes, const struct slice *remotes,
                       const struct queue_attempt *, int64_t now_ms, uint64_t random, uint64_t *wait, struct fault *);
/* The job came to nothing (out died, shutdown): its recipients are due again at once. */
void queue_job_lost(struct queue *, const struct queue_job *, int64_t now_ms);
/* Who tried died while the job ran: its recipients are due again after a while, or, when it is the second time in a row, held
 * (*set_aside: how many). As queue_job_done otherwise. */
enum rc queue_job_died(struct queue *, const struct queue_job *, int64_t now_ms, uint64_t random, size_t *set_aside, uint64_t *wait, struct fault *);
/* At opening: the message whose report the process before died of, twice in a row or more, is set aside; one that is there and in
 * the queue. *id: which one; RC_NONE: there is none such. As queue_act otherwise. */
enum rc queue_set_aside(struct queue *, int64_t now_ms, uint64_t *id, uint64_t *wait, struct fault *);
/* Success DSNs for recipients delivered locally at once (NOTIFY=SUCCESS) are made by the acceptor: */
enum rc queue_report_local(struct queue *, const struct queue_new *, const struct slice *recipients, const unsigned *notify, const struct slice *orcpt, size_t count,
                           uint64_t body_id, uint64_t body_size, int64_t now_ms, uint64_t *wait, struct fault *);
/* Time-outs: expired messages become bounces, delays are told. Call about once a minute; RC_MORE: there is more of it, call
 * again soon. */
enum rc queue_tick(struct queue *, int64_t now_ms, uint64_t random, struct fault *);

/* ---- for the administrator ----------------------------------------------------------------------------------- */

enum queue_action { QUEUE_HOLD, QUEUE_RELEASE, QUEUE_RETRY, QUEUE_BOUNCE, QUEUE_DELETE };
enum rc queue_act(struct queue *, uint64_t id, enum queue_action, int64_t now_ms, uint64_t *wait, struct fault *);

struct queue_query {                /* empty fields match everything */
    struct slice domain;            /* of a recipient */
    struct slice sender;            /* substring of the reverse path or user */
    struct slice recipient;         /* substring */
    struct slice error;             /* substring of the last outcome */
    int64_t older_than_s, younger_than_s;
    bool only_held, only_due;
};
bool queue_matches(const struct queue_entry *, const struct queue_query *, int64_t now_ms);
/* One JSON object without line end. */
bool queue_entry_write_json(const struct queue_entry *, int64_t now_ms, struct buf *);
/* The whole life of a message as one JSON object: {"id":..,"events":[{"time":..,"event":"accepted",...},...],"recipients":[...]}.
 * RC_NONE: unknown (or forgotten after history_days). */
enum rc queue_why(struct queue *, uint64_t id, int64_t now_ms, struct buf *, struct fault *);

#endif
