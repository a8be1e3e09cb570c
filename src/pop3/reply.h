/* What both halves of POP3 say in the same words: +OK, -ERR with its response code (RFC 2449 8), the capabilities. */
#ifndef THURN_POP3_REPLY_H
#define THURN_POP3_REPLY_H

#include "base/buf.h"

enum { POP3_REPLY_TEXT_MAX = 400 };     /* so that a response line stays within 512 bytes (RFC 2449 4) */

/* "+OK text"; the text is ours. */
void pop3_reply_ok(struct buf *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "-ERR [code] text"; code "" for none. The text is escaped and cut. */
void pop3_reply_err(struct buf *, const char *code, struct slice text);
/* "+OK" and those capabilities that are the same before and after login; the caller adds its own and ".". */
void pop3_reply_capabilities(struct buf *);

#endif
