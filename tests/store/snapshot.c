/* Snapshots: when they are made, what is in them, and that no segment is used again that only state.db could replace. */
#include "support.h"

#include "os/wake.h"
#include "store/snapshot.h"

#include <errno.h>
#include <pthread.h>

static struct store *store;
static int64_t now_ms = 1;

static struct store_figures figures(void)
{
    struct store_figures f;
    store_figures(store, &f);
    return f;
}

/* A minute passes, with a checkpoint and, when it is worth while, a snapshot. */
static void let_a_minute_pass(void)
{
    now_ms += 61000;
    do {
        while (store_poll(store, now_ms)) {}
        if (figures().is_snapshot_running)
            (void)wake_wait(store_event_fd(store), 1000);
    } while (figures().is_snapshot_running);
}

static void churn(uint64_t mailbox, int messages)
{
    static char text[20000];
    uint64_t wait;
    for (int i = 0; i < messages; i++)
        append(store, mailbox, (struct slice){ text, sizeof text }, 0);
    CHECK_INT(store_expunge(store, mailbox, NULL, true, NULL, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
}

static bool has_segment(const char *dir, uint64_t number)
{
    char path[128];
    snprintf(path, sizeof path, "%s/log/%016llx.seg", dir, (unsigned long long)number);
    return access(path, F_OK) == 0;
}

static void check_when(const char *dir)
{
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    CASE("without a snapshot no segment goes, since the log begins the story");
    let_a_minute_pass();
    CHECK_INT(figures().snapshot_position, LOG_START);
    churn(inbox, 13);
    let_a_minute_pass();
    CHECK_INT(figures().snapshot_position, LOG_START);
    CHECK_INT(figures().segments_free, 0);
    CHECK(has_segment(dir, 0));

    CASE("it is made when it frees enough, and only what is older goes");
    for (int round = 0; round < 8; round++) {
        churn(inbox, 13);
        let_a_minute_pass();
        struct store_figures f = figures();
        for (uint64_t n = f.snapshot_position / SEGMENT; n <= f.durable_position / SEGMENT; n++)
            CHECK(has_segment(dir, n));
    }
    CHECK(figures().snapshot_position > LOG_START);
    CHECK(!has_segment(dir, 0));
    CHECK(figures().segments < 8);

    CASE("the next opening knows it, from the checkpoint or from the log");
    uint64_t before = figures().snapshot_position;
    for (int round = 0; round < 2; round++) {
        store_close(store);
        store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
        CHECK_INT(figures().snapshot_position, before);
    }
}

/* ---- what is in it --------------------------------------------------------------------------------------------------- */

static int64_t count(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    int64_t value = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
    sqlite3_finalize(s);
    return value;
}

static void check_tables(const char *dir)
{
    char path[128], sql[200];
    sqlite3 *db;
    CASE("every table of state.db is in a snapshot, with all its columns");
    snprintf(path, sizeof path, "%s/state.db", dir);
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_INT(count(db, "SELECT count(*) FROM sqlite_master WHERE type = 'table'"), SNAPSHOT_TABLES);
    for (size_t i = 0; i < SNAPSHOT_TABLES; i++) {
        snprintf(sql, sizeof sql, "SELECT count(*) FROM pragma_table_info('%s')", snapshot_tables[i].name);
        CHECK_INT(count(db, sql), snapshot_tables[i].columns);
    }
    sqlite3_close(db);
}

/* ---- a segment that is getting its new name ----------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_held, is_renaming;

/* In the thread that writes: stands still in the first rename of a segment while it is held. */
static int slow_rename(void *self, const char *from, const char *to)
{
    pthread_mutex_lock(&lock);
    if (is_held && strstr(from, ".seg") != NULL) {
        is_renaming = true;
        pthread_cond_broadcast(&changed);
        while (is_held)
            pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    return file_ops_real.rename(self, from, to);
}

static void hold(bool on)
{
    pthread_mutex_lock(&lock);
    is_held = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static bool is_in_rename(void)
{
    pthread_mutex_lock(&lock);
    bool is = is_renaming;
    pthread_mutex_unlock(&lock);
    return is;
}

/* What was handed over when the thread stands still is not settled before it goes on. */
static void wait_unless_renaming(uint64_t wait)
{
    while (store_settled(store, wait) == RC_MORE && !is_in_rename()) {
        (void)wake_wait(store_event_fd(store), 10);
        (void)store_poll(store, now_ms);
    }
}

static void check_release_during_rename(void)
{
    char dir[64];
    static char text[20000];
    struct file_ops ops = file_ops_real;
    struct fault fault = { 0 };
    CASE("a segment that is getting its new name is not released once more");
    temporary_folder(dir);
    ops.rename = slow_rename;
    struct store_options options = { .dir = dir, .files = &ops, .segment_bytes = SEGMENT };
    CHECK_INT(store_open(&options, &store, &fault), RC_OK);
    make_account(store, 1);
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), wait;
    for (int round = 0; round < 40 && figures().segments_free < 2; round++) {
        churn(inbox, 13);
        let_a_minute_pass();
    }
    CHECK(figures().segments_free >= 2);
    hold(true);
    uint32_t uid = 0;
    for (int i = 0; i < 200 && !is_in_rename(); i++) {          /* the next segment is made ready when this one is half full */
        CHECK_INT(store_append(store, inbox, body_of(store, (struct slice){ text, sizeof text }), (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, &fault), RC_OK);
        wait_unless_renaming(wait);
    }
    CHECK(is_in_rename());
    now_ms += 61000;
    while (store_poll(store, now_ms)) {}                        /* a checkpoint releases what is dead */
    hold(false);
    for (int i = 0; i < 100; i++) {
        enum rc rc = store_append(store, inbox, body_of(store, (struct slice){ text, sizeof text }), (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, &fault);
        CHECK_INT(rc, RC_OK);
        if (rc == RC_OK)
            CHECK_INT(store_wait(store, wait), RC_OK);
    }
    store_close(store);
    remove_folder(dir);
}

/* ---- a batch that ends with a pad ------------------------------------------------------------------------------------------ */

static bool is_next_write_failing;

static int64_t failing_write(void *self, int fd, const void *data, size_t len, uint64_t offset)
{
    if (is_next_write_failing) {
        is_next_write_failing = false;
        return -EIO;
    }
    return file_ops_real.write_at(self, fd, data, len, offset);
}

static void check_pad_at_the_end(void)
{
    char dir[64], path[96];
    struct file_ops ops = file_ops_real;
    struct fault fault = { 0 };
    CASE("behind a batch that ends with a pad the log goes on in the next segment, also when the next batch fails");
    temporary_folder(dir);
    ops.write_at = failing_write;
    struct store_options options = { .dir = dir, .files = &ops, .segment_bytes = SEGMENT };
    CHECK_INT(store_open(&options, &store, &fault), RC_OK);
    make_account(store, 1);
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), wait;
    uint32_t uid;
    append(store, inbox, SLICE("before"), 0);
    CHECK_INT(log_begin_segment(store->log, &fault), RC_OK);
    log_flush(store->log);
    (void)store_poll(store, now_ms);
    CHECK_INT(store->applied_position, SEGMENT);
    is_next_write_failing = true;
    CHECK_INT(store_append(store, inbox, body_of(store, SLICE("fails")), (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_TEMP);
    append(store, inbox, SLICE("behind"), 0);
    CHECK(figures().durable_position > SEGMENT);
    store_close(store);
    snprintf(path, sizeof path, "%s/state.db", dir);
    CHECK_INT(unlink(path), 0);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    CHECK_INT(figures().messages, 2);
    store_close(store);
    remove_folder(dir);
}

int main(void)
{
    char dir[64];
    temporary_folder(dir);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    make_account(store, 1);
    check_when(dir);
    check_tables(dir);
    store_close(store);
    remove_folder(dir);
    check_release_during_rename();
    check_pad_at_the_end();
    return check_done();
}
