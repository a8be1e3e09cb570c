/* The disk of the simulator: what a crash leaves, what a failure leaves, and what fits. */
#include "check.h"
#include "sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

static struct disk_file *open_file(struct disk *d, const char *path, int flags)
{
    struct disk_file *f = NULL;
    CHECK_INT(disk_open(d, path, flags, 0600, &f), 0);
    return f;
}

static void sync_folder(struct disk *d, const char *path)
{
    struct disk_file *f = open_file(d, path, O_RDONLY | O_DIRECTORY);
    CHECK_INT(disk_sync(f), 0);
    disk_close(f);
}

static void write_text(struct disk_file *f, const char *text, uint64_t offset)
{
    CHECK_INT(disk_write(f, text, strlen(text), offset), strlen(text));
}

/* A file with its name on the medium, and its text. */
static struct disk_file *synced_file(struct disk *d, const char *path, const char *text)
{
    struct disk_file *f = open_file(d, path, O_RDWR | O_CREAT);
    write_text(f, text, 0);
    CHECK_INT(disk_sync(f), 0);
    sync_folder(d, "/");
    return f;
}

/* All of a file as text; "-": there is none. Bytes that are 0 are shown as '.'. */
static const char *text_of(struct disk *d, const char *path)
{
    static char text[20000];
    struct disk_file *f;
    if (disk_open(d, path, O_RDONLY, 0, &f) < 0)
        return "-";
    int64_t got = disk_read(f, text, sizeof text - 1, 0);
    disk_close(f);
    for (int64_t i = 0; i < got; i++)
        if (text[i] == '\0')
            text[i] = '.';
    text[got < 0 ? 0 : got] = '\0';
    return text;
}

static void cut(struct disk *d, struct disk_file *f, enum disk_loss loss)
{
    disk_power_cut(d, loss);
    if (f != NULL)
        disk_close(f);
}

static void test_bytes(void)
{
    CASE("what was synced is there after a crash, what was not is lost");
    struct disk *d = disk_new(1, 0, false);
    struct disk_file *f = synced_file(d, "/a", "first");
    write_text(f, "FI", 0);
    write_text(f, " second", 5);
    CHECK_STR(text_of(d, "/a"), "FIrst second");
    cut(d, f, DISK_LOSE_ALL);
    CHECK_STR(text_of(d, "/a"), "first");
    CASE("or all of it is there, when nothing was lost");
    f = open_file(d, "/a", O_RDWR);
    write_text(f, "FI", 0);
    write_text(f, " second", 5);
    cut(d, f, DISK_LOSE_NOTHING);
    CHECK_STR(text_of(d, "/a"), "FIrst second");
    CASE("a file synced before its name is on the medium may be gone");
    f = open_file(d, "/b", O_RDWR | O_CREAT);
    write_text(f, "b", 0);
    CHECK_INT(disk_sync(f), 0);
    CHECK_INT(disk_write(f, "x", 1, 1), 1);
    disk_power_cut(d, DISK_LOSE_ALL);
    CASE("a file that was open when the power went is dead");
    char byte;
    CHECK_INT(disk_read(f, &byte, 1, 0), -EIO);
    CHECK_INT(disk_write(f, &byte, 1, 0), -EIO);
    CHECK_INT(disk_sync(f), -EIO);
    disk_close(f);
    CHECK_STR(text_of(d, "/b"), "-");
    disk_free(d);
}

/* How many of 64 sectors, each overwritten with its letter, are new; -1: one is neither old nor new. */
static int new_sectors(const char *text, bool *is_torn)
{
    int count = 0;
    for (size_t s = 0; s < 16; s++) {
        size_t same = 0;
        const char *at = text + s * 512;
        while (same < 512 && at[same] == 'n')
            same++;
        for (size_t i = same; i < 512; i++)
            if (at[i] != 'o')
                return -1;
        if (same > 0 && same < 512 && (*is_torn))
            return -1;
        if (same > 0 && same < 512)
            *is_torn = true;
        count += same == 512;
    }
    return count;
}

