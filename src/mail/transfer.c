/* Content transfer encodings: see encoded.h (RFC 2045 6.7, 6.8). Decoding is lenient, as mail readers are. */
#include "mail/encoded.h"

enum { LINE_COLUMNS = 76, BASE64_LINE_BYTES = 57 };

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* How long a line end at `at` is: 0 when there is none, also 0 at the end of the text. */
static size_t line_end_len(struct slice in, size_t at)
{
    if (at < in.len && in.ptr[at] == '\n')
        return 1;
    return in.len - at >= 2 && in.ptr[at] == '\r' && in.ptr[at + 1] == '\n' ? 2 : 0;
}

static size_t skip_blanks(struct slice in, size_t at)
{
    while (at < in.len && byte_is_space((unsigned char)in.ptr[at]))
        at++;
    return at;
}

/* At '=': a byte, a soft line break, or an '=' that is nothing. Gives the bytes consumed. */
static size_t decode_equals(struct slice in, size_t at, struct buf *out)
{
    if (in.len - at >= 3) {
        int high = hex_value(in.ptr[at + 1]), low = hex_value(in.ptr[at + 2]);
        if (high >= 0 && low >= 0) {
            (void)buf_append_byte(out, (char)(high << 4 | low));
            return 3;
        }
    }
    size_t behind = skip_blanks(in, at + 1), end = line_end_len(in, behind);
    if (end > 0 || behind == in.len)
        return behind + end - at;
    (void)buf_append_byte(out, '=');
    return 1;
}

static bool is_literal_byte(unsigned char c)
{
    return c != '=' && c != ' ' && c != '\t';
}

enum rc quoted_printable_decode(struct slice in, struct buf *out)
{
    size_t at = 0;

    while (at < in.len && !out->overflow) {
        char c = in.ptr[at];
        if (c == '=') {
            at += decode_equals(in, at, out);
        } else if (c == ' ' || c == '\t') {
            /* White space at the end of a line was added on the way (RFC 2045 6.7 rule 3). */
            size_t behind = skip_blanks(in, at);
            if (behind < in.len && line_end_len(in, behind) == 0)
                (void)buf_append(out, slice_sub(in, at, behind - at));
            at = behind;
        } else {
            struct slice rest = slice_sub(in, at, in.len - at);
            struct slice run = slice_take_while(&rest, is_literal_byte);
            (void)buf_append(out, run);
            at += run.len;
        }
    }
    return out->overflow ? RC_TEMP : RC_OK;
}

/* 0 to 63, or -1 for what is skipped. */
static int base64_value(unsigned char c)
{
    static const signed char values[256] = {
        ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,  ['I'] = 9,
        ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18,
        ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26,
        ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35,
        ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44,
        ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52,
        ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61,
        ['9'] = 62, ['+'] = 63, ['/'] = 64,
    };
    return values[c] - 1;
}

/* A quantum while it is read. */
struct quantum {
    uint32_t bits;
    unsigned digits;
    bool is_end;                /* padding was seen */
};

/* Bytes of a quantum that ends early: 2 digits are one byte, 3 are two, 1 is nothing. */
static size_t end_quantum(struct quantum *q, unsigned char *to)
{
    size_t bytes = q->digits < 2 ? 0 : q->digits - 1u;
    uint32_t bits = q->digits == 0 ? 0 : q->bits << (6 * (4 - q->digits));

    if (bytes >= 1)
        to[0] = (unsigned char)(bits >> 16);
    if (bytes >= 2)
        to[1] = (unsigned char)(bits >> 8);
    if (bytes >= 3)
        to[2] = (unsigned char)bits;
    q->bits = 0;
    q->digits = 0;
    return bytes;
}

/* Decodes into room for in.len / 4 * 3 + 3 bytes. Padding ends the data (RFC 2045 6.8): what stands behind it is the
 * footer of a mailing list that knew no better. */
