/* The sending side of SMTP: see client.h. Here are the session and the step loop; messages are in transaction.c. */
#include "smtp/client_session.h"

#include "base/text.h"
#include "sasl/sasl.h"

#include <stdlib.h>

struct smtp_client *smtp_client_new(const struct smtp_client_options *options, const struct peer *peer)
{
    struct smtp_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->options = *options;
    c->peer = peer;
    buf_init(&c->output, CLIENT_OUTPUT_MAX);
    smtp_reply_reader_init(&c->reader);
    arena_init(&c->arena, 16 * 1024);
    arena_init(&c->extension_arena, REPLY_TEXT_KEPT_MAX + 1024);
    arena_init(&c->sasl_arena, 8 * SASL_MESSAGE_MAX);
    arena_init(&c->message_arena, 0);
    return c;
}

void smtp_client_free(struct smtp_client *c)
{
    if (c == NULL)
        return;
    if (c->output.data != NULL)
        explicit_bzero(c->output.data, c->output.cap);      /* may have held credentials */
    buf_free(&c->output);
    smtp_reply_reader_free(&c->reader);
    arena_free(&c->arena);
    arena_free(&c->extension_arena);
    arena_free(&c->sasl_arena);
    arena_free(&c->message_arena);
    free(c);
}

/* ---- outcomes ---- */

struct smtp_outcome client_outcome_own(enum rc rc, uint32_t esc, const char *text)
{
    return (struct smtp_outcome){ .rc = rc, .esc = esc, .text = slice_from_str(text) };
}

/* The remote's words, one printable line. */
static struct slice keep_text(struct arena *arena, struct slice text)
{
    struct buf line;
    buf_init(&line, CLIENT_TEXT_MAX);
    while (text.len > 0) {
        struct slice part = slice_take_until(&text, '\n');
        if (buf_len(&line) > 0)
            buf_append_byte(&line, ' ');
        buf_append_escaped(&line, slice_sub(part, 0, (CLIENT_TEXT_MAX - buf_len(&line)) / 4), false);
    }
    struct slice kept = arena_copy(arena, buf_slice(&line));
    buf_free(&line);
    return kept.ptr != NULL ? kept : SLICE_NONE;
}

struct smtp_outcome client_outcome_of(struct arena *arena, const struct smtp_reply *reply)
{
    return (struct smtp_outcome){
        .rc = smtp_reply_rc(reply), .esc = reply->esc, .code = reply->code, .text = keep_text(arena, reply->text),
        .is_remote = true,
    };
}

void client_fail(struct smtp_client *c, struct smtp_outcome outcome)
{
    c->is_over = true;
    if (!c->has_session_outcome) {
        c->session_outcome = outcome;
        if (outcome.is_remote)                          /* must outlive the message that it ended */
            c->session_outcome.text = keep_text(&c->arena, outcome.text);
        c->has_session_outcome = true;
    }
    if (c->message != NULL && c->stage != CLIENT_DONE) {
        client_decide_open(c, outcome);
        c->stage = CLIENT_DONE;
        c->ask = SMTP_CLIENT_ASK_DONE;
    } else if (c->message == NULL) {
        c->stage = CLIENT_CLOSED;
        c->ask = SMTP_CLIENT_ASK_NONE;
    }
}

/* The session cannot go on, but the connection is in order: say good-bye. */
static void give_up(struct smtp_client *c, struct smtp_outcome outcome)
{
    client_fail(c, outcome);
    buf_append_str(&c->output, "QUIT\r\n");
}

static void give_up_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
    give_up(c, client_outcome_of(&c->arena, reply));
}

static void give_up_own(struct smtp_client *c, enum rc rc, uint32_t esc, const char *text)
{
    give_up(c, client_outcome_own(rc, esc, text));
}

static void senseless(struct smtp_client *c)
{
    client_fail(c, client_outcome_own(RC_TEMP, ESC(4, 5, 0), "the server's replies make no sense"));
}

/* ---- greeting and EHLO ---- */

static void send_hello(struct smtp_client *c, const char *verb, enum client_stage stage)
{
    buf_printf(&c->output, "%s %.*s\r\n", verb, SLICE_ARG(c->options.helo));
    c->stage = stage;
}

static void send_ehlo(struct smtp_client *c)
{
    send_hello(c, c->options.is_lmtp ? "LHLO" : "EHLO", CLIENT_EHLO);
}

