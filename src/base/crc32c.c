/* CRC-32C (Castagnoli; polynomial 0x1edc6f41, reflected, as in RFC 3720 B.4): see text.h.
 *
 * The processor's own instruction where there is one, else eight table look-ups for eight bytes. */
#include "base/text.h"

/* Tables are linear: the entry for a byte is the sum of the entries for its bits, so eight numbers give 256.
 * Row k takes a byte that lies k bytes before the end of the eight. */
#define BIT(byte, bit, entry) (((byte) >> (bit) & 1u) * (entry))
#define ENTRY(b, e0, e1, e2, e3, e4, e5, e6, e7) \
    BIT(b, 0, e0) ^ BIT(b, 1, e1) ^ BIT(b, 2, e2) ^ BIT(b, 3, e3) ^ \
    BIT(b, 4, e4) ^ BIT(b, 5, e5) ^ BIT(b, 6, e6) ^ BIT(b, 7, e7)
#define ENTRIES4(b, ...) \
    ENTRY(b, __VA_ARGS__), ENTRY((b) + 1u, __VA_ARGS__), ENTRY((b) + 2u, __VA_ARGS__), ENTRY((b) + 3u, __VA_ARGS__)
#define ENTRIES16(b, ...) \
    ENTRIES4(b, __VA_ARGS__), ENTRIES4((b) + 4u, __VA_ARGS__), \
    ENTRIES4((b) + 8u, __VA_ARGS__), ENTRIES4((b) + 12u, __VA_ARGS__)
#define ENTRIES64(b, ...) \
    ENTRIES16(b, __VA_ARGS__), ENTRIES16((b) + 16u, __VA_ARGS__), \
    ENTRIES16((b) + 32u, __VA_ARGS__), ENTRIES16((b) + 48u, __VA_ARGS__)
#define TABLE(...) \
    { ENTRIES64(0u, __VA_ARGS__), ENTRIES64(64u, __VA_ARGS__), ENTRIES64(128u, __VA_ARGS__), \
      ENTRIES64(192u, __VA_ARGS__) }

static const uint32_t tables[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
};

uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *at = data;
    crc = ~crc;
    for (; len >= 8; len -= 8, at += 8) {
        crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        crc = tables[7][crc & 255] ^ tables[6][crc >> 8 & 255] ^ tables[5][crc >> 16 & 255] ^ tables[4][crc >> 24]
            ^ tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
    }
    for (; len > 0; len--, at++)
        crc = crc >> 8 ^ tables[0][(crc ^ *at) & 255];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t crc32c_by_instruction(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *at = data;
    uint64_t sum = ~crc;
    for (uint64_t word; len >= sizeof word; len -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    uint32_t rest = (uint32_t)sum;
    for (; len > 0; len--, at++)
        rest = __builtin_ia32_crc32qi(rest, *at);
    return ~rest;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_by_instruction(crc, data, len) : crc32c_by_table(crc, data, len);
}
#else
uint32_t crc32c(uint32_t crc, const void *data, size_t len) { return crc32c_by_table(crc, data, len); }
#endif
