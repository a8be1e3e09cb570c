/* A channel: frames between two roles over a socket pair, on a loop. */
#ifndef THURN_ROLE_CHANNEL_H
#define THURN_ROLE_CHANNEL_H

#include "os/conn.h"
#include "role/frame.h"

struct channel;

struct channel_owner {
    void (*frame)(void *arg, struct channel *, struct frame *);     /* slices live until it returns; takes frame->fd if it keeps it */
    void (*flushed)(void *arg, struct channel *);                   /* may be NULL: room again after channel_is_full */
    void (*closed)(void *arg, struct channel *, const char *why);   /* the channel frees itself after this returns */
    void *arg;
};

struct channel *channel_new(struct loop *, int fd, const struct channel_owner *);
void channel_free(struct channel *);
/* As frame_write; sent at the end of this turn. Never fails for the caller: a channel that overflows its maximum (64 MiB)
 * closes, which its owner hears at the end of the turn, never from within the call. */
void channel_send(struct channel *, enum frame_type, uint32_t session, ...);
void channel_send_fd(struct channel *, int fd, enum frame_type, uint32_t session, ...);     /* fd is closed here when sent */
/* More than a megabyte waits to be sent: stop producing until `flushed`. */
bool channel_is_full(const struct channel *);
/* No frames are dispatched, and soon none are read: whoever sends is held back. For an owner that cannot take more now. */
void channel_hold(struct channel *, bool);
void channel_hold_secrets(struct channel *);    /* as conn_hold_secrets */
/* Reads and dispatches what is there right now without waiting (a ticket must not be overtaken). */
void channel_pump(struct channel *);

/* `thurn --role NAME`; descriptor 3 is its channel to the launcher. */
int role_main(const char *name);
int role_keys_main(void);
int role_auth_main(void);
int role_edge_main(void);
int role_local_main(void);
int role_post_main(void);
int role_out_main(void);
/* `thurn serve`: the launcher itself. */
int role_launcher_main(const char *config_path);

#endif
