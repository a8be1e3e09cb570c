/* `thurn fetch` over IMAP. */
#include "cli/fetch.h"
#include "cli/imap_tool.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FOLDERS_MAX = 10000, NAMES_MAX = 16 * 1024 * 1024, UIDS_TEXT_MAX = 16 * 1024 };

struct folder {
    struct slice name, wire_name;
    bool is_selectable, is_subscribed;
    struct slice use;               /* "\Sent" */
    uint32_t messages, unseen;
};

struct reading {
    struct fetch *fetch;
    struct imap_tool tool;
    struct fault fault;
    struct arena arena;
    struct folder *folders;
    size_t folder_count;
    struct buf header;              /* of the message being listed */
    struct fetch_file file;         /* of the message being read */
    uint32_t file_number;           /* its sequence number */
    struct buf done_uids;           /* to be deleted: "3,7,9" */
    uint32_t exists;
};

/* ---- folders ------------------------------------------------------------------------------------------------------ */

static bool is_special_use(struct slice flag)
{
    static const char *const uses[] = { "\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash" };
    for (size_t i = 0; i < sizeof(uses) / sizeof(*uses); i++) {
        if (slice_equal_nocase(flag, slice_from_str(uses[i])))
            return true;
    }
    return false;
}

static bool on_folder(void *arg, const struct imap_response *response)
{
    struct reading *reading = arg;
    if (response->says != IMAP_SAYS_LIST || reading->folder_count == FOLDERS_MAX)
        return true;
    struct folder *folder = &reading->folders[reading->folder_count++];
    *folder = (struct folder){
        .name = arena_copy(&reading->arena, response->name), .wire_name = arena_copy(&reading->arena, response->wire_name),
        .is_selectable = !imap_response_has_flag(response, SLICE("\\Noselect")) && !imap_response_has_flag(response, SLICE("\\NonExistent")),
    };
    for (size_t i = 0; i < response->flag_count; i++) {
        if (is_special_use(response->flags[i]))
            folder->use = arena_copy(&reading->arena, response->flags[i]);
    }
    if (folder->name.ptr != NULL && folder->wire_name.ptr != NULL)
        return true;
    fault_temp(&reading->fault, 0, "the server has more folders than fit");
    return false;
}

static bool on_subscribed(void *arg, const struct imap_response *response)
{
    struct reading *reading = arg;
    for (size_t i = 0; response->says == IMAP_SAYS_LSUB && i < reading->folder_count; i++) {
        if (slice_equal(reading->folders[i].wire_name, response->wire_name))
            reading->folders[i].is_subscribed = true;
    }
    return true;
}

struct counting {
    struct folder *folder;
};

static bool on_status(void *arg, const struct imap_response *response)
{
    struct counting *counting = arg;
    if (response->says == IMAP_SAYS_STATUS) {
        counting->folder->messages = response->messages;
        counting->folder->unseen = response->unseen;
    }
    return true;
}

static void print_folder(const struct fetch *fetch, const struct folder *folder)
{
    struct buf out;
    buf_init(&out, NAMES_MAX);
    if (fetch->json) {
        buf_append_str(&out, "{\"mailbox\":");
        json_append_string(&out, folder->name);
        buf_printf(&out, ",\"selectable\":%s,\"subscribed\":%s", folder->is_selectable ? "true" : "false",
                   folder->is_subscribed ? "true" : "false");
        buf_printf(&out, ",\"messages\":%" PRIu32 ",\"unseen\":%" PRIu32, folder->messages, folder->unseen);
        if (folder->use.len > 0) {
            buf_append_str(&out, ",\"special_use\":");
            json_append_string(&out, folder->use);
        }
        buf_append_str(&out, "}");
    } else {
        buf_printf(&out, "%8" PRIu32 " messages %8" PRIu32 " unread  ", folder->messages, folder->unseen);
        buf_append_escaped(&out, folder->name, true);
        if (folder->use.len > 0) {
            buf_append_str(&out, "  ");
            buf_append_escaped(&out, slice_sub(folder->use, 1, folder->use.len), false);
        }
        buf_append_str(&out, folder->is_selectable ? "" : "  (only a level)");
    }
    buf_append_byte(&out, '\n');
    fwrite(out.data + out.start, 1, buf_len(&out), stdout);
    buf_free(&out);
}

