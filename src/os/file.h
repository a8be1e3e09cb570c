/* All file access of the store and the queue passes here, so that tests and the simulator can fail, tear, delay or
 * stop at the n-th call. file_ops_real is the system. Calls return 0 or more, or -errno; they never set errno and are
 * restarted on EINTR by the real implementation. Offsets and sizes are in bytes. */
#ifndef THURN_OS_FILE_H
#define THURN_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_ops {
    void *self;
    int (*open)(void *self, const char *path, bool create, bool read_only);     /* mode 0600, O_CLOEXEC; a descriptor */
    int (*make_dir)(void *self, const char *path);                              /* mode 0700; one that exists is fine */
    int (*close)(void *self, int fd);
    int64_t (*read_at)(void *self, int fd, void *data, size_t len, uint64_t offset);          /* short at the end of the file */
    int64_t (*write_at)(void *self, int fd, const void *data, size_t len, uint64_t offset);   /* may be short */
    int (*sync)(void *self, int fd);                                            /* fdatasync */
    int (*allocate)(void *self, int fd, uint64_t size);                         /* posix_fallocate semantics; ENOSPC here, not later */
    int (*truncate)(void *self, int fd, uint64_t size);
    int64_t (*size)(void *self, int fd);
    int (*rename)(void *self, const char *from, const char *to);
    int (*unlink)(void *self, const char *path);
    int (*sync_dir)(void *self, const char *path);
    int (*list)(void *self, const char *dir, void (*each)(void *arg, const char *name), void *arg);
    int (*lock)(void *self, int fd);                                            /* exclusive, not waiting; -EWOULDBLOCK */
    int64_t (*free_bytes)(void *self, const char *path);                        /* free for us on that file system */
};

extern const struct file_ops file_ops_real;

#endif
