/* thurn inspect, in three files: inspect.c (the command), inspect_show.c (for a person), inspect_json.c (for a program). */
#ifndef THURN_CLI_INSPECT_H
#define THURN_CLI_INSPECT_H

#include "mail/lint.h"
#include "mail/mime.h"

enum { INSPECT_ADDRESSES_MAX = 1000, INSPECT_SHA256_BYTES = 32 };

struct inspection {
    struct slice message;
    struct mime_message mime;
    struct lint lint;
    struct arena arena;
    struct buf out;
    bool is_color;
};

/* Each writes the whole story to in->out. */
void inspect_show(struct inspection *, const char *path);
void inspect_json(struct inspection *, const char *path);

/* A leaf's content without its transfer encoding. */
struct inspect_content {
    size_t size_bytes;
    unsigned char sha256[INSPECT_SHA256_BYTES];
};
bool inspect_read_content(const struct inspection *, const struct mime_part *, struct inspect_content *);
struct slice inspect_header_of(const struct inspection *, const struct mime_part *);
/* Is the part's header that of a message, not only of a part? */
bool inspect_is_message_root(const struct mime_part *);
/* The number that IMAP gives a part (RFC 3501 6.4.5); nothing for the root of a multipart message. */
void inspect_append_number(struct buf *, const struct mime_part *);
/* "CRLF", "LF", "mixed", "none". */
const char *inspect_line_ends(const struct lint_bytes *);

#endif
