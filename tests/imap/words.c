/* The small grammars of IMAP: mailbox patterns, strings as they are written, case folding, arguments. */
#include "check.h"

#include "base/text.h"
#include "imap/fold.h"
#include "imap/parser.h"
#include "imap/pattern.h"
#include "imap/write.h"

static void test_patterns(void)
{
    static const struct { const char *name, *pattern, *mailbox; bool matches; } cases[] = {
        { "a name matches itself", "a/b", "a/b", true },
        { "and nothing longer", "a", "a/b", false },
        { "% stays within a level", "%", "a/b", false },
        { "% takes a whole level", "%", "ab", true },
        { "% takes nothing too", "a%", "a", true },
        { "one % a level", "%/%", "a/b", true },
        { "* takes levels", "*", "a/b/c", true },
        { "* in the middle", "a*c", "a/b/c", true },
        { "* and then %", "*%", "a/b", true },
        { "% after * may start at any level", "*/%x", "a/b/cx", true },
        { "the last letter counts", "*x", "a/b/cy", false },
        { "INBOX has no case", "iNb%", "INBOX", true },
        { "other names have", "a", "A", false },
        { "nothing matches nothing", "", "", true },
        { "nothing does not match something", "", "a", false },
        { "UTF-8 is bytes", "gr\xc3\xbc%", "gr\xc3\xbc\xc3\x9f" "e", true },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE(cases[i].name);
        CHECK_INT(imap_pattern_matches(slice_from_str(cases[i].pattern), slice_from_str(cases[i].mailbox)), cases[i].matches);
    }
}

/* What a pattern means, straight from RFC 3501 6.3.8; exponential, so only for short ones. */
static bool matches_plainly(const char *pattern, const char *name)
{
    if (*pattern == '\0')
        return *name == '\0';
    if (*pattern == '*')
        return matches_plainly(pattern + 1, name) || (*name != '\0' && matches_plainly(pattern, name + 1));
    if (*pattern == '%')
        return matches_plainly(pattern + 1, name) || (*name != '\0' && *name != '/' && matches_plainly(pattern, name + 1));
    return *pattern == *name && matches_plainly(pattern + 1, name + 1);
}

static void test_every_short_pattern(void)
{
    static const char letters[] = "a/*%";
    char pattern[8], name[8];
    CASE("matching with two places to go back to is the same as trying everything");
    for (unsigned p = 0; p < 1u << 14; p++) {
        size_t len = 0;
        for (unsigned rest = p | 1u << 14; rest > 3 && len < 7; rest >>= 2)
            pattern[len++] = letters[rest & 3];
        pattern[len - (p % 3)] = '\0';
        for (unsigned n = 0; n < 1u << 6; n++) {
            for (unsigned i = 0; i < 6; i++)
                name[i] = "a/"[n >> i & 1];
            name[6 - n % 4] = '\0';
            bool got = imap_pattern_matches(slice_from_str(pattern), slice_from_str(name));
            if (got != matches_plainly(pattern, name)) {
                fprintf(stderr, "\"%s\" and \"%s\"\n", pattern, name);
                CHECK(got == !got);
            }
        }
    }
    char many[64], as[200];
    CASE("the worst pattern costs little");
    for (size_t i = 0; i < 62; i += 2)
        memcpy(many + i, i % 4 == 0 ? "*a" : "%a", 2);
    memcpy(many + 62, "b", 2);
    memset(as, 'a', sizeof(as) - 1);
    as[sizeof(as) - 1] = '\0';
    CHECK(!imap_pattern_matches(slice_from_str(many), slice_from_str(as)));
}

