/* What an administrator does to messages, and finding them. */
#include "queue/inner.h"

#include <stdlib.h>

/* Which recipients an action is for, and what they become. */
static const struct action_rule {
    bool from_due, from_held;
    enum queue_state to;
} rules[] = {
    [QUEUE_HOLD] = { true, false, QUEUE_HELD },
    [QUEUE_RELEASE] = { false, true, QUEUE_DUE },
    [QUEUE_RETRY] = { true, false, QUEUE_DUE },
    [QUEUE_BOUNCE] = { true, true, QUEUE_BOUNCED },
    [QUEUE_DELETE] = { true, true, QUEUE_DELETED },
};

static bool action_fits(const struct action_rule *rule, const struct recipient *r)
{
    if (r->flags & RECIPIENT_RECORDING)
        return false;
    return (r->state == QUEUE_DUE && rule->from_due) || (r->state == QUEUE_HELD && rule->from_held);
}

static size_t choose(struct queue *q, struct entry *entry, const struct action_rule *rule, size_t *indexes)
{
    size_t count = 0;
    for (size_t i = 0; i < entry->count; i++) {
        struct recipient *r = &entry->recipients[i];
        if (!action_fits(rule, r))
            continue;
        schedule_hide(q, r);
        r->flags |= RECIPIENT_RECORDING;
        indexes[count++] = i;
    }
    return count;
}

static enum rc refuse(const struct entry *entry, enum queue_action action, struct fault *f)
{
    static const char *const verbs[] = { "hold", "release", "retry", "bounce", "delete" };
    for (size_t i = 0; i < entry->count; i++)
        if (entry->recipients[i].state == QUEUE_TRYING)
            return fault_temp(f, 0, "nothing to %s right now: a delivery is being tried", verbs[action]);
    return fault_perm(f, 0, "nothing to %s: no recipient of this message is in the state for it", verbs[action]);
}

static enum rc bounce(struct queue *q, struct entry *entry, const size_t *indexes, size_t count, int64_t now_ms, uint64_t *wait, struct fault *f)
{
    const struct queue_entry *unpacked = entry_unpack(entry, q->work);
    struct decision *decisions = ARENA_ARRAY(q->work, struct decision, count);
    if (unpacked == NULL || decisions == NULL)
        return fault_no_memory(f);
    for (size_t i = 0; i < count; i++) {
        const struct queue_recipient *r = &unpacked->recipients[indexes[i]];
        bool wanted = notify_wants(r->notify, REPORT_FAILED), is_null = unpacked->mail.reverse_path.is_null;
        decisions[i] = (struct decision){
            .item = { .index = indexes[i], .state = QUEUE_BOUNCED, .esc = ESC(5, 7, 1),
                      .text = SLICE("returned to the sender by the administrator of this server"), .remote = r->last_remote },
            .report = wanted && !is_null ? REPORT_FAILED : REPORT_NONE,
            .is_untold = wanted && is_null,
        };
    }
    return outcome_record(q, unpacked, &(struct outcome_head){ 0 }, decisions, count, now_ms, wait, f);
}

static enum rc record_action(struct queue *q, struct entry *entry, enum queue_action action, const size_t *indexes, size_t count, int64_t now_ms,
                             uint64_t *wait, struct fault *f)
{
    struct buf op;
    buf_init(&op, OP_MAX);
    queue_op_begin(&op, OP_ACTION, entry->id, now_ms);
    buf_append_byte(&op, (char)action);
    write_number(&op, count);
    struct recording *recording = recording_new(entry->id, count);
    for (size_t i = 0; i < count && recording != NULL; i++) {
        write_number(&op, indexes[i]);
        recording_add(recording, indexes[i]);
    }
    enum rc rc = recording == NULL ? fault_no_memory(f) : queue_submit(q, &op, wait, f);
    buf_free(&op);
    if (rc == RC_OK)
        recording_watch(q, recording, *wait);
    else
        free(recording);
    return rc;
}

enum rc queue_act(struct queue *q, uint64_t id, enum queue_action action, int64_t now_ms, uint64_t *wait, struct fault *f)
{
    must((size_t)action < sizeof rules / sizeof *rules);
    const struct action_rule *rule = &rules[action];
    recordings_look(q, now_ms);
    struct entry *entry = queue_entry_get(q, id);
    if (entry == NULL)
        return fault_none(f, "no such message in the queue");
    arena_rewind(q->work);
    size_t *indexes = ARENA_ARRAY(q->work, size_t, entry->count);
    if (indexes == NULL)
        return fault_no_memory(f);
    size_t count = choose(q, entry, rule, indexes);
    if (count == 0)
        return refuse(entry, action, f);
    enum rc rc;
    if (action == QUEUE_BOUNCE)
        rc = bounce(q, entry, indexes, count, now_ms, wait, f);
    else
        rc = record_action(q, entry, action, indexes, count, now_ms, wait, f);
    for (size_t i = 0; i < count && rc != RC_OK; i++) {         /* not recorded: as it was */
        struct recipient *r = &entry->recipients[indexes[i]];
        r->flags &= (uint8_t)~RECIPIENT_RECORDING;
        if (r->state == QUEUE_DUE && !heap_holds(&r->node))
            schedule_add(q, r);
    }
    return rc;
}

