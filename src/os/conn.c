/* Stream connections on a loop: see conn.h. All reads and writes of sockets are in this file.
 *
 * A connection that its owner closes is dead at once (no event follows) and freed at the end of the turn, so that closing
 * is safe from within any of its own events. */
#include "os/conn_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- telling the owner ------------------------------------------------------------------------------------------- */

void conn_tell(struct conn *conn, enum conn_event event)
{
    if (!conn->is_dead && !conn->is_lingering)
        conn->owner.event(conn->owner.arg, conn, event);
}

static void stop_watching(struct conn *conn)
{
    if (conn->is_watching)
        loop_unwatch(conn->loop, &conn->watch);
    conn->is_watching = false;
    loop_timer_stop(conn->loop, &conn->timer);
    loop_task_drop(&conn->flush_task);
    loop_task_drop(&conn->input_task);
}

void conn_end(struct conn *conn, const char *format, ...)
{
    va_list arguments;
    if (conn->is_ended || conn->is_dead)
        return;
    conn->is_ended = true;
    va_start(arguments, format);
    if (!conn->is_finishing)            /* conn_finish knows better */
        (void)vsnprintf(conn->why, sizeof(conn->why), format, arguments);
    va_end(arguments);
    stop_watching(conn);
    if (conn->is_lingering)
        conn_close(conn);
    else
        conn_tell(conn, CONN_CLOSED);
}

static void give_back(const struct conn *conn, struct buf *buf)
{
    if (conn->holds_secrets && buf->data != NULL)
        explicit_bzero(buf->data, buf->cap);
    buf_free(buf);
}

static bool is_over(const struct conn *conn) { return conn->is_dead || conn->is_ended; }

static size_t input_room(const struct conn *conn)
{
    size_t len = buf_len(&conn->input);
    return len < conn->limits.input_max ? conn->limits.input_max - len : 0;
}

static size_t unsent(const struct conn *conn) { return buf_len(&conn->output) + buf_len(&conn->sealed); }

static bool wants_write(const struct conn *conn)
{
    return conn->is_connecting || buf_len(&conn->sealed) != 0 || (conn->tls == NULL && buf_len(&conn->output) != 0);
}

static bool wants_read(const struct conn *conn)
{
    if (conn->is_connecting || conn->is_peer_done)
        return false;
    if (conn->is_lingering)
        return true;
    return !conn->is_paused && !conn->is_read_off && conn->received_count < CONN_FDS_IN_MAX;
}

/* A connection that wants nothing is not watched at all: a hang-up would be reported without end, and what the peer sent
 * before it is still to be read when the owner goes on. */
static void update_interest(struct conn *conn)
{
    if (is_over(conn))
        return;
    conn->is_read_off = input_room(conn) == 0;
    /* What is flushed at the end of this turn has most often gone then: room is asked for when something is left. */
    bool waits_for_room = wants_write(conn) && (conn->is_connecting || !loop_task_waits(&conn->flush_task));
    unsigned events = (waits_for_room ? LOOP_WRITE : 0u) | (wants_read(conn) ? LOOP_READ : 0u);
    if (events != 0 && conn->is_watching) {
        loop_watch_change(conn->loop, &conn->watch, events);
    } else if (events != 0) {
        conn->watch.events = events;
        conn->is_watching = loop_watch(conn->loop, &conn->watch);
        if (!conn->is_watching)
            conn_end(conn, "cannot be watched: %s", strerror(errno));
    } else if (conn->is_watching) {
        loop_unwatch(conn->loop, &conn->watch);
        conn->is_watching = false;
    }
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static ssize_t send_with_fd(struct conn *conn, struct slice bytes)
{
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec part = { .iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.space) };
    memset(&control, 0, sizeof(control));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &conn->to_send[0].fd, sizeof(int));
    ssize_t sent = sendmsg(conn->watch.fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == ETOOMANYREFS)      /* too many are under way: the peer has to take some first */
        errno = EAGAIN;
    if (sent > 0) {
        (void)close(conn->to_send[0].fd);
        conn->to_send_count--;
        memmove(&conn->to_send[0], &conn->to_send[1], conn->to_send_count * sizeof(conn->to_send[0]));
    }
    return sent;
}

