/* A stream connection in a loop, with or without TLS: bounded input, bounded output, time-outs.
 *
 * The owner gets events and reads `conn_input`; what it does not consume stays. It appends to conn_output (or hands over
 * whole buffers) and calls conn_flush. Input is read only while it holds less than input_max and the owner has not paused
 * it. With TLS the bytes pass through OpenSSL over a BIO of ours, so that all reads and writes of sockets are in conn.c. A
 * connection that is idle holds no buffer.
 * Closing: conn_close at once; conn_close_after_flush sends what is there, then TLS close_notify, then waits for the peer's
 * end, so that no reset destroys the last words (all in bounded time). */
#ifndef THURN_OS_CONN_H
#define THURN_OS_CONN_H

#include "base/buf.h"
#include "base/fault.h"
#include "base/peer.h"
#include "os/loop.h"

struct conn;
struct tls_context;             /* os/tls.h */

enum conn_event {
    CONN_INPUT,                 /* there is new input */
    CONN_FLUSHED,               /* output is no longer full after conn_output_is_full said it was */
    CONN_TLS_STARTED,           /* handshake done: peer is filled in; input from before is gone */
    CONN_CONNECTED,             /* an outbound connection is there */
    CONN_TIMED_OUT,             /* silence for conn_timeout: last words may be said with conn_close_after_flush; if not, CONN_CLOSED follows */
    CONN_CLOSED,                /* the peer closed, TLS ended, an error, a time-out: conn_why(). What came before was told by CONN_INPUT.
                                   No event follows; the owner calls conn_close, here or later. */
};

struct conn_owner {
    void (*event)(void *arg, struct conn *, enum conn_event);
    void *arg;
};

struct conn_limits {
    size_t input_max;           /* TLS may exceed it by one record (16 KiB) */
    size_t output_max;          /* an append past it fails, and the connection ends at the flush */
    size_t output_full;         /* conn_output_is_full from so many bytes on; 0: half of output_max */
};

/* Takes the descriptor (already non-blocking or not: it is made so). NULL: out of memory, descriptor closed. */
struct conn *conn_new(struct loop *, int fd, const struct conn_limits *, const struct conn_owner *);
/* Connects to a numeric address; source may be NULL. CONN_CONNECTED or CONN_CLOSED follows. */
struct conn *conn_connect(struct loop *, const char *address, uint16_t port, const char *source, int64_t timeout_ms,
                          const struct conn_limits *, const struct conn_owner *, struct fault *);
struct conn *conn_connect_local(struct loop *, const char *path, const struct conn_limits *, const struct conn_owner *, struct fault *);
void conn_close(struct conn *);                 /* frees; no event */
void conn_close_after_flush(struct conn *);     /* hands the connection to the loop; the owner forgets it now; no event */

struct buf *conn_input(struct conn *);
struct buf *conn_output(struct conn *);
void conn_flush(struct conn *);                 /* output was appended: send (at the end of this turn at the latest) */
bool conn_output_is_full(struct conn *);        /* wait for CONN_FLUSHED before appending more */
void conn_pause(struct conn *, bool is_paused); /* stop or go on reading */
void conn_input_again(struct conn *);           /* an event CONN_INPUT at the end of this turn or in the next, new bytes or not */
bool conn_read_now(struct conn *);              /* reads some of what is there without waiting; CONN_INPUT comes from within. False: nothing is there */
void conn_hold_secrets(struct conn *, bool);    /* passwords pass here: buffers are wiped when they are given back */
void conn_timeout(struct conn *, int64_t ms);   /* CONN_CLOSED when nothing is read or written for so long; 0: none */
const struct peer *conn_peer(const struct conn *);
const char *conn_why(const struct conn *);
struct loop *conn_loop(const struct conn *);

/* TLS. Server: all input buffered so far is dropped first (RFC 3207 4.2, CVE-2011-0411). CONN_TLS_STARTED or CONN_CLOSED follows.
 * When TLS ends, the connection ends: no plaintext is ever read behind it. */
void conn_tls_accept(struct conn *, struct tls_context *);
void conn_tls_connect(struct conn *, struct tls_context *, const char *server_name);

/* Channels between roles carry descriptors: the same stream with SCM_RIGHTS. */
void conn_carry_fds(struct conn *);             /* first of all: nobody else's descriptors are taken */
void conn_send_fd(struct conn *, int fd);       /* goes with the next byte appended after this call; closed here when sent */
int conn_take_fd(struct conn *);                /* the next one received, or -1. The receiver owns it. */

/* Listening. */
struct listener;
/* A bound, listening socket; address numeric or a path. RC_PERM: in use, not permitted, not an address: names it and the way out. */
enum rc listen_open(const char *address, uint16_t port, unsigned mode, int *fd, struct fault *);
struct listener *listener_new(struct loop *, int fd, void (*accepted)(void *arg, int fd, const struct peer *), void *arg);
void listener_pause(struct listener *, bool is_paused);
void listener_free(struct listener *);
bool peer_of_fd(int fd, struct peer *);
/* local_address and local_port of a listening descriptor. */
bool listener_name_of_fd(int fd, struct peer *);
/* uid of a local peer (SO_PEERCRED), or -1. */
int64_t peer_uid(int fd);

#endif
