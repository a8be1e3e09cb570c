/* The system's file operations (os/file.h), and the bell between threads (os/wake.h). */
#include "check.h"
#include "os/file.h"
#include "os/wake.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct file_ops *const f = &file_ops_real;

static void count_name(void *arg, const char *name)
{
    (*(int *)arg)++;
    CHECK(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
}

static void check_files(const char *dir)
{
    char path[96], other[96], bytes[16] = { 0 };
    struct stat st;
    snprintf(path, sizeof path, "%s/file", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    CASE("what is not there is not made unasked");
    CHECK_INT(f->open(f->self, path, false, false), -ENOENT);
    CASE("a new file is ours alone");
    int fd = f->open(f->self, path, true, false);
    CHECK(fd >= 0);
    CHECK(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600);
    CASE("bytes are written and read where they are said to be, short at the end");
    CHECK_INT(f->write_at(f->self, fd, "hello", 5, 10), 5);
    CHECK_INT(f->size(f->self, fd), 15);
    CHECK_INT(f->read_at(f->self, fd, bytes, 16, 10), 5);
    CHECK_STR(bytes, "hello");
    CHECK_INT(f->read_at(f->self, fd, bytes, 16, 15), 0);
    CHECK_INT(f->sync(f->self, fd), 0);
    CASE("room is made ahead, and taken back");
    CHECK_INT(f->allocate(f->self, fd, 100000), 0);
    CHECK_INT(f->size(f->self, fd), 100000);
    CHECK(fstat(fd, &st) == 0 && st.st_blocks * 512 >= 100000);
    CHECK_INT(f->allocate(f->self, fd, 50), 0);
    CHECK_INT(f->size(f->self, fd), 100000);
    CHECK_INT(f->truncate(f->self, fd, 12), 0);
    CHECK_INT(f->size(f->self, fd), 12);
    CASE("one who locks keeps others out, until it closes");
    int second = f->open(f->self, path, false, false);
    CHECK_INT(f->lock(f->self, fd), 0);
    CHECK_INT(f->lock(f->self, second), -EWOULDBLOCK);
    CHECK_INT(f->close(f->self, fd), 0);
    CHECK_INT(f->lock(f->self, second), 0);
    CHECK_INT(f->close(f->self, second), 0);
    CASE("opened for reading only, nothing is written");
    fd = f->open(f->self, path, false, true);
    CHECK_INT(f->write_at(f->self, fd, "x", 1, 0), -EBADF);
    CHECK_INT(f->close(f->self, fd), 0);
    CHECK_INT(f->close(f->self, fd), -EBADF);
    CASE("a link in place of a file is refused");
    CHECK(symlink(path, other) == 0);
    CHECK_INT(f->open(f->self, other, true, false), -ELOOP);
    CHECK_INT(f->unlink(f->self, other), 0);
    CASE("renaming, listing, unlinking");
    int count = 0;
    CHECK_INT(f->rename(f->self, path, other), 0);
    CHECK_INT(f->rename(f->self, path, other), -ENOENT);
    CHECK_INT(f->list(f->self, dir, count_name, &count), 0);
    CHECK_INT(count, 1);
    CHECK_INT(f->unlink(f->self, other), 0);
    CHECK_INT(f->unlink(f->self, other), -ENOENT);
    CHECK_INT(f->sync_dir(f->self, dir), 0);
}

static void check_folders(const char *dir)
{
    char path[96];
    int count = 0;
    struct stat st;
    snprintf(path, sizeof path, "%s/folder", dir);
    CASE("a folder is ours alone, and may be there already");
    CHECK_INT(f->make_dir(f->self, path), 0);
    CHECK_INT(f->make_dir(f->self, path), 0);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0700);
    CHECK(rmdir(path) == 0);
    CHECK_INT(f->make_dir(f->self, "/nonexistent/folder"), -ENOENT);
    CHECK_INT(f->list(f->self, "/nonexistent/folder", count_name, &count), -ENOENT);
    CHECK_INT(f->sync_dir(f->self, "/nonexistent/folder"), -ENOENT);
    CHECK(f->free_bytes(f->self, dir) > 0);
    CHECK_INT(f->free_bytes(f->self, "/nonexistent/folder"), -ENOENT);
}

static void check_bell(void)
{
    CASE("a bell that rang is heard once, however often it rang");
    int fd = wake_open();
    CHECK(fd >= 0);
    CHECK(!wake_wait(fd, 0));
    wake_ring(fd);
    wake_ring(fd);
    CHECK(wake_wait(fd, 0));
    CHECK(wake_wait(fd, -1));
    wake_quiet(fd);
    CHECK(!wake_wait(fd, 0));
    wake_quiet(fd);
    wake_close(fd);
    wake_close(-1);
}

int main(void)
{
    char dir[] = "/tmp/thurn-XXXXXX";
    if (mkdtemp(dir) == NULL)
        return EXIT_FAILURE;
    check_files(dir);
    check_folders(dir);
    check_bell();
    CHECK(rmdir(dir) == 0);
    return check_done();
}
