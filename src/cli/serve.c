/* thurn serve: runs the server in the foreground. */
#include "cli/admin.h"
#include "cli/commands.h"
#include "role/channel.h"

int cmd_serve(int argc, char **argv)
{
    struct admin admin;
    admin_init(&admin, "serve");
    const struct cli_option options[] = { ADMIN_CONFIG_OPTION(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "serve", .words = "[options]",
        .text = "Runs the server in the foreground, as systemd wants it (Type=notify). It says that it is ready when every port is open "
                "and every role has given up the powers it does not need.",
        .options = options,
        .notes = "Signals: SIGHUP reads the configuration anew without dropping a connection, SIGTERM ends running transactions\n"
                 "and then the server. With a configuration it cannot start with, it says in one line why and exits with 1.\n" };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (at < argc)
        return cli_wrong(&usage, "it takes no words");
    return role_launcher_main(admin_config_path(&admin));
}
