/* What is wrong with a message, beyond what the MIME tree needs to know (RFC 5322, RFC 2045 to 2047, RFC 5321 4.5.3):
 * for `thurn inspect`. Nothing that delivers mail looks here: readers are generous, and bad mail is delivered. */
#ifndef THURN_MAIL_LINT_H
#define THURN_MAIL_LINT_H

#include "mail/mime.h"

enum { LINT_DEFECTS_MAX = 256 };

/* The bytes of a message, counted. */
struct lint_bytes {
    size_t crlf, bare_cr, bare_lf, nul, eight_bit;  /* how many */
    size_t first_bare_cr, first_bare_lf, first_nul; /* offsets; only good when there is one */
    size_t longest_line_bytes;                      /* without its line end */
    size_t longest_line_start;
};

struct lint_defect {
    size_t offset;
    size_t line;                                    /* that it is in, from 1 */
    const char *text;                               /* fixed text */
};

struct lint {
    struct lint_bytes bytes;
    struct lint_defect defects[LINT_DEFECTS_MAX];   /* in the order of the message; those of the MIME tree too */
    size_t defect_count;
    size_t left_out;                                /* found and not listed, for want of room */
};

/* A line ends with CRLF, or with LF in a message that has no CRLF (a file). */
void lint_count_bytes(struct slice message, struct lint_bytes *);
void lint_message(struct slice message, const struct mime_message *, struct lint *);

#endif
