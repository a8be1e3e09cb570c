/* POP3 before login: see login.h.
 *
 * RFC 1939 4 (AUTHORIZATION), RFC 2449 (CAPA, response codes), RFC 2595 4 (STLS), RFC 5034 (AUTH), RFC 3206 ([AUTH]).
 * Promises: bytes behind STLS's CRLF are never interpreted; no password is asked for or taken without TLS unless the
 * options say so; whoever fails too often is sent away. */
#include "pop3/login.h"

#include "base/text.h"
#include "pop3/reply.h"
#include "wire/line.h"

#include <stdlib.h>

enum {
    LINE_MAX_BYTES = 8192,      /* RFC 2449 4 wants 255; an initial response (RFC 5034 4) may be longer in practice */
    NAME_MAX_BYTES = 512,       /* USER */
    OUTPUT_MAX = 16 * 1024,     /* pipelined commands; past half of it the peer has to read first */
    ERRORS_MAX = 20,            /* bad commands, then the connection ends */
    AUTH_FAILURES_MAX = 3,
};

enum state {
    STATE_START,
    STATE_COMMANDS,
    STATE_ASKING,               /* the question stands */
    STATE_SASL,                 /* the client's next message is awaited */
    STATE_TLS,                  /* handshake */
    STATE_DONE,
    STATE_CLOSING,
};

struct pop3_login {
    struct pop3_login_options options;
    const struct peer *peer;
    enum state state;
    struct line_reader reader;
    struct buf output;
    struct buf message;         /* decoded SASL message; secrets: wiped */
    struct buf name;            /* of USER */
    bool has_name;
    unsigned errors, auth_failures;
    struct pop3_login_ask ask;
};

struct pop3_login *pop3_login_new(const struct pop3_login_options *options, const struct peer *peer)
{
    struct pop3_login *login = calloc(1, sizeof(*login));
    if (login == NULL)
        return NULL;
    login->options = *options;
    login->peer = peer;
    line_reader_init(&login->reader, LINE_MAX_BYTES);
    buf_init(&login->output, OUTPUT_MAX);
    buf_init(&login->message, SASL_MESSAGE_MAX);
    buf_init(&login->name, NAME_MAX_BYTES);
    return login;
}

static void wipe_message(struct pop3_login *login)
{
    if (login->message.data != NULL)
        explicit_bzero(login->message.data, login->message.cap);
    buf_clear(&login->message);
    login->ask.message = SLICE_NONE;
}

void pop3_login_free(struct pop3_login *login)
{
    if (login == NULL)
        return;
    wipe_message(login);
    buf_free(&login->message);
    buf_free(&login->name);
    buf_free(&login->output);
    free(login);
}

const struct pop3_login_ask *pop3_login_ask(const struct pop3_login *login) { return &login->ask; }
struct buf *pop3_login_output(struct pop3_login *login) { return &login->output; }

static bool may_authenticate(const struct pop3_login *login)
{
    return login->peer->has_tls || login->options.auth_without_tls;
}

static bool may_start_tls(const struct pop3_login *login)
{
    return login->options.offers_tls && !login->peer->has_tls;
}

static bool is_offered(const struct pop3_login *login, enum sasl_mechanism mechanism)
{
    if (mechanism == SASL_NONE || !may_authenticate(login))
        return false;
    if (mechanism == SASL_SCRAM_SHA_256_PLUS)
        return login->peer->tls_server_end_point_len > 0 || login->peer->tls_exporter_len > 0;
    return true;
}

static void forget_name(struct pop3_login *login)
{
    buf_clear(&login->name);
    login->has_name = false;
}

/* A refusal that counts: after too many of them the peer is not a mail reader. */
static void refuse(struct pop3_login *login, const char *text)
{
    pop3_reply_err(&login->output, "", slice_from_str(text));
    if (++login->errors >= ERRORS_MAX) {
        pop3_reply_err(&login->output, "", SLICE("too many errors, good bye"));
        login->state = STATE_CLOSING;
    }
}

static void ask_auth(struct pop3_login *login, enum sasl_mechanism mechanism, bool is_start, bool has_message)
{
    login->ask = (struct pop3_login_ask){
        .kind = POP3_LOGIN_ASK_AUTH, .mechanism = mechanism, .is_start = is_start, .has_message = has_message,
        .message = buf_slice(&login->message),
    };
    login->state = STATE_ASKING;
}

/* ---- commands -------------------------------------------------------------------------------------------- */

