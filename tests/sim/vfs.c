/* SQLite on the simulated disk: what it has committed is there after a crash at any call, its locks hold between connections, and
 * a process that was killed with one open is in nobody's way. */
#include "check.h"
#include "sim/disk.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>

static struct disk *disk;
static const void *process;
static sqlite3 *killed[3];      /* nobody closes them, as nobody does after a SIGKILL */
static struct disk *current(void) { return disk; }
static const void *owner(void) { return process; }

static int run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL); }

static sqlite3 *open_db(void)
{
    sqlite3 *db;
    if (sqlite3_open_v2("/data/x.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK
        && run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=8;"
                   "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b BLOB)") == SQLITE_OK)
        return db;
    sqlite3_close(db);
    return NULL;
}

/* -1: it failed. */
static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s;
    int64_t value = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return value;
}

static void new_disk(uint64_t seed)
{
    disk = disk_new(seed, 0, false);
    CHECK_INT(disk_make_dir(disk, "/data", 0700), 0);
    disk_power_cut(disk, DISK_LOSE_NOTHING);
}

/* Rows 1, 2, ...: the number that was acknowledged. */
static int64_t work(sqlite3 *db)
{
    int64_t good = 0;
    for (int64_t row = 1; row <= 30; row++) {
        char sql[100];
        snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO t VALUES (%lld, randomblob(%lld))", (long long)row, (long long)(row % 5 * 700));
        if (run(db, sql) != SQLITE_OK)
            break;
        good = row;
    }
    return good;
}

static void crash_at(uint64_t call, enum disk_loss loss)
{
    new_disk(call);
    disk_plan(disk, 0, 0, call);
    sqlite3 *db = open_db();
    int64_t good = db == NULL ? 0 : work(db);
    disk_plan(disk, 0, 0, 1);
    sqlite3_close(db);
    disk_power_cut(disk, loss);
    db = open_db();
    CHECK(db != NULL);
    int64_t rows = number(db, "SELECT count(*) FROM t"), last = number(db, "SELECT ifnull(max(a), 0) FROM t");
    CHECK(rows >= good && rows <= good + 1);
    CHECK_INT(rows, last);
    CHECK_INT(number(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
    sqlite3_close(db);
    disk_free(disk);
}

static void test_crashes(void)
{
    CASE("a row that was committed is there after a crash at any call, and nothing half");
    new_disk(1);
    sqlite3 *db = open_db();
    CHECK_INT(work(db), 30);
    uint64_t calls = disk_calls(disk);
    CHECK(calls > 100);
    sqlite3_close(db);
    disk_free(disk);
    for (uint64_t call = 2; call <= calls; call += 3)
        for (enum disk_loss loss = DISK_LOSE_ALL; loss <= DISK_LOSE_NOTHING; loss++)
            crash_at(call, loss);
}

static void test_locks(void)
{
    new_disk(1);
    CASE("of two writers one has to wait; a reader reads what was before");
    sqlite3 *a = open_db(), *b = open_db();
    CHECK_INT(run(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 'a')"), SQLITE_OK);
    CHECK_INT(run(b, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    CHECK_INT(number(b, "SELECT count(*) FROM t"), 0);
    CHECK_INT(run(a, "COMMIT"), SQLITE_OK);
    CHECK_INT(number(b, "SELECT count(*) FROM t"), 1);
    CHECK_INT(run(b, "INSERT INTO t VALUES (2, 'b')"), SQLITE_OK);
    CASE("a process killed in the middle of a write leaves no lock and no row");
    int first, second;
    process = &first;
    killed[0] = open_db();
    CHECK_INT(run(killed[0], "BEGIN IMMEDIATE; INSERT INTO t VALUES (3, 'c')"), SQLITE_OK);
    process = &second;
    CHECK_INT(run(a, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    disk_vfs_forget(&first);
    CHECK_INT(run(a, "INSERT INTO t VALUES (4, 'd')"), SQLITE_OK);
    CHECK_INT(number(b, "SELECT group_concat(a, '') FROM t"), 124);
    CASE("when all are killed the next one finds it all");
    disk_vfs_forget(NULL);
    killed[1] = a;
    killed[2] = b;
    sqlite3 *c = open_db();
    CHECK_INT(number(c, "SELECT group_concat(a, '') FROM t"), 124);
    sqlite3_close(c);
    disk_free(disk);
    process = NULL;
}

static void test_errors(void)
{
    CASE("a full disk is SQLITE_FULL, and the rows before are there");
    new_disk(1);
    sqlite3 *db = open_db();
    CHECK_INT(run(db, "INSERT INTO t VALUES (1, 'a')"), SQLITE_OK);
    disk_set_capacity(disk, 1);
    CHECK_INT(run(db, "INSERT INTO t VALUES (2, randomblob(10000))"), SQLITE_FULL);
    CHECK_INT(number(db, "SELECT count(*) FROM t"), 1);
    disk_set_capacity(disk, 0);
    CASE("a sync that fails fails the commit");
    CHECK_INT(run(db, "BEGIN; INSERT INTO t VALUES (2, 'b')"), SQLITE_OK);
    uint64_t before = disk_calls(disk);
    CHECK_INT(run(db, "COMMIT"), SQLITE_OK);
    uint64_t commit = disk_calls(disk) - before;
    CHECK_INT(run(db, "BEGIN; INSERT INTO t VALUES (3, 'c')"), SQLITE_OK);
    disk_plan(disk, disk_calls(disk) + commit, -EIO, 0);
    CHECK_INT(run(db, "COMMIT"), SQLITE_IOERR);
    CHECK_STR(disk_failed_call(disk), "sync");
    sqlite3_close(db);
    disk_free(disk);
    CASE("time is what the hooks say, and does not move by itself");
    new_disk(1);
    db = open_db();
    CHECK_INT(number(db, "SELECT strftime('%s', 'now')"), 1700000000);
    sqlite3_close(db);
    disk_free(disk);
}

int main(void)
{
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current, .owner = owner });
    test_locks();
    test_crashes();
    test_errors();
    return check_done();
}
