/* Values with parameters: see header.h (RFC 2045 5.1, RFC 2231 3 and 4).
 *
 * Generous: an unquoted value may hold spaces (file names do), a missing semicolon is forgiven where the next word
 * reads as "name=", encoded words in values are decoded though RFC 2047 5 forbids them, and of two parameters of one
 * name the first counts. */
#include "mail/header.h"

#include "base/text.h"
#include "mail/encoded.h"

enum { PIECES_MAX = 128, SECTION_MAX = 999 };

/* One "name*section*=value" as it stands. */
struct piece {
    struct slice name;          /* without section and star */
    struct slice value;         /* quotes and backslashes removed */
    unsigned section;
    bool has_section;
    bool is_extended;
};

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_comment(struct slice *in)
{
    size_t depth = 0;

    do {
        char c = slice_take(in, 1).ptr[0];
        if (c == '\\')
            (void)slice_take(in, 1);
        else if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
    } while (depth > 0 && in->len > 0);
}

static void skip_blanks(struct slice *in)
{
    (void)slice_take_while(in, is_blank);
    while (in->len > 0 && in->ptr[0] == '(') {
        skip_comment(in);
        (void)slice_take_while(in, is_blank);
    }
}

static bool is_word_byte(unsigned char c)
{
    return !is_blank(c) && c != ';' && c != '(';
}

static bool is_value_byte(unsigned char c)
{
    return c != ';';
}

static bool is_name_byte(unsigned char c)
{
    return c > ' ' && c != 0x7f && c != '=' && c != ';' && c != '"' && c != '(';
}

/* Behind the opening quote; a quote that is never closed ends with the field. In the arena, since it may shrink. */
static bool take_quoted(struct slice *in, struct arena *arena, struct slice *value)
{
    size_t end = 0, len = 0;

    while (end < in->len && in->ptr[end] != '"')
        end += in->ptr[end] == '\\' ? 2 : 1;
    struct slice raw = slice_take(in, end);
    (void)slice_take_byte(in, '"');
    char *copy = arena_alloc(arena, 1, raw.len + 1);
    if (copy == NULL)
        return false;
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.ptr[i] == '\\' && i + 1 < raw.len)
            i++;
        if (raw.ptr[i] != '\r' && raw.ptr[i] != '\n')
            copy[len++] = raw.ptr[i];
    }
    *value = (struct slice){ copy, len };
    return true;
}

/* Does "name=" stand here, the semicolon before it forgotten? */
static bool is_param_start(struct slice in)
{
    struct slice name = slice_take_while(&in, is_name_byte);
    return name.len > 0 && name.len < 32 && in.len > 0 && in.ptr[0] == '=';
}

static struct slice take_unquoted(struct slice *in)
{
    struct slice from = *in, word = slice_take_while(in, is_word_byte), rest = *in;

    skip_blanks(&rest);
    if (rest.len == 0 || rest.ptr[0] == ';' || is_param_start(rest)) {
        *in = rest;
        return word;
    }
    *in = from;
    return slice_trim(slice_take_while(in, is_value_byte));
}

/* "name", "name*", "name*3", "name*3*". */
static void split_name(struct slice raw, struct piece *p)
{
    struct slice rest = raw;
    uint64_t section;

    p->name = slice_take_until(&rest, '*');
    if (p->name.len == raw.len)
        return;
    p->has_section = slice_take_number(&rest, SECTION_MAX, &section);
    p->section = p->has_section ? (unsigned)section : 0;
    p->is_extended = !p->has_section || slice_take_byte(&rest, '*');
}

/* Takes one parameter off the front. RC_NONE: none left. */
static enum rc take_piece(struct slice *in, struct arena *arena, struct piece *p)
{
    *p = (struct piece){ .section = 0 };
    for (;;) {
        skip_blanks(in);
        while (slice_take_byte(in, ';'))
            skip_blanks(in);
        if (in->len == 0)
            return RC_NONE;
        struct slice name = slice_take_while(in, is_name_byte);
        skip_blanks(in);
        if (name.len == 0 || !slice_take_byte(in, '=')) {
            (void)slice_take_while(in, is_value_byte);      /* nothing that has a name */
            continue;
        }
        split_name(name, p);
        skip_blanks(in);
        if (!slice_take_byte(in, '"')) {
            p->value = take_unquoted(in);
            return RC_OK;
        }
        return take_quoted(in, arena, &p->value) ? RC_OK : RC_TEMP;
    }
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = memchr(digits, byte_lower(c), 16);
    return at == NULL ? -1 : (int)(at - digits);
}

static void append_percent_decoded(struct buf *out, struct slice in)
{
    for (size_t i = 0; i < in.len; i++) {
        int high = in.len - i > 2 ? hex_digit(in.ptr[i + 1]) : -1, low = in.len - i > 2 ? hex_digit(in.ptr[i + 2]) : -1;
        if (in.ptr[i] == '%' && high >= 0 && low >= 0) {
            (void)buf_append_byte(out, (char)(high << 4 | low));
            i += 2;
        } else {
            (void)buf_append_byte(out, in.ptr[i]);
        }
    }
}

static const struct piece *find_section(const struct piece *pieces, size_t count, struct slice name, unsigned section)
{
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].has_section && pieces[i].section == section && slice_equal_nocase(pieces[i].name, name))
            return &pieces[i];
    }
    return NULL;
}

/* "charset'language'" at the front of an extended value (RFC 2231 4). */
static struct slice take_charset(struct slice *value)
{
    struct slice rest = *value;
    size_t first = slice_find_byte(rest, '\'');

