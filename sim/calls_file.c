/* Files and folders: the system calls on them, on the disk of the calling process's host. */
#include "sim/inner.h"
#include "sim/disk.h"
#include "sim/net.h"
#include "sim/wrap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct open_file {
    struct sim_file file;
    struct disk_file *disk_file;
    uint64_t offset;
};

static struct disk *own_disk(void) { return sim_self_host()->disk; }

/* ---- opening and closing ---------------------------------------------------------------------------------------------- */

static void file_closed(struct sim_file *file)
{
    struct open_file *open = LIST_ENTRY(file, struct open_file, file);
    disk_close(open->disk_file);
    sim_delete(open);
}

static const struct sim_file_ops file_ops = { .kind = "file", .closed = file_closed };

static struct open_file *file_of(int fd)
{
    struct sim_file *file = sim_fd(fd);
    return file == NULL || file->ops != &file_ops ? NULL : LIST_ENTRY(file, struct open_file, file);
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    int error = sim_enter("open");
    if (error != 0)
        return (int)call_result(-error);
    if (net_path_is_socket(sim_self_host(), path))
        return (int)call_result(-ENXIO);
    struct disk_file *disk_file;
    int opened = disk_open(own_disk(), path, flags & ~(O_CLOEXEC | O_NOFOLLOW), mode, &disk_file);
    if (opened < 0)
        return (int)call_result(opened);
    struct open_file *open = sim_new(sizeof(*open));
    open->file.ops = &file_ops;
    open->file.flags = (unsigned)flags;
    open->disk_file = disk_file;
    return file_give(&open->file);
}

int __wrap_close(int fd)
{
    int error = sim_enter("close");
    bool is_closed = process_fd_close(sim_self(), fd);          /* also when it says that it was interrupted */
    return (int)call_result(!is_closed ? -EBADF : -error);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------- */

int64_t file_read(struct sim_file *file, void *data, size_t len)
{
    struct open_file *open = LIST_ENTRY(file, struct open_file, file);
    int64_t got = disk_read(open->disk_file, data, len, open->offset);
    open->offset += got > 0 ? (uint64_t)got : 0;
    return got;
}

int64_t file_write(struct sim_file *file, const void *data, size_t len)
{
    struct open_file *open = LIST_ENTRY(file, struct open_file, file);
    int64_t put = disk_write(open->disk_file, data, len, open->offset);
    open->offset += put > 0 ? (uint64_t)put : 0;
    return put;
}

bool file_is_on_disk(const struct sim_file *file) { return file->ops == &file_ops; }

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset)
{
    int error = sim_enter("pread");
    struct open_file *open = file_of(fd);
    if (error != 0 || open == NULL)
        return call_result(error != 0 ? -error : -EBADF);
    return call_result(disk_read(open->disk_file, data, len, (uint64_t)offset));
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset)
{
    int error = sim_enter("pwrite");
    struct open_file *open = file_of(fd);
    if (error != 0 || open == NULL)
        return call_result(error != 0 ? -error : -EBADF);
    return call_result(disk_write(open->disk_file, data, len, (uint64_t)offset));
}

static int sync_fd(const char *call, int fd)
{
    int error = sim_enter(call);
    struct open_file *open = file_of(fd);
    if (error != 0 || open == NULL)
        return (int)call_result(error != 0 ? -error : -EBADF);
    return (int)call_result(disk_sync(open->disk_file));
}

int __wrap_fsync(int fd) { return sync_fd("fsync", fd); }
int __wrap_fdatasync(int fd) { return sync_fd("fdatasync", fd); }

int __wrap_ftruncate64(int fd, off_t size)
{
    int error = sim_enter("ftruncate");
    struct open_file *open = file_of(fd);
    if (error != 0 || open == NULL)
        return (int)call_result(error != 0 ? -error : -EBADF);
    return (int)call_result(disk_truncate(open->disk_file, (uint64_t)size));
}

int __wrap_posix_fallocate64(int fd, off_t offset, off_t len)
{
    int error = sim_enter("posix_fallocate");
    struct open_file *open = file_of(fd);
    if (error != 0 || open == NULL)
        return error != 0 ? error : EBADF;
    return -disk_allocate(open->disk_file, (uint64_t)offset, (uint64_t)len);
}

