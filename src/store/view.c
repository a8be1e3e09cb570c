/* Views: a session's own, stable numbering of a mailbox, and the news that it has not been told (RFC 3501 5.5, 7.4.1). */
#include "store/inner.h"

#include "store/encode.h"

#include <stdlib.h>

/* The first read-write session that could be told of messages takes them as recent (RFC 3501 2.3.2). A hint: it changes
 * at once, and nobody waits for its record. */
static void take_recent(struct store_view *view, bool record_it)
{
    struct mailbox *m = view->mailbox;
    struct store *store = view->store;
    if (view->is_read_only || m->account == NULL || m->is_noselect)
        return;
    if (m->recent_uid < m->uidnext) {
        mailbox_touch(store, m);
        m->recent_uid = m->uidnext;
        view->takes_recent = true;
    }
    if (!record_it || !view->takes_recent)
        return;
    view->takes_recent = false;
    struct log_record *record = store_record(store, NULL);
    if (record == NULL)
        return;
    size_t op = op_begin(&record->bytes, OP_RECENT);
    write_u64(&record->bytes, m->id);
    write_u32(&record->bytes, m->recent_uid);
    op_end(&record->bytes, op);
    uint64_t wait;
    (void)store_hand(store, record, &wait, NULL);
}

enum rc store_view_open(struct store *store, uint64_t mailbox_id, bool is_read_only, struct store_view **out, struct fault *fault)
{
    struct mailbox *m = mailbox_to_change(store, mailbox_id);
    if (m == NULL)
        return fault_none(fault, "no such mailbox");
    struct store_view *view = calloc(1, sizeof *view);
    if (view == NULL)
        return fault_no_memory(fault);
    view->store = store;
    view->mailbox = m;
    view->numbering = numbering_share(m->numbering);
    view->count = m->numbering->total;
    view->last_uid = m->uidnext - 1;
    view->recent_uid = m->recent_uid;
    view->modseq = m->modseq;
    view->expunges = m->expunges;
    view->uidvalidity = m->uidvalidity;
    view->keyword_version = m->keyword_version;
    view->is_read_only = is_read_only || store->options.is_read_only;
    list_init(&view->poke);
    list_append(&m->views, &view->node);
    take_recent(view, true);
    *out = view;
    return RC_OK;
}

void store_view_close(struct store_view *view)
{
    if (view == NULL)
        return;
    struct mailbox *m = view->mailbox;
    take_recent(view, true);
    list_remove(&view->node);
    list_remove(&view->poke);
    numbering_release(view->numbering);
    mailbox_sweep_limbo(view->store, m);
    if (m->account == NULL && list_is_empty(&m->views))
        mailbox_free(view->store, m);
    free(view);
}

uint64_t store_view_mailbox(const struct store_view *view) { return view->mailbox->id; }
uint32_t store_view_count(const struct store_view *view) { return view->count; }
uint32_t store_view_recent_uid(const struct store_view *view) { return view->recent_uid; }
uint32_t store_view_recent_count(const struct store_view *view) { return view->count + 1 - store_view_seq(view, view->recent_uid); }
uint32_t store_view_seq(const struct store_view *view, uint32_t uid) { return numbering_seq(view->numbering, view->count, uid); }

/* What the mailbox has now goes before what this numbering remembers. */
void store_view_at(const struct store_view *view, uint32_t seq, struct store_message *out)
{
    must(seq >= 1 && seq <= view->count);
    struct run *run;
    const struct store_message *row = numbering_row(view->numbering, seq, &run);
    const struct store_message *current = run->is_superseded ? numbering_find(view->mailbox->numbering, row->uid, NULL) : row;
    *out = current != NULL ? *current : *row;
}

/* ---- news ---- */

static bool is_gone(const struct store_view *view)
{
    const struct mailbox *m = view->mailbox;
    return m->account == NULL || m->is_noselect || m->uidvalidity != view->uidvalidity;
}

static bool is_own(const struct store_view *view, uint64_t modseq)
{
    for (size_t i = 0; i < view->own_count; i++)
        if (view->own[i] == modseq)
            return true;
    return false;
}

/* Are all changes since the last sync this session's own changes of flags? */
static bool has_only_own_changes(const struct store_view *view)
{
    const struct mailbox *m = view->mailbox;
    if (m->modseq - view->modseq > view->own_count)
        return false;
    for (uint64_t modseq = view->modseq + 1; modseq <= m->modseq; modseq++)
        if (!is_own(view, modseq))
            return false;
    return true;
}

bool store_view_has_news(const struct store_view *view)
{
    const struct mailbox *m = view->mailbox;
    if (is_gone(view))
        return !view->is_told_gone;
    if (view->expunges != m->expunges || view->keyword_version != m->keyword_version || view->last_uid + 1 != m->uidnext)
        return true;
    return m->modseq > view->modseq && !has_only_own_changes(view);
}

typedef void report_change(void *arg, const struct store_change *);

