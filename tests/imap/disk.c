/* A disk that fails: what was not made durable is never acknowledged, what cannot be read is said to be so or the
 * connection ends, and whatever needs no disk goes on (src/store/store.h S1, S2). */
#include "check.h"

#include "imap/session.h"
#include "store/gate.h"
#include "store/support.h"

#include <errno.h>

enum { ACCOUNT = 1, BIG_BYTES = 300000 };

static const struct mail_date now = { 1795330048, 0 };

struct disk {
    struct file_ops ops;
    bool cannot_sync;
    unsigned reads_left;        /* then they fail */
    unsigned writes_to_fail;    /* the next ones */
};

static int sync_or_fail(void *self, int fd)
{
    struct disk *disk = self;
    return disk->cannot_sync ? -EIO : file_ops_real.sync(file_ops_real.self, fd);
}

static int64_t read_or_fail(void *self, int fd, void *data, size_t len, uint64_t offset)
{
    struct disk *disk = self;
    if (disk->reads_left == 0)
        return -EIO;
    disk->reads_left--;
    return file_ops_real.read_at(file_ops_real.self, fd, data, len, offset);
}

static int64_t write_or_fail(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
    struct disk *disk = self;
    if (disk->writes_to_fail > 0) {
        disk->writes_to_fail--;
        return -EIO;
    }
    return file_ops_real.write_at(file_ops_real.self, fd, data, len, offset);
}

struct fixture {
    struct disk disk;
    char dir[64];
    struct store *store;
    struct imap_session *session;
    struct buf in, said;
    bool is_closed;
};

/* What the session says to these commands. */
static struct slice say(struct fixture *fx, struct slice commands)
{
    buf_clear(&fx->said);
    buf_append(&fx->in, commands);
    while (!fx->is_closed) {
        struct slice in = buf_slice(&fx->in);
        size_t before = in.len;
        enum want want = imap_session_step(fx->session, &in, now);
        buf_consume(&fx->in, before - in.len);
        struct buf *out = imap_session_output(fx->session);
        buf_append(&fx->said, buf_slice(out));
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER)
            imap_session_answer(fx->session, store_wait(fx->store, imap_session_wait(fx->session)));
        else if (want == WANT_INPUT)
            break;
        fx->is_closed = want == WANT_CLOSE;
    }
    return buf_slice(&fx->said);
}

static bool says(struct fixture *fx, struct slice commands, struct slice wanted)
{
    struct slice said = say(fx, commands);
    bool has = slice_find(said, wanted) < said.len;
    if (!has)
        fprintf(stderr, "said \"%.*s\"\n", SLICE_ARG(slice_sub(said, 0, 500)));
    return has;
}

static void begin(struct fixture *fx)
{
    *fx = (struct fixture){ .disk = { .ops = file_ops_real, .reads_left = UINT32_MAX } };
    fx->disk.ops.self = &fx->disk;
    temporary_folder(fx->dir);
    struct store_options options = { .dir = fx->dir, .files = &file_ops_real, .segment_bytes = 1 << 20 };
    must(store_open(&options, &fx->store, NULL) == RC_OK);
    make_account(fx->store, ACCOUNT);
    store_close(fx->store);
    /* Only the calls that are to fail are wrapped, and only from here on. */
    fx->disk.ops.sync = sync_or_fail;
    fx->disk.ops.read_at = read_or_fail;
    fx->disk.ops.write_at = write_or_fail;
    options.files = &fx->disk.ops;
    must(store_open(&options, &fx->store, NULL) == RC_OK);
    buf_init(&fx->in, 1 << 20);
    buf_init(&fx->said, 8 << 20);
    struct imap_session_options session = { .store = fx->store, .account = ACCOUNT, .host_name = SLICE("x"), .tag = SLICE("in") };
    fx->session = imap_session_new(&session);
    must(fx->session != NULL);
    CHECK(says(fx, SLICE("s SELECT INBOX\r\na APPEND INBOX {14+}\r\nSubject: x\r\n\r\n\r\nb APPEND INBOX (\\Deleted) {14+}\r\nSubject: y\r\n\r\n\r\n"),
               SLICE("b OK [APPENDUID ")));
    struct buf big;
    buf_init(&big, 1 << 20);
    buf_printf(&big, "c APPEND INBOX {%d+}\r\nSubject: big\r\n\r\n%0*d\r\nd SELECT INBOX\r\n", BIG_BYTES, BIG_BYTES - 16, 0);
    CHECK(says(fx, buf_slice(&big), SLICE("d OK [READ-WRITE]")));
    buf_free(&big);
}

static void end(struct fixture *fx)
{
    imap_session_free(fx->session);
    store_close(fx->store);
    remove_folder(fx->dir);
    buf_free(&fx->in);
    buf_free(&fx->said);
}

