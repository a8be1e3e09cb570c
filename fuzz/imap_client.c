/* The reader's side of IMAP in the hands of a hostile server. The first byte chooses how the rest is cut up and what is done
 * when the machine is ready. */
#include "fuzz.h"

#include "imap/client.h"

struct driving {
    struct imap_client *client;
    struct peer peer;
    uint8_t how;
    unsigned commands;
    uint64_t body_left;
};

static void start_command(struct driving *d)
{
    static const char *const commands[] = {
        "LIST \"\" \"*\"", "EXAMINE %m", "UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])", "STATUS %m (MESSAGES)", "NOOP",
    };
    struct mail_date date = { .unix_s = 1, .zone_min = 60 };
    unsigned choice = d->how + d->commands++;
    if (d->commands > 20) {
        imap_client_logout(d->client);
    } else if (choice % 7 == 5) {
        d->body_left = choice;
        must(imap_client_append(d->client, SLICE("a\xc3\xbc"), SLICE("(\\Seen)"), &date, d->body_left) != 0);
    } else if (choice % 7 == 6 && imap_client_in_flight(d->client) > 0) {
        imap_client_wait(d->client);
    } else {
        must(imap_client_command(d->client, commands[choice % 5], SLICE("INBOX")) != 0);
    }
}

static void answer(struct driving *d)
{
    static const char bytes[512];
    uint32_t number;
    switch (imap_client_ask(d->client)) {
    case IMAP_CLIENT_ASK_READY: start_command(d); break;
    case IMAP_CLIENT_ASK_BODY: {
        size_t len = d->body_left < 100 ? (size_t)d->body_left : 100;
        imap_client_body(d->client, (struct slice){ bytes, len });
        d->body_left -= len;
        break;
    }
    case IMAP_CLIENT_ASK_PIECE:
        must(imap_client_piece(d->client, &number).len > 0);
        imap_client_next(d->client);
        break;
    case IMAP_CLIENT_ASK_RESPONSE:
    case IMAP_CLIENT_ASK_DONE: imap_client_next(d->client); break;
    case IMAP_CLIENT_ASK_NONE:
    default: must(false);
    }
}

/* False: over. */
static bool go_on(struct driving *d, struct slice *in)
{
    for (;;) {
        enum want want = imap_client_step(d->client, in);
        struct buf *out = imap_client_output(d->client);
        must(!out->overflow);
        if (want == WANT_ANSWER) {
            answer(d);
            continue;
        }
        buf_consume(out, buf_len(out));
        if (want == WANT_TLS) {
            must(!d->peer.has_tls);
            d->peer.has_tls = true;
            in->ptr += in->len;
            in->len = 0;
            imap_client_tls_started(d->client);
        } else if (want != WANT_FLUSH) {
            return want == WANT_INPUT;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct driving d = { .how = data[0] };
    struct imap_client_options options = {
        .tls = d.how & 1 ? IMAP_CLIENT_TLS_MUST : IMAP_CLIENT_TLS_NEVER, .user = SLICE("ann"), .password = SLICE("secret"),
        .plain_without_tls = true, .nonce = SLICE("0123456789abcdefghij"), .in_flight = d.how & 2 ? 5 : 1,
    };
    d.client = imap_client_new(&options, &d.peer);
    size_t seen = 1, taken = 1, chunk = d.how < 8 ? size : d.how;
    do {
        seen = size - seen < chunk ? size : seen + chunk;
        struct slice in = { (const char *)data + taken, seen - taken };
        if (!go_on(&d, &in))
            break;
        taken = seen - in.len;
    } while (seen < size);
    imap_client_free(d.client);
    return 0;
}
