/* Runs the POP3 transcripts (tests/dialog/pop3/ *.txt, see tests/dialog/README.md) on the bare machines with a real store in
 * a temporary folder: in lockstep, with everything pipelined, and in chunks of several sizes. The account is
 * "alice@example.org" with the password "secret word". */
#include "check.h"

#include "base/text.h"
#include "pop3/login.h"
#include "pop3/session.h"
#include "store/store.h"

#include <errno.h>
#include <ftw.h>
#include <unistd.h>

enum { ACCOUNT = 1, TRANSCRIPT_MAX = 1024 * 1024 };

static const struct slice password = { "secret word", 11 };

struct dialog {
    struct pop3_login_options options;
    struct peer peer;
    struct pop3_login *login;
    struct pop3_session *session;
    struct store *store;
    char dir[64];
    struct buf in, out;
    bool awaits_tls, is_closed;
    struct arena arena;
    struct sasl_server *sasl;
    struct sasl_verifier verifier;
};

/* ---- the driver ---------------------------------------------------------------------------------------------- */

static void answer_auth(struct dialog *d)
{
    const struct pop3_login_ask *ask = pop3_login_ask(d->login);
    struct fault f = { .rc = RC_OK };
    struct buf out;
    buf_init(&out, SASL_MESSAGE_MAX);
    if (ask->is_start) {
        static const struct sasl_binding none;
        arena_rewind(&d->arena);
        d->sasl = sasl_server_begin(ask->mechanism, &none, SLICE("0123456789abcdefghij"), &d->arena);
    }
    enum sasl_state state = sasl_server_step(d->sasl, ask->has_message, ask->message, &out, &f);
    if (state == SASL_LOOKUP) {
        bool exists = slice_equal(sasl_server_name(d->sasl), SLICE("alice@example.org"));
        state = sasl_server_verifier(d->sasl, &d->verifier, exists, &out, &f);
    }
    pop3_login_answer_auth(d->login, state, buf_slice(&out), state == SASL_FAILED ? &f : NULL);
    buf_free(&out);
}

static void answer(struct dialog *d)
{
    if (d->session != NULL) {
        pop3_session_answer(d->session, store_wait(d->store, pop3_session_wait(d->session)));
    } else if (pop3_login_ask(d->login)->kind == POP3_LOGIN_ASK_AUTH) {
        answer_auth(d);
    } else {
        struct pop3_session_options options = { .store = d->store, .account = ACCOUNT, .host_name = SLICE("pop.example.org") };
        d->session = pop3_session_new(&options);
        must(d->session != NULL);
    }
}

static void take_output(struct dialog *d)
{
    struct buf *logins = pop3_login_output(d->login);
    CHECK(buf_append(&d->out, buf_slice(logins)));
    buf_consume(logins, buf_len(logins));
    if (d->session == NULL)
        return;
    struct buf *sessions = pop3_session_output(d->session);
    CHECK(buf_append(&d->out, buf_slice(sessions)));
    buf_consume(sessions, buf_len(sessions));
}

static enum want step(struct dialog *d, struct slice *in)
{
    size_t before = buf_len(&d->in);
    enum want want = d->session != NULL ? pop3_session_step(d->session, in) : pop3_login_step(d->login, in);
    buf_consume(&d->in, before - in->len);
    take_output(d);
    return want;
}

static void feed(struct dialog *d, struct slice bytes)
{
    if (d->awaits_tls || d->is_closed)
        return;
    CHECK(buf_append(&d->in, bytes));
    for (;;) {
        struct slice in = buf_slice(&d->in);
        switch (step(d, &in)) {
        case WANT_INPUT:
            return;
        case WANT_FLUSH:
            break;
        case WANT_ANSWER:
            answer(d);
            break;
        case WANT_TLS:
            buf_clear(&d->in);
            d->awaits_tls = true;
            return;
        case WANT_CLOSE:
        default:
            d->is_closed = true;
            return;
        }
    }
}

static void feed_in_chunks(struct dialog *d, struct slice bytes, size_t chunk)
{
    while (bytes.len > 0)
        feed(d, slice_take(&bytes, chunk));
}

static void handshake(struct dialog *d)
{
    CHECK(d->awaits_tls);
    d->awaits_tls = false;
    d->peer.has_tls = true;
    pop3_login_tls_started(d->login);
}

