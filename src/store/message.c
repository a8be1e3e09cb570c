/* What deliveries and sessions do to messages: checked here, numbered here, handed to the log, seen when applied.
 *
 * Every function keeps S3 and S4 in the same way: UIDs and modseqs are taken from the reserved counters, which never go
 * back, whatever becomes of the record. */
#include "store/inner.h"

#include "store/encode.h"

#include <stdlib.h>

static struct mailbox *find_to_change(const struct store *store, uint64_t id, struct fault *fault)
{
    struct mailbox *m = mailbox_to_change(store, id);
    if (m == NULL)
        fault_none(fault, "no such mailbox");
    return m;
}

/* ---- keywords ---- */

/* The bit of a name, reserved with an operation when it is new. KEYWORDS_MAX: no bit left. */
static uint32_t reserve_keyword(struct store *store, struct buf *out, struct mailbox *m, struct slice name)
{
    uint32_t bit = keyword_find(store, m, name);
    if (bit < KEYWORDS_MAX)
        return bit;
    bit = keyword_unused(store, m);
    if (bit == KEYWORDS_MAX)
        return bit;
    keyword_set(m, bit, name, store_next_wait(store));
    size_t op = op_begin(out, OP_KEYWORD);
    write_u64(out, m->id);
    write_u32(out, bit);
    write_string(out, name);
    op_end(out, op);
    return bit;
}

enum rc store_keyword(struct store *store, uint64_t mailbox_id, struct slice name, bool create, uint32_t *bit, uint64_t *wait,
                      struct fault *fault)
{
    struct mailbox *m = find_to_change(store, mailbox_id, fault);
    *wait = 0;
    if (m == NULL)
        return RC_NONE;
    if (!keyword_name_is_valid(name))
        return fault_perm(fault, 0, "not a keyword");
    *bit = keyword_find(store, m, name);
    if (*bit < KEYWORDS_MAX) {
        *wait = m->keywords[*bit].wait;
        return RC_OK;
    }
    if (!create)
        return fault_none(fault, "no such keyword");
    if (keyword_unused(store, m) == KEYWORDS_MAX)
        return fault_perm(fault, 0, "a mailbox has up to %d keywords", KEYWORDS_MAX);
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    *bit = reserve_keyword(store, &record->bytes, m, name);
    return store_hand(store, record, wait, fault);
}

/* ---- taking messages in ---- */

static enum rc take_uid(struct mailbox *m, uint32_t count, uint32_t *first, struct fault *fault)
{
    if (count >= UINT32_MAX - m->reserved_uid)
        return fault_perm(fault, ESC(5, 2, 2), "the mailbox has used up its UIDs");
    *first = m->reserved_uid;
    m->reserved_uid += count;
    return RC_OK;
}

static void write_message(struct buf *out, struct mailbox *m, const struct store_message *row)
{
    size_t op = op_begin(out, OP_MESSAGE);
    write_u64(out, m->id);
    op_write_message(out, row);
    op_end(out, op);
}

static enum rc deliver(struct store *store, struct buf *out, struct store_delivery *d, struct store_message row, struct fault *fault)
{
    const struct account *a = account_get(store, d->account);
    if (a == NULL || store_is_pending(store, a->delete_wait))
        return fault_perm(fault, ESC(5, 1, 1), "no such account");
    struct store_mailbox_info info;
    struct mailbox *m = store_mailbox_find(store, d->account, d->mailbox, &info) == RC_OK ? mailbox_to_change(store, info.id) : NULL;
    if (m == NULL)
        m = account_find(a, SLICE("INBOX"));
    must(m != NULL);
    enum rc rc = take_uid(m, 1, &row.uid, fault);
    if (rc != RC_OK)
        return rc;
    row.modseq = ++m->reserved_modseq;
    row.flags = (uint16_t)(d->flags & FLAG_SYSTEM_MASK);
    for (size_t i = 0; i < d->keyword_count && i < sizeof d->keywords / sizeof d->keywords[0]; i++) {
        uint32_t bit = keyword_name_is_valid(d->keywords[i]) ? reserve_keyword(store, out, m, d->keywords[i]) : KEYWORDS_MAX;
        row.keywords |= bit < KEYWORDS_MAX ? 1ull << bit : 0;
    }
    write_message(out, m, &row);
    m->change_wait = store_next_wait(store);
    account_hand(store, m->account, row.size);
    d->uid = row.uid;
    d->mailbox_id = m->id;
    d->uidvalidity = m->uidvalidity;
    return RC_OK;
}

