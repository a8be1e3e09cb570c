/* The life of the queue: opening, the rider on the store's log, looking up. See queue.h for the invariants.
 *
 * Rows: an entry's row is its state at a checkpoint (key: its id):
 *     u8 version, u64 body_id, u64 body_size, static part, then for each recipient: u8 state (trying is written as due),
 *     u8 flags, number attempts, number esc, number attempt_ms, number due_ms, strings text, remote.
 * One more row (key: COUNTERS_KEY) has the ledger's counters, see count.c.
 * Replay applies the operations behind the checkpoint to the entries loaded from rows, in log order; applying only
 * depends on the operation and the state, so it gives the same again (S8). */
#include "queue/inner.h"

#include <stdlib.h>

struct queue *queue_new(const struct queue_options *options)
{
    struct queue *q = calloc(1, sizeof *q);
    struct entry_index *index = calloc(1, sizeof *index);
    struct arena *arenas = calloc(2, sizeof *arenas);
    if (q == NULL || index == NULL || arenas == NULL) {
        free(q);
        free(index);
        free(arenas);
        return NULL;
    }
    q->options = *options;
    q->store = options->store;
    q->index = index;
    q->scratch = &arenas[0];
    q->work = &arenas[1];
    arena_init(q->scratch, ARENA_MAX);
    arena_init(q->work, ARENA_MAX);
    map_init(&q->notes, options->hash_seed);
    map_init(&q->destinations, options->hash_seed);
    map_init(&q->histories, options->hash_seed);
    list_init(&q->ready);
    list_init(&q->recordings);
    heap_init(&q->waiting);
    return q;
}

static void entry_free(struct queue *q, struct entry *entry)
{
    for (size_t i = 0; i < entry->count; i++)
        note_put(&q->notes, entry->recipients[i].note);
    free(entry);
}

void queue_free(struct queue *q)
{
    if (q == NULL)
        return;
    recordings_free(q);
    schedule_free(q);
    for (size_t i = 0; i < q->index->count; i++)
        if (q->index->slots[i].entry != NULL)
            entry_free(q, q->index->slots[i].entry);
    history_free(q);
    free(q->index->slots);
    free(q->index);
    arena_free(q->scratch);
    arena_free(q->work);
    free(q->scratch);           /* both: one allocation */
    map_free(&q->notes);
    map_free(&q->destinations);
    map_free(&q->histories);
    heap_free(&q->waiting);
    free(q->dirty.list);
    free(q->gone.list);
    free(q);
}

void queue_attach(struct queue *q, struct store *store)
{
    q->store = store;
    q->is_attached = true;
    if (q->destination != NULL)
        schedule_rebuild(q);
}

void queue_set_destination(struct queue *q, queue_destination *destination, void *arg)
{
    q->destination = destination;
    q->destination_arg = arg;
    if (q->is_attached)
        schedule_rebuild(q);
}

void queue_configure(struct queue *q, const struct queue_options *options)
{
    struct queue_options next = *options;
    next.store = q->options.store;
    memcpy(next.hash_seed, q->options.hash_seed, sizeof next.hash_seed);
    q->options = next;
    q->delay_cursor = 0;
    if (q->is_scheduled)
        schedule_rebuild(q);                            /* limits decide who is ready */
}

void queue_set_reporter(struct queue *q, const struct queue_reporter *reporter)
{
    q->reporter = *reporter;
}

uint64_t queue_next_id(struct queue *q, int64_t now_ms)
{
    uint64_t id = (uint64_t)now_ms << 20;
    q->last_id = id > q->last_id ? id : q->last_id + 1;
    return q->last_id;
}

/* ---- looking up ----------------------------------------------------------------------------------------------------- */

static const struct queue_entry *unpack(const struct queue *q, const struct entry *entry)
{
    if (entry == NULL)
        return NULL;
    arena_rewind(q->scratch);
    return entry_unpack(entry, q->scratch);
}

struct entry *queue_entry_get(const struct queue *q, uint64_t id) { return index_find(q->index, id); }
const struct queue_entry *queue_find(const struct queue *q, uint64_t id) { return unpack(q, index_find(q->index, id)); }
const struct queue_entry *queue_after(const struct queue *q, uint64_t after) { return unpack(q, index_after(q->index, after)); }

