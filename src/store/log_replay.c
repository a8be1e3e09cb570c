/* Reading the log: replay at opening, finding its end, making that end durable, and single records later. See log.h. */
#include "store/log_inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static struct log_file *oldest_reader(struct log *log)
{
    struct log_file *oldest = &log->readers[0];
    for (size_t i = 0; i < LOG_READ_FILES_MAX; i++) {
        if (log->readers[i].fd < 0)
            return &log->readers[i];
        if (log->readers[i].used < oldest->used)
            oldest = &log->readers[i];
    }
    log->files->close(log->files->self, oldest->fd);
    oldest->fd = -1;
    return oldest;
}

int log_reader(struct log *log, uint64_t number)
{
    for (size_t i = 0; i < LOG_READ_FILES_MAX; i++)
        if (log->readers[i].fd >= 0 && log->readers[i].number == number) {
            log->readers[i].used = ++log->clock;
            return log->readers[i].fd;
        }
    char path[LOG_PATH_MAX + 32];
    log_segment_path(log, number, path);
    struct log_file *reader = oldest_reader(log);
    int fd = log->files->open(log->files->self, path, false, true);
    if (fd >= 0)
        *reader = (struct log_file){ .number = number, .fd = fd, .used = ++log->clock };
    return fd;
}

/* The segment's file is about to become another's: its name says nothing about the open descriptor. */
void log_readers_forget(struct log *log, uint64_t number)
{
    for (size_t i = 0; i < LOG_READ_FILES_MAX; i++)
        if (log->readers[i].fd >= 0 && log->readers[i].number == number) {
            log->files->close(log->files->self, log->readers[i].fd);
            log->readers[i].fd = -1;
        }
    for (size_t i = 0; i < LOG_CACHE_RECORDS; i++)
        if (log->cache[i].position / log->segment_bytes == number)
            buf_clear(&log->cache[i].bytes);
}

enum rc log_file_bytes(struct log *log, uint64_t *bytes, struct fault *fault)
{
    uint64_t number = log_next_segment(log, 0);
    *bytes = 0;
    if (number == UINT64_MAX)
        return RC_OK;
    int fd = log_reader(log, number);
    int64_t size = fd < 0 ? fd : log->files->size(log->files->self, fd);
    if (size < 0)
        return fault_errno(fault, (int)-size, "cannot open segment %016" PRIx64 " in %s", number, log->dir);
    *bytes = (uint64_t)size;
    return RC_OK;
}

static enum rc read_exactly(struct log *log, uint64_t position, char *to, size_t len, struct fault *fault)
{
    uint64_t number = position / log->segment_bytes, offset = position % log->segment_bytes;
    int fd = log_reader(log, number);
    if (fd < 0)
        return fault_errno(fault, -fd, "cannot open segment %016" PRIx64 " in %s", number, log->dir);
    int64_t got = log->files->read_at(log->files->self, fd, to, len, offset);
    if (got < 0)
        return fault_errno(fault, (int)-got, "cannot read segment %016" PRIx64 " in %s", number, log->dir);
    if ((uint64_t)got < len)
        memset(to + got, 0, len - (size_t)got);     /* a short file reads as zeros, which are no record */
    return RC_OK;
}

/* ---- replay ---- */

struct replay {
    struct log *log;
    char *segment;              /* the whole of it: one is read at a time */
    uint64_t number;            /* which; UINT64_MAX: none */
    uint64_t generation;        /* of the last record */
    uint64_t newest;            /* of any record, also of remainders behind the end */
};

static enum rc load_segment(struct replay *r, uint64_t number, struct fault *fault)
{
    if (r->number == number)
        return RC_OK;
    r->number = number;
    return read_exactly(r->log, number * r->log->segment_bytes, r->segment, (size_t)r->log->segment_bytes, fault);
}

/* Is there a record at this offset of the segment that is loaded? */
static bool record_at(const struct replay *r, uint64_t offset, struct log_header *h)
{
    uint64_t left = r->log->segment_bytes - offset;
    const char *at = r->segment + offset;
    return left >= LOG_HEADER_BYTES && log_header_parse(at, h) && h->length <= left - LOG_HEADER_BYTES
        && h->position == r->number * r->log->segment_bytes + offset && h->generation >= r->generation
        && log_header_crc_matches(at, h, at + LOG_HEADER_BYTES);
}

