/* Inside the queue: how entries are kept in memory, and what the files of this folder share. Nobody else includes this.
 *
 *     id.c        message ids as text
 *     codec.c     the bytes of operations and rows
 *     entry.c     packed entries, their index, interned outcome texts
 *     queue.c     life: new, rider (apply, save, load), lookup
 *     schedule.c  destinations and what may start now
 *     outcome.c   outcomes of attempts, retries, time-outs
 *     report.c    delivery status notifications
 *     act.c       the administrator's doings, queries
 *     history.c   what happened to every message
 *     count.c     the ledger's counters
 *     ledger.c    the balance, and the search for what is missing (ledger.h)
 *     verify.c    what `thurn verify` looks at
 *     json.c      both as JSON */
#ifndef THURN_QUEUE_INNER_H
#define THURN_QUEUE_INNER_H

#include "base/map.h"
#include "queue/ledger.h"
#include "queue/queue.h"

enum {
    TEXT_MAX = 1000,                /* of an outcome's text and remote that is kept; a reply can be far longer */
    ENTRY_RECIPIENTS_MAX = 100000,  /* an alias may multiply recipients; more than this in one entry is refused */
    ARENA_MAX = 64 * 1024 * 1024,   /* one unpacked entry */
    OP_MAX = 32 * 1024 * 1024,      /* one operation or row */
    COUNTERS_KEY = 1,               /* of the row that has the ledger's counters: no message has such an id */
};

/* ---- codec.c ------------------------------------------------------------------------------------------------- */

/* Every operation starts with a version, a kind, the message's id and the time; every row with a version. Numbers are
 * unsigned LEB128 unless a fixed width is named; strings have their length first. A reader that runs out of input or
 * finds nonsense gives zeros and remembers `is_bad`. */
enum { CODEC_VERSION = 1 };
enum op_kind { OP_NEW = 1, OP_OUTCOME = 2, OP_ACTION = 3, OP_REPORTED = 4 };

struct reader {
    struct slice in;
    bool is_bad;
};
uint8_t read_u8(struct reader *);
uint64_t read_u64(struct reader *);
uint64_t read_number(struct reader *, uint64_t max);
struct slice read_string(struct reader *);
bool write_number(struct buf *, uint64_t);
bool write_string(struct buf *, struct slice);
bool write_text(struct buf *, struct slice);        /* a string cut at TEXT_MAX */

struct op {
    enum op_kind kind;
    uint64_t id;
    int64_t time_ms;
    struct reader rest;
};
bool queue_op_begin(struct buf *, enum op_kind, uint64_t id, int64_t time_ms);
/* False: malformed, or of a version this program does not know. */
bool op_parse(struct slice bytes, struct op *);

/* What an OP_NEW says of the message and keeps being needed: the "static" part, kept as it is in memory and in rows. */
struct static_head {
    struct smtp_mail mail;
    struct slice user;
    uint32_t trace_bytes;
    uint8_t has;
    size_t recipient_count;
};
enum { HAS_8BIT = 1, HAS_LONG_LINE = 2, HAS_BARE_EOL = 4, HAS_UTF8_HEADER = 8, HAS_NO_FINAL_EOL = 16 };
/* Reads up to the first recipient. */
bool static_head_read(struct reader *, struct static_head *);
struct static_recipient {
    struct address address;
    unsigned notify;
    struct slice orcpt;
};
bool static_recipient_read(struct reader *, struct static_recipient *);

/* Behind the static part of an OP_NEW: what it says of deliveries into mailboxes. deliveries_begin gives their number and comes
 * to the first; behind the last is the mailbox id of each, a read_number, when there is anything at all. */
struct static_delivery {
    uint64_t account;
    uint32_t uid;
    struct slice mailbox, name;
};
size_t deliveries_begin(struct reader *, uint64_t *parent);
bool delivery_read(struct reader *, struct static_delivery *);

/* One recipient's part of an OP_OUTCOME. */
enum { OUTCOME_IS_REMOTE = 1, OUTCOME_IS_ATTEMPT = 2, OUTCOME_IS_DELAY_TOLD = 4, OUTCOME_IS_DEATH = 8 };
enum untold { TOLD_OR_NOT_WANTED = 0, UNTOLD_NULL_SENDER = 1, UNTOLD_NO_ROUTE = 2 };
struct outcome_item {
    size_t index;
    enum queue_state state;
    unsigned flags;
    uint32_t esc;
    int code;
    struct slice text, remote;
    int64_t due_ms;
};
struct outcome_head {
    struct slice tls, mx, greeting;
    uint64_t report;                /* id of the message that tells of it, 0: none */
    enum untold untold;
    size_t count;
};
bool outcome_head_write(struct buf *, const struct outcome_head *);
bool outcome_item_write(struct buf *, const struct outcome_item *);
bool outcome_head_read(struct reader *, struct outcome_head *);
bool outcome_item_read(struct reader *, struct outcome_item *);

