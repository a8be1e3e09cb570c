/* Runs the IMAP transcripts (tests/dialog/imap/ *.txt, see tests/dialog/README.md) on the bare machines with a real store in
 * a temporary folder: in lockstep, with everything pipelined, and in chunks of several sizes. The account is
 * "alice@example.org" with the password "secret word".
 *
 * "C2:" and "S2:" speak on a second connection of the same account (up to four); such transcripts say "! lockstep" at
 * their start, since what one connection is told depends on when another spoke. */
#include "check.h"

#include "base/text.h"
#include "imap/login.h"
#include "imap/session.h"
#include "store/store.h"

#include <errno.h>
#include <ftw.h>
#include <unistd.h>

enum { ACCOUNT = 1, TRANSCRIPT_MAX = 1024 * 1024, CONNECTIONS = 4 };

static const struct slice password = { "secret word", 11 };
static const struct mail_date now = { 1795330048, 60 };         /* 22-Nov-2026 07:47:28 +0100 */

struct connection {
    struct dialog *dialog;
    struct imap_login *login;
    struct imap_session *session;
    struct buf in, out;
    struct buf to_send;         /* C: lines not fed yet */
    struct buf expected;        /* S: lines not compared yet */
    bool awaits_tls, is_closed, is_woken, is_noted;
    struct peer peer;
};

struct dialog {
    struct imap_login_options options;
    struct store *store;
    char dir[64];
    uint64_t quota_bytes, append_max;
    struct arena arena;
    struct sasl_server *sasl;
    struct sasl_verifier verifier;
    struct connection connections[CONNECTIONS];
};

/* ---- the driver ---------------------------------------------------------------------------------------------- */

static void on_wake(void *arg)
{
    struct connection *c = arg;
    c->is_woken = true;
}

static void open_session(struct connection *c, struct slice tag)
{
    struct imap_session_options options = {
        .store = c->dialog->store, .account = ACCOUNT, .account_name = SLICE("alice@example.org"), .host_name = SLICE("imap.example.org"),
        .quota_bytes = c->dialog->quota_bytes, .append_max = c->dialog->append_max, .tag = tag, .wake = on_wake, .wake_arg = c,
    };
    c->session = imap_session_new(&options);
    must(c->session != NULL);
}

static void answer_auth(struct connection *c)
{
    struct dialog *d = c->dialog;
    const struct imap_login_ask *ask = imap_login_ask(c->login);
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
    imap_login_answer_auth(c->login, state, buf_slice(&out), state == SASL_FAILED ? &f : NULL);
    buf_free(&out);
}

static void answer(struct connection *c)
{
    if (c->session != NULL)
        imap_session_answer(c->session, store_wait(c->dialog->store, imap_session_wait(c->session)));
    else if (imap_login_ask(c->login)->kind == IMAP_LOGIN_ASK_AUTH)
        answer_auth(c);
    else
        open_session(c, imap_login_ask(c->login)->tag);
}

static void take(struct connection *c, struct buf *from)
{
    CHECK(buf_append(&c->out, buf_slice(from)));
    buf_consume(from, buf_len(from));
}

static enum want step(struct connection *c, struct slice *in)
{
    size_t before = buf_len(&c->in);
    enum want want = c->session != NULL ? imap_session_step(c->session, in, now) : imap_login_step(c->login, in);
    buf_consume(&c->in, before - in->len);
    if (c->login != NULL)
        take(c, imap_login_output(c->login));
    if (c->session != NULL)
        take(c, imap_session_output(c->session));
    return want;
}

static void feed(struct connection *c, struct slice bytes)
{
    if (c->awaits_tls || c->is_closed)
        return;
    CHECK(buf_append(&c->in, bytes));
    for (;;) {
        struct slice in = buf_slice(&c->in);
        switch (step(c, &in)) {
        case WANT_INPUT:
            return;
        case WANT_FLUSH:
            break;
        case WANT_ANSWER:
            answer(c);
            break;
        case WANT_TLS:
            buf_clear(&c->in);
            c->awaits_tls = true;
            return;
        case WANT_CLOSE:
        default:
            c->is_closed = true;
            return;
        }
    }
}

