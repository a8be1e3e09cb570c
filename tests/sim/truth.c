/* The model of truth by itself: for each invariant a history that keeps it and is not complained about, and one that breaks it and is. */
#include "check.h"
#include "sim/truth.h"

enum { SEEN = 1, WORK = 128 };

static char complaint[700];
static unsigned complaints;

static void broken(void *arg, const char *text)
{
    (void)arg;
    complaints++;
    if (complaints == 1)
        (void)snprintf(complaint, sizeof complaint, "%s", text);
}

static void *block(void *arg, size_t size)
{
    (void)arg;
    void *made = calloc(1, size);
    if (made == NULL)
        abort();
    return made;
}

static void block_free(void *arg, void *memory)
{
    (void)arg;
    free(memory);
}

/* ---- a small world: ann and bob on host a, cat on host b, a sink elsewhere ------------------------------------------------- */

struct world {
    struct truth *t;
    struct truth_account *ann, *bob, *cat;
    struct truth_mailbox *inbox;        /* bob's */
    uint64_t token;
};

static struct world world_new(void)
{
    struct truth_options options = { .broken = broken, .block = block, .block_free = block_free };
    struct world w = { .t = truth_new(&options) };
    w.ann = truth_account_new(w.t, "ann@a.example", "a");
    w.bob = truth_account_new(w.t, "bob@a.example", "a");
    w.cat = truth_account_new(w.t, "cat@b.example", "b");
    truth_sink_new(w.t, "sue@sink.example", "sink");
    w.inbox = truth_mailbox_find(w.bob, "INBOX");
    complaints = 0;
    complaint[0] = '\0';
    return w;
}

#define KEPT(w) \
    do { \
        CHECK_STR(complaint, ""); \
        CHECK_INT(complaints, 0); \
        truth_free((w).t); \
    } while (0)

#define BROKEN(w, invariant) \
    do { \
        CHECK(complaints > 0); \
        CHECK_SLICE(slice_sub(slice_from_str(complaint), 0, strlen(invariant)), slice_from_str(invariant)); \
        truth_free((w).t); \
    } while (0)

static uint64_t submit(struct world *w, const char *to, enum truth_answer answer)
{
    w->token = truth_message_new(w->t, w->token + 77, "ann@a.example", 600);
    truth_submit_begin(w->t, w->token, "a");
    truth_submit_rcpt(w->t, w->token, to);
    truth_submit_sent(w->t, w->token);
    truth_submit_end(w->t, w->token, NULL, answer);
    return w->token;
}

struct seen {
    uint32_t uid;
    uint64_t token;
    uint32_t flags;
    uint64_t modseq;
};

static void list_from(struct world *w, struct truth_mailbox *mailbox, uint64_t since, const struct seen *seen, size_t count)
{
    struct truth_listing l;
    truth_listing_begin(&l, mailbox, since, true);
    if (count > 0)
        truth_listing_state(&l, 7, seen[count - 1].uid + 1, 100);
    for (size_t i = 0; i < count; i++)
        truth_listing_message(&l, seen[i].uid, seen[i].token, seen[i].flags, seen[i].modseq);
    truth_listing_end(&l);
    (void)w;
}

#define LIST(w, mailbox, ...) \
    do { \
        const struct seen seen_[] = { __VA_ARGS__ }; \
        list_from(&(w), (mailbox), truth_mark((w).t), seen_, sizeof seen_ / sizeof seen_[0]); \
    } while (0)
#define LIST_NOTHING(w, mailbox) list_from(&(w), (mailbox), truth_mark((w).t), NULL, 0)

static void check_text(struct world *w, struct truth_mailbox *mailbox, uint32_t uid, const char *before, const char *after)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    (void)buf_append_str(&text, before);
    CHECK(truth_message_text(w->t, w->token, &text));
    (void)buf_append_str(&text, after);
    truth_text(mailbox, uid, buf_slice(&text));
    buf_free(&text);
}

/* ---- lost, doubled, misplaced, undead ---------------------------------------------------------------------------------------- */

