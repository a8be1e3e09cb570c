/* The way of a message through the store, and what a reopened store still knows. */
#include "support.h"

static void check_inbox(struct store *store)
{
    struct store_mailbox_info info;
    struct store_view *view;
    struct store_message m;
    CHECK_INT(store_mailbox_find(store, 7, SLICE("inbox"), &info), RC_OK);
    CHECK_SLICE(info.name, SLICE("INBOX"));
    CHECK_INT(info.messages, 2);
    CHECK_INT(info.unseen, 1);
    CHECK_INT(info.first_unseen_seq, 2);
    CHECK_INT(info.uidnext, 3);
    CHECK_INT(store_view_open(store, info.id, true, &view, NULL), RC_OK);
    CHECK_INT(store_view_count(view), 2);
    store_view_at(view, 1, &m);
    CHECK_INT(m.uid, 1);
    CHECK_INT(m.flags, FLAG_SEEN);
    CHECK_INT(m.internal_zone_min, 60);
    check_body(store, &m, SLICE("first"));
    store_view_at(view, 2, &m);
    CHECK_INT(m.uid, 2);
    check_body(store, &m, SLICE("second message"));
    CHECK(store_read(store, m.body_id, 7, 7, (char[8]){ 0 }, NULL) == RC_OK);
    CHECK(store_read(store, m.body_id, 7, 8, (char[8]){ 0 }, NULL) == RC_PERM);
    store_view_close(view);
}

int main(void)
{
    char dir[64];
    struct store_rider none = { 0 };
    temporary_folder(dir);
    struct store *store = open_store(dir, SEGMENT, none);

    CASE("an account is born with its mailboxes");
    CHECK(!store_account_exists(store, 7));
    make_account(store, 7);
    CHECK(store_account_exists(store, 7));
    struct store_mailbox_info info;
    static const char *const names[] = { "INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash" };
    struct slice after = SLICE_NONE;
    for (size_t i = 0; i < 6; i++) {
        CHECK_INT(store_mailbox_next(store, 7, after, &info), RC_OK);
        CHECK_SLICE(info.name, slice_from_str(names[i]));
        CHECK(info.is_subscribed);
        after = info.name;
    }
    CHECK_INT(store_mailbox_next(store, 7, after, &info), RC_NONE);

    CASE("a message is seen when it is durable, and not before");
    uint64_t inbox = mailbox_id(store, 7, "INBOX");
    CHECK_INT(append(store, inbox, SLICE("first"), FLAG_SEEN), 1);
    uint32_t uid;
    uint64_t wait;
    CHECK_INT(store_append(store, inbox, body_of(store, SLICE("second message")), (struct mail_date){ 5, 0 }, 0, 0, &uid, &wait, NULL), RC_OK);
    CHECK_INT(uid, 2);
    CHECK_INT(store_settled(store, wait), RC_MORE);
    CHECK_INT(store_mailbox_by_id(store, inbox, &info), RC_OK);
    CHECK_INT(info.messages, 1);
    CHECK_INT(store_wait(store, wait), RC_OK);
    check_inbox(store);

    CASE("a closed store has it all in its checkpoint");
    store_close(store);
    store = open_store(dir, SEGMENT, none);
    check_inbox(store);

    CASE("without the checkpoint the log alone gives the same");
    store_close(store);
    char path[96];
    snprintf(path, sizeof path, "%s/state.db", dir);
    CHECK_INT(unlink(path), 0);
    store = open_store(dir, SEGMENT, none);
    check_inbox(store);
    store_close(store);

    CASE("a second process is kept out, a reader is let in");
    store = open_store(dir, SEGMENT, none);
    struct store *other;
    struct fault fault;
    struct store_options options = { .dir = dir, .files = &file_ops_real };
    CHECK_INT(store_open(&options, &other, &fault), RC_PERM);
    CHECK(strstr(fault.text, "in use") != NULL);
    CHECK_INT(append(store, mailbox_id(store, 7, "Sent"), SLICE("later"), 0), 1);
    options.is_read_only = true;
    CHECK_INT(store_open(&options, &other, &fault), RC_OK);
    check_inbox(other);
    CHECK_INT(store_mailbox_find(other, 7, SLICE("Sent"), &info), RC_OK);
    CHECK_INT(info.messages, 1);
    store_close(other);
    store_close(store);
    remove_folder(dir);
    return check_done();
}
