/* Bytes between two ends: see net.h.
 *
 * What is written is cut into pieces that arrive one after the other; the end of a direction and a reset travel as pieces
 * too. A piece that cannot get through (a partition, a cut, a host without power) is tried again after growing pauses, as TCP does, until it
 * gives up; a host that is back and knows nothing of the connection answers with a reset. A direction holds `room` bytes: then its
 * writer waits for the reader. */
#include "sim/net_inner.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    LOCAL_ROOM = 208 * 1024,                    /* net.core.wmem_default */
    SMALL_ROOM = 4096,
    PIECE_MAX = 32768,
    TINY_PIECES_MAX = 32,                       /* of one write; the rest comes as usual */
    RETRY_FIRST_US = 200 * 1000,
    RETRY_MAX_US = 120 * 1000 * 1000,
    LOST_PER_MILLION = 2000,                    /* of the pieces, once: sent again after a pause */
};

struct net_faults net_fault;
static struct list links;

void net_stream_begin(void)
{
    list_init(&links);                  /* what the last run left is not freed: its files are of a kernel that is gone */
    memset(&net_fault, 0, sizeof(net_fault));
}

void net_set_faults(const struct net_faults *faults) { net_fault = *faults; }

static void changed(struct net_end *end)
{
    if (end != NULL)
        sim_file_changed(&end->file);
}

static struct net_way *way_out(const struct net_end *end) { return &end->link->way[end->side]; }
static struct net_way *way_in(const struct net_end *end) { return &end->link->way[1 - end->side]; }

/* ---- links ------------------------------------------------------------------------------------------------------- */

static size_t room_of(bool is_local)
{
    if (is_local)
        return LOCAL_ROOM;
    return sim_chance(125000) ? SMALL_ROOM + sim_below(8 * SMALL_ROOM) : NET_BUFFER_BYTES;
}

struct net_link *net_join(struct net_end *near, struct net_end *far, bool is_local)
{
    struct net_link *link = sim_new(sizeof(*link));
    bool is_same_host = near->host == far->host;
    list_append(&links, &link->all);
    link->is_local = is_local;
    link->room = room_of(is_local);
    link->delay_us = is_same_host ? 20 : net_fault.delay_us + (int64_t)sim_below((uint64_t)net_fault.jitter_us + 1);
    link->jitter_us = is_same_host ? 50 : net_fault.jitter_us / 4;
    for (unsigned i = 0; i < 2; i++) {
        struct net_end *end = i == 0 ? near : far;
        link->way[i] = (struct net_way){ .link = link, .from = i };
        link->end[i] = end;
        link->host[i] = end->host;
        end->link = link;
        end->side = i;
        end->state = NET_STREAM;
    }
    net_counted.connections++;
    return link;
}

static void free_way(struct net_way *way)
{
    if (way->arrival != NULL)
        sim_cancel(way->arrival);
    way->arrival = NULL;
    size_t count = way->mark_count;
    struct net_mark *marks = way->marks;
    way->mark_count = 0;
    way->marks = NULL;
    for (size_t i = 0; i < count; i++)
        sim_file_unref(marks[i].file);
    sim_delete(marks);
    sim_delete(way->bytes);
    sim_delete(way->pieces);
}

static void free_link(struct net_link *link)
{
    list_remove(&link->all);
    if (link->keepalive != NULL)
        sim_cancel(link->keepalive);
    free_way(&link->way[0]);
    free_way(&link->way[1]);
    sim_delete(link);
}

/* The end hears of an error; what has arrived can still be read. */
static void fail_end(struct net_end *end, int error)
{
    if (end == NULL || end->state != NET_STREAM)
        return;
    end->error = error == ECONNRESET && way_in(end)->has_ended ? EPIPE : error;
    way_in(end)->has_ended = true;
    way_out(end)->is_shut = true;
    end->state = NET_DEAD;
    sim_trace("connection %s:%u - %s:%u: %s", end->address, end->port, end->remote, end->remote_port, strerror(error));
    changed(end);
}

/* ---- pieces on their way ----------------------------------------------------------------------------------------- */

static void on_arrival(void *arg);

