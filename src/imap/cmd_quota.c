/* GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208): an account is one quota root, named "", and STORAGE is what is limited. Limits are
 * the administrator's to set (`thurn account`). */
#include "imap/inner.h"

static void say_quota(struct imap_session *s)
{
    struct store_usage usage = { .bytes = 0 };
    (void)store_account_usage(s->options.store, s->options.account, &usage);
    if (s->options.quota_bytes == 0)
        imap_say(s, "* QUOTA \"\" ()\r\n");
    else
        imap_say(s, "* QUOTA \"\" (STORAGE %" PRIu64 " %" PRIu64 ")\r\n", (usage.bytes + 1023) / 1024, s->options.quota_bytes / 1024);
}

enum imap_next imap_cmd_getquota(struct imap_session *s)
{
    struct slice root;
    if (!imap_parse_space(&s->args) || !imap_parse_astring(&s->args, &root) || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    if (root.len != 0)
        return imap_no(s, "NONEXISTENT", "there is no such quota root: the only one is \"\"");
    say_quota(s);
    return imap_ok(s, "GETQUOTA completed");
}

enum imap_next imap_cmd_getquotaroot(struct imap_session *s)
{
    struct store_mailbox_info info;
    struct slice name;
    if (!imap_parse_space(&s->args) || !imap_parse_mailbox(&s->args, &name) || !imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    if (store_mailbox_find(s->options.store, s->options.account, name, &info) != RC_OK)
        return imap_no(s, "NONEXISTENT", "there is no such mailbox");
    imap_say(s, "* QUOTAROOT ");
    imap_say_name(s, name);
    imap_say(s, " \"\"\r\n");
    say_quota(s);
    return imap_ok(s, "GETQUOTAROOT completed");
}

enum imap_next imap_cmd_setquota(struct imap_session *s)
{
    struct slice root;
    if (!imap_parse_space(&s->args) || !imap_parse_astring(&s->args, &root) || !imap_parse_space(&s->args) || !imap_parse_byte(&s->args, '('))
        return imap_bad_syntax(s);
    return imap_no(s, "NOPERM", "limits are the administrator's to set");
}
