/* The MIME tree of a message: see mime.h (RFC 2045, 2046, 2049).
 *
 * One walk over the lines with a stack of the multiparts that are open: a line that is a boundary of any of them ends
 * everything inside. Every line is looked at once (those of headers twice), and a line that starts with "--" is
 * compared with at most MIME_DEPTH_MAX boundaries, so the cost is linear whatever the message contains. */
#include "mail/mime.h"

#include "mail/encoded.h"

enum { BOUNDARY_MAX = 70 };     /* RFC 2046 5.1.1; longer ones work all the same */

struct open_multipart {
    struct mime_part *part;
    struct slice boundary;
};

struct parser {
    struct slice message;
    struct arena *arena;
    struct mime_message *out;
    size_t at;                  /* start of the next line */
    size_t lines;               /* line ends before `at` */
    struct mime_part *current;  /* the innermost part that is open */
    struct open_multipart open[MIME_DEPTH_MAX];
    size_t open_count;
};

static void add_defect(struct parser *p, size_t offset, const char *text)
{
    if (p->out->defect_count < MIME_DEFECTS_MAX)
        p->out->defects[p->out->defect_count++] = (struct mime_defect){ offset, text };
}

/* Lines. */

static struct slice next_line(struct parser *p)
{
    struct slice rest = { p->message.ptr + p->at, p->message.len - p->at };
    size_t lf = slice_find_byte(rest, '\n');
    size_t len = lf < rest.len ? lf + 1 : rest.len;

    p->at += len;
    p->lines += lf < rest.len;
    return (struct slice){ rest.ptr, len };
}

static bool is_line_end(unsigned char c)
{
    return c == '\r' || c == '\n';
}

static bool is_empty_line(struct slice line)
{
    struct slice rest = line;
    (void)slice_take_while(&rest, is_line_end);
    return rest.len == 0;
}

/* Is this line a boundary of an open multipart? Its place on the stack, innermost first, or open_count. */
static size_t match_boundary(const struct parser *p, struct slice line, bool *is_close)
{
    if (p->open_count == 0 || line.len < 3 || line.ptr[0] != '-' || line.ptr[1] != '-')
        return p->open_count;
    size_t end = line.len;
    while (end > 2 && (byte_is_space((unsigned char)line.ptr[end - 1]) || is_line_end((unsigned char)line.ptr[end - 1])))
        end--;                                  /* transport padding */
    struct slice text = slice_sub(line, 2, end - 2);
    for (size_t i = p->open_count; i-- > 0;) {
        struct slice boundary = p->open[i].boundary;
        bool has_dashes = text.len == boundary.len + 2 && text.ptr[text.len - 1] == '-' && text.ptr[text.len - 2] == '-';
        if ((text.len == boundary.len || has_dashes) && memcmp(text.ptr, boundary.ptr, boundary.len) == 0) {
            *is_close = has_dashes;
            return i;
        }
    }
    return p->open_count;
}

/* Fields. */

static struct slice unfolded(struct parser *p, struct slice body)
{
    struct buf text;

    buf_init(&text, body.len + 1);
    (void)header_unfold(body, &text);
    struct slice copy = arena_copy(p->arena, buf_slice(&text));
    buf_free(&text);
    return copy;
}

static const struct {
    struct slice name;
    enum mime_encoding encoding;
} encodings[] = {
    { SLICE_INIT("7bit"), MIME_7BIT },
    { SLICE_INIT("8bit"), MIME_8BIT },
    { SLICE_INIT("binary"), MIME_BINARY },
    { SLICE_INIT("quoted-printable"), MIME_QUOTED_PRINTABLE },
    { SLICE_INIT("base64"), MIME_BASE64 },
};

static bool is_encoding_byte(unsigned char c)
{
    return c > ' ' && c != ';' && c != '(' && c != '"';
}

static void read_encoding(struct parser *p, struct mime_part *part, size_t offset, struct slice body)
{
    body = slice_trim(body);
    (void)slice_take_byte(&body, '"');
    struct slice name = slice_take_while(&body, is_encoding_byte);

    part->encoding_name = name;
    part->encoding = MIME_UNKNOWN_ENCODING;
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++) {
        if (slice_equal_nocase(name, encodings[i].name))
            part->encoding = encodings[i].encoding;
    }
    if (part->encoding == MIME_UNKNOWN_ENCODING)
        add_defect(p, offset, "unknown Content-Transfer-Encoding");
}