static void arrivals(void)
{
    CASE("a message that was acknowledged and is there once is right");
    struct world w = world_new();
    uint64_t token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    truth_quiet(w.t);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    truth_settle(w.t);
    KEPT(w);

    CASE("a message that was acknowledged and is not in the mailbox of its own host is lost, at once");
    w = world_new();
    (void)submit(&w, "bob@a.example", TRUTH_DONE);
    LIST_NOTHING(w, w.inbox);
    BROKEN(w, "lost");

    CASE("a listing that began before the acknowledgement need not have it");
    w = world_new();
    uint64_t since = truth_mark(w.t);
    (void)submit(&w, "bob@a.example", TRUTH_DONE);
    list_from(&w, w.inbox, since, NULL, 0);
    KEPT(w);

    CASE("one that stood there and stands there no more is lost");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    LIST_NOTHING(w, w.inbox);
    BROKEN(w, "lost");

    CASE("one whose answer was lost may be there, or not");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_UNKNOWN);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    (void)submit(&w, "bob@a.example", TRUTH_UNKNOWN);
    truth_quiet(w.t);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    truth_settle(w.t);
    KEPT(w);

    CASE("one that was refused must not be there");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_REFUSED);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    BROKEN(w, "undead");

    CASE("one that is there twice, on the host that took it, is doubled, whatever happened meanwhile");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_DONE);
    truth_disturbed(w.t, "a");
    LIST(w, w.inbox, { 1, token, 0, 2 }, { 2, token, 0, 3 });
    BROKEN(w, "doubled");

    CASE("one in the mailbox of someone who is no recipient is misplaced");
    w = world_new();
    token = submit(&w, "cat@b.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    BROKEN(w, "misplaced");

    CASE("one in a mailbox where nobody put it is misplaced");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, truth_mailbox_find(w.bob, "Junk"), { 1, token, 0, 2 });
    BROKEN(w, "misplaced");
}

static void windows(void)
{
    CASE("what goes to another host arrives once");
    struct world w = world_new();
    uint64_t token = submit(&w, "cat@b.example", TRUTH_DONE);
    LIST(w, truth_mailbox_find(w.cat, "INBOX"), { 1, token, 0, 2 }, { 2, token, 0, 3 });
    BROKEN(w, "doubled");

    CASE("or twice, when the record of a 250 may have been lost between");
    w = world_new();
    token = submit(&w, "cat@b.example", TRUTH_DONE);
    truth_disturbed(w.t, "*");
    LIST(w, truth_mailbox_find(w.cat, "INBOX"), { 1, token, 0, 2 }, { 2, token, 0, 3 });
    KEPT(w);

    CASE("and not three times when it was lost once");
    w = world_new();
    token = submit(&w, "cat@b.example", TRUTH_DONE);
    truth_disturbed(w.t, "b");
    LIST(w, truth_mailbox_find(w.cat, "INBOX"), { 1, token, 0, 2 }, { 2, token, 0, 3 }, { 3, token, 0, 4 });
    BROKEN(w, "doubled");

    CASE("a disturbance before the submission opens no window");
    w = world_new();
    truth_disturbed(w.t, "a");
    token = submit(&w, "cat@b.example", TRUTH_DONE);
    LIST(w, truth_mailbox_find(w.cat, "INBOX"), { 1, token, 0, 2 }, { 2, token, 0, 3 });
    BROKEN(w, "doubled");

    CASE("what was acknowledged, arrived nowhere and was not reported is unsettled in the end");
    w = world_new();
    (void)submit(&w, "cat@b.example", TRUTH_DONE);
    truth_quiet(w.t);
    LIST_NOTHING(w, truth_mailbox_find(w.cat, "INBOX"));
    CHECK_INT(complaints, 0);
    truth_settle(w.t);
    BROKEN(w, "unsettled");
}

/* ---- texts, sinks, reports --------------------------------------------------------------------------------------------------- */

static void report_text(const struct world *w, uint64_t token, const char *recipient, struct buf *out)
{
    (void)w;
    (void)buf_printf(out, "Return-Path: <>\r\nSubject: sorry\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n"
                     "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\nFinal-Recipient: rfc822; %s\r\nAction: failed\r\n"
                     "Status: 5.1.1\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nX-Token: %016llx\r\n\r\n--b--\r\n",
                     recipient, (unsigned long long)token);
}

