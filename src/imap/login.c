/* IMAP before login: see login.h.
 *
 * RFC 3501 6.1, 6.2; SASL-IR (RFC 4959), LITERAL+ (RFC 7888), ID (RFC 2971). What a client says before STARTTLS is dropped
 * by the driver (WANT_TLS); nothing of this machine outlives the handshake but its error counts. */
#include "imap/login.h"

#include "base/text.h"
#include "imap/capability.h"
#include "imap/input.h"
#include "imap/parser.h"

#include <stdlib.h>

enum {
    LINE_MAX_BYTES = 8192,              /* AUTHENTICATE's base64 of SASL_MESSAGE_MAX fits */
    LITERAL_MAX_BYTES = 4096,           /* a name or a password */
    COMMAND_MAX_BYTES = 32 * 1024,
    ARENA_MAX_BYTES = 64 * 1024,
    OUTPUT_MAX_BYTES = 64 * 1024,
    FAILURES_MAX = 5,                   /* of logins; then BYE */
    ERRORS_MAX = 20,                    /* bad commands in a row; then BYE */
};

enum state {
    STATE_GREETING,
    STATE_COMMANDS,
    STATE_RESPONSE,                     /* AUTHENTICATE: the client's next message is due */
    STATE_LAST_RESPONSE,                /* all is well; the empty answer to SCRAM's final message is due */
    STATE_ASKING,
    STATE_TLS,
    STATE_CLOSING,
};

struct imap_login {
    struct imap_login_options options;
    const struct peer *peer;
    enum state state;
    bool is_done;
    struct imap_input input;
    struct arena arena;                 /* of the command under way */
    struct buf output;
    struct buf message;                 /* decoded, for the question */
    struct imap_login_ask ask;
    struct imap_parser args;
    char tag[IMAP_TAG_MAX];             /* of the command under way */
    unsigned errors, failures;
};

struct imap_login *imap_login_new(const struct imap_login_options *options, const struct peer *peer)
{
    struct imap_login *login = calloc(1, sizeof(*login));
    if (login == NULL)
        return NULL;
    login->options = *options;
    login->peer = peer;
    imap_input_init(&login->input, LINE_MAX_BYTES, COMMAND_MAX_BYTES);
    arena_init(&login->arena, ARENA_MAX_BYTES);
    buf_init(&login->output, OUTPUT_MAX_BYTES);
    buf_init(&login->message, SASL_MESSAGE_MAX + 2 * LITERAL_MAX_BYTES);
    return login;
}

/* Passwords pass through these. */
static void wipe(struct buf *buf)
{
    if (buf->data != NULL)
        explicit_bzero(buf->data, buf->cap);
    buf_clear(buf);
}

static void forget_command(struct imap_login *login)
{
    wipe(&login->input.text);
    imap_input_reset(&login->input);
    arena_free(&login->arena);
}

void imap_login_free(struct imap_login *login)
{
    if (login == NULL)
        return;
    wipe(&login->message);
    forget_command(login);
    imap_input_free(&login->input);
    buf_free(&login->message);
    buf_free(&login->output);
    free(login);
}

struct buf *imap_login_output(struct imap_login *login) { return &login->output; }
const struct imap_login_ask *imap_login_ask(const struct imap_login *login) { return &login->ask; }

/* ---- answers to the client ------------------------------------------------------------------------------------------- */

static void say(struct imap_login *login, const char *text) { (void)buf_append_str(&login->output, text); }

static void bye(struct imap_login *login, const char *text)
{
    (void)buf_printf(&login->output, "* BYE %s\r\n", text);
    login->state = STATE_CLOSING;
}

static void finish(struct imap_login *login, const char *status, const char *text)
{
    (void)buf_printf(&login->output, "%s %s %s\r\n", login->tag[0] != '\0' ? login->tag : "*", status, text);
    login->errors = 0;
}

static void bad(struct imap_login *login, const char *text)
{
    unsigned errors = login->errors + 1;
    finish(login, "BAD", text);
    login->errors = errors;
    if (errors >= ERRORS_MAX)
        bye(login, "too many bad commands");
}

