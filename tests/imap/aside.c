/* A message that kills whoever parses it (store.h, store_handling_begin): after the second death in a row it is not parsed any
 * more, and everything else about it goes on. */
#include "check.h"

#include "imap/session.h"
#include "store/support.h"

enum { ACCOUNT = 1 };

static const struct mail_date now = { 1795330048, 0 };

struct fixture {
    char dir[64];
    struct store *store;
    struct imap_session *session;
    uint64_t body_id;
    struct buf in, said;
};

static struct slice say(struct fixture *fx, const char *commands)
{
    buf_clear(&fx->said);
    buf_append_str(&fx->in, commands);
    for (;;) {
        struct slice in = buf_slice(&fx->in);
        size_t before = in.len;
        enum want want = imap_session_step(fx->session, &in, now);
        buf_consume(&fx->in, before - in.len);
        struct buf *out = imap_session_output(fx->session);
        buf_append(&fx->said, buf_slice(out));
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER)
            imap_session_answer(fx->session, store_wait(fx->store, imap_session_wait(fx->session)));
        else if (want == WANT_INPUT || want == WANT_CLOSE)
            return buf_slice(&fx->said);
    }
}

static bool says(struct fixture *fx, const char *commands, const char *wanted)
{
    struct slice said = say(fx, commands);
    bool has = slice_find(said, slice_from_str(wanted)) < said.len;
    if (!has)
        fprintf(stderr, "said \"%.*s\"\n", SLICE_ARG(said));
    return has;
}

static void open_all(struct fixture *fx)
{
    fx->store = open_store(fx->dir, 1 << 20, (struct store_rider){ .self = NULL });
    buf_init(&fx->in, 1 << 20);
    buf_init(&fx->said, 1 << 20);
}

static void log_in(struct fixture *fx)
{
    struct imap_session_options options = { .store = fx->store, .account = ACCOUNT, .account_name = SLICE("anna"), .host_name = SLICE("mail.example"),
                                            .append_max = 1 << 20, .tag = SLICE("a"), .was_login = true };
    fx->session = imap_session_new(&options);
    CHECK(says(fx, "b SELECT INBOX\r\n", "b OK"));
}

static void close_all(struct fixture *fx)
{
    imap_session_free(fx->session);
    fx->session = NULL;
    store_close(fx->store);
    buf_free(&fx->in);
    buf_free(&fx->said);
}

/* The process dies while it parses the message: what it noted stays, and the next one comes. */
static void die(struct fixture *fx, enum store_handling what, uint64_t id)
{
    store_handling_begin(fx->store, what, id);
    close_all(fx);
    open_all(fx);
}

static void begin(struct fixture *fx)
{
    *fx = (struct fixture){ .session = NULL };
    temporary_folder(fx->dir);
    open_all(fx);
    make_account(fx->store, ACCOUNT);
    uint64_t inbox = mailbox_id(fx->store, ACCOUNT, "INBOX");
    append(fx->store, inbox, SLICE("Subject: poison\r\n\r\nthe text\r\n"), 0);
    append(fx->store, inbox, SLICE("Subject: good\r\n\r\nother text\r\n"), 0);
    struct store_view *view;
    struct store_message m;
    CHECK_INT(store_view_open(fx->store, inbox, true, &view, NULL), RC_OK);
    store_view_at(view, 1, &m);
    fx->body_id = m.body_id;
    store_view_close(view);
}

static void end(struct fixture *fx)
{
    close_all(fx);
    remove_folder(fx->dir);
}

