/* Growing byte buffers: see buf.h.
 *
 * The unconsumed bytes are data[start..end). There is always one byte more than cap, so that vsnprintf's
 * terminator fits when the text itself reaches max_bytes exactly. */
#include "base/buf.h"

#include "base/fault.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { CAP_MIN = 256 };

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){ .max_bytes = max_bytes };
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    buf_init(buf, buf->max_bytes);
}

void buf_clear(struct buf *buf)
{
    buf->start = buf->end = 0;
    buf->overflow = false;
}

size_t buf_len(const struct buf *buf) { return buf->end - buf->start; }

struct slice buf_slice(const struct buf *buf)
{
    return buf->data == NULL ? SLICE_NONE : (struct slice){ buf->data + buf->start, buf_len(buf) };
}

void buf_consume(struct buf *buf, size_t len)
{
    must(len <= buf_len(buf));
    buf->start += len;
    if (buf->start == buf->end)
        buf->start = buf->end = 0;
}

void buf_truncate(struct buf *buf, size_t len)
{
    must(len <= buf_len(buf));
    buf->end = buf->start + len;
}

static void move_to_front(struct buf *buf)
{
    size_t len = buf_len(buf);
    if (len > 0)
        memmove(buf->data, buf->data + buf->start, len);
    buf->start = 0;
    buf->end = len;
}

static bool grow(struct buf *buf, size_t need)
{
    size_t cap = buf->cap > buf->max_bytes / 2 ? buf->max_bytes : buf->cap * 2;
    if (cap < CAP_MIN)
        cap = CAP_MIN < buf->max_bytes ? CAP_MIN : buf->max_bytes;
    if (cap < need)
        cap = need;
    if (cap == SIZE_MAX)
        return false;
    move_to_front(buf);
    char *data = realloc(buf->data, cap + 1);
    if (data == NULL)
        return false;
    buf->data = data;
    buf->cap = cap;
    return true;
}

char *buf_reserve(struct buf *buf, size_t len)
{
    size_t held = buf_len(buf);
    if (held > buf->max_bytes || len > buf->max_bytes - held) {
        buf->overflow = true;
        return NULL;
    }
    if (buf->data != NULL && len <= buf->cap - buf->end)
        return buf->data + buf->end;
    /* Moving is cheap when little is left to move; otherwise growing keeps the cost of appends linear. */
    bool moving_is_enough = buf->data != NULL && held + len <= buf->cap;
    if (moving_is_enough && (buf->start >= held || buf->cap >= buf->max_bytes)) {
        move_to_front(buf);
    } else if (!grow(buf, held + len)) {
        buf->overflow = true;
        return NULL;
    }
    return buf->data + buf->end;
}

void buf_commit(struct buf *buf, size_t len)
{
    must(len <= buf->cap - buf->end);
    buf->end += len;
}

bool buf_append(struct buf *buf, struct slice s)
{
    if (s.len == 0)
        return true;
    char *to = buf_reserve(buf, s.len);
    if (to == NULL)
        return false;
    memcpy(to, s.ptr, s.len);
    buf->end += s.len;
    return true;
}

bool buf_append_str(struct buf *buf, const char *str) { return buf_append(buf, slice_from_str(str)); }
bool buf_append_byte(struct buf *buf, char byte) { return buf_append(buf, (struct slice){ &byte, 1 }); }

static bool append_little_endian(struct buf *buf, uint64_t value, size_t size)
{
    char *to = buf_reserve(buf, size);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < size; i++)
        to[i] = (char)(unsigned char)(value >> (8 * i));
    buf->end += size;
    return true;
}

bool buf_append_u32(struct buf *buf, uint32_t value) { return append_little_endian(buf, value, 4); }
bool buf_append_u64(struct buf *buf, uint64_t value) { return append_little_endian(buf, value, 8); }

bool buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = buf->data == NULL ? 0 : buf->cap - buf->end + 1;
    size_t left = buf->max_bytes > buf_len(buf) ? buf->max_bytes - buf_len(buf) : 0;
    int printed = vsnprintf(room == 0 ? NULL : buf->data + buf->end, room, format, args);
    bool fits = printed >= 0 && (size_t)printed < room && (size_t)printed <= left;
    if (printed < 0) {
        buf->overflow = true;
    } else if (fits) {
        buf->end += (size_t)printed;
    } else if (buf_reserve(buf, (size_t)printed) != NULL) {
        vsnprintf(buf->data + buf->end, (size_t)printed + 1, format, again);
        buf->end += (size_t)printed;
        fits = true;
    }
    va_end(again);
    return fits;
}

bool buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool ok = buf_vprintf(buf, format, args);
    va_end(args);
    return ok;
}

static bool is_plain(unsigned char byte) { return byte >= 0x20 && byte < 0x7f && byte != '\\'; }

/* What would break a line or fool its reader though it is valid: C1 controls, line and paragraph separators,
 * and the marks that reorder text (UAX 9). */
static bool is_deceptive(uint32_t code_point)
{
    return (code_point >= 0x80 && code_point <= 0x9f) || code_point == 0x200e || code_point == 0x200f
        || (code_point >= 0x2028 && code_point <= 0x202e) || (code_point >= 0x2066 && code_point <= 0x2069);
}

static bool append_escaped_run(struct buf *buf, struct slice *in, bool allow_utf8)
{
    struct slice rest = *in;
    uint32_t code_point;
    if (allow_utf8 && (unsigned char)rest.ptr[0] >= 0x80 && utf8_take(&rest, &code_point) == RC_OK
        && !is_deceptive(code_point))
        return buf_append(buf, slice_take(in, in->len - rest.len));
    return buf_printf(buf, "\\x%02x", (unsigned)(unsigned char)slice_take(in, 1).ptr[0]);
}

bool buf_append_escaped(struct buf *buf, struct slice in, bool allow_utf8)
{
    size_t before = buf_len(buf);
    while (in.len > 0) {
        struct slice plain = slice_take_while(&in, is_plain);
        if (!buf_append(buf, plain) || (in.len > 0 && !append_escaped_run(buf, &in, allow_utf8))) {
            buf_truncate(buf, before);
            return false;
        }
    }
    return true;
}
