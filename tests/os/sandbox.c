/* What a role can still do when it has given its powers up: tried in a child of its own each, since there is no way back. */
#include "check.h"

#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], inside[128], outside[128];
static bool has_seccomp, has_landlock;

/* Each returns 0 when it went as it should, else a number that the failing check prints. */
static bool is_refused(int result) { return result < 0 && (errno == EPERM || errno == EACCES); }

static int opens_outside(void)
{
    int fd = open("/etc/passwd", O_RDONLY);
    return is_refused(fd) ? 0 : 1;
}

static int writes_outside(void)
{
    return is_refused(open(outside, O_WRONLY | O_CREAT, 0600)) ? 0 : 1;
}

static int works_inside(void)
{
    char other[160];
    (void)snprintf(other, sizeof(other), "%s.new", inside);
    int fd = open(inside, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || write(fd, "mail", 4) != 4 || fdatasync(fd) != 0 || ftruncate(fd, 2) != 0)
        return 1;
    if (rename(inside, other) != 0 || unlink(other) != 0)
        return 2;
    return posix_fallocate(fd, 0, 4096) == 0 ? 0 : 3;
}

static int reads_inside(void)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return 1;
    return is_refused(open(inside, O_WRONLY | O_CREAT, 0600)) ? 0 : 2;
}

static int makes_inet_socket(void) { return is_refused(socket(AF_INET, SOCK_STREAM, 0)) ? 0 : 1; }
static int may_make_inet_socket(void) { return socket(AF_INET6, SOCK_DGRAM, 0) >= 0 || errno == EAFNOSUPPORT ? 0 : 1; }
static int makes_raw_socket(void) { return is_refused(socket(AF_PACKET, SOCK_RAW, 0)) ? 0 : 1; }

static int passes_bytes(void)
{
    int fds[2];
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0 || send(fds[0], "x", 1, 0) != 1)
        return 1;
    return recv(fds[1], &byte, 1, 0) == 1 ? 0 : 2;
}

static int has_memory(void)
{
    char *large = malloc(8 * 1024 * 1024);
    if (large == NULL)
        return 1;
    memset(large, 1, 8 * 1024 * 1024);
    return realloc(large, 64 * 1024 * 1024) != NULL ? 0 : 2;
}

static int maps_executable(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM ? 0 : 1;
}

static void *thread_main(void *arg) { return arg; }

static int starts_thread(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, thread_main, NULL) == 0 && pthread_join(thread, NULL) == 0 ? 0 : 1;
}

static int is_refused_thread(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, thread_main, NULL) == EPERM ? 0 : 1;
}

static int forks(void) { return is_refused(fork()) ? 0 : 1; }

static int executes(void)
{
    char program[] = "/bin/true";
    char *argv[] = { program, NULL };
    (void)execv(program, argv);
    return 1;
}

static int kills_parent(void) { return is_refused(kill(getppid(), 0)) ? 0 : 1; }
static int aborts(void) { abort(); }
static int accepts(void) { return is_refused(accept(0, NULL, NULL)) ? 0 : 1; }
static int may_accept(void) { return accept(0, NULL, NULL) < 0 && errno != EPERM ? 0 : 1; }

static int has_no_core(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur != 0 || limit.rlim_max != 0)
        return 1;
    limit = (struct rlimit){ 1, 1 };
    return is_refused(setrlimit(RLIMIT_CORE, &limit)) ? 0 : 2;
}

static int connects(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0 && errno == ECONNREFUSED ? 0 : 1;
}

enum need { NEEDS_NOTHING, NEEDS_SECCOMP, NEEDS_LANDLOCK };

static const struct {
    const char *sentence;
    unsigned powers;
    int (*attempt)(void);
    int signal;                         /* it dies of this */
    enum need need;
} cases[] = {
    { "a role without files opens nothing",                     POWER_LOOP, opens_outside, 0, NEEDS_SECCOMP },
    { "a role with its own folder opens nothing outside",       POWER_FILES, opens_outside, 0, NEEDS_LANDLOCK },
    { "a role with its own folder creates nothing outside",     POWER_FILES, writes_outside, 0, NEEDS_LANDLOCK },
    { "a role with its own folder works in it",                 POWER_FILES, works_inside, 0, NEEDS_NOTHING },
    { "a role that reads few files reads those",                POWER_READ_FILES, reads_inside, 0, NEEDS_SECCOMP },
    { "a role that reads few files reads no others",            POWER_READ_FILES, opens_outside, 0, NEEDS_LANDLOCK },
    { "no sockets without the power to connect",                POWER_LOOP | POWER_ACCEPT, makes_inet_socket, 0, NEEDS_SECCOMP },
    { "sockets with the power to connect",                      POWER_CONNECT, may_make_inet_socket, 0, NEEDS_NOTHING },
    { "a connection with the power to connect",                 POWER_CONNECT, connects, 0, NEEDS_NOTHING },
    { "no raw sockets even then",                               POWER_CONNECT, makes_raw_socket, 0, NEEDS_SECCOMP },
    { "no accept without its power",                            POWER_LOOP, accepts, 0, NEEDS_SECCOMP },
    { "accept with its power",                                  POWER_ACCEPT, may_accept, 0, NEEDS_NOTHING },
    { "a pair of local sockets passes bytes",                   POWER_LOOP, passes_bytes, 0, NEEDS_NOTHING },
    { "memory can be had and grow",                             POWER_LOOP, has_memory, 0, NEEDS_NOTHING },
    { "no memory is writable and executable",                   POWER_LOOP | POWER_FILES | POWER_THREADS, maps_executable, 0, NEEDS_SECCOMP },
    { "threads with their power",                               POWER_THREADS, starts_thread, 0, NEEDS_NOTHING },
    { "no threads without",                                     POWER_FILES, is_refused_thread, 0, NEEDS_SECCOMP },
    { "no processes, whatever the powers",                      POWER_THREADS | POWER_FILES | POWER_CONNECT, forks, 0, NEEDS_SECCOMP },
    { "another program is the end",                             POWER_THREADS | POWER_FILES | POWER_CONNECT, executes, SIGSYS, NEEDS_SECCOMP },
    { "no signals to others",                                   POWER_LOOP, kills_parent, 0, NEEDS_SECCOMP },
    { "a broken promise still ends the process",                POWER_LOOP, aborts, SIGABRT, NEEDS_NOTHING },
    { "no core is ever written",                                POWER_LOOP, has_no_core, 0, NEEDS_NOTHING },
};

