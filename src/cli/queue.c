/* thurn queue: what waits to be delivered elsewhere, and what an administrator can do about it. And mailq. */
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "config/value.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- what is chosen -------------------------------------------------------------------------------------------------- */

struct choice {
    struct admin admin;
    const char *domain, *sender, *recipient, *error, *older, *younger;
    bool is_held, is_due, is_all;
};
#define CHOICE_OPTIONS(c) \
    { "domain", 'd', "DOMAIN", "messages with a recipient in DOMAIN", CLI_TEXT(&(c)->domain) }, \
    { "sender", 's', "TEXT", "messages whose sender or submitting user contains TEXT", CLI_TEXT(&(c)->sender) }, \
    { "recipient", 'r', "TEXT", "messages with a recipient that contains TEXT", CLI_TEXT(&(c)->recipient) }, \
    { "error", 'e', "TEXT", "messages whose last outcome contains TEXT", CLI_TEXT(&(c)->error) }, \
    { "older", 'o', "AGE", "messages older than AGE, such as 2h", CLI_TEXT(&(c)->older) }, \
    { "younger", 'y', "AGE", "messages younger than AGE", CLI_TEXT(&(c)->younger) }, \
    { "held", 0, NULL, "messages that are held", CLI_FLAG(&(c)->is_held) }, \
    { "due", 0, NULL, "messages whose next attempt is due", CLI_FLAG(&(c)->is_due) }, \
    { "all", 'a', NULL, "every message", CLI_FLAG(&(c)->is_all) }, \
    ADMIN_OPTIONS(&(c)->admin), CLI_OPTIONS_END

#define CHOICE_NOTES \
    "Messages are chosen by their IDs, or by options: a message must match all of them.\n" \
    "An ID is in the log, in the reply to a submission and in \"thurn queue list\".\n"

static void add_text(struct admin *admin, const char *name, const char *value)
{
    if (value != NULL)
        admin_addf(admin, "%s=%s", name, value);
}

static bool add_age(struct admin *admin, const struct cli_usage *usage, const char *name, const char *value)
{
    static const struct setting age = { .name = "age", .kind = SETTING_DURATION, .max = UINT32_MAX };
    struct fault fault;
    uint32_t seconds;
    if (value == NULL)
        return true;
    if (value_parse(&age, slice_from_str(value), &seconds, NULL, &fault) != RC_OK) {
        cli_wrong(usage, "--%s \"%s\": %s", name, value, fault.text);
        return false;
    }
    admin_addf(admin, "%s=%u", name, seconds);
    return true;
}

