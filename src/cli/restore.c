/* thurn restore: mailboxes as they were, mailboxes that were deleted, single messages. */
#include "cli/restore.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "config/value.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- when ----------------------------------------------------------------------------------------------------------- */

static const char *const time_forms[] = {
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d",
};

/* Local time in one of the forms above (UTC with a Z behind it), or an age such as 2h. */
static bool parse_when(const char *text, int64_t now_s, int64_t *out)
{
    static const struct setting age = { .name = "age", .kind = SETTING_DURATION, .max = UINT32_MAX };
    struct fault fault;
    uint32_t seconds;
    for (size_t i = 0; i < sizeof time_forms / sizeof time_forms[0]; i++) {
        struct tm parts = { .tm_isdst = -1 };
        const char *end = strptime(text, time_forms[i], &parts);
        if (end != NULL && (*end == '\0' || strcmp(end, "Z") == 0)) {
            *out = (int64_t)(*end == 'Z' ? timegm(&parts) : mktime(&parts));
            return *out > 0;
        }
    }
    if (value_parse(&age, slice_from_str(text), &seconds, NULL, &fault) != RC_OK)
        return false;
    *out = now_s - seconds;
    return *out > 0;
}

/* ---- whose ---------------------------------------------------------------------------------------------------------- */

struct finding {
    struct slice name;
    uint64_t id;
};

static void on_account(void *arg, const struct json *row)
{
    struct finding *finding = arg;
    if (slice_equal_nocase(json_text(row, "account"), finding->name))
        finding->id = (uint64_t)json_number(row, "id");
}

static void on_restored(void *arg, const struct json *row)
{
    (void)arg;
    fprintf(stderr, "%.*s: the account is there again, with its password and what its mailboxes had\n", SLICE_ARG(json_text(row, "account")));
}

uint64_t restore_account_id(const struct restore *restore)
{
    struct finding finding = { .name = slice_from_str(restore->account) };
    struct admin admin;
    admin_init(&admin, "restore");
    admin.config_path = restore->admin.config_path;
    admin_add(&admin, restore->account);
    bool is_asked = admin_load(&admin) && admin_directory(&admin, "account list", on_account, &finding) == 0;
    if (is_asked && finding.id == 0 && restore->applies && admin_directory(&admin, "account restore", on_restored, &admin) == 0)
        (void)admin_directory(&admin, "account list", on_account, &finding);
    else if (is_asked && finding.id == 0)
        fprintf(stderr, "thurn restore: there is no account %s (\"thurn account list\" shows them). One that was removed comes back with --apply\n",
                restore->account);
    admin_free(&admin);
    return finding.id;
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

static const char notes[] =
    "Messages that were expunged, mailboxes that were deleted and accounts that were removed are kept for a while (store.keep_expunged, "
    "7 days). With --account it shows what was there at a moment and is not there now; without --at, everything that is kept. "
    "An account that was removed comes back with --apply, with its password and its mailboxes. "
    "--mailbox lists the messages of one mailbox; --apply brings back what is shown, from the running server and into it: as new "
    "messages with their dates, keywords and flags, but not marked as deleted. What is still there is not doubled.\n"
    "\n"
    "TIME is local (\"2026-11-20 14:00\"), UTC with a Z at its end, or an age (2h). Shown are: which messages were in which mailbox at "
    "TIME, to the second. Not known are: flags as they were at TIME (they are as they were last), and older names of mailboxes that "
    "were renamed since. When something that was there at TIME has been forgotten meanwhile, the answer says since when all is there.\n"
    "\n"
    "With DIR it is from a backup that \"thurn backup\" made, at once and without --apply. With --account it adds the messages of the "
    "account, of one --mailbox or one --message (its UID, or its Message-ID) to the account's mailboxes, in the running server or, when "
    "none runs, in the data directory; it does not look whether they are there. Without, it brings back a whole server: mail, queue, accounts, into an empty data "
    "directory, with every checksum compared. thurn.yaml is in DIR; it is not put anywhere.\n"
    "\n"
    "Examples:\n"
    "  thurn restore /mnt/backup/thurn\n"
    "  thurn restore /mnt/backup/thurn --account ann@example.org --mailbox INBOX --into Rescued\n"
    "  thurn restore --account ann@example.org --at \"2026-11-20 14:00\"\n"
    "  thurn restore --account ann@example.org --at 2h --mailbox INBOX\n"
    "  thurn restore --account ann@example.org --mailbox INBOX --message 4711 --apply\n"
    "  thurn restore --account ann@example.org --at 1d --mailbox Projects --into Rescued --apply\n";

static int run(const struct cli_usage *usage, struct restore *restore, int count, char **words)
{
    restore->folder = count > 0 ? words[0] : NULL;
    if (count > 1)
        return cli_wrong(usage, "it takes one folder with a backup, or none");
    if (count == 0 && restore->account == NULL)
        return cli_wrong(usage, "--account ADDRESS says whose mailboxes, DIR which backup");
    if (restore->folder != NULL && restore->at != NULL)
        return cli_wrong(usage, "a backup is of one moment: --at is for what the server keeps");
    if (restore->folder != NULL && restore->account == NULL && (restore->mailbox != NULL || restore->message != NULL || restore->into != NULL))
        return cli_wrong(usage, "--account ADDRESS says whose mailboxes");
    if (restore->to != NULL && (restore->folder == NULL || restore->account != NULL))
        return cli_wrong(usage, "--to is for a whole server from a backup");
    if (restore->folder != NULL)
        return restore->account != NULL ? restore_messages(restore) : restore_server(restore);
    if (restore->at != NULL && !parse_when(restore->at, (int64_t)time(NULL), &restore->at_s))
        return cli_wrong(usage, "--at \"%s\": a time is \"2026-11-20 14:00\", or an age such as 2h", restore->at);
    return restore_kept(restore);
}

int cmd_restore(int argc, char **argv)
{
    struct restore restore = { .account = NULL };
    admin_init(&restore.admin, "restore");
    const struct cli_option options[] = {
        { "account", 'A', "ADDRESS", "whose mailboxes", CLI_TEXT(&restore.account) },
        { "at", 't', "TIME", "as they were then; without it: whatever is kept", CLI_TEXT(&restore.at) },
        { "mailbox", 'm', "NAME", "only this mailbox, message by message", CLI_TEXT(&restore.mailbox) },
        { "message", 'M', "ID", "only this message: its UID then, or its Message-ID", CLI_TEXT(&restore.message) },
        { "into", 'i', "NAME", "bring messages back into this mailbox instead of their own", CLI_TEXT(&restore.into) },
        { "to", 0, "FOLDER", "bring a whole server back into this data directory instead of data_dir", CLI_TEXT(&restore.to) },
        { "apply", 0, NULL, "bring back what is shown", CLI_FLAG(&restore.applies) },
        ADMIN_OPTIONS(&restore.admin), CLI_OPTIONS_END
    };
    const struct cli_usage usage = { "restore", "[options] [DIR]", "Shows and brings back mail that was deleted; brings back a server, or mail, from a backup.", options, notes };
    int first = cli_parse(&usage, argc, argv);
    int status = first < 0 ? cli_parse_status(first) : run(&usage, &restore, argc - first, argv + first);
    admin_free(&restore.admin);
    return status;
}
