/* `thurn import maildir`: a Maildir with its Maildir++ folders, keywords (dovecot-keywords) and subscriptions. */
#include "cli/import.h"

#include "mail/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LEN_MAX = 4096, KEYWORD_LETTERS = 26, KEYWORDS_FILE_MAX = 64 * 1024, SUBSCRIPTIONS_MAX = 4 * 1024 * 1024 };

struct folder {
    char path[PATH_LEN_MAX];
    struct buf keywords_text;
    struct slice keywords[KEYWORD_LETTERS];     /* what the letters a to z mean */
};

struct message_file {
    char *name;                     /* "cur/unique:2,S" */
    int64_t time_s;
};

/* ---- small files ----------------------------------------------------------------------------------------------------------- */

static bool read_file(const char *path, struct buf *out)
{
    char piece[16 * 1024];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    for (size_t got; (got = fread(piece, 1, sizeof(piece), file)) > 0; )
        buf_append(out, (struct slice){ piece, got });
    bool is_read = !ferror(file) && !out->overflow;
    fclose(file);
    return is_read;
}

/* "0 $Forwarded": the letter a means that keyword. */
static void read_keywords(struct folder *folder)
{
    char path[PATH_LEN_MAX + 32];
    snprintf(path, sizeof(path), "%s/dovecot-keywords", folder->path);
    if (!read_file(path, &folder->keywords_text))
        return;
    struct slice rest = buf_slice(&folder->keywords_text);
    while (rest.len > 0) {
        uint64_t index;
        struct slice line = slice_take_until(&rest, '\n');
        if (slice_take_number(&line, KEYWORD_LETTERS - 1, &index) && slice_take_byte(&line, ' ') && archive_is_keyword(slice_trim(line)))
            folder->keywords[index] = slice_trim(line);
    }
}

/* Is the folder in the list of subscriptions? Dovecot's two formats ("A/B" or "A.B" a line; "V 2" and levels with tabs
 * between), Courier's ("INBOX.A.B"). */
static bool is_listed(struct slice list, struct slice folder)
{
    while (list.len > 0) {
        struct slice line = slice_take_until(&list, '\n');
        (void)slice_take_prefix_nocase(&line, SLICE("INBOX."));
        bool is_same = line.len == folder.len && folder.len > 0;
        for (size_t i = 0; i < line.len && is_same; i++) {
            bool is_level = folder.ptr[i] == '/';
            is_same = is_level ? strchr("/.\t", line.ptr[i]) != NULL : line.ptr[i] == folder.ptr[i];
        }
        if (is_same)
            return true;
    }
    return false;
}

/* ---- messages -------------------------------------------------------------------------------------------------------------- */

static void read_flags(const struct folder *folder, const char *name, struct archive_item *item)
{
    static const struct { unsigned maildir; uint32_t flag; } map[] = {
        { MAILDIR_DRAFT, FLAG_DRAFT }, { MAILDIR_FLAGGED, FLAG_FLAGGED }, { MAILDIR_REPLIED, FLAG_ANSWERED },
        { MAILDIR_SEEN, FLAG_SEEN }, { MAILDIR_TRASHED, FLAG_DELETED },
    };
    struct maildir_name parsed;
    if (maildir_parse_name(slice_from_str(strchr(name, '/') + 1), &parsed) != RC_OK)
        return;
    for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
        item->flags |= parsed.flags & map[i].maildir ? map[i].flag : 0;
    if (parsed.flags & MAILDIR_PASSED)
        item->keywords[item->keyword_count++] = SLICE("$Forwarded");
    const char *letters = strstr(name, ":2,");
    for (letters = letters != NULL ? letters + 3 : ""; *letters != '\0'; letters++) {
        if (*letters < 'a' || *letters > 'z' || item->keyword_count == ARCHIVE_KEYWORDS_MAX)
            continue;
        struct slice keyword = folder->keywords[*letters - 'a'];
        bool is_there = parsed.flags & MAILDIR_PASSED && slice_equal_nocase(keyword, SLICE("$Forwarded"));
        if (keyword.len > 0 && !is_there)
            item->keywords[item->keyword_count++] = keyword;
    }
}

/* The time of the file is the INTERNALDATE, as Dovecot and Courier have it. */
static bool read_message(struct import *import, const char *path, struct archive_item *item)
{
    struct stat st;
    struct buf raw;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool is_read = fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= ARCHIVE_MESSAGE_MAX;
    if (!is_read)
        errno = EFBIG;
    buf_init(&raw, ARCHIVE_MESSAGE_MAX);
    char *to = is_read ? buf_reserve(&raw, (size_t)st.st_size + 1) : NULL;
    if (to != NULL) {
        buf_commit(&raw, fread(to, 1, (size_t)st.st_size + 1, file));
        is_read = !ferror(file);
    }
    fclose(file);
    buf_clear(&import->scratch);
    is_read = is_read && to != NULL && mbox_unquote(buf_slice(&raw), MBOX_CL, &import->scratch);
    buf_free(&raw);
    *item = (struct archive_item){ .bytes = buf_slice(&import->scratch), .date = { .unix_s = st.st_mtime }, .has_date = true };
    return is_read;
}

static enum rc import_one(struct import *import, const struct folder *folder, const char *name, struct fault *f)
{
    char path[PATH_LEN_MAX * 2], origin[PATH_LEN_MAX * 2];
    struct archive_item *item = calloc(1, sizeof(*item));
    if (item == NULL)
        return fault_no_memory(f);
    enum rc rc = RC_OK;
    const char *base = strchr(name, '/') + 1;
    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    /* The same message has the same origin whatever its flags are by then. */
    snprintf(origin, sizeof(origin), "%s/%.*s", folder->path, (int)strcspn(base, ":"), base);
    if (!read_message(import, path, item)) {
        import_skip(import, origin, errno == EFBIG ? "not a file, or longer than 512 MiB" : strerror(errno));
    } else {
        read_flags(folder, name, item);
        rc = import_message(import, item, origin, f);
    }
    free(item);
    return rc;
}