enum rc queue_set_aside(struct queue *q, int64_t now_ms, uint64_t *id, uint64_t *wait, struct fault *f)
{
    static const struct action_rule rule = { true, true, QUEUE_HELD };
    uint32_t deaths;
    bool is_one = store_died_handling(q->store, id, &deaths) == HANDLING_REPORT && deaths >= HANDLING_DEATHS_MAX;
    struct entry *entry = is_one ? queue_entry_get(q, *id) : NULL;
    if (entry == NULL)
        return RC_NONE;
    arena_rewind(q->work);
    size_t *indexes = ARENA_ARRAY(q->work, size_t, entry->count);
    struct decision *decisions = ARENA_ARRAY(q->work, struct decision, entry->count);
    const struct queue_entry *unpacked = entry_unpack(entry, q->work);
    if (indexes == NULL || decisions == NULL || unpacked == NULL)
        return fault_no_memory(f);
    size_t count = choose(q, entry, &rule, indexes);
    for (size_t i = 0; i < count; i++)
        decisions[i] = (struct decision){
            .item = { .index = indexes[i], .state = QUEUE_HELD, .flags = OUTCOME_IS_DEATH, .esc = ESC(4, 3, 0),
                      .text = SLICE("set aside: the server died twice while it wrote a report about this; \"thurn queue delete\" ends it quietly, "
                                    "\"thurn queue release\" lets it go on"),
                      .due_ms = now_ms },
        };
    return count == 0 ? RC_NONE : outcome_record(q, unpacked, &(struct outcome_head){ 0 }, decisions, count, now_ms, wait, f);
}

void apply_action(struct queue *q, struct op *op)
{
    struct entry *entry = queue_entry_get(q, op->id);
    uint8_t action = read_u8(&op->rest);
    size_t count = (size_t)read_number(&op->rest, ENTRY_RECIPIENTS_MAX);
    if (entry == NULL || op->rest.is_bad || action >= sizeof rules / sizeof *rules)
        return;
    for (size_t i = 0; i < count; i++) {
        size_t index = (size_t)read_number(&op->rest, ENTRY_RECIPIENTS_MAX);
        if (op->rest.is_bad || index >= entry->count)
            break;
        struct recipient *r = &entry->recipients[index];
        recipient_settle(q, entry, r, rules[action].to, rules[action].to == QUEUE_DUE ? op->time_ms : r->node.key);
        if (rules[action].to == QUEUE_DUE)
            schedule_probe_now(q, r);
    }
    queue_mark_dirty(q, entry);
    entry_finish(q, entry);
}

/* ---- queries ------------------------------------------------------------------------------------------------------------ */

static bool contains(struct slice haystack, struct slice needle)
{
    return needle.len == 0 || slice_find_nocase(haystack, needle) < haystack.len;
}

/* As a person writes it: in front of and behind the '@' at once. */
static bool address_contains(const struct address *a, struct slice needle)
{
    char text[LOCAL_PART_MAX * 4 + DOMAIN_MAX + 2];
    size_t local = a->local_part.len < LOCAL_PART_MAX * 4 ? a->local_part.len : LOCAL_PART_MAX * 4;
    size_t domain = a->domain.len < DOMAIN_MAX ? a->domain.len : DOMAIN_MAX;
    if (local > 0)
        memcpy(text, a->local_part.ptr, local);
    text[local] = '@';
    if (domain > 0)
        memcpy(text + local + 1, a->domain.ptr, domain);
    return contains((struct slice){ text, local + 1 + domain }, needle);
}

static bool recipient_matches(const struct queue_recipient *r, const struct queue_query *query)
{
    if (!state_is_open(r->state))
        return false;
    return (query->domain.len == 0 || slice_equal_nocase(r->address.domain, query->domain))
        && (query->recipient.len == 0 || address_contains(&r->address, query->recipient))
        && (contains(r->last_text, query->error) || (query->error.len > 0 && contains(r->destination_text, query->error)))
        && (!query->only_held || r->state == QUEUE_HELD)
        && (!query->only_due || r->state != QUEUE_HELD);
}

bool queue_matches(const struct queue_entry *entry, const struct queue_query *query, int64_t now_ms)
{
    int64_t age_s = (now_ms - entry->accepted_ms) / 1000;
    if ((query->older_than_s > 0 && age_s <= query->older_than_s) || (query->younger_than_s > 0 && age_s >= query->younger_than_s))
        return false;
    if (query->sender.len > 0) {
        bool is_null = entry->mail.reverse_path.is_null && slice_equal(query->sender, SLICE("<>"));
        if (!is_null && !address_contains(&entry->mail.reverse_path, query->sender) && !contains(entry->user, query->sender))
            return false;
    }
    for (size_t i = 0; i < entry->recipient_count; i++)
        if (recipient_matches(&entry->recipients[i], query))
            return true;
    return false;
}