static void reports(void)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    CASE("a recipient whose sender was told of the failure is settled");
    struct world w = world_new();
    uint64_t token = submit(&w, "nobody@b.example", TRUTH_DONE);
    truth_quiet(w.t);
    struct truth_mailbox *inbox = truth_mailbox_find(w.ann, "INBOX");
    LIST(w, inbox, { 1, 0, 0, 2 });
    report_text(&w, token, "nobody@b.example", &text);
    truth_text(inbox, 1, buf_slice(&text));
    truth_text(inbox, 1, buf_slice(&text));     /* the same one, read again */
    truth_settle(w.t);
    KEPT(w);

    CASE("a report that comes twice is doubled");
    w = world_new();
    token = submit(&w, "nobody@b.example", TRUTH_DONE);
    inbox = truth_mailbox_find(w.ann, "INBOX");
    LIST(w, inbox, { 1, 0, 0, 2 }, { 2, 0, 0, 3 });
    buf_clear(&text);
    report_text(&w, token, "nobody@b.example", &text);
    truth_text(inbox, 1, buf_slice(&text));
    CHECK_INT(complaints, 0);
    truth_text(inbox, 2, buf_slice(&text));
    BROKEN(w, "doubled");

    CASE("a report that somebody else gets is misplaced");
    w = world_new();
    token = submit(&w, "nobody@b.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, 0, 0, 2 });
    buf_clear(&text);
    report_text(&w, token, "nobody@b.example", &text);
    truth_text(w.inbox, 1, buf_slice(&text));
    BROKEN(w, "misplaced");

    CASE("what has arrived and is reported as failed, with nothing having gone wrong, is doubled");
    w = world_new();
    token = submit(&w, "sue@sink.example", TRUTH_DONE);
    buf_clear(&text);
    (void)truth_message_text(w.t, token, &text);
    truth_sink_took(w.t, "sue@sink.example", buf_slice(&text));
    CHECK_INT(complaints, 0);
    LIST(w, truth_mailbox_find(w.ann, "INBOX"), { 1, 0, 0, 2 });
    buf_clear(&text);
    report_text(&w, token, "sue@sink.example", &text);
    truth_text(truth_mailbox_find(w.ann, "INBOX"), 1, buf_slice(&text));
    truth_settle(w.t);
    BROKEN(w, "doubled");

    CASE("a message without a token is neither ours nor a report");
    w = world_new();
    LIST(w, w.inbox, { 1, 0, 0, 2 });
    truth_text(w.inbox, 1, SLICE("Subject: hello\r\n\r\nhello\r\n"));
    BROKEN(w, "altered");
    buf_free(&text);
}

static void texts(void)
{
    CASE("trace fields before a message are no alteration");
    struct world w = world_new();
    uint64_t token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    check_text(&w, w.inbox, 1, "Return-Path: <ann@a.example>\r\nReceived: from x\r\n\tby y; z\r\n", "");
    KEPT(w);

    CASE("another field is");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    check_text(&w, w.inbox, 1, "X-Odd: 1\r\n", "");
    BROKEN(w, "altered");

    CASE("and so is a byte more at the end");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, 0, 2 });
    check_text(&w, w.inbox, 1, "", "\n");
    BROKEN(w, "altered");

    CASE("and a bit flipped on the way to a sink");
    w = world_new();
    token = submit(&w, "sue@sink.example", TRUTH_DONE);
    struct buf text;
    buf_init(&text, 1 << 20);
    (void)truth_message_text(w.t, token, &text);
    text.data[text.end - 9] ^= 1;
    truth_sink_took(w.t, "sue@sink.example", buf_slice(&text));
    buf_free(&text);
    BROKEN(w, "altered");

    CASE("an appended message has nothing before it");
    w = world_new();
    w.token = truth_message_new(w.t, 5, "ann@a.example", 10);
    struct truth_copy *copy = truth_append_begin(truth_mailbox_find(w.bob, "Sent"), w.token, SEEN);
    truth_append_end(copy, TRUTH_DONE, 4);
    check_text(&w, truth_mailbox_find(w.bob, "Sent"), 4, "Return-Path: <>\r\n", "");
    BROKEN(w, "altered");

    CASE("one relayed to an address that is no recipient is misplaced");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_DONE);
    buf_init(&text, 1 << 20);
    (void)truth_message_text(w.t, token, &text);
    truth_sink_took(w.t, "sue@sink.example", buf_slice(&text));
    buf_free(&text);
    BROKEN(w, "misplaced");
}

