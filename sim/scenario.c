/* A run from its beginning to its end: boot, a busy time in which things go wrong, healing, quiet, and everything read and held against the
 * truth; then the same once more after a restart. Last the servers are stopped, and their disks audited, and damaged. */
#include "sim/audit.h"
#include "sim/flips.h"
#include "sim/growth.h"
#include "sim/room.h"

#include "sim/inner.h"

#include <stdio.h>

enum { LOOKS = 40, GROWING_ROUNDS = 20 };

/* ---- the beginning ------------------------------------------------------------------------------------------------------------ */

static void tell_plan(const struct room *room)
{
    char faults[300] = "";
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
        if (room_has(room, (enum fault_kind)kind))
            (void)snprintf(faults + strlen(faults), sizeof faults - strlen(faults), " %s:%u", fault_names[kind], room->plan.strength[kind]);
    sim_trace("%u servers with %u people each, %u servers of others, %lld minutes, a deed every %lld s; faults:%s", room->plan.nodes,
              room->plan.people, room->plan.strange, (long long)(room->plan.busy_us / MINUTE_US), (long long)(room->plan.pause_us / SECOND_US),
              *faults != '\0' ? faults : " none");
}

static void work(struct room *room, struct sim_host *host, const char *name, int (*main)(void *), void *arg)
{
    room->at_work++;
    (void)sim_spawn(host, name, main, arg);
}

static void begin(struct room *room)
{
    sim_run(sim_now_us() + SECOND_US, NULL);            /* the accounts are made */
    for (unsigned i = 0; i < room->plan.nodes; i++) {
        node_boot(room->servers[i].node);
        (void)sim_spawn(room->desks[0], "caretaker", caretaker_main, &room->servers[i]);
    }
    sim_run(sim_now_us() + 10 * SECOND_US, NULL);
    for (unsigned i = 0; i < room->people_count; i++) {
        struct person *person = &room->people[i];
        if (person->is_bait)
            continue;
        work(room, person->desk, "writer", letters_main, person);
        for (uint64_t readers = 1 + sim_below(PERSON_READERS); readers > 0; readers--)
            work(room, person->desk, "reader", reader_main, &person->readers[readers - 1]);
        if (sim_chance(300000))
            work(room, person->desk, "popper", popper_main, person);
    }
}

/* ---- the end -------------------------------------------------------------------------------------------------------------------- */

static bool look_at_person(struct person *person)
{
    for (unsigned tries = 0; tries < 5; tries++) {
        if (reader_look_at_all(person) && popper_look(person))
            return true;
        sim_sleep_us(MINUTE_US);
    }
    return false;
}

static void look_at_all(struct room *room)
{
    for (unsigned i = 0; i < room->people_count; i++)
        if (!look_at_person(&room->people[i]))
            sim_fail("unreadable: nothing goes wrong any more, and the mail of %s cannot be read to its end", room->people[i].address);
}

/* A session goes on while its server reloads. */
static void reload_under(struct person *person)
{
    struct client_server server = server_of(person, 143, 993);
    enum client_result result;
    struct imap *imap = imap_open(person->desk, &server, &result);
    if (imap == NULL || imap_enter(imap, "INBOX", true) != CLIENT_DONE)
        sim_fail("unreadable: nothing goes wrong any more, and %s cannot open a mailbox", person->address);
    node_reload(person->server->node);
    person->room->faults[FAULT_RELOAD]++;
    for (unsigned times = 0; times < 3; times++) {
        sim_sleep_us(10 * SECOND_US);
        if (imap_noop(imap) != CLIENT_DONE)
            sim_fail("reload: %s reloads, and the session of %s does not go on", person->server->name, person->address);
    }
    imap_close(imap);
}

struct inspection {
    struct room *room;
    bool is_done;
};

static int inspect(void *arg)
{
    struct inspection *inspection = arg;
    struct room *room = inspection->room;
    for (unsigned looks = 0; looks < LOOKS; looks++) {
        for (unsigned i = 0; i < room->plan.nodes; i++)
            node_release_held(room->servers[i].node);
        look_at_all(room);
        if (truth_open(room->truth) == 0)
            break;
        sim_sleep_us(HOUR_US);
    }
    for (unsigned i = 0; i < room->people_count && room_has(room, FAULT_RELOAD); i++)
        reload_under(&room->people[i]);
    look_at_all(room);
    truth_settle(room->truth);
    inspection->is_done = true;
    return 0;
}

static void run_inspection(struct room *room)
{
    struct inspection inspection = { .room = room };
    (void)sim_spawn(room->desks[0], "inspector", inspect, &inspection);
    sim_run(sim_now_us() + 100 * HOUR_US, &inspection.is_done);
    if (!inspection.is_done)
        sim_fail("stuck: the inspection does not end");
}

