/* Group commit: the thread that makes batches durable, and the other thread's side of it. See log.h (L1 to L3).
 *
 * The lock guards the lists and the state; it is held for a few pointer moves, never during a system call. The thread
 * takes everything that is staged, so a batch is as large as what came in during the last sync: no delay is added. */
#include "store/log_inner.h"

#include "base/text.h"
#include "os/wake.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the user's side ---- */

/* Whatever the system's reason is, the mail is good and may be sent again. */
static enum rc refuse(const struct log *log, struct fault *fault)
{
    const char *until = log->state == LOG_POISONED ? "; nothing is written any more until the next start" : "";
    fault_errno(fault, log->error, "cannot write to %s%s", log->dir, until);
    if (fault != NULL) {
        fault->rc = RC_TEMP;
        fault->esc = ESC(4, 3, log->error == ENOSPC ? 1 : 0);
    }
    return RC_TEMP;
}

/* Under the lock: may a record of `size` bytes join? */
static enum rc admit(struct log *log, size_t size, bool may_wait, struct fault *fault)
{
    while (may_wait && log->state == LOG_WORKING && log->staged_bytes > LOG_STAGED_WAIT)
        pthread_cond_wait(&log->progress, &log->lock);
    if (log->state != LOG_WORKING)
        return refuse(log, fault);
    if (log->staged_bytes + size > LOG_STAGED_MAX)
        return fault_temp(fault, ESC(4, 3, 1), "the disk under %s does not keep up", log->dir);
    return RC_OK;
}

static void stage(struct log *log, struct log_record *record)
{
    record->next = NULL;
    record->position = log->tail;
    log->tail += buf_len(&record->bytes);
    log->staged_bytes += buf_len(&record->bytes);
    *log->staged_end = record;
    log->staged_end = &record->next;
}

/* A record does not cross a segment: what is left of this one is passed over. */
static bool pad(struct log *log, size_t size)
{
    uint64_t left = log->segment_bytes - log->tail % log->segment_bytes;
    if (left >= size)
        return true;
    if (left >= LOG_HEADER_BYTES) {
        struct log_record *record = log_record_new(0);
        if (record == NULL)
            return false;
        record->flags = LOG_PAD;
        stage(log, record);
        left -= LOG_HEADER_BYTES;
    }
    log->tail += left;
    return true;
}

enum rc log_begin_segment(struct log *log, struct fault *fault)
{
    pthread_mutex_lock(&log->lock);
    enum rc rc = log->state != LOG_WORKING ? refuse(log, fault) : pad(log, log->segment_bytes) ? RC_OK : fault_no_memory(fault);
    pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
    return rc;
}

enum rc log_submit(struct log *log, struct log_record *record, bool may_wait, struct fault *fault)
{
    size_t size = buf_len(&record->bytes);
    if (log->is_read_only)
        return fault_temp(fault, ESC(4, 3, 0), "the store was opened for reading only");
    must(log->has_thread);
    if (record->bytes.overflow || size > log->segment_bytes)
        return fault_temp(fault, ESC(4, 3, 1), "too much for one record of the log, or out of memory");
    pthread_mutex_lock(&log->lock);
    enum rc rc = admit(log, size, may_wait, fault);
    if (rc == RC_OK && !pad(log, size))
        rc = fault_no_memory(fault);
    if (rc == RC_OK) {
        record->sequence = log->next_sequence++;
        stage(log, record);
        pthread_cond_signal(&log->work);
    }
    pthread_mutex_unlock(&log->lock);
    return rc;
}

static struct log_record *take_list(struct log_record **list, struct log_record ***end)
{
    struct log_record *taken = *list;
    *list = NULL;
    *end = list;
    return taken;
}

void log_collect(struct log *log, struct log_record **durable, struct log_record **failed)
{
    wake_quiet(log->event_fd);
    pthread_mutex_lock(&log->lock);
    *durable = take_list(&log->durable, &log->durable_list_end);
    *failed = take_list(&log->failed, &log->failed_end);
    if (log->state == LOG_FAILED) {         /* L3: the next batch goes over the one that failed */
        log->state = LOG_WORKING;
        log->tail = log->durable_end;
        log->generation++;
    }
    pthread_mutex_unlock(&log->lock);
}

