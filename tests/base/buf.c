/* Buffers: limits met to the byte, and a random run against a plain array. */
#include "base/buf.h"

#include "check.h"

static void limit_cases(void)
{
    struct buf buf;
    buf_init(&buf, 8);
    CASE("exactly the maximum fits");
    CHECK(buf_append_str(&buf, "12345678"));
    CHECK(!buf.overflow);
    CASE("one byte more appends nothing and sets overflow");
    CHECK(!buf_append_byte(&buf, 'x'));
    CHECK(buf.overflow);
    CHECK_SLICE(buf_slice(&buf), SLICE("12345678"));
    CASE("nothing fits into a full buffer");
    CHECK(buf_append(&buf, SLICE_NONE));
    CHECK(buf_append_str(&buf, NULL));
    CHECK(buf_reserve(&buf, 0) != NULL);
    CASE("consumed bytes make room again");
    buf_consume(&buf, 3);
    CHECK(buf_append_str(&buf, "abc"));
    CHECK_SLICE(buf_slice(&buf), SLICE("45678abc"));
    CHECK(!buf_append_str(&buf, "d"));
    CASE("a clear forgets the overflow");
    buf_clear(&buf);
    CHECK(!buf.overflow);
    CHECK_INT(buf_len(&buf), 0);
    CASE("truncating keeps the first bytes not consumed");
    CHECK(buf_append_str(&buf, "abcdef"));
    buf_consume(&buf, 2);
    buf_truncate(&buf, 3);
    CHECK_SLICE(buf_slice(&buf), SLICE("cde"));
    CASE("a reservation past the maximum is refused, also one that would wrap around");
    CHECK(buf_reserve(&buf, 6) == NULL);
    CHECK(buf_reserve(&buf, SIZE_MAX) == NULL);
    CHECK(buf.overflow);
    CHECK(buf_reserve(&buf, 5) != NULL);
    buf_free(&buf);
    CASE("a buffer of no bytes takes no bytes");
    buf_init(&buf, 0);
    CHECK(buf_append(&buf, SLICE_NONE));
    CHECK(buf_reserve(&buf, 0) != NULL);
    CHECK(!buf_append_byte(&buf, 'x'));
    buf_free(&buf);
    CASE("a buffer without a practical limit still starts small");
    buf_init(&buf, SIZE_MAX);
    CHECK(buf_append_byte(&buf, 'x'));
    CHECK(buf.cap <= 4096);
    CHECK(!buf_append(&buf, (struct slice){ "x", SIZE_MAX }));
    buf_free(&buf);
}

static void printf_cases(void)
{
    struct buf buf;
    buf_init(&buf, 8);
    CASE("printed text may reach the maximum exactly");
    CHECK(buf_printf(&buf, "%d", 12));
    CHECK(buf_printf(&buf, "%s", "345678"));
    CHECK_SLICE(buf_slice(&buf), SLICE("12345678"));
    CASE("printed text one byte too long appends nothing");
    buf_clear(&buf);
    CHECK(!buf_printf(&buf, "%s", "123456789"));
    CHECK(buf.overflow);
    CHECK_INT(buf_len(&buf), 0);
    CASE("printing nothing succeeds");
    CHECK(buf_printf(&buf, "%s", ""));
    buf_free(&buf);
    CASE("text longer than the room at hand is printed after growing");
    buf_init(&buf, 1000);
    CHECK(buf_printf(&buf, "%0900d", 7));
    CHECK_INT(buf_len(&buf), 900);
    CHECK(!buf_printf(&buf, "%0101d", 7));
    CHECK(buf_printf(&buf, "%0100d", 7));
    CHECK_INT(buf_len(&buf), 1000);
    buf_free(&buf);
}