static void on_greeting(struct smtp_client *c, const struct smtp_reply *reply)
{
    c->greeting = keep_text(&c->arena, reply->text);
    if (reply->code == 220)
        send_ehlo(c);
    else if (smtp_reply_rc(reply) == RC_OK || smtp_reply_rc(reply) == RC_MORE)
        senseless(c);
    else
        give_up_reply(c, reply);
}

static void keep_extensions(struct smtp_client *c, struct slice text)
{
    c->extension_count = 0;
    arena_rewind(&c->extension_arena);
    text = arena_copy(&c->extension_arena, text);
    slice_take_until(&text, '\n');                      /* the server's name */
    while (text.len > 0 && c->extension_count < CLIENT_EXTENSIONS_MAX)
        c->extensions[c->extension_count++] = slice_trim(slice_take_until(&text, '\n'));
}

bool client_find_extension(const struct smtp_client *c, struct slice keyword, struct slice *parameters)
{
    for (size_t i = 0; i < c->extension_count; i++) {
        struct slice rest = c->extensions[i], word = slice_take_until(&rest, ' ');
        if (slice_equal_nocase(word, keyword)) {
            if (parameters != NULL)
                *parameters = slice_trim(rest);
            return true;
        }
    }
    return false;
}

bool smtp_client_has_extension(const struct smtp_client *c, struct slice keyword)
{
    return client_find_extension(c, keyword, NULL);
}

void client_ready(struct smtp_client *c)
{
    c->stage = CLIENT_READY;
    c->ask = SMTP_CLIENT_ASK_MESSAGE;
}

/* ---- AUTH (RFC 4954) ---- */

static void begin_auth(struct smtp_client *c);

/* What comes behind a successful EHLO. */
static void greeted(struct smtp_client *c)
{
    bool wants_tls = !c->peer->has_tls && (c->options.tls == SMTP_TLS_MAY || c->options.tls == SMTP_TLS_MUST);
    bool offers_tls = smtp_client_has_extension(c, SLICE("STARTTLS"));
    if (wants_tls && offers_tls && !c->has_tls_failed) {
        buf_append_str(&c->output, "STARTTLS\r\n");
        c->stage = CLIENT_STARTTLS;
    } else if (wants_tls && c->options.tls == SMTP_TLS_MUST) {
        give_up_own(c, RC_TEMP, ESC(4, 7, 10), "TLS is required and the server does not offer it");
    } else if (c->options.user.len > 0 && !c->has_authenticated) {
        begin_auth(c);
    } else {
        client_ready(c);
    }
}

static void on_ehlo(struct smtp_client *c, const struct smtp_reply *reply)
{
    enum rc rc = smtp_reply_rc(reply);
    if (rc == RC_OK) {
        keep_extensions(c, reply->text);
        greeted(c);
    } else if (rc == RC_PERM && !c->options.is_lmtp) {
        c->extension_count = 0;
        send_hello(c, "HELO", CLIENT_HELO);             /* RFC 5321 3.2 */
    } else if (rc == RC_MORE) {
        senseless(c);
    } else {
        give_up_reply(c, reply);
    }
}

static void on_helo(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (smtp_reply_rc(reply) == RC_OK)
        greeted(c);
    else if (smtp_reply_rc(reply) == RC_MORE)
        senseless(c);
    else
        give_up_reply(c, reply);
}

static void on_starttls(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (reply->code == 220) {
        c->stage = CLIENT_TLS;
    } else if (c->options.tls == SMTP_TLS_MAY) {
        c->has_tls_failed = true;
        greeted(c);
    } else {
        give_up_own(c, RC_TEMP, ESC(4, 7, 10), "TLS is required and the server refused STARTTLS");
    }
}

void smtp_client_tls_started(struct smtp_client *c)
{
    must(c->stage == CLIENT_TLS && c->peer->has_tls);
    c->extension_count = 0;                             /* RFC 3207 4.2 */
    smtp_reply_reader_free(&c->reader);
    smtp_reply_reader_init(&c->reader);
    send_ehlo(c);
}

void smtp_client_tls_failed(struct smtp_client *c, const char *why)
{
    const char *text = arena_printf(&c->arena, "TLS handshake failed: %s", why);
    client_fail(c, client_outcome_own(RC_TEMP, ESC(4, 7, 5), text != NULL ? text : "TLS handshake failed"));
}

