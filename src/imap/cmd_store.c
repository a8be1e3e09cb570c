/* STORE (RFC 3501 6.4.6) with UNCHANGEDSINCE (RFC 7162 3.1.3). */
#include "imap/inner.h"

struct store_job {
    enum store_flag_op op;
    bool is_silent;
    bool is_conditional;
    uint64_t unchanged_since;
    uint32_t flags;
    uint64_t keywords;
    struct imap_cursor at;
};

static const struct {
    struct slice name;
    enum store_flag_op op;
    bool is_silent;
} items[] = {
    { SLICE_INIT("FLAGS"), FLAGS_REPLACE, false },  { SLICE_INIT("FLAGS.SILENT"), FLAGS_REPLACE, true },
    { SLICE_INIT("+FLAGS"), FLAGS_ADD, false },     { SLICE_INIT("+FLAGS.SILENT"), FLAGS_ADD, true },
    { SLICE_INIT("-FLAGS"), FLAGS_REMOVE, false },  { SLICE_INIT("-FLAGS.SILENT"), FLAGS_REMOVE, true },
};

static bool parse_modifiers(struct imap_parser *p, struct store_job *job)
{
    job->unchanged_since = UINT64_MAX;
    if (!imap_parse_takes(p, '('))
        return true;
    struct slice name;
    if (!imap_parse_atom(p, &name) || !imap_parse_space(p))
        return false;
    if (!slice_equal_nocase(name, SLICE("UNCHANGEDSINCE")))
        return imap_parse_failed(p, "there is no such STORE modifier");
    job->is_conditional = true;
    return imap_parse_number(p, INT64_MAX, &job->unchanged_since) && imap_parse_byte(p, ')') && imap_parse_space(p);
}

static bool parse_item(struct imap_parser *p, struct store_job *job)
{
    struct slice name;
    if (!imap_parse_atom(p, &name))
        return false;
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        if (!slice_equal_nocase(name, items[i].name))
            continue;
        job->op = items[i].op;
        job->is_silent = items[i].is_silent;
        return true;
    }
    return imap_parse_failed(p, "FLAGS, +FLAGS or -FLAGS was expected");
}

static bool is_modified(const struct imap_session *s, uint32_t uid)
{
    return s->modified.count > 0 && uid_set_contains(&s->modified, uid);
}

static void say_message(struct imap_session *s, const struct store_job *job, uint32_t seq)
{
    struct store_message message;
    const char *separator = "";
    store_view_at(s->selected.view, seq, &message);
    if (is_modified(s, message.uid))
        return;
    imap_learn_keywords(s, message.keywords);
    imap_say(s, "* %" PRIu32 " FETCH (", seq);
    if (s->is_uid) {
        imap_say(s, "UID %" PRIu32, message.uid);
        separator = " ";
    }
    if (!job->is_silent) {
        (void)buf_append_str(&s->text, separator);
        imap_write_flags(s, &message);
        separator = " ";
    }
    if (s->is_condstore)
        imap_say(s, "%sMODSEQ (%" PRIu64 ")", separator, message.modseq);
    imap_say(s, ")\r\n");
}

static enum imap_next finish(struct imap_session *s)
{
    if (s->modified.count == 0)
        return imap_ok(s, "STORE completed");
    buf_clear(&s->scratch);
    (void)buf_append_str(&s->scratch, "MODIFIED ");
    (void)imap_write_uids_as(s, &s->modified, &s->scratch);
    return imap_finish(s, "OK", buf_slice(&s->scratch), "STORE completed but for those");
}

/* RFC 7162 3.1.3: whoever knows modseqs is told the new ones also when it asked for silence. */
static enum imap_next say_stored(struct imap_session *s)
{
    struct store_job *job = s->job;
    uint32_t seq;
    if (s->settled != RC_OK)
        return imap_unsettled(s);
    if (job->is_silent && !s->is_condstore)
        return finish(s);
    for (unsigned work = 0; !imap_is_enough(s, work); work++) {
        if (!imap_next_seq(&s->seqs, &job->at, &seq))
            return finish(s);
        say_message(s, job, seq);
    }
    return imap_again(s, say_stored);
}

static enum imap_next store_now(struct imap_session *s)
{
    const struct store_job *job = s->job;
    struct fault f = { .rc = RC_OK };
    uint64_t modseq = 0, wait = 0;
    if (s->settled != RC_OK)
        return imap_unsettled(s);
    uid_set_clear(&s->modified);
    enum rc rc = store_flags(s->options.store, s->selected.mailbox_id, &s->uids, job->op, job->flags, job->keywords,
                             job->unchanged_since, &s->modified, &modseq, &wait, &f);
    if (rc == RC_MORE)
        return imap_wait(s, wait, store_now);   /* the condition can be judged when earlier changes have settled */
    if (rc != RC_OK)
        return imap_no_fault(s, rc, &f);
    imap_own_change(s, modseq, job->is_silent);
    return imap_wait(s, wait, say_stored);
}

static bool parse_arguments(struct imap_session *s, struct store_job *job, struct imap_flags *flags)
{
    struct imap_parser *p = &s->args;
    return imap_parse_space(p) && imap_take_set(s) && imap_parse_space(p) && parse_modifiers(p, job) && parse_item(p, job)
           && imap_parse_space(p) && imap_parse_flag_list(p, true, flags) && imap_parse_end(p);
}

enum imap_next imap_cmd_store(struct imap_session *s)
{
    struct store_job *job = ARENA_NEW(&s->arena, struct store_job);
    struct imap_flags flags;
    struct fault f = { .rc = RC_OK };
    if (job == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (!parse_arguments(s, job, &flags))
        return imap_bad_syntax(s);
    if (job->is_conditional)
        imap_enable_condstore(s);
    if (s->selected.is_read_only)
        return imap_no(s, "CANNOT", "the mailbox is selected read-only");
    if (s->uids.count == 0)
        return imap_ok(s, "STORE completed");
    enum rc rc = imap_keyword_bits(s, s->selected.mailbox_id, &flags, job->op != FLAGS_REMOVE, &job->keywords, &f);
    if (rc != RC_OK)
        return rc == RC_PERM ? imap_no(s, "LIMIT", f.text) : imap_no_fault(s, rc, &f);
    job->flags = flags.system;
    s->job = job;
    s->settled = RC_OK;
    return store_now(s);
}
