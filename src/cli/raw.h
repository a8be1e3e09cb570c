/* Reads a message as programs write it (any line ends, perhaps no header at all) for `thurn send --raw` and sendmail. */
#ifndef THURN_CLI_RAW_H
#define THURN_CLI_RAW_H

#include "cli/spool.h"

struct raw {
    FILE *in;
    bool dot_ends;              /* a line "." ends the input, as sendmail has it without -i */
    struct buf header;          /* out: the fields, CRLF line ends, without Bcc and without the empty line */
    struct buf bcc;             /* out: what stood in Bcc, fields joined with ',' */
    char *first_body_line;      /* there was no empty line: this is the body's first */
    size_t first_body_len;
    bool is_ended;
};

/* Reads the header. RC_PERM: longer than SPOOL_HEADER_MAX. */
enum rc raw_read_header(struct raw *, FILE *in, bool dot_ends, struct fault *);
bool raw_has_field(const struct raw *, struct slice name);
/* Header, empty line and the rest of the input into the spool (not finished yet). */
enum rc raw_copy(struct raw *, struct spool *, struct fault *);
void raw_free(struct raw *);

#endif
