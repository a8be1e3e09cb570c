/* Resource data and whole answers of any server, given to the choice of exchangers. The first byte is the record's type; for
 * MX the rest is cut into answers, each behind a byte with its length. */
#include "fuzz.h"

#include "dns/answer.h"

static size_t take_records(struct slice *in, enum dns_type type, struct arena *arena, struct dns_record *records, size_t max)
{
    size_t count = 0;
    while (count < max && in->len > 0) {
        size_t len = (unsigned char)slice_take(in, 1).ptr[0];
        if (len == 0)
            break;
        if (dns_record_parse(type, slice_take(in, len), arena, &records[count]))
            count++;
    }
    return count;
}

static void choose(struct slice in, struct arena *arena)
{
    struct dns_record records[64];
    struct fault f;
    struct slice name;
    enum dns_type type;
    enum rc rc;
    struct mx *mx = mx_begin(slice_take(&in, 12), true, SLICE("us"), in.len, arena);
    for (size_t lookups = 0; mx != NULL && (rc = mx_next(mx, &name, &type, &f)) == RC_MORE; lookups++) {
        must(lookups <= 2 * MX_MAX + 1);
        struct dns_answer answer = { .rc = RC_OK, .records = records };
        answer.count = take_records(&in, type, arena, records, 64);
        if (answer.count == 0)
            answer.rc = in.len % 2 == 0 ? RC_NONE : RC_TEMP;
        mx_answer(mx, &answer);
    }
    size_t count = 0;
    if (mx != NULL)
        (void)mx_targets(mx, &count);
    must(count <= MX_TARGETS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_MX, DNS_TXT, DNS_PTR, DNS_CNAME, DNS_TLSA };
    struct arena arena;
    struct dns_record record;
    if (size == 0)
        return 0;
    arena_init(&arena, 1 << 20);
    struct slice in = { (const char *)data + 1, size - 1 };
    if (data[0] == 'x')
        choose(in, &arena);
    else if (dns_record_parse(types[data[0] % 7], in, &arena, &record))
        for (size_t i = 0; i < record.name.len; i++)
            must(byte_is_alnum((unsigned char)record.name.ptr[i]) || record.name.ptr[i] == '-' || record.name.ptr[i] == '_' || record.name.ptr[i] == '.');
    arena_free(&arena);
    return 0;
}
