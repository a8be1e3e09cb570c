/* What is wrong with a message: see lint.h. */
#include "mail/lint.h"

#include "base/text.h"
#include "mail/address.h"
#include "mail/date.h"
#include "mail/encoded.h"

enum { LINE_BYTES_MAX = 998 };      /* RFC 5322 2.1.1 */

static void add(struct lint *l, size_t offset, const char *text)
{
    if (l->defect_count == LINT_DEFECTS_MAX) {
        l->left_out++;
        return;
    }
    /* Sorted as they come: few, and nearly in order. */
    size_t at = l->defect_count++;
    for (; at > 0 && l->defects[at - 1].offset > offset; at--)
        l->defects[at] = l->defects[at - 1];
    l->defects[at] = (struct lint_defect){ .offset = offset, .text = text };
}

/* Bytes. */

static void count_line(struct lint_bytes *b, size_t start, size_t end)
{
    if (end - start > b->longest_line_bytes) {
        b->longest_line_bytes = end - start;
        b->longest_line_start = start;
    }
}

void lint_count_bytes(struct slice message, struct lint_bytes *b)
{
    size_t line_start = 0;
    bool has_crlf = slice_find(message, SLICE("\r\n")) < message.len;

    *b = (struct lint_bytes){ .crlf = 0 };
    for (size_t i = 0; i < message.len; i++) {
        unsigned char c = (unsigned char)message.ptr[i];
        bool is_crlf = c == '\r' && i + 1 < message.len && message.ptr[i + 1] == '\n';
        if (c == '\r' && !is_crlf && b->bare_cr++ == 0)
            b->first_bare_cr = i;
        if (c == '\n' && b->bare_lf++ == 0)
            b->first_bare_lf = i;
        if (c == '\0' && b->nul++ == 0)
            b->first_nul = i;
        b->eight_bit += c >= 0x80;
        if (is_crlf || (c == '\n' && !has_crlf)) {
            count_line(b, line_start, i);
            b->crlf += is_crlf;
            i += is_crlf;
            line_start = i + 1;
        }
    }
    count_line(b, line_start, message.len);
}

static void check_bytes(struct lint *l)
{
    const struct lint_bytes *b = &l->bytes;

    if (b->bare_cr > 0)
        add(l, b->first_bare_cr, "bare CR (RFC 5322 2.2)");
    if (b->bare_lf > 0 && b->crlf > 0)
        add(l, b->first_bare_lf, "bare LF among lines that end with CRLF (RFC 5322 2.2)");
    if (b->nul > 0)
        add(l, b->first_nul, "NUL byte (RFC 5322 3.5)");
    if (b->longest_line_bytes > LINE_BYTES_MAX)
        add(l, b->longest_line_start, "line longer than 998 bytes (RFC 5322 2.1.1)");
}

/* Defects stand in order, so one walk finds all their lines. */
static void count_lines(struct slice message, struct lint *l)
{
    size_t line = 1, at = 0;

    for (size_t i = 0; i < l->defect_count; i++) {
        for (; at < l->defects[i].offset && at < message.len; at++)
            line += message.ptr[at] == '\n';
        l->defects[i].line = line;
    }
}

/* Fields. */

enum field_kind { TEXT, DATE, ADDRESSES, ONE_ADDRESS, MESSAGE_ID };