static enum rc read_type(struct parser *p, struct mime_part *part, size_t offset, struct slice body)
{
    struct header_value type;
    enum rc rc = header_parse_value(body, p->arena, &type);

    if (rc == RC_TEMP)
        return rc;
    size_t slash = slice_find_byte(type.value, '/');
    bool is_type = slash > 0 && slash + 1 < type.value.len;
    if (!is_type) {
        /* RFC 2045 5.2: what cannot be read is text/plain; its parameters may still be good. */
        add_defect(p, offset, "Content-Type is not type/subtype");
        type.value = SLICE("text/plain");
    }
    part->type = type;
    return RC_OK;
}

enum content_field { TYPE, DISPOSITION, ENCODING, ID, DESCRIPTION, LANGUAGE, LOCATION, MD5, CONTENT_FIELDS };

static const struct slice content_fields[CONTENT_FIELDS] = {
    [TYPE] = SLICE_INIT("Content-Type"),
    [DISPOSITION] = SLICE_INIT("Content-Disposition"),
    [ENCODING] = SLICE_INIT("Content-Transfer-Encoding"),
    [ID] = SLICE_INIT("Content-ID"),
    [DESCRIPTION] = SLICE_INIT("Content-Description"),
    [LANGUAGE] = SLICE_INIT("Content-Language"),
    [LOCATION] = SLICE_INIT("Content-Location"),
    [MD5] = SLICE_INIT("Content-MD5"),
};

static enum rc read_content_field(struct parser *p, struct mime_part *part, enum content_field which, size_t offset,
                                  struct slice body)
{
    struct slice *const texts[CONTENT_FIELDS] = {
        [ID] = &part->id, [DESCRIPTION] = &part->description, [LANGUAGE] = &part->language,
        [LOCATION] = &part->location, [MD5] = &part->md5,
    };

    if (which == TYPE)
        return read_type(p, part, offset, body);
    if (which == DISPOSITION)
        return header_parse_value(body, p->arena, &part->disposition) == RC_TEMP ? RC_TEMP : RC_OK;
    if (which == ENCODING) {
        read_encoding(p, part, offset, body);
        return RC_OK;
    }
    *texts[which] = unfolded(p, body);
    return texts[which]->ptr == NULL && body.len > 0 && slice_trim(body).len > 0 ? RC_TEMP : RC_OK;
}

/* Of two fields of one name the first counts. */
static enum rc read_fields(struct parser *p, struct mime_part *part)
{
    struct slice in = slice_sub(p->message, part->header_start, part->body_start - part->header_start);
    struct header_field field;
    unsigned seen = 0;
    enum rc rc;

    while ((rc = header_next(&in, &field)) != RC_NONE) {
        size_t offset = (size_t)(field.whole.ptr - p->message.ptr);
        if (rc != RC_OK) {
            bool is_mbox = offset == 0 && slice_starts_nocase(field.whole, SLICE("From "));
            add_defect(p, offset, is_mbox ? "mbox From_ line in front of the header" : "line in header that is no field");
            continue;
        }
        if (!slice_starts_nocase(field.name, SLICE("Content-")))
            continue;
        for (unsigned i = 0; i < CONTENT_FIELDS; i++) {
            if (!slice_equal_nocase(field.name, content_fields[i]))
                continue;
            if (seen & 1u << i)
                add_defect(p, offset, "second field of a name that may stand once");
            else if (read_content_field(p, part, (enum content_field)i, offset, field.body) != RC_OK)
                return RC_TEMP;
            seen |= 1u << i;
        }
    }
    return RC_OK;
}

/* Parts. */

static size_t depth_of(const struct mime_part *part)
{
    size_t depth = 0;

    for (; part->parent != NULL; part = part->parent)
        depth++;
    return depth;
}

static void link_part(struct mime_part *parent, struct mime_part *last, struct mime_part *part)
{
    part->parent = parent;
    part->number = 1;
    if (last != NULL) {
        last->next = part;
        part->number = last->number + 1;
    } else if (parent != NULL) {
        parent->first_child = part;
    }
}

