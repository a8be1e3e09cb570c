/* The reader's side of IMAP: see client.h. */
#include "imap/client_inner.h"

#include "mail/utf7.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct imap_client *imap_client_new(const struct imap_client_options *options, const struct peer *peer)
{
    struct imap_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    client->options = *options;
    client->peer = peer;
    if (client->options.in_flight == 0)
        client->options.in_flight = 1;
    if (client->options.in_flight > IMAP_CLIENT_IN_FLIGHT_MAX)
        client->options.in_flight = IMAP_CLIENT_IN_FLIGHT_MAX;
    client->mechanism = "";
    line_reader_init(&client->reader, IMAP_CLIENT_LINE_MAX);
    buf_init(&client->output, OUTPUT_MAX);
    buf_init(&client->raw_text, IMAP_CLIENT_RESPONSE_MAX);
    buf_init(&client->capabilities, CAPABILITIES_MAX);
    arena_init(&client->arena, ARENA_MAX);
    buf_init(&client->sasl_message, SASL_MESSAGE_MAX);
    arena_init(&client->sasl_arena, SASL_ARENA_MAX);
    return client;
}

void imap_client_free(struct imap_client *client)
{
    if (client == NULL)
        return;
    if (client->sasl_message.data != NULL)
        explicit_bzero(client->sasl_message.data, client->sasl_message.cap);
    buf_free(&client->sasl_message);
    buf_free(&client->output);
    buf_free(&client->raw_text);
    buf_free(&client->capabilities);
    arena_free(&client->arena);
    arena_free(&client->sasl_arena);
    free(client);
}

enum imap_client_ask imap_client_ask(const struct imap_client *client) { return client->ask; }
struct buf *imap_client_output(struct imap_client *client) { return &client->output; }
const struct fault *imap_client_fault(const struct imap_client *client) { return client->fault.rc == RC_OK ? NULL : &client->fault; }
const struct imap_response *imap_client_response(const struct imap_client *client) { return &client->response; }
const struct imap_client_result *imap_client_result(const struct imap_client *client) { return &client->result; }
unsigned imap_client_in_flight(const struct imap_client *client) { return client->in_flight; }
const char *imap_client_mechanism(const struct imap_client *client) { return client->mechanism; }

struct slice imap_client_piece(const struct imap_client *client, uint32_t *number)
{
    *number = client->is_streaming ? client->stream_number : client->response.number;
    return client->piece;
}

bool imap_client_has(const struct imap_client *client, struct slice capability)
{
    struct slice words = buf_slice(&client->capabilities);
    while (words.len > 0) {
        if (slice_equal_nocase(slice_take_until(&words, ' '), capability))
            return true;
    }
    return false;
}

/* ---- ending ----------------------------------------------------------------------------------------------------- */

void imap_client_end(struct imap_client *client)
{
    client->phase = PHASE_OVER;
    client->ask = IMAP_CLIENT_ASK_NONE;
}

/* What the server said goes into the fault escaped. */
void imap_client_fail(struct imap_client *client, const char *what, struct slice said)
{
    struct buf text;
    buf_init(&text, FAULT_TEXT_MAX - 64);
    buf_append_escaped(&text, slice_sub(said, 0, 200), true);
    fault_perm(&client->fault, 0, "%s%s%.*s", what, said.len > 0 ? ": " : "", SLICE_ARG(buf_slice(&text)));
    buf_free(&text);
    imap_client_end(client);
}

uint32_t imap_client_say(struct imap_client *client, const char *text)
{
    uint32_t command = ++client->last_command;
    buf_printf(&client->output, "A%" PRIu32 " %s\r\n", command, text);
    return command;
}

bool imap_client_append_quoted(struct buf *out, struct slice text)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (strchr("\r\n", text.ptr[i]) != NULL)        /* NUL too */
            return false;
        if (text.ptr[i] == '"' || text.ptr[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, text.ptr[i]);
    }
    return buf_append_byte(out, '"');
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static bool append_mailbox(struct buf *out, struct slice mailbox)
{
    struct buf name;
    buf_init(&name, mailbox.len * 8 + 8);
    bool is_possible = utf7_encode(mailbox, &name) == RC_OK && imap_client_append_quoted(out, buf_slice(&name));
    buf_free(&name);
    return is_possible;
}