static void test_sectors(void)
{
    static char old[8193], fresh[8193];
    memset(old, 'o', 8192);
    memset(fresh, 'n', 8192);
    unsigned partly = 0, torn = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        bool tears = seed % 2 == 0, is_torn = !tears;
        CASE(tears ? "at most one sector is torn, the others are old or new" : "sectors are old or new, each by itself");
        struct disk *d = disk_new(seed, 0, false);
        struct disk_file *f = synced_file(d, "/a", old);
        CHECK_INT(disk_write(f, fresh, 8192, 0), 8192);
        cut(d, f, tears ? DISK_LOSE_TORN : DISK_LOSE_SOME);
        const char *text = text_of(d, "/a");
        CHECK_INT(strlen(text), 8192);
        int count = new_sectors(text, &is_torn);
        CHECK(count >= 0);
        partly += count > 0 && count < 16;
        torn += tears && is_torn;
        disk_free(d);
    }
    CHECK(partly > 30);
    CHECK(torn > 10);
}

static void test_failed_sync(void)
{
    CASE("what a failed sync left unwritten is shown, but the next sync does not bring it to the medium");
    struct disk *d = disk_new(1, 0, false);
    struct disk_file *f = synced_file(d, "/a", "old");
    write_text(f, "new", 0);
    disk_plan(d, disk_calls(d) + 1, -EIO, 0);
    CHECK_INT(disk_sync(f), -EIO);
    CHECK_STR(disk_failed_call(d), "sync");
    CHECK_INT(disk_sync(f), 0);
    CHECK_STR(text_of(d, "/a"), "new");
    CASE("what is written after it comes to the medium by itself");
    char line[600];
    memset(line, '-', sizeof line);
    CHECK_INT(disk_write(f, line, 513, 512), 513);
    CHECK_INT(disk_sync(f), 0);
    cut(d, f, DISK_LOSE_NOTHING);
    CHECK(strncmp(text_of(d, "/a"), "old...", 6) == 0);
    CHECK(strncmp(text_of(d, "/a") + 510, "..---", 5) == 0);
    CHECK_INT(strlen(text_of(d, "/a")), 1025);
    disk_free(d);
}

static void test_names(void)
{
    CASE("a rename is there as a whole or not at all");
    unsigned kept = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct disk *d = disk_new(seed, 0, false);
        disk_close(synced_file(d, "/old", "old"));
        disk_close(synced_file(d, "/new", "new"));
        CHECK_INT(disk_rename(d, "/new", "/old"), 0);
        CHECK_STR(text_of(d, "/old"), "new");
        CHECK_STR(text_of(d, "/new"), "-");
        disk_power_cut(d, DISK_LOSE_SOME);
        bool is_done = strcmp(text_of(d, "/old"), "new") == 0;
        CHECK_STR(text_of(d, "/old"), is_done ? "new" : "old");
        CHECK_STR(text_of(d, "/new"), is_done ? "-" : "new");
        kept += is_done;
        disk_free(d);
    }
    CHECK(kept > 8 && kept < 32);
    CASE("changes of names stay in order: an unlink after a synced rename may be undone, the rename not");
    struct disk *d = disk_new(1, 0, false);
    disk_close(synced_file(d, "/a", "a"));
    CHECK_INT(disk_rename(d, "/a", "/b"), 0);
    sync_folder(d, "/");
    CHECK_INT(disk_unlink(d, "/b"), 0);
    CHECK_STR(text_of(d, "/b"), "-");
    disk_power_cut(d, DISK_LOSE_ALL);
    CHECK_STR(text_of(d, "/b"), "a");
    CHECK_STR(text_of(d, "/a"), "-");
    CASE("a folder that nobody synced goes with all that is in it");
    CHECK_INT(disk_make_dir(d, "/folder", 0700), 0);
    CHECK_INT(disk_make_dir(d, "/folder", 0700), -EEXIST);
    struct disk_file *f = open_file(d, "/folder//./file", O_RDWR | O_CREAT | O_EXCL);
    CHECK_INT(disk_sync(f), 0);
    disk_close(f);
    CHECK_INT(disk_open(d, "/folder/file", O_RDWR | O_CREAT | O_EXCL, 0600, &f), -EEXIST);
    CHECK_INT(disk_remove_dir(d, "/folder"), -ENOTEMPTY);
    sync_folder(d, "/folder");
    disk_power_cut(d, DISK_LOSE_ALL);
    struct stat st;
    CHECK_INT(disk_stat(d, "/folder", &st), -ENOENT);
    CASE("names are listed, once each");
    CHECK_INT(disk_make_dir(d, "/f", 0700), 0);
    for (int i = 0; i < 300; i++) {
        char path[32];
        snprintf(path, sizeof path, "/f/%d", i);
        disk_close(open_file(d, path, O_RDWR | O_CREAT));
    }
    char *names;
    size_t count;
    CHECK_INT(disk_list(d, "/f", &names, &count), 0);
    CHECK_INT(count, 300);
    disk_list_free(names);
    CHECK_INT(disk_list(d, "/b", &names, &count), -ENOTDIR);
    CHECK_INT(disk_list(d, "/none", &names, &count), -ENOENT);
    disk_free(d);
}