static void test_strings(void)
{
    static const struct { const char *name; struct slice text; const char *string, *astring; } cases[] = {
        { "a word needs no quotes as astring", SLICE_INIT("INBOX"), "\"INBOX\"", "INBOX" },
        { "a space does", SLICE_INIT("a b"), "\"a b\"", "\"a b\"" },
        { "quotes and backslashes are escaped", SLICE_INIT("a\"\\"), "\"a\\\"\\\\\"", "\"a\\\"\\\\\"" },
        { "a line end makes a literal", SLICE_INIT("a\r\n"), "{3}\r\na\r\n", "{3}\r\na\r\n" },
        { "eight bits make a literal", SLICE_INIT("\xc3\xbc"), "{2}\r\n\xc3\xbc", "{2}\r\n\xc3\xbc" },
        { "NIL as a name is quoted", SLICE_INIT("nil"), "\"nil\"", "\"nil\"" },
        { "nothing is a string", SLICE_INIT(""), "\"\"", "\"\"" },
        { "what means something in patterns is quoted", SLICE_INIT("a%*"), "\"a%*\"", "\"a%*\"" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        buf_init(&out, 1000);
        CASE(cases[i].name);
        CHECK(imap_write_string(&out, cases[i].text));
        CHECK_SLICE(buf_slice(&out), slice_from_str(cases[i].string));
        buf_clear(&out);
        CHECK(imap_write_astring(&out, cases[i].text));
        CHECK_SLICE(buf_slice(&out), slice_from_str(cases[i].astring));
        buf_free(&out);
    }
}

static void test_folding(void)
{
    static const struct { const char *name, *upper, *lower; } cases[] = {
        { "ASCII", "Hello, WORLD", "hello, world" },
        { "Latin", "\xc3\x84\xc3\x96\xc3\x9c\xc3\x89 \xc5\x81\xc5\xbd", "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa9 \xc5\x82\xc5\xbe" },
        { "the multiplication sign is no letter", "\xc3\x97", "\xc3\x97" },
        { "Greek, with its two small sigmas", "\xce\xa3\xcf\x82", "\xcf\x83\xcf\x83" },
        { "Cyrillic", "\xd0\x9f\xd0\xa0\xd0\x98\xd0\x81", "\xd0\xbf\xd1\x80\xd0\xb8\xd1\x91" },
        { "Vietnamese", "\xe1\xba\xa4", "\xe1\xba\xa5" },
        { "full width", "\xef\xbc\xa1", "\xef\xbd\x81" },
        { "what is not UTF-8 stays", "\xff\xc3", "\xff\xc3" },
        { "what has no case stays", "\xe4\xb8\xad\xf0\x9f\x98\x80", "\xe4\xb8\xad\xf0\x9f\x98\x80" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        CASE(cases[i].name);
        snprintf(text, sizeof(text), "%s", cases[i].upper);
        imap_fold(text, strlen(text));
        CHECK_STR(text, cases[i].lower);
    }
    CASE("folding keeps UTF-8 valid and is its own fixed point, for every code point");
    for (uint32_t c = 1; c < 0x110000; c++) {
        struct buf text;
        buf_init(&text, 16);
        if (utf8_append(&text, c)) {
            char once[16] = { 0 }, twice[16] = { 0 };
            memcpy(once, buf_slice(&text).ptr, buf_len(&text));
            imap_fold(once, buf_len(&text));
            memcpy(twice, once, sizeof(twice));
            imap_fold(twice, buf_len(&text));
            if (!utf8_is_valid((struct slice){ once, buf_len(&text) }) || memcmp(once, twice, sizeof(once)) != 0) {
                fprintf(stderr, "U+%04x\n", (unsigned)c);
                CHECK(c == 0);
            }
        }
        buf_free(&text);
    }
}

static void test_arguments(void)
{
    static const struct { const char *name; struct slice in; bool ok; const char *value; size_t left; } cases[] = {
        { "an atom", SLICE_INIT("abc def"), true, "abc", 4 },
        { "a closing bracket may stand in one", SLICE_INIT("a]b"), true, "a]b", 0 },
        { "a quoted string", SLICE_INIT("\"a b\" c"), true, "a b", 2 },
        { "with escapes", SLICE_INIT("\"a\\\"b\\\\\""), true, "a\"b\\", 0 },
        { "a literal", SLICE_INIT("{3}\r\na\r\n x"), true, "a\r\n", 2 },
        { "a literal that nobody waited for", SLICE_INIT("{1+}\r\n\""), true, "\"", 0 },
        { "an empty literal", SLICE_INIT("{0}\r\n"), true, "", 0 },
        { "a literal longer than the command: refused", SLICE_INIT("{4}\r\nabc"), false, "", 0 },
        { "a quoted string that is not closed: refused", SLICE_INIT("\"abc"), false, "", 0 },
        { "an escape at the end: refused", SLICE_INIT("\"abc\\\""), false, "", 0 },
        { "nothing: refused", SLICE_INIT(""), false, "", 0 },
        { "a list: refused", SLICE_INIT("(a)"), false, "", 0 },
        { "a wildcard: refused", SLICE_INIT("%"), false, "", 0 },
    };
    struct arena arena;
    arena_init(&arena, 10000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct imap_parser p;
        struct slice value;
        CASE(cases[i].name);
        imap_parser_init(&p, cases[i].in, &arena);
        CHECK_INT(imap_parse_astring(&p, &value), cases[i].ok);
        CHECK((p.error == NULL) == cases[i].ok);
        if (!cases[i].ok)
            continue;
        CHECK_SLICE(value, slice_from_str(cases[i].value));
        CHECK_INT(p.in.len, cases[i].left);
    }
    arena_free(&arena);
}

static void test_sets(void)
{
    static const struct { const char *text; bool ok; } cases[] = {
        { "1", true }, { "1:*", true }, { "*", true }, { "*:3,5", true }, { "1,2,3:4", true }, { "4294967295", true },
        { "", false }, { "0", false }, { "1:", false }, { ":1", false }, { "1,", false }, { ",1", false }, { "1:2:3", false },
        { "4294967296", false }, { "**", false }, { "1:0", false },
    };
    struct arena arena;
    arena_init(&arena, 1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct imap_parser p;
        struct slice set;
        CASE(cases[i].text);
        imap_parser_init(&p, slice_from_str(cases[i].text), &arena);
        CHECK_INT(imap_parse_set(&p, &set), cases[i].ok);
    }
    arena_free(&arena);
}

int main(void)
{
    test_patterns();
    test_every_short_pattern();
    test_strings();
    test_folding();
    test_arguments();
    test_sets();
    return check_done();
}
