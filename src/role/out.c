/* out: carries mail to other servers, and asks DNS.
 *
 *     user       thurn-out
 *     network    opens connections: TCP to other servers, UDP and TCP to the configured resolvers; accepts none
 *     files      none (the authorities' certificates are read before it confines itself)
 *     secrets    passwords of routes (smarthosts), each given only to the host its route names
 *     threads    one of the resolver library, started before it confines itself */
#include "role/out.h"

#include "os/child.h"
#include "os/log.h"
#include "os/sandbox.h"
#include "role/start.h"

#include <stdlib.h>

/* ---- channels to post -------------------------------------------------------------------------------------------- */

static void jobs_cancel(struct out_post *post)
{
    struct out_job *job;
    for (size_t at = 0; (job = map_next_u64(&post->jobs, &at, NULL)) != NULL;)
        out_job_cancel(job);
}

static bool take_frame(struct out_post *post, const struct frame *frame)
{
    struct out_job *job = map_get_u64(&post->jobs, frame->session);
    if (frame->type == FRAME_JOB)
        return out_job_begin(post, frame->session, frame);
    if (job == NULL)
        return frame->type == FRAME_JOB_BODY || frame->type == FRAME_JOB_CANCEL;       /* it ended while this was on its way */
    if (frame->type == FRAME_JOB_RCPT)
        return out_job_rcpt(job, frame);
    if (frame->type == FRAME_JOB_BODY)
        return out_job_body(job, frame);
    if (frame->type != FRAME_JOB_CANCEL)
        return false;
    out_job_cancel(job);
    return true;
}

static void on_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct out_post *post = arg;
    if (channel != post->channel || take_frame(post, frame))
        return;
    log_event(LOG_ERROR, "bad-frame", LOG_STR("from", "post"), LOG_STR("frame", frame_name(frame->type)));
    post->channel = NULL;
    jobs_cancel(post);
    channel_free(channel);
}

static void on_closed(void *arg, struct channel *channel, const char *why)
{
    struct out_post *post = arg;
    (void)why;
    if (channel != post->channel)
        return;
    post->channel = NULL;
    jobs_cancel(post);                                  /* a new post begins them anew */
}

