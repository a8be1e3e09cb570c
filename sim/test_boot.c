/* One server in the simulator: it starts with all its roles, takes a message, loses its power with everything that was not
 * synced, starts again, and has the message. Twice from one seed, the same happens. */
#include "sim/client.h"
#include "sim/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct node_options options = { .host_name = "mail.one.example", .address = "192.0.2.1" };

static void want(bool is_so, const char *what)
{
    if (!is_so)
        sim_fail("%s", what);
}

/* Says a line and wants an answer that begins so; lines "250-..." before it are passed over. */
static void ask(struct net_end *end, const char *line, const char *answer)
{
    char got[1024];
    char sent[1024];
    int len = snprintf(sent, sizeof(sent), "%s\r\n", line);
    want(line[0] == '\0' || net_put(end, sent, (size_t)len, 60000), "a line cannot be sent");
    do
        want(net_line(end, got, sizeof(got), 60000) >= 0, "no answer");
    while (strlen(got) > 3 && got[3] == '-' && strncmp(got, answer, 3) == 0);
    sim_trace("C: %s / S: %s", line, got);
    if (strncmp(got, answer, strlen(answer)) != 0)
        sim_fail("%s: %s, wanted %s", line, got, answer);
}

static int deliver(void *arg)
{
    struct node *node = arg;
    want(node_wait_ready(node, 60000), "the server does not become ready");
    sim_sleep_us(1000000);              /* it may still say 451 while its roles hear of each other */
    struct net_end *end = net_dial(sim_self_host(), "192.0.2.1", 25, 10000);
    want(end != NULL, "port 25 does not answer");
    ask(end, "", "220");
    ask(end, "EHLO client.example", "250");
    ask(end, "MAIL FROM:<bob@elsewhere.example>", "250");
    ask(end, "RCPT TO:<alice@one.example>", "250");
    ask(end, "DATA", "354");
    ask(end, "From: bob@elsewhere.example\r\nSubject: kept\r\n\r\nA message.\r\n.", "250");
    node_power_cut(node, DISK_LOSE_ALL);
    net_close(end);
    return 0;
}

static int look(void *arg)
{
    struct node *node = arg;
    want(node_wait_ready(node, 60000), "the server does not become ready after the power cut");
    sim_sleep_us(1000000);
    struct net_end *end = net_dial(sim_self_host(), "127.0.0.1", 110, 10000);
    want(end != NULL, "port 110 does not answer");
    ask(end, "", "+OK");
    ask(end, "USER alice@one.example", "+OK");
    ask(end, "PASS secret", "+OK");
    ask(end, "STAT", "+OK 1 ");
    ask(end, "QUIT", "+OK");
    net_close(end);
    node_stop(node);
    return 0;
}

static uint64_t run(uint64_t seed)
{
    static const char *const domains[] = { "one.example" };
    static const struct node_account accounts[] = { { "alice@one.example", "secret", 0 } };
    sim_begin(seed);
    struct node *node = node_new(&options);
    struct sim_host *elsewhere = sim_host_new("client", NULL);
    (void)snprintf(elsewhere->addresses[0], sizeof(elsewhere->addresses[0]), "192.0.2.9");
    node_add(node, domains, 1, accounts, 1);
    sim_run(10000000, NULL);
    node_boot(node);
    (void)sim_spawn(elsewhere, "client", deliver, node);
    sim_run(120000000, NULL);
    want(node->launcher == NULL && !sim_is_alive(sim_process_find(elsewhere, "client", 0)), "the message was not delivered");
    node_boot(node);
    (void)sim_spawn(node->host, "reader", look, node);
    sim_run(300000000, NULL);
    want(node->launcher == NULL && node->status == 0, "the server did not end well");
    uint64_t hash = sim_hash();
    sim_host_free(elsewhere);
    node_free(node);
    return hash;
}

int main(int argc, char **argv)
{
    sim_traces = argc > 1 && strcmp(argv[1], "--trace") == 0;
    uint64_t first = run(1);
    if (sim_traces)
        return EXIT_SUCCESS;
    if (run(1) != first || run(2) == first) {
        (void)fprintf(stderr, "boot: a seed does not decide what happens\n");
        return EXIT_FAILURE;
    }
    (void)printf("boot: %llu calls, %016llx\n", (unsigned long long)sim_calls(), (unsigned long long)first);
    return EXIT_SUCCESS;
}
