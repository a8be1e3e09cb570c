/* What the files of the store share; nobody else includes this. The store is one thing in several files:
 *
 *     store.c       opening, polling, what has settled        log*.c, commit.c   the log (log.h)
 *     account.c     accounts, mailbox names, subscriptions     checkpoint*.c      memory to and from SQLite; rider.c
 *     mailbox.c     one mailbox in memory                      numbering.c        rows and their order (numbering.h)
 *     message.c     what sessions and deliveries change        body.c             bodies in, out, and alive
 *     apply.c       records into memory                        view.c             what a session sees
 *     compact.c     segments that are mostly dead              ledger.c           what came, what left, what is missing
 *     handling.c    what the process before died of
 *     snapshot.c    the checkpoint once more, in the log
 *     backup.c      copying while all of this goes on
 *     kept.c        what was expunged and is still kept, kept_rows.c: to and from SQLite (kept.h)
 *
 * Two numbers run everywhere: the visible one (what has been applied) and the reserved one (what has been handed over). */
#ifndef THURN_STORE_INNER_H
#define THURN_STORE_INNER_H

#include "base/list.h"
#include "base/map.h"
#include "store/kept.h"
#include "store/log.h"
#include "store/numbering.h"
#include "store/ops.h"
#include "store/store.h"

struct name {
    char *bytes;
    size_t len;
};

struct pending_name {               /* a mailbox that is being created */
    struct name name;
    uint64_t wait;
};

struct account {
    uint64_t id;
    struct mailbox **mailboxes;     /* in listing order */
    size_t count, cap;
    struct name *subscribed;        /* in listing order */
    size_t subscribed_count, subscribed_cap;
    struct pending_name *pending;
    size_t pending_count, pending_cap;
    uint64_t delete_wait;           /* of a deletion that was handed over; 0: none */
    int64_t removed_s;              /* since when nobody owns it; 0: somebody does */
    uint64_t handed_bytes, applied_bytes;       /* of deliveries and appends, both only ever rising */
    uint64_t handed_wait;           /* of the last one; when it has settled there is nothing on its way */
    bool is_dirty;
};

struct vanished {                   /* expunged: these UIDs at this modseq */
    uint32_t first, last;
    uint64_t modseq;
};

struct limbo {                      /* expunged, and a view may still read it (S5) */
    uint64_t body_id;
    uint64_t expunges;              /* the mailbox's count when it went */
};

struct keyword {
    struct name name;               /* bytes NULL: unused */
    uint64_t wait;                  /* visible when this has settled; a failed one is unused again */
};

enum { VANISHED_MAX = 8192 };       /* older ones are joined: QRESYNC may say too much, never too little */

struct mailbox {
    uint64_t id;
    struct account *account;        /* NULL: deleted, only views remain */
    struct name name;
    enum store_special special;
    bool is_noselect;
    uint32_t uidvalidity;
    uint32_t uidnext, reserved_uid;             /* visible, next to be given */
    uint64_t modseq, reserved_modseq;           /* visible highest, highest given */
    uint32_t recent_uid;
    uint64_t size_bytes;
    struct keyword *keywords;                   /* KEYWORDS_MAX of them, or NULL: none yet */
    uint32_t keyword_version;                   /* rises when a keyword becomes visible */
    struct numbering *numbering;
    uint64_t next_run;
    uint64_t expunges;                          /* times that something was expunged */
    struct vanished *vanished;
    size_t vanished_count, vanished_cap, vanished_limit;
    struct limbo *limbo;
    size_t limbo_count, limbo_cap;
    struct list views;

    uint64_t change_wait;           /* of the last change handed over */
    uint64_t delete_wait;           /* of a deletion that was handed over */
    struct uid_set dying;           /* expunges that were handed over, as long as dying_wait has not settled */
    uint64_t dying_wait;

    bool is_dirty;                  /* not as the checkpoint has it: in store.dirty or store.saving */
    bool is_saving;                 /* in store.saving: the checkpoint that runs has still to save it */

    struct list dirty_node, changed_node;
    uint64_t *dropped_runs;         /* that the checkpoint still has */
    size_t dropped_count, dropped_cap;
};