/* RFC 5322 3.6: each of these stands at most once. */
static const struct known_field {
    struct slice name;
    enum field_kind kind;
    const char *again;
    const char *missing;        /* NULL: may be */
} known_fields[] = {
    { SLICE_INIT("Date"), DATE, "second Date field", "no Date field" },
    { SLICE_INIT("From"), ADDRESSES, "second From field", "no From field" },
    { SLICE_INIT("Sender"), ONE_ADDRESS, "second Sender field", NULL },
    { SLICE_INIT("Reply-To"), ADDRESSES, "second Reply-To field", NULL },
    { SLICE_INIT("To"), ADDRESSES, "second To field", NULL },
    { SLICE_INIT("Cc"), ADDRESSES, "second Cc field", NULL },
    { SLICE_INIT("Bcc"), ADDRESSES, "second Bcc field", NULL },
    { SLICE_INIT("Message-ID"), MESSAGE_ID, "second Message-ID field", NULL },
    { SLICE_INIT("In-Reply-To"), TEXT, "second In-Reply-To field", NULL },
    { SLICE_INIT("References"), TEXT, "second References field", NULL },
    { SLICE_INIT("Subject"), TEXT, "second Subject field", NULL },
    { SLICE_INIT("MIME-Version"), TEXT, "second MIME-Version field", NULL },
};
enum { KNOWN_FIELDS = sizeof known_fields / sizeof known_fields[0] };

static void check_addresses(struct lint *l, size_t offset, struct slice body, enum field_kind kind)
{
    struct arena arena;
    struct mailbox_entry *entries;
    size_t count, mailboxes = 0;

    arena_init(&arena, body.len * 16 + (1 << 20));
    if (address_list_parse(body, 1000, &arena, &entries, &count) != RC_OK)
        add(l, offset, "address field too large to look at");
    for (size_t i = 0; i < count; i++) {
        mailboxes += entries[i].kind == ENTRY_MAILBOX;
        if (entries[i].kind == ENTRY_INVALID)
            add(l, offset, "address that cannot be read");
        else if (entries[i].kind == ENTRY_MAILBOX && entries[i].domain.len == 0)
            add(l, offset, "address without a domain");
    }
    if (count == 0)
        add(l, offset, "address field without an address");
    if (kind == ONE_ADDRESS && mailboxes > 1)
        add(l, offset, "more than one address in Sender");
    arena_free(&arena);
}

static bool is_message_id(struct slice body)
{
    struct slice id = slice_trim(body);

    if (id.len < 5 || id.ptr[0] != '<' || id.ptr[id.len - 1] != '>')
        return false;
    size_t at = slice_find_byte(id, '@');
    return at > 1 && at + 2 < id.len && slice_find_byte(id, ' ') == id.len;
}

static void check_field_body(struct lint *l, size_t offset, const struct header_field *field, enum field_kind kind)
{
    struct mail_date date;

    if (kind == DATE && date_parse(field->body, &date) != RC_OK)
        add(l, offset, "date that cannot be read");
    if (kind == MESSAGE_ID && !is_message_id(field->body))
        add(l, offset, "Message-ID that is not <left@right>");
    if (kind == ADDRESSES || kind == ONE_ADDRESS)
        check_addresses(l, offset, field->body, kind);
}

/* Counts known fields in `seen` (a bit each) and looks into them. */
static void check_field(struct lint *l, size_t offset, const struct header_field *field, unsigned *seen)
{
    if (!text_is_ascii(field->whole))
        add(l, offset, utf8_is_valid(field->whole) ? "8-bit UTF-8 in a header field: needs SMTPUTF8 (RFC 6532)"
                                                   : "8-bit bytes in a header field that are not UTF-8");
    for (unsigned i = 0; i < KNOWN_FIELDS; i++) {
        if (!slice_equal_nocase(field->name, known_fields[i].name))
            continue;
        if (*seen & 1u << i)
            add(l, offset, known_fields[i].again);
        *seen |= 1u << i;
        check_field_body(l, offset, field, known_fields[i].kind);
    }
}

/* The header of a message (the outer one, or one that is attached). */
static void check_message_header(struct lint *l, struct slice message, const struct mime_part *part)
{
    struct slice in = slice_sub(message, part->header_start, part->body_start - part->header_start);
    struct header_field field;
    unsigned seen = 0;
    enum rc rc;

    while ((rc = header_next(&in, &field)) != RC_NONE) {
        if (rc == RC_OK)
            check_field(l, (size_t)(field.whole.ptr - message.ptr), &field, &seen);
    }
    for (unsigned i = 0; i < KNOWN_FIELDS; i++) {
        if (known_fields[i].missing != NULL && !(seen & 1u << i))
            add(l, part->header_start, known_fields[i].missing);
    }
}

