/* Mailbox names on the wire: modified UTF-7 (RFC 3501 5.1.3).
 *
 * Decoding is strict: only the one encoding of a name is that name (no printable ASCII within &...-, no superfluous
 * shift, no lone surrogate, zero padding bits), so that two spellings never lead to one mailbox. */
#ifndef THURN_MAIL_UTF7_H
#define THURN_MAIL_UTF7_H

#include "base/buf.h"
#include "base/fault.h"

/* UTF-8 to modified UTF-7. RC_PERM: not UTF-8; RC_TEMP: out is full. */
enum rc utf7_encode(struct slice utf8, struct buf *out);
/* Modified UTF-7 to UTF-8. RC_PERM: not modified UTF-7 (8-bit bytes among it); RC_TEMP: out is full. */
enum rc utf7_decode(struct slice utf7, struct buf *out);

#endif
