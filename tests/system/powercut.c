/* A witness of everything that a program does to its files: LD_PRELOAD for the test of power cuts (power.py, test_power.py).
 *
 * Every call that changes a file or a name below $POWERCUT_ROOT, and every sync, is written to $POWERCUT_JOURNAL: what it
 * was, its payload, the moment (CLOCK_MONOTONIC). One write to a file that all processes append to gives them one order.
 * The journal is opened before main, so a role's sandbox (Landlock, seccomp: write stays allowed) does not matter, and a
 * role that is executed anew has its own.
 *
 * A change is recorded when the system has made it, before the program goes on; a sync twice, when it begins and when it
 * has come back: what was recorded before its beginning is on the medium once its end is recorded.
 *
 * $POWERCUT_CONTROL is a file of 8 bytes, two native integers, that the test and all processes share: a process that finds
 * its id in the first and the number of changes that it may still make (counted down) at zero ends on the spot, between
 * two calls, as if killed: so the journal is whole although the process was not asked.
 *
 * $POWERCUT_HASTE: how many times faster time goes for the role post, whose checkpoints are due once a minute.
 *
 * A record: magic, kind, pid, descriptor (or -1), moment in ns, offset, length of a first text or payload, length of a
 * second one; then these. Reading and mapping are none of its business (SQLite maps only the -shm file, which is no truth). */
#undef _FILE_OFFSET_BITS         /* both names of each call are defined here, one apart from the other */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x54554352u
enum kind { KIND_OPEN = 1, KIND_WRITE, KIND_TRUNCATE, KIND_ALLOCATE, KIND_RENAME, KIND_UNLINK, KIND_MKDIR, KIND_RMDIR, KIND_SYNC_BEGIN, KIND_SYNC_END };
enum { DESCRIPTORS_MAX = 65536, JOURNAL_FD = 900, ZEROS = 1 };

struct record {
    uint32_t magic, kind;
    int32_t pid, fd;
    int64_t moment_ns, offset;
    uint32_t first, second;             /* lengths behind this; a write of nothing but zeros has first 0 and second its length */
    uint32_t flags, reserved;
};

struct control {
    _Atomic int32_t pid, changes_left;
};

static int journal = -1;
static int64_t haste = 1, since_ns[2];          /* since then, of CLOCK_REALTIME and CLOCK_MONOTONIC */
static char root[4096];
static size_t root_len;
static struct control *control;
static _Atomic unsigned char is_ours[DESCRIPTORS_MAX];
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static int64_t real_time_ns(clockid_t clock)
{
    struct timespec now;
    (void)syscall(SYS_clock_gettime, clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (haste == 1 || (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC))
        return result;
    int64_t since = since_ns[clock == CLOCK_MONOTONIC], now = since + ((int64_t)time->tv_sec * 1000000000 + time->tv_nsec - since) * haste;
    *time = (struct timespec){ .tv_sec = now / 1000000000, .tv_nsec = now % 1000000000 };
    return result;
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    int64_t wait_ms = timeout_ms <= 0 ? timeout_ms : (timeout_ms + haste - 1) / haste;
    return (int)syscall(SYS_epoll_wait, fd, events, count, (int)wait_ms);
}

static void begin_haste(void)
{
    char words[256] = "";
    const char *wanted = getenv("POWERCUT_HASTE");
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : (ssize_t)syscall(SYS_read, fd, words, sizeof(words) - 1);
    (void)syscall(SYS_close, fd);
    if (wanted == NULL || got <= 0 || memmem(words, (size_t)got, "--role\0post", 11) == NULL)
        return;
    since_ns[0] = real_time_ns(CLOCK_REALTIME);
    since_ns[1] = real_time_ns(CLOCK_MONOTONIC);
    haste = atoi(wanted);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWERCUT_JOURNAL"), *below = getenv("POWERCUT_ROOT"), *shared = getenv("POWERCUT_CONTROL");
    begin_haste();
    if (path == NULL || below == NULL)
        return;
    (void)snprintf(root, sizeof(root), "%s", below);
    root_len = strlen(root);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    journal = fcntl(fd, F_DUPFD_CLOEXEC, JOURNAL_FD);
    if (fd < 0 || journal < 0)
        abort();
    (void)syscall(SYS_close, fd);
    if (shared == NULL)
        return;
    fd = (int)syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
    control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || control == MAP_FAILED)
        abort();
    (void)syscall(SYS_close, fd);
}

static bool is_below(const char *path)
{
    return journal >= 0 && strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == '\0');
}

static bool is_open_below(int fd) { return journal >= 0 && fd >= 0 && fd < DESCRIPTORS_MAX && is_ours[fd] != 0; }

