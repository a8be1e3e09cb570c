/* state.db: its tables and statements, opening it, and the few numbers beside the rows. See checkpoint.c for what is in it. */
#include "store/checkpoint.h"

#include "os/sealed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [TABLES] = "SELECT count(*) FROM sqlite_master",
    [META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [META_PUT] = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
    [ACCOUNTS] = "SELECT id, row FROM account",
    [ACCOUNT_PUT] = "INSERT OR REPLACE INTO account (id, row) VALUES (?1, ?2)",
    [ACCOUNT_DROP] = "DELETE FROM account WHERE id = ?1",
    [ACCOUNTS_DROP] = "DELETE FROM account",
    [MAILBOXES] = "SELECT id, account, name, row FROM mailbox",
    [MAILBOX_PUT] = "INSERT OR REPLACE INTO mailbox (id, account, name, row) VALUES (?1, ?2, ?3, ?4)",
    [MAILBOX_DROP] = "DELETE FROM mailbox WHERE id = ?1",
    [MAILBOXES_DROP] = "DELETE FROM mailbox",
    [RUNS] = "SELECT number, rows FROM run WHERE mailbox = ?1",
    [RUN_PUT] = "INSERT OR REPLACE INTO run (mailbox, number, rows) VALUES (?1, ?2, ?3)",
    [RUN_DROP] = "DELETE FROM run WHERE mailbox = ?1 AND number = ?2",
    [MAILBOX_RUNS_DROP] = "DELETE FROM run WHERE mailbox = ?1",
    [RUNS_DROP] = "DELETE FROM run",
    [BODIES] = "SELECT id, row FROM body",
    [BODY_PUT] = "INSERT OR REPLACE INTO body (id, row) VALUES (?1, ?2)",
    [BODY_DROP] = "DELETE FROM body WHERE id = ?1",
    [BODIES_DROP] = "DELETE FROM body",
    [RIDERS] = "SELECT key, row FROM rider WHERE key >= 0 AND key < ?1",
    [RIDER_PUT] = "INSERT OR REPLACE INTO rider (key, row) VALUES (?1, ?2)",
    [RIDER_DROP] = "DELETE FROM rider WHERE key = ?1",
    [RIDER_RANGE_DROP] = "DELETE FROM rider WHERE key >= ?1 AND key < ?2",
    [RIDER_GET] = "SELECT row FROM rider WHERE key = ?1",
    [RIDER_NEXT] = "SELECT min(key) FROM rider WHERE key > ?1",
    [KEPT_ALL] = "SELECT id, account, mailbox, row FROM kept WHERE id < ?1 ORDER BY id",
    [KEPT_OF] = "SELECT id, account, mailbox, row FROM kept WHERE id < ?1 AND account = ?2 ORDER BY id",
    [KEPT_PUT] = "INSERT INTO kept (id, last, account, mailbox, row) VALUES (?1, ?2, ?3, ?4, ?5)",
    [KEPT_DROP_FROM] = "DELETE FROM kept WHERE id >= ?1",
    [KEPT_DROP_BEFORE] = "DELETE FROM kept WHERE id < ?1 AND last < ?1",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, row BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS mailbox (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, row BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS run (mailbox INTEGER NOT NULL, number INTEGER NOT NULL, rows BLOB NOT NULL, PRIMARY KEY (mailbox, number));"
    "CREATE TABLE IF NOT EXISTS body (id INTEGER PRIMARY KEY, row BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS rider (key INTEGER PRIMARY KEY, row BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY, last INTEGER NOT NULL, account INTEGER NOT NULL, mailbox INTEGER NOT NULL, "
        "row BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS kept_account ON kept (account, id);";

/* ---- SQLite ---- */

enum rc checkpoint_fault(const struct checkpoint *c, struct fault *fault)
{
    int code = sqlite3_errcode(c->db) & 0xff;
    const char *text = sqlite3_errmsg(c->db);
    if (sealed_is_damaged(c->db))
        return fault_perm(fault, ESC(5, 3, 0), "%s is damaged (%s): \"thurn verify --repair\" makes it anew from the log", c->path, text);
    return fault_temp(fault, ESC(4, 3, code == SQLITE_FULL ? 1 : 0), "%s: %s", c->path, text);
}

sqlite3_stmt *checkpoint_statement(struct checkpoint *c, enum statement which)
{
    if (c->statements[which] == NULL)
        sqlite3_prepare_v3(c->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &c->statements[which], NULL);
    return c->statements[which];
}

sqlite3_stmt *checkpoint_bound(struct checkpoint *c, enum statement which, uint64_t first)
{
    sqlite3_stmt *s = checkpoint_statement(c, which);
    if (s != NULL)
        sqlite3_bind_int64(s, 1, (sqlite3_int64)first);
    return s;
}

bool checkpoint_bind_blob(sqlite3_stmt *s, int at, struct slice bytes)
{
    return s != NULL && sqlite3_bind_blob64(s, at, bytes.len == 0 ? "" : bytes.ptr, bytes.len, SQLITE_TRANSIENT) == SQLITE_OK;
}

/* Runs a statement that gives no rows. */
bool checkpoint_run(sqlite3_stmt *s)
{
    bool ok = s != NULL && sqlite3_step(s) == SQLITE_DONE;
    if (s != NULL) {
        sqlite3_reset(s);
        sqlite3_clear_bindings(s);
    }
    return ok;
}

struct slice checkpoint_column(sqlite3_stmt *s, int at)
{
    const char *bytes = sqlite3_column_blob(s, at);
    return (struct slice){ bytes, bytes == NULL ? 0 : (size_t)sqlite3_column_bytes(s, at) };
}

bool checkpoint_put_meta(struct checkpoint *c, const char *key, uint64_t value)
{
    sqlite3_stmt *s = checkpoint_statement(c, META_PUT);
    return s != NULL && sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) == SQLITE_OK
        && sqlite3_bind_int64(s, 2, (sqlite3_int64)value) == SQLITE_OK && checkpoint_run(s);
}

bool checkpoint_get_meta(struct checkpoint *c, const char *key, uint64_t *value)
{
    sqlite3_stmt *s = checkpoint_statement(c, META_GET);
    int result = SQLITE_NOMEM;
    if (s != NULL && sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) == SQLITE_OK)
        result = sqlite3_step(s);
    if (result == SQLITE_ROW)
        *value = (uint64_t)sqlite3_column_int64(s, 0);
    else if (result != SQLITE_DONE)
        c->is_unread = true;
    sqlite3_reset(s);
    return result == SQLITE_ROW;
}

