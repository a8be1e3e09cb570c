/* Mailbox names: creating, renaming, deleting, subscribing, listing (RFC 3501 6.3.3 to 6.3.9). */
#include "support.h"

static struct store *store;
static int64_t now_s = 1700000000;

enum verb { CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, APPEND };

static enum rc act(enum verb verb, const char *name, const char *to)
{
    uint64_t wait = 0;
    struct slice from = slice_from_str(name);
    struct fault fault = { 0 };
    enum rc rc = RC_PERM;
    switch (verb) {
    case CREATE:      rc = store_mailbox_create(store, 1, from, SPECIAL_NONE, now_s, &wait, &fault); break;
    case DELETE:      rc = store_mailbox_delete(store, 1, from, &wait, &fault); break;
    case RENAME:      rc = store_mailbox_rename(store, 1, from, slice_from_str(to), now_s, &wait, &fault); break;
    case SUBSCRIBE:   rc = store_subscribe(store, 1, from, true, &wait, &fault); break;
    case UNSUBSCRIBE: rc = store_subscribe(store, 1, from, false, &wait, &fault); break;
    case APPEND:      append(store, mailbox_id(store, 1, name), slice_from_str(to), 0); return RC_OK;
    }
    CHECK(rc == RC_OK || (fault.rc == rc && fault.text[0] != '\0'));
    return rc == RC_OK ? store_wait(store, wait) : rc;
}

/* Names with what is special about them: * subscribed, + has children, ! cannot be selected, and the number of messages. */
static void list(struct buf *out)
{
    struct store_mailbox_info info;
    char name[MAILBOX_NAME_MAX];
    buf_clear(out);
    for (struct slice after = SLICE_NONE; store_mailbox_next(store, 1, after, &info) == RC_OK;) {
        buf_printf(out, "%s%.*s%s%s%s", buf_len(out) > 0 ? " " : "", SLICE_ARG(info.name), info.is_subscribed ? "*" : "",
                   info.has_children ? "+" : "", info.is_noselect ? "!" : "");
        if (info.messages > 0)
            buf_printf(out, "(%u)", info.messages);
        memcpy(name, info.name.ptr, info.name.len);
        after = (struct slice){ name, info.name.len };
    }
}

#define TAIL " Archive* Drafts* Junk* Sent* Trash*"
#define WITH_CHILD " Archive* Drafts* INBOX/x Junk* Sent* Trash*"

