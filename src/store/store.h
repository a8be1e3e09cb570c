/* The store: mailboxes, their messages, and the log that both the mailboxes and the queue live in.
 *
 * It speaks mail, not key and value; nothing of the engine behind it shows here. One thread uses it (the post role's
 * loop); a second thread inside makes batches durable.
 *
 * Time and durability. Every change is one record in the log, and becomes visible (to views, listings, the queue)
 * only when it is on stable storage. A changing call checks what it is asked, assigns what has to be assigned (UIDs,
 * modseqs, ids), hands its record to the log and returns at once with a `wait` position. The caller answers its
 * client when store_settled(store, wait) says RC_OK: then the change is durable and visible. RC_MORE: not yet.
 * RC_TEMP: the write failed; nothing of it will be seen, nothing of it may be acknowledged. After a failed sync
 * nothing is ever written again until the store is opened anew (a sync is not retried as if it had succeeded).
 * store_poll() moves things on; store_event_fd() becomes readable when there is something to move.
 *
 * Invariants (each function says which it keeps; `thurn verify` checks them):
 *   S1  An acknowledged record is on stable storage, and replay finds it.
 *   S2  What is visible is durable: memory never runs ahead of the synced log.
 *   S3  In a mailbox UIDs only rise and are never given twice, not even after a failed write or a crash
 *       (a UID that was assigned and not made durable was never shown to anyone).
 *   S4  Modseqs of a mailbox only rise; every visible change has a modseq greater than all before it.
 *   S5  A body lives as long as a message in a mailbox, a queue entry or an open view refers to it.
 *   S6  A checkpoint holds nothing that the log does not: it can be deleted and rebuilt, from the last snapshot in the log
 *       and the records from the snapshot's position on.
 *   S7  A segment is recycled only when no live body is in it and no record in it is needed, for replay from the checkpoint
 *       or for rebuilding from the last whole snapshot.
 *   S8  Records apply in log order, and applying is deterministic: replay gives the same state. */
#ifndef THURN_STORE_STORE_H
#define THURN_STORE_STORE_H

#include "base/buf.h"
#include "base/fault.h"
#include "mail/date.h"
#include "os/file.h"
#include "store/uidset.h"

struct store;
struct store_body;
struct store_view;

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Rows with this bit in their key stay on disk: they are never loaded, only fetched by store_rider_get (histories). */
#define STORE_RIDER_ASIDE (1ull << 62)

/* What rides on the store's log besides mailboxes: the queue and the history of messages (queue/queue.h).
 * Its operations travel in the same records, so that accepting a message for a mailbox and for the queue is one
 * atomic write. apply is called in log order, at replay and when durable; save is called at checkpoints. */
struct store_rider {
    void *self;
    /* First of all calls, from within store_open: the store for store_body_ref in load and apply. May be NULL. */
    void (*opened)(void *self, struct store *);
    void (*apply)(void *self, struct store *, struct slice op, uint64_t body_id, uint64_t body_size);   /* body: of the record's message, 0 if none */
    /* Write what changed since the last checkpoint by store_rider_put / store_rider_delete. */
    enum rc (*save)(void *self, struct store *, struct fault *);
    /* At opening, once for each row put before whose key is less than STORE_RIDER_ASIDE, in any order, before any apply.
     * (load and apply get the store because at opening nobody else has it yet: for store_body_ref.) */
    void (*load)(void *self, struct store *, uint64_t key, struct slice row);
    /* For `thurn verify`, may be NULL: everything that is kept in memory, as the row that save would write, with the body that it
     * refers to (0: none); and whether a row, also one kept aside, is one that this version can read. */
    void (*each)(void *self, void (*row)(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size), void *arg);
    bool (*is_good_row)(void *self, uint64_t key, struct slice row);
    /* The deliveries that a row kept aside tells of: so that a message that cannot be read has a name. May be NULL. */
    void (*deliveries)(void *self, struct slice row, void (*each)(void *arg, uint64_t account, struct slice mailbox, uint32_t uid), void *arg);
    /* For repair, may be NULL: hands over what lets go of the thing with this key, since its body is lost. */
    enum rc (*lose)(void *self, uint64_t key, int64_t now_ms, uint64_t *wait, struct fault *);
};

