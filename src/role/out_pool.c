/* Connections of the out role, each with its client machine (smtp/client.h): see out.h.
 *
 * A session belongs to one job at a time. When the job is over and the session is in order it waits a few seconds for
 * another job to the same next hop: the machine's question for a message stays open meanwhile. Whatever the peer says or
 * does while nobody wants anything of it ends the session. A session tells its job how it ended exactly once, and is
 * freed right after. */
#include "role/out.h"

#include "os/child.h"
#include "os/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { QUIT_MS = 10 * 1000 };           /* for the answer to QUIT, which nobody needs */

static void session_event(void *arg, struct conn *conn, enum conn_event event);

/* ---- beginning and ending ---------------------------------------------------------------------------------------- */

static void session_free(struct out_session *s)
{
    if (s->is_idle)
        s->out->idle_count--;
    loop_timer_stop(s->out->loop, &s->idle_timer);
    list_remove(&s->list);
    if (s->client != NULL)
        smtp_client_free(s->client);
    if (s->conn != NULL)
        conn_close(s->conn);
    if (s->password != NULL)
        explicit_bzero(s->password, strlen(s->password));
    free(s->password);
    free(s->user);
    free(s->helo);
    free(s->key);
    free(s);
}

void out_session_drop(struct out_session *s)
{
    if (s->job != NULL)
        s->job->active = NULL;
    s->job = NULL;
    session_free(s);
}

static void idle_over(struct loop_timer *timer);

static int client_tls(int route_tls, bool with_tls)
{
    static const int tls[] = {
        [ROUTE_TLS_MAY] = SMTP_TLS_MAY, [ROUTE_TLS_MUST] = SMTP_TLS_MUST, [ROUTE_TLS_NEVER] = SMTP_TLS_NEVER,
        [ROUTE_TLS_IMPLICIT] = SMTP_TLS_IMPLICIT,
    };
    return with_tls ? tls[route_tls] : SMTP_TLS_NEVER;
}

/* Opportunistic TLS is better than none and verifies nothing (RFC 7435). A route that insists on TLS means that host: its
 * certificate is verified, even on loopback, where another user of this machine might listen in the host's absence. */
static struct tls_context *choose_tls(const struct out_job *job)
{
    bool insists = job->tls == ROUTE_TLS_MUST || job->tls == ROUTE_TLS_IMPLICIT;
    return insists ? job->out->tls_verified : job->out->tls;
}

static bool fill_options(struct out_session *s, const struct out_job *job, bool with_tls, bool is_loopback)
{
    s->helo = strndup(job->helo.ptr, job->helo.len);
    s->user = strndup(job->user.len > 0 ? job->user.ptr : "", job->user.len);
    s->password = strdup(job->password == NULL ? "" : job->password);
    s->key = strdup(job->key);
    if (s->helo == NULL || s->user == NULL || s->password == NULL || s->key == NULL)
        return false;
    random_bytes(s->nonce, sizeof s->nonce);
    s->options = (struct smtp_client_options){
        .helo = slice_from_str(s->helo),
        .is_lmtp = job->is_lmtp,
        .user = slice_from_str(s->user),
        .password = slice_from_str(s->password),
        .plain_without_tls = job->tls == ROUTE_TLS_NEVER || is_loopback,
        .nonce = { s->nonce, sizeof s->nonce },
    };
    switch (client_tls(job->tls, with_tls)) {
    case SMTP_TLS_MAY: s->options.tls = SMTP_TLS_MAY; break;
    case SMTP_TLS_MUST: s->options.tls = SMTP_TLS_MUST; break;
    case SMTP_TLS_IMPLICIT: s->options.tls = SMTP_TLS_IMPLICIT; break;
    default: s->options.tls = SMTP_TLS_NEVER; break;
    }
    s->tls = choose_tls(job);
    return true;
}

enum rc out_session_begin(struct out_job *job, const struct out_target *target, bool with_tls, bool is_loopback, struct fault *f)
{
    struct out *out = job->out;
    struct out_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return fault_no_memory(f);
    s->out = out;
    s->idle_timer.expired = idle_over;
    list_init(&s->list);
    if (!fill_options(s, job, with_tls, is_loopback)) {
        session_free(s);
        return fault_no_memory(f);
    }
    struct conn_limits limits = { .input_max = OUT_INPUT_MAX, .output_max = OUT_OUTPUT_MAX };
    struct conn_owner owner = { session_event, s };
    bool is_local = target->address[0] == '/';
    snprintf(s->server_name, sizeof s->server_name, "%s", target->name[0] == '[' ? target->address : target->name);
    if (is_local) {
        snprintf(s->remote, sizeof s->remote, "%s", target->address);
        s->conn = conn_connect_local(out->loop, target->address, &limits, &owner, f);
    } else {
        snprintf(s->remote, sizeof s->remote, "%s[%s]:%u", target->name[0] == '[' ? "" : target->name, target->address, (unsigned)target->port);
        s->conn = conn_connect(out->loop, target->address, target->port, out->config.delivery_source, OUT_CONNECT_MS, &limits, &owner, f);
    }
    if (s->conn == NULL) {
        session_free(s);
        return RC_TEMP;
    }
    list_append(&out->busy, &s->list);
    s->job = job;
    job->active = s;
    return RC_OK;
}

