/* Encoded words, transfer encodings, charsets. */
#include "mail/encoded.h"

#include "base/text.h"
#include "check.h"

#include <sys/resource.h>

struct example {
    const char *sentence;
    struct slice input, output;
};

static const struct example words[] = {
    { "plain text is itself", SLICE_INIT("Hello, world"), SLICE_INIT("Hello, world") },
    { "a Q word", SLICE_INIT("=?iso-8859-1?Q?Keld_J=F8rn?="), SLICE_INIT("Keld J\xc3\xb8rn") },
    { "a B word", SLICE_INIT("=?utf-8?B?R3LDvMOfZQ==?="), SLICE_INIT("Gr\xc3\xbc\xc3\x9f" "e") },
    { "lower case", SLICE_INIT("=?UTF-8?b?R3LDvMOfZQ==?="), SLICE_INIT("Gr\xc3\xbc\xc3\x9f" "e") },
    { "text around a word", SLICE_INIT("Re: =?utf-8?q?a?= b"), SLICE_INIT("Re: a b") },
    { "white space between two words goes", SLICE_INIT("=?utf-8?q?a?=  \t =?utf-8?q?b?="), SLICE_INIT("ab") },
    { "text between two words stays", SLICE_INIT("=?utf-8?q?a?= x =?utf-8?q?b?="), SLICE_INIT("a x b") },
    { "two charsets", SLICE_INIT("=?iso-8859-1?q?=E4?= =?utf-8?q?=C3=A4?="), SLICE_INIT("\xc3\xa4\xc3\xa4") },
    { "a character cut in two", SLICE_INIT("=?utf-8?B?w6Q=?= =?utf-8?Q?=C3?= =?utf-8?Q?=A4?="),
      SLICE_INIT("\xc3\xa4\xc3\xa4") },
    { "a language", SLICE_INIT("=?utf-8*de?q?=C3=A4?="), SLICE_INIT("\xc3\xa4") },
    { "a word inside a word of text", SLICE_INIT("a=?utf-8?q?b?=c"), SLICE_INIT("abc") },
    { "spaces in a Q word are forgiven", SLICE_INIT("=?utf-8?q?a b?="), SLICE_INIT("a b") },
    { "missing padding is forgiven", SLICE_INIT("=?utf-8?b?YQ?="), SLICE_INIT("a") },
    { "a bad escape stays", SLICE_INIT("=?utf-8?q?a=ZZ=?="), SLICE_INIT("a=ZZ=") },
    { "no end: stays", SLICE_INIT("=?utf-8?q?a"), SLICE_INIT("=?utf-8?q?a") },
    { "no such encoding: stays", SLICE_INIT("=?utf-8?x?a?="), SLICE_INIT("=?utf-8?x?a?=") },
    { "no charset: stays", SLICE_INIT("=?" "?q?a?="), SLICE_INIT("=?" "?q?a?=") },
    { "an empty word", SLICE_INIT("=?utf-8?q?" "?="), SLICE_INIT("") },
    { "a bad start before a word", SLICE_INIT("=?=?utf-8?q?a?="), SLICE_INIT("=?a") },
    { "raw UTF-8", SLICE_INIT("\xc3\xa4 =?utf-8?q?a?="), SLICE_INIT("\xc3\xa4 a") },
    { "raw bytes that are not UTF-8 are windows-1252", SLICE_INIT("\xe4\x80"), SLICE_INIT("\xc3\xa4\xe2\x82\xac") },
    { "not UTF-8 in a UTF-8 word", SLICE_INIT("=?utf-8?q?=FFa?="), SLICE_INIT("\xef\xbf\xbd" "a") },
    { "an unknown charset", SLICE_INIT("=?x-none?q?=FFa?="), SLICE_INIT("\xef\xbf\xbd" "a") },
    { "a charset with iconv options is unknown", SLICE_INIT("=?utf-16//TRANSLIT?q?=FFa?="),
      SLICE_INIT("=?utf-16//TRANSLIT?q?=FFa?=") },
    { "Japanese", SLICE_INIT("=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?="), SLICE_INIT("\xe6\x97\xa5\xe6\x9c\xac") },
    { "Russian", SLICE_INIT("=?koi8-r?B?8NLJ18XU?="), SLICE_INIT("\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82") },
};

