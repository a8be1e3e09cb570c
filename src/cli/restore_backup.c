/* thurn restore DIR --account: an account's mail, a mailbox or a message out of a backup, into the server or its data directory. */
#include "cli/restore.h"

#include "cli/archive.h"
#include "cli/backup.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "mail/header.h"
#include "os/child.h"
#include "store/backup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bringing {
    struct restore *restore;
    struct backup backup;
    char place[64];                 /* a data directory made of links: the backup as a source of messages */
    struct archive_source source;
    struct archive_sink sink;
    struct progress progress;
    struct slice folder;
    bool is_open, is_found, has_failed;
    uint64_t messages, refused, folders;
    struct fault fault;
};

/* ---- the backup as a data directory --------------------------------------------------------------------------------- */

static enum rc place_file(struct bringing *b, const char *name, const char *to, struct fault *fault)
{
    char file_name[BACKUP_NAME_MAX], from[BACKUP_PATH_MAX];
    snprintf(file_name, sizeof file_name, "snapshot-%" PRIu64 "/%s", b->backup.snapshot, name);
    snprintf(from, sizeof from, "%s/%s", b->restore->folder, file_name);
    const struct backup_file *file = backup_find(&b->backup, file_name);
    if (file == NULL)
        return fault_perm(fault, 0, "the backup in %s has no %s", b->restore->folder, name);
    return backup_copy_file(&file_ops_real, from, to, file->bytes, 0, file->crc, NULL, NULL, fault);
}

/* The databases are copied: opening them may write to them. The segments are only read. */
static enum rc make_place(struct bringing *b, struct fault *fault)
{
    const char *base = getenv("TMPDIR");
    char path[BACKUP_PATH_MAX], *folder = realpath(b->restore->folder, NULL), log[BACKUP_PATH_MAX];
    snprintf(b->place, sizeof b->place, "%.40s/thurn-XXXXXX", base != NULL ? base : "/tmp");
    enum rc rc = RC_OK;
    if (folder == NULL || mkdtemp(b->place) == NULL) {
        b->place[0] = '\0';
        rc = fault_errno(fault, errno, "cannot make a temporary folder");
    }
    snprintf(path, sizeof path, "%s/store", b->place);
    if (rc == RC_OK)
        rc = dir_make(path, 0700, fault);
    snprintf(path, sizeof path, "%s/directory", b->place);
    if (rc == RC_OK)
        rc = dir_make(path, 0700, fault);
    snprintf(path, sizeof path, "%s/store/log", b->place);
    snprintf(log, sizeof log, "%s/log", folder != NULL ? folder : "");
    if (rc == RC_OK && symlink(log, path) != 0)
        rc = fault_errno(fault, errno, "%s", path);
    snprintf(path, sizeof path, "%s/store/state.db", b->place);
    if (rc == RC_OK)
        rc = place_file(b, "state.db", path, fault);
    snprintf(path, sizeof path, "%s/directory/directory.db", b->place);
    if (rc == RC_OK)
        rc = place_file(b, "directory.db", path, fault);
    free(folder);
    return rc;
}

