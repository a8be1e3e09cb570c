/* Address lists of headers: good ones by the book, bad ones as well as can be. */
#include "mail/address.h"

#include "base/buf.h"
#include "check.h"

/* Written here as: name|local|domain, groups as {name and }, what is not understood as !text. */
static const struct {
    const char *sentence;
    const char *input;
    const char *want;
} cases[] = {
    { "an address alone", "a@b.example", "|a|b.example" },
    { "a name and an address", "Mary Smith <mary@x.test>", "Mary Smith|mary|x.test" },
    { "several", "a@b.example, C <c@d.example>,e@f.example", "|a|b.example C|c|d.example |e|f.example" },
    { "a quoted name with a comma", "\"Smith, Mary\" <m@x.test>", "Smith, Mary|m|x.test" },
    { "escapes in a quoted name", "\"Giant; \\\"Big\\\" Box\" <s@x.test>", "Giant; \"Big\" Box|s|x.test" },
    { "a name with a dot and no quotes", "Joe Q. Public <j@x.test>", "Joe Q. Public|j|x.test" },
    { "a comment as a name", "m@x.test (Mary Smith)", "Mary Smith|m|x.test" },
    { "comments everywhere", "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "Pete|pete|silly.test" },
    { "nested comments", "a@b.example (x (y) z)", "x (y) z|a|b.example" },
    { "a group", "A Group:Ed Jones <joe@where.test>,john@x.test;", "{A Group Ed Jones|joe|where.test |john|x.test }" },
    { "an empty group", "Undisclosed recipients:;", "{Undisclosed recipients }" },
    { "a group that is not closed is closed", "G: a@b.example", "{G |a|b.example }" },
    { "an address behind a group", "G: a@b.example; c@d.example", "{G |a|b.example } |c|d.example" },
    { "an obsolete route", "Joe <@h1.test,@h2.test:joe@where.test>", "Joe|joe|where.test" },
    { "empty list elements", ",a@b.example,, ,c@d.example,", "|a|b.example |c|d.example" },
    { "white space around dots and at", "a . b @ c . example", "|a.b|c.example" },
    { "folded", "Mary\r\n Smith\r\n\t<m@x.test>,\r\n a@b.example", "Mary Smith|m|x.test |a|b.example" },
    { "a quoted local part", "\"a b\"@c.example", "|a b|c.example" },
    { "a quoted local part in brackets", "<\"a>b\"@c.example>", "|a>b|c.example" },
    { "a literal", "a@[192.0.2.1]", "|a|[192.0.2.1]" },
    { "an encoded name", "=?utf-8?Q?J=C3=B6rg?= <j@x.test>", "J\xc3\xb6rg|j|x.test" },
    { "an encoded name in quotes, as much software writes", "\"=?utf-8?B?SsO2cmc=?=\" <j@x.test>", "J\xc3\xb6rg|j|x.test" },
    { "an encoded name in a comment", "j@x.test (=?iso-8859-1?Q?J=F6rg?=)", "J\xc3\xb6rg|j|x.test" },
    { "a raw UTF-8 name", "J\xc3\xb6rg <j@x.test>", "J\xc3\xb6rg|j|x.test" },
    { "a raw Latin-1 name", "J\xf6rg <j@x.test>", "J\xc3\xb6rg|j|x.test" },
    { "an address as a name", "a@b.example <c@d.example>", "a@b.example|c|d.example" },
    { "a semicolon between addresses", "a@b.example; c@d.example", "|a|b.example |c|d.example" },
    { "two at signs: the last one counts", "<a@b@c.example>", "|a@b|c.example" },
    { "a name without a domain", "root (Cron Daemon)", "Cron Daemon|root|" },
    { "nothing", "", "" },
    { "white space", " \r\n ", "" },
    { "words", "this is no address", "!this is no address" },
    { "an empty address", "MAILER-DAEMON <>", "!MAILER-DAEMON <>" },
    { "a local part with a space", "a b@c.example", "!a b@c.example" },
    { "an at sign and no domain", "a@", "!a@" },
    { "an at sign and no local part", "@b.example", "!@b.example" },
    { "a bad address spoils no other", "a@b.example, a b, c@d.example", "|a|b.example !a b |c|d.example" },
    { "an open quote", "\"Mary <m@x.test>, a@b.example", "\"Mary|m|x.test |a|b.example" },
    { "an open comment", "(Mary <m@x.test>, a@b.example", "(Mary|m|x.test |a|b.example" },
    { "an open bracket", "Mary <m@x.test, Joe <j@x.test>", "!Mary <m@x.test Joe|j|x.test" },
    { "only a bracket", "<", "!<" },
    { "only quotes", "\"\"", "" },
    { "a backslash at the end", "\"a\\", "|\"a\\|" },
};

static void append_entry(struct buf *out, const struct mailbox_entry *e)
{
    if (buf_len(out) > 0)
        buf_append_byte(out, ' ');
    if (e->kind == ENTRY_GROUP_END) {
        buf_append_byte(out, '}');
        return;
    }
    if (e->kind != ENTRY_MAILBOX)
        buf_append_byte(out, e->kind == ENTRY_INVALID ? '!' : '{');
    buf_append(out, e->name);
    if (e->kind == ENTRY_MAILBOX) {
        buf_append_byte(out, '|');
        buf_append(out, e->local_part);
        buf_append_byte(out, '|');
        buf_append(out, e->domain);
    }
}

static void check_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena;
        struct buf said;
        struct mailbox_entry *entries;
        size_t count;
        CASE(cases[i].sentence);
        arena_init(&arena, 1 << 20);
        buf_init(&said, 4096);
        CHECK_INT(address_list_parse(slice_from_str(cases[i].input), 100, &arena, &entries, &count), RC_OK);
        for (size_t n = 0; n < count; n++)
            append_entry(&said, &entries[n]);
        CHECK_SLICE(buf_slice(&said), slice_from_str(cases[i].want));
        buf_free(&said);
        arena_free(&arena);
    }
}