static enum rc write_accept(struct store *store, struct buf *out, struct store_accept *accept, uint64_t size, struct fault *fault)
{
    struct store_message row = {
        .body_id = accept->body == NULL ? accept->body_id : 0,
        .internal_s = accept->internal_date.unix_s, .internal_zone_min = accept->internal_date.zone_min,
        .size = (uint32_t)size, .appended_s = (uint32_t)store_now_s(store),
    };
    for (size_t i = 0; i < accept->delivery_count; i++) {
        enum rc rc = deliver(store, out, &accept->deliveries[i], row, fault);
        if (rc != RC_OK)
            return rc;
    }
    if (accept->write_op != NULL) {
        size_t op = op_begin(out, OP_RIDER);
        if (!accept->write_op(accept->write_op_arg, out))
            return fault_no_memory(fault);
        op_end(out, op);
    }
    for (size_t i = 0; i < accept->rider_op_count; i++) {
        size_t op = op_begin(out, OP_RIDER);
        buf_append(out, accept->rider_ops[i]);
        op_end(out, op);
    }
    return RC_OK;
}

/* The record that a body goes into; NULL: failed, and the body is gone. */
static struct log_record *body_record(struct store_body *body, struct fault *fault)
{
    struct log_record *record = body_finish(body, fault);
    if (record == NULL)
        store_body_abandon(body);
    return record;
}

static enum rc hand_body(struct store *store, struct log_record *record, struct store_body *body, uint64_t *wait, struct fault *fault)
{
    enum rc rc = store_hand(store, record, wait, fault);
    if (body != NULL && rc == RC_OK)
        body_handed(body, *wait);
    else
        store_body_abandon(body);
    return rc;
}

enum rc store_accept(struct store *store, struct store_accept *accept, uint64_t *wait, struct fault *fault)
{
    struct store_body *body = accept->body;
    uint64_t size = body != NULL ? store_body_size(body) : accept->body_size;
    *wait = 0;
    struct log_record *record = body != NULL ? body_record(body, fault) : store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    enum rc rc = write_accept(store, &record->bytes, accept, size, fault);
    if (rc != RC_OK) {
        log_record_free(record);
        store_body_abandon(body);
        return rc;
    }
    rc = hand_body(store, record, body, wait, fault);
    if (rc == RC_OK && body != NULL) {
        accept->body_id = record->position;     /* the log keeps the record until the next poll */
        accept->body_size = size;
    }
    return rc;
}

enum rc store_append(struct store *store, uint64_t mailbox_id, struct store_body *body, struct mail_date date, uint32_t flags,
                     uint64_t keywords, uint32_t *uid, uint64_t *wait, struct fault *fault)
{
    *wait = 0;
    struct mailbox *m = find_to_change(store, mailbox_id, fault);
    enum rc rc = m == NULL ? RC_NONE : take_uid(m, 1, uid, fault);
    if (rc != RC_OK) {
        store_body_abandon(body);
        return rc;
    }
    struct store_message row = {
        .uid = *uid, .modseq = ++m->reserved_modseq, .keywords = keywords, .flags = (uint16_t)(flags & FLAG_SYSTEM_MASK),
        .internal_s = date.unix_s, .internal_zone_min = date.zone_min, .size = (uint32_t)store_body_size(body),
        .appended_s = (uint32_t)store_now_s(store),
    };
    struct log_record *record = body_record(body, fault);
    if (record == NULL)
        return RC_TEMP;
    write_message(&record->bytes, m, &row);
    account_hand(store, m->account, row.size);
    rc = hand_body(store, record, body, wait, fault);
    if (rc == RC_OK)
        m->change_wait = *wait;
    return rc;
}

