/* Channels between roles: see channel.h. */
#include "role/channel.h"

#include "os/log.h"

#include <stdlib.h>
#include <unistd.h>

enum { CHANNEL_OUTPUT_MAX = 64 * 1024 * 1024, CHANNEL_FULL = 1024 * 1024, CHANNEL_INPUT_MAX = 2 * FRAME_MAX, PUMP_READS_MAX = 2000 };

struct channel {
    struct conn *conn;
    struct loop *loop;
    struct channel_owner owner;
    struct loop_task free_task, tell_task;
    bool is_closed, is_dispatching, is_sending, is_held;
    const char *why;                    /* for tell_task */
    struct frame frame;                 /* large: not on the stack of every callback */
};

static void on_free(struct loop_task *task) { free(LIST_ENTRY(task, struct channel, free_task)); }

static void shut(struct channel *channel)
{
    if (channel->is_closed)
        return;
    channel->is_closed = true;
    conn_close(channel->conn);
    loop_task_add(channel->loop, &channel->free_task);
}

void channel_free(struct channel *channel)
{
    loop_task_drop(&channel->tell_task);        /* whoever frees it need not hear of its end */
    shut(channel);
}

static void broke(struct channel *channel, const char *why)
{
    if (channel->is_closed)
        return;
    shut(channel);                      /* freed at the end of the turn, after the owner has heard */
    channel->owner.closed(channel->owner.arg, channel, why);
}

static void take_fd(struct channel *channel)
{
    if (frame_carries_fd(channel->frame.type))
        channel->frame.fd = conn_take_fd(channel->conn);
}

static void on_tell(struct loop_task *task)
{
    struct channel *channel = LIST_ENTRY(task, struct channel, tell_task);
    channel->owner.closed(channel->owner.arg, channel, channel->why);
}

/* It breaks while its owner sends: told at the end of the turn, since the owner is in the middle of something that its own
 * `closed` would pull from under its feet. */
static void broke_sending(struct channel *channel, const char *why)
{
    if (channel->is_closed)
        return;
    channel->why = why;
    channel->tell_task.run = on_tell;
    loop_task_add(channel->loop, &channel->tell_task);      /* before the task that frees it */
    shut(channel);
}

/* Frames one after the other. A pump from within a callback goes on here too: each frame is consumed before it is told. */
static void dispatch(struct channel *channel)
{
    struct fault fault;
    while (!channel->is_closed && !channel->is_held) {
        struct buf *input = conn_input(channel->conn);
        struct slice in = buf_slice(input);
        size_t before = in.len;
        enum rc rc = frame_parse(&in, &channel->frame, &fault);
        if (rc == RC_MORE)
            return;
        if (rc != RC_OK) {
            log_fault(LOG_ERROR, "channel-malformed", &fault);
            broke(channel, fault.text);
            return;
        }
        take_fd(channel);
        struct frame *frame = &channel->frame;
        channel->owner.frame(channel->owner.arg, channel, frame);
        if (frame->fd >= 0)
            (void)close(frame->fd);
        frame->fd = -1;
        if (!channel->is_closed)
            buf_consume(input, before - in.len);
    }
}

static void on_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct channel *channel = arg;
    if (event == CONN_INPUT && !channel->is_dispatching) {
        channel->is_dispatching = true;
        dispatch(channel);
        channel->is_dispatching = false;
    } else if (event == CONN_FLUSHED && channel->owner.flushed != NULL) {
        channel->owner.flushed(channel->owner.arg, channel);
    } else if (event == CONN_CLOSED && channel->is_sending) {
        broke_sending(channel, "too many descriptors wait to be sent");
    } else if (event == CONN_CLOSED) {
        broke(channel, conn_why(conn));
    }
}

struct channel *channel_new(struct loop *loop, int fd, const struct channel_owner *owner)
{
    static const struct conn_limits limits = { .input_max = CHANNEL_INPUT_MAX, .output_max = CHANNEL_OUTPUT_MAX, .output_full = CHANNEL_FULL };
    struct channel *channel = calloc(1, sizeof(*channel));
    struct conn_owner conn_owner = { .event = on_event, .arg = channel };
    if (channel == NULL) {
        (void)close(fd);
        return NULL;
    }
    channel->loop = loop;
    channel->owner = *owner;
    channel->free_task.run = on_free;
    channel->frame.fd = -1;
    channel->conn = conn_new(loop, fd, &limits, &conn_owner);
    if (channel->conn == NULL) {
        free(channel);
        return NULL;
    }
    conn_carry_fds(channel->conn);
    return channel;
}

void channel_hold(struct channel *channel, bool is_held)
{
    channel->is_held = is_held;
    if (!channel->is_closed)
        conn_pause(channel->conn, is_held);         /* going on tells of what is there already */
}

void channel_hold_secrets(struct channel *channel) { conn_hold_secrets(channel->conn, true); }

static void overflow(struct channel *channel)
{
    log_event(LOG_ERROR, "channel-overflow", LOG_NUMBER("waiting", buf_len(conn_output(channel->conn))));
    broke_sending(channel, "too much waits to be sent");
}

void channel_send(struct channel *channel, enum frame_type type, uint32_t session, ...)
{
    va_list arguments;
    if (channel->is_closed)
        return;
    va_start(arguments, session);
    bool fits = frame_write_v(conn_output(channel->conn), type, session, arguments);
    va_end(arguments);
    if (fits)
        conn_flush(channel->conn);
    else
        overflow(channel);
}

void channel_send_fd(struct channel *channel, int fd, enum frame_type type, uint32_t session, ...)
{
    va_list arguments;
    if (channel->is_closed) {
        (void)close(fd);
        return;
    }
    must(frame_carries_fd(type));
    channel->is_sending = true;
    conn_send_fd(channel->conn, fd);
    channel->is_sending = false;
    if (channel->is_closed)
        return;
    va_start(arguments, session);
    bool fits = frame_write_v(conn_output(channel->conn), type, session, arguments);
    va_end(arguments);
    if (fits)
        conn_flush(channel->conn);
    else
        overflow(channel);
}

bool channel_is_full(const struct channel *channel) { return !channel->is_closed && conn_output_is_full(channel->conn); }

void channel_pump(struct channel *channel)
{
    for (int reads = 0; reads < PUMP_READS_MAX && !channel->is_closed && !channel->is_dispatching; reads++)
        if (!conn_read_now(channel->conn))
            return;
}