/* Descriptors go with the byte they belong to: a write never runs past the next one's place. */
static ssize_t send_some(struct conn *conn, struct slice bytes)
{
    if (conn->to_send_count == 0)
        return send(conn->watch.fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
    size_t next = conn->to_send[0].at == conn->sent_bytes ? 1 : 0;
    if (next < conn->to_send_count)
        bytes = slice_sub(bytes, 0, (size_t)(conn->to_send[next].at - conn->sent_bytes));
    return next == 1 ? send_with_fd(conn, bytes) : send(conn->watch.fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
}

/* False: ended, or the socket is full. */
static bool send_buf(struct conn *conn, struct buf *from)
{
    while (buf_len(from) != 0) {
        ssize_t sent = send_some(conn, buf_slice(from));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return false;
        if (sent < 0) {
            conn_end(conn, "%s", strerror(errno));
            return false;
        }
        buf_consume(from, (size_t)sent);
        conn->sent_bytes += (uint64_t)sent;
        conn->active_ms = loop_now_ms(conn->loop);
    }
    give_back(conn, from);                     /* an idle connection holds no buffer */
    return true;
}

/* The last byte is out. On a TCP connection closing now, with unread input, would reset it and could destroy that byte on
 * its way: our side is shut down, and what the peer still says is read and forgotten until it ends too. */
static void begin_draining(struct conn *conn)
{
    if (conn->is_local || conn->is_peer_done || shutdown(conn->watch.fd, SHUT_WR) != 0) {
        conn_close(conn);
        return;
    }
    conn->is_draining = true;
    conn->timeout_ms = 0;
    conn->deadline_ms = loop_now_ms(conn->loop) + CONN_DRAIN_MS;
    conn_arm(conn);
    update_interest(conn);
}

static void send_all(struct conn *conn)
{
    if (conn->tls == NULL)
        (void)send_buf(conn, &conn->output);
    else
        while (tls_seal(conn) && buf_len(&conn->sealed) != 0 && send_buf(conn, &conn->sealed))
            ;
}

static void write_out(struct conn *conn)
{
    if (is_over(conn) || conn->is_connecting || conn->is_draining)
        return;
    if (conn->output.overflow) {
        conn_end(conn, unsent(conn) < conn->limits.output_max / 2 ? "out of memory" : "the peer does not take what it asked for");
        return;
    }
    send_all(conn);
    if (is_over(conn))
        return;
    if (conn->is_lingering && buf_len(&conn->output) == 0 && conn->tls != NULL) {
        tls_say_goodbye(conn);
        (void)send_buf(conn, &conn->sealed);
    }
    if (!is_over(conn) && conn->is_lingering && unsent(conn) == 0)
        begin_draining(conn);
    if (is_over(conn) || conn->is_draining)
        return;
    update_interest(conn);
    bool was_full = conn->was_full;
    conn->was_full = false;
    if (was_full && !conn_output_is_full(conn))
        conn_tell(conn, CONN_FLUSHED);
}

/* A peer that broke off may be gone when the alert that tells it is sent: why it ended is what happened first. */
void conn_finish(struct conn *conn, const char *why)
{
    if (is_over(conn))
        return;
    (void)snprintf(conn->why, sizeof(conn->why), "%s", why);
    conn->is_finishing = true;
    write_out(conn);
    conn_end(conn, "%s", why);
}

static void on_flush_task(struct loop_task *task) { write_out(LIST_ENTRY(task, struct conn, flush_task)); }

void conn_flush(struct conn *conn)
{
    if (!is_over(conn))
        loop_task_add(conn->loop, &conn->flush_task);
}

bool conn_output_is_full(struct conn *conn)
{
    size_t full = conn->limits.output_full != 0 ? conn->limits.output_full : conn->limits.output_max / 2;
    if (unsent(conn) <= full)
        return false;
    conn->was_full = true;
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool keep_fd(struct conn *conn, int fd)
{
    if (conn->received == NULL)
        conn->received = calloc(CONN_FDS_IN_MAX, sizeof(conn->received[0]));
    if (conn->received == NULL || conn->received_count == CONN_FDS_IN_MAX)
        return false;
    conn->received[conn->received_count++] = fd;
    return true;
}

/* One that got lost because this process may have no more descriptors leaves a gap (-1): those behind it must not be taken
 * for it, since what they lead to belongs to somebody else. */
static void keep_fds(struct conn *conn, struct msghdr *message)
{
    size_t before = conn->received_count;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (!keep_fd(conn, fd))
                (void)close(fd);
        }
    }
    if ((message->msg_flags & MSG_CTRUNC) != 0 && conn->received_count == before)
        (void)keep_fd(conn, -1);
}

/* The kernel ends a read behind each message that carries descriptors, so they come one by one, each with its byte. */
static ssize_t receive(struct conn *conn, char *room, size_t size)
{
    if (!conn->carries_fds)
        return recv(conn->watch.fd, room, size, 0);
    union { struct cmsghdr header; char space[CMSG_SPACE(4 * sizeof(int))]; } control;
    struct iovec part = { .iov_base = room, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.space) };
    ssize_t got = recvmsg(conn->watch.fd, &message, MSG_CMSG_CLOEXEC);
    if (got >= 0)
        keep_fds(conn, &message);
    return got;
}