static void bad_syntax(struct imap_login *login) { bad(login, login->args.error != NULL ? login->args.error : "syntax error"); }

static bool may_authenticate(const struct imap_login *login) { return login->peer->has_tls || login->options.auth_without_tls; }
static bool may_start_tls(const struct imap_login *login) { return login->options.offers_tls && !login->peer->has_tls; }

static bool has_binding(const struct imap_login *login)
{
    return login->peer->has_tls && (login->peer->tls_exporter_len > 0 || login->peer->tls_server_end_point_len > 0);
}

static void write_capabilities(struct imap_login *login)
{
    unsigned when = IMAP_BEFORE_LOGIN | (may_authenticate(login) ? IMAP_WITH_AUTH : IMAP_WITHOUT_AUTH);
    if (may_start_tls(login))
        when |= IMAP_WITH_STARTTLS;
    if (may_authenticate(login) && has_binding(login))
        when |= IMAP_WITH_BINDING;
    imap_capabilities(&login->output, when);
}

static void greet(struct imap_login *login)
{
    say(login, "* OK [CAPABILITY ");
    write_capabilities(login);
    (void)buf_printf(&login->output, "] %.*s Thurn ready\r\n", SLICE_ARG(login->options.host_name));
    login->state = STATE_COMMANDS;
}

/* ---- commands ------------------------------------------------------------------------------------------------------------ */

static void on_capability(struct imap_login *login)
{
    if (!imap_parse_end(&login->args)) {
        bad_syntax(login);
        return;
    }
    say(login, "* CAPABILITY ");
    write_capabilities(login);
    say(login, "\r\n");
    finish(login, "OK", "CAPABILITY completed");
}

static void on_noop(struct imap_login *login)
{
    if (imap_parse_end(&login->args))
        finish(login, "OK", "NOOP completed");
    else
        bad_syntax(login);
}

static void on_logout(struct imap_login *login)
{
    if (!imap_parse_end(&login->args)) {
        bad_syntax(login);
        return;
    }
    bye(login, "good bye");
    finish(login, "OK", "LOGOUT completed");
}

static void on_id(struct imap_login *login)
{
    say(login, "* ID (\"name\" \"Thurn\")\r\n");
    finish(login, "OK", "ID completed");
}

static void on_starttls(struct imap_login *login)
{
    if (!imap_parse_end(&login->args)) {
        bad_syntax(login);
    } else if (!may_start_tls(login)) {
        bad(login, login->peer->has_tls ? "TLS is active already" : "there is no TLS here");
    } else {
        finish(login, "OK", "begin TLS now");
        login->state = STATE_TLS;
    }
}

static void ask(struct imap_login *login, bool is_start, bool has_message)
{
    login->ask.kind = IMAP_LOGIN_ASK_AUTH;
    login->ask.is_start = is_start;
    login->ask.has_message = has_message;
    login->ask.message = buf_slice(&login->message);
    login->state = STATE_ASKING;
}

/* RFC 4616: no authorization id, the name, the password. */
static void on_login(struct imap_login *login)
{
    struct slice name, password;
    struct imap_parser *p = &login->args;
    if (!may_authenticate(login)) {
        finish(login, "NO", "[PRIVACYREQUIRED] use TLS first");
        return;
    }
    if (!imap_parse_space(p) || !imap_parse_astring(p, &name) || !imap_parse_space(p) || !imap_parse_astring(p, &password)
        || !imap_parse_end(p)) {
        bad_syntax(login);
        return;
    }
    bool has_nul = slice_find_byte(name, '\0') < name.len || slice_find_byte(password, '\0') < password.len;
    buf_clear(&login->message);
    bool fits = buf_append_byte(&login->message, '\0') && buf_append(&login->message, name)
                && buf_append_byte(&login->message, '\0') && buf_append(&login->message, password);
    if (has_nul || !fits || buf_len(&login->message) > SASL_MESSAGE_MAX) {
        finish(login, "NO", "[AUTHENTICATIONFAILED] that cannot be a name and a password");
        return;
    }
    login->ask = (struct imap_login_ask){ .mechanism = SASL_PLAIN, .was_login = true };
    ask(login, true, true);
}

