/* The simulated machine room: whole servers in one process, on one thread, from one seed.
 *
 * `thurn-sim` is linked from the same objects as `thurn`; the linker hands every system call that they make to a function of
 * ours: the server's libraries are joined into one object with `ld -r --wrap=read ...` (sim/calls has the list), in which read()
 * has become __wrap_read(). So nothing of the server is rewritten or left out for the simulation: its loop, connections, files
 * and threads are the real ones, and the system under them is this. The simulator's own files are not wrapped: their malloc()
 * is the real one, and what they keep does not go with the process that happens to run.
 *
 *     kernel.c, thread.c, memory.c   hosts, processes, threads (coroutines), time, the seed; each process's memory
 *     calls_*.c                      the system calls, by what they are about: files, sockets, epoll, children, time
 *     disk.c, vfs.c                  disks with a medium that forgets what was not synced; SQLite on them
 *     net.c, dns.c, tls.c            connections between hosts; name service; a stand-in for TLS
 *     client_*.c, peer.c             people's programs and other people's servers
 *     truth.c, scenario.c, main.c    what was promised, what happens, and the command
 *
 * Everything that is decided by chance comes from sim_random(), everything that takes time from sim_now_us(): the same seed gives the
 * same run, byte for byte. No real system call is made between the first and the last turn, but writing the trace.
 *
 * A host is a machine with a disk, addresses and a clock of its own that may be wrong. A process belongs to a host, has descriptors,
 * memory and threads; a thread is a coroutine that runs until it blocks or, by chance, until a call. Killing a process frees
 * its memory and closes its descriptors; cutting a host's power kills all of its processes and then lets the disk forget. */
#ifndef THURN_SIM_KERNEL_H
#define THURN_SIM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- chance and time ---------------------------------------------------------------------------------------------- */

void sim_begin(uint64_t seed);
uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit);             /* 0 .. limit - 1 */
bool sim_chance(uint32_t per_million);
int64_t sim_now_us(void);                       /* true time since the beginning */

struct sim_event;                               /* something that will happen; runs outside of any process */
struct sim_event *sim_at(int64_t when_us, void (*run)(void *arg), void *arg);
void sim_cancel(struct sim_event *);

/* ---- hosts ---------------------------------------------------------------------------------------------------------- */

struct disk;                                    /* sim/disk.h */
struct sim_process;

enum { HOST_ADDRESSES_MAX = 4 };
struct sim_host {
    char name[64];
    char addresses[HOST_ADDRESSES_MAX][48];     /* numeric; every host has 127.0.0.1 besides, its own */
    struct disk *disk;
    int64_t clock_offset_us;                    /* its time of day is true time plus start plus this; jumps are changes of it */
    bool is_up;
    uint64_t memory_limit;                      /* of all of its processes, bytes; 0: none (then malloc fails) */
    uint64_t fd_limit;                          /* of each process */
    uint64_t segment_bytes;                     /* of the log of a store that is made on it; 0: the server's default, 64 MiB */
    void *user;                                 /* the scenario's */
};
struct sim_host *sim_host_new(const char *name, struct disk *);
void sim_host_free(struct sim_host *);

/* ---- processes and threads ------------------------------------------------------------------------------------------ */

/* Starts `main` as a process of the host; `name` for the trace ("post"). The server's roles are started by the launcher's own
 * child_start, which comes here with the role's main. Never runs it before returning. */
struct sim_process *sim_spawn(struct sim_host *, const char *name, int (*main)(void *arg), void *arg);
void sim_kill(struct sim_process *);            /* SIGKILL; also of the running one, then it does not return */
void sim_power_off(struct sim_host *);          /* kills all of its processes; what the disk keeps is the disk's (disk_power_cut) */
void sim_power_on(struct sim_host *);           /* the machine runs; its programs are the scenario's to start */
bool sim_is_alive(const struct sim_process *);
struct sim_process *sim_self(void);             /* the running one; NULL in an event */
struct sim_host *sim_self_host(void);
const char *sim_process_name(const struct sim_process *);
unsigned sim_process_id(const struct sim_process *);    /* its pid: rises over the run */
void sim_process_serves(struct sim_process *);  /* it and its children are servers: the judge is asked, an abort() is a failure */
/* When the process ends, however: for what sim/ keeps on its behalf. Runs outside of any process. */
void sim_at_exit(struct sim_process *, void (*run)(void *arg), void *arg);
struct sim_process *sim_process_find(const struct sim_host *, const char *name, unsigned index);       /* alive; NULL */

