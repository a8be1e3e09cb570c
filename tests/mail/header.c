/* Header sections: fields, values with parameters, writing. */
#include "mail/header.h"

#include "base/text.h"
#include "check.h"

/* Fields as "name=body;", what is no field as "!line;", then the body behind "|". */
static const struct {
    const char *sentence;
    struct slice input, want;
} sections[] = {
    { "fields and a body", SLICE_INIT("A: 1\r\nB: 2\r\n\r\nbody"), SLICE_INIT("A= 1;B= 2;|body") },
    { "a folded field is one", SLICE_INIT("A: 1\r\n 2\r\n\t3\r\nB:4\r\n\r\n"), SLICE_INIT("A= 1\r\n 2\r\n\t3;B=4;|") },
    { "bare LF", SLICE_INIT("A: 1\n 2\nB: 3\n\nbody"), SLICE_INIT("A= 1\n 2;B= 3;|body") },
    { "CR CR LF", SLICE_INIT("A: 1\r\r\nB: 2\r\r\n\r\r\nbody"), SLICE_INIT("A= 1;B= 2;|body") },
    { "white space before the colon", SLICE_INIT("A \t: 1\r\n\r\n"), SLICE_INIT("A= 1;|") },
    { "an empty body of a field", SLICE_INIT("A:\r\nB:\r\n\r\n"), SLICE_INIT("A=;B=;|") },
    { "a header without an end", SLICE_INIT("A: 1\r\nB: 2"), SLICE_INIT("A= 1;B= 2;|") },
    { "a body only", SLICE_INIT("\r\nbody"), SLICE_INIT("|body") },
    { "nothing", SLICE_INIT(""), SLICE_INIT("|") },
    { "a line without a colon", SLICE_INIT("From x@y Thu\r\nA: 1\r\n\r\n"), SLICE_INIT("!From x@y Thu\r\n;A= 1;|") },
    { "a continuation of nothing", SLICE_INIT(" x\r\nA: 1\r\n\r\n"), SLICE_INIT("! x\r\n;A= 1;|") },
    { "an empty name", SLICE_INIT(": x\r\nA: 1\r\n\r\n"), SLICE_INIT("!: x\r\n;A= 1;|") },
    { "a name with a space", SLICE_INIT("A b: x\r\n\r\n"), SLICE_INIT("!A b: x\r\n;|") },
    { "a name with 8-bit", SLICE_INIT("\xc3\xa4: x\r\n\r\n"), SLICE_INIT("!\xc3\xa4: x\r\n;|") },
    { "a white space line is a continuation", SLICE_INIT("A: 1\r\n \r\nB: 2\r\n\r\n"), SLICE_INIT("A= 1\r\n ;B= 2;|") },
    { "a NUL is a byte", SLICE_INIT("A: \0\r\n\r\n"), SLICE_INIT("A= \0;|") },
};

static void check_sections(void)
{
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        struct slice in = sections[i].input;
        struct header_field field;
        struct buf said;
        enum rc rc;
        CASE(sections[i].sentence);
        buf_init(&said, 4096);
        while ((rc = header_next(&in, &field)) != RC_NONE) {
            buf_append(&said, rc == RC_OK ? field.name : SLICE("!"));
            buf_append(&said, rc == RC_OK ? SLICE("=") : field.whole);
            buf_append(&said, field.body);
            buf_append_byte(&said, ';');
        }
        buf_append_byte(&said, '|');
        buf_append(&said, in);
        CHECK_SLICE(buf_slice(&said), sections[i].want);
        CHECK_INT(header_end(sections[i].input), sections[i].input.len - in.len);
        for (size_t at = 0; at <= sections[i].input.len; at++) {
            struct header_scan scan;
            header_scan_init(&scan);
            size_t first = header_scan_feed(&scan, slice_sub(sections[i].input, 0, at));
            size_t second = header_scan_feed(&scan, slice_sub(sections[i].input, at, SIZE_MAX));
            CHECK_INT(first + second, sections[i].input.len - in.len);
        }
        buf_free(&said);
    }
}

