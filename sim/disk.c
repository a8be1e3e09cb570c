/* The disk's calls: open, read, write, sync, names; what fails; the power. See disk.h.
 *
 * disk_names.c has the folders, disk_pages.c the bytes of files, disk_ops.c the same as file_ops, vfs.c SQLite's side. */
#include "sim/disk_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

static void *resize_by_system(void *block, size_t bytes)
{
    if (bytes > 0)
        return realloc(block, bytes);
    free(block);
    return NULL;
}

static void *(*resize)(void *, size_t) = resize_by_system;

void disk_set_memory(void *(*to)(void *, size_t)) { resize = to; }

void *disk_grow(void *block, size_t bytes)
{
    void *got = resize(block, bytes);
    if (got == NULL)
        abort();
    return got;
}

void *disk_take(size_t bytes) { return memset(disk_grow(NULL, bytes == 0 ? 1 : bytes), 0, bytes); }

void disk_give(void *block)
{
    if (block != NULL)
        resize(block, 0);
}

void disk_enter(struct disk *d)
{
    if (d->is_locked)
        pthread_mutex_lock(&d->lock);
}

void disk_leave(struct disk *d)
{
    if (d->is_locked)
        pthread_mutex_unlock(&d->lock);
}

/* Leaves with a result. */
static int left(struct disk *d, int result)
{
    disk_leave(d);
    return result;
}

