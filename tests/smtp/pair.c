/* The SMTP client against the SMTP server, in one process: every combination of extensions left in the server's list, every
 * kind of message, every face. What is taken must arrive as it was sent; what the list does not allow must be refused. */
#include "check.h"
#include "smtp/client.h"
#include "smtp/server.h"

static const struct mail_date now = { 1795330048, 0 };

/* Struck from the server's list, by bit. */
static const char *const extensions[] = { "PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", "ENHANCEDSTATUSCODES" };
enum { HAS_PIPELINING = 1, HAS_8BITMIME = 2, HAS_SMTPUTF8 = 4, HAS_CHUNKING = 8, HAS_BINARYMIME = 16, HAS_DSN = 32, ALL = 127 };

static const struct kind {
    const char *sentence;
    const char *body;
    bool has_8bit, has_bare_eol, needs_utf8, lacks_final_eol;
    unsigned needs;                 /* all of these, or it is refused */
    uint32_t esc;                   /* with that */
} kinds[] = {
    { "a plain message", "Subject: x\r\n\r\nhello\r\n.\r\n..\r\n.x\r\n\r\n", .needs = 0 },
    { "an empty message", "", .needs = 0 },
    { "a message that is one dot", ".\r\n", .needs = 0 },
    { "8-bit text", "Subject: x\r\n\r\nhell\xc3\xb6\r\n", .has_8bit = true, .needs = HAS_8BITMIME, .esc = ESC(5, 6, 3) },
    { "a header in UTF-8", "Subject: \xc3\xb6\r\n\r\n", .needs_utf8 = true, .has_8bit = true,
      .needs = HAS_8BITMIME | HAS_SMTPUTF8, .esc = ESC(5, 6, 7) },
    { "bare line ends", "Subject: x\r\n\r\na\nb\rc\r\n.\r\n\n.\n", .has_bare_eol = true, .needs = HAS_CHUNKING | HAS_BINARYMIME,
      .esc = ESC(5, 6, 3) },
    { "no line end at the end", "Subject: x\r\n\r\nhello", .lacks_final_eol = true, .needs = 0 },
};

struct pair {
    const struct kind *kind;
    unsigned has;
    size_t chunk;
    struct smtp_server_options server_options;
    struct peer peer;               /* both see the same, nearly */
    struct smtp_server *server;
    struct smtp_client *client;
    struct buf to_server, to_client;
    struct slice body;
    struct buf arrived;
    struct arena arena;
    struct sasl_server *sasl;
    struct sasl_verifier verifier;
    struct smtp_mail seen_mail;
    struct smtp_rcpt seen_rcpt;     /* slices dead, numbers good */
    unsigned rcpts, messages_left, decided, taken;
    bool commit_8bit, client_closed, server_closed;
    struct smtp_message message;
    struct smtp_rcpt rcpt_list[3];
};

static void answer_auth(struct pair *p, const struct smtp_ask *ask)
{
    struct sasl_binding binding = { .offers_plus = p->peer.tls_exporter_len > 0 };
    struct fault f;
    struct buf out;
    binding.tls_exporter = (struct slice){ (const char *)p->peer.tls_exporter, p->peer.tls_exporter_len };
    buf_init(&out, SASL_MESSAGE_MAX);
    if (ask->is_auth_start) {
        arena_rewind(&p->arena);
        p->sasl = sasl_server_begin(ask->auth_mechanism, &binding, SLICE("server-nonce-0123456789"), &p->arena);
    }
    must(p->sasl != NULL);
    enum sasl_state state = sasl_server_step(p->sasl, ask->has_message, ask->message, &out, &f);
    if (state == SASL_LOOKUP)
        state = sasl_server_verifier(p->sasl, &p->verifier, true, &out, &f);
    smtp_server_answer_auth(p->server, state, state == SASL_OK ? sasl_server_name(p->sasl) : buf_slice(&out), &f);
    buf_free(&out);
}

static void answer_server(struct pair *p)
{
    const struct smtp_ask *ask = smtp_server_ask(p->server);
    struct fault f = { .rc = RC_OK };
    enum rc rc = RC_OK;
    switch (ask->kind) {
    case SMTP_ASK_AUTH:
        answer_auth(p, ask);
        return;
    case SMTP_ASK_MAIL:
        p->seen_mail = *ask->mail;
        p->rcpts = 0;
        buf_clear(&p->arrived);
        break;
    case SMTP_ASK_RCPT:
        p->seen_rcpt = *ask->rcpt;
        if (slice_equal(ask->rcpt->forward_path.local_part, SLICE("nobody")))
            rc = fault_perm(&f, ESC(5, 1, 1), "no such user");
        p->rcpts += rc == RC_OK;
        break;
    case SMTP_ASK_BODY:
        buf_append(&p->arrived, ask->body);
        break;
    case SMTP_ASK_COMMIT:
        p->commit_8bit = ask->has_8bit;
        break;
    case SMTP_ASK_NONE:
    case SMTP_ASK_ABANDON:
    case SMTP_ASK_VRFY:
    default:
        break;
    }
    smtp_server_answer(p->server, rc, &f, SLICE("ID1"));
}

