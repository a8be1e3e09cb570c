/* Mailboxes and accounts in memory as state.db and the log gave them, and state.db as SQLite sees it. See verify.h. */
#include "store/verify_inner.h"

#include "os/sealed.h"

#include <inttypes.h>
#include <stdlib.h>

struct checking {
    struct verify *verify;
    const struct mailbox *mailbox;
    struct verify_finding place;
};

static void wrong(struct checking *c, uint32_t uid, const char *text)
{
    struct verify_finding f = c->place;
    f.uid = uid;
    verify_found(c->verify, f, "%s", text);
}

/* Keeps S3 and S4 looked at: one message, and the one before it. */
static void check_row(struct checking *c, const struct store_message *row, uint32_t before, uint64_t keywords)
{
    const struct mailbox *m = c->mailbox;
    if (row->uid <= before)
        wrong(c, row->uid, "its UID does not rise");
    if (row->uid >= m->uidnext)
        wrong(c, row->uid, "its UID is not below UIDNEXT");
    if (row->modseq == 0 || row->modseq > m->modseq)
        wrong(c, row->uid, "its modseq is above the mailbox's highest");
    if ((row->flags & ~FLAG_SYSTEM_MASK) != 0)
        wrong(c, row->uid, "it has flags that do not exist");
    if ((row->keywords & ~keywords) != 0)
        wrong(c, row->uid, "it has keywords that the mailbox has no names for");
    if (row->body_id == 0)
        wrong(c, row->uid, "it has no body");
}

static void check_rows(struct checking *c)
{
    const struct mailbox *m = c->mailbox;
    const struct numbering *n = m->numbering;
    uint64_t keywords = keyword_visible_mask(c->verify->store, m), bytes = 0;
    uint32_t before = 0, total = 0;
    for (size_t i = 0; i < n->count; i++) {
        const struct run *run = n->entries[i].run;
        uint32_t unseen = 0;
        for (uint32_t row = 0; row < run->count; row++) {
            const struct store_message *r = &run->rows[row];
            check_row(c, r, before, keywords);
            before = r->uid;
            bytes += r->size;
            unseen += (r->flags & FLAG_SEEN) == 0;
            if (r->modseq > run->max_modseq)
                wrong(c, r->uid, "its modseq is above its run's highest");
        }
        if (n->entries[i].start != total)
            wrong(c, 0, "messages are numbered wrongly");
        total += run->count;
        if (unseen != run->unseen)
            wrong(c, 0, "unseen messages are counted wrongly");
    }
    if (total != n->total)
        wrong(c, 0, "messages are counted wrongly");
    if (bytes != m->size_bytes)
        wrong(c, 0, "sizes are added up wrongly");
}

/* What vanished is in order of modseq and not there any more. */
static void check_vanished(struct checking *c)
{
    const struct mailbox *m = c->mailbox;
    uint64_t modseq = 0;
    for (size_t i = 0; i < m->vanished_count; i++) {
        const struct vanished *x = &m->vanished[i];
        uint32_t total = m->numbering->total;
        if (x->first == 0 || x->last < x->first || x->last >= m->uidnext)
            wrong(c, x->first, "what vanished is no range of UIDs that were given");
        else if (numbering_seq(m->numbering, total, x->first) != numbering_seq(m->numbering, total, x->last + 1))
            wrong(c, x->first, "it counts as vanished and is there");
        if (x->modseq < modseq || x->modseq > m->modseq)
            wrong(c, x->first, "what vanished is not in the order of modseqs");
        modseq = x->modseq;
    }
}

static void check_mailbox(struct checking *c)
{
    const struct mailbox *m = c->mailbox;
    check_rows(c);
    check_vanished(c);
    if (m->uidnext == 0 || m->uidvalidity == 0 || m->uidvalidity > c->verify->store->reserved_uidvalidity)
        wrong(c, 0, "UIDNEXT or UIDVALIDITY is not one that was given");
    if (m->id >= c->verify->store->reserved_mailbox_id)
        wrong(c, 0, "the mailbox's number is not one that was given");
    if (m->recent_uid > m->uidnext)
        wrong(c, 0, "its recent messages begin behind its last one");
    if (m->is_noselect && m->numbering->total > 0)
        wrong(c, 0, "it cannot be selected and has messages");
}

/* In the order of listings, each name once, and UIDVALIDITY once in the store: a mailbox that is made anew is never taken for the old one. */
static void check_account(struct verify *v, const struct account *a)
{
    for (size_t i = 0; i < a->count; i++) {
        struct mailbox *m = a->mailboxes[i];
        struct checking c = { v, m, { .kind = VERIFY_MAILBOX, .account = a->id, .mailbox_id = m->id, .mailbox = name_slice(&m->name) } };
        check_mailbox(&c);
        if (mailbox_get(v->store, m->id) != m)
            wrong(&c, 0, "the mailbox cannot be found by its number");
        if (i > 0 && name_order(name_slice(&a->mailboxes[i - 1]->name), name_slice(&m->name)) >= 0)
            wrong(&c, 0, "mailboxes are not in order, or two have one name");
    }
}

struct validity {
    uint32_t uidvalidity;
    const struct mailbox *mailbox;
};

static int validity_order(const void *a, const void *b)
{
    const struct validity *x = a, *y = b;
    return x->uidvalidity < y->uidvalidity ? -1 : x->uidvalidity > y->uidvalidity;
}

