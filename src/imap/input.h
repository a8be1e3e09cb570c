/* Reading one command of an IMAP client: its lines and the literals between them (RFC 3501 2.2.1, 4.3; RFC 7888).
 *
 * The command is collected as it came, "{5}" CRLF and the five bytes included, so that one parser walks over it. Whether
 * a literal is taken at all is its owner's decision, since a synchronising one waits for an answer: read() reports it and
 * the owner says take, skip, stream or forget. A command that is too long, or that holds a bare CR, LF or NUL in a line, is
 * read to its true end and reported as refused, so that the connection stays usable. */
#ifndef THURN_IMAP_INPUT_H
#define THURN_IMAP_INPUT_H

#include "base/buf.h"
#include "wire/line.h"

enum { IMAP_TAG_MAX = 128 };

struct imap_input {
    struct line_reader reader;
    struct buf text;            /* the command so far */
    bool keeps_empty_lines;     /* else empty lines before a command are passed over */
    const char *refused;        /* why the command will be refused; NULL: so far it is good */
    uint64_t literal_bytes;     /* of the literal just announced */
    bool is_synchronising;      /* the client waits for "+" before it sends that literal */
    bool is_skipping, is_streaming;
    uint64_t literal_left;
    char tag[IMAP_TAG_MAX];     /* of a command whose line was too long to be kept; "" when none could be seen */
};

enum imap_input_kind {
    IMAP_INPUT_NONE,            /* more input is needed */
    IMAP_INPUT_LITERAL,         /* a literal of literal_bytes is announced: take, skip, stream, or reset (forget the command) */
    IMAP_INPUT_COMMAND,         /* text is a whole command; reset before the next read */
    IMAP_INPUT_REFUSED,         /* a command has ended that cannot be used; `refused` says why; reset before the next read */
};

void imap_input_init(struct imap_input *, size_t line_max_bytes, size_t command_max_bytes);
void imap_input_free(struct imap_input *);
void imap_input_reset(struct imap_input *);
enum imap_input_kind imap_input_read(struct imap_input *, struct slice *in);
void imap_input_take(struct imap_input *);
void imap_input_skip(struct imap_input *);
/* The owner reads the literal itself: hands over its bytes as they come, until literal_left is 0. */
void imap_input_stream(struct imap_input *);
struct slice imap_input_streamed(struct imap_input *, struct slice *in);
/* What stands before the first space, at most IMAP_TAG_MAX - 1 bytes of it; for commands that are refused. */
struct slice imap_input_tag(const struct imap_input *);

#endif
