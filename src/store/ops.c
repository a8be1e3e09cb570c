/* See ops.h. */
#include "store/ops.h"

#include "store/encode.h"
#include "store/store.h"

size_t op_begin(struct buf *out, enum op_tag tag)
{
    size_t begin = buf_len(out);
    write_u8(out, (uint8_t)tag);
    write_u32(out, 0);
    return begin;
}

void op_end(struct buf *out, size_t begin)
{
    if (!out->overflow)
        put_number(out->data + out->start + begin + 1, buf_len(out) - begin - OP_HEADER_BYTES, 4);
}

enum rc op_next(struct slice *payload, struct op *op)
{
    if (payload->len == 0)
        return RC_NONE;
    struct reader r = { .in = *payload };
    uint8_t tag = read_u8(&r);
    op->body = read_string(&r);
    if (r.bad || tag < OP_BODY || tag > OP_LAST)
        return RC_PERM;
    op->tag = (enum op_tag)tag;
    *payload = r.in;
    return RC_OK;
}

void op_write_message(struct buf *out, const struct store_message *m)
{
    write_u32(out, m->uid);
    write_u64(out, m->modseq);
    write_u64(out, m->keywords);
    write_u16(out, m->flags);
    write_u64(out, (uint64_t)m->internal_s);
    write_u16(out, (uint16_t)m->internal_zone_min);
    write_u64(out, m->body_id);
    write_u32(out, m->size);
    write_u32(out, m->appended_s);
}

void op_read_message(struct reader *r, struct store_message *m)
{
    m->uid = read_u32(r);
    m->modseq = read_u64(r);
    m->keywords = read_u64(r);
    m->flags = read_u16(r);
    m->internal_s = (int64_t)read_u64(r);
    m->internal_zone_min = (int16_t)read_u16(r);
    m->body_id = read_u64(r);
    m->size = read_u32(r);
    m->appended_s = read_u32(r);
}

void op_write_when(struct buf *out, struct op_when when)
{
    write_u64(out, (uint64_t)when.s);
    write_u8(out, when.is_kept);
}

struct op_when op_read_when(struct reader *r)
{
    struct op_when when = { 0 };
    if (r->in.len == 0)
        return when;
    when.s = (int64_t)read_u64(r);
    when.is_kept = read_u8(r) != 0;
    return when;
}

void op_write_ranges(struct buf *out, const struct uid_set *set)
{
    write_u32(out, (uint32_t)set->count);
    for (size_t i = 0; i < set->count; i++) {
        write_u32(out, set->ranges[i].first);
        write_u32(out, set->ranges[i].last);
    }
}

bool op_read_ranges(struct reader *r, struct uid_set *set)
{
    uint32_t count = read_u32(r), before = 0;
    uid_set_clear(set);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint32_t first = read_u32(r), last = read_u32(r);
        if (r->bad || first <= before || last < first || !uid_set_add(set, first, last))
            return false;
        before = last;
    }
    return !r->bad;
}