static const struct {
    const char *sentence;
    enum verb verb;
    const char *name, *to;
    enum rc rc;
    const char *list;
} steps[] = {
    { "a mailbox is made",                          CREATE, "a", "", RC_OK, "INBOX*" TAIL " a" },
    { "once only",                                  CREATE, "a", "", RC_PERM, "INBOX*" TAIL " a" },
    { "INBOX is there in any spelling",             CREATE, "inBox", "", RC_PERM, "INBOX*" TAIL " a" },
    { "missing parents are made",                   CREATE, "a/b/c", "", RC_OK, "INBOX*" TAIL " a+ a/b+ a/b/c" },
    { "a separator at the end is left out",         CREATE, "d/", "", RC_OK, "INBOX*" TAIL " a+ a/b+ a/b/c d" },
    { "INBOX may have children",                    CREATE, "Inbox/x", "", RC_OK, "INBOX*+" WITH_CHILD " a+ a/b+ a/b/c d" },
    { "an empty level is refused",                  CREATE, "a//b", "", RC_PERM, NULL },
    { "an empty first level is refused",            CREATE, "/a", "", RC_PERM, NULL },
    { "the separator alone is refused",             CREATE, "/", "", RC_PERM, NULL },
    { "nothing is refused",                         CREATE, "", "", RC_PERM, NULL },
    { "wildcards are refused",                      CREATE, "a%", "", RC_PERM, NULL },
    { "the other wildcard too",                     CREATE, "a*", "", RC_PERM, NULL },
    { "a control character is refused",             CREATE, "a\tb", "", RC_PERM, NULL },
    { "broken UTF-8 is refused",                    CREATE, "a\xc3", "", RC_PERM, NULL },
    { "UTF-8 is fine",                              CREATE, "\xc3\xbc", "", RC_OK, "INBOX*+" WITH_CHILD " a+ a/b+ a/b/c d \xc3\xbc" },
    { "siblings may sort between parent and child", CREATE, "a-z", "", RC_OK, "INBOX*+" WITH_CHILD " a+ a-z a/b+ a/b/c d \xc3\xbc" },
    { "a message",                                  APPEND, "a/b", "text", RC_OK, "INBOX*+" WITH_CHILD " a+ a-z a/b+(1) a/b/c d \xc3\xbc" },
    { "renaming takes children along",              RENAME, "a", "e/f", RC_OK, "INBOX*+" WITH_CHILD " a-z d e+ e/f+ e/f/b+(1) e/f/b/c \xc3\xbc" },
    { "not onto another",                           RENAME, "d", "e", RC_PERM, NULL },
    { "not onto itself",                            RENAME, "d", "d", RC_PERM, NULL },
    { "not below itself",                           RENAME, "e", "e/g/h", RC_PERM, NULL },
    { "not what is not there",                      RENAME, "nothing", "g", RC_NONE, NULL },
    { "a name that begins the same is not below",   RENAME, "e", "e-f", RC_OK, "INBOX*+" WITH_CHILD " a-z d e-f+ e-f/f+ e-f/f/b+(1) e-f/f/b/c \xc3\xbc" },
    { "two messages for INBOX",                     APPEND, "INBOX", "one", RC_OK, "INBOX*+(1)" WITH_CHILD " a-z d e-f+ e-f/f+ e-f/f/b+(1) e-f/f/b/c \xc3\xbc" },
    { "and another",                                APPEND, "INBOX", "two", RC_OK, "INBOX*+(2)" WITH_CHILD " a-z d e-f+ e-f/f+ e-f/f/b+(1) e-f/f/b/c \xc3\xbc" },
    { "renaming INBOX moves its messages only",     RENAME, "inbox", "old/mail", RC_OK,
        "INBOX*+" WITH_CHILD " a-z d e-f+ e-f/f+ e-f/f/b+(1) e-f/f/b/c old+ old/mail(2) \xc3\xbc" },
    { "INBOX cannot be deleted",                    DELETE, "inbox", "", RC_PERM, NULL },
    { "what has children stays as a name",          DELETE, "e-f/f/b", "", RC_OK,
        "INBOX*+" WITH_CHILD " a-z d e-f+ e-f/f+ e-f/f/b+! e-f/f/b/c old+ old/mail(2) \xc3\xbc" },
    { "which cannot be deleted again",              DELETE, "e-f/f/b", "", RC_PERM, NULL },
    { "but be made again, and is empty",            CREATE, "e-f/f/b", "", RC_OK,
        "INBOX*+" WITH_CHILD " a-z d e-f+ e-f/f+ e-f/f/b+ e-f/f/b/c old+ old/mail(2) \xc3\xbc" },
    { "what has none goes",                         DELETE, "e-f/f/b/c", "", RC_OK,
        "INBOX*+" WITH_CHILD " a-z d e-f+ e-f/f+ e-f/f/b old+ old/mail(2) \xc3\xbc" },
    { "what is not there cannot be deleted",        DELETE, "e-f/f/b/c", "", RC_NONE, NULL },
    { "a subscription",                             SUBSCRIBE, "d", "", RC_OK,
        "INBOX*+" WITH_CHILD " a-z d* e-f+ e-f/f+ e-f/f/b old+ old/mail(2) \xc3\xbc" },
    { "of a name that is not there",                SUBSCRIBE, "news", "", RC_OK,
        "INBOX*+" WITH_CHILD " a-z d* e-f+ e-f/f+ e-f/f/b news*! old+ old/mail(2) \xc3\xbc" },
    { "twice is once",                              SUBSCRIBE, "news", "", RC_OK, NULL },
    { "subscriptions outlive their mailbox",        DELETE, "d", "", RC_OK,
        "INBOX*+" WITH_CHILD " a-z d*! e-f+ e-f/f+ e-f/f/b news*! old+ old/mail(2) \xc3\xbc" },
    { "and end when told",                          UNSUBSCRIBE, "d", "", RC_OK,
        "INBOX*+" WITH_CHILD " a-z e-f+ e-f/f+ e-f/f/b news*! old+ old/mail(2) \xc3\xbc" },
    { "INBOX in its spelling",                      UNSUBSCRIBE, "inbox", "", RC_OK,
        "INBOX+" WITH_CHILD " a-z e-f+ e-f/f+ e-f/f/b news*! old+ old/mail(2) \xc3\xbc" },
    { "nothing to end",                             UNSUBSCRIBE, "inbox", "", RC_OK, NULL },
};

static void run_steps(const char *dir)
{
    struct buf now, before;
    buf_init(&now, 1 << 16);
    buf_init(&before, 1 << 16);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        CASE(steps[i].sentence);
        list(&before);
        CHECK_INT(act(steps[i].verb, steps[i].name, steps[i].to), steps[i].rc);
        list(&now);
        CHECK_SLICE(buf_slice(&now), steps[i].list == NULL ? buf_slice(&before) : slice_from_str(steps[i].list));
        if (i % 7 != 6)
            continue;
        store_close(store);
        store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
        list(&before);
        CHECK_SLICE(buf_slice(&before), buf_slice(&now));
    }
    buf_free(&now);
    buf_free(&before);
}

