/* The bytes of queue operations and rows: see inner.h.
 *
 *     operation  u8 version, u8 kind, u64 id, number time_ms, then by kind:
 *     NEW        static part, then for the history: strings peer, helo, tls, protocol; u64 parent;
 *                number of deliveries, each: number account, number uid, string mailbox, string name; then for each of
 *                them: number mailbox id (0: not known; older versions end before)
 *     static     number trace_bytes, u8 has, u8 mail flags, u8 body, u8 ret, number size, strings local part, domain, envid, user;
 *                number of recipients, each: u8 flags, u8 notify, strings local part, domain, orcpt
 *     OUTCOME    strings tls, mx, greeting; u64 report, u8 untold; number of items, each:
 *                number index, u8 state, u8 flags, number esc, number code, strings text, remote, number due_ms
 *     ACTION     u8 action, number of recipients, number index each
 *     REPORTED   u64 report, u8 untold
 *
 * A newer program reads older versions; an unknown version is refused as a whole. */
#include "queue/inner.h"

enum { MAIL_IS_NULL = 1, MAIL_IS_LITERAL = 2, MAIL_ADDRESS_UTF8 = 4, MAIL_IS_UTF8 = 8 };

uint8_t read_u8(struct reader *r)
{
    if (r->in.len == 0) {
        r->is_bad = true;
        return 0;
    }
    return (uint8_t)slice_take(&r->in, 1).ptr[0];
}

uint64_t read_u64(struct reader *r)
{
    if (r->in.len < 8) {
        r->is_bad = true;
        return 0;
    }
    struct slice bytes = slice_take(&r->in, 8);
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++)
        value |= (uint64_t)(unsigned char)bytes.ptr[i] << (8 * i);
    return value;
}

uint64_t read_number(struct reader *r, uint64_t max)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(r);
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (value <= max)
                return value;
            break;
        }
    }
    r->is_bad = true;
    return 0;
}

struct slice read_string(struct reader *r)
{
    size_t len = (size_t)read_number(r, OP_MAX);
    if (len > r->in.len) {
        r->is_bad = true;
        return SLICE_NONE;
    }
    return slice_take(&r->in, len);
}

bool write_number(struct buf *out, uint64_t value)
{
    char bytes[10];
    size_t len = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[len++] = (char)(unsigned char)(value | 0x80);
    bytes[len++] = (char)value;
    return buf_append(out, (struct slice){ bytes, len });
}

bool write_string(struct buf *out, struct slice s)
{
    return write_number(out, s.len) && buf_append(out, s);
}

bool write_text(struct buf *out, struct slice s)
{
    return write_string(out, slice_sub(s, 0, TEXT_MAX));
}

bool queue_op_begin(struct buf *out, enum op_kind kind, uint64_t id, int64_t time_ms)
{
    return buf_append_byte(out, CODEC_VERSION) && buf_append_byte(out, (char)kind) && buf_append_u64(out, id)
        && write_number(out, (uint64_t)time_ms);
}

bool op_parse(struct slice bytes, struct op *op)
{
    struct reader r = { bytes, false };
    if (read_u8(&r) != CODEC_VERSION)
        return false;
    uint8_t kind = read_u8(&r);
    uint64_t id = read_u64(&r);
    int64_t time_ms = (int64_t)read_number(&r, INT64_MAX);
    if (r.is_bad || kind < OP_NEW || kind > OP_REPORTED)
        return false;
    *op = (struct op){ (enum op_kind)kind, id, time_ms, r };
    return true;
}

/* ---- the static part -------------------------------------------------------------------------------------------- */

static bool write_static(struct buf *out, const struct queue_new *n)
{
    const struct address *from = &n->mail->reverse_path;
    write_number(out, n->trace_bytes);
    buf_append_byte(out, (char)((n->has_8bit ? HAS_8BIT : 0) | (n->has_long_line ? HAS_LONG_LINE : 0)
                                | (n->has_bare_eol ? HAS_BARE_EOL : 0) | (n->has_utf8_header ? HAS_UTF8_HEADER : 0)
                                | (n->lacks_final_eol ? HAS_NO_FINAL_EOL : 0)));
    buf_append_byte(out, (char)((from->is_null ? MAIL_IS_NULL : 0) | (from->is_literal ? MAIL_IS_LITERAL : 0)
                                | (from->is_utf8 ? MAIL_ADDRESS_UTF8 : 0) | (n->mail->is_utf8 ? MAIL_IS_UTF8 : 0)));
    buf_append_byte(out, (char)n->mail->body);
    buf_append_byte(out, (char)n->mail->ret);
    write_number(out, n->mail->size);
    write_string(out, from->local_part);
    write_string(out, from->domain);
    write_string(out, n->mail->envid);
    write_string(out, n->user);
    write_number(out, n->recipient_count);
    for (size_t i = 0; i < n->recipient_count; i++) {
        const struct queue_recipient *r = &n->recipients[i];
        buf_append_byte(out, (char)((r->address.is_literal ? MAIL_IS_LITERAL : 0) | (r->address.is_utf8 ? MAIL_ADDRESS_UTF8 : 0)));
        buf_append_byte(out, (char)r->notify);
        write_string(out, r->address.local_part);
        write_string(out, r->address.domain);
        write_string(out, r->orcpt);
    }
    return !out->overflow;
}