static bool decode(struct imap_login *login, struct slice base64)
{
    buf_clear(&login->message);
    return base64_decode(base64, &login->message) == RC_OK && buf_len(&login->message) <= SASL_MESSAGE_MAX;
}

/* RFC 3501 6.2.2, RFC 4959: the mechanism and perhaps its first message, "=" for an empty one. */
static void on_authenticate(struct imap_login *login)
{
    struct slice name, initial = SLICE_NONE;
    struct imap_parser *p = &login->args;
    if (!imap_parse_space(p) || !imap_parse_atom(p, &name)) {
        bad_syntax(login);
        return;
    }
    bool has_initial = imap_parse_takes(p, ' ');
    if (has_initial)
        initial = slice_take(&p->in, p->in.len);
    enum sasl_mechanism mechanism = sasl_mechanism_find(name);
    if (!may_authenticate(login)) {
        finish(login, "NO", "[PRIVACYREQUIRED] use TLS first");
    } else if (!imap_parse_end(p)) {
        bad_syntax(login);
    } else if (mechanism == SASL_NONE || (mechanism == SASL_SCRAM_SHA_256_PLUS && !has_binding(login))) {
        finish(login, "NO", "[CANNOT] there is no such mechanism");
    } else if (has_initial && !decode(login, slice_equal(initial, SLICE("=")) ? SLICE("") : initial)) {
        bad(login, "that is not base64");
    } else {
        if (!has_initial)
            buf_clear(&login->message);
        login->ask = (struct imap_login_ask){ .mechanism = mechanism };
        ask(login, true, has_initial);
    }
}

static const struct {
    struct slice name;
    void (*run)(struct imap_login *);
} commands[] = {
    { SLICE_INIT("AUTHENTICATE"), on_authenticate },   /* RFC 3501 6.2.2 */
    { SLICE_INIT("CAPABILITY"), on_capability },       /* RFC 3501 6.1.1 */
    { SLICE_INIT("ID"), on_id },                       /* RFC 2971 */
    { SLICE_INIT("LOGIN"), on_login },                 /* RFC 3501 6.2.3 */
    { SLICE_INIT("LOGOUT"), on_logout },               /* RFC 3501 6.1.3 */
    { SLICE_INIT("NOOP"), on_noop },                   /* RFC 3501 6.1.2 */
    { SLICE_INIT("STARTTLS"), on_starttls },           /* RFC 3501 6.2.1 */
};

static void on_command(struct imap_login *login)
{
    struct slice tag, name;
    struct imap_parser *p = &login->args;
    imap_parser_init(p, buf_slice(&login->input.text), &login->arena);
    login->tag[0] = '\0';
    if (!imap_parse_tag(p, &tag) || !imap_parse_space(p) || !slice_to_str(tag, login->tag, sizeof(login->tag))) {
        login->tag[0] = '\0';
        bad(login, "a tag and a command were expected");
        return;
    }
    if (!imap_parse_atom(p, &name)) {
        bad_syntax(login);
        return;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (slice_equal_nocase(name, commands[i].name)) {
            commands[i].run(login);
            return;
        }
    }
    bad(login, "there is no such command before login");
}

static void refuse(struct imap_login *login, const char *why)
{
    struct slice tag = imap_input_tag(&login->input);
    if (!slice_to_str(tag, login->tag, sizeof(login->tag)))
        login->tag[0] = '\0';
    bad(login, why);
    forget_command(login);
}

static void on_literal(struct imap_login *login)
{
    struct imap_input *input = &login->input;
    bool is_refused = input->refused != NULL || input->literal_bytes > LITERAL_MAX_BYTES;
    if (is_refused && input->is_synchronising) {
        refuse(login, input->refused != NULL ? input->refused : "literal too long");
        return;
    }
    if (is_refused)
        imap_input_skip(input);
    else
        imap_input_take(input);
    if (input->is_synchronising)
        say(login, "+ Ready\r\n");
}

/* ---- the exchange ------------------------------------------------------------------------------------------------------------- */

static void done(struct imap_login *login)
{
    login->ask.kind = IMAP_LOGIN_DONE;
    login->ask.message = SLICE_NONE;
    login->ask.tag = slice_from_str(login->tag);
    login->is_done = true;
    login->state = STATE_ASKING;
}