static void peer_is_done(struct conn *conn)
{
    conn->is_peer_done = true;
    if (conn->is_draining)
        conn_close(conn);
    else if (conn->is_lingering)
        update_interest(conn);          /* it may still be reading */
    else
        conn_finish(conn, conn->tls != NULL ? "closed by the peer without ending TLS" : "closed by the peer");
}

/* An idle connection holds no buffer. */
static void tell_input(struct conn *conn)
{
    conn_tell(conn, CONN_INPUT);
    if (!conn->is_dead && buf_len(&conn->input) == 0)
        give_back(conn, &conn->input);
}

static void took(struct conn *conn, struct slice bytes)
{
    if (conn->is_lingering)
        return;                         /* thrown away: nothing more is heard */
    conn->active_ms = loop_now_ms(conn->loop);
    if (conn->tls == NULL && !buf_append(&conn->input, bytes))
        conn_end(conn, "out of memory");
    else if (conn->tls == NULL || (tls_took(conn, bytes) && buf_len(&conn->input) != 0))
        tell_input(conn);
}

/* One read: of no more than input has room for, which with TLS is more than what comes out of it. False: nothing came. */
static bool read_in(struct conn *conn)
{
    char bytes[CONN_READ_SIZE];
    size_t room = conn->is_lingering ? sizeof(bytes) : input_room(conn);
    ssize_t got = receive(conn, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (got < 0)
        conn_end(conn, "%s", strerror(errno));
    else if (got == 0)
        peer_is_done(conn);
    else
        took(conn, (struct slice){ bytes, (size_t)got });
    update_interest(conn);
    if (conn->holds_secrets && got > 0)
        explicit_bzero(bytes, (size_t)got);
    return got > 0;
}

bool conn_read_now(struct conn *conn)
{
    return !is_over(conn) && wants_read(conn) && input_room(conn) != 0 && read_in(conn);
}

static void on_input_task(struct loop_task *task)
{
    struct conn *conn = LIST_ENTRY(task, struct conn, input_task);
    bool is_owed = conn->is_input_owed;
    conn->is_input_owed = false;
    if (is_over(conn))
        return;
    if (is_owed && !conn->is_paused && !conn->is_handshaking)
        tell_input(conn);
    update_interest(conn);
}

void conn_input_again(struct conn *conn)
{
    if (is_over(conn) || conn->is_lingering)
        return;
    conn->is_input_owed = true;
    loop_task_add(conn->loop, &conn->input_task);
}

/* Whoever looks at a full input is about to make room in it: reading goes on when he has. */
struct buf *conn_input(struct conn *conn)
{
    if (conn->is_read_off && !is_over(conn))
        loop_task_add(conn->loop, &conn->input_task);
    return &conn->input;
}

struct buf *conn_output(struct conn *conn) { return &conn->output; }

void conn_pause(struct conn *conn, bool is_paused)
{
    if (conn->is_paused == is_paused || is_over(conn) || conn->is_lingering)
        return;
    conn->is_paused = is_paused;
    if (!is_paused && buf_len(&conn->input) != 0)
        conn_input_again(conn);
    update_interest(conn);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void on_connected(struct conn *conn)
{
    int err = 0;
    socklen_t len = sizeof(err);
    (void)getsockopt(conn->watch.fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err != 0) {
        conn_end(conn, "%s", strerror(err));
        return;
    }
    conn->is_connecting = false;
    (void)peer_of_fd(conn->watch.fd, &conn->peer);
    conn_timeout(conn, 0);
    update_interest(conn);
    conn_tell(conn, CONN_CONNECTED);
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct conn *conn = LIST_ENTRY(watch, struct conn, watch);
    if (conn->is_connecting) {
        if (events & LOOP_WRITE)
            on_connected(conn);
        return;
    }
    if ((events & LOOP_WRITE) && wants_write(conn))
        write_out(conn);
    if ((events & LOOP_READ) && !is_over(conn) && wants_read(conn))
        (void)read_in(conn);
}

/* Set once and looked at when it expires: activity only notes the time. */
static int64_t due_ms(const struct conn *conn)
{
    int64_t idle = conn->timeout_ms > 0 ? conn->active_ms + conn->timeout_ms : INT64_MAX;
    int64_t deadline = conn->deadline_ms > 0 ? conn->deadline_ms : INT64_MAX;
    return idle < deadline ? idle : deadline;
}

void conn_arm(struct conn *conn)
{
    int64_t due = due_ms(conn);
    if (due == INT64_MAX || is_over(conn))
        loop_timer_stop(conn->loop, &conn->timer);
    else if (!heap_holds(&conn->timer.node) || conn->timer.node.key > due)
        loop_timer_set(conn->loop, &conn->timer, due - loop_now_ms(conn->loop));
}

static void time_out(struct conn *conn)
{
    if (!conn->is_connecting && !conn->is_handshaking)
        conn_tell(conn, CONN_TIMED_OUT);
    if (!is_over(conn) && !conn->is_lingering)
        conn_end(conn, conn->is_connecting ? "timed out connecting" : conn->is_handshaking ? "TLS handshake timed out" : "timed out");
}

static void on_timer(struct loop_timer *timer)
{
    struct conn *conn = LIST_ENTRY(timer, struct conn, timer);
    if (due_ms(conn) > loop_now_ms(conn->loop))
        conn_arm(conn);
    else if (conn->is_lingering)
        conn_close(conn);
    else
        time_out(conn);
}

void conn_timeout(struct conn *conn, int64_t ms)
{
    conn->timeout_ms = ms;
    conn->active_ms = loop_now_ms(conn->loop);
    conn_arm(conn);
}

static void on_free_task(struct loop_task *task)
{
    struct conn *conn = LIST_ENTRY(task, struct conn, free_task);
    give_back(conn, &conn->input);
    give_back(conn, &conn->output);
    buf_free(&conn->sealed);
    tls_free(conn);
    free(conn->to_send);
    free(conn->received);
    free(conn);
}

void conn_close(struct conn *conn)
{
    if (conn->is_dead)
        return;
    conn->is_dead = true;
    stop_watching(conn);
    if (conn->watch.fd >= 0)
        (void)close(conn->watch.fd);
    conn->watch.fd = -1;
    for (size_t i = 0; i < conn->to_send_count; i++)
        (void)close(conn->to_send[i].fd);
    for (size_t i = 0; i < conn->received_count; i++)
        if (conn->received[i] >= 0)
            (void)close(conn->received[i]);
    conn->to_send_count = conn->received_count = 0;
    loop_task_add(conn->loop, &conn->free_task);
}

void conn_close_after_flush(struct conn *conn)
{
    if (is_over(conn) || conn->is_connecting || conn->is_handshaking) {
        conn_close(conn);
        return;
    }
    conn->is_lingering = true;
    loop_task_drop(&conn->input_task);
    give_back(conn, &conn->input);
    conn->timeout_ms = CONN_LINGER_IDLE_MS;
    conn->active_ms = loop_now_ms(conn->loop);
    conn->deadline_ms = conn->active_ms + CONN_LINGER_MS;
    conn_arm(conn);
    conn_flush(conn);
}

static struct conn *make(struct loop *loop, int fd, const struct conn_limits *limits, const struct conn_owner *owner)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    int one = 1;
    if (conn == NULL || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        free(conn);
        (void)close(fd);
        return NULL;
    }
    conn->loop = loop;
    conn->owner = *owner;
    conn->limits = *limits;
    buf_init(&conn->input, limits->input_max + TLS_RECORD_MAX);
    buf_init(&conn->output, limits->output_max);
    buf_init(&conn->sealed, limits->output_max + 2 * TLS_RECORD_MAX);
    conn->flush_task.run = on_flush_task;
    conn->input_task.run = on_input_task;
    conn->free_task.run = on_free_task;
    conn->timer.expired = on_timer;
    (void)peer_of_fd(fd, &conn->peer);
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    conn->is_local = getsockname(fd, (struct sockaddr *)&own, &len) == 0 && own.ss_family == AF_UNIX;
    if (!conn->is_local) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    conn->watch = (struct loop_watch){ .fd = fd, .ready = on_ready };
    conn->active_ms = loop_now_ms(loop);
    return conn;
}

static struct conn *begin(struct conn *conn)
{
    if (conn == NULL)
        return NULL;
    conn->watch.events = conn->is_connecting ? LOOP_WRITE : LOOP_READ;
    conn->is_watching = loop_watch(conn->loop, &conn->watch);
    if (conn->is_watching)
        return conn;
    (void)close(conn->watch.fd);
    free(conn);
    return NULL;
}

struct conn *conn_new(struct loop *loop, int fd, const struct conn_limits *limits, const struct conn_owner *owner)
{
    return begin(make(loop, fd, limits, owner));
}

struct conn *conn_connecting(struct loop *loop, int fd, const struct conn_limits *limits, const struct conn_owner *owner, int64_t timeout_ms)
{
    struct conn *conn = make(loop, fd, limits, owner);
    if (conn != NULL)
        conn->is_connecting = true;
    conn = begin(conn);
    if (conn != NULL)
        conn_timeout(conn, timeout_ms);
    return conn;
}

/* ---- descriptors and facts --------------------------------------------------------------------------------------- */

void conn_carry_fds(struct conn *conn) { conn->carries_fds = true; }

static bool has_room_for_fd(struct conn *conn)
{
    if (conn->to_send_count < conn->to_send_cap)
        return true;
    size_t cap = conn->to_send_cap == 0 ? 16 : conn->to_send_cap * 2;
    struct fd_mark *marks = cap > CONN_FDS_OUT_MAX ? NULL : realloc(conn->to_send, cap * sizeof(*marks));
    if (marks == NULL)
        return false;
    conn->to_send = marks;
    conn->to_send_cap = cap;
    return true;
}

void conn_send_fd(struct conn *conn, int fd)
{
    must(conn->carries_fds && conn->tls == NULL);
    if (is_over(conn) || !has_room_for_fd(conn)) {
        (void)close(fd);
        conn_end(conn, "too many descriptors wait to be sent");
        return;
    }
    uint64_t at = conn->sent_bytes + buf_len(&conn->output);
    must(conn->to_send_count == 0 || conn->to_send[conn->to_send_count - 1].at < at);       /* each has a byte of its own */
    conn->to_send[conn->to_send_count++] = (struct fd_mark){ .at = at, .fd = fd };
}

int conn_take_fd(struct conn *conn)
{
    if (conn->received_count == 0)
        return -1;
    int fd = conn->received[0];
    conn->received_count--;
    if (conn->received_count == CONN_FDS_IN_MAX - 1)
        loop_task_add(conn->loop, &conn->input_task);   /* reading may go on */
    memmove(&conn->received[0], &conn->received[1], conn->received_count * sizeof(conn->received[0]));
    return fd;
}

void conn_hold_secrets(struct conn *conn, bool holds_secrets) { conn->holds_secrets = holds_secrets; }
const struct peer *conn_peer(const struct conn *conn) { return &conn->peer; }
const char *conn_why(const struct conn *conn) { return conn->why; }
struct loop *conn_loop(const struct conn *conn) { return conn->loop; }
