/* thurn: a complete mail system in one program. This file finds the subcommand and runs it. */
#include "cli/commands.h"
#include "role/channel.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* What was printed has to have arrived: a list cut short by a full disk must not look whole to a script. */
static int flushed(int status)
{
    bool had_failed = ferror(stdout);
    if (fflush(stdout) == 0 && !had_failed)
        return status;
    if (had_failed || errno != EPIPE)               /* a reader that has seen enough is told nothing */
        perror("thurn: standard output");
    return status == 0 ? 1 : status;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);       /* a reader that goes away is a failed write, not the end of a role */
    if (argc == 3 && strcmp(argv[1], "--role") == 0)
        return role_main(argv[2]);
    return flushed(commands_run(argc, argv));
}
