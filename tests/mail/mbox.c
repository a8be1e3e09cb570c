/* mbox files and Maildir names. */
#include "mail/mbox.h"

#include "check.h"
#include "mail/maildir.h"

#define FROM_A "From a@x.example Thu Aug 22 18:26:25 2002\n"
#define FROM_B "From b Thu Aug 22 18:26:26 2002\n"

/* Messages as "sender@date[text]". */
static const struct {
    const char *sentence;
    enum mbox_variant variant;
    const char *file, *want;
} files[] = {
    { "two messages", MBOX_RD, FROM_A "A: 1\n\nbody\n\n" FROM_B "B: 2\n\nx\n\n", "a@x.example@1030040785[A: 1\r\n\r\nbody\r\n]b@1030040786[B: 2\r\n\r\nx\r\n]" },
    { "CRLF line ends", MBOX_RD, "From a Thu Aug 22 18:26:25 2002\r\nA: 1\r\n\r\nx\r\n\r\nFrom b Thu Aug 22 18:26:25 2002\r\nB: 2\r\n\r\n\r\n",
      "a@1030040785[A: 1\r\n\r\nx\r\n]b@1030040785[B: 2\r\n\r\n]" },
    { "no empty line at the end of the file", MBOX_RD, FROM_B "A: 1\n\nbody\n", "b@1030040786[A: 1\r\n\r\nbody\r\n]" },
    { "no line end at the end of the file", MBOX_RD, FROM_B "A: 1\n\nbody", "b@1030040786[A: 1\r\n\r\nbody]" },
    { "From without a date is text", MBOX_RD, FROM_B "A: 1\n\n\nFrom here on\n\n", "b@1030040786[A: 1\r\n\r\n\r\nFrom here on\r\n]" },
    { "From that is not behind an empty line is text", MBOX_RD, FROM_B "A: 1\n\nx\n" FROM_A "y\n\n",
      "b@1030040786[A: 1\r\n\r\nx\r\nFrom a@x.example Thu Aug 22 18:26:25 2002\r\ny\r\n]" },
    { "mboxrd takes one quote off each", MBOX_RD, FROM_B "\n>From x\n>>From y\n> From z\n>Fromm\n\n", "b@1030040786[\r\nFrom x\r\n>From y\r\n> From z\r\n>Fromm\r\n]" },
    { "mboxo takes off only the one it made", MBOX_O, FROM_B "\n>From x\n>>From y\n\n", "b@1030040786[\r\nFrom x\r\n>>From y\r\n]" },
    { "mboxcl quotes nothing", MBOX_CL, FROM_B "\n>From x\n\n", "b@1030040786[\r\n>From x\r\n]" },
    { "a file that is one message", MBOX_RD, "A: 1\n\nbody\n\n", "@0[A: 1\r\n\r\nbody\r\n\r\n]" },
    { "text before the first From_ line", MBOX_RD, "A: 1\n\n" FROM_B "\nx\n\n", "@0[A: 1\r\n]b@1030040786[\r\nx\r\n]" },
    { "a sender with spaces, a zone", MBOX_RD, "From a b Thu Aug 22 18:26:25 +0200 2002\nA: 1\n\n", "a b@1030033585[A: 1\r\n]" },
    { "no sender", MBOX_RD, "From Thu Aug 22 18:26:25 2002\n\nx\n", "@1030040785[\r\nx\r\n]" },
    { "an empty message", MBOX_RD, FROM_B "\n" FROM_B "\n", "b@1030040786[]b@1030040786[]" },
    { "nothing", MBOX_RD, "", "" },
    { "an empty line", MBOX_RD, "\n", "@0[\r\n]" },
};

static void tell(struct buf *said, const struct mbox_message *m, enum mbox_variant variant)
{
    buf_append(said, m->sender);
    buf_printf(said, "@%lld[", (long long)m->date_s);
    CHECK(mbox_unquote(m->raw, variant, said));
    buf_append_byte(said, ']');
}

