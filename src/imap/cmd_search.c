/* SEARCH (RFC 3501 6.4.4; MODSEQ: RFC 7162 3.1.5, 3.1.10; RETURN: RFC 4731, RFC 5182, RFC 9394): looks at so many messages at a
 * time that nobody else has to wait for it.
 *
 * What was found is in `found`, as sequence numbers: they stay what they are while the command runs. */
#include "imap/search.h"

static struct uid_set *found(struct imap_session *s) { return &s->seqs; }

uint32_t imap_number_of(struct imap_session *s, uint32_t seq)
{
    struct store_message message;
    if (!s->is_uid)
        return seq;
    store_view_at(s->selected.view, seq, &message);
    return message.uid;
}

enum imap_next imap_search_done(struct imap_session *s, const char *text)
{
    const struct search_job *job = s->job;
    return job->has_failed ? imap_no(s, "SERVERBUG", "some messages could not be read") : imap_ok(s, text);
}

/* ---- the answer of RFC 3501 -------------------------------------------------------------------------------------------- */

static enum imap_next answer(struct imap_session *s)
{
    struct search_job *job = s->job;
    uint32_t seq;
    for (unsigned work = 0; !imap_is_enough(s, work); work++) {
        if (imap_next_seq(found(s), &job->at, &seq)) {
            imap_say(s, " %" PRIu32, imap_number_of(s, seq));
            continue;
        }
        if (job->has_modseq && found(s)->count > 0)
            imap_say(s, " (MODSEQ %" PRIu64 ")", job->highest_modseq);
        imap_say(s, "\r\n");
        return imap_search_done(s, "SEARCH completed");
    }
    return imap_again(s, answer);
}

/* ---- ESEARCH ------------------------------------------------------------------------------------------------------------- */

static bool add_uids(struct imap_session *s, const struct uid_set *seqs, struct uid_set *uids)
{
    struct imap_cursor at = { 0, 0 };
    uint32_t seq;
    struct store_message message;
    while (imap_next_seq(seqs, &at, &seq)) {
        store_view_at(s->selected.view, seq, &message);
        if (!uid_set_add(uids, message.uid, message.uid))
            return false;
    }
    return true;
}

static uint32_t last_of(const struct uid_set *set) { return set->ranges[set->count - 1].last; }

/* RFC 5182 2.4: with MIN and MAX alone only these are kept. */
bool imap_search_save(struct imap_session *s, const struct search_job *job)
{
    unsigned options = job->returns.options;
    const struct uid_set *all = found(s);
    struct uid_set kept, *saved = &s->selected.saved;
    uid_set_clear(saved);
    if (all->count == 0)
        return true;
    if ((options & (RETURN_ALL | RETURN_COUNT | RETURN_PARTIAL)) != 0 || (options & (RETURN_MIN | RETURN_MAX)) == 0)
        return add_uids(s, all, saved);
    uid_set_init(&kept);
    bool ok = ((options & RETURN_MIN) == 0 || uid_set_add(&kept, all->ranges[0].first, all->ranges[0].first))
              && ((options & RETURN_MAX) == 0 || uid_set_add(&kept, last_of(all), last_of(all))) && add_uids(s, &kept, saved);
    uid_set_free(&kept);
    return ok;
}

/* As the client counts: in s->to_uids. */
static bool number(struct imap_session *s, const struct uid_set *seqs)
{
    uid_set_clear(&s->to_uids);
    if (s->is_uid)
        return add_uids(s, seqs, &s->to_uids);
    for (size_t i = 0; i < seqs->count; i++) {
        if (!uid_set_add(&s->to_uids, seqs->ranges[i].first, seqs->ranges[i].last))
            return false;
    }
    return true;
}

/* "PARTIAL (1:50 2,4)": RFC 9394 3.1. */
static bool say_partial(struct imap_session *s, const struct imap_partial *partial)
{
    if (!number(s, found(s)) || !imap_take_partial(&s->to_uids, partial))
        return false;
    imap_say(s, " PARTIAL (%.*s ", SLICE_ARG(partial->text));
    if (s->to_uids.count == 0)
        imap_say(s, "NIL");
    bool ok = uid_set_write(&s->to_uids, &s->text);
    imap_say(s, ")");
    return ok;
}

/* RFC 7162 3.1.10: of what is named by MIN and MAX when these alone are asked for, else of all. */
static uint64_t modseq_to_say(const struct search_job *job)
{
    switch (job->returns.options & ~(unsigned)RETURN_SAVE) {
    case RETURN_MIN:
        return job->first_modseq;
    case RETURN_MAX:
        return job->last_modseq;
    case RETURN_MIN | RETURN_MAX:
        return job->first_modseq > job->last_modseq ? job->first_modseq : job->last_modseq;
    default:
        return job->highest_modseq;
    }
}

void imap_say_esearch(struct imap_session *s)
{
    imap_say(s, "* ESEARCH (TAG \"%.*s\")%s", SLICE_ARG(s->tag), s->is_uid ? " UID" : "");
}

