/* One job of the out role, from its frames to its outcomes: see out.h.
 *
 *     frames  ->  idle connection to the same next hop?  -> send
 *             ->  lookups (dns, mx machine) -> targets in order -> connect -> send
 *
 * A target that cannot be reached, or whose greeting, EHLO or AUTH fails, gives way to the next one; the outcome of the
 * last one stands for all. When a TLS handshake fails and the route does not insist, the same target is tried in the
 * clear. Once a message has been offered, its outcomes are final: a second server never sees it in the same job. */
#include "role/out.h"

#include "os/child.h"
#include "os/log.h"
#include "role/route.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- ending ----------------------------------------------------------------------------------------------------- */

static void job_free(struct out_job *j)
{
    struct out *out = j->out;
    loop_timer_stop(out->loop, &j->timer);
    loop_task_drop(&j->next_task);
    if (j->query != 0)
        dns_cancel(out->dns, j->query);
    map_remove_u64(&j->post->jobs, j->session);
    out->job_count--;
    buf_free(&j->incoming);
    buf_free(&j->lent);
    arena_free(&j->arena);
    free(j);
}

void out_job_cancel(struct out_job *j)
{
    if (j->active != NULL)
        out_session_drop(j->active);
    job_free(j);
}

static void count(struct out *out, enum rc rc)
{
    if (rc == RC_OK)
        out->delivered++;
    else if (rc == RC_PERM)
        out->refused++;
    else
        out->deferred++;
}

static void send_outcome(struct out_job *j, size_t index, const struct smtp_outcome *o, struct slice remote)
{
    enum rc rc = o->rc == RC_OK || o->rc == RC_PERM ? o->rc : RC_TEMP;
    count(j->out, rc);
    channel_send(j->post->channel, FRAME_JOB_OUTCOME, j->session, (uint64_t)index, (uint64_t)rc, (uint64_t)o->esc,
                 (uint64_t)(o->code < 0 ? 0 : o->code), o->text, remote, (uint64_t)o->is_remote);
}

enum { DONE_DEAD = 1, DONE_HAS_DSN = 2 };

static void send_done(struct out_job *j, struct slice tls, struct slice greeting, unsigned flags)
{
    channel_send(j->post->channel, FRAME_JOB_DONE, j->session, tls, slice_from_str(j->choice), greeting, (uint64_t)flags);
}

/* The same for all recipients, without a transaction. */
static void job_fail(struct out_job *j, const struct smtp_outcome *o, struct slice remote)
{
    for (size_t i = 0; i < j->message.rcpt_count; i++)
        send_outcome(j, i, o, remote);
    bool is_dead = !j->was_connected && o->rc == RC_TEMP;
    send_done(j, SLICE_NONE, SLICE_NONE, is_dead ? DONE_DEAD : 0);
    job_free(j);
}

static void job_fail_fault(struct out_job *j, const struct fault *f)
{
    struct smtp_outcome o = { .rc = f->rc == RC_PERM ? RC_PERM : RC_TEMP, .esc = f->esc, .text = slice_from_str(f->text) };
    job_fail(j, &o, SLICE_NONE);
}

/* ---- targets ---------------------------------------------------------------------------------------------------- */

static bool is_loopback(const char *address)
{
    struct slice a = slice_from_str(address);
    return slice_starts_nocase(a, SLICE("127.")) || slice_starts_nocase(a, SLICE("0.")) || slice_equal(a, SLICE("::1")) || slice_equal(a, SLICE("::"))
        || slice_starts_nocase(a, SLICE("::ffff:127.")) || slice_starts_nocase(a, SLICE("::ffff:0."));
}

/* A stranger's MX that points to loopback would make us talk to ourselves or to services that trust this host. */
static bool is_allowed(const struct out_job *j, const char *address)
{
    return j->is_route || j->out->config.dns_allow_loopback_mx || !is_loopback(address);
}

static bool fits_source(const struct out_job *j, const char *address)
{
    const char *source = j->out->config.delivery_source;
    return source == NULL || (strchr(source, ':') != NULL) == (strchr(address, ':') != NULL);
}

/* What stands for the job when this target does not do and no other is left. */
static void remember(struct out_job *j, const struct smtp_outcome *o, const char *remote)
{
    struct slice text = arena_copy(&j->arena, slice_sub(o->text, 0, 1000)), where = arena_copy(&j->arena, slice_from_str(remote));
    j->last = *o;
    j->last.text = text.ptr == NULL ? SLICE("out of memory") : text;
    j->last_remote = where.ptr == NULL ? SLICE_NONE : where;
}