/* What one connection did may be news to others in IDLE. */
static void wake_all(struct dialog *d)
{
    (void)store_poll(d->store, now.unix_s * 1000);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &d->connections[i];
        if (c->is_woken && c->session != NULL)
            feed(c, SLICE(""));
        c->is_woken = false;
    }
}

static void connect_now(struct connection *c)
{
    if (c->login != NULL || c->session != NULL)
        return;
    c->login = imap_login_new(&c->dialog->options, &c->peer);
    must(c->login != NULL);
    feed(c, SLICE(""));
}

static void handshake(struct connection *c)
{
    CHECK(c->awaits_tls);
    c->awaits_tls = false;
    c->peer.has_tls = true;
    imap_login_tls_started(c->login);
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
    snprintf(d->dir, sizeof(d->dir), "%s/thurn-dialog-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    must(mkdtemp(d->dir) != NULL);
    struct store_options options = { .dir = d->dir, .files = &file_ops_real, .segment_bytes = 4 * 1024 * 1024 };
    enum rc rc = store_open(&options, &d->store, &f);
    if (rc != RC_OK)
        fprintf(stderr, "%s\n", f.text);
    must(rc == RC_OK);
    must(store_account_create(d->store, ACCOUNT, 1, &wait, &f) == RC_OK && store_wait(d->store, wait) == RC_OK);
}

static void add_mailbox(struct dialog *d, struct slice name)
{
    struct fault f;
    uint64_t wait;
    must(store_mailbox_create(d->store, ACCOUNT, name, SPECIAL_NONE, 1, &wait, &f) == RC_OK);
    must(store_wait(d->store, wait) == RC_OK);
}

static void add_message(struct dialog *d, struct slice mailbox, uint32_t flags, struct slice text)
{
    struct fault f;
    uint64_t wait;
    uint32_t uid;
    struct store_mailbox_info info;
    must(store_mailbox_find(d->store, ACCOUNT, mailbox, &info) == RC_OK);
    struct store_body *body = store_body_begin(d->store);
    must(body != NULL && store_body_write(body, text, &f) == RC_OK);
    must(store_append(d->store, info.id, body, now, flags, 0, &uid, &wait, &f) == RC_OK);
    must(store_wait(d->store, wait) == RC_OK);
}

static void begin(struct dialog *d)
{
    struct fault f;
    *d = (struct dialog){ .options = { .host_name = SLICE("imap.example.org"), .offers_tls = true } };
    arena_init(&d->arena, 64 * 1024);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &d->connections[i];
        c->dialog = d;
        buf_init(&c->in, TRANSCRIPT_MAX);
        buf_init(&c->out, TRANSCRIPT_MAX * 4);
        buf_init(&c->to_send, TRANSCRIPT_MAX);
        buf_init(&c->expected, TRANSCRIPT_MAX);
    }
    must(sasl_verifier_make(password, (const unsigned char *)"0123456789abcdef", 4096, &d->verifier, &f) == RC_OK);
    open_store(d);
}

static void hang_up(struct connection *c)
{
    imap_session_free(c->session);
    imap_login_free(c->login);
    c->session = NULL;
    c->login = NULL;
    c->is_closed = c->awaits_tls = c->peer.has_tls = false;
    buf_clear(&c->in);
}

static void end(struct dialog *d)
{
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &d->connections[i];
        hang_up(c);
        buf_free(&c->in);
        buf_free(&c->out);
        buf_free(&c->to_send);
        buf_free(&c->expected);
    }
    store_close(d->store);
    nftw(d->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    arena_free(&d->arena);
}

/* ---- the transcript ---------------------------------------------------------------------------------------------- */

