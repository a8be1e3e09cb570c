/* Header sections: see header.h (RFC 5322 2.2). Reading; writing is in header_write.c, values with parameters are in
 * header_value.c. */
#include "mail/header.h"

#include "mail/encoded.h"

/* The front line of `in` with its line end; LF ends it, with or without CR before it. */
static struct slice take_line(struct slice *in)
{
    size_t lf = slice_find_byte(*in, '\n');
    return slice_take(in, lf < in->len ? lf + 1 : in->len);
}

/* CR CR LF, which a careless conversion makes of CRLF, is one line end too. */
static struct slice without_line_end(struct slice line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\n')
        line.len--;
    while (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool starts_with_blank(struct slice in)
{
    return in.len > 0 && byte_is_space((unsigned char)in.ptr[0]);
}

/* RFC 5322 3.6.8: printable but not the colon. */
static bool is_name_byte(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != ':';
}

enum rc header_next(struct slice *in, struct header_field *field)
{
    struct slice from = *in, line = take_line(in);

    *field = (struct header_field){ .whole = line };
    if (line.len == 0 || (without_line_end(line).len == 0 && line.ptr[line.len - 1] == '\n'))
        return RC_NONE;
    while (starts_with_blank(*in))
        (void)take_line(in);
    field->whole = slice_sub(from, 0, from.len - in->len);
    struct slice rest = field->whole;
    field->name = slice_take_while(&rest, is_name_byte);
    (void)slice_take_while(&rest, byte_is_space);           /* RFC 5322 4.5: white space before the colon */
    if (field->name.len == 0 || !slice_take_byte(&rest, ':')) {
        field->name = SLICE_NONE;
        return RC_PERM;
    }
    field->body = without_line_end(rest);
    return RC_OK;
}

enum rc header_find(struct slice header, struct slice name, struct header_field *field)
{
    enum rc rc;

    while ((rc = header_next(&header, field)) != RC_NONE) {
        if (rc == RC_OK && slice_equal_nocase(field->name, name))
            return RC_OK;
    }
    *field = (struct header_field){ .name = SLICE_NONE };
    return RC_NONE;
}

size_t header_end(struct slice message)
{
    struct slice in = message;

    while (in.len > 0) {
        if (without_line_end(take_line(&in)).len == 0)
            break;
    }
    return message.len - in.len;
}

static bool is_one_of(struct slice name, const struct slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal_nocase(name, names[i]))
            return true;
    }
    return false;
}

bool header_select(struct slice header, const struct slice *names, size_t count, bool is_not, struct buf *out)
{
    struct header_field field;
    enum rc rc;

    while ((rc = header_next(&header, &field)) != RC_NONE) {
        if (rc == RC_OK && is_one_of(field.name, names, count) != is_not)
            (void)buf_append(out, field.whole);
    }
    return !out->overflow;
}

static bool is_line_byte(unsigned char c)
{
    return c != '\r' && c != '\n';
}

bool header_unfold(struct slice body, struct buf *out)
{
    body = slice_trim(body);
    while (body.len > 0) {
        (void)buf_append(out, slice_take_while(&body, is_line_byte));
        (void)slice_take(&body, 1);
    }
    return !out->overflow;
}

bool header_decode(struct slice body, struct buf *out)
{
    struct buf plain;

    buf_init(&plain, body.len + 1);
    bool is_good = header_unfold(body, &plain) && encoded_word_decode(buf_slice(&plain), out);
    buf_free(&plain);
    return is_good;
}

void header_scan_init(struct header_scan *s)
{
    *s = (struct header_scan){ .is_line_empty = true };
}

size_t header_scan_feed(struct header_scan *s, struct slice piece)
{
    size_t at = 0;

    while (at < piece.len && !s->is_ended) {
        char c = piece.ptr[at++];
        if (c == '\n') {
            s->is_ended = s->is_line_empty;
            s->is_line_empty = true;
        } else if (c != '\r') {
            s->is_line_empty = false;
        }
    }
    s->bytes += at;
    return at;
}
