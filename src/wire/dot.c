/* End-of-data decoding and encoding: see dot.h.
 *
 * Every byte of every message passes here once on its way in, so text is walked a line at a time with memchr and
 * handed on in the longest pieces there are: a piece ends only at a dot that starts a line and at the end of the
 * input. A CR is part of the text in any case (the line's end or a bare one) and is never held back; what is held
 * back is a dot at the start of a line, and the CR behind it, until it is known whether they end the message. */
#include "wire/dot.h"

enum { AT_LINE_START, IN_TEXT, AFTER_CR, AFTER_DOT, AFTER_DOT_CR, AT_END };

void dot_reader_init(struct dot_reader *r)
{
    *r = (struct dot_reader){ .state = AT_LINE_START };
}

static bool has_8bit(const char *at, const char *end)
{
    uint64_t seen = 0;

    for (; end - at >= 32; at += 32) {
        uint64_t word[4];
        memcpy(word, at, sizeof word);
        seen |= word[0] | word[1] | word[2] | word[3];
    }
    for (; at < end; at++)
        seen |= (unsigned char)*at;
    return (seen & 0x8080808080808080u) != 0;
}

static void count_line(struct dot_reader *r, size_t bytes)
{
    r->line_bytes += bytes;
    if (r->line_bytes > r->longest_line_bytes)
        r->longest_line_bytes = r->line_bytes;
}

/* What is known when the byte behind a CR in the text is there. */
static const char *after_cr(struct dot_reader *r, const char *at)
{
    if (*at == '\n') {
        r->state = AT_LINE_START;
        r->line_bytes = 0;
        return at + 1;
    }
    r->state = IN_TEXT;
    r->has_bare_cr = true;
    count_line(r, 1);
    return at;
}

/* Walks text up to a dot that starts a line, or to the end. */
static const char *walk_text(struct dot_reader *r, const char *at, const char *end)
{
    while (at < end) {
        if (r->state == AFTER_CR) {
            at = after_cr(r, at);
            continue;
        }
        if (r->state == AT_LINE_START) {
            if (*at == '.')
                break;
            r->state = IN_TEXT;
        }
        const char *cr = memchr(at, '\r', (size_t)(end - at));
        const char *stop = cr == NULL ? end : cr;
        if (!r->has_bare_lf && memchr(at, '\n', (size_t)(stop - at)) != NULL)
            r->has_bare_lf = true;
        count_line(r, (size_t)(stop - at));
        at = stop;
        if (cr != NULL) {
            at++;
            r->state = AFTER_CR;
        }
    }
    return at;
}

/* A dot at the start of a line: nothing, or the end, or transparency. RC_NONE: go on with text at *at. */
static enum rc read_dot(struct dot_reader *r, const char **at, const char *end, struct slice *body)
{
    if (r->state == AT_LINE_START && *at < end && **at == '.') {
        ++*at;
        r->state = AFTER_DOT;
    }
    if (r->state == AFTER_DOT && *at < end) {
        r->state = **at == '\r' ? AFTER_DOT_CR : IN_TEXT;
        *at += r->state == AFTER_DOT_CR;
    }
    if (r->state != AFTER_DOT_CR)
        return r->state == AFTER_DOT ? RC_MORE : RC_NONE;
    if (*at == end)
        return RC_MORE;
    if (**at == '\n') {
        ++*at;
        r->state = AT_END;
        return RC_OK;
    }
    /* The CR behind the dot was a bare one; it may have been in an earlier chunk, so it is given from here. */
    r->state = IN_TEXT;
    r->has_bare_cr = true;
    r->body_bytes++;
    count_line(r, 1);
    *body = SLICE("\r");
    return RC_MORE;
}

enum rc dot_read(struct dot_reader *r, struct slice *in, struct slice *body)
{
    *body = (struct slice){ in->ptr, 0 };
    must(r->state != AT_END);
    if (in->len == 0)
        return RC_MORE;
    const char *at = in->ptr, *end = in->ptr + in->len;
    enum rc rc = read_dot(r, &at, end, body);
    if (rc == RC_NONE) {
        const char *from = at;
        at = walk_text(r, at, end);
        *body = (struct slice){ from, (size_t)(at - from) };
        r->body_bytes += body->len;
        if (!r->has_nul && body->len > 0 && memchr(from, '\0', body->len) != NULL)
            r->has_nul = true;
        if (!r->has_8bit && has_8bit(from, at))
            r->has_8bit = true;
        rc = RC_MORE;
    }
    *in = (struct slice){ at, (size_t)(end - at) };
    return rc;
}

