/* An SMTP, submission or LMTP server in the hands of a hostile client. The first bytes choose the face, the options and the
 * seed that the answers are drawn from; the rest is what the client says. It is said twice, whole and cut up, and both
 * times the replies and the messages have to be the same. */
#include "fuzz.h"

#include "smtp/server.h"

#include <stdlib.h>

enum { MAX = 1 << 22, OPTIONS = 3 };

struct heard {
    struct buf replies, bodies;
    uint64_t commits, abandons;
    bool is_open;
    size_t rcpts;
    uint32_t seed;
};

static unsigned draw(struct heard *h)
{
    h->seed = h->seed * 1664525u + 1013904223u;
    return h->seed >> 24;
}

static enum rc draw_rc(struct heard *h, struct fault *f)
{
    unsigned value = draw(h);
    if (value < 200)
        return RC_OK;
    return value < 228 ? fault_temp(f, ESC(4, value % 8, 2), "later") : fault_perm(f, ESC(5, value % 8, 1), "never\r\n%u", value);
}

static void answer_auth(struct heard *h, struct smtp_server *s)
{
    struct fault f;
    unsigned value = draw(h);
    fault_perm(&f, ESC(5, 7, 8), "no");
    smtp_server_answer_auth(s, value < 100 ? SASL_CHALLENGE : value < 200 ? SASL_OK : SASL_FAILED,
                            value % 3 == 0 ? SLICE_NONE : SLICE("al\r\nice"), &f);
}

static void answer_commit(struct heard *h, struct smtp_server *s, const struct smtp_ask *ask, bool is_lmtp)
{
    struct fault f = { .rc = RC_OK };
    must(h->is_open);
    h->is_open = false;
    h->commits++;
    must(ask->body_bytes > 0);
    if (!is_lmtp) {
        enum rc rc = draw_rc(h, &f);
        smtp_server_answer(s, rc, &f, SLICE_NONE);
        return;
    }
    struct fault *outcomes = calloc(h->rcpts, sizeof *outcomes);
    must(outcomes != NULL);
    for (size_t i = 0; i < h->rcpts; i++)
        outcomes[i].rc = draw_rc(h, &outcomes[i]);
    smtp_server_answer_recipients(s, outcomes, h->rcpts);
    free(outcomes);
}

static void answer(struct heard *h, struct smtp_server *s, bool is_lmtp)
{
    const struct smtp_ask *ask = smtp_server_ask(s);
    struct fault f = { .rc = RC_OK };
    if (ask->kind == SMTP_ASK_AUTH) {
        answer_auth(h, s);
        return;
    }
    if (ask->kind == SMTP_ASK_COMMIT) {
        answer_commit(h, s, ask, is_lmtp);
        return;
    }
    bool is_drawn = ask->kind == SMTP_ASK_MAIL || ask->kind == SMTP_ASK_RCPT || ask->kind == SMTP_ASK_VRFY;
    enum rc rc = is_drawn ? draw_rc(h, &f) : RC_OK;
    if (ask->kind == SMTP_ASK_MAIL && rc == RC_OK) {
        must(!h->is_open);
        h->is_open = true;
        h->rcpts = 0;
    } else if (ask->kind == SMTP_ASK_RCPT) {
        must(h->is_open && ask->rcpt->forward_path.local_part.len > 0);
        h->rcpts += rc == RC_OK;
    } else if (ask->kind == SMTP_ASK_BODY) {
        must(h->is_open && h->rcpts > 0 && ask->body.len > 0);
        must(buf_append(&h->bodies, ask->body));
    } else if (ask->kind == SMTP_ASK_ABANDON) {
        must(h->is_open);
        h->is_open = false;
        h->abandons++;
        buf_clear(&h->bodies);          /* how much of it came is a matter of chunks */
    }
    smtp_server_answer(s, rc, &f, SLICE("ID"));
}

/* Every reply line is printable and has a code, whatever was said. */
static void check_replies(struct slice text)
{
    while (text.len > 0) {
        struct slice line = slice_take(&text, slice_find(text, SLICE("\r\n")));
        must(slice_take_prefix_nocase(&text, SLICE("\r\n")));
        must(line.len >= 4 && byte_is_digit((unsigned char)line.ptr[0]) && (line.ptr[3] == ' ' || line.ptr[3] == '-'));
        for (size_t i = 0; i < line.len; i++)
            must(line.ptr[i] >= 0x20 && line.ptr[i] < 0x7f);
    }
}

/* False: it wants no more. */
static bool go_on(struct heard *h, struct smtp_server *s, struct slice *in, struct peer *peer, bool is_lmtp)
{
    for (;;) {
        enum want want = smtp_server_step(s, in, (struct mail_date){ 1795330048, 0 });
        struct buf *out = smtp_server_output(s);
        must(!out->overflow);
        must(buf_append(&h->replies, buf_slice(out)));
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER)
            answer(h, s, is_lmtp);
        else if (want == WANT_TLS)
            return false;
        else if (want != WANT_FLUSH)
            return want == WANT_INPUT;
    }
    (void)peer;
}

static void converse(struct heard *h, const uint8_t *data, size_t size, size_t chunk)
{
    struct peer peer = { .address = "192.0.2.1", .has_tls = (data[0] & 4) != 0 };
    struct smtp_server_options options = {
        .face = data[0] % 4 == 1 ? SMTP_SUBMISSION : data[0] % 4 == 2 ? SMTP_LMTP : SMTP_MX, .host_name = SLICE("mx.test"),
        .size_max = (data[0] & 8) != 0 ? 64 : 100000, .offers_tls = (data[0] & 16) != 0, .auth_without_tls = (data[0] & 32) != 0,
        .requires_auth = (data[0] & 64) != 0, .recipients_max = (data[0] & 128) != 0 ? 2 : 0,
    };
    struct smtp_server *s = smtp_server_new(&options, &peer);
    must(s != NULL);
    *h = (struct heard){ .seed = data[1] };
    buf_init(&h->replies, MAX);
    buf_init(&h->bodies, MAX);
    size_t seen = OPTIONS, taken = OPTIONS;
    do {
        seen = size - seen < chunk ? size : seen + chunk;
        char *piece = malloc(seen - taken + 1);
        must(piece != NULL);
        memcpy(piece, data + taken, seen - taken);
        struct slice in = { piece, seen - taken };
        bool goes_on = go_on(h, s, &in, &peer, options.face == SMTP_LMTP);
        taken = seen - in.len;
        free(piece);
        if (!goes_on)
            break;
    } while (seen < size);
    smtp_server_free(s);
    check_replies(buf_slice(&h->replies));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct heard whole, cut;
    if (size < OPTIONS)
        return 0;
    converse(&whole, data, size, size);
    converse(&cut, data, size, 1 + data[2] % 32);
    must(slice_equal(buf_slice(&whole.replies), buf_slice(&cut.replies)));
    must(whole.is_open || slice_equal(buf_slice(&whole.bodies), buf_slice(&cut.bodies)));
    must(whole.commits == cut.commits && whole.abandons == cut.abandons && whole.is_open == cut.is_open);
    buf_free(&whole.replies);
    buf_free(&whole.bodies);
    buf_free(&cut.replies);
    buf_free(&cut.bodies);
    return 0;
}
