/* Sockets: making, naming, listening, accepting, connecting; hosts and what lies between them. See net.h.
 *
 * A connect takes one round trip. It is refused where nobody listens; it gets no answer (and gives up after about two minutes)
 * from a host without power, behind a partition, at an address that nobody has, and by chance. */
#include "sim/net_inner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { EPHEMERAL_FIRST = 32768, EPHEMERAL_LAST = 60999, SYN_RETRY_US = 1000 * 1000 };

struct path_name {                      /* a socket's name among a host's files: stays when its socket closes */
    struct list all;
    struct sim_host *host;
    struct net_end *end;                /* NULL: dead */
    char path[];
};
struct known_host { struct list all; struct sim_host *host; };
struct cut { struct list all; const struct sim_host *a, *b; };

static struct list ends, paths, hosts, cuts;
static uint16_t last_port;
struct net_figures net_counted;

/* Of what begins with its list. */
static void forget_all(struct list *head)
{
    while (head->next != NULL && !list_is_empty(head)) {
        struct list *node = head->next;
        list_remove(node);
        sim_delete(node);
    }
    list_init(head);
}

void net_begin(void)
{
    list_init(&ends);
    forget_all(&paths);
    forget_all(&hosts);
    forget_all(&cuts);
    last_port = EPHEMERAL_FIRST;
    memset(&net_counted, 0, sizeof(net_counted));
    net_stream_begin();
}

struct net_figures net_figures(void) { return net_counted; }

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

static void know(struct sim_host *host)
{
    LIST_EACH(node, &hosts)
        if (LIST_ENTRY(node, struct known_host, all)->host == host)
            return;
    struct known_host *known = sim_new(sizeof(*known));
    known->host = host;
    list_append(&hosts, &known->all);
}

static bool is_loopback(const char *address) { return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0; }
static bool is_any(const char *address) { return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0; }
static bool is_v6(const char *address) { return strchr(address, ':') != NULL; }

static bool has_address(const struct sim_host *host, const char *address)
{
    for (size_t i = 0; i < HOST_ADDRESSES_MAX; i++)
        if (address[0] != '\0' && strcmp(host->addresses[i], address) == 0)
            return true;
    return false;
}

static struct sim_host *host_at(struct sim_host *from, const char *address)
{
    if (is_loopback(address) || is_any(address) || has_address(from, address))
        return from;
    LIST_EACH(node, &hosts) {
        struct sim_host *host = LIST_ENTRY(node, struct known_host, all)->host;
        if (has_address(host, address))
            return host;
    }
    return NULL;
}

bool net_is_partitioned(const struct sim_host *a, const struct sim_host *b)
{
    LIST_EACH(node, &cuts) {
        const struct cut *cut = LIST_ENTRY(node, struct cut, all);
        if ((cut->a == a && cut->b == b) || (cut->a == b && cut->b == a))
            return a != b;
    }
    return false;
}

