/* What was promised: the record that a run of the simulator is held against.
 *
 * Clients say here what they are about to do (begin) and what the server answered (end); whoever reads, in mid-run or at the end, says
 * what it saw. Whatever does not fit is a broken invariant, told to `broken` as one sentence. Knows nothing of processes, network
 * or disk; times are true time.
 *
 * A message carries a token in its first header field ("X-Token:"), and its text is a function of the token, so that each
 * copy can be held against it byte for byte, less the trace fields that servers put before. Every submission has a token of its own, a
 * client's retry after a lost answer too: so a token stands in a mailbox as often as one transaction allows, which is once.
 *
 * Doubt. A change whose answer was lost (the connection died, NO after a failing disk) may have happened, may never happen or may
 * still be on its way: from its begin to its end, and after an answer that was lost until truth_quiet(), both states are
 * allowed. What has been seen as done is done.
 * Views. A listing is held only against what had ended before it began (`since`: a mark from before its SELECT or NOOP was sent).
 *
 * Windows. What goes to another host may arrive twice when a crash, a lost connection or a failed write may have taken
 * the sender's record of the 250 (truth_disturbed). What is delivered on the host that accepted it arrives once, whatever happens.
 *
 * Invariants, by the name that a violation begins with:
 *   lost        nothing acknowledged is missing            doubled    nothing appears beyond its window
 *   altered     a text is what was sent                    misplaced  nothing is where nobody put it
 *   uid         UIDs rise, are never given twice, UIDVALIDITY stays; nothing appears below a UIDNEXT that was told before
 *   modseq      modseqs rise, and every visible change has a new one
 *   flags       flags are what the acknowledged commands made of them
 *   undead      what was expunged, refused or deleted stays away
 *   unsettled   every recipient ends delivered or told of the failure */
#ifndef THURN_SIM_TRUTH_H
#define THURN_SIM_TRUTH_H

#include "base/buf.h"
#include "base/slice.h"

struct truth;
struct truth_account;
struct truth_mailbox;
struct truth_copy;

struct truth_options {
    void (*broken)(void *arg, const char *text);        /* may return: then the run goes on */
    void *(*block)(void *arg, size_t size);             /* memory that outlives every process of the simulation; zeroed; never NULL */
    void (*block_free)(void *arg, void *);
    void *arg;
};
struct truth *truth_new(const struct truth_options *);
void truth_free(struct truth *);
uint64_t truth_mark(struct truth *);             /* a point in the order of everything */

enum truth_answer {
    TRUTH_DONE,         /* acknowledged: it has happened and stays so */
    TRUTH_REFUSED,      /* it has not happened and will not */
    TRUTH_UNKNOWN,      /* the answer was lost, or the refusal may have come after the deed */
};

/* ---- addresses: where mail for one has to end ------------------------------------------------------------------------ */

/* An account has INBOX, Drafts, Sent, Archive, Junk and Trash from birth. `host` is who keeps it; all strings are copied. */
struct truth_account *truth_account_new(struct truth *, const char *address, const char *host);
struct truth_account *truth_account_find(const struct truth *, const char *address);
const char *truth_account_address(const struct truth_account *);
/* An address on somebody else's server; what it took is told by truth_sink_took. One that is neither account nor sink has to bounce. */
void truth_sink_new(struct truth *, const char *address, const char *host);

/* ---- messages -------------------------------------------------------------------------------------------------------- */

/* size: about how many bytes of text; the exact text follows from token, from and size. */
uint64_t truth_message_new(struct truth *, uint64_t chance, const char *from, size_t size);
bool truth_message_text(const struct truth *, uint64_t token, struct buf *);
/* The token of a text; of what has none, so a report, a number that stands for its text. */
uint64_t truth_token_of(struct slice text);

/* A transaction: begin before MAIL, a recipient as soon as its RCPT has been sent and not been refused, sent before the first byte of
 * the text is on its way. via: the host that is asked. Without `sent` nothing may ever arrive. */
void truth_submit_begin(struct truth *, uint64_t token, const char *via);
void truth_submit_rcpt(struct truth *, uint64_t token, const char *address);
void truth_submit_sent(struct truth *, uint64_t token);
/* address NULL: all recipients (SMTP); else one (LMTP). */
void truth_submit_end(struct truth *, uint64_t token, const char *address, enum truth_answer);

/* Another server has taken this message for this address (before it says 250; whether that arrives is its secret). */
void truth_sink_took(struct truth *, const char *address, struct slice text);
/* Name service lies: what is for people of ours may be carried to any server that takes it, and has ended there. */
void truth_may_stray(struct truth *);
/* Something at this host may have cost it its record of a remote 250. "*": at every host. */
void truth_disturbed(struct truth *, const char *host);
/* The same for a while, during which it may happen any number of times. */
void truth_disturbing(struct truth *, const char *host, bool begins);
/* Recipients that were promised, and of whom nothing has been seen yet. */
uint64_t truth_open(const struct truth *);

