/* End-of-data: only CRLF.CRLF ends a message, in every chunking, and what goes out comes back. */
#include "wire/dot.h"

#include "check.h"

/* What a reader makes of an input. */
struct outcome {
    struct buf body;
    struct slice rest;          /* behind the end */
    bool has_ended;
    struct dot_reader reader;
};

static void feed(struct outcome *o, struct slice piece, struct slice whole)
{
    while (piece.len > 0 && !o->has_ended) {
        struct slice body;
        enum rc rc = dot_read(&o->reader, &piece, &body);
        buf_append(&o->body, body);
        if (rc == RC_OK) {
            o->has_ended = true;
            o->rest = (struct slice){ piece.ptr, (size_t)(whole.ptr + whole.len - piece.ptr) };
        }
    }
}

static struct outcome read_chunked(struct slice input, size_t first, size_t step)
{
    struct outcome o = { .has_ended = false };
    struct slice whole = input;

    dot_reader_init(&o.reader);
    buf_init(&o.body, 65536);
    feed(&o, slice_take(&input, first), whole);
    while (input.len > 0 && !o.has_ended)
        feed(&o, slice_take(&input, step), whole);
    return o;
}

enum { CR = 1, LF = 2, NUL = 4, EIGHT = 8, OPEN = 16 };

static const struct {
    const char *sentence;
    struct slice input, body, rest;
    unsigned flags;             /* OPEN: the end has not been reached */
    size_t longest;
} cases[] = {
    { "an empty message is a dot", SLICE_INIT(".\r\n"), SLICE_INIT(""), SLICE_INIT(""), 0, 0 },
    { "text ends with CRLF.CRLF", SLICE_INIT("a\r\n.\r\nQUIT\r\n"), SLICE_INIT("a\r\n"), SLICE_INIT("QUIT\r\n"), 0, 1 },
    { "a leading dot is transparency", SLICE_INIT("..\r\n.a\r\n.\r\n"), SLICE_INIT(".\r\na\r\n"), SLICE_INIT(""), 0, 1 },
    { "only the first dot goes", SLICE_INIT("...a\r\n.\r\n"), SLICE_INIT("..a\r\n"), SLICE_INIT(""), 0, 3 },
    { "a dot inside a line stays", SLICE_INIT("a.\r\nb.c\r\n.\r\n"), SLICE_INIT("a.\r\nb.c\r\n"), SLICE_INIT(""), 0, 3 },
    { "LF.LF is text", SLICE_INIT("a\n.\nb\r\n.\r\n"), SLICE_INIT("a\n.\nb\r\n"), SLICE_INIT(""), LF, 5 },
    { "LF.CRLF is text", SLICE_INIT("a\n.\r\nb\r\n.\r\n"), SLICE_INIT("a\n.\r\nb\r\n"), SLICE_INIT(""), LF, 3 },
    { "CRLF.LF is text, its dot transparency", SLICE_INIT("a\r\n.\nb\r\n.\r\n"), SLICE_INIT("a\r\n\nb\r\n"), SLICE_INIT(""), LF, 2 },
    { "CR.CR is text", SLICE_INIT("a\r.\rb\r\n.\r\n"), SLICE_INIT("a\r.\rb\r\n"), SLICE_INIT(""), CR, 5 },
    { "CR.CRLF is text", SLICE_INIT("a\r.\r\nb\r\n.\r\n"), SLICE_INIT("a\r.\r\nb\r\n"), SLICE_INIT(""), CR, 3 },
    { "CRLF.CR is text", SLICE_INIT("a\r\n.\rb\r\n.\r\n"), SLICE_INIT("a\r\n\rb\r\n"), SLICE_INIT(""), CR, 2 },
    { "CRLF.CRCRLF is text", SLICE_INIT("a\r\n.\r\r\nb\r\n.\r\n"), SLICE_INIT("a\r\n\r\r\nb\r\n"), SLICE_INIT(""), CR, 1 },
    { "CRLF.CR.CRLF is text", SLICE_INIT("a\r\n.\r.\r\n.\r\n"), SLICE_INIT("a\r\n\r.\r\n"), SLICE_INIT(""), CR, 2 },
    { "CRCRLF.CRLF ends: a CRLF is in it", SLICE_INIT("a\r\r\n.\r\n"), SLICE_INIT("a\r\r\n"), SLICE_INIT(""), CR, 2 },
    { "LFCRLF.CRLF ends", SLICE_INIT("a\n\r\n.\r\n"), SLICE_INIT("a\n\r\n"), SLICE_INIT(""), LF, 2 },
    { "LFCR.CRLF is text", SLICE_INIT("a\n\r.\r\nb\r\n.\r\n"), SLICE_INIT("a\n\r.\r\nb\r\n"), SLICE_INIT(""), CR | LF, 4 },
    { "CRLF..CRLF is a dot", SLICE_INIT("a\r\n..\r\n.\r\n"), SLICE_INIT("a\r\n.\r\n"), SLICE_INIT(""), 0, 1 },
    { "CRLF.NULCRLF is text", SLICE_INIT("a\r\n.\0\r\n.\r\n"), SLICE_INIT("a\r\n\0\r\n"), SLICE_INIT(""), NUL, 1 },
    { "a bare LF at the start is text", SLICE_INIT("\n.\r\n.\r\n"), SLICE_INIT("\n.\r\n"), SLICE_INIT(""), LF, 2 },
    { "a bare CR at the start is text", SLICE_INIT("\r.\r\n.\r\n"), SLICE_INIT("\r.\r\n"), SLICE_INIT(""), CR, 2 },
    { "8-bit is seen and passed", SLICE_INIT("\xc3\xa4\r\n.\r\n"), SLICE_INIT("\xc3\xa4\r\n"), SLICE_INIT(""), EIGHT, 2 },
    { "what stands behind the end is not looked at", SLICE_INIT("a\r\n.\r\n\xff\0\n\r"), SLICE_INIT("a\r\n"), SLICE_INIT("\xff\0\n\r"), 0, 1 },
    { "a second end is not ours", SLICE_INIT(".\r\n.\r\n"), SLICE_INIT(""), SLICE_INIT(".\r\n"), 0, 0 },
    { "text without an end goes on", SLICE_INIT("a\r\nb"), SLICE_INIT("a\r\nb"), SLICE_INIT(""), OPEN, 1 },
    { "CRLF. may still become the end", SLICE_INIT("a\r\n."), SLICE_INIT("a\r\n"), SLICE_INIT(""), OPEN, 1 },
    { "CRLF.CR may still become the end", SLICE_INIT("a\r\n.\r"), SLICE_INIT("a\r\n"), SLICE_INIT(""), OPEN, 1 },
    { "a CR may still become a line end", SLICE_INIT("a\r"), SLICE_INIT("a\r"), SLICE_INIT(""), OPEN, 1 },
};