struct store_view {
    struct list node;               /* in mailbox.views */
    struct list poke;               /* in store.pokes: its watcher is to be called */
    struct store *store;
    struct mailbox *mailbox;
    struct numbering *numbering;
    uint32_t count;
    uint32_t last_uid;              /* the client knows of all up to this one */
    uint32_t recent_uid;
    uint64_t modseq;                /* flag changes up to this one have been told */
    uint64_t expunges;              /* of the mailbox, when the numbering was taken */
    uint32_t uidvalidity;
    uint32_t keyword_version;
    bool is_read_only, is_told_gone, takes_recent;
    uint64_t own[64];               /* modseqs of own changes */
    size_t own_count;
    void (*changed)(void *arg);
    void *arg;
};

struct store_body {
    struct list node;               /* in store.bodies_handed */
    struct store *store;
    struct log_record *record;      /* body bytes that are in no piece yet, behind room for the operation's head */
    uint64_t size;
    uint64_t *pieces;               /* positions */
    size_t piece_count, piece_cap;
    uint64_t first_sequence;        /* of its first piece; 0: none */
    uint64_t wait;                  /* once handed over */
};

struct body {                       /* alive */
    uint64_t id;                    /* 0 is the empty slot: position 0 is kept free */
    uint32_t size, references;
};

struct placed {                     /* a body that is not in the record that its id names */
    uint64_t id;
    uint32_t piece_bytes;
    uint32_t count;
    uint64_t positions[];
};

struct body_table {
    struct body *slots;
    size_t count, cap;              /* cap: a power of two, or 0 */
    struct map placed;              /* id -> struct placed */
    struct map live;                /* segment -> uint64_t *: bytes alive in it, and one for each piece */
    uint64_t *dying;                /* ids whose count came to 0 since the last sweep */
    size_t dying_count, dying_cap;
    uint64_t *placed_changes;       /* ids that the checkpoint does not have, or has and should not */
    size_t placed_change_count, placed_change_cap;
};

enum { KEPT_ROWS = 1024 };

struct kept_batch {                 /* that the checkpoint does not have yet */
    struct kept_batch *next;
    uint64_t number, account, mailbox, modseq;
    int64_t gone_s;
    enum store_kept_kind kind;
    struct name head;               /* of a deleted mailbox, encoded */
    uint32_t count, cap;
    struct store_message *rows;
};

struct kept {
    uint64_t first, next;           /* numbers: the oldest that may be there, the next to be given */
    uint64_t reserved_first;        /* handed over to be forgotten: those before it */
    uint64_t saved_next;            /* those before it are in state.db alone; the others wait in memory */
    uint64_t running_next;          /* those before it are in the checkpoint that runs */
    struct kept_batch *pending, **pending_end;
    uint64_t pending_bytes;
    uint64_t messages, bytes, given_up;
    int64_t forgotten_s;
    uint64_t forget_wait;
    int64_t checked_ms;
    bool has_more;                  /* to be forgotten: look again at once */
    bool wants_checkpoint;          /* so that room is made */
    struct store_message *scratch;  /* KEPT_ROWS of them, for reading */
};

struct keeping {                    /* rows on their way into batches */
    struct store *store;
    const struct mailbox *mailbox;
    struct op_when when;
    uint64_t modseq;
    enum store_kept_kind kind;
    struct kept_batch *batch;
};

struct compaction {                 /* of one segment */
    uint64_t segment;
    uint64_t given_up;              /* a segment that could not be emptied: not tried again; UINT64_MAX: none */
    uint64_t *ids;                  /* bodies with a part in it, to be moved from `at` on */
    size_t count, cap, at;
    int64_t allowed;                /* bytes that may be moved now; negative: so much too many were */
    int64_t allowed_ms;             /* when that was counted */
    uint64_t bytes_moved;
};

struct handled {                    /* what a process died of */
    uint32_t kind, deaths;
    uint64_t id;
};
enum { HANDLED_MAX = 63 };          /* the oldest of those that have not been set aside goes first */

struct handling {
    int fd;                         /* -1: none, nothing is noted */
    struct handled now;             /* kind HANDLING_NOTHING: nothing is begun */
    struct handled died;            /* at opening: of this the process before has died */
    struct handled past[HANDLED_MAX];
    size_t count;
};