/* ---- the machine and its connection ------------------------------------------------------------------------------- */

/* step saw that there is room. Without memory some of it may be missing: not a byte of what follows may go out then, so the
 * connection ends at its flush (conn.h: an append that fails). */
static void move_output(struct out_session *s)
{
    struct buf *from = smtp_client_output(s->client);
    if (s->conn != NULL && (from->overflow || !buf_append(conn_output(s->conn), buf_slice(from))))
        conn_output(s->conn)->overflow = true;
    buf_clear(from);
}

/* The machine has nothing more to say, or its connection is gone. */
static void session_over(struct out_session *s, const char *why)
{
    struct out_job *job = s->job;
    if (job != NULL) {
        const struct smtp_outcome *outcome = smtp_client_session_outcome(s->client);
        struct smtp_outcome generic = { .rc = RC_TEMP, .esc = ESC(4, 4, 2), .text = slice_from_str(why) };
        s->job = NULL;
        job->active = NULL;
        out_job_session_failed(job, s, outcome == NULL ? &generic : outcome);
    }
    if (s->conn != NULL) {
        conn_flush(s->conn);
        conn_close_after_flush(s->conn);
        s->conn = NULL;
    }
    session_free(s);
}

static void become_idle(struct out_session *s)
{
    struct out *out = s->out;
    if (out->is_stopping || s->messages >= OUT_MESSAGES_MAX || out->idle_count >= OUT_IDLE_MAX) {
        s->is_asking = false;
        smtp_client_quit(s->client);
        conn_timeout(s->conn, QUIT_MS);
        return;
    }
    s->is_idle = s->was_idle = true;
    out->idle_count++;
    list_remove(&s->list);
    list_append(&out->idle, &s->list);
    conn_timeout(s->conn, 0);
    loop_timer_set(out->loop, &s->idle_timer, OUT_IDLE_MS);
}

static void leave_idle(struct out_session *s)
{
    s->is_idle = false;
    s->out->idle_count--;
    loop_timer_stop(s->out->loop, &s->idle_timer);
    list_remove(&s->list);
    list_append(&s->out->busy, &s->list);
}

/* The standing question. True: answered. */
static bool answer(struct out_session *s)
{
    struct slice piece;
    switch (smtp_client_ask(s->client)) {
    case SMTP_CLIENT_ASK_MESSAGE:
        if (s->job == NULL) {
            become_idle(s);
            return !s->is_asking;
        }
        smtp_client_send(s->client, &s->job->message);
        return true;
    case SMTP_CLIENT_ASK_BODY:
        if (s->job == NULL || !out_job_piece(s->job, &piece))
            return false;
        smtp_client_body(s->client, piece);
        return true;
    case SMTP_CLIENT_ASK_DONE:
        s->messages++;
        if (s->job != NULL) {
            struct out_job *job = s->job;
            s->job = NULL;
            job->active = NULL;
            out_job_outcomes(job, s);
        }
        smtp_client_next(s->client);
        return true;
    case SMTP_CLIENT_ASK_NONE:
        break;
    }
    return false;
}

static void start_tls(struct out_session *s)
{
    s->is_starting_tls = true;
    conn_flush(s->conn);
    conn_timeout(s->conn, OUT_CONNECT_MS);
    conn_tls_connect(s->conn, s->tls, s->server_name);
}

/* One step and what it wants. True: step again. False with s freed when *is_over. */
static bool step(struct out_session *s, bool *is_over)
{
    if (conn_output_is_full(s->conn)) {
        conn_flush(s->conn);
        return false;
    }
    struct slice in = buf_slice(conn_input(s->conn));
    size_t before = in.len;
    enum want want = smtp_client_step(s->client, &in);
    buf_consume(conn_input(s->conn), before - in.len);
    bool said_nothing = buf_len(smtp_client_output(s->client)) == 0;
    move_output(s);
    switch (want) {
    case WANT_INPUT:
        conn_flush(s->conn);
        conn_timeout(s->conn, (int64_t)smtp_client_timeout_s(s->client) * 1000);
        return false;
    case WANT_ANSWER:
        s->is_asking = true;
        return true;
    case WANT_FLUSH:
        conn_flush(s->conn);
        if (said_nothing)
            conn_input_again(s->conn);
        return !said_nothing;
    case WANT_TLS:
        start_tls(s);
        return false;
    case WANT_CLOSE:
        *is_over = true;
        session_over(s, "the session ended");
        return false;
    }
    return false;
}