static void check_outcome(size_t i, size_t first, size_t step)
{
    struct outcome o = read_chunked(cases[i].input, first, step);
    unsigned flags = (o.reader.has_bare_cr ? CR : 0u) | (o.reader.has_bare_lf ? LF : 0u) | (o.reader.has_nul ? NUL : 0u)
        | (o.reader.has_8bit ? EIGHT : 0u) | (o.has_ended ? 0u : OPEN);

    CHECK_SLICE(buf_slice(&o.body), cases[i].body);
    CHECK_SLICE(o.rest, cases[i].rest);
    CHECK_INT(flags, cases[i].flags);
    CHECK_INT(o.reader.longest_line_bytes, cases[i].longest);
    CHECK_INT(o.reader.body_bytes, cases[i].body.len);
    buf_free(&o.body);
}

static void check_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        check_outcome(i, cases[i].input.len, 1);
        check_outcome(i, 1, 1);
        for (size_t at = 0; at <= cases[i].input.len; at++)
            check_outcome(i, at, cases[i].input.len);
    }
}

/* The definition, in the slowest and plainest way: the reader must agree with it. */
static size_t plain_end(struct slice in)
{
    size_t at = slice_find(in, SLICE("\r\n.\r\n"));

    if (in.len >= 3 && memcmp(in.ptr, ".\r\n", 3) == 0)
        return 3;
    return at == in.len ? SIZE_MAX : at + 5;
}

/* Every string over CR, LF, dot and a letter up to seven bytes, followed by an end: whole, byte by byte, each split. */
static void check_every_mixture(void)
{
    static const char alphabet[] = "\r\n.a";

    CASE("every mixture of CR, LF, dot and text ends at its first CRLF.CRLF in every chunking");
    for (size_t len = 0; len <= 7; len++) {
        for (size_t n = 0; n < (size_t)1 << (2 * len); n++) {
            char text[16];
            for (size_t i = 0; i < len; i++)
                text[i] = alphabet[n >> (2 * i) & 3];
            memcpy(text + len, "\r\n.\r\n", 5);
            struct slice input = { text, len + 5 };
            size_t end = plain_end(input);
            struct outcome whole = read_chunked(input, input.len, 1);
            CHECK(whole.has_ended);
            CHECK_INT(input.len - whole.rest.len, end);
            for (size_t at = 0; at <= input.len; at++) {
                struct outcome split = at == 0 ? read_chunked(input, 1, 1) : read_chunked(input, at, input.len);
                CHECK_SLICE(buf_slice(&split.body), buf_slice(&whole.body));
                CHECK_INT(split.rest.len, whole.rest.len);
                CHECK(memcmp(&split.reader, &whole.reader, sizeof split.reader) == 0);
                buf_free(&split.body);
            }
            buf_free(&whole.body);
        }
    }
}

