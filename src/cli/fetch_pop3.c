/* `thurn fetch` over POP3. */
#include "cli/fetch.h"

#include "pop3/client.h"

#include <inttypes.h>
#include <stdlib.h>

struct reading {
    struct fetch *fetch;
    struct net *net;
    struct pop3_client *client;
    struct net_machine machine;
    struct fault *fault;
    uint32_t *sizes;                /* by message number; 0: no such message */
    size_t count, cap;
    char unique[128];               /* of the message being listed */
    struct buf header;
    struct fetch_file file;
};

static enum want step(void *self, struct slice *in) { return pop3_client_step(self, in); }
static struct buf *output(void *self) { return pop3_client_output(self); }
static void tls_started(void *self) { pop3_client_tls_started(self); }

/* ---- one command after another ------------------------------------------------------------------------------------------- */

/* What a line or a piece of an answer is given to; false ends it all, the fault is its own. */
typedef bool (*receive)(struct reading *, struct slice);

/* Runs to the next ready. RC_PERM, RC_TEMP with the server's words for -ERR (the session goes on: reading->net is there). */
static enum rc run(struct reading *reading, receive each, const char *command)
{
    struct pop3_client *client = reading->client;
    enum rc ended = RC_OK;
    for (;;) {
        bool goes_on = true;
        enum rc rc = net_run(reading->net, &reading->machine, reading->fault);
        if (rc == RC_NONE && pop3_client_fault(client) != NULL) {
            *reading->fault = *pop3_client_fault(client);
            rc = reading->fault->rc;
        }
        if (rc != RC_OK)
            return rc == RC_NONE ? RC_OK : rc;
        enum pop3_client_ask ask = pop3_client_ask(client);
        if (ask == POP3_CLIENT_ASK_READY)
            return ended;
        if (ask == POP3_CLIENT_ASK_LINE)
            goes_on = each(reading, pop3_client_line(client));
        if (ask == POP3_CLIENT_ASK_PIECE)
            goes_on = each(reading, pop3_client_piece(client));
        if (ask == POP3_CLIENT_ASK_DONE && (ended = pop3_client_result(client)->rc) != RC_OK)
            fault_perm(reading->fault, 0, "the server refuses %s: %.*s", command, SLICE_ARG(slice_sub(pop3_client_result(client)->text, 0, 200)));
        pop3_client_next(client);
        if (!goes_on)
            return RC_PERM;
    }
}

static enum rc run_command(struct reading *reading, const char *command, enum pop3_reply_kind kind, receive each)
{
    pop3_client_command(reading->client, command, kind);
    return run(reading, each, command);
}

static enum rc quit(struct reading *reading)
{
    pop3_client_quit(reading->client);
    return run(reading, NULL, "QUIT");
}

static enum rc log_in(struct reading *reading)
{
    struct net_target *target = &reading->fetch->target;
    struct pop3_client_options options = {
        .tls = target->tls == NET_TLS_IMPLICIT ? POP3_CLIENT_TLS_IMPLICIT
             : target->tls == NET_TLS_STARTTLS ? POP3_CLIENT_TLS_MUST : POP3_CLIENT_TLS_NEVER,
        .user = slice_from_str(target->user), .password = slice_from_str(target->password),
        .plain_without_tls = target->is_insecure || net_peer(reading->net)->is_loopback,
        .nonce = { (const char *)target->nonce, sizeof(target->nonce) },
    };
    enum rc rc = target->tls == NET_TLS_IMPLICIT ? net_start_tls(reading->net, reading->fault) : RC_OK;
    if (rc != RC_OK)
        return rc;
    reading->client = pop3_client_new(&options, net_peer(reading->net));
    if (reading->client == NULL)
        return fault_no_memory(reading->fault);
    reading->machine = (struct net_machine){ .self = reading->client, .step = step, .output = output, .tls_started = tls_started };
    return run(reading, NULL, "the login");
}

/* ---- listings --------------------------------------------------------------------------------------------------------- */

static bool grow(struct reading *reading, size_t number)
{
    size_t cap = reading->cap == 0 ? 1024 : reading->cap;
    while (cap <= number)
        cap *= 2;
    if (cap > reading->cap) {
        uint32_t *sizes = realloc(reading->sizes, cap * sizeof(*sizes));
        if (sizes == NULL)
            return false;
        memset(sizes + reading->cap, 0, (cap - reading->cap) * sizeof(*sizes));
        reading->sizes = sizes;
        reading->cap = cap;
    }
    return true;
}

static bool on_size(struct reading *reading, struct slice line)
{
    uint64_t number, size;
    if (!slice_take_number(&line, FETCH_MESSAGES_MAX, &number) || number == 0 || !slice_take_byte(&line, ' ') ||
        !slice_take_number(&line, UINT32_MAX - 1, &size)) {
        fault_perm(reading->fault, 0, "the server's list cannot be understood");
        return false;
    }
    if (!grow(reading, number)) {
        fault_no_memory(reading->fault);
        return false;
    }
    reading->sizes[number] = (uint32_t)size + 1;
    if (number > reading->count)
        reading->count = number;
    return true;
}

static bool on_header(struct reading *reading, struct slice piece)
{
    (void)buf_append(&reading->header, slice_sub(piece, 0, FETCH_HEADER_MAX - buf_len(&reading->header)));
    return true;
}

