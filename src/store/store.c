/* Opening and closing, polling, and what has settled. See store.h for the promises and inner.h for the plan of the house. */
#include "store/inner.h"

#include "os/wake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SEGMENT_BYTES_DEFAULT (64ull << 20)
#define SEGMENT_BYTES_MIN (16ull << 10)
enum { FAILED_MAX = 1024, ROOM_FRESH_MS = 1000 };
enum { PRESSED_SEGMENTS = 6, WANTED_SEGMENTS = 16 };        /* mail is refused at 2 */

/* ---- small things ---- */

void *need(void *memory)
{
    must(memory != NULL);
    return memory;
}

bool push_u64(uint64_t **list, size_t *count, size_t *cap, uint64_t value)
{
    if (*count == *cap) {
        size_t more = *cap == 0 ? 8 : *cap * 2;
        uint64_t *grown = realloc(*list, more * sizeof **list);
        if (grown == NULL)
            return false;
        *list = grown;
        *cap = more;
    }
    (*list)[(*count)++] = value;
    return true;
}

bool name_set(struct name *name, struct slice from)
{
    name->bytes = malloc(from.len + 1);
    if (name->bytes == NULL)
        return false;
    if (from.len > 0)
        memcpy(name->bytes, from.ptr, from.len);
    name->bytes[from.len] = '\0';
    name->len = from.len;
    return true;
}

void name_free(struct name *name)
{
    free(name->bytes);
    *name = (struct name){ 0 };
}

struct slice name_slice(const struct name *name) { return (struct slice){ name->bytes, name->len }; }

/* ---- what has settled ---- */

static bool has_failed(const struct store *store, uint64_t wait)
{
    for (size_t i = store->failed_count; i-- > 0;)
        if (wait >= store->failed[i].first && wait <= store->failed[i].last)
            return true;
    return false;
}

bool store_is_pending(const struct store *store, uint64_t wait)
{
    return wait > store->applied_sequence && !has_failed(store, wait);
}

enum rc store_settled(const struct store *store, uint64_t wait)
{
    if (wait == 0)
        return RC_OK;
    if (has_failed(store, wait))
        return RC_TEMP;
    return wait <= store->applied_sequence ? RC_OK : RC_MORE;
}

/* Failures come one behind the other, so there are few ranges. Of very many the oldest are forgotten: whoever waited for
 * them has asked since. */
static void note_failed(struct store *store, uint64_t sequence)
{
    struct failed_range *last = store->failed_count == 0 ? NULL : &store->failed[store->failed_count - 1];
    if (last != NULL && last->last + 1 == sequence) {
        last->last = sequence;
        return;
    }
    if (store->failed_count == FAILED_MAX)
        memmove(store->failed, store->failed + 1, --store->failed_count * sizeof *store->failed);
    if (store->failed_count == store->failed_cap) {
        store->failed_cap = store->failed_cap == 0 ? 8 : store->failed_cap * 2;
        store->failed = need(realloc(store->failed, store->failed_cap * sizeof *store->failed));
    }
    store->failed[store->failed_count++] = (struct failed_range){ sequence, sequence };
}

struct log_record *store_record(struct store *store, struct fault *fault)
{
    struct log_record *record = log_record_new(log_payload_max(store->log));
    if (record == NULL)
        fault_no_memory(fault);
    return record;
}

uint64_t store_next_wait(const struct store *store) { return log_next_sequence(store->log); }

enum rc store_hand(struct store *store, struct log_record *record, uint64_t *wait, struct fault *fault)
{
    uint64_t sequence = store_next_wait(store);
    enum rc rc = log_submit(store->log, record, false, fault);
    if (rc != RC_OK) {
        log_record_free(record);
        log_skip_sequence(store->log);
        note_failed(store, sequence);
        return rc;
    }
    *wait = sequence;
    return RC_OK;
}

/* ---- polling ---- */

static void collect(struct store *store)
{
    struct log_record *durable, *failed, *next;
    log_collect(store->log, &durable, &failed);
    for (; durable != NULL; durable = next) {
        next = durable->next;
        must(durable->position >= store->applied_position);         /* S8 */
        if ((durable->flags & LOG_PAD) == 0)
            must(apply_record(store, durable->position, slice_sub(buf_slice(&durable->bytes), LOG_HEADER_BYTES, SIZE_MAX)));
        store->applied_position = log_record_end(store->log, durable);
        if (durable->sequence != 0)
            store->applied_sequence = durable->sequence;
        log_record_free(durable);
    }
    for (; failed != NULL; failed = next) {
        next = failed->next;
        if (failed->sequence != 0)
            note_failed(store, failed->sequence);
        log_record_free(failed);
    }
    bodies_sweep_handed(store, false);
    bodies_sweep(store);
}

