/* Verifying a store and repairing it: what `thurn verify` does.
 *
 * store_verify only reads, beside a running server too. It reads every segment that holds anything alive or needed once, from
 * its beginning to its end, and looks at: the checksum of every record (S1); every message's and every queue entry's body, its
 * place, size and count of references (S5); the order and the counters of every mailbox (S3, S4); segments that are needed and
 * not there (S7); state.db by SQLite's own means, and row by row against what the log says (S6, S8).
 * What is found is looked at once more before it is told, since a running server goes on meanwhile.
 *
 * store_repair wants the store for itself. It takes state.db when that is good and agrees with the log, and otherwise makes it
 * anew from the last snapshot and the records behind it; it passes over what cannot be read, takes messages without a readable
 * body out of their mailboxes, empties damaged segments, and ends with a store that store_verify finds nothing in. Every
 * message that was lost is told, with mailbox and UID where they are known; the state.db that was there is kept beside. */
#ifndef THURN_STORE_VERIFY_H
#define THURN_STORE_VERIFY_H

#include "store/store.h"

enum verify_kind {
    VERIFY_DAMAGE,          /* bytes of a segment that must be records and are not */
    VERIFY_SEGMENT,         /* a segment that is needed is not there */
    VERIFY_MESSAGE,         /* a message in a mailbox whose body cannot be read */
    VERIFY_KEPT,            /* an expunged message that is still kept, and could not be brought back */
    VERIFY_ENTRY,           /* the same in the queue, or a row of it that makes no sense */
    VERIFY_MAILBOX,         /* order or counters of a mailbox */
    VERIFY_BODY,            /* references to a body, or its parts */
    VERIFY_STATE,           /* state.db cannot be read */
    VERIFY_INDEX,           /* state.db does not say what the log says */
    VERIFY_SNAPSHOT,        /* the snapshot in the log is not whole: the log alone would not give everything back */
};
const char *verify_kind_name(enum verify_kind);

struct verify_finding {
    enum verify_kind kind;
    struct slice file;              /* below the store's folder: "log/0000000000000003.seg", "state.db"; empty: none */
    uint64_t offset, bytes;         /* in it; 0 bytes: a place */
    uint64_t account, mailbox_id;   /* 0: none */
    struct slice mailbox;           /* its name */
    uint32_t uid;                   /* 0: not one message */
    uint64_t entry;                 /* the message's id in queue and history, 0: not known */
    struct slice text;              /* what is wrong, without the place */
};

/* A rider that is made for one opening of the store, several times. */
struct verify_rider {
    bool (*make)(void *arg, struct store_rider *);
    void (*free)(void *arg, struct store_rider *);
    void *arg;
};

struct verify_options {
    const char *dir;
    const struct file_ops *files;
    struct verify_rider rider;      /* make NULL: none */
    uint32_t keep_expunged_s;       /* for repair: store_options has it */
    /* Told when it is certain; slices live during the call. */
    void (*found)(void *arg, const struct verify_finding *);
    /* What is done of what there is to do, in bytes: for a line on the terminal, and to sleep in when there is a limit. May be NULL. */
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    /* Each account of the store, for whoever knows which there should be. May be NULL. */
    void (*account)(void *arg, uint64_t account, bool is_removed);
    void *arg;
};

struct verify_figures {
    uint64_t findings, bytes, segments, records, accounts, mailboxes, messages, bodies, entries;
    bool is_compared;               /* state.db with the log (it cannot be when the log goes on too fast, or has no snapshot yet) */
};

/* RC_OK whatever was found; anything else: it could not be looked at. */
enum rc store_verify(const struct verify_options *, struct verify_figures *, struct fault *);

struct repair_figures {
    bool is_rebuilt;                /* state.db was made anew */
    uint64_t damaged, lost_messages, lost_entries;      /* places in the log, messages taken out, queue entries taken out */
    uint64_t messages;              /* that are there now */
};
/* RC_PERM: a server runs, or there is nothing of a store. */
enum rc store_repair(const struct verify_options *, int64_t now_ms, struct repair_figures *, struct fault *);

#endif
