/* The sending side of SMTP: one message (RFC 5321 3.3), pipelined where the server allows (RFC 2920).
 *
 * The commands of an envelope are numbered: 0 is MAIL, 1 to n are the recipients, n + 1 is DATA. Replies come in that
 * order, so two counters tell everything. With BDAT the recipients' replies are awaited before any chunk. */
#include "smtp/client_session.h"

#include "base/text.h"

static struct smtp_outcome own(enum rc rc, uint32_t esc, const char *text)
{
    return client_outcome_own(rc, esc, text);
}

static void finish(struct smtp_client *c)
{
    c->stage = CLIENT_DONE;
    c->ask = SMTP_CLIENT_ASK_DONE;
}

static void senseless(struct smtp_client *c)
{
    client_fail(c, own(RC_TEMP, ESC(4, 5, 0), "the server's replies make no sense"));
}

static void decide(struct smtp_client *c, size_t i, struct smtp_outcome outcome)
{
    c->outcomes[i] = outcome;
    c->rcpts[i].is_decided = true;
}

void client_decide_open(struct smtp_client *c, struct smtp_outcome outcome)
{
    for (size_t i = 0; c->outcomes != NULL && i < c->message->rcpt_count; i++)
        if (!c->rcpts[i].is_decided)
            decide(c, i, outcome);
}

/* ---- what the server has to be able to do ---- */

static bool has(const struct smtp_client *c, const char *keyword)
{
    return smtp_client_has_extension(c, slice_from_str(keyword));
}

static uint64_t announced_size(const struct smtp_client *c)
{
    struct slice text = SLICE_NONE;
    uint64_t size = 0;
    if (client_find_extension(c, SLICE("SIZE"), &text))
        slice_take_number(&text, UINT64_MAX, &size);
    return size;
}

static bool is_too_large(const struct smtp_client *c, const struct smtp_message *m)
{
    uint64_t max = announced_size(c);
    return max > 0 && m->size > max;                    /* RFC 1870 4: 0 is no limit */
}

static bool lacks_utf8(const struct smtp_client *c, const struct smtp_message *m) { return m->needs_utf8 && !has(c, "SMTPUTF8"); }

static bool lacks_binary(const struct smtp_client *c, const struct smtp_message *m)
{
    return m->has_bare_eol && !(has(c, "CHUNKING") && has(c, "BINARYMIME"));
}

static bool lacks_8bit(const struct smtp_client *c, const struct smtp_message *m)
{
    return m->has_8bit && !has(c, "8BITMIME") && !c->options.sends_8bit_anyway;
}

static const struct obstacle {
    bool (*is_there)(const struct smtp_client *, const struct smtp_message *);
    uint32_t esc;
    const char *text;
} obstacles[] = {
    { is_too_large, ESC(5, 3, 4), "the message is larger than the server takes" },
    { lacks_utf8,   ESC(5, 6, 7), "the message needs SMTPUTF8 and the server lacks it" },      /* RFC 6531 3.5 */
    { lacks_binary, ESC(5, 6, 3), "the message needs BINARYMIME and the server lacks it" },
    { lacks_8bit,   ESC(5, 6, 3), "the message needs 8BITMIME and the server lacks it" },      /* RFC 6152 3 */
};

/* Only the domain may be written another way: a local part is for its own server to read. */
static bool can_write(const struct smtp_client *c, const struct address *a)
{
    struct buf domain;
    struct fault f;
    if (!a->is_utf8 || has(c, "SMTPUTF8"))
        return true;
    buf_init(&domain, DOMAIN_MAX + 1);
    bool can = text_is_ascii(a->local_part) && domain_to_ascii(a->domain, &domain, &f) == RC_OK;
    buf_free(&domain);
    return can;
}

static void write_path(struct smtp_client *c, const struct address *a)
{
    struct buf domain;
    struct fault f;
    struct address written = *a;
    buf_init(&domain, DOMAIN_MAX + 1);
    if (a->is_utf8 && !has(c, "SMTPUTF8") && domain_to_ascii(a->domain, &domain, &f) == RC_OK) {
        written.domain = buf_slice(&domain);
        written.is_utf8 = false;
    }
    address_write_path(&written, &c->output);
    buf_free(&domain);
}