static void remember_text(struct out_job *j, enum rc rc, uint32_t esc, const char *what, const char *remote, const char *why)
{
    char text[600];
    snprintf(text, sizeof text, "%s %s: %s", what, remote, why);
    struct smtp_outcome o = { .rc = rc, .esc = esc, .text = slice_from_str(text) };
    remember(j, &o, remote);
}

static void name_choice(struct out_job *j, const struct mx_target *t)
{
    size_t of = j->mx == NULL ? 0 : mx_exchangers(j->mx);
    char preference[40] = "";
    if (of > 1 || t->preference > 0)
        snprintf(preference, sizeof preference, " (%u) of %zu", (unsigned)t->preference, of);
    snprintf(j->choice, sizeof j->choice, "%.*s%s, %s:%u", SLICE_ARG(t->name), preference, t->address, (unsigned)j->port);
}

static bool try_target(struct out_job *j, const struct mx_target *t)
{
    char name[256];
    struct fault f;
    if (!slice_to_str(t->name, name, sizeof name))
        return false;
    struct out_target target = { t->address, name, j->port };
    name_choice(j, t);
    if (out_session_begin(j, &target, !j->without_tls, is_loopback(t->address), &f) == RC_OK)
        return true;
    remember_text(j, RC_TEMP, ESC(4, 4, 1), "connect to", t->address, f.text);
    return false;
}

static bool try_path(struct out_job *j)
{
    struct out_target target = { j->host, j->host, 0 };
    struct fault f;
    snprintf(j->choice, sizeof j->choice, "%s", j->host);
    if (j->target_at++ > 0)
        return false;
    if (out_session_begin(j, &target, false, true, &f) == RC_OK)
        return true;
    remember_text(j, RC_TEMP, ESC(4, 4, 1), "connect to", j->host, f.text);
    return false;
}

static void next_target(struct out_job *j)
{
    if (j->host[0] == '/') {
        if (try_path(j))
            return;
    }
    while (j->target_at < j->target_count) {
        const struct mx_target *t = &j->targets[j->target_at++];
        if (!is_allowed(j, t->address)) {
            if (j->last.text.len == 0)
                remember_text(j, RC_PERM, ESC(5, 4, 4), "the mail exchanger", t->address, "is a loopback address");
        } else if (!fits_source(j, t->address)) {
            if (j->last.text.len == 0)
                remember_text(j, RC_TEMP, ESC(4, 4, 1), "connect to", t->address, "delivery.source is of the other address family");
        } else if (try_target(j, t))
            return;
    }
    if (j->last.text.len == 0)
        j->last = (struct smtp_outcome){ .rc = RC_TEMP, .esc = ESC(4, 4, 1), .text = SLICE("no server could be reached") };
    job_fail(j, &j->last, j->last_remote);
}

static void on_next(struct loop_task *task) { next_target(LIST_ENTRY(task, struct out_job, next_task)); }

/* From the end of this turn: the session that failed has gone by then. */
static void next_target_soon(struct out_job *j)
{
    j->next_task.run = on_next;
    loop_task_add(j->out->loop, &j->next_task);
}

/* ---- what sessions tell --------------------------------------------------------------------------------------------- */

static void log_failure(const struct out_job *j, const char *event, const struct out_session *s, struct slice why)
{
    log_event(LOG_NOTICE, event, LOG_STR("id", j->id), LOG_STR("remote", s->remote), LOG_TEXT("why", why));
}

void out_job_connect_failed(struct out_job *j, const struct out_session *s, const char *why)
{
    log_failure(j, "connect-failed", s, slice_from_str(why));
    remember_text(j, RC_TEMP, ESC(4, 4, 1), "connect to", s->remote, why);
    j->without_tls = false;
    next_target_soon(j);
}

void out_job_tls_failed(struct out_job *j, const struct out_session *s, const char *why)
{
    log_failure(j, "tls-failed", s, slice_from_str(why));
    j->was_connected = true;
    remember_text(j, RC_TEMP, ESC(4, 7, 5), "TLS with", s->remote, why);
    if (j->tls == ROUTE_TLS_MAY && !j->without_tls) {
        j->without_tls = true;                          /* RFC 7435: in the clear is what we would have done without TLS */
        j->target_at--;
    } else
        j->without_tls = false;
    next_target_soon(j);
}

