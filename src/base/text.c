/* Hex, UTF-8 and JSON strings: see text.h. Base64 and CRC-32C have files of their own. */
#include "base/text.h"

static const char hex_digits[] = "0123456789abcdef";

bool hex_encode(struct slice in, struct buf *out)
{
    if (in.len > SIZE_MAX / 2) {
        out->overflow = true;
        return false;
    }
    char *to = buf_reserve(out, in.len * 2);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < in.len; i++) {
        *to++ = hex_digits[(unsigned char)in.ptr[i] >> 4];
        *to++ = hex_digits[(unsigned char)in.ptr[i] & 15];
    }
    buf_commit(out, in.len * 2);
    return true;
}

static int hex_value(char digit)
{
    if (byte_is_digit((unsigned char)digit))
        return digit - '0';
    char lower = byte_lower(digit);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

enum rc hex_decode(struct slice in, struct buf *out)
{
    if (in.len % 2 != 0)
        return RC_PERM;
    char *to = buf_reserve(out, in.len / 2);
    if (to == NULL)
        return RC_PERM;
    for (size_t i = 0; i < in.len; i += 2) {
        int high = hex_value(in.ptr[i]), low = hex_value(in.ptr[i + 1]);
        if (high < 0 || low < 0)
            return RC_PERM;
        *to++ = (char)(high << 4 | low);
    }
    buf_commit(out, in.len / 2);
    return RC_OK;
}

/* The second byte's range depends on the first, which is how overlong forms, surrogates and values past U+10FFFF
 * are refused (RFC 3629 4). */
static const struct utf8_lead {
    unsigned char first, last;              /* first bytes of this row */
    unsigned char second_min, second_max;
    unsigned char len;
    unsigned char bits;                     /* of the first byte that belong to the value */
} utf8_leads[] = {
    { 0xc2, 0xdf, 0x80, 0xbf, 2, 0x1f },
    { 0xe0, 0xe0, 0xa0, 0xbf, 3, 0x0f },
    { 0xe1, 0xec, 0x80, 0xbf, 3, 0x0f },
    { 0xed, 0xed, 0x80, 0x9f, 3, 0x0f },
    { 0xee, 0xef, 0x80, 0xbf, 3, 0x0f },
    { 0xf0, 0xf0, 0x90, 0xbf, 4, 0x07 },
    { 0xf1, 0xf3, 0x80, 0xbf, 4, 0x07 },
    { 0xf4, 0xf4, 0x80, 0x8f, 4, 0x07 },
};

static enum rc take_multibyte(struct slice *in, uint32_t *code_point)
{
    const unsigned char *at = (const unsigned char *)in->ptr;
    const struct utf8_lead *lead = utf8_leads, *end = lead + sizeof utf8_leads / sizeof utf8_leads[0];
    while (lead < end && !(at[0] >= lead->first && at[0] <= lead->last))
        lead++;
    if (lead == end || in->len < lead->len || at[1] < lead->second_min || at[1] > lead->second_max)
        return RC_PERM;
    uint32_t value = at[0] & lead->bits;
    for (size_t i = 1; i < lead->len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return RC_PERM;
        value = value << 6 | (at[i] & 0x3f);
    }
    *code_point = value;
    slice_take(in, lead->len);
    return RC_OK;
}

enum rc utf8_take(struct slice *in, uint32_t *code_point)
{
    if (in->len == 0)
        return RC_PERM;
    if ((unsigned char)in->ptr[0] >= 0x80)
        return take_multibyte(in, code_point);
    *code_point = (unsigned char)slice_take(in, 1).ptr[0];
    return RC_OK;
}

bool utf8_append(struct buf *buf, uint32_t code_point)
{
    if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point <= 0xdfff))
        return false;
    if (code_point < 0x80)
        return buf_append_byte(buf, (char)code_point);
    size_t len = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    static const unsigned char lead_of_len[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    char bytes[4];
    for (size_t i = len - 1; i > 0; i--, code_point >>= 6)
        bytes[i] = (char)(unsigned char)(0x80 | (code_point & 0x3f));
    bytes[0] = (char)(unsigned char)(lead_of_len[len] | code_point);
    return buf_append(buf, (struct slice){ bytes, len });
}

/* How many bytes at the front are ASCII, at least in whole words: mail is mostly that. */
static size_t ascii_words(struct slice in)
{
    size_t len = 0;
    for (uint64_t word; in.len - len >= sizeof word; len += sizeof word) {
        memcpy(&word, in.ptr + len, sizeof word);
        if ((word & 0x8080808080808080) != 0)
            break;
    }
    return len;
}

bool utf8_is_valid(struct slice in)
{
    uint32_t code_point;
    for (slice_take(&in, ascii_words(in)); in.len > 0; slice_take(&in, ascii_words(in)))
        if (utf8_take(&in, &code_point) != RC_OK)
            return false;
    return true;
}

bool text_is_ascii(struct slice in)
{
    for (size_t i = ascii_words(in); i < in.len; i++)
        if ((unsigned char)in.ptr[i] >= 0x80)
            return false;
    return true;
}

static bool is_json_plain(unsigned char byte) { return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; }

/* The escapes with a short form (RFC 8259 7); other controls are \u00XX. */
static bool append_json_escape(struct buf *buf, char byte)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    size_t at = slice_find_byte(SLICE(from), byte);
    if (at < sizeof from - 1)
        return buf_append_byte(buf, '\\') && buf_append_byte(buf, to[at]);
    return buf_printf(buf, "\\u%04x", (unsigned)(unsigned char)byte);
}

static bool append_json_special(struct buf *buf, struct slice *in)
{
    if ((unsigned char)in->ptr[0] < 0x80)
        return append_json_escape(buf, slice_take(in, 1).ptr[0]);
    struct slice rest = *in;
    uint32_t code_point;
    if (utf8_take(&rest, &code_point) == RC_OK)
        return buf_append(buf, slice_take(in, in->len - rest.len));
    slice_take(in, 1);
    return utf8_append(buf, 0xfffd);
}

bool json_append_string(struct buf *buf, struct slice in)
{
    size_t before = buf_len(buf);
    bool fits = buf_append_byte(buf, '"');
    while (fits && in.len > 0) {
        fits = buf_append(buf, slice_take_while(&in, is_json_plain));
        if (fits && in.len > 0)
            fits = append_json_special(buf, &in);
    }
    fits = fits && buf_append_byte(buf, '"');
    if (!fits)
        buf_truncate(buf, before);
    return fits;
}
