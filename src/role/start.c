/* How every role begins: see start.h. */
#include "role/start.h"

#include "config/config.h"
#include "os/child.h"
#include "os/log.h"
#include "os/sandbox.h"
#include "os/tls.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LAUNCHER_FD = 3 };

struct role_life {
    const struct role_self *self;
    struct channel *launcher;
    struct config config;               /* what this file itself needs of it: users, folders, the log */
    int log_fd;                         /* 2 until the launcher sends another */
    bool is_started;
    int status;
};

static void fail(struct role_life *life, const struct fault *fault)
{
    channel_send(life->launcher, FRAME_FAILED, 0, fault);
    life->status = EXIT_FAILURE;        /* the launcher reads it and closes the channel, which ends the loop */
}

static enum rc confine(struct role_life *life, struct buf *report, struct fault *fault)
{
    const struct role_self *self = life->self;
    char user[128], folder[4096];
    const char *paths[] = { folder };
    struct sandbox sandbox = { .powers = self->powers };
    if (life->config.user != NULL && geteuid() == 0) {
        (void)snprintf(user, sizeof(user), "%s-%s", life->config.user, role_name(self->role));
        sandbox.user = user;
    }
    if (self->data_folder != NULL) {
        (void)snprintf(folder, sizeof(folder), "%s/%s", life->config.data_dir, self->data_folder);
        sandbox.paths = paths;
        sandbox.path_count = 1;
    }
    sandbox.read_paths = self->read_paths;
    while (self->read_paths != NULL && self->read_paths[sandbox.read_path_count] != NULL)
        sandbox.read_path_count++;
    return sandbox_enter(&sandbox, report, fault);
}

/* The user changes first, so that what `start` creates belongs to it; then the role opens its things, then the rest goes. */
static void start(struct role_life *life)
{
    const struct role_self *self = life->self;
    struct fault fault = { .rc = RC_OK };
    struct buf report;
    buf_init(&report, 4096);
    enum rc rc = confine(life, &report, &fault);
    if (rc == RC_OK && self->start != NULL)
        rc = self->start(self->self, &fault);
    if (rc != RC_OK) {
        fail(life, &fault);
    } else {
        life->is_started = true;
        channel_send(life->launcher, FRAME_READY, 0, buf_slice(&report));
    }
    buf_free(&report);
}

static void answer_status(struct role_life *life, uint32_t session)
{
    struct buf json;
    buf_init(&json, 64 * 1024);
    if (life->self->figures != NULL && life->is_started)
        life->self->figures(life->self->self, &json);
    channel_send(life->launcher, FRAME_STATUS_ANSWER, session, buf_len(&json) != 0 ? buf_slice(&json) : SLICE("{}"));
    buf_free(&json);
}

static enum rc note_config(struct role_life *life, struct slice text, struct fault *fault)
{
    config_free(&life->config);
    enum rc rc = config_decode(text, &life->config, fault);
    if (rc == RC_OK)
        log_open(role_name(life->self->role), life->log_fd, life->config.log_json);
    return rc;
}

static void reopen_log(struct role_life *life, struct frame *frame)
{
    if (frame->fd < 0)
        return;
    if (life->log_fd > 2)
        (void)close(life->log_fd);
    life->log_fd = frame->fd;
    frame->fd = -1;
    log_open(role_name(life->self->role), life->log_fd, life->config.log_json);
}

/* What is this file's own business goes no further; a configuration is everybody's. */
static bool took_frame(struct role_life *life, struct frame *frame)
{
    if (frame->type == FRAME_START)
        start(life);
    else if (frame->type == FRAME_STOP && !life->is_started)
        loop_stop(life->self->loop);            /* nothing that could be stopped is there: not started yet, or that failed */
    else if (frame->type == FRAME_STATUS)
        answer_status(life, frame->session);
    else if (frame->type == FRAME_LOG_REOPEN)
        reopen_log(life, frame);
    else
        return false;
    return true;
}

static void on_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct role_life *life = arg;
    struct fault fault = { .rc = RC_OK };
    enum rc rc = RC_OK;
    (void)channel;
    if (took_frame(life, frame))
        return;
    if (frame->type == FRAME_CONFIG)
        rc = note_config(life, frame->field[0].bytes, &fault);
    if (rc == RC_OK)
        rc = life->self->frame(life->self->self, frame, &fault);
    if (rc == RC_OK)
        return;
    if (life->is_started)
        log_fault(LOG_ERROR, "launcher-frame", &fault);
    else
        fail(life, &fault);
}

static void on_closed(void *arg, struct channel *channel, const char *why)
{
    struct role_life *life = arg;
    (void)channel;
    (void)why;
    loop_stop(life->self->loop);
}

static void ignore_signals(void)
{
    /* A terminal's Ctrl-C reaches every role: the launcher ends them in order. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
}

int role_run(const struct role_self *self)
{
    struct role_life life = { .self = self, .log_fd = 2, .status = EXIT_SUCCESS };
    struct channel_owner owner = { .frame = on_frame, .closed = on_closed, .arg = &life };
    ignore_signals();
    tls_init();
    log_open(role_name(self->role), 2, false);
    if (fcntl(LAUNCHER_FD, F_GETFD) < 0 || (life.launcher = channel_new(self->loop, LAUNCHER_FD, &owner)) == NULL) {
        (void)fprintf(stderr, "thurn: this role is started by \"thurn serve\", not by hand\n");
        return EXIT_FAILURE;
    }
    channel_hold_secrets(life.launcher);        /* keys, passwords of routes */
    if (self->launcher != NULL)
        *self->launcher = life.launcher;
    loop_run(self->loop);
    return life.status;
}
