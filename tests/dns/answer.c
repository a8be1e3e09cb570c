/* Resource data as it may come from anybody's server. */
#include "check.h"
#include "dns/answer.h"

#include <string.h>

static void records(void)
{
    static const struct { const char *name; enum dns_type type; struct slice rdata; bool is_good; const char *text; } cases[] = {
        { "an IPv4 address",                    DNS_A,    SLICE_INIT("\x7f\0\0\x01"), true, "127.0.0.1" },
        { "three bytes are none",               DNS_A,    SLICE_INIT("\x7f\0\0"), false, "" },
        { "five bytes are none",                DNS_A,    SLICE_INIT("\x7f\0\0\1\1"), false, "" },
        { "an IPv6 address",                    DNS_AAAA, SLICE_INIT("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"), true, "2001:db8::1" },
        { "four bytes are no IPv6 address",     DNS_AAAA, SLICE_INIT("\x7f\0\0\x01"), false, "" },
        { "an exchanger, in lower case",        DNS_MX,   SLICE_INIT("\0\x0a\2MX\1b\7example\0"), true, "mx.b.example" },
        { "the root: null MX",                  DNS_MX,   SLICE_INIT("\0\0\0"), true, "" },
        { "a name that is torn off",            DNS_MX,   SLICE_INIT("\0\x0a\2MX\1b\7exam"), false, "" },
        { "a name without its end",             DNS_MX,   SLICE_INIT("\0\x0a\2MX"), false, "" },
        { "bytes behind the name",              DNS_MX,   SLICE_INIT("\0\x0a\2MX\0x"), false, "" },
        { "a compression pointer",              DNS_MX,   SLICE_INIT("\0\x0a\xc0\x0c"), false, "" },
        { "a preference alone",                 DNS_MX,   SLICE_INIT("\0\x0a"), false, "" },
        { "a dot within a label",               DNS_MX,   SLICE_INIT("\0\x0a\3m.x\0"), false, "" },
        { "a space within a label",             DNS_MX,   SLICE_INIT("\0\x0a\3m x\0"), false, "" },
        { "a NUL within a label",               DNS_MX,   SLICE_INIT("\0\x0a\3m\0x\0"), false, "" },
        { "an underscore is seen in the wild",  DNS_CNAME, SLICE_INIT("\3_mx\1a\0"), true, "_mx.a" },
        { "a host's name",                      DNS_PTR,  SLICE_INIT("\4Mail\7example\0"), true, "mail.example" },
        { "text strings are joined",            DNS_TXT,  SLICE_INIT("\3v=s\4pf1 \0\4-all"), true, "v=spf1 -all" },
        { "a text string that is torn off",     DNS_TXT,  SLICE_INIT("\3v=s\7pf1"), false, "" },
        { "an association",                     DNS_TLSA, SLICE_INIT("\3\1\1abc"), true, "\3\1\1abc" },
        { "an association that is too short",   DNS_TLSA, SLICE_INIT("\3\1"), false, "" },
    };
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CASE(cases[i].name);
        struct dns_record record;
        bool is_good = dns_record_parse(cases[i].type, cases[i].rdata, &arena, &record);
        CHECK_INT(is_good, cases[i].is_good);
        if (!is_good)
            continue;
        if (record.address[0] != '\0')
            CHECK_SLICE(slice_from_str(record.address), slice_from_str(cases[i].text));
        else
            CHECK_SLICE(record.data.len > 0 ? record.data : record.name, slice_from_str(cases[i].text));
    }
    CASE("a name of 255 bytes or more is none");
    char rdata[400] = { 0 };
    size_t len = 2;
    for (int i = 0; i < 5; i++, len += 64) {
        rdata[len] = 63;
        memset(rdata + len + 1, 'a', 63);
    }
    struct dns_record record;
    CHECK(!dns_record_parse(DNS_MX, (struct slice){ rdata, len + 1 }, &arena, &record));
    arena_free(&arena);
}

int main(void)
{
    records();
    return check_done();
}
