/* `thurn export maildir`: a Maildir++ with flags in file names, dates as file times, keywords as Dovecot keeps them
 * (dovecot-keywords) and subscriptions. Messages have LF line ends, as Maildirs have. */
#include "cli/export.h"

#include "mail/maildir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_LEN_MAX = 4096, KEYWORD_LETTERS = 26, SUBSCRIPTIONS_MAX = 16 * 1024 * 1024 };

struct maildir_writer {
    char root[PATH_LEN_MAX / 4];
    char folder[PATH_LEN_MAX / 2];
    struct buf keywords;            /* of this folder, each ended by '\n': the first is 'a' */
    size_t keyword_count;
    struct buf subscriptions, text, name;
    uint64_t count;
};

static enum rc make_folder(const char *path, struct fault *f)
{
    static const char *const parts[] = { "", "/tmp", "/new", "/cur" };
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        char part[PATH_LEN_MAX];
        snprintf(part, sizeof(part), "%s%s", path, parts[i]);
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return fault_errno(f, errno, "%s", part);
    }
    return RC_OK;
}

static enum rc write_small(const char *folder, const char *name, struct slice text, struct fault *f)
{
    char path[PATH_LEN_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return fault_errno(f, errno, "%s", path);
    bool is_written = fwrite(text.ptr, 1, text.len, file) == text.len;
    is_written = fclose(file) == 0 && is_written;
    return is_written ? RC_OK : fault_errno(f, errno, "%s", path);
}

static void note_subscription(struct maildir_writer *writer, struct slice name)
{
    for (size_t i = 0; i < name.len; i++)       /* Dovecot's second format: levels with tabs between */
        buf_append_byte(&writer->subscriptions, name.ptr[i] == '/' ? '\t' : name.ptr[i]);
    buf_append_byte(&writer->subscriptions, '\n');
}

static enum rc open_folder(void *self, const struct archive_folder *folder, struct fault *f)
{
    struct maildir_writer *writer = self;
    buf_clear(&writer->name);
    buf_clear(&writer->keywords);
    writer->keyword_count = 0;
    if (maildir_write_folder(folder->name, '/', &writer->name) != RC_OK)
        return fault_perm(f, 0, "%.*s: this name cannot be one of a Maildir", SLICE_ARG(slice_sub(folder->name, 0, 200)));
    struct slice name = buf_slice(&writer->name);
    int len = snprintf(writer->folder, sizeof(writer->folder), "%s%s%.*s", writer->root, name.len > 0 ? "/" : "", SLICE_ARG(name));
    if (len >= (int)sizeof(writer->folder))
        return fault_perm(f, 0, "%s: the path is too long", writer->root);
    if (folder->is_subscribed)
        note_subscription(writer, folder->name);
    enum rc rc = make_folder(writer->folder, f);
    if (rc == RC_OK && name.len > 0)        /* what tells a folder of Maildir++ from a Maildir of its own */
        rc = write_small(writer->folder, "maildirfolder", SLICE(""), f);
    return rc;
}

/* The letter that means the keyword in this folder; '\0' when there is none left. */
static char keyword_letter(struct maildir_writer *writer, struct slice keyword)
{
    struct slice rest = buf_slice(&writer->keywords);
    for (size_t i = 0; rest.len > 0; i++) {
        if (slice_equal(slice_take_until(&rest, '\n'), keyword))
            return (char)('a' + i);
    }
    if (writer->keyword_count == KEYWORD_LETTERS)
        return '\0';
    buf_append(&writer->keywords, keyword);
    buf_append_byte(&writer->keywords, '\n');
    return (char)('a' + writer->keyword_count++);
}

static enum rc name_message(struct maildir_writer *writer, const struct archive_item *item, struct fault *f)
{
    static const struct { uint32_t flag; unsigned maildir; } map[] = {
        { FLAG_DRAFT, MAILDIR_DRAFT }, { FLAG_FLAGGED, MAILDIR_FLAGGED }, { FLAG_ANSWERED, MAILDIR_REPLIED },
        { FLAG_SEEN, MAILDIR_SEEN }, { FLAG_DELETED, MAILDIR_TRASHED },
    };
    char unique[128], letters[KEYWORD_LETTERS + 1] = "";
    unsigned flags = 0;
    size_t count = 0;
    for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
        flags |= item->flags & map[i].flag ? map[i].maildir : 0;
    for (size_t i = 0; i < item->keyword_count; i++) {
        char letter = keyword_letter(writer, item->keywords[i]);
        if (slice_equal_nocase(item->keywords[i], SLICE("$Forwarded")))
            flags |= MAILDIR_PASSED;
        if (letter != '\0' && count < KEYWORD_LETTERS)
            letters[count++] = letter;
    }
    snprintf(unique, sizeof(unique), "%" PRId64 ".P%dQ%" PRIu64 ".thurn,S=%zu", item->date.unix_s, (int)getpid(), ++writer->count,
             buf_len(&writer->text));
    buf_clear(&writer->name);
    if (!maildir_write_name(slice_from_str(unique), flags, &writer->name) || !buf_append_str(&writer->name, letters))
        return fault_no_memory(f);
    return RC_OK;
}

static void to_lf(struct slice bytes, struct buf *out)
{
    buf_clear(out);
    while (bytes.len > 0) {
        size_t end = slice_find(bytes, SLICE("\r\n"));
        bool has_end = end < bytes.len;
        bool has_cr = end > 0 && bytes.ptr[end - 1] == '\r';
        buf_append(out, slice_take(&bytes, end));
        if (has_end) {
            slice_take(&bytes, 2);
            /* A CR that is text stays text: CR LF would be read back as a line end. */
            buf_append_str(out, has_cr ? "\r\n" : "\n");
        }
    }
}

static enum rc write_message(const char *temporary, struct slice text, int64_t time_s, struct fault *f)
{
    struct timespec times[2] = { { .tv_sec = time_s }, { .tv_sec = time_s } };
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fault_errno(f, errno, "%s", temporary);
    enum rc rc = RC_OK;
    while (text.len > 0 && rc == RC_OK) {
        ssize_t put = write(fd, text.ptr, text.len);
        if (put < 0 && errno != EINTR)
            rc = fault_errno(f, errno, "%s", temporary);
        slice_take(&text, put > 0 ? (size_t)put : 0);
    }
    if (rc == RC_OK && futimens(fd, times) != 0)
        rc = fault_errno(f, errno, "%s", temporary);
    if (close(fd) != 0 && rc == RC_OK)
        rc = fault_errno(f, errno, "%s", temporary);
    if (rc != RC_OK)
        unlink(temporary);
    return rc;
}

static enum rc add(void *self, const struct archive_item *item, struct fault *f)
{
    struct maildir_writer *writer = self;
    char temporary[PATH_LEN_MAX], path[PATH_LEN_MAX];
    to_lf(item->bytes, &writer->text);
    enum rc rc = writer->text.overflow ? fault_no_memory(f) : name_message(writer, item, f);
    if (rc != RC_OK)
        return rc;
    struct slice name = buf_slice(&writer->name);
    snprintf(temporary, sizeof(temporary), "%s/tmp/%.*s", writer->folder, SLICE_ARG(slice_sub(name, 0, slice_find_byte(name, ':'))));
    snprintf(path, sizeof(path), "%s/cur/%.*s", writer->folder, SLICE_ARG(name));
    rc = write_message(temporary, buf_slice(&writer->text), item->date.unix_s, f);
    if (rc == RC_OK && rename(temporary, path) != 0)
        rc = fault_errno(f, errno, "%s", path);
    return rc;
}

static enum rc close_folder(void *self, struct fault *f)
{
    struct maildir_writer *writer = self;
    struct buf out;
    if (writer->keyword_count == 0)
        return RC_OK;
    buf_init(&out, KEYWORD_LETTERS * (KEYWORD_BYTES_MAX + 10));
    struct slice rest = buf_slice(&writer->keywords);
    for (size_t i = 0; rest.len > 0; i++) {
        struct slice keyword = slice_take_until(&rest, '\n');
        buf_printf(&out, "%zu %.*s\n", i, SLICE_ARG(keyword));
    }
    enum rc rc = write_small(writer->folder, "dovecot-keywords", buf_slice(&out), f);
    buf_free(&out);
    return rc;
}

/* One sync for all files: a file each would cost more than everything else. */
static enum rc finish(void *self, struct fault *f)
{
    struct maildir_writer *writer = self;
    enum rc rc = write_small(writer->root, "subscriptions", buf_slice(&writer->subscriptions), f);
    int fd = rc == RC_OK ? open(writer->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0 && syncfs(fd) != 0)
        rc = fault_errno(f, errno, "%s", writer->root);
    if (fd >= 0)
        close(fd);
    return rc;
}

static void close_writer(void *self)
{
    struct maildir_writer *writer = self;
    buf_free(&writer->keywords);
    buf_free(&writer->subscriptions);
    buf_free(&writer->text);
    buf_free(&writer->name);
    free(writer);
}

enum rc export_to_maildir(const char *path, struct export_writer *out, struct fault *f)
{
    struct stat st;
    char cur[PATH_LEN_MAX];
    snprintf(cur, sizeof(cur), "%s/cur", path);
    if (strlen(path) >= PATH_LEN_MAX / 4)
        return fault_perm(f, 0, "%s: the path is too long", path);
    if (stat(cur, &st) == 0)
        return fault_perm(f, 0, "%s: there is a Maildir already; a new one is possible", path);
    struct maildir_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL)
        return fault_no_memory(f);
    strcpy(writer->root, path);
    buf_init(&writer->keywords, KEYWORD_LETTERS * (KEYWORD_BYTES_MAX + 1));
    buf_init(&writer->subscriptions, SUBSCRIPTIONS_MAX);
    buf_init(&writer->text, (size_t)ARCHIVE_MESSAGE_MAX * 2);
    buf_init(&writer->name, PATH_LEN_MAX);
    buf_append_str(&writer->subscriptions, "V\t2\n\n");
    enum rc rc = make_folder(writer->root, f);
    if (rc != RC_OK) {
        close_writer(writer);
        return rc;
    }
    *out = (struct export_writer){
        .self = writer, .open_folder = open_folder, .add = add, .close_folder = close_folder, .finish = finish, .close = close_writer,
    };
    return RC_OK;
}