bool checkpoint_write_schema(sqlite3 *db) { return sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK; }

/* ---- opening ---- */

static bool has_tables(struct checkpoint *c)
{
    sqlite3_stmt *s = checkpoint_statement(c, TABLES);
    bool has = s == NULL || sqlite3_step(s) != SQLITE_ROW || sqlite3_column_int64(s, 0) != 0;
    sqlite3_reset(s);
    return has;
}

static bool create_tables(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    /* temp_store: the role that has this open may make no file elsewhere */
    if (sqlite3_exec(c->db, "PRAGMA temp_store=MEMORY", NULL, NULL, NULL) != SQLITE_OK || sealed_make(c->db) != SQLITE_OK
        || sqlite3_exec(c->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0", NULL, NULL, NULL) != SQLITE_OK)
        return false;
    if (has_tables(c))
        return true;
    c->is_new = true;
    return checkpoint_run(checkpoint_statement(c, BEGIN)) && checkpoint_write_schema(c->db)
        && checkpoint_put_meta(c, "format", CHECKPOINT_FORMAT) && checkpoint_put_meta(c, "segment_bytes", store->options.segment_bytes)
        && checkpoint_put_meta(c, "replay_from", LOG_START) && checkpoint_put_meta(c, "generation", 0)
        && checkpoint_run(checkpoint_statement(c, COMMIT));
}

static void close_db(struct checkpoint *c)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(c->statements[i]);
    memset(c->statements, 0, sizeof c->statements);
    sqlite3_close(c->db);
    c->db = NULL;
}

static bool exists(const struct store *store, const char *path)
{
    const struct file_ops *files = store->options.files;
    int fd = files->open(files->self, path, false, true);
    if (fd >= 0)
        (void)files->close(files->self, fd);
    return fd != -ENOENT;                       /* what cannot be looked at is not made anew */
}

/* What a database of that name may have left, and the database. 0 or -errno. */
static int remove_remains(const struct file_ops *files, const char *path)
{
    static const char *const remains[] = { "", "-journal", "-wal", "-shm" };
    char name[LOG_PATH_MAX + 64];
    int error = 0;
    for (size_t i = 0; i < sizeof remains / sizeof remains[0] && (error >= 0 || error == -ENOENT); i++) {
        snprintf(name, sizeof name, "%s%s", path, remains[i]);
        error = files->unlink(files->self, name);
    }
    return error == -ENOENT ? 0 : error;
}

/* A new one is made under another name, whole and synced, before it has its own: so a cut of the power leaves none or a good one,
 * never one half made; nor does it find the write-ahead log of another that was lost. False: SQLite's error stands in c->db, or
 * -errno in *error. */
static bool make_db(struct store *store, int *error)
{
    struct checkpoint *c = store->checkpoint;
    const struct file_ops *files = store->options.files;
    char path[sizeof c->path + 16];
    snprintf(path, sizeof path, "%s.new", c->path);
    *error = remove_remains(files, path);
    if (*error >= 0)
        *error = remove_remains(files, c->path);
    if (*error >= 0)
        *error = files->sync_dir(files->self, store->dir);
    if (*error < 0)
        return false;
    if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, sealed_vfs()) != SQLITE_OK
        || !create_tables(store) || sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
        return false;
    close_db(c);
    *error = files->rename(files->self, path, c->path);
    if (*error >= 0)
        *error = files->sync_dir(files->self, store->dir);
    return *error >= 0;
}