static uint32_t started(struct imap_client *client, bool is_possible, size_t before)
{
    must(client->ask == IMAP_CLIENT_ASK_READY);
    if (!is_possible || client->output.overflow) {
        buf_truncate(&client->output, before);
        client->output.overflow = false;
        client->last_command--;
        return 0;
    }
    client->in_flight++;
    client->ask = IMAP_CLIENT_ASK_NONE;
    return client->last_command;
}

static uint32_t command(struct imap_client *client, const char *text, struct slice mailbox, bool (*append)(struct buf *, struct slice))
{
    size_t before = buf_len(&client->output);
    struct slice rest = slice_from_str(text);
    bool is_possible = true;
    buf_printf(&client->output, "A%" PRIu32 " ", ++client->last_command);
    size_t at = slice_find(rest, SLICE("%m"));
    buf_append(&client->output, slice_take(&rest, at));
    if (slice_take_prefix_nocase(&rest, SLICE("%m")))
        is_possible = append(&client->output, mailbox);
    buf_append(&client->output, rest);
    buf_append_str(&client->output, "\r\n");
    return started(client, is_possible, before);
}

uint32_t imap_client_command(struct imap_client *client, const char *text, struct slice mailbox)
{
    return command(client, text, mailbox, append_mailbox);
}

uint32_t imap_client_command_raw(struct imap_client *client, const char *text, struct slice wire_name)
{
    return command(client, text, wire_name, imap_client_append_quoted);
}

uint32_t imap_client_append(struct imap_client *client, struct slice mailbox, struct slice flags, const struct mail_date *date, uint64_t size)
{
    size_t before = buf_len(&client->output);
    bool is_free = imap_client_has(client, SLICE("LITERAL+")) || (size <= 4096 && imap_client_has(client, SLICE("LITERAL-")));   /* RFC 7888 */
    buf_printf(&client->output, "A%" PRIu32 " APPEND ", ++client->last_command);
    bool is_possible = append_mailbox(&client->output, mailbox);
    if (flags.len > 0) {
        buf_append_byte(&client->output, ' ');
        buf_append(&client->output, flags);
    }
    if (date != NULL) {
        buf_append_str(&client->output, " \"");
        date_write_imap(*date, &client->output);
        buf_append_byte(&client->output, '"');
    }
    buf_printf(&client->output, " {%" PRIu64 "%s}\r\n", size, is_free ? "+" : "");
    uint32_t started_as = started(client, is_possible, before);
    if (started_as != 0) {
        client->is_appending = true;
        client->awaits_continue = !is_free;
        client->append_left = size;
        client->append_piece = SLICE_NONE;
    }
    return started_as;
}

void imap_client_body(struct imap_client *client, struct slice piece)
{
    must(client->ask == IMAP_CLIENT_ASK_BODY && piece.len > 0 && piece.len <= client->append_left);
    client->append_piece = piece;
    client->ask = IMAP_CLIENT_ASK_NONE;
}

void imap_client_wait(struct imap_client *client)
{
    must(client->ask == IMAP_CLIENT_ASK_READY && client->in_flight > 0);
    client->is_waiting = true;
    client->ask = IMAP_CLIENT_ASK_NONE;
}

void imap_client_logout(struct imap_client *client)
{
    must(client->ask == IMAP_CLIENT_ASK_READY);
    imap_client_say(client, "LOGOUT");
    client->phase = PHASE_LOGOUT;
    client->ask = IMAP_CLIENT_ASK_NONE;
}

void imap_client_next(struct imap_client *client)
{
    must(client->ask == IMAP_CLIENT_ASK_RESPONSE || client->ask == IMAP_CLIENT_ASK_PIECE || client->ask == IMAP_CLIENT_ASK_DONE);
    client->ask = client->has_unsaid_response ? IMAP_CLIENT_ASK_RESPONSE : IMAP_CLIENT_ASK_NONE;
    client->has_unsaid_response = false;
}

