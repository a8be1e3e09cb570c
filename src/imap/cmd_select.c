/* SELECT and EXAMINE (RFC 3501 6.3.1, 6.3.2; RFC 9051 6.3.2, 6.3.3; CONDSTORE and QRESYNC: RFC 7162 3.1.8, 3.2.5), CLOSE (6.4.2), UNSELECT (RFC 3691). */
#include "imap/inner.h"

void imap_deselect(struct imap_session *s)
{
    if (s->selected.view == NULL)
        return;
    store_view_close(s->selected.view);
    s->selected.view = NULL;
    s->selected.mailbox_id = 0;
    s->selected.told_keywords = 0;
    uid_set_free(&s->selected.saved);
    s->selected.told_count = s->selected.told_recent = 0;
    arena_rewind(&s->selected.keyword_arena);
}

static void say_highest_modseq(struct imap_session *s, const struct store_mailbox_info *info)
{
    imap_say(s, "* OK [HIGHESTMODSEQ %" PRIu64 "] highest\r\n", info->highest_modseq);
}

/* RFC 7162 3.1: the first enabling command tells how far the selected mailbox is. */
void imap_enable_condstore(struct imap_session *s)
{
    struct store_mailbox_info info;
    if (s->is_condstore)
        return;
    s->is_condstore = true;
    if (s->selected.view != NULL && store_mailbox_by_id(s->options.store, s->selected.mailbox_id, &info) == RC_OK)
        say_highest_modseq(s, &info);
}

struct parameters {
    bool has_condstore;
    struct imap_qresync qresync;
};

/* "(CONDSTORE QRESYNC (...))": parameters (RFC 4466 2.1). */
static bool parse_parameters(struct imap_session *s, struct parameters *parameters)
{
    struct imap_parser *p = &s->args;
    if (!imap_parse_takes(p, ' '))
        return imap_parse_end(p);
    if (!imap_parse_byte(p, '('))
        return false;
    do {
        struct slice name;
        if (!imap_parse_atom(p, &name))
            return false;
        if (slice_equal_nocase(name, SLICE("QRESYNC"))) {
            if (!imap_parse_qresync(s, &parameters->qresync))
                return false;
        } else if (!slice_equal_nocase(name, SLICE("CONDSTORE"))) {
            return imap_parse_failed(p, "there is no such parameter");
        }
        parameters->has_condstore = true;
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')') && imap_parse_end(p);
}

static void say_mailbox(struct imap_session *s, const struct store_mailbox_info *info)
{
    struct imap_selected *selected = &s->selected;
    uint32_t uidvalidity = info->uidvalidity, uidnext = info->uidnext, first_unseen = info->first_unseen_seq;
    uint64_t highest_modseq = info->highest_modseq;
    selected->told_count = store_view_count(selected->view);
    selected->told_recent = store_view_recent_count(selected->view);
    imap_say_flags(s);                          /* info's names are gone after this */
    imap_say(s, "* %" PRIu32 " EXISTS\r\n", selected->told_count);
    if (!s->is_rev2)
        imap_say(s, "* %" PRIu32 " RECENT\r\n", selected->told_recent);
    if (!s->is_rev2 && first_unseen != 0 && first_unseen <= selected->told_count)
        imap_say(s, "* OK [UNSEEN %" PRIu32 "] first unseen\r\n", first_unseen);
    imap_say(s, "* OK [UIDVALIDITY %" PRIu32 "] UIDs valid\r\n", uidvalidity);
    imap_say(s, "* OK [UIDNEXT %" PRIu32 "] next UID\r\n", uidnext);
    imap_say(s, "* OK [HIGHESTMODSEQ %" PRIu64 "] highest\r\n", highest_modseq);
    imap_say(s, "* OK [MAILBOXID (" IMAP_MAILBOX_ID ")] id\r\n", selected->mailbox_id);
    struct store_mailbox_info again;
    if (s->is_rev2 && store_mailbox_by_id(s->options.store, selected->mailbox_id, &again) == RC_OK)
        imap_say_listed(s, &again);
}

/* ---- resynchronisation ----------------------------------------------------------------------------------------------- */

struct resync {
    uint64_t modseq;
    uint32_t seq;               /* of s->seqs, the next one */
    struct imap_cursor at;
};

static enum imap_next selected(struct imap_session *s)
{
    bool is_read_only = s->selected.is_read_only;
    return imap_finish(s, "OK", is_read_only ? SLICE("READ-ONLY") : SLICE("READ-WRITE"),
                       is_read_only ? "EXAMINE completed" : "SELECT completed");
}

