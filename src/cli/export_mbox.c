/* `thurn export mbox`: a file per folder, mboxrd. Flags are put in front of each message, behind a field that says how many
 * they are, so that `thurn import` takes them off again and the message is what it was. */
#include "cli/export.h"

#include "mail/header.h"
#include "mail/mbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LEN_MAX = 4096 };

struct mbox_writer {
    char path[PATH_LEN_MAX / 2];
    bool is_single;
    char file_path[PATH_LEN_MAX];
    FILE *file;
    struct buf added, out;
};

/* A folder's name as a path: what a path cannot hold becomes '_'. */
static void append_path(char out[PATH_LEN_MAX], struct slice name)
{
    size_t len = strlen(out);
    bool at_start = true;
    for (size_t i = 0; i < name.len && len + 2 < PATH_LEN_MAX - 8; i++) {
        char byte = name.ptr[i];
        out[len++] = byte == '\0' || (at_start && byte == '.') ? '_' : byte;
        at_start = byte == '/';
    }
    out[len] = '\0';
}

static enum rc make_parents(char *path, size_t from, struct fault *f)
{
    for (char *slash = strchr(path + from, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int made = mkdir(path, 0700);
        enum rc rc = made == 0 || errno == EEXIST ? RC_OK : fault_errno(f, errno, "%s", path);
        *slash = '/';
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc open_folder(void *self, const struct archive_folder *folder, struct fault *f)
{
    struct mbox_writer *writer = self;
    struct stat st;
    bool is_dir = stat(writer->path, &st) == 0 && S_ISDIR(st.st_mode);
    snprintf(writer->file_path, sizeof(writer->file_path), "%s", writer->path);
    if (!writer->is_single || is_dir) {
        strcat(writer->file_path, "/");
        append_path(writer->file_path, folder->name);
        strcat(writer->file_path, ".mbox");
        enum rc rc = make_parents(writer->file_path, strlen(writer->path), f);
        if (rc != RC_OK)
            return rc;
    }
    int fd = open(writer->file_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return fault_perm(f, 0, "%s: it is there already and is not written over", writer->file_path);
    if (fd < 0)
        return fault_errno(f, errno, "%s", writer->file_path);
    writer->file = fdopen(fd, "w");
    return writer->file != NULL ? RC_OK : fault_errno(f, errno, "%s", writer->file_path);
}

static void write_flag_fields(struct buf *out, const struct archive_item *item)
{
    static const struct { uint32_t flag; char letter; } letters[] = {
        { FLAG_ANSWERED, 'A' }, { FLAG_FLAGGED, 'F' }, { FLAG_DELETED, 'D' }, { FLAG_DRAFT, 'T' },
    };
    bool has_other = (item->flags & ~(uint32_t)FLAG_SEEN & FLAG_SYSTEM_MASK) != 0;
    buf_printf(out, "X-Thurn-Added: %d\r\nStatus: %s\r\n", 1 + has_other + (item->keyword_count > 0), item->flags & FLAG_SEEN ? "RO" : "O");
    if (has_other) {
        buf_append_str(out, "X-Status: ");
        for (size_t i = 0; i < sizeof(letters) / sizeof(*letters); i++) {
            if (item->flags & letters[i].flag)
                buf_append_byte(out, letters[i].letter);
        }
        buf_append_str(out, "\r\n");
    }
    if (item->keyword_count > 0) {
        buf_append_str(out, "X-Keywords:");
        for (size_t i = 0; i < item->keyword_count; i++) {
            buf_append_byte(out, ' ');
            buf_append(out, item->keywords[i]);
        }
        buf_append_str(out, "\r\n");
    }
}

/* What the From_ line names: the Return-Path, as delivery agents do. */
static struct slice find_sender(struct slice message)
{
    struct header_field field;
    struct slice header = slice_sub(message, 0, header_end(message));
    if (header_find(header, SLICE("Return-Path"), &field) != RC_OK)
        return SLICE_NONE;
    struct slice sender = slice_trim(field.body);
    (void)slice_take_byte(&sender, '<');
    return slice_trim(slice_sub(sender, 0, slice_find_byte(sender, '>')));
}

static enum rc add(void *self, const struct archive_item *item, struct fault *f)
{
    struct mbox_writer *writer = self;
    buf_clear(&writer->added);
    buf_clear(&writer->out);
    write_flag_fields(&writer->added, item);
    buf_append(&writer->added, item->bytes);
    if (writer->added.overflow || !mbox_write(find_sender(item->bytes), item->date.unix_s, buf_slice(&writer->added), &writer->out))
        return fault_no_memory(f);
    struct slice out = buf_slice(&writer->out);
    return fwrite(out.ptr, 1, out.len, writer->file) == out.len ? RC_OK : fault_errno(f, errno, "%s", writer->file_path);
}

static enum rc close_folder(void *self, struct fault *f)
{
    struct mbox_writer *writer = self;
    bool is_written = fflush(writer->file) == 0 && fsync(fileno(writer->file)) == 0;
    int error = errno;
    is_written = fclose(writer->file) == 0 && is_written;
    writer->file = NULL;
    return is_written ? RC_OK : fault_errno(f, error, "%s", writer->file_path);
}

static enum rc finish(void *self, struct fault *f)
{
    (void)self, (void)f;
    return RC_OK;
}

static void close_writer(void *self)
{
    struct mbox_writer *writer = self;
    if (writer->file != NULL)
        fclose(writer->file);
    buf_free(&writer->added);
    buf_free(&writer->out);
    free(writer);
}

enum rc export_to_mbox(const char *path, bool is_single, struct export_writer *out, struct fault *f)
{
    struct mbox_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL)
        return fault_no_memory(f);
    writer->is_single = is_single;
    if (snprintf(writer->path, sizeof(writer->path), "%s", path) >= (int)sizeof(writer->path)) {
        free(writer);
        return fault_perm(f, 0, "%s: the path is too long", path);
    }
    if (!is_single && mkdir(path, 0700) != 0 && errno != EEXIST) {
        free(writer);
        return fault_errno(f, errno, "%s", path);
    }
    buf_init(&writer->added, (size_t)ARCHIVE_MESSAGE_MAX * 2);
    buf_init(&writer->out, (size_t)ARCHIVE_MESSAGE_MAX * 4);
    *out = (struct export_writer){
        .self = writer, .open_folder = open_folder, .add = add, .close_folder = close_folder, .finish = finish, .close = close_writer,
    };
    return RC_OK;
}
