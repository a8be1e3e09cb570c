/* Delivery status notifications: see dsn.h.
 *
 * A report is multipart/report (RFC 6522) of three parts: a text for a person, message/delivery-status for a program
 * (RFC 3464), and the original message or its header. With is_utf8 the last two are their message/global-* kin
 * (RFC 6533); without it everything but a returned body is ASCII, so that the report passes where the message could
 * not. Texts of peers and senders are written escaped and on one line: nothing in them can add a field. */
#include "mail/dsn.h"

#include "base/text.h"
#include "mail/encoded.h"
#include "mail/header.h"

enum { LINE_BYTES_MAX = 998 };      /* RFC 5322 2.1.1 */

/* What an action is called, and what a person is told about it. */
static const struct action {
    const char *name;
    const char *subject;
    const char *text;
    unsigned class;
} actions[] = {
    [DSN_FAILED] = { "failed", "Undelivered mail: your message was not delivered",
                     "Your message could not be delivered to:", 5 },
    [DSN_DELAYED] = { "delayed", "Delayed mail: your message is still on its way",
                      "Your message could not be delivered yet to the following; nothing need be done,\r\n"
                      "delivery will be tried again:", 4 },
    [DSN_DELIVERED] = { "delivered", "Delivered mail: your message has arrived",
                        "Your message was delivered to:", 2 },
    [DSN_RELAYED] = { "relayed", "Relayed mail: your message was handed on",
                      "Your message was handed to a mail system that will send no further confirmation, for:", 2 },
    [DSN_EXPANDED] = { "expanded", "Expanded mail: your message was handed to a list",
                       "Your message was delivered to the list:", 2 },
};

/* Text from outside on one line: controls become spaces; what is not ASCII stays when allowed, and else is written
 * as RFC 6533 3 has it, \x{...}. */
static void append_text(struct buf *out, struct slice in, bool utf8_allowed)
{
    while (in.len > 0) {
        struct slice from = in;
        uint32_t c;
        if (utf8_take(&in, &c) != RC_OK)
            c = (unsigned char)slice_take(&in, 1).ptr[0] | 0x80000000u;
        if (c < ' ' || c == 0x7f)
            (void)buf_append_byte(out, ' ');
        else if (c < 0x80 || (utf8_allowed && c < 0x80000000u && c >= 0xa0))
            (void)buf_append(out, slice_sub(from, 0, from.len - in.len));
        else
            (void)buf_printf(out, "\\x{%02X}", (unsigned)(c & 0x7fffffffu));
    }
}

/* "Name: text", folded. */
static void append_field(struct buf *out, const char *name, const char *prefix, struct slice text, bool utf8_allowed)
{
    struct buf line;

    buf_init(&line, text.len * 10 + 256);
    (void)buf_append_str(&line, prefix);
    append_text(&line, text, utf8_allowed);
    (void)header_write_folded(out, slice_from_str(name), buf_slice(&line));
    if (line.overflow)
        out->overflow = true;
    buf_free(&line);
}

static void append_date(struct buf *out, const char *name, int64_t unix_s, int16_t zone_min)
{
    (void)buf_printf(out, "%s: ", name);
    (void)date_write((struct mail_date){ unix_s, zone_min }, out);
    (void)buf_append_str(out, "\r\n");
}

/* The type says whether the address is UTF-8 (RFC 6533 3). */
static void append_final_recipient(struct buf *out, const struct address *a, bool is_utf8)
{
    struct buf written;

    buf_init(&written, 1024);
    (void)address_write(a, &written);
    append_field(out, "Final-Recipient", a->is_utf8 ? "utf-8; " : "rfc822; ", buf_slice(&written), is_utf8);
    buf_free(&written);
}

static void append_status(struct buf *out, const struct dsn_recipient *r)
{
    uint32_t esc = r->esc != 0 ? r->esc : (uint32_t)ESC(actions[r->action].class, 0, 0);
    (void)buf_printf(out, "Status: %u.%u.%u\r\n", (unsigned)ESC_CLASS(esc), (unsigned)ESC_SUBJECT(esc),
                     (unsigned)ESC_DETAIL(esc));
}

/* RFC 3464 2.3. */
static void append_recipient_fields(struct buf *out, const struct dsn *d, const struct dsn_recipient *r)
{
    (void)buf_append_str(out, "\r\n");
    if (r->original.len > 0) {
        bool has_type = slice_find_byte(r->original, ';') < r->original.len;
        append_field(out, "Original-Recipient", has_type ? "" : "rfc822;", r->original, d->is_utf8);
    }
    append_final_recipient(out, r->final, d->is_utf8);
    (void)buf_printf(out, "Action: %s\r\n", actions[r->action].name);
    append_status(out, r);
    if (r->remote_host.len > 0)
        append_field(out, "Remote-MTA", "dns; ", r->remote_host, d->is_utf8);
    if (r->diagnostic.len > 0)
        append_field(out, "Diagnostic-Code", r->is_diagnostic_smtp ? "smtp; " : "x-thurn; ", r->diagnostic, d->is_utf8);
    if (r->last_attempt_s != 0)
        append_date(out, "Last-Attempt-Date", r->last_attempt_s, d->now.zone_min);
    if (r->action == DSN_DELAYED && r->will_retry_until_s != 0)
        append_date(out, "Will-Retry-Until", r->will_retry_until_s, d->now.zone_min);
}

