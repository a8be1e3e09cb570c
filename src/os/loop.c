/* The event loop: see loop.h. epoll, level-triggered; a watch that goes away in the middle of a turn is struck from the
 * events already fetched, so no callback ever sees a dead one. */
#include "os/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_PER_TURN = 256, TASK_ROUNDS = 8, TURN_MS = 10 };

struct loop {
    int epoll_fd;
    bool is_stopping, is_in_timers;
    int64_t now_ms, time_ms;
    int16_t zone_min;
    int64_t zone_until_ms;              /* the local offset is looked up again after this */
    struct heap timers;
    struct list tasks;
    struct epoll_event events[EVENTS_PER_TURN];
    int event_count, event_at;
    struct loop_watch signal_watch;
    void (*signalled)(void *arg, int signal_number);
    void *signalled_arg;
};

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    must(clock_gettime(clock, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void look_up_zone(struct loop *loop)
{
    time_t now = (time_t)(loop->time_ms / 1000);
    struct tm local;
    if (localtime_r(&now, &local) != NULL)
        loop->zone_min = (int16_t)(local.tm_gmtoff / 60);
    loop->zone_until_ms = loop->now_ms + 60 * 1000;
}

static void look_at_clock(struct loop *loop)
{
    loop->now_ms = clock_ms(CLOCK_MONOTONIC);
    loop->time_ms = clock_ms(CLOCK_REALTIME);
    if (loop->now_ms >= loop->zone_until_ms)
        look_up_zone(loop);
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return NULL;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        free(loop);
        return NULL;
    }
    heap_init(&loop->timers);
    list_init(&loop->tasks);
    tzset();                            /* while /etc/localtime may still be read */
    loop->signal_watch.fd = -1;
    look_at_clock(loop);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->signal_watch.fd >= 0)
        (void)close(loop->signal_watch.fd);
    (void)close(loop->epoll_fd);
    heap_free(&loop->timers);
    free(loop);
}

int64_t loop_now_ms(const struct loop *loop) { return loop->now_ms; }
int64_t loop_time_ms(const struct loop *loop) { return loop->time_ms; }
int16_t loop_zone_min(const struct loop *loop) { return loop->zone_min; }
bool loop_is_late(const struct loop *loop) { return clock_ms(CLOCK_MONOTONIC) - loop->now_ms > TURN_MS; }
void loop_stop(struct loop *loop) { loop->is_stopping = true; }

/* ---- watches ----------------------------------------------------------------------------------------------------- */

static struct epoll_event event_of(struct loop_watch *watch)
{
    struct epoll_event event = { .data.ptr = watch };
    if (watch->events & LOOP_READ)
        event.events |= EPOLLIN | EPOLLRDHUP;
    if (watch->events & LOOP_WRITE)
        event.events |= EPOLLOUT;
    if (watch->events & LOOP_EXCLUSIVE)
        event.events = EPOLLIN | EPOLLEXCLUSIVE;
    return event;
}

bool loop_watch(struct loop *loop, struct loop_watch *watch)
{
    struct epoll_event event = event_of(watch);
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

void loop_watch_change(struct loop *loop, struct loop_watch *watch, unsigned events)
{
    if (watch->events == events)
        return;
    must(((watch->events | events) & LOOP_EXCLUSIVE) == 0);     /* the kernel cannot */
    watch->events = events;
    struct epoll_event event = event_of(watch);
    must(epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0);
}

void loop_unwatch(struct loop *loop, struct loop_watch *watch)
{
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = loop->event_at; i < loop->event_count; i++)
        if (loop->events[i].data.ptr == watch)
            loop->events[i].data.ptr = NULL;
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
    struct loop_watch *watch = event->data.ptr;
    unsigned ready = 0;
    if (event->events & (EPOLLIN | EPOLLRDHUP))
        ready |= LOOP_READ;
    if (event->events & EPOLLOUT)
        ready |= LOOP_WRITE;
    if (event->events & (EPOLLERR | EPOLLHUP))
        ready |= LOOP_READ | LOOP_WRITE;
    (void)loop;
    watch->ready(watch, ready);
}

