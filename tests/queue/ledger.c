/* The ledger on the real store: every way that mail comes and goes keeps it balanced, also behind a restart and a replay; and
 * what is taken away behind its back shows in the balance and is named. */
#include "../store/support.h"

#include "os/sealed.h"
#include "queue/ledger.h"
#include "queue/queue.h"

#include <sqlite3.h>

#define START ((int64_t)1800000000000)
enum { ALICE = 1, BOB = 2, FOUND_MAX = 100 };

struct home {
    char dir[64];
    struct store *store;
    struct queue *queue;
    bool is_report_local;
    struct queue_recipient to;
    struct store_delivery into;
    struct slice name;
};

static struct slice by_domain(void *arg, const struct address *address, struct arena *arena)
{
    (void)arg, (void)arena;
    return address->domain;
}

static enum rc route(void *self, const struct queue_report *report, struct arena *arena, struct store_delivery **deliveries, size_t *delivery_count,
                     struct slice **names, struct queue_recipient **recipients, size_t *recipient_count)
{
    struct home *h = self;
    (void)arena;
    h->to = (struct queue_recipient){ .address = report->to };
    h->into = (struct store_delivery){ .account = ALICE, .mailbox = SLICE("INBOX") };
    h->name = SLICE("alice");
    *deliveries = &h->into;
    *names = &h->name;
    *recipients = &h->to;
    *delivery_count = h->is_report_local;
    *recipient_count = !h->is_report_local;
    return RC_OK;
}

static void open_home(struct home *h)
{
    struct queue_options options = { .retry_first_s = 300, .retry_max_s = 3600, .lifetime_s = 86400, .concurrency = 10, .destination_concurrency = 5,
                                     .history_days = 30 };
    h->queue = queue_new(&options);
    h->store = open_store(h->dir, SEGMENT, queue_rider(h->queue));
    queue_set_reporter(h->queue, &(struct queue_reporter){ h, SLICE("mail.home.example"), route });
    queue_set_destination(h->queue, by_domain, NULL);
    queue_attach(h->queue, h->store);
}

static void close_home(struct home *h)
{
    store_close(h->store);
    queue_free(h->queue);
}

static void settle(struct home *h, uint64_t wait) { CHECK_INT(store_wait(h->store, wait), RC_OK); }

/* ---- doing things ---- */

static struct address address_of(const char *domain)
{
    return (struct address){ .local_part = SLICE("someone"), .domain = slice_from_str(domain) };
}

/* To the INBOX of so many accounts and to "someone" in those domains. */
static uint64_t accept(struct home *h, const char *from, size_t accounts, const char *const *domains, size_t domain_count)
{
    struct smtp_mail mail = { .reverse_path = address_of(from == NULL ? "" : from) };
    mail.reverse_path.is_null = from == NULL;
    struct store_delivery deliveries[2] = { { .account = ALICE, .mailbox = SLICE("INBOX") }, { .account = BOB, .mailbox = SLICE("INBOX") } };
    struct slice names[2] = { SLICE("alice@home.example"), SLICE("bob@home.example") };
    struct queue_recipient recipients[4];
    for (size_t i = 0; i < domain_count; i++)
        recipients[i] = (struct queue_recipient){ .address = address_of(domains[i]) };
    struct queue_new n = {
        .id = queue_next_id(h->queue, START), .mail = &mail, .now_ms = START, .deliveries = deliveries, .delivery_count = accounts,
        .delivery_names = names, .recipients = recipients, .recipient_count = domain_count,
    };
    struct store_accept a = { .body = body_of(h->store, SLICE("Subject: a\r\n\r\nb\r\n")), .deliveries = deliveries, .delivery_count = accounts,
                              .write_op = queue_write_new, .write_op_arg = &n };
    uint64_t wait = 0;
    CHECK_INT(store_accept(h->store, &a, &wait, NULL), RC_OK);
    settle(h, wait);
    return n.id;
}

