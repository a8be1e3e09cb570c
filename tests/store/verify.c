/* Verifying and repairing: a store is made that has something of everything, each kind of damage is planted in a copy of it, and
 * each is found and named; then it is repaired, and what was readable is there as before. */
#include "support.h"

#include "base/text.h"
#include "os/sealed.h"
#include "os/wake.h"
#include "store/inner.h"
#include "store/verify.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

static char whole[64];              /* the folder of the store that was made, closed */
static struct store *store;
static int64_t now_ms = 1;

/* ---- a rider that is a small queue: each of its operations keeps the record's body --------------------------------------- */

enum { RIDDEN_MAX = 64 };
struct rider {
    struct store *store;
    struct { uint64_t key, body_id, body_size; bool is_saved; } kept[RIDDEN_MAX];
    size_t count, saved;
};

static void ride(struct rider *r, struct store *s, uint64_t key, uint64_t body_id, uint64_t body_size, bool is_saved)
{
    must(r->count < RIDDEN_MAX);
    r->kept[r->count].key = key;
    r->kept[r->count].body_id = body_id;
    r->kept[r->count].is_saved = is_saved;
    r->kept[r->count++].body_size = body_size;
    store_body_ref(s, body_id, body_size);
}

static void rider_apply(void *self, struct store *s, struct slice op, uint64_t body_id, uint64_t body_size)
{
    struct rider *r = self;
    r->store = s;
    uint64_t key = (uint64_t)(unsigned char)op.ptr[1];
    if (op.ptr[0] == '+') {
        ride(r, s, key, body_id, body_size, false);
        return;
    }
    for (size_t i = 0; i < r->count; i++)
        if (r->kept[i].key == key) {
            store_body_unref(s, r->kept[i].body_id);
            r->kept[i] = r->kept[--r->count];
            return;
        }
}

static enum rc rider_save(void *self, struct store *s, struct fault *f)
{
    struct rider *r = self;
    for (size_t i = 0; i < r->count; i++) {
        uint64_t row[2] = { r->kept[i].body_id, r->kept[i].body_size };
        if (store_rider_put(s, r->kept[i].key, (struct slice){ (const char *)row, sizeof row }, f) != RC_OK)
            return RC_TEMP;
        if (store_rider_put(s, r->kept[i].key | STORE_RIDER_ASIDE, SLICE("aside"), f) != RC_OK)
            return RC_TEMP;
    }
    for (uint64_t key = 1; key < RIDDEN_MAX; key++) {
        size_t i = 0;
        while (i < r->count && r->kept[i].key != key)
            i++;
        if (i == r->count && store_rider_delete(s, key, f) != RC_OK)
            return RC_TEMP;
    }
    return RC_OK;
}

static void rider_load(void *self, struct store *s, uint64_t key, struct slice row)
{
    uint64_t numbers[2];
    memcpy(numbers, row.ptr, sizeof numbers);
    ride(self, s, key, numbers[0], numbers[1], true);
}

static void rider_each(void *self, void (*each)(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size), void *arg)
{
    struct rider *r = self;
    for (size_t i = 0; i < r->count; i++)
        each(arg, r->kept[i].key, SLICE("row"), r->kept[i].body_id, r->kept[i].body_size);
}

static void rider_deliveries(void *self, struct slice row, void (*each)(void *arg, uint64_t account, struct slice mailbox, uint32_t uid), void *arg)
{
    (void)self, (void)row;
    each(arg, 1, SLICE("inbox"), 8);
}

static bool rider_is_good_row(void *self, uint64_t key, struct slice row)
{
    (void)self;
    return key >= STORE_RIDER_ASIDE ? slice_equal(row, SLICE("aside")) : row.len == 16;
}

static enum rc rider_lose(void *self, uint64_t key, int64_t time_ms, uint64_t *wait, struct fault *f)
{
    struct rider *r = self;
    char bytes[2] = { '-', (char)key };
    struct slice op = { bytes, 2 };
    struct store_accept accept = { .rider_ops = &op, .rider_op_count = 1 };
    (void)time_ms;
    return store_accept(r->store, &accept, wait, f);
}

static void rider_opened(void *self, struct store *s) { ((struct rider *)self)->store = s; }

