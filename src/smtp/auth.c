/* AUTH (RFC 4954) as far as it is SMTP's: framing and base64. What the messages mean is between the client and whoever
 * answers SMTP_ASK_AUTH. LOGIN and PLAIN come with and without an initial response. */
#include "smtp/session.h"

#include "base/text.h"

#include <string.h>

static bool has_binding(const struct smtp_server *s)
{
    return s->peer->has_tls && (s->peer->tls_exporter_len > 0 || s->peer->tls_server_end_point_len > 0);
}

static bool offers_mechanism(const struct smtp_server *s, enum sasl_mechanism mechanism)
{
    return mechanism != SASL_NONE && (mechanism != SASL_SCRAM_SHA_256_PLUS || has_binding(s));
}

bool smtp_auth_is_offered(const struct smtp_server *s)
{
    return s->options->face == SMTP_SUBMISSION &&
           (s->peer->has_tls || s->options->auth_without_tls);
}

void smtp_auth_list(const struct smtp_server *s, struct buf *out)
{
    static const enum sasl_mechanism best_first[] = {
        SASL_SCRAM_SHA_256_PLUS, SASL_SCRAM_SHA_256, SASL_PLAIN, SASL_LOGIN,
    };
    for (size_t i = 0; i < sizeof best_first / sizeof best_first[0]; i++)
        if (offers_mechanism(s, best_first[i]))
            buf_printf(out, " %s", sasl_mechanism_name(best_first[i]));
}

static void wipe_message(struct smtp_server *s)
{
    if (s->auth_message.data != NULL)
        explicit_bzero(s->auth_message.data, s->auth_message.cap);
    buf_clear(&s->auth_message);
}

static void ask_auth(struct smtp_server *s, bool is_start, bool has_message)
{
    smtp_ask_set(s, SMTP_ASK_AUTH);
    s->ask.auth_mechanism = s->mechanism;
    s->ask.is_auth_start = is_start;
    s->ask.has_message = has_message;
    s->ask.message = buf_slice(&s->auth_message);
    s->stage = STAGE_AUTH;
}

/* False: refused. */
static bool take_message(struct smtp_server *s, struct slice text)
{
    wipe_message(s);
    if (base64_decode(text, &s->auth_message) == RC_OK)
        return true;
    wipe_message(s);
    s->stage = STAGE_COMMAND;
    smtp_refuse(s, 501, ESC(5, 5, 2), "that is not base64");
    return false;
}

static bool may_begin(struct smtp_server *s)
{
    if (s->options->face != SMTP_SUBMISSION)
        smtp_refuse(s, 502, ESC(5, 5, 1), "AUTH is not offered here");
    else if (!s->is_extended)
        smtp_refuse(s, 503, ESC(5, 5, 1), "EHLO first");
    else if (s->user[0] != '\0')
        smtp_refuse(s, 503, ESC(5, 5, 1), "already authenticated");
    else if (s->has_mail)
        smtp_refuse(s, 503, ESC(5, 5, 1), "not within a transaction");
    else if (!smtp_auth_is_offered(s))
        smtp_refuse(s, 538, ESC(5, 7, 11), "encryption required: STARTTLS first");
    else
        return true;
    return false;
}

void smtp_on_auth(struct smtp_server *s, struct slice arguments)
{
    if (!may_begin(s))
        return;
    bool has_initial = slice_find_byte(arguments, ' ') < arguments.len;
    struct slice initial = arguments, name = slice_take_until(&initial, ' ');
    s->mechanism = sasl_mechanism_find(name);
    if (!offers_mechanism(s, s->mechanism)) {
        smtp_refuse(s, 504, ESC(5, 5, 4), "unknown mechanism");
        return;
    }
    wipe_message(s);
    if (has_initial && !slice_equal(initial, SLICE("=")) && !take_message(s, initial))     /* "=": empty, RFC 4954 4 */
        return;
    ask_auth(s, true, has_initial);
}

bool smtp_stage_auth(struct smtp_server *s, struct slice *in)
{
    struct slice line;
    enum line_kind kind = line_read(&s->lines, in, &line);
    if (kind == LINE_NONE)
        return false;
    if (kind == LINE_TOO_LONG) {
        s->stage = STAGE_COMMAND;
        smtp_refuse(s, 500, ESC(5, 5, 6), "line too long");             /* RFC 4954 4 */
    } else if (slice_equal(line, SLICE("*"))) {
        s->stage = STAGE_COMMAND;
        smtp_refuse(s, 501, ESC(5, 7, 0), "authentication cancelled");
    } else if (take_message(s, line)) {
        ask_auth(s, false, true);
    }
    return true;
}

static void auth_failed(struct smtp_server *s, const struct fault *f)
{
    s->stage = STAGE_COMMAND;
    if (f != NULL && f->rc == RC_TEMP) {
        smtp_reply(s, 454, ESC(4, 7, 0), "authentication is not possible now");
        return;
    }
    if (f != NULL && f->esc == ESC(5, 5, 2))
        smtp_refuse(s, 501, ESC(5, 5, 2), "cannot make out that message");
    else
        smtp_refuse(s, 535, ESC(5, 7, 8), "authentication credentials invalid");
    if (++s->auth_failures >= SMTP_AUTH_FAILURES_MAX) {
        smtp_reply(s, 421, ESC(4, 7, 0), "too many failed authentications");
        smtp_close(s);
    }
}

static void auth_succeeded(struct smtp_server *s, struct slice user)
{
    s->stage = STAGE_COMMAND;
    if (user.len == 0 || !slice_to_str(user, s->user, sizeof s->user)) {
        s->user[0] = '\0';
        smtp_reply(s, 454, ESC(4, 7, 0), "authentication is not possible now");
        return;
    }
    smtp_reply(s, 235, ESC(2, 7, 0), "authenticated");
}

void smtp_server_answer_auth(struct smtp_server *s, enum sasl_state state, struct slice bytes, const struct fault *f)
{
    must(s->ask.kind == SMTP_ASK_AUTH && state != SASL_LOOKUP);
    smtp_ask_set(s, SMTP_ASK_NONE);
    wipe_message(s);
    if (state == SASL_CHALLENGE && bytes.len <= SMTP_CHALLENGE_MAX) {
        buf_append_str(&s->output, "334 ");
        base64_encode(bytes, &s->output);
        buf_append_str(&s->output, "\r\n");
    } else if (state == SASL_OK) {
        auth_succeeded(s, bytes);
    } else {
        auth_failed(s, f);
    }
}
