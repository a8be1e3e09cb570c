/* The ledger's counters on the queue's side: changed when an operation is applied, kept in one row of the checkpoint.
 *
 *     row   u8 version, then as numbers: brought, messages, reports, filed, queued, delivered, bounced, discarded; the last id that
 *           was given (ids always rise, also when the clock went back while nobody ran). An older program takes the row for that
 *           of an entry and refuses its version. */
#include "queue/inner.h"

enum { COUNTERS_VERSION = 'L' };

static const size_t counters[] = {
    offsetof(struct queue_ledger, brought), offsetof(struct queue_ledger, messages), offsetof(struct queue_ledger, reports),
    offsetof(struct queue_ledger, filed), offsetof(struct queue_ledger, queued), offsetof(struct queue_ledger, delivered),
    offsetof(struct queue_ledger, bounced), offsetof(struct queue_ledger, discarded),
};

static uint64_t *counter(struct queue *q, size_t i) { return (uint64_t *)(void *)((char *)&q->counters + counters[i]); }

/* All rows have been loaded, and none had counters: what is there was brought. */
void count_begin(struct queue *q)
{
    if (q->is_counting)
        return;
    q->is_counting = true;
    q->counters.brought = q->recipient_count;
}

void count_new(struct queue *q, const struct op *op)
{
    struct reader r = op->rest;
    struct static_head head;
    struct static_recipient recipient;
    uint64_t parent;
    if (!static_head_read(&r, &head))
        return;
    for (size_t i = 0; i < head.recipient_count; i++)
        (void)static_recipient_read(&r, &recipient);
    q->counters.messages++;
    q->counters.queued += head.recipient_count;
    q->counters.filed += deliveries_begin(&r, &parent);
    q->counters.reports += parent != 0;
}

void count_end(struct queue *q, unsigned state)
{
    if (state == QUEUE_DELIVERED)
        q->counters.delivered++;
    else if (state == QUEUE_BOUNCED)
        q->counters.bounced++;
    else
        q->counters.discarded++;
}

void count_load(struct queue *q, struct slice row)
{
    struct reader r = { row, false };
    if (read_u8(&r) != COUNTERS_VERSION)
        return;
    struct queue_ledger before = q->counters;
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        *counter(q, i) = read_number(&r, UINT64_MAX);
    uint64_t last_id = read_number(&r, UINT64_MAX);
    if (r.is_bad) {
        q->counters = before;
        return;
    }
    q->last_id = last_id > q->last_id ? last_id : q->last_id;
    q->is_counting = true;
}

enum rc count_save(struct queue *q, struct store *store, struct fault *f)
{
    struct buf row;
    count_begin(q);
    buf_init(&row, 256);
    buf_append_byte(&row, COUNTERS_VERSION);
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        write_number(&row, *counter(q, i));
    write_number(&row, q->last_id);
    enum rc rc = row.overflow ? fault_no_memory(f) : store_rider_put(store, COUNTERS_KEY, buf_slice(&row), f);
    buf_free(&row);
    return rc;
}