static void fail_auth(struct smtp_client *c, const struct fault *f)
{
    const char *text = arena_printf(&c->arena, "%s", f->text);
    give_up_own(c, f->rc == RC_TEMP ? RC_TEMP : RC_PERM, f->esc, text != NULL ? text : "authentication failed");
}

/* Appends the response in base64; an empty initial response is "=", any other empty one an empty line. */
static void send_response(struct smtp_client *c, const char *before, const char *if_empty, struct slice response)
{
    buf_append_str(&c->output, before);
    if (response.len == 0)
        buf_append_str(&c->output, if_empty);
    else
        base64_encode(response, &c->output);
    buf_append_str(&c->output, "\r\n");
}

static void begin_auth(struct smtp_client *c)
{
    struct slice offered = SLICE_NONE;
    struct fault f;
    struct buf response;
    bool has_response = false;
    const struct peer *peer = c->peer;
    struct sasl_binding binding = {
        .tls_server_end_point = { (const char *)peer->tls_server_end_point, peer->tls_server_end_point_len },
        .tls_exporter = { (const char *)peer->tls_exporter, peer->tls_exporter_len },
    };
    client_find_extension(c, SLICE("AUTH"), &offered);
    buf_init(&response, SASL_MESSAGE_MAX);
    c->sasl = sasl_client_begin(offered, c->options.user, c->options.password, peer->has_tls ? &binding : NULL, peer->has_tls,
                                c->options.plain_without_tls, c->options.nonce, &c->sasl_arena, &f);
    if (c->sasl == NULL || sasl_client_step(c->sasl, false, SLICE_NONE, &has_response, &response, &f) != RC_OK) {
        fail_auth(c, &f);
    } else {
        buf_printf(&c->output, "AUTH %s", sasl_mechanism_name(sasl_client_mechanism(c->sasl)));
        send_response(c, has_response ? " " : "", has_response ? "=" : "", buf_slice(&response));
        c->stage = CLIENT_AUTH;
    }
    if (response.data != NULL)
        explicit_bzero(response.data, response.cap);
    buf_free(&response);
}

static void answer_challenge(struct smtp_client *c, struct slice text)
{
    struct fault f = { .rc = RC_PERM, .esc = ESC(5, 7, 8), .text = "the server's challenge is no base64" };
    struct buf challenge, response;
    bool has_response;
    buf_init(&challenge, SASL_MESSAGE_MAX);
    buf_init(&response, SASL_MESSAGE_MAX);
    if (base64_decode(text, &challenge) == RC_OK &&
        sasl_client_step(c->sasl, true, buf_slice(&challenge), &has_response, &response, &f) == RC_OK) {
        send_response(c, "", "", buf_slice(&response));
    } else {
        buf_append_str(&c->output, "*\r\n");            /* RFC 4954 4: cancelled */
        fail_auth(c, &f);
    }
    if (response.data != NULL)
        explicit_bzero(response.data, response.cap);
    buf_free(&challenge);
    buf_free(&response);
}

static void on_auth(struct smtp_client *c, const struct smtp_reply *reply)
{
    struct fault f;
    if (reply->code == 334) {
        answer_challenge(c, reply->text);
    } else if (smtp_reply_rc(reply) == RC_MORE) {
        senseless(c);
    } else if (smtp_reply_rc(reply) != RC_OK) {
        give_up_reply(c, reply);
    } else if (sasl_client_verify(c->sasl, &f) != RC_OK) {
        fail_auth(c, &f);
    } else {
        c->has_authenticated = true;
        client_ready(c);
    }
}

/* ---- the end ---- */

/* A server that speaks unasked says good-bye, or is not to be trusted with another word. */
static void on_unasked(struct smtp_client *c, const struct smtp_reply *reply)
{
    (void)reply;
    senseless(c);
}

static void on_quit(struct smtp_client *c, const struct smtp_reply *reply)
{
    (void)reply;
    c->stage = CLIENT_CLOSED;
}

void smtp_client_quit(struct smtp_client *c)
{
    must(c->ask == SMTP_CLIENT_ASK_MESSAGE);
    buf_append_str(&c->output, "QUIT\r\n");
    c->ask = SMTP_CLIENT_ASK_NONE;
    c->stage = CLIENT_QUIT;
}

void smtp_client_lost(struct smtp_client *c, const char *why)
{
    bool is_orderly = c->stage == CLIENT_QUIT || c->stage == CLIENT_CLOSED || c->stage == CLIENT_DONE;
    if (is_orderly) {
        c->is_over = true;
        if (c->stage == CLIENT_QUIT)
            c->stage = CLIENT_CLOSED;
        return;
    }
    const char *text = arena_printf(&c->arena, "connection lost: %s", why);
    client_fail(c, client_outcome_own(RC_TEMP, ESC(4, 4, 2), text != NULL ? text : "connection lost"));
}

