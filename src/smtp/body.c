/* DATA (RFC 5321 4.1.1.4) and BDAT (RFC 3030): the body's way from the connection to the questions.
 *
 * The header section passes the filter a window at a time and is collected behind the trace fields, so that a small
 * message is one question or two; the body behind it is handed over where it lies in the input. Once something is
 * found that refuses the message, the asker is told at once (SMTP_ASK_ABANDON), the rest is read to its true end and
 * dropped, and the refusal is what the client gets then. */
#include "smtp/session.h"

#include "mail/received.h"

enum {
    WINDOW_BYTES = 8192,            /* of input per turn while in the header */
    HEAD_HAND_OVER_BYTES = 8192,    /* collected header fields go out at this size */
    HEAD_MAX = 64 * 1024,           /* those, one window more, trace fields and fixes */
    DROP_FACTOR = 2,                /* past so many times the size limit we hang up instead of reading on */
};

void smtp_incoming_clear(struct smtp_server *s)
{
    if (s->in.has_begun) {
        header_filter_free(&s->in.filter);
        buf_free(&s->in.head);
    }
    s->in = (struct smtp_incoming){ 0 };
}

/* RFC 5321 4.4. With one recipient it may be named; with more that would tell one of another. */
static void write_trace(struct smtp_server *s)
{
    struct smtp_incoming *in = &s->in;
    bool has_auth = s->user[0] != '\0';
    const struct peer *peer = s->peer;
    struct received received = {
        .helo = slice_from_str(s->helo),
        .peer_address = slice_from_str(peer->address),
        .by = s->options->host_name,
        .with = slice_from_str(received_protocol(s->options->face == SMTP_LMTP, s->is_extended, s->mail.is_utf8,
                                                 peer->has_tls, has_auth)),
        .id = slice_from_str(s->id),
        .for_path = s->rcpt_count == 1 ? &s->first_rcpt : NULL,
        .tls_version = slice_from_str(peer->has_tls ? peer->tls_version : ""),
        .tls_cipher = slice_from_str(peer->has_tls ? peer->tls_cipher : ""),
        .date = s->now,
    };
    return_path_write(&s->mail.reverse_path, &in->head);
    in->trace_bytes = (uint32_t)buf_len(&in->head);
    received_write(&received, &in->head);
}

static void begin_body(struct smtp_server *s)
{
    struct smtp_incoming *in = &s->in;
    *in = (struct smtp_incoming){ .has_begun = true, .is_in_header = true };
    dot_reader_init(&in->dot);
    header_filter_init(&in->filter, s->options->face == SMTP_SUBMISSION);
    buf_init(&in->head, HEAD_MAX);
    write_trace(s);
}

static void refuse_body(struct smtp_server *s, unsigned reason, int code, const struct fault *f)
{
    struct smtp_incoming *in = &s->in;
    if (reason <= in->refused)
        return;
    in->refused = reason;
    in->refusal = *f;
    in->refusal_code = code;
    if (!s->is_abandoned)
        smtp_ask_set(s, SMTP_ASK_ABANDON);
    s->is_abandoned = true;
}


static void hand_over(struct smtp_server *s, struct slice piece)
{
    struct smtp_incoming *in = &s->in;
    smtp_ask_set(s, SMTP_ASK_BODY);
    s->ask.body = piece;
    s->ask.mail = &s->mail;
    if (!in->has_handed_over)
        s->ask.trace_bytes = in->trace_bytes;
    in->has_handed_over = true;
    in->bytes += piece.len;
}

static void check_head(struct smtp_server *s)
{
    struct fault f;
    if (s->in.filter.received_count > RECEIVED_MAX) {       /* RFC 5321 6.3 */
        fault_perm(&f, ESC(5, 4, 6), "more than %d hops: this message is in a loop", (int)RECEIVED_MAX);
        refuse_body(s, REFUSED_LOOP, 554, &f);
    }
    if (s->in.head.overflow) {
        fault_no_memory(&f);
        refuse_body(s, REFUSED_BY_ANSWER, 451, &f);
    }
}

static void end_header(struct smtp_server *s)
{
    struct smtp_incoming *in = &s->in;
    header_filter_end(&in->filter, s->now, slice_from_str(s->id), s->options->host_name, &in->head);
    in->is_in_header = false;
}

static void take_header(struct smtp_server *s, struct slice piece)
{
    struct smtp_incoming *in = &s->in;
    if (header_filter_feed(&in->filter, &piece, &in->head) == RC_OK) {
        end_header(s);
        buf_append(&in->head, piece);
    }
    check_head(s);
    if (in->refused == REFUSED_NOT && (!in->is_in_header || buf_len(&in->head) >= HEAD_HAND_OVER_BYTES))
        hand_over(s, buf_slice(&in->head));
}

static bool has_bare_eol(const struct smtp_incoming *in)
{
    return in->dot.has_bare_cr || in->dot.has_bare_lf || in->scan.has_bare_eol;
}

