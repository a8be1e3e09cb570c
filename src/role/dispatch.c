/* Queue jobs to `out` and outcomes back: see dispatch.h.
 *
 * A job is FRAME_JOB and its FRAME_JOB_RCPTs with the job's number as session. `out` asks for the body by offset
 * (FRAME_JOB_WANT) and gets pieces as long as the channel is not full; it answers with one FRAME_JOB_OUTCOME for each
 * recipient and FRAME_JOB_DONE. A frame that makes no sense for its job closes the channel, and its jobs are due again. */
#include "role/dispatch.h"

#include "base/map.h"
#include "os/child.h"
#include "os/log.h"
#include "role/channel.h"
#include "role/route.h"

#include <stdlib.h>

enum {
    TICK_MS = 60 * 1000,
    TICK_AGAIN_MS = 50,
    JOBS_A_TURN = 50,               /* started in one turn of the loop: others want to be served too */
    TEXT_MAX_BYTES = 1000,
};

struct dispatch_job {
    struct dispatch *dispatch;
    struct list wants;              /* in dispatch.wants while it wants body */
    struct queue_job job;
    uint64_t body_id;
    uint32_t trace_bytes;
    uint64_t size, want_at, want_end;
    char id[QUEUE_ID_TEXT];
    bool is_final;
    struct arena arena;             /* outcome texts until the job ends */
    struct smtp_outcome outcomes[QUEUE_JOB_RECIPIENTS_MAX];
    struct slice remotes[QUEUE_JOB_RECIPIENTS_MAX];
    bool has_outcome[QUEUE_JOB_RECIPIENTS_MAX];
};

struct dispatch {
    struct dispatch_options options;
    struct channel *channel;
    struct map jobs;                /* by number */
    struct list wants;
    struct loop_task start_task;
    struct loop_timer wake, tick;
    bool is_stopping;
    char piece[FRAME_BODY_PIECE];   /* of a body, on its way to the channel */
};

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

static int64_t now_ms(const struct dispatch *d) { return loop_time_ms(d->options.loop); }

static void job_free(struct dispatch_job *j)
{
    map_remove_u64(&j->dispatch->jobs, j->job.number);
    list_remove(&j->wants);
    arena_free(&j->arena);
    free(j);
}

static void job_lost(struct dispatch_job *j)
{
    struct dispatch *d = j->dispatch;
    queue_job_lost(d->options.queue, &j->job, now_ms(d));
    job_free(j);
}

/* `out` died while it had this job: it may have died of it. */
static void job_died(struct dispatch_job *j)
{
    struct dispatch *d = j->dispatch;
    struct fault fault;
    size_t set_aside;
    uint64_t wait;
    enum rc rc = queue_job_died(d->options.queue, &j->job, now_ms(d), random_u64(), &set_aside, &wait, &fault);
    if (rc != RC_OK)
        log_fault(LOG_ERROR, "outcome-not-recorded", &fault);
    else if (set_aside > 0)
        log_event(LOG_ERROR, "message-set-aside", LOG_STR("id", j->id), LOG_NUMBER("recipients", set_aside),
                  LOG_STR("why", "out died twice while it tried this message: it is held"));
    else
        log_event(LOG_WARNING, "attempt-died", LOG_STR("id", j->id), LOG_STR("why", "out died while it tried this message"));
    job_free(j);
}

static void all_end(struct dispatch *d, void (*end)(struct dispatch_job *))
{
    struct dispatch_job *j;
    for (size_t at = 0; (j = map_next_u64(&d->jobs, &at, NULL)) != NULL;)
        end(j);
}

static const char *outcome_word(enum rc rc)
{
    return rc == RC_OK ? "delivered" : rc == RC_PERM ? "refused" : "deferred";
}

static void log_outcomes(const struct dispatch_job *j, const struct queue_entry *entry, const struct queue_attempt *attempt)
{
    for (size_t i = 0; entry != NULL && i < j->job.recipient_count; i++) {
        int code = j->outcomes[i].code;
        struct buf to;
        buf_init(&to, 1024);
        address_write(&entry->recipients[j->job.recipients[i]].address, &to);
        log_event(j->outcomes[i].rc == RC_OK ? LOG_INFO : LOG_NOTICE, outcome_word(j->outcomes[i].rc), LOG_STR("id", j->id),
                  LOG_TEXT("to", buf_slice(&to)), LOG_TEXT("remote", j->remotes[i]),
                  code > 0 ? LOG_NUMBER("code", code) : LOG_TEXT("code", SLICE_NONE),      /* none: nobody answered */
                  LOG_TEXT("text", j->outcomes[i].text), LOG_TEXT("tls", attempt->tls));
        buf_free(&to);
    }
}

