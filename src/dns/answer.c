/* RDATA into typed records, every length checked: see answer.h. */
#include "dns/answer.h"

#include <arpa/inet.h>

enum { NAME_MAX_BYTES = 255, LABEL_MAX = 63, TXT_MAX = 64 * 1024 };

/* What a mail server's name may be made of; underscore since people use it. Anything else would have to be escaped. */
static bool is_name_byte(unsigned char c)
{
    return byte_is_alnum(c) || c == '-' || c == '_';
}

bool dns_name_parse(struct slice *in, struct arena *arena, struct slice *name)
{
    char text[NAME_MAX_BYTES + 1];
    size_t len = 0;
    for (;;) {
        if (in->len == 0)
            return false;
        size_t label = (unsigned char)slice_take(in, 1).ptr[0];
        if (label == 0)
            break;
        if (label > LABEL_MAX || label > in->len || len + label + 1 > NAME_MAX_BYTES)
            return false;                               /* also: a compression pointer, which has no place here */
        if (len > 0)
            text[len++] = '.';
        struct slice bytes = slice_take(in, label);
        for (size_t i = 0; i < label; i++) {
            if (!is_name_byte((unsigned char)bytes.ptr[i]))
                return false;
            text[len++] = byte_lower(bytes.ptr[i]);
        }
    }
    *name = arena_copy(arena, (struct slice){ text, len });
    return len == 0 || name->ptr != NULL;
}

/* The character strings of a TXT record, joined (RFC 7208 3.3). */
static bool parse_txt(struct slice rdata, struct arena *arena, struct slice *data)
{
    if (rdata.len > TXT_MAX)
        return false;
    char *joined = arena_alloc(arena, 1, rdata.len + 1);
    size_t len = 0;
    while (joined != NULL && rdata.len > 0) {
        size_t part = (unsigned char)slice_take(&rdata, 1).ptr[0];
        if (part > rdata.len)
            return false;
        memcpy(joined + len, slice_take(&rdata, part).ptr, part);
        len += part;
    }
    *data = (struct slice){ joined, len };
    return joined != NULL;
}

static bool parse_address(int family, size_t len, struct slice rdata, char out[46])
{
    return rdata.len == len && inet_ntop(family, rdata.ptr, out, 46) != NULL;
}

bool dns_record_parse(enum dns_type type, struct slice rdata, struct arena *arena, struct dns_record *record)
{
    *record = (struct dns_record){ .type = type };
    switch (type) {
    case DNS_A:
        return parse_address(AF_INET, 4, rdata, record->address);
    case DNS_AAAA:
        return parse_address(AF_INET6, 16, rdata, record->address);
    case DNS_MX:
        if (rdata.len < 3)
            return false;
        record->preference = (uint16_t)((unsigned char)rdata.ptr[0] << 8 | (unsigned char)rdata.ptr[1]);
        slice_take(&rdata, 2);
        return dns_name_parse(&rdata, arena, &record->name) && rdata.len == 0;
    case DNS_PTR:
    case DNS_CNAME:
        return dns_name_parse(&rdata, arena, &record->name) && rdata.len == 0;
    case DNS_TXT:
        return parse_txt(rdata, arena, &record->data);
    case DNS_TLSA:
        record->data = arena_copy(arena, rdata);
        return rdata.len >= 3 && record->data.ptr != NULL;
    }
    return false;
}
