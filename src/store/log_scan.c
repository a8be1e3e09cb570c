/* Reading all of the log in one pass, also where it is damaged: for `thurn verify`. See log.h. */
#include "store/log_inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { READ_BYTES = 1 << 20, READ_AGAIN_BYTES = 4096 };

struct log_scan {
    struct log *log;
    struct log_scan_calls calls;
    char *segment;                  /* as far as `have`, the rest is not read yet */
    uint64_t number, have;
    uint64_t generation;            /* of the last good record: an older one behind it is a remainder, not a record */
    uint64_t newest_generation;     /* of anything that was ever written */
    uint64_t tail;                  /* behind the last good record */
    uint64_t broken;                /* where the chain of records broke off, UINT64_MAX: it did not */
    uint64_t batch_start;
};

struct log_scan *log_scan_new(struct log *log, const struct log_scan_calls *calls)
{
    struct log_scan *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    *s = (struct log_scan){ .log = log, .calls = *calls, .number = UINT64_MAX, .broken = UINT64_MAX, .batch_start = UINT64_MAX };
    if ((s->segment = malloc((size_t)log->segment_bytes)) == NULL) {
        free(s);
        return NULL;
    }
    return s;
}

void log_scan_free(struct log_scan *s)
{
    if (s != NULL)
        free(s->segment);
    free(s);
}

uint64_t log_scan_tail(const struct log_scan *s) { return s->tail; }
uint64_t log_scan_generation(const struct log_scan *s) { return s->newest_generation; }

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

/* What the disk does not give is zeros, which are no record: piece by piece, so that as little as possible is lost. */
static void read_piecewise(struct log_scan *s, int fd, uint64_t from, uint64_t len)
{
    const struct file_ops *f = s->log->files;
    for (uint64_t at = from; at < from + len; at += READ_AGAIN_BYTES) {
        uint64_t piece = from + len - at < READ_AGAIN_BYTES ? from + len - at : READ_AGAIN_BYTES;
        int64_t got = f->read_at(f->self, fd, s->segment + at, (size_t)piece, at);
        uint64_t good = got < 0 ? 0 : (uint64_t)got;
        memset(s->segment + at + good, 0, (size_t)(piece - good));
    }
}

/* Bytes up to `upto`, read in pieces that the processor's cache can hold: the checksum follows at once. */
static void need_bytes(struct log_scan *s, int fd, uint64_t upto)
{
    const struct file_ops *f = s->log->files;
    while (s->have < upto) {
        uint64_t left = s->log->segment_bytes - s->have, len = left < READ_BYTES ? left : READ_BYTES;
        int64_t got = f->read_at(f->self, fd, s->segment + s->have, (size_t)len, s->have);
        if (got < 0)
            read_piecewise(s, fd, s->have, len);
        else
            memset(s->segment + s->have + got, 0, (size_t)(len - (uint64_t)got));
        s->have += len;
        if (s->calls.progress != NULL)
            s->calls.progress(s->calls.arg, len);
    }
}

/* ---- records ------------------------------------------------------------------------------------------------------ */

/* A whole record at this offset, of whatever generation? */
static bool record_at(struct log_scan *s, int fd, uint64_t offset, struct log_header *h)
{
    uint64_t left = s->log->segment_bytes - offset;
    if (left < LOG_HEADER_BYTES)
        return false;
    need_bytes(s, fd, offset + LOG_HEADER_BYTES);
    const char *at = s->segment + offset;
    if (!log_header_parse(at, h) || h->position != s->number * s->log->segment_bytes + offset || h->length > left - LOG_HEADER_BYTES)
        return false;
    need_bytes(s, fd, offset + LOG_HEADER_BYTES + h->length);
    if (!log_header_crc_matches(at, h, at + LOG_HEADER_BYTES))
        return false;
    s->newest_generation = h->generation > s->newest_generation ? h->generation : s->newest_generation;
    return true;
}

/* The offset of the next good record from `offset` on, up to `end`: any, or only the beginning of a batch. */
static uint64_t find_record(struct log_scan *s, int fd, uint64_t offset, uint64_t end, bool only_batch)
{
    struct log_header h;
    need_bytes(s, fd, end);
    while (offset < end) {
        struct slice rest = { s->segment + offset, (size_t)(end - offset) };
        offset += slice_find(rest, SLICE("TLR1"));
        if (offset < end && record_at(s, fd, offset, &h) && h.generation >= s->generation && (!only_batch || (h.flags & LOG_BATCH_FIRST) != 0))
            return offset;
        offset++;
    }
    return end;
}

