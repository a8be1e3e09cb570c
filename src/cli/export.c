/* `thurn export`: an account's mail into mbox files or a Maildir, from a running server (IMAP) or straight from the store,
 * which a running server does not mind: it is only read. */
#include "cli/export.h"

#include "cli/commands.h"
#include "cli/imap_tool.h"
#include "cli/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct exporting {
    struct net_target target;
    const char *config_path, *account, *mailbox;
    bool json;
    struct archive_source source;
    struct export_writer writer;
    struct progress progress;
    struct fault *fault;
    uint64_t messages, folders, bytes;
    bool is_found;                  /* --mailbox */
    bool has_failed;
};

static bool on_message(void *arg, const struct archive_item *item)
{
    struct exporting *exporting = arg;
    if (exporting->writer.add(exporting->writer.self, item, exporting->fault) != RC_OK) {
        exporting->has_failed = true;
        return false;
    }
    exporting->messages++;
    exporting->bytes += item->bytes.len;
    progress_at(&exporting->progress, exporting->messages);
    return true;
}

/* The folder that was asked for and what lies below it. */
static bool is_wanted(const struct exporting *exporting, struct slice name)
{
    if (exporting->mailbox == NULL)
        return true;
    struct slice wanted = slice_from_str(exporting->mailbox), rest = name;
    if (slice_equal(name, wanted) || (slice_equal_nocase(wanted, SLICE("INBOX")) && slice_equal_nocase(name, wanted)))
        return true;
    return slice_equal(slice_take(&rest, wanted.len), wanted) && slice_take_byte(&rest, '/');
}

static bool on_folder(void *arg, const struct archive_folder *folder)
{
    struct exporting *exporting = arg;
    struct fault own = { .rc = RC_OK };
    if (!is_wanted(exporting, folder->name) || !folder->is_selectable)
        return true;
    exporting->is_found = true;
    enum rc rc = exporting->writer.open_folder(exporting->writer.self, folder, exporting->fault);
    if (rc == RC_OK) {
        rc = exporting->source.each_message(exporting->source.self, folder->name, on_message, exporting, &own);
        if (rc != RC_OK && !exporting->has_failed)
            *exporting->fault = own;
    }
    if (rc == RC_OK)
        rc = exporting->writer.close_folder(exporting->writer.self, exporting->fault);
    exporting->folders += rc == RC_OK;
    exporting->has_failed = rc != RC_OK;
    return rc == RC_OK;
}

static enum rc export_folders(struct exporting *exporting, struct fault *f)
{
    struct fault own = { .rc = RC_OK };
    exporting->fault = f;
    enum rc rc = exporting->source.each_folder(exporting->source.self, on_folder, exporting, &own);
    if (rc != RC_OK && !exporting->has_failed)
        *f = own;
    if (rc == RC_OK && exporting->mailbox != NULL && !exporting->is_found)
        rc = fault_perm(f, 0, "%s: no such folder", exporting->mailbox);
    return rc == RC_OK ? exporting->writer.finish(exporting->writer.self, f) : rc;
}

static enum rc open_source(struct exporting *exporting, struct fault *f)
{
    if (exporting->target.user != NULL)
        return archive_source_imap(&exporting->target, &exporting->source, f);
    return archive_source_store(exporting->config_path, exporting->account, &exporting->source, f);
}

static int export_all(struct exporting *exporting, bool is_mbox, const char *path)
{
    struct fault f = { .rc = RC_OK };
    int64_t began_ms = terminal_now_ms();
    enum rc rc = open_source(exporting, &f);
    if (rc == RC_OK) {
        rc = is_mbox ? export_to_mbox(path, exporting->mailbox != NULL, &exporting->writer, &f) : export_to_maildir(path, &exporting->writer, &f);
        progress_begin(&exporting->progress, "export", false, 0);
        if (rc == RC_OK) {
            rc = export_folders(exporting, &f);
            exporting->writer.close(exporting->writer.self);
        }
        progress_end(&exporting->progress);
        exporting->source.close(exporting->source.self);
    }
    if (rc != RC_OK)
        fprintf(stderr, "thurn export: %s\n", f.text[0] != '\0' ? f.text : "the connection ended");
    double seconds = (double)(terminal_now_ms() - began_ms) / 1000;
    if (exporting->json)
        printf("{\"messages\":%" PRIu64 ",\"folders\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.3f,\"complete\":%s}\n", exporting->messages,
               exporting->folders, exporting->bytes, seconds, rc == RC_OK ? "true" : "false");
    else if (rc == RC_OK)
        printf("%" PRIu64 " message%s of %" PRIu64 " folder%s exported in %.1f s\n", exporting->messages, exporting->messages == 1 ? "" : "s",
               exporting->folders, exporting->folders == 1 ? "" : "s", seconds);
    return rc == RC_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const char notes[] =
    "FORMAT is mbox (PATH becomes a folder of NAME.mbox files; with --mailbox it may be one file) or maildir (Maildir++).\n"
    "Flags, keywords, dates, folders and subscriptions are kept; an import of the same brings them back.\n"
    "\n"
    "With --user the messages come from a running server by IMAP; without, from the store of this machine.\n"
    "\n"
    "Examples:\n"
    "  thurn export maildir /tmp/ann --account ann@example.org\n"
    "  thurn export mbox inbox.mbox --mailbox INBOX --server mail.example.org --user ann@example.org\n";

static int run(const struct cli_usage *usage, struct exporting *exporting, char **words, int count)
{
    if (count != 2)
        return cli_wrong(usage, "which format and where? mbox PATH or maildir PATH");
    bool is_mbox = strcmp(words[0], "mbox") == 0;
    if (!is_mbox && strcmp(words[0], "maildir") != 0)
        return cli_wrong(usage, "\"%s\": mbox or maildir is possible", words[0]);
    if (exporting->target.user == NULL && exporting->target.server != NULL)
        exporting->target.user = exporting->account;
    if (exporting->target.user == NULL && exporting->account == NULL)
        return cli_wrong(usage, "--account NAME says whose mail it is");
    if (exporting->target.user != NULL && !net_target_prepare(usage, &exporting->target, &imap_tool_ports))
        return EXIT_USAGE;
    int status = export_all(exporting, is_mbox, words[1]);
    net_target_wipe(&exporting->target);
    return status;
}

int cmd_export(int argc, char **argv)
{
    const char *from_environment = getenv("THURN_CONFIG");
    struct exporting exporting = { .config_path = from_environment != NULL ? from_environment : "/etc/thurn/thurn.yaml" };
    const struct cli_option options[] = {
        { "account", 'A', "NAME", "whose mail it is", CLI_TEXT(&exporting.account) },
        { "mailbox", 'm', "NAME", "only this folder and what lies below it", CLI_TEXT(&exporting.mailbox) },
        { "config", 'c', "FILE", "the configuration file (default: $THURN_CONFIG, or /etc/thurn/thurn.yaml)", CLI_TEXT(&exporting.config_path) },
        NET_TARGET_OPTIONS(&exporting.target),
        { "json", 'j', NULL, "print the sum as a JSON object", CLI_FLAG(&exporting.json) },
        CLI_OPTIONS_END
    };
    const struct cli_usage usage = { "export", "[options] FORMAT PATH", "Writes an account's mail into mbox files or a Maildir.", options, notes };
    int first = cli_parse(&usage, argc, argv);
    return first < 0 ? cli_parse_status(first) : run(&usage, &exporting, argv + first, argc - first);
}
