/* thurn inspect for a person: the fields decoded, the tree of parts, what is wrong. */
#include "cli/inspect.h"

#include "base/text.h"
#include "mail/address.h"

static const struct slice address_fields[] = {
    SLICE_INIT("From"), SLICE_INIT("Sender"), SLICE_INIT("Reply-To"), SLICE_INIT("To"), SLICE_INIT("Cc"), SLICE_INIT("Bcc"),
};

static bool is_address_field(struct slice name)
{
    for (size_t i = 0; i < sizeof address_fields / sizeof address_fields[0]; i++) {
        if (slice_equal_nocase(name, address_fields[i]))
            return true;
    }
    return false;
}

enum style { NAME, STRONG, FAINT, WRONG };

static void append_style(struct inspection *in, enum style style)
{
    static const char *const codes[] = {
        [NAME] = "\033[36m", [STRONG] = "\033[1m", [FAINT] = "\033[2m", [WRONG] = "\033[31m",
    };
    if (in->is_color)
        (void)buf_append_str(&in->out, codes[style]);
}

static void end_style(struct inspection *in)
{
    if (in->is_color)
        (void)buf_append_str(&in->out, "\033[0m");
}

static void append_styled(struct inspection *in, enum style style, struct slice text)
{
    append_style(in, style);
    (void)buf_append_escaped(&in->out, text, true);
    end_style(in);
}

static void indent(struct inspection *in, size_t depth)
{
    for (size_t i = 0; i < depth; i++)
        (void)buf_append_str(&in->out, "  ");
}

static void append_entry(struct inspection *in, const struct mailbox_entry *e)
{
    struct address address = { .local_part = e->local_part, .domain = e->domain };

    if (e->name.len > 0) {
        (void)buf_append_escaped(&in->out, e->name, true);
        (void)buf_append_byte(&in->out, ' ');
    }
    struct buf written;
    buf_init(&written, e->local_part.len * 2 + e->domain.len + 16);
    (void)address_write_path(&address, &written);
    (void)buf_append_escaped(&in->out, buf_slice(&written), true);
    buf_free(&written);
}

/* "Anna <a@b.example>, group: x@y;", decoded. */
static void append_addresses(struct inspection *in, struct slice body)
{
    struct mailbox_entry *entries;
    size_t count;
    bool is_behind = false;

    if (address_list_parse(body, INSPECT_ADDRESSES_MAX, &in->arena, &entries, &count) != RC_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct mailbox_entry *e = &entries[i];
        if (is_behind && e->kind != ENTRY_GROUP_END)
            (void)buf_append_str(&in->out, ", ");
        is_behind = e->kind != ENTRY_GROUP_START;
        if (e->kind == ENTRY_MAILBOX)
            append_entry(in, e);
        else if (e->kind == ENTRY_INVALID)
            append_styled(in, WRONG, e->name);
        else if (e->kind == ENTRY_GROUP_START)
            (void)buf_append_escaped(&in->out, e->name, true);
        if (e->kind == ENTRY_GROUP_START || e->kind == ENTRY_GROUP_END)
            (void)buf_append_str(&in->out, e->kind == ENTRY_GROUP_START ? ": " : ";");
    }
}

static void append_decoded(struct buf *out, struct slice body)
{
    struct buf text;

    buf_init(&text, body.len * 4 + 64);
    (void)header_decode(body, &text);
    for (struct slice rest = buf_slice(&text); rest.len > 0;) {
        struct slice piece = slice_take_until(&rest, '\t');
        (void)buf_append_escaped(out, piece, true);
        if (rest.len > 0)
            (void)buf_append_byte(out, ' ');
    }
    buf_free(&text);
}

static void show_fields(struct inspection *in, const struct mime_part *part, size_t depth)
{
    struct slice rest = inspect_header_of(in, part);
    struct header_field field;
    enum rc rc;

    while ((rc = header_next(&rest, &field)) != RC_NONE) {
        indent(in, depth);
        if (rc != RC_OK) {
            append_styled(in, WRONG, slice_trim(field.whole));
        } else {
            append_styled(in, NAME, field.name);
            (void)buf_append_str(&in->out, ": ");
            if (is_address_field(field.name))
                append_addresses(in, field.body);
            else
                append_decoded(&in->out, field.body);
        }
        (void)buf_append_byte(&in->out, '\n');
    }
}

