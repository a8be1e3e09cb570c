/* CREATE (with USE: RFC 6154 3, 5.3), DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 6.3.3 - 6.3.7).
 * Names are UTF-8 from here on; changes are acknowledged when they are on stable storage. */
#include "imap/inner.h"

#include <stdio.h>

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

struct creation {
    struct slice name;
    bool has_use;
    unsigned uses;              /* of "USE (...)": how many, */
    enum store_special use;     /* and the last one that we have */
};

/* " (USE (\Drafts))" */
static bool parse_use(struct imap_parser *p, struct creation *creation)
{
    if (!imap_parse_takes(p, ' '))
        return imap_parse_end(p);
    if (!slice_take_prefix_nocase(&p->in, SLICE("(USE (")))
        return imap_parse_failed(p, "(USE (...)) was expected");
    creation->has_use = true;
    do {
        struct slice name, start = p->in;
        if (!imap_parse_byte(p, '\\') || !imap_parse_atom(p, &name))
            return false;
        creation->uses++;
        creation->use = imap_special_of(slice_sub(start, 0, name.len + 1));
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')') && imap_parse_byte(p, ')') && imap_parse_end(p);
}

static bool is_taken(struct imap_session *s, enum store_special use)
{
    struct store_mailbox_info info = { .name = SLICE_NONE };
    while (store_mailbox_next(s->options.store, s->options.account, info.name, &info) == RC_OK) {
        if (info.special == use)
            return true;
    }
    return false;
}

/* RFC 8474 4.1: the new mailbox is told by its id. */
static enum imap_next created(struct imap_session *s)
{
    const struct creation *creation = s->job;
    struct store_mailbox_info info;
    char code[64] = "";
    if (s->settled != RC_OK)
        return imap_unsettled(s);
    if (exists(s, creation->name, &info))
        (void)snprintf(code, sizeof(code), "MAILBOXID (" IMAP_MAILBOX_ID ")", info.id);
    return imap_finish(s, "OK", slice_from_str(code), "CREATE completed");
}

enum imap_next imap_cmd_create(struct imap_session *s)
{
    struct store_mailbox_info info;
    struct fault f = { .rc = RC_OK };
    struct creation *creation = ARENA_NEW(&s->arena, struct creation);
    uint64_t wait = 0;
    if (creation == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (!take_name(s, &creation->name) || !parse_use(&s->args, creation))
        return imap_bad_syntax(s);
    creation->name = without_separator(creation->name);
    if (exists(s, creation->name, &info) && !info.is_noselect)
        return imap_no(s, "ALREADYEXISTS", "there is such a mailbox already");
    if (creation->has_use && (creation->uses != 1 || creation->use == SPECIAL_NONE))
        return imap_no(s, "USEATTR", "a mailbox has one of the uses \\Drafts \\Sent \\Archive \\Junk \\Trash");
    if (creation->has_use && is_taken(s, creation->use))
        return imap_no(s, "USEATTR", "another mailbox has that use");
    enum rc rc = store_mailbox_create(s->options.store, s->options.account, creation->name, creation->use, s->now.unix_s, &wait, &f);
    s->job = creation;
    return rc == RC_OK ? imap_wait(s, wait, created) : imap_no_fault(s, rc, &f);
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
