/* The disk as the store's tests see it: os/file.h, with small numbers for open files. See disk.h. */
#include "sim/disk_inner.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

enum { FD_FIRST = 1000 };

/* The number is the file's place in the disk's table. */
static int number_of(struct disk *d, struct disk_file *f)
{
    disk_enter(d);
    size_t at = 0;
    while (at < d->fd_count && d->fds[at] != NULL)
        at++;
    if (at == d->fd_count) {
        d->fds = disk_grow(d->fds, (at + 16) * sizeof *d->fds);
        memset(d->fds + at, 0, 16 * sizeof *d->fds);
        d->fd_count = at + 16;
    }
    d->fds[at] = f;
    disk_leave(d);
    return FD_FIRST + (int)at;
}

static struct disk_file *file_of(struct disk *d, int fd)
{
    disk_enter(d);
    size_t at = (size_t)(fd - FD_FIRST);
    struct disk_file *f = fd >= FD_FIRST && at < d->fd_count ? d->fds[at] : NULL;
    disk_leave(d);
    must(f != NULL);            /* a number that is not open: a bug in who calls */
    return f;
}

static int ops_open(void *self, const char *path, bool create, bool read_only)
{
    struct disk_file *f;
    int error = disk_open(self, path, (read_only ? O_RDONLY : O_RDWR) | (create ? O_CREAT : 0), 0600, &f);
    return error < 0 ? error : number_of(self, f);
}

static int ops_make_dir(void *self, const char *path)
{
    int error = disk_make_dir(self, path, 0700);
    return error == -EEXIST ? 0 : error;
}

static int ops_close(void *self, int fd)
{
    struct disk *d = self;
    struct disk_file *f = file_of(d, fd);
    disk_enter(d);
    d->fds[fd - FD_FIRST] = NULL;
    disk_leave(d);
    disk_close(f);
    return 0;
}

static int64_t ops_read_at(void *self, int fd, void *data, size_t len, uint64_t offset) { return disk_read(file_of(self, fd), data, len, offset); }

static int64_t ops_write_at(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
    return disk_write(file_of(self, fd), data, len, offset);
}

static int ops_sync(void *self, int fd) { return disk_sync(file_of(self, fd)); }
static int ops_allocate(void *self, int fd, uint64_t size) { return disk_allocate(file_of(self, fd), 0, size); }
static int ops_truncate(void *self, int fd, uint64_t size) { return disk_truncate(file_of(self, fd), size); }

static int64_t ops_size(void *self, int fd)
{
    struct stat st;
    int error = disk_fstat(file_of(self, fd), &st);
    return error < 0 ? error : st.st_size;
}

static int ops_rename(void *self, const char *from, const char *to) { return disk_rename(self, from, to); }
static int ops_unlink(void *self, const char *path) { return disk_unlink(self, path); }

static int ops_sync_dir(void *self, const char *path)
{
    struct disk_file *f;
    int error = disk_open(self, path, O_RDONLY | O_DIRECTORY, 0, &f);
    if (error < 0)
        return error;
    error = disk_sync(f);
    disk_close(f);
    return error;
}

static int ops_list(void *self, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    char *names;
    size_t count;
    int error = disk_list(self, path, &names, &count);
    if (error < 0)
        return error;
    const char *name = names;
    for (size_t i = 0; i < count; i++, name += strlen(name) + 1)
        each(arg, name);
    disk_list_free(names);
    return 0;
}

static int ops_lock(void *self, int fd) { return disk_lock(file_of(self, fd), LOCK_EX | LOCK_NB); }

static int64_t ops_free_bytes(void *self, const char *path)
{
    (void)path;
    return (int64_t)disk_free_bytes(self);
}

struct file_ops disk_ops(struct disk *d)
{
    return (struct file_ops){
        .self = d, .open = ops_open, .make_dir = ops_make_dir, .close = ops_close, .read_at = ops_read_at, .write_at = ops_write_at,
        .sync = ops_sync, .allocate = ops_allocate, .truncate = ops_truncate, .size = ops_size, .rename = ops_rename, .unlink = ops_unlink,
        .sync_dir = ops_sync_dir, .list = ops_list, .lock = ops_lock, .free_bytes = ops_free_bytes,
    };
}
