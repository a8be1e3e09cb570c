/* The network between simulated hosts: streams with delay, loss of connection and everything else that TCP lets through.
 *
 * Bytes of one direction arrive in order or not at all, cut into pieces of any size. By chance and by plan: delay and jitter for each
 * pair of hosts, pieces of one byte, partitions (nothing passes, nobody is told), resets between any two bytes, half-open ends (a
 * host lost its power: its peers hear nothing until they speak or time out), connects that are refused, that hang, or that
 * succeed and stay silent. UDP is not simulated: DNS is answered above the wire (sim/dns.c).
 * Unix sockets (stream, with SCM_RIGHTS) are here too: no delay beyond the scheduler's, never torn between hosts, same ops. */
#ifndef THURN_SIM_NET_H
#define THURN_SIM_NET_H

#include "sim/kernel.h"

struct net_end;                         /* one end of a stream, or a listening socket; begins with struct sim_file */

enum { NET_BUFFER_BYTES = 256 * 1024 }; /* on the way and unread, each direction: then a writer waits */

void net_begin(void);                   /* forgets everything of the last run (called by sim_begin) */

/* ---- as the system calls need it (calls_socket.c); results as system calls, -errno ----
 * An end that is given out comes with one reference, the caller's: for sim_fd_install, or sim_file_unref it. The last one closes.
 * Nothing here waits: a call that would have to is answered -EAGAIN (connect: -EINPROGRESS); whoever blocks waits on the end's
 * address with sim_wait until its file is ready, and tries again. */
struct net_end *net_socket(int domain);
int net_domain(const struct net_end *);                 /* AF_INET, AF_INET6, AF_UNIX */
bool net_is_net(const struct sim_file *);               /* is this file a net_end (kind "socket")? */
bool net_is_listening(const struct net_end *);
/* address NULL: any; a path for AF_UNIX: port 0. -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL. Port 0 of an address: a free one. */
int net_bind(struct net_end *, struct sim_host *, const char *address, uint16_t port);
int net_listen(struct net_end *);
int net_accept(struct net_end *, struct net_end **);
int net_connect(struct net_end *, struct sim_host *from, const char *address, uint16_t port);    /* 0, -EINPROGRESS; AF_UNIX: 0, -ENOENT, ... */
int net_connect_result(struct net_end *);                                                       /* SO_ERROR: takes it (an errno, or 0) */
int net_pair(struct net_end *ends[2]);                                                          /* socketpair */
int64_t net_read(struct net_end *, void *, size_t, bool peek);
int64_t net_write(struct net_end *, const void *, size_t);
int net_shutdown(struct net_end *, int how);
/* Descriptors that travel with the next byte written / came with the byte read last. Sending takes a reference of its own, and
 * forgets the file when the write that follows fails. A file that came is the caller's; what nobody takes before the next read
 * is closed, as is what a plain recv() passes over. A read ends behind each message that carries files. */
int net_send_file(struct net_end *, struct sim_file *);
struct sim_file *net_take_file(struct net_end *);
/* Numeric addresses; empty for AF_UNIX. remote_port 0: not connected. */
void net_names(const struct net_end *, char local[48], uint16_t *local_port, char remote[48], uint16_t *remote_port);
/* The names of path sockets in a host's files: lstat, unlink, rename, chmod and open of a path ask here first. */
bool net_path_is_socket(const struct sim_host *, const char *path);
bool net_path_unlink(struct sim_host *, const char *path);             /* false: no such */

/* ---- for clients and peers that are coroutines: blocking, with a time-out in simulated ms ---- */
struct net_end *net_dial(struct sim_host *from, const char *address, uint16_t port, int64_t timeout_ms);        /* NULL: not connected */
int64_t net_get(struct net_end *, void *, size_t, int64_t timeout_ms);          /* 0: the end; -ETIMEDOUT, -ECONNRESET */
bool net_put(struct net_end *, const void *, size_t, int64_t timeout_ms);       /* all of it */
/* A line without its CRLF; -1: no line came. */
int net_line(struct net_end *, char *line, size_t size, int64_t timeout_ms);
void net_close(struct net_end *);
void net_adopt(struct net_end *);       /* from now on the running process's, which closes it when it ends */
struct net_end *net_serve(struct sim_host *, const char *address, uint16_t port);       /* listens */
struct net_end *net_next(struct net_end *listener, int64_t timeout_ms);                 /* accepts */

/* ---- what goes wrong ---- */
struct net_faults {                     /* per million, for each piece or connection between two hosts; see net.c for each */
    uint32_t reset, cut_silently, tiny_pieces, refuse, hang;
    int64_t delay_us, jitter_us;
};
void net_set_faults(const struct net_faults *);                                 /* between all hosts */
void net_partition(struct sim_host *, struct sim_host *, bool is_cut);
/* Its power is gone: connections to it become half-open. Called by sim_power_off before it kills the processes, so that their
 * descriptors close without a word. The host may come back: then whoever speaks to it on an old connection is reset. */
void net_host_lost(struct sim_host *);
struct net_figures { uint64_t connections, resets, cuts, pieces, bytes; };
struct net_figures net_figures(void);

/* ---- name service (sim/dns.c): what libunbound answers in each host ---- */
enum dns_mood { DNS_WELL, DNS_SERVFAIL, DNS_SILENT, DNS_LIES };
void dns_clear(void);
void dns_set(const char *name, const char *type, const char *data);            /* "example.org" "MX" "10 mail.example.org"; adds */
void dns_remove(const char *name, const char *type);
void dns_set_mood(const char *zone, enum dns_mood);     /* for names below it; SILENT: never answers; LIES: other data, or loops of CNAMEs */
void dns_set_delay(int64_t min_us, int64_t max_us);

#endif
