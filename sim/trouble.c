/* What goes wrong: the plan's kinds of faults, each at moments of its own, some for a while; and the caretaker who starts servers again. */
#include "sim/room.h"

#include "base/fault.h"
#include "sim/inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- at a system call -------------------------------------------------------------------------------------------------------- */

static struct server *server_on(struct room *room, const struct sim_host *host)
{
    for (unsigned i = 0; i < room->plan.nodes; i++)
        if (room->servers[i].node->host == host)
            return &room->servers[i];
    return NULL;
}

static struct sim_fault judge(void *arg, struct sim_process *process, const char *call, uint64_t number)
{
    (void)number;
    struct room *room = arg;
    struct server *server = server_on(room, process->host);
    if (server == NULL || server->fatal_in == 0 || --server->fatal_in > 0)
        return (struct sim_fault){ .error = 0 };
    char what[100];
    (void)snprintf(what, sizeof what, "%s dies in %s", server->fatal_to_all ? "the machine" : sim_process_name(process), call);
    room_fault(room, server->fatal_to_all ? FAULT_POWER : FAULT_KILL, process->host, what);
    return (struct sim_fault){ .kill_host = server->fatal_to_all, .kill_process = !server->fatal_to_all };
}

/* ---- at the disk ----------------------------------------------------------------------------------------------------------------- */

static int fail(void *arg, const char *call, const char *path)
{
    struct server *server = arg;
    bool is_sync = strncmp(call, "sync", 4) == 0;
    if (!sim_chance(is_sync ? server->sync_fails : strcmp(call, "read") == 0 ? 0 : server->write_fails))
        return 0;
    char what[200];
    (void)snprintf(what, sizeof what, "%s of %s fails", call, path);
    room_fault(server->room, is_sync ? FAULT_SYNC : FAULT_WRITE, server->node->host, what);
    return -EIO;
}

static size_t shorten(void *arg, const char *path, size_t len)
{
    (void)path;
    struct server *server = arg;
    if (!sim_chance(server->shortens))
        return len;
    server->room->faults[FAULT_TEAR]++;
    return 1 + sim_below(len);
}

static bool tear(void *arg, const char *path)
{
    (void)path;
    struct server *server = arg;
    return server->shortens > 0 && sim_chance(500000);
}

/* ---- for a while ------------------------------------------------------------------------------------------------------------------ */

/* A trouble that has begun and will end. */
struct trouble {
    struct room *room;
    enum fault_kind kind;
    struct server *server;
    unsigned a, b;                          /* hosts (partition); kind of name (dns) */
    struct trouble *next;
    bool has_ended;
};


static const char *const dns_words[] = { [DNS_WELL] = "is well", [DNS_SERVFAIL] = "fails", [DNS_SILENT] = "is silent", [DNS_LIES] = "lies" };

static void zone_of(struct room *room, unsigned number, char out[32])
{
    (void)snprintf(out, 32, "%s", number < room->plan.nodes ? room->servers[number].domain : room->strange[number - room->plan.nodes].domain);
}

static void whole_again(struct trouble *trouble)
{
    struct room *room = trouble->room;
    struct server *server = trouble->server;
    char zone[32];
    switch (trouble->kind) {
    case FAULT_SYNC: server->sync_fails = 0; break;
    case FAULT_WRITE: server->write_fails = 0; break;
    case FAULT_FULL: disk_set_capacity(server->node->host->disk, 1u << 30); break;
    case FAULT_DESCRIPTORS: server->node->host->fd_limit = SIM_FD_LIMIT; break;
    case FAULT_MEMORY:
        server->node->host->memory_limit = 0;
        sim_set_abort(true);
        break;
    case FAULT_NET: net_set_faults(&(struct net_faults){ .delay_us = room->plan.delay_us, .jitter_us = room->plan.delay_us / 4 }); break;
    case FAULT_PARTITION:
        if (trouble->b < room_hosts(room))
            net_partition(room_host(room, trouble->a), room_host(room, trouble->b), false);
        else
            net_partition(room_host(room, trouble->a), room->desks[trouble->b - room_hosts(room)], false);
        break;
    case FAULT_PEERS: peer_smtp_set_moods(room->strange[trouble->a].mx, &peer_friendly); break;
    case FAULT_DNS:
        zone_of(room, trouble->a, zone);
        dns_set_mood(zone, DNS_WELL);
        break;
    case FAULT_KILL: case FAULT_POWER: case FAULT_RESTART: case FAULT_TEAR: case FAULT_CLOCK: case FAULT_STRANGERS: case FAULT_RELOAD:
    case FAULT_FLIPS: case FAULT_KINDS: break;
    }
}

static void is_over(void *arg)
{
    struct trouble *trouble = arg;
    if (trouble->has_ended)
        return;
    trouble->has_ended = true;
    whole_again(trouble);
    truth_disturbing(trouble->room->truth, trouble->server != NULL ? trouble->server->name : "*", false);
    sim_trace("fault %s%s%s is over", fault_names[trouble->kind], trouble->server != NULL ? " at " : "", trouble->server != NULL ? trouble->server->name : "");
}

