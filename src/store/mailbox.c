/* One mailbox in memory: its rows, counters, keywords, what has vanished from it, and bodies in limbo.
 *
 * Everything here happens when a record is applied (S2), in log order (S8); nothing here can fail but for want of memory. */
#include "store/inner.h"

#include <stdlib.h>

struct mailbox *mailbox_new(struct store *store, uint64_t id, struct account *account, struct slice name)
{
    struct mailbox *m = need(calloc(1, sizeof *m));
    m->id = id;
    m->account = account;
    need(name_set(&m->name, name) ? m : NULL);
    m->numbering = need(numbering_new());
    m->uidnext = m->reserved_uid = m->recent_uid = 1;
    m->modseq = m->reserved_modseq = 1;
    m->vanished_limit = VANISHED_MAX;
    list_init(&m->views);
    list_init(&m->dirty_node);
    list_init(&m->changed_node);
    uid_set_init(&m->dying);
    need(map_put_u64(&store->mailboxes, id, m) ? m : NULL);
    store->mailbox_count++;
    return m;
}

void mailbox_free(struct store *store, struct mailbox *m)
{
    (void)store;
    list_remove(&m->dirty_node);
    list_remove(&m->changed_node);
    name_free(&m->name);
    if (m->keywords != NULL)
        for (size_t i = 0; i < KEYWORDS_MAX; i++)
            name_free(&m->keywords[i].name);
    free(m->keywords);
    numbering_release(m->numbering);
    free(m->vanished);
    free(m->limbo);
    free(m->dropped_runs);
    uid_set_free(&m->dying);
    free(m);
}

struct mailbox *mailbox_get(const struct store *store, uint64_t id) { return map_get_u64(&store->mailboxes, id); }

static bool is_being_deleted(const struct store *store, const struct mailbox *m)
{
    return store_is_pending(store, m->delete_wait) || store_is_pending(store, m->account->delete_wait);
}

struct mailbox *mailbox_to_change(const struct store *store, uint64_t id)
{
    struct mailbox *m = mailbox_get(store, id);
    return m == NULL || m->is_noselect || is_being_deleted(store, m) ? NULL : m;
}

void mailbox_touch(struct store *store, struct mailbox *m)
{
    if (m->is_saving)
        checkpoint_save_mailbox(store, m);
    if (m->is_dirty)
        return;
    m->is_dirty = true;
    list_append(&store->dirty, &m->dirty_node);
}

/* ---- rows ---- */

void mailbox_append(struct store *store, struct mailbox *m, const struct store_message *row)
{
    if (row->uid < m->uidnext || row->uid == UINT32_MAX)      /* S3 */
        return;
    mailbox_touch(store, m);
    need(numbering_append(m->numbering, row, &m->next_run) ? m : NULL);
    body_ref(store, row->body_id, row->size);
    m->uidnext = row->uid + 1;
    m->reserved_uid = m->reserved_uid > m->uidnext ? m->reserved_uid : m->uidnext;
    m->modseq = row->modseq > m->modseq ? row->modseq : m->modseq;
    m->reserved_modseq = m->reserved_modseq > m->modseq ? m->reserved_modseq : m->modseq;
    m->size_bytes += row->size;
    store->message_count++;
    views_mark_changed(store, m);
}

static void set_flags(struct run *run, struct store_message *row, uint16_t flags, uint64_t keywords, uint64_t modseq)
{
    if (row->flags == flags && row->keywords == keywords)
        return;
    run->unseen += (row->flags & FLAG_SEEN) != 0 && (flags & FLAG_SEEN) == 0;
    run->unseen -= (row->flags & FLAG_SEEN) == 0 && (flags & FLAG_SEEN) != 0;
    row->flags = flags;
    row->keywords = keywords;
    row->modseq = modseq;
    run->max_modseq = modseq;
    run->is_dirty = true;
}