bool store_poll(struct store *store, int64_t now_ms)
{
    store->now_ms = now_ms;
    if (store->options.is_read_only)
        return false;
    collect(store);
    views_poke(store);
    bool has_more = kept_step(store);
    snapshot_step(store);
    return checkpoint_step(store) || compact_step(store) || has_more;
}

enum rc store_wait(struct store *store, uint64_t wait)
{
    enum rc rc;
    (void)store_poll(store, store->now_ms);
    while ((rc = store_settled(store, wait)) == RC_MORE) {
        (void)wake_wait(store_event_fd(store), -1);
        (void)store_poll(store, store->now_ms);
    }
    return rc;
}

bool store_is_behind(const struct store *store, uint64_t *wait)
{
    if (wait != NULL)
        *wait = store_next_wait(store) - 1;
    return log_is_behind(store->log);
}

int store_event_fd(const struct store *store) { return log_event_fd(store->log); }

static uint64_t look_for_room(const struct store *store)
{
    const struct file_ops *f = store->options.files;
    int64_t free_bytes = f->free_bytes(f->self, store->dir);
    *store->room = (struct room){
        .bytes = free_bytes, .at_ms = store->now_ms, .tail = log_tail(store->log), .is_known = true, .wanted = store->room->wanted,
    };
    return free_bytes < 0 ? 0 : (uint64_t)free_bytes;
}

/* What the system said a moment ago, less what has gone to the log since; 0 when that is nothing to go by. */
static uint64_t room_known(const struct store *store)
{
    const struct room *known = store->room;
    uint64_t tail = log_tail(store->log);
    if (!known->is_known || known->bytes < 0 || store->now_ms - known->at_ms >= ROOM_FRESH_MS || tail < known->tail)
        return 0;
    uint64_t since = tail - known->tail, bytes = (uint64_t)known->bytes;
    return bytes > since ? bytes - since : 0;
}

int64_t store_now_s(const struct store *store)
{
    const struct store_options *o = &store->options;
    return (o->clock_ms != NULL ? o->clock_ms(o->clock) : store->now_ms) / 1000;
}

uint64_t store_room(const struct store *store)
{
    struct log_figures figures;
    log_figures(store->log, &figures);
    uint64_t known = room_known(store);
    return figures.segments_free * log_segment_bytes(store->log) + (known != 0 ? known : look_for_room(store));
}

bool store_is_pressed(const struct store *store)
{
    uint64_t room = store_room(store);
    if (store->room->bytes < 0)                 /* nobody knows: no reason to give anything up */
        return false;
    if (room < PRESSED_SEGMENTS * log_segment_bytes(store->log) + store->room->wanted)
        return true;
    store->room->wanted = 0;
    return false;
}

/* That there is room is believed for a second; that there is none is looked up each time: while nothing is written the
 * store's clock may stand still. */
static bool has_room(const struct store *store, uint64_t size_bytes, uint64_t reserve_segments, struct fault *fault)
{
    struct log_figures figures;
    log_figures(store->log, &figures);
    uint64_t segment = log_segment_bytes(store->log), reserve = reserve_segments * segment + store->snapshot.bytes, recycled = figures.segments_free * segment;
    uint64_t room = recycled + room_known(store);
    if (room < reserve || size_bytes > room - reserve)
        room = recycled + look_for_room(store);
    if (room >= reserve && size_bytes <= room - reserve)
        return true;
    if (size_bytes > store->room->wanted)       /* a stranger says how much: so much is not given up for a word of his */
        store->room->wanted = size_bytes < WANTED_SEGMENTS * segment ? size_bytes : WANTED_SEGMENTS * segment;
    fault_temp(fault, ESC(4, 3, 1), "the disk under %s is full", store->dir);
    return false;
}

/* A reserve of two segments is kept for what makes room again: flags, expunges; the outcomes of deliveries have the first. And room for the
 * next snapshot. */
bool store_has_room(const struct store *store, uint64_t size_bytes, struct fault *fault) { return has_room(store, size_bytes, 2, fault); }
bool store_has_reserve(const struct store *store, struct fault *fault) { return has_room(store, 0, 1, fault); }

/* ---- opening ---- */