static void test_truncate(void)
{
    CASE("a truncation that was not synced may not have been");
    struct disk *d = disk_new(1, 0, false);
    struct disk_file *f = synced_file(d, "/a", "0123456789");
    CHECK_INT(disk_truncate(f, 4), 0);
    CHECK_STR(text_of(d, "/a"), "0123");
    CHECK_INT(disk_truncate(f, 6), 0);
    CHECK_STR(text_of(d, "/a"), "0123..");
    cut(d, f, DISK_LOSE_ALL);
    CHECK_STR(text_of(d, "/a"), "0123456789");
    CASE("one that was synced has been, and what grows behind it is zeros");
    f = open_file(d, "/a", O_RDWR);
    CHECK_INT(disk_truncate(f, 4), 0);
    CHECK_INT(disk_sync(f), 0);
    CHECK_INT(disk_truncate(f, 8), 0);
    cut(d, f, DISK_LOSE_NOTHING);
    CHECK_STR(text_of(d, "/a"), "0123....");
    CASE("whole pages come back too");
    static char big[20000];
    memset(big, 'x', sizeof big - 1);
    f = synced_file(d, "/big", big);
    CHECK_INT(disk_truncate(f, 5000), 0);
    cut(d, f, DISK_LOSE_ALL);
    CHECK_STR(text_of(d, "/big"), big);
    disk_free(d);
}

static void test_room(void)
{
    CASE("what does not fit is refused, and what is deleted makes room");
    struct disk *d = disk_new(1, 40960, false);
    static char block[8192];
    struct disk_file *a = open_file(d, "/a", O_RDWR | O_CREAT), *b = open_file(d, "/b", O_RDWR | O_CREAT);
    CHECK_INT(disk_allocate(a, 0, 32768), 0);
    CHECK_INT(disk_free_bytes(d), 8192);
    CHECK_INT(disk_write(b, block, 4096, 0), 4096);
    CASE("a write that fits in part is short, then refused");
    CHECK_INT(disk_write(b, block, 8192, 4096), 4096);
    CHECK_INT(disk_write(b, block, 8192, 8192), -ENOSPC);
    CASE("what was allocated can be written");
    CHECK_INT(disk_write(a, block, 8192, 8192), 8192);
    CHECK_INT(disk_allocate(b, 0, 20000), -ENOSPC);
    CHECK_INT(disk_unlink(d, "/a"), 0);
    CHECK_INT(disk_free_bytes(d), 0);           /* still open */
    disk_close(a);
    CHECK_INT(disk_free_bytes(d), 32768);
    CHECK_INT(disk_truncate(b, 0), 0);
    CHECK_INT(disk_free_bytes(d), 40960);
    disk_close(b);
    disk_free(d);
    CASE("an undone unlink takes its room again");
    d = disk_new(1, 40960, false);
    disk_close(synced_file(d, "/a", "a"));
    CHECK_INT(disk_unlink(d, "/a"), 0);
    CHECK_INT(disk_free_bytes(d), 40960);
    disk_power_cut(d, DISK_LOSE_ALL);
    CHECK_INT(disk_free_bytes(d), 36864);
    CHECK_STR(text_of(d, "/a"), "a");
    disk_free(d);
}

static size_t half(void *arg, const char *path, size_t len)
{
    (void)arg, (void)path;
    return len / 2;
}

static int fail_rename(void *arg, const char *call, const char *path)
{
    ++*(unsigned *)arg;
    return strcmp(call, "rename") == 0 && strcmp(path, "/a") == 0 ? -EMFILE : 0;
}

