/* Writing snapshots: see snapshot.h. */
#include "store/snapshot.h"

#include "os/sealed.h"
#include "store/checkpoint.h"

#include <stdlib.h>

enum { PART_MAX = 128 << 10, LOG_PER_SNAPSHOT = 16, DEAD_PER_SNAPSHOT = 2, DEAD_SEGMENTS = 2, LOG_SEGMENTS = 64 };

const struct snapshot_table snapshot_tables[SNAPSHOT_TABLES] = {
    { "meta", "SELECT key, value FROM meta", "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", 2 },
    { "account", "SELECT id, row FROM account", "INSERT OR REPLACE INTO account VALUES (?1, ?2)", 2 },
    { "mailbox", "SELECT id, account, name, row FROM mailbox", "INSERT OR REPLACE INTO mailbox VALUES (?1, ?2, ?3, ?4)", 4 },
    { "run", "SELECT mailbox, number, rows FROM run", "INSERT OR REPLACE INTO run VALUES (?1, ?2, ?3)", 3 },
    { "body", "SELECT id, row FROM body", "INSERT OR REPLACE INTO body VALUES (?1, ?2)", 2 },
    [SNAPSHOT_RIDER] = { "rider", "SELECT key, row FROM rider", "INSERT OR REPLACE INTO rider VALUES (?1, ?2)", 2 },
    { "kept", "SELECT id, last, account, mailbox, row FROM kept", "INSERT OR REPLACE INTO kept VALUES (?1, ?2, ?3, ?4, ?5)", 5 },
};

struct snapshot_writer {
    sqlite3 *db;                    /* a connection of its own: it sees one commit, whatever comes behind */
    sqlite3_stmt *rows;             /* of the table that is being read */
    size_t table;
    struct buf stream;              /* read and not yet handed over */
    size_t to_boundary;             /* of its bytes, those that end a row which has begun in the last part */
    struct store_snapshot snapshot; /* so far */
    uint64_t wait;                  /* of the part, or of the end, that is on its way */
    bool is_read, is_ended;
};

/* ---- reading state.db ------------------------------------------------------------------------------------------- */

static bool read_as_of(struct snapshot_writer *w)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(w->db, "SELECT value FROM meta WHERE key = 'replay_from'", -1, &s, NULL) == SQLITE_OK
        && sqlite3_step(s) == SQLITE_ROW;
    if (ok)
        w->snapshot.as_of = (uint64_t)sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return ok;
}

static void write_column(struct buf *out, sqlite3_stmt *s, int at)
{
    int type = sqlite3_column_type(s, at);
    write_u8(out, (uint8_t)type);
    if (type == SQLITE_INTEGER)
        write_u64(out, (uint64_t)sqlite3_column_int64(s, at));
    else
        write_string(out, checkpoint_column(s, at));
}

static void write_row(struct snapshot_writer *w)
{
    struct buf *out = &w->stream;
    size_t begin = buf_len(out);
    int columns = snapshot_tables[w->table].columns;
    write_u32(out, 0);
    write_u8(out, (uint8_t)w->table);
    write_u8(out, (uint8_t)columns);
    for (int i = 0; i < columns; i++)
        write_column(out, w->rows, i);
    if (!out->overflow)
        put_number(out->data + out->start + begin, buf_len(out) - begin - 4, 4);
}

/* Reads until there is enough for a part. False: SQLite has failed, or memory. */
static bool read_rows(struct snapshot_writer *w, size_t want)
{
    while (!w->is_read && buf_len(&w->stream) < want) {
        if (w->rows == NULL && sqlite3_prepare_v2(w->db, snapshot_tables[w->table].select, -1, &w->rows, NULL) != SQLITE_OK)
            return false;
        int code = sqlite3_step(w->rows);
        if (code == SQLITE_ROW) {
            write_row(w);
            continue;
        }
        sqlite3_finalize(w->rows);
        w->rows = NULL;
        if (code != SQLITE_DONE)
            return false;
        w->is_read = ++w->table == SNAPSHOT_TABLES;
    }
    return !w->stream.overflow;
}

/* ---- handing over ------------------------------------------------------------------------------------------------- */

/* Where the first row begins in a part of len bytes; its length when none does. Moves to_boundary to the next part. */
static uint32_t first_row(struct snapshot_writer *w, size_t len)
{
    size_t first = w->to_boundary < len ? w->to_boundary : len, at = w->to_boundary;
    struct slice all = buf_slice(&w->stream);
    while (at < len) {
        struct reader r = { .in = slice_sub(all, at, 4) };
        at += 4 + (size_t)read_u32(&r);
    }
    w->to_boundary = at - len;
    return (uint32_t)first;
}

