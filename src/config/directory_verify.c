/* Looking at the directory without changing it: see directory.h. */
#include "config/directory.h"

#include <sqlite3.h>
#include <stdio.h>

enum { ROWS_MAX = 20, PATH_MAX_BYTES = 4096 };

struct looking {
    sqlite3 *db;
    void (*found)(void *arg, const char *text);
    void *arg;
};

static struct slice column(sqlite3_stmt *s, int at)
{
    const char *bytes = sqlite3_column_blob(s, at);
    return (struct slice){ bytes, bytes == NULL ? 0 : (size_t)sqlite3_column_bytes(s, at) };
}

static void tell_sqlite(const struct looking *l) { l->found(l->arg, sqlite3_errmsg(l->db)); }

static void check_integrity(const struct looking *l)
{
    sqlite3_stmt *s = NULL;
    char text[300];
    int code = sqlite3_prepare_v2(l->db, "PRAGMA integrity_check(20)", -1, &s, NULL);
    while (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        struct slice line = column(s, 0);
        if (slice_equal(line, SLICE("ok")))
            continue;
        snprintf(text, sizeof text, "SQLite says: %.*s", SLICE_ARG(slice_sub(line, 0, 200)));
        l->found(l->arg, text);
    }
    if (code != SQLITE_OK)
        tell_sqlite(l);
    sqlite3_finalize(s);
}

/* An account or alias whose domain is not there cannot be routed to. */
static void check_domains(const struct looking *l)
{
    sqlite3_stmt *s = NULL;
    char text[300];
    static const char sql[] = "SELECT name FROM account WHERE domain NOT IN (SELECT key FROM domain)"
                              " UNION SELECT name FROM alias WHERE domain NOT IN (SELECT key FROM domain)";
    int code = sqlite3_prepare_v2(l->db, sql, -1, &s, NULL);
    for (int rows = 0; code == SQLITE_OK && rows < ROWS_MAX && sqlite3_step(s) == SQLITE_ROW; rows++) {
        snprintf(text, sizeof text, "the domain of %.*s is not there", SLICE_ARG(slice_sub(column(s, 0), 0, 200)));
        l->found(l->arg, text);
    }
    if (code != SQLITE_OK)
        tell_sqlite(l);
    sqlite3_finalize(s);
}

static void each_account(const struct looking *l, bool (*each)(void *, const struct directory_account *))
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(l->db, "SELECT id, name, quota_bytes, is_enabled, created_s FROM account ORDER BY id", -1, &s, NULL);
    while (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        struct directory_account account = {
            .id = (uint64_t)sqlite3_column_int64(s, 0), .name = column(s, 1), .quota_bytes = (uint64_t)sqlite3_column_int64(s, 2),
            .is_enabled = sqlite3_column_int64(s, 3) != 0, .created_s = sqlite3_column_int64(s, 4),
        };
        if (!each(l->arg, &account))
            break;
    }
    sqlite3_finalize(s);
}

void directory_verify(const char *folder, void (*found)(void *arg, const char *text),
                      bool (*each)(void *arg, const struct directory_account *), void *arg)
{
    struct looking l = { .found = found, .arg = arg };
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s/directory.db", folder);
    if (sqlite3_open_v2(path, &l.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        tell_sqlite(&l);
    } else {
        sqlite3_busy_timeout(l.db, 5000);
        check_integrity(&l);
        check_domains(&l);
        each_account(&l, each);
    }
    sqlite3_close(l.db);
}
