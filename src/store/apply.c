/* Records into memory: what has become durable, and at opening everything since the checkpoint (S2, S8).
 *
 * An operation on something that is gone meanwhile does nothing; which one comes first in the log decides. */
#include "store/inner.h"

#include "store/encode.h"

#include <stdlib.h>

struct applying {
    struct store *store;
    uint64_t position;
    uint64_t body_id, body_size;
    uint64_t messages;          /* operations so far that put one into a mailbox */
    bool has_rider_op;
    struct reader in;           /* of the operation */
};

static struct mailbox *read_mailbox(struct applying *a)
{
    uint64_t id = read_u64(&a->in);
    struct mailbox *m = a->in.bad ? NULL : mailbox_get(a->store, id);
    return m == NULL || m->is_noselect ? NULL : m;
}

static void on_body(struct applying *a)
{
    a->body_id = a->position;
    a->body_size = a->in.in.len;
    a->in.in.len = 0;
}

static void on_body_placed(struct applying *a)
{
    uint64_t id = read_u64(&a->in), size = read_u64(&a->in);
    uint32_t piece = read_u32(&a->in), count = read_u32(&a->in);
    struct slice positions = read_bytes(&a->in, (size_t)count * 8);
    if (a->in.bad || piece == 0) {
        a->in.bad = true;
    } else if (id != 0) {
        body_move(a->store, id, piece, count, positions);
    } else {
        a->body_id = a->position;
        a->body_size = size;
        body_place(a->store, a->body_id, piece, count, positions);
    }
}

static void on_piece(struct applying *a) { a->in.in.len = 0; }

static void on_account_create(struct applying *a)
{
    uint64_t id = read_u64(&a->in);
    if (!a->in.bad && account_get(a->store, id) == NULL)
        account_new(a->store, id);
}

static void delete_account(struct store *store, struct account *account, struct op_when when)
{
    uint64_t before = store->message_count;
    while (account->count > 0) {
        struct mailbox *m = account->mailboxes[account->count - 1];
        account_remove_mailbox(account, m);
        mailbox_delete(store, m, when);
    }
    store->ledger.removed += before - store->message_count;
    need(push_u64(&store->dropped_accounts, &store->dropped_account_count, &store->dropped_account_cap, account->id) ? store : NULL);
    account_free(store, account);
}

static void on_account_delete(struct applying *a)
{
    struct account *account = account_get(a->store, read_u64(&a->in));
    struct op_when when = op_read_when(&a->in);
    if (!a->in.bad && account != NULL)
        delete_account(a->store, account, when);
}

/* Somebody may own it again since that was handed over. */
static void on_account_expire(struct applying *a)
{
    struct account *account = account_get(a->store, read_u64(&a->in));
    int64_t removed_s = (int64_t)read_u64(&a->in);
    if (!a->in.bad && account != NULL && account->removed_s != 0 && account->removed_s == removed_s)
        delete_account(a->store, account, (struct op_when){ 0 });
}

static void on_account_removed(struct applying *a)
{
    struct account *account = account_get(a->store, read_u64(&a->in));
    int64_t removed_s = (int64_t)read_u64(&a->in);
    if (a->in.bad || account == NULL)
        return;
    account->removed_s = removed_s;
    account->is_dirty = true;
}

static void remove_mailbox(struct store *store, struct mailbox *m, struct op_when when)
{
    uint64_t before = store->message_count;
    account_remove_mailbox(m->account, m);
    mailbox_delete(store, m, when);
    store->ledger.removed += before - store->message_count;
}

static void on_mailbox_create(struct applying *a)
{
    struct store *store = a->store;
    uint64_t id = read_u64(&a->in);
    struct account *account = account_get(store, read_u64(&a->in));
    uint32_t uidvalidity = read_u32(&a->in);
    uint8_t special = read_u8(&a->in), subscribe = read_u8(&a->in);
    struct slice name = read_string(&a->in);
    if (a->in.bad)
        return;
    if (id >= store->reserved_mailbox_id)
        store->reserved_mailbox_id = id + 1;
    if (uidvalidity > store->reserved_uidvalidity)
        store->reserved_uidvalidity = uidvalidity;
    struct mailbox *old = account == NULL ? NULL : account_find(account, name);
    if (account == NULL || (old != NULL && !old->is_noselect) || mailbox_get(store, id) != NULL)
        return;
    if (old != NULL)
        remove_mailbox(store, old, (struct op_when){ 0 });      /* no more than a name: nothing to keep */
    struct mailbox *m = mailbox_new(store, id, account, name);
    m->uidvalidity = uidvalidity;
    m->special = special <= SPECIAL_FLAGGED ? (enum store_special)special : SPECIAL_NONE;
    account_add_mailbox(account, m);
    mailbox_touch(store, m);
    if (subscribe)
        account_subscribe(account, name, true);
}

