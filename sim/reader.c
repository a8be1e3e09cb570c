/* People who read by IMAP: come, look, flag, copy, move, throw away, arrange their mailboxes, wait for news, go. */
#include "sim/look.h"

#include <stdio.h>

enum { HAND_MAX = 6, TEXT_MAX = 1024 * 1024 };

/* Messages that a command is about: claimed, and in this client's view. */
struct hand {
    struct truth_copy *copies[HAND_MAX];
    uint32_t uids[HAND_MAX];
    size_t count;
};

static void take(struct hand *hand, const struct imap *imap, struct truth_mailbox *mailbox)
{
    const struct imap_view *view = imap_view(imap);
    hand->count = 0;
    for (uint64_t tries = 1 + sim_below(HAND_MAX); view != NULL && view->count > 0 && tries > 0; tries--) {
        uint32_t uid = view->messages[sim_below(view->count)].uid;
        struct truth_copy *copy = uid != 0 ? truth_claim_uid(mailbox, uid) : NULL;
        if (copy != NULL) {
            hand->copies[hand->count] = copy;
            hand->uids[hand->count++] = uid;
        }
    }
}

static void tell(const struct person *person, const char *what, const struct truth_mailbox *mailbox, const struct hand *hand, enum client_result result)
{
    char uids[HAND_MAX * 12] = "";
    for (size_t i = 0; i < hand->count; i++)
        (void)snprintf(uids + strlen(uids), sizeof uids - strlen(uids), " %u", hand->uids[i]);
    sim_trace("%s: %s UIDs%s in %s: %s", person->address, what, uids, truth_mailbox_name(mailbox), client_result_name(result));
}

/* ---- flags and expunges ---------------------------------------------------------------------------------------------------- */

static uint32_t become(uint32_t flags, enum imap_store_how how, uint32_t by)
{
    return how == IMAP_REPLACE ? by : how == IMAP_ADD ? flags | by : flags & ~by;
}

static bool is_among(const struct imap_uids *uids, uint32_t uid)
{
    for (size_t i = 0; i < uids->count; i++)
        if (uids->uids[i] == uid)
            return true;
    return false;
}

static enum client_result store(struct person *person, struct imap *imap, const struct truth_mailbox *mailbox, struct hand *hand, enum imap_store_how how, uint32_t by, uint64_t unchanged_since)
{
    for (size_t i = 0; i < hand->count; i++)
        truth_store_begin(hand->copies[i], become(truth_copy_flags(hand->copies[i]), how, by));
    struct imap_uids modified = { .count = 0 };
    enum client_result result = imap_store(imap, hand->uids, hand->count, how, by, unchanged_since, &modified);
    static const char *const words[] = { [IMAP_ADD] = "adds", [IMAP_REMOVE] = "removes", [IMAP_REPLACE] = "replaces by" };
    char what[60];
    (void)snprintf(what, sizeof what, "%s flags %#x, %zu had changed,", words[how], by, modified.count);
    tell(person, what, mailbox, hand, result);
    for (size_t i = 0; i < hand->count; i++)
        truth_store_end(hand->copies[i], result == CLIENT_DONE && is_among(&modified, hand->uids[i]) ? TRUTH_REFUSED : answer_of(person->room, result));
    return result;
}

static void flag(struct reader *reader, struct imap *imap, struct truth_mailbox *mailbox)
{
    static const uint32_t flags[] = { IMAP_SEEN, IMAP_ANSWERED, IMAP_FLAGGED, IMAP_DELETED, IMAP_DRAFT, IMAP_FORWARDED, IMAP_JUNK, IMAP_WORK, IMAP_HOME };
    struct hand hand;
    take(&hand, imap, mailbox);
    if (hand.count == 0)
        return;
    uint32_t by = flags[sim_below(9)] | (sim_chance(300000) ? flags[sim_below(9)] : 0);
    uint64_t unchanged_since = 0;
    if (imap_can(imap, "CONDSTORE") && sim_chance(300000))
        unchanged_since = truth_copy_modseq(hand.copies[0]);
    (void)store(reader->person, imap, mailbox, &hand, (enum imap_store_how)sim_below(3), by, unchanged_since);
}

