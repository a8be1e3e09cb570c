/* Verifiers: made, written, read back, checked, invented (sasl/sasl.h). */
#include "check.h"
#include "sasl/sasl.h"

static const unsigned char salt[SASL_SALT_BYTES] = "0123456789abcde";

static void test_make_and_check(void)
{
    struct sasl_verifier v;
    struct fault f;
    CASE("the right password is right, every other one is wrong");
    CHECK_INT(sasl_verifier_make(SLICE("wonderland"), salt, 4096, &v, &f), RC_OK);
    CHECK(sasl_verifier_check(&v, SLICE("wonderland")));
    CHECK(!sasl_verifier_check(&v, SLICE("Wonderland")));
    CHECK(!sasl_verifier_check(&v, SLICE("wonderlan")));
    CHECK(!sasl_verifier_check(&v, SLICE("")));
    CASE("a password may be UTF-8");
    CHECK_INT(sasl_verifier_make(SLICE("gr\xc3\xbc\xc3\x9f gott"), salt, 4096, &v, &f), RC_OK);
    CHECK(sasl_verifier_check(&v, SLICE("gr\xc3\xbc\xc3\x9f gott")));
}

static void test_refused_passwords(void)
{
    static const struct { const char *sentence; const char *password; size_t len; } cases[] = {
        { "an empty password is refused", "", 0 },
        { "a password that is not UTF-8 is refused", "caf\xe9", 4 },
        { "a password with a line end is refused", "two\nlines", 9 },
        { "a password with a NUL is refused", "two\0parts", 9 },
        { "a password with a C1 control is refused", "a\xc2\x85z", 4 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sasl_verifier v;
        struct fault f;
        CASE(cases[i].sentence);
        CHECK_INT(sasl_verifier_make((struct slice){ cases[i].password, cases[i].len }, salt, 4096, &v, &f), RC_PERM);
        CHECK(f.text[0] != '\0');
    }
}

static void test_text_form(void)
{
    struct sasl_verifier v, back;
    struct fault f;
    struct buf text;
    buf_init(&text, 512);
    CASE("what is written is what is read");
    CHECK_INT(sasl_verifier_make(SLICE("wonderland"), salt, 15000, &v, &f), RC_OK);
    CHECK(sasl_verifier_write(&v, &text));
    CHECK(slice_starts_nocase(buf_slice(&text), SLICE("SCRAM-SHA-256$15000:")));
    memset(&back, 0, sizeof back);
    CHECK_INT(sasl_verifier_parse(buf_slice(&text), &back), RC_OK);
    CHECK(memcmp(&v, &back, sizeof v) == 0);
    CASE("every torn text form is refused");
    for (size_t len = 0; len < buf_len(&text); len++)
        CHECK_INT(sasl_verifier_parse(slice_sub(buf_slice(&text), 0, len), &back), RC_PERM);
    CASE("text behind the verifier is refused");
    buf_append_byte(&text, 'x');
    CHECK_INT(sasl_verifier_parse(buf_slice(&text), &back), RC_PERM);
    CASE("other forms are refused");
    CHECK_INT(sasl_verifier_parse(SLICE("SCRAM-SHA-256$0:MDEyMzQ1Njc4OWFiY2RlAA==$a:b"), &back), RC_PERM);
    CHECK_INT(sasl_verifier_parse(SLICE("$6$salt$hash"), &back), RC_PERM);
    buf_free(&text);
}

static void test_invented(void)
{
    unsigned char secret[32] = "a secret of the server";
    struct sasl_verifier a, b;
    CASE("an invented verifier is the same for a name every time, and different for another");
    sasl_verifier_invent(secret, SLICE("nobody"), 15000, &a);
    sasl_verifier_invent(secret, SLICE("nobody"), 15000, &b);
    CHECK(memcmp(&a, &b, sizeof a) == 0);
    sasl_verifier_invent(secret, SLICE("noone"), 15000, &b);
    CHECK(memcmp(a.salt, b.salt, sizeof a.salt) != 0);
    CHECK(!sasl_verifier_check(&a, SLICE("")));
    CHECK(!sasl_verifier_check(&a, SLICE("nobody")));
}

static void test_names(void)
{
    CASE("mechanisms are found by name in any case");
    CHECK_INT(sasl_mechanism_find(SLICE("plain")), SASL_PLAIN);
    CHECK_INT(sasl_mechanism_find(SLICE("Scram-Sha-256")), SASL_SCRAM_SHA_256);
    CHECK_INT(sasl_mechanism_find(SLICE("SCRAM-SHA-256-PLUS")), SASL_SCRAM_SHA_256_PLUS);
    CHECK_INT(sasl_mechanism_find(SLICE("SCRAM-SHA-256-")), SASL_NONE);
    CHECK_INT(sasl_mechanism_find(SLICE("CRAM-MD5")), SASL_NONE);
    CHECK_INT(sasl_mechanism_find(SLICE("")), SASL_NONE);
}

int main(void)
{
    test_make_and_check();
    test_refused_passwords();
    test_text_form();
    test_invented();
    test_names();
    return check_done();
}