static bool say_results(struct imap_session *s, const struct search_job *job)
{
    unsigned options = job->returns.options;
    const struct uid_set *all = found(s);
    bool ok = true;
    imap_say_esearch(s);
    if ((options & RETURN_MIN) != 0 && all->count > 0)
        imap_say(s, " MIN %" PRIu32, imap_number_of(s, all->ranges[0].first));
    if ((options & RETURN_MAX) != 0 && all->count > 0)
        imap_say(s, " MAX %" PRIu32, imap_number_of(s, last_of(all)));
    if ((options & RETURN_COUNT) != 0)
        imap_say(s, " COUNT %" PRIu64, uid_set_size(all));
    if ((options & RETURN_ALL) != 0 && all->count > 0) {
        imap_say(s, " ALL ");
        ok = number(s, all) && uid_set_write(&s->to_uids, &s->text);
    }
    if ((options & RETURN_PARTIAL) != 0)
        ok = ok && say_partial(s, &job->returns.partial);
    if (job->has_modseq && all->count > 0)
        imap_say(s, " MODSEQ %" PRIu64, modseq_to_say(job));
    imap_say(s, "\r\n");
    return ok;
}

static enum imap_next answer_extended(struct imap_session *s)
{
    const struct search_job *job = s->job;
    bool is_saved = (job->returns.options & RETURN_SAVE) == 0 || imap_search_save(s, job);
    if (is_saved && job->returns.options != RETURN_SAVE && !say_results(s, job)) {
        s->is_closing = true;                   /* out of memory in the middle of a line */
        return IMAP_DONE;
    }
    if (!is_saved)
        return imap_no(s, "NOTSAVED", "there is no memory to keep the result");
    return imap_search_done(s, "SEARCH completed");
}

/* ---- the search ------------------------------------------------------------------------------------------------------------ */

static bool look_at(struct imap_session *s, struct search_job *job, struct search_message *m)
{
    store_view_at(s->selected.view, m->seq, &m->message);
    if (!imap_search_matches(m, job->root))
        return true;
    if (m->message.modseq > job->highest_modseq)
        job->highest_modseq = m->message.modseq;
    if (found(s)->count == 0)
        job->first_modseq = m->message.modseq;
    job->last_modseq = m->message.modseq;
    return uid_set_add(found(s), m->seq, m->seq);
}

static enum imap_next search_on(struct imap_session *s)
{
    struct search_job *job = s->job;
    struct search_message m = { .session = s };
    uint32_t count = store_view_count(s->selected.view);
    for (; job->next_seq <= count && !imap_is_enough(s, m.work); job->next_seq++) {
        m.seq = job->next_seq;
        if (!look_at(s, job, &m))
            return imap_no(s, "LIMIT", "too many results");
    }
    job->has_failed |= m.has_failed;
    if (job->next_seq <= count)
        return imap_again(s, search_on);
    return job->then(s);
}

enum imap_next imap_search(struct imap_session *s, struct search_job *job, struct slice charset, imap_run *then)
{
    switch (imap_parse_search(s, charset, &job->root, &job->has_modseq)) {
    case SEARCH_GOOD:
        break;
    case SEARCH_BAD:
        return imap_bad_syntax(s);
    case SEARCH_BAD_CHARSET:
        if ((job->returns.options & RETURN_SAVE) != 0)
            uid_set_clear(&s->selected.saved);  /* RFC 5182 2.1 */
        return imap_no(s, "BADCHARSET (US-ASCII UTF-8)", "searching is possible in UTF-8");
    }
    if (job->has_modseq)
        imap_enable_condstore(s);
    job->next_seq = 1;
    job->then = then;
    s->job = job;
    return search_on(s);
}

/* ---- the command ------------------------------------------------------------------------------------------------------------- */

static enum imap_next begin_answer(struct imap_session *s)
{
    const struct search_job *job = s->job;
    if (job->returns.is_extended)
        return answer_extended(s);
    imap_say(s, "* SEARCH");
    return answer(s);
}

enum imap_next imap_cmd_search(struct imap_session *s)
{
    struct search_job *job = ARENA_NEW(&s->arena, struct search_job);
    struct slice charset = SLICE("UTF-8");
    if (job == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (!imap_parse_space(&s->args) || !imap_parse_returns(&s->args, &job->returns))
        return imap_bad_syntax(s);
    if (s->is_rev2 && !job->returns.is_extended)            /* RFC 9051 6.4.4 */
        job->returns = (struct search_return){ .is_extended = true, .options = RETURN_ALL };
    if (slice_take_prefix_nocase(&s->args.in, SLICE("CHARSET "))
        && (!imap_parse_astring(&s->args, &charset) || !imap_parse_space(&s->args)))
        return imap_bad_syntax(s);
    return imap_search(s, job, charset, begin_answer);
}
