/* Modified UTF-7: examples of RFC 3501 5.1.3, every way to write a name wrongly, and all code points there and back. */
#include "check.h"

#include "base/text.h"
#include "mail/utf7.h"

static const struct { const char *name, *utf8, *utf7; } good[] = {
    { "plain ASCII stays", "Sent Items", "Sent Items" },
    { "an ampersand is doubled with a hyphen", "R&D", "R&-D" },
    { "ampersands alone", "&&", "&-&-" },
    { "the RFC's own example", "~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-" },
    { "German umlauts", "Entwürfe", "Entw&APw-rfe" },
    { "beyond the basic plane: a pair of surrogates", "😀", "&2D3eAA-" },
    { "an ampersand behind a shift", "ü&", "&APw-&-" },
    { "control characters are shifted", "a\tb", "a&AAk-b" },
    { "nothing", "", "" },
};

static const struct { const char *name, *utf7; } bad[] = {
    { "an open shift", "a&APw" },
    { "a lone ampersand at the end", "a&" },
    { "printable ASCII within a shift", "&AGE-" },
    { "8-bit bytes", "\xc3\xbc" },
    { "a slash instead of the comma", "&U/BTFw-" },
    { "a lone high surrogate", "&2D0-" },
    { "a lone low surrogate", "&3gA-" },
    { "two runs that should be one", "&APw-&APw-" },
    { "padding bits that are not zero", "&APx-" },
    { "a digit too many", "&APwA-" },
    { "control characters as they are", "a\tb" },
    { "an ampersand the long way", "&ACY-" },
};

int main(void)
{
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        CASE(good[i].name);
        buf_clear(&out);
        CHECK_INT(utf7_encode(slice_from_str(good[i].utf8), &out), RC_OK);
        CHECK_SLICE(buf_slice(&out), slice_from_str(good[i].utf7));
        buf_clear(&out);
        CHECK_INT(utf7_decode(slice_from_str(good[i].utf7), &out), RC_OK);
        CHECK_SLICE(buf_slice(&out), slice_from_str(good[i].utf8));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        CASE(bad[i].name);
        buf_clear(&out);
        CHECK_INT(utf7_decode(slice_from_str(bad[i].utf7), &out), RC_PERM);
    }
    CASE("every code point comes back, alone and behind ASCII");
    for (uint32_t code_point = 1; code_point <= 0x10ffff; code_point += code_point < 0x3000 ? 1 : 61) {
        char held[8] = "a";
        struct buf utf8, back;
        buf_init(&utf8, 16);
        buf_init(&back, 16);
        buf_append_str(&utf8, held);
        buf_clear(&out);
        if (utf8_append(&utf8, code_point)) {
            CHECK_INT(utf7_encode(buf_slice(&utf8), &out), RC_OK);
            CHECK_INT(utf7_decode(buf_slice(&out), &back), RC_OK);
            CHECK(slice_equal(buf_slice(&back), buf_slice(&utf8)));
        }
        buf_free(&utf8);
        buf_free(&back);
    }
    CASE("what is not UTF-8 has no name");
    CHECK_INT(utf7_encode(SLICE("\xff"), &out), RC_PERM);
    buf_free(&out);
    return check_done();
}
