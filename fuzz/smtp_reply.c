/* The reply reader (smtp/reply_reader.h): whole and byte by byte the same replies, and the same end. */
#include "fuzz.h"

#include "smtp/reply_reader.h"

#include <stdlib.h>

static enum rc read_all(const uint8_t *data, size_t size, size_t chunk, struct buf *seen)
{
    struct smtp_reply_reader reader;
    struct smtp_reply reply;
    enum rc rc = RC_MORE;
    smtp_reply_reader_init(&reader);
    size_t end = 0, taken = 0;
    do {
        end = size - end < chunk ? size : end + chunk;
        char *piece = malloc(end - taken + 1);
        must(piece != NULL);
        memcpy(piece, data + taken, end - taken);
        struct slice in = { piece, end - taken };
        while ((rc = smtp_reply_read(&reader, &in, &reply)) == RC_OK) {
            must(reply.code >= 200 && reply.code <= 599 && ESC_CLASS(reply.esc) == (unsigned)reply.code / 100);
            must(reply.text.len <= REPLY_TEXT_KEPT_MAX);
            buf_printf(seen, "%d %u.%u ", reply.code, ESC_SUBJECT(reply.esc), ESC_DETAIL(reply.esc));
            buf_append(seen, reply.text);
        }
        taken = end - in.len;
        free(piece);
    } while (end < size && rc == RC_MORE);
    smtp_reply_reader_free(&reader);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, cut;
    buf_init(&whole, 1 << 22);
    buf_init(&cut, 1 << 22);
    must(read_all(data, size, size, &whole) == read_all(data, size, 1, &cut));
    must(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
