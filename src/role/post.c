/* post: keeps the mail, schedules what goes out, and speaks IMAP and POP3 with readers who have logged in.
 *
 *     user       thurn-post
 *     network    none; streams from the edges only, each against a ticket from auth
 *     files      the store's folder in the data directory
 *     secrets    none
 *     threads    one besides the loop's, which does nothing but make batches durable (store/log.c) */
#include "role/post.h"

#include "os/child.h"
#include "os/log.h"
#include "os/sandbox.h"
#include "queue/ledger.h"
#include "role/listener.h"
#include "role/start.h"
#include "store/kept.h"

#include <stdio.h>
#include <stdlib.h>

enum { BACKGROUND_MS = 2, STOP_POLL_MS = 20, STOP_MS = 20 * 1000 };

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

void post_wait_add(struct post *post, struct post_wait *wait, uint64_t position)
{
    wait->position = position;
    struct list *after = &post->waits;
    while (after->prev != &post->waits && LIST_ENTRY(after->prev, struct post_wait, list)->position > position)
        after = after->prev;
    list_append(after, &wait->list);
    if (position == 0 || store_settled(post->store, position) != RC_MORE)
        loop_task_add(post->loop, &post->settle_task);
}

void post_wait_drop(struct post_wait *wait) { list_remove(&wait->list); }

/* Positions settle in order, so the first that has not ends the walk. */
static void settle_waits(struct post *post)
{
    while (!list_is_empty(&post->waits)) {
        struct post_wait *wait = LIST_ENTRY(post->waits.next, struct post_wait, list);
        enum rc rc = wait->position == 0 ? RC_OK : store_settled(post->store, wait->position);
        if (rc == RC_MORE)
            return;
        list_remove(&wait->list);
        wait->settled(wait, rc);
    }
}

/* Expunged mail went before its time: the administrator should know, and find a larger disk. */
static void tell_given_up(struct post *post)
{
    struct store_kept_figures kept;
    store_kept_figures(post->store, &kept);
    if (kept.given_up == post->kept_given_up)
        return;
    log_event(LOG_WARNING, "expunged-given-up", LOG_NUMBER("messages", kept.given_up - post->kept_given_up),
              LOG_STR("why", "the disk is getting full: they can no longer be restored"));
    post->kept_given_up = kept.given_up;
}

/* After a sync that failed only a store that is opened anew knows what is on the disk: this role ends, and the launcher starts the
 * next one. Those who wait are answered before. */
static void reopen_later(struct post *post)
{
    if (!store_needs_opening(post->store) || post->is_reopening)
        return;
    post->is_reopening = true;
    log_event(LOG_ERROR, "store-reopens", LOG_STR("why", "a sync has failed: nothing can be written before the store has been opened anew"));
    loop_timer_set(post->loop, &post->reopening, POST_REOPEN_MS);
}

static void on_reopening(struct loop_timer *timer)
{
    loop_stop(LIST_ENTRY(timer, struct post, reopening)->loop);
}

static void poll_store(struct post *post)
{
    bool has_more = store_poll(post->store, loop_time_ms(post->loop));
    reopen_later(post);
    tell_given_up(post);
    settle_waits(post);
    post_mail_go_on(post);
    dispatch_poke(post->dispatch);              /* what became durable may be due, or may have freed a destination */
    int again_ms = has_more ? BACKGROUND_MS : store_again_ms(post->store);
    if (again_ms > 0)
        loop_timer_set(post->loop, &post->background, again_ms);
}

static void on_settle_task(struct loop_task *task) { settle_waits(LIST_ENTRY(task, struct post, settle_task)); }
static void on_store_event(struct loop_watch *watch, unsigned events)
{
    (void)events;
    poll_store(LIST_ENTRY(watch, struct post, store_watch));
}
static void on_background(struct loop_timer *timer) { poll_store(LIST_ENTRY(timer, struct post, background)); }

static void on_tick(struct loop_timer *timer)
{
    struct post *post = LIST_ENTRY(timer, struct post, tick);
    poll_store(post);                           /* a checkpoint may be due though nothing happened */
    loop_timer_set(post->loop, &post->tick, POST_TICK_MS);
    post_directory_tick(post);
}

/* ---- tickets ----------------------------------------------------------------------------------------------------- */

void post_ticket_drop(struct post *post, struct ticket *ticket)
{
    (void)map_remove_u64(&post->tickets, ticket->number);
    list_remove(&ticket->list);
    free(ticket);
}

