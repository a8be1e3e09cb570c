/* The store as the log alone gives it, and how it compares with what state.db says (S6, S8). See verify.h. */
#include "store/verify_inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the snapshot ------------------------------------------------------------------------------------------------------ */

struct loading {
    struct snapshot_loader loader;
    struct store_snapshot snapshot;
    bool is_ended;
};

static void on_record(void *arg, uint64_t position, struct slice payload)
{
    struct loading *l = arg;
    struct op op;
    struct snapshot_part part;
    struct store_snapshot end;
    if (position < l->snapshot.first || l->is_ended || op_next(&payload, &op) != RC_OK)
        return;
    if (op.tag == OP_SNAPSHOT && snapshot_read_part(op.body, &part) && part.as_of == l->snapshot.as_of)
        snapshot_loader_add(&l->loader, &part);
    else if (op.tag == OP_SNAPSHOT_END && snapshot_read_end(op.body, &end) && end.first == l->snapshot.first)
        l->is_ended = true;
}

static void on_damage(void *arg, uint64_t position, uint64_t bytes) { (void)arg, (void)position, (void)bytes; }

/* Rows of the snapshot into a database. *torn: places where rows were lost. */
enum rc verify_load_snapshot(struct log *log, const struct store_snapshot *snapshot, struct sqlite3 *db, bool leaves_aside, uint64_t *torn, struct fault *fault)
{
    struct loading l = { .snapshot = *snapshot };
    struct log_scan_calls calls = { &l, on_record, on_damage, NULL };
    struct log_scan *scan = log_scan_new(log, &calls);
    if (scan == NULL)
        return fault_no_memory(fault);
    snapshot_loader_init(&l.loader, db);
    l.loader.leaves_aside = leaves_aside;
    for (uint64_t n = log_segment_of(log, snapshot->first); n != UINT64_MAX && !l.is_ended; n = log_next_segment(log, n + 1))
        (void)log_scan_segment(scan, n, snapshot->first, 0, NULL);
    log_scan_free(scan);
    snapshot_loader_end(&l.loader, snapshot->parts);
    *torn = l.loader.torn + !l.is_ended;
    return l.loader.has_failed ? fault_temp(fault, ESC(4, 3, 0), "the snapshot cannot be written to a database: %s", sqlite3_errmsg(db)) : RC_OK;
}

static bool put_number_row(sqlite3 *db, const char *key, uint64_t value)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", -1, &s, NULL) == SQLITE_OK
        && sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_bind_int64(s, 2, (sqlite3_int64)value) == SQLITE_OK
        && sqlite3_step(s) == SQLITE_DONE;
    sqlite3_finalize(s);
    return ok;
}

bool verify_write_empty(struct sqlite3 *db, uint64_t segment_bytes)
{
    return checkpoint_write_schema(db) && put_number_row(db, "format", CHECKPOINT_FORMAT) && put_number_row(db, "segment_bytes", segment_bytes)
        && put_number_row(db, "replay_from", LOG_START) && put_number_row(db, "generation", 0);
}

bool verify_put_meta(struct sqlite3 *db, const char *key, uint64_t value) { return put_number_row(db, key, value); }

/* ---- the store from it --------------------------------------------------------------------------------------------------- */

/* Gives nothing when the log cannot do it: that is told when it should be able to. */
void verify_open_from_log(struct verify *v)
{
    const struct store_snapshot *snapshot = &v->store->snapshot;
    struct log *log = v->store->log;
    sqlite3 *db = NULL;
    uint64_t torn = 0;
    struct fault why = { 0 };
    bool is_second_without = v->before != NULL;
    for (size_t i = 0; v->before != NULL && i < v->before->count; i++)
        if (v->before->list[i].kind == VERIFY_INDEX || v->before->list[i].kind == VERIFY_SNAPSHOT)
            is_second_without = false;
    if (is_second_without || !log_has_segment(log, log_segment_of(log, snapshot->as_of)))
        return;                             /* it is not asked for, or an older version has not made one yet */
    bool ok = sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK
        && verify_write_empty(db, log_segment_bytes(log));
    if (ok && snapshot->parts > 0)
        ok = verify_load_snapshot(log, snapshot, db, true, &torn, &why) == RC_OK;
    if (ok && torn > 0) {
        struct verify_finding f = { .kind = VERIFY_SNAPSHOT };
        verify_place(v, snapshot->first, &f);
        verify_found(v, f, "the snapshot in the log is not whole: it could not replace state.db");
    }
    if (!ok || torn > 0 || !verify_make_rider(v->options, &v->log_rider)) {
        sqlite3_close(db);
        return;
    }
    struct store_options options = { .dir = v->options->dir, .files = v->options->files, .rider = v->log_rider, .is_read_only = true };
    struct store_opening how = { .db = db, .is_without_log = true };
    if (store_open_how(&options, &how, &v->from_log, &why) != RC_OK) {
        v->from_log = NULL;
        verify_found(v, (struct verify_finding){ .kind = VERIFY_SNAPSHOT }, "the snapshot in the log cannot be loaded: %s", why.text);
    }
}

