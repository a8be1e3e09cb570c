/* Writing header fields: see header.h. Nothing that is written here can hold a line end that was in the text. */
#include "mail/header.h"

#include "base/text.h"
#include "mail/encoded.h"

enum { FOLD_COLUMN = 78, WORD_LEN_MAX = 900 };     /* RFC 5322 2.1.1: 78 is good, 998 is the limit */

/* A word and the white space before it. */
static struct slice take_spaced_word(struct slice *in, size_t *blanks)
{
    size_t len = 0;

    while (len < in->len && byte_is_space((unsigned char)in->ptr[len]))
        len++;
    *blanks = len;
    while (len < in->len && !byte_is_space((unsigned char)in->ptr[len]))
        len++;
    return slice_take(in, len);
}

/* Line ends and other controls in a text become spaces: a text is one field whatever it contains. */
static void append_clean(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        (void)buf_append_byte(out, (c < ' ' && c != '\t') || c == 0x7f ? ' ' : (char)c);
    }
}

/* Folds before white space, and only where something else than white space follows. */
static void append_folded(struct buf *out, struct slice text, size_t column)
{
    bool is_first = true;

    text = slice_trim(text);
    while (text.len > 0) {
        size_t blanks;
        struct slice word = take_spaced_word(&text, &blanks);
        if (column + word.len > FOLD_COLUMN && !is_first && blanks > 0) {
            (void)buf_append_str(out, "\r\n");
            column = 0;
        }
        (void)buf_append(out, word);
        column += word.len;
        is_first = false;
    }
}

bool header_write_folded(struct buf *out, struct slice name, struct slice body)
{
    struct buf clean;

    buf_init(&clean, body.len + 1);
    append_clean(&clean, body);
    (void)buf_append(out, name);
    (void)buf_append_str(out, ": ");
    append_folded(out, buf_slice(&clean), name.len + 2);
    (void)buf_append_str(out, "\r\n");
    bool is_good = !clean.overflow && !out->overflow;
    buf_free(&clean);
    return is_good;
}

static bool has_long_word(struct slice text)
{
    while (text.len > 0) {
        size_t blanks;
        if (take_spaced_word(&text, &blanks).len > WORD_LEN_MAX)
            return true;
    }
    return false;
}

/* Text that a reader would take for an encoded word has to be one. */
static bool needs_encoding(struct slice text, bool utf8_allowed)
{
    if (utf8_allowed ? !utf8_is_valid(text) : !text_is_ascii(text))
        return true;
    return slice_find(text, SLICE("=?")) < text.len || has_long_word(text);
}

bool header_write(struct buf *out, struct slice name, struct slice text, bool utf8_allowed)
{
    struct buf clean;

    buf_init(&clean, text.len + 1);
    append_clean(&clean, slice_trim(text));
    struct slice line = buf_slice(&clean);
    (void)buf_append(out, name);
    (void)buf_append_str(out, ": ");
    size_t column = name.len + 2;
    if (needs_encoding(line, utf8_allowed))
        (void)encoded_word_write_at(line, &column, out);
    else
        append_folded(out, line, column);
    (void)buf_append_str(out, "\r\n");
    bool is_good = !clean.overflow && !out->overflow;
    buf_free(&clean);
    return is_good;
}

static bool is_atom_text(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (!byte_is_alnum(c) && (c == '\0' || strchr("!#$%&'*+-/=?^_`{|}~ ", c) == NULL))
            return false;
    }
    return s.len > 0 && s.ptr[0] != ' ' && s.ptr[s.len - 1] != ' ' && slice_find(s, SLICE("  ")) == s.len;
}

static void append_quoted(struct buf *out, struct slice s)
{
    (void)buf_append_byte(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"' || s.ptr[i] == '\\')
            (void)buf_append_byte(out, '\\');
        (void)buf_append_byte(out, s.ptr[i]);
    }
    (void)buf_append_byte(out, '"');
}

bool header_write_phrase(struct buf *out, struct slice name, bool utf8_allowed)
{
    struct buf clean;

    buf_init(&clean, name.len + 1);
    append_clean(&clean, name);
    struct slice text = buf_slice(&clean);
    if (needs_encoding(text, utf8_allowed)) {
        /* The caller folds; words are kept short enough for any line. */
        struct slice words = text;
        size_t column = 1;
        struct buf folded;
        buf_init(&folded, text.len * 12 + 128);
        (void)encoded_word_write_at(words, &column, &folded);
        words = buf_slice(&folded);
        while (words.len > 0) {
            struct slice line = slice_take_until(&words, '\r');
            (void)buf_append(out, line);
            (void)slice_take(&words, 1);
        }
        if (folded.overflow)
            out->overflow = true;
        buf_free(&folded);
    } else if (is_atom_text(text)) {
        (void)buf_append(out, text);
    } else {
        append_quoted(out, text);
    }
    bool is_good = !clean.overflow && !out->overflow;
    buf_free(&clean);
    return is_good;
}

/* Parameters. */

enum { PARAM_PIECE_MAX = 60 };

/* RFC 2231 7: attribute-char. */
static bool is_attribute_byte(unsigned char c)
{
    return byte_is_alnum(c) || (c != '\0' && strchr("!#$&+-.^_`{|}~", c) != NULL);
}

static bool is_token(struct slice s)
{
    struct slice rest = s;
    (void)slice_take_while(&rest, is_attribute_byte);
    return s.len > 0 && rest.len == 0;
}

static bool is_printable_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < ' ' || (unsigned char)s.ptr[i] > 0x7e)
            return false;
    }
    return true;
}

/* Percent-encoded bytes for one piece; takes whole escapes only. */
static void append_percent(struct buf *out, struct slice *in)
{
    size_t used = 0;

    while (in->len > 0 && used < PARAM_PIECE_MAX) {
        unsigned char c = (unsigned char)slice_take(in, 1).ptr[0];
        if (is_attribute_byte(c))
            (void)buf_append_byte(out, (char)c);
        else
            (void)buf_printf(out, "%%%02X", (unsigned)c);
        used += is_attribute_byte(c) ? 1 : 3;
    }
}

static void append_extended(struct buf *out, struct slice name, struct slice value)
{
    size_t width = 0;

    for (size_t i = 0; i < value.len; i++)
        width += is_attribute_byte((unsigned char)value.ptr[i]) ? 1 : 3;
    bool is_one = width <= PARAM_PIECE_MAX - 3;
    for (unsigned piece = 0; value.len > 0; piece++) {
        (void)buf_append_str(out, ";\r\n ");
        (void)buf_append(out, name);
        if (!is_one)
            (void)buf_printf(out, "*%u", piece);
        (void)buf_append_str(out, piece == 0 ? "*=utf-8''" : "*=");
        append_percent(out, &value);
    }
}

bool header_write_param(struct buf *out, struct slice name, struct slice utf8)
{
    if (!is_printable_ascii(utf8) || utf8.len > PARAM_PIECE_MAX || slice_find(utf8, SLICE("=?")) < utf8.len) {
        append_extended(out, name, utf8);
        return !out->overflow;
    }
    (void)buf_append_str(out, ";\r\n ");
    (void)buf_append(out, name);
    (void)buf_append_byte(out, '=');
    if (is_token(utf8))
        (void)buf_append(out, utf8);
    else
        append_quoted(out, utf8);
    return !out->overflow;
}
