/* Runs SMTP, submission and LMTP transcripts (tests/dialog/smtp/ *.txt, see README.md here) on the bare server machine:
 * in lockstep and pipelined, the input whole, byte by byte, in sevens and split at random. Each piece of input lives in
 * memory of its own that ends with it, so that a machine which keeps a pointer too long is seen by the sanitizer. */
#include "check.h"

#include "base/text.h"
#include "sasl/sasl.h"
#include "smtp/server.h"

#include <errno.h>

enum { TRANSCRIPT_MAX = 4 * 1024 * 1024, SCRIPTED_MAX = 2048, RANDOM = 0 };

static const struct mail_date now = { 1795330048, 60 };

struct scripted {                       /* an A: line */
    enum smtp_ask_kind kind;
    struct fault f;
    bool is_used;
};

struct dialog {
    struct smtp_server_options options;
    struct peer peer;
    struct smtp_server *server;
    struct buf in, out;
    bool awaits_tls, is_closed, begins_with_tls;
    struct arena arena;
    struct sasl_server *sasl;
    struct sasl_verifier verifier;
    struct scripted *scripted;
    size_t scripted_count;
    unsigned ids;
    /* what came of it */
    struct buf body;                    /* of the transaction under way */
    struct buf committed;               /* of the last one committed */
    struct smtp_ask commit;             /* its flags */
    struct buf header_from;
    bool is_open;                       /* MAIL was taken */
    size_t rcpt_count;
    unsigned commits, abandons;
};

/* ---- the standard cast --------------------------------------------------------------------------------------- */

static bool is_local_user(const struct address *a)
{
    return slice_equal_nocase(a->local_part, SLICE("alice")) || slice_equal_nocase(a->local_part, SLICE("bob")) ||
           slice_equal_nocase(a->local_part, SLICE("postmaster"));
}

static enum rc usual_rcpt(const struct dialog *d, const struct address *a, struct fault *f)
{
    bool is_local = slice_equal(a->domain, SLICE("recipient.test"));
    if (a->domain.len == 0)
        return slice_equal_nocase(a->local_part, SLICE("postmaster")) ? RC_OK : fault_perm(f, ESC(5, 1, 1), "no such user");
    if (is_local)
        return is_local_user(a) ? RC_OK : fault_perm(f, ESC(5, 1, 1), "no such user");
    return d->options.face == SMTP_SUBMISSION ? RC_OK : fault_perm(f, ESC(5, 7, 1), "relaying denied");
}

static enum rc usual_mail(const struct dialog *d, const struct address *a, struct fault *f)
{
    bool is_hers = slice_equal(a->domain, SLICE("recipient.test")) && slice_equal_nocase(a->local_part, SLICE("alice"));
    if (d->options.face != SMTP_SUBMISSION || a->is_null || is_hers)
        return RC_OK;
    return fault_perm(f, ESC(5, 7, 1), "not an address of yours");
}

static enum rc usual_answer(const struct dialog *d, const struct smtp_ask *ask, struct fault *f)
{
    if (ask->kind == SMTP_ASK_MAIL)
        return usual_mail(d, &ask->mail->reverse_path, f);
    if (ask->kind == SMTP_ASK_RCPT)
        return usual_rcpt(d, &ask->rcpt->forward_path, f);
    return ask->kind == SMTP_ASK_VRFY ? RC_NONE : RC_OK;
}

/* ---- the driver ------------------------------------------------------------------------------------------------ */

static const struct fault *take_scripted(struct dialog *d, enum smtp_ask_kind kind)
{
    for (size_t i = 0; i < d->scripted_count; i++)
        if (d->scripted[i].kind == kind && !d->scripted[i].is_used) {
            d->scripted[i].is_used = true;
            return &d->scripted[i].f;
        }
    return NULL;
}