static uint32_t report_expunges(const struct store_view *view, report_change *report, void *arg)
{
    const struct numbering *n = view->numbering;
    struct numbering_cursor cursor = { 0 };
    uint32_t gone = 0;
    for (size_t i = 0; i < n->count && n->entries[i].start < view->count; i++) {
        const struct numbering_entry *e = &n->entries[i];
        uint32_t rows = numbering_entry_count(n, i), left = view->count - e->start;
        if (!e->run->is_superseded)
            continue;
        for (uint32_t row = 0; row < rows && row < left; row++) {
            uint32_t uid = e->run->rows[e->from + row].uid;
            const struct store_message *current = numbering_seek(view->mailbox->numbering, &cursor, uid);
            if (current != NULL && current->uid == uid)
                continue;
            report(arg, &(struct store_change){ CHANGE_EXPUNGED, e->start + row + 1 - gone, uid });
            gone++;
        }
    }
    return gone;
}

static void sync_expunges(struct store_view *view, report_change *report, void *arg)
{
    struct mailbox *m = view->mailbox;
    uint32_t gone = report_expunges(view, report, arg);
    numbering_release(view->numbering);
    view->numbering = numbering_share(m->numbering);
    view->count -= gone;
    view->expunges = m->expunges;
    mailbox_sweep_limbo(view->store, m);
}

static void report_run(const struct store_view *view, const struct numbering_entry *e, report_change *report, void *arg)
{
    bool is_same = view->numbering == view->mailbox->numbering;
    for (uint32_t row = 0; row < e->run->count; row++) {
        const struct store_message *m = &e->run->rows[row];
        if (m->modseq <= view->modseq || m->uid > view->last_uid || is_own(view, m->modseq))
            continue;
        uint32_t seq = is_same ? e->start + row + 1 : store_view_seq(view, m->uid);
        if (seq <= view->count)
            report(arg, &(struct store_change){ CHANGE_FLAGS, seq, m->uid });
    }
}

static void sync_flags(struct store_view *view, report_change *report, void *arg)
{
    const struct mailbox *m = view->mailbox;
    if (view->keyword_version != m->keyword_version)
        report(arg, &(struct store_change){ .kind = CHANGE_KEYWORDS });
    view->keyword_version = m->keyword_version;
    for (size_t i = 0; m->modseq > view->modseq && i < m->numbering->count; i++)
        if (m->numbering->entries[i].run->max_modseq > view->modseq)
            report_run(view, &m->numbering->entries[i], report, arg);
    view->modseq = m->modseq;
    size_t kept = 0;
    for (size_t i = 0; i < view->own_count; i++)
        if (view->own[i] > view->modseq)                /* handed over, not visible yet */
            view->own[kept++] = view->own[i];
    view->own_count = kept;
}

/* Where expunges are still to be told, the view goes on with a numbering of its own: the old messages, then the new. */
static bool append_new(struct store_view *view)
{
    const struct mailbox *m = view->mailbox;
    if (view->expunges == m->expunges) {
        view->count = m->numbering->total;
        return true;
    }
    if (numbering_seq(m->numbering, m->numbering->total, view->last_uid + 1) > m->numbering->total)
        return true;
    struct numbering *own = numbering_copy(view->numbering, view->count);
    if (own == NULL || !numbering_extend(own, m->numbering, view->last_uid + 1)) {
        numbering_release(own);
        return false;
    }
    numbering_release(view->numbering);
    view->numbering = own;
    view->count = own->total;
    return true;
}

void store_view_sync(struct store_view *view, bool expunges_allowed, report_change *report, void *arg)
{
    const struct mailbox *m = view->mailbox;
    if (is_gone(view)) {
        if (!view->is_told_gone)
            report(arg, &(struct store_change){ .kind = CHANGE_GONE });
        view->is_told_gone = true;
        return;
    }
    if (expunges_allowed && view->expunges != m->expunges)
        sync_expunges(view, report, arg);
    sync_flags(view, report, arg);
    uint32_t count = view->count;
    if (view->last_uid + 1 == m->uidnext || !append_new(view))
        return;
    view->last_uid = m->uidnext - 1;
    take_recent(view, false);
    if (view->count > count)
        report(arg, &(struct store_change){ CHANGE_APPEARED, view->count, 0 });
}

/* Past the limit the session is told of its own change too, which does no harm. */
void store_view_own_change(struct store_view *view, uint64_t modseq)
{
    if (modseq > view->modseq && view->own_count < sizeof view->own / sizeof view->own[0])
        view->own[view->own_count++] = modseq;
}

/* ---- watching ---- */

void store_view_watch(struct store_view *view, void (*changed)(void *arg), void *arg)
{
    view->changed = changed;
    view->arg = arg;
    if (changed == NULL)
        list_remove(&view->poke);
}

void views_mark_changed(struct store *store, struct mailbox *m)
{
    if (list_is_empty(&m->changed_node))
        list_append(&store->changed, &m->changed_node);
}

/* A watcher may close any view. */
void views_poke(struct store *store)
{
    LIST_EACH(node, &store->changed) {
        struct mailbox *m = LIST_ENTRY(node, struct mailbox, changed_node);
        list_remove(node);
        LIST_EACH(at, &m->views) {
            struct store_view *view = LIST_ENTRY(at, struct store_view, node);
            if (view->changed != NULL && list_is_empty(&view->poke))
                list_append(&store->pokes, &view->poke);
        }
    }
    while (!list_is_empty(&store->pokes)) {
        struct store_view *view = LIST_ENTRY(store->pokes.next, struct store_view, poke);
        list_remove(&view->poke);
        view->changed(view->arg);
    }
}