/* ---- flags, UIDs, modseqs ---------------------------------------------------------------------------------------------------- */

static struct truth_copy *claimed(struct world *w)
{
    uint64_t token = submit(w, "bob@a.example", TRUTH_DONE);
    LIST(*w, w->inbox, { 1, token, 0, 2 });
    struct truth_copy *copy = truth_claim(w->inbox, 0);
    CHECK(copy != NULL);
    return copy;
}

static void flags(void)
{
    CASE("flags that were stored are there");
    struct world w = world_new();
    struct truth_copy *copy = claimed(&w);
    truth_store_begin(copy, SEEN);
    truth_store_end(copy, TRUTH_DONE);
    LIST(w, w.inbox, { 1, w.token, SEEN, 3 });
    KEPT(w);

    CASE("acknowledged flags that are not there are a broken promise");
    w = world_new();
    copy = claimed(&w);
    truth_store_begin(copy, SEEN);
    truth_store_end(copy, TRUTH_DONE);
    LIST(w, w.inbox, { 1, w.token, 0, 3 });
    BROKEN(w, "flags");

    CASE("while the answer is awaited, and when it was lost, both may be seen; what was seen stays");
    w = world_new();
    copy = claimed(&w);
    truth_store_begin(copy, SEEN);
    LIST(w, w.inbox, { 1, w.token, 0, 2 });
    truth_store_end(copy, TRUTH_UNKNOWN);
    LIST(w, w.inbox, { 1, w.token, 0, 2 });
    LIST(w, w.inbox, { 1, w.token, SEEN, 3 });
    CHECK_INT(complaints, 0);
    LIST(w, w.inbox, { 1, w.token, 0, 4 });
    BROKEN(w, "flags");

    CASE("flags that nobody set are wrong");
    w = world_new();
    uint64_t token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, WORK, 2 });
    BROKEN(w, "flags");

    CASE("a change of flags under the same modseq is invisible to those who were away");
    w = world_new();
    copy = claimed(&w);
    truth_store_begin(copy, SEEN);
    truth_store_end(copy, TRUTH_DONE);
    LIST(w, w.inbox, { 1, w.token, SEEN, 2 });
    BROKEN(w, "modseq");

    CASE("a modseq does not fall");
    w = world_new();
    token = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, token, 0, 9 });
    LIST(w, w.inbox, { 1, token, 0, 8 });
    BROKEN(w, "modseq");
}

static void uids(void)
{
    CASE("a UID that was another message's is given twice");
    struct world w = world_new();
    uint64_t first = submit(&w, "bob@a.example", TRUTH_DONE), second = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, first, 0, 2 }, { 2, second, 0, 3 });
    LIST(w, w.inbox, { 1, first, 0, 2 }, { 2, first, 0, 3 });
    BROKEN(w, "uid");

    CASE("nothing appears below a UIDNEXT that was told before");
    w = world_new();
    first = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 5, first, 0, 2 });
    second = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 4, second, 0, 3 }, { 5, first, 0, 2 });
    BROKEN(w, "uid");

    CASE("UIDNEXT does not fall");
    w = world_new();
    struct truth_listing l;
    truth_listing_begin(&l, w.inbox, truth_mark(w.t), true);
    truth_listing_state(&l, 7, 20, 50);
    truth_listing_begin(&l, w.inbox, truth_mark(w.t), true);
    truth_listing_state(&l, 7, 19, 50);
    BROKEN(w, "uid");

    CASE("nor does HIGHESTMODSEQ");
    w = world_new();
    truth_listing_begin(&l, w.inbox, truth_mark(w.t), true);
    truth_listing_state(&l, 7, 20, 50);
    truth_listing_begin(&l, w.inbox, truth_mark(w.t), true);
    truth_listing_state(&l, 7, 20, 49);
    BROKEN(w, "modseq");

    CASE("UIDVALIDITY stays");
    w = world_new();
    truth_listing_begin(&l, w.inbox, truth_mark(w.t), true);
    truth_listing_state(&l, 7, 20, 50);
    truth_listing_state(&l, 8, 20, 50);
    BROKEN(w, "uid");

    CASE("an answer that names the UID of another message");
    w = world_new();
    first = submit(&w, "bob@a.example", TRUTH_DONE);
    LIST(w, w.inbox, { 1, first, 0, 2 });
    uint64_t token = truth_message_new(w.t, 5, "bob@a.example", 10);
    struct truth_copy *copy = truth_append_begin(w.inbox, token, 0);
    truth_append_end(copy, TRUTH_DONE, 1);
    BROKEN(w, "uid");
}

