/* The life of a message in the queue, from acceptance to its last recipient. */
#include "check.h"
#include "fixture.h"

#include <inttypes.h>

static struct queue_job next_job(struct fixture *fx, int64_t now_ms)
{
    struct queue_job job = { 0 };
    CHECK_INT(queue_next_job(fx->queue, now_ms, 1, &job), RC_OK);
    return job;
}

static bool nothing_due(struct fixture *fx, int64_t now_ms)
{
    struct queue_job job;
    return queue_next_job(fx->queue, now_ms, 1, &job) == RC_NONE;
}

static size_t open_recipients(struct fixture *fx)
{
    size_t recipients;
    queue_count(fx->queue, &recipients);
    return recipients;
}

static void ids(void)
{
    static const struct { const char *name, *text; enum rc rc; uint64_t id; } cases[] = {
        { "thirteen digits are an id", "0000000000001", RC_OK, 1 },
        { "the largest id", "fvvvvvvvvvvvv", RC_OK, UINT64_MAX },
        { "capitals mean the same", "000000000000A", RC_OK, 10 },
        { "more than 64 bits are refused", "g000000000000", RC_PERM, 0 },
        { "twelve digits are none", "000000000001", RC_PERM, 0 },
        { "a letter past v is none", "000000000000w", RC_PERM, 0 },
        { "nothing is none", "", RC_PERM, 0 },
        { "zero is none", "0000000000000", RC_PERM, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CASE(cases[i].name);
        uint64_t id = 0;
        CHECK_INT(queue_id_parse(slice_from_str(cases[i].text), &id), cases[i].rc);
        CHECK(id == cases[i].id);
    }
    CASE("ids in order are texts in order");
    char a[QUEUE_ID_TEXT], b[QUEUE_ID_TEXT];
    queue_id_write((uint64_t)START << 20, a);
    queue_id_write(((uint64_t)START << 20) + 1, b);
    CHECK(strcmp(a, b) < 0);
    uint64_t id;
    CHECK_INT(queue_id_parse(slice_from_str(b), &id), RC_OK);
    CHECK(id == ((uint64_t)START << 20) + 1);
}

static void delivered(void)
{
    struct fixture fx;
    fixture_open(&fx, NULL);
    CASE("a message is due at once, one job a destination");
    uint64_t id = fixture_add(&fx, "me@home.example", "a@x.example b@y.example c@x.example", 0, START);
    CHECK_INT(open_recipients(&fx), 3);
    CHECK_INT(queue_wake_ms(fx.queue), START);
    struct queue_job first = next_job(&fx, START), second = next_job(&fx, START);
    CHECK(first.entry == id && second.entry == id);
    CHECK_INT(first.recipient_count + second.recipient_count, 3);
    CHECK(first.number != second.number);
    CHECK(nothing_due(&fx, START + HOUR));

    CASE("what is being tried can be seen");
    const struct queue_entry *entry = queue_find(fx.queue, id);
    CHECK(entry != NULL && entry->recipients[0].state == QUEUE_TRYING);
    CHECK_SLICE(entry->recipients[1].address.domain, SLICE("y.example"));
    CHECK_SLICE(entry->user, SLICE("alice"));
    CHECK_INT(entry->trace_bytes, 5);
    CHECK_INT(entry->accepted_ms, START);

    CASE("the body is kept until the last recipient is done (Q5), then the entry goes");
    struct fake_body *body = fake_body_find(fx.store, entry->body_id);
    CHECK_INT(body->refs, 1);
    CHECK_INT(fixture_done(&fx, &first, RC_OK, 250, "ok", false, START + 5), RC_OK);
    CHECK_INT(body->refs, 1);
    CHECK_INT(fixture_done(&fx, &second, RC_OK, 250, "ok", false, START + 6), RC_OK);
    CHECK_INT(body->refs, 0);
    CHECK(queue_find(fx.queue, id) == NULL);
    CHECK_INT(queue_count(fx.queue, NULL), 0);
    CHECK_INT(open_recipients(&fx), 0);
    CHECK_INT(fx.reports, 0);
    fixture_close(&fx);
}

static void retried(void)
{
    struct fixture fx;
    fixture_open(&fx, NULL);
    CASE("after 4xx a recipient is due again, at intervals that grow");
    uint64_t id = fixture_add(&fx, "me@home.example", "a@x.example", NOTIFY_NEVER, START);
    int64_t now = START, interval = 0;
    for (int i = 0; i < 8; i++) {
        struct queue_job job = next_job(&fx, now);
        CHECK_INT(fixture_done(&fx, &job, RC_TEMP, 450, "later", false, now), RC_OK);
        const struct queue_entry *entry = queue_find(fx.queue, id);
        CHECK_INT(entry->recipients[0].state, QUEUE_DUE);
        CHECK_INT(entry->recipients[0].attempts, i + 1);
        CHECK_SLICE(entry->recipients[0].last_text, SLICE("later"));
        CHECK_SLICE(entry->recipients[0].last_remote, SLICE("mx.there.example[192.0.2.9]:25"));
        int64_t next = entry->recipients[0].due_ms - now;
        int64_t wanted = (int64_t)300000 << i;
        if (wanted > 4 * HOUR)
            wanted = 4 * HOUR;
        CHECK(next >= wanted * 4 / 5 && next <= wanted * 6 / 5);
        CHECK(next >= interval || wanted == 4 * HOUR);
        CHECK(nothing_due(&fx, now + next - 1));
        CHECK_INT(queue_wake_ms(fx.queue), now + next);
        interval = next;
        now += next;
    }
    CASE("when its lifetime is over there is one last attempt, then it bounces with 4.4.7");
    int tries = 0;
    while (queue_find(fx.queue, id) != NULL && tries++ < 100) {
        now = queue_wake_ms(fx.queue);
        struct queue_job job = next_job(&fx, now);
        fixture_done(&fx, &job, RC_TEMP, 450, "later", false, now);
    }
    CHECK(queue_find(fx.queue, id) == NULL);
    CHECK_INT(now, START + 5 * 24 * HOUR);
    CHECK_INT(fx.reports, 0);

    CASE("a job that was lost is due at once, without counting");
    id = fixture_add(&fx, "me@home.example", "a@x.example", 0, now);
    struct queue_job job = next_job(&fx, now);
    queue_job_lost(fx.queue, &job, now + 1);
    CHECK_INT(queue_find(fx.queue, id)->recipients[0].attempts, 0);
    job = next_job(&fx, now + 1);
    CHECK(job.entry == id);

    CASE("an outcome that cannot be recorded leaves the recipient due, later");
    fx.store->accept_fails = true;
    CHECK_INT(fixture_done(&fx, &job, RC_OK, 250, "ok", false, now + 2), RC_TEMP);
    CHECK_INT(queue_find(fx.queue, id)->recipients[0].state, QUEUE_DUE);
    CHECK_INT(queue_wake_ms(fx.queue), now + 2 + 300000);
    fx.store->accept_fails = false;

    CASE("no attempt starts when its outcome could not be recorded (Q2)");
    fx.store->is_full = true;
    CHECK(nothing_due(&fx, now + HOUR));
    CHECK(queue_wake_ms(fx.queue) > now + HOUR);
    fx.store->is_full = false;
    CHECK(nothing_due(&fx, now + HOUR + 1));
    job = next_job(&fx, queue_wake_ms(fx.queue));
    CHECK(job.entry == id);
    fixture_close(&fx);
}

static size_t die(struct fixture *fx, const struct queue_job *job, int64_t now_ms)
{
    size_t set_aside = 99;
    CHECK_INT(queue_job_died(fx->queue, job, now_ms, 1, &set_aside, &fx->wait, &fx->fault), RC_OK);
    fake_poll(fx->store);
    return set_aside;
}

static void died(void)
{
    struct fixture fx;
    struct queue_job job;
    fixture_open(&fx, NULL);
    CASE("who tries dies: the message is due again, later");
    uint64_t id = fixture_add(&fx, "me@home.example", "a@x.example b@y.example", NOTIFY_NEVER, START);
    job = next_job(&fx, START);
    CHECK_INT(job.is_suspect, false);
    CHECK_INT(die(&fx, &job, START), 0);
    const struct queue_recipient *r = &queue_find(fx.queue, id)->recipients[job.recipients[0]];
    CHECK_INT(r->state, QUEUE_DUE);
    CHECK(r->due_ms > START + 60000 && strstr(arena_str(&fx.arena, r->last_text), "tried once more") != NULL);
    CASE("the other recipient has nothing to do with it");
    struct queue_job other = next_job(&fx, START);
    CHECK(other.recipients[0] != job.recipients[0] && !other.is_suspect);
    fixture_done(&fx, &other, RC_OK, 250, "ok", false, START);
    CHECK(nothing_due(&fx, START));

    CASE("a second death in a row sets it aside, also when the memory of the first is in the log or in the checkpoint alone");
    fixture_reopen(&fx, SIZE_MAX);
    CHECK_INT(fake_checkpoint(fx.store), RC_OK);
    fixture_reopen(&fx, SIZE_MAX);
    job = next_job(&fx, START + HOUR);
    CHECK_INT(job.is_suspect, true);
    CHECK_INT(die(&fx, &job, START + HOUR), 1);
    r = &queue_find(fx.queue, id)->recipients[job.recipients[0]];
    CHECK_INT(r->state, QUEUE_HELD);
    CHECK(strstr(arena_str(&fx.arena, r->last_text), "set aside") != NULL);
    CHECK(nothing_due(&fx, START + 10 * 24 * HOUR));
    struct buf why;
    buf_init(&why, 1 << 20);
    CHECK_INT(queue_why(fx.queue, id, START, &why, &fx.fault), RC_OK);
    buf_append_byte(&why, '\0');
    CHECK(strstr(buf_slice(&why).ptr, "\"event\":\"died\"") != NULL && strstr(buf_slice(&why).ptr, "\"state\":\"held\"") != NULL);
    buf_free(&why);

    CASE("released it has one more try, not two");
    CHECK_INT(queue_act(fx.queue, id, QUEUE_RELEASE, START + HOUR, &fx.wait, &fx.fault), RC_OK);
    fake_poll(fx.store);
    job = next_job(&fx, START + HOUR);
    CHECK_INT(die(&fx, &job, START + HOUR), 1);
    CHECK_INT(queue_find(fx.queue, id)->recipients[job.recipients[0]].state, QUEUE_HELD);

    CASE("an attempt that comes to its end clears it");
    CHECK_INT(queue_act(fx.queue, id, QUEUE_RELEASE, START + HOUR, &fx.wait, &fx.fault), RC_OK);
    fake_poll(fx.store);
    job = next_job(&fx, START + HOUR);
    fixture_done(&fx, &job, RC_TEMP, 450, "later", false, START + HOUR);
    job = next_job(&fx, START + 10 * HOUR);
    CHECK_INT(job.is_suspect, false);
    CHECK_INT(die(&fx, &job, START + 10 * HOUR), 0);
    CHECK_INT(queue_find(fx.queue, id)->recipients[job.recipients[0]].state, QUEUE_DUE);
    fixture_close(&fx);
}

static void died_reporting(void)
{
    struct fixture fx;
    uint64_t id, wait;
    fixture_open(&fx, NULL);
    CASE("a message whose report kills this process twice is held at the next start, before anything is tried");
    uint64_t poison = fixture_add(&fx, "me@home.example", "a@x.example b@y.example", 0, START);
    uint64_t good = fixture_add(&fx, "me@home.example", "a@x.example", 0, START);
    fx.store->died_of = poison;
    fx.store->deaths = 1;
    CHECK_INT(queue_set_aside(fx.queue, START, &id, &wait, &fx.fault), RC_NONE);
    fx.store->deaths = 2;
    fixture_reopen(&fx, SIZE_MAX);
    CHECK_INT(queue_set_aside(fx.queue, START, &id, &wait, &fx.fault), RC_OK);
    CHECK(id == poison);
    struct queue_job job = next_job(&fx, START);
    CHECK(job.entry == good);
    CHECK(nothing_due(&fx, START));
    fake_poll(fx.store);
    for (size_t i = 0; i < 2; i++) {
        const struct queue_recipient *r = &queue_find(fx.queue, poison)->recipients[i];
        CHECK_INT(r->state, QUEUE_HELD);
        CHECK(strstr(arena_str(&fx.arena, r->last_text), "set aside") != NULL);
    }
    CASE("one that is not in the queue any more has nothing to be held");
    fx.store->died_of = 12345;
    CHECK_INT(queue_set_aside(fx.queue, START, &id, &wait, &fx.fault), RC_NONE);
    fixture_close(&fx);
}

static void suspects(void)
{
    struct fixture fx;
    struct queue_job jobs[5], again[5];
    size_t count = 0;
    fixture_open(&fx, NULL);
    CASE("of several that were under way one at a time is tried again, so that a second death can be laid at one door");
    for (int i = 0; i < 4; i++)
        fixture_add(&fx, "me@home.example", i % 2 == 0 ? "a@x.example" : "b@y.example", NOTIFY_NEVER, START);
    while (count < 4 && queue_next_job(fx.queue, START, 1, &jobs[count]) == RC_OK)
        count++;
    CHECK_INT(count, 4);
    for (size_t i = 0; i < count; i++)
        CHECK_INT(die(&fx, &jobs[i], START), 0);
    int64_t now = START + HOUR;
    for (size_t i = 0; i < 4; i++, now += 2000) {
        again[i] = next_job(&fx, now);
        CHECK(again[i].is_suspect);
        CHECK(nothing_due(&fx, now));
        CHECK(i == 3 || (queue_wake_ms(fx.queue) > now && queue_wake_ms(fx.queue) <= now + 1000));
        CASE("... while mail that is not suspect goes on beside it");
        uint64_t fresh = fixture_add(&fx, "me@home.example", "a@x.example", NOTIFY_NEVER, now);
        struct queue_job beside = next_job(&fx, now);
        CHECK(beside.entry == fresh && !beside.is_suspect);
        fixture_done(&fx, &beside, RC_OK, 250, "ok", false, now);
        fixture_done(&fx, &again[i], RC_OK, 250, "ok", false, now);
    }
    CHECK_INT(queue_count(fx.queue, NULL), 0);
    fixture_close(&fx);
}

static void reported(void)
{
    struct fixture fx;
    fixture_open(&fx, NULL);
    CASE("a refusal becomes a report in the same record (Q3)");
    struct smtp_mail mail = { .reverse_path = fixture_address(&fx, "me@home.example"), .envid = SLICE("ENV-7"), .ret = SMTP_RET_HDRS };
    uint64_t id = fixture_add_mail(&fx, &mail, "a@x.example", NOTIFY_FAILURE, "rfc822;first@y.example", START);
    size_t records = fx.store->record_count;
    struct queue_job job = next_job(&fx, START);
    CHECK_INT(fixture_done(&fx, &job, RC_PERM, 550, "no such user", false, START + 1000), RC_OK);
    CHECK_INT(fx.store->record_count, records + 1);
    CHECK_INT(fx.reports, 1);
    CHECK(queue_find(fx.queue, id) == NULL);
    CHECK_INT(queue_count(fx.queue, NULL), 1);

    CASE("the report is a message from <> to the sender");
    const struct queue_entry *report = queue_after(fx.queue, 0);
    CHECK(report != NULL && report->mail.reverse_path.is_null && report->recipient_count == 1);
    CHECK_SLICE(report->recipients[0].address.local_part, SLICE("me"));
    static const struct { const char *what, *text; } parts[] = {
        { "is a multipart/report", "report-type=delivery-status" },
        { "names the recipient", "x.example" },
        { "says failed", "Action: failed" },
        { "carries the status", "5.1.1" },
        { "carries the reply", "550 no such user" },
        { "carries ENVID", "ENV-7" },
        { "carries ORCPT", "first@y.example" },
        { "names this server", "mail.home.example" },
        { "returns the header", "Subject: hello" },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        CASE(parts[i].what);
        CHECK(strstr(fx.last_report, parts[i].text) != NULL);
    }
    CASE("but not the text (RET=HDRS), nor our trace header");
    CHECK(strstr(fx.last_report, "The text of it") == NULL);
    CHECK(strstr(fx.last_report, "TRACE") == NULL);

    CASE("a report that fails is dropped (Q4), and its history says so");
    uint64_t report_id = report->id;
    job = next_job(&fx, START + 2000);
    CHECK(job.entry == report_id);
    CHECK_INT(fixture_done(&fx, &job, RC_PERM, 550, "gone", false, START + 2000), RC_OK);
    CHECK_INT(fx.reports, 1);
    CHECK_INT(queue_count(fx.queue, NULL), 0);
    struct buf why;
    buf_init(&why, 1 << 20);
    CHECK_INT(queue_why(fx.queue, report_id, START, &why, &fx.fault), RC_OK);
    buf_append_byte(&why, '\0');
    CHECK(strstr(buf_slice(&why).ptr, "not_reported") != NULL);
    buf_clear(&why);

    CASE("the first message's history tells all of it");
    CHECK_INT(queue_why(fx.queue, id, START, &why, &fx.fault), RC_OK);
    buf_append_byte(&why, '\0');
    static const char *const told[] = { "\"event\":\"accepted\"", "\"from\":\"me@home.example\"", "\"queued\":[\"a@x.example\"]", "\"peer\":\"192.0.2.1\"",
        "\"event\":\"attempt\"", "\"tls\":\"TLSv1.3 AES\"", "\"to\":\"a@x.example\",\"state\":\"bounced\",\"code\":550,\"status\":\"5.1.1\"",
        "\"reply\":\"no such user\"", "\"report\":\"" };
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        CHECK(strstr(buf_slice(&why).ptr, told[i]) != NULL);
    buf_free(&why);
    fixture_close(&fx);
}

static void notify(void)
{
    static const struct { const char *name; const char *from; unsigned notify; enum rc rc; bool has_dsn; size_t reports; const char *action; } cases[] = {
        { "without NOTIFY a failure is told",               "me@home.example", 0,              RC_PERM, false, 1, "Action: failed" },
        { "NOTIFY=FAILURE wants failures told",             "me@home.example", NOTIFY_FAILURE, RC_PERM, false, 1, "Action: failed" },
        { "NOTIFY=NEVER wants nothing told",                "me@home.example", NOTIFY_NEVER,   RC_PERM, false, 0, "" },
        { "NOTIFY=DELAY does not want failures told",       "me@home.example", NOTIFY_DELAY,   RC_PERM, false, 0, "" },
        { "NOTIFY=SUCCESS does not want failures told",     "me@home.example", NOTIFY_SUCCESS, RC_PERM, false, 0, "" },
        { "a failure of a report is told to nobody",        "",                0,              RC_PERM, false, 0, "" },
        { "without NOTIFY a success is not told",           "me@home.example", 0,              RC_OK,   false, 0, "" },
        { "NOTIFY=SUCCESS: relayed, when the next hop cannot tell", "me@home.example", NOTIFY_SUCCESS, RC_OK, false, 1, "Action: relayed" },
        { "NOTIFY=SUCCESS: the next hop tells when it can", "me@home.example", NOTIFY_SUCCESS, RC_OK,   true,  0, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture fx;
        fixture_open(&fx, NULL);
        fx.routing = ROUTE_LOCAL;
        CASE(cases[i].name);
        fixture_add(&fx, cases[i].from, "a@x.example", cases[i].notify, START);
        struct queue_job job = next_job(&fx, START);
        struct smtp_outcome outcome = { .rc = cases[i].rc, .code = 250, .text = SLICE("said"), .is_remote = true };
        struct slice remote = SLICE("mx[192.0.2.9]:25");
        struct queue_attempt attempt = { .has_dsn = cases[i].has_dsn };
        CHECK_INT(queue_job_done(fx.queue, &job, &outcome, &remote, &attempt, START, 1, &fx.wait, &fx.fault), RC_OK);
        fake_poll(fx.store);
        CHECK_INT(fx.reports, cases[i].reports);
        CHECK(strstr(fx.last_report, cases[i].action) != NULL);
        CHECK_INT(queue_count(fx.queue, NULL), 0);
        const struct fake_record *last = &fx.store->records[fx.store->record_count - 1];
        CHECK_INT(last->delivery_count, cases[i].reports);
        fixture_close(&fx);
    }
    CASE("a report that has nowhere to go does not keep the failure from being recorded");
    struct fixture fx;
    fixture_open(&fx, NULL);
    fx.routing = ROUTE_NOWHERE;
    fixture_add(&fx, "me@home.example", "a@x.example", 0, START);
    struct queue_job job = next_job(&fx, START);
    CHECK_INT(fixture_done(&fx, &job, RC_PERM, 550, "no", false, START), RC_OK);
    CHECK_INT(queue_count(fx.queue, NULL), 0);
    fixture_close(&fx);
}

static void time_passes(void)
{
    struct fixture fx;
    fixture_open(&fx, NULL);
    CASE("the sender is told once that a message is late");
    uint64_t id = fixture_add(&fx, "me@home.example", "a@dead.example", 0, START);
    uint64_t other = fixture_add(&fx, "me@home.example", "b@dead.example", 0, START + 1);
    struct queue_job job = next_job(&fx, START + 1);
    CHECK_INT(fixture_done(&fx, &job, RC_TEMP, 0, "connection refused", true, START + 1), RC_OK);
    CHECK_INT(queue_tick(fx.queue, START + 4 * HOUR - 1, 1, &fx.fault), RC_OK);
    CHECK_INT(fx.reports, 0);
    /* The other one was never tried: it waits behind the dead destination. */
    CHECK_INT(queue_tick(fx.queue, START + 4 * HOUR + 1, 1, &fx.fault), RC_OK);
    fake_poll(fx.store);
    CHECK_INT(fx.reports, 2);
    CHECK(strstr(fx.last_report, "Action: delayed") != NULL);
    CHECK(strstr(fx.last_report, "connection refused") != NULL);
    CHECK_INT(queue_tick(fx.queue, START + 6 * HOUR, 1, &fx.fault), RC_OK);
    CHECK_INT(fx.reports, 2);
    CHECK(queue_find(fx.queue, id)->recipients[0].is_delay_told && queue_find(fx.queue, other)->recipients[0].is_delay_told);

    CASE("and it bounces when its time is over, even if no attempt was possible");
    struct queue_job probe = next_job(&fx, START + 6 * HOUR);
    CHECK_INT(fixture_done(&fx, &probe, RC_TEMP, 0, "no route", true, START + 6 * HOUR), RC_OK);
    fx.routing = ROUTE_LOCAL;
    struct queue_job last = { 0 };
    int64_t now = START + 120 * HOUR - 1000;
    while (queue_next_job(fx.queue, now, 1, &last) == RC_OK)
        fixture_done(&fx, &last, RC_TEMP, 0, "no route", true, now);
    CHECK_INT(queue_tick(fx.queue, START + 120 * HOUR + 1, 1, &fx.fault), RC_OK);
    fake_poll(fx.store);
    CHECK(queue_find(fx.queue, id) == NULL && queue_find(fx.queue, other) == NULL);
    CHECK(strstr(fx.last_report, "Action: failed") != NULL);
    CHECK(strstr(fx.last_report, "4.4.7") != NULL);
    CHECK(strstr(fx.last_report, "no route") != NULL);
    fixture_close(&fx);
}

static void administered(void)
{
    struct fixture fx;
    fixture_open(&fx, NULL);
    CASE("a held message waits until it is released");
    uint64_t id = fixture_add(&fx, "me@home.example", "a@x.example b@y.example", 0, START);
    CHECK_INT(queue_act(fx.queue, id, QUEUE_HOLD, START, &fx.wait, &fx.fault), RC_OK);
    CHECK(nothing_due(&fx, START));
    fake_poll(fx.store);
    CHECK_INT(queue_find(fx.queue, id)->recipients[0].state, QUEUE_HELD);
    CHECK(nothing_due(&fx, START + HOUR));
    CHECK_INT(queue_tick(fx.queue, START + 300 * HOUR, 1, &fx.fault), RC_OK);
    CHECK(queue_find(fx.queue, id) != NULL);
    CHECK_INT(queue_act(fx.queue, id, QUEUE_HOLD, START, &fx.wait, &fx.fault), RC_PERM);
    CHECK_INT(queue_act(fx.queue, id, QUEUE_RELEASE, START + HOUR, &fx.wait, &fx.fault), RC_OK);
    fake_poll(fx.store);
    struct queue_job job = next_job(&fx, START + HOUR);

    CASE("what is being tried is left alone, the rest is acted on");
    CHECK_INT(queue_act(fx.queue, id, QUEUE_DELETE, START + HOUR, &fx.wait, &fx.fault), RC_OK);
    fake_poll(fx.store);
    CHECK_INT(open_recipients(&fx), 1);
    CHECK_INT(queue_act(fx.queue, id, QUEUE_DELETE, START + HOUR, &fx.wait, &fx.fault), RC_TEMP);
    CHECK_INT(fixture_done(&fx, &job, RC_TEMP, 0, "refused", true, START + HOUR), RC_OK);

    CASE("retry makes it due now, and its dead destination is probed at once");
    CHECK(nothing_due(&fx, START + HOUR));
    CHECK_INT(queue_act(fx.queue, id, QUEUE_RETRY, START + HOUR, &fx.wait, &fx.fault), RC_OK);
    fake_poll(fx.store);
    job = next_job(&fx, START + HOUR);
    CHECK_INT(fixture_done(&fx, &job, RC_TEMP, 450, "later", false, START + HOUR), RC_OK);

    CASE("bounce returns it to its sender");
    CHECK_INT(queue_act(fx.queue, id, QUEUE_BOUNCE, START + HOUR, &fx.wait, &fx.fault), RC_OK);
    fake_poll(fx.store);
    CHECK(queue_find(fx.queue, id) == NULL);
    CHECK_INT(fx.reports, 1);
    CHECK(strstr(fx.last_report, "administrator") != NULL);

    CASE("an action that cannot be recorded changes nothing");
    id = fixture_add(&fx, "me@home.example", "a@z.example", 0, START);
    fx.store->accept_fails = true;
    CHECK_INT(queue_act(fx.queue, id, QUEUE_DELETE, START, &fx.wait, &fx.fault), RC_TEMP);
    fx.store->accept_fails = false;
    CHECK_INT(queue_find(fx.queue, id)->recipients[0].state, QUEUE_DUE);
    CHECK_INT(queue_act(fx.queue, 99, QUEUE_DELETE, START, &fx.wait, &fx.fault), RC_NONE);
    bool found = false;
    struct queue_job any;
    while (queue_next_job(fx.queue, START + HOUR, 1, &any) == RC_OK)
        found = found || any.entry == id;
    CHECK(found);
    fixture_close(&fx);
}

static void queries(void)
{
    struct fixture fx;
    fixture_open(&fx, NULL);
    uint64_t id = fixture_add(&fx, "me@home.example", "a@x.example Bob@y.example", NOTIFY_NEVER, START);
    struct queue_job job = next_job(&fx, START);
    fixture_done(&fx, &job, RC_TEMP, 450, "mailbox is busy", false, START);
    static const struct { const char *name; struct queue_query query; bool matches; } cases[] = {
        { "an empty query matches", { .only_due = false }, true },
        { "the domain of any recipient", { .domain = SLICE_INIT("Y.example") }, true },
        { "a part of the domain is not it", { .domain = SLICE_INIT("example") }, false },
        { "a part of the sender", { .sender = SLICE_INIT("me@HOME") }, true },
        { "the user who submitted it", { .sender = SLICE_INIT("alice") }, true },
        { "another sender", { .sender = SLICE_INIT("you@") }, false },
        { "a part of a recipient", { .recipient = SLICE_INIT("bob@y") }, true },
        { "domain and recipient are of the same one", { .domain = SLICE_INIT("x.example"), .recipient = SLICE_INIT("bob") }, false },
        { "a part of the error", { .error = SLICE_INIT("BUSY") }, true },
        { "another error", { .error = SLICE_INIT("full") }, false },
        { "older than a minute", { .older_than_s = 60 }, true },
        { "older than an hour", { .older_than_s = 3600 }, false },
        { "younger than an hour", { .younger_than_s = 3600 }, true },
        { "younger than a minute", { .younger_than_s = 60 }, false },
        { "held ones", { .only_held = true }, false },
        { "due ones", { .only_due = true }, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CASE(cases[i].name);
        CHECK(queue_matches(queue_find(fx.queue, id), &cases[i].query, START + 10 * MINUTE) == cases[i].matches);
    }
    CASE("an entry as JSON");
    struct buf out;
    buf_init(&out, 1 << 16);
    CHECK(queue_entry_write_json(queue_find(fx.queue, id), START + 10 * MINUTE, &out));
    buf_append_byte(&out, '\0');
    CHECK(strstr(buf_slice(&out).ptr, "\"from\":\"me@home.example\",\"user\":\"alice\",\"size\":") != NULL);
    CHECK(strstr(buf_slice(&out).ptr, "\"age_s\":600") != NULL);
    CHECK(strstr(buf_slice(&out).ptr, "{\"to\":\"a@x.example\",\"state\":\"due\",\"attempts\":1") != NULL);
    buf_free(&out);
    fixture_close(&fx);
}

int main(void)
{
    ids();
    delivered();
    retried();
    died();
    suspects();
    died_reporting();
    reported();
    notify();
    time_passes();
    administered();
    queries();
    return check_done();
}
