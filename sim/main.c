/* thurn-sim: runs whole networks of servers on simulated time, network and disk, one scenario for each seed.
 *
 * Each seed runs in a process of its own, as many at once as there are processors: what one leaves behind cannot reach the next. A seed
 * that breaks an invariant says which and how to run it again, and the status is 1. */
#include "sim/kernel.h"
#include "sim/scenario.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 256, STUCK_S = 900, FAILED_SHOWN = 20 };

struct command {
    uint64_t first, last;
    bool is_fresh;              /* seeds by chance, until the time is over */
    double for_s, hours;
    unsigned jobs;
    bool traces, is_json, has_only;
    uint32_t only;
};

struct job {
    pid_t pid;
    int result;                 /* the end of a pipe that its figures come from */
    uint64_t seed;
};

struct sums {
    struct scenario_figures figures;
    uint64_t seeds, failed;
    uint64_t failed_seeds[FAILED_SHOWN];
    double began_s;
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the command line ------------------------------------------------------------------------------------------------------------- */

static void usage(FILE *to)
{
    (void)fprintf(to, "usage: thurn-sim [--seed N | --seeds A..B | --for TIME] [--hours H] [--only KIND,...] [--jobs N] [--trace] [--json]\n\n"
                      "  --seed N       that seed alone\n"
                      "  --seeds A..B   each from A to B (default: 1..10)\n"
                      "  --for TIME     fresh seeds until that much time is over (90s, 30m, 8h)\n"
                      "  --hours H      simulated hours in which things go wrong (default: drawn by the seed)\n"
                      "  --only KINDS   none but these kinds of faults; \"none\": no faults at all. Kinds:");
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        (void)fprintf(to, "%s%s", i % 8 == 0 ? "\n                 " : " ", fault_names[i]);
    (void)fprintf(to, "\n  --jobs N       so many at once (default: one for each processor)\n"
                      "  --trace        the whole story, line by line; with one seed only\n"
                      "  --json         the summary as one JSON object\n\n"
                      "Status: 0 all invariants held, 1 a seed broke one, 2 the command line is wrong.\n");
}

static _Noreturn void refuse(const char *option, const char *value, const char *wanted)
{
    (void)fprintf(stderr, "thurn-sim: %s %s: wanted is %s; --help tells more\n", option, value, wanted);
    exit(2);
}

static uint64_t number(const char *option, const char *text, char stop, const char **rest)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != stop || errno != 0 || *text == '-')
        refuse(option, text, stop == '.' ? "two numbers, such as 1..100" : "a number");
    *rest = end;
    return value;
}

static double a_time(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    double unit = *end == 's' ? 1 : *end == 'm' ? 60 : *end == 'h' ? 3600 : 0;
    if (end == text || value <= 0 || unit == 0 || end[1] != '\0')
        refuse("--for", text, "a time, such as 90s, 30m or 8h");
    return value * unit;
}

static uint32_t kinds(char *list)
{
    uint32_t bits = 0;
    for (char *name = strtok(list, ","); name != NULL; name = strtok(NULL, ",")) {
        unsigned kind = 0;
        while (kind < FAULT_KINDS && strcmp(name, fault_names[kind]) != 0)
            kind++;
        if (kind == FAULT_KINDS && strcmp(name, "none") != 0)
            refuse("--only", name, "a kind of fault");
        bits |= kind < FAULT_KINDS ? 1u << kind : 0;
    }
    return bits;
}

static void take_option(struct command *command, int option, char *value)
{
    const char *rest;
    switch (option) {
    case 's': command->first = command->last = number("--seed", value, '\0', &rest); break;
    case 'S':
        command->first = number("--seeds", value, '.', &rest);
        if (rest[1] != '.')
            refuse("--seeds", value, "two numbers, such as 1..100");
        command->last = number("--seeds", rest + 2, '\0', &rest);
        break;
    case 'f': command->for_s = a_time(value); command->is_fresh = true; break;
    case 'H':
        command->hours = strtod(value, NULL);
        if (command->hours <= 0)
            refuse("--hours", value, "a number of hours, such as 0.5");
        break;
    case 'o': command->only = kinds(value); command->has_only = true; break;
    case 'j':
        command->jobs = (unsigned)number("--jobs", value, '\0', &rest);
        if (command->jobs < 1 || command->jobs > JOBS_MAX)
            refuse("--jobs", value, "a number from 1 to 256");
        break;
    case 't': command->traces = true; break;
    case 'J': command->is_json = true; break;
    case 'h': usage(stdout); exit(0);
    default: exit(2);
    }
}

