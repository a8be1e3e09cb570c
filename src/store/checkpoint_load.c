/* From the checkpoint into memory: accounts, mailboxes, runs of messages, bodies of several pieces, the rider's rows. What
 * does not make sense is damage, and opening stops: guessing would lose mail in silence. */
#include "store/checkpoint.h"

#include <stdlib.h>

static bool load_account(struct store *store, sqlite3_stmt *s)
{
    struct account *a = account_new(store, (uint64_t)sqlite3_column_int64(s, 0));
    struct reader r = { .in = checkpoint_column(s, 1) };
    for (uint32_t left = read_u32(&r); left > 0 && !r.bad; left--)
        account_subscribe(a, read_string(&r), true);
    a->removed_s = (int64_t)read_u64(&r);
    a->is_dirty = false;
    return !r.bad;
}

static bool load_mailbox(struct store *store, sqlite3_stmt *s)
{
    struct account *a = account_get(store, (uint64_t)sqlite3_column_int64(s, 1));
    struct reader r = { .in = checkpoint_column(s, 3) };
    if (a == NULL)
        return false;
    struct mailbox *m = mailbox_new(store, (uint64_t)sqlite3_column_int64(s, 0), a, checkpoint_column(s, 2));
    account_add_mailbox(a, m);
    m->uidvalidity = read_u32(&r);
    m->uidnext = m->reserved_uid = read_u32(&r);
    m->recent_uid = read_u32(&r);
    m->modseq = m->reserved_modseq = read_u64(&r);
    m->next_run = read_u64(&r);
    uint8_t special = read_u8(&r);
    m->special = special <= SPECIAL_FLAGGED ? (enum store_special)special : SPECIAL_NONE;
    m->is_noselect = read_u8(&r) != 0;
    for (uint8_t left = read_u8(&r); left > 0 && !r.bad; left--) {
        uint8_t bit = read_u8(&r);
        struct slice name = read_string(&r);
        if (r.bad || bit >= KEYWORDS_MAX)
            return false;
        keyword_set(m, bit, name, 0);
    }
    for (uint32_t left = read_u32(&r); left > 0 && !r.bad; left--) {
        uint32_t first = read_u32(&r), last = read_u32(&r);
        mailbox_add_vanished(m, first, last, read_u64(&r));
    }
    return !r.bad;
}

static int run_order(const void *a, const void *b)
{
    const struct run *x = *(struct run *const *)a, *y = *(struct run *const *)b;
    return x->rows[0].uid < y->rows[0].uid ? -1 : x->rows[0].uid > y->rows[0].uid;
}

static struct run *load_run(struct store *store, struct mailbox *m, sqlite3_stmt *s)
{
    struct reader r = { .in = checkpoint_column(s, 1) };
    uint32_t count = (uint32_t)(r.in.len / MESSAGE_BYTES);
    if (count == 0 || count > RUN_ROWS || r.in.len % MESSAGE_BYTES != 0)
        return NULL;
    struct run *loaded = need(run_new((uint64_t)sqlite3_column_int64(s, 0), count));
    for (uint32_t i = 0; i < count; i++) {
        struct store_message *row = &loaded->rows[i];
        op_read_message(&r, row);
        body_ref(store, row->body_id, row->size);
        loaded->unseen += (row->flags & FLAG_SEEN) == 0;
        loaded->max_modseq = row->modseq > loaded->max_modseq ? row->modseq : loaded->max_modseq;
        m->size_bytes += row->size;
    }
    loaded->count = count;
    loaded->is_dirty = false;
    store->message_count += count;
    return loaded;
}

static bool load_runs(struct store *store, struct mailbox *m)
{
    sqlite3_stmt *s = checkpoint_bound(store->checkpoint, RUNS, m->id);
    struct run **runs = NULL;
    size_t count = 0, cap = 0;
    bool ok = s != NULL;
    int code = SQLITE_DONE;
    while (ok && (code = sqlite3_step(s)) == SQLITE_ROW) {
        if (count == cap) {
            cap = cap == 0 ? 8 : cap * 2;
            runs = need(realloc(runs, cap * sizeof(struct run *)));
        }
        runs[count] = load_run(store, m, s);
        ok = runs[count] != NULL;
        count += ok;
    }
    sqlite3_reset(s);
    if (count > 0)
        qsort(runs, count, sizeof(struct run *), run_order);
    for (size_t i = 0; i < count; i++)
        need(numbering_append_run(m->numbering, runs[i]) ? m : NULL);
    free(runs);
    return ok && code == SQLITE_DONE;
}