static void check_text(struct smtp_server *s)
{
    struct fault f;
    if (s->options->size_max > 0 && s->in.text_bytes > s->options->size_max) {
        fault_perm(&f, ESC(5, 3, 4), "message larger than %llu bytes", (unsigned long long)s->options->size_max);
        refuse_body(s, REFUSED_SIZE, 552, &f);
    }
    if (s->mail.body != SMTP_BODY_BINARYMIME && has_bare_eol(&s->in)) {
        fault_perm(&f, ESC(5, 6, 11), "bare CR or LF in the text");         /* RFC 5321 2.3.8 */
        refuse_body(s, REFUSED_BARE_EOL, 550, &f);
    }
}

static void take_text(struct smtp_server *s, struct slice piece)
{
    struct smtp_incoming *in = &s->in;
    in->text_bytes += piece.len;
    check_text(s);
    in->is_flooded = s->options->size_max > 0 && in->text_bytes / DROP_FACTOR > s->options->size_max;
    if (in->refused == REFUSED_NOT && piece.len > 0) {
        if (in->is_in_header)
            take_header(s, piece);
        else
            hand_over(s, piece);
    }
}

/* The last byte is there: what is still held, then the decision. False: a question came of it. */
static bool finish_text(struct smtp_server *s)
{
    struct smtp_incoming *in = &s->in;
    if (in->refused != REFUSED_NOT)
        return true;
    if (in->is_in_header)
        end_header(s);
    check_head(s);
    if (in->refused == REFUSED_NOT && buf_len(&in->head) > 0)
        hand_over(s, buf_slice(&in->head));
    return s->ask.kind == SMTP_ASK_NONE;
}

static void ask_commit(struct smtp_server *s)
{
    struct smtp_incoming *in = &s->in;
    smtp_ask_set(s, SMTP_ASK_COMMIT);
    s->ask.mail = &s->mail;
    s->ask.body_bytes = in->bytes;
    s->ask.has_8bit = in->dot.has_8bit || in->scan.has_8bit;
    s->ask.has_long_line = in->dot.longest_line_bytes > 998 || in->scan.longest_line_bytes > 998;   /* RFC 5322 2.1.1 */
    s->ask.has_bare_eol = has_bare_eol(in) || in->scan.has_nul;
    s->ask.lacks_final_eol = in->is_chunked && !in->scan.last_was_crlf;
    s->ask.has_utf8_header = in->filter.has_8bit;
    s->ask.header_from = in->filter.from.overflow ? SLICE_NONE : buf_slice(&in->filter.from);
    s->ask.header_from_count = in->filter.from_count;
}

/* LMTP has a reply for every recipient taken (RFC 2033 4.2), SMTP one for all. */
static unsigned reply_count(const struct smtp_server *s)
{
    return s->options->face == SMTP_LMTP ? s->rcpt_count : 1;
}

static void reply_refused(struct smtp_server *s, unsigned count)
{
    const struct fault *f = &s->in.refusal;
    for (unsigned i = 0; i < count; i++)
        smtp_reply_coded(s, s->in.refusal_code, f->rc, f);
}

void smtp_body_answered(struct smtp_server *s, enum rc rc, const struct fault *f)
{
    buf_clear(&s->in.head);
    if (rc == RC_OK)
        return;
    struct fault refusal = { .esc = 0 };
    if (f != NULL)
        refusal = *f;
    refusal.rc = rc == RC_TEMP ? RC_TEMP : RC_PERM;
    refuse_body(s, REFUSED_BY_ANSWER, smtp_code_of(refusal.rc, refusal.esc, 554), &refusal);
}

static void end_transaction(struct smtp_server *s)
{
    smtp_transaction_clear(s);
    s->stage = STAGE_COMMAND;
}

static void reply_outcome(struct smtp_server *s, enum rc rc, const struct fault *f)
{
    if (rc == RC_OK)
        smtp_reply(s, 250, ESC(2, 0, 0), "accepted as %s", s->id);
    else
        smtp_reply_fault(s, rc, f, 554);
}

void smtp_commit_answered(struct smtp_server *s, enum rc rc, const struct fault *f)
{
    for (unsigned i = reply_count(s); i > 0; i--)
        reply_outcome(s, rc, f);
    if (rc == RC_OK)
        s->errors = 0;
    end_transaction(s);
}

void smtp_server_answer_recipients(struct smtp_server *s, const struct fault *outcomes, size_t count)
{
    must(s->ask.kind == SMTP_ASK_COMMIT && s->options->face == SMTP_LMTP && count == s->rcpt_count);
    smtp_ask_set(s, SMTP_ASK_NONE);
    for (size_t i = 0; i < count; i++)
        reply_outcome(s, outcomes[i].rc, &outcomes[i]);
    s->errors = 0;
    end_transaction(s);
}

/* Everything has been read: what is held goes out, then the question or the refusal. */
static bool finish(struct smtp_server *s)
{
    if (!finish_text(s))
        return true;
    if (s->in.refused != REFUSED_NOT) {
        reply_refused(s, reply_count(s));
        end_transaction(s);
    } else {
        ask_commit(s);
    }
    return true;
}

