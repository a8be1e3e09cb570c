/* Lines and bytes on a connection: see stream.h. */
#include "sim/stream.h"

#include "base/text.h"
#include "sasl/sasl.h"
#include "sim/tls.h"

#include <stdio.h>

enum { DIAL_MS = 60 * 1000, NONCE_BYTES = 18, AUTH_MAX = 8192, TOLD_MAX = 160 };

/* The story of a dialog, for --trace: the first line of what is said, cut short. */
static void tell(const struct stream *stream, const char *who, struct slice bytes)
{
    char text[TOLD_MAX * 4 + 1];
    size_t len = 0, line = slice_find_byte(bytes, '\r');
    if (!sim_traces)
        return;
    for (size_t i = 0; i < line && i < TOLD_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, bytes.ptr[i] >= ' ' && bytes.ptr[i] <= '~' ? "%c" : "\\x%02x", (unsigned char)bytes.ptr[i]);
    text[len] = '\0';
    sim_trace("%s:%s %s%s", stream->server_name, who, text, line > TOLD_MAX ? " ..." : "");
}

static void die(struct stream *stream)
{
    net_close(stream->end);
    stream->end = NULL;
}

bool stream_is_alive(const struct stream *stream) { return stream->end != NULL; }

void stream_accepted(struct stream *stream, struct net_end *end, int64_t timeout_ms)
{
    *stream = (struct stream){ .end = end, .timeout_ms = timeout_ms };
    buf_init(&stream->in, STREAM_MAX);
    buf_init(&stream->sealed, STREAM_MAX);
}

bool stream_open(struct stream *stream, struct sim_host *host, const struct client_server *server)
{
    stream_accepted(stream, net_dial(host, server->address, server->port, DIAL_MS), server->timeout_ms);
    (void)snprintf(stream->server_name, sizeof(stream->server_name), "%s", server->address);
    return stream->end != NULL && (server->tls != CLIENT_TLS || stream_start_tls(stream));
}

void stream_close(struct stream *stream)
{
    if (stream->end != NULL && stream->has_tls)
        (void)net_put(stream->end, (const char[]){ SIM_TLS_CLOSE, 0, 0 }, 3, 0);
    die(stream);
    buf_free(&stream->in);
    buf_free(&stream->sealed);
    stream->taken = 0;
}

/* ---- in ---------------------------------------------------------------------------------------------------------- */

static void forget_taken(struct stream *stream)
{
    buf_consume(&stream->in, stream->taken);
    stream->taken = 0;
}

static bool take_records(struct stream *stream)
{
    for (;;) {
        enum sim_tls_type type;
        struct slice rest = buf_slice(&stream->sealed), payload;
        size_t before = rest.len;
        enum rc rc = sim_tls_take(&rest, &type, &payload);
        if (rc == RC_MORE)
            return true;
        if (rc != RC_OK || type != SIM_TLS_DATA || !buf_append(&stream->in, payload))
            return false;
        buf_consume(&stream->sealed, before - rest.len);
    }
}

/* More of it. False: the end, or none in time. What came before an end is still given out. */
static bool fill(struct stream *stream, int64_t timeout_ms)
{
    char bytes[STREAM_PIECE];
    size_t before = buf_len(&stream->in);
    if (stream->end == NULL)
        return false;
    int64_t got = net_get(stream->end, bytes, sizeof(bytes), timeout_ms);
    struct slice part = { bytes, got > 0 ? (size_t)got : 0 };
    bool is_kept = got > 0 && buf_append(stream->has_tls ? &stream->sealed : &stream->in, part);
    if (is_kept && stream->has_tls)
        is_kept = take_records(stream);
    if (!is_kept)
        die(stream);
    return is_kept || buf_len(&stream->in) > before;
}

bool stream_wait(struct stream *stream, int64_t ms)
{
    forget_taken(stream);
    if (buf_len(&stream->in) > 0 || stream->end == NULL)
        return true;
    const struct sim_file *file = (const struct sim_file *)stream->end;
    int64_t until_us = sim_now_us() + ms * 1000;
    while (file->ops->ready((struct sim_file *)stream->end) == SIM_WRITABLE || file->ops->ready((struct sim_file *)stream->end) == 0)
        if (!sim_wait(file, until_us))
            return false;
    return true;
}