/* The words and options as the post role wants them. */
static bool add_choice(struct choice *c, const struct cli_usage *usage, int count, char **ids)
{
    struct admin *admin = &c->admin;
    for (int i = 0; i < count; i++)
        add_text(admin, "id", ids[i]);
    add_text(admin, "domain", c->domain);
    add_text(admin, "sender", c->sender);
    add_text(admin, "recipient", c->recipient);
    add_text(admin, "error", c->error);
    if (!add_age(admin, usage, "older", c->older) || !add_age(admin, usage, "younger", c->younger))
        return false;
    if (c->is_held)
        admin_add(admin, "held");
    if (c->is_due)
        admin_add(admin, "due");
    if (count > 0 && admin->argument_count > (size_t)count) {
        cli_wrong(usage, "IDs and options that choose: give one or the other");
        return false;
    }
    if (c->is_all)
        admin_add(admin, "all");
    return true;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

struct printer {
    const char *done;               /* "held", after an action; NULL: list */
    size_t messages, recipients;
    uint64_t bytes;
    int64_t now_s;
};

/* ", next attempt in 5m" */
static void print_when(const struct printer *printer, const struct json *recipient)
{
    struct buf age;
    int64_t next = cli_time_of(json_text(recipient, "next_attempt"));
    if (next == 0)
        return;
    buf_init(&age, 64);
    cli_write_age(&age, next - printer->now_s);
    printf(next > printer->now_s ? ", next attempt in %.*s" : ", next attempt now", SLICE_ARG(buf_slice(&age)));
    buf_free(&age);
}

static void print_recipient(const struct printer *printer, const struct json *recipient)
{
    int64_t attempts = json_number(recipient, "attempts");
    printf("    ");
    cli_print_text(json_text(recipient, "to"));
    printf("  ");
    cli_print_text(cli_state_word(json_text(recipient, "state"), cli_time_of(json_text(recipient, "next_attempt")), printer->now_s));
    print_when(printer, recipient);
    if (attempts > 0)
        printf(", %lld attempt%s", (long long)attempts, attempts == 1 ? "" : "s");
    putchar('\n');
    if (json_get(recipient, "last") == NULL)
        return;
    printf("        ");
    struct slice remote = json_text(recipient, "remote"), last = json_text(recipient, "last");
    if (remote.len > 0 && slice_find(last, remote) == last.len) {
        cli_print_text(remote);
        printf(": ");
    }
    cli_print_text(last);
    putchar('\n');
}

static void list_row(void *arg, const struct json *row)
{
    struct printer *printer = arg;
    const struct json *recipients = json_get(row, "recipients");
    struct buf size, age;
    buf_init(&size, 64);
    buf_init(&age, 64);
    cli_write_size(&size, (uint64_t)json_number(row, "size"));
    cli_write_age(&age, json_number(row, "age_s"));
    cli_print_text(json_text(row, "id"));
    printf("  %6.*s  %8.*s  ", SLICE_ARG(buf_slice(&size)), SLICE_ARG(buf_slice(&age)));
    cli_print_text(json_text(row, "from"));
    if (json_get(row, "user") != NULL && !slice_equal_nocase(json_text(row, "user"), json_text(row, "from"))) {
        printf(" (by ");
        cli_print_text(json_text(row, "user"));
        putchar(')');
    }
    putchar('\n');
    for (const struct json *one = recipients != NULL ? recipients->first : NULL; one != NULL; one = one->next) {
        print_recipient(printer, one);
        printer->recipients++;
    }
    printer->messages++;
    printer->bytes += (uint64_t)json_number(row, "size");
    buf_free(&size);
    buf_free(&age);
}

static void done_row(void *arg, const struct json *row)
{
    struct printer *printer = arg;
    cli_print_text(json_text(row, "id"));
    printf(": %s\n", printer->done);
    printer->messages++;
}

static void print_total(const struct printer *printer)
{
    struct buf size;
    if (printer->messages == 0) {
        printf("no message in the queue\n");
        return;
    }
    buf_init(&size, 64);
    cli_write_size(&size, printer->bytes);
    printf("%zu message%s to %zu recipient%s, size %.*s\n", printer->messages, printer->messages == 1 ? "" : "s", printer->recipients,
           printer->recipients == 1 ? "" : "s", SLICE_ARG(buf_slice(&size)));
    buf_free(&size);
}

/* ---- verbs ----------------------------------------------------------------------------------------------------------- */

struct queue_verb {
    struct cli_usage usage;
    const char *command;
    const char *done;
    bool wants_choice;
};

static int run_verb(const struct queue_verb *verb, int argc, char **argv)
{
    struct choice c = { .domain = NULL };
    struct printer printer = { .done = verb->done, .now_s = (int64_t)time(NULL) };
    admin_init(&c.admin, verb->usage.name);
    const struct cli_option options[] = { CHOICE_OPTIONS(&c) };
    struct cli_usage usage = verb->usage;
    usage.options = options;
    usage.notes = CHOICE_NOTES;
    int at = cli_parse(&usage, argc, argv), status = EXIT_USAGE;
    if (at < 0)
        return cli_parse_status(at);
    if (!add_choice(&c, &usage, argc - at, argv + at))
        status = EXIT_USAGE;
    else if (verb->wants_choice && c.admin.argument_count == 0)
        status = cli_wrong(&usage, "which messages? Give IDs, options that choose, or --all");
    else
        status = admin_load(&c.admin) ? admin_call(&c.admin, "control-post.sock", verb->command,
                                                   verb->done != NULL ? done_row : list_row, &printer) : 1;
    if (status == 0 && !c.admin.is_json && (verb->done == NULL || printer.messages == 0))
        print_total(&printer);
    admin_free(&c.admin);
    return status;
}

static int queue_list(int argc, char **argv)
{
    static const struct queue_verb verb = {
        .usage = { .name = "queue list", .words = "[options] [ID...]",
                   .text = "Lists what waits in the queue: each message with its age, size and sender, and each of its recipients with its state, "
                           "the time of its next attempt and what the last one came to." },
        .command = "queue-list" };
    return run_verb(&verb, argc, argv);
}

static int queue_hold(int argc, char **argv)
{
    static const struct queue_verb verb = {
        .usage = { .name = "queue hold", .words = "[options] [ID...]",
                   .text = "Holds messages: nothing is tried, and they do not expire, until they are released." },
        .command = "queue-hold", .done = "held", .wants_choice = true };
    return run_verb(&verb, argc, argv);
}

static int queue_release(int argc, char **argv)
{
    static const struct queue_verb verb = {
        .usage = { .name = "queue release", .words = "[options] [ID...]", .text = "Lets held messages go on; they are due at once." },
        .command = "queue-release", .done = "released", .wants_choice = true };
    return run_verb(&verb, argc, argv);
}

static int queue_retry(int argc, char **argv)
{
    static const struct queue_verb verb = {
        .usage = { .name = "queue retry", .words = "[options] [ID...]",
                   .text = "Makes messages due now, whenever their next attempt was to be." },
        .command = "queue-retry", .done = "due now", .wants_choice = true };
    return run_verb(&verb, argc, argv);
}

static int queue_bounce(int argc, char **argv)
{
    static const struct queue_verb verb = {
        .usage = { .name = "queue bounce", .words = "[options] [ID...]",
                   .text = "Gives messages up: their senders are told, as if delivery had failed for good." },
        .command = "queue-bounce", .done = "bounced", .wants_choice = true };
    return run_verb(&verb, argc, argv);
}

static int queue_delete(int argc, char **argv)
{
    static const struct queue_verb verb = {
        .usage = { .name = "queue delete", .words = "[options] [ID...]", .text = "Deletes messages. Nobody is told." },
        .command = "queue-delete", .done = "deleted", .wants_choice = true };
    return run_verb(&verb, argc, argv);
}

/* One message as it lies in the queue is one row of the list; its whole life is what `why` tells. */
static int queue_show(int argc, char **argv)
{
    static const struct queue_verb verb = {
        .usage = { .name = "queue show", .words = "[options] ID...",
                   .text = "Shows messages in the queue as \"queue list\" does. \"thurn why ID\" tells a message's whole life." },
        .command = "queue-list", .wants_choice = true };
    return run_verb(&verb, argc, argv);
}

int cmd_queue(int argc, char **argv)
{
    static const struct cli_verb verbs[] = {
        { "list", "list messages", queue_list },
        { "show", "show some messages", queue_show },
        { "hold", "keep messages from being tried", queue_hold },
        { "release", "let held messages go on", queue_release },
        { "retry", "try messages now", queue_retry },
        { "bounce", "give messages up and tell their senders", queue_bounce },
        { "delete", "delete messages and tell nobody", queue_delete },
    };
    static const struct cli_usage usage = {
        .name = "queue", .words = "list|show|hold|release|retry|bounce|delete ...",
        .text = "What waits to be delivered elsewhere. Mail for this server's own accounts never waits here." };
    return cli_group(&usage, verbs, sizeof verbs / sizeof verbs[0], argc, argv);
}

/* ---- mailq ------------------------------------------------------------------------------------------------------------ */

/* The form that Sendmail gave it and that scripts count on. */
static void mailq_row(void *arg, const struct json *row)
{
    struct printer *printer = arg;
    const struct json *recipients = json_get(row, "recipients");
    char when[64] = "";
    struct tm parts;
    time_t accepted = (time_t)cli_time_of(json_text(row, "accepted"));
    if (printer->messages++ == 0)
        printf("-Queue ID-      --Size-- ----Arrival Time---- -Sender/Recipient-------\n");
    if (localtime_r(&accepted, &parts) != NULL)
        strftime(when, sizeof when, "%a %b %e %H:%M:%S", &parts);
    printf("%-14.*s %9lld %-20s ", SLICE_ARG(json_text(row, "id")), (long long)json_number(row, "size"), when);
    cli_print_text(slice_equal(json_text(row, "from"), SLICE("<>")) ? SLICE("MAILER-DAEMON") : json_text(row, "from"));
    putchar('\n');
    for (const struct json *one = recipients != NULL ? recipients->first : NULL; one != NULL; one = one->next) {
        if (json_get(one, "last") != NULL) {
            printf("%28s(", "");
            cli_print_text(json_text(one, "last"));
            printf(")\n");
        }
        printf("%46s", "");
        cli_print_text(json_text(one, "to"));
        putchar('\n');
    }
    putchar('\n');
    printer->bytes += (uint64_t)json_number(row, "size");
}

int cmd_mailq(int argc, char **argv)
{
    struct admin admin;
    struct printer printer = { .now_s = (int64_t)time(NULL) };
    admin_init(&admin, "mailq");
    const struct cli_option options[] = { ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = { .name = "mailq", .words = "[options]", .options = options,
        .text = "Lists the mail queue in the form that Sendmail's mailq has. \"thurn queue\" does more." };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    int status = admin_load(&admin) ? admin_call(&admin, "control-post.sock", "queue-list", mailq_row, &printer) : 1;
    if (status == 0 && !admin.is_json && printer.messages == 0)
        printf("Mail queue is empty\n");
    else if (status == 0 && !admin.is_json)
        printf("-- %llu Kbytes in %zu Request%s.\n", (unsigned long long)((printer.bytes + 1023) / 1024), printer.messages,
               printer.messages == 1 ? "" : "s");
    admin_free(&admin);
    return status;
}