/* Walks to the end of a part's header: the empty line, or a boundary where that is missing, or the end. */
static void skip_header(struct parser *p, struct mime_part *part)
{
    part->header_start = p->at;
    while (p->at < p->message.len) {
        size_t at = p->at, lines = p->lines;
        bool is_close;
        struct slice line = next_line(p);
        if (is_empty_line(line))
            break;
        if (match_boundary(p, line, &is_close) < p->open_count) {
            add_defect(p, at, "boundary within a header");
            p->at = at;
            p->lines = lines;
            break;
        }
    }
    part->body_start = p->at;
    part->body_lines = p->lines;        /* until the part is closed: line ends before its body */
}

/* Beyond a limit a part stays closed: nothing within it is looked at. */
static void make_opaque(struct mime_part *part)
{
    part->type = (struct header_value){ .value = SLICE("application/octet-stream") };
}

static void open_multipart(struct parser *p, struct mime_part *part)
{
    struct slice boundary = header_value_param(&part->type, SLICE("boundary"));

    while (boundary.len > 0 && byte_is_space((unsigned char)boundary.ptr[boundary.len - 1]))
        boundary.len--;
    if (boundary.len == 0) {
        add_defect(p, part->header_start, "multipart without a boundary, read as text");
        part->type.value = SLICE("text/plain");
        return;
    }
    if (boundary.len > BOUNDARY_MAX)
        add_defect(p, part->header_start, "boundary longer than 70 bytes");
    if (part->encoding > MIME_BINARY)
        add_defect(p, part->header_start, "multipart with a transfer encoding, which is ignored");
    part->is_multipart = true;
    p->open[p->open_count++] = (struct open_multipart){ part, boundary };
}

static bool is_message_type(const struct mime_part *part)
{
    return (slice_equal(part->type.value, SLICE("message/rfc822"))
            || slice_equal(part->type.value, SLICE("message/global"))) && part->encoding <= MIME_BINARY;
}

/* Opens the part whose header starts at p->at, and the message within it when it is one. */
static enum rc open_part(struct parser *p, struct mime_part *parent, struct mime_part *last)
{
    for (;;) {
        struct mime_part *part = ARENA_NEW(p->arena, struct mime_part);
        if (part == NULL)
            return RC_TEMP;
        link_part(parent, last, part);
        p->current = part;
        p->out->part_count++;
        bool is_digest = parent != NULL && slice_equal(parent->type.value, SLICE("multipart/digest"));
        part->type.value = is_digest ? SLICE("message/rfc822") : SLICE("text/plain");
        skip_header(p, part);
        if (read_fields(p, part) != RC_OK)
            return RC_TEMP;
        bool is_multipart = slice_starts_nocase(part->type.value, SLICE("multipart/"));
        bool is_message = is_message_type(part);
        if (!is_multipart && !is_message && p->out->part_count < MIME_PARTS_MAX)
            return RC_OK;
        if (p->out->part_count >= MIME_PARTS_MAX || depth_of(part) + 1 >= MIME_DEPTH_MAX) {
            add_defect(p, part->header_start, p->out->part_count >= MIME_PARTS_MAX
                       ? "too many parts: the rest is not looked at" : "parts nested too deep: not looked at");
            make_opaque(part);
            if (p->out->part_count >= MIME_PARTS_MAX)
                p->open_count = 0;
            return RC_OK;
        }
        if (is_multipart) {
            open_multipart(p, part);
            return RC_OK;
        }
        part->is_message = true;
        parent = part;
        last = NULL;
    }
}

/* A place between two bytes, and the line ends before it. */
struct place {
    size_t offset, lines;
};

/* Ends a body there. The line end before a boundary is the boundary's even where it ended the header (RFC 2046 5.1.1:
 * a part may be a header only), so an empty body moves back with it. */
static void close_part(struct parser *p, struct mime_part *part, struct place end)
{
    bool is_empty = end.offset < part->body_start;

    part->body_end = end.offset;
    part->body_lines = is_empty ? 0 : end.lines - part->body_lines;
    if (is_empty)
        part->body_start = end.offset;
    if (part->header_start > end.offset)
        part->header_start = end.offset;
    if (part->is_multipart && part->first_child == NULL) {
        add_defect(p, part->header_start, "multipart without a part, read as text");
        part->is_multipart = false;
        part->type.value = SLICE("text/plain");
    }
}