struct store_options {
    const char *dir;                    /* exists, ours, mode 0700 */
    const struct file_ops *files;       /* os/file.h; tests fail, tear and stop them */
    struct store_rider rider;
    uint64_t segment_bytes;             /* 0: default 64 MiB */
    uint64_t hash_seed[2];
    uint32_t keep_expunged_s;           /* how long what is expunged can be brought back (store/kept.h); 0: not at all */
    int64_t (*clock_ms)(void *clock);   /* Unix; NULL: it is as late as store_poll was told last */
    void *clock;
    bool is_read_only;                  /* for inspection beside a running server: no lock, no thread, no write */
};

/* Opens, or creates when the directory is empty; replays. RC_PERM: data of a newer version, not a store, locked by
 * another process; RC_TEMP: the system said no. The fault names the file and the way out. */
enum rc store_open(const struct store_options *, struct store **, struct fault *);
/* Everything handed over is made durable, then a checkpoint is written. */
void store_close(struct store *);
int store_event_fd(const struct store *);
/* A sync has failed: nothing is written any more until the store is opened anew, which reads what is really there. */
bool store_needs_opening(const struct store *);
/* Applies what has become durable and wakes watchers; does a bounded piece of background work (checkpoint, recycling)
 * when it is due. Returns true when there is background work left: call again soon. */
bool store_poll(struct store *, int64_t now_ms);
/* Moving what is alive out of segments that are mostly dead is kept to RECLAIM_BYTES_PER_S, so that it never competes with
 * mail, and to RECLAIM_BYTES_PER_S_PRESSED while the disk is getting full. When store_poll returned false there may be such
 * work all the same: call it again after that many milliseconds. 0: there is none. */
enum { RECLAIM_BYTES_PER_S = 8 << 20, RECLAIM_BYTES_PER_S_PRESSED = 64 << 20 };
int store_again_ms(const struct store *);
enum rc store_settled(const struct store *, uint64_t wait);
/* False with a 4.3.1 fault when the disk is too full to take size_bytes more: ask before taking a message. */
bool store_has_room(const struct store *, uint64_t size_bytes, struct fault *);
/* The same for what makes room: false when the reserve that is kept for the outcomes of deliveries is used up, too. */
bool store_has_reserve(const struct store *, struct fault *);
/* The disk does not keep up (8 MiB wait to be written): who brings messages stops reading from where they come, until a
 * store_poll says otherwise or *wait has settled. Memory stays bounded so, and nobody is refused for it. At twice as much
 * store_body_write blocks, which a role must not let happen. wait may be NULL. */
bool store_is_behind(const struct store *, uint64_t *wait);
/* Blocks until `wait` is settled: for tools and tests only, never in a role's loop. */
enum rc store_wait(struct store *, uint64_t wait);

/* ---- bodies -------------------------------------------------------------------------------------------- */

/* A message's bytes on their way in. Small ones wait in memory and travel in their record; larger ones are written
 * to the log as they come (bounded memory). Unused ones must be abandoned. */
struct store_body *store_body_begin(struct store *);
enum rc store_body_write(struct store_body *, struct slice, struct fault *);
uint64_t store_body_size(const struct store_body *);
void store_body_abandon(struct store_body *);

/* Reads bytes of a stored body: exactly len from offset, checksums verified. RC_PERM with a fault that names the
 * message when the disk lies. */
enum rc store_read(struct store *, uint64_t body_id, uint64_t offset, size_t len, char *out, struct fault *);
/* Keeps a body alive (S5). Only from within a rider's apply/load; the store counts them anew at each opening. */
void store_body_ref(struct store *, uint64_t body_id, uint64_t size);
void store_body_unref(struct store *, uint64_t body_id);

