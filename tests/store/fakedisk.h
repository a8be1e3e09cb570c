/* A disk in memory that can be stopped, failed and torn (os/file.h).
 *
 * Every file has the bytes that the system shows and the bytes that are on the medium; names too. A sync moves the one to
 * the other. fake_crash leaves what is on the medium and, by chance, parts of what was not synced: sectors of 512 bytes in
 * any order, and a prefix of the changes of names. The call number `fail_at` fails once with `fail_with`; from call number
 * `stop_at` on every call fails, as if the power were off. */
#ifndef THURN_TEST_STORE_FAKEDISK_H
#define THURN_TEST_STORE_FAKEDISK_H

#include "os/file.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_FILES = 256, FAKE_NAME = 200, FAKE_SECTOR = 512, FAKE_FDS = 512, FAKE_JOURNAL = 512 };

struct fake_inode {
    char *shown, *medium;
    size_t shown_size, medium_size, cap;
    unsigned char *dirty;               /* by sector */
    bool is_used;
};

struct fake_name {
    char path[FAKE_NAME];
    int inode;                          /* -1: none */
};

struct fake_change {                    /* of a name, not synced: this path is that inode now */
    char path[FAKE_NAME];
    int inode;
};

struct fake_disk {
    pthread_mutex_t lock;
    struct fake_inode inodes[FAKE_FILES];
    struct fake_name shown[FAKE_FILES], medium[FAKE_FILES];
    size_t shown_count, medium_count;
    struct fake_change journal[FAKE_JOURNAL];
    size_t journal_count;
    int fds[FAKE_FDS];                  /* inode + 1 */
    uint64_t calls, fail_at, stop_at;
    int fail_with;
    bool fails_keep_data;               /* a failing sync leaves its pages as if clean: what was written is not retried */
    int64_t free_bytes;
    bool is_full;                       /* nothing can be allocated */
    bool has_failed, is_stopped, makes_short_writes;
    char failed_call[16];
    uint64_t random;
};

static inline uint64_t fake_random(struct fake_disk *d)
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return d->random;
}

/* Counts a call; 0 or what it fails with. */
static inline int fake_call(struct fake_disk *d, const char *what)
{
    pthread_mutex_lock(&d->lock);
    d->calls++;
    int error = 0;
    if (d->stop_at != 0 && d->calls >= d->stop_at) {
        if (!d->is_stopped)
            snprintf(d->failed_call, sizeof d->failed_call, "%s", what);
        d->is_stopped = true;
        error = -EIO;
    } else if (d->calls == d->fail_at) {
        snprintf(d->failed_call, sizeof d->failed_call, "%s", what);
        d->has_failed = true;
        error = d->fail_with;
    }
    if (error < 0)
        pthread_mutex_unlock(&d->lock);
    return error;
}

static inline int fake_done(struct fake_disk *d, int result)
{
    pthread_mutex_unlock(&d->lock);
    return result;
}

static inline int fake_lookup(const struct fake_name *names, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].inode >= 0 && strcmp(names[i].path, path) == 0)
            return (int)i;
    return -1;
}

static inline void fake_set_name(struct fake_name *names, size_t *count, const char *path, int inode)
{
    int at = fake_lookup(names, *count, path);
    for (size_t i = 0; at < 0 && i < *count; i++)
        if (names[i].inode < 0)
            at = (int)i;
    if (at < 0)
        at = (int)(*count)++;
    snprintf(names[at].path, FAKE_NAME, "%s", path);
    names[at].inode = inode;
}

static inline void fake_change_name(struct fake_disk *d, const char *path, int inode)
{
    fake_set_name(d->shown, &d->shown_count, path, inode);
    if (d->journal_count == FAKE_JOURNAL)
        abort();
    struct fake_change *c = &d->journal[d->journal_count++];
    snprintf(c->path, FAKE_NAME, "%s", path);
    c->inode = inode;
}

static inline void fake_grow(struct fake_inode *n, size_t size)
{
    if (size <= n->cap)
        return;
    size_t cap = (size + 65535) / 65536 * 65536;
    n->shown = realloc(n->shown, cap);
    n->medium = realloc(n->medium, cap);
    n->dirty = realloc(n->dirty, cap / FAKE_SECTOR);
    memset(n->shown + n->cap, 0, cap - n->cap);
    memset(n->medium + n->cap, 0, cap - n->cap);
    memset(n->dirty + n->cap / FAKE_SECTOR, 0, (cap - n->cap) / FAKE_SECTOR);
    n->cap = cap;
}

static inline int fake_open(void *self, const char *path, bool create, bool read_only)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "open");
    (void)read_only;
    if (error < 0)
        return error;
    int name = fake_lookup(d->shown, d->shown_count, path), inode = name < 0 ? -1 : d->shown[name].inode;
    if (inode < 0 && !create)
        return fake_done(d, -ENOENT);
    if (inode < 0) {
        for (inode = 0; d->inodes[inode].is_used; inode++)
            if (inode == FAKE_FILES - 1)
                abort();
        d->inodes[inode].is_used = true;
        fake_change_name(d, path, inode);
    }
    int fd = 0;
    while (d->fds[fd] != 0)
        if (++fd == FAKE_FDS)
            abort();
    d->fds[fd] = inode + 1;
    return fake_done(d, fd + 1000);
}

