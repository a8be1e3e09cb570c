/* Checkpoints: memory as it was at one position of the log, in SQLite (state.db, WAL, synchronous=FULL).
 *
 * One checkpoint is one transaction, filled in pieces from store_poll. It holds everything as of its beginning: what
 * changes while it runs and has not been saved yet is saved first (mailbox_touch). So replay begins at that position, and
 * no operation is applied twice or left out (S6, S8). Rows of messages are saved in runs, only those that changed.
 * A transaction that fails is given up whole, and the next checkpoint saves everything anew; what the rider has put is
 * kept until it is committed, since the rider has forgotten it by then.
 *
 * Bodies of several pieces are kept as lists of positions; references and live bytes are counted anew at opening. */
#include "store/checkpoint.h"

#include <stdlib.h>

enum { STEP_BYTES = 1 << 20, DUE_MS = 60 * 1000 };
#define DUE_BYTES (32ull << 20)

static bool save_account(struct store *store, struct account *a)
{
    struct checkpoint *c = store->checkpoint;
    struct buf *out = &c->scratch;
    buf_clear(out);
    write_u32(out, (uint32_t)a->subscribed_count);
    for (size_t i = 0; i < a->subscribed_count; i++)
        write_string(out, name_slice(&a->subscribed[i]));
    write_u64(out, (uint64_t)a->removed_s);
    sqlite3_stmt *s = checkpoint_bound(c, ACCOUNT_PUT, a->id);
    a->is_dirty = false;
    return !out->overflow && checkpoint_bind_blob(s, 2, buf_slice(out)) && checkpoint_run(s);
}

static void write_mailbox(struct buf *out, const struct store *store, const struct mailbox *m)
{
    buf_clear(out);
    write_u32(out, m->uidvalidity);
    write_u32(out, m->uidnext);
    write_u32(out, m->recent_uid);
    write_u64(out, m->modseq);
    write_u64(out, m->next_run);
    write_u8(out, (uint8_t)m->special);
    write_u8(out, m->is_noselect);
    uint64_t mask = keyword_visible_mask(store, m);
    write_u8(out, (uint8_t)__builtin_popcountll(mask));
    for (uint8_t bit = 0; bit < KEYWORDS_MAX; bit++)
        if (mask >> bit & 1) {
            write_u8(out, bit);
            write_string(out, name_slice(&m->keywords[bit].name));
        }
    write_u32(out, (uint32_t)m->vanished_count);
    for (size_t i = 0; i < m->vanished_count; i++) {
        write_u32(out, m->vanished[i].first);
        write_u32(out, m->vanished[i].last);
        write_u64(out, m->vanished[i].modseq);
    }
}

static bool save_run(struct checkpoint *c, const struct mailbox *m, struct run *r)
{
    struct buf *out = &c->scratch;
    buf_clear(out);
    for (uint32_t i = 0; i < r->count; i++)
        op_write_message(out, &r->rows[i]);
    sqlite3_stmt *s = checkpoint_bound(c, RUN_PUT, m->id);
    if (s == NULL || out->overflow)
        return false;
    sqlite3_bind_int64(s, 2, (sqlite3_int64)r->number);
    r->is_dirty = false;
    return checkpoint_bind_blob(s, 3, buf_slice(out)) && checkpoint_run(s);
}

static bool save_mailbox(struct store *store, struct mailbox *m, size_t *bytes)
{
    struct checkpoint *c = store->checkpoint;
    write_mailbox(&c->scratch, store, m);
    *bytes += buf_len(&c->scratch);
    sqlite3_stmt *s = checkpoint_bound(c, MAILBOX_PUT, m->id);
    if (s == NULL || c->scratch.overflow)
        return false;
    sqlite3_bind_int64(s, 2, (sqlite3_int64)m->account->id);
    sqlite3_bind_text64(s, 3, m->name.bytes, m->name.len, SQLITE_TRANSIENT, SQLITE_UTF8);
    if (!checkpoint_bind_blob(s, 4, buf_slice(&c->scratch)) || !checkpoint_run(s))
        return false;
    for (size_t i = 0; i < m->dropped_count; i++) {
        if ((s = checkpoint_bound(c, RUN_DROP, m->id)) == NULL)
            return false;
        sqlite3_bind_int64(s, 2, (sqlite3_int64)m->dropped_runs[i]);
        if (!checkpoint_run(s))
            return false;
    }
    m->dropped_count = 0;
    for (size_t i = 0; i < m->numbering->count; i++) {
        struct run *r = m->numbering->entries[i].run;
        if (!r->is_dirty)
            continue;
        if (!save_run(c, m, r))
            return false;
        *bytes += r->count * (size_t)MESSAGE_BYTES;
    }
    return true;
}

