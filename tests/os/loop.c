/* The event loop: order, time-outs, and watches that go away in the middle of a turn. */
#include "check.h"

#include "os/loop.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static char trace[256];

static void note(char letter)
{
    size_t len = strlen(trace);
    if (len + 1 < sizeof(trace)) {
        trace[len] = letter;
        trace[len + 1] = '\0';
    }
}

static void run(void)
{
    loop_run(loop);
}

/* --- timers --- */

struct marked_timer {
    struct loop_timer timer;
    char letter;
};

static void mark_expired(struct loop_timer *timer) { note(LIST_ENTRY(timer, struct marked_timer, timer)->letter); }

static void stop_expired(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

static int again_count;

static void again_expired(struct loop_timer *timer)
{
    if (++again_count < 5)
        loop_timer_set(loop, timer, 0);
}

static void check_timers(void)
{
    struct marked_timer a = { .timer.expired = mark_expired, .letter = 'a' }, b = a, c = a;
    struct loop_timer end = { .expired = stop_expired }, again = { .expired = again_expired };
    b.letter = 'b';
    c.letter = 'c';
    trace[0] = '\0';
    loop_timer_set(loop, &a.timer, 8);
    loop_timer_set(loop, &b.timer, 2);
    loop_timer_set(loop, &c.timer, 5);
    loop_timer_set(loop, &c.timer, 12);         /* moved */
    loop_timer_set(loop, &end, 20);
    run();
    CASE("timers expire in the order of their time, and a moved one at its new time");
    CHECK_STR(trace, "bac");

    trace[0] = '\0';
    loop_timer_set(loop, &a.timer, 1);
    loop_timer_stop(loop, &a.timer);
    loop_timer_stop(loop, &a.timer);
    loop_timer_set(loop, &b.timer, -5);
    loop_timer_set(loop, &end, 3);
    run();
    CASE("a stopped timer does not expire, one in the past does at once");
    CHECK_STR(trace, "b");

    loop_timer_set(loop, &again, 0);
    loop_timer_set(loop, &end, 30);
    run();
    CASE("a timer that sets itself to now lets the others run");
    CHECK_INT(again_count, 5);
}

/* --- tasks --- */

static struct loop_task first, second, endless;
static int endless_count;

static void first_run(struct loop_task *task)
{
    note('1');
    loop_task_drop(&second);
    loop_task_add(loop, &second);
    (void)task;
}

static void second_run(struct loop_task *task)
{
    note('2');
    (void)task;
}

static void endless_run(struct loop_task *task)
{
    endless_count++;
    loop_task_add(loop, task);
}

static void check_tasks(void)
{
    struct loop_timer end = { .expired = stop_expired };
    first = (struct loop_task){ .run = first_run };
    second = (struct loop_task){ .run = second_run };
    trace[0] = '\0';
    loop_task_add(loop, &first);
    loop_task_add(loop, &first);
    loop_task_add(loop, &second);
    loop_timer_set(loop, &end, 2);
    run();
    CASE("a task that waits is not added twice, and can be dropped and added by another");
    CHECK_STR(trace, "12");

    endless = (struct loop_task){ .run = endless_run };
    loop_task_add(loop, &endless);
    loop_timer_set(loop, &end, 2);
    run();
    loop_task_drop(&endless);
    CASE("a task that adds itself for ever starves no timer");
    CHECK(endless_count > 1);
}

/* --- watches --- */

struct end {
    struct loop_watch watch;
    struct end *other;
    int peer;
    char letter;
};

static void drops_other(struct loop_watch *watch, unsigned events)
{
    struct end *end = LIST_ENTRY(watch, struct end, watch);
    (void)events;
    note(end->letter);
    loop_unwatch(loop, &end->other->watch);
    (void)close(end->other->watch.fd);
    memset(end->other, 0xee, sizeof(*end->other));      /* its memory is somebody else's now */
    loop_unwatch(loop, watch);
    loop_stop(loop);
}

static void open_end(struct end *end, struct end *other, char letter)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    *end = (struct end){ .watch = { .fd = fds[0], .events = LOOP_READ, .ready = drops_other }, .other = other, .peer = fds[1], .letter = letter };
    must(loop_watch(loop, &end->watch));
    must(write(fds[1], "x", 1) == 1);
}

static void check_unwatch(void)
{
    struct end a, b;
    trace[0] = '\0';
    open_end(&a, &b, 'a');
    open_end(&b, &a, 'b');
    int peers[] = { a.peer, b.peer };
    run();
    CASE("who is unwatched in a turn is not called in it, though his event was fetched already");
    CHECK_INT(strlen(trace), 1);
    (void)close(peers[0]);
    (void)close(peers[1]);
    (void)close(trace[0] == 'a' ? a.watch.fd : b.watch.fd);
}

static unsigned seen;

static void sees(struct loop_watch *watch, unsigned events)
{
    (void)watch;
    seen |= events;
    loop_stop(loop);
}

static void check_hang_up(void)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    struct loop_watch watch = { .fd = fds[0], .events = LOOP_READ, .ready = sees };
    must(loop_watch(loop, &watch));
    (void)close(fds[1]);
    run();
    CASE("a hang-up counts as readable and writable");
    CHECK_INT(seen, LOOP_READ | LOOP_WRITE);
    loop_unwatch(loop, &watch);
    (void)close(fds[0]);
    watch.fd = 9999;
    CASE("what is no descriptor cannot be watched");
    CHECK(!loop_watch(loop, &watch));
}

/* --- turns --- */

static int long_runs, long_runs_before_event;

static void works_long(struct loop_task *task)
{
    long_runs++;
    while (!loop_is_late(loop))
        ;
    loop_task_add(loop, task);
}

static void notes_runs(struct loop_watch *watch, unsigned events)
{
    (void)watch, (void)events;
    long_runs_before_event = long_runs;
    loop_stop(loop);
}

static void check_long_work(void)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0 && write(fds[1], "x", 1) == 1);
    struct loop_watch watch = { .fd = fds[0], .events = LOOP_READ, .ready = notes_runs };
    struct loop_task task = { .run = works_long };
    must(loop_watch(loop, &watch));
    loop_task_add(loop, &task);
    run();
    CASE("work that is long and goes on lets an event through after each piece");
    CHECK_INT(long_runs_before_event, 1);
    loop_task_drop(&task);
    loop_unwatch(loop, &watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static int last_signal;

static void on_signal(void *arg, int number)
{
    last_signal = number;
    loop_stop(arg);
}

int main(void)
{
    loop = loop_new();
    must(loop != NULL);
    check_timers();
    check_tasks();
    check_unwatch();
    check_hang_up();
    check_long_work();
    CASE("signals arrive in the loop");
    CHECK(loop_signals(loop, on_signal, loop));
    must(kill(getpid(), SIGHUP) == 0);
    run();
    CHECK_INT(last_signal, SIGHUP);
    CASE("the clocks are about right");
    CHECK(loop_time_ms(loop) > 1700000000000LL && loop_zone_min(loop) >= -14 * 60 && loop_zone_min(loop) <= 14 * 60);
    loop_free(loop);
    return check_done();
}
