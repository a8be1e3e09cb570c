/* What was expunged and is still kept: batches in memory until the checkpoint has them, forgetting, and bringing back. See
 * kept.h for the promises; kept_rows.c has the rows in state.db. */
#include "store/kept.h"

#include "store/encode.h"
#include "store/inner.h"

#include <stdlib.h>

enum { CHECK_MS = 10 * 1000, FORGET_ROWS = 8 * 1024, HEAD_MAX = 64 * 1024 };

void kept_init(struct store *store)
{
    struct kept *k = &store->kept;
    k->first = k->next = k->reserved_first = k->saved_next = k->running_next = 1;
    k->pending_end = &k->pending;
}

static void free_batch(struct kept_batch *b)
{
    name_free(&b->head);
    free(b->rows);
    free(b);
}

static size_t memory_of(const struct kept_batch *b) { return sizeof *b + b->cap * sizeof *b->rows + b->head.len; }

static void drop_pending(struct kept *k, uint64_t to)
{
    while (k->pending != NULL && k->pending->number < to) {
        struct kept_batch *gone = k->pending;
        k->pending_bytes -= memory_of(gone);
        k->pending = gone->next;
        free_batch(gone);
    }
    if (k->pending == NULL)
        k->pending_end = &k->pending;
}

void kept_free(struct store *store)
{
    drop_pending(&store->kept, UINT64_MAX);
    free(store->kept.scratch);
}

void kept_saved(struct store *store)
{
    struct kept *k = &store->kept;
    k->saved_next = k->running_next;
    drop_pending(k, k->saved_next);
    k->wants_checkpoint = false;
}

struct op_when kept_when(const struct store *store)
{
    int64_t now_s = store_now_s(store);
    return (struct op_when){ now_s, now_s > 0 && store->options.keep_expunged_s > 0 };
}

/* ---- expunging: while a record is applied ------------------------------------------------------------------------- */

static struct kept_batch *new_batch(struct store *store, const struct mailbox *m, struct op_when when, uint64_t modseq, enum store_kept_kind kind)
{
    struct kept_batch *b = need(calloc(1, sizeof *b));
    b->account = m->account->id;
    b->mailbox = m->id;
    b->modseq = modseq;
    b->gone_s = when.s;
    b->kind = kind;
    (void)store;
    return b;
}

static void push(struct store *store, struct kept_batch *b)
{
    struct kept *k = &store->kept;
    b->number = k->next++;
    if (b->cap > b->count && b->count > 0) {
        struct store_message *exact = realloc(b->rows, b->count * sizeof *exact);
        b->rows = exact != NULL ? exact : b->rows;
        b->cap = exact != NULL ? b->count : b->cap;
    }
    k->pending_bytes += memory_of(b);
    *k->pending_end = b;
    k->pending_end = &b->next;
}

/* Keeps S5: the batch has a reference of its own. */
void kept_add(struct keeping *g, const struct store_message *row)
{
    struct kept *k = &g->store->kept;
    if (!g->when.is_kept) {
        k->forgotten_s = g->when.s > k->forgotten_s ? g->when.s : k->forgotten_s;
        return;
    }
    if (g->batch == NULL)
        g->batch = new_batch(g->store, g->mailbox, g->when, g->modseq, g->kind);
    struct kept_batch *b = g->batch;
    if (b->count == b->cap) {
        b->cap = b->cap == 0 ? 1 : b->cap * 4 < KEPT_ROWS ? b->cap * 4 : KEPT_ROWS;
        b->rows = need(realloc(b->rows, b->cap * sizeof *b->rows));
    }
    b->rows[b->count++] = *row;
    body_ref(g->store, row->body_id, row->size);
    k->messages++;
    k->bytes += row->size;
    if (b->count == KEPT_ROWS)
        kept_end(g);
}

void kept_end(struct keeping *g)
{
    if (g->batch != NULL)
        push(g->store, g->batch);
    g->batch = NULL;
}

static void write_head(struct buf *out, const struct store *store, const struct mailbox *m)
{
    uint64_t mask = keyword_visible_mask(store, m);
    write_u32(out, m->uidvalidity);
    write_u32(out, m->uidnext);
    write_u8(out, (uint8_t)m->special);
    write_string(out, name_slice(&m->name));
    write_u8(out, (uint8_t)__builtin_popcountll(mask));
    for (uint8_t bit = 0; bit < KEYWORDS_MAX; bit++)
        if (mask >> bit & 1) {
            write_u8(out, bit);
            write_string(out, name_slice(&m->keywords[bit].name));
        }
}