/* RFC 3464 2.2. */
static void append_message_fields(struct buf *out, const struct dsn *d)
{
    append_field(out, "Reporting-MTA", "dns; ", d->reporting_host, d->is_utf8);
    if (d->envid.len > 0)
        append_field(out, "Original-Envelope-Id", "", d->envid, d->is_utf8);
    if (d->queue_id.len > 0)
        append_field(out, "X-Thurn-Queue-Id", "", d->queue_id, d->is_utf8);
    if (d->arrival_s != 0)
        append_date(out, "Arrival-Date", d->arrival_s, d->now.zone_min);
}

/* What may stand in a message as it is: lines that end with CRLF and are not too long, no NUL, no bare CR or LF. */
static bool is_lines(struct slice text)
{
    while (text.len > 0) {
        size_t lf = slice_find_byte(text, '\n');
        struct slice line = slice_take(&text, lf);
        bool has_lf = slice_take_byte(&text, '\n');
        if (has_lf && (line.len == 0 || line.ptr[line.len - 1] != '\r'))
            return false;
        if (has_lf)
            line.len--;
        if (line.len > LINE_BYTES_MAX || slice_find_byte(line, '\r') < line.len || slice_find_byte(line, '\0') < line.len)
            return false;
    }
    return true;
}

/* What came as binary (RFC 3030) goes back as its header. */
static bool returns_full(const struct dsn *d)
{
    return d->return_full && is_lines(d->original);
}

/* The text for a person. */

static void append_for_person(struct buf *out, const struct dsn *d, const struct dsn_recipient *r)
{
    (void)buf_append_str(out, "\r\n  ");
    (void)address_write_path(r->final, out);
    (void)buf_append_str(out, "\r\n");
    if (r->remote_host.len > 0) {
        (void)buf_append_str(out, r->is_diagnostic_smtp ? "    The server " : "    Server: ");
        append_text(out, r->remote_host, true);
        (void)buf_append_str(out, r->is_diagnostic_smtp ? " said:\r\n" : "\r\n");
    }
    if (r->diagnostic.len > 0) {
        (void)buf_append_str(out, "    ");
        append_text(out, r->diagnostic, true);
        (void)buf_append_str(out, "\r\n");
    }
    if (r->action == DSN_DELAYED && r->will_retry_until_s != 0) {
        (void)buf_append_str(out, "    Tried again until ");
        (void)date_write((struct mail_date){ r->will_retry_until_s, d->now.zone_min }, out);
        (void)buf_append_str(out, "\r\n");
    }
}

static void append_explanation(struct buf *out, const struct dsn *d)
{
    (void)buf_append_str(out, "This is the mail system at ");
    append_text(out, d->reporting_host, true);
    (void)buf_append_str(out, ".\r\n");
    for (size_t action = 0; action < sizeof actions / sizeof actions[0]; action++) {
        bool is_first = true;
        for (size_t i = 0; i < d->recipient_count; i++) {
            if (d->recipients[i].action != action)
                continue;
            if (is_first)
                (void)buf_printf(out, "\r\n%s\r\n", actions[action].text);
            is_first = false;
            append_for_person(out, d, &d->recipients[i]);
        }
    }
    (void)buf_append_str(out, "\r\nThe report below is for programs");
    (void)buf_append_str(out, returns_full(d) ? "; your message follows it.\r\n" : "; the header of your message follows it.\r\n");
}

static void append_line_end(struct buf *out)
{
    if (!slice_ends_nocase(buf_slice(out), SLICE("\r\n")))
        (void)buf_append_str(out, "\r\n");
}

static void append_type(struct buf *out, const char *type, const char *encoding)
{
    (void)buf_printf(out, "Content-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", type, encoding);
}

/* A text part as it is or, where it is not ASCII in lines and may not be sent so, quoted-printable. */
static void append_text_part(struct buf *out, const char *type, struct slice text, bool utf8_allowed)
{
    bool is_plain = is_lines(text);

    if (is_plain && text_is_ascii(text)) {
        append_type(out, type, "7bit");
        (void)buf_append(out, text);
    } else if (is_plain && utf8_allowed) {
        append_type(out, type, "8bit");
        (void)buf_append(out, text);
    } else {
        append_type(out, type, "quoted-printable");
        (void)quoted_printable_encode(text, out);
    }
    append_line_end(out);
}