/* ---- accounts and mailboxes ---------------------------------------------------------------------------- */

/* Accounts are numbers here (config/directory.h gives them names). The standard mailboxes (INBOX, Drafts, Sent,
 * Archive, Junk, Trash with their SPECIAL-USE) are there from an account's birth. Creating one that exists is RC_OK. */
enum rc store_account_create(struct store *, uint64_t account, int64_t now_s, uint64_t *wait, struct fault *);
enum rc store_account_delete(struct store *, uint64_t account, uint64_t *wait, struct fault *);
bool store_account_exists(const struct store *, uint64_t account);
struct store_usage {
    uint64_t bytes;             /* sum of the sizes of its messages, each mailbox counted */
    uint64_t coming_bytes;      /* of deliveries and appends that were handed over and are not visible yet: a quota has to count them */
    uint64_t messages;
    uint64_t mailboxes;
};
enum rc store_account_usage(const struct store *, uint64_t account, struct store_usage *);

enum store_special { SPECIAL_NONE, SPECIAL_DRAFTS, SPECIAL_SENT, SPECIAL_ARCHIVE, SPECIAL_JUNK, SPECIAL_TRASH, SPECIAL_ALL, SPECIAL_FLAGGED };

enum {
    FLAG_ANSWERED = 1, FLAG_FLAGGED = 2, FLAG_DELETED = 4, FLAG_SEEN = 8, FLAG_DRAFT = 16,
    FLAG_SYSTEM_MASK = 31,
};
enum { KEYWORDS_MAX = 64, KEYWORD_BYTES_MAX = 100 };    /* per mailbox */

struct store_mailbox_info {
    uint64_t id;                /* unique in the store, for ever */
    struct slice name;          /* UTF-8, '/' between levels, "INBOX" in that spelling; until the next store call */
    enum store_special special;
    bool is_subscribed;
    bool has_children;
    bool is_noselect;           /* a deleted parent whose children remain (RFC 3501 6.3.4) */
    uint32_t uidvalidity, uidnext;
    uint64_t highest_modseq;    /* at least 1 */
    uint32_t messages, unseen;
    uint32_t recent;            /* messages no read-write session has been told of */
    uint32_t first_unseen_seq;  /* 0: none */
    uint64_t size_bytes;
    struct slice keywords[KEYWORDS_MAX];    /* names by bit number; empty when unused */
    size_t keyword_count;
};

enum { MAILBOX_NAME_MAX = 1000, MAILBOXES_MAX = 10000 };
/* Name order of listings is bytewise with INBOX first. mailbox_id 0 starts; RC_NONE at the end.
 * Also yields subscribed names whose mailbox is gone (id 0, is_noselect) through the name: pass the last info's name. */
enum rc store_mailbox_next(const struct store *, uint64_t account, struct slice after_name, struct store_mailbox_info *);
/* By name (INBOX in any case). RC_NONE. */
enum rc store_mailbox_find(const struct store *, uint64_t account, struct slice name, struct store_mailbox_info *);
enum rc store_mailbox_by_id(const struct store *, uint64_t mailbox_id, struct store_mailbox_info *);
/* Missing parents are made too. RC_PERM: exists (ESC 0), bad name, too many. */
enum rc store_mailbox_create(struct store *, uint64_t account, struct slice name, enum store_special, int64_t now_s, uint64_t *wait, struct fault *);
/* RC_NONE, RC_PERM (INBOX; has children and is already noselect). With children it becomes noselect and empty. */
enum rc store_mailbox_delete(struct store *, uint64_t account, struct slice name, uint64_t *wait, struct fault *);
/* Children move along; renaming INBOX moves its messages into a new mailbox (RFC 3501 6.3.5). */
enum rc store_mailbox_rename(struct store *, uint64_t account, struct slice from, struct slice to, int64_t now_s, uint64_t *wait, struct fault *);
enum rc store_subscribe(struct store *, uint64_t account, struct slice name, bool is_subscribed, uint64_t *wait, struct fault *);
/* The bit of a keyword, made when it is new and create is set (visible when `wait` settles; usable in the same
 * client's following calls at once). RC_NONE: not there; RC_PERM: no bit left or bad name. */