/* ---- comparing --------------------------------------------------------------------------------------------------------------- */

struct comparing {
    const struct store *a, *b;
    struct verify_finding place;
    char *text;                     /* what differs first; empty: nothing does */
};

static bool differs(struct comparing *c, const char *what)
{
    snprintf(c->text, 200, "state.db and the log differ: %s", what);
    return true;
}

static bool same_name(const struct name *a, const struct name *b) { return slice_equal(name_slice(a), name_slice(b)); }

static bool keywords_differ(struct comparing *c, const struct mailbox *x, const struct mailbox *y)
{
    uint64_t mask = keyword_visible_mask(c->a, x);
    if (mask != keyword_visible_mask(c->b, y))
        return differs(c, "keywords");
    for (uint32_t bit = 0; bit < KEYWORDS_MAX; bit++)
        if ((mask >> bit & 1) != 0 && !same_name(&x->keywords[bit].name, &y->keywords[bit].name))
            return differs(c, "names of keywords");
    return false;
}

/* Many ranges are joined when there are too many, and when that is depends on the time of checkpoints: then only what they cover counts. */
static bool vanished_differ(struct comparing *c, const struct mailbox *x, const struct mailbox *y)
{
    struct uid_set sets[2];
    const struct mailbox *of[2] = { x, y };
    for (size_t i = 0; i < 2; i++) {
        uid_set_init(&sets[i]);
        for (size_t k = 0; k < of[i]->vanished_count; k++)
            need(uid_set_add(&sets[i], of[i]->vanished[k].first, of[i]->vanished[k].last) ? &sets : NULL);
    }
    bool same = sets[0].count == sets[1].count
        && (sets[0].count == 0 || memcmp(sets[0].ranges, sets[1].ranges, sets[0].count * sizeof sets[0].ranges[0]) == 0);
    uid_set_free(&sets[0]);
    uid_set_free(&sets[1]);
    return same ? false : differs(c, "what vanished");
}

static bool rows_differ(struct comparing *c, const struct mailbox *x, const struct mailbox *y)
{
    if (x->numbering->total != y->numbering->total)
        return differs(c, "number of messages");
    for (uint32_t seq = 1; seq <= x->numbering->total; seq++) {
        const struct store_message *r = numbering_row(x->numbering, seq, NULL), *s = numbering_row(y->numbering, seq, NULL);
        c->place.uid = r->uid;
        if (r->uid != s->uid || r->body_id != s->body_id || r->size != s->size)
            return differs(c, "the message");
        if (r->flags != s->flags || r->keywords != s->keywords || r->modseq != s->modseq)
            return differs(c, "flags");
        if (r->internal_s != s->internal_s || r->internal_zone_min != s->internal_zone_min)
            return differs(c, "the date");
    }
    c->place.uid = 0;
    return false;
}

static bool mailbox_differs(struct comparing *c, const struct mailbox *x)
{
    const struct mailbox *y = mailbox_get(c->b, x->id);
    c->place = (struct verify_finding){ .kind = VERIFY_INDEX, .account = x->account->id, .mailbox_id = x->id, .mailbox = name_slice(&x->name) };
    if (y == NULL)
        return differs(c, "the mailbox is only in state.db");
    if (!same_name(&x->name, &y->name) || x->account->id != y->account->id || x->special != y->special || x->is_noselect != y->is_noselect)
        return differs(c, "the mailbox's name, owner or use");
    /* What is recent is no promise (RFC 3501 2.3.2): who was told of it may have been told though its record could not be written. */
    if (x->uidvalidity != y->uidvalidity || x->uidnext != y->uidnext || x->modseq != y->modseq)
        return differs(c, "UIDVALIDITY, UIDNEXT or the highest modseq");
    return keywords_differ(c, x, y) || vanished_differ(c, x, y) || rows_differ(c, x, y);
}

