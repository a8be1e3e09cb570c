/* Responses of an IMAP server: see response.h. */
#include "imap/response.h"

#include "mail/utf7.h"

#include <stddef.h>

struct parser {
    const struct imap_raw *raw;
    struct slice in;
    struct arena *arena;
    struct imap_response *response;
    struct fault *fault;
};

static enum rc broken(struct parser *p, const char *what)
{
    return fault_perm(p->fault, 0, "the server's response cannot be understood: %s", what);
}

/* ---- words and strings ----------------------------------------------------------------------------------------- */

static bool is_atom_byte(unsigned char byte)
{
    return byte > ' ' && byte != 0x7f && strchr("(){\"", byte) == NULL;
}

static bool is_flag_byte(unsigned char byte) { return is_atom_byte(byte) || byte == '{'; }
static bool is_key_byte(unsigned char byte) { return is_atom_byte(byte) && byte != '['; }

static enum rc take_quoted(struct parser *p, struct slice *out)
{
    struct slice rest = p->in;
    char *copy = arena_alloc(p->arena, 1, rest.len + 1);
    size_t len = 0;
    if (copy == NULL)
        return broken(p, "too long");
    slice_take(&rest, 1);
    while (rest.len > 0) {
        char byte = slice_take(&rest, 1).ptr[0];
        if (byte == '"') {
            *out = (struct slice){ copy, len };
            p->in = rest;
            return RC_OK;
        }
        if (byte == '\\' && rest.len > 0)
            byte = slice_take(&rest, 1).ptr[0];
        copy[len++] = byte;
    }
    return broken(p, "a quoted string does not end");
}

static bool is_streamed(const struct parser *p)
{
    size_t offset = (size_t)(p->in.ptr - p->raw->text.ptr);
    for (size_t i = 0; i < p->raw->streamed_count; i++) {
        if (p->raw->streamed[i] == offset)
            return true;
    }
    return false;
}

static enum rc take_literal(struct parser *p, struct slice *out)
{
    uint64_t size;
    bool was_streamed = is_streamed(p);
    slice_take(&p->in, 1);
    if (!slice_take_number(&p->in, UINT32_MAX, &size) || !slice_take_prefix_nocase(&p->in, SLICE("}\r\n")))
        return broken(p, "a literal without its size");
    if (was_streamed) {
        *out = SLICE_NONE;
        return RC_OK;
    }
    if (size > p->in.len)
        return broken(p, "a literal is cut short");
    *out = slice_take(&p->in, (size_t)size);
    return RC_OK;
}

/* A string in any of its forms, or an atom; NIL is an empty one with *is_nil. */
static enum rc take_string(struct parser *p, struct slice *out, bool *is_nil)
{
    *is_nil = false;
    if (p->in.len > 0 && p->in.ptr[0] == '"')
        return take_quoted(p, out);
    if (p->in.len > 0 && p->in.ptr[0] == '{')
        return take_literal(p, out);
    *out = slice_take_while(&p->in, is_atom_byte);
    if (out->len == 0)
        return broken(p, "a string is missing");
    *is_nil = slice_equal_nocase(*out, SLICE("NIL"));
    return RC_OK;
}

/* Any value: what we do not ask for may come all the same. */
static enum rc skip_value(struct parser *p)
{
    unsigned depth = 0;
    do {
        struct slice string;
        bool is_nil;
        (void)slice_take_while(&p->in, byte_is_space);
        if (slice_take_byte(&p->in, '(')) {
            if (++depth > IMAP_NESTING_MAX)
                return broken(p, "nested too deeply");
        } else if (depth > 0 && slice_take_byte(&p->in, ')')) {
            depth--;
        } else if (take_string(p, &string, &is_nil) != RC_OK) {
            return RC_PERM;
        }
    } while (depth > 0);
    return RC_OK;
}

static bool take_space(struct parser *p) { return slice_take_while(&p->in, byte_is_space).len > 0; }

static enum rc take_flags(struct parser *p)
{
    struct imap_response *response = p->response;
    size_t cap = 0;
    response->flag_count = 0;
    response->flags = NULL;
    if (!slice_take_byte(&p->in, '('))
        return broken(p, "a list of flags is missing");
    while (!slice_take_byte(&p->in, ')')) {
        struct slice flag = slice_take_while(&p->in, is_flag_byte);
        if (flag.len == 0)
            return broken(p, "a flag is missing");
        if (response->flag_count == IMAP_RESPONSE_FLAGS_MAX)
            return broken(p, "too many flags");
        if (response->flag_count == cap) {
            struct slice *grown = ARENA_ARRAY(p->arena, struct slice, cap = cap == 0 ? 16 : cap * 2);
            if (grown == NULL)
                return broken(p, "too long");
            if (response->flag_count > 0)
                memcpy(grown, response->flags, response->flag_count * sizeof(*grown));
            response->flags = grown;
        }
        response->flags[response->flag_count++] = flag;
        take_space(p);
    }
    response->has_flags = true;
    return RC_OK;
}