/* The record is the log's from here on; it stays until it is collected, so its position can be read. */
static enum rc hand(struct store *store, struct log_record *record, size_t op)
{
    op_end(&record->bytes, op);
    return store_hand(store, record, &store->snapshot_writer->wait, NULL);
}

/* Rows are whole in the stream, so a part may end within one, and the next begins there. */
static enum rc hand_part(struct store *store, size_t len)
{
    struct snapshot_writer *w = store->snapshot_writer;
    struct log_record *record = store_record(store, NULL);
    if (record == NULL)
        return RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_SNAPSHOT);
    write_u64(&record->bytes, w->snapshot.as_of);
    write_u32(&record->bytes, w->snapshot.parts);
    write_u32(&record->bytes, first_row(w, len));
    buf_append(&record->bytes, slice_sub(buf_slice(&w->stream), 0, len));
    enum rc rc = hand(store, record, op);
    if (rc != RC_OK)
        return rc;
    if (w->snapshot.parts++ == 0)
        w->snapshot.first = record->position;
    w->snapshot.bytes += len;
    buf_consume(&w->stream, len);
    return RC_OK;
}

static enum rc hand_end(struct store *store)
{
    struct snapshot_writer *w = store->snapshot_writer;
    struct log_record *record = store_record(store, NULL);
    if (record == NULL)
        return RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_SNAPSHOT_END);
    write_u64(&record->bytes, w->snapshot.as_of);
    write_u64(&record->bytes, w->snapshot.first);
    write_u32(&record->bytes, w->snapshot.parts);
    write_u64(&record->bytes, w->snapshot.bytes);
    w->is_ended = true;
    return hand(store, record, op);
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

void snapshot_abandon(struct store *store)
{
    struct snapshot_writer *w = store->snapshot_writer;
    if (w == NULL)
        return;
    sqlite3_finalize(w->rows);
    sqlite3_close(w->db);
    buf_free(&w->stream);
    free(w);
    store->snapshot_writer = NULL;
}

