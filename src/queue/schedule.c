/* The scheduler: which job may start now.
 *
 * Every recipient that is due, or will be, belongs to a destination (next hop), which keeps its own by due time.
 * Destinations that may start a job stand in `ready` and take turns, one job each: a backlog for one does not delay the
 * others. Those that have to wait (for a due time, or for the next probe) are in `waiting` by that time; those at their
 * limit are in neither, and come back when a job ends.
 *
 * A destination to which no connection could be made is dead: one job at a time, a canary, may try it, at growing jittered
 * intervals; whatever else is due there waits. The first job that gets an answer brings it back to life. */
#include "queue/inner.h"

#include <stdlib.h>

enum {
    NO_ROOM_MS = 10000,             /* ask the store again whether an outcome could be recorded */
    SUSPECT_MS = 1000,              /* while one suspect is being tried the others come again after this */
};

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

int64_t schedule_back_off(int64_t base_ms, int64_t max_ms, unsigned step, uint64_t random)
{
    int64_t interval = base_ms < 1 ? 1 : base_ms;
    for (; step > 0 && interval < max_ms; step--)
        interval *= 2;
    if (interval > max_ms)
        interval = max_ms < 1 ? 1 : max_ms;
    int64_t span = interval * 2 / 5;
    return interval - span / 2 + (span > 0 ? (int64_t)(random_next(&random) % (uint64_t)(span + 1)) : 0);
}

static struct slice destination_key(const struct destination *d) { return (struct slice){ d->name, d->name_len }; }

static struct destination *destination_get(struct queue *q, struct slice name)
{
    struct destination *d = map_get(&q->destinations, name);
    if (d != NULL)
        return d;
    d = calloc(1, sizeof *d + name.len);
    must(d != NULL);
    d->name_len = name.len;
    memcpy(d->name, name.ptr, name.len);
    list_init(&d->ready);
    heap_init(&d->due);
    must(map_put(&q->destinations, destination_key(d), d));
    return d;
}

static void destination_free(struct queue *q, struct destination *d)
{
    list_remove(&d->ready);
    heap_remove(&q->waiting, &d->wait);
    map_remove(&q->destinations, destination_key(d));
    heap_free(&d->due);
    note_put(&q->notes, d->why);
    free(d);
}

static size_t destination_limit(const struct queue *q, const struct destination *d)
{
    uint32_t limit = d->is_dead ? 1 : q->options.destination_concurrency;
    return limit == 0 ? 1 : limit;
}

/* When the next job may start as far as this destination is concerned; INT64_MAX: not before something happens. */
static int64_t destination_when(const struct queue *q, const struct destination *d)
{
    const struct heap_node *first = heap_first(&d->due);
    if (first == NULL || d->active >= destination_limit(q, d))
        return INT64_MAX;
    return d->is_dead && d->probe_ms > first->key ? d->probe_ms : first->key;
}

/* Puts it where it belongs after a change. One that is ready keeps its turn. */
static void destination_place(struct queue *q, struct destination *d, int64_t now_ms)
{
    int64_t when = destination_when(q, d);
    if (when <= now_ms && !list_is_empty(&d->ready))
        return;
    list_remove(&d->ready);
    heap_remove(&q->waiting, &d->wait);
    if (when <= now_ms)
        list_append(&q->ready, &d->ready);
    else if (when != INT64_MAX)
        must(heap_add(&q->waiting, &d->wait, when));
    else if (d->members == 0 && d->active == 0)
        destination_free(q, d);
}

static struct destination *destination_of(struct queue *q, struct recipient *r)
{
    struct static_recipient fixed = entry_recipient(recipient_entry(r), r->index);
    arena_rewind(q->work);
    return destination_get(q, q->destination(q->destination_arg, &fixed.address, q->work));
}

void schedule_add(struct queue *q, struct recipient *r)
{
    if (r->destination == NULL) {
        r->destination = destination_of(q, r);
        r->destination->members++;
    }
    heap_remove(&r->destination->due, &r->node);
    must(heap_add(&r->destination->due, &r->node, r->node.key));
    destination_place(q, r->destination, q->now_ms);
}

void schedule_hide(struct queue *q, struct recipient *r)
{
    if (r->destination == NULL || !heap_holds(&r->node))
        return;
    heap_remove(&r->destination->due, &r->node);
    destination_place(q, r->destination, q->now_ms);
}

void schedule_remove(struct queue *q, struct recipient *r)
{
    struct destination *d = r->destination;
    if (d == NULL)
        return;
    heap_remove(&d->due, &r->node);
    r->destination = NULL;
    d->members--;
    destination_place(q, d, q->now_ms);
}