static int open_db(struct store *store, struct sqlite3 *instead)
{
    struct checkpoint *c = store->checkpoint;
    int flags = store->options.is_read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    c->db = instead;
    return instead != NULL ? SQLITE_OK : sqlite3_open_v2(c->path, &c->db, flags | SQLITE_OPEN_NOMUTEX, sealed_vfs());
}

enum rc checkpoint_open(struct store *store, struct sqlite3 *instead, struct fault *fault)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    if (c == NULL)
        return fault_no_memory(fault);
    store->checkpoint = c;
    map_init(&c->rider_rows, NULL);
    buf_init(&c->scratch, CHECKPOINT_ROW_MAX);
    snprintf(c->path, sizeof c->path, "%s/state.db", store->dir);
    bool is_read_only = store->options.is_read_only;
    int error;
    if (!is_read_only && instead == NULL && !exists(store, c->path) && !make_db(store, &error))
        return error < 0 ? fault_errno(fault, -error, "cannot make %s", c->path) : checkpoint_fault(c, fault);
    if (open_db(store, instead) != SQLITE_OK) {
        if (is_read_only && sqlite3_errcode(c->db) == SQLITE_CANTOPEN)
            return fault_perm(fault, 0, "there is no store in %s", store->dir);
        return checkpoint_fault(c, fault);
    }
    sqlite3_busy_timeout(c->db, 5000);
    if (!is_read_only && !create_tables(store))
        return checkpoint_fault(c, fault);
    if (is_read_only && !has_tables(c))     /* it is being made, or whoever made it was killed */
        return fault_perm(fault, 0, "there is no store in %s", store->dir);
    uint64_t format;
    if (!checkpoint_get_meta(c, "format", &format) || !checkpoint_get_meta(c, "segment_bytes", &c->segment_bytes))
        return sqlite3_errcode(c->db) == SQLITE_DONE || sqlite3_errcode(c->db) == SQLITE_ERROR
            ? fault_perm(fault, 0, "%s is not a store of ours", c->path) : checkpoint_fault(c, fault);
    if (format < CHECKPOINT_FORMAT)
        return fault_perm(fault, 0, "%s has format %llu, which no release has written: this version reads %d", c->path,
                          (unsigned long long)format, CHECKPOINT_FORMAT);
    if (format > CHECKPOINT_FORMAT)
        return fault_perm(fault, 0, "%s has format %llu, this version knows up to %d: use the newer version that wrote it",
                          c->path, (unsigned long long)format, CHECKPOINT_FORMAT);
    return RC_OK;
}

void checkpoint_close(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    if (c == NULL)
        return;
    close_db(c);
    checkpoint_forget_rider(c);
    map_free(&c->rider_rows);
    free(c->rider_ranges);
    buf_free(&c->scratch);
    free(c);
}

uint64_t checkpoint_segment_bytes(const struct store *store) { return store->checkpoint->segment_bytes; }
bool checkpoint_is_new(const struct store *store) { return store->checkpoint->is_new; }

enum rc checkpoint_set_segment_bytes(struct store *store, uint64_t bytes, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    c->segment_bytes = bytes;
    return checkpoint_put_meta(c, "segment_bytes", bytes) ? RC_OK : checkpoint_fault(c, fault);
}

uint64_t checkpoint_position(const struct store *store) { return store->checkpoint->position; }

enum rc checkpoint_next_generation(struct store *store, uint64_t at_least, uint64_t *generation, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    uint64_t last;
    if (!checkpoint_get_meta(c, "generation", &last))
        return checkpoint_fault(c, fault);
    /* Room for a million failed batches in each run of the process. */
    *generation = ((last > at_least ? last : at_least) | 0xfffff) + 1;
    return checkpoint_put_meta(c, "generation", *generation) ? RC_OK : checkpoint_fault(c, fault);
}
