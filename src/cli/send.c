/* `thurn send`: composes a message, or takes one as it is, and submits it to any server. */
#include "cli/addresses.h"
#include "cli/commands.h"
#include "cli/letter.h"
#include "cli/raw.h"
#include "cli/submit.h"

#include "base/text.h"
#include "mail/header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { ARENA_MAX = 64 * 1024 * 1024, WORDS_MAX = ADDRESSES_MAX };

struct words {
    const char *items[WORDS_MAX];
    size_t count;
};

struct send {
    struct net_target target;
    const char *protocol, *from, *envelope_from, *subject, *body, *body_file, *raw, *notify, *helo;
    struct words to, cc, bcc, attachments;
    bool reads_recipients, json;

    struct arena arena;
    struct addresses sender, to_list, cc_list;
    struct addresses recipients;     /* To, Cc and Bcc, each once */
    unsigned notify_flags;
    struct spool spool;
    struct smtp_message message;
};

static bool add_word(void *arg, const char *value)
{
    struct words *words = arg;
    if (words->count == WORDS_MAX) {
        fprintf(stderr, "thurn send: more than %d of one option\n", WORDS_MAX);
        return false;
    }
    words->items[words->count++] = value;
    return true;
}

/* ---- who gets it ---------------------------------------------------------------------------------------------------- */

static enum rc parse_words(struct send *send, const struct words *words, struct addresses *list, struct fault *f)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < words->count && rc == RC_OK; i++)
        rc = addresses_parse(words->items[i], &send->arena, list, f);
    return rc;
}

static enum rc add_recipients(struct send *send, const struct addresses *list, struct fault *f)
{
    if (send->recipients.addresses == NULL)
        send->recipients.addresses = ARENA_ARRAY(&send->arena, struct address, ADDRESSES_MAX);
    if (send->recipients.addresses == NULL)
        return fault_no_memory(f);
    for (size_t i = 0; i < list->count; i++) {
        bool is_known = false;
        for (size_t j = 0; j < send->recipients.count; j++)
            is_known = is_known || address_equal(&send->recipients.addresses[j], &list->addresses[i]);
        if (is_known)
            continue;
        if (send->recipients.count == ADDRESSES_MAX)
            return fault_perm(f, 0, "more than %d recipients", ADDRESSES_MAX);
        send->recipients.addresses[send->recipients.count++] = list->addresses[i];
    }
    return RC_OK;
}

static enum rc add_text_recipients(struct send *send, struct slice text, struct fault *f)
{
    struct addresses list = { .count = 0 };
    char *copy = arena_str(&send->arena, slice_trim(text));
    if (copy == NULL || copy[0] == '\0')
        return RC_OK;
    enum rc rc = addresses_parse(copy, &send->arena, &list, f);
    return rc == RC_OK ? add_recipients(send, &list, f) : rc;
}

/* --read-recipients: every To, Cc and Bcc of the message. */
static enum rc add_header_recipients(struct send *send, const struct raw *raw, struct fault *f)
{
    struct slice rest = buf_slice(&raw->header);
    struct header_field field;
    enum rc rc = add_text_recipients(send, buf_slice(&raw->bcc), f);
    for (enum rc at; rc == RC_OK && (at = header_next(&rest, &field)) != RC_NONE; ) {
        if (at == RC_OK && (slice_equal_nocase(field.name, SLICE("To")) || slice_equal_nocase(field.name, SLICE("Cc"))))
            rc = add_text_recipients(send, field.body, f);
    }
    return rc;
}

static enum rc read_addresses(struct send *send, struct fault *f)
{
    struct addresses bcc = { .count = 0 };
    enum rc rc = send->from != NULL ? addresses_parse(send->from, &send->arena, &send->sender, f) : RC_OK;
    if (rc == RC_OK)
        rc = parse_words(send, &send->to, &send->to_list, f);
    if (rc == RC_OK)
        rc = parse_words(send, &send->cc, &send->cc_list, f);
    if (rc == RC_OK)
        rc = parse_words(send, &send->bcc, &bcc, f);
    const struct addresses *lists[] = { &send->to_list, &send->cc_list, &bcc };
    for (size_t i = 0; i < 3 && rc == RC_OK; i++)
        rc = add_recipients(send, lists[i], f);
    return rc;
}