static enum rc enter(unsigned powers, const char *user, struct buf *report, struct fault *fault)
{
    const char *paths[] = { folder, "/nonexistent/folder" };
    struct sandbox sandbox = {
        .user = user, .powers = powers,
        .paths = paths, .path_count = 2, .read_paths = paths, .read_path_count = 2,
    };
    return sandbox_enter(&sandbox, report, fault);
}

static int in_child(unsigned powers, int (*attempt)(void))
{
    pid_t child = fork();
    if (child == 0) {
        struct buf report;
        struct fault fault;
        buf_init(&report, 4096);
        if (enter(powers, NULL, &report, &fault) != RC_OK) {
            fprintf(stderr, "%s\n", fault.text);
            _exit(100);
        }
        _exit(attempt());
    }
    int status = -1;
    (void)waitpid(child, &status, 0);
    return status;
}

static void check_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE(cases[i].sentence);
        if ((cases[i].need == NEEDS_SECCOMP && !has_seccomp) || (cases[i].need == NEEDS_LANDLOCK && !has_landlock))
            continue;
        int status = in_child(cases[i].powers, cases[i].attempt);
        if (cases[i].signal != 0) {
            CHECK(WIFSIGNALED(status));
            CHECK_INT(WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status), cases[i].signal);
        } else {
            CHECK_INT(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0);
        }
    }
}

/* What the report says is what is so: read back in the child, told by a pipe. */
static void check_report(void)
{
    int fds[2];
    char text[4096];
    must(pipe(fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct buf report;
        struct fault fault;
        buf_init(&report, sizeof(text));
        _exit(enter(POWER_LOOP, NULL, &report, &fault) == RC_OK && write(fds[1], buf_slice(&report).ptr, buf_len(&report)) > 0 &&
              prctl(PR_GET_DUMPABLE) <= 0 ? 0 : 1);
    }
    (void)close(fds[1]);
    ssize_t got = read(fds[0], text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    (void)waitpid(child, NULL, 0);
    CASE("the report is one line and names every part");
    CHECK(strstr(text, "user=") != NULL && strstr(text, "no_new_privs=yes") != NULL && strstr(text, "seccomp=") != NULL);
    CHECK(strstr(text, "landlock=") != NULL && strchr(text, '\n') == NULL);
    has_seccomp = strstr(text, "seccomp=yes") != NULL;
    has_landlock = strstr(text, "landlock=abi") != NULL;
    fprintf(stderr, "%s\n", text);
}

static int checks_user(const char *user, bool exists)
{
    pid_t child = fork();
    if (child == 0) {
        struct buf report;
        struct fault fault;
        buf_init(&report, 4096);
        enum rc rc = enter(POWER_LOOP, user, &report, &fault);
        if (!exists)
            _exit(rc == RC_PERM && strstr(fault.text, user) != NULL && strstr(fault.text, "setup") != NULL ? 0 : 1);
        const struct passwd *entry = getpwnam(user);        /* refused by now where seccomp is: then uid is what counts */
        _exit(rc == RC_OK && geteuid() != 0 && getegid() != 0 && (entry == NULL || entry->pw_uid == getuid()) && setuid(0) != 0 ? 0 : 1);
    }
    int status = -1;
    (void)waitpid(child, &status, 0);
    return status;
}

int main(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/thurn-sandbox-XXXXXX");
    must(mkdtemp(folder) != NULL);
    (void)snprintf(inside, sizeof(inside), "%s/file", folder);
    (void)snprintf(outside, sizeof(outside), "%s-outside", folder);
    check_report();
    check_cases();
    if (geteuid() == 0) {
        CASE("a user who is not there is one clear line");
        CHECK_INT(checks_user("thurn-nobody-of-that-name", false), 0);
        CASE("root becomes the user, for good");
        int status = checks_user("nobody", true);
        CHECK(has_seccomp ? WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS : status == 0);    /* setuid is a deadly call */
    }
    (void)unlink(inside);
    (void)unlink(outside);
    (void)rmdir(folder);
    return check_done();
}