static struct command parse(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' }, { "seeds", required_argument, NULL, 'S' }, { "for", required_argument, NULL, 'f' },
        { "hours", required_argument, NULL, 'H' }, { "only", required_argument, NULL, 'o' }, { "jobs", required_argument, NULL, 'j' },
        { "trace", no_argument, NULL, 't' }, { "json", no_argument, NULL, 'J' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
    };
    struct command command = { .first = 1, .last = 10 };
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    command.jobs = processors > 0 && processors < JOBS_MAX ? (unsigned)processors : 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        take_option(&command, option, optarg);
    if (optind < argc)
        refuse("argument", argv[optind], "nothing");
    if (command.last < command.first)
        refuse("--seeds", "", "the smaller number first");
    if (command.traces && (command.is_fresh || command.first != command.last))
        refuse("--trace", "", "one --seed");
    return command;
}

/* ---- seeds ------------------------------------------------------------------------------------------------------------------------- */

static struct scenario_options options_of(const struct command *command, uint64_t seed)
{
    return (struct scenario_options){ .seed = seed, .hours = command->hours, .only = command->only, .has_only = command->has_only };
}

static _Noreturn void run_here(const struct command *command, uint64_t seed, int result)
{
    struct scenario_options options = options_of(command, seed);
    struct scenario_figures figures;
    (void)alarm(STUCK_S);                           /* a loop without end in the server ends here, and is a failed seed */
    scenario_run(&options, &figures);
    (void)fflush(stdout);
    _exit(write(result, &figures, sizeof figures) == (ssize_t)sizeof figures ? 0 : 1);
}

static void start(const struct command *command, struct job *job, uint64_t seed)
{
    int ends[2];
    (void)fflush(stdout);
    if (pipe(ends) != 0 || (job->pid = fork()) < 0) {
        perror("thurn-sim: cannot start a seed");
        exit(2);
    }
    if (job->pid == 0) {
        (void)close(ends[0]);
        run_here(command, seed, ends[1]);
    }
    (void)close(ends[1]);
    job->result = ends[0];
    job->seed = seed;
}

static void add_up(struct scenario_figures *sum, const struct scenario_figures *one)
{
    sum->simulated_s += one->simulated_s;
    sum->calls += one->calls;
    sum->letters += one->letters;
    sum->recipients += one->recipients;
    sum->texts += one->texts;
    sum->listings += one->listings;
    sum->changes += one->changes;
    sum->bounced += one->bounced;
    sum->doubled_in_window += one->doubled_in_window;
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        sum->faults[i] += one->faults[i];
}

static void finish(const struct command *command, struct job *job, int status, struct sums *sums)
{
    struct scenario_figures figures;
    bool is_good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && read(job->result, &figures, sizeof figures) == (ssize_t)sizeof figures;
    (void)close(job->result);
    job->pid = 0;
    sums->seeds++;
    if (is_good) {
        add_up(&sums->figures, &figures);
        return;
    }
    if (sums->failed < FAILED_SHOWN)
        sums->failed_seeds[sums->failed] = job->seed;
    sums->failed++;
    if (WIFSIGNALED(status))
        (void)fprintf(stderr, "seed %llu: ended by signal %d (%s)\n", (unsigned long long)job->seed, WTERMSIG(status),
                      WTERMSIG(status) == SIGALRM ? "it did not end by itself" : strsignal(WTERMSIG(status)));
    char more[64] = "";
    if (command->hours > 0)
        (void)snprintf(more, sizeof more, " --hours %g", command->hours);
    (void)fprintf(stderr, "seed %llu failed; the story: thurn-sim --seed %llu%s%s --trace\n", (unsigned long long)job->seed,
                  (unsigned long long)job->seed, more, command->has_only ? " --only (as now)" : "");
}

static void show_progress(const struct sums *sums)
{
    if (!isatty(STDERR_FILENO))
        return;
    double real = now_s() - sums->began_s;
    (void)fprintf(stderr, "\r%llu seeds, %llu failed, %.0f simulated hours, %.0f s ", (unsigned long long)sums->seeds, (unsigned long long)sums->failed,
                  sums->figures.simulated_s / 3600, real);
}