enum mode { LOCKSTEP, PIPELINED };

struct run {
    struct dialog d;
    enum mode mode;
    size_t chunk;
    bool is_skipped;            /* lockstep only */
    struct buf message;         /* of ! message */
    struct slice message_mailbox;
    uint32_t message_flags;
    bool in_message;
    unsigned line_number;
    uint64_t uidvalidity;       /* the last one that was told: $UIDVALIDITY */
};

/* '*' in the pattern stands for anything, but at its start it is what untagged responses begin with. */
static bool matches_from(struct slice pattern, struct slice text, bool is_start)
{
    while (pattern.len > 0 && (pattern.ptr[0] != '*' || is_start)) {
        if (text.len == 0 || text.ptr[0] != pattern.ptr[0])
            return false;
        slice_take(&pattern, 1);
        slice_take(&text, 1);
        is_start = false;
    }
    if (pattern.len == 0)
        return text.len == 0;
    slice_take(&pattern, 1);
    for (;;) {
        if (matches_from(pattern, text, false))
            return true;
        if (text.len == 0)
            return false;
        slice_take(&text, 1);
    }
}

static void note_uidvalidity(struct run *r, struct slice line)
{
    if (slice_take_prefix_nocase(&line, SLICE("* OK [UIDVALIDITY ")))
        (void)slice_take_number(&line, UINT32_MAX, &r->uidvalidity);
}

static void compare(struct run *r, struct connection *c)
{
    struct slice want = buf_slice(&c->expected), got = buf_slice(&c->out);
    while (want.len > 0) {
        struct slice pattern = slice_take_until(&want, '\n');
        struct slice line = slice_take(&got, slice_find(got, SLICE("\r\n")));
        slice_take(&got, 2);
        note_uidvalidity(r, line);
        check_ran++;
        if (!matches_from(pattern, line, true)) {
            check_failed++;
            fprintf(stderr, "%s:%u: (mode %d, chunks of %zu) got \"%.*s\", want \"%.*s\"\n", check_case, r->line_number, (int)r->mode,
                    r->chunk, SLICE_ARG(line), SLICE_ARG(pattern));
        }
    }
    if (got.len > 0)
        fprintf(stderr, "%s:%u: (mode %d, chunks of %zu)\n", check_case, r->line_number, (int)r->mode, r->chunk);
    CHECK_SLICE(got, SLICE(""));
    buf_clear(&c->expected);
    buf_clear(&c->out);
}

static void send_all(struct run *r, struct connection *c)
{
    if (buf_len(&c->to_send) == 0 && buf_len(&c->expected) == 0)
        return;
    connect_now(c);
    for (struct slice bytes = buf_slice(&c->to_send); bytes.len > 0;)
        feed(c, slice_take(&bytes, r->chunk));
    buf_clear(&c->to_send);
    wake_all(&r->d);
}

static void settle(struct run *r)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        send_all(r, &r->d.connections[i]);
    for (size_t i = 0; i < CONNECTIONS; i++)
        compare(r, &r->d.connections[i]);
}

/* "\{x500}": 500 times x. */
static void append_repeated(struct buf *out, struct slice *text)
{
    char byte = slice_take(text, 2).ptr[1];
    uint64_t count = 0;
    must(slice_take_number(text, TRANSCRIPT_MAX, &count) && slice_take_byte(text, '}'));
    while (count-- > 0)
        buf_append_byte(out, byte);
}

/* \r \n \0 \xHH; every other backslash is IMAP's own. */
static void append_unescaped(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        buf_append(out, slice_take(&text, slice_find_byte(text, '\\')));
        if (text.len == 0)
            break;
        slice_take(&text, 1);
        char code = text.len > 0 ? text.ptr[0] : '\0';
        if (code == 'r' || code == 'n' || code == '0') {
            buf_append_byte(out, code == 'r' ? '\r' : code == 'n' ? '\n' : '\0');
            slice_take(&text, 1);
        } else if (code == 'x') {
            slice_take(&text, 1);
            must(hex_decode(slice_take(&text, 2), out) == RC_OK);
        } else if (code == '{' && text.len > 2) {
            append_repeated(out, &text);
        } else {
            buf_append_byte(out, '\\');
        }
    }
    must(!out->overflow);
}

