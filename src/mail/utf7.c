/* Modified UTF-7: see utf7.h. Base64 with ',' for '/' and without padding, over UTF-16 in network order. */
#include "mail/utf7.h"

#include "base/text.h"

static const char digits[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static bool is_direct(uint32_t code_point) { return code_point >= 0x20 && code_point <= 0x7e; }

/* Bits on their way to or from base64. */
struct bits {
    uint32_t held;
    unsigned count;
};

static void put_unit(struct bits *bits, uint32_t unit, struct buf *out)
{
    bits->held = bits->held << 16 | unit;
    bits->count += 16;
    while (bits->count >= 6) {
        bits->count -= 6;
        buf_append_byte(out, digits[bits->held >> bits->count & 63]);
    }
    bits->held &= (1u << bits->count) - 1;
}

static void put_code_point(struct bits *bits, uint32_t code_point, struct buf *out)
{
    if (code_point < 0x10000) {
        put_unit(bits, code_point, out);
        return;
    }
    put_unit(bits, 0xd800 + ((code_point - 0x10000) >> 10), out);
    put_unit(bits, 0xdc00 + ((code_point - 0x10000) & 0x3ff), out);
}

static void end_shift(struct bits *bits, struct buf *out)
{
    if (bits->count > 0)
        buf_append_byte(out, digits[bits->held << (6 - bits->count) & 63]);
    *bits = (struct bits){ 0, 0 };
    buf_append_byte(out, '-');
}

enum rc utf7_encode(struct slice utf8, struct buf *out)
{
    struct bits bits = { 0, 0 };
    bool is_shifted = false;
    while (utf8.len > 0) {
        uint32_t code_point;
        if (utf8_take(&utf8, &code_point) != RC_OK)
            return RC_PERM;
        if (is_direct(code_point) == is_shifted) {
            if (is_shifted)
                end_shift(&bits, out);
            else
                buf_append_byte(out, '&');
            is_shifted = !is_shifted;
        }
        if (is_shifted)
            put_code_point(&bits, code_point, out);
        else
            buf_append_str(out, code_point == '&' ? "&-" : (char[]){ (char)code_point, '\0' });
    }
    if (is_shifted)
        end_shift(&bits, out);
    return out->overflow ? RC_TEMP : RC_OK;
}

/* One UTF-16 unit of a shifted run. A high surrogate waits in *high for its low one. */
static enum rc take_unit(uint32_t unit, uint32_t *high, struct buf *out)
{
    bool is_low = unit >= 0xdc00 && unit <= 0xdfff;
    if (is_low != (*high != 0))
        return RC_PERM;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        *high = unit;
        return RC_OK;
    }
    uint32_t code_point = is_low ? 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00) : unit;
    *high = 0;
    if (is_direct(code_point))
        return RC_PERM;
    (void)utf8_append(out, code_point);         /* surrogates are excluded above: fails for want of room only */
    return RC_OK;
}

/* Behind '&', up to and with '-'. */
static enum rc decode_shift(struct slice *in, struct buf *out)
{
    struct bits bits = { 0, 0 };
    uint32_t high = 0;
    if (slice_take_byte(in, '-')) {
        buf_append_byte(out, '&');
        return RC_OK;
    }
    for (bool is_first = true; ; is_first = false) {
        if (in->len == 0)
            return RC_PERM;
        char byte = slice_take(in, 1).ptr[0];
        if (byte == '-')
            return is_first || high != 0 || bits.count >= 6 || bits.held != 0 ? RC_PERM : RC_OK;
        const char *digit = memchr(digits, byte, sizeof(digits));
        if (digit == NULL)
            return RC_PERM;
        bits.held = bits.held << 6 | (uint32_t)(digit - digits);
        bits.count += 6;
        if (bits.count < 16)
            continue;
        bits.count -= 16;
        uint32_t unit = bits.held >> bits.count;
        bits.held &= (1u << bits.count) - 1;
        if (take_unit(unit, &high, out) != RC_OK)
            return RC_PERM;
    }
}

enum rc utf7_decode(struct slice utf7, struct buf *out)
{
    bool after_shift = false;       /* "&...-&...-" is one run cut in two: superfluous, unless the second is "&-" */
    while (utf7.len > 0) {
        char byte = slice_take(&utf7, 1).ptr[0];
        if (byte != '&') {
            if (!is_direct((unsigned char)byte))
                return RC_PERM;
            buf_append_byte(out, byte);
            after_shift = false;
            continue;
        }
        bool is_ampersand = utf7.len > 0 && utf7.ptr[0] == '-';
        if ((after_shift && !is_ampersand) || decode_shift(&utf7, out) != RC_OK)
            return RC_PERM;
        after_shift = !is_ampersand;
    }
    return out->overflow ? RC_TEMP : RC_OK;
}