static void check_limits(void)
{
    struct arena arena;
    struct mailbox_entry *entries;
    size_t count;

    arena_init(&arena, 1 << 20);
    CASE("no more entries than asked for, and groups end within them");
    CHECK_INT(address_list_parse(SLICE("a@b,c@d,e@f"), 2, &arena, &entries, &count), RC_OK);
    CHECK_INT(count, 2);
    CHECK_INT(address_list_parse(SLICE("g:a@b,c@d,e@f;"), 3, &arena, &entries, &count), RC_OK);
    CHECK_INT(count, 3);
    CHECK_INT(entries[2].kind, ENTRY_GROUP_END);
    CHECK_INT(address_list_parse(SLICE("g:a@b;"), 1, &arena, &entries, &count), RC_OK);
    CHECK_INT(count, 1);
    CHECK_INT(entries[0].kind, ENTRY_MAILBOX);
    CASE("the name as it stands keeps its encoded words");
    CHECK_INT(address_list_parse(SLICE("\"=?utf-8?B?SsO2cmc=?=\" (x) <j@x.test>"), 9, &arena, &entries, &count), RC_OK);
    CHECK_SLICE(entries[0].raw_name, SLICE("=?utf-8?B?SsO2cmc=?="));
    CHECK_INT(address_list_parse(SLICE("<@a,@b:j@x.test>"), 9, &arena, &entries, &count), RC_OK);
    CHECK_SLICE(entries[0].route, SLICE("@a,@b"));
    arena_free(&arena);
    CASE("an arena that is too small is a temporary failure");
    arena_init(&arena, 64);
    CHECK_INT(address_list_parse(SLICE("a@b,c@d,e@f"), 9, &arena, &entries, &count), RC_TEMP);
    arena_free(&arena);
}

/* Input that makes a careless parser look at everything again and again; run time would give it away. */
static void check_hostile_repetition(void)
{
    static const char *const pieces[] = { "<", "(", "\"", "\\\"", "<\"", "(\"", ",<(", "a@", ":", ";:", "\"\\", "<>,", "=?a?q?" };

    CASE("repetition costs linear time");
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct arena arena;
        struct buf in;
        struct mailbox_entry *entries;
        size_t count;
        arena_init(&arena, 256 << 20);
        buf_init(&in, 1 << 20);
        while (buf_append_str(&in, pieces[i]) && buf_len(&in) < 400000)
            ;
        enum rc rc = address_list_parse(buf_slice(&in), 1000, &arena, &entries, &count);
        CHECK(rc == RC_OK && count <= 1000);
        buf_free(&in);
        arena_free(&arena);
    }
}

int main(void)
{
    check_cases();
    check_limits();
    check_hostile_repetition();
    return check_done();
}
