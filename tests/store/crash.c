/* The power goes at every call, and every call fails once.
 *
 * A workload is a list of steps, each of which hands over one record. Without faults it is run once, and the whole state
 * is written down after every step. Then the power goes at call number n, for every n, and what was not synced is lost,
 * kept or torn by chance: the store that is opened then must be in the state after the last acknowledged step or after
 * one of those that were handed over behind it. Nothing else: no loss, no ghost, no half of a step.
 * The calls are those of the log and those that SQLite makes for the checkpoint: both are on the same disk. */
#include "os/wake.h"
#include "sim/disk.h"
#include "store/verify.h"
#include "support.h"

#include "store/kept.h"

#include <errno.h>

#define NEVER UINT64_MAX
enum { STEPS = 136, SMALL_SEGMENT = 32 << 10, STATE_MAX = 1 << 20 };
enum { KEEP_S = 300 };               /* of 1160 that pass: what is expunged is forgotten before the end, and segments are emptied */

struct rider {
    struct buf state;               /* of the model rider: its operations, one behind the other */
    bool is_changed;
    unsigned saves;                 /* each third fails, and with it the checkpoint */
};

static void rider_apply(void *self, struct store *store, struct slice op, uint64_t body_id, uint64_t body_size)
{
    struct rider *r = self;
    (void)store;
    buf_printf(&r->state, "%.*s/%d/%llu ", SLICE_ARG(op), body_id != 0, (unsigned long long)body_size);
    r->is_changed = true;
}

static enum rc rider_save(void *self, struct store *store, struct fault *fault)
{
    struct rider *r = self;
    if (++r->saves % 3 == 2)
        return RC_TEMP;
    if (!r->is_changed)
        return RC_OK;
    r->is_changed = false;
    return store_rider_put(store, 1, buf_slice(&r->state), fault);
}

static void rider_load(void *self, struct store *store, uint64_t key, struct slice row)
{
    struct rider *r = self;
    (void)store;
    CHECK_INT(key, 1);
    buf_clear(&r->state);
    buf_append(&r->state, row);
}

/* With a disk that is nearly full expunged messages are given up early, and segments are emptied all the time. */
static bool is_nearly_full;
static int64_t nearly_full(void *self, const char *path)
{
    (void)self, (void)path;
    return 4 * SMALL_SEGMENT;
}

struct run {
    struct disk *disk;
    struct file_ops ops;
    struct store *store;
    struct rider rider;
    int64_t now_ms;
};

static bool run_open(struct run *run, struct fault *fault)
{
    struct store_options options = {
        .dir = "/store", .files = &run->ops, .segment_bytes = SMALL_SEGMENT, .hash_seed = { 3, 4 }, .keep_expunged_s = KEEP_S,
        .rider = { .self = &run->rider, .apply = rider_apply, .save = rider_save, .load = rider_load },
    };
    buf_clear(&run->rider.state);
    run->rider.is_changed = false;
    bool ok = store_open(&options, &run->store, fault) == RC_OK;
    if (ok)
        store_poll(run->store, run->now_ms);
    return ok;
}

static struct disk *current_disk;               /* the one that SQLite means */
static struct disk *current(void) { return current_disk; }

static void run_init(struct run *run, uint64_t seed)
{
    *run = (struct run){ .disk = disk_new(seed, 0, true), .now_ms = 1000 };
    current_disk = run->disk;
    run->ops = disk_ops(run->disk);
    if (is_nearly_full)
        run->ops.free_bytes = nearly_full;
    buf_init(&run->rider.state, STATE_MAX);
    CHECK_INT(disk_make_dir(run->disk, "/store", 0700), 0);
    disk_power_cut(run->disk, DISK_LOSE_NOTHING);       /* the folder itself is there for good */
}

static void run_free(struct run *run)
{
    buf_free(&run->rider.state);
    disk_free(run->disk);
}

/* ---- the state, written down ---- */

