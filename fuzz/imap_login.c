/* The IMAP login machine in the hands of a hostile client. The first byte chooses how the rest is cut up, whether TLS is
 * there and how logins end. */
#include "fuzz.h"

#include "imap/login.h"
#include "imap_output.h"

enum { SAID_MAX = 16 * 1024 * 1024 };

static void answer(struct imap_login *login, unsigned how)
{
    const struct imap_login_ask *ask = imap_login_ask(login);
    must(ask->message.len <= SASL_MESSAGE_MAX);
    struct fault f;
    if (ask->is_start && (how & 1) != 0) {
        imap_login_answer_auth(login, SASL_CHALLENGE, SLICE("challenge"), NULL);
    } else if ((how & 2) != 0) {
        (void)fault_perm(&f, ESC(5, 7, 8), "no");
        imap_login_answer_auth(login, SASL_FAILED, SLICE_NONE, &f);
    } else {
        imap_login_answer_auth(login, SASL_OK, (how & 4) != 0 ? SLICE("v=x") : SLICE_NONE, NULL);
    }
}

/* False: it is over. */
static bool go_on(struct imap_login *login, struct peer *peer, struct slice *in, unsigned how, struct buf *said, bool *drops)
{
    for (;;) {
        enum want want = imap_login_step(login, in);
        struct buf *out = imap_login_output(login);
        must(!out->overflow);
        (void)buf_append(said, buf_slice(out));
        buf_consume(out, buf_len(out));
        switch (want) {
        case WANT_INPUT:
            return true;
        case WANT_FLUSH:
            break;
        case WANT_ANSWER:
            if (imap_login_ask(login)->kind == IMAP_LOGIN_DONE)
                return false;
            answer(login, how);
            break;
        case WANT_TLS:
            *drops = true;
            peer->has_tls = true;
            imap_login_tls_started(login);
            return true;
        case WANT_CLOSE:
            return false;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct peer peer = { .has_tls = (data[0] & 8) != 0 };
    struct imap_login_options options = { .host_name = SLICE("imap.example.org"), .offers_tls = true };
    struct imap_login *login = imap_login_new(&options, &peer);
    struct buf said;
    buf_init(&said, SAID_MAX);
    size_t chunk = (data[0] & 0xf0) == 0 ? size : (size_t)(data[0] >> 4), seen = 1, taken = 1;
    bool goes_on = true;
    while (goes_on && seen < size) {
        seen = size - seen < chunk ? size : seen + chunk;
        struct slice in = { (const char *)data + taken, seen - taken };
        bool drops = false;
        goes_on = go_on(login, &peer, &in, data[0], &said, &drops);
        taken = drops ? seen : seen - in.len;
    }
    if (!said.overflow)
        imap_output_check(buf_slice(&said), !goes_on);
    buf_free(&said);
    imap_login_free(login);
    return 0;
}
