/* What becomes of recipients after an attempt, and by the passing of time.
 *
 *     the next hop took it        -> delivered; told when NOTIFY has SUCCESS and the next hop does not tell by itself
 *     it refused for good         -> bounced; told unless NOTIFY says otherwise
 *     anything else               -> due again after a growing, jittered interval; once it has waited long enough the sender
 *                                    is told of the delay, once; when its lifetime is over it bounces (4.4.7)
 *
 * A recipient stays as it is in memory (trying, or marked recording) until the record that says so is durable: apply_*. */
#include "queue/inner.h"

#include <stdlib.h>

enum { TICK_RECORDS_MAX = 200 };    /* reports written in one queue_tick: a long outage must not block the role */

/* RFC 3461 4.1; without NOTIFY failures are told and, as the RFC leaves to us, delays too. */
bool notify_wants(unsigned notify, enum report_kind kind)
{
    switch (kind) {
    case REPORT_NONE: return false;
    case REPORT_FAILED: return notify == NOTIFY_DEFAULT || (notify & NOTIFY_FAILURE) != 0;
    case REPORT_DELAYED: return notify == NOTIFY_DEFAULT || (notify & NOTIFY_DELAY) != 0;
    case REPORT_DELIVERED:
    case REPORT_RELAYED: return (notify & NOTIFY_SUCCESS) != 0;
    }
    return false;
}

static int64_t lifetime_ms(const struct queue *q) { return (int64_t)q->options.lifetime_s * 1000; }

static bool delay_is_to_tell(const struct queue *q, const struct queue_entry *entry, const struct queue_recipient *r, int64_t now_ms)
{
    int64_t delay_ms = (int64_t)q->options.delay_warning_s * 1000;
    return delay_ms > 0 && now_ms - entry->accepted_ms >= delay_ms && !r->is_delay_told
        && !entry->mail.reverse_path.is_null && notify_wants(r->notify, REPORT_DELAYED);
}

/* Keeps Q4: nothing is told about a message with the null reverse-path. */
static void tell(const struct queue_entry *entry, const struct queue_recipient *r, enum report_kind kind, struct decision *d)
{
    bool wanted = notify_wants(r->notify, kind);
    d->report = wanted && !entry->mail.reverse_path.is_null ? kind : REPORT_NONE;
    d->is_untold = wanted && entry->mail.reverse_path.is_null;
}

static void decide_expired(struct queue *q, const struct queue_entry *entry, const struct queue_recipient *r, struct slice last, struct decision *d)
{
    d->item.state = QUEUE_BOUNCED;
    d->item.esc = ESC(4, 4, 7);                         /* RFC 3463 X.4.7: delivery time expired */
    d->item.flags &= ~(unsigned)OUTCOME_IS_REMOTE;
    d->item.code = 0;
    unsigned hours = q->options.lifetime_s / 3600;
    const char *text = arena_printf(q->work, "could not be delivered in %u %s; last: %.*s", hours < 48 ? hours : hours / 24,
                                    hours < 48 ? "hours" : "days", SLICE_ARG(slice_sub(last, 0, TEXT_MAX)));
    d->item.text = text == NULL ? SLICE("delivery time expired") : slice_from_str(text);
    tell(entry, r, REPORT_FAILED, d);
}

static void decide_again(struct queue *q, const struct queue_entry *entry, const struct queue_recipient *r, int64_t now_ms, uint64_t random,
                         struct decision *d)
{
    int64_t end_ms = entry->accepted_ms + lifetime_ms(q);
    if (now_ms >= end_ms) {
        decide_expired(q, entry, r, d->item.text, d);
        return;
    }
    d->item.state = QUEUE_DUE;
    d->item.due_ms = now_ms + schedule_back_off((int64_t)q->options.retry_first_s * 1000, (int64_t)q->options.retry_max_s * 1000, r->attempts, random);
    if (d->item.due_ms > end_ms)
        d->item.due_ms = end_ms;                        /* one last attempt when time is over, then it bounces */
    if (delay_is_to_tell(q, entry, r, now_ms)) {
        d->item.flags |= OUTCOME_IS_DELAY_TOLD;
        d->report = REPORT_DELAYED;
    }
}

