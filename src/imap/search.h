/* The criteria of SEARCH (RFC 3501 6.4.4, RFC 7162 3.1.5) as a tree, and asking it about one message. */
#ifndef THURN_IMAP_SEARCH_H
#define THURN_IMAP_SEARCH_H

#include "imap/inner.h"

enum search_kind {
    SEARCH_ALL, SEARCH_AND, SEARCH_OR, SEARCH_NOT, SEARCH_SET, SEARCH_FLAG, SEARCH_KEYWORD, SEARCH_RECENT, SEARCH_NEW,
    SEARCH_LARGER, SEARCH_SMALLER, SEARCH_MODSEQ, SEARCH_BEFORE, SEARCH_ON, SEARCH_SINCE, SEARCH_SENT_BEFORE, SEARCH_SENT_ON,
    SEARCH_SENT_SINCE, SEARCH_HEADER, SEARCH_BODY, SEARCH_TEXT, SEARCH_OLDER, SEARCH_YOUNGER, SEARCH_EMAILID,
    SEARCH_NOTHING,
};

struct search_key {
    enum search_kind kind;
    bool is_negated;
    unsigned cost;              /* 0: what the view knows, 1: the header, 2: all of the message */
    uint32_t flags;
    uint64_t number;
    int64_t day;
    struct slice name, text;    /* text folded (imap/fold.h) */
    struct uid_set set;         /* of sequence numbers, in the arena */
    struct search_key *first, *next;    /* children; AND has them cheapest first */
};

/* RETURN options (RFC 4466 2.6.1, RFC 4731, RFC 5182, RFC 9394); none: the answer of RFC 3501. */
enum { RETURN_MIN = 1, RETURN_MAX = 2, RETURN_ALL = 4, RETURN_COUNT = 8, RETURN_SAVE = 16, RETURN_PARTIAL = 32 };
struct search_return {
    bool is_extended;
    unsigned options;
    struct imap_partial partial;
};

enum search_syntax { SEARCH_GOOD, SEARCH_BAD, SEARCH_BAD_CHARSET };
/* "RETURN (...) ", or nothing. */
bool imap_parse_returns(struct imap_parser *, struct search_return *);
/* "key key ..." to the end of the command: one AND. has_modseq: a MODSEQ key is in it. */
enum search_syntax imap_parse_search(struct imap_session *, struct slice charset, struct search_key **, bool *has_modseq);

struct search_message {
    struct imap_session *session;
    uint32_t seq;
    struct store_message message;
    unsigned work;              /* counts up */
    bool has_failed;            /* something could not be read: what was asked of it counts as not found */
};
bool imap_search_matches(struct search_message *, const struct search_key *);

/* ---- the search itself (cmd_search.c), which SORT and THREAD begin with ---- */

struct search_job {
    struct search_return returns;
    struct search_key *root;
    bool has_modseq;
    uint64_t highest_modseq, first_modseq, last_modseq;
    uint32_t next_seq;
    bool has_failed;            /* some messages could not be read */
    imap_run *then;
    struct imap_cursor at;      /* of the answer */
};
/* Parses the criteria and looks at all messages; goes on with `then` when those found are in s->seqs. The job is s->job. */
enum imap_next imap_search(struct imap_session *, struct search_job *, struct slice charset, imap_run *then);
/* The tagged answer. */
enum imap_next imap_search_done(struct imap_session *, const char *text);
/* "* ESEARCH (TAG "a")[ UID]": what follows is the caller's. */
void imap_say_esearch(struct imap_session *);
/* The message as the client counts. */
uint32_t imap_number_of(struct imap_session *, uint32_t seq);
/* Keeps the result as "$". False: out of memory. */
bool imap_search_save(struct imap_session *, const struct search_job *);

#endif