static bool make_rider(void *arg, struct store_rider *out)
{
    (void)arg;
    *out = (struct store_rider){
        .self = calloc(1, sizeof(struct rider)), .opened = rider_opened, .apply = rider_apply, .save = rider_save, .load = rider_load,
        .each = rider_each, .is_good_row = rider_is_good_row, .deliveries = rider_deliveries, .lose = rider_lose,
    };
    return out->self != NULL;
}

static void free_rider(void *arg, struct store_rider *rider)
{
    (void)arg;
    free(rider->self);
}

static struct store_rider rider;

static void open_it(const char *dir)
{
    CHECK(make_rider(NULL, &rider));
    store = open_store(dir, SEGMENT, rider);
}

static void close_it(void)
{
    store_close(store);
    free_rider(NULL, &rider);
}

/* ---- the store --------------------------------------------------------------------------------------------------------------- */

static struct store_figures figures(void)
{
    struct store_figures f;
    store_figures(store, &f);
    return f;
}

static void let_a_minute_pass(void)
{
    now_ms += 61000;
    do {
        while (store_poll(store, now_ms)) {}
        if (figures().is_snapshot_running)
            (void)wake_wait(store_event_fd(store), 1000);
    } while (figures().is_snapshot_running);
}

static struct slice text_of(size_t number, size_t bytes)
{
    static char text[400000];
    memset(text, '.', bytes);
    for (size_t at = 0; at + 32 < bytes; at += 64)
        (void)snprintf(text + at, 32, "message %zu byte %zu", number, at);
    return (struct slice){ text, bytes };
}

