/* A disk in memory: files and folders with what the system shows and what is on the medium.
 *
 * A sync moves the one to the other: of a file its bytes and size, of a folder the names in it. disk_power_cut leaves what is on the
 * medium and, by chance, parts of what was not synced: sectors of 512 bytes in any order, the sector being written torn at a byte if
 * so asked, sizes and names separately, a prefix of the changes of names of each folder. A rename is one change. A file synced before
 * its name is on the medium may be gone: as POSIX allows, ext4 mostly not; both are tried.
 * Knows nothing of processes, time or the server: tests of the store use it as well as the simulator (sim/calls_file.c, and the
 * file_ops of disk_ops below). Results are 0 or more, or -errno. Not thread-safe unless made with `locked`. */
#ifndef THURN_SIM_DISK_H
#define THURN_SIM_DISK_H

#include "os/file.h"

#include <sys/stat.h>

struct disk;
struct disk_file;               /* an open file: one per open() */

struct disk *disk_new(uint64_t seed, uint64_t capacity_bytes, bool locked);
void disk_free(struct disk *);

/* flags as open(2): O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, access mode. */
int disk_open(struct disk *, const char *path, int flags, unsigned mode, struct disk_file **);
void disk_close(struct disk_file *);
int64_t disk_read(struct disk_file *, void *data, size_t len, uint64_t offset);
int64_t disk_write(struct disk_file *, const void *data, size_t len, uint64_t offset);
int disk_sync(struct disk_file *);
int disk_allocate(struct disk_file *, uint64_t offset, uint64_t len);
int disk_truncate(struct disk_file *, uint64_t size);
int disk_lock(struct disk_file *, int operation);       /* flock(2) */
int disk_stat(struct disk *, const char *path, struct stat *);
int disk_fstat(struct disk_file *, struct stat *);
int disk_rename(struct disk *, const char *from, const char *to);
int disk_unlink(struct disk *, const char *path);
int disk_make_dir(struct disk *, const char *path, unsigned mode);
/* Names in a folder, in any order, NUL-terminated; *count of them; the caller frees the list as one block. */
int disk_list(struct disk *, const char *path, char **names, size_t *count);
uint64_t disk_free_bytes(const struct disk *);
void disk_set_capacity(struct disk *, uint64_t bytes);

/* ---- what goes wrong ---- */

enum disk_loss { DISK_LOSE_ALL, DISK_LOSE_SOME, DISK_LOSE_NOTHING };
void disk_power_cut(struct disk *, enum disk_loss);     /* all open files are dead: their calls give -EIO until closed */
/* Bytes at rest: flips a bit of a file's medium (and of what is shown). */
int disk_flip(struct disk *, const char *path, uint64_t offset, unsigned bit);

struct disk_faults {            /* asked at each call that can fail; NULL members: never */
    void *arg;
    int (*fail)(void *arg, const char *call, const char *path);                 /* -errno, or 0 */
    size_t (*shorten)(void *arg, const char *path, size_t len);                 /* of a write: how much of it is done */
    bool (*tear)(void *arg, const char *path);                                  /* a failing write leaves a part of its bytes */
};
/* A sync that fails leaves the pages as if clean: what was written is not on the medium and will not be by the next sync. */
void disk_set_faults(struct disk *, const struct disk_faults *);
struct disk_figures { uint64_t writes, syncs, bytes_written, bytes_lost, faults; };
struct disk_figures disk_figures(const struct disk *);

/* ---- for tests without a kernel ---- */
struct file_ops disk_ops(struct disk *);                /* calls count: see disk_plan */
/* The n-th call (of any kind) fails once with -error; from the stop_at-th on all fail as if the power were off. 0: never. */
void disk_plan(struct disk *, uint64_t fail_at, int error, uint64_t stop_at);
uint64_t disk_calls(const struct disk *);
const char *disk_failed_call(const struct disk *);      /* of the plan; NULL */

/* SQLite on this disk: the default VFS from now on (sim/vfs.c). `current` gives the disk that an open means. */
void disk_vfs_install(struct disk *(*current)(void));

#endif
