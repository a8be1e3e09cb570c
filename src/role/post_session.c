/* IMAP and POP3 sessions in post. Each has a stream of its own from the edge and was opened against a ticket, which it
 * uses up: the account it reads is the ticket's and nothing that the edge said. */
#include "role/post.h"

#include "imap/session.h"
#include "os/log.h"
#include "pop3/session.h"
#include "role/driver.h"

#include <stdlib.h>
#include <unistd.h>

enum { SESSION_INPUT_MAX = 128 * 1024, SESSION_OUTPUT_MAX = 1024 * 1024 };

struct session {
    struct post *post;
    struct list list;
    struct driver driver;
    struct post_wait wait;
    uint64_t account;
    bool is_imap;
    bool is_waiting;
    struct loop_task wake_task;
    char name[256];
    char tag[256];
    char peer[64];
};

static enum want imap_step(void *machine, struct slice *in, struct mail_date now) { return imap_session_step(machine, in, now); }
static enum want pop3_step(void *machine, struct slice *in, struct mail_date now)
{
    (void)now;
    return pop3_session_step(machine, in);
}
static struct buf *imap_output(void *machine) { return imap_session_output(machine); }
static struct buf *pop3_output(void *machine) { return pop3_session_output(machine); }
static void imap_stop(void *machine, const char *text) { imap_session_stop(machine, text); }
static void pop3_stop(void *machine, const char *text) { pop3_session_stop(machine, text); }
static void imap_free(void *machine) { imap_session_free(machine); }
static void pop3_free(void *machine) { pop3_session_free(machine); }

static const struct machine_type imap_machine = { imap_step, imap_output, NULL, imap_stop, NULL, imap_free, false };
static const struct machine_type pop3_machine = { pop3_step, pop3_output, NULL, pop3_stop, NULL, pop3_free, true };

/* ---- waiting and waking ------------------------------------------------------------------------------------------ */

static void on_settled(struct post_wait *wait, enum rc rc)
{
    struct session *session = LIST_ENTRY(wait, struct session, wait);
    session->is_waiting = false;
    if (session->driver.machine == NULL)        /* its connection ended in this very turn */
        return;
    if (session->is_imap)
        imap_session_answer(session->driver.machine, rc);
    else
        pop3_session_answer(session->driver.machine, rc);
    driver_answered(&session->driver);
}

static void on_ask(void *arg)
{
    struct session *session = arg;
    void *machine = session->driver.machine;
    session->is_waiting = true;
    post_wait_add(session->post, &session->wait, session->is_imap ? imap_session_wait(machine) : pop3_session_wait(machine));
}

/* From within store_poll: the session is stepped when the store has finished its own turn. */
static void on_wake(void *arg)
{
    struct session *session = arg;
    loop_task_add(session->post->loop, &session->wake_task);
}