/* Moves the message of an APPEND out. */
static void step_append(struct imap_client *client)
{
    struct buf *out = &client->output;
    if (client->append_left == 0) {
        buf_append_str(out, "\r\n");
        client->is_appending = false;
        return;
    }
    if (client->append_piece.len == 0) {
        client->ask = IMAP_CLIENT_ASK_BODY;
        return;
    }
    struct slice some = slice_take(&client->append_piece, OUTPUT_MAX / 4);
    buf_append(out, some);
    client->append_left -= some.len;
}

/* ---- what the server says --------------------------------------------------------------------------------------------- */

static void on_tagged(struct imap_client *client)
{
    struct slice digits = client->response.tag;
    uint64_t number;
    if (!slice_take_prefix_nocase(&digits, SLICE("A")) || !slice_take_number(&digits, client->last_command, &number) || digits.len > 0) {
        imap_client_fail(client, "the server answers a command that was never given", client->raw.text);
        return;
    }
    switch (client->phase) {
    case PHASE_CAPABILITY: imap_client_on_capabilities(client); return;
    case PHASE_STARTTLS: imap_client_on_starttls(client); return;
    case PHASE_AUTH:
    case PHASE_LOGIN: imap_client_on_login(client); return;
    case PHASE_CAPABILITY_AFTER: imap_client_on_capabilities_after(client); return;
    case PHASE_LOGOUT:
        if (number == client->last_command)
            imap_client_end(client);
        return;
    case PHASE_COMMANDS: break;
    case PHASE_GREETING:
    case PHASE_TLS:
    case PHASE_OVER:
    default: imap_client_fail(client, "the server answers out of turn", client->raw.text); return;
    }
    if (client->in_flight == 0) {
        imap_client_fail(client, "the server answers out of turn", client->raw.text);
        return;
    }
    client->in_flight--;
    client->is_waiting = false;
    if (client->awaits_continue && number == client->last_command)
        client->awaits_continue = client->is_appending = false;     /* the APPEND was refused before its message */
    client->result = (struct imap_client_result){
        .command = (uint32_t)number, .rc = client->response.says == IMAP_SAYS_OK ? RC_OK : RC_PERM,
        .code = client->response.code, .text = client->response.text,
    };
    client->ask = IMAP_CLIENT_ASK_DONE;
}

static void on_continue(struct imap_client *client)
{
    if (client->phase == PHASE_COMMANDS && client->awaits_continue)
        client->awaits_continue = false;
    else
        imap_client_on_challenge(client);
}

static void on_untagged(struct imap_client *client)
{
    const struct imap_response *response = &client->response;
    if (response->says == IMAP_SAYS_CAPABILITY) {
        buf_clear(&client->capabilities);
        if (!buf_append(&client->capabilities, response->text))
            imap_client_fail(client, "the server's capabilities are too many", SLICE_NONE);
    } else if (response->says == IMAP_SAYS_BYE && client->phase != PHASE_LOGOUT) {
        imap_client_fail(client, "the server ends the connection", response->text);
    } else if (client->phase == PHASE_COMMANDS) {
        client->ask = IMAP_CLIENT_ASK_RESPONSE;
        if (response->has_body && response->body.len > 0) {
            client->piece = response->body;
            client->ask = IMAP_CLIENT_ASK_PIECE;
            client->has_unsaid_response = true;
        }
    }
}

static void on_response(struct imap_client *client)
{
    client->raw.text = buf_slice(&client->raw_text);
    arena_rewind(&client->arena);
    enum rc rc = imap_response_parse(&client->raw, &client->arena, &client->response, &client->fault);
    client->is_streaming = false;
    if (client->phase == PHASE_GREETING)
        imap_client_on_greeting(client, rc == RC_OK);
    else if (rc != RC_OK)
        imap_client_end(client);
    else if (client->response.says == IMAP_SAYS_CONTINUE)
        on_continue(client);
    else if (client->response.tag.len > 0)
        on_tagged(client);
    else
        on_untagged(client);
}