static void expunge(struct reader *reader, struct imap *imap, struct truth_mailbox *mailbox)
{
    struct hand hand;
    take(&hand, imap, mailbox);
    if (hand.count == 0 || store(reader->person, imap, mailbox, &hand, IMAP_ADD, IMAP_DELETED, 0) != CLIENT_DONE)
        return;
    size_t count = 0;                       /* nobody else came between: nothing blocks before the claim */
    for (size_t i = 0; i < hand.count; i++)
        if ((hand.copies[count] = truth_claim_uid(mailbox, hand.uids[i])) != NULL)
            hand.uids[count++] = hand.uids[i];
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        truth_expunge_begin(hand.copies[i]);
    enum client_result result = imap_expunge(imap, hand.uids, count);
    hand.count = count;
    tell(reader->person, "expunges", mailbox, &hand, result);
    for (size_t i = 0; i < count; i++)
        truth_expunge_end(hand.copies[i], answer_of(reader->person->room, result));
}

/* ---- copies, moves, appends -------------------------------------------------------------------------------------------------- */

static struct truth_mailbox *a_mailbox(const struct person *person, const struct truth_mailbox *but)
{
    struct truth_mailbox *found = NULL;
    uint64_t seen = 0;
    for (struct truth_mailbox *mailbox = truth_mailbox_next(person->account, NULL); mailbox != NULL; mailbox = truth_mailbox_next(person->account, mailbox))
        if (mailbox != but && truth_mailbox_is_sure(mailbox) && sim_below(++seen) == 0)
            found = mailbox;
    return found;
}

static uint32_t uid_for(const struct imap_uids *from, const struct imap_uids *to, uint32_t uid)
{
    for (size_t i = 0; i < from->count && i < to->count; i++)
        if (from->uids[i] == uid)
            return to->uids[i];
    return 0;
}

static void copy_or_move(struct reader *reader, struct imap *imap, struct truth_mailbox *mailbox, bool is_move)
{
    struct hand hand;
    struct truth_copy *at[HAND_MAX];
    struct truth_mailbox *to = a_mailbox(reader->person, mailbox);
    if (to == NULL)
        return;
    take(&hand, imap, mailbox);
    if (hand.count == 0)
        return;
    for (size_t i = 0; i < hand.count; i++)
        at[i] = truth_copy_begin(hand.copies[i], to, is_move);
    uint32_t uid_validity;
    struct imap_uids from_uids = { .count = 0 }, to_uids = { .count = 0 };
    enum client_result result = (is_move ? imap_move : imap_copy)(imap, hand.uids, hand.count, truth_mailbox_name(to), &uid_validity, &from_uids, &to_uids);
    char what[100];
    (void)snprintf(what, sizeof what, "%s to %.60s", is_move ? "moves" : "copies", truth_mailbox_name(to));
    tell(reader->person, what, mailbox, &hand, result);
    for (size_t i = 0; i < hand.count; i++)
        truth_copy_end(hand.copies[i], at[i], answer_of(reader->person->room, result), uid_for(&from_uids, &to_uids, hand.uids[i]));
}

