/* The inside of the launcher. Files:
 *     launcher.c           start, reload, stop: the order of things
 *     launcher_process.c   role processes: starting, channels between them, restarting
 *     launcher_socket.c    listening sockets: configured ones, control, submission by local programs
 *     launcher_control.c   status, reload and stop, asked by the administrator
 * It parses nothing that a stranger sends, and keeps root (when it has it) to bind ports, read keys and start roles. */
#ifndef THURN_ROLE_LAUNCHER_H
#define THURN_ROLE_LAUNCHER_H

#include "config/config.h"
#include "os/loop.h"
#include "role/channel.h"
#include "role/listener.h"

#include <sys/types.h>

enum {
    LAUNCHER_EDGES_MAX = 64,
    LAUNCHER_PROCESSES_MAX = LAUNCHER_EDGES_MAX + 5,
    LAUNCHER_SOCKETS_MAX = 256,
    LAUNCHER_PEM_MAX = 512 * 1024,          /* fits a frame */
    LAUNCHER_STOP_MS = 25 * 1000,           /* then what still runs is killed */
    LAUNCHER_RESTART_MAX_MS = 5000,
    LAUNCHER_RELINK_MS = 500,               /* a channel that broke between two that live is made anew */
    LAUNCHER_STABLE_MS = 10 * 1000,         /* a role that lived so long restarts at once */
};

struct launcher;

enum process_state { PROCESS_DOWN, PROCESS_STARTING, PROCESS_READY, PROCESS_ENDING };

struct process {
    struct launcher *launcher;
    enum role role;
    uint32_t index;
    enum process_state state;
    pid_t pid;
    struct channel *channel;
    struct loop_timer restart, relink;
    uint32_t restarts;
    uint32_t quick_deaths;                  /* in a row */
    int64_t started_ms;
    bool is_linked[LAUNCHER_PROCESSES_MAX];     /* a channel to that one was handed out */
    char sandbox[512];
};

struct socket {                             /* a listening socket that roles are given copies of */
    enum listener_kind kind;
    enum listener_protocol protocol;
    enum role role;                         /* who gets it; ROLE_EDGE: all edges */
    int fd;
    bool is_kept;                           /* during a reload: still configured */
    char name[300];                         /* "address:port" or a path */
};

struct launcher {
    struct loop *loop;
    const char *config_path;
    struct config config;
    int log_fd;                             /* -1: standard error */
    struct process process[LAUNCHER_PROCESSES_MAX];
    size_t process_count;
    struct socket socket[LAUNCHER_SOCKETS_MAX];
    size_t socket_count;
    struct buf certificate, key;            /* PEM, as read at the start or the last reload; empty: no TLS. A role that is started
                                               again gets these: the files may have changed since, one without the other. */
    uint64_t key_number;                    /* of the certificate in force; rises with each reload */
    bool is_ready, is_stopping;
    int status;                             /* of the whole program */
    struct loop_timer stop_timer;
    int64_t started_ms;
    struct control *control;
    uint32_t next_call;                     /* FRAME_STATUS conversations */
    struct list status_calls;
};

/* ---- launcher.c ---- */
enum rc launcher_reload(struct launcher *, struct fault *);
void launcher_stop(struct launcher *, int status);
void launcher_process_ready(struct process *);
/* A role could not start: before everything is ready that ends the program with this line. */
void launcher_process_failed(struct process *, const struct fault *);
void launcher_process_gone(struct process *);

/* ---- launcher_process.c ---- */
void process_init_all(struct launcher *);
enum rc process_start(struct process *, struct fault *);            /* spawns, hands over, says FRAME_START */
void process_is_ready(struct process *);                            /* channels to all that are ready */
void process_open_sockets(struct process *);                        /* its listeners: only now is it reached from outside */
void process_died(struct launcher *, pid_t pid, int wait_status);
void process_stop(struct process *);
bool process_is_running(const struct process *);
enum rc process_read_pair(const struct config *, struct buf *certificate, struct buf *key, struct fault *);     /* inits both */
void process_forget_pair(struct buf *certificate, struct buf *key);
void process_send_pem(struct process *);                            /* to keys the key, to an edge the certificate */
enum rc process_send_secrets(struct process *out, struct fault *);
void process_send_config(struct process *);
void process_send_log(struct process *);
void process_send_socket(struct process *, const struct socket *);

/* ---- launcher_socket.c ---- */
enum rc socket_open_all(struct launcher *, struct fault *);
/* Opens what the new configuration has and the running one has not; on failure nothing has changed. Those that are not
 * in it any more are closed, and the edges told. */
enum rc socket_reload(struct launcher *, const struct config *next, struct fault *);
void socket_drop_all(struct launcher *);            /* closed; local ones keep their names */
void socket_close_all(struct launcher *);

/* ---- launcher_control.c ---- */
enum rc launcher_control_begin(struct launcher *, struct fault *);
void launcher_status_answer(struct process *, uint32_t call, struct slice json);
void launcher_status_gone(struct process *);

#endif