/* Is the literal that begins at the end of this text the body of a message? "* 12 FETCH (... BODY[] {" */
static bool is_body_literal(struct imap_client *client, struct slice text)
{
    uint64_t number;
    if (!slice_take_prefix_nocase(&text, SLICE("* ")) || !slice_take_number(&text, UINT32_MAX, &number) ||
        !slice_take_prefix_nocase(&text, SLICE(" FETCH ")))
        return false;
    size_t open = text.len;
    while (open > 0 && text.ptr[open - 1] != '{')
        open--;
    struct slice before = slice_sub(text, 0, open > 0 ? open - 1 : 0);
    client->stream_number = (uint32_t)number;
    return slice_ends_nocase(before, SLICE("] ")) || slice_ends_nocase(before, SLICE("RFC822 "));
}

static void begin_literal(struct imap_client *client, uint64_t size)
{
    struct slice text = buf_slice(&client->raw_text);
    bool is_body = client->phase == PHASE_COMMANDS && is_body_literal(client, text);
    if (size > (is_body ? (uint64_t)BODY_LITERAL_MAX : (uint64_t)LITERAL_MAX) ||
        (is_body && client->raw.streamed_count == IMAP_STREAMED_MAX)) {
        imap_client_fail(client, "the server's literal is too large", SLICE_NONE);
        return;
    }
    if (is_body) {
        size_t open = text.len;
        while (text.ptr[open - 1] != '{')
            open--;
        client->raw.streamed[client->raw.streamed_count++] = open - 1;
    }
    client->is_streaming = is_body;
    client->literal_left = size;
    buf_append_str(&client->raw_text, "\r\n");
}

static enum rc read_literal(struct imap_client *client, struct slice *in)
{
    uint64_t most = client->literal_left < PIECE_MAX ? client->literal_left : PIECE_MAX;
    struct slice some = slice_take(in, (size_t)most);
    if (some.len == 0)
        return RC_MORE;
    client->literal_left -= some.len;
    if (client->is_streaming) {
        client->piece = some;
        client->ask = IMAP_CLIENT_ASK_PIECE;
    } else if (!buf_append(&client->raw_text, some)) {
        imap_client_fail(client, "the server's response is too long", SLICE_NONE);
    }
    return RC_OK;
}

static enum rc read_line(struct imap_client *client, struct slice *in)
{
    struct slice line;
    uint64_t size;
    enum line_kind kind = line_read(&client->reader, in, &line);
    if (kind == LINE_NONE)
        return RC_MORE;
    if (client->is_response_over) {
        buf_clear(&client->raw_text);
        client->raw.streamed_count = 0;
        client->is_response_over = false;
    }
    bool is_first = buf_len(&client->raw_text) == 0;
    if (kind != LINE_WHOLE || !buf_append(&client->raw_text, line)) {
        imap_client_fail(client, kind == LINE_BARE ? "the server's response holds a bare CR, LF or NUL" : "the server's response is too long", SLICE_NONE);
    } else if (imap_literal_at_end(line, &size) && !(is_first && imap_is_status_line(line))) {
        begin_literal(client, size);
    } else {
        on_response(client);
        client->is_response_over = true;        /* its slices live in raw_text until the next line is read */
    }
    return RC_OK;
}

static bool may_start_command(const struct imap_client *client)
{
    return client->phase == PHASE_COMMANDS && !client->is_waiting && !client->awaits_continue &&
           client->in_flight < client->options.in_flight && client->literal_left == 0;
}

enum want imap_client_step(struct imap_client *client, struct slice *in)
{
    for (;;) {
        if (client->phase == PHASE_OVER)
            return WANT_CLOSE;
        if (client->phase == PHASE_TLS)
            return WANT_TLS;
        if (client->ask != IMAP_CLIENT_ASK_NONE)
            return WANT_ANSWER;
        if (buf_len(&client->output) > OUTPUT_MAX / 2)
            return WANT_FLUSH;
        if (client->is_appending && !client->awaits_continue) {
            step_append(client);
            continue;
        }
        if (may_start_command(client)) {
            client->ask = IMAP_CLIENT_ASK_READY;
            continue;
        }
        enum rc rc = client->literal_left > 0 ? read_literal(client, in) : read_line(client, in);
        if (rc == RC_MORE)
            return WANT_INPUT;
    }
}