void out_job_session_failed(struct out_job *j, const struct out_session *s, const struct smtp_outcome *o)
{
    j->was_connected = true;
    if (s->was_idle && !j->is_again) {                  /* the peer had enough of it: that says nothing about this message */
        j->is_again = true;
        out_job_resolve(j);
        return;
    }
    log_failure(j, "session-failed", s, o->text);
    remember(j, o, s->remote);
    if (j->is_route && j->last.rc == RC_PERM)           /* a smarthost's refusal of us is the administrator's to mend: mail waits */
        j->last.rc = RC_TEMP;
    j->without_tls = false;
    next_target_soon(j);
}

static bool was_never_answered(const struct smtp_outcome *outcomes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (outcomes[i].rc == RC_OK || outcomes[i].code != 0)
            return false;
    return true;
}

static void rewind_body(struct out_job *j)
{
    buf_clear(&j->incoming);
    buf_clear(&j->lent);
    j->asked = j->arrived = 0;
}

void out_job_outcomes(struct out_job *j, const struct out_session *s)
{
    size_t n;
    const struct smtp_outcome *outcomes = smtp_client_outcomes(s->client, &n);
    j->was_connected = true;
    if (s->is_lost && s->was_idle && !j->is_again && was_never_answered(outcomes, n)) {
        j->is_again = true;
        out_job_resolve(j);
        return;
    }
    for (size_t i = 0; i < j->message.rcpt_count; i++) {
        struct smtp_outcome none = { .rc = RC_TEMP, .esc = ESC(4, 4, 2), .text = SLICE("the session ended") };
        send_outcome(j, i, i < n ? &outcomes[i] : &none, slice_from_str(s->remote));
    }
    if (j->choice[0] == '\0')
        snprintf(j->choice, sizeof j->choice, "%s (connection used again)", s->remote);
    bool has_dsn = smtp_client_has_extension(s->client, SLICE("DSN"));
    send_done(j, slice_from_str(s->tls_text), smtp_client_greeting(s->client), has_dsn ? DONE_HAS_DSN : 0);
    job_free(j);
}

/* ---- lookups ---------------------------------------------------------------------------------------------------------- */

static void look_up(struct out_job *j);

static void on_answer(void *arg, const struct dns_answer *answer)
{
    struct out_job *j = arg;
    j->query = 0;
    mx_answer(j->mx, answer);
    look_up(j);
}

static void look_up(struct out_job *j)
{
    struct slice name;
    enum dns_type type;
    struct fault f;
    enum rc rc = mx_next(j->mx, &name, &type, &f);
    if (rc == RC_MORE) {
        j->query = dns_query(j->out->dns, name, type, on_answer, j);
        if (j->query != 0)
            return;
        rc = fault_temp(&f, ESC(4, 4, 3), "too many DNS lookups under way");
    }
    if (rc != RC_OK) {
        log_event(LOG_NOTICE, "no-next-hop", LOG_STR("id", j->id), LOG_STR("host", j->host), LOG_STR("why", f.text));
        job_fail_fault(j, &f);
        return;
    }
    j->targets = mx_targets(j->mx, &j->target_count);
    j->target_at = 0;
    loop_timer_set(j->out->loop, &j->timer, OUT_JOB_MS);
    next_target(j);
}

/* "[name]" is a host without exchangers, "[address]" an address. */
static struct mx *begin_lookup(struct out_job *j)
{
    struct slice host = slice_from_str(j->host), inner = slice_sub(host, 1, host.len < 2 ? 0 : host.len - 2);
    struct slice own_name = slice_from_str(j->out->config.host_name);
    bool is_bracketed = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    bool is_address = is_bracketed && (byte_is_digit((unsigned char)inner.ptr[0]) || slice_find_byte(inner, ':') < inner.len);
    if (is_bracketed && !is_address && j->is_route)
        return mx_begin(inner, false, own_name, random_u64(), &j->arena);
    return mx_begin(host, true, own_name, random_u64(), &j->arena);
}

static bool is_dns_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] <= ' ' || (unsigned char)s.ptr[i] >= 0x7f)
            return false;
    return s.len > 0;
}

static void on_time_out(struct loop_timer *timer)
{
    struct out_job *j = LIST_ENTRY(timer, struct out_job, timer);
    struct fault f;
    if (j->active != NULL)
        out_session_drop(j->active);
    fault_temp(&f, ESC(4, 4, 7), j->targets == NULL && j->host[0] != '/' ? "DNS lookups take too long" : "the remote server takes too long");
    job_fail_fault(j, &f);
}

