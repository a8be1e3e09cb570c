/* launcher: `thurn serve`. Reads the configuration, binds the ports, starts the roles, restarts those that die, reloads.
 *
 * A start either ends with everything ready or, after one clear line, with nothing running. */
#include "role/launcher.h"

#include "os/child.h"
#include "os/log.h"
#include "os/tls.h"
#include "role/control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PREDECESSOR_TRIES = 30, PREDECESSOR_PAUSE_MS = 100 };

/* ---- telling those who wait -------------------------------------------------------------------------------------- */

/* sd_notify(3): one datagram. */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (path == NULL || strlen(path) >= sizeof(address.sun_path) || path[0] == '\0')
        return;
    memcpy(address.sun_path, path, strlen(path));
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&address, len);
    (void)close(fd);
}

static void complain(const struct fault *fault) { (void)fprintf(stderr, "thurn: %s\n", fault->text); }

/* ---- before anything runs ---------------------------------------------------------------------------------------- */

static enum rc open_log(struct launcher *launcher, struct fault *fault)
{
    const char *path = launcher->config.log_file;
    int fd = -1;
    if (path != NULL) {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (fd < 0)
            return fault_errno(fault, errno, "cannot open the log %s", path) == RC_NONE ? RC_PERM : fault->rc;
    }
    if (launcher->log_fd >= 0)
        (void)close(launcher->log_fd);
    launcher->log_fd = fd;
    log_open("launcher", fd >= 0 ? fd : 2, launcher->config.log_json);
    return RC_OK;
}

/* A role's folder in the data directory, its own when roles have users. */
static enum rc make_folder(const struct config *config, const char *name, enum role role, struct fault *fault)
{
    char path[4096], user[128];
    (void)snprintf(path, sizeof(path), "%s/%s", config->data_dir, name);
    enum rc rc = dir_make(path, 0700, fault);
    if (rc != RC_OK || config->user == NULL || geteuid() != 0)
        return rc;
    (void)snprintf(user, sizeof(user), "%s-%s", config->user, role_name(role));
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL)
        return fault_perm(fault, 0, "there is no user %s: \"thurn setup\" makes the roles' users (or set \"user: none\" to run without)", user);
    if (chown(path, entry->pw_uid, entry->pw_gid) != 0)
        return fault_errno(fault, errno, "cannot give %s to %s", path, user);
    return RC_OK;
}

static enum rc make_folders(const struct config *config, struct fault *fault)
{
    enum rc rc = dir_make(config->data_dir, 0711, fault);
    if (rc == RC_OK)
        rc = make_folder(config, "directory", ROLE_AUTH, fault);
    if (rc == RC_OK)
        rc = make_folder(config, "store", ROLE_POST, fault);
    return rc;
}

/* As many descriptors as the system lets us have: each connection is one. */
static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    limit = (struct rlimit){ 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &limit);       /* a core would hold mail and secrets */
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

static bool has_sessions(const struct process *process)
{
    return process->role == ROLE_EDGE || process->role == ROLE_LOCAL || process->role == ROLE_POST;
}

static bool any_runs(const struct launcher *launcher, bool only_sessions)
{
    for (size_t i = 0; i < launcher->process_count; i++) {
        const struct process *process = &launcher->process[i];
        if (process->state != PROCESS_DOWN && (has_sessions(process) || !only_sessions))
            return true;
    }
    return false;
}

static void stop_roles(struct launcher *launcher, bool only_sessions)
{
    for (size_t i = 0; i < launcher->process_count; i++) {
        struct process *process = &launcher->process[i];
        if (!only_sessions || has_sessions(process))
            process_stop(process);
    }
}

static void kill_all(struct launcher *launcher)
{
    for (size_t i = 0; i < launcher->process_count; i++)
        if (launcher->process[i].state != PROCESS_DOWN)
            (void)kill(launcher->process[i].pid, SIGKILL);
}

static void on_stop_timer(struct loop_timer *timer)
{
    struct launcher *launcher = LIST_ENTRY(timer, struct launcher, stop_timer);
    log_event(LOG_WARNING, "stop-forced", LOG_STR("why", "a role did not end in time"));
    kill_all(launcher);
}

/* Edges and post first, so that open transactions end while everything they need is there; then the rest. */
void launcher_stop(struct launcher *launcher, int status)
{
    if (launcher->is_stopping)
        return;
    launcher->is_stopping = true;
    launcher->status = status;
    if (launcher->is_ready) {
        notify("STOPPING=1");
        log_event(LOG_INFO, "stopping", LOG_NUMBER("status", (unsigned)status));
    }
    launcher->stop_timer.expired = on_stop_timer;
    loop_timer_set(launcher->loop, &launcher->stop_timer, LAUNCHER_STOP_MS);
    if (launcher->is_ready)
        stop_roles(launcher, true);
    else
        kill_all(launcher);
    if (!any_runs(launcher, false))
        loop_stop(launcher->loop);
}

