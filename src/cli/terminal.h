/* What the tools say to a person at a terminal, and only there: progress, and questions for passwords. */
#ifndef THURN_CLI_TERMINAL_H
#define THURN_CLI_TERMINAL_H

#include "base/buf.h"

/* Asks on the controlling terminal, without echo. False: there is none, or the person gave up; it said so. */
bool terminal_ask_password(const char *question, char *out, size_t size);

/* One line on standard error that is written over a few times a second: count, rate, time left. Nothing is shown when
 * standard error is no terminal, and nothing before a second has passed. */
struct progress {
    const char *what;           /* "import" */
    bool counts_bytes;          /* else things */
    uint64_t total;             /* 0: not known */
    uint64_t done;
    int64_t began_ms, shown_ms;
    bool is_shown, is_off;
};
void progress_begin(struct progress *, const char *what, bool counts_bytes, uint64_t total);
void progress_at(struct progress *, uint64_t done);
void progress_end(struct progress *);           /* takes the line away */
int64_t terminal_now_ms(void);                  /* a clock that only goes forward */

/* "12.3 MB" */
void terminal_write_bytes(struct buf *, uint64_t bytes);

#endif