static void check_validities(struct verify *v)
{
    struct validity *all = need(calloc(v->store->mailbox_count + 1, sizeof *all));
    size_t at = 0, count = 0;
    uint64_t id;
    for (struct mailbox *m; (m = map_next_u64(&v->store->mailboxes, &at, &id)) != NULL;)
        all[count++] = (struct validity){ m->uidvalidity, m };
    qsort(all, count, sizeof *all, validity_order);
    for (size_t i = 1; i < count; i++)
        if (all[i].uidvalidity == all[i - 1].uidvalidity) {
            const struct mailbox *m = all[i].mailbox;
            verify_found(v, (struct verify_finding){ .kind = VERIFY_MAILBOX, .account = m->account->id, .mailbox_id = m->id, .mailbox = name_slice(&m->name) },
                         "another mailbox has its UIDVALIDITY %" PRIu32, m->uidvalidity);
        }
    free(all);
}

void verify_mailboxes(struct verify *v)
{
    size_t at = 0, listed = 0;
    uint64_t id;
    for (struct account *a; (a = map_next_u64(&v->store->accounts, &at, &id)) != NULL;) {
        check_account(v, a);
        listed += a->count;
    }
    if (listed != v->store->mailbox_count)
        verify_found(v, (struct verify_finding){ .kind = VERIFY_MAILBOX }, "a mailbox is in no account's list");
    check_validities(v);
}

/* ---- state.db ----------------------------------------------------------------------------------------------------------- */

static void check_integrity(struct verify *v, sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(20)", -1, &s, NULL) != SQLITE_OK) {
        verify_found(v, (struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("state.db") }, "%s", sqlite3_errmsg(db));
        return;
    }
    int code;
    uint64_t line = 0;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        struct slice text = checkpoint_column(s, 0);
        if (!slice_equal(text, SLICE("ok")))
            verify_found(v, (struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("state.db"), .offset = line++ }, "SQLite says: %.*s",
                         SLICE_ARG(slice_sub(text, 0, 200)));
    }
    if (code != SQLITE_DONE)
        verify_found(v, (struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("state.db") }, "%s", sqlite3_errmsg(db));
    sqlite3_finalize(s);
}

static void check_aside_rows(struct verify *v, sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    if (v->rider.is_good_row == NULL || sqlite3_prepare_v2(db, "SELECT key, row FROM rider", -1, &s, NULL) != SQLITE_OK)
        return;
    while (sqlite3_step(s) == SQLITE_ROW) {
        uint64_t key = (uint64_t)sqlite3_column_int64(s, 0);
        if (!v->rider.is_good_row(v->rider.self, key, checkpoint_column(s, 1)))
            verify_found(v, (struct verify_finding){ .kind = VERIFY_ENTRY, .file = SLICE("state.db"), .entry = key & ~STORE_RIDER_ASIDE },
                         key >= STORE_RIDER_ASIDE ? "its history makes no sense" : "its row makes no sense");
    }
    sqlite3_finalize(s);
}

/* ---- names ------------------------------------------------------------------------------------------------------------------ */

enum { NAMED_MAX = 1000 };      /* findings: with more of them the disk has other worries than names */

struct naming {
    struct verify_findings *findings;
    uint64_t id;                    /* of the history that is read */
};

static void on_delivery(void *arg, uint64_t account, struct slice mailbox, uint32_t uid)
{
    const struct naming *n = arg;
    for (size_t i = 0; i < n->findings->count; i++) {
        struct verify_finding *f = &n->findings->list[i];
        if (f->kind == VERIFY_MESSAGE && f->entry == 0 && f->account == account && f->uid == uid && slice_equal_nocase(f->mailbox, mailbox))
            f->entry = n->id;
    }
}

void verify_name_messages(struct verify *v)
{
    struct naming n = { .findings = &v->findings };
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    size_t messages = 0;
    for (size_t i = 0; i < v->findings.count; i++)
        messages += v->findings.list[i].kind == VERIFY_MESSAGE;
    if (messages == 0 || messages > NAMED_MAX || v->rider.deliveries == NULL)
        return;
    if (sqlite3_open_v2(v->store->checkpoint->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, sealed_vfs()) == SQLITE_OK
        && sqlite3_prepare_v2(db, "SELECT key, row FROM rider WHERE key >= ?1", -1, &s, NULL) == SQLITE_OK
        && sqlite3_bind_int64(s, 1, (sqlite3_int64)STORE_RIDER_ASIDE) == SQLITE_OK)
        while (sqlite3_step(s) == SQLITE_ROW) {
            n.id = (uint64_t)sqlite3_column_int64(s, 0) & ~STORE_RIDER_ASIDE;
            v->rider.deliveries(v->rider.self, checkpoint_column(s, 1), on_delivery, &n);
        }
    sqlite3_finalize(s);
    sqlite3_close(db);
}

/* ---- state.db by itself ------------------------------------------------------------------------------------------------------- */

/* With a connection of its own: the store's may stand in a transaction. */
void verify_database(struct verify *v)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(v->store->checkpoint->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, sealed_vfs()) == SQLITE_OK) {
        sqlite3_busy_timeout(db, 5000);
        check_integrity(v, db);
        check_aside_rows(v, db);
    }
    sqlite3_close(db);
}
