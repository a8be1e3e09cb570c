/* thurn verify: is everything on the disk as it should be, and with --repair, making it so. */
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/owner.h"
#include "cli/terminal.h"

#include "base/map.h"
#include "base/text.h"
#include "config/directory.h"
#include "queue/queue.h"
#include "store/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SETTLED_S = 60 };            /* an account that is older has its mailboxes, when a server runs */

struct account {
    char *name;
    int64_t created_s;
    bool is_in_store;
};

struct view {
    struct admin admin;
    const char *rate_text;
    bool is_repair;
    uint64_t rate;                  /* bytes a second; 0: no limit */
    int64_t began_ms;
    struct progress progress;
    struct map accounts;            /* number -> struct account: of the directory */
    bool has_directory, has_server;
    uint64_t findings;
};

/* ---- findings -------------------------------------------------------------------------------------------------------- */

static const struct account *find_account(const struct view *view, uint64_t number)
{
    return number == 0 ? NULL : map_get_u64(&view->accounts, number);
}

static void write_place(const struct view *view, const struct verify_finding *f, struct buf *out)
{
    char id[QUEUE_ID_TEXT];
    const struct account *account = find_account(view, f->account);
    if (f->account != 0 && account != NULL)
        buf_append_escaped(out, slice_from_str(account->name), true);
    else if (f->account != 0)
        buf_printf(out, "account number %llu", (unsigned long long)f->account);
    if (f->mailbox.len > 0) {
        buf_append_str(out, ", mailbox ");
        buf_append_escaped(out, f->mailbox, true);
    } else if (f->mailbox_id != 0) {
        buf_printf(out, ", mailbox number %llu", (unsigned long long)f->mailbox_id);
    }
    if (f->uid != 0)
        buf_printf(out, ", UID %u", f->uid);
    if (f->entry != 0) {
        queue_id_write(f->entry, id);
        buf_printf(out, "%smessage %s%s", buf_len(out) > 0 ? ", " : "", id, f->kind == VERIFY_ENTRY ? " of the queue" : "");
    }
    if (f->file.len > 0 && buf_len(out) > 0)
        buf_append_str(out, ", ");
    if (f->file.len > 0)
        buf_append_escaped(out, f->file, true);
    if (f->file.len > 0 && slice_find(f->file, SLICE(".seg")) < f->file.len)
        buf_printf(out, " at byte %llu", (unsigned long long)f->offset);
}

static void write_json(const struct view *view, const struct verify_finding *f, struct buf *out)
{
    const struct account *account = find_account(view, f->account);
    char id[QUEUE_ID_TEXT];
    buf_printf(out, "{\"finding\":\"%s\"", verify_kind_name(f->kind));
    if (f->file.len > 0) {
        buf_append_str(out, ",\"file\":");
        json_append_string(out, f->file);
        buf_printf(out, ",\"offset\":%llu", (unsigned long long)f->offset);
    }
    if (f->bytes > 0)
        buf_printf(out, ",\"bytes\":%llu", (unsigned long long)f->bytes);
    if (f->account != 0)
        buf_printf(out, ",\"account_number\":%llu", (unsigned long long)f->account);
    if (account != NULL) {
        buf_append_str(out, ",\"account\":");
        json_append_string(out, slice_from_str(account->name));
    }
    if (f->mailbox.len > 0) {
        buf_append_str(out, ",\"mailbox\":");
        json_append_string(out, f->mailbox);
    }
    if (f->uid != 0)
        buf_printf(out, ",\"uid\":%u", f->uid);
    if (f->entry != 0) {
        queue_id_write(f->entry, id);
        buf_printf(out, ",\"id\":\"%s\"", id);
    }
    buf_append_str(out, ",\"text\":");
    json_append_string(out, f->text);
    buf_append_byte(out, '}');
}

static void on_found(void *arg, const struct verify_finding *f)
{
    struct view *view = arg;
    struct buf line;
    buf_init(&line, 1 << 16);
    progress_end(&view->progress);
    view->findings++;
    if (view->admin.is_json) {
        write_json(view, f, &line);
    } else {
        write_place(view, f, &line);
        buf_append_str(&line, buf_len(&line) > 0 ? ": " : "");
        buf_append_escaped(&line, f->text, true);
    }
    printf("%.*s\n", SLICE_ARG(buf_slice(&line)));
    buf_free(&line);
}

/* ---- progress, and not faster than asked --------------------------------------------------------------------------------- */

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct view *view = arg;
    view->progress.total = total;
    progress_at(&view->progress, done);
    if (view->rate == 0)
        return;
    int64_t due_ms = (int64_t)((double)done / (double)view->rate * 1000), late_ms = due_ms - (terminal_now_ms() - view->began_ms);
    if (late_ms > 0) {
        struct timespec pause = { late_ms / 1000, late_ms % 1000 * 1000000 };
        (void)nanosleep(&pause, NULL);
    }
}

