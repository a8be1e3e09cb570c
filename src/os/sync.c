/* Waiting input and output: see sync.h. */
#include "os/sync.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd entry = { .fd = fd, .events = events };
    int count;
    do
        count = poll(&entry, 1, timeout_ms);
    while (count < 0 && errno == EINTR);
    return count > 0;
}

bool sync_send(int fd, struct slice bytes, int timeout_ms)
{
    while (bytes.len != 0) {
        ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (sent > 0)
            (void)slice_take(&bytes, (size_t)sent);
        else if (sent < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        else if (sent < 0 && errno == EAGAIN && !wait_for(fd, POLLOUT, timeout_ms))
            return false;
    }
    return true;
}

bool sync_receive(int fd, struct buf *in, int timeout_ms)
{
    char *room = buf_reserve(in, 16384);
    while (room != NULL) {
        ssize_t got = recv(fd, room, 16384, 0);
        if (got > 0) {
            buf_commit(in, (size_t)got);
            return true;
        }
        if (got == 0 || (errno != EINTR && errno != EAGAIN))
            return false;
        if (errno == EAGAIN && !wait_for(fd, POLLIN, timeout_ms))
            return false;
    }
    return false;
}

void sync_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

enum rc sync_connect_local(const char *path, int *out, struct fault *fault)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path))
        return fault_perm(fault, 0, "the path %s is too long for a socket", path);
    (void)strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fault_errno(fault, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        int err = errno;
        (void)close(fd);
        if (err == ENOENT || err == ECONNREFUSED)
            return fault_none(fault, "no server is running here (%s): \"thurn serve\" starts one", path);
        if (err == EACCES)
            return fault_perm(fault, 0, "only root and the server's own user may do this (%s)", path);
        return fault_errno(fault, err, "cannot reach the server at %s", path);
    }
    *out = fd;
    return RC_OK;
}