static void check_message(struct smtp_client *c)
{
    const struct smtp_message *m = c->message;
    for (size_t i = 0; i < sizeof obstacles / sizeof obstacles[0]; i++)
        if (obstacles[i].is_there(c, m))
            client_decide_open(c, own(RC_PERM, obstacles[i].esc, obstacles[i].text));
    if (!can_write(c, &m->mail.reverse_path))
        client_decide_open(c, own(RC_PERM, ESC(5, 6, 7), "the sender's address needs SMTPUTF8 and the server lacks it"));
    for (size_t i = 0; i < m->rcpt_count; i++) {
        if (!c->rcpts[i].is_decided && !can_write(c, &m->rcpts[i].forward_path))
            decide(c, i, own(RC_PERM, ESC(5, 6, 7), "the address needs SMTPUTF8 and the server lacks it"));
        c->rcpts[i].is_left_out = c->rcpts[i].is_decided;
    }
}

static bool is_anyone_left(const struct smtp_client *c)
{
    for (size_t i = 0; i < c->message->rcpt_count; i++)
        if (!c->rcpts[i].is_left_out)
            return true;
    return false;
}

/* ---- writing the commands ---- */

/* RFC 3461 4. */
static void write_xtext(struct buf *out, const char *name, struct slice text)
{
    buf_printf(out, " %s=", name);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if (byte > ' ' && byte < 0x7f && byte != '+' && byte != '=')
            buf_append_byte(out, (char)byte);
        else
            buf_printf(out, "+%02X", byte);
    }
}

static bool needs_smtputf8(const struct smtp_client *c)
{
    const struct smtp_message *m = c->message;
    bool needs = m->needs_utf8 || m->mail.reverse_path.is_utf8;
    for (size_t i = 0; i < m->rcpt_count && !needs; i++)
        needs = m->rcpts[i].forward_path.is_utf8;
    return needs && has(c, "SMTPUTF8");
}

static void send_mail(struct smtp_client *c)
{
    const struct smtp_message *m = c->message;
    struct buf *out = &c->output;
    buf_append_str(out, "MAIL FROM:");
    write_path(c, &m->mail.reverse_path);
    if (m->size > 0 && has(c, "SIZE"))
        buf_printf(out, " SIZE=%llu", (unsigned long long)m->size);
    if (m->has_bare_eol)
        buf_append_str(out, " BODY=BINARYMIME");
    else if (m->has_8bit && has(c, "8BITMIME"))
        buf_append_str(out, " BODY=8BITMIME");
    if (needs_smtputf8(c))
        buf_append_str(out, " SMTPUTF8");
    if (has(c, "DSN") && m->mail.ret != SMTP_RET_DEFAULT)
        buf_append_str(out, m->mail.ret == SMTP_RET_FULL ? " RET=FULL" : " RET=HDRS");
    if (has(c, "DSN") && m->mail.envid.len > 0)
        write_xtext(out, "ENVID", m->mail.envid);
    buf_append_str(out, "\r\n");
}

static void write_notify(struct buf *out, unsigned notify)
{
    static const struct { unsigned bit; const char *name; } bits[] = {
        { NOTIFY_NEVER, "NEVER" }, { NOTIFY_SUCCESS, "SUCCESS" }, { NOTIFY_FAILURE, "FAILURE" }, { NOTIFY_DELAY, "DELAY" },
    };
    const char *before = " NOTIFY=";
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
        if ((notify & bits[i].bit) != 0) {
            buf_printf(out, "%s%s", before, bits[i].name);
            before = ",";
        }
}

static void send_rcpt(struct smtp_client *c, const struct smtp_rcpt *rcpt)
{
    buf_append_str(&c->output, "RCPT TO:");
    write_path(c, &rcpt->forward_path);
    if (has(c, "DSN")) {
        write_notify(&c->output, rcpt->notify);
        if (rcpt->orcpt.len > 0)
            write_xtext(&c->output, "ORCPT", rcpt->orcpt);
    }
    buf_append_str(&c->output, "\r\n");
}

/* ---- the envelope ---- */

static size_t data_index(const struct smtp_client *c) { return c->message->rcpt_count + 1; }

/* The next command from that number on: recipients that are left out are none. */
static size_t skip_left_out(const struct smtp_client *c, size_t at)
{
    while (at >= 1 && at <= c->message->rcpt_count && c->rcpts[at - 1].is_left_out)
        at++;
    return at;
}

static size_t under_way(const struct smtp_client *c) { return c->sent - c->replied; }