/* Everybody has gone home; what still runs after hours hangs. */
static void close_down(struct room *room)
{
    room->is_over = true;
    for (unsigned minutes = 0; room->at_work > 0 && minutes < 5 * 60; minutes++)
        sim_run(sim_now_us() + MINUTE_US, NULL);
    if (room->at_work > 0)
        sim_fail("stuck: %u people do not come home", room->at_work);
    sim_run(sim_now_us() + 15 * MINUTE_US, NULL);
    truth_quiet(room->truth);
}

static void restart_all(struct room *room)
{
    bool by_power = sim_chance(500000);
    for (unsigned i = 0; i < room->plan.nodes; i++) {
        if (by_power)
            node_power_cut(room->servers[i].node, (enum disk_loss)sim_below(3));
        else
            node_stop(room->servers[i].node);
    }
    sim_run(sim_now_us() + 15 * MINUTE_US, NULL);
    for (unsigned i = 0; i < room->plan.nodes; i++)
        if (!room->servers[i].node->is_ready)
            sim_fail("stuck: %s does not start again", room->servers[i].name);
}

/* People come, read everything and go, again and again: what the servers hold when all is quiet stops growing. */
static void measure_growth(struct room *room)
{
    static struct growth before, after;
    char text[GROWTH_TEXT];
    bool grows = true;
    sim_run(sim_now_us() + 3 * HOUR_US, NULL);
    growth_measure(room, &before);
    for (unsigned rounds = 0; grows && rounds < GROWING_ROUNDS; rounds++) {
        run_inspection(room);
        sim_run(sim_now_us() + 3 * HOUR_US, NULL);
        growth_measure(room, &after);
        grows = growth_between(room, &before, &after, text);
        before = after;
    }
    if (grows)
        sim_fail("growth: it does not end in %d rounds: %s", GROWING_ROUNDS, text);
}

/* Stops every server and counts what lies on its disk. */
static void audit_all(struct room *room)
{
    sim_run(sim_now_us() + 3 * HOUR_US, NULL);          /* reports to others too are on their way home */
    for (unsigned i = 0; i < room->plan.nodes; i++) {
        struct server *server = &room->servers[i];
        server->stays_down = true;
        node_stop(server->node);
    }
    sim_run(sim_now_us() + 5 * MINUTE_US, NULL);
    for (unsigned i = 0; i < room->plan.nodes; i++) {
        struct server *server = &room->servers[i];
        if (server->node->launcher != NULL || server->node->status != 0)
            sim_fail("stuck: %s does not stop, or not well (%#x)", server->name, (unsigned)server->node->status);
        struct audit audit = { .name = server->name };
        (void)sim_spawn(server->node->host, "auditor", audit_main, &audit);
        sim_run(sim_now_us() + MINUTE_US, &audit.is_done);
        if (!audit.is_done)
            sim_fail("stuck: the audit of %s does not end", server->name);
    }
}

/* Of the servers that were stopped, and are in order, bits flip. */
static void flip_all(struct room *room)
{
    for (unsigned i = 0; i < room->plan.nodes && room_has(room, FAULT_FLIPS); i++) {
        struct server *server = &room->servers[i];
        struct flips flips = { .name = server->name, .rounds = 1 + room->plan.strength[FAULT_FLIPS] / 25 };
        (void)sim_spawn(server->node->host, "flipper", flips_main, &flips);
        sim_run(sim_now_us() + HOUR_US, &flips.is_done);
        if (!flips.is_done)
            sim_fail("stuck: the store of %s with flipped bits is not read to its end", server->name);
        room->faults[FAULT_FLIPS] += flips.flipped;
        sim_trace("%s had %llu bits flipped: did not open %llu times, %llu messages unreadable, %llu lost", server->name,
                  (unsigned long long)flips.flipped, (unsigned long long)flips.refused, (unsigned long long)flips.unreadable,
                  (unsigned long long)flips.lost);
    }
}

static void fill(const struct room *room, struct scenario_figures *figures)
{
    struct truth_figures truth = truth_figures(room->truth);
    *figures = (struct scenario_figures){
        .simulated_s = (double)sim_now_us() / 1e6, .calls = sim_calls(), .letters = truth.messages, .recipients = truth.recipients, .texts = truth.texts,
        .listings = truth.listings, .changes = truth.changes, .bounced = truth.bounced, .doubled_in_window = truth.doubled_in_window,
    };
    memcpy(figures->faults, room->faults, sizeof figures->faults);
}

void scenario_run(const struct scenario_options *options, struct scenario_figures *figures)
{
    sim_begin(options->seed);
    struct room *room = room_new(options);
    tell_plan(room);
    begin(room);
    trouble_begin(room);
    sim_run(sim_now_us() + room->plan.busy_us, NULL);
    trouble_end(room);
    close_down(room);
    run_inspection(room);
    restart_all(room);
    run_inspection(room);
    measure_growth(room);
    audit_all(room);
    flip_all(room);
    sim_trace("everything was as promised");
    fill(room, figures);
}
