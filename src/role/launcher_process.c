/* Role processes: see launcher.h.
 *
 * A channel between two roles is made when both have said that they are ready, and a role gets its listening sockets after
 * that: nobody is spoken to before he can answer, and no stranger's byte is read before the sandbox is closed. */
#include "role/launcher.h"

#include "os/child.h"
#include "os/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSWORD_MAX_BYTES = 4096 };

/* Who talks to whom. */
static const struct { enum role a, b; } links[] = {
    { ROLE_EDGE, ROLE_POST }, { ROLE_EDGE, ROLE_AUTH }, { ROLE_EDGE, ROLE_KEYS }, { ROLE_AUTH, ROLE_POST }, { ROLE_POST, ROLE_OUT },
    { ROLE_LOCAL, ROLE_POST },
};

bool process_is_running(const struct process *process) { return process->channel != NULL; }

static void add(struct launcher *launcher, enum role role, uint32_t index)
{
    struct process *process = &launcher->process[launcher->process_count++];
    process->launcher = launcher;
    process->role = role;
    process->index = index;
}

void process_init_all(struct launcher *launcher)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t edges = launcher->config.edges != 0 ? launcher->config.edges : cores > 0 ? (uint32_t)cores : 1;
    add(launcher, ROLE_KEYS, 0);
    add(launcher, ROLE_AUTH, 0);
    add(launcher, ROLE_POST, 0);
    add(launcher, ROLE_OUT, 0);
    add(launcher, ROLE_LOCAL, 0);
    for (uint32_t i = 0; i < edges && i < LAUNCHER_EDGES_MAX; i++)
        add(launcher, ROLE_EDGE, i);
}

/* ---- what a role is handed --------------------------------------------------------------------------------------- */

void process_send_config(struct process *process)
{
    struct buf text;
    buf_init(&text, FRAME_MAX / 2);
    must(config_encode(&process->launcher->config, &text));
    channel_send(process->channel, FRAME_CONFIG, 0, buf_slice(&text));
    buf_free(&text);
}

void process_send_log(struct process *process)
{
    if (process->launcher->log_fd >= 0)
        channel_send_fd(process->channel, fcntl(process->launcher->log_fd, F_DUPFD_CLOEXEC, 3), FRAME_LOG_REOPEN, 0);
}

void process_send_socket(struct process *process, const struct socket *socket)
{
    if (socket->role != process->role)
        return;
    channel_send_fd(process->channel, fcntl(socket->fd, F_DUPFD_CLOEXEC, 3), FRAME_LISTENER, 0, (uint64_t)socket->kind,
                    (uint64_t)socket->protocol, slice_from_str(socket->name));
}

void process_forget_pair(struct buf *certificate, struct buf *key)
{
    if (key->data != NULL)
        explicit_bzero(key->data, key->cap);
    buf_free(key);
    buf_free(certificate);
}

/* Both or neither. */
enum rc process_read_pair(const struct config *config, struct buf *certificate, struct buf *key, struct fault *fault)
{
    enum rc rc = RC_OK;
    buf_init(certificate, LAUNCHER_PEM_MAX + 32 * 1024);
    buf_init(key, LAUNCHER_PEM_MAX + 32 * 1024);
    if (config->tls_certificate != NULL)
        rc = file_read_all(config->tls_certificate, LAUNCHER_PEM_MAX, certificate, fault);
    if (rc == RC_OK && config->tls_key != NULL)
        rc = file_read_all(config->tls_key, LAUNCHER_PEM_MAX, key, fault);
    if (rc == RC_OK)
        return RC_OK;
    process_forget_pair(certificate, key);
    return rc == RC_NONE ? RC_PERM : rc;
}

void process_send_pem(struct process *process)
{
    const struct launcher *launcher = process->launcher;
    if (process->role == ROLE_KEYS && buf_len(&launcher->key) != 0)
        channel_send(process->channel, FRAME_KEY, 0, launcher->key_number, buf_slice(&launcher->key));
    if (process->role == ROLE_EDGE && buf_len(&launcher->certificate) != 0)
        channel_send(process->channel, FRAME_CERTIFICATE, 0, launcher->key_number, buf_slice(&launcher->certificate));
}

enum rc process_send_secrets(struct process *out, struct fault *fault)
{
    const struct config *config = &out->launcher->config;
    for (size_t i = 0; i < config->route_count; i++) {
        struct buf text;
        if (config->routes[i].password_file == NULL)
            continue;
        buf_init(&text, PASSWORD_MAX_BYTES + 1);
        enum rc rc = file_read_all(config->routes[i].password_file, PASSWORD_MAX_BYTES - 1, &text, fault);
        if (rc != RC_OK) {
            buf_free(&text);
            return rc == RC_NONE ? RC_PERM : rc;
        }
        struct slice rest = buf_slice(&text);
        struct slice password = slice_trim(slice_take_until(&rest, '\n'));
        channel_send(out->channel, FRAME_SECRET, 0, slice_from_str(config->routes[i].domain), password);
        explicit_bzero(text.data, text.cap);
        buf_free(&text);
    }
    return RC_OK;
}

