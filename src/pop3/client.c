/* The reader's side of POP3: see client.h. */
#include "pop3/client.h"

#include "base/text.h"
#include "sasl/sasl.h"
#include "wire/dot.h"
#include "wire/line.h"

#include <stdlib.h>

enum {
    OUTPUT_MAX = 32 * 1024,
    CAPABILITIES_MAX = 16 * 1024,
    SASL_ARENA_MAX = 64 * 1024,
    SASL_STEPS_MAX = 10,
};

enum phase {
    PHASE_GREETING,
    PHASE_CAPA,
    PHASE_CAPA_LIST,
    PHASE_STLS,
    PHASE_TLS,
    PHASE_AUTH,
    PHASE_USER,
    PHASE_PASS,
    PHASE_CAPA_AFTER,
    PHASE_CAPA_LIST_AFTER,
    PHASE_READY,
    PHASE_REPLY,            /* the first line of a command's answer */
    PHASE_LISTING,
    PHASE_MESSAGE,
    PHASE_MESSAGE_END,      /* its last piece is being looked at */
    PHASE_QUIT,
    PHASE_OVER,
};

struct pop3_client {
    struct pop3_client_options options;
    const struct peer *peer;
    enum phase phase;
    enum pop3_client_ask ask;
    struct buf output;
    struct fault fault;
    struct line_reader reader;
    struct slice line, piece;
    struct dot_reader dots;
    enum pop3_reply_kind kind;
    uint64_t listed;
    char text[512];                     /* of the result */
    struct pop3_client_result result;
    struct buf capabilities;            /* lines, each ended by '\n' */
    struct arena sasl_arena;
    struct sasl_client *sasl;
    struct buf sasl_message;            /* secrets: wiped */
    bool has_first_unsaid;
    unsigned sasl_steps;
    const char *mechanism;
};

struct pop3_client *pop3_client_new(const struct pop3_client_options *options, const struct peer *peer)
{
    struct pop3_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    client->options = *options;
    client->peer = peer;
    client->mechanism = "";
    line_reader_init(&client->reader, POP3_CLIENT_LINE_MAX);
    buf_init(&client->output, OUTPUT_MAX);
    buf_init(&client->capabilities, CAPABILITIES_MAX);
    buf_init(&client->sasl_message, SASL_MESSAGE_MAX);
    arena_init(&client->sasl_arena, SASL_ARENA_MAX);
    return client;
}

void pop3_client_free(struct pop3_client *client)
{
    if (client == NULL)
        return;
    if (client->sasl_message.data != NULL)
        explicit_bzero(client->sasl_message.data, client->sasl_message.cap);
    buf_free(&client->sasl_message);
    buf_free(&client->output);
    buf_free(&client->capabilities);
    arena_free(&client->sasl_arena);
    free(client);
}

enum pop3_client_ask pop3_client_ask(const struct pop3_client *client) { return client->ask; }
struct buf *pop3_client_output(struct pop3_client *client) { return &client->output; }
const struct fault *pop3_client_fault(const struct pop3_client *client) { return client->fault.rc == RC_OK ? NULL : &client->fault; }
struct slice pop3_client_line(const struct pop3_client *client) { return client->line; }
struct slice pop3_client_piece(const struct pop3_client *client) { return client->piece; }
const struct pop3_client_result *pop3_client_result(const struct pop3_client *client) { return &client->result; }
const char *pop3_client_mechanism(const struct pop3_client *client) { return client->mechanism; }

/* The words of the capability's line behind its name; ptr NULL when it is not there. */
static struct slice find_capability(const struct pop3_client *client, struct slice name)
{
    struct slice lines = buf_slice(&client->capabilities);
    while (lines.len > 0) {
        struct slice line = slice_take_until(&lines, '\n');
        if (slice_equal_nocase(slice_take_until(&line, ' '), name))
            return line.ptr == NULL ? SLICE("") : line;
    }
    return SLICE_NONE;
}

bool pop3_client_has(const struct pop3_client *client, struct slice capability)
{
    return find_capability(client, capability).ptr != NULL;
}

static void end(struct pop3_client *client)
{
    client->phase = PHASE_OVER;
    client->ask = POP3_CLIENT_ASK_NONE;
}

