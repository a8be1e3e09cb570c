/* Children, signals, threads and who one is. */
#include "sim/inner.h"
#include "sim/wrap.h"

#include "base/fault.h"
#include "os/child.h"
#include "os/sandbox.h"
#include "role/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- children ----------------------------------------------------------------------------------------------------------- */

static int run_role(void *arg)
{
    char name[32];
    (void)strncpy(name, arg, sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    sim_delete(arg);
    return role_main(name);
}

/* os/child.h: "this very program again", with the channel as descriptor 3. */
enum rc __wrap_child_start(char *const argv[], int fd, pid_t *pid, struct fault *fault)
{
    int error = sim_enter("fork");
    if (error != 0)
        return fault_errno(fault, error, "cannot start %s", argv[0]);
    struct sim_process *parent = sim_self();
    size_t size = strlen(argv[2]) + 1;
    char *role = memcpy(sim_new(size), argv[2], size);
    struct sim_process *child = process_spawn(parent->host, role, run_role, role, parent);
    must(process_fd_install(child, sim_fd(fd), 3) == 3);
    *pid = (pid_t)child->id;
    return RC_OK;
}

enum rc __wrap_sandbox_enter(const struct sandbox *sandbox, struct buf *report, struct fault *fault)
{
    (void)sandbox, (void)fault;
    (void)buf_append_str(report, "simulated");
    return RC_OK;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int flags)
{
    struct sim_process *process = sim_self();
    int error = sim_enter("waitpid");
    must(pid == -1 && (flags & WNOHANG) != 0);
    if (error != 0)
        return (pid_t)call_result(-error);
    if (list_is_empty(&process->zombies))
        return 0;
    struct zombie *zombie = LIST_ENTRY(process->zombies.next, struct zombie, list);
    pid = (pid_t)zombie->id;
    *status = zombie->status;
    list_remove(&zombie->list);
    sim_delete(zombie);
    return pid;
}

int __wrap_kill(pid_t pid, int number)
{
    int error = sim_enter("kill");
    struct sim_process *process = process_by_id((unsigned)pid);
    if (error != 0 || process == NULL || process->is_dead)
        return (int)call_result(error != 0 ? -error : -ESRCH);
    process_signal(process, number);
    process_leave_if_dead();
    return 0;
}

/* ---- signals -------------------------------------------------------------------------------------------------------------- */

struct signals {
    struct sim_file file;
    struct list list;                   /* in the process's */
    struct sim_process *process;
    uint64_t mask;
};

static unsigned signals_ready(struct sim_file *file)
{
    const struct signals *signals = LIST_ENTRY(file, struct signals, file);
    return signals->process != NULL && (signals->process->pending & signals->mask) != 0 ? SIM_READABLE : 0;
}

static void signals_closed(struct sim_file *file)
{
    struct signals *signals = LIST_ENTRY(file, struct signals, file);
    list_remove(&signals->list);
    sim_delete(signals);
}

static const struct sim_file_ops signals_ops = { .kind = "signalfd", .ready = signals_ready, .closed = signals_closed };

bool file_is_signals(const struct sim_file *file) { return file->ops == &signals_ops; }

int __wrap_signalfd(int fd, const sigset_t *set, int flags)
{
    int error = sim_enter("signalfd");
    must(fd == -1);
    if (error != 0)
        return (int)call_result(-error);
    struct signals *signals = sim_new(sizeof(*signals));
    signals->file.ops = &signals_ops;
    signals->file.flags = (flags & SFD_NONBLOCK) != 0 ? O_NONBLOCK : 0;
    signals->process = sim_self();
    for (int number = 1; number < 64; number++)
        if (sigismember(set, number) == 1)
            signals->mask |= UINT64_C(1) << number;
    list_append(&sim_self()->signal_files, &signals->list);
    return file_give(&signals->file);
}

int64_t signals_read(struct sim_file *file, void *data, size_t len)
{
    struct signals *signals = LIST_ENTRY(file, struct signals, file);
    struct signalfd_siginfo info;
    uint64_t due = signals->process->pending & signals->mask;
    if (due == 0)
        return -EAGAIN;
    if (len < sizeof(info))
        return -EINVAL;
    int number = __builtin_ctzll(due);
    signals->process->pending &= ~(UINT64_C(1) << number);
    memset(&info, 0, sizeof(info));
    info.ssi_signo = (uint32_t)number;
    memcpy(data, &info, sizeof(info));
    return sizeof(info);
}

/* Who takes a signal through a descriptor has blocked it; without one it is ignored or ends the process. */
void process_signal(struct sim_process *process, int number)
{
    uint64_t bit = UINT64_C(1) << number;
    bool is_taken = false;
    if (number == SIGKILL) {
        process_end(process, SIGKILL);
        return;
    }
    LIST_EACH(node, &process->signal_files) {
        struct signals *signals = LIST_ENTRY(node, struct signals, list);
        if ((signals->mask & bit) == 0)
            continue;
        is_taken = true;
        process->pending |= bit;
        sim_file_changed(&signals->file);
    }
    if (!is_taken && (process->ignored & bit) == 0 && number != SIGCHLD)
        process_end(process, number);
}

void (*__wrap_signal(int number, void (*handler)(int)))(int)
{
    struct sim_process *process = sim_self();
    uint64_t bit = UINT64_C(1) << number;
    process->ignored = handler == SIG_IGN ? process->ignored | bit : process->ignored & ~bit;
    return SIG_DFL;
}

int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    (void)how, (void)set, (void)old;
    return 0;
}

