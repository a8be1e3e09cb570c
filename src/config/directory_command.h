/* The administrator's commands on the directory: one table, used by the auth role's control socket and by the command
 * line when no server runs.
 *
 *     domain add DOMAIN               account add ADDRESS PASSWORD [QUOTA_BYTES]     alias add ADDRESS TARGET...
 *     domain remove DOMAIN            account remove ADDRESS                         alias remove ADDRESS
 *     domain list                     account password ADDRESS PASSWORD              alias list [TEXT]
 *                                     account quota ADDRESS QUOTA_BYTES
 *                                     account enable ADDRESS, account disable ADDRESS
 *                                     account list [TEXT]
 *
 * Passwords are arguments here and nowhere else: not on the command line, not in a log. */
#ifndef THURN_CONFIG_DIRECTORY_COMMAND_H
#define THURN_CONFIG_DIRECTORY_COMMAND_H

#include "config/directory.h"

/* One JSON object without line end. */
typedef void directory_row(void *arg, struct slice json);

bool directory_command_is_known(struct slice command);
/* `command`: "account add". `arguments`: each ended by NUL, as in FRAME_CONTROL. A change gives one row that says what it
 * did, a list one row each. RC_PERM also for an unknown command or wrong arguments. */
enum rc directory_command(struct directory *, struct slice command, struct slice arguments, int64_t now_s,
                          directory_row *, void *arg, struct fault *);

#endif
