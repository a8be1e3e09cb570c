/* Changing messages: flags and conditions (RFC 7162 3.1.3), expunging, copying, moving, keywords, what has vanished. */
#include "support.h"

static struct store *store;
static uint64_t inbox, trash;

/* "uid:flags" of every message, and its keywords by name. */
static bool mailbox_is(uint64_t mailbox, const char *want)
{
    struct buf out;
    struct store_view *view;
    struct store_mailbox_info info;
    buf_init(&out, 1 << 16);
    CHECK_INT(store_mailbox_by_id(store, mailbox, &info), RC_OK);
    CHECK_INT(store_view_open(store, mailbox, true, &view, NULL), RC_OK);
    for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
        struct store_message m;
        store_view_at(view, seq, &m);
        buf_printf(&out, "%s%u:%u", seq == 1 ? "" : " ", m.uid, m.flags);
        for (size_t bit = 0; bit < KEYWORDS_MAX; bit++)
            if (m.keywords >> bit & 1)
                buf_printf(&out, "/%.*s", SLICE_ARG(info.keywords[bit]));
    }
    store_view_close(view);
    bool is = slice_equal(buf_slice(&out), slice_from_str(want));
    if (!is)
        fprintf(stderr, "mailbox is \"%.*s\", want \"%s\"\n", SLICE_ARG(buf_slice(&out)), want);
    buf_free(&out);
    return is;
}

static uint64_t modseq_of(uint64_t mailbox, uint32_t uid)
{
    struct store_view *view;
    struct store_message m;
    CHECK_INT(store_view_open(store, mailbox, true, &view, NULL), RC_OK);
    store_view_at(view, store_view_seq(view, uid), &m);
    CHECK_INT(m.uid, uid);
    store_view_close(view);
    return m.modseq;
}

static uint64_t highest(uint64_t mailbox)
{
    struct store_mailbox_info info;
    CHECK_INT(store_mailbox_by_id(store, mailbox, &info), RC_OK);
    return info.highest_modseq;
}

