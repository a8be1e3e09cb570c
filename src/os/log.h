/* Logs: one structured line an event, JSON or key=value. The only global state of the program besides main's.
 *
 *     log_event(LOG_INFO, "accepted", LOG_STR("id", id), LOG_NUMBER("size", size));
 *
 * Values are escaped; each line has time, role, pid, level and event. Never a password or a body. Lines longer than a
 * pipe's atomic write (4096) are cut with a mark. */
#ifndef THURN_OS_LOG_H
#define THURN_OS_LOG_H

#include "base/slice.h"
#include "base/fault.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR };

void log_open(const char *role, int fd, bool json);     /* fd is kept, not owned */
void log_set_level(enum log_level);
/* Fields are pairs of a name and a struct slice. */
struct log_field {
    const char *name;
    struct slice text;
    uint64_t number;
    bool is_number;
};
#define LOG_TEXT(n, s) ((struct log_field){ .name = (n), .text = (s) })
#define LOG_STR(n, s) ((struct log_field){ .name = (n), .text = slice_from_str(s) })
#define LOG_NUMBER(n, v) ((struct log_field){ .name = (n), .number = (uint64_t)(v), .is_number = true })
#define log_event(level, event, ...) \
    log_fields((level), (event), (struct log_field[]){ __VA_ARGS__ }, sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
void log_fields(enum log_level, const char *event, const struct log_field *, size_t count);
/* The fault's story: rc, enhanced status, text. */
void log_fault(enum log_level, const char *event, const struct fault *);

#endif