static void on_mailbox_delete(struct applying *a)
{
    struct mailbox *m = mailbox_get(a->store, read_u64(&a->in));
    bool keep = read_u8(&a->in) != 0;
    struct op_when when = op_read_when(&a->in);
    if (a->in.bad || m == NULL)
        return;
    if (!keep && !account_has_children(m->account, name_slice(&m->name))) {
        remove_mailbox(a->store, m, when);
        return;
    }
    uint64_t before = a->store->message_count;
    mailbox_clear(a->store, m, when);
    a->store->ledger.removed += before - a->store->message_count;
    m->is_noselect = true;
    m->special = SPECIAL_NONE;
}

static void on_mailbox_rename(struct applying *a)
{
    struct mailbox *m = mailbox_get(a->store, read_u64(&a->in));
    struct slice name = read_string(&a->in);
    if (a->in.bad || m == NULL || account_find(m->account, name) != NULL)
        return;
    mailbox_touch(a->store, m);
    account_rename_mailbox(m->account, m, name);
}

static void on_subscribe(struct applying *a)
{
    struct account *account = account_get(a->store, read_u64(&a->in));
    bool on = read_u8(&a->in) != 0;
    struct slice name = read_string(&a->in);
    if (!a->in.bad && account != NULL)
        account_subscribe(account, name, on);
}

static void on_keyword(struct applying *a)
{
    struct mailbox *m = read_mailbox(a);
    uint32_t bit = read_u32(&a->in);
    struct slice name = read_string(&a->in);
    if (a->in.bad || m == NULL || bit >= KEYWORDS_MAX)
        return;
    mailbox_touch(a->store, m);
    keyword_set(m, bit, name, 0);
    m->keyword_version++;
    views_mark_changed(a->store, m);
}

/* It counts as come whether or not there is a mailbox to take it: one that nobody took is missing. */
static void on_message(struct applying *a)
{
    struct mailbox *m = read_mailbox(a);
    struct store_message row;
    op_read_message(&a->in, &row);
    a->messages++;
    if (a->in.bad || m == NULL)
        return;
    row.body_id = row.body_id == 0 ? a->body_id : row.body_id;
    m->account->applied_bytes += row.size;
    mailbox_append(a->store, m, &row);
}

static void on_flags(struct applying *a)
{
    struct mailbox *m = read_mailbox(a);
    uint64_t modseq = read_u64(&a->in);
    uint8_t op = read_u8(&a->in);
    uint32_t flags = read_u32(&a->in);
    uint64_t keywords = read_u64(&a->in);
    struct uid_set uids;
    uid_set_init(&uids);
    if (!op_read_ranges(&a->in, &uids) || op > FLAGS_REMOVE)
        a->in.bad = true;
    else if (m != NULL)
        mailbox_flags(a->store, m, &uids, (enum store_flag_op)op, (uint16_t)(flags & FLAG_SYSTEM_MASK), keywords, modseq);
    uid_set_free(&uids);
}

static void on_expunge(struct applying *a)
{
    struct mailbox *m = read_mailbox(a);
    uint64_t modseq = read_u64(&a->in);
    struct uid_set uids;
    uid_set_init(&uids);
    bool ok = op_read_ranges(&a->in, &uids);
    struct op_when when = op_read_when(&a->in);
    if (!ok)
        a->in.bad = true;
    else if (m != NULL) {
        uint64_t before = a->store->message_count;
        mailbox_expunge(a->store, m, &uids, modseq, when, KEPT_EXPUNGED);
        a->store->ledger.expunged += before - a->store->message_count;
    }
    uid_set_free(&uids);
}

/* Keywords are bits of their mailbox: the same name may be another bit there. One that is not there is left behind, also when a later
 * record is about to bring it: at replay it would not be there yet (S8). */
static uint64_t translate(const struct mailbox *from, const struct mailbox *to, uint64_t keywords)
{
    uint64_t result = 0;
    for (uint32_t bit = 0; keywords != 0 && from->keywords != NULL && bit < KEYWORDS_MAX; bit++, keywords >>= 1)
        if ((keywords & 1) != 0 && from->keywords[bit].name.bytes != NULL && from->keywords[bit].wait == 0) {
            uint32_t there = keyword_find_applied(to, name_slice(&from->keywords[bit].name));
            result |= there < KEYWORDS_MAX ? 1ull << there : 0;
        }
    return result;
}