/* Ends every job that may start with this outcome. */
static void try_all(struct home *h, enum rc rc)
{
    struct queue_job job;
    while (queue_next_job(h->queue, START + 1000, 7, &job) == RC_OK) {
        struct smtp_outcome outcomes[QUEUE_JOB_RECIPIENTS_MAX];
        struct slice remotes[QUEUE_JOB_RECIPIENTS_MAX] = { SLICE_NONE };
        struct fault fault;
        uint64_t wait = 0;
        for (size_t i = 0; i < job.recipient_count; i++)
            outcomes[i] = (struct smtp_outcome){ .rc = rc, .esc = ESC(5, 1, 1), .text = SLICE("no such user here") };
        CHECK_INT(queue_job_done(h->queue, &job, outcomes, remotes, &(struct queue_attempt){ .is_final = true }, START + 1000, 7, &wait, &fault), RC_OK);
        settle(h, wait);
    }
}

static void copy(struct home *h, const char *from, const char *uids, const char *to, bool is_move)
{
    struct uid_set set = set_of(uids), a, b;
    uint64_t wait;
    uid_set_init(&a);
    uid_set_init(&b);
    CHECK_INT(store_copy(h->store, mailbox_id(h->store, ALICE, from), &set, mailbox_id(h->store, ALICE, to), is_move, &a, &b, &wait, NULL), RC_OK);
    settle(h, wait);
    uid_set_free(&set);
    uid_set_free(&a);
    uid_set_free(&b);
}

static void expunge(struct home *h, const char *mailbox, const char *uids)
{
    struct uid_set set = set_of(uids);
    uint64_t wait;
    CHECK_INT(store_expunge(h->store, mailbox_id(h->store, ALICE, mailbox), &set, true, NULL, &wait, NULL), RC_OK);
    settle(h, wait);
    uid_set_free(&set);
}

/* ---- what it says ---- */

/* The counters as one line, those that are 0 left out. */
static bool says(struct home *h, const char *want)
{
    struct ledger l;
    ledger_take(h->queue, h->store, true, &l);
    const struct { const char *name; uint64_t value; } counts[] = {
        { "brought", l.mail.brought + l.queue.brought }, { "filed", l.mail.delivered }, { "queued", l.queue.queued }, { "appended", l.mail.appended },
        { "copied", l.mail.copied }, { "in", l.mail.present }, { "waiting", l.queue.waiting }, { "delivered", l.queue.delivered },
        { "bounced", l.queue.bounced }, { "expunged", l.mail.expunged }, { "removed", l.mail.removed }, { "discarded", l.queue.discarded },
        { "difference", ledger_difference(&l) },
    };
    char text[500] = "";
    size_t len = 0;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].value != 0)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%s %llu", len == 0 ? "" : ", ", counts[i].name,
                                    (unsigned long long)counts[i].value);
    struct ledger quick;
    ledger_take(h->queue, h->store, false, &quick);
    bool is = strcmp(text, want) == 0 && quick.queue.waiting == l.queue.waiting;
    if (ledger_difference(&l) == 0 && ledger_received(&l) != ledger_accounted(&l))
        is = false;
    if (!is)
        fprintf(stderr, "the ledger says \"%s\"\n          not  \"%s\"\n", text, want);
    return is;
}

struct findings {
    size_t count;
    char text[FOUND_MAX][200];
};

static void on_finding(void *arg, const struct ledger_finding *f)
{
    static const char *const words[] = { "body", "delivery", "recipient", "unknown", "count" };
    struct findings *all = arg;
    if (all->count == FOUND_MAX)
        abort();
    snprintf(all->text[all->count++], sizeof all->text[0], "%s%s %.*s %u:%u %.*s", words[f->loss], f->id != 0 ? " of a message" : "",
             SLICE_ARG(f->mailbox), f->first_uid, f->last_uid, SLICE_ARG(f->recipient));
}

static struct findings walk(struct home *h, size_t messages)
{
    struct findings all = { 0 };
    struct ledger_walk *w = ledger_walk_new(h->queue, h->store, on_finding, &all);
    if (w == NULL)
        abort();
    for (int i = 0; ledger_walk_step(w, messages); i++)
        if (i == 100000)
            abort();
    ledger_walk_free(w);
    return all;
}

static bool finds(struct home *h, const char *want)
{
    struct findings all = walk(h, 1), at_once = walk(h, 100000);
    bool is = all.count == (want[0] != '\0') && (all.count == 0 || strcmp(all.text[0], want) == 0) && at_once.count == all.count;
    for (size_t i = 0; i < all.count && !is; i++)
        fprintf(stderr, "found \"%s\", want \"%s\"\n", all.text[i], want);
    return is;
}

