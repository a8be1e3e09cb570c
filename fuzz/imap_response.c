/* What an IMAP server says, whole: no response may break the parser, and what it gives back lies within bounds. */
#include "fuzz.h"

#include "imap/response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct imap_response response;
    struct fault f;
    struct imap_raw raw = { .text = { (const char *)data, size } };
    size_t open = slice_find_byte(raw.text, '{');
    if (open < size && size % 2 == 0)
        raw.streamed[raw.streamed_count++] = open;
    arena_init(&arena, 8 * 1024 * 1024);
    if (imap_response_parse(&raw, &arena, &response, &f) == RC_OK) {
        must(response.flag_count <= IMAP_RESPONSE_FLAGS_MAX && response.body.len <= size && response.text.len <= size);
        for (size_t i = 0; i < response.flag_count; i++)
            must(response.flags[i].len > 0);
        must(!response.has_uid || response.uid > 0);
    }
    arena_free(&arena);
    return 0;
}
