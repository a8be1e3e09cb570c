/* A power cut after every record, with a checkpoint after every record: replay gives what was there (S8), and nothing that
 * was settled comes back (Q1). And bytes that are not ours do no harm. */
#include "check.h"
#include "fixture.h"
#include "queue/inner.h"

#include <inttypes.h>

enum { RECORDS_MAX = 200 };

/* Everything the queue knows, with "trying" as it would be after a crash. */
static char *dump(struct fixture *fx)
{
    struct buf out;
    buf_init(&out, 1 << 24);
    uint64_t after = 0;
    const struct queue_entry *entry;
    while ((entry = queue_after(fx->queue, after)) != NULL) {
        after = entry->id;
        for (size_t i = 0; i < entry->recipient_count; i++) {
            const struct queue_recipient *r = &entry->recipients[i];
            buf_printf(&out, "%" PRIx64 " %" PRIu64 " %.*s@%.*s %s %u %" PRId64 " %u %.*s %.*s %d\n", entry->id, entry->body_id,
                       SLICE_ARG(r->address.local_part), SLICE_ARG(r->address.domain),
                       queue_state_name(r->state == QUEUE_TRYING ? QUEUE_DUE : r->state), r->attempts, r->due_ms, r->last_esc,
                       SLICE_ARG(r->last_text), SLICE_ARG(r->last_remote), r->is_delay_told);
        }
    }
    for (size_t i = 0; i < fx->store->body_count; i++)
        if (fx->store->bodies[i].refs > 0)
            buf_printf(&out, "body %zu is kept %ld times\n", i, fx->store->bodies[i].refs);
    buf_append_byte(&out, '\0');
    return out.data + out.start;
}

static char *whys(struct fixture *fx, const uint64_t *ids, size_t count)
{
    struct buf out;
    buf_init(&out, 1 << 24);
    for (size_t i = 0; i < count; i++)
        (void)queue_why(fx->queue, ids[i], START, &out, &fx->fault);
    buf_append_byte(&out, '\0');
    return out.data + out.start;
}

struct script {
    struct fixture fx;
    uint64_t ids[64];
    size_t id_count;
    size_t checkpoint_at;           /* after so many records; SIZE_MAX: never */
    char *dumps[RECORDS_MAX];       /* after so many records */
};

static void note(struct script *s)
{
    struct store *store = s->fx.store;
    fake_poll(store);
    must(store->record_count < RECORDS_MAX);
    /* Several records may have come at once: only the last state is known then. */
    free(s->dumps[store->record_count]);
    s->dumps[store->record_count] = dump(&s->fx);
    if (s->checkpoint_at != SIZE_MAX && store->checkpoint == 0 && store->record_count >= s->checkpoint_at)
        CHECK_INT(fake_checkpoint(store), RC_OK);
}

static void add(struct script *s, const char *from, const char *to, unsigned notify, int64_t now)
{
    s->ids[s->id_count++] = fixture_add(&s->fx, from, to, notify, now);
    note(s);
}

static void play(struct script *s)
{
    static const struct { enum rc rc; int code; const char *text; bool is_dead; } ends[] = {
        { RC_TEMP, 450, "later", false }, { RC_OK, 250, "taken", false }, { RC_PERM, 550, "no", false }, { RC_TEMP, 0, "refused", true },
    };
    int64_t now = START;
    add(s, "me@home.example", "a@x.example b@y.example c@z.example", 0, now);
    add(s, "", "bounced@x.example", 0, now + 1);
    add(s, "you@home.example", "a@x.example", NOTIFY_SUCCESS, now + 2);
    add(s, "you@home.example", "a@w.example b@w.example", NOTIFY_NEVER, now + 3);
    struct queue_job job;
    for (size_t step = 0; step < 24; step++) {
        now += 7 * MINUTE;
        if (queue_next_job(s->fx.queue, now, step, &job) == RC_OK) {
            size_t how = step % 4;
            fixture_done(&s->fx, &job, ends[how].rc, ends[how].code, ends[how].text, ends[how].is_dead, now);
            note(s);
        }
        if (step == 9)
            add(s, "late@home.example", "q@x.example", 0, now);
        static const struct { size_t step; enum queue_action action; } acts[] = {
            { 5, QUEUE_HOLD }, { 8, QUEUE_RELEASE }, { 11, QUEUE_RETRY }, { 15, QUEUE_HOLD }, { 20, QUEUE_BOUNCE }, { 22, QUEUE_DELETE },
        };
        for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
            if (acts[i].step == step) {
                (void)queue_act(s->fx.queue, s->ids[i % s->id_count], acts[i].action, now, &s->fx.wait, &s->fx.fault);
                note(s);
            }
        if (step % 10 == 9) {
            now += 5 * HOUR;
            (void)queue_tick(s->fx.queue, now, 1, &s->fx.fault);
            note(s);
        }
    }
}