static void write_body(struct store *store, const struct store_message *m, struct buf *out)
{
    char *bytes = malloc(m->size + 1);
    struct fault fault = { 0 };
    if (store_read(store, m->body_id, 0, m->size, bytes, &fault) != RC_OK)
        buf_printf(out, " UNREADABLE %s", fault.text);
    uint64_t sum = 14695981039346656037u;
    for (uint32_t i = 0; i < m->size; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * 1099511628211u;
    buf_printf(out, " %u:%016llx\n", m->size, (unsigned long long)sum);
    free(bytes);
}

static void write_mailbox(struct store *store, const struct store_mailbox_info *info, struct buf *out)
{
    buf_printf(out, "%.*s id %llu special %d sub %d children %d noselect %d validity %u next %u modseq %llu messages %u unseen %u size %llu",
               SLICE_ARG(info->name), (unsigned long long)info->id, info->special, info->is_subscribed, info->has_children, info->is_noselect,
               info->uidvalidity, info->uidnext, (unsigned long long)info->highest_modseq, info->messages, info->unseen,
               (unsigned long long)info->size_bytes);
    for (size_t i = 0; i < info->keyword_count; i++)
        buf_printf(out, " %.*s", SLICE_ARG(info->keywords[i]));
    struct uid_set vanished;
    uid_set_init(&vanished);
    (void)store_vanished(store, info->id, 0, &vanished);
    buf_printf(out, " vanished ");
    uid_set_write(&vanished, out);
    uid_set_free(&vanished);
    buf_printf(out, "\n");
    struct store_view *view;
    if (info->id == 0 || info->is_noselect || store_view_open(store, info->id, true, &view, NULL) != RC_OK)
        return;
    for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
        struct store_message m;
        store_view_at(view, seq, &m);
        buf_printf(out, "  %u modseq %llu flags %u keywords %llx date %lld %d body", m.uid, (unsigned long long)m.modseq, m.flags,
                   (unsigned long long)m.keywords, (long long)m.internal_s, m.internal_zone_min);
        write_body(store, &m, out);
    }
    store_view_close(view);
}

static void write_state(struct run *run, struct buf *out)
{
    buf_clear(out);
    for (uint64_t account = 1; account <= 2; account++) {
        struct store_mailbox_info info;
        char name[MAILBOX_NAME_MAX];
        buf_printf(out, "account %llu %d\n", (unsigned long long)account, store_account_exists(run->store, account));
        for (struct slice after = SLICE_NONE; store_mailbox_next(run->store, account, after, &info) == RC_OK;) {
            memcpy(name, info.name.ptr, info.name.len);
            after = (struct slice){ name, info.name.len };
            write_mailbox(run->store, &info, out);
        }
    }
    buf_printf(out, "rider %.*s\n", SLICE_ARG(buf_slice(&run->rider.state)));
    struct store_ledger ledger;
    store_ledger(run->store, &ledger);
    CHECK_INT(store_ledger_missing(&ledger), 0);
    buf_printf(out, "ledger %llu %llu %llu %llu %llu\n", (unsigned long long)ledger.delivered, (unsigned long long)ledger.appended,
               (unsigned long long)ledger.copied, (unsigned long long)ledger.expunged, (unsigned long long)ledger.removed);
    CHECK(!out->overflow);
}

/* ---- what is kept of expunged messages ---- */

struct keeping {
    struct store *store;
    struct buf *out;
};

static bool write_kept(void *arg, const struct store_kept *kept)
{
    const struct keeping *k = arg;
    if (kept->kind == KEPT_MAILBOX)
        buf_printf(k->out, "%lld\tmailbox %llu is %.*s\n", (long long)kept->gone_s, (unsigned long long)kept->mailbox_id, SLICE_ARG(kept->name));
    for (size_t i = 0; i < kept->count; i++) {
        buf_printf(k->out, "%lld\tmailbox %llu uid %u flags %u kind %d body", (long long)kept->gone_s, (unsigned long long)kept->mailbox_id,
                   kept->rows[i].uid, kept->rows[i].flags, kept->kind);
        write_body(k->store, &kept->rows[i], k->out);
    }
    return true;
}

