/* The kernel of the simulator: chance, time, events, hosts, processes, descriptors, the door of system calls. See kernel.h. */
#include "sim/inner.h"

#include "base/fault.h"
#include "os/log.h"
#include "sim/net.h"
#include "sim/wrap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_COST_US = 2, FIRST_PID = 100, PREEMPTION = 20000, MONOTONIC_START_S = 100 };

/* 2026-01-01 00:00:00 UTC: when each run begins. */
#define BEGINNING_US (INT64_C(1767225600) * 1000000)

struct sim_event {
    int64_t when_us;
    uint64_t number;                    /* events of one moment run in the order of their making */
    void (*run)(void *arg);
    void *arg;
    size_t at;
};

static struct {
    uint64_t seed, random;
    int64_t now_us;
    struct sim_event **events;          /* a heap */
    size_t event_count, event_cap;
    uint64_t event_number;
    struct list hosts;
    unsigned next_pid;
    uint32_t preemption;
    bool may_abort;
    bool shortens;                      /* the call under way */
    sim_judge *judge;
    void *judge_arg;
    uint64_t calls;
    struct sim_process *entered;        /* whose state is in the server's static variables */
} kernel;

/* ---- chance ---------------------------------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014) */
uint64_t sim_random(void)
{
    uint64_t z = kernel.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t sim_below(uint64_t limit) { return limit < 2 ? 0 : sim_random() % limit; }
bool sim_chance(uint32_t per_million) { return per_million != 0 && sim_random() % 1000000 < per_million; }
uint64_t sim_seed(void) { return kernel.seed; }

/* ---- time and events --------------------------------------------------------------------------------------------------- */

int64_t sim_now_us(void) { return kernel.now_us; }
int64_t sim_unix_us(const struct sim_host *host) { return BEGINNING_US + kernel.now_us + (host == NULL ? 0 : host->clock_offset_us); }

int64_t sim_monotonic_us(struct sim_host *host)
{
    return MONOTONIC_START_S * INT64_C(1000000) + kernel.now_us - (host == NULL ? 0 : host_inner(host)->booted_us);
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->when_us != b->when_us ? a->when_us < b->when_us : a->number < b->number;
}

static void put(struct sim_event *event, size_t at)
{
    kernel.events[at] = event;
    event->at = at;
}

static void sift_up(struct sim_event *event, size_t at)
{
    for (; at > 0 && is_before(event, kernel.events[(at - 1) / 2]); at = (at - 1) / 2)
        put(kernel.events[(at - 1) / 2], at);
    put(event, at);
}

static void sift_down(struct sim_event *event, size_t at)
{
    for (size_t child; (child = at * 2 + 1) < kernel.event_count; at = child) {
        if (child + 1 < kernel.event_count && is_before(kernel.events[child + 1], kernel.events[child]))
            child++;
        if (!is_before(kernel.events[child], event))
            break;
        put(kernel.events[child], at);
    }
    put(event, at);
}

struct sim_event *sim_at(int64_t when_us, void (*run)(void *arg), void *arg)
{
    struct sim_event *event = sim_new(sizeof(*event));
    if (kernel.event_count == kernel.event_cap) {
        kernel.event_cap = kernel.event_cap == 0 ? 256 : kernel.event_cap * 2;
        kernel.events = sim_renew(kernel.events, kernel.event_cap * sizeof(struct sim_event *));
    }
    *event = (struct sim_event){ .when_us = when_us, .number = kernel.event_number++, .run = run, .arg = arg };
    sift_up(event, kernel.event_count++);
    return event;
}

void sim_cancel(struct sim_event *event)
{
    size_t at = event->at;
    struct sim_event *last = kernel.events[--kernel.event_count];
    if (last != event) {
        sift_down(last, at);
        sift_up(last, last->at);
    }
    sim_delete(event);
}

static void run_event(struct sim_event *event)
{
    void (*run)(void *arg) = event->run;
    void *arg = event->arg;
    sim_cancel(event);
    run(arg);
}

void sim_run(int64_t until_us, const bool *stop)
{
    while (stop == NULL || !*stop) {
        struct sim_event *next = kernel.event_count == 0 ? NULL : kernel.events[0];
        if (kernel.now_us >= until_us)
            return;
        if (next != NULL && next->when_us <= kernel.now_us) {
            run_event(next);
        } else if (!thread_run_one()) {
            if (next == NULL)
                return;
            kernel.now_us = next->when_us < until_us ? next->when_us : until_us;
        }
        process_bury();
    }
}

/* ---- the beginning -------------------------------------------------------------------------------------------------------- */

void sim_begin(uint64_t seed)
{
    must(sim_self() == NULL);
    while (kernel.hosts.next != NULL && !list_is_empty(&kernel.hosts))
        sim_host_free(&LIST_ENTRY(kernel.hosts.next, struct host_inner, list)->host);
    while (kernel.event_count > 0)
        sim_cancel(kernel.events[0]);
    (void)setenv("TZ", "UTC0", 1);
    kernel.seed = seed;
    kernel.random = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    kernel.now_us = 0;
    kernel.event_number = 0;
    kernel.next_pid = FIRST_PID;
    kernel.preemption = PREEMPTION;
    kernel.may_abort = false;
    kernel.judge = NULL;
    kernel.calls = 0;
    kernel.entered = NULL;
    list_init(&kernel.hosts);
    thread_begin();
    trace_begin();
    memory_begin();
    net_begin();
}

/* ---- hosts ------------------------------------------------------------------------------------------------------------------ */

struct host_inner *host_inner(struct sim_host *host) { return LIST_ENTRY(host, struct host_inner, host); }

struct sim_host *sim_host_new(const char *name, struct disk *disk)
{
    struct host_inner *inner = sim_new(sizeof(*inner));
    (void)snprintf(inner->host.name, sizeof(inner->host.name), "%s", name);
    inner->host.disk = disk;
    inner->host.is_up = true;
    inner->host.fd_limit = SIM_FD_LIMIT;
    inner->booted_us = kernel.now_us;
    list_init(&inner->processes);
    list_append(&kernel.hosts, &inner->list);
    return &inner->host;
}

void sim_host_free(struct sim_host *host)
{
    sim_power_off(host);
    list_remove(&host_inner(host)->list);
    sim_delete(host_inner(host));
}

void sim_power_off(struct sim_host *host)
{
    sim_trace("the power of %s is off", host->name);
    host->is_up = false;
    net_host_lost(host);
    process_end_all(host);
    process_leave_if_dead();
}

void sim_power_on(struct sim_host *host)
{
    host->is_up = true;
    host_inner(host)->booted_us = kernel.now_us;
    sim_trace("the power of %s is on", host->name);
}

/* ---- the door of every system call -------------------------------------------------------------------------------------------- */

void sim_set_judge(sim_judge *judge, void *arg)
{
    kernel.judge = judge;
    kernel.judge_arg = arg;
}

void sim_set_preemption(uint32_t per_million) { kernel.preemption = per_million; }
void sim_set_abort(bool is_failure) { kernel.may_abort = !is_failure; }
bool process_may_abort(const struct sim_process *process) { return !process->is_server || kernel.may_abort || process->lacked_memory; }
uint64_t sim_calls(void) { return kernel.calls; }

static bool may_fail_so(const char *call, int error)
{
    int errors[8];
    unsigned count = sim_call_errors(call, errors);
    for (unsigned i = 0; i < count; i++)
        if (errors[i] == error)
            return true;
    return false;
}

static int judged(struct sim_process *process, const char *call)
{
    struct sim_fault fault = kernel.judge(kernel.judge_arg, process, call, kernel.calls);
    if (fault.kill_host) {
        sim_trace("%s: the power fails at %s", process->name, call);
        sim_power_off(process->host);
    }
    if (fault.kill_process) {
        sim_trace("%s: is killed at %s", process->name, call);
        sim_kill(process);
    }
    kernel.shortens = fault.shorten;
    if (fault.error == 0 || !may_fail_so(call, fault.error))
        return 0;
    sim_trace("%s: %s fails: %s", process->name, call, strerrorname_np(fault.error));
    return fault.error;
}

int sim_enter(const char *call)
{
    struct sim_process *process = sim_self();
    if (process == NULL)
        return 0;
    kernel.calls++;
    kernel.now_us += CALL_COST_US;
    process->call_count++;
    trace_call(process->id, call);
    kernel.shortens = false;
    int error = kernel.judge != NULL && process->is_server ? judged(process, call) : 0;
    bool shortens = kernel.shortens;
    if (error == 0 && sim_chance(kernel.preemption))
        sim_yield();
    kernel.shortens = shortens;
    return error;
}

size_t call_length(size_t len)
{
    return kernel.shortens && len > 1 ? 1 + (size_t)sim_below(len - 1) : len;
}

int64_t call_result(int64_t result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* ---- whose static variables ------------------------------------------------------------------------------------------------------ */

/* os/log.c has the only ones that differ between processes; they are set by log_open, which is wrapped. */
void process_enter(struct sim_process *process)
{
    if (kernel.entered == process)
        return;
    kernel.entered = process;
    log_open(process->log_role, process->log_fd, process->log_json);
}

void __wrap_log_open(const char *role, int fd, bool json)
{
    struct sim_process *process = sim_self();
    if (process != NULL) {
        process->log_role = role;
        process->log_fd = fd;
        process->log_json = json;
    }
    log_open(role, fd, json);
}

void process_forget_entered(const struct sim_process *process)
{
    if (kernel.entered == process)
        kernel.entered = NULL;
}

unsigned process_next_id(void) { return kernel.next_pid++; }
struct list *process_hosts(void) { return &kernel.hosts; }
