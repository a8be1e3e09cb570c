/* COPY (RFC 3501 6.4.7), MOVE (RFC 6851), EXPUNGE (RFC 3501 6.4.3), and their UID forms with the codes of UIDPLUS
 * (RFC 4315). Each is one record in the log: all of it happens or nothing. */
#include "imap/inner.h"

struct copy {
    bool is_move;
    uint32_t uidvalidity;       /* of the destination */
};

static uint64_t bytes_of(struct imap_session *s)
{
    struct imap_cursor at = { 0, 0 };
    uint32_t seq;
    uint64_t bytes = 0;
    while (imap_next_seq(&s->seqs, &at, &seq)) {
        struct store_message message;
        store_view_at(s->selected.view, seq, &message);
        bytes += message.size;
    }
    return bytes;
}

/* RFC 6851 4.3: a move tells its COPYUID before the EXPUNGEs, untagged; a copy with its OK. */
static enum imap_next copied(struct imap_session *s)
{
    const struct copy *copy = s->job;
    const char *text = copy->is_move ? "MOVE completed" : "COPY completed";
    if (s->settled != RC_OK)
        return imap_unsettled(s);
    if (s->from_uids.count == 0)
        return imap_ok(s, text);                /* all gone meanwhile: nothing to tell (RFC 4315 3) */
    buf_clear(&s->scratch);
    (void)buf_printf(&s->scratch, "COPYUID %" PRIu32 " ", copy->uidvalidity);
    (void)uid_set_write(&s->from_uids, &s->scratch);
    (void)buf_append_byte(&s->scratch, ' ');
    (void)uid_set_write(&s->to_uids, &s->scratch);
    if (!copy->is_move)
        return imap_finish(s, "OK", buf_slice(&s->scratch), text);
    (void)buf_append_str(&s->text, "* OK [");
    (void)buf_append(&s->text, buf_slice(&s->scratch));
    imap_say(s, "] moved\r\n");
    return imap_ok_highest(s, text);
}

static enum imap_next copy_messages(struct imap_session *s, bool is_move)
{
    struct store_mailbox_info info;
    struct fault f = { .rc = RC_OK };
    struct slice name;
    enum imap_next next;
    uint64_t wait = 0;
    if (!imap_parse_space(&s->args) || !imap_take_set(s) || !imap_parse_space(&s->args) || !imap_parse_mailbox(&s->args, &name)
        || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    if (is_move && s->selected.is_read_only)
        return imap_no(s, "CANNOT", "the mailbox is selected read-only");
    if (!is_move && !store_has_room(s->options.store, 0, &f))       /* a MOVE to the trash may be what makes some */
        return imap_no_fault(s, RC_TEMP, &f);
    if (!imap_find_destination(s, name, &info, &next) || (!is_move && !imap_has_quota(s, bytes_of(s), &next)))
        return next;
    struct copy *copy = ARENA_NEW(&s->arena, struct copy);
    if (copy == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    *copy = (struct copy){ is_move, info.uidvalidity };
    s->job = copy;
    s->settled = RC_OK;
    if (s->uids.count == 0)
        return copied(s);
    enum rc rc = store_copy(s->options.store, s->selected.mailbox_id, &s->uids, info.id, is_move, &s->from_uids, &s->to_uids, &wait, &f);
    if (rc == RC_NONE)
        return imap_no(s, "TRYCREATE", "there is no such mailbox");
    return rc == RC_OK ? imap_wait(s, wait, copied) : imap_no_fault(s, rc, &f);
}

enum imap_next imap_cmd_copy(struct imap_session *s) { return copy_messages(s, false); }
enum imap_next imap_cmd_move(struct imap_session *s) { return copy_messages(s, true); }

/* ---- EXPUNGE --------------------------------------------------------------------------------------------------------- */

static enum imap_next expunged(struct imap_session *s)
{
    return s->settled == RC_OK ? imap_ok_highest(s, "EXPUNGE completed") : imap_unsettled(s);
}

/* Without a set it means every message that the client knows of. */
static bool take_all(struct imap_session *s)
{
    struct store_message last;
    uint32_t count = store_view_count(s->selected.view);
    if (count == 0)
        return true;
    store_view_at(s->selected.view, count, &last);
    return uid_set_add(&s->uids, 1, last.uid) || imap_parse_failed(&s->args, "out of memory");
}

enum imap_next imap_cmd_expunge(struct imap_session *s)
{
    struct fault f = { .rc = RC_OK };
    uint64_t wait = 0;
    bool is_parsed = s->is_uid ? imap_parse_space(&s->args) && imap_take_set(s) : take_all(s);
    if (!is_parsed || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    if (s->selected.is_read_only)
        return imap_no(s, "CANNOT", "the mailbox is selected read-only");
    if (s->uids.count == 0)
        return imap_ok(s, "EXPUNGE completed");
    enum rc rc = store_expunge(s->options.store, s->selected.mailbox_id, &s->uids, false, &s->from_uids, &wait, &f);
    return rc == RC_OK || rc == RC_NONE ? imap_wait(s, wait, expunged) : imap_no_fault(s, rc, &f);
}
