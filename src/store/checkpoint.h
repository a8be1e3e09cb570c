/* What the files of the checkpoint share; nobody else includes this, nor SQLite. All SQL is prepared and bound. */
#ifndef THURN_STORE_CHECKPOINT_H
#define THURN_STORE_CHECKPOINT_H

#include "store/encode.h"
#include "store/inner.h"

#include <sqlite3.h>

enum { CHECKPOINT_ROW_MAX = 64 << 20, CHECKPOINT_FORMAT = 2 };

enum statement {
    BEGIN, COMMIT, ROLLBACK,
    TABLES, META_GET, META_PUT,
    ACCOUNTS, ACCOUNT_PUT, ACCOUNT_DROP, ACCOUNTS_DROP,
    MAILBOXES, MAILBOX_PUT, MAILBOX_DROP, MAILBOXES_DROP,
    RUNS, RUN_PUT, RUN_DROP, MAILBOX_RUNS_DROP, RUNS_DROP,
    BODIES, BODY_PUT, BODY_DROP, BODIES_DROP,
    RIDERS, RIDER_PUT, RIDER_DROP, RIDER_RANGE_DROP, RIDER_GET, RIDER_NEXT,
    KEPT_ALL, KEPT_OF, KEPT_PUT, KEPT_DROP_FROM, KEPT_DROP_BEFORE,
    STATEMENTS,
};

struct rider_row {                  /* put or deleted, and not committed yet */
    uint64_t key;
    bool is_deleted;
    struct buf row;
};

struct rider_range {                /* deleted, and not committed yet */
    uint64_t from, to;
};

struct checkpoint {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    char path[LOG_PATH_MAX + 16];
    uint64_t segment_bytes;
    uint64_t position;              /* of the last one: replay begins there */
    int64_t last_ms;
    bool is_new;                    /* made by this opening */
    bool is_running, is_saving_rider;
    bool is_unread;                 /* a value of META could not be read: it may be there all the same */
    bool has_failed;                /* what the file has is not known: everything is saved anew */
    uint64_t running_position;
    size_t running_mailboxes, running_accounts;         /* of the dropped ones, that this one knows of */
    struct map rider_rows;          /* key -> struct rider_row */
    struct rider_range *rider_ranges;
    size_t range_count, range_cap;
    struct buf scratch;
};

/* The last failure of SQLite. */
enum rc checkpoint_fault(const struct checkpoint *, struct fault *);
/* A prepared statement, NULL when it cannot be; the second with its first parameter bound. */
sqlite3_stmt *checkpoint_statement(struct checkpoint *, enum statement);
sqlite3_stmt *checkpoint_bound(struct checkpoint *, enum statement, uint64_t first);
bool checkpoint_bind_blob(sqlite3_stmt *, int at, struct slice bytes);
/* Runs a statement that gives no rows, and unbinds it. NULL fails. */
bool checkpoint_run(sqlite3_stmt *);
struct slice checkpoint_column(sqlite3_stmt *, int at);
bool checkpoint_put_meta(struct checkpoint *, const char *key, uint64_t value);
bool checkpoint_get_meta(struct checkpoint *, const char *key, uint64_t *value);

bool checkpoint_write_schema(sqlite3 *);        /* into an empty database */

/* rider.c: what the rider has put since the last commit, and forgetting it behind a commit. */
bool checkpoint_save_rider(struct store *);
void checkpoint_forget_rider(struct checkpoint *);

#endif