static void fail(struct pop3_client *client, const char *what, struct slice said)
{
    struct buf text;
    buf_init(&text, FAULT_TEXT_MAX - 64);
    buf_append_escaped(&text, slice_sub(said, 0, 200), true);
    fault_perm(&client->fault, 0, "%s%s%.*s", what, said.len > 0 ? ": " : "", SLICE_ARG(buf_slice(&text)));
    buf_free(&text);
    end(client);
}

static void say(struct pop3_client *client, const char *command, enum phase phase)
{
    buf_append_str(&client->output, command);
    buf_append_str(&client->output, "\r\n");
    client->phase = phase;
}

/* "+OK text" or "-ERR text"; anything else is no POP3. */
static bool take_status(struct pop3_client *client, struct slice line, bool *is_ok, struct slice *text)
{
    *is_ok = slice_take_prefix_nocase(&line, SLICE("+OK"));
    if (!*is_ok && !slice_take_prefix_nocase(&line, SLICE("-ERR"))) {
        fail(client, "this is no answer of a POP3 server", line);
        return false;
    }
    *text = slice_trim(line);
    return true;
}

/* ---- before the commands -------------------------------------------------------------------------------------------- */

static bool step_sasl(struct pop3_client *client, bool has_challenge, struct slice challenge, bool *has_response)
{
    buf_clear(&client->sasl_message);
    enum rc rc = sasl_client_step(client->sasl, has_challenge, challenge, has_response, &client->sasl_message, &client->fault);
    if (rc != RC_PERM && rc != RC_TEMP)
        return true;
    fault_prefix(&client->fault, "login");
    end(client);
    return false;
}

static void say_sasl(struct pop3_client *client)
{
    base64_encode(buf_slice(&client->sasl_message), &client->output);
    buf_append_str(&client->output, "\r\n");
    buf_clear(&client->sasl_message);
}

static bool begin_sasl(struct pop3_client *client)
{
    struct sasl_binding binding = {
        .tls_server_end_point = { (const char *)client->peer->tls_server_end_point, client->peer->tls_server_end_point_len },
        .tls_exporter = { (const char *)client->peer->tls_exporter, client->peer->tls_exporter_len },
    };
    struct slice offered = find_capability(client, SLICE("SASL"));
    if (offered.len > 0)
        client->sasl = sasl_client_begin(offered, client->options.user, client->options.password, &binding, client->peer->has_tls,
                                         client->options.plain_without_tls, client->options.nonce, &client->sasl_arena, &client->fault);
    return client->sasl != NULL;
}

/* The first message always goes along (RFC 5034 4), as long as the line stays within 255 bytes. */
static void authenticate(struct pop3_client *client)
{
    bool has_first = false;
    client->mechanism = sasl_mechanism_name(sasl_client_mechanism(client->sasl));
    client->phase = PHASE_AUTH;
    if (!step_sasl(client, false, SLICE_NONE, &has_first))
        return;
    buf_printf(&client->output, "AUTH %s", client->mechanism);
    if (has_first && buf_len(&client->sasl_message) <= 160) {
        buf_append_str(&client->output, buf_len(&client->sasl_message) == 0 ? " =" : " ");
        say_sasl(client);
    } else {
        buf_append_str(&client->output, "\r\n");
        client->has_first_unsaid = has_first;
    }
}

static bool has_line_end(struct slice text)
{
    return slice_find_byte(text, '\r') + slice_find_byte(text, '\n') + slice_find_byte(text, '\0') != text.len * 3;
}

static void log_in(struct pop3_client *client)
{
    if (begin_sasl(client)) {
        authenticate(client);
        return;
    }
    if (!client->peer->has_tls && !client->options.plain_without_tls) {
        if (client->fault.rc == RC_OK)
            fault_perm(&client->fault, 0, "no password is sent on a connection without TLS");
        end(client);
    } else if (has_line_end(client->options.user) || has_line_end(client->options.password)) {
        fail(client, "a user name or password holds a line end", SLICE_NONE);
    } else {
        fault_clear(&client->fault);
        client->mechanism = "USER";
        buf_append_str(&client->output, "USER ");
        buf_append(&client->output, client->options.user);
        say(client, "", PHASE_USER);
    }
}

static bool needs_stls(const struct pop3_client *client)
{
    return client->options.tls == POP3_CLIENT_TLS_MUST && !client->peer->has_tls;
}

static void on_capabilities(struct pop3_client *client)
{
    if (!needs_stls(client))
        log_in(client);
    else if (pop3_client_has(client, SLICE("STLS")))
        say(client, "STLS", PHASE_STLS);
    else
        fail(client, "the server offers no STLS", SLICE_NONE);
}

