/* What people's programs read and write: lines and bytes on a connection, with or without the stand-in for TLS. Blocking, for coroutines.
 *
 * These files are linked among the server's (sim/meson.build): what they allocate is their process's and goes with it. */
#ifndef THURN_SIM_STREAM_H
#define THURN_SIM_STREAM_H

#include "base/buf.h"
#include "sim/client.h"

enum { STREAM_MAX = 64 * 1024 * 1024, STREAM_PIECE = 32 * 1024 };

struct stream {
    struct net_end *end;                /* NULL: dead */
    struct buf in, sealed;              /* read and not yet taken; TLS: records, the last torn */
    size_t taken;                       /* of `in`, given out by the last call */
    bool has_tls;
    int64_t timeout_ms;
    char server_name[64];
};

/* With TLS at once when the server's `tls` says so. False: not connected, and closed. */
bool stream_open(struct stream *, struct sim_host *, const struct client_server *);
/* One that a server accepted. */
void stream_accepted(struct stream *, struct net_end *, int64_t timeout_ms);
/* False: the handshake failed; dead. Drops what was read before. */
bool stream_start_tls(struct stream *);
/* The server's side, with a certificate of its own making. */
bool stream_accept_tls(struct stream *, const char *name);

bool stream_put(struct stream *, struct slice);
bool stream_printf(struct stream *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line without its end (CRLF, or LF alone). What is given out lives until the next call. False: the end; dead, but for stream_wait. */
bool stream_line(struct stream *, struct slice *line);
bool stream_bytes(struct stream *, size_t len, struct slice *bytes);
/* Is something there to read, or the end? False: nothing within that time. */
bool stream_wait(struct stream *, int64_t ms);
bool stream_is_alive(const struct stream *);
void stream_close(struct stream *);

/* SASL: `command` ("AUTH", "a1 AUTHENTICATE") with an initial response, then answers to challenges, lines that begin with `challenge` ("334 ").
 * The line that ended it, or false. */
bool stream_login(struct stream *, const char *command, const char *challenge, struct slice offered, const struct client_server *, struct slice *line);

#endif
