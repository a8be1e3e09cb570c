/* thurn inspect: what a message is made of, for a person (a tree) or a program (JSON), and what is wrong with it.
 *
 * It only reads the file it is given. What a message says reaches the terminal escaped. */
#include "cli/inspect.h"

#include "cli/commands.h"
#include "cli/options.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGE_MAX = 1 << 30, ARENA_MAX = 256 << 20, OUTPUT_MAX = 1 << 30 };

bool inspect_read_content(const struct inspection *in, const struct mime_part *part, struct inspect_content *content)
{
    struct buf bytes;

    buf_init(&bytes, part->body_end - part->body_start + 64);
    bool is_good = mime_decode_body(in->message, part, &bytes) == RC_OK;
    struct slice s = buf_slice(&bytes);
    content->size_bytes = s.len;
    is_good = is_good && EVP_Digest(s.ptr == NULL ? "" : s.ptr, s.len, content->sha256, NULL, EVP_sha256(), NULL) == 1;
    buf_free(&bytes);
    return is_good;
}

struct slice inspect_header_of(const struct inspection *in, const struct mime_part *part)
{
    return slice_sub(in->message, part->header_start, part->body_start - part->header_start);
}

bool inspect_is_message_root(const struct mime_part *part)
{
    return part->parent == NULL || part->parent->is_message;
}

/* A message within a message shares its number. */
void inspect_append_number(struct buf *out, const struct mime_part *part)
{
    if (part->parent == NULL) {
        if (!part->is_multipart)
            (void)buf_append_byte(out, '1');
        return;
    }
    size_t before = buf_len(out);
    bool is_inner = part->parent->is_message;
    inspect_append_number(out, part->parent);
    if (is_inner && part->is_multipart)
        return;
    (void)buf_printf(out, buf_len(out) > before ? ".%u" : "%u", (unsigned)part->number);
}

const char *inspect_line_ends(const struct lint_bytes *b)
{
    if (b->crlf == 0)
        return b->bare_lf > 0 ? "LF" : "none";
    return b->bare_lf > 0 ? "mixed" : "CRLF";
}

/* Files. */

static bool read_file(const char *path, struct buf *content)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    size_t got = 0;

    if (file == NULL) {
        fprintf(stderr, "thurn inspect: cannot open %s: %s\n", path, strerror(errno));
        return false;
    }
    errno = 0;
    do {
        char *room = buf_reserve(content, 65536);
        if (room == NULL)
            break;
        got = fread(room, 1, 65536, file);
        buf_commit(content, got);
    } while (got > 0);
    bool is_good = !ferror(file) && !content->overflow;
    if (!is_good)
        fprintf(stderr, "thurn inspect: cannot read %s: %s\n", path,
                content->overflow ? "larger than 1 GiB, or no memory" : strerror(errno));
    if (!is_stdin)
        (void)fclose(file);
    return is_good;
}

struct settings {
    bool is_json, is_strict, is_color;
};

static int inspect_file(const char *path, const struct settings *settings)
{
    struct inspection in = { .is_color = settings->is_color };
    struct buf content;
    int status = EXIT_FAILURE;

    buf_init(&content, MESSAGE_MAX);
    buf_init(&in.out, OUTPUT_MAX);
    arena_init(&in.arena, ARENA_MAX);
    if (read_file(path, &content)) {
        struct fault f;
        in.message = buf_slice(&content);
        if (mime_parse(in.message, &in.arena, &in.mime, &f) == RC_OK) {
            lint_message(in.message, &in.mime, &in.lint);
            (settings->is_json ? inspect_json : inspect_show)(&in, path);
            struct slice out = buf_slice(&in.out);
            bool is_written = !in.out.overflow && fwrite(out.ptr, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
            if (!is_written)
                fprintf(stderr, "thurn inspect: cannot write what was found in %s\n", path);
            if (is_written && !(settings->is_strict && in.lint.defect_count > 0))
                status = EXIT_SUCCESS;
        } else {
            fprintf(stderr, "thurn inspect: %s: %s\n", path, f.text);
        }
    }
    arena_free(&in.arena);
    buf_free(&in.out);
    buf_free(&content);
    return status;
}

int cmd_inspect(int argc, char **argv)
{
    struct settings settings = { .is_color = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL };
    int status = EXIT_SUCCESS;
    const struct cli_option options[] = {
        { "json", 'j', NULL, "one JSON object a message, on one line", CLI_FLAG(&settings.is_json) },
        { "strict", 0, NULL, "exit status 1 when something is wrong with a message", CLI_FLAG(&settings.is_strict) },
        CLI_OPTIONS_END
    };
    const struct cli_usage usage = {
        "inspect", "[options] FILE...",
        "Shows what a message is made of: its fields decoded, its MIME parts with the offsets of their headers and "
        "bodies, the decoded size and SHA-256 of each content, and what is wrong with it. FILE is a raw message; "
        "\"-\" is standard input.",
        options,
        "Offsets are bytes from the start of the file; a part's number is the one IMAP uses.\n"
        "Exit status: 0, 1 when a file cannot be read (or, with --strict, something is wrong), 2 for wrong usage.",
    };
    int at = cli_parse(&usage, argc, argv);

    if (at < 0)
        return cli_parse_status(at);
    if (at == argc)
        return cli_wrong(&usage, "a file is missing");
    for (; at < argc; at++) {
        if (inspect_file(argv[at], &settings) != EXIT_SUCCESS)
            status = EXIT_FAILURE;
        if (!settings.is_json && at + 1 < argc)
            (void)putchar('\n');
    }
    return status;
}