void out_job_resolve(struct out_job *j)
{
    struct fault f;
    rewind_body(j);
    j->targets = NULL;
    j->target_count = j->target_at = 0;
    j->timer.expired = on_time_out;
    if (j->host[0] == '/') {
        loop_timer_set(j->out->loop, &j->timer, OUT_JOB_MS);
        next_target_soon(j);
        return;
    }
    if (!is_dns_name(slice_from_str(j->host))) {
        fault_perm(&f, ESC(5, 1, 2), "the domain is not a name that DNS knows");
        job_fail_fault(j, &f);
        return;
    }
    loop_timer_set(j->out->loop, &j->timer, OUT_RESOLVE_MS);
    j->mx = begin_lookup(j);
    if (j->mx != NULL) {
        look_up(j);
        return;
    }
    fault_no_memory(&f);
    job_fail_fault(j, &f);
}

/* ---- body --------------------------------------------------------------------------------------------------------------- */

static void ask_for_body(struct out_job *j)
{
    uint64_t ahead = j->asked - j->arrived + buf_len(&j->incoming);
    uint64_t left = j->message.size - j->asked, len = left < OUT_BODY_ASK ? left : OUT_BODY_ASK;
    if (len == 0 || j->asked != j->arrived || ahead + len > OUT_BODY_AHEAD)
        return;
    channel_send(j->post->channel, FRAME_JOB_WANT, j->session, j->asked, len);
    j->asked += len;
}

bool out_job_piece(struct out_job *j, struct slice *piece)
{
    buf_clear(&j->lent);                                /* asked again: the last one has been taken */
    struct buf swap = j->lent;
    j->lent = j->incoming;
    j->incoming = swap;
    ask_for_body(j);
    *piece = buf_slice(&j->lent);
    return piece->len > 0 || j->arrived == j->message.size;
}

bool out_job_body(struct out_job *j, const struct frame *frame)
{
    struct slice bytes = frame->field[1].bytes;
    if (frame->field[0].number != j->arrived || bytes.len > j->asked - j->arrived)
        return frame->field[0].number + bytes.len <= j->message.size;   /* asked for before it began again */
    if (!buf_append(&j->incoming, bytes))
        return false;
    j->arrived += bytes.len;
    if (j->active != NULL)
        out_session_body_arrived(j->active);
    return true;
}

/* ---- beginning ------------------------------------------------------------------------------------------------------------ */

static const char *password_of(struct out *out, const struct config_route *route)
{
    LIST_EACH(node, &out->secrets) {
        const struct out_secret *secret = LIST_ENTRY(node, struct out_secret, list);
        if (strcmp(secret->route, route->domain) == 0)
            return secret->password;
    }
    return NULL;
}

/* A next hop that is a route of our own configuration gets its password; what post says alone would not do. */
static void recognise_route(struct out_job *j)
{
    const struct config_route *route = route_of_next_hop(&j->out->config, slice_from_str(j->host), j->port, j->user, j->is_lmtp);
    j->is_route = route != NULL;
    if (route != NULL && j->user.len > 0)
        j->password = password_of(j->out, route);
}

static void job_start(struct out_job *j)
{
    struct fault f;
    recognise_route(j);
    if (j->host[0] == '/' && !j->is_route)
        fault_perm(&f, ESC(5, 3, 5), "a path is no next hop");
    else if (j->user.len > 0 && j->password == NULL)
        fault_temp(&f, ESC(4, 7, 0), "no password for the route to %s", j->host);
    else if (out_session_reuse(j))
        return;
    else {
        out_job_resolve(j);
        return;
    }
    j->was_connected = true;                            /* nothing is known of the destination */
    job_fail_fault(j, &f);
}

static struct slice copy(struct out_job *j, struct slice s)
{
    struct slice c = arena_copy(&j->arena, s);
    j->is_broken = j->is_broken || (c.ptr == NULL && s.len > 0);
    return c;
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] > 0x7f)
            return false;
    return true;
}

static struct address copy_address(struct out_job *j, struct slice local_part, struct slice domain, bool is_null, bool is_literal)
{
    return (struct address){
        .local_part = copy(j, local_part),
        .domain = copy(j, domain),
        .is_null = is_null,
        .is_literal = is_literal,
        .is_utf8 = !is_ascii(local_part) || !is_ascii(domain),
    };
}

