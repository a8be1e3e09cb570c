/* A machine that runs a Thurn server: its host, disk and configuration, its launcher and roles. */
#ifndef THURN_SIM_NODE_H
#define THURN_SIM_NODE_H

#include "sim/disk.h"
#include "sim/kernel.h"

#define NODE_DATA "/data"
#define NODE_RUN "/run/thurn"
#define NODE_CONFIG "/etc/thurn.yaml"
#define NODE_DNS_SERVER "198.51.100.53"         /* what the configuration names; sim/dns.c answers */

struct node_options {
    const char *host_name;              /* "mail.one.example": the host's name too */
    const char *address;                /* numeric; it listens on it and on 127.0.0.1 */
    const char *settings;               /* more lines for the configuration; NULL: none */
    uint64_t disk_bytes;                /* 0: 1 GiB */
    uint64_t memory_bytes;              /* of all its processes; 0: no limit */
    unsigned edges;                     /* 0: 2 */
};

struct node {
    struct sim_host *host;
    struct sim_process *launcher;       /* NULL: does not run */
    bool is_ready;                      /* the launcher has said so; a channel to wait on (sim_wait(node, ...)) for changes of both */
    int status;                         /* of the launcher that ended last, as waitpid gives it */
    unsigned boots;
    const struct node_options *options;
    void *user;
};

/* A machine with a disk that has the configuration and nothing else; does not run. options live on. */
struct node *node_new(const struct node_options *);
void node_free(struct node *);
/* Starts `thurn serve` (the power goes on when it was off). What to do when it ends is the caller's: `launcher` is NULL then. */
void node_boot(struct node *);
/* Cuts the power: every process is gone, the disk forgets; off until node_boot. */
void node_power_cut(struct node *, enum disk_loss);
/* SIGTERM to the launcher. */
void node_stop(struct node *);
/* SIGHUP to the launcher of a server that is ready; else nothing. */
void node_reload(struct node *);
/* From a coroutine: waits until it is ready; false: not by then, or the launcher ended. */
bool node_wait_ready(struct node *, int64_t timeout_ms);

/* What the administrator does about messages that were set aside because a role died twice over them: `thurn queue release --held`.
 * From a coroutine; has happened when this returns, unless the server does not run. */
void node_release_held(struct node *);

/* Writes straight into the directory, while the server does not run (a process of its own does it; from an event or before sim_run,
 * it happens at the next sim_run; from a coroutine, it has happened when this returns). Dies when it is refused. */
struct node_account { const char *address, *password; uint64_t quota_bytes; };
void node_add(struct node *, const char *const *domains, size_t domain_count, const struct node_account *, size_t account_count);

#endif