static bool save_bodies(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    struct body_table *t = &store->bodies;
    bool ok = true;
    for (size_t i = 0; i < t->placed_change_count && ok; i++) {
        const struct placed *p = map_get_u64(&t->placed, t->placed_changes[i]);
        sqlite3_stmt *s = checkpoint_bound(c, p == NULL ? BODY_DROP : BODY_PUT, t->placed_changes[i]);
        buf_clear(&c->scratch);
        if (p != NULL) {
            write_u32(&c->scratch, p->piece_bytes);
            write_u32(&c->scratch, p->count);
            for (uint32_t k = 0; k < p->count; k++)
                write_u64(&c->scratch, p->positions[k]);
            ok = !c->scratch.overflow && checkpoint_bind_blob(s, 2, buf_slice(&c->scratch));
        }
        ok = ok && checkpoint_run(s);
    }
    t->placed_change_count = 0;
    return ok;
}

static bool save_dropped(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    c->running_mailboxes = store->dropped_count;
    c->running_accounts = store->dropped_account_count;
    for (size_t i = 0; i < c->running_mailboxes; i++) {
        uint64_t id = store->dropped_mailboxes[i];
        if (!checkpoint_run(checkpoint_bound(c, MAILBOX_DROP, id)) || !checkpoint_run(checkpoint_bound(c, MAILBOX_RUNS_DROP, id)))
            return false;
    }
    for (size_t i = 0; i < c->running_accounts; i++)
        if (!checkpoint_run(checkpoint_bound(c, ACCOUNT_DROP, store->dropped_accounts[i])))
            return false;
    return true;
}

static bool save_accounts(struct store *store)
{
    size_t at = 0;
    uint64_t id;
    for (struct account *a; (a = map_next_u64(&store->accounts, &at, &id)) != NULL;)
        if (a->is_dirty && !save_account(store, a))
            return false;
    return true;
}

/* What the file has is not known after a failure: it is emptied, and everything counts as changed. */
static bool start_anew(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    size_t at = 0;
    uint64_t id;
    for (struct mailbox *m; (m = map_next_u64(&store->mailboxes, &at, &id)) != NULL;) {
        mailbox_touch(store, m);
        for (size_t i = 0; i < m->numbering->count; i++)
            m->numbering->entries[i].run->is_dirty = true;
    }
    at = 0;
    for (struct account *a; (a = map_next_u64(&store->accounts, &at, &id)) != NULL;)
        a->is_dirty = true;
    at = 0;
    while (map_next_u64(&store->bodies.placed, &at, &id) != NULL)
        need(push_u64(&store->bodies.placed_changes, &store->bodies.placed_change_count, &store->bodies.placed_change_cap, id) ? c : NULL);
    static const enum statement emptying[] = { ACCOUNTS_DROP, MAILBOXES_DROP, RUNS_DROP, BODIES_DROP };
    bool ok = true;
    for (size_t i = 0; i < sizeof emptying / sizeof emptying[0]; i++)
        ok = ok && checkpoint_run(checkpoint_statement(c, emptying[i]));
    return ok;
}

static bool give_up(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    checkpoint_run(checkpoint_statement(c, ROLLBACK));
    c->is_running = false;
    c->has_failed = true;
    c->last_ms = store->now_ms;
    while (!list_is_empty(&store->saving)) {
        struct list *node = store->saving.next;
        LIST_ENTRY(node, struct mailbox, dirty_node)->is_saving = false;
        list_remove(node);
        list_append(&store->dirty, node);
    }
    return false;
}

static bool save_snapshot(struct checkpoint *c, const struct store_snapshot *snapshot)
{
    return checkpoint_put_meta(c, "snapshot_as_of", snapshot->as_of) && checkpoint_put_meta(c, "snapshot_first", snapshot->first)
        && checkpoint_put_meta(c, "snapshot_bytes", snapshot->bytes) && checkpoint_put_meta(c, "snapshot_parts", snapshot->parts);
}

