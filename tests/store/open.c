/* Opening what is not as it should be: every refusal is one line that names the file and the way out, and nothing that
 * was acknowledged is ever passed over in silence. */
#include "os/sealed.h"
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { MESSAGES = 40 };

static char live[64];           /* the folder of a running store */
static struct store *running;

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 16];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (ssize_t n; (n = read(in, bytes, sizeof bytes)) > 0;)
        if (write(out, bytes, (size_t)n) != n)
            abort();
    close(in);
    close(out);
}

static void copy_folder(const char *from, const char *to)
{
    DIR *dir = opendir(from);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char a[600], b[600];
        struct stat st;
        if (e->d_name[0] == '.' || strstr(e->d_name, "-shm") != NULL)
            continue;
        snprintf(a, sizeof a, "%s/%s", from, e->d_name);
        snprintf(b, sizeof b, "%s/%s", to, e->d_name);
        if (stat(a, &st) == 0 && S_ISDIR(st.st_mode)) {
            mkdir(b, 0700);
            copy_folder(a, b);
        } else {
            copy_file(a, b);
        }
    }
    closedir(dir);
}

/* Flips a bit at an offset of a segment. */
static void damage(const char *dir, unsigned segment, long offset)
{
    char path[128];
    snprintf(path, sizeof path, "%s/log/%016x.seg", dir, segment);
    int fd = open(path, O_RDWR);
    char byte;
    CHECK(pread(fd, &byte, 1, offset) == 1);
    byte ^= 4;
    CHECK(pwrite(fd, &byte, 1, offset) == 1);
    close(fd);
}

static void run_sql(const char *dir, const char *sql)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/state.db", dir);
    CHECK_INT(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, sealed_vfs()), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void overwrite(const char *dir, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void delete_file(const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

/* ---- what is done to a copy of the folder ---- */

static void do_nothing(const char *dir) { (void)dir; }
static void newer_format(const char *dir) { run_sql(dir, "UPDATE meta SET value = 3 WHERE key = 'format'"); }
static void other_database(const char *dir) { delete_file(dir, "state.db-wal"), delete_file(dir, "state.db"), run_sql(dir, "CREATE TABLE x (y)"); }
static void no_database(const char *dir)
{
    delete_file(dir, "state.db-wal");
    overwrite(dir, "state.db", "this is a text file, long enough to be looked at as a database header, which it is not at all............");
}
static void no_checkpoint(const char *dir) { delete_file(dir, "state.db"), delete_file(dir, "state.db-wal"); }
static void no_checkpoint_no_beginning(const char *dir)
{
    no_checkpoint(dir);
    delete_file(dir, "log/0000000000000000.seg");
}
static void damage_first_record(const char *dir) { damage(dir, 0, 70), no_checkpoint(dir); }
static void damage_body(const char *dir) { damage(dir, 0, 9000), no_checkpoint(dir); }
static void missing_segment(const char *dir) { run_sql(dir, "UPDATE meta SET value = 9999999 WHERE key = 'replay_from'"); }
static void torn_row(const char *dir) { run_sql(dir, "UPDATE mailbox SET row = x'0102'"); }
static void torn_run(const char *dir) { run_sql(dir, "INSERT INTO run VALUES (1, 99, x'0102')"); }

static const struct {
    const char *sentence;
    void (*act)(const char *dir);
    enum rc rc;
    const char *fault;
} cases[] = {
    { "a copy of the running store's folder, as after a kill",      do_nothing, RC_OK, "" },
    { "the log alone gives everything back",                        no_checkpoint, RC_OK, "" },
    { "a newer format is refused with its number",                  newer_format, RC_PERM, "state.db has format 3, this version knows up to 2" },
    { "another program's database is left alone",                   other_database, RC_PERM, "state.db is not a store of ours" },
    { "what is no database is left alone",                          no_database, RC_PERM, "state.db is damaged" },
    { "without checkpoint and beginning nothing can be done",       no_checkpoint_no_beginning, RC_PERM, "state.db is missing or empty" },
    { "damage at the beginning of the log is not its end",          damage_first_record, RC_PERM, "is damaged at byte 64: good records follow" },
    { "nor is damage in the middle",                                damage_body, RC_PERM, "good records follow" },
    { "a missing segment is named",                                 missing_segment, RC_PERM, "segment 0000000000000026 is missing in" },
    { "a mailbox row that makes no sense",                          torn_row, RC_PERM, "state.db is damaged" },
    { "a run of messages that makes no sense",                      torn_run, RC_PERM, "messages of mailbox 1 do not make sense" },
};

static void check_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dir[64];
        struct fault fault = { 0 };
        struct store *store = NULL;
        CASE(cases[i].sentence);
        temporary_folder(dir);
        copy_folder(live, dir);
        cases[i].act(dir);
        struct store_options options = { .dir = dir, .files = &file_ops_real };
        CHECK_INT(store_open(&options, &store, &fault), cases[i].rc);
        if (strstr(fault.text, cases[i].fault) == NULL)
            fprintf(stderr, "fault is \"%s\"\n", fault.text);
        CHECK(strstr(fault.text, cases[i].fault) != NULL);
        if (strstr(fault.text, "damaged") != NULL || strstr(fault.text, "missing") != NULL)
            CHECK(strstr(fault.text, "thurn verify --repair") != NULL);
        CHECK(cases[i].rc == RC_OK || store == NULL);
        if (store != NULL) {
            struct store_figures figures;
            store_figures(store, &figures);
            CHECK_INT(figures.messages, MESSAGES);
            CHECK_INT(append(store, mailbox_id(store, 1, "INBOX"), SLICE("next"), 0), MESSAGES + 1);
            store_close(store);
        }
        remove_folder(dir);
    }
}

