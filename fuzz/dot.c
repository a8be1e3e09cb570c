/* End-of-data and lines: chunking never matters, an end is where CRLF.CRLF is, and what the writer makes reads back. */
#include "fuzz.h"

#include "wire/dot.h"
#include "wire/line.h"

/* Reads in pieces of `step` bytes; gives the bytes consumed. */
static size_t read_dots(struct slice in, size_t step, struct dot_reader *r, struct buf *body, bool *has_ended)
{
    size_t left = in.len;

    dot_reader_init(r);
    *has_ended = false;
    while (in.len > 0 && !*has_ended) {
        struct slice piece = slice_take(&in, step);
        while (piece.len > 0 && !*has_ended) {
            struct slice text;
            *has_ended = dot_read(r, &piece, &text) == RC_OK;
            must(buf_append(body, text));
        }
        left = in.len + piece.len;
    }
    return left;
}

static size_t plain_end(struct slice in)
{
    size_t at = slice_find(in, SLICE("\r\n.\r\n"));

    if (in.len >= 3 && memcmp(in.ptr, ".\r\n", 3) == 0)
        return 3;
    return at == in.len ? SIZE_MAX : at + 5;
}

static void check_reader(struct slice in, size_t step)
{
    struct dot_reader whole, split;
    struct buf body, other;
    bool has_ended, other_has_ended;

    buf_init(&body, in.len + 1);
    buf_init(&other, in.len + 1);
    size_t left = read_dots(in, in.len + 1, &whole, &body, &has_ended);
    must(has_ended == (plain_end(in) != SIZE_MAX) && (!has_ended || in.len - left == plain_end(in)));
    must(read_dots(in, step, &split, &other, &other_has_ended) == left && has_ended == other_has_ended);
    must(slice_equal(buf_slice(&body), buf_slice(&other)) && whole.body_bytes == buf_len(&body));
    must(whole.has_bare_cr == split.has_bare_cr && whole.has_bare_lf == split.has_bare_lf);
    must(whole.has_nul == split.has_nul && whole.has_8bit == split.has_8bit);
    must(whole.longest_line_bytes == split.longest_line_bytes);
    buf_free(&body);
    buf_free(&other);
}

static void check_writer(struct slice in, bool keeps_bare_cr, size_t step)
{
    struct dot_writer w;
    struct dot_reader r;
    struct buf out, all, body;
    struct slice rest = in;
    bool has_ended;

    dot_writer_init(&w);
    w.keeps_bare_cr = keeps_bare_cr;
    buf_init(&out, 32);
    buf_init(&all, in.len * 3 + 64);
    buf_init(&body, in.len * 3 + 64);
    while (rest.len > 0) {
        struct slice piece = slice_take(&rest, step);
        while (piece.len > 0) {
            dot_write(&w, &piece, &out);
            must(!out.overflow && buf_append(&all, buf_slice(&out)));
            buf_clear(&out);
        }
    }
    must(dot_write_end(&w, &out) && buf_append(&all, buf_slice(&out)));
    must(read_dots(buf_slice(&all), 4096, &r, &body, &has_ended) == 0 && has_ended);
    must((keeps_bare_cr || !r.has_bare_cr) && !r.has_bare_lf);
    buf_free(&out);
    buf_free(&all);
    buf_free(&body);
}

static void read_lines(struct slice in, size_t step, struct buf *said)
{
    struct line_reader r;
    size_t start = 0, end = 0;

    line_reader_init(&r, 64);
    do {
        end = end + step > in.len ? in.len : end + step;
        for (;;) {
            struct slice rest = slice_sub(in, start, end - start), line;
            enum line_kind kind = line_read(&r, &rest, &line);
            start = end - rest.len;
            if (kind == LINE_NONE)
                break;
            must(line.len <= 64);
            must(buf_append_byte(said, (char)('0' + kind)) && buf_append(said, line));
        }
    } while (end < in.len);
}

static void check_lines(struct slice in, size_t step)
{
    struct buf whole, split;

    buf_init(&whole, in.len * 2 + 64);
    buf_init(&split, in.len * 2 + 64);
    read_lines(in, in.len + 1, &whole);
    read_lines(in, step, &split);
    must(slice_equal(buf_slice(&whole), buf_slice(&split)));
    buf_free(&whole);
    buf_free(&split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = { (const char *)data, size };
    size_t step = size > 0 ? 1 + (unsigned char)slice_take(&in, 1).ptr[0] % 16u : 1;

    check_reader(in, step);
    check_writer(in, false, step);
    check_writer(in, true, step);
    check_lines(in, step);
    return 0;
}
