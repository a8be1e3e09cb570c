/* Import into and export from a running server by IMAP: see archive.h. */
#include "cli/archive.h"

#include "cli/imap_tool.h"

#include <stdio.h>
#include <stdlib.h>

enum { IN_FLIGHT = 16, FLAGS_TEXT_MAX = 16 * 1024 };

const char *const archive_flag_names[] = { "\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", NULL };

bool archive_is_keyword(struct slice word)
{
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] <= ' ' || word.ptr[i] == 0x7f || strchr("(){%*\"\\]", word.ptr[i]) != NULL)
            return false;
    }
    return word.len > 0 && word.len <= KEYWORD_BYTES_MAX;
}

/* The server's own delimiter between levels. */
static bool on_delimiter(void *arg, const struct imap_response *response)
{
    if (response->says == IMAP_SAYS_LIST)
        *(char *)arg = response->delimiter;
    return true;
}

static enum rc find_delimiter(struct imap_tool *tool, char *delimiter, struct fault *f)
{
    void *arg = tool->arg;
    *delimiter = '/';
    tool->on_response = on_delimiter;
    tool->arg = delimiter;
    enum rc rc = imap_tool_command(tool, "LIST \"\" \"\"", SLICE_NONE, f);
    tool->on_response = NULL;
    tool->arg = arg;
    return rc;
}

/* Exchanges '/' and the server's delimiter. A character of a name that would be one becomes '_'. */
static struct slice translate(struct buf *out, struct slice name, char from, char to)
{
    buf_clear(out);
    for (size_t i = 0; i < name.len; i++)
        buf_append_byte(out, name.ptr[i] == from ? to : name.ptr[i] == to ? '_' : name.ptr[i]);
    return from == to || to == '\0' ? name : buf_slice(out);
}

/* ---- import --------------------------------------------------------------------------------------------------------- */

struct in_flight {
    uint32_t command;
    uint64_t ticket;
};

struct imap_sink {
    struct imap_tool tool;
    struct archive_fates fates;
    char delimiter;
    struct buf folder;
    struct in_flight waiting[IMAP_CLIENT_IN_FLIGHT_MAX];
    size_t waiting_count;
};

static bool on_appended(void *arg, const struct imap_client_result *result)
{
    struct imap_sink *sink = arg;
    char why[256];
    for (size_t i = 0; i < sink->waiting_count; i++) {
        if (sink->waiting[i].command != result->command)
            continue;
        struct buf text;
        buf_init(&text, sizeof(why));
        buf_append_escaped(&text, slice_sub(result->text, 0, sizeof(why) / 4 - 1), true);
        (void)slice_to_str(buf_slice(&text), why, sizeof(why));
        buf_free(&text);
        uint64_t ticket = sink->waiting[i].ticket;
        sink->waiting[i] = sink->waiting[--sink->waiting_count];
        sink->fates.settled(sink->fates.arg, ticket, result->rc == RC_OK, why);
        break;
    }
    return true;
}

static enum rc finish(void *self, struct fault *f)
{
    struct imap_sink *sink = self;
    enum rc rc = RC_OK;
    while (rc == RC_OK && !imap_tool_is_over(&sink->tool) && imap_client_in_flight(sink->tool.client) > 0) {
        imap_client_wait(sink->tool.client);
        rc = imap_tool_run(&sink->tool, f);
    }
    return rc;
}

static enum rc open_folder(void *self, struct slice name, bool is_subscribed, struct fault *f)
{
    struct imap_sink *sink = self;
    struct fault ignored;
    enum rc rc = finish(sink, f);
    if (rc != RC_OK)
        return rc;
    buf_clear(&sink->folder);
    struct buf spelled;
    buf_init(&spelled, MAILBOX_NAME_MAX * 2);
    buf_append(&sink->folder, translate(&spelled, name, '/', sink->delimiter));
    buf_free(&spelled);
    struct slice folder = buf_slice(&sink->folder);
    /* What exists already is no failure here; what cannot be made is told by the first APPEND. */
    if (!slice_equal_nocase(folder, SLICE("INBOX")))
        (void)imap_tool_command(&sink->tool, "CREATE %m", folder, &ignored);
    if (is_subscribed && !imap_tool_is_over(&sink->tool))
        (void)imap_tool_command(&sink->tool, "SUBSCRIBE %m", folder, &ignored);
    if (!imap_tool_is_over(&sink->tool))
        return RC_OK;
    *f = ignored;
    return RC_TEMP;
}

