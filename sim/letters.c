/* People who write: letters to each other, to strangers, to nobody; tried again when the answer was lost, as people's programs do. */
#include "sim/room.h"

#include <stdio.h>

enum { TO_MAX = 5, TRIES = 4, LETTER_MAX = 2 * 1024 * 1024 };

enum truth_answer answer_of(const struct room *room, enum client_result result)
{
    switch (result) {
    case CLIENT_DONE:
        return TRUTH_DONE;
    case CLIENT_TEMP:
        return room->plan.faults != 0 ? TRUTH_UNKNOWN : TRUTH_REFUSED;
    case CLIENT_REFUSED:
    case CLIENT_UNSENT:
        return TRUTH_REFUSED;
    case CLIENT_UNKNOWN:
        break;
    }
    return TRUTH_UNKNOWN;
}

struct client_server server_of(const struct person *person, uint16_t plain_port, uint16_t tls_port)
{
    bool implicit = sim_chance(500000);
    return (struct client_server){ .address = person->server->address, .port = implicit ? tls_port : plain_port,
                                   .tls = implicit ? CLIENT_TLS : CLIENT_STARTTLS, .user = person->address, .password = person->password,
                                   .scram = sim_chance(500000), .timeout_ms = 120 * 1000 };
}

void pause_for(const struct room *room, int64_t mean_us)
{
    (void)room;
    sim_sleep_us((int64_t)sim_below((uint64_t)mean_us * 2) + 1);
}

static size_t a_size(const struct room *room)
{
    uint64_t r = sim_below(100);
    if (r < 3 && room->plan.has_big)
        return 100000 + sim_below(900000);
    return r < 15 ? 5000 + sim_below(80000) : sim_below(2500);
}

/* ---- to whom --------------------------------------------------------------------------------------------------------------- */

struct envelope {
    char addresses[TO_MAX][80];
    const char *to[TO_MAX];
    size_t count;
};

static void add(struct envelope *envelope, const char *address)
{
    for (size_t i = 0; i < envelope->count; i++)
        if (strcmp(envelope->addresses[i], address) == 0)
            return;
    (void)snprintf(envelope->addresses[envelope->count], sizeof envelope->addresses[0], "%s", address);
    envelope->to[envelope->count] = envelope->addresses[envelope->count];
    envelope->count++;
}

static struct person *somebody(struct room *room)
{
    struct person *person;
    do
        person = &room->people[sim_below(room->people_count)];
    while (person->is_bait);
    return person;
}

static void add_anybody(struct room *room, struct envelope *envelope)
{
    char address[80];
    uint64_t r = sim_below(100);
    if (r < 20 && room->plan.strange > 0)
        (void)snprintf(address, sizeof address, "s%u@%s", (unsigned)sim_below(4), room->strange[sim_below(room->plan.strange)].domain);
    else if (r < 24)
        (void)snprintf(address, sizeof address, "nobody%u@%s", (unsigned)sim_below(3), room->servers[sim_below(room->plan.nodes)].domain);
    else if (r < 26)
        (void)snprintf(address, sizeof address, "x@nowhere%u.example", (unsigned)sim_below(3));
    else
        (void)snprintf(address, sizeof address, "%s", somebody(room)->address);
    add(envelope, address);
}

/* ---- one letter -------------------------------------------------------------------------------------------------------------- */

/* One transaction, with a token of its own. */
static enum client_result send_once(struct room *room, struct sim_host *from_host, const struct client_server *server, const char *via, const char *from,
                                    const struct envelope *envelope, size_t size)
{
    struct buf text;
    buf_init(&text, LETTER_MAX);
    uint64_t token = truth_message_new(room->truth, sim_random(), from, size);
    (void)truth_message_text(room->truth, token, &text);
    truth_submit_begin(room->truth, token, via);
    for (size_t i = 0; i < envelope->count; i++)
        truth_submit_rcpt(room->truth, token, envelope->to[i]);
    truth_submit_sent(room->truth, token);
    struct smtp_letter letter = { .from = from, .to = envelope->to, .to_count = envelope->count, .text = buf_slice(&text),
                                  .by_chunks = sim_chance(300000), .pipelined = sim_chance(700000) };
    struct smtp_outcome outcome = { .result = CLIENT_UNKNOWN };
    enum client_result result = smtp_send(from_host, server, &letter, &outcome);
    for (size_t i = 0; i < envelope->count; i++)
        truth_submit_end(room->truth, token, envelope->to[i], answer_of(room, outcome.to[i]));
    sim_trace("letter %016llx of %s (%zu bytes, %zu recipients) by %s: %s, \"%s\"", (unsigned long long)token, from, text.end - text.start,
              envelope->count, via, client_result_name(result), outcome.reply);
    buf_free(&text);
    return result;
}

static void send_until_done(struct person *person)
{
    struct room *room = person->room;
    struct envelope envelope = { .count = 0 };
    for (uint64_t count = 1 + sim_below(sim_chance(300000) ? TO_MAX : 1); count > 0; count--)
        add_anybody(room, &envelope);
    size_t size = a_size(room);
    for (unsigned tries = 0; tries < TRIES && !room->is_over; tries++) {
        struct client_server server = server_of(person, 587, 465);
        enum client_result result = send_once(room, person->desk, &server, person->server->name, person->address, &envelope, size);
        if (result == CLIENT_DONE || result == CLIENT_REFUSED)
            return;
        pause_for(room, room->plan.pause_us);
    }
}

/* What a stranger's server brings: to port 25, for people of that server only. */
static void bring(struct person *person)
{
    struct room *room = person->room;
    struct strange *strange = &room->strange[sim_below(room->plan.strange)];
    struct envelope envelope = { .count = 0 };
    add(&envelope, person->address);
    if (sim_chance(300000))
        for (unsigned i = 0; i < room->people_count; i++)
            if (room->people[i].server == person->server && !room->people[i].is_bait && sim_chance(500000) && envelope.count < TO_MAX)
                add(&envelope, room->people[i].address);
    char from[80] = "";
    if (!sim_chance(100000))
        (void)snprintf(from, sizeof from, "s%u@%s", (unsigned)sim_below(4), strange->domain);
    struct client_server server = { .address = person->server->address, .port = 25, .tls = sim_chance(500000) ? CLIENT_STARTTLS : CLIENT_PLAIN,
                                    .timeout_ms = 300 * 1000 };
    size_t size = a_size(room);
    for (unsigned tries = 0; tries < TRIES && !room->is_over; tries++) {
        enum client_result result = send_once(room, strange->host, &server, person->server->name, from, &envelope, size);
        if (result == CLIENT_DONE || result == CLIENT_REFUSED)
            return;
        pause_for(room, room->plan.pause_us);
    }
}

int letters_main(void *arg)
{
    struct person *person = arg;
    struct room *room = person->room;
    while (!room->is_over) {
        pause_for(room, room->plan.pause_us);
        if (room->is_over)
            break;
        if (room->plan.strange > 0 && sim_chance(250000))
            bring(person);
        else
            send_until_done(person);
    }
    room->at_work--;
    return 0;
}
