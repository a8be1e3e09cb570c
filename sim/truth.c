/* Accounts, addresses and messages: what was handed in, what was answered, where it has to end. */
#include "sim/truth_inner.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- memory, order, sentences ------------------------------------------------------------------------------------------ */

struct truth *truth_new(const struct truth_options *options)
{
    struct truth *t = options->block(options->arg, sizeof *t);
    t->options = *options;
    return t;
}

void truth_free(struct truth *t)
{
    for (struct truth_block *block = t->block, *next; block != NULL; block = next) {
        next = block->next;
        t->options.block_free(t->options.arg, block);
    }
    t->options.block_free(t->options.arg, t);
}

void *truth_alloc(struct truth *t, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (t->block == NULL || t->block->size - t->block->used < size) {
        size_t head = (sizeof(struct truth_block) + 15) & ~(size_t)15;
        size_t whole = size + head > BLOCK_BYTES ? size + head : BLOCK_BYTES;
        struct truth_block *block = t->options.block(t->options.arg, whole);
        *block = (struct truth_block){ .next = t->block, .used = head, .size = whole };
        t->block = block;
    }
    void *at = (char *)t->block + t->block->used;
    t->block->used += size;
    return at;
}

const char *truth_keep(struct truth *t, const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(truth_alloc(t, size), text, size);
}

uint64_t truth_mark(struct truth *t)
{
    return ++t->mark;
}

void truth_broken(struct truth *t, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    t->options.broken(t->options.arg, text);
}

struct truth_figures truth_figures(const struct truth *t)
{
    return t->figures;
}

/* ---- hosts and addresses ----------------------------------------------------------------------------------------------- */

struct truth_host *truth_host_named(struct truth *t, const char *name)
{
    for (struct truth_host *host = t->hosts; host != NULL; host = host->next)
        if (strcmp(host->name, name) == 0)
            return host;
    struct truth_host *host = truth_alloc(t, sizeof *host);
    *host = (struct truth_host){ .next = t->hosts, .name = truth_keep(t, name) };
    t->hosts = host;
    return host;
}

void truth_disturbed(struct truth *t, const char *name)
{
    truth_host_named(t, name)->disturbed++;
}

void truth_may_stray(struct truth *t)
{
    t->may_stray = true;
}

void truth_disturbing(struct truth *t, const char *name, bool begins)
{
    struct truth_host *host = truth_host_named(t, name);
    if (begins) {
        host->whiles++;
        host->disturbed += ANY_NUMBER;
    } else {
        host->whiles--;
    }
}

static bool same_address(const char *a, const char *b)
{
    return slice_equal_nocase(slice_from_str(a), slice_from_str(b));
}

struct truth_account *truth_account_new(struct truth *t, const char *address, const char *host)
{
    static const char *const born[] = { "INBOX", "Drafts", "Sent", "Archive", "Junk", "Trash" };
    struct truth_account *account = truth_alloc(t, sizeof *account);
    *account = (struct truth_account){ .next = t->accounts, .truth = t, .address = truth_keep(t, address), .host = truth_host_named(t, host) };
    t->accounts = account;
    for (size_t i = 0; i < sizeof born / sizeof born[0]; i++)
        truth_create_end(truth_create_begin(t, account, born[i]), TRUTH_DONE);
    return account;
}

struct truth_account *truth_account_find(const struct truth *t, const char *address)
{
    for (struct truth_account *account = t->accounts; account != NULL; account = account->next)
        if (same_address(account->address, address))
            return account;
    return NULL;
}

const char *truth_account_address(const struct truth_account *account)
{
    return account->address;
}

void truth_sink_new(struct truth *t, const char *address, const char *host)
{
    struct truth_sink *sink = truth_alloc(t, sizeof *sink);
    *sink = (struct truth_sink){ .next = t->sinks, .address = truth_keep(t, address), .host = truth_host_named(t, host) };
    t->sinks = sink;
}

