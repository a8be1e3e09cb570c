/* Histories: what happened to every message, for `thurn why`.
 *
 * A history is the message's operations as they were recorded, one behind the other, each as: number body size, string
 * operation. Those since the last checkpoint are in memory; at a checkpoint they are appended to the message's row (key:
 * id | STORE_RIDER_ASIDE), which is never loaded, only fetched when somebody asks. A crash loses none: replay brings back
 * what was not in rows. Ids begin with the time, so forgetting is deleting a range of keys. */
#include "queue/inner.h"

#include <stdlib.h>

enum { HISTORY_MAX = 1024 * 1024 };     /* of one message: past it, what happens is no longer written down */
enum { DAY_MS = 24 * 3600 * 1000 };

struct history {
    bool is_whole;                      /* begins with acceptance: no row of it can be there yet */
    size_t len, cap;
    char *bytes;
};

static struct history *history_get(struct queue *q, uint64_t id, bool is_whole)
{
    struct history *h = map_get_u64(&q->histories, id);
    if (h != NULL)
        return h;
    h = calloc(1, sizeof *h);
    must(h != NULL && map_put_u64(&q->histories, id, h));
    h->is_whole = is_whole;
    return h;
}

static void history_append(struct history *h, struct slice s)
{
    if (h->len + s.len > h->cap) {
        size_t cap = h->cap == 0 ? s.len : h->cap * 2 + s.len;
        char *bytes = realloc(h->bytes, cap);
        must(bytes != NULL);
        h->bytes = bytes;
        h->cap = cap;
    }
    memcpy(h->bytes + h->len, s.ptr, s.len);
    h->len += s.len;
}

static const struct slice left_out = { "\0", 2 };        /* no body, an empty operation */

void history_add(struct queue *q, uint64_t id, struct slice op, uint64_t body_size)
{
    struct op parsed;
    if (q->options.history_days == 0 || !op_parse(op, &parsed))
        return;
    struct history *h = history_get(q, id, parsed.kind == OP_NEW);
    if (h->len + op.len > HISTORY_MAX && h->len > 0) {
        history_append(h, left_out);
        return;
    }
    char front[20];
    struct buf head = { .data = front, .cap = sizeof front, .max_bytes = sizeof front };
    write_number(&head, body_size);
    write_number(&head, op.len);
    history_append(h, buf_slice(&head));
    history_append(h, op);
}

static enum rc save_one(struct store *store, uint64_t id, struct history *h, struct buf *row, struct fault *f)
{
    if (h->len == 0)
        return RC_OK;
    buf_clear(row);
    enum rc rc = h->is_whole ? RC_NONE : store_rider_get(store, id | STORE_RIDER_ASIDE, row, f);
    if (rc != RC_OK && rc != RC_NONE)
        return rc;
    bool is_too_long = buf_len(row) + h->len > HISTORY_MAX && buf_len(row) > 0;
    buf_append(row, is_too_long ? left_out : (struct slice){ h->bytes, h->len });
    rc = row->overflow ? fault_no_memory(f) : store_rider_put(store, id | STORE_RIDER_ASIDE, buf_slice(row), f);
    if (rc == RC_OK) {
        h->is_whole = false;
        h->len = 0;
    }
    return rc;
}

static void forget_memory(struct queue *q)
{
    struct history *h;
    for (size_t at = 0; (h = map_next_u64(&q->histories, &at, NULL)) != NULL;) {
        free(h->bytes);
        free(h);
    }
    map_free(&q->histories);
    map_init(&q->histories, q->options.hash_seed);
}

/* What is put is forgotten at once: the store keeps it, also when the rest fails, and the next save must not put it twice. */
enum rc history_save(struct queue *q, struct store *store, struct fault *f)
{
    struct buf row;
    buf_init(&row, OP_MAX);
    enum rc rc = RC_OK;
    struct history *h;
    uint64_t id;
    for (size_t at = 0; rc == RC_OK && (h = map_next_u64(&q->histories, &at, &id)) != NULL;)
        rc = save_one(store, id, h, &row, f);
    buf_free(&row);
    int64_t newest_ms = (int64_t)(q->last_id >> 20), oldest_ms = newest_ms - (int64_t)q->options.history_days * DAY_MS;
    if (rc == RC_OK && oldest_ms > 0)
        rc = store_rider_delete_range(store, STORE_RIDER_ASIDE, STORE_RIDER_ASIDE | (uint64_t)oldest_ms << 20, f);
    if (rc == RC_OK)
        forget_memory(q);
    return rc;
}

void history_free(struct queue *q) { forget_memory(q); }

/* The row, then what is only in memory. RC_NONE: unknown. */
enum rc history_read(struct queue *q, uint64_t id, struct buf *out, struct fault *f)
{
    const struct history *h = map_get_u64(&q->histories, id);
    enum rc rc = h != NULL && h->is_whole ? RC_NONE : store_rider_get(q->store, id | STORE_RIDER_ASIDE, out, f);
    if (rc != RC_OK && rc != RC_NONE)
        return rc;
    if (h != NULL)
        buf_append(out, (struct slice){ h->bytes, h->len });
    if (out->overflow)
        return fault_no_memory(f);
    return buf_len(out) > 0 ? RC_OK : fault_none(f, "nothing is known of this message");
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t *history_ids(const struct queue *q, size_t *count)
{
    uint64_t *ids = malloc((q->histories.count + 1) * sizeof *ids), id;
    *count = 0;
    for (size_t at = 0; ids != NULL && map_next_u64(&q->histories, &at, &id) != NULL;)
        ids[(*count)++] = id;
    if (ids != NULL)
        qsort(ids, *count, sizeof *ids, by_id);
    return ids;
}
