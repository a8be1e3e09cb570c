/* THREAD (RFC 5256 3): a search, then each message found takes its place, then the forest is said, in pieces. */
#include "imap/thread.h"

#include <stdlib.h>

enum { READ_WORK = 50 };

struct thread_job {
    struct search_job search;   /* first: it is s->job */
    enum thread_kind kind;
    struct imap_cursor at;
    struct thread_node *node;   /* to be said next; NULL: all has been */
};

void imap_threads_forget(struct imap_session *s)
{
    if (s->threads != NULL)
        threads_free(s->threads);
    s->threads = NULL;
}

/* ---- the answer: "(1)(2 3 (4)(5 6))" ----------------------------------------------------------------------------------- */

static bool has_brackets(const struct imap_session *s, const struct thread_node *node)
{
    return node->parent == &s->threads->root || node->parent->first != node->parent->last;
}

/* Says a node and what ends with it; the node behind it. */
static struct thread_node *say_node(struct imap_session *s, struct thread_node *node)
{
    if (node->parent->seq != 0 && node == node->parent->first)
        imap_say(s, " ");
    if (has_brackets(s, node))
        imap_say(s, "(");
    if (node->seq != 0)
        imap_say(s, "%" PRIu32, imap_number_of(s, node->seq));
    if (node->first != NULL)
        return node->first;
    for (; node != &s->threads->root; node = node->parent) {
        if (has_brackets(s, node))
            imap_say(s, ")");
        if (node->next != NULL)
            return node->next;
    }
    return NULL;
}

static enum imap_next answer(struct imap_session *s)
{
    struct thread_job *job = s->job;
    for (unsigned work = 0; !imap_is_enough(s, work); work++) {
        if (job->node == NULL) {
            imap_say(s, "\r\n");
            return imap_search_done(s, "THREAD completed");
        }
        job->node = say_node(s, job->node);
    }
    return imap_again(s, answer);
}

/* ---- the work --------------------------------------------------------------------------------------------------------------- */

static enum imap_next too_much(struct imap_session *s) { return imap_no(s, "LIMIT", "these are too many messages to thread"); }

static enum imap_next read_on(struct imap_session *s)
{
    struct thread_job *job = s->job;
    uint32_t seq;
    for (unsigned work = 0; !imap_is_enough(s, work); work += READ_WORK) {
        if (!imap_next_seq(&s->seqs, &job->at, &seq)) {
            if (!threads_build(s->threads))
                return too_much(s);
            job->node = s->threads->root.first;
            imap_say(s, job->node != NULL ? "* THREAD " : "* THREAD");
            return answer(s);
        }
        enum rc rc = threads_add(s->threads, s, seq);
        if (rc == RC_TEMP)
            return too_much(s);
        job->search.has_failed |= rc != RC_OK;
    }
    return imap_again(s, read_on);
}

enum imap_next imap_cmd_thread(struct imap_session *s)
{
    struct thread_job *job = ARENA_NEW(&s->arena, struct thread_job);
    struct slice charset;
    struct imap_parser *p = &s->args;
    s->threads = ARENA_NEW(&s->work_arena, struct threads);
    if (job == NULL || s->threads == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (!imap_parse_space(p) || !imap_parse_thread_kind(p, &job->kind) || !imap_parse_space(p) || !imap_parse_astring(p, &charset)
        || !imap_parse_space(p))
        return imap_bad_syntax(s);
    threads_init(s->threads, job->kind, &s->work_arena, s->options.hash_seed);
    return imap_search(s, &job->search, charset, read_on);
}