/* "50M": bytes a second, K, M or G behind. */
static bool parse_rate(const char *text, uint64_t *rate)
{
    struct slice in = slice_from_str(text);
    if (!slice_take_number(&in, 1u << 20, rate) || *rate == 0)
        return false;
    if (in.len == 1 && strchr("KkMmGg", in.ptr[0]) != NULL) {
        char unit = in.ptr[0];
        *rate <<= unit == 'K' || unit == 'k' ? 10 : unit == 'M' || unit == 'm' ? 20 : 30;
        return true;
    }
    return in.len == 0;
}

/* ---- the queue rides on the store ------------------------------------------------------------------------------------------ */

static bool make_rider(void *arg, struct store_rider *rider)
{
    const struct view *view = arg;
    struct queue *queue = queue_new(&(struct queue_options){ .history_days = view->admin.config.history_days });
    if (queue == NULL)
        return false;
    *rider = queue_rider(queue);
    return true;
}

static void free_rider(void *arg, struct store_rider *rider)
{
    (void)arg;
    queue_free(rider->self);
}

/* ---- the directory ------------------------------------------------------------------------------------------------------------ */

static void on_directory_found(void *arg, const char *text)
{
    struct view *view = arg;
    view->has_directory = false;
    on_found(view, &(struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("directory/directory.db"), .text = slice_from_str(text) });
}

static bool on_directory_account(void *arg, const struct directory_account *a)
{
    struct view *view = arg;
    struct account *account = calloc(1, sizeof *account);
    if (account == NULL || (account->name = strndup(a->name.ptr, a->name.len)) == NULL || !map_put_u64(&view->accounts, a->id, account)) {
        free(account);
        return false;
    }
    account->created_s = a->created_s;
    return true;
}

static void read_directory(struct view *view)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/directory", view->admin.config.data_dir);
    view->has_directory = true;
    directory_verify(folder, on_directory_found, on_directory_account, view);
}

/* While no server runs either may be ahead of the other: what was changed meanwhile is carried over at its start. */
static void on_store_account(void *arg, uint64_t number, bool is_removed)
{
    struct view *view = arg;
    struct account *account = map_get_u64(&view->accounts, number);
    if (account != NULL)
        account->is_in_store = true;
    else if (!is_removed && (view->has_server || !view->has_directory))
        on_found(view, &(struct verify_finding){ .kind = VERIFY_STATE, .account = number, .text = SLICE("it has mailboxes, and the directory does not know it") });
}

static void check_accounts(struct view *view)
{
    size_t at = 0;
    uint64_t number;
    int64_t settled_s = (int64_t)time(NULL) - SETTLED_S;
    for (struct account *a; (a = map_next_u64(&view->accounts, &at, &number)) != NULL;)
        if (view->has_server && !a->is_in_store && a->created_s < settled_s)
            on_found(view, &(struct verify_finding){ .kind = VERIFY_STATE, .account = number, .text = SLICE("the directory knows it, and it has no mailboxes") });
}

static void free_accounts(struct view *view)
{
    size_t at = 0;
    uint64_t number;
    for (struct account *a; (a = map_next_u64(&view->accounts, &at, &number)) != NULL;) {
        free(a->name);
        free(a);
    }
    map_free(&view->accounts);
}

/* ---- the two commands ----------------------------------------------------------------------------------------------------------- */

static void print_figures(const struct view *view, const struct verify_figures *f, int64_t took_ms)
{
    struct buf read;
    if (view->admin.is_json) {
        printf("{\"verified\":{\"findings\":%llu,\"bytes\":%llu,\"segments\":%llu,\"records\":%llu,\"accounts\":%llu,\"mailboxes\":%llu,\"messages\":%llu,"
               "\"queued\":%llu,\"is_compared\":%s,\"ms\":%lld}}\n", (unsigned long long)view->findings, (unsigned long long)f->bytes,
               (unsigned long long)f->segments, (unsigned long long)f->records, (unsigned long long)f->accounts, (unsigned long long)f->mailboxes,
               (unsigned long long)f->messages, (unsigned long long)f->entries, f->is_compared ? "true" : "false", (long long)took_ms);
        return;
    }
    buf_init(&read, 64);
    terminal_write_bytes(&read, f->bytes);
    printf("%llu accounts, %llu mailboxes, %llu messages, %llu in the queue; %.*s of log in %llu records read in %lld.%lld s.\n", (unsigned long long)f->accounts,
           (unsigned long long)f->mailboxes, (unsigned long long)f->messages, (unsigned long long)f->entries, SLICE_ARG(buf_slice(&read)),
           (unsigned long long)f->records, (long long)(took_ms / 1000), (long long)(took_ms / 100 % 10));
    buf_free(&read);
    if (view->findings == 0)
        puts(f->is_compared ? "Nothing is wrong. The log alone would give everything back." : "Nothing is wrong.");
    else
        printf("%llu finding%s. \"thurn verify --repair\", with the server stopped, keeps all that can be read.\n", (unsigned long long)view->findings,
               view->findings == 1 ? "" : "s");
}

