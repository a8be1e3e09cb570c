/* Progress and passwords at a terminal: see terminal.h. */
#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_SHOWN_MS = 1000, SHOWN_EVERY_MS = 200, LINE_MAX_BYTES = 200 };

/* ---- passwords ------------------------------------------------------------------------------------------------- */

enum { KEY_INTERRUPT = 3, KEY_END = 4 };

/* Reads up to the line's end. Keys that would stop the program are bytes here, so that the echo is on again afterwards. */
static bool read_secret(int fd, char *out, size_t size)
{
    size_t len = 0;
    for (;;) {
        char byte;
        ssize_t got = read(fd, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != 1 || byte == KEY_INTERRUPT || (byte == KEY_END && len == 0))
            return false;
        if (byte == '\n' || byte == '\r')
            break;
        if (len + 1 < size)
            out[len++] = byte;
    }
    out[len] = '\0';
    return true;
}

bool terminal_ask_password(const char *question, char *out, size_t size)
{
    struct termios before, silent;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &before) != 0) {
        fprintf(stderr, "thurn: no password given: use --password-file FILE or $THURN_PASSWORD\n");
        if (fd >= 0)
            close(fd);
        return false;
    }
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    silent.c_cc[VEOL] = KEY_INTERRUPT;              /* else it would be read only with the end of the line */
    tcsetattr(fd, TCSAFLUSH, &silent);
    dprintf(fd, "%s", question);
    bool is_read = read_secret(fd, out, size);
    tcsetattr(fd, TCSAFLUSH, &before);
    dprintf(fd, "\n");
    close(fd);
    if (!is_read)
        fprintf(stderr, "thurn: no password given\n");
    return is_read;
}

/* ---- progress ---------------------------------------------------------------------------------------------------- */

int64_t terminal_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void terminal_write_bytes(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(*units)) {
        value /= 1000;
        unit++;
    }
    buf_printf(out, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

void progress_begin(struct progress *progress, const char *what, bool counts_bytes, uint64_t total)
{
    *progress = (struct progress){ .what = what, .counts_bytes = counts_bytes, .total = total, .began_ms = terminal_now_ms() };
    progress->is_off = isatty(STDERR_FILENO) == 0;
}

static void write_amount(struct buf *out, const struct progress *progress, uint64_t amount)
{
    if (progress->counts_bytes)
        terminal_write_bytes(out, amount);
    else
        buf_printf(out, "%llu", (unsigned long long)amount);
}

static void write_duration(struct buf *out, uint64_t seconds)
{
    unsigned long long all = seconds;
    if (all >= 3600)
        buf_printf(out, "%llu:%02llu:%02llu", all / 3600, all / 60 % 60, all % 60);
    else
        buf_printf(out, "%llu:%02llu", all / 60, all % 60);
}

static void show(struct progress *progress, int64_t now_ms)
{
    struct buf line;
    uint64_t rate = progress->done * 1000 / (uint64_t)(now_ms - progress->began_ms);
    buf_init(&line, LINE_MAX_BYTES);
    buf_printf(&line, "\r%s: ", progress->what);
    write_amount(&line, progress, progress->done);
    if (progress->total > 0) {
        buf_append_str(&line, " of ");
        write_amount(&line, progress, progress->total);
        buf_printf(&line, " (%d%%)", (int)((double)progress->done * 100 / (double)progress->total));
    }
    buf_append_str(&line, ", ");
    write_amount(&line, progress, rate);
    buf_append_str(&line, "/s");
    if (rate > 0 && progress->total > progress->done) {
        buf_append_str(&line, ", ");
        write_duration(&line, (progress->total - progress->done) / rate);
        buf_append_str(&line, " left");
    }
    buf_append_str(&line, "\033[K");
    fwrite(line.data + line.start, 1, buf_len(&line), stderr);
    fflush(stderr);
    buf_free(&line);
    progress->is_shown = true;
    progress->shown_ms = now_ms;
}

void progress_at(struct progress *progress, uint64_t done)
{
    progress->done = done;
    if (progress->is_off)
        return;
    int64_t now_ms = terminal_now_ms();
    if (now_ms - progress->began_ms >= FIRST_SHOWN_MS && now_ms - progress->shown_ms >= SHOWN_EVERY_MS)
        show(progress, now_ms);
}

void progress_end(struct progress *progress)
{
    if (progress->is_shown)
        fputs("\r\033[K", stderr);
    progress->is_shown = false;
}
