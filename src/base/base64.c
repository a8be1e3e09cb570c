/* Base64 (RFC 4648 4): see text.h. Strict in what it takes: one text has one encoding, so two servers that compare
 * or sign encoded text agree (RFC 4648 3.5). */
#include "base/text.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Value of each byte as a digit plus one, so that what is not named here is none. */
#define ROW4(byte, value) [byte] = (value) + 1, [(byte) + 1] = (value) + 2, [(byte) + 2] = (value) + 3, \
    [(byte) + 3] = (value) + 4
static const unsigned char digits[256] = {
    ROW4('A', 0), ROW4('E', 4), ROW4('I', 8), ROW4('M', 12), ROW4('Q', 16), ROW4('U', 20), ['Y'] = 25, ['Z'] = 26,
    ROW4('a', 26), ROW4('e', 30), ROW4('i', 34), ROW4('m', 38), ROW4('q', 42), ROW4('u', 46), ['y'] = 51, ['z'] = 52,
    ROW4('0', 52), ROW4('4', 56), ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

bool base64_encode(struct slice in, struct buf *out)
{
    if (in.len > SIZE_MAX / 4 * 3 - 3) {
        out->overflow = true;
        return false;
    }
    size_t len = (in.len + 2) / 3 * 4;
    char *to = buf_reserve(out, len);
    if (to == NULL)
        return false;
    const unsigned char *at = (const unsigned char *)in.ptr;
    size_t left = in.len;
    for (; left >= 3; left -= 3, at += 3, to += 4) {
        uint32_t group = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
        to[0] = alphabet[group >> 18];
        to[1] = alphabet[group >> 12 & 63];
        to[2] = alphabet[group >> 6 & 63];
        to[3] = alphabet[group & 63];
    }
    if (left > 0) {
        uint32_t group = (uint32_t)at[0] << 16 | (left == 2 ? (uint32_t)at[1] << 8 : 0);
        to[0] = alphabet[group >> 18];
        to[1] = alphabet[group >> 12 & 63];
        to[2] = left == 2 ? alphabet[group >> 6 & 63] : '=';
        to[3] = '=';
    }
    buf_commit(out, len);
    return true;
}

/* Four digits to three bytes; false when one of them is no digit. */
static inline bool decode_group(const unsigned char *at, char *to)
{
    uint32_t a = digits[at[0]] - 1u, b = digits[at[1]] - 1u, c = digits[at[2]] - 1u, d = digits[at[3]] - 1u;
    uint32_t group = a << 18 | b << 12 | c << 6 | d;
    to[0] = (char)(unsigned char)(group >> 16);
    to[1] = (char)(unsigned char)(group >> 8);
    to[2] = (char)(unsigned char)group;
    return (a | b | c | d) < 64;
}

/* The last group, whose padding bits must be zero. Writes 3 - padding bytes. */
static bool decode_padded(const unsigned char *at, size_t padding, char *to)
{
    unsigned char group[4] = { at[0], at[1], padding == 2 ? 'A' : at[2], 'A' };
    char bytes[3];
    if (!decode_group(group, bytes))
        return false;
    for (size_t i = 3 - padding; i < 3; i++)
        if (bytes[i] != 0)
            return false;
    memcpy(to, bytes, 3 - padding);
    return true;
}

enum rc base64_decode(struct slice in, struct buf *out)
{
    if (in.len % 4 != 0)
        return RC_PERM;
    if (in.len == 0)
        return RC_OK;
    size_t padding = in.ptr[in.len - 1] != '=' ? 0 : in.ptr[in.len - 2] != '=' ? 1 : 2;
    size_t len = in.len / 4 * 3 - padding;
    char *to = buf_reserve(out, len);
    if (to == NULL)
        return RC_PERM;
    const unsigned char *at = (const unsigned char *)in.ptr;
    const unsigned char *end = at + in.len - (padding > 0 ? 4 : 0);
    bool valid = true;
    for (; at < end; at += 4, to += 3)
        valid &= decode_group(at, to);
    if (padding > 0)
        valid &= decode_padded(at, padding, to);
    if (!valid)
        return RC_PERM;
    buf_commit(out, len);
    return RC_OK;
}
