/* Finding the bytes of BODY[section] (RFC 3501 6.4.5) and BINARY[part] (RFC 3516 4.2): see fetch.h.
 *
 * A whole message and its text are left in the store and go out in pieces; what needs the MIME tree has the message in
 * memory anyway. */
#include "imap/fetch.h"

static struct slice between(struct slice message, size_t start, size_t end)
{
    return slice_sub(message, start, end > start ? end - start : 0);
}

/* RFC 3501 6.4.5: the subset ends with the empty line. */
static enum rc select_fields(struct slice header, const struct fetch_section *section, struct buf *scratch, struct slice *out)
{
    buf_clear(scratch);
    bool is_not = section->kind == SECTION_FIELDS_NOT;
    if (!header_select(header, section->names, section->name_count, is_not, scratch) || !buf_append_str(scratch, "\r\n"))
        return RC_TEMP;
    *out = buf_slice(scratch);
    return RC_OK;
}

static enum rc find_top(struct imap_message *m, const struct fetch_section *section, struct buf *scratch, struct fetch_bytes *bytes)
{
    struct slice header = SLICE_NONE;
    enum rc rc = section->kind == SECTION_ALL ? RC_OK : imap_message_header(m, &header);
    if (rc != RC_OK)
        return rc;
    if (section->kind == SECTION_ALL || section->kind == SECTION_TEXT) {
        *bytes = (struct fetch_bytes){ .is_stored = true, .offset = header.len, .left = m->size_bytes - header.len };
        return RC_OK;
    }
    bytes->memory = header;
    return section->kind == SECTION_HEADER ? RC_OK : select_fields(header, section, scratch, &bytes->memory);
}

static enum rc decode(struct slice message, const struct mime_part *part, struct buf *scratch, struct fetch_bytes *bytes)
{
    bool is_encoded = part->encoding == MIME_BASE64 || part->encoding == MIME_QUOTED_PRINTABLE;
    bytes->memory = between(message, part->body_start, part->body_end);
    bytes->has_unknown_encoding = part->encoding == MIME_UNKNOWN_ENCODING;
    if (bytes->has_unknown_encoding)
        return RC_PERM;
    if (!is_encoded || part->first_child != NULL)
        return RC_OK;
    buf_clear(scratch);
    if (mime_decode_body(message, part, scratch) != RC_OK)
        return RC_TEMP;
    bytes->memory = buf_len(scratch) > 0 ? buf_slice(scratch) : SLICE("");
    return RC_OK;
}

/* What is numbered: HEADER, TEXT and fields are those of a message within the message; MIME and the rest the part's own. */
static enum rc find_part(struct imap_message *m, const struct fetch_section *section, struct buf *scratch, struct fetch_bytes *bytes)
{
    struct slice *out = &bytes->memory;
    struct slice message;
    const struct mime_message *mime = NULL;
    enum rc rc = imap_message_mime(m, &message, &mime);
    if (rc != RC_OK)
        return rc;
    const struct mime_part *part = mime_find(mime, section->path, section->depth);
    if (part == NULL)
        return RC_NONE;
    const struct mime_part *inner = part->is_message ? part->first_child : NULL;
    if (section->is_binary)
        return decode(message, part, scratch, bytes);
    switch (section->kind) {
    case SECTION_ALL:
        *out = between(message, part->body_start, part->body_end);
        return RC_OK;
    case SECTION_MIME:
        *out = between(message, part->header_start, part->body_start);
        return RC_OK;
    case SECTION_TEXT:
        if (inner == NULL)
            return RC_NONE;
        *out = between(message, inner->body_start, inner->body_end);
        return RC_OK;
    case SECTION_HEADER:
    case SECTION_FIELDS:
    case SECTION_FIELDS_NOT:
        if (inner == NULL)
            return RC_NONE;
        *out = between(message, inner->header_start, inner->body_start);
        return section->kind == SECTION_HEADER ? RC_OK : select_fields(*out, section, scratch, out);
    }
    return RC_NONE;
}

static void apply_partial(const struct fetch_section *section, struct fetch_bytes *bytes)
{
    uint64_t there = bytes->is_stored ? bytes->left : bytes->memory.len;
    uint64_t skip = section->offset < there ? section->offset : there;
    uint64_t left = there - skip < section->length ? there - skip : section->length;
    bytes->offset += skip;
    bytes->left = left;
    if (!bytes->is_stored)
        bytes->memory = slice_sub(bytes->memory, (size_t)skip, (size_t)left);
}

enum rc imap_find_section(struct imap_message *m, const struct fetch_section *section, struct buf *scratch, struct fetch_bytes *bytes)
{
    *bytes = (struct fetch_bytes){ .is_stored = false };
    enum rc rc = section->depth == 0 ? find_top(m, section, scratch, bytes) : find_part(m, section, scratch, bytes);
    if (rc == RC_OK && section->is_partial)
        apply_partial(section, bytes);
    return rc;
}