bool queue_encode_new(const struct queue_new *n, struct buf *op)
{
    if (n->recipient_count > ENTRY_RECIPIENTS_MAX)
        return false;
    queue_op_begin(op, OP_NEW, n->id, n->now_ms);
    write_static(op, n);
    write_text(op, n->peer);
    write_text(op, n->helo);
    write_text(op, n->tls);
    write_text(op, n->protocol);
    buf_append_u64(op, n->parent);
    write_number(op, n->delivery_count);
    for (size_t i = 0; i < n->delivery_count; i++) {
        write_number(op, n->deliveries[i].account);
        write_number(op, n->deliveries[i].uid);
        write_string(op, n->deliveries[i].mailbox);
        write_text(op, n->delivery_names == NULL ? SLICE_NONE : n->delivery_names[i]);
    }
    for (size_t i = 0; i < n->delivery_count; i++)
        write_number(op, n->deliveries[i].mailbox_id);
    return !op->overflow;
}

bool queue_write_new(void *n, struct buf *op) { return queue_encode_new(n, op); }

bool static_head_read(struct reader *r, struct static_head *head)
{
    *head = (struct static_head){ .trace_bytes = (uint32_t)read_number(r, UINT32_MAX) };
    head->has = read_u8(r);
    uint8_t flags = read_u8(r), body = read_u8(r), ret = read_u8(r);
    head->mail = (struct smtp_mail){ .size = read_number(r, UINT64_MAX), .is_utf8 = (flags & MAIL_IS_UTF8) != 0 };
    head->mail.reverse_path = (struct address){
        .local_part = read_string(r),
        .is_null = (flags & MAIL_IS_NULL) != 0,
        .is_literal = (flags & MAIL_IS_LITERAL) != 0,
        .is_utf8 = (flags & MAIL_ADDRESS_UTF8) != 0,
    };
    head->mail.reverse_path.domain = read_string(r);
    head->mail.envid = read_string(r);
    head->user = read_string(r);
    head->recipient_count = (size_t)read_number(r, ENTRY_RECIPIENTS_MAX);
    r->is_bad = r->is_bad || body > SMTP_BODY_BINARYMIME || ret > SMTP_RET_HDRS;
    head->mail.body = (enum smtp_body)(r->is_bad ? 0 : body);
    head->mail.ret = (enum smtp_ret)(r->is_bad ? 0 : ret);
    return !r->is_bad;
}

bool static_recipient_read(struct reader *r, struct static_recipient *out)
{
    uint8_t flags = read_u8(r);
    *out = (struct static_recipient){ .notify = read_u8(r) };
    out->address = (struct address){
        .local_part = read_string(r),
        .is_literal = (flags & MAIL_IS_LITERAL) != 0,
        .is_utf8 = (flags & MAIL_ADDRESS_UTF8) != 0,
    };
    out->address.domain = read_string(r);
    out->orcpt = read_string(r);
    return !r->is_bad;
}

/* ---- deliveries ---------------------------------------------------------------------------------------------------- */

size_t deliveries_begin(struct reader *r, uint64_t *parent)
{
    for (int i = 0; i < 4; i++)
        (void)read_string(r);                           /* peer, helo, tls, protocol */
    *parent = read_u64(r);
    size_t count = (size_t)read_number(r, ENTRY_RECIPIENTS_MAX);
    return r->is_bad ? 0 : count;
}

bool delivery_read(struct reader *r, struct static_delivery *out)
{
    *out = (struct static_delivery){ .account = read_number(r, UINT64_MAX) };
    out->uid = (uint32_t)read_number(r, UINT32_MAX);
    out->mailbox = read_string(r);
    out->name = read_string(r);
    return !r->is_bad;
}

/* ---- outcomes ----------------------------------------------------------------------------------------------------- */

bool outcome_head_write(struct buf *out, const struct outcome_head *head)
{
    write_text(out, head->tls);
    write_text(out, head->mx);
    write_text(out, head->greeting);
    buf_append_u64(out, head->report);
    buf_append_byte(out, (char)head->untold);
    return write_number(out, head->count);
}

bool outcome_item_write(struct buf *out, const struct outcome_item *item)
{
    write_number(out, item->index);
    buf_append_byte(out, (char)item->state);
    buf_append_byte(out, (char)item->flags);
    write_number(out, item->esc);
    write_number(out, item->code < 0 || item->code > 999 ? 0 : (uint64_t)item->code);
    write_text(out, item->text);
    write_text(out, item->remote);
    return write_number(out, item->due_ms < 0 ? 0 : (uint64_t)item->due_ms);
}

bool outcome_head_read(struct reader *r, struct outcome_head *head)
{
    *head = (struct outcome_head){ .tls = read_string(r) };
    head->mx = read_string(r);
    head->greeting = read_string(r);
    head->report = read_u64(r);
    uint8_t untold = read_u8(r);
    head->untold = untold <= UNTOLD_NO_ROUTE ? (enum untold)untold : TOLD_OR_NOT_WANTED;
    head->count = (size_t)read_number(r, ENTRY_RECIPIENTS_MAX);
    return !r->is_bad;
}

bool outcome_item_read(struct reader *r, struct outcome_item *item)
{
    *item = (struct outcome_item){ .index = (size_t)read_number(r, ENTRY_RECIPIENTS_MAX) };
    uint8_t state = read_u8(r);
    r->is_bad = r->is_bad || state > QUEUE_DELETED;
    item->state = (enum queue_state)(r->is_bad ? 0 : state);
    item->flags = read_u8(r);
    item->esc = (uint32_t)read_number(r, UINT32_MAX);
    item->code = (int)read_number(r, 999);
    item->text = read_string(r);
    item->remote = read_string(r);
    item->due_ms = (int64_t)read_number(r, INT64_MAX);
    return !r->is_bad;
}