struct failed_range {
    uint64_t first, last;           /* sequences */
};

struct checkpoint;
struct snapshot_writer;

struct store_snapshot {             /* the last whole one (snapshot.h) */
    uint64_t as_of;                 /* the log from here on, and the snapshot, give everything */
    uint64_t first, bytes;          /* position of its first part, and bytes of all */
    uint32_t parts;                 /* 0: there is none, and the log goes back to its beginning */
};

struct room {
    int64_t bytes;
    int64_t at_ms;
    uint64_t tail;              /* of the log, then: what was handed to it since is gone from there */
    bool is_known;
    uint64_t wanted;                /* what could not be had */
};

struct store {
    struct store_options options;
    char dir[LOG_PATH_MAX];
    int lock_fd;
    struct log *log;
    struct checkpoint *checkpoint;
    struct map accounts, mailboxes;
    size_t account_count, mailbox_count;
    uint64_t message_count;
    struct store_ledger ledger;     /* but for `present` */
    struct body_table bodies;
    struct compaction compaction;
    struct handling handling;
    struct store_snapshot snapshot;
    struct snapshot_writer *snapshot_writer;    /* NULL: none is being written */
    struct kept kept;
    uint64_t hold;                  /* counts the stretches of time in which no segment was given back (backup.h) */
    int64_t hold_until_ms;          /* 0: there is none now */
    uint64_t reserved_mailbox_id;   /* next to be given */
    uint32_t reserved_uidvalidity;  /* last given */
    uint64_t applied_sequence;      /* settled up to here, but for what failed */
    uint64_t applied_position;      /* all of the log before it is in memory */
    struct failed_range *failed;
    size_t failed_count, failed_cap;
    struct list bodies_handed;
    struct list pokes;
    struct list changed;            /* mailboxes, during a poll */
    struct list dirty, saving;      /* mailboxes: for the next checkpoint, for the one that runs */
    uint64_t *dropped_mailboxes;    /* ids that the checkpoint still has */
    size_t dropped_count, dropped_cap;
    uint64_t *dropped_accounts;
    size_t dropped_account_count, dropped_account_cap;
    int64_t now_ms;
    struct room *room;              /* changes under a const store: what the system said a moment ago */
};

/* ---- small things ---- */

/* Out of memory while applying what is durable cannot be answered to anyone: the process stops, and replays. */
void *need(void *memory);
bool push_u64(uint64_t **list, size_t *count, size_t *cap, uint64_t value);
bool name_set(struct name *, struct slice);
void name_free(struct name *);
struct slice name_slice(const struct name *);

/* ---- store.c ---- */

bool store_is_pending(const struct store *, uint64_t wait);     /* neither settled nor failed */
/* What the next store_hand will give as `wait`, whether it succeeds or not. */
uint64_t store_next_wait(const struct store *);
/* Hands the record over, or frees it; then *wait counts as failed. */
enum rc store_hand(struct store *, struct log_record *, uint64_t *wait, struct fault *);
struct log_record *store_record(struct store *, struct fault *);
void store_release_dead(struct store *);
/* Not as usual: for verify and repair. */
struct store_opening {
    struct sqlite3 *db;             /* instead of state.db; consumed in every case */
    bool is_without_log;            /* only what the checkpoint says; nothing is replayed */
    void (*damage)(void *arg, uint64_t position, uint64_t bytes);      /* set: replay passes over damage and tells of it */
    void *arg;
};
enum rc store_open_how(const struct store_options *, const struct store_opening *, struct store **, struct fault *);
/* Segments before this one are needed only for the bodies that are alive in them (S7). */
uint64_t store_first_needed(const struct store *);
int64_t store_now_s(const struct store *);
/* How much more can be written, free segments included. */
uint64_t store_room(const struct store *);
/* Room is made in a hurry from here on: expunged mail goes early, segments are emptied faster. */
bool store_is_pressed(const struct store *);
bool store_is_held(struct store *);         /* backup.c */

/* ---- mailbox.c ---- */