static const struct example qp[] = {
    { "text", SLICE_INIT("a b\r\nc"), SLICE_INIT("a b\r\nc") },
    { "bytes", SLICE_INIT("=C3=a4=3D"), SLICE_INIT("\xc3\xa4=") },
    { "a soft line break", SLICE_INIT("a=\r\nb=\nc"), SLICE_INIT("abc") },
    { "a soft line break with white space", SLICE_INIT("a= \t\r\nb"), SLICE_INIT("ab") },
    { "white space at the end of a line was added", SLICE_INIT("a \t\r\nb  \nc "), SLICE_INIT("a\r\nb\nc") },
    { "white space within a line stays", SLICE_INIT("a \t b"), SLICE_INIT("a \t b") },
    { "a bad escape stays", SLICE_INIT("a=XYb=4"), SLICE_INIT("a=XYb=4") },
    { "an equals sign at the end goes", SLICE_INIT("a="), SLICE_INIT("a") },
    { "8-bit stays", SLICE_INIT("\xe4"), SLICE_INIT("\xe4") },
    { "a bare CR stays", SLICE_INIT("a\rb"), SLICE_INIT("a\rb") },
};

static const struct example base64[] = {
    { "lines", SLICE_INIT("SGVs\r\nbG8=\r\n"), SLICE_INIT("Hello") },
    { "junk is skipped", SLICE_INIT("S-G!V s\r\nb\tG*8=\r\n"), SLICE_INIT("Hello") },
    { "missing padding", SLICE_INIT("SGVsbG8"), SLICE_INIT("Hello") },
    { "padding is the end, a footer behind it is none of it", SLICE_INIT("SGVsbG8=\r\n____\r\nThe list\r\n"), SLICE_INIT("Hello") },
    { "a torn end", SLICE_INIT("SGVsbG8hS"), SLICE_INIT("Hello!") },
    { "only padding", SLICE_INIT("===="), SLICE_INIT("") },
    { "nothing", SLICE_INIT(""), SLICE_INIT("") },
};

#define CHECK_EXAMPLES(table, call) \
    for (size_t i = 0; i < sizeof(table) / sizeof(table)[0]; i++) { \
        struct slice in = (table)[i].input; \
        struct buf out; \
        CASE((table)[i].sentence); \
        buf_init(&out, 4096); \
        CHECK(call); \
        CHECK_SLICE(buf_slice(&out), (table)[i].output); \
        buf_free(&out); \
    }

static const struct {
    const char *sentence, *charset;
    struct slice input, output;
    enum rc rc;
} charset_cases[] = {
    { "UTF-8", "UTF-8", SLICE_INIT("\xc3\xa4"), SLICE_INIT("\xc3\xa4"), RC_OK },
    { "Latin-1 is windows-1252", "ISO-8859-1", SLICE_INIT("\xe4\x93"), SLICE_INIT("\xc3\xa4\xe2\x80\x9c"), RC_OK },
    { "Latin-9 has the euro", "iso-8859-15", SLICE_INIT("\xa4"), SLICE_INIT("\xe2\x82\xac"), RC_OK },
    { "UTF-16 with its mark", "utf-16", SLICE_INIT("\xff\xfe\xe4\x00"), SLICE_INIT("\xc3\xa4"), RC_OK },
    { "a torn character", "utf-16be", SLICE_INIT("\x00\xe4\x00"), SLICE_INIT("\xc3\xa4\xef\xbf\xbd"), RC_OK },
    { "a byte that is none", "shift_jis", SLICE_INIT("a\xff" "b"), SLICE_INIT("a\xef\xbf\xbd" "b"), RC_OK },
    { "nobody knows it", "x-klingon", SLICE_INIT("a\xff"), SLICE_INIT("a\xef\xbf\xbd"), RC_NONE },
    { "a path is no charset", "../../tmp/x", SLICE_INIT("a"), SLICE_INIT("a"), RC_NONE },
    { "options are no charset", "utf-16//IGNORE", SLICE_INIT("a"), SLICE_INIT("a"), RC_NONE },
};

