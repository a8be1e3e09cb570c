/* SEARCH (RFC 3501 6.4.4, RFC 7162 3.1.5): looks at so many messages at a time that nobody else has to wait for it. */
#include "imap/search.h"

struct search_job {
    struct search_key *root;
    bool has_modseq;
    uint64_t highest_modseq;
    uint32_t next_seq;
    bool has_failed;
    struct imap_cursor at;      /* of the answer */
};

/* What was found is in to_uids: UIDs or sequence numbers. */
static enum imap_next answer(struct imap_session *s)
{
    struct search_job *job = s->job;
    uint32_t number;
    for (unsigned work = 0; !imap_is_enough(s, work); work++) {
        if (imap_next_seq(&s->to_uids, &job->at, &number)) {
            imap_say(s, " %" PRIu32, number);
            continue;
        }
        if (job->has_modseq && s->to_uids.count > 0)
            imap_say(s, " (MODSEQ %" PRIu64 ")", job->highest_modseq);
        imap_say(s, "\r\n");
        return job->has_failed ? imap_no(s, "SERVERBUG", "some messages could not be read") : imap_ok(s, "SEARCH completed");
    }
    return imap_again(s, answer);
}

static bool look_at(struct imap_session *s, struct search_job *job, struct search_message *m)
{
    store_view_at(s->selected.view, m->seq, &m->message);
    if (!imap_search_matches(m, job->root))
        return true;
    if (m->message.modseq > job->highest_modseq)
        job->highest_modseq = m->message.modseq;
    uint32_t number = s->is_uid ? m->message.uid : m->seq;
    return uid_set_add(&s->to_uids, number, number);
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
    imap_say(s, "* SEARCH");
    return answer(s);
}

enum imap_next imap_cmd_search(struct imap_session *s)
{
    struct search_job *job = ARENA_NEW(&s->arena, struct search_job);
    if (job == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    switch (imap_parse_search(s, &job->root, &job->has_modseq)) {
    case SEARCH_GOOD:
        break;
    case SEARCH_BAD:
        return imap_bad_syntax(s);
    case SEARCH_BAD_CHARSET:
        return imap_no(s, "BADCHARSET (US-ASCII UTF-8)", "searching is possible in UTF-8");
    }
    if (job->has_modseq)
        imap_enable_condstore(s);
    job->next_seq = 1;
    s->job = job;
    return search_on(s);
}
