/* Databases with checksums on their pages: a bit that flips anywhere in the file is never read as another row. */
#include "os/sealed.h"

#include "check.h"
#include "sim/disk.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static struct disk *disk;
static struct disk *current(void) { return disk; }

enum { ROWS = 60 };

static sqlite3 *open_db(const char *vfs)
{
    sqlite3 *db;
    CHECK_INT(sqlite3_open_v2("/x.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, vfs), SQLITE_OK);
    return db;
}

static int run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL); }

static void fill(sqlite3 *db)
{
    CHECK_INT(run(db, "PRAGMA journal_mode=WAL; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL UNIQUE); BEGIN"), SQLITE_OK);
    for (int row = 1; row <= ROWS; row++) {
        char sql[100];
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES (%d, printf('%%.%dc', '%c'))", row * 1000, row * 7, 'a' + row % 26);
        CHECK_INT(run(db, sql), SQLITE_OK);
    }
    CHECK_INT(run(db, "COMMIT"), SQLITE_OK);
}

static bool index_is_right(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    int rows = -1;
    if (sqlite3_prepare_v2(db, "SELECT count(DISTINCT b) FROM t INDEXED BY sqlite_autoindex_t_1", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        rows = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return rows == ROWS;
}

/* 1: all rows are right, both by the table and by its index. 0: an error says so. -1: something else was read. */
static int look(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    int rows = 0, code = sqlite3_prepare_v2(db, "SELECT a, b FROM t ORDER BY a", -1, &s, NULL);
    bool is_right = true;
    while (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        char want[ROWS * 7 + 1];
        rows++;
        memset(want, 'a' + rows % 26, (size_t)rows * 7);
        want[rows * 7] = '\0';
        is_right = is_right && rows <= ROWS && sqlite3_column_int(s, 0) == rows * 1000 && strcmp((const char *)sqlite3_column_text(s, 1), want) == 0;
        code = SQLITE_OK;
    }
    sqlite3_finalize(s);
    if (code != SQLITE_DONE)
        return sealed_is_damaged(db) ? 0 : -1;
    if (!is_right || rows != ROWS)
        return -1;
    return index_is_right(db) ? 1 : sealed_is_damaged(db) ? 0 : -1;
}

static void test_flips(void)
{
    disk = disk_new(1, 0, false);
    sqlite3 *db = open_db(sealed_vfs());
    CASE("rows are read as they were written");
    CHECK_INT(sealed_make(db), SQLITE_OK);
    fill(db);
    CHECK_INT(look(db), 1);
    sqlite3_close(db);
    struct stat st;
    CHECK_INT(disk_stat(disk, "/x.db", &st), 0);
    unsigned harmless = 0;
    for (uint64_t at = 0; at < (uint64_t)st.st_size; at += at < 4096 ? 1 : 3) {
        char sentence[80];
        snprintf(sentence, sizeof sentence, "a flipped bit at byte %" PRIu64 " is found or harmless", at);
        CASE(sentence);
        struct disk *whole = disk;
        disk = disk_clone(whole, at);
        CHECK_INT(disk_flip(disk, "/x.db", at, (unsigned)at), 0);
        if (sqlite3_open_v2("/x.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, sealed_vfs()) == SQLITE_OK) {
            int found = look(db);
            CHECK(found >= 0);
            harmless += found == 1;
        }
        sqlite3_close(db);
        disk_free(disk);
        disk = whole;
    }
    CHECK_INT(harmless, 0);             /* there is no unused page in this one */
    disk_free(disk);
}

static void test_old(void)
{
    CASE("a file from before is read as it is, and sealed when asked");
    disk = disk_new(1, 0, false);
    sqlite3 *db = open_db(NULL);
    fill(db);
    sqlite3_close(db);
    db = open_db(sealed_vfs());
    CHECK_INT(look(db), 1);
    CHECK_INT(sealed_make(db), SQLITE_OK);
    CHECK_INT(look(db), 1);
    sqlite3_close(db);
    struct disk_file *f;
    char header[100];
    CHECK_INT(disk_open(disk, "/x.db", O_RDONLY, 0, &f), 0);
    CHECK_INT(disk_read(f, header, sizeof header, 0), sizeof header);
    disk_close(f);
    CHECK_INT(header[20], 8);
    db = open_db(sealed_vfs());
    CHECK_INT(look(db), 1);
    sqlite3_close(db);
    CHECK_INT(disk_flip(disk, "/x.db", 5000, 0), 0);
    db = open_db(sealed_vfs());
    CHECK_INT(look(db), 0);
    sqlite3_close(db);
    CASE("without a sealed opening there is nothing to make");
    db = open_db(NULL);
    CHECK_INT(sealed_make(db), SQLITE_MISUSE);
    sqlite3_close(db);
    disk_free(disk);
}

int main(void)
{
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current });
    test_old();
    test_flips();
    return check_done();
}
