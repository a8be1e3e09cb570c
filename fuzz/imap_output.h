/* What must hold for everything that an IMAP server says (RFC 3501 7, 9): whole lines, literals as long as they claim,
 * strings and lists that close, each response beginning as one. Shared by the targets that produce such output. */
#ifndef THURN_FUZZ_IMAP_OUTPUT_H
#define THURN_FUZZ_IMAP_OUTPUT_H

#include "base/fault.h"
#include "base/slice.h"

/* A quoted string: printable ASCII and closed. */
static inline void imap_output_quoted(struct slice *in)
{
    while (in->len > 0) {
        unsigned char c = (unsigned char)slice_take(in, 1).ptr[0];
        if (c == '"')
            return;
        must(c >= ' ' && c < 0x7f);
        if (c == '\\')
            must(in->len > 0 && (in->ptr[0] == '"' || in->ptr[0] == '\\') && slice_take(in, 1).len == 1);
    }
    must(in->len > 0);          /* it ended without its quote */
}

/* One response with data: through its CRLF. False: it is not all there (a machine that stopped may leave it so). */
static inline bool imap_output_data(struct slice *in)
{
    long depth = 0;
    while (in->len > 0) {
        char c = slice_take(in, 1).ptr[0];
        uint64_t len;
        if (c == '"') {
            imap_output_quoted(in);
        } else if (c == '(') {
            depth++;
        } else if (c == ')') {
            must(--depth >= 0);
        } else if (c == '{') {
            must(slice_take_number(in, UINT64_MAX, &len) && slice_take_prefix_nocase(in, SLICE("}\r\n")));
            if (len > in->len)
                return false;
            (void)slice_take(in, (size_t)len);
        } else if (c == '\r') {
            must(slice_take_byte(in, '\n') && depth == 0);
            return true;
        } else {
            must(c >= ' ' && c < 0x7f);
        }
    }
    return false;
}

static inline bool imap_output_is_text(struct slice response)
{
    static const struct slice statuses[] = { SLICE_INIT("OK "), SLICE_INIT("NO "), SLICE_INIT("BAD "), SLICE_INIT("BYE ") };
    bool is_untagged = slice_take_prefix_nocase(&response, SLICE("* "));
    (void)is_untagged;
    if (!is_untagged)
        return true;            /* "+ text" or "tag OK text" */
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (slice_starts_nocase(response, statuses[i]))
            return true;
    }
    return false;
}

/* Everything that was said, from the greeting on. is_cut: the connection ended, perhaps in the middle of a response. */
static inline void imap_output_check(struct slice said, bool is_cut)
{
    while (said.len > 0) {
        if (imap_output_is_text(said)) {
            size_t end = slice_find(said, SLICE("\r\n"));
            must(end < said.len || is_cut);
            struct slice line = slice_take(&said, end);
            must(line.len > 0 && line.ptr[0] != ' ' && slice_find_byte(line, '\n') == line.len && slice_find_byte(line, '\0') == line.len);
            (void)slice_take(&said, 2);
        } else if (!imap_output_data(&said)) {
            must(is_cut);
            return;
        }
    }
}

#endif
