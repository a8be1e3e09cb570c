/* What all sessions of the edge share: numbers, counting per address, TLS from the start, questions to auth. */
#include "role/edge.h"

#include "os/log.h"
#include "role/network.h"

#include <stdlib.h>

const char *edge_protocol_name(enum listener_protocol protocol)
{
    static const char *const names[LISTEN_PROTOCOLS] = {
        [LISTEN_SMTP] = "smtp", [LISTEN_SUBMISSION] = "submission", [LISTEN_SUBMISSIONS] = "submissions",
        [LISTEN_LMTP] = "lmtp", [LISTEN_IMAP] = "imap", [LISTEN_IMAPS] = "imaps", [LISTEN_POP3] = "pop3",
        [LISTEN_POP3S] = "pop3s",
    };
    return names[protocol];
}

/* ---- connections of each address (network.h) --------------------------------------------------------------------- */

struct address_count {
    size_t count;
    char network[NETWORK_TEXT];
};

static bool count_in(struct edge *edge, const struct peer *peer)
{
    char network[NETWORK_TEXT];
    struct address_count *entry = map_get(&edge->by_address, network_of(slice_from_str(peer->address), network));
    if (entry == NULL) {
        entry = calloc(1, sizeof(*entry));
        if (entry == NULL)
            return false;
        memcpy(entry->network, network, sizeof(entry->network));
        if (!map_put(&edge->by_address, slice_from_str(entry->network), entry)) {
            free(entry);
            return false;
        }
    }
    entry->count++;
    return true;
}

static void count_out(struct edge *edge, const struct peer *peer)
{
    char network[NETWORK_TEXT];
    struct address_count *entry = map_get(&edge->by_address, network_of(slice_from_str(peer->address), network));
    if (entry == NULL || --entry->count > 0)
        return;
    (void)map_remove(&edge->by_address, slice_from_str(network));
    free(entry);
}

size_t edge_connections_of(const struct edge *edge, const struct peer *peer)
{
    char network[NETWORK_TEXT];
    const struct address_count *entry = map_get(&edge->by_address, network_of(slice_from_str(peer->address), network));
    return entry != NULL ? entry->count : 0;
}

/* ---- progress ---------------------------------------------------------------------------------------------------- */

static void on_no_progress(struct loop_timer *timer)
{
    struct edge_session *session = LIST_ENTRY(timer, struct edge_session, progress);
    struct driver *driver = &session->driver;
    if (driver->machine == NULL)
        return;                                 /* it is ending */
    if (driver->is_waiting || (driver->is_held != NULL && driver->is_held(driver->arg))) {      /* for one of us: not its fault */
        edge_session_progress(session);
        return;
    }
    log_event(LOG_INFO, "no-progress", LOG_STR("protocol", session->protocol), LOG_STR("peer", session->peer.address));
    bool has_words = !session->is_before_tls && !driver->is_starting_tls;
    driver_event(driver, driver->conn, has_words ? CONN_TIMED_OUT : CONN_CLOSED);
}

void edge_session_progress(struct edge_session *session)
{
    session->progress.expired = on_no_progress;
    if (session->edge->config.progress_s != 0)
        loop_timer_set(session->edge->loop, &session->progress, (int64_t)session->edge->config.progress_s * 1000);
}

void edge_session_progress_end(struct edge_session *session) { loop_timer_stop(session->edge->loop, &session->progress); }

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void on_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct edge_session *session = arg;
    if (event == CONN_TLS_STARTED && session->event == NULL)
        edge_session_progress(session);
    if (session->event != NULL) {
        session->event(session, conn, event);
    } else if (session->is_before_tls && event == CONN_TLS_STARTED) {
        session->is_before_tls = false;
        driver_start(&session->driver);
    } else if (!session->is_before_tls || event == CONN_CLOSED) {
        driver_event(&session->driver, conn, event);
    }
}