/* ---- folders --------------------------------------------------------------------------------------------------------------- */

struct listing {
    struct message_file *files;
    size_t count, cap;
};

static bool add_file(struct listing *list, const char *sub, const char *name, int64_t time_s)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 1024 : list->cap * 2;
        struct message_file *files = realloc(list->files, cap * sizeof(*files));
        if (files == NULL)
            return false;
        list->files = files;
        list->cap = cap;
    }
    char *copy = NULL;
    if (asprintf(&copy, "%s/%s", sub, name) < 0)
        return false;
    list->files[list->count++] = (struct message_file){ copy, time_s };
    return true;
}

static enum rc list_messages(const char *path, const char *sub, struct listing *list, struct fault *f)
{
    char dir_path[PATH_LEN_MAX + 8];
    snprintf(dir_path, sizeof(dir_path), "%s/%s", path, sub);
    DIR *dir = opendir(dir_path);
    if (dir == NULL)
        return errno == ENOENT ? RC_OK : fault_errno(f, errno, "%s", dir_path);
    enum rc rc = RC_OK;
    for (struct dirent *entry; rc == RC_OK && (entry = readdir(dir)) != NULL; ) {
        struct maildir_name name;
        if (maildir_parse_name(slice_from_str(entry->d_name), &name) == RC_OK && !add_file(list, sub, entry->d_name, name.time_s))
            rc = fault_no_memory(f);
    }
    closedir(dir);
    return rc;
}

static int in_order(const void *a, const void *b)
{
    const struct message_file *one = a, *other = b;
    if (one->time_s != other->time_s)
        return one->time_s < other->time_s ? -1 : 1;
    return strcmp(strchr(one->name, '/'), strchr(other->name, '/'));
}

static enum rc import_messages(struct import *import, const struct folder *folder, struct fault *f)
{
    struct listing list = { .count = 0 };
    enum rc rc = list_messages(folder->path, "cur", &list, f);
    if (rc == RC_OK)
        rc = list_messages(folder->path, "new", &list, f);
    if (rc == RC_OK && list.count > 0)
        qsort(list.files, list.count, sizeof(*list.files), in_order);
    progress_begin(&import->progress, "import", false, list.count);
    for (size_t i = 0; i < list.count; i++) {
        if (rc == RC_OK)
            rc = import_one(import, folder, list.files[i].name, f);
        progress_at(&import->progress, i + 1);
        free(list.files[i].name);
    }
    free(list.files);
    return rc;
}

static enum rc import_folder_at(struct import *import, const char *root, const char *sub, struct slice subscriptions, struct fault *f)
{
    struct folder *folder = calloc(1, sizeof(*folder));
    struct buf source, name;
    if (folder == NULL)
        return fault_no_memory(f);
    buf_init(&folder->keywords_text, KEYWORDS_FILE_MAX);
    buf_init(&source, MAILBOX_NAME_MAX);
    buf_init(&name, MAILBOX_NAME_MAX);
    snprintf(folder->path, sizeof(folder->path), "%s%s%s", root, *sub != '\0' ? "/" : "", sub);
    enum rc rc = RC_OK;
    if (maildir_parse_folder(slice_from_str(sub), '/', &source) != RC_OK || !import_folder_name(import, buf_slice(&source), &name)) {
        import_skip(import, folder->path, "this is no folder of Maildir++");
    } else {
        bool is_subscribed = subscriptions.ptr == NULL || is_listed(subscriptions, buf_slice(&source));
        rc = import_folder(import, buf_slice(&name), is_subscribed, f);
        read_keywords(folder);
        if (rc == RC_OK)
            rc = import_messages(import, folder, f);
    }
    buf_free(&folder->keywords_text);
    buf_free(&source);
    buf_free(&name);
    free(folder);
    return rc;
}

static int is_folder(const struct dirent *entry)
{
    return entry->d_name[0] == '.' && entry->d_name[1] != '\0' && strcmp(entry->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static bool holds_mail(const char *root, const char *sub)
{
    char path[PATH_LEN_MAX * 2];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s/cur", root, sub);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Subscriptions that no folder has are of no use; without a list everything is subscribed. */
static struct slice read_subscriptions(const char *root, struct buf *text)
{
    static const char *const names[] = { "subscriptions", "courierimapsubscribed" };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char path[PATH_LEN_MAX + 32];
        snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        if (read_file(path, text))
            return buf_len(text) > 0 ? buf_slice(text) : SLICE("");
    }
    return SLICE_NONE;
}

enum rc import_maildir(struct import *import, const char *path, struct fault *f)
{
    struct dirent **entries;
    struct buf text;
    if (strlen(path) > PATH_LEN_MAX / 2 || !holds_mail(path, "."))
        return fault_perm(f, 0, "%s: no Maildir: it has no folder cur", path);
    int count = scandir(path, &entries, is_folder, by_name);
    if (count < 0)
        return fault_errno(f, errno, "%s", path);
    buf_init(&text, SUBSCRIPTIONS_MAX);
    struct slice subscriptions = read_subscriptions(path, &text);
    enum rc rc = import_folder_at(import, path, "", SLICE_NONE, f);
    for (int i = 0; i < count; i++) {
        if (rc == RC_OK && holds_mail(path, entries[i]->d_name))
            rc = import_folder_at(import, path, entries[i]->d_name, subscriptions, f);
        free(entries[i]);
    }
    free(entries);
    buf_free(&text);
    return rc;
}