/* ---- steps ---- */

static const struct client_row {
    unsigned timeout_s;             /* RFC 5321 4.5.3.2 */
    bool (*pump)(struct smtp_client *);     /* sends what can be sent; true: it did */
    void (*on_reply)(struct smtp_client *, const struct smtp_reply *);
} rows[CLIENT_STAGES] = {
    [CLIENT_GREETING] = { 300, NULL, on_greeting },
    [CLIENT_EHLO]     = { 300, NULL, on_ehlo },
    [CLIENT_HELO]     = { 300, NULL, on_helo },
    [CLIENT_STARTTLS] = { 120, NULL, on_starttls },
    [CLIENT_TLS]      = { 60, NULL, NULL },
    [CLIENT_AUTH]     = { 120, NULL, on_auth },
    [CLIENT_READY]    = { 300, NULL, on_unasked },
    [CLIENT_RSET]     = { 60, NULL, client_on_rset },
    [CLIENT_ENVELOPE] = { 300, client_pump_envelope, client_on_envelope },
    [CLIENT_TEXT]     = { 180, client_pump_text, client_on_early },
    [CLIENT_CHUNK]    = { 180, client_pump_chunk, client_on_chunk },
    [CLIENT_FINAL]    = { 600, NULL, client_on_final },
    [CLIENT_LONE_DOT] = { 600, NULL, client_on_lone_dot },
    [CLIENT_DONE]     = { 60, NULL, NULL },
    [CLIENT_QUIT]     = { 20, NULL, on_quit },
    [CLIENT_CLOSED]   = { 10, NULL, NULL },
};

unsigned smtp_client_timeout_s(const struct smtp_client *c)
{
    return rows[c->stage].timeout_s;
}

/* 421 may come at any time and says that the server closes (RFC 5321 3.8). */
static void take_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (reply->code == 421 && c->stage != CLIENT_QUIT)
        client_fail(c, client_outcome_of(c->message != NULL ? &c->message_arena : &c->arena, reply));
    else
        rows[c->stage].on_reply(c, reply);
}

/* False: more input is needed. */
static bool read_reply(struct smtp_client *c, struct slice *in)
{
    struct smtp_reply reply;
    enum rc rc = smtp_reply_read(&c->reader, in, &reply);
    if (rc == RC_OK)
        take_reply(c, &reply);
    else if (rc == RC_PERM)
        senseless(c);
    return rc != RC_MORE;
}

/* While we talk, only what the server says unasked can change our mind. */
static bool listens_while_asking(const struct smtp_client *c)
{
    return c->stage == CLIENT_READY || c->stage == CLIENT_TEXT;
}

enum want smtp_client_step(struct smtp_client *c, struct slice *in)
{
    for (;;) {
        if (c->ask != SMTP_CLIENT_ASK_NONE) {
            if (!listens_while_asking(c) || in->len == 0 || !read_reply(c, in))
                return WANT_ANSWER;
            continue;
        }
        if (c->output.overflow || buf_len(&c->output) > CLIENT_OUTPUT_MAX - CLIENT_OUTPUT_ROOM)
            return WANT_FLUSH;
        if (c->stage == CLIENT_CLOSED)
            return WANT_CLOSE;
        if (c->stage == CLIENT_TLS) {
            slice_take(in, in->len);                    /* nothing said in the clear counts */
            return WANT_TLS;
        }
        const struct client_row *row = &rows[c->stage];
        if ((row->pump == NULL || !row->pump(c)) && !read_reply(c, in))
            return WANT_INPUT;
    }
}

enum smtp_client_ask smtp_client_ask(const struct smtp_client *c) { return c->ask; }
struct buf *smtp_client_output(struct smtp_client *c) { return &c->output; }
struct slice smtp_client_greeting(const struct smtp_client *c) { return c->greeting; }

const char *smtp_client_mechanism(const struct smtp_client *c)
{
    return c->has_authenticated ? sasl_mechanism_name(sasl_client_mechanism(c->sasl)) : "";
}

const struct smtp_outcome *smtp_client_session_outcome(const struct smtp_client *c)
{
    return c->has_session_outcome ? &c->session_outcome : NULL;
}
