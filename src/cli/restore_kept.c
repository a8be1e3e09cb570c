/* thurn restore from what the running server still keeps: asks it, and shows what it says. */
#include "cli/restore.h"

#include "cli/output.h"

#include <stdio.h>

struct view {
    const struct restore *restore;
    struct cli_table table;
    size_t rows;
    int64_t restored;
};

static const char *const mailbox_heads[] = { "MAILBOX", ">THEN", ">NOW", ">MISSING", "", NULL };
static const char *const message_heads[] = { "MAILBOX", ">UID", "DATE", "GONE", ">SIZE", "FROM", "SUBJECT", NULL };

static bool is_by_message(const struct restore *restore) { return restore->mailbox != NULL || restore->message != NULL; }

static void print_time(struct slice iso)
{
    struct buf text;
    buf_init(&text, 64);
    cli_write_time(&text, cli_time_of(iso));
    printf("%.*s", SLICE_ARG(buf_slice(&text)));
    buf_free(&text);
}

static void add_time(struct cli_table *table, struct slice iso)
{
    struct buf text;
    buf_init(&text, 64);
    cli_write_time(&text, cli_time_of(iso));
    cli_table_add(table, buf_slice(&text));
    buf_free(&text);
}

/* The first row: how far back everything is there. */
static void print_head(const struct json *row)
{
    if (json_flag(row, "is_complete"))
        return;
    printf("Not everything that was there then is kept any more: all that went after ");
    print_time(json_text(row, "complete_since"));
    printf(" is, what went before that may be missing below.\n\n");
}

static void add_mailbox(struct view *view, const struct json *row)
{
    cli_table_add(&view->table, json_text(row, "mailbox"));
    cli_table_addf(&view->table, "%lld", (long long)json_number(row, "messages"));
    cli_table_addf(&view->table, "%lld", (long long)json_number(row, "there"));
    cli_table_addf(&view->table, "%lld", (long long)json_number(row, "missing"));
    cli_table_add(&view->table, json_get(row, "deleted") != NULL ? SLICE("deleted") : SLICE(""));
}

static void add_message(struct view *view, const struct json *row)
{
    struct buf size;
    buf_init(&size, 64);
    cli_write_size(&size, (uint64_t)json_number(row, "size"));
    cli_table_add(&view->table, json_text(row, "mailbox"));
    cli_table_addf(&view->table, "%lld", (long long)json_number(row, "uid"));
    add_time(&view->table, json_text(row, "date"));
    add_time(&view->table, json_text(row, "gone"));
    cli_table_add(&view->table, buf_slice(&size));
    cli_table_add(&view->table, json_text(row, "from"));
    cli_table_add(&view->table, json_text(row, "subject"));
    buf_free(&size);
}

static void on_row(void *arg, const struct json *row)
{
    struct view *view = arg;
    if (json_get(row, "account") != NULL) {
        print_head(row);
        return;
    }
    view->rows++;
    view->restored += json_number(row, "restored");
    if (view->restore->applies) {
        int64_t restored = json_number(row, "restored");
        cli_print_text(json_text(row, "mailbox"));
        printf(": %lld message%s restored into ", (long long)restored, restored == 1 ? "" : "s");
        cli_print_text(json_text(row, "into"));
        putchar('\n');
    } else if (is_by_message(view->restore)) {
        add_message(view, row);
    } else {
        add_mailbox(view, row);
    }
}

static void add_words(struct restore *restore, uint64_t account)
{
    struct admin *admin = &restore->admin;
    admin_addf(admin, "account=%llu", (unsigned long long)account);
    if (restore->at_s != 0)
        admin_addf(admin, "at=%lld", (long long)restore->at_s);
    if (restore->mailbox != NULL)
        admin_addf(admin, "mailbox=%s", restore->mailbox);
    if (restore->message != NULL)
        admin_addf(admin, "message=%s", restore->message);
    if (restore->into != NULL)
        admin_addf(admin, "into=%s", restore->into);
}

int restore_kept(struct restore *restore)
{
    struct view view = { .restore = restore };
    uint64_t account = restore_account_id(restore);
    if (account == 0 || !admin_load(&restore->admin))
        return 1;
    cli_table_init(&view.table, is_by_message(restore) ? message_heads : mailbox_heads);
    add_words(restore, account);
    int status = admin_call(&restore->admin, "control-post.sock", restore->applies ? "kept-restore" : "kept-list", on_row, &view);
    cli_table_print(&view.table);
    if (status == 0 && view.rows == 0 && !restore->admin.is_json)
        printf("nothing is missing\n");
    else if (status == 0 && !restore->applies && !restore->admin.is_json)
        printf("\n--apply brings back what is missing.\n");
    return status;
}