/* What was sent stands behind the trace fields, and behind it perhaps a line end that was missing. */
static void check_arrival(struct pair *p)
{
    struct slice got = buf_slice(&p->arrived), sent = slice_from_str(p->kind->body);
    bool by_bdat = (p->has & HAS_CHUNKING) != 0;
    if (p->server_options.face == SMTP_SUBMISSION)      /* completed: compared elsewhere */
        return;
    if (p->kind->lacks_final_eol && !by_bdat) {
        CHECK(slice_ends_nocase(got, SLICE("\r\n")));
        got.len -= 2;
    }
    CHECK(got.len >= sent.len);
    CHECK_SLICE(slice_sub(got, got.len - sent.len, sent.len), sent);
    CHECK_INT(p->commit_8bit, p->kind->has_8bit);
    CHECK_INT(p->seen_rcpt.notify, (p->has & HAS_DSN) != 0 ? NOTIFY_FAILURE | NOTIFY_DELAY : NOTIFY_DEFAULT);
    CHECK_INT(p->seen_mail.ret, (p->has & HAS_DSN) != 0 ? SMTP_RET_HDRS : SMTP_RET_DEFAULT);
}

static void take_outcomes(struct pair *p)
{
    size_t count = 0;
    const struct smtp_outcome *outcomes = smtp_client_outcomes(p->client, &count);
    bool is_possible = (p->has & p->kind->needs) == p->kind->needs;
    CHECK_INT(count, 3);
    for (size_t i = 0; i < count; i++) {
        bool is_good = i != 1;
        enum rc want = is_possible && is_good ? RC_OK : RC_PERM;
        CHECK_INT(outcomes[i].rc, want);
        if (!is_possible)
            CHECK(outcomes[i].esc == p->kind->esc || outcomes[i].esc == ESC(5, 6, 3));
        else if (!is_good)
            CHECK_INT(outcomes[i].esc, ESC(5, 1, 1));
        p->taken += outcomes[i].rc == RC_OK;
    }
    if (is_possible)
        check_arrival(p);
    p->decided++;
}

static void answer_client(struct pair *p)
{
    switch (smtp_client_ask(p->client)) {
    case SMTP_CLIENT_ASK_MESSAGE:
        if (p->messages_left == 0) {
            smtp_client_quit(p->client);
            break;
        }
        p->messages_left--;
        p->body = slice_from_str(p->kind->body);
        smtp_client_send(p->client, &p->message);
        break;
    case SMTP_CLIENT_ASK_BODY:
        smtp_client_body(p->client, slice_take(&p->body, p->chunk));
        break;
    case SMTP_CLIENT_ASK_DONE:
        take_outcomes(p);
        smtp_client_next(p->client);
        break;
    case SMTP_CLIENT_ASK_NONE:
    default:
        CHECK(false);
        break;
    }
}

/* Strikes extensions from the list, on the way. */
static void pass_replies(struct pair *p, struct buf *from)
{
    struct slice text = buf_slice(from);
    while (text.len > 0) {
        struct slice line = slice_take(&text, slice_find(text, SLICE("\r\n")) + 2);
        struct slice word = slice_sub(line, 4, line.len - 6);
        bool is_struck = false;
        for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++)
            is_struck = is_struck || ((p->has & 1u << i) == 0 && slice_equal(word, slice_from_str(extensions[i])));
        buf_append(&p->to_client, is_struck ? SLICE("250-XSTRUCK\r\n") : line);
    }
    buf_clear(from);
}

static void step_server(struct pair *p)
{
    struct slice all = buf_slice(&p->to_server), in = slice_sub(all, 0, p->chunk + 512);
    size_t before = in.len;
    enum want want = smtp_server_step(p->server, &in, now);
    if (want == WANT_ANSWER)
        answer_server(p);
    buf_consume(&p->to_server, before - in.len);
    pass_replies(p, smtp_server_output(p->server));
    if (want == WANT_TLS) {
        p->peer.has_tls = true;
        smtp_server_tls_started(p->server);
    }
    p->server_closed = want == WANT_CLOSE;
}

static void step_client(struct pair *p)
{
    struct slice all = buf_slice(&p->to_client), in = slice_sub(all, 0, p->chunk + 512);
    size_t before = in.len;
    enum want want = smtp_client_step(p->client, &in);
    buf_consume(&p->to_client, before - in.len);
    struct buf *out = smtp_client_output(p->client);
    buf_append(&p->to_server, buf_slice(out));
    buf_clear(out);
    if (want == WANT_ANSWER)
        answer_client(p);
    if (want == WANT_TLS)
        smtp_client_tls_started(p->client);
    p->client_closed = want == WANT_CLOSE;
}