enum rc message_revive(struct store *store, struct mailbox *m, const struct store_revived *messages, size_t count,
                       const struct slice keywords[KEYWORDS_MAX], uint32_t *first_uid, uint64_t *wait, struct fault *fault)
{
    uint64_t used = 0;
    uint64_t bits[KEYWORDS_MAX] = { 0 };
    enum rc rc = take_uid(m, (uint32_t)count, first_uid, fault);
    struct log_record *record = rc != RC_OK ? NULL : store_record(store, fault);
    if (record == NULL)
        return rc == RC_OK ? RC_TEMP : rc;
    for (size_t i = 0; i < count; i++)
        used |= messages[i].row.keywords;
    for (uint32_t bit = 0; bit < KEYWORDS_MAX; bit++) {
        uint32_t here = (used >> bit & 1) != 0 && keyword_name_is_valid(keywords[bit]) ? reserve_keyword(store, &record->bytes, m, keywords[bit])
                                                                                       : KEYWORDS_MAX;
        bits[bit] = here < KEYWORDS_MAX ? 1ull << here : 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct store_message row = messages[i].row;
        row.uid = *first_uid + (uint32_t)i;
        row.modseq = ++m->reserved_modseq;
        row.flags &= (uint16_t)~FLAG_DELETED;
        row.appended_s = (uint32_t)store_now_s(store);
        row.keywords = 0;
        for (uint32_t bit = 0; bit < KEYWORDS_MAX; bit++)
            row.keywords |= (messages[i].row.keywords >> bit & 1) != 0 ? bits[bit] : 0;
        write_message(&record->bytes, m, &row);
    }
    rc = store_hand(store, record, wait, fault);
    if (rc == RC_OK)
        m->change_wait = *wait;
    return rc;
}

/* ---- choosing messages ---- */

/* Messages that were chosen, as their exact UIDs and as stretches of the numbering: in a stretch there is no other
 * message, so it may span UIDs that do not exist, and a mailbox full of holes makes a short record. */
struct chosen {
    struct uid_set exact, stretches;
    uint32_t last_seq;
    uint32_t count;
    bool is_out_of_memory;
};

static void chosen_free(struct chosen *c)
{
    uid_set_free(&c->exact);
    uid_set_free(&c->stretches);
}

static void choose_stretch(struct chosen *c, uint32_t seq, uint32_t uid)
{
    if (c->count > 0 && seq == c->last_seq + 1)
        c->stretches.ranges[c->stretches.count - 1].last = uid;
    else if (!uid_set_add(&c->stretches, uid, uid))
        c->is_out_of_memory = true;
    c->last_seq = seq;
    c->count++;
}

static void choose(struct chosen *c, uint32_t seq, uint32_t uid)
{
    choose_stretch(c, seq, uid);
    if (!uid_set_add(&c->exact, uid, uid))
        c->is_out_of_memory = true;
}

/* Calls for each message of the mailbox that is in the set (NULL: all). */
static void each_chosen(const struct mailbox *m, const struct uid_set *uids,
                        void (*each)(void *arg, uint32_t seq, const struct store_message *), void *arg)
{
    static struct uid_range everything[1] = { { 1, UINT32_MAX } };
    const struct uid_set all = { everything, 1, 1 };
    const struct numbering *n = m->numbering;
    if (uids == NULL)
        uids = &all;
    for (size_t i = 0; i < uids->count; i++)
        for (uint32_t seq = numbering_seq(n, n->total, uids->ranges[i].first); seq <= n->total; seq++) {
            const struct store_message *row = numbering_row(n, seq, NULL);
            if (row->uid > uids->ranges[i].last)
                break;
            each(arg, seq, row);
        }
}

static const struct uid_set *dying(const struct store *store, struct mailbox *m)
{
    if (!store_is_pending(store, m->dying_wait))
        uid_set_clear(&m->dying);
    return &m->dying;
}

static bool add_dying(struct store *store, struct mailbox *m, const struct uid_set *uids)
{
    (void)dying(store, m);
    for (size_t i = 0; i < uids->count; i++)
        if (!uid_set_add(&m->dying, uids->ranges[i].first, uids->ranges[i].last))
            return false;
    m->dying_wait = store_next_wait(store);
    return true;
}

/* ---- flags ---- */

struct flagging {
    struct chosen chosen;
    struct uid_set *modified;
    uint64_t unchanged_since;
    enum store_flag_op op;
    uint16_t flags;
    uint64_t keywords;
    bool changes_any;
};