    if (first == rest.len)
        return SLICE_NONE;
    struct slice charset = slice_take(&rest, first);
    (void)slice_take(&rest, 1);
    size_t second = slice_find_byte(rest, '\'');
    if (second == rest.len)
        return SLICE_NONE;
    (void)slice_take(&rest, second + 1);
    *value = rest;
    return charset;
}

/* Joins the sections from `first` on, and converts. */
static void join(const struct piece *pieces, size_t count, const struct piece *first, struct buf *utf8)
{
    struct slice charset = SLICE_NONE;
    struct buf bytes;
    size_t total = 8;

    for (size_t i = 0; i < count; i++)
        total += pieces[i].value.len;
    buf_init(&bytes, total);
    for (const struct piece *p = first; p != NULL;
         p = p->has_section ? find_section(pieces, count, first->name, p->section + 1) : NULL) {
        struct slice value = p->value;
        if (p == first && p->is_extended)
            charset = take_charset(&value);
        if (p->is_extended)
            append_percent_decoded(&bytes, value);
        else
            (void)buf_append(&bytes, value);
    }
    (void)charset_to_utf8(charset, buf_slice(&bytes), utf8);
    buf_free(&bytes);
}

static bool decode_value(const struct piece *pieces, size_t count, const struct piece *p, struct arena *arena,
                         struct slice *value)
{
    struct buf utf8;
    size_t total = 64;

    for (size_t i = 0; i < count; i++)
        total += pieces[i].value.len * 4;
    buf_init(&utf8, total);
    if (p->has_section || p->is_extended)
        join(pieces, count, p, &utf8);
    else if (slice_equal_nocase(p->name, SLICE("boundary")))
        (void)buf_append(&utf8, p->value);                  /* bytes to compare, not text to read */
    else
        (void)encoded_word_decode(p->value, &utf8);
    *value = arena_copy(arena, buf_slice(&utf8));
    bool is_good = value->len == 0 || value->ptr != NULL;
    buf_free(&utf8);
    return is_good;
}

/* A name counts once: as "name*" or "name*0", else as it stands. */
static const struct piece *preferred(const struct piece *pieces, size_t count, struct slice name)
{
    const struct piece *plain = NULL;

    for (size_t i = 0; i < count; i++) {
        if (!slice_equal_nocase(pieces[i].name, name) || pieces[i].section > 0)
            continue;
        if (pieces[i].has_section || pieces[i].is_extended)
            return &pieces[i];
        if (plain == NULL)
            plain = &pieces[i];
    }
    return plain;
}

static struct slice lower_copy(struct arena *arena, struct slice s)
{
    char *copy = arena_alloc(arena, 1, s.len + 1);

    if (copy == NULL)
        return SLICE_NONE;
    for (size_t i = 0; i < s.len; i++)
        copy[i] = byte_lower(s.ptr[i]);
    return (struct slice){ copy, s.len };
}

static enum rc add_params(const struct piece *pieces, size_t count, struct arena *arena, struct header_value *v)
{
    for (size_t i = 0; i < count && v->param_count < HEADER_PARAMS_MAX; i++) {
        const struct piece *p = preferred(pieces, count, pieces[i].name);
        struct header_param *param = &v->params[v->param_count];
        if (p == NULL || header_value_has(v, p->name))
            continue;
        param->name = lower_copy(arena, p->name);
        if (param->name.ptr == NULL || !decode_value(pieces, count, p, arena, &param->value))
            return RC_TEMP;
        v->param_count++;
    }
    return RC_OK;
}

/* "text/plain", also with spaces around the slash (RFC 2045 has it structured); comments are skipped. */
static enum rc take_main_value(struct slice *in, struct arena *arena, struct slice *value)
{
    skip_blanks(in);
    struct slice word = slice_take_while(in, is_word_byte);
    struct slice rest = *in;
    skip_blanks(&rest);
    bool has_slash = word.len > 0 && word.ptr[word.len - 1] == '/';
    if (has_slash || (rest.len > 0 && rest.ptr[0] == '/')) {
        if (!has_slash)
            (void)slice_take(&rest, 1);
        skip_blanks(&rest);
        struct slice second = slice_take_while(&rest, is_word_byte);
        struct slice first = has_slash ? slice_sub(word, 0, word.len - 1) : word;
        char *joined = arena_printf(arena, "%.*s/%.*s", SLICE_ARG(first), SLICE_ARG(second));
        if (joined == NULL)
            return RC_TEMP;
        word = slice_from_str(joined);
        *in = rest;
    }
    *value = lower_copy(arena, word);
    return value->ptr == NULL ? RC_TEMP : RC_OK;
}

enum rc header_parse_value(struct slice body, struct arena *arena, struct header_value *v)
{
    struct piece pieces[PIECES_MAX];
    size_t count = 0;
    enum rc rc;

    *v = (struct header_value){ .param_count = 0 };
    rc = take_main_value(&body, arena, &v->value);
    if (rc != RC_OK)
        return rc;
    while (count < PIECES_MAX && rc == RC_OK) {
        rc = take_piece(&body, arena, &pieces[count]);
        count += rc == RC_OK;
    }
    if (rc == RC_TEMP)
        return rc;
    rc = add_params(pieces, count, arena, v);
    return rc == RC_OK && v->value.len == 0 ? RC_NONE : rc;
}

bool header_value_has(const struct header_value *v, struct slice name)
{
    for (size_t i = 0; i < v->param_count; i++) {
        if (slice_equal_nocase(v->params[i].name, name))
            return true;
    }
    return false;
}

struct slice header_value_param(const struct header_value *v, struct slice name)
{
    for (size_t i = 0; i < v->param_count; i++) {
        if (slice_equal_nocase(v->params[i].name, name))
            return v->params[i].value;
    }
    return SLICE_NONE;
}
