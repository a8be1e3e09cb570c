/* thurn why: the life of one message on this server, as a timeline.
 *
 * The post role answers with one JSON object: the events since the message was accepted, and its recipients as long as it
 * is in the queue. What is known of an event is shown in a fixed order of facts; what is not known is left out. */
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#include <stdio.h>
#include <time.h>

/* What each fact of an event is called. */
static const struct fact {
    const char *name;
    const char *label;
} facts[] = {
    { "from", "sender" }, { "user", "submitted by" }, { "peer", "from the host" }, { "helo", "which called itself" },
    { "protocol", "by" }, { "tls", "TLS" }, { "size", "size in bytes" }, { "envelope_id", "envelope id" },
    { "reports_on", "reports on" }, { "mx", "server chosen" }, { "greeting", "which called itself" },
    { "report", "report sent as" }, { "not_reported", "no report" },
};

static void print_fact(const char *label, struct slice text)
{
    if (text.len == 0)
        return;
    printf("    %-20s ", label);
    cli_print_text(text);
    putchar('\n');
}

static void print_time(struct slice iso, int width)
{
    struct buf text;
    int64_t at = cli_time_of(iso);
    buf_init(&text, 64);
    if (at != 0)
        cli_write_time(&text, at);
    printf("%-*.*s", width, SLICE_ARG(buf_slice(&text)));
    buf_free(&text);
}

static const struct json *children(const struct json *object, const char *name)
{
    const struct json *list = json_get(object, name);
    return list != NULL ? list->first : NULL;
}

/* bob@remote.example: delivered, 250 2.0.0 ok (mx.remote.example[192.0.2.1]:25) */
static void print_outcome(const struct json *outcome)
{
    printf("    ");
    cli_print_text(json_text(outcome, "to"));
    if (json_text(outcome, "state").len > 0) {
        printf(": ");
        bool is_deferred = json_get(outcome, "next_attempt") != NULL;
        cli_print_text(is_deferred ? SLICE("deferred") : json_text(outcome, "state"));
    }
    struct slice said = json_text(outcome, json_get(outcome, "reply") != NULL ? "reply" : "reason");
    if (said.len > 0) {
        int64_t code = json_get(outcome, "reply") != NULL ? json_number(outcome, "code") : 0;
        printf(", ");
        if (code > 0)
            printf("%lld ", (long long)code);
        cli_print_text(said);
    }
    struct slice remote = json_text(outcome, "remote");
    if (remote.len > 0 && slice_find(said, remote) == said.len) {
        printf(" (");
        cli_print_text(json_text(outcome, "remote"));
        putchar(')');
    }
    if (json_get(outcome, "next_attempt") != NULL) {
        printf("; next attempt ");
        print_time(json_text(outcome, "next_attempt"), 0);
    }
    putchar('\n');
}

static void print_delivery(const struct json *delivery)
{
    printf("    ");
    cli_print_text(json_text(delivery, "to"));
    printf(": into the mailbox ");
    cli_print_text(json_text(delivery, "mailbox"));
    if (json_get(delivery, "uid") != NULL)
        printf(", UID %lld", (long long)json_number(delivery, "uid"));
    putchar('\n');
}

static void print_event(const struct json *event)
{
    print_time(json_text(event, "time"), 20);
    cli_print_text(json_text(event, "event"));
    putchar('\n');
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
        print_fact(facts[i].label, json_text(event, facts[i].name));
    for (const struct json *one = children(event, "delivered"); one != NULL; one = one->next)
        print_delivery(one);
    for (const struct json *one = children(event, "queued"); one != NULL; one = one->next)
        print_fact("queued for", one->text);
    for (const struct json *one = children(event, "outcomes"); one != NULL; one = one->next)
        print_outcome(one);
    for (const struct json *one = children(event, "recipients"); one != NULL; one = one->next)
        print_fact("recipient", json_text(one, "to"));
}

static void print_recipient(const struct json *recipient, int64_t now_s)
{
    struct buf when;
    int64_t next = cli_time_of(json_text(recipient, "next_attempt"));
    buf_init(&when, 64);
    printf("    ");
    cli_print_text(json_text(recipient, "to"));
    printf(": ");
    cli_print_text(cli_state_word(json_text(recipient, "state"), next, now_s));
    if (next > now_s) {
        cli_write_age(&when, next - now_s);
        printf(", next attempt in %.*s", SLICE_ARG(buf_slice(&when)));
    } else if (next != 0)
        printf(", next attempt now");
    putchar('\n');
    buf_free(&when);
}

static void why_row(void *arg, const struct json *row)
{
    (void)arg;
    printf("Message ");
    cli_print_text(json_text(row, "id"));
    printf("\n\n");
    for (const struct json *event = children(row, "events"); event != NULL; event = event->next)
        print_event(event);
    if (children(row, "recipients") != NULL)
        printf("\nIn the queue:\n");
    else
        printf("\nNothing of it is left in the queue.\n");
    for (const struct json *one = children(row, "recipients"); one != NULL; one = one->next)
        print_recipient(one, (int64_t)time(NULL));
}

int cmd_why(int argc, char **argv)
{
    struct admin admin;
    admin_init(&admin, "why");
    const struct cli_option options[] = { ADMIN_OPTIONS(&admin), CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "why", .words = "[options] ID",
        .text = "Tells the whole life of one message on this server: who sent it and what was checked, where it went, every attempt with the "
                "other server's answer, and when the next one is.",
        .options = options,
        .notes = "An ID is in the log, in the reply to a submission (\"250 ... accepted as ID\"), in the Received line that this server adds,\n"
                 "and in \"thurn queue list\". What is over is remembered for the time set as \"history\".\n" };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (argc - at != 1)
        return cli_wrong(&usage, "it wants one ID");
    admin_addf(&admin, "id=%s", argv[at]);
    int status = admin_load(&admin) ? admin_call(&admin, "control-post.sock", "why", why_row, NULL) : 1;
    admin_free(&admin);
    return status;
}
