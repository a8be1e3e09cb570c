/* Parsing what FETCH asks for: see fetch.h. */
#include "imap/fetch.h"

enum { ITEMS_MAX = 1000, FIELD_NAMES_MAX = 1000, LABEL_MAX = 128 * 1024 };

/* ---- sections: what stands in BODY[...] ------------------------------------------------------------------------------ */

static const struct {
    struct slice name;
    enum section_kind kind;
    bool needs_path;
} section_texts[] = {
    { SLICE_INIT("HEADER.FIELDS.NOT"), SECTION_FIELDS_NOT, false },    /* longest first */
    { SLICE_INIT("HEADER.FIELDS"), SECTION_FIELDS, false },
    { SLICE_INIT("HEADER"), SECTION_HEADER, false },
    { SLICE_INIT("TEXT"), SECTION_TEXT, false },
    { SLICE_INIT("MIME"), SECTION_MIME, true },
};
enum { SECTION_TEXTS = sizeof(section_texts) / sizeof(section_texts[0]) };

static bool parse_names(struct imap_parser *p, struct fetch_section *section)
{
    if (!imap_parse_space(p) || !imap_parse_byte(p, '('))
        return false;
    struct slice names[FIELD_NAMES_MAX];
    do {
        if (section->name_count == FIELD_NAMES_MAX)
            return imap_parse_failed(p, "too many field names");
        if (!imap_parse_astring(p, &names[section->name_count++]))
            return false;
    } while (imap_parse_takes(p, ' '));
    section->names = ARENA_ARRAY(p->arena, struct slice, section->name_count);
    if (section->names == NULL)
        return imap_parse_failed(p, "command too long");
    memcpy(section->names, names, section->name_count * sizeof(names[0]));
    return imap_parse_byte(p, ')');
}

static bool parse_section_text(struct imap_parser *p, struct fetch_section *section)
{
    for (size_t i = 0; i < SECTION_TEXTS; i++) {
        if (!slice_take_prefix_nocase(&p->in, section_texts[i].name))
            continue;
        section->kind = section_texts[i].kind;
        if (section_texts[i].needs_path && section->depth == 0)
            return imap_parse_failed(p, "MIME needs a part number");
        bool has_names = section->kind == SECTION_FIELDS || section->kind == SECTION_FIELDS_NOT;
        return !has_names || parse_names(p, section);
    }
    return imap_parse_failed(p, "there is no such section");
}

static bool parse_section(struct imap_parser *p, struct fetch_section *section)
{
    while (p->in.len > 0 && byte_is_digit((unsigned char)p->in.ptr[0])) {
        uint64_t number;
        if (section->depth == MIME_DEPTH_MAX)
            return imap_parse_failed(p, "parts are not nested so deep");
        if (!imap_parse_number(p, UINT32_MAX, &number) || number == 0)
            return imap_parse_failed(p, "a part number was expected");
        section->path[section->depth++] = (uint32_t)number;
        if (imap_parse_takes(p, ']'))
            return true;
        if (!imap_parse_takes(p, '.'))
            return imap_parse_failed(p, "\".\" or \"]\" was expected");
    }
    if (section->depth == 0 && imap_parse_takes(p, ']'))
        return true;
    if (!parse_section_text(p, section))
        return false;
    return imap_parse_takes(p, ']') || imap_parse_failed(p, "\"]\" was expected");
}

/* "<0.1000>" */
static bool parse_partial(struct imap_parser *p, struct fetch_section *section)
{
    if (!imap_parse_takes(p, '<'))
        return true;
    section->is_partial = true;
    if (!imap_parse_number(p, UINT32_MAX, &section->offset) || !imap_parse_takes(p, '.')
        || !imap_parse_number(p, UINT32_MAX, &section->length) || section->length == 0 || !imap_parse_takes(p, '>'))
        return imap_parse_failed(p, "\"<offset.length>\" was expected");
    return true;
}

