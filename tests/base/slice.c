/* Slices: the sentences of slice.h, with the ends of every range. */
#include "base/slice.h"

#include "check.h"

static void find_cases(void)
{
    static const struct {
        const char *sentence, *haystack, *needle;
        size_t exact, nocase;
    } cases[] = {
        { "an empty needle is found at 0",                    "abc",     "",      0, 0 },
        { "an empty needle is found in nothing",              "",        "",      0, 0 },
        { "nothing is found in nothing",                      "",        "a",     0, 0 },
        { "a needle longer than the haystack is not found",   "ab",      "abc",   2, 2 },
        { "a needle equal to the haystack is found at 0",     "abc",     "abc",   0, 0 },
        { "a needle at the very end is found",                "xxabc",   "abc",   2, 2 },
        { "a needle torn at the end is not found",            "xxab",    "abc",   4, 4 },
        { "case differs: only the caseless search finds it",  "xxABc",   "abC",   5, 2 },
        { "a false start does not hide a match",              "aaab",    "aab",   1, 1 },
        { "letters differ from punctuation 0x20 away",        "[@`{",    "{",     3, 3 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        struct slice haystack = slice_from_str(cases[i].haystack), needle = slice_from_str(cases[i].needle);
        CHECK_INT(slice_find(haystack, needle), cases[i].exact);
        CHECK_INT(slice_find_nocase(haystack, needle), cases[i].nocase);
    }
    CASE("case folding is ASCII's alone");
    CHECK(!slice_equal_nocase(SLICE("\xc3\x84"), SLICE("\xc3\xa4")));
    CHECK(!slice_equal_nocase(SLICE("@[`{"), SLICE("`{@[")));
    CASE("a NUL is a byte like any other");
    CHECK_INT(slice_find(SLICE("a\0bc"), SLICE("\0b")), 1);
    CHECK_INT(slice_find_byte(SLICE("a\0b"), '\0'), 1);
    CHECK_INT(slice_find_byte(SLICE("ab"), '\0'), 2);
    CHECK_INT(slice_find_byte(SLICE_NONE, 'a'), 0);
}

static void number_cases(void)
{
    static const struct {
        const char *sentence, *in;
        uint64_t max;
        bool ok;
        uint64_t value;
        const char *rest;
    } cases[] = {
        { "zero is a number",                            "0",                    UINT64_MAX, true,  0, "" },
        { "leading zeros are digits",                    "0000000000000000000000007x", 9,    true,  7, "x" },
        { "a number stops at the first other byte",      "12 34",                99,         true,  12, " 34" },
        { "exactly the maximum is taken",                "4294967295",           UINT32_MAX, true,  UINT32_MAX, "" },
        { "one over the maximum is refused",             "4294967296",           UINT32_MAX, false, 0, "4294967296" },
        { "exactly 2^64-1 is taken",                     "18446744073709551615", UINT64_MAX, true,  UINT64_MAX, "" },
        { "2^64 is refused",                             "18446744073709551616", UINT64_MAX, false, 0, "18446744073709551616" },
        { "a very long number is refused",               "99999999999999999999999", UINT64_MAX, false, 0, "99999999999999999999999" },
        { "a digit over a one digit maximum is refused", "9",                    8,          false, 0, "9" },
        { "zero is at most zero",                        "0a",                   0,          true,  0, "a" },
        { "a sign is no digit",                          "-1",                   9,          false, 0, "-1" },
        { "nothing is no number",                        "",                     9,          false, 0, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        struct slice in = slice_from_str(cases[i].in);
        uint64_t value = 0;
        CHECK_INT(slice_take_number(&in, cases[i].max, &value), cases[i].ok);
        CHECK(value == cases[i].value);
        CHECK_SLICE(in, slice_from_str(cases[i].rest));
    }
}

static void take_cases(void)
{
    CASE("a sub-slice is clamped to the slice");
    CHECK_SLICE(slice_sub(SLICE("abc"), 1, 1), SLICE("b"));
    CHECK_SLICE(slice_sub(SLICE("abc"), 1, SIZE_MAX), SLICE("bc"));
    CHECK_SLICE(slice_sub(SLICE("abc"), 3, 1), SLICE(""));
    CHECK_SLICE(slice_sub(SLICE("abc"), SIZE_MAX, SIZE_MAX), SLICE(""));
    CHECK(slice_sub(SLICE_NONE, 1, 1).ptr == NULL);

    CASE("taking moves past what is returned");
    struct slice in = SLICE("key: value");
    CHECK(slice_take_prefix_nocase(&in, SLICE("KEY")));
    CHECK(!slice_take_byte(&in, ' '));
    CHECK(slice_take_byte(&in, ':'));
    CHECK_INT(slice_take_while(&in, byte_is_space).len, 1);
    CHECK_SLICE(slice_take(&in, 2), SLICE("va"));
    CHECK_SLICE(slice_take(&in, 99), SLICE("lue"));
    CHECK_SLICE(slice_take(&in, 1), SLICE(""));
    CHECK(!slice_take_byte(&in, ':'));

    CASE("take_until consumes one separator and returns none");
    in = SLICE("a,,b");
    CHECK_SLICE(slice_take_until(&in, ','), SLICE("a"));
    CHECK_SLICE(slice_take_until(&in, ','), SLICE(""));
    CHECK_SLICE(slice_take_until(&in, ','), SLICE("b"));
    CHECK_SLICE(slice_take_until(&in, ','), SLICE(""));

    CASE("trimming takes SP, HTAB, CR and LF from both sides and nothing else");
    CHECK_SLICE(slice_trim(SLICE("\t \r\n a b\v \r\n")), SLICE("a b\v"));
    CHECK_SLICE(slice_trim(SLICE(" \t")), SLICE(""));
    CHECK_SLICE(slice_trim(SLICE_NONE), SLICE(""));
}

static void compare_cases(void)
{
    CASE("order is bytewise, unsigned, and a prefix comes first");
    CHECK(slice_compare(SLICE("a"), SLICE("b")) < 0);
    CHECK(slice_compare(SLICE("b"), SLICE("ab")) > 0);
    CHECK(slice_compare(SLICE("a"), SLICE("ab")) < 0);
    CHECK(slice_compare(SLICE("\x80"), SLICE("a")) > 0);
    CHECK(slice_compare(SLICE_NONE, SLICE("")) == 0);
    CHECK(slice_compare(SLICE_NONE, SLICE("a")) < 0);
    CASE("an empty slice equals any empty slice");
    CHECK(slice_equal(SLICE_NONE, SLICE("")));
    CHECK(slice_equal_nocase(SLICE_NONE, SLICE("")));
    CHECK(slice_equal_secret(SLICE_NONE, SLICE("")));
    CASE("prefixes and suffixes longer than the slice do not match");
    CHECK(slice_ends_nocase(SLICE("mail.EXAMPLE"), SLICE(".example")));
    CHECK(slice_ends_nocase(SLICE("x"), SLICE("")));
    CHECK(!slice_ends_nocase(SLICE("le"), SLICE("example")));
    CHECK(slice_starts_nocase(SLICE("RCPT TO:"), SLICE("rcpt to:")));
    CHECK(!slice_starts_nocase(SLICE("RC"), SLICE("rcpt")));
    CASE("secrets are equal when every byte is");
    CHECK(slice_equal_secret(SLICE("s\0cret"), SLICE("s\0cret")));
    CHECK(!slice_equal_secret(SLICE("s\0cret"), SLICE("s\0creT")));
    CHECK(!slice_equal_secret(SLICE("secret"), SLICE("secre")));
    CASE("a string must fit with its NUL and hold none");
    char out[4] = "zzz";
    CHECK(slice_to_str(SLICE("abc"), out, sizeof out));
    CHECK_STR(out, "abc");
    CHECK(!slice_to_str(SLICE("abcd"), out, sizeof out));
    CHECK_STR(out, "");
    CHECK(!slice_to_str(SLICE("a\0b"), out, sizeof out));
    CHECK(slice_to_str(SLICE_NONE, out, sizeof out));
    CHECK(!slice_to_str(SLICE_NONE, out, 0));
}

static void class_cases(void)
{
    CASE("byte classes are those of ASCII");
    unsigned alpha = 0, digit = 0, alnum = 0, space = 0, folded = 0;
    for (int byte = 0; byte < 256; byte++) {
        alpha += byte_is_alpha((unsigned char)byte);
        digit += byte_is_digit((unsigned char)byte);
        alnum += byte_is_alnum((unsigned char)byte);
        space += byte_is_space((unsigned char)byte);
        folded += byte_lower((char)(unsigned char)byte) != (char)(unsigned char)byte;
    }
    CHECK_INT(alpha, 52);
    CHECK_INT(digit, 10);
    CHECK_INT(alnum, 62);
    CHECK_INT(space, 2);
    CHECK_INT(folded, 26);
}

int main(void)
{
    find_cases();
    number_cases();
    take_cases();
    compare_cases();
    class_cases();
    return check_done();
}