void mailbox_flags(struct store *store, struct mailbox *m, const struct uid_set *uids, enum store_flag_op op, uint16_t flags,
                   uint64_t keywords, uint64_t modseq)
{
    mailbox_touch(store, m);
    struct numbering *n = m->numbering;
    for (size_t i = 0; i < uids->count; i++)
        for (uint32_t seq = numbering_seq(n, n->total, uids->ranges[i].first); seq <= n->total; seq++) {
            struct run *run;
            struct store_message *row = numbering_row(n, seq, &run);
            if (row->uid > uids->ranges[i].last)
                break;
            if (op == FLAGS_REPLACE)
                set_flags(run, row, flags, keywords, modseq);
            else if (op == FLAGS_ADD)
                set_flags(run, row, row->flags | flags, row->keywords | keywords, modseq);
            else
                set_flags(run, row, row->flags & (uint16_t)~flags, row->keywords & ~keywords, modseq);
        }
    m->modseq = modseq > m->modseq ? modseq : m->modseq;
    m->reserved_modseq = m->reserved_modseq > m->modseq ? m->reserved_modseq : m->modseq;
    views_mark_changed(store, m);
}

uint32_t mailbox_unseen(const struct mailbox *m)
{
    uint32_t unseen = 0;
    for (size_t i = 0; i < m->numbering->count; i++)
        unseen += m->numbering->entries[i].run->unseen;
    return unseen;
}

/* ---- what vanished ---- */