/* A step of the session with these bytes, as they come; how many it took. */
static enum want take(struct fixture *fx, struct slice *bytes)
{
    enum want want = imap_session_step(fx->session, bytes, now);
    struct buf *out = imap_session_output(fx->session);
    buf_append(&fx->said, buf_slice(out));
    buf_consume(out, buf_len(out));
    return want;
}

static void test_slow_disk(void)
{
    static char text[1 << 16];
    enum { PIECES = 200 };                      /* 12.5 MiB: more than may wait, less than where the store would block */
    struct fixture fx = { .is_closed = false };
    struct gate gate;
    struct buf head;
    CASE("APPEND waits with the disk: no more is read than may wait in memory");
    gate_init(&gate);
    temporary_folder(fx.dir);
    struct store_options options = { .dir = fx.dir, .files = &gate.ops, .segment_bytes = 1 << 20 };
    must(store_open(&options, &fx.store, NULL) == RC_OK);
    make_account(fx.store, ACCOUNT);
    struct imap_session_options session = { .store = fx.store, .account = ACCOUNT, .host_name = SLICE("x"), .append_max = 32 << 20, .tag = SLICE("in") };
    fx.session = imap_session_new(&session);
    buf_init(&fx.said, 1 << 20);
    buf_init(&head, 1000);
    memset(text, 'x', sizeof text);
    buf_printf(&head, "a APPEND INBOX {%zu+}\r\n", PIECES * sizeof text);
    struct slice bytes = buf_slice(&head);
    while (bytes.len > 0 || buf_len(&fx.said) == 0)
        CHECK(take(&fx, &bytes) != WANT_CLOSE);
    gate_close(&gate, true);
    size_t pieces = 0;
    enum want want = WANT_INPUT;
    for (; pieces < PIECES && want != WANT_ANSWER; pieces++)
        for (bytes = (struct slice){ text, sizeof text }; bytes.len > 0 && want != WANT_ANSWER;)
            want = take(&fx, &bytes);
    CHECK_INT(want, WANT_ANSWER);
    CHECK(pieces * sizeof text > 8 << 20 && pieces * sizeof text < 9 << 20);
    CHECK_INT(bytes.len, 0);
    CHECK_INT(store_settled(fx.store, imap_session_wait(fx.session)), RC_MORE);
    CASE("and goes on when it has caught up");
    gate_close(&gate, false);
    imap_session_answer(fx.session, store_wait(fx.store, imap_session_wait(fx.session)));
    for (; pieces < PIECES; pieces++)
        for (bytes = (struct slice){ text, sizeof text }; bytes.len > 0;)
            if (take(&fx, &bytes) == WANT_ANSWER)
                imap_session_answer(fx.session, store_wait(fx.store, imap_session_wait(fx.session)));
    buf_init(&fx.in, 100);
    CHECK(says(&fx, SLICE("\r\n"), SLICE("a OK [APPENDUID ")));
    end(&fx);
    buf_free(&head);
}

static void test_quota_meanwhile(void)
{
    static char text[600];
    struct fixture fx = { .is_closed = false };
    CASE("an APPEND that had room when it was announced is refused when others have filled the account meanwhile");
    temporary_folder(fx.dir);
    fx.store = open_store(fx.dir, 1 << 20, (struct store_rider){ .self = NULL });
    make_account(fx.store, ACCOUNT);
    struct imap_session_options session = { .store = fx.store, .account = ACCOUNT, .host_name = SLICE("x"), .append_max = 10000, .quota_bytes = 1000,
                                            .tag = SLICE("in") };
    fx.session = imap_session_new(&session);
    buf_init(&fx.in, 10000);
    buf_init(&fx.said, 10000);
    memset(text, 'x', sizeof text);
    CHECK(says(&fx, SLICE("a APPEND INBOX {600}\r\n"), SLICE("+ ")));
    append(fx.store, mailbox_id(fx.store, ACCOUNT, "INBOX"), (struct slice){ text, sizeof text }, 0);
    (void)say(&fx, (struct slice){ text, sizeof text });
    CHECK(says(&fx, SLICE("\r\n"), SLICE("a NO [OVERQUOTA]")));
    end(&fx);
}