static void check_twice(void)
{
    struct fixture fx;
    uint64_t id;
    uint32_t deaths;
    begin(&fx);
    CASE("nobody has died: nothing is set aside");
    CHECK_INT(store_died_handling(fx.store, &id, &deaths), HANDLING_NOTHING);
    CASE("after one death it is parsed as ever");
    die(&fx, HANDLING_READ, fx.body_id);
    CHECK_INT(store_died_handling(fx.store, &id, &deaths), HANDLING_READ);
    CHECK(id == fx.body_id && deaths == 1);
    log_in(&fx);
    CASE("after the second it has no header and one part that says so; its bytes are there");
    die(&fx, HANDLING_READ, fx.body_id);
    CHECK(store_is_set_aside(fx.store, HANDLING_READ, fx.body_id));
    CHECK(!store_is_set_aside(fx.store, HANDLING_REPORT, fx.body_id));
    log_in(&fx);
    CHECK(says(&fx, "c FETCH 1 ENVELOPE\r\n", "ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"));
    CHECK(says(&fx, "d FETCH 1 BODYSTRUCTURE\r\n", "BODYSTRUCTURE (\"text\" \"plain\" (\"charset\" \"us-ascii\")"));
    CHECK(says(&fx, "e FETCH 1 BODY.PEEK[1]\r\n", "This message is set aside"));
    CHECK(says(&fx, "f FETCH 1 BODY.PEEK[]\r\n", "Subject: poison\r\n\r\nthe text\r\n"));
    CHECK(says(&fx, "g FETCH 1 BODY.PEEK[TEXT]\r\n", "Subject: poison\r\n\r\nthe text\r\n"));
    CHECK(says(&fx, "h FETCH 1 (RFC822.SIZE BODY.PEEK[HEADER])\r\n", "BODY[HEADER] {0}"));
    CHECK(says(&fx, "i SEARCH SUBJECT good\r\n", "* SEARCH 2\r\n"));
    CASE("another message is read as ever, and going well on it changes nothing of this one");
    CHECK(says(&fx, "j FETCH 2 (ENVELOPE BODYSTRUCTURE)\r\n", "\"good\""));
    CHECK(says(&fx, "k FETCH 1 ENVELOPE\r\n", "ENVELOPE (NIL NIL"));
    CASE("it stays so over a restart in peace");
    close_all(&fx);
    open_all(&fx);
    CHECK_INT(store_died_handling(fx.store, &id, &deaths), HANDLING_NOTHING);
    log_in(&fx);
    CHECK(says(&fx, "l FETCH 1 ENVELOPE\r\n", "ENVELOPE (NIL NIL"));
    CASE("and it can be deleted");
    CHECK(says(&fx, "m STORE 1 +FLAGS (\\Deleted)\r\nn EXPUNGE\r\n", "* 1 EXPUNGE"));
    end(&fx);
}

static void check_chance(void)
{
    struct fixture fx;
    begin(&fx);
    CASE("a message that is parsed well after the first death is forgiven: two deaths by chance are not in a row");
    die(&fx, HANDLING_READ, fx.body_id);
    log_in(&fx);
    CHECK(says(&fx, "c FETCH 1:2 ENVELOPE\r\n", "\"poison\""));
    die(&fx, HANDLING_READ, fx.body_id);
    CHECK(!store_is_set_aside(fx.store, HANDLING_READ, fx.body_id));
    log_in(&fx);
    CHECK(says(&fx, "d FETCH 1 ENVELOPE\r\n", "\"poison\""));
    CASE("a death when nothing was being parsed is nobody's");
    CHECK(says(&fx, "e FETCH 1:* BODYSTRUCTURE\r\n", "e OK"));
    close_all(&fx);
    open_all(&fx);
    uint64_t id;
    uint32_t deaths;
    CHECK_INT(store_died_handling(fx.store, &id, &deaths), HANDLING_NOTHING);
    log_in(&fx);
    CASE("there is room for so many; what is set aside stays longest");
    die(&fx, HANDLING_READ, fx.body_id);
    die(&fx, HANDLING_READ, fx.body_id);
    for (uint64_t other = 1; other <= 100; other++)
        die(&fx, HANDLING_REPORT, 1000000 + other);
    CHECK(store_is_set_aside(fx.store, HANDLING_READ, fx.body_id));
    die(&fx, HANDLING_REPORT, 1000100);
    CHECK(store_is_set_aside(fx.store, HANDLING_REPORT, 1000100));
    die(&fx, HANDLING_REPORT, 1000001);
    CHECK(!store_is_set_aside(fx.store, HANDLING_REPORT, 1000001));
    CASE("a file that is noise does no harm");
    char path[128];
    snprintf(path, sizeof path, "%s/handling", fx.dir);
    FILE *file = fopen(path, "r+");
    for (int i = 0; i < 2000; i++)
        fputc(i * 7919 >> 3, file);
    fclose(file);
    die(&fx, HANDLING_READ, fx.body_id);
    CHECK(!store_is_set_aside(fx.store, HANDLING_READ, fx.body_id));
    log_in(&fx);
    CHECK(says(&fx, "f FETCH 1 ENVELOPE\r\n", "\"poison\""));
    end(&fx);
}

int main(void)
{
    check_twice();
    check_chance();
    return check_done();
}