static int vanished_order(const void *a, const void *b)
{
    const struct vanished *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int vanished_by_modseq(const void *a, const void *b)
{
    const struct vanished *x = a, *y = b;
    return x->modseq < y->modseq ? -1 : x->modseq > y->modseq;
}

/* Joins what can be joined in the older half: neighbours with nothing alive between them. They count as vanished at the
 * latest of their modseqs, so a client is told too much rather than too little (RFC 7162 3.2.6). */
static void join_vanished(struct mailbox *m)
{
    size_t half = m->vanished_count / 2, kept = 0;
    struct vanished *v = m->vanished;
    qsort(v, half, sizeof *v, vanished_order);
    for (size_t i = 0; i < half; i++) {
        struct vanished *last = kept == 0 ? NULL : &v[kept - 1];
        uint32_t total = m->numbering->total;
        if (last == NULL || numbering_seq(m->numbering, total, last->last + 1) != numbering_seq(m->numbering, total, v[i].first)) {
            v[kept++] = v[i];
            continue;
        }
        last->last = v[i].last > last->last ? v[i].last : last->last;
        last->modseq = v[i].modseq > last->modseq ? v[i].modseq : last->modseq;
    }
    memmove(v + kept, v + half, (m->vanished_count - half) * sizeof *v);
    m->vanished_count -= half - kept;
    qsort(v, kept, sizeof *v, vanished_by_modseq);
    m->vanished_limit = m->vanished_count * 2 > VANISHED_MAX ? m->vanished_count * 2 : VANISHED_MAX;
}

void mailbox_add_vanished(struct mailbox *m, uint32_t first, uint32_t last, uint64_t modseq)
{
    struct vanished *newest = m->vanished_count == 0 ? NULL : &m->vanished[m->vanished_count - 1];
    if (newest != NULL && newest->modseq == modseq && newest->last + 1 == first) {
        newest->last = last;
        return;
    }
    if (m->vanished_count >= m->vanished_limit)
        join_vanished(m);
    if (m->vanished_count == m->vanished_cap) {
        m->vanished_cap = m->vanished_cap == 0 ? 4 : m->vanished_cap * 2;
        m->vanished = need(realloc(m->vanished, m->vanished_cap * sizeof *m->vanished));
    }
    m->vanished[m->vanished_count++] = (struct vanished){ first, last, modseq };
}

/* ---- expunging ---- */

struct expunging {
    struct store *store;
    struct mailbox *mailbox;
    uint64_t modseq;
    struct keeping keeping;
};

/* Keeps S5: a body that a view may still read stays, in limbo. */
static void let_go(struct store *store, struct mailbox *m, const struct store_message *row)
{
    m->size_bytes -= row->size;
    store->message_count--;
    if (list_is_empty(&m->views)) {
        body_unref(store, row->body_id);
        return;
    }
    if (m->limbo_count == m->limbo_cap) {
        m->limbo_cap = m->limbo_cap == 0 ? 8 : m->limbo_cap * 2;
        m->limbo = need(realloc(m->limbo, m->limbo_cap * sizeof *m->limbo));
    }
    m->limbo[m->limbo_count++] = (struct limbo){ row->body_id, m->expunges };
}

static void on_gone(void *arg, const struct store_message *row)
{
    struct expunging *x = arg;
    kept_add(&x->keeping, row);
    let_go(x->store, x->mailbox, row);
    mailbox_add_vanished(x->mailbox, row->uid, row->uid, x->modseq);
}

static void on_dropped(void *arg, uint64_t run_number)
{
    struct mailbox *m = ((struct expunging *)arg)->mailbox;
    need(push_u64(&m->dropped_runs, &m->dropped_count, &m->dropped_cap, run_number) ? m : NULL);
}

void mailbox_expunge(struct store *store, struct mailbox *m, const struct uid_set *uids, uint64_t modseq, struct op_when when,
                     enum store_kept_kind kind)
{
    mailbox_touch(store, m);
    if (m->numbering->references > 1) {
        struct numbering *own = need(numbering_copy(m->numbering, m->numbering->total));
        numbering_release(m->numbering);
        m->numbering = own;
    }
    m->expunges++;
    struct expunging x = { store, m, modseq, { .store = store, .mailbox = m, .when = when, .modseq = modseq, .kind = kind } };
    struct numbering_expunge calls = { on_gone, on_dropped, &x };
    need(numbering_expunge(m->numbering, uids, &calls) ? m : NULL);
    kept_end(&x.keeping);
    m->modseq = modseq > m->modseq ? modseq : m->modseq;
    m->reserved_modseq = m->reserved_modseq > m->modseq ? m->reserved_modseq : m->modseq;
    views_mark_changed(store, m);
}

void mailbox_clear(struct store *store, struct mailbox *m, struct op_when when)
{
    struct keeping keeping = { .store = store, .mailbox = m, .when = when, .modseq = m->modseq, .kind = KEPT_WITH_MAILBOX };
    mailbox_touch(store, m);
    m->expunges++;
    for (size_t i = 0; i < m->numbering->count; i++) {
        struct run *run = m->numbering->entries[i].run;
        run->is_superseded = true;
        for (uint32_t row = 0; row < run->count; row++) {
            kept_add(&keeping, &run->rows[row]);
            let_go(store, m, &run->rows[row]);
        }
        need(push_u64(&m->dropped_runs, &m->dropped_count, &m->dropped_cap, run->number) ? m : NULL);
    }
    kept_end(&keeping);
    kept_add_mailbox(store, m, when);
    numbering_release(m->numbering);
    m->numbering = need(numbering_new());
    m->vanished_count = 0;
    views_mark_changed(store, m);
}

void mailbox_delete(struct store *store, struct mailbox *m, struct op_when when)
{
    mailbox_clear(store, m, when);
    need(push_u64(&store->dropped_mailboxes, &store->dropped_count, &store->dropped_cap, m->id) ? m : NULL);
    map_remove_u64(&store->mailboxes, m->id);
    store->mailbox_count--;
    m->account = NULL;
    m->is_dirty = m->is_saving = false;
    list_remove(&m->dirty_node);
    if (list_is_empty(&m->views))
        mailbox_free(store, m);
}

void mailbox_sweep_limbo(struct store *store, struct mailbox *m)
{
    uint64_t oldest = UINT64_MAX;
    LIST_EACH(node, &m->views) {
        const struct store_view *view = LIST_ENTRY(node, struct store_view, node);
        oldest = view->expunges < oldest ? view->expunges : oldest;
    }
    size_t gone = 0;
    while (gone < m->limbo_count && m->limbo[gone].expunges <= oldest)
        body_unref(store, m->limbo[gone++].body_id);
    if (gone > 0)
        memmove(m->limbo, m->limbo + gone, (m->limbo_count - gone) * sizeof *m->limbo);
    m->limbo_count -= gone;
}

/* ---- keywords ---- */

enum keyword_state { KEYWORD_UNUSED, KEYWORD_RESERVED, KEYWORD_VISIBLE };

static enum keyword_state keyword_state(const struct store *store, const struct keyword *k)
{
    if (k->name.bytes == NULL)
        return KEYWORD_UNUSED;
    if (k->wait == 0)
        return KEYWORD_VISIBLE;
    return store_is_pending(store, k->wait) ? KEYWORD_RESERVED : KEYWORD_UNUSED;
}

void keyword_set(struct mailbox *m, uint32_t bit, struct slice name, uint64_t wait)
{
    must(bit < KEYWORDS_MAX);
    if (m->keywords == NULL)
        m->keywords = need(calloc(KEYWORDS_MAX, sizeof *m->keywords));
    name_free(&m->keywords[bit].name);
    need(name_set(&m->keywords[bit].name, name) ? m : NULL);
    m->keywords[bit].wait = wait;
}

uint64_t keyword_visible_mask(const struct store *store, const struct mailbox *m)
{
    uint64_t mask = 0;
    for (uint32_t bit = 0; m->keywords != NULL && bit < KEYWORDS_MAX; bit++)
        if (keyword_state(store, &m->keywords[bit]) == KEYWORD_VISIBLE)
            mask |= 1ull << bit;
    return mask;
}

uint32_t keyword_find(const struct store *store, const struct mailbox *m, struct slice name)
{
    uint32_t bit = m->keywords == NULL ? KEYWORDS_MAX : 0;
    while (bit < KEYWORDS_MAX && (keyword_state(store, &m->keywords[bit]) == KEYWORD_UNUSED
                                  || !slice_equal_nocase(name_slice(&m->keywords[bit].name), name)))
        bit++;
    return bit;
}

uint32_t keyword_find_applied(const struct mailbox *m, struct slice name)
{
    uint32_t bit = m->keywords == NULL ? KEYWORDS_MAX : 0;
    while (bit < KEYWORDS_MAX && (m->keywords[bit].name.bytes == NULL || m->keywords[bit].wait != 0
                                  || !slice_equal_nocase(name_slice(&m->keywords[bit].name), name)))
        bit++;
    return bit;
}

uint32_t keyword_unused(const struct store *store, struct mailbox *m)
{
    uint32_t bit = 0;
    while (m->keywords != NULL && bit < KEYWORDS_MAX && keyword_state(store, &m->keywords[bit]) != KEYWORD_UNUSED)
        bit++;
    return bit;
}

/* flag-keyword = atom (RFC 3501 9). */
bool keyword_name_is_valid(struct slice name)
{
    if (name.len == 0 || name.len > KEYWORD_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.ptr[i] <= ' ' || (unsigned char)name.ptr[i] >= 0x7f || strchr("(){%*\"\\]", name.ptr[i]) != NULL)
            return false;
    return true;
}

/* ---- what a listing says ---- */

static uint32_t first_unseen(const struct mailbox *m)
{
    for (size_t i = 0; i < m->numbering->count; i++) {
        const struct numbering_entry *e = &m->numbering->entries[i];
        for (uint32_t row = 0; e->run->unseen > 0 && row < e->run->count; row++)
            if ((e->run->rows[row].flags & FLAG_SEEN) == 0)
                return e->start + row + 1;
    }
    return 0;
}

static void keyword_info(const struct store *store, const struct mailbox *m, struct store_mailbox_info *info)
{
    uint64_t mask = keyword_visible_mask(store, m);
    for (uint32_t bit = 0; bit < KEYWORDS_MAX; bit++)
        if (mask >> bit & 1) {
            info->keywords[bit] = name_slice(&m->keywords[bit].name);
            info->keyword_count = bit + 1;
        }
}

void mailbox_info(const struct store *store, const struct mailbox *m, struct store_mailbox_info *info)
{
    const struct numbering *n = m->numbering;
    *info = (struct store_mailbox_info){
        .id = m->id,
        .name = name_slice(&m->name),
        .special = m->special,
        .is_noselect = m->is_noselect,
        .uidvalidity = m->uidvalidity,
        .uidnext = m->uidnext,
        .highest_modseq = m->modseq,
        .messages = n->total,
        .unseen = mailbox_unseen(m),
        .recent = n->total + 1 - numbering_seq(n, n->total, m->recent_uid),
        .first_unseen_seq = first_unseen(m),
        .size_bytes = m->size_bytes,
    };
    keyword_info(store, m, info);
}