/* ---- mailboxes: what commands make of them ----------------------------------------------------------------------------- */

/* Flags are bits, whose meaning is the clients' affair; what is delivered has none. */

struct truth_mailbox *truth_mailbox_find(const struct truth_account *, const char *name);
/* Iterate: NULL starts. Also those that may or may not exist. */
struct truth_mailbox *truth_mailbox_next(const struct truth_account *, const struct truth_mailbox *);
struct truth *truth_of_mailbox(const struct truth_mailbox *);
const char *truth_mailbox_name(const struct truth_mailbox *);
bool truth_mailbox_is_sure(const struct truth_mailbox *);       /* it exists under this name, without doubt */
/* One client at a time creates, renames or deletes; while it does nobody has to find it. */
struct truth_mailbox *truth_create_begin(struct truth *, struct truth_account *, const char *name);
void truth_create_end(struct truth_mailbox *, enum truth_answer);
void truth_rename_begin(struct truth_mailbox *, const char *to);
void truth_rename_end(struct truth_mailbox *, enum truth_answer);
void truth_delete_begin(struct truth_mailbox *);
void truth_delete_end(struct truth_mailbox *, enum truth_answer);
/* A LIST that was sent after that mark named these ("INBOX\0Sent\0..."). */
void truth_listed(struct truth_account *, uint64_t since, const char *names, size_t count);

/* A copy that a client may change: known for sure, in no doubt, claimed by nobody; now claimed, until one of the _end below (all of
 * them release it) or truth_release. NULL: there is none. `chance` chooses. */
struct truth_copy *truth_claim(struct truth_mailbox *, uint64_t chance);
/* That one, if it may be claimed. */
struct truth_copy *truth_claim_uid(struct truth_mailbox *, uint32_t uid);
void truth_release(struct truth_copy *);
uint32_t truth_copy_uid(const struct truth_copy *);
uint32_t truth_copy_flags(const struct truth_copy *);
uint64_t truth_copy_modseq(const struct truth_copy *);  /* the last that was seen; 0 */
uint64_t truth_copy_token(const struct truth_copy *);   /* 0: a report */

void truth_store_begin(struct truth_copy *, uint32_t flags);            /* what its flags will be */
void truth_store_end(struct truth_copy *, enum truth_answer);
void truth_expunge_begin(struct truth_copy *);                          /* also POP3's DELE, when QUIT is sent */
void truth_expunge_end(struct truth_copy *, enum truth_answer);
/* The new one has the flags of the old. uid 0: the answer did not say. What comes back is the copy at `to`, for _end. */
struct truth_copy *truth_copy_begin(struct truth_copy *, struct truth_mailbox *to, bool is_move);
void truth_copy_end(struct truth_copy *from, struct truth_copy *at, enum truth_answer, uint32_t uid);
struct truth_copy *truth_append_begin(struct truth_mailbox *, uint64_t token, uint32_t flags);
void truth_append_end(struct truth_copy *, enum truth_answer, uint32_t uid);

/* ---- what readers see ---------------------------------------------------------------------------------------------------- */

/* One whole listing of a mailbox; one at a time for each client. The state is 0 where it was not told (POP3). */
struct truth_listing {
    struct truth_mailbox *mailbox;
    uint64_t since;
    uint32_t uidvalidity, uidnext, count;
    uint64_t highest_modseq;
    bool has_flags;
};
void truth_listing_begin(struct truth_listing *, struct truth_mailbox *, uint64_t since, bool has_flags);
void truth_listing_state(struct truth_listing *, uint32_t uidvalidity, uint32_t uidnext, uint64_t highest_modseq);
/* token: truth_token_of its text. What is no message of ours is a report, whose text truth_text wants to see. */
void truth_listing_message(struct truth_listing *, uint32_t uid, uint64_t token, uint32_t flags, uint64_t modseq);
/* Does it know this UID already, and whose is it? Then the token need not be read again (truth_text holds the text against it). */
bool truth_listing_knows(const struct truth_listing *, uint32_t uid, uint64_t *token);
void truth_listing_end(struct truth_listing *);         /* it was complete: what must be there and was not named is lost */
/* The whole text of a message that a listing has named. */
void truth_text(struct truth_mailbox *, uint32_t uid, struct slice text);

/* ---- the end ----------------------------------------------------------------------------------------------------------- */

/* All connections are closed and the servers have been left alone long enough: nothing is on its way any more. From here on each
 * listing decides what was in doubt. */
void truth_quiet(struct truth *);
/* After every mailbox has been listed since: nothing in doubt is left over, moves have moved, every recipient has its message or its
 * sender a report. */
void truth_settle(struct truth *);

struct truth_figures {
    uint64_t messages, recipients, done, refused, unknown, arrived, doubled_in_window, bounced, copies, changes, listings, texts;
};
struct truth_figures truth_figures(const struct truth *);

#endif