void kept_add_mailbox(struct store *store, const struct mailbox *m, struct op_when when)
{
    struct buf head;
    if (!when.is_kept || m->is_noselect)
        return;
    buf_init(&head, HEAD_MAX);
    write_head(&head, store, m);
    struct kept_batch *b = new_batch(store, m, when, m->modseq, KEPT_MAILBOX);
    need(!head.overflow && name_set(&b->head, buf_slice(&head)) ? b : NULL);
    buf_free(&head);
    push(store, b);
}

bool kept_read_head(struct slice head, struct store_kept *out)
{
    struct reader r = { .in = head };
    out->uidvalidity = read_u32(&r);
    out->uidnext = read_u32(&r);
    uint8_t special = read_u8(&r);
    out->special = special <= SPECIAL_FLAGGED ? (enum store_special)special : SPECIAL_NONE;
    out->name = read_string(&r);
    for (uint8_t left = read_u8(&r); left > 0 && !r.bad; left--) {
        uint8_t bit = read_u8(&r);
        struct slice name = read_string(&r);
        if (r.bad || bit >= KEYWORDS_MAX)
            return false;
        out->keywords[bit] = name;
        out->keyword_count = bit + 1u;
    }
    return !r.bad;
}

/* ---- walking ------------------------------------------------------------------------------------------------------ */

enum rc kept_walk(struct store *store, uint64_t account, uint64_t from, uint64_t to, kept_each *each, void *arg, struct fault *fault)
{
    const struct kept *k = &store->kept;
    bool is_stopped = false;
    from = from > k->first ? from : k->first;
    enum rc rc = kept_walk_saved(store, account, from, to, each, arg, &is_stopped, fault);
    for (const struct kept_batch *b = k->pending; rc == RC_OK && !is_stopped && b != NULL && b->number < to; b = b->next) {
        if (b->number < from || b->number < k->saved_next || (account != 0 && b->account != account))
            continue;
        struct store_kept batch = {
            .number = b->number, .account = b->account, .mailbox_id = b->mailbox, .modseq = b->modseq, .gone_s = b->gone_s,
            .kind = b->kind, .rows = b->rows, .count = b->count,
        };
        if (b->kind == KEPT_MAILBOX && !kept_read_head(name_slice(&b->head), &batch))
            continue;
        is_stopped = !each(arg, b->number, &batch);
    }
    return rc;
}

struct public_walk {
    bool (*each)(void *arg, const struct store_kept *);
    void *arg;
};

static bool on_public(void *arg, uint64_t run, const struct store_kept *batch)
{
    const struct public_walk *walk = arg;
    (void)run;
    return walk->each(walk->arg, batch);
}

enum rc store_kept_each(struct store *store, uint64_t account, bool (*each)(void *, const struct store_kept *), void *arg, struct fault *fault)
{
    struct public_walk walk = { each, arg };
    return kept_walk(store, account, store->kept.reserved_first, UINT64_MAX, on_public, &walk, fault);
}

void store_kept_figures(const struct store *store, struct store_kept_figures *out)
{
    const struct kept *k = &store->kept;
    *out = (struct store_kept_figures){ k->messages, k->bytes, k->given_up, k->forgotten_s };
}

void store_keep_expunged(struct store *store, uint32_t seconds)
{
    store->options.keep_expunged_s = seconds;
    store->kept.has_more = true;
}

/* ---- forgetting --------------------------------------------------------------------------------------------------- */

static bool on_forgotten(void *arg, uint64_t run, const struct store_kept *batch)
{
    struct store *store = arg;
    struct kept *k = &store->kept;
    (void)run;
    for (size_t i = 0; i < batch->count; i++) {
        body_unref(store, batch->rows[i].body_id);
        k->messages--;
        k->bytes -= batch->rows[i].size;
    }
    k->forgotten_s = batch->gone_s > k->forgotten_s ? batch->gone_s : k->forgotten_s;
    return true;
}