bool snapshot_begin(struct store *store)
{
    struct snapshot_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return false;
    store->snapshot_writer = w;
    buf_init(&w->stream, CHECKPOINT_ROW_MAX + (1 << 20));
    bool ok = sqlite3_open_v2(store->checkpoint->path, &w->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, sealed_vfs()) == SQLITE_OK
        && sqlite3_exec(w->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK && read_as_of(w);
    if (!ok)
        snapshot_abandon(store);
    return ok;
}

/* The end is durable: what is older than the snapshot may go. */
static void finish(struct store *store)
{
    snapshot_abandon(store);
    store_release_dead(store);
}

void snapshot_step(struct store *store)
{
    struct snapshot_writer *w = store->snapshot_writer;
    if (w == NULL)
        return;
    enum rc settled = store_settled(store, w->wait);
    if (settled == RC_MORE)
        return;                             /* the store's event comes when it is durable */
    if (settled != RC_OK) {
        snapshot_abandon(store);
        return;
    }
    if (w->is_ended) {
        finish(store);
        return;
    }
    size_t max = log_payload_max(store->log) / 4 < PART_MAX ? log_payload_max(store->log) / 4 : PART_MAX;
    bool ok = read_rows(w, max);
    size_t len = buf_len(&w->stream) < max ? buf_len(&w->stream) : max;
    if (!ok || (len > 0 ? hand_part(store, len) : hand_end(store)) != RC_OK)
        snapshot_abandon(store);
}

enum rc snapshot_all(struct store *store, struct fault *fault)
{
    uint64_t before = store->snapshot.first;
    snapshot_abandon(store);
    bool ok = snapshot_begin(store);
    while (ok && store->snapshot_writer != NULL) {
        (void)store_poll(store, store->now_ms);         /* takes the next step */
        log_flush(store->log);
    }
    return ok && store->snapshot.first > before ? RC_OK : fault_temp(fault, ESC(4, 3, 0), "cannot write a snapshot to %s/log", store->dir);
}

/* Dead bytes that only wait for a snapshot: of segments that could be released then, or emptied first (compact.c). */
static uint64_t count_waiting(const struct store *store)
{
    uint64_t waiting = 0, end = log_segment_of(store->log, checkpoint_position(store)), segment_bytes = log_segment_bytes(store->log);
    for (uint64_t n = log_next_segment(store->log, log_segment_of(store->log, store->snapshot.as_of)); n < end;
         n = log_next_segment(store->log, n + 1)) {
        uint64_t live = bodies_live(store, n);
        waiting += live < segment_bytes / 2 ? segment_bytes - live : 0;
    }
    return waiting;
}

/* A snapshot costs its bytes, so it is made when it frees twice as many, or some segments when the disk is nearly full; and
 * before the log that a rebuilding has to read from the last one on becomes very long. A log whose snapshot is not whole (an
 * older version did not make any) gets one at once. */
void snapshot_choose(struct store *store)
{
    uint64_t segment = log_segment_bytes(store->log), bytes = store->snapshot.bytes;
    uint64_t position = checkpoint_position(store), as_of = store->snapshot.as_of;
    if (store->snapshot_writer != NULL || log_segment_of(store->log, position) == log_segment_of(store->log, as_of))
        return;
    uint64_t waiting = count_waiting(store);
    bool is_due = !log_has_segment(store->log, log_segment_of(store->log, as_of))
        || waiting >= DEAD_PER_SNAPSHOT * bytes + DEAD_SEGMENTS * segment
        || position - as_of >= LOG_PER_SNAPSHOT * bytes + LOG_SEGMENTS * segment
        || (waiting > bytes + segment && store_is_pressed(store));
    if (is_due && snapshot_begin(store))
        snapshot_step(store);
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

bool snapshot_read_part(struct slice body, struct snapshot_part *part)
{
    struct reader r = { .in = body };
    part->as_of = read_u64(&r);
    part->number = read_u32(&r);
    part->first_row = read_u32(&r);
    part->bytes = r.in;
    return !r.bad && part->first_row <= part->bytes.len;
}

bool snapshot_read_end(struct slice body, struct store_snapshot *snapshot)
{
    struct reader r = { .in = body };
    snapshot->as_of = read_u64(&r);
    snapshot->first = read_u64(&r);
    snapshot->parts = read_u32(&r);
    snapshot->bytes = read_u64(&r);
    return !r.bad;
}

void snapshot_loader_init(struct snapshot_loader *l, sqlite3 *db)
{
    *l = (struct snapshot_loader){ .db = db };
    buf_init(&l->stream, CHECKPOINT_ROW_MAX + (1 << 20));
    l->has_failed = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK;
}

static bool bind_column(sqlite3_stmt *s, int at, struct reader *r)
{
    uint8_t type = read_u8(r);
    if (type == SQLITE_INTEGER)
        return sqlite3_bind_int64(s, at, (sqlite3_int64)read_u64(r)) == SQLITE_OK;
    struct slice bytes = read_string(r);
    if (type == SQLITE_TEXT)
        return sqlite3_bind_text64(s, at, bytes.len == 0 ? "" : bytes.ptr, bytes.len, SQLITE_TRANSIENT, SQLITE_UTF8) == SQLITE_OK;
    return type == SQLITE_BLOB && checkpoint_bind_blob(s, at, bytes);
}

static bool is_aside(uint8_t table, struct reader r)
{
    return table == SNAPSHOT_RIDER && read_u8(&r) == SQLITE_INTEGER && read_u64(&r) >= STORE_RIDER_ASIDE;
}

/* False: not a row that this version knows. */
static bool insert_row(struct snapshot_loader *l, struct slice row)
{
    struct reader r = { .in = row };
    uint8_t table = read_u8(&r), columns = read_u8(&r);
    if (r.bad || table >= SNAPSHOT_TABLES || columns != snapshot_tables[table].columns)
        return false;
    if (l->leaves_aside && is_aside(table, r))
        return true;
    if (l->inserts[table] == NULL && sqlite3_prepare_v2(l->db, snapshot_tables[table].insert, -1, &l->inserts[table], NULL) != SQLITE_OK)
        l->has_failed = true;
    sqlite3_stmt *s = l->inserts[table];
    bool ok = !l->has_failed;
    for (int at = 1; at <= columns && ok; at++)
        ok = bind_column(s, at, &r);
    if (ok && !r.bad && !checkpoint_run(s))
        l->has_failed = true;
    l->rows++;
    return ok && !r.bad;
}

void snapshot_loader_add(struct snapshot_loader *l, const struct snapshot_part *part)
{
    struct slice bytes = part->bytes;
    if (part->number < l->next_part || l->has_failed)
        return;
    if (part->number > l->next_part) {
        l->torn++;
        buf_clear(&l->stream);
        bytes = slice_sub(bytes, part->first_row, SIZE_MAX);
    }
    l->next_part = part->number + 1;
    if (!buf_append(&l->stream, bytes)) {
        l->has_failed = true;
        return;
    }
    struct reader r = { .in = buf_slice(&l->stream) };
    size_t used = 0;
    for (;;) {
        struct slice row = read_string(&r);
        if (r.bad)
            break;
        l->torn += !insert_row(l, row);
        used += 4 + row.len;
    }
    buf_consume(&l->stream, used);
}

void snapshot_loader_end(struct snapshot_loader *l, uint32_t parts)
{
    l->torn += l->next_part != parts || buf_len(&l->stream) > 0;
    for (size_t i = 0; i < SNAPSHOT_TABLES; i++)
        sqlite3_finalize(l->inserts[i]);
    l->has_failed = sqlite3_exec(l->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK || l->has_failed;
    buf_free(&l->stream);
}