static void check_finding(void)
{
    const struct slice header = SLICE("To: a\r\nX: 1\r\n 2\r\nsubject: =?utf-8?q?=C3=A4?=\r\n =?utf-8?q?b?= c\r\nX: 3\r\n\r\nX: 4\r\n");
    const struct slice names[] = { SLICE("x"), SLICE("to") };
    struct header_field field;
    struct buf out;

    buf_init(&out, 1024);
    CASE("the first of a name is found, without case");
    CHECK_INT(header_find(header, SLICE("x"), &field), RC_OK);
    CHECK_SLICE(field.whole, SLICE("X: 1\r\n 2\r\n"));
    CHECK_INT(header_find(header, SLICE("none"), &field), RC_NONE);
    CHECK_INT(header_find(header, SLICE("sub"), &field), RC_NONE);
    CASE("unfolded, decoded");
    CHECK_INT(header_find(header, SLICE("Subject"), &field), RC_OK);
    CHECK(header_unfold(field.body, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("=?utf-8?q?=C3=A4?= =?utf-8?q?b?= c"));
    buf_clear(&out);
    CHECK(header_decode(field.body, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("\xc3\xa4" "b c"));
    buf_clear(&out);
    CASE("selected fields, and all others");
    CHECK(header_select(header, names, 2, false, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("To: a\r\nX: 1\r\n 2\r\nX: 3\r\n"));
    buf_clear(&out);
    CHECK(header_select(header, names, 2, true, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("subject: =?utf-8?q?=C3=A4?=\r\n =?utf-8?q?b?= c\r\n"));
    buf_free(&out);
}

/* "value;name=value;..." */
static const struct {
    const char *sentence;
    const char *input;
    const char *want;
} values[] = {
    { "a type", "text/plain", "text/plain" },
    { "lower case, values as they are", "Text/HTML; CharSet=UTF-8", "text/html;charset=UTF-8" },
    { "quoted values", "multipart/mixed; boundary=\"a;b \\\"c\\\\\"", "multipart/mixed;boundary=a;b \"c\\" },
    { "comments", "text/plain (a) ; (b) charset=us-ascii (Plain (x) text)", "text/plain;charset=us-ascii" },
    { "folding", "text/plain;\r\n\tcharset=x;\r\n format=flowed", "text/plain;charset=x;format=flowed" },
    { "spaces around the slash and the equals sign", "text / plain; charset = x", "text/plain;charset=x" },
    { "a value with slashes and colons", "x/y; url=http://a/b?c=d", "x/y;url=http://a/b?c=d" },
    { "an unquoted file name with spaces", "attachment; filename=my file.pdf; size=3", "attachment;filename=my file.pdf;size=3" },
    { "a missing semicolon", "text/plain; charset=x format=flowed", "text/plain;charset=x;format=flowed" },
    { "an open quote", "text/plain; name=\"abc", "text/plain;name=abc" },
    { "the first of two counts", "text/plain; charset=a; charset=b", "text/plain;charset=a" },
    { "empty parameters", "text/plain;;; ;charset=x;", "text/plain;charset=x" },
    { "a parameter without a value", "text/plain; x; charset=y", "text/plain;charset=y" },
    { "an empty value", "text/plain; charset=\"\"; x=", "text/plain;charset=;x=" },
    { "RFC 2231 charset", "a/b; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "a/b;title=This is ***fun***" },
    { "RFC 2231 pieces", "a/b; URL*0=\"ftp://\";\r\n URL*1=\"cs.utk.edu/\"; URL*2=x", "a/b;url=ftp://cs.utk.edu/x" },
    { "RFC 2231 both", "a/b; t*0*=us-ascii'en'This%20is%20even%20more%20;\r\n t*1*=%2A%2A%2Afun%2A%2A%2A%20;\r\n t*2=\"isn't it!\"",
      "a/b;t=This is even more ***fun*** isn't it!" },
    { "RFC 2231 pieces in any order", "a/b; n*2=c; n*0=a; n*1=b", "a/b;n=abc" },
    { "RFC 2231 pieces end at a gap", "a/b; n*0=a; n*2=c", "a/b;n=a" },
    { "RFC 2231 in UTF-8", "a/b; n*=UTF-8''%C3%A4%e2%82%ac.txt", "a/b;n=\xc3\xa4\xe2\x82\xac.txt" },
    { "RFC 2231 in Latin-1", "a/b; n*=iso-8859-1''%E4", "a/b;n=\xc3\xa4" },
    { "RFC 2231 in quotes, as some write it", "a/b; n*=\"utf-8''%C3%A4\"", "a/b;n=\xc3\xa4" },
    { "RFC 2231 is preferred to the plain one", "a/b; n=bad; n*=utf-8''good", "a/b;n=good" },
    { "RFC 2231 without a charset", "a/b; n*=%C3%A4", "a/b;n=\xc3\xa4" },
    { "RFC 2231 with bad escapes", "a/b; n*=utf-8''%zz%C", "a/b;n=%zz%C" },
    { "RFC 2231 pieces without the first are nothing", "a/b; n*1=x", "a/b" },
    { "an encoded word, as much software writes", "a/b; n=\"=?utf-8?B?w6Q=?=.txt\"", "a/b;n=\xc3\xa4.txt" },
    { "a raw 8-bit value", "a/b; n=\"\xe4.txt\"", "a/b;n=\xc3\xa4.txt" },
    { "a boundary is bytes", "a/b; boundary=\"=?utf-8?q?a?=\"", "a/b;boundary=\x3d?utf-8?q?a?=" },
    { "no value", "; a=b", ";a=b" },
    { "nothing", "", "" },
    { "only a comment that does not end", "(((", "" },
    { "a backslash at the end", "a/b; n=\"x\\", "a/b;n=x\\" },
};

static void check_values(void)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct arena arena;
        struct header_value v;
        struct buf said;
        CASE(values[i].sentence);
        arena_init(&arena, 1 << 16);
        buf_init(&said, 4096);
        enum rc rc = header_parse_value(slice_from_str(values[i].input), &arena, &v);
        CHECK_INT(rc, v.value.len > 0 ? RC_OK : RC_NONE);
        buf_append(&said, v.value);
        for (size_t n = 0; n < v.param_count; n++)
            buf_printf(&said, ";%.*s=%.*s", SLICE_ARG(v.params[n].name), SLICE_ARG(v.params[n].value));
        CHECK_SLICE(buf_slice(&said), slice_from_str(values[i].want));
        buf_free(&said);
        arena_free(&arena);
    }
}

static void check_many_params(void)
{
    struct arena arena;
    struct header_value v;
    struct buf in;

    CASE("parameters without end are cut off, and cost little");
    arena_init(&arena, 64 << 20);
    buf_init(&in, 1 << 20);
    buf_append_str(&in, "a/b");
    for (int i = 0; i < 50000; i++)
        buf_printf(&in, "; p%d=%d", i, i);
    CHECK_INT(header_parse_value(buf_slice(&in), &arena, &v), RC_OK);
    CHECK_INT(v.param_count, HEADER_PARAMS_MAX);
    CHECK_SLICE(header_value_param(&v, SLICE("P7")), SLICE("7"));
    CHECK(header_value_has(&v, SLICE("p0")) && !header_value_has(&v, SLICE("p49999")));
    buf_free(&in);
    arena_free(&arena);
}

#define LONG10 "abcdefghi "
#define LONG80 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10

static const struct {
    const char *sentence;
    const char *text;
    bool utf8_allowed;
    const char *want;
} writes[] = {
    { "plain text", "Hello", false, "S: Hello\r\n" },
    { "a long text is folded", LONG80 "end", false,
      "S: abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi\r\n abcdefghi end\r\n" },
    { "text that is not ASCII", "Gr\xc3\xbc\xc3\x9f" "e aus K\xc3\xb6ln", false, "S: =?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=\r\n" },
    { "the same where UTF-8 is allowed", "Gr\xc3\xbc\xc3\x9f" "e", true, "S: Gr\xc3\xbc\xc3\x9f" "e\r\n" },
    { "what is not UTF-8 is encoded in any case", "\xff", true, "S: =?utf-8?B?77+9?=\r\n" },
    { "a line end cannot start a field", "a\r\nBcc: b", false, "S: a  Bcc: b\r\n" },
    { "nor can a NUL be written", "a\x01" "b", false, "S: a b\r\n" },
    { "what looks encoded is encoded", "=?utf-8?q?a?=", false, "S: =?utf-8?Q?=3D=3Futf-8=3Fq=3Fa=3F=3D?=\r\n" },
    { "white space around it goes", "  a  ", false, "S: a\r\n" },
    { "nothing", "", false, "S: \r\n" },
};

static void check_writes(void)
{
    struct buf out, back;

    buf_init(&out, 65536);
    buf_init(&back, 65536);
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        CASE(writes[i].sentence);
        buf_clear(&out);
        CHECK(header_write(&out, SLICE("S"), slice_from_str(writes[i].text), writes[i].utf8_allowed));
        CHECK_SLICE(buf_slice(&out), slice_from_str(writes[i].want));
    }
    CASE("a word too long for any line is encoded, and comes back");
    char word[3000];
    memset(word, 'x', sizeof word);
    buf_clear(&out);
    CHECK(header_write(&out, SLICE("S"), (struct slice){ word, sizeof word }, false));
    CHECK(header_decode(slice_sub(buf_slice(&out), 2, SIZE_MAX), &back));
    CHECK_SLICE(buf_slice(&back), ((struct slice){ word, sizeof word }));
    CASE("a body that is ready is only folded");
    buf_clear(&out);
    CHECK(header_write_folded(&out, SLICE("To"), SLICE("=?utf-8?q?a?= <a@b.example>,\r\n b@c.example")));
    CHECK_SLICE(buf_slice(&out), SLICE("To: =?utf-8?q?a?= <a@b.example>,   b@c.example\r\n"));
    buf_free(&out);
    buf_free(&back);
}

static const struct {
    const char *sentence, *name, *want;
    bool utf8_allowed;
} phrases[] = {
    { "atoms", "Mary Smith", "Mary Smith", false },
    { "a quoted string", "Smith, Mary", "\"Smith, Mary\"", false },
    { "quotes in it", "a\"b\\", "\"a\\\"b\\\\\"", false },
    { "encoded words", "J\xc3\xb6rg", "=?utf-8?Q?J=C3=B6rg?=", false },
    { "UTF-8 where it is allowed", "J\xc3\xb6rg", "\"J\xc3\xb6rg\"", true },
    { "a line end", "a\r\nb", "\"a  b\"", false },
};

static const struct {
    const char *sentence, *value, *want;
} params[] = {
    { "a token", "a.txt", ";\r\n n=a.txt" },
    { "a quoted string", "a b.txt", ";\r\n n=\"a b.txt\"" },
    { "RFC 2231", "\xc3\xa4.txt", ";\r\n n*=utf-8''%C3%A4.txt" },
    { "a long one in pieces", "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij",
      ";\r\n n*0*=utf-8''abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij;\r\n n*1*=abcdefghij" },
    { "a line end", "a\r\nb", ";\r\n n*=utf-8''a%0D%0Ab" },
};

static void check_phrases_and_params(void)
{
    struct buf out;

    buf_init(&out, 65536);
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++) {
        CASE(phrases[i].sentence);
        buf_clear(&out);
        CHECK(header_write_phrase(&out, slice_from_str(phrases[i].name), phrases[i].utf8_allowed));
        CHECK_SLICE(buf_slice(&out), slice_from_str(phrases[i].want));
    }
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        struct arena arena;
        struct header_value v;
        CASE(params[i].sentence);
        buf_clear(&out);
        CHECK(header_write_param(&out, SLICE("n"), slice_from_str(params[i].value)));
        CHECK_SLICE(buf_slice(&out), slice_from_str(params[i].want));
        arena_init(&arena, 1 << 16);
        CHECK_INT(header_parse_value(buf_slice(&out), &arena, &v), RC_NONE);
        CHECK_SLICE(header_value_param(&v, SLICE("n")), slice_from_str(params[i].value));
        arena_free(&arena);
    }
    buf_free(&out);
}

int main(void)
{
    check_sections();
    check_finding();
    check_values();
    check_many_params();
    check_writes();
    check_phrases_and_params();
    return check_done();
}