static void answer_auth(struct dialog *d, const struct smtp_ask *ask)
{
    static const struct sasl_binding none;
    struct fault f = { .rc = RC_OK };
    struct buf out;
    enum sasl_state state = SASL_FAILED;
    const struct fault *scripted = take_scripted(d, SMTP_ASK_AUTH);
    if (scripted != NULL && scripted->rc != RC_OK) {
        smtp_server_answer_auth(d->server, SASL_FAILED, SLICE_NONE, scripted);
        return;
    }
    buf_init(&out, SASL_MESSAGE_MAX);
    if (ask->is_auth_start) {
        arena_rewind(&d->arena);
        d->sasl = sasl_server_begin(ask->auth_mechanism, &none, SLICE("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"), &d->arena);
    }
    CHECK(d->sasl != NULL);
    if (d->sasl != NULL) {
        state = sasl_server_step(d->sasl, ask->has_message, ask->message, &out, &f);
        if (state == SASL_LOOKUP) {
            struct slice name = sasl_server_name(d->sasl);
            bool exists = slice_equal(name, SLICE("alice")) || slice_equal(name, SLICE("alice@recipient.test"));
            state = sasl_server_verifier(d->sasl, &d->verifier, exists, &out, &f);
        }
    }
    struct slice bytes = state == SASL_OK ? sasl_server_name(d->sasl) : buf_slice(&out);
    smtp_server_answer_auth(d->server, state, bytes, state == SASL_FAILED ? &f : NULL);
    if (state == SASL_OK || state == SASL_FAILED)
        d->sasl = NULL;
    buf_free(&out);
}

static void note_commit(struct dialog *d, const struct smtp_ask *ask)
{
    CHECK_INT(ask->body_bytes, buf_len(&d->body));
    d->commit = *ask;
    buf_clear(&d->committed);
    buf_append(&d->committed, buf_slice(&d->body));
    buf_clear(&d->header_from);
    buf_append(&d->header_from, slice_trim(ask->header_from));
    d->commits++;
    CHECK(d->is_open);
    d->is_open = false;
}

static void note_abandon(struct dialog *d)
{
    d->abandons++;
    CHECK(d->is_open);
    d->is_open = false;
}

static void answer_lmtp_commit(struct dialog *d)
{
    static const struct fault fine = { .rc = RC_OK };
    struct fault *outcomes = calloc(d->rcpt_count, sizeof *outcomes);
    must(outcomes != NULL);
    for (size_t i = 0; i < d->rcpt_count; i++) {
        const struct fault *f = take_scripted(d, SMTP_ASK_COMMIT);
        outcomes[i] = f != NULL ? *f : fine;
    }
    smtp_server_answer_recipients(d->server, outcomes, d->rcpt_count);
    free(outcomes);
}

static void answer(struct dialog *d)
{
    const struct smtp_ask *ask = smtp_server_ask(d->server);
    struct fault f = { .rc = RC_OK };
    if (ask->kind == SMTP_ASK_AUTH) {
        answer_auth(d, ask);
        return;
    }
    if (ask->kind == SMTP_ASK_BODY) {
        CHECK(d->is_open && ask->body.len > 0);
        CHECK_INT(ask->trace_bytes > 0, buf_len(&d->body) == 0);
        buf_append(&d->body, ask->body);
    } else if (ask->kind == SMTP_ASK_COMMIT) {
        note_commit(d, ask);
    } else if (ask->kind == SMTP_ASK_ABANDON) {
        note_abandon(d);
    }
    if (ask->kind == SMTP_ASK_COMMIT && d->options.face == SMTP_LMTP) {
        answer_lmtp_commit(d);
        return;
    }
    const struct fault *scripted = take_scripted(d, ask->kind);
    enum rc rc = scripted != NULL ? scripted->rc : usual_answer(d, ask, &f);
    char id[32] = "";
    if (ask->kind == SMTP_ASK_MAIL && rc == RC_OK) {
        snprintf(id, sizeof id, "ID%u", ++d->ids);
        d->is_open = true;
        d->rcpt_count = 0;
        buf_clear(&d->body);
    }
    d->rcpt_count += ask->kind == SMTP_ASK_RCPT && rc == RC_OK;
    smtp_server_answer(d->server, rc, scripted != NULL ? scripted : &f, slice_from_str(id));
}

static void take_output(struct dialog *d)
{
    struct buf *output = smtp_server_output(d->server);
    CHECK(!output->overflow);
    CHECK(buf_append(&d->out, buf_slice(output)));
    buf_consume(output, buf_len(output));
}

