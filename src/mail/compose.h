/* Composing a message (RFC 5322, RFC 2045): what `thurn send` builds from words, a text and files.
 *
 * The whole at once, or in pieces for attachments that should not be in memory: start, then for each attachment its
 * head, its content and its tail, then end. Content is given to compose_write_content in order; pieces other than the
 * last must be a multiple of COMPOSE_PIECE_BYTES long. */
#ifndef THURN_MAIL_COMPOSE_H
#define THURN_MAIL_COMPOSE_H

#include "base/buf.h"
#include "mail/address.h"
#include "mail/date.h"

enum { COMPOSE_RANDOM_BYTES = 16, COMPOSE_PIECE_BYTES = 57 * 64 };

struct compose_mailbox {
    struct slice name;              /* UTF-8, may be empty */
    const struct address *address;
};

struct compose_attachment {
    struct slice file_name;         /* UTF-8; what stands before the last slash is not sent */
    struct slice media_type;        /* "image/png"; empty: by the file name (media_type_of) */
    struct slice content;           /* only for compose_write */
};

struct compose {
    struct compose_mailbox from;
    const struct compose_mailbox *to, *cc;
    size_t to_count, cc_count;
    struct slice subject;           /* UTF-8 */
    struct mail_date date;
    unsigned char random[COMPOSE_RANDOM_BYTES];     /* for the Message-ID and the boundary: never the same twice */
    struct slice text;              /* UTF-8 with any line ends */
    const struct compose_attachment *attachments;
    size_t attachment_count;
    bool utf8_allowed;              /* SMTPUTF8: header fields may hold UTF-8. Needed when an address is_utf8. */
};

/* The whole message with CRLF line ends. False: no room. */
bool compose_write(const struct compose *, struct buf *out);

bool compose_write_start(const struct compose *, struct buf *out);
bool compose_write_attachment_head(const struct compose *, const struct compose_attachment *, struct buf *out);
bool compose_write_content(struct slice content, struct buf *out);
bool compose_write_end(const struct compose *, struct buf *out);

/* By the extension; application/octet-stream when it says nothing. */
const char *media_type_of(struct slice file_name);

#endif
