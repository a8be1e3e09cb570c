/* What `thurn domain`, `thurn account` and `thurn alias` share: a table of one-word commands on the directory. */
#ifndef THURN_CLI_DIRECTORY_H
#define THURN_CLI_DIRECTORY_H

#include "cli/admin.h"

/* Runs "domain add" and the like, which take words as they stand: at least and at most so many. */
struct directory_verb {
    struct cli_usage usage;         /* options are added */
    const char *command;
    int least, most;
    admin_row *row;                 /* NULL: "NAME: done" */
    const char *const *heads;       /* of the table that row adds to (its arg); NULL: none */
    const char *nothing;            /* said instead of a table without rows */
};
int directory_verb_run(const struct directory_verb *, int argc, char **argv);
/* Prints {"account":"a@example.org","done":"added"} as "a@example.org: added". */
void directory_print_done(void *arg, const struct json *row);

#endif
