/* Bodies: on their way in, alive, and read.
 *
 * A small body stands in the record that takes it in, and its id is that record's position. A larger one has been
 * written in pieces, each a record of its own, while it arrived; the record that takes it in lists where they are.
 * (Bodies that are moved to another segment are such lists too.) What refers to a body is counted in memory (S5),
 * and so are the bytes alive in each segment (S7); both are counted anew at each opening. Pieces of a body that has not
 * been taken in yet count as alive too. */
#include "store/inner.h"

#include "store/encode.h"

#include <inttypes.h>
#include <stdlib.h>

enum { INLINE_MAX = 128 << 10 };        /* and the size of a piece */
#define BODY_MAX ((uint64_t)UINT32_MAX)

void bodies_init(struct body_table *t)
{
    *t = (struct body_table){ 0 };
    map_init(&t->placed, NULL);
    map_init(&t->live, NULL);
}

void bodies_free(struct body_table *t)
{
    size_t at = 0;
    uint64_t key;
    for (void *p; (p = map_next_u64(&t->placed, &at, &key)) != NULL;)
        free(p);
    at = 0;
    for (void *p; (p = map_next_u64(&t->live, &at, &key)) != NULL;)
        free(p);
    map_free(&t->placed);
    map_free(&t->live);
    free(t->slots);
    free(t->dying);
    free(t->placed_changes);
}

/* ---- the table ---- */

static size_t slot_of(const struct body_table *t, uint64_t id)
{
    uint64_t h = id * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(h ^ h >> 32) & (t->cap - 1);
    while (t->slots[at].id != 0 && t->slots[at].id != id)
        at = (at + 1) & (t->cap - 1);
    return at;
}

static void grow(struct body_table *t)
{
    struct body *old = t->slots;
    size_t old_cap = t->cap;
    t->cap = old_cap == 0 ? 64 : old_cap * 2;
    t->slots = need(calloc(t->cap, sizeof *t->slots));
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].id != 0)
            t->slots[slot_of(t, old[i].id)] = old[i];
    free(old);
}

static struct body *find(const struct body_table *t, uint64_t id)
{
    struct body *b = t->cap == 0 ? NULL : &t->slots[slot_of(t, id)];
    return b != NULL && b->id == id ? b : NULL;
}

/* Linear probing without tombstones: what stood behind moves up. */
static void forget(struct body_table *t, uint64_t id)
{
    size_t hole = slot_of(t, id);
    t->slots[hole].id = 0;
    t->count--;
    for (size_t at = (hole + 1) & (t->cap - 1); t->slots[at].id != 0; at = (at + 1) & (t->cap - 1)) {
        struct body moving = t->slots[at];
        t->slots[at].id = 0;
        t->slots[slot_of(t, moving.id)] = moving;
    }
}

static void count_live(struct store *store, uint64_t position, uint64_t bytes, bool add)
{
    uint64_t segment = log_segment_of(store->log, position);
    uint64_t *live = map_get_u64(&store->bodies.live, segment);
    if (live == NULL) {
        live = need(calloc(1, sizeof *live));
        need(map_put_u64(&store->bodies.live, segment, live) ? live : NULL);
    }
    must(add || *live > bytes);
    *live = add ? *live + bytes + 1 : *live - bytes - 1;
    if (*live == 0)
        free(map_remove_u64(&store->bodies.live, segment));
}

uint64_t bodies_live(const struct store *store, uint64_t segment)
{
    const uint64_t *live = map_get_u64(&store->bodies.live, segment);
    return live == NULL ? 0 : *live;
}

static void count_body(struct store *store, const struct body *b, bool add)
{
    const struct placed *p = map_get_u64(&store->bodies.placed, b->id);
    if (p == NULL) {
        count_live(store, b->id, b->size, add);
        return;
    }
    for (uint32_t i = 0; i < p->count; i++)
        count_live(store, p->positions[i], p->piece_bytes, add);
}

