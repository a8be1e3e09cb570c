/* Header sections (RFC 5322 2.2): fields, unfolding, finding. Works on raw messages with CRLF line ends, and is
 * kind to bare LF, since mail that was stored long ago has it. Nothing is copied: fields are slices of the message. */
#ifndef THURN_MAIL_HEADER_H
#define THURN_MAIL_HEADER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

struct header_field {
    struct slice name;          /* without trailing white space and colon */
    struct slice body;          /* raw, behind the colon, folding kept, without the final line end */
    struct slice whole;         /* name through final line end */
};

/* Takes the next field off the front. RC_OK; RC_NONE at the end of the header (the empty line, if there, is consumed;
 * `in` then is the body); RC_PERM for a line that is no field (`field->whole` is that line): the caller goes on. */
enum rc header_next(struct slice *in, struct header_field *field);
/* First field of that name, looking through a header section; RC_NONE. */
enum rc header_find(struct slice header, struct slice name, struct header_field *field);
/* Where the header section ends: the offset of the body (behind the empty line), or message.len. */
size_t header_end(struct slice message);
/* The fields of those names (or all others), each as it stands, one after another without the empty line: what IMAP
 * calls HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 3501 6.4.5). Names may repeat. */
bool header_select(struct slice header, const struct slice *names, size_t count, bool is_not, struct buf *out);
/* Field body unfolded (line ends removed, RFC 5322 2.2.3) and trimmed. */
bool header_unfold(struct slice body, struct buf *out);
/* Unfolded with encoded words decoded to UTF-8 (RFC 2047), for people and for searching. */
bool header_decode(struct slice body, struct buf *out);

/* Writing: "Name: text" folded at 78 where it can be; text that is not ASCII becomes encoded words unless utf8_allowed. */
bool header_write(struct buf *out, struct slice name, struct slice text, bool utf8_allowed);
/* The same for a body that is already as it goes out (addresses, message ids): only folded. */
bool header_write_folded(struct buf *out, struct slice name, struct slice body);
/* A display name as a phrase: atom, quoted string or encoded words. */
bool header_write_phrase(struct buf *out, struct slice name, bool utf8_allowed);

/* Structured field with parameters (RFC 2045 5.1, RFC 2231): Content-Type, Content-Disposition. */
struct header_param {
    struct slice name;          /* lower case */
    struct slice value;         /* decoded to UTF-8, RFC 2231 pieces joined; in the arena */
};
enum { HEADER_PARAMS_MAX = 32 };
struct header_value {
    struct slice value;         /* "text/plain", "attachment": lower case; in the arena */
    struct header_param params[HEADER_PARAMS_MAX];
    size_t param_count;
};
/* Lenient. RC_OK; RC_NONE when there is no value at all; RC_TEMP when the arena ran out. */
enum rc header_parse_value(struct slice body, struct arena *, struct header_value *);
/* "; name=value" as RFC 2045 has it, or in pieces as RFC 2231 has it when it is not ASCII or long; each on a line of
 * its own (CRLF SP). */
bool header_write_param(struct buf *out, struct slice name, struct slice utf8);
struct slice header_value_param(const struct header_value *, struct slice name);    /* empty when there is none */
bool header_value_has(const struct header_value *, struct slice name);

/* Find the end of a header that arrives in pieces: feed them in order. */
struct header_scan {
    size_t bytes;               /* of the header so far, the empty line too */
    bool is_line_empty;
    bool is_ended;
};
void header_scan_init(struct header_scan *);
/* Bytes of this piece that belong to the header; less than its length, or is_ended, when the body begins there. */
size_t header_scan_feed(struct header_scan *, struct slice piece);

#endif