/* Fields of FRAME_JOB in order. */
enum { J_ID, J_HOST, J_USER, J_PORT, J_IS_LMTP, J_TLS, J_HELO, J_IS_NULL, J_LOCAL_PART, J_DOMAIN, J_ENVID, J_SIZE, J_BODY, J_IS_UTF8, J_RET, J_FLAGS,
       J_RCPT_COUNT };

static bool read_job(struct out_job *j, const struct frame *frame)
{
    uint64_t port = frame->field[J_PORT].number, tls = frame->field[J_TLS].number, body = frame->field[J_BODY].number;
    uint64_t ret = frame->field[J_RET].number, flags = frame->field[J_FLAGS].number, rcpts = frame->field[J_RCPT_COUNT].number;
    if (port > UINT16_MAX || tls > ROUTE_TLS_IMPLICIT || body > SMTP_BODY_BINARYMIME || ret > SMTP_RET_HDRS || rcpts == 0 || rcpts > OUT_RECIPIENTS_MAX)
        return false;
    struct slice domain = frame->field[J_DOMAIN].bytes;
    j->id = arena_str(&j->arena, frame->field[J_ID].bytes);
    j->host = arena_str(&j->arena, frame->field[J_HOST].bytes);
    j->user = copy(j, frame->field[J_USER].bytes);
    j->helo = copy(j, frame->field[J_HELO].bytes);
    j->port = (uint16_t)port;
    j->is_lmtp = frame->field[J_IS_LMTP].number != 0;
    j->tls = (int)tls;
    j->message = (struct smtp_message){
        .size = frame->field[J_SIZE].number,
        .has_8bit = (flags & 1) != 0, .has_long_line = (flags & 2) != 0, .has_bare_eol = (flags & 4) != 0, .needs_utf8 = (flags & 8) != 0,
        .lacks_final_eol = (flags & 16) != 0,
        .rcpts = ARENA_ARRAY(&j->arena, struct smtp_rcpt, rcpts),
    };
    j->message.mail = (struct smtp_mail){
        .reverse_path = copy_address(j, frame->field[J_LOCAL_PART].bytes, domain, frame->field[J_IS_NULL].number != 0,
                                     domain.len > 0 && domain.ptr[0] == '['),
        .size = j->message.size,
        .body = (enum smtp_body)body,
        .is_utf8 = frame->field[J_IS_UTF8].number != 0,
        .ret = (enum smtp_ret)ret,
        .envid = copy(j, frame->field[J_ENVID].bytes),
    };
    j->rcpts_expected = (size_t)rcpts;
    if (j->id == NULL || j->host == NULL || j->message.rcpts == NULL || j->is_broken)
        return false;
    j->key = arena_printf(&j->arena, "%s %u %.*s %d %d", j->host, (unsigned)j->port, SLICE_ARG(j->user), j->tls, (int)j->is_lmtp);
    return j->key != NULL;
}

bool out_job_begin(struct out_post *post, uint32_t session, const struct frame *frame)
{
    struct out *out = post->out;
    struct out_job *j = out->job_count < OUT_JOBS_MAX ? calloc(1, sizeof *j) : NULL;
    if (j == NULL)
        return false;
    j->post = post;
    j->out = out;
    j->session = session;
    list_init(&j->next_task.list);
    arena_init(&j->arena, OUT_JOB_MEMORY_MAX);
    buf_init(&j->incoming, OUT_BODY_AHEAD);
    buf_init(&j->lent, OUT_BODY_AHEAD);
    if (map_get_u64(&post->jobs, session) != NULL || !read_job(j, frame) || !map_put_u64(&post->jobs, session, j)) {
        arena_free(&j->arena);
        free(j);
        return false;
    }
    out->job_count++;
    return true;
}

/* Fields: local part, domain, is_literal, notify, orcpt. The last one starts the job. */
bool out_job_rcpt(struct out_job *j, const struct frame *frame)
{
    if (j->message.rcpt_count == j->rcpts_expected)
        return false;
    struct smtp_rcpt *rcpt = &j->message.rcpts[j->message.rcpt_count++];
    *rcpt = (struct smtp_rcpt){
        .forward_path = copy_address(j, frame->field[0].bytes, frame->field[1].bytes, false, frame->field[2].number != 0),
        .notify = (unsigned)(frame->field[3].number & (NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY)),
        .orcpt = copy(j, frame->field[4].bytes),
    };
    if (j->is_broken)
        return false;
    if (j->message.rcpt_count == j->rcpts_expected)
        job_start(j);
    return true;
}
