/* What readers see, held against what must and what may be there. */
#include "sim/truth_inner.h"

void truth_listing_begin(struct truth_listing *l, struct truth_mailbox *mailbox, uint64_t since, bool has_flags)
{
    *l = (struct truth_listing){ .mailbox = mailbox, .since = since, .has_flags = has_flags };
    truth_of_mailbox(mailbox)->figures.listings++;
}

/* ---- the mailbox's own numbers ------------------------------------------------------------------------------------------- */

void truth_listing_state(struct truth_listing *l, uint32_t uidvalidity, uint32_t uidnext, uint64_t highest_modseq)
{
    struct truth_mailbox *mailbox = l->mailbox;
    struct truth *t = truth_of_mailbox(mailbox);
    const char *name = mailbox->name, *address = mailbox->account->address;
    if (mailbox->uidvalidity != 0 && uidvalidity != 0 && mailbox->uidvalidity != uidvalidity)
        truth_broken(t, "uid: UIDVALIDITY of %s of %s was %u and is %u", name, address, mailbox->uidvalidity, uidvalidity);
    if (mailbox->told < l->since && uidnext != 0 && uidnext < mailbox->uidnext)
        truth_broken(t, "uid: UIDNEXT of %s of %s was %u and is %u", name, address, mailbox->uidnext, uidnext);
    if (mailbox->told < l->since && highest_modseq != 0 && highest_modseq < mailbox->highest_modseq)
        truth_broken(t, "modseq: HIGHESTMODSEQ of %s of %s was %llu and is %llu", name, address, (unsigned long long)mailbox->highest_modseq,
                     (unsigned long long)highest_modseq);
    if (uidvalidity != 0)
        mailbox->uidvalidity = uidvalidity;
    if (uidnext > mailbox->uidnext)
        mailbox->uidnext = uidnext;
    if (highest_modseq > mailbox->highest_modseq)
        mailbox->highest_modseq = highest_modseq;
    mailbox->told = truth_mark(t);
    l->uidvalidity = uidvalidity;
    l->uidnext = uidnext;
    l->highest_modseq = highest_modseq;
}

/* ---- a message that stands there under a UID for the first time ------------------------------------------------------------ */

static struct truth_copy *expected(struct truth_mailbox *mailbox, uint64_t token)
{
    struct truth_copy *found = NULL;
    for (struct truth_copy *copy = mailbox->copies; copy != NULL; copy = copy->next)
        if (copy->uid == 0 && copy->token == token && (copy->presence == COPY_COMING || (copy->presence == COPY_MAYBE && found == NULL)))
            found = copy;
    return found;
}

static struct truth_copy *first_seen(struct truth_listing *l, uint32_t uid, uint64_t token)
{
    struct truth_mailbox *mailbox = l->mailbox;
    struct truth *t = truth_of_mailbox(mailbox);
    if (mailbox->whole < l->since && uid < mailbox->whole_uidnext)
        truth_broken(t, "uid: %u appears in %s of %s, where UIDNEXT was %u before", uid, mailbox->name, mailbox->account->address, mailbox->whole_uidnext);
    struct truth_copy *copy = expected(mailbox, token);
    if (copy != NULL) {
        copy->guessed_from = copy->presence;
        copy->presence = COPY_SURE;
        if (copy->came_from != NULL && copy->came_from->presence == COPY_GOING)
            copy->came_from->presence = COPY_GONE;          /* moves are one change */
        if (copy->came_from != NULL)
            copy->came_from->changed = truth_mark(t);
    } else if (slice_equal(slice_from_str(mailbox->name), SLICE("INBOX"))) {
        if (truth_message_find(t, token) != NULL && !truth_owed_arrived(t, mailbox->account, token))
            return NULL;
        copy = truth_copy_new(mailbox, token, 0, COPY_SURE);
    } else {
        truth_broken(t, "misplaced: message %016llx is in %s of %s (UID %u), where nobody put it", (unsigned long long)token, mailbox->name,
                     mailbox->account->address, uid);
        return NULL;
    }
    truth_copy_set_uid(copy, uid);
    return copy;
}

/* ---- one that is known --------------------------------------------------------------------------------------------------- */

static void check_presence(const struct truth_listing *l, struct truth_copy *copy)
{
    struct truth *t = truth_of_mailbox(l->mailbox);
    char text[200];
    if (copy->presence == COPY_GONE && copy->changed < l->since)
        truth_broken(t, "undead: %s was expunged and is back", truth_copy_text(copy, text));
    if (copy->presence == COPY_GOING && !copy->is_claimed && t->is_quiet) {
        copy->presence = COPY_SURE;                         /* so it never happened */
        if (copy->pair != NULL && copy->pair->presence == COPY_SURE)
            truth_broken(t, "doubled: %s was moved and is at both ends", truth_copy_text(copy, text));
    }
}

static void check_flags(const struct truth_listing *l, struct truth_copy *copy, uint32_t flags)
{
    struct truth *t = truth_of_mailbox(l->mailbox);
    char text[200];
    if (copy->changed >= l->since)
        return;                                             /* it shows some moment on the way */
    if (copy->guessed_from == COPY_MAYBE && !copy->was_seen)
        copy->flags = copy->flags_other = flags;            /* which of several copies it is shows later */
    if (flags != copy->flags && !(copy->flags_in_doubt && flags == copy->flags_other))
        truth_broken(t, "flags: %s has %#x instead of %#x", truth_copy_text(copy, text), flags, copy->flags);
    if (!copy->flags_in_doubt || copy->is_claimed)
        return;
    if (flags == copy->flags || t->is_quiet) {
        copy->flags = flags;
        copy->flags_in_doubt = false;
    }
}