static void schedule(struct net_way *way)
{
    if (way->arrival != NULL || way->piece_count == 0)
        return;
    int64_t when = way->pieces[0].when_us;
    way->arrival = sim_at(when > sim_now_us() ? when : sim_now_us(), on_arrival, way);
}

static void add_piece(struct net_way *way, enum net_piece_kind kind, uint64_t end, int64_t when_us)
{
    if (way->piece_count == way->piece_cap) {
        way->piece_cap = way->piece_cap == 0 ? 8 : way->piece_cap * 2;
        way->pieces = sim_renew(way->pieces, way->piece_cap * sizeof(way->pieces[0]));
    }
    if (when_us < way->last_us)
        when_us = way->last_us;
    way->last_us = when_us;
    way->pieces[way->piece_count++] = (struct net_piece){ .end = end, .when_us = when_us, .kind = kind };
    schedule(way);
}

static int64_t travel_us(const struct net_link *link)
{
    int64_t us = link->delay_us + (int64_t)sim_below((uint64_t)link->jitter_us + 1);
    if (link->jitter_us > 0 && link->host[0] != link->host[1] && sim_chance(LOST_PER_MILLION))
        us += RETRY_FIRST_US + (int64_t)sim_below(1000 * 1000);
    return us;
}

static void send_mark(struct net_way *way, enum net_piece_kind kind)
{
    add_piece(way, kind, way->sent, sim_now_us() + travel_us(way->link));
}

/* Both sides hear of it; what was to come behind it never does. */
static void reset_by_chance(struct net_way *way, uint64_t at)
{
    net_counted.resets++;
    send_mark(&way->link->way[1 - way->from], NET_RESET);
    add_piece(way, NET_RESET, at, sim_now_us() + travel_us(way->link));
}

static void send_pieces(struct net_way *way, uint64_t from)
{
    const struct net_link *link = way->link;
    bool is_far = link->host[0] != link->host[1];
    unsigned tiny = sim_chance(net_fault.tiny_pieces) ? TINY_PIECES_MAX : 0;
    int64_t when = sim_now_us() + travel_us(link);
    for (uint64_t at = from; at < way->sent; net_counted.pieces++) {
        uint64_t most = tiny > 0 ? 3 : PIECE_MAX, left = way->sent - at;
        uint64_t len = left < 1500 && tiny == 0 ? left : 1 + sim_below(left < most ? left : most);
        tiny -= tiny > 0 ? 1 : 0;
        if (is_far && sim_chance(net_fault.reset)) {
            reset_by_chance(way, at + sim_below(len + 1));
            return;
        }
        if (is_far && sim_chance(net_fault.cut_silently)) {
            way->link->is_cut = true;
            net_counted.cuts++;
        }
        at += len;
        add_piece(way, NET_BYTES, at, when);
        when += (int64_t)sim_below((uint64_t)link->jitter_us / 8 + 2);
    }
}

/* ---- arriving ---------------------------------------------------------------------------------------------------- */

enum path { PATH_OPEN, PATH_BLOCKED, PATH_FORGOTTEN };

static enum path path_of(const struct net_way *way)
{
    const struct net_link *link = way->link;
    unsigned to = 1 - way->from;
    if (link->is_cut || net_is_partitioned(link->host[0], link->host[1]))
        return PATH_BLOCKED;
    if (!link->is_lost[to])
        return PATH_OPEN;
    return link->host[to]->is_up ? PATH_FORGOTTEN : PATH_BLOCKED;
}

static void drop_pieces(struct net_way *way)
{
    way->piece_count = 0;
    if (way->arrival != NULL)
        sim_cancel(way->arrival);
    way->arrival = NULL;
}

static void retry_later(struct net_way *way)
{
    int64_t now = sim_now_us();
    if (way->blocked_us == 0) {
        way->blocked_us = now;
        way->retry_us = RETRY_FIRST_US;
    }
    if (now - way->blocked_us > (int64_t)NET_GIVES_UP_S * 1000 * 1000) {
        drop_pieces(way);
        fail_end(way->link->end[way->from], ETIMEDOUT);
        return;
    }
    way->arrival = sim_at(now + way->retry_us, on_arrival, way);
    way->retry_us = way->retry_us * 2 < RETRY_MAX_US ? way->retry_us * 2 : RETRY_MAX_US;
}

