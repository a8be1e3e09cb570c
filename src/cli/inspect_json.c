/* thurn inspect for a program: one JSON object (RFC 8259) on one line. */
#include "cli/inspect.h"

#include "base/text.h"
#include "mail/address.h"
#include "mail/date.h"

/* Fields that hold addresses; in JSON under these names. */
static const struct {
    struct slice name;
    const char *json;
} address_fields[] = {
    { SLICE_INIT("From"), "from" },         { SLICE_INIT("Sender"), "sender" }, { SLICE_INIT("Reply-To"), "reply_to" },
    { SLICE_INIT("To"), "to" },             { SLICE_INIT("Cc"), "cc" },         { SLICE_INIT("Bcc"), "bcc" },
};
enum { ADDRESS_FIELDS = sizeof address_fields / sizeof address_fields[0] };

static void put_name(struct buf *out, const char *name)
{
    (void)json_append_string(out, slice_from_str(name));
    (void)buf_append_byte(out, ':');
}

static void put_text(struct buf *out, const char *name, struct slice text)
{
    (void)buf_append_byte(out, ',');
    put_name(out, name);
    (void)json_append_string(out, text);
}

static void put_number(struct buf *out, const char *name, size_t number)
{
    (void)buf_append_byte(out, ',');
    put_name(out, name);
    (void)buf_printf(out, "%zu", number);
}

static void put_fields(struct inspection *in, const struct mime_part *part)
{
    struct buf *out = &in->out;
    struct slice rest = inspect_header_of(in, part);
    struct header_field field;
    bool is_first = true;
    enum rc rc;

    (void)buf_append_str(out, ",\"fields\":[");
    while ((rc = header_next(&rest, &field)) != RC_NONE) {
        struct buf text;
        if (rc != RC_OK)
            continue;
        buf_init(&text, field.body.len * 4 + 64);
        (void)header_decode(field.body, &text);
        (void)buf_append_str(out, is_first ? "{\"name\":" : ",{\"name\":");
        (void)json_append_string(out, field.name);
        put_text(out, "value", buf_slice(&text));
        put_number(out, "offset", (size_t)(field.whole.ptr - in->message.ptr));
        put_number(out, "bytes", field.whole.len);
        (void)buf_append_byte(out, '}');
        buf_free(&text);
        is_first = false;
    }
    (void)buf_append_byte(out, ']');
}

static void put_entries(struct buf *out, const struct mailbox_entry *entries, size_t count)
{
    struct slice group = SLICE_NONE;
    bool is_first = true;

    for (size_t i = 0; i < count; i++) {
        const struct mailbox_entry *e = &entries[i];
        if (e->kind == ENTRY_GROUP_START || e->kind == ENTRY_GROUP_END) {
            group = e->kind == ENTRY_GROUP_START ? e->name : SLICE_NONE;
            continue;
        }
        (void)buf_append_str(out, is_first ? "{\"name\":" : ",{\"name\":");
        (void)json_append_string(out, e->kind == ENTRY_MAILBOX ? e->name : SLICE_NONE);
        if (e->kind == ENTRY_MAILBOX) {
            put_text(out, "local_part", e->local_part);
            put_text(out, "domain", e->domain);
        } else {
            put_text(out, "invalid", e->name);
        }
        if (group.len > 0)
            put_text(out, "group", group);
        (void)buf_append_byte(out, '}');
        is_first = false;
    }
}

static void put_addresses(struct inspection *in, const struct mime_part *part)
{
    struct slice header = inspect_header_of(in, part);

    for (size_t i = 0; i < ADDRESS_FIELDS; i++) {
        struct header_field field;
        struct mailbox_entry *entries;
        size_t count;
        if (header_find(header, address_fields[i].name, &field) != RC_OK
            || address_list_parse(field.body, INSPECT_ADDRESSES_MAX, &in->arena, &entries, &count) != RC_OK)
            continue;
        (void)buf_append_byte(&in->out, ',');
        put_name(&in->out, address_fields[i].json);
        (void)buf_append_byte(&in->out, '[');
        put_entries(&in->out, entries, count);
        (void)buf_append_byte(&in->out, ']');
    }
}