static const struct truth_sink *sink_find(const struct truth *t, const char *address)
{
    for (const struct truth_sink *sink = t->sinks; sink != NULL; sink = sink->next)
        if (same_address(sink->address, address))
            return sink;
    return NULL;
}

/* ---- messages ------------------------------------------------------------------------------------------------------------ */

struct truth_message *truth_message_find(const struct truth *t, uint64_t token)
{
    for (struct truth_message *message = t->by_token[token % TOKEN_BUCKETS]; message != NULL; message = message->next)
        if (message->token == token)
            return message;
    return NULL;
}

uint64_t truth_message_new(struct truth *t, uint64_t chance, const char *from, size_t size)
{
    while (chance == 0 || truth_message_find(t, chance) != NULL)
        chance = chance * 6364136223846793005u + 1442695040888963407u;
    struct truth_message *message = truth_alloc(t, sizeof *message);
    *message = (struct truth_message){ .next = t->by_token[chance % TOKEN_BUCKETS], .token = chance, .from = truth_keep(t, from), .size = size };
    t->by_token[chance % TOKEN_BUCKETS] = message;
    t->figures.messages++;
    return chance;
}

struct truth_owed *truth_owed_find(const struct truth_message *message, const char *address)
{
    for (struct truth_owed *owed = message->owed; owed != NULL; owed = owed->next)
        if (same_address(owed->address, address))
            return owed;
    return NULL;
}

static struct truth_message *message_of(struct truth *t, uint64_t token)
{
    struct truth_message *message = truth_message_find(t, token);
    if (message == NULL)
        truth_broken(t, "misplaced: token %016llx belongs to no message", (unsigned long long)token);
    return message;
}

void truth_submit_begin(struct truth *t, uint64_t token, const char *via)
{
    struct truth_message *message = message_of(t, token);
    if (message != NULL)
        message->via = truth_host_named(t, via);
}

/* How often a record of a remote 250 may have been lost between the two hosts, up to now; and what of it may still happen. */
static uint64_t whiles(const struct truth *t, const struct truth_message *message, const struct truth_host *to)
{
    uint64_t sum = message->via->whiles + (to != NULL && to != message->via ? to->whiles : 0);
    for (const struct truth_host *host = t->hosts; host != NULL; host = host->next)
        if (strcmp(host->name, "*") == 0)
            sum += host->whiles;
    return sum;
}

static uint64_t disturbances(const struct truth *t, const struct truth_message *message, const struct truth_host *to)
{
    uint64_t sum = message->via->disturbed + (to != NULL && to != message->via ? to->disturbed : 0);
    for (const struct truth_host *host = t->hosts; host != NULL; host = host->next)
        if (strcmp(host->name, "*") == 0)
            sum += host->disturbed;
    return sum;
}

static const struct truth_host *destination(const struct truth_owed *owed)
{
    return owed->account != NULL ? owed->account->host : owed->sink != NULL ? owed->sink->host : NULL;
}

uint64_t truth_disturbances(const struct truth *t, const struct truth_owed *owed)
{
    const struct truth_host *to = destination(owed);
    if (to == owed->message->via)
        return 0;
    return disturbances(t, owed->message, to) - owed->disturbed_at_begin;
}

bool truth_was_disturbed(const struct truth *t, const struct truth_message *message)
{
    const struct truth_account *account = truth_account_find(t, message->from);
    const struct truth_sink *sink = sink_find(t, message->from);
    const struct truth_host *home = account != NULL ? account->host : sink != NULL ? sink->host : NULL;
    return home != message->via && disturbances(t, message, home) > 0;
}