/* Bytes for someone who has closed: refused with a reset. */
static void refuse(struct net_way *way)
{
    drop_pieces(way);
    if (!way->link->is_local && way->link->end[way->from] != NULL)
        send_mark(&way->link->way[1 - way->from], NET_RESET);
}

static void take_in(struct net_way *way, const struct net_piece *piece)
{
    struct net_end *to = way->link->end[1 - way->from];
    if (piece->end > way->arrived && to != NULL && to->state == NET_STREAM) {
        net_counted.bytes += piece->end - way->arrived;
        way->arrived = piece->end;
    }
    if (piece->kind == NET_RESET)
        fail_end(to, ECONNRESET);
    else if (piece->kind == NET_FIN)
        way->has_ended = true;
}

static void on_arrival(void *arg)
{
    struct net_way *way = arg;
    struct net_end *to = way->link->end[1 - way->from];
    enum path path = path_of(way);
    size_t done = 0;
    way->arrival = NULL;
    if (path == PATH_BLOCKED) {
        retry_later(way);
        return;
    }
    way->blocked_us = 0;
    if (path == PATH_FORGOTTEN) {
        drop_pieces(way);
        fail_end(way->link->end[way->from], ECONNRESET);
        return;
    }
    if (to == NULL && way->pieces[0].kind == NET_BYTES) {
        refuse(way);
        return;
    }
    for (; done < way->piece_count && way->pieces[done].when_us <= sim_now_us(); done++)
        take_in(way, &way->pieces[done]);
    way->piece_count -= done;
    memmove(way->pieces, way->pieces + done, way->piece_count * sizeof(way->pieces[0]));
    changed(to);
    schedule(way);
}

void net_streams_retry(void)
{
    LIST_EACH(node, &links) {
        struct net_link *link = LIST_ENTRY(node, struct net_link, all);
        for (unsigned i = 0; i < 2; i++) {
            struct net_way *way = &link->way[i];
            if (way->blocked_us == 0 || way->arrival == NULL || path_of(way) != PATH_OPEN)
                continue;
            sim_cancel(way->arrival);
            way->arrival = sim_at(sim_now_us() + (int64_t)sim_below(4 * 1000 * 1000), on_arrival, way);
        }
    }
}

/* ---- hosts without power ----------------------------------------------------------------------------------------- */

/* Nobody has answered for two hours: whoever still waits is told. */
static void on_keepalive(void *arg)
{
    struct net_link *link = arg;
    link->keepalive = NULL;
    for (unsigned i = 0; i < 2; i++) {
        enum path path = path_of(&link->way[i]);
        if (path != PATH_OPEN)
            fail_end(link->end[i], path == PATH_FORGOTTEN ? ECONNRESET : ETIMEDOUT);
    }
}

static void begin_keepalive(struct net_link *link)
{
    if (!link->is_local && link->keepalive == NULL)
        link->keepalive = sim_at(sim_now_us() + (int64_t)NET_KEEPALIVE_S * 1000 * 1000, on_keepalive, link);
}

static void forget_side(struct net_link *link, unsigned side)
{
    struct net_end *end = link->end[side];
    link->is_lost[side] = true;
    if (end == NULL)
        return;
    link->end[side] = NULL;
    end->link = NULL;
    end->state = NET_DEAD;
    begin_keepalive(link);
}

/* One at a time: what it carried may close others. */
static bool free_one(void)
{
    LIST_EACH(node, &links) {
        struct net_link *link = LIST_ENTRY(node, struct net_link, all);
        if (link->end[0] != NULL || link->end[1] != NULL)
            continue;
        free_link(link);
        return true;
    }
    return false;
}

void net_streams_lost(struct sim_host *host)
{
    LIST_EACH(node, &links) {
        struct net_link *link = LIST_ENTRY(node, struct net_link, all);
        for (unsigned i = 0; i < 2; i++)
            if (link->host[i] == host)
                forget_side(link, i);
    }
    while (free_one())
        ;
}

/* ---- leaving ----------------------------------------------------------------------------------------------------- */

