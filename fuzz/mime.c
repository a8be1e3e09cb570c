/* MIME trees: parts lie within their parents and behind their elder siblings, counts are right, nothing fails. */
#include "fuzz.h"

#include "mail/lint.h"
#include "mail/mime.h"

static size_t check_part(struct slice message, const struct mime_part *part, size_t depth)
{
    size_t parts = 1, lines = 0;
    uint32_t number = 1;

    must(depth < MIME_DEPTH_MAX);
    must(part->header_start <= part->body_start && part->body_start <= part->body_end && part->body_end <= message.len);
    must((part->first_child != NULL) == (part->is_multipart || part->is_message));
    for (size_t i = part->body_start; i < part->body_end && depth < 3; i++)
        lines += message.ptr[i] == '\n';
    must(depth >= 3 || part->body_lines == lines);
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next) {
        must(child->parent == part && child->number == number++);
        must(child->header_start >= part->body_start && child->body_end <= part->body_end);
        must(child->next == NULL || child->next->header_start >= child->body_end);
        parts += check_part(message, child, depth + 1);
    }
    if (part->first_child == NULL) {
        struct buf text;
        buf_init(&text, message.len * 6 + 64);
        must(mime_decode_text(message, part, &text) == RC_OK);
        buf_free(&text);
    }
    return parts;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice message = { (const char *)data, size };
    struct mime_message m;
    struct lint l;
    struct arena arena;

    arena_init(&arena, size * 8 + (8 << 20));
    must(mime_parse(message, &arena, &m, NULL) == RC_OK);
    must(m.part_count <= MIME_PARTS_MAX && check_part(message, m.root, 0) == m.part_count);
    must(mime_find(&m, (const uint32_t[]){ 1 }, 1) != NULL);
    lint_message(message, &m, &l);
    for (size_t i = 0; i < l.defect_count; i++)
        must(l.defects[i].offset <= size && (i == 0 || l.defects[i].offset >= l.defects[i - 1].offset));
    arena_free(&arena);
    return 0;
}