/* The file arrives in pieces of `step` bytes. */
static void check_file(size_t i, size_t step)
{
    struct slice file = slice_from_str(files[i].file);
    struct mbox_reader r;
    struct mbox_message m;
    struct buf said;
    size_t start = 0, end = 0;

    buf_init(&said, 65536);
    mbox_reader_init(&r);
    for (;;) {
        struct slice in = slice_sub(file, start, end - start);
        enum rc rc = mbox_next(&r, &in, end == file.len, &m);
        if (rc == RC_NONE)
            break;
        if (rc == RC_OK) {
            start = end - in.len;
            tell(&said, &m, files[i].variant);
        } else {
            CHECK_INT(rc, RC_MORE);
            end = end + step > file.len ? file.len : end + step;
        }
    }
    CHECK_SLICE(buf_slice(&said), slice_from_str(files[i].want));
    buf_free(&said);
}

static void check_files(void)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        CASE(files[i].sentence);
        check_file(i, 1000000);
        check_file(i, 1);
        check_file(i, 7);
    }
}

static void check_writing(void)
{
    static const struct slice message = SLICE_INIT("A: 1\r\n\r\nFrom x\r\n>From y\r\n\r\nFrom z Thu Aug 22 18:26:25 2002\r\n\r\n"
                                                   "bare \r CR\r\r\n\r\r\r\n\r\n");
    struct mbox_reader r;
    struct mbox_message m;
    struct buf out, back;

    CASE("what is written is read back, whatever it contains");
    buf_init(&out, 65536);
    buf_init(&back, 65536);
    CHECK(mbox_write(SLICE("a b"), 1030040785, message, &out));
    CHECK(mbox_write(SLICE(""), 1030040785, message, &out));
    CHECK(slice_starts_nocase(buf_slice(&out), SLICE("From a-b Thu Aug 22 18:26:25 2002\nA: 1\n\n>From x\n>>From y\n")));
    struct slice in = buf_slice(&out);
    mbox_reader_init(&r);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(mbox_next(&r, &in, true, &m), RC_OK);
        CHECK_SLICE(m.sender, i == 0 ? SLICE("a-b") : SLICE("MAILER-DAEMON"));
        buf_clear(&back);
        CHECK(mbox_unquote(m.raw, MBOX_RD, &back));
        CHECK_SLICE(buf_slice(&back), message);
    }
    CHECK_INT(mbox_next(&r, &in, true, &m), RC_NONE);
    buf_free(&out);
    buf_free(&back);
}

static const struct {
    const char *sentence, *name;
    enum rc rc;
    const char *unique;
    unsigned flags;
    int64_t time_s;
    uint64_t size_bytes;
} names[] = {
    { "a name in cur", "1030040785.M1P2.host,S=123,W=130:2,FRS", RC_OK, "1030040785.M1P2.host,S=123,W=130",
      MAILDIR_FLAGGED | MAILDIR_REPLIED | MAILDIR_SEEN, 1030040785, 123 },
    { "a name in new", "1030040785.1.host", RC_OK, "1030040785.1.host", 0, 1030040785, 0 },
    { "no flags", "1.x:2,", RC_OK, "1.x", 0, 1, 0 },
    { "all flags", "1.x:2,DFPRST", RC_OK, "1.x", 63, 1, 0 },
    { "flags in any order, keywords", "1.x:2,Sab", RC_OK, "1.x", MAILDIR_SEEN | MAILDIR_UNKNOWN, 1, 0 },
    { "flags behind a comma belong to others", "1.x:2,S,a", RC_OK, "1.x", MAILDIR_SEEN, 1, 0 },
    { "another version", "1.x:3,S", RC_OK, "1.x", 0, 1, 0 },
    { "no time", "host.1", RC_OK, "host.1", 0, 0, 0 },
    { "a time that is too large", "99999999999999999999.1", RC_OK, "99999999999999999999.1", 0, 0, 0 },
    { "a dot file", ".lock", RC_PERM, "", 0, 0, 0 },
    { "a path", "../x", RC_PERM, "", 0, 0, 0 },
    { "nothing", "", RC_PERM, "", 0, 0, 0 },
};