/* The reverse-path: --envelope-from, else --from, else From of a raw message. */
static enum rc find_reverse_path(struct send *send, struct fault *f)
{
    struct address *path = &send->message.mail.reverse_path;
    struct header_field field;
    struct addresses list = { .count = 0 };
    if (send->envelope_from != NULL && send->envelope_from[0] == '\0') {
        *path = (struct address){ .is_null = true };
        return RC_OK;
    }
    if (send->envelope_from != NULL)
        return address_parse(slice_from_str(send->envelope_from), &send->arena, path, f);
    if (send->sender.count > 0) {
        *path = send->sender.addresses[0];
        return RC_OK;
    }
    char *text = NULL;
    if (send->raw != NULL && header_find(buf_slice(&send->spool.header), SLICE("From"), &field) == RC_OK)
        text = arena_str(&send->arena, slice_trim(field.body));
    if (text == NULL)
        return fault_perm(f, 0, "who sends this? --from ADDR says so");
    enum rc rc = addresses_parse(text, &send->arena, &list, f);
    if (rc == RC_OK)
        *path = list.addresses[0];
    return rc;
}

/* ---- the message -------------------------------------------------------------------------------------------------------- */

static FILE *open_input(const char *path, struct fault *f)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (file == NULL)
        (void)fault_errno(f, errno, "%s", path);
    return file;
}

static void close_input(FILE *file)
{
    if (file != stdin)
        fclose(file);
}

static enum rc read_raw(struct send *send, struct fault *f)
{
    struct raw raw;
    FILE *file = open_input(send->raw, f);
    if (file == NULL)
        return f->rc;
    enum rc rc = raw_read_header(&raw, file, false, f);
    if (rc == RC_OK && send->reads_recipients)
        rc = add_header_recipients(send, &raw, f);
    if (rc == RC_OK)
        rc = raw_copy(&raw, &send->spool, f);
    raw_free(&raw);
    close_input(file);
    return rc;
}

static enum rc compose_message(struct send *send, struct fault *f)
{
    struct letter letter = {
        .sender = &send->sender, .to = &send->to_list, .cc = &send->cc_list, .subject = slice_from_str(send->subject),
        .text = slice_from_str(send->body), .attachments = send->attachments.items, .attachment_count = send->attachments.count,
        .needs_utf8 = send->message.needs_utf8,
    };
    if (send->body_file == NULL)
        return letter_write(&letter, &send->spool, f);
    FILE *file = open_input(send->body_file, f);
    if (file == NULL)
        return f->rc;
    enum rc rc = letter_read_text(&letter, file, send->body_file, &send->arena, f);
    close_input(file);
    return rc == RC_OK ? letter_write(&letter, &send->spool, f) : rc;
}

/* The envelope's recipients; says whether any address needs SMTPUTF8. */
static enum rc set_recipients(struct send *send, struct fault *f)
{
    struct smtp_message *message = &send->message;
    if (send->recipients.count == 0)
        return fault_perm(f, 0, "who gets this? --to ADDR says so%s", send->raw != NULL ? ", or -t when it stands in the message" : "");
    message->rcpts = ARENA_ARRAY(&send->arena, struct smtp_rcpt, send->recipients.count);
    if (message->rcpts == NULL)
        return fault_no_memory(f);
    message->rcpt_count = send->recipients.count;
    for (size_t i = 0; i < message->rcpt_count; i++) {
        message->rcpts[i] = (struct smtp_rcpt){ .forward_path = send->recipients.addresses[i], .notify = send->notify_flags };
        message->needs_utf8 = message->needs_utf8 || send->recipients.addresses[i].is_utf8;
    }
    message->needs_utf8 = message->needs_utf8 || (send->sender.count > 0 && send->sender.addresses[0].is_utf8);
    return RC_OK;
}

