/* thurn inspect, as a script sees it. */
#include "cli/commands.h"
#include "cli/json.h"

#include "check.h"

#include <unistd.h>

static const struct slice message = SLICE_INIT(
    "Date: Thu, 22 Aug 2002 18:26:25 +0700\r\nFrom: =?utf-8?Q?J=C3=B6rg?= <j@x.example>\r\n"
    "Subject: =?utf-8?Q?=1B[31mred?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\n\r\ntext\r\n"
    "--b\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename*=utf-8''%C3%A4.png\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--b--\r\n");

/* Runs the command on a file with that content; gives the exit status and what it printed. */
static int run(struct slice content, const char *option, struct buf *out)
{
    char path[] = "/tmp/thurn-test-XXXXXX";
    char name[] = "inspect", word[32], *argv[] = { name, path, word, NULL };
    FILE *printed = tmpfile();
    int fd = mkstemp(path), saved = dup(STDOUT_FILENO);

    CHECK(slice_to_str(slice_from_str(option), word, sizeof word));
    CHECK(printed != NULL && fd >= 0 && saved >= 0);
    CHECK_INT(write(fd, content.ptr, content.len), content.len);
    fflush(stdout);
    CHECK(dup2(fileno(printed), STDOUT_FILENO) >= 0);
    int status = cmd_inspect(option[0] == '\0' ? 2 : 3, argv);
    fflush(stdout);
    CHECK(dup2(saved, STDOUT_FILENO) >= 0);
    buf_clear(out);
    rewind(printed);
    char *room = buf_reserve(out, 65536);
    buf_commit(out, fread(room, 1, 65536, printed));
    (void)fclose(printed);
    (void)close(saved);
    (void)close(fd);
    (void)unlink(path);
    return status;
}

static bool has(const struct buf *out, const char *text)
{
    struct slice s = buf_slice(out);
    return slice_find(s, slice_from_str(text)) < s.len;
}

static void check_json(struct buf *out)
{
    struct arena arena;
    struct json *root;

    arena_init(&arena, 1 << 20);
    CASE("a program reads it as JSON");
    CHECK_INT(run(message, "--json", out), 0);
    CHECK_INT(json_parse(slice_trim(buf_slice(out)), &arena, &root, NULL), RC_OK);
    CHECK_INT(json_number(root, "bytes"), message.len);
    CHECK_INT(json_number(root, "bare_lf"), 0);
    CHECK_SLICE(json_text(root, "line_ends"), SLICE("CRLF"));
    const struct json *mail = json_get(root, "message");
    CHECK_SLICE(json_text(mail, "type"), SLICE("multipart/mixed"));
    CHECK_SLICE(json_text(mail, "date"), SLICE("2002-08-22T11:26:25.000Z"));
    CHECK_SLICE(json_text(json_get(mail, "from")->first, "name"), SLICE("J\xc3\xb6rg"));
    const struct json *text = json_get(mail, "parts")->first, *image = text->next;
    CHECK_SLICE(json_text(text, "number"), SLICE("1"));
    CHECK_SLICE(json_text(image, "file_name"), SLICE("\xc3\xa4.png"));
    CHECK_INT(json_number(image, "content_bytes"), 5);
    CHECK_SLICE(json_text(image, "sha256"), SLICE("185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969"));
    CHECK_SLICE(slice_sub(message, (size_t)json_number(image, "body_start"), 8), SLICE("SGVsbG8="));
    CHECK(json_get(root, "defects")->first == NULL);
    arena_free(&arena);
}

int main(void)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    check_json(&out);
    CASE("a person reads a tree, and nothing in it reaches the terminal raw");
    CHECK_INT(run(message, "", &out), 0);
    CHECK(has(&out, "From: J\xc3\xb6rg <j@x.example>\n") && has(&out, "Subject: \\x1b[31mred\n"));
    CHECK(has(&out, "\n  2 image/png base64 attachment \"\xc3\xa4.png\"") && has(&out, "content 5 bytes, sha256 185f8db3"));
    CHECK(has(&out, "Nothing is wrong with it.") && !has(&out, "\033"));
    CASE("with --strict a message that has something wrong fails");
    CHECK_INT(run(message, "--strict", &out), 0);
    CHECK_INT(run(SLICE("Subject: x\r\n\r\n\r"), "--strict", &out), 1);
    CHECK(has(&out, "line 1, offset 0: no Date field") && has(&out, "line 3, offset 14: bare CR"));
    CASE("an empty file is a message too");
    CHECK_INT(run(SLICE(""), "--json", &out), 0);
    CASE("wrong usage");
    CHECK_INT(run(message, "--no-such-option", &out), EXIT_USAGE);
    buf_free(&out);
    return check_done();
}
