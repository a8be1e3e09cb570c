/* What is wrong with a message. */
#include "mail/lint.h"

#include "check.h"

#define GOOD "Date: Thu, 22 Aug 2002 18:26:25 +0700\r\nFrom: a@b.example\r\n"

/* Defects as "offset:text;". */
static const struct {
    const char *sentence;
    struct slice message;
    const char *want;
} cases[] = {
    { "a good message", SLICE_INIT(GOOD "\r\nbody\r\n"), "" },
    { "a good message in a file", SLICE_INIT("Date: Thu, 22 Aug 2002 18:26:25 +0700\nFrom: a@b.example\n\nbody\n"), "" },
    { "no Date and no From", SLICE_INIT("Subject: x\r\n\r\n"), "0:no Date field;0:no From field;" },
    { "what may stand once", SLICE_INIT(GOOD "To: a@b\r\nTo: c@d\r\n\r\n"), "67:second To field;" },
    { "a bad date", SLICE_INIT("From: a@b\r\nDate: soon\r\n\r\n"), "11:date that cannot be read;" },
    { "bad addresses", SLICE_INIT(GOOD "To: a b\r\nCc: root\r\nReply-To:\r\nSender: a@b, c@d\r\n\r\n"),
      "58:address that cannot be read;67:address without a domain;77:address field without an address;88:more than one address in Sender;" },
    { "a bad Message-ID", SLICE_INIT(GOOD "Message-ID: abc\r\n\r\n"), "58:Message-ID that is not <left@right>;" },
    { "8-bit in a header", SLICE_INIT(GOOD "Subject: \xc3\xa4\r\nX: \xe4\r\n\r\n"),
      "58:8-bit UTF-8 in a header field: needs SMTPUTF8 (RFC 6532);71:8-bit bytes in a header field that are not UTF-8;" },
    { "bare CR, bare LF and NUL", SLICE_INIT(GOOD "\r\na\rb\nc\0\r\n"),
      "61:bare CR (RFC 5322 2.2);63:bare LF among lines that end with CRLF (RFC 5322 2.2);65:NUL byte (RFC 5322 3.5);" },
    { "8-bit in 7bit", SLICE_INIT(GOOD "\r\n\xe4\r\n"), "60:8-bit bytes in a part that says 7bit;" },
    { "bad base64", SLICE_INIT(GOOD "Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n!\r\n"), "101:byte in base64 that is none of its digits;" },
    { "bad quoted-printable", SLICE_INIT(GOOD "Content-Transfer-Encoding: quoted-printable\r\n\r\na=\r\nb=3D=x\r\n"),
      "113:\"=\" in quoted-printable that encodes nothing;" },
    { "an unknown charset", SLICE_INIT(GOOD "Content-Type: text/plain; charset=klingon\r\n\r\nx"), "0:charset that nobody knows;" },
    { "text that is not in its charset", SLICE_INIT(GOOD "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4"),
      "134:text that is not in the charset it says;" },
    { "an attached message is looked at too", SLICE_INIT(GOOD "Content-Type: message/rfc822\r\n\r\nFrom: a@b\r\n\r\nx"), "90:no Date field;" },
    { "defects of the tree are among them", SLICE_INIT(GOOD "what\r\n\r\n"), "58:line in header that is no field;" },
};

static void check_lint(const char *sentence, struct slice message, struct lint *l)
{
    struct mime_message m;
    struct arena arena;

    CASE(sentence);
    arena_init(&arena, 4 << 20);
    CHECK_INT(mime_parse(message, &arena, &m, NULL), RC_OK);
    lint_message(message, &m, l);
    arena_free(&arena);
}

int main(void)
{
    static struct lint l;
    struct buf said, many;

    buf_init(&said, 65536);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_lint(cases[i].sentence, cases[i].message, &l);
        buf_clear(&said);
        for (size_t n = 0; n < l.defect_count; n++)
            buf_printf(&said, "%zu:%s;", l.defects[n].offset, l.defects[n].text);
        CHECK_SLICE(buf_slice(&said), slice_from_str(cases[i].want));
    }
    check_lint("lines are counted from one", SLICE(GOOD "a b\r\n\r\n"), &l);
    CHECK_INT(l.defects[0].line, 3);
    buf_init(&many, 1 << 20);
    buf_append_str(&many, GOOD);
    for (int i = 0; i < 1000; i++)
        buf_append_str(&many, "Subject: \xe4\r\n");
    buf_append_str(&many, "\r\n");
    for (int i = 0; i < 999; i++)
        buf_append_byte(&many, 'x');
    check_lint("what is found beyond the limit is counted", buf_slice(&many), &l);
    CHECK_INT(l.defect_count, LINT_DEFECTS_MAX);
    CHECK_INT(l.left_out, 1999 + 1 - LINT_DEFECTS_MAX);
    CHECK_INT(l.bytes.longest_line_bytes, 999);
    buf_free(&many);
    buf_free(&said);
    return check_done();
}
