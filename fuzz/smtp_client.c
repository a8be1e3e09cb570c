/* An SMTP or LMTP client in the hands of a hostile server. The first bytes choose options and how the rest is cut up; the
 * rest is what the server says. Whatever that is, every recipient gets an outcome, and what the client says is lines. */
#include "fuzz.h"

#include "smtp/client.h"

#include <stdlib.h>

enum { OPTIONS = 3, RCPTS = 3, MESSAGES = 3 };

struct talk {
    struct smtp_client *client;
    struct peer peer;
    struct smtp_rcpt rcpts[RCPTS];
    struct smtp_message message;
    unsigned sent, done, pieces;
};

static void send_message(struct talk *t)
{
    t->sent++;
    t->pieces = 0;
    smtp_client_send(t->client, &t->message);
}

static void take_outcomes(struct talk *t)
{
    size_t count;
    const struct smtp_outcome *outcomes = smtp_client_outcomes(t->client, &count);
    must(count == RCPTS);
    for (size_t i = 0; i < count; i++) {
        must(outcomes[i].rc == RC_OK || outcomes[i].rc == RC_TEMP || outcomes[i].rc == RC_PERM);
        must(ESC_CLASS(outcomes[i].esc) == (outcomes[i].rc == RC_OK ? 2u : outcomes[i].rc == RC_TEMP ? 4u : 5u));
        for (size_t at = 0; at < outcomes[i].text.len; at++)
            must(outcomes[i].text.ptr[at] >= 0x20 && outcomes[i].text.ptr[at] < 0x7f);
    }
    t->done++;
    smtp_client_next(t->client);
}

static void answer(struct talk *t)
{
    static const char body[] = "Subject: x\r\n\r\n.\r\nhello\r\n";
    switch (smtp_client_ask(t->client)) {
    case SMTP_CLIENT_ASK_MESSAGE:
        if (t->sent < MESSAGES)
            send_message(t);
        else
            smtp_client_quit(t->client);
        break;
    case SMTP_CLIENT_ASK_BODY:
        smtp_client_body(t->client, t->pieces++ < 3 ? SLICE(body) : SLICE_NONE);
        break;
    case SMTP_CLIENT_ASK_DONE:
        take_outcomes(t);
        break;
    case SMTP_CLIENT_ASK_NONE:
    default:
        must(false);
    }
}

/* False: closed. */
static bool go_on(struct talk *t, struct slice *in)
{
    for (;;) {
        enum want want = smtp_client_step(t->client, in);
        struct buf *out = smtp_client_output(t->client);
        must(!out->overflow);
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER) {
            answer(t);
        } else if (want == WANT_TLS) {
            t->peer.has_tls = true;
            smtp_client_tls_started(t->client);
        } else if (want != WANT_FLUSH) {
            return want == WANT_INPUT;
        }
    }
}

static void begin(struct talk *t, const uint8_t *data)
{
    struct smtp_client_options options = {
        .helo = SLICE("here.test"), .is_lmtp = (data[0] & 1) != 0, .plain_without_tls = (data[0] & 4) != 0,
        .nonce = SLICE("0123456789abcdefghij"),
    };
    options.tls = (data[0] & 8) != 0 ? SMTP_TLS_MUST : (data[0] & 16) != 0 ? SMTP_TLS_MAY : SMTP_TLS_NEVER;
    if ((data[0] & 2) != 0) {
        options.user = SLICE("user");
        options.password = SLICE("pencil");
    }
    *t = (struct talk){ .pieces = 0 };
    for (size_t i = 0; i < RCPTS; i++)
        t->rcpts[i].forward_path = (struct address){ .local_part = SLICE("r"), .domain = SLICE("there.test") };
    t->rcpts[1].orcpt = SLICE("rfc822;x+y=z@\xff");
    t->rcpts[2].notify = NOTIFY_SUCCESS | NOTIFY_DELAY;
    t->rcpts[2].forward_path = (struct address){ .local_part = SLICE("\xc3\xbc"), .domain = SLICE("there.test"), .is_utf8 = true };
    t->message = (struct smtp_message){
        .mail = { .reverse_path = { .is_null = true }, .envid = SLICE("e=+") }, .rcpts = t->rcpts, .rcpt_count = RCPTS, .size = 75,
        .has_8bit = (data[1] & 1) != 0, .has_bare_eol = (data[1] & 2) != 0, .needs_utf8 = (data[1] & 4) != 0,
        .lacks_final_eol = (data[1] & 8) != 0,
    };
    t->client = smtp_client_new(&options, &t->peer);
    must(t->client != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < OPTIONS)
        return 0;
    static struct talk talk;
    begin(&talk, data);
    size_t seen = OPTIONS, taken = OPTIONS, chunk = data[2] == 0 ? size : data[2];
    bool goes_on = true;
    do {
        seen = size - seen < chunk ? size : seen + chunk;
        char *piece = malloc(seen - taken + 1);
        must(piece != NULL);
        memcpy(piece, data + taken, seen - taken);
        struct slice in = { piece, seen - taken };
        goes_on = go_on(&talk, &in);
        taken = seen - in.len;
        free(piece);
    } while (seen < size && goes_on);
    if (goes_on) {
        struct slice none = SLICE_NONE;
        smtp_client_lost(talk.client, "end of input");
        must(!go_on(&talk, &none));
    }
    must(talk.done == talk.sent);
    smtp_client_free(talk.client);
    return 0;
}
