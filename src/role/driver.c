/* The driver of protocol machines: see driver.h. */
#include "role/driver.h"

/* How many times a machine is stepped before others get their turn. */
enum { STEPS_PER_TURN = 64 };

static void tell_end(struct loop_task *task)
{
    struct driver *driver = LIST_ENTRY(task, struct driver, end_task);
    driver->ended(driver->arg, driver->why);
}

static void end(struct driver *driver, const char *why)
{
    struct loop *loop = conn_loop(driver->conn);
    struct slice text = slice_sub(slice_from_str(why), 0, sizeof(driver->why) - 1);
    (void)slice_to_str(text, driver->why, sizeof(driver->why));
    driver->type->free(driver->machine);
    driver->machine = NULL;
    driver->conn = NULL;
    driver->end_task.run = tell_end;
    loop_task_add(loop, &driver->end_task);
}

static struct mail_date now_of(const struct driver *driver)
{
    struct loop *loop = conn_loop(driver->conn);
    return (struct mail_date){ loop_time_ms(loop) / 1000, loop_zone_min(loop) };
}

/* The caller saw that there is room. Without memory some of it may be missing: not a byte of what follows may go out then, so the
 * connection ends at its flush (conn.h: an append that fails). */
static void move_output(struct driver *driver)
{
    struct buf *from = driver->type->output(driver->machine), *to = conn_output(driver->conn);
    if (from->overflow || !buf_append(to, buf_slice(from)))
        to->overflow = true;
    buf_clear(from);
}

static void close_politely(struct driver *driver, const char *why)
{
    struct conn *conn = driver->conn;
    end(driver, why);
    conn_flush(conn);
    conn_close_after_flush(conn);
}

/* Some machines say their last words when they are told to stop, others in the step after it. */
static void say_goodbye(struct driver *driver, const char *text, const char *why)
{
    struct slice nothing = SLICE_NONE;
    driver->type->stop(driver->machine, text);
    (void)driver->type->step(driver->machine, &nothing, now_of(driver));
    move_output(driver);
    close_politely(driver, why);
}

/* One step and what it wants. True: step again. */
static bool step(struct driver *driver)
{
    if (conn_output_is_full(driver->conn)) {
        conn_flush(driver->conn);
        return false;                           /* CONN_FLUSHED goes on */
    }
    struct slice in = buf_slice(conn_input(driver->conn));
    size_t before = in.len;
    enum want want = driver->type->step(driver->machine, &in, now_of(driver));
    buf_consume(conn_input(driver->conn), before - in.len);
    bool said_nothing = buf_len(driver->type->output(driver->machine)) == 0;
    move_output(driver);

    switch (want) {
    case WANT_INPUT:
        conn_flush(driver->conn);
        return false;
    case WANT_ANSWER:
        driver->is_waiting = true;
        driver->ask(driver->arg);
        /* Earlier replies go out now, unless more of the same group is here to be answered: then they go together. */
        if (driver->machine != NULL && driver->is_waiting && buf_len(conn_input(driver->conn)) == 0)
            conn_flush(driver->conn);           /* RFC 2920 3.2 (3), (6) */
        return driver->machine != NULL && !driver->is_waiting;
    case WANT_FLUSH:
        conn_flush(driver->conn);
        if (said_nothing) {                     /* long work in pieces: let others have a turn */
            conn_input_again(driver->conn);
            return false;
        }
        return true;
    case WANT_TLS:
        must(driver->tls != NULL && *driver->tls != NULL);
        driver->is_starting_tls = true;
        conn_flush(driver->conn);
        conn_tls_accept(driver->conn, *driver->tls);
        return false;
    case WANT_CLOSE:
        close_politely(driver, "closed");
        return false;
    }
    return false;
}

static void stop_if_idle(struct driver *driver)
{
    if (!driver->is_stopping || driver->is_waiting || driver->is_starting_tls)
        return;
    if (driver->type->is_idle != NULL && !driver->type->is_idle(driver->machine))
        return;
    say_goodbye(driver, driver->stop_text, "closed");
}

static void run(struct driver *driver)
{
    if (driver->machine == NULL || driver->is_running || driver->is_waiting || driver->is_starting_tls)
        return;
    if (driver->is_held != NULL && driver->is_held(driver->arg))
        return;
    driver->is_running = true;
    struct loop *loop = conn_loop(driver->conn);
    bool goes_on;
    int steps = 0;
    do
        goes_on = step(driver);
    while (goes_on && ++steps < STEPS_PER_TURN && !loop_is_late(loop));
    driver->is_running = false;
    if (driver->machine == NULL)
        return;
    if (goes_on)
        conn_input_again(driver->conn);
    else
        stop_if_idle(driver);
}

void driver_start(struct driver *driver) { run(driver); }

void driver_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct driver *driver = arg;
    switch (event) {
    case CONN_INPUT:
    case CONN_FLUSHED:
    case CONN_CONNECTED:
        run(driver);
        break;
    case CONN_TLS_STARTED:
        driver->is_starting_tls = false;
        driver->type->tls_started(driver->machine);
        run(driver);
        break;
    case CONN_TIMED_OUT:
        if (driver->machine == NULL || driver->is_waiting || driver->is_starting_tls)
            break;                              /* CONN_CLOSED follows */
        say_goodbye(driver, driver->type->is_silent_at_timeout ? NULL : "timed out", "timed out");
        break;
    case CONN_CLOSED:
        end(driver, conn_why(conn));
        conn_close(conn);
        break;
    }
}

void driver_answered(struct driver *driver)
{
    must(driver->is_waiting);
    driver->is_waiting = false;
    run(driver);                                /* nothing when called from within ask: the running step goes on */
}

void driver_wake(struct driver *driver) { run(driver); }

void driver_stop(struct driver *driver, const char *text)
{
    if (driver->machine == NULL || driver->is_stopping)
        return;
    driver->is_stopping = true;
    driver->stop_text = text;
    if (!driver->is_running)
        stop_if_idle(driver);
}

struct conn *driver_release(struct driver *driver)
{
    struct conn *conn = driver->conn;
    driver->type->free(driver->machine);
    driver->machine = NULL;
    driver->conn = NULL;
    return conn;
}

void driver_abort(struct driver *driver)
{
    if (driver->machine == NULL) {
        if (driver->end_task.run != NULL)
            loop_task_drop(&driver->end_task);
        return;
    }
    driver->type->free(driver->machine);
    driver->machine = NULL;
    conn_close(driver->conn);
    driver->conn = NULL;
}
