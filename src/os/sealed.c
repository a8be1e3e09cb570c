/* A VFS that checks pages: see sealed.h. */
#include "os/sealed.h"

#include "base/text.h"

#include <string.h>

enum { PAGE_BYTES = 4096, PAGE_MIN = 512, SEAL_BYTES = 8, RESERVED_AT = 20 };

struct sealed_file {
    sqlite3_file base;
    bool is_sealed;
    sqlite3_file *real;                 /* behind this struct */
};

static struct sealed_file *sealed(sqlite3_file *file) { return (struct sealed_file *)(void *)file; }
static sqlite3_file *real(sqlite3_file *file) { return sealed(file)->real; }

/* "TPS1" and a CRC-32C of the rest of the page. */
static void seal(unsigned char *page, unsigned char to[SEAL_BYTES])
{
    uint32_t crc = crc32c(0, page, PAGE_BYTES - SEAL_BYTES);
    memcpy(to, "TPS1", 4);
    for (unsigned i = 0; i < 4; i++)
        to[4 + i] = (unsigned char)(crc >> 8 * i);
}

static bool is_good(unsigned char *page)
{
    unsigned char want[SEAL_BYTES];
    seal(page, want);
    return memcmp(want, page + PAGE_BYTES - SEAL_BYTES, SEAL_BYTES) == 0;
}

/* Of a file with pages: does the first one say that 8 bytes are free, or would it with its byte put right? */
static bool first_page_says_sealed(unsigned char *page)
{
    unsigned char kept = page[RESERVED_AT];
    if (kept == SEAL_BYTES)
        return true;
    page[RESERVED_AT] = SEAL_BYTES;
    bool was = is_good(page);
    page[RESERVED_AT] = kept;
    return was;
}

static bool is_page(int len, sqlite3_int64 offset) { return len == PAGE_BYTES && offset % PAGE_BYTES == 0; }

/* ---- a file ---- */

static int file_close(sqlite3_file *file) { return real(file)->pMethods->xClose(real(file)); }

static int file_read(sqlite3_file *file, void *to, int len, sqlite3_int64 offset)
{
    int code = real(file)->pMethods->xRead(real(file), to, len, offset);
    if (code != SQLITE_OK || !sealed(file)->is_sealed || len < PAGE_MIN)
        return code;                    /* less than a page is asked of the header only, and page 1 is read after it */
    return is_page(len, offset) && is_good(to) ? SQLITE_OK : SQLITE_IOERR_DATA;
}

static int file_write(sqlite3_file *file, const void *from, int len, sqlite3_int64 offset)
{
    unsigned char page[PAGE_BYTES];
    if (is_page(len, offset)) {
        memcpy(page, from, PAGE_BYTES);
        if (offset == 0)
            sealed(file)->is_sealed = page[RESERVED_AT] == SEAL_BYTES;
        if (sealed(file)->is_sealed) {
            seal(page, page + PAGE_BYTES - SEAL_BYTES);
            from = page;
        }
    }
    return real(file)->pMethods->xWrite(real(file), from, len, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) { return real(file)->pMethods->xTruncate(real(file), size); }
static int file_sync(sqlite3_file *file, int flags) { return real(file)->pMethods->xSync(real(file), flags); }
static int file_size(sqlite3_file *file, sqlite3_int64 *size) { return real(file)->pMethods->xFileSize(real(file), size); }
static int file_lock(sqlite3_file *file, int level) { return real(file)->pMethods->xLock(real(file), level); }
static int file_unlock(sqlite3_file *file, int level) { return real(file)->pMethods->xUnlock(real(file), level); }
static int file_check_reserved(sqlite3_file *file, int *is) { return real(file)->pMethods->xCheckReservedLock(real(file), is); }
static int file_control(sqlite3_file *file, int what, void *arg) { return real(file)->pMethods->xFileControl(real(file), what, arg); }
static int file_sector(sqlite3_file *file) { return real(file)->pMethods->xSectorSize(real(file)); }
static int file_traits(sqlite3_file *file) { return real(file)->pMethods->xDeviceCharacteristics(real(file)); }

static int shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    return real(file)->pMethods->xShmMap(real(file), region, bytes, extend, out);
}

static int shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}

static void shm_barrier(sqlite3_file *file) { real(file)->pMethods->xShmBarrier(real(file)); }
static int shm_unmap(sqlite3_file *file, int deletes) { return real(file)->pMethods->xShmUnmap(real(file), deletes); }

