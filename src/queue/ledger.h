/* The ledger: every accepted message is accounted for, one by one.
 *
 * The unit is a copy: one message in one mailbox, or one message to one recipient of the queue. A message that is accepted for
 * two accounts and three addresses elsewhere is five copies; an alias or a list counts as what it leads to. Then always
 *
 *     received     brought + accepted (into mailboxes, to the queue) + appended + copied
 *   = accounted    in mailboxes + waiting in the queue + delivered onward + bounced + expunged + removed + discarded
 *
 *     accepted     by SMTP, LMTP, sendmail, and our own reports (bounces, delays, success): they are messages like any other
 *     appended     IMAP APPEND, `thurn import`, what is restored from a backup
 *     copied       IMAP COPY. A move (MOVE, renaming INBOX) makes no copy and loses none
 *     brought      what was there when counting began: 0 but for a store that an older version made
 *     waiting      due, being tried, held
 *     delivered    another server, or an LMTP server, has answered 250 for it
 *     bounced      given up: refused, too old, or by an administrator. (That its sender is told is another message.) One with the
 *                  null reverse-path is bounced too, and nobody is told
 *     expunged     by EXPUNGE, CLOSE, POP3 DELE, whether or not it is kept for a time to be recovered
 *     removed      gone with a mailbox or an account that was deleted
 *     discarded    taken out of the queue by hand; a rule that discards counts here
 *
 * The counters are changed where a record is applied: deterministic at replay, in the checkpoint, a few additions a message.
 * They and what is there now are counted by different means (store.h), so a loss shows as a difference, in `thurn status` on
 * every call; and the walk below says which message it is, as far as mailboxes, the queue and the history still know. */
#ifndef THURN_QUEUE_LEDGER_H
#define THURN_QUEUE_LEDGER_H

#include "base/buf.h"
#include "store/store.h"

struct queue;

struct queue_ledger {               /* the queue's part */
    uint64_t brought;               /* recipients that waited when counting began */
    uint64_t messages, reports;     /* accepted; of these, ours about others */
    uint64_t filed;                 /* their copies into mailboxes: as many as the store counts as delivered */
    uint64_t queued;                /* their copies to recipients in the queue */
    uint64_t delivered, bounced, discarded;
    uint64_t waiting;               /* now: counted for each call when it is exact, else as the queue counts along */
};

struct ledger {
    struct store_ledger mail;
    struct queue_ledger queue;
};
/* is_exact: counts what waits entry by entry (a tenth of a second for a million) instead of taking the queue's word. */
void ledger_take(const struct queue *, const struct store *, bool is_exact, struct ledger *);
uint64_t ledger_received(const struct ledger *);
uint64_t ledger_accounted(const struct ledger *);
/* How many copies the two sides differ by, each room for itself, so that a loss here and a surplus there do not cancel out:
 * 0 when all is accounted for. */
uint64_t ledger_difference(const struct ledger *);
/* As members of a JSON object, without braces. */
bool ledger_write_json(const struct ledger *, struct buf *);

/* ---- the walk: which one is it? ------------------------------------------------------------------------------------ */

enum ledger_loss {
    LOSS_BODY,                      /* a message in a mailbox, or an entry of the queue, whose bytes are gone */
    LOSS_DELIVERY,                  /* history says it went into that mailbox, where it neither is nor was expunged */
    LOSS_RECIPIENT,                 /* history says it went to the queue, where it is not, and not how that ended */
    LOSS_UNKNOWN,                   /* UIDs of a mailbox of which nothing is known, while the mailboxes do not balance */
    LOSS_COUNT,                     /* a mailbox or an entry that counts itself wrong */
};
struct ledger_finding {
    enum ledger_loss loss;
    uint64_t id;                    /* of the message; 0: not known */
    uint64_t account;               /* 0: in the queue */
    struct slice mailbox;
    uint32_t first_uid, last_uid;
    struct slice recipient;         /* in the queue, when it is one */
};
/* One JSON object; account_name as people know it, empty: not known. */
bool ledger_finding_write_json(const struct ledger_finding *, struct slice account_name, struct buf *);

struct ledger_walk;
/* Goes through all mailboxes, the queue and the history, as they were when it began. Memory: eight bytes for each mailbox and
 * for each message whose history is not yet in the checkpoint. What it finds is told at once, with slices that live until the
 * call returns. NULL: out of memory. */
struct ledger_walk *ledger_walk_new(struct queue *, struct store *, void (*found)(void *arg, const struct ledger_finding *), void *arg);
/* A bounded piece: about so many messages. False: it is through. The server may work between the calls. */
bool ledger_walk_step(struct ledger_walk *, size_t messages);
/* So many messages of mailboxes and of history it has looked at. */
uint64_t ledger_walk_seen(const struct ledger_walk *);
void ledger_walk_free(struct ledger_walk *);

#endif
