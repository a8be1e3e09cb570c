/* Header sections, values with parameters, encoded words: everything is accounted for, decoded text is UTF-8, and what
 * is written is one field that reads back. */
#include "fuzz.h"

#include "base/text.h"
#include "mail/encoded.h"
#include "mail/header.h"

static void check_section(struct slice in)
{
    struct slice rest = in;
    struct header_field field;
    struct header_scan scan;
    size_t total = 0;
    enum rc rc;

    while ((rc = header_next(&rest, &field)) != RC_NONE) {
        struct buf text;
        must(field.whole.len > 0 && field.whole.ptr == in.ptr + total);
        total += field.whole.len;
        buf_init(&text, in.len * 4 + 64);
        must(header_decode(field.body, &text) && utf8_is_valid(buf_slice(&text)));
        must((rc == RC_OK) == (field.name.len > 0));
        buf_free(&text);
    }
    must(header_end(in) == in.len - rest.len);
    header_scan_init(&scan);
    size_t first = header_scan_feed(&scan, slice_sub(in, 0, in.len / 3));
    must(first + header_scan_feed(&scan, slice_sub(in, in.len / 3, in.len)) == header_end(in));
}

static void check_value(struct slice in)
{
    struct arena arena;
    struct header_value v;

    arena_init(&arena, in.len * 512 + (1 << 20));
    enum rc rc = header_parse_value(in, &arena, &v);
    must(rc == RC_OK || rc == RC_NONE);
    must(v.param_count <= HEADER_PARAMS_MAX);
    for (size_t i = 0; i < v.param_count; i++) {
        must(header_value_has(&v, v.params[i].name));
        must(slice_equal(v.params[i].name, SLICE("boundary")) || utf8_is_valid(v.params[i].value));
    }
    arena_free(&arena);
}

/* One field, whatever the text: no line but the first starts without white space. */
static void check_written(struct slice in, bool utf8_allowed)
{
    struct buf out, phrase, param, back;
    struct header_field field;
    struct header_value v;
    struct arena arena;

    arena_init(&arena, in.len * 512 + (1 << 20));
    buf_init(&out, in.len * 16 + 1024);
    buf_init(&phrase, in.len * 16 + 1024);
    buf_init(&param, in.len * 16 + 1024);
    buf_init(&back, in.len * 16 + 1024);
    must(header_write(&out, SLICE("X"), in, utf8_allowed) && header_write_phrase(&phrase, in, utf8_allowed));
    must(header_write_folded(&out, SLICE("Y"), buf_slice(&phrase)));
    must(utf8_allowed || text_is_ascii(buf_slice(&out)));
    struct slice rest = buf_slice(&out);
    must(header_next(&rest, &field) == RC_OK && slice_equal(field.name, SLICE("X")));
    must(header_next(&rest, &field) == RC_OK && slice_equal(field.name, SLICE("Y")));
    must(header_next(&rest, &field) == RC_NONE && rest.len == 0);
    must(header_write_param(&param, SLICE("n"), in) && text_is_ascii(buf_slice(&param)));
    must(header_parse_value(buf_slice(&param), &arena, &v) == RC_NONE);
    if (utf8_is_valid(in) && in.len > 0 && in.len < 1000)
        must(slice_equal(header_value_param(&v, SLICE("n")), in));
    must(encoded_word_write(in, &back));
    buf_free(&out);
    buf_free(&phrase);
    buf_free(&param);
    buf_free(&back);
    arena_free(&arena);
}

static void check_encodings(struct slice in)
{
    struct buf out, back;

    buf_init(&out, in.len * 6 + 64);
    buf_init(&back, in.len * 6 + 64);
    must(encoded_word_decode(in, &out) && utf8_is_valid(buf_slice(&out)));
    buf_clear(&out);
    must(quoted_printable_decode(in, &out) == RC_OK && buf_len(&out) <= in.len);
    buf_clear(&out);
    must(base64_body_decode(in, &out) == RC_OK && buf_len(&out) <= in.len);
    buf_clear(&out);
    must(base64_body_encode(in, &out) && base64_body_decode(buf_slice(&out), &back) == RC_OK);
    must(slice_equal(buf_slice(&back), in));
    buf_clear(&out);
    buf_clear(&back);
    must(quoted_printable_encode(in, &out) && text_is_ascii(buf_slice(&out)));
    must(quoted_printable_decode(buf_slice(&out), &back) == RC_OK && slice_equal(buf_slice(&back), in));
    buf_free(&out);
    buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = { (const char *)data, size };

    check_section(in);
    check_value(in);
    check_written(in, false);
    check_written(in, true);
    check_encodings(in);
    return 0;
}
