/* The scheduler in simulated time: tables for its promises, then long random walks against a model of them. */
#include "check.h"
#include "fixture.h"
#include "queue/inner.h"

#include <inttypes.h>

static struct queue_options options(uint32_t concurrency, uint32_t per_destination)
{
    return (struct queue_options){
        .retry_first_s = 300, .retry_max_s = 4 * 3600, .lifetime_s = 5 * 24 * 3600, .delay_warning_s = 0,
        .concurrency = concurrency, .destination_concurrency = per_destination, .history_days = 0,
    };
}

static size_t start_all(struct fixture *fx, int64_t now_ms, struct queue_job *jobs, size_t max)
{
    size_t count = 0;
    while (count < max && queue_next_job(fx->queue, now_ms, 1, &jobs[count]) == RC_OK)
        count++;
    return count;
}

static void limits(void)
{
    struct fixture fx;
    struct queue_options o = options(5, 2);
    struct queue_job jobs[100];
    fixture_open(&fx, &o);
    CASE("two jobs at once for a destination, five in all");
    for (int i = 0; i < 4; i++)
        fixture_add(&fx, "me@home.example", "a@x.example b@y.example c@z.example", NOTIFY_NEVER, START);
    CHECK_INT(start_all(&fx, START, jobs, 100), 5);
    int x = 0;
    for (int i = 0; i < 5; i++)
        x += slice_equal(jobs[i].destination, SLICE("x.example"));
    CHECK(x >= 1 && x <= 2);
    CHECK_INT(queue_wake_ms(fx.queue), INT64_MAX);
    CASE("an ended job makes room for the next");
    fixture_done(&fx, &jobs[0], RC_OK, 250, "ok", false, START);
    CHECK_INT(queue_wake_ms(fx.queue), 0);
    CHECK_INT(start_all(&fx, START, jobs, 100), 1);
    fixture_close(&fx);

    CASE("a job takes no more than a hundred recipients");
    fixture_open(&fx, &o);
    static char many[250 * 16];
    many[0] = '\0';
    for (int i = 0; i < 250; i++)
        sprintf(many + strlen(many), "%su%d@x.example", i == 0 ? "" : " ", i);
    fixture_add(&fx, "me@home.example", many, NOTIFY_NEVER, START);
    CHECK_INT(start_all(&fx, START, jobs, 100), 2);
    CHECK_INT(jobs[0].recipient_count, 100);
    CHECK_INT(jobs[1].recipient_count, 100);
    fixture_done(&fx, &jobs[0], RC_OK, 250, "ok", false, START);
    CHECK_INT(start_all(&fx, START, jobs, 100), 1);
    CHECK_INT(jobs[0].recipient_count, 50);
    fixture_close(&fx);
}

static void fair(void)
{
    struct fixture fx;
    struct queue_options o = options(1, 1);
    struct queue_job job;
    fixture_open(&fx, &o);
    CASE("a backlog for one destination does not delay another");
    for (int i = 0; i < 200; i++)
        fixture_add(&fx, "me@home.example", "a@big.example", NOTIFY_NEVER, START);
    CHECK_INT(queue_next_job(fx.queue, START, 1, &job), RC_OK);
    fixture_add(&fx, "me@home.example", "a@small.example", NOTIFY_NEVER, START + 1);
    fixture_done(&fx, &job, RC_OK, 250, "ok", false, START + 2);
    bool found = false;
    for (int i = 0; i < 2; i++) {
        CHECK_INT(queue_next_job(fx.queue, START + 3, 1, &job), RC_OK);
        found = found || slice_equal(job.destination, SLICE("small.example"));
        fixture_done(&fx, &job, RC_OK, 250, "ok", false, START + 3);
    }
    CHECK(found);
    CASE("new mail for a destination does not cost it its turn");
    fixture_add(&fx, "me@home.example", "a@other.example", NOTIFY_NEVER, START + 4);
    found = false;
    for (int i = 0; i < 3; i++) {
        fixture_add(&fx, "me@home.example", "a@other.example", NOTIFY_NEVER, START + 4);
        CHECK_INT(queue_next_job(fx.queue, START + 5, 1, &job), RC_OK);
        found = found || slice_equal(job.destination, SLICE("other.example"));
        fixture_done(&fx, &job, RC_OK, 250, "ok", false, START + 5);
    }
    CHECK(found);
    fixture_close(&fx);
}

