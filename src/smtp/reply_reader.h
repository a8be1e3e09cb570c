/* Reads the replies of an SMTP or LMTP server (RFC 5321 4.2), whatever the server is.
 *
 * A reply is one or more lines with the same code, CRLF at the end of each. What is no reply - no code, another code on
 * a later line, bare CR or LF, an overlong line, endless lines - is RC_PERM: the connection has no meaning any more. */
#ifndef THURN_SMTP_REPLY_READER_H
#define THURN_SMTP_REPLY_READER_H

#include "base/buf.h"
#include "base/fault.h"
#include "wire/line.h"

enum {
    REPLY_LINE_MAX = 4096,          /* RFC 5321 4.5.3.1.5 says 512; challenges of SASL are longer */
    REPLY_LINES_MAX = 256,          /* of one reply */
    REPLY_TEXT_KEPT_MAX = 16 * 1024, /* further text is left out */
};

struct smtp_reply_reader {
    struct line_reader lines;
    struct buf text;
    int code;                       /* of the reply under way; 0: none is */
    unsigned line_count;
    bool is_complete;
};

struct smtp_reply {
    int code;                       /* 200-599 */
    uint32_t esc;                   /* as given at the start of the text (RFC 2034), else class.0.0 */
    struct slice text;              /* lines without their codes, LF between them, bytes as they came; until the next read */
};

void smtp_reply_reader_init(struct smtp_reply_reader *);
void smtp_reply_reader_free(struct smtp_reply_reader *);
/* RC_OK: a whole reply. RC_MORE: everything is consumed that can be, more is needed. RC_PERM: see above. */
enum rc smtp_reply_read(struct smtp_reply_reader *, struct slice *in, struct smtp_reply *);
enum rc smtp_reply_rc(const struct smtp_reply *);       /* RC_OK 2yz, RC_MORE 3yz, RC_TEMP 4yz, RC_PERM 5yz */

#endif