void post_ticket_add(struct post *post, uint64_t number, uint64_t account, uint32_t edge, struct slice name)
{
    if (post->tickets.count >= POST_TICKETS_MAX)
        post_ticket_drop(post, LIST_ENTRY(post->ticket_list.next, struct ticket, list));
    struct ticket *ticket = calloc(1, sizeof(*ticket));
    if (ticket == NULL || number == 0 || map_get_u64(&post->tickets, number) != NULL ||
        !map_put_u64(&post->tickets, number, ticket)) {
        free(ticket);                           /* the login fails where the ticket is used */
        return;
    }
    ticket->number = number;
    ticket->account = account;
    ticket->edge = edge;
    (void)slice_to_str(slice_sub(name, 0, sizeof(ticket->name) - 1), ticket->name, sizeof(ticket->name));
    list_append(&post->ticket_list, &ticket->list);
}

struct ticket *post_ticket_find(struct post *post, uint64_t number, uint32_t edge)
{
    struct ticket *ticket = map_get_u64(&post->tickets, number);
    if (ticket == NULL && post->auth != NULL) {
        channel_pump(post->auth);               /* auth wrote it before the edge could know of it */
        ticket = map_get_u64(&post->tickets, number);
    }
    return ticket != NULL && ticket->edge == edge ? ticket : NULL;
}

void post_ticket_drop_disabled(struct post *post)
{
    LIST_EACH(node, &post->ticket_list) {
        struct ticket *ticket = LIST_ENTRY(node, struct ticket, list);
        if (!routing_account_is_enabled(post->routing, ticket->account))
            post_ticket_drop(post, ticket);
    }
}

static void tickets_forget(struct post *post, uint32_t edge)
{
    LIST_EACH(node, &post->ticket_list) {
        struct ticket *ticket = LIST_ENTRY(node, struct ticket, list);
        if (ticket->edge == edge)
            post_ticket_drop(post, ticket);
    }
}

/* ---- channels ---------------------------------------------------------------------------------------------------- */

static void on_edge_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct post_edge *edge = arg;
    (void)channel;
    if (frame->type == FRAME_OPEN) {
        post_session_open(edge, frame);
    } else if (frame->type == FRAME_TICKET_END) {
        struct ticket *ticket = post_ticket_find(edge->post, frame->field[0].number, edge->index);
        if (ticket != NULL)
            post_ticket_drop(edge->post, ticket);
    } else {
        post_mail_frame(edge, frame);
    }
}

static void edge_gone(struct post_edge *edge)
{
    edge->channel = NULL;
    post_mail_forget_all(edge);
    tickets_forget(edge->post, edge->index);
}

static void on_edge_closed(void *arg, struct channel *channel, const char *why)
{
    struct post_edge *edge = arg;
    (void)why;
    if (edge->channel == channel)
        edge_gone(edge);
}

static void on_auth_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct post *post = arg;
    (void)channel;
    if (frame->type == FRAME_TICKET)
        post_ticket_add(post, frame->field[0].number, frame->field[1].number, (uint32_t)frame->field[2].number,
                        frame->field[3].bytes);
    else
        post_directory_frame(post, frame);
}

static void on_auth_closed(void *arg, struct channel *channel, const char *why)
{
    struct post *post = arg;
    (void)why;
    if (post->auth == channel)
        post->auth = NULL;                      /* the routing table in force stays until the new auth sends its own */
}

static void edge_channel(struct post *post, uint64_t index, int fd)
{
    must(index <= POST_LOCAL);
    struct post_edge *edge = &post->edges[index];
    struct channel_owner owner = { .frame = on_edge_frame, .closed = on_edge_closed, .arg = edge };
    struct channel *old = edge->channel;
    if (old != NULL)
        edge_gone(edge);
    edge->channel = channel_new(post->loop, fd, &owner);
    must(edge->channel != NULL);
    channel_hold(edge->channel, post->are_edges_held);
    if (old != NULL)
        channel_free(old);
}

static void auth_channel(struct post *post, int fd)
{
    struct channel_owner owner = { .frame = on_auth_frame, .closed = on_auth_closed, .arg = post };
    struct channel *old = post->auth;
    post->auth = channel_new(post->loop, fd, &owner);
    must(post->auth != NULL);
    if (old != NULL)
        channel_free(old);
}

