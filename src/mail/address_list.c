/* Address lists of headers: see address.h (RFC 5322 3.4 and 4.4).
 *
 * A list is cut into pieces at commas and semicolons that stand outside of quotes, comments and angle brackets; each
 * piece is then read by itself, so that one bad address spoils no other. What is opened and never closed is an
 * ordinary character, found out once per list: the cost is linear. */
#include "mail/address.h"

#include "mail/encoded.h"
#include "mail/header.h"

struct list {
    struct arena *arena;
    struct mailbox_entry *entries;
    size_t count, max;
    bool is_in_group;
    bool quotes_are_plain, comments_are_plain;      /* one was not closed: none is from there on */
    bool is_out_of_memory;
};

/* How long the quoted string at the front is, with its quotes; 0 when it is none. */
static size_t quoted_len(struct list *l, struct slice in)
{
    if (l->quotes_are_plain || in.len == 0 || in.ptr[0] != '"')
        return 0;
    for (size_t i = 1; i < in.len; i++) {
        if (in.ptr[i] == '\\')
            i++;
        else if (in.ptr[i] == '"')
            return i + 1;
    }
    l->quotes_are_plain = true;
    return 0;
}

static size_t comment_len(struct list *l, struct slice in)
{
    size_t depth = 0;

    if (l->comments_are_plain || in.len == 0 || in.ptr[0] != '(')
        return 0;
    for (size_t i = 0; i < in.len; i++) {
        if (in.ptr[i] == '\\')
            i++;
        else if (in.ptr[i] == '(')
            depth++;
        else if (in.ptr[i] == ')' && --depth == 0)
            return i + 1;
    }
    l->comments_are_plain = true;
    return 0;
}

/* "<...>" at the front; 0 when another "<" comes first or nothing closes it. */
static size_t angle_len(struct list *l, struct slice in)
{
    if (in.len == 0 || in.ptr[0] != '<')
        return 0;
    for (size_t i = 1; i < in.len; i++) {
        size_t quoted = quoted_len(l, slice_sub(in, i, in.len));
        if (quoted > 0)
            i += quoted - 1;
        else if (in.ptr[i] == '>')
            return i + 1;
        else if (in.ptr[i] == '<')
            return 0;
    }
    return 0;
}

/* What stands at the front as one unit: quoted string, comment, angle; 0 for an ordinary character. */
static size_t unit_len(struct list *l, struct slice in)
{
    size_t len = quoted_len(l, in);

    if (len == 0)
        len = comment_len(l, in);
    return len > 0 ? len : angle_len(l, in);
}

/* The next piece and the separator behind it (0 at the end). A colon separates only where a group may start. */
static struct slice take_piece(struct list *l, struct slice *in, char *separator)
{
    size_t at = 0;

    *separator = '\0';
    while (at < in->len) {
        char c = in->ptr[at];
        if (c == ',' || c == ';' || (c == ':' && !l->is_in_group)) {
            struct slice piece = slice_take(in, at);
            *separator = slice_take(in, 1).ptr[0];
            return piece;
        }
        size_t unit = unit_len(l, slice_sub(*in, at, in->len));
        at += unit > 0 ? unit : 1;
    }
    return slice_take(in, at);
}

/* Text that grows within room the arena gave for a whole piece. */
struct text {
    char *bytes;
    size_t len;
    bool has_gap;           /* white space was seen and not yet written */
};

static void text_append(struct text *t, char c)
{
    if (t->has_gap && t->len > 0)
        t->bytes[t->len++] = ' ';
    t->has_gap = false;
    t->bytes[t->len++] = c;
}

/* The inside of a quoted string or comment, escapes resolved. */
static void text_append_inside(struct text *t, struct slice unit)
{
    for (size_t i = 1; i + 1 < unit.len; i++) {
        if (unit.ptr[i] == '\\' && i + 2 < unit.len)
            i++;
        text_append(t, unit.ptr[i]);
    }
}

static bool is_blank(char c)
{
    return byte_is_space((unsigned char)c);
}