/* Keeps S5. */
void body_ref(struct store *store, uint64_t id, uint64_t size)
{
    struct body_table *t = &store->bodies;
    if (id == 0)
        return;
    struct body *b = find(t, id);
    if (b == NULL) {
        if (t->count * 4 >= t->cap * 3)
            grow(t);
        b = &t->slots[slot_of(t, id)];
        *b = (struct body){ .id = id, .size = (uint32_t)size };
        t->count++;
        count_body(store, b, true);
    }
    b->references++;
}

void body_unref(struct store *store, uint64_t id)
{
    struct body_table *t = &store->bodies;
    if (id == 0)
        return;
    struct body *b = find(t, id);
    must(b != NULL && b->references > 0);
    if (--b->references == 0)
        need(push_u64(&t->dying, &t->dying_count, &t->dying_cap, id) ? b : NULL);
}

/* Those whose count came to 0 stay until here, since a later record of the same stretch may refer to them again. */
void bodies_sweep(struct store *store)
{
    struct body_table *t = &store->bodies;
    for (size_t i = 0; i < t->dying_count; i++) {
        struct body *b = find(t, t->dying[i]);
        if (b != NULL && b->references > 0)
            continue;
        if (b != NULL) {
            count_body(store, b, false);
            forget(t, t->dying[i]);
        }
        struct placed *p = map_remove_u64(&t->placed, t->dying[i]);
        if (p != NULL)
            need(push_u64(&t->placed_changes, &t->placed_change_count, &t->placed_change_cap, p->id) ? p : NULL);
        free(p);
    }
    t->dying_count = 0;
}

void store_body_ref(struct store *store, uint64_t id, uint64_t size) { body_ref(store, id, size); }
void store_body_unref(struct store *store, uint64_t id) { body_unref(store, id); }

/* Before the first reference to it. A body that nothing refers to yet is kept until the sweep like a dying one. */
void body_place(struct store *store, uint64_t id, uint32_t piece_bytes, uint32_t count, struct slice positions)
{
    struct body_table *t = &store->bodies;
    if (map_get_u64(&t->placed, id) != NULL || positions.len != (size_t)count * 8)
        return;
    struct placed *p = need(malloc(sizeof *p + (size_t)count * sizeof p->positions[0]));
    *p = (struct placed){ .id = id, .piece_bytes = piece_bytes, .count = count };
    struct reader r = { .in = positions };
    for (uint32_t i = 0; i < count; i++)
        p->positions[i] = read_u64(&r);
    need(map_put_u64(&t->placed, id, p) ? p : NULL);
    need(push_u64(&t->dying, &t->dying_count, &t->dying_cap, id) ? p : NULL);
    need(push_u64(&t->placed_changes, &t->placed_change_count, &t->placed_change_cap, id) ? p : NULL);
}

/* The same body in other places (compact.c). One that is gone meanwhile is left alone. */
void body_move(struct store *store, uint64_t id, uint32_t piece, uint32_t count, struct slice positions)
{
    struct body_table *t = &store->bodies;
    struct body *b = find(t, id);
    if (b == NULL || positions.len != (size_t)count * 8)
        return;
    count_body(store, b, false);
    free(map_remove_u64(&t->placed, id));
    body_place(store, id, piece, count, positions);
    count_body(store, b, true);
}

/* Where the parts of a body stand: the position that is its id, or those of its pieces. False: no such body. */
bool body_places(const struct store *store, uint64_t id, uint32_t *size, const struct placed **placed)
{
    const struct body *b = find(&store->bodies, id);
    if (b == NULL || b->references == 0)
        return false;
    *size = b->size;
    *placed = map_get_u64(&store->bodies.placed, id);
    return true;
}

/* ---- in ---- */

static size_t piece_bytes(const struct store *store)
{
    size_t max = log_payload_max(store->log) / 4;       /* small segments are for tests */
    return max < INLINE_MAX ? max : INLINE_MAX;
}