static enum rc hand_over(struct process *process, struct fault *fault)
{
    process_send_log(process);
    process_send_config(process);
    process_send_pem(process);
    return process->role == ROLE_OUT ? process_send_secrets(process, fault) : RC_OK;
}

/* ---- channels that broke --------------------------------------------------------------------------------------- */

static void on_relink(struct loop_timer *timer)
{
    struct process *process = LIST_ENTRY(timer, struct process, relink);
    if (process->state == PROCESS_READY && process_is_running(process))
        process_is_ready(process);
}

static void relink_later(struct process *process)
{
    process->relink.expired = on_relink;
    loop_timer_set(process->launcher->loop, &process->relink, LAUNCHER_RELINK_MS);
}

/* Mostly the other one has died, and the channel comes with its successor. When both live (a malformed frame, or too much that
 * waited) they get another one, after a while: a role that has lost its mind must not keep all others busy. */
static void link_lost(struct process *process, uint64_t role, uint64_t index)
{
    struct launcher *launcher = process->launcher;
    size_t own = (size_t)(process - launcher->process);
    for (size_t i = 0; i < launcher->process_count && !launcher->is_stopping; i++) {
        struct process *other = &launcher->process[i];
        if (other->role != role || other->index != index || !process->is_linked[i])
            continue;
        process->is_linked[i] = other->is_linked[own] = false;
        relink_later(process);
    }
}

/* ---- frames from roles ------------------------------------------------------------------------------------------- */

static void on_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct process *process = arg;
    (void)channel;
    if (frame->type == FRAME_READY) {
        process->state = PROCESS_READY;
        (void)slice_to_str(slice_sub(frame->field[0].bytes, 0, sizeof(process->sandbox) - 1), process->sandbox, sizeof(process->sandbox));
        log_event(LOG_INFO, "role-ready", LOG_STR("name", role_name(process->role)), LOG_NUMBER("index", process->index),
                  LOG_NUMBER("role-pid", process->pid), LOG_STR("sandbox", process->sandbox));
        process_is_ready(process);
        launcher_process_ready(process);
    } else if (frame->type == FRAME_FAILED) {
        launcher_process_failed(process, &frame->field[0].fault);
    } else if (frame->type == FRAME_CHANNEL_LOST) {
        link_lost(process, frame->field[0].number, frame->field[1].number);
    } else if (frame->type == FRAME_STATUS_ANSWER) {
        launcher_status_answer(process, frame->session, frame->field[0].bytes);
    }
}