static bool write_label(struct buf *out, const char *name, const struct fetch_section *section)
{
    (void)buf_append_str(out, name);
    for (size_t i = 0; i < section->depth; i++)
        (void)buf_printf(out, "%s%" PRIu32, i > 0 ? "." : "", section->path[i]);
    for (size_t i = 0; i < SECTION_TEXTS; i++) {
        if (section->kind == section_texts[i].kind)
            (void)buf_printf(out, "%s%.*s", section->depth > 0 ? "." : "", SLICE_ARG(section_texts[i].name));
    }
    for (size_t i = 0; i < section->name_count; i++) {
        (void)buf_append_str(out, i == 0 ? " (" : " ");
        (void)imap_write_astring(out, section->names[i]);
    }
    (void)buf_append_str(out, section->name_count > 0 ? ")]" : "]");
    if (section->is_partial)
        (void)buf_printf(out, "<%" PRIu64 ">", section->offset);
    return !out->overflow;
}

/* name: "BODY[" */
static bool make_label(struct imap_parser *p, const char *name, struct fetch_item *item)
{
    struct buf label;
    buf_init(&label, LABEL_MAX);
    bool ok = write_label(&label, name, item->section);
    item->label = arena_copy(p->arena, buf_slice(&label));
    buf_free(&label);
    return (ok && item->label.ptr != NULL) || imap_parse_failed(p, "command too long");
}

/* ---- items -------------------------------------------------------------------------------------------------------------- */

static struct fetch_item *add(struct imap_parser *p, struct fetch_items *items, enum fetch_kind kind)
{
    if (items->count == items->cap) {
        size_t cap = items->cap == 0 ? 16 : items->cap * 2;
        struct fetch_item *larger = items->cap < ITEMS_MAX ? ARENA_ARRAY(p->arena, struct fetch_item, cap) : NULL;
        if (larger == NULL) {
            (void)imap_parse_failed(p, "too many items");
            return NULL;
        }
        if (items->count > 0)
            memcpy(larger, items->items, items->count * sizeof(*larger));
        items->items = larger;
        items->cap = cap;
    }
    struct fetch_item *item = &items->items[items->count++];
    *item = (struct fetch_item){ .kind = kind };
    items->has_modseq |= kind == FETCH_MODSEQ;
    return item;
}

bool imap_fetch_add(struct imap_parser *p, struct fetch_items *items, enum fetch_kind kind)
{
    for (size_t i = 0; i < items->count; i++) {
        if (items->items[i].kind == kind)
            return true;
    }
    return add(p, items, kind) != NULL;
}

static struct fetch_section *add_section(struct imap_parser *p, struct fetch_items *items, struct fetch_item **item)
{
    *item = add(p, items, FETCH_SECTION);
    if (*item == NULL)
        return NULL;
    (*item)->section = ARENA_NEW(p->arena, struct fetch_section);
    if ((*item)->section == NULL)
        (void)imap_parse_failed(p, "command too long");
    return (*item)->section;
}

static bool parse_body(struct imap_parser *p, struct fetch_items *items, bool is_peek)
{
    struct fetch_item *item;
    struct fetch_section *section = add_section(p, items, &item);
    items->sets_seen |= !is_peek;
    return section != NULL && parse_section(p, section) && parse_partial(p, section) && make_label(p, "BODY[", item);
}

/* RFC 3516 4.2: only whole parts have an encoding. */
static bool parse_binary(struct imap_parser *p, struct fetch_items *items, bool is_peek, bool is_size)
{
    struct fetch_item *item;
    struct fetch_section *section = add_section(p, items, &item);
    items->sets_seen |= !is_peek && !is_size;
    if (section == NULL || !parse_section(p, section))
        return false;
    if (section->kind != SECTION_ALL)
        return imap_parse_failed(p, "a part number was expected");
    section->is_binary = true;
    if (is_size)
        item->kind = FETCH_BINARY_SIZE;
    else if (!parse_partial(p, section))
        return false;
    return make_label(p, is_size ? "BINARY.SIZE[" : "BINARY[", item);
}

