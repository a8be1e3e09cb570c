/* The balance, and the search for what is missing: see ledger.h. */
#include "queue/inner.h"

#include "base/text.h"

#include <stdlib.h>

/* ---- the balance ----------------------------------------------------------------------------------------------------- */

static uint64_t count_waiting(const struct queue *q)
{
    uint64_t waiting = 0;
    for (size_t i = 0; i < q->index->count; i++)
        waiting += q->index->slots[i].entry == NULL ? 0 : q->index->slots[i].entry->open;
    return waiting;
}

void ledger_take(const struct queue *q, const struct store *store, bool is_exact, struct ledger *out)
{
    *out = (struct ledger){ .queue = q->counters };
    store_ledger(store, &out->mail);
    if (!q->is_counting)
        out->queue.brought = q->recipient_count;
    out->queue.waiting = is_exact ? count_waiting(q) : q->recipient_count;
}

uint64_t ledger_received(const struct ledger *l)
{
    const struct store_ledger *m = &l->mail;
    return m->brought + m->delivered + m->appended + m->copied + l->queue.brought + l->queue.queued;
}

uint64_t ledger_accounted(const struct ledger *l)
{
    const struct queue_ledger *q = &l->queue;
    return l->mail.present + l->mail.expunged + l->mail.removed + q->waiting + q->delivered + q->bounced + q->discarded;
}