/* A line for each: when it went, TAB, what it is. */
static void write_all_kept(struct run *run, struct buf *out)
{
    struct keeping k = { run->store, out };
    struct fault fault = { 0 };
    CHECK_INT(store_kept_each(run->store, 0, write_kept, &k, &fault), RC_OK);
    CHECK(slice_find(buf_slice(out), SLICE("UNREADABLE")) == buf_len(out));
}

/* Whatever the reference kept at that step and whose time is not over must be there. When it is forgotten is the background's
 * affair. */
static void check_kept(struct run *run, struct slice want)
{
    struct buf have;
    buf_init(&have, STATE_MAX);
    write_all_kept(run, &have);
    while (want.len > 0 && !is_nearly_full) {
        struct slice line = slice_take_until(&want, '\n'), rest = line;
        uint64_t gone_s = 0;
        CHECK(slice_take_number(&rest, UINT32_MAX, &gone_s));
        if ((int64_t)gone_s + KEEP_S <= run->now_ms / 1000 || slice_find(buf_slice(&have), rest) < buf_len(&have))
            continue;
        CHECK(false);
        fprintf(stderr, "at %lld s not kept any more: %.*s\n", (long long)(run->now_ms / 1000), SLICE_ARG(line));
    }
    buf_free(&have);
}

/* ---- the workload ---- */

static const struct mail_date date = { 1700000000, 120 };

/* Text that shows which message it is of, everywhere. */
static struct store_body *body_with(struct store *store, size_t step, size_t bytes)
{
    struct store_body *body = store_body_begin(store);
    char piece[64];
    for (size_t at = 0; body != NULL && at < bytes; at += 64) {
        memset(piece, '.', sizeof piece);
        int used = snprintf(piece, sizeof piece, "step %zu byte %zu", step, at);
        piece[used] = ' ';
        if (store_body_write(body, (struct slice){ piece, bytes - at < 64 ? bytes - at : 64 }, NULL) != RC_OK) {
            store_body_abandon(body);
            return NULL;
        }
    }
    return body;
}

static enum rc do_append(struct store *store, size_t step, const char *name, size_t bytes, uint32_t flags, uint64_t *wait)
{
    uint32_t uid;
    struct store_body *body = body_with(store, step, bytes);
    if (body == NULL)
        return RC_TEMP;
    return store_append(store, mailbox_id(store, 1, name), body, date, flags, 0, &uid, wait, NULL);
}

static enum rc do_accept(struct store *store, size_t step, size_t bytes, uint64_t *wait)
{
    struct store_delivery deliveries[2] = {
        { .account = 1, .mailbox = SLICE("INBOX") },
        { .account = 2, .mailbox = SLICE("gone"), .flags = FLAG_FLAGGED, .keywords = { SLICE("$Forwarded") }, .keyword_count = 1 },
    };
    char text[32];
    struct slice op = { text, (size_t)snprintf(text, sizeof text, "queued-%zu", step) };
    struct store_accept accept = {
        .body = bytes == 0 ? NULL : body_with(store, step, bytes), .internal_date = date, .deliveries = deliveries,
        .delivery_count = bytes == 0 ? 0 : 2, .rider_ops = &op, .rider_op_count = 1,
    };
    if (bytes != 0 && accept.body == NULL)
        return RC_TEMP;
    return store_accept(store, &accept, wait, NULL);
}

static enum rc do_flags(struct store *store, const char *name, const char *uids, enum store_flag_op op, uint32_t flags, uint64_t *wait)
{
    struct uid_set set = set_of(uids);
    uint64_t modseq;
    enum rc rc = store_flags(store, mailbox_id(store, 1, name), &set, op, flags, 0, UINT64_MAX, NULL, &modseq, wait, NULL);
    uid_set_free(&set);
    return rc;
}

