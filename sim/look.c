/* Looking: what an IMAP client is shown of a mailbox, held against the truth; also by one who was away and asks for what changed. */
#include "sim/look.h"

#include "base/fault.h"

#include <stdlib.h>

/* ---- a listing ------------------------------------------------------------------------------------------------------------ */

void look_wrong(struct imap *imap)
{
    if (imap_wrong(imap) != NULL)
        sim_fail("protocol: IMAP: %s", imap_wrong(imap));
}

/* A message that the truth does not know by its UID yet: its text says which it is. */
static bool first_look(struct imap *imap, struct truth_listing *l, const struct imap_message *message)
{
    struct slice text;
    if (imap_fetch_text(imap, message->uid, true, &text) != CLIENT_DONE)
        return false;
    truth_listing_message(l, message->uid, truth_token_of(text), message->flags, message->modseq);
    truth_text(l->mailbox, message->uid, text);
    return true;
}

bool look_hold(struct imap *imap, struct truth_listing *l, const struct imap_message *messages, size_t count)
{
    bool is_whole = true;
    for (size_t i = 0; i < count; i++) {
        uint64_t token;
        if (messages[i].uid == 0)                       /* came while we looked: told by its number only */
            continue;
        if (truth_listing_knows(l, messages[i].uid, &token))
            truth_listing_message(l, messages[i].uid, token, messages[i].flags, messages[i].modseq);
        else
            is_whole &= first_look(imap, l, &messages[i]);
        if (!imap_is_alive(imap))
            return false;
    }
    if (is_whole)
        truth_listing_end(l);
    return is_whole;
}

struct imap_message *look_messages(const struct imap_view *view)
{
    struct imap_message *copy = malloc(view->count * sizeof *copy + 1);
    must(copy != NULL);
    if (view->count > 0)
        memcpy(copy, view->messages, view->count * sizeof *copy);
    return copy;
}

/* What the view shows now; told_all: it was filled by SELECT and FETCH, not by what came unasked. */
bool look_view(struct imap *imap, struct truth_mailbox *mailbox, uint64_t since, bool told_all)
{
    const struct imap_view *view = imap_view(imap);
    if (view == NULL)
        return false;
    struct truth_listing l;
    truth_listing_begin(&l, mailbox, since, true);
    if (told_all)
        truth_listing_state(&l, view->uid_validity, view->uid_next, view->highest_modseq);
    size_t count = view->count;
    struct imap_message *messages = look_messages(view);
    for (size_t i = 0; !told_all && i < count; i++)
        messages[i].modseq = 0;
    bool is_whole = look_hold(imap, &l, messages, count);
    free(messages);
    look_wrong(imap);
    return is_whole;
}

bool look_select(struct imap *imap, struct truth_mailbox *mailbox, bool read_only)
{
    uint64_t since = truth_mark(truth_of_mailbox(mailbox));
    enum client_result result = imap_select(imap, truth_mailbox_name(mailbox), read_only);
    look_wrong(imap);
    return result == CLIENT_DONE && look_view(imap, mailbox, since, true);
}

/* ---- who was away ------------------------------------------------------------------------------------------------------------ */

static struct known *known_of(struct reader *reader, const struct truth_mailbox *mailbox)
{
    for (size_t i = 0; i < KNOWN_VIEWS; i++)
        if (reader->known[i].mailbox == mailbox)
            return &reader->known[i];
    return NULL;
}

void look_remember(struct reader *reader, const struct truth_mailbox *mailbox, const struct imap_view *view)
{
    struct known *known = known_of(reader, mailbox);
    if (known == NULL)
        known = &reader->known[sim_below(KNOWN_VIEWS)];
    free(known->view.messages);
    known->mailbox = mailbox;
    known->view = *view;
    known->view.messages = look_messages(view);
}

static int by_uid(const void *a, const void *b)
{
    uint32_t left = ((const struct imap_message *)a)->uid, right = ((const struct imap_message *)b)->uid;
    return (left > right) - (left < right);
}

struct merged {
    struct imap_message *messages;
    size_t count;
};

static struct imap_message *merged_find(const struct merged *merged, uint32_t uid)
{
    for (size_t i = 0; i < merged->count; i++)
        if (merged->messages[i].uid == uid)
            return &merged->messages[i];
    return NULL;
}

static void merge_changes(struct merged *merged, const struct imap_changes *changes)
{
    merged->messages = realloc(merged->messages, (merged->count + changes->count) * sizeof merged->messages[0] + 1);
    must(merged->messages != NULL);
    for (size_t i = 0; i < changes->count; i++) {
        struct imap_message *row = merged_find(merged, changes->messages[i].uid);
        if (row == NULL)
            row = &merged->messages[merged->count++];
        *row = changes->messages[i];
    }
}

static void keep_only(struct merged *merged, const struct imap_uids *present, uint32_t uid_next, const char *mailbox)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < present->count; i++)
        if (present->uids[i] < uid_next && merged_find(merged, present->uids[i]) == NULL)
            sim_fail("resync: UID %u in %s is there, and one that was away was not told of it", present->uids[i], mailbox);
    qsort(merged->messages, merged->count, sizeof merged->messages[0], by_uid);
    for (size_t i = 0; i < merged->count; i++) {
        while (at < present->count && present->uids[at] < merged->messages[i].uid)
            at++;
        if (at < present->count && present->uids[at] == merged->messages[i].uid)
            merged->messages[kept++] = merged->messages[i];
    }
    merged->count = kept;
}

static void take_vanished(struct merged *merged, const struct imap_vanished *vanished)
{
    size_t kept = 0;
    for (size_t i = 0; i < merged->count; i++) {
        bool is_gone = false;
        for (size_t j = 0; j < vanished->count; j++)
            is_gone |= merged->messages[i].uid >= vanished->from[j] && merged->messages[i].uid <= vanished->to[j];
        if (!is_gone)
            merged->messages[kept++] = merged->messages[i];
    }
    merged->count = kept;
    qsort(merged->messages, merged->count, sizeof merged->messages[0], by_uid);
}