static void append(struct reader *reader, struct imap *imap, struct truth_mailbox *mailbox)
{
    struct person *person = reader->person;
    struct truth *t = person->room->truth;
    struct truth_mailbox *to = sim_chance(300000) ? mailbox : a_mailbox(person, NULL);
    if (to == NULL || !truth_mailbox_is_sure(to))
        return;
    struct buf text;
    buf_init(&text, TEXT_MAX);
    uint64_t token = truth_message_new(t, sim_random(), person->address, sim_below(sim_chance(100000) ? 200000 : 3000));
    (void)truth_message_text(t, token, &text);
    uint32_t flags = sim_chance(500000) ? IMAP_SEEN : sim_chance(300000) ? IMAP_DRAFT | IMAP_WORK : 0;
    struct truth_copy *copy = truth_append_begin(to, token, flags);
    uint32_t uid_validity, uid = 0;
    enum client_result result = imap_append(imap, truth_mailbox_name(to), flags, buf_slice(&text), &uid_validity, &uid);
    truth_append_end(copy, answer_of(person->room, result), uid);
    sim_trace("%s: appends %016llx with flags %#x to %s: %s, UID %u", person->address, (unsigned long long)token, flags, truth_mailbox_name(to),
              client_result_name(result), uid);
    buf_free(&text);
}

/* ---- mailboxes ----------------------------------------------------------------------------------------------------------------- */

static bool is_own_folder(const struct truth_mailbox *mailbox)
{
    return strncmp(truth_mailbox_name(mailbox), "Folder", 6) == 0;
}

static void arrange(struct reader *reader, struct imap *imap, struct truth_mailbox *selected)
{
    struct person *person = reader->person;
    if (person->is_arranging)
        return;
    person->is_arranging = true;
    char name[64];
    enum client_result result;
    (void)snprintf(name, sizeof name, sim_chance(300000) ? "Folder \xc3\xa9 %u" : "Folder-%u", person->folders++);
    struct truth_mailbox *mailbox = a_mailbox(person, selected);
    if (mailbox == NULL || !is_own_folder(mailbox) || person->folders < 3) {
        mailbox = truth_create_begin(person->room->truth, person->account, name);
        truth_create_end(mailbox, answer_of(person->room, result = imap_create(imap, name)));
    } else if (sim_chance(700000)) {
        truth_rename_begin(mailbox, name);
        truth_rename_end(mailbox, answer_of(person->room, result = imap_rename(imap, truth_mailbox_name(mailbox), name)));
    } else {
        truth_delete_begin(mailbox);
        truth_delete_end(mailbox, answer_of(person->room, result = imap_delete(imap, truth_mailbox_name(mailbox))));
    }
    sim_trace("%s: makes, renames or deletes %s (%s): %s", person->address, truth_mailbox_name(mailbox), name, client_result_name(result));
    person->is_arranging = false;
}

static void status(struct reader *reader, struct imap *imap, struct truth_mailbox *selected)
{
    struct truth_mailbox *mailbox = a_mailbox(reader->person, selected);
    if (mailbox == NULL)
        return;
    struct imap_status status;
    struct truth_listing l;
    truth_listing_begin(&l, mailbox, truth_mark(reader->person->room->truth), true);
    if (imap_status(imap, truth_mailbox_name(mailbox), &status) == CLIENT_DONE)
        truth_listing_state(&l, status.uid_validity, status.uid_next, status.highest_modseq);
}

/* ---- finding, reading, waiting ------------------------------------------------------------------------------------------------- */

static void find(struct imap *imap, struct truth_mailbox *mailbox)
{
    struct hand hand;
    take(&hand, imap, mailbox);
    if (hand.count > 0 && truth_copy_token(hand.copies[0]) != 0) {
        char criteria[80];
        (void)snprintf(criteria, sizeof criteria, "HEADER X-Token %016llx", (unsigned long long)truth_copy_token(hand.copies[0]));
        struct imap_uids found;
        if (imap_find(imap, criteria, &found) == CLIENT_DONE && !is_among(&found, hand.uids[0]))
            sim_fail("lost: UID %u in %s is not found by its token", hand.uids[0], truth_mailbox_name(mailbox));
    }
    for (size_t i = 0; i < hand.count; i++)
        truth_release(hand.copies[i]);
}