/* The same after a replay of everything (nothing is in the checkpoint yet), after a checkpoint, and seen from beside. */
static void check_everywhere(struct home *h, const char *want)
{
    CHECK(says(h, want));
    CHECK(finds(h, ""));
    close_home(h);
    open_home(h);
    CHECK(says(h, want));
    CHECK(finds(h, ""));
}

/* ---- flows ---- */

static void begin(struct home *h)
{
    *h = (struct home){ .is_report_local = true };
    temporary_folder(h->dir);
    open_home(h);
    make_account(h->store, ALICE);
    make_account(h->store, BOB);
}

static void end(struct home *h)
{
    close_home(h);
    remove_folder(h->dir);
}

static void check_accepting(void)
{
    struct home h;
    begin(&h);
    CASE("an empty store balances");
    check_everywhere(&h, "");
    CASE("a message for one account is one copy");
    accept(&h, "there.example", 1, NULL, 0);
    check_everywhere(&h, "filed 1, in 1");
    CASE("an alias that leads to two accounts makes two");
    accept(&h, "there.example", 2, NULL, 0);
    check_everywhere(&h, "filed 3, in 3");
    CASE("a message to two addresses elsewhere waits twice");
    accept(&h, "home.example", 0, (const char *const[]){ "one.example", "two.example" }, 2);
    check_everywhere(&h, "filed 3, queued 2, in 3, waiting 2");
    CASE("what could not be delivered now goes on waiting");
    try_all(&h, RC_TEMP);
    check_everywhere(&h, "filed 3, queued 2, in 3, waiting 2");
    CASE("a message for here and for elsewhere counts on both sides");
    accept(&h, "home.example", 1, (const char *const[]){ "three.example" }, 1);
    check_everywhere(&h, "filed 4, queued 3, in 4, waiting 3");
    end(&h);
}

static void check_outcomes(void)
{
    struct home h;
    uint64_t wait;
    begin(&h);
    CASE("delivered onward");
    accept(&h, "home.example", 0, (const char *const[]){ "one.example" }, 1);
    try_all(&h, RC_OK);
    check_everywhere(&h, "queued 1, delivered 1");
    CASE("bounced: the report is a message of its own");
    accept(&h, "home.example", 0, (const char *const[]){ "one.example" }, 1);
    try_all(&h, RC_PERM);
    check_everywhere(&h, "filed 1, queued 2, in 1, delivered 1, bounced 1");
    struct ledger l;
    ledger_take(h.queue, h.store, true, &l);
    CHECK_INT(l.queue.messages, 3);
    CHECK_INT(l.queue.reports, 1);
    CASE("a message from the null path bounces, and nobody is told");
    accept(&h, NULL, 0, (const char *const[]){ "one.example" }, 1);
    try_all(&h, RC_PERM);
    check_everywhere(&h, "filed 1, queued 3, in 1, delivered 1, bounced 2");
    CASE("a report that has to go elsewhere waits");
    h.is_report_local = false;
    accept(&h, "far.example", 0, (const char *const[]){ "one.example" }, 1);
    struct queue_job job;
    CHECK_INT(queue_next_job(h.queue, START + 1000, 7, &job), RC_OK);
    struct smtp_outcome refused = { .rc = RC_PERM, .esc = ESC(5, 1, 1), .text = SLICE("no") };
    struct fault fault;
    CHECK_INT(queue_job_done(h.queue, &job, &refused, &SLICE_NONE, &(struct queue_attempt){ 0 }, START, 7, &wait, &fault), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "filed 1, queued 5, in 1, waiting 1, delivered 1, bounced 3");
    CASE("what an administrator deletes from the queue is discarded; what is held waits");
    uint64_t id = accept(&h, "home.example", 0, (const char *const[]){ "one.example", "two.example" }, 2);
    CHECK_INT(queue_act(h.queue, id, QUEUE_HOLD, START, &wait, NULL), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "filed 1, queued 7, in 1, waiting 3, delivered 1, bounced 3");
    CHECK_INT(queue_act(h.queue, id, QUEUE_DELETE, START, &wait, NULL), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "filed 1, queued 7, in 1, waiting 1, delivered 1, bounced 3, discarded 2");
    CASE("a bounce by an administrator");
    h.is_report_local = true;
    id = accept(&h, "home.example", 0, (const char *const[]){ "two.example" }, 1);
    CHECK_INT(queue_act(h.queue, id, QUEUE_BOUNCE, START, &wait, &fault), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "filed 2, queued 8, in 2, waiting 1, delivered 1, bounced 4, discarded 2");
    end(&h);
}

