/* What a text is made of: see textscan.h. */
#include "smtp/textscan.h"

static void scan_byte(struct text_scan *scan, unsigned char byte)
{
    bool ends_line = byte == '\n' && scan->last_was_cr;
    scan->has_bare_eol = scan->has_bare_eol || (byte == '\n') != scan->last_was_cr;
    scan->has_nul = scan->has_nul || byte == '\0';
    scan->has_8bit = scan->has_8bit || byte >= 0x80;
    scan->last_was_cr = byte == '\r';
    scan->last_was_crlf = ends_line;
    scan->line_bytes = ends_line ? 0 : scan->line_bytes + (byte != '\r');
    if (scan->line_bytes > scan->longest_line_bytes)
        scan->longest_line_bytes = scan->line_bytes;
}

void text_scan_feed(struct text_scan *scan, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        scan_byte(scan, (unsigned char)text.ptr[i]);
}

void text_scan_end(struct text_scan *scan)
{
    scan->has_bare_eol = scan->has_bare_eol || scan->last_was_cr;
    scan->last_was_cr = false;
}
