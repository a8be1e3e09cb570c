/* The edge's side of the keys role: see signer.h. */
#include "role/signer.h"

#include "os/log.h"
#include "os/sync.h"
#include "role/frame.h"

#include <stdlib.h>

enum { SIGN_TIMEOUT_MS = 5000, ANSWERS_MAX = 64 * 1024 };

struct signer {
    int fd;
    uint32_t number;                    /* of the last request */
    struct buf in;                      /* answers, the last perhaps torn */
};

struct signer *signer_new(void)
{
    struct signer *signer = calloc(1, sizeof(*signer));
    if (signer == NULL)
        return NULL;
    signer->fd = -1;
    buf_init(&signer->in, ANSWERS_MAX);
    return signer;
}

void signer_channel(struct signer *signer, int fd)
{
    sync_close(signer->fd);
    buf_free(&signer->in);
    signer->fd = fd;
}

static int put_signature(const struct frame *frame, unsigned char *out, size_t out_max)
{
    struct slice signature = frame->field[1].bytes;
    if (frame->field[0].fault.rc != RC_OK || signature.len > out_max) {
        log_event(LOG_ERROR, "signature-failed", LOG_STR("why", "the keys role refused"));
        return -1;
    }
    memcpy(out, signature.ptr, signature.len);
    return (int)signature.len;
}

static int broke(struct signer *signer, const char *why)
{
    log_event(LOG_ERROR, "signature-failed", LOG_STR("why", why));
    signer_channel(signer, -1);         /* the next keys brings a new one */
    return -1;
}

/* The answer to this very request: one to an earlier request, which was given up waiting for, is passed over. */
static int take_answer(struct signer *signer, unsigned char *out, size_t out_max)
{
    struct frame frame;
    struct fault fault;
    for (;;) {
        struct slice bytes = buf_slice(&signer->in);
        size_t before = bytes.len;
        enum rc rc = frame_parse(&bytes, &frame, &fault);
        if (rc == RC_MORE) {
            if (sync_receive(signer->fd, &signer->in, SIGN_TIMEOUT_MS))
                continue;
            log_event(LOG_ERROR, "signature-failed", LOG_STR("why", "the keys role did not answer"));
            return -1;
        }
        if (rc != RC_OK || frame.type != FRAME_SIGNED)
            return broke(signer, "the keys role answered nonsense");
        int len = frame.session == signer->number ? put_signature(&frame, out, out_max) : 0;
        buf_consume(&signer->in, before - bytes.len);
        if (frame.session == signer->number)
            return len;
    }
}

int signer_sign(void *self, uint32_t key, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out, size_t out_max)
{
    struct signer *signer = self;
    struct buf request;
    if (signer->fd < 0)
        return -1;
    buf_init(&request, ANSWERS_MAX);
    signer->number++;
    bool is_sent = frame_write(&request, FRAME_SIGN, signer->number, (uint64_t)key, (uint64_t)kind, (uint64_t)padding,
                               (struct slice){ (const char *)in, in_len }) &&
                   sync_send(signer->fd, buf_slice(&request), SIGN_TIMEOUT_MS);
    buf_free(&request);
    return is_sent ? take_answer(signer, out, out_max) : broke(signer, "the keys role is gone");
}
