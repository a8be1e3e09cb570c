/* Logs: see log.h. One write a line, so that lines of several processes do not mix. */
#include "os/log.h"

#include "base/buf.h"
#include "base/text.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096, VALUE_MAX_BYTES = 1024 };

static struct {
    const char *role;
    int fd;
    bool json;
    enum log_level level;
} log_state = { "thurn", 2, false, LOG_INFO };

static const char *const level_names[] = { "debug", "info", "notice", "warning", "error" };

void log_open(const char *role, int fd, bool json)
{
    log_state.role = role;
    log_state.fd = fd;
    log_state.json = json;
}

void log_set_level(enum log_level level) { log_state.level = level; }

static void append_time(struct buf *line)
{
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)buf_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                     utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
}

static bool is_plain(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] <= ' ' || value.ptr[i] == '"' || value.ptr[i] == '=' || (unsigned char)value.ptr[i] >= 0x7f)
            return false;
    return value.len != 0;
}

static void append_value(struct buf *line, struct slice value)
{
    value = slice_sub(value, 0, VALUE_MAX_BYTES);
    if (log_state.json || !is_plain(value))
        (void)json_append_string(line, value);
    else
        (void)buf_append_escaped(line, value, false);
}

static void append_name(struct buf *line, const char *name)
{
    if (log_state.json)
        (void)buf_printf(line, ",\"%s\":", name);
    else
        (void)buf_printf(line, " %s=", name);
}

static void append_text(struct buf *line, const char *name, struct slice value)
{
    append_name(line, name);
    append_value(line, value);
}

void log_fields(enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    struct buf line;
    if (level < log_state.level)
        return;
    buf_init(&line, LINE_MAX_BYTES + 2 * VALUE_MAX_BYTES);
    (void)buf_append_str(&line, log_state.json ? "{\"time\":\"" : "time=");
    append_time(&line);
    if (log_state.json)
        (void)buf_append_byte(&line, '"');
    append_text(&line, "level", slice_from_str(level_names[level]));
    append_text(&line, "role", slice_from_str(log_state.role));
    append_name(&line, "pid");
    (void)buf_printf(&line, "%ld", (long)getpid());
    append_text(&line, "event", slice_from_str(event));
    for (size_t i = 0; i < count; i++) {
        size_t before = buf_len(&line);
        if (fields[i].is_number) {
            append_name(&line, fields[i].name);
            (void)buf_printf(&line, "%llu", (unsigned long long)fields[i].number);
        } else if (fields[i].text.len != 0) {
            append_text(&line, fields[i].name, fields[i].text);
        }
        if (line.overflow || buf_len(&line) > LINE_MAX_BYTES - 32) {
            buf_truncate(&line, before);
            append_name(&line, "cut");
            (void)buf_append_str(&line, "1");
            break;
        }
    }
    (void)buf_append_str(&line, log_state.json ? "}\n" : "\n");
    struct slice bytes = buf_slice(&line);
    (void)!write(log_state.fd, bytes.ptr, bytes.len);
    buf_free(&line);
}

void log_fault(enum log_level level, const char *event, const struct fault *fault)
{
    char status[24] = "";
    if (fault->esc != 0)
        (void)snprintf(status, sizeof(status), "%u.%u.%u", ESC_CLASS(fault->esc), ESC_SUBJECT(fault->esc), ESC_DETAIL(fault->esc));
    log_event(level, event, LOG_STR("status", status), LOG_STR("why", fault->text));
}