static void decide(struct queue *q, const struct queue_entry *entry, const struct queue_recipient *r, const struct smtp_outcome *outcome,
                   const struct queue_attempt *attempt, int64_t now_ms, uint64_t random, struct decision *d)
{
    switch (outcome->rc) {
    case RC_OK:
        d->item.state = QUEUE_DELIVERED;
        if (!attempt->has_dsn)
            tell(entry, r, attempt->is_final ? REPORT_DELIVERED : REPORT_RELAYED, d);
        break;
    case RC_PERM:
        d->item.state = QUEUE_BOUNCED;
        tell(entry, r, REPORT_FAILED, d);
        break;
    case RC_TEMP:
    case RC_MORE:
    case RC_NONE:
        decide_again(q, entry, r, now_ms, random, d);
        break;
    }
}

/* ---- recording ------------------------------------------------------------------------------------------------------ */

/* It could not be recorded: as if it had not been tried, but not at once again. */
static void back_to_due(struct queue *q, uint64_t id, const struct decision *decisions, size_t count, int64_t now_ms)
{
    struct entry *entry = queue_entry_get(q, id);
    int64_t due_ms = now_ms + (int64_t)q->options.retry_first_s * 1000;
    for (size_t i = 0; entry != NULL && i < count; i++)
        recipient_settle(q, entry, &entry->recipients[decisions[i].item.index], QUEUE_DUE, due_ms);
}

static enum rc record_group(struct queue *q, const struct queue_entry *entry, const struct outcome_head *head, const struct decision *group,
                            enum report_kind kind, int64_t now_ms, uint64_t *wait, struct fault *f)
{
    struct recording *recording = recording_new(entry->id, head->count);
    if (recording == NULL)
        return fault_no_memory(f);
    for (size_t i = 0; i < head->count; i++)
        recording_add(recording, group[i].item.index);
    enum rc rc = report_record(q, entry, head, group, head->count, kind, now_ms, wait, f);
    if (rc == RC_OK)
        recording_watch(q, recording, *wait);
    else
        free(recording);
    return rc;
}

/* One record per kind of report (a report has one body, and a record has one): each kind's recipients together. */
enum rc outcome_record(struct queue *q, const struct queue_entry *entry, const struct outcome_head *head, const struct decision *decisions,
                       size_t count, int64_t now_ms, uint64_t *wait, struct fault *f)
{
    static const enum report_kind kinds[] = { REPORT_NONE, REPORT_FAILED, REPORT_DELAYED, REPORT_DELIVERED, REPORT_RELAYED };
    struct decision *group = ARENA_ARRAY(q->work, struct decision, count);
    if (group == NULL) {
        back_to_due(q, entry->id, decisions, count, now_ms);
        return fault_no_memory(f);
    }
    enum rc worst = RC_OK;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t members = 0;
        struct outcome_head h = *head;
        for (size_t i = 0; i < count; i++) {
            if (decisions[i].report != kinds[k])
                continue;
            group[members++] = decisions[i];
            if (decisions[i].is_untold)
                h.untold = UNTOLD_NULL_SENDER;
        }
        if (members == 0)
            continue;
        h.count = members;
        enum rc rc = record_group(q, entry, &h, group, kinds[k], now_ms, wait, f);
        if (rc != RC_OK) {
            back_to_due(q, entry->id, group, members, now_ms);
            worst = RC_TEMP;
        }
    }
    return worst;
}

/* ---- attempts --------------------------------------------------------------------------------------------------------- */

