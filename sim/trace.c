/* The trace: what happened, as lines; the last of them are kept for a failure's report, and all go into a hash. */
#include "sim/inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 400, LINES_KEPT = 300 };

bool sim_traces, sim_traces_calls;

static char (*lines)[LINE_BYTES];
static uint64_t line_count, hash;

void trace_begin(void)
{
    if (lines == NULL)
        lines = sim_new((size_t)LINES_KEPT * LINE_BYTES);
    line_count = 0;
    hash = UINT64_C(0xcbf29ce484222325);
}

/* FNV-1a in steps of eight bytes. */
static void mix(const char *bytes, size_t len)
{
    for (; len > 0; len -= len < 8 ? len : 8) {
        uint64_t word = 0;
        memcpy(&word, bytes, len < 8 ? len : 8);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
        hash ^= hash >> 29;
        bytes += len < 8 ? len : 8;
    }
}

uint64_t sim_hash(void) { return hash; }

void trace_call(unsigned process, const char *call)
{
    uint64_t now = (uint64_t)sim_now_us() << 16 ^ process;
    mix((const char *)&now, sizeof(now));
    mix(call, strlen(call));
    if (sim_traces && sim_traces_calls)
        sim_trace("    %s", call);
}

static void keep(const char *text)
{
    int64_t now = sim_now_us();
    const struct sim_process *process = sim_self();
    char *line = lines[line_count++ % LINES_KEPT];
    (void)snprintf(line, LINE_BYTES, "%lld:%02lld:%02lld.%06lld %s%s%s  %s", (long long)(now / 3600000000), (long long)(now / 60000000 % 60),
                   (long long)(now / 1000000 % 60), (long long)(now % 1000000), process == NULL ? "-" : process->host->name,
                   process == NULL ? "" : "/", process == NULL ? "" : process->name, text);
    mix(line, strlen(line));
    if (sim_traces)
        (void)puts(line);
}

void sim_trace(const char *format, ...)
{
    char text[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    keep(text);
}

/* What a process writes to its standard error: events of the server's log, without their time. */
void trace_output(const struct sim_process *process, const char *line, size_t len)
{
    char text[LINE_BYTES];
    const char *rest = len > 5 && memcmp(line, "time=", 5) == 0 ? memchr(line, ' ', len) : NULL;
    if (rest != NULL)
        len -= (size_t)(rest + 1 - line);
    (void)snprintf(text, sizeof(text), "[%u] %.*s", process->id, (int)(len < LINE_BYTES ? len : LINE_BYTES), rest != NULL ? rest + 1 : line);
    keep(text);
}

void sim_fail(const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    keep(text);
    (void)fflush(stdout);
    uint64_t first = line_count > LINES_KEPT ? line_count - LINES_KEPT : 0;
    for (uint64_t i = first; i < line_count && !sim_traces; i++)
        (void)fprintf(stderr, "%s\n", lines[i % LINES_KEPT]);
    (void)fprintf(stderr, "sim: seed %llu fails after %.1f s and %llu calls: %s\n", (unsigned long long)sim_seed(),
                  (double)sim_now_us() / 1e6, (unsigned long long)sim_calls(), text);
    _Exit(1);
}