static void script_free(struct script *s)
{
    for (size_t i = 0; i < RECORDS_MAX; i++)
        free(s->dumps[i]);
    fixture_close(&s->fx);
    free(s);
}

static size_t play_and_crash(size_t checkpoint_at, size_t keep)
{
    struct script *s = calloc(1, sizeof *s);
    fixture_open(&s->fx, NULL);
    s->checkpoint_at = checkpoint_at;
    play(s);
    size_t records = s->fx.store->record_count;
    if (keep <= records && s->dumps[keep] != NULL && (checkpoint_at == SIZE_MAX || s->fx.store->checkpoint <= keep)) {
        char *why = keep == records ? whys(&s->fx, s->ids, s->id_count) : NULL;
        fixture_reopen(&s->fx, keep);
        char *after = dump(&s->fx);
        CHECK(strcmp(after, s->dumps[keep]) == 0);
        if (strcmp(after, s->dumps[keep]) != 0)
            fprintf(stderr, "checkpoint at %zu, cut at %zu:\nhad\n%shave\n%s", checkpoint_at, keep, s->dumps[keep], after);
        free(after);
        if (why != NULL) {
            char *again = whys(&s->fx, s->ids, s->id_count);
            CHECK(strcmp(why, again) == 0);
            free(again);
        }
        free(why);
    }
    script_free(s);
    return records;
}

static void every_position(void)
{
    CASE("a power cut at every record, without a checkpoint");
    size_t records = play_and_crash(SIZE_MAX, 0);
    CHECK(records > 20);
    for (size_t keep = 1; keep <= records; keep++)
        play_and_crash(SIZE_MAX, keep);
    CASE("a checkpoint at every record, a power cut at every one behind it");
    for (size_t checkpoint = 1; checkpoint <= records; checkpoint++)
        for (size_t keep = checkpoint; keep <= records; keep++)
            play_and_crash(checkpoint, keep);
}

static void checkpoints(void)
{
    struct fixture fx;
    fixture_open(&fx, NULL);
    CASE("a checkpoint that fails is made good by the next");
    uint64_t id = fixture_add(&fx, "me@home.example", "a@x.example", 0, START);
    fx.store->save_fails = true;
    CHECK_INT(fake_checkpoint(fx.store), RC_TEMP);
    fx.store->save_fails = false;
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    fixture_reopen(&fx, SIZE_MAX);
    CHECK(queue_find(fx.queue, id) != NULL);
    CASE("the row of a message that is done goes; its history stays, until it is old");
    struct queue_job job;
    CHECK_INT(queue_next_job(fx.queue, START, 1, &job), RC_OK);
    fixture_done(&fx, &job, RC_OK, 250, "ok", false, START);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    CHECK_INT(fx.store->row_count, 2);                  /* it, and the counters */
    struct buf why;
    buf_init(&why, 1 << 20);
    CHECK_INT(queue_why(fx.queue, id, START, &why, &fx.fault), RC_OK);
    buf_append_byte(&why, '\0');
    CHECK(strstr(buf_slice(&why).ptr, "\"event\":\"accepted\"") != NULL && strstr(buf_slice(&why).ptr, "\"state\":\"delivered\"") != NULL);
    buf_free(&why);
    fixture_add(&fx, "me@home.example", "a@x.example", 0, START + (int64_t)31 * 24 * HOUR);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    CHECK_INT(queue_why(fx.queue, id, START, &why, &fx.fault), RC_NONE);
    buf_free(&why);
    CASE("ids rise over a restart");
    uint64_t last = queue_next_id(fx.queue, START);
    fixture_reopen(&fx, SIZE_MAX);
    CHECK(queue_next_id(fx.queue, START) > last - 2 && queue_next_id(fx.queue, START) > id);
    CASE("also when nothing is queued any more, and the clock has gone back");
    last = queue_next_id(fx.queue, START + (int64_t)40 * 24 * HOUR);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    fixture_reopen(&fx, SIZE_MAX);
    CHECK(queue_next_id(fx.queue, START) > last);
    fixture_close(&fx);
}