/* ---- one damaged body ---- */

static void check_damaged_body(void)
{
    char dir[64];
    CASE("a body that the disk has changed is not handed out, the others are");
    temporary_folder(dir);
    struct store *store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    make_account(store, 1);
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    append(store, inbox, SLICE("good"), 0);
    append(store, inbox, SLICE("what will be bad"), 0);
    append(store, inbox, SLICE("good again"), 0);
    store_close(store);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    struct store_view *view;
    struct store_message m;
    struct fault fault;
    char out[32];
    CHECK_INT(store_view_open(store, inbox, true, &view, NULL), RC_OK);
    store_view_at(view, 2, &m);
    damage(dir, 0, (long)m.body_id + 40);
    CHECK_INT(store_read(store, m.body_id, 0, m.size, out, &fault), RC_PERM);
    CHECK(strstr(fault.text, "message body 0000") != NULL && strstr(fault.text, "segment 0000000000000000") != NULL);
    store_view_at(view, 1, &m);
    check_body(store, &m, SLICE("good"));
    store_view_at(view, 3, &m);
    check_body(store, &m, SLICE("good again"));
    CHECK_INT(store_read(store, 4711, 0, 1, out, &fault), RC_PERM);
    CHECK_INT(store_read(store, UINT64_MAX / 2, 0, 1, out, &fault), RC_PERM);
    store_view_close(view);
    store_close(store);
    remove_folder(dir);
}

static void check_refusals(void)
{
    struct store *store;
    struct fault fault;
    CASE("a folder that is not there");
    struct store_options options = { .dir = "/nonexistent/folder", .files = &file_ops_real };
    CHECK(store_open(&options, &store, &fault) != RC_OK);
    CHECK(strstr(fault.text, "/nonexistent/folder") != NULL);
    CASE("nothing to read there");
    char dir[64];
    temporary_folder(dir);
    options.dir = dir;
    options.is_read_only = true;
    CHECK_INT(store_open(&options, &store, &fault), RC_PERM);
    CHECK(strstr(fault.text, "there is no store in") != NULL);
    CASE("nor in a database that was not filled yet");
    overwrite(dir, "state.db", "");
    CHECK_INT(store_open(&options, &store, &fault), RC_PERM);
    CHECK(strstr(fault.text, "there is no store in") != NULL);
    remove_folder(dir);
    CASE("a reader cannot change anything");
    options.dir = live;
    CHECK_INT(store_open(&options, &store, &fault), RC_OK);
    uint64_t wait;
    CHECK_INT(store_mailbox_create(store, 1, SLICE("x"), SPECIAL_NONE, 1, &wait, &fault), RC_TEMP);
    CHECK(strstr(fault.text, "reading only") != NULL);
    struct store_body *body = body_of(store, SLICE("x"));
    uint32_t uid;
    CHECK_INT(store_append(store, mailbox_id(store, 1, "INBOX"), body, (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, &fault), RC_TEMP);
    CHECK(!store_poll(store, 1));
    store_close(store);
    CASE("the log is not the store's folder");
    static char name[700];
    memset(name, 'n', sizeof name - 1);
    options = (struct store_options){ .dir = name, .files = &file_ops_real };
    CHECK_INT(store_open(&options, &store, &fault), RC_PERM);
}

int main(void)
{
    temporary_folder(live);
    running = open_store(live, SEGMENT, (struct store_rider){ 0 });
    make_account(running, 1);
    static char text[10000];
    memset(text, 'm', sizeof text);
    for (int i = 0; i < MESSAGES; i++) {
        append(running, mailbox_id(running, 1, "INBOX"), (struct slice){ text, sizeof text }, 0);
        if (i == MESSAGES / 2)
            for (int64_t now = 1; now < 70000; now += 60001)
                while (store_poll(running, now)) {}
    }
    check_cases();
    check_damaged_body();
    check_refusals();
    store_close(running);
    remove_folder(live);
    return check_done();
}
