/* Growing byte buffers with a compulsory maximum.
 *
 * Bytes are appended at the back and consumed from the front. Appending past `max_bytes` (or out of memory)
 * appends nothing, sets `overflow` and returns false: a caller that writes many small pieces may check
 * `overflow` once at the end. Whoever inits frees. A slice into the buffer lives until the next append. */
#ifndef THURN_BASE_BUF_H
#define THURN_BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

struct buf {
    char *data;
    size_t start;           /* first byte not yet consumed */
    size_t end;             /* one past the last byte */
    size_t cap;
    size_t max_bytes;
    bool overflow;
};

void buf_init(struct buf *, size_t max_bytes);
void buf_free(struct buf *);                       /* also: gives memory back; the buffer may be used again */
void buf_clear(struct buf *);                      /* empty, overflow forgotten, memory kept */
size_t buf_len(const struct buf *);
struct slice buf_slice(const struct buf *);        /* everything not yet consumed */
void buf_consume(struct buf *, size_t len);
void buf_truncate(struct buf *, size_t len);       /* keep only the first len unconsumed bytes */

bool buf_append(struct buf *, struct slice);
bool buf_append_str(struct buf *, const char *);
bool buf_append_byte(struct buf *, char);
bool buf_append_u32(struct buf *, uint32_t);       /* little-endian */
bool buf_append_u64(struct buf *, uint64_t);       /* little-endian */
bool buf_printf(struct buf *, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *, const char *format, va_list) __attribute__((format(printf, 2, 0)));
/* Room for len bytes at the back, to be filled by the caller and then counted with buf_commit; NULL on overflow. */
char *buf_reserve(struct buf *, size_t len);
void buf_commit(struct buf *, size_t len);

/* The one escaping function for bytes from outside that go to a log or a reply: printable ASCII as it is
 * (also valid UTF-8 when allow_utf8, but for controls and marks that reorder text), everything else and '\\' as \xHH. */
bool buf_append_escaped(struct buf *, struct slice, bool allow_utf8);

#endif
