/* Addresses: what is accepted can be written and means the same again; lists never fail. */
#include "fuzz.h"

#include "base/text.h"
#include "mail/address.h"

static void check_path(struct slice in, bool null_allowed)
{
    struct arena arena;
    struct address a, again;
    struct slice rest = in;
    struct buf out;

    arena_init(&arena, 65536);
    buf_init(&out, 1024);
    if (address_parse_path(&rest, null_allowed, &arena, &a, NULL) == RC_OK) {
        must(a.is_null || (a.local_part.len > 0 && a.local_part.len <= LOCAL_PART_MAX && utf8_is_valid(a.local_part)));
        must(!a.is_null || null_allowed);
        must(address_write_path(&a, &out) && buf_len(&out) <= PATH_MAX_BYTES);
        for (size_t i = 0; i < buf_len(&out); i++)
            must((unsigned char)buf_slice(&out).ptr[i] >= ' ' && buf_slice(&out).ptr[i] != 0x7f);
        struct slice written = buf_slice(&out);
        must(address_parse_path(&written, null_allowed, &arena, &again, NULL) == RC_OK && written.len == 0);
        must(address_equal(&a, &again) && a.is_utf8 == again.is_utf8 && a.is_literal == again.is_literal);
    } else {
        must(rest.ptr == in.ptr && rest.len == in.len);
    }
    buf_free(&out);
    arena_free(&arena);
}

static void check_plain(struct slice in)
{
    struct arena arena;
    struct address a;
    struct slice domain, again;
    struct buf out;

    arena_init(&arena, 65536);
    buf_init(&out, 1024);
    if (address_parse(in, &arena, &a, NULL) == RC_OK) {
        must(!a.is_null && a.domain.len > 0);
        must(address_write(&a, &out));
    }
    buf_clear(&out);
    if (domain_parse(in, &arena, &domain, NULL) == RC_OK) {
        must(domain.len > 0 && domain_to_ascii(domain, &out, NULL) == RC_OK && text_is_ascii(buf_slice(&out)));
        must(domain_parse(domain, &arena, &again, NULL) == RC_OK && slice_equal(domain, again));
    }
    buf_free(&out);
    arena_free(&arena);
}

static void check_list(struct slice in, size_t max)
{
    struct arena arena;
    struct mailbox_entry *entries;
    size_t count, depth = 0;

    arena_init(&arena, in.len * 64 + 65536);
    must(address_list_parse(in, max, &arena, &entries, &count) == RC_OK && count <= max);
    for (size_t i = 0; i < count; i++) {
        must(utf8_is_valid(entries[i].name));
        depth += entries[i].kind == ENTRY_GROUP_START;
        depth -= entries[i].kind == ENTRY_GROUP_END;
        must(depth <= 1);
        must(entries[i].kind != ENTRY_MAILBOX || entries[i].local_part.len > 0);
    }
    must(depth == 0);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = { (const char *)data, size };

    check_path(in, true);
    check_path(in, false);
    check_plain(in);
    check_list(in, 1000);
    check_list(in, 3);
    return 0;
}