static void write_flags(struct buf *out, const struct archive_item *item)
{
    const char *gap = "";
    buf_append_byte(out, '(');
    for (size_t bit = 0; archive_flag_names[bit] != NULL; bit++) {
        if (item->flags >> bit & 1) {
            buf_printf(out, "%s%s", gap, archive_flag_names[bit]);
            gap = " ";
        }
    }
    for (size_t i = 0; i < item->keyword_count; i++) {
        buf_append_str(out, gap);
        buf_append(out, item->keywords[i]);
        gap = " ";
    }
    buf_append_byte(out, ')');
}

static enum rc add(void *self, const struct archive_item *item, uint64_t ticket, struct fault *f)
{
    struct imap_sink *sink = self;
    struct buf flags;
    struct slice rest = item->bytes;
    if (imap_tool_is_over(&sink->tool))
        return fault_temp(f, 0, "the connection is gone");
    buf_init(&flags, FLAGS_TEXT_MAX);
    write_flags(&flags, item);
    uint32_t command = imap_client_append(sink->tool.client, buf_slice(&sink->folder), buf_slice(&flags), item->has_date ? &item->date : NULL, rest.len);
    buf_free(&flags);
    if (command == 0)
        return fault_perm(f, 0, "%.*s: this cannot be the name of a folder", SLICE_ARG(slice_sub(buf_slice(&sink->folder), 0, 200)));
    sink->waiting[sink->waiting_count++] = (struct in_flight){ command, ticket };
    enum rc rc = imap_tool_run(&sink->tool, f);
    while (rc == RC_OK && imap_client_ask(sink->tool.client) == IMAP_CLIENT_ASK_BODY) {
        imap_client_body(sink->tool.client, rest);
        rc = imap_tool_run(&sink->tool, f);
    }
    return rc;
}

static void close_sink(void *self)
{
    struct imap_sink *sink = self;
    imap_tool_close(&sink->tool);
    buf_free(&sink->folder);
    free(sink);
}

enum rc archive_sink_imap(struct net_target *target, const struct archive_fates *fates, struct archive_sink *out, struct fault *f)
{
    struct imap_sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL)
        return fault_no_memory(f);
    sink->fates = *fates;
    buf_init(&sink->folder, MAILBOX_NAME_MAX * 2);
    enum rc rc = imap_tool_open(&sink->tool, target, IN_FLIGHT, f);
    if (rc == RC_OK)
        rc = find_delimiter(&sink->tool, &sink->delimiter, f);
    if (rc != RC_OK) {
        close_sink(sink);
        return rc;
    }
    sink->tool.arg = sink;
    sink->tool.on_done = on_appended;
    *out = (struct archive_sink){ .self = sink, .open_folder = open_folder, .add = add, .finish = finish, .close = close_sink };
    return RC_OK;
}

/* ---- export --------------------------------------------------------------------------------------------------------- */

enum { FOLDERS_MAX = 10000, NAMES_MAX = 32 * 1024 * 1024 };

struct imap_source {
    struct imap_tool tool;
    char delimiter;
    struct arena arena;
    struct archive_folder *folders;
    size_t folder_count;
    struct buf bytes;
    uint32_t exists, number;
    bool (*each)(void *, const struct archive_item *);
    void *each_arg;
    struct fault fault;
};

static bool on_folder(void *arg, const struct imap_response *response)
{
    struct imap_source *source = arg;
    struct buf spelled;
    if ((response->says != IMAP_SAYS_LIST && response->says != IMAP_SAYS_LSUB) || source->folder_count == FOLDERS_MAX)
        return true;
    buf_init(&spelled, response->name.len + 1);
    struct slice name = arena_copy(&source->arena, translate(&spelled, response->name, source->delimiter, '/'));
    buf_free(&spelled);
    if (name.ptr == NULL)
        return true;
    for (size_t i = 0; response->says == IMAP_SAYS_LSUB && i < source->folder_count; i++) {
        if (slice_equal(source->folders[i].name, name))
            source->folders[i].is_subscribed = true;
    }
    if (response->says == IMAP_SAYS_LIST)
        source->folders[source->folder_count++] = (struct archive_folder){
            .name = name,
            .is_selectable = !imap_response_has_flag(response, SLICE("\\Noselect")) && !imap_response_has_flag(response, SLICE("\\NonExistent")),
        };
    return true;
}