/* The questions are answered here, while the input they may point into is still there. */
static enum want step(struct dialog *d)
{
    size_t len = buf_len(&d->in);
    char *bytes = malloc(len > 0 ? len : 1);
    must(bytes != NULL);
    memcpy(bytes, buf_slice(&d->in).ptr != NULL ? buf_slice(&d->in).ptr : "", len);
    struct slice in = { bytes, len };
    enum want want = smtp_server_step(d->server, &in, now);
    buf_consume(&d->in, len - in.len);
    if (want == WANT_ANSWER)
        answer(d);
    free(bytes);
    take_output(d);
    return want;
}

static void feed(struct dialog *d, struct slice bytes)
{
    if (d->awaits_tls || d->is_closed)
        return;
    CHECK(buf_append(&d->in, bytes));
    for (;;) {
        switch (step(d)) {
        case WANT_INPUT:
            CHECK(buf_len(&d->in) <= SMTP_AUTH_LINE_MAX + 2);
            return;
        case WANT_FLUSH:
        case WANT_ANSWER:
            break;
        case WANT_TLS:
            CHECK_INT(buf_len(&d->in), 0);
            d->awaits_tls = true;
            return;
        case WANT_CLOSE:
        default:
            d->is_closed = true;
            return;
        }
    }
}

static void connect_now(struct dialog *d)
{
    if (d->server != NULL)
        return;
    d->options.requires_auth = d->options.face == SMTP_SUBMISSION;
    d->peer.has_tls = d->begins_with_tls;
    d->server = smtp_server_new(&d->options, &d->peer);
    must(d->server != NULL);
    feed(d, SLICE(""));
}

static void disconnect(struct dialog *d)
{
    smtp_server_free(d->server);
    d->server = NULL;
    d->is_closed = d->awaits_tls = d->is_open = d->peer.has_tls = false;
    buf_clear(&d->in);
}

static void begin(struct dialog *d)
{
    struct fault f;
    *d = (struct dialog){
        .options = { .host_name = SLICE("mx.recipient.test"), .size_max = 100000, .offers_tls = true },
        .peer = { .address = "192.0.2.1", .port = 4025 },
    };
    arena_init(&d->arena, 64 * 1024);
    buf_init(&d->in, TRANSCRIPT_MAX);
    buf_init(&d->out, TRANSCRIPT_MAX);
    buf_init(&d->body, TRANSCRIPT_MAX);
    buf_init(&d->committed, TRANSCRIPT_MAX);
    buf_init(&d->header_from, TRANSCRIPT_MAX);
    d->scripted = calloc(SCRIPTED_MAX, sizeof *d->scripted);
    must(d->scripted != NULL);
    must(sasl_verifier_make(SLICE("wonderland"), (const unsigned char *)"0123456789abcdef", 4096, &d->verifier, &f) == RC_OK);
}

static void end(struct dialog *d)
{
    disconnect(d);
    buf_free(&d->in);
    buf_free(&d->out);
    buf_free(&d->body);
    buf_free(&d->committed);
    buf_free(&d->header_from);
    arena_free(&d->arena);
    free(d->scripted);
}

/* ---- the transcript -------------------------------------------------------------------------------------------- */

enum mode { LOCKSTEP, PIPELINED };

struct run {
    struct dialog d;
    enum mode mode;
    size_t chunk;                       /* RANDOM: of random sizes */
    uint32_t seed;
    struct buf to_send;                 /* not fed yet */
    struct buf expected;                /* S: lines not compared yet */
    struct buf body;                    /* B: lines not compared yet */
    unsigned line_number;
};

static void complain(const struct run *r, const char *what, struct slice got, struct slice want)
{
    check_failed++;
    fprintf(stderr, "%s:%u: (%s, chunks of %zu) %s \"%.*s\", want \"%.*s\"\n", check_case, r->line_number,
            r->mode == LOCKSTEP ? "lockstep" : "pipelined", r->chunk, what, SLICE_ARG(got), SLICE_ARG(want));
}

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

