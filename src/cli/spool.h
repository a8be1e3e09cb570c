/* A whole message in a nameless temporary file, before it is sent: its exact size and what a server must be able to take
 * are known then, and memory stays small however large it is. */
#ifndef THURN_CLI_SPOOL_H
#define THURN_CLI_SPOOL_H

#include "base/buf.h"
#include "base/fault.h"

#include <stdio.h>

enum { SPOOL_HEADER_MAX = 1024 * 1024, SPOOL_LINE_MAX = 998 /* RFC 5322 2.1.1 */ };

struct spool {
    FILE *file;
    uint64_t size;
    bool has_8bit, has_long_line, has_bare_eol;     /* bare_eol: a bare CR or LF, or a NUL */
    struct buf header;          /* the header section with the empty line, as far as it fits */
    bool is_header_over;
    size_t line_bytes;
    char last;
    bool has_text_cr;           /* spool_write_text: a CR waits for what follows */
};

enum rc spool_open(struct spool *, struct fault *);
void spool_close(struct spool *);
enum rc spool_write(struct spool *, struct slice, struct fault *);
/* Line ends become CRLF: LF alone does, CRLF stays; a CR that stands alone stays what it is. */
enum rc spool_write_text(struct spool *, struct slice, struct fault *);
/* Everything has been written: sees to what waits, rewinds. */
enum rc spool_finish(struct spool *, struct fault *);
/* The next bytes of a finished spool; an empty slice at the end. */
enum rc spool_read(struct spool *, char *piece, size_t size, struct slice *, struct fault *);

#endif