/* A boundary of open[level]: everything inside ends before the line end that precedes it. */
static enum rc on_boundary(struct parser *p, size_t level, bool is_close, struct place line_start)
{
    struct mime_part *multipart = p->open[level].part;
    struct mime_part *last = NULL;      /* the child that ends here */
    struct place end = line_start;

    if (end.offset > 0 && p->message.ptr[end.offset - 1] == '\n') {
        end.offset--;
        end.lines--;
        if (end.offset > 0 && p->message.ptr[end.offset - 1] == '\r')
            end.offset--;
    }
    for (size_t i = level + 1; i < p->open_count; i++)
        add_defect(p, line_start.offset, "multipart not closed before the boundary of an outer one");
    for (; p->current != multipart; p->current = p->current->parent) {
        close_part(p, p->current, end);
        last = p->current;
    }
    p->open_count = is_close ? level : level + 1;
    return is_close ? RC_OK : open_part(p, multipart, last);
}

static void close_all(struct parser *p)
{
    struct place end = { p->message.len, p->lines };

    for (size_t i = 0; i < p->open_count; i++)
        add_defect(p, p->message.len, "multipart not closed");
    for (; p->current != NULL; p->current = p->current->parent)
        close_part(p, p->current, end);
}

enum rc mime_parse(struct slice message, struct arena *arena, struct mime_message *out, struct fault *f)
{
    struct parser p = { .message = message, .arena = arena, .out = out };

    *out = (struct mime_message){ .root = NULL };
    enum rc rc = open_part(&p, NULL, NULL);
    for (out->root = p.current; out->root != NULL && out->root->parent != NULL;)
        out->root = out->root->parent;
    while (rc == RC_OK && p.at < message.len) {
        struct place start = { p.at, p.lines };
        bool is_close = false;
        struct slice line = next_line(&p);
        size_t level = match_boundary(&p, line, &is_close);
        if (level < p.open_count)
            rc = on_boundary(&p, level, is_close, start);
    }
    if (rc != RC_OK)
        return fault_no_memory(f);
    close_all(&p);
    return RC_OK;
}

/* RFC 3501 6.4.5: numbers count parts of multiparts; a message within a message is looked through. */
const struct mime_part *mime_find(const struct mime_message *message, const uint32_t *path, size_t depth)
{
    const struct mime_part *part = message->root;

    for (size_t i = 0; i < depth && part != NULL; i++) {
        bool is_whole_message = i == 0;
        uint32_t wanted = path[i];
        if (i > 0 && part->is_message) {
            part = part->first_child;
            is_whole_message = true;
        }
        if (part->is_multipart) {
            for (part = part->first_child; part != NULL && part->number != wanted;)
                part = part->next;
        } else if (!is_whole_message || wanted != 1) {
            return NULL;
        }
    }
    return part;
}

struct slice mime_file_name(const struct mime_part *part)
{
    struct slice name = header_value_param(&part->disposition, SLICE("filename"));
    return name.len > 0 ? name : header_value_param(&part->type, SLICE("name"));
}

enum rc mime_decode_body(struct slice message, const struct mime_part *part, struct buf *out)
{
    struct slice body = slice_sub(message, part->body_start, part->body_end - part->body_start);

    if (part->encoding == MIME_QUOTED_PRINTABLE)
        return quoted_printable_decode(body, out);
    if (part->encoding == MIME_BASE64)
        return base64_body_decode(body, out);
    return buf_append(out, body) ? RC_OK : RC_TEMP;
}

enum rc mime_decode_text(struct slice message, const struct mime_part *part, struct buf *out)
{
    struct buf bytes;

    buf_init(&bytes, part->body_end - part->body_start + 8);
    enum rc rc = mime_decode_body(message, part, &bytes);
    if (rc == RC_OK && charset_to_utf8(header_value_param(&part->type, SLICE("charset")), buf_slice(&bytes), out) == RC_TEMP)
        rc = RC_TEMP;
    buf_free(&bytes);
    return rc;
}
