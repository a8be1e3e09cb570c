/* Encodings and slices: what goes in comes out, and what is accepted is the one encoding of what it means. */
#include "fuzz.h"

#include "base/text.h"

static void check_base64(struct slice in)
{
    struct buf out, back;
    buf_init(&out, in.len * 2 + 4);
    buf_init(&back, in.len * 2 + 4);
    must(base64_encode(in, &out));
    must(base64_decode(buf_slice(&out), &back) == RC_OK && slice_equal(buf_slice(&back), in));
    buf_clear(&out);
    buf_clear(&back);
    if (base64_decode(in, &out) == RC_OK)
        must(base64_encode(buf_slice(&out), &back) && slice_equal(buf_slice(&back), in));
    else
        must(buf_len(&out) == 0);
    buf_free(&out);
    buf_free(&back);
}

static void check_hex(struct slice in)
{
    struct buf out, back;
    buf_init(&out, in.len * 2);
    buf_init(&back, in.len);
    must(hex_encode(in, &out));
    must(hex_decode(buf_slice(&out), &back) == RC_OK && slice_equal(buf_slice(&back), in));
    buf_free(&out);
    buf_free(&back);
}

static void check_utf8(struct slice in)
{
    struct buf again;
    buf_init(&again, in.len);
    struct slice rest = in;
    uint32_t code_point;
    while (utf8_take(&rest, &code_point) == RC_OK)
        must(utf8_append(&again, code_point));
    must(utf8_is_valid(in) == (rest.len == 0));
    must(slice_equal(buf_slice(&again), slice_sub(in, 0, in.len - rest.len)));
    must(!text_is_ascii(in) || rest.len == 0);
    buf_free(&again);
}

/* Whatever goes in, the text that comes out is one printable line, or none when there is no room. */
static void check_escapes(struct slice in, size_t max)
{
    struct buf out;
    buf_init(&out, max);
    if (json_append_string(&out, in)) {
        struct slice json = buf_slice(&out);
        must(json.len >= 2 && json.ptr[0] == '"' && json.ptr[json.len - 1] == '"' && utf8_is_valid(json));
        for (size_t i = 0; i < json.len; i++)
            must((unsigned char)json.ptr[i] >= 0x20);
    } else {
        must(buf_len(&out) == 0 && out.overflow);
    }
    buf_clear(&out);
    if (buf_append_escaped(&out, in, false))
        for (size_t i = 0; i < buf_len(&out); i++)
            must(buf_slice(&out).ptr[i] >= 0x20 && buf_slice(&out).ptr[i] < 0x7f);
    buf_clear(&out);
    if (buf_append_escaped(&out, in, true))
        must(utf8_is_valid(buf_slice(&out)));
    else
        must(buf_len(&out) == 0);
    buf_free(&out);
}

static void check_slices(struct slice in)
{
    struct slice rest = in, needle = slice_take(&rest, in.len / 16);
    size_t at = slice_find(rest, needle), nocase = slice_find_nocase(rest, needle);
    must(nocase <= at);
    must(at == rest.len || slice_equal(slice_sub(rest, at, needle.len), needle));
    must(nocase == rest.len || slice_equal_nocase(slice_sub(rest, nocase, needle.len), needle));
    must((slice_compare(needle, rest) == 0) == slice_equal(needle, rest));
    must((slice_compare(needle, rest) < 0) == (slice_compare(rest, needle) > 0));
    size_t total = 0, lines = 0;
    for (rest = in; rest.len > 0; lines++)
        total += slice_take_until(&rest, '\n').len;
    must(total + lines == in.len || total + lines == in.len + 1);
    uint64_t value;
    rest = slice_trim(in);
    if (slice_take_number(&rest, 65535, &value))
        must(value <= 65535);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = { (const char *)data, size };
    check_base64(in);
    check_hex(in);
    check_utf8(in);
    check_escapes(in, size * 6 + 2);
    check_escapes(in, size);
    check_slices(in);
    must(crc32c(0, data, size) == crc32c_by_table(crc32c(0, data, size / 3), data + size / 3, size - size / 3));
    return 0;
}
