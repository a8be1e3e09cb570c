/* What subcommands print: tables for people, and how numbers and text from outside look in them. */
#ifndef THURN_CLI_OUTPUT_H
#define THURN_CLI_OUTPUT_H

#include "base/buf.h"
#include "base/fault.h"

/* Rows with columns, aligned when they are printed. Cells from outside are escaped as they are added. */
enum { TABLE_COLUMNS_MAX = 12 };
struct cli_table {
    struct buf cells;               /* each ended by NUL */
    size_t columns, count;          /* count: of cells, the heads with them */
};
/* Heads end with NULL. A head that begins with '>' is of a column of numbers. */
void cli_table_init(struct cli_table *, const char *const *heads);
void cli_table_add(struct cli_table *, struct slice cell);
void cli_table_addf(struct cli_table *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Rows in the order of their first cells. */
void cli_table_sort(struct cli_table *);
/* The heads are printed only when there are rows. Frees the table. */
void cli_table_print(struct cli_table *);

/* Text from outside, escaped, on standard output. */
void cli_print_text(struct slice);
/* "50M", "1.5G", "12 bytes" into the buffer. */
void cli_write_size(struct buf *, uint64_t bytes);
/* "3m", "5h", "2d 4h". */
void cli_write_age(struct buf *, int64_t seconds);
/* The queue's word for a recipient as a person has it: what is "due" later is "waiting" until then. */
struct slice cli_state_word(struct slice state, int64_t next_attempt_s, int64_t now_s);
/* "2024-05-01 12:00:00" in local time, of seconds since 1970. */
void cli_write_time(struct buf *, int64_t time_s);
/* Seconds since 1970 of "2024-05-01T12:00:00Z" (fractions are dropped); 0 for anything else. */
int64_t cli_time_of(struct slice iso);
/* "thurn NAME: text" on standard error; returns 1. */
int cli_failed(const char *name, const struct fault *);

#endif