static enum rc list_message(struct reading *reading, uint32_t number)
{
    char command[64];
    struct slice unique = SLICE_NONE;
    snprintf(command, sizeof(command), "UIDL %" PRIu32, number);
    if (run_command(reading, command, POP3_REPLY_LINE, NULL) == RC_OK) {
        unique = pop3_client_result(reading->client)->text;
        (void)slice_take_until(&unique, ' ');
        unique = slice_sub(unique, 0, sizeof(reading->unique));
        memcpy(reading->unique, unique.ptr, unique.len);
        unique.ptr = reading->unique;
    }
    buf_clear(&reading->header);
    snprintf(command, sizeof(command), "TOP %" PRIu32 " 0", number);
    enum rc rc = run_command(reading, command, POP3_REPLY_MESSAGE, on_header);
    if (rc != RC_OK)
        return rc;
    struct fetch_summary summary = {
        .id_name = "number", .id = number, .unique = unique, .size = reading->sizes[number] - 1, .header = buf_slice(&reading->header),
    };
    fetch_print_summary(reading->fetch, &summary);
    return RC_OK;
}

static enum rc list_messages(struct reading *reading)
{
    enum rc rc = RC_OK;
    for (uint32_t number = 1; number <= reading->count && rc == RC_OK; number++) {
        if (reading->sizes[number] > 0)
            rc = list_message(reading, number);
    }
    return rc;
}

static enum rc list_folders(struct reading *reading)
{
    uint64_t bytes = 0, messages = 0;
    for (size_t number = 1; number <= reading->count; number++) {
        messages += reading->sizes[number] > 0;
        bytes += reading->sizes[number] > 0 ? reading->sizes[number] - 1 : 0;
    }
    if (reading->fetch->json)
        printf("{\"mailbox\":\"INBOX\",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n", messages, bytes);
    else
        printf("%8" PRIu64 " messages %12" PRIu64 " bytes  INBOX\n", messages, bytes);
    return RC_OK;
}

/* ---- getting ------------------------------------------------------------------------------------------------------------ */

static bool on_piece(struct reading *reading, struct slice piece)
{
    reading->fetch->bytes += piece.len;
    progress_at(&reading->fetch->progress, reading->fetch->bytes);
    if (fetch_file_write(&reading->file, piece))
        return true;
    fault_temp(reading->fault, 0, "%s: cannot be written", reading->file.path[0] != '\0' ? reading->file.path : "standard output");
    return false;
}

static enum rc get_message(struct reading *reading, uint32_t number)
{
    char command[64], name[32];
    snprintf(name, sizeof(name), "%" PRIu32, number);
    snprintf(command, sizeof(command), "RETR %" PRIu32, number);
    enum rc rc = fetch_file_begin(&reading->file, reading->fetch, name, reading->fault);
    if (rc == RC_OK)
        rc = run_command(reading, command, POP3_REPLY_MESSAGE, on_piece);
    if (rc == RC_OK)
        rc = fetch_file_keep(&reading->file, reading->fault);
    fetch_file_abandon(&reading->file);
    if (rc != RC_OK)
        return rc;
    reading->fetch->messages++;
    if (reading->fetch->json)
        fprintf(reading->file.file == stdout ? stderr : stdout, "{\"number\":%" PRIu32 ",\"bytes\":%" PRIu64 "}\n", number, reading->file.bytes);
    snprintf(command, sizeof(command), "DELE %" PRIu32, number);
    return reading->fetch->deletes ? run_command(reading, command, POP3_REPLY_LINE, NULL) : RC_OK;
}

static bool parse_word(const char *word, uint64_t *number)
{
    struct slice in = slice_from_str(word);
    return slice_take_number(&in, FETCH_MESSAGES_MAX, number) && in.len == 0 && *number > 0;
}

static enum rc get_messages(struct reading *reading)
{
    struct fetch *fetch = reading->fetch;
    enum rc rc = RC_OK;
    uint64_t total = 0, number;
    for (size_t i = 1; i <= reading->count && fetch->all; i++)
        total += reading->sizes[i] > 0 ? reading->sizes[i] - 1 : 0;
    progress_begin(&fetch->progress, "fetch", true, total);
    for (uint32_t i = 1; i <= reading->count && fetch->all && rc == RC_OK; i++) {
        if (reading->sizes[i] > 0)
            rc = get_message(reading, i);
    }
    for (size_t i = 0; i < fetch->word_count && rc == RC_OK; i++) {
        if (!parse_word(fetch->words[i], &number))
            rc = fault_perm(reading->fault, 0, "%s: the number of a message is possible (list messages shows them)", fetch->words[i]);
        else
            rc = get_message(reading, (uint32_t)number);
    }
    progress_end(&fetch->progress);
    return rc;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */

static enum rc read_mail(struct reading *reading, enum fetch_task task)
{
    static enum rc (*const tasks[])(struct reading *) = {
        [FETCH_FOLDERS] = list_folders, [FETCH_MESSAGES] = list_messages, [FETCH_GET] = get_messages,
    };
    enum rc rc = net_connect(&reading->fetch->target, &reading->net, reading->fault);
    if (rc == RC_OK)
        rc = log_in(reading);
    if (rc == RC_OK)
        rc = run_command(reading, "LIST", POP3_REPLY_LISTING, on_size);
    if (rc == RC_OK)
        rc = tasks[task](reading);
    if (rc == RC_OK)        /* deletions count only when QUIT was answered (RFC 1939 6) */
        rc = quit(reading);
    return rc;
}

int fetch_pop3(struct fetch *fetch, enum fetch_task task)
{
    struct fault f = { .rc = RC_OK };
    struct reading reading = { .fetch = fetch, .fault = &f };
    buf_init(&reading.header, FETCH_HEADER_MAX);
    enum rc rc = read_mail(&reading, task);
    net_close(reading.net);
    pop3_client_free(reading.client);
    buf_free(&reading.header);
    free(reading.sizes);
    return rc == RC_OK ? EXIT_SUCCESS : fetch_failed(&f);
}
