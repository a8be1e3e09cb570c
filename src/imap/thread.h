/* Threading messages (RFC 5256 3, and REFS): who answers whom, as a forest.
 *
 * A node is a message or, when only others name it, a gap. Nodes live in an arena; children are lists in the order in which they
 * are to be said once thread_build has run. */
#ifndef THURN_IMAP_THREAD_H
#define THURN_IMAP_THREAD_H

#include "base/map.h"
#include "imap/search.h"

enum thread_kind { THREAD_ORDEREDSUBJECT, THREAD_REFERENCES, THREAD_REFS };
enum { THREAD_REFERENCES_MAX = 1000 };          /* message ids that one message's References may name: the last ones count */

struct thread_node {
    struct thread_node *parent, *first, *last, *next;
    uint32_t seq;               /* 0: a gap */
    int64_t sent_s, arrived_s;
    struct slice subject;       /* base subject, folded */
    bool is_reply;              /* of the subject: replies and forwards say so */
};

struct threads {
    enum thread_kind kind;
    struct arena *arena;
    struct map by_id;           /* message id -> struct thread_node */
    struct thread_node **messages;
    size_t count, cap;
    struct thread_node root;    /* its children are the threads */
};
bool imap_parse_thread_kind(struct imap_parser *, enum thread_kind *);
void threads_init(struct threads *, enum thread_kind, struct arena *, const uint64_t seed[2]);
void threads_free(struct threads *);
/* Reads a message and links it. RC_TEMP: out of memory; RC_PERM: it could not be read, and stands alone. */
enum rc threads_add(struct threads *, struct imap_session *, uint32_t seq);
/* When all are there. False: out of memory. */
bool threads_build(struct threads *);
/* Puts the child behind the others of its new parent. */
void thread_append(struct thread_node *parent, struct thread_node *child);

#endif
