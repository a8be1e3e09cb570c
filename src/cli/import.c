/* `thurn import`: mbox files and Maildirs into an account, by a running server (IMAP) or straight into the store. */
#include "cli/import.h"

#include "base/text.h"
#include "cli/commands.h"
#include "cli/imap_tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { JOURNAL_ARENA_MAX = 1024 * 1024 * 1024, JOURNAL_LINE_MAX = 64 * 1024 };

/* ---- the journal: what a run that was broken off has done ------------------------------------------------------------- */

/* Lines "kept ORIGIN" and "skipped ORIGIN". */
static enum rc read_journal(struct import *import, struct fault *f)
{
    char *line = NULL;
    size_t cap = 0;
    FILE *file = fopen(import->journal_path, "re");
    enum rc rc = RC_OK;
    if (file == NULL && errno != ENOENT)
        return fault_errno(f, errno, "%s", import->journal_path);
    for (ssize_t len; file != NULL && rc == RC_OK && (len = getline(&line, &cap, file)) > 0; ) {
        struct slice text = { line, (size_t)len };
        if (text.ptr[text.len - 1] != '\n' || !slice_take_prefix_nocase(&text, SLICE("kept ")))
            continue;       /* torn, or skipped: it is tried again */
        text = arena_copy(&import->journal_arena, slice_sub(text, 0, text.len - 1));
        if (text.ptr == NULL || !map_put(&import->journal_kept, text, import))
            rc = fault_no_memory(f);
    }
    free(line);
    if (file != NULL)
        fclose(file);
    if (rc != RC_OK)
        return rc;
    import->journal = fopen(import->journal_path, "ae");
    return import->journal != NULL ? RC_OK : fault_errno(f, errno, "%s", import->journal_path);
}

static void note(struct import *import, const char *fate, const char *origin)
{
    if (import->journal != NULL)
        fprintf(import->journal, "%s %s\n", fate, origin);
}

bool import_is_done(const struct import *import, const char *origin)
{
    return map_get(&import->journal_kept, slice_from_str(origin)) != NULL;
}

/* ---- messages ------------------------------------------------------------------------------------------------------------ */

void import_skip(struct import *import, const char *origin, const char *why)
{
    import->skipped++;
    note(import, "skipped", origin);
    progress_end(&import->progress);
    if (import->json) {
        struct buf out;
        buf_init(&out, JOURNAL_LINE_MAX);
        buf_append_str(&out, "{\"skipped\":");
        json_append_string(&out, slice_from_str(origin));
        buf_append_str(&out, ",\"why\":");
        json_append_string(&out, slice_from_str(why));
        buf_append_str(&out, "}\n");
        fwrite(out.data + out.start, 1, buf_len(&out), stdout);
        buf_free(&out);
    } else {
        fprintf(stderr, "skipped %s: %s\n", origin, why);
    }
}

static void on_settled(void *arg, uint64_t ticket, bool is_kept, const char *why)
{
    struct import *import = arg;
    char *origin = (char *)(uintptr_t)ticket;
    import->under_way--;
    if (is_kept) {
        import->kept++;
        note(import, "kept", origin);
    } else {
        import_skip(import, origin, why);
    }
    free(origin);
}

enum rc import_message(struct import *import, const struct archive_item *item, const char *origin, struct fault *f)
{
    if (import_is_done(import, origin)) {
        import->before++;
        return RC_OK;
    }
    if (item->bytes.len > ARCHIVE_MESSAGE_MAX) {
        import_skip(import, origin, "the message is longer than 512 MiB");
        return RC_OK;
    }
    char *ticket = strdup(origin);
    if (ticket == NULL)
        return fault_no_memory(f);
    import->under_way++;
    import->bytes += item->bytes.len;
    return import->sink.add(import->sink.self, item, (uint64_t)(uintptr_t)ticket, f);
}

enum rc import_folder(struct import *import, struct slice name, bool is_subscribed, struct fault *f)
{
    import->folders++;
    return import->sink.open_folder(import->sink.self, name, is_subscribed, f);
}

bool import_folder_name(const struct import *import, struct slice name, struct buf *out)
{
    bool is_inbox = name.len == 0 || slice_equal_nocase(name, SLICE("INBOX"));
    buf_clear(out);
    if (import->mailbox == NULL)
        return buf_append(out, is_inbox ? SLICE("INBOX") : name);
    buf_append_str(out, import->mailbox);
    if (!is_inbox) {
        buf_append_byte(out, '/');
        buf_append(out, name);
    }
    return !out->overflow;
}

/* ---- the command -------------------------------------------------------------------------------------------------------- */

static void print_summary(const struct import *import, int64_t began_ms)
{
    double seconds = (double)(terminal_now_ms() - began_ms) / 1000;
    if (import->json) {
        printf("{\"kept\":%" PRIu64 ",\"skipped_count\":%" PRIu64 ",\"kept_before\":%" PRIu64 ",\"not_settled\":%" PRIu64 ",\"folders\":%" PRIu64
               ",\"bytes\":%" PRIu64 ",\"seconds\":%.3f}\n",
               import->kept, import->skipped, import->before, import->under_way, import->folders, import->bytes, seconds);
        return;
    }
    printf("%" PRIu64 " message%s imported into %" PRIu64 " folder%s in %.1f s (%.0f a second), %" PRIu64 " skipped", import->kept,
           import->kept == 1 ? "" : "s", import->folders, import->folders == 1 ? "" : "s",
           seconds, seconds > 0 ? (double)import->kept / seconds : 0.0, import->skipped);
    if (import->before > 0)
        printf(", %" PRIu64 " imported before", import->before);
    if (import->under_way > 0)
        printf(", %" PRIu64 " under way when it broke off: perhaps there, perhaps not", import->under_way);
    printf("\n");
}

