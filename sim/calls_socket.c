/* Sockets, and what is the same for every descriptor: reading, writing, duplicating. */
#include "sim/inner.h"
#include "sim/net.h"
#include "sim/wrap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- any descriptor ------------------------------------------------------------------------------------------------------ */

static int64_t read_file(struct sim_file *file, void *data, size_t len)
{
    if (file_is_on_disk(file))
        return file_read(file, data, len);
    if (file_is_event(file))
        return event_read(file, data, len);
    if (file_is_signals(file))
        return signals_read(file, data, len);
    return net_is_net(file) ? net_read((struct net_end *)(void *)file, data, len, false) : 0;
}

static int64_t write_file(struct sim_file *file, const void *data, size_t len)
{
    if (file_is_on_disk(file))
        return file_write(file, data, len);
    if (file_is_event(file))
        return event_write(file, data, len);
    if (file_is_output(file))
        return output_write(file, data, len);
    return net_is_net(file) ? net_write((struct net_end *)(void *)file, data, len) : -EBADF;
}

/* A blocking descriptor's caller sleeps until there is something. */
static int64_t read_waiting(struct sim_file *file, void *data, size_t len, bool may_wait)
{
    int64_t got;
    len = net_is_net(file) ? call_length(len) : len;
    while ((got = read_file(file, data, len)) == -EAGAIN && may_wait && (file->flags & O_NONBLOCK) == 0)
        (void)file_wait(file, SIM_READABLE, INT64_MAX);
    return got;
}

static int64_t write_waiting(struct sim_file *file, const void *data, size_t len, bool may_wait)
{
    int64_t put;
    len = net_is_net(file) ? call_length(len) : len;
    while ((put = write_file(file, data, len)) == -EAGAIN && may_wait && (file->flags & O_NONBLOCK) == 0)
        (void)file_wait(file, SIM_WRITABLE, INT64_MAX);
    return put;
}

ssize_t __wrap_read(int fd, void *data, size_t len)
{
    int error = sim_enter("read");
    struct sim_file *file = sim_fd(fd);
    if (error != 0 || file == NULL)
        return call_result(error != 0 ? -error : -EBADF);
    return call_result(read_waiting(file, data, len, true));
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    int error = sim_enter("write");
    struct sim_file *file = sim_fd(fd);
    if (error != 0 || file == NULL)
        return call_result(error != 0 ? -error : -EBADF);
    return call_result(write_waiting(file, data, len, true));
}

int __wrap_fcntl64(int fd, int command, long argument)
{
    int error = sim_enter(command == F_DUPFD_CLOEXEC ? "dup" : "fcntl");
    struct sim_file *file = sim_fd(fd);
    if (error != 0 || file == NULL)
        return (int)call_result(error != 0 ? -error : -EBADF);
    switch (command) {
    case F_GETFD:
        return FD_CLOEXEC;
    case F_SETFD:
        return 0;
    case F_GETFL:
        return (int)file->flags;
    case F_SETFL:
        file->flags = (unsigned)argument;
        return 0;
    case F_DUPFD_CLOEXEC:
        return (int)call_result(process_fd_install(sim_self(), file, (int)argument));
    default:
        sim_fail("fcntl %d is not known here", command);
    }
}

/* ---- addresses ------------------------------------------------------------------------------------------------------------- */

static bool read_address(const struct sockaddr *address, socklen_t len, char text[108], uint16_t *port)
{
    *port = 0;
    if (address->sa_family == AF_UNIX) {
        struct sockaddr_un path = { .sun_family = AF_UNIX };
        memcpy(&path, address, len < sizeof(path) ? len : sizeof(path));
        memcpy(text, path.sun_path, sizeof(path.sun_path));
        text[sizeof(path.sun_path) - 1] = '\0';
        return text[0] != '\0';
    }
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        *port = ntohs(v4.sin_port);
        return inet_ntop(AF_INET, &v4.sin_addr, text, 108) != NULL;
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof(v6));
    *port = ntohs(v6.sin6_port);
    return inet_ntop(AF_INET6, &v6.sin6_addr, text, 108) != NULL;
}