struct mailbox *mailbox_new(struct store *, uint64_t id, struct account *, struct slice name);
void mailbox_free(struct store *, struct mailbox *);
struct mailbox *mailbox_get(const struct store *, uint64_t id);         /* visible; NULL */
/* To be changed: also not being deleted. */
struct mailbox *mailbox_to_change(const struct store *, uint64_t id);
void mailbox_info(const struct store *, const struct mailbox *, struct store_mailbox_info *);
/* Before anything of it changes: saves it when a checkpoint waits for it, and marks it. */
void mailbox_touch(struct store *, struct mailbox *);
void mailbox_append(struct store *, struct mailbox *, const struct store_message *);
void mailbox_expunge(struct store *, struct mailbox *, const struct uid_set *, uint64_t modseq, struct op_when, enum store_kept_kind);
void mailbox_flags(struct store *, struct mailbox *, const struct uid_set *, enum store_flag_op, uint16_t flags, uint64_t keywords, uint64_t modseq);
void mailbox_add_vanished(struct mailbox *, uint32_t first, uint32_t last, uint64_t modseq);
/* Frees the bodies that no view can read any more. */
void mailbox_sweep_limbo(struct store *, struct mailbox *);
/* Empties it and takes it out of the store; its memory goes with the last view. */
void mailbox_delete(struct store *, struct mailbox *, struct op_when);
/* Its messages go. */
void mailbox_clear(struct store *, struct mailbox *, struct op_when);
uint32_t mailbox_unseen(const struct mailbox *);
void keyword_set(struct mailbox *, uint32_t bit, struct slice name, uint64_t wait);
uint64_t keyword_visible_mask(const struct store *, const struct mailbox *);
/* The bit by name among visible and reserved ones; KEYWORDS_MAX: none. */
uint32_t keyword_find(const struct store *, const struct mailbox *, struct slice name);
/* Among those whose record has been applied: what applying another record may depend on. */
uint32_t keyword_find_applied(const struct mailbox *, struct slice name);
uint32_t keyword_unused(const struct store *, struct mailbox *);
bool keyword_name_is_valid(struct slice);

/* ---- account.c ---- */

struct account *account_get(const struct store *, uint64_t id);
struct account *account_new(struct store *, uint64_t id);
void account_free(struct store *, struct account *);
/* So many bytes go into one of its mailboxes with the record that is handed over next. */
void account_hand(const struct store *, struct account *, uint64_t bytes);
int name_order(struct slice, struct slice);
struct mailbox *account_find(const struct account *, struct slice name);        /* name in its own spelling */
void account_add_mailbox(struct account *, struct mailbox *);
void account_remove_mailbox(struct account *, struct mailbox *);
void account_rename_mailbox(struct account *, struct mailbox *, struct slice name);
void account_subscribe(struct account *, struct slice name, bool is_subscribed);
bool account_has_children(const struct account *, struct slice name);

/* ---- body.c ---- */

void bodies_init(struct body_table *);
void bodies_free(struct body_table *);
void body_ref(struct store *, uint64_t id, uint64_t size);
void body_unref(struct store *, uint64_t id);
void body_place(struct store *, uint64_t id, uint32_t piece_bytes, uint32_t count, struct slice positions);
void body_move(struct store *, uint64_t id, uint32_t piece_bytes, uint32_t count, struct slice positions);
bool body_places(const struct store *, uint64_t id, uint32_t *size, const struct placed **);
/* One more piece for a body that is on its way. */
enum rc body_put_piece(struct store_body *, struct slice bytes, uint64_t *position, struct fault *);
/* The bytes of one piece (OP_PIECE), or of the body that stands in its own record (OP_BODY); until the next read. */
enum rc body_read_part(struct store *, uint64_t id, uint64_t position, enum op_tag, struct slice *bytes, struct fault *);
void bodies_sweep(struct store *);          /* forgets those that nothing refers to */
void bodies_sweep_handed(struct store *, bool all);
uint64_t bodies_live(const struct store *, uint64_t segment);
/* Ends the body's record with its operation: the record is the caller's to continue. NULL: it has failed. */
struct log_record *body_finish(struct store_body *, struct fault *);
void body_handed(struct store_body *, uint64_t wait);

/* ---- compact.c ---- */

/* After a checkpoint: is there a segment that is mostly dead, and is it worth while? */
void compact_choose(struct store *);
/* A bounded piece, as much as time allows; false always: there is nothing to do at once. */
bool compact_step(struct store *);