static void read_one(struct imap *imap, struct truth_mailbox *mailbox)
{
    struct hand hand;
    take(&hand, imap, mailbox);
    for (size_t i = 1; i < hand.count; i++)
        truth_release(hand.copies[i]);
    if (hand.count == 0)
        return;
    bool peek = sim_chance(500000);
    struct slice text;
    if (!peek)
        truth_store_begin(hand.copies[0], truth_copy_flags(hand.copies[0]) | IMAP_SEEN);
    enum client_result result = imap_fetch_text(imap, hand.uids[0], peek, &text);
    if (peek)
        truth_release(hand.copies[0]);
    else                                    /* \Seen is no promise: a text is given out though its mark could not be kept */
        truth_store_end(hand.copies[0], result == CLIENT_UNSENT ? TRUTH_REFUSED : TRUTH_UNKNOWN);
    if (result == CLIENT_DONE)
        truth_text(mailbox, hand.uids[0], text);
    else if (result == CLIENT_REFUSED)
        sim_fail("lost: UID %u in %s cannot be read: %s", hand.uids[0], truth_mailbox_name(mailbox), imap_reply(imap));
}

static void wait_for_news(struct reader *reader, struct imap *imap, struct truth_mailbox *mailbox)
{
    struct room *room = reader->person->room;
    uint64_t since = truth_mark(room->truth);
    enum client_result result = sim_chance(500000) ? imap_noop(imap) : imap_idle(imap, (int64_t)sim_below(20 * 60 * 1000));
    if (result == CLIENT_DONE)
        (void)look_view(imap, mailbox, since, false);
}

/* ---- a session -------------------------------------------------------------------------------------------------------------------- */

static void do_something(struct reader *reader, struct imap *imap, struct truth_mailbox *mailbox)
{
    switch (sim_below(12)) {
    case 0: case 1: flag(reader, imap, mailbox); break;
    case 2: expunge(reader, imap, mailbox); break;
    case 3: copy_or_move(reader, imap, mailbox, false); break;
    case 4: copy_or_move(reader, imap, mailbox, true); break;
    case 5: append(reader, imap, mailbox); break;
    case 6: arrange(reader, imap, mailbox); break;
    case 7: status(reader, imap, mailbox); break;
    case 8: find(imap, mailbox); break;
    case 9: read_one(imap, mailbox); break;
    case 10: wait_for_news(reader, imap, mailbox); break;
    default: (void)look_names(imap, reader->person->account, reader->person->room->truth); break;
    }
    look_wrong(imap);
}

static void visit(struct reader *reader, struct imap *imap)
{
    struct room *room = reader->person->room;
    struct truth_mailbox *mailbox = sim_chance(500000) ? truth_mailbox_find(reader->person->account, "INBOX") : a_mailbox(reader->person, NULL);
    if (mailbox == NULL || !look_again(reader, imap, mailbox))
        return;
    for (uint64_t deeds = sim_below(8); deeds > 0 && imap_is_alive(imap) && !room->is_over; deeds--) {
        do_something(reader, imap, mailbox);
        pause_for(room, room->plan.pause_us / 4 + 1);
    }
    if (imap_is_alive(imap) && sim_chance(700000) && look_select(imap, mailbox, false) && imap_view(imap) != NULL)
        look_remember(reader, mailbox, imap_view(imap));
}

int reader_main(void *arg)
{
    struct reader *reader = arg;
    struct room *room = reader->person->room;
    while (!room->is_over) {
        pause_for(room, room->plan.pause_us);
        struct client_server server = server_of(reader->person, 143, 993);
        enum client_result result;
        struct imap *imap = room->is_over ? NULL : imap_open(reader->person->desk, &server, &result);
        if (imap == NULL)
            continue;
        for (uint64_t visits = 1 + sim_below(4); visits > 0 && imap_is_alive(imap) && !room->is_over; visits--)
            visit(reader, imap);
        if (sim_chance(200000))
            imap_drop(imap);
        else
            imap_close(imap);
    }
    room->at_work--;
    return 0;
}
