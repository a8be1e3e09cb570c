/* keys: holds private keys and signs on request; none ever leaves.
 *
 *     user       thurn-keys
 *     network    none
 *     files      none: keys arrive over the launcher's channel, once
 *     secrets    the private keys of TLS */
#include "os/log.h"
#include "os/sandbox.h"
#include "os/tls.h"
#include "role/start.h"

#include <stdlib.h>

enum { KEYS_MAX = 16, KEYS_EDGES_MAX = 64, SIGNATURE_MAX = 1024 };

struct keys {
    struct loop *loop;
    struct channel *launcher;
    struct tls_key *key[KEYS_MAX];
    struct channel *edges[KEYS_EDGES_MAX];
    uint64_t signed_count, refused_count;       /* figures */
};

static void on_sign(struct keys *keys, struct channel *channel, const struct frame *frame)
{
    unsigned char out[SIGNATURE_MAX];
    struct fault fault = { .rc = RC_OK };
    uint64_t number = frame->field[0].number;
    struct tls_key *key = number < KEYS_MAX ? keys->key[number] : NULL;
    struct slice in = frame->field[3].bytes;
    int len = key == NULL ? -1 : tls_key_sign(key, (int)frame->field[1].number, (int)frame->field[2].number,
                                              (const unsigned char *)in.ptr, in.len, out, sizeof(out));
    if (len < 0) {
        keys->refused_count++;
        (void)fault_perm(&fault, 0, "cannot sign that");
        len = 0;
    } else {
        keys->signed_count++;
    }
    channel_send(channel, FRAME_SIGNED, frame->session, &fault, (struct slice){ (const char *)out, (size_t)len });
}

static void on_frame(void *arg, struct channel *channel, struct frame *frame)
{
    if (frame->type == FRAME_SIGN)
        on_sign(arg, channel, frame);
}

static void on_closed(void *arg, struct channel *channel, const char *why)
{
    struct keys *keys = arg;
    (void)why;
    for (size_t i = 0; i < KEYS_EDGES_MAX; i++) {
        if (keys->edges[i] != channel)
            continue;
        keys->edges[i] = NULL;
        channel_send(keys->launcher, FRAME_CHANNEL_LOST, 0, (uint64_t)ROLE_EDGE, (uint64_t)i);
    }
}

static void edge_channel(struct keys *keys, struct frame *frame)
{
    struct channel_owner owner = { .frame = on_frame, .closed = on_closed, .arg = keys };
    uint64_t index = frame->field[1].number;
    must(index < KEYS_EDGES_MAX);
    if (keys->edges[index] != NULL)
        channel_free(keys->edges[index]);
    keys->edges[index] = channel_new(keys->loop, frame->fd, &owner);
    frame->fd = -1;
    must(keys->edges[index] != NULL);
}

static enum rc take_key(struct keys *keys, const struct frame *frame, struct fault *fault)
{
    struct tls_key *key;
    uint64_t number = frame->field[0].number;
    must(number < KEYS_MAX);
    enum rc rc = tls_key_new(frame->field[1].bytes.ptr, frame->field[1].bytes.len, &key, fault);
    if (rc != RC_OK)
        return rc;
    tls_key_free(keys->key[number]);
    keys->key[number] = key;
    return RC_OK;
}

static enum rc on_launcher(void *self, struct frame *frame, struct fault *fault)
{
    struct keys *keys = self;
    if (frame->type == FRAME_KEY)
        return take_key(keys, frame, fault);
    if (frame->type == FRAME_CHANNEL)
        edge_channel(keys, frame);
    else if (frame->type == FRAME_STOP)
        loop_stop(keys->loop);
    return RC_OK;
}

static void figures(void *self, struct buf *json)
{
    const struct keys *keys = self;
    (void)buf_printf(json, "{\"signed\":%llu,\"refused\":%llu}", (unsigned long long)keys->signed_count,
                     (unsigned long long)keys->refused_count);
}

int role_keys_main(void)
{
    struct keys *keys = calloc(1, sizeof(*keys));
    must(keys != NULL);
    keys->loop = loop_new();
    must(keys->loop != NULL);
    struct role_self self = {
        .role = ROLE_KEYS, .launcher = &keys->launcher, .loop = keys->loop, .self = keys, .frame = on_launcher, .figures = figures,
        .powers = POWER_LOOP | POWER_RECEIVE_FDS,
    };
    return role_run(&self);
}
