/* Envelope addresses: what is one and what is not. */
#include "mail/address.h"

#include "check.h"

#define A63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static const struct {
    const char *sentence;
    const char *input;
    enum rc rc;
    const char *local_part, *domain;
    const char *rest;           /* behind the path */
} paths[] = {
    { "a plain address", "<a@b.example>", RC_OK, "a", "b.example", "" },
    { "what stands behind the path is left", "<a@b.example> SIZE=1", RC_OK, "a", "b.example", " SIZE=1" },
    { "the domain is lower case, the local part keeps its case", "<User@Example.ORG>", RC_OK, "User", "example.org", "" },
    { "dots and signs in a dot-string", "<a.b+c=d/e{f}@x.example>", RC_OK, "a.b+c=d/e{f}", "x.example", "" },
    { "a quoted local part may contain a space", "<\"a b\"@c.example>", RC_OK, "a b", "c.example", "" },
    { "a quoted local part may contain an angle bracket", "<\"a>b\"@c.example>", RC_OK, "a>b", "c.example", "" },
    { "quoted pairs are decoded", "<\"a\\\"b\\\\c\"@c.example>", RC_OK, "a\"b\\c", "c.example", "" },
    { "needless quotes go", "<\"plain\"@c.example>", RC_OK, "plain", "c.example", "" },
    { "an IPv4 literal", "<a@[192.0.2.1]>", RC_OK, "a", "[192.0.2.1]", "" },
    { "an IPv6 literal in its plain form", "<a@[ipv6:2001:DB8:0:0::1]>", RC_OK, "a", "[IPv6:2001:db8::1]", "" },
    { "a source route is dropped", "<@a.example,@b.example:u@c.example>", RC_OK, "u", "c.example", "" },
    { "postmaster needs no domain", "<Postmaster>", RC_OK, "Postmaster", "", "" },
    { "a UTF-8 local part", "<j\xc3\xb6rg@x.example>", RC_OK, "j\xc3\xb6rg", "x.example", "" },
    { "a U-label is kept as UTF-8 in lower case", "<a@B\xc3\x9c" "cher.example>", RC_OK, "a", "b\xc3\xbc" "cher.example", "" },
    { "an A-label is kept as it came", "<a@xn--bcher-kva.example>", RC_OK, "a", "xn--bcher-kva.example", "" },
    { "a local part of 64 bytes", "<" A63 "1@x.example>", RC_OK, A63 "1", "x.example", "" },
    { "a label of 63 bytes", "<a@" A63 ".example>", RC_OK, "a", A63 ".example", "" },

    { "an unquoted space ends the path: refused", "<a b@c.example>", RC_PERM, "", "", "" },
    { "nothing", "", RC_PERM, "", "", "" },
    { "no brackets", "a@b.example", RC_PERM, "", "", "" },
    { "no closing bracket", "<a@b.example", RC_PERM, "", "", "" },
    { "a space before the bracket", " <a@b.example>", RC_PERM, "", "", "" },
    { "a space within the brackets", "< a@b.example>", RC_PERM, "", "", "" },
    { "a local part without a domain", "<a>", RC_PERM, "", "", "" },
    { "an empty domain", "<a@>", RC_PERM, "", "", "" },
    { "an empty local part", "<@b.example>", RC_PERM, "", "", "" },
    { "a quoted empty local part", "<\"\"@b.example>", RC_PERM, "", "", "" },
    { "two at signs", "<a@b@c.example>", RC_PERM, "", "", "" },
    { "a leading dot", "<.a@b.example>", RC_PERM, "", "", "" },
    { "a trailing dot", "<a.@b.example>", RC_PERM, "", "", "" },
    { "two dots", "<a..b@c.example>", RC_PERM, "", "", "" },
    { "two dots in the domain", "<a@b..example>", RC_PERM, "", "", "" },
    { "a trailing dot in the domain", "<a@b.example.>", RC_PERM, "", "", "" },
    { "a leading hyphen in a label", "<a@-b.example>", RC_PERM, "", "", "" },
    { "a trailing hyphen in a label", "<a@b-.example>", RC_PERM, "", "", "" },
    { "an underscore in the domain", "<a@b_c.example>", RC_PERM, "", "", "" },
    { "a shell character in the domain", "<a@b;c.example>", RC_PERM, "", "", "" },
    { "a percent sign in the domain", "<a@b%c.example>", RC_PERM, "", "", "" },
    { "a parenthesis in the local part", "<a(c)@b.example>", RC_PERM, "", "", "" },
    { "an unclosed quote", "<\"a@b.example>", RC_PERM, "", "", "" },
    { "text behind a quoted string", "<\"a\"b@c.example>", RC_PERM, "", "", "" },
    { "a control byte in quotes", "<\"a\x01\"@b.example>", RC_PERM, "", "", "" },
    { "a newline in quotes", "<\"a\nb\"@b.example>", RC_PERM, "", "", "" },
    { "a quoted CR", "<\"a\\\rb\"@b.example>", RC_PERM, "", "", "" },
    { "DEL", "<a\x7f@b.example>", RC_PERM, "", "", "" },
    { "a byte that is not UTF-8", "<a\xff@b.example>", RC_PERM, "", "", "" },
    { "an overlong slash", "<a\xc0\xaf@b.example>", RC_PERM, "", "", "" },
    { "a C1 control", "<a\xc2\x85@b.example>", RC_PERM, "", "", "" },
    { "a line separator", "<a\xe2\x80\xa8@b.example>", RC_PERM, "", "", "" },
    { "a full-width dot in a domain that maps to nothing", "<a@\xef\xbc\x8e>", RC_PERM, "", "", "" },
    { "a full-width at sign in a domain", "<a@b\xef\xbc\xa0" "c.example>", RC_PERM, "", "", "" },
    { "a bad IPv4 literal", "<a@[192.0.2.256]>", RC_PERM, "", "", "" },
    { "IPv6 without its tag", "<a@[2001:db8::1]>", RC_PERM, "", "", "" },
    { "an unknown literal tag", "<a@[x400:c=de]>", RC_PERM, "", "", "" },
    { "an open literal", "<a@[192.0.2.1>", RC_PERM, "", "", "" },
    { "text behind a literal", "<a@[192.0.2.1]x>", RC_PERM, "", "", "" },
    { "a source route without its colon", "<@a.example u@c.example>", RC_PERM, "", "", "" },
    { "a source route without at", "<@a.example,b.example:u@c.example>", RC_PERM, "", "", "" },
    { "a local part of 65 bytes", "<" A63 "12@x.example>", RC_PERM, "", "", "" },
    { "a label of 64 bytes", "<a@" A63 "1.example>", RC_PERM, "", "", "" },
    { "a domain of 256 bytes", "<a@" A63 "." A63 "." A63 "." A63 ".>", RC_PERM, "", "", "" },
    { "a path of 257 bytes", "<abc@" A63 "." A63 "." A63 ".abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefg>",
      RC_PERM, "", "", "" },
};

