/* POP3 before login in the hands of a stranger. The first byte chooses how the rest is cut up, what the server offers and
 * how every question is answered. */
#include "fuzz.h"

#include "pop3/login.h"

static void answer(struct pop3_login *login, uint8_t how)
{
    struct fault f;
    fault_perm(&f, ESC(5, 7, 8), "no\x7f such luck");
    static const enum sasl_state states[] = { SASL_CHALLENGE, SASL_FAILED, SASL_OK, SASL_CHALLENGE };
    pop3_login_answer_auth(login, states[how & 3], SLICE("\0challenge"), how & 4 ? &f : NULL);
}

static bool go_on(struct pop3_login *login, struct peer *peer, struct slice *in, uint8_t *how)
{
    for (;;) {
        enum want want = pop3_login_step(login, in);
        struct buf *out = pop3_login_output(login);
        must(!out->overflow);
        buf_consume(out, buf_len(out));
        if (want == WANT_TLS) {
            must(!peer->has_tls);
            peer->has_tls = true;
            in->ptr += in->len;
            in->len = 0;
            pop3_login_tls_started(login);
        } else if (want == WANT_ANSWER) {
            must(peer->has_tls || *how & 1);
            if (pop3_login_ask(login)->kind == POP3_LOGIN_DONE)
                return false;
            answer(login, *how);
            *how = (uint8_t)(*how * 5 + 1) | (*how & 1);
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
    struct pop3_login_options options = { .host_name = SLICE("pop.example.org"), .offers_tls = how & 2, .auth_without_tls = how & 1 };
    struct peer peer = { .tls_exporter_len = 32 };
    struct pop3_login *login = pop3_login_new(&options, &peer);
    size_t seen = 1, taken = 1, chunk = how < 8 ? size : how;
    do {
        seen = size - seen < chunk ? size : seen + chunk;
        struct slice in = { (const char *)data + taken, seen - taken };
        if (!go_on(login, &peer, &in, &how))
            break;
        taken = seen - in.len;
    } while (seen < size);
    pop3_login_free(login);
    return 0;
}