/* ---- entry.c ------------------------------------------------------------------------------------------------- */

/* Outcome texts repeat by the thousand (a destination that is down says one thing to everyone): they are kept once. */
struct note {
    size_t refs;
    size_t len;
    size_t text_len;
    char bytes[];                   /* text, remote, and text_len once more so that the whole is a key */
};

struct recipient {                  /* 64 bytes */
    struct heap_node node;          /* in its destination's `due`; node.key is due_ms, also outside of it */
    struct destination *destination;
    struct note *note;
    int64_t attempt_ms;
    uint32_t esc;
    uint32_t offset;                /* of its static part in the entry's */
    uint32_t index;
    uint16_t attempts;
    uint8_t state;
    uint8_t flags;
};
enum {
    RECIPIENT_DELAY_TOLD = 1,
    RECIPIENT_RECORDING = 2,        /* an operation about it is on its way to the log */
    RECIPIENT_SUSPECT = 4,          /* the last attempt ended with the death of who tried */
    RECIPIENT_KEPT_FLAGS = RECIPIENT_DELAY_TOLD | RECIPIENT_SUSPECT,        /* in rows */
};

struct entry {
    uint64_t id, body_id, body_size;
    char *packed;                   /* static part, behind the recipients in the same block */
    uint32_t packed_len;
    uint32_t count, open;           /* recipients; those not done */
    bool is_dirty, is_saved;
    struct recipient recipients[];
};

static inline struct entry *recipient_entry(struct recipient *r)
{
    return (struct entry *)(void *)((char *)(r - r->index) - offsetof(struct entry, recipients));
}
static inline bool state_is_open(unsigned state)
{
    return state == QUEUE_DUE || state == QUEUE_TRYING || state == QUEUE_HELD;
}

/* From the static part at the front of the reader, which moves behind it. All recipients are due at due_ms. NULL: malformed. */
struct entry *entry_new(struct reader *, uint64_t id, uint64_t body_id, uint64_t body_size, int64_t due_ms);
struct static_recipient entry_recipient(const struct entry *, size_t index);
struct static_head entry_head(const struct entry *);
static inline int64_t entry_accepted_ms(const struct entry *e) { return (int64_t)(e->id >> 20); }
/* NULL: does not fit the arena. */
struct queue_entry *entry_unpack(const struct entry *, struct arena *);

/* Entries by id, in order. Adding in order is cheap, out of order is sorted at the next look. */
struct entry_slot {
    uint64_t id;
    struct entry *entry;            /* NULL: removed */
};
struct entry_index {
    struct entry_slot *slots;
    size_t count, cap;
    size_t sorted;                  /* so many at the front are in order */
    size_t alive;
};
void index_add(struct entry_index *, struct entry *);
struct entry *index_find(struct entry_index *, uint64_t id);
struct entry *index_after(struct entry_index *, uint64_t id);
void index_remove(struct entry_index *, uint64_t id);

struct note *note_get(struct map *notes, struct slice text, struct slice remote);
void note_put(struct map *notes, struct note *);
struct slice note_text(const struct note *);
struct slice note_remote(const struct note *);

/* ---- queue.c ------------------------------------------------------------------------------------------------- */

struct ids {
    uint64_t *list;
    size_t count, cap;
};

struct queue {
    struct queue_options options;
    struct store *store;
    queue_destination *destination;
    void *destination_arg;
    struct queue_reporter reporter;

    struct entry_index *index;      /* behind a pointer: looking may sort */
    size_t recipient_count;         /* open ones */
    struct map notes;
    struct ids dirty;               /* entries that changed since the last checkpoint */
    struct ids gone;                /* entries with a row that are done */
    uint64_t last_id;
    struct arena *scratch;          /* queue_find's */
    struct arena *work;             /* within one call */

    bool is_attached;
    bool is_scheduled;              /* destinations are known and built */
    struct map destinations;
    struct list ready;              /* destinations that may start a job now, in turn */
    struct heap waiting;            /* destinations by when they may */
    size_t active;
    size_t active_suspects;         /* of these: one at most */
    uint32_t last_job;
    int64_t no_room_until_ms;
    int64_t now_ms;                 /* as of the last queue_next_job */
    uint64_t delay_cursor;          /* up to this id delays have been told */

    struct list recordings;         /* recording.c */
    struct map histories;           /* id -> struct history, events since the last checkpoint */
    struct queue_ledger counters;   /* but for `waiting` */
    bool is_counting;               /* the counters have begun: they were in a row, or what was there was taken as brought */
};
struct entry *queue_entry_get(const struct queue *, uint64_t id);
void queue_mark_dirty(struct queue *, struct entry *);
void ids_add(struct ids *, uint64_t);
/* One rider operation as its own record. */
enum rc queue_submit(struct queue *, const struct buf *op, uint64_t *wait, struct fault *);

/* ---- schedule.c ---------------------------------------------------------------------------------------------- */

