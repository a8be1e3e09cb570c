/* Repairing: what the log has, whether state.db is good, and making it anew. See verify.h. */
#include "store/repair_inner.h"

#include "os/sealed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the log ------------------------------------------------------------------------------------------------------------ */

static void on_record(void *arg, uint64_t position, struct slice payload)
{
    struct repair *r = arg;
    struct op op;
    struct store_snapshot end;
    (void)position;
    if (op_next(&payload, &op) == RC_OK && op.tag == OP_SNAPSHOT_END && snapshot_read_end(op.body, &end))
        r->newest = end;
}

static void on_damage(void *arg, uint64_t position, uint64_t bytes) { (void)arg, (void)position, (void)bytes; }

static void on_progress(void *arg, uint64_t bytes)
{
    struct repair *r = arg;
    struct verify *v = &r->verify;
    v->figures.bytes += bytes;
    if (r->options->progress != NULL)
        r->options->progress(r->options->arg, v->figures.bytes, v->total_bytes);
}

static enum rc read_log(struct repair *r, struct log *log, struct fault *fault)
{
    struct log_scan_calls calls = { r, on_record, on_damage, on_progress };
    struct log_scan *scan = log_scan_new(log, &calls);
    if (scan == NULL)
        return fault_no_memory(fault);
    r->first_segment = log_next_segment(log, 0);
    for (uint64_t n = r->first_segment; n != UINT64_MAX; n = log_next_segment(log, n + 1))
        r->verify.total_bytes += r->segment_bytes;
    for (uint64_t n = r->first_segment; n != UINT64_MAX; n = log_next_segment(log, n + 1))
        (void)log_scan_segment(scan, n, 0, 0, NULL);
    r->generation = log_scan_generation(scan);
    log_scan_free(scan);
    return RC_OK;
}

static enum rc open_log(struct repair *r, uint64_t segment_bytes, struct log **log, struct fault *fault)
{
    struct log_options options = { .files = r->options->files, .dir = r->options->dir, .segment_bytes = segment_bytes, .is_read_only = true };
    return store_log_open(&options, log, fault);
}

/* The size of segments stands in state.db; without it, it is that of the first file. */
static enum rc survey_log(struct repair *r, struct fault *fault)
{
    struct log *log = NULL;
    uint64_t bytes = 0;
    enum rc rc = open_log(r, 64ull << 20, &log, fault);
    if (rc == RC_OK)
        rc = log_file_bytes(log, &bytes, fault);
    log_close(log);
    r->segment_bytes = r->is_state_good ? r->segment_bytes : bytes;
    if (rc != RC_OK)
        return rc;
    if (r->segment_bytes < 4096)
        return fault_perm(fault, 0, "%s/log has no segments: there is nothing to repair. Restore the folder from a backup", r->options->dir);
    rc = open_log(r, r->segment_bytes, &log, fault);
    if (rc == RC_OK)
        rc = read_log(r, log, fault);
    log_close(log);
    return rc;
}

/* ---- state.db ------------------------------------------------------------------------------------------------------------- */

static bool is_intact(const char *path)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, sealed_vfs()) == SQLITE_OK
        && sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW
        && slice_equal(checkpoint_column(s, 0), SLICE("ok"));
    sqlite3_finalize(s);
    sqlite3_close(db);
    return ok;
}