static void show_leaf(struct inspection *in, const struct mime_part *part, size_t depth)
{
    struct inspect_content content;

    if (!inspect_read_content(in, part, &content))
        return;
    indent(in, depth + 1);
    (void)buf_printf(&in->out, "content %zu bytes, sha256 ", content.size_bytes);
    append_style(in, FAINT);
    (void)hex_encode((struct slice){ (const char *)content.sha256, INSPECT_SHA256_BYTES }, &in->out);
    end_style(in);
    (void)buf_append_byte(&in->out, '\n');
}

static void show_part(struct inspection *in, const struct mime_part *part, size_t depth)
{
    struct slice charset = header_value_param(&part->type, SLICE("charset")), name = mime_file_name(part);
    size_t before = buf_len(&in->out);

    indent(in, depth);
    inspect_append_number(&in->out, part);
    if (buf_len(&in->out) > before + depth * 2)
        (void)buf_append_byte(&in->out, ' ');
    append_styled(in, STRONG, part->type.value);
    if (charset.len > 0) {
        (void)buf_append_str(&in->out, " charset=");
        (void)buf_append_escaped(&in->out, charset, true);
    }
    if (part->encoding_name.len > 0) {
        (void)buf_append_byte(&in->out, ' ');
        (void)buf_append_escaped(&in->out, part->encoding_name, true);
    }
    if (part->disposition.value.len > 0) {
        (void)buf_append_byte(&in->out, ' ');
        (void)buf_append_escaped(&in->out, part->disposition.value, true);
    }
    if (name.len > 0) {
        (void)buf_append_str(&in->out, " \"");
        append_styled(in, NAME, name);
        (void)buf_append_byte(&in->out, '"');
    }
    append_style(in, FAINT);
    (void)buf_printf(&in->out, "  header %zu-%zu, body %zu-%zu, %zu lines\n", part->header_start, part->body_start,
                     part->body_start, part->body_end, part->body_lines);
    end_style(in);
    if (part->parent != NULL && inspect_is_message_root(part))
        show_fields(in, part, depth + 2);
    if (part->first_child == NULL)
        show_leaf(in, part, depth);
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next)
        show_part(in, child, depth + 1);
}

static void show_defects(struct inspection *in)
{
    const struct lint *l = &in->lint;

    if (l->defect_count == 0) {
        (void)buf_append_str(&in->out, "\nNothing is wrong with it.\n");
        return;
    }
    (void)buf_printf(&in->out, "\nWhat is wrong with it (%zu):\n", l->defect_count + l->left_out);
    for (size_t i = 0; i < l->defect_count; i++) {
        (void)buf_printf(&in->out, "  line %zu, offset %zu: ", l->defects[i].line, l->defects[i].offset);
        append_styled(in, WRONG, slice_from_str(l->defects[i].text));
        (void)buf_append_byte(&in->out, '\n');
    }
    if (l->left_out > 0)
        (void)buf_printf(&in->out, "  and %zu more\n", l->left_out);
}

void inspect_show(struct inspection *in, const char *path)
{
    const struct lint_bytes *b = &in->lint.bytes;

    append_styled(in, STRONG, slice_from_str(path));
    (void)buf_printf(&in->out, ": %zu bytes, %zu part%s, line ends %s, longest line %zu bytes", in->message.len,
                     in->mime.part_count, in->mime.part_count == 1 ? "" : "s", inspect_line_ends(b), b->longest_line_bytes);
    if (b->eight_bit > 0)
        (void)buf_printf(&in->out, ", %zu bytes of 8 bits", b->eight_bit);
    (void)buf_append_str(&in->out, "\n\n");
    show_fields(in, in->mime.root, 0);
    (void)buf_append_byte(&in->out, '\n');
    show_part(in, in->mime.root, 0);
    show_defects(in);
}