struct destination {
    struct heap due;                /* recipients that are DUE, by due_ms */
    struct list ready;
    struct heap_node wait;
    size_t members;                 /* recipients that point here */
    size_t active;                  /* jobs */
    bool is_dead;
    int64_t probe_ms;               /* when the next canary may fly */
    unsigned probes;                /* canaries that failed in a row */
    struct note *why;               /* dead: what the last canary met */
    size_t name_len;
    char name[];
};
void schedule_add(struct queue *, struct recipient *);              /* DUE: joins its destination, or moves in it */
void schedule_hide(struct queue *, struct recipient *);             /* no longer due, but still a member (being tried, being recorded) */
void schedule_remove(struct queue *, struct recipient *);           /* leaves its destination */
void schedule_rebuild(struct queue *);
void schedule_free(struct queue *);
enum job_end { JOB_ANSWERED, JOB_DEAD, JOB_LOST };     /* lost: nothing was learnt of the destination */
void schedule_job_ended(struct queue *, const struct queue_job *, enum job_end, struct slice why, int64_t now_ms, uint64_t random);
void schedule_probe_now(struct queue *, struct recipient *);        /* an administrator wants it tried */
/* now + base * 2^step, at most max, give or take a fifth. */
int64_t schedule_back_off(int64_t base_ms, int64_t max_ms, unsigned step, uint64_t random);
uint64_t random_next(uint64_t *state);

/* ---- outcome.c, report.c ------------------------------------------------------------------------------------- */

enum report_kind { REPORT_NONE, REPORT_FAILED, REPORT_DELAYED, REPORT_DELIVERED, REPORT_RELAYED };
struct decision {
    struct outcome_item item;
    enum report_kind report;
    bool is_untold;                 /* wanted, but the reverse path is null */
};
/* Records the items (those of one report kind) with the report that tells of them, if any: one record (Q3). */
enum rc report_record(struct queue *, const struct queue_entry *, const struct outcome_head *, const struct decision *, size_t count,
                      enum report_kind, int64_t now_ms, uint64_t *wait, struct fault *);
bool notify_wants(unsigned notify, enum report_kind);
/* Decides and records for recipients that are marked trying or recording; those that could not be recorded are due again. */
enum rc outcome_record(struct queue *, const struct queue_entry *, const struct outcome_head *, const struct decision *, size_t count,
                       int64_t now_ms, uint64_t *wait, struct fault *);
void apply_outcome(struct queue *, struct op *);
void apply_action(struct queue *, struct op *);
void recipient_settle(struct queue *, struct entry *, struct recipient *, unsigned state, int64_t due_ms);
void entry_finish(struct queue *, struct entry *);      /* removes it when no recipient is open */

/* ---- recording.c ---------------------------------------------------------------------------------------------- */

struct recording;
/* Of a record about recipients of an entry, up to `count`: NULL out of memory. Freed by the caller unless it is watched. */
struct recording *recording_new(uint64_t entry, size_t count);
void recording_add(struct recording *, size_t index);
/* The record was handed over: when it fails, its recipients that are being tried or recorded are as before. */
void recording_watch(struct queue *, struct recording *, uint64_t wait);
void recordings_look(struct queue *, int64_t now_ms);
void recordings_free(struct queue *);

/* ---- count.c ------------------------------------------------------------------------------------------------- */

void count_begin(struct queue *);               /* when the first operation is applied, at the latest */
void count_new(struct queue *, const struct op *);      /* an OP_NEW, before it is applied */
void count_end(struct queue *, unsigned state);         /* a recipient is done */
void count_load(struct queue *, struct slice row);
enum rc count_save(struct queue *, struct store *, struct fault *);

/* ---- queue.c, verify.c ---------------------------------------------------------------------------------------- */

/* An entry's row. When it is due need not be durable (an attempt that came to nothing moves it), so it can be left out. */
bool entry_write_row(const struct entry *, bool with_due, struct buf *row);
void verify_each(void *queue, void (*row)(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size), void *arg);
bool verify_is_good_row(void *queue, uint64_t key, struct slice row);
void verify_deliveries(void *queue, struct slice row, void (*each)(void *arg, uint64_t account, struct slice mailbox, uint32_t uid), void *arg);
enum rc verify_lose(void *queue, uint64_t key, int64_t now_ms, uint64_t *wait, struct fault *);

/* ---- history.c ----------------------------------------------------------------------------------------------- */

/* A history's row has the message's id with STORE_RIDER_ASIDE as its key. One that grew too long has an empty operation where
 * something was left out. */
void history_add(struct queue *, uint64_t id, struct slice op, uint64_t body_size);
enum rc history_save(struct queue *, struct store *, struct fault *);
void history_free(struct queue *);
enum rc history_read(struct queue *, uint64_t id, struct buf *out, struct fault *);
/* The ids of those that have something in memory, in order; freed by the caller. NULL: out of memory. */
uint64_t *history_ids(const struct queue *, size_t *count);

#endif
