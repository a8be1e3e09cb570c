/* Copying a store that is in use (store/backup.h): state.db however large, segments piece by piece, and the hold. */
#include "support.h"

#include "store/backup.h"

#include <sys/stat.h>

static struct store *store;
static int64_t now_ms = 1700000000000;

static void checkpoint(void)
{
    now_ms += 61000;
    for (int i = 0; i < 1000 && store_poll(store, now_ms); i++) {}
    (void)store_poll(store, now_ms);
}

static struct store_figures figures(void)
{
    struct store_figures f;
    store_figures(store, &f);
    return f;
}

/* More rows than SQLite's cache has pages for, so that it writes in any order. */
static void fill(void)
{
    uint64_t drafts = mailbox_id(store, 1, "Drafts"), wait;
    struct uid_set all = set_of("1:*"), a, b;
    uid_set_init(&a);
    uid_set_init(&b);
    append(store, drafts, SLICE("again and again"), 0);
    for (int i = 0; i < 18; i++) {
        CHECK_INT(store_copy(store, drafts, &all, drafts, false, &a, &b, &wait, NULL), RC_OK);
        CHECK_INT(store_wait(store, wait), RC_OK);
    }
    uid_set_free(&all);
    uid_set_free(&a);
    uid_set_free(&b);
}

static void copy_all(const char *dir, const char *to, uint64_t begin_of_last)
{
    char from[128], path[128];
    uint64_t *numbers, end = figures().durable_position;
    size_t count;
    struct fault fault = { 0 };
    CHECK_INT(backup_segments(&file_ops_real, dir, &numbers, &count, &fault), RC_OK);
    for (size_t i = 0; i < count; i++) {
        uint64_t start = numbers[i] * SEGMENT;
        if (start >= end)
            continue;
        snprintf(from, sizeof from, "%s/log/%016llx.seg", dir, (unsigned long long)numbers[i]);
        snprintf(path, sizeof path, "%s/log/%016llx.seg", to, (unsigned long long)numbers[i]);
        struct backup_copy c = { .files = &file_ops_real, .from = from, .to = path, .number = numbers[i], .segment_bytes = SEGMENT,
                                 .end = end < start + SEGMENT ? end - start : SEGMENT };
        if (begin_of_last > start && begin_of_last < start + SEGMENT) {      /* what an earlier copy has is not copied again */
            c.begin = begin_of_last - start;
            CHECK_INT(backup_checksum(&file_ops_real, path, c.begin, &c.crc, &fault), RC_OK);
        }
        CHECK_INT(backup_segment(&c, &fault), RC_OK);
        CHECK(!c.is_damaged);
        CHECK_INT(c.copied, c.end - c.begin);
        uint32_t crc;
        CHECK_INT(backup_checksum(&file_ops_real, path, c.end, &crc, &fault), RC_OK);
        CHECK_INT(crc, c.crc);
    }
    free(numbers);
}

static void copy_state(const char *dir, const char *to)
{
    char from[128], path[128];
    struct fault fault = { 0 };
    snprintf(from, sizeof from, "%s/state.db", dir);
    snprintf(path, sizeof path, "%s/state.db", to);
    (void)unlink(path);
    CHECK_INT(backup_database(&file_ops_real, from, path, true, &fault), RC_OK);
    CHECK_STR(fault.text, "");
}

/* Opened as a server would, and closed. */
static void check_copy(const char *dir, uint32_t messages)
{
    struct store *copy = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    struct store_usage usage;
    CHECK_INT(store_account_usage(copy, 1, &usage), RC_OK);
    CHECK_INT(usage.messages, messages);
    store_close(copy);
}