static void channel_to(struct out *out, struct frame *frame)
{
    uint64_t index = frame->field[1].number;
    int fd = frame->fd;
    frame->fd = -1;
    must(frame->field[0].number == ROLE_POST && index < OUT_POSTS_MAX);
    struct out_post *post = &out->posts[index];
    struct channel *old = post->channel;
    struct channel_owner owner = { .frame = on_frame, .closed = on_closed, .arg = post };
    jobs_cancel(post);
    post->channel = channel_new(out->loop, fd, &owner);
    must(post->channel != NULL);
    if (old != NULL)
        channel_free(old);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void secret_free(struct out_secret *secret)
{
    list_remove(&secret->list);
    explicit_bzero(secret->password, strlen(secret->password));
    free(secret->password);
    free(secret->route);
    free(secret);
}

/* They come anew with each configuration. */
static void secret_add(struct out *out, const struct frame *frame)
{
    LIST_EACH(node, &out->secrets) {
        struct out_secret *old = LIST_ENTRY(node, struct out_secret, list);
        if (slice_equal(slice_from_str(old->route), frame->field[0].bytes))
            secret_free(old);
    }
    struct out_secret *secret = calloc(1, sizeof *secret);
    must(secret != NULL);
    secret->route = strndup(frame->field[0].bytes.ptr, frame->field[0].bytes.len);
    secret->password = strndup(frame->field[1].bytes.ptr, frame->field[1].bytes.len);
    must(secret->route != NULL && secret->password != NULL);
    list_append(&out->secrets, &secret->list);
}

static void on_dns(struct loop_watch *watch, unsigned events)
{
    (void)events;
    dns_process(LIST_ENTRY(watch, struct out, dns_watch)->dns);
}

/* When the first configuration comes, which is before the role is confined: the resolver's thread, its files, and the
 * authorities' certificates. (Other resolvers need a restart of the role for the same reason.) */
static enum rc open_all(struct out *out, struct fault *f)
{
    struct dns_options options = { .servers = out->config.dns_servers, .server_count = out->config.dns_server_count };
    if (dns_open(&options, &out->dns, f) != RC_OK || tls_client_new(false, NULL, &out->tls, f) != RC_OK
        || tls_client_new(true, NULL, &out->tls_verified, f) != RC_OK)
        return f->rc;
    out->dns_watch = (struct loop_watch){ .fd = dns_fd(out->dns), .events = LOOP_READ, .ready = on_dns };
    must(loop_watch(out->loop, &out->dns_watch));
    return RC_OK;
}

static void on_stop_timer(struct loop_timer *timer)
{
    struct out *out = LIST_ENTRY(timer, struct out, stop_timer);
    if ((out->job_count == 0 && list_is_empty(&out->busy)) || loop_now_ms(out->loop) >= out->stop_until_ms)
        loop_stop(out->loop);
    else
        loop_timer_set(out->loop, &out->stop_timer, 20);
}

/* Transactions under way may end; post begins no new ones. */
static void stop(struct out *out)
{
    out->is_stopping = true;
    out_session_close_idle(out);
    out->stop_timer.expired = on_stop_timer;
    out->stop_until_ms = loop_now_ms(out->loop) + OUT_STOP_MS;
    loop_timer_set(out->loop, &out->stop_timer, 20);
}

static bool same_resolvers(const struct config *a, const struct config *b)
{
    bool same = a->dns_server_count == b->dns_server_count;
    for (size_t i = 0; same && i < a->dns_server_count; i++)
        same = strcmp(a->dns_servers[i], b->dns_servers[i]) == 0;
    return same;
}

static enum rc configure(struct out *out, struct slice text, struct fault *f)
{
    struct config next;
    if (config_decode(text, &next, f) != RC_OK)
        return f->rc;
    if (out->dns != NULL && !same_resolvers(&out->config, &next))
        log_event(LOG_WARNING, "dns-servers-changed", LOG_STR("why", "the servers in force stay until thurn is started anew"));
    config_free(&out->config);
    out->config = next;
    return out->dns == NULL ? open_all(out, f) : RC_OK;
}

static enum rc on_launcher(void *self, struct frame *frame, struct fault *f)
{
    struct out *out = self;
    if (frame->type == FRAME_CONFIG)
        return configure(out, frame->field[0].bytes, f);
    if (frame->type == FRAME_CHANNEL)
        channel_to(out, frame);
    else if (frame->type == FRAME_SECRET)
        secret_add(out, frame);
    else if (frame->type == FRAME_STOP)
        stop(out);
    return RC_OK;
}

static size_t list_count(const struct list *head)
{
    size_t count = 0;
    for (const struct list *node = head->next; node != head; node = node->next)
        count++;
    return count;
}

static void figures(void *self, struct buf *json)
{
    const struct out *out = self;
    (void)buf_printf(json, "{\"jobs\":%zu,\"connections\":%zu,\"idle\":%zu,\"connected\":%llu,\"reused\":%llu,\"delivered\":%llu,"
                     "\"deferred\":%llu,\"refused\":%llu}", out->job_count, list_count(&out->busy), out->idle_count,
                     (unsigned long long)out->connections, (unsigned long long)out->reused, (unsigned long long)out->delivered,
                     (unsigned long long)out->deferred, (unsigned long long)out->refused);
}

void out_init(struct out *out, struct loop *loop)
{
    *out = (struct out){ .loop = loop };
    list_init(&out->secrets);
    list_init(&out->idle);
    list_init(&out->busy);
    for (size_t i = 0; i < OUT_POSTS_MAX; i++) {
        out->posts[i].out = out;
        map_init(&out->posts[i].jobs, NULL);
    }
}

void out_free(struct out *out)
{
    for (size_t i = 0; i < OUT_POSTS_MAX; i++) {
        jobs_cancel(&out->posts[i]);
        if (out->posts[i].channel != NULL)
            channel_free(out->posts[i].channel);
        map_free(&out->posts[i].jobs);
    }
    while (!list_is_empty(&out->idle))
        out_session_drop(LIST_ENTRY(out->idle.next, struct out_session, list));
    while (!list_is_empty(&out->busy))
        out_session_drop(LIST_ENTRY(out->busy.next, struct out_session, list));
    while (!list_is_empty(&out->secrets))
        secret_free(LIST_ENTRY(out->secrets.next, struct out_secret, list));
    loop_timer_stop(out->loop, &out->stop_timer);
    tls_context_free(out->tls);
    tls_context_free(out->tls_verified);
}

struct role_self out_self(struct out *out)
{
    return (struct role_self){
        .role = ROLE_OUT, .loop = out->loop, .self = out, .frame = on_launcher, .figures = figures,
        .powers = POWER_LOOP | POWER_RECEIVE_FDS | POWER_CONNECT,
    };
}

int role_out_main(void)
{
    struct out *out = calloc(1, sizeof *out);
    struct loop *loop = loop_new();
    must(out != NULL && loop != NULL);
    out_init(out, loop);
    struct role_self self = out_self(out);
    return role_run(&self);
}
