/* The queue on the real store, and the power goes at every call of the disk: what was acknowledged is there again, message,
 * recipients, outcomes, reports and bodies, and nothing that was settled comes back (Q1, Q3, Q5). */
#include "check.h"
#include "../store/fakedisk.h"

#include "queue/ledger.h"
#include "queue/queue.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

enum { STEPS = 40, STATE_MAX = 1 << 20, SMALL_SEGMENT = 32 << 10 };
#define START ((int64_t)1800000000000)

struct run {
    char dir[64];
    struct fake_disk *disk;
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
    struct store_options store_options = { .dir = run->dir, .files = &run->ops, .segment_bytes = SMALL_SEGMENT, .hash_seed = { 3, 4 },
                                           .rider = queue_rider(run->queue) };
    if (store_open(&store_options, &run->store, f) != RC_OK) {
        queue_free(run->queue);
        return false;
    }
    queue_attach(run->queue, run->store);
    store_poll(run->store, run->now_ms);
    return true;
}

static void run_init(struct run *run, const char *dir, uint64_t seed)
{
    *run = (struct run){ .disk = fake_new(seed), .now_ms = START };
    snprintf(run->dir, sizeof run->dir, "%s", dir);
    run->ops = fake_ops(run->disk);
}

/* ---- the state, written down ---------------------------------------------------------------------------------------------- */

static void write_state(struct run *run, struct buf *out)
{
    static char body[8192];
    uint64_t after = 0;
    const struct queue_entry *e;
    struct fault f;
    buf_clear(out);
    while ((e = queue_after(run->queue, after)) != NULL) {
        after = e->id;
        buf_printf(out, "%" PRIx64 " size %" PRIu64, e->id, e->body_size);
        size_t len = e->body_size < sizeof body ? (size_t)e->body_size : sizeof body;
        bool ok = store_read(run->store, e->body_id, 0, len, body, &f) == RC_OK;
        uint32_t sum = 0;
        for (size_t i = 0; i < len && ok; i++)
            sum = sum * 31 + (unsigned char)body[i];
        buf_printf(out, ok ? " body %u\n" : " UNREADABLE %u\n", sum);
        for (size_t i = 0; i < e->recipient_count; i++) {
            const struct queue_recipient *r = &e->recipients[i];
            buf_printf(out, "  %.*s@%.*s %s %u %" PRId64 " %.*s\n", SLICE_ARG(r->address.local_part), SLICE_ARG(r->address.domain),
                       queue_state_name(r->state == QUEUE_TRYING ? QUEUE_DUE : r->state), r->attempts, r->due_ms, SLICE_ARG(r->last_text));
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

static uint64_t run_reference(const char *dir)
{
    struct run run;
    struct fault f;
    CASE("with the power on: closing and opening changes nothing");
    run_init(&run, dir, 1);
    CHECK(run_open(&run, &f));
    buf_init(&reference[0], STATE_MAX);
    write_state(&run, &reference[0]);
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t wait = 0;
        CHECK_INT(do_step(&run, step, &wait), RC_OK);
        CHECK_INT(store_wait(run.store, wait), RC_OK);
        let_time_pass(&run, step);
        buf_init(&reference[step + 1], STATE_MAX);
        write_state(&run, &reference[step + 1]);
    }
    uint64_t calls = run.disk->calls;
    struct store_figures figures;
    store_figures(run.store, &figures);
    CHECK(figures.checkpoint_position > 0);
    CHECK(queue_count(run.queue, NULL) > 5);
    store_close(run.store);
    queue_free(run.queue);
    CHECK(run_open(&run, &f));
    struct buf again;
    buf_init(&again, STATE_MAX);
    write_state(&run, &again);
    CHECK_SLICE(buf_slice(&again), buf_slice(&reference[STEPS]));
    buf_free(&again);
    store_close(run.store);
    queue_free(run.queue);
    fake_free(run.disk);
    return calls;
}

/* ---- the power goes: the checkpoint's files are SQLite's and not on the fake disk, so they are kept as of that moment ------ */

static void copy_file(const char *from, const char *to)
{
    char bytes[65536];
    int in = open(from, O_RDONLY);
    unlink(to);
    if (in < 0)
        return;
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (ssize_t n; (n = read(in, bytes, sizeof bytes)) > 0;)
        must(write(out, bytes, (size_t)n) == n);
    close(in);
    close(out);
}

static void keep_checkpoint(const char *dir, bool restore)
{
    static const char *const names[] = { "state.db", "state.db-wal" };
    char here[128], aside[128];
    for (size_t i = 0; i < 2; i++) {
        snprintf(here, sizeof here, "%s/%s", dir, names[i]);
        snprintf(aside, sizeof aside, "%s/kept-%s", dir, names[i]);
        copy_file(restore ? aside : here, restore ? here : aside);
    }
    snprintf(here, sizeof here, "%s/state.db-shm", dir);
    if (restore)
        unlink(here);
}

static void clear_dir(const char *dir)
{
    static const char *const names[] = { "state.db", "state.db-wal", "state.db-shm", "kept-state.db", "kept-state.db-wal" };
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
}

static void crash_at(const char *dir, uint64_t call, enum fake_loss loss)
{
    struct run run;
    struct fault f;
    char sentence[80];
    snprintf(sentence, sizeof sentence, "power off at call %" PRIu64 ", loss %d", call, (int)loss);
    CASE(sentence);
    clear_dir(dir);
    run_init(&run, dir, call * 3 + (uint64_t)loss + 1);
    run.disk->stop_at = call;
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
    keep_checkpoint(dir, false);
    if (is_open) {
        run.disk->stop_at = 1;
        store_close(run.store);
        queue_free(run.queue);
    }
    fake_crash(run.disk, loss);
    keep_checkpoint(dir, true);
    CHECK(run_open(&run, &f));
    struct buf state;
    buf_init(&state, STATE_MAX);
    write_state(&run, &state);
    bool matches = slice_equal(buf_slice(&state), buf_slice(&reference[acknowledged])) || slice_equal(buf_slice(&state), buf_slice(&reference[handed]));
    CHECK(matches);
    if (!matches)
        fprintf(stderr, "have\n%.*swant\n%.*s", SLICE_ARG(buf_slice(&state)), SLICE_ARG(buf_slice(&reference[acknowledged])));
    buf_free(&state);
    store_close(run.store);
    queue_free(run.queue);
    fake_free(run.disk);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/thurn-queue-XXXXXX";
    uint64_t every = argc > 1 ? strtoull(argv[1], NULL, 10) : 7;
    must(mkdtemp(dir) != NULL);
    uint64_t calls = run_reference(dir);
    fprintf(stderr, "%" PRIu64 " calls\n", calls);
    for (uint64_t call = 1; call <= calls; call += every)
        for (int loss = FAKE_LOSE_ALL; loss <= FAKE_LOSE_NOTHING; loss++)
            crash_at(dir, call, (enum fake_loss)loss);
    clear_dir(dir);
    rmdir(dir);
    for (size_t i = 0; i <= STEPS; i++)
        buf_free(&reference[i]);
    return check_done();
}