void truth_submit_rcpt(struct truth *t, uint64_t token, const char *address)
{
    struct truth_message *message = message_of(t, token);
    if (message == NULL || truth_owed_find(message, address) != NULL)
        return;
    struct truth_owed *owed = truth_alloc(t, sizeof *owed);
    *owed = (struct truth_owed){ .next = message->owed, .message = message, .address = truth_keep(t, address),
                                 .account = truth_account_find(t, address), .sink = sink_find(t, address) };
    owed->disturbed_at_begin = disturbances(t, message, destination(owed)) - whiles(t, message, destination(owed)) * ANY_NUMBER;
    message->owed = owed;
    t->figures.recipients++;
    if (owed->account != NULL) {
        owed->next_open = owed->account->open;
        owed->account->open = owed;
    }
}

void truth_submit_sent(struct truth *t, uint64_t token)
{
    struct truth_message *message = message_of(t, token);
    if (message != NULL)
        message->is_sent = true;
}

void truth_submit_end(struct truth *t, uint64_t token, const char *address, enum truth_answer answer)
{
    struct truth_message *message = message_of(t, token);
    if (message == NULL)
        return;
    uint64_t mark = truth_mark(t);
    for (struct truth_owed *owed = message->owed; owed != NULL; owed = owed->next) {
        if (owed->has_ended || (address != NULL && !same_address(owed->address, address)))
            continue;
        owed->has_ended = true;
        owed->answer = message->is_sent ? answer : TRUTH_REFUSED;
        owed->ended = mark;
        t->figures.done += owed->answer == TRUTH_DONE;
        t->figures.refused += owed->answer == TRUTH_REFUSED;
        t->figures.unknown += owed->answer == TRUTH_UNKNOWN;
        if (owed->answer == TRUTH_REFUSED && owed->arrived > 0)
            truth_broken(t, "undead: message %016llx was refused and is at %s", (unsigned long long)token, owed->address);
    }
}

/* ---- arrivals ------------------------------------------------------------------------------------------------------------ */

static bool arrived(struct truth *t, struct truth_owed *owed)
{
    const struct truth_message *message = owed->message;
    if (!message->is_sent || (owed->has_ended && owed->answer == TRUTH_REFUSED)) {
        truth_broken(t, "undead: message %016llx was refused and has come to %s", (unsigned long long)message->token, owed->address);
        return false;
    }
    owed->arrived++;
    t->figures.arrived++;
    if (owed->arrived == 1)
        return true;
    if (owed->arrived - 1 > truth_disturbances(t, owed)) {
        truth_broken(t, "doubled: message %016llx has come to %s %u times", (unsigned long long)message->token, owed->address, owed->arrived);
        return false;
    }
    t->figures.doubled_in_window++;
    return true;
}

bool truth_owed_arrived(struct truth *t, struct truth_account *account, uint64_t token)
{
    const struct truth_message *message = message_of(t, token);
    if (message == NULL)
        return false;
    for (struct truth_owed *owed = message->owed; owed != NULL; owed = owed->next) {
        if (owed->account != account)
            continue;
        for (struct truth_owed **at = &account->open; *at != NULL; at = &(*at)->next_open)
            if (*at == owed) {
                *at = owed->next_open;
                break;
            }
        return arrived(t, owed);
    }
    truth_broken(t, "misplaced: message %016llx is in INBOX of %s, who is no recipient of it", (unsigned long long)token, account->address);
    return false;
}

void truth_sink_took(struct truth *t, const char *address, struct slice text)
{
    const struct truth_sink *sink = sink_find(t, address);
    uint64_t token = truth_token_of(text);
    struct truth_message *message = truth_message_find(t, token);
    if (sink == NULL && t->may_stray) {
        struct truth_owed *stray = message != NULL ? truth_owed_find(message, address) : NULL;
        if (stray != NULL)
            stray->has_strayed = true;
        return;
    }
    if (sink == NULL) {
        truth_broken(t, "misplaced: a message was relayed to %s, an address that nobody has", address);
        return;
    }
    if (message == NULL) {
        truth_report_check(t, address, text, true);
        return;
    }
    truth_text_check(t, message, text, false, address);
    struct truth_owed *owed = truth_owed_find(message, address);
    if (owed == NULL)
        truth_broken(t, "misplaced: message %016llx was relayed to %s, who is no recipient of it", (unsigned long long)token, address);
    else
        (void)arrived(t, owed);
}