static void canary(void)
{
    struct fixture fx;
    struct queue_options o = options(100, 10);
    struct queue_job jobs[100];
    fixture_open(&fx, &o);
    CASE("a destination that is dead is probed by one job at a time, at intervals that grow");
    for (int i = 0; i < 500; i++)
        fixture_add(&fx, "me@home.example", "a@dead.example", NOTIFY_NEVER, START);
    size_t count = start_all(&fx, START, jobs, 100);
    CHECK_INT(count, 10);
    for (size_t i = 0; i < count; i++)
        fixture_done(&fx, &jobs[i], RC_TEMP, 0, "refused", true, START + 1000);
    CASE("those that wait behind it say why");
    const struct queue_entry *waits = queue_after(fx.queue, 0);
    CHECK_SLICE(waits->recipients[0].destination_text, SLICE("refused"));
    CHECK(waits->recipients[0].probe_ms > START + 1000);
    CASE("a destination that is dead is probed at intervals that grow");
    int64_t now = START + 1000, last = 0;
    for (int i = 0; i < 6; i++) {
        CHECK_INT(start_all(&fx, now, jobs, 100), 0);
        int64_t next = queue_wake_ms(fx.queue);
        int64_t wanted = (int64_t)300000 << i;
        CHECK(next - now >= wanted * 4 / 5 && next - now <= wanted * 6 / 5 && next - now > last);
        last = next - now;
        CHECK_INT(start_all(&fx, next, jobs, 100), 1);
        CHECK_INT(start_all(&fx, next, jobs + 1, 99), 0);
        fixture_done(&fx, &jobs[0], RC_TEMP, 0, "refused", true, next);
        now = next;
    }
    CASE("the first answer brings it back");
    now = queue_wake_ms(fx.queue);
    CHECK_INT(start_all(&fx, now, jobs, 100), 1);
    fixture_done(&fx, &jobs[0], RC_OK, 250, "ok", false, now);
    CHECK_INT(start_all(&fx, now, jobs, 100), 10);
    fixture_close(&fx);
}

/* ---- the model ------------------------------------------------------------------------------------------------------ */

enum { ENTRIES = 400, RECIPIENTS = 4, DOMAINS = 6, JOBS = 64 };

struct model {
    struct { uint64_t id; size_t count; int domain[RECIPIENTS]; enum queue_state state[RECIPIENTS]; int64_t due[RECIPIENTS]; } entries[ENTRIES];
    size_t entry_count;
    struct { bool is_dead; unsigned probes; int64_t probe; size_t active; } domains[DOMAINS];
    struct queue_job jobs[JOBS];
    size_t job_count;
    struct queue_options options;
    int64_t now;
};

