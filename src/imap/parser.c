/* Command arguments: see parser.h. */
#include "imap/parser.h"

#include "base/text.h"
#include "mail/utf7.h"
#include "store/store.h"

void imap_parser_init(struct imap_parser *p, struct slice in, struct arena *arena)
{
    *p = (struct imap_parser){ .in = in, .arena = arena };
}

bool imap_parse_failed(struct imap_parser *p, const char *error)
{
    p->error = error;
    return false;
}

/* atom-specials: "(" ")" "{" SP CTL % * DQUOTE \ ] */
bool imap_is_atom_byte(unsigned char c) { return c > ' ' && c < 0x7f && strchr("(){%*\"\\]", c) == NULL; }

static bool is_astring_byte(unsigned char c) { return imap_is_atom_byte(c) || c == ']'; }
static bool is_pattern_byte(unsigned char c) { return is_astring_byte(c) || c == '%' || c == '*'; }
static bool is_tag_byte(unsigned char c) { return is_astring_byte(c) && c != '+'; }
static bool is_set_byte(unsigned char c) { return byte_is_digit(c) || c == ':' || c == ',' || c == '*'; }

bool imap_parse_end(struct imap_parser *p)
{
    return p->in.len == 0 || imap_parse_failed(p, "unexpected text at the end of the command");
}

bool imap_parse_peeks(const struct imap_parser *p, char byte) { return p->in.len > 0 && p->in.ptr[0] == byte; }
bool imap_parse_takes(struct imap_parser *p, char byte) { return slice_take_byte(&p->in, byte); }

bool imap_parse_space(struct imap_parser *p)
{
    return slice_take_byte(&p->in, ' ') || imap_parse_failed(p, p->in.len == 0 ? "an argument is missing" : "a space was expected");
}

bool imap_parse_byte(struct imap_parser *p, char byte)
{
    if (slice_take_byte(&p->in, byte))
        return true;
    return imap_parse_failed(p, byte == '(' ? "\"(\" was expected" : byte == ')' ? "\")\" was expected" : "syntax error");
}

bool imap_parse_tag(struct imap_parser *p, struct slice *tag)
{
    *tag = slice_take_while(&p->in, is_tag_byte);
    return tag->len > 0 || imap_parse_failed(p, "a tag was expected");
}

bool imap_parse_atom(struct imap_parser *p, struct slice *atom)
{
    *atom = slice_take_while(&p->in, imap_is_atom_byte);
    return atom->len > 0 || imap_parse_failed(p, "a word was expected");
}

/* "{5}" or "{5+}" CRLF and the bytes; that they are all there was the collector's work. */
static bool parse_literal(struct imap_parser *p, struct slice *out)
{
    uint64_t len;
    if (!slice_take_byte(&p->in, '{') || !slice_take_number(&p->in, SIZE_MAX, &len))
        return imap_parse_failed(p, "a literal was expected");
    (void)slice_take_byte(&p->in, '+');
    if (!slice_take_prefix_nocase(&p->in, SLICE("}\r\n")) || len > p->in.len)
        return imap_parse_failed(p, "a literal is not where it was announced");
    *out = slice_take(&p->in, (size_t)len);
    return true;
}

/* Eight-bit bytes are let through: RFC 3501 wants a literal for them, but what they mean is clear. */
static bool parse_quoted(struct imap_parser *p, struct slice *out)
{
    if (!slice_take_byte(&p->in, '"'))
        return imap_parse_failed(p, "a quoted string was expected");
    size_t end = 0;
    bool has_escapes = false;
    while (end < p->in.len && p->in.ptr[end] != '"') {
        has_escapes |= p->in.ptr[end] == '\\';
        end += p->in.ptr[end] == '\\' ? 2 : 1;
    }
    if (end >= p->in.len)
        return imap_parse_failed(p, "a quoted string is not closed");
    struct slice raw = slice_take(&p->in, end);
    (void)slice_take(&p->in, 1);
    *out = raw;
    if (raw.len > 0 && memchr(raw.ptr, '\n', raw.len) != NULL)
        return imap_parse_failed(p, "a quoted string is not closed");
    if (!has_escapes)
        return true;
    char *text = arena_alloc(p->arena, 1, raw.len);
    if (text == NULL)
        return imap_parse_failed(p, "command too long");
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.ptr[i] == '\\')
            i++;
        text[len++] = raw.ptr[i];
    }
    *out = (struct slice){ text, len };
    return true;
}

bool imap_parse_string(struct imap_parser *p, struct slice *out)
{
    if (imap_parse_peeks(p, '"'))
        return parse_quoted(p, out);
    if (imap_parse_peeks(p, '{'))
        return parse_literal(p, out);
    return imap_parse_failed(p, "a string was expected");
}

bool imap_parse_astring(struct imap_parser *p, struct slice *out)
{
    if (imap_parse_peeks(p, '"') || imap_parse_peeks(p, '{'))
        return imap_parse_string(p, out);
    *out = slice_take_while(&p->in, is_astring_byte);
    return out->len > 0 || imap_parse_failed(p, "a word or a string was expected");
}

bool imap_parse_nstring(struct imap_parser *p, struct slice *out)
{
    if (!slice_take_prefix_nocase(&p->in, SLICE("NIL")))
        return imap_parse_string(p, out);
    *out = SLICE_NONE;
    return true;
}

