/* Landlock: which trees a role may still touch, and that it neither binds nor connects unless that is its work.
 *
 * The numbers are the kernel's interface (landlock(7)); they stand here because the system's header may be older than the
 * kernel that runs. A kernel without Landlock is said plainly in the report. Landlock holds for the calling thread and those
 * it starts later; a thread that is there already (the resolver's, in `out`) is bound by seccomp alone. */
#include "os/sandbox_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, WANT_VERSION = 1, RULE_PATH_BENEATH = 1 };

enum {
    FS_EXECUTE = 1 << 0, FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3, FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5, FS_MAKE_DIR = 1 << 7, FS_MAKE_REG = 1 << 8, FS_REFER = 1 << 13, FS_TRUNCATE = 1 << 14,
    FS_OF_A_FILE = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE,     /* all that a rule on a file may grant */
    FS_READ = FS_READ_FILE | FS_READ_DIR,
    FS_WRITE = FS_READ | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_REFER | FS_TRUNCATE,
    NET_BIND_TCP = 1 << 0, NET_CONNECT_TCP = 1 << 1,
    SCOPE_ABSTRACT_SOCKET = 1 << 0, SCOPE_SIGNAL = 1 << 1,
};

struct ruleset {
    uint64_t fs, net, scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

/* Everything the running kernel can refuse, from its version on. */
static struct ruleset all_of(long abi)
{
    static const struct {
        long abi;
        struct ruleset adds;
    } versions[] = {
        { 1, { (1 << 13) - 1, 0, 0 } },
        { 2, { FS_REFER, 0, 0 } },
        { 3, { FS_TRUNCATE, 0, 0 } },
        { 4, { 0, NET_BIND_TCP | NET_CONNECT_TCP, 0 } },
        { 5, { 1 << 15, 0, 0 } },               /* ioctl on devices */
        { 6, { 0, 0, SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL } },
    };
    struct ruleset all = { 0, 0, 0 };
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]) && versions[i].abi <= abi; i++) {
        all.fs |= versions[i].adds.fs;
        all.net |= versions[i].adds.net;
        all.scoped |= versions[i].adds.scoped;
    }
    return all;
}

static enum rc allow(int ruleset, const char *path, uint64_t rights, struct fault *fault)
{
    struct stat status;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
        return RC_OK;                           /* what is not there (or not for this user) needs no permission */
    if (fd < 0 || fstat(fd, &status) != 0) {
        int err = errno;
        if (fd >= 0)
            (void)close(fd);
        return fault_errno(fault, err, "cannot look at %s", path);
    }
    struct path_beneath rule = { .allowed = S_ISDIR(status.st_mode) ? rights : rights & FS_OF_A_FILE, .parent_fd = fd };
    long result = syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0);
    int err = errno;
    (void)close(fd);
    return result == 0 ? RC_OK : fault_errno(fault, err, "landlock refuses a rule for %s", path);
}

static enum rc allow_all(int ruleset, uint64_t handled, const struct sandbox *sandbox, struct fault *fault)
{
    bool may_read = (sandbox->powers & (POWER_FILES | POWER_READ_FILES)) != 0;
    enum rc rc = may_read ? allow(ruleset, "/dev/urandom", FS_READ_FILE, fault) : RC_OK;
    for (size_t i = 0; i < sandbox->path_count && rc == RC_OK && (sandbox->powers & POWER_FILES) != 0; i++)
        rc = allow(ruleset, sandbox->paths[i], FS_WRITE & handled, fault);
    for (size_t i = 0; i < sandbox->read_path_count && rc == RC_OK && may_read; i++)
        rc = allow(ruleset, sandbox->read_paths[i], FS_READ, fault);
    return rc;
}

static const char *words_of(const struct sandbox *sandbox)
{
    if ((sandbox->powers & POWER_FILES) != 0)
        return "own folder";
    return (sandbox->powers & POWER_READ_FILES) != 0 ? "reads few files" : "no files";
}

enum rc sandbox_restrict_files(const struct sandbox *sandbox, struct buf *report, struct fault *fault)
{
    long abi = syscall(CREATE_RULESET, NULL, 0, WANT_VERSION);
    if (abi < 1) {
        (void)buf_append_str(report, " landlock=no(kernel)");
        return RC_OK;
    }
    struct ruleset rules = all_of(abi);
    if ((sandbox->powers & POWER_CONNECT) != 0)
        rules.net = 0;
    int fd = (int)syscall(CREATE_RULESET, &rules, sizeof(rules), 0);
    if (fd < 0)
        return fault_errno(fault, errno, "landlock refuses a set of rules");
    enum rc rc = allow_all(fd, rules.fs, sandbox, fault);
    if (rc == RC_OK && syscall(RESTRICT_SELF, fd, 0) != 0)
        rc = fault_errno(fault, errno, "landlock refuses to begin");
    (void)close(fd);
    if (rc == RC_OK)
        (void)buf_printf(report, " landlock=abi%ld(%s%s)", abi, words_of(sandbox), rules.net != 0 ? ", no bind or connect" : "");
    return rc;
}