/* Encoding. A text that holds bare CR or LF must not go out with them: a receiver that takes either for a line
 * end would see other lines, and perhaps another end, than one that does not (RFC 5321 2.3.8). Each becomes CRLF;
 * CR CR LF, which is what a careless conversion makes of CRLF, becomes one CRLF. */
enum { OUT_LINE_START, OUT_TEXT, OUT_CR, OUT_CR_CR };
enum { STEP_ROOM = 6 };         /* most that one byte can become: CRLF CRLF of earlier CRs, a dot, itself */

void dot_writer_init(struct dot_writer *w)
{
    *w = (struct dot_writer){ .state = OUT_LINE_START };
}

/* Bytes at the front that go out as they are, ending behind a CRLF or inside a line. */
static size_t plain_span(struct dot_writer *w, struct slice in)
{
    size_t at = 0;

    while (at < in.len) {
        if (w->state == OUT_LINE_START && in.ptr[at] == '.')
            break;
        const char *from = in.ptr + at;
        const char *cr = memchr(from, '\r', in.len - at);
        size_t text = cr == NULL ? in.len - at : (size_t)(cr - from);
        const char *lf = memchr(from, '\n', text);
        if (lf != NULL)
            text = (size_t)(lf - from);
        at += text;
        if (text > 0)
            w->state = OUT_TEXT;
        if (lf != NULL || in.len - at < 2 || in.ptr[at + 1] != '\n')
            break;
        at += 2;
        w->state = OUT_LINE_START;
    }
    return at;
}

/* One byte of what plain_span leaves: a dot, a bare LF, a CR whose meaning is not known yet. */
static void write_byte(struct dot_writer *w, char byte, struct buf *out)
{
    if (w->keeps_bare_cr && w->state == OUT_CR && byte != '\n') {
        (void)buf_append_byte(out, '\r');
        w->state = OUT_TEXT;
    }
    if (byte == '\r' && w->state != OUT_CR && w->state != OUT_CR_CR) {
        w->state = OUT_CR;
    } else if (byte == '\r') {
        if (w->state == OUT_CR_CR)
            (void)buf_append_str(out, "\r\n");
        w->state = OUT_CR_CR;
    } else if (byte == '\n') {
        (void)buf_append_str(out, "\r\n");
        w->state = OUT_LINE_START;
    } else {
        if (w->state == OUT_CR || w->state == OUT_CR_CR) {
            (void)buf_append_str(out, w->state == OUT_CR ? "\r\n" : "\r\n\r\n");
            w->state = OUT_LINE_START;
        }
        if (w->state == OUT_LINE_START && byte == '.')
            (void)buf_append_byte(out, '.');
        (void)buf_append_byte(out, byte);
        w->state = OUT_TEXT;
    }
}

void dot_write(struct dot_writer *w, struct slice *in, struct buf *out)
{
    while (in->len > 0) {
        size_t room = out->max_bytes - buf_len(out);
        if (room <= STEP_ROOM)
            return;
        if (w->state == OUT_LINE_START || w->state == OUT_TEXT) {
            unsigned before = w->state;
            size_t span = plain_span(w, slice_sub(*in, 0, room - STEP_ROOM));
            if (!buf_append(out, slice_sub(*in, 0, span))) {    /* out of memory: the caller sees out->overflow */
                w->state = before;
                return;
            }
            (void)slice_take(in, span);
            if (span > 0)
                continue;
        }
        write_byte(w, in->ptr[0], out);
        (void)slice_take(in, 1);
    }
}

bool dot_write_end(struct dot_writer *w, struct buf *out)
{
    static const char *const ends[] = {
        [OUT_LINE_START] = ".\r\n",
        [OUT_TEXT] = "\r\n.\r\n",
        [OUT_CR] = "\r\n.\r\n",
        [OUT_CR_CR] = "\r\n\r\n.\r\n",
    };
    if (w->keeps_bare_cr && w->state == OUT_CR)
        (void)buf_append_byte(out, '\r');
    return buf_append_str(out, ends[w->state]);
}