/* Line by line; a pattern "..." takes lines up to the one that the next pattern matches. */
static void compare(struct run *r, const char *what, struct buf *patterns, struct slice got)
{
    struct slice want = buf_slice(patterns);
    bool skips = false;
    while (want.len > 0) {
        struct slice pattern = slice_take_until(&want, '\n');
        if (slice_equal(pattern, SLICE("..."))) {
            skips = true;
            continue;
        }
        struct slice line;
        bool fits;
        do {
            line = slice_take(&got, slice_find(got, SLICE("\r\n")));
            slice_take(&got, 2);
            fits = matches(pattern, line);
        } while (skips && !fits && got.len > 0);
        skips = false;
        check_ran++;
        if (!fits)
            complain(r, what, line, pattern);
    }
    check_ran++;
    if (got.len > 0 && !skips)
        complain(r, what, got, SLICE(""));
    buf_clear(patterns);
}

static void send_all(struct run *r)
{
    struct slice bytes = buf_slice(&r->to_send);
    connect_now(&r->d);
    while (bytes.len > 0) {
        r->seed = r->seed * 1664525u + 1013904223u;
        feed(&r->d, slice_take(&bytes, r->chunk != RANDOM ? r->chunk : 1 + (r->seed >> 16) % 40));
    }
    buf_clear(&r->to_send);
}

static void settle(struct run *r)
{
    send_all(r);
    compare(r, "got", &r->expected, buf_slice(&r->d.out));
    buf_clear(&r->d.out);
}

static void compare_body(struct run *r)
{
    if (buf_len(&r->body) > 0)
        compare(r, "body has", &r->body, buf_slice(&r->d.committed));
}

static void append_repeated(struct buf *out, struct slice *text)
{
    struct slice byte = slice_take(text, 1);
    uint64_t count = 0;
    must(byte.len == 1 && slice_take_number(text, TRANSCRIPT_MAX, &count) && slice_take_byte(text, '}'));
    while (count-- > 0)
        buf_append(out, byte);
}

static void append_unescaped(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        buf_append(out, slice_take(&text, slice_find_byte(text, '\\')));
        if (text.len == 0)
            return;
        slice_take(&text, 1);
        struct slice code = slice_take(&text, 1);
        switch (code.len > 0 ? code.ptr[0] : '\\') {
        case 'r': buf_append_byte(out, '\r'); break;
        case 'n': buf_append_byte(out, '\n'); break;
        case 't': buf_append_byte(out, '\t'); break;
        case '0': buf_append_byte(out, '\0'); break;
        case 'x': must(hex_decode(slice_take(&text, 2), out) == RC_OK); break;
        case '{': append_repeated(out, &text); break;
        default: buf_append_byte(out, '\\'); break;
        }
    }
}

static void script_answer(struct run *r, struct slice line)
{
    static const struct { const char *name; enum smtp_ask_kind kind; } kinds[] = {
        { "MAIL", SMTP_ASK_MAIL }, { "RCPT", SMTP_ASK_RCPT }, { "BODY", SMTP_ASK_BODY }, { "COMMIT", SMTP_ASK_COMMIT },
        { "VRFY", SMTP_ASK_VRFY }, { "AUTH", SMTP_ASK_AUTH },
    };
    static const struct { const char *name; enum rc rc; } rcs[] = {
        { "ok", RC_OK }, { "none", RC_NONE }, { "temp", RC_TEMP }, { "perm", RC_PERM },
    };
    struct slice kind = slice_take_until(&line, ' '), rc = slice_take_until(&line, ' '), esc = slice_take_until(&line, ' ');
    struct scripted a = { .kind = SMTP_ASK_NONE };
    uint64_t digits[3] = { 0, 0, 0 };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (slice_equal(kind, slice_from_str(kinds[i].name)))
            a.kind = kinds[i].kind;
    for (size_t i = 0; i < sizeof rcs / sizeof rcs[0]; i++)
        if (slice_equal(rc, slice_from_str(rcs[i].name)))
            a.f.rc = rcs[i].rc;
    for (size_t i = 0; i < 3 && esc.len > 0; i++, slice_take_byte(&esc, '.'))
        must(slice_take_number(&esc, 999, &digits[i]));
    a.f.esc = ESC(digits[0], digits[1], digits[2]);
    slice_to_str(line, a.f.text, sizeof a.f.text);
    must(a.kind != SMTP_ASK_NONE && r->d.scripted_count < SCRIPTED_MAX);
    r->d.scripted[r->d.scripted_count++] = a;
}

