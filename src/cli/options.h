/* Options of a subcommand: one table says what it takes; it parses the words and prints the help.
 *
 *     static const struct cli_option options[] = {
 *         { "json", 'j', NULL,   "one JSON object a line", CLI_FLAG(&json) },
 *         { "from", 'f', "ADDR", "the sender",             CLI_TEXT(&from) },
 *         { "to",   't', "ADDR", "a recipient; may be repeated", CLI_EACH(add_recipient, &list) },
 *         CLI_OPTIONS_END
 *     };
 *     static const struct cli_usage usage = { "send", "[options] [FILE]", "Composes a message and submits it.", options, notes };
 *
 * GNU conventions (getopt_long): options and other words mix, "--" ends options, -h and --help everywhere. A table may be
 * local to its function, so that what it points to is local too. */
#ifndef THURN_CLI_OPTIONS_H
#define THURN_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct cli_option {
    const char *name;                   /* long name, without dashes */
    char letter;                        /* 0: none */
    const char *argument;               /* what it is called in the help; NULL: takes none */
    const char *text;                   /* help, one line or more */
    bool *flag;
    const char **value;
    bool (*each)(void *arg, const char *value);     /* false: it said on standard error what is wrong */
    void *arg;
};
#define CLI_FLAG(pointer) (pointer), NULL, NULL, NULL
#define CLI_TEXT(pointer) NULL, (pointer), NULL, NULL
#define CLI_EACH(function, pointer) NULL, NULL, (function), (pointer)
#define CLI_OPTIONS_END { NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL }

struct cli_usage {
    const char *name;                   /* "queue hold" */
    const char *words;                  /* after the name: "[options] ID..." */
    const char *text;                   /* what it does, a sentence or a paragraph */
    const struct cli_option *options;   /* ended by CLI_OPTIONS_END; may be NULL */
    const char *notes;                  /* examples, exit status; may be NULL */
};

/* The index of the first word that is no option (words are moved to the end of argv); CLI_DONE when --help was printed
 * (exit with 0), CLI_WRONG when what is wrong was printed (exit with EXIT_USAGE). */
enum { CLI_DONE = -1, CLI_WRONG = -2 };
int cli_parse(const struct cli_usage *, int argc, char **argv);
/* The exit status for a cli_parse that was not at least 0. */
int cli_parse_status(int parsed);
void cli_print_help(const struct cli_usage *);
/* What stands before usage->name: "thurn ", or nothing for those that are called by a name of their own (sendmail). */
const char *cli_before(const struct cli_usage *);
/* "thurn NAME: <text>" and how to get help, on standard error; returns EXIT_USAGE. */
int cli_wrong(const struct cli_usage *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A subcommand with words of its own, such as `thurn queue hold`. The help lists them; each has its own. */
struct cli_verb {
    const char *name;
    const char *text;                   /* one line */
    int (*run)(int argc, char **argv);  /* argv[0] is the verb */
};
int cli_group(const struct cli_usage *, const struct cli_verb *, size_t count, int argc, char **argv);

#endif