void log_flush(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    while (log->has_thread && (log->staged != NULL || log->is_writing))
        pthread_cond_wait(&log->progress, &log->lock);
    pthread_mutex_unlock(&log->lock);
}

/* From either thread. */
static void push_free(struct log *log, uint64_t number)
{
    pthread_mutex_lock(&log->lock);
    for (size_t i = 0; i < log->free_count; i++)
        if (log->free_segments[i] == number) {
            pthread_mutex_unlock(&log->lock);
            return;
        }
    if (log->free_count == log->free_cap) {
        size_t cap = log->free_cap == 0 ? 16 : log->free_cap * 2;
        uint64_t *more = realloc(log->free_segments, cap * sizeof *more);
        if (more != NULL) {
            log->free_segments = more;
            log->free_cap = cap;
        }
    }
    if (log->free_count < log->free_cap)    /* else it is found dead again at the next checkpoint */
        log->free_segments[log->free_count++] = number;
    pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
}

void log_release(struct log *log, uint64_t number)
{
    log_readers_forget(log, number);
    push_free(log, number);
}

/* ---- the thread: segments ---- */

/* It is no segment of the log from here on: else the other thread, which sees it dead still, would release it once more while
 * its file gets another name. */
static bool take_free(struct log *log, uint64_t *number)
{
    pthread_mutex_lock(&log->lock);
    bool has = log->free_count > 0;
    if (has) {
        *number = log->free_segments[--log->free_count];
        log_segment_remove(log, *number);
    }
    pthread_mutex_unlock(&log->lock);
    return has;
}

/* It could not be used. */
static void put_back(struct log *log, uint64_t number)
{
    pthread_mutex_lock(&log->lock);
    bool has = log_segment_add(log, number);        /* there is room: it was there just now */
    pthread_mutex_unlock(&log->lock);
    if (has)
        push_free(log, number);
}

static void note_segment(struct log *log, uint64_t made)
{
    pthread_mutex_lock(&log->lock);
    if (!log_segment_exists(log, made) && !log_segment_add(log, made)) {
        log->state = LOG_POISONED;          /* no memory for one number */
        log->error = ENOMEM;
    }
    pthread_mutex_unlock(&log->lock);
}

static int recycle(struct log *log, uint64_t from, uint64_t to)
{
    char old_path[LOG_PATH_MAX + 32], new_path[LOG_PATH_MAX + 32];
    log_segment_path(log, from, old_path);
    log_segment_path(log, to, new_path);
    int error = log->files->rename(log->files->self, old_path, new_path);
    if (error < 0) {
        put_back(log, from);
        return error;
    }
    error = log->files->sync_dir(log->files->self, log->dir);
    if (error >= 0)
        note_segment(log, to);              /* else: under either name its bytes are dead */
    return error;
}

/* A new file gets its name when it is whole, so a segment that exists has its size. ENOSPC is met here. */
static int create(struct log *log, uint64_t number)
{
    const struct file_ops *f = log->files;
    char temporary[LOG_PATH_MAX + 32], path[LOG_PATH_MAX + 32];
    snprintf(temporary, sizeof temporary, "%s/new", log->dir);
    log_segment_path(log, number, path);
    int fd = f->open(f->self, temporary, true, false);
    if (fd < 0)
        return fd;
    int error = f->allocate(f->self, fd, log->segment_bytes);
    if (error >= 0)
        error = f->sync(f->self, fd);
    int closed = f->close(f->self, fd);
    if (error >= 0)
        error = closed;
    if (error >= 0)
        error = f->rename(f->self, temporary, path);
    if (error < 0) {
        f->unlink(f->self, temporary);
        return error;
    }
    if ((error = f->sync_dir(f->self, log->dir)) >= 0)
        note_segment(log, number);
    return error;
}

