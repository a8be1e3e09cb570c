/* Slices: see slice.h. Every C library call that takes a pointer is guarded against an empty slice, whose
 * pointer may be NULL. */
#include "base/slice.h"

char byte_lower(char byte) { return byte >= 'A' && byte <= 'Z' ? (char)(byte + ('a' - 'A')) : byte; }

bool byte_is_digit(unsigned char byte) { return byte >= '0' && byte <= '9'; }
bool byte_is_alpha(unsigned char byte) { return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'); }
bool byte_is_alnum(unsigned char byte) { return byte_is_digit(byte) || byte_is_alpha(byte); }
bool byte_is_space(unsigned char byte) { return byte == ' ' || byte == '\t'; }

struct slice slice_from_str(const char *str)
{
    return str == NULL ? SLICE_NONE : (struct slice){ str, strlen(str) };
}

struct slice slice_sub(struct slice s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return (struct slice){ s.ptr == NULL ? NULL : s.ptr + from, len };
}

bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static bool equal_nocase(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (byte_lower(a[i]) != byte_lower(b[i]))
            return false;
    return true;
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && equal_nocase(a.ptr, b.ptr, a.len);
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.ptr, b.ptr, common);
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool slice_starts_nocase(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && equal_nocase(s.ptr, prefix.ptr, prefix.len);
}

bool slice_ends_nocase(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && slice_equal_nocase(slice_sub(s, s.len - suffix.len, suffix.len), suffix);
}

size_t slice_find_byte(struct slice s, char byte)
{
    const char *at = s.len == 0 ? NULL : memchr(s.ptr, byte, s.len);
    return at == NULL ? s.len : (size_t)(at - s.ptr);
}

size_t slice_find(struct slice haystack, struct slice needle)
{
    if (needle.len == 0)
        return 0;
    if (haystack.len < needle.len)
        return haystack.len;
    const char *at = memmem(haystack.ptr, haystack.len, needle.ptr, needle.len);
    return at == NULL ? haystack.len : (size_t)(at - haystack.ptr);
}

size_t slice_find_nocase(struct slice haystack, struct slice needle)
{
    if (needle.len == 0)
        return 0;
    if (haystack.len < needle.len)
        return haystack.len;
    char first = byte_lower(needle.ptr[0]);
    size_t last = haystack.len - needle.len;
    for (size_t i = 0; i <= last; i++)
        if (byte_lower(haystack.ptr[i]) == first && equal_nocase(haystack.ptr + i, needle.ptr, needle.len))
            return i;
    return haystack.len;
}

struct slice slice_take(struct slice *in, size_t len)
{
    struct slice taken = slice_sub(*in, 0, len);
    *in = slice_sub(*in, taken.len, in->len);
    return taken;
}

struct slice slice_take_while(struct slice *in, bool (*is)(unsigned char))
{
    size_t len = 0;
    while (len < in->len && is((unsigned char)in->ptr[len]))
        len++;
    return slice_take(in, len);
}

bool slice_take_byte(struct slice *in, char byte)
{
    if (in->len == 0 || in->ptr[0] != byte)
        return false;
    slice_take(in, 1);
    return true;
}

bool slice_take_prefix_nocase(struct slice *in, struct slice prefix)
{
    if (!slice_starts_nocase(*in, prefix))
        return false;
    slice_take(in, prefix.len);
    return true;
}

struct slice slice_take_until(struct slice *in, char separator)
{
    struct slice taken = slice_take(in, slice_find_byte(*in, separator));
    slice_take_byte(in, separator);
    return taken;
}

bool slice_take_number(struct slice *in, uint64_t max, uint64_t *value)
{
    struct slice rest = *in;
    struct slice digits = slice_take_while(&rest, byte_is_digit);
    if (digits.len == 0)
        return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < digits.len; i++) {
        uint64_t digit = (uint64_t)(digits.ptr[i] - '0');
        if (digit > max || sum > (max - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *value = sum;
    *in = rest;
    return true;
}

static bool is_trimmed(char byte) { return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n'; }

struct slice slice_trim(struct slice s)
{
    size_t from = 0, end = s.len;
    while (from < end && is_trimmed(s.ptr[from]))
        from++;
    while (end > from && is_trimmed(s.ptr[end - 1]))
        end--;
    return slice_sub(s, from, end - from);
}

bool slice_to_str(struct slice s, char *out, size_t size)
{
    if (size == 0)
        return false;
    out[0] = '\0';
    if (s.len >= size || slice_find_byte(s, '\0') != s.len)
        return false;
    if (s.len > 0)
        memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

bool slice_equal_secret(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < a.len; i++)
        difference = (unsigned char)(difference | (a.ptr[i] ^ b.ptr[i]));
    return difference == 0;
}
