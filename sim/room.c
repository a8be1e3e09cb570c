/* The room: what the seed draws, hosts and people, name service, the truth's memory. */
#include "sim/room.h"

#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>

const char *const fault_names[FAULT_KINDS] = {
    [FAULT_KILL] = "kill", [FAULT_POWER] = "power", [FAULT_RESTART] = "restart", [FAULT_SYNC] = "sync", [FAULT_WRITE] = "io", [FAULT_TEAR] = "short",
    [FAULT_FULL] = "full", [FAULT_DESCRIPTORS] = "descriptors", [FAULT_MEMORY] = "memory", [FAULT_NET] = "net", [FAULT_PARTITION] = "partition",
    [FAULT_PEERS] = "peers", [FAULT_DNS] = "dns", [FAULT_CLOCK] = "clock", [FAULT_STRANGERS] = "strangers",
    [FAULT_RELOAD] = "reload", [FAULT_FLIPS] = "flips",
};

static void *block(void *arg, size_t size)
{
    (void)arg;
    void *made = calloc(1, size);
    must(made != NULL);
    return made;
}

static void block_free(void *arg, void *memory)
{
    (void)arg;
    free(memory);
}

static void broken(void *arg, const char *text)
{
    (void)arg;
    sim_fail("%s", text);
}

/* ---- the plan ------------------------------------------------------------------------------------------------------------ */

/* Kinds of faults that came later are drawn by lots of their own: seeds that found bugs go on meaning what they meant. */
enum { FAULT_KINDS_AT_FIRST = FAULT_STRANGERS + 1 };