static void put(enum kind kind, int fd, int64_t offset, const void *first, size_t first_len, const void *second, size_t second_len, uint32_t flags)
{
    struct record record = {
        .magic = MAGIC, .kind = kind, .pid = getpid(), .fd = fd, .moment_ns = real_time_ns(CLOCK_MONOTONIC), .offset = offset,
        .first = (uint32_t)first_len, .second = (uint32_t)second_len, .flags = flags,
    };
    union { const void *from; void *to; } a = { .from = first }, b = { .from = second };
    struct iovec parts[] = { { &record, sizeof(record) }, { a.to, first_len }, { b.to, (flags & ZEROS) != 0 ? 0 : second_len } };
    size_t whole = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
    ssize_t done = (ssize_t)syscall(SYS_writev, journal, parts, 3);
    if (done != (ssize_t)whole)
        abort();                        /* a journal with a hole proves nothing */
}

/* Between two changes a process may be told to end here; no other thread is within a change then. */
static void finish(void)
{
    if (control != NULL && control->pid == getpid() && atomic_fetch_sub(&control->changes_left, 1) <= 0)
        _exit(137);
    (void)pthread_mutex_unlock(&order);
}

#define CHANGE(is_seen, result_type, call, is_done, ...)                                                                                  \
    do {                                                                                                                             \
        if (!(is_seen))                                                                                                              \
            return call;                                                                                                             \
        (void)pthread_mutex_lock(&order);                                                                                            \
        result_type result = call;                                                                                                   \
        int error = errno;                                                                                                           \
        if (is_done)                                                                                                                 \
            put(__VA_ARGS__);                                                                                                        \
        finish();                                                                                                                    \
        errno = error;                                                                                                               \
        return result;                                                                                                               \
    } while (0)

/* ---- opening and closing ---- */

static int opened(int fd, const char *path, int flags)
{
    int error = errno;
    if (fd >= 0 && fd < DESCRIPTORS_MAX)
        is_ours[fd] = is_below(path);
    if (fd >= DESCRIPTORS_MAX)
        abort();
    if (is_open_below(fd))
        put(KIND_OPEN, fd, 0, path, strlen(path), NULL, 0, (uint32_t)flags);
    errno = error;
    return fd;
}

static int open_any(const char *path, int flags, mode_t mode)
{
    if (!is_below(path))
        return opened((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), path, flags);
    (void)pthread_mutex_lock(&order);
    int fd = opened((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), path, flags), error = errno;
    finish();
    errno = error;
    return fd;
}

static mode_t mode_of(int flags, va_list *args) { return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(*args, mode_t) : 0; }

#define OPENS(name)                                                                                                                  \
    int name(const char *path, int flags, ...)                                                                                       \
    {                                                                                                                                \
        va_list args;                                                                                                                \
        va_start(args, flags);                                                                                                       \
        mode_t mode = mode_of(flags, &args);                                                                                         \
        va_end(args);                                                                                                                \
        return open_any(path, flags, mode);                                                                                          \
    }
