/* The text of HTML mail: see html.h. */
#include "mail/html.h"

#include "base/text.h"

struct writer {
    struct buf *out;
    bool owes_space, has_text, is_full;
};

static void write_code_point(struct writer *w, uint32_t c)
{
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == 0xa0) {
        w->owes_space = true;
        return;
    }
    if (w->owes_space && w->has_text && !buf_append_byte(w->out, ' '))
        w->is_full = true;
    w->owes_space = false;
    w->has_text = true;
    if (!utf8_append(w->out, c) && w->out->overflow)
        w->is_full = true;
}

/* ---- character references (HTML 4 ones that mail uses) -------------------------------------------------------------------- */

static const struct {
    struct slice name;
    uint32_t code_point;
} references[] = {
    { SLICE_INIT("amp"), '&' },       { SLICE_INIT("lt"), '<' },        { SLICE_INIT("gt"), '>' },        { SLICE_INIT("quot"), '"' },
    { SLICE_INIT("apos"), '\'' },     { SLICE_INIT("nbsp"), 0xa0 },     { SLICE_INIT("copy"), 0xa9 },     { SLICE_INIT("reg"), 0xae },
    { SLICE_INIT("laquo"), 0xab },    { SLICE_INIT("raquo"), 0xbb },    { SLICE_INIT("middot"), 0xb7 },   { SLICE_INIT("shy"), 0xad },
    { SLICE_INIT("Auml"), 0xc4 },     { SLICE_INIT("Ouml"), 0xd6 },     { SLICE_INIT("Uuml"), 0xdc },     { SLICE_INIT("auml"), 0xe4 },
    { SLICE_INIT("ouml"), 0xf6 },     { SLICE_INIT("uuml"), 0xfc },     { SLICE_INIT("szlig"), 0xdf },    { SLICE_INIT("agrave"), 0xe0 },
    { SLICE_INIT("aacute"), 0xe1 },   { SLICE_INIT("acirc"), 0xe2 },    { SLICE_INIT("aring"), 0xe5 },    { SLICE_INIT("aelig"), 0xe6 },
    { SLICE_INIT("ccedil"), 0xe7 },   { SLICE_INIT("egrave"), 0xe8 },   { SLICE_INIT("eacute"), 0xe9 },   { SLICE_INIT("ecirc"), 0xea },
    { SLICE_INIT("euml"), 0xeb },     { SLICE_INIT("iacute"), 0xed },   { SLICE_INIT("icirc"), 0xee },    { SLICE_INIT("iuml"), 0xef },
    { SLICE_INIT("ntilde"), 0xf1 },   { SLICE_INIT("oacute"), 0xf3 },   { SLICE_INIT("ocirc"), 0xf4 },    { SLICE_INIT("oslash"), 0xf8 },
    { SLICE_INIT("ugrave"), 0xf9 },   { SLICE_INIT("uacute"), 0xfa },   { SLICE_INIT("ucirc"), 0xfb },    { SLICE_INIT("ndash"), 0x2013 },
    { SLICE_INIT("mdash"), 0x2014 },  { SLICE_INIT("lsquo"), 0x2018 },  { SLICE_INIT("rsquo"), 0x2019 },  { SLICE_INIT("sbquo"), 0x201a },
    { SLICE_INIT("ldquo"), 0x201c },  { SLICE_INIT("rdquo"), 0x201d },  { SLICE_INIT("bdquo"), 0x201e },  { SLICE_INIT("bull"), 0x2022 },
    { SLICE_INIT("hellip"), 0x2026 }, { SLICE_INIT("euro"), 0x20ac },   { SLICE_INIT("trade"), 0x2122 },  { SLICE_INIT("zwnj"), 0x200c },
};

