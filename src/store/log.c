/* The log's folder, its segments and its records: see log.h. */
#include "store/log_inner.h"

#include "base/text.h"
#include "os/wake.h"
#include "store/encode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MAGIC 0x31524c54u       /* "TLR1" */

struct log_record *log_record_new(size_t max_payload)
{
    struct log_record *record = calloc(1, sizeof *record);
    if (record == NULL)
        return NULL;
    buf_init(&record->bytes, max_payload + LOG_HEADER_BYTES);
    char *header = buf_reserve(&record->bytes, LOG_HEADER_BYTES);
    if (header == NULL) {
        log_record_free(record);
        return NULL;
    }
    memset(header, 0, LOG_HEADER_BYTES);
    buf_commit(&record->bytes, LOG_HEADER_BYTES);
    return record;
}

void log_record_free(struct log_record *record)
{
    if (record == NULL)
        return;
    buf_free(&record->bytes);
    free(record);
}

uint64_t log_record_end(const struct log *log, const struct log_record *record)
{
    if ((record->flags & LOG_PAD) != 0)
        return (record->position / log->segment_bytes + 1) * log->segment_bytes;
    return record->position + buf_len(&record->bytes);
}

void log_header_write(char *to, const struct log_header *h, const char *payload)
{
    put_number(to, MAGIC, 4);
    put_number(to + 4, h->length, 4);
    put_number(to + 8, h->position, 8);
    put_number(to + 16, h->generation, 8);
    put_number(to + 24, h->flags, 4);
    uint32_t crc = crc32c(0, to, 28);
    put_number(to + 28, crc32c(crc, payload, h->length), 4);
}

bool log_header_parse(const char *from, struct log_header *h)
{
    struct reader r = { .in = { from, LOG_HEADER_BYTES } };
    uint32_t magic = read_u32(&r);
    h->length = read_u32(&r);
    h->position = read_u64(&r);
    h->generation = read_u64(&r);
    h->flags = read_u32(&r);
    h->crc = read_u32(&r);
    return magic == MAGIC;
}

bool log_header_crc_matches(const char *header, const struct log_header *h, const char *payload)
{
    return crc32c(crc32c(0, header, 28), payload, h->length) == h->crc;
}

void log_segment_path(const struct log *log, uint64_t number, char path[LOG_PATH_MAX + 32])
{
    snprintf(path, LOG_PATH_MAX + 32, "%s/%016" PRIx64 ".seg", log->dir, number);
}

