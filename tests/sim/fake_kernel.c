/* Time, chance and files without hosts that run anything: what the network needs of the kernel when a test is alone with it. */
#include "sim/kernel.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_kernel.h"

struct sim_event {
    struct sim_event *next;
    int64_t when_us;
    void (*run)(void *);
    void *arg;
};

static struct sim_event *events;
static int64_t now_us;
static uint64_t state;
static struct sim_host *running;
bool sim_traces;
static struct sim_file *files[64];
static struct at_exit { void (*run)(void *); void *arg; } exits[16];
static size_t exit_count;

void fake_begin(uint64_t seed, struct sim_host *host)
{
    while (exit_count > 0) {
        exit_count--;
        exits[exit_count].run(exits[exit_count].arg);
    }
    while (events != NULL)
        sim_cancel(events);
    for (size_t fd = 0; fd < sizeof(files) / sizeof(files[0]); fd++) {
        if (files[fd] != NULL)
            sim_file_unref(files[fd]);
        files[fd] = NULL;
    }
    now_us = 0;
    state = seed * 2 + 1;
    running = host;
}

void fake_run(int64_t until_us)
{
    while (events != NULL && events->when_us <= until_us) {
        struct sim_event event = *events;
        now_us = event.when_us;
        sim_cancel(events);
        event.run(event.arg);
    }
    now_us = until_us;
}

uint64_t sim_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
uint64_t sim_below(uint64_t limit) { return limit == 0 ? 0 : sim_random() % limit; }
bool sim_chance(uint32_t per_million) { return per_million > 0 && sim_below(1000000) < per_million; }
int64_t sim_now_us(void) { return now_us; }

struct sim_event *sim_at(int64_t when_us, void (*run)(void *arg), void *arg)
{
    struct sim_event *event = sim_new(sizeof(*event)), **at = &events;
    *event = (struct sim_event){ .when_us = when_us, .run = run, .arg = arg };
    while (*at != NULL && (*at)->when_us <= when_us)
        at = &(*at)->next;
    event->next = *at;
    *at = event;
    return event;
}

void sim_cancel(struct sim_event *event)
{
    for (struct sim_event **at = &events; *at != NULL; at = &(*at)->next)
        if (*at == event) {
            *at = event->next;
            free(event);
            return;
        }
    abort();
}

void *sim_new(size_t size) { return memset(sim_renew(NULL, size), 0, size); }
void *sim_renew(void *old, size_t size)
{
    void *memory = realloc(old, size);
    if (memory == NULL)
        abort();
    return memory;
}
void sim_delete(void *memory) { free(memory); }

struct sim_process *sim_self(void) { return NULL; }
struct sim_host *sim_self_host(void) { return running; }
void sim_at_exit(struct sim_process *process, void (*run)(void *arg), void *arg)
{
    (void)process;
    if (exit_count == sizeof(exits) / sizeof(exits[0]))
        abort();
    exits[exit_count++] = (struct at_exit){ run, arg };
}
bool sim_wait(const void *channel, int64_t until_us)
{
    (void)channel;
    if (events == NULL || events->when_us > until_us) {
        now_us = until_us;
        return false;
    }
    fake_run(events->when_us);
    return true;
}
void sim_wake(const void *channel) { (void)channel; }

int sim_fd_install(struct sim_file *file)
{
    for (int fd = 0; fd < 64; fd++)
        if (files[fd] == NULL) {
            files[fd] = file;
            file->references++;
            return fd;
        }
    return -1;
}
struct sim_file *sim_fd(int fd) { return fd >= 0 && fd < 64 ? files[fd] : NULL; }

void sim_file_changed(struct sim_file *file) { (void)file; }
void sim_file_ref(struct sim_file *file) { file->references++; }
void sim_file_unref(struct sim_file *file)
{
    if (--file->references == 0 && file->ops->closed != NULL)
        file->ops->closed(file);
}

void sim_trace(const char *format, ...)
{
    va_list arguments;
    if (!sim_traces)
        return;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

void sim_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    abort();
}