/* Can it be loaded? A reader does that as the server would, without the log. */
static void survey_state(struct repair *r)
{
    struct store_rider rider;
    struct store *store = NULL;
    struct fault why = { 0 };
    char path[LOG_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/state.db", r->options->dir);
    bool ok = is_intact(path) && verify_make_rider(r->options, &rider);
    if (ok) {
        struct store_options options = { .dir = r->options->dir, .files = r->options->files, .rider = rider, .is_read_only = true };
        struct store_opening how = { .is_without_log = true };
        ok = store_open_how(&options, &how, &store, &why) == RC_OK;
        r->is_state_good = ok;
        r->state_position = ok ? checkpoint_position(store) : 0;
        r->segment_bytes = ok ? log_segment_bytes(store->log) : 0;
        store_close(store);
        verify_free_rider(r->options, &rider);
    }
    if (!ok)
        verify_found(&r->verify, (struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("state.db") },
                     "it is missing or cannot be read%s%s: it was made anew from the log", why.text[0] == '\0' ? "" : ": ", why.text);
}

enum rc repair_survey(struct repair *r, struct fault *fault)
{
    survey_state(r);
    enum rc rc = survey_log(r, fault);
    if (rc == RC_OK && r->is_state_good && r->newest.parts > 0 && r->state_position < r->newest.as_of) {
        r->is_state_good = false;
        verify_found(&r->verify, (struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("state.db") },
                     "it is older than the log's snapshot (its state.db-wal was lost): it was made anew from the log");
    }
    return rc;
}

/* ---- anew ------------------------------------------------------------------------------------------------------------------- */

/* What is lost when the snapshot is torn: the accounts of mailboxes that are there. */
static const char mending[] =
    "INSERT OR IGNORE INTO account SELECT DISTINCT account, x'000000000000000000000000' FROM mailbox";

static enum rc fill(struct repair *r, sqlite3 *db, struct fault *fault)
{
    struct log *log = NULL;
    uint64_t torn = 0, as_of = r->newest.parts > 0 ? r->newest.as_of : LOG_START;
    if (!verify_write_empty(db, r->segment_bytes))
        return fault_temp(fault, 0, "cannot make a database: %s", sqlite3_errmsg(db));
    enum rc rc = open_log(r, r->segment_bytes, &log, fault);
    if (rc == RC_OK && r->newest.parts > 0)
        rc = verify_load_snapshot(log, &r->newest, db, false, &torn, fault);
    log_close(log);
    if (rc != RC_OK)
        return rc;
    if (torn > 0)
        verify_found(&r->verify, (struct verify_finding){ .kind = VERIFY_SNAPSHOT },
                     "the snapshot in the log is damaged at %" PRIu64 " places: mailboxes or messages of it may be missing", torn);
    if (r->newest.parts == 0 && r->first_segment != 0)
        verify_found(&r->verify, (struct verify_finding){ .kind = VERIFY_SNAPSHOT },
                     "the log has no snapshot and does not go back to its beginning: what was before segment %016" PRIx64 " is lost", r->first_segment);
    bool ok = sqlite3_exec(db, mending, NULL, NULL, NULL) == SQLITE_OK && verify_put_meta(db, "format", CHECKPOINT_FORMAT)
        && verify_put_meta(db, "segment_bytes", r->segment_bytes) && verify_put_meta(db, "replay_from", as_of)
        && verify_put_meta(db, "generation", r->generation);
    return ok ? RC_OK : fault_temp(fault, 0, "cannot write a database: %s", sqlite3_errmsg(db));
}

static enum rc move(struct repair *r, const char *from, const char *to, struct fault *fault)
{
    const struct file_ops *f = r->options->files;
    char a[LOG_PATH_MAX + 32], b[LOG_PATH_MAX + 32];
    snprintf(a, sizeof a, "%s/%s", r->options->dir, from);
    snprintf(b, sizeof b, "%s/%s", r->options->dir, to);
    int error = f->rename(f->self, a, b);
    return error < 0 && error != -ENOENT ? fault_errno(fault, -error, "cannot rename %s to %s", a, b) : RC_OK;
}

static void remove_file(struct repair *r, const char *name)
{
    const struct file_ops *f = r->options->files;
    char path[LOG_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", r->options->dir, name);
    (void)f->unlink(f->self, path);
}

static enum rc swap(struct repair *r, struct fault *fault)
{
    const struct file_ops *f = r->options->files;
    remove_file(r, "state.db-shm");
    remove_file(r, "state.db.damaged-wal");         /* a write-ahead log belongs to its file */
    enum rc rc = move(r, "state.db", "state.db.damaged", fault);
    if (rc == RC_OK)
        rc = move(r, "state.db-wal", "state.db.damaged-wal", fault);
    if (rc == RC_OK)
        rc = move(r, "state.db.new", "state.db", fault);
    int error = rc == RC_OK ? f->sync_dir(f->self, r->options->dir) : 0;
    return error < 0 ? fault_errno(fault, -error, "cannot sync the folder %s", r->options->dir) : rc;
}

enum rc repair_rebuild(struct repair *r, struct fault *fault)
{
    sqlite3 *db = NULL;
    char path[LOG_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/state.db.new", r->options->dir);
    remove_file(r, "state.db.new");
    remove_file(r, "state.db.new-journal");
    enum rc rc = RC_OK;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, sealed_vfs()) != SQLITE_OK
        || sealed_make(db) != SQLITE_OK || sqlite3_exec(db, "PRAGMA synchronous=FULL", NULL, NULL, NULL) != SQLITE_OK)
        rc = fault_temp(fault, 0, "%s: %s", path, sqlite3_errmsg(db));
    if (rc == RC_OK)
        rc = fill(r, db, fault);
    sqlite3_close(db);
    if (rc == RC_OK)
        rc = swap(r, fault);
    r->figures->is_rebuilt = rc == RC_OK;
    return rc;
}