/* Bodies. */

static bool is_base64_byte(unsigned char c)
{
    return byte_is_alnum(c) || c == '+' || c == '/' || c == '=' || c == '\r' || c == '\n';
}

static bool is_hex(char c)
{
    return byte_is_digit((unsigned char)c) || (byte_lower(c) >= 'a' && byte_lower(c) <= 'f');
}

/* Where quoted-printable is not, or len. */
static size_t find_bad_quoting(struct slice body)
{
    for (size_t i = 0; i < body.len; i++) {
        if (body.ptr[i] != '=')
            continue;
        bool is_byte = body.len - i > 2 && is_hex(body.ptr[i + 1]) && is_hex(body.ptr[i + 2]);
        struct slice rest = slice_sub(body, i + 1, body.len);
        (void)slice_take_while(&rest, byte_is_space);
        if (!is_byte && rest.len > 0 && rest.ptr[0] != '\r' && rest.ptr[0] != '\n')
            return i;
    }
    return body.len;
}

/* Text that says a charset should be text in it. */
static void check_charset(struct lint *l, struct slice message, const struct mime_part *part)
{
    struct slice charset = header_value_param(&part->type, SLICE("charset"));
    struct buf nothing, bytes;

    if (!slice_starts_nocase(part->type.value, SLICE("text/")) || charset.len == 0)
        return;
    buf_init(&nothing, 1);
    if (charset_to_utf8(charset, SLICE_NONE, &nothing) == RC_NONE)
        add(l, part->header_start, "charset that nobody knows");
    buf_free(&nothing);
    if (!slice_equal_nocase(charset, SLICE("utf-8")) && !slice_equal_nocase(charset, SLICE("us-ascii")))
        return;
    buf_init(&bytes, part->body_end - part->body_start + 8);
    (void)mime_decode_body(message, part, &bytes);
    bool is_good = slice_equal_nocase(charset, SLICE("utf-8")) ? utf8_is_valid(buf_slice(&bytes))
                                                               : text_is_ascii(buf_slice(&bytes));
    if (!is_good)
        add(l, part->body_start, "text that is not in the charset it says");
    buf_free(&bytes);
}

static void check_body(struct lint *l, struct slice message, const struct mime_part *part)
{
    struct slice body = slice_sub(message, part->body_start, part->body_end - part->body_start), rest = body;

    if (part->encoding == MIME_7BIT && !text_is_ascii(body))
        add(l, part->body_start, "8-bit bytes in a part that says 7bit");
    (void)slice_take_while(&rest, is_base64_byte);
    if (part->encoding == MIME_BASE64 && rest.len > 0)
        add(l, part->body_start + (body.len - rest.len), "byte in base64 that is none of its digits");
    size_t bad = part->encoding == MIME_QUOTED_PRINTABLE ? find_bad_quoting(body) : body.len;
    if (bad < body.len)
        add(l, part->body_start + bad, "\"=\" in quoted-printable that encodes nothing");
    check_charset(l, message, part);
}

static void check_part(struct lint *l, struct slice message, const struct mime_part *part)
{
    if (part->parent == NULL || part->parent->is_message)
        check_message_header(l, message, part);
    if (part->first_child == NULL)
        check_body(l, message, part);
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next)
        check_part(l, message, child);                      /* no deeper than MIME_DEPTH_MAX */
}

void lint_message(struct slice message, const struct mime_message *m, struct lint *l)
{
    *l = (struct lint){ .defect_count = 0 };
    lint_count_bytes(message, &l->bytes);
    for (size_t i = 0; i < m->defect_count; i++)
        add(l, m->defects[i].offset, m->defects[i].text);
    check_bytes(l);
    check_part(l, message, m->root);
    count_lines(message, l);
}