enum rc store_keyword(struct store *, uint64_t mailbox_id, struct slice name, bool create, uint32_t *bit, uint64_t *wait, struct fault *);

/* ---- accepting messages ---------------------------------------------------------------------------------- */

struct store_delivery {
    uint64_t account;
    struct slice mailbox;       /* name; one that is gone or cannot be selected: INBOX is used instead */
    uint32_t flags;
    struct slice keywords[8];   /* names */
    size_t keyword_count;
    uint32_t uid;               /* out */
    uint64_t mailbox_id;        /* out */
    uint32_t uidvalidity;       /* out */
};

/* One record: the body once, any number of deliveries, and what the rider keeps of it. Consumes the body in every
 * case. body NULL: rider operations alone (the outcome of an attempt, say), or deliveries of an existing body_id. */
struct store_accept {
    struct store_body *body;
    uint64_t body_id, body_size;        /* when body is NULL and there are deliveries; with a body they come back */
    struct mail_date internal_date;
    struct store_delivery *deliveries;
    size_t delivery_count;
    const struct slice *rider_ops;
    size_t rider_op_count;
    /* When set: writes one more rider operation, before the others, when the UIDs above have been assigned. False fails
     * the accept. */
    bool (*write_op)(void *arg, struct buf *op);
    void *write_op_arg;
};
enum rc store_accept(struct store *, struct store_accept *, uint64_t *wait, struct fault *);

/* ---- views: what a session sees --------------------------------------------------------------------------- */

struct store_message {
    uint64_t body_id;
    uint64_t modseq;
    uint64_t keywords;          /* bit n: keyword n of the mailbox */
    int64_t internal_s;         /* Unix seconds */
    int16_t internal_zone_min;
    uint16_t flags;
    uint32_t uid;
    uint32_t size;
    uint32_t appended_s;        /* Unix seconds: since when it is in this mailbox; 0: not known */
};

/* A view is one session's stable numbering of a mailbox: sequence numbers change only in store_view_sync. The
 * numbering is shared between all views of the same state; a view holds only what its client has not been told.
 * A message that was expunged elsewhere stays readable (body and all) until this view has synced past it. */
enum rc store_view_open(struct store *, uint64_t mailbox_id, bool is_read_only, struct store_view **, struct fault *);
void store_view_close(struct store_view *);
uint64_t store_view_mailbox(const struct store_view *);
uint32_t store_view_count(const struct store_view *);
/* seq from 1 to count; flags, keywords and modseq are the current ones. */
void store_view_at(const struct store_view *, uint32_t seq, struct store_message *);
/* The smallest seq whose UID is at least uid; count + 1 when there is none. */
uint32_t store_view_seq(const struct store_view *, uint32_t uid);
/* UIDs from this one on were recent when this view was opened (a read-write one took them, RFC 3501 2.3.2). */
uint32_t store_view_recent_uid(const struct store_view *);
uint32_t store_view_recent_count(const struct store_view *);

enum store_change_kind { CHANGE_EXPUNGED, CHANGE_FLAGS, CHANGE_APPEARED, CHANGE_KEYWORDS, CHANGE_GONE };
struct store_change {
    enum store_change_kind kind;
    uint32_t seq;               /* EXPUNGED: as numbered at that moment (each one renumbers the rest); FLAGS; APPEARED: new count */
    uint32_t uid;               /* EXPUNGED, FLAGS */
};
/* True when sync would report something (APPEARED and FLAGS always count; EXPUNGED too). */
bool store_view_has_news(const struct store_view *);
/* Brings the view up to date and reports what changed, expunges first; when they are not allowed (RFC 3501 7.4.1)
 * they stay for later and the rest is reported. CHANGE_GONE: the mailbox was deleted. */
