/* `thurn import mbox`: one file, or a folder of files that become folders.
 *
 * Flags stand in Status, X-Status and X-Keywords, as mutt, Dovecot and the UW programs write them. They are read and left
 * where they are, since they may be part of what was sent; only those that `thurn export` added go, which it marks. */
#include "cli/import.h"

#include "mail/header.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LEN_MAX = 4096, DEPTH_MAX = 20, ADDED_MAX = 3 };

/* ---- flags -------------------------------------------------------------------------------------------------------------- */

static void read_letters(struct slice letters, struct archive_item *item)
{
    static const struct { char letter; uint32_t flag; } known[] = {
        { 'R', FLAG_SEEN }, { 'A', FLAG_ANSWERED }, { 'F', FLAG_FLAGGED }, { 'D', FLAG_DELETED }, { 'T', FLAG_DRAFT },
    };
    for (size_t i = 0; i < letters.len; i++) {
        for (size_t k = 0; k < sizeof(known) / sizeof(*known); k++)
            item->flags |= letters.ptr[i] == known[k].letter ? known[k].flag : 0;
    }
}

static void read_keywords(struct slice words, struct archive_item *item)
{
    while (words.len > 0) {
        struct slice word = slice_trim(slice_take_until(&words, ' '));
        if (archive_is_keyword(word) && item->keyword_count < ARCHIVE_KEYWORDS_MAX)
            item->keywords[item->keyword_count++] = word;
    }
}

static void read_flag_field(const struct header_field *field, struct archive_item *item)
{
    if (slice_equal_nocase(field->name, SLICE("Status")) || slice_equal_nocase(field->name, SLICE("X-Status")))
        read_letters(field->body, item);
    else if (slice_equal_nocase(field->name, SLICE("X-Keywords")))
        read_keywords(slice_trim(field->body), item);
}

/* "X-Thurn-Added: n" and the n fields behind it were put there by `thurn export`. */
static bool take_added(struct archive_item *item)
{
    struct slice rest = item->bytes, text;
    struct header_field field;
    uint64_t count;
    if (header_next(&rest, &field) != RC_OK || !slice_equal_nocase(field.name, SLICE("X-Thurn-Added")))
        return false;
    text = slice_trim(field.body);
    if (!slice_take_number(&text, ADDED_MAX, &count))
        return false;
    for (; count > 0; count--) {
        if (header_next(&rest, &field) != RC_OK)
            return false;
        read_flag_field(&field, item);
    }
    item->bytes = rest;
    return true;
}

static void read_flags(struct archive_item *item)
{
    struct header_field field;
    if (take_added(item))
        return;
    struct slice rest = item->bytes;
    for (enum rc rc; (rc = header_next(&rest, &field)) != RC_NONE; ) {
        if (rc == RC_OK)
            read_flag_field(&field, item);
    }
}

/* ---- one file ------------------------------------------------------------------------------------------------------------ */

static enum rc import_one(struct import *import, const struct mbox_message *message, const char *origin, struct fault *f)
{
    struct archive_item *item = calloc(1, sizeof(*item));
    if (item == NULL)
        return fault_no_memory(f);
    enum rc rc = RC_OK;
    buf_clear(&import->scratch);
    if (message->raw.len > ARCHIVE_MESSAGE_MAX || !mbox_unquote(message->raw, import->variant, &import->scratch)) {
        import_skip(import, origin, "the message is longer than 512 MiB");
    } else {
        *item = (struct archive_item){
            .bytes = buf_slice(&import->scratch), .date = { .unix_s = message->date_s }, .has_date = message->date_s != 0,
        };
        read_flags(item);
        rc = import_message(import, item, origin, f);
    }
    free(item);
    return rc;
}

static enum rc import_text(struct import *import, struct slice all, const char *path, struct fault *f)
{
    struct mbox_reader reader;
    struct mbox_message message;
    struct slice rest = all;
    enum rc rc = RC_OK;
    mbox_reader_init(&reader);
    while (rc == RC_OK && mbox_next(&reader, &rest, true, &message) == RC_OK) {
        char origin[PATH_LEN_MAX + 32];
        snprintf(origin, sizeof(origin), "%s:%zu", path, (size_t)(message.raw.ptr - all.ptr));
        rc = import_one(import, &message, origin, f);
        progress_at(&import->progress, all.len - rest.len);
    }
    return rc;
}

static enum rc import_file(struct import *import, const char *path, struct slice folder, struct fault *f)
{
    struct stat st;
    struct buf name;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        return fault_errno(f, errno, "%s", path);
    }
    buf_init(&name, MAILBOX_NAME_MAX);
    enum rc rc = import_folder_name(import, folder, &name) ? import_folder(import, buf_slice(&name), true, f)
                                                           : fault_perm(f, 0, "%s: the name of the folder is too long", path);
    size_t size = (size_t)st.st_size;
    if (rc == RC_OK && size > 0) {
        char *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            rc = fault_errno(f, errno, "%s", path);
        } else {
            (void)madvise(bytes, size, MADV_SEQUENTIAL);
            progress_begin(&import->progress, "import", true, size);
            rc = import_text(import, (struct slice){ bytes, size }, path, f);
            munmap(bytes, size);
        }
    }
    close(fd);
    buf_free(&name);
    return rc;
}

/* ---- a folder of files --------------------------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* "Archive/2024.mbox" becomes Archive/2024. */
static enum rc import_dir(struct import *import, const char *path, struct buf *folder, unsigned depth, struct fault *f)
{
    struct dirent **entries;
    struct stat st;
    int count = depth > DEPTH_MAX ? 0 : scandir(path, &entries, is_visible, by_name);
    if (count < 0)
        return fault_errno(f, errno, "%s", path);
    enum rc rc = RC_OK;
    for (int i = 0; i < count; i++) {
        char child[PATH_LEN_MAX];
        size_t before = buf_len(folder);
        struct slice name = slice_from_str(entries[i]->d_name);
        bool fits = snprintf(child, sizeof(child), "%s/%s", path, entries[i]->d_name) < (int)sizeof(child);
        if (slice_ends_nocase(name, SLICE(".mbox")))
            name.len -= strlen(".mbox");
        if (before > 0)
            buf_append_byte(folder, '/');
        buf_append(folder, name);
        if (rc == RC_OK && fits && stat(child, &st) == 0)
            rc = S_ISDIR(st.st_mode) ? import_dir(import, child, folder, depth + 1, f)
               : S_ISREG(st.st_mode) ? import_file(import, child, buf_slice(folder), f) : RC_OK;
        buf_truncate(folder, before);
        free(entries[i]);
    }
    if (depth <= DEPTH_MAX)
        free(entries);
    return rc;
}

enum rc import_mbox(struct import *import, const char *path, struct fault *f)
{
    struct stat st;
    struct buf folder;
    if (stat(path, &st) != 0)
        return fault_errno(f, errno, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return import_file(import, path, SLICE(""), f);
    buf_init(&folder, PATH_LEN_MAX * 2);
    enum rc rc = import_dir(import, path, &folder, 0, f);
    buf_free(&folder);
    return rc;
}
