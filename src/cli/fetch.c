/* `thurn fetch`: lists and reads mail over IMAP or POP3, as any mail program does; of any server. */
#include "cli/fetch.h"

#include "base/text.h"
#include "cli/commands.h"
#include "mail/header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int fetch_failed(const struct fault *f)
{
    fprintf(stderr, "thurn fetch: %s\n", f->text[0] != '\0' ? f->text : "the connection ended");
    return EXIT_FAILURE;
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Several messages never go into one file, where each would take the place of the one before. */
static bool make_folder(const struct fetch *fetch)
{
    const char *path = fetch->output;
    if (path == NULL || strcmp(path, "-") == 0)
        return true;
    bool is_one = !fetch->all && fetch->word_count == 1 && strpbrk(fetch->words[0], ":,*") == NULL;
    if (is_folder(path) || (is_one && path[strlen(path) - 1] != '/'))
        return true;
    if (mkdir(path, 0777) == 0)
        return true;
    fprintf(stderr, errno == EEXIST || errno == ENOTDIR ? "thurn fetch: %s is a file: several messages want a folder\n"
                                                        : "thurn fetch: the folder %s cannot be made\n", path);
    return false;
}

enum rc fetch_file_begin(struct fetch_file *file, const struct fetch *fetch, const char *name, struct fault *f)
{
    *file = (struct fetch_file){ .file = stdout, .is_open = true };
    if (fetch->output == NULL || strcmp(fetch->output, "-") == 0)
        return RC_OK;
    file->is_open = false;
    int len = is_folder(fetch->output) ? snprintf(file->path, sizeof(file->path), "%s/%s.eml", fetch->output, name)
                                       : snprintf(file->path, sizeof(file->path), "%s", fetch->output);
    if (len >= (int)sizeof(file->path) - 8)
        return fault_perm(f, 0, "%s: the path is too long", fetch->output);
    memcpy(file->temporary, file->path, (size_t)len);
    strcpy(file->temporary + len, ".part");
    file->file = fopen(file->temporary, "we");
    if (file->file == NULL)
        return fault_errno(f, errno, "%s", file->temporary);
    file->is_open = true;
    return RC_OK;
}

bool fetch_file_write(struct fetch_file *file, struct slice bytes)
{
    file->bytes += bytes.len;
    return bytes.len == 0 || fwrite(bytes.ptr, 1, bytes.len, file->file) == bytes.len;
}

enum rc fetch_file_keep(struct fetch_file *file, struct fault *f)
{
    file->is_open = false;
    if (file->file == stdout)
        return fflush(stdout) == 0 ? RC_OK : fault_errno(f, errno, "standard output");
    bool is_written = fflush(file->file) == 0 && fsync(fileno(file->file)) == 0;
    int error = errno;
    is_written = fclose(file->file) == 0 && is_written;
    if (is_written && rename(file->temporary, file->path) == 0)
        return RC_OK;
    error = is_written ? errno : error;
    unlink(file->temporary);
    return fault_errno(f, error, "%s", file->path);
}

void fetch_file_abandon(struct fetch_file *file)
{
    if (!file->is_open)
        return;
    file->is_open = false;
    if (file->file == stdout)
        return;
    fclose(file->file);
    unlink(file->temporary);
}

/* ---- listings -------------------------------------------------------------------------------------------------------- */

/* A header field for a person: one line, decoded, nothing that moves the cursor. */
static void append_field(struct buf *out, struct slice header, struct slice name)
{
    struct header_field field;
    struct buf text;
    if (header_find(header, name, &field) != RC_OK)
        return;
    buf_init(&text, FETCH_HEADER_MAX);
    (void)header_decode(field.body, &text);
    buf_append(out, buf_slice(&text));
    buf_free(&text);
}

static void print_json(const struct fetch_summary *summary)
{
    static const char *const fields[] = { "date", "from", "to", "subject" };
    struct buf out, text;
    buf_init(&out, FETCH_HEADER_MAX * 8);
    buf_init(&text, FETCH_HEADER_MAX);
    buf_printf(&out, "{\"%s\":%" PRIu32 ",\"size\":%" PRIu64, summary->id_name, summary->id, summary->size);
    if (summary->unique.len > 0) {
        buf_append_str(&out, ",\"unique_id\":");
        json_append_string(&out, summary->unique);
    }
    if (summary->flags.ptr != NULL) {
        struct slice flags = summary->flags;
        const char *comma = "";
        buf_append_str(&out, ",\"flags\":[");
        while (flags.len > 0) {
            buf_append_str(&out, comma);
            json_append_string(&out, slice_take_until(&flags, ' '));
            comma = ",";
        }
        buf_append_str(&out, "]");
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        buf_clear(&text);
        append_field(&text, summary->header, slice_from_str(fields[i]));
        buf_printf(&out, ",\"%s\":", fields[i]);
        json_append_string(&out, buf_slice(&text));
    }
    buf_append_str(&out, "}\n");
    fwrite(out.data + out.start, 1, buf_len(&out), stdout);
    buf_free(&text);
    buf_free(&out);
}

static void print_column(struct slice header, const char *name, size_t width)
{
    struct buf text, escaped;
    size_t columns = 0;
    buf_init(&text, FETCH_HEADER_MAX);
    buf_init(&escaped, FETCH_HEADER_MAX * 4);
    append_field(&text, header, slice_from_str(name));
    buf_append_escaped(&escaped, buf_slice(&text), true);
    struct slice rest = buf_slice(&escaped), all = rest;
    uint32_t code_point;
    while (columns < width && rest.len > 0 && utf8_take(&rest, &code_point) == RC_OK)
        columns++;
    fwrite(all.ptr, 1, all.len - rest.len, stdout);
    if (width != SIZE_MAX)
        printf("%*s", (int)(width - columns), "");
    buf_free(&text);
    buf_free(&escaped);
}

/* "Seen Flagged": the backslash is IMAP's affair. */
static void print_flags(struct slice flags)
{
    struct buf out;
    buf_init(&out, FETCH_HEADER_MAX * 4);
    for (const char *gap = ""; flags.len > 0; gap = " ") {
        struct slice flag = slice_take_until(&flags, ' ');
        (void)slice_take_byte(&flag, '\\');
        buf_append_str(&out, gap);
        buf_append_escaped(&out, flag, false);
    }
    printf("  (%.*s)", SLICE_ARG(buf_slice(&out)));
    buf_free(&out);
}

void fetch_print_summary(const struct fetch *fetch, const struct fetch_summary *summary)
{
    if (fetch->json) {
        print_json(summary);
        return;
    }
    struct buf size;
    buf_init(&size, 64);
    terminal_write_bytes(&size, summary->size);
    buf_append_byte(&size, '\0');
    printf("%8" PRIu32 "  %9s  ", summary->id, size.data + size.start);
    buf_free(&size);
    print_column(summary->header, "date", 31);
    printf("  ");
    print_column(summary->header, "from", 32);
    printf("  ");
    print_column(summary->header, "subject", SIZE_MAX);
    if (summary->flags.len > 0) {
        print_flags(summary->flags);
    }
    printf("\n");
}

/* ---- the command ------------------------------------------------------------------------------------------------------ */

static const char notes[] =
    "What to do:\n"
    "  list              the folders, with their number of messages and of unread ones\n"
    "  list messages     the messages of one folder\n"
    "  get NUMBER...     messages: UIDs and ranges of IMAP (7 3:9 12:*), message numbers of POP3\n"
    "  get --all         all of them\n"
    "\n"
    "Examples:\n"
    "  thurn fetch -s mail.example.org -u ann@example.org list messages\n"
    "  thurn fetch -s mail.example.org -u ann@example.org get --all --output mail/\n"
    "  thurn fetch --protocol pop3 -s mail.example.org -u ann@example.org get 1\n";

static int wrong_words(const struct cli_usage *usage, const struct fetch *fetch, enum fetch_task task)
{
    if (task != FETCH_GET && (fetch->output != NULL || fetch->all || fetch->deletes))
        return cli_wrong(usage, "--output, --all and --delete go with get");
    if (task != FETCH_GET)
        return EXIT_SUCCESS;
    if (fetch->all == (fetch->word_count > 0))
        return cli_wrong(usage, "get wants either numbers or --all");
    if (fetch->output != NULL && fetch->output[0] == '\0')
        return cli_wrong(usage, "--output wants a path");
    if (fetch->deletes && fetch->output == NULL)
        return cli_wrong(usage, "--delete goes with --output only, so that nothing is lost");
    return EXIT_SUCCESS;
}

static int run(const struct cli_usage *usage, struct fetch *fetch, char **words, int count)
{
    enum fetch_task task = FETCH_FOLDERS;
    bool is_pop3 = strcmp(fetch->protocol, "pop3") == 0;
    const struct net_ports ports = { .starttls = is_pop3 ? 110 : 143, .implicit = is_pop3 ? 995 : 993, .usual = NET_TLS_IMPLICIT };

    if (!is_pop3 && strcmp(fetch->protocol, "imap") != 0)
        return cli_wrong(usage, "--protocol %s: imap or pop3 is possible", fetch->protocol);
    if (count >= 1 && strcmp(words[0], "get") == 0)
        task = FETCH_GET;
    else if (count == 2 && strcmp(words[0], "list") == 0 && strcmp(words[1], "messages") == 0)
        task = FETCH_MESSAGES;
    else if (count != 1 || strcmp(words[0], "list") != 0)
        return cli_wrong(usage, "list, list messages or get is possible");
    fetch->words = words + 1;
    fetch->word_count = task == FETCH_GET ? (size_t)count - 1 : 0;
    int status = wrong_words(usage, fetch, task);
    if (status != EXIT_SUCCESS)
        return status;
    if (fetch->target.user == NULL)
        return cli_wrong(usage, "--user NAME says whose mail it is");
    if (!net_target_prepare(usage, &fetch->target, &ports))
        return EXIT_USAGE;
    if (task == FETCH_GET && !make_folder(fetch))
        return EXIT_FAILURE;
    status = is_pop3 ? fetch_pop3(fetch, task) : fetch_imap(fetch, task);
    net_target_wipe(&fetch->target);
    return status;
}

int cmd_fetch(int argc, char **argv)
{
    struct fetch fetch = { .protocol = "imap", .mailbox = "INBOX" };
    const struct cli_option options[] = {
        { "protocol", 'p', "NAME", "imap (the default) or pop3", CLI_TEXT(&fetch.protocol) },
        NET_TARGET_OPTIONS(&fetch.target),
        { "mailbox", 'm', "NAME", "the folder; INBOX by default (IMAP)", CLI_TEXT(&fetch.mailbox) },
        { "all", 'a', NULL, "get all messages of the folder", CLI_FLAG(&fetch.all) },
        { "output", 'o', "PATH", "write into this folder as NUMBER.eml (it is made if need be), or one message to this file; else to standard output", CLI_TEXT(&fetch.output) },
        { "delete", 0, NULL, "delete each message from the server once its file is safely written", CLI_FLAG(&fetch.deletes) },
        { "json", 'j', NULL, "one JSON object a line", CLI_FLAG(&fetch.json) },
        CLI_OPTIONS_END
    };
    const struct cli_usage usage = { "fetch", "[options] list | list messages | get NUMBER...",
                                     "Lists and reads mail over IMAP or POP3.", options, notes };
    int first = cli_parse(&usage, argc, argv);
    return first < 0 ? cli_parse_status(first) : run(&usage, &fetch, argv + first, argc - first);
}