int __wrap_flock(int fd, int operation)
{
    int error = sim_enter("flock");
    struct open_file *open = file_of(fd);
    if (error != 0 || open == NULL)
        return (int)call_result(error != 0 ? -error : -EBADF);
    return (int)call_result(disk_lock(open->disk_file, operation));
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

int __wrap_rename(const char *from, const char *to)
{
    int error = sim_enter("rename");
    return (int)call_result(error != 0 ? -error : disk_rename(own_disk(), from, to));
}

int __wrap_unlink(const char *path)
{
    int error = sim_enter("unlink");
    if (error == 0 && net_path_unlink(sim_self_host(), path))
        return 0;
    return (int)call_result(error != 0 ? -error : disk_unlink(own_disk(), path));
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    int error = sim_enter("mkdir");
    return (int)call_result(error != 0 ? -error : disk_make_dir(own_disk(), path, mode));
}

static int stat_path(const char *call, const char *path, struct stat *status)
{
    int error = sim_enter(call);
    if (error == 0 && net_path_is_socket(sim_self_host(), path)) {
        memset(status, 0, sizeof(*status));
        status->st_mode = S_IFSOCK | 0600;
        return 0;
    }
    return (int)call_result(error != 0 ? -error : disk_stat(own_disk(), path, status));
}

int __wrap_stat64(const char *path, struct stat *status) { return stat_path("stat", path, status); }
int __wrap_lstat64(const char *path, struct stat *status) { return stat_path("lstat", path, status); }

int __wrap_fstat64(int fd, struct stat *status)
{
    int error = sim_enter("fstat");
    struct open_file *open = file_of(fd);
    if (error != 0 || open == NULL)
        return (int)call_result(error != 0 ? -error : -EBADF);
    return (int)call_result(disk_fstat(open->disk_file, status));
}

int __wrap_access(const char *path, int mode)
{
    struct stat status;
    (void)mode;
    return stat_path("access", path, &status);
}

int __wrap_statvfs64(const char *path, struct statvfs *status)
{
    struct stat there;
    int error = sim_enter("statvfs");
    int got = error != 0 ? -error : disk_stat(own_disk(), path, &there);
    if (got < 0)
        return (int)call_result(got);
    memset(status, 0, sizeof(*status));
    status->f_bsize = status->f_frsize = 4096;
    status->f_bavail = status->f_bfree = disk_free_bytes(own_disk()) / 4096;
    return 0;
}

/* Everything belongs to one user here. */
int __wrap_chmod(const char *path, mode_t mode) { return (void)path, (void)mode, -(sim_enter("chmod") != 0); }
int __wrap_fchmod(int fd, mode_t mode) { return (void)fd, (void)mode, -(sim_enter("fchmod") != 0); }
int __wrap_chown(const char *path, uid_t user, gid_t group) { return (void)path, (void)user, (void)group, -(sim_enter("chown") != 0); }
mode_t __wrap_umask(mode_t mask) { return (void)mask, (mode_t)022; }

/* ---- folders ------------------------------------------------------------------------------------------------------------- */

struct folder {                         /* behind a DIR */
    struct dirent entry;
    const char *next;
    size_t left;
    char *names;
};

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The names once more, ordered by chance: nobody may rely on an order. */
static char *shuffled(const char *names, size_t count)
{
    const char **each = sim_new((count + 1) * sizeof(char *));
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        each[i] = names + bytes;
        bytes += strlen(names + bytes) + 1;
    }
    qsort(each, count, sizeof(char *), by_name);
    char *out = sim_new(bytes + 1), *at = out;
    for (size_t left = count; left > 0; left--) {
        size_t pick = sim_below(left);
        size_t len = strlen(each[pick]) + 1;
        memcpy(at, each[pick], len);
        at += len;
        each[pick] = each[left - 1];
    }
    sim_delete(each);
    return out;
}

DIR *__wrap_opendir(const char *path)
{
    char *names;
    size_t count;
    int error = sim_enter("opendir");
    int got = error != 0 ? -error : disk_list(own_disk(), path, &names, &count);
    if (got < 0) {
        errno = -got;
        return NULL;
    }
    struct folder *folder = sim_new(sizeof(*folder));
    folder->names = shuffled(names, count);
    folder->next = folder->names;
    folder->left = count;
    disk_list_free(names);
    return (DIR *)(void *)folder;
}