static enum rc do_copy(struct store *store, const char *from, const char *uids, const char *to, bool is_move, uint64_t *wait)
{
    struct uid_set set = set_of(uids), a, b;
    uid_set_init(&a);
    uid_set_init(&b);
    enum rc rc = store_copy(store, mailbox_id(store, 1, from), &set, mailbox_id(store, 1, to), is_move, &a, &b, wait, NULL);
    CHECK_INT(uid_set_size(&a), uid_set_size(&b));
    uid_set_free(&set);
    uid_set_free(&a);
    uid_set_free(&b);
    return rc;
}

static enum rc do_expunge(struct store *store, const char *name, uint64_t *wait)
{
    struct uid_set gone;
    uid_set_init(&gone);
    enum rc rc = store_expunge(store, mailbox_id(store, 1, name), NULL, false, &gone, wait, NULL);
    uid_set_free(&gone);
    return rc;
}

static enum rc do_keyword(struct store *store, uint64_t *wait)
{
    uint32_t bit;
    return store_keyword(store, mailbox_id(store, 1, "INBOX"), SLICE("$Label1"), true, &bit, wait, NULL);
}

/* Steps that do nothing (because of a failure before) are RC_NONE or RC_PERM or without a wait: none of them is a change. */
static enum rc do_step(struct store *s, size_t step, uint64_t *wait)
{
    const int64_t now = 1700000000;
    *wait = 0;
    switch (step) {
    case 0:  return store_account_create(s, 1, now, wait, NULL);
    case 1:  return store_account_create(s, 2, now, wait, NULL);
    case 2:  return store_mailbox_create(s, 1, SLICE("work/projects/thurn"), SPECIAL_NONE, now, wait, NULL);
    case 3:  return do_keyword(s, wait);
    case 10: return do_flags(s, "INBOX", "1:3", FLAGS_ADD, FLAG_SEEN, wait);
    case 12: return do_copy(s, "INBOX", "1:4", "work/projects/thurn", false, wait);
    case 14: return do_flags(s, "INBOX", "2,4", FLAGS_REPLACE, FLAG_DELETED, wait);
    case 15: return do_expunge(s, "INBOX", wait);
    case 17: return store_mailbox_rename(s, 1, SLICE("work"), SLICE("arbeit"), now, wait, NULL);
    case 18: return store_subscribe(s, 1, SLICE("arbeit/projects"), true, wait, NULL);
    case 20: return do_copy(s, "arbeit/projects/thurn", "1:2", "Archive", true, wait);
    case 22: return store_mailbox_delete(s, 1, SLICE("arbeit/projects"), wait, NULL);
    case 24: return do_accept(s, step, 0, wait);
    case 26: return do_accept(s, step, 20000, wait);
    case 28: return store_mailbox_rename(s, 1, SLICE("INBOX"), SLICE("old"), now, wait, NULL);
    case 30: return do_flags(s, "old", "1:*", FLAGS_REPLACE, FLAG_DELETED | FLAG_SEEN, wait);
    case 31: return do_expunge(s, "old", wait);
    case 33: return store_mailbox_delete(s, 1, SLICE("old"), wait, NULL);
    case 35: return store_mailbox_create(s, 1, SLICE("old"), SPECIAL_NONE, now, wait, NULL);
    case 40: return store_mailbox_delete(s, 1, SLICE("arbeit/projects/thurn"), wait, NULL);
    case 41: return do_flags(s, "INBOX", "1:*", FLAGS_ADD, FLAG_DELETED, wait);
    case 42: return do_expunge(s, "INBOX", wait);
    case 43: return do_copy(s, "Archive", "2", "Trash", true, wait);
    case 45: return store_account_delete(s, 2, wait, NULL);
    case 46: return store_account_create(s, 2, now, wait, NULL);
    case 50: return do_flags(s, "Trash", "1:*", FLAGS_ADD, FLAG_DELETED, wait);
    case 51: return do_expunge(s, "Trash", wait);
    case 80: return do_flags(s, "INBOX", "23:35,37:*", FLAGS_ADD, FLAG_DELETED, wait);
    case 81: return do_expunge(s, "INBOX", wait);
    case 82: return store_account_delete(s, 2, wait, NULL);
    case 83: return do_flags(s, "Trash", "3:4", FLAGS_ADD, FLAG_DELETED, wait);
    case 84: return do_expunge(s, "Trash", wait);
    default: break;
    }
    if (step >= 104 && step % 4 == 0)
        return do_flags(s, "Trash", "5:*", FLAGS_ADD, FLAG_DELETED, wait);
    if (step >= 104 && step % 4 == 1)
        return do_expunge(s, "Trash", wait);
    if (step >= 104)                            /* much that dies: a snapshot is worth while */
        return do_append(s, step, "Trash", 9000, 0, wait);
    if (step > 80)                              /* what is left moves together */
        return do_append(s, step, "Drafts", 10 + step, 0, wait);
    if (step % 5 == 4)
        return do_accept(s, step, 300 + 50 * step, wait);
    return do_append(s, step, step % 7 == 3 ? "Trash" : "INBOX", step % 11 == 8 ? 17000 + step : 100 + 37 * step, step % 3 == 0 ? FLAG_SEEN : 0, wait);
}

