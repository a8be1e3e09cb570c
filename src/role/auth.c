/* auth: keeps the directory and judges credentials. The slow hash runs here, so that it blocks nobody else.
 *
 *     user       thurn-auth
 *     network    none
 *     files      the directory's folder in the data directory
 *     secrets    the accounts' password verifiers */
#include "role/auth.h"

#include "config/directory_command.h"
#include "os/child.h"
#include "os/log.h"
#include "os/sandbox.h"
#include "role/control.h"
#include "role/listener.h"
#include "role/start.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the directory as post gets it ------------------------------------------------------------------------------- */

static bool send_domain(void *arg, struct slice domain)
{
    channel_send(((struct auth *)arg)->post, FRAME_DOMAIN, 0, domain);
    return true;
}

static bool send_account(void *arg, const struct directory_account *account)
{
    channel_send(((struct auth *)arg)->post, FRAME_ACCOUNT, 0, account->id, account->name, account->quota_bytes,
                 (uint64_t)account->is_enabled);
    return true;
}

static bool send_alias(void *arg, const struct directory_alias *alias)
{
    channel_send(((struct auth *)arg)->post, FRAME_ALIAS, 0, alias->address, alias->targets);
    return true;
}

/* All of it, anew: post swaps it in when the last row is there. Without that end it keeps what it has, until the next attempt. */
static void send_directory(struct auth *auth)
{
    struct fault fault;
    uint64_t version = directory_version(auth->directory);
    if (auth->post == NULL)
        return;
    channel_send(auth->post, FRAME_DIRECTORY, 0, version);
    if (directory_each_domain(auth->directory, send_domain, auth, &fault) != RC_OK ||
        directory_each_account(auth->directory, send_account, auth, &fault) != RC_OK ||
        directory_each_alias(auth->directory, send_alias, auth, &fault) != RC_OK) {
        log_fault(LOG_ERROR, "directory", &fault);
        loop_timer_set(auth->loop, &auth->again, AUTH_AGAIN_MS);
        return;
    }
    channel_send(auth->post, FRAME_DIRECTORY_END, 0, version);
    auth->sent_version = version;
}

static void on_again(struct loop_timer *timer) { send_directory(LIST_ENTRY(timer, struct auth, again)); }

/* ---- channels ---------------------------------------------------------------------------------------------------- */

static void on_edge_frame(void *arg, struct channel *channel, struct frame *frame)
{
    (void)channel;
    if (frame->type == FRAME_AUTH || frame->type == FRAME_AUTH_END)
        auth_exchange_frame(arg, frame);
}

static void on_edge_closed(void *arg, struct channel *channel, const char *why)
{
    struct auth_edge *edge = arg;
    (void)why;
    if (edge->channel != channel)
        return;
    edge->channel = NULL;
    auth_exchange_forget_all(edge);
}

/* ---- changes that post has still to take over -------------------------------------------------------------------- */

struct change {                         /* a command that is done here; its caller hears when post has it too */
    struct list list;
    struct control_call *call;
    uint64_t version;
};

/* Those up to a version; without post there is nothing to wait for. */
static void tell_changes(struct auth *auth, uint64_t version)
{
    struct fault fine = { .rc = RC_OK };
    LIST_EACH(node, &auth->changes) {
        struct change *change = LIST_ENTRY(node, struct change, list);
        if (change->version > version)
            continue;
        control_done(change->call, &fine);
        list_remove(&change->list);
        free(change);
    }
}

static void on_post_frame(void *arg, struct channel *channel, struct frame *frame)
{
    (void)channel;
    if (frame->type == FRAME_DIRECTORY_END)
        tell_changes(arg, frame->field[0].number);
    else if (frame->type == FRAME_DIRECTORY)
        send_directory(arg);
}

static void on_post_closed(void *arg, struct channel *channel, const char *why)
{
    struct auth *auth = arg;
    (void)why;
    if (auth->post != channel)
        return;
    auth->post = NULL;
    channel_send(auth->launcher, FRAME_CHANNEL_LOST, 0, (uint64_t)ROLE_POST, (uint64_t)0);
    tell_changes(auth, UINT64_MAX);
}

