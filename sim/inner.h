/* What the files of the kernel share: kernel.c, thread.c, memory.c and calls_*.c. Nobody else includes it. */
#ifndef THURN_SIM_INNER_H
#define THURN_SIM_INNER_H

#include "sim/kernel.h"

#include "base/list.h"

#include <signal.h>
#include <sys/types.h>

enum { SIM_STACK_BYTES = 1024 * 1024, SIM_FD_LIMIT = 1024 };

/* ---- threads (thread.c) -------------------------------------------------------------------------------------------- */

enum sim_thread_state { THREAD_RUNNABLE, THREAD_RUNNING, THREAD_WAITING, THREAD_ENDED };

struct sim_thread {
    struct list list;                   /* in process->threads */
    struct sim_process *process;
    enum sim_thread_state state;
    struct coroutine *coroutine;
    void *(*main)(void *);
    void *arg, *result;
    size_t run_at;                      /* place among the runnable */
    struct list waiting;                /* in a chain of waiters */
    const void *channel;
    struct sim_event *timeout;
    bool is_timed_out;
    int saved_errno;
};

/* A coroutine and its stack. coroutine_run comes back when it calls coroutine_leave, or when it has ended. */
struct coroutine *coroutine_new(void (*main)(void *arg), void *arg);
void coroutine_run(struct coroutine *);
void coroutine_leave(struct coroutine *);
_Noreturn void coroutine_end(struct coroutine *);               /* the last leave: its stack may be taken away */
void coroutine_free(struct coroutine *);

struct sim_thread *thread_new(struct sim_process *, void *(*main)(void *), void *arg);
struct sim_thread *thread_self(void);
void thread_free(struct sim_thread *);
bool thread_run_one(void);              /* one of the runnable, by chance; false: none */
void thread_begin(void);                /* forgets all of an earlier run */

/* ---- processes (kernel.c) ---------------------------------------------------------------------------------------------- */

struct at_exit {
    struct list list;
    void (*run)(void *arg);
    void *arg;
};

struct sim_process {
    struct list list;                   /* in the host's */
    struct sim_host *host;
    char name[32];
    unsigned id;
    struct sim_process *parent;         /* NULL: nobody waits for it */
    struct list threads;
    struct list exits;
    bool is_server, is_dead;
    bool lacked_memory;                 /* once: then it may abort */
    int status;                         /* as waitpid gives it */
    int (*main)(void *arg);
    void *arg;

    struct sim_file **fds;
    int fd_cap, fd_free;                /* below fd_free all are taken */

    struct list blocks;                 /* memory.c */
    uint64_t memory;

    struct list zombies;                /* children that ended (struct zombie) */
    uint64_t pending, ignored;          /* signals, a bit each */
    struct list signal_files;           /* calls_child.c */

    const char *log_role;               /* os/log.c's state while others run */
    int log_fd;
    bool log_json;

    void (*on_ready)(void *arg);        /* it says READY=1 to its supervisor (sd_notify) */
    void *on_ready_arg;

    uint64_t call_count;
};

struct zombie {
    struct list list;
    unsigned id;
    int status;
};

struct host_inner {                     /* behind each struct sim_host */
    struct sim_host host;
    struct list list;
    struct list processes;
    uint64_t memory;
    int64_t booted_us;
};
struct host_inner *host_inner(struct sim_host *);

_Noreturn void process_exit(int wait_status);           /* of the running one */
void process_end(struct sim_process *, int wait_status);
void process_end_all(struct sim_host *);
void process_leave_if_dead(void);                       /* the running one may have ended itself: then this does not return */
void process_bury(void);                                /* frees it; from the scheduler */
bool process_may_abort(const struct sim_process *);
unsigned process_next_id(void);
struct list *process_hosts(void);
void process_forget_entered(const struct sim_process *);
void process_signal(struct sim_process *, int number);  /* calls_child.c */
struct sim_process *process_spawn(struct sim_host *, const char *name, int (*main)(void *arg), void *arg, struct sim_process *parent);
struct sim_process *process_by_id(unsigned id);
void process_enter(struct sim_process *);               /* before one of its threads runs: its log's state, as it left it */
int process_fd_install(struct sim_process *, struct sim_file *, int from);      /* lowest free from `from` on; takes a reference */
bool process_fd_close(struct sim_process *, int fd);
struct sim_file *file_output_new(struct sim_process *); /* standard output and error: lines of the trace (calls_file.c) */

/* memory.c */
void memory_free_all(struct sim_process *);
void memory_begin(void);

/* poll.c */
void file_forget_watchers(struct sim_file *);
unsigned file_watch_count(const struct sim_file *);      /* what is registered in it: 0 unless it is an epoll set */

int file_give(struct sim_file *);       /* as a system call's result: its only reference is the descriptor's */
bool file_is_event(const struct sim_file *);
int64_t event_read(struct sim_file *, void *, size_t);          /* -errno */
int64_t event_write(struct sim_file *, const void *, size_t);

/* calls_file.c */
bool file_is_on_disk(const struct sim_file *);
int64_t file_read(struct sim_file *, void *, size_t);
int64_t file_write(struct sim_file *, const void *, size_t);
bool file_is_output(const struct sim_file *);
int64_t output_write(struct sim_file *, const void *, size_t);

/* calls_child.c */
bool file_is_signals(const struct sim_file *);
int64_t signals_read(struct sim_file *, void *, size_t);

/* For a wrapped call that blocks: waits until the file is ready for one of the bits, or the time. */
bool file_wait(struct sim_file *, unsigned bits, int64_t until_us);

/* A call's way out: -errno to what C programs expect. */
int64_t call_result(int64_t result);
/* How much of so many bytes the call that was entered last is to do. */
size_t call_length(size_t len);

int64_t sim_unix_us(const struct sim_host *);           /* the time of day that its clock shows */
int64_t sim_monotonic_us(struct sim_host *);

/* trace.c */
void trace_begin(void);
void trace_call(unsigned process, const char *call);
void trace_output(const struct sim_process *, const char *line, size_t len);
uint64_t sim_seed(void);

#endif