static void run(struct out_session *s)
{
    enum { STEPS_PER_TURN = 64 };
    bool is_over = false;
    for (int steps = 0; steps < STEPS_PER_TURN; steps++) {
        if (s->is_asking) {
            if (!answer(s)) {
                conn_flush(s->conn);
                return;
            }
            s->is_asking = false;
        }
        if (!step(s, &is_over))
            return;
    }
    conn_input_again(s->conn);
}

/* The connection is gone, the machine gives its last outcomes. */
static void lost(struct out_session *s, const char *why)
{
    smtp_client_lost(s->client, why);
    struct slice nothing = SLICE_NONE;
    enum want want = smtp_client_step(s->client, &nothing);
    if (want == WANT_ANSWER && smtp_client_ask(s->client) == SMTP_CLIENT_ASK_DONE && s->job != NULL) {
        struct out_job *job = s->job;
        s->job = NULL;
        job->active = NULL;
        s->is_lost = true;
        out_job_outcomes(job, s);
    }
    session_over(s, why);
}

static void closed(struct out_session *s)
{
    char why[200];
    snprintf(why, sizeof why, "%s", conn_why(s->conn));
    conn_close(s->conn);
    s->conn = NULL;
    struct out_job *job = s->job;
    if (s->client != NULL && !s->is_starting_tls) {
        lost(s, why);
        return;
    }
    s->job = NULL;
    if (job != NULL) {
        job->active = NULL;
        if (!s->is_connected)
            out_job_connect_failed(job, s, why);
        else
            out_job_tls_failed(job, s, why);
    }
    session_free(s);
}

static void start_client(struct out_session *s)
{
    s->client = smtp_client_new(&s->options, conn_peer(s->conn));
    must(s->client != NULL);
    run(s);
}

static void connected(struct out_session *s)
{
    s->out->connections++;
    s->is_connected = true;
    if (s->options.tls == SMTP_TLS_IMPLICIT)
        start_tls(s);
    else
        start_client(s);
}

static void tls_started(struct out_session *s)
{
    const struct peer *peer = conn_peer(s->conn);
    s->is_starting_tls = false;
    snprintf(s->tls_text, sizeof s->tls_text, "%s %s%s", peer->tls_version, peer->tls_cipher, peer->has_tls_verified ? " verified" : "");
    if (s->client == NULL) {
        start_client(s);
        return;
    }
    smtp_client_tls_started(s->client);
    run(s);
}

static void session_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct out_session *s = arg;
    (void)conn;
    switch (event) {
    case CONN_TIMED_OUT:                    /* CONN_CLOSED follows and says so */
        break;
    case CONN_CONNECTED:
        connected(s);
        break;
    case CONN_TLS_STARTED:
        tls_started(s);
        break;
    case CONN_INPUT:
    case CONN_FLUSHED:
        if (s->is_idle && event == CONN_INPUT)
            session_free(s);                            /* it speaks though nobody asked: 421, most likely */
        else if (s->client != NULL && !s->is_starting_tls)
            run(s);
        break;
    case CONN_CLOSED:
        closed(s);
        break;
    }
}

/* ---- idle ones ------------------------------------------------------------------------------------------------------ */

bool out_session_reuse(struct out_job *job)
{
    struct out *out = job->out;
    LIST_EACH(node, &out->idle) {
        struct out_session *s = LIST_ENTRY(node, struct out_session, list);
        if (strcmp(s->key, job->key) != 0)
            continue;
        leave_idle(s);
        out->reused++;
        s->job = job;
        job->active = s;
        run(s);
        return true;
    }
    return false;
}

static void idle_over(struct loop_timer *timer)
{
    struct out_session *s = LIST_ENTRY(timer, struct out_session, idle_timer);
    leave_idle(s);
    s->is_asking = false;
    smtp_client_quit(s->client);
    run(s);                                             /* may free it */
}

void out_session_close_idle(struct out *out)
{
    while (!list_is_empty(&out->idle))
        idle_over(&LIST_ENTRY(out->idle.next, struct out_session, list)->idle_timer);
}

void out_session_body_arrived(struct out_session *s)
{
    if (s->client != NULL && s->is_asking)
        run(s);
}
