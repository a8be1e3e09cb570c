/* A POP3 session in the hands of a hostile client, on a store in memory. The first byte chooses how the rest is cut up. */
#include "fuzz.h"

#include "fake_store.h"
#include "pop3/session.h"

static struct store store;

static void prepare_store(void)
{
    fake_store_init(&store);
    fake_store_add(&store, SLICE("From: a@example.org\r\nSubject: x\r\n\r\none\r\n.\r\n..\r\ntwo"));
    fake_store_add(&store, SLICE(""));
    fake_store_add(&store, SLICE("\r\n\n\r.\r.\n.\r\n\r\r\n"));
    fake_store_add(&store, SLICE("a: b\r\n\r\nbody\r\n"));
}

static bool go_on(struct pop3_session *session, struct slice *in)
{
    for (;;) {
        enum want want = pop3_session_step(session, in);
        struct buf *out = pop3_session_output(session);
        must(!out->overflow);
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER)
            pop3_session_answer(session, RC_OK);
        else if (want != WANT_FLUSH)
            return want == WANT_INPUT;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    prepare_store();
    struct pop3_session_options options = { .store = &store, .account = 1, .host_name = SLICE("pop.example.org") };
    struct pop3_session *session = pop3_session_new(&options);
    size_t seen = 1, taken = 1, chunk = data[0] == 0 ? size : data[0];
    do {
        seen = size - seen < chunk ? size : seen + chunk;
        struct slice in = { (const char *)data + taken, seen - taken };
        if (!go_on(session, &in))
            break;
        taken = seen - in.len;
    } while (seen < size);
    pop3_session_free(session);
    must(store.views == 0);
    return 0;
}