size_t log_segment_index(const struct log *log, uint64_t number)
{
    size_t low = 0, high = log->segment_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (log->segments[mid] < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool log_segment_exists(const struct log *log, uint64_t number)
{
    size_t at = log_segment_index(log, number);
    return at < log->segment_count && log->segments[at] == number;
}

bool log_segment_add(struct log *log, uint64_t number)
{
    if (log->segment_count == log->segment_cap) {
        size_t cap = log->segment_cap == 0 ? 16 : log->segment_cap * 2;
        uint64_t *more = realloc(log->segments, cap * sizeof *more);
        if (more == NULL)
            return false;
        log->segments = more;
        log->segment_cap = cap;
    }
    size_t at = log_segment_index(log, number);
    memmove(log->segments + at + 1, log->segments + at, (log->segment_count - at) * sizeof number);
    log->segments[at] = number;
    log->segment_count++;
    return true;
}

void log_segment_remove(struct log *log, uint64_t number)
{
    size_t at = log_segment_index(log, number);
    if (at == log->segment_count || log->segments[at] != number)
        return;
    memmove(log->segments + at, log->segments + at + 1, (log->segment_count - at - 1) * sizeof number);
    log->segment_count--;
}

struct listing {
    struct log *log;
    bool is_out_of_memory;
};

static void on_name(void *arg, const char *name)
{
    struct listing *listing = arg;
    uint64_t number;
    int used = 0;
    if (sscanf(name, "%16" SCNx64 ".seg%n", &number, &used) != 1 || used != 20 || name[used] != '\0')
        return;
    if (!log_segment_add(listing->log, number))
        listing->is_out_of_memory = true;
}

static enum rc list_segments(struct log *log, const char *above, struct fault *fault)
{
    const struct file_ops *f = log->files;
    if (!log->is_read_only) {
        int error = f->make_dir(f->self, log->dir);
        if (error >= 0)                         /* a log whose folder has no name is no log */
            error = f->sync_dir(f->self, above);
        if (error < 0)
            return fault_errno(fault, -error, "cannot make the folder %s", log->dir);
    }
    struct listing listing = { log, false };
    int error = f->list(f->self, log->dir, on_name, &listing);
    if (error < 0 && !(log->is_read_only && error == -ENOENT))
        return fault_errno(fault, -error, "cannot list the folder %s", log->dir);
    return listing.is_out_of_memory ? fault_no_memory(fault) : RC_OK;
}

enum rc store_log_open(const struct log_options *options, struct log **out, struct fault *fault)
{
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return fault_no_memory(fault);
    log->files = options->files;
    log->segment_bytes = options->segment_bytes;
    log->is_read_only = options->is_read_only;
    log->event_fd = -1;
    log->next_sequence = 1;
    log->batch_start = UINT64_MAX;
    for (size_t i = 0; i < LOG_READ_FILES_MAX; i++)
        log->readers[i].fd = -1;
    for (size_t i = 0; i < LOG_CACHE_RECORDS; i++)
        buf_init(&log->cache[i].bytes, (size_t)log->segment_bytes);
    log->writers[0].fd = log->writers[1].fd = -1;
    log->staged_end = &log->staged;
    log->durable_list_end = &log->durable;
    log->failed_end = &log->failed;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->work, NULL);
    pthread_cond_init(&log->progress, NULL);
    *out = log;
    if (snprintf(log->dir, sizeof log->dir, "%s/log", options->dir) >= (int)sizeof log->dir)
        return fault_perm(fault, 0, "the name of the folder %.100s... is too long", options->dir);
    if ((log->event_fd = wake_open()) < 0)
        return fault_errno(fault, -log->event_fd, "cannot make an event descriptor");
    return list_segments(log, options->dir, fault);
}

static void free_records(struct log_record *record)
{
    while (record != NULL) {
        struct log_record *next = record->next;
        log_record_free(record);
        record = next;
    }
}

void log_close(struct log *log)
{
    if (log == NULL)
        return;
    log_thread_stop(log);
    for (size_t i = 0; i < LOG_READ_FILES_MAX; i++)
        if (log->readers[i].fd >= 0)
            log->files->close(log->files->self, log->readers[i].fd);
    for (size_t i = 0; i < LOG_CACHE_RECORDS; i++)
        buf_free(&log->cache[i].bytes);
    free_records(log->staged);
    free_records(log->durable);
    free_records(log->failed);
    wake_close(log->event_fd);
    free(log->segments);
    free(log->free_segments);
    free(log->gather);
    free(log->zeros);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->work);
    pthread_cond_destroy(&log->progress);
    free(log);
}

uint64_t log_segment_bytes(const struct log *log) { return log->segment_bytes; }
uint64_t log_segment_of(const struct log *log, uint64_t position) { return position / log->segment_bytes; }
size_t log_payload_max(const struct log *log) { return (size_t)log->segment_bytes - LOG_HEADER_BYTES; }
uint64_t log_last_generation(const struct log *log) { return log->last_generation; }
uint64_t log_next_sequence(const struct log *log) { return log->next_sequence; }
uint64_t log_tail(const struct log *log) { return log->tail; }
void log_skip_sequence(struct log *log) { log->next_sequence++; }
int log_event_fd(const struct log *log) { return log->event_fd; }

bool log_has_segment(struct log *log, uint64_t number)
{
    pthread_mutex_lock(&log->lock);
    bool has = log_segment_exists(log, number);
    pthread_mutex_unlock(&log->lock);
    return has;
}

uint64_t log_next_segment(struct log *log, uint64_t from)
{
    pthread_mutex_lock(&log->lock);
    size_t at = log_segment_index(log, from);
    uint64_t number = at < log->segment_count ? log->segments[at] : UINT64_MAX;
    pthread_mutex_unlock(&log->lock);
    return number;
}

void log_figures(struct log *log, struct log_figures *out)
{
    pthread_mutex_lock(&log->lock);
    *out = log->figures;
    out->segments = log->segment_count;
    out->segments_free = log->free_count;
    pthread_mutex_unlock(&log->lock);
}

uint64_t log_durable_end(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    uint64_t end = log->durable_end;
    pthread_mutex_unlock(&log->lock);
    return end;
}

bool log_is_behind(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    bool is_behind = log->state == LOG_WORKING && log->staged_bytes > LOG_BEHIND;
    pthread_mutex_unlock(&log->lock);
    return is_behind;
}

bool log_is_poisoned(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    bool is_poisoned = log->state == LOG_POISONED;
    pthread_mutex_unlock(&log->lock);
    return is_poisoned;
}
