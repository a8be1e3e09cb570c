/* What is kept of expunged mail, in state.db (kept.h): runs of batches of one mailbox.
 *
 * A run's id is the number of its first batch. What has been committed is not in memory any more, so it is never written
 * again: a checkpoint that follows a failed one first takes out what that one may have left (ids from saved_next on). */
#include "store/checkpoint.h"

#include <stdlib.h>

enum { RUN_ROWS_MIN = 1024 };

static int pending_order(const void *a, const void *b)
{
    const struct kept_batch *x = *(struct kept_batch *const *)a, *y = *(struct kept_batch *const *)b;
    if (x->mailbox != y->mailbox)
        return x->mailbox < y->mailbox ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static void write_batch(struct buf *out, const struct kept_batch *b)
{
    write_u64(out, b->number);
    write_u64(out, (uint64_t)b->gone_s);
    write_u64(out, b->modseq);
    write_u8(out, (uint8_t)b->kind);
    write_string(out, name_slice(&b->head));
    write_u32(out, b->count);
    for (uint32_t i = 0; i < b->count; i++)
        op_write_message(out, &b->rows[i]);
}

/* One run from the front of those that are left; how many batches it took; 0: failed. */
static size_t save_run(struct checkpoint *c, struct kept_batch *const *batches, size_t count)
{
    size_t taken = 0, rows = 0;
    buf_clear(&c->scratch);
    while (taken < count && batches[taken]->mailbox == batches[0]->mailbox && rows < RUN_ROWS_MIN) {
        write_batch(&c->scratch, batches[taken]);
        rows += batches[taken++]->count + 1;
    }
    sqlite3_stmt *s = checkpoint_bound(c, KEPT_PUT, batches[0]->number);
    if (s == NULL || c->scratch.overflow)
        return 0;
    sqlite3_bind_int64(s, 2, (sqlite3_int64)batches[taken - 1]->number);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)batches[0]->account);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)batches[0]->mailbox);
    return checkpoint_bind_blob(s, 5, buf_slice(&c->scratch)) && checkpoint_run(s) ? taken : 0;
}

static bool save_pending(struct store *store)
{
    const struct kept *k = &store->kept;
    size_t count = 0, at = 0, taken = 1;
    for (const struct kept_batch *b = k->pending; b != NULL; b = b->next)
        count++;
    if (count == 0)
        return true;
    struct kept_batch **batches = calloc(count, sizeof(struct kept_batch *));
    if (batches == NULL)
        return false;
    for (struct kept_batch *b = k->pending; b != NULL; b = b->next)
        batches[at++] = b;
    qsort(batches, count, sizeof(struct kept_batch *), pending_order);
    for (at = 0; at < count && taken > 0; at += taken)
        taken = save_run(store->checkpoint, batches + at, count - at);
    free(batches);
    return taken > 0;
}

bool checkpoint_save_kept(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    struct kept *k = &store->kept;
    k->running_next = k->next;
    return checkpoint_run(checkpoint_bound(c, KEPT_DROP_FROM, k->saved_next))
        && checkpoint_run(checkpoint_bound(c, KEPT_DROP_BEFORE, k->first)) && save_pending(store)
        && checkpoint_put_meta(c, "kept_first", k->first) && checkpoint_put_meta(c, "kept_next", k->next)
        && checkpoint_put_meta(c, "kept_forgotten_s", (uint64_t)k->forgotten_s);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

/* The next batch of a run; its rows go to the scratch, the rest points into the run. */
static bool read_batch(struct store *store, struct reader *r, struct store_kept *out)
{
    struct store_message *rows = store->kept.scratch;
    out->number = read_u64(r);
    out->gone_s = (int64_t)read_u64(r);
    out->modseq = read_u64(r);
    uint8_t kind = read_u8(r);
    struct slice head = read_string(r);
    uint32_t count = read_u32(r);
    if (r->bad || kind > KEPT_MAILBOX || count > KEPT_ROWS)
        return false;
    out->kind = (enum store_kept_kind)kind;
    for (uint32_t i = 0; i < count; i++)
        op_read_message(r, &rows[i]);
    out->rows = rows;
    out->count = count;
    return !r->bad && (kind != KEPT_MAILBOX || kept_read_head(head, out));
}

struct span {
    uint64_t from, to;
    kept_each *each;
    void *arg;
};

/* False: not a run. */
static bool walk_run(struct store *store, sqlite3_stmt *s, const struct span *span, bool *is_stopped)
{
    struct reader r = { .in = checkpoint_column(s, 3) };
    uint64_t id = (uint64_t)sqlite3_column_int64(s, 0);
    while (r.in.len > 0 && !*is_stopped) {
        struct store_kept batch = { .account = (uint64_t)sqlite3_column_int64(s, 1), .mailbox_id = (uint64_t)sqlite3_column_int64(s, 2) };
        if (!read_batch(store, &r, &batch))
            return false;
        if (batch.number >= span->from && batch.number < span->to)
            *is_stopped = !span->each(span->arg, id, &batch);
    }
    return true;
}

static enum rc damaged(const struct store *store, struct fault *fault)
{
    return fault_perm(fault, ESC(5, 3, 0), "%s is damaged: expunged messages do not make sense. Restore it, or the whole folder, "
                      "from a backup", store->checkpoint->path);
}

enum rc kept_walk_saved(struct store *store, uint64_t account, uint64_t from, uint64_t to, kept_each *each, void *arg, bool *is_stopped,
                        struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    struct kept *k = &store->kept;
    const struct span span = { from, to < k->saved_next ? to : k->saved_next, each, arg };
    if (k->scratch == NULL && (k->scratch = calloc(KEPT_ROWS, sizeof *k->scratch)) == NULL)
        return fault_no_memory(fault);
    sqlite3_stmt *s = checkpoint_bound(c, account == 0 ? KEPT_ALL : KEPT_OF, span.to);
    if (s == NULL || (account != 0 && sqlite3_bind_int64(s, 2, (sqlite3_int64)account) != SQLITE_OK))
        return checkpoint_fault(c, fault);
    int code = SQLITE_DONE;
    bool ok = true;
    while (ok && !*is_stopped && (code = sqlite3_step(s)) == SQLITE_ROW)
        ok = walk_run(store, s, &span, is_stopped);
    enum rc rc = !ok ? damaged(store, fault) : *is_stopped || code == SQLITE_DONE ? RC_OK : checkpoint_fault(c, fault);
    sqlite3_reset(s);
    return rc;
}

static bool on_loaded(void *arg, uint64_t run, const struct store_kept *batch)
{
    struct store *store = arg;
    (void)run;
    for (size_t i = 0; i < batch->count; i++) {
        body_ref(store, batch->rows[i].body_id, batch->rows[i].size);
        store->kept.messages++;
        store->kept.bytes += batch->rows[i].size;
    }
    return true;
}

enum rc checkpoint_load_kept(struct store *store, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    struct kept *k = &store->kept;
    uint64_t value;
    bool is_stopped = false;
    if (checkpoint_get_meta(c, "kept_first", &value))
        k->first = k->reserved_first = value;
    if (checkpoint_get_meta(c, "kept_next", &value))
        k->next = k->saved_next = k->running_next = value;
    if (checkpoint_get_meta(c, "kept_forgotten_s", &value))
        k->forgotten_s = (int64_t)value;
    return kept_walk_saved(store, 0, k->first, k->next, on_loaded, store, &is_stopped, fault);
}