static size_t decode_base64(struct slice in, struct quantum *q, unsigned char *to)
{
    const unsigned char *at = (const unsigned char *)in.ptr, *end = at + in.len;
    size_t len = 0;

    while (at < end && !q->is_end) {
        if (q->digits == 0 && end - at >= 4) {
            int a = base64_value(at[0]), b = base64_value(at[1]), c = base64_value(at[2]), d = base64_value(at[3]);
            if ((a | b | c | d) >= 0) {
                uint32_t bits = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | (uint32_t)d;
                to[len++] = (unsigned char)(bits >> 16);
                to[len++] = (unsigned char)(bits >> 8);
                to[len++] = (unsigned char)bits;
                at += 4;
                continue;
            }
        }
        unsigned char byte = *at++;
        int value = base64_value(byte);
        if (value >= 0) {
            q->bits = q->bits << 6 | (uint32_t)value;
            q->digits++;
        }
        q->is_end = byte == '=' && q->digits >= 2;
        if (q->digits == 4 || q->is_end)
            len += end_quantum(q, to + len);
    }
    return len;
}

enum rc base64_body_decode(struct slice in, struct buf *out)
{
    struct quantum q = { .digits = 0 };
    unsigned char last[3];

    while (in.len > 0 && !q.is_end) {
        struct slice piece = slice_take(&in, 16384);
        char *room = buf_reserve(out, piece.len / 4 * 3 + 6);
        if (room == NULL)
            break;
        buf_commit(out, decode_base64(piece, &q, (unsigned char *)room));
    }
    size_t len = end_quantum(&q, last);
    (void)buf_append(out, (struct slice){ (const char *)last, len });
    return out->overflow ? RC_TEMP : RC_OK;
}

bool base64_body_encode(struct slice in, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    while (in.len > 0) {
        struct slice line = slice_take(&in, BASE64_LINE_BYTES);
        const unsigned char *from = (const unsigned char *)line.ptr;
        char *to = buf_reserve(out, (line.len + 2) / 3 * 4 + 2);
        size_t len = 0;
        if (to == NULL)
            return false;
        for (size_t i = 0; i < line.len; i += 3) {
            size_t left = line.len - i;
            uint32_t bits = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0u)
                | (left > 2 ? (uint32_t)from[i + 2] : 0u);
            to[len++] = digits[bits >> 18];
            to[len++] = digits[bits >> 12 & 63];
            to[len++] = left > 1 ? digits[bits >> 6 & 63] : '=';
            to[len++] = left > 2 ? digits[bits & 63] : '=';
        }
        to[len++] = '\r';
        to[len++] = '\n';
        buf_commit(out, len);
    }
    return true;
}

/* Which bytes of a line go as they are. "From " and a dot at the line start are encoded so that no carrier on the way
 * has to touch them (RFC 2049 3). */
static bool is_plain_printable(struct slice line, size_t at)
{
    unsigned char c = (unsigned char)line.ptr[at];

    if (c == ' ' || c == '\t')
        return at + 1 < line.len;
    if (at == 0 && (c == '.' || slice_starts_nocase(line, SLICE("From "))))
        return false;
    return c > ' ' && c < 0x7f && c != '=';
}

static void encode_line(struct slice line, struct buf *out)
{
    size_t column = 0;

    for (size_t at = 0; at < line.len; at++) {
        bool is_plain = is_plain_printable(line, at);
        size_t width = is_plain ? 1 : 3;
        bool is_last = at + 1 == line.len;
        if (column + width > LINE_COLUMNS - (is_last ? 0 : 1)) {
            (void)buf_append_str(out, "=\r\n");
            column = 0;
        }
        if (is_plain)
            (void)buf_append_byte(out, line.ptr[at]);
        else
            (void)buf_printf(out, "=%02X", (unsigned)(unsigned char)line.ptr[at]);
        column += width;
    }
}

bool quoted_printable_encode(struct slice in, struct buf *out)
{
    while (in.len > 0 && !out->overflow) {
        size_t end = slice_find(in, SLICE("\r\n"));
        bool has_end = end < in.len;
        encode_line(slice_take(&in, end), out);
        if (has_end) {
            (void)slice_take(&in, 2);
            (void)buf_append_str(out, "\r\n");
        }
    }
    return !out->overflow;
}
