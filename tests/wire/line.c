/* The line reader: what a line is, and that chunking never matters. */
#include "wire/line.h"

#include "base/buf.h"
#include "check.h"

enum { MAX = 8 };

/* What a reader says of an input, as text: "[line]" whole, "{line}" bare, "!" too long, and what is left over. */
static void read_all(struct line_reader *r, struct buf *pending, struct buf *said)
{
    for (;;) {
        struct slice in = buf_slice(pending), line;
        size_t before = in.len;
        enum line_kind kind = line_read(r, &in, &line);
        if (kind == LINE_WHOLE || kind == LINE_BARE) {
            buf_append_byte(said, kind == LINE_WHOLE ? '[' : '{');
            buf_append(said, line);
            buf_append_byte(said, kind == LINE_WHOLE ? ']' : '}');
        } else if (kind == LINE_TOO_LONG) {
            buf_append_byte(said, '!');
        }
        buf_consume(pending, before - in.len);
        if (kind == LINE_NONE)
            return;
    }
}

static void feed(struct line_reader *r, struct buf *pending, struct buf *said, struct slice piece)
{
    buf_append(pending, piece);
    read_all(r, pending, said);
}

static const struct {
    const char *sentence;
    struct slice input, said;
} cases[] = {
    { "a line ends with CRLF", SLICE_INIT("ab\r\ncd\r\n"), SLICE_INIT("[ab][cd]") },
    { "an empty line is a line", SLICE_INIT("\r\n\r\n"), SLICE_INIT("[][]") },
    { "an unfinished line is nothing yet", SLICE_INIT("ab\r\ncd"), SLICE_INIT("[ab]") },
    { "a CR at the end is nothing yet", SLICE_INIT("ab\r"), SLICE_INIT("") },
    { "a bare LF does not end a line", SLICE_INIT("a\nb\r\n"), SLICE_INIT("{a\nb}") },
    { "a bare CR does not end a line", SLICE_INIT("a\rb\r\n"), SLICE_INIT("{a\rb}") },
    { "CR CR LF is a bare CR and a line end", SLICE_INIT("a\r\r\n"), SLICE_INIT("{a\r}") },
    { "a leading LF is a bare LF", SLICE_INIT("\n\r\n"), SLICE_INIT("{\n}") },
    { "a NUL makes a line bare", SLICE_INIT("a\0b\r\n"), SLICE_INIT("{a\0b}") },
    { "the longest line fits", SLICE_INIT("12345678\r\n"), SLICE_INIT("[12345678]") },
    { "one byte more does not", SLICE_INIT("123456789\r\nok\r\n"), SLICE_INIT("![ok]") },
    { "a long line is reported once", SLICE_INIT("1234567890123456789012345678901234567890\r\nok\r\n"), SLICE_INIT("![ok]") },
    { "a long line with bare LF is one line", SLICE_INIT("1234567890\n1234567890\n1234567890\r\nok\r\n"), SLICE_INIT("![ok]") },
    { "a long line with bare CR is one line", SLICE_INIT("1234567890\r1234567890\r\r\nok\r\n"), SLICE_INIT("![ok]") },
    { "a bare CR as the ninth byte makes it too long", SLICE_INIT("12345678\r\r\nok\r\n"), SLICE_INIT("![ok]") },
    { "an LF first in a long line does not end it", SLICE_INIT("\n234567890\r\nok\r\n"), SLICE_INIT("![ok]") },
    { "two long lines are two", SLICE_INIT("1234567890\r\n1234567890\r\n"), SLICE_INIT("!!") },
};

static void check_chunked(struct slice input, struct slice want, size_t first, size_t step)
{
    struct line_reader r;
    struct buf pending, said;

    line_reader_init(&r, MAX);
    buf_init(&pending, 4096);
    buf_init(&said, 4096);
    feed(&r, &pending, &said, slice_take(&input, first));
    while (input.len > 0)
        feed(&r, &pending, &said, slice_take(&input, step));
    CHECK_SLICE(buf_slice(&said), want);
    buf_free(&pending);
    buf_free(&said);
}

int main(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        check_chunked(cases[i].input, cases[i].said, cases[i].input.len, 1);
        check_chunked(cases[i].input, cases[i].said, 1, 1);
        check_chunked(cases[i].input, cases[i].said, 1, 3);
        for (size_t at = 0; at <= cases[i].input.len; at++)
            check_chunked(cases[i].input, cases[i].said, at, cases[i].input.len);
    }
    return check_done();
}
