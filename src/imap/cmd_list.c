/* LIST and LSUB (RFC 3501 6.3.8, 6.3.9) with \HasChildren (RFC 3348), special uses (RFC 6154), the extended LIST (RFC 5258)
 * and the figures of what is listed (RFC 5819).
 *
 * Mailboxes come from the store in name order, one at a time, so the listing stops and goes on wherever it has to. */
#include "imap/inner.h"
#include "imap/pattern.h"

enum { PATTERNS_MAX = 64, PATTERN_BYTES_MAX = MAILBOX_NAME_MAX * 2 };

struct list {
    bool is_lsub;
    bool is_extended;
    bool only_special, only_subscribed, is_recursive;       /* selection options */
    bool says_subscribed;
    bool says_status;
    unsigned status_items;
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

enum store_special imap_special_of(struct slice name)
{
    for (enum store_special i = SPECIAL_DRAFTS; i <= SPECIAL_TRASH; i++) {
        if (slice_equal_nocase(name, slice_from_str(special_names[i])))
            return i;
    }
    return SPECIAL_NONE;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static const struct {
    struct slice name;
    size_t member;              /* offset of a bool in struct list; 0: nothing to remember */
    bool is_selection, is_return;
} options[] = {
    { SLICE_INIT("SPECIAL-USE"), offsetof(struct list, only_special), true, false },
    { SLICE_INIT("SUBSCRIBED"), offsetof(struct list, only_subscribed), true, false },
    { SLICE_INIT("REMOTE"), 0, true, false },
    { SLICE_INIT("RECURSIVEMATCH"), offsetof(struct list, is_recursive), true, false },
    { SLICE_INIT("SPECIAL-USE"), 0, false, true },      /* said anyway */
    { SLICE_INIT("CHILDREN"), 0, false, true },
    { SLICE_INIT("SUBSCRIBED"), offsetof(struct list, says_subscribed), false, true },
    { SLICE_INIT("STATUS"), offsetof(struct list, says_status), false, true },
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
        if (list->says_status && list->status_items == 0
            && (!imap_parse_space(p) || !imap_parse_status_items(p, &list->status_items)))
            return false;
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
    list->is_extended = !list->is_lsub && imap_parse_peeks(p, '(');
    if (list->is_extended && (!parse_options(p, list, true) || !imap_parse_space(p)))
        return false;
    if (list->is_recursive && !list->only_special && !list->only_subscribed)
        return imap_parse_failed(p, "RECURSIVEMATCH needs something that is to be matched");   /* RFC 5258 3.1 */
    if (!imap_parse_mailbox(p, &reference) || !imap_parse_space(p))
        return false;
    *asks_for_root = slice_equal(p->in, SLICE("\"\"")) && !list->is_lsub && !list->is_extended;
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

/* "("CHILDINFO" ("SUBSCRIBED"))": below it there is something that was asked for and is not listed by itself. */
static void say_child_info(struct imap_session *s, const struct list *list)
{
    imap_say(s, " (\"CHILDINFO\" (%s%s%s))", list->only_subscribed ? "\"SUBSCRIBED\"" : "",
             list->only_subscribed && list->only_special ? " " : "", list->only_special ? "\"SPECIAL-USE\"" : "");
}

static void say_entry(struct imap_session *s, const struct list *list, const struct store_mailbox_info *info, bool has_child_info)
{
    struct slice name = { list->after, list->after_len };           /* info's is gone when the store is asked again */
    imap_say(s, list->is_lsub ? "* LSUB (" : "* LIST (");
    if (info->is_noselect)
        imap_say(s, info->id == 0 && !list->is_lsub ? "\\NonExistent " : "\\Noselect ");
    imap_say(s, info->has_children ? "\\HasChildren" : "\\HasNoChildren");
    if (info->special != SPECIAL_NONE)
        imap_say(s, " %s", special_names[info->special]);
    if (info->is_subscribed && (list->says_subscribed || list->only_subscribed))
        imap_say(s, " \\Subscribed");
    imap_say(s, ") \"/\" ");
    imap_say_name(s, name);
    if (has_child_info)
        say_child_info(s, list);
    imap_say(s, "\r\n");
    if (list->says_status && !info->is_noselect)
        imap_say_status(s, name, info, list->status_items);
}

void imap_say_listed(struct imap_session *s, const struct store_mailbox_info *info)
{
    struct list list = { .is_lsub = false };
    list.after_len = info->name.len < MAILBOX_NAME_MAX ? info->name.len : MAILBOX_NAME_MAX;
    memcpy(list.after, info->name.ptr, list.after_len);
    say_entry(s, &list, info, false);
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
        imap_say_name(s, parent);
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

/* Is there below it what was asked for? hidden_only: and not listed by itself. */
static bool has_selected_child(struct imap_session *s, const struct list *list, bool hidden_only)
{
    struct store_mailbox_info info;
    char name[MAILBOX_NAME_MAX + 2];
    memcpy(name, list->after, list->after_len);
    name[list->after_len] = '/';
    struct slice above = { name, list->after_len + 1 };
    char at[MAILBOX_NAME_MAX + 2];
    struct slice after = above;
    while (store_mailbox_next(s->options.store, s->options.account, after, &info) == RC_OK) {
        if (!slice_equal(slice_sub(info.name, 0, above.len), above))
            return false;
        if (is_wanted(list, &info) && !(hidden_only && matches(list, info.name)))
            return true;
        memcpy(at, info.name.ptr, info.name.len);
        after = (struct slice){ at, info.name.len };
    }
    return false;
}

static void look_at(struct imap_session *s, struct list *list, const struct store_mailbox_info *info)
{
    bool is_match = matches(list, info->name), is_here = is_wanted(list, info);
    if (list->is_recursive && is_match) {
        /* RFC 5258 3.1, 3.5: one that was not asked for stands only for what is hidden below it. */
        bool has_child_info = has_selected_child(s, list, !is_here);
        if (is_here || has_child_info)
            say_entry(s, list, info, has_child_info);
    } else if (is_match && is_here) {
        say_entry(s, list, info, false);
    } else if (is_here && list->is_lsub) {
        say_parent(s, list, (struct slice){ list->after, list->after_len });
    }
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