static bool accounts_differ(struct comparing *c)
{
    size_t at = 0;
    uint64_t id;
    for (const struct account *x; (x = map_next_u64(&c->a->accounts, &at, &id)) != NULL;) {
        const struct account *y = account_get(c->b, id);
        c->place = (struct verify_finding){ .kind = VERIFY_INDEX, .account = id };
        if (y == NULL)
            return differs(c, "the account is only in state.db");
        if (x->subscribed_count != y->subscribed_count)
            return differs(c, "subscriptions");
        for (size_t i = 0; i < x->subscribed_count; i++)
            if (!same_name(&x->subscribed[i], &y->subscribed[i]))
                return differs(c, "subscriptions");
    }
    c->place = (struct verify_finding){ .kind = VERIFY_INDEX };
    return c->a->account_count == c->b->account_count && c->a->mailbox_count == c->b->mailbox_count
        ? false : differs(c, "an account or mailbox is only in the log");
}

static bool bodies_differ(struct comparing *c)
{
    const struct body_table *t = &c->a->bodies;
    c->place = (struct verify_finding){ .kind = VERIFY_INDEX };
    if (t->count != c->b->bodies.count)
        return differs(c, "number of bodies");
    for (size_t i = 0; i < t->cap; i++) {
        const struct placed *p, *q = map_get_u64(&c->b->bodies.placed, t->slots[i].id);
        if (t->slots[i].id == 0)
            continue;
        p = map_get_u64(&t->placed, t->slots[i].id);
        if ((p == NULL) != (q == NULL) || (p != NULL && (p->count != q->count || memcmp(p->positions, q->positions, p->count * sizeof p->positions[0]) != 0)))
            return differs(c, "where a body stands");
    }
    return false;
}

/* ---- what rides on it ---- */

struct ridden {
    uint64_t key;
    uint64_t sum, len;              /* of the row */
};

struct ridden_list {
    struct ridden *list;
    size_t count, cap;
};

static void note_row(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size)
{
    static const uint64_t seed[2] = { 1, 2 };
    struct ridden_list *r = arg;
    if (r->count == r->cap) {
        r->cap = r->cap == 0 ? 64 : r->cap * 2;
        r->list = need(realloc(r->list, r->cap * sizeof *r->list));
    }
    r->list[r->count++] = (struct ridden){ key, siphash(seed, row) ^ body_id * 31 ^ body_size, row.len };
}

static int ridden_order(const void *a, const void *b)
{
    const struct ridden *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static bool riders_differ(struct comparing *c, const struct store_rider *x, const struct store_rider *y)
{
    struct ridden_list lists[2] = { 0 };
    if (x->each == NULL)
        return false;
    x->each(x->self, note_row, &lists[0]);
    y->each(y->self, note_row, &lists[1]);
    for (size_t i = 0; i < 2; i++)
        if (lists[i].count > 0)
            qsort(lists[i].list, lists[i].count, sizeof *lists[i].list, ridden_order);
    size_t least = lists[0].count < lists[1].count ? lists[0].count : lists[1].count, at = 0;
    while (at < least && memcmp(&lists[0].list[at], &lists[1].list[at], sizeof lists[0].list[at]) == 0)
        at++;
    bool differ = at < lists[0].count || at < lists[1].count;
    if (differ)
        c->place = (struct verify_finding){ .kind = VERIFY_INDEX, .entry = at < lists[0].count ? lists[0].list[at].key : lists[1].list[at].key };
    free(lists[0].list);
    free(lists[1].list);
    return differ ? differs(c, "a message in the queue") : false;
}

bool verify_differ(const struct store *a, const struct store *b, const struct store_rider *x, const struct store_rider *y,
                   struct verify_finding *place, char text[200])
{
    struct comparing c = { .a = a, .b = b, .text = text };
    bool differ = accounts_differ(&c);
    size_t at = 0;
    uint64_t id;
    for (const struct mailbox *m; !differ && (m = map_next_u64(&a->mailboxes, &at, &id)) != NULL;)
        differ = mailbox_differs(&c, m);
    differ = differ || bodies_differ(&c) || riders_differ(&c, x, y);
    *place = c.place;
    return differ;
}

/* Only when the log could be read from the snapshot's position to its end. */
void verify_compare(struct verify *v)
{
    struct verify_finding place;
    char text[200];
    if (v->from_log == NULL)
        return;
    for (size_t i = 0; i < v->damaged_count; i++)
        if (v->damaged[i].position + v->damaged[i].bytes > v->store->snapshot.as_of)
            return;
    if (v->from_log->applied_position != v->known)
        return;                             /* a segment was used anew meanwhile */
    v->figures.is_compared = true;
    if (verify_differ(v->store, v->from_log, &v->rider, &v->log_rider, &place, text)) {
        place.file = SLICE("state.db");
        verify_found(v, place, "%s", text);
    }
}