static void queue(size_t number, char key, size_t bytes)
{
    char name[2] = { '+', key };
    struct slice op = { name, 2 };
    struct store_delivery to = { .account = 1, .mailbox = SLICE("INBOX") };
    struct store_accept accept = { .body = body_of(store, text_of(number, bytes)), .deliveries = &to, .delivery_count = 1, .rider_ops = &op, .rider_op_count = 1 };
    uint64_t wait;
    CHECK_INT(store_accept(store, &accept, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
}

static void change(uint64_t mailbox, const char *uids, uint32_t flags, bool expunge)
{
    struct uid_set set = set_of(uids);
    uint64_t modseq, wait;
    if (expunge)
        CHECK_INT(store_expunge(store, mailbox, &set, true, NULL, &wait, NULL), RC_OK);
    else
        CHECK_INT(store_flags(store, mailbox, &set, FLAGS_ADD, flags, 0, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    uid_set_free(&set);
}

/* Much that comes and goes, so that segments are reclaimed and snapshots made; some that stays. */
static void fill(int rounds)
{
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), sent = mailbox_id(store, 1, "Sent"), trash = mailbox_id(store, 2, "Trash"), wait;
    for (int round = 0; round < rounds; round++) {
        size_t number = (size_t)round * 100;
        for (size_t i = 0; i < 6; i++)
            append(store, inbox, text_of(number + i, 500 + 1000 * i), i % 2 == 0 ? FLAG_SEEN : 0);
        append(store, sent, text_of(number + 10, 200000), FLAG_FLAGGED);
        if (round < 20)
            queue(number + 20, (char)(round + 1), 3000);
        struct uid_set first = set_of("1:3"), a, b;
        uid_set_init(&a);
        uid_set_init(&b);
        CHECK_INT(store_copy(store, inbox, &first, trash, false, &a, &b, &wait, NULL), RC_OK);
        CHECK_INT(store_wait(store, wait), RC_OK);
        uid_set_free(&first);
        uid_set_free(&a);
        uid_set_free(&b);
        char uids[40];
        snprintf(uids, sizeof uids, "%d:%d", round * 7 + 2, round * 7 + 4);
        change(inbox, uids, 0, true);
        snprintf(uids, sizeof uids, "%d", round);
        if (round > 0)
            change(sent, uids, 0, true);
        change(trash, "1:*", FLAG_SEEN | FLAG_ANSWERED, false);
        let_a_minute_pass();
    }
}

static void make_store(void)
{
    uint32_t bit;
    uint64_t wait;
    temporary_folder(whole);
    open_it(whole);
    make_account(store, 1);
    make_account(store, 2);
    CHECK_INT(store_mailbox_create(store, 2, SLICE("work/projects"), SPECIAL_NONE, 1700000000, &wait, NULL), RC_OK);
    CHECK_INT(store_keyword(store, mailbox_id(store, 1, "INBOX"), SLICE("$Label1"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    fill(16);
    for (size_t i = 0; i < 4; i++)                      /* and some that no checkpoint knows */
        append(store, mailbox_id(store, 2, "Archive"), text_of(7000 + i, 900), 0);
    struct store_figures f = figures();
    CHECK(f.snapshot_position > LOG_START);
    CHECK(f.segments < f.durable_position / SEGMENT);       /* some were used twice */
    CHECK(f.durable_position > f.snapshot_position);
}

/* ---- the state, written down --------------------------------------------------------------------------------------------------- */

static void write_message(const struct store_message *m, struct buf *out)
{
    static char bytes[400001];
    struct fault fault = { 0 };
    bool ok = store_read(store, m->body_id, 0, m->size, bytes, &fault) == RC_OK;
    buf_printf(out, "  %u modseq %llu flags %u keywords %llx date %lld %u %08x%s\n", m->uid, (unsigned long long)m->modseq, m->flags,
               (unsigned long long)m->keywords, (long long)m->internal_s, m->size, ok ? crc32c(0, bytes, m->size) : 0, ok ? "" : " UNREADABLE");
}

static void write_state(struct buf *out)
{
    buf_clear(out);
    for (uint64_t account = 1; account <= 2; account++) {
        struct store_mailbox_info info;
        char name[MAILBOX_NAME_MAX];
        for (struct slice after = SLICE_NONE; store_mailbox_next(store, account, after, &info) == RC_OK;) {
            memcpy(name, info.name.ptr, info.name.len);
            after = (struct slice){ name, info.name.len };
            buf_printf(out, "%llu %.*s id %llu special %d sub %d validity %u next %u modseq %llu unseen %u size %llu keywords %zu\n",
                       (unsigned long long)account, SLICE_ARG(info.name), (unsigned long long)info.id, info.special, info.is_subscribed, info.uidvalidity,
                       info.uidnext, (unsigned long long)info.highest_modseq, info.unseen, (unsigned long long)info.size_bytes, info.keyword_count);
            struct store_view *view;
            if (info.id == 0 || store_view_open(store, info.id, true, &view, NULL) != RC_OK)
                continue;
            for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
                struct store_message m;
                store_view_at(view, seq, &m);
                write_message(&m, out);
            }
            store_view_close(view);
        }
    }
    const struct rider *r = rider.self;
    for (uint64_t key = 0; key < RIDDEN_MAX; key++)
        for (size_t i = 0; i < r->count; i++)
            if (r->kept[i].key == key)
                buf_printf(out, "queued %llu %llu\n", (unsigned long long)key, (unsigned long long)r->kept[i].body_size);
    CHECK(!out->overflow);
}

/* ---- looking ------------------------------------------------------------------------------------------------------------------------ */

static struct buf told;             /* one line for each finding */

static void on_found(void *arg, const struct verify_finding *f)
{
    (void)arg;
    buf_printf(&told, "%s %.*s +%llu account %llu %.*s uid %u entry %llu: %.*s\n", verify_kind_name(f->kind), SLICE_ARG(f->file), (unsigned long long)f->offset,
               (unsigned long long)f->account, SLICE_ARG(f->mailbox), f->uid, (unsigned long long)f->entry, SLICE_ARG(f->text));
}

static uint64_t progress_done, progress_total;

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    CHECK(done >= progress_done && done <= total);
    progress_done = done;
    progress_total = total;
}

static struct verify_options options_of(const char *dir)
{
    return (struct verify_options){ .dir = dir, .files = &file_ops_real, .rider = { make_rider, free_rider, NULL }, .found = on_found };
}

static uint64_t verify(const char *dir, struct verify_figures *out)
{
    struct verify_options options = options_of(dir);
    struct fault fault = { 0 };
    buf_clear(&told);
    enum rc rc = store_verify(&options, out, &fault);
    CHECK_INT(rc, RC_OK);
    if (rc != RC_OK)
        fprintf(stderr, "verify: %s\n", fault.text);
    return out->findings;
}

static bool tells(const char *what) { return slice_find(buf_slice(&told), slice_from_str(what)) < buf_len(&told); }

static struct buf reference;        /* the state of the store that was made */

/* ---- places in it ---- */

static struct places {
    uint64_t small, large, queued, late, snapshot;  /* positions: of bodies (a piece of the large one), and of the snapshot's first part */
    uint32_t small_uid, large_uid;
    uint64_t segment;                               /* full, and much of it alive */
} places;

static void find_places(void)
{
    struct store_view *view;
    struct store_message m;
    CHECK_INT(store_view_open(store, mailbox_id(store, 1, "INBOX"), true, &view, NULL), RC_OK);
    store_view_at(view, 5, &m);
    places.small = m.body_id;
    places.small_uid = m.uid;
    places.segment = m.body_id / SEGMENT;
    store_view_close(view);
    CHECK_INT(store_view_open(store, mailbox_id(store, 1, "Sent"), true, &view, NULL), RC_OK);
    store_view_at(view, store_view_count(view), &m);
    const struct placed *p = map_get_u64(&store->bodies.placed, m.body_id);
    CHECK(p != NULL && p->count > 1);
    places.large = p->positions[1];
    places.large_uid = m.uid;
    store_view_close(view);
    CHECK_INT(store_view_open(store, mailbox_id(store, 2, "Archive"), true, &view, NULL), RC_OK);
    store_view_at(view, 2, &m);
    places.late = m.body_id;
    store_view_close(view);
    CHECK(places.late > figures().checkpoint_position);
    const struct rider *r = rider.self;
    places.queued = r->kept[r->count - 1].body_id;
    places.snapshot = store->snapshot.first;
}

/* ---- damage, done to a copy ---- */

static void write_at(const char *dir, uint64_t position, const char *bytes, size_t len)
{
    char path[128];
    snprintf(path, sizeof path, "%s/log/%016llx.seg", dir, (unsigned long long)(position / SEGMENT));
    int fd = open(path, O_RDWR);
    CHECK(pwrite(fd, bytes, len, (off_t)(position % SEGMENT)) == (ssize_t)len);
    close(fd);
}

static void flip(const char *dir, uint64_t position)
{
    char path[128], byte;
    snprintf(path, sizeof path, "%s/log/%016llx.seg", dir, (unsigned long long)(position / SEGMENT));
    int fd = open(path, O_RDONLY);
    CHECK(pread(fd, &byte, 1, (off_t)(position % SEGMENT)) == 1);
    close(fd);
    byte ^= 16;
    write_at(dir, position, &byte, 1);
}

static void noise(const char *dir, const char *name)
{
    char path[128];
    static char bytes[300000];
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < sizeof bytes; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        bytes[i] = (char)random;
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK(write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    close(fd);
}

static void delete_file(const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_INT(unlink(path), 0);
}

static void run_sql(const char *dir, const char *sql)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/state.db", dir);
    CHECK_INT(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, sealed_vfs()), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    CHECK(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

static void no_state(const char *dir) { delete_file(dir, "state.db"); }
static void noisy_state(const char *dir) { noise(dir, "state.db"); }
static void flipped_state(const char *dir)
{
    char path[128], byte;
    snprintf(path, sizeof path, "%s/state.db", dir);
    int fd = open(path, O_RDWR);
    CHECK(pread(fd, &byte, 1, 3 * 4096 + 4000) == 1);
    byte ^= 1;
    CHECK(pwrite(fd, &byte, 1, 3 * 4096 + 4000) == 1);
    close(fd);
}
static void no_wal(const char *dir) { delete_file(dir, "state.db-wal"); }
static void noisy_wal(const char *dir) { noise(dir, "state.db-wal"); }
static void no_state_at_all(const char *dir) { no_state(dir), no_wal(dir); }
static void flipped_body(const char *dir) { flip(dir, places.small + 60); }
static void flipped_header(const char *dir) { flip(dir, places.small + 5); }
static void flipped_piece(const char *dir) { flip(dir, places.large + 5000); }
static void flipped_queued(const char *dir) { flip(dir, places.queued + 60); }
static void flipped_snapshot(const char *dir) { flip(dir, places.snapshot + 200); }
static void flipped_late(const char *dir) { flip(dir, places.late + 100); }
static void flipped_late_no_state(const char *dir) { flipped_late(dir), no_state_at_all(dir); }
static void hole(const char *dir)
{
    static char zeros[10000];
    write_at(dir, places.small - 5000, zeros, sizeof zeros);
}
static void no_segment(const char *dir)
{
    char name[40];
    snprintf(name, sizeof name, "log/%016llx.seg", (unsigned long long)places.segment);
    delete_file(dir, name);
}
static void flipped_body_no_state(const char *dir) { flipped_body(dir), no_state(dir); }
static void other_uidnext(const char *dir) { run_sql(dir, "UPDATE mailbox SET row = substr(row, 1, 4) || x'ffff0000' || substr(row, 9) WHERE name = 'Archive'"); }
static void lost_run(const char *dir) { run_sql(dir, "DELETE FROM run WHERE mailbox = (SELECT id FROM mailbox WHERE name = 'Sent' AND account = 1)"); }
static void lost_queue_row(const char *dir) { run_sql(dir, "DELETE FROM rider WHERE key = 3"); }
static void bad_history(const char *dir) { run_sql(dir, "UPDATE rider SET row = x'0102' WHERE key = (1 << 62) + 3"); }
static void one_validity(const char *dir)
{
    run_sql(dir, "UPDATE mailbox SET row = (SELECT row FROM mailbox WHERE name = 'Archive' AND account = 1) WHERE name = 'Drafts' AND account = 2");
}
static void torn_row(const char *dir) { run_sql(dir, "UPDATE mailbox SET row = x'0102'"); }
static void beyond_uidnext(const char *dir) { run_sql(dir, "UPDATE mailbox SET row = substr(row, 1, 4) || x'02000000' || substr(row, 9) WHERE name = 'Sent' AND account = 1"); }

static const struct {
    const char *sentence;
    void (*act)(const char *dir);
    const char *found[3];           /* each in what is told */
    bool is_rebuilt;
    int lost;                       /* messages; -1: some */
    bool was_killed;                /* the copy was taken of a running store */
} cases[] = {
    { "nothing",                                        NULL, { NULL }, false, 0, false },
    { "nothing, after a kill",                          NULL, { NULL }, false, 0, true },
    { "state.db is deleted",                            no_state, { "state state.db" }, true, 0, false },
    { "state.db is overwritten with noise",             noisy_state, { "state state.db" }, true, 0, false },
    { "state.db and its WAL are deleted",               no_state_at_all, { "state state.db" }, true, 0, true },
    { "the WAL is deleted",                             no_wal, { NULL }, false, 0, true },
    { "the WAL is overwritten with noise",              noisy_wal, { NULL }, false, 0, true },
    { "state.db makes no sense",                        torn_row, { "state state.db", "does not make sense" }, true, 0, false },
    { "a bit of state.db is flipped",                   flipped_state, { "state state.db" }, true, 0, false },
    { "a bit of a message is flipped: it is named",     flipped_body, { "damage log/", "message log/", "INBOX uid 8 entry 1:" }, false, -1, false },
    { "a bit of a record's head is flipped",            flipped_header, { "damage log/", "message log/", "INBOX uid 8 " }, false, -1, false },
    { "a bit in a piece of a large message is flipped", flipped_piece, { "damage log/", "message log/", "Sent uid 16 " }, false, 1, false },
    { "a bit of a queued message is flipped",           flipped_queued, { "damage log/", "message log/", "queue log/" }, false, 1, false },
    { "a bit of the snapshot is flipped",               flipped_snapshot, { "damage log/", "snapshot log/" }, false, 0, false },
    { "a hole in a segment",                            hole, { "damage log/", "message log/" }, false, -1, false },
    { "a segment is missing",                           no_segment, { "segment log/", "message log/" }, false, -1, false },
    { "state.db is deleted and a bit is flipped",       flipped_body_no_state, { "state state.db", "damage log/" }, true, -1, false },
    { "a bit behind the checkpoint is flipped",         flipped_late, { "damage log/" }, false, 1, true },
    { "the same, and state.db is deleted",              flipped_late_no_state, { "state state.db", "damage log/" }, true, 1, true },
    { "another UIDNEXT",                                other_uidnext, { "index state.db", "UIDNEXT" }, true, 0, false },
    { "messages that only the log has",                 lost_run, { "index state.db", "number of messages" }, true, 0, false },
    { "a message beyond UIDNEXT",                       beyond_uidnext, { "mailbox", "not below UIDNEXT", "index state.db" }, true, 0, false },
    { "a row of the queue is lost",                     lost_queue_row, { "index state.db", "a message in the queue" }, true, 0, false },
    { "a history that makes no sense",                  bad_history, { "queue state.db", "entry 3: its history makes no sense" }, false, 0, false },
    { "two mailboxes with one UIDVALIDITY",             one_validity, { "mailbox", "another mailbox has its UIDVALIDITY" }, true, 0, false },
};

/* ---- copies ---- */

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

/* ---- what is left ---- */

static size_t count_messages(struct slice state)
{
    size_t count = 0;
    for (size_t at = 0; at < state.len; at += slice_find_byte(slice_sub(state, at, SIZE_MAX), '\n') + 1)
        count += state.ptr[at] == ' ';
    return count;
}

/* Each message that is there now was there before and is as it was, but for nothing. */
static void check_kept(struct slice now)
{
    while (now.len > 0) {
        struct slice line = slice_take(&now, slice_find_byte(now, '\n') + 1);
        if (line.ptr[0] == ' ')
            CHECK(slice_find(buf_slice(&reference), line) < buf_len(&reference));
        CHECK(slice_find(line, SLICE("UNREADABLE")) == line.len);
    }
}

static void check_repaired(const char *dir, int lost, const struct repair_figures *f)
{
    struct buf state;
    struct verify_figures clean;
    CHECK_INT(verify(dir, &clean), 0);
    if (buf_len(&told) > 0)
        fprintf(stderr, "%s\nafter repair:\n%.*s", check_case, SLICE_ARG(buf_slice(&told)));
    CHECK(clean.is_compared);
    open_it(dir);
    buf_init(&state, 4 << 20);
    write_state(&state);
    if (lost == 0)
        CHECK_SLICE(buf_slice(&state), buf_slice(&reference));
    check_kept(buf_slice(&state));
    CHECK_INT(count_messages(buf_slice(&reference)) - count_messages(buf_slice(&state)), f->lost_messages);
    CHECK_INT(f->messages, figures().messages);
    CHECK(append(store, mailbox_id(store, 1, "Sent"), SLICE("next"), 0) > places.large_uid);
    close_it();
    CHECK_INT(verify(dir, &clean), 0);
    buf_free(&state);
}

static void check_case_number(size_t i, const char *killed)
{
    char dir[64];
    struct verify_figures f;
    struct repair_figures r;
    struct fault fault = { 0 };
    CASE(cases[i].sentence);
    temporary_folder(dir);
    copy_folder(cases[i].was_killed ? killed : whole, dir);
    if (cases[i].act != NULL)
        cases[i].act(dir);
    verify(dir, &f);
    bool is_bad = false;
    for (size_t k = 0; k < 3 && cases[i].found[k] != NULL; k++)
        is_bad = is_bad || !tells(cases[i].found[k]);
    CHECK(!is_bad);
    CHECK((cases[i].found[0] == NULL) == (f.findings == 0));
    if (is_bad || (f.findings > 0 && cases[i].found[0] == NULL))
        fprintf(stderr, "%s: found:\n%.*s", cases[i].sentence, SLICE_ARG(buf_slice(&told)));
    size_t named = 0;
    for (struct slice rest = buf_slice(&told); rest.len > 0;)
        named += slice_starts_nocase(slice_take(&rest, slice_find_byte(rest, '\n') + 1), SLICE("message "));
    struct verify_options options = options_of(dir);
    buf_clear(&told);
    CHECK_INT(store_repair(&options, now_ms, &r, &fault), RC_OK);
    if (fault.text[0] != '\0')
        fprintf(stderr, "%s: repair: %s\n", cases[i].sentence, fault.text);
    CHECK_INT(r.is_rebuilt, cases[i].is_rebuilt);
    CHECK(cases[i].lost < 0 ? r.lost_messages > 0 : r.lost_messages == (uint64_t)cases[i].lost);
    CHECK(named == 0 || named == r.lost_messages);          /* nothing is lost that was not named before */
    check_repaired(dir, cases[i].lost, &r);
    remove_folder(dir);
}

static void check_clean(void)
{
    struct verify_figures f;
    CASE("a running store is clean, and compared with what its log alone gives");
    struct verify_options options = options_of(whole);
    options.progress = on_progress;
    buf_clear(&told);
    CHECK_INT(store_verify(&options, &f, NULL), RC_OK);
    CHECK_SLICE(buf_slice(&told), SLICE(""));
    CHECK_INT(f.findings, 0);
    CHECK(f.is_compared);
    CHECK(f.bytes > SEGMENT && f.bytes == progress_done && progress_done == progress_total);
    CHECK_INT(f.messages, figures().messages);
    CHECK_INT(f.entries, 16);
    CHECK(f.records > 0 && f.accounts == 2 && f.mailboxes == 14);

    CASE("a closed one too");
    close_it();
    CHECK_INT(verify(whole, &f), 0);
    CHECK(f.is_compared);
}

/* ---- what was expunged and is kept ---- */

static void open_keeping(const char *dir)
{
    struct fault fault = { 0 };
    CHECK(make_rider(NULL, &rider));
    struct store_options options = { .dir = dir, .files = &file_ops_real, .segment_bytes = SEGMENT, .rider = rider, .keep_expunged_s = 7 * 24 * 3600 };
    CHECK_INT(store_open(&options, &store, &fault), RC_OK);
    (void)store_poll(store, now_ms);
}

static bool count_one(void *arg, const struct store_kept *kept)
{
    *(size_t *)arg += kept->count;
    return true;
}

static void check_kept_messages(void)
{
    char dir[64];
    struct verify_figures f;
    struct repair_figures r;
    struct fault fault = { 0 };
    struct store_view *view;
    struct store_message m;
    size_t kept = 0;
    CASE("a message that was expunged and could not be brought back is found, and repair lets it go");
    temporary_folder(dir);
    now_ms = 1700000000000;
    open_keeping(dir);
    make_account(store, 1);
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    for (size_t i = 0; i < 6; i++)
        append(store, inbox, text_of(i, 900), 0);
    CHECK_INT(store_view_open(store, inbox, true, &view, NULL), RC_OK);
    store_view_at(view, 2, &m);
    store_view_close(view);
    change(inbox, "2", 0, true);
    change(inbox, "4", 0, true);
    close_it();
    CHECK_INT(verify(dir, &f), 0);
    flip(dir, m.body_id + 100);
    CHECK_INT(verify(dir, &f), 2);
    CHECK(tells("damage log/") && tells("kept log/") && tells("uid 2 ") && !tells("message log/"));
    struct verify_options options = options_of(dir);
    options.keep_expunged_s = 7 * 24 * 3600;
    buf_clear(&told);
    CHECK_INT(store_repair(&options, now_ms, &r, &fault), RC_OK);
    CHECK(tells("kept log/") && r.lost_messages == 0);
    CHECK_INT(verify(dir, &f), 0);
    open_keeping(dir);
    CHECK_INT(figures().messages, 4);
    CHECK_INT(store_kept_each(store, 0, count_one, &kept, NULL), RC_OK);
    CHECK_INT(kept, 1);                     /* what was expunged behind it can still be brought back */
    close_it();
    remove_folder(dir);
}

static void check_nothing_alive(void)
{
    char dir[64];
    struct verify_figures f;
    struct repair_figures r;
    struct fault fault = { 0 };
    CASE("damage in the last segment, with nothing alive in it that had to move, is gone after the repair");
    temporary_folder(dir);
    now_ms = 1700000000000;
    open_keeping(dir);
    make_account(store, 1);
    close_it();
    CHECK_INT(verify(dir, &f), 0);
    flip(dir, 64 + 40);                     /* the first record begins at 64 */
    CHECK(verify(dir, &f) > 0);
    CHECK(tells("damage log/"));
    struct verify_options options = options_of(dir);
    CHECK_INT(store_repair(&options, now_ms, &r, &fault), RC_OK);
    CHECK_INT(verify(dir, &f), 0);
    open_keeping(dir);
    CHECK_INT(figures().mailboxes, 6);
    close_it();
    remove_folder(dir);
}

static void check_refusals(void)
{
    struct repair_figures r;
    struct fault fault = { 0 };
    CASE("beside a running server nothing is repaired");
    struct verify_options options = options_of(whole);
    CHECK_INT(store_repair(&options, now_ms, &r, &fault), RC_PERM);
    CHECK(strstr(fault.text, "Stop the server first") != NULL);
}

int main(void)
{
    char killed[64];
    buf_init(&told, 16 << 20);
    buf_init(&reference, 4 << 20);
    make_store();
    find_places();
    write_state(&reference);
    temporary_folder(killed);
    copy_folder(whole, killed);
    check_refusals();
    check_clean();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_case_number(i, killed);
    remove_folder(killed);
    remove_folder(whole);
    check_kept_messages();
    check_nothing_alive();
    buf_free(&told);
    buf_free(&reference);
    return check_done();
}
