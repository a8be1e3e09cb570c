/* Mailboxes and the copies in them: what clients' commands, and their answers, make of them. */
#include "sim/truth_inner.h"

#include <stdio.h>

/* ---- mailboxes ----------------------------------------------------------------------------------------------------------- */

struct truth_mailbox *truth_mailbox_find(const struct truth_account *account, const char *name)
{
    for (struct truth_mailbox *mailbox = account->mailboxes; mailbox != NULL; mailbox = mailbox->next)
        if (mailbox->existence != BOX_GONE && strcmp(mailbox->name, name) == 0)
            return mailbox;
    return NULL;
}

struct truth_mailbox *truth_mailbox_next(const struct truth_account *account, const struct truth_mailbox *mailbox)
{
    struct truth_mailbox *next = mailbox == NULL ? account->mailboxes : mailbox->next;
    while (next != NULL && next->existence == BOX_GONE)
        next = next->next;
    return next;
}

struct truth *truth_of_mailbox(const struct truth_mailbox *mailbox)
{
    return mailbox->account->truth;
}

const char *truth_mailbox_name(const struct truth_mailbox *mailbox)
{
    return mailbox->name;
}

bool truth_mailbox_is_sure(const struct truth_mailbox *mailbox)
{
    return mailbox->existence == BOX_SURE && mailbox->other_name == NULL && !mailbox->is_claimed;
}

struct truth_mailbox *truth_create_begin(struct truth *t, struct truth_account *account, const char *name)
{
    struct truth_mailbox *mailbox = truth_alloc(t, sizeof *mailbox);
    *mailbox = (struct truth_mailbox){ .account = account, .name = truth_keep(t, name), .existence = BOX_MAYBE, .is_claimed = true };
    struct truth_mailbox **at = &account->mailboxes;        /* at the end: INBOX stays first */
    while (*at != NULL)
        at = &(*at)->next;
    *at = mailbox;
    return mailbox;
}

static void end(struct truth_mailbox *mailbox)
{
    mailbox->is_claimed = false;
    mailbox->changed = truth_mark(mailbox->account->truth);
}

void truth_create_end(struct truth_mailbox *mailbox, enum truth_answer answer)
{
    if (answer != TRUTH_UNKNOWN)
        mailbox->existence = answer == TRUTH_DONE ? BOX_SURE : BOX_GONE;
    end(mailbox);
}

void truth_rename_begin(struct truth_mailbox *mailbox, const char *to)
{
    mailbox->is_claimed = true;
    mailbox->other_name = truth_keep(mailbox->account->truth, to);
}

void truth_rename_end(struct truth_mailbox *mailbox, enum truth_answer answer)
{
    if (answer == TRUTH_DONE)
        mailbox->name = mailbox->other_name;
    if (answer != TRUTH_UNKNOWN)
        mailbox->other_name = NULL;
    end(mailbox);
}

void truth_delete_begin(struct truth_mailbox *mailbox)
{
    mailbox->is_claimed = true;
    mailbox->existence = BOX_GOING;
}

void truth_delete_end(struct truth_mailbox *mailbox, enum truth_answer answer)
{
    if (answer != TRUTH_UNKNOWN)
        mailbox->existence = answer == TRUTH_DONE ? BOX_GONE : BOX_SURE;
    end(mailbox);
}

static bool is_named(const char *names, size_t count, const char *name)
{
    for (; count > 0; count--, names += strlen(names) + 1)
        if (strcmp(names, name) == 0)
            return true;
    return false;
}

static void listed_one(struct truth *t, struct truth_mailbox *mailbox, bool is_old, bool is_new)
{
    if (mailbox->is_claimed)
        return;
    if (mailbox->other_name != NULL && (is_new || t->is_quiet)) {
        mailbox->name = is_new ? mailbox->other_name : mailbox->name;
        mailbox->other_name = NULL;
        is_old |= is_new;
    }
    if (is_old && (mailbox->existence == BOX_MAYBE || (mailbox->existence == BOX_GOING && t->is_quiet)))
        mailbox->existence = BOX_SURE;
    if (!is_old && (mailbox->existence == BOX_GOING || (mailbox->existence == BOX_MAYBE && t->is_quiet)))
        mailbox->existence = BOX_GONE;
    if (!is_old && mailbox->existence == BOX_SURE && mailbox->other_name == NULL)
        truth_broken(t, "lost: mailbox %s of %s is not there", mailbox->name, mailbox->account->address);
}