/* ---- expunges, copies, moves --------------------------------------------------------------------------------------------------- */

static void expunges(void)
{
    CASE("what was expunged is gone");
    struct world w = world_new();
    struct truth_copy *copy = claimed(&w);
    truth_expunge_begin(copy);
    truth_expunge_end(copy, TRUTH_DONE);
    LIST_NOTHING(w, w.inbox);
    KEPT(w);

    CASE("and does not come back");
    w = world_new();
    copy = claimed(&w);
    truth_expunge_begin(copy);
    truth_expunge_end(copy, TRUTH_DONE);
    LIST(w, w.inbox, { 1, w.token, 0, 2 });
    BROKEN(w, "undead");

    CASE("not even when its answer was lost, once it was seen to be gone");
    w = world_new();
    copy = claimed(&w);
    truth_expunge_begin(copy);
    truth_expunge_end(copy, TRUTH_UNKNOWN);
    LIST(w, w.inbox, { 1, w.token, 0, 2 });
    LIST_NOTHING(w, w.inbox);
    CHECK_INT(complaints, 0);
    LIST(w, w.inbox, { 1, w.token, 0, 2 });
    BROKEN(w, "undead");

    CASE("a refused expunge takes nothing away");
    w = world_new();
    copy = claimed(&w);
    truth_expunge_begin(copy);
    truth_expunge_end(copy, TRUTH_REFUSED);
    LIST_NOTHING(w, w.inbox);
    BROKEN(w, "lost");

    CASE("a claimed message is claimed by one");
    w = world_new();
    copy = claimed(&w);
    CHECK(truth_claim(w.inbox, 0) == NULL && truth_claim_uid(w.inbox, 1) == NULL);
    truth_release(copy);
    CHECK(truth_claim_uid(w.inbox, 1) == copy);
    KEPT(w);
}