/* "! message INBOX \Seen" */
static void begin_message(struct run *r, struct slice words)
{
    static const struct { struct slice name; uint32_t flag; } flags[] = {
        { SLICE_INIT("\\Seen"), FLAG_SEEN }, { SLICE_INIT("\\Deleted"), FLAG_DELETED }, { SLICE_INIT("\\Flagged"), FLAG_FLAGGED },
        { SLICE_INIT("\\Answered"), FLAG_ANSWERED }, { SLICE_INIT("\\Draft"), FLAG_DRAFT },
    };
    buf_clear(&r->message);
    r->in_message = true;
    r->message_flags = 0;
    r->message_mailbox = slice_take_until(&words, ' ');
    if (r->message_mailbox.len == 0)
        r->message_mailbox = SLICE("INBOX");
    while (words.len > 0) {
        struct slice word = slice_take_until(&words, ' ');
        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
            if (slice_equal(word, flags[i].name))
                r->message_flags |= flags[i].flag;
        }
    }
}

static void begin_sessions(struct run *r, uint64_t count)
{
    for (size_t i = 0; i < count && i < CONNECTIONS; i++) {
        struct connection *c = &r->d.connections[i];
        hang_up(c);
        open_session(c, SLICE("in"));
        feed(c, SLICE(""));
        CHECK(slice_starts_nocase(buf_slice(&c->out), SLICE("in OK [CAPABILITY IMAP4rev1 ")));
        buf_clear(&c->out);
    }
}

static bool set_up(struct run *r, struct slice line)
{
    uint64_t number = 1;
    if (slice_take_prefix_nocase(&line, SLICE("message"))) {
        if (!slice_take_prefix_nocase(&line, SLICE("s "))) {
            (void)slice_take_byte(&line, ' ');
            begin_message(r, line);
        } else if (slice_take_number(&line, 100000, &number)) {
            while (number-- > 0)
                add_message(&r->d, SLICE("INBOX"), 0, SLICE("Subject: x\r\n\r\nx\r\n"));
        }
    } else if (slice_take_prefix_nocase(&line, SLICE("mailbox "))) {
        add_mailbox(&r->d, line);
    } else if (slice_take_prefix_nocase(&line, SLICE("quota "))) {
        return slice_take_number(&line, UINT64_MAX, &r->d.quota_bytes);
    } else if (slice_take_prefix_nocase(&line, SLICE("append-max "))) {
        return slice_take_number(&line, UINT64_MAX, &r->d.append_max);
    } else if (slice_equal(line, SLICE("session")) || (slice_take_prefix_nocase(&line, SLICE("sessions ")) && slice_take_number(&line, 4, &number))) {
        begin_sessions(r, number);
    } else if (slice_equal(line, SLICE("lockstep"))) {
        r->is_skipped = r->mode == PIPELINED;
    } else {
        return false;
    }
    return true;
}

static void run_line(struct run *r, struct slice line);

/* "! send 3 a NOOP", "! expect 3 a OK *" */
static bool repeat(struct run *r, struct slice line)
{
    const char *who = slice_take_prefix_nocase(&line, SLICE("send ")) ? "C: " : slice_take_prefix_nocase(&line, SLICE("expect ")) ? "S: " : NULL;
    uint64_t count;
    if (who == NULL || !slice_take_number(&line, 100000, &count) || !slice_take_byte(&line, ' '))
        return false;
    struct buf whole;
    buf_init(&whole, TRANSCRIPT_MAX);
    buf_append_str(&whole, who);
    buf_append(&whole, line);
    while (count-- > 0)
        run_line(r, buf_slice(&whole));
    buf_free(&whole);
    return true;
}