static void edge_channel(struct auth *auth, uint64_t index, int fd)
{
    must(index < AUTH_EDGES_MAX);
    struct auth_edge *edge = &auth->edges[index];
    struct channel_owner owner = { .frame = on_edge_frame, .closed = on_edge_closed, .arg = edge };
    struct channel *old = edge->channel;
    auth_exchange_forget_all(edge);
    edge->channel = channel_new(auth->loop, fd, &owner);
    must(edge->channel != NULL);
    channel_hold_secrets(edge->channel);
    if (old != NULL)
        channel_free(old);
}

static void post_channel(struct auth *auth, int fd)
{
    struct channel_owner owner = { .frame = on_post_frame, .closed = on_post_closed, .arg = auth };
    struct channel *old = auth->post;
    auth->post = channel_new(auth->loop, fd, &owner);
    must(auth->post != NULL);
    if (old != NULL)
        channel_free(old);
    send_directory(auth);
}

static void channel_to(struct auth *auth, struct frame *frame)
{
    int fd = frame->fd;
    frame->fd = -1;
    if (frame->field[0].number == ROLE_EDGE)
        edge_channel(auth, frame->field[1].number, fd);
    else
        post_channel(auth, fd);
}

/* ---- the administrator ------------------------------------------------------------------------------------------- */

static void on_control(void *arg, struct control_call *call, struct slice command, struct slice arguments)
{
    struct auth *auth = arg;
    struct fault fault = { .rc = RC_OK };
    enum rc rc = directory_command(auth->directory, command, arguments, loop_time_ms(auth->loop) / 1000, control_row, call, &fault);
    if (rc == RC_OK)
        fault.rc = RC_OK;
    if (directory_version(auth->directory) == auth->sent_version) {
        control_done(call, &fault);
        return;
    }
    send_directory(auth);
    struct change *change = rc == RC_OK && auth->post != NULL ? calloc(1, sizeof(*change)) : NULL;
    if (change == NULL) {
        control_done(call, &fault);
        return;
    }
    change->call = call;
    change->version = directory_version(auth->directory);
    list_append(&auth->changes, &change->list);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static enum rc start(void *self, struct fault *fault)
{
    struct auth *auth = self;
    char folder[4096];
    (void)snprintf(folder, sizeof(folder), "%s/directory", auth->config.data_dir);
    if (directory_open(folder, &auth->directory, fault) != RC_OK ||
        directory_secret(auth->directory, auth->secret, fault) != RC_OK)
        return fault->rc;
    return RC_OK;
}

static enum rc on_launcher(void *self, struct frame *frame, struct fault *fault)
{
    struct auth *auth = self;
    if (frame->type == FRAME_CONFIG) {
        config_free(&auth->config);
        return config_decode(frame->field[0].bytes, &auth->config, fault);
    }
    if (frame->type == FRAME_CHANNEL) {
        channel_to(auth, frame);
    } else if (frame->type == FRAME_LISTENER) {
        control_free(auth->control);
        auth->control = control_listen(auth->loop, frame->fd, on_control, auth);
        frame->fd = -1;
    } else if (frame->type == FRAME_STOP) {
        loop_stop(auth->loop);
    }
    return RC_OK;
}

static void figures(void *self, struct buf *json)
{
    const struct auth *auth = self;
    (void)buf_printf(json, "{\"exchanges\":%zu,\"succeeded\":%llu,\"failed\":%llu}", auth->exchange_count,
                     (unsigned long long)auth->succeeded, (unsigned long long)auth->failed);
}

int role_auth_main(void)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    must(auth != NULL);
    uint64_t seed[2] = { random_u64(), random_u64() };
    auth->loop = loop_new();
    must(auth->loop != NULL);
    guesses_init(&auth->guesses, seed);
    list_init(&auth->changes);
    auth->again.expired = on_again;
    for (uint32_t i = 0; i < AUTH_EDGES_MAX; i++) {
        auth->edges[i].auth = auth;
        auth->edges[i].index = i;
        list_init(&auth->edges[i].exchanges);
    }
    struct role_self self = {
        .role = ROLE_AUTH, .launcher = &auth->launcher, .loop = auth->loop, .self = auth, .frame = on_launcher, .start = start, .figures = figures,
        .powers = POWER_LOOP | POWER_RECEIVE_FDS | POWER_ACCEPT | POWER_FILES, .data_folder = "directory",
    };
    int status = role_run(&self);
    if (auth->directory != NULL)
        directory_close(auth->directory);
    return status;
}
