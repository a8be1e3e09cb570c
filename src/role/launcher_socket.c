/* Listening sockets: see launcher.h. All are bound before anything else is done, so that a port in use stops a start
 * with one line and nothing half-started. */
#include "role/launcher.h"

#include "os/child.h"
#include "os/conn.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONTROL_MODE = 0600, SUBMIT_MODE = 0666, LMTP_MODE = 0660, ACTIVATION_FIRST_FD = 3 };

static void name_of(const struct config_listener *listener, char *name, size_t size)
{
    if (listener->address[0] == '/')
        (void)snprintf(name, size, "%s", listener->address);
    else
        (void)snprintf(name, size, strchr(listener->address, ':') != NULL ? "[%s]:%u" : "%s:%u", listener->address, listener->port);
}

/* systemd may have bound it for us (sd_listen_fds(3)). */
static int activated_fd(const struct config_listener *listener)
{
    const char *count_text = getenv("LISTEN_FDS"), *pid_text = getenv("LISTEN_PID");
    if (count_text == NULL || pid_text == NULL || atol(pid_text) != (long)getpid())
        return -1;
    for (int fd = ACTIVATION_FIRST_FD; fd < ACTIVATION_FIRST_FD + atoi(count_text); fd++) {
        struct peer peer = { .port = 0 };
        if (listener_name_of_fd(fd, &peer) && peer.local_port == listener->port && strcmp(peer.local_address, listener->address) == 0)
            return fcntl(fd, F_DUPFD_CLOEXEC, 10);
    }
    return -1;
}

static struct socket *find(struct launcher *launcher, const char *name, enum listener_protocol protocol)
{
    for (size_t i = 0; i < launcher->socket_count; i++)
        if (launcher->socket[i].kind == LISTENER_PROTOCOL && launcher->socket[i].protocol == protocol &&
            strcmp(launcher->socket[i].name, name) == 0)
            return &launcher->socket[i];
    return NULL;
}

static struct socket *add(struct launcher *launcher, enum listener_kind kind, enum listener_protocol protocol, enum role role,
                          const char *name, int fd)
{
    must(launcher->socket_count < LAUNCHER_SOCKETS_MAX);
    struct socket *socket = &launcher->socket[launcher->socket_count++];
    *socket = (struct socket){ .kind = kind, .protocol = protocol, .role = role, .fd = fd, .is_kept = true };
    (void)snprintf(socket->name, sizeof(socket->name), "%s", name);
    return socket;
}

static enum rc open_configured(struct launcher *launcher, const struct config_listener *listener, struct fault *fault)
{
    char name[300];
    name_of(listener, name, sizeof(name));
    struct socket *old = find(launcher, name, listener->protocol);
    if (old != NULL) {
        old->is_kept = true;
        return RC_OK;
    }
    int fd = activated_fd(listener);
    enum rc rc = fd >= 0 ? RC_OK : listen_open(listener->address, listener->port, LMTP_MODE, &fd, fault);
    if (rc == RC_OK)
        (void)add(launcher, LISTENER_PROTOCOL, listener->protocol, ROLE_EDGE, name, fd);
    return rc;
}

static enum rc open_local(struct launcher *launcher, const char *name, enum listener_kind kind, enum role role, unsigned mode, struct fault *fault)
{
    char path[4096];
    int fd;
    (void)snprintf(path, sizeof(path), "%s/%s", launcher->config.run_dir, name);
    enum rc rc = listen_open(path, 0, mode, &fd, fault);
    if (rc == RC_OK)
        (void)add(launcher, kind, LISTEN_SMTP, role, path, fd);
    return rc;
}

enum rc socket_open_all(struct launcher *launcher, struct fault *fault)
{
    const struct config *config = &launcher->config;
    enum rc rc = dir_make(config->run_dir, 0755, fault);
    if (rc == RC_OK)
        rc = open_local(launcher, "control.sock", LISTENER_CONTROL, ROLE_LAUNCHER, CONTROL_MODE, fault);
    if (rc == RC_OK)
        rc = open_local(launcher, "control-auth.sock", LISTENER_CONTROL, ROLE_AUTH, CONTROL_MODE, fault);
    if (rc == RC_OK)
        rc = open_local(launcher, "control-post.sock", LISTENER_CONTROL, ROLE_POST, CONTROL_MODE, fault);
    if (rc == RC_OK)
        rc = open_local(launcher, "submit.sock", LISTENER_SUBMIT, ROLE_LOCAL, SUBMIT_MODE, fault);
    for (size_t i = 0; i < config->listener_count && rc == RC_OK; i++)
        rc = open_configured(launcher, &config->listeners[i], fault);
    return rc;
}

/* ---- reload ------------------------------------------------------------------------------------------------------ */

static void drop_from(struct launcher *launcher, size_t first)
{
    while (launcher->socket_count > first)
        (void)close(launcher->socket[--launcher->socket_count].fd);
}

static void tell_edges(struct launcher *launcher, const struct socket *socket, bool is_new)
{
    for (size_t i = 0; i < launcher->process_count; i++) {
        struct process *process = &launcher->process[i];
        if (process->role != ROLE_EDGE || !process_is_running(process))
            continue;
        if (is_new)
            process_send_socket(process, socket);
        else
            channel_send(process->channel, FRAME_UNLISTEN, 0, slice_from_str(socket->name));
    }
}

enum rc socket_reload(struct launcher *launcher, const struct config *next, struct fault *fault)
{
    size_t before = launcher->socket_count;
    for (size_t i = 0; i < before; i++)
        launcher->socket[i].is_kept = launcher->socket[i].kind != LISTENER_PROTOCOL;
    for (size_t i = 0; i < next->listener_count; i++) {
        enum rc rc = open_configured(launcher, &next->listeners[i], fault);
        if (rc != RC_OK) {
            drop_from(launcher, before);
            return rc;
        }
    }
    for (size_t i = before; i < launcher->socket_count; i++)
        tell_edges(launcher, &launcher->socket[i], true);
    size_t kept = 0;
    for (size_t i = 0; i < launcher->socket_count; i++) {
        if (launcher->socket[i].is_kept) {
            launcher->socket[kept++] = launcher->socket[i];
        } else {
            tell_edges(launcher, &launcher->socket[i], false);
            (void)close(launcher->socket[i].fd);
            if (launcher->socket[i].name[0] == '/')
                (void)unlink(launcher->socket[i].name);
        }
    }
    launcher->socket_count = kept;
    return RC_OK;
}

void socket_drop_all(struct launcher *launcher) { drop_from(launcher, 0); }

void socket_close_all(struct launcher *launcher)
{
    for (size_t i = 0; i < launcher->socket_count; i++)
        if (launcher->socket[i].name[0] == '/')
            (void)unlink(launcher->socket[i].name);
    drop_from(launcher, 0);
}
