/* Compaction: a segment that is mostly dead is emptied, so that a few messages do not keep it for years.
 *
 * What is alive in it is written once more, as pieces, and a record says where each body is now; ids stay. When that has
 * been applied nothing in the segment is alive, and the next checkpoint releases it (S7). Until then both copies are
 * there, so a crash at any point leaves one that the log or the checkpoint knows of (S5). One segment is emptied after each
 * checkpoint, and only while the log is more than twice what is alive in it, so the work is bounded by what was written; and
 * it is bounded in time (RECLAIM_BYTES_PER_S). When the disk gets full, both bounds are wider. */
#include "store/inner.h"

#include "store/encode.h"

#include <inttypes.h>
#include <stdlib.h>

enum { COMPACT_STEP_BYTES = 1 << 20, AGAIN_MS = 20 };

static bool is_in(const struct store *store, uint64_t position, uint64_t segment)
{
    return log_segment_of(store->log, position) == segment;
}

static bool has_part_in(const struct store *store, uint64_t id, uint64_t segment)
{
    const struct placed *p;
    uint32_t size;
    if (!body_places(store, id, &size, &p))
        return false;
    if (p == NULL)
        return is_in(store, id, segment);
    for (uint32_t i = 0; i < p->count; i++)
        if (is_in(store, p->positions[i], segment))
            return true;
    return false;
}

/* The segment with the least alive in it, of those that could be released then; UINT64_MAX: none is worth while. */
static uint64_t choose_segment(const struct store *store)
{
    bool is_pressed = store_is_pressed(store);
    uint64_t segment_bytes = log_segment_bytes(store->log), live_sum = 0, chosen = UINT64_MAX;
    uint64_t least = is_pressed ? segment_bytes / 8 * 7 : segment_bytes / 2;
    uint64_t end = store_first_needed(store), count = 0;
    for (uint64_t n = log_next_segment(store->log, 0); n < end; n = log_next_segment(store->log, n + 1)) {
        uint64_t live = bodies_live(store, n);
        live_sum += live;
        count++;
        if (live == 0 || live >= least || n == store->compaction.given_up)
            continue;
        least = live;
        chosen = n;
    }
    uint64_t used = count * segment_bytes;
    return used > (is_pressed ? live_sum + segment_bytes : 2 * live_sum + 4 * segment_bytes) ? chosen : UINT64_MAX;
}

static void gather_ids(struct store *store)
{
    struct compaction *c = &store->compaction;
    const struct body_table *t = &store->bodies;
    c->count = c->at = 0;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].id != 0 && has_part_in(store, t->slots[i].id, c->segment)
            && !push_u64(&c->ids, &c->count, &c->cap, t->slots[i].id))
            break;                          /* out of memory: those are left */
}

void compact_choose(struct store *store)
{
    struct compaction *c = &store->compaction;
    if (c->at < c->count || store_room(store) < 2 * log_segment_bytes(store->log))     /* of the reserve: it makes room */
        return;
    if (c->count > 0 && bodies_live(store, c->segment) > 0)
        c->given_up = c->segment;
    c->count = c->at = 0;
    c->segment = choose_segment(store);
    if (c->segment != UINT64_MAX)
        gather_ids(store);
}

/* Writes the parts of a body that are in the segment once more, and their new places behind the others in `places`. */
static enum rc copy_parts(struct store *store, struct store_body *copy, uint64_t id, const struct placed *p, struct buf *places)
{
    uint64_t segment = store->compaction.segment;
    for (uint32_t i = 0; i < (p == NULL ? 1 : p->count); i++) {
        uint64_t position = p == NULL ? id : p->positions[i];
        struct slice bytes;
        if (is_in(store, position, segment)) {
            enum rc rc = body_read_part(store, id, position, p == NULL ? OP_BODY : OP_PIECE, &bytes, NULL);
            if (rc == RC_OK)
                rc = body_put_piece(copy, bytes, &position, NULL);
            if (rc != RC_OK)
                return rc;
        }
        write_u64(places, position);
    }
    return places->overflow ? RC_TEMP : RC_OK;
}

static enum rc hand_places(struct store *store, uint64_t id, uint32_t size, uint32_t piece_bytes, const struct buf *places, uint64_t *wait)
{
    struct log_record *record = store_record(store, NULL);
    if (record == NULL)
        return RC_TEMP;
    struct buf *out = &record->bytes;
    size_t op = op_begin(out, OP_BODY_PLACED);
    write_u64(out, id);
    write_u64(out, size);
    write_u32(out, piece_bytes);
    write_u32(out, (uint32_t)(buf_len(places) / 8));
    buf_append(out, buf_slice(places));
    op_end(out, op);
    return store_hand(store, record, wait, NULL);
}

/* The pieces count as alive until the record behind them is applied: `copy` stands for them like for a new body. */
static enum rc move_body(struct store *store, uint64_t id, size_t *bytes)
{
    const struct placed *p;
    uint32_t size;
    uint64_t wait;
    if (!has_part_in(store, id, store->compaction.segment) || !body_places(store, id, &size, &p))
        return RC_OK;                       /* gone meanwhile */
    struct store_body *copy = store_body_begin(store);
    struct buf places;
    if (copy == NULL)
        return RC_TEMP;
    buf_init(&places, 64 << 20);
    enum rc rc = copy_parts(store, copy, id, p, &places);
    if (rc == RC_OK)
        rc = hand_places(store, id, size, p != NULL ? p->piece_bytes : size == 0 ? 1 : size, &places, &wait);
    if (rc == RC_OK)
        body_handed(copy, wait);
    else
        store_body_abandon(copy);
    buf_free(&places);
    *bytes += size;
    return rc;
}

/* A bucket that time fills, up to one step's worth. */
static void allow(struct store *store)
{
    struct compaction *c = &store->compaction;
    int64_t rate = store_is_pressed(store) ? RECLAIM_BYTES_PER_S_PRESSED : RECLAIM_BYTES_PER_S, ms = store->now_ms - c->allowed_ms;
    ms = c->allowed_ms == 0 || ms < 0 || ms > 1000 ? 1000 : ms;
    c->allowed += rate * ms / 1000;
    c->allowed = c->allowed < COMPACT_STEP_BYTES ? c->allowed : COMPACT_STEP_BYTES;
    c->allowed_ms = store->now_ms;
}

bool compact_step(struct store *store)
{
    struct compaction *c = &store->compaction;
    if (c->at == c->count)
        return false;
    allow(store);
    while (c->at < c->count && c->allowed > 0) {
        size_t bytes = 0;
        if (move_body(store, c->ids[c->at++], &bytes) == RC_TEMP)
            c->at = c->count;               /* the disk has other worries */
        c->allowed -= (int64_t)bytes;
        c->bytes_moved += bytes;
    }
    return false;
}

enum rc compact_segment(struct store *store, uint64_t segment, struct fault *fault)
{
    struct compaction *c = &store->compaction;
    c->segment = segment;
    gather_ids(store);
    while (c->at < c->count) {
        size_t bytes = 0;
        (void)move_body(store, c->ids[c->at++], &bytes);
        log_flush(store->log);
        (void)store_poll(store, store->now_ms);
    }
    log_flush(store->log);                  /* the poll has moved some, too */
    (void)store_poll(store, store->now_ms);
    return bodies_live(store, segment) == 0 ? RC_OK
        : fault_temp(fault, ESC(4, 3, 0), "segment %016" PRIx64 " of %s cannot be emptied", segment, store->dir);
}

int store_again_ms(const struct store *store) { return store->compaction.at < store->compaction.count ? AGAIN_MS : 0; }