static void on_closed(void *arg, struct channel *channel, const char *why)
{
    struct process *process = arg;
    (void)why;
    if (process->channel != channel)
        return;
    process->channel = NULL;                /* the process is about to be reaped; that is when things happen */
    if (process->state != PROCESS_ENDING && process->pid > 0)
        (void)kill(process->pid, SIGKILL);  /* ... or it has lost its mind, and must not live on beside its successor */
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

enum rc process_start(struct process *process, struct fault *fault)
{
    struct channel_owner owner = { .frame = on_frame, .closed = on_closed, .arg = process };
    char program[] = "thurn", option[] = "--role", name[16];
    char *argv[] = { program, option, name, NULL };
    int fds[2];
    (void)snprintf(name, sizeof(name), "%s", role_name(process->role));
    enum rc rc = channel_pair(fds, fault);
    if (rc != RC_OK)
        return rc;
    rc = child_start(argv, fds[1], &process->pid, fault);
    (void)close(fds[1]);
    if (rc != RC_OK) {
        (void)close(fds[0]);
        return rc;
    }
    process->channel = channel_new(process->launcher->loop, fds[0], &owner);
    must(process->channel != NULL);
    channel_hold_secrets(process->channel);
    process->state = PROCESS_STARTING;
    process->started_ms = loop_now_ms(process->launcher->loop);
    rc = hand_over(process, fault);
    if (rc == RC_OK)
        channel_send(process->channel, FRAME_START, 0);
    return rc;
}

/* False: no descriptors; later then. */
static bool link_two(struct process *a, struct process *b)
{
    struct fault fault;
    int fds[2];
    if (channel_pair(fds, &fault) != RC_OK) {
        log_fault(LOG_ERROR, "channel", &fault);
        relink_later(a);
        return false;
    }
    channel_send_fd(a->channel, fds[0], FRAME_CHANNEL, 0, (uint64_t)b->role, (uint64_t)b->index);
    channel_send_fd(b->channel, fds[1], FRAME_CHANNEL, 0, (uint64_t)a->role, (uint64_t)a->index);
    return true;
}

static bool are_linked(const struct process *a, const struct process *b)
{
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        if (links[i].a == a->role && links[i].b == b->role)
            return true;
    return false;
}

void process_is_ready(struct process *process)
{
    struct launcher *launcher = process->launcher;
    size_t own = (size_t)(process - launcher->process);
    for (size_t i = 0; i < launcher->process_count; i++) {
        struct process *other = &launcher->process[i];
        if (other->state != PROCESS_READY || !process_is_running(other) || process->is_linked[i] ||
            !(are_linked(process, other) || are_linked(other, process)))
            continue;
        process->is_linked[i] = other->is_linked[own] = link_two(process, other);
    }
}

void process_open_sockets(struct process *process)
{
    const struct launcher *launcher = process->launcher;
    for (size_t i = 0; i < launcher->socket_count; i++)
        process_send_socket(process, &launcher->socket[i]);
}

static void forget_links(struct process *process)
{
    struct launcher *launcher = process->launcher;
    size_t own = (size_t)(process - launcher->process);
    for (size_t i = 0; i < launcher->process_count; i++)
        process->is_linked[i] = launcher->process[i].is_linked[own] = false;
}

/* ---- dying and restarting ---------------------------------------------------------------------------------------- */

static void restart(struct process *process);

static void on_restart(struct loop_timer *timer) { restart(LIST_ENTRY(timer, struct process, restart)); }

/* At once after a long life; later and later, with jitter, when it keeps dying young. */
static int64_t restart_delay_ms(struct process *process)
{
    bool was_stable = loop_now_ms(process->launcher->loop) - process->started_ms >= LAUNCHER_STABLE_MS;
    process->quick_deaths = was_stable ? 0 : process->quick_deaths + 1;
    if (process->quick_deaths <= 1)
        return 0;
    int64_t delay = 50LL << (process->quick_deaths < 8 ? process->quick_deaths : 8);
    if (delay > LAUNCHER_RESTART_MAX_MS)
        delay = LAUNCHER_RESTART_MAX_MS;
    return delay / 2 + (int64_t)(random_u64() % (uint64_t)(delay / 2 + 1));
}

static void restart_later(struct process *process)
{
    process->restart.expired = on_restart;
    loop_timer_set(process->launcher->loop, &process->restart, restart_delay_ms(process));
}

static void restart(struct process *process)
{
    struct fault fault;
    process->restarts++;
    if (process_start(process, &fault) == RC_OK)
        return;
    log_fault(LOG_ERROR, "role-start-failed", &fault);
    if (process->channel != NULL)
        channel_free(process->channel);     /* it exits, and is tried again when it is reaped */
    process->channel = NULL;
    if (process->state == PROCESS_DOWN)     /* there is no process to be reaped */
        restart_later(process);
}

static const char *how_it_died(int wait_status, char *text, size_t size)
{
    if (WIFSIGNALED(wait_status))
        (void)snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
    else
        (void)snprintf(text, size, "exit status %d", WEXITSTATUS(wait_status));
    return text;
}

void process_died(struct launcher *launcher, pid_t pid, int wait_status)
{
    char how[80];
    struct process *process = NULL;
    for (size_t i = 0; i < launcher->process_count; i++)
        if (launcher->process[i].pid == pid && launcher->process[i].state != PROCESS_DOWN)
            process = &launcher->process[i];
    if (process == NULL)
        return;
    if (process->channel != NULL)
        channel_pump(process->channel);         /* its last words */
    if (process->channel != NULL)
        channel_free(process->channel);
    process->channel = NULL;
    process->state = PROCESS_DOWN;
    process->sandbox[0] = '\0';
    forget_links(process);
    launcher_status_gone(process);
    if (launcher->is_stopping) {
        launcher_process_gone(process);
        return;
    }
    log_event(LOG_ERROR, "role-died", LOG_STR("name", role_name(process->role)), LOG_NUMBER("index", process->index),
              LOG_NUMBER("role-pid", pid), LOG_STR("how", how_it_died(wait_status, how, sizeof(how))));
    if (!launcher->is_ready) {
        struct fault fault;
        (void)fault_temp(&fault, 0, "the role %s ended at its start: %s", role_name(process->role), how);
        launcher_process_failed(process, &fault);
        return;
    }
    restart_later(process);
}

void process_stop(struct process *process)
{
    loop_timer_stop(process->launcher->loop, &process->restart);
    loop_timer_stop(process->launcher->loop, &process->relink);
    if (process->channel == NULL || process->state == PROCESS_ENDING)
        return;
    process->state = PROCESS_ENDING;
    channel_send(process->channel, FRAME_STOP, 0);
}
