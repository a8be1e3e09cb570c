/* SQLite on simulated disks: a VFS (sqlite.org/vfs.html) that does with a disk what SQLite's own for Unix does with the system,
 * down to what it leaves undone: a folder's sync after the first sync of a new journal is not looked at, nor is a stat that fails.
 * One thread at a time. */
#include "sim/vfs_inner.h"

#include "sim/disk_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 512, SECTOR = 4096 };

static struct disk_vfs_hooks hooks;
static struct vfs_handle *handles;
static uint64_t sequence;
static int last_error;

static void enter(const char *call)
{
    if (hooks.enter != NULL)
        hooks.enter(call);
}

static int failed(int64_t error, int code)
{
    last_error = (int)-error;
    return error == -ENOSPC ? SQLITE_FULL : code;
}

/* ---- a file ---- */

static void close_handle(struct vfs_handle *h)
{
    vfs_let_go(h);
    disk_close(h->file);
    if (h->deletes)
        disk_unlink(h->disk, h->path);
    *h->link = h->next;
    if (h->next != NULL)
        h->next->link = h->link;
    disk_give(h->path);
    disk_give(h);
}

static int file_close(sqlite3_file *file)
{
    close_handle(vfs_handle_of(file));
    return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *to, int len, sqlite3_int64 offset)
{
    enter("sqlite-read");
    int64_t got = disk_read(vfs_handle_of(file)->file, to, (size_t)len, (uint64_t)offset);
    if (got == len)
        return SQLITE_OK;
    if (got < 0)
        return failed(got, SQLITE_IOERR_READ);
    memset((char *)to + got, 0, (size_t)(len - got));
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *from, int len, sqlite3_int64 offset)
{
    const char *bytes = from;
    while (len > 0) {
        enter("sqlite-write");
        int64_t done = disk_write(vfs_handle_of(file)->file, bytes, (size_t)len, (uint64_t)offset);
        if (done <= 0)
            return failed(done, SQLITE_IOERR_WRITE);
        bytes += done;
        offset += done;
        len -= (int)done;
    }
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    enter("sqlite-truncate");
    int error = disk_truncate(vfs_handle_of(file)->file, (uint64_t)size);
    return error < 0 ? failed(error, SQLITE_IOERR_TRUNCATE) : SQLITE_OK;
}

/* Syncs the folder that a path is in. -ENOENT: it could not be opened. */
static int sync_folder(struct disk *d, const char *path)
{
    char folder[PATH_BYTES];
    struct disk_file *f;
    const char *end = strrchr(path, '/');
    enter("sqlite-sync-folder");
    snprintf(folder, sizeof folder, "%.*s/", end == NULL ? 0 : (int)(end - path), path);
    if (disk_open(d, folder, O_RDONLY | O_DIRECTORY, 0, &f) < 0)
        return -ENOENT;
    int error = disk_sync(f);
    disk_close(f);
    return error == -ENOENT ? -EIO : error;
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    struct vfs_handle *h = vfs_handle_of(file);
    enter("sqlite-sync");
    int error = disk_sync(h->file);
    if (error < 0) {
        last_error = -error;
        return SQLITE_IOERR_FSYNC;
    }
    if (h->syncs_folder)
        (void)sync_folder(h->disk, h->path);    /* as SQLite's own: unlooked at */
    h->syncs_folder = false;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct stat st;
    int error = disk_fstat(vfs_handle_of(file)->file, &st);
    *size = error < 0 ? 0 : st.st_size;
    return error < 0 ? failed(error, SQLITE_IOERR_FSTAT) : SQLITE_OK;
}

static int file_control(sqlite3_file *file, int what, void *arg)
{
    if (what != SQLITE_FCNTL_LOCKSTATE)
        return SQLITE_NOTFOUND;
    *(int *)arg = vfs_handle_of(file)->level;
    return SQLITE_OK;
}

static int file_sector_size(sqlite3_file *file)
{
    (void)file;
    return SECTOR;
}

static int file_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, .xClose = file_close, .xRead = file_read, .xWrite = file_write, .xTruncate = file_truncate, .xSync = file_sync,
    .xFileSize = file_size, .xLock = vfs_lock, .xUnlock = vfs_unlock, .xCheckReservedLock = vfs_check_reserved,
    .xFileControl = file_control, .xSectorSize = file_sector_size, .xDeviceCharacteristics = file_characteristics,
    .xShmMap = vfs_shm_map, .xShmLock = vfs_shm_lock, .xShmBarrier = vfs_shm_barrier, .xShmUnmap = vfs_shm_unmap,
};