int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...);
OPENS(open)
OPENS(open64)
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __open_2(const char *path, int flags) { return open_any(path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_any(path, flags, 0); }
int creat(const char *path, mode_t mode) { return open_any(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd)
{
    if (fd == journal)
        return 0;
    if (fd >= 0 && fd < DESCRIPTORS_MAX)
        is_ours[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

/* What would get past us ends the program, so that the test knows. */
static bool is_strange(int folder, const char *path) { return journal >= 0 && (path[0] == '/' ? is_below(path) : folder != AT_FDCWD); }

int openat(int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, &args);
    va_end(args);
    if (is_strange(folder, path) && (flags & O_ACCMODE) != O_RDONLY)
        abort();
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

/* ---- contents ---- */

static bool is_zero(const void *data, size_t len)
{
    const char *at = data;
    return len >= 4096 && at[0] == 0 && memcmp(at, at + 1, len - 1) == 0;
}

static void put_write(int fd, int64_t offset, const void *data, size_t len)
{
    if (is_zero(data, len))
        put(KIND_WRITE, fd, offset, NULL, 0, NULL, len, ZEROS);
    else
        put(KIND_WRITE, fd, offset, data, len, NULL, 0, 0);
}

#define WRITES(name, offset_type)                                                                                                    \
    ssize_t name(int fd, const void *data, size_t len, offset_type offset)                                                           \
    {                                                                                                                                \
        if (!is_open_below(fd))                                                                                                      \
            return (ssize_t)syscall(SYS_pwrite64, fd, data, len, offset);                                                            \
        (void)pthread_mutex_lock(&order);                                                                                            \
        ssize_t done = (ssize_t)syscall(SYS_pwrite64, fd, data, len, offset);                                                        \
        int error = errno;                                                                                                           \
        if (done > 0)                                                                                                                \
            put_write(fd, offset, data, (size_t)done);                                                                               \
        finish();                                                                                                                    \
        errno = error;                                                                                                               \
        return done;                                                                                                                 \
    }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t len)
{
    if (!is_open_below(fd))
        return (ssize_t)syscall(SYS_write, fd, data, len);
    (void)pthread_mutex_lock(&order);
    ssize_t done = (ssize_t)syscall(SYS_write, fd, data, len);
    int error = errno;
    if (done > 0)
        put_write(fd, (int64_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) - done, data, (size_t)done);
    finish();
    errno = error;
    return done;
}

int ftruncate(int fd, off_t size) { CHANGE(is_open_below(fd), int, (int)syscall(SYS_ftruncate, fd, size), result == 0, KIND_TRUNCATE, fd, size, NULL, 0, NULL, 0, 0); }
int ftruncate64(int fd, off64_t size) { CHANGE(is_open_below(fd), int, (int)syscall(SYS_ftruncate, fd, size), result == 0, KIND_TRUNCATE, fd, size, NULL, 0, NULL, 0, 0); }
static int allocate(int fd, off64_t from, off64_t len) { return syscall(SYS_fallocate, fd, 0, from, len) == 0 ? 0 : errno; }
int posix_fallocate(int fd, off_t from, off_t len)
{
    CHANGE(is_open_below(fd), int, allocate(fd, from, len), result == 0, KIND_ALLOCATE, fd, from + len, NULL, 0, NULL, 0, 0);
}
int posix_fallocate64(int fd, off64_t from, off64_t len)
{
    CHANGE(is_open_below(fd), int, allocate(fd, from, len), result == 0, KIND_ALLOCATE, fd, from + len, NULL, 0, NULL, 0, 0);
}

/* ---- names ---- */

int rename(const char *from, const char *to)
{
    CHANGE(is_below(from) || is_below(to), int, (int)syscall(SYS_rename, from, to), result == 0, KIND_RENAME, -1, 0, from, strlen(from), to, strlen(to), 0);
}
int unlink(const char *path) { CHANGE(is_below(path), int, (int)syscall(SYS_unlink, path), result == 0, KIND_UNLINK, -1, 0, path, strlen(path), NULL, 0, 0); }
int mkdir(const char *path, mode_t mode) { CHANGE(is_below(path), int, (int)syscall(SYS_mkdir, path, mode), result == 0, KIND_MKDIR, -1, 0, path, strlen(path), NULL, 0, 0); }
int rmdir(const char *path) { CHANGE(is_below(path), int, (int)syscall(SYS_rmdir, path), result == 0, KIND_RMDIR, -1, 0, path, strlen(path), NULL, 0, 0); }

/* ---- syncs ---- */

static int sync_one(long number, int fd)
{
    if (!is_open_below(fd))
        return (int)syscall(number, fd);
    put(KIND_SYNC_BEGIN, fd, 0, NULL, 0, NULL, 0, 0);
    int result = (int)syscall(number, fd), error = errno;
    if (result == 0)
        put(KIND_SYNC_END, fd, 0, NULL, 0, NULL, 0, 0);
    errno = error;
    return result;
}

int fsync(int fd) { return sync_one(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_one(SYS_fdatasync, fd); }

/* ---- what none of us does: it would be missing from the journal ---- */

#define NEVER(is_seen, call) do { if (is_seen) abort(); return call; } while (0)
ssize_t writev(int fd, const struct iovec *parts, int count) { NEVER(is_open_below(fd), (ssize_t)syscall(SYS_writev, fd, parts, count)); }
int fallocate(int fd, int mode, off_t from, off_t len) { NEVER(is_open_below(fd), (int)syscall(SYS_fallocate, fd, mode, from, len)); }
int fallocate64(int fd, int mode, off64_t from, off64_t len) { NEVER(is_open_below(fd), (int)syscall(SYS_fallocate, fd, mode, from, len)); }
int truncate(const char *path, off_t size) { NEVER(is_below(path), (int)syscall(SYS_truncate, path, size)); }
int truncate64(const char *path, off64_t size) { NEVER(is_below(path), (int)syscall(SYS_truncate, path, size)); }
int link(const char *from, const char *to) { NEVER(is_below(to), (int)syscall(SYS_link, from, to)); }
int dup(int fd) { NEVER(is_open_below(fd), (int)syscall(SYS_dup, fd)); }
int renameat(int a, const char *from, int b, const char *to) { NEVER(is_strange(a, from) || is_strange(b, to), (int)syscall(SYS_renameat, a, from, b, to)); }
int unlinkat(int folder, const char *path, int flags) { NEVER(is_strange(folder, path), (int)syscall(SYS_unlinkat, folder, path, flags)); }
int mkdirat(int folder, const char *path, mode_t mode) { NEVER(is_strange(folder, path), (int)syscall(SYS_mkdirat, folder, path, mode)); }
int syncfs(int fd) { NEVER(is_open_below(fd), (int)syscall(SYS_syncfs, fd)); }