static void tell_damage(struct log_scan *s, uint64_t position, uint64_t bytes)
{
    if (bytes > 0)
        s->calls.damage(s->calls.arg, position, bytes);
}

/* The chain broke off in an earlier segment, and the log goes on in this one: what is between is damaged or missing. */
static void tell_broken(struct log_scan *s)
{
    if (s->broken == UINT64_MAX)
        return;
    tell_damage(s, s->broken, s->number * s->log->segment_bytes - s->broken);
    s->broken = UINT64_MAX;
}

/* Takes the good record at an offset; gives the offset behind it. */
static uint64_t take_record(struct log_scan *s, uint64_t offset, const struct log_header *h)
{
    uint64_t position = s->number * s->log->segment_bytes + offset;
    s->generation = h->generation;
    if (h->flags & LOG_BATCH_FIRST)
        s->batch_start = position;
    if (h->flags & LOG_PAD) {
        s->tail = (s->number + 1) * s->log->segment_bytes;
        return s->log->segment_bytes;
    }
    s->calls.record(s->calls.arg, position, (struct slice){ s->segment + offset + LOG_HEADER_BYTES, h->length });
    s->tail = position + LOG_HEADER_BYTES + h->length;
    return offset + LOG_HEADER_BYTES + h->length;
}

/* Before `known` everything is part of the log: what is no record is damage. From there on only the beginning of a batch behind
 * it proves that (L5); else it is the end of the log. */
static void scan_records(struct log_scan *s, int fd, uint64_t offset, uint64_t known)
{
    uint64_t end = s->log->segment_bytes, start = s->number * end;
    if (s->broken != UINT64_MAX && offset >= known) {
        known = find_record(s, fd, offset, end, true);
        if (known == end)
            return;
    }
    tell_broken(s);
    while (end - offset >= LOG_HEADER_BYTES) {
        struct log_header h;
        if (record_at(s, fd, offset, &h) && h.generation >= s->generation) {
            offset = take_record(s, offset, &h);
            continue;
        }
        bool is_open = offset >= known;
        uint64_t next = find_record(s, fd, offset + 1, is_open ? end : known, is_open);
        if (is_open && next == end) {
            s->broken = start + offset;
            return;
        }
        if (is_open)
            known = next;
        else
            tell_damage(s, start + offset, next - offset);
        if (!is_open)
            offset = next;
    }
    if (end - offset < LOG_HEADER_BYTES)
        s->tail = start + end;
}

enum rc log_scan_segment(struct log_scan *s, uint64_t number, uint64_t from, uint64_t known, struct fault *fault)
{
    const struct file_ops *f = s->log->files;
    char path[LOG_PATH_MAX + 32];
    log_segment_path(s->log, number, path);
    int fd = f->open(f->self, path, false, true);
    if (fd < 0)
        return fault_errno(fault, -fd, "cannot open %s", path);
    s->number = number;
    s->have = 0;
    uint64_t start = number * s->log->segment_bytes;
    uint64_t offset = number == 0 && from < LOG_START ? LOG_START : from > start ? from - start : 0;
    s->have = offset / READ_BYTES * READ_BYTES;
    uint64_t known_offset = known <= start ? 0 : known - start < s->log->segment_bytes ? known - start : s->log->segment_bytes;
    scan_records(s, fd, offset, known_offset);
    f->close(f->self, fd);
    return RC_OK;
}

/* ---- replay in spite of damage -------------------------------------------------------------------------------------- */

enum rc log_replay_damaged(struct log *log, uint64_t from, const struct log_scan_calls *calls, struct fault *fault)
{
    struct log_scan *s = log_scan_new(log, calls);
    if (s == NULL)
        return fault_no_memory(fault);
    s->tail = from;
    uint64_t expected = from / log->segment_bytes;
    enum rc rc = RC_OK;
    for (uint64_t n = log_next_segment(log, expected); n != UINT64_MAX && rc == RC_OK; n = log_next_segment(log, n + 1)) {
        if (n > expected && s->broken == UINT64_MAX)
            s->broken = s->tail;
        rc = log_scan_segment(s, n, from, 0, fault);
        expected = n + 1;
    }
    log->tail = log->durable_end = s->tail;
    log->batch_start = s->batch_start;
    log->last_generation = s->newest_generation;
    log_scan_free(s);
    return rc;
}