size_t queue_count(const struct queue *q, size_t *recipients)
{
    if (recipients != NULL)
        *recipients = q->recipient_count;
    return q->index->alive;
}

const char *queue_state_name(enum queue_state state)
{
    static const char *const names[] = { "due", "trying", "held", "delivered", "bounced", "deleted" };
    must((size_t)state < sizeof names / sizeof *names);
    return names[state];
}

/* ---- applying ------------------------------------------------------------------------------------------------------- */

void ids_add(struct ids *ids, uint64_t id)
{
    if (ids->count == ids->cap) {
        size_t cap = ids->cap == 0 ? 64 : ids->cap * 2;
        uint64_t *list = realloc(ids->list, cap * sizeof *list);
        must(list != NULL);
        ids->list = list;
        ids->cap = cap;
    }
    ids->list[ids->count++] = id;
}

void queue_mark_dirty(struct queue *q, struct entry *entry)
{
    if (entry->is_dirty)
        return;
    entry->is_dirty = true;
    ids_add(&q->dirty, entry->id);
}

static void entry_insert(struct queue *q, struct entry *entry)
{
    index_add(q->index, entry);
    q->recipient_count += entry->open;
    if (entry->id > q->last_id)
        q->last_id = entry->id;
    store_body_ref(q->store, entry->body_id, entry->body_size);        /* keeps Q5 */
    for (size_t i = 0; i < entry->count && q->is_scheduled; i++)
        if (entry->recipients[i].state == QUEUE_DUE)
            schedule_add(q, &entry->recipients[i]);
}

/* Keeps Q1: only called when every recipient has been settled by a durable record. */
void entry_finish(struct queue *q, struct entry *entry)
{
    if (entry->open > 0)
        return;
    if (entry->is_saved)
        ids_add(&q->gone, entry->id);
    store_body_unref(q->store, entry->body_id);
    index_remove(q->index, entry->id);
    entry_free(q, entry);
}

/* A recipient takes a state that is durable. */
void recipient_settle(struct queue *q, struct entry *entry, struct recipient *r, unsigned state, int64_t due_ms)
{
    must(state != QUEUE_TRYING);
    if (!state_is_open(r->state))
        return;
    schedule_hide(q, r);
    r->state = (uint8_t)state;
    r->flags &= (uint8_t)~RECIPIENT_RECORDING;
    r->node.key = due_ms;
    if (state == QUEUE_DUE) {
        if (q->is_scheduled)
            schedule_add(q, r);
        return;
    }
    schedule_remove(q, r);
    if (!state_is_open(state)) {
        entry->open--;
        q->recipient_count--;
        count_end(q, state);
    }
}

static void apply_new(struct queue *q, struct op *op, uint64_t body_id, uint64_t body_size)
{
    if (op->id > q->last_id)
        q->last_id = op->id;
    count_new(q, op);
    struct reader peek = op->rest;
    struct static_head head;
    if (!static_head_read(&peek, &head) || head.recipient_count == 0 || index_find(q->index, op->id) != NULL)
        return;                                         /* local only: nothing to queue */
    struct entry *entry = entry_new(&op->rest, op->id, body_id, body_size, op->time_ms);
    if (entry == NULL)
        return;
    entry_insert(q, entry);
    queue_mark_dirty(q, entry);
}