/* The record that is being filled: its operation's head is written when it is known which one it becomes. */
static struct log_record *new_part(const struct store *store)
{
    static const char head[OP_HEADER_BYTES];
    struct log_record *record = log_record_new(log_payload_max(store->log));
    if (record != NULL)
        buf_append(&record->bytes, (struct slice){ head, sizeof head });
    return record;
}

static size_t part_len(const struct log_record *record)
{
    return buf_len(&record->bytes) - LOG_HEADER_BYTES - OP_HEADER_BYTES;
}

static void write_head(struct log_record *record, enum op_tag tag)
{
    char *at = record->bytes.data + record->bytes.start + LOG_HEADER_BYTES;
    at[0] = (char)tag;
    put_number(at + 1, part_len(record), 4);
}

struct store_body *store_body_begin(struct store *store)
{
    struct store_body *body = calloc(1, sizeof *body);
    if (body == NULL)
        return NULL;
    list_init(&body->node);
    body->store = store;
    if ((body->record = new_part(store)) == NULL) {
        free(body);
        return NULL;
    }
    return body;
}

/* Notes a piece that was handed over: it counts as alive as long as the body is on its way. */
static void add_piece(struct store_body *body, const struct log_record *record)
{
    body->pieces[body->piece_count++] = record->position;
    body->first_sequence = body->first_sequence == 0 ? record->sequence : body->first_sequence;
    count_live(body->store, record->position, piece_bytes(body->store), true);
}

static bool room_for_piece(struct store_body *body)
{
    bool ok = push_u64(&body->pieces, &body->piece_count, &body->piece_cap, 0);
    body->piece_count -= ok;
    return ok;
}

/* Bytes as one piece, whatever their number: for bodies that are moved. */
enum rc body_put_piece(struct store_body *body, struct slice bytes, uint64_t *position, struct fault *fault)
{
    struct log_record *record = room_for_piece(body) ? new_part(body->store) : NULL;
    if (record == NULL)
        return fault_no_memory(fault);
    buf_append(&record->bytes, bytes);
    write_head(record, OP_PIECE);
    enum rc rc = log_submit(body->store->log, record, false, fault);
    if (rc != RC_OK) {
        log_record_free(record);
        return rc;
    }
    add_piece(body, record);
    *position = record->position;
    return RC_OK;
}

/* Writes what is there as a piece, and begins a new one. */
static enum rc put_piece(struct store_body *body, struct fault *fault)
{
    struct store *store = body->store;
    struct log_record *next = new_part(store);
    if (next == NULL)
        return fault_no_memory(fault);
    /* A message whose size nobody announced must not use up the reserve either. */
    enum rc rc = store_has_room(store, part_len(body->record), fault) ? RC_OK : RC_TEMP;
    if (rc == RC_OK && !room_for_piece(body))
        rc = fault_no_memory(fault);
    if (rc != RC_OK) {
        log_record_free(next);
        return rc;
    }
    write_head(body->record, OP_PIECE);
    rc = log_submit(store->log, body->record, true, fault);
    if (rc != RC_OK) {
        log_record_free(next);
        return rc;
    }
    add_piece(body, body->record);
    body->record = next;
    return RC_OK;
}

enum rc store_body_write(struct store_body *body, struct slice bytes, struct fault *fault)
{
    size_t max = piece_bytes(body->store);
    if (body->size + bytes.len > BODY_MAX)
        return fault_perm(fault, ESC(5, 3, 4), "a message has less than 4 GiB");
    while (bytes.len > 0) {
        if (part_len(body->record) == max) {
            enum rc rc = put_piece(body, fault);
            if (rc != RC_OK)
                return rc;
        }
        struct slice part = slice_take(&bytes, max - part_len(body->record));
        if (!buf_append(&body->record->bytes, part))
            return fault_no_memory(fault);
        body->size += part.len;
    }
    return RC_OK;
}

uint64_t store_body_size(const struct store_body *body) { return body->size; }

