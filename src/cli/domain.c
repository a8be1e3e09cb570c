/* thurn domain: the domains whose mail this server keeps. */
#include "cli/commands.h"
#include "cli/directory.h"
#include "cli/output.h"

static void list_row(void *arg, const struct json *row) { cli_table_add(arg, json_text(row, "domain")); }
static const char *const heads[] = { "DOMAIN", NULL };

static int domain_add(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "domain add", .words = "[options] DOMAIN",
                   .text = "Makes DOMAIN one of this server's own: its mail is kept here, and it may have accounts and aliases." },
        .command = "domain add", .least = 1, .most = 1 };
    return directory_verb_run(&verb, argc, argv);
}

static int domain_remove(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "domain remove", .words = "[options] DOMAIN",
                   .text = "DOMAIN is no longer this server's own. Its accounts and aliases must be removed before." },
        .command = "domain remove", .least = 1, .most = 1 };
    return directory_verb_run(&verb, argc, argv);
}

static int domain_list(int argc, char **argv)
{
    static const struct directory_verb verb = {
        .usage = { .name = "domain list", .words = "[options] [TEXT]", .text = "Lists the domains, or those with TEXT in their name." },
        .command = "domain list", .least = 0, .most = 1, .row = list_row, .heads = heads, .nothing = "no domains" };
    return directory_verb_run(&verb, argc, argv);
}

int cmd_domain(int argc, char **argv)
{
    static const struct cli_verb verbs[] = {
        { "add", "make a domain one of this server's own", domain_add },
        { "list", "list the domains", domain_list },
        { "remove", "give a domain up", domain_remove },
    };
    static const struct cli_usage usage = {
        .name = "domain", .words = "add|list|remove ...",
        .text = "The domains whose mail this server keeps. Changes take force at once, with or without a running server." };
    return cli_group(&usage, verbs, sizeof verbs / sizeof verbs[0], argc, argv);
}