static void check_charsets(void)
{
    for (size_t i = 0; i < sizeof charset_cases / sizeof charset_cases[0]; i++) {
        struct buf out;
        CASE(charset_cases[i].sentence);
        buf_init(&out, 4096);
        CHECK_INT(charset_to_utf8(slice_from_str(charset_cases[i].charset), charset_cases[i].input, &out),
                  charset_cases[i].rc);
        CHECK_SLICE(buf_slice(&out), charset_cases[i].output);
        buf_free(&out);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void check_longest_line(struct slice text, size_t max)
{
    while (text.len > 0) {
        struct slice line = slice_take_until(&text, '\n');
        CHECK(line.len <= max + 1);
    }
}

/* Text with CRLF as its only line end, of bytes that encoders find hard. */
static struct slice random_text(uint64_t *seed, char *space, size_t max)
{
    static const char *const units[] = { "a", "=", " ", "\t", "\r\n", ".", "From ", "\xc3\xa4", "\xf0\x9f\x98\x80", "_", "?", "=?" };
    size_t len = 0, wanted = next_random(seed) % max;

    while (len < wanted) {
        const char *unit = units[next_random(seed) % (sizeof units / sizeof units[0])];
        size_t size = strlen(unit);
        memcpy(space + len, unit, size);
        len += size;
    }
    return (struct slice){ space, len };
}

static void check_round_trips(void)
{
    uint64_t seed = 88172645463325252u;
    char space[1024];

    CASE("what the encoders write, the decoders read, and no line is too long");
    for (int i = 0; i < 3000; i++) {
        struct slice in = random_text(&seed, space, 900);
        struct buf encoded, decoded;
        buf_init(&encoded, 65536);
        buf_init(&decoded, 65536);
        CHECK(quoted_printable_encode(in, &encoded));
        check_longest_line(buf_slice(&encoded), 76);
        CHECK_INT(quoted_printable_decode(buf_slice(&encoded), &decoded), RC_OK);
        CHECK_SLICE(buf_slice(&decoded), in);
        buf_clear(&encoded);
        buf_clear(&decoded);
        CHECK(base64_body_encode(in, &encoded));
        check_longest_line(buf_slice(&encoded), 76);
        CHECK_INT(base64_body_decode(buf_slice(&encoded), &decoded), RC_OK);
        CHECK_SLICE(buf_slice(&decoded), in);
        buf_clear(&encoded);
        buf_clear(&decoded);
        size_t column = (size_t)(i % 80);
        CHECK(encoded_word_write_at(in, &column, &encoded));
        check_longest_line(slice_sub(buf_slice(&encoded), slice_find(buf_slice(&encoded), SLICE("\r\n")) + 2, SIZE_MAX), 76);
        CHECK(text_is_ascii(buf_slice(&encoded)));
        CHECK(encoded_word_decode(buf_slice(&encoded), &decoded));
        /* A first fold is white space before the first word, which is the caller's. */
        CHECK(slice_ends_nocase(buf_slice(&decoded), in) && buf_len(&decoded) <= in.len + 3);
        buf_free(&encoded);
        buf_free(&decoded);
    }
}

static void check_limits(void)
{
    struct buf out;

    CASE("a decoder that finds no room says so and writes no further");
    buf_init(&out, 16);
    CHECK_INT(base64_body_decode(SLICE("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"), &out), RC_TEMP);
    buf_clear(&out);
    CHECK_INT(quoted_printable_decode(SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), &out), RC_TEMP);
    buf_clear(&out);
    CHECK_INT(charset_to_utf8(SLICE("koi8-r"), SLICE("\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0"), &out), RC_TEMP);
    buf_free(&out);
}

static void check_loaded(void)
{
    struct charset_converters loaded;
    struct rlimit files = { 0, 0 };
    struct buf out;

    CASE("loaded converters work where no file can be opened any more");
    buf_init(&out, 256);
    charset_load(&loaded);
    CHECK(loaded.count > 30 && loaded.count < CHARSET_CONVERTERS_MAX);
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    struct rlimit none = { 0, files.rlim_max };
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK_INT(charset_to_utf8(SLICE("big5"), SLICE("\xa4\xa4"), &out), RC_OK);
    CHECK_SLICE(buf_slice(&out), SLICE("\xe4\xb8\xad"));
    buf_clear(&out);
    CHECK_INT(charset_to_utf8(SLICE("iso-2022-kr"), SLICE("\x1b$)C\x0e!!"), &out), RC_OK);
    charset_unload(&loaded);
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);       /* the sanitizers need files at the end */
    buf_free(&out);
}

int main(void)
{
    CHECK_EXAMPLES(words, encoded_word_decode(in, &out));
    CHECK_EXAMPLES(qp, quoted_printable_decode(in, &out) == RC_OK);
    CHECK_EXAMPLES(base64, base64_body_decode(in, &out) == RC_OK);
    check_charsets();
    check_round_trips();
    check_limits();
    check_loaded();
    return check_done();
}
