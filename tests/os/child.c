/* Children, small files, folders. The test starts itself again as the child. */
#include "check.h"

#include "os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[160], other[160];

/* In the child: what does it have? Says so over descriptor 3. */
static int be_child(void)
{
    char answer[4] = "ooo";
    int death_signal = 0;
    sigset_t blocked;
    if (fcntl(4, F_GETFD) >= 0 || fcntl(5, F_GETFD) >= 0 || fcntl(200, F_GETFD) >= 0)
        answer[0] = 'x';
    if (prctl(PR_GET_PDEATHSIG, &death_signal) != 0 || death_signal != SIGKILL)
        answer[1] = 'x';
    if (sigprocmask(SIG_SETMASK, NULL, &blocked) != 0 || sigismember(&blocked, SIGTERM) != 0)
        answer[2] = 'x';
    (void)!write(3, answer, 3);
    (void)pause();
    return 0;
}

static void check_child(void)
{
    char program[] = "child", word[] = "--child", answer[4] = "";
    char *argv[] = { program, word, NULL };
    int fds[2], status;
    struct fault fault;
    pid_t pid;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_INT(channel_pair(fds, &fault), RC_OK);
    (void)dup2(fds[0], 200);                    /* one that the child must not have */
    CASE("a child has its channel at 3 and nothing else, dies with its parent, and blocks no signal");
    CHECK_INT(child_start(argv, fds[1], &pid, &fault), RC_OK);
    (void)close(fds[1]);
    (void)fcntl(fds[0], F_SETFL, 0);
    CHECK_INT(read(fds[0], answer, 3), 3);
    CHECK_STR(answer, "ooo");
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    CASE("its end of the channel goes with it");
    CHECK_INT(read(fds[0], answer, 1), 0);
    (void)close(fds[0]);
    (void)close(200);
}

static void check_files(void)
{
    struct buf content;
    struct fault fault;
    struct stat status;
    buf_init(&content, 1 << 20);
    CASE("what is written whole is read whole, with just its mode");
    CHECK_INT(file_write_all(path, SLICE("host_name: a\n"), 0640, &fault), RC_OK);
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0640);
    CHECK_INT(file_read_all(path, 100, &content, &fault), RC_OK);
    CHECK_SLICE(buf_slice(&content), SLICE("host_name: a\n"));
    CASE("a second content replaces the first, with nothing left beside it");
    CHECK_INT(file_write_all(path, SLICE("b"), 0600, &fault), RC_OK);
    buf_clear(&content);
    CHECK_INT(file_read_all(path, 1, &content, &fault), RC_OK);
    CHECK_SLICE(buf_slice(&content), SLICE("b"));
    CASE("a file over its maximum is refused by name");
    CHECK_INT(file_write_all(path, SLICE("12345"), 0600, &fault), RC_OK);
    CHECK_INT(file_read_all(path, 4, &content, &fault), RC_PERM);
    CHECK(strstr(fault.text, path) != NULL);
    CASE("no such file");
    CHECK_INT(file_read_all(other, 4, &content, &fault), RC_NONE);
    CASE("a folder is no file");
    CHECK(file_read_all(folder, 4, &content, &fault) == RC_PERM);
    (void)unlink(path);
    buf_free(&content);
}

static void check_folders(void)
{
    struct fault fault;
    struct stat status;
    char deep[256];
    (void)snprintf(deep, sizeof(deep), "%s/one/two", folder);
    CASE("a folder is made with its parents, and being there already is fine");
    CHECK_INT(dir_make(deep, 0700, &fault), RC_OK);
    CHECK(stat(deep, &status) == 0 && (status.st_mode & 0777) == 0700);
    CHECK_INT(dir_make(deep, 0755, &fault), RC_OK);
    (void)rmdir(deep);
    CHECK_INT(file_write_all(deep, SLICE("x"), 0600, &fault), RC_OK);
    CASE("a file in the way is said to be one");
    CHECK_INT(dir_make(deep, 0700, &fault), RC_PERM);
    CHECK(strstr(fault.text, deep) != NULL);
    (void)unlink(deep);
    (void)snprintf(deep, sizeof(deep), "%s/one", folder);
    (void)rmdir(deep);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--child") == 0)
        return be_child();
    (void)snprintf(folder, sizeof(folder), "/tmp/thurn-child-XXXXXX");
    must(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    (void)snprintf(other, sizeof(other), "%s/missing", folder);
    check_child();
    check_files();
    check_folders();
    CASE("random numbers differ");
    CHECK(random_u64() != random_u64());
    (void)rmdir(folder);
    return check_done();
}