static bool next_seed(const struct command *command, const struct sums *sums, uint64_t *next, uint64_t *seed)
{
    if (!command->is_fresh) {
        *seed = (*next)++;
        return *seed <= command->last && *seed >= command->first;
    }
    uint64_t chance;
    if (now_s() - sums->began_s >= command->for_s || getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance)
        return false;
    *seed = chance % 1000000000000;                 /* short enough to be typed */
    return true;
}

static void run_all(const struct command *command, struct sums *sums)
{
    struct job jobs[JOBS_MAX] = { { .pid = 0 } };
    uint64_t next = command->first, seed;
    unsigned running = 0;
    bool has_more = true;
    while (has_more || running > 0) {
        for (unsigned i = 0; i < command->jobs && has_more; i++)
            if (jobs[i].pid == 0 && (has_more = next_seed(command, sums, &next, &seed))) {
                start(command, &jobs[i], seed);
                running++;
            }
        int status;
        pid_t ended = running > 0 ? wait(&status) : -1;
        for (unsigned i = 0; i < command->jobs; i++)
            if (ended > 0 && jobs[i].pid == ended) {
                finish(command, &jobs[i], status, sums);
                running--;
            }
        show_progress(sums);
    }
    if (isatty(STDERR_FILENO))
        (void)fprintf(stderr, "\r%60s\r", "");
}

/* ---- the summary -------------------------------------------------------------------------------------------------------------------- */

static uint64_t all_faults(const struct scenario_figures *figures)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        sum += figures->faults[i];
    return sum;
}

static void report_json(const struct sums *sums, double real)
{
    const struct scenario_figures *f = &sums->figures;
    (void)printf("{\"seeds\":%llu,\"failed\":[", (unsigned long long)sums->seeds);
    for (uint64_t i = 0; i < sums->failed && i < FAILED_SHOWN; i++)
        (void)printf("%s%llu", i > 0 ? "," : "", (unsigned long long)sums->failed_seeds[i]);
    (void)printf("],\"simulated_hours\":%.2f,\"real_s\":%.2f,\"system_calls\":%llu,\"letters\":%llu,\"recipients\":%llu,\"texts\":%llu,\"listings\":%llu,"
                 "\"changes\":%llu,\"bounces\":%llu,\"doubled_in_window\":%llu,\"faults\":{",
                 f->simulated_s / 3600, real, (unsigned long long)f->calls, (unsigned long long)f->letters, (unsigned long long)f->recipients,
                 (unsigned long long)f->texts, (unsigned long long)f->listings, (unsigned long long)f->changes, (unsigned long long)f->bounced,
                 (unsigned long long)f->doubled_in_window);
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        (void)printf("%s\"%s\":%llu", i > 0 ? "," : "", fault_names[i], (unsigned long long)f->faults[i]);
    (void)printf("}}\n");
}

static void report(const struct sums *sums, double real)
{
    const struct scenario_figures *f = &sums->figures;
    (void)printf("%llu seeds, %llu failed", (unsigned long long)sums->seeds, (unsigned long long)sums->failed);
    for (uint64_t i = 0; i < sums->failed && i < FAILED_SHOWN; i++)
        (void)printf("%s%llu", i == 0 ? ": " : ", ", (unsigned long long)sums->failed_seeds[i]);
    (void)printf("\n%.1f simulated hours in %.1f s: %.2f hours and %.1f faults a second\n", f->simulated_s / 3600, real, f->simulated_s / 3600 / real,
                 (double)all_faults(f) / real);
    (void)printf("%llu letters to %llu recipients, %llu texts compared, %llu listings, %llu changes, %llu bounces, %llu doubled within the window, "
                 "%llu million system calls\n", (unsigned long long)f->letters, (unsigned long long)f->recipients, (unsigned long long)f->texts,
                 (unsigned long long)f->listings, (unsigned long long)f->changes, (unsigned long long)f->bounced,
                 (unsigned long long)f->doubled_in_window, (unsigned long long)f->calls / 1000000);
    (void)printf("faults:");
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        (void)printf(" %s %llu%s", fault_names[i], (unsigned long long)f->faults[i], i + 1 < FAULT_KINDS ? "," : "\n");
}

int main(int argc, char **argv)
{
    struct command command = parse(argc, argv);
    if (command.traces) {
        struct scenario_options options = options_of(&command, command.first);
        struct scenario_figures figures;
        sim_traces = true;
        scenario_run(&options, &figures);
        return 0;
    }
    struct sums sums = { .began_s = now_s() };
    run_all(&command, &sums);
    (command.is_json ? report_json : report)(&sums, now_s() - sums.began_s);
    return sums.failed == 0 ? 0 : 1;
}