static void apply(void *self, struct store *store, struct slice bytes, uint64_t body_id, uint64_t body_size)
{
    struct queue *q = self;
    q->store = store;
    struct op op;
    if (!op_parse(bytes, &op))
        return;                                         /* the store's checksum was good: written by a program that knew more */
    count_begin(q);
    history_add(q, op.id, bytes, op.kind == OP_NEW ? body_size : 0);
    switch (op.kind) {
    case OP_NEW: apply_new(q, &op, body_id, body_size); break;
    case OP_OUTCOME: apply_outcome(q, &op); break;
    case OP_ACTION: apply_action(q, &op); break;
    case OP_REPORTED: break;
    }
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

bool entry_write_row(const struct entry *entry, bool with_due, struct buf *row)
{
    buf_append_byte(row, CODEC_VERSION);
    buf_append_u64(row, entry->body_id);
    buf_append_u64(row, entry->body_size);
    buf_append(row, (struct slice){ entry->packed, entry->packed_len });
    for (size_t i = 0; i < entry->count; i++) {
        const struct recipient *r = &entry->recipients[i];
        buf_append_byte(row, (char)(r->state == QUEUE_TRYING ? QUEUE_DUE : r->state));
        buf_append_byte(row, (char)(r->flags & RECIPIENT_KEPT_FLAGS));
        write_number(row, r->attempts);
        write_number(row, r->esc);
        write_number(row, (uint64_t)r->attempt_ms);
        write_number(row, with_due ? (uint64_t)r->node.key : 0);
        write_string(row, note_text(r->note));
        write_string(row, note_remote(r->note));
    }
    return !row->overflow;
}

static bool read_row_recipient(struct queue *q, struct reader *r, struct recipient *to)
{
    uint8_t state = read_u8(r);
    to->flags = (uint8_t)(read_u8(r) & RECIPIENT_KEPT_FLAGS);
    to->attempts = (uint16_t)read_number(r, UINT16_MAX);
    to->esc = (uint32_t)read_number(r, UINT32_MAX);
    to->attempt_ms = (int64_t)read_number(r, INT64_MAX);
    to->node.key = (int64_t)read_number(r, INT64_MAX);
    struct slice text = read_string(r), remote = read_string(r);
    if (r->is_bad || state > QUEUE_DELETED)
        return false;
    to->state = state;
    to->note = note_get(&q->notes, text, remote);
    return true;
}

static void load(void *self, struct store *store, uint64_t key, struct slice row)
{
    struct queue *q = self;
    q->store = store;
    if (key == COUNTERS_KEY) {
        count_load(q, row);
        return;
    }
    struct reader r = { row, false };
    if (read_u8(&r) != CODEC_VERSION)
        return;
    uint64_t body_id = read_u64(&r), body_size = read_u64(&r);
    struct entry *entry = entry_new(&r, key, body_id, body_size, 0);
    if (entry == NULL)
        return;
    for (size_t i = 0; i < entry->count; i++) {
        if (!read_row_recipient(q, &r, &entry->recipients[i])) {
            entry_free(q, entry);
            return;
        }
        entry->open -= !state_is_open(entry->recipients[i].state);
    }
    entry->is_saved = true;
    entry_insert(q, entry);
}

static enum rc save_entry(struct entry *entry, struct store *store, struct buf *row, struct fault *f)
{
    buf_clear(row);
    if (!entry_write_row(entry, true, row))
        return fault_no_memory(f);
    entry->is_saved = true;                             /* also when the rest fails: the store keeps what was put for the next checkpoint */
    return store_rider_put(store, entry->id, buf_slice(row), f);
}

/* What changed since the last checkpoint. Whatever fails stays dirty, and is written again next time. */
static enum rc save(void *self, struct store *store, struct fault *f)
{
    struct queue *q = self;
    struct buf row;
    buf_init(&row, OP_MAX);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < q->dirty.count && rc == RC_OK; i++) {
        struct entry *entry = index_find(q->index, q->dirty.list[i]);
        if (entry != NULL)
            rc = save_entry(entry, store, &row, f);
    }
    for (size_t i = 0; i < q->gone.count && rc == RC_OK; i++) {
        rc = store_rider_delete(store, q->gone.list[i], f);
        if (rc == RC_NONE)
            rc = RC_OK;
    }
    buf_free(&row);
    if (rc == RC_OK)
        rc = count_save(q, store, f);
    if (rc == RC_OK)
        rc = history_save(q, store, f);
    if (rc != RC_OK)
        return rc;
    for (size_t i = 0; i < q->dirty.count; i++) {
        struct entry *entry = index_find(q->index, q->dirty.list[i]);
        if (entry != NULL)
            entry->is_dirty = false;
    }
    q->dirty.count = q->gone.count = 0;
    return RC_OK;
}

struct store_rider queue_rider(struct queue *q)
{
    return (struct store_rider){ .self = q, .apply = apply, .save = save, .load = load,
                                 .each = verify_each, .is_good_row = verify_is_good_row, .deliveries = verify_deliveries, .lose = verify_lose };
}

enum rc queue_submit(struct queue *q, const struct buf *op, uint64_t *wait, struct fault *f)
{
    if (op->overflow)
        return fault_no_memory(f);
    struct slice ops[] = { buf_slice(op) };
    struct store_accept accept = { .rider_ops = ops, .rider_op_count = 1 };
    return store_accept(q->store, &accept, wait, f);
}