static enum rc lock(struct store *store, struct fault *fault)
{
    const struct file_ops *f = store->options.files;
    char path[LOG_PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/lock", store->dir);
    store->lock_fd = f->open(f->self, path, true, false);
    if (store->lock_fd < 0)
        return fault_errno(fault, -store->lock_fd, "cannot open %s", path);
    int error = f->lock(f->self, store->lock_fd);
    if (error == -EWOULDBLOCK)
        return fault_perm(fault, 0, "%s is in use by another process: stop that one first", store->dir);
    return error < 0 ? fault_errno(fault, -error, "cannot lock %s", path) : RC_OK;
}

static enum rc open_log_with(struct store *store, uint64_t segment_bytes, struct fault *fault)
{
    struct log_options options = {
        .files = store->options.files, .dir = store->dir, .segment_bytes = segment_bytes, .is_read_only = store->options.is_read_only,
    };
    return store_log_open(&options, &store->log, fault);
}

/* The size of segments was chosen when the store was made. A checkpoint that is made anew learns it from the files. */
static enum rc open_log(struct store *store, struct fault *fault)
{
    uint64_t want = checkpoint_segment_bytes(store), have;
    enum rc rc = open_log_with(store, want, fault);
    if (rc == RC_OK)
        rc = log_file_bytes(store->log, &have, fault);
    if (rc != RC_OK || have == 0 || have == want)
        return rc;
    if (!checkpoint_is_new(store) || have < SEGMENT_BYTES_MIN)
        return fault_perm(fault, ESC(5, 3, 0), "the segments in %s/log have %llu bytes, not %llu: they are not of this store, or torn",
                          store->dir, (unsigned long long)have, (unsigned long long)want);
    log_close(store->log);
    store->log = NULL;
    rc = checkpoint_set_segment_bytes(store, have, fault);
    return rc == RC_OK ? open_log_with(store, have, fault) : rc;
}

struct replaying {
    struct store *store;
    const struct store_opening *how;
    bool is_bad;
    uint64_t bad_position;
};

static void replay_record(void *arg, uint64_t position, struct slice payload)
{
    struct replaying *r = arg;
    if (r->is_bad)
        return;
    r->is_bad = !apply_record(r->store, position, payload);
    r->bad_position = position;
    r->store->applied_position = position + LOG_HEADER_BYTES + payload.len;
}

static void tell_damage(void *arg, uint64_t position, uint64_t bytes)
{
    const struct replaying *r = arg;
    r->how->damage(r->how->arg, position, bytes);
}

static enum rc replay(struct store *store, const struct store_opening *how, uint64_t from, struct replaying *r, struct fault *fault)
{
    struct log_scan_calls calls = { .arg = r, .record = replay_record, .damage = tell_damage };
    r->how = how;
    return how->damage == NULL ? log_replay(store->log, from, replay_record, r, fault)
                               : log_replay_damaged(store->log, from, &calls, fault);
}

static enum rc load(struct store *store, const struct store_opening *how, struct fault *fault)
{
    uint64_t from;
    struct replaying r = { .store = store };
    const struct store_rider *rider = &store->options.rider;
    if (rider->opened != NULL)
        rider->opened(rider->self, store);
    enum rc rc = checkpoint_load(store, &from, fault);
    store->applied_position = from;
    if (rc != RC_OK || how->is_without_log)
        return rc;
    if (how->damage == NULL && from == LOG_START && log_next_segment(store->log, 0) != UINT64_MAX && !log_has_segment(store->log, 0))
        return fault_perm(fault, ESC(5, 3, 0), "%s/state.db is missing or empty, and the log does not go back to the "
                          "beginning: \"thurn verify --repair\" makes it anew", store->dir);
    if ((rc = replay(store, how, from, &r, fault)) != RC_OK)
        return rc;
    if (r.is_bad)
        return fault_perm(fault, ESC(5, 3, 0), "the log in %s/log has a record at position %llu that this version does not know: "
                          "it was written by a newer version", store->dir, (unsigned long long)r.bad_position);
    bodies_sweep(store);
    views_poke(store);
    return RC_OK;
}

/* Keeps S1: the names that were made while opening (log/, state.db and its write-ahead log) are on the medium before anything is
 * acknowledged that needs them. SQLite syncs the folder too, but does not look whether it succeeds. */
static enum rc secure_names(const struct store *store, struct fault *fault)
{
    const struct file_ops *f = store->options.files;
    int error = f->sync_dir(f->self, store->dir);
    return error < 0 ? fault_errno(fault, -error, "cannot sync the folder %s", store->dir) : RC_OK;
}

static enum rc open_all(struct store *store, const struct store_opening *how, struct fault *fault)
{
    bool is_read_only = store->options.is_read_only;
    uint64_t generation;
    enum rc rc = is_read_only ? RC_OK : lock(store, fault);
    if (rc == RC_OK)
        rc = checkpoint_open(store, how->db, fault);
    if (rc == RC_OK)
        rc = open_log(store, fault);
    if (rc == RC_OK)
        rc = load(store, how, fault);
    if (rc != RC_OK || is_read_only)
        return rc;
    rc = checkpoint_next_generation(store, log_last_generation(store->log) + 1, &generation, fault);
    if (rc == RC_OK)
        rc = secure_names(store, fault);
    if (rc == RC_OK)
        rc = log_start(store->log, generation, fault);
    if (rc == RC_OK)
        store_release_dead(store);
    if (rc == RC_OK)
        handling_open(store);
    return rc;
}

static void free_all(struct store *store)
{
    size_t at = 0;
    uint64_t key;
    bodies_sweep_handed(store, true);
    snapshot_abandon(store);
    for (struct mailbox *m; (m = map_next_u64(&store->mailboxes, &at, &key)) != NULL;)
        mailbox_free(store, m);
    at = 0;
    for (struct account *a; (a = map_next_u64(&store->accounts, &at, &key)) != NULL;)
        account_free(store, a);
    log_close(store->log);
    checkpoint_close(store);
    handling_close(store);
    if (store->lock_fd >= 0)
        store->options.files->close(store->options.files->self, store->lock_fd);
    bodies_free(&store->bodies);
    map_free(&store->mailboxes);
    map_free(&store->accounts);
    kept_free(store);
    free(store->compaction.ids);
    free(store->room);
    free(store->failed);
    free(store->dropped_mailboxes);
    free(store->dropped_accounts);
    free(store);
}

enum rc store_open_how(const struct store_options *options, const struct store_opening *how, struct store **out, struct fault *fault)
{
    *out = NULL;
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return fault_no_memory(fault);
    store->options = *options;
    if (store->options.segment_bytes == 0)
        store->options.segment_bytes = SEGMENT_BYTES_DEFAULT;
    if (store->options.segment_bytes < SEGMENT_BYTES_MIN)
        store->options.segment_bytes = SEGMENT_BYTES_MIN;
    store->lock_fd = store->handling.fd = -1;
    store->room = need(calloc(1, sizeof *store->room));
    store->reserved_mailbox_id = 1;
    store->snapshot.as_of = LOG_START;
    store->compaction.given_up = UINT64_MAX;
    map_init(&store->accounts, options->hash_seed);
    map_init(&store->mailboxes, options->hash_seed);
    bodies_init(&store->bodies);
    kept_init(store);
    list_init(&store->bodies_handed);
    list_init(&store->pokes);
    list_init(&store->changed);
    list_init(&store->dirty);
    list_init(&store->saving);
    enum rc rc = RC_OK;
    if (snprintf(store->dir, sizeof store->dir - 16, "%s", options->dir) >= (int)sizeof store->dir - 16)
        rc = fault_perm(fault, 0, "the name of the folder %.100s... is too long", options->dir);
    if (rc == RC_OK)
        rc = open_all(store, how, fault);
    if (rc != RC_OK) {
        free_all(store);
        return rc;
    }
    *out = store;
    return RC_OK;
}

bool store_needs_opening(const struct store *store)
{
    return log_is_poisoned(store->log);
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    if (!store->options.is_read_only) {
        log_flush(store->log);
        collect(store);
        views_poke(store);
        if (!log_is_poisoned(store->log))
            (void)checkpoint_all(store, NULL);
    }
    free_all(store);
}

/* Beside a running server a segment may be used anew between reading the checkpoint and the log: then once more. */
enum rc store_open(const struct store_options *options, struct store **out, struct fault *fault)
{
    static const struct store_opening usual = { .db = NULL };
    enum rc rc = store_open_how(options, &usual, out, fault);
    for (int again = 0; options->is_read_only && rc == RC_PERM && again < 3; again++)
        rc = store_open_how(options, &usual, out, fault);
    return rc;
}

/* Records from the checkpoint on are needed for replay, those from the last snapshot on to make the checkpoint anew. */
uint64_t store_first_needed(const struct store *store)
{
    uint64_t position = checkpoint_position(store);
    return log_segment_of(store->log, position < store->snapshot.as_of ? position : store->snapshot.as_of);
}

/* Keeps S7. Whatever is before what is needed and has nothing alive in it is used again. */
void store_release_dead(struct store *store)
{
    uint64_t first_needed = store_first_needed(store);
    if (store_is_held(store))
        return;
    for (uint64_t number = log_next_segment(store->log, 0); number < first_needed; number = log_next_segment(store->log, number + 1))
        if (bodies_live(store, number) == 0)
            log_release(store->log, number);
}

void store_figures(const struct store *store, struct store_figures *out)
{
    struct log_figures log;
    log_figures(store->log, &log);
    *out = (struct store_figures){
        .records = log.records, .batches = log.batches, .syncs = log.syncs, .bytes_written = log.bytes_written,
        .segments = log.segments, .segments_free = log.segments_free, .segment_bytes = log_segment_bytes(store->log),
        .accounts = store->account_count, .mailboxes = store->mailbox_count, .messages = store->message_count,
        .bodies = store->bodies.count, .bytes_moved = store->compaction.bytes_moved,
        .durable_position = log_durable_end(store->log), .checkpoint_position = checkpoint_position(store),
        .snapshot_position = store->snapshot.as_of, .is_snapshot_running = store->snapshot_writer != NULL,
    };
}
