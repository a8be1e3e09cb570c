/* Repairing: the way from a damaged folder to a store that verify finds nothing in. See verify.h.
 *
 *   1. What does the log have, is state.db good, do they agree? Else state.db is made anew (repair_state.c).
 *   2. The store is opened; replay passes over what is damaged.
 *   3. Messages and queue entries whose bodies cannot be read are taken out, and told.
 *   4. Damaged segments are emptied, so that nothing stands beside damage.
 *   5. A checkpoint and a snapshot: from here on no damage is between what is needed.
 * Interrupted at any point it can be begun again. */
#include "store/repair_inner.h"

#include "store/log_inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { UID_GAP = 1000 };        /* UIDs and modseqs that may have been given in records that are lost (S3, S4) */

static void tell_all(struct repair *r)
{
    struct verify_findings *all = &r->verify.findings;
    for (size_t i = 0; i < all->count; i++)
        r->options->found(r->options->arg, &all->list[i]);
    all->count = 0;
}

static void add_range(struct verify *v, uint64_t position, uint64_t bytes)
{
    if (v->damaged_count == v->damaged_cap) {
        v->damaged_cap = v->damaged_cap == 0 ? 8 : v->damaged_cap * 2;
        v->damaged = need(realloc(v->damaged, v->damaged_cap * sizeof *v->damaged));
    }
    v->damaged[v->damaged_count++] = (struct verify_range){ position, bytes };
}

/* ---- 1: does state.db agree with the log? ------------------------------------------------------------------------------- */

static enum rc compare(struct repair *r, struct fault *fault)
{
    struct verify v;
    struct verify_finding place;
    char text[200];
    verify_init(&v, r->options);
    verify_make_rider(r->options, &v.rider);
    struct store_options options = { .dir = r->options->dir, .files = r->options->files, .rider = v.rider, .is_read_only = true };
    enum rc rc = store_open(&options, &v.store, fault);
    if (rc == RC_OK) {
        v.known = v.store->applied_position;
        v.segment_bytes = r->segment_bytes;
        verify_open_from_log(&v);
        rc = verify_read_log(&v, v.store->log, fault);
    }
    bool can = rc == RC_OK && v.from_log != NULL && v.from_log->applied_position == v.known;
    for (size_t i = 0; can && i < v.damaged_count; i++)
        can = v.damaged[i].position + v.damaged[i].bytes <= v.store->snapshot.as_of;
    if (can && verify_differ(v.store, v.from_log, &v.rider, &v.log_rider, &place, text)) {
        r->is_state_good = false;
        place.file = SLICE("state.db");
        verify_found(&r->verify, place, "%s: it was made anew from the log", text);
    }
    verify_free(&v);
    return rc == RC_TEMP ? rc : RC_OK;      /* what cannot be opened now may be so with what is damaged passed over */
}

/* ---- 2: opening ----------------------------------------------------------------------------------------------------------- */

static void on_damage(void *arg, uint64_t position, uint64_t bytes)
{
    struct repair *r = arg;
    add_range(&r->verify, position, bytes);
}

/* A damaged record that still says which messages it was for: they are lost, unless state.db knew them. */
static void tell_lost_messages(struct repair *r, struct store *store, uint64_t position, struct slice payload)
{
    struct op op;
    while (op_next(&payload, &op) == RC_OK) {
        struct reader in = { .in = op.body };
        struct store_message row;
        if (op.tag != OP_MESSAGE)
            continue;
        struct mailbox *m = mailbox_get(store, read_u64(&in));
        op_read_message(&in, &row);
        if (in.bad || m == NULL || numbering_find(m->numbering, row.uid, NULL) != NULL)
            continue;
        struct verify_finding f = { .kind = VERIFY_MESSAGE, .account = m->account->id, .mailbox_id = m->id, .mailbox = name_slice(&m->name), .uid = row.uid };
        verify_place(&r->verify, position, &f);
        verify_found(&r->verify, f, "its record is damaged: as far as can be read it was this message; it is lost");
        r->figures->lost_messages++;
    }
}

static void tell_lost_record(struct repair *r, struct store *store, const struct verify_range *range)
{
    const struct file_ops *f = r->options->files;
    char path[LOG_PATH_MAX + 32], head[LOG_HEADER_BYTES];
    struct log_header h;
    uint64_t number = log_segment_of(store->log, range->position), offset = range->position % r->segment_bytes;
    log_segment_path(store->log, number, path);
    int fd = f->open(f->self, path, false, true);
    if (fd < 0)
        return;
    if (f->read_at(f->self, fd, head, sizeof head, offset) == LOG_HEADER_BYTES && log_header_parse(head, &h) && h.position == range->position
        && h.length + LOG_HEADER_BYTES <= range->bytes) {
        char *payload = need(malloc((size_t)h.length + 1));
        if (f->read_at(f->self, fd, payload, h.length, offset + LOG_HEADER_BYTES) == (int64_t)h.length)
            tell_lost_messages(r, store, range->position, (struct slice){ payload, h.length });
        free(payload);
    }
    f->close(f->self, fd);
}