static void check_path(size_t i, struct arena *arena)
{
    struct slice in = slice_from_str(paths[i].input);
    struct address a, again;
    struct fault f;
    struct buf out;

    CASE(paths[i].sentence);
    enum rc rc = address_parse_path(&in, false, arena, &a, &f);
    CHECK_INT(rc, paths[i].rc);
    if (rc != RC_OK || paths[i].rc != RC_OK) {
        CHECK_INT(f.esc, ESC(5, 1, 3));
        CHECK_STR(in.ptr, paths[i].input);
        return;
    }
    CHECK_SLICE(a.local_part, slice_from_str(paths[i].local_part));
    CHECK_SLICE(a.domain, slice_from_str(paths[i].domain));
    CHECK_SLICE(in, slice_from_str(paths[i].rest));
    CHECK_INT(a.is_literal, paths[i].domain[0] == '[');

    buf_init(&out, 1024);
    CHECK(address_write_path(&a, &out));
    in = buf_slice(&out);
    CHECK_INT(address_parse_path(&in, false, arena, &again, &f), RC_OK);
    CHECK(address_equal(&a, &again) && a.is_utf8 == again.is_utf8);
    buf_free(&out);
}

static void check_null(struct arena *arena)
{
    struct slice in = SLICE("<> BODY=7BIT");
    struct address a;
    struct fault f;
    struct buf out;

    CASE("the null path is a sender and no recipient");
    CHECK_INT(address_parse_path(&in, false, arena, &a, &f), RC_PERM);
    CHECK_INT(address_parse_path(&in, true, arena, &a, &f), RC_OK);
    CHECK(a.is_null && a.domain.len == 0 && a.local_part.len == 0);
    CHECK_SLICE(in, SLICE(" BODY=7BIT"));
    in = SLICE("<a b>");
    CHECK_INT(address_parse_path(&in, true, arena, &a, &f), RC_PERM);
    CHECK_INT(f.esc, ESC(5, 1, 7));
    a = (struct address){ .is_null = true };
    buf_init(&out, 64);
    CHECK(address_write(&a, &out) && buf_len(&out) == 0);
    CHECK(address_write_path(&a, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("<>"));
    buf_free(&out);
}

static const struct {
    const char *sentence;
    const char *input;
    enum rc rc;
    const char *written;
} plain[] = {
    { "an address as a person types it", "user@example.org", RC_OK, "user@example.org" },
    { "quotes where they are needed", "\"a b\"@Example.org", RC_OK, "\"a b\"@example.org" },
    { "quotes and backslashes are escaped again", "\"a\\\"\\\\\"@example.org", RC_OK, "\"a\\\"\\\\\"@example.org" },
    { "brackets do not belong to it", "<user@example.org>", RC_PERM, "" },
    { "no white space around it", "user@example.org ", RC_PERM, "" },
    { "no second address", "a@example.org,b@example.org", RC_PERM, "" },
    { "a local part alone is not an address", "user", RC_PERM, "" },
    { "a newline and a header", "a@example.org\r\nBcc: b@example.org", RC_PERM, "" },
    { "nothing", "", RC_PERM, "" },
};

static void check_plain(struct arena *arena)
{
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        struct address a;
        struct fault f;
        struct buf out;
        CASE(plain[i].sentence);
        enum rc rc = address_parse(slice_from_str(plain[i].input), arena, &a, &f);
        CHECK_INT(rc, plain[i].rc);
        if (rc != RC_OK)
            continue;
        buf_init(&out, 1024);
        CHECK(address_write(&a, &out));
        CHECK_SLICE(buf_slice(&out), slice_from_str(plain[i].written));
        buf_free(&out);
    }
}

