/* The inside of an IMAP session, shared by session.c (the machine), the commands (cmd_*.c, one file each) and what they
 * have in common.
 *
 * A command is a function that is called once and, while it returns anything but IMAP_DONE, its `resume` again: after its
 * wait position has settled (IMAP_WAIT, the outcome in `settled`), or soon (IMAP_AGAIN: output is enough for now, or others
 * should have their turn). All responses are written to `text`; the machine moves them to the bounded output. A command
 * ends with imap_finish or one of its short forms, which report what else has changed and write the tagged line. */
#ifndef THURN_IMAP_INNER_H
#define THURN_IMAP_INNER_H

#include "imap/input.h"
#include "imap/message.h"
#include "imap/parser.h"
#include "imap/session.h"
#include "imap/write.h"

#include <inttypes.h>

enum {
    IMAP_TEXT_SOON = 64 * 1024,                 /* a command that has written so much gives way */
    IMAP_TEXT_MAX = 64 * 1024 * 1024,           /* expunges and flag changes of a huge mailbox may wait as text */
    IMAP_ARENA_MAX = 16 * 1024 * 1024,          /* arguments of one command: bounded by IMAP_COMMAND_MAX already */
    IMAP_WORK_MAX = 512 * 1024 * 1024,          /* what SORT and THREAD remember: about a million subjects and names */
    IMAP_WORK_UNITS = 20000,                    /* cheap steps before others get their turn */
};

enum imap_next { IMAP_DONE, IMAP_WAIT, IMAP_AGAIN };
enum imap_state { IMAP_AUTHENTICATED = 1, IMAP_SELECTED = 2, IMAP_ANY = 3 };

struct imap_session;
typedef enum imap_next imap_run(struct imap_session *);

struct imap_command {
    struct slice name;
    unsigned states;            /* in which it is allowed */
    bool has_uid_form;          /* "UID name" exists (RFC 3501 6.4.8) */
    bool is_uid_only;           /* and is the only one that takes arguments */
    bool keeps_numbers;         /* without UID: no EXPUNGE may be reported at its end (RFC 3501 7.4.1) */
    imap_run *run;
};
const struct imap_command *imap_command_find(struct slice name);

struct imap_selected {
    struct store_view *view;    /* NULL: no mailbox is selected */
    uint64_t mailbox_id;
    bool is_read_only;
    uint32_t told_count, told_recent;           /* what EXISTS and RECENT last said */
    struct slice keywords[KEYWORDS_MAX];        /* names by bit, in keyword_arena */
    uint64_t told_keywords;                     /* bits the client knows the names of */
    struct uid_set saved;                       /* "$": what the last SEARCH RETURN (SAVE) found, as UIDs (RFC 5182) */
    uint64_t told_modseq;                       /* all changes of flags up to here have been told */
    struct arena keyword_arena;
};

struct imap_session {
    struct imap_session_options options;
    struct slice account_name, host_name;       /* in `lifetime` */
    struct arena lifetime;
    struct mail_date now;
    struct imap_input input;
    struct buf text, out;
    unsigned errors;
    bool is_closing, is_waiting, is_idling, has_greeted;
    bool is_condstore;                          /* the client has shown that it knows MODSEQ (RFC 7162 3.1) */
    bool is_utf8;                               /* it has enabled UTF8=ACCEPT or IMAP4rev2: mailbox names are UTF-8 */
    bool is_rev2;                               /* it has enabled IMAP4rev2 (RFC 9051): no "recent", ESEARCH alone */
    bool is_qresync;                            /* it has enabled QRESYNC: VANISHED instead of EXPUNGE (RFC 7162 3.2) */

    /* The command under way; arena, sets and scratch are emptied behind it. */
    const struct imap_command *command;
    bool is_uid;
    struct slice tag;
    char idle_tag[IMAP_TAG_MAX];                /* while is_idling */
    struct imap_parser args;
    struct arena arena;
    imap_run *resume;                           /* NULL: none is under way */
    void *job;                                  /* its own state, in the arena */
    const char *done_text;                      /* what its OK says once its change has settled */
    struct uid_set seqs;                        /* what its set means: sequence numbers in this view */
    struct uid_set uids;                        /* the same as UIDs, in ranges that hold no message outside seqs */
    struct uid_set from_uids, to_uids, modified;
    struct buf scratch;
    struct arena work_arena;                    /* for commands that remember something of every message */
    struct threads *threads;                    /* of THREAD (cmd_thread.c) */
    struct arena scratch_arena;                 /* for one message at a time */
    struct imap_message message;
    uint64_t wait;
    enum rc settled;

