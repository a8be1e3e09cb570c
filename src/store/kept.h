/* What was expunged and is still kept: recoverable for store_options.keep_expunged_s, with its mailboxes when those were
 * deleted.
 *
 * Expunging moves rows into batches, numbered in the order of the log. A batch knows when it went (the time is in the
 * record, so replay gives the same), and its bodies stay alive (S5). Batches wait in memory until the next checkpoint and
 * are in state.db alone from then on: a mailbox from which a million were expunged costs no memory for them but the count
 * of each body. They are forgotten oldest first, by a record that says up to which number: when their time is over, when
 * there are more than KEPT_MESSAGES_MAX, and early when the disk is so full that mail would have to be refused.
 *
 *   K1  A kept message's body can be read and revived until the record that forgets it has been applied; nothing is
 *       revived that such a record, handed over already, names.
 *   K2  What is kept counts in no quota and in no mailbox, and is in no view.
 *   K3  Forgetting is a prefix: when a batch is there, all later ones are. What was gone at forgotten_s or before may be
 *       missing, whatever went later is there. */
#ifndef THURN_STORE_KEPT_H
#define THURN_STORE_KEPT_H

#include "store/store.h"

/* 10 million: half a gigabyte of state.db. A client that copies and expunges in circles costs its neighbours' retention,
 * not the disk. */
enum { KEPT_MESSAGES_MAX = 10 * 1000 * 1000 };

enum store_kept_kind {
    KEPT_EXPUNGED,
    KEPT_MOVED,                     /* to another mailbox: it is (or was) there */
    KEPT_WITH_MAILBOX,              /* the mailbox was deleted */
    KEPT_MAILBOX,                   /* the mailbox itself, behind its messages: no rows */
};

struct store_kept {
    uint64_t number;                /* in the order in which they went */
    uint64_t account, mailbox_id;
    uint64_t modseq;                /* of the expunge */
    int64_t gone_s;                 /* Unix seconds */
    enum store_kept_kind kind;
    const struct store_message *rows;       /* as they were last: flags, keywords (bits of that mailbox), dates, uid, appended_s */
    size_t count;
    /* KEPT_MAILBOX: */
    struct slice name;
    uint32_t uidvalidity, uidnext;
    enum store_special special;
    struct slice keywords[KEYWORDS_MAX];
    size_t keyword_count;
};

/* What is kept of an account (0: of all), oldest checkpoint first and, for one mailbox, in the order in which it went. All of
 * it lives until `each` returns; a false stops. No other call of this header from within. RC_TEMP, RC_PERM: state.db
 * cannot be read. */
enum rc store_kept_each(struct store *, uint64_t account, bool (*each)(void *arg, const struct store_kept *), void *arg, struct fault *);

struct store_kept_figures {
    uint64_t messages, bytes;       /* kept now; bytes: the sum of their sizes, whether shared or not */
    uint64_t given_up;              /* since opening: forgotten before their time, for want of room */
    int64_t forgotten_s;            /* what went then or before may be missing; 0: nothing is missing */
};
void store_kept_figures(const struct store *, struct store_kept_figures *);

/* Messages that are kept, into a mailbox, as new ones in this order: new UIDs, their dates and flags, without \Deleted. They
 * stay kept, too. number: of the batch that each comes from. keywords: names by bit, as the batches' mailbox has them.
 * RC_NONE: no such mailbox, or one of them is kept no more (nothing has happened). */
enum { REVIVE_MAX = 1000 };
struct store_revived {
    uint64_t number;
    struct store_message row;
};
enum rc store_revive(struct store *, uint64_t mailbox_id, const struct store_revived *, size_t count, const struct slice keywords[KEYWORDS_MAX],
                     uint32_t *first_uid, uint64_t *wait, struct fault *);

/* The setting, when it changes. 0: what is expunged from now on is not kept, and what was is forgotten. */
void store_keep_expunged(struct store *, uint32_t seconds);

/* An account that nobody owns any more (or, false, somebody does again): after the time that expunged messages are kept, at
 * least REMOVED_KEPT_MIN_S, it is deleted for good, by the store itself. RC_NONE: no such account. */
enum { REMOVED_KEPT_MIN_S = 24 * 3600 };
enum rc store_account_removed(struct store *, uint64_t account, bool is_removed, uint64_t *wait, struct fault *);
/* The next account after that number (0: the first); 0: none. removed_s: since when, 0: it is not. */
uint64_t store_account_after(const struct store *, uint64_t account, int64_t *removed_s);

#endif
