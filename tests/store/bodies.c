/* Bodies of all sizes, how long they live (S5), when their segments are used again (S7), and what a full disk does. */
#include "sim/disk.h"
#include "support.h"

enum { LARGE = 900 << 10 };

static struct store *store;
static int64_t now_ms = 1;

static char byte_at(uint64_t offset, uint64_t seed) { return (char)((offset * 2654435761u + seed) >> 13); }

static struct store_body *large_body(uint64_t bytes, uint64_t seed)
{
    struct store_body *body = store_body_begin(store);
    char piece[5000];
    for (uint64_t at = 0; at < bytes; at += sizeof piece) {
        size_t len = bytes - at < sizeof piece ? (size_t)(bytes - at) : sizeof piece;
        for (size_t i = 0; i < len; i++)
            piece[i] = byte_at(at + i, seed);
        enum rc rc;
        while ((rc = store_body_write(body, (struct slice){ piece, len }, NULL)) == RC_TEMP)
            (void)store_poll(store, 0);         /* a slow disk: too much waits to be written */
        CHECK_INT(rc, RC_OK);
    }
    CHECK_INT(store_body_size(body), bytes);
    return body;
}

static bool reads_well(uint64_t body_id, uint64_t bytes, uint64_t seed)
{
    static char out[3000];
    for (uint64_t at = 0; at < bytes; at += sizeof out) {
        size_t len = bytes - at < sizeof out ? (size_t)(bytes - at) : sizeof out;
        struct fault fault = { 0 };
        if (store_read(store, body_id, at, len, out, &fault) != RC_OK) {
            fprintf(stderr, "at %llu: %s\n", (unsigned long long)at, fault.text);
            return false;
        }
        for (size_t i = 0; i < len; i++)
            if (out[i] != byte_at(at + i, seed))
                return false;
    }
    return store_read(store, body_id, bytes, 1, out, NULL) == RC_PERM;
}