/* ---- the store ------------------------------------------------------------------------------------------------ */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static void open_store(struct dialog *d)
{
    struct fault f;
    uint64_t wait;
    strcpy(d->dir, "/tmp/thurn-dialog-XXXXXX");
    must(mkdtemp(d->dir) != NULL);
    struct store_options options = { .dir = d->dir, .files = &file_ops_real, .segment_bytes = 4 * 1024 * 1024 };
    enum rc rc = store_open(&options, &d->store, &f);
    if (rc != RC_OK)
        fprintf(stderr, "%s\n", f.text);
    must(rc == RC_OK);
    must(store_account_create(d->store, ACCOUNT, 1, &wait, &f) == RC_OK && store_wait(d->store, wait) == RC_OK);
}

static void add_message(struct dialog *d, struct slice text)
{
    struct fault f;
    uint64_t wait;
    uint32_t uid;
    struct store_mailbox_info info;
    must(store_mailbox_find(d->store, ACCOUNT, SLICE("INBOX"), &info) == RC_OK);
    struct store_body *body = store_body_begin(d->store);
    must(body != NULL && store_body_write(body, text, &f) == RC_OK);
    must(store_append(d->store, info.id, body, (struct mail_date){ 1, 0 }, 0, 0, &uid, &wait, &f) == RC_OK);
    must(store_wait(d->store, wait) == RC_OK);
}

static void begin(struct dialog *d)
{
    struct fault f;
    *d = (struct dialog){ .options = { .host_name = SLICE("pop.example.org"), .offers_tls = true } };
    arena_init(&d->arena, 64 * 1024);
    buf_init(&d->in, TRANSCRIPT_MAX);
    buf_init(&d->out, TRANSCRIPT_MAX * 4);
    must(sasl_verifier_make(password, (const unsigned char *)"0123456789abcdef", 4096, &d->verifier, &f) == RC_OK);
    open_store(d);
}

static void connect_now(struct dialog *d)
{
    if (d->login != NULL)
        return;
    d->login = pop3_login_new(&d->options, &d->peer);
    must(d->login != NULL);
    feed(d, SLICE(""));
}

static void end(struct dialog *d)
{
    pop3_session_free(d->session);
    pop3_login_free(d->login);
    store_close(d->store);
    nftw(d->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    buf_free(&d->in);
    buf_free(&d->out);
    arena_free(&d->arena);
}

/* ---- the transcript ---------------------------------------------------------------------------------------------- */

enum mode { LOCKSTEP, PIPELINED };

struct run {
    struct dialog d;
    enum mode mode;
    size_t chunk;
    struct buf to_send;         /* C: lines not fed yet */
    struct buf expected;        /* S: lines not compared yet */
    struct buf message;         /* of ! message */
    bool in_message;
    unsigned line_number;
};

/* '*' in the pattern stands for anything. */
static bool matches(struct slice pattern, struct slice text)
{
    while (pattern.len > 0 && pattern.ptr[0] != '*') {
        if (text.len == 0 || text.ptr[0] != pattern.ptr[0])
            return false;
        slice_take(&pattern, 1);
        slice_take(&text, 1);
    }
    if (pattern.len == 0)
        return text.len == 0;
    slice_take(&pattern, 1);
    for (;;) {
        if (matches(pattern, text))
            return true;
        if (text.len == 0)
            return false;
        slice_take(&text, 1);
    }
}

static void compare(struct run *r)
{
    struct slice want = buf_slice(&r->expected), got = buf_slice(&r->d.out);
    while (want.len > 0) {
        struct slice pattern = slice_take_until(&want, '\n');
        size_t end_at = slice_find(got, SLICE("\r\n"));
        struct slice line = slice_take(&got, end_at);
        slice_take(&got, 2);
        check_ran++;
        if (!matches(pattern, line)) {
            check_failed++;
            fprintf(stderr, "%s:%u: (mode %d, chunks of %zu) got \"%.*s\", want \"%.*s\"\n", check_case, r->line_number, (int)r->mode,
                    r->chunk, SLICE_ARG(line), SLICE_ARG(pattern));
        }
    }
    CHECK_SLICE(got, SLICE(""));
    buf_clear(&r->expected);
    buf_clear(&r->d.out);
}

static void send_all(struct run *r)
{
    connect_now(&r->d);
    feed_in_chunks(&r->d, buf_slice(&r->to_send), r->chunk);
    buf_clear(&r->to_send);
}

static void settle(struct run *r)
{
    send_all(r);
    compare(r);
}

static bool append_unescaped(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        struct slice plain = slice_take(&text, slice_find_byte(text, '\\'));
        buf_append(out, plain);
        if (text.len == 0)
            break;
        slice_take(&text, 1);
        struct slice code = slice_take(&text, 1);
        switch (code.len > 0 ? code.ptr[0] : '\\') {
        case 'r': buf_append_byte(out, '\r'); break;
        case 'n': buf_append_byte(out, '\n'); break;
        case '0': buf_append_byte(out, '\0'); break;
        case 'x': must(hex_decode(slice_take(&text, 2), out) == RC_OK); break;
        default: buf_append_byte(out, '\\'); break;
        }
    }
    return !out->overflow;
}

