/* thurn status: the roles, how they are, and what they may still do. */
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#include <stdio.h>

static const char *const figure_heads[] = { "ROLE", "COUNTED SINCE IT WAS STARTED", NULL };
static const char *const heads[] = { "ROLE", ">PID", "STATE", ">UP", ">RESTARTS", "SANDBOX", NULL };

struct view {
    struct cli_table table;
    struct cli_table figures;
    bool has_ledger;
    int64_t received, difference;       /* of the ledger */
};

/* "edge 0": there may be several. */
static void write_role(const struct json *row, struct buf *out)
{
    bool is_one_of_many = slice_equal(json_text(row, "role"), SLICE("edge")) || json_number(row, "index") > 0;
    buf_append_escaped(out, json_text(row, "role"), true);
    if (is_one_of_many)
        buf_printf(out, " %lld", (long long)json_number(row, "index"));
}

/* What a role counts: numbers and words of one object, as they come. */
static void add_figures(struct view *view, const struct json *row)
{
    const struct json *figures = json_get(row, "figures");
    struct buf text;
    if (figures == NULL || figures->first == NULL)
        return;
    buf_init(&text, 1 << 20);
    write_role(row, &text);
    cli_table_add(&view->figures, buf_slice(&text));
    buf_clear(&text);
    for (const struct json *one = figures->first; one != NULL; one = one->next) {
        if (one->kind == JSON_LIST || one->kind == JSON_OBJECT)
            continue;
        buf_append_str(&text, buf_len(&text) > 0 ? " " : "");
        buf_append(&text, one->name);
        buf_append_byte(&text, '=');
        buf_append(&text, one->text);
    }
    cli_table_add(&view->figures, buf_slice(&text));
    buf_free(&text);
}

static void status_row(void *arg, const struct json *row)
{
    struct view *view = arg;
    struct buf text;
    buf_init(&text, 256);
    write_role(row, &text);
    cli_table_add(&view->table, buf_slice(&text));
    buf_clear(&text);
    cli_write_age(&text, json_number(row, "uptime_s"));
    cli_table_add(&view->table, json_text(row, "pid"));
    cli_table_add(&view->table, json_text(row, "state"));
    cli_table_add(&view->table, buf_slice(&text));
    cli_table_add(&view->table, json_text(row, "restarts"));
    cli_table_add(&view->table, json_text(row, "sandbox"));
    add_figures(view, row);
    const struct json *figures = json_get(row, "figures"), *ledger = figures == NULL ? NULL : json_get(figures, "ledger");
    if (ledger != NULL) {
        view->has_ledger = true;
        view->received = json_number(ledger, "received");
        view->difference = json_number(ledger, "difference");
    }
    buf_free(&text);
}

static void print_ledger(const struct view *view)
{
    if (view->difference == 0)
        printf("\nledger: %lld cop%s of messages received, all accounted for\n", (long long)view->received, view->received == 1 ? "y" : "ies");
    else
        printf("\nledger: NOT BALANCED, %lld of %lld copies of messages: \"thurn ledger\" says which\n", (long long)view->difference,
               (long long)view->received);
}

int cmd_status(int argc, char **argv)
{
    struct admin admin;
    struct view view = { .has_ledger = false };
    admin_init(&admin, "status");
    const struct cli_option options[] = { ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "status", .words = "[options]",
        .text = "Shows the running server's roles: process, state, how often it was started, what it gave up (its sandbox), and what it counts; and "
                "whether every message is accounted for (\"thurn ledger\" says more).",
        .options = options, .notes = "Exit status: 0 when a server runs and answered, 1 when not.\n" };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (at < argc)
        return cli_wrong(&usage, "it takes no words");
    cli_table_init(&view.table, heads);
    cli_table_init(&view.figures, figure_heads);
    int status = admin_load(&admin) ? admin_call(&admin, "control.sock", "status", status_row, &view) : 1;
    cli_table_sort(&view.table);
    cli_table_sort(&view.figures);
    cli_table_print(&view.table);
    if (status == 0 && !admin.is_json)
        putchar('\n');
    cli_table_print(&view.figures);
    if (status == 0 && view.has_ledger)
        print_ledger(&view);
    admin_free(&admin);
    return status;
}
