/* A bit flips at rest, in any byte of the log, of state.db and of its write-ahead log: it is found and named, or harmless. Never is
 * another message, flag or mailbox shown, and never does the store come to grief.
 *
 * Two folders: of a store that was closed, and of one that was killed with work behind its last checkpoint. What cannot be told from
 * a torn write is the last batch of the log after a kill: its loss is allowed, as after a power cut in the middle of it. */
#include "base/text.h"
#include "sim/disk.h"
#include "support.h"

#include <inttypes.h>

enum { SMALL = 16 << 10, STATE_BYTES = 1 << 18 };

static struct disk *disk;
static struct disk *current(void) { return disk; }
static struct buf last, before_last;            /* states: of the whole, and without the last batch */
static uint64_t last_batch;                     /* its position */

static enum rc open_it(struct store **store, struct fault *f)
{
    static struct file_ops ops;
    ops = disk_ops(disk);
    struct store_options options = { .dir = "/store", .files = &ops, .segment_bytes = SMALL, .hash_seed = { 1, 2 } };
    *f = (struct fault){ 0 };
    return store_open(&options, store, f);
}

/* ---- the state, written down: a line for each message, its body last ------------------------------------------------------------ */

static void write_message(struct store *store, const struct store_message *m, struct buf *out)
{
    static char bytes[40000];
    struct fault f = { 0 };
    must(m->size <= sizeof bytes);
    buf_printf(out, " %u modseq %" PRIu64 " flags %u keywords %" PRIx64 " date %" PRId64 " body ", m->uid, m->modseq, m->flags, m->keywords, m->internal_s);
    if (store_read(store, m->body_id, 0, m->size, bytes, &f) == RC_OK) {
        buf_printf(out, "%u %08x\n", m->size, crc32c(0, bytes, m->size));
        return;
    }
    CHECK_INT(f.rc, RC_PERM);
    CHECK(strstr(f.text, "segment") != NULL && strstr(f.text, "damaged") != NULL);
    buf_printf(out, "DAMAGED\n");
}

static void write_state(struct store *store, struct buf *out)
{
    struct store_mailbox_info info;
    char name[MAILBOX_NAME_MAX];
    buf_clear(out);
    for (struct slice after = SLICE_NONE; store_mailbox_next(store, 1, after, &info) == RC_OK;) {
        memcpy(name, info.name.ptr, info.name.len);
        after = (struct slice){ name, info.name.len };
        buf_printf(out, "%.*s %" PRIu64 " validity %u next %u modseq %" PRIu64 "\n", SLICE_ARG(after), info.id, info.uidvalidity, info.uidnext,
                   info.highest_modseq);
        struct store_view *view;
        if (store_view_open(store, info.id, true, &view, NULL) != RC_OK)
            continue;
        for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
            struct store_message m;
            store_view_at(view, seq, &m);
            write_message(store, &m, out);
        }
        store_view_close(view);
    }
    CHECK(!out->overflow);
}

/* The same but for bodies that could not be read. */
static bool is_same(struct slice have, struct slice want)
{
    while (have.len > 0) {
        struct slice a = slice_take_until(&have, '\n'), b = slice_take_until(&want, '\n');
        size_t damaged = slice_find(a, SLICE("DAMAGED"));
        if (damaged < a.len ? !slice_equal(slice_sub(a, 0, damaged), slice_sub(b, 0, damaged)) : !slice_equal(a, b))
            return false;
    }
    return want.len == 0;
}

/* ---- the folders ---------------------------------------------------------------------------------------------------------------- */