/* Everything that is not comment or angle, quotes resolved, runs of white space as one space. */
static bool take_phrase(struct list *l, struct slice in, struct slice *phrase, struct slice *comment, struct slice *angle)
{
    struct text words = { .bytes = arena_alloc(l->arena, 2, in.len + 1) };

    *comment = *angle = SLICE_NONE;
    if (words.bytes == NULL)
        return false;
    while (in.len > 0) {
        struct slice unit = slice_take(&in, unit_len(l, in));
        if (unit.len == 0) {
            char c = slice_take(&in, 1).ptr[0];
            if (is_blank(c))
                words.has_gap = true;
            else
                text_append(&words, c);
        } else if (unit.ptr[0] == '"') {
            text_append_inside(&words, unit);
        } else {
            words.has_gap = true;
            if (unit.ptr[0] == '(')
                *comment = unit;
            else
                *angle = slice_sub(unit, 1, unit.len - 2);
        }
    }
    *phrase = (struct slice){ words.bytes, words.len };
    return true;
}

static bool decode_name(struct list *l, struct slice raw, struct slice *name)
{
    struct buf utf8;

    if (raw.len == 0)
        return true;
    buf_init(&utf8, raw.len * 4 + 64);
    (void)encoded_word_decode(raw, &utf8);
    *name = arena_copy(l->arena, buf_slice(&utf8));
    buf_free(&utf8);
    return name->ptr != NULL || name->len == 0;
}

/* The last "@" outside of quotes, or in.len. */
static size_t find_at_sign(struct list *l, struct slice in)
{
    size_t found = in.len;

    for (size_t i = 0; i < in.len; i++) {
        size_t unit = quoted_len(l, slice_sub(in, i, in.len));
        if (unit == 0)
            unit = comment_len(l, slice_sub(in, i, in.len));
        if (unit > 0)
            i += unit - 1;
        else if (in.ptr[i] == '@')
            found = i;
    }
    return found;
}

/* One half of an addr-spec: comments go, quotes are resolved, white space around dots goes (RFC 5322 4.4); false
 * when white space is left within. */
static bool clean_half(struct list *l, struct slice in, struct slice *half)
{
    struct text t = { .bytes = arena_alloc(l->arena, 2, in.len + 1) };
    bool is_good = true;

    if (t.bytes == NULL) {
        l->is_out_of_memory = true;
        return false;
    }
    while (in.len > 0) {
        size_t len = quoted_len(l, in);
        if (len == 0 && (in.ptr[0] == '(' || is_blank(in.ptr[0]))) {
            (void)slice_take(&in, comment_len(l, in) > 0 ? comment_len(l, in) : 1);
            t.has_gap = true;
            continue;
        }
        bool is_dot = len == 0 && in.ptr[0] == '.';
        if (t.has_gap && t.len > 0 && !is_dot && t.bytes[t.len - 1] != '.')
            is_good = false;
        t.has_gap = false;
        struct slice unit = slice_take(&in, len > 0 ? len : 1);
        if (len > 0)
            text_append_inside(&t, unit);
        else
            text_append(&t, unit.ptr[0]);
        is_good = is_good && unit.ptr[0] != '<' && unit.ptr[0] != '>';
    }
    *half = (struct slice){ t.bytes, t.len };
    return is_good;
}

/* "local@domain", with an obsolete route before it. False when it is no address. */
static bool parse_addr_spec(struct list *l, struct slice in, struct mailbox_entry *e)
{
    in = slice_trim(in);
    if (in.len > 0 && in.ptr[0] == '@') {
        size_t colon = slice_find_byte(in, ':');
        if (colon == in.len)
            return false;
        e->route = slice_take(&in, colon);
        (void)slice_take(&in, 1);
    }
    size_t at = find_at_sign(l, in);
    bool has_domain = at < in.len;
    if (!clean_half(l, slice_sub(in, 0, at), &e->local_part) || e->local_part.len == 0)
        return false;
    if (!has_domain)
        return true;
    return clean_half(l, slice_sub(in, at + 1, in.len), &e->domain) && e->domain.len > 0;
}

static struct mailbox_entry *add_entry(struct list *l)
{
    size_t room = l->max - l->count;

    if (room <= (l->is_in_group ? 1u : 0u))         /* the group's end must fit */
        return NULL;
    return &l->entries[l->count++];
}