static uint64_t apart(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

uint64_t ledger_difference(const struct ledger *l)
{
    const struct queue_ledger *q = &l->queue;
    int64_t mail = store_ledger_missing(&l->mail);
    return (uint64_t)(mail < 0 ? -mail : mail) + apart(q->brought + q->queued, q->waiting + q->delivered + q->bounced + q->discarded)
        + apart(q->filed, l->mail.delivered);
}

bool ledger_write_json(const struct ledger *l, struct buf *out)
{
    const struct { const char *name; uint64_t value; } members[] = {
        { "brought", l->mail.brought + l->queue.brought }, { "messages", l->queue.messages }, { "reports", l->queue.reports },
        { "accepted_to_mailboxes", l->mail.delivered }, { "accepted_to_queue", l->queue.queued },
        { "appended", l->mail.appended }, { "copied", l->mail.copied }, { "received", ledger_received(l) },
        { "in_mailboxes", l->mail.present }, { "waiting", l->queue.waiting }, { "delivered", l->queue.delivered },
        { "bounced", l->queue.bounced }, { "expunged", l->mail.expunged }, { "removed", l->mail.removed },
        { "discarded", l->queue.discarded }, { "accounted", ledger_accounted(l) }, { "difference", ledger_difference(l) },
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        buf_printf(out, "%s\"%s\":%llu", i == 0 ? "" : ",", members[i].name, (unsigned long long)members[i].value);
    return !out->overflow;
}

static void text_member(struct buf *out, const char *name, struct slice text)
{
    if (text.len == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    json_append_string(out, text);
}

bool ledger_finding_write_json(const struct ledger_finding *f, struct slice account_name, struct buf *out)
{
    static const char *const losses[] = {
        [LOSS_BODY] = "its bytes are gone from the log",
        [LOSS_DELIVERY] = "it was delivered there, and is neither there nor was it expunged",
        [LOSS_RECIPIENT] = "it was queued, and is neither in the queue nor is known how that ended",
        [LOSS_UNKNOWN] = "nothing is known of these UIDs, and the mailboxes have less than came into them",
        [LOSS_COUNT] = "it counts itself wrong",
    };
    buf_append_str(out, "{\"missing\":");
    json_append_string(out, slice_from_str(losses[f->loss]));
    if (f->id != 0) {
        char id[QUEUE_ID_TEXT];
        queue_id_write(f->id, id);
        text_member(out, "id", slice_from_str(id));
    }
    if (f->account != 0)
        buf_printf(out, ",\"account_number\":%llu", (unsigned long long)f->account);
    text_member(out, "account", account_name);
    text_member(out, "mailbox", f->mailbox);
    if (f->first_uid != 0)
        buf_printf(out, ",\"uid\":%u,\"last_uid\":%u", f->first_uid, f->last_uid);
    text_member(out, "recipient", f->recipient);
    buf_append_byte(out, '}');
    return !out->overflow;
}

/* ---- the walk -------------------------------------------------------------------------------------------------------- */

enum {
    NAMED_MAX = 10000,              /* messages found missing by their history: not told again as unknown UIDs */
    HISTORY_COSTS = 8,              /* as much as so many messages of a mailbox */
};

struct named {
    uint64_t mailbox_id;
    uint32_t uid;
};

enum phase { PHASE_RECENT, PHASE_ROWS, PHASE_QUEUE, PHASE_MAILBOXES };

struct ledger_walk {
    struct queue *queue;
    struct store *store;
    void (*found)(void *arg, const struct ledger_finding *);
    void *arg;
    enum phase phase;
    uint64_t *recent;               /* ids that had a history in memory */
    size_t recent_count, at;
    uint64_t last_key, last_entry;
    uint64_t end_id;                /* later ones came after the beginning */
    struct store_walk *mail;
    struct named *named;
    size_t named_count;
    unsigned char *is_done;         /* of the history at hand: by recipient */
    size_t is_done_cap;
    struct buf history;
    uint64_t seen;
};

static void tell(struct ledger_walk *w, const struct ledger_finding *f) { w->found(w->arg, f); }

/* ---- histories ---- */

struct told {                       /* what a history says of its message */
    uint64_t id;
    struct reader recipients;       /* at the first */
    size_t recipient_count;
    bool has_new, is_cut;
};

static bool expect_recipients(struct ledger_walk *w, struct told *t, size_t count)
{
    if (count > w->is_done_cap) {
        unsigned char *more = realloc(w->is_done, count);
        if (more == NULL)
            return false;
        w->is_done = more;
        w->is_done_cap = count;
    }
    if (count > 0)
        memset(w->is_done, 0, count);
    t->recipient_count = count;
    return true;
}

static void check_delivery(struct ledger_walk *w, const struct told *t, const struct static_delivery *d, uint64_t mailbox_id)
{
    struct store_mailbox_info info;
    if (mailbox_id == 0 && slice_equal(d->mailbox, SLICE("INBOX")) && store_mailbox_find(w->store, d->account, d->mailbox, &info) == RC_OK)
        mailbox_id = info.id;           /* written by an older version: INBOX at least is always the same one */
    if (mailbox_id == 0 || d->uid == 0 || store_message_fate(w->store, mailbox_id, d->uid) != FATE_MISSING)
        return;
    if (w->named_count < NAMED_MAX)
        w->named[w->named_count++] = (struct named){ mailbox_id, d->uid };
    tell(w, &(struct ledger_finding){ .loss = LOSS_DELIVERY, .id = t->id, .account = d->account, .mailbox = d->mailbox,
                                      .first_uid = d->uid, .last_uid = d->uid });
}

static void hear_new(struct ledger_walk *w, struct told *t, struct reader r)
{
    struct static_head head;
    struct static_recipient recipient;
    struct static_delivery delivery;
    uint64_t parent;
    if (t->has_new || !static_head_read(&r, &head) || !expect_recipients(w, t, head.recipient_count))
        return;
    t->has_new = true;
    t->recipients = r;
    for (size_t i = 0; i < head.recipient_count; i++)
        (void)static_recipient_read(&r, &recipient);
    size_t count = deliveries_begin(&r, &parent);
    struct reader ids = r;
    for (size_t i = 0; i < count; i++)
        (void)delivery_read(&ids, &delivery);
    bool has_ids = ids.in.len > 0 && !ids.is_bad;
    for (size_t i = 0; i < count && delivery_read(&r, &delivery); i++)
        check_delivery(w, t, &delivery, has_ids ? read_number(&ids, UINT64_MAX) : 0);
}

static void hear_outcome(struct ledger_walk *w, struct told *t, struct reader r)
{
    struct outcome_head head;
    struct outcome_item item;
    if (!outcome_head_read(&r, &head))
        return;
    for (size_t i = 0; i < head.count && outcome_item_read(&r, &item); i++)
        if (item.index < t->recipient_count && !state_is_open(item.state))
            w->is_done[item.index] = 1;
}

static void hear_action(struct ledger_walk *w, struct told *t, struct reader r)
{
    uint8_t action = read_u8(&r);
    size_t count = (size_t)read_number(&r, ENTRY_RECIPIENTS_MAX);
    for (size_t i = 0; i < count && !r.is_bad; i++) {
        size_t index = (size_t)read_number(&r, ENTRY_RECIPIENTS_MAX);
        if (!r.is_bad && action == QUEUE_DELETE && index < t->recipient_count)
            w->is_done[index] = 1;
    }
}

static void hear(struct ledger_walk *w, struct told *t, struct slice history)
{
    struct reader r = { history, false };
    while (r.in.len > 0 && !r.is_bad) {
        struct op op;
        (void)read_number(&r, UINT64_MAX);
        struct slice bytes = read_string(&r);
        t->is_cut |= bytes.len == 0;
        if (!op_parse(bytes, &op))
            continue;
        if (op.kind == OP_NEW)
            hear_new(w, t, op.rest);
        else if (op.kind == OP_OUTCOME)
            hear_outcome(w, t, op.rest);
        else if (op.kind == OP_ACTION)
            hear_action(w, t, op.rest);
    }
}

static void check_recipients(struct ledger_walk *w, const struct told *t)
{
    const struct entry *entry = queue_entry_get(w->queue, t->id);
    struct reader r = t->recipients;
    struct static_recipient recipient;
    for (size_t i = 0; i < t->recipient_count && static_recipient_read(&r, &recipient); i++) {
        bool is_waiting = entry != NULL && i < entry->count && state_is_open(entry->recipients[i].state);
        if (is_waiting || w->is_done[i])
            continue;
        struct buf name;
        buf_init(&name, 4096);
        address_write(&recipient.address, &name);
        tell(w, &(struct ledger_finding){ .loss = LOSS_RECIPIENT, .id = t->id, .recipient = buf_slice(&name) });
        buf_free(&name);
    }
}

static void check_history(struct ledger_walk *w, uint64_t id)
{
    struct told told = { .id = id };
    buf_clear(&w->history);
    w->seen++;
    if (history_read(w->queue, id, &w->history, NULL) != RC_OK)
        return;                                         /* forgotten meanwhile */
    hear(w, &told, buf_slice(&w->history));
    if (told.has_new && !told.is_cut)
        check_recipients(w, &told);
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* False: there are no more rows. */
static bool step_row(struct ledger_walk *w)
{
    uint64_t key;
    if (store_rider_next(w->store, w->last_key, &key, NULL) != RC_OK || key > (w->end_id | STORE_RIDER_ASIDE))
        return false;
    w->last_key = key;
    uint64_t id = key & ~STORE_RIDER_ASIDE;
    if (w->recent_count == 0 || bsearch(&id, w->recent, w->recent_count, sizeof id, by_id) == NULL)
        check_history(w, id);
    return true;
}

/* ---- the queue and the mailboxes ---- */

static bool step_entry(struct ledger_walk *w)
{
    const struct entry *entry = index_after(w->queue->index, w->last_entry);
    if (entry == NULL || entry->id > w->end_id)
        return false;
    w->last_entry = entry->id;
    uint32_t open = 0;
    for (size_t i = 0; i < entry->count; i++)
        open += state_is_open(entry->recipients[i].state);
    if (open != entry->open || open == 0)
        tell(w, &(struct ledger_finding){ .loss = LOSS_COUNT, .id = entry->id });
    if (!store_walk_has_body(w->mail, entry->body_id))
        tell(w, &(struct ledger_finding){ .loss = LOSS_BODY, .id = entry->id });
    return true;
}

/* UIDs of which nothing is known, but for those that a history has named. */
static void tell_unknown(struct ledger_walk *w, const struct store_finding *s)
{
    struct ledger_finding f = { .loss = LOSS_UNKNOWN, .account = s->account, .mailbox = s->mailbox };
    for (uint64_t first = s->first_uid; first <= s->last_uid;) {
        uint64_t end = (uint64_t)s->last_uid + 1;
        for (size_t i = 0; i < w->named_count; i++)
            if (w->named[i].mailbox_id == s->mailbox_id && w->named[i].uid >= first && w->named[i].uid < end)
                end = w->named[i].uid;
        f.first_uid = (uint32_t)first;
        f.last_uid = (uint32_t)(end - 1);
        if (end > first)
            tell(w, &f);
        first = end + 1;
    }
}

static void on_store_finding(void *arg, const struct store_finding *s)
{
    struct ledger_walk *w = arg;
    if (s->kind == FINDING_UIDS_GONE) {
        tell_unknown(w, s);
        return;
    }
    tell(w, &(struct ledger_finding){ .loss = s->kind == FINDING_BODY_GONE ? LOSS_BODY : LOSS_COUNT, .account = s->account, .mailbox = s->mailbox,
                                      .first_uid = s->first_uid, .last_uid = s->last_uid });
}

/* ---- all of it ---- */

struct ledger_walk *ledger_walk_new(struct queue *q, struct store *store, void (*found)(void *arg, const struct ledger_finding *), void *arg)
{
    struct ledger_walk *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    *w = (struct ledger_walk){ .queue = q, .store = store, .found = found, .arg = arg, .last_key = STORE_RIDER_ASIDE - 1, .end_id = q->last_id };
    buf_init(&w->history, OP_MAX);
    w->recent = history_ids(q, &w->recent_count);
    w->mail = store_walk_new(store, on_store_finding, w);
    w->named = calloc(NAMED_MAX, sizeof *w->named);
    if (w->recent != NULL && w->mail != NULL && w->named != NULL)
        return w;
    ledger_walk_free(w);
    return NULL;
}

bool ledger_walk_step(struct ledger_walk *w, size_t messages)
{
    for (size_t left = messages / HISTORY_COSTS + 1; left > 0 && w->phase != PHASE_MAILBOXES; left--)
        switch (w->phase) {
        case PHASE_RECENT:
            if (w->at < w->recent_count)
                check_history(w, w->recent[w->at++]);
            else
                w->phase = PHASE_ROWS;
            break;
        case PHASE_ROWS:
            w->phase = step_row(w) ? PHASE_ROWS : PHASE_QUEUE;
            break;
        case PHASE_QUEUE:
            w->phase = step_entry(w) ? PHASE_QUEUE : PHASE_MAILBOXES;
            break;
        case PHASE_MAILBOXES:
            break;
        }
    if (w->phase != PHASE_MAILBOXES)
        return true;
    w->seen += messages;
    return store_walk_step(w->mail, messages);
}

uint64_t ledger_walk_seen(const struct ledger_walk *w) { return w->seen; }

void ledger_walk_free(struct ledger_walk *w)
{
    if (w == NULL)
        return;
    store_walk_free(w->mail);
    buf_free(&w->history);
    free(w->recent);
    free(w->named);
    free(w->is_done);
    free(w);
}