static int look(struct view *view, const struct verify_options *options)
{
    struct verify_figures figures;
    struct fault fault = { 0 };
    view->began_ms = terminal_now_ms();
    progress_begin(&view->progress, "verify", true, 0);
    enum rc rc = store_verify(options, &figures, &fault);
    progress_end(&view->progress);
    if (rc != RC_OK)
        return cli_failed("verify", &fault);
    check_accounts(view);
    print_figures(view, &figures, terminal_now_ms() - view->began_ms);
    return view->findings == 0 ? 0 : 1;
}

static void print_repaired(const struct view *view, const struct repair_figures *f)
{
    if (view->admin.is_json)
        printf("{\"repaired\":{\"is_rebuilt\":%s,\"damaged\":%llu,\"lost_messages\":%llu,\"lost_queued\":%llu,\"messages\":%llu}}\n", f->is_rebuilt ? "true" : "false",
               (unsigned long long)f->damaged, (unsigned long long)f->lost_messages, (unsigned long long)f->lost_entries, (unsigned long long)f->messages);
    else
        printf("Repaired: %s; %llu damaged place%s in the log, %llu message%s lost, %llu taken out of the queue; %llu messages are there.\n",
               f->is_rebuilt ? "state.db was made anew" : "state.db is good", (unsigned long long)f->damaged, f->damaged == 1 ? "" : "s",
               (unsigned long long)f->lost_messages, f->lost_messages == 1 ? "" : "s", (unsigned long long)f->lost_entries, (unsigned long long)f->messages);
}

/* What was lost is told, and is no finding any more: the status is that of the look behind it. */
static int repair(struct view *view, const struct verify_options *options)
{
    struct repair_figures figures;
    struct fault fault = { 0 };
    view->began_ms = terminal_now_ms();
    progress_begin(&view->progress, "repair", true, 0);
    enum rc rc = store_repair(options, (int64_t)time(NULL) * 1000, &figures, &fault);
    progress_end(&view->progress);
    owner_hand_over(options->dir);
    if (rc != RC_OK)
        return cli_failed("verify", &fault);
    print_repaired(view, &figures);
    view->findings = 0;
    return look(view, options);
}

static int run(struct view *view)
{
    char dir[4096];
    if (!admin_load(&view->admin))
        return 1;
    snprintf(dir, sizeof dir, "%s/store", view->admin.config.data_dir);
    struct verify_options options = {
        .dir = dir, .files = &file_ops_real, .rider = { make_rider, free_rider, view }, .keep_expunged_s = view->admin.config.keep_expunged_s,
        .found = on_found, .progress = on_progress, .account = on_store_account, .arg = view,
    };
    view->has_server = !admin_server_is_absent(&view->admin, "control-post.sock");
    read_directory(view);
    return view->is_repair ? repair(view, &options) : look(view, &options);
}

int cmd_verify(int argc, char **argv)
{
    struct view view = { .is_repair = false };
    admin_init(&view.admin, "verify");
    const struct cli_option options[] = {
        { "repair", 0, NULL, "make it good again: rebuild state.db from the log when it is not what it should be, keep all that can be read, and "
          "say which messages are lost. The server must be stopped", CLI_FLAG(&view.is_repair) },
        { "rate", 'r', "BYTES", "read at most so many bytes a second (50M), to leave the disk to others", CLI_TEXT(&view.rate_text) },
        ADMIN_OPTIONS(&view.admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "verify", .words = "[options]",
        .text = "Reads the whole log and looks at every record's checksum, every message's and every queued message's body, every counter of every "
                "mailbox, the database state.db by itself and against what the log alone would give, and the directory of accounts. Beside a running "
                "server it only reads; what it finds is looked at once more before it is told.",
        .options = options,
        .notes = "Exit status: 0 when nothing is wrong (with --repair: any more), 1 when something is, or could not be found out.\n" };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (at < argc)
        return cli_wrong(&usage, "it takes no words");
    if (view.rate_text != NULL && !parse_rate(view.rate_text, &view.rate))
        return cli_wrong(&usage, "--rate %s: a number of bytes a second is possible, with K, M or G behind it: 50M", view.rate_text);
    map_init(&view.accounts, NULL);
    int status = run(&view);
    free_accounts(&view);
    admin_free(&view.admin);
    return status;
}
