/* The queue on the real store, and the power goes at every call of the disk: what was acknowledged is there again, message,
 * recipients, outcomes, reports and bodies, and nothing that was settled comes back (Q1, Q3, Q5). Then each call fails once, and the
 * queue goes on as if what failed had not been asked. SQLite, for the checkpoint, is on the same disk. */
#include "check.h"
#include "sim/disk.h"

#include "queue/ledger.h"
#include "queue/queue.h"

#include <errno.h>
#include <inttypes.h>

enum { STEPS = 40, STATE_MAX = 1 << 20, SMALL_SEGMENT = 32 << 10 };
#define START ((int64_t)1800000000000)

struct run {
    struct disk *disk;
    struct file_ops ops;
    struct store *store;
    struct queue *queue;
    int64_t now_ms;
    struct queue_recipient to;
};

static struct slice by_domain(void *arg, const struct address *address, struct arena *arena)
{
    (void)arg;
    (void)arena;
    return address->domain;
}

static enum rc route(void *self, const struct queue_report *report, struct arena *arena, struct store_delivery **deliveries, size_t *delivery_count,
                     struct slice **names, struct queue_recipient **recipients, size_t *recipient_count)
{
    struct run *run = self;
    (void)arena;
    run->to = (struct queue_recipient){ .address = report->to };
    *deliveries = NULL;
    *names = NULL;
    *delivery_count = 0;
    *recipients = &run->to;
    *recipient_count = 1;
    return RC_OK;
}

static bool run_open(struct run *run, struct fault *f)
{
    struct queue_options options = {
        .retry_first_s = 300, .retry_max_s = 4 * 3600, .lifetime_s = 5 * 24 * 3600, .delay_warning_s = 0,
        .concurrency = 100, .destination_concurrency = 10, .history_days = 30,
    };
    run->queue = queue_new(&options);
    queue_set_destination(run->queue, by_domain, NULL);
    queue_set_reporter(run->queue, &(struct queue_reporter){ run, SLICE("mail.home.example"), route });
    struct store_options store_options = { .dir = "/store", .files = &run->ops, .segment_bytes = SMALL_SEGMENT, .hash_seed = { 3, 4 },
                                           .rider = queue_rider(run->queue) };
    if (store_open(&store_options, &run->store, f) != RC_OK) {
        queue_free(run->queue);
        return false;
    }
    queue_attach(run->queue, run->store);
    store_poll(run->store, run->now_ms);
    return true;
}

static struct disk *current_disk;               /* the one that SQLite means */
static struct disk *current(void) { return current_disk; }

static void run_init(struct run *run, uint64_t seed)
{
    *run = (struct run){ .disk = disk_new(seed, 0, true), .now_ms = START };
    current_disk = run->disk;
    run->ops = disk_ops(run->disk);
    CHECK_INT(disk_make_dir(run->disk, "/store", 0700), 0);
    disk_power_cut(run->disk, DISK_LOSE_NOTHING);       /* the folder itself is there for good */
}

static void run_close(struct run *run)
{
    store_close(run->store);
    queue_free(run->queue);
}

/* ---- the state, written down ---------------------------------------------------------------------------------------------- */

static void write_state(struct run *run, struct buf *out, bool with_times)
{
    static char body[8192];
    uint64_t after = 0;
    const struct queue_entry *e;
    struct fault f;
    buf_clear(out);
    while ((e = queue_after(run->queue, after)) != NULL) {
        after = e->id;
        /* A report has what could be read of the message then: its text may differ after a failed read. */
        bool is_report = slice_equal(e->recipients[0].address.domain, SLICE("home.example"));
        buf_printf(out, "%" PRIx64 " size %" PRIu64, e->id, is_report ? 0 : e->body_size);
        size_t len = e->body_size < sizeof body ? (size_t)e->body_size : sizeof body;
        bool ok = store_read(run->store, e->body_id, 0, len, body, &f) == RC_OK;
        uint32_t sum = 0;
        for (size_t i = 0; i < len && ok; i++)
            sum = sum * 31 + (unsigned char)body[i];
        buf_printf(out, ok ? " body %u\n" : " UNREADABLE %u\n", is_report ? 0 : sum);
        for (size_t i = 0; i < e->recipient_count; i++) {
            const struct queue_recipient *r = &e->recipients[i];
            buf_printf(out, "  %.*s@%.*s %s %u %" PRId64 " %.*s\n", SLICE_ARG(r->address.local_part), SLICE_ARG(r->address.domain),
                       queue_state_name(r->state == QUEUE_TRYING ? QUEUE_DUE : r->state), r->attempts, with_times ? r->due_ms : 0, SLICE_ARG(r->last_text));
        }
    }
    struct ledger ledger;
    ledger_take(run->queue, run->store, true, &ledger);
    CHECK_INT(ledger_difference(&ledger), 0);
    ledger_write_json(&ledger, out);
    CHECK(!out->overflow);
}

/* ---- the workload: every step is one record ------------------------------------------------------------------------------- */