/* While its record is applied. When state.db cannot be read the bodies stay alive until they are counted anew at the next
 * opening: too much rather than too little. */
void kept_forget(struct store *store, uint64_t first, bool is_early)
{
    struct kept *k = &store->kept;
    uint64_t before = k->messages;
    first = first < k->next ? first : k->next;
    if (first <= k->first)
        return;
    (void)kept_walk(store, 0, k->first, first, on_forgotten, store, NULL);
    k->first = first;
    k->reserved_first = first > k->reserved_first ? first : k->reserved_first;
    k->given_up += is_early ? before - k->messages : 0;
    k->wants_checkpoint |= is_early;
    drop_pending(k, first);
}

struct aging {
    int64_t cutoff_s;               /* what went then or before may go */
    uint64_t max_rows, max_bytes;
    uint64_t rows, bytes;
    uint64_t end;                   /* those before it can be forgotten */
    bool is_full;
};

/* Runs of several mailboxes from the same minute are interleaved: what comes later in the walk may be older than the end, and
 * goes too. */
static bool on_aging(void *arg, uint64_t run, const struct store_kept *batch)
{
    struct aging *a = arg;
    if (run >= a->end)
        return false;
    if (batch->number >= a->end)
        return true;
    bool is_enough = a->rows >= a->max_rows || a->bytes >= a->max_bytes;
    if (is_enough || batch->gone_s > a->cutoff_s) {
        a->end = batch->number;
        a->is_full |= is_enough;
        return true;
    }
    for (size_t i = 0; i < batch->count; i++)
        a->bytes += batch->rows[i].size;
    a->rows += batch->count + 1;
    return true;
}

static bool hand_forget(struct store *store, struct aging *a, bool is_early)
{
    struct kept *k = &store->kept;
    a->end = k->next;
    enum rc rc = kept_walk(store, 0, k->reserved_first, UINT64_MAX, on_aging, a, NULL);
    if (rc != RC_OK || a->end <= k->reserved_first)
        return false;
    struct log_record *record = store_record(store, NULL);
    if (record == NULL)
        return false;
    size_t op = op_begin(&record->bytes, OP_KEPT_FORGET);
    write_u64(&record->bytes, a->end);
    write_u8(&record->bytes, is_early);
    op_end(&record->bytes, op);
    if (store_hand(store, record, &k->forget_wait, NULL) != RC_OK)
        return false;
    k->reserved_first = a->end;
    return true;
}

enum rc kept_forget_before(struct store *store, uint64_t number, uint64_t *wait, struct fault *fault)
{
    struct kept *k = &store->kept;
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_KEPT_FORGET);
    write_u64(&record->bytes, number);
    write_u8(&record->bytes, true);
    op_end(&record->bytes, op);
    enum rc rc = store_hand(store, record, wait, fault);
    if (rc == RC_OK) {
        k->forget_wait = *wait;
        k->reserved_first = number > k->reserved_first ? number : k->reserved_first;
    }
    return rc;
}

static void expire_accounts(struct store *store, int64_t now_s)
{
    int64_t keep_s = store->options.keep_expunged_s > REMOVED_KEPT_MIN_S ? store->options.keep_expunged_s : REMOVED_KEPT_MIN_S, removed_s;
    uint64_t wait;
    for (uint64_t id = 0; (id = store_account_after(store, id, &removed_s)) != 0;) {
        struct account *a = account_get(store, id);
        if (removed_s == 0 || now_s - removed_s < keep_s || store_is_pending(store, a->delete_wait))
            continue;
        struct log_record *record = store_record(store, NULL);
        if (record == NULL)
            return;
        size_t op = op_begin(&record->bytes, OP_ACCOUNT_EXPIRE);
        write_u64(&record->bytes, id);
        write_u64(&record->bytes, (uint64_t)removed_s);
        op_end(&record->bytes, op);
        if (store_hand(store, record, &wait, NULL) != RC_OK)
            return;
        a->delete_wait = wait;
    }
}

/* One segment's worth at a time, and no more until the checkpoint behind it has shown what that was good for. */
static bool give_up_some(struct store *store)
{
    struct kept *k = &store->kept;
    bool is_too_many = k->messages > KEPT_MESSAGES_MAX;
    if (k->messages == 0 || k->wants_checkpoint || (!is_too_many && !store_is_pressed(store)))
        return false;
    struct aging a = {
        .cutoff_s = INT64_MAX, .max_rows = is_too_many ? FORGET_ROWS : UINT64_MAX,
        .max_bytes = log_segment_bytes(store->log) + store->room->wanted,
    };
    return hand_forget(store, &a, true);
}