static const struct {
    struct slice name;
    enum fetch_kind kind;
    bool is_old_section;        /* RFC822...: a section under another label */
    enum section_kind section;
    bool sets_seen;
} simple_items[] = {
    { SLICE_INIT("FLAGS"), FETCH_FLAGS, false, SECTION_ALL, false },
    { SLICE_INIT("UID"), FETCH_UID, false, SECTION_ALL, false },
    { SLICE_INIT("INTERNALDATE"), FETCH_INTERNALDATE, false, SECTION_ALL, false },
    { SLICE_INIT("RFC822.SIZE"), FETCH_SIZE, false, SECTION_ALL, false },
    { SLICE_INIT("MODSEQ"), FETCH_MODSEQ, false, SECTION_ALL, false },
    { SLICE_INIT("EMAILID"), FETCH_EMAILID, false, SECTION_ALL, false },
    { SLICE_INIT("THREADID"), FETCH_THREADID, false, SECTION_ALL, false },
    { SLICE_INIT("PREVIEW"), FETCH_PREVIEW, false, SECTION_ALL, false },
    { SLICE_INIT("ENVELOPE"), FETCH_ENVELOPE, false, SECTION_ALL, false },
    { SLICE_INIT("BODYSTRUCTURE"), FETCH_BODYSTRUCTURE, false, SECTION_ALL, false },
    { SLICE_INIT("BODY"), FETCH_BODY, false, SECTION_ALL, false },
    { SLICE_INIT("RFC822.HEADER"), FETCH_SECTION, true, SECTION_HEADER, false },
    { SLICE_INIT("RFC822.TEXT"), FETCH_SECTION, true, SECTION_TEXT, true },
    { SLICE_INIT("RFC822"), FETCH_SECTION, true, SECTION_ALL, true },
};

static bool add_named(struct imap_parser *p, struct fetch_items *items, struct slice name)
{
    for (size_t i = 0; i < sizeof(simple_items) / sizeof(simple_items[0]); i++) {
        if (!slice_equal_nocase(name, simple_items[i].name))
            continue;
        if (simple_items[i].kind == FETCH_PREVIEW)          /* LAZY: only what costs nothing; here it costs always the same */
            (void)slice_take_prefix_nocase(&p->in, SLICE(" (LAZY)"));
        if (!simple_items[i].is_old_section)
            return imap_fetch_add(p, items, simple_items[i].kind);
        struct fetch_item *item;
        struct fetch_section *section = add_section(p, items, &item);
        if (section == NULL)
            return false;
        section->kind = simple_items[i].section;
        item->label = simple_items[i].name;
        items->sets_seen |= simple_items[i].sets_seen;
        return true;
    }
    return imap_parse_failed(p, "there is no such FETCH item");
}

static bool is_item_byte(unsigned char c) { return byte_is_alnum(c) || c == '.'; }

static bool parse_item(struct imap_parser *p, struct fetch_items *items)
{
    struct slice name = slice_take_while(&p->in, is_item_byte);
    if (imap_parse_takes(p, '[')) {
        bool is_size = slice_equal_nocase(name, SLICE("BINARY.SIZE")), is_binary_peek = slice_equal_nocase(name, SLICE("BINARY.PEEK"));
        if (is_size || is_binary_peek || slice_equal_nocase(name, SLICE("BINARY")))
            return parse_binary(p, items, is_binary_peek, is_size);
        bool is_peek = slice_equal_nocase(name, SLICE("BODY.PEEK"));
        if (!is_peek && !slice_equal_nocase(name, SLICE("BODY")))
            return imap_parse_failed(p, "there is no such FETCH item");
        return parse_body(p, items, is_peek);
    }
    return add_named(p, items, name);
}

static const struct {
    struct slice name;
    enum fetch_kind kinds[5];
    size_t count;
} macros[] = {
    { SLICE_INIT("ALL"), { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_ENVELOPE }, 4 },
    { SLICE_INIT("FAST"), { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE }, 3 },
    { SLICE_INIT("FULL"), { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_ENVELOPE, FETCH_BODY }, 5 },
};

static bool take_macro(struct imap_parser *p, struct fetch_items *items)
{
    struct slice rest = p->in;
    struct slice name = slice_take_while(&rest, is_item_byte);
    for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
        if (!slice_equal_nocase(name, macros[i].name))
            continue;
        for (size_t k = 0; k < macros[i].count; k++)
            (void)imap_fetch_add(p, items, macros[i].kinds[k]);
        p->in = rest;
        return true;
    }
    return false;
}

bool imap_parse_fetch_items(struct imap_parser *p, struct fetch_items *items)
{
    if (take_macro(p, items))
        return true;
    if (!imap_parse_takes(p, '('))
        return parse_item(p, items);
    do {
        if (!parse_item(p, items))
            return false;
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')');
}
