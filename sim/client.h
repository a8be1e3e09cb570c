/* People's programs: mail clients that keep to the protocols, as code of coroutines (client_smtp.c, client_imap.c, client_pop3.c).
 *
 * Every function blocks its coroutine, does one thing and says what its user may believe afterwards. Who keeps the books
 * (sim/truth.h) notes before the call that it is being tried, and afterwards what came of it; a coroutine that is killed in
 * between leaves it unknown. Nothing is tried again in here but where it says so.
 * What is opened and not closed goes with the process of the coroutine. Text and lists that are given out live until the next call
 * with the same session. Times are simulated milliseconds. */
#ifndef THURN_SIM_CLIENT_H
#define THURN_SIM_CLIENT_H

#include "base/buf.h"
#include "sim/net.h"

enum client_result {
    CLIENT_DONE,                /* acknowledged: promised */
    CLIENT_TEMP,                /* answered "not now" (4xx, NO [UNAVAILABLE], ...): has not happened */
    CLIENT_REFUSED,             /* answered "no" (5xx, NO, BAD, -ERR): has not happened */
    CLIENT_UNKNOWN,             /* asked, and no answer came: it may have happened, or may yet happen */
    CLIENT_UNSENT,              /* never asked: no connection, no login, or it broke before: has not happened */
};
const char *client_result_name(enum client_result);

enum client_tls { CLIENT_PLAIN, CLIENT_STARTTLS, CLIENT_TLS };
struct client_server {
    const char *address;        /* numeric; a path of a Unix socket with port 0 */
    uint16_t port;
    enum client_tls tls;
    const char *user, *password;        /* NULL: no login. SCRAM-SHA-256 when it is offered and `scram`, else PLAIN */
    bool scram;
    int64_t timeout_ms;         /* for each answer */
};

/* ---- SMTP and LMTP ------------------------------------------------------------------------------------------------ */

enum { CLIENT_RECIPIENTS_MAX = 64 };
struct smtp_letter {
    const char *from;           /* "" for a report */
    const char *const *to;
    size_t to_count;
    struct slice text;          /* CRLF lines, as it is to arrive (dots are doubled here) */
    bool is_lmtp;
    bool by_chunks;             /* BDAT in pieces of any size when CHUNKING is offered */
    bool pipelined;             /* when PIPELINING is offered */
    void (*recipient)(void *arg, size_t index);         /* that one was accepted (250 to its RCPT); may be NULL */
    void (*sending)(void *arg);                         /* the first byte of the text comes next; may be NULL */
    void *arg;
};
struct smtp_outcome {
    enum client_result result;                          /* of the letter: DONE when at least one recipient was promised */
    enum client_result to[CLIENT_RECIPIENTS_MAX];       /* of each recipient */
    char reply[256];                                    /* the last answer, for the trace */
};
/* One attempt: connects, greets, upgrades, logs in, sends one letter, says QUIT. */
enum client_result smtp_send(struct sim_host *, const struct client_server *, const struct smtp_letter *, struct smtp_outcome *);

/* ---- IMAP --------------------------------------------------------------------------------------------------------- */

enum {                          /* flags as bits; the keywords are the ones that these clients use */
    IMAP_SEEN = 1, IMAP_ANSWERED = 2, IMAP_FLAGGED = 4, IMAP_DELETED = 8, IMAP_DRAFT = 16,
    IMAP_FORWARDED = 32 /* $Forwarded */, IMAP_JUNK = 64 /* $Junk */, IMAP_WORK = 128 /* work */, IMAP_HOME = 256 /* home */,
    IMAP_OTHER = 512            /* some other keyword was there */
};

struct imap_message {
    uint32_t uid;               /* 0: not yet told (a new message known by its number only) */
    uint32_t flags;
    uint64_t modseq;            /* 0: not told */
};
struct imap_view {              /* the selected mailbox as this client has been told: place n - 1 is sequence number n */
    char name[256];
    bool is_read_only;
    uint32_t uid_validity, uid_next;
    uint64_t highest_modseq;    /* as told by SELECT; 0: none */
    struct imap_message *messages;
    size_t count;
    uint64_t expunged;          /* how many have vanished while it was selected */
};
struct imap_uids { const uint32_t *uids; size_t count; };
struct imap_status { uint32_t messages, uid_next, uid_validity, unseen; uint64_t highest_modseq; };

struct imap;                    /* a connection that is logged in */
/* NULL: *result says why (never DONE). */
struct imap *imap_open(struct sim_host *, const struct client_server *, enum client_result *);
void imap_close(struct imap *);                 /* LOGOUT when it still can */
void imap_drop(struct imap *);                  /* just closes */
bool imap_is_alive(const struct imap *);        /* false after UNKNOWN or BYE: only close it */
const char *imap_reply(const struct imap *);    /* the last tagged answer or BYE, for the trace */
bool imap_can(const struct imap *, const char *capability);
const struct imap_view *imap_view(const struct imap *);         /* NULL: nothing is selected */
/* A server that told something impossible (a uid that fell, a number out of range, a literal cut short): what; NULL: nothing so far. */
const char *imap_wrong(const struct imap *);