static void copies(void)
{
    CASE("a copy that was acknowledged without a UID has to turn up");
    struct world w = world_new();
    struct truth_copy *copy = claimed(&w), *at;
    struct truth_mailbox *archive = truth_mailbox_find(w.bob, "Archive");
    at = truth_copy_begin(copy, archive, false);
    truth_copy_end(copy, at, TRUTH_DONE, 0);
    LIST(w, archive, { 3, w.token, 0, 2 });
    CHECK_INT(complaints, 0);
    copy = truth_claim(w.inbox, 0);
    CHECK(copy != NULL);
    at = truth_copy_begin(copy, archive, false);
    truth_copy_end(copy, at, TRUTH_DONE, 0);
    LIST(w, archive, { 3, w.token, 0, 2 });
    BROKEN(w, "lost");

    CASE("a move takes the message away here and puts it there");
    w = world_new();
    copy = claimed(&w);
    archive = truth_mailbox_find(w.bob, "Archive");
    at = truth_copy_begin(copy, archive, true);
    truth_copy_end(copy, at, TRUTH_DONE, 3);
    LIST_NOTHING(w, w.inbox);
    LIST(w, archive, { 3, w.token, 0, 2 });
    truth_quiet(w.t);
    LIST(w, archive, { 3, w.token, 0, 2 });
    LIST_NOTHING(w, w.inbox);
    truth_settle(w.t);
    KEPT(w);

    CASE("a move whose answer was lost must not lose the message");
    w = world_new();
    copy = claimed(&w);
    archive = truth_mailbox_find(w.bob, "Archive");
    at = truth_copy_begin(copy, archive, true);
    truth_copy_end(copy, at, TRUTH_UNKNOWN, 0);
    truth_quiet(w.t);
    LIST_NOTHING(w, archive);
    LIST_NOTHING(w, w.inbox);
    truth_settle(w.t);
    BROKEN(w, "lost");

    CASE("nor leave it at both ends");
    w = world_new();
    copy = claimed(&w);
    archive = truth_mailbox_find(w.bob, "Archive");
    at = truth_copy_begin(copy, archive, true);
    truth_copy_end(copy, at, TRUTH_UNKNOWN, 0);
    truth_quiet(w.t);
    LIST(w, w.inbox, { 1, w.token, 0, 2 });
    LIST(w, archive, { 3, w.token, 0, 2 });
    truth_settle(w.t);
    BROKEN(w, "doubled");

    CASE("two copies of one message: a listing guesses which is which, the answer knows");
    w = world_new();
    copy = claimed(&w);
    archive = truth_mailbox_find(w.bob, "Archive");
    at = truth_copy_begin(copy, archive, false);
    truth_copy_end(copy, at, TRUTH_UNKNOWN, 0);
    copy = truth_claim(w.inbox, 0);
    CHECK(copy != NULL);
    at = truth_copy_begin(copy, archive, false);
    LIST(w, archive, { 3, w.token, 0, 2 });
    truth_copy_end(copy, at, TRUTH_DONE, 3);
    truth_quiet(w.t);
    LIST(w, w.inbox, { 1, w.token, 0, 2 });
    LIST(w, archive, { 3, w.token, 0, 2 });
    truth_settle(w.t);
    KEPT(w);

    CASE("an append that was refused and is there");
    w = world_new();
    archive = truth_mailbox_find(w.bob, "Archive");
    uint64_t token = truth_message_new(w.t, 5, "bob@a.example", 10);
    at = truth_append_begin(archive, token, 0);
    LIST(w, archive, { 3, token, 0, 2 });
    truth_append_end(at, TRUTH_REFUSED, 0);
    BROKEN(w, "undead");

    CASE("what is still in doubt when all is over was never looked at");
    w = world_new();
    copy = claimed(&w);
    truth_store_begin(copy, SEEN);
    truth_store_end(copy, TRUTH_UNKNOWN);
    truth_quiet(w.t);
    truth_settle(w.t);
    BROKEN(w, "unsettled");
}

/* ---- mailboxes -------------------------------------------------------------------------------------------------------------------- */

static const char born[] = "INBOX\0Drafts\0Sent\0Archive\0Junk\0Trash\0New";

static void mailboxes(void)
{
    CASE("a mailbox that was made is there, also under its new name");
    struct world w = world_new();
    struct truth_mailbox *made = truth_create_begin(w.t, w.bob, "New");
    truth_create_end(made, TRUTH_DONE);
    truth_listed(w.bob, truth_mark(w.t), born, 7);
    CHECK_INT(complaints, 0);
    truth_rename_begin(made, "Newer");
    truth_rename_end(made, TRUTH_DONE);
    CHECK_STR(truth_mailbox_name(made), "Newer");
    truth_listed(w.bob, truth_mark(w.t), born, 7);
    BROKEN(w, "lost");

    CASE("a mailbox that was deleted is not");
    w = world_new();
    made = truth_create_begin(w.t, w.bob, "New");
    truth_create_end(made, TRUTH_DONE);
    truth_delete_begin(made);
    truth_delete_end(made, TRUTH_DONE);
    truth_listed(w.bob, truth_mark(w.t), born, 7);
    BROKEN(w, "undead");

    CASE("one whose making was not answered is there, or in the end was never made");
    w = world_new();
    made = truth_create_begin(w.t, w.bob, "New");
    truth_create_end(made, TRUTH_UNKNOWN);
    truth_listed(w.bob, truth_mark(w.t), born, 6);
    CHECK(!truth_mailbox_is_sure(made));
    truth_listed(w.bob, truth_mark(w.t), born, 7);
    CHECK(truth_mailbox_is_sure(made));
    CHECK_INT(complaints, 0);
    truth_listed(w.bob, truth_mark(w.t), born, 6);
    BROKEN(w, "lost");
}

int main(void)
{
    arrivals();
    windows();
    reports();
    texts();
    flags();
    uids();
    expunges();
    copies();
    mailboxes();
    return check_done();
}
