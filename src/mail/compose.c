/* Composing a message: see compose.h. */
#include "mail/compose.h"

#include "base/text.h"
#include "mail/encoded.h"
#include "mail/header.h"

enum { LINE_BYTES_MAX = 998 };      /* RFC 5322 2.1.1 */

static const struct {
    const char *extension, *type;
} media_types[] = {
    { "7z", "application/x-7z-compressed" }, { "avif", "image/avif" },       { "bmp", "image/bmp" },
    { "bz2", "application/x-bzip2" },        { "csv", "text/csv" },          { "diff", "text/x-diff" },
    { "doc", "application/msword" },
    { "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
    { "eml", "message/rfc822" },             { "epub", "application/epub+zip" }, { "flac", "audio/flac" },
    { "gif", "image/gif" },                  { "gz", "application/gzip" },   { "heic", "image/heic" },
    { "htm", "text/html" },                  { "html", "text/html" },        { "ics", "text/calendar" },
    { "jpeg", "image/jpeg" },                { "jpg", "image/jpeg" },        { "json", "application/json" },
    { "log", "text/plain" },                 { "md", "text/markdown" },      { "mkv", "video/x-matroska" },
    { "mov", "video/quicktime" },            { "mp3", "audio/mpeg" },        { "mp4", "video/mp4" },
    { "odp", "application/vnd.oasis.opendocument.presentation" },
    { "ods", "application/vnd.oasis.opendocument.spreadsheet" },
    { "odt", "application/vnd.oasis.opendocument.text" },
    { "ogg", "audio/ogg" },                  { "patch", "text/x-diff" },     { "pdf", "application/pdf" },
    { "png", "image/png" },                  { "ppt", "application/vnd.ms-powerpoint" },
    { "pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation" },
    { "rtf", "application/rtf" },            { "svg", "image/svg+xml" },     { "tar", "application/x-tar" },
    { "tgz", "application/gzip" },           { "tif", "image/tiff" },        { "tiff", "image/tiff" },
    { "txt", "text/plain" },                 { "vcf", "text/vcard" },        { "wav", "audio/wav" },
    { "webm", "video/webm" },                { "webp", "image/webp" },       { "xls", "application/vnd.ms-excel" },
    { "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
    { "xml", "application/xml" },            { "xz", "application/x-xz" },   { "yaml", "application/yaml" },
    { "zip", "application/zip" },            { "zst", "application/zstd" },
};

/* What stands behind the last such byte; everything when there is none. */
static struct slice behind_last(struct slice s, char byte)
{
    for (size_t at = s.len; at > 0; at--) {
        if (s.ptr[at - 1] == byte)
            return slice_sub(s, at, s.len);
    }
    return s;
}

const char *media_type_of(struct slice file_name)
{
    struct slice extension = behind_last(file_name, '.');

    for (size_t i = 0; extension.len < file_name.len && i < sizeof media_types / sizeof media_types[0]; i++) {
        if (slice_equal_nocase(extension, slice_from_str(media_types[i].extension)))
            return media_types[i].type;
    }
    return "application/octet-stream";
}

static void append_random(struct buf *out, const struct compose *c)
{
    (void)hex_encode((struct slice){ (const char *)c->random, sizeof c->random }, out);
}

/* "=_" stands in no base64 and no quoted-printable text; the rest nobody can guess who wrote the content. */
static void append_boundary(struct buf *out, const struct compose *c)
{
    (void)buf_append_str(out, "=_thurn_");
    append_random(out, c);
}

static void append_delimiter(struct buf *out, const struct compose *c, const char *end)
{
    (void)buf_append_str(out, "--");
    append_boundary(out, c);
    (void)buf_append_str(out, end);
}

static void append_mailbox(struct buf *out, const struct compose_mailbox *m, bool utf8_allowed)
{
    if (m->name.len == 0) {
        (void)address_write(m->address, out);
        return;
    }
    (void)header_write_phrase(out, m->name, utf8_allowed);
    (void)buf_append_byte(out, ' ');
    (void)address_write_path(m->address, out);
}

static void append_mailboxes(struct buf *out, const struct compose *c, struct slice name,
                             const struct compose_mailbox *mailboxes, size_t count)
{
    struct buf body;

    if (count == 0)
        return;
    buf_init(&body, out->max_bytes);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            (void)buf_append_str(&body, ", ");
        append_mailbox(&body, &mailboxes[i], c->utf8_allowed);
    }
    (void)header_write_folded(out, name, buf_slice(&body));
    if (body.overflow)
        out->overflow = true;
    buf_free(&body);
}

static void append_header(struct buf *out, const struct compose *c)
{
    (void)buf_append_str(out, "Date: ");
    (void)date_write(c->date, out);
    (void)buf_append_str(out, "\r\n");
    append_mailboxes(out, c, SLICE("From"), &c->from, 1);
    append_mailboxes(out, c, SLICE("To"), c->to, c->to_count);
    append_mailboxes(out, c, SLICE("Cc"), c->cc, c->cc_count);
    (void)header_write(out, SLICE("Subject"), c->subject, c->utf8_allowed);
    (void)buf_append_str(out, "Message-ID: <");
    append_random(out, c);
    (void)buf_append_byte(out, '@');
    if (domain_to_ascii(c->from.address->domain, out, NULL) != RC_OK)
        (void)buf_append_str(out, "localhost");
    (void)buf_append_str(out, ">\r\nMIME-Version: 1.0\r\n");
}

/* The same text as UTF-8 with CRLF as its only line end, and one at its end. */
static bool clean_text(struct slice text, struct buf *clean)
{
    struct buf utf8;

    buf_init(&utf8, text.len * 3 + 1);
    bool is_good = charset_guess_to_utf8(text, &utf8);
    struct slice rest = buf_slice(&utf8);
    while (rest.len > 0) {
        struct slice line = slice_take_until(&rest, '\n');
        while (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        while (line.len > 0) {
            (void)buf_append(clean, slice_take_until(&line, '\r'));
            if (line.len > 0)
                (void)buf_append_str(clean, "\r\n");
        }
        (void)buf_append_str(clean, "\r\n");
    }
    buf_free(&utf8);
    return is_good && !clean->overflow;
}

/* May it stand in a message as it is (RFC 2045 2.7)? */
static bool is_7bit(struct slice text)
{
    if (!text_is_ascii(text) || slice_find_byte(text, '\0') < text.len)
        return false;
    while (text.len > 0) {
        if (slice_take_until(&text, '\n').len > LINE_BYTES_MAX + 1)
            return false;
    }
    return true;
}

static bool append_text(struct buf *out, const struct compose *c)
{
    struct buf clean;

    buf_init(&clean, c->text.len * 6 + 2);
    bool is_good = clean_text(c->text, &clean);
    struct slice text = buf_slice(&clean);
    (void)buf_append_str(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ");
    (void)buf_append_str(out, is_7bit(text) ? "7bit\r\n\r\n" : "quoted-printable\r\n\r\n");
    is_good = is_good && (is_7bit(text) ? buf_append(out, text) : quoted_printable_encode(text, out));
    buf_free(&clean);
    return is_good && !out->overflow;
}

bool compose_write_start(const struct compose *c, struct buf *out)
{
    append_header(out, c);
    if (c->attachment_count == 0)
        return append_text(out, c);
    (void)buf_append_str(out, "Content-Type: multipart/mixed;\r\n boundary=\"");
    append_boundary(out, c);
    (void)buf_append_str(out, "\"\r\n\r\n");
    append_delimiter(out, c, "\r\n");
    return append_text(out, c);
}

static bool is_type_byte(unsigned char c)
{
    return byte_is_alnum(c) || (c != '\0' && strchr("!#$&^_.+-/", c) != NULL);
}

/* What cannot be a type is none; a message may not be sent in base64 (RFC 2046 5.2.1), so it goes as bytes. */
static struct slice sent_type(const struct compose_attachment *a)
{
    struct slice type = a->media_type.len > 0 ? a->media_type : slice_from_str(media_type_of(a->file_name)), rest = type;
    size_t slash = slice_find_byte(type, '/');

    (void)slice_take_while(&rest, is_type_byte);
    bool is_composite = slice_starts_nocase(type, SLICE("message/")) || slice_starts_nocase(type, SLICE("multipart/"));
    if (rest.len > 0 || slash == 0 || slash + 1 >= type.len || is_composite)
        return SLICE("application/octet-stream");
    return type;
}

bool compose_write_attachment_head(const struct compose *c, const struct compose_attachment *a, struct buf *out)
{
    struct slice name = behind_last(a->file_name, '/');

    (void)buf_append_str(out, "\r\n");
    append_delimiter(out, c, "\r\nContent-Type: ");
    (void)buf_append(out, sent_type(a));
    if (name.len > 0)
        (void)header_write_param(out, SLICE("name"), name);
    (void)buf_append_str(out, "\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment");
    if (name.len > 0)
        (void)header_write_param(out, SLICE("filename"), name);
    (void)buf_append_str(out, "\r\n\r\n");
    return !out->overflow;
}

bool compose_write_content(struct slice content, struct buf *out)
{
    return base64_body_encode(content, out);
}

bool compose_write_end(const struct compose *c, struct buf *out)
{
    if (c->attachment_count > 0) {
        (void)buf_append_str(out, "\r\n");
        append_delimiter(out, c, "--\r\n");
    }
    return !out->overflow;
}

bool compose_write(const struct compose *c, struct buf *out)
{
    bool is_good = compose_write_start(c, out);

    for (size_t i = 0; i < c->attachment_count && is_good; i++)
        is_good = compose_write_attachment_head(c, &c->attachments[i], out)
            && compose_write_content(c->attachments[i].content, out);
    return is_good && compose_write_end(c, out);
}