static void shut_out(struct net_end *end)
{
    struct net_way *way = way_out(end);
    if (way->is_shut)
        return;
    way->is_shut = true;
    if (end->link->is_local) {
        way->has_ended = true;
        changed(end->link->end[1 - end->side]);
    } else {
        send_mark(way, NET_FIN);
    }
}

/* As Linux: the peer of a Unix socket is told at once, with an error when something of what it said was not read. */
static void leave_local(struct net_end *end, bool was_unread)
{
    struct net_end *peer = end->link->end[1 - end->side];
    way_out(end)->is_shut = way_out(end)->has_ended = true;
    way_in(end)->is_shut = true;
    if (peer != NULL && was_unread)
        peer->error = ECONNRESET;
    changed(peer);
}

/* A TCP socket that is closed with unread input resets the connection, and what it said last may never arrive. */
static void leave_far(struct net_end *end, bool was_unread)
{
    struct net_way *way = way_out(end);
    if (end->state == NET_STREAM && was_unread) {
        drop_pieces(way);
        way->sent = way->arrived;
        send_mark(way, NET_RESET);
        way->is_shut = true;
    } else if (end->state == NET_STREAM) {
        shut_out(end);
    }
    if (end->link->is_cut)
        begin_keepalive(end->link);
}

void net_leave(struct net_end *end)
{
    struct net_link *link = end->link;
    if (link == NULL)
        return;
    bool was_unread = way_in(end)->arrived > way_in(end)->taken;
    if (link->is_local)
        leave_local(end, was_unread);
    else
        leave_far(end, was_unread);
    link->end[end->side] = NULL;
    end->link = NULL;
    if (link->end[0] == NULL && link->end[1] == NULL)
        free_link(link);
}

int net_shutdown(struct net_end *end, int how)
{
    if (end->link == NULL || end->state != NET_STREAM)
        return -ENOTCONN;
    if (how == SHUT_WR || how == SHUT_RDWR)
        shut_out(end);
    if (how == SHUT_RD || how == SHUT_RDWR)
        way_in(end)->has_ended = true;
    changed(end);
    return 0;
}

/* ---- files that travel ------------------------------------------------------------------------------------------- */

void net_forget_files(struct sim_file ***files, size_t *count)
{
    struct sim_file **list = *files;
    size_t number = *count;
    *files = NULL;
    *count = 0;
    for (size_t i = 0; i < number; i++)
        sim_file_unref(list[i]);
    sim_delete(list);
}

static void add_file(struct sim_file ***files, size_t *count, struct sim_file *file)
{
    *files = sim_renew(*files, (*count + 1) * sizeof(**files));
    (*files)[(*count)++] = file;
}

int net_send_file(struct net_end *end, struct sim_file *file)
{
    if (end->domain != AF_UNIX)
        return -EINVAL;
    sim_file_ref(file);
    add_file(&end->leaving, &end->leaving_count, file);
    return 0;
}

struct sim_file *net_take_file(struct net_end *end)
{
    if (end->came_count == 0)
        return NULL;
    struct sim_file *file = end->came[0];
    end->came_count--;
    memmove(end->came, end->came + 1, end->came_count * sizeof(end->came[0]));
    return file;
}

static void mark_files(struct net_end *end, struct net_way *way, uint64_t from)
{
    for (size_t i = 0; i < end->leaving_count; i++) {
        if (way->mark_count == way->mark_cap) {
            way->mark_cap = way->mark_cap == 0 ? 4 : way->mark_cap * 2;
            way->marks = sim_renew(way->marks, way->mark_cap * sizeof(way->marks[0]));
        }
        way->marks[way->mark_count++] = (struct net_mark){ .from = from, .to = way->sent, .file = end->leaving[i] };
    }
    end->leaving_count = 0;
}

static void bring_files(struct net_end *end, struct net_way *way)
{
    size_t done = 0;
    for (; done < way->mark_count && way->marks[done].from < way->taken; done++)
        add_file(&end->came, &end->came_count, way->marks[done].file);
    if (done == 0)
        return;
    way->mark_count -= done;
    memmove(way->marks, way->marks + done, way->mark_count * sizeof(way->marks[0]));
}

/* ---- reading and writing ------------------------------------------------------------------------------------------ */

static int take_error(struct net_end *end)
{
    int error = end->error;
    end->error = 0;
    return error;
}

