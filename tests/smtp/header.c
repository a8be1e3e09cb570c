/* The filter of the header section (smtp/header.h): what it must not touch, and that pieces make no difference. What it
 * does to submitted mail stands in tests/dialog/smtp/submission.txt. */
#include "check.h"
#include "smtp/header.h"

enum { TEXT_MAX = 4096 };

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void filter(struct slice text, bool completes, size_t piece_max, uint32_t seed, struct buf *out)
{
    struct header_filter f;
    bool is_over = false;
    header_filter_init(&f, completes);
    while (text.len > 0) {
        struct slice piece = slice_take(&text, piece_max == 0 ? SIZE_MAX : 1 + draw(&seed) % piece_max);
        if (!is_over && header_filter_feed(&f, &piece, out) == RC_OK) {
            is_over = true;
            header_filter_end(&f, (struct mail_date){ 0, 0 }, SLICE("ID"), SLICE("host"), out);
        }
        buf_append(out, piece);
    }
    if (!is_over)
        header_filter_end(&f, (struct mail_date){ 0, 0 }, SLICE("ID"), SLICE("host"), out);
    header_filter_free(&f);
}

static void check(struct slice text, uint32_t seed)
{
    struct buf whole, cut;
    buf_init(&whole, 4 * TEXT_MAX);
    buf_init(&cut, 4 * TEXT_MAX);
    filter(text, false, 0, seed, &whole);
    CHECK_SLICE(buf_slice(&whole), text);
    filter(text, false, 5, seed, &cut);
    CHECK_SLICE(buf_slice(&cut), text);
    buf_clear(&whole);
    buf_clear(&cut);
    filter(text, true, 0, seed, &whole);
    filter(text, true, 5, seed, &cut);
    CHECK_SLICE(buf_slice(&cut), buf_slice(&whole));
    CHECK(slice_find(buf_slice(&whole), SLICE("Date")) < buf_len(&whole));
    buf_free(&whole);
    buf_free(&cut);
}

int main(void)
{
    static const char *const texts[] = {
        "", "\r\n", "\r", "\n", "a", "a:", "a: b", "a: b\r", "a: b\r\n", "a: b\r\n\r", "a: b\r\n\r\n", "a: b\r\n\r\nbody",
        "\r\nbody", " folded at once\r\n", "no header\r\n\r\n", ": no name\r\n", "From x\r\na: b\r\n\r\n", ">From x\r\na: b\r\n\r\n",
        "Bcc: x\r\n y\r\na: b\r\n\r\n", "Bcc", "Bcc:", "Bcc: x", "bcc \t: x\r\n\tz\r\n", "a b: c\r\n", "a: b\nBcc: c\r\n\r\n", "a: b\r\n\rx\r\n",
    };
    static const char *const words[] = { "\r\n", "\r\n", "\r", "\n", ":", " ", "\t", "a", "Bcc", "Date", "Received", "From ", "\xff", ": x\r\n" };
    CASE("what is not completed passes byte for byte; pieces make no difference");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check(slice_from_str(texts[i]), (uint32_t)i);
    for (uint32_t round = 0; round < 20000; round++) {
        struct buf text;
        uint32_t seed = round;
        buf_init(&text, TEXT_MAX);
        for (uint32_t count = draw(&seed) % 24; count > 0; count--)
            buf_append_str(&text, words[draw(&seed) % (sizeof words / sizeof words[0])]);
        check(buf_slice(&text), seed);
        buf_free(&text);
    }
    CASE("a name longer than any we look for passes");
    char name[300];
    memset(name, 'n', sizeof name);
    memcpy(name + 290, ": x\r\n\r\n", 7);
    check((struct slice){ name, 297 }, 1);
    return check_done();
}