static enum rc list_folders(struct reading *reading, struct fault *f)
{
    struct imap_tool *tool = &reading->tool;
    reading->folders = ARENA_ARRAY(&reading->arena, struct folder, FOLDERS_MAX);
    if (reading->folders == NULL)
        return fault_no_memory(f);
    tool->on_response = on_folder;
    enum rc rc = imap_tool_command(tool, "LIST \"\" \"*\"", SLICE_NONE, f);
    tool->on_response = on_subscribed;
    if (rc == RC_OK)
        rc = imap_tool_command(tool, "LSUB \"\" \"*\"", SLICE_NONE, f);
    tool->on_response = on_status;
    for (size_t i = 0; i < reading->folder_count && rc == RC_OK; i++) {
        struct counting counting = { &reading->folders[i] };
        tool->arg = &counting;
        if (counting.folder->is_selectable)
            rc = imap_tool_command_raw(tool, "STATUS %m (MESSAGES UNSEEN)", counting.folder->wire_name, f);
        if (rc == RC_OK)
            print_folder(reading->fetch, counting.folder);
    }
    return rc;
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

static bool on_header_piece(void *arg, uint32_t number, struct slice piece)
{
    struct reading *reading = arg;
    (void)number;
    (void)buf_append(&reading->header, slice_sub(piece, 0, FETCH_HEADER_MAX - buf_len(&reading->header)));
    return true;
}

static bool on_message(void *arg, const struct imap_response *response)
{
    struct reading *reading = arg;
    if (response->says != IMAP_SAYS_FETCH)
        return true;
    if (response->has_uid && response->has_size) {
        struct buf flags;
        buf_init(&flags, FETCH_HEADER_MAX);
        for (size_t i = 0; i < response->flag_count; i++) {
            buf_append_str(&flags, i == 0 ? "" : " ");
            buf_append(&flags, response->flags[i]);
        }
        struct fetch_summary summary = {
            .id_name = "uid", .id = response->uid, .size = response->size, .header = buf_slice(&reading->header),
            .flags = buf_len(&flags) > 0 ? buf_slice(&flags) : SLICE(""),
        };
        fetch_print_summary(reading->fetch, &summary);
        buf_free(&flags);
    }
    buf_clear(&reading->header);
    return true;
}

static enum rc list_messages(struct reading *reading, struct fault *f)
{
    enum rc rc = imap_tool_command(&reading->tool, "EXAMINE %m", slice_from_str(reading->fetch->mailbox), f);
    reading->tool.on_response = on_message;
    reading->tool.on_piece = on_header_piece;
    if (rc == RC_OK)
        rc = imap_tool_command(&reading->tool, "UID FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT)])",
                               SLICE_NONE, f);
    return rc;
}

/* ---- getting ---------------------------------------------------------------------------------------------------------- */

static bool begin_file(struct reading *reading, uint32_t number)
{
    char name[32];
    /* Until its UID is known, which may come behind the body, its number stands for it. */
    snprintf(name, sizeof(name), ".seq-%" PRIu32, number);
    reading->file_number = number;
    return fetch_file_begin(&reading->file, reading->fetch, name, &reading->fault) == RC_OK;
}

static bool on_body_piece(void *arg, uint32_t number, struct slice piece)
{
    struct reading *reading = arg;
    if (reading->file.is_open && reading->file_number != number)
        fetch_file_abandon(&reading->file);
    if (!reading->file.is_open && !begin_file(reading, number))
        return false;
    reading->fetch->bytes += piece.len;
    progress_at(&reading->fetch->progress, reading->fetch->bytes);
    if (fetch_file_write(&reading->file, piece))
        return true;
    fault_temp(&reading->fault, 0, "%s: cannot be written", reading->file.path[0] != '\0' ? reading->file.path : "standard output");
    return false;
}

/* The file gets the name of its UID, where it lies in a folder. */
static void name_file(struct fetch_file *file, uint32_t uid)
{
    char *slash = strrchr(file->path, '/');
    if (slash != NULL && strncmp(slash, "/.seq-", 6) == 0)
        snprintf(slash + 1, sizeof(file->path) - (size_t)(slash + 1 - file->path), "%" PRIu32 ".eml", uid);
}

static bool keep_message(struct reading *reading, const struct imap_response *response)
{
    if (!reading->file.is_open && !begin_file(reading, response->number))      /* an empty message has no piece */
        return false;
    name_file(&reading->file, response->uid);
    struct fetch_file *file = &reading->file;
    if (fetch_file_keep(file, &reading->fault) != RC_OK)
        return false;
    reading->fetch->messages++;
    if (reading->fetch->json)
        fprintf(file->file == stdout ? stderr : stdout, "{\"uid\":%" PRIu32 ",\"bytes\":%" PRIu64 "}\n", response->uid, file->bytes);
    if (!reading->fetch->deletes)
        return true;
    return buf_printf(&reading->done_uids, "%s%" PRIu32, buf_len(&reading->done_uids) > 0 ? "," : "", response->uid);
}

static bool on_got(void *arg, const struct imap_response *response)
{
    struct reading *reading = arg;
    if (response->says == IMAP_SAYS_EXISTS)
        reading->exists = response->number;
    if (response->says != IMAP_SAYS_FETCH || !response->has_body || !response->has_uid)
        return true;
    if (reading->file.is_open && reading->file_number != response->number) {
        fault_perm(&reading->fault, 0, "the server mixes two messages up");
        return false;
    }
    return keep_message(reading, response);
}

/* Deletes what has been written, in commands of bounded length. Only those UIDs: where the server has no UIDPLUS they stay
 * marked, since EXPUNGE would take others along (RFC 4315 2.1). */
static enum rc delete_done(struct reading *reading, struct fault *f)
{
    bool has_uidplus = imap_client_has(reading->tool.client, SLICE("UIDPLUS"));
    struct slice uids = buf_slice(&reading->done_uids);
    enum rc rc = RC_OK;
    reading->tool.on_response = NULL;
    reading->tool.on_piece = NULL;
    while (uids.len > 0 && rc == RC_OK) {
        char command[UIDS_TEXT_MAX + 64];
        struct slice some = uids;
        if (some.len > UIDS_TEXT_MAX) {
            some.len = UIDS_TEXT_MAX;
            while (some.ptr[some.len - 1] != ',')
                some.len--;
            some.len--;
        }
        slice_take(&uids, some.len + 1);
        snprintf(command, sizeof(command), "UID STORE %.*s +FLAGS.SILENT (\\Deleted)", SLICE_ARG(some));
        rc = imap_tool_command(&reading->tool, command, SLICE_NONE, f);
        snprintf(command, sizeof(command), "UID EXPUNGE %.*s", SLICE_ARG(some));
        if (rc == RC_OK && has_uidplus)
            rc = imap_tool_command(&reading->tool, command, SLICE_NONE, f);
    }
    if (rc == RC_OK && buf_len(&reading->done_uids) > 0 && !has_uidplus)
        fprintf(stderr, "thurn fetch: the server has no UIDPLUS: the messages are marked \\Deleted but not removed\n");
    return rc;
}

static bool is_uid_set(const char *word)
{
    return word[0] != '\0' && word[strspn(word, "0123456789:,*")] == '\0';
}

static enum rc get_messages(struct reading *reading, struct fault *f)
{
    struct fetch *fetch = reading->fetch;
    struct buf command;
    for (size_t i = 0; i < fetch->word_count; i++) {
        if (!is_uid_set(fetch->words[i]))
            return fault_perm(f, 0, "%s: a UID or a range of them is possible (7, 3:9, 12:*)", fetch->words[i]);
    }
    reading->tool.on_response = on_got;
    enum rc rc = imap_tool_command(&reading->tool, fetch->deletes ? "SELECT %m" : "EXAMINE %m", slice_from_str(fetch->mailbox), f);
    if (rc != RC_OK || reading->exists == 0)
        return rc;
    buf_init(&command, IMAP_CLIENT_LINE_MAX);
    buf_append_str(&command, fetch->all ? "UID FETCH 1:*" : "UID FETCH ");
    for (size_t i = 0; i < fetch->word_count; i++)
        buf_printf(&command, "%s%s", i > 0 ? "," : "", fetch->words[i]);
    buf_append_str(&command, " (UID BODY.PEEK[])");
    buf_append_byte(&command, '\0');
    reading->tool.on_piece = on_body_piece;
    progress_begin(&fetch->progress, "fetch", true, 0);
    rc = imap_tool_command(&reading->tool, command.data, SLICE_NONE, f);
    progress_end(&fetch->progress);
    fetch_file_abandon(&reading->file);
    buf_free(&command);
    return rc == RC_OK && fetch->deletes ? delete_done(reading, f) : rc;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */

int fetch_imap(struct fetch *fetch, enum fetch_task task)
{
    static enum rc (*const tasks[])(struct reading *, struct fault *) = {
        [FETCH_FOLDERS] = list_folders, [FETCH_MESSAGES] = list_messages, [FETCH_GET] = get_messages,
    };
    struct fault f = { .rc = RC_OK };
    struct reading *reading = calloc(1, sizeof(*reading));
    if (reading == NULL)
        return EXIT_FAILURE;
    reading->fetch = fetch;
    arena_init(&reading->arena, NAMES_MAX);
    buf_init(&reading->header, FETCH_HEADER_MAX);
    buf_init(&reading->done_uids, FETCH_MESSAGES_MAX);
    enum rc rc = imap_tool_open(&reading->tool, &fetch->target, 1, &f);
    if (rc == RC_OK) {
        reading->tool.arg = reading;
        rc = tasks[task](reading, &f);
    }
    imap_tool_close(&reading->tool);
    if (reading->fault.rc != RC_OK)
        f = reading->fault;
    arena_free(&reading->arena);
    buf_free(&reading->header);
    buf_free(&reading->done_uids);
    free(reading);
    if (rc != RC_OK)
        return fetch_failed(&f);
    if (task == FETCH_GET && fetch->messages < fetch->word_count) {
        fprintf(stderr, "thurn fetch: some of these UIDs are not in the folder\n");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