static enum rc take_name(struct parser *p)
{
    bool is_nil;
    struct buf utf8;
    struct imap_response *response = p->response;
    enum rc rc = take_string(p, &response->wire_name, &is_nil);
    if (rc != RC_OK)
        return rc;
    buf_init(&utf8, response->wire_name.len * 3 + 8);
    response->name = response->wire_name;
    if (utf7_decode(response->wire_name, &utf8) == RC_OK)
        response->name = arena_copy(p->arena, buf_slice(&utf8));
    buf_free(&utf8);
    return response->name.ptr == NULL && response->name.len > 0 ? broken(p, "too long") : RC_OK;
}

/* ---- responses ----------------------------------------------------------------------------------------------------- */

/* resp-text (RFC 3501 7.1): "[code] text". */
static enum rc parse_status_text(struct parser *p)
{
    take_space(p);
    if (slice_take_byte(&p->in, '[')) {
        size_t end = slice_find_byte(p->in, ']');
        if (end == p->in.len)
            return broken(p, "a response code does not end");
        p->response->code = slice_take(&p->in, end);
        slice_take(&p->in, 1);
    }
    p->response->text = slice_trim(p->in);
    return RC_OK;
}

static enum rc parse_words(struct parser *p)
{
    p->response->text = slice_trim(p->in);
    return RC_OK;
}

static enum rc parse_list(struct parser *p)
{
    struct slice delimiter;
    bool is_nil;
    take_space(p);
    if (take_flags(p) != RC_OK)
        return RC_PERM;
    take_space(p);
    if (take_string(p, &delimiter, &is_nil) != RC_OK)
        return RC_PERM;
    if (!is_nil && delimiter.len != 1)
        return broken(p, "the delimiter is not one character");
    p->response->delimiter = is_nil ? '\0' : delimiter.ptr[0];
    take_space(p);
    return take_name(p);
}

static enum rc parse_mailbox_status(struct parser *p)
{
    static const struct { const char *name; size_t offset; } items[] = {
        { "MESSAGES", offsetof(struct imap_response, messages) },
        { "UNSEEN", offsetof(struct imap_response, unseen) },
        { "UIDNEXT", offsetof(struct imap_response, uidnext) },
        { "UIDVALIDITY", offsetof(struct imap_response, uidvalidity) },
    };
    take_space(p);
    if (take_name(p) != RC_OK)
        return RC_PERM;
    take_space(p);
    if (!slice_take_byte(&p->in, '('))
        return broken(p, "STATUS without its list");
    while (!slice_take_byte(&p->in, ')')) {
        uint64_t value;
        struct slice name = slice_take_while(&p->in, is_atom_byte);
        if (name.len == 0 || !take_space(p) || !slice_take_number(&p->in, UINT64_MAX, &value))
            return broken(p, "STATUS without a number");
        for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++) {
            if (slice_equal_nocase(name, slice_from_str(items[i].name)))
                *(uint32_t *)(void *)((char *)p->response + items[i].offset) = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
        }
        take_space(p);
    }
    return RC_OK;
}

static enum rc take_uid(struct parser *p)
{
    uint64_t value;
    if (!slice_take_number(&p->in, UINT32_MAX, &value) || value == 0)
        return broken(p, "UID without a number");
    p->response->uid = (uint32_t)value;
    p->response->has_uid = true;
    return RC_OK;
}

static enum rc take_size(struct parser *p)
{
    p->response->has_size = slice_take_number(&p->in, UINT64_MAX, &p->response->size);
    return p->response->has_size ? RC_OK : broken(p, "RFC822.SIZE without a number");
}

static enum rc take_date(struct parser *p)
{
    struct slice text;
    bool is_nil;
    if (take_string(p, &text, &is_nil) != RC_OK)
        return RC_PERM;
    p->response->has_date = date_parse_imap(text, &p->response->date) == RC_OK;
    return RC_OK;
}

static enum rc take_body(struct parser *p)
{
    bool is_nil;
    if (p->response->has_body)
        return broken(p, "a body twice");
    if (take_string(p, &p->response->body, &is_nil) != RC_OK)
        return RC_PERM;
    p->response->has_body = !is_nil;
    if (is_nil)
        p->response->body = SLICE_NONE;
    return RC_OK;
}

/* "BODY[HEADER.FIELDS (DATE)]<0>": the brackets may hold spaces. */
static struct slice take_item_name(struct parser *p)
{
    struct slice name = slice_take_while(&p->in, is_key_byte);
    if (p->in.len > 0 && p->in.ptr[0] == '[') {
        (void)slice_take(&p->in, slice_find_byte(p->in, ']') + 1);
        (void)slice_take_while(&p->in, is_atom_byte);
        return SLICE("BODY[]");          /* the section does not matter to us */
    }
    return name;
}

