/* Sets of messages as a command means them (RFC 3501 6.4.8, 9 sequence-set).
 *
 * Whatever the client counts in, work goes over sequence numbers of the view: UIDs that are not there drop out, and what
 * the client has not been told of cannot be meant. */
#include "imap/inner.h"

/* A UID range as the sequence numbers in it. */
static bool add_uid_range(const struct store_view *view, struct uid_range range, struct uid_set *seqs)
{
    uint32_t first = store_view_seq(view, range.first);
    uint32_t behind = range.last == UINT32_MAX ? store_view_count(view) + 1 : store_view_seq(view, range.last + 1);
    return first >= behind || uid_set_add(seqs, first, behind - 1);
}

static uint32_t last_uid(const struct store_view *view)
{
    struct store_message message = { .uid = 1 };
    if (store_view_count(view) > 0)
        store_view_at(view, store_view_count(view), &message);
    return message.uid;
}

static bool resolve_uids(struct imap_session *s, const struct uid_set *given, struct uid_set *seqs)
{
    for (size_t i = 0; i < given->count; i++) {
        if (!add_uid_range(s->selected.view, given->ranges[i], seqs))
            return false;
    }
    return true;
}

bool imap_resolve_set(struct imap_session *s, struct slice text, bool is_uid, struct uid_set *seqs, const char **error)
{
    uint32_t count = store_view_count(s->selected.view);
    struct uid_set given;
    if (slice_equal(text, SLICE("$"))) {
        *error = "the set has too many pieces";
        return resolve_uids(s, &s->selected.saved, seqs);
    }
    uid_set_init(&given);
    uint32_t star = is_uid ? last_uid(s->selected.view) : count > 0 ? count : 1;
    enum rc rc = uid_set_parse(text, star, &given);
    *error = "a set of message numbers was expected";
    if (rc == RC_OK && is_uid) {
        rc = resolve_uids(s, &given, seqs) ? RC_OK : RC_TEMP;
        *error = "the set has too many pieces";
    } else if (rc == RC_OK && count > 0) {
        /* RFC 3501 9, seq-number: one past the end is an error. */
        *error = "there are not so many messages";
        rc = given.count > 0 && given.ranges[given.count - 1].last > count ? RC_PERM : RC_OK;
        for (size_t i = 0; rc == RC_OK && i < given.count; i++)
            rc = uid_set_add(seqs, given.ranges[i].first, given.ranges[i].last) ? RC_OK : RC_TEMP;
    }
    uid_set_free(&given);
    return rc == RC_OK;
}

bool imap_take_set(struct imap_session *s)
{
    struct slice text;
    const char *error;
    if (!imap_parse_set(&s->args, &text))
        return false;
    if (!imap_resolve_set(s, text, s->is_uid, &s->seqs, &error))
        return imap_parse_failed(&s->args, error);
    for (size_t i = 0; i < s->seqs.count; i++) {
        struct store_message first, last;
        store_view_at(s->selected.view, s->seqs.ranges[i].first, &first);
        store_view_at(s->selected.view, s->seqs.ranges[i].last, &last);
        if (!uid_set_add(&s->uids, first.uid, last.uid))
            return imap_parse_failed(&s->args, "the set has too many pieces");
    }
    return true;
}

bool imap_next_seq(const struct uid_set *set, struct imap_cursor *at, uint32_t *seq)
{
    while (at->range < set->count) {
        const struct uid_range *range = &set->ranges[at->range];
        *seq = at->seq < range->first ? range->first : at->seq + 1;
        if (*seq <= range->last) {
            at->seq = *seq;
            return true;
        }
        at->range++;
    }
    return false;
}

bool imap_parse_partial(struct imap_parser *p, struct imap_partial *partial)
{
    uint64_t first, last;
    struct slice text = p->in;
    partial->is_from_end = imap_parse_takes(p, '-');
    if (!imap_parse_number(p, UINT32_MAX, &first) || !imap_parse_byte(p, ':') || (partial->is_from_end && !imap_parse_byte(p, '-'))
        || !imap_parse_number(p, UINT32_MAX, &last))
        return false;
    if (first == 0 || last == 0)
        return imap_parse_failed(p, "places of a result are counted from 1");
    partial->text = slice_sub(text, 0, text.len - p->in.len);
    partial->first = (uint32_t)(first < last ? first : last);
    partial->last = (uint32_t)(first < last ? last : first);
    return true;
}

bool imap_take_partial(struct uid_set *set, const struct imap_partial *partial)
{
    uint64_t size = uid_set_size(set), first = partial->first, last = partial->last < size ? partial->last : size, at = 0;
    struct uid_set kept;
    bool ok = true;
    if (partial->is_from_end) {
        uint64_t from = size - last + 1;
        last = first <= size ? size - first + 1 : 0;
        first = from;
    }
    uid_set_init(&kept);
    for (size_t i = 0; i < set->count && ok; i++) {
        struct uid_range range = set->ranges[i];
        uint64_t before = at;               /* so many stand before this range */
        at += (uint64_t)range.last - range.first + 1;
        if (before >= last || at < first)
            continue;
        uint32_t skip = before + 1 < first ? (uint32_t)(first - before - 1) : 0, behind = at > last ? (uint32_t)(at - last) : 0;
        ok = uid_set_add(&kept, range.first + skip, range.last - behind);
    }
    uid_set_free(set);
    *set = kept;
    return ok;
}

bool imap_write_uids_as(struct imap_session *s, const struct uid_set *uids, struct buf *out)
{
    if (s->is_uid)
        return uid_set_write(uids, out);
    struct uid_set seqs;
    uid_set_init(&seqs);
    bool ok = resolve_uids(s, uids, &seqs) && uid_set_write(&seqs, out);
    uid_set_free(&seqs);
    return ok;
}