static bool load_body(struct store *store, sqlite3_stmt *s)
{
    struct reader r = { .in = checkpoint_column(s, 1) };
    uint32_t piece = read_u32(&r), count = read_u32(&r);
    if (r.bad || piece == 0 || r.in.len != (size_t)count * 8)
        return false;
    body_place(store, (uint64_t)sqlite3_column_int64(s, 0), piece, count, r.in);
    return true;
}

static bool load_rider(struct store *store, sqlite3_stmt *s)
{
    const struct store_rider *rider = &store->options.rider;
    if (rider->load != NULL)
        rider->load(rider->self, store, (uint64_t)sqlite3_column_int64(s, 0), checkpoint_column(s, 1));
    return true;
}

static enum rc load_rows(struct store *store, enum statement which, bool (*each)(struct store *, sqlite3_stmt *), struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    sqlite3_stmt *s = checkpoint_statement(c, which);
    int code = SQLITE_ERROR;
    bool ok = true;
    while (s != NULL && ok && (code = sqlite3_step(s)) == SQLITE_ROW)
        ok = each(store, s);
    enum rc rc = RC_OK;
    if (!ok)
        rc = fault_perm(fault, ESC(5, 3, 0), "%s is damaged: a row does not make sense. \"thurn verify --repair\" makes it "
                        "anew from the log", c->path);
    else if (code != SQLITE_DONE)
        rc = checkpoint_fault(c, fault);
    sqlite3_reset(s);
    return rc;
}

static enum rc load_all_runs(struct store *store, struct fault *fault)
{
    size_t at = 0;
    uint64_t id;
    for (struct mailbox *m; (m = map_next_u64(&store->mailboxes, &at, &id)) != NULL;)
        if (!load_runs(store, m))
            return fault_perm(fault, ESC(5, 3, 0), "%s is damaged: messages of mailbox %llu do not make sense. "
                              "\"thurn verify --repair\" makes it anew from the log",
                              store->checkpoint->path, (unsigned long long)id);
    return RC_OK;
}

/* An older version did not make any: then it stays as it is, at the beginning of the log. */
static void load_snapshot(struct checkpoint *c, struct store_snapshot *snapshot)
{
    uint64_t parts;
    if (checkpoint_get_meta(c, "snapshot_as_of", &snapshot->as_of) && checkpoint_get_meta(c, "snapshot_first", &snapshot->first)
        && checkpoint_get_meta(c, "snapshot_bytes", &snapshot->bytes) && checkpoint_get_meta(c, "snapshot_parts", &parts))
        snapshot->parts = (uint32_t)parts;
}

enum rc checkpoint_load(struct store *store, uint64_t *replay_from, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    uint64_t value;
    if (store->options.is_read_only)        /* one state of the file, whatever the server commits meanwhile */
        sqlite3_exec(c->db, "BEGIN", NULL, NULL, NULL);
    if (!checkpoint_get_meta(c, "replay_from", &c->position))
        return checkpoint_fault(c, fault);
    if (checkpoint_get_meta(c, "next_mailbox", &value))
        store->reserved_mailbox_id = value;
    if (checkpoint_get_meta(c, "uidvalidity", &value))
        store->reserved_uidvalidity = (uint32_t)value;
    load_snapshot(c, &store->snapshot);
    enum rc rc = load_rows(store, ACCOUNTS, load_account, fault);
    if (rc == RC_OK)
        rc = load_rows(store, MAILBOXES, load_mailbox, fault);
    if (rc == RC_OK)
        rc = load_rows(store, BODIES, load_body, fault);
    if (rc == RC_OK)
        rc = load_all_runs(store, fault);
    if (rc == RC_OK && checkpoint_bound(c, RIDERS, STORE_RIDER_ASIDE) != NULL)
        rc = load_rows(store, RIDERS, load_rider, fault);
    if (rc == RC_OK)
        rc = checkpoint_load_kept(store, fault);
    if (rc == RC_OK)
        ledger_load(store);
    if (rc == RC_OK && c->is_unread)        /* keeps S3: what was reserved must not be taken for what never was */
        rc = fault_temp(fault, ESC(4, 3, 0), "%s cannot be read", c->path);
    if (store->options.is_read_only)
        sqlite3_exec(c->db, "COMMIT", NULL, NULL, NULL);
    store->bodies.placed_change_count = 0;
    *replay_from = c->position;
    return rc;
}
