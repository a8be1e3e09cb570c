/* A batch of the log that could not be written leaves nothing behind (L3), whatever of it stands on the medium. */
#include "os/wake.h"
#include "sim/disk.h"
#include "support.h"

#include <errno.h>
#include <pthread.h>

enum { SMALL = 32 << 10 };

static struct disk *disk;
static struct disk *current(void) { return disk; }

/* What holds the thread that writes, so that what comes meanwhile is one batch; and whether the second segment cannot be written. */
static struct {
    struct file_ops below;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool holds, is_held, is_bad;
    unsigned dies_after;                /* so many writes more, and the process is gone; 0: never */
    int second;                         /* the second segment's descriptor */
} door = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static int open_file(void *self, const char *path, bool create, bool read_only)
{
    int fd = door.below.open(self, path, create, read_only);
    pthread_mutex_lock(&door.lock);
    if (!read_only && strstr(path, "0000000000000001.seg") != NULL)
        door.second = fd;
    pthread_mutex_unlock(&door.lock);
    return fd;
}

static int64_t write_at(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
    pthread_mutex_lock(&door.lock);
    while (door.holds) {
        door.is_held = true;
        pthread_cond_broadcast(&door.changed);
        pthread_cond_wait(&door.changed, &door.lock);
    }
    bool fails = door.is_bad && fd == door.second;
    if (door.dies_after > 0 && --door.dies_after == 0)
        disk_plan(disk, 0, 0, 1);
    pthread_mutex_unlock(&door.lock);
    return fails ? -EIO : door.below.write_at(self, fd, data, len, offset);
}

static void set_door(bool holds, bool is_bad)
{
    pthread_mutex_lock(&door.lock);
    door.holds = holds;
    door.is_held = false;
    door.is_bad = is_bad;
    pthread_cond_broadcast(&door.changed);
    pthread_mutex_unlock(&door.lock);
}

static void wait_until_held(void)
{
    pthread_mutex_lock(&door.lock);
    while (!door.is_held)
        pthread_cond_wait(&door.changed, &door.lock);
    pthread_mutex_unlock(&door.lock);
}

static struct store *open_it(void)
{
    static struct file_ops ops;
    ops = door.below = disk_ops(disk);
    ops.open = open_file;
    ops.write_at = write_at;
    struct store_options options = { .dir = "/store", .files = &ops, .segment_bytes = SMALL, .hash_seed = { 1, 2 } };
    struct store *store = NULL;
    struct fault f = { 0 };
    CHECK_INT(store_open(&options, &store, &f), RC_OK);
    CHECK_STR(f.text, "");
    return store;
}

static uint64_t hand_over(struct store *store, char letter, size_t len)
{
    static char text[SMALL];
    uint32_t uid;
    uint64_t wait = 0;
    memset(text, letter, len);
    CHECK_INT(store_append(store, mailbox_id(store, 1, "INBOX"), body_of(store, (struct slice){ text, len }), (struct mail_date){ 1, 0 }, 0, 0, &uid,
                           &wait, NULL), RC_OK);
    return wait;
}

/* The first letters of what is in INBOX. */
static void check_inbox(struct store *store, const char *want)
{
    struct store_view *view;
    char got[20] = "";
    CHECK_INT(store_view_open(store, mailbox_id(store, 1, "INBOX"), true, &view, NULL), RC_OK);
    for (uint32_t seq = 1; seq <= store_view_count(view) && seq < sizeof got; seq++) {
        struct store_message m;
        store_view_at(view, seq, &m);
        if (store_read(store, m.body_id, 0, 1, got + seq - 1, NULL) != RC_OK)
            got[seq - 1] = '?';
    }
    CHECK_STR(got, want);
    store_view_close(view);
}

/* A batch, the last of it in the next segment, which cannot be written: it fails with the others whole on the medium.
 * What is written over the first has its very length, so that the second would fit behind it; and the process dies before it has
 * written zeros there. */
static void check_remainder(void)
{
    CASE("what is left of a batch that failed does not count behind the batch that was written over it");
    disk = disk_new(1, 0, true);
    CHECK_INT(disk_make_dir(disk, "/store", 0700), 0);
    struct store *store = open_it();
    make_account(store, 1);
    append(store, mailbox_id(store, 1, "INBOX"), SLICE("a"), 0);
    set_door(true, true);
    uint64_t first = hand_over(store, 'b', 1);
    wait_until_held();
    uint64_t waits[3] = { hand_over(store, 'c', 500) };
    CHECK_INT(store_subscribe(store, 1, SLICE("ghost"), true, &waits[1], NULL), RC_OK);
    waits[2] = hand_over(store, 'e', 16000);
    (void)hand_over(store, 'f', 16000);
    set_door(false, true);
    CHECK_INT(store_wait(store, first), RC_OK);
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(store_wait(store, waits[i]), RC_TEMP);
    check_inbox(store, "ab");
    set_door(false, false);
    door.dies_after = 2;
    CHECK_INT(store_wait(store, hand_over(store, 'g', 500)), RC_TEMP);
    store_close(store);
    disk_plan(disk, 0, 0, 0);
    store = open_it();
    check_inbox(store, "abg");
    struct store_mailbox_info info;
    for (struct slice after = SLICE_NONE; store_mailbox_next(store, 1, after, &info) == RC_OK; after = info.name)
        CHECK(!slice_equal(info.name, SLICE("ghost")));
    CHECK_INT(store_wait(store, hand_over(store, 'h', 10)), RC_OK);
    check_inbox(store, "abgh");
    store_close(store);
    disk_free(disk);
}

int main(void)
{
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current });
    check_remainder();
    return check_done();
}
