/* A disk in memory: files and folders with what the system shows and what is on the medium.
 *
 * A sync moves the one to the other: of a file its bytes and size, of a folder the names in it. disk_power_cut leaves what is on the
 * medium and, by chance, parts of what was not synced: sectors of 512 bytes in any order, one of them torn at a byte if
 * so asked, sizes and names separately, a prefix of the changes of names of each folder. A rename is one change. A file synced before
 * its name is on the medium may be gone: as POSIX allows, ext4 mostly not; both are tried.
 * Knows nothing of processes, time or the server: tests of the store use it as well as the simulator (sim/calls_file.c, and the
 * file_ops of disk_ops below). Results are 0 or more, or -errno. Not thread-safe unless made with `locked`.
 *
 * Paths name folders from the root on ("/" is there from the beginning); "." and empty parts count for nothing, ".." is not known.
 * There are no links, devices, owners or permissions: a mode is kept and shown. What is written is kept in pages of 4 KiB, and only
 * those that a crash could change are looked at by one: a segment of 64 MiB that was allocated costs a table of 128 KiB. */
#ifndef THURN_SIM_DISK_H
#define THURN_SIM_DISK_H

#include "os/file.h"

#include <sys/stat.h>

struct disk;
struct disk_file;               /* an open file: one per open() */

struct disk *disk_new(uint64_t seed, uint64_t capacity_bytes, bool locked);     /* capacity 0: as much as wanted */
/* All files must have been closed. */
void disk_free(struct disk *);
/* Another disk with what this one shows, all of it on the medium. */
struct disk *disk_clone(struct disk *, uint64_t seed);
/* Where memory comes from, for all disks and before the first: `resize` as realloc(3), with 0 to free. Set by the simulator, so that
 * a disk outlives the process that wrote to it. */
void disk_set_memory(void *(*resize)(void *, size_t));

/* flags as open(2): O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, access mode. */
int disk_open(struct disk *, const char *path, int flags, unsigned mode, struct disk_file **);
void disk_close(struct disk_file *);
int64_t disk_read(struct disk_file *, void *data, size_t len, uint64_t offset);
/* With O_APPEND at the end, whatever the offset. May be short: when asked to by the faults, or when the disk becomes full in it. */
int64_t disk_write(struct disk_file *, const void *data, size_t len, uint64_t offset);
int disk_sync(struct disk_file *);
int disk_allocate(struct disk_file *, uint64_t offset, uint64_t len);
int disk_truncate(struct disk_file *, uint64_t size);
int disk_lock(struct disk_file *, int operation);       /* flock(2); never waits: -EWOULDBLOCK */
int disk_stat(struct disk *, const char *path, struct stat *);
int disk_fstat(struct disk_file *, struct stat *);
int disk_rename(struct disk *, const char *from, const char *to);
int disk_unlink(struct disk *, const char *path);
int disk_make_dir(struct disk *, const char *path, unsigned mode);
int disk_remove_dir(struct disk *, const char *path);
int disk_set_mode(struct disk *, const char *path, unsigned mode);
/* Names in a folder, in any order, NUL-terminated; *count of them; the caller frees the list as one block (disk_list_free). */
int disk_list(struct disk *, const char *path, char **names, size_t *count);
void disk_list_free(char *names);
uint64_t disk_free_bytes(struct disk *);
void disk_set_capacity(struct disk *, uint64_t bytes);
/* Of a file's or folder's last change, in microseconds since 1970; NULL: a number that rises. */
void disk_set_clock(struct disk *, int64_t (*now_us)(void *arg), void *arg);

/* ---- what goes wrong ---- */

/* TORN: as SOME, and one of the sectors has the first part of what was written to it. */
enum disk_loss { DISK_LOSE_ALL, DISK_LOSE_SOME, DISK_LOSE_TORN, DISK_LOSE_NOTHING };
/* All open files are dead: their calls give -EIO until closed. A plan (below) is over. */
void disk_power_cut(struct disk *, enum disk_loss);
/* Bytes at rest: flips a bit of a file's medium (and of what is shown). -ENOENT; -EINVAL: behind its end. */
int disk_flip(struct disk *, const char *path, uint64_t offset, unsigned bit);

/* Asked at each call that can fail, before it does anything; NULL members: never. They may not call the disk. Calls are named open,
 * read, write, sync, allocate, truncate, lock, stat, rename, unlink, make_dir, remove_dir, list and, a folder's, sync_dir. */
struct disk_faults {
    void *arg;
    int (*fail)(void *arg, const char *call, const char *path);                 /* -errno, or 0 */
    size_t (*shorten)(void *arg, const char *path, size_t len);                 /* of a write: how much of it is done */
    bool (*tear)(void *arg, const char *path);                                  /* a failing write leaves a part of its bytes */
};
/* A sync that fails leaves the pages as if clean: what was written is not on the medium and will not be by the next sync. */
void disk_set_faults(struct disk *, const struct disk_faults *);
struct disk_figures { uint64_t calls, writes, syncs, bytes_written, bytes_lost, faults; };
struct disk_figures disk_figures(struct disk *);

/* ---- for tests without a kernel ---- */
struct file_ops disk_ops(struct disk *);
/* The n-th call (of any kind, since the disk was made) fails once with error, -errno; from the stop_at-th on all fail as if the power
 * were off. 0: never. A write that fails so leaves a part of its bytes. */
void disk_plan(struct disk *, uint64_t fail_at, int error, uint64_t stop_at);
uint64_t disk_calls(struct disk *);
const char *disk_failed_call(struct disk *);      /* of the plan; NULL: it has not come to that */

/* SQLite on disks: the default VFS from now on (sim/vfs.c). `current` gives the disk that an open means, `owner` whose handle it is. */
struct disk_vfs_hooks {
    struct disk *(*current)(void);
    const void *(*owner)(void);                         /* NULL: all are one process */
    uint64_t (*random)(void);                           /* NULL: a fixed sequence */
    int64_t (*now_ms)(void);                            /* since 1970; NULL: a fixed time */
    void (*sleep_us)(int64_t us);                       /* NULL: returns at once */
    void (*enter)(const char *call);                    /* before each call ("sqlite-open", ...); may not return. NULL: nobody wants to know */
};
void disk_vfs_install(const struct disk_vfs_hooks *);
/* The owner was killed: its handles are closed and what it had locked or shared is as the system leaves it then. Memory that SQLite
 * itself had taken is not looked at. */
void disk_vfs_forget(const void *owner);

#endif