/* The store keeps what was put before a failure, for the next checkpoint. */
static void half_checkpoints(void)
{
    struct fixture fx;
    struct queue_job job;
    struct buf why;
    fixture_open(&fx, NULL);
    CASE("a message that ends behind half a checkpoint does not come back");
    uint64_t id = fixture_add(&fx, "me@home.example", "a@x.example", 0, START);
    fx.store->failing_put = 2;                          /* the counters, behind the message */
    CHECK_INT(fake_checkpoint(fx.store), RC_TEMP);
    CHECK_INT(queue_next_job(fx.queue, START, 1, &job), RC_OK);
    fixture_done(&fx, &job, RC_OK, 250, "ok", false, START);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    fixture_reopen(&fx, SIZE_MAX);
    CHECK(queue_find(fx.queue, id) == NULL);
    CASE("and what was put of histories is not put twice");
    id = fixture_add(&fx, "me@home.example", "a@x.example b@y.example", 0, START + 1);
    uint64_t other = fixture_add(&fx, "me@home.example", "a@x.example", 0, START + 2);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    CHECK_INT(queue_act(fx.queue, id, QUEUE_HOLD, START + 3, &fx.wait, &fx.fault), RC_OK);
    CHECK_INT(queue_act(fx.queue, other, QUEUE_HOLD, START + 3, &fx.wait, &fx.fault), RC_OK);
    fake_poll(fx.store);
    fx.store->failing_put = 5;                          /* two messages, the counters, one history */
    CHECK_INT(fake_checkpoint(fx.store), RC_TEMP);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    for (int i = 0; i < 2; i++) {
        buf_init(&why, 1 << 20);
        CHECK_INT(queue_why(fx.queue, i == 0 ? id : other, START + 4, &why, &fx.fault), RC_OK);
        buf_append_byte(&why, '\0');
        const char *held = strstr(buf_slice(&why).ptr, "\"event\":\"held\"");
        CHECK(held != NULL && strstr(held + 1, "\"event\":\"held\"") == NULL);
        buf_free(&why);
    }
    fixture_close(&fx);
}

/* Every operation and row of a script, cut at every length and with every byte changed once. */
static void nonsense(void)
{
    CASE("bytes that are torn or changed do no harm");
    struct fixture fx;
    fixture_open(&fx, NULL);
    fixture_add(&fx, "me@home.example", "a@x.example b@y.example", 0, START);
    struct queue_job job;
    CHECK_INT(queue_next_job(fx.queue, START, 1, &job), RC_OK);
    fixture_done(&fx, &job, RC_TEMP, 450, "later", false, START);
    (void)queue_act(fx.queue, job.entry, QUEUE_HOLD, START, &fx.wait, &fx.fault);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    struct fixture other;
    fixture_open(&other, NULL);
    struct store_rider rider = queue_rider(other.queue);
    fake_body_add(other.store, SLICE("a body"));
    for (size_t i = 0; i < fx.store->record_count; i++) {
        struct slice in = { fx.store->records[i].ops + 4, fx.store->records[i].ops_len - 4 };
        char copy[2000];
        must(in.len < sizeof copy);
        for (size_t at = 0; at <= in.len; at++) {
            memcpy(copy, in.ptr, in.len);
            rider.apply(rider.self, other.store, (struct slice){ copy, at }, 1, 6);
            for (int bit = 0; bit < 8 && at < in.len; bit++) {
                copy[at] = (char)(in.ptr[at] ^ (1 << bit));
                rider.apply(rider.self, other.store, (struct slice){ copy, in.len }, 1, 6);
                copy[at] = in.ptr[at];
            }
        }
    }
    for (size_t i = 0; i < fx.store->row_count; i++) {
        const struct fake_row *row = &fx.store->rows[i];
        char copy[2000];
        must(row->len < sizeof copy);
        for (size_t at = 0; at < row->len; at++) {
            memcpy(copy, row->bytes, row->len);
            copy[at] = (char)~copy[at];
            /* Its body would not be there: the store's checksums keep that from happening. */
            if (at >= 9)
                rider.load(rider.self, other.store, 1000 + at, (struct slice){ copy, row->len });
            rider.load(rider.self, other.store, 5000 + at, (struct slice){ row->bytes, at });
        }
    }
    uint64_t after = 0;
    const struct queue_entry *entry;
    struct buf out;
    buf_init(&out, 1 << 26);
    while ((entry = queue_after(other.queue, after)) != NULL) {
        after = entry->id;
        (void)queue_entry_write_json(entry, START, &out);
        (void)queue_why(other.queue, after, START, &out, &other.fault);
        buf_clear(&out);
    }
    buf_free(&out);
    CHECK(true);
    fixture_close(&other);
    fixture_close(&fx);
}

int main(void)
{
    every_position();
    checkpoints();
    half_checkpoints();
    nonsense();
    return check_done();
}
