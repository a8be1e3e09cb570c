/* Numbers and byte strings in records and checkpoint rows: little-endian, lengths in front. A reader that runs off the
 * end goes bad and gives zeros from then on: check `bad` once, behind everything. */
#ifndef THURN_STORE_ENCODE_H
#define THURN_STORE_ENCODE_H

#include "base/buf.h"

struct reader {
    struct slice in;
    bool bad;
};

static inline uint64_t read_number(struct reader *r, size_t size)
{
    if (r->in.len < size) {
        r->bad = true;
        r->in.len = 0;
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)(unsigned char)r->in.ptr[i] << (8 * i);
    r->in.ptr += size;
    r->in.len -= size;
    return value;
}

static inline uint8_t read_u8(struct reader *r) { return (uint8_t)read_number(r, 1); }
static inline uint16_t read_u16(struct reader *r) { return (uint16_t)read_number(r, 2); }
static inline uint32_t read_u32(struct reader *r) { return (uint32_t)read_number(r, 4); }
static inline uint64_t read_u64(struct reader *r) { return read_number(r, 8); }

static inline struct slice read_bytes(struct reader *r, size_t len)
{
    if (r->in.len < len) {
        r->bad = true;
        r->in.len = 0;
        return SLICE_NONE;
    }
    return slice_take(&r->in, len);
}

static inline struct slice read_string(struct reader *r) { return read_bytes(r, read_u32(r)); }

static inline void write_u8(struct buf *out, uint8_t value) { buf_append_byte(out, (char)value); }
static inline void write_u16(struct buf *out, uint16_t value)
{
    write_u8(out, (uint8_t)value);
    write_u8(out, (uint8_t)(value >> 8));
}
static inline void write_u32(struct buf *out, uint32_t value) { buf_append_u32(out, value); }
static inline void write_u64(struct buf *out, uint64_t value) { buf_append_u64(out, value); }
static inline void write_string(struct buf *out, struct slice s)
{
    buf_append_u32(out, (uint32_t)s.len);
    buf_append(out, s);
}

static inline void put_number(char *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (char)(unsigned char)(value >> (8 * i));
}

#endif
