/* Encoded words (RFC 2047), content transfer encodings (RFC 2045 6) and charsets (through the C library's iconv). */
#ifndef THURN_MAIL_ENCODED_H
#define THURN_MAIL_ENCODED_H

#include "base/buf.h"
#include "base/fault.h"

bool encoded_word_decode(struct slice text, struct buf *out_utf8);          /* text with encoded words in it; bad ones stay as they are */
bool encoded_word_write(struct slice utf8, struct buf *out);                /* one or more =?utf-8?B/Q?...?=, folded with CRLF SP */

/* The same on a line that has *column bytes already: no line gets longer than 76 (RFC 2047 2); when the first word
 * does not fit, a fold comes first. *column is then that of the last line. */
bool encoded_word_write_at(struct slice utf8, size_t *column, struct buf *out);

/* Lenient: what is not of the encoding is skipped or kept, as mail readers do. RC_TEMP only on overflow of out. */
enum rc quoted_printable_decode(struct slice in, struct buf *out);
enum rc base64_body_decode(struct slice in, struct buf *out);
bool quoted_printable_encode(struct slice in, struct buf *out);             /* text with CRLF line ends */
bool base64_body_encode(struct slice in, struct buf *out);                  /* 76-column lines with CRLF */

/* To UTF-8; unknown charset: RC_NONE and out gets the bytes with everything not ASCII as U+FFFD. */
enum rc charset_to_utf8(struct slice charset, struct slice in, struct buf *out);
/* Bytes whose charset nobody said: UTF-8 when they are, else windows-1252. */
bool charset_guess_to_utf8(struct slice in, struct buf *out);

/* The C library loads a converter from a file when it is first needed. A process that gives up its files, and meets
 * other charsets than UTF-8, ASCII and Latin-1 later, loads them all first and keeps them. */
enum { CHARSET_CONVERTERS_MAX = 64 };
struct charset_converters {
    void *open[CHARSET_CONVERTERS_MAX];
    size_t count;
};
void charset_load(struct charset_converters *);
void charset_unload(struct charset_converters *);

#endif
