/* The base subject (RFC 5256 2.1). */
#include "mail/subject.h"

#include "check.h"

static const struct {
    const char *sentence;
    const char *input, *base;
    bool is_reply;
} subjects[] = {
    { "nothing to take off", " plain words", "plain words", false },
    { "nothing at all", "", "", false },
    { "a reply", " Re: hello", "hello", true },
    { "replies to replies, in any case", " RE: re:Re : hello", "hello", true },
    { "a forward", " Fwd: hello", "hello", true },
    { "its short form", " FW: hello", "hello", true },
    { "a forward behind", " hello (fwd) (FWD) ", "hello", true },
    { "a list's name", " [thurn] hello", "hello", false },
    { "a list's name and a reply", " Re: [thurn] Re: hello", "hello", true },
    { "a list's name before the reply", " [a] [b] Re: hello", "hello", true },
    { "a blob within the reply", " Re [2]: hello", "hello", true },
    { "a blob alone stays", " [thurn]", "[thurn]", false },
    { "a reply to a blob alone", " Re: [thurn]", "[thurn]", true },
    { "a wrapped forward", " [Fwd: hello]", "hello", true },
    { "a wrapped reply", " [fwd: Re: hello (fwd)]", "hello", true },
    { "white space is one space", " a \t  b\r\n  c", "a b c", false },
    { "a word that begins like a reply", " Regarding: x", "Regarding: x", false },
    { "no colon", " re hello", "re hello", false },
    { "a bracket that does not close", " [x hello", "[x hello", false },
    { "encoded words", " =?utf-8?q?Re=3A_Gr=C3=BC=C3=9Fe?=", "Gr\xc3\xbc\xc3\x9f" "e", true },
    { "only a reply", " Re:", "", true },
};

int main(void)
{
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        struct buf out;
        bool is_reply = false;
        CASE(subjects[i].sentence);
        buf_init(&out, 1000);
        CHECK(subject_base(slice_from_str(subjects[i].input), &out, &is_reply));
        CHECK_SLICE(buf_slice(&out), slice_from_str(subjects[i].base));
        CHECK_INT(is_reply, subjects[i].is_reply);
        buf_free(&out);
    }
    CASE("a buffer that is too small");
    struct buf small;
    buf_init(&small, 3);
    CHECK(!subject_base(SLICE("hello"), &small, NULL));
    buf_free(&small);
    return check_done();
}
