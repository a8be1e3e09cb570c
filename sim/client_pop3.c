/* A program that fetches mail: POP3 (RFC 1939) with STLS (RFC 2595), AUTH (RFC 5034) and CAPA (RFC 2449). See client.h. */
#include "sim/stream.h"

#include <stdio.h>
#include <stdlib.h>

struct pop3 {
    struct stream stream;
    char reply[256], wrong[256];
    bool has_sasl, has_scram;
    struct pop3_message *messages;
    size_t count, cap;
    uint64_t stat_count, stat_size;
    struct buf text;
};

const char *pop3_reply(const struct pop3 *pop3) { return pop3->reply; }
const char *pop3_wrong(const struct pop3 *pop3) { return pop3->wrong[0] != '\0' ? pop3->wrong : NULL; }

static void is_wrong(struct pop3 *pop3, const char *what)
{
    if (pop3->wrong[0] == '\0')
        (void)snprintf(pop3->wrong, sizeof(pop3->wrong), "%s", what);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* RFC 3206: what may be otherwise later. */
static enum client_result judge(struct pop3 *pop3, struct slice line)
{
    (void)snprintf(pop3->reply, sizeof(pop3->reply), "%.*s", (int)(line.len < 200 ? line.len : 200), line.ptr);
    if (slice_starts_nocase(line, SLICE("+OK")))
        return CLIENT_DONE;
    if (!slice_starts_nocase(line, SLICE("-ERR")))
        is_wrong(pop3, "an answer that is neither +OK nor -ERR");
    return strstr(pop3->reply, "[SYS/TEMP]") != NULL || strstr(pop3->reply, "[IN-USE]") != NULL ? CLIENT_TEMP : CLIENT_REFUSED;
}

static enum client_result read_answer(struct pop3 *pop3)
{
    struct slice line;
    return stream_line(&pop3->stream, &line) ? judge(pop3, line) : CLIENT_UNKNOWN;
}

static enum client_result ask(struct pop3 *pop3, const char *format, ...) __attribute__((format(printf, 2, 3)));
static enum client_result ask(struct pop3 *pop3, const char *format, ...)
{
    struct buf line;
    va_list arguments;
    buf_init(&line, 1024);
    va_start(arguments, format);
    (void)buf_vprintf(&line, format, arguments);
    va_end(arguments);
    bool is_put = buf_append_str(&line, "\r\n") && stream_put(&pop3->stream, buf_slice(&line));
    buf_free(&line);
    return is_put ? read_answer(pop3) : CLIENT_UNKNOWN;
}

/* Lines up to the lone dot, doubled dots undone. False: it broke off, or `line` did. */
static bool read_lines(struct pop3 *pop3, bool (*take)(struct pop3 *, struct slice line))
{
    struct slice line;
    while (stream_line(&pop3->stream, &line)) {
        if (slice_equal(line, SLICE(".")))
            return true;
        (void)slice_take_byte(&line, '.');
        if (!take(pop3, line))
            is_wrong(pop3, "a line of a list that makes no sense");
    }
    return false;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static bool take_capability(struct pop3 *pop3, struct slice line)
{
    if (slice_take_prefix_nocase(&line, SLICE("SASL"))) {
        pop3->has_sasl = true;
        pop3->has_scram = slice_find_nocase(line, SLICE("SCRAM-SHA-256")) < line.len;
    }
    return true;
}

static enum client_result log_in(struct pop3 *pop3, const struct client_server *server)
{
    struct slice line, offered = pop3->has_scram ? SLICE("SCRAM-SHA-256 PLAIN") : SLICE("PLAIN");
    if (pop3->has_sasl && (server->scram || sim_chance(500000)))
        return stream_login(&pop3->stream, "AUTH", "+ ", offered, server, &line) ? judge(pop3, line) : CLIENT_UNKNOWN;
    enum client_result result = ask(pop3, "USER %s", server->user);
    return result == CLIENT_DONE ? ask(pop3, "PASS %s", server->password) : result;
}

static enum client_result begin(struct pop3 *pop3, const struct client_server *server)
{
    enum client_result result = read_answer(pop3);
    if (result == CLIENT_DONE && server->tls == CLIENT_STARTTLS) {
        result = ask(pop3, "STLS");
        if (result == CLIENT_DONE && !stream_start_tls(&pop3->stream))
            return CLIENT_UNSENT;
    }
    if (result == CLIENT_DONE && ask(pop3, "CAPA") == CLIENT_DONE && !read_lines(pop3, take_capability))
        return CLIENT_UNSENT;
    if (result == CLIENT_DONE)
        result = log_in(pop3, server);
    return result == CLIENT_UNKNOWN ? CLIENT_UNSENT : result;
}

void pop3_drop(struct pop3 *pop3)
{
    if (pop3 == NULL)
        return;
    stream_close(&pop3->stream);
    buf_free(&pop3->text);
    free(pop3->messages);
    free(pop3);
}

struct pop3 *pop3_open(struct sim_host *host, const struct client_server *server, enum client_result *result)
{
    struct pop3 *pop3 = calloc(1, sizeof(*pop3));
    *result = CLIENT_UNSENT;
    if (pop3 == NULL)
        return NULL;
    buf_init(&pop3->text, STREAM_MAX);
    if (stream_open(&pop3->stream, host, server))
        *result = begin(pop3, server);
    if (*result == CLIENT_DONE)
        return pop3;
    pop3_drop(pop3);
    return NULL;
}

enum client_result pop3_quit(struct pop3 *pop3)
{
    enum client_result result = stream_is_alive(&pop3->stream) ? ask(pop3, "QUIT") : CLIENT_UNSENT;
    pop3_drop(pop3);
    return result;
}

/* ---- what is there ----------------------------------------------------------------------------------------------- */

static bool has_room(struct pop3 *pop3)
{
    if (pop3->count < pop3->cap)
        return true;
    size_t cap = pop3->cap == 0 ? 64 : pop3->cap * 2;
    struct pop3_message *messages = realloc(pop3->messages, cap * sizeof(*messages));
    if (messages == NULL)
        return false;
    pop3->messages = messages;
    pop3->cap = cap;
    return true;
}

static bool take_size(struct pop3 *pop3, struct slice line)
{
    uint64_t number, size;
    if (!slice_take_number(&line, UINT32_MAX, &number) || !slice_take_byte(&line, ' ') || !slice_take_number(&line, INT64_MAX, &size) ||
        number != pop3->count + 1 || !has_room(pop3))
        return false;
    pop3->messages[pop3->count++] = (struct pop3_message){ .size = size };
    return true;
}

static bool take_uidl(struct pop3 *pop3, struct slice line)
{
    uint64_t number;
    if (!slice_take_number(&line, UINT32_MAX, &number) || !slice_take_byte(&line, ' ') || number == 0 || number > pop3->count || line.len == 0)
        return false;
    return slice_to_str(line, pop3->messages[number - 1].uidl, sizeof(pop3->messages[0].uidl));
}

static void compare(struct pop3 *pop3)
{
    uint64_t size = 0;
    for (size_t i = 0; i < pop3->count; i++) {
        size += pop3->messages[i].size;
        if (pop3->messages[i].uidl[0] == '\0')
            is_wrong(pop3, "UIDL leaves a message out");
        for (size_t j = 0; j < i && i < 200; j++)
            if (strcmp(pop3->messages[i].uidl, pop3->messages[j].uidl) == 0)
                is_wrong(pop3, "UIDL gives the same name twice");
    }
    if (pop3->count != pop3->stat_count || size != pop3->stat_size)
        is_wrong(pop3, "STAT and LIST do not agree");
}

enum client_result pop3_list(struct pop3 *pop3, const struct pop3_message **messages, size_t *count)
{
    *count = pop3->count = 0;
    if (!stream_is_alive(&pop3->stream))
        return CLIENT_UNSENT;
    enum client_result result = ask(pop3, "STAT");
    if (result == CLIENT_DONE) {
        struct slice rest = slice_from_str(pop3->reply + 3);
        if (!slice_take_byte(&rest, ' ') || !slice_take_number(&rest, UINT32_MAX, &pop3->stat_count) || !slice_take_byte(&rest, ' ') ||
            !slice_take_number(&rest, INT64_MAX, &pop3->stat_size))
            is_wrong(pop3, "STAT without its numbers");
        result = ask(pop3, "LIST");
    }
    if (result == CLIENT_DONE)
        result = read_lines(pop3, take_size) ? ask(pop3, "UIDL") : CLIENT_UNKNOWN;
    if (result == CLIENT_DONE)
        result = read_lines(pop3, take_uidl) ? CLIENT_DONE : CLIENT_UNKNOWN;
    if (result == CLIENT_DONE)
        compare(pop3);
    *messages = pop3->messages;
    *count = pop3->count;
    return result;
}

static bool take_text(struct pop3 *pop3, struct slice line) { return buf_append(&pop3->text, line) && buf_append_str(&pop3->text, "\r\n"); }

enum client_result pop3_fetch(struct pop3 *pop3, size_t number, struct slice *text)
{
    *text = SLICE_NONE;
    if (!stream_is_alive(&pop3->stream))
        return CLIENT_UNSENT;
    buf_clear(&pop3->text);
    enum client_result result = ask(pop3, "RETR %zu", number);
    if (result == CLIENT_DONE && !read_lines(pop3, take_text))
        result = CLIENT_UNKNOWN;
    if (result == CLIENT_DONE && number <= pop3->count && pop3->messages[number - 1].size != buf_len(&pop3->text))
        is_wrong(pop3, "RETR is not as long as LIST said");
    *text = buf_slice(&pop3->text);
    return result;
}

enum client_result pop3_delete(struct pop3 *pop3, size_t number)
{
    return stream_is_alive(&pop3->stream) ? ask(pop3, "DELE %zu", number) : CLIENT_UNSENT;
}