/* Steps that are handed over without waiting for the one before. None of them looks at what the one before has done. */
static bool is_pipelined(size_t step) { return (step >= 4 && step < 9) || (step >= 36 && step < 39) || (step >= 54 && step < 58) || (step >= 62 && step < 69); }

/* Every few steps a minute passes, so that a checkpoint runs in between. */
static void let_time_pass(struct run *run, size_t step)
{
    if (step % 9 == 8 || (step > 84 && step % 2 == 0))
        run->now_ms += 61000;
    struct store_figures f;
    do {                                        /* a snapshot goes on when its last part is durable */
        for (int polls = 0; polls < 20 && store_poll(run->store, run->now_ms); polls++) {}
        store_figures(run->store, &f);
        if (f.is_snapshot_running)
            (void)wake_wait(store_event_fd(run->store), 1000);
    } while (f.is_snapshot_running);
}

static struct buf reference[STEPS + 1], reference_kept[STEPS + 1];
static uint64_t reference_calls, workload_calls;     /* with and without writing down the states */

static void run_reference(void)
{
    struct run run;
    struct fault fault = { 0 };
    run_init(&run, 1);
    CHECK(run_open(&run, &fault));
    buf_init(&reference[0], STATE_MAX);
    buf_init(&reference_kept[0], STATE_MAX);
    write_state(&run, &reference[0]);
    struct store_kept_figures kept;
    uint64_t calls_aside = 0, most_kept = 0;
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t wait;
        enum rc rc = do_step(run.store, step, &wait);
        if (rc != RC_OK || store_wait(run.store, wait) != RC_OK)
            fprintf(stderr, "step %zu: %d\n", step, rc);
        CHECK_INT(rc, RC_OK);
        let_time_pass(&run, step);
        buf_init(&reference[step + 1], STATE_MAX);
        write_state(&run, &reference[step + 1]);
        buf_init(&reference_kept[step + 1], STATE_MAX);
        uint64_t calls = disk_calls(run.disk);
        write_all_kept(&run, &reference_kept[step + 1]);
        calls_aside += disk_calls(run.disk) - calls;
        store_kept_figures(run.store, &kept);
        most_kept = kept.messages > most_kept ? kept.messages : most_kept;
    }
    CHECK(most_kept > (is_nearly_full ? 5 : 20));
    CHECK(kept.forgotten_s > 400);              /* expiry and compaction are both in the calls that fail */
    reference_calls = disk_calls(run.disk) - calls_aside;
    struct store_figures figures;
    store_figures(run.store, &figures);
    CHECK(figures.segments - figures.segments_free <= 10);      /* snapshots and compaction: it would be 12 */
    CHECK(figures.snapshot_position > 64);
    CHECK(figures.bytes_moved > (is_nearly_full ? 2000 : 0));      /* compaction is in it too */
    CHECK(is_nearly_full == (kept.given_up > 0));
    fprintf(stderr, "%llu calls, %llu bytes moved, up to %llu kept, forgotten up to %lld of %lld s, %llu records, %llu segments of which %llu free, "
            "checkpoint at %llu of %llu\n", (unsigned long long)reference_calls, (unsigned long long)figures.bytes_moved, (unsigned long long)most_kept,
            (long long)kept.forgotten_s, (long long)(run.now_ms / 1000),
            (unsigned long long)figures.records, (unsigned long long)figures.segments, (unsigned long long)figures.segments_free,
            (unsigned long long)figures.checkpoint_position, (unsigned long long)figures.durable_position);
    CHECK(figures.checkpoint_position > 0);
    CHECK(figures.segments < figures.durable_position / SMALL_SEGMENT + 2);      /* some were used twice */
    store_close(run.store);
    CHECK(run_open(&run, &fault));
    struct buf again;
    buf_init(&again, STATE_MAX);
    write_state(&run, &again);
    CHECK_SLICE(buf_slice(&again), buf_slice(&reference[STEPS]));
    buf_free(&again);
    store_close(run.store);
    run_free(&run);
}