static enum rc add(struct run *run, size_t step, uint64_t *wait)
{
    static const char *const domains[] = { "x.example", "y.example", "z.example" };
    struct queue_recipient to = { .address = { .local_part = SLICE("a"), .domain = slice_from_str(domains[step % 3]) } };
    struct smtp_mail mail = { .reverse_path = { .local_part = SLICE("me"), .domain = SLICE("home.example") } };
    struct queue_new n = { .id = queue_next_id(run->queue, run->now_ms), .mail = &mail, .now_ms = run->now_ms, .recipients = &to, .recipient_count = 1 };
    struct buf op;
    buf_init(&op, 10000);
    must(queue_encode_new(&n, &op));
    struct store_body *body = store_body_begin(run->store);
    char text[100];
    enum rc rc = body == NULL ? RC_TEMP : RC_OK;
    for (size_t i = 0; rc == RC_OK && i < 1 + step * 7; i++) {
        int len = snprintf(text, sizeof text, "%s line %zu of message %zu\r\n", i == 0 ? "Subject: hello\r\n\r\n" : "", i, step);
        rc = store_body_write(body, (struct slice){ text, (size_t)len }, NULL);
    }
    struct slice ops[] = { buf_slice(&op) };
    struct store_accept accept = { .body = body, .rider_ops = ops, .rider_op_count = 1 };
    if (rc == RC_OK)
        rc = store_accept(run->store, &accept, wait, NULL);
    else if (body != NULL)
        store_body_abandon(body);
    buf_free(&op);
    return rc;
}

static enum rc attempt(struct run *run, size_t step, uint64_t *wait)
{
    static const struct smtp_outcome ends[] = {
        { .rc = RC_TEMP, .code = 450, .text = SLICE_INIT("later"), .is_remote = true }, { .rc = RC_OK, .code = 250, .text = SLICE_INIT("taken") },
        { .rc = RC_PERM, .code = 550, .text = SLICE_INIT("no such user"), .is_remote = true },
    };
    struct queue_job job;
    struct fault f;
    run->now_ms += 600000;
    if (queue_next_job(run->queue, run->now_ms, step, &job) != RC_OK)
        return add(run, step, wait);
    struct slice remote = SLICE("mx[192.0.2.1]:25");
    return queue_job_done(run->queue, &job, &ends[step % 3], &remote, &(struct queue_attempt){ .is_final = false }, run->now_ms, 7, wait, &f);
}

static enum rc do_step(struct run *run, size_t step, uint64_t *wait)
{
    run->now_ms += 1000;
    return step % 2 == 0 ? add(run, step, wait) : attempt(run, step, wait);
}

static void let_time_pass(struct run *run, size_t step)
{
    if (step % 7 == 6)
        run->now_ms += 61000;           /* a checkpoint is due */
    store_poll(run->store, run->now_ms);
}

/* ---- with the power on ------------------------------------------------------------------------------------------------------ */

static struct buf reference[STEPS + 1];

static uint64_t run_reference(void)
{
    struct run run;
    struct fault f;
    CASE("with the power on: closing and opening changes nothing");
    run_init(&run, 1);
    CHECK(run_open(&run, &f));
    buf_init(&reference[0], STATE_MAX);
    write_state(&run, &reference[0], true);
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t wait = 0;
        CHECK_INT(do_step(&run, step, &wait), RC_OK);
        CHECK_INT(store_wait(run.store, wait), RC_OK);
        let_time_pass(&run, step);
        buf_init(&reference[step + 1], STATE_MAX);
        write_state(&run, &reference[step + 1], true);
    }
    uint64_t calls = disk_calls(run.disk);
    struct store_figures figures;
    store_figures(run.store, &figures);
    CHECK(figures.checkpoint_position > 0);
    CHECK(queue_count(run.queue, NULL) > 5);
    run_close(&run);
    CHECK(run_open(&run, &f));
    struct buf again;
    buf_init(&again, STATE_MAX);
    write_state(&run, &again, true);
    CHECK_SLICE(buf_slice(&again), buf_slice(&reference[STEPS]));
    buf_free(&again);
    run_close(&run);
    disk_free(run.disk);
    return calls;
}

/* ---- the power goes ---------------------------------------------------------------------------------------------------------- */

/* Opens what the power left; it is one of two states. */
static bool open_and_match(struct run *run, size_t acknowledged, size_t handed)
{
    struct fault f = { 0 };
    bool is_open = run_open(run, &f);
    CHECK_STR(f.text, "");
    CHECK(is_open);
    if (!is_open)
        return false;
    struct buf state;
    buf_init(&state, STATE_MAX);
    write_state(run, &state, true);
    bool matches = slice_equal(buf_slice(&state), buf_slice(&reference[acknowledged])) || slice_equal(buf_slice(&state), buf_slice(&reference[handed]));
    CHECK(matches);
    if (!matches)
        fprintf(stderr, "have\n%.*swant\n%.*s", SLICE_ARG(buf_slice(&state)), SLICE_ARG(buf_slice(&reference[acknowledged])));
    buf_free(&state);
    return true;
}

