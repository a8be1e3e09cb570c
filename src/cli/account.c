/* thurn account: who has a mailbox and a password here. */
#include "cli/commands.h"
#include "cli/directory.h"
#include "cli/output.h"
#include "cli/password.h"
#include "config/value.h"
#include "mail/address.h"

#include <stdio.h>
#include <string.h>

static const char *const heads[] = { "ACCOUNT", ">QUOTA", "STATE", "SINCE", ">ID", NULL };

static void list_row(void *arg, const struct json *row)
{
    struct buf text;
    int64_t quota = json_number(row, "quota_bytes");
    buf_init(&text, 256);
    cli_table_add(arg, json_text(row, "account"));
    if (quota > 0)
        cli_write_size(&text, (uint64_t)quota);
    else
        buf_append_str(&text, "none");
    cli_table_add(arg, buf_slice(&text));
    cli_table_addf(arg, "%s", json_flag(row, "is_enabled") ? "enabled" : "disabled");
    buf_clear(&text);
    cli_write_time(&text, json_number(row, "created"));
    cli_table_add(arg, buf_slice(&text));
    cli_table_add(arg, json_text(row, "id"));
    buf_free(&text);
}

/* "1G", "none" -> a number of bytes as text. */
static bool add_quota(struct admin *admin, const struct cli_usage *usage, const char *typed)
{
    static const struct setting quota = { .name = "quota", .kind = SETTING_SIZE, .max = INT64_MAX };
    struct fault fault;
    uint64_t bytes = 0;
    if (strcmp(typed, "none") != 0 && value_parse(&quota, slice_from_str(typed), &bytes, NULL, &fault) != RC_OK) {
        cli_wrong(usage, "quota \"%s\": %s", typed, fault.text);
        return false;
    }
    admin_addf(admin, "%llu", (unsigned long long)bytes);
    return true;
}

/* ---- passwords ------------------------------------------------------------------------------------------------------ */

struct password_choice {
    const char *file;
    bool is_made;
};
#define PASSWORD_OPTIONS(choice) \
    { "password-file", 'p', "FILE", "the password is FILE's first line (\"-\": of standard input)", CLI_TEXT(&(choice)->file) }, \
    { "generate", 'g', NULL, "make a random password and print it, this once", CLI_FLAG(&(choice)->is_made) }
#define PASSWORD_NOTES \
    "Without --password-file and --generate the password is asked for twice on a terminal, and otherwise read from\n" \
    "standard input. It is never an argument: everybody on the machine could read it there.\n"

static enum rc choose_password(const struct password_choice *choice, const char *whose, char password[PASSWORD_MAX], struct fault *f)
{
    if (choice->is_made && choice->file != NULL)
        return fault_perm(f, 0, "--generate and --password-file: give one of them");
    if (!choice->is_made)
        return password_read(choice->file, whose, true, password, f);
    password_make(password);
    return RC_OK;
}

static void print_made(const struct admin *admin, const struct password_choice *choice, const char *password)
{
    if (choice->is_made)
        printf(admin->is_json ? "{\"password\":\"%s\"}\n" : "password: %s\n", password);
}

static enum rc check_address(const char *typed, struct fault *f)
{
    struct address address;
    struct arena arena;
    struct fault why;
    arena_init(&arena, 64 * 1024);
    enum rc rc = address_parse(slice_from_str(typed), &arena, &address, &why);
    arena_free(&arena);
    return rc == RC_OK ? RC_OK : fault_perm(f, 0, "\"%s\" is no address: %s", typed, why.text);
}

/* What "add" and "password" have in common: the address, the password, and for one of them the quota. */
static int run_with_password(struct admin *admin, const struct cli_usage *usage, const struct password_choice *choice,
                             const char *address, const char *quota, const char *command)
{
    char password[PASSWORD_MAX];
    struct fault fault;
    int status = 1;
    admin_add(admin, address);
    if (!admin_load(admin))
        return 1;
    if (check_address(address, &fault) != RC_OK)        /* before a password is asked for in vain */
        return cli_failed(usage->name, &fault);
    if (choose_password(choice, address, password, &fault) != RC_OK)
        return cli_failed(usage->name, &fault);
    admin_add(admin, password);
    if (quota == NULL || add_quota(admin, usage, quota))
        status = admin_directory(admin, command, directory_print_done, NULL);
    else
        status = EXIT_USAGE;
    if (status == 0)
        print_made(admin, choice, password);
    explicit_bzero(password, sizeof password);
    return status;
}