void truth_listed(struct truth_account *account, uint64_t since, const char *names, size_t count)
{
    struct truth *t = account->truth;
    for (struct truth_mailbox *mailbox = account->mailboxes; mailbox != NULL; mailbox = mailbox->next)
        if (mailbox->existence != BOX_GONE && mailbox->changed < since)
            listed_one(t, mailbox, is_named(names, count, mailbox->name), mailbox->other_name != NULL && is_named(names, count, mailbox->other_name));
    for (const struct truth_mailbox *mailbox = account->mailboxes; mailbox != NULL; mailbox = mailbox->next)
        if (mailbox->existence == BOX_GONE && mailbox->changed < since && is_named(names, count, mailbox->name) &&
            truth_mailbox_find(account, mailbox->name) == NULL)
            truth_broken(t, "undead: mailbox %s of %s was deleted, or never made, and is there", mailbox->name, account->address);
}

/* ---- copies -------------------------------------------------------------------------------------------------------------- */

struct truth_copy *truth_copy_new(struct truth_mailbox *mailbox, uint64_t token, uint32_t flags, enum presence presence)
{
    struct truth *t = mailbox->account->truth;
    struct truth_copy *copy = truth_alloc(t, sizeof *copy);
    *copy = (struct truth_copy){ .next = mailbox->copies, .mailbox = mailbox, .token = token, .presence = presence, .flags = flags, .flags_other = flags };
    mailbox->copies = copy;
    t->figures.copies++;
    return copy;
}

struct truth_copy *truth_copy_find(const struct truth_mailbox *mailbox, uint32_t uid)
{
    for (struct truth_copy *copy = mailbox->by_uid[uid % UID_BUCKETS]; copy != NULL; copy = copy->next_uid)
        if (copy->uid == uid)
            return copy;
    return NULL;
}

static void forget_uid(struct truth_copy *copy)
{
    struct truth_copy **at = &copy->mailbox->by_uid[copy->uid % UID_BUCKETS];
    while (*at != copy)
        at = &(*at)->next_uid;
    *at = copy->next_uid;
    copy->uid = 0;
}

void truth_copy_set_uid(struct truth_copy *copy, uint32_t uid)
{
    struct truth_copy **bucket = &copy->mailbox->by_uid[uid % UID_BUCKETS];
    copy->uid = uid;
    copy->next_uid = *bucket;
    *bucket = copy;
}

const char *truth_copy_text(const struct truth_copy *copy, char out[200])
{
    char token[40];
    (void)snprintf(token, sizeof token, truth_copy_token(copy) != 0 ? "message %016llx" : "a report (%016llx)", (unsigned long long)copy->token);
    (void)snprintf(out, 200, "%s (UID %u) in %.60s of %.60s", token, copy->uid, copy->mailbox->name, copy->mailbox->account->address);
    return out;
}

static bool is_free(const struct truth_copy *copy)
{
    return copy->presence == COPY_SURE && copy->uid != 0 && !copy->is_claimed && !copy->flags_in_doubt && copy->was_seen;
}

struct truth_copy *truth_claim_uid(struct truth_mailbox *mailbox, uint32_t uid)
{
    struct truth_copy *copy = truth_copy_find(mailbox, uid);
    if (copy == NULL || !is_free(copy))
        return NULL;
    copy->is_claimed = true;
    return copy;
}

struct truth_copy *truth_claim(struct truth_mailbox *mailbox, uint64_t chance)
{
    uint64_t count = 0;
    for (const struct truth_copy *copy = mailbox->copies; copy != NULL; copy = copy->next)
        count += is_free(copy);
    if (count == 0)
        return NULL;
    uint64_t nth = chance % count;
    for (struct truth_copy *copy = mailbox->copies; copy != NULL; copy = copy->next)
        if (is_free(copy) && nth-- == 0) {
            copy->is_claimed = true;
            return copy;
        }
    return NULL;
}

void truth_release(struct truth_copy *copy)
{
    copy->is_claimed = false;
}

uint32_t truth_copy_uid(const struct truth_copy *copy)
{
    return copy->uid;
}

uint32_t truth_copy_flags(const struct truth_copy *copy)
{
    return copy->flags;
}

uint64_t truth_copy_modseq(const struct truth_copy *copy)
{
    return copy->seen_modseq;
}

uint64_t truth_copy_token(const struct truth_copy *copy)
{
    return truth_message_find(copy->mailbox->account->truth, copy->token) != NULL ? copy->token : 0;
}

