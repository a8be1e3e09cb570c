/* POP3 sessions on a store whose every call can be made to fail, and on one with many and with large messages. */
#include "check.h"
#include "fake_store.h"

#include "base/buf.h"
#include "pop3/session.h"

static struct store store;

static struct pop3_session *open_session(void)
{
    struct pop3_session_options options = { .store = &store, .account = 1, .host_name = SLICE("pop.example.org") };
    struct pop3_session *session = pop3_session_new(&options);
    must(session != NULL);
    return session;
}

/* Steps until the machine wants something that is not flushing; output is collected. */
static enum want run(struct pop3_session *session, const char *commands, struct buf *out)
{
    struct slice in = slice_from_str(commands);
    for (;;) {
        enum want want = pop3_session_step(session, &in);
        struct buf *said = pop3_session_output(session);
        CHECK(buf_len(said) <= 64 * 1024);
        buf_append(out, buf_slice(said));
        buf_consume(said, buf_len(said));
        if (want != WANT_FLUSH)
            return want;
    }
}

static bool ends_with(const struct buf *out, const char *text)
{
    return slice_ends_nocase(buf_slice(out), slice_from_str(text));
}

static void test_opening_fails(void)
{
    static const struct { const char *name; enum rc find, open; const char *want; } cases[] = {
        { "no INBOX is a temporary refusal", RC_NONE, RC_OK, "-ERR [SYS/TEMP] there is no mailbox for this account\r\n" },
        { "a disk that is away is a temporary refusal", RC_OK, RC_TEMP, "-ERR [SYS/TEMP] the disk is away\r\n" },
        { "a broken mailbox is a permanent refusal", RC_OK, RC_PERM, "-ERR [SYS/PERM] the mailbox is broken\r\n" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct buf out;
        CASE(cases[i].name);
        buf_init(&out, 1000);
        fake_store_init(&store);
        store.find_rc = cases[i].find;
        store.open_rc = cases[i].open;
        struct pop3_session *session = open_session();
        CHECK_INT(run(session, "QUIT\r\n", &out), WANT_CLOSE);
        CHECK_SLICE(buf_slice(&out), slice_from_str(cases[i].want));
        pop3_session_free(session);
        CHECK_INT(store.views, 0);
        buf_free(&out);
    }
}

static void test_reading_fails(void)
{
    static char large[100000];
    struct buf out;
    struct pop3_session *session;

    memset(large, 'x', sizeof(large));
    buf_init(&out, 1000000);
    CASE("a message that cannot be read at all is -ERR, and the session goes on");
    fake_store_init(&store);
    fake_store_add(&store, (struct slice){ large, sizeof(large) });
    store.reads_left = 0;
    store.read_rc = RC_PERM;
    session = open_session();
    CHECK_INT(run(session, "RETR 1\r\nNOOP\r\n", &out), WANT_INPUT);
    CHECK(ends_with(&out, "-ERR [SYS/PERM] message 1 is damaged\r\n+OK still here\r\n"));
    pop3_session_free(session);

    CASE("a message that fails half way ends the connection without a final dot");
    buf_clear(&out);
    store.reads_left = 3;
    session = open_session();
    CHECK_INT(run(session, "RETR 1\r\nQUIT\r\n", &out), WANT_CLOSE);
    CHECK(ends_with(&out, "xxx"));
    pop3_session_free(session);

    CASE("the same when stopped within a message: no text is put into it");
    buf_clear(&out);
    store.reads_left = 1000;
    session = open_session();
    struct slice in = SLICE("RETR 1\r\n");
    CHECK_INT(pop3_session_step(session, &in), WANT_FLUSH);
    pop3_session_stop(session, "the server stops");
    CHECK_INT(run(session, "", &out), WANT_CLOSE);
    CHECK(ends_with(&out, "xxx"));
    pop3_session_free(session);
    CHECK_INT(store.views, 0);
    buf_free(&out);
}

static void test_quit_waits(void)
{
    static const struct { const char *name; enum rc expunge, settled; const char *want; } cases[] = {
        { "QUIT says +OK when the store has settled", RC_OK, RC_OK, "+OK good bye\r\n" },
        { "a failed write is not answered +OK", RC_OK, RC_TEMP, "-ERR [SYS/TEMP] the deleted messages could not be removed\r\n" },
        { "a refused expunge is not answered +OK", RC_TEMP, RC_OK, "-ERR [SYS/TEMP] the deleted messages could not be removed\r\n" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct buf out;
        CASE(cases[i].name);
        buf_init(&out, 1000);
        fake_store_init(&store);
        fake_store_add(&store, SLICE("a: b\r\n\r\n"));
        store.expunge_rc = cases[i].expunge;
        struct pop3_session *session = open_session();
        enum want want = run(session, "DELE 1\r\nQUIT\r\nNOOP\r\n", &out);
        CHECK_INT(want, cases[i].expunge == RC_OK ? WANT_ANSWER : WANT_CLOSE);
        if (want == WANT_ANSWER) {
            CHECK(ends_with(&out, "+OK message 1 goes at QUIT\r\n"));
            CHECK_INT(pop3_session_wait(session), 42);
            pop3_session_answer(session, cases[i].settled);
            CHECK_INT(run(session, "NOOP\r\n", &out), WANT_CLOSE);
        }
        CHECK(ends_with(&out, cases[i].want));
        pop3_session_free(session);
        buf_free(&out);
    }
    CASE("a connection that is lost deletes nothing");
    struct buf out;
    buf_init(&out, 1000);
    fake_store_init(&store);
    fake_store_add(&store, SLICE("a: b\r\n\r\n"));
    struct pop3_session *session = open_session();
    CHECK_INT(run(session, "DELE 1\r\n", &out), WANT_INPUT);
    pop3_session_stop(session, NULL);
    CHECK_INT(run(session, "QUIT\r\n", &out), WANT_CLOSE);
    CHECK(ends_with(&out, "+OK message 1 goes at QUIT\r\n"));
    pop3_session_free(session);
    CHECK(!store.is_expunged[0]);
    CHECK(store.view_is_read_only);
    buf_free(&out);
}

static void test_many(void)
{
    struct buf out;
    CASE("a listing longer than the output limit goes out in pieces, whole and in order");
    buf_init(&out, 10000000);
    fake_store_init(&store);
    for (unsigned i = 0; i < FAKE_MESSAGES_MAX; i++)
        fake_store_add(&store, SLICE("a: b\r\n\r\n"));
    struct pop3_session *session = open_session();
    CHECK_INT(run(session, "", &out), WANT_INPUT);
    buf_clear(&out);
    CHECK_INT(run(session, "UIDL\r\nNOOP\r\n", &out), WANT_INPUT);
    struct slice lines = buf_slice(&out);
    CHECK_SLICE(slice_take_until(&lines, '\n'), SLICE("+OK 5000 messages (40000 octets)\r"));
    for (unsigned i = 1; i <= FAKE_MESSAGES_MAX; i++) {
        char want[64];
        snprintf(want, sizeof(want), "%u 1234.%u\r", i, i);
        CHECK_SLICE(slice_take_until(&lines, '\n'), slice_from_str(want));
    }
    CHECK_SLICE(lines, SLICE(".\r\n+OK still here\r\n"));
    pop3_session_free(session);
    buf_free(&out);
}

static void test_worst_dots(void)
{
    static char dots[3 * 40000];
    struct buf out;
    CASE("a message of dots alone doubles them and still fits the output");
    for (size_t i = 0; i < sizeof(dots); i += 3)
        memcpy(dots + i, ".\r\n", 3);
    buf_init(&out, 10000000);
    fake_store_init(&store);
    fake_store_add(&store, (struct slice){ dots, sizeof(dots) });
    struct pop3_session *session = open_session();
    CHECK_INT(run(session, "RETR 1\r\nRETR 1\r\n", &out), WANT_INPUT);
    CHECK_INT(buf_len(&out), 2 * (4 * 40000 + 3 + strlen("+OK 120000 octets\r\n")) + strlen("+OK 1 messages (120000 octets)\r\n"));
    buf_clear(&out);
    CASE("TOP across pieces counts body lines, not header lines");
    CHECK_INT(run(session, "TOP 1 39999\r\n", &out), WANT_INPUT);
    CHECK(ends_with(&out, "..\r\n.\r\n"));
    pop3_session_free(session);
    buf_free(&out);
}

static void test_errors(void)
{
    struct buf out;
    CASE("after too many errors the connection ends");
    buf_init(&out, 10000);
    fake_store_init(&store);
    struct pop3_session *session = open_session();
    enum want want = WANT_INPUT;
    unsigned tries = 0;
    while (want == WANT_INPUT && tries++ < 100)
        want = run(session, "NONSENSE\r\n", &out);
    CHECK_INT(want, WANT_CLOSE);
    CHECK_INT(tries, 20);
    CHECK(pop3_session_timeout_s(session) >= 600);
    pop3_session_free(session);
    buf_free(&out);
}

int main(void)
{
    test_opening_fails();
    test_reading_fails();
    test_quit_waits();
    test_many();
    test_worst_dots();
    test_errors();
    return check_done();
}
