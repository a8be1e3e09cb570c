/* The event loop: one per role, one thread, epoll. Time comes from here and from nowhere else. */
#ifndef THURN_OS_LOOP_H
#define THURN_OS_LOOP_H

#include "base/fault.h"
#include "base/heap.h"
#include "base/list.h"

struct loop;

struct loop *loop_new(void);
void loop_free(struct loop *);
/* Runs until loop_stop. */
void loop_run(struct loop *);
void loop_stop(struct loop *);

/* Milliseconds that only rise (for time-outs), as of this turn of the loop; and the time of day. */
int64_t loop_now_ms(const struct loop *);
int64_t loop_time_ms(const struct loop *);          /* Unix */
bool loop_is_late(const struct loop *);             /* this turn has taken long: who has more to do leaves it for the next */
int16_t loop_zone_min(const struct loop *);         /* local offset from UTC now */

enum {
    LOOP_READ = 1,
    LOOP_WRITE = 2,
    LOOP_EXCLUSIVE = 4,             /* with READ alone: of several processes that watch one listening socket, wake one */
};
struct loop_watch {                 /* embedded in what is watched */
    int fd;
    unsigned events;                /* LOOP_READ | LOOP_WRITE wanted */
    void (*ready)(struct loop_watch *, unsigned events);       /* errors and hang-ups count as both */
};
bool loop_watch(struct loop *, struct loop_watch *);            /* begin; false: the system said no (errno) */
void loop_watch_change(struct loop *, struct loop_watch *, unsigned events);
void loop_unwatch(struct loop *, struct loop_watch *);          /* safe inside any callback, also for others ready in this turn */

struct loop_timer {
    struct heap_node node;
    void (*expired)(struct loop_timer *);
};
void loop_timer_set(struct loop *, struct loop_timer *, int64_t in_ms);     /* sets or moves it */
void loop_timer_stop(struct loop *, struct loop_timer *);

struct loop_task {                  /* runs once at the end of this turn of the loop */
    struct list list;
    void (*run)(struct loop_task *);
};
void loop_task_add(struct loop *, struct loop_task *);          /* nothing when it already waits */
void loop_task_drop(struct loop_task *);
bool loop_task_waits(const struct loop_task *);

/* Signals arrive in the loop (signalfd), not anywhere else. */
bool loop_signals(struct loop *, void (*signalled)(void *arg, int signal_number), void *arg);

#endif
