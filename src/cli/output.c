/* What subcommands print: see output.h. */
#include "cli/output.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CELLS_MAX = 64 * 1024 * 1024, CELL_MAX = 4096 };

/* ---- tables --------------------------------------------------------------------------------------------------------- */

void cli_table_init(struct cli_table *table, const char *const *heads)
{
    *table = (struct cli_table){ .columns = 0 };
    buf_init(&table->cells, CELLS_MAX);
    while (heads[table->columns] != NULL)
        cli_table_add(table, slice_from_str(heads[table->columns++]));
    must(table->columns <= TABLE_COLUMNS_MAX);
}

void cli_table_add(struct cli_table *table, struct slice cell)
{
    buf_append_escaped(&table->cells, slice_sub(cell, 0, CELL_MAX), true);
    buf_append_byte(&table->cells, '\0');
    table->count++;
}

void cli_table_addf(struct cli_table *table, const char *format, ...)
{
    char text[CELL_MAX];
    va_list list;
    va_start(list, format);
    int len = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    cli_table_add(table, slice_sub((struct slice){ text, sizeof text - 1 }, 0, len > 0 ? (size_t)len : 0));
}

static int compare_rows(const void *a, const void *b) { return slice_compare(*(const struct slice *)a, *(const struct slice *)b); }

void cli_table_sort(struct cli_table *table)
{
    size_t rows = table->count / table->columns;
    struct slice *order = calloc(rows + 1, sizeof *order), cells = buf_slice(&table->cells);
    struct buf sorted;
    if (order == NULL)
        return;
    for (size_t i = 0; i < rows * table->columns; i++) {
        struct slice cell = slice_take_until(&cells, '\0');
        if (i % table->columns == 0)
            order[i / table->columns] = cell;
        else
            order[i / table->columns].len += cell.len + 1;      /* cells of a row follow each other */
    }
    if (rows > 2)
        qsort(order + 1, rows - 1, sizeof *order, compare_rows);
    buf_init(&sorted, CELLS_MAX);
    for (size_t i = 0; i < rows; i++) {
        buf_append(&sorted, order[i]);
        buf_append_byte(&sorted, '\0');
    }
    free(order);
    buf_free(&table->cells);
    table->cells = sorted;
}

/* Code points, which for what is in these tables is near enough to columns. */
static size_t width_of(struct slice cell)
{
    size_t width = 0;
    for (size_t i = 0; i < cell.len; i++)
        width += ((unsigned char)cell.ptr[i] & 0xc0) != 0x80;
    return width;
}

static struct slice head_text(struct slice cell, bool is_head)
{
    if (is_head)
        slice_take_byte(&cell, '>');
    return cell;
}

static void print_cell(struct slice cell, size_t width, bool is_number, bool is_last)
{
    int pad = (int)(width - width_of(cell));
    printf("%*s%.*s", is_number ? pad : 0, "", SLICE_ARG(cell));
    if (is_last)
        putchar('\n');
    else
        printf("%*s", (is_number ? 0 : pad) + 2, "");
}

void cli_table_print(struct cli_table *table)
{
    size_t widths[TABLE_COLUMNS_MAX] = { 0 };
    bool is_number[TABLE_COLUMNS_MAX] = { false };
    struct slice cells = buf_slice(&table->cells);
    for (size_t i = 0; i < table->count; i++) {
        struct slice cell = slice_take_until(&cells, '\0');
        size_t column = i % table->columns;
        if (i < table->columns)
            is_number[column] = cell.len > 0 && cell.ptr[0] == '>';
        size_t width = width_of(head_text(cell, i < table->columns));
        widths[column] = width > widths[column] ? width : widths[column];
    }
    cells = buf_slice(&table->cells);
    for (size_t i = 0; table->count > table->columns && i < table->count; i++) {
        struct slice cell = head_text(slice_take_until(&cells, '\0'), i < table->columns);
        size_t column = i % table->columns;
        print_cell(cell, widths[column], is_number[column], column + 1 == table->columns);
    }
    buf_free(&table->cells);
}

/* ---- values --------------------------------------------------------------------------------------------------------- */

void cli_print_text(struct slice text)
{
    struct buf out;
    buf_init(&out, text.len * 4 + 1);
    buf_append_escaped(&out, text, true);
    struct slice safe = buf_slice(&out);
    fwrite(safe.ptr, 1, safe.len, stdout);
    buf_free(&out);
}

void cli_write_size(struct buf *out, uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    if (bytes < 1024) {
        buf_printf(out, "%u", (unsigned)bytes);
        return;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    for (; value >= 1024 && units[unit + 1] != '\0'; unit++)
        value /= 1024;
    bool is_whole = value >= 10 || value - (double)(uint64_t)value < 0.05;
    buf_printf(out, "%.*f%c", is_whole ? 0 : 1, value, units[unit]);
}

void cli_write_age(struct buf *out, int64_t seconds)
{
    static const struct { int64_t factor; char letter; } units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
    seconds = seconds > 0 ? seconds : 0;
    for (size_t i = 0; i < 4; i++) {
        int64_t count = seconds / units[i].factor, rest = i < 3 ? seconds % units[i].factor / units[i + 1].factor : 0;
        if (count == 0 && i < 3)
            continue;
        buf_printf(out, "%lld%c", (long long)count, units[i].letter);
        if (rest > 0 && count < 10)
            buf_printf(out, " %lld%c", (long long)rest, units[i + 1].letter);
        return;
    }
}

struct slice cli_state_word(struct slice state, int64_t next_attempt_s, int64_t now_s)
{
    return slice_equal(state, SLICE("due")) && next_attempt_s > now_s ? SLICE("waiting") : state;
}

void cli_write_time(struct buf *out, int64_t time_s)
{
    char text[64];
    struct tm parts;
    time_t at = (time_t)time_s;
    if (localtime_r(&at, &parts) != NULL && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) > 0)
        buf_append_str(out, text);
}

int64_t cli_time_of(struct slice iso)
{
    char text[32];
    struct tm parts = { 0 };
    if (!slice_to_str(slice_sub(iso, 0, 19), text, sizeof text) || strptime(text, "%Y-%m-%dT%H:%M:%S", &parts) == NULL)
        return 0;
    return (int64_t)timegm(&parts);
}

int cli_failed(const char *name, const struct fault *f)
{
    fprintf(stderr, "thurn %s: %s\n", name, f->text);
    return 1;
}
