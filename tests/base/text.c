/* Base64 with the vectors of RFC 4648 10, hex, UTF-8, JSON strings and CRC-32C, with what must be refused. */
#include "base/text.h"

#include "check.h"

static void base64_cases(void)
{
    static const struct {
        const char *sentence;
        const char *encoded;
        enum rc rc;
        const char *decoded;
    } cases[] = {
        { "nothing",                                     "",         RC_OK,   "" },
        { "one byte has two pads",                       "Zg==",     RC_OK,   "f" },
        { "two bytes have one pad",                      "Zm8=",     RC_OK,   "fo" },
        { "three bytes have none",                       "Zm9v",     RC_OK,   "foo" },
        { "four bytes",                                  "Zm9vYg==", RC_OK,   "foob" },
        { "five bytes",                                  "Zm9vYmE=", RC_OK,   "fooba" },
        { "six bytes",                                   "Zm9vYmFy", RC_OK,   "foobar" },
        { "the last two letters of the alphabet",        "+/+/",     RC_OK,   "\xfb\xff\xbf" },
        { "missing padding is refused",                  "Zg",       RC_PERM, "" },
        { "short padding is refused",                    "Zg=",      RC_PERM, "" },
        { "too much padding is refused",                 "Z===",     RC_PERM, "" },
        { "padding alone is refused",                    "====",     RC_PERM, "" },
        { "padding in the middle is refused",            "Zg==Zm9v", RC_PERM, "" },
        { "a pad before a digit is refused",             "Zm=v",     RC_PERM, "" },
        { "four over is refused",                        "Zm9v=",    RC_PERM, "" },
        { "bits left over in two pads are refused",      "Zh==",     RC_PERM, "" },
        { "bits left over in one pad are refused",       "Zm9=",     RC_PERM, "" },
        { "white space is refused",                      "Zm9v\r\n", RC_PERM, "" },
        { "white space within is refused",               "Zm 9",     RC_PERM, "" },
        { "the URL alphabet is refused",                 "-_-_",     RC_PERM, "" },
        { "bytes over 0x7f are refused",                 "Zm9\xff",  RC_PERM, "" },
        { "a wrong byte early on is refused",            "*m9vZm9v", RC_PERM, "" },
    };
    struct buf out;
    buf_init(&out, 100);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        buf_clear(&out);
        CHECK_INT(base64_decode(slice_from_str(cases[i].encoded), &out), cases[i].rc);
        CHECK_SLICE(buf_slice(&out), slice_from_str(cases[i].decoded));
        buf_clear(&out);
        if (cases[i].rc == RC_OK) {
            CHECK(base64_encode(slice_from_str(cases[i].decoded), &out));
            CHECK_SLICE(buf_slice(&out), slice_from_str(cases[i].encoded));
        }
    }
    CASE("NUL is no digit");
    CHECK_INT(base64_decode(SLICE("Zm9\0"), &out), RC_PERM);
    CASE("exactly 64 of the 256 bytes are digits");
    int digits = 0;
    for (int byte = 0; byte < 256; byte++) {
        char group[4] = { 'A', 'A', 'A', (char)(unsigned char)byte };
        buf_clear(&out);
        digits += byte != '=' && base64_decode((struct slice){ group, 4 }, &out) == RC_OK;
    }
    CHECK_INT(digits, 64);
    buf_free(&out);
}

static void base64_limit_cases(void)
{
    struct buf out;
    buf_init(&out, 3);
    CASE("decoding to exactly the maximum fits, one byte more is refused");
    CHECK_INT(base64_decode(SLICE("Zm9v"), &out), RC_OK);
    buf_clear(&out);
    CHECK_INT(base64_decode(SLICE("Zm9vYg=="), &out), RC_PERM);
    CHECK(out.overflow);
    CHECK_INT(buf_len(&out), 0);
    CASE("encoding past the maximum appends nothing, whatever the length claimed");
    CHECK(!base64_encode(SLICE("f"), &out));
    CHECK(!base64_encode((struct slice){ "f", SIZE_MAX }, &out));
    CHECK(!hex_encode((struct slice){ "f", SIZE_MAX }, &out));
    CHECK_INT(buf_len(&out), 0);
    buf_free(&out);

    CASE("every length comes back as it went in");
    char bytes[200];
    struct buf back;
    buf_init(&out, 1000);
    buf_init(&back, 1000);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(unsigned char)(i * 37 + 5);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        buf_clear(&out);
        buf_clear(&back);
        CHECK(base64_encode((struct slice){ bytes, len }, &out));
        CHECK_INT(base64_decode(buf_slice(&out), &back), RC_OK);
        CHECK(slice_equal(buf_slice(&back), (struct slice){ bytes, len }));
    }
    buf_free(&out);
    buf_free(&back);
}

