/* What conn.c (sockets) and conn_tls.c (TLS over a BIO of its own) share. */
#ifndef THURN_OS_CONN_INNER_H
#define THURN_OS_CONN_INNER_H

#include "os/conn.h"

enum {
    CONN_FDS_IN_MAX = 64,               /* received and not yet taken; no more is read meanwhile */
    CONN_FDS_OUT_MAX = 16384,           /* waiting to be sent: a thousand people who log in at once are none too many */
    CONN_READ_SIZE = 65536,
    TLS_RECORD_MAX = 16384,
    CONN_LINGER_IDLE_MS = 10 * 1000,    /* after the owner's goodbye: without any progress in sending */
    CONN_LINGER_MS = 120 * 1000,        /* ... and in all */
    CONN_DRAIN_MS = 5000,               /* ... and for the peer's end when all is sent */
    CONN_HANDSHAKE_MS = 60 * 1000,      /* however lively */
};

struct fd_mark {
    uint64_t at;                        /* the byte of the stream that it goes with */
    int fd;
};

struct conn {
    struct loop *loop;
    struct loop_watch watch;
    struct conn_owner owner;
    struct conn_limits limits;
    struct peer peer;
    struct buf input, output;
    struct loop_task flush_task, input_task, free_task;
    struct loop_timer timer;
    int64_t timeout_ms, active_ms;      /* when something was last read or written */
    int64_t deadline_ms;                /* whatever happens; 0: none */
    bool is_local;
    bool carries_fds, holds_secrets;
    bool is_watching;
    bool is_connecting, is_paused, is_lingering, is_draining, is_dead, is_ended;
    bool is_peer_done;                  /* it has shut down its side; only seen here while lingering */
    bool is_finishing;                  /* `why` is known, the last words are being sent */
    bool was_full;                      /* CONN_FLUSHED is owed */
    bool is_read_off;                   /* because input is full */
    bool is_input_owed;                 /* CONN_INPUT at the end of the turn, asked for */
    char why[160];

    struct ssl_st *tls;                 /* OpenSSL's SSL: only conn_tls.c looks inside */
    bool is_handshaking;
    bool has_tls_name, must_verify;
    struct slice tls_feed;              /* received, while OpenSSL takes it */
    struct buf sealed;                  /* encrypted, not yet sent */

    uint64_t sent_bytes;                /* of output, since the beginning: places descriptors in the stream */
    struct fd_mark *to_send;
    size_t to_send_count, to_send_cap;
    int *received;
    size_t received_count;
};

/* conn.c */
void conn_tell(struct conn *, enum conn_event);
void conn_end(struct conn *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void conn_finish(struct conn *, const char *why);               /* the same, after sending what can be sent */
void conn_arm(struct conn *);                                   /* a time-out has changed */
/* A descriptor whose connect() is under way. */
struct conn *conn_connecting(struct loop *, int fd, const struct conn_limits *, const struct conn_owner *, int64_t timeout_ms);

/* conn_tls.c: each returns false when the connection has ended (conn_end has been called). */
bool tls_took(struct conn *, struct slice);                     /* encrypted bytes arrived: all go through, into input */
bool tls_seal(struct conn *);                                   /* output into sealed, as there is room */
void tls_say_goodbye(struct conn *);                            /* close_notify into sealed */
void tls_free(struct conn *);

#endif
