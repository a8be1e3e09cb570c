/* Locks and shared memory of SQLite's files on simulated disks: as SQLite's own VFS for Unix has them (sqlite.org/lockingv3.html,
 * sqlite.org/walformat.html 2.3), between handles instead of processes. The index of a write-ahead log is heap: it goes with its
 * last user, and with the power. */
#include "sim/vfs_inner.h"

#include "sim/disk_inner.h"

#include <string.h>

static struct vfs_inode *inodes;

struct vfs_inode *vfs_inode_get(struct disk *disk, uint64_t number, uint64_t cuts)
{
    struct vfs_inode *i = inodes;
    while (i != NULL && (i->disk != disk || i->number != number || i->cuts != cuts))
        i = i->next;
    if (i == NULL) {
        i = disk_take(sizeof *i);
        *i = (struct vfs_inode){ .next = inodes, .disk = disk, .number = number, .cuts = cuts };
        inodes = i;
    }
    i->references++;
    return i;
}

void vfs_inode_unref(struct vfs_inode *i)
{
    if (--i->references > 0)
        return;
    struct vfs_inode **at = &inodes;
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    disk_give(i);
}

/* ---- the file's lock ---- */

static bool is_other(const struct vfs_handle *holder, const struct vfs_handle *h) { return holder != NULL && holder != h; }

int vfs_lock(sqlite3_file *file, int level)
{
    struct vfs_handle *h = vfs_handle_of(file);
    struct vfs_inode *i = h->inode;
    if (h->level >= level)
        return SQLITE_OK;
    if (is_other(i->pending, h) || is_other(i->exclusive, h))
        return SQLITE_BUSY;
    if (level == SQLITE_LOCK_SHARED) {
        i->shared++;
    } else if (level == SQLITE_LOCK_RESERVED) {
        if (is_other(i->reserved, h))
            return SQLITE_BUSY;
        i->reserved = h;
    } else {
        if (is_other(i->reserved, h))
            return SQLITE_BUSY;
        i->pending = h;
        h->level = SQLITE_LOCK_PENDING;
        if (level == SQLITE_LOCK_EXCLUSIVE && i->shared > 1)
            return SQLITE_BUSY;
        i->exclusive = level == SQLITE_LOCK_EXCLUSIVE ? h : NULL;
    }
    h->level = level;
    return SQLITE_OK;
}

int vfs_unlock(sqlite3_file *file, int level)
{
    struct vfs_handle *h = vfs_handle_of(file);
    struct vfs_inode *i = h->inode;
    if (h->level <= level)
        return SQLITE_OK;
    i->reserved = i->reserved == h ? NULL : i->reserved;
    i->pending = i->pending == h ? NULL : i->pending;
    i->exclusive = i->exclusive == h ? NULL : i->exclusive;
    if (level == SQLITE_LOCK_NONE && h->level >= SQLITE_LOCK_SHARED)
        i->shared--;
    h->level = level;
    return SQLITE_OK;
}

int vfs_check_reserved(sqlite3_file *file, int *is_reserved)
{
    const struct vfs_inode *i = vfs_handle_of(file)->inode;
    *is_reserved = i->reserved != NULL || i->pending != NULL || i->exclusive != NULL;
    return SQLITE_OK;
}

/* ---- shared memory ---- */

int vfs_shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    struct vfs_handle *h = vfs_handle_of(file);
    struct vfs_inode *i = h->inode;
    *out = NULL;
    if (region >= VFS_REGIONS_MAX)
        return SQLITE_IOERR_SHMSIZE;
    if (h->file->node == NULL)
        return SQLITE_IOERR_SHMMAP;     /* the power is gone, and the memory with it */
    if (!h->has_shm) {
        h->has_shm = true;
        i->shm_references++;
    }
    if (i->regions[region] == NULL && extend)
        i->regions[region] = disk_take((size_t)bytes);
    *out = i->regions[region];
    return SQLITE_OK;
}

static int take_shared(struct vfs_handle *h, int offset)
{
    struct vfs_inode *i = h->inode;
    if (h->shm_shared & 1u << offset)
        return SQLITE_OK;
    if (i->shm_exclusive[offset] != NULL)
        return SQLITE_BUSY;
    i->shm_shared[offset]++;
    h->shm_shared |= 1u << offset;
    return SQLITE_OK;
}

static int take_exclusive(struct vfs_handle *h, int offset, int count)
{
    struct vfs_inode *i = h->inode;
    for (int at = offset; at < offset + count; at++)
        if (is_other(i->shm_exclusive[at], h) || i->shm_shared[at] > (h->shm_shared >> at & 1))
            return SQLITE_BUSY;
    for (int at = offset; at < offset + count; at++) {
        i->shm_exclusive[at] = h;
        h->shm_exclusive |= 1u << at;
    }
    return SQLITE_OK;
}

static void release(struct vfs_handle *h, int at)
{
    if (h->shm_shared & 1u << at)
        h->inode->shm_shared[at]--;
    if (h->shm_exclusive & 1u << at)
        h->inode->shm_exclusive[at] = NULL;
    h->shm_shared &= ~(1u << at);
    h->shm_exclusive &= ~(1u << at);
}

int vfs_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    struct vfs_handle *h = vfs_handle_of(file);
    if (flags & SQLITE_SHM_LOCK && flags & SQLITE_SHM_SHARED)
        return take_shared(h, offset);
    if (flags & SQLITE_SHM_LOCK)
        return take_exclusive(h, offset, count);
    for (int at = offset; at < offset + count; at++)
        release(h, at);
    return SQLITE_OK;
}

void vfs_shm_barrier(sqlite3_file *file) { (void)file; }

static void leave_shm(struct vfs_handle *h)
{
    if (!h->has_shm)
        return;
    for (int at = 0; at < SQLITE_SHM_NLOCK; at++)
        release(h, at);
    h->has_shm = false;
    if (--h->inode->shm_references > 0)
        return;
    for (size_t r = 0; r < VFS_REGIONS_MAX; r++) {
        disk_give(h->inode->regions[r]);
        h->inode->regions[r] = NULL;
    }
}

int vfs_shm_unmap(sqlite3_file *file, int deletes)
{
    (void)deletes;
    leave_shm(vfs_handle_of(file));
    return SQLITE_OK;
}

void vfs_let_go(struct vfs_handle *h)
{
    leave_shm(h);
    struct vfs_file file = { .handle = h };
    vfs_unlock(&file.base, SQLITE_LOCK_NONE);
    vfs_inode_unref(h->inode);
    h->inode = NULL;
}