static void hex_cases(void)
{
    struct buf out;
    buf_init(&out, 8);
    CASE("hex is lower case out, either case in");
    CHECK(hex_encode(SLICE("\x00\xaf\xff"), &out));
    CHECK_SLICE(buf_slice(&out), SLICE("00afff"));
    buf_clear(&out);
    CHECK_INT(hex_decode(SLICE("00aFFf"), &out), RC_OK);
    CHECK_SLICE(buf_slice(&out), SLICE("\x00\xaf\xff"));
    CASE("an odd length, other bytes and an overflow are refused and leave nothing");
    buf_clear(&out);
    CHECK_INT(hex_decode(SLICE("abc"), &out), RC_PERM);
    CHECK_INT(hex_decode(SLICE("0g"), &out), RC_PERM);
    CHECK_INT(hex_decode(SLICE("@0"), &out), RC_PERM);
    CHECK_INT(hex_decode(SLICE("0x"), &out), RC_PERM);
    CHECK_INT(hex_decode(SLICE("112233445566778899"), &out), RC_PERM);
    CHECK_INT(buf_len(&out), 0);
    CHECK_INT(hex_decode(SLICE(""), &out), RC_OK);
    buf_free(&out);
}

static void utf8_cases(void)
{
    static const struct {
        const char *sentence;
        struct slice in;
        enum rc rc;
        uint32_t code_point;
    } cases[] = {
        { "ASCII is itself",                      { "A", 1 },                RC_OK,   'A' },
        { "NUL is a code point",                  { "\0", 1 },               RC_OK,   0 },
        { "the last of one byte",                 { "\x7f", 1 },             RC_OK,   0x7f },
        { "the first of two bytes",               { "\xc2\x80", 2 },         RC_OK,   0x80 },
        { "the last of two bytes",                { "\xdf\xbf", 2 },         RC_OK,   0x7ff },
        { "the first of three bytes",             { "\xe0\xa0\x80", 3 },     RC_OK,   0x800 },
        { "the last before the surrogates",       { "\xed\x9f\xbf", 3 },     RC_OK,   0xd7ff },
        { "the first after the surrogates",       { "\xee\x80\x80", 3 },     RC_OK,   0xe000 },
        { "the last of three bytes",              { "\xef\xbf\xbf", 3 },     RC_OK,   0xffff },
        { "the first of four bytes",              { "\xf0\x90\x80\x80", 4 }, RC_OK,   0x10000 },
        { "the last of all",                      { "\xf4\x8f\xbf\xbf", 4 }, RC_OK,   0x10ffff },
        { "nothing is torn",                      { "", 0 },                 RC_PERM, 0 },
        { "a lone continuation byte is refused",  { "\x80", 1 },             RC_PERM, 0 },
        { "an overlong NUL is refused",           { "\xc0\x80", 2 },         RC_PERM, 0 },
        { "an overlong slash is refused",         { "\xc1\xaf", 2 },         RC_PERM, 0 },
        { "an overlong three byte form",          { "\xe0\x9f\xbf", 3 },     RC_PERM, 0 },
        { "an overlong four byte form",           { "\xf0\x8f\xbf\xbf", 4 }, RC_PERM, 0 },
        { "the first surrogate is refused",       { "\xed\xa0\x80", 3 },     RC_PERM, 0 },
        { "the last surrogate is refused",        { "\xed\xbf\xbf", 3 },     RC_PERM, 0 },
        { "one past the last is refused",         { "\xf4\x90\x80\x80", 4 }, RC_PERM, 0 },
        { "five byte forms are refused",          { "\xf8\x88\x80\x80\x80", 5 }, RC_PERM, 0 },
        { "0xff is refused",                      { "\xff", 1 },             RC_PERM, 0 },
        { "two bytes torn after one",             { "\xc2", 1 },             RC_PERM, 0 },
        { "three bytes torn after two",           { "\xe2\x82", 2 },         RC_PERM, 0 },
        { "four bytes torn after three",          { "\xf0\x9f\x98", 3 },     RC_PERM, 0 },
        { "a sequence broken by ASCII",           { "\xe2\x82" "a", 3 },     RC_PERM, 0 },
        { "a sequence broken by another lead",    { "\xe2\xc2\xa9", 3 },     RC_PERM, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        struct slice in = cases[i].in;
        uint32_t code_point = 0;
        CHECK_INT(utf8_take(&in, &code_point), cases[i].rc);
        CHECK_INT(code_point, cases[i].code_point);
        CHECK_INT(in.len, cases[i].rc == RC_OK ? 0 : cases[i].in.len);
        if (cases[i].in.len > 0)
            CHECK_INT(utf8_is_valid(cases[i].in), cases[i].rc == RC_OK);
    }
}

static void utf8_all_cases(void)
{
    CASE("every code point but the surrogates comes back as it went in");
    struct buf out;
    buf_init(&out, 4);
    unsigned wrong = 0;
    for (uint32_t code_point = 0; code_point < 0x110010; code_point++) {
        bool exists = code_point <= 0x10ffff && !(code_point >= 0xd800 && code_point <= 0xdfff);
        buf_clear(&out);
        if (utf8_append(&out, code_point) != exists) {
            wrong++;
        } else if (exists) {
            struct slice in = buf_slice(&out);
            uint32_t back = 0;
            wrong += utf8_take(&in, &back) != RC_OK || back != code_point || in.len != 0;
        }
    }
    CHECK_INT(wrong, 0);
    buf_free(&out);

    CASE("one wrong byte is seen at every place of a long text");
    char text[64];
    memset(text, 'a', sizeof text);
    for (size_t at = 0; at < sizeof text; at++) {
        text[at] = '\x80';
        CHECK(!utf8_is_valid((struct slice){ text, sizeof text }));
        CHECK(!text_is_ascii((struct slice){ text, sizeof text }));
        CHECK(text_is_ascii((struct slice){ text, at }));
        text[at] = 'a';
    }
    CHECK(utf8_is_valid(SLICE_NONE));
    CHECK(text_is_ascii(SLICE_NONE));
    CHECK(utf8_is_valid(SLICE("abcdefg\xc3\xa4hijklmnopqrs\xf0\x9f\x98\x80")));
}

static void json_cases(void)
{
    static const struct {
        const char *sentence;
        struct slice in;
        const char *out;
    } cases[] = {
        { "nothing is two quotes",                   { "", 0 },             "\"\"" },
        { "quote and backslash are escaped",         { "a\"b\\", 4 },       "\"a\\\"b\\\\\"" },
        { "controls with a short form use it",       { "\b\f\n\r\t", 5 },   "\"\\b\\f\\n\\r\\t\"" },
        { "NUL and other controls are four digits",  { "\0\x1f\v", 3 },     "\"\\u0000\\u001f\\u000b\"" },
        { "a slash and DEL stay",                    { "/\x7f", 2 },        "\"/\x7f\"" },
        { "UTF-8 stays",                             { "\xc3\xa4", 2 },     "\"\xc3\xa4\"" },
        { "Latin-1 becomes U+FFFD",                  { "a\xe4" "b", 3 },    "\"a\xef\xbf\xbd" "b\"" },
        { "a torn end becomes U+FFFD for each byte", { "\xe2\x82", 2 },     "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
    };
    struct buf out;
    buf_init(&out, 100);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        buf_clear(&out);
        CHECK(json_append_string(&out, cases[i].in));
        CHECK_SLICE(buf_slice(&out), slice_from_str(cases[i].out));
    }
    buf_free(&out);
    CASE("a string that does not fit whole appends nothing, for every maximum");
    for (size_t max = 0; max < 16; max++) {
        buf_init(&out, max);
        CHECK(!json_append_string(&out, SLICE("ab\n\xff\x01z")));
        CHECK_INT(buf_len(&out), 0);
        CHECK(out.overflow);
        buf_free(&out);
    }
}

static void crc_cases(void)
{
    static const char zeros[32];
    char ones[32], rising[32];
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < sizeof rising; i++)
        rising[i] = (char)i;
    CASE("CRC-32C gives the vectors of RFC 3720 B.4");
    CHECK_INT(crc32c(0, zeros, 32), 0x8a9136aa);
    CHECK_INT(crc32c(0, ones, 32), 0x62a8ab43);
    CHECK_INT(crc32c(0, rising, 32), 0x46dd794e);
    CHECK_INT(crc32c(0, "123456789", 9), 0xe3069283);
    CHECK_INT(crc32c(0, NULL, 0), 0);
    CASE("instruction and tables agree at every length, offset and cut");
    static char data[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(unsigned char)(i * i * 31 + i);
    for (size_t from = 0; from < 9; from++)
        for (size_t len = 0; len + from <= sizeof data; len++) {
            uint32_t whole = crc32c(0, data + from, len);
            size_t cut = len / 3;
            CHECK(whole == crc32c_by_table(0, data + from, len));
            CHECK(whole == crc32c(crc32c_by_table(0, data + from, cut), data + from + cut, len - cut));
        }
}

int main(void)
{
    base64_cases();
    base64_limit_cases();
    hex_cases();
    utf8_cases();
    utf8_all_cases();
    json_cases();
    crc_cases();
    return check_done();
}