static bool begin(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    c->is_running = true;
    c->running_position = store->applied_position;
    bool ok = checkpoint_run(checkpoint_statement(c, BEGIN)) && (!c->has_failed || start_anew(store))
        && save_dropped(store) && save_accounts(store)
        && save_bodies(store) && checkpoint_save_rider(store) && checkpoint_save_kept(store)
        && checkpoint_put_meta(c, "next_mailbox", store->reserved_mailbox_id)
        && checkpoint_put_meta(c, "uidvalidity", store->reserved_uidvalidity)
        && ledger_save(store) && save_snapshot(c, &store->snapshot)
        && checkpoint_put_meta(c, "replay_from", c->running_position);
    while (!list_is_empty(&store->dirty)) {
        struct list *node = store->dirty.next;
        LIST_ENTRY(node, struct mailbox, dirty_node)->is_saving = true;
        list_remove(node);
        list_append(&store->saving, node);
    }
    return ok ? true : give_up(store);
}

/* One of store.saving. */
static bool save_waiting(struct store *store, struct mailbox *m, size_t *bytes)
{
    list_remove(&m->dirty_node);
    m->is_saving = m->is_dirty = false;
    if (save_mailbox(store, m, bytes))
        return true;
    m->is_dirty = true;
    list_append(&store->dirty, &m->dirty_node);
    return false;
}

static bool save_first(struct store *store, size_t *bytes)
{
    return save_waiting(store, LIST_ENTRY(store->saving.next, struct mailbox, dirty_node), bytes);
}

void checkpoint_save_mailbox(struct store *store, struct mailbox *m)
{
    size_t bytes = 0;
    if (!save_waiting(store, m, &bytes))
        give_up(store);
}

static void drop_front(uint64_t *list, size_t *count, size_t gone)
{
    if (gone > 0)
        memmove(list, list + gone, (*count - gone) * sizeof *list);
    *count -= gone;
}

static bool finish(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    if (!checkpoint_run(checkpoint_statement(c, COMMIT)))
        return give_up(store);
    c->is_running = c->has_failed = false;
    c->position = c->running_position;
    c->last_ms = store->now_ms;
    drop_front(store->dropped_mailboxes, &store->dropped_count, c->running_mailboxes);
    drop_front(store->dropped_accounts, &store->dropped_account_count, c->running_accounts);
    checkpoint_forget_rider(c);
    kept_saved(store);
    sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    store_release_dead(store);
    compact_choose(store);
    snapshot_choose(store);
    return true;
}

static bool is_due(const struct store *store)
{
    const struct checkpoint *c = store->checkpoint;
    if (store->applied_position == c->position)
        return false;
    uint64_t bytes = store->applied_position - c->position + store->kept.pending_bytes;
    int64_t ms = store->now_ms - c->last_ms;
    if (store->kept.wants_checkpoint && ms >= 1000)
        return true;
    return ms < 0 || ms >= DUE_MS || (bytes >= DUE_BYTES && (!c->has_failed || ms >= 1000));
}

bool checkpoint_step(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    if (c->last_ms == 0)
        c->last_ms = store->now_ms;             /* the first poll says what time it is */
    if (!c->is_running)
        return is_due(store) && begin(store);
    size_t bytes = 0;
    while (!list_is_empty(&store->saving) && bytes < STEP_BYTES)
        if (!save_first(store, &bytes))
            return give_up(store);
    if (!list_is_empty(&store->saving))
        return true;
    (void)finish(store);
    return false;
}

enum rc checkpoint_all(struct store *store, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    size_t bytes = 0;
    for (int round = 0; round < 2; round++) {       /* one that runs is finished; then what has changed since */
        if (!c->is_running && store->applied_position == c->position && !c->has_failed && list_is_empty(&store->dirty))
            return RC_OK;
        if (!c->is_running && !begin(store))
            return fault_temp(fault, ESC(4, 3, 0), "cannot write a checkpoint to %s", c->path);
        while (!list_is_empty(&store->saving))
            if (!save_first(store, &bytes)) {
                give_up(store);
                return fault_temp(fault, ESC(4, 3, 0), "cannot write a checkpoint to %s", c->path);
            }
        if (!finish(store))
            return fault_temp(fault, ESC(4, 3, 0), "cannot write a checkpoint to %s", c->path);
    }
    return RC_OK;
}