/* All at once, whatever is alive in it: for repair. Waits until it is durable. */
enum rc compact_segment(struct store *, uint64_t segment, struct fault *);

/* ---- snapshot.c ---- */

/* After a checkpoint: is a snapshot worth while? */
void snapshot_choose(struct store *);
bool snapshot_begin(struct store *);
/* A bounded piece; the store's event says when the next one can be done. */
void snapshot_step(struct store *);
void snapshot_abandon(struct store *);
/* A whole one, now: for repair. Waits until it is durable. */
enum rc snapshot_all(struct store *, struct fault *);
/* Of an operation's body. False: malformed. */
bool snapshot_read_end(struct slice body, struct store_snapshot *);

/* ---- message.c ---- */

/* store_revive, when all is checked. */
enum rc message_revive(struct store *, struct mailbox *, const struct store_revived *, size_t count, const struct slice keywords[KEYWORDS_MAX],
                       uint32_t *first_uid, uint64_t *wait, struct fault *);

/* ---- kept.c ---- */

void kept_init(struct store *);
void kept_free(struct store *);
/* The time of what is being handed over, and whether what it expunges is to be kept. */
struct op_when kept_when(const struct store *);
/* While a record is applied: a row that goes, any number of times; then end. A deleted mailbox itself after its rows. */
void kept_add(struct keeping *, const struct store_message *);
void kept_end(struct keeping *);
void kept_add_mailbox(struct store *, const struct mailbox *, struct op_when);
void kept_forget(struct store *, uint64_t first, bool is_early);
/* Hands over that everything before that number is kept no more: for repair. */
enum rc kept_forget_before(struct store *, uint64_t number, uint64_t *wait, struct fault *);
/* A bounded piece: hands over what is to be forgotten. True when there is more to do at once. */
bool kept_step(struct store *);
/* Batches from <= number < to in turn, as store_kept_each has them; `run` rises: what follows has numbers of at least that. */
typedef bool kept_each(void *arg, uint64_t run, const struct store_kept *);
enum rc kept_walk(struct store *, uint64_t account, uint64_t from, uint64_t to, kept_each *, void *arg, struct fault *);
/* In state.db, those saved, with runs before `to`. */
enum rc kept_walk_saved(struct store *, uint64_t account, uint64_t from, uint64_t to, kept_each *, void *arg, bool *is_stopped, struct fault *);
bool kept_read_head(struct slice head, struct store_kept *);
void kept_saved(struct store *);            /* the checkpoint that ran is in the file */

/* ---- apply.c ---- */

/* False: not a record of this version; what comes before the bad operation has been applied. */
bool apply_record(struct store *, uint64_t position, struct slice payload);

/* ---- handling.c ---- */

void handling_open(struct store *);         /* as well as it goes: without it nothing is set aside */
void handling_close(struct store *);

/* ---- ledger.c ---- */

bool ledger_save(struct store *);           /* within a checkpoint */
void ledger_load(struct store *);           /* behind everything else of the checkpoint */

/* ---- view.c ---- */

void views_mark_changed(struct store *, struct mailbox *);
void views_poke(struct store *);

/* ---- checkpoint.c ---- */

enum rc checkpoint_open(struct store *, struct sqlite3 *instead, struct fault *);
void checkpoint_close(struct store *);
uint64_t checkpoint_segment_bytes(const struct store *);
enum rc checkpoint_set_segment_bytes(struct store *, uint64_t, struct fault *);
bool checkpoint_is_new(const struct store *);       /* it was made just now */
/* Loads everything. *replay_from: where the log goes on. */
enum rc checkpoint_load(struct store *, uint64_t *replay_from, struct fault *);
/* Makes *generation durable as used. */
enum rc checkpoint_next_generation(struct store *, uint64_t at_least, uint64_t *generation, struct fault *);
/* A bounded piece; true when there is more to do at once. */
bool checkpoint_step(struct store *);
enum rc checkpoint_all(struct store *, struct fault *);
void checkpoint_save_mailbox(struct store *, struct mailbox *);
uint64_t checkpoint_position(const struct store *);
/* kept_rows.c */
bool checkpoint_save_kept(struct store *);
enum rc checkpoint_load_kept(struct store *, struct fault *);

#endif
