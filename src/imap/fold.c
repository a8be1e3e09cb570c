/* Case folding: see fold.h. */
#include "imap/fold.h"

#include "base/text.h"

enum step { BY, EVEN, ODD };    /* add `by`; or upper case is the even (odd) one of a pair */

static const struct {
    uint32_t first, last;
    enum step step;
    uint32_t by;
} ranges[] = {
    { 0x00c0, 0x00d6, BY, 32 },  { 0x00d8, 0x00de, BY, 32 },  { 0x0100, 0x012f, EVEN, 1 }, { 0x0132, 0x0137, EVEN, 1 },
    { 0x0139, 0x0148, ODD, 1 },  { 0x014a, 0x0177, EVEN, 1 }, { 0x0179, 0x017e, ODD, 1 },  { 0x01cd, 0x01dc, ODD, 1 },
    { 0x0200, 0x021f, EVEN, 1 }, { 0x0386, 0x0386, BY, 38 },  { 0x0388, 0x038a, BY, 37 },  { 0x038c, 0x038c, BY, 64 },
    { 0x038e, 0x038f, BY, 63 },  { 0x0391, 0x03a1, BY, 32 },  { 0x03a3, 0x03ab, BY, 32 },  { 0x03c2, 0x03c2, BY, 1 },
    { 0x0400, 0x040f, BY, 80 },  { 0x0410, 0x042f, BY, 32 },  { 0x0460, 0x0481, EVEN, 1 }, { 0x048a, 0x04bf, EVEN, 1 },
    { 0x04d0, 0x052f, EVEN, 1 }, { 0x0531, 0x0556, BY, 48 },  { 0x1e00, 0x1e95, EVEN, 1 }, { 0x1ea0, 0x1eff, EVEN, 1 },
    { 0xff21, 0xff3a, BY, 32 },
};

static uint32_t fold_code_point(uint32_t c)
{
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]) && c >= ranges[i].first; i++) {
        if (c > ranges[i].last)
            continue;
        bool is_upper = ranges[i].step == BY || (c & 1) == (ranges[i].step == ODD ? 1u : 0u);
        return is_upper ? c + ranges[i].by : c;
    }
    return c;
}

static void put(char *at, size_t len, uint32_t c)
{
    for (size_t i = len; i-- > 1; c >>= 6)
        at[i] = (char)(unsigned char)(0x80 | (c & 0x3f));
    at[0] = (char)(unsigned char)((len == 2 ? 0xc0u : 0xe0u) | c);
}

void imap_fold(char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        if ((unsigned char)text[at] < 0x80) {
            text[at] = byte_lower(text[at]);
            at++;
            continue;
        }
        struct slice rest = { text + at, len - at };
        uint32_t c;
        if (utf8_take(&rest, &c) != RC_OK) {
            at++;
            continue;
        }
        size_t taken = len - at - rest.len;
        if (taken < 4)
            put(text + at, taken, fold_code_point(c));
        at += taken;
    }
}