/* ---- the power goes ---- */

static void power_off(struct run *run)
{
    disk_plan(run->disk, 0, 0, 1);
    store_close(run->store);
    run->store = NULL;
}

/* Opens what the power left, and finds which of the states it is. */
static bool open_and_match(struct run *run, size_t from, size_t to, size_t *which)
{
    struct fault fault = { 0 };
    bool ok = run_open(run, &fault);
    CHECK(ok);
    if (!ok) {
        fprintf(stderr, "opening: %s\n", fault.text);
        return false;
    }
    struct buf state;
    buf_init(&state, STATE_MAX);
    write_state(run, &state);
    size_t at = from;
    while (at <= to && !slice_equal(buf_slice(&state), buf_slice(&reference[at])))
        at++;
    CHECK(at <= to);
    if (at > to)
        fprintf(stderr, "between steps %zu and %zu:\n%.*s\nwant one of, last:\n%.*s\n", from, to, SLICE_ARG(buf_slice(&state)),
                SLICE_ARG(buf_slice(&reference[to])));
    buf_free(&state);
    if (at <= to)
        check_kept(run, buf_slice(&reference_kept[at]));
    *which = at;
    return at <= to;
}

/* Each fourth write, about, is short. */
static size_t shorten(void *arg, const char *path, size_t len)
{
    (void)arg, (void)path;
    return len > 100 && len % 4 == 0 ? len / 2 : len;
}

enum { KILLED = DISK_LOSE_NOTHING + 1 };        /* the process is gone and the system is not: what it wrote is read, on the medium or not */

static void lose(struct run *run, int loss)
{
    if (loss == KILLED)
        disk_plan(run->disk, 0, 0, 0);
    else
        disk_power_cut(run->disk, (enum disk_loss)loss);
}

/* The power goes at a call; with `error` that call fails, and the power goes up to 40 calls later. */
/* ---- and state.db is lost ---- */

static enum rc save_always(void *self, struct store *store, struct fault *fault)
{
    ((struct rider *)self)->saves = 0;
    return rider_save(self, store, fault);
}

static bool make_rider(void *arg, struct store_rider *out)
{
    struct rider *r = calloc(1, sizeof *r);
    (void)arg;
    buf_init(&r->state, STATE_MAX);
    *out = (struct store_rider){ .self = r, .apply = rider_apply, .save = save_always, .load = rider_load };
    return true;
}

static void free_rider(void *arg, struct store_rider *rider)
{
    struct rider *r = rider->self;
    (void)arg;
    buf_free(&r->state);
    free(r);
}

