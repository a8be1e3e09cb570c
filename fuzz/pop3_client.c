/* The reader's side of POP3 in the hands of a hostile server. The first byte chooses how the rest is cut up. */
#include "fuzz.h"

#include "pop3/client.h"

struct driving {
    struct pop3_client *client;
    struct peer peer;
    unsigned commands;
};

static void answer(struct driving *d)
{
    static const struct { const char *text; enum pop3_reply_kind kind; } commands[] = {
        { "LIST", POP3_REPLY_LISTING }, { "RETR 1", POP3_REPLY_MESSAGE }, { "DELE 1", POP3_REPLY_LINE }, { "TOP 2 0", POP3_REPLY_MESSAGE },
    };
    switch (pop3_client_ask(d->client)) {
    case POP3_CLIENT_ASK_READY:
        if (d->commands >= 10)
            pop3_client_quit(d->client);
        else
            pop3_client_command(d->client, commands[d->commands % 4].text, commands[d->commands % 4].kind);
        d->commands++;
        break;
    case POP3_CLIENT_ASK_PIECE:
        must(pop3_client_piece(d->client).len > 0);
        pop3_client_next(d->client);
        break;
    case POP3_CLIENT_ASK_LINE:
    case POP3_CLIENT_ASK_DONE: pop3_client_next(d->client); break;
    case POP3_CLIENT_ASK_NONE:
    default: must(false);
    }
}

static bool go_on(struct driving *d, struct slice *in)
{
    for (;;) {
        enum want want = pop3_client_step(d->client, in);
        struct buf *out = pop3_client_output(d->client);
        must(!out->overflow);
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER) {
            answer(d);
        } else if (want == WANT_TLS) {
            must(!d->peer.has_tls);
            d->peer.has_tls = true;
            in->ptr += in->len;
            in->len = 0;
            pop3_client_tls_started(d->client);
        } else if (want != WANT_FLUSH) {
            return want == WANT_INPUT;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t how = data[0];
    struct driving d = { .commands = how / 16 };
    struct pop3_client_options options = {
        .tls = how & 1 ? POP3_CLIENT_TLS_MUST : POP3_CLIENT_TLS_NEVER, .user = SLICE("ann"), .password = SLICE("secret"),
        .plain_without_tls = true, .nonce = SLICE("0123456789abcdefghij"),
    };
    d.client = pop3_client_new(&options, &d.peer);
    size_t seen = 1, taken = 1, chunk = how < 8 ? size : how;
    do {
        seen = size - seen < chunk ? size : seen + chunk;
        struct slice in = { (const char *)data + taken, seen - taken };
        if (!go_on(&d, &in))
            break;
        taken = seen - in.len;
    } while (seen < size);
    pop3_client_free(d.client);
    return 0;
}
