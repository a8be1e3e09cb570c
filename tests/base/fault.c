/* Faults: what they say, and that they always stay printable and terminated. */
#include "base/fault.h"

#include "check.h"

#include <errno.h>

static void shape_cases(void)
{
    struct fault f;
    CASE("each fills the fault and returns its rc");
    CHECK_INT(fault_temp(&f, ESC(4, 7, 102), "try %s", "later"), RC_TEMP);
    CHECK_INT(f.rc, RC_TEMP);
    CHECK_INT(ESC_CLASS(f.esc), 4);
    CHECK_INT(ESC_SUBJECT(f.esc), 7);
    CHECK_INT(ESC_DETAIL(f.esc), 102);
    CHECK_STR(f.text, "try later");
    CHECK_INT(fault_perm(&f, ESC(5, 999, 999), "no"), RC_PERM);
    CHECK_INT(f.rc, RC_PERM);
    CHECK_INT(ESC_SUBJECT(f.esc), 999);
    CHECK_INT(ESC_DETAIL(f.esc), 999);
    CHECK_INT(fault_none(&f, "no %d", 1), RC_NONE);
    CHECK_INT(f.esc, 0);
    CHECK_INT(fault_no_memory(&f), RC_TEMP);
    CHECK_INT(ESC_CLASS(f.esc), 4);
    fault_clear(&f);
    CHECK_INT(f.rc, RC_OK);
    CHECK_STR(f.text, "");
    CASE("without a fault the rc is the same");
    CHECK_INT(fault_temp(NULL, 0, "x"), RC_TEMP);
    CHECK_INT(fault_perm(NULL, 0, "x"), RC_PERM);
    CHECK_INT(fault_none(NULL, "x"), RC_NONE);
    CHECK_INT(fault_errno(NULL, ENOSPC, "x"), RC_TEMP);
    CHECK_INT(fault_no_memory(NULL), RC_TEMP);
    fault_prefix(NULL, "x");
    fault_clear(NULL);
}

static void errno_cases(void)
{
    static const struct {
        const char *sentence;
        int err;
        enum rc rc;
        uint32_t esc;
        const char *text;
    } cases[] = {
        { "a full disk is temporary: mail system full", ENOSPC,       RC_TEMP, ESC(4, 3, 1), "f: No space left on device" },
        { "no more descriptors is temporary",           EMFILE,       RC_TEMP, ESC(4, 3, 0), "f: Too many open files" },
        { "a refused connection is temporary",          ECONNREFUSED, RC_TEMP, ESC(4, 4, 1), "f: Connection refused" },
        { "a failing disk is temporary",                EIO,          RC_TEMP, ESC(4, 3, 0), "f: Input/output error" },
        { "no such file is none",                       ENOENT,       RC_NONE, 0, "f: No such file or directory" },
        { "permission denied is permanent",             EACCES,       RC_PERM, ESC(5, 3, 0), "f: Permission denied" },
        { "a port in use is permanent",                 EADDRINUSE,   RC_PERM, ESC(5, 3, 0), "f: Address already in use" },
        { "an unknown number is temporary",             99999,        RC_TEMP, ESC(4, 3, 0), "f: errno 99999" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        struct fault f;
        CHECK_INT(fault_errno(&f, cases[i].err, "%c", 'f'), cases[i].rc);
        CHECK_INT(f.rc, cases[i].rc);
        CHECK_INT(f.esc, cases[i].esc);
        CHECK_INT(f.err, cases[i].err);
        CHECK_STR(f.text, cases[i].text);
    }
}

static void text_cases(void)
{
    char longest[2 * FAULT_TEXT_MAX];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    struct fault f;

    CASE("what is not printable ASCII becomes a question mark");
    fault_perm(&f, 0, "%s", "a\r\nb\x7f\xc3\xa4\t");
    CHECK_STR(f.text, "a??b????");
    CASE("a long text is cut and terminated");
    fault_perm(&f, 0, "%s", longest);
    CHECK_INT(strnlen(f.text, sizeof f.text), FAULT_TEXT_MAX - 1);
    CASE("a long text gives way to the system's reason");
    fault_errno(&f, EIO, "%s", longest);
    CHECK_INT(strnlen(f.text, sizeof f.text), FAULT_TEXT_MAX - 1);
    CHECK(slice_ends_nocase(slice_from_str(f.text), SLICE("x: Input/output error")));
    CASE("a prefix says where and keeps the rest");
    fault_errno(&f, EIO, "read");
    fault_prefix(&f, "mailbox %s", "al\nice");
    CHECK_STR(f.text, "mailbox al?ice: read: Input/output error");
    CHECK_INT(f.err, EIO);
    CHECK_INT(f.rc, RC_TEMP);
    CASE("a prefix that leaves no room is cut, not overrun");
    fault_prefix(&f, "%s", longest);
    CHECK_INT(strnlen(f.text, sizeof f.text), FAULT_TEXT_MAX - 1);
    fault_perm(&f, 0, "%s", longest);
    fault_prefix(&f, "p");
    CHECK_INT(strnlen(f.text, sizeof f.text), FAULT_TEXT_MAX - 1);
    CHECK(slice_starts_nocase(slice_from_str(f.text), SLICE("p: xxx")));
    CASE("a fault may be made from its own text");
    fault_perm(&f, 0, "inner");
    fault_temp(&f, 0, "outer (%s)", f.text);
    CHECK_STR(f.text, "outer (inner)");
}

int main(void)
{
    shape_cases();
    errno_cases();
    text_cases();
    return check_done();
}
