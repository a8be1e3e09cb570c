/* STATUS (RFC 3501 6.3.10; HIGHESTMODSEQ: RFC 7162 3.1.7; DELETED: RFC 9051; SIZE: RFC 8438; APPENDLIMIT: RFC 7889 3.2; MAILBOXID: RFC 8474 4.3). */
#include "imap/inner.h"

enum status_item { MESSAGES, RECENT, UIDNEXT, UIDVALIDITY, UNSEEN, HIGHESTMODSEQ, SIZE, DELETED, APPENDLIMIT, MAILBOXID, STATUS_ITEMS };

static const struct slice status_names[STATUS_ITEMS] = {
    [MESSAGES] = SLICE_INIT("MESSAGES"),       [RECENT] = SLICE_INIT("RECENT"), [UIDNEXT] = SLICE_INIT("UIDNEXT"),
    [UIDVALIDITY] = SLICE_INIT("UIDVALIDITY"), [UNSEEN] = SLICE_INIT("UNSEEN"), [HIGHESTMODSEQ] = SLICE_INIT("HIGHESTMODSEQ"),
    [DELETED] = SLICE_INIT("DELETED"),
    [SIZE] = SLICE_INIT("SIZE"),               [APPENDLIMIT] = SLICE_INIT("APPENDLIMIT"), [MAILBOXID] = SLICE_INIT("MAILBOXID"),
};

bool imap_parse_status_items(struct imap_parser *p, unsigned *items)
{
    *items = 0;
    if (!imap_parse_byte(p, '('))
        return false;
    do {
        struct slice name;
        if (!imap_parse_atom(p, &name))
            return false;
        bool is_known = false;
        for (unsigned i = 0; i < STATUS_ITEMS; i++) {
            if (slice_equal_nocase(name, status_names[i])) {
                *items |= 1u << i;
                is_known = true;
            }
        }
        if (!is_known)
            return imap_parse_failed(p, "there is no such status item");
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')');
}

/* Nobody counts them along the way: asked for seldom, and cheap to look at. */
static uint64_t count_deleted(struct imap_session *s, uint64_t mailbox_id)
{
    struct store_view *view;
    struct store_message message;
    uint64_t count = 0;
    if (store_view_open(s->options.store, mailbox_id, true, &view, NULL) != RC_OK)
        return 0;
    for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
        store_view_at(view, seq, &message);
        count += (message.flags & FLAG_DELETED) != 0;
    }
    store_view_close(view);
    return count;
}

void imap_say_status(struct imap_session *s, struct slice name, const struct store_mailbox_info *info, unsigned items)
{
    const uint64_t values[STATUS_ITEMS] = {
        [MESSAGES] = info->messages,       [RECENT] = info->recent, [UIDNEXT] = info->uidnext,
        [UIDVALIDITY] = info->uidvalidity, [UNSEEN] = info->unseen, [HIGHESTMODSEQ] = info->highest_modseq,
        [SIZE] = info->size_bytes,         [APPENDLIMIT] = s->options.append_max,
        [DELETED] = (items & 1u << DELETED) != 0 ? count_deleted(s, info->id) : 0,
    };
    const char *separator = "";
    imap_say(s, "* STATUS ");
    imap_say_name(s, name);
    imap_say(s, " (");
    for (unsigned i = 0; i < STATUS_ITEMS; i++) {
        if ((items & 1u << i) == 0)
            continue;
        imap_say(s, "%s%.*s ", separator, SLICE_ARG(status_names[i]));
        if (i == MAILBOXID)
            imap_say(s, "(" IMAP_MAILBOX_ID ")", info->id);
        else
            imap_say(s, "%" PRIu64, values[i]);
        separator = " ";
    }
    imap_say(s, ")\r\n");
    if ((items & 1u << HIGHESTMODSEQ) != 0)
        imap_enable_condstore(s);
}

enum imap_next imap_cmd_status(struct imap_session *s)
{
    struct store_mailbox_info info;
    struct slice name;
    unsigned items;
    if (!imap_parse_space(&s->args) || !imap_parse_mailbox(&s->args, &name) || !imap_parse_space(&s->args)
        || !imap_parse_status_items(&s->args, &items) || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    if (store_mailbox_find(s->options.store, s->options.account, name, &info) != RC_OK)
        return imap_no(s, "NONEXISTENT", "there is no such mailbox");
    if (info.is_noselect)
        return imap_no(s, "CANNOT", "this name only holds other mailboxes");
    imap_say_status(s, name, &info, items);
    return imap_ok(s, "STATUS completed");
}
