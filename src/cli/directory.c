/* What `thurn domain`, `thurn account` and `thurn alias` share: see directory.h. */
#include "cli/directory.h"

#include "cli/commands.h"
#include "cli/output.h"

#include <stdio.h>

void directory_print_done(void *arg, const struct json *row)
{
    static const char *const names[] = { "domain", "account", "alias" };
    (void)arg;
    for (size_t i = 0; i < 3; i++)
        if (json_get(row, names[i]) != NULL) {
            cli_print_text(json_text(row, names[i]));
            printf(": %.*s\n", SLICE_ARG(json_text(row, "done")));
        }
}

int directory_verb_run(const struct directory_verb *verb, int argc, char **argv)
{
    struct admin admin;
    struct cli_table table;
    admin_init(&admin, verb->usage.name);
    const struct cli_option options[] = { ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    struct cli_usage usage = verb->usage;
    usage.options = options;
    int at = cli_parse(&usage, argc, argv), status;
    if (at < 0)
        return cli_parse_status(at);
    if (argc - at < verb->least || argc - at > verb->most)
        return cli_wrong(&usage, "it wants %s", usage.words);
    for (int i = at; i < argc; i++)
        admin_add(&admin, argv[i]);
    bool has_table = verb->heads != NULL;
    if (has_table)
        cli_table_init(&table, verb->heads);
    admin_row *row = verb->row != NULL ? verb->row : directory_print_done;
    status = admin_load(&admin) ? admin_directory(&admin, verb->command, row, has_table ? &table : NULL) : 1;
    if (has_table && status == 0 && !admin.is_json && table.count == table.columns)
        printf("%s\n", verb->nothing);
    if (has_table)
        cli_table_print(&table);
    admin_free(&admin);
    return status;
}
