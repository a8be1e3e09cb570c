/* Records about recipients on their way to the log. A recipient whose record was handed over is neither due nor done until the record
 * is durable (apply_*); when it fails instead, nobody but us knows that the recipient has to become due again (keeps Q1: no recipient
 * is forgotten). */
#include "queue/inner.h"

#include <stdlib.h>

struct recording {
    struct list list;               /* in queue.recordings, in the order of the log */
    uint64_t wait, entry;
    size_t count;
    size_t indexes[];
};

struct recording *recording_new(uint64_t entry, size_t count)
{
    struct recording *r = calloc(1, sizeof *r + count * sizeof r->indexes[0]);
    if (r != NULL)
        r->entry = entry;
    return r;
}

void recording_add(struct recording *r, size_t index) { r->indexes[r->count++] = index; }

void recording_watch(struct queue *q, struct recording *r, uint64_t wait)
{
    r->wait = wait;
    list_append(&q->recordings, &r->list);
}

static void forget(struct recording *r)
{
    list_remove(&r->list);
    free(r);
}

/* As it was: an attempt will be made again, but not at once; what an administrator asked for has not been done. */
static void take_back(struct queue *q, const struct recording *what, int64_t now_ms)
{
    struct entry *entry = queue_entry_get(q, what->entry);
    for (size_t i = 0; entry != NULL && i < what->count; i++) {
        struct recipient *r = &entry->recipients[what->indexes[i]];
        bool is_recording = (r->flags & RECIPIENT_RECORDING) != 0;
        if (r->state == QUEUE_TRYING) {
            recipient_settle(q, entry, r, QUEUE_DUE, now_ms + (int64_t)q->options.retry_first_s * 1000);
        } else if (is_recording) {
            r->flags &= (uint8_t)~RECIPIENT_RECORDING;
            if (r->state == QUEUE_DUE && !heap_holds(&r->node) && q->is_scheduled)
                schedule_add(q, r);
        }
    }
}

void recordings_look(struct queue *q, int64_t now_ms)
{
    while (!list_is_empty(&q->recordings)) {
        struct recording *r = LIST_ENTRY(q->recordings.next, struct recording, list);
        enum rc rc = store_settled(q->store, r->wait);
        if (rc == RC_MORE)
            return;
        if (rc != RC_OK)
            take_back(q, r, now_ms);
        forget(r);
    }
}

void recordings_free(struct queue *q)
{
    while (!list_is_empty(&q->recordings))
        forget(LIST_ENTRY(q->recordings.next, struct recording, list));
}