/* Writes with little room at a time and in pieces of `step` bytes. */
static void write_all(struct slice input, bool keeps_bare_cr, size_t step, size_t room, struct buf *all)
{
    struct dot_writer w;
    struct buf out;

    dot_writer_init(&w);
    w.keeps_bare_cr = keeps_bare_cr;
    buf_init(&out, room);
    while (input.len > 0) {
        struct slice piece = slice_take(&input, step);
        while (piece.len > 0) {
            dot_write(&w, &piece, &out);
            buf_append(all, buf_slice(&out));
            buf_clear(&out);
        }
    }
    CHECK(dot_write_end(&w, &out));
    buf_append(all, buf_slice(&out));
    buf_free(&out);
}

static const struct {
    const char *sentence;
    struct slice input, output;
    bool keeps_bare_cr;
} writes[] = {
    { "nothing is a dot", SLICE_INIT(""), SLICE_INIT(".\r\n"), false },
    { "text goes out as it is", SLICE_INIT("a\r\nb\r\n"), SLICE_INIT("a\r\nb\r\n.\r\n"), false },
    { "a missing last line end is added", SLICE_INIT("a"), SLICE_INIT("a\r\n.\r\n"), false },
    { "a dot at a line start is doubled", SLICE_INIT(".\r\n.a\r\na.\r\n"), SLICE_INIT("..\r\n..a\r\na.\r\n.\r\n"), false },
    { "a bare LF goes out as CRLF", SLICE_INIT("a\n.\nb\n"), SLICE_INIT("a\r\n..\r\nb\r\n.\r\n"), false },
    { "a bare CR goes out as CRLF", SLICE_INIT("a\r.\rb\r"), SLICE_INIT("a\r\n..\r\nb\r\n.\r\n"), false },
    { "LF.CRLF is not an end", SLICE_INIT("a\n.\r\nb\r\n"), SLICE_INIT("a\r\n..\r\nb\r\n.\r\n"), false },
    { "CR.CRLF is not an end", SLICE_INIT("a\r.\r\nb\r\n"), SLICE_INIT("a\r\n..\r\nb\r\n.\r\n"), false },
    { "CRCRLF is one line end", SLICE_INIT("a\r\r\nb\r\n"), SLICE_INIT("a\r\nb\r\n.\r\n"), false },
    { "two CR are two line ends", SLICE_INIT("a\r\rb\r\n"), SLICE_INIT("a\r\n\r\nb\r\n.\r\n"), false },
    { "a last CR is a line end", SLICE_INIT("a\r"), SLICE_INIT("a\r\n.\r\n"), false },
    { "a bare CR that is kept goes out as it is", SLICE_INIT("a\rb\r\rc\r\n"), SLICE_INIT("a\rb\r\rc\r\n.\r\n"), true },
    { "a kept CR starts no line", SLICE_INIT("\r.\r\n.\r\n"), SLICE_INIT("\r.\r\n..\r\n.\r\n"), true },
    { "a kept CR before a line end", SLICE_INIT("a\r\r\n.\r\r\r\n"), SLICE_INIT("a\r\r\n..\r\r\r\n.\r\n"), true },
    { "a last CR is kept", SLICE_INIT("a\r"), SLICE_INIT("a\r\r\n.\r\n"), true },
    { "a bare LF is CRLF also where CR are kept", SLICE_INIT("a\n.\nb\n"), SLICE_INIT("a\r\n..\r\nb\r\n.\r\n"), true },
};

static void check_writes(void)
{
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        CASE(writes[i].sentence);
        for (size_t step = 1; step <= 9; step++) {
            struct buf all;
            buf_init(&all, 4096);
            write_all(writes[i].input, writes[i].keeps_bare_cr, step, 8 + 3 * step, &all);
            CHECK_SLICE(buf_slice(&all), writes[i].output);
            buf_free(&all);
        }
    }
}

/* What the writer makes of any mixture has no bare CR or LF, one end, and does not depend on the pieces. */
static void check_every_written_mixture(void)
{
    static const char alphabet[] = "\r\n.a";

    CASE("every mixture goes out with CRLF only and one end; where bare CR are kept, with those");
    for (size_t len = 0; len <= 6; len++) {
        for (size_t n = 0; n < (size_t)2 << (2 * len); n++) {
            char text[16];
            bool keeps = n >> (2 * len);
            struct buf whole, bytewise;
            for (size_t i = 0; i < len; i++)
                text[i] = alphabet[n >> (2 * i) & 3];
            buf_init(&whole, 4096);
            buf_init(&bytewise, 4096);
            write_all((struct slice){ text, len }, keeps, 16, 64, &whole);
            write_all((struct slice){ text, len }, keeps, 1, 17, &bytewise);
            CHECK_SLICE(buf_slice(&bytewise), buf_slice(&whole));
            struct outcome o = read_chunked(buf_slice(&whole), 4096, 1);
            CHECK(o.has_ended && o.rest.len == 0 && (keeps || !o.reader.has_bare_cr) && !o.reader.has_bare_lf);
            buf_free(&o.body);
            buf_free(&whole);
            buf_free(&bytewise);
        }
    }
}

int main(void)
{
    check_cases();
    check_every_mixture();
    check_writes();
    check_every_written_mixture();
    return check_done();
}