static bool may_send(const struct smtp_client *c)
{
    size_t end = c->uses_bdat ? data_index(c) : data_index(c) + 1;
    if (c->sent >= end || c->has_mail_failed)
        return false;
    if (c->sent == data_index(c) && c->replied == c->sent && c->taken_count == 0)
        return false;
    return under_way(c) < (has(c, "PIPELINING") ? CLIENT_PIPELINE_MAX : 1);
}

bool client_pump_envelope(struct smtp_client *c)
{
    if (!may_send(c))
        return false;
    if (c->sent == 0)
        send_mail(c);
    else if (c->sent == data_index(c))
        buf_append_str(&c->output, "DATA\r\n");
    else
        send_rcpt(c, &c->message->rcpts[c->sent - 1]);
    c->sent = skip_left_out(c, c->sent + 1);
    return true;
}

static void on_mail(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (smtp_reply_rc(reply) == RC_OK)
        return;
    c->has_mail_failed = true;
    client_decide_open(c, client_outcome_of(&c->message_arena, reply));
}

static void on_rcpt(struct smtp_client *c, size_t i, const struct smtp_reply *reply)
{
    if (c->has_mail_failed)
        return;
    struct smtp_outcome outcome = client_outcome_of(&c->message_arena, reply);
    if (outcome.rc == RC_OK) {
        c->rcpts[i].is_taken = true;
        c->taken_count++;
        return;
    }
    if (reply->code == 552) {                           /* RFC 5321 4.5.3.1.10: too many recipients, in an old dialect */
        outcome.rc = RC_TEMP;
        outcome.esc = ESC(4, ESC_SUBJECT(reply->esc), ESC_DETAIL(reply->esc));
    }
    decide(c, i, outcome);
}

static void on_data(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (reply->code == 354 && c->taken_count > 0) {
        dot_writer_init(&c->dots);
        c->stage = CLIENT_TEXT;
        c->ask = SMTP_CLIENT_ASK_BODY;
    } else if (reply->code == 354) {                    /* RFC 2920 3.1: nobody is left to send it to, but it waits for it */
        buf_append_str(&c->output, ".\r\n");
        c->stage = CLIENT_LONE_DOT;
    } else if (smtp_reply_rc(reply) == RC_OK || smtp_reply_rc(reply) == RC_MORE) {
        senseless(c);
    } else {
        client_decide_open(c, client_outcome_of(&c->message_arena, reply));
        c->needs_rset = true;
        finish(c);
    }
}

/* All that was sent has been answered, and DATA was not. */
static void envelope_answered(struct smtp_client *c)
{
    if (c->has_mail_failed || (c->replied == data_index(c) && c->taken_count == 0)) {
        c->needs_rset = !c->has_mail_failed;
        finish(c);
    } else if (c->uses_bdat && c->replied == data_index(c)) {
        c->stage = CLIENT_CHUNK;
        c->ask = SMTP_CLIENT_ASK_BODY;
    }
}

void client_on_envelope(struct smtp_client *c, const struct smtp_reply *reply)
{
    size_t at = c->replied;
    bool is_of_data = at == data_index(c);
    if (under_way(c) == 0 || (smtp_reply_rc(reply) == RC_MORE && !is_of_data)) {
        senseless(c);
        return;
    }
    if (is_of_data) {
        on_data(c, reply);
        return;
    }
    if (at == 0)
        on_mail(c, reply);
    else
        on_rcpt(c, at - 1, reply);
    c->replied = skip_left_out(c, at + 1);
    if (under_way(c) == 0)
        envelope_answered(c);
}

void client_on_rset(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (smtp_reply_rc(reply) != RC_OK) {
        senseless(c);
        return;
    }
    c->needs_rset = false;
    c->stage = CLIENT_ENVELOPE;
}

/* ---- the body ---- */

bool client_pump_text(struct smtp_client *c)
{
    if (c->piece.len > 0)
        dot_write(&c->dots, &c->piece, &c->output);
    else
        c->ask = SMTP_CLIENT_ASK_BODY;
    return true;
}

bool client_pump_chunk(struct smtp_client *c)
{
    if (c->piece.len == 0)
        return false;
    buf_append(&c->output, slice_take(&c->piece, CLIENT_OUTPUT_MAX - buf_len(&c->output)));
    return true;
}