static uint32_t fresh_number(struct edge *edge)
{
    do
        edge->next_number++;
    while (edge->next_number == 0 || map_get_u64(&edge->by_number, edge->next_number) != NULL);
    return edge->next_number;
}

struct edge_session *edge_session_new(struct edge *edge, size_t size, int fd, const struct peer *peer, const char *protocol)
{
    static const struct conn_limits limits = { .input_max = EDGE_INPUT_MAX, .output_max = EDGE_OUTPUT_MAX };
    struct edge_session *session = calloc(1, size);
    struct conn_owner owner = { .event = on_event, .arg = session };
    struct conn *conn = conn_new(edge->loop, fd, &limits, &owner);
    uint32_t number = fresh_number(edge);
    if (session == NULL || conn == NULL || !map_put_u64(&edge->by_number, number, session) || !count_in(edge, peer)) {
        (void)map_remove_u64(&edge->by_number, number);
        if (conn != NULL)
            conn_close(conn);
        free(session);
        return NULL;
    }
    session->edge = edge;
    session->number = number;
    session->peer = *peer;
    (void)slice_to_str(slice_from_str(edge->config.host_name), session->host_name, sizeof(session->host_name));
    session->protocol = protocol;
    session->driver.conn = conn;
    conn_hold_secrets(conn, true);
    list_append(&edge->sessions, &session->list);
    edge->session_count++;
    edge->accepted++;
    log_event(LOG_INFO, "connected", LOG_STR("protocol", protocol), LOG_STR("peer", peer->address),
              LOG_NUMBER("port", peer->port));
    return session;
}

void edge_session_start(struct edge_session *session, const struct machine_type *type, void *machine, void (*ask)(void *),
                        void (*ended)(void *, const char *), bool tls_first, int64_t timeout_ms)
{
    struct driver *driver = &session->driver;
    if (machine == NULL || (tls_first && session->edge->tls == NULL)) {
        if (machine != NULL)
            type->free(machine);
        conn_close(driver->conn);
        edge_session_free(session);
        return;
    }
    driver->type = type;
    driver->machine = machine;
    driver->tls = &session->edge->tls;
    driver->ask = ask;
    driver->ended = ended;
    driver->arg = session;
    conn_timeout(driver->conn, timeout_ms);
    session->is_before_tls = tls_first;
    edge_session_progress(session);
    if (tls_first)
        conn_tls_accept(driver->conn, session->edge->tls);
    else
        driver_start(driver);
}

void edge_session_free(struct edge_session *session)
{
    struct edge *edge = session->edge;
    if (session->has_asked_auth)
        edge_auth_end(session);
    edge_session_progress_end(session);
    list_remove(&session->list);
    (void)map_remove_u64(&edge->by_number, session->number);
    count_out(edge, &session->peer);
    edge->session_count--;
    free(session);
}

/* ---- logins ------------------------------------------------------------------------------------------------------ */

bool edge_auth_without_tls(const struct edge *edge, const struct peer *peer)
{
    return edge->config.auth_without_tls_on_loopback && peer->is_loopback;
}

bool edge_auth_ask(struct edge_session *session, bool is_start, enum sasl_mechanism mechanism, bool has_message, struct slice message)
{
    struct edge *edge = session->edge;
    if (edge->auth == NULL || edge->post == NULL)
        return false;
    const struct peer *peer = conn_peer(session->driver.conn);
    struct slice end_point = { (const char *)peer->tls_server_end_point, peer->tls_server_end_point_len };
    struct slice exporter = { (const char *)peer->tls_exporter, peer->tls_exporter_len };
    session->has_asked_auth = true;
    channel_send(edge->auth, FRAME_AUTH, session->number, (uint64_t)is_start, (uint64_t)mechanism, (uint64_t)has_message,
                 message, end_point, exporter, (uint64_t)peer->has_tls, slice_from_str(session->peer.address));
    return true;
}

void edge_auth_end(struct edge_session *session)
{
    if (session->edge->auth != NULL)
        channel_send(session->edge->auth, FRAME_AUTH_END, session->number);
}