static void check_mailboxes(void)
{
    struct home h;
    uint64_t wait;
    begin(&h);
    CASE("appended and imported");
    for (int i = 0; i < 5; i++)
        append(h.store, mailbox_id(h.store, ALICE, "INBOX"), SLICE("x"), 0);
    check_everywhere(&h, "appended 5, in 5");
    CASE("copied, also into the same mailbox");
    copy(&h, "INBOX", "1:2", "Archive", false);
    copy(&h, "INBOX", "5", "INBOX", false);
    check_everywhere(&h, "appended 5, copied 3, in 8");
    CASE("moved: neither come nor gone");
    copy(&h, "INBOX", "3,77", "Trash", true);
    check_everywhere(&h, "appended 5, copied 3, in 8");
    CASE("expunged; UIDs that are not there do not count");
    expunge(&h, "INBOX", "1,99");
    expunge(&h, "Trash", "1");
    check_everywhere(&h, "appended 5, copied 3, in 6, expunged 2");
    CASE("a flag is no copy");
    struct uid_set set = set_of("1:9");
    uint64_t modseq;
    CHECK_INT(store_flags(h.store, mailbox_id(h.store, ALICE, "INBOX"), &set, FLAGS_ADD, FLAG_SEEN, 0, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    settle(&h, wait);
    uid_set_free(&set);
    check_everywhere(&h, "appended 5, copied 3, in 6, expunged 2");
    CASE("renaming INBOX moves what is in it");
    CHECK_INT(store_mailbox_rename(h.store, ALICE, SLICE("INBOX"), SLICE("Old"), 1700000001, &wait, NULL), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "appended 5, copied 3, in 6, expunged 2");
    CASE("a mailbox that is deleted takes its messages along");
    CHECK_INT(store_mailbox_delete(h.store, ALICE, SLICE("Archive"), &wait, NULL), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "appended 5, copied 3, in 4, expunged 2, removed 2");
    CASE("so does one that stays as a name for those below it");
    CHECK_INT(store_mailbox_create(h.store, ALICE, SLICE("Old/Older"), SPECIAL_NONE, 1700000002, &wait, NULL), RC_OK);
    settle(&h, wait);
    CHECK_INT(store_mailbox_delete(h.store, ALICE, SLICE("Old"), &wait, NULL), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "appended 5, copied 3, expunged 2, removed 6");
    CASE("and an account");
    accept(&h, "there.example", 2, NULL, 0);
    CHECK_INT(store_account_delete(h.store, BOB, &wait, NULL), RC_OK);
    settle(&h, wait);
    check_everywhere(&h, "filed 2, appended 5, copied 3, in 1, expunged 2, removed 7");
    CASE("a message that a session still reads is expunged all the same");
    struct store_view *view;
    CHECK_INT(store_view_open(h.store, mailbox_id(h.store, ALICE, "INBOX"), false, &view, NULL), RC_OK);
    expunge(&h, "INBOX", "1:99");
    CHECK(says(&h, "filed 2, appended 5, copied 3, expunged 3, removed 7"));
    CHECK(finds(&h, ""));
    store_view_close(view);
    check_everywhere(&h, "filed 2, appended 5, copied 3, expunged 3, removed 7");
    end(&h);
}

/* ---- losses ---- */

static void tamper(const struct home *h, const char *sql)
{
    char path[128];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/state.db", h->dir);
    CHECK_INT(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, sealed_vfs()), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_changes(db) > 0, true);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

static void check_lost_rows(void)
{
    struct home h;
    begin(&h);
    accept(&h, "there.example", 1, NULL, 0);
    for (int i = 0; i < 3; i++)
        append(h.store, mailbox_id(h.store, ALICE, "Sent"), SLICE("x"), 0);
    expunge(&h, "Sent", "2");
    char sql[200];
    CASE("messages that the checkpoint forgets are missing, by their history");
    close_home(&h);
    open_home(&h);
    snprintf(sql, sizeof sql, "DELETE FROM run WHERE mailbox = %llu", (unsigned long long)mailbox_id(h.store, ALICE, "INBOX"));
    close_home(&h);
    tamper(&h, sql);
    open_home(&h);
    CHECK(says(&h, "filed 1, appended 3, in 2, expunged 1, difference 1"));
    CHECK(finds(&h, "delivery of a message INBOX 1:1 "));
    CASE("or, when there is none, by the UIDs of which nothing is known");
    snprintf(sql, sizeof sql, "DELETE FROM run WHERE mailbox = %llu", (unsigned long long)mailbox_id(h.store, ALICE, "Sent"));
    close_home(&h);
    tamper(&h, sql);
    open_home(&h);
    CHECK(says(&h, "filed 1, appended 3, expunged 1, difference 3"));
    struct findings all = walk(&h, 10);
    CHECK_INT(all.count, 3);
    CHECK_STR(all.text[0], "delivery of a message INBOX 1:1 ");
    CHECK_STR(all.text[1], "unknown Sent 1:1 ");
    CHECK_STR(all.text[2], "unknown Sent 3:3 ");
    end(&h);
}

static void check_lost_entry(void)
{
    struct home h;
    begin(&h);
    CASE("an entry of the queue that goes without an outcome is missing, each of its recipients");
    accept(&h, "home.example", 0, (const char *const[]){ "kept.example" }, 1);
    uint64_t id = accept(&h, "home.example", 0, (const char *const[]){ "lost.example" }, 1);
    char sql[200];
    snprintf(sql, sizeof sql, "DELETE FROM rider WHERE key = %llu", (unsigned long long)id);
    close_home(&h);
    tamper(&h, sql);
    open_home(&h);
    CHECK(says(&h, "queued 2, waiting 1, difference 1"));
    CHECK(finds(&h, "recipient of a message  0:0 someone@lost.example"));
    end(&h);
}

static void check_lost_body(void)
{
    struct home h;
    char path[128];
    begin(&h);
    CASE("a segment that somebody removes takes bodies along: each message is named, in mailboxes and in the queue");
    accept(&h, "there.example", 1, (const char *const[]){ "one.example" }, 1);
    static char big[SEGMENT - 4096];
    memset(big, 'b', sizeof big);
    for (int i = 0; i < 3; i++)
        append(h.store, mailbox_id(h.store, ALICE, "Sent"), (struct slice){ big, sizeof big }, 0);
    CHECK(finds(&h, ""));
    snprintf(path, sizeof path, "%s/log/%016x.seg", h.dir, 0);
    CHECK_INT(unlink(path), 0);
    CASE("... of a server that runs");
    struct findings all = walk(&h, 3);
    CHECK_INT(all.count >= 2, true);
    CHECK_STR(all.text[0], "body of a message  0:0 ");
    CHECK_STR(all.text[1], "body INBOX 1:1 ");
    CASE("... and of one that is stopped");
    close_home(&h);
    open_home(&h);
    all = walk(&h, 3);
    CHECK_INT(all.count >= 2, true);
    CHECK_STR(all.text[0], "body of a message  0:0 ");
    end(&h);
}

static void check_older(void)
{
    struct home h;
    begin(&h);
    CASE("a store that an older version made begins with what is there");
    accept(&h, "there.example", 2, (const char *const[]){ "one.example" }, 1);
    close_home(&h);
    tamper(&h, "DELETE FROM meta WHERE key LIKE 'ledger_%'");
    tamper(&h, "DELETE FROM rider WHERE key = 1");
    open_home(&h);
    CHECK(says(&h, "brought 3, in 2, waiting 1"));
    accept(&h, "there.example", 2, (const char *const[]){ "one.example" }, 1);
    check_everywhere(&h, "brought 3, filed 2, queued 1, in 4, waiting 2");
    end(&h);
}

int main(void)
{
    check_accepting();
    check_outcomes();
    check_mailboxes();
    check_lost_rows();
    check_lost_entry();
    check_lost_body();
    check_older();
    return check_done();
}
