/* Copying a store that is in use: see backup.h. */
#include "store/backup.h"

#include "base/text.h"
#include "os/sealed.h"
#include "store/inner.h"
#include "store/log_inner.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 1 << 20 };

/* ---- in the server -------------------------------------------------------------------------------------------------- */

void store_hold(struct store *store, uint32_t seconds, struct store_held *out)
{
    if (!store_is_held(store))
        store->hold++;
    store->hold_until_ms = (store_now_s(store) + seconds) * 1000;
    *out = (struct store_held){ store->hold, log_durable_end(store->log), log_segment_bytes(store->log) };
}

bool store_is_held(struct store *store)
{
    if (store->now_ms < store->hold_until_ms && !store_is_pressed(store))
        return true;
    store->hold_until_ms = 0;
    return false;
}

/* ---- SQLite --------------------------------------------------------------------------------------------------------- */

static enum rc sqlite_fault(sqlite3 *db, const char *path, struct fault *fault)
{
    int code = sqlite3_errcode(db) & 0xff;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return fault_perm(fault, ESC(5, 3, 0), "%s: %s", path, sqlite3_errmsg(db));
    return fault_temp(fault, ESC(4, 3, 0), "%s: %s", path, sqlite3_errmsg(db));
}

static enum rc sync_file(const struct file_ops *f, const char *path, struct fault *fault)
{
    int fd = f->open(f->self, path, false, false);
    int error = fd < 0 ? fd : f->sync(f->self, fd);
    if (fd >= 0)
        f->close(f->self, fd);
    return error < 0 ? fault_errno(fault, -error, "%s: cannot be synced", path) : RC_OK;
}

/* VACUUM INTO is one read transaction and does not sync (https://www.sqlite.org/lang_vacuum.html). */
enum rc backup_database(const struct file_ops *files, const char *from, const char *to, bool is_sealed, struct fault *fault)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_open_v2(from, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, is_sealed ? sealed_vfs() : NULL) == SQLITE_OK;
    sqlite3_busy_timeout(db, 5000);
    ok = ok && sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &s, NULL) == SQLITE_OK && sqlite3_bind_text(s, 1, to, -1, SQLITE_STATIC) == SQLITE_OK
        && sqlite3_step(s) == SQLITE_DONE;
    enum rc rc = ok ? RC_OK : sqlite_fault(db, from, fault);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return rc == RC_OK ? sync_file(files, to, fault) : rc;
}

static bool get_meta(sqlite3 *db, const char *key, uint64_t *value)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = ?1", -1, &s, NULL) == SQLITE_OK
        && sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    if (ok)
        *value = (uint64_t)sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return ok;
}

enum rc backup_read_state(const char *path, struct backup_state *out, struct fault *fault)
{
    sqlite3 *db = NULL;
    bool ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, sealed_vfs()) == SQLITE_OK;
    sqlite3_busy_timeout(db, 5000);
    ok = ok && get_meta(db, "segment_bytes", &out->segment_bytes) && get_meta(db, "replay_from", &out->replay_from)
        && get_meta(db, "generation", &out->generation) && out->segment_bytes > LOG_HEADER_BYTES;
    enum rc rc = ok ? RC_OK : sqlite_fault(db, path, fault);
    sqlite3_close(db);
    return rc;
}

/* ---- segments ------------------------------------------------------------------------------------------------------- */

struct listing {
    uint64_t *numbers;
    size_t count, cap;
    bool is_out_of_memory;
};

static void on_name(void *arg, const char *name)
{
    struct listing *l = arg;
    uint64_t number;
    int used = 0;
    if (sscanf(name, "%16" SCNx64 ".seg%n", &number, &used) == 1 && used == 20 && name[used] == '\0'
        && !push_u64(&l->numbers, &l->count, &l->cap, number))
        l->is_out_of_memory = true;
}

static int number_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

enum rc backup_segments(const struct file_ops *files, const char *store_dir, uint64_t **numbers, size_t *count, struct fault *fault)
{
    struct listing l = { .count = 0 };
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof path, "%s/log", store_dir);
    int error = files->list(files->self, path, on_name, &l);
    if (error < 0 || l.is_out_of_memory) {
        free(l.numbers);
        return error < 0 ? fault_errno(fault, -error, "%s: cannot be listed", path) : fault_no_memory(fault);
    }
    if (l.count > 0)
        qsort(l.numbers, l.count, sizeof *l.numbers, number_order);
    *numbers = l.numbers;
    *count = l.count;
    return RC_OK;
}

/* Keeps B1. Walks the records of [begin, end), which is in memory: they fill it, but for a rest where no record fits. */
static void check_records(struct backup_copy *c, const char *bytes, uint64_t len)
{
    uint64_t at = 0, base = c->number * c->segment_bytes + c->begin;
    if (base == 0)
        at = LOG_START;
    while (at + LOG_HEADER_BYTES <= len) {
        struct log_header h;
        if (!log_header_parse(bytes + at, &h) || h.position != base + at || h.length > len - at - LOG_HEADER_BYTES
            || !log_header_crc_matches(bytes + at, &h, bytes + at + LOG_HEADER_BYTES))
            break;
        at += LOG_HEADER_BYTES + h.length;
        if ((h.flags & LOG_PAD) != 0)
            at = len;
    }
    c->is_damaged = at < len && (c->end < c->segment_bytes || len - at >= LOG_HEADER_BYTES);
    c->damaged_at = c->begin + at;
}

