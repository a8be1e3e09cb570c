/* Calls that block, for clients and peers that are coroutines: see net.h. When the process of a coroutine ends, the system closes what
 * it has open; here a keeper does, since these ends have no descriptors. */
#include "sim/net_inner.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct keeper {
    struct list all, ends;
    struct sim_process *process;
};
static struct list keepers = { &keepers, &keepers };

static void let_go(void *arg)
{
    struct keeper *keeper = arg;
    while (!list_is_empty(&keeper->ends))
        net_close(LIST_ENTRY(keeper->ends.next, struct net_end, kept));
    list_remove(&keeper->all);
    sim_delete(keeper);
}

static struct net_end *keep(struct net_end *end)
{
    struct keeper *keeper = NULL;
    if (sim_self() == NULL)
        return end;
    LIST_EACH(node, &keepers)
        if (LIST_ENTRY(node, struct keeper, all)->process == sim_self())
            keeper = LIST_ENTRY(node, struct keeper, all);
    if (keeper == NULL) {
        keeper = sim_new(sizeof(*keeper));
        keeper->process = sim_self();
        list_init(&keeper->ends);
        list_append(&keepers, &keeper->all);
        sim_at_exit(keeper->process, let_go, keeper);
    }
    list_append(&keeper->ends, &end->kept);
    return end;
}

void net_adopt(struct net_end *end)
{
    list_remove(&end->kept);
    (void)keep(end);
}

static int64_t until(int64_t timeout_ms) { return timeout_ms < 0 ? INT64_MAX : sim_now_us() + timeout_ms * 1000; }

/* False: the time. */
static bool wait_for(struct net_end *end, unsigned bits, int64_t until_us)
{
    while ((end->file.ops->ready(&end->file) & (bits | SIM_ERROR | SIM_HANGUP)) == 0)
        if (!sim_wait(&end->file, until_us))
            return false;
    return true;
}

struct net_end *net_dial(struct sim_host *from, const char *address, uint16_t port, int64_t timeout_ms)
{
    int64_t end_us = until(timeout_ms);
    int domain = port == 0 && address[0] == '/' ? AF_UNIX : strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
    struct net_end *end = keep(net_socket(domain));
    int result = net_connect(end, from, address, port);
    if (result == -EINPROGRESS && wait_for(end, SIM_WRITABLE, end_us))
        result = net_connect_result(end);
    if (result == 0)
        return end;
    net_close(end);
    return NULL;
}

int64_t net_get(struct net_end *end, void *data, size_t len, int64_t timeout_ms)
{
    int64_t end_us = until(timeout_ms);
    for (;;) {
        int64_t got = net_read(end, data, len, false);
        if (got != -EAGAIN)
            return got;
        if (!wait_for(end, SIM_READABLE, end_us))
            return -ETIMEDOUT;
    }
}

bool net_put(struct net_end *end, const void *data, size_t len, int64_t timeout_ms)
{
    const char *bytes = data;
    int64_t end_us = until(timeout_ms);
    while (len > 0) {
        int64_t put = net_write(end, bytes, len);
        if (put < 0 && put != -EAGAIN)
            return false;
        if (put < 0 && !wait_for(end, SIM_WRITABLE, end_us))
            return false;
        bytes += put > 0 ? put : 0;
        len -= put > 0 ? (size_t)put : 0;
    }
    return true;
}

/* One byte at a time would do; this looks first how far the line goes. A line that does not fit is no line. */
int net_line(struct net_end *end, char *line, size_t size, int64_t timeout_ms)
{
    int64_t end_us = until(timeout_ms);
    size_t len = 0;
    while (len < size) {
        int64_t got = net_read(end, line + len, size - len, true);
        if (got == -EAGAIN && wait_for(end, SIM_READABLE, end_us))
            continue;
        if (got <= 0)
            return -1;
        const char *newline = memchr(line + len, '\n', (size_t)got);
        size_t used = newline != NULL ? (size_t)(newline + 1 - (line + len)) : (size_t)got;
        (void)net_read(end, line + len, used, false);
        len += used;
        if (newline == NULL)
            continue;
        len -= len >= 2 && line[len - 2] == '\r' ? 2 : 1;
        line[len] = '\0';
        return (int)len;
    }
    return -1;
}

void net_close(struct net_end *end)
{
    if (end == NULL)
        return;
    list_remove(&end->kept);
    sim_file_unref(&end->file);
}

struct net_end *net_serve(struct sim_host *host, const char *address, uint16_t port)
{
    struct net_end *end = keep(net_socket(address != NULL && strchr(address, ':') != NULL ? AF_INET6 : AF_INET));
    if (net_bind(end, host, address, port) == 0 && net_listen(end) == 0)
        return end;
    net_close(end);
    return NULL;
}

struct net_end *net_next(struct net_end *listener, int64_t timeout_ms)
{
    int64_t end_us = until(timeout_ms);
    struct net_end *end;
    while (listener->state == NET_LISTENING) {
        if (net_accept(listener, &end) == 0)
            return keep(end);
        if (!wait_for(listener, SIM_READABLE, end_us))
            return NULL;
    }
    return NULL;
}
