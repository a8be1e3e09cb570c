/* Child processes, random bytes, small files: see child.h. */
#include "os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHANNEL_FD = 3 };

_Noreturn static void become(char *const argv[], int fd)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fd != CHANNEL_FD && dup2(fd, CHANNEL_FD) < 0)
        _exit(71);
    if (fd == CHANNEL_FD)
        (void)fcntl(fd, F_SETFD, 0);
    if (close_range(CHANNEL_FD + 1, ~0u, 0) != 0)
        _exit(71);
    (void)execv("/proc/self/exe", argv);
    _exit(71);
}

enum rc child_start(char *const argv[], int fd, pid_t *pid, struct fault *fault)
{
    pid_t child = fork();
    if (child < 0)
        return fault_errno(fault, errno, "cannot start %s", argv[0]);
    if (child == 0)
        become(argv, fd);
    *pid = child;
    return RC_OK;
}

enum rc channel_pair(int fds[2], struct fault *fault)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return fault_errno(fault, errno, "cannot make a channel");
    return RC_OK;
}

void random_bytes(void *out, size_t len)
{
    for (char *at = out; len > 0;) {
        ssize_t got = getrandom(at, len, 0);
        must(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_bytes(&value, sizeof(value));
    return value;
}

/* ---- small files ------------------------------------------------------------------------------------------------- */

static enum rc read_fd(int fd, const char *path, size_t max, struct buf *out, struct fault *fault)
{
    size_t total = 0;
    for (;;) {
        size_t ask = max - total + 1 < 16384 ? max - total + 1 : 16384;     /* one more than allowed, to see that it is */
        char *room = buf_reserve(out, ask);
        if (room == NULL)
            return fault_no_memory(fault);
        ssize_t got = read(fd, room, ask);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fault_errno(fault, errno, "cannot read %s", path);
        if (got == 0)
            return RC_OK;
        total += (size_t)got;
        if (total > max)
            return fault_perm(fault, 0, "%s is larger than %zu bytes", path, max);
        buf_commit(out, (size_t)got);
    }
}

enum rc file_read_all(const char *path, size_t max, struct buf *out, struct fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_errno(fault, errno, "cannot open %s", path);
    enum rc rc = read_fd(fd, path, max, out, fault);
    (void)close(fd);
    return rc;
}

static bool write_whole(int fd, struct slice content)
{
    while (content.len > 0) {
        ssize_t put = write(fd, content.ptr, content.len);
        if (put < 0 && errno != EINTR)
            return false;
        if (put > 0)
            (void)slice_take(&content, (size_t)put);
    }
    return fsync(fd) == 0;
}

static void sync_folder_of(const char *path)
{
    char folder[4096];
    (void)snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        (void)strcpy(folder, ".");
    else if (slash == folder)
        folder[1] = '\0';
    else
        *slash = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

enum rc file_write_all(const char *path, struct slice content, unsigned mode, struct fault *fault)
{
    char beside[4096];
    int len = snprintf(beside, sizeof(beside), "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof(beside))
        return fault_perm(fault, 0, "the path %s is too long", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
    if (fd < 0)
        return fault_errno(fault, errno, "cannot create %s", beside);
    bool is_written = fchmod(fd, (mode_t)mode) == 0 && write_whole(fd, content);
    int err = errno;
    (void)close(fd);
    if (is_written && rename(beside, path) != 0) {
        is_written = false;
        err = errno;
    }
    if (!is_written) {
        (void)unlink(beside);
        return fault_errno(fault, err, "cannot write %s", path);
    }
    sync_folder_of(path);
    return RC_OK;
}

/* Its name is on stable storage, too, also when it was made by somebody who died before he could see to that. */
static enum rc make_one(const char *path, unsigned mode, struct fault *fault)
{
    struct stat status;
    bool is_made = mkdir(path, (mode_t)mode) == 0;
    int err = errno;
    if (is_made || (err == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode))) {
        sync_folder_of(path);
        return RC_OK;
    }
    if (err == EEXIST)
        return fault_perm(fault, 0, "%s is there and is not a folder", path);
    return fault_errno(fault, err, "cannot make the folder %s", path);
}

enum rc dir_make(const char *path, unsigned mode, struct fault *fault)
{
    char parent[4096];
    if (strlen(path) >= sizeof(parent))
        return fault_perm(fault, 0, "the path %s is too long", path);
    (void)strcpy(parent, path);
    for (char *slash = strchr(parent + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        enum rc rc = make_one(parent, 0755, fault);
        if (rc != RC_OK)
            return rc;
        *slash = '/';
    }
    return make_one(path, mode, fault);
}
