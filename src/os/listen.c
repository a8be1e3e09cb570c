/* Addresses and sockets: listening, accepting, connecting. */
#include "os/conn_inner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, ACCEPTS_PER_TURN = 32 };

union any_address {
    struct sockaddr base;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage room;
};

/* ---- addresses as text ------------------------------------------------------------------------------------------- */

static bool address_parse_numeric(const char *text, uint16_t port, union any_address *address, socklen_t *len)
{
    memset(address, 0, sizeof(*address));
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(port);
        *len = sizeof(address->v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(port);
        *len = sizeof(address->v6);
        return true;
    }
    return false;
}

static bool local_address(const char *path, union any_address *address, socklen_t *len)
{
    memset(address, 0, sizeof(*address));
    if (strlen(path) >= sizeof(address->local.sun_path))
        return false;
    address->local.sun_family = AF_UNIX;
    (void)strcpy(address->local.sun_path, path);
    *len = sizeof(address->local);
    return true;
}

/* IPv4 in IPv6 clothes is shown as what it is. */
static bool describe(const union any_address *address, char *text, size_t size, uint16_t *port, bool *is_loopback)
{
    text[0] = '\0';
    *port = 0;
    *is_loopback = address->base.sa_family == AF_UNIX;
    if (address->base.sa_family == AF_INET) {
        *port = ntohs(address->v4.sin_port);
        *is_loopback = (ntohl(address->v4.sin_addr.s_addr) >> 24) == 127;
        return inet_ntop(AF_INET, &address->v4.sin_addr, text, (socklen_t)size) != NULL;
    }
    if (address->base.sa_family == AF_INET6) {
        const unsigned char *bytes = address->v6.sin6_addr.s6_addr;
        *port = ntohs(address->v6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
            *is_loopback = bytes[12] == 127;
            return inet_ntop(AF_INET, bytes + 12, text, (socklen_t)size) != NULL;
        }
        *is_loopback = IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
        return inet_ntop(AF_INET6, &address->v6.sin6_addr, text, (socklen_t)size) != NULL;
    }
    return address->base.sa_family == AF_UNIX;
}

bool peer_of_fd(int fd, struct peer *peer)
{
    union any_address far, near;
    socklen_t far_len = sizeof(far), near_len = sizeof(near);
    bool near_loopback;
    memset(&far, 0, sizeof(far));
    memset(&near, 0, sizeof(near));
    if (getpeername(fd, &far.base, &far_len) != 0 || getsockname(fd, &near.base, &near_len) != 0)
        return false;
    return describe(&far, peer->address, sizeof(peer->address), &peer->port, &peer->is_loopback) &&
           describe(&near, peer->local_address, sizeof(peer->local_address), &peer->local_port, &near_loopback);
}

bool listener_name_of_fd(int fd, struct peer *peer)
{
    union any_address near;
    socklen_t len = sizeof(near);
    bool is_loopback;
    memset(&near, 0, sizeof(near));
    return getsockname(fd, &near.base, &len) == 0 &&
           describe(&near, peer->local_address, sizeof(peer->local_address), &peer->local_port, &is_loopback);
}

int64_t peer_uid(int fd)
{
    struct ucred credentials;
    socklen_t len = sizeof(credentials);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) == 0 ? (int64_t)credentials.uid : -1;
}

/* ---- listening --------------------------------------------------------------------------------------------------- */

static enum rc bind_refused(int err, const char *address, uint16_t port, struct fault *fault)
{
    if (err == EADDRINUSE && port != 0)
        return fault_perm(fault, 0, "port %u on %s is in use by another program (\"ss -ltnp sport = :%u\" shows which)", port, address, port);
    if (err == EACCES && port != 0 && port < 1024)
        return fault_perm(fault, 0, "port %u needs root: start as root, or use a port from 1024 on", port);
    if (err == EADDRNOTAVAIL)
        return fault_perm(fault, 0, "%s is not an address of this machine", address);
    return fault_errno(fault, err, "cannot listen on %s port %u", address, port);
}