static uint64_t in_use(const struct net_way *way) { return way->sent - way->taken; }

/* A writer is woken when a third is free, not for each byte. */
static bool is_writable(const struct net_way *way) { return in_use(way) <= way->link->room * 2 / 3; }

static void keep_bytes(struct net_way *way, const void *data, size_t len)
{
    size_t used = (size_t)in_use(way);
    if (used + len > way->cap) {
        way->cap = used + len > 4096 ? used + len + (used + len) / 2 : 4096;
        way->bytes = sim_renew(way->bytes, way->cap);
    }
    memcpy(way->bytes + used, data, len);
    way->sent += len;
}

int64_t net_write(struct net_end *end, const void *data, size_t len)
{
    int error = take_error(end);
    if (error == 0 && (end->state == NET_FRESH || end->state == NET_LISTENING))
        error = ENOTCONN;
    else if (error == 0 && end->state == NET_CONNECTING)
        error = EAGAIN;
    else if (error == 0 && (end->link == NULL || way_out(end)->is_shut))
        error = EPIPE;
    else if (error == 0 && in_use(way_out(end)) >= end->link->room)
        error = EAGAIN;
    if (error != 0 || len == 0) {
        net_forget_files(&end->leaving, &end->leaving_count);
        return -error;
    }
    struct net_way *way = way_out(end);
    uint64_t from = way->sent, room = end->link->room - in_use(way);
    keep_bytes(way, data, len < room ? len : (size_t)room);
    mark_files(end, way, from);
    if (end->link->is_local) {
        way->arrived = way->sent;
        changed(end->link->end[1 - end->side]);
    } else {
        send_pieces(way, from);
        if (end->link->is_cut)
            begin_keepalive(end->link);
    }
    return (int64_t)(way->sent - from);
}

static size_t readable(const struct net_way *way, size_t len)
{
    uint64_t most = way->arrived - way->taken;
    if (most > len)
        most = len;
    if (way->mark_count > 0 && way->marks[0].from < way->taken + most && way->marks[0].to - way->taken < most)
        most = way->marks[0].to - way->taken;
    return (size_t)most;
}

static void consume(struct net_end *end, struct net_way *way, size_t len)
{
    bool was_full = !is_writable(way);
    size_t left = (size_t)in_use(way) - len;
    memmove(way->bytes, way->bytes + len, left);
    way->taken += len;
    if (left == 0) {
        sim_delete(way->bytes);
        way->bytes = NULL;
        way->cap = 0;
    }
    bring_files(end, way);
    if (was_full && is_writable(way))
        changed(end->link->end[1 - end->side]);
}

int64_t net_read(struct net_end *end, void *data, size_t len, bool peek)
{
    if (!peek)
        net_forget_files(&end->came, &end->came_count);
    if (end->link == NULL) {
        int error = take_error(end);
        return error != 0 ? -error : end->state == NET_DEAD ? 0 : end->state == NET_CONNECTING ? -EAGAIN : -ENOTCONN;
    }
    struct net_way *way = way_in(end);
    size_t count = readable(way, len);
    if (count > 0) {
        memcpy(data, way->bytes, count);
        if (!peek)
            consume(end, way, count);
        return (int64_t)count;
    }
    int error = take_error(end);
    if (error != 0)
        return -error;
    return way->has_ended || len == 0 ? 0 : -EAGAIN;
}

unsigned net_stream_ready(const struct net_end *end)
{
    if (end->link == NULL)
        return SIM_READABLE | SIM_WRITABLE | SIM_HANGUP | SIM_PEER_SHUT | (end->error != 0 ? SIM_ERROR : 0u);
    const struct net_way *in = way_in(end), *out = way_out(end);
    unsigned ready = end->error != 0 ? SIM_ERROR | SIM_READABLE | SIM_WRITABLE : 0;
    if (in->arrived > in->taken)
        ready |= SIM_READABLE;
    if (in->has_ended)
        ready |= SIM_READABLE | SIM_PEER_SHUT;
    if (out->is_shut || is_writable(out))
        ready |= SIM_WRITABLE;
    if (in->has_ended && out->is_shut)
        ready |= SIM_HANGUP;
    return ready;
}