/* Everything that can be wrong without a server. */
static enum rc prepare(struct send *send, struct fault *f)
{
    struct smtp_message *message = &send->message;
    enum rc rc = read_addresses(send, f);
    if (rc == RC_OK)
        rc = spool_open(&send->spool, f);
    if (rc == RC_OK && send->raw != NULL)
        rc = read_raw(send, f);
    if (rc == RC_OK)
        rc = set_recipients(send, f);
    if (rc == RC_OK && send->raw == NULL)
        rc = compose_message(send, f);
    if (rc == RC_OK)
        rc = spool_finish(&send->spool, f);
    if (rc == RC_OK)
        rc = find_reverse_path(send, f);
    if (rc != RC_OK)
        return rc;
    /* A header with 8-bit text in it is one of RFC 6532. */
    message->needs_utf8 = message->needs_utf8 || message->mail.reverse_path.is_utf8 || !text_is_ascii(buf_slice(&send->spool.header));
    message->mail.is_utf8 = message->needs_utf8;
    message->mail.body = send->spool.has_bare_eol ? SMTP_BODY_BINARYMIME : send->spool.has_8bit ? SMTP_BODY_8BITMIME : SMTP_BODY_7BIT;
    return RC_OK;
}

/* ---- what came of it ---------------------------------------------------------------------------------------------------- */

static void append_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    json_append_string(out, slice_from_str(value));
}

static void append_esc(struct buf *out, uint32_t esc)
{
    if (esc != 0)
        buf_printf(out, "%u.%u.%u", ESC_CLASS(esc), ESC_SUBJECT(esc), ESC_DETAIL(esc));
}

static void print_json(const struct send *send, const struct submit_report *report)
{
    struct buf out;
    buf_init(&out, 16 * 1024 * 1024);
    buf_printf(&out, "{\"server\":");
    json_append_string(&out, slice_from_str(send->target.host));
    append_member(&out, "address", report->peer.address);
    buf_printf(&out, ",\"port\":%u", send->target.port);
    append_member(&out, "protocol", send->protocol);
    append_member(&out, "greeting", report->greeting);
    append_member(&out, "tls_version", report->peer.tls_version);
    append_member(&out, "tls_cipher", report->peer.tls_cipher);
    buf_printf(&out, ",\"tls_verified\":%s", report->peer.has_tls_verified ? "true" : "false");
    append_member(&out, "auth_mechanism", report->mechanism);
    buf_append_str(&out, ",\"message_id\":");
    struct header_field field = { .body = SLICE("") };
    (void)header_find(buf_slice(&send->spool.header), SLICE("Message-ID"), &field);
    json_append_string(&out, slice_trim(field.body));
    buf_printf(&out, ",\"size\":%" PRIu64 ",\"connected_ms\":%" PRId64 ",\"ready_ms\":%" PRId64 ",\"done_ms\":%" PRId64 ",\"recipients\":[",
               send->spool.size, report->connected_ms, report->ready_ms, report->done_ms);
    for (size_t i = 0; i < send->message.rcpt_count; i++) {
        const struct submit_outcome *outcome = &report->outcomes[i];
        struct buf address;
        buf_init(&address, PATH_MAX_BYTES * 4);
        address_write(&send->message.rcpts[i].forward_path, &address);
        buf_append_str(&out, i > 0 ? ",{\"address\":" : "{\"address\":");
        json_append_string(&out, buf_slice(&address));
        buf_printf(&out, ",\"accepted\":%s,\"temporary\":%s,\"code\":%d,\"status\":\"", outcome->rc == RC_OK ? "true" : "false",
                   outcome->rc == RC_TEMP ? "true" : "false", outcome->code);
        append_esc(&out, outcome->esc);
        buf_append_str(&out, "\"");
        append_member(&out, "reply", outcome->text);
        buf_append_str(&out, "}");
        buf_free(&address);
    }
    buf_append_str(&out, "]}\n");
    fwrite(out.data + out.start, 1, buf_len(&out), stdout);
    buf_free(&out);
}

/* Nobody got it: the session itself failed. */
static void print_json_error(const struct fault *f)
{
    struct buf out;
    buf_init(&out, 16 * FAULT_TEXT_MAX);
    buf_printf(&out, "{\"temporary\":%s", f->rc == RC_TEMP ? "true" : "false");
    append_member(&out, "error", f->text);
    buf_append_str(&out, "}\n");
    fwrite(out.data + out.start, 1, buf_len(&out), stdout);
    buf_free(&out);
}