static uint64_t copy_rows(struct store *store, struct mailbox *from, struct mailbox *to, const struct uid_set *uids, uint32_t uid,
                      uint64_t modseq, int64_t now_s)
{
    uint32_t total = from->numbering->total;        /* may be the same mailbox */
    uint64_t copied = 0;
    for (size_t i = 0; i < uids->count; i++)
        for (uint32_t seq = numbering_seq(from->numbering, total, uids->ranges[i].first); seq <= total; seq++) {
            struct store_message row = *numbering_row(from->numbering, seq, NULL);
            if (row.uid > uids->ranges[i].last)
                break;
            row.uid = uid++;
            row.modseq = modseq;
            row.appended_s = now_s > 0 ? (uint32_t)now_s : 0;
            row.keywords = translate(from, to, row.keywords);
            mailbox_append(store, to, &row);
            copied++;
        }
    return copied;
}

static void on_copy(struct applying *a)
{
    struct mailbox *from = read_mailbox(a), *to = read_mailbox(a);
    uint32_t uid = read_u32(&a->in);
    uint64_t modseq_there = read_u64(&a->in), modseq_here = read_u64(&a->in);
    struct uid_set uids;
    uid_set_init(&uids);
    bool ok = op_read_ranges(&a->in, &uids);
    struct op_when when = op_read_when(&a->in);
    if (!ok)
        a->in.bad = true;
    else if (from != NULL && to != NULL) {
        uint64_t copied = copy_rows(a->store, from, to, &uids, uid, modseq_there, when.s);
        if (modseq_here == 0)
            a->store->ledger.copied += copied;
        else
            mailbox_expunge(a->store, from, &uids, modseq_here, when, KEPT_MOVED);        /* moved: neither come nor gone */
    }
    uid_set_free(&uids);
}

static void on_recent(struct applying *a)
{
    struct mailbox *m = read_mailbox(a);
    uint32_t uid = read_u32(&a->in);
    if (a->in.bad || m == NULL || uid <= m->recent_uid)
        return;
    mailbox_touch(a->store, m);
    m->recent_uid = uid;
}

static void on_kept_forget(struct applying *a)
{
    uint64_t first = read_u64(&a->in);
    bool is_early = read_u8(&a->in) != 0;
    if (!a->in.bad)
        kept_forget(a->store, first, is_early);
}

static void on_rider(struct applying *a)
{
    const struct store_rider *rider = &a->store->options.rider;
    a->has_rider_op = true;
    if (rider->apply != NULL)
        rider->apply(rider->self, a->store, a->in.in, a->body_id, a->body_size);
    a->in.in.len = 0;
}

static void on_snapshot(struct applying *a) { a->in.in.len = 0; }

static void on_snapshot_end(struct applying *a)
{
    struct store_snapshot snapshot;
    if (!snapshot_read_end(a->in.in, &snapshot))
        a->in.bad = true;
    else
        a->store->snapshot = snapshot;
    a->in.in.len = 0;
}

static void (*const handlers[])(struct applying *) = {
    [OP_BODY] = on_body,
    [OP_BODY_PLACED] = on_body_placed,
    [OP_PIECE] = on_piece,
    [OP_ACCOUNT_CREATE] = on_account_create,
    [OP_ACCOUNT_DELETE] = on_account_delete,
    [OP_MAILBOX_CREATE] = on_mailbox_create,
    [OP_MAILBOX_DELETE] = on_mailbox_delete,
    [OP_MAILBOX_RENAME] = on_mailbox_rename,
    [OP_SUBSCRIBE] = on_subscribe,
    [OP_KEYWORD] = on_keyword,
    [OP_MESSAGE] = on_message,
    [OP_FLAGS] = on_flags,
    [OP_EXPUNGE] = on_expunge,
    [OP_COPY] = on_copy,
    [OP_RECENT] = on_recent,
    [OP_RIDER] = on_rider,
    [OP_SNAPSHOT] = on_snapshot,
    [OP_SNAPSHOT_END] = on_snapshot_end,
    [OP_KEPT_FORGET] = on_kept_forget,
    [OP_ACCOUNT_REMOVED] = on_account_removed,
    [OP_ACCOUNT_EXPIRE] = on_account_expire,
};

bool apply_record(struct store *store, uint64_t position, struct slice payload)
{
    struct applying a = { .store = store, .position = position };
    struct op op;
    enum rc rc;
    while ((rc = op_next(&payload, &op)) == RC_OK) {
        a.in = (struct reader){ .in = op.body };
        handlers[op.tag](&a);
        if (a.in.bad)
            return false;
    }
    *(a.has_rider_op ? &store->ledger.delivered : &store->ledger.appended) += a.messages;
    return rc == RC_NONE;
}