/* ---- the system ---- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    enter("sqlite-open");
    struct disk *d = hooks.current();
    char temporary[64];
    struct disk_file *f;
    snprintf(temporary, sizeof temporary, "/sqlite-%llu", (unsigned long long)++sequence);
    const char *path = name != NULL ? name : temporary;
    int how = (flags & SQLITE_OPEN_READWRITE ? O_RDWR : O_RDONLY) | (flags & SQLITE_OPEN_CREATE ? O_CREAT : 0)
        | (flags & SQLITE_OPEN_EXCLUSIVE ? O_EXCL : 0);
    file->pMethods = NULL;
    int error = d == NULL ? -EIO : disk_open(d, path, how, 0644, &f);
    if (error < 0) {
        last_error = -error;
        return SQLITE_CANTOPEN;
    }
    struct vfs_handle *h = disk_take(sizeof *h);
    *h = (struct vfs_handle){ .next = handles, .link = &handles, .file = f, .disk = d, .owner = hooks.owner == NULL ? NULL : hooks.owner(),
                              .deletes = flags & SQLITE_OPEN_DELETEONCLOSE,
                              .syncs_folder = flags & SQLITE_OPEN_CREATE && flags & (SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL) };
    if (handles != NULL)
        handles->link = &h->next;
    handles = h;
    h->path = strcpy(disk_take(strlen(path) + 1), path);
    h->inode = vfs_inode_get(d, f->node->number, d->cuts);
    ((struct vfs_file *)(void *)file)->handle = h;
    file->pMethods = &methods;
    if (out_flags != NULL)
        *out_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int syncs)
{
    (void)vfs;
    enter("sqlite-delete");
    struct disk *d = hooks.current();
    int error = d == NULL ? -EIO : disk_unlink(d, path);
    if (error == -ENOENT)
        return SQLITE_IOERR_DELETE_NOENT;
    if (error < 0) {
        last_error = -error;
        return SQLITE_IOERR_DELETE;
    }
    error = syncs ? sync_folder(d, path) : 0;
    return error < 0 && error != -ENOENT ? SQLITE_IOERR_DIR_FSYNC : SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *is_there)
{
    (void)vfs;
    struct stat st;
    struct disk *d = hooks.current();
    *is_there = d != NULL && disk_stat(d, path, &st) == 0 && (flags != SQLITE_ACCESS_EXISTS || !S_ISREG(st.st_mode) || st.st_size > 0);
    return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    return snprintf(out, (size_t)size, "%s%s", path[0] == '/' ? "" : "/", path) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs;
    for (int i = 0; i < len; i++)
        out[i] = (char)(hooks.random == NULL ? (uint64_t)i * 151 + ++sequence : hooks.random());
    return len;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    if (hooks.sleep_us != NULL)
        hooks.sleep_us(us);
    return us;
}

/* In milliseconds of Julian days. */
static int vfs_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    (void)vfs;
    *out = 210866760000000 + (hooks.now_ms == NULL ? 1700000000000 : hooks.now_ms());
    return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
    sqlite3_int64 ms;
    vfs_time_ms(vfs, &ms);
    *out = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int len, char *text)
{
    (void)vfs;
    (void)len;
    (void)text;
    return last_error;
}

static sqlite3_vfs vfs = {
    .iVersion = 2, .szOsFile = sizeof(struct vfs_file), .mxPathname = PATH_BYTES - 1, .zName = "simulated disk",
    .xOpen = vfs_open, .xDelete = vfs_delete, .xAccess = vfs_access, .xFullPathname = vfs_full_pathname, .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep, .xCurrentTime = vfs_time, .xGetLastError = vfs_last_error, .xCurrentTimeInt64 = vfs_time_ms,
};

void disk_vfs_install(const struct disk_vfs_hooks *to)
{
    hooks = *to;
    sequence = 0;
    sqlite3_vfs_register(&vfs, 1);
    sqlite3_randomness(0, NULL);        /* drawn anew from us */
}

void disk_vfs_forget(const void *owner)
{
    for (struct vfs_handle *h = handles, *next; h != NULL; h = next) {
        next = h->next;
        if (h->owner == owner)
            close_handle(h);
    }
}