static enum rc open_sink(struct import *import, struct fault *f)
{
    struct archive_fates fates = { .settled = on_settled, .arg = import };
    if (import->target.user != NULL)
        return archive_sink_imap(&import->target, &fates, &import->sink, f);
    enum rc rc = archive_sink_store(import->config_path, import->account, &fates, &import->sink, f);
    if (rc != RC_OK)
        fault_prefix(f, "without a server (--server HOST and --user NAME import through a running one)");
    return rc;
}

static int import_all(struct import *import, bool is_mbox, const char *path)
{
    struct fault f = { .rc = RC_OK }, ignored;
    int64_t began_ms = terminal_now_ms();
    enum rc rc = import->journal_path != NULL ? read_journal(import, &f) : RC_OK;
    if (rc == RC_OK)
        rc = open_sink(import, &f);
    if (rc != RC_OK) {
        fprintf(stderr, "thurn import: %s\n", f.text);
        return EXIT_FAILURE;
    }
    rc = is_mbox ? import_mbox(import, path, &f) : import_maildir(import, path, &f);
    enum rc finished = import->sink.finish(import->sink.self, rc == RC_OK ? &f : &ignored);
    rc = rc == RC_OK ? finished : rc;
    progress_end(&import->progress);
    import->sink.close(import->sink.self);
    if (import->journal != NULL && fclose(import->journal) != 0)
        fprintf(stderr, "thurn import: %s: %s\n", import->journal_path, strerror(errno));
    if (rc != RC_OK)
        fprintf(stderr, "thurn import: %s%s\n", f.text, import->journal_path != NULL ? "; the same command goes on where this one ended" : "");
    print_summary(import, began_ms);
    return rc == RC_OK && import->skipped == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const char notes[] =
    "FORMAT is mbox (PATH is a file, or a folder of such files) or maildir (Maildir++; PATH holds cur, new and tmp).\n"
    "Flags, keywords, dates, folders and subscriptions are kept.\n"
    "\n"
    "With --user the messages go through a running server by IMAP; without, straight into the store of this machine\n"
    "while no server runs.\n"
    "\n"
    "Examples:\n"
    "  thurn import maildir /home/ann/Maildir --account ann@example.org\n"
    "  thurn import mbox old.mbox --mailbox Archive/Old --server mail.example.org --user ann@example.org --journal done.txt\n"
    "\n"
    "Exit status: 0 when every message was imported, 1 when one was not, 2 when called wrongly.\n";

static bool parse_variant(const char *text, enum mbox_variant *variant)
{
    static const struct { const char *name; enum mbox_variant variant; } variants[] = { { "rd", MBOX_RD }, { "o", MBOX_O }, { "none", MBOX_CL } };
    for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++) {
        if (strcmp(text, variants[i].name) == 0) {
            *variant = variants[i].variant;
            return true;
        }
    }
    return false;
}

static int run(const struct cli_usage *usage, struct import *import, const char *quoting, char **words, int count)
{
    if (count != 2)
        return cli_wrong(usage, "which format and where? mbox PATH or maildir PATH");
    bool is_mbox = strcmp(words[0], "mbox") == 0;
    if (!is_mbox && strcmp(words[0], "maildir") != 0)
        return cli_wrong(usage, "\"%s\": mbox or maildir is possible", words[0]);
    if (!parse_variant(quoting, &import->variant))
        return cli_wrong(usage, "--quoting %s: rd, o or none is possible", quoting);
    if (import->target.user == NULL && import->target.server != NULL)
        import->target.user = import->account;
    if (import->target.user == NULL && import->account == NULL)
        return cli_wrong(usage, "--account NAME says whose mail it becomes");
    if (import->target.user != NULL && !net_target_prepare(usage, &import->target, &imap_tool_ports))
        return EXIT_USAGE;
    buf_init(&import->scratch, (size_t)ARCHIVE_MESSAGE_MAX * 2);
    arena_init(&import->journal_arena, JOURNAL_ARENA_MAX);
    map_init(&import->journal_kept, NULL);
    int status = import_all(import, is_mbox, words[1]);
    net_target_wipe(&import->target);
    buf_free(&import->scratch);
    arena_free(&import->journal_arena);
    map_free(&import->journal_kept);
    return status;
}

int cmd_import(int argc, char **argv)
{
    const char *from_environment = getenv("THURN_CONFIG"), *quoting = "rd";
    struct import import = { .config_path = from_environment != NULL ? from_environment : "/etc/thurn/thurn.yaml" };
    const struct cli_option options[] = {
        { "account", 'A', "NAME", "whose mail it becomes", CLI_TEXT(&import.account) },
        { "mailbox", 'm', "NAME", "the folder for it (INBOX by default); folders of the source go below", CLI_TEXT(&import.mailbox) },
        { "journal", 0, "FILE", "note in FILE what is done, so that the same command goes on where it was broken off", CLI_TEXT(&import.journal_path) },
        { "quoting", 0, "KIND", "how the mbox quotes \"From \": rd (the default), o, none", CLI_TEXT(&quoting) },
        { "config", 'c', "FILE", "the configuration file (default: $THURN_CONFIG, or /etc/thurn/thurn.yaml)", CLI_TEXT(&import.config_path) },
        NET_TARGET_OPTIONS(&import.target),
        { "json", 'j', NULL, "one JSON object a line: what was skipped and why, then the sum", CLI_FLAG(&import.json) },
        CLI_OPTIONS_END
    };
    const struct cli_usage usage = { "import", "[options] FORMAT PATH", "Brings mail from mbox files or a Maildir into an account.", options, notes };
    int first = cli_parse(&usage, argc, argv);
    return first < 0 ? cli_parse_status(first) : run(&usage, &import, quoting, argv + first, argc - first);
}