static bool would_change(const struct flagging *f, const struct store_message *row)
{
    switch (f->op) {
    case FLAGS_REPLACE: return row->flags != f->flags || row->keywords != f->keywords;
    case FLAGS_ADD:     return (~row->flags & f->flags) != 0 || (~row->keywords & f->keywords) != 0;
    case FLAGS_REMOVE:  return (row->flags & f->flags) != 0 || (row->keywords & f->keywords) != 0;
    }
    return false;
}

static void on_flagged(void *arg, uint32_t seq, const struct store_message *row)
{
    struct flagging *f = arg;
    if (row->modseq > f->unchanged_since) {
        if (f->modified != NULL && !uid_set_add(f->modified, row->uid, row->uid))
            f->chosen.is_out_of_memory = true;
        return;
    }
    choose_stretch(&f->chosen, seq, row->uid);
    f->changes_any |= would_change(f, row);
}

static enum rc hand_flags(struct store *store, struct mailbox *m, const struct flagging *f, uint64_t *modseq, uint64_t *wait,
                          struct fault *fault)
{
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    struct buf *out = &record->bytes;
    *modseq = ++m->reserved_modseq;
    size_t op = op_begin(out, OP_FLAGS);
    write_u64(out, m->id);
    write_u64(out, *modseq);
    write_u8(out, (uint8_t)f->op);
    write_u32(out, f->flags);
    write_u64(out, f->keywords);
    op_write_ranges(out, &f->chosen.stretches);
    op_end(out, op);
    enum rc rc = store_hand(store, record, wait, fault);
    if (rc == RC_OK)
        m->change_wait = *wait;
    return rc;
}

enum rc store_flags(struct store *store, uint64_t mailbox_id, const struct uid_set *uids, enum store_flag_op op, uint32_t flags,
                    uint64_t keywords, uint64_t unchanged_since, struct uid_set *modified, uint64_t *modseq, uint64_t *wait,
                    struct fault *fault)
{
    *wait = *modseq = 0;
    struct mailbox *m = find_to_change(store, mailbox_id, fault);
    if (m == NULL)
        return RC_NONE;
    bool is_pending = store_is_pending(store, m->change_wait);
    if (unchanged_since != UINT64_MAX && is_pending) {
        *wait = m->change_wait;
        return RC_MORE;
    }
    struct flagging f = {
        .modified = modified, .unchanged_since = unchanged_since,
        .op = op, .flags = (uint16_t)(flags & FLAG_SYSTEM_MASK), .keywords = keywords,
    };
    each_chosen(m, uids, on_flagged, &f);
    enum rc rc = RC_OK;
    if (f.chosen.is_out_of_memory)
        rc = fault_no_memory(fault);
    else if (f.chosen.count > 0 && (f.changes_any || is_pending))
        rc = hand_flags(store, m, &f, modseq, wait, fault);
    chosen_free(&f.chosen);
    return rc;
}

/* ---- expunging ---- */

struct choosing {
    struct chosen chosen;
    const struct uid_set *dying;
    bool any;
    uint64_t keywords;              /* of all that were chosen */
};

static void on_chosen(void *arg, uint32_t seq, const struct store_message *row)
{
    struct choosing *c = arg;
    if ((!c->any && (row->flags & FLAG_DELETED) == 0) || (c->dying->count > 0 && uid_set_contains(c->dying, row->uid)))
        return;
    choose(&c->chosen, seq, row->uid);
    c->keywords |= row->keywords;
}

static void give(struct uid_set *to, struct uid_set *from)
{
    if (to == NULL)
        return;
    uid_set_free(to);
    *to = *from;
    uid_set_init(from);
}

static enum rc hand_expunge(struct store *store, struct mailbox *m, const struct chosen *chosen, uint64_t *wait, struct fault *fault)
{
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    struct buf *out = &record->bytes;
    size_t op = op_begin(out, OP_EXPUNGE);
    write_u64(out, m->id);
    write_u64(out, ++m->reserved_modseq);
    op_write_ranges(out, &chosen->stretches);
    op_write_when(out, kept_when(store));
    op_end(out, op);
    if (!add_dying(store, m, &chosen->stretches))
        out->overflow = true;
    enum rc rc = store_hand(store, record, wait, fault);
    if (rc == RC_OK)
        m->change_wait = *wait;
    return rc;
}

