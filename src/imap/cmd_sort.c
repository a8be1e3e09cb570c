/* SORT (RFC 5256 3; display names: RFC 5957; RETURN: RFC 5267 3, RFC 9394 3.1): a search, then what each message found is sorted by,
 * then the order, each in pieces. */
#include "imap/sort.h"

enum { READ_WORK = 50, SORT_STEPS = 10000 };

struct sort_job {
    struct search_job search;   /* first: it is s->job */
    struct sort_order order;
    struct sorter sorter;
    struct imap_cursor at;
    size_t answered;
};

static uint32_t number_at(struct imap_session *s, const struct sort_job *job, size_t i)
{
    return imap_number_of(s, job->sorter.rows[i]->seq);
}

/* ---- the answers ----------------------------------------------------------------------------------------------------- */

static enum imap_next answer(struct imap_session *s)
{
    struct sort_job *job = s->job;
    for (unsigned work = 0; !imap_is_enough(s, work); work++) {
        if (job->answered < job->sorter.count) {
            imap_say(s, " %" PRIu32, number_at(s, job, job->answered++));
            continue;
        }
        if (job->search.has_modseq && job->sorter.count > 0)
            imap_say(s, " (MODSEQ %" PRIu64 ")", job->search.highest_modseq);
        imap_say(s, "\r\n");
        return imap_search_done(s, "SORT completed");
    }
    return imap_again(s, answer);
}

/* In the order of the sort: a range stands only for numbers that follow one another upwards. */
static void say_places(struct imap_session *s, const struct sort_job *job, size_t from, size_t to)
{
    for (size_t i = from; i < to;) {
        uint32_t first = number_at(s, job, i), last = first;
        for (i++; i < to && last != UINT32_MAX && number_at(s, job, i) == last + 1; i++)
            last++;
        imap_say(s, "%" PRIu32, first);
        if (last != first)
            imap_say(s, ":%" PRIu32, last);
        if (i < to)
            imap_say(s, ",");
    }
}

static void say_partial(struct imap_session *s, const struct sort_job *job)
{
    const struct imap_partial *partial = &job->search.returns.partial;
    size_t count = job->sorter.count, last = partial->last < count ? partial->last : count, from = 0, to = 0;
    if (partial->first <= count) {
        from = partial->is_from_end ? count - last : (size_t)partial->first - 1;
        to = partial->is_from_end ? count - partial->first + 1 : last;
    }
    imap_say(s, " PARTIAL (%.*s ", SLICE_ARG(partial->text));
    if (from == to)
        imap_say(s, "NIL");
    say_places(s, job, from, to);
    imap_say(s, ")");
}

/* RFC 5182 2.4, with the least and the greatest of this order. */
static bool save(struct imap_session *s, struct sort_job *job)
{
    unsigned options = job->search.returns.options;
    size_t count = job->sorter.count;
    bool is_ends = (options & (RETURN_ALL | RETURN_COUNT | RETURN_PARTIAL)) == 0 && (options & (RETURN_MIN | RETURN_MAX)) != 0;
    if (is_ends && count > 0) {
        uint32_t first = job->sorter.rows[0]->seq, last = job->sorter.rows[count - 1]->seq;
        uid_set_clear(&s->seqs);                /* all of them have been read */
        if (((options & RETURN_MIN) != 0 && !uid_set_add(&s->seqs, first, first))
            || ((options & RETURN_MAX) != 0 && !uid_set_add(&s->seqs, last, last)))
            return false;
        job->search.returns.options = RETURN_SAVE;
    }
    bool ok = imap_search_save(s, &job->search);
    job->search.returns.options = options;
    return ok;
}

static enum imap_next answer_extended(struct imap_session *s)
{
    struct sort_job *job = s->job;
    unsigned options = job->search.returns.options;
    size_t count = job->sorter.count;
    if ((options & RETURN_SAVE) != 0 && !save(s, job))
        return imap_no(s, "NOTSAVED", "there is no memory to keep the result");
    if (options == RETURN_SAVE)
        return imap_search_done(s, "SORT completed");
    imap_say_esearch(s);
    if ((options & RETURN_MIN) != 0 && count > 0)
        imap_say(s, " MIN %" PRIu32, number_at(s, job, 0));
    if ((options & RETURN_MAX) != 0 && count > 0)
        imap_say(s, " MAX %" PRIu32, number_at(s, job, count - 1));
    if ((options & RETURN_COUNT) != 0)
        imap_say(s, " COUNT %zu", count);
    if ((options & RETURN_ALL) != 0 && count > 0) {
        imap_say(s, " ALL ");
        say_places(s, job, 0, count);
    }
    if ((options & RETURN_PARTIAL) != 0)
        say_partial(s, job);
    if (job->search.has_modseq && count > 0)
        imap_say(s, " MODSEQ %" PRIu64, job->search.highest_modseq);
    imap_say(s, "\r\n");
    return imap_search_done(s, "SORT completed");
}

/* ---- the work ------------------------------------------------------------------------------------------------------------ */

static enum imap_next too_much(struct imap_session *s) { return imap_no(s, "LIMIT", "these are too many messages to sort"); }

static enum imap_next order(struct imap_session *s)
{
    struct sort_job *job = s->job;
    enum rc rc = sorter_run(&job->sorter, SORT_STEPS);
    if (rc == RC_MORE)
        return imap_again(s, order);
    if (rc != RC_OK)
        return too_much(s);
    if (job->search.returns.is_extended)
        return answer_extended(s);
    imap_say(s, "* SORT");
    return answer(s);
}

static enum imap_next read_on(struct imap_session *s)
{
    struct sort_job *job = s->job;
    uint32_t seq;
    for (unsigned work = 0; !imap_is_enough(s, work); work += READ_WORK) {
        if (!imap_next_seq(&s->seqs, &job->at, &seq))
            return order(s);
        enum rc rc = sorter_add(&job->sorter, s, seq);
        if (rc == RC_TEMP)
            return too_much(s);
        job->search.has_failed |= rc != RC_OK;
    }
    return imap_again(s, read_on);
}

enum imap_next imap_cmd_sort(struct imap_session *s)
{
    struct sort_job *job = ARENA_NEW(&s->arena, struct sort_job);
    struct slice charset;
    struct imap_parser *p = &s->args;
    if (job == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (!imap_parse_space(p) || !imap_parse_returns(p, &job->search.returns) || !imap_parse_sort_order(p, &job->order)
        || !imap_parse_space(p) || !imap_parse_astring(p, &charset) || !imap_parse_space(p))
        return imap_bad_syntax(s);
    sorter_init(&job->sorter, &job->order, &s->work_arena);
    return imap_search(s, &job->search, charset, read_on);
}