static const struct {
    const char *sentence;
    const char *input;
    enum rc rc;
    const char *domain, *ascii;
} domains[] = {
    { "a domain", "Example.ORG", RC_OK, "example.org", "example.org" },
    { "a trailing dot goes", "example.org.", RC_OK, "example.org", "example.org" },
    { "U-labels have A-labels", "b\xc3\xbc" "cher.example", RC_OK, "b\xc3\xbc" "cher.example", "xn--bcher-kva.example" },
    { "sharp s stays itself", "stra\xc3\x9f" "e.example", RC_OK, "stra\xc3\x9f" "e.example", "xn--strae-oqa.example" },
    { "a decomposed umlaut is composed", "bu\xcc\x88" "cher.example", RC_OK, "b\xc3\xbc" "cher.example",
      "xn--bcher-kva.example" },
    { "a dot alone", ".", RC_PERM, "", "" },
    { "nothing", "", RC_PERM, "", "" },
    { "a slash", "a/b.example", RC_PERM, "", "" },
    { "a space", "a b.example", RC_PERM, "", "" },
    { "not UTF-8", "\xff.example", RC_PERM, "", "" },
    { "a snowman is no letter", "\xe2\x98\x83.example", RC_PERM, "", "" },
};

static void check_domains(struct arena *arena)
{
    for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++) {
        struct slice domain;
        struct fault f;
        struct buf out;
        CASE(domains[i].sentence);
        enum rc rc = domain_parse(slice_from_str(domains[i].input), arena, &domain, &f);
        CHECK_INT(rc, domains[i].rc);
        if (rc != RC_OK)
            continue;
        CHECK_SLICE(domain, slice_from_str(domains[i].domain));
        buf_init(&out, 1024);
        CHECK_INT(domain_to_ascii(domain, &out, &f), RC_OK);
        CHECK_SLICE(buf_slice(&out), slice_from_str(domains[i].ascii));
        buf_free(&out);
    }
}

static void check_equality(struct arena *arena)
{
    struct address a, b, c, copy;
    struct fault f;

    CASE("local parts differ by case, domains do not; a copy is equal");
    CHECK_INT(address_parse(SLICE("A@b.example"), arena, &a, &f), RC_OK);
    CHECK_INT(address_parse(SLICE("a@b.example"), arena, &b, &f), RC_OK);
    CHECK_INT(address_parse(SLICE("\"A\"@B.Example"), arena, &c, &f), RC_OK);
    CHECK(!address_equal(&a, &b) && address_equal(&a, &c));
    CHECK_INT(address_copy(&a, arena, &copy), RC_OK);
    CHECK(address_equal(&a, &copy) && copy.local_part.ptr != a.local_part.ptr);
}

int main(void)
{
    struct arena arena;

    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        check_path(i, &arena);
    check_null(&arena);
    check_plain(&arena);
    check_domains(&arena);
    check_equality(&arena);
    arena_free(&arena);
    return check_done();
}