void net_partition(struct sim_host *a, struct sim_host *b, bool is_cut)
{
    if (net_is_partitioned(a, b) == is_cut || a == b)
        return;
    sim_trace("network: %s and %s %s", a->name, b->name, is_cut ? "cannot reach each other" : "are joined again");
    if (is_cut) {
        struct cut *cut = sim_new(sizeof(*cut));
        cut->a = a;
        cut->b = b;
        list_append(&cuts, &cut->all);
        net_counted.cuts++;
        return;
    }
    LIST_EACH(node, &cuts) {
        struct cut *cut = LIST_ENTRY(node, struct cut, all);
        if ((cut->a != a || cut->b != b) && (cut->a != b || cut->b != a))
            continue;
        list_remove(node);
        sim_delete(cut);
    }
    net_streams_retry();
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static unsigned ready(struct sim_file *file)
{
    const struct net_end *end = (const struct net_end *)file;
    switch (end->state) {
    case NET_FRESH: return SIM_WRITABLE | SIM_HANGUP;
    case NET_LISTENING: return end->queue_count > 0 ? SIM_READABLE : 0;
    case NET_CONNECTING: return 0;
    case NET_STREAM:
    case NET_DEAD: break;
    }
    return net_stream_ready(end);
}

static void forget_name(struct net_end *end)
{
    LIST_EACH(node, &paths)
        if (LIST_ENTRY(node, struct path_name, all)->end == end)
            LIST_ENTRY(node, struct path_name, all)->end = NULL;
    end->is_bound = false;
}

static void stop_connecting(struct net_end *end)
{
    if (end->connecting != NULL)
        sim_cancel(end->connecting);
    end->connecting = NULL;
}

static void closed(struct sim_file *file)
{
    struct net_end *end = (struct net_end *)file;
    struct net_end **queue = end->queue;
    size_t count = end->queue_count;
    forget_name(end);
    stop_connecting(end);
    list_remove(&end->all);
    list_remove(&end->kept);
    end->queue_count = 0;
    for (size_t i = 0; i < count; i++)
        sim_file_unref(&queue[i]->file);
    sim_delete(queue);
    net_leave(end);
    net_forget_files(&end->leaving, &end->leaving_count);
    net_forget_files(&end->came, &end->came_count);
    sim_delete(end);
}

static const struct sim_file_ops socket_ops = { .kind = "socket", .ready = ready, .closed = closed };

struct net_end *net_end_new(int domain)
{
    struct net_end *end = sim_new(sizeof(*end));
    end->file.ops = &socket_ops;
    end->file.references = 1;
    end->domain = domain;
    list_append(&ends, &end->all);
    list_init(&end->kept);
    return end;
}

struct net_end *net_socket(int domain) { return net_end_new(domain); }
int net_domain(const struct net_end *end) { return end->domain; }
bool net_is_net(const struct sim_file *file) { return file != NULL && file->ops == &socket_ops; }
bool net_is_listening(const struct net_end *end) { return end->state == NET_LISTENING; }

int net_connect_result(struct net_end *end)
{
    int error = end->error;
    end->error = 0;
    return error;
}

void net_names(const struct net_end *end, char local[48], uint16_t *local_port, char remote[48], uint16_t *remote_port)
{
    bool is_connected = end->state == NET_STREAM || end->state == NET_DEAD;
    (void)snprintf(local, 48, "%s", end->domain == AF_UNIX ? "" : end->address);
    (void)snprintf(remote, 48, "%s", is_connected ? end->remote : "");
    *local_port = end->port;
    *remote_port = is_connected ? end->remote_port : 0;
}

/* ---- names of path sockets --------------------------------------------------------------------------------------- */

static struct path_name *path_find(const struct sim_host *host, const char *path)
{
    LIST_EACH(node, &paths) {
        struct path_name *name = LIST_ENTRY(node, struct path_name, all);
        if (name->host == host && strcmp(name->path, path) == 0)
            return name;
    }
    return NULL;
}

bool net_path_is_socket(const struct sim_host *host, const char *path) { return path_find(host, path) != NULL; }

bool net_path_unlink(struct sim_host *host, const char *path)
{
    struct path_name *name = path_find(host, path);
    if (name == NULL)
        return false;
    list_remove(&name->all);
    sim_delete(name);
    return true;
}

static int bind_path(struct net_end *end, struct sim_host *host, const char *path)
{
    size_t size = strlen(path) + 1;
    if (path_find(host, path) != NULL)
        return -EADDRINUSE;
    struct path_name *name = sim_new(sizeof(*name) + size);
    name->host = host;
    name->end = end;
    memcpy(name->path, path, size);
    list_append(&paths, &name->all);
    end->is_bound = true;
    return 0;
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static bool overlaps(const struct net_end *end, const struct sim_host *host, const char *address, uint16_t port)
{
    return end->is_bound && end->host == host && end->port == port && end->domain != AF_UNIX && is_v6(end->address) == is_v6(address) &&
           (strcmp(end->address, address) == 0 || is_any(end->address) || is_any(address));
}

static bool is_taken(const struct sim_host *host, const char *address, uint16_t port)
{
    LIST_EACH(node, &ends)
        if (overlaps(LIST_ENTRY(node, struct net_end, all), host, address, port))
            return true;
    return false;
}

static uint16_t free_port(const struct sim_host *host, const char *address)
{
    do
        last_port = last_port == EPHEMERAL_LAST ? EPHEMERAL_FIRST : (uint16_t)(last_port + 1);
    while (is_taken(host, address, last_port));
    return last_port;
}

int net_bind(struct net_end *end, struct sim_host *host, const char *address, uint16_t port)
{
    if (end->is_bound || end->state != NET_FRESH)
        return -EINVAL;
    end->host = host;
    know(host);
    if (end->domain == AF_UNIX)
        return bind_path(end, host, address);
    if (address == NULL)
        address = end->domain == AF_INET6 ? "::" : "0.0.0.0";
    if (!is_any(address) && !is_loopback(address) && !has_address(host, address))
        return -EADDRNOTAVAIL;
    if (port != 0 && is_taken(host, address, port))
        return -EADDRINUSE;
    end->port = port != 0 ? port : free_port(host, address);
    (void)snprintf(end->address, sizeof(end->address), "%s", address);
    end->is_bound = true;
    return 0;
}

int net_listen(struct net_end *end)
{
    if (end->state == NET_LISTENING)
        return 0;
    if (!end->is_bound || end->state != NET_FRESH)
        return -EINVAL;
    end->state = NET_LISTENING;
    sim_file_changed(&end->file);
    return 0;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static struct net_end *listener_at(const struct sim_host *host, const char *address, uint16_t port)
{
    struct net_end *any = NULL;
    LIST_EACH(node, &ends) {
        struct net_end *end = LIST_ENTRY(node, struct net_end, all);
        if (end->state != NET_LISTENING || !overlaps(end, host, address, port))
            continue;
        if (!is_any(end->address))
            return end;
        any = end;
    }
    return any;
}

static void add_to_queue(struct net_end *listener, struct net_end *end)
{
    if (listener->queue_count == listener->queue_cap) {
        listener->queue_cap = listener->queue_cap == 0 ? 16 : listener->queue_cap * 2;
        listener->queue = sim_renew(listener->queue, listener->queue_cap * sizeof(struct net_end *));
    }
    listener->queue[listener->queue_count++] = end;
    sim_file_changed(&listener->file);
}

int net_accept(struct net_end *listener, struct net_end **out)
{
    if (listener->state != NET_LISTENING)
        return -EINVAL;
    if (listener->queue_count == 0)
        return -EAGAIN;
    *out = listener->queue[0];
    listener->queue_count--;
    memmove(listener->queue, listener->queue + 1, listener->queue_count * sizeof(struct net_end *));
    return 0;
}

static void refused(struct net_end *end, int error)
{
    end->state = NET_DEAD;
    end->error = error;
    sim_trace("connect to %s:%u: %s", end->remote, end->remote_port, strerror(error));
    sim_file_changed(&end->file);
}

static void on_connected(void *arg)
{
    struct net_end *end = arg;
    end->connecting = NULL;
    end->state = end->link != NULL ? NET_STREAM : NET_DEAD;
    sim_file_changed(&end->file);
}

/* The listener's side has it now; we hear of that half a round trip later. */
static void reach(struct net_end *end, struct net_end *listener)
{
    struct net_end *far = net_end_new(end->domain);
    far->host = listener->host;
    (void)snprintf(far->address, sizeof(far->address), "%s", end->remote);
    (void)snprintf(far->remote, sizeof(far->remote), "%s", end->address);
    far->port = end->remote_port;
    far->remote_port = end->port;
    struct net_link *link = net_join(end, far, false);
    end->state = NET_CONNECTING;
    int64_t when = sim_now_us() + link->delay_us;
    link->way[0].last_us = link->way[1].last_us = when;
    end->connecting = sim_at(when, on_connected, end);
    if (end->host != far->host && sim_chance(net_fault.hang)) {         /* there, but nobody speaks */
        link->is_cut = true;
        net_counted.cuts++;
    }
    add_to_queue(listener, far);
}

static void on_refused(void *arg)
{
    struct net_end *end = arg;
    end->connecting = NULL;
    refused(end, ECONNREFUSED);
}

static void on_syn(void *arg)
{
    struct net_end *end = arg;
    struct sim_host *host = host_at(end->host, end->remote);
    bool is_far = host != end->host;
    struct net_end *listener = host != NULL && host->is_up ? listener_at(host, end->remote, end->remote_port) : NULL;
    end->connecting = NULL;
    if (end->is_hanging || host == NULL || !host->is_up || net_is_partitioned(end->host, host) ||
        (listener != NULL && listener->queue_count >= NET_BACKLOG)) {
        if (sim_now_us() - end->syn_us > (int64_t)NET_CONNECT_GIVES_UP_S * 1000 * 1000) {
            refused(end, ETIMEDOUT);
            return;
        }
        end->connecting = sim_at(sim_now_us() + end->syn_retry_us, on_syn, end);
        end->syn_retry_us *= 2;
    } else if (listener == NULL || (is_far && sim_chance(net_fault.refuse))) {
        end->connecting = sim_at(sim_now_us() + net_fault.delay_us, on_refused, end);
    } else {
        reach(end, listener);
    }
}

static void name_self(struct net_end *end, struct sim_host *from)
{
    const char *own = is_loopback(end->remote) ? end->remote : NULL;
    bool is_named = end->address[0] != '\0' && !is_any(end->address);
    for (size_t i = 0; i < HOST_ADDRESSES_MAX && own == NULL; i++)
        if (from->addresses[i][0] != '\0' && is_v6(from->addresses[i]) == is_v6(end->remote))
            own = from->addresses[i];
    if (!is_named)
        (void)snprintf(end->address, sizeof(end->address), "%s", own != NULL ? own : is_v6(end->remote) ? "::1" : "127.0.0.1");
    if (end->port == 0)
        end->port = free_port(from, end->address);
}

static int connect_path(struct net_end *end, struct sim_host *from, const char *path)
{
    struct path_name *name = path_find(from, path);
    if (name == NULL)
        return -ENOENT;
    if (name->end == NULL || name->end->state != NET_LISTENING)
        return -ECONNREFUSED;
    if (name->end->queue_count >= NET_BACKLOG)
        return -EAGAIN;
    struct net_end *far = net_end_new(AF_UNIX);
    far->host = end->host = from;
    (void)net_join(end, far, true);
    add_to_queue(name->end, far);
    return 0;
}

int net_connect(struct net_end *end, struct sim_host *from, const char *address, uint16_t port)
{
    if (end->state != NET_FRESH)
        return end->state == NET_CONNECTING ? -EALREADY : end->state == NET_STREAM ? -EISCONN : -EINVAL;
    know(from);
    if (end->domain == AF_UNIX)
        return connect_path(end, from, address);
    if (is_v6(address) != (end->domain == AF_INET6) || strlen(address) >= sizeof(end->remote))
        return -EAFNOSUPPORT;
    end->host = from;
    (void)snprintf(end->remote, sizeof(end->remote), "%s", address);
    end->remote_port = port;
    name_self(end, from);
    bool is_far = host_at(from, address) != from;
    end->state = NET_CONNECTING;
    end->is_hanging = is_far && sim_chance(net_fault.hang);
    end->syn_us = sim_now_us();
    end->syn_retry_us = SYN_RETRY_US;
    int64_t delay = is_far ? net_fault.delay_us + (int64_t)sim_below((uint64_t)net_fault.jitter_us + 1) : 20;
    end->connecting = sim_at(sim_now_us() + delay, on_syn, end);
    return -EINPROGRESS;
}

int net_pair(struct net_end *pair[2])
{
    for (size_t i = 0; i < 2; i++) {
        pair[i] = net_end_new(AF_UNIX);
        pair[i]->host = sim_self_host();
    }
    (void)net_join(pair[0], pair[1], true);
    return 0;
}

/* ---- power ------------------------------------------------------------------------------------------------------- */

/* Where the names of sockets lie may be memory or the disk. */
static void lose_paths(const struct sim_host *host)
{
    bool is_memory = sim_chance(500000);
    LIST_EACH(node, &paths) {
        struct path_name *name = LIST_ENTRY(node, struct path_name, all);
        if (name->host != host)
            continue;
        name->end = NULL;
        if (is_memory) {
            list_remove(node);
            sim_delete(name);
        }
    }
}

void net_host_lost(struct sim_host *host)
{
    LIST_EACH(node, &ends) {
        struct net_end *end = LIST_ENTRY(node, struct net_end, all);
        if (end->host != host)
            continue;
        end->is_bound = false;
        stop_connecting(end);
        if (end->state != NET_STREAM)
            end->state = NET_DEAD;
    }
    net_streams_lost(host);
    lose_paths(host);
}
