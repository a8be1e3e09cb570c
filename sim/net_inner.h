/* What the parts of the network share: net.c (sockets, names, connecting), net_stream.c (bytes and what happens to them),
 * net_wait.c (calls that block, for coroutines). */
#ifndef THURN_SIM_NET_INNER_H
#define THURN_SIM_NET_INNER_H

#include "base/list.h"
#include "sim/net.h"

enum {
    NET_BACKLOG = 4096,
    NET_CONNECT_GIVES_UP_S = 127,       /* tcp_syn_retries = 6 */
    NET_GIVES_UP_S = 924,               /* tcp_retries2 = 15 */
    NET_KEEPALIVE_S = 7200 + 675,       /* tcp_keepalive_time, _intvl, _probes */
};

struct net_mark {                       /* the bytes [from, to) of a stream carry a file */
    uint64_t from, to;
    struct sim_file *file;
};

enum net_piece_kind { NET_BYTES, NET_FIN, NET_RESET };
struct net_piece {
    uint64_t end;                       /* of its bytes in the stream */
    int64_t when_us;
    enum net_piece_kind kind;
};

struct net_way {                        /* one direction of a link; index: whose it is to send */
    struct net_link *link;
    unsigned from;
    char *bytes;                        /* sent and not yet taken: offsets taken .. sent */
    size_t cap;
    uint64_t sent, arrived, taken;
    struct net_piece *pieces;           /* on the way, in order */
    size_t piece_count, piece_cap;
    struct net_mark *marks;
    size_t mark_count, mark_cap;
    bool is_shut;                       /* nothing more is written */
    bool has_ended;                     /* the end has arrived */
    int64_t last_us;                    /* the last piece arrives then: none overtakes another */
    int64_t blocked_us, retry_us;       /* since when nothing gets through; the next pause between two attempts */
    struct sim_event *arrival;
};

struct net_link {
    struct list all;
    struct net_way way[2];
    struct net_end *end[2];             /* NULL: closed */
    struct sim_host *host[2];
    bool is_lost[2];                    /* that host has forgotten it */
    bool is_local;                      /* a Unix socket */
    bool is_cut;                        /* nothing passes any more, and nobody is told */
    size_t room;                        /* of each direction */
    int64_t delay_us, jitter_us;
    struct sim_event *keepalive;
};

enum net_state { NET_FRESH, NET_LISTENING, NET_CONNECTING, NET_STREAM, NET_DEAD };
struct net_end {
    struct sim_file file;               /* first */
    struct list all;
    int domain;
    enum net_state state;
    struct sim_host *host;
    char address[48], remote[48];
    uint16_t port, remote_port;
    bool is_bound;
    int error;                          /* SO_ERROR: told once */

    struct net_end **queue;             /* listening: not yet accepted */
    size_t queue_count, queue_cap;

    struct sim_event *connecting;
    int64_t syn_us, syn_retry_us;       /* since when; the next pause */
    bool is_hanging;

    struct net_link *link;
    unsigned side;                      /* in it */
    struct list kept;                   /* by the process whose coroutine has it (net_wait.c) */
    struct sim_file **leaving, **came;  /* with the next write; with the last read */
    size_t leaving_count, came_count;
};

/* ---- net.c ---- */
extern struct net_figures net_counted;
struct net_end *net_end_new(int domain);
bool net_is_partitioned(const struct sim_host *, const struct sim_host *);

/* ---- net_stream.c ---- */
extern struct net_faults net_fault;
void net_stream_begin(void);
/* Joins two ends; way[0] is what `near` sends. */
struct net_link *net_join(struct net_end *near, struct net_end *far, bool is_local);
void net_leave(struct net_end *);                       /* its last descriptor is gone */
void net_forget_files(struct sim_file ***files, size_t *count);
unsigned net_stream_ready(const struct net_end *);
void net_streams_lost(struct sim_host *);
void net_streams_retry(void);                           /* a partition has healed */

#endif
