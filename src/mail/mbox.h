/* mbox files: many messages in one, each behind a line "From sender date" (RFC 4155 and what software really writes).
 *
 * Reading works on a slice of the whole file, or on pieces of it that grow until they hold a message. A From_ line
 * starts a message only at the start of the file or behind an empty line, and only when a date stands in it: in many
 * a file text lines that start with "From " were never quoted. A file that starts without a From_ line has one message
 * without a sender up to the first: so a file that is one message is read as one.
 * Writing is mboxrd, which is reversible. */
#ifndef THURN_MAIL_MBOX_H
#define THURN_MAIL_MBOX_H

#include "base/buf.h"
#include "base/fault.h"

enum mbox_variant {
    MBOX_RD,            /* lines ">From ", ">>From " ... were quoted with one ">" */
    MBOX_O,             /* only "From " was quoted: ">From " loses its ">" */
    MBOX_CL,            /* nothing was quoted */
};

struct mbox_reader {
    size_t scanned;             /* bytes at the front of the input in which no next From_ line starts */
    bool is_behind_empty_line;  /* there */
};

struct mbox_message {
    struct slice sender;        /* of the From_ line; empty when there is none */
    int64_t date_s;             /* 0 when there is none, or it was not understood */
    struct slice raw;           /* as in the file: quoted, with its line ends, without the empty line that ends it */
};

void mbox_reader_init(struct mbox_reader *);
/* Takes a message off the front of *in; the slices point into it. RC_MORE: no whole message yet (*in unchanged: call
 * again with the same bytes and more behind them). RC_NONE: nothing is left. is_end: no bytes follow these. */
enum rc mbox_next(struct mbox_reader *, struct slice *in, bool is_end, struct mbox_message *);
/* The message itself: quotes taken off, every line end CRLF. False: no room. */
bool mbox_unquote(struct slice raw, enum mbox_variant, struct buf *out);

/* "From sender asctime\n", the message with LF line ends and From_ lines quoted, an empty line. An empty sender is
 * written as MAILER-DAEMON, white space in it as "-". A line whose text ends with a CR keeps its CRLF. */
bool mbox_write(struct slice sender, int64_t date_s, struct slice message, struct buf *out);

#endif