static void job_done(struct dispatch_job *j, const struct queue_attempt *attempt)
{
    struct dispatch *d = j->dispatch;
    struct fault fault;
    uint64_t wait;
    log_outcomes(j, queue_find(d->options.queue, j->job.entry), attempt);
    enum rc rc = queue_job_done(d->options.queue, &j->job, j->outcomes, j->remotes, attempt, now_ms(d), random_u64(), &wait, &fault);
    if (rc != RC_OK)
        log_fault(LOG_ERROR, "outcome-not-recorded", &fault);
    job_free(j);
    dispatch_poke(d);
}

/* Ends a job by a reason of our own. */
static void job_failed(struct dispatch_job *j, const struct fault *fault)
{
    for (size_t i = 0; i < j->job.recipient_count; i++) {
        j->outcomes[i] = (struct smtp_outcome){ .rc = fault->rc, .esc = fault->esc, .text = slice_from_str(fault->text) };
        j->remotes[i] = SLICE_NONE;
    }
    job_done(j, &(struct queue_attempt){ .is_destination_dead = false });
}

/* ---- starting --------------------------------------------------------------------------------------------------------- */

static struct slice destination_of(void *arg, const struct address *address, struct arena *arena)
{
    struct dispatch *d = arg;
    struct next_hop hop;
    route_next_hop(d->options.config, address, &hop);
    return next_hop_key(&hop, arena);
}

static uint64_t flags_of(const struct queue_entry *e)
{
    return (e->has_8bit ? 1u : 0u) | (e->has_long_line ? 2u : 0u) | (e->has_bare_eol ? 4u : 0u) | (e->has_utf8_header ? 8u : 0u)
         | (e->lacks_final_eol ? 16u : 0u);
}

static void send_job(struct dispatch_job *j, const struct queue_entry *e, const struct next_hop *hop)
{
    struct dispatch *d = j->dispatch;
    const struct address *from = &e->mail.reverse_path;
    channel_send(d->channel, FRAME_JOB, j->job.number, slice_from_str(j->id), slice_from_str(hop->host), slice_from_str(hop->user),
                 (uint64_t)hop->port, (uint64_t)hop->is_lmtp, (uint64_t)hop->tls, slice_from_str(d->options.config->host_name),
                 (uint64_t)from->is_null, from->local_part, from->domain, e->mail.envid, j->size, (uint64_t)e->mail.body,
                 (uint64_t)e->mail.is_utf8, (uint64_t)e->mail.ret, flags_of(e), (uint64_t)j->job.recipient_count);
    for (size_t i = 0; i < j->job.recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[j->job.recipients[i]];
        channel_send(d->channel, FRAME_JOB_RCPT, j->job.number, r->address.local_part, r->address.domain, (uint64_t)r->address.is_literal,
                     (uint64_t)r->notify, r->orcpt);
    }
}

static void start_job(struct dispatch *d, const struct queue_job *job)
{
    struct dispatch_job *j = calloc(1, sizeof *j);
    const struct queue_entry *entry = queue_find(d->options.queue, job->entry);
    if (j == NULL || entry == NULL || !map_put_u64(&d->jobs, job->number, j)) {
        free(j);
        queue_job_lost(d->options.queue, job, now_ms(d) + TICK_MS);
        return;
    }
    j->dispatch = d;
    j->job = *job;
    j->body_id = entry->body_id;
    j->trace_bytes = entry->trace_bytes;
    j->size = entry->body_size > entry->trace_bytes ? entry->body_size - entry->trace_bytes : 0;
    list_init(&j->wants);
    arena_init(&j->arena, (size_t)4 * TEXT_MAX_BYTES * (job->recipient_count + 4));
    queue_id_write(job->entry, j->id);
    struct next_hop hop;
    route_next_hop(d->options.config, &entry->recipients[job->recipients[0]].address, &hop);
    j->is_final = hop.is_lmtp;
    send_job(j, entry, &hop);
}

