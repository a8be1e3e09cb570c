/* Reading JSON. */
#include "cli/json.h"

#include "check.h"

static void test_values(void)
{
    static const struct { const char *sentence, *text, *want; } cases[] = {
        { "a string", "{\"v\":\"a b\"}", "a b" },
        { "white space anywhere", " {\t\"v\"\r\n: \"x\" } ", "x" },
        { "escapes", "{\"v\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t" },
        { "a code point", "{\"v\":\"\\u00e9\"}", "\303\251" },
        { "a code point of two units", "{\"v\":\"\\uD83D\\ude00\"}", "\360\237\230\200" },
        { "UTF-8 as it is", "{\"v\":\"\303\251\"}", "\303\251" },
        { "a number as it stands", "{\"v\":-12.5e3}", "-12.5e3" },
        { "true", "{\"v\":true}", "true" },
        { "null", "{\"v\":null}", "null" },
        { "the first of a name counts", "{\"v\":\"1\",\"v\":\"2\"}", "1" },
        { "what stands before does not matter", "{\"a\":[1,{\"v\":\"no\"},[]],\"b\":{},\"v\":\"yes\"}", "yes" },
        { "a name that is not there", "{\"w\":1}", "" },
        { "a list has no names", "[\"v\"]", "" },
    };
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json *root;
        CASE(cases[i].sentence);
        CHECK_INT(json_parse(slice_from_str(cases[i].text), &arena, &root, NULL), RC_OK);
        CHECK_STR(json_text(root, "v").len > 0 ? arena_str(&arena, json_text(root, "v")) : "", cases[i].want);
    }
    arena_free(&arena);
}

static void test_refused(void)
{
    static const struct { const char *sentence; struct slice text; } cases[] = {
        { "nothing", SLICE_INIT("") },
        { "a word", SLICE_INIT("yes") },
        { "an open object", SLICE_INIT("{\"a\":1") },
        { "an open list", SLICE_INIT("[1,") },
        { "an open string", SLICE_INIT("\"a") },
        { "a comma too many", SLICE_INIT("[1,]") },
        { "a name without quotes", SLICE_INIT("{a:1}") },
        { "a name without a value", SLICE_INIT("{\"a\"}") },
        { "two values", SLICE_INIT("1 2") },
        { "an unknown escape", SLICE_INIT("\"\\x\"") },
        { "half a code point", SLICE_INIT("\"\\u00e\"") },
        { "half of two units", SLICE_INIT("\"\\ud83d\"") },
        { "two halves that do not fit", SLICE_INIT("\"\\ud83d\\u0041\"") },
        { "the second half alone", SLICE_INIT("\"\\ude00\"") },
        { "a line end in a string", SLICE_INIT("\"a\nb\"") },
        { "a NUL after a backslash", SLICE_INIT("\"\\\0\"") },
    };
    struct arena arena;
    struct json *root;
    struct buf deep;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        CHECK_INT(json_parse(cases[i].text, &arena, &root, NULL), RC_PERM);
    }
    CASE("deeper than a stack should go");
    buf_init(&deep, 1 << 20);
    for (unsigned i = 0; i < 100000; i++)
        buf_append_byte(&deep, '[');
    CHECK_INT(json_parse(buf_slice(&deep), &arena, &root, NULL), RC_PERM);
    buf_free(&deep);
    arena_free(&arena);
}

static void test_typed(void)
{
    struct arena arena;
    struct json *root;
    arena_init(&arena, 1 << 16);
    CASE("numbers and flags");
    CHECK_INT(json_parse(SLICE("{\"n\":-7,\"big\":1795334018,\"t\":true,\"f\":false,\"s\":\"12\"}"), &arena, &root, NULL), RC_OK);
    CHECK_INT(json_number(root, "n"), -7);
    CHECK_INT(json_number(root, "big"), 1795334018);
    CHECK_INT(json_number(root, "x"), 0);
    CHECK(json_flag(root, "t") && !json_flag(root, "f") && !json_flag(root, "x"));
    CHECK(json_get(NULL, "n") == NULL);
    arena_free(&arena);
}

int main(void)
{
    test_values();
    test_refused();
    test_typed();
    return check_done();
}
