/* The table of subcommands, and the ones that are about the program itself. A new subcommand is a row here, a prototype in
 * commands.h, a file, and a page in doc/man. */
#include "cli/commands.h"

#include "cli/manual.h"
#include "cli/options.h"
#include "config/config.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name;
    const char *text;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "setup",   "write configuration, keys, users and a systemd unit",      cmd_setup },
    { "serve",   "run the server",                                           cmd_serve },
    { "check",   "is the configuration one to start with?",                  cmd_check },
    { "status",  "the running server's roles",                               cmd_status },
    { "reload",  "read the configuration anew",                              cmd_reload },
    { "stop",    "end the running server",                                   cmd_stop },
    { "domain",  "domains whose mail is kept here",                          cmd_domain },
    { "account", "mailboxes and passwords",                                  cmd_account },
    { "alias",   "other names, lists, forwarding",                           cmd_alias },
    { "queue",   "mail that waits to be delivered elsewhere",                cmd_queue },
    { "why",     "the whole life of one message",                            cmd_why },
    { "backup",  "a copy of a running server",                               cmd_backup },
    { "restore", "mailboxes as they were; a server from a backup",           cmd_restore },
    { "ledger",  "is every message accounted for?",                          cmd_ledger },
    { "verify",  "is everything on the disk as it should be? and repair",    cmd_verify },
    { "send",    "compose a message and submit it",                          cmd_send },
    { "fetch",   "list and read mail over IMAP or POP3",                     cmd_fetch },
    { "import",  "bring mail from mbox files or a Maildir into an account",  cmd_import },
    { "export",  "write an account's mail into mbox files or a Maildir",     cmd_export },
    { "inspect", "what a message is made of, and what is wrong with it",     cmd_inspect },
    { "help",    "this list, or a subcommand's help",                        cmd_help },
    { "version", "the program's version",                                    cmd_version },
};

static const struct command *find_in(const struct command *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, table[i].name) == 0)
            return &table[i];
    return NULL;
}

static const struct command *find(const char *name)
{
    return find_in(commands, sizeof commands / sizeof commands[0], name);
}

static void print_commands(FILE *out)
{
    fprintf(out, "Usage: thurn COMMAND ...\n\nA complete mail system: SMTP, submission, LMTP, queue, store, IMAP, POP3.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].text);
    fprintf(out, "\n\"thurn COMMAND --help\" says more about each; so do the manual pages thurn(1), thurn-COMMAND(1), thurn.yaml(5).\n");
}

/* ---- by the name of the program --------------------------------------------------------------------------------------- */

static const struct command own_programs[] = {
    { "sendmail",   "submit a message as scripts do",          cmd_sendmail },
    { "mailq",      "list the mail queue",                     cmd_mailq },
    { "newaliases", "do nothing: aliases take force at once",  cmd_newaliases },
};

static const struct command *find_own_program(const char *name)
{
    return find_in(own_programs, sizeof own_programs / sizeof own_programs[0], name);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

int commands_run(int argc, char **argv)
{
    const char *program = argc > 0 ? last_part(argv[0]) : "thurn";
    const struct command *own = find_own_program(program);
    if (own != NULL)
        return own->run(argc, argv);
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "--version") == 0)
        word = word[2] == 'v' ? "version" : "help";
    const struct command *command = find(word);
    if (command != NULL)
        return command->run(argc - 1, argv + 1);
    fprintf(stderr, "thurn: there is no command \"%s\". Try \"thurn help\".\n", word);
    return EXIT_USAGE;
}

/* ---- about the program itself ------------------------------------------------------------------------------------------- */

static int print_generated(bool (*write)(struct buf *))
{
    struct buf text;
    buf_init(&text, 1 << 20);
    bool is_whole = write(&text) && fwrite(buf_slice(&text).ptr, 1, buf_len(&text), stdout) == buf_len(&text);
    buf_free(&text);
    return is_whole && fflush(stdout) == 0 ? 0 : 1;
}

/* Has the subcommand print its own help or page: the table of its options is inside of it. */
static int ask(const struct command *command, char *verb, const char *question)
{
    char name[32], word[32];
    char *words[] = { name, verb != NULL ? verb : word, verb != NULL ? word : NULL, NULL };
    snprintf(name, sizeof name, "%s", command->name);
    snprintf(word, sizeof word, "%s", question);
    return command->run(verb != NULL ? 3 : 2, words);
}

static int print_manual(const struct command *command)
{
    char page[64];
    snprintf(page, sizeof page, "%s%s", find_own_program(command->name) != NULL ? "" : "thurn-", command->name);
    manual_print_head(page, command->text);
    int status = ask(command, NULL, MANUAL_WORD);
    manual_print_foot();
    return status;
}

int cmd_help(int argc, char **argv)
{
    bool is_sample = false, is_manual = false, is_settings = false;
    const struct cli_option options[] = {
        { "sample", 0, NULL, "print a configuration file with every setting, its default and a sentence", CLI_FLAG(&is_sample) },
        { "settings", 0, NULL, "print the settings as thurn.yaml(5) has them (man(7))", CLI_FLAG(&is_settings) },
        { "manual", 0, NULL, "print COMMAND's manual page (man(7))", CLI_FLAG(&is_manual) },
        CLI_OPTIONS_END };
    const struct cli_usage usage = { .name = "help", .words = "[options] [COMMAND [VERB]]",
                                     .text = "Lists the subcommands, or prints the help of one.", .options = options };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (is_sample || is_settings)
        return print_generated(is_sample ? config_write_sample : config_write_manual);
    if (at == argc) {
        print_commands(stdout);
        return 0;
    }
    const struct command *command = find(argv[at]);
    if (command == NULL)
        command = find_own_program(argv[at]);
    if (argc - at > 2)
        return cli_wrong(&usage, "it wants one COMMAND, and at most one VERB of it");
    if (command == NULL)
        return cli_wrong(&usage, "there is no command \"%s\"", argv[at]);
    return is_manual ? print_manual(command) : ask(command, argv[at + 1], "--help");
}

int cmd_version(int argc, char **argv)
{
    static const struct cli_usage usage = { .name = "version", .words = "", .text = "Prints the program's version." };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    printf("thurn %s\n", THURN_VERSION);
    return 0;
}

/* Aliases take force when they are set: there is nothing to make anew. */
int cmd_newaliases(int argc, char **argv)
{
    static const struct cli_usage usage = {
        .name = "newaliases", .words = "[options]",
        .text = "Does nothing, successfully: aliases are kept by \"thurn alias\" and take force at once. It is here because scripts call it." };
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], MANUAL_WORD) == 0))
        return cli_parse_status(cli_parse(&usage, argc, argv));
    return 0;
}
