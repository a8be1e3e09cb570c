/* Encoded words: see encoded.h (RFC 2047). */
#include "mail/encoded.h"

#include "base/text.h"

/* Decoding. What is written for another charset or encoding follows, and adjacent words of one charset are joined
 * before they are converted: a good deal of mail cuts a character in two (RFC 2047 5 forbids it). */

struct word {
    struct slice charset, text;
    bool is_base64;
};

static bool is_token_byte(unsigned char c)
{
    return c > ' ' && c < 0x7f && strchr("()<>@,;:\"/[]?=", c) == NULL;
}

/* "=?charset*language?B?text?=" at the front. No piece of it can hold '?', so trying every "=?" stays linear. */
static bool take_word(struct slice *in, struct word *w)
{
    struct slice rest = *in;

    if (!slice_take_prefix_nocase(&rest, SLICE("=?")))
        return false;
    struct slice charset = slice_take_while(&rest, is_token_byte);
    if (charset.len == 0 || !slice_take_byte(&rest, '?') || rest.len < 2)
        return false;
    char encoding = byte_lower(slice_take(&rest, 1).ptr[0]);
    if ((encoding != 'b' && encoding != 'q') || !slice_take_byte(&rest, '?'))
        return false;
    size_t end = slice_find_byte(rest, '?');
    w->text = slice_take(&rest, end);
    if (!slice_take_prefix_nocase(&rest, SLICE("?=")))
        return false;
    w->charset = slice_sub(charset, 0, slice_find_byte(charset, '*'));      /* RFC 2231 5 */
    w->is_base64 = encoding == 'b';
    *in = rest;
    return true;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = memchr(digits, byte_lower(c), 16);
    return at == NULL ? -1 : (int)(at - digits);
}

static void decode_q(struct slice text, struct buf *out)
{
    while (text.len > 0) {
        int high = text.len >= 3 ? hex_digit(text.ptr[1]) : -1, low = text.len >= 3 ? hex_digit(text.ptr[2]) : -1;
        char c = slice_take(&text, 1).ptr[0];
        if (c == '=' && high >= 0 && low >= 0) {
            c = (char)(high << 4 | low);
            (void)slice_take(&text, 2);
        } else if (c == '_') {
            c = ' ';
        }
        (void)buf_append_byte(out, c);
    }
}

/* What decoded words said so far, in their charset. */
struct pending {
    struct slice charset;
    struct buf bytes;
};

static void flush(struct pending *p, struct buf *out)
{
    if (buf_len(&p->bytes) > 0)
        (void)charset_to_utf8(p->charset, buf_slice(&p->bytes), out);
    buf_clear(&p->bytes);
    p->charset = SLICE_NONE;
}

static void add_word(struct pending *p, const struct word *w, struct buf *out)
{
    if (!slice_equal_nocase(p->charset, w->charset))
        flush(p, out);
    p->charset = w->charset;
    if (w->is_base64)
        (void)base64_body_decode(w->text, &p->bytes);
    else
        decode_q(w->text, &p->bytes);
}

bool encoded_word_decode(struct slice text, struct buf *out)
{
    struct pending p = { .charset = SLICE_NONE };
    bool is_behind_word = false;

    buf_init(&p.bytes, text.len + 8);
    while (text.len > 0) {
        /* Plain text up to what may be a word; white space alone between two words is none (RFC 2047 6.2). */
        struct word w;
        size_t plain = slice_find(text, SLICE("=?"));
        struct slice between = slice_take(&text, plain);
        struct slice rest = text;
        bool is_word = take_word(&rest, &w);
        if (!is_word)
            plain += slice_take(&text, 2).len;
        between = (struct slice){ between.ptr, plain };
        if (!(is_behind_word && is_word && slice_trim(between).len == 0)) {
            flush(&p, out);
            (void)charset_guess_to_utf8(between, out);
        }
        is_behind_word = is_word;
        if (is_word) {
            add_word(&p, &w, out);
            text = rest;
        }
    }
    flush(&p, out);
    bool fits = !p.bytes.overflow && !out->overflow;
    buf_free(&p.bytes);
    return fits;
}

/* Writing. */

enum { WORD_MAX = 75, LINE_MAX_COLUMNS = 76 };  /* RFC 2047 2 */

/* What may stand for itself in a Q word anywhere, in phrases too (RFC 2047 5 (3)). */
static bool is_q_plain(unsigned char c)
{
    return byte_is_alnum(c) || c == '!' || c == '*' || c == '+' || c == '-' || c == '/';
}

static size_t q_width(struct slice s)
{
    size_t width = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        width += is_q_plain(c) || c == ' ' ? 1 : 3;
    }
    return width;
}

static void write_q(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (is_q_plain(c))
            (void)buf_append_byte(out, (char)c);
        else if (c == ' ')
            (void)buf_append_byte(out, '_');
        else
            (void)buf_printf(out, "=%02X", (unsigned)c);
    }
}

/* The longest front of whole characters whose encoding fits into width columns; one character in any case. */
static struct slice take_fitting(struct slice *in, bool is_base64, size_t width)
{
    struct slice rest = *in;
    size_t len = 0, used = 0;

    while (rest.len > 0) {
        size_t before = rest.len;
        uint32_t c;
        if (utf8_take(&rest, &c) != RC_OK)
            (void)slice_take(&rest, 1);
        size_t size = before - rest.len;
        used += is_base64 ? size : q_width(slice_sub(*in, len, size));
        if (len > 0 && (is_base64 ? (used + 2) / 3 * 4 : used) > width)
            break;
        len += size;
    }
    return slice_take(in, len);
}

bool encoded_word_write_at(struct slice utf8, size_t *column, struct buf *out)
{
    enum { FRAME = 12 };                        /* "=?utf-8?B?" and "?=" */
    struct buf clean;
    bool is_first = true;

    buf_init(&clean, utf8.len * 3 + 1);         /* U+FFFD is three bytes */
    (void)charset_to_utf8(SLICE("utf-8"), utf8, &clean);
    struct slice in = buf_slice(&clean);
    bool is_base64 = q_width(in) > in.len * 2;  /* Q while a person can still read it */
    while (in.len > 0) {
        size_t line_left = *column + FRAME + 8 > LINE_MAX_COLUMNS ? 0 : LINE_MAX_COLUMNS - *column;
        if (line_left == 0 || !is_first) {
            (void)buf_append_str(out, "\r\n ");
            *column = 1;
            line_left = WORD_MAX;
        }
        struct slice piece = take_fitting(&in, is_base64, (line_left < WORD_MAX ? line_left : WORD_MAX) - FRAME);
        size_t before = buf_len(out);
        (void)buf_append_str(out, is_base64 ? "=?utf-8?B?" : "=?utf-8?Q?");
        if (is_base64)
            (void)base64_encode(piece, out);
        else
            write_q(piece, out);
        (void)buf_append_str(out, "?=");
        *column += buf_len(out) - before;
        is_first = false;
    }
    bool fits = !clean.overflow && !out->overflow;
    buf_free(&clean);
    return fits;
}

bool encoded_word_write(struct slice utf8, struct buf *out)
{
    size_t column = 0;
    return encoded_word_write_at(utf8, &column, out);
}
