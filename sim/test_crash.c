/* A crash at every system call. One small scenario (a server starts, three messages are delivered and then read) is run again and
 * again: each time one call is where the power goes, where the process that makes it is killed, where it does less than it could, or where it
 * fails with an error that it may fail with. Afterwards everything that was answered 250 must be there, unaltered.
 *
 *     sim_crash [FIRST [STEP [LAST]]]      calls to crash at; the default is a selection
 *     sim_crash --trace CALL HOW           tells the story of one: HOW is power, kill, short or the number of the error */
#include "sim/client.h"
#include "sim/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGES = 3, LIMIT_S = 600, STEP = 97 };
enum how { POWER, KILL, SHORT, ERROR };

static struct {
    enum how how;
    unsigned error_index;
    uint64_t at;                /* the server's call; 0: none */
    uint64_t calls;             /* that servers made */
    bool has_happened;
    bool is_acknowledged[MESSAGES];
    unsigned tries[MESSAGES];
    bool is_done;
    struct node *node;
    const char *call;
    char answer[1024];          /* the last */
} plan;

static const struct node_options options = { .host_name = "mail.one.example", .address = "192.0.2.1", .edges = 1 };

/* ---- the crash ----------------------------------------------------------------------------------------------------------- */

static void cut(void *arg)
{
    (void)arg;
    disk_power_cut(plan.node->host->disk, DISK_LOSE_TORN);
}

static struct sim_fault judge(void *arg, struct sim_process *process, const char *call, uint64_t number)
{
    struct sim_fault fault = { .error = 0 };
    int errors[8];
    (void)arg, (void)process, (void)number;
    if (++plan.calls != plan.at)
        return fault;
    plan.has_happened = true;
    plan.call = call;
    if (plan.how == POWER) {
        (void)sim_at(sim_now_us(), cut, NULL);
        fault.kill_host = true;
    } else if (plan.how == KILL) {
        fault.kill_process = true;
    } else if (plan.how == SHORT) {
        fault.shorten = true;
    } else if (plan.error_index < sim_call_errors(call, errors)) {
        fault.error = errors[plan.error_index];
    } else {
        plan.has_happened = false;
    }
    return fault;
}

/* Whoever looks after the machine. */
static int care(void *arg)
{
    struct node *node = arg;
    while (!plan.is_done) {
        if (node->launcher == NULL)
            node_boot(node);
        sim_sleep_us(500000);
    }
    node_stop(node);
    return 0;
}

/* ---- the work ------------------------------------------------------------------------------------------------------------- */

/* An answer that begins so, to a line; false: another, or none. */
static bool ask(struct net_end *end, const char *line, const char *answer)
{
    char *got = plan.answer, sent[1024];
    int len = snprintf(sent, sizeof(sent), "%s\r\n", line);
    if (line[0] != '\0' && !net_put(end, sent, (size_t)len, 30000))
        return false;
    do
        if (net_line(end, got, sizeof(plan.answer), 30000) < 0)
            return false;
    while (strlen(got) > 3 && got[3] == '-');
    sim_trace("C: %.40s / S: %s", line, got);
    if (got[0] == '5')
        sim_fail("what fails for a moment is refused for good: %s", got);
    return strncmp(got, answer, strlen(answer)) == 0;
}

static bool send_one(struct net_end *end, unsigned number)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "From: bob@two.example\r\nSubject: number %u\r\n\r\nWhat number %u says.\r\n.", number, number);
    return ask(end, "", "220") && ask(end, "EHLO two.example", "250") && ask(end, "MAIL FROM:<bob@two.example>", "250") &&
           ask(end, "RCPT TO:<alice@one.example>", "250") && ask(end, "DATA", "354") && ask(end, text, "250");
}

static int deliver(void *arg)
{
    struct sim_host *own = sim_self_host();
    (void)arg;
    for (unsigned i = 0; i < MESSAGES; i++) {
        while (!plan.is_acknowledged[i]) {
            struct net_end *end = net_dial(own, "192.0.2.1", 25, 5000);
            plan.tries[i]++;
            plan.is_acknowledged[i] = end != NULL && send_one(end, i);
            if (end != NULL)
                net_close(end);
            if (!plan.is_acknowledged[i])
                sim_sleep_us(1000000);
        }
    }
    return 0;
}

/* Which message it is that follows; -1: it does not come to its end. */
static int which(struct net_end *end)
{
    char line[1024];
    unsigned subject = MESSAGES, body = MESSAGES;
    do {
        if (net_line(end, line, sizeof(line), 30000) < 0)
            return -1;
        (void)sscanf(line, "Subject: number %u", &subject);
        (void)sscanf(line, "What number %u says.", &body);
    } while (strcmp(line, ".") != 0);
    if (subject >= MESSAGES || subject != body)
        sim_fail("a message is in the mailbox that nobody sent so");
    return (int)subject;
}

