/* What an IMAP server says (RFC 3501 7), parsed: for the client side alone.
 *
 * A response comes as its raw text: lines joined, each literal as "{n}" CRLF and its bytes - but for the literals that
 * were streamed past (message bodies), of which only "{n}" CRLF stands there, at the offsets given. Unknown responses and
 * unknown items within FETCH are passed over, as RFC 3501 2.2.2 wants; what breaks the grammar is RC_PERM. Slices point
 * into the raw text or the arena. */
#ifndef THURN_IMAP_RESPONSE_H
#define THURN_IMAP_RESPONSE_H

#include "base/arena.h"
#include "base/fault.h"
#include "mail/date.h"

enum imap_says {
    IMAP_SAYS_OTHER,
    IMAP_SAYS_OK, IMAP_SAYS_NO, IMAP_SAYS_BAD, IMAP_SAYS_BYE, IMAP_SAYS_PREAUTH,    /* code, text; tag when it ends a command */
    IMAP_SAYS_CONTINUE,     /* "+": text */
    IMAP_SAYS_CAPABILITY,   /* text: the words */
    IMAP_SAYS_LIST, IMAP_SAYS_LSUB,     /* flags, delimiter, name */
    IMAP_SAYS_STATUS,       /* name, counts */
    IMAP_SAYS_EXISTS, IMAP_SAYS_EXPUNGE,    /* number */
    IMAP_SAYS_FETCH,        /* number, and what has_... says */
};

enum { IMAP_RESPONSE_FLAGS_MAX = 1000, IMAP_STREAMED_MAX = 8, IMAP_NESTING_MAX = 100 };

struct imap_response {
    enum imap_says says;
    struct slice tag;               /* empty: untagged */
    struct slice code;              /* of "[...]", without the brackets: "UIDVALIDITY 7"; or empty */
    struct slice text;
    uint32_t number;
    struct slice name;              /* mailbox, in UTF-8; as it stands when it is not modified UTF-7 */
    struct slice wire_name;         /* the same as the server spells it: say this to it */
    char delimiter;                 /* 0: NIL */
    struct slice *flags;
    size_t flag_count;
    bool has_flags, has_uid, has_size, has_date, has_body;
    uint32_t uid;
    uint64_t size;
    struct mail_date date;
    struct slice body;              /* when it came as a string and not as a literal */
    uint32_t messages, unseen, uidnext, uidvalidity;
};

struct imap_raw {
    struct slice text;                      /* without the final CRLF */
    size_t streamed[IMAP_STREAMED_MAX];     /* offsets of '{' */
    size_t streamed_count;
};

enum rc imap_response_parse(const struct imap_raw *, struct arena *, struct imap_response *, struct fault *);
/* "{n}" at the end of a line (RFC 3501 4.3). */
bool imap_literal_at_end(struct slice line, uint64_t *size);
/* Responses whose last part is text for people, where "{n}" means nothing. */
bool imap_is_status_line(struct slice line);
bool imap_response_has_flag(const struct imap_response *, struct slice flag);

#endif
