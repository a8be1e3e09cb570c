/* The administrator at the launcher: status, reload, stop (control.sock). */
#include "role/launcher.h"

#include "base/text.h"
#include "os/log.h"
#include "role/control.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { STATUS_TIMEOUT_MS = 2000 };

static const char *const state_names[] = { "down", "starting", "ready", "ending" };

struct status_call {                    /* collects the answers of all roles */
    struct list list;
    struct launcher *launcher;
    struct control_call *call;
    uint32_t number;
    bool waits_for[LAUNCHER_PROCESSES_MAX];
    size_t waiting;
    struct loop_timer timer;
};

static void append_text(struct buf *json, const char *name, const char *text)
{
    (void)buf_printf(json, ",\"%s\":", name);
    (void)json_append_string(json, slice_from_str(text));
}

static void append_process(struct buf *json, const struct process *process)
{
    int64_t uptime_ms = process->state == PROCESS_DOWN ? 0 : loop_now_ms(process->launcher->loop) - process->started_ms;
    (void)buf_printf(json, "{\"role\":\"%s\",\"index\":%u,\"pid\":%ld,\"state\":\"%s\",\"uptime_s\":%lld,\"restarts\":%u",
                     role_name(process->role), process->index, process->state == PROCESS_DOWN ? 0L : (long)process->pid,
                     state_names[process->state], (long long)(uptime_ms / 1000), process->restarts);
    append_text(json, "sandbox", process->sandbox);
}

static void row(const struct status_call *status, const struct process *process, struct slice figures)
{
    struct buf json;
    buf_init(&json, FRAME_MAX / 2);
    append_process(&json, process);
    if (figures.len != 0) {
        (void)buf_append_str(&json, ",\"figures\":");
        (void)buf_append(&json, figures);       /* a role's own words: one JSON object */
    }
    (void)buf_append_byte(&json, '}');
    control_row(status->call, buf_slice(&json));
    buf_free(&json);
}

static void finish(struct status_call *status)
{
    struct fault fine = { .rc = RC_OK };
    loop_timer_stop(status->launcher->loop, &status->timer);
    for (size_t i = 0; i < status->launcher->process_count; i++)
        if (status->waits_for[i])
            row(status, &status->launcher->process[i], SLICE_NONE);
    control_done(status->call, &fine);
    list_remove(&status->list);
    free(status);
}

static void on_timeout(struct loop_timer *timer) { finish(LIST_ENTRY(timer, struct status_call, timer)); }

static void answered(struct status_call *status, const struct process *process, struct slice figures)
{
    size_t place = (size_t)(process - status->launcher->process);
    if (!status->waits_for[place])
        return;
    status->waits_for[place] = false;
    status->waiting--;
    row(status, process, figures);
    if (status->waiting == 0)
        finish(status);
}

void launcher_status_answer(struct process *process, uint32_t call, struct slice json)
{
    LIST_EACH(node, &process->launcher->status_calls) {
        struct status_call *status = LIST_ENTRY(node, struct status_call, list);
        if (status->number == call)
            answered(status, process, json);
    }
}

void launcher_status_gone(struct process *process)
{
    LIST_EACH(node, &process->launcher->status_calls)
        answered(LIST_ENTRY(node, struct status_call, list), process, SLICE_NONE);
}

static void row_of_itself(struct launcher *launcher, struct control_call *call)
{
    struct buf json;
    buf_init(&json, 64 * 1024);
    (void)buf_printf(&json, "{\"role\":\"launcher\",\"index\":0,\"pid\":%ld,\"state\":\"%s\",\"uptime_s\":%lld,\"restarts\":0",
                     (long)getpid(), launcher->is_stopping ? "ending" : launcher->is_ready ? "ready" : "starting",
                     (long long)((loop_now_ms(launcher->loop) - launcher->started_ms) / 1000));
    append_text(&json, "sandbox", "none: it starts the others, reads the configuration and binds the ports");
    (void)buf_append_byte(&json, '}');
    control_row(call, buf_slice(&json));
    buf_free(&json);
}

static void on_status(struct launcher *launcher, struct control_call *call)
{
    struct status_call *status = calloc(1, sizeof(*status));
    must(status != NULL);
    status->launcher = launcher;
    status->call = call;
    status->number = ++launcher->next_call;
    status->timer.expired = on_timeout;
    list_append(&launcher->status_calls, &status->list);
    row_of_itself(launcher, call);
    for (size_t i = 0; i < launcher->process_count; i++) {
        struct process *process = &launcher->process[i];
        if (process->state == PROCESS_READY && process_is_running(process)) {
            status->waits_for[i] = true;
            status->waiting++;
            channel_send(process->channel, FRAME_STATUS, status->number);
        } else {
            row(status, process, SLICE_NONE);
        }
    }
    if (status->waiting == 0)
        finish(status);
    else
        loop_timer_set(launcher->loop, &status->timer, STATUS_TIMEOUT_MS);
}

static void on_control(void *arg, struct control_call *call, struct slice command, struct slice arguments)
{
    struct launcher *launcher = arg;
    struct fault fault = { .rc = RC_OK };
    (void)arguments;
    if (slice_equal(command, SLICE("status")) && launcher->is_ready) {
        on_status(launcher, call);
        return;
    }
    if (slice_equal(command, SLICE("status"))) {
        (void)fault_temp(&fault, 0, "the server is starting");
    } else if (slice_equal(command, SLICE("reload"))) {
        if (launcher_reload(launcher, &fault) == RC_OK)
            fault.rc = RC_OK;
    } else if (slice_equal(command, SLICE("stop"))) {
        launcher_stop(launcher, EXIT_SUCCESS);
    } else {
        (void)fault_perm(&fault, 0, "no such command: status, reload or stop");
    }
    control_done(call, &fault);
}

enum rc launcher_control_begin(struct launcher *launcher, struct fault *fault)
{
    for (size_t i = 0; i < launcher->socket_count; i++) {
        struct socket *socket = &launcher->socket[i];
        if (socket->kind != LISTENER_CONTROL || socket->role != ROLE_LAUNCHER)
            continue;
        int fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return fault_temp(fault, 0, "out of descriptors");
        launcher->control = control_listen(launcher->loop, fd, on_control, launcher);
    }
    return RC_OK;
}
