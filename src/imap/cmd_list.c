/* LIST and LSUB (RFC 3501 6.3.8, 6.3.9) with \HasChildren (RFC 3348) and special uses (RFC 6154), and of the extended
 * LIST (RFC 5258) what RFC 6154 builds on: selection and return options, several patterns.
 *
 * Mailboxes come from the store in name order, one at a time, so the listing stops and goes on wherever it has to. */
#include "imap/inner.h"
#include "imap/pattern.h"

enum { PATTERNS_MAX = 64, PATTERN_BYTES_MAX = MAILBOX_NAME_MAX * 2 };

struct list {
    bool is_lsub;
    bool only_special, only_subscribed;         /* selection options */
    bool says_subscribed;
    struct slice patterns[PATTERNS_MAX];
    size_t pattern_count;
    char after[MAILBOX_NAME_MAX + 1];           /* the last name looked at */
    size_t after_len;
    char parent[MAILBOX_NAME_MAX + 1];          /* LSUB: the last parent that was said in a child's stead */
    size_t parent_len;
};

static const char *const special_names[] = {
    [SPECIAL_NONE] = "",          [SPECIAL_DRAFTS] = "\\Drafts", [SPECIAL_SENT] = "\\Sent", [SPECIAL_ARCHIVE] = "\\Archive",
    [SPECIAL_JUNK] = "\\Junk",    [SPECIAL_TRASH] = "\\Trash",   [SPECIAL_ALL] = "\\All",   [SPECIAL_FLAGGED] = "\\Flagged",
};

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static const struct {
    struct slice name;
    size_t member;              /* offset of a bool in struct list; 0: nothing to remember */
    bool is_selection, is_return;
} options[] = {
    { SLICE_INIT("SPECIAL-USE"), offsetof(struct list, only_special), true, false },
    { SLICE_INIT("SUBSCRIBED"), offsetof(struct list, only_subscribed), true, false },
    { SLICE_INIT("REMOTE"), 0, true, false },
    { SLICE_INIT("SPECIAL-USE"), 0, false, true },      /* said anyway */
    { SLICE_INIT("CHILDREN"), 0, false, true },
    { SLICE_INIT("SUBSCRIBED"), offsetof(struct list, says_subscribed), false, true },
};

static bool set_option(struct list *list, struct slice name, bool is_selection)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        bool fits = is_selection ? options[i].is_selection : options[i].is_return;
        if (!fits || !slice_equal_nocase(name, options[i].name))
            continue;
        if (options[i].member != 0)
            *(bool *)((char *)list + options[i].member) = true;
        return true;
    }
    return false;
}

static bool parse_options(struct imap_parser *p, struct list *list, bool is_selection)
{
    if (!imap_parse_byte(p, '('))
        return false;
    if (imap_parse_takes(p, ')'))
        return true;
    do {
        struct slice name;
        if (!imap_parse_atom(p, &name))
            return false;
        if (!set_option(list, name, is_selection))
            return imap_parse_failed(p, "there is no such LIST option");
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')');
}

/* The reference is what the pattern is relative to: with '/' between levels that is simply put in front. */
static bool parse_pattern(struct imap_parser *p, struct slice reference, struct list *list)
{
    struct slice pattern;
    if (!imap_parse_pattern(p, &pattern))
        return false;
    if (list->pattern_count == PATTERNS_MAX || reference.len + pattern.len > PATTERN_BYTES_MAX)
        return imap_parse_failed(p, "too many or too long patterns");
    char *whole = arena_alloc(p->arena, 1, reference.len + pattern.len + 1);
    if (whole == NULL)
        return imap_parse_failed(p, "command too long");
    if (reference.len > 0)
        memcpy(whole, reference.ptr, reference.len);
    if (pattern.len > 0)
        memcpy(whole + reference.len, pattern.ptr, pattern.len);
    list->patterns[list->pattern_count++] = (struct slice){ whole, reference.len + pattern.len };
    return true;
}

static bool parse_patterns(struct imap_parser *p, struct slice reference, struct list *list)
{
    if (list->is_lsub || !imap_parse_takes(p, '('))
        return parse_pattern(p, reference, list);
    do {
        if (!parse_pattern(p, reference, list))
            return false;
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')');
}

static bool parse_arguments(struct imap_parser *p, struct list *list, bool *asks_for_root)
{
    struct slice reference;
    if (!imap_parse_space(p))
        return false;
    if (!list->is_lsub && imap_parse_peeks(p, '(') && (!parse_options(p, list, true) || !imap_parse_space(p)))
        return false;
    if (!imap_parse_mailbox(p, &reference) || !imap_parse_space(p))
        return false;
    *asks_for_root = slice_equal(p->in, SLICE("\"\"")) && !list->is_lsub;
    if (!parse_patterns(p, reference, list))
        return false;
    if (!list->is_lsub && imap_parse_takes(p, ' ')) {
        if (!slice_take_prefix_nocase(&p->in, SLICE("RETURN ")))
            return imap_parse_failed(p, "RETURN was expected");
        if (!parse_options(p, list, false))
            return false;
    }
    return imap_parse_end(p);
}

