/* End-of-data decoding and encoding for SMTP and POP3 (RFC 5321 4.5.2, RFC 1939 3): the only ones in the tree.
 *
 * Decoding: feed bytes as they arrive; body bytes come out with transparency dots removed, as slices into the input
 * (no copy), each valid until the next call. Only CRLF "." CRLF ends a message (or "." CRLF at the very start).
 * After RC_OK the reader is finished: init it again for the next message.
 * A bare CR or bare LF in the text sets has_bare_cr / has_bare_lf and is passed on as it is: whoever keeps the
 * text decides; an SMTP server refuses the message once it has been read to its true end. */
#ifndef THURN_WIRE_DOT_H
#define THURN_WIRE_DOT_H

#include "base/buf.h"
#include "base/fault.h"

struct dot_reader {
    unsigned state;
    bool has_bare_cr;
    bool has_bare_lf;
    bool has_nul;
    bool has_8bit;
    size_t line_bytes;
    size_t longest_line_bytes;  /* without CRLF */
    uint64_t body_bytes;        /* decoded so far */
};

void dot_reader_init(struct dot_reader *);
/* RC_OK: the end was reached (body may hold the last piece), `in` stands behind it. RC_MORE: body holds a piece
 * (perhaps empty) and there may be more: call again while `in` is not empty. */
enum rc dot_read(struct dot_reader *, struct slice *in, struct slice *body);

/* Encoding: text that has CRLF line ends goes out dot-stuffed; the end adds CRLF when the last line lacks one.
 * A bare CR or LF never goes out: each becomes CRLF (CR CR LF becomes one). With keeps_bare_cr, which is for readers
 * of mail and not for servers, a bare CR goes out as it is: no client takes it for a line end, and a mailbox that
 * holds it gives back what it was given. */
struct dot_writer {
    unsigned state;
    bool keeps_bare_cr;         /* set behind dot_writer_init */
};

void dot_writer_init(struct dot_writer *);
/* Encodes as much of *in as there is room for in out (in moves). The last few bytes of room stay unused, so out must
 * be allowed more than 16 bytes; out of memory shows in out->overflow. */
void dot_write(struct dot_writer *, struct slice *in, struct buf *out);
bool dot_write_end(struct dot_writer *, struct buf *out);

#endif
