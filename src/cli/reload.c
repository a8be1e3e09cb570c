/* thurn reload, thurn stop: what signals do too, but with an answer. */
#include "cli/admin.h"
#include "cli/commands.h"

#include <stdio.h>

static void print_row(void *arg, const struct json *row)
{
    (void)arg;
    (void)row;
}

static int tell_launcher(const struct cli_usage *given, const char *done, int argc, char **argv)
{
    struct admin admin;
    admin_init(&admin, given->name);
    const struct cli_option options[] = { ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    struct cli_usage usage = *given;
    usage.options = options;
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (at < argc)
        return cli_wrong(&usage, "it takes no words");
    int status = admin_load(&admin) ? admin_call(&admin, "control.sock", given->name, print_row, NULL) : 1;
    if (status == 0 && !admin.is_json)
        printf("%s\n", done);
    admin_free(&admin);
    return status;
}

int cmd_reload(int argc, char **argv)
{
    static const struct cli_usage usage = {
        .name = "reload", .words = "[options]",
        .text = "Has the running server read its configuration, certificate and key anew. No connection is dropped. A configuration that is "
                "wrong changes nothing: what is wrong is said here, and the one in force stays. A change of data_dir, run_dir, user, "
                "limits.edges or dns.servers takes a restart of the server and is refused here." };
    return tell_launcher(&usage, "the new configuration is in force", argc, argv);
}

int cmd_stop(int argc, char **argv)
{
    static const struct cli_usage usage = {
        .name = "stop", .words = "[options]",
        .text = "Ends the running server: no new connections, running transactions come to their end, then every role exits." };
    return tell_launcher(&usage, "the server is stopping", argc, argv);
}
