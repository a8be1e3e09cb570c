/* Simulated processes: their birth, their end, their descriptors. */
#include "sim/inner.h"

#include "base/fault.h"
#include "sim/disk.h"
#include "sim/wrap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Those that ended while one of their own threads ran: taken apart when nobody runs. */
static struct sim_process *to_bury;

const char *sim_process_name(const struct sim_process *process) { return process->name; }
unsigned sim_process_id(const struct sim_process *process) { return process->id; }
bool sim_is_alive(const struct sim_process *process) { return process != NULL && !process->is_dead; }

/* ---- birth -------------------------------------------------------------------------------------------------------------- */

static void *process_main(void *arg)
{
    struct sim_process *process = arg;
    process_exit((process->main(process->arg) & 0xff) << 8);
}

struct sim_process *process_spawn(struct sim_host *host, const char *name, int (*main)(void *arg), void *arg, struct sim_process *parent)
{
    struct sim_process *process = sim_new(sizeof(*process));
    must(host->is_up);
    (void)snprintf(process->name, sizeof(process->name), "%s", name);
    process->host = host;
    process->id = process_next_id();
    process->parent = parent;
    process->is_server = parent != NULL && parent->is_server;
    process->main = main;
    process->arg = arg;
    process->log_role = "thurn";
    process->log_fd = 2;
    list_init(&process->threads);
    list_init(&process->exits);
    list_init(&process->blocks);
    list_init(&process->zombies);
    list_init(&process->signal_files);
    list_append(&host_inner(host)->processes, &process->list);
    struct sim_file *output = file_output_new(process);
    for (int i = 0; i < 3; i++)
        must(process_fd_install(process, output, 0) == i);
    sim_file_unref(output);
    (void)thread_new(process, process_main, process);
    return process;
}

struct sim_process *sim_spawn(struct sim_host *host, const char *name, int (*main)(void *arg), void *arg)
{
    return process_spawn(host, name, main, arg, NULL);
}

void sim_process_serves(struct sim_process *process) { process->is_server = true; }

void sim_at_exit(struct sim_process *process, void (*run)(void *arg), void *arg)
{
    struct at_exit *exit = sim_new(sizeof(*exit));
    exit->run = run;
    exit->arg = arg;
    list_append(&process->exits, &exit->list);
}

struct sim_process *sim_process_find(const struct sim_host *host, const char *name, unsigned index)
{
    const struct list *processes = &((const struct host_inner *)(const void *)host)->processes;
    for (const struct list *node = processes->next; node != processes; node = node->next) {
        struct sim_process *process = LIST_ENTRY((struct list *)(uintptr_t)node, struct sim_process, list);
        if (!process->is_dead && strcmp(process->name, name) == 0 && index-- == 0)
            return process;
    }
    return NULL;
}

struct sim_process *process_by_id(unsigned id)
{
    LIST_EACH(host_node, process_hosts()) {
        struct host_inner *host = LIST_ENTRY(host_node, struct host_inner, list);
        LIST_EACH(node, &host->processes) {
            struct sim_process *process = LIST_ENTRY(node, struct sim_process, list);
            if (process->id == id)
                return process;
        }
    }
    return NULL;
}

/* ---- the end --------------------------------------------------------------------------------------------------------------- */

static struct sim_process *child_of(const struct sim_process *parent)
{
    LIST_EACH(node, &host_inner(parent->host)->processes) {
        struct sim_process *child = LIST_ENTRY(node, struct sim_process, list);
        if (child->parent == parent)
            return child;
    }
    return NULL;
}

/* The launcher's children end with it (PR_SET_PDEATHSIG), and it hears of theirs. */
static void tell_family(struct sim_process *process)
{
    for (struct sim_process *child; (child = child_of(process)) != NULL;) {
        child->parent = NULL;
        process_end(child, SIGKILL);
    }
    struct sim_process *parent = process->parent;
    if (parent == NULL || parent->is_dead)
        return;
    struct zombie *zombie = sim_new(sizeof(*zombie));
    zombie->id = process->id;
    zombie->status = process->status;
    list_append(&parent->zombies, &zombie->list);
    process_signal(parent, SIGCHLD);
}

