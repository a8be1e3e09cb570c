/* thurn ledger: is every message accounted for, and if not, which one is missing? */
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "queue/ledger.h"
#include "queue/queue.h"

#include <stdio.h>

enum { PIECE_MESSAGES = 10000, ROW_MAX = 64 * 1024 };

static const char *const heads[] = { "RECEIVED", ">COPIES", "ACCOUNTED FOR", ">COPIES", NULL };
static const struct line {
    const char *received, *received_name;
    const char *accounted, *accounted_name;
} lines[] = {
    { "accepted_to_mailboxes", "accepted into mailboxes", "in_mailboxes", "in mailboxes" },
    { "accepted_to_queue", "accepted to be delivered elsewhere", "waiting", "waiting in the queue" },
    { "appended", "appended or imported", "delivered", "delivered onward" },
    { "copied", "copied", "bounced", "bounced" },
    { "brought", "there when counting began", "expunged", "expunged" },
    { NULL, "", "removed", "removed with a mailbox or account" },
    { NULL, "", "discarded", "discarded" },
    { "received", "all", "accounted", "all" },
};

struct view {
    const struct admin *admin;
    struct progress progress;
    uint64_t difference, found;
    bool is_whole;                      /* the balance has come */
};

static void add_number(struct cli_table *table, const struct json *ledger, const char *name)
{
    if (name == NULL)
        cli_table_add(table, SLICE(""));
    else
        cli_table_addf(table, "%lld", (long long)json_number(ledger, name));
}

static void print_balance(const struct json *ledger)
{
    struct cli_table table;
    cli_table_init(&table, heads);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        cli_table_add(&table, slice_from_str(lines[i].received_name));
        add_number(&table, ledger, lines[i].received);
        cli_table_add(&table, slice_from_str(lines[i].accounted_name));
        add_number(&table, ledger, lines[i].accounted);
    }
    cli_table_print(&table);
    int64_t messages = json_number(ledger, "messages"), reports = json_number(ledger, "reports");
    printf("\n%lld message%s accepted", (long long)messages, messages == 1 ? "" : "s");
    if (reports > 0)
        printf(", %lld of them this server's own reports", (long long)reports);
    puts(".");
}

static void print_finding(const struct json *row)
{
    printf("missing: ");
    if (json_get(row, "id") != NULL) {
        printf("message ");
        cli_print_text(json_text(row, "id"));
        putchar(' ');
    }
    if (json_get(row, "recipient") != NULL) {
        printf("to ");
        cli_print_text(json_text(row, "recipient"));
        putchar(' ');
    }
    if (json_get(row, "account_number") != NULL) {
        printf("in mailbox ");
        cli_print_text(json_text(row, "mailbox"));
        printf(" of ");
        if (json_get(row, "account") != NULL)
            cli_print_text(json_text(row, "account"));
        else
            printf("account number %lld", (long long)json_number(row, "account_number"));
        long long first = json_number(row, "uid"), last = json_number(row, "last_uid");
        if (first != 0)
            printf(first == last ? ", UID %lld" : ", UIDs %lld to %lld", first, last);
    }
    printf(": ");
    cli_print_text(json_text(row, "missing"));
    putchar('\n');
}

static void ledger_row(void *arg, const struct json *row)
{
    struct view *view = arg;
    const struct json *ledger = json_get(row, "ledger");
    if (json_get(row, "looked_at") != NULL)
        progress_at(&view->progress, (uint64_t)json_number(row, "looked_at"));
    if (json_get(row, "missing") != NULL || ledger != NULL)
        progress_end(&view->progress);
    if (json_get(row, "missing") != NULL && !view->admin->is_json)
        print_finding(row);
    if (ledger == NULL)
        return;
    view->difference = (uint64_t)json_number(ledger, "difference");
    view->found = (uint64_t)json_number(row, "found");
    view->is_whole = true;
    if (!view->admin->is_json)
        print_balance(ledger);
}

/* ---- the data of a server that is stopped ------------------------------------------------------------------------------ */

/* As the running server answers, so that there is one way to show it. */
static void row_of_ours(struct view *view, struct buf *row)
{
    struct arena arena;
    struct json *parsed;
    arena_init(&arena, 1 << 20);
    if (view->admin->is_json)
        printf("%.*s\n", SLICE_ARG(buf_slice(row)));
    if (json_parse(buf_slice(row), &arena, &parsed, NULL) == RC_OK)
        ledger_row(view, parsed);
    arena_free(&arena);
    buf_clear(row);
}