static enum rc each_folder(void *self, bool (*each)(void *, const struct archive_folder *), void *arg, struct fault *f)
{
    struct imap_source *source = self;
    source->folders = ARENA_ARRAY(&source->arena, struct archive_folder, FOLDERS_MAX);
    if (source->folders == NULL)
        return fault_no_memory(f);
    source->folder_count = 0;
    source->tool.on_response = on_folder;
    enum rc rc = imap_tool_command(&source->tool, "LIST \"\" \"*\"", SLICE_NONE, f);
    if (rc == RC_OK)
        rc = imap_tool_command(&source->tool, "LSUB \"\" \"*\"", SLICE_NONE, f);
    for (size_t i = 0; i < source->folder_count && rc == RC_OK; i++)
        rc = each(arg, &source->folders[i]) ? RC_OK : RC_PERM;
    return rc;
}

static bool on_piece(void *arg, uint32_t number, struct slice piece)
{
    struct imap_source *source = arg;
    if (source->number != number)
        buf_clear(&source->bytes);
    source->number = number;
    if (buf_append(&source->bytes, piece))
        return true;
    fault_perm(&source->fault, 0, "a message is longer than %d MiB", ARCHIVE_MESSAGE_MAX >> 20);
    return false;
}

static bool on_message(void *arg, const struct imap_response *response)
{
    struct imap_source *source = arg;
    if (response->says == IMAP_SAYS_EXISTS)
        source->exists = response->number;
    if (response->says != IMAP_SAYS_FETCH || !response->has_body || !response->has_uid)
        return true;
    struct archive_item *item = calloc(1, sizeof(*item));
    if (item == NULL)
        return false;
    *item = (struct archive_item){ .bytes = buf_slice(&source->bytes), .uid = response->uid, .date = response->date, .has_date = response->has_date };
    for (size_t i = 0; i < response->flag_count; i++) {
        struct slice flag = response->flags[i];
        for (size_t bit = 0; archive_flag_names[bit] != NULL; bit++)
            item->flags |= slice_equal_nocase(flag, slice_from_str(archive_flag_names[bit])) ? 1u << bit : 0;
        if (archive_is_keyword(flag) && item->keyword_count < ARCHIVE_KEYWORDS_MAX)
            item->keywords[item->keyword_count++] = flag;
    }
    bool goes_on = source->each(source->each_arg, item);
    free(item);
    buf_clear(&source->bytes);
    source->number = 0;
    return goes_on;
}

static enum rc each_message(void *self, struct slice folder, bool (*each)(void *, const struct archive_item *), void *arg, struct fault *f)
{
    struct imap_source *source = self;
    struct buf spelled;
    source->each = each;
    source->each_arg = arg;
    source->exists = 0;
    source->tool.on_response = on_message;
    source->tool.on_piece = on_piece;
    buf_init(&spelled, MAILBOX_NAME_MAX * 2);
    enum rc rc = imap_tool_command(&source->tool, "EXAMINE %m", translate(&spelled, folder, '/', source->delimiter), f);
    buf_free(&spelled);
    if (rc == RC_OK && source->exists > 0)
        rc = imap_tool_command(&source->tool, "UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])", SLICE_NONE, f);
    source->tool.on_response = NULL;
    source->tool.on_piece = NULL;
    if (rc != RC_OK && source->fault.rc != RC_OK)
        *f = source->fault;
    return rc;
}

static void close_source(void *self)
{
    struct imap_source *source = self;
    imap_tool_close(&source->tool);
    arena_free(&source->arena);
    buf_free(&source->bytes);
    free(source);
}

enum rc archive_source_imap(struct net_target *target, struct archive_source *out, struct fault *f)
{
    struct imap_source *source = calloc(1, sizeof(*source));
    if (source == NULL)
        return fault_no_memory(f);
    arena_init(&source->arena, NAMES_MAX);
    buf_init(&source->bytes, ARCHIVE_MESSAGE_MAX);
    enum rc rc = imap_tool_open(&source->tool, target, 1, f);
    if (rc == RC_OK)
        rc = find_delimiter(&source->tool, &source->delimiter, f);
    if (rc != RC_OK) {
        close_source(source);
        return rc;
    }
    source->tool.arg = source;
    *out = (struct archive_source){ .self = source, .each_folder = each_folder, .each_message = each_message, .close = close_source };
    return RC_OK;
}