static void directive(struct run *r, struct slice line)
{
    struct connection *first = &r->d.connections[0];
    if (repeat(r, line))
        return;
    if (slice_equal(line, SLICE("tls active"))) {
        first->peer.has_tls = true;
    } else if (slice_equal(line, SLICE("tls absent"))) {
        r->d.options.offers_tls = false;
    } else if (slice_equal(line, SLICE("plain allowed"))) {
        r->d.options.auth_without_tls = true;
    } else if (slice_equal(line, SLICE("tls"))) {
        settle(r);
        handshake(first);
    } else if (slice_equal(line, SLICE("close"))) {
        settle(r);
        CHECK(first->is_closed);
    } else if (slice_equal(line, SLICE("again"))) {
        settle(r);
        hang_up(first);
    } else if (slice_equal(line, SLICE("bare"))) {
        return;
    } else {
        settle(r);
        bool is_known = set_up(r, line);
        if (!is_known)
            fprintf(stderr, "%s:%u: unknown directive \"%.*s\"\n", check_case, r->line_number, SLICE_ARG(line));
        CHECK(is_known);
    }
}

static struct connection *take_number(struct run *r, struct slice *line, char who)
{
    struct slice rest = *line;
    if (!slice_take_byte(&rest, who))
        return NULL;
    uint64_t number = 1;
    (void)slice_take_number(&rest, CONNECTIONS, &number);
    if (!slice_take_byte(&rest, ':') || (rest.len > 0 && !slice_take_byte(&rest, ' ')))
        return NULL;
    *line = rest;
    return number > 0 ? &r->d.connections[number - 1] : NULL;
}

static void run_line(struct run *r, struct slice line)
{
    struct connection *c;
    if (r->in_message) {
        if (slice_equal(line, SLICE("! end"))) {
            add_message(&r->d, r->message_mailbox, r->message_flags, buf_slice(&r->message));
            r->in_message = false;
        } else {
            append_unescaped(&r->message, line);
            buf_append_str(&r->message, "\r\n");
        }
    } else if ((c = take_number(r, &line, 'C')) != NULL) {
        bool has_expected = false;
        for (size_t i = 0; i < CONNECTIONS; i++)
            has_expected |= buf_len(&r->d.connections[i].expected) > 0;
        if (r->mode == LOCKSTEP && has_expected)
            settle(r);
        bool has_end = !slice_ends_nocase(line, SLICE("\\"));           /* a backslash at the end: no CRLF */
        line = has_end ? line : slice_sub(line, 0, line.len - 1);
        size_t at = slice_find(line, SLICE("$UIDVALIDITY"));
        append_unescaped(&c->to_send, slice_sub(line, 0, at));
        if (at < line.len) {
            (void)buf_printf(&c->to_send, "%llu", (unsigned long long)r->uidvalidity);
            append_unescaped(&c->to_send, slice_sub(line, at + sizeof("$UIDVALIDITY") - 1, line.len));
        }
        if (has_end)
            buf_append_str(&c->to_send, "\r\n");
    } else if ((c = take_number(r, &line, 'S')) != NULL) {
        append_unescaped(&c->expected, line);
        buf_append_byte(&c->expected, '\n');
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
    buf_init(&r->message, TRANSCRIPT_MAX);
    begin(&r->d);
    while (text.len > 0 && !r->is_skipped) {
        r->line_number++;
        run_line(r, slice_take_until(&text, '\n'));
    }
    if (!r->is_skipped)
        settle(r);
    end(&r->d);
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
        unsigned before = check_failed;
        for (size_t w = 0; w < sizeof(ways) / sizeof(*ways) && check_failed == before; w++)
            run_transcript(buf_slice(&text), ways[w].mode, ways[w].chunk);
        buf_free(&text);
    }
    return check_done();
}