static void integer_cases(void)
{
    struct buf buf;
    buf_init(&buf, 12);
    CASE("numbers are little-endian");
    CHECK(buf_append_u32(&buf, 0x01020384));
    CHECK(buf_append_u64(&buf, 0x8877665544332211));
    CHECK_SLICE(buf_slice(&buf), SLICE("\x84\x03\x02\x01\x11\x22\x33\x44\x55\x66\x77\x88"));
    CHECK(!buf_append_u32(&buf, 0));
    buf_free(&buf);
}

static void escape_cases(void)
{
    static const struct {
        const char *sentence;
        struct slice in;
        const char *ascii, *utf8;
    } cases[] = {
        { "nothing stays nothing",                { "", 0 },              "", "" },
        { "printable ASCII stays as it is",       { "a b~!", 5 },         "a b~!", "a b~!" },
        { "a backslash is escaped",               { "a\\x", 3 },          "a\\x5cx", "a\\x5cx" },
        { "line ends and NUL are escaped",        { "a\r\n\0", 4 },       "a\\x0d\\x0a\\x00", "a\\x0d\\x0a\\x00" },
        { "DEL and ESC are escaped",              { "\x7f\x1b[", 3 },     "\\x7f\\x1b[", "\\x7f\\x1b[" },
        { "UTF-8 stays where it is allowed",      { "\xc3\xa4x", 3 },     "\\xc3\\xa4x", "\xc3\xa4x" },
        { "torn UTF-8 is escaped",                { "\xe2\x82", 2 },      "\\xe2\\x82", "\\xe2\\x82" },
        { "overlong UTF-8 is escaped",            { "\xc0\x8a", 2 },      "\\xc0\\x8a", "\\xc0\\x8a" },
        { "a C1 control is escaped though valid", { "\xc2\x9b", 2 },      "\\xc2\\x9b", "\\xc2\\x9b" },
        { "a right-to-left override is escaped",  { "\xe2\x80\xae", 3 },  "\\xe2\\x80\\xae", "\\xe2\\x80\\xae" },
    };
    struct buf buf;
    buf_init(&buf, 100);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        buf_clear(&buf);
        CHECK(buf_append_escaped(&buf, cases[i].in, false));
        CHECK_SLICE(buf_slice(&buf), slice_from_str(cases[i].ascii));
        buf_clear(&buf);
        CHECK(buf_append_escaped(&buf, cases[i].in, true));
        CHECK_SLICE(buf_slice(&buf), slice_from_str(cases[i].utf8));
    }
    buf_free(&buf);
    CASE("an escape that does not fit appends nothing");
    buf_init(&buf, 5);
    CHECK(buf_append_byte(&buf, '<'));
    CHECK(!buf_append_escaped(&buf, SLICE("a\n"), false));
    CHECK(buf.overflow);
    CHECK_SLICE(buf_slice(&buf), SLICE("<"));
    buf_free(&buf);
}

/* The same random appends and consumptions on a buffer and on a plain array agree. */
static void model_case(void)
{
    enum { MAX = 700 };
    CASE("a buffer behaves like a plain array under random appends and consumptions");
    struct buf buf;
    buf_init(&buf, MAX);
    char model[MAX], piece[400];
    size_t len = 0;
    unsigned state = 1;
    for (int round = 0; round < 20000; round++) {
        state = state * 1103515245u + 12345u;
        size_t amount = (state >> 16) % sizeof piece;
        if (state >> 31) {
            memset(piece, (int)(state >> 8 & 127), amount);
            bool fits = len + amount <= MAX;
            CHECK(buf_append(&buf, (struct slice){ piece, amount }) == fits);
            if (fits) {
                memcpy(model + len, piece, amount);
                len += amount;
            }
        } else {
            amount = amount < len ? amount : len;
            buf_consume(&buf, amount);
            memmove(model, model + amount, len - amount);
            len -= amount;
        }
        CHECK(slice_equal(buf_slice(&buf), (struct slice){ model, len }));
        CHECK(buf.cap <= MAX);
    }
    buf_free(&buf);
}

int main(void)
{
    limit_cases();
    printf_cases();
    integer_cases();
    escape_cases();
    model_case();
    return check_done();
}