static void print_outcomes(const struct send *send, const struct submit_report *report)
{
    for (size_t i = 0; i < send->message.rcpt_count; i++) {
        const struct submit_outcome *outcome = &report->outcomes[i];
        struct buf line;
        buf_init(&line, PATH_MAX_BYTES * 4 + SUBMIT_TEXT_MAX + 100);
        buf_append_str(&line, outcome->rc == RC_OK ? "accepted " : outcome->rc == RC_TEMP ? "not now  " : "refused  ");
        address_write(&send->message.rcpts[i].forward_path, &line);
        buf_append_str(&line, ": ");
        if (outcome->code != 0)
            buf_printf(&line, "%d ", outcome->code);
        if (!outcome->is_remote && outcome->esc != 0) {        /* in the remote's text it stands already */
            append_esc(&line, outcome->esc);
            buf_append_byte(&line, ' ');
        }
        buf_printf(&line, "%s\n", outcome->text);
        fwrite(line.data + line.start, 1, buf_len(&line), outcome->rc == RC_OK ? stdout : stderr);
        buf_free(&line);
    }
}

static int deliver(struct send *send)
{
    struct fault f = { .rc = RC_OK };
    bool is_local = send->target.server != NULL && send->target.server[0] == '/', is_refused = false;
    struct submit_report report = { .outcomes = ARENA_ARRAY(&send->arena, struct submit_outcome, send->message.rcpt_count) };
    struct submit what = {
        .target = is_local ? NULL : &send->target, .socket_path = send->target.server, .timeout_s = 300,
        .is_lmtp = strcmp(send->protocol, "lmtp") == 0, .helo = send->helo,
        .spool = &send->spool, .message = &send->message, .shows_progress = !send->json,
    };
    enum rc rc = report.outcomes == NULL ? fault_no_memory(&f) : submit(&what, &report, &f);
    if (rc != RC_OK) {
        fprintf(stderr, "thurn send: %s\n", f.text);
        if (send->json)
            print_json_error(&f);
        return EXIT_FAILURE;
    }
    if (send->json)
        print_json(send, &report);
    else
        print_outcomes(send, &report);
    for (size_t i = 0; i < send->message.rcpt_count; i++)
        is_refused = is_refused || report.outcomes[i].rc != RC_OK;
    return is_refused ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- the command -------------------------------------------------------------------------------------------------------- */

static const char notes[] =
    "Examples:\n"
    "  thurn send -s mail.example.org -u ann@example.org --from ann@example.org --to bob@example.net \\\n"
    "      --subject 'The report' --body 'Here it is.' --attach report.pdf\n"
    "  thurn send -s localhost:25 --tls none --from a@example.org --to b@example.org --raw message.eml\n"
    "\n"
    "Exit status: 0 when every recipient was accepted, 1 when one was not, 2 when called wrongly.\n";

static bool parse_notify(const struct cli_usage *usage, struct send *send)
{
    static const struct { const char *name; unsigned flag; } kinds[] = {
        { "never", NOTIFY_NEVER }, { "success", NOTIFY_SUCCESS }, { "failure", NOTIFY_FAILURE }, { "delay", NOTIFY_DELAY },
    };
    struct slice words = slice_from_str(send->notify);
    while (words.len > 0) {
        struct slice word = slice_take_until(&words, ',');
        unsigned flag = 0;
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
            flag |= slice_equal_nocase(word, slice_from_str(kinds[i].name)) ? kinds[i].flag : 0;
        send->notify_flags |= flag;
        if (flag == 0 || (send->notify_flags & NOTIFY_NEVER && send->notify_flags != NOTIFY_NEVER)) {
            (void)cli_wrong(usage, "--notify %s: never, or success,failure,delay is possible", send->notify);
            return false;
        }
    }
    return true;
}

static int check_words(const struct cli_usage *usage, const struct send *send)
{
    if (strcmp(send->protocol, "smtp") != 0 && strcmp(send->protocol, "lmtp") != 0)
        return cli_wrong(usage, "--protocol %s: smtp or lmtp is possible", send->protocol);
    if (send->raw != NULL && (send->body != NULL || send->body_file != NULL || send->subject != NULL || send->attachments.count > 0))
        return cli_wrong(usage, "--raw is a whole message: --subject, --body, --body-file and --attach do not go with it");
    if (send->raw == NULL && send->reads_recipients)
        return cli_wrong(usage, "-t goes with --raw");
    if (send->raw == NULL && send->from == NULL)
        return cli_wrong(usage, "--from ADDR says who sends this");
    if (send->raw == NULL && send->body != NULL && send->body_file != NULL)
        return cli_wrong(usage, "either --body or --body-file");
    return EXIT_SUCCESS;
}

static int run(const struct cli_usage *usage, struct send *send)
{
    static const struct net_ports smtp_ports = { .starttls = 587, .implicit = 465, .usual = NET_TLS_IMPLICIT };
    static const struct net_ports lmtp_ports = { .starttls = 24, .implicit = 0, .usual = NET_TLS_NONE };
    struct fault f = { .rc = RC_OK };
    int status = check_words(usage, send);
    if (status != EXIT_SUCCESS)
        return status;
    if (send->notify != NULL && !parse_notify(usage, send))
        return EXIT_USAGE;
    if (prepare(send, &f) != RC_OK) {
        fprintf(stderr, "thurn send: %s\n", f.text);
        return EXIT_FAILURE;
    }
    bool is_local = send->target.server != NULL && send->target.server[0] == '/';
    if (!is_local && !net_target_prepare(usage, &send->target, strcmp(send->protocol, "lmtp") == 0 ? &lmtp_ports : &smtp_ports))
        return EXIT_USAGE;
    status = deliver(send);
    net_target_wipe(&send->target);
    return status;
}

int cmd_send(int argc, char **argv)
{
    struct send *send = calloc(1, sizeof(*send));
    if (send == NULL)
        return EXIT_FAILURE;
    send->protocol = "smtp";
    arena_init(&send->arena, ARENA_MAX);
    const struct cli_option options[] = {
        { "from", 'f', "ADDR", "the sender: ann@example.org or \"Ann Example <ann@example.org>\"", CLI_TEXT(&send->from) },
        { "to", 0, "ADDR", "a recipient, or several with commas; may be repeated, as --cc and --bcc", CLI_EACH(add_word, &send->to) },
        { "cc", 'c', "ADDR", "gets a copy", CLI_EACH(add_word, &send->cc) },
        { "bcc", 'b', "ADDR", "gets a copy unseen by the others", CLI_EACH(add_word, &send->bcc) },
        { "subject", 0, "TEXT", "the subject", CLI_TEXT(&send->subject) },
        { "body", 0, "TEXT", "the text", CLI_TEXT(&send->body) },
        { "body-file", 0, "FILE", "the text is in FILE, or comes from standard input (-)", CLI_TEXT(&send->body_file) },
        { "attach", 'a', "FILE", "attach FILE; may be repeated", CLI_EACH(add_word, &send->attachments) },
        { "raw", 0, "FILE", "send this message (RFC 5322; - is standard input) as it is, but for Bcc", CLI_TEXT(&send->raw) },
        { "read-recipients", 't', NULL, "recipients are those in the raw message's To, Cc and Bcc", CLI_FLAG(&send->reads_recipients) },
        { "envelope-from", 0, "ADDR", "where bounces go, when it is not the sender; '' for nowhere", CLI_TEXT(&send->envelope_from) },
        { "notify", 0, "WHEN", "ask for reports: never, or some of success,failure,delay (DSN)", CLI_TEXT(&send->notify) },
        NET_TARGET_OPTIONS(&send->target),
        { "protocol", 'p', "NAME", "smtp (the default) or lmtp", CLI_TEXT(&send->protocol) },
        { "helo", 0, "NAME", "the name to say in EHLO", CLI_TEXT(&send->helo) },
        { "json", 'j', NULL, "say what happened as one JSON object", CLI_FLAG(&send->json) },
        CLI_OPTIONS_END
    };
    const struct cli_usage usage = { "send", "[options]",
                                     "Composes a message, or takes one as it is, and submits it. HOST may be the path of a local socket.",
                                     options, notes };
    int first = cli_parse(&usage, argc, argv);
    int status = first < 0 ? cli_parse_status(first) : first < argc ? cli_wrong(&usage, "what is \"%s\"? Recipients go with --to", argv[first])
                                                    : run(&usage, send);
    spool_close(&send->spool);
    arena_free(&send->arena);
    free(send);
    return status;
}