void launcher_process_gone(struct process *process)
{
    struct launcher *launcher = process->launcher;
    if (!any_runs(launcher, true))
        stop_roles(launcher, false);
    if (!any_runs(launcher, false))
        loop_stop(launcher->loop);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* At the first start the doors open together, when everybody is there. */
void launcher_process_ready(struct process *process)
{
    struct launcher *launcher = process->launcher;
    if (launcher->is_ready) {
        process_open_sockets(process);
        return;
    }
    for (size_t i = 0; i < launcher->process_count; i++)
        if (launcher->process[i].state != PROCESS_READY)
            return;
    for (size_t i = 0; i < launcher->process_count; i++)
        process_open_sockets(&launcher->process[i]);
    launcher->is_ready = true;
    log_event(LOG_INFO, "ready", LOG_STR("host", launcher->config.host_name), LOG_NUMBER("roles", launcher->process_count));
    notify("READY=1");
}

void launcher_process_failed(struct process *process, const struct fault *fault)
{
    struct launcher *launcher = process->launcher;
    if (launcher->is_ready) {
        log_fault(LOG_ERROR, "role-failed", fault);
        if (process->channel != NULL)
            channel_free(process->channel);     /* it ends, and is started again later */
        process->channel = NULL;
    } else if (!launcher->is_stopping) {
        complain(fault);
        launcher_stop(launcher, EXIT_FAILURE);
    }
}

static void tell_log(struct launcher *launcher)
{
    for (size_t i = 0; i < launcher->process_count; i++)
        if (process_is_running(&launcher->process[i]))
            process_send_log(&launcher->process[i]);
}

static void on_signal(void *arg, int number)
{
    struct launcher *launcher = arg;
    struct fault fault;
    int wait_status;
    if (number == SIGCHLD) {
        for (pid_t pid; (pid = waitpid(-1, &wait_status, WNOHANG)) > 0;)
            process_died(launcher, pid, wait_status);
    } else if (number == SIGHUP) {
        (void)launcher_reload(launcher, &fault);
    } else if (number == SIGUSR1) {
        if (open_log(launcher, &fault) == RC_OK)
            tell_log(launcher);                 /* after a rotation */
        else
            log_fault(LOG_ERROR, "log", &fault);
    } else if (number == SIGTERM || number == SIGINT) {
        launcher_stop(launcher, EXIT_SUCCESS);
    }
}

/* A server that was killed leaves its sockets to its roles, which die a moment later: those are waited for. Where no
 * server was before, a port in use is said at once. */
static enum rc open_sockets(struct launcher *launcher, struct fault *fault)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/control.sock", launcher->config.run_dir);
    int tries = access(path, F_OK) == 0 ? PREDECESSOR_TRIES : 1;
    enum rc rc;
    while ((rc = socket_open_all(launcher, fault)) != RC_OK && --tries > 0) {
        struct timespec pause = { .tv_nsec = PREDECESSOR_PAUSE_MS * 1000000L };
        socket_drop_all(launcher);
        (void)nanosleep(&pause, NULL);
    }
    return rc;
}


static enum rc start(struct launcher *launcher, struct fault *fault)
{
    enum rc rc = config_load(launcher->config_path, &launcher->config, fault);
    if (rc == RC_OK)
        rc = config_check(&launcher->config, fault);
    if (rc == RC_OK)
        rc = make_folders(&launcher->config, fault);
    if (rc == RC_OK)
        rc = process_read_pair(&launcher->config, &launcher->certificate, &launcher->key, fault);
    if (rc == RC_OK)
        rc = open_sockets(launcher, fault);
    if (rc == RC_OK)
        rc = open_log(launcher, fault);
    if (rc == RC_OK)
        rc = launcher_control_begin(launcher, fault);
    if (rc != RC_OK)
        return rc;
    process_init_all(launcher);
    for (size_t i = 0; i < launcher->process_count && rc == RC_OK; i++)
        rc = process_start(&launcher->process[i], fault);
    return rc;
}

/* ---- reload ------------------------------------------------------------------------------------------------------ */

static bool same_text(const char *a, const char *b) { return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0); }

static bool same_servers(const struct config *old, const struct config *next)
{
    bool is_same = old->dns_server_count == next->dns_server_count;
    for (size_t i = 0; i < old->dns_server_count && is_same; i++)
        is_same = same_text(old->dns_servers[i], next->dns_servers[i]);
    return is_same;
}