/* SELECT or EXAMINE alone: the view knows how many messages there are, not yet which. */
enum client_result imap_enter(struct imap *, const char *mailbox, bool read_only);
/* FETCH 1:* (UID FLAGS MODSEQ): the view is whole. */
enum client_result imap_fill(struct imap *);
/* Both. */
enum client_result imap_select(struct imap *, const char *mailbox, bool read_only);

/* Who was away: what changed since that modseq (FETCH 1:* (UID FLAGS) (CHANGEDSINCE n)); what is gone shows in imap_find "ALL".
 * REFUSED without CONDSTORE. */
struct imap_changes { const struct imap_message *messages; size_t count; };
enum client_result imap_changed(struct imap *, uint64_t since, struct imap_changes *);
/* SELECT with QRESYNC (RFC 7162): the same in one go, with the uids that are gone as ranges [from[i], to[i]]. What is told later as
 * VANISHED comes into the view as any expunge. REFUSED without QRESYNC. */
struct imap_vanished { const uint32_t *from, *to; size_t count; };
enum client_result imap_enter_again(struct imap *, const char *mailbox, bool read_only, uint32_t uid_validity, uint64_t since,
                                    struct imap_changes *, struct imap_vanished *);

enum client_result imap_unselect(struct imap *);        /* CLOSE would expunge: UNSELECT, or EXAMINE of what is not there */
enum client_result imap_noop(struct imap *);            /* unsolicited news come into the view, with uids and flags of what is new */
/* Until something is told, or the time; DONE in both cases. */
enum client_result imap_idle(struct imap *, int64_t ms);

/* The whole text, BODY.PEEK[] (or BODY[], which sets \Seen). REFUSED: gone. */
enum client_result imap_fetch_text(struct imap *, uint32_t uid, bool peek, struct slice *text);
/* uid 0: the server does not say (no UIDPLUS). */
enum client_result imap_append(struct imap *, const char *mailbox, uint32_t flags, struct slice text, uint32_t *uid_validity, uint32_t *uid);
enum imap_store_how { IMAP_ADD, IMAP_REMOVE, IMAP_REPLACE };
/* unchanged_since 0: always. *modified: those that were left alone because they had changed. */
enum client_result imap_store(struct imap *, const uint32_t *uids, size_t count, enum imap_store_how, uint32_t flags, uint64_t unchanged_since,
                              struct imap_uids *modified);
/* The pairs of COPYUID, in order; counts 0 when the server does not say. MOVE needs the capability (else REFUSED). */
enum client_result imap_copy(struct imap *, const uint32_t *uids, size_t count, const char *mailbox, uint32_t *uid_validity,
                             struct imap_uids *from, struct imap_uids *to);
enum client_result imap_move(struct imap *, const uint32_t *uids, size_t count, const char *mailbox, uint32_t *uid_validity,
                             struct imap_uids *from, struct imap_uids *to);
/* EXPUNGE (uids NULL) or UID EXPUNGE of those. */
enum client_result imap_expunge(struct imap *, const uint32_t *uids, size_t count);

enum client_result imap_create(struct imap *, const char *mailbox);
enum client_result imap_delete(struct imap *, const char *mailbox);
enum client_result imap_rename(struct imap *, const char *from, const char *to);
enum client_result imap_subscribe(struct imap *, const char *mailbox, bool is_subscribed);
struct imap_names { const char *const *names; size_t count; };
enum client_result imap_list(struct imap *, bool subscribed_only, struct imap_names *);
enum client_result imap_status(struct imap *, const char *mailbox, struct imap_status *);
/* UID SEARCH: criteria as on the wire ("UNSEEN", "SUBJECT \"x\""). */
enum client_result imap_find(struct imap *, const char *criteria, struct imap_uids *);

/* ---- POP3 ---------------------------------------------------------------------------------------------------------- */

struct pop3;
struct pop3_message { char uidl[80]; uint64_t size; };
struct pop3 *pop3_open(struct sim_host *, const struct client_server *, enum client_result *);
enum client_result pop3_list(struct pop3 *, const struct pop3_message **, size_t *count);       /* STAT, LIST and UIDL agree, or pop3_wrong */
enum client_result pop3_fetch(struct pop3 *, size_t number, struct slice *text);                /* RETR; numbers from 1 */
enum client_result pop3_delete(struct pop3 *, size_t number);           /* a mark: nothing happens before QUIT */
enum client_result pop3_quit(struct pop3 *);                            /* DONE: what was marked is gone. Frees. */
void pop3_drop(struct pop3 *);                                          /* without QUIT: nothing is deleted. Frees. */
const char *pop3_reply(const struct pop3 *);
const char *pop3_wrong(const struct pop3 *);

#endif