static uint32_t append_large(uint64_t mailbox, uint64_t bytes, uint64_t seed)
{
    uint32_t uid = 0;
    uint64_t wait;
    CHECK_INT(store_append(store, mailbox, large_body(bytes, seed), (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    return uid;
}

static uint64_t body_of_uid(uint64_t mailbox, uint32_t uid)
{
    struct store_view *view;
    struct store_message m;
    CHECK_INT(store_view_open(store, mailbox, true, &view, NULL), RC_OK);
    store_view_at(view, store_view_seq(view, uid), &m);
    CHECK_INT(m.uid, uid);
    store_view_close(view);
    return m.body_id;
}

static void expunge_all(uint64_t mailbox)
{
    uint64_t wait;
    CHECK_INT(store_expunge(store, mailbox, NULL, true, NULL, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
}

static struct store_figures figures(void)
{
    struct store_figures f;
    store_figures(store, &f);
    return f;
}

/* A minute passes, and the checkpoint is written in as many polls as it takes. */
static void checkpoint(void)
{
    now_ms += 61000;
    while (store_poll(store, now_ms)) {}
    store_poll(store, now_ms);
}

static void check_sizes(const char *dir)
{
    static const uint64_t sizes[] = { 0, 1, 65000, 65528, 65529, 131072, 131073, 262144, 300001, LARGE };
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    CASE("every size comes back as it went in");
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    for (size_t i = 0; i < COUNT; i++)
        CHECK_INT(append_large(inbox, sizes[i], i), i + 1);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++)
            CHECK(reads_well(body_of_uid(inbox, (uint32_t)i + 1), sizes[i], i));
        CHECK_INT(figures().bodies, COUNT);
        store_close(store);
        if (round == 1) {
            char path[96];
            snprintf(path, sizeof path, "%s/state.db", dir);
            CHECK_INT(unlink(path), 0);
        }
        store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    }
    CASE("an account's usage is the sum of sizes");
    struct store_usage usage;
    CHECK_INT(store_account_usage(store, 1, &usage), RC_OK);
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT; i++)
        sum += sizes[i];
    CHECK_INT(usage.bytes, sum);
    expunge_all(inbox);
}

static void check_recycling(void)
{
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    CASE("segments of expunged mail are used again: the disk does not fill up");
    uint64_t most = 0;
    for (int round = 0; round < 30; round++) {
        uint32_t uid = append_large(inbox, LARGE, (uint64_t)round);
        CHECK(reads_well(body_of_uid(inbox, uid), LARGE, (uint64_t)round));
        expunge_all(inbox);
        checkpoint();
        most = figures().segments > most ? figures().segments : most;
    }
    CHECK(figures().durable_position > 25 * (uint64_t)LARGE);
    CHECK(most <= 24);
    CHECK_INT(figures().bodies, 0);

    CASE("an abandoned body leaves dead bytes only");
    for (int round = 0; round < 20; round++) {
        store_body_abandon(large_body(LARGE, 1));
        append_large(inbox, 10, 1);
        checkpoint();
    }
    CHECK(figures().segments <= 24);
    CHECK_INT(figures().bodies, 20);

    CASE("a body on its way in keeps its pieces, however long it takes");
    struct store_body *slow = large_body(LARGE, 77);
    for (int round = 0; round < 10; round++) {
        append_large(inbox, LARGE, 5);
        expunge_all(inbox);
        checkpoint();
    }
    uint32_t uid;
    uint64_t wait;
    CHECK_INT(store_append(store, inbox, slow, (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(reads_well(body_of_uid(inbox, uid), LARGE, 77));
}

static void ignore_change(void *arg, const struct store_change *c) { (void)arg, (void)c; }

static void check_views_keep(void)
{
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), wait;
    CASE("what a view has not been told is gone stays readable (S5)");
    expunge_all(inbox);
    append_large(inbox, 1000, 3);
    append_large(inbox, LARGE, 4);
    struct store_view *view, *other;
    CHECK_INT(store_view_open(store, inbox, false, &view, NULL), RC_OK);
    CHECK_INT(store_view_open(store, inbox, false, &other, NULL), RC_OK);
    expunge_all(inbox);
    store_view_sync(other, true, ignore_change, NULL);
    CHECK_INT(store_view_count(other), 0);
    for (int round = 0; round < 10; round++) {
        append_large(inbox, LARGE, 5);
        expunge_all(inbox);
        checkpoint();
    }
    struct store_message m;
    CHECK_INT(store_view_count(view), 2);
    store_view_at(view, 2, &m);
    CHECK(reads_well(m.body_id, LARGE, 4));
    store_view_at(view, 1, &m);
    CHECK(reads_well(m.body_id, 1000, 3));
    store_view_sync(view, false, ignore_change, NULL);
    CHECK(reads_well(m.body_id, 1000, 3));
    store_view_sync(view, true, ignore_change, NULL);
    store_view_sync(other, true, ignore_change, NULL);
    store_poll(store, now_ms);
    CHECK_INT(figures().bodies, 0);
    CASE("also when the whole mailbox goes");
    CHECK_INT(store_mailbox_create(store, 1, SLICE("short"), SPECIAL_NONE, 1, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    store_view_close(other);
    uint64_t mailbox = mailbox_id(store, 1, "short");
    append_large(mailbox, LARGE, 9);
    CHECK_INT(store_view_open(store, mailbox, false, &other, NULL), RC_OK);
    CHECK_INT(store_mailbox_delete(store, 1, SLICE("short"), &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    store_view_at(other, 1, &m);
    CHECK(reads_well(m.body_id, LARGE, 9));
    CHECK(store_view_has_news(other));
    store_view_close(other);
    store_view_close(view);
    store_poll(store, now_ms);
    CHECK_INT(figures().bodies, 0);
}

static void check_shared(void)
{
    CASE("one body for many recipients, gone with the last");
    struct store_delivery to[6] = { 0 };
    for (size_t i = 0; i < 6; i++)
        to[i] = (struct store_delivery){ .account = i < 3 ? 1 : 2, .mailbox = i % 2 == 0 ? SLICE("INBOX") : SLICE("Junk") };
    struct store_accept accept = { .body = large_body(300000, 8), .deliveries = to, .delivery_count = 6 };
    uint64_t wait;
    CHECK_INT(store_accept(store, &accept, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(figures().bodies, 1);
    CHECK_INT(accept.body_size, 300000);
    CHECK_INT(accept.body_id, body_of_uid(mailbox_id(store, 2, "Junk"), to[3].uid));
    CASE("an existing body is delivered once more");
    struct store_accept again = { .body_id = accept.body_id, .body_size = accept.body_size, .deliveries = to, .delivery_count = 1 };
    CHECK_INT(store_accept(store, &again, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(figures().bodies, 1);
    CHECK_INT(figures().messages, 7);
    for (uint64_t account = 1; account <= 2; account++) {
        expunge_all(mailbox_id(store, account, "INBOX"));
        CHECK(reads_well(accept.body_id, 300000, 8));
        expunge_all(mailbox_id(store, account, "Junk"));
    }
    CHECK_INT(figures().bodies, 0);
    CASE("no account, no message, and the body is consumed all the same");
    to[0].account = 99;
    struct fault fault;
    accept.body = large_body(1000, 1);
    accept.delivery_count = 1;
    CHECK_INT(store_accept(store, &accept, &wait, &fault), RC_PERM);
    CHECK(fault.text[0] != '\0');
}

static void check_compaction(const char *dir)
{
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), junk = mailbox_id(store, 1, "Junk"), wait = 0;
    uint32_t uid;
    static char text[3000];
    CASE("a few messages do not keep their segments: they move, and read as before");
    enum { KEPT = 60 };
    for (uint32_t i = 0; i < KEPT * 50; i++) {
        size_t len = 1000 + i % 2000;
        for (size_t k = 0; k < len; k++)
            text[k] = byte_at(k, i);
        bool is_kept = i % 50 == 7;
        CHECK_INT(store_append(store, is_kept ? inbox : junk, body_of(store, (struct slice){ text, len }), (struct mail_date){ (int64_t)i, 0 },
                               0, 0, &uid, &wait, NULL), RC_OK);
        if (i % 500 == 250)                         /* and a few large ones, the same way */
            append_large(junk, 100000, i), append_large(inbox, 300000, i);
    }
    CHECK_INT(store_wait(store, wait), RC_OK);
    uint64_t before = figures().segments, messages = figures().messages;
    expunge_all(junk);
    for (int round = 0; round < 40; round++) {
        append_large(inbox, 10, 1);
        checkpoint();
    }
    CHECK(messages > KEPT * 50);
    struct store_figures f = figures();
    struct store_usage usage;
    CHECK_INT(store_account_usage(store, 1, &usage), RC_OK);
    fprintf(stderr, "%llu segments, then %llu of which %llu free, for %llu bytes alive\n", (unsigned long long)before,
            (unsigned long long)f.segments, (unsigned long long)f.segments_free, (unsigned long long)usage.bytes);
    CHECK((f.segments - f.segments_free) * SEGMENT <= 2 * usage.bytes + 8 * SEGMENT);
    for (int round = 0; round < 2; round++) {
        struct store_view *view;
        CHECK_INT(store_view_open(store, inbox, true, &view, NULL), RC_OK);
        CHECK_INT(store_view_count(view), KEPT + 6 + 40);
        for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
            struct store_message m;
            store_view_at(view, seq, &m);
            CHECK(m.size == 300000 || m.size == 10 || reads_well(m.body_id, m.size, (uint64_t)m.internal_s));
        }
        for (uint32_t seq = 1, large = 0; seq <= store_view_count(view); seq++) {
            struct store_message m;
            store_view_at(view, seq, &m);
            if (m.size == 300000)
                CHECK(reads_well(m.body_id, m.size, 250 + 500 * (uint64_t)large++));
        }
        store_view_close(view);
        store_close(store);
        store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    }
    expunge_all(inbox);
    CHECK_INT(figures().bodies, 0);
}

/* ---- a full disk ---- */

static struct disk *full_disk;
static struct disk *current(void) { return full_disk; }

static void leave_free(uint64_t bytes)
{
    static const uint64_t capacity = 1ull << 40;
    disk_set_capacity(full_disk, capacity);
    disk_set_capacity(full_disk, capacity - disk_free_bytes(full_disk) + bytes);
}

static void check_full_disk(void)
{
    full_disk = disk_new(3, 0, true);
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current });
    CHECK_INT(disk_make_dir(full_disk, "/full", 0700), 0);
    struct file_ops ops = disk_ops(full_disk);
    struct store_options options = { .dir = "/full", .files = &ops, .segment_bytes = SEGMENT };
    struct fault fault = { 0 };
    CASE("a disk that fills up refuses messages before it must, and what makes room goes on");
    CHECK_INT(store_open(&options, &store, &fault), RC_OK);
    make_account(store, 1);
    leave_free(10 * SEGMENT);
    store_poll(store, now_ms += 5000);
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    CHECK(store_has_room(store, 1 << 20, &fault));
    CHECK(!store_has_room(store, 9 * SEGMENT, &fault));
    CHECK_INT(fault.rc, RC_TEMP);
    CHECK_INT(fault.esc, ESC(4, 3, 1));
    append_large(inbox, 1000, 1);
    leave_free(SEGMENT);
    store_poll(store, now_ms += 5000);
    CHECK(!store_has_room(store, 1, NULL));
    expunge_all(inbox);
    CASE("when it is full all the same, what is refused leaves no trace, and later it goes on");
    leave_free(0);
    uint32_t uid, before, refused = 0;
    uint64_t wait = 0;
    for (int i = 0; i < 60; i++) {
        static char text[9000];
        enum rc rc = store_append(store, inbox, body_of(store, (struct slice){ text, sizeof text }), (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, &fault);
        if (rc == RC_OK)
            rc = store_wait(store, wait);
        CHECK(rc == RC_OK || rc == RC_TEMP);
        CHECK(rc == RC_OK ? refused == 0 : true);       /* once full, full */
        refused += rc != RC_OK;
    }
    CHECK(refused > 10 && refused < 60);
    before = 60 - refused;
    CHECK_INT(figures().messages, before);
    leave_free(20 * SEGMENT);
    CHECK(append_large(inbox, 9000, 1) > uid);
    store_close(store);
    CHECK_INT(store_open(&options, &store, &fault), RC_OK);
    CHECK_INT(figures().messages, before + 1);
    store_close(store);
    disk_free(full_disk);
}

int main(void)
{
    char dir[64];
    temporary_folder(dir);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    make_account(store, 1);
    make_account(store, 2);
    check_sizes(dir);
    check_recycling();
    check_views_keep();
    check_shared();
    check_compaction(dir);
    store_close(store);
    remove_folder(dir);
    check_full_disk();
    return check_done();
}