static int write_address(int domain, const char *text, uint16_t port, struct sockaddr *address, socklen_t *len)
{
    union { struct sockaddr_in v4; struct sockaddr_in6 v6; struct sockaddr_un path; } made;
    memset(&made, 0, sizeof(made));
    socklen_t size = sizeof(sa_family_t);
    made.path.sun_family = AF_UNIX;
    if (domain == AF_INET) {
        made.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
        (void)inet_pton(AF_INET, text, &made.v4.sin_addr);
        size = sizeof(made.v4);
    } else if (domain == AF_INET6) {
        made.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
        (void)inet_pton(AF_INET6, text, &made.v6.sin6_addr);
        size = sizeof(made.v6);
    }
    memcpy(address, &made, size < *len ? size : *len);
    *len = size;
    return 0;
}

static bool is_any(const char *text) { return strcmp(text, "0.0.0.0") == 0 || strcmp(text, "::") == 0; }

/* ---- connections ------------------------------------------------------------------------------------------------------------- */

/* The socket at a descriptor; NULL and errno. */
static struct net_end *socket_of(const char *call, int fd)
{
    int error = sim_enter(call);
    struct sim_file *file = sim_fd(fd);
    if (error == 0 && file != NULL && net_is_net(file))
        return (struct net_end *)(void *)file;
    errno = error != 0 ? error : file == NULL ? EBADF : ENOTSOCK;
    return NULL;
}

static struct sim_file *file_of(struct net_end *end) { return (struct sim_file *)(void *)end; }

/* The descriptor takes over the reference that the socket came with. */
static int give(struct net_end *end, int flags)
{
    struct sim_file *file = file_of(end);
    file->flags = (flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0;
    int fd = sim_fd_install(file);
    sim_file_unref(file);
    return (int)call_result(fd);
}

int __wrap_socket(int domain, int type, int protocol)
{
    int error = sim_enter("socket");
    (void)protocol;
    return error != 0 ? (int)call_result(-error) : give(net_socket(domain), type);
}

int __wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
    struct net_end *ends[2];
    int error = sim_enter("socketpair");
    (void)domain, (void)protocol;
    int made = error != 0 ? -error : net_pair(ends);
    if (made < 0)
        return (int)call_result(made);
    fds[0] = give(ends[0], type);
    fds[1] = give(ends[1], type);
    if (fds[0] >= 0 && fds[1] >= 0)
        return 0;
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            (void)process_fd_close(sim_self(), fds[i]);
    return (int)call_result(-EMFILE);
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len)
{
    char text[108];
    uint16_t port;
    struct net_end *end = socket_of("bind", fd);
    if (end == NULL || !read_address(address, len, text, &port))
        return -1;
    return (int)call_result(net_bind(end, sim_self_host(), is_any(text) ? NULL : text, port));
}

int __wrap_listen(int fd, int backlog)
{
    struct net_end *end = socket_of("listen", fd);
    (void)backlog;
    return end == NULL ? -1 : (int)call_result(net_listen(end));
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    struct net_end *end = socket_of("accept", fd), *accepted;
    (void)address, (void)len;
    int got = end == NULL ? 0 : net_accept(end, &accepted);
    if (end == NULL || got < 0)
        return end == NULL ? -1 : (int)call_result(got);
    return give(accepted, flags);
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    char text[108];
    uint16_t port;
    struct net_end *end = socket_of("connect", fd);
    if (end == NULL || !read_address(address, len, text, &port))
        return -1;
    int got = net_connect(end, sim_self_host(), text, port);
    if (got != -EINPROGRESS || (file_of(end)->flags & O_NONBLOCK) != 0)
        return (int)call_result(got);
    (void)file_wait(file_of(end), SIM_WRITABLE, INT64_MAX);
    return (int)call_result(-net_connect_result(end));
}

int __wrap_shutdown(int fd, int how)
{
    struct net_end *end = socket_of("shutdown", fd);
    return end == NULL ? -1 : (int)call_result(net_shutdown(end, how));
}