void store_view_sync(struct store_view *, bool expunges_allowed, void (*report)(void *arg, const struct store_change *), void *arg);
/* A flag change made by this view's own session: do not report it back in sync (the session answers itself). */
void store_view_own_change(struct store_view *, uint64_t modseq);
/* Called (from store_poll) after something changed in the view's mailbox; NULL to stop. */
void store_view_watch(struct store_view *, void (*changed)(void *arg), void *arg);

/* Expunges since a modseq, for QRESYNC and for undelete. */
enum rc store_vanished(const struct store *, uint64_t mailbox_id, uint64_t since_modseq, struct uid_set *out);

/* ---- changing messages: UIDs that are not there are passed over ------------------------------------------------ */

enum store_flag_op { FLAGS_REPLACE, FLAGS_ADD, FLAGS_REMOVE };
/* unchanged_since: UINT64_MAX for no condition (RFC 7162 3.1.3); those that changed since come back in `modified`.
 * *modseq: of this change (0 when nothing changed). RC_MORE: earlier changes of this mailbox are not settled and the
 * condition cannot be judged yet; call again when *wait has settled. */
enum rc store_flags(struct store *, uint64_t mailbox_id, const struct uid_set *uids, enum store_flag_op, uint32_t flags, uint64_t keywords,
                    uint64_t unchanged_since, struct uid_set *modified, uint64_t *modseq, uint64_t *wait, struct fault *);
/* Those of `uids` (NULL: all) that carry \Deleted, or all of them when `any` is set. What was expunged comes back. */
enum rc store_expunge(struct store *, uint64_t mailbox_id, const struct uid_set *uids, bool any, struct uid_set *expunged, uint64_t *wait, struct fault *);
/* Copies (or moves, RFC 6851) in ascending UID order; source and destination UIDs correspond in order. Flags,
 * keywords and dates go along; the body is shared. */
enum rc store_copy(struct store *, uint64_t from_mailbox_id, const struct uid_set *uids, uint64_t to_mailbox_id, bool is_move,
                   struct uid_set *from_uids, struct uid_set *to_uids, uint64_t *wait, struct fault *);
/* Into one mailbox, consuming the body (IMAP APPEND, import). uid comes back. RC_NONE: no such mailbox. */
enum rc store_append(struct store *, uint64_t mailbox_id, struct store_body *, struct mail_date, uint32_t flags, uint64_t keywords,
                     uint32_t *uid, uint64_t *wait, struct fault *);

/* ---- rider rows, only from within the rider's save ------------------------------------------------------------- */

enum rc store_rider_put(struct store *, uint64_t key, struct slice row, struct fault *);
enum rc store_rider_delete(struct store *, uint64_t key, struct fault *);
/* All rows with from <= key < to: histories that are old enough to be forgotten. */
enum rc store_rider_delete_range(struct store *, uint64_t from, uint64_t to, struct fault *);
/* A row that was put and is not kept in memory (history): RC_NONE. Any time. */
enum rc store_rider_get(struct store *, uint64_t key, struct buf *row, struct fault *);
/* The smallest key greater than `after` among the rows of the last checkpoint: RC_NONE. Any time. */
enum rc store_rider_next(struct store *, uint64_t after, uint64_t *key, struct fault *);

/* ---- the ledger: what came into the mailboxes and what left them --------------------------------------------------- */

/* The unit is a copy: one message in one mailbox. Every copy that ever was is counted once where it came from and, when it is
 * gone, once where it went; moving one (MOVE, renaming INBOX) is neither. The counters change when a record is applied, so
 * replay counts the same again (S8), and they are in the checkpoint. They begin with the store, or for one that an older
 * version made with what was there then. */