/* ---- changes ------------------------------------------------------------------------------------------------------------- */

static struct truth *ended(struct truth_copy *copy)
{
    struct truth *t = copy->mailbox->account->truth;
    copy->is_claimed = false;
    copy->changed = truth_mark(t);
    t->figures.changes++;
    return t;
}

void truth_store_begin(struct truth_copy *copy, uint32_t flags)
{
    copy->is_claimed = true;
    copy->flags_other = copy->flags;
    copy->flags = flags;
    copy->flags_in_doubt = true;
}

void truth_store_end(struct truth_copy *copy, enum truth_answer answer)
{
    if (answer == TRUTH_REFUSED)
        copy->flags = copy->flags_other;
    copy->flags_in_doubt = answer == TRUTH_UNKNOWN;
    (void)ended(copy);
}

void truth_expunge_begin(struct truth_copy *copy)
{
    copy->is_claimed = true;
    copy->presence = COPY_GOING;
}

void truth_expunge_end(struct truth_copy *copy, enum truth_answer answer)
{
    if (answer != TRUTH_UNKNOWN)
        copy->presence = answer == TRUTH_DONE ? COPY_GONE : COPY_SURE;
    (void)ended(copy);
}

/* The answer to what put it there. Its UID may have been guessed for another copy of the same message, by a listing. */
static void come(struct truth_copy *copy, enum truth_answer answer, uint32_t uid)
{
    struct truth *t = copy->mailbox->account->truth;
    char text[200];
    if (answer == TRUTH_REFUSED && copy->uid != 0)
        truth_broken(t, "undead: %s was refused and is there", truth_copy_text(copy, text));
    if (answer == TRUTH_REFUSED)
        copy->presence = COPY_GONE;
    if (answer != TRUTH_DONE)
        return;
    struct truth_copy *other = uid != 0 ? truth_copy_find(copy->mailbox, uid) : NULL;
    if (other != NULL && other != copy && other->token == copy->token && other->guessed_from != COPY_SURE) {
        forget_uid(other);
        other->presence = other->guessed_from;
        if (copy->uid != 0) {                       /* and the other's is its */
            uint32_t exchanged = copy->uid;
            forget_uid(copy);
            truth_copy_set_uid(other, exchanged);
            other->presence = COPY_SURE;
        }
        other = NULL;
    }
    if (other != NULL && other != copy)
        truth_broken(t, "uid: message %016llx was given UID %u in %s of %s, which another has", (unsigned long long)copy->token, uid,
                     copy->mailbox->name, copy->mailbox->account->address);
    else if (copy->uid != 0 && uid != 0 && copy->uid != uid)
        truth_broken(t, "uid: %s, and its answer said %u", truth_copy_text(copy, text), uid);
    else if (copy->uid == 0 && uid != 0)
        truth_copy_set_uid(copy, uid);
    if (copy->presence == COPY_MAYBE)
        copy->presence = copy->uid != 0 ? COPY_SURE : COPY_COMING;
    copy->guessed_from = COPY_SURE;
}

struct truth_copy *truth_copy_begin(struct truth_copy *from, struct truth_mailbox *to, bool is_move)
{
    struct truth_copy *at = truth_copy_new(to, from->token, from->flags, COPY_MAYBE);
    at->is_claimed = from->is_claimed = true;
    at->is_counted = from->is_counted;
    at->is_appended = from->is_appended;
    if (is_move) {
        from->presence = COPY_GOING;
        from->pair = at;
        at->came_from = from;
    }
    return at;
}

void truth_copy_end(struct truth_copy *from, struct truth_copy *at, enum truth_answer answer, uint32_t uid)
{
    come(at, answer, uid);
    (void)ended(at);
    if (at->came_from != NULL && answer == TRUTH_DONE)
        from->presence = COPY_GONE;
    if (at->came_from != NULL && answer == TRUTH_REFUSED) {
        from->presence = COPY_SURE;
        from->pair = at->came_from = NULL;
    }
    (void)ended(from);
}

struct truth_copy *truth_append_begin(struct truth_mailbox *mailbox, uint64_t token, uint32_t flags)
{
    struct truth_copy *copy = truth_copy_new(mailbox, token, flags, COPY_MAYBE);
    copy->is_claimed = copy->is_appended = true;
    return copy;
}

void truth_append_end(struct truth_copy *copy, enum truth_answer answer, uint32_t uid)
{
    come(copy, answer, uid);
    (void)ended(copy);
}