static void crash_at(uint64_t call, enum disk_loss loss, int error)
{
    struct run run;
    struct fault f;
    char sentence[80];
    snprintf(sentence, sizeof sentence, "power off at call %" PRIu64 ", loss %d, error %d", call, (int)loss, error);
    CASE(sentence);
    run_init(&run, call * 4 + (uint64_t)loss + 1);
    disk_plan(run.disk, error == 0 ? 0 : call, error, error == 0 ? call : call + 1 + call % 40);
    size_t acknowledged = 0, handed = 0;
    bool is_open = run_open(&run, &f);
    for (size_t step = 0; is_open && step < STEPS; step++) {
        uint64_t wait = 0;
        if (do_step(&run, step, &wait) != RC_OK)
            break;
        handed = step + 1;
        if (store_wait(run.store, wait) != RC_OK)
            break;
        acknowledged = step + 1;
        let_time_pass(&run, step);
    }
    disk_plan(run.disk, 0, 0, 1);
    if (is_open)
        run_close(&run);
    disk_power_cut(run.disk, loss);
    if (open_and_match(&run, acknowledged, handed))
        run_close(&run);
    disk_free(run.disk);
}

/* ---- one call fails ------------------------------------------------------------------------------------------------------------ */

static void compare(struct run *run, const struct buf *before, const char *when)
{
    struct buf after;
    buf_init(&after, STATE_MAX);
    write_state(run, &after, false);
    bool is_same = slice_equal(buf_slice(&after), buf_slice(before));
    CHECK(is_same);
    if (!is_same)
        fprintf(stderr, "%s: have\n%.*swant\n%.*s", when, SLICE_ARG(buf_slice(&after)), SLICE_ARG(buf_slice(before)));
    buf_free(&after);
}

static bool is_readable(const struct buf *state) { return slice_find(buf_slice(state), SLICE("UNREADABLE")) == buf_len(state); }

/* No job is running: nobody is being tried. */
static void check_none_is_tried(struct run *run)
{
    struct fault f;
    const struct queue_entry *e;
    CHECK(queue_tick(run->queue, run->now_ms, 7, &f) != RC_PERM);
    for (uint64_t after = 0; (e = queue_after(run->queue, after)) != NULL; after = e->id)
        for (size_t i = 0; i < e->recipient_count; i++)
            CHECK(e->recipients[i].state != QUEUE_TRYING);
}

/* An attempt whose outcome could not be written is due again later, and that time is nowhere but in memory: times are not compared.
 * Steps are refused from the failure on when it was a sync's: the log is poisoned until the next start (L3). */
static void fail_at(uint64_t call, int error)
{
    struct run run;
    struct fault f = { 0 };
    struct buf before;
    char sentence[80];
    snprintf(sentence, sizeof sentence, "call %" PRIu64 " fails with %d", call, error);
    CASE(sentence);
    run_init(&run, call);
    buf_init(&before, STATE_MAX);
    disk_plan(run.disk, call, error, 0);
    if (!run_open(&run, &f)) {
        CHECK(disk_failed_call(run.disk) != NULL);
        CHECK(f.text[0] != '\0');
        CHECK(run_open(&run, &f));
    }
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t wait = 0;
        write_state(&run, &before, false);
        enum rc rc = do_step(&run, step, &wait);
        if (rc == RC_OK)
            rc = store_wait(run.store, wait);
        if (rc == RC_TEMP)
            CHECK(disk_failed_call(run.disk) != NULL);
        if (rc != RC_OK && is_readable(&before))
            compare(&run, &before, "after a step that failed");
        check_none_is_tried(&run);
        let_time_pass(&run, step);
    }
    write_state(&run, &before, false);
    if (!is_readable(&before))
        write_state(&run, &before, false);             /* the read itself had failed */
    disk_plan(run.disk, 0, 0, call % 2 == 0 ? 0 : 1);
    run_close(&run);
    if (call % 2 == 1)
        disk_power_cut(run.disk, call % 4 == 1 ? DISK_LOSE_ALL : DISK_LOSE_SOME);
    CHECK(run_open(&run, &f));
    compare(&run, &before, "after a restart");
    run_close(&run);
    buf_free(&before);
    disk_free(run.disk);
}

int main(int argc, char **argv)
{
    uint64_t every = argc > 1 ? strtoull(argv[1], NULL, 10) : 7, cuts = 0, faults = 0;
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current });
    uint64_t calls = run_reference();
    for (uint64_t call = 1; call <= calls && check_failed < 20; call += every)
        for (enum disk_loss loss = DISK_LOSE_ALL; loss <= DISK_LOSE_NOTHING; loss++, cuts += 2) {
            crash_at(call, loss, 0);
            crash_at(call, loss, call % 3 == 0 ? -ENOSPC : -EIO);
        }
    for (uint64_t call = 1; call <= calls && check_failed < 20; call += every, faults += 2) {
        fail_at(call, -EIO);
        fail_at(call, -ENOSPC);
    }
    fprintf(stderr, "of %" PRIu64 " calls one in %" PRIu64 ": %" PRIu64 " power cuts, %" PRIu64 " failures\n", calls, every, cuts, faults);
    for (size_t i = 0; i <= STEPS; i++)
        buf_free(&reference[i]);
    return check_done();
}