static void check_modseq(const struct truth_listing *l, const struct truth_copy *copy, uint32_t flags, uint64_t modseq)
{
    struct truth *t = truth_of_mailbox(l->mailbox);
    char text[200];
    if (modseq == 0 || !copy->was_seen || copy->seen >= l->since || copy->seen_modseq == 0)
        return;
    if (modseq < copy->seen_modseq)
        truth_broken(t, "modseq: %s had %llu and has %llu", truth_copy_text(copy, text), (unsigned long long)copy->seen_modseq, (unsigned long long)modseq);
    if (modseq == copy->seen_modseq && flags != copy->seen_flags)
        truth_broken(t, "modseq: %s has other flags (%#x, %#x) under the same modseq %llu", truth_copy_text(copy, text), copy->seen_flags, flags,
                     (unsigned long long)modseq);
}

void truth_listing_message(struct truth_listing *l, uint32_t uid, uint64_t token, uint32_t flags, uint64_t modseq)
{
    struct truth *t = truth_of_mailbox(l->mailbox);
    char text[200];
    l->count++;
    struct truth_copy *copy = truth_copy_find(l->mailbox, uid);
    if (copy == NULL && (copy = first_seen(l, uid, token)) == NULL)
        return;
    if (copy->token != token) {
        truth_broken(t, "uid: %s is now message %016llx", truth_copy_text(copy, text), (unsigned long long)token);
        return;
    }
    check_presence(l, copy);
    if (l->has_flags) {
        check_flags(l, copy, flags);
        check_modseq(l, copy, flags, modseq);
        copy->seen_flags = flags;
        if (modseq > copy->seen_modseq)
            copy->seen_modseq = modseq;
    }
    copy->was_seen = true;
    copy->seen = truth_mark(t);
}

bool truth_listing_knows(const struct truth_listing *l, uint32_t uid, uint64_t *token)
{
    const struct truth_copy *copy = truth_copy_find(l->mailbox, uid);
    *token = copy != NULL ? copy->token : 0;
    return copy != NULL;
}

/* ---- and what was not named ------------------------------------------------------------------------------------------------ */

static void not_named(const struct truth_listing *l, struct truth_copy *copy)
{
    struct truth *t = truth_of_mailbox(l->mailbox);
    char text[200];
    switch (copy->presence) {
    case COPY_SURE:
    case COPY_COMING:
        truth_broken(t, "lost: %s is not there", truth_copy_text(copy, text));
        copy->presence = COPY_GONE;                 /* told once */
        return;
    case COPY_GOING:
        if (copy->is_claimed)
            return;
        copy->presence = COPY_GONE;                 /* so it has happened */
        copy->flags_in_doubt = false;
        if (copy->pair != NULL && copy->pair->presence == COPY_MAYBE)
            copy->pair->presence = COPY_COMING;
        return;
    case COPY_MAYBE:
        if (t->is_quiet && !copy->is_claimed)
            copy->presence = COPY_GONE;
        return;
    case COPY_GONE:
        return;
    }
}

static void check_arrivals(const struct truth_listing *l)
{
    struct truth_account *account = l->mailbox->account;
    for (const struct truth_owed *owed = account->open; owed != NULL; owed = owed->next_open)
        if (owed->has_ended && owed->answer == TRUTH_DONE && owed->ended < l->since && owed->message->via == account->host)
            truth_broken(account->truth, "lost: message %016llx was acknowledged for %s and is not in INBOX",
                         (unsigned long long)owed->message->token, owed->address);
}

void truth_listing_end(struct truth_listing *l)
{
    struct truth_mailbox *mailbox = l->mailbox;
    struct truth *t = truth_of_mailbox(mailbox);
    for (struct truth_copy *copy = mailbox->copies; copy != NULL; copy = copy->next)
        if (copy->changed < l->since && (!copy->was_seen || copy->seen < l->since))
            not_named(l, copy);
    if (mailbox == mailbox->account->mailboxes)
        check_arrivals(l);
    if (l->uidnext > mailbox->whole_uidnext) {
        mailbox->whole_uidnext = l->uidnext;
        mailbox->whole = truth_mark(t);
    }
}

void truth_text(struct truth_mailbox *mailbox, uint32_t uid, struct slice text)
{
    struct truth *t = truth_of_mailbox(mailbox);
    struct truth_copy *copy = truth_copy_find(mailbox, uid);
    char where[200];
    if (copy == NULL)
        return;                                     /* the listing has told what was wrong with it */
    const struct truth_message *message = truth_message_find(t, copy->token);
    if (message != NULL) {
        truth_text_check(t, message, text, copy->is_appended, truth_copy_text(copy, where));
        return;
    }
    if (copy->token != 0 && truth_token_of(text) != copy->token)
        truth_broken(t, "altered: %s is not the report it was", truth_copy_text(copy, where));
    truth_report_check(t, mailbox->account->address, text, !copy->is_counted);
    copy->is_counted = true;
}
