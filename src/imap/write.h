/* What IMAP responses are written with (RFC 3501 9): each string in the plainest form that can carry it. */
#ifndef THURN_IMAP_WRITE_H
#define THURN_IMAP_WRITE_H

#include "base/buf.h"

/* Quoted when it is short, printable ASCII, else a literal. */
bool imap_write_string(struct buf *, struct slice);
bool imap_write_nstring(struct buf *, struct slice);        /* NIL when ptr is NULL */
bool imap_write_astring(struct buf *, struct slice);        /* an atom where that is enough */
bool imap_write_literal(struct buf *, struct slice);
bool imap_write_mailbox(struct buf *, struct slice utf8);   /* in modified UTF-7 */
bool imap_write_utf8(struct buf *, struct slice);           /* an atom, or quoted with what is not ASCII as it is */
/* "\Seen \Deleted" of FLAG_*, separated by spaces, behind `separator` when there are any. */
bool imap_write_system_flags(struct buf *, uint32_t flags, const char **separator);

#endif