static void on_response(struct imap_login *login)
{
    struct slice line = buf_slice(&login->input.text);
    bool is_last = login->state == STATE_LAST_RESPONSE;
    login->state = STATE_COMMANDS;
    if (slice_equal(line, SLICE("*")))
        bad(login, "AUTHENTICATE cancelled");
    else if (is_last && line.len == 0)
        done(login);
    else if (is_last || !decode(login, line))
        bad(login, "that is not what AUTHENTICATE expects");
    else
        ask(login, false, true);
}

static void on_failure(struct imap_login *login, const struct fault *fault)
{
    bool is_temporary = fault != NULL && fault->rc == RC_TEMP;
    login->state = STATE_COMMANDS;
    if (is_temporary)
        finish(login, "NO", "[UNAVAILABLE] logins are not possible right now, try again later");
    else
        finish(login, "NO", "[AUTHENTICATIONFAILED] name or password is wrong");
    if (!is_temporary && ++login->failures >= FAILURES_MAX)
        bye(login, "too many failed logins");
}

static void say_challenge(struct imap_login *login, struct slice bytes, enum state then)
{
    say(login, "+ ");
    (void)base64_encode(bytes, &login->output);
    say(login, "\r\n");
    login->state = then;
}

void imap_login_answer_auth(struct imap_login *login, enum sasl_state state, struct slice bytes, const struct fault *fault)
{
    must(login->state == STATE_ASKING && !login->is_done);
    login->ask.kind = IMAP_LOGIN_ASK_NONE;
    login->ask.message = SLICE_NONE;
    wipe(&login->message);
    forget_command(login);
    if (state == SASL_CHALLENGE)
        say_challenge(login, bytes, STATE_RESPONSE);
    else if (state == SASL_OK && bytes.len > 0)
        say_challenge(login, bytes, STATE_LAST_RESPONSE);      /* RFC 3501 6.2.2: success carries no data */
    else if (state == SASL_OK)
        done(login);
    else
        on_failure(login, fault);
}

/* ---- the machine ---------------------------------------------------------------------------------------------------------------- */

void imap_login_tls_started(struct imap_login *login)
{
    must(login->state == STATE_TLS);
    imap_input_free(&login->input);
    imap_input_init(&login->input, LINE_MAX_BYTES, COMMAND_MAX_BYTES);
    login->state = STATE_COMMANDS;
}

void imap_login_stop(struct imap_login *login, const char *text)
{
    if (login->state != STATE_CLOSING)
        bye(login, text);
}

static void on_input(struct imap_login *login, enum imap_input_kind kind)
{
    bool in_exchange = login->state == STATE_RESPONSE || login->state == STATE_LAST_RESPONSE;
    if (in_exchange && kind != IMAP_INPUT_COMMAND) {
        login->state = STATE_COMMANDS;
        bad(login, "that is not what AUTHENTICATE expects");
    } else if (in_exchange) {
        on_response(login);
    } else if (kind == IMAP_INPUT_LITERAL) {
        on_literal(login);
        return;                                 /* the command goes on */
    } else if (kind == IMAP_INPUT_REFUSED) {
        refuse(login, login->input.refused);
    } else {
        on_command(login);
    }
    forget_command(login);
}

enum want imap_login_step(struct imap_login *login, struct slice *in)
{
    for (;;) {
        if (login->state == STATE_GREETING)
            greet(login);
        if (login->state == STATE_ASKING)
            return WANT_ANSWER;
        if (login->state == STATE_TLS)
            return WANT_TLS;
        if (login->state == STATE_CLOSING || login->output.overflow)
            return WANT_CLOSE;
        if (buf_len(&login->output) > OUTPUT_MAX_BYTES / 2)
            return WANT_FLUSH;
        login->input.keeps_empty_lines = login->state == STATE_RESPONSE || login->state == STATE_LAST_RESPONSE;
        enum imap_input_kind kind = imap_input_read(&login->input, in);
        if (kind == IMAP_INPUT_NONE)
            return WANT_INPUT;
        on_input(login, kind);
    }
}
