/* A program that sends mail: SMTP (RFC 5321), submission (RFC 6409) and LMTP (RFC 2033), with STARTTLS, AUTH, PIPELINING, BDAT.
 *
 * From the first byte of the text on, an answer that does not come leaves the letter unknown; before, it was not sent. */
#include "sim/stream.h"

#include <stdio.h>

struct smtp {
    struct stream stream;
    const struct client_server *server;
    const struct smtp_letter *letter;
    struct smtp_outcome *outcome;
    struct buf capabilities;            /* of EHLO, each on a line, with its end */
    bool is_sending;                    /* the text is on its way */
    bool is_over;                       /* what is said now is of no interest */
    size_t accepted;
};

const char *client_result_name(enum client_result result)
{
    static const char *const names[] = { "done", "not now", "refused", "unknown", "unsent" };
    return names[result];
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

/* The code; 0: none came. Every line of an answer to EHLO is kept. */
static int read_reply(struct smtp *smtp, struct buf *lines)
{
    struct slice line;
    while (stream_line(&smtp->stream, &line)) {
        uint64_t code;
        struct slice rest = line;
        if (!smtp->is_over)
            (void)snprintf(smtp->outcome->reply, sizeof(smtp->outcome->reply), "%.*s", (int)(line.len < 200 ? line.len : 200), line.ptr);
        if (!slice_take_number(&rest, 599, &code) || code < 200 || (rest.len > 0 && rest.ptr[0] != ' ' && rest.ptr[0] != '-'))
            return 0;
        if (lines != NULL) {
            (void)buf_append(lines, slice_sub(rest, 1, rest.len));
            (void)buf_append_byte(lines, '\n');
        }
        if (rest.len == 0 || rest.ptr[0] == ' ')
            return (int)code;
    }
    return 0;
}

static enum client_result judge(const struct smtp *smtp, int code)
{
    if (code == 0)
        return smtp->is_sending ? CLIENT_UNKNOWN : CLIENT_UNSENT;
    return code < 400 ? CLIENT_DONE : code < 500 ? CLIENT_TEMP : CLIENT_REFUSED;
}

/* What holds for all who are not refused yet. */
static enum client_result all_end(struct smtp *smtp, enum client_result result)
{
    for (size_t i = 0; i < smtp->letter->to_count; i++)
        if (smtp->outcome->to[i] == CLIENT_DONE)
            smtp->outcome->to[i] = result;
    return smtp->outcome->result = result;
}

static bool can(const struct smtp *smtp, const char *what)
{
    struct slice rest = buf_slice(&smtp->capabilities), word = slice_from_str(what);
    while (rest.len > 0) {
        struct slice line = slice_take_until(&rest, '\n');
        if (slice_starts_nocase(line, word) && (line.len == word.len || line.ptr[word.len] == ' '))
            return true;
    }
    return false;
}

static struct slice mechanisms(const struct smtp *smtp)
{
    struct slice rest = buf_slice(&smtp->capabilities);
    while (rest.len > 0) {
        struct slice line = slice_take_until(&rest, '\n');
        if (slice_take_prefix_nocase(&line, SLICE("AUTH ")))
            return line;
    }
    return SLICE_NONE;
}

/* ---- before the letter ------------------------------------------------------------------------------------------- */

static int say(struct smtp *smtp, const char *line)
{
    return stream_printf(&smtp->stream, "%s\r\n", line) ? read_reply(smtp, NULL) : 0;
}

static int greet(struct smtp *smtp)
{
    buf_clear(&smtp->capabilities);
    if (!stream_put(&smtp->stream, smtp->letter->is_lmtp ? SLICE("LHLO client.example\r\n") : SLICE("EHLO client.example\r\n")))
        return 0;
    return read_reply(smtp, &smtp->capabilities);
}

static int log_in(struct smtp *smtp)
{
    struct slice line;
    uint64_t code;
    if (!stream_login(&smtp->stream, "AUTH", "334 ", mechanisms(smtp), smtp->server, &line))
        return 0;
    (void)snprintf(smtp->outcome->reply, sizeof(smtp->outcome->reply), "%.*s", (int)(line.len < 200 ? line.len : 200), line.ptr);
    return slice_take_number(&line, 599, &code) ? (int)code : 0;
}

static enum client_result begin(struct smtp *smtp)
{
    int code = read_reply(smtp, NULL);
    if (code / 100 == 2)
        code = greet(smtp);
    if (code / 100 == 2 && smtp->server->tls == CLIENT_STARTTLS) {
        code = say(smtp, "STARTTLS");
        if (code == 220)
            code = stream_start_tls(&smtp->stream) ? greet(smtp) : 0;
    }
    if (code / 100 == 2 && smtp->server->user != NULL)
        code = log_in(smtp);
    return judge(smtp, code);
}

/* ---- the envelope ------------------------------------------------------------------------------------------------ */

static void told_recipient(struct smtp *smtp, size_t i, int code)
{
    smtp->outcome->to[i] = judge(smtp, code);
    if (code / 100 != 2)
        return;
    smtp->accepted++;
    if (smtp->letter->recipient != NULL)
        smtp->letter->recipient(smtp->letter->arg, i);
}

static enum client_result envelope_in_turn(struct smtp *smtp)
{
    const struct smtp_letter *letter = smtp->letter;
    int code = stream_printf(&smtp->stream, "MAIL FROM:<%s>\r\n", letter->from) ? read_reply(smtp, NULL) : 0;
    for (size_t i = 0; i < letter->to_count && code / 100 == 2; i++) {
        int told = stream_printf(&smtp->stream, "RCPT TO:<%s>\r\n", letter->to[i]) ? read_reply(smtp, NULL) : 0;
        told_recipient(smtp, i, told);
        if (told == 0)
            return CLIENT_UNSENT;
    }
    return judge(smtp, code);
}

/* All at once (RFC 2920), with DATA behind it: *data is what was said to that. */
static enum client_result envelope_at_once(struct smtp *smtp, bool with_data, int *data)
{
    const struct smtp_letter *letter = smtp->letter;
    struct buf lines;
    buf_init(&lines, STREAM_MAX);
    (void)buf_printf(&lines, "MAIL FROM:<%s>\r\n", letter->from);
    for (size_t i = 0; i < letter->to_count; i++)
        (void)buf_printf(&lines, "RCPT TO:<%s>\r\n", letter->to[i]);
    if (with_data)
        (void)buf_append_str(&lines, "DATA\r\n");
    bool is_put = stream_put(&smtp->stream, buf_slice(&lines));
    buf_free(&lines);
    int code = is_put ? read_reply(smtp, NULL) : 0;
    for (size_t i = 0; i < letter->to_count && stream_is_alive(&smtp->stream); i++) {
        int told = read_reply(smtp, NULL);
        told_recipient(smtp, i, told);
    }
    if (with_data)
        *data = stream_is_alive(&smtp->stream) ? read_reply(smtp, NULL) : 0;
    return stream_is_alive(&smtp->stream) ? judge(smtp, code) : CLIENT_UNSENT;
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

static void sending(struct smtp *smtp)
{
    smtp->is_sending = true;
    if (smtp->letter->sending != NULL)
        smtp->letter->sending(smtp->letter->arg);
}

/* Dots at the beginning of lines doubled, and the line that ends it. */
static bool put_text(struct smtp *smtp)
{
    struct slice rest = smtp->letter->text;
    struct buf out;
    buf_init(&out, STREAM_MAX);
    bool is_ended = slice_ends_nocase(rest, SLICE("\r\n")) || rest.len == 0;
    while (rest.len > 0) {
        size_t len = slice_find_byte(rest, '\n');
        if (rest.ptr[0] == '.')
            (void)buf_append_byte(&out, '.');
        (void)buf_append(&out, slice_take(&rest, len + 1));
    }
    (void)buf_append_str(&out, is_ended ? ".\r\n" : "\r\n.\r\n");
    rest = buf_slice(&out);
    bool is_put = true;
    while (is_put && rest.len > 0)
        is_put = stream_put(&smtp->stream, slice_take(&rest, 1 + (size_t)sim_below(64 * 1024)));
    buf_free(&out);
    return is_put;
}

/* One answer for all; LMTP has one for each recipient that was accepted (RFC 2033 4.2). */
static enum client_result read_verdicts(struct smtp *smtp)
{
    if (!smtp->letter->is_lmtp)
        return all_end(smtp, judge(smtp, read_reply(smtp, NULL)));
    enum client_result best = CLIENT_REFUSED;
    for (size_t i = 0; i < smtp->letter->to_count; i++) {
        if (smtp->outcome->to[i] != CLIENT_DONE)
            continue;
        smtp->outcome->to[i] = judge(smtp, read_reply(smtp, NULL));
        if (smtp->outcome->to[i] == CLIENT_DONE || best != CLIENT_DONE)
            best = smtp->outcome->to[i];
    }
    return smtp->outcome->result = best;
}

static enum client_result send_data(struct smtp *smtp, int code)
{
    if (code == -1)
        code = say(smtp, "DATA");
    if (code != 354)
        return all_end(smtp, code == 0 || code / 100 < 4 ? CLIENT_UNSENT : judge(smtp, code));
    if (smtp->accepted == 0) {          /* pipelined, and nobody was taken: nothing may come of it */
        (void)say(smtp, ".");
        return smtp->outcome->result = CLIENT_REFUSED;
    }
    sending(smtp);
    return put_text(smtp) ? read_verdicts(smtp) : all_end(smtp, CLIENT_UNKNOWN);
}

static enum client_result send_chunks(struct smtp *smtp)
{
    struct slice rest = smtp->letter->text;
    if (smtp->accepted == 0)
        return smtp->outcome->result = CLIENT_REFUSED;
    sending(smtp);
    for (;;) {
        struct slice chunk = slice_take(&rest, sim_chance(300000) ? rest.len : (size_t)sim_below(20000));
        bool is_last = rest.len == 0;
        if (!stream_printf(&smtp->stream, "BDAT %zu%s\r\n", chunk.len, is_last ? " LAST" : "") || !stream_put(&smtp->stream, chunk))
            return all_end(smtp, CLIENT_UNKNOWN);
        if (is_last)
            return read_verdicts(smtp);
        int code = read_reply(smtp, NULL);
        if (code / 100 != 2)            /* the last chunk was not sent: whatever came of this one, it is not a letter */
            return all_end(smtp, code == 0 ? CLIENT_UNSENT : judge(smtp, code));
    }
}

static enum client_result send_letter(struct smtp *smtp)
{
    bool by_chunks = smtp->letter->by_chunks && can(smtp, "CHUNKING");
    int data = -1;
    enum client_result result = smtp->letter->pipelined && can(smtp, "PIPELINING") ? envelope_at_once(smtp, !by_chunks, &data)
                                                                                   : envelope_in_turn(smtp);
    if (result != CLIENT_DONE)
        return all_end(smtp, result);
    if (smtp->accepted == 0 && data == -1) {
        smtp->outcome->result = smtp->letter->to_count > 0 ? smtp->outcome->to[0] : CLIENT_REFUSED;
        return smtp->outcome->result;
    }
    return by_chunks ? send_chunks(smtp) : send_data(smtp, data);
}

/* Recipients begin as if taken, so that a refusal of the whole (all_end) reaches each that was not refused by itself. */
enum client_result smtp_send(struct sim_host *host, const struct client_server *server, const struct smtp_letter *letter, struct smtp_outcome *outcome)
{
    struct smtp smtp = { .server = server, .letter = letter, .outcome = outcome };
    memset(outcome, 0, sizeof(*outcome));
    buf_init(&smtp.capabilities, STREAM_MAX);
    enum client_result result = stream_open(&smtp.stream, host, server) ? begin(&smtp) : CLIENT_UNSENT;
    if (result == CLIENT_DONE)
        (void)send_letter(&smtp);
    else
        (void)all_end(&smtp, result);
    smtp.is_over = true;
    if (stream_is_alive(&smtp.stream) && outcome->result != CLIENT_UNKNOWN)
        (void)say(&smtp, "QUIT");
    stream_close(&smtp.stream);
    buf_free(&smtp.capabilities);
    return outcome->result;
}