struct dirent *__wrap_readdir64(DIR *dir)
{
    struct folder *folder = (struct folder *)(void *)dir;
    int error = sim_enter("readdir");
    if (error != 0 || folder->left == 0) {
        errno = error != 0 ? error : errno;
        return NULL;
    }
    (void)snprintf(folder->entry.d_name, sizeof(folder->entry.d_name), "%s", folder->next);
    folder->next += strlen(folder->next) + 1;
    folder->left--;
    return &folder->entry;
}

int __wrap_closedir(DIR *dir)
{
    struct folder *folder = (struct folder *)(void *)dir;
    sim_delete(folder->names);
    sim_delete(folder);
    return 0;
}

/* ---- standard input and output ------------------------------------------------------------------------------------------- */

struct output {
    struct sim_file file;
    struct sim_process *process;
    char line[4096];
    size_t len;
};

static void output_closed(struct sim_file *file) { sim_delete(LIST_ENTRY(file, struct output, file)); }

static const struct sim_file_ops output_ops = { .kind = "output", .closed = output_closed };

struct sim_file *file_output_new(struct sim_process *process)
{
    struct output *output = sim_new(sizeof(*output));
    output->file.ops = &output_ops;
    output->file.references = 1;
    output->process = process;
    return &output->file;
}

bool file_is_output(const struct sim_file *file) { return file->ops == &output_ops; }

int64_t output_write(struct sim_file *file, const void *data, size_t len)
{
    struct output *output = LIST_ENTRY(file, struct output, file);
    for (size_t i = 0; i < len; i++) {
        char byte = ((const char *)data)[i];
        if (byte != '\n' && output->len < sizeof(output->line))
            output->line[output->len++] = byte;
        if (byte != '\n')
            continue;
        trace_output(output->process, output->line, output->len);
        output->len = 0;
    }
    return (int64_t)len;
}

/* ---- what the C library does with files: configuration is read, complaints are written ----------------------------------- */

struct content {
    size_t len, at;
    char bytes[];
};

static ssize_t content_read(void *cookie, char *out, size_t size)
{
    struct content *content = cookie;
    size_t len = size < content->len - content->at ? size : content->len - content->at;
    memcpy(out, content->bytes + content->at, len);
    content->at += len;
    return (ssize_t)len;
}

static int content_close(void *cookie)
{
    sim_delete(cookie);
    return 0;
}

static FILE *stream_of(struct disk_file *file)
{
    struct stat status;
    int error = disk_fstat(file, &status);
    if (error < 0) {
        errno = -error;
        return NULL;
    }
    struct content *content = sim_new(sizeof(*content) + (size_t)status.st_size);
    int64_t len = disk_read(file, content->bytes, (size_t)status.st_size, 0);
    content->len = len > 0 ? (size_t)len : 0;
    return fopencookie(content, "r", (cookie_io_functions_t){ .read = content_read, .close = content_close });
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
    struct disk_file *file;
    int error = sim_enter("fopen");
    int got = error != 0 ? -error : mode[0] != 'r' ? -EACCES : disk_open(own_disk(), path, O_RDONLY, 0, &file);
    if (got < 0) {
        errno = -got;
        return NULL;
    }
    FILE *stream = stream_of(file);
    disk_close(file);
    return stream;
}

__attribute__((format(printf, 2, 0)))
static void say(FILE *to, const char *format, va_list arguments)
{
    char text[2048];
    int len = vsnprintf(text, sizeof(text), format, arguments);
    struct sim_file *file = sim_fd(to == stderr ? 2 : 1);
    if (len > 0 && file != NULL && file_is_output(file))
        (void)output_write(file, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

int __wrap_fprintf(FILE *to, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(to, format, arguments);
    va_end(arguments);
    return 0;
}

int __wrap___fprintf_chk(FILE *to, int flag, const char *format, ...)
{
    va_list arguments;
    (void)flag;
    va_start(arguments, format);
    say(to, format, arguments);
    va_end(arguments);
    return 0;
}

size_t __wrap_fwrite(const void *data, size_t size, size_t count, FILE *to)
{
    struct sim_file *file = sim_fd(to == stderr ? 2 : 1);
    if (file != NULL && file_is_output(file))
        (void)output_write(file, data, size * count);
    return count;
}