enum rc queue_job_done(struct queue *q, const struct queue_job *job, const struct smtp_outcome *outcomes, const struct slice *remotes,
                       const struct queue_attempt *attempt, int64_t now_ms, uint64_t random, uint64_t *wait, struct fault *f)
{
    must(job->recipient_count > 0);
    struct entry *packed = queue_entry_get(q, job->entry);
    must(packed != NULL);
    schedule_job_ended(q, job, attempt->is_destination_dead ? JOB_DEAD : JOB_ANSWERED, outcomes[0].text, now_ms, random);
    arena_rewind(q->work);
    struct decision decisions[QUEUE_JOB_RECIPIENTS_MAX] = { 0 };
    const struct queue_entry *entry = entry_unpack(packed, q->work);
    for (size_t i = 0; i < job->recipient_count; i++) {
        decisions[i].item = (struct outcome_item){
            .index = job->recipients[i],
            .flags = OUTCOME_IS_ATTEMPT | (outcomes[i].is_remote ? OUTCOME_IS_REMOTE : 0u),
            .esc = outcomes[i].esc,
            .code = outcomes[i].code,
            .text = outcomes[i].text,
            .remote = remotes[i],
        };
        must(decisions[i].item.index < packed->count && packed->recipients[decisions[i].item.index].state == QUEUE_TRYING);
        if (entry != NULL)
            decide(q, entry, &entry->recipients[decisions[i].item.index], &outcomes[i], attempt, now_ms, random, &decisions[i]);
    }
    if (entry == NULL) {
        back_to_due(q, job->entry, decisions, job->recipient_count, now_ms);
        return fault_no_memory(f);
    }
    struct outcome_head head = { .tls = attempt->tls, .mx = attempt->mx, .greeting = attempt->greeting };
    return outcome_record(q, entry, &head, decisions, job->recipient_count, now_ms, wait, f);
}

void queue_job_lost(struct queue *q, const struct queue_job *job, int64_t now_ms)
{
    struct entry *entry = queue_entry_get(q, job->entry);
    must(entry != NULL);
    schedule_job_ended(q, job, JOB_LOST, SLICE_NONE, now_ms, 0);
    for (size_t i = 0; i < job->recipient_count; i++)
        recipient_settle(q, entry, &entry->recipients[job->recipients[i]], QUEUE_DUE, now_ms);
}

enum rc queue_job_died(struct queue *q, const struct queue_job *job, int64_t now_ms, uint64_t random, size_t *set_aside, uint64_t *wait,
                       struct fault *f)
{
    static const struct slice again = SLICE_INIT("the process that delivers died while it tried this; it is tried once more, by itself");
    static const struct slice no_more = SLICE_INIT("set aside: the process that delivers died twice while it tried this; \"thurn queue release\" lets it go on");
    struct entry *entry = queue_entry_get(q, job->entry);
    must(entry != NULL && job->recipient_count > 0);
    schedule_job_ended(q, job, JOB_LOST, SLICE_NONE, now_ms, random);
    arena_rewind(q->work);
    struct decision decisions[QUEUE_JOB_RECIPIENTS_MAX] = { 0 };
    const struct queue_entry *unpacked = entry_unpack(entry, q->work);
    *set_aside = 0;
    for (size_t i = 0; i < job->recipient_count; i++) {
        const struct recipient *r = &entry->recipients[job->recipients[i]];
        bool is_second = (r->flags & RECIPIENT_SUSPECT) != 0;
        *set_aside += is_second;
        decisions[i].item = (struct outcome_item){
            .index = job->recipients[i], .state = is_second ? QUEUE_HELD : QUEUE_DUE, .flags = OUTCOME_IS_DEATH, .esc = ESC(4, 3, 0),
            .text = is_second ? no_more : again,
            .due_ms = now_ms + schedule_back_off((int64_t)q->options.retry_first_s * 1000, (int64_t)q->options.retry_max_s * 1000, 0, random),
        };
    }
    if (unpacked == NULL) {
        back_to_due(q, job->entry, decisions, job->recipient_count, now_ms);
        return fault_no_memory(f);
    }
    return outcome_record(q, unpacked, &(struct outcome_head){ 0 }, decisions, job->recipient_count, now_ms, wait, f);
}

/* ---- time ------------------------------------------------------------------------------------------------------------- */

/* Due, not being recorded, and not about to be tried: a later attempt decides about those by itself. */
static bool is_waiting(const struct recipient *r, int64_t now_ms)
{
    if (r->state != QUEUE_DUE || (r->flags & RECIPIENT_RECORDING))
        return false;
    return r->node.key > now_ms || (r->destination != NULL && r->destination->is_dead);
}

static struct slice last_words(const struct recipient *r)
{
    if (r->destination != NULL && r->destination->is_dead && r->destination->why != NULL)
        return note_text(r->destination->why);
    return note_text(r->note);
}