static void directive(struct run *r, struct slice line)
{
    uint64_t count;
    if (slice_equal(line, SLICE("tls active"))) {
        r->d.peer.has_tls = true;
    } else if (slice_equal(line, SLICE("tls absent"))) {
        r->d.options.offers_tls = false;
    } else if (slice_equal(line, SLICE("plain allowed"))) {
        r->d.options.auth_without_tls = true;
    } else if (slice_equal(line, SLICE("bare"))) {
        /* for those who play transcripts to a running server: not this one */
    } else if (slice_equal(line, SLICE("message"))) {
        buf_clear(&r->message);
        r->in_message = true;
    } else if (slice_take_prefix_nocase(&line, SLICE("messages ")) && slice_take_number(&line, 100000, &count)) {
        while (count-- > 0)
            add_message(&r->d, SLICE("Subject: x\r\n\r\nx\r\n"));
    } else if (slice_equal(line, SLICE("tls"))) {
        settle(r);
        handshake(&r->d);
    } else if (slice_equal(line, SLICE("close"))) {
        settle(r);
        CHECK(r->d.is_closed);
    } else if (slice_equal(line, SLICE("again"))) {
        settle(r);
        pop3_session_free(r->d.session);
        pop3_login_free(r->d.login);
        r->d.session = NULL;
        r->d.login = NULL;
        r->d.is_closed = r->d.awaits_tls = false;
        buf_clear(&r->d.in);
    } else {
        fprintf(stderr, "%s:%u: unknown directive \"%.*s\"\n", check_case, r->line_number, SLICE_ARG(line));
        check_failed++;
    }
}

static void run_line(struct run *r, struct slice line)
{
    if (r->in_message) {
        if (slice_equal(line, SLICE("! end"))) {
            add_message(&r->d, buf_slice(&r->message));
            r->in_message = false;
        } else {
            append_unescaped(&r->message, line);
            buf_append_str(&r->message, "\r\n");
        }
    } else if (slice_take_prefix_nocase(&line, SLICE("C: "))) {
        if (r->mode == LOCKSTEP && buf_len(&r->expected) > 0)
            settle(r);
        append_unescaped(&r->to_send, line);
        buf_append_str(&r->to_send, "\r\n");
    } else if (slice_take_prefix_nocase(&line, SLICE("S: "))) {
        append_unescaped(&r->expected, line);
        buf_append_byte(&r->expected, '\n');
    } else if (slice_take_prefix_nocase(&line, SLICE("! "))) {
        directive(r, line);
    } else {
        CHECK(line.len == 0 || line.ptr[0] == '#');
    }
}

static void run_transcript(struct slice text, enum mode mode, size_t chunk)
{
    struct run *r = calloc(1, sizeof(*r));
    must(r != NULL);
    r->mode = mode;
    r->chunk = chunk;
    buf_init(&r->to_send, TRANSCRIPT_MAX);
    buf_init(&r->expected, TRANSCRIPT_MAX);
    buf_init(&r->message, TRANSCRIPT_MAX);
    begin(&r->d);
    while (text.len > 0) {
        r->line_number++;
        run_line(r, slice_take_until(&text, '\n'));
    }
    settle(r);
    end(&r->d);
    buf_free(&r->to_send);
    buf_free(&r->expected);
    buf_free(&r->message);
    free(r);
}

static bool read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof(piece), file)) > 0; )
        buf_append(out, (struct slice){ piece, n });
    fclose(file);
    return !out->overflow;
}

int main(int argc, char **argv)
{
    static const struct { enum mode mode; size_t chunk; } ways[] = {
        { LOCKSTEP, SIZE_MAX }, { LOCKSTEP, 1 }, { PIPELINED, SIZE_MAX }, { PIPELINED, 1 }, { PIPELINED, 7 }, { PIPELINED, 64 },
    };
    for (int i = 1; i < argc; i++) {
        struct buf text;
        buf_init(&text, TRANSCRIPT_MAX);
        CASE(argv[i]);
        CHECK(read_file(argv[i], &text));
        for (size_t w = 0; w < sizeof(ways) / sizeof(*ways); w++)
            run_transcript(buf_slice(&text), ways[w].mode, ways[w].chunk);
        buf_free(&text);
    }
    return check_done();
}