struct store_ledger {
    uint64_t brought;           /* were there when counting began */
    uint64_t delivered;         /* by a record that also has an operation of the rider: mail that was accepted */
    uint64_t appended;          /* by a record without: IMAP APPEND, import, restore */
    uint64_t copied;            /* IMAP COPY */
    uint64_t expunged;          /* whether or not they are kept to be recovered */
    uint64_t removed;           /* went with their mailbox or account */
    uint64_t present;           /* in mailboxes now: counted there, for each call (a moment for 100,000 mailboxes) */
};
void store_ledger(const struct store *, struct store_ledger *);
/* brought + delivered + appended + copied - expunged - removed - present: how many are missing (negative: too many). */
int64_t store_ledger_missing(const struct store_ledger *);

/* One by one. What is found is told with slices that live until the next store call. */
enum store_finding_kind {
    FINDING_BODY_GONE,          /* a message of a mailbox whose bytes are not in any segment of the log */
    FINDING_UIDS_GONE,          /* from first_uid to last_uid: neither there nor known to have been expunged. Only looked for, and
                                   only a sign of loss, while store_ledger_missing is not 0: a write that failed leaves such a gap too */
    FINDING_COUNT,              /* a mailbox that says another number of messages than it has */
};
struct store_finding {
    enum store_finding_kind kind;
    uint64_t account, mailbox_id;
    struct slice mailbox;
    uint32_t first_uid, last_uid;
    uint64_t body_id;
};
struct store_walk;
/* All mailboxes that are there at the beginning; memory: eight bytes for each of them. NULL: out of memory. */
struct store_walk *store_walk_new(struct store *, void (*found)(void *arg, const struct store_finding *), void *arg);
/* Looks at about so many messages. False: it is through. The store may change between the calls. */
bool store_walk_step(struct store_walk *, size_t messages);
void store_walk_free(struct store_walk *);
/* Are the bytes of this body where the table says? Asks the disk once for each segment and walk. */
bool store_walk_has_body(struct store_walk *, uint64_t body_id);

enum store_fate { FATE_PRESENT, FATE_EXPUNGED, FATE_MAILBOX_GONE, FATE_MISSING };
/* What became of a message that was delivered there. */
enum store_fate store_message_fate(const struct store *, uint64_t mailbox_id, uint32_t uid);

/* ---- what is being handled ------------------------------------------------------------------------------------- */

/* A message can be such that handling it kills the process (a bug of ours that it brings to light). So what is about to be taken
 * apart is noted where the next process finds it (the file `handling`; not synced: it has to survive the process, not the
 * machine), and that it went well when it did. What a process died of twice in a row is set aside: it is not to be handled in that
 * way any more, until it has gone well after all (an administrator may insist). One thing at a time: it is one thread. */
enum store_handling {
    HANDLING_NOTHING,
    HANDLING_READ,              /* a body is parsed for a reader: id is the body's */
    HANDLING_REPORT,            /* a report about a message is written: id is the message's */
};
enum { HANDLING_DEATHS_MAX = 2 };
void store_handling_begin(struct store *, enum store_handling, uint64_t id);     /* what was begun before went well */
void store_handling_end(struct store *);        /* it went well; nothing when nothing was begun */
bool store_is_set_aside(const struct store *, enum store_handling, uint64_t id);
/* What the process before this one was handling when it died, and how many times in a row that was so; HANDLING_NOTHING. */
enum store_handling store_died_handling(const struct store *, uint64_t *id, uint32_t *deaths);

/* ---- figures ----------------------------------------------------------------------------------------------------- */

struct store_figures {
    uint64_t records, batches, syncs, bytes_written;        /* since opening */
    uint64_t segments, segments_free, segment_bytes;
    uint64_t accounts, mailboxes, messages, bodies;
    uint64_t durable_position, checkpoint_position;
    uint64_t snapshot_position;         /* the log gives everything back from here on: nothing behind it has been reclaimed */
    bool is_snapshot_running;
    uint64_t bytes_moved;           /* out of segments that are mostly dead, since opening */
};
void store_figures(const struct store *, struct store_figures *);

#endif