/* Expires the entry's waiting recipients, or tells of their delay. Adds to *records what it wrote. */
static enum rc time_out(struct queue *q, struct entry *packed, bool is_expiry, int64_t now_ms, size_t *records, struct fault *f)
{
    arena_rewind(q->work);
    const struct queue_entry *entry = entry_unpack(packed, q->work);
    struct decision *decisions = ARENA_ARRAY(q->work, struct decision, packed->count);
    if (entry == NULL || decisions == NULL)
        return fault_no_memory(f);
    size_t count = 0;
    for (size_t i = 0; i < packed->count; i++) {
        struct recipient *r = &packed->recipients[i];
        struct decision *d = &decisions[count];
        if (!is_waiting(r, now_ms))
            continue;
        if (!is_expiry && !delay_is_to_tell(q, entry, &entry->recipients[i], now_ms))
            continue;
        d->item = (struct outcome_item){ .index = i, .state = QUEUE_DUE, .esc = r->esc, .text = last_words(r), .remote = note_remote(r->note),
                                         .due_ms = r->node.key };
        if (is_expiry)
            decide_expired(q, entry, &entry->recipients[i], last_words(r), d);
        else {
            d->item.flags |= OUTCOME_IS_DELAY_TOLD;
            d->report = REPORT_DELAYED;
        }
        schedule_hide(q, r);
        r->flags |= RECIPIENT_RECORDING;
        count++;
    }
    if (count == 0)
        return RC_OK;
    ++*records;
    uint64_t wait;
    return outcome_record(q, entry, &(struct outcome_head){ 0 }, decisions, count, now_ms, &wait, f);
}

enum rc queue_tick(struct queue *q, int64_t now_ms, uint64_t random, struct fault *f)
{
    (void)random;
    size_t records = 0;
    int64_t delay_ms = (int64_t)q->options.delay_warning_s * 1000;
    recordings_look(q, now_ms);
    if (!q->is_scheduled || !store_has_reserve(q->store, f))
        return RC_OK;
    struct entry *e = index_after(q->index, 0);
    for (; e != NULL && entry_accepted_ms(e) + lifetime_ms(q) <= now_ms && records < TICK_RECORDS_MAX; e = index_after(q->index, e->id))
        if (time_out(q, e, true, now_ms, &records, f) != RC_OK)
            return RC_TEMP;
    e = index_after(q->index, q->delay_cursor);
    for (; delay_ms > 0 && e != NULL && entry_accepted_ms(e) + delay_ms <= now_ms && records < TICK_RECORDS_MAX;
         e = index_after(q->index, e->id)) {
        if (time_out(q, e, false, now_ms, &records, f) != RC_OK)
            return RC_TEMP;
        q->delay_cursor = e->id;
    }
    return records >= TICK_RECORDS_MAX ? RC_MORE : RC_OK;
}

/* ---- applying ----------------------------------------------------------------------------------------------------------- */

void apply_outcome(struct queue *q, struct op *op)
{
    struct outcome_head head;
    struct entry *entry = queue_entry_get(q, op->id);
    if (entry == NULL || !outcome_head_read(&op->rest, &head))
        return;
    struct outcome_item item;
    for (size_t i = 0; i < head.count && outcome_item_read(&op->rest, &item); i++) {
        if (item.index >= entry->count || item.state == QUEUE_TRYING)
            continue;
        struct recipient *r = &entry->recipients[item.index];
        struct note *old = r->note;
        r->note = note_get(&q->notes, item.text, item.remote);
        note_put(&q->notes, old);
        r->esc = item.esc;
        if (item.flags & OUTCOME_IS_ATTEMPT) {
            if (r->attempts < UINT16_MAX)
                r->attempts++;
            r->attempt_ms = op->time_ms;
            r->flags &= (uint8_t)~RECIPIENT_SUSPECT;
        }
        if (item.flags & OUTCOME_IS_DEATH)
            r->flags |= RECIPIENT_SUSPECT;
        if (item.flags & OUTCOME_IS_DELAY_TOLD)
            r->flags |= RECIPIENT_DELAY_TOLD;
        recipient_settle(q, entry, r, item.state, item.due_ms);
    }
    queue_mark_dirty(q, entry);
    entry_finish(q, entry);
}