static void body_free(struct store_body *body)
{
    for (size_t i = 0; i < body->piece_count; i++)
        count_live(body->store, body->pieces[i], piece_bytes(body->store), false);
    list_remove(&body->node);
    log_record_free(body->record);
    free(body->pieces);
    free(body);
}

/* Pieces that were written are dead bytes from now on. */
void store_body_abandon(struct store_body *body)
{
    if (body != NULL)
        body_free(body);
}

/* Did a batch with a piece of it fail? What was handed over behind the failure failed with it. */
static bool has_failed(const struct store_body *body)
{
    const struct store *store = body->store;
    for (size_t i = 0; body->first_sequence != 0 && i < store->failed_count; i++)
        if (store->failed[i].last >= body->first_sequence)
            return true;
    return false;
}

struct log_record *body_finish(struct store_body *body, struct fault *fault)
{
    if (has_failed(body)) {
        fault_temp(fault, ESC(4, 3, 0), "a part of the message could not be written");
        return NULL;
    }
    if (body->piece_count > 0 && part_len(body->record) > 0 && put_piece(body, fault) != RC_OK)
        return NULL;
    struct log_record *record = body->record;
    if (body->piece_count == 0) {
        write_head(record, OP_BODY);
        body->record = NULL;
        return record;
    }
    body->record = NULL;
    buf_truncate(&record->bytes, LOG_HEADER_BYTES);
    struct buf *out = &record->bytes;
    size_t op = op_begin(out, OP_BODY_PLACED);
    write_u64(out, 0);
    write_u64(out, body->size);
    write_u32(out, (uint32_t)piece_bytes(body->store));
    write_u32(out, (uint32_t)body->piece_count);
    for (size_t i = 0; i < body->piece_count; i++)
        write_u64(out, body->pieces[i]);
    op_end(out, op);
    return record;
}

/* Its pieces count as alive until the record that takes it in is applied, or has failed. */
void body_handed(struct store_body *body, uint64_t wait)
{
    body->wait = wait;
    list_append(&body->store->bodies_handed, &body->node);
}

void bodies_sweep_handed(struct store *store, bool all)
{
    LIST_EACH(node, &store->bodies_handed) {
        struct store_body *body = LIST_ENTRY(node, struct store_body, node);
        if (all || !store_is_pending(store, body->wait))
            body_free(body);
    }
}

/* ---- out ---- */

static enum rc not_found(uint64_t id, struct fault *fault)
{
    return fault_perm(fault, ESC(5, 3, 0), "the message body %016" PRIx64 " is not where it should be", id);
}

enum rc body_read_part(struct store *store, uint64_t id, uint64_t position, enum op_tag tag, struct slice *bytes, struct fault *fault)
{
    struct slice payload;
    struct op op;
    enum rc rc = log_read(store->log, position, &payload, fault);
    if (rc != RC_OK) {
        fault_prefix(fault, "message body %016" PRIx64, id);
        return rc;
    }
    if (op_next(&payload, &op) != RC_OK || op.tag != tag)
        return not_found(id, fault);
    *bytes = op.body;
    return RC_OK;
}

enum rc store_read(struct store *store, uint64_t id, uint64_t offset, size_t len, char *out, struct fault *fault)
{
    const struct placed *p = map_get_u64(&store->bodies.placed, id);
    while (len > 0) {
        uint64_t index = p == NULL ? 0 : offset / p->piece_bytes;
        uint64_t within = p == NULL ? offset : offset % p->piece_bytes;
        struct slice bytes;
        if (p != NULL && index >= p->count)
            return not_found(id, fault);
        enum rc rc = body_read_part(store, id, p == NULL ? id : p->positions[index], p == NULL ? OP_BODY : OP_PIECE, &bytes, fault);
        if (rc != RC_OK)
            return rc;
        struct slice part = slice_sub(bytes, (size_t)within, len);
        if (within > bytes.len || part.len == 0)
            return not_found(id, fault);
        memcpy(out, part.ptr, part.len);
        out += part.len;
        offset += part.len;
        len -= part.len;
    }
    return RC_OK;
}