struct offline {
    struct view *view;
    struct buf row;
    uint64_t found;
};

static void on_finding(void *arg, const struct ledger_finding *finding)
{
    struct offline *o = arg;
    o->found++;
    if (ledger_finding_write_json(finding, SLICE_NONE, &o->row))
        row_of_ours(o->view, &o->row);
}

static bool walk(struct offline *o, struct queue *queue, struct store *store)
{
    struct ledger_walk *w = ledger_walk_new(queue, store, on_finding, o);
    if (w == NULL)
        return false;
    while (ledger_walk_step(w, PIECE_MESSAGES))
        progress_at(&o->view->progress, ledger_walk_seen(w));
    ledger_walk_free(w);
    return true;
}

static enum rc read_stopped(struct view *view, bool is_quick, struct fault *f)
{
    char dir[4096];
    struct offline o = { .view = view };
    struct queue *queue = queue_new(&(struct queue_options){ .history_days = 1 });
    if (queue == NULL)
        return fault_no_memory(f);
    snprintf(dir, sizeof dir, "%s/store", view->admin->config.data_dir);
    struct store_options options = { .dir = dir, .files = &file_ops_real, .is_read_only = true, .rider = queue_rider(queue) };
    struct store *store = NULL;
    enum rc rc = store_open(&options, &store, f);
    buf_init(&o.row, ROW_MAX);
    if (rc == RC_OK) {
        queue_attach(queue, store);
        if (!is_quick && !walk(&o, queue, store))
            rc = fault_no_memory(f);
    }
    if (rc == RC_OK) {
        struct ledger ledger;
        ledger_take(queue, store, true, &ledger);
        buf_append_str(&o.row, "{\"ledger\":{");
        ledger_write_json(&ledger, &o.row);
        buf_printf(&o.row, "},\"found\":%llu}", (unsigned long long)o.found);
        row_of_ours(view, &o.row);
    }
    buf_free(&o.row);
    store_close(store);
    queue_free(queue);
    return rc;
}

/* ---- the command --------------------------------------------------------------------------------------------------------- */

static int run(struct admin *admin, struct view *view, bool is_quick)
{
    struct fault fault;
    if (!admin_load(admin))
        return 1;
    if (is_quick)
        admin_add(admin, "quick");
    progress_begin(&view->progress, "ledger", false, 0);
    int status;
    if (!admin_server_is_absent(admin, "control-post.sock"))
        status = admin_call(admin, "control-post.sock", "ledger", ledger_row, view);
    else
        status = read_stopped(view, is_quick, &fault) == RC_OK ? 0 : cli_failed(admin->name, &fault);
    progress_end(&view->progress);
    return status;
}

int cmd_ledger(int argc, char **argv)
{
    struct admin admin;
    struct view view = { .admin = &admin };
    bool is_quick = false;
    admin_init(&admin, "ledger");
    admin.reads_json = true;
    const struct cli_option options[] = {
        { "quick", 'q', NULL, "the balance alone: what \"thurn status\" looks at on every call", CLI_FLAG(&is_quick) },
        ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "ledger", .words = "[options]",
        .text = "Accounts for every message: what was received, and where it is or went. A copy is one message in one mailbox, or one "
                "message to one recipient in the queue; a message for two accounts and an address elsewhere is three. Then it goes "
                "through mailboxes, queue and history and names what is missing. Of a server that runs, which goes on working, or of the data of "
                "one that is stopped, which is only read.",
        .options = options,
        .notes = "Exit status: 0 when everything is accounted for, 1 when something is missing, or that could not be found out.\n" };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (at < argc)
        return cli_wrong(&usage, "it takes no words");
    int status = run(&admin, &view, is_quick);
    if (status == 0 && !admin.is_json && view.is_whole && view.difference == 0 && view.found == 0)
        puts("Every copy is accounted for.");
    else if (status == 0 && !admin.is_json && view.is_whole)
        printf("NOT BALANCED: the two sides differ by %llu; %llu found missing.\n", (unsigned long long)view.difference,
               (unsigned long long)view.found);
    if (view.difference != 0 || view.found != 0)
        status = 1;
    admin_free(&admin);
    return status;
}
