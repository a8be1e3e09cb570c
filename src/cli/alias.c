/* thurn alias: other names for accounts, lists, catch-alls, forwarding. */
#include "cli/commands.h"
#include "cli/directory.h"
#include "cli/output.h"

static const char *const heads[] = { "ALIAS", "LEADS TO", NULL };

static void list_row(void *arg, const struct json *row)
{
    struct buf targets;
    const struct json *list = json_get(row, "targets");
    buf_init(&targets, 1 << 20);
    for (const struct json *one = list != NULL ? list->first : NULL; one != NULL; one = one->next) {
        buf_append_str(&targets, buf_len(&targets) > 0 ? " " : "");
        buf_append(&targets, one->text);
    }
    cli_table_add(arg, json_text(row, "alias"));
    cli_table_add(arg, buf_slice(&targets));
    buf_free(&targets);
}

static int alias_add(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "alias add", .words = "[options] ADDRESS TARGET...",
                   .text = "Mail for ADDRESS goes to every TARGET, which may be an account, another alias or an address elsewhere. "
                           "An alias that is there already is replaced.",
                   .notes = "\"@example.org\" as ADDRESS catches all mail of that domain that nothing else takes.\n"
                            "An alias of an account's own address replaces its mailbox, unless it is one of the targets itself:\n"
                            "    thurn alias add alice@example.org alice@example.org alice@elsewhere.example\n"
                            "keeps a copy. Whoever an alias leads to may also send as it.\n" },
        .command = "alias add", .least = 2, .most = 1000 };
    return directory_verb_run(&verb, argc, argv);
}

static int alias_remove(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "alias remove", .words = "[options] ADDRESS", .text = "Removes the alias ADDRESS (\"@example.org\" for a catch-all)." },
        .command = "alias remove", .least = 1, .most = 1 };
    return directory_verb_run(&verb, argc, argv);
}

static int alias_list(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "alias list", .words = "[options] [TEXT]", .text = "Lists the aliases, or those with TEXT in their name or in a target." },
        .command = "alias list", .least = 0, .most = 1, .row = list_row, .heads = heads, .nothing = "no aliases" };
    return directory_verb_run(&verb, argc, argv);
}

int cmd_alias(int argc, char **argv)
{
    static const struct cli_verb verbs[] = {
        { "add", "set where mail for an address goes", alias_add },
        { "list", "list the aliases", alias_list },
        { "remove", "remove an alias", alias_remove },
    };
    static const struct cli_usage usage = {
        .name = "alias", .words = "add|list|remove ...",
        .text = "Other names for accounts, lists of several, catch-alls and forwarding. Changes take force at once, with or without a "
                "running server." };
    return cli_group(&usage, verbs, sizeof verbs / sizeof verbs[0], argc, argv);
}
