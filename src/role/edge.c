/* edge: parses strangers' bytes, and may do nothing else.
 *
 *     user       thurn-edge
 *     network    accepts on listeners it was handed; opens nothing
 *     files      none
 *     secrets    none: signatures are asked of `keys`, credentials are judged by `auth`
 *
 * One process a core; the kernel spreads connections over them. */
#include "role/edge.h"

#include "os/child.h"
#include "os/log.h"
#include "os/sandbox.h"
#include "role/listener.h"
#include "role/signer.h"
#include "role/start.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- listeners --------------------------------------------------------------------------------------------------- */

struct edge_listener {
    struct list list;
    struct edge *edge;
    struct listener *listener;
    enum listener_kind kind;
    enum listener_protocol protocol;
    char name[300];                     /* "address:port": a reload names it */
};

static const char *refusal(const struct edge *edge, const struct peer *peer)
{
    if (edge->is_stopping)
        return "stopping";
    if (edge->session_count >= edge->config.connections_max)
        return "too many connections";
    if (!peer->is_loopback && edge_connections_of(edge, peer) >= edge->config.connections_per_address_max)
        return "too many connections from this address";
    return NULL;
}

/* Said in clear before closing where the protocol begins with a greeting; a full server is no reason to be mute. */
static void refuse(int fd, enum listener_protocol protocol, const char *why)
{
    static const char *const words[LISTEN_PROTOCOLS] = {
        [LISTEN_SMTP] = "421 4.3.2 ", [LISTEN_SUBMISSION] = "421 4.3.2 ", [LISTEN_LMTP] = "421 4.3.2 ",
        [LISTEN_IMAP] = "* BYE ", [LISTEN_POP3] = "-ERR [SYS/TEMP] ",
    };
    if (words[protocol] != NULL) {
        char text[128];
        int len = snprintf(text, sizeof(text), "%s%s, try again later\r\n", words[protocol], why);
        (void)!write(fd, text, (size_t)len);
    }
    (void)close(fd);
}

static void on_accept(void *arg, int fd, const struct peer *peer)
{
    struct edge_listener *listener = arg;
    struct edge *edge = listener->edge;
    const char *why = refusal(edge, peer);
    if (why != NULL) {
        edge->refused++;
        log_event(LOG_NOTICE, "refused", LOG_STR("peer", peer->address), LOG_STR("why", why));
        refuse(fd, listener->protocol, why);
        return;
    }
    if (listener->kind == LISTENER_SUBMIT)
        edge_smtp_begin(edge, fd, peer, LISTEN_SUBMISSION, true);
    else if (listener->protocol >= LISTEN_IMAP)
        edge_login_begin(edge, fd, peer, listener->protocol);
    else
        edge_smtp_begin(edge, fd, peer, listener->protocol, false);
}

static void listener_add(struct edge *edge, struct frame *frame)
{
    struct edge_listener *listener = calloc(1, sizeof(*listener));
    must(listener != NULL);
    listener->edge = edge;
    listener->kind = (enum listener_kind)frame->field[0].number;
    listener->protocol = listener->kind == LISTENER_SUBMIT ? LISTEN_SUBMISSION : (enum listener_protocol)frame->field[1].number;
    (void)slice_to_str(slice_sub(frame->field[2].bytes, 0, sizeof(listener->name) - 1), listener->name, sizeof(listener->name));
    listener->listener = listener_new(edge->loop, frame->fd, on_accept, listener);
    frame->fd = -1;
    must(listener->listener != NULL);
    list_append(&edge->listeners, &listener->list);
}

/* One by name, or all. */
static void listeners_close(struct edge *edge, struct slice name)
{
    LIST_EACH(node, &edge->listeners) {
        struct edge_listener *listener = LIST_ENTRY(node, struct edge_listener, list);
        if (name.len != 0 && !slice_equal(name, slice_from_str(listener->name)))
            continue;
        list_remove(&listener->list);
        listener_free(listener->listener);
        free(listener);
    }
}

/* ---- channels to post and auth ----------------------------------------------------------------------------------- */

/* A session whose connection has ended has no machine any more, but is there until the end of the turn: what arrives in the
 * same turn is not for it. */
static bool is_alive(const struct edge_session *session) { return session->event != NULL || session->driver.machine != NULL; }

static void on_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct edge *edge = arg;
    (void)channel;
    struct edge_session *session = map_get_u64(&edge->by_number, frame->session);
    if (session != NULL && session->frame != NULL && is_alive(session))
        session->frame(session, frame);
}

static void on_flushed(void *arg, struct channel *channel)
{
    struct edge *edge = arg;
    if (channel != edge->post)
        return;
    LIST_EACH(node, &edge->sessions) {
        struct edge_session *session = LIST_ENTRY(node, struct edge_session, list);
        if (session->flushed != NULL && is_alive(session))
            session->flushed(session);
    }
}

static void lose(struct edge *edge, bool is_post)
{
    if (is_post)
        edge->post = NULL;
    else
        edge->auth = NULL;
    LIST_EACH(node, &edge->sessions) {
        struct edge_session *session = LIST_ENTRY(node, struct edge_session, list);
        if (session->lost != NULL && is_alive(session))
            session->lost(session, is_post);
    }
}