static bool read_all(struct net_end *end, unsigned found[MESSAGES])
{
    char line[64];
    unsigned count;
    if (!ask(end, "", "+OK") || !ask(end, "USER alice@one.example", "+OK") || !ask(end, "PASS secret", "+OK") || !ask(end, "STAT", "+OK") ||
        sscanf(plan.answer, "+OK %u", &count) != 1)
        return false;
    for (unsigned i = 1; i <= count; i++) {
        (void)snprintf(line, sizeof(line), "RETR %u", i);
        int number = ask(end, line, "+OK") ? which(end) : -1;
        if (number < 0)
            return false;
        found[number]++;
    }
    return ask(end, "QUIT", "+OK");
}

static int check(void *arg)
{
    struct node *node = arg;
    unsigned found[MESSAGES] = { 0 };
    bool is_read = false;
    while (sim_process_find((struct sim_host *)node->user, "sender", 0) != NULL)
        sim_sleep_us(100000);
    while (!is_read) {
        struct net_end *end = net_dial(sim_self_host(), "127.0.0.1", 110, 5000);
        memset(found, 0, sizeof(found));
        is_read = end != NULL && read_all(end, found);
        if (end != NULL)
            net_close(end);
        sim_sleep_us(1000000);
    }
    for (unsigned i = 0; i < MESSAGES; i++)
        if (found[i] == 0 || found[i] > plan.tries[i])
            sim_fail("number %u was tried %u times and answered 250, and is there %u times", i, plan.tries[i], found[i]);
    plan.is_done = true;
    return 0;
}

/* Starts the checker again when the power took it. */
static int guard(void *arg)
{
    struct node *node = arg;
    while (!plan.is_done) {
        if (node->host->is_up && sim_process_find(node->host, "checker", 0) == NULL)
            (void)sim_spawn(node->host, "checker", check, node);
        sim_sleep_us(1000000);
    }
    return 0;
}

/* ---- runs -------------------------------------------------------------------------------------------------------------------- */

static void run(uint64_t at, enum how how, unsigned error_index)
{
    static const char *const domains[] = { "one.example" };
    static const struct node_account accounts[] = { { "alice@one.example", "secret", 0 } };
    memset(&plan, 0, sizeof(plan));
    plan.at = at;
    plan.how = how;
    plan.error_index = error_index;
    sim_begin(at + 1);
    sim_set_abort(how != ERROR);
    struct node *node = plan.node = node_new(&options);
    struct sim_host *elsewhere = sim_host_new("two.example", NULL);
    (void)snprintf(elsewhere->addresses[0], sizeof(elsewhere->addresses[0]), "192.0.2.9");
    node->user = elsewhere;
    node_add(node, domains, 1, accounts, 1);
    sim_run(1000000, NULL);
    sim_set_judge(judge, NULL);
    (void)sim_spawn(elsewhere, "sender", deliver, node);
    (void)sim_spawn(elsewhere, "carer", care, node);
    (void)sim_spawn(elsewhere, "guard", guard, node);
    sim_run((int64_t)LIMIT_S * 1000000, NULL);
    if (!plan.is_done || node->launcher != NULL)
        sim_fail("it does not come to an end after call %llu (%s)", (unsigned long long)at, plan.call != NULL ? plan.call : "none");
    sim_set_judge(NULL, NULL);
    sim_host_free(elsewhere);
    node_free(node);
}

static int tell(const char *at, const char *how)
{
    sim_traces = true;
    run(strtoull(at, NULL, 10), strcmp(how, "power") == 0 ? POWER : strcmp(how, "kill") == 0 ? KILL :
        strcmp(how, "short") == 0 ? SHORT : ERROR, (unsigned)atoi(how));
    return EXIT_SUCCESS;
}

enum { HAPPENED = 0, FAILED = 1, DID_NOT_HAPPEN = 3 };

/* In a process of its own, which a failure ends. */
static int run_apart(uint64_t at, enum how how, unsigned error_index)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        run(at, how, error_index);
        _exit(plan.has_happened ? HAPPENED : DID_NOT_HAPPEN);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return FAILED;
    if (WEXITSTATUS(status) == FAILED)
        (void)fprintf(stderr, "sim_crash: --trace %llu %s tells this story\n\n", (unsigned long long)at,
                      how == POWER ? "power" : how == KILL ? "kill" : how == SHORT ? "short" : (char[]){ (char)('0' + error_index), '\0' });
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    unsigned long long count = 0, failures = 0;
    if (argc == 4 && strcmp(argv[1], "--trace") == 0)
        return tell(argv[2], argv[3]);
    run(0, POWER, 0);
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, step = argc > 2 ? strtoull(argv[2], NULL, 10) : STEP;
    uint64_t last = argc > 3 ? strtoull(argv[3], NULL, 10) : plan.calls;
    for (uint64_t at = first; at <= last; at += step) {
        failures += run_apart(at, POWER, 0) == FAILED;
        failures += run_apart(at, KILL, 0) == FAILED;
        failures += run_apart(at, SHORT, 0) == FAILED;
        count += 3;
        int result = HAPPENED;
        for (unsigned i = 0; i < 8 && result != DID_NOT_HAPPEN; i++) {
            result = run_apart(at, ERROR, i);
            failures += result == FAILED;
            count += result == HAPPENED;
        }
    }
    (void)printf("crash: %llu crashes at calls up to %llu, %llu failures\n", count, (unsigned long long)last, failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