/* ---- timers and tasks -------------------------------------------------------------------------------------------- */

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t in_ms)
{
    int64_t least_ms = loop->is_in_timers ? 1 : 0;      /* one that sets itself to "now" must not run for ever */
    heap_remove(&loop->timers, &timer->node);
    must(heap_add(&loop->timers, &timer->node, loop->now_ms + (in_ms > least_ms ? in_ms : least_ms)));
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer) { heap_remove(&loop->timers, &timer->node); }

static void run_timers(struct loop *loop)
{
    struct heap_node *node;
    loop->is_in_timers = true;
    while ((node = heap_first(&loop->timers)) != NULL && node->key <= loop->now_ms) {
        struct loop_timer *timer = LIST_ENTRY(node, struct loop_timer, node);
        heap_remove(&loop->timers, node);
        timer->expired(timer);
    }
    loop->is_in_timers = false;
}

bool loop_task_waits(const struct loop_task *task) { return task->list.next != NULL && task->list.next != &task->list; }

void loop_task_add(struct loop *loop, struct loop_task *task)
{
    if (!loop_task_waits(task))
        list_append(&loop->tasks, &task->list);
}

void loop_task_drop(struct loop_task *task)
{
    if (loop_task_waits(task))
        list_remove(&task->list);
}

/* Tasks that tasks add run in the same turn, so that what it caused is done before the next begins; but those that go on and
 * on leave the others a turn. */
static void run_tasks(struct loop *loop)
{
    for (int round = 0; round < TASK_ROUNDS && !list_is_empty(&loop->tasks) && (round == 0 || !loop_is_late(loop)); round++) {
        struct list now = loop->tasks;          /* what is added meanwhile is the next round */
        now.next->prev = now.prev->next = &now;
        list_init(&loop->tasks);
        while (!list_is_empty(&now)) {
            struct loop_task *task = LIST_ENTRY(now.next, struct loop_task, list);
            list_remove(&task->list);
            task->run(task);
        }
    }
}

/* ---- turning ----------------------------------------------------------------------------------------------------- */

static int wait_ms(const struct loop *loop)
{
    const struct heap_node *first = heap_first(&loop->timers);
    if (!list_is_empty(&loop->tasks))
        return 0;
    if (first == NULL)
        return -1;
    int64_t left = first->key - clock_ms(CLOCK_MONOTONIC);
    return left <= 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void turn(struct loop *loop)
{
    int count = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, wait_ms(loop));
    must(count >= 0 || errno == EINTR);
    look_at_clock(loop);
    loop->event_count = count > 0 ? count : 0;
    for (loop->event_at = 0; loop->event_at < loop->event_count;) {
        const struct epoll_event *event = &loop->events[loop->event_at++];
        if (event->data.ptr != NULL)
            dispatch(loop, event);
    }
    loop->event_count = 0;
    run_timers(loop);
    run_tasks(loop);
}

void loop_run(struct loop *loop)
{
    loop->is_stopping = false;
    run_tasks(loop);
    while (!loop->is_stopping)
        turn(loop);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct loop *loop = LIST_ENTRY(watch, struct loop, signal_watch);
    struct signalfd_siginfo info;
    (void)events;
    while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        loop->signalled(loop->signalled_arg, (int)info.ssi_signo);
}

bool loop_signals(struct loop *loop, void (*signalled)(void *arg, int signal_number), void *arg)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1 };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&set, numbers[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return false;
    loop->signalled = signalled;
    loop->signalled_arg = arg;
    loop->signal_watch = (struct loop_watch){ .fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .events = LOOP_READ, .ready = on_signal };
    return loop->signal_watch.fd >= 0 && loop_watch(loop, &loop->signal_watch);
}