/* Keeps L5: looks for the beginning of a batch behind `position`, where replay stopped. */
static enum rc look_for_damage(struct replay *r, uint64_t position, struct fault *fault)
{
    struct log *log = r->log;
    for (uint64_t number = position / log->segment_bytes; number != UINT64_MAX; number = log_next_segment(log, number + 1)) {
        if (!log_has_segment(log, number))
            continue;
        enum rc rc = load_segment(r, number, fault);
        if (rc != RC_OK)
            return rc;
        uint64_t offset = number == position / log->segment_bytes ? position % log->segment_bytes + 1 : 0;
        while (offset < log->segment_bytes) {
            struct slice rest = { r->segment + offset, (size_t)(log->segment_bytes - offset) };
            offset += slice_find(rest, SLICE("TLR1"));
            struct log_header h;
            bool is_record = offset < log->segment_bytes && record_at(r, offset, &h);
            if (is_record && h.generation > r->newest)
                r->newest = h.generation;
            if (is_record && (h.flags & LOG_BATCH_FIRST) != 0)
                return fault_perm(fault, ESC(5, 3, 0),
                    "segment %016" PRIx64 " in %s is damaged at byte %" PRIu64 ": good records follow. \"thurn verify --repair\" keeps all that can be read",
                    position / log->segment_bytes, log->dir, position % log->segment_bytes);
            offset++;
        }
    }
    return RC_OK;
}

typedef void each_record(void *arg, uint64_t position, struct slice payload);

/* Reads records from log->tail on, moving it; the end of the log is where there is none. */
static enum rc replay_records(struct replay *r, each_record *each, void *arg, struct fault *fault)
{
    struct log *log = r->log;
    for (;;) {
        uint64_t number = log->tail / log->segment_bytes, offset = log->tail % log->segment_bytes;
        if (log->segment_bytes - offset < LOG_HEADER_BYTES) {
            log->tail += log->segment_bytes - offset;
            continue;
        }
        if (!log_has_segment(log, number))
            return RC_OK;
        enum rc rc = load_segment(r, number, fault);
        if (rc != RC_OK)
            return rc;
        struct log_header h;
        if (!record_at(r, offset, &h))
            return RC_OK;
        r->generation = h.generation;
        if (h.flags & LOG_BATCH_FIRST)
            log->batch_start = log->tail;
        if (h.flags & LOG_PAD) {
            log->tail += log->segment_bytes - offset;
            continue;
        }
        each(arg, log->tail, (struct slice){ r->segment + offset + LOG_HEADER_BYTES, h.length });
        log->tail += LOG_HEADER_BYTES + h.length;
    }
}

enum rc log_replay(struct log *log, uint64_t from, each_record *each, void *arg, struct fault *fault)
{
    struct replay r = { .log = log, .number = UINT64_MAX };
    log->tail = from;
    if (from != LOG_START && from % log->segment_bytes != 0 && !log_has_segment(log, from / log->segment_bytes))
        return fault_perm(fault, ESC(5, 3, 0), "segment %016" PRIx64 " is missing in %s: \"thurn verify --repair\" keeps what can be read",
                          from / log->segment_bytes, log->dir);
    if ((r.segment = malloc((size_t)log->segment_bytes)) == NULL)
        return fault_no_memory(fault);
    enum rc rc = replay_records(&r, each, arg, fault);
    if (rc == RC_OK && !log->is_read_only)      /* beside a running server the log moves while it is read */
        rc = look_for_damage(&r, log->tail, fault);
    free(r.segment);
    log->last_generation = r.newest > r.generation ? r.newest : r.generation;
    log->durable_end = log->tail;
    return rc;
}

/* ---- the tail ---- */