static void on_challenge(struct pop3_client *client, struct slice text)
{
    struct buf challenge;
    bool has_response;
    if (++client->sasl_steps > SASL_STEPS_MAX) {
        fail(client, "the server asks for more when there is nothing more", text);
        return;
    }
    if (client->has_first_unsaid) {
        client->has_first_unsaid = false;
        say_sasl(client);
        return;
    }
    buf_init(&challenge, SASL_MESSAGE_MAX);
    if (base64_decode(text, &challenge) != RC_OK)
        fail(client, "the server's challenge is not base64", text);
    else if (step_sasl(client, true, buf_slice(&challenge), &has_response))
        say_sasl(client);
    buf_free(&challenge);
}

static void on_logged_in(struct pop3_client *client)
{
    if (client->sasl != NULL && sasl_client_verify(client->sasl, &client->fault) != RC_OK)
        end(client);
    else
        say(client, "CAPA", PHASE_CAPA_AFTER);
}

void pop3_client_tls_started(struct pop3_client *client)
{
    must(client->phase == PHASE_TLS);
    line_reader_init(&client->reader, POP3_CLIENT_LINE_MAX);
    say(client, "CAPA", PHASE_CAPA);        /* what was known before counts no more (RFC 2595 4) */
}

/* ---- commands --------------------------------------------------------------------------------------------------------- */

void pop3_client_command(struct pop3_client *client, const char *command, enum pop3_reply_kind kind)
{
    must(client->ask == POP3_CLIENT_ASK_READY);
    client->kind = kind;
    client->ask = POP3_CLIENT_ASK_NONE;
    say(client, command, PHASE_REPLY);
}

void pop3_client_quit(struct pop3_client *client)
{
    must(client->ask == POP3_CLIENT_ASK_READY);
    client->ask = POP3_CLIENT_ASK_NONE;
    say(client, "QUIT", PHASE_QUIT);
}

static void finish(struct pop3_client *client)
{
    client->phase = PHASE_READY;
    client->ask = POP3_CLIENT_ASK_DONE;
}

void pop3_client_next(struct pop3_client *client)
{
    must(client->ask != POP3_CLIENT_ASK_NONE && client->ask != POP3_CLIENT_ASK_READY);
    client->ask = POP3_CLIENT_ASK_NONE;
}

static void on_reply(struct pop3_client *client, bool is_ok, struct slice text)
{
    struct slice kept = slice_sub(text, 0, sizeof(client->text));
    if (kept.len > 0)
        memcpy(client->text, kept.ptr, kept.len);
    client->result.text = (struct slice){ client->text, kept.len };
    bool is_temporary = slice_starts_nocase(text, SLICE("[SYS/TEMP]")) || slice_starts_nocase(text, SLICE("[IN-USE]"));
    client->result.rc = is_ok ? RC_OK : is_temporary ? RC_TEMP : RC_PERM;
    client->listed = 0;
    if (!is_ok || client->kind == POP3_REPLY_LINE) {
        finish(client);
    } else if (client->kind == POP3_REPLY_LISTING) {
        client->phase = PHASE_LISTING;
    } else {
        dot_reader_init(&client->dots);
        client->phase = PHASE_MESSAGE;
    }
}

/* ---- what the server says --------------------------------------------------------------------------------------------- */