static void append_original(struct buf *out, const struct dsn *d)
{
    if (!returns_full(d)) {
        append_text_part(out, d->is_utf8 ? "message/global-headers" : "text/rfc822-headers",
                         slice_sub(d->original, 0, header_end(d->original)), d->is_utf8);
        return;
    }
    append_type(out, d->is_utf8 ? "message/global" : "message/rfc822", text_is_ascii(d->original) ? "7bit" : "8bit");
    (void)buf_append(out, d->original);
    append_line_end(out);
}

static void append_status_part(struct buf *out, const struct dsn *d)
{
    append_type(out, d->is_utf8 ? "message/global-delivery-status" : "message/delivery-status", d->is_utf8 ? "8bit" : "7bit");
    append_message_fields(out, d);
    for (size_t i = 0; i < d->recipient_count; i++)
        append_recipient_fields(out, d, &d->recipients[i]);
}

/* The worst action names the report. */
static enum dsn_action main_action(const struct dsn *d)
{
    enum dsn_action worst = DSN_EXPANDED;

    for (size_t i = 0; i < d->recipient_count; i++) {
        if (d->recipients[i].action < worst)
            worst = d->recipients[i].action;
    }
    return worst;
}

/* A reader's program puts the report beside the message (RFC 3834 3.1.5). */
static void append_references(struct buf *out, struct slice original)
{
    struct header_field id;

    if (header_find(slice_sub(original, 0, header_end(original)), SLICE("Message-ID"), &id) != RC_OK)
        return;
    struct slice text = slice_trim(id.body);
    if (text.len < 3 || text.len > 900 || !text_is_ascii(text) || text.ptr[0] != '<')
        return;
    append_field(out, "In-Reply-To", "", text, false);
    append_field(out, "References", "", text, false);
}

static void append_header(struct buf *out, const struct dsn *d, struct slice boundary)
{
    (void)buf_append_str(out, "From: Mail Delivery System <MAILER-DAEMON@");
    append_text(out, d->reporting_host, d->is_utf8);
    (void)buf_append_str(out, ">\r\nTo: ");
    (void)address_write_path(d->to, out);
    (void)buf_printf(out, "\r\nSubject: %s\r\nDate: ", actions[main_action(d)].subject);
    (void)date_write(d->now, out);
    (void)buf_append_str(out, "\r\nMessage-ID: <");
    append_text(out, d->message_id, false);
    (void)buf_append_str(out, ">\r\n");
    append_references(out, d->original);
    (void)buf_append_str(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                              "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"");
    (void)buf_append(out, boundary);
    (void)buf_append_str(out, "\"\r\n\r\n");
}

static void append_delimiter(struct buf *out, struct slice boundary, const char *end)
{
    (void)buf_append_str(out, "\r\n--");
    (void)buf_append(out, boundary);
    (void)buf_append_str(out, end);
}

static bool is_plain_byte(unsigned char c)
{
    return byte_is_alnum(c) || c == '-' || c == '.' || c == '_';
}

/* A boundary that stands nowhere in the original: what is returned cannot end its own part. */
static void choose_boundary(const struct dsn *d, struct buf *boundary)
{
    (void)buf_append_str(boundary, "=_thurn_");
    for (size_t i = 0; i < d->boundary_seed.len && i < 40; i++) {
        unsigned char c = (unsigned char)d->boundary_seed.ptr[i];
        (void)buf_append_byte(boundary, is_plain_byte(c) ? (char)c : '_');
    }
    while (slice_find(d->original, buf_slice(boundary)) < d->original.len && buf_append_byte(boundary, 'x'))
        ;
}

enum rc dsn_write(const struct dsn *d, struct buf *out, struct fault *f)
{
    struct buf boundary, text;

    must(d->to != NULL && !d->to->is_null && d->recipient_count > 0);
    buf_init(&boundary, 70);                    /* RFC 2046 5.1.1 */
    buf_init(&text, out->max_bytes);
    choose_boundary(d, &boundary);
    struct slice b = buf_slice(&boundary);
    append_header(out, d, b);
    (void)buf_append_str(out, "This is a report in the format of RFC 3464.\r\n");
    append_delimiter(out, b, "\r\n");
    append_explanation(&text, d);
    append_text_part(out, "text/plain; charset=utf-8", buf_slice(&text), d->is_utf8);
    append_delimiter(out, b, "\r\n");
    append_status_part(out, d);
    append_delimiter(out, b, "\r\n");
    append_original(out, d);
    append_delimiter(out, b, "--\r\n");
    bool fits = !out->overflow && !text.overflow;
    buf_free(&text);
    buf_free(&boundary);
    return fits ? RC_OK : fault_temp(f, ESC(4, 3, 1), "no room for a delivery status notification");
}
