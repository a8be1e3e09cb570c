/* What the two halves of SQLite's side share: vfs.c has files, vfs_lock.c has locks and shared memory. */
#ifndef THURN_SIM_VFS_INNER_H
#define THURN_SIM_VFS_INNER_H

#include "sim/disk.h"

#include <sqlite3.h>

enum { VFS_REGIONS_MAX = 64 };          /* of the index of a write-ahead log, 32 KiB each: 4 GB of log */

struct vfs_handle;

struct vfs_inode {                      /* what the handles of one file share */
    struct vfs_inode *next;
    const struct disk *disk;
    uint64_t number, cuts;              /* the file's, and how often the power went before */
    unsigned references;
    unsigned shared;                    /* handles at SQLITE_LOCK_SHARED or above */
    const struct vfs_handle *reserved, *pending, *exclusive;
    unsigned shm_references;
    void *regions[VFS_REGIONS_MAX];
    unsigned shm_shared[SQLITE_SHM_NLOCK];
    const struct vfs_handle *shm_exclusive[SQLITE_SHM_NLOCK];
};

struct vfs_handle {                     /* lives in the simulator's memory: the process may be gone before it */
    struct vfs_handle *next, **link;
    struct disk_file *file;
    struct vfs_inode *inode;
    struct disk *disk;
    const void *owner;
    char *path;
    int level;                          /* SQLITE_LOCK_... */
    bool has_shm, deletes, syncs_folder;
    unsigned shm_shared, shm_exclusive; /* bits of what it holds */
};

struct vfs_file {                       /* in SQLite's memory */
    sqlite3_file base;
    struct vfs_handle *handle;
};

static inline struct vfs_handle *vfs_handle_of(sqlite3_file *file) { return ((struct vfs_file *)(void *)file)->handle; }

struct vfs_inode *vfs_inode_get(struct disk *, uint64_t number, uint64_t cuts);
void vfs_inode_unref(struct vfs_inode *);
int vfs_lock(sqlite3_file *, int level);
int vfs_unlock(sqlite3_file *, int level);
int vfs_check_reserved(sqlite3_file *, int *is_reserved);
int vfs_shm_map(sqlite3_file *, int region, int bytes, int extend, void volatile **);
int vfs_shm_lock(sqlite3_file *, int offset, int count, int flags);
void vfs_shm_barrier(sqlite3_file *);
int vfs_shm_unmap(sqlite3_file *, int deletes);
/* All that the handle holds. */
void vfs_let_go(struct vfs_handle *);

#endif