static void on_capa(struct pop3_login *login, struct slice argument)
{
    static const enum sasl_mechanism best_first[] = { SASL_SCRAM_SHA_256_PLUS, SASL_SCRAM_SHA_256, SASL_PLAIN, SASL_LOGIN };

    (void)argument;
    pop3_reply_capabilities(&login->output);
    if (may_start_tls(login))
        buf_append_str(&login->output, "STLS\r\n");
    if (may_authenticate(login)) {
        buf_append_str(&login->output, "USER\r\nSASL");
        for (size_t i = 0; i < sizeof(best_first) / sizeof(*best_first); i++) {
            if (is_offered(login, best_first[i]))
                buf_printf(&login->output, " %s", sasl_mechanism_name(best_first[i]));
        }
        buf_append_str(&login->output, "\r\n");
    }
    buf_append_str(&login->output, ".\r\n");
}

static void on_user(struct pop3_login *login, struct slice name)
{
    forget_name(login);
    if (!may_authenticate(login))
        refuse(login, "no password without TLS: STLS first");
    else if (name.len == 0)
        refuse(login, "which user? USER name");
    else if (!buf_append(&login->name, name))
        refuse(login, "the name is too long");
    else {
        login->has_name = true;
        /* Whether it exists is not said (RFC 1939 13). */
        pop3_reply_ok(&login->output, "and the password?");
    }
}

static void on_pass(struct pop3_login *login, struct slice password)
{
    if (!may_authenticate(login)) {
        refuse(login, "no password without TLS: STLS first");
        return;
    }
    if (!login->has_name) {
        refuse(login, "USER first");
        return;
    }
    buf_append_byte(&login->message, '\0');
    buf_append(&login->message, buf_slice(&login->name));
    buf_append_byte(&login->message, '\0');
    bool fits = buf_append(&login->message, password);
    forget_name(login);
    if (fits) {
        ask_auth(login, SASL_PLAIN, true, true);
        return;
    }
    wipe_message(login);
    refuse(login, "the password is too long");
}

/* "=" is an empty message (RFC 5034 4); anything else is base64. */
static bool decode_message(struct pop3_login *login, struct slice text)
{
    wipe_message(login);
    return slice_equal(text, SLICE("=")) || base64_decode(text, &login->message) == RC_OK;
}

static void on_auth(struct pop3_login *login, struct slice argument)
{
    if (!may_authenticate(login)) {
        refuse(login, "no AUTH without TLS: STLS first");
        return;
    }
    struct slice name = slice_take_until(&argument, ' ');
    struct slice initial = slice_trim(argument);
    enum sasl_mechanism mechanism = sasl_mechanism_find(name);
    if (!is_offered(login, mechanism))
        refuse(login, "no such mechanism here: CAPA lists them");
    else if (initial.len > 0 && !decode_message(login, initial))
        refuse(login, "the initial response is not base64");
    else
        ask_auth(login, mechanism, true, initial.len > 0);
}

static void on_stls(struct pop3_login *login, struct slice argument)
{
    (void)argument;
    if (login->peer->has_tls)
        refuse(login, "TLS is active already");
    else if (!login->options.offers_tls)
        refuse(login, "no TLS here");
    else {
        pop3_reply_ok(&login->output, "begin TLS");
        login->state = STATE_TLS;
    }
}

static void on_quit(struct pop3_login *login, struct slice argument)
{
    (void)argument;
    pop3_reply_ok(&login->output, "good bye");
    login->state = STATE_CLOSING;
}

static void on_early(struct pop3_login *login, struct slice argument)
{
    (void)argument;
    refuse(login, "log in first");
}

static const struct verb {
    const char *name;
    void (*run)(struct pop3_login *, struct slice argument);
    bool keeps_spaces;          /* a password may begin and end with a space (RFC 1939 7) */
} verbs[] = {
    { "CAPA", on_capa, false },     /* RFC 2449 5 */
    { "USER", on_user, false },     /* RFC 1939 7 */
    { "PASS", on_pass, true },      /* RFC 1939 7 */
    { "AUTH", on_auth, false },     /* RFC 5034 4 */
    { "STLS", on_stls, false },     /* RFC 2595 4 */
    { "QUIT", on_quit, false },     /* RFC 1939 5 */
    { "STAT", on_early, false }, { "LIST", on_early, false }, { "RETR", on_early, false }, { "DELE", on_early, false },
    { "NOOP", on_early, false }, { "RSET", on_early, false }, { "TOP", on_early, false },  { "UIDL", on_early, false },
};

