/* What the header section of an incoming message passes through: hops are counted everywhere (RFC 5321 6.3), and mail
 * as it is first submitted is completed (RFC 6409 8): a missing Date and Message-ID are added at the end of the
 * header, Bcc and Resent-Bcc are taken out. Everything else leaves byte for byte as it came.
 *
 * Streaming: no field is ever held whole, so a header section may be as long as the message. A line that is no field
 * passes; only where the very first line is none, the message is taken to have no header at all. */
#ifndef THURN_SMTP_HEADER_H
#define THURN_SMTP_HEADER_H

#include "base/buf.h"
#include "mail/date.h"

enum {
    HEADER_FILTER_NAME_MAX = 80,    /* a field name this long is none that we look for */
    HEADER_FILTER_FROM_MAX = 4096,  /* of a From field kept for the sender's check */
};

struct header_filter {
    bool completes;                 /* submission: the fixes above */
    enum { FILTER_LINE_START, FILTER_NAME, FILTER_REST, FILTER_EMPTY_LINE, FILTER_DONE } state;
    char name[HEADER_FILTER_NAME_MAX];
    size_t name_len;
    bool has_field;                 /* the first line has been decided */
    bool is_dropping;               /* within a field that is taken out */
    bool is_in_from;
    bool last_was_cr;
    unsigned received_count;
    unsigned from_count;
    bool has_date, has_message_id, has_8bit;
    bool has_empty_line;            /* the header ended as it should */
    bool is_headerless;             /* the first line was no field: all is body, the part of it in `name` too */
    struct buf from;                /* body of the first From field, raw; empty when too long */
};

void header_filter_init(struct header_filter *, bool completes);
void header_filter_free(struct header_filter *);
/* Takes header bytes off the front of `in` and appends what remains of them to `out`. RC_OK: the header is over, what is
 * left in `in` is body - but for the empty line, which is still to be written: header_filter_end. RC_MORE: goes on. */
enum rc header_filter_feed(struct header_filter *, struct slice *in, struct buf *out);
/* Once, at the end of the header or of a message that ends within it: the missing fields ("<id@host>"), then
 * the empty line if there was one (or has to be one: no header was there at all). */
void header_filter_end(struct header_filter *, struct mail_date now, struct slice id, struct slice host, struct buf *out);

#endif