static uint64_t lot_of(uint64_t seed, const char *kind)
{
    uint64_t lot = seed;
    for (; *kind != '\0'; kind++)
        lot = (lot ^ (uint8_t)*kind) * UINT64_C(0x9e3779b97f4a7c15);
    lot = (lot ^ lot >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    lot = (lot ^ lot >> 27) * UINT64_C(0x94d049bb133111eb);
    return lot ^ lot >> 31;
}

/* Swarm testing: each seed has some kinds of faults and not others, so that none hides another. One in eight has none at all: there the
 * truth is at its strictest. */
static void draw(struct plan *plan, const struct scenario_options *options)
{
    plan->nodes = 1 + (unsigned)sim_below(3);
    plan->strange = (unsigned)sim_below(ROOM_STRANGE + 1);
    plan->people = 1 + (unsigned)sim_below(4);
    plan->busy_us = options->hours > 0 ? (int64_t)(options->hours * (double)HOUR_US) : (20 + (int64_t)sim_below(100)) * MINUTE_US;
    plan->pause_us = (5 + (int64_t)sim_below(120)) * SECOND_US;
    plan->delay_us = (int64_t)sim_below(60000);
    plan->has_big = sim_chance(200000);
    bool is_calm = sim_chance(125000);
    uint32_t density = 150000 + (uint32_t)sim_below(450000);
    for (unsigned kind = 0; kind < FAULT_KINDS_AT_FIRST; kind++) {
        bool is_in = sim_chance(density) && !is_calm;
        plan->strength[kind] = 1 + (uint32_t)sim_below(100);
        plan->faults |= is_in ? 1u << kind : 0;
    }
    for (unsigned kind = FAULT_KINDS_AT_FIRST; kind < FAULT_KINDS; kind++) {
        uint64_t lot = lot_of(options->seed, fault_names[kind]);
        plan->strength[kind] = 1 + (uint32_t)(lot % 100);
        plan->faults |= lot >> 32 < UINT32_MAX / 2 && !is_calm ? 1u << kind : 0;
    }
    if (options->has_only)
        plan->faults = options->only;
}

bool room_has(const struct room *room, enum fault_kind kind)
{
    return (room->plan.faults & 1u << kind) != 0;
}

void room_fault(struct room *room, enum fault_kind kind, const struct sim_host *host, const char *what)
{
    room->faults[kind]++;
    truth_disturbed(room->truth, host != NULL ? host->name : "*");
    sim_trace("fault %s%s%s: %s", fault_names[kind], host != NULL ? " at " : "", host != NULL ? host->name : "", what);
}

/* ---- who is there -------------------------------------------------------------------------------------------------------- */

static void add_names(const char *domain, const char *name, const char *address)
{
    char mx[100];
    (void)snprintf(mx, sizeof mx, "10 %s", name);
    dns_set(domain, "MX", mx);
    dns_set(name, "A", address);
}

static void add_person(struct room *room, struct server *server, unsigned number)
{
    struct person *person = &room->people[room->people_count];
    *person = (struct person){ .room = room, .server = server, .desk = room->desks[room->people_count % ROOM_DESKS] };
    room->people_count++;
    (void)snprintf(person->address, sizeof person->address, "u%u@%s", number, server->domain);
    if (number == room->plan.people) {              /* nobody writes to this one, so nothing may ever arrive there */
        (void)snprintf(person->address, sizeof person->address, "bait@%s", server->domain);
        person->is_bait = true;
    }
    (void)snprintf(person->password, sizeof person->password, "secret of u%u", number);
    person->account = truth_account_new(room->truth, person->address, server->name);
    for (unsigned i = 0; i < PERSON_READERS; i++)
        person->readers[i] = (struct reader){ .person = person, .number = i };
}

static void add_server(struct room *room, unsigned number)
{
    struct server *server = &room->servers[number];
    server->room = room;
    (void)snprintf(server->domain, sizeof server->domain, "d%u.example", number);
    (void)snprintf(server->name, sizeof server->name, "mail.d%u.example", number);
    (void)snprintf(server->address, sizeof server->address, "203.0.113.%u", 10 + number);
    (void)snprintf(server->settings, sizeof server->settings,
                   "delivery:\n  retry_first: 1m\n  retry_max: 10m\n  give_up_after: 6h\n  warn_after: 1h\n");
    server->options = (struct node_options){ .host_name = server->name, .address = server->address, .settings = server->settings,
                                             .edges = 1 + (unsigned)sim_below(2) };
    server->node = node_new(&server->options);
    add_names(server->domain, server->name, server->address);
    unsigned first = room->people_count;
    for (unsigned i = 0; i <= room->plan.people; i++)
        add_person(room, server, i);
    for (unsigned i = first; i < room->people_count; i++)
        server->accounts[i - first] = (struct node_account){ .address = room->people[i].address, .password = room->people[i].password };
    server->domains[0] = server->domain;
    node_add(server->node, server->domains, 1, server->accounts, room->people_count - first);
}

static void took(void *arg, const struct peer_letter *letter)
{
    struct strange *strange = arg;
    struct room *room = strange->room;
    if (letter->answer == PEER_REFUSED)
        return;
    if (letter->answer != PEER_SAID_YES)            /* its sender has to try again: that is a window */
        truth_disturbed(room->truth, strange->host->name);
    for (size_t i = 0; i < letter->to_count; i++)
        truth_sink_took(room->truth, letter->to[i], letter->text);
}

static void confirmed(void *arg, uint64_t number)
{
    (void)arg, (void)number;
}

static const struct peer_owner owner = { .took = took, .confirmed = confirmed };

static void add_strange(struct room *room, unsigned number)
{
    struct strange *strange = &room->strange[number];
    strange->room = room;
    (void)snprintf(strange->domain, sizeof strange->domain, "f%u.example", number);
    (void)snprintf(strange->name, sizeof strange->name, "mx.f%u.example", number);
    (void)snprintf(strange->address, sizeof strange->address, "198.51.100.%u", 10 + number);
    strange->host = sim_host_new(strange->name, NULL);
    (void)snprintf(strange->host->addresses[0], sizeof strange->host->addresses[0], "%s", strange->address);
    add_names(strange->domain, strange->name, strange->address);
    struct peer_owner *mine = block(NULL, sizeof *mine);
    *mine = owner;
    mine->arg = strange;
    strange->mx = peer_smtp_start(strange->host, strange->address, 25, strange->domain, &peer_friendly, mine);
    for (unsigned i = 0; i < 4; i++) {
        char address[80];
        (void)snprintf(address, sizeof address, "s%u@%s", i, strange->domain);
        truth_sink_new(room->truth, address, strange->name);
    }
}

struct room *room_new(const struct scenario_options *options)
{
    struct room *room = block(NULL, sizeof *room);
    struct truth_options truth = { .broken = broken, .block = block, .block_free = block_free };
    room->truth = truth_new(&truth);
    draw(&room->plan, options);
    dns_clear();
    for (unsigned i = 0; i < ROOM_DESKS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "desk%u", i);
        room->desks[i] = sim_host_new(name, NULL);
        (void)snprintf(room->desks[i]->addresses[0], sizeof room->desks[i]->addresses[0], "192.0.2.%u", 10 + i);
    }
    for (unsigned i = 0; i < room->plan.strange; i++)
        add_strange(room, i);
    for (unsigned i = 0; i < room->plan.nodes; i++)
        add_server(room, i);
    return room;
}

unsigned room_hosts(const struct room *room)
{
    return room->plan.nodes + room->plan.strange;
}

struct sim_host *room_host(struct room *room, unsigned number)
{
    return number < room->plan.nodes ? room->servers[number].node->host : room->strange[number - room->plan.nodes].host;
}
