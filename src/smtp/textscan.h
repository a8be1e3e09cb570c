/* What a text is made of, seen as it passes: line lengths, bare line ends, 8-bit bytes. wire/dot.h learns the same for
 * DATA while it looks for the end; this is for BDAT, where CR and LF may stand in different chunks. */
#ifndef THURN_SMTP_TEXTSCAN_H
#define THURN_SMTP_TEXTSCAN_H

#include "base/slice.h"

struct text_scan {
    bool last_was_cr;
    bool last_was_crlf;             /* the text ends with a line end, so far */
    bool has_bare_eol;              /* CR not before LF, or LF not behind CR */
    bool has_nul;
    bool has_8bit;
    size_t line_bytes;
    size_t longest_line_bytes;      /* without CRLF */
};

void text_scan_feed(struct text_scan *, struct slice);
void text_scan_end(struct text_scan *);     /* a CR at the very end is bare */

#endif