bool stream_line(struct stream *stream, struct slice *line)
{
    size_t seen = 0;
    forget_taken(stream);
    for (;;) {
        struct slice in = buf_slice(&stream->in);
        size_t at = seen + slice_find_byte(slice_sub(in, seen, in.len), '\n');
        if (at < in.len) {
            stream->taken = at + 1;
            *line = slice_sub(in, 0, at > 0 && in.ptr[at - 1] == '\r' ? at - 1 : at);
            tell(stream, " S:", *line);
            return true;
        }
        seen = in.len;
        if (!fill(stream, stream->timeout_ms))
            return false;
    }
}

bool stream_bytes(struct stream *stream, size_t len, struct slice *bytes)
{
    forget_taken(stream);
    while (buf_len(&stream->in) < len)
        if (!fill(stream, stream->timeout_ms))
            return false;
    *bytes = slice_sub(buf_slice(&stream->in), 0, len);
    stream->taken = len;
    return true;
}

/* ---- out --------------------------------------------------------------------------------------------------------- */

static bool put_plain(struct stream *stream, struct slice bytes)
{
    if (stream->end != NULL && net_put(stream->end, bytes.ptr, bytes.len, stream->timeout_ms))
        return true;
    die(stream);
    return false;
}

bool stream_put(struct stream *stream, struct slice bytes)
{
    tell(stream, " C:", bytes);
    while (stream->has_tls && bytes.len > 0) {
        struct buf record;
        buf_init(&record, SIM_TLS_RECORD_MAX + SIM_TLS_HEAD);
        bool is_put = sim_tls_put(&record, SIM_TLS_DATA, slice_take(&bytes, SIM_TLS_RECORD_MAX)) && put_plain(stream, buf_slice(&record));
        buf_free(&record);
        if (!is_put)
            return false;
    }
    return bytes.len == 0 ? stream->end != NULL : put_plain(stream, bytes);
}

bool stream_printf(struct stream *stream, const char *format, ...)
{
    struct buf text;
    va_list arguments;
    buf_init(&text, STREAM_MAX);
    va_start(arguments, format);
    bool is_put = buf_vprintf(&text, format, arguments) && stream_put(stream, buf_slice(&text));
    va_end(arguments);
    buf_free(&text);
    return is_put;
}

/* ---- TLS --------------------------------------------------------------------------------------------------------- */

static bool take_hello(struct stream *stream, struct buf *out)
{
    for (;;) {
        enum sim_tls_type type;
        struct slice rest = buf_slice(&stream->sealed), payload;
        size_t before = rest.len;
        enum rc rc = sim_tls_take(&rest, &type, &payload);
        if (rc == RC_OK && type == SIM_TLS_HELLO) {
            (void)buf_append(out, payload);
            buf_consume(&stream->sealed, before - rest.len);
            return true;
        }
        char bytes[512];
        int64_t got = rc == RC_MORE && stream->end != NULL ? net_get(stream->end, bytes, sizeof(bytes), stream->timeout_ms) : -1;
        if (got <= 0 || !buf_append(&stream->sealed, (struct slice){ bytes, (size_t)got }))
            return false;
    }
}

static bool put_hello(struct stream *stream, struct slice hello)
{
    struct buf record;
    buf_init(&record, SIM_TLS_RECORD_MAX + SIM_TLS_HEAD);
    bool is_put = sim_tls_put(&record, SIM_TLS_HELLO, hello) && put_plain(stream, buf_slice(&record));
    buf_free(&record);
    return is_put;
}

static void drop_input(struct stream *stream)
{
    stream->taken = 0;
    buf_free(&stream->in);
    buf_free(&stream->sealed);
}

bool stream_start_tls(struct stream *stream)
{
    struct sim_certificate certificate;
    struct buf hello, answer;
    buf_init(&hello, 1024);
    buf_init(&answer, SIM_TLS_RECORD_MAX);
    drop_input(stream);
    (void)buf_printf(&hello, SIM_TLS_CLIENT "%s", stream->server_name);
    stream->has_tls = put_hello(stream, buf_slice(&hello)) && take_hello(stream, &answer) &&
                      sim_tls_check(buf_slice(&answer), buf_slice(&hello), &certificate) && put_hello(stream, SLICE(SIM_TLS_FINISHED)) &&
                      take_records(stream);
    if (!stream->has_tls)
        die(stream);
    buf_free(&hello);
    buf_free(&answer);
    return stream->has_tls;
}