/* ---- the listing --------------------------------------------------------------------------------------------------- */

static bool matches(const struct list *list, struct slice name)
{
    for (size_t i = 0; i < list->pattern_count; i++) {
        if (imap_pattern_matches(list->patterns[i], name))
            return true;
    }
    return false;
}

static void say_entry(struct imap_session *s, const struct list *list, const struct store_mailbox_info *info)
{
    imap_say(s, list->is_lsub ? "* LSUB (" : "* LIST (");
    if (info->is_noselect)
        imap_say(s, info->id == 0 && !list->is_lsub ? "\\NonExistent " : "\\Noselect ");
    imap_say(s, info->has_children ? "\\HasChildren" : "\\HasNoChildren");
    if (info->special != SPECIAL_NONE)
        imap_say(s, " %s", special_names[info->special]);
    if (info->is_subscribed && (list->says_subscribed || list->only_subscribed))
        imap_say(s, " \\Subscribed");
    imap_say(s, ") \"/\" ");
    (void)imap_write_mailbox(&s->text, info->name);
    imap_say(s, "\r\n");
}

/* RFC 3501 6.3.9: with '%' a parent that is not subscribed stands for its subscribed children, as \Noselect. Children
 * stand together in the listing's order, so that each parent is said once. */
static void say_parent(struct imap_session *s, struct list *list, struct slice name)
{
    for (size_t len = 1; len < name.len; len++) {
        struct slice parent = slice_sub(name, 0, len);
        if (name.ptr[len] != '/' || !matches(list, parent))
            continue;
        struct store_mailbox_info info;
        bool is_listed = store_mailbox_find(s->options.store, s->options.account, parent, &info) == RC_OK && info.is_subscribed;
        if (is_listed || slice_equal(parent, (struct slice){ list->parent, list->parent_len }))
            continue;
        memcpy(list->parent, parent.ptr, parent.len);
        list->parent_len = parent.len;
        imap_say(s, "* LSUB (\\Noselect \\HasChildren) \"/\" ");
        (void)imap_write_mailbox(&s->text, parent);
        imap_say(s, "\r\n");
    }
}

static bool is_wanted(const struct list *list, const struct store_mailbox_info *info)
{
    if ((list->is_lsub || list->only_subscribed) && !info->is_subscribed)
        return false;
    if (list->only_special && info->special == SPECIAL_NONE)
        return false;
    return info->id != 0 || list->is_lsub || list->only_subscribed;
}

static void look_at(struct imap_session *s, struct list *list, const struct store_mailbox_info *info)
{
    if (!is_wanted(list, info))
        return;
    if (matches(list, info->name))
        say_entry(s, list, info);
    else if (list->is_lsub)
        say_parent(s, list, (struct slice){ list->after, list->after_len });
}

static enum imap_next list_on(struct imap_session *s)
{
    struct list *list = s->job;
    for (unsigned work = 0; !imap_is_enough(s, work); work += 100) {
        struct store_mailbox_info info;
        struct slice after = { list->after, list->after_len };
        if (store_mailbox_next(s->options.store, s->options.account, after, &info) != RC_OK)
            return imap_ok(s, list->is_lsub ? "LSUB completed" : "LIST completed");
        if (info.name.len > MAILBOX_NAME_MAX)
            info.name.len = MAILBOX_NAME_MAX;
        memcpy(list->after, info.name.ptr, info.name.len);
        list->after_len = info.name.len;
        look_at(s, list, &info);
    }
    return imap_again(s, list_on);
}

static enum imap_next list_mailboxes(struct imap_session *s, bool is_lsub)
{
    struct list *list = ARENA_NEW(&s->arena, struct list);
    bool asks_for_root = false;
    if (list == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    list->is_lsub = is_lsub;
    if (!parse_arguments(&s->args, list, &asks_for_root))
        return imap_bad_syntax(s);
    if (asks_for_root) {
        imap_say(s, "* LIST (\\Noselect) \"/\" \"\"\r\n");
        return imap_ok(s, "LIST completed");
    }
    s->job = list;
    return list_on(s);
}

enum imap_next imap_cmd_list(struct imap_session *s) { return list_mailboxes(s, false); }
enum imap_next imap_cmd_lsub(struct imap_session *s) { return list_mailboxes(s, true); }