static void check_running(const char *dir, const char *to)
{
    CASE("a large state.db and its segments are copied while the store goes on, and make a store");
    char log[128];
    fill();
    checkpoint();
    copy_state(dir, to);
    append(store, mailbox_id(store, 1, "INBOX"), SLICE("behind the checkpoint"), 0);
    snprintf(log, sizeof log, "%s/log", to);
    CHECK_INT(mkdir(log, 0700), 0);
    copy_all(dir, to, 0);
    uint64_t end = figures().durable_position;
    append(store, mailbox_id(store, 1, "INBOX"), SLICE("behind the copy"), 0);
    check_copy(to, (1 << 18) + 1);

    CASE("the next copy goes on where that one ended");
    remove_folder(to);
    CHECK_INT(mkdir(to, 0700), 0);
    CHECK_INT(mkdir(log, 0700), 0);
    copy_all(dir, to, 0);
    for (int i = 0; i < 50; i++)
        append(store, mailbox_id(store, 1, "INBOX"), SLICE("and more of it"), 0);
    copy_state(dir, to);
    copy_all(dir, to, end);
    check_copy(to, (1 << 18) + 52);
}

static void check_hold(void)
{
    CASE("while it is held no segment is given back; behind it they are");
    static char text[60000];
    struct store_held held, again;
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), wait;
    memset(text, 'x', sizeof text);
    checkpoint();
    store_hold(store, 120, &held);
    CHECK_INT(held.end, figures().durable_position);
    CHECK_INT(held.segment_bytes, SEGMENT);
    uint64_t segments = figures().segments - figures().segments_free;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 20; i++)
            append(store, inbox, (struct slice){ text, sizeof text }, 0);
        CHECK_INT(store_expunge(store, inbox, NULL, true, NULL, &wait, NULL), RC_OK);
        CHECK_INT(store_wait(store, wait), RC_OK);
        checkpoint();
        store_hold(store, 120, &again);
        CHECK_INT(again.hold, held.hold);
    }
    uint64_t during = figures().segments - figures().segments_free;
    CHECK(during >= segments + 4 * 20 * sizeof text / SEGMENT - 1);
    now_ms += 121000;
    for (int i = 0; i < 8; i++) {
        append(store, inbox, SLICE("time goes on"), 0);
        checkpoint();
    }
    CHECK(figures().segments - figures().segments_free < during);
    store_hold(store, 120, &again);
    CHECK(again.hold != held.hold);             /* whoever held it before can see that it was broken */
}

static void check_damage(const char *dir)
{
    CASE("a record that the disk has changed is found while it is copied");
    char from[128], to[128], byte;
    struct fault fault = { 0 };
    append(store, mailbox_id(store, 1, "INBOX"), SLICE("the last one"), 0);
    uint64_t end = figures().durable_position, number = end / SEGMENT;
    snprintf(from, sizeof from, "%s/log/%016llx.seg", dir, (unsigned long long)number);
    snprintf(to, sizeof to, "%s/copy.seg", dir);
    int fd = file_ops_real.open(NULL, from, false, false);
    CHECK_INT(file_ops_real.read_at(NULL, fd, &byte, 1, end % SEGMENT - 2), 1);
    byte ^= 4;
    CHECK_INT(file_ops_real.write_at(NULL, fd, &byte, 1, end % SEGMENT - 2), 1);
    struct backup_copy c = { .files = &file_ops_real, .from = from, .to = to, .number = number, .segment_bytes = SEGMENT, .end = end % SEGMENT };
    CHECK_INT(backup_segment(&c, &fault), RC_OK);
    CHECK(c.is_damaged);
    CHECK(c.damaged_at < end % SEGMENT && c.damaged_at >= end % SEGMENT - 200);
    byte ^= 4;
    CHECK_INT(file_ops_real.write_at(NULL, fd, &byte, 1, end % SEGMENT - 2), 1);
    file_ops_real.close(NULL, fd);
    CHECK_INT(backup_copy_file(&file_ops_real, from, to, 100, 0, 1, NULL, NULL, &fault), RC_PERM);
    CHECK(strstr(fault.text, "is damaged: its checksum") != NULL);
    snprintf(from, sizeof from, "%s/log/00000000deadbeef.seg", dir);
    c.begin = 0;
    CHECK_INT(backup_segment(&c, &fault), RC_NONE);
    unlink(to);
}

int main(void)
{
    char dir[64], to[64];
    temporary_folder(dir);
    temporary_folder(to);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    make_account(store, 1);
    check_running(dir, to);
    store_close(store);
    remove_folder(dir);
    temporary_folder(dir);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    make_account(store, 1);
    check_hold();
    check_damage(dir);
    store_close(store);
    remove_folder(dir);
    remove_folder(to);
    return check_done();
}