static void start_jobs(struct loop_task *task)
{
    struct dispatch *d = LIST_ENTRY(task, struct dispatch, start_task);
    struct queue_job job;
    size_t started = 0;
    while (d->channel != NULL && !d->is_stopping && started < JOBS_A_TURN
           && queue_next_job(d->options.queue, now_ms(d), random_u64(), &job) == RC_OK) {
        start_job(d, &job);
        started++;
    }
    if (d->channel == NULL || d->is_stopping)
        return;
    int64_t wake_ms = queue_wake_ms(d->options.queue);
    if (wake_ms == INT64_MAX)
        return;
    int64_t in_ms = wake_ms - now_ms(d);
    loop_timer_set(d->options.loop, &d->wake, in_ms < 1 ? 1 : in_ms > TICK_MS ? TICK_MS : in_ms);
}

void dispatch_poke(struct dispatch *d) { loop_task_add(d->options.loop, &d->start_task); }

static void on_wake(struct loop_timer *timer) { dispatch_poke(LIST_ENTRY(timer, struct dispatch, wake)); }

static void on_tick(struct loop_timer *timer)
{
    struct dispatch *d = LIST_ENTRY(timer, struct dispatch, tick);
    struct fault fault;
    enum rc rc = queue_tick(d->options.queue, now_ms(d), random_u64(), &fault);
    if (rc != RC_OK && rc != RC_MORE)
        log_fault(LOG_ERROR, "time-outs-not-recorded", &fault);
    loop_timer_set(d->options.loop, &d->tick, rc == RC_MORE ? TICK_AGAIN_MS : TICK_MS);
    dispatch_poke(d);
}

/* ---- bodies ------------------------------------------------------------------------------------------------------------- */

/* One piece. False: the job came to its end. */
static bool serve_piece(struct dispatch_job *j)
{
    struct dispatch *d = j->dispatch;
    uint64_t len = j->want_end - j->want_at;
    if (len > sizeof d->piece)
        len = sizeof d->piece;
    struct fault fault;
    if (store_read(d->options.store, j->body_id, j->trace_bytes + j->want_at, (size_t)len, d->piece, &fault) != RC_OK) {
        log_fault(LOG_ERROR, "body-not-readable", &fault);
        channel_send(d->channel, FRAME_JOB_CANCEL, j->job.number);
        fault_temp(&fault, ESC(4, 3, 0), "the stored message cannot be read");
        job_failed(j, &fault);
        return false;
    }
    channel_send(d->channel, FRAME_JOB_BODY, j->job.number, j->want_at, (struct slice){ d->piece, (size_t)len });
    j->want_at += len;
    return true;
}

/* In turn, a piece each, while the channel takes it. */
static void serve_wants(struct dispatch *d)
{
    while (d->channel != NULL && !channel_is_full(d->channel) && !list_is_empty(&d->wants)) {
        struct dispatch_job *j = LIST_ENTRY(d->wants.next, struct dispatch_job, wants);
        list_remove(&j->wants);
        if (serve_piece(j) && j->want_at < j->want_end)
            list_append(&d->wants, &j->wants);
    }
}