static bool set_face(struct run *r, struct slice value)
{
    static const char *const names[] = { [SMTP_MX] = "mx", [SMTP_SUBMISSION] = "submission", [SMTP_LMTP] = "lmtp" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (slice_equal(value, slice_from_str(names[i]))) {
            r->d.options.face = (enum smtp_face)i;
            return true;
        }
    return false;
}

static bool set_tls(struct run *r, struct slice value)
{
    if (value.len == 0) {
        settle(r);
        CHECK(r->d.awaits_tls);
        r->d.awaits_tls = false;
        r->d.peer.has_tls = true;
        strcpy(r->d.peer.tls_version, "TLSv1.3");
        strcpy(r->d.peer.tls_cipher, "TLS_AES_256_GCM_SHA384");
        smtp_server_tls_started(r->d.server);
    }
    r->d.options.offers_tls = !slice_equal(value, SLICE("absent"));
    r->d.begins_with_tls = slice_equal(value, SLICE("active"));
    return true;
}

static bool allow_plain(struct run *r, struct slice value)
{
    r->d.options.auth_without_tls = slice_equal(value, SLICE("allowed"));
    return true;
}

static bool set_size(struct run *r, struct slice value) { return slice_take_number(&value, UINT64_MAX, &r->d.options.size_max); }

static bool set_recipients(struct run *r, struct slice value)
{
    uint64_t count = 0;
    bool is_number = slice_take_number(&value, UINT32_MAX, &count);
    r->d.options.recipients_max = (uint32_t)count;
    return is_number;
}

static bool expect_close(struct run *r, struct slice value)
{
    settle(r);
    CHECK_INT(r->d.is_closed, value.len == 0);
    return true;
}

static bool connect_again(struct run *r, struct slice value)
{
    if (r->d.server != NULL || buf_len(&r->expected) > 0)
        settle(r);
    disconnect(&r->d);
    return value.len == 0;
}

static bool stop(struct run *r, struct slice value)
{
    char text[128];
    send_all(r);
    smtp_server_stop(r->d.server, slice_to_str(value, text, sizeof text) ? text : "");
    feed(&r->d, SLICE(""));
    return true;
}

static bool expect_commits(struct run *r, struct slice value)
{
    uint64_t count = 0;
    settle(r);
    bool is_number = slice_take_number(&value, 1000, &count);
    CHECK_INT(r->d.commits, count);
    return is_number;
}

static bool expect_abandons(struct run *r, struct slice value)
{
    uint64_t count = 0;
    settle(r);
    bool is_number = slice_take_number(&value, 1000, &count);
    CHECK_INT(r->d.abandons, count);
    return is_number;
}

static bool expect_flags(struct run *r, struct slice value)
{
    settle(r);
    const struct smtp_ask *c = &r->d.commit;
    const struct { const char *name; bool is_set; } flags[] = {
        { "8bit", c->has_8bit }, { "long", c->has_long_line }, { "bare", c->has_bare_eol }, { "utf8", c->has_utf8_header },
        { "torn", c->lacks_final_eol },
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        bool is_wanted = slice_find(value, slice_from_str(flags[i].name)) < value.len;
        check_ran++;
        if (flags[i].is_set != is_wanted)
            complain(r, flags[i].name, slice_from_str(flags[i].is_set ? "set" : "not set"), value);
    }
    return true;
}

static bool expect_from(struct run *r, struct slice value)
{
    struct buf want;
    settle(r);
    buf_init(&want, TRANSCRIPT_MAX);
    append_unescaped(&want, value);
    CHECK_SLICE(buf_slice(&r->d.header_from), buf_slice(&want));
    buf_free(&want);
    return true;
}

static bool repeat(struct run *r, struct slice value, struct buf *to, const char *line_end)
{
    uint64_t count = 0;
    bool is_number = slice_take_number(&value, 100000, &count) && slice_take_byte(&value, ' ');
    while (is_number && count-- > 0) {
        append_unescaped(to, value);
        buf_append_str(to, line_end);
    }
    (void)r;
    return is_number;
}

static bool send_often(struct run *r, struct slice value) { return repeat(r, value, &r->to_send, "\r\n"); }
static bool expect_often(struct run *r, struct slice value) { return repeat(r, value, &r->expected, "\n"); }
static bool bare_only(struct run *r, struct slice value) { (void)r; return value.len == 0; }

static const struct directive {
    const char *name;
    bool (*run)(struct run *, struct slice value);
} directives[] = {
    { "face", set_face }, { "tls", set_tls }, { "plain", allow_plain }, { "size", set_size },
    { "recipients", set_recipients }, { "close", expect_close }, { "again", connect_again }, { "stop", stop },
    { "commits", expect_commits }, { "abandons", expect_abandons }, { "flags", expect_flags },
    { "header-from", expect_from }, { "send", send_often }, { "expect", expect_often }, { "bare", bare_only },
};

static void run_directive(struct run *r, struct slice line)
{
    struct slice value = line, name = slice_take_until(&value, ' ');
    for (size_t i = 0; i < sizeof directives / sizeof directives[0]; i++)
        if (slice_equal(name, slice_from_str(directives[i].name)) && directives[i].run(r, value))
            return;
    complain(r, "unknown directive", line, SLICE("one that is known"));
}

static void run_line(struct run *r, struct slice line)
{
    bool is_body = slice_starts_nocase(line, SLICE("B: "));
    if (is_body && buf_len(&r->body) == 0)
        settle(r);
    if (!is_body)
        compare_body(r);
    bool is_send = line.len > 0 && (line.ptr[0] == 'C' || line.ptr[0] == 'R');
    if (is_send && r->mode == LOCKSTEP && buf_len(&r->expected) > 0)
        settle(r);
    if (slice_take_prefix_nocase(&line, SLICE("C: "))) {
        append_unescaped(&r->to_send, line);
        buf_append_str(&r->to_send, "\r\n");
    } else if (slice_take_prefix_nocase(&line, SLICE("R: "))) {
        append_unescaped(&r->to_send, line);
    } else if (slice_take_prefix_nocase(&line, SLICE("S: "))) {
        append_unescaped(&r->expected, line);
        buf_append_byte(&r->expected, '\n');
    } else if (slice_take_prefix_nocase(&line, SLICE("B: "))) {
        append_unescaped(&r->body, line);
        buf_append_byte(&r->body, '\n');
    } else if (slice_take_prefix_nocase(&line, SLICE("A: "))) {
        if (buf_len(&r->to_send) > 0)
            settle(r);                  /* it is for what is sent from here on */
        script_answer(r, line);
    } else if (slice_take_prefix_nocase(&line, SLICE("! "))) {
        run_directive(r, line);
    } else {
        CHECK(line.len == 0 || line.ptr[0] == '#');
    }
}

static void run_transcript(struct slice text, enum mode mode, size_t chunk, uint32_t seed)
{
    struct run *r = calloc(1, sizeof *r);
    must(r != NULL);
    r->mode = mode;
    r->chunk = chunk;
    r->seed = seed;
    buf_init(&r->to_send, TRANSCRIPT_MAX);
    buf_init(&r->expected, TRANSCRIPT_MAX);
    buf_init(&r->body, TRANSCRIPT_MAX);
    begin(&r->d);
    while (text.len > 0) {
        r->line_number++;
        run_line(r, slice_take_until(&text, '\n'));
    }
    compare_body(r);
    settle(r);
    for (size_t i = 0; i < r->d.scripted_count; i++)
        CHECK(r->d.scripted[i].is_used);
    end(&r->d);
    buf_free(&r->to_send);
    buf_free(&r->expected);
    buf_free(&r->body);
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
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        buf_append(out, (struct slice){ piece, n });
    fclose(file);
    return !out->overflow;
}

int main(int argc, char **argv)
{
    static const struct { enum mode mode; size_t chunk; } ways[] = {
        { LOCKSTEP, SIZE_MAX }, { LOCKSTEP, 1 }, { LOCKSTEP, RANDOM }, { PIPELINED, SIZE_MAX }, { PIPELINED, 1 },
        { PIPELINED, 7 }, { PIPELINED, RANDOM }, { PIPELINED, RANDOM }, { PIPELINED, RANDOM },
    };
    for (int i = 1; i < argc; i++) {
        struct buf text;
        buf_init(&text, TRANSCRIPT_MAX);
        CASE(argv[i]);
        CHECK(read_file(argv[i], &text));
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++)
            run_transcript(buf_slice(&text), ways[w].mode, ways[w].chunk, (uint32_t)w * 7919);
        buf_free(&text);
    }
    return check_done();
}
