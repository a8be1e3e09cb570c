/* The manual page of a subcommand, from the same table as its help (man(7)). */
#ifndef THURN_CLI_MANUAL_H
#define THURN_CLI_MANUAL_H

#include "cli/options.h"

/* The word that stands for --help and gets the page: not for people. */
#define MANUAL_WORD "--manual-page"

/* Everything up to the synopsis: "thurn-queue", "mail that waits". */
void manual_print_head(const char *page, const char *text);
void manual_print_foot(void);
/* The sections of a subcommand, or the subsection of a verb (its name has a space: "queue hold"). */
void manual_print(const struct cli_usage *);
/* Running text as roff. */
void manual_print_text(const char *text);

#endif