static bool is_name_byte(unsigned char c) { return byte_is_alnum(c); }
static bool is_hex_byte(unsigned char c) { return byte_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static bool take_number(struct slice *in, uint32_t *code_point)
{
    struct slice rest = *in;
    bool is_hex = slice_take_prefix_nocase(&rest, SLICE("x"));
    struct slice digits = slice_take_while(&rest, is_hex ? is_hex_byte : byte_is_digit);
    uint32_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        unsigned char c = (unsigned char)digits.ptr[i];
        uint32_t digit = byte_is_digit(c) ? (uint32_t)(c - '0') : (uint32_t)((c | 0x20) - 'a') + 10;
        value = value > 0x10ffff ? value : value * (is_hex ? 16 : 10) + digit;
    }
    if (digits.len == 0 || value == 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return false;
    *code_point = value;
    *in = rest;
    return true;
}

/* Behind an "&"; one that nothing is known of stands for itself. */
static uint32_t take_reference(struct slice *in)
{
    struct slice rest = *in;
    uint32_t code_point = 0;
    if (slice_take_byte(&rest, '#')) {
        if (!take_number(&rest, &code_point))
            return '&';
    } else {
        struct slice name = slice_take_while(&rest, is_name_byte);
        for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++) {
            if (slice_equal(name, references[i].name))
                code_point = references[i].code_point;
        }
        if (code_point == 0)
            return '&';
    }
    (void)slice_take_byte(&rest, ';');
    *in = rest;
    return code_point;
}

/* ---- tags ------------------------------------------------------------------------------------------------------------------- */

/* To behind the closing ">", quoted attributes and all; the rest when there is none. */
static void skip_tag(struct slice *in)
{
    char quote = 0;
    while (in->len > 0) {
        char c = slice_take(in, 1).ptr[0];
        if (quote != 0)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '>')
            return;
    }
}

/* To behind "</name ...>". */
static void skip_element(struct slice *in, struct slice name)
{
    while (in->len > 0) {
        (void)slice_take(in, slice_find(*in, SLICE("</")));
        (void)slice_take(in, 2);
        if (slice_take_prefix_nocase(in, name)) {
            skip_tag(in);
            return;
        }
    }
}

/* Elements within a line do not part words. */
static bool parts_words(struct slice name)
{
    static const struct slice within[] = { SLICE_INIT("a"), SLICE_INIT("b"), SLICE_INIT("i"), SLICE_INIT("u"), SLICE_INIT("s"), SLICE_INIT("em"),
        SLICE_INIT("strong"), SLICE_INIT("span"), SLICE_INIT("font"), SLICE_INIT("small"), SLICE_INIT("big"), SLICE_INIT("tt"), SLICE_INIT("code"),
        SLICE_INIT("sub"), SLICE_INIT("sup"), SLICE_INIT("mark"), SLICE_INIT("o:p"), SLICE_INIT("wbr") };
    for (size_t i = 0; i < sizeof(within) / sizeof(within[0]); i++) {
        if (slice_equal_nocase(name, within[i]))
            return false;
    }
    return true;
}

static bool is_tag_byte(unsigned char c) { return byte_is_alnum(c) || c == ':' || c == '-'; }

/* Behind a "<". False: it is none, and the sign means itself. */
static bool take_markup(struct writer *w, struct slice *in)
{
    static const struct slice hidden[] = { SLICE_INIT("head"), SLICE_INIT("style"), SLICE_INIT("script"), SLICE_INIT("title") };
    if (slice_take_prefix_nocase(in, SLICE("!--"))) {
        (void)slice_take(in, slice_find(*in, SLICE("-->")));
        (void)slice_take(in, 3);
        return true;
    }
    struct slice rest = *in;
    bool is_end = slice_take_byte(&rest, '/'), is_other = slice_take_byte(&rest, '!') || slice_take_byte(&rest, '?');
    struct slice name = slice_take_while(&rest, is_tag_byte);
    if ((name.len == 0 || byte_is_digit((unsigned char)name.ptr[0])) && !is_other)
        return false;
    *in = rest;
    skip_tag(in);
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]) && !is_end; i++) {
        if (slice_equal_nocase(name, hidden[i]))
            skip_element(in, name);
    }
    w->owes_space |= parts_words(name);
    return true;
}

bool html_text(struct slice html, struct buf *out)
{
    struct writer w = { .out = out };
    while (html.len > 0 && !w.is_full) {
        uint32_t c;
        if (slice_take_byte(&html, '<')) {
            if (!take_markup(&w, &html))
                write_code_point(&w, '<');
        } else if (slice_take_byte(&html, '&')) {
            write_code_point(&w, take_reference(&html));
        } else if (utf8_take(&html, &c) == RC_OK) {
            write_code_point(&w, c);
        } else {
            (void)slice_take(&html, 1);
            write_code_point(&w, 0xfffd);
        }
    }
    return !w.is_full;
}