static void on_repaired(void *arg, const struct verify_finding *f)
{
    (void)arg;
    if (f->kind != VERIFY_STATE)
        fprintf(stderr, "repair: %.*s: %.*s\n", SLICE_ARG(f->file), SLICE_ARG(f->text));
    CHECK_INT(f->kind, VERIFY_STATE);
}

/* The log alone gives the same state, whenever the power went (S6). */
static void lose_state_and_match(struct run *run, size_t acknowledged)
{
    static const char *const names[] = { "/store/state.db", "/store/state.db-wal", "/store/state.db-shm" };
    struct verify_options options = {
        .dir = "/store", .files = &run->ops, .rider = { make_rider, free_rider, NULL }, .keep_expunged_s = KEEP_S, .found = on_repaired,
    };
    struct repair_figures f;
    struct fault fault = { 0 };
    size_t which;
    power_off(run);
    disk_power_cut(run->disk, DISK_LOSE_ALL);
    for (size_t i = 0; i < 3; i++)
        (void)run->ops.unlink(run->ops.self, names[i]);
    enum rc rc = store_repair(&options, run->now_ms, &f, &fault);
    CHECK_INT(rc, RC_OK);
    if (rc != RC_OK)
        fprintf(stderr, "repair: %s\n", fault.text);
    CHECK(f.is_rebuilt && f.lost_messages == 0 && f.damaged == 0);
    if (open_and_match(run, acknowledged, acknowledged, &which))
        store_close(run->store);
}

static void crash_at(uint64_t call, int loss, int error)
{
    struct run run;
    struct fault fault = { 0 };
    char sentence[80];
    snprintf(sentence, sizeof sentence, "power off at call %llu, loss %d, error %d", (unsigned long long)call, loss, error);
    CASE(sentence);
    run_init(&run, call * 5 + (uint64_t)loss + 1);
    if (loss == DISK_LOSE_SOME)
        disk_set_faults(run.disk, &(struct disk_faults){ .arg = run.disk, .shorten = shorten });
    disk_plan(run.disk, error == 0 ? 0 : call, error, error == 0 ? call : call + 1 + call % 40);
    size_t acknowledged = 0, handed = 0, which;
    bool is_open = run_open(&run, &fault);
    uint64_t waits[STEPS];
    for (size_t step = 0; is_open && step < STEPS; step++) {
        if (do_step(run.store, step, &waits[step]) != RC_OK)
            break;
        handed = step + 1;
        if (is_pipelined(step))
            continue;
        if (store_wait(run.store, waits[step]) != RC_OK)
            break;
        acknowledged = step + 1;
        let_time_pass(&run, step);
    }
    for (size_t step = acknowledged; is_open && step < handed && store_settled(run.store, waits[step]) == RC_OK; step++)
        acknowledged = step + 1;
    if (call == NEVER)
        workload_calls = disk_calls(run.disk);
    if (is_open)
        power_off(&run);
    else
        handed = 0;
    lose(&run, loss);
    if (call % 2 == 1) {                        /* and once more while it is being opened */
        disk_plan(run.disk, 0, 0, disk_calls(run.disk) + 1 + call % 71);
        if (run_open(&run, &fault))
            power_off(&run);
        lose(&run, loss);
    }
    if (open_and_match(&run, acknowledged, handed < STEPS ? handed + 1 : STEPS, &which)) {
        /* What was shown once stays: the power goes again before anything new is written. */
        power_off(&run);
        disk_power_cut(run.disk, DISK_LOSE_ALL);
        if (open_and_match(&run, which, which, &which)) {
            uint64_t wait;
            for (size_t step = which; step < STEPS && step < which + 3; step++) {
                CHECK_INT(do_step(run.store, step, &wait), RC_OK);
                CHECK_INT(store_wait(run.store, wait), RC_OK);
                acknowledged = step + 1;
            }
            power_off(&run);
            disk_power_cut(run.disk, DISK_LOSE_ALL);
            if (which < STEPS && open_and_match(&run, acknowledged, acknowledged, &which))
                lose_state_and_match(&run, acknowledged);
        }
    }
    run_free(&run);
    check_case = "";
}