/* Replay has passed over damage: what was given there is not given again. */
static void leave_gaps(struct store *store)
{
    size_t at = 0;
    uint64_t id;
    for (struct mailbox *m; (m = map_next_u64(&store->mailboxes, &at, &id)) != NULL;) {
        mailbox_touch(store, m);
        m->uidnext = m->reserved_uid = m->uidnext < UINT32_MAX - UID_GAP ? m->uidnext + UID_GAP : m->uidnext;
        m->modseq = m->reserved_modseq = m->modseq + UID_GAP;
    }
    store->reserved_mailbox_id += UID_GAP;
    store->reserved_uidvalidity += UID_GAP;
}

static enum rc open_store(struct repair *r, struct fault *fault)
{
    struct verify *v = &r->verify;
    struct store_options options = { .dir = r->options->dir, .files = r->options->files, .rider = v->rider,
                                     .keep_expunged_s = r->options->keep_expunged_s };
    struct store_opening how = { .damage = on_damage, .arg = r };
    enum rc rc = store_open_how(&options, &how, &v->store, fault);
    if (rc != RC_OK)
        return rc;
    v->known = v->store->applied_position;
    v->segment_bytes = r->segment_bytes;
    for (size_t i = 0; i < v->damaged_count; i++)
        tell_lost_record(r, v->store, &v->damaged[i]);
    if (v->damaged_count > 0)
        leave_gaps(v->store);
    v->damaged_count = 0;               /* found once more when all of the log is read */
    return RC_OK;
}

/* ---- 3: what cannot be read ------------------------------------------------------------------------------------------------- */

static enum rc lose_messages(struct repair *r, struct mailbox *m, struct fault *fault)
{
    struct verify *v = &r->verify;
    struct uid_set lost;
    uint64_t wait;
    uid_set_init(&lost);
    for (uint32_t seq = 1; seq <= m->numbering->total; seq++) {
        const struct store_message *row = numbering_row(m->numbering, seq, NULL);
        const struct verify_bad *bad = verify_bad_body(v, row->body_id);
        if (bad == NULL)
            continue;
        struct verify_finding f = { .kind = VERIFY_MESSAGE, .account = m->account->id, .mailbox_id = m->id, .mailbox = name_slice(&m->name), .uid = row->uid };
        verify_place(v, bad->position, &f);
        verify_found(v, f, "its body of %" PRIu32 " bytes cannot be read: it was taken out of the mailbox", row->size);
        need(uid_set_add(&lost, row->uid, row->uid) ? m : NULL);
    }
    enum rc rc = RC_OK;
    r->figures->lost_messages += uid_set_size(&lost);
    if (lost.count > 0) {
        uint32_t keep_s = v->store->options.keep_expunged_s;
        v->store->options.keep_expunged_s = 0;          /* nobody can bring these back */
        rc = store_expunge(v->store, m->id, &lost, true, NULL, &wait, fault);
        v->store->options.keep_expunged_s = keep_s;
    }
    if (rc == RC_OK && lost.count > 0)
        rc = store_wait(v->store, wait);
    uid_set_free(&lost);
    return rc;
}

struct losing {
    struct repair *repair;
    uint64_t *keys;
    size_t count, cap;
};

static void note_lost_entry(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size)
{
    struct losing *l = arg;
    struct verify *v = &l->repair->verify;
    const struct verify_bad *bad = body_id == 0 ? NULL : verify_bad_body(v, body_id);
    (void)row;
    if (bad == NULL)
        return;
    struct verify_finding f = { .kind = VERIFY_ENTRY, .entry = key };
    verify_place(v, bad->position, &f);
    verify_found(v, f, "its body of %" PRIu64 " bytes cannot be read: it was taken out of the queue", body_size);
    need(push_u64(&l->keys, &l->count, &l->cap, key) ? l : NULL);
}

static enum rc lose_entries(struct repair *r, struct fault *fault)
{
    const struct store_rider *rider = &r->verify.rider;
    struct losing l = { .repair = r };
    enum rc rc = RC_OK;
    if (rider->each == NULL || rider->lose == NULL)
        return RC_OK;
    rider->each(rider->self, note_lost_entry, &l);
    for (size_t i = 0; i < l.count && rc == RC_OK; i++) {
        uint64_t wait;
        rc = rider->lose(rider->self, l.keys[i], r->now_ms, &wait, fault);
        if (rc == RC_OK)
            rc = store_wait(r->verify.store, wait);
        r->figures->lost_entries += rc == RC_OK;
    }
    free(l.keys);
    return rc;
}

struct losing_kept {
    struct repair *repair;
    uint64_t before;                /* the newest batch with a body that cannot be read, and one more */
};

static bool note_lost_kept(void *arg, const struct store_kept *kept)
{
    struct losing_kept *l = arg;
    struct verify *v = &l->repair->verify;
    for (size_t i = 0; i < kept->count; i++) {
        const struct verify_bad *bad = verify_bad_body(v, kept->rows[i].body_id);
        if (bad == NULL)
            continue;
        struct verify_finding f = { .kind = VERIFY_KEPT, .account = kept->account, .mailbox_id = kept->mailbox_id, .uid = kept->rows[i].uid };
        verify_place(v, bad->position, &f);
        verify_found(v, f, "it was expunged, and its body cannot be read: it and what was expunged before it can not be brought back any more");
        l->before = kept->number + 1;
    }
    return true;
}