bool kept_step(struct store *store)
{
    struct kept *k = &store->kept;
    int64_t now_s = store->now_ms / 1000, since_ms = store->now_ms - k->checked_ms;
    if (now_s <= 0 || store_is_pending(store, k->forget_wait) || log_is_poisoned(store->log))
        return false;
    if (give_up_some(store))
        return false;                           /* on when that is durable */
    if (!k->has_more && since_ms >= 0 && since_ms < CHECK_MS)
        return false;
    k->checked_ms = store->now_ms;
    expire_accounts(store, now_s);
    struct aging a = { .cutoff_s = now_s - store->options.keep_expunged_s, .max_rows = FORGET_ROWS, .max_bytes = UINT64_MAX };
    k->has_more = hand_forget(store, &a, false) && a.is_full;
    return false;
}

/* ---- bringing back ------------------------------------------------------------------------------------------------ */

struct checking {
    const struct store_revived *messages;
    size_t count, found;
};

static bool has_row(const struct store_kept *batch, const struct store_message *row)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->rows[i].uid == row->uid && batch->rows[i].body_id == row->body_id)
            return true;
    return false;
}

static bool on_checked(void *arg, uint64_t run, const struct store_kept *batch)
{
    struct checking *c = arg;
    (void)run;
    for (size_t i = 0; i < c->count; i++)
        c->found += c->messages[i].number == batch->number && has_row(batch, &c->messages[i].row);
    return true;
}

/* Keeps K1: all of them are there, and not handed over to be forgotten. */
static enum rc check_kept(struct store *store, uint64_t account, const struct store_revived *messages, size_t count, struct fault *fault)
{
    struct checking c = { messages, count, 0 };
    uint64_t from = UINT64_MAX, to = 0;
    for (size_t i = 0; i < count; i++) {
        from = messages[i].number < from ? messages[i].number : from;
        to = messages[i].number > to ? messages[i].number : to;
    }
    if (from < store->kept.reserved_first)
        return fault_none(fault, "kept no more");
    enum rc rc = kept_walk(store, account, from, to + 1, on_checked, &c, fault);
    return rc == RC_OK && c.found != count ? fault_none(fault, "kept no more") : rc;
}

enum rc store_revive(struct store *store, uint64_t mailbox_id, const struct store_revived *messages, size_t count,
                     const struct slice keywords[KEYWORDS_MAX], uint32_t *first_uid, uint64_t *wait, struct fault *fault)
{
    *wait = 0;
    must(count > 0 && count <= REVIVE_MAX);
    struct mailbox *m = mailbox_to_change(store, mailbox_id);
    enum rc rc = m == NULL ? fault_none(fault, "no such mailbox") : check_kept(store, m->account->id, messages, count, fault);
    return rc == RC_OK ? message_revive(store, m, messages, count, keywords, first_uid, wait, fault) : rc;
}

/* ---- accounts ----------------------------------------------------------------------------------------------------- */

enum rc store_account_removed(struct store *store, uint64_t id, bool is_removed, uint64_t *wait, struct fault *fault)
{
    const struct account *a = account_get(store, id);
    *wait = 0;
    if (a == NULL || store_is_pending(store, a->delete_wait))
        return fault_none(fault, "no such account");
    if ((a->removed_s != 0) == is_removed)
        return RC_OK;
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_ACCOUNT_REMOVED);
    write_u64(&record->bytes, id);
    write_u64(&record->bytes, is_removed ? (uint64_t)store_now_s(store) : 0);
    op_end(&record->bytes, op);
    return store_hand(store, record, wait, fault);
}

uint64_t store_account_after(const struct store *store, uint64_t account, int64_t *removed_s)
{
    size_t at = 0;
    uint64_t id, next = 0;
    for (const struct account *a; (a = map_next_u64(&store->accounts, &at, &id)) != NULL;)
        if (id > account && (next == 0 || id < next)) {
            next = id;
            *removed_s = a->removed_s;
        }
    return next;
}
