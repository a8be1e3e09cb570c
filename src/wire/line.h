/* The one line reader of the whole tree.
 *
 * A line ends with CRLF and nothing else. A bare LF or a bare CR inside a line is the caller's policy: the reader
 * reports it and never treats it as an end of line, because two servers that disagree about where a line ends is
 * what smuggling is made of. A reader has a maximum; a longer line is consumed up to its CRLF and reported once. */
#ifndef THURN_WIRE_LINE_H
#define THURN_WIRE_LINE_H

#include "base/slice.h"

struct line_reader {
    size_t max_bytes;       /* of a line without its CRLF */
    size_t skipped;         /* bytes of an overlong line already dropped */
    bool is_skipping;
    bool last_was_cr;       /* while skipping: the last byte dropped was CR */
};

enum line_kind {
    LINE_NONE,              /* no whole line yet; `in` unchanged (or consumed, when skipping an overlong line) */
    LINE_WHOLE,             /* *line is the line without CRLF */
    LINE_BARE,              /* the same, but it contains a bare CR, a bare LF or a NUL */
    LINE_TOO_LONG,          /* an overlong line ended here; it has been dropped */
};

void line_reader_init(struct line_reader *, size_t max_bytes);
enum line_kind line_read(struct line_reader *, struct slice *in, struct slice *line);

#endif