static enum imap_next say_changes(struct imap_session *s)
{
    struct resync *resync = s->job;
    for (unsigned work = 0; !imap_is_enough(s, work); work++) {
        struct store_message message;
        if (!imap_next_seq(&s->seqs, &resync->at, &resync->seq))
            return selected(s);
        store_view_at(s->selected.view, resync->seq, &message);
        if (message.modseq <= resync->modseq)
            continue;
        imap_learn_keywords(s, message.keywords);
        imap_say(s, "* %" PRIu32 " FETCH (UID %" PRIu32 " ", resync->seq, message.uid);
        imap_write_flags(s, &message);
        imap_say(s, " MODSEQ (%" PRIu64 "))\r\n", message.modseq);
    }
    return imap_again(s, say_changes);
}

/* A client of another UIDVALIDITY knows nothing of this mailbox: it is told no more than by any SELECT. */
static enum imap_next resynchronise(struct imap_session *s, const struct imap_qresync *qresync)
{
    const char *error;
    struct resync *resync = ARENA_NEW(&s->arena, struct resync);
    struct slice known = qresync->known.len > 0 ? qresync->known : SLICE("1:*");
    if (resync == NULL || !imap_resolve_set(s, known, true, &s->seqs, &error) || !imap_say_vanished_since(s, qresync->modseq, qresync->known)) {
        imap_deselect(s);
        return imap_no(s, "UNAVAILABLE", "out of memory");
    }
    resync->modseq = qresync->modseq;
    s->job = resync;
    return say_changes(s);
}

/* ---- the command ------------------------------------------------------------------------------------------------------- */

static enum imap_next select_mailbox(struct imap_session *s, bool is_read_only)
{
    struct store_mailbox_info info;
    struct fault f = { .rc = RC_OK };
    struct slice name;
    struct parameters parameters = { .has_condstore = false };
    if (!imap_parse_space(&s->args) || !imap_parse_mailbox(&s->args, &name) || !parse_parameters(s, &parameters))
        return imap_bad_syntax(s);
    if (s->selected.view != NULL) {
        imap_deselect(s);                       /* also when the new one cannot be selected */
        imap_say(s, "* OK [CLOSED] the mailbox selected before is closed\r\n");
    }
    if (store_mailbox_find(s->options.store, s->options.account, name, &info) != RC_OK)
        return imap_no(s, "NONEXISTENT", "there is no such mailbox");
    if (info.is_noselect)
        return imap_no(s, "CANNOT", "this name only holds other mailboxes");
    enum rc rc = store_view_open(s->options.store, info.id, is_read_only, &s->selected.view, &f);
    if (rc != RC_OK) {
        s->selected.view = NULL;
        return imap_no_fault(s, rc, &f);
    }
    s->selected.mailbox_id = info.id;
    s->selected.is_read_only = is_read_only;
    uint32_t uidvalidity = info.uidvalidity;
    if (store_mailbox_by_id(s->options.store, s->selected.mailbox_id, &info) == RC_OK)
        say_mailbox(s, &info);
    s->is_condstore |= parameters.has_condstore;
    if (parameters.qresync.is_asked && parameters.qresync.uidvalidity == uidvalidity)
        return resynchronise(s, &parameters.qresync);
    return selected(s);
}

enum imap_next imap_cmd_select(struct imap_session *s) { return select_mailbox(s, false); }
enum imap_next imap_cmd_examine(struct imap_session *s) { return select_mailbox(s, true); }

enum imap_next imap_cmd_unselect(struct imap_session *s)
{
    if (!imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    imap_deselect(s);
    return imap_ok(s, "UNSELECT completed");
}

/* ---- CLOSE --------------------------------------------------------------------------------------------------------- */

static enum imap_next closed(struct imap_session *s)
{
    if (s->settled != RC_OK)
        return imap_unsettled(s);
    imap_deselect(s);
    return imap_ok(s, "CLOSE completed");
}

enum imap_next imap_cmd_close(struct imap_session *s)
{
    struct fault f = { .rc = RC_OK };
    if (!imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    s->settled = RC_OK;
    uint32_t count = store_view_count(s->selected.view);
    if (s->selected.is_read_only || count == 0)
        return closed(s);
    struct store_message last;
    uint64_t wait = 0;
    store_view_at(s->selected.view, count, &last);
    if (!uid_set_add(&s->uids, 1, last.uid))    /* what came since, this client has not been told of */
        return imap_no(s, "UNAVAILABLE", "out of memory");
    enum rc rc = store_expunge(s->options.store, s->selected.mailbox_id, &s->uids, false, &s->from_uids, &wait, &f);
    if (rc != RC_OK && rc != RC_NONE)
        return imap_no_fault(s, rc, &f);
    return imap_wait(s, wait, closed);
}
