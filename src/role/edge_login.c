/* IMAP and POP3 in the edge: a login machine until somebody has logged in; then the session runs in post, and what is left
 * here is a relay of plaintext between the client's (usually encrypted) connection and the session's stream. */
#include "role/edge.h"

#include "imap/login.h"
#include "os/child.h"
#include "os/log.h"
#include "pop3/login.h"

#include <stdlib.h>
#include <unistd.h>

struct edge_login {
    struct edge_session session;
    bool is_imap;
    bool waits_for_auth;
    struct imap_login_options imap_options;
    struct pop3_login_options pop3_options;
    uint64_t ticket;
    char user[256];
    struct conn *client, *post;         /* once relaying */
    bool is_post_closed;                /* what it sent still goes to the client */
    struct loop_task free_task;
};

/* ---- the relay --------------------------------------------------------------------------------------------------- */

static void free_relay(struct loop_task *task)
{
    struct edge_login *login = LIST_ENTRY(task, struct edge_login, free_task);
    edge_session_free(&login->session);
}

static void end_relay(struct edge_login *login, const char *why)
{
    log_event(LOG_INFO, "disconnected", LOG_STR("protocol", login->session.protocol), LOG_STR("user", login->user),
              LOG_STR("peer", login->session.peer.address), LOG_STR("why", why));
    if (login->post != NULL)
        conn_close_after_flush(login->post);    /* what the client said last still counts */
    login->client = login->post = NULL;
    login->free_task.run = free_relay;
    loop_task_add(login->session.edge->loop, &login->free_task);
}

/* Moves what there is room for. */
static void pump(struct conn *from, struct conn *to)
{
    struct buf *in = conn_input(from), *out = conn_output(to);
    if (buf_len(in) == 0 || conn_output_is_full(to))
        return;
    if (!buf_append(out, buf_slice(in)))
        return;
    buf_clear(in);
    conn_flush(to);
    conn_input_again(from);
}

static void pump_both(struct edge_login *login)
{
    if (!login->is_post_closed)
        pump(login->client, login->post);
    pump(login->post, login->client);
    if (login->is_post_closed && buf_len(conn_input(login->post)) == 0) {
        conn_close_after_flush(login->client);
        end_relay(login, "closed");
    }
}

static void on_post_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct edge_login *login = arg;
    (void)conn;
    if (event == CONN_CLOSED)
        login->is_post_closed = true;
    pump_both(login);
}

static void on_client_event(struct edge_session *session, struct conn *conn, enum conn_event event)
{
    struct edge_login *login = (struct edge_login *)session;
    if (event != CONN_CLOSED) {
        pump_both(login);
        return;
    }
    char why[128];
    (void)slice_to_str(slice_sub(slice_from_str(conn_why(conn)), 0, sizeof(why) - 1), why, sizeof(why));
    conn_close(conn);
    end_relay(login, why);
}

/* Post ends its sessions itself when it stops; the relay only carries what they say. */
static void stop_relay(struct edge_session *session, const char *text)
{
    (void)session;
    (void)text;
}

static void lost_relay(struct edge_session *session, bool is_post)
{
    (void)session;                      /* its own stream breaks too, and ends it */
    (void)is_post;
}

/* Hands over to post: a stream of its own, against the ticket. */
static bool open_session(struct edge_login *login, struct slice tag, bool was_login)
{
    static const struct conn_limits limits = { .input_max = EDGE_RELAY_MAX, .output_max = EDGE_RELAY_MAX };
    struct edge_session *session = &login->session;
    struct fault fault;
    int fds[2];
    if (session->edge->post == NULL || channel_pair(fds, &fault) != RC_OK)
        return false;
    struct conn_owner owner = { .event = on_post_event, .arg = login };
    login->post = conn_new(session->edge->loop, fds[0], &limits, &owner);
    if (login->post == NULL) {
        (void)close(fds[1]);
        return false;
    }
    struct buf *in = conn_input(session->driver.conn);
    channel_send_fd(session->edge->post, fds[1], FRAME_OPEN, session->number, (uint64_t)login->is_imap, login->ticket, tag,
                    (uint64_t)was_login, buf_slice(in), slice_from_str(session->peer.address));
    buf_clear(in);
    login->client = driver_release(&session->driver);
    conn_hold_secrets(login->client, false);    /* from here on it is mail */
    edge_session_progress_end(session);
    session->event = on_client_event;
    session->stop = stop_relay;
    session->lost = lost_relay;
    conn_timeout(login->client, EDGE_RELAY_TIMEOUT_MS);
    return true;
}

/* ---- the login machines ------------------------------------------------------------------------------------------ */

static enum want imap_step(void *machine, struct slice *in, struct mail_date now)
{
    (void)now;
    return imap_login_step(machine, in);
}
static enum want pop3_step(void *machine, struct slice *in, struct mail_date now)
{
    (void)now;
    return pop3_login_step(machine, in);
}
static struct buf *imap_output(void *machine) { return imap_login_output(machine); }
static struct buf *pop3_output(void *machine) { return pop3_login_output(machine); }
static void imap_tls_started(void *machine) { imap_login_tls_started(machine); }
static void pop3_tls_started(void *machine) { pop3_login_tls_started(machine); }
static void imap_stop(void *machine, const char *text) { imap_login_stop(machine, text); }
static void pop3_stop(void *machine, const char *text) { pop3_login_stop(machine, text); }
static void imap_free(void *machine) { imap_login_free(machine); }
static void pop3_free(void *machine) { pop3_login_free(machine); }