static inline struct fake_inode *fake_inode_of(struct fake_disk *d, int fd)
{
    if (fd < 1000 || fd >= 1000 + FAKE_FDS || d->fds[fd - 1000] == 0)
        abort();
    return &d->inodes[d->fds[fd - 1000] - 1];
}

static inline int fake_make_dir(void *self, const char *path)
{
    (void)path;
    int error = fake_call(self, "make_dir");
    return error < 0 ? error : fake_done(self, 0);
}

static inline int fake_close(void *self, int fd)
{
    struct fake_disk *d = self;
    pthread_mutex_lock(&d->lock);
    (void)fake_inode_of(d, fd);
    d->fds[fd - 1000] = 0;
    return fake_done(d, 0);
}

static inline int64_t fake_read_at(void *self, int fd, void *data, size_t len, uint64_t offset)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "read");
    if (error < 0)
        return error;
    struct fake_inode *n = fake_inode_of(d, fd);
    size_t left = offset >= n->shown_size ? 0 : n->shown_size - (size_t)offset;
    size_t got = left < len ? left : len;
    if (got > 0)
        memcpy(data, n->shown + offset, got);
    fake_done(d, 0);
    return (int64_t)got;
}

static inline int64_t fake_write_at(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
    struct fake_disk *d = self;
    pthread_mutex_lock(&d->lock);
    bool is_torn = d->calls + 1 == d->fail_at || (d->stop_at != 0 && d->calls + 1 == d->stop_at);
    pthread_mutex_unlock(&d->lock);
    int error = is_torn ? 0 : fake_call(d, "write");
    if (error < 0)
        return error;
    if (is_torn)
        pthread_mutex_lock(&d->lock);
    if (d->makes_short_writes && len > 100 && fake_random(d) % 4 == 0)
        len = len / 2;
    if (is_torn)
        len = len > 1 ? fake_random(d) % len : 0;       /* a part is written all the same */
    struct fake_inode *n = fake_inode_of(d, fd);
    fake_grow(n, (size_t)offset + len);
    memcpy(n->shown + offset, data, len);
    for (size_t s = (size_t)offset / FAKE_SECTOR; len > 0 && s <= ((size_t)offset + len - 1) / FAKE_SECTOR; s++)
        n->dirty[s] = 1;
    if (offset + len > n->shown_size)
        n->shown_size = (size_t)offset + len;
    fake_done(d, 0);
    if (is_torn)
        return (error = fake_call(d, "write")) < 0 ? error : (fake_done(d, 0), -EIO);
    return (int64_t)len;
}

static inline void fake_settle(struct fake_inode *n, bool all, struct fake_disk *d)
{
    for (size_t s = 0; s < n->cap / FAKE_SECTOR; s++) {
        if (!n->dirty[s] || (!all && fake_random(d) % 2 == 0))
            continue;
        memcpy(n->medium + s * FAKE_SECTOR, n->shown + s * FAKE_SECTOR, FAKE_SECTOR);
    }
    if (n->cap > 0)
        memset(n->dirty, 0, n->cap / FAKE_SECTOR);
    n->medium_size = n->shown_size;
}

static inline int fake_sync(void *self, int fd)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "sync");
    if (error < 0) {
        pthread_mutex_lock(&d->lock);
        struct fake_inode *failed = fake_inode_of(d, fd);
        if (failed->cap > 0 && !d->is_stopped)          /* the pages are clean now, and not on the medium */
            memset(failed->dirty, 0, failed->cap / FAKE_SECTOR);
        return fake_done(d, error);
    }
    fake_settle(fake_inode_of(d, fd), true, d);
    return fake_done(d, 0);
}

static inline int fake_allocate(void *self, int fd, uint64_t size)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "allocate");
    if (error < 0)
        return error;
    if (d->is_full)
        return fake_done(d, -ENOSPC);
    struct fake_inode *n = fake_inode_of(d, fd);
    fake_grow(n, (size_t)size);
    if (size > n->shown_size)
        n->shown_size = (size_t)size;
    return fake_done(d, 0);
}

static inline int fake_truncate(void *self, int fd, uint64_t size)
{
    (void)self, (void)fd, (void)size;
    abort();
}

static inline int64_t fake_size(void *self, int fd)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "size");
    if (error < 0)
        return error;
    int64_t size = (int64_t)fake_inode_of(d, fd)->shown_size;
    fake_done(d, 0);
    return size;
}

static inline int fake_rename(void *self, const char *from, const char *to)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "rename");
    if (error < 0)
        return error;
    int name = fake_lookup(d->shown, d->shown_count, from);
    if (name < 0)
        return fake_done(d, -ENOENT);
    int inode = d->shown[name].inode;
    /* One change on the medium, though it is two entries here: the journal keeps them together. */
    fake_change_name(d, to, inode);
    fake_change_name(d, from, -1);
    return fake_done(d, 0);
}

