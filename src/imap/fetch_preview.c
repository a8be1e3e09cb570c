/* The first words of a message (RFC 8970): of its first text that is no attachment, plain text before HTML. */
#include "imap/fetch.h"

#include "base/text.h"
#include "mail/html.h"

static bool is_shown(const struct mime_part *part, struct slice type)
{
    return part->first_child == NULL && slice_equal(part->type.value, type) && !slice_equal(part->disposition.value, SLICE("attachment"));
}

/* In the order in which they stand, without going into forwarded messages. */
static const struct mime_part *find(const struct mime_part *part, struct slice type)
{
    if (is_shown(part, type))
        return part;
    for (const struct mime_part *child = part->is_message ? NULL : part->first_child; child != NULL; child = child->next) {
        const struct mime_part *found = find(child, type);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static bool is_space(uint32_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0xa0; }

/* Words with one space between them, without lines that quote somebody else. */
static void write_words(struct slice text, struct buf *out)
{
    bool owes_space = false, is_line_start = true;
    for (size_t count = 0; text.len > 0 && count < PREVIEW_MAX;) {
        uint32_t c;
        if (is_line_start && text.ptr[0] == '>') {
            (void)slice_take_until(&text, '\n');
            continue;
        }
        if (utf8_take(&text, &c) != RC_OK) {
            (void)slice_take(&text, 1);
            c = 0xfffd;
        }
        is_line_start = c == '\n';
        if (is_space(c) || c < ' ' || c == 0x7f) {
            owes_space = buf_len(out) > 0;
            continue;
        }
        if (owes_space && ++count < PREVIEW_MAX)
            (void)buf_append_byte(out, ' ');
        owes_space = false;
        if (count++ < PREVIEW_MAX)
            (void)utf8_append(out, c);
    }
}

void imap_preview(struct slice message, const struct mime_part *root, struct buf *scratch, struct buf *out)
{
    struct buf text;
    const struct mime_part *part = find(root, SLICE("text/plain"));
    if (part != NULL) {
        (void)mime_decode_text(message, part, scratch);
        write_words(buf_slice(scratch), out);
        return;
    }
    part = find(root, SLICE("text/html"));
    if (part == NULL)
        return;
    (void)mime_decode_text(message, part, scratch);
    buf_init(&text, PREVIEW_MAX * 8);           /* more is not needed: what overflows is left out */
    (void)html_text(buf_slice(scratch), &text);
    write_words(buf_slice(&text), out);
    buf_free(&text);
}