static const struct machine_type imap_machine = { imap_step, imap_output, imap_tls_started, imap_stop, NULL, imap_free, false };
static const struct machine_type pop3_machine = { pop3_step, pop3_output, pop3_tls_started, pop3_stop, NULL, pop3_free, true };

static void answer_auth(struct edge_login *login, enum sasl_state state, struct slice bytes, const struct fault *fault)
{
    void *machine = login->session.driver.machine;
    login->waits_for_auth = false;
    if (login->is_imap)
        imap_login_answer_auth(machine, state, bytes, fault);
    else
        pop3_login_answer_auth(machine, state, bytes, fault);
    driver_answered(&login->session.driver);
}

static void answer_unavailable(struct edge_login *login)
{
    struct fault fault;
    fault_temp(&fault, ESC(4, 3, 0), "logins are not possible right now, try again");
    answer_auth(login, SASL_FAILED, SLICE_NONE, &fault);
}

static void ask_auth(struct edge_login *login, bool is_start, enum sasl_mechanism mechanism, bool has_message, struct slice message)
{
    login->waits_for_auth = true;
    if (!edge_auth_ask(&login->session, is_start, mechanism, has_message, message))
        answer_unavailable(login);
}

/* The machine is done with a good login and cannot take it back: without post all that is left is to close. */
static void hand_over(struct edge_login *login, struct slice tag, bool was_login)
{
    if (open_session(login, tag, was_login))
        return;
    conn_close(driver_release(&login->session.driver));
    end_relay(login, "the mail store is being restarted");
}

static void on_imap_ask(void *arg)
{
    struct edge_login *login = arg;
    const struct imap_login_ask *ask = imap_login_ask(login->session.driver.machine);
    if (ask->kind == IMAP_LOGIN_DONE)
        hand_over(login, ask->tag, ask->was_login);
    else
        ask_auth(login, ask->is_start, ask->mechanism, ask->has_message, ask->message);
}

static void on_pop3_ask(void *arg)
{
    struct edge_login *login = arg;
    const struct pop3_login_ask *ask = pop3_login_ask(login->session.driver.machine);
    if (ask->kind == POP3_LOGIN_DONE)
        hand_over(login, SLICE_NONE, false);
    else
        ask_auth(login, ask->is_start, ask->mechanism, ask->has_message, ask->message);
}

static void on_frame(struct edge_session *session, const struct frame *frame)
{
    struct edge_login *login = (struct edge_login *)session;
    if (frame->type != FRAME_AUTH_ANSWER || !login->waits_for_auth)
        return;
    enum sasl_state state = (enum sasl_state)frame->field[0].number;
    if (state == SASL_OK) {
        login->ticket = frame->field[3].number;
        (void)slice_to_str(slice_sub(frame->field[5].bytes, 0, sizeof(login->user) - 1), login->user, sizeof(login->user));
        log_event(LOG_INFO, "login", LOG_STR("protocol", session->protocol), LOG_STR("user", login->user),
                  LOG_STR("peer", session->peer.address), LOG_STR("tls", conn_peer(session->driver.conn)->tls_version));
    }
    answer_auth(login, state, frame->field[1].bytes, &frame->field[2].fault);
}

static void on_lost(struct edge_session *session, bool is_post)
{
    struct edge_login *login = (struct edge_login *)session;
    if (!is_post && login->waits_for_auth)
        answer_unavailable(login);
}

static void on_stop(struct edge_session *session, const char *text) { driver_stop(&session->driver, text); }

static void on_ended(void *arg, const char *why)
{
    struct edge_login *login = arg;
    if (login->waits_for_auth)
        edge_auth_end(&login->session);
    log_event(LOG_INFO, "disconnected", LOG_STR("protocol", login->session.protocol),
              LOG_STR("peer", login->session.peer.address), LOG_STR("why", why));
    edge_session_free(&login->session);
}

void edge_login_begin(struct edge *edge, int fd, const struct peer *peer, enum listener_protocol protocol)
{
    struct edge_login *login =
        (struct edge_login *)edge_session_new(edge, sizeof(*login), fd, peer, edge_protocol_name(protocol));
    if (login == NULL)
        return;
    bool tls_first = protocol == LISTEN_IMAPS || protocol == LISTEN_POP3S;
    bool offers_tls = edge->tls != NULL && !tls_first;
    bool auth_without_tls = edge_auth_without_tls(edge, peer);
    const struct peer *live_peer = conn_peer(login->session.driver.conn);
    login->is_imap = protocol == LISTEN_IMAP || protocol == LISTEN_IMAPS;
    login->session.frame = on_frame;
    login->session.lost = on_lost;
    login->session.stop = on_stop;
    if (login->is_imap) {
        login->imap_options =
            (struct imap_login_options){ slice_from_str(login->session.host_name), offers_tls, auth_without_tls };
        edge_session_start(&login->session, &imap_machine, imap_login_new(&login->imap_options, live_peer), on_imap_ask,
                           on_ended, tls_first, EDGE_LOGIN_TIMEOUT_MS);
    } else {
        login->pop3_options =
            (struct pop3_login_options){ slice_from_str(login->session.host_name), offers_tls, auth_without_tls };
        edge_session_start(&login->session, &pop3_machine, pop3_login_new(&login->pop3_options, live_peer), on_pop3_ask,
                           on_ended, tls_first, EDGE_LOGIN_TIMEOUT_MS);
    }
}