static inline int fake_unlink(void *self, const char *path)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "unlink");
    if (error < 0)
        return error;
    if (fake_lookup(d->shown, d->shown_count, path) < 0)
        return fake_done(d, -ENOENT);
    fake_change_name(d, path, -1);
    return fake_done(d, 0);
}

static inline void fake_settle_names(struct fake_disk *d, size_t changes)
{
    for (size_t i = 0; i < changes; i++)
        fake_set_name(d->medium, &d->medium_count, d->journal[i].path, d->journal[i].inode);
    d->journal_count = 0;
}

static inline int fake_sync_dir(void *self, const char *path)
{
    struct fake_disk *d = self;
    (void)path;
    int error = fake_call(d, "sync_dir");
    if (error < 0)
        return error;
    fake_settle_names(d, d->journal_count);
    return fake_done(d, 0);
}

static inline int fake_list(void *self, const char *dir, void (*each)(void *arg, const char *name), void *arg)
{
    struct fake_disk *d = self;
    int error = fake_call(d, "list");
    if (error < 0)
        return error;
    size_t len = strlen(dir);
    for (size_t i = 0; i < d->shown_count; i++)
        if (d->shown[i].inode >= 0 && strncmp(d->shown[i].path, dir, len) == 0 && d->shown[i].path[len] == '/'
            && strchr(d->shown[i].path + len + 1, '/') == NULL)
            each(arg, d->shown[i].path + len + 1);
    return fake_done(d, 0);
}

static inline int fake_lock(void *self, int fd)
{
    (void)fd;
    int error = fake_call(self, "lock");
    return error < 0 ? error : fake_done(self, 0);
}

static inline int64_t fake_free_bytes(void *self, const char *path)
{
    struct fake_disk *d = self;
    (void)path;
    pthread_mutex_lock(&d->lock);
    int64_t bytes = d->free_bytes;
    pthread_mutex_unlock(&d->lock);
    return bytes;
}

static inline struct file_ops fake_ops(struct fake_disk *d)
{
    return (struct file_ops){
        .self = d, .open = fake_open, .make_dir = fake_make_dir, .close = fake_close, .read_at = fake_read_at,
        .write_at = fake_write_at, .sync = fake_sync, .allocate = fake_allocate, .truncate = fake_truncate, .size = fake_size,
        .rename = fake_rename, .unlink = fake_unlink, .sync_dir = fake_sync_dir, .list = fake_list, .lock = fake_lock,
        .free_bytes = fake_free_bytes,
    };
}

static inline struct fake_disk *fake_new(uint64_t seed)
{
    struct fake_disk *d = calloc(1, sizeof *d);
    if (d == NULL)
        abort();
    pthread_mutex_init(&d->lock, NULL);
    d->random = seed * 0x9e3779b97f4a7c15u + 1;
    d->free_bytes = INT64_MAX / 4;
    return d;
}

static inline void fake_free(struct fake_disk *d)
{
    for (size_t i = 0; i < FAKE_FILES; i++) {
        free(d->inodes[i].shown);
        free(d->inodes[i].medium);
        free(d->inodes[i].dirty);
    }
    pthread_mutex_destroy(&d->lock);
    free(d);
}

enum fake_loss { FAKE_LOSE_ALL, FAKE_LOSE_SOME, FAKE_LOSE_NOTHING };

/* The power comes back. Everything must have been closed. A rename is two changes in the journal and is not torn. */
static inline void fake_crash(struct fake_disk *d, enum fake_loss loss)
{
    size_t changes = d->journal_count;
    if (loss == FAKE_LOSE_ALL)
        changes = 0;
    else if (loss == FAKE_LOSE_SOME && changes > 0)
        changes = fake_random(d) % (changes + 1);
    if (changes > 0 && changes < d->journal_count && d->journal[changes].inode == -1
        && d->journal[changes - 1].inode >= 0)
        changes++;
    fake_settle_names(d, changes);
    memcpy(d->shown, d->medium, sizeof d->shown);
    d->shown_count = d->medium_count;
    for (size_t i = 0; i < FAKE_FILES; i++) {
        struct fake_inode *n = &d->inodes[i];
        if (!n->is_used)
            continue;
        if (loss != FAKE_LOSE_ALL)
            fake_settle(n, loss == FAKE_LOSE_NOTHING, d);
        else if (n->cap > 0)
            memset(n->dirty, 0, n->cap / FAKE_SECTOR);
        n->shown_size = n->medium_size;
        if (n->cap > 0)
            memcpy(n->shown, n->medium, n->cap);
        bool has_name = false;
        for (size_t k = 0; k < d->shown_count; k++)
            has_name = has_name || d->shown[k].inode == (int)i;
        if (!has_name) {
            free(n->shown);
            free(n->medium);
            free(n->dirty);
            *n = (struct fake_inode){ 0 };
        }
    }
    d->stop_at = d->fail_at = 0;
    d->is_stopped = d->has_failed = false;
    d->calls = 0;
}

#endif