static void test_faults(void)
{
    CASE("a fault's calls are told, and fail as asked");
    struct disk *d = disk_new(1, 0, false);
    unsigned calls = 0;
    disk_set_faults(d, &(struct disk_faults){ .arg = &calls, .fail = fail_rename, .shorten = half });
    struct disk_file *f = open_file(d, "/a", O_RDWR | O_CREAT | O_APPEND);
    CASE("a write is short when asked to be");
    CHECK_INT(disk_write(f, "12345678", 8, 0), 4);
    CHECK_INT(disk_write(f, "5678", 4, 0), 2);          /* appended */
    CHECK_STR(text_of(d, "/a"), "123456");
    CHECK_INT(disk_rename(d, "/a", "/b"), -EMFILE);
    CHECK_STR(text_of(d, "/a"), "123456");
    CHECK_INT(calls, 8);
    CHECK_INT(disk_figures(d).faults, 1);
    disk_set_faults(d, &(struct disk_faults){ 0 });
    CASE("from a planned stop on everything fails, and nothing reaches the medium but a part of that write");
    CHECK_INT(disk_sync(f), 0);
    sync_folder(d, "/");
    disk_plan(d, 0, 0, disk_calls(d) + 1);
    CHECK_INT(disk_write(f, "tail", 4, 0), -EIO);
    CHECK_INT(disk_sync(f), -EIO);
    cut(d, f, DISK_LOSE_ALL);
    CHECK_STR(text_of(d, "/a"), "123456");
    disk_free(d);
}

static void test_locks_and_flips(void)
{
    CASE("a file's lock excludes other openings of it, until it is closed or the power goes");
    struct disk *d = disk_new(1, 0, false);
    struct disk_file *a = synced_file(d, "/a", "a"), *b = open_file(d, "/a", O_RDWR);
    CHECK_INT(disk_lock(a, LOCK_EX | LOCK_NB), 0);
    CHECK_INT(disk_lock(a, LOCK_EX | LOCK_NB), 0);
    CHECK_INT(disk_lock(b, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
    CHECK_INT(disk_lock(b, LOCK_SH | LOCK_NB), -EWOULDBLOCK);
    disk_close(a);
    CHECK_INT(disk_lock(b, LOCK_EX | LOCK_NB), 0);
    cut(d, b, DISK_LOSE_NOTHING);
    a = open_file(d, "/a", O_RDWR);
    CHECK_INT(disk_lock(a, LOCK_EX | LOCK_NB), 0);
    disk_close(a);
    CASE("a flipped bit is shown, and stays");
    CHECK_INT(disk_flip(d, "/a", 0, 1), 0);
    CHECK_STR(text_of(d, "/a"), "c");
    disk_power_cut(d, DISK_LOSE_ALL);
    CHECK_STR(text_of(d, "/a"), "c");
    CHECK_INT(disk_flip(d, "/a", 1, 1), -EINVAL);
    CHECK_INT(disk_flip(d, "/b", 0, 1), -ENOENT);
    CASE("a clone has the same and goes its own way");
    CHECK_INT(disk_make_dir(d, "/folder", 0700), 0);
    disk_close(open_file(d, "/folder/b", O_RDWR | O_CREAT));
    struct disk *clone = disk_clone(d, 2);
    a = open_file(d, "/a", O_RDWR);
    write_text(a, "other", 0);
    disk_close(a);
    disk_power_cut(clone, DISK_LOSE_ALL);
    CHECK_STR(text_of(clone, "/a"), "c");
    CHECK_STR(text_of(clone, "/folder/b"), "");
    CHECK_STR(text_of(d, "/a"), "other");
    disk_free(clone);
    disk_free(d);
}

static void test_large(void)
{
    CASE("a large allocated file costs a crash nothing but what was written to it");
    struct disk *d = disk_new(1, 0, false);
    struct disk_file *f = open_file(d, "/segment", O_RDWR | O_CREAT);
    CHECK_INT(disk_allocate(f, 0, 1ull << 32), 0);
    CHECK_INT(disk_sync(f), 0);
    sync_folder(d, "/");
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK_INT(disk_write(f, &i, sizeof i, 1ull << 31), sizeof i);
        cut(d, f, DISK_LOSE_ALL);
        f = open_file(d, "/segment", O_RDWR);
    }
    uint64_t last = 1;
    CHECK_INT(disk_read(f, &last, sizeof last, 1ull << 31), sizeof last);
    CHECK_INT(last, 0);
    disk_close(f);
    disk_free(d);
}

int main(void)
{
    test_bytes();
    test_sectors();
    test_failed_sync();
    test_names();
    test_truncate();
    test_room();
    test_faults();
    test_locks_and_flips();
    test_large();
    return check_done();
}