static bool on_want(struct dispatch_job *j, const struct frame *frame)
{
    uint64_t at = frame->field[0].number, len = frame->field[1].number;
    if (at > j->size || len > j->size - at || len == 0)
        return false;
    j->want_at = at;
    j->want_end = at + len;
    list_remove(&j->wants);
    list_append(&j->dispatch->wants, &j->wants);
    serve_wants(j->dispatch);
    return true;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------- */

static struct slice keep(struct dispatch_job *j, struct slice text)
{
    struct slice copy = arena_copy(&j->arena, slice_sub(text, 0, TEXT_MAX_BYTES));
    return copy.ptr == NULL ? SLICE_NONE : copy;
}

/* Fields: recipient, rc, enhanced status, reply code, text, remote, is_remote. */
static bool on_outcome(struct dispatch_job *j, const struct frame *frame)
{
    uint64_t index = frame->field[0].number, rc = frame->field[1].number, esc = frame->field[2].number, code = frame->field[3].number;
    if (index >= j->job.recipient_count || j->has_outcome[index] || (rc != RC_OK && rc != RC_TEMP && rc != RC_PERM) || esc > UINT32_MAX || code > 999)
        return false;
    j->outcomes[index] = (struct smtp_outcome){ .rc = (enum rc)rc, .esc = (uint32_t)esc, .code = (int)code,
                                                .text = keep(j, frame->field[4].bytes), .is_remote = frame->field[6].number != 0 };
    j->remotes[index] = keep(j, frame->field[5].bytes);
    j->has_outcome[index] = true;
    return true;
}

static bool on_done(struct dispatch_job *j, const struct frame *frame)
{
    for (size_t i = 0; i < j->job.recipient_count; i++)
        if (!j->has_outcome[i])
            return false;
    struct queue_attempt attempt = {
        .tls = keep(j, frame->field[0].bytes),
        .mx = keep(j, frame->field[1].bytes),
        .greeting = keep(j, frame->field[2].bytes),
        .is_destination_dead = (frame->field[3].number & 1) != 0,
        .has_dsn = (frame->field[3].number & 2) != 0,
        .is_final = j->is_final,
    };
    job_done(j, &attempt);
    return true;
}

static void tell_lost(const struct dispatch *d)
{
    if (d->options.lost != NULL && !d->is_stopping)
        d->options.lost(d->options.lost_arg);
}

static void channel_drop(struct dispatch *d, void (*end)(struct dispatch_job *))
{
    struct channel *channel = d->channel;
    d->channel = NULL;
    all_end(d, end);
    if (channel != NULL)
        channel_free(channel);
}

static void on_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct dispatch *d = arg;
    struct dispatch_job *j = map_get_u64(&d->jobs, frame->session);
    if (channel != d->channel || j == NULL)
        return;                                         /* of a job that ended here first */
    bool makes_sense = frame->type == FRAME_JOB_WANT    ? on_want(j, frame)
                     : frame->type == FRAME_JOB_OUTCOME ? on_outcome(j, frame)
                     : frame->type == FRAME_JOB_DONE    ? on_done(j, frame)
                                                        : false;
    if (makes_sense)
        return;
    log_event(LOG_ERROR, "bad-frame", LOG_STR("from", "out"), LOG_STR("frame", frame_name(frame->type)));
    channel_drop(d, job_lost);
    tell_lost(d);
}

static void on_flushed(void *arg, struct channel *channel)
{
    (void)channel;
    serve_wants(arg);
}

static void on_closed(void *arg, struct channel *channel, const char *why)
{
    struct dispatch *d = arg;
    if (channel != d->channel)
        return;
    if (!d->is_stopping)
        log_event(LOG_WARNING, "channel-lost", LOG_STR("role", "out"), LOG_STR("why", why));
    d->channel = NULL;                                  /* it frees itself */
    all_end(d, d->is_stopping ? job_lost : job_died);
    tell_lost(d);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

struct dispatch *dispatch_new(const struct dispatch_options *options)
{
    struct dispatch *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->options = *options;
    map_init(&d->jobs, NULL);
    list_init(&d->wants);
    list_init(&d->start_task.list);
    d->start_task.run = start_jobs;
    d->wake.expired = on_wake;
    d->tick.expired = on_tick;
    queue_set_destination(options->queue, destination_of, d);
    loop_timer_set(options->loop, &d->tick, TICK_AGAIN_MS);
    return d;
}

void dispatch_free(struct dispatch *d)
{
    if (d == NULL)
        return;
    channel_drop(d, job_lost);
    loop_task_drop(&d->start_task);
    loop_timer_stop(d->options.loop, &d->wake);
    loop_timer_stop(d->options.loop, &d->tick);
    map_free(&d->jobs);
    free(d);
}

void dispatch_channel(struct dispatch *d, int fd)
{
    struct channel_owner owner = { .frame = on_frame, .flushed = on_flushed, .closed = on_closed, .arg = d };
    channel_drop(d, job_died);          /* its end has not been read yet */
    d->channel = channel_new(d->options.loop, fd, &owner);
    must(d->channel != NULL);
    dispatch_poke(d);
}

void dispatch_config(struct dispatch *d, const struct config *config)
{
    d->options.config = config;
    struct queue_options options = {
        .retry_first_s = config->retry_first_s, .retry_max_s = config->retry_max_s, .lifetime_s = config->queue_lifetime_s,
        .delay_warning_s = config->delay_warning_s, .concurrency = config->delivery_concurrency,
        .destination_concurrency = config->destination_concurrency, .history_days = config->history_days,
    };
    queue_configure(d->options.queue, &options);
    dispatch_poke(d);
}

void dispatch_stop(struct dispatch *d) { d->is_stopping = true; }
size_t dispatch_running(const struct dispatch *d) { return d->jobs.count; }