static void remove_place(const struct bringing *b)
{
    static const char *const names[] = { "store/log", "store/state.db", "store/state.db-wal", "store/state.db-shm", "directory/directory.db",
                                         "directory/directory.db-wal", "directory/directory.db-shm" };
    char path[BACKUP_PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof names[0] && b->place[0] != '\0'; i++) {
        snprintf(path, sizeof path, "%s/%s", b->place, names[i]);
        (void)unlink(path);
    }
    static const char *const folders[] = { "/store", "/directory", "" };
    for (size_t i = 0; i < 3 && b->place[0] != '\0'; i++) {
        snprintf(path, sizeof path, "%s%s", b->place, folders[i]);
        (void)rmdir(path);
    }
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

static bool is_chosen(const struct restore *restore, const struct archive_item *item)
{
    if (restore->message == NULL)
        return true;
    struct slice text = slice_from_str(restore->message), want = text;
    struct header_field field;
    uint64_t uid;
    if (slice_take_number(&text, UINT32_MAX, &uid) && text.len == 0)
        return item->uid == uid;
    return header_find(slice_sub(item->bytes, 0, header_end(item->bytes)), SLICE("Message-ID"), &field) == RC_OK
        && slice_find(field.body, want) < field.body.len;
}

static void on_settled(void *arg, uint64_t ticket, bool is_kept, const char *why)
{
    struct bringing *b = arg;
    (void)ticket;
    b->messages += is_kept;
    b->refused += !is_kept;
    if (!is_kept)
        fprintf(stderr, "thurn restore: a message was not taken: %s\n", why);
}

static bool on_message(void *arg, const struct archive_item *item)
{
    struct bringing *b = arg;
    if (!is_chosen(b->restore, item))
        return true;
    if (b->sink.add(b->sink.self, item, 0, &b->fault) != RC_OK)
        b->has_failed = true;
    progress_at(&b->progress, b->messages);
    return !b->has_failed;
}

static bool is_wanted(const struct restore *restore, struct slice name)
{
    struct slice want = slice_from_str(restore->mailbox != NULL ? restore->mailbox : "");
    return want.len == 0 || slice_equal(name, want) || (slice_equal_nocase(want, SLICE("INBOX")) && slice_equal_nocase(name, want));
}

static bool on_folder(void *arg, const struct archive_folder *folder)
{
    struct bringing *b = arg;
    struct fault own = { .rc = RC_OK };
    if (!folder->is_selectable || !is_wanted(b->restore, folder->name))
        return true;
    b->is_found = true;
    struct slice name = b->restore->into != NULL ? slice_from_str(b->restore->into) : folder->name;
    if (b->sink.open_folder(b->sink.self, name, folder->is_subscribed && b->restore->into == NULL, &b->fault) != RC_OK) {
        b->has_failed = true;
        return false;
    }
    b->folders++;
    if (b->source.each_message(b->source.self, folder->name, on_message, b, &own) != RC_OK && !b->has_failed) {
        b->fault = own;
        b->has_failed = true;
    }
    return !b->has_failed;
}

static enum rc open_sink(struct bringing *b, struct fault *fault)
{
    struct archive_fates fates = { on_settled, b };
    uint64_t account = restore_account_id(b->restore);
    if (account == 0)
        return fault_perm(fault, 0, "the messages need an account to go to: \"thurn account add\" makes it");
    enum rc rc = archive_sink_server(b->restore->admin.config.run_dir, account, &fates, &b->sink, fault);
    if (rc == RC_NONE)
        rc = archive_sink_store(admin_config_path(&b->restore->admin), b->restore->account, &fates, &b->sink, fault);
    b->is_open = rc == RC_OK;
    return rc;
}

static enum rc bring(struct bringing *b, struct fault *fault)
{
    struct fault own = { .rc = RC_OK };
    enum rc rc = backup_read(b->restore->folder, &b->backup, fault);
    if (rc == RC_OK)
        rc = make_place(b, fault);
    if (rc == RC_OK)
        rc = archive_source_folder(b->place, b->restore->account, &b->source, fault);
    if (rc != RC_OK)
        return rc;
    if ((rc = open_sink(b, fault)) == RC_OK) {
        rc = b->source.each_folder(b->source.self, on_folder, b, &own);
        *fault = b->has_failed ? b->fault : own;
        rc = b->has_failed ? RC_TEMP : rc;
    }
    if (rc == RC_OK && !b->is_found)
        rc = fault_perm(fault, 0, "%s: there is no such mailbox in the backup", b->restore->mailbox != NULL ? b->restore->mailbox : "");
    if (rc == RC_OK)
        rc = b->sink.finish(b->sink.self, fault);
    if (rc == RC_OK && b->restore->message != NULL && b->messages + b->refused == 0)
        rc = fault_perm(fault, 0, "%s: there is no such message in the backup", b->restore->message);
    b->source.close(b->source.self);
    if (b->is_open)
        b->sink.close(b->sink.self);
    return rc;
}

int restore_messages(struct restore *restore)
{
    struct bringing b = { .restore = restore };
    struct fault fault = { .rc = RC_OK };
    if (!admin_load(&restore->admin))
        return 1;
    progress_begin(&b.progress, "restore", false, 0);
    enum rc rc = bring(&b, &fault);
    progress_end(&b.progress);
    remove_place(&b);
    backup_free(&b.backup);
    if (rc == RC_OK && restore->admin.is_json)
        printf("{\"messages\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"mailboxes\":%" PRIu64 "}\n", b.messages, b.refused, b.folders);
    else if (rc == RC_OK)
        printf("%" PRIu64 " message%s brought back\n", b.messages, b.messages == 1 ? "" : "s");
    if (rc != RC_OK)
        return cli_failed("restore", &fault);
    return b.refused > 0 ? 1 : 0;
}
