/* Message ids: milliseconds of acceptance << 20 | count, shown as 13 digits of base 32 (the alphabet of RFC 4648 7 in lower
 * case, so that text order is number order). */
#include "queue/queue.h"

static const char digits[] = "0123456789abcdefghijklmnopqrstuv";

void queue_id_write(uint64_t id, char out[QUEUE_ID_TEXT])
{
    for (int i = QUEUE_ID_TEXT - 2; i >= 0; i--, id >>= 5)
        out[i] = digits[id & 31];
    out[QUEUE_ID_TEXT - 1] = '\0';
}

static int digit_value(char c)
{
    c = byte_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'v' ? c - 'a' + 10 : -1;
}

enum rc queue_id_parse(struct slice text, uint64_t *id)
{
    if (text.len != QUEUE_ID_TEXT - 1 || digit_value(text.ptr[0]) > 15)     /* 13 digits hold 65 bits */
        return RC_PERM;
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_value(text.ptr[i]);
        if (digit < 0)
            return RC_PERM;
        value = value << 5 | (uint64_t)digit;
    }
    if (value == 0)
        return RC_PERM;
    *id = value;
    return RC_OK;
}
