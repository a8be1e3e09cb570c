/* What was expunged can be brought back (store/kept.h): for how long, from where, at what price in memory, and what a full
 * disk does to it. */
#include "support.h"

#include "store/kept.h"

#include <malloc.h>

enum { KEEP_S = 7 * 24 * 3600 };
#define DAY_MS (24 * 3600 * 1000ll)

static struct store *store;
static int64_t now_ms = 1700000000000;

static struct store *open_keeping(const char *dir, const struct file_ops *ops, uint32_t keep_s)
{
    struct store_options options = { .dir = dir, .files = ops, .segment_bytes = SEGMENT, .keep_expunged_s = keep_s, .hash_seed = { 1, 2 } };
    struct store *opened = NULL;
    struct fault fault = { 0 };
    CHECK_INT(store_open(&options, &opened, &fault), RC_OK);
    if (opened == NULL) {
        fprintf(stderr, "cannot open: %s\n", fault.text);
        abort();
    }
    (void)store_poll(opened, now_ms);
    return opened;
}

static void let_pass(int64_t ms)
{
    now_ms += ms;
    for (int round = 0; round < 4; round++) {               /* what is handed over in one is applied in the next */
        uint64_t wait;
        while (store_poll(store, now_ms)) {}
        CHECK_INT(store_subscribe(store, 1, SLICE("tick"), round % 2 == 0, &wait, NULL), RC_OK);
        CHECK_INT(store_wait(store, wait), RC_OK);
    }
}