static struct trouble *begin(struct room *room, enum fault_kind kind, struct server *server, int64_t most_us, const char *what)
{
    struct trouble *trouble = calloc(1, sizeof *trouble);
    must(trouble != NULL);
    *trouble = (struct trouble){ .room = room, .kind = kind, .server = server, .next = room->troubles };
    room->troubles = trouble;
    truth_disturbing(room->truth, server != NULL ? server->name : "*", true);
    room_fault(room, kind, server != NULL ? server->node->host : NULL, what);
    (void)sim_at(sim_now_us() + SECOND_US + (int64_t)sim_below((uint64_t)most_us), is_over, trouble);
    return trouble;
}

/* ---- each kind ---------------------------------------------------------------------------------------------------------------------- */

static void disk_trouble(struct room *room, struct server *server, enum fault_kind kind)
{
    uint32_t strength = room->plan.strength[kind];
    if (kind == FAULT_SYNC)
        server->sync_fails = strength * 5000;
    if (kind == FAULT_WRITE)
        server->write_fails = strength * 2000;
    (void)begin(room, kind, server, 2 * MINUTE_US, kind == FAULT_SYNC ? "syncs fail" : "reads and writes fail");
}

static void lack(struct room *room, struct server *server, enum fault_kind kind)
{
    struct sim_host *host = server->node->host;
    struct disk *disk = host->disk;
    if (kind == FAULT_FULL) {
        uint64_t used = (1u << 30) - disk_free_bytes(disk);
        disk_set_capacity(disk, used + sim_below(4u << 20));
    }
    if (kind == FAULT_DESCRIPTORS)
        host->fd_limit = 4 + sim_below(60);
    if (kind == FAULT_MEMORY) {             /* a role may die of it; at another time that would be a bug */
        sim_set_abort(false);
        host->memory_limit = host_inner(host)->memory + sim_below(1u << 20) + 1;
    }
    (void)begin(room, kind, server, 10 * MINUTE_US, "is short");
}

static void net_trouble(struct room *room)
{
    uint32_t strength = room->plan.strength[FAULT_NET];
    struct net_faults faults = { .delay_us = room->plan.delay_us, .jitter_us = (int64_t)sim_below(500000) };
    if (sim_chance(500000))
        faults.reset = (uint32_t)sim_below(strength * 100);
    if (sim_chance(300000))
        faults.cut_silently = (uint32_t)sim_below(strength * 30);
    if (sim_chance(300000))
        faults.tiny_pieces = (uint32_t)sim_below(strength * 2000);
    if (sim_chance(300000))
        faults.refuse = (uint32_t)sim_below(strength * 3000);
    if (sim_chance(300000))
        faults.hang = (uint32_t)sim_below(strength * 1000);
    net_set_faults(&faults);
    char what[120];
    (void)snprintf(what, sizeof what, "per million: %u resets, %u silent ends, %u tiny, %u refused, %u hanging; jitter %lld ms", faults.reset,
                   faults.cut_silently, faults.tiny_pieces, faults.refuse, faults.hang, (long long)faults.jitter_us / 1000);
    (void)begin(room, FAULT_NET, NULL, 20 * MINUTE_US, what);
}

static void partition(struct room *room)
{
    unsigned hosts = room_hosts(room), a = (unsigned)sim_below(hosts), b = (unsigned)sim_below(hosts + ROOM_DESKS);
    if (a == b)
        return;
    struct sim_host *left = room_host(room, a), *right = b < hosts ? room_host(room, b) : room->desks[b - hosts];
    net_partition(left, right, true);
    char what[160];
    (void)snprintf(what, sizeof what, "%s and %s cannot reach each other", left->name, right->name);
    struct trouble *trouble = begin(room, FAULT_PARTITION, NULL, 20 * MINUTE_US, what);
    trouble->a = a;
    trouble->b = b;
}

static void names(struct room *room)
{
    enum dns_mood mood = (enum dns_mood)(1 + sim_below(3));
    char zone[32], what[80];
    unsigned number = (unsigned)sim_below(room_hosts(room));
    zone_of(room, number, zone);
    dns_set_mood(zone, mood);
    (void)snprintf(what, sizeof what, "name service of %s %s", zone, dns_words[mood]);
    begin(room, FAULT_DNS, NULL, 20 * MINUTE_US, what)->a = number;
}

static void clock_jumps(struct room *room, struct server *server)
{
    static const int64_t scales[] = { SECOND_US, MINUTE_US, HOUR_US };
    int64_t most = scales[sim_below(3)] * 2;
    int64_t jump = (int64_t)sim_below((uint64_t)most * 2) - most;
    server->node->host->clock_offset_us += jump;
    char what[60];
    (void)snprintf(what, sizeof what, "the clock jumps by %lld s", (long long)(jump / SECOND_US));
    room_fault(room, FAULT_CLOCK, server->node->host, what);
}