/* A socket that nobody listens on any more is in the way. Anything else of that name is somebody's. */
static enum rc remove_stale(int fd, const char *path, const union any_address *address, socklen_t len, struct fault *fault)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return RC_OK;
    if (!S_ISSOCK(status.st_mode))
        return fault_perm(fault, 0, "cannot listen on %s: something else of that name is there, move it away", path);
    if (connect(fd, &address->base, len) == 0 || errno == EAGAIN)
        return fault_perm(fault, 0, "another server is listening on %s: stop it first", path);
    return unlink(path) == 0 ? RC_OK : fault_errno(fault, errno, "cannot remove %s, which an earlier server left", path);
}

static enum rc listen_local(const char *path, unsigned mode, int *out, struct fault *fault)
{
    union any_address address;
    socklen_t len;
    if (!local_address(path, &address, &len))
        return fault_perm(fault, 0, "the path %s is too long for a socket (%zu bytes at most)", path, sizeof(address.local.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fault_errno(fault, errno, "cannot make a socket");
    enum rc rc = remove_stale(fd, path, &address, len, fault);
    (void)close(fd);
    if (rc != RC_OK)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);        /* nobody comes in between bind and chmod */
    bool is_listening = fd >= 0 && bind(fd, &address.base, len) == 0 && chmod(path, (mode_t)mode) == 0 && listen(fd, BACKLOG) == 0;
    int err = errno;
    (void)umask(before);
    if (is_listening) {
        *out = fd;
        return RC_OK;
    }
    if (fd >= 0)
        (void)close(fd);
    return fault_errno(fault, err, "cannot listen on %s", path);
}

enum rc listen_open(const char *text, uint16_t port, unsigned mode, int *out, struct fault *fault)
{
    union any_address address;
    socklen_t len;
    int one = 1;
    if (text[0] == '/')
        return listen_local(text, mode, out, fault);
    if (!address_parse_numeric(text, port, &address, &len))
        return fault_perm(fault, 0, "'%s' is not a numeric address, such as 0.0.0.0, 192.0.2.1 or ::", text);
    int fd = socket(address.base.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fault_errno(fault, errno, "cannot make a socket for %s", text);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (address.base.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, &address.base, len) != 0 || listen(fd, BACKLOG) != 0) {
        int err = errno;
        (void)close(fd);
        return bind_refused(err, text, port, fault);
    }
    *out = fd;
    return RC_OK;
}

struct listener {
    struct loop *loop;
    struct loop_watch watch;
    struct loop_timer rest;             /* after running out of descriptors */
    void (*accepted)(void *arg, int fd, const struct peer *);
    void *arg;
    bool is_paused, is_watching;
    bool is_telling, is_freed;          /* the owner may free it while it is being told: then the memory goes afterwards */
};

static void watch_or_not(struct listener *listener, bool is_wanted)
{
    if (is_wanted && !listener->is_watching)
        listener->is_watching = loop_watch(listener->loop, &listener->watch);
    if (!is_wanted && listener->is_watching) {
        loop_unwatch(listener->loop, &listener->watch);
        listener->is_watching = false;
    }
}

static void on_rested(struct loop_timer *timer)
{
    struct listener *listener = LIST_ENTRY(timer, struct listener, rest);
    watch_or_not(listener, !listener->is_paused);
}

/* Those who wait keep waiting; the loop must not spin. */
static void accept_failed(struct listener *listener, int err)
{
    if (err != EMFILE && err != ENFILE && err != ENOBUFS && err != ENOMEM)
        return;
    watch_or_not(listener, false);
    loop_timer_set(listener->loop, &listener->rest, 100);
}

/* The kernel wakes whoever has watched longest: without this, one edge would get nearly every connection of a quiet day. */
static void go_to_the_back(struct listener *listener)
{
    if (listener->is_watching) {
        watch_or_not(listener, false);
        watch_or_not(listener, true);
    }
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct listener *listener = LIST_ENTRY(watch, struct listener, watch);
    int accepted = 0;
    (void)events;
    listener->is_telling = true;
    for (int i = 0; i < ACCEPTS_PER_TURN && !listener->is_freed && !listener->is_paused; i++) {
        struct peer peer;
        int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            accept_failed(listener, errno);
            break;
        }
        memset(&peer, 0, sizeof(peer));
        accepted++;
        if (peer_of_fd(fd, &peer))
            listener->accepted(listener->arg, fd, &peer);
        else
            (void)close(fd);            /* gone already */
    }
    listener->is_telling = false;
    if (listener->is_freed)
        free(listener);
    else if (accepted > 0)
        go_to_the_back(listener);
}