static enum rc parse_fetch(struct parser *p)
{
    static const struct { const char *name; enum rc (*take)(struct parser *); } items[] = {
        { "UID", take_uid }, { "FLAGS", take_flags }, { "RFC822.SIZE", take_size }, { "INTERNALDATE", take_date },
        { "BODY[]", take_body }, { "RFC822", take_body },
    };
    take_space(p);
    if (!slice_take_byte(&p->in, '('))
        return broken(p, "FETCH without its list");
    while (!slice_take_byte(&p->in, ')')) {
        enum rc (*take)(struct parser *) = skip_value;
        struct slice name = take_item_name(p);
        if (name.len == 0 || !take_space(p))
            return broken(p, "FETCH without an item");
        for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++) {
            if (slice_equal_nocase(name, slice_from_str(items[i].name)))
                take = items[i].take;
        }
        if (take(p) != RC_OK)
            return RC_PERM;
        take_space(p);
    }
    return RC_OK;
}

static enum rc parse_nothing(struct parser *p)
{
    (void)p;
    return RC_OK;
}

static const struct kind {
    const char *name;
    enum imap_says says;
    bool has_number;
    enum rc (*parse)(struct parser *);
} kinds[] = {
    { "OK", IMAP_SAYS_OK, false, parse_status_text },
    { "NO", IMAP_SAYS_NO, false, parse_status_text },
    { "BAD", IMAP_SAYS_BAD, false, parse_status_text },
    { "BYE", IMAP_SAYS_BYE, false, parse_status_text },
    { "PREAUTH", IMAP_SAYS_PREAUTH, false, parse_status_text },
    { "CAPABILITY", IMAP_SAYS_CAPABILITY, false, parse_words },
    { "LIST", IMAP_SAYS_LIST, false, parse_list },
    { "LSUB", IMAP_SAYS_LSUB, false, parse_list },
    { "STATUS", IMAP_SAYS_STATUS, false, parse_mailbox_status },
    { "EXISTS", IMAP_SAYS_EXISTS, true, parse_nothing },
    { "EXPUNGE", IMAP_SAYS_EXPUNGE, true, parse_nothing },
    { "FETCH", IMAP_SAYS_FETCH, true, parse_fetch },
};

static const struct kind *find_kind(struct slice name, bool has_number)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (kinds[i].has_number == has_number && slice_equal_nocase(name, slice_from_str(kinds[i].name)))
            return &kinds[i];
    }
    return NULL;
}

static enum rc parse_tagged(struct parser *p, const struct kind *kind)
{
    if (kind == NULL || kind->parse != parse_status_text || kind->says == IMAP_SAYS_BYE || kind->says == IMAP_SAYS_PREAUTH)
        return broken(p, "a tagged response is OK, NO or BAD");
    p->response->says = kind->says;
    return parse_status_text(p);
}

enum rc imap_response_parse(const struct imap_raw *raw, struct arena *arena, struct imap_response *response, struct fault *f)
{
    struct parser p = { .raw = raw, .in = raw->text, .arena = arena, .response = response, .fault = f };
    uint64_t number = 0;
    *response = (struct imap_response){ .says = IMAP_SAYS_OTHER };
    if (slice_take_byte(&p.in, '+')) {
        response->says = IMAP_SAYS_CONTINUE;
        return parse_words(&p);
    }
    struct slice tag = slice_take_while(&p.in, is_atom_byte);
    if (tag.len == 0 || !take_space(&p))
        return broken(&p, "no tag");
    bool has_number = slice_take_number(&p.in, UINT32_MAX, &number) && take_space(&p);
    const struct kind *kind = find_kind(slice_take_while(&p.in, is_atom_byte), has_number);
    if (!slice_equal(tag, SLICE("*"))) {
        response->tag = tag;
        return parse_tagged(&p, kind);
    }
    if (kind == NULL)
        return RC_OK;
    response->says = kind->says;
    response->number = (uint32_t)number;
    return kind->parse(&p);
}

bool imap_literal_at_end(struct slice line, uint64_t *size)
{
    if (line.len < 3 || line.ptr[line.len - 1] != '}')
        return false;
    size_t open = line.len - 1;
    while (open > 0 && byte_is_digit((unsigned char)line.ptr[open - 1]))
        open--;
    if (open == 0 || line.ptr[open - 1] != '{')
        return false;
    struct slice digits = slice_sub(line, open, line.len - 1 - open);
    return slice_take_number(&digits, UINT64_MAX, size);
}

bool imap_is_status_line(struct slice line)
{
    if (slice_take_byte(&line, '+'))
        return true;
    struct slice tag = slice_take_until(&line, ' ');
    if (!slice_equal(tag, SLICE("*")))
        return true;
    const struct kind *kind = find_kind(slice_take_while(&line, is_atom_byte), false);
    return kind != NULL && kind->parse == parse_status_text;
}

bool imap_response_has_flag(const struct imap_response *response, struct slice flag)
{
    for (size_t i = 0; i < response->flag_count; i++) {
        if (slice_equal_nocase(response->flags[i], flag))
            return true;
    }
    return false;
}