static int make_segment(struct log *log, uint64_t number, uint64_t *written)
{
    pthread_mutex_lock(&log->lock);
    bool exists = log_segment_exists(log, number);
    pthread_mutex_unlock(&log->lock);
    uint64_t dead;
    *written = 0;
    if (exists)
        return 0;
    if (!take_free(log, &dead))
        return create(log, number);
    *written = log->segment_bytes;
    return recycle(log, dead, number);
}

static struct log_file *find_writer(struct log *log, uint64_t number)
{
    for (size_t i = 0; i < 2; i++)
        if (log->writers[i].fd >= 0 && log->writers[i].number == number)
            return &log->writers[i];
    return NULL;
}

/* Opens a segment for writing, making it when there is none. The lower number gives way; it has been synced. */
static int open_writer(struct log *log, uint64_t number)
{
    if (find_writer(log, number) != NULL)
        return 0;
    struct log_file *slot = &log->writers[0];
    if (slot->fd >= 0 && (log->writers[1].fd < 0 || log->writers[1].number < slot->number))
        slot = &log->writers[1];
    uint64_t written;
    int error = make_segment(log, number, &written);
    if (error < 0)
        return error;
    if (slot->fd >= 0) {
        must(!slot->is_dirty);
        log->files->close(log->files->self, slot->fd);
        slot->fd = -1;
    }
    char path[LOG_PATH_MAX + 32];
    log_segment_path(log, number, path);
    int fd = log->files->open(log->files->self, path, false, false);
    if (fd < 0)
        return fd;
    *slot = (struct log_file){ .number = number, .fd = fd, .used = written };
    return 0;
}

/* ---- the thread: writing ---- */