static int name_of(const char *call, int fd, bool is_remote, struct sockaddr *address, socklen_t *len)
{
    char names[2][48];
    uint16_t ports[2];
    struct net_end *end = socket_of(call, fd);
    if (end == NULL)
        return -1;
    net_names(end, names[0], &ports[0], names[1], &ports[1]);
    if (is_remote && net_domain(end) != AF_UNIX && ports[1] == 0)
        return (int)call_result(-ENOTCONN);
    return write_address(net_domain(end), names[is_remote], ports[is_remote], address, len);
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *len) { return name_of("getsockname", fd, false, address, len); }
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *len) { return name_of("getpeername", fd, true, address, len); }

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    (void)level, (void)option, (void)value, (void)len;
    return socket_of("setsockopt", fd) == NULL ? -1 : 0;
}

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    struct net_end *end = socket_of("getsockopt", fd);
    if (end == NULL)
        return -1;
    memset(value, 0, *len);             /* of SO_PEERCRED: root */
    if (level == SOL_SOCKET && option == SO_ERROR)
        *(int *)value = net_connect_result(end);
    return 0;
}

/* ---- bytes and descriptors ------------------------------------------------------------------------------------------------------ */

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    struct net_end *end = socket_of("recv", fd);
    return end == NULL ? -1 : call_result(read_waiting(file_of(end), data, len, (flags & MSG_DONTWAIT) == 0));
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    struct net_end *end = socket_of("send", fd);
    return end == NULL ? -1 : call_result(write_waiting(file_of(end), data, len, (flags & MSG_DONTWAIT) == 0));
}

/* Only the launcher's words to its supervisor. */
ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
    static const char ready[] = "READY=1";
    const struct sim_process *process = sim_self();
    (void)flags, (void)to, (void)to_len;
    if (socket_of("sendto", fd) == NULL)
        return -1;
    if (process->on_ready != NULL && len == sizeof(ready) - 1 && memcmp(data, ready, len) == 0)
        process->on_ready(process->on_ready_arg);
    return (ssize_t)len;
}

/* As the server sends: one piece of bytes, one descriptor at most. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct net_end *end = socket_of("sendmsg", fd);
    const struct cmsghdr *header = end == NULL ? NULL : CMSG_FIRSTHDR(message);
    if (end == NULL)
        return -1;
    if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
        int sent;
        memcpy(&sent, CMSG_DATA(header), sizeof(sent));
        struct sim_file *file = sim_fd(sent);
        int got = file == NULL ? -EBADF : net_send_file(end, file);
        if (got < 0)
            return call_result(got);
    }
    return call_result(write_waiting(file_of(end), message->msg_iov[0].iov_base, message->msg_iov[0].iov_len, (flags & MSG_DONTWAIT) == 0));
}

/* Descriptors that came are installed; one for which there is no room is lost, and MSG_CTRUNC says so (unix(7)). */
static void take_files(struct net_end *end, struct msghdr *message)
{
    struct cmsghdr *header = message->msg_control;
    size_t room = message->msg_controllen < CMSG_LEN(0) ? 0 : (message->msg_controllen - CMSG_LEN(0)) / sizeof(int), count = 0;
    struct sim_file *file;
    message->msg_flags = 0;
    while ((file = net_take_file(end)) != NULL) {
        int fd = count < room ? sim_fd_install(file) : -EMFILE;
        if (fd >= 0)
            memcpy(CMSG_DATA(header) + count++ * sizeof(int), &fd, sizeof(int));
        else
            message->msg_flags |= MSG_CTRUNC;
        sim_file_unref(file);
    }
    message->msg_controllen = 0;
    if (count == 0)
        return;
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    message->msg_controllen = CMSG_SPACE(count * sizeof(int));
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct net_end *end = socket_of("recvmsg", fd);
    if (end == NULL)
        return -1;
    int64_t got = read_waiting(file_of(end), message->msg_iov[0].iov_base, message->msg_iov[0].iov_len, (flags & MSG_DONTWAIT) == 0);
    if (got >= 0)
        take_files(end, message);
    return call_result(got);
}
