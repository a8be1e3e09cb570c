/* POP3 replies: see reply.h. */
#include "pop3/reply.h"

void pop3_reply_ok(struct buf *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_append_str(out, "+OK ");
    buf_vprintf(out, format, args);
    buf_append_str(out, "\r\n");
    va_end(args);
}

void pop3_reply_err(struct buf *out, const char *code, struct slice text)
{
    buf_append_str(out, "-ERR ");
    if (*code != '\0')
        buf_printf(out, "[%s] ", code);
    size_t before = buf_len(out);
    buf_append_escaped(out, slice_sub(text, 0, POP3_REPLY_TEXT_MAX), false);
    if (buf_len(out) - before > POP3_REPLY_TEXT_MAX)        /* escapes made it longer */
        buf_truncate(out, before + POP3_REPLY_TEXT_MAX);
    buf_append_str(out, "\r\n");
}

void pop3_reply_capabilities(struct buf *out)
{
    pop3_reply_ok(out, "what this server can do");
    buf_append_str(out,
        "TOP\r\n"               /* RFC 2449 6.1 */
        "UIDL\r\n"              /* RFC 2449 6.8 */
        "PIPELINING\r\n"        /* RFC 2449 6.6 */
        "RESP-CODES\r\n"        /* RFC 2449 6.4 */
        "AUTH-RESP-CODE\r\n"    /* RFC 3206 6 */
        "EXPIRE NEVER\r\n"      /* RFC 2449 6.7 */
        "IMPLEMENTATION Thurn\r\n");
}