static void add_group_end(struct list *l)
{
    if (!l->is_in_group)
        return;
    l->is_in_group = false;
    struct mailbox_entry *e = add_entry(l);
    if (e != NULL)
        e->kind = ENTRY_GROUP_END;
}

static bool add_group_start(struct list *l, struct slice piece)
{
    struct slice comment, angle;

    if (l->max - l->count < 2)
        return true;
    struct mailbox_entry *e = add_entry(l);
    l->is_in_group = true;
    e->kind = ENTRY_GROUP_START;
    return take_phrase(l, piece, &e->raw_name, &comment, &angle) && decode_name(l, e->raw_name, &e->name);
}

static bool set_invalid(struct list *l, struct slice piece, struct mailbox_entry *e)
{
    *e = (struct mailbox_entry){ .kind = ENTRY_INVALID, .raw_name = slice_trim(piece) };
    return decode_name(l, e->raw_name, &e->name);
}

static bool read_piece(struct list *l, struct slice piece)
{
    struct slice phrase, comment, angle;

    if (!take_phrase(l, piece, &phrase, &comment, &angle))
        return false;
    if (phrase.len == 0 && comment.len == 0 && angle.ptr == NULL)
        return true;                                /* RFC 5322 4.4: nothing between two commas */
    struct mailbox_entry *e = add_entry(l);
    if (e == NULL)
        return true;
    *e = (struct mailbox_entry){ .kind = ENTRY_MAILBOX };
    bool is_address = parse_addr_spec(l, angle.ptr != NULL ? angle : piece, e);
    if (l->is_out_of_memory)
        return false;
    if (!is_address)
        return set_invalid(l, piece, e);
    if (angle.ptr != NULL) {
        e->raw_name = phrase;
    } else if (comment.len > 0) {                   /* "user@example.org (Full Name)" */
        struct text t = { .bytes = arena_alloc(l->arena, 2, comment.len + 1) };
        if (t.bytes == NULL)
            return false;
        text_append_inside(&t, comment);
        e->raw_name = (struct slice){ t.bytes, t.len };
    }
    return decode_name(l, e->raw_name, &e->name);
}

/* What is not closed within a piece says nothing of the rest of the list. */
static bool add_piece(struct list *l, struct slice piece)
{
    bool quotes_are_plain = l->quotes_are_plain, comments_are_plain = l->comments_are_plain;
    bool is_good = read_piece(l, piece);

    l->quotes_are_plain = quotes_are_plain;
    l->comments_are_plain = comments_are_plain;
    return is_good;
}

static bool parse_list(struct list *l, struct slice in)
{
    while (in.len > 0 && l->count < l->max) {
        char separator;
        struct slice piece = take_piece(l, &in, &separator);
        bool is_good = separator == ':' ? add_group_start(l, piece) : add_piece(l, piece);
        if (!is_good)
            return false;
        if (separator == ';')
            add_group_end(l);
    }
    add_group_end(l);
    return true;
}

/* More entries than separators and ends cannot be. */
static size_t entries_at_most(struct slice in, size_t max)
{
    size_t count = 2;

    for (size_t i = 0; i < in.len && count < max; i++)
        count += in.ptr[i] == ',' || in.ptr[i] == ';' || in.ptr[i] == ':' ? 2 : 0;
    return count < max ? count : max;
}

enum rc address_list_parse(struct slice field_body, size_t max, struct arena *arena, struct mailbox_entry **entries,
                           size_t *count)
{
    struct buf line;

    *entries = NULL;
    *count = 0;
    buf_init(&line, field_body.len + 1);
    (void)header_unfold(field_body, &line);
    struct slice in = arena_copy(arena, buf_slice(&line));
    buf_free(&line);
    struct list l = { .arena = arena, .max = entries_at_most(in, max) };
    l.entries = ARENA_ARRAY(arena, struct mailbox_entry, l.max + 1);
    if (l.entries == NULL || (in.len > 0 && in.ptr == NULL) || !parse_list(&l, in))
        return RC_TEMP;
    *entries = l.entries;
    *count = l.count;
    return RC_OK;
}