static void on_status_line(struct pop3_client *client, struct slice line)
{
    bool is_ok;
    struct slice text;
    if (client->phase == PHASE_AUTH && slice_take_byte(&line, '+') && !slice_starts_nocase(line, SLICE("OK"))) {
        on_challenge(client, slice_trim(line));
        return;
    }
    if (client->phase == PHASE_AUTH && slice_starts_nocase(line, SLICE("OK")))
        line = (struct slice){ line.ptr - 1, line.len + 1 };
    if (!take_status(client, line, &is_ok, &text))
        return;
    switch (client->phase) {
    case PHASE_GREETING:
        if (is_ok)
            say(client, "CAPA", PHASE_CAPA);
        else
            fail(client, "the server turns us away", text);
        break;
    case PHASE_CAPA:
        buf_clear(&client->capabilities);
        if (is_ok)
            client->phase = PHASE_CAPA_LIST;
        else
            on_capabilities(client);        /* an old server: no capabilities */
        break;
    case PHASE_STLS:
        if (is_ok)
            client->phase = PHASE_TLS;
        else
            fail(client, "STLS was refused", text);
        break;
    case PHASE_USER:
        if (is_ok) {
            buf_append_str(&client->output, "PASS ");
            buf_append(&client->output, client->options.password);
            say(client, "", PHASE_PASS);
        } else {
            fail(client, "the server refuses the user name", text);
        }
        break;
    case PHASE_AUTH:
    case PHASE_PASS:
        if (is_ok)
            on_logged_in(client);
        else
            fail(client, "the server refuses the login", text);
        break;
    case PHASE_CAPA_AFTER:
        client->phase = is_ok ? PHASE_CAPA_LIST_AFTER : PHASE_READY;
        if (is_ok)
            buf_clear(&client->capabilities);
        break;
    case PHASE_QUIT:
        if (is_ok)
            end(client);
        else
            fail(client, "the server did not end the session cleanly", text);
        break;
    case PHASE_REPLY: on_reply(client, is_ok, text); break;
    case PHASE_CAPA_LIST:
    case PHASE_CAPA_LIST_AFTER:
    case PHASE_TLS:
    case PHASE_READY:
    case PHASE_LISTING:
    case PHASE_MESSAGE:
    case PHASE_MESSAGE_END:
    case PHASE_OVER:
    default: must(false);
    }
}

/* A line of a multi-line answer, dots removed; false at its end. */
static bool take_list_line(struct slice *line)
{
    if (slice_equal(*line, SLICE(".")))
        return false;
    (void)slice_take_byte(line, '.');
    return true;
}

static void on_capability_line(struct pop3_client *client, struct slice line)
{
    bool is_after = client->phase == PHASE_CAPA_LIST_AFTER;
    if (take_list_line(&line)) {
        buf_append(&client->capabilities, line);
        if (!buf_append_byte(&client->capabilities, '\n'))
            fail(client, "the server's capabilities are too many", SLICE_NONE);
    } else if (is_after) {
        client->phase = PHASE_READY;
    } else {
        on_capabilities(client);
    }
}

static void on_listing_line(struct pop3_client *client, struct slice line)
{
    if (!take_list_line(&line)) {
        finish(client);
    } else if (++client->listed > POP3_CLIENT_LISTING_MAX) {
        fail(client, "the server's listing does not end", SLICE_NONE);
    } else {
        client->line = line;
        client->ask = POP3_CLIENT_ASK_LINE;
    }
}

static enum rc read_line(struct pop3_client *client, struct slice *in)
{
    struct slice line;
    enum line_kind kind = line_read(&client->reader, in, &line);
    if (kind == LINE_NONE)
        return RC_MORE;
    if (kind == LINE_TOO_LONG || kind == LINE_BARE)
        fail(client, kind == LINE_BARE ? "the server's answer holds a bare CR, LF or NUL" : "the server's line is too long", SLICE_NONE);
    else if (client->phase == PHASE_CAPA_LIST || client->phase == PHASE_CAPA_LIST_AFTER)
        on_capability_line(client, line);
    else if (client->phase == PHASE_LISTING)
        on_listing_line(client, line);
    else
        on_status_line(client, line);
    return RC_OK;
}

static enum rc read_message(struct pop3_client *client, struct slice *in)
{
    if (in->len == 0)
        return RC_MORE;
    enum rc rc = dot_read(&client->dots, in, &client->piece);
    if (client->piece.len > 0)
        client->ask = POP3_CLIENT_ASK_PIECE;
    if (rc == RC_OK && client->piece.len > 0)
        client->phase = PHASE_MESSAGE_END;
    else if (rc == RC_OK)
        finish(client);
    return RC_OK;
}

enum want pop3_client_step(struct pop3_client *client, struct slice *in)
{
    for (;;) {
        if (client->phase == PHASE_OVER)
            return WANT_CLOSE;
        if (client->phase == PHASE_TLS)
            return WANT_TLS;
        if (client->ask != POP3_CLIENT_ASK_NONE)
            return WANT_ANSWER;
        if (client->phase == PHASE_MESSAGE_END) {
            finish(client);
            continue;
        }
        if (client->phase == PHASE_READY) {
            client->ask = POP3_CLIENT_ASK_READY;
            continue;
        }
        enum rc rc = client->phase == PHASE_MESSAGE ? read_message(client, in) : read_line(client, in);
        if (rc == RC_MORE)
            return WANT_INPUT;
    }
}