static uint64_t seed;
static uint64_t chance(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static const char *const domain_names[DOMAINS] = { "a.example", "b.example", "c.example", "d.example", "e.example", "f.example" };

static int domain_of(struct slice name)
{
    for (int i = 0; i < DOMAINS; i++)
        if (slice_equal(name, slice_from_str(domain_names[i])))
            return i;
    return -1;
}

/* Takes what the queue says of due times (they are random), after checking that it says what the model expects. */
static void learn(struct model *m, struct fixture *fx, size_t at)
{
    const struct queue_entry *e = queue_find(fx->queue, m->entries[at].id);
    bool is_open = false;
    for (size_t i = 0; i < m->entries[at].count; i++)
        is_open = is_open || m->entries[at].state[i] <= QUEUE_HELD;
    CHECK((e != NULL) == is_open);
    for (size_t i = 0; e != NULL && i < m->entries[at].count; i++) {
        CHECK_INT(e->recipients[i].state, m->entries[at].state[i]);
        m->entries[at].due[i] = e->recipients[i].due_ms;
    }
}

static size_t entry_of(const struct model *m, uint64_t id)
{
    size_t at = 0;
    while (at < m->entry_count && m->entries[at].id != id)
        at++;
    return at;
}

static bool may_start(const struct model *m, int domain)
{
    size_t limit = m->domains[domain].is_dead ? 1 : m->options.destination_concurrency;
    if (m->job_count >= m->options.concurrency || m->domains[domain].active >= limit)
        return false;
    if (m->domains[domain].is_dead && m->domains[domain].probe > m->now)
        return false;
    for (size_t at = 0; at < m->entry_count; at++)
        for (size_t i = 0; i < m->entries[at].count; i++)
            if (m->entries[at].domain[i] == domain && m->entries[at].state[i] == QUEUE_DUE && m->entries[at].due[i] <= m->now)
                return true;
    return false;
}

static void walk_add(struct model *m, struct fixture *fx)
{
    if (m->entry_count == ENTRIES)
        return;
    char to[200] = "";
    size_t count = 1 + chance(RECIPIENTS);
    size_t at = m->entry_count++;
    m->entries[at].count = count;
    for (size_t i = 0; i < count; i++) {
        int domain = (int)chance(DOMAINS);
        m->entries[at].domain[i] = domain;
        m->entries[at].state[i] = QUEUE_DUE;
        sprintf(to + strlen(to), "%su%zu@%s", i == 0 ? "" : " ", i, domain_names[domain]);
    }
    m->entries[at].id = fixture_add(fx, "me@home.example", to, NOTIFY_NEVER, m->now);
    learn(m, fx, at);
}

static void walk_start(struct model *m, struct fixture *fx)
{
    struct queue_job job;
    bool expected = false;
    for (int domain = 0; domain < DOMAINS; domain++)
        expected = expected || may_start(m, domain);
    enum rc rc = queue_next_job(fx->queue, m->now, chance(UINT64_MAX), &job);
    CHECK_INT(rc, expected ? RC_OK : RC_NONE);
    if (rc != RC_OK)
        return;
    int domain = domain_of(job.destination);
    CHECK(domain >= 0 && may_start(m, domain));
    size_t at = entry_of(m, job.entry), wanted = 0;
    CHECK(at < m->entry_count);
    for (size_t i = 0; i < m->entries[at].count; i++)
        wanted += m->entries[at].domain[i] == domain && m->entries[at].state[i] == QUEUE_DUE && m->entries[at].due[i] <= m->now;
    CHECK_INT(job.recipient_count, wanted);
    for (size_t i = 0; i < job.recipient_count; i++) {
        CHECK_INT(m->entries[at].domain[job.recipients[i]], domain);
        CHECK_INT(m->entries[at].state[job.recipients[i]], QUEUE_DUE);
        m->entries[at].state[job.recipients[i]] = QUEUE_TRYING;
    }
    m->domains[domain].active++;
    m->jobs[m->job_count++] = job;
}

/* fixture_done gives 42 for chance. */
static void end_domain(struct model *m, int domain, bool is_dead)
{
    if (!is_dead) {
        m->domains[domain].is_dead = false;
    } else if (!m->domains[domain].is_dead || m->now >= m->domains[domain].probe) {
        unsigned step = m->domains[domain].is_dead ? m->domains[domain].probes : 0;
        m->domains[domain].is_dead = true;
        m->domains[domain].probes = step + 1;
        m->domains[domain].probe = m->now + schedule_back_off(300 * 1000, 4 * HOUR, step, 42);
    }
}

/* Nothing is remembered of a destination that nobody wants. */
static void forget_idle(struct model *m)
{
    for (int domain = 0; domain < DOMAINS; domain++) {
        size_t members = m->domains[domain].active;
        for (size_t at = 0; at < m->entry_count; at++)
            for (size_t i = 0; i < m->entries[at].count; i++)
                members += m->entries[at].domain[i] == domain && m->entries[at].state[i] <= QUEUE_TRYING;
        if (members == 0)
            m->domains[domain].is_dead = false;
    }
}

static void walk_end(struct model *m, struct fixture *fx)
{
    if (m->job_count == 0)
        return;
    size_t which = chance(m->job_count);
    struct queue_job job = m->jobs[which];
    m->jobs[which] = m->jobs[--m->job_count];
    int domain = domain_of(job.destination);
    size_t at = entry_of(m, job.entry);
    m->domains[domain].active--;
    static const struct { enum rc rc; bool is_dead, is_lost; enum queue_state state; } ends[] = {
        { RC_OK, false, false, QUEUE_DELIVERED }, { RC_PERM, false, false, QUEUE_BOUNCED }, { RC_TEMP, false, false, QUEUE_DUE },
        { RC_TEMP, true, false, QUEUE_DUE }, { RC_TEMP, true, false, QUEUE_DUE }, { RC_OK, false, true, QUEUE_DUE },
    };
    size_t how = chance(sizeof ends / sizeof *ends);
    if (ends[how].is_lost)
        queue_job_lost(fx->queue, &job, m->now);
    else
        CHECK_INT(fixture_done(fx, &job, ends[how].rc, 200, "x", ends[how].is_dead, m->now), RC_OK);
    for (size_t i = 0; i < job.recipient_count; i++)
        m->entries[at].state[job.recipients[i]] = ends[how].state;
    if (!ends[how].is_lost)
        end_domain(m, domain, ends[how].is_dead);
    forget_idle(m);
    learn(m, fx, at);
}

static void walk_act(struct model *m, struct fixture *fx)
{
    static const struct { enum queue_action action; enum queue_state from, also, to; } acts[] = {
        { QUEUE_HOLD, QUEUE_DUE, QUEUE_DUE, QUEUE_HELD }, { QUEUE_RELEASE, QUEUE_HELD, QUEUE_HELD, QUEUE_DUE },
        { QUEUE_DELETE, QUEUE_DUE, QUEUE_HELD, QUEUE_DELETED },
    };
    if (m->entry_count == 0)
        return;
    size_t at = chance(m->entry_count), which = chance(3);
    uint64_t wait;
    struct fault f;
    enum rc rc = queue_act(fx->queue, m->entries[at].id, acts[which].action, m->now, &wait, &f);
    fake_poll(fx->store);
    bool any = false;
    for (size_t i = 0; i < m->entries[at].count; i++)
        if (m->entries[at].state[i] == acts[which].from || m->entries[at].state[i] == acts[which].also) {
            m->entries[at].state[i] = acts[which].to;
            any = true;
            if (acts[which].to == QUEUE_DUE)
                m->domains[m->entries[at].domain[i]].probe = 0;
        }
    CHECK((rc == RC_OK) == any);
    forget_idle(m);
    learn(m, fx, at);
}

/* What was being tried is due again, and nothing is known of destinations. */
static void walk_crash(struct model *m, struct fixture *fx)
{
    if (chance(2) == 0)
        CHECK_INT(fake_checkpoint(fx->store), RC_OK);
    fixture_reopen(fx, SIZE_MAX);
    m->job_count = 0;
    memset(m->domains, 0, sizeof m->domains);
    for (size_t at = 0; at < m->entry_count; at++) {
        for (size_t i = 0; i < m->entries[at].count; i++)
            if (m->entries[at].state[i] == QUEUE_TRYING)
                m->entries[at].state[i] = QUEUE_DUE;
        learn(m, fx, at);
    }
}

/* Whoever sleeps until queue_wake_ms misses nothing. */
static void check_wake(struct model *m, struct fixture *fx)
{
    int64_t wake = queue_wake_ms(fx->queue), now = m->now;
    bool is_due = false;
    if (wake > now)
        for (int domain = 0; domain < DOMAINS; domain++)
            is_due = is_due || may_start(m, domain);
    CHECK(!is_due);
}

static void walk(uint64_t start_seed)
{
    struct fixture fx;
    struct model *m = calloc(1, sizeof *m);
    seed = start_seed;
    m->options = options(1 + (uint32_t)chance(20), 1 + (uint32_t)chance(4));
    m->now = START;
    fixture_open(&fx, &m->options);
    for (int step = 0; step < 3000; step++) {
        switch (chance(12)) {
        case 0: case 1: walk_add(m, &fx); break;
        case 2: case 3: case 4: case 5: walk_start(m, &fx); break;
        case 6: case 7: case 8: walk_end(m, &fx); break;
        case 9: walk_act(m, &fx); break;
        case 10: m->now += (int64_t)chance(MINUTE); break;
        default:
            m->now += (int64_t)chance(20 * MINUTE);
            if (chance(10) == 0)
                walk_crash(m, &fx);
        }
        check_wake(m, &fx);
    }
    size_t recipients, expected = 0;
    queue_count(fx.queue, &recipients);
    for (size_t at = 0; at < m->entry_count; at++)
        for (size_t i = 0; i < m->entries[at].count; i++)
            expected += m->entries[at].state[i] <= QUEUE_HELD;
    CHECK_INT(recipients, expected);
    fixture_close(&fx);
    free(m);
}

static void clock_goes_back(void)
{
    struct fixture fx;
    struct queue_options o = options(1, 1);
    struct queue_job job;
    fixture_open(&fx, &o);
    CASE("what became due stays due when the clock goes back");
    fixture_add(&fx, "me@home.example", "a@x.example", NOTIFY_NEVER, START);
    fixture_add(&fx, "me@home.example", "a@y.example", NOTIFY_NEVER, START);
    CHECK_INT(queue_next_job(fx.queue, START, 1, &job), RC_OK);
    fixture_done(&fx, &job, RC_OK, 250, "ok", false, START);
    CHECK_INT(queue_next_job(fx.queue, START - HOUR, 1, &job), RC_OK);
    CHECK_INT(job.recipient_count, 1);
    fixture_done(&fx, &job, RC_OK, 250, "ok", false, START - HOUR);
    CHECK_INT(queue_next_job(fx.queue, START - HOUR, 1, &job), RC_NONE);
    fixture_close(&fx);
}

int main(void)
{
    limits();
    clock_goes_back();
    fair();
    canary();
    for (uint64_t i = 1; i <= 40; i++) {
        char name[60];
        sprintf(name, "a random walk with seed %" PRIu64, i);
        CASE(name);
        walk(i * 0x9e3779b97f4a7c15);
    }
    return check_done();
}