static void check_names(void)
{
    struct buf out;

    buf_init(&out, 256);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct maildir_name name;
        CASE(names[i].sentence);
        enum rc rc = maildir_parse_name(slice_from_str(names[i].name), &name);
        CHECK_INT(rc, names[i].rc);
        if (rc != RC_OK)
            continue;
        CHECK_SLICE(name.unique, slice_from_str(names[i].unique));
        CHECK_INT(name.flags, names[i].flags);
        CHECK_INT(name.time_s, names[i].time_s);
        CHECK_INT(name.size_bytes, names[i].size_bytes);
    }
    CASE("flags are written in order");
    CHECK(maildir_write_name(SLICE("u"), MAILDIR_TRASHED | MAILDIR_DRAFT | MAILDIR_SEEN | MAILDIR_UNKNOWN, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("u:2,DST"));
    buf_free(&out);
}

static const struct {
    const char *sentence, *folder;
    enum rc rc;
    const char *utf8;
    const char *again;          /* written; NULL: the same */
} folders[] = {
    { "a folder", ".Sent", RC_OK, "Sent", NULL },
    { "levels", ".A.B C.D", RC_OK, "A/B C/D", NULL },
    { "UTF-7", ".Entw&APw-rfe", RC_OK, "Entw\xc3\xbcrfe", NULL },
    { "UTF-8, as Dovecot may be told to write", ".Entw\xc3\xbcrfe", RC_OK, "Entw\xc3\xbcrfe", ".Entw&APw-rfe" },
    { "an ampersand", ".A &- B", RC_OK, "A & B", NULL },
    { "the inbox", "", RC_OK, "INBOX", NULL },
    { "no dot", "Sent", RC_PERM, "", NULL },
    { "two dots", "..", RC_PERM, "", NULL },
    { "an empty level", ".A..B", RC_PERM, "", NULL },
    { "a last dot", ".A.", RC_PERM, "", NULL },
    { "a slash", ".A/B", RC_PERM, "", NULL },
    { "not UTF-8 at all", ".\xff", RC_PERM, "", NULL },
};

static void check_folders(void)
{
    struct buf utf8, out;

    buf_init(&utf8, 256);
    buf_init(&out, 256);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        CASE(folders[i].sentence);
        buf_clear(&utf8);
        buf_clear(&out);
        enum rc rc = maildir_parse_folder(slice_from_str(folders[i].folder), '/', &utf8);
        CHECK_INT(rc, folders[i].rc);
        if (rc != RC_OK)
            continue;
        CHECK_SLICE(buf_slice(&utf8), slice_from_str(folders[i].utf8));
        CHECK_INT(maildir_write_folder(buf_slice(&utf8), '/', &out), RC_OK);
        CHECK_SLICE(buf_slice(&out), slice_from_str(folders[i].again == NULL ? folders[i].folder : folders[i].again));
    }
    CASE("what cannot be a folder");
    CHECK_INT(maildir_write_folder(SLICE("a//b"), '/', &out), RC_PERM);
    CHECK_INT(maildir_write_folder(SLICE(""), '/', &out), RC_PERM);
    CHECK_INT(maildir_write_folder(SLICE("\xff"), '/', &out), RC_PERM);
    buf_clear(&out);
    CASE("dots within a level cannot be written");
    CHECK_INT(maildir_write_folder(SLICE("../../etc"), '/', &out), RC_OK);
    CHECK_SLICE(buf_slice(&out), SLICE(".__.__.etc"));
    buf_clear(&out);
    CHECK_INT(maildir_write_folder(SLICE("a.b"), '/', &out), RC_OK);
    CHECK_SLICE(buf_slice(&out), SLICE(".a_b"));
    buf_free(&utf8);
    buf_free(&out);
}

int main(void)
{
    check_files();
    check_writing();
    check_names();
    check_folders();
    return check_done();
}