static void stranger(struct room *room, struct server *server)
{
    static const uint16_t ports[] = { 25, 587, 465, 143, 993, 110, 995 };
    char bait[80];
    (void)snprintf(bait, sizeof bait, "bait@%s", server->domain);
    uint16_t port = ports[sim_below(7)];
    room->faults[FAULT_STRANGERS]++;
    sim_trace("a stranger visits port %u of %s", port, server->name);
    (void)peer_stranger(room->desks[sim_below(ROOM_DESKS)], server->address, port, bait);
}

static void happen(struct room *room, enum fault_kind kind)
{
    struct server *server = &room->servers[sim_below(room->plan.nodes)];
    switch (kind) {
    case FAULT_KILL:
    case FAULT_POWER:
        server->fatal_in = 1 + sim_below(sim_chance(500000) ? 200 : 5000);
        server->fatal_to_all = kind == FAULT_POWER;
        break;
    case FAULT_RESTART:
        room_fault(room, kind, server->node->host, "is told to stop");
        node_stop(server->node);
        break;
    case FAULT_RELOAD:
        room->faults[FAULT_RELOAD]++;           /* no disturbance: nothing may come twice because of it */
        node_reload(server->node);
        break;
    case FAULT_SYNC: case FAULT_WRITE: disk_trouble(room, server, kind); break;
    case FAULT_FULL: case FAULT_DESCRIPTORS: case FAULT_MEMORY: lack(room, server, kind); break;
    case FAULT_NET: net_trouble(room); break;
    case FAULT_PARTITION: partition(room); break;
    case FAULT_PEERS:
        if (room->plan.strange > 0) {
            unsigned number = (unsigned)sim_below(room->plan.strange);
            peer_smtp_set_moods(room->strange[number].mx, &peer_moody);
            begin(room, kind, NULL, HOUR_US, "a server of others is moody")->a = number;
        }
        break;
    case FAULT_DNS: names(room); break;
    case FAULT_CLOCK: clock_jumps(room, server); break;
    case FAULT_STRANGERS: stranger(room, server); break;
    case FAULT_TEAR: case FAULT_FLIPS: case FAULT_KINDS: break;
    }
}

/* ---- when -------------------------------------------------------------------------------------------------------------------------- */

struct occasion {
    struct room *room;
    enum fault_kind kind;
};

static void occasion(void *arg);

static void next_occasion(struct occasion *at)
{
    uint64_t times = 1 + at->room->plan.strength[at->kind] / 4;         /* in the busy time, about */
    (void)sim_at(sim_now_us() + 1 + (int64_t)sim_below(2 * (uint64_t)at->room->plan.busy_us / times), occasion, at);
}

static void occasion(void *arg)
{
    struct occasion *at = arg;
    if (!at->room->has_faults)
        return;
    happen(at->room, at->kind);
    next_occasion(at);
}

void trouble_begin(struct room *room)
{
    room->has_faults = true;
    if (room_has(room, FAULT_DNS))
        truth_may_stray(room->truth);

    net_set_faults(&(struct net_faults){ .delay_us = room->plan.delay_us, .jitter_us = room->plan.delay_us / 4 });
    sim_set_judge(judge, room);
    for (unsigned i = 0; i < room->plan.nodes; i++) {
        struct server *server = &room->servers[i];
        if (room_has(room, FAULT_TEAR))
            server->shortens = room->plan.strength[FAULT_TEAR] * 5000;
        disk_set_faults(server->node->host->disk, &(struct disk_faults){ .arg = server, .fail = fail, .shorten = shorten, .tear = tear });
    }
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
        if (!room_has(room, (enum fault_kind)kind) || kind == FAULT_FLIPS)
            continue;
        struct occasion *at = calloc(1, sizeof *at);
        must(at != NULL);
        *at = (struct occasion){ .room = room, .kind = (enum fault_kind)kind };
        next_occasion(at);
    }
}

void trouble_end(struct room *room)
{
    room->has_faults = false;
    for (struct trouble *trouble = room->troubles; trouble != NULL; trouble = trouble->next)
        is_over(trouble);
    for (unsigned i = 0; i < room->plan.nodes; i++) {
        struct server *server = &room->servers[i];
        server->fatal_in = 0;
        server->shortens = 0;
        server->node->host->clock_offset_us = 0;
    }
    sim_trace("from now on nothing goes wrong any more");
}

/* ---- the caretaker -------------------------------------------------------------------------------------------------------------------- */

int caretaker_main(void *arg)
{
    struct server *server = arg;
    struct node *node = server->node;
    for (;;) {
        while (node->launcher != NULL || server->stays_down)
            (void)sim_wait(node, sim_now_us() + MINUTE_US);
        sim_sleep_us((int64_t)sim_below(sim_chance(800000) ? 20 * SECOND_US : 10 * MINUTE_US));
        if (node->launcher != NULL || server->stays_down)
            continue;
        if (!node->host->is_up)
            node_power_cut(node, (enum disk_loss)sim_below(3));
        node_boot(node);
    }
    return 0;
}