static void channel_to(struct post *post, struct frame *frame)
{
    int fd = frame->fd;
    frame->fd = -1;
    if (frame->field[0].number == ROLE_EDGE) {
        must(frame->field[1].number < POST_EDGES_MAX);
        edge_channel(post, frame->field[1].number, fd);
    } else if (frame->field[0].number == ROLE_LOCAL) {
        edge_channel(post, POST_LOCAL, fd);
    } else if (frame->field[0].number == ROLE_AUTH) {
        auth_channel(post, fd);
    } else {
        dispatch_channel(post->dispatch, fd);
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static struct queue_options queue_options_of(const struct post *post)
{
    const struct config *config = &post->config;
    return (struct queue_options){
        .retry_first_s = config->retry_first_s, .retry_max_s = config->retry_max_s, .lifetime_s = config->queue_lifetime_s,
        .delay_warning_s = config->delay_warning_s, .concurrency = config->delivery_concurrency,
        .destination_concurrency = config->destination_concurrency, .history_days = config->history_days,
        .hash_seed = { post->hash_seed[0], post->hash_seed[1] },
    };
}

/* What the process before this one died of, if it was a message: once may be chance, twice is not. */
static void tell_death(struct post *post)
{
    struct fault fault;
    char text[QUEUE_ID_TEXT];
    uint64_t id, wait;
    uint32_t deaths;
    enum store_handling what = store_died_handling(post->store, &id, &deaths);
    bool is_set_aside = deaths >= HANDLING_DEATHS_MAX;
    if (what == HANDLING_READ)
        log_event(is_set_aside ? LOG_ERROR : LOG_WARNING, is_set_aside ? "message-set-aside" : "died-reading", LOG_NUMBER("body", id),
                  LOG_NUMBER("deaths", deaths), LOG_STR("why", is_set_aside ? "post died twice while it parsed this message for a reader: it is not "
                                                                              "parsed any more, but can be fetched as it is"
                                                                            : "post died while it parsed this message for a reader"));
    if (what != HANDLING_REPORT)
        return;
    queue_id_write(id, text);
    enum rc rc = queue_set_aside(post->queue, loop_time_ms(post->loop), &id, &wait, &fault);
    if (rc == RC_OK)
        log_event(LOG_ERROR, "message-set-aside", LOG_STR("id", text), LOG_NUMBER("deaths", deaths),
                  LOG_STR("why", "post died twice while it wrote a report about this message: it is held"));
    else if (rc != RC_NONE)
        log_fault(LOG_ERROR, "message-not-set-aside", &fault);
    else
        log_event(LOG_WARNING, "died-reporting", LOG_STR("id", text), LOG_STR("why", "post died while it wrote a report about this message"));
}

static void out_is_lost(void *arg)
{
    struct post *post = arg;
    channel_send(post->launcher, FRAME_CHANNEL_LOST, 0, (uint64_t)ROLE_OUT, (uint64_t)0);
}

static int64_t clock_ms(void *loop) { return loop_time_ms(loop); }

/* At FRAME_START: the configuration and the channels are there, and nothing has been given up yet. */
static enum rc start(void *self, struct fault *fault)
{
    struct post *post = self;
    struct queue_options options = queue_options_of(post);
    (void)snprintf(post->store_dir, sizeof(post->store_dir), "%s/store", post->config.data_dir);
    post->queue = queue_new(&options);
    must(post->queue != NULL);
    struct store_options store_options = {
        .dir = post->store_dir, .files = &file_ops_real, .rider = queue_rider(post->queue),
        .hash_seed = { post->hash_seed[0], post->hash_seed[1] },
        .keep_expunged_s = post->config.keep_expunged_s, .clock_ms = clock_ms, .clock = post->loop,
    };
    if (store_open(&store_options, &post->store, fault) != RC_OK)
        return fault->rc;
    queue_attach(post->queue, post->store);
    tell_death(post);
    struct queue_reporter reporter = {
        .self = post, .host_name = slice_from_str(post->config.host_name), .route = post_route_report,
    };
    queue_set_reporter(post->queue, &reporter);
    struct dispatch_options dispatch_options = {
        .queue = post->queue, .store = post->store, .loop = post->loop, .config = &post->config,
        .lost = out_is_lost, .lost_arg = post,
    };
    post->dispatch = dispatch_new(&dispatch_options);
    must(post->dispatch != NULL);
    post->store_watch = (struct loop_watch){ .fd = store_event_fd(post->store), .events = LOOP_READ, .ready = on_store_event };
    must(loop_watch(post->loop, &post->store_watch));
    post->background.expired = on_background;
    post->tick.expired = on_tick;
    post->reopening.expired = on_reopening;
    loop_timer_set(post->loop, &post->tick, POST_TICK_MS);
    dispatch_poke(post->dispatch);
    return RC_OK;
}

static bool is_quiet(const struct post *post)
{
    if (!list_is_empty(&post->waits) || dispatch_running(post->dispatch) != 0)
        return false;
    for (size_t i = 0; i <= POST_LOCAL; i++)
        if (post->edges[i].transactions.count != 0)
            return false;
    return post->session_count == 0;
}

static void on_stop_timer(struct loop_timer *timer)
{
    struct post *post = LIST_ENTRY(timer, struct post, stop_timer);
    if (is_quiet(post) || loop_now_ms(post->loop) >= post->stop_until_ms)
        loop_stop(post->loop);
    else
        loop_timer_set(post->loop, &post->stop_timer, STOP_POLL_MS);
}

static void stop(struct post *post)
{
    post->is_stopping = true;
    post_session_stop_all(post, "the server is stopping, please come again");
    dispatch_stop(post->dispatch);
    post->stop_timer.expired = on_stop_timer;
    post->stop_until_ms = loop_now_ms(post->loop) + STOP_MS;
    loop_timer_set(post->loop, &post->stop_timer, STOP_POLL_MS);
}

static enum rc configure(struct post *post, struct slice text, struct fault *fault)
{
    struct config next;
    if (config_decode(text, &next, fault) != RC_OK)
        return fault->rc;
    struct config old = post->config;
    post->config = next;
    if (post->dispatch != NULL) {
        struct queue_reporter reporter = {
            .self = post, .host_name = slice_from_str(post->config.host_name), .route = post_route_report,
        };
        queue_set_reporter(post->queue, &reporter);
        store_keep_expunged(post->store, post->config.keep_expunged_s);
        dispatch_config(post->dispatch, &post->config);
    }
    if (post->auth != NULL && post->routing != NULL)
        channel_send(post->auth, FRAME_DIRECTORY, 0, (uint64_t)0);      /* the postmaster, the separator: the table is made anew */
    config_free(&old);
    return RC_OK;
}

static enum rc on_launcher(void *self, struct frame *frame, struct fault *fault)
{
    struct post *post = self;
    if (frame->type == FRAME_CONFIG)
        return configure(post, frame->field[0].bytes, fault);
    if (frame->type == FRAME_CHANNEL)
        channel_to(post, frame);
    else if (frame->type == FRAME_LISTENER)
        post_control_begin(post, frame);
    else if (frame->type == FRAME_STOP)
        stop(post);
    return RC_OK;
}

static void figures(void *self, struct buf *json)
{
    const struct post *post = self;
    struct store_figures store;
    size_t recipients;
    size_t entries = queue_count(post->queue, &recipients);
    struct store_kept_figures kept;
    store_figures(post->store, &store);
    store_kept_figures(post->store, &kept);
    (void)buf_printf(json,
                     "{\"sessions\":%zu,\"accepted\":%llu,\"refused\":%llu,\"queued\":%zu,\"queued-recipients\":%zu,"
                     "\"mailboxes\":%llu,\"messages\":%llu,\"records\":%llu,\"syncs\":%llu,\"bytes-written\":%llu,"
                     "\"kept-expunged\":%llu,\"kept-expunged-bytes\":%llu,\"kept-expunged-given-up\":%llu,\"ledger\":{",
                     post->session_count, (unsigned long long)post->messages_accepted,
                     (unsigned long long)post->messages_refused, entries, recipients, (unsigned long long)store.mailboxes,
                     (unsigned long long)store.messages, (unsigned long long)store.records, (unsigned long long)store.syncs,
                     (unsigned long long)store.bytes_written, (unsigned long long)kept.messages, (unsigned long long)kept.bytes,
                     (unsigned long long)kept.given_up);
    struct ledger ledger;
    ledger_take(post->queue, post->store, false, &ledger);
    (void)ledger_write_json(&ledger, json);
    (void)buf_append_str(json, "}}");
}

void post_init(struct post *post, struct loop *loop)
{
    *post = (struct post){ .loop = loop, .hash_seed = { random_u64(), random_u64() } };
    post->settle_task.run = on_settle_task;
    list_init(&post->settle_task.list);
    charset_load(&post->charsets);              /* a search in a body may meet any, when files are gone */
    map_init(&post->tickets, NULL);
    list_init(&post->ticket_list);
    list_init(&post->waits);
    list_init(&post->sessions);
    for (uint32_t i = 0; i <= POST_LOCAL; i++) {
        post->edges[i].post = post;
        post->edges[i].index = i;
        map_init(&post->edges[i].transactions, NULL);
    }
}

int role_post_main(void)
{
    struct post *post = calloc(1, sizeof(*post));
    struct loop *loop = loop_new();
    must(post != NULL && loop != NULL);
    post_init(post, loop);
    struct role_self self = {
        .role = ROLE_POST, .launcher = &post->launcher, .loop = post->loop, .self = post, .frame = on_launcher, .start = start, .figures = figures,
        .powers = POWER_LOOP | POWER_RECEIVE_FDS | POWER_ACCEPT | POWER_FILES | POWER_THREADS, .data_folder = "store",
    };
    int status = role_run(&self);
    post_append_forget(post);
    if (post->dispatch != NULL)
        dispatch_free(post->dispatch);
    if (post->store != NULL)
        store_close(post->store);
    return status;
}
