/* xtext, in which SMTP parameters carry other text (RFC 3461 4): see dsn.h. */
#include "mail/dsn.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = byte_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_xchar(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '+' && c != '=';
}

enum rc xtext_decode(struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        if (in.ptr[i] == '+') {
            int high = in.len - i > 2 ? hex_value(in.ptr[i + 1]) : -1, low = in.len - i > 2 ? hex_value(in.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return RC_PERM;
            (void)buf_append_byte(out, (char)(high << 4 | low));
            i += 2;
        } else if (is_xchar((unsigned char)in.ptr[i])) {
            (void)buf_append_byte(out, in.ptr[i]);
        } else {
            return RC_PERM;
        }
    }
    return out->overflow ? RC_TEMP : RC_OK;
}

bool xtext_encode(struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = (unsigned char)in.ptr[i];
        if (is_xchar(c))
            (void)buf_append_byte(out, (char)c);
        else
            (void)buf_printf(out, "+%02X", (unsigned)c);
    }
    return !out->overflow;
}
