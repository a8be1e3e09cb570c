/* The MIME tree of a message (RFC 2045, 2046, 2049), by byte offsets; nothing is copied.
 *
 * Parsing never fails on bad mail: what is wrong is listed as defects, and the result is what a careful reader would
 * make of it. Cost is linear in the size of the message whatever it contains: parts, depth and parameters are limited
 * (a part beyond the limit is a leaf of type application/octet-stream). */
#ifndef THURN_MAIL_MIME_H
#define THURN_MAIL_MIME_H

#include "base/arena.h"
#include "base/fault.h"
#include "mail/header.h"

/* An arena for parsing should be allowed 4 MiB and four times the length of the longest header. */
enum { MIME_DEPTH_MAX = 50, MIME_PARTS_MAX = 1000, MIME_DEFECTS_MAX = 64 };

enum mime_encoding { MIME_7BIT, MIME_8BIT, MIME_BINARY, MIME_QUOTED_PRINTABLE, MIME_BASE64, MIME_UNKNOWN_ENCODING };

struct mime_part {
    size_t header_start;        /* offsets into the message */
    size_t body_start;
    size_t body_end;            /* the line end before a boundary is not part of the body (RFC 2046 5.1.1) */
    size_t body_lines;          /* CRLF (or LF) line ends in the body */
    struct header_value type;           /* value "text/plain" by default (message/rfc822 in multipart/digest) */
    struct header_value disposition;    /* value empty when there is none */
    enum mime_encoding encoding;
    struct slice encoding_name; /* as written; empty when there is none */
    struct slice id, description, language, location, md5;      /* raw bodies, unfolded and trimmed; empty when none */
    bool is_multipart;          /* with at least its boundary parameter */
    bool is_message;            /* message/rfc822 or message/global with a parsed child */
    struct mime_part *first_child;
    struct mime_part *next;     /* sibling */
    struct mime_part *parent;
    uint32_t number;            /* place among its siblings, from 1 */
};

struct mime_defect {
    size_t offset;
    const char *text;           /* fixed text */
};

struct mime_message {
    struct mime_part *root;
    size_t part_count;
    struct mime_defect defects[MIME_DEFECTS_MAX];
    size_t defect_count;
};

/* RC_OK, or RC_TEMP when the arena ran out. Everything lives in the arena or in the message. */
enum rc mime_parse(struct slice message, struct arena *, struct mime_message *, struct fault *);
/* The part that IMAP calls "1.2.3" (RFC 3501 6.4.5); an empty path is the root. NULL when there is none. */
const struct mime_part *mime_find(const struct mime_message *, const uint32_t *path, size_t depth);
/* File name for a person: disposition filename, else type name; decoded; empty when none. */
struct slice mime_file_name(const struct mime_part *);
/* A leaf's body without its transfer encoding, and the same as UTF-8 by its charset parameter. RC_TEMP only when out
 * overflows (what fits is there). */
enum rc mime_decode_body(struct slice message, const struct mime_part *, struct buf *out);
enum rc mime_decode_text(struct slice message, const struct mime_part *, struct buf *out_utf8);

#endif