struct listener *listener_new(struct loop *loop, int fd, void (*accepted)(void *arg, int fd, const struct peer *), void *arg)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int flags = fcntl(fd, F_GETFL);     /* one that systemd made would make accept wait */
    if (listener == NULL || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        free(listener);
        (void)close(fd);
        return NULL;
    }
    listener->loop = loop;
    listener->accepted = accepted;
    listener->arg = arg;
    listener->rest.expired = on_rested;
    listener->watch = (struct loop_watch){ .fd = fd, .events = LOOP_READ | LOOP_EXCLUSIVE, .ready = on_ready };
    watch_or_not(listener, true);
    if (!listener->is_watching) {
        (void)close(fd);
        free(listener);
        return NULL;
    }
    return listener;
}

void listener_pause(struct listener *listener, bool is_paused)
{
    listener->is_paused = is_paused;
    watch_or_not(listener, !is_paused);
}

void listener_free(struct listener *listener)
{
    if (listener == NULL)
        return;
    loop_timer_stop(listener->loop, &listener->rest);
    watch_or_not(listener, false);
    (void)close(listener->watch.fd);
    listener->is_freed = true;
    if (!listener->is_telling)
        free(listener);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static struct conn *connect_fd(struct loop *loop, int fd, const union any_address *address, socklen_t len, int64_t timeout_ms,
                               const struct conn_limits *limits, const struct conn_owner *owner, const char *name, struct fault *fault)
{
    if (connect(fd, &address->base, len) != 0 && errno != EINPROGRESS) {
        (void)fault_errno(fault, errno, "cannot connect to %s", name);
        (void)close(fd);
        return NULL;
    }
    struct conn *conn = conn_connecting(loop, fd, limits, owner, timeout_ms);
    if (conn == NULL)
        (void)fault_no_memory(fault);
    return conn;
}

struct conn *conn_connect(struct loop *loop, const char *text, uint16_t port, const char *source, int64_t timeout_ms,
                          const struct conn_limits *limits, const struct conn_owner *owner, struct fault *fault)
{
    union any_address address, from;
    socklen_t len, from_len;
    if (!address_parse_numeric(text, port, &address, &len)) {
        (void)fault_perm(fault, ESC(5, 4, 4), "'%s' is not a numeric address", text);
        return NULL;
    }
    int fd = socket(address.base.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        (void)fault_errno(fault, errno, "cannot make a socket");
        return NULL;
    }
    /* A source of the other family does not apply. */
    if (source != NULL && address_parse_numeric(source, 0, &from, &from_len) && from.base.sa_family == address.base.sa_family &&
        bind(fd, &from.base, from_len) != 0) {
        (void)fault_errno(fault, errno, "cannot connect from %s", source);
        (void)close(fd);
        return NULL;
    }
    return connect_fd(loop, fd, &address, len, timeout_ms, limits, owner, text, fault);
}

struct conn *conn_connect_local(struct loop *loop, const char *path, const struct conn_limits *limits, const struct conn_owner *owner, struct fault *fault)
{
    union any_address address;
    socklen_t len;
    if (!local_address(path, &address, &len)) {
        (void)fault_perm(fault, 0, "the path %s is too long for a socket", path);
        return NULL;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        (void)fault_errno(fault, errno, "cannot make a socket");
        return NULL;
    }
    return connect_fd(loop, fd, &address, len, 5000, limits, owner, path, fault);
}
