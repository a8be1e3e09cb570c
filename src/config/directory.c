/* The directory: see directory.h. Every statement is prepared and every value bound; a change is one transaction that
 * also counts up the version. Account ids are never given twice: a mailbox in the store belongs to an id for ever. */
#include "config/directory.h"

#include "config/names.h"
#include "os/child.h"
#include "sasl/sasl.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FORMAT = 1,
    SCRATCH_MAX = 1 << 20,
    TARGETS_MAX = 64 * 1024,        /* of one alias, as text */
    BUSY_MS = 5000,
    PATH_BYTES_MAX = 4096,
};

struct directory {
    sqlite3 *db;
    char *path;
    struct arena scratch;           /* rewound by every public function */
};

/* key is what is looked up (config/names.h), name what was typed. */
static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE domain (key TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE account (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
    "  domain TEXT NOT NULL REFERENCES domain, verifier TEXT NOT NULL, quota_bytes INTEGER NOT NULL,"
    "  is_enabled INTEGER NOT NULL, created_s INTEGER NOT NULL);"
    "CREATE INDEX account_domain ON account (domain);"
    "CREATE TABLE alias (key TEXT PRIMARY KEY, name TEXT NOT NULL, domain TEXT NOT NULL REFERENCES domain,"
    "  targets TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX alias_domain ON alias (domain);"
    "INSERT INTO meta VALUES ('format', 1), ('version', 1), ('secret', randomblob(0));";

#define ACCOUNT_COLUMNS "id, key, name, domain, verifier, quota_bytes, is_enabled, created_s"
/* Accounts that were removed, whole: as long as the store keeps their mail they can come back. */
static const char removed_schema[] =
    "CREATE TABLE IF NOT EXISTS removed (id INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, domain TEXT NOT NULL,"
    "  verifier TEXT NOT NULL, quota_bytes INTEGER NOT NULL, is_enabled INTEGER NOT NULL, created_s INTEGER NOT NULL)";

/* ---- SQLite ------------------------------------------------------------------------------------------------------ */

static enum rc failed(struct directory *d, struct fault *f)
{
    int code = sqlite3_errcode(d->db);
    uint32_t esc = code == SQLITE_FULL ? ESC(4, 3, 1) : ESC(4, 3, 0);
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return fault_perm(f, ESC(5, 3, 0), "%s: %s: restore it from a backup", d->path, sqlite3_errmsg(d->db));
    return fault_temp(f, esc, "%s: %s", d->path, sqlite3_errmsg(d->db));
}

struct query {
    struct directory *directory;
    sqlite3_stmt *statement;
    int bound;
    bool has_failed;
};

static struct query query(struct directory *d, const char *sql)
{
    struct query q = { .directory = d };
    q.has_failed = sqlite3_prepare_v2(d->db, sql, -1, &q.statement, NULL) != SQLITE_OK;
    return q;
}

static void bind_text(struct query *q, struct slice text)
{
    const char *bytes = text.ptr != NULL ? text.ptr : "";
    if (!q->has_failed)
        q->has_failed = sqlite3_bind_text64(q->statement, ++q->bound, bytes, text.len, SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK;
}

static void bind_number(struct query *q, int64_t number)
{
    if (!q->has_failed)
        q->has_failed = sqlite3_bind_int64(q->statement, ++q->bound, number) != SQLITE_OK;
}

/* True: a row is there. False: the end, or has_failed. */
static bool next_row(struct query *q)
{
    if (q->has_failed)
        return false;
    int got = sqlite3_step(q->statement);
    q->has_failed = got != SQLITE_ROW && got != SQLITE_DONE;
    return got == SQLITE_ROW;
}

static struct slice column_text(struct query *q, int column)
{
    const void *bytes = sqlite3_column_blob(q->statement, column);
    return (struct slice){ bytes, (size_t)sqlite3_column_bytes(q->statement, column) };
}

static int64_t column_number(struct query *q, int column) { return sqlite3_column_int64(q->statement, column); }

static enum rc end(struct query *q, struct fault *f)
{
    enum rc rc = q->has_failed ? failed(q->directory, f) : RC_OK;
    sqlite3_finalize(q->statement);
    return rc;
}

static enum rc run(struct query *q, struct fault *f)
{
    next_row(q);
    return end(q, f);
}

static enum rc execute(struct directory *d, const char *sql, struct fault *f)
{
    return sqlite3_exec(d->db, sql, NULL, NULL, NULL) == SQLITE_OK ? RC_OK : failed(d, f);
}

/* One number; 0 when there is no row. */
static enum rc get_number(struct query *q, int64_t *number, struct fault *f)
{
    *number = next_row(q) ? column_number(q, 0) : 0;
    return end(q, f);
}

static enum rc begin(struct directory *d, struct fault *f) { return execute(d, "BEGIN IMMEDIATE", f); }

/* Ends the transaction: durable when RC_OK is returned, undone when anything failed. */
static enum rc commit(struct directory *d, enum rc rc, struct fault *f)
{
    if (rc == RC_OK)
        rc = execute(d, "UPDATE meta SET value = value + 1 WHERE name = 'version'", f);
    if (rc == RC_OK)
        rc = execute(d, "COMMIT", f);
    if (rc != RC_OK)
        sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* ---- open and close ------------------------------------------------------------------------------------------------ */

static enum rc make_secret(struct directory *d, struct fault *f)
{
    unsigned char secret[32];
    random_bytes(secret, sizeof secret);
    struct query q = query(d, "UPDATE meta SET value = ? WHERE name = 'secret'");
    if (!q.has_failed)
        q.has_failed = sqlite3_bind_blob(q.statement, 1, secret, sizeof secret, SQLITE_TRANSIENT) != SQLITE_OK;
    return run(&q, f);
}

static enum rc check_format(struct directory *d, struct fault *f)
{
    int64_t has_meta, format;
    struct query q = query(d, "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'");
    enum rc rc = get_number(&q, &has_meta, f);
    if (rc != RC_OK)
        return rc;
    if (has_meta == 0) {
        rc = execute(d, schema, f);
        return rc == RC_OK ? make_secret(d, f) : rc;
    }
    q = query(d, "SELECT value FROM meta WHERE name = 'format'");
    rc = get_number(&q, &format, f);
    if (rc == RC_OK && format > FORMAT)
        rc = fault_perm(f, 0, "%s was written by a newer version of thurn (format %lld, this one knows %d): install that version "
                        "again, or restore the data directory from before", d->path, (long long)format, FORMAT);
    return rc;
}

static enum rc prepare(struct directory *d, struct fault *f)
{
    sqlite3_busy_timeout(d->db, BUSY_MS);
    enum rc rc = execute(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY", f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc != RC_OK)
        return rc;
    rc = check_format(d, f);
    if (rc == RC_OK)
        rc = execute(d, removed_schema, f);
    if (rc == RC_OK)
        rc = execute(d, "COMMIT", f);
    if (rc != RC_OK)
        sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* The name of a folder that was made just now is on the medium with what it is in. Who may not open that has not made it. */
static int sync_parent(const struct file_ops *ops, const char *folder)
{
    char parent[PATH_BYTES_MAX];
    const char *end = strrchr(folder, '/');
    if (end == NULL || (size_t)(end - folder) + 2 > sizeof parent)
        return 0;
    snprintf(parent, sizeof parent, "%.*s/", (int)(end - folder), folder);
    int got = ops->sync_dir(ops->self, parent);
    return got == -EACCES || got == -EPERM ? 0 : got;
}

/* SQLite would make the file by the umask: it is ours to make, for this user alone. */
static enum rc make_file(const struct file_ops *ops, const char *folder, const char *path, struct fault *f)
{
    int got = ops->make_dir(ops->self, folder);
    if (got < 0)
        return fault_errno(f, -got, "%s", folder);
    int fd = ops->open(ops->self, path, true, false);
    if (fd < 0)
        return fault_errno(f, -fd, "%s", path);
    ops->close(ops->self, fd);
    got = sync_parent(ops, folder);
    return got < 0 ? fault_errno(f, -got, "%s", folder) : RC_OK;
}

/* SQLite syncs the folder when it has made its write-ahead log, but does not look whether that succeeds: without those names what
 * is committed would be lost with the power. */
static enum rc secure_names(const struct file_ops *ops, const char *folder, struct fault *f)
{
    int got = ops->sync_dir(ops->self, folder);
    return got < 0 ? fault_errno(f, -got, "%s", folder) : RC_OK;
}

enum rc directory_open_on(const struct file_ops *files, const char *folder, struct directory **out, struct fault *f)
{
    struct directory *d = calloc(1, sizeof *d);
    *out = NULL;
    if (d == NULL || asprintf(&d->path, "%s/directory.db", folder) < 0) {
        free(d);
        return fault_no_memory(f);
    }
    arena_init(&d->scratch, SCRATCH_MAX);
    enum rc rc = make_file(files, folder, d->path, f);
    if (rc == RC_OK) {
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
        rc = sqlite3_open_v2(d->path, &d->db, flags, NULL) == SQLITE_OK ? prepare(d, f) : failed(d, f);
    }
    if (rc == RC_OK)
        rc = secure_names(files, folder, f);
    if (rc != RC_OK) {
        directory_close(d);
        return rc == RC_NONE ? fault_perm(f, 0, "%s: there is no directory to make it in", folder) : rc;
    }
    *out = d;
    return RC_OK;
}

enum rc directory_open(const char *folder, struct directory **out, struct fault *f)
{
    return directory_open_on(&file_ops_real, folder, out, f);
}

void directory_close(struct directory *d)
{
    if (d == NULL)
        return;
    sqlite3_close(d->db);
    arena_free(&d->scratch);
    free(d->path);
    free(d);
}

uint64_t directory_version(struct directory *d)
{
    int64_t version;
    struct query q = query(d, "SELECT value FROM meta WHERE name = 'version'");
    return get_number(&q, &version, NULL) == RC_OK ? (uint64_t)version : 0;
}

enum rc directory_secret(struct directory *d, unsigned char secret[32], struct fault *f)
{
    struct query q = query(d, "SELECT value FROM meta WHERE name = 'secret'");
    bool is_there = next_row(&q) && column_text(&q, 0).len == 32;
    if (is_there)
        memcpy(secret, column_text(&q, 0).ptr, 32);
    enum rc rc = end(&q, f);
    if (rc == RC_OK && !is_there)
        rc = fault_perm(f, 0, "%s has no secret: restore it from a backup", d->path);
    return rc;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

struct name {
    struct slice key, shown, domain, domain_key;    /* in the scratch arena */
};

static enum rc finish_name(struct directory *d, const struct address *address, struct name *name, struct fault *f)
{
    enum rc rc = name_key(address->local_part, address->domain, &d->scratch, &name->key, f);
    if (rc == RC_OK)
        rc = name_domain_key(address->domain, &d->scratch, &name->domain_key, f);
    name->domain = address->domain;
    return rc;
}

static enum rc show_address(struct directory *d, const struct address *address, struct slice *shown, struct fault *f)
{
    struct buf out;
    buf_init(&out, 1024);
    address_write(address, &out);
    *shown = arena_copy(&d->scratch, buf_slice(&out));
    buf_free(&out);
    return shown->ptr != NULL ? RC_OK : fault_no_memory(f);
}

static enum rc parse_name(struct directory *d, struct slice typed, struct name *name, struct fault *f)
{
    struct address address;
    arena_rewind(&d->scratch);
    enum rc rc = address_parse(typed, &d->scratch, &address, f);
    if (rc == RC_OK && address.is_literal)
        rc = fault_perm(f, ESC(5, 1, 2), "an account or alias lives in a domain, not at an address in brackets");
    if (rc == RC_OK)
        rc = finish_name(d, &address, name, f);
    return rc == RC_OK ? show_address(d, &address, &name->shown, f) : rc;
}

/* An alias's name may also be "@example.org". */
static enum rc parse_alias_name(struct directory *d, struct slice typed, struct name *name, struct fault *f)
{
    struct slice rest = typed;
    if (!slice_take_byte(&rest, '@'))
        return parse_name(d, typed, name, f);
    struct address address = { 0 };
    arena_rewind(&d->scratch);
    enum rc rc = domain_parse(rest, &d->scratch, &address.domain, f);
    if (rc == RC_OK)
        rc = finish_name(d, &address, name, f);
    if (rc == RC_OK) {
        name->shown = slice_from_str(arena_printf(&d->scratch, "@%.*s", SLICE_ARG(address.domain)));
        if (name->shown.len == 0)
            rc = fault_no_memory(f);
    }
    return rc;
}

static enum rc count_rows(struct directory *d, const char *sql, struct slice key, int64_t *count, struct fault *f)
{
    struct query q = query(d, sql);
    bind_text(&q, key);
    return get_number(&q, count, f);
}

static enum rc need_domain(struct directory *d, const struct name *name, struct fault *f)
{
    int64_t count;
    enum rc rc = count_rows(d, "SELECT count(*) FROM domain WHERE key = ?", name->domain_key, &count, f);
    if (rc == RC_OK && count == 0)
        rc = fault_perm(f, ESC(5, 1, 2), "%.*s is not one of this server's domains: \"thurn domain add %.*s\" makes it one",
                        SLICE_ARG(name->domain), SLICE_ARG(name->domain));
    return rc;
}

/* After a change by key: RC_NONE when there was nothing to change. */
static enum rc need_change(struct directory *d, const char *what, struct slice name, struct fault *f)
{
    return sqlite3_changes(d->db) > 0 ? RC_OK : fault_none(f, "there is no %s %.*s", what, SLICE_ARG(name));
}

/* ---- domains ------------------------------------------------------------------------------------------------------- */

static enum rc parse_domain(struct directory *d, struct slice typed, struct name *name, struct fault *f)
{
    arena_rewind(&d->scratch);
    enum rc rc = domain_parse(typed, &d->scratch, &name->shown, f);
    if (rc == RC_OK)
        rc = name_domain_key(name->shown, &d->scratch, &name->key, f);
    return rc;
}

enum rc directory_domain_add(struct directory *d, struct slice domain, struct fault *f)
{
    struct name name;
    int64_t count;
    enum rc rc = parse_domain(d, domain, &name, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc != RC_OK)
        return rc;
    rc = count_rows(d, "SELECT count(*) FROM domain WHERE key = ?", name.key, &count, f);
    if (rc == RC_OK && count > 0)
        rc = fault_perm(f, 0, "domain %.*s is there already", SLICE_ARG(name.shown));
    if (rc == RC_OK) {
        struct query q = query(d, "INSERT INTO domain (key, name) VALUES (?, ?)");
        bind_text(&q, name.key);
        bind_text(&q, name.shown);
        rc = run(&q, f);
    }
    return commit(d, rc, f);
}

enum rc directory_domain_remove(struct directory *d, struct slice domain, struct fault *f)
{
    struct name name;
    int64_t accounts, aliases = 0;
    enum rc rc = parse_domain(d, domain, &name, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc != RC_OK)
        return rc;
    rc = count_rows(d, "SELECT count(*) FROM account WHERE domain = ?", name.key, &accounts, f);
    if (rc == RC_OK)
        rc = count_rows(d, "SELECT count(*) FROM alias WHERE domain = ?", name.key, &aliases, f);
    if (rc == RC_OK && accounts + aliases > 0)
        rc = fault_perm(f, 0, "domain %.*s still has %lld account%s and %lld alias%s: remove them first", SLICE_ARG(name.shown),
                        (long long)accounts, accounts == 1 ? "" : "s", (long long)aliases, aliases == 1 ? "" : "es");
    if (rc == RC_OK) {
        struct query q = query(d, "DELETE FROM domain WHERE key = ?");
        bind_text(&q, name.key);
        rc = run(&q, f);
    }
    if (rc == RC_OK)
        rc = need_change(d, "domain", name.shown, f);
    return commit(d, rc, f);
}

enum rc directory_each_domain(struct directory *d, bool (*each)(void *, struct slice), void *arg, struct fault *f)
{
    struct query q = query(d, "SELECT name FROM domain ORDER BY key");
    while (next_row(&q) && each(arg, column_text(&q, 0)))
        ;
    return end(&q, f);
}

/* ---- accounts ------------------------------------------------------------------------------------------------------ */

/* Before any transaction: the derivation is slow by design. */
static enum rc make_verifier(struct slice password, struct buf *text, struct fault *f)
{
    unsigned char salt[SASL_SALT_BYTES];
    struct sasl_verifier verifier;
    random_bytes(salt, sizeof salt);
    enum rc rc = sasl_verifier_make(password, salt, SASL_ITERATIONS_DEFAULT, &verifier, f);
    if (rc == RC_OK && !sasl_verifier_write(&verifier, text))
        rc = fault_no_memory(f);
    return rc;
}

static enum rc insert_account(struct directory *d, const struct name *name, struct slice verifier, uint64_t quota_bytes,
                              int64_t now_s, uint64_t *id, struct fault *f)
{
    int64_t count;
    enum rc rc = need_domain(d, name, f);
    if (rc == RC_OK)
        rc = count_rows(d, "SELECT count(*) FROM account WHERE key = ?", name->key, &count, f);
    if (rc == RC_OK && count > 0)
        rc = fault_perm(f, 0, "account %.*s is there already", SLICE_ARG(name->shown));
    if (rc != RC_OK)
        return rc;
    struct query q = query(d, "INSERT INTO account (key, name, domain, verifier, quota_bytes, is_enabled, created_s)"
                              " VALUES (?, ?, ?, ?, ?, 1, ?)");
    bind_text(&q, name->key);
    bind_text(&q, name->shown);
    bind_text(&q, name->domain_key);
    bind_text(&q, verifier);
    bind_number(&q, (int64_t)quota_bytes);
    bind_number(&q, now_s);
    rc = run(&q, f);
    *id = (uint64_t)sqlite3_last_insert_rowid(d->db);
    return rc;
}

static enum rc check_quota(uint64_t quota_bytes, struct fault *f)
{
    return quota_bytes <= INT64_MAX ? RC_OK : fault_perm(f, 0, "a quota is less than 2^63 bytes");
}

enum rc directory_account_add(struct directory *d, struct slice address, struct slice password, uint64_t quota_bytes,
                              int64_t now_s, uint64_t *id, struct fault *f)
{
    struct name name;
    struct buf verifier;
    uint64_t new_id = 0;
    buf_init(&verifier, 512);
    enum rc rc = parse_name(d, address, &name, f);
    if (rc == RC_OK)
        rc = check_quota(quota_bytes, f);
    if (rc == RC_OK)
        rc = make_verifier(password, &verifier, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc == RC_OK)
        rc = commit(d, insert_account(d, &name, buf_slice(&verifier), quota_bytes, now_s, &new_id, f), f);
    if (rc == RC_OK && id != NULL)
        *id = new_id;
    buf_free(&verifier);
    return rc;
}

/* Changes one account by `sql`, whose parameters are bound before its key. */
static enum rc change_account(struct directory *d, struct slice address, const char *sql, const struct slice *text,
                              const int64_t *number, struct fault *f)
{
    struct name name;
    enum rc rc = parse_name(d, address, &name, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc != RC_OK)
        return rc;
    struct query q = query(d, sql);
    if (text != NULL)
        bind_text(&q, *text);
    if (number != NULL)
        bind_number(&q, *number);
    bind_text(&q, name.key);
    rc = run(&q, f);
    if (rc == RC_OK)
        rc = need_change(d, "account", name.shown, f);
    return commit(d, rc, f);
}

enum rc directory_account_remove(struct directory *d, struct slice address, uint64_t *id, struct fault *f)
{
    struct name name;
    int64_t found;
    enum rc rc = parse_name(d, address, &name, f);
    if (rc == RC_OK)
        rc = count_rows(d, "SELECT id FROM account WHERE key = ?", name.key, &found, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc != RC_OK)
        return rc;
    struct query q = query(d, "INSERT OR REPLACE INTO removed SELECT " ACCOUNT_COLUMNS " FROM account WHERE key = ?");
    bind_text(&q, name.key);
    rc = run(&q, f);
    if (rc == RC_OK) {
        q = query(d, "DELETE FROM account WHERE key = ?");
        bind_text(&q, name.key);
        rc = run(&q, f);
    }
    if (rc == RC_OK)
        rc = need_change(d, "account", name.shown, f);
    rc = commit(d, rc, f);
    if (rc == RC_OK && id != NULL)
        *id = (uint64_t)found;
    return rc;
}

/* The one of that name that was removed last. */
static enum rc move_back(struct directory *d, const struct name *name, uint64_t *id, struct fault *f)
{
    int64_t count, found = 0;
    enum rc rc = need_domain(d, name, f);
    if (rc == RC_OK)
        rc = count_rows(d, "SELECT count(*) FROM account WHERE key = ?", name->key, &count, f);
    if (rc == RC_OK && count > 0)
        rc = fault_perm(f, 0, "account %.*s is there", SLICE_ARG(name->shown));
    if (rc == RC_OK)
        rc = count_rows(d, "SELECT max(id) FROM removed WHERE key = ?", name->key, &found, f);
    if (rc == RC_OK && found == 0)
        rc = fault_none(f, "no account %.*s was removed", SLICE_ARG(name->shown));
    static const char *const steps[] = { "INSERT INTO account SELECT " ACCOUNT_COLUMNS " FROM removed WHERE id = ?", "DELETE FROM removed WHERE id = ?" };
    for (size_t i = 0; i < 2 && rc == RC_OK; i++) {
        struct query q = query(d, steps[i]);
        bind_number(&q, found);
        rc = run(&q, f);
    }
    *id = (uint64_t)found;
    return rc;
}

enum rc directory_account_restore(struct directory *d, struct slice address, uint64_t *id, struct fault *f)
{
    struct name name;
    enum rc rc = parse_name(d, address, &name, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    return rc == RC_OK ? commit(d, move_back(d, &name, id, f), f) : rc;
}

enum rc directory_account_password(struct directory *d, struct slice address, struct slice password, struct fault *f)
{
    struct buf verifier;
    buf_init(&verifier, 512);
    enum rc rc = make_verifier(password, &verifier, f);
    if (rc == RC_OK) {
        struct slice text = buf_slice(&verifier);
        rc = change_account(d, address, "UPDATE account SET verifier = ? WHERE key = ?", &text, NULL, f);
    }
    buf_free(&verifier);
    return rc;
}

enum rc directory_account_quota(struct directory *d, struct slice address, uint64_t quota_bytes, struct fault *f)
{
    int64_t bytes = (int64_t)quota_bytes;
    enum rc rc = check_quota(quota_bytes, f);
    return rc == RC_OK ? change_account(d, address, "UPDATE account SET quota_bytes = ? WHERE key = ?", NULL, &bytes, f) : rc;
}

enum rc directory_account_enable(struct directory *d, struct slice address, bool is_enabled, struct fault *f)
{
    int64_t flag = is_enabled ? 1 : 0;
    return change_account(d, address, "UPDATE account SET is_enabled = ? WHERE key = ?", NULL, &flag, f);
}

static struct directory_account column_account(struct query *q)
{
    return (struct directory_account){ .id = (uint64_t)column_number(q, 0), .name = column_text(q, 1),
                                       .quota_bytes = (uint64_t)column_number(q, 2), .is_enabled = column_number(q, 3) != 0,
                                       .created_s = column_number(q, 4) };
}

enum rc directory_each_account(struct directory *d, bool (*each)(void *, const struct directory_account *), void *arg,
                               struct fault *f)
{
    struct query q = query(d, "SELECT id, name, quota_bytes, is_enabled, created_s FROM account ORDER BY domain, key");
    while (next_row(&q)) {
        struct directory_account account = column_account(&q);
        if (!each(arg, &account))
            break;
    }
    return end(&q, f);
}

/* The key of a login name. A bare name is an address when there is only one domain it could be in. */
static enum rc parse_login(struct directory *d, struct slice login, struct slice *key, struct fault *f)
{
    struct name name;
    if (slice_find_byte(login, '@') < login.len) {
        enum rc rc = parse_name(d, login, &name, f);
        *key = name.key;
        return rc;
    }
    arena_rewind(&d->scratch);
    struct query q = query(d, "SELECT key FROM domain LIMIT 2");
    struct slice domain = next_row(&q) ? arena_copy(&d->scratch, column_text(&q, 0)) : SLICE_NONE;
    bool is_only = domain.len > 0 && !next_row(&q);
    enum rc rc = end(&q, f);
    if (rc == RC_OK && !is_only)
        rc = fault_none(f, "a login is a whole address when there are several domains");
    return rc == RC_OK ? name_key(login, domain, &d->scratch, key, f) : rc;
}

enum rc directory_verifier(struct directory *d, struct slice login, struct directory_account *account, struct arena *arena,
                           struct sasl_verifier *verifier, struct fault *f)
{
    struct slice key;
    enum rc rc = parse_login(d, login, &key, f);
    if (rc != RC_OK)
        return rc == RC_PERM ? fault_none(f, "there is no such account") : rc;
    struct query q = query(d, "SELECT id, name, quota_bytes, is_enabled, created_s, verifier FROM account WHERE key = ?");
    bind_text(&q, key);
    bool is_there = next_row(&q);
    bool is_good = true;
    if (is_there) {
        *account = column_account(&q);
        account->name = arena_copy(arena, account->name);
        is_good = sasl_verifier_parse(column_text(&q, 5), verifier) == RC_OK;
    }
    rc = end(&q, f);
    if (rc == RC_OK && (!is_there || !account->is_enabled))
        rc = fault_none(f, is_there ? "the account is disabled" : "there is no such account");
    if (rc == RC_OK && account->name.ptr == NULL)
        rc = fault_no_memory(f);
    if (rc == RC_OK && !is_good)
        rc = fault_temp(f, 0, "%s: the verifier of %.*s cannot be read: set the password again", d->path, SLICE_ARG(account->name));
    return rc;
}

/* ---- aliases ------------------------------------------------------------------------------------------------------- */

/* The targets as they are kept: parsed, written again, one space between them. */
static enum rc write_targets(struct directory *d, struct slice targets, struct buf *out, struct fault *f)
{
    struct slice one;
    while (name_take_target(&targets, &one)) {
        struct address address;
        enum rc rc = address_parse(one, &d->scratch, &address, f);
        if (rc != RC_OK) {
            fault_prefix(f, "target \"%.*s\"", SLICE_ARG(slice_sub(one, 0, 100)));
            return rc;
        }
        if (buf_len(out) > 0)
            buf_append_byte(out, ' ');
        address_write(&address, out);
    }
    if (out->overflow)
        return fault_perm(f, 0, "more targets than fit: an alias holds %d bytes of them", TARGETS_MAX);
    return buf_len(out) > 0 ? RC_OK : fault_perm(f, 0, "an alias leads somewhere: give at least one address");
}

static enum rc insert_alias(struct directory *d, const struct name *name, struct slice targets, struct fault *f)
{
    enum rc rc = need_domain(d, name, f);
    if (rc != RC_OK)
        return rc;
    struct query q = query(d, "INSERT INTO alias (key, name, domain, targets) VALUES (?, ?, ?, ?)"
                              " ON CONFLICT (key) DO UPDATE SET name = excluded.name, targets = excluded.targets");
    bind_text(&q, name->key);
    bind_text(&q, name->shown);
    bind_text(&q, name->domain_key);
    bind_text(&q, targets);
    return run(&q, f);
}

enum rc directory_alias_add(struct directory *d, struct slice address, struct slice targets, struct fault *f)
{
    struct name name;
    struct buf text;
    buf_init(&text, TARGETS_MAX);
    enum rc rc = parse_alias_name(d, address, &name, f);
    if (rc == RC_OK)
        rc = write_targets(d, targets, &text, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc == RC_OK)
        rc = commit(d, insert_alias(d, &name, buf_slice(&text), f), f);
    buf_free(&text);
    return rc;
}

enum rc directory_alias_remove(struct directory *d, struct slice address, struct fault *f)
{
    struct name name;
    enum rc rc = parse_alias_name(d, address, &name, f);
    if (rc == RC_OK)
        rc = begin(d, f);
    if (rc != RC_OK)
        return rc;
    struct query q = query(d, "DELETE FROM alias WHERE key = ?");
    bind_text(&q, name.key);
    rc = run(&q, f);
    if (rc == RC_OK)
        rc = need_change(d, "alias", name.shown, f);
    return commit(d, rc, f);
}

enum rc directory_each_alias(struct directory *d, bool (*each)(void *, const struct directory_alias *), void *arg,
                             struct fault *f)
{
    struct query q = query(d, "SELECT name, targets FROM alias ORDER BY domain, key");
    while (next_row(&q)) {
        struct directory_alias alias = { .address = column_text(&q, 0), .targets = column_text(&q, 1) };
        if (!each(arg, &alias))
            break;
    }
    return end(&q, f);
}