static void check_numbers(void)
{
    struct store_mailbox_info info, again;
    CASE("a mailbox made again has another uidvalidity, even in the same second, and another id");
    CHECK_INT(act(CREATE, "again", ""), RC_OK);
    CHECK_INT(store_mailbox_find(store, 1, SLICE("again"), &info), RC_OK);
    CHECK_INT(act(DELETE, "again", ""), RC_OK);
    CHECK_INT(store_mailbox_by_id(store, info.id, &again), RC_NONE);
    CHECK_INT(act(CREATE, "again", ""), RC_OK);
    CHECK_INT(store_mailbox_find(store, 1, SLICE("again"), &again), RC_OK);
    CHECK(again.uidvalidity > info.uidvalidity);
    CHECK(again.id > info.id);
    CASE("renaming keeps both");
    CHECK_INT(act(RENAME, "again", "once"), RC_OK);
    CHECK_INT(store_mailbox_find(store, 1, SLICE("once"), &info), RC_OK);
    CHECK_INT(info.id, again.id);
    CHECK_INT(info.uidvalidity, again.uidvalidity);
    CHECK_INT(info.highest_modseq, 1);
    CASE("special uses are there");
    CHECK_INT(store_mailbox_find(store, 1, SLICE("Junk"), &info), RC_OK);
    CHECK_INT(info.special, SPECIAL_JUNK);
    CASE("names have a limit");
    char name[MAILBOX_NAME_MAX + 3];
    memset(name, 'n', sizeof name);
    name[MAILBOX_NAME_MAX + 1] = '\0';
    CHECK_INT(act(CREATE, name, ""), RC_PERM);
    name[MAILBOX_NAME_MAX] = '\0';
    CHECK_INT(act(CREATE, name, ""), RC_OK);
    CHECK_INT(act(CREATE, "short", ""), RC_OK);
    CHECK_INT(act(CREATE, "short/child", ""), RC_OK);
    name[MAILBOX_NAME_MAX - 3] = '\0';
    CHECK_INT(act(RENAME, "short", name), RC_PERM);
}

static void check_races(void)
{
    uint64_t first, second;
    CASE("of two creations in flight one is refused");
    CHECK_INT(store_mailbox_create(store, 1, SLICE("race"), SPECIAL_NONE, now_s, &first, NULL), RC_OK);
    CHECK_INT(store_mailbox_create(store, 1, SLICE("race"), SPECIAL_NONE, now_s, &second, NULL), RC_PERM);
    CHECK_INT(store_mailbox_create(store, 1, SLICE("race/x"), SPECIAL_NONE, now_s, &second, NULL), RC_OK);
    CHECK_INT(store_wait(store, second), RC_OK);
    CASE("what is being deleted takes no message, a delivery goes to INBOX");
    uint64_t id = mailbox_id(store, 1, "race/x");
    uint32_t uid;
    CHECK_INT(store_mailbox_delete(store, 1, SLICE("race/x"), &first, NULL), RC_OK);
    CHECK_INT(store_mailbox_delete(store, 1, SLICE("race/x"), &second, NULL), RC_NONE);
    CHECK_INT(store_append(store, id, body_of(store, SLICE("x")), (struct mail_date){ 0, 0 }, 0, 0, &uid, &second, NULL), RC_NONE);
    struct store_delivery d = { .account = 1, .mailbox = SLICE("race/x") };
    struct store_accept accept = { .body = body_of(store, SLICE("y")), .deliveries = &d, .delivery_count = 1 };
    CHECK_INT(store_accept(store, &accept, &second, NULL), RC_OK);
    CHECK_INT(d.mailbox_id, mailbox_id(store, 1, "INBOX"));
    CHECK_INT(store_wait(store, second), RC_OK);
    CASE("an account that is deleted is gone with everything");
    struct store_figures figures;
    struct store_usage usage;
    CHECK_INT(store_account_usage(store, 1, &usage), RC_OK);
    CHECK_INT(usage.messages, 3);
    CHECK_INT(usage.bytes, 7);
    CHECK_INT(store_account_delete(store, 1, &first, NULL), RC_OK);
    CHECK(!store_account_exists(store, 1));
    CHECK_INT(store_mailbox_create(store, 1, SLICE("late"), SPECIAL_NONE, now_s, &second, NULL), RC_NONE);
    CHECK_INT(store_account_create(store, 1, now_s, &second, NULL), RC_OK);
    CHECK_INT(store_wait(store, second), RC_OK);
    store_figures(store, &figures);
    CHECK_INT(figures.accounts, 1);
    CHECK_INT(figures.mailboxes, 6);
    CHECK_INT(figures.messages, 0);
    CHECK_INT(figures.bodies, 0);
    CHECK_INT(store_account_usage(store, 9, &usage), RC_NONE);
}

int main(void)
{
    char dir[64];
    temporary_folder(dir);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    make_account(store, 1);
    run_steps(dir);
    check_numbers();
    check_races();
    store_close(store);
    store = open_store(dir, SEGMENT, (struct store_rider){ 0 });
    CASE("the account made again is born anew after opening, too");
    struct buf now;
    buf_init(&now, 1 << 16);
    list(&now);
    CHECK_SLICE(buf_slice(&now), SLICE("INBOX*" TAIL));
    buf_free(&now);
    store_close(store);
    remove_folder(dir);
    return check_done();
}