/* Blocking, from within a process's thread. A channel of sleep is any address. */
void sim_sleep_us(int64_t us);
bool sim_wait(const void *channel, int64_t until_us);   /* until sim_wake(channel) or the time (INT64_MAX: none); false: the time */
void sim_wake(const void *channel);             /* all who wait on it become runnable */
void sim_yield(void);

/* Runs until nothing can happen any more, until the time, or until *stop is true. */
void sim_run(int64_t until_us, const bool *stop);

/* ---- the door of every system call ------------------------------------------------------------------------------------ */

/* Each wrapped call comes through here first: it counts, lets other threads run by chance, and is where a planned crash
 * happens (then it does not return). The result is 0, or an errno that the call is to fail with, as `faults` decided. */
int sim_enter(const char *call);
/* Which errors a call may be made to fail with (EINTR, EMFILE, ...): how many; none: it cannot fail. Errors of the disk and of the
 * network itself are theirs (disk_set_faults, net_set_faults). */
unsigned sim_call_errors(const char *call, int errors[8]);

/* What may go wrong, set by the scenario; called by sim_enter for calls of servers (not of clients). */
struct sim_fault {
    bool kill_process, kill_host;
    int error;                                  /* errno for the call; only where that call can fail so */
    bool shorten;                               /* a stream's read or write does less than it could */
};
typedef struct sim_fault sim_judge(void *arg, struct sim_process *, const char *call, uint64_t number);
void sim_set_judge(sim_judge *, void *arg);
/* Is the abort() of a server a failure? It is at the beginning, except of a process that was refused memory: to apply what is durable
 * without memory would be worse than to begin anew. */
void sim_set_abort(bool is_failure);
void sim_set_preemption(uint32_t per_million);  /* how often a call lets others run first; 20000 at the beginning */
uint64_t sim_calls(void);                       /* so far, of all */
uint64_t sim_hash(void);                        /* of every call and every line of the trace so far: the same seed, the same hash */

/* ---- descriptors --------------------------------------------------------------------------------------------------------- */

enum { SIM_READABLE = 1, SIM_WRITABLE = 4, SIM_ERROR = 8, SIM_HANGUP = 16, SIM_PEER_SHUT = 0x2000 };     /* as EPOLLIN ... EPOLLRDHUP */

struct sim_file;
struct sim_file_ops {
    const char *kind;
    unsigned (*ready)(struct sim_file *);       /* SIM_ bits now; NULL: always readable and writable */
    void (*closed)(struct sim_file *);          /* the last descriptor is gone: free it */
};
struct sim_file {                               /* begin yours with this; one object may have several descriptors */
    const struct sim_file_ops *ops;
    unsigned references;
    unsigned flags;                             /* O_NONBLOCK, ... */
    void *watchers;                             /* kernel's: who has it in an epoll set */
};
int sim_fd_install(struct sim_file *);          /* takes one reference; the lowest free number, or -EMFILE */
struct sim_file *sim_fd(int fd);                /* of the running process; NULL */
void sim_file_changed(struct sim_file *);       /* what ready() says may have changed: wakes epoll and those who wait on the file's address */
void sim_file_ref(struct sim_file *);
void sim_file_unref(struct sim_file *);

/* ---- memory of the machine room itself ----------------------------------------------------------------------------------------
 * What sim/ keeps while a server's call runs (an end of a connection, a timer) must not be that process's: it would go with it. */
void *sim_new(size_t size);                     /* zeroed; never NULL */
void *sim_renew(void *, size_t size);           /* realloc; never NULL */
void sim_delete(void *);

/* ---- the trace -------------------------------------------------------------------------------------------------------------- */

extern bool sim_traces;
extern bool sim_traces_calls;                   /* every system call too */
/* "0:00:12.345678 host/process  text": one line; nothing unless sim_traces (but the last lines are kept for a failure's report). */
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* An invariant is broken: prints the seed, the time, the text and the last lines of the trace, and ends the program with status 1. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