static void run_command(struct pop3_login *login, struct slice line)
{
    struct slice name = slice_take_until(&line, ' ');
    for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
        if (slice_equal_nocase(name, slice_from_str(verbs[i].name))) {
            verbs[i].run(login, verbs[i].keeps_spaces ? line : slice_trim(line));
            return;
        }
    }
    refuse(login, "no such command");
}

/* The client's answer to a challenge (RFC 5034 4). */
static void run_sasl_line(struct pop3_login *login, enum line_kind kind, struct slice line)
{
    login->state = STATE_COMMANDS;
    if (kind == LINE_WHOLE && slice_equal(line, SLICE("*")))
        refuse(login, "AUTH given up");
    else if (kind == LINE_WHOLE && (line.len == 0 || decode_message(login, line)))
        ask_auth(login, login->ask.mechanism, false, true);
    else
        refuse(login, "that is not base64");
}

static void run_line(struct pop3_login *login, enum line_kind kind, struct slice line)
{
    if (login->state == STATE_SASL)
        run_sasl_line(login, kind, line);
    else if (kind == LINE_TOO_LONG)
        refuse(login, "the line is too long");
    else if (kind == LINE_BARE)
        refuse(login, "a line ends with CRLF and holds no other CR, LF or NUL");
    else
        run_command(login, line);
}

/* ---- the machine -------------------------------------------------------------------------------------------- */

static void greet(struct pop3_login *login)
{
    /* No <...> in it: that would offer APOP (RFC 1939 7). */
    buf_append_str(&login->output, "+OK ");
    buf_append_escaped(&login->output, login->options.host_name, true);
    buf_append_str(&login->output, " POP3 server ready\r\n");
    login->state = STATE_COMMANDS;
}

enum want pop3_login_step(struct pop3_login *login, struct slice *in)
{
    if (login->state == STATE_START)
        greet(login);
    while (login->state == STATE_COMMANDS || login->state == STATE_SASL) {
        struct slice line;
        if (buf_len(&login->output) > OUTPUT_MAX / 2)
            return WANT_FLUSH;
        enum line_kind kind = line_read(&login->reader, in, &line);
        if (kind == LINE_NONE)
            return WANT_INPUT;
        run_line(login, kind, line);
    }
    if (login->state == STATE_TLS)
        return WANT_TLS;
    return login->state == STATE_CLOSING ? WANT_CLOSE : WANT_ANSWER;
}

static void fail_auth(struct pop3_login *login, const struct fault *fault)
{
    bool is_temporary = fault != NULL && fault->rc == RC_TEMP;
    struct slice text = fault != NULL ? slice_from_str(fault->text) : SLICE("name or password is wrong");
    pop3_reply_err(&login->output, is_temporary ? "SYS/TEMP" : "AUTH", text);       /* RFC 3206 4 and 5 */
    login->state = STATE_COMMANDS;
    if (++login->auth_failures >= AUTH_FAILURES_MAX)
        login->state = STATE_CLOSING;
}

void pop3_login_answer_auth(struct pop3_login *login, enum sasl_state answer, struct slice bytes, const struct fault *fault)
{
    must(login->state == STATE_ASKING);
    enum sasl_mechanism mechanism = login->ask.mechanism;
    wipe_message(login);
    login->ask = (struct pop3_login_ask){ .mechanism = mechanism };
    switch (answer) {
    case SASL_OK:
        login->ask.kind = POP3_LOGIN_DONE;
        login->state = STATE_DONE;
        break;
    case SASL_CHALLENGE:
        buf_append_str(&login->output, "+ ");
        base64_encode(bytes, &login->output);
        buf_append_str(&login->output, "\r\n");
        login->state = STATE_SASL;
        break;
    case SASL_LOOKUP:
    case SASL_FAILED:
    default:
        fail_auth(login, fault);
        break;
    }
}

/* What was said before the handshake is forgotten (RFC 2595 4). */
void pop3_login_tls_started(struct pop3_login *login)
{
    must(login->state == STATE_TLS);
    forget_name(login);
    line_reader_init(&login->reader, LINE_MAX_BYTES);
    login->errors = 0;
    login->state = STATE_COMMANDS;
}

void pop3_login_stop(struct pop3_login *login, const char *text)
{
    if (login->state == STATE_CLOSING)
        return;
    if (text != NULL)
        pop3_reply_err(&login->output, "SYS/TEMP", slice_from_str(text));
    wipe_message(login);
    login->ask = (struct pop3_login_ask){ .kind = POP3_LOGIN_ASK_NONE };
    login->state = STATE_CLOSING;
}