/* Keeps K3: forgetting is a prefix. */
static enum rc lose_kept(struct repair *r, struct fault *fault)
{
    struct losing_kept l = { .repair = r };
    uint64_t wait;
    enum rc rc = store_kept_each(r->verify.store, 0, note_lost_kept, &l, fault);
    if (rc != RC_OK || l.before == 0)
        return rc;
    rc = kept_forget_before(r->verify.store, l.before, &wait, fault);
    return rc == RC_OK ? store_wait(r->verify.store, wait) : rc;
}

static enum rc take_out(struct repair *r, struct fault *fault)
{
    struct verify *v = &r->verify;
    v->figures.bytes = v->total_bytes = 0;
    verify_gather_parts(v);
    enum rc rc = verify_read_log(v, v->store->log, fault);
    if (rc != RC_OK)
        return rc;
    verify_gather_bad(v);
    r->figures->damaged = v->damaged_count;
    size_t at = 0;
    uint64_t id;
    for (struct mailbox *m; rc == RC_OK && v->bad_count > 0 && (m = map_next_u64(&v->store->mailboxes, &at, &id)) != NULL;)
        rc = lose_messages(r, m, fault);
    if (rc == RC_OK && v->bad_count > 0)
        rc = lose_entries(r, fault);
    return rc == RC_OK && v->bad_count > 0 ? lose_kept(r, fault) : rc;
}

/* ---- 4 and 5: away from what is damaged ---------------------------------------------------------------------------------------- */

static enum rc empty_damaged(struct repair *r, struct fault *fault)
{
    struct store *store = r->verify.store;
    enum rc rc = log_begin_segment(store->log, fault);
    for (size_t i = 0; i < r->verify.damaged_count && rc == RC_OK; i++) {
        uint64_t segment = log_segment_of(store->log, r->verify.damaged[i].position);
        if (bodies_live(store, segment) > 0)
            rc = compact_segment(store, segment, fault);
    }
    return rc;
}

static bool needs_damaged(const struct repair *r)
{
    struct store *store = r->verify.store;
    for (size_t i = 0; i < r->verify.damaged_count; i++)
        if (log_segment_of(store->log, r->verify.damaged[i].position) >= store_first_needed(store))
            return true;
    return false;
}

/* When nothing was taken out or moved, nothing stands behind the damage yet, and a snapshot is as of a place before it: the next one, as of
 * the first one's end, lets go of it. */
static enum rc settle(struct repair *r, struct fault *fault)
{
    struct store *store = r->verify.store;
    enum rc rc = RC_OK;
    for (int times = 0; rc == RC_OK && times < 2 && (times == 0 || needs_damaged(r)); times++) {
        rc = checkpoint_all(store, fault);
        if (rc == RC_OK)
            rc = snapshot_all(store, fault);
    }
    if (rc == RC_OK)
        rc = checkpoint_all(store, fault);
    r->figures->messages = store->message_count;
    verify_name_messages(&r->verify);
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

/* Held only while nothing has the store open: opening takes it itself. */
static enum rc look_for_server(const struct verify_options *options, struct fault *fault)
{
    const struct file_ops *f = options->files;
    char path[LOG_PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/lock", options->dir);
    int fd = f->open(f->self, path, true, false);
    if (fd < 0)
        return fault_errno(fault, -fd, "cannot open %s", path);
    int error = f->lock(f->self, fd);
    f->close(f->self, fd);
    return error < 0 ? fault_perm(fault, 0, "%s is in use: repairing needs it alone. Stop the server first", options->dir) : RC_OK;
}

static enum rc repair(struct repair *r, struct fault *fault)
{
    enum rc rc = repair_survey(r, fault);
    if (rc == RC_OK && r->is_state_good)
        rc = compare(r, fault);
    if (rc == RC_OK && !r->is_state_good)
        rc = repair_rebuild(r, fault);
    if (rc != RC_OK)
        return rc;
    if (!verify_make_rider(r->options, &r->verify.rider))
        return fault_no_memory(fault);
    rc = open_store(r, fault);
    if (rc == RC_OK)
        rc = take_out(r, fault);
    if (rc == RC_OK && r->verify.damaged_count > 0)
        rc = empty_damaged(r, fault);
    if (rc == RC_OK)
        rc = settle(r, fault);
    return rc;
}

enum rc store_repair(const struct verify_options *options, int64_t now_ms, struct repair_figures *figures, struct fault *fault)
{
    struct repair r = { .options = options, .figures = figures, .now_ms = now_ms };
    *figures = (struct repair_figures){ 0 };
    enum rc rc = look_for_server(options, fault);
    if (rc != RC_OK)
        return rc;
    verify_init(&r.verify, options);
    rc = repair(&r, fault);
    tell_all(&r);
    verify_free(&r.verify);
    return rc;
}