static enum rc rewrite(struct log *log, int fd, uint64_t from, uint64_t to, char *piece, struct fault *fault)
{
    const struct file_ops *f = log->files;
    while (from < to) {
        size_t len = to - from < LOG_WRITE_BYTES ? (size_t)(to - from) : LOG_WRITE_BYTES;
        int64_t got = f->read_at(f->self, fd, piece, len, from);
        if (got > 0)
            got = f->write_at(f->self, fd, piece, (size_t)got, from);
        if (got <= 0)
            return got < 0 ? fault_errno(fault, (int)-got, "cannot write the end of the log in %s", log->dir) : RC_OK;
        from += (uint64_t)got;
    }
    int error = f->sync(f->self, fd);
    return error < 0 ? fault_errno(fault, -error, "cannot sync the end of the log in %s", log->dir) : RC_OK;
}

/* Keeps L4. */
static enum rc secure_tail(struct log *log, struct fault *fault)
{
    if (log->batch_start == UINT64_MAX)
        return RC_OK;
    char *piece = malloc(LOG_WRITE_BYTES);
    if (piece == NULL)
        return fault_no_memory(fault);
    enum rc rc = RC_OK;
    for (uint64_t at = log->batch_start; at < log->tail && rc == RC_OK;) {
        uint64_t number = at / log->segment_bytes, start = number * log->segment_bytes;
        uint64_t end = log->tail < start + log->segment_bytes ? log->tail : start + log->segment_bytes;
        char path[LOG_PATH_MAX + 32];
        log_segment_path(log, number, path);
        int fd = log->files->open(log->files->self, path, false, false);
        if (fd < 0) {
            rc = fault_errno(fault, -fd, "cannot open %s", path);
            break;
        }
        rc = rewrite(log, fd, at - start, end - start, piece, fault);
        log->files->close(log->files->self, fd);
        at = end;
    }
    free(piece);
    return rc;
}

enum rc log_start(struct log *log, uint64_t generation, struct fault *fault)
{
    must(generation > log->last_generation);
    enum rc rc = secure_tail(log, fault);
    if (rc != RC_OK)
        return rc;
    log->generation = generation;
    return log_thread_start(log, fault);
}

/* ---- single records ---- */

static enum rc damaged(const struct log *log, uint64_t position, struct fault *fault)
{
    return fault_perm(fault, ESC(5, 3, 0), "segment %016" PRIx64 " in %s is damaged at byte %" PRIu64,
                      position / log->segment_bytes, log->dir, position % log->segment_bytes);
}

static enum rc read_into(struct log *log, uint64_t position, struct log_cached *slot, struct fault *fault)
{
    struct log_header h;
    uint64_t left = log->segment_bytes - position % log->segment_bytes;
    buf_clear(&slot->bytes);
    char *at = left < LOG_HEADER_BYTES ? NULL : buf_reserve(&slot->bytes, LOG_HEADER_BYTES);
    if (at == NULL)
        return damaged(log, position, fault);
    enum rc rc = read_exactly(log, position, at, LOG_HEADER_BYTES, fault);
    if (rc != RC_OK)
        return rc;
    if (!log_header_parse(at, &h) || h.position != position || h.length > left - LOG_HEADER_BYTES)
        return damaged(log, position, fault);
    if ((at = buf_reserve(&slot->bytes, LOG_HEADER_BYTES + h.length)) == NULL)
        return fault_no_memory(fault);
    rc = read_exactly(log, position, at, LOG_HEADER_BYTES + h.length, fault);
    if (rc != RC_OK)
        return rc;
    if (!log_header_crc_matches(at, &h, at + LOG_HEADER_BYTES))
        return damaged(log, position, fault);
    buf_commit(&slot->bytes, LOG_HEADER_BYTES + h.length);
    return RC_OK;
}

enum rc log_read(struct log *log, uint64_t position, struct slice *payload, struct fault *fault)
{
    struct log_cached *slot = &log->cache[0];
    enum rc rc = RC_OK;
    for (size_t i = 0; i < LOG_CACHE_RECORDS; i++) {
        struct log_cached *c = &log->cache[i];
        if (c->position == position && buf_len(&c->bytes) > 0) {
            slot = c;
            goto found;
        }
        if (c->used < slot->used)
            slot = c;
    }
    slot->position = position;
    rc = read_into(log, position, slot, fault);
    if (rc != RC_OK) {
        buf_clear(&slot->bytes);
        return rc;
    }
found:
    slot->used = ++log->clock;
    *payload = slice_sub(buf_slice(&slot->bytes), LOG_HEADER_BYTES, SIZE_MAX);
    return RC_OK;
}