static void expunge(uint64_t mailbox, const char *uids)
{
    struct uid_set set = set_of(uids);
    uint64_t wait;
    CHECK_INT(store_expunge(store, mailbox, &set, true, NULL, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    uid_set_free(&set);
}

/* ---- what is kept, written down ---- */

struct listing {
    struct buf text;
    struct store_revived rows[64];
    size_t count;
    struct slice keywords[KEYWORDS_MAX];        /* of the last deleted mailbox */
    char keyword_bytes[KEYWORDS_MAX][16];
};

static bool on_kept(void *arg, const struct store_kept *k)
{
    static const char kinds[] = "emwM";
    struct listing *l = arg;
    if (k->kind == KEPT_MAILBOX) {
        buf_printf(&l->text, "%s[%.*s]", buf_len(&l->text) > 0 ? " " : "", SLICE_ARG(k->name));
        for (size_t i = 0; i < k->keyword_count; i++) {
            (void)slice_to_str(k->keywords[i], l->keyword_bytes[i], sizeof l->keyword_bytes[i]);
            l->keywords[i] = slice_from_str(l->keyword_bytes[i]);
        }
    }
    for (size_t i = 0; i < k->count; i++) {
        buf_printf(&l->text, "%s%c%u", buf_len(&l->text) > 0 ? " " : "", kinds[k->kind], k->rows[i].uid);
        if (l->count < 64)
            l->rows[l->count++] = (struct store_revived){ k->number, k->rows[i] };
    }
    return true;
}

static void list(struct listing *l, uint64_t account)
{
    *l = (struct listing){ .count = 0 };
    buf_init(&l->text, 1 << 20);
    struct fault fault = { 0 };
    CHECK_INT(store_kept_each(store, account, on_kept, l, &fault), RC_OK);
}

static void check_kept(uint64_t account, const char *want)
{
    struct listing l;
    list(&l, account);
    CHECK_SLICE(buf_slice(&l.text), slice_from_str(want));
    buf_free(&l.text);
}

static struct store_kept_figures figures(void)
{
    struct store_kept_figures f;
    store_kept_figures(store, &f);
    return f;
}

static void reopen(const char *dir, uint32_t keep_s)
{
    store_close(store);
    store = open_keeping(dir, &file_ops_real, keep_s);
}

/* ---- cases ---- */

static void check_expunged(const char *dir)
{
    CASE("what is expunged is kept, and counts in no quota");
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), wait, modseq;
    struct store_usage usage;
    struct uid_set two = set_of("2");
    append(store, inbox, SLICE("one"), FLAG_SEEN);
    append(store, inbox, SLICE("two two"), FLAG_ANSWERED);
    append(store, inbox, SLICE("three"), 0);
    CHECK_INT(store_flags(store, inbox, &two, FLAGS_ADD, FLAG_DELETED | FLAG_FLAGGED, 0, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    expunge(inbox, "2");
    CHECK_INT(store_account_usage(store, 1, &usage), RC_OK);
    CHECK_INT(usage.messages, 2);
    CHECK_INT(usage.bytes, 8);
    CHECK_INT(figures().messages, 1);
    CHECK_INT(figures().bytes, 7);
    check_kept(1, "e2");
    check_kept(2, "");

    CASE("it is there after a checkpoint and after opening anew, exactly as it was");
    for (int round = 0; round < 3; round++) {
        struct listing l;
        list(&l, 1);
        CHECK_INT(l.count, 1);
        CHECK_INT(l.rows[0].row.flags, FLAG_ANSWERED | FLAG_DELETED | FLAG_FLAGGED);
        CHECK_INT(l.rows[0].row.internal_s, 1700000007);
        CHECK_INT(l.rows[0].row.internal_zone_min, 60);
        CHECK_INT(l.rows[0].row.appended_s, 1700000000);
        check_body(store, &l.rows[0].row, SLICE("two two"));
        buf_free(&l.text);
        if (round == 0)
            let_pass(61000);
        else
            reopen(dir, KEEP_S);
        CHECK_INT(figures().messages, 1);
    }
    uid_set_free(&two);
}

static void check_revived(void)
{
    CASE("it comes back with a new UID, its date and its flags, but not as deleted; and stays kept");
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), wait;
    struct listing l;
    struct store_view *view;
    struct store_message m;
    uint32_t uid;
    list(&l, 1);
    CHECK_INT(store_revive(store, inbox, l.rows, l.count, l.keywords, &uid, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(uid, 4);
    CHECK_INT(store_view_open(store, inbox, true, &view, NULL), RC_OK);
    CHECK_INT(store_view_count(view), 3);
    store_view_at(view, 3, &m);
    CHECK_INT(m.uid, 4);
    CHECK_INT(m.flags, FLAG_ANSWERED | FLAG_FLAGGED);
    CHECK_INT(m.internal_s, 1700000007);
    CHECK_INT(m.appended_s, now_ms / 1000);
    check_body(store, &m, SLICE("two two"));
    store_view_close(view);
    check_kept(1, "e2");
    buf_free(&l.text);
}

static void check_moved(void)
{
    CASE("a move leaves a trace where the message was");
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), trash = mailbox_id(store, 1, "Trash"), wait;
    struct uid_set one = set_of("1"), a, b;
    uid_set_init(&a);
    uid_set_init(&b);
    CHECK_INT(store_copy(store, inbox, &one, trash, true, &a, &b, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    check_kept(1, "e2 m1");
    uid_set_free(&one);
    uid_set_free(&a);
    uid_set_free(&b);
}

static void check_mailbox(void)
{
    CASE("a deleted mailbox is kept with its name, its keywords and its messages");
    uint64_t wait, modseq;
    uint32_t bit, uid;
    struct uid_set all = set_of("1:*");
    CHECK_INT(store_mailbox_create(store, 1, SLICE("work/thurn"), SPECIAL_NONE, now_ms / 1000, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    uint64_t work = mailbox_id(store, 1, "work/thurn");
    append(store, work, SLICE("plan"), 0);
    append(store, work, SLICE("post"), 0);
    CHECK_INT(store_keyword(store, work, SLICE("$Other"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(store_keyword(store, work, SLICE("$Label"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(store_flags(store, work, &all, FLAGS_ADD, 0, 1ull << bit, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_mailbox_delete(store, 1, SLICE("work/thurn"), &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    check_kept(1, "e2 m1 w1 w2 [work/thurn]");
    let_pass(61000);
    check_kept(1, "e2 m1 w1 w2 [work/thurn]");

    CASE("its messages come back into another one, where the keyword is another bit");
    struct listing l;
    struct store_view *view;
    struct store_message m;
    uint64_t archive = mailbox_id(store, 1, "Archive");
    list(&l, 1);
    CHECK_INT(store_revive(store, archive, l.rows + 2, 2, l.keywords, &uid, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_keyword(store, archive, SLICE("$Label"), false, &bit, &wait, NULL), RC_OK);
    CHECK_INT(bit, 0);
    CHECK_INT(store_view_open(store, archive, true, &view, NULL), RC_OK);
    CHECK_INT(store_view_count(view), 2);
    store_view_at(view, 2, &m);
    CHECK_INT(m.keywords, 1);
    check_body(store, &m, SLICE("post"));
    store_view_close(view);
    buf_free(&l.text);
    uid_set_free(&all);
}

static void check_time(const char *dir)
{
    CASE("when its time is over it is forgotten, the oldest first, and its body with it");
    uint64_t inbox = mailbox_id(store, 1, "INBOX"), wait;
    struct store_figures before, after;
    struct listing l;
    uint32_t uid;
    list(&l, 1);
    store_figures(store, &before);
    expunge(inbox, "4");
    let_pass(4 * DAY_MS);
    expunge(inbox, "3");
    check_kept(1, "e2 m1 w1 w2 [work/thurn] e4 e3");
    let_pass(4 * DAY_MS);
    check_kept(1, "e3");
    CHECK(figures().forgotten_s > 0 && figures().forgotten_s < now_ms / 1000 - 7 * 24 * 3600);
    CHECK_INT(store_revive(store, inbox, l.rows, 1, l.keywords, &uid, &wait, NULL), RC_NONE);
    store_figures(store, &after);
    CHECK_INT(after.bodies, before.bodies - 1);             /* "two two"; the others are in mailboxes */
    reopen(dir, KEEP_S);
    check_kept(1, "e3");
    CHECK_INT(figures().messages, 1);
    buf_free(&l.text);

    CASE("with the setting at 0 nothing is kept, and what was is forgotten");
    append(store, inbox, SLICE("four"), 0);
    store_keep_expunged(store, 0);
    expunge(inbox, "5");
    let_pass(1000);
    check_kept(1, "");
    CHECK_INT(figures().messages, 0);
    CHECK_INT(figures().bytes, 0);
    CHECK_INT(figures().forgotten_s, now_ms / 1000 - 1);
    store_keep_expunged(store, KEEP_S);
}

static void check_removed(void)
{
    CASE("an account that nobody owns is deleted when the time is over, and not when somebody owns it again");
    uint64_t wait;
    int64_t removed_s = 0;
    make_account(store, 7);
    make_account(store, 8);
    for (uint64_t id = 7; id <= 8; id++)
        CHECK_INT(store_account_removed(store, id, true, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_account_after(store, 6, &removed_s), 7);
    CHECK_INT(removed_s, now_ms / 1000);
    let_pass(6 * DAY_MS);
    CHECK_INT(store_account_removed(store, 8, false, &wait, NULL), RC_OK);
    let_pass(2 * DAY_MS);
    CHECK(!store_account_exists(store, 7));
    CHECK(store_account_exists(store, 8));
    CHECK(store_account_exists(store, 1));
}

/* ---- memory ---- */

static void check_memory(void)
{
    CASE("what is expunged from a large mailbox costs no row in memory once it is in a checkpoint");
    uint64_t from = mailbox_id(store, 1, "Drafts"), to = mailbox_id(store, 1, "Junk"), wait;
    struct uid_set all = set_of("1:*"), a, b;
    uid_set_init(&a);
    uid_set_init(&b);
    append(store, from, SLICE("again and again"), 0);
    let_pass(61000);
    size_t empty = mallinfo2().uordblks;
    for (int i = 0; i < 19; i++) {
        CHECK_INT(store_copy(store, from, &all, i == 18 ? to : from, false, &a, &b, &wait, NULL), RC_OK);
        CHECK_INT(store_wait(store, wait), RC_OK);
    }
    uint32_t count = 1 << 18;
    CHECK_INT(uid_set_size(&a), count);
    expunge(to, "1:*");
    expunge(from, "1:*");
    CHECK_INT(figures().messages, 2 * count);
    let_pass(61000);
    size_t left = mallinfo2().uordblks;
    fprintf(stderr, "%u expunged: %zu bytes more than before\n", 2 * count, left > empty ? left - empty : 0);
    CHECK(left < empty + (size_t)count * 2 * 8);            /* SQLite's cache, but no row of 48 bytes each */
    CHECK_INT(figures().messages, 2 * count);
    now_ms += 8 * DAY_MS;
    for (int i = 0; i < 200 && figures().messages > 0; i++)  /* a bounded piece at a time */
        let_pass(0);
    CHECK_INT(figures().messages, 0);
    uid_set_free(&all);
    uid_set_free(&a);
    uid_set_free(&b);
}

/* ---- a full disk ---- */

static void fill(uint64_t mailbox, size_t bytes)
{
    char *text = malloc(bytes);
    memset(text, 'x', bytes);
    append(store, mailbox, (struct slice){ text, bytes }, 0);
    free(text);
}

static int64_t free_bytes;
static int64_t told_free(void *self, const char *path)
{
    (void)self, (void)path;
    return free_bytes;
}

static void check_pressure(void)
{
    CASE("a disk that gets full has the oldest given up early, before mail is refused");
    char dir[64];
    struct file_ops ops = file_ops_real;
    ops.free_bytes = told_free;
    temporary_folder(dir);
    free_bytes = 1 << 30;
    store = open_keeping(dir, &ops, KEEP_S);
    make_account(store, 1);
    uint64_t inbox = mailbox_id(store, 1, "INBOX");
    for (int i = 0; i < 40; i++)
        fill(inbox, 60000);
    for (uint32_t uid = 1; uid <= 40; uid++) {
        char text[16];
        snprintf(text, sizeof text, "%u", uid);
        expunge(inbox, text);
    }
    let_pass(61000);
    CHECK_INT(figures().messages, 40);
    CHECK_INT(figures().given_up, 0);
    free_bytes = -5;                                        /* EIO: nobody knows how much there is */
    let_pass(2000);
    CHECK_INT(figures().given_up, 0);
    free_bytes = 4 * SEGMENT;
    CHECK(store_has_room(store, 1000, NULL));
    let_pass(2000);
    uint64_t once = figures().given_up;
    CHECK(once >= 4 && once <= 12);                         /* a segment's worth, not everything at once */
    CHECK(figures().forgotten_s > 0);
    for (int i = 0; i < 20; i++)
        let_pass(2000);
    struct store_figures after;
    store_figures(store, &after);
    fprintf(stderr, "given up: %llu, then %llu; free segments: %llu\n", (unsigned long long)once, (unsigned long long)figures().given_up,
            (unsigned long long)after.segments_free);
    CHECK(figures().given_up < 40);                         /* what is freed is counted as room */
    CHECK(figures().messages > 0);
    struct listing l;
    list(&l, 1);
    CHECK_INT(l.rows[l.count - 1].row.uid, 40);             /* the oldest went */
    CHECK_INT(l.rows[0].row.uid, 41 - l.count);
    buf_free(&l.text);

    CASE("mail that does not fit is refused, and fits when more has been given up");
    uint64_t large = 14 * SEGMENT;
    free_bytes = 8 * SEGMENT;
    let_pass(2000);
    if (store_has_room(store, large, NULL))
        CHECK(false);
    uint64_t given_up = figures().given_up;
    for (int i = 0; i < 20 && figures().messages > 0; i++)
        let_pass(2000);
    CHECK(figures().given_up > given_up);
    store_close(store);
    remove_folder(dir);
}

int main(void)
{
    char dir[64];
    temporary_folder(dir);
    store = open_keeping(dir, &file_ops_real, KEEP_S);
    make_account(store, 1);
    make_account(store, 2);
    check_expunged(dir);
    check_revived();
    check_moved();
    check_mailbox();
    check_time(dir);
    check_removed();
    check_memory();
    store_close(store);
    remove_folder(dir);
    check_pressure();
    return check_done();
}