    struct imap_append *append;                 /* its message is being read (cmd_append.c) */
    struct imap_selected selected;
};

/* ---- responses (respond.c) ---------------------------------------------------------------------------------------- */

/* "tag STATUS [code] text" after the updates that are due; code may be empty. */
enum imap_next imap_finish(struct imap_session *, const char *status, struct slice code, const char *text);
enum imap_next imap_ok(struct imap_session *, const char *text);
enum imap_next imap_no(struct imap_session *, const char *code, const char *text);      /* code may be NULL */
enum imap_next imap_no_fault(struct imap_session *, enum rc, const struct fault *);     /* the code follows from the fault */
enum imap_next imap_bad(struct imap_session *, const char *text);
enum imap_next imap_bad_syntax(struct imap_session *);                                  /* says what the parser said */
enum imap_next imap_unsettled(struct imap_session *);                                   /* the write failed */
/* Waits for a store position; `then` finds the outcome in `settled`. */
enum imap_next imap_wait(struct imap_session *, uint64_t wait, imap_run *then);
enum imap_next imap_again(struct imap_session *, imap_run *then);
void imap_say(struct imap_session *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void imap_say_name(struct imap_session *, struct slice mailbox);         /* as this client has it written */
void imap_bye(struct imap_session *, const char *text);
/* Lets others have their turn when there is much output or much work was done. */
bool imap_is_enough(const struct imap_session *, unsigned work);

/* ---- what changed (updates.c) -------------------------------------------------------------------------------------- */

void imap_updates(struct imap_session *, bool expunges_allowed);
/* A change of flags that this session made (0: none). What it came to is told with the command's answer, or (is_silent)
 * worked out by the client, which it cannot when somebody else changed something since it was last told: then it is told
 * like any other (RFC 3501 6.4.6). */
void imap_own_change(struct imap_session *, uint64_t modseq, bool is_silent);
/* "FLAGS (\Seen)" and, when known, " MODSEQ (7)"; names keywords first if the client does not know them yet: so between
 * responses call imap_learn_keywords, within one these. */
void imap_learn_keywords(struct imap_session *, uint64_t bits);
void imap_write_flags(struct imap_session *, const struct store_message *);
void imap_say_flags(struct imap_session *);                         /* FLAGS and PERMANENTFLAGS */

/* ---- the selected mailbox (cmd_select.c) ------------------------------------------------------------------------------ */

void imap_deselect(struct imap_session *);
/* The client has used something of CONDSTORE: from here on it gets modseqs (RFC 7162 3.1). */
void imap_enable_condstore(struct imap_session *);

/* ---- quick resynchronisation (qresync.c) --------------------------------------------------------------------------------- */

struct imap_qresync {           /* what the client says that it knows */
    bool is_asked;
    uint32_t uidvalidity;
    uint64_t modseq;
    struct slice known;         /* set of UIDs; empty: all */
};
void imap_enable_qresync(struct imap_session *);
bool imap_parse_qresync(struct imap_session *, struct imap_qresync *);
/* "* VANISHED (EARLIER) ...": of `known`, all that went since modseq and is not in the view; nothing when there is none.
 * False: out of memory. */
bool imap_say_vanished_since(struct imap_session *, uint64_t modseq, struct slice known);
void imap_say_vanished(struct imap_session *, const struct uid_set *uids);
/* imap_ok, with HIGHESTMODSEQ for a client that resynchronises: after something was expunged. */
enum imap_next imap_ok_highest(struct imap_session *, const char *text);

/* ---- sets (sets.c) ------------------------------------------------------------------------------------------------------ */

/* Parses a set as the command means it (UIDs or sequence numbers) into s->seqs and s->uids. False: the parser says why. */
bool imap_take_set(struct imap_session *);
bool imap_resolve_set(struct imap_session *, struct slice text, bool is_uid, struct uid_set *seqs, const char **error);
/* "1:50", "-1:-50": from the front or from the end of a result (RFC 9394 3.1); first <= last. */
struct imap_partial {
    struct slice text;          /* as the client wrote it */
    bool is_from_end;
    uint32_t first, last;
};
bool imap_parse_partial(struct imap_parser *, struct imap_partial *);
/* Keeps of the set what stands at those places. False: out of memory. */
bool imap_take_partial(struct uid_set *, const struct imap_partial *);
/* Walks s->seqs. *at is range index and seq; starts zeroed. */
struct imap_cursor {
    size_t range;
    uint32_t seq;
};
bool imap_next_seq(const struct uid_set *, struct imap_cursor *, uint32_t *seq);
/* A set of UIDs as the client counts: UIDs, or (is_uid false) sequence numbers. */
bool imap_write_uids_as(struct imap_session *, const struct uid_set *uids, struct buf *);

/* ---- figures of a mailbox (cmd_status.c) ------------------------------------------------------------------------------------ */

/* "(MESSAGES UIDNEXT)" as bits; with its parentheses. */
bool imap_parse_status_items(struct imap_parser *, unsigned *items);
void imap_say_status(struct imap_session *, struct slice name, const struct store_mailbox_info *, unsigned items);

/* ---- object ids (RFC 8474): for ever, and never of another object ------------------------------------------------------------ */

#define IMAP_MAILBOX_ID "F%" PRIx64     /* of store_mailbox_info.id */
#define IMAP_EMAIL_ID "M%" PRIx64       /* of store_message.body_id: copies share it */

/* ---- other pieces that several commands use ------------------------------------------------------------------------------ */

void imap_write_capabilities(struct buf *);                                         /* capability.c: after login */
/* A mailbox that can take messages; else the command is finished with NO (TRYCREATE) and this is false. */
bool imap_find_destination(struct imap_session *, struct slice name, struct store_mailbox_info *, enum imap_next *);
/* False with the command finished by NO [OVERQUOTA] when so much more would not fit. */
bool imap_has_quota(struct imap_session *, uint64_t bytes, enum imap_next *);
/* Keyword names to the mailbox's bits, made when `create`. RC_PERM: no more can be made. */
enum rc imap_keyword_bits(struct imap_session *, uint64_t mailbox_id, const struct imap_flags *, bool create, uint64_t *bits,
                          struct fault *);
/* "* LIST (...)" of the mailbox that is being selected (RFC 9051 6.3.2). */
void imap_say_listed(struct imap_session *, const struct store_mailbox_info *);
/* "\Drafts" and so on: SPECIAL_NONE for what is none of those that a client may give (RFC 6154 2). */
enum store_special imap_special_of(struct slice name);
bool imap_is_expunge_allowed(const struct imap_session *);

/* APPEND reads its message while it comes: the literal that ends the text so far is announced. */
enum imap_append_literal { IMAP_APPEND_OTHER, IMAP_APPEND_TAKEN, IMAP_APPEND_REFUSED };
enum imap_append_literal imap_append_begin(struct imap_session *);
void imap_append_bytes(struct imap_session *, struct slice);
void imap_append_abandon(struct imap_session *);
void imap_threads_forget(struct imap_session *);

imap_run imap_cmd_append, imap_cmd_capability, imap_cmd_check, imap_cmd_close, imap_cmd_copy, imap_cmd_create, imap_cmd_delete,
    imap_cmd_enable, imap_cmd_examine, imap_cmd_expunge, imap_cmd_fetch, imap_cmd_getquota, imap_cmd_getquotaroot, imap_cmd_id, imap_cmd_idle, imap_cmd_list,
    imap_cmd_logged_in, imap_cmd_logout, imap_cmd_lsub, imap_cmd_move, imap_cmd_namespace, imap_cmd_noop, imap_cmd_rename,
    imap_cmd_search, imap_cmd_select, imap_cmd_setquota, imap_cmd_sort, imap_cmd_status, imap_cmd_store, imap_cmd_subscribe, imap_cmd_thread, imap_cmd_unselect,
    imap_cmd_unsubscribe;

#endif