void schedule_probe_now(struct queue *q, struct recipient *r)
{
    struct destination *d = r->destination;
    if (d == NULL || !d->is_dead)
        return;
    d->probe_ms = 0;
    destination_place(q, d, q->now_ms);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------- */

static void forget_destinations(struct queue *q)
{
    for (size_t i = 0; i < q->index->count; i++) {
        struct entry *entry = q->index->slots[i].entry;
        for (size_t n = 0; entry != NULL && n < entry->count; n++)
            schedule_remove(q, &entry->recipients[n]);
    }
}

void schedule_rebuild(struct queue *q)
{
    forget_destinations(q);
    q->is_scheduled = true;
    for (size_t i = 0; i < q->index->count; i++) {
        struct entry *entry = q->index->slots[i].entry;
        for (size_t n = 0; entry != NULL && n < entry->count; n++) {
            struct recipient *r = &entry->recipients[n];
            if (r->state == QUEUE_DUE && !(r->flags & RECIPIENT_RECORDING))
                schedule_add(q, r);
        }
    }
}

void schedule_free(struct queue *q)
{
    forget_destinations(q);
    struct destination *d;
    for (size_t at = 0; (d = map_next(&q->destinations, &at, NULL)) != NULL;)
        destination_free(q, d);                         /* those with jobs that were never ended */
}

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

static void wake(struct queue *q, int64_t now_ms)
{
    for (struct heap_node *node; (node = heap_first(&q->waiting)) != NULL && node->key <= now_ms;) {
        struct destination *d = (struct destination *)(void *)((char *)node - offsetof(struct destination, wait));
        destination_place(q, d, now_ms);
    }
}

/* All recipients of the first due one's message that go the same way and are due too, and are suspects or not as it is. */
static void collect(struct destination *d, int64_t now_ms, struct queue_job *job)
{
    struct recipient *first = (struct recipient *)(void *)heap_first(&d->due);      /* node is its first member */
    struct entry *entry = recipient_entry(first);
    job->entry = entry->id;
    job->destination = destination_key(d);
    job->recipient_count = 0;
    job->is_suspect = (first->flags & RECIPIENT_SUSPECT) != 0;
    int64_t due_ms = first->node.key > now_ms ? first->node.key : now_ms;           /* it was due when it became ready; the clock went back */
    for (size_t i = 0; i < entry->count && job->recipient_count < QUEUE_JOB_RECIPIENTS_MAX; i++) {
        struct recipient *r = &entry->recipients[i];
        if (r->destination != d || !heap_holds(&r->node) || r->node.key > due_ms || ((r->flags & RECIPIENT_SUSPECT) != 0) != job->is_suspect)
            continue;
        heap_remove(&d->due, &r->node);
        r->state = QUEUE_TRYING;
        job->recipients[job->recipient_count++] = i;
    }
}

/* The destination whose turn it is, behind suspects that have to wait for another one; NULL: none. */
static struct destination *next_destination(struct queue *q, int64_t now_ms)
{
    while (!list_is_empty(&q->ready)) {
        struct destination *d = LIST_ENTRY(q->ready.next, struct destination, ready);
        struct recipient *first = (struct recipient *)(void *)heap_first(&d->due);
        list_remove(&d->ready);
        if (q->active_suspects == 0 || !(first->flags & RECIPIENT_SUSPECT))
            return d;
        heap_remove(&d->due, &first->node);
        must(heap_add(&d->due, &first->node, now_ms + SUSPECT_MS));
        destination_place(q, d, now_ms);
    }
    return NULL;
}

enum rc queue_next_job(struct queue *q, int64_t now_ms, uint64_t random, struct queue_job *job)
{
    (void)random;
    recordings_look(q, now_ms);
    size_t limit = q->options.concurrency == 0 ? 1 : q->options.concurrency;
    if (!q->is_scheduled || q->active >= limit || now_ms < q->no_room_until_ms)
        return RC_NONE;
    q->now_ms = now_ms;
    wake(q, now_ms);
    if (list_is_empty(&q->ready))
        return RC_NONE;
    if (!store_has_reserve(q->store, NULL)) {           /* keeps Q2 */
        q->no_room_until_ms = now_ms + NO_ROOM_MS;
        return RC_NONE;
    }
    struct destination *d = next_destination(q, now_ms);
    if (d == NULL)
        return RC_NONE;
    collect(d, now_ms, job);
    job->number = ++q->last_job;
    d->active++;
    q->active++;
    q->active_suspects += job->is_suspect;
    destination_place(q, d, now_ms);
    return RC_OK;
}

int64_t queue_wake_ms(const struct queue *q)
{
    size_t limit = q->options.concurrency == 0 ? 1 : q->options.concurrency;
    if (!q->is_scheduled || q->active >= limit)
        return INT64_MAX;
    int64_t when = INT64_MAX;
    if (!list_is_empty(&q->ready))
        when = 0;
    else if (heap_first(&q->waiting) != NULL)
        when = heap_first(&q->waiting)->key;
    return when < q->no_room_until_ms ? q->no_room_until_ms : when;
}

static void destination_died(struct queue *q, struct destination *d, struct slice why, int64_t now_ms, uint64_t random)
{
    if (d->is_dead && now_ms < d->probe_ms)
        return;                                         /* begun before the first one failed: no news */
    int64_t base_ms = (int64_t)q->options.retry_first_s * 1000, max_ms = (int64_t)q->options.retry_max_s * 1000;
    unsigned step = d->is_dead ? d->probes : 0;
    d->is_dead = true;
    d->probes = step + 1;
    d->probe_ms = now_ms + schedule_back_off(base_ms, max_ms, step, random);
    struct note *old = d->why;
    d->why = note_get(&q->notes, why, SLICE_NONE);
    note_put(&q->notes, old);
}

void schedule_job_ended(struct queue *q, const struct queue_job *job, enum job_end end, struct slice why, int64_t now_ms, uint64_t random)
{
    struct destination *d = map_get(&q->destinations, job->destination);
    must(d != NULL && d->active > 0 && q->active > 0);
    d->active--;
    q->active--;
    q->active_suspects -= job->is_suspect;
    switch (end) {
    case JOB_DEAD:
        destination_died(q, d, why, now_ms, random);
        break;
    case JOB_ANSWERED:
        d->is_dead = false;
        d->probes = 0;
        break;
    case JOB_LOST:
        break;
    }
    destination_place(q, d, now_ms);
}