static void do_expunge(struct store *store, uint64_t inbox, const char *uids)
{
    struct uid_set set = set_of(uids), gone;
    uint64_t wait, modseq;
    uid_set_init(&gone);
    CHECK_INT(store_flags(store, inbox, &set, FLAGS_ADD, FLAG_DELETED, 0, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_expunge(store, inbox, NULL, false, &gone, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    uid_set_free(&set);
    uid_set_free(&gone);
}

static void work(struct store *store, int messages, size_t salt)
{
    static char text[30000];
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    for (int i = 0; i < messages; i++) {
        size_t len = i % 9 == 5 ? 20000 + salt : 200 + (size_t)i * 83 % 2500;
        for (size_t at = 0; at < len; at++)
            text[at] = (char)('a' + (at * 7 + (size_t)i + salt) % 26);
        append(store, inbox, (struct slice){ text, len }, i % 3 == 0 ? FLAG_SEEN : 0);
    }
}

static void checkpoint(struct store *store, int64_t now_ms)
{
    store_poll(store, now_ms);
    for (int polls = 0; polls < 100 && store_poll(store, now_ms + 61000); polls++) {}
}

static void make_folder(bool is_killed)
{
    struct store *store;
    struct fault f;
    disk = disk_new(1, 0, true);
    CHECK_INT(disk_make_dir(disk, "/store", 0700), 0);
    CHECK_INT(open_it(&store, &f), RC_OK);
    make_account(store, 1);
    work(store, 20, 0);
    checkpoint(store, 1000);
    do_expunge(store, mailbox_id(store, 1, "INBOX"), "2:4,7");
    work(store, 8, 5);
    checkpoint(store, 100000);
    work(store, 6, 9);
    struct store_figures figures;
    store_figures(store, &figures);
    last_batch = figures.durable_position;
    write_state(store, &before_last);
    work(store, 1, 11);
    write_state(store, &last);
    if (is_killed)
        disk_plan(disk, 0, 0, 1);
    store_close(store);
    if (is_killed)
        disk_power_cut(disk, DISK_LOSE_NOTHING);
}

/* ---- flips ---------------------------------------------------------------------------------------------------------------------- */

struct tally { uint64_t tried, named, bodies, harmless, shorter; };

static void check_opened(struct store *store, bool may_lose_last, struct tally *tally)
{
    static struct buf state;
    buf_init(&state, STATE_BYTES);
    write_state(store, &state);
    bool is_whole = is_same(buf_slice(&state), buf_slice(&last));
    bool is_shorter = !is_whole && may_lose_last && is_same(buf_slice(&state), buf_slice(&before_last));
    CHECK(is_whole || is_shorter);
    if (!is_whole && !is_shorter)
        fprintf(stderr, "have\n%.*swant\n%.*s", SLICE_ARG(buf_slice(&state)), SLICE_ARG(buf_slice(&last)));
    bool has_damage = slice_find(buf_slice(&state), SLICE("DAMAGED")) < buf_len(&state);
    tally->shorter += is_shorter;
    tally->bodies += is_whole && has_damage;
    tally->harmless += is_whole && !has_damage;
    buf_free(&state);
}

static void flip(const char *path, uint64_t at, bool may_lose_last, struct tally *tally)
{
    struct disk *whole = disk;
    struct store *store;
    struct fault f;
    char sentence[120];
    snprintf(sentence, sizeof sentence, "a bit flips at byte %" PRIu64 " of %s", at, path);
    CASE(sentence);
    disk = disk_clone(whole, at);
    CHECK_INT(disk_flip(disk, path, at, (unsigned)(at % 8)), 0);
    tally->tried++;
    if (open_it(&store, &f) == RC_OK) {
        check_opened(store, may_lose_last, tally);
        store_close(store);
    } else {
        bool is_named = strstr(f.text, "state.db") != NULL || strstr(f.text, "segment") != NULL;
        if (f.rc != RC_PERM || !is_named || strstr(f.text, "thurn verify --repair") == NULL)
            fprintf(stderr, "fault is \"%s\"\n", f.text);
        CHECK_INT(f.rc, RC_PERM);
        CHECK(is_named);
        CHECK(strstr(f.text, "thurn verify --repair") != NULL);
        tally->named++;
    }
    disk_free(disk);
    disk = whole;
}

static void flip_all(const char *path, bool is_killed, uint64_t every, struct tally *tally)
{
    struct stat st;
    uint64_t number = UINT64_MAX;
    if (disk_stat(disk, path, &st) != 0)
        return;
    const char *log = strstr(path, "log/");
    if (log != NULL)
        number = strtoull(log + 4, NULL, 16);
    for (uint64_t at = every / 2; at < (uint64_t)st.st_size && check_failed < 20; at += every)
        flip(path, at, is_killed && log != NULL && number * SMALL + at >= last_batch, tally);
}

static struct tally check_folder(bool is_killed, uint64_t every)
{
    char *names, path[300];
    size_t count;
    struct tally tally = { 0 };
    CASE(is_killed ? "a store that was killed" : "a store that was closed");
    buf_init(&last, STATE_BYTES);
    buf_init(&before_last, STATE_BYTES);
    make_folder(is_killed);
    struct stat st;
    CHECK_INT(disk_stat(disk, "/store/state.db-wal", &st) == 0, is_killed);
    flip_all("/store/state.db", is_killed, every, &tally);
    flip_all("/store/state.db-wal", is_killed, every, &tally);
    CHECK_INT(disk_list(disk, "/store/log", &names, &count), 0);
    const char *name = names;
    for (size_t i = 0; i < count; i++, name += strlen(name) + 1) {
        snprintf(path, sizeof path, "/store/log/%s", name);
        flip_all(path, is_killed, every, &tally);
    }
    disk_list_free(names);
    disk_free(disk);
    buf_free(&last);
    buf_free(&before_last);
    fprintf(stderr, "%s: %" PRIu64 " bits: %" PRIu64 " named at opening, %" PRIu64 " named when read, %" PRIu64 " harmless, %" PRIu64 " in the last batch\n",
            is_killed ? "killed" : "closed", tally.tried, tally.named, tally.bodies, tally.harmless, tally.shorter);
    return tally;
}

int main(int argc, char **argv)
{
    uint64_t every = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current });
    struct tally closed = check_folder(false, every), killed = check_folder(true, every);
    CHECK(closed.named > 0 && closed.bodies > 0 && closed.harmless > 0 && closed.shorter == 0);
    CHECK(killed.named > 0 && killed.bodies > 0 && killed.harmless > 0);
    return check_done();
}