enum rc store_expunge(struct store *store, uint64_t mailbox_id, const struct uid_set *uids, bool any, struct uid_set *expunged,
                      uint64_t *wait, struct fault *fault)
{
    *wait = 0;
    if (expunged != NULL)
        uid_set_clear(expunged);
    struct mailbox *m = find_to_change(store, mailbox_id, fault);
    if (m == NULL)
        return RC_NONE;
    struct choosing c = { .dying = dying(store, m), .any = any };
    each_chosen(m, uids, on_chosen, &c);
    enum rc rc = c.chosen.is_out_of_memory ? fault_no_memory(fault) : RC_OK;
    if (rc == RC_OK && c.chosen.count > 0)
        rc = hand_expunge(store, m, &c.chosen, wait, fault);
    if (rc == RC_OK)
        give(expunged, &c.chosen.exact);
    chosen_free(&c.chosen);
    return rc;
}

/* ---- copying ---- */

/* Those keywords that the destination does not have yet. */
static void reserve_keywords(struct store *store, struct buf *out, const struct mailbox *from, struct mailbox *to, uint64_t keywords)
{
    for (uint32_t bit = 0; from != to && from->keywords != NULL && bit < KEYWORDS_MAX; bit++)
        if ((keywords >> bit & 1) != 0 && from->keywords[bit].name.bytes != NULL)
            (void)reserve_keyword(store, out, to, name_slice(&from->keywords[bit].name));
}

static enum rc hand_copy(struct store *store, struct mailbox *from, struct mailbox *to, const struct choosing *c, bool is_move,
                         uint32_t *first, uint64_t *wait, struct fault *fault)
{
    enum rc rc = take_uid(to, c->chosen.count, first, fault);
    struct log_record *record = rc != RC_OK ? NULL : store_record(store, fault);
    if (record == NULL)
        return rc == RC_OK ? RC_TEMP : rc;
    struct buf *out = &record->bytes;
    reserve_keywords(store, out, from, to, c->keywords);
    size_t op = op_begin(out, OP_COPY);
    write_u64(out, from->id);
    write_u64(out, to->id);
    write_u32(out, *first);
    write_u64(out, ++to->reserved_modseq);
    write_u64(out, is_move ? ++from->reserved_modseq : 0);
    op_write_ranges(out, &c->chosen.stretches);
    op_write_when(out, kept_when(store));
    op_end(out, op);
    if (is_move && !add_dying(store, from, &c->chosen.stretches))
        out->overflow = true;
    rc = store_hand(store, record, wait, fault);
    if (rc == RC_OK)
        from->change_wait = to->change_wait = *wait;
    return rc;
}

enum rc store_copy(struct store *store, uint64_t from_id, const struct uid_set *uids, uint64_t to_id, bool is_move,
                   struct uid_set *from_uids, struct uid_set *to_uids, uint64_t *wait, struct fault *fault)
{
    *wait = 0;
    uid_set_clear(from_uids);
    uid_set_clear(to_uids);
    struct mailbox *from = find_to_change(store, from_id, fault), *to = find_to_change(store, to_id, fault);
    if (from == NULL || to == NULL)
        return RC_NONE;
    struct choosing c = { .dying = dying(store, from), .any = true };
    each_chosen(from, uids, on_chosen, &c);
    enum rc rc = c.chosen.is_out_of_memory ? fault_no_memory(fault) : RC_OK;
    uint32_t first = 0;
    if (rc == RC_OK && c.chosen.count > 0) {
        rc = hand_copy(store, from, to, &c, is_move, &first, wait, fault);
        if (rc == RC_OK && !uid_set_add(to_uids, first, first + c.chosen.count - 1))
            rc = fault_no_memory(fault);
    }
    if (rc == RC_OK)
        give(from_uids, &c.chosen.exact);
    chosen_free(&c.chosen);
    return rc;
}

enum rc store_vanished(const struct store *store, uint64_t mailbox_id, uint64_t since_modseq, struct uid_set *out)
{
    const struct mailbox *m = mailbox_get(store, mailbox_id);
    uid_set_clear(out);
    if (m == NULL)
        return RC_NONE;
    for (size_t i = m->vanished_count; i-- > 0 && m->vanished[i].modseq > since_modseq;)
        if (!uid_set_add(out, m->vanished[i].first, m->vanished[i].last))
            return RC_TEMP;
    return RC_OK;
}