/* ---- threads ---------------------------------------------------------------------------------------------------------------- */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *arg)
{
    int error = sim_enter("pthread_create");
    (void)attributes;
    if (error == 0)
        *thread = (pthread_t)(uintptr_t)thread_new(sim_self(), main, arg);
    return error;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    struct sim_thread *joined = (struct sim_thread *)(uintptr_t)thread;
    (void)sim_enter("pthread_join");
    while (joined->state != THREAD_ENDED)
        (void)sim_wait(joined, INT64_MAX);
    if (result != NULL)
        *result = joined->result;
    thread_free(joined);
    return 0;
}

/* The first bytes of a mutex are ours: who holds it. */
struct held {
    struct sim_thread *by;
};

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    memset(mutex, 0, sizeof(*mutex));
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    must(((struct held *)(void *)mutex)->by == NULL);
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    struct held *held = (struct held *)(void *)mutex;
    (void)sim_enter("mutex");
    must(held->by != thread_self());
    while (held->by != NULL)
        (void)sim_wait(mutex, INT64_MAX);
    held->by = thread_self();
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    struct held *held = (struct held *)(void *)mutex;
    must(held->by == thread_self());
    held->by = NULL;
    sim_wake(mutex);
    return 0;
}

int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    (void)condition, (void)attributes;
    return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *condition) { return (void)condition, 0; }

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    (void)__wrap_pthread_mutex_unlock(mutex);
    (void)sim_wait(condition, INT64_MAX);
    return __wrap_pthread_mutex_lock(mutex);
}

/* One may be woken and all are: spurious wake-ups are allowed, and who relies on there being none is found. */
int __wrap_pthread_cond_signal(pthread_cond_t *condition) { return sim_wake(condition), 0; }
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition) { return sim_wake(condition), 0; }

/* ---- who one is, and what one may ------------------------------------------------------------------------------------------- */

pid_t __wrap_getpid(void) { return (pid_t)sim_self()->id; }
uid_t __wrap_geteuid(void) { return 1000; }

char *__wrap_getenv(const char *name)
{
    static char supervisor[] = "/supervisor";
    return strcmp(name, "NOTIFY_SOCKET") == 0 ? supervisor : NULL;
}

long __wrap_sysconf(int name) { return name == _SC_NPROCESSORS_ONLN ? 2 : name == _SC_PAGESIZE ? 4096 : -1; }
int __wrap_setrlimit64(int resource, const struct rlimit *limit) { return (void)resource, (void)limit, 0; }

int __wrap_getrlimit64(int resource, struct rlimit *limit)
{
    (void)resource;
    limit->rlim_cur = limit->rlim_max = (rlim_t)sim_self_host()->fd_limit;
    return 0;
}

/* ---- what is not reached here -------------------------------------------------------------------------------------------------- */

#define NEVER(name)                                             \
    _Noreturn void __wrap_##name(void);                         \
    void __wrap_##name(void) { sim_fail("%s is not simulated", #name); }

NEVER(fork)
NEVER(execv)
NEVER(dup2)
NEVER(close_range)
NEVER(prctl)
NEVER(syscall)
NEVER(setgroups)
NEVER(setresgid)
NEVER(setresuid)
NEVER(getpwnam)
NEVER(getpwnam_r)
NEVER(seccomp_attr_set)
NEVER(seccomp_init)
NEVER(seccomp_load)
NEVER(seccomp_release)
NEVER(seccomp_rule_add)
NEVER(seccomp_rule_add_array)