uint64_t disk_random(struct disk *d)
{
    uint64_t x = d->random += 0x9e3779b97f4a7c15u;      /* splitmix64 */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

int64_t disk_now(struct disk *d) { return d->now_us != NULL ? d->now_us(d->clock_arg) : (int64_t)++d->ticks * 1000000; }

/* ---- the disk ---- */

struct disk *disk_new(uint64_t seed, uint64_t capacity, bool locked)
{
    struct disk *d = disk_take(sizeof *d);
    pthread_mutex_init(&d->lock, NULL);
    d->is_locked = locked;
    d->random = seed;
    d->capacity = capacity;
    d->root = disk_node_new(d, true, 0755);
    return d;
}

void disk_free(struct disk *d)
{
    if (d == NULL)
        return;
    if (d->open_files != NULL)
        abort();
    undo_crash(d, DISK_LOSE_NOTHING);
    disk_node_unref(d, d->root);
    disk_give(d->buckets);
    disk_give(d->undo);
    disk_give(d->fds);
    pthread_mutex_destroy(&d->lock);
    disk_give(d);
}

static void clone_folder(struct disk *to, struct node *into, const struct node *from)
{
    char bytes[PAGE_BYTES];
    for (const struct entry *e = from->entries; e != NULL; e = e->next) {
        struct node *n = disk_node_new(to, e->node->is_folder, e->node->mode);
        entry_set(to, into, e->name, strlen(e->name), n);
        disk_node_unref(to, n);
        if (n->is_folder) {
            clone_folder(to, n, e->node);
            continue;
        }
        for (size_t at = 0; at < e->node->page_count; at++) {
            if (e->node->pages[at] == &disk_reserved)
                pages_reserve(to, n, (uint64_t)at * PAGE_BYTES, PAGE_BYTES);
            else if (e->node->pages[at] != NULL)
                pages_write(to, n, bytes, pages_read(e->node, bytes, PAGE_BYTES, (uint64_t)at * PAGE_BYTES), (uint64_t)at * PAGE_BYTES);
        }
        pages_truncate(to, n, e->node->size);
        pages_settle(n);
    }
}

struct disk *disk_clone(struct disk *d, uint64_t seed)
{
    disk_enter(d);
    struct disk *to = disk_new(seed, d->capacity, d->is_locked);
    clone_folder(to, to->root, d->root);
    disk_leave(d);
    return to;
}

uint64_t disk_free_bytes(struct disk *d)
{
    disk_enter(d);
    uint64_t bytes = d->capacity == 0 ? INT64_MAX / 4 : d->used < d->capacity ? d->capacity - d->used : 0;
    disk_leave(d);
    return bytes;
}

void disk_set_capacity(struct disk *d, uint64_t bytes)
{
    disk_enter(d);
    d->capacity = bytes;
    disk_leave(d);
}

void disk_set_clock(struct disk *d, int64_t (*now_us)(void *arg), void *arg)
{
    d->now_us = now_us;
    d->clock_arg = arg;
}

/* ---- what fails ---- */

void disk_set_faults(struct disk *d, const struct disk_faults *faults)
{
    disk_enter(d);
    d->faults = *faults;
    disk_leave(d);
}

void disk_plan(struct disk *d, uint64_t fail_at, int error, uint64_t stop_at)
{
    disk_enter(d);
    d->fail_at = fail_at;
    d->fail_with = error;
    d->stop_at = stop_at;
    d->failed_call = NULL;
    disk_leave(d);
}

uint64_t disk_calls(struct disk *d) { return disk_figures(d).calls; }

const char *disk_failed_call(struct disk *d)
{
    disk_enter(d);
    const char *call = d->failed_call;
    disk_leave(d);
    return call;
}

struct disk_figures disk_figures(struct disk *d)
{
    disk_enter(d);
    struct disk_figures figures = d->figures;
    disk_leave(d);
    return figures;
}

static bool is_stopped(const struct disk *d) { return d->stop_at != 0 && d->figures.calls > d->stop_at; }

int disk_call(struct disk *d, const char *call, const char *path)
{
    d->figures.calls++;
    int error = 0;
    if (d->stop_at != 0 && d->figures.calls >= d->stop_at)
        error = -EIO;
    else if (d->figures.calls == d->fail_at)
        error = d->fail_with;
    if (error < 0 && d->failed_call == NULL)
        d->failed_call = call;
    if (error == 0 && d->faults.fail != NULL)
        error = d->faults.fail(d->faults.arg, call, path);
    d->figures.faults += error < 0;
    return error;
}

void disk_power_cut(struct disk *d, enum disk_loss loss)
{
    disk_enter(d);
    for (struct disk_file *f = d->open_files; f != NULL; f = f->next) {
        if (f->node == NULL)
            continue;
        f->node->exclusive = NULL;
        f->node->shared = 0;
        f->node->opens--;
        disk_node_unref(d, f->node);
        f->node = NULL;
    }
    while (d->changed != NULL)
        pages_crash(d, d->changed, loss);
    undo_crash(d, loss);
    d->fail_at = d->stop_at = 0;
    d->cuts++;
    disk_leave(d);
}

int disk_flip(struct disk *d, const char *path, uint64_t offset, unsigned bit)
{
    struct node *n;
    disk_enter(d);
    int error = path_find(d, path, &n);
    if (error == 0 && (n->is_folder || offset >= n->size))
        error = -EINVAL;
    if (error == 0)
        pages_flip(d, n, offset, bit);
    return left(d, error);
}

/* ---- opening ---- */

static int make_file(struct disk *d, struct node *folder, const char *name, size_t len, unsigned mode, struct node **out)
{
    char last[256];
    if (len >= sizeof last)
        return -ENAMETOOLONG;
    memcpy(last, name, len);
    last[len] = '\0';
    struct node *n = *out = disk_node_new(d, false, mode);
    undo_add(d, &(struct undo_name){ folder, NULL, last }, NULL);
    entry_set(d, folder, last, len, n);
    disk_node_unref(d, n);
    return 0;
}

static int find_or_make(struct disk *d, const char *path, int flags, unsigned mode, struct node **out)
{
    const char *name;
    size_t len;
    int error = path_walk(d, path, out, &name, &len);
    if (error < 0 || name == NULL)
        return error;
    struct node *folder = *out;
    struct entry *e = entry_find(d, folder, name, len);
    if (e == NULL && !(flags & O_CREAT))
        return -ENOENT;
    if (e == NULL)
        return make_file(d, folder, name, len, mode, out);
    *out = e->node;
    return flags & O_CREAT && flags & O_EXCL ? -EEXIST : 0;
}

static struct disk_file *new_file(struct disk *d, struct node *n, const char *path, int flags)
{
    struct disk_file *f = disk_take(sizeof *f);
    *f = (struct disk_file){ .disk = d, .node = n, .next = d->open_files, .link = &d->open_files, .flags = flags };
    f->path = strcpy(disk_take(strlen(path) + 1), path);
    if (f->next != NULL)
        f->next->link = &f->next;
    d->open_files = f;
    n->references++;
    n->opens++;
    return f;
}

int disk_open(struct disk *d, const char *path, int flags, unsigned mode, struct disk_file **out)
{
    struct node *n = NULL;
    disk_enter(d);
    int error = disk_call(d, "open", path);
    if (error == 0)
        error = find_or_make(d, path, flags, mode, &n);
    if (error == 0 && n->is_folder && (flags & O_ACCMODE) != O_RDONLY)
        error = -EISDIR;
    if (error == 0 && !n->is_folder && flags & O_DIRECTORY)
        error = -ENOTDIR;
    if (error < 0)
        return left(d, error);
    *out = new_file(d, n, path, flags);
    if (flags & O_TRUNC && !n->is_folder && n->size > 0)
        pages_truncate(d, n, 0);
    return left(d, 0);
}

static void unlock(struct disk_file *f)
{
    if (f->locked == LOCK_SH)
        f->node->shared--;
    if (f->locked == LOCK_EX)
        f->node->exclusive = NULL;
    f->locked = 0;
}

void disk_close(struct disk_file *f)
{
    struct disk *d = f->disk;
    disk_enter(d);
    if (f->node != NULL) {
        unlock(f);
        f->node->opens--;
        disk_node_unref(d, f->node);
    }
    *f->link = f->next;
    if (f->next != NULL)
        f->next->link = f->link;
    disk_give(f->path);
    disk_give(f);
    disk_leave(d);
}

/* ---- reading and writing ---- */

/* 0, or what a call of an open file fails with. */
static int enter_file(struct disk_file *f, const char *call)
{
    disk_enter(f->disk);
    int error = disk_call(f->disk, call, f->path);
    return error < 0 ? error : f->node == NULL ? -EIO : 0;
}

int64_t disk_read(struct disk_file *f, void *data, size_t len, uint64_t offset)
{
    int64_t result = enter_file(f, "read");
    if (result == 0 && f->node->is_folder)
        result = -EISDIR;
    if (result == 0 && (f->flags & O_ACCMODE) == O_WRONLY)
        result = -EBADF;
    if (result == 0)
        result = (int64_t)pages_read(f->node, data, len, offset);
    disk_leave(f->disk);
    return result;
}

/* Of a write that fails a part may be done. */
static void tear(struct disk_file *f, const char *data, size_t len, uint64_t offset)
{
    struct disk *d = f->disk;
    bool is_planned = d->figures.calls == d->fail_at || d->figures.calls == d->stop_at;
    if (f->node == NULL || len < 2 || is_stopped(d))
        return;
    if (is_planned || (d->faults.tear != NULL && d->faults.tear(d->faults.arg, f->path)))
        pages_write(d, f->node, data, (size_t)(disk_random(d) % len), offset);
}

int64_t disk_write(struct disk_file *f, const void *data, size_t len, uint64_t offset)
{
    struct disk *d = f->disk;
    int error = enter_file(f, "write");
    if (f->node != NULL && f->flags & O_APPEND)
        offset = f->node->size;
    if (f->node != NULL && (f->node->is_folder || (f->flags & O_ACCMODE) == O_RDONLY))
        return left(d, -EBADF);
    if (error < 0) {
        tear(f, data, len, offset);
        return left(d, error);
    }
    if (d->faults.shorten != NULL && len > 1) {
        size_t shorter = d->faults.shorten(d->faults.arg, f->path, len);
        len = shorter > 0 && shorter < len ? shorter : len;
    }
    size_t done = pages_write(d, f->node, data, len, offset);
    f->node->changed_us = disk_now(d);
    d->figures.writes++;
    d->figures.bytes_written += done;
    disk_leave(d);
    return done == 0 && len > 0 ? -ENOSPC : (int64_t)done;
}

int disk_sync(struct disk_file *f)
{
    struct disk *d = f->disk;
    disk_enter(d);
    bool is_folder = f->node != NULL && f->node->is_folder;
    int error = disk_call(d, is_folder ? "sync_dir" : "sync", f->path);
    if (error < 0 && f->node != NULL && !is_folder && d->figures.calls != d->stop_at && !is_stopped(d))
        pages_give_up(f->node);
    if (error == 0 && f->node == NULL)
        error = -EIO;
    if (error == 0 && is_folder)
        undo_settle(d, f->node);
    else if (error == 0)
        pages_settle(f->node);
    d->figures.syncs += error == 0;
    return left(d, error);
}

int disk_allocate(struct disk_file *f, uint64_t offset, uint64_t len)
{
    int error = enter_file(f, "allocate");
    if (error == 0 && (f->node->is_folder || (f->flags & O_ACCMODE) == O_RDONLY))
        error = -EBADF;
    if (error == 0 && !pages_reserve(f->disk, f->node, offset, len))
        error = -ENOSPC;
    return left(f->disk, error);
}

int disk_truncate(struct disk_file *f, uint64_t size)
{
    int error = enter_file(f, "truncate");
    if (error == 0 && (f->node->is_folder || (f->flags & O_ACCMODE) == O_RDONLY))
        error = -EINVAL;
    if (error == 0) {
        pages_truncate(f->disk, f->node, size);
        f->node->changed_us = disk_now(f->disk);
    }
    return left(f->disk, error);
}

int disk_lock(struct disk_file *f, int operation)
{
    int error = enter_file(f, "lock"), want = operation & ~LOCK_NB;
    if (error < 0)
        return left(f->disk, error);
    struct node *n = f->node;
    if (want != LOCK_UN && n->exclusive != NULL && n->exclusive != f)
        return left(f->disk, -EWOULDBLOCK);
    if (want == LOCK_EX && n->shared > (f->locked == LOCK_SH ? 1u : 0u))
        return left(f->disk, -EWOULDBLOCK);
    unlock(f);
    if (want == LOCK_EX)
        n->exclusive = f;
    if (want == LOCK_SH)
        n->shared++;
    f->locked = want == LOCK_UN ? 0 : want;
    return left(f->disk, 0);
}

static void show(const struct node *n, struct stat *st)
{
    *st = (struct stat){
        .st_ino = n->number, .st_nlink = n->links, .st_mode = (n->is_folder ? S_IFDIR : S_IFREG) | n->mode, .st_size = (off_t)n->size,
        .st_blksize = PAGE_BYTES, .st_blocks = (blkcnt_t)(n->counted * (PAGE_BYTES / 512)), .st_dev = 1,
    };
    st->st_mtim = (struct timespec){ n->changed_us / 1000000, n->changed_us % 1000000 * 1000 };
    st->st_ctim = st->st_atim = st->st_mtim;
}

int disk_fstat(struct disk_file *f, struct stat *st)
{
    int error = enter_file(f, "stat");
    if (error == 0)
        show(f->node, st);
    return left(f->disk, error);
}

/* ---- names ---- */

int disk_stat(struct disk *d, const char *path, struct stat *st)
{
    struct node *n;
    disk_enter(d);
    int error = disk_call(d, "stat", path);
    if (error == 0 && (error = path_find(d, path, &n)) == 0)
        show(n, st);
    return left(d, error);
}

struct place {                          /* a path, looked up */
    struct node *folder;
    struct entry *entry;                /* NULL: no such name */
    char name[256];
    size_t len;
};

static int look_up(struct disk *d, const char *path, struct place *out)
{
    const char *name;
    int error = path_walk(d, path, &out->folder, &name, &out->len);
    if (error < 0)
        return error;
    if (name == NULL)
        return -EBUSY;                  /* the root */
    if (out->len >= sizeof out->name)
        return -ENAMETOOLONG;
    memcpy(out->name, name, out->len);
    out->name[out->len] = '\0';
    out->entry = entry_find(d, out->folder, out->name, out->len);
    return 0;
}

/* Puts a node at a place, or nothing; to be undone. */
static void change(struct disk *d, struct place *at, struct node *node)
{
    undo_add(d, &(struct undo_name){ at->folder, at->entry == NULL ? NULL : at->entry->node, at->name }, NULL);
    entry_set(d, at->folder, at->name, at->len, node);
}

static int do_rename(struct disk *d, struct place *from, struct place *to)
{
    if (from->entry == NULL)
        return -ENOENT;
    struct node *node = from->entry->node, *old = to->entry == NULL ? NULL : to->entry->node;
    if (old == node)
        return 0;
    if (old != NULL && old->is_folder != node->is_folder)
        return old->is_folder ? -EISDIR : -ENOTDIR;
    if (old != NULL && old->entries != NULL)
        return -ENOTEMPTY;
    undo_add(d, &(struct undo_name){ to->folder, old, to->name }, &(struct undo_name){ from->folder, node, from->name });
    entry_set(d, to->folder, to->name, to->len, node);
    entry_set(d, from->folder, from->name, from->len, NULL);
    return 0;
}

int disk_rename(struct disk *d, const char *from, const char *to)
{
    struct place a, b;
    disk_enter(d);
    int error = disk_call(d, "rename", from);
    if (error == 0 && (error = look_up(d, from, &a)) == 0 && (error = look_up(d, to, &b)) == 0)
        error = do_rename(d, &a, &b);
    return left(d, error);
}

int disk_unlink(struct disk *d, const char *path)
{
    struct place at;
    disk_enter(d);
    int error = disk_call(d, "unlink", path);
    if (error == 0 && (error = look_up(d, path, &at)) == 0)
        error = at.entry == NULL ? -ENOENT : at.entry->node->is_folder ? -EISDIR : 0;
    if (error == 0)
        change(d, &at, NULL);
    return left(d, error);
}

int disk_make_dir(struct disk *d, const char *path, unsigned mode)
{
    struct place at;
    disk_enter(d);
    int error = disk_call(d, "make_dir", path);
    if (error == 0 && (error = look_up(d, path, &at)) == 0)
        error = at.entry != NULL ? -EEXIST : 0;
    if (error == 0) {
        struct node *n = disk_node_new(d, true, mode);
        change(d, &at, n);
        disk_node_unref(d, n);
    }
    return left(d, error == -EBUSY ? -EEXIST : error);
}

int disk_remove_dir(struct disk *d, const char *path)
{
    struct place at;
    disk_enter(d);
    int error = disk_call(d, "remove_dir", path);
    if (error == 0 && (error = look_up(d, path, &at)) == 0)
        error = at.entry == NULL ? -ENOENT : !at.entry->node->is_folder ? -ENOTDIR : at.entry->node->entries != NULL ? -ENOTEMPTY : 0;
    if (error == 0)
        change(d, &at, NULL);
    return left(d, error);
}

int disk_set_mode(struct disk *d, const char *path, unsigned mode)
{
    struct node *n;
    disk_enter(d);
    int error = path_find(d, path, &n);
    if (error == 0)
        n->mode = mode & 07777;
    return left(d, error);
}

int disk_list(struct disk *d, const char *path, char **names, size_t *count)
{
    struct node *n;
    size_t bytes = 1, at = 0;
    *count = 0;
    disk_enter(d);
    int error = disk_call(d, "list", path);
    if (error == 0 && (error = path_find(d, path, &n)) == 0 && !n->is_folder)
        error = -ENOTDIR;
    if (error < 0)
        return left(d, error);
    for (const struct entry *e = n->entries; e != NULL; e = e->next)
        bytes += strlen(e->name) + 1;
    *names = disk_take(bytes);
    for (const struct entry *e = n->entries; e != NULL; e = e->next, ++*count)
        at += strlen(strcpy(*names + at, e->name)) + 1;
    return left(d, 0);
}

void disk_list_free(char *names) { disk_give(names); }