static void on_closed(void *arg, struct channel *channel, const char *why)
{
    struct edge *edge = arg;
    bool is_post = channel == edge->post;
    if (!is_post && channel != edge->auth)
        return;                                 /* one that was replaced */
    if (!edge->is_stopping)
        log_event(LOG_WARNING, "channel-lost", LOG_STR("role", is_post ? "post" : "auth"), LOG_STR("why", why));
    if (!edge->is_stopping)
        channel_send(edge->launcher, FRAME_CHANNEL_LOST, 0, (uint64_t)(is_post ? ROLE_POST : ROLE_AUTH), (uint64_t)0);
    lose(edge, is_post);
}

static void channel_to(struct edge *edge, struct frame *frame)
{
    struct channel_owner owner = { .frame = on_frame, .flushed = on_flushed, .closed = on_closed, .arg = edge };
    enum role role = (enum role)frame->field[0].number;
    int fd = frame->fd;
    frame->fd = -1;
    if (role == ROLE_KEYS) {
        signer_channel(edge->signer, fd);
        return;
    }
    struct channel **channel = role == ROLE_POST ? &edge->post : &edge->auth;
    if (*channel != NULL) {                     /* the old one's end has not been read yet: who waits there waits in vain */
        channel_free(*channel);
        lose(edge, role == ROLE_POST);
    }
    *channel = channel_new(edge->loop, fd, &owner);
    must(*channel != NULL);
    if (role == ROLE_AUTH)
        channel_hold_secrets(*channel);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static enum rc certificate(struct edge *edge, const struct frame *frame, struct fault *fault)
{
    struct tls_signer signer = { .self = edge->signer, .sign = signer_sign };
    struct tls_context *tls;
    struct slice pem = frame->field[1].bytes;
    enum rc rc = tls_server_new(pem.ptr, pem.len, (uint32_t)frame->field[0].number, &signer, &tls, fault);
    if (rc != RC_OK)
        return rc;
    if (edge->tls != NULL)
        tls_context_free(edge->tls);            /* connections that use it keep what they need of it */
    edge->tls = tls;
    return RC_OK;
}

static void exit_when_done(struct loop_timer *timer)
{
    struct edge *edge = LIST_ENTRY(timer, struct edge, stop_timer);
    if (edge->session_count == 0 || loop_now_ms(edge->loop) >= edge->stop_until_ms)
        loop_stop(edge->loop);
    else
        loop_timer_set(edge->loop, &edge->stop_timer, 20);
}

/* Transactions that are open may end; whoever is between two is told to come back. */
static void stop(struct edge *edge)
{
    edge->is_stopping = true;
    listeners_close(edge, SLICE_NONE);
    LIST_EACH(node, &edge->sessions) {
        struct edge_session *session = LIST_ENTRY(node, struct edge_session, list);
        session->stop(session, "the server is stopping, please come again");
    }
    edge->stop_timer.expired = exit_when_done;
    edge->stop_until_ms = loop_now_ms(edge->loop) + EDGE_STOP_MS;
    loop_timer_set(edge->loop, &edge->stop_timer, 20);
}

static enum rc on_launcher(void *self, struct frame *frame, struct fault *fault)
{
    struct edge *edge = self;
    if (frame->type == FRAME_CONFIG) {
        struct config next;
        if (config_decode(frame->field[0].bytes, &next, fault) != RC_OK)
            return fault->rc;
        config_free(&edge->config);
        edge->config = next;
    } else if (frame->type == FRAME_CHANNEL) {
        channel_to(edge, frame);
    } else if (frame->type == FRAME_LISTENER) {
        listener_add(edge, frame);
    } else if (frame->type == FRAME_UNLISTEN) {
        listeners_close(edge, frame->field[0].bytes);
    } else if (frame->type == FRAME_CERTIFICATE) {
        return certificate(edge, frame, fault);
    } else if (frame->type == FRAME_STOP) {
        stop(edge);
    }
    return RC_OK;
}

static void figures(void *self, struct buf *json)
{
    const struct edge *edge = self;
    (void)buf_printf(json, "{\"sessions\":%zu,\"accepted\":%llu,\"refused\":%llu}", edge->session_count,
                     (unsigned long long)edge->accepted, (unsigned long long)edge->refused);
}

static int run(enum role role)
{
    struct edge *edge = calloc(1, sizeof(*edge));
    must(edge != NULL);
    uint64_t seed[2] = { random_u64(), random_u64() };
    edge->loop = loop_new();
    edge->signer = signer_new();
    must(edge->loop != NULL && edge->signer != NULL);
    list_init(&edge->sessions);
    list_init(&edge->listeners);
    map_init(&edge->by_number, NULL);
    map_init(&edge->by_address, seed);
    struct role_self self = {
        .role = role, .launcher = &edge->launcher, .loop = edge->loop, .self = edge, .frame = on_launcher, .figures = figures,
        .powers = POWER_LOOP | POWER_RECEIVE_FDS | POWER_ACCEPT,
    };
    return role_run(&self);
}

int role_edge_main(void) { return run(ROLE_EDGE); }

/* The same for what the host's own programs hand in (submit.sock): nobody outside can speak to this process, so post believes it
 * that a local user does (it is known to post by its channel, and has none to auth). */
int role_local_main(void) { return run(ROLE_LOCAL); }