/* ---- one call fails ---- */

static void fail_at(uint64_t call, int error)
{
    struct run run;
    struct fault fault = { 0 };
    struct buf before, after;
    char sentence[80];
    snprintf(sentence, sizeof sentence, "call %llu fails with %d", (unsigned long long)call, error);
    CASE(sentence);
    run_init(&run, call);
    buf_init(&before, STATE_MAX);
    buf_init(&after, STATE_MAX);
    disk_plan(run.disk, call, error, 0);
    if (!run_open(&run, &fault)) {
        CHECK(disk_failed_call(run.disk) != NULL);
        CHECK(fault.text[0] != '\0');
        CHECK(run_open(&run, &fault));
    }
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t wait;
        write_state(&run, &before);
        enum rc rc = do_step(run.store, step, &wait);
        if (rc == RC_OK)
            rc = store_wait(run.store, wait);
        write_state(&run, &after);
        if (rc != RC_OK && slice_find(buf_slice(&after), SLICE("UNREADABLE")) == buf_len(&after)
            && slice_find(buf_slice(&before), SLICE("UNREADABLE")) == buf_len(&before))
            CHECK_SLICE(buf_slice(&after), buf_slice(&before));
        if (rc == RC_TEMP)
            CHECK(disk_failed_call(run.disk) != NULL);
        let_time_pass(&run, step);
    }
    write_state(&run, &before);
    if (call % 2 == 0) {
        store_close(run.store);
    } else {
        power_off(&run);
        disk_power_cut(run.disk, call % 4 == 1 ? DISK_LOSE_ALL : DISK_LOSE_SOME);
    }
    if (!run_open(&run, &fault)) {
        fprintf(stderr, "%s\n", fault.text);
        CHECK(false);
        return;
    }
    write_state(&run, &after);
    CHECK_SLICE(buf_slice(&after), buf_slice(&before));
    buf_clear(&after);
    write_all_kept(&run, &after);
    if (store_account_exists(run.store, 1)) {
        uint64_t wait;
        CHECK_INT(do_append(run.store, 99, "INBOX", 100, 0, &wait), RC_OK);
        CHECK_INT(store_wait(run.store, wait), RC_OK);
    }
    store_close(run.store);
    buf_free(&before);
    buf_free(&after);
    run_free(&run);
    check_case = "";
}

int main(int argc, char **argv)
{
    uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, tried = 0;
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current });
    is_nearly_full = argc > 2 && strcmp(argv[2], "nearly-full") == 0;
    CASE("without faults");
    run_reference();
    crash_at(NEVER, DISK_LOSE_ALL, 0);
    for (uint64_t call = 1; call <= workload_calls + 10 && check_failed < 20; call += stride)
        for (int loss = DISK_LOSE_ALL; loss <= KILLED; loss++, tried += 2) {
            crash_at(call, loss, 0);
            crash_at(call, loss, call % 3 == 0 ? -ENOSPC : -EIO);
        }
    fprintf(stderr, "the power went or the process did %llu times, at one in %llu of %llu calls\n", (unsigned long long)tried, (unsigned long long)stride,
            (unsigned long long)workload_calls);
    tried = 0;
    for (uint64_t call = 1; call <= reference_calls + 50 && check_failed < 20; call += stride)
        for (int i = 0; i < 2; i++, tried++)
            fail_at(call, i == 0 ? -EIO : -ENOSPC);
    fprintf(stderr, "a call failed %llu times, one in %llu of %llu\n", (unsigned long long)tried, (unsigned long long)stride,
            (unsigned long long)reference_calls);
    for (size_t i = 0; i <= STEPS; i++)
        buf_free(&reference[i]), buf_free(&reference_kept[i]);
    return check_done();
}