static void wake(struct loop_task *task)
{
    struct session *session = LIST_ENTRY(task, struct session, wake_task);
    driver_wake(&session->driver);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static void session_free(struct session *session)
{
    if (session->is_waiting)
        post_wait_drop(&session->wait);
    loop_task_drop(&session->wake_task);
    list_remove(&session->list);
    session->post->session_count--;
    free(session);
}

static void on_ended(void *arg, const char *why)
{
    struct session *session = arg;
    log_event(LOG_INFO, "session-ended", LOG_STR("protocol", session->is_imap ? "imap" : "pop3"), LOG_STR("user", session->name),
              LOG_STR("peer", session->peer), LOG_STR("why", why));
    session_free(session);
}

static void *new_machine(struct session *session, uint64_t account, bool was_login)
{
    struct post *post = session->post;
    if (session->is_imap) {
        struct imap_session_options options = {
            .store = post->store, .account = account, .account_name = slice_from_str(session->name),
            .host_name = slice_from_str(post->config.host_name),
            .quota_bytes = post->routing != NULL ? routing_account_quota(post->routing, account) : 0,
            .append_max = post->config.message_size_max, .hash_seed = { post->hash_seed[0], post->hash_seed[1] },
            .tag = slice_from_str(session->tag), .was_login = was_login,
            .wake = on_wake, .wake_arg = session,
        };
        return imap_session_new(&options);
    }
    struct pop3_session_options options = {
        .store = post->store, .account = account, .host_name = slice_from_str(post->config.host_name),
    };
    return pop3_session_new(&options);
}

static struct conn *open_stream(struct session *session, int fd, struct slice already_read)
{
    static const struct conn_limits limits = { .input_max = SESSION_INPUT_MAX, .output_max = SESSION_OUTPUT_MAX };
    struct conn_owner owner = { .event = driver_event, .arg = &session->driver };
    struct conn *conn = conn_new(session->post->loop, fd, &limits, &owner);
    if (conn == NULL || buf_append(conn_input(conn), already_read))
        return conn;
    conn_close(conn);                           /* commands that were there must not be lost from among the others */
    return NULL;
}

static void open_session(struct post_edge *edge, struct frame *frame, const struct ticket *ticket)
{
    struct post *post = edge->post;
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        (void)close(frame->fd);
        frame->fd = -1;
        return;
    }
    session->post = post;
    session->account = ticket->account;
    session->is_imap = frame->field[0].number != 0;
    session->wait.settled = on_settled;
    session->wake_task.run = wake;
    list_init(&session->wake_task.list);
    memcpy(session->name, ticket->name, sizeof(session->name));
    (void)slice_to_str(slice_sub(frame->field[2].bytes, 0, sizeof(session->tag) - 1), session->tag, sizeof(session->tag));
    (void)slice_to_str(slice_sub(frame->field[5].bytes, 0, sizeof(session->peer) - 1), session->peer, sizeof(session->peer));
    list_append(&post->sessions, &session->list);
    post->session_count++;

    struct driver *driver = &session->driver;
    driver->conn = open_stream(session, frame->fd, frame->field[4].bytes);
    frame->fd = -1;
    driver->machine = driver->conn != NULL ? new_machine(session, ticket->account, frame->field[3].number != 0) : NULL;
    if (driver->machine == NULL) {
        if (driver->conn != NULL)
            conn_close(driver->conn);
        session_free(session);
        return;
    }
    driver->type = session->is_imap ? &imap_machine : &pop3_machine;
    driver->ask = on_ask;
    driver->ended = on_ended;
    driver->arg = session;
    unsigned timeout_s = session->is_imap ? imap_session_timeout_s(driver->machine) : pop3_session_timeout_s(driver->machine);
    conn_timeout(driver->conn, (int64_t)timeout_s * 1000);
    log_event(LOG_INFO, "session", LOG_STR("protocol", session->is_imap ? "imap" : "pop3"), LOG_STR("user", session->name),
              LOG_STR("peer", session->peer));
    driver_start(driver);
}

void post_session_open(struct post_edge *edge, struct frame *frame)
{
    struct post *post = edge->post;
    struct ticket *ticket = post_ticket_find(post, frame->field[1].number, edge->index);
    if (frame->fd < 0)
        return;
    if (ticket == NULL || post->is_stopping) {
        log_event(LOG_WARNING, "session-refused", LOG_TEXT("peer", frame->field[5].bytes),
                  LOG_STR("why", ticket == NULL ? "no such ticket" : "stopping"));
        (void)close(frame->fd);
        frame->fd = -1;
        return;
    }
    open_session(edge, frame, ticket);
    post_ticket_drop(post, ticket);
}

void post_session_stop_all(struct post *post, const char *text)
{
    LIST_EACH(node, &post->sessions)
        driver_stop(&LIST_ENTRY(node, struct session, list)->driver, text);
}

void post_session_stop_disabled(struct post *post)
{
    LIST_EACH(node, &post->sessions) {
        struct session *session = LIST_ENTRY(node, struct session, list);
        if (!routing_account_is_enabled(post->routing, session->account))
            driver_stop(&session->driver, "the account has been disabled");
    }
}
