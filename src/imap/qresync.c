/* Quick resynchronisation (RFC 7162 3.2): a client that comes back names the state that it knows, and is told what has gone and what
 * has changed since. The store remembers every expunge of a mailbox, so what the client may offer besides to help a forgetful
 * server (known UIDs and their sequence numbers) narrows the answer or is not needed. */
#include "imap/inner.h"

#include <stdio.h>

/* "(uidvalidity modseq [known-uids [(seq-set uid-set)]])", behind the space after QRESYNC. */
bool imap_parse_qresync(struct imap_session *s, struct imap_qresync *q)
{
    struct imap_parser *p = &s->args;
    uint64_t uidvalidity;
    struct slice seqs, uids;
    if (!s->is_qresync)
        return imap_parse_failed(p, "QRESYNC was not enabled: ENABLE QRESYNC goes before");
    q->is_asked = true;
    if (!imap_parse_space(p) || !imap_parse_byte(p, '(') || !imap_parse_number(p, UINT32_MAX, &uidvalidity) || !imap_parse_space(p)
        || !imap_parse_number(p, INT64_MAX, &q->modseq))
        return false;
    q->uidvalidity = (uint32_t)uidvalidity;
    if (imap_parse_takes(p, ' ') && !imap_parse_peeks(p, '(')) {
        if (imap_parse_peeks(p, '$') || !imap_parse_set(p, &q->known))
            return imap_parse_failed(p, "a set of UIDs was expected");
        if (!imap_parse_takes(p, ' '))
            return imap_parse_byte(p, ')');
    }
    if (!imap_parse_takes(p, '('))
        return imap_parse_byte(p, ')');
    return imap_parse_set(p, &seqs) && imap_parse_space(p) && imap_parse_set(p, &uids) && imap_parse_byte(p, ')') && imap_parse_byte(p, ')');
}

/* The UIDs of one range that are gone, into *gone: not those whose end this client is still to be told of. */
static bool add_gone(const struct store_view *view, struct uid_range range, struct uid_set *gone)
{
    uint32_t first = range.first;
    for (uint32_t seq = store_view_seq(view, range.first); seq <= store_view_count(view); seq++) {
        struct store_message message;
        store_view_at(view, seq, &message);
        if (message.uid > range.last)
            break;
        if (message.uid > first && !uid_set_add(gone, first, message.uid - 1))
            return false;
        first = message.uid + 1;
    }
    return first > range.last || first == 0 || uid_set_add(gone, first, range.last);
}

/* What both sets have, less what is still in the view. */
static bool add_common(const struct store_view *view, const struct uid_set *vanished, const struct uid_set *known, struct uid_set *gone)
{
    size_t i = 0, k = 0;
    while (i < vanished->count && k < known->count) {
        struct uid_range a = vanished->ranges[i], b = known->ranges[k];
        struct uid_range both = { a.first > b.first ? a.first : b.first, a.last < b.last ? a.last : b.last };
        if (both.first <= both.last && !add_gone(view, both, gone))
            return false;
        if (a.last < b.last)
            i++;
        else
            k++;
    }
    return true;
}

/* What the client means: a set, the result it has saved ("$"), or everything. */
static bool take_known(const struct imap_session *s, struct slice known, struct uid_set *wanted)
{
    const struct uid_set *saved = &s->selected.saved;
    if (known.len == 0)
        return uid_set_add(wanted, 1, UINT32_MAX);
    if (!slice_equal(known, SLICE("$")))
        return uid_set_parse(known, UINT32_MAX, wanted) == RC_OK;
    for (size_t i = 0; i < saved->count; i++) {
        if (!uid_set_add(wanted, saved->ranges[i].first, saved->ranges[i].last))
            return false;
    }
    return true;
}

bool imap_say_vanished_since(struct imap_session *s, uint64_t modseq, struct slice known)
{
    struct uid_set vanished, wanted, gone;
    uid_set_init(&vanished);
    uid_set_init(&wanted);
    uid_set_init(&gone);
    bool ok = take_known(s, known, &wanted) && store_vanished(s->options.store, s->selected.mailbox_id, modseq, &vanished) == RC_OK
              && add_common(s->selected.view, &vanished, &wanted, &gone);
    if (ok && gone.count > 0) {
        imap_say(s, "* VANISHED (EARLIER) ");
        ok = uid_set_write(&gone, &s->text);
        imap_say(s, "\r\n");
    }
    uid_set_free(&vanished);
    uid_set_free(&wanted);
    uid_set_free(&gone);
    return ok;
}

void imap_say_vanished(struct imap_session *s, const struct uid_set *uids)
{
    if (uids->count == 0)
        return;
    imap_say(s, "* VANISHED ");
    (void)uid_set_write(uids, &s->text);
    imap_say(s, "\r\n");
}

/* RFC 7162 3.2.7: the updates come first, so that the number is true of what the client has then been told. */
enum imap_next imap_ok_highest(struct imap_session *s, const char *text)
{
    char code[40] = "";
    imap_updates(s, imap_is_expunge_allowed(s));
    if (s->is_qresync && s->selected.view != NULL)
        (void)snprintf(code, sizeof(code), "HIGHESTMODSEQ %" PRIu64, s->selected.told_modseq);
    return imap_finish(s, "OK", slice_from_str(code), text);
}

void imap_enable_qresync(struct imap_session *s)
{
    imap_enable_condstore(s);
    s->is_qresync = true;
}