static int account_add(int argc, char **argv)
{
    struct admin admin;
    struct password_choice choice = { NULL, false };
    const char *quota = NULL;
    admin_init(&admin, "account add");
    const struct cli_option options[] = {
        PASSWORD_OPTIONS(&choice),
        { "quota", 'q', "SIZE", "how much the mailbox may hold, such as 5G (default: none)", CLI_TEXT(&quota) },
        ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "account add", .words = "[options] ADDRESS",
        .text = "Makes a mailbox with the login and main address ADDRESS, whose domain is one of this server's (thurn domain).",
        .options = options, .notes = PASSWORD_NOTES };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    int status = argc - at == 1 ? run_with_password(&admin, &usage, &choice, argv[at], quota, "account add")
                                : cli_wrong(&usage, "it wants one ADDRESS");
    admin_free(&admin);
    return status;
}

static int account_password(int argc, char **argv)
{
    struct admin admin;
    struct password_choice choice = { NULL, false };
    admin_init(&admin, "account password");
    const struct cli_option options[] = { PASSWORD_OPTIONS(&choice), ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "account password", .words = "[options] ADDRESS", .text = "Sets a new password. Sessions that are open stay open.",
        .options = options, .notes = PASSWORD_NOTES };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    int status = argc - at == 1 ? run_with_password(&admin, &usage, &choice, argv[at], NULL, "account password")
                                : cli_wrong(&usage, "it wants one ADDRESS");
    admin_free(&admin);
    return status;
}

static int account_quota(int argc, char **argv)
{
    struct admin admin;
    admin_init(&admin, "account quota");
    const struct cli_option options[] = { ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "account quota", .words = "[options] ADDRESS SIZE",
        .text = "Sets how much the mailbox may hold: a SIZE such as 500M or 5G, or \"none\".", .options = options };
    int at = cli_parse(&usage, argc, argv), status = EXIT_USAGE;
    if (at < 0)
        return cli_parse_status(at);
    if (argc - at != 2)
        return cli_wrong(&usage, "it wants ADDRESS and SIZE");
    admin_add(&admin, argv[at]);
    if (add_quota(&admin, &usage, argv[at + 1]))
        status = admin_load(&admin) ? admin_directory(&admin, "account quota", directory_print_done, NULL) : 1;
    admin_free(&admin);
    return status;
}

/* ---- without a password ----------------------------------------------------------------------------------------------- */

static int account_remove(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "account remove", .words = "[options] ADDRESS",
                   .text = "Removes the account: no login, and no mail is taken for it. Its mailboxes are kept, out of reach, for "
                           "store.keep_expunged (a day at least): \"thurn restore --account ADDRESS --apply\" brings back all of it." },
        .command = "account remove", .least = 1, .most = 1 };
    return directory_verb_run(&verb, argc, argv);
}

static int account_enable(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "account enable", .words = "[options] ADDRESS", .text = "Lets a disabled account log in and get mail again." },
        .command = "account enable", .least = 1, .most = 1 };
    return directory_verb_run(&verb, argc, argv);
}

static int account_disable(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "account disable", .words = "[options] ADDRESS",
                   .text = "The account can no longer log in, and mail for it is refused. What the mailbox holds stays." },
        .command = "account disable", .least = 1, .most = 1 };
    return directory_verb_run(&verb, argc, argv);
}

static int account_list(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "account list", .words = "[options] [TEXT]", .text = "Lists the accounts, or those with TEXT in their address." },
        .command = "account list", .least = 0, .most = 1, .row = list_row, .heads = heads, .nothing = "no accounts" };
    return directory_verb_run(&verb, argc, argv);
}

int cmd_account(int argc, char **argv)
{
    static const struct cli_verb verbs[] = {
        { "add", "make an account", account_add },
        { "list", "list the accounts", account_list },
        { "password", "set a new password", account_password },
        { "quota", "set how much a mailbox may hold", account_quota },
        { "disable", "no login and no mail until it is enabled", account_disable },
        { "enable", "enable a disabled account", account_enable },
        { "remove", "remove an account", account_remove },
    };
    static const struct cli_usage usage = {
        .name = "account", .words = "add|list|password|quota|disable|enable|remove ...",
        .text = "Who has a mailbox and a password here. Changes take force at once, with or without a running server." };
    return cli_group(&usage, verbs, sizeof verbs / sizeof verbs[0], argc, argv);
}