static void prepare_message(struct pair *p)
{
    static const char *const names[] = { "alice", "nobody", "bob" };
    for (size_t i = 0; i < 3; i++)
        p->rcpt_list[i] = (struct smtp_rcpt){
            .forward_path = { .local_part = slice_from_str(names[i]), .domain = SLICE("recipient.test") },
            .notify = NOTIFY_FAILURE | NOTIFY_DELAY, .orcpt = SLICE("rfc822;a+b=c@elsewhere.test"),
        };
    p->message = (struct smtp_message){
        .mail = { .reverse_path = { .local_part = SLICE("carol"), .domain = SLICE("elsewhere.test") }, .ret = SMTP_RET_HDRS,
                  .envid = SLICE("an id+=") },
        .rcpts = p->rcpt_list, .rcpt_count = 3, .size = strlen(p->kind->body), .has_8bit = p->kind->has_8bit,
        .has_bare_eol = p->kind->has_bare_eol, .needs_utf8 = p->kind->needs_utf8, .lacks_final_eol = p->kind->lacks_final_eol,
    };
}

struct way {
    const char *sentence;
    enum smtp_face face;
    bool uses_tls, uses_auth, binds;
};

static void meet(const struct kind *kind, unsigned has, size_t chunk, const struct way *way)
{
    static struct pair pair;
    struct pair *p = &pair;
    struct fault f;
    *p = (struct pair){ .kind = kind, .has = has, .chunk = chunk, .messages_left = 2 };
    p->server_options = (struct smtp_server_options){
        .face = way->face, .host_name = SLICE("mx.recipient.test"), .size_max = 1 << 20, .offers_tls = way->uses_tls,
        .requires_auth = way->uses_auth, .auth_without_tls = !way->uses_tls,
    };
    if (way->binds) {
        p->peer.tls_exporter_len = sizeof p->peer.tls_exporter;
        memset(p->peer.tls_exporter, 7, sizeof p->peer.tls_exporter);
    }
    arena_init(&p->arena, 65536);
    buf_init(&p->to_server, 1 << 20);
    buf_init(&p->to_client, 1 << 20);
    buf_init(&p->arrived, 1 << 20);
    if (way->uses_auth)
        must(sasl_verifier_make(SLICE("wonderland"), (const unsigned char *)"0123456789abcdef", 4096, &p->verifier, &f) == RC_OK);
    struct smtp_client_options options = {
        .helo = SLICE("client.elsewhere.test"), .is_lmtp = way->face == SMTP_LMTP, .nonce = SLICE("client-nonce-0123456789"),
        .tls = way->uses_tls ? SMTP_TLS_MUST : SMTP_TLS_NEVER,
    };
    if (way->uses_auth) {
        options.user = SLICE("alice");
        options.password = SLICE("wonderland");
    }
    prepare_message(p);
    p->server = smtp_server_new(&p->server_options, &p->peer);
    p->client = smtp_client_new(&options, &p->peer);
    must(p->server != NULL && p->client != NULL);
    for (unsigned turns = 0; turns < 100000 && !p->client_closed; turns++) {
        if (!p->server_closed)
            step_server(p);
        step_client(p);
    }
    CHECK(p->client_closed && p->server_closed);
    CHECK(smtp_client_session_outcome(p->client) == NULL);
    CHECK_INT(p->decided, 2);
    CHECK_INT(smtp_server_user(p->server).len, way->uses_auth ? 5 : 0);
    smtp_server_free(p->server);
    smtp_client_free(p->client);
    buf_free(&p->to_server);
    buf_free(&p->to_client);
    buf_free(&p->arrived);
    arena_free(&p->arena);
}

int main(void)
{
    static const struct way ways[] = {
        { "from server to server", SMTP_MX, false, false, false },
        { "from server to server, with TLS", SMTP_MX, true, false, false },
        { "LMTP", SMTP_LMTP, false, false, false },
        { "submission, SCRAM", SMTP_SUBMISSION, true, true, false },
        { "submission, SCRAM bound to the channel", SMTP_SUBMISSION, true, true, true },
        { "submission in the clear", SMTP_SUBMISSION, false, true, false },
    };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (unsigned has = 0; has <= ALL; has++) {
            CASE(kinds[k].sentence);
            meet(&kinds[k], has, 4096, &ways[0]);
            meet(&kinds[k], has, 3, &ways[0]);
        }
    for (size_t w = 1; w < sizeof ways / sizeof ways[0]; w++)
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            CASE(ways[w].sentence);
            meet(&kinds[k], ALL, 4096, &ways[w]);
            meet(&kinds[k], ALL & ~(unsigned)HAS_PIPELINING, 3, &ways[w]);
        }
    return check_done();
}