static int write_all(struct log *log, struct log_file *file, const char *data, size_t len, uint64_t offset)
{
    file->is_dirty = true;
    while (len > 0) {
        int64_t n = log->files->write_at(log->files->self, file->fd, data, len, offset);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        data += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* Writes zeros ahead of what is about to be written up to `end`, so that most syncs find blocks that were written before
 * and have no metadata to write. */
static int zero_ahead(struct log *log, struct log_file *file, uint64_t end)
{
    if (end <= file->used)
        return 0;
    uint64_t to = end + LOG_ZERO_AHEAD_BYTES < log->segment_bytes ? end + LOG_ZERO_AHEAD_BYTES : log->segment_bytes;
    for (uint64_t at = end; at < to;) {
        size_t len = to - at < LOG_WRITE_BYTES ? (size_t)(to - at) : LOG_WRITE_BYTES;
        int error = write_all(log, file, log->zeros, len, at);
        if (error < 0)
            return error;
        at += len;
    }
    file->used = to;
    return 0;
}

/* One stretch of a batch within one segment, being gathered. */
struct stretch {
    struct log_file *file;
    uint64_t offset;
    size_t len;
};

static int put_stretch(struct log *log, struct stretch *s)
{
    int error = s->len == 0 ? 0 : write_all(log, s->file, log->gather, s->len, s->offset);
    s->offset += s->len;
    s->len = 0;
    return error;
}

static int put_bytes(struct log *log, struct stretch *s, struct slice bytes)
{
    int error = 0;
    if (s->len + bytes.len > LOG_WRITE_BYTES)
        error = put_stretch(log, s);
    if (error == 0 && bytes.len > LOG_WRITE_BYTES) {
        error = write_all(log, s->file, bytes.ptr, bytes.len, s->offset);
        s->offset += bytes.len;
        return error;
    }
    memcpy(log->gather + s->len, bytes.ptr, bytes.len);
    s->len += bytes.len;
    return error;
}

static void seal(struct log_record *record, uint64_t generation, bool is_first)
{
    struct log_header h = {
        .length = (uint32_t)(buf_len(&record->bytes) - LOG_HEADER_BYTES),
        .position = record->position, .generation = generation,
        .flags = record->flags | (is_first ? LOG_BATCH_FIRST : 0),
    };
    char *at = record->bytes.data + record->bytes.start;
    log_header_write(at, &h, at + LOG_HEADER_BYTES);
}

/* The records of one segment, from `record` on; gives the first of the next segment. */
static int write_segment(struct log *log, struct log_record **record, bool is_batch_start, uint64_t generation)
{
    uint64_t number = (*record)->position / log->segment_bytes;
    struct stretch s = { .file = find_writer(log, number), .offset = (*record)->position % log->segment_bytes };
    must(s.file != NULL);
    int error = 0;
    for (; *record != NULL && (*record)->position / log->segment_bytes == number && error == 0; *record = (*record)->next) {
        seal(*record, generation, is_batch_start);
        is_batch_start = false;
        error = put_bytes(log, &s, buf_slice(&(*record)->bytes));
    }
    if (error == 0)
        error = put_stretch(log, &s);
    return error == 0 ? zero_ahead(log, s.file, s.offset) : error;
}

static int sync_dirty(struct log *log)
{
    for (size_t i = 0; i < 2; i++) {
        struct log_file *file = &log->writers[i];
        if (file->fd < 0 || !file->is_dirty)
            continue;
        int error = log->files->sync(log->files->self, file->fd);
        if (error < 0)
            return error;
        file->is_dirty = false;
        pthread_mutex_lock(&log->lock);
        log->figures.syncs++;
        pthread_mutex_unlock(&log->lock);
    }
    return 0;
}

/* Keeps L3. */
static bool make_unreadable(struct log *log, uint64_t position)
{
    struct log_file *file = find_writer(log, position / log->segment_bytes);
    if (file == NULL)
        return false;
    for (size_t i = 0; i < 2; i++)
        log->writers[i].used = 0;           /* what was written ahead is not known any more */
    return write_all(log, file, log->zeros, LOG_HEADER_BYTES, position % log->segment_bytes) == 0 && sync_dirty(log) == 0;
}

/* ---- the thread: batches ---- */

/* A batch touches at most the segments that two writers can hold: LOG_STAGED_MAX may be more with small segments. */
struct batch {
    struct log_record *first, **last_next;
    uint64_t end, bytes, records;
    uint64_t generation;
};

/* Under the lock. */
static void take_batch(struct log *log, struct batch *batch)
{
    struct log_record *record = log->staged;
    *batch = (struct batch){ .first = record, .generation = log->generation };
    uint64_t first_segment = record->position / log->segment_bytes;
    struct log_record **next = &log->staged;
    for (; record != NULL && record->position / log->segment_bytes <= first_segment + 1; record = record->next) {
        batch->end = log_record_end(log, record);
        batch->bytes += buf_len(&record->bytes);
        batch->records += record->sequence != 0;
        next = &record->next;
    }
    log->staged = record;
    *next = NULL;
    if (record == NULL)
        log->staged_end = &log->staged;
    log->is_writing = true;
}

enum outcome { OUTCOME_DURABLE, OUTCOME_FAILED, OUTCOME_POISONED };

static enum outcome write_batch(struct log *log, const struct batch *batch, int *error)
{
    uint64_t first = batch->first->position / log->segment_bytes, last = (batch->end - 1) / log->segment_bytes;
    for (uint64_t number = first; number <= last; number++)         /* room first: then nothing has been written yet */
        if ((*error = open_writer(log, number)) < 0)
            return OUTCOME_FAILED;
    struct log_record *record = batch->first;
    bool is_start = true;
    while (record != NULL && *error == 0) {
        *error = write_segment(log, &record, is_start, batch->generation);
        is_start = false;
    }
    if (*error < 0)
        return make_unreadable(log, batch->first->position) ? OUTCOME_FAILED : OUTCOME_POISONED;
    if ((*error = sync_dirty(log)) < 0) {
        make_unreadable(log, batch->first->position);       /* as well as it can be done */
        return OUTCOME_POISONED;
    }
    return OUTCOME_DURABLE;
}

/* Keeps L2. */
static void publish(struct log *log, struct batch *batch, enum outcome outcome, int error)
{
    struct log_record *last = batch->first;
    while (last->next != NULL)
        last = last->next;
    pthread_mutex_lock(&log->lock);
    log->is_writing = false;
    if (outcome == OUTCOME_DURABLE) {
        *log->durable_list_end = batch->first;
        log->durable_list_end = &last->next;
        log->durable_end = batch->end;
        log->staged_bytes -= batch->bytes;
        log->figures.batches++;
        log->figures.records += batch->records;
        log->figures.bytes_written += batch->bytes;
    } else {
        log->state = outcome == OUTCOME_FAILED && log->state != LOG_POISONED ? LOG_FAILED : LOG_POISONED;
        log->error = -error;
        last->next = log->staged;           /* what came behind it stood on it */
        *log->failed_end = batch->first;
        log->failed_end = log->staged == NULL ? &last->next : log->staged_end;
        log->staged = NULL;
        log->staged_end = &log->staged;
        log->staged_bytes = 0;
    }
    pthread_cond_broadcast(&log->progress);
    pthread_mutex_unlock(&log->lock);
    wake_ring(log->event_fd);
}

/* Ahead of need, when more than half of the segment is used: the next one. That it fails is no harm yet. */
static void prepare_next(struct log *log, uint64_t end)
{
    uint64_t number = end / log->segment_bytes;
    if (end % log->segment_bytes > log->segment_bytes / 2)
        (void)open_writer(log, number + 1);
}

static void unlink_surplus(struct log *log)
{
    uint64_t dead;
    pthread_mutex_lock(&log->lock);
    bool has_surplus = log->free_count > LOG_FREE_SEGMENTS_MAX;
    pthread_mutex_unlock(&log->lock);
    if (!has_surplus || !take_free(log, &dead))
        return;
    char path[LOG_PATH_MAX + 32];
    log_segment_path(log, dead, path);
    if (log->files->unlink(log->files->self, path) < 0)
        put_back(log, dead);
}

/* Under the lock: waits until there is something to do. */
static bool wait_for_work(struct log *log)
{
    while (log->staged == NULL && !log->is_stopping && log->free_count <= LOG_FREE_SEGMENTS_MAX)
        pthread_cond_wait(&log->work, &log->lock);
    return log->staged != NULL;
}

static void *commit_thread(void *arg)
{
    struct log *log = arg;
    for (;;) {
        struct batch batch;
        pthread_mutex_lock(&log->lock);
        bool has_batch = wait_for_work(log);
        bool is_stopping = log->is_stopping;
        if (has_batch)
            take_batch(log, &batch);
        pthread_mutex_unlock(&log->lock);
        if (!has_batch && is_stopping)
            return NULL;
        if (has_batch) {
            int error = 0;
            enum outcome outcome = write_batch(log, &batch, &error);
            uint64_t end = batch.end;
            publish(log, &batch, outcome, error);
            if (outcome == OUTCOME_DURABLE)
                prepare_next(log, end);
        }
        unlink_surplus(log);
    }
}

enum rc log_thread_start(struct log *log, struct fault *fault)
{
    log->gather = malloc(LOG_WRITE_BYTES);
    log->zeros = calloc(1, LOG_WRITE_BYTES);
    if (log->gather == NULL || log->zeros == NULL)
        return fault_no_memory(fault);
    int error = pthread_create(&log->thread, NULL, commit_thread, log);
    if (error != 0)
        return fault_errno(fault, error, "cannot start the thread that writes the log");
    log->has_thread = true;
    return RC_OK;
}

void log_thread_stop(struct log *log)
{
    if (!log->has_thread)
        return;
    pthread_mutex_lock(&log->lock);
    log->is_stopping = true;
    pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    log->has_thread = false;
    for (size_t i = 0; i < 2; i++)
        if (log->writers[i].fd >= 0)
            log->files->close(log->files->self, log->writers[i].fd);
}