static uint64_t set_flags(const char *uids, enum store_flag_op op, uint32_t flags)
{
    struct uid_set set = set_of(uids);
    uint64_t modseq, wait;
    CHECK_INT(store_flags(store, inbox, &set, op, flags, 0, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    uid_set_free(&set);
    return modseq;
}

static void check_flags(void)
{
    CASE("flags are replaced, added, removed; UIDs that are not there are passed over");
    for (int i = 0; i < 5; i++)
        append(store, inbox, SLICE("message"), 0);
    CHECK(mailbox_is(inbox, "1:0 2:0 3:0 4:0 5:0"));
    uint64_t before = highest(inbox);
    uint64_t modseq = set_flags("2:3,77", FLAGS_ADD, FLAG_SEEN);
    CHECK(modseq > before);
    CHECK_INT(highest(inbox), modseq);
    CHECK_INT(modseq_of(inbox, 2), modseq);
    CHECK_INT(modseq_of(inbox, 3), modseq);
    CHECK(modseq_of(inbox, 4) < modseq);
    set_flags("3:4", FLAGS_ADD, FLAG_FLAGGED);
    CHECK(mailbox_is(inbox, "1:0 2:8 3:10 4:2 5:0"));
    set_flags("3", FLAGS_REMOVE, FLAG_SEEN | FLAG_ANSWERED);
    set_flags("1", FLAGS_REPLACE, FLAG_DRAFT);
    CHECK(mailbox_is(inbox, "1:16 2:8 3:2 4:2 5:0"));
    CASE("a change that changes nothing has no modseq");
    before = highest(inbox);
    CHECK_INT(set_flags("2", FLAGS_ADD, FLAG_SEEN), 0);
    CHECK_INT(set_flags("88", FLAGS_ADD, FLAG_SEEN), 0);
    CHECK_INT(highest(inbox), before);
    CASE("only those that really change get the new modseq");
    modseq = set_flags("1:5", FLAGS_ADD, FLAG_SEEN);
    CHECK(modseq_of(inbox, 2) < modseq);
    CHECK_INT(modseq_of(inbox, 5), modseq);
    set_flags("1:5", FLAGS_REPLACE, 0);
}

static void check_condition(void)
{
    struct uid_set all = set_of("1:*"), modified;
    uint64_t modseq, wait, old = highest(inbox);
    uid_set_init(&modified);
    CASE("UNCHANGEDSINCE leaves out what has changed");
    set_flags("3", FLAGS_ADD, FLAG_ANSWERED);
    CHECK_INT(store_flags(store, inbox, &all, FLAGS_ADD, FLAG_SEEN, 0, old, &modified, &modseq, &wait, NULL), RC_OK);
    CHECK(set_is(&modified, "3"));
    CASE("a condition waits for changes in flight");
    uint64_t again = 0, other;
    uid_set_clear(&modified);
    CHECK_INT(store_flags(store, inbox, &all, FLAGS_ADD, FLAG_DRAFT, 0, old, &modified, &other, &again, NULL), RC_MORE);
    CHECK_INT(again, wait);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(inbox, "1:8 2:8 3:1 4:8 5:8"));
    CHECK_INT(store_flags(store, inbox, &all, FLAGS_ADD, FLAG_DRAFT, 0, old, &modified, &modseq, &wait, NULL), RC_OK);
    CHECK(set_is(&modified, "1:5"));
    CHECK_INT(modseq, 0);
    CHECK_INT(wait, 0);
    CASE("without a condition changes follow one another in flight");
    CHECK_INT(store_flags(store, inbox, &all, FLAGS_REPLACE, FLAG_SEEN, 0, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_flags(store, inbox, &all, FLAGS_ADD, FLAG_DRAFT, 0, UINT64_MAX, NULL, &other, &wait, NULL), RC_OK);
    CHECK(other > modseq);
    CHECK_INT(store_flags(store, inbox, &all, FLAGS_REMOVE, FLAG_SEEN, 0, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK(modseq > other);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(inbox, "1:16 2:16 3:16 4:16 5:16"));
    uid_set_free(&modified);
    uid_set_free(&all);
}

static void check_keywords(void)
{
    uint32_t bit, same;
    uint64_t wait, modseq;
    struct uid_set one = set_of("1"), a, b;
    uid_set_init(&a);
    uid_set_init(&b);
    CASE("a keyword is made when asked, and usable at once");
    CHECK_INT(store_keyword(store, inbox, SLICE("$Forwarded"), false, &bit, &wait, NULL), RC_NONE);
    CHECK_INT(store_keyword(store, inbox, SLICE("$Forwarded"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(store_keyword(store, inbox, SLICE("$FORWARDED"), true, &same, &wait, NULL), RC_OK);
    CHECK_INT(bit, same);
    CHECK_INT(store_flags(store, inbox, &one, FLAGS_ADD, 0, 1ull << bit, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(inbox, "1:16/$Forwarded 2:16 3:16 4:16 5:16"));
    CASE("what is no atom is no keyword");
    static const char *const bad[] = { "", "a b", "a(b", "\\Seen", "a\"", "a%", "a*", "a]", "\x7f", "\xc3\xbc", "a{" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_INT(store_keyword(store, inbox, slice_from_str(bad[i]), true, &bit, &wait, NULL), RC_PERM);
    CASE("a copy carries keywords by name, whatever their bits");
    CHECK_INT(store_keyword(store, trash, SLICE("other"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(bit, 0);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_copy(store, inbox, &one, trash, false, &a, &b, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(trash, "1:16/$Forwarded"));
    CASE("there are 64 of them, then no more");
    uint64_t junk = mailbox_id(store, 1, "Junk");
    for (int i = 0; i < KEYWORDS_MAX; i++) {
        char name[8];
        snprintf(name, sizeof name, "k%d", i);
        CHECK_INT(store_keyword(store, junk, slice_from_str(name), true, &bit, &wait, NULL), RC_OK);
        CHECK_INT(bit, i);
    }
    CHECK_INT(store_keyword(store, junk, SLICE("k64"), true, &bit, &wait, NULL), RC_PERM);
    CHECK_INT(store_keyword(store, junk, SLICE("k63"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    uid_set_free(&one);
    uid_set_free(&a);
    uid_set_free(&b);
}

static void check_expunge(void)
{
    struct uid_set some = set_of("1:3"), gone;
    uint64_t wait, since = highest(inbox), second;
    uid_set_init(&gone);
    CASE("expunging takes what carries \\Deleted");
    set_flags("2:4", FLAGS_ADD, FLAG_DELETED);
    CHECK_INT(store_expunge(store, inbox, &some, false, &gone, &wait, NULL), RC_OK);
    CHECK(set_is(&gone, "2:3"));
    CASE("what is going is not taken twice, nor copied");
    CHECK_INT(store_expunge(store, inbox, NULL, false, &gone, &second, NULL), RC_OK);
    CHECK(set_is(&gone, "4"));
    struct uid_set a, b;
    uid_set_init(&a);
    uid_set_init(&b);
    CHECK_INT(store_copy(store, inbox, &some, trash, false, &a, &b, &wait, NULL), RC_OK);
    CHECK(set_is(&a, "1"));
    CHECK(set_is(&b, "2"));
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(inbox, "1:16/$Forwarded 5:16"));
    CASE("what has vanished is remembered");
    CHECK_INT(store_vanished(store, inbox, since, &gone), RC_OK);
    CHECK(set_is(&gone, "2:4"));
    uint64_t later = highest(inbox);
    CHECK_INT(store_expunge(store, inbox, &some, true, &gone, &wait, NULL), RC_OK);
    CHECK(set_is(&gone, "1"));
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_vanished(store, inbox, later, &gone), RC_OK);
    CHECK(set_is(&gone, "1"));
    CHECK_INT(store_vanished(store, inbox, highest(inbox), &gone), RC_OK);
    CHECK(set_is(&gone, ""));
    CASE("nothing to expunge is nothing to wait for");
    CHECK_INT(store_expunge(store, inbox, NULL, false, &gone, &wait, NULL), RC_OK);
    CHECK_INT(wait, 0);
    CHECK_INT(store_expunge(store, 4711, NULL, false, &gone, &wait, NULL), RC_NONE);
    uid_set_free(&a);
    uid_set_free(&b);
    uid_set_free(&gone);
    uid_set_free(&some);
}

static void check_move(void)
{
    struct uid_set all = set_of("1:*"), a, b;
    uint64_t wait;
    uid_set_init(&a);
    uid_set_init(&b);
    append(store, inbox, SLICE("sixth"), FLAG_SEEN);
    append(store, inbox, SLICE("seventh"), FLAG_FLAGGED);
    CASE("a move takes messages over, dates and flags and all");
    CHECK_INT(store_copy(store, inbox, &all, trash, true, &a, &b, &wait, NULL), RC_OK);
    CHECK(set_is(&a, "5:7"));
    CHECK(set_is(&b, "3:5"));
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(inbox, ""));
    CHECK(mailbox_is(trash, "1:16/$Forwarded 2:16/$Forwarded 3:16 4:8 5:2"));
    CASE("copying into the mailbox itself doubles");
    CHECK_INT(store_copy(store, trash, &all, trash, false, &a, &b, &wait, NULL), RC_OK);
    CHECK(set_is(&b, "6:10"));
    CHECK_INT(store_wait(store, wait), RC_OK);
    struct store_figures figures;
    store_figures(store, &figures);
    CHECK_INT(figures.messages, 10);
    CHECK_INT(figures.bodies, 4);           /* the first one is here twice, twice */
    CASE("moving within the mailbox renumbers");
    struct uid_set first = set_of("1:8");
    CHECK_INT(store_copy(store, trash, &first, trash, true, &a, &b, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(trash, "9:8 10:2 11:16/$Forwarded 12:16/$Forwarded 13:16 14:8 15:2 16:16/$Forwarded 17:16/$Forwarded 18:16"));
    CASE("copying nothing is fine");
    struct uid_set none = set_of("500");
    CHECK_INT(store_copy(store, trash, &none, inbox, false, &a, &b, &wait, NULL), RC_OK);
    CHECK_INT(wait, 0);
    CHECK_INT(a.count, 0);
    CHECK_INT(b.count, 0);
    CHECK_INT(store_copy(store, trash, &first, 4711, false, &a, &b, &wait, NULL), RC_NONE);
    uid_set_free(&first);
    uid_set_free(&none);
    uid_set_free(&all);
    uid_set_free(&a);
    uid_set_free(&b);
}

static void check_many_vanished(void)
{
    CASE("very many expunges are remembered in few ranges, and never a living message among them");
    uint64_t sent = mailbox_id(store, 1, "Sent"), wait = 0;
    struct uid_set gone;
    uid_set_init(&gone);
    uint32_t uid;
    for (int i = 0; i < 20001; i++)
        CHECK_INT(store_append(store, sent, body_of(store, SLICE("m")), (struct mail_date){ 0, 0 }, 0, 0, &uid, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    for (uint32_t i = 20000; i >= 2; i -= 2) {       /* every other one, backwards: the worst for ranges */
        struct uid_set one;
        uid_set_init(&one);
        uid_set_add(&one, i, i);
        CHECK_INT(store_expunge(store, sent, &one, true, NULL, &wait, NULL), RC_OK);
        uid_set_free(&one);
    }
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_vanished(store, sent, 0, &gone), RC_OK);
    CHECK_INT(uid_set_size(&gone), 10000);
    CHECK(!uid_set_contains(&gone, 1) && uid_set_contains(&gone, 2) && !uid_set_contains(&gone, 3));
    CHECK_INT(store_expunge(store, sent, NULL, true, NULL, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK_INT(store_vanished(store, sent, 0, &gone), RC_OK);
    CHECK(set_is(&gone, "1:20001"));
    uid_set_free(&gone);
}

/* Three records on their way at once. */
static void check_keyword_to_come(void)
{
    uint32_t bit;
    uint64_t wait, modseq;
    struct uid_set one = set_of("1"), a, b;
    uid_set_init(&a);
    uid_set_init(&b);
    CASE("a copy does not get a keyword that only a later record brings");
    make_account(store, 2);
    uint64_t from = mailbox_id(store, 2, "INBOX"), to = mailbox_id(store, 2, "Trash");
    append(store, from, SLICE("one"), 0);
    CHECK_INT(store_keyword(store, from, SLICE("$Label"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(store_flags(store, from, &one, FLAGS_ADD, 0, 1ull << bit, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    CHECK_INT(store_copy(store, from, &one, to, false, &a, &b, &wait, NULL), RC_OK);
    CHECK_INT(store_keyword(store, to, SLICE("$Label"), true, &bit, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
    CHECK(mailbox_is(from, "1:0/$Label") && mailbox_is(to, "1:0"));
    uid_set_free(&one);
    uid_set_free(&a);
    uid_set_free(&b);
}

int main(void)
{
    char dir[64];
    temporary_folder(dir);
    store = open_store(dir, 1 << 20, (struct store_rider){ 0 });
    make_account(store, 1);
    inbox = mailbox_id(store, 1, "INBOX");
    trash = mailbox_id(store, 1, "Trash");
    check_flags();
    check_condition();
    check_keywords();
    check_expunge();
    check_move();
    check_many_vanished();
    check_keyword_to_come();
    for (int i = 0; i < 2; i++) {
        CASE(i == 0 ? "after opening it is the same" : "and from the log alone");
        store_close(store);
        char path[96];
        snprintf(path, sizeof path, "%s/state.db", dir);
        store = open_store(dir, 1 << 20, (struct store_rider){ 0 });
        CHECK(mailbox_is(trash, "9:8 10:2 11:16/$Forwarded 12:16/$Forwarded 13:16 14:8 15:2 16:16/$Forwarded 17:16/$Forwarded 18:16"));
        CHECK(mailbox_is(mailbox_id(store, 2, "Trash"), "1:0"));
        struct uid_set gone;
        uid_set_init(&gone);
        CHECK_INT(store_vanished(store, inbox, 0, &gone), RC_OK);
        CHECK(set_is(&gone, "1:7"));
        CHECK_INT(append(store, inbox, SLICE("next"), 0), 8 + i);
        uid_set_free(&gone);
        if (i == 0)
            CHECK_INT(unlink(path), 0);
    }
    store_close(store);
    remove_folder(dir);
    return check_done();
}