/* ---- the end ------------------------------------------------------------------------------------------------------------- */

void truth_quiet(struct truth *t)
{
    t->is_quiet = true;
    (void)truth_mark(t);
}

/* A message without reverse path causes no report, and one to a sender that nobody has ends there. */
static bool sender_is_told(const struct truth *t, const struct truth_message *message)
{
    return truth_account_find(t, message->from) != NULL || sink_find(t, message->from) != NULL;
}

static bool is_open(const struct truth *t, const struct truth_owed *owed)
{
    return owed->has_ended && owed->answer == TRUTH_DONE && owed->arrived == 0 && owed->failed == 0 && !owed->has_strayed && sender_is_told(t, owed->message);
}

uint64_t truth_open(const struct truth *t)
{
    uint64_t count = 0;
    for (size_t i = 0; i < TOKEN_BUCKETS; i++)
        for (const struct truth_message *message = t->by_token[i]; message != NULL; message = message->next)
            for (const struct truth_owed *owed = message->owed; owed != NULL; owed = owed->next)
                count += is_open(t, owed);
    return count;
}

static void settle_owed(struct truth *t, const struct truth_owed *owed)
{
    const struct truth_message *message = owed->message;
    unsigned long long token = (unsigned long long)message->token;
    bool is_local = destination(owed) == message->via;
    if (owed->arrived > 0 && owed->failed > 0 && truth_disturbances(t, owed) == 0)
        truth_broken(t, "doubled: message %016llx has come to %s and its sender was told that it has not", token, owed->address);
    if (owed->arrived == 0 && is_local && owed->has_ended && owed->answer == TRUTH_DONE)
        truth_broken(t, "lost: message %016llx was acknowledged by %s for %s and is not there", token, message->via->name, owed->address);
    else if (is_open(t, owed))
        truth_broken(t, "unsettled: message %016llx was acknowledged by %s for %s: neither arrived nor reported to %s", token,
                     message->via->name, owed->address, message->from);
}

static void settle_copy(struct truth *t, const struct truth_copy *copy)
{
    char text[200];
    if (copy->presence == COPY_COMING || copy->presence == COPY_MAYBE || copy->presence == COPY_GOING || copy->flags_in_doubt)
        truth_broken(t, "unsettled: %s is still in doubt: its mailbox was not listed to the end", truth_copy_text(copy, text));
    if (copy->pair == NULL || copy->is_claimed)
        return;
    if (copy->presence == COPY_GONE && copy->pair->presence == COPY_GONE && copy->mailbox != copy->pair->mailbox && copy->pair->uid == 0 &&
        copy->pair->mailbox->existence != BOX_GONE)
        truth_broken(t, "lost: %s was moved and has left, but not come", truth_copy_text(copy, text));
    if (copy->presence == COPY_SURE && copy->pair->presence == COPY_SURE)
        truth_broken(t, "doubled: %s was moved and is at both ends", truth_copy_text(copy, text));
}

void truth_settle(struct truth *t)
{
    for (size_t i = 0; i < TOKEN_BUCKETS; i++)
        for (const struct truth_message *message = t->by_token[i]; message != NULL; message = message->next)
            for (const struct truth_owed *owed = message->owed; owed != NULL; owed = owed->next)
                settle_owed(t, owed);
    for (const struct truth_account *account = t->accounts; account != NULL; account = account->next)
        for (const struct truth_mailbox *mailbox = account->mailboxes; mailbox != NULL; mailbox = mailbox->next) {
            if (mailbox->existence == BOX_GONE)
                continue;
            for (const struct truth_copy *copy = mailbox->copies; copy != NULL; copy = copy->next)
                settle_copy(t, copy);
        }
}
