/* A message from words, a text and files, into a spool: attachments of any size pass through in pieces. */
#ifndef THURN_CLI_LETTER_H
#define THURN_CLI_LETTER_H

#include "cli/addresses.h"
#include "cli/spool.h"

enum { LETTER_TEXT_MAX = 32 * 1024 * 1024, LETTER_ATTACHMENTS_MAX = 1000 };

struct letter {
    const struct addresses *sender, *to, *cc;   /* the sender is the first */
    struct slice subject, text;                 /* UTF-8 */
    const char *const *attachments;             /* paths */
    size_t attachment_count;
    bool needs_utf8;
};

/* The whole of an open file becomes the text (in the arena). */
enum rc letter_read_text(struct letter *, FILE *, const char *name, struct arena *, struct fault *);
/* RC_PERM, RC_NONE: names the file that cannot be read. The spool is not finished yet. */
enum rc letter_write(const struct letter *, struct spool *, struct fault *);

#endif
