/* The one line reader: see line.h. Only CRLF ends a line (RFC 5321 2.3.8, RFC 3501 2.2). */
#include "wire/line.h"

void line_reader_init(struct line_reader *r, size_t max_bytes)
{
    *r = (struct line_reader){ .max_bytes = max_bytes };
}

/* Where the first CRLF stands, or s.len when there is none. */
static size_t find_crlf(struct slice s)
{
    size_t at = 0;

    while (at < s.len) {
        const char *lf = memchr(s.ptr + at, '\n', s.len - at);
        if (lf == NULL)
            return s.len;
        size_t place = (size_t)(lf - s.ptr);
        if (place > 0 && s.ptr[place - 1] == '\r')
            return place - 1;
        at = place + 1;
    }
    return s.len;
}

/* Drops input up to and including the CRLF that ends an overlong line. */
static enum line_kind skip(struct line_reader *r, struct slice *in)
{
    if (in->len == 0)
        return LINE_NONE;
    size_t drop = in->len;
    bool ended = true;
    if (r->last_was_cr && in->ptr[0] == '\n') {
        drop = 1;
    } else {
        size_t crlf = find_crlf(*in);
        ended = crlf < in->len;
        if (ended)
            drop = crlf + 2;
    }
    r->last_was_cr = in->ptr[drop - 1] == '\r';
    r->skipped += drop;
    r->is_skipping = !ended;
    (void)slice_take(in, drop);
    return ended ? LINE_TOO_LONG : LINE_NONE;
}

static enum line_kind start_skipping(struct line_reader *r, struct slice *in)
{
    r->is_skipping = true;
    r->last_was_cr = false;
    r->skipped = 0;
    return skip(r, in);
}

static bool has_byte(struct slice s, char byte)
{
    return s.len > 0 && memchr(s.ptr, byte, s.len) != NULL;
}

enum line_kind line_read(struct line_reader *r, struct slice *in, struct slice *line)
{
    *line = (struct slice){ in->ptr, 0 };
    if (r->is_skipping)
        return skip(r, in);
    /* A CRLF that stands later than this cannot end a line that fits. */
    bool is_all = in->len <= r->max_bytes || in->len - r->max_bytes < 2;
    struct slice window = { in->ptr, is_all ? in->len : r->max_bytes + 2 };
    size_t crlf = find_crlf(window);
    if (crlf == window.len)
        return is_all ? LINE_NONE : start_skipping(r, in);
    *line = slice_take(in, crlf);
    (void)slice_take(in, 2);
    bool is_bare = has_byte(*line, '\r') || has_byte(*line, '\n') || has_byte(*line, '\0');
    return is_bare ? LINE_BARE : LINE_WHOLE;
}
