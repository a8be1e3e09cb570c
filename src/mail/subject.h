/* The base subject (RFC 5256 2.1): what is left of a Subject when everything that replies and forwards add has been taken off. */
#ifndef THURN_MAIL_SUBJECT_H
#define THURN_MAIL_SUBJECT_H

#include "base/buf.h"

/* Of a raw field body, decoded to UTF-8, appended to out. *is_reply (may be NULL): something was taken off that replies and
 * forwards add. False: out is full. */
bool subject_base(struct slice field_body, struct buf *out, bool *is_reply);

#endif
