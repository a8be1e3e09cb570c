/* The part of the post role that hands what is due to `out`: queue jobs become FRAME_JOB and its followers on the channel
 * to `out`, bodies are read from the store as `out` asks for them, outcomes go back into the queue.
 *
 * Nothing here parses what a remote said: it comes as fields of frames and is kept as bytes. When the channel is lost
 * `out` has died, maybe of one of its jobs (queue_job_died): a message that was under way twice is set aside. A new channel
 * continues. Timers for retries and for queue_tick are here too, so the role only has to poke. */
#ifndef THURN_ROLE_DISPATCH_H
#define THURN_ROLE_DISPATCH_H

#include "config/config.h"
#include "os/loop.h"
#include "queue/queue.h"

struct dispatch;

struct dispatch_options {
    struct queue *queue;            /* attached; queue_set_reporter done. dispatch sets queue_set_destination itself */
    struct store *store;
    struct loop *loop;
    void (*lost)(void *arg);        /* the channel to out broke; NULL: nobody wants to know */
    void *lost_arg;
    const struct config *config;    /* outlives the dispatch, or until dispatch_config */
};

struct dispatch *dispatch_new(const struct dispatch_options *);     /* NULL: out of memory */
void dispatch_free(struct dispatch *);                              /* jobs that run become lost */
/* A new channel to out (the descriptor is taken); an older one is closed: who was at its other end has died. */
void dispatch_channel(struct dispatch *, int fd);
/* Something may be due: call after store_poll, and after an administrator's action. Cheap. */
void dispatch_poke(struct dispatch *);
/* After a reload: routes, intervals and names anew. */
void dispatch_config(struct dispatch *, const struct config *);
/* No new jobs from now on; dispatch_running says how many are still under way. */
void dispatch_stop(struct dispatch *);
size_t dispatch_running(const struct dispatch *);

#endif