/* What the roles were built around. The resolver has read its servers before `out` was confined. */
static enum rc check_unchangeable(const struct config *old, const struct config *next, struct fault *fault)
{
    const struct {
        const char *name;
        bool is_same;
    } fixed[] = {
        { "data_dir", same_text(old->data_dir, next->data_dir) },
        { "run_dir", same_text(old->run_dir, next->run_dir) },
        { "user", same_text(old->user, next->user) },
        { "limits.edges", old->edges == next->edges },
        { "dns.servers", same_servers(old, next) },
        { "tls (taking it away)", old->tls_certificate == NULL || next->tls_certificate != NULL },
    };
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        if (!fixed[i].is_same)
            return fault_perm(fault, 0, "%s has changed: that takes a restart; nothing has been reloaded", fixed[i].name);
    return RC_OK;
}

static void tell_roles(struct launcher *launcher)
{
    struct fault fault;
    for (size_t i = 0; i < launcher->process_count; i++) {
        struct process *process = &launcher->process[i];
        if (!process_is_running(process))
            continue;
        process_send_log(process);
        process_send_config(process);
        if (process->role == ROLE_OUT && process_send_secrets(process, &fault) != RC_OK)
            log_fault(LOG_ERROR, "reload", &fault);
    }
}

/* The key goes to `keys` under a new number before an edge hears of the certificate that needs it. */
static void tell_certificate(struct launcher *launcher)
{
    launcher->key_number = (launcher->key_number + 1) % 16;
    for (size_t i = 0; i < launcher->process_count; i++)
        if (process_is_running(&launcher->process[i]))
            process_send_pem(&launcher->process[i]);
}

enum rc launcher_reload(struct launcher *launcher, struct fault *fault)
{
    struct config next, old = launcher->config;
    struct buf certificate, key;
    if (!launcher->is_ready || launcher->is_stopping)
        return fault_temp(fault, 0, "the server is starting or stopping");
    notify("RELOADING=1");
    buf_init(&certificate, 0);
    buf_init(&key, 0);
    enum rc rc = config_load(launcher->config_path, &next, fault);
    if (rc == RC_OK)
        rc = config_check(&next, fault);
    if (rc == RC_OK)
        rc = check_unchangeable(&old, &next, fault);
    if (rc == RC_OK)
        rc = process_read_pair(&next, &certificate, &key, fault);
    if (rc == RC_OK)
        rc = socket_reload(launcher, &next, fault);
    if (rc != RC_OK) {
        process_forget_pair(&certificate, &key);
        config_free(&next);
        log_fault(LOG_ERROR, "reload-refused", fault);
        notify("READY=1");
        return rc;
    }
    launcher->config = next;
    process_forget_pair(&launcher->certificate, &launcher->key);
    launcher->certificate = certificate;
    launcher->key = key;
    if (open_log(launcher, fault) != RC_OK)
        log_fault(LOG_ERROR, "reload", fault);  /* the old log goes on */
    tell_roles(launcher);
    tell_certificate(launcher);
    config_free(&old);
    log_event(LOG_INFO, "reloaded", LOG_STR("config", launcher->config_path));
    notify("READY=1");
    return RC_OK;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

int role_launcher_main(const char *config_path)
{
    struct launcher *launcher = calloc(1, sizeof(*launcher));
    struct fault fault = { .rc = RC_OK };
    must(launcher != NULL);
    launcher->config_path = config_path;
    launcher->log_fd = -1;
    launcher->status = EXIT_SUCCESS;
    list_init(&launcher->status_calls);
    launcher->loop = loop_new();
    if (launcher->loop == NULL || !loop_signals(launcher->loop, on_signal, launcher)) {
        (void)fprintf(stderr, "thurn: cannot start: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    launcher->started_ms = loop_now_ms(launcher->loop);
    (void)signal(SIGPIPE, SIG_IGN);
    raise_limits();
    if (start(launcher, &fault) != RC_OK) {
        complain(&fault);
        launcher_stop(launcher, EXIT_FAILURE);
    }
    if (any_runs(launcher, false))
        loop_run(launcher->loop);
    control_free(launcher->control);
    socket_close_all(launcher);
    if (launcher->is_ready)
        log_event(LOG_INFO, "stopped", LOG_NUMBER("status", (unsigned)launcher->status));
    config_free(&launcher->config);
    process_forget_pair(&launcher->certificate, &launcher->key);
    int status = launcher->status;
    loop_free(launcher->loop);
    free(launcher);
    return status;
}
