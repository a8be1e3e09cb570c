/* Control sockets: see control.h. */
#include "role/control.h"

#include "os/conn.h"
#include "os/log.h"
#include "os/sync.h"
#include "role/channel.h"
#include "role/frame.h"

#include <stdlib.h>

enum { CONTROL_ROWS_MAX = 256 * 1024 * 1024, CONTROL_REPLY_TIMEOUT_MS = 60 * 1000 };

/* ---- in a role --------------------------------------------------------------------------------------------------- */

struct control {
    struct loop *loop;
    struct listener *listener;
    control_handler *handler;
    void *arg;
};

struct control_call {
    struct control *control;
    struct conn *conn;                  /* NULL: whoever asked has gone */
    bool is_asked;                      /* the handler has it; control_done frees */
};

static void on_request(struct control_call *call)
{
    struct frame frame;
    struct fault fault;
    struct slice in = buf_slice(conn_input(call->conn));
    enum rc rc = frame_parse(&in, &frame, &fault);
    if (rc == RC_MORE)
        return;
    if (rc != RC_OK || frame.type != FRAME_CONTROL) {
        conn_close(call->conn);
        free(call);
        return;
    }
    call->is_asked = true;
    call->control->handler(call->control->arg, call, frame.field[0].bytes, frame.field[1].bytes);
}

static void on_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct control_call *call = arg;
    if (event == CONN_INPUT && !call->is_asked) {
        on_request(call);
    } else if (event == CONN_CLOSED) {
        conn_close(conn);
        call->conn = NULL;
        if (!call->is_asked)
            free(call);
    }
}

static void on_accept(void *arg, int fd, const struct peer *peer)
{
    static const struct conn_limits limits = { .input_max = FRAME_MAX + 4096, .output_max = CONTROL_ROWS_MAX };
    struct control *control = arg;
    struct control_call *call = calloc(1, sizeof(*call));
    struct conn_owner owner = { .event = on_event, .arg = call };
    (void)peer;
    must(call != NULL);
    call->control = control;
    call->conn = conn_new(control->loop, fd, &limits, &owner);
    if (call->conn == NULL)
        free(call);
    else
        conn_hold_secrets(call->conn, true);    /* an account's password */
}

struct control *control_listen(struct loop *loop, int fd, control_handler *handler, void *arg)
{
    struct control *control = calloc(1, sizeof(*control));
    must(control != NULL);
    control->loop = loop;
    control->handler = handler;
    control->arg = arg;
    control->listener = listener_new(loop, fd, on_accept, control);
    must(control->listener != NULL);
    return control;
}

void control_free(struct control *control)
{
    if (control == NULL)
        return;
    listener_free(control->listener);
    free(control);
}

void control_row(void *arg, struct slice json)
{
    struct control_call *call = arg;
    if (call->conn == NULL)
        return;
    if (frame_write(conn_output(call->conn), FRAME_CONTROL_ROW, 0, json))
        conn_flush(call->conn);
}

void control_done(struct control_call *call, const struct fault *fault)
{
    if (call->conn != NULL) {
        (void)frame_write(conn_output(call->conn), FRAME_CONTROL_DONE, 0, fault);
        conn_close_after_flush(call->conn);
    }
    free(call);
}

/* ---- on the command line ----------------------------------------------------------------------------------------- */

static void forget(struct buf *secret)
{
    if (secret->data != NULL)
        explicit_bzero(secret->data, secret->cap);
    buf_free(secret);
}

static bool send_request(int fd, const char *command, const char *const *arguments, size_t count)
{
    struct buf words, request;
    buf_init(&words, FRAME_MAX);
    buf_init(&request, FRAME_MAX + 64);
    for (size_t i = 0; i < count; i++) {
        (void)buf_append_str(&words, arguments[i]);
        (void)buf_append_byte(&words, '\0');
    }
    bool is_sent = !words.overflow && frame_write(&request, FRAME_CONTROL, 0, slice_from_str(command), buf_slice(&words)) &&
                   sync_send(fd, buf_slice(&request), CONTROL_REPLY_TIMEOUT_MS);
    forget(&words);
    forget(&request);
    return is_sent;
}

static enum rc take_answers(int fd, struct buf *in, void (*row)(void *arg, struct slice json), void *arg, struct fault *fault)
{
    struct frame frame;
    for (;;) {
        struct slice bytes = buf_slice(in);
        size_t before = bytes.len;
        enum rc rc = frame_parse(&bytes, &frame, fault);
        if (rc == RC_MORE) {
            if (!sync_receive(fd, in, CONTROL_REPLY_TIMEOUT_MS))
                return fault_temp(fault, 0, "the server ended the conversation without an answer (it may be restarting): try again");
            continue;
        }
        if (rc != RC_OK)
            return rc;
        if (frame.type == FRAME_CONTROL_DONE) {
            *fault = frame.field[0].fault;
            return fault->rc;
        }
        if (frame.type == FRAME_CONTROL_ROW && row != NULL)
            row(arg, frame.field[0].bytes);
        buf_consume(in, before - bytes.len);
    }
}

enum rc control_call(const char *socket_path, const char *command, const char *const *arguments, size_t count,
                     void (*row)(void *arg, struct slice json), void *arg, struct fault *fault)
{
    int fd;
    enum rc rc = sync_connect_local(socket_path, &fd, fault);
    if (rc != RC_OK)
        return rc;
    struct buf in;
    buf_init(&in, 2 * FRAME_MAX);
    if (!send_request(fd, command, arguments, count))
        rc = fault_temp(fault, 0, "the server at %s does not take the request", socket_path);
    else
        rc = take_answers(fd, &in, row, arg, fault);
    buf_free(&in);
    sync_close(fd);
    return rc;
}