/* Version 2: no memory mapping, which would read past us. */
static const sqlite3_io_methods methods = {
    .iVersion = 2, .xClose = file_close, .xRead = file_read, .xWrite = file_write, .xTruncate = file_truncate, .xSync = file_sync,
    .xFileSize = file_size, .xLock = file_lock, .xUnlock = file_unlock, .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control, .xSectorSize = file_sector, .xDeviceCharacteristics = file_traits,
    .xShmMap = shm_map, .xShmLock = shm_lock, .xShmBarrier = shm_barrier, .xShmUnmap = shm_unmap,
};

/* ---- the system: whatever is the default ---- */

static sqlite3_vfs *below(void) { return sqlite3_vfs_find(NULL); }

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    sqlite3_vfs *to = below();
    if (!(flags & SQLITE_OPEN_MAIN_DB))
        return to->xOpen(to, name, file, flags, out_flags);
    struct sealed_file *s = sealed(file);
    unsigned char page[PAGE_BYTES];
    *s = (struct sealed_file){ .real = (sqlite3_file *)(void *)(s + 1) };
    int code = to->xOpen(to, name, s->real, flags, out_flags);
    if (s->real->pMethods == NULL)
        return code;
    s->base.pMethods = &methods;
    if (code == SQLITE_OK && (code = s->real->pMethods->xRead(s->real, page, PAGE_BYTES, 0)) == SQLITE_OK)
        s->is_sealed = first_page_says_sealed(page);
    if (code != SQLITE_IOERR_SHORT_READ)
        return code;
    s->is_sealed = true;                    /* no page yet; when much is written at once, the first one comes last (VACUUM INTO) */
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int syncs) { return (void)vfs, below()->xDelete(below(), path, syncs); }
static int vfs_access(sqlite3_vfs *vfs, const char *path, int how, int *is) { return (void)vfs, below()->xAccess(below(), path, how, is); }
static int vfs_path(sqlite3_vfs *vfs, const char *path, int size, char *out) { return (void)vfs, below()->xFullPathname(below(), path, size, out); }
static int vfs_random(sqlite3_vfs *vfs, int len, char *out) { return (void)vfs, below()->xRandomness(below(), len, out); }
static int vfs_sleep(sqlite3_vfs *vfs, int us) { return (void)vfs, below()->xSleep(below(), us); }
static int vfs_time(sqlite3_vfs *vfs, double *out) { return (void)vfs, below()->xCurrentTime(below(), out); }
static int vfs_error(sqlite3_vfs *vfs, int len, char *out) { return (void)vfs, below()->xGetLastError(below(), len, out); }
static int vfs_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *out) { return (void)vfs, below()->xCurrentTimeInt64(below(), out); }

static sqlite3_vfs vfs = {
    .iVersion = 2, .zName = "thurn", .xOpen = vfs_open, .xDelete = vfs_delete, .xAccess = vfs_access, .xFullPathname = vfs_path,
    .xRandomness = vfs_random, .xSleep = vfs_sleep, .xCurrentTime = vfs_time, .xGetLastError = vfs_error, .xCurrentTimeInt64 = vfs_time_ms,
};

const char *sealed_vfs(void)
{
    (void)sqlite3_initialize();
    int size = (int)sizeof(struct sealed_file) + below()->szOsFile;
    if (vfs.szOsFile < size) {
        vfs.szOsFile = size;
        vfs.mxPathname = below()->mxPathname;
        (void)sqlite3_vfs_register(&vfs, 0);
    }
    return vfs.zName;
}

int sealed_make(sqlite3 *db)
{
    sqlite3_file *file = NULL;
    int reserve = SEAL_BYTES;
    sqlite3_int64 size = 0;
    int code = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (code == SQLITE_OK && (file == NULL || file->pMethods != &methods))
        return SQLITE_MISUSE;
    if (code == SQLITE_OK)
        code = file_size(file, &size);
    bool is_made = code == SQLITE_OK && size > 0 && sealed(file)->is_sealed;
    if (code == SQLITE_OK && !is_made)
        code = sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
    if (code == SQLITE_OK && size > 0 && !is_made)      /* from before */
        code = sqlite3_exec(db, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    return code;
}

bool sealed_is_damaged(sqlite3 *db)
{
    int code = sqlite3_extended_errcode(db);
    return code == SQLITE_IOERR_DATA || (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}
