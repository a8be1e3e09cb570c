/* ENVELOPE, BODY and BODYSTRUCTURE of any message are grammatical; and so is what FETCH's items are parsed from. */
#include "fuzz.h"

#include "imap/fetch.h"
#include "imap_output.h"

enum { OUT_MAX = 64 * 1024 * 1024, ARENA_BYTES = 64 * 1024 * 1024 };

static void check(struct buf *out, bool fits)
{
    if (fits) {
        must(buf_append_str(out, "\r\n"));
        struct slice said = buf_slice(out);
        must(imap_output_data(&said) && said.len == 0);
    }
    buf_clear(out);
}

static void write_message(struct slice message, struct arena *arena, struct buf *out)
{
    struct mime_message mime;
    if (mime_parse(message, arena, &mime, NULL) != RC_OK)
        return;
    check(out, imap_write_structure(out, message, mime.root, false, arena));
    check(out, imap_write_structure(out, message, mime.root, true, arena));
    check(out, imap_write_envelope(out, slice_sub(message, 0, header_end(message)), arena));
}

static void parse_items(struct slice text, struct arena *arena, struct buf *out)
{
    struct imap_parser p;
    struct fetch_items items = { .count = 0 };
    imap_parser_init(&p, text, arena);
    if (!imap_parse_fetch_items(&p, &items)) {
        must(p.error != NULL);
        return;
    }
    for (size_t i = 0; i < items.count; i++) {
        if (items.items[i].kind == FETCH_SECTION)
            check(out, buf_append(out, items.items[i].label));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = { (const char *)data, size };
    struct arena arena;
    struct buf out;
    arena_init(&arena, ARENA_BYTES);
    buf_init(&out, OUT_MAX);
    write_message(text, &arena, &out);
    parse_items(text, &arena, &out);
    buf_free(&out);
    arena_free(&arena);
    return 0;
}