static void put_date(struct inspection *in, const struct mime_part *part)
{
    struct header_field field;
    struct mail_date date;
    struct buf iso;

    if (header_find(inspect_header_of(in, part), SLICE("Date"), &field) != RC_OK || date_parse(field.body, &date) != RC_OK)
        return;
    buf_init(&iso, 64);
    (void)date_write_iso(date.unix_s * 1000, &iso);
    put_text(&in->out, "date", buf_slice(&iso));
    (void)buf_printf(&in->out, ",\"date_zone_minutes\":%d", (int)date.zone_min);
    buf_free(&iso);
}

static void put_params(struct buf *out, const char *name, const struct header_value *value)
{
    (void)buf_append_byte(out, ',');
    put_name(out, name);
    (void)buf_append_byte(out, '{');
    for (size_t i = 0; i < value->param_count; i++) {
        if (i > 0)
            (void)buf_append_byte(out, ',');
        (void)json_append_string(out, value->params[i].name);
        (void)buf_append_byte(out, ':');
        (void)json_append_string(out, value->params[i].value);
    }
    (void)buf_append_byte(out, '}');
}

static void put_leaf(struct inspection *in, const struct mime_part *part)
{
    struct inspect_content content;
    struct buf hex;

    if (!inspect_read_content(in, part, &content))
        return;
    buf_init(&hex, 2 * INSPECT_SHA256_BYTES);
    (void)hex_encode((struct slice){ (const char *)content.sha256, INSPECT_SHA256_BYTES }, &hex);
    put_number(&in->out, "content_bytes", content.size_bytes);
    put_text(&in->out, "sha256", buf_slice(&hex));
    buf_free(&hex);
}

static void put_part(struct inspection *in, const struct mime_part *part)
{
    struct buf *out = &in->out;
    struct slice name = mime_file_name(part);
    struct buf number;

    buf_init(&number, 1024);
    inspect_append_number(&number, part);
    (void)buf_append_str(out, "{\"number\":");
    (void)json_append_string(out, buf_slice(&number));
    buf_free(&number);
    put_text(out, "type", part->type.value);
    put_params(out, "type_params", &part->type);
    put_text(out, "encoding", part->encoding_name.len > 0 ? part->encoding_name : SLICE("7bit"));
    if (part->disposition.value.len > 0) {
        put_text(out, "disposition", part->disposition.value);
        put_params(out, "disposition_params", &part->disposition);
    }
    if (name.len > 0)
        put_text(out, "file_name", name);
    if (part->id.len > 0)
        put_text(out, "id", part->id);
    put_number(out, "header_start", part->header_start);
    put_number(out, "body_start", part->body_start);
    put_number(out, "body_end", part->body_end);
    put_number(out, "body_lines", part->body_lines);
    put_fields(in, part);
    if (inspect_is_message_root(part)) {
        put_addresses(in, part);
        put_date(in, part);
    }
    if (part->first_child == NULL)
        put_leaf(in, part);
    (void)buf_append_str(out, ",\"parts\":[");
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next) {
        if (child != part->first_child)
            (void)buf_append_byte(out, ',');
        put_part(in, child);
    }
    (void)buf_append_str(out, "]}");
}

void inspect_json(struct inspection *in, const char *path)
{
    const struct lint *l = &in->lint;
    struct buf *out = &in->out;

    (void)buf_append_str(out, "{\"file\":");
    (void)json_append_string(out, slice_from_str(path));
    put_number(out, "bytes", in->message.len);
    put_text(out, "line_ends", slice_from_str(inspect_line_ends(&l->bytes)));
    put_number(out, "longest_line_bytes", l->bytes.longest_line_bytes);
    put_number(out, "bare_cr", l->bytes.bare_cr);
    put_number(out, "bare_lf", l->bytes.bare_lf);
    put_number(out, "nul", l->bytes.nul);
    put_number(out, "eight_bit", l->bytes.eight_bit);
    (void)buf_append_str(out, ",\"message\":");
    put_part(in, in->mime.root);
    (void)buf_append_str(out, ",\"defects\":[");
    for (size_t i = 0; i < l->defect_count; i++) {
        (void)buf_append_str(out, i == 0 ? "{\"text\":" : ",{\"text\":");
        (void)json_append_string(out, slice_from_str(l->defects[i].text));
        put_number(out, "offset", l->defects[i].offset);
        put_number(out, "line", l->defects[i].line);
        (void)buf_append_byte(out, '}');
    }
    (void)buf_append_byte(out, ']');
    put_number(out, "defects_left_out", l->left_out);
    (void)buf_append_str(out, "}\n");
}
