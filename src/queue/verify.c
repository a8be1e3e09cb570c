/* The queue's part of verifying and repairing a store (store/verify.h): every entry with its body (Q5), every row. */
#include "queue/inner.h"

#include <stdlib.h>

void verify_each(void *self, void (*each)(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size), void *arg)
{
    struct queue *q = self;
    struct buf row;
    buf_init(&row, OP_MAX);
    for (struct entry *entry = index_after(q->index, 0); entry != NULL; entry = index_after(q->index, entry->id)) {
        buf_clear(&row);
        must(entry_write_row(entry, false, &row));
        each(arg, entry->id, buf_slice(&row), entry->body_id, entry->body_size);
    }
    buf_free(&row);
}

static bool is_good_entry(uint64_t id, struct slice row)
{
    struct reader r = { row, false };
    if (read_u8(&r) != CODEC_VERSION)
        return false;
    uint64_t body_id = read_u64(&r), body_size = read_u64(&r);
    struct entry *entry = entry_new(&r, id, body_id, body_size, 0);
    bool ok = entry != NULL;
    size_t open = 0;
    for (size_t i = 0; ok && i < entry->count; i++) {
        uint8_t state = read_u8(&r);
        (void)read_u8(&r);
        for (int number = 0; number < 4; number++)      /* attempts, enhanced status, last attempt, due */
            (void)read_number(&r, UINT64_MAX);
        (void)read_string(&r);
        (void)read_string(&r);
        open += state <= QUEUE_DELETED && state_is_open(state);
        ok = !r.is_bad && state <= QUEUE_DELETED && state != QUEUE_TRYING;
    }
    ok = ok && r.in.len == 0 && open > 0;               /* Q1, Q5: without an open recipient it would be gone */
    free(entry);                                        /* it has no notes */
    return ok;
}

static bool is_good_history(uint64_t id, struct slice row)
{
    struct reader r = { row, false };
    struct op op;
    while (r.in.len > 0) {
        (void)read_number(&r, UINT64_MAX);              /* the body's size */
        struct slice bytes = read_string(&r);
        if (r.is_bad || (bytes.len > 0 && (!op_parse(bytes, &op) || op.id != id)))
            return false;
    }
    return true;
}

bool verify_is_good_row(void *self, uint64_t key, struct slice row)
{
    (void)self;
    if (key == COUNTERS_KEY)
        return row.len > 0;
    return key >= STORE_RIDER_ASIDE ? is_good_history(key & ~STORE_RIDER_ASIDE, row) : is_good_entry(key, row);
}

/* Those of the acceptance, which a history begins with. */
void verify_deliveries(void *self, struct slice row, void (*each)(void *arg, uint64_t account, struct slice mailbox, uint32_t uid), void *arg)
{
    struct reader history = { row, false };
    struct op op;
    struct static_head head;
    struct static_recipient recipient;
    struct static_delivery delivery;
    uint64_t parent;
    (void)self;
    (void)read_number(&history, UINT64_MAX);
    struct slice bytes = read_string(&history);
    if (history.is_bad || !op_parse(bytes, &op) || op.kind != OP_NEW || !static_head_read(&op.rest, &head))
        return;
    for (size_t i = 0; i < head.recipient_count; i++)
        (void)static_recipient_read(&op.rest, &recipient);
    size_t count = deliveries_begin(&op.rest, &parent);
    for (size_t i = 0; i < count && delivery_read(&op.rest, &delivery); i++)
        each(arg, delivery.account, delivery.mailbox, delivery.uid);
}

/* Keeps Q1: that it left the queue is in its history. */
enum rc verify_lose(void *self, uint64_t key, int64_t now_ms, uint64_t *wait, struct fault *f)
{
    return queue_act(self, key, QUEUE_DELETE, now_ms, wait, f);
}
