/* Encodings that mail uses everywhere: base64 (RFC 4648 4), hex, UTF-8 (RFC 3629), JSON strings (RFC 8259),
 * CRC-32C for records on disk. */
#ifndef THURN_BASE_TEXT_H
#define THURN_BASE_TEXT_H

#include "base/buf.h"
#include "base/fault.h"

/* Strict: canonical alphabet, full padding, no white space. RC_PERM on anything else or on overflow of out. */
enum rc base64_decode(struct slice in, struct buf *out);
bool base64_encode(struct slice in, struct buf *out);              /* one line, padded */
bool hex_encode(struct slice in, struct buf *out);                 /* lower case */
enum rc hex_decode(struct slice in, struct buf *out);

/* Takes one code point; RC_PERM (nothing taken) on overlong forms, surrogates, values past U+10FFFF, a torn end. */
enum rc utf8_take(struct slice *in, uint32_t *code_point);
bool utf8_append(struct buf *, uint32_t code_point);               /* false too for what is no code point */
bool utf8_is_valid(struct slice);
bool text_is_ascii(struct slice);                                  /* no byte over 0x7f */

/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
bool json_append_string(struct buf *, struct slice);

uint32_t crc32c(uint32_t crc, const void *data, size_t len);       /* start with 0 */
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t len);   /* the same without the instruction */

#endif
