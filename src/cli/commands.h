/* The subcommands of `thurn`. Each gets its own words (argv[0] is the subcommand's name) and returns the exit status:
 * 0, 1 when it failed, 2 when it was called wrongly; those that scripts know under another name (sendmail) speak
 * sysexits. Everything a person may ask of one stands in its --help (cli/options.h). main.c holds the table. */
#ifndef THURN_CLI_COMMANDS_H
#define THURN_CLI_COMMANDS_H

#ifndef EXIT_USAGE
#define EXIT_USAGE 2
#endif

/* Finds the subcommand by the program's name or the first word, and runs it. */
int commands_run(int argc, char **argv);

int cmd_setup(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_domain(int argc, char **argv);
int cmd_account(int argc, char **argv);
int cmd_alias(int argc, char **argv);
int cmd_queue(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_ledger(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_help(int argc, char **argv);
int cmd_version(int argc, char **argv);

int cmd_send(int argc, char **argv);
int cmd_fetch(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_inspect(int argc, char **argv);

/* By the name the program was called with (argv[0] is that name). */
int cmd_sendmail(int argc, char **argv);
int cmd_mailq(int argc, char **argv);
int cmd_newaliases(int argc, char **argv);

#endif
