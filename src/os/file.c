/* The system's side of os/file.h. Every call is restarted on EINTR and gives -errno when the system said no. */
#include "os/file.h"

#include "base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int result(int got) { return got < 0 ? -errno : got; }

static int real_open(void *self, const char *path, bool create, bool read_only)
{
    (void)self;
    int flags = (read_only ? O_RDONLY : O_RDWR) | (create ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW;
    int fd;
    do
        fd = open(path, flags, 0600);
    while (fd < 0 && errno == EINTR);
    return result(fd);
}

static int real_make_dir(void *self, const char *path)
{
    (void)self;
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/* Linux releases the descriptor even when close is interrupted: it is not called again. */
static int real_close(void *self, int fd)
{
    (void)self;
    return close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

static int64_t real_read_at(void *self, int fd, void *data, size_t len, uint64_t offset)
{
    (void)self;
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(fd, (char *)data + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (int64_t)got;
}

static int64_t real_write_at(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
    (void)self;
    ssize_t n;
    do
        n = pwrite(fd, data, len, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int real_sync(void *self, int fd)
{
    (void)self;
    int got;
    do
        got = fdatasync(fd);
    while (got < 0 && errno == EINTR);
    return result(got);
}

static int real_allocate(void *self, int fd, uint64_t size)
{
    (void)self;
    int error;
    do
        error = posix_fallocate(fd, 0, (off_t)size);
    while (error == EINTR);
    return -error;
}

static int real_truncate(void *self, int fd, uint64_t size)
{
    (void)self;
    int got;
    do
        got = ftruncate(fd, (off_t)size);
    while (got < 0 && errno == EINTR);
    return result(got);
}

static int64_t real_size(void *self, int fd)
{
    (void)self;
    struct stat st;
    return fstat(fd, &st) < 0 ? -errno : st.st_size;
}

static int real_rename(void *self, const char *from, const char *to)
{
    (void)self;
    return result(rename(from, to));
}

static int real_unlink(void *self, const char *path)
{
    (void)self;
    return result(unlink(path));
}

static int real_sync_dir(void *self, const char *path)
{
    (void)self;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int got = result(fsync(fd));
    close(fd);
    return got;
}

static int real_list(void *self, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    (void)self;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -errno;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL; errno = 0)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(arg, entry->d_name);
    int error = errno;
    closedir(dir);
    return -error;
}

static int real_lock(void *self, int fd)
{
    (void)self;
    int got;
    do
        got = flock(fd, LOCK_EX | LOCK_NB);
    while (got < 0 && errno == EINTR);
    return result(got);
}

static int64_t real_free_bytes(void *self, const char *path)
{
    (void)self;
    struct statvfs fs;
    if (statvfs(path, &fs) < 0)
        return -errno;
    return (int64_t)((uint64_t)fs.f_bavail * fs.f_frsize);
}

const struct file_ops file_ops_real = {
    .open = real_open,
    .make_dir = real_make_dir,
    .close = real_close,
    .read_at = real_read_at,
    .write_at = real_write_at,
    .sync = real_sync,
    .allocate = real_allocate,
    .truncate = real_truncate,
    .size = real_size,
    .rename = real_rename,
    .unlink = real_unlink,
    .sync_dir = real_sync_dir,
    .list = real_list,
    .lock = real_lock,
    .free_bytes = real_free_bytes,
};
