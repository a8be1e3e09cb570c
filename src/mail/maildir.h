/* Maildir names: flags in file names, folder names of Maildir++. Pure functions of strings; who opens the folders is
 * someone else.
 *
 * A file in cur/ is "unique:2,FLAGS", the flags in ASCII order; one in new/ is "unique". A folder of Maildir++ is
 * ".A.B" beside cur/, new/ and tmp/, levels separated by dots, each in modified UTF-7 (RFC 3501 5.1.3); a dot within a
 * level cannot be written, so it becomes "_". Uppercase D, F, P, R, S, T are the flags; lower case letters are
 * keywords of Dovecot, which have their names in another file: they are counted as unknown. */
#ifndef THURN_MAIL_MAILDIR_H
#define THURN_MAIL_MAILDIR_H

#include "base/buf.h"
#include "base/fault.h"

enum maildir_flags {
    MAILDIR_DRAFT = 1,          /* D */
    MAILDIR_FLAGGED = 2,        /* F */
    MAILDIR_PASSED = 4,         /* P: resent, forwarded or bounced */
    MAILDIR_REPLIED = 8,        /* R */
    MAILDIR_SEEN = 16,          /* S */
    MAILDIR_TRASHED = 32,       /* T: to be deleted */
    MAILDIR_UNKNOWN = 64,       /* some other letter is there */
};

struct maildir_name {
    struct slice unique;        /* before the colon */
    unsigned flags;             /* enum maildir_flags */
    int64_t time_s;             /* the number that a unique name starts with: when it was delivered; 0 when there is none */
    uint64_t size_bytes;        /* ",S=" of Maildir++; 0 when it is not given */
};

/* RC_PERM for what is no message: an empty name, one that starts with a dot, one with a slash. */
enum rc maildir_parse_name(struct slice file_name, struct maildir_name *);
/* "unique:2,FLAGS" (with ":2," even without flags, as it stands in cur/). Unknown flags are not written. */
bool maildir_write_name(struct slice unique, unsigned flags, struct buf *out);

/* ".A.B" to "A/B" in UTF-8; "." and "" are the inbox. RC_PERM: no folder name (no dot in front, "..", an empty level). A
 * level that is not modified UTF-7 is taken as it is when it is UTF-8. Levels are joined with `separator`. */
enum rc maildir_parse_folder(struct slice folder_name, char separator, struct buf *utf8);
/* "A/B" to ".A.B"; RC_PERM: an empty level, not UTF-8, a NUL; "INBOX" alone is "". */
enum rc maildir_write_folder(struct slice utf8, char separator, struct buf *out);

#endif