/* Someone who goes on sending far past the limit is not read to the end. */
static bool hang_up(struct smtp_server *s)
{
    reply_refused(s, 1);
    smtp_close(s);
    return true;
}

/* False: refused. */
static bool may_have_body(struct smtp_server *s, int *code, const char **why)
{
    *code = 503;
    *why = NULL;
    if (s->helo[0] == '\0' || !s->has_mail) {
        *why = "MAIL first";
    } else if (s->rcpt_count == 0) {
        *code = s->options->face == SMTP_LMTP ? 503 : 554;      /* RFC 2033 4.2; RFC 5321 3.3 */
        *why = "no valid recipients";
    }
    return *why == NULL;
}

/* ---- DATA ---- */

void smtp_on_data(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    int code;
    const char *why;
    if (!may_have_body(s, &code, &why)) {
        smtp_refuse(s, code, ESC(5, 5, 1), "%s", why);
    } else if (s->in.has_begun) {
        smtp_refuse(s, 503, ESC(5, 5, 1), "BDAT has begun");            /* RFC 3030 2 */
    } else if (s->mail.body == SMTP_BODY_BINARYMIME) {
        smtp_refuse(s, 503, ESC(5, 5, 1), "BINARYMIME needs BDAT");     /* RFC 3030 3 */
    } else {
        begin_body(s);
        smtp_reply(s, 354, 0, "end with <CRLF>.<CRLF>");
        s->stage = STAGE_DATA;
    }
}

bool smtp_stage_data(struct smtp_server *s, struct slice *in)
{
    struct smtp_incoming *body = &s->in;
    if (body->is_flooded)
        return hang_up(s);
    if (body->is_at_end)
        return finish(s);
    if (in->len == 0)
        return false;
    struct slice window = slice_sub(*in, 0, body->is_in_header ? WINDOW_BYTES : in->len);
    struct slice rest = window, piece;
    body->is_at_end = dot_read(&body->dot, &rest, &piece) == RC_OK;
    slice_take(in, window.len - rest.len);
    take_text(s, piece);
    return true;
}

/* ---- BDAT ---- */

/* Without the size nobody can tell where the next command begins, so the connection ends there. */
static bool parse_bdat(struct slice arguments, uint64_t *size, bool *is_last)
{
    bool has_size = slice_take_number(&arguments, INT64_MAX, size);
    *is_last = slice_equal_nocase(arguments, SLICE(" LAST"));
    return has_size && (*is_last || arguments.len == 0);
}

void smtp_on_bdat(struct smtp_server *s, struct slice arguments)
{
    uint64_t size;
    bool is_last;
    if (!parse_bdat(arguments, &size, &is_last)) {
        smtp_reply(s, 501, ESC(5, 5, 4), "syntax: BDAT size [LAST]");
        smtp_close(s);
        return;
    }
    if (s->options->size_max > 0 && size / DROP_FACTOR > s->options->size_max) {
        smtp_reply(s, 552, ESC(5, 3, 4), "message larger than %llu bytes", (unsigned long long)s->options->size_max);
        smtp_close(s);
        return;
    }
    s->chunk_bytes = s->chunk_left = size;
    s->stage = STAGE_CHUNK;
    if (!may_have_body(s, &s->chunk_code, &s->chunk_refusal))
        return;
    if (!s->in.has_begun)
        begin_body(s);
    s->in.is_chunked = true;
    s->in.is_last_chunk = is_last;
}

static bool end_chunk(struct smtp_server *s)
{
    struct smtp_incoming *body = &s->in;
    if (s->chunk_refusal != NULL) {
        smtp_refuse(s, s->chunk_code, ESC(5, 5, 1), "%s", s->chunk_refusal);
        s->stage = STAGE_COMMAND;
    } else if (body->is_last_chunk && !body->is_at_end) {
        body->is_at_end = true;
        text_scan_end(&body->scan);
        check_text(s);
    } else if (body->is_last_chunk) {
        return finish(s);
    } else if (body->refused != REFUSED_NOT) {
        reply_refused(s, 1);
        end_transaction(s);
    } else {
        smtp_reply(s, 250, ESC(2, 0, 0), "%llu bytes taken", (unsigned long long)s->chunk_bytes);
        s->stage = STAGE_COMMAND;
    }
    return true;
}

bool smtp_stage_chunk(struct smtp_server *s, struct slice *in)
{
    struct smtp_incoming *body = &s->in;
    if (body->is_flooded)
        return hang_up(s);
    if (s->chunk_left == 0)
        return end_chunk(s);
    if (in->len == 0)
        return false;
    size_t most = body->is_in_header && in->len > WINDOW_BYTES ? WINDOW_BYTES : in->len;
    struct slice piece = slice_take(in, s->chunk_left < most ? (size_t)s->chunk_left : most);
    s->chunk_left -= piece.len;
    if (s->chunk_refusal == NULL) {
        text_scan_feed(&body->scan, piece);
        take_text(s, piece);
    }
    return true;
}
