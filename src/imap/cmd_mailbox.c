/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 3501 6.3.3 - 6.3.7, 6.3.10; STATUS HIGHESTMODSEQ: RFC 7162 3.1.7).
 * Names are UTF-8 from here on; changes are acknowledged when they are on stable storage. */
#include "imap/inner.h"

static bool take_name(struct imap_session *s, struct slice *name)
{
    return imap_parse_space(&s->args) && imap_parse_mailbox(&s->args, name);
}

static enum imap_next settled(struct imap_session *s)
{
    if (s->settled != RC_OK)
        return imap_unsettled(s);
    return imap_ok(s, s->done_text);
}

static enum imap_next wait_or_no(struct imap_session *s, enum rc rc, uint64_t wait, const struct fault *f,
                                 const char *text)
{
    if (rc != RC_OK)
        return imap_no_fault(s, rc, f);
    s->done_text = text;
    return imap_wait(s, wait, settled);
}

static bool exists(struct imap_session *s, struct slice name, struct store_mailbox_info *info)
{
    return store_mailbox_find(s->options.store, s->options.account, name, info) == RC_OK;
}

/* RFC 3501 6.3.3: a trailing separator says that names under it will follow; parents are made anyway. */
static struct slice without_separator(struct slice name)
{
    if (name.len > 1 && name.ptr[name.len - 1] == '/')
        name.len--;
    return name;
}

enum imap_next imap_cmd_create(struct imap_session *s)
{
    struct store_mailbox_info info;
    struct fault f = { .rc = RC_OK };
    struct slice name;
    uint64_t wait = 0;
    if (!take_name(s, &name) || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    name = without_separator(name);
    if (exists(s, name, &info) && !info.is_noselect)
        return imap_no(s, "ALREADYEXISTS", "there is such a mailbox already");
    enum rc rc = store_mailbox_create(s->options.store, s->options.account, name, SPECIAL_NONE, s->now.unix_s, &wait, &f);
    return wait_or_no(s, rc, wait, &f, "CREATE completed");
}

/* RFC 2180 3: a mailbox may go while others have it selected; the client's own selection ends here. */
enum imap_next imap_cmd_delete(struct imap_session *s)
{
    struct store_mailbox_info info;
    struct fault f = { .rc = RC_OK };
    struct slice name;
    uint64_t wait = 0;
    if (!take_name(s, &name) || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    if (!exists(s, name, &info))
        return imap_no(s, "NONEXISTENT", "there is no such mailbox");
    bool is_selected = s->selected.view != NULL && info.id == s->selected.mailbox_id;
    enum rc rc = store_mailbox_delete(s->options.store, s->options.account, name, &wait, &f);
    if (rc == RC_OK && is_selected) {
        imap_deselect(s);
        imap_say(s, "* OK [CLOSED] the selected mailbox is being deleted\r\n");
    }
    return wait_or_no(s, rc, wait, &f, "DELETE completed");
}

enum imap_next imap_cmd_rename(struct imap_session *s)
{
    struct store_mailbox_info info;
    struct fault f = { .rc = RC_OK };
    struct slice from, to;
    uint64_t wait = 0;
    if (!take_name(s, &from) || !take_name(s, &to) || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    to = without_separator(to);
    if (!exists(s, from, &info))
        return imap_no(s, "NONEXISTENT", "there is no such mailbox");
    if (exists(s, to, &info))
        return imap_no(s, "ALREADYEXISTS", "there is a mailbox of the new name already");
    enum rc rc = store_mailbox_rename(s->options.store, s->options.account, from, to, s->now.unix_s, &wait, &f);
    return wait_or_no(s, rc, wait, &f, "RENAME completed");
}

static enum imap_next subscribe(struct imap_session *s, bool is_subscribed, const char *text)
{
    struct fault f = { .rc = RC_OK };
    struct slice name;
    uint64_t wait = 0;
    if (!take_name(s, &name) || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    enum rc rc = store_subscribe(s->options.store, s->options.account, name, is_subscribed, &wait, &f);
    if (rc == RC_NONE && !is_subscribed)
        return imap_ok(s, text);                /* it is what the client wants it to be */
    return wait_or_no(s, rc, wait, &f, text);
}

enum imap_next imap_cmd_subscribe(struct imap_session *s)
{
    return subscribe(s, true, "SUBSCRIBE completed");
}

enum imap_next imap_cmd_unsubscribe(struct imap_session *s)
{
    return subscribe(s, false, "UNSUBSCRIBE completed");
}

/* ---- STATUS -------------------------------------------------------------------------------------------------------- */

enum status_item { MESSAGES, RECENT, UIDNEXT, UIDVALIDITY, UNSEEN, HIGHESTMODSEQ, STATUS_ITEMS };

static const struct slice status_names[STATUS_ITEMS] = {
    [MESSAGES] = SLICE_INIT("MESSAGES"),       [RECENT] = SLICE_INIT("RECENT"), [UIDNEXT] = SLICE_INIT("UIDNEXT"),
    [UIDVALIDITY] = SLICE_INIT("UIDVALIDITY"), [UNSEEN] = SLICE_INIT("UNSEEN"), [HIGHESTMODSEQ] = SLICE_INIT("HIGHESTMODSEQ"),
};

static bool parse_status_items(struct imap_parser *p, unsigned *items)
{
    *items = 0;
    if (!imap_parse_space(p) || !imap_parse_byte(p, '('))
        return false;
    do {
        struct slice name;
        unsigned before = *items;
        if (!imap_parse_atom(p, &name))
            return false;
        bool is_known = false;
        for (unsigned i = 0; i < STATUS_ITEMS; i++) {
            if (slice_equal_nocase(name, status_names[i])) {
                *items = before | 1u << i;
                is_known = true;
            }
        }
        if (!is_known)
            return imap_parse_failed(p, "there is no such status item");
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')') && imap_parse_end(p);
}

static void say_status(struct imap_session *s, struct slice name, const struct store_mailbox_info *info, unsigned items)
{
    const uint64_t values[STATUS_ITEMS] = {
        [MESSAGES] = info->messages,       [RECENT] = info->recent, [UIDNEXT] = info->uidnext,
        [UIDVALIDITY] = info->uidvalidity, [UNSEEN] = info->unseen, [HIGHESTMODSEQ] = info->highest_modseq,
    };
    const char *separator = " (";
    (void)buf_append_str(&s->text, "* STATUS ");
    (void)imap_write_mailbox(&s->text, name);
    for (unsigned i = 0; i < STATUS_ITEMS; i++) {
        if ((items & 1u << i) == 0)
            continue;
        imap_say(s, "%s%.*s %" PRIu64, separator, SLICE_ARG(status_names[i]), values[i]);
        separator = " ";
    }
    imap_say(s, ")\r\n");
}

enum imap_next imap_cmd_status(struct imap_session *s)
{
    struct store_mailbox_info info;
    struct slice name;
    unsigned items;
    if (!take_name(s, &name) || !parse_status_items(&s->args, &items))
        return imap_bad_syntax(s);
    if (!exists(s, name, &info))
        return imap_no(s, "NONEXISTENT", "there is no such mailbox");
    if (info.is_noselect)
        return imap_no(s, "CANNOT", "this name only holds other mailboxes");
    say_status(s, name, &info, items);
    if ((items & 1u << HIGHESTMODSEQ) != 0)
        imap_enable_condstore(s);
    return imap_ok(s, "STATUS completed");
}