static enum rc read_segment(struct backup_copy *c, int fd, char *bytes, uint64_t len, struct fault *fault)
{
    for (uint64_t at = 0; at < len; at += PIECE) {
        size_t want = len - at < PIECE ? (size_t)(len - at) : PIECE;
        int64_t got = c->files->read_at(c->files->self, fd, bytes + at, want, c->begin + at);
        if (got < 0)
            return fault_errno(fault, (int)-got, "%s: cannot be read", c->from);
        if ((size_t)got < want)
            memset(bytes + at + got, 0, want - (size_t)got);
        if (c->pace != NULL)
            c->pace(c->arg, want);
    }
    return RC_OK;
}

static int write_all(const struct file_ops *f, int fd, const char *bytes, uint64_t len, uint64_t offset)
{
    while (len > 0) {
        int64_t put = f->write_at(f->self, fd, bytes, len < PIECE ? (size_t)len : PIECE, offset);
        if (put <= 0)
            return put < 0 ? (int)put : -EIO;
        bytes += put;
        offset += (uint64_t)put;
        len -= (uint64_t)put;
    }
    return 0;
}

/* What was behind `begin` is of a copy that was interrupted. */
static enum rc write_segment(const struct backup_copy *c, const char *bytes, uint64_t len, struct fault *fault)
{
    const struct file_ops *f = c->files;
    int fd = f->open(f->self, c->to, true, false);
    int error = fd;
    if (error >= 0)
        error = f->truncate(f->self, fd, c->begin);
    if (error >= 0)
        error = write_all(f, fd, bytes, len, c->begin);
    if (error >= 0)
        error = f->truncate(f->self, fd, c->segment_bytes);
    if (error >= 0)
        error = f->sync(f->self, fd);
    if (fd >= 0)
        f->close(f->self, fd);
    return error < 0 ? fault_errno(fault, -error, "%s: cannot be written", c->to) : RC_OK;
}

enum rc backup_segment(struct backup_copy *c, struct fault *fault)
{
    uint64_t len = c->end - c->begin;
    int fd = c->files->open(c->files->self, c->from, false, true);
    if (fd == -ENOENT)
        return fault_none(fault, "%s: is gone", c->from);
    if (fd < 0)
        return fault_errno(fault, -fd, "%s: cannot be opened", c->from);
    char *bytes = malloc((size_t)len + 1);
    enum rc rc = bytes == NULL ? fault_no_memory(fault) : read_segment(c, fd, bytes, len, fault);
    c->files->close(c->files->self, fd);
    if (rc == RC_OK) {
        check_records(c, bytes, len);
        rc = write_segment(c, bytes, len, fault);
        c->crc = crc32c(c->crc, bytes, (size_t)len);
        c->copied = len;
    }
    free(bytes);
    return rc;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

struct stream {
    const struct file_ops *files;
    int from, to;                   /* to: -1 none */
    char *piece;
};

static enum rc pump(struct stream *s, const char *path, uint64_t bytes, uint32_t *crc, void (*pace)(void *, uint64_t), void *arg, struct fault *fault)
{
    *crc = 0;
    for (uint64_t at = 0; at < bytes;) {
        size_t want = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
        int64_t got = s->files->read_at(s->files->self, s->from, s->piece, want, at);
        if (got < 0)
            return fault_errno(fault, (int)-got, "%s: cannot be read", path);
        if (got == 0)
            return fault_perm(fault, ESC(5, 3, 0), "%s: has %" PRIu64 " bytes, not %" PRIu64, path, at, bytes);
        *crc = crc32c(*crc, s->piece, (size_t)got);
        int error = s->to < 0 ? 0 : write_all(s->files, s->to, s->piece, (uint64_t)got, at);
        if (error < 0)
            return fault_errno(fault, -error, "cannot write the copy of %s", path);
        if (pace != NULL)
            pace(arg, (uint64_t)got);
        at += (uint64_t)got;
    }
    return RC_OK;
}

static enum rc open_stream(struct stream *s, const char *path, struct fault *fault)
{
    s->to = -1;
    s->from = s->files->open(s->files->self, path, false, true);
    if (s->from < 0)
        return fault_errno(fault, -s->from, "%s: cannot be opened", path);
    s->piece = malloc(PIECE);
    return s->piece == NULL ? fault_no_memory(fault) : RC_OK;
}

static void close_stream(struct stream *s)
{
    if (s->from >= 0)
        s->files->close(s->files->self, s->from);
    if (s->to >= 0)
        s->files->close(s->files->self, s->to);
    free(s->piece);
}

enum rc backup_checksum(const struct file_ops *files, const char *path, uint64_t bytes, uint32_t *crc, struct fault *fault)
{
    struct stream s = { .files = files };
    enum rc rc = open_stream(&s, path, fault);
    if (rc == RC_OK)
        rc = pump(&s, path, bytes, crc, NULL, NULL, fault);
    close_stream(&s);
    return rc;
}

enum rc backup_copy_file(const struct file_ops *files, const char *from, const char *to, uint64_t bytes, uint64_t size, uint32_t crc,
                         void (*pace)(void *, uint64_t), void *arg, struct fault *fault)
{
    struct stream s = { .files = files };
    uint32_t found = 0;
    enum rc rc = open_stream(&s, from, fault);
    if (rc == RC_OK && (s.to = files->open(files->self, to, true, false)) < 0)
        rc = fault_errno(fault, -s.to, "%s: cannot be made", to);
    if (rc == RC_OK)
        rc = pump(&s, from, bytes, &found, pace, arg, fault);
    if (rc == RC_OK && found != crc)
        rc = fault_perm(fault, ESC(5, 3, 0), "%s is damaged: its checksum is not the one in MANIFEST", from);
    int error = 0;
    if (rc == RC_OK && size > bytes)
        error = files->allocate(files->self, s.to, size);
    if (rc == RC_OK && error >= 0)
        error = files->sync(files->self, s.to);
    close_stream(&s);
    return error < 0 ? fault_errno(fault, -error, "%s: cannot be written", to) : rc;
}