bool imap_parse_number(struct imap_parser *p, uint64_t max, uint64_t *number)
{
    return slice_take_number(&p->in, max, number) || imap_parse_failed(p, "a number was expected");
}

bool imap_parse_set(struct imap_parser *p, struct slice *set)
{
    if (imap_parse_peeks(p, '$')) {
        *set = slice_take(&p->in, 1);
        return true;
    }
    struct slice rest = slice_take_while(&p->in, is_set_byte);
    *set = rest;
    do {
        for (int part = 0; part == 0 || (part == 1 && slice_take_byte(&rest, ':')); part++) {
            uint64_t number = 1;
            if (!slice_take_byte(&rest, '*') && (!slice_take_number(&rest, UINT32_MAX, &number) || number == 0))
                return imap_parse_failed(p, "a set of message numbers was expected");
        }
    } while (slice_take_byte(&rest, ','));
    return rest.len == 0 || imap_parse_failed(p, "a set of message numbers was expected");
}

static bool decode_name(struct imap_parser *p, struct slice wire, struct slice *utf8)
{
    struct buf text;
    *utf8 = wire;
    if (p->is_utf8)
        return utf8_is_valid(wire) || imap_parse_failed(p, "the mailbox name is not in UTF-8");
    buf_init(&text, wire.len * 3 + 1);
    enum rc rc = utf7_decode(wire, &text);
    *utf8 = arena_copy(p->arena, buf_slice(&text));
    buf_free(&text);
    if (rc != RC_OK)
        return imap_parse_failed(p, "the mailbox name is not in modified UTF-7");
    return utf8->ptr != NULL || imap_parse_failed(p, "command too long");
}

bool imap_parse_mailbox(struct imap_parser *p, struct slice *utf8)
{
    struct slice wire;
    return imap_parse_astring(p, &wire) && decode_name(p, wire, utf8);
}

bool imap_parse_pattern(struct imap_parser *p, struct slice *utf8)
{
    struct slice wire;
    if (imap_parse_peeks(p, '"') || imap_parse_peeks(p, '{')) {
        if (!imap_parse_string(p, &wire))
            return false;
    } else {
        wire = slice_take_while(&p->in, is_pattern_byte);
        if (wire.len == 0)
            return imap_parse_failed(p, "a mailbox pattern was expected");
    }
    return decode_name(p, wire, utf8);
}

static const struct {
    struct slice name;
    uint32_t flag;
} system_flags[] = {
    { SLICE_INIT("Answered"), FLAG_ANSWERED }, { SLICE_INIT("Flagged"), FLAG_FLAGGED }, { SLICE_INIT("Deleted"), FLAG_DELETED },
    { SLICE_INIT("Seen"), FLAG_SEEN },         { SLICE_INIT("Draft"), FLAG_DRAFT },     { SLICE_INIT("Recent"), 0 },
};

static bool parse_system_flag(struct imap_parser *p, struct imap_flags *flags)
{
    struct slice name;
    if (!imap_parse_atom(p, &name))
        return false;
    for (size_t i = 0; i < sizeof(system_flags) / sizeof(system_flags[0]); i++) {
        if (!slice_equal_nocase(name, system_flags[i].name))
            continue;
        flags->system |= system_flags[i].flag;
        flags->has_recent |= system_flags[i].flag == 0;
        return true;
    }
    return imap_parse_failed(p, "there is no such system flag");
}

static bool parse_flag(struct imap_parser *p, struct imap_flags *flags)
{
    if (imap_parse_takes(p, '\\'))
        return parse_system_flag(p, flags);
    struct slice keyword;
    if (!imap_parse_atom(p, &keyword))
        return false;
    for (size_t i = 0; i < flags->keyword_count; i++) {
        if (slice_equal_nocase(flags->keywords[i], keyword))
            return true;
    }
    if (flags->keyword_count == IMAP_FLAG_KEYWORDS_MAX)
        return imap_parse_failed(p, "too many keywords");
    flags->keywords[flags->keyword_count++] = keyword;
    return true;
}

bool imap_parse_flag_list(struct imap_parser *p, bool bare_allowed, struct imap_flags *flags)
{
    *flags = (struct imap_flags){ .system = 0 };
    bool in_list = imap_parse_takes(p, '(');
    if (!in_list && !bare_allowed)
        return imap_parse_failed(p, "a list of flags was expected");
    if (in_list && imap_parse_takes(p, ')'))
        return true;
    do {
        if (!parse_flag(p, flags))
            return false;
    } while (imap_parse_takes(p, ' '));
    return !in_list || imap_parse_byte(p, ')');
}

bool imap_parse_date_time(struct imap_parser *p, struct mail_date *date)
{
    struct slice text;
    if (!parse_quoted(p, &text))
        return false;
    return date_parse_imap(text, date) == RC_OK || imap_parse_failed(p, "that is not a date and time");
}

bool imap_parse_day(struct imap_parser *p, int64_t *day)
{
    struct slice text;
    if (!imap_parse_astring(p, &text))
        return false;
    return date_parse_imap_day(text, day) == RC_OK || imap_parse_failed(p, "that is not a date");
}