void smtp_client_body(struct smtp_client *c, struct slice piece)
{
    must(c->ask == SMTP_CLIENT_ASK_BODY);
    c->ask = SMTP_CLIENT_ASK_NONE;
    c->piece = piece;
    if (c->stage == CLIENT_CHUNK)
        buf_printf(&c->output, "BDAT %zu%s\r\n", piece.len, piece.len == 0 ? " LAST" : "");
    else if (piece.len == 0)
        dot_write_end(&c->dots, &c->output);
    if (piece.len == 0)
        c->stage = CLIENT_FINAL;
}

/* A server that refuses before it has everything: the rest is not worth sending, and only closing can say so. */
void client_on_early(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (smtp_reply_rc(reply) == RC_OK || smtp_reply_rc(reply) == RC_MORE) {
        senseless(c);
        return;
    }
    client_decide_open(c, client_outcome_of(&c->message_arena, reply));
    c->is_over = true;
    finish(c);
}

void client_on_chunk(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (smtp_reply_rc(reply) == RC_MORE) {
        senseless(c);
    } else if (smtp_reply_rc(reply) == RC_OK) {
        c->ask = SMTP_CLIENT_ASK_BODY;
    } else {
        client_decide_open(c, client_outcome_of(&c->message_arena, reply));
        c->needs_rset = true;
        finish(c);
    }
}

static size_t next_taken(const struct smtp_client *c, size_t at)
{
    while (at < c->message->rcpt_count && !c->rcpts[at].is_taken)
        at++;
    return at;
}

void client_on_final(struct smtp_client *c, const struct smtp_reply *reply)
{
    struct smtp_outcome outcome = client_outcome_of(&c->message_arena, reply);
    if (outcome.rc == RC_MORE) {
        senseless(c);
        return;
    }
    if (!c->options.is_lmtp) {
        client_decide_open(c, outcome);
        finish(c);
        return;
    }
    size_t at = next_taken(c, c->final_at);             /* RFC 2033 4.2: one reply for each that was taken */
    decide(c, at, outcome);
    c->final_at = next_taken(c, at + 1);
    if (c->final_at == c->message->rcpt_count)
        finish(c);
}

/* Whatever it says of a message without recipients. */
void client_on_lone_dot(struct smtp_client *c, const struct smtp_reply *reply)
{
    (void)reply;
    c->needs_rset = true;
    finish(c);
}

/* ---- from outside ---- */

static bool begin_outcomes(struct smtp_client *c, size_t count)
{
    arena_free(&c->message_arena);
    arena_init(&c->message_arena, 4096 + count * (sizeof(struct smtp_outcome) + sizeof(struct client_rcpt) + CLIENT_TEXT_MAX + 64));
    c->outcomes = ARENA_ARRAY(&c->message_arena, struct smtp_outcome, count);
    c->rcpts = ARENA_ARRAY(&c->message_arena, struct client_rcpt, count);
    if (c->outcomes == NULL || c->rcpts == NULL)
        c->outcomes = NULL;
    return c->outcomes != NULL;
}

void smtp_client_send(struct smtp_client *c, const struct smtp_message *message)
{
    must(c->ask == SMTP_CLIENT_ASK_MESSAGE && message->rcpt_count > 0);
    c->ask = SMTP_CLIENT_ASK_NONE;
    c->message = message;
    c->sent = c->replied = c->taken_count = c->final_at = 0;
    c->has_mail_failed = false;
    c->piece = SLICE_NONE;
    c->uses_bdat = has(c, "CHUNKING") && (message->has_bare_eol || message->lacks_final_eol);
    c->stage = CLIENT_ENVELOPE;
    if (!begin_outcomes(c, message->rcpt_count)) {
        client_fail(c, own(RC_TEMP, ESC(4, 3, 0), "out of memory"));
        return;
    }
    check_message(c);
    if (!is_anyone_left(c)) {
        finish(c);
    } else if (c->needs_rset) {
        buf_append_str(&c->output, "RSET\r\n");
        c->stage = CLIENT_RSET;
    }
}

const struct smtp_outcome *smtp_client_outcomes(const struct smtp_client *c, size_t *count)
{
    *count = c->outcomes != NULL && c->message != NULL ? c->message->rcpt_count : 0;
    return c->outcomes;
}

void smtp_client_next(struct smtp_client *c)
{
    must(c->ask == SMTP_CLIENT_ASK_DONE);
    c->message = NULL;
    c->outcomes = NULL;
    c->ask = SMTP_CLIENT_ASK_NONE;
    c->stage = CLIENT_CLOSED;
    if (!c->is_over)
        client_ready(c);
}
