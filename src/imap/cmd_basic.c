/* Commands that belong to no mailbox: CAPABILITY, NOOP, CHECK, LOGOUT (RFC 3501 6.1), ID (RFC 2971), ENABLE (RFC 5161),
 * NAMESPACE (RFC 2342), IDLE (RFC 2177). */
#include "imap/inner.h"

static bool has_no_arguments(struct imap_session *s) { return imap_parse_end(&s->args); }

enum imap_next imap_cmd_capability(struct imap_session *s)
{
    if (!has_no_arguments(s))
        return imap_bad_syntax(s);
    (void)buf_append_str(&s->text, "* CAPABILITY ");
    imap_write_capabilities(&s->text);
    imap_say(s, "\r\n");
    return imap_ok(s, "CAPABILITY completed");
}

enum imap_next imap_cmd_noop(struct imap_session *s)
{
    return has_no_arguments(s) ? imap_ok(s, "NOOP completed") : imap_bad_syntax(s);
}

/* What is acknowledged is on stable storage anyway. */
enum imap_next imap_cmd_check(struct imap_session *s)
{
    return has_no_arguments(s) ? imap_ok(s, "CHECK completed") : imap_bad_syntax(s);
}

enum imap_next imap_cmd_logout(struct imap_session *s)
{
    if (!has_no_arguments(s))
        return imap_bad_syntax(s);
    imap_deselect(s);
    imap_bye(s, "good bye");
    return imap_ok(s, "LOGOUT completed");
}

enum imap_next imap_cmd_logged_in(struct imap_session *s) { return imap_bad(s, "this session is logged in already"); }

/* ---- ID ------------------------------------------------------------------------------------------------------------ */

enum { ID_FIELDS_MAX = 30 };    /* RFC 2971 3.3 */

/* What a client says of itself is checked and not kept. */
static bool parse_id(struct imap_parser *p)
{
    struct slice ignored;
    if (!imap_parse_space(p))
        return false;
    if (slice_take_prefix_nocase(&p->in, SLICE("NIL")))
        return imap_parse_end(p);
    if (!imap_parse_byte(p, '('))
        return false;
    for (int i = 0; !imap_parse_peeks(p, ')'); i++) {
        if (i == ID_FIELDS_MAX)
            return imap_parse_failed(p, "too many fields");
        if ((i > 0 && !imap_parse_space(p)) || !imap_parse_string(p, &ignored) || !imap_parse_space(p)
            || !imap_parse_nstring(p, &ignored))
            return false;
    }
    return imap_parse_byte(p, ')') && imap_parse_end(p);
}

enum imap_next imap_cmd_id(struct imap_session *s)
{
    if (!parse_id(&s->args))
        return imap_bad_syntax(s);
    imap_say(s, "* ID (\"name\" \"Thurn\")\r\n");
    return imap_ok(s, "ID completed");
}

/* ---- ENABLE -------------------------------------------------------------------------------------------------------- */

static void enable_utf8(struct imap_session *s) { s->is_utf8 = true; }

static void enable_rev2(struct imap_session *s) { s->is_utf8 = s->is_rev2 = true; }

static const struct {
    struct slice name;
    void (*enable)(struct imap_session *);
} extensions[] = {
    { SLICE_INIT("CONDSTORE"), imap_enable_condstore },        /* RFC 7162 3.1 */
    { SLICE_INIT("QRESYNC"), imap_enable_qresync },            /* RFC 7162 3.2.3 */
    { SLICE_INIT("UTF8=ACCEPT"), enable_utf8 },                /* RFC 6855 3 */
    { SLICE_INIT("IMAP4rev2"), enable_rev2 },                  /* RFC 9051 6.3.1 */
};
enum { EXTENSIONS = sizeof(extensions) / sizeof(extensions[0]) };

enum imap_next imap_cmd_enable(struct imap_session *s)
{
    bool wanted[EXTENSIONS] = { false };
    do {
        struct slice name;
        if (!imap_parse_space(&s->args) || !imap_parse_atom(&s->args, &name))
            return imap_bad_syntax(s);
        for (size_t i = 0; i < EXTENSIONS; i++)
            wanted[i] |= slice_equal_nocase(name, extensions[i].name);
    } while (imap_parse_peeks(&s->args, ' '));
    if (!imap_parse_end(&s->args))
        return imap_bad_syntax(s);
    /* RFC 5161 3.1: what is not known is passed over. */
    imap_say(s, "* ENABLED");
    for (size_t i = 0; i < EXTENSIONS; i++) {
        if (wanted[i])
            imap_say(s, " %.*s", SLICE_ARG(extensions[i].name));
    }
    imap_say(s, "\r\n");
    for (size_t i = 0; i < EXTENSIONS; i++) {
        if (wanted[i])
            extensions[i].enable(s);
    }
    return imap_ok(s, "ENABLE completed");
}

enum imap_next imap_cmd_namespace(struct imap_session *s)
{
    if (!has_no_arguments(s))
        return imap_bad_syntax(s);
    imap_say(s, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
    return imap_ok(s, "NAMESPACE completed");
}

/* ---- IDLE ---------------------------------------------------------------------------------------------------------- */

static void on_news(void *arg)
{
    const struct imap_session *s = arg;
    if (s->options.wake != NULL)
        s->options.wake(s->options.wake_arg);
}

/* The command stays open, but all that is kept of it is its tag: its end is written when DONE comes (session.c). */
enum imap_next imap_cmd_idle(struct imap_session *s)
{
    if (!has_no_arguments(s))
        return imap_bad_syntax(s);
    if (!slice_to_str(s->tag, s->idle_tag, sizeof(s->idle_tag)))
        return imap_bad(s, "tag too long");
    s->is_idling = true;
    if (s->selected.view != NULL)
        store_view_watch(s->selected.view, on_news, s);
    imap_say(s, "+ idling\r\n");
    imap_updates(s, true);
    return IMAP_DONE;
}