static void test_failed_sync(void)
{
    static const struct { const char *command, *answer; } cases[] = {
        { "1 STORE 1 +FLAGS (\\Flagged)\r\n", "1 NO [UNAVAILABLE]" },
        { "2 APPEND INBOX {14+}\r\nSubject: z\r\n\r\n\r\n", "2 NO [UNAVAILABLE]" },
        { "3 COPY 1 Trash\r\n", "3 NO [UNAVAILABLE]" },
        { "4 MOVE 1 Trash\r\n", "4 NO [UNAVAILABLE]" },
        { "5 EXPUNGE\r\n", "5 NO [UNAVAILABLE]" },
        { "6 CREATE new\r\n", "6 NO [UNAVAILABLE]" },
        { "7 DELETE Junk\r\n", "7 NO [UNAVAILABLE]" },
        { "8 RENAME Junk Trunk\r\n", "8 NO [UNAVAILABLE]" },
        { "9 SUBSCRIBE x\r\n", "9 NO [UNAVAILABLE]" },
        { "10 CLOSE\r\n", "10 NO [UNAVAILABLE]" },
    };
    static struct fixture fx;
    CASE("a change that cannot be made durable is not acknowledged");
    begin(&fx);
    fx.disk.cannot_sync = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK(says(&fx, slice_from_str(cases[i].command), slice_from_str(cases[i].answer)));
    CASE("nor is anything of it seen");
    CHECK(says(&fx, SLICE("a FETCH 1:3 (FLAGS)\r\n"), SLICE("* 2 FETCH (FLAGS (\\Deleted))\r\n* 3 FETCH (FLAGS ())\r\na OK")));
    CHECK(says(&fx, SLICE("b STATUS INBOX (MESSAGES)\r\n"), SLICE("(MESSAGES 3)")));
    CHECK(says(&fx, SLICE("c LIST \"\" new\r\n"), SLICE("c OK")));
    CASE("reading goes on, without noting that it was read");
    CHECK(says(&fx, SLICE("d FETCH 1 BODY[]\r\n"), SLICE("* 1 FETCH (BODY[] {14}\r\nSubject: x\r\n\r\n)\r\nd OK")));
    end(&fx);
}

static void test_failed_read(void)
{
    static struct fixture fx;
    CASE("what cannot be read is left out, and the command says so");
    begin(&fx);
    fx.disk.reads_left = 0;
    CHECK(says(&fx, SLICE("a FETCH 3 (UID BODY.PEEK[] RFC822.SIZE)\r\n"),
               SLICE("* 3 FETCH (UID 3 RFC822.SIZE 300000)\r\na NO [SERVERBUG]")));
    CHECK(says(&fx, SLICE("b FETCH 3 (ENVELOPE BODYSTRUCTURE UID)\r\n"), SLICE("* 3 FETCH (UID 3)\r\nb NO [SERVERBUG]")));
    CHECK(says(&fx, SLICE("c SEARCH TEXT zero\r\n"), SLICE("c NO [SERVERBUG]")));
    CHECK(says(&fx, SLICE("d NOOP\r\n"), SLICE("d OK")));
    CASE("a literal that breaks off ends the connection: nothing false is said in its place");
    fx.disk.reads_left = 2;
    struct slice said = say(&fx, SLICE("e FETCH 3 (BODY.PEEK[])\r\nf NOOP\r\n"));
    CHECK(fx.is_closed);
    CHECK(slice_starts_nocase(said, SLICE("* 3 FETCH (BODY[] {300000}\r\nSubject: big\r\n\r\n0000")));
    CHECK(said.len < BIG_BYTES && slice_find(said, SLICE("OK")) == said.len && slice_find(said, SLICE("BYE")) == said.len);
    end(&fx);
}

static void test_failed_keyword(void)
{
    static struct fixture fx;
    CASE("a keyword whose own record failed while the message was on its way is made once more");
    begin(&fx);
    fx.disk.writes_to_fail = 1;
    CHECK_SLICE(say(&fx, SLICE("a APPEND Drafts (work) {14+}\r\nSubj")), SLICE(""));
    struct store_mailbox_info drafts;
    uint32_t bit;
    uint64_t wait;
    must(store_mailbox_find(fx.store, ACCOUNT, SLICE("Drafts"), &drafts) == RC_OK);
    enum rc rc = store_keyword(fx.store, drafts.id, SLICE("other"), true, &bit, &wait, NULL);
    CHECK(rc != RC_OK || store_wait(fx.store, wait) == RC_TEMP);        /* it stood behind the one that failed */
    while (fx.disk.writes_to_fail > 0 || store_keyword(fx.store, drafts.id, SLICE("other"), true, &bit, &wait, NULL) != RC_OK)
        (void)store_poll(fx.store, 0);
    CHECK(says(&fx, SLICE("ect: x\r\n\r\n\r\n"), SLICE("a OK [APPENDUID ")));
    CHECK(says(&fx, SLICE("b SELECT Drafts\r\nc FETCH 1 (FLAGS)\r\n"), SLICE("FLAGS (\\Recent work)")));
    end(&fx);
}

int main(void)
{
    test_slow_disk();
    test_quota_meanwhile();
    test_failed_sync();
    test_failed_keyword();
    test_failed_read();
    return check_done();
}