static void take_apart(struct sim_process *process)
{
    while (!list_is_empty(&process->threads))
        thread_free(LIST_ENTRY(process->threads.next, struct sim_thread, list));
    LIST_EACH(node, &process->exits) {
        struct at_exit *exit = LIST_ENTRY(node, struct at_exit, list);
        exit->run(exit->arg);
        sim_delete(exit);
    }
    for (int fd = 0; fd < process->fd_cap; fd++)
        (void)process_fd_close(process, fd);
    sim_delete(process->fds);
    disk_vfs_forget(process);
    LIST_EACH(node, &process->zombies)
        sim_delete(LIST_ENTRY(node, struct zombie, list));
    memory_free_all(process);
    process_forget_entered(process);
    list_remove(&process->list);
    tell_family(process);
    sim_delete(process);
}

void process_bury(void)
{
    struct sim_process *process = to_bury;
    to_bury = NULL;
    if (process != NULL)
        take_apart(process);
}

static void say_end(const struct sim_process *process)
{
    if (process->status == 0)
        sim_trace("%s[%u] ends", process->name, process->id);
    else if ((process->status & 0x7f) == 0)
        sim_trace("%s[%u] ends with status %d", process->name, process->id, process->status >> 8);
    else
        sim_trace("%s[%u] is killed by signal %d", process->name, process->id, process->status & 0x7f);
}

/* At once; but one that runs is taken apart when it has left, which process_leave_if_dead sees to. */
void process_end(struct sim_process *process, int wait_status)
{
    if (process->is_dead)
        return;
    process->is_dead = true;
    process->status = wait_status;
    say_end(process);
    if (process != sim_self())
        take_apart(process);
    else
        to_bury = process;
}

void process_end_all(struct sim_host *host)
{
    struct list *processes = &host_inner(host)->processes;
    for (struct list *node = processes->next; node != processes;) {
        struct sim_process *process = LIST_ENTRY(node, struct sim_process, list);
        bool was_dead = process->is_dead;
        process_end(process, SIGKILL);
        node = was_dead || process == sim_self() ? node->next : processes->next;      /* its children went with it */
    }
}

void process_leave_if_dead(void)
{
    struct sim_thread *self = thread_self();
    if (self == NULL || !self->process->is_dead)
        return;
    self->state = THREAD_ENDED;
    coroutine_end(self->coroutine);
}

void process_exit(int wait_status)
{
    process_end(sim_self(), wait_status);
    process_leave_if_dead();
    abort();
}

void sim_kill(struct sim_process *process)
{
    if (process != NULL)
        process_end(process, SIGKILL);
    process_leave_if_dead();
}

void __wrap__exit(int status) { process_exit((status & 0xff) << 8); }
void __wrap_exit(int status) { process_exit((status & 0xff) << 8); }

void __wrap_abort(void)
{
    const struct sim_process *process = sim_self();
    if (process == NULL || !process_may_abort(process))
        sim_fail("%s aborts", process == NULL ? "the simulator" : process->name);
    process_exit(SIGABRT);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------------- */

int process_fd_install(struct sim_process *process, struct sim_file *file, int from)
{
    int fd = from > process->fd_free ? from : process->fd_free;
    while (fd < process->fd_cap && process->fds[fd] != NULL)
        fd++;
    if ((uint64_t)fd >= process->host->fd_limit)
        return -EMFILE;
    if (fd >= process->fd_cap) {
        int cap = fd < 32 ? 64 : fd * 2;
        process->fds = sim_renew(process->fds, (size_t)cap * sizeof(struct sim_file *));
        memset(process->fds + process->fd_cap, 0, (size_t)(cap - process->fd_cap) * sizeof(struct sim_file *));
        process->fd_cap = cap;
    }
    process->fds[fd] = file;
    file->references++;
    if (fd == process->fd_free)
        process->fd_free = fd + 1;
    return fd;
}

bool process_fd_close(struct sim_process *process, int fd)
{
    if (fd < 0 || fd >= process->fd_cap || process->fds[fd] == NULL)
        return false;
    struct sim_file *file = process->fds[fd];
    process->fds[fd] = NULL;
    if (fd < process->fd_free)
        process->fd_free = fd;
    sim_file_unref(file);
    return true;
}

int sim_fd_install(struct sim_file *file) { return process_fd_install(sim_self(), file, 0); }

struct sim_file *sim_fd(int fd)
{
    const struct sim_process *process = sim_self();
    return process == NULL || fd < 0 || fd >= process->fd_cap ? NULL : process->fds[fd];
}

void sim_file_ref(struct sim_file *file) { file->references++; }

void sim_file_unref(struct sim_file *file)
{
    must(file->references > 0);
    if (--file->references != 0)
        return;
    file_forget_watchers(file);
    file->ops->closed(file);
}