static bool answer_client(struct stream *stream, struct slice hello, const char *name)
{
    unsigned char digest[SIM_TLS_DIGEST], signature[SIM_TLS_DIGEST];
    char certificate[128];
    struct buf answer;
    (void)snprintf(certificate, sizeof(certificate), "simtls certificate %016x %s", 1u, name);
    sim_tls_digest(hello, digest);
    sim_tls_signature(1, digest, signature);
    buf_init(&answer, SIM_TLS_RECORD_MAX);
    bool is_put = sim_tls_answer(&answer, slice_from_str(certificate), signature) && put_hello(stream, buf_slice(&answer));
    buf_free(&answer);
    return is_put;
}

bool stream_accept_tls(struct stream *stream, const char *name)
{
    struct buf hello;
    buf_init(&hello, SIM_TLS_RECORD_MAX);
    drop_input(stream);
    bool is_done = take_hello(stream, &hello) && slice_starts_nocase(buf_slice(&hello), SLICE(SIM_TLS_CLIENT)) &&
                   answer_client(stream, buf_slice(&hello), name);
    buf_clear(&hello);
    is_done = is_done && take_hello(stream, &hello) && slice_equal(buf_slice(&hello), SLICE(SIM_TLS_FINISHED)) && take_records(stream);
    buf_free(&hello);
    stream->has_tls = is_done;
    if (!is_done)
        die(stream);
    return is_done;
}

/* ---- SASL -------------------------------------------------------------------------------------------------------- */

static bool put_response(struct stream *stream, struct slice before, struct slice response, bool is_initial)
{
    struct buf line;
    buf_init(&line, AUTH_MAX);
    (void)buf_append(&line, before);
    if (response.len == 0 && is_initial)
        (void)buf_append_byte(&line, '=');
    (void)base64_encode(response, &line);
    (void)buf_append_str(&line, "\r\n");
    bool is_put = stream_put(stream, buf_slice(&line));
    buf_free(&line);
    return is_put;
}

static bool answer_challenges(struct stream *stream, struct sasl_client *sasl, const char *challenge, struct slice *line)
{
    struct fault fault;
    while (stream_line(stream, line)) {
        struct slice rest = *line;
        struct buf told, response;
        bool has_response, is_put = false;
        if (!slice_take_prefix_nocase(&rest, slice_from_str(challenge)))
            return true;
        buf_init(&told, AUTH_MAX);
        buf_init(&response, AUTH_MAX);
        if (base64_decode(rest, &told) == RC_OK && sasl_client_step(sasl, true, buf_slice(&told), &has_response, &response, &fault) == RC_OK)
            is_put = put_response(stream, SLICE_NONE, buf_slice(&response), false);
        else
            is_put = stream_put(stream, SLICE("*\r\n"));
        buf_free(&told);
        buf_free(&response);
        if (!is_put)
            return false;
    }
    return false;
}

bool stream_login(struct stream *stream, const char *command, const char *challenge, struct slice offered, const struct client_server *server, struct slice *line)
{
    char nonce[NONCE_BYTES], start[64];
    struct arena arena;
    struct buf response;
    struct fault fault;
    bool has_response, is_done = false;
    for (size_t i = 0; i < sizeof(nonce); i++)
        nonce[i] = (char)('a' + sim_below(26));
    arena_init(&arena, 64 * 1024);
    buf_init(&response, AUTH_MAX);
    struct sasl_client *sasl = sasl_client_begin(server->scram ? offered : SLICE("PLAIN"), slice_from_str(server->user), slice_from_str(server->password),
                                                 &(struct sasl_binding){ .offers_plus = false }, true, true, (struct slice){ nonce, sizeof(nonce) }, &arena, &fault);
    if (sasl != NULL && sasl_client_step(sasl, false, SLICE_NONE, &has_response, &response, &fault) == RC_OK) {
        (void)snprintf(start, sizeof(start), "%s %s ", command, sasl_mechanism_name(sasl_client_mechanism(sasl)));
        is_done = put_response(stream, slice_from_str(start), buf_slice(&response), true) && answer_challenges(stream, sasl, challenge, line);
    }
    buf_free(&response);
    arena_free(&arena);
    return is_done;
}