/* What one who was away knows now, against what one who reads everything is told in the same session. Changes since the SELECT
 * may show in one and not in the other. */
static void compare(const struct merged *merged, const struct imap_view *view, uint32_t uid_next, uint64_t modseq, const char *mailbox)
{
    size_t at = 0;
    for (size_t i = 0; i < view->count; i++) {
        const struct imap_message *message = &view->messages[i];
        if (message->uid == 0 || message->uid >= uid_next)
            continue;
        while (at < merged->count && merged->messages[at].uid < message->uid)
            at++;
        if (at == merged->count || merged->messages[at].uid != message->uid)
            sim_fail("resync: UID %u in %s is there, and one that was away does not know it", message->uid, mailbox);
        if (message->modseq <= modseq && (merged->messages[at].flags != message->flags || merged->messages[at].modseq != message->modseq))
            sim_fail("resync: UID %u in %s has flags %#x since modseq %llu, one that was away believes in %#x since %llu", message->uid, mailbox,
                     message->flags, (unsigned long long)message->modseq, merged->messages[at].flags, (unsigned long long)merged->messages[at].modseq);
    }
}

/* The ways to come back: CHANGEDSINCE and a list of UIDs, or QRESYNC. */
static enum client_result come_back(struct imap *imap, const struct known *known, const char *name, bool by_qresync, struct merged *merged)
{
    struct imap_changes changes;
    if (by_qresync) {
        struct imap_vanished vanished;
        enum client_result result = imap_enter_again(imap, name, false, known->view.uid_validity, known->view.highest_modseq, &changes, &vanished);
        if (result != CLIENT_DONE)
            return result;
        merge_changes(merged, &changes);
        take_vanished(merged, &vanished);
        return result;
    }
    enum client_result result = imap_enter(imap, name, false);
    if (result == CLIENT_DONE)
        result = imap_changed(imap, known->view.highest_modseq, &changes);
    if (result != CLIENT_DONE)
        return result;
    uint32_t uid_next = imap_view(imap)->uid_next;
    merge_changes(merged, &changes);
    struct imap_uids present;
    result = imap_find(imap, "ALL", &present);
    if (result == CLIENT_DONE)
        keep_only(merged, &present, uid_next, name);
    return result;
}

bool look_again(struct reader *reader, struct imap *imap, struct truth_mailbox *mailbox)
{
    const struct known *known = known_of(reader, mailbox);
    if (known == NULL || known->view.highest_modseq == 0 || !imap_can(imap, "CONDSTORE"))
        return look_select(imap, mailbox, false);
    bool by_qresync = imap_can(imap, "QRESYNC") && sim_chance(600000);
    uint64_t since = truth_mark(truth_of_mailbox(mailbox));
    const char *name = truth_mailbox_name(mailbox);
    struct merged merged = { .messages = look_messages(&known->view), .count = known->view.count };
    enum client_result result = come_back(imap, known, name, by_qresync, &merged);
    bool is_whole = false;
    const struct imap_view *view = result == CLIENT_DONE ? imap_view(imap) : NULL;
    if (view != NULL) {
        uint32_t uid_next = view->uid_next, uid_validity = view->uid_validity;
        uint64_t modseq = view->highest_modseq;
        if (imap_fill(imap) == CLIENT_DONE)
            compare(&merged, imap_view(imap), uid_next, modseq, name);
        struct truth_listing l;
        truth_listing_begin(&l, mailbox, since, true);
        truth_listing_state(&l, uid_validity, uid_next, modseq);
        is_whole = imap_is_alive(imap) && look_hold(imap, &l, merged.messages, merged.count);
    }
    look_wrong(imap);
    free(merged.messages);
    return is_whole;
}

/* ---- names ------------------------------------------------------------------------------------------------------------------- */

bool look_names(struct imap *imap, struct truth_account *account, struct truth *t)
{
    uint64_t since = truth_mark(t);
    struct imap_names names;
    if (imap_list(imap, false, &names) != CLIENT_DONE)
        return false;
    struct buf all;
    buf_init(&all, 1 << 20);
    for (size_t i = 0; i < names.count; i++) {
        (void)buf_append_str(&all, names.names[i]);
        (void)buf_append_byte(&all, '\0');
    }
    truth_listed(account, since, buf_slice(&all).ptr, names.count);
    buf_free(&all);
    look_wrong(imap);
    return true;
}

bool reader_look_at_all(struct person *person)
{
    struct client_server server = server_of(person, 143, 993);
    enum client_result result;
    struct imap *imap = imap_open(person->desk, &server, &result);
    if (imap == NULL)
        return false;
    bool is_whole = look_names(imap, person->account, person->room->truth);
    for (struct truth_mailbox *mailbox = truth_mailbox_next(person->account, NULL); is_whole && mailbox != NULL;
         mailbox = truth_mailbox_next(person->account, mailbox)) {
        is_whole = look_select(imap, mailbox, true);
        const struct imap_view *view = is_whole ? imap_view(imap) : NULL;
        size_t count = view != NULL ? view->count : 0;
        struct imap_message *messages = view != NULL ? look_messages(view) : NULL;
        for (size_t i = 0; is_whole && i < count; i++) {
            struct slice text;
            is_whole = imap_fetch_text(imap, messages[i].uid, true, &text) == CLIENT_DONE;
            if (is_whole)
                truth_text(mailbox, messages[i].uid, text);
        }
        free(messages);
    }
    look_wrong(imap);
    imap_close(imap);
    return is_whole;
}
