/* Parsing SEARCH criteria: see search.h. */
#include "imap/search.h"

#include "imap/fold.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 100 };

enum argument { ARG_NONE, ARG_TEXT, ARG_DAY, ARG_NUMBER, ARG_KEYWORD, ARG_UIDS, ARG_HEADER, ARG_MODSEQ, ARG_ID, ARG_KEY, ARG_TWO_KEYS };

static const struct criterion {
    struct slice name;
    enum search_kind kind;
    enum argument argument;
    uint32_t flags;
    bool is_negated;
    const char *header;         /* of SEARCH_HEADER */
} criteria[] = {
    { SLICE_INIT("ALL"), SEARCH_ALL, ARG_NONE, 0, false, NULL },
    { SLICE_INIT("ANSWERED"), SEARCH_FLAG, ARG_NONE, FLAG_ANSWERED, false, NULL },
    { SLICE_INIT("BCC"), SEARCH_HEADER, ARG_TEXT, 0, false, "Bcc" },
    { SLICE_INIT("BEFORE"), SEARCH_BEFORE, ARG_DAY, 0, false, NULL },
    { SLICE_INIT("BODY"), SEARCH_BODY, ARG_TEXT, 0, false, NULL },
    { SLICE_INIT("CC"), SEARCH_HEADER, ARG_TEXT, 0, false, "Cc" },
    { SLICE_INIT("DELETED"), SEARCH_FLAG, ARG_NONE, FLAG_DELETED, false, NULL },
    { SLICE_INIT("DRAFT"), SEARCH_FLAG, ARG_NONE, FLAG_DRAFT, false, NULL },
    { SLICE_INIT("EMAILID"), SEARCH_EMAILID, ARG_ID, 0, false, NULL },
    { SLICE_INIT("FLAGGED"), SEARCH_FLAG, ARG_NONE, FLAG_FLAGGED, false, NULL },
    { SLICE_INIT("FROM"), SEARCH_HEADER, ARG_TEXT, 0, false, "From" },
    { SLICE_INIT("HEADER"), SEARCH_HEADER, ARG_HEADER, 0, false, NULL },
    { SLICE_INIT("KEYWORD"), SEARCH_KEYWORD, ARG_KEYWORD, 0, false, NULL },
    { SLICE_INIT("LARGER"), SEARCH_LARGER, ARG_NUMBER, 0, false, NULL },
    { SLICE_INIT("MODSEQ"), SEARCH_MODSEQ, ARG_MODSEQ, 0, false, NULL },
    { SLICE_INIT("NEW"), SEARCH_NEW, ARG_NONE, 0, false, NULL },
    { SLICE_INIT("NOT"), SEARCH_NOT, ARG_KEY, 0, false, NULL },
    { SLICE_INIT("OLD"), SEARCH_RECENT, ARG_NONE, 0, true, NULL },
    { SLICE_INIT("OLDER"), SEARCH_OLDER, ARG_NUMBER, 0, false, NULL },
    { SLICE_INIT("ON"), SEARCH_ON, ARG_DAY, 0, false, NULL },
    { SLICE_INIT("OR"), SEARCH_OR, ARG_TWO_KEYS, 0, false, NULL },
    { SLICE_INIT("RECENT"), SEARCH_RECENT, ARG_NONE, 0, false, NULL },
    { SLICE_INIT("SEEN"), SEARCH_FLAG, ARG_NONE, FLAG_SEEN, false, NULL },
    { SLICE_INIT("SENTBEFORE"), SEARCH_SENT_BEFORE, ARG_DAY, 0, false, NULL },
    { SLICE_INIT("SENTON"), SEARCH_SENT_ON, ARG_DAY, 0, false, NULL },
    { SLICE_INIT("SENTSINCE"), SEARCH_SENT_SINCE, ARG_DAY, 0, false, NULL },
    { SLICE_INIT("SINCE"), SEARCH_SINCE, ARG_DAY, 0, false, NULL },
    { SLICE_INIT("SMALLER"), SEARCH_SMALLER, ARG_NUMBER, 0, false, NULL },
    { SLICE_INIT("SUBJECT"), SEARCH_HEADER, ARG_TEXT, 0, false, "Subject" },
    { SLICE_INIT("TEXT"), SEARCH_TEXT, ARG_TEXT, 0, false, NULL },
    { SLICE_INIT("THREADID"), SEARCH_NOTHING, ARG_ID, 0, false, NULL },
    { SLICE_INIT("TO"), SEARCH_HEADER, ARG_TEXT, 0, false, "To" },
    { SLICE_INIT("UID"), SEARCH_SET, ARG_UIDS, 0, false, NULL },
    { SLICE_INIT("UNANSWERED"), SEARCH_FLAG, ARG_NONE, FLAG_ANSWERED, true, NULL },
    { SLICE_INIT("UNDELETED"), SEARCH_FLAG, ARG_NONE, FLAG_DELETED, true, NULL },
    { SLICE_INIT("UNDRAFT"), SEARCH_FLAG, ARG_NONE, FLAG_DRAFT, true, NULL },
    { SLICE_INIT("UNFLAGGED"), SEARCH_FLAG, ARG_NONE, FLAG_FLAGGED, true, NULL },
    { SLICE_INIT("UNKEYWORD"), SEARCH_KEYWORD, ARG_KEYWORD, 0, true, NULL },
    { SLICE_INIT("UNSEEN"), SEARCH_FLAG, ARG_NONE, FLAG_SEEN, true, NULL },
    { SLICE_INIT("YOUNGER"), SEARCH_YOUNGER, ARG_NUMBER, 0, false, NULL },
};

struct search_parser {
    struct imap_session *session;
    struct imap_parser *p;
    bool has_modseq;
};

static struct search_key *parse_key(struct search_parser *sp, unsigned depth);

static unsigned cost_of(enum search_kind kind)
{
    switch (kind) {
    case SEARCH_ALL: case SEARCH_AND: case SEARCH_OR: case SEARCH_NOT: case SEARCH_SET: case SEARCH_FLAG: case SEARCH_KEYWORD:
    case SEARCH_RECENT: case SEARCH_NEW: case SEARCH_LARGER: case SEARCH_SMALLER: case SEARCH_MODSEQ: case SEARCH_BEFORE:
    case SEARCH_ON: case SEARCH_SINCE: case SEARCH_OLDER: case SEARCH_YOUNGER: case SEARCH_EMAILID:
    case SEARCH_NOTHING:
        return 0;
    case SEARCH_SENT_BEFORE: case SEARCH_SENT_ON: case SEARCH_SENT_SINCE: case SEARCH_HEADER:
        return 1;
    case SEARCH_BODY: case SEARCH_TEXT:
        return 2;
    }
    return 0;
}

static struct search_key *new_key(struct search_parser *sp, enum search_kind kind)
{
    struct search_key *key = ARENA_NEW(sp->p->arena, struct search_key);
    if (key == NULL) {
        (void)imap_parse_failed(sp->p, "command too long");
        return NULL;
    }
    key->kind = kind;
    key->cost = cost_of(kind);
    return key;
}

/* Cheapest first, else in order: what is decided by flags needs no message read. */
static void add_child(struct search_key *parent, struct search_key *child)
{
    struct search_key **at = &parent->first;
    while (*at != NULL && (*at)->cost <= child->cost)
        at = &(*at)->next;
    child->next = *at;
    *at = child;
    if (parent->cost < child->cost)
        parent->cost = child->cost;
}

/* ---- arguments ---------------------------------------------------------------------------------------------------------- */

static bool parse_text(struct search_parser *sp, struct slice *text)
{
    struct slice given;
    if (!imap_parse_space(sp->p) || !imap_parse_astring(sp->p, &given))
        return false;
    char *copy = arena_alloc(sp->p->arena, 1, given.len + 1);
    if (copy == NULL)
        return imap_parse_failed(sp->p, "command too long");
    if (given.len > 0)
        memcpy(copy, given.ptr, given.len);
    imap_fold(copy, given.len);
    *text = (struct slice){ copy, given.len };
    return true;
}

/* The set outlives the parser, so its ranges move to the arena. */
static bool parse_set(struct search_parser *sp, struct search_key *key, bool is_uid)
{
    struct slice text;
    const char *error;
    struct uid_set set;
    if (!imap_parse_set(sp->p, &text))
        return false;
    uid_set_init(&set);
    bool ok = imap_resolve_set(sp->session, text, is_uid, &set, &error) || imap_parse_failed(sp->p, error);
    if (ok && set.count > 0) {
        key->set.ranges = ARENA_ARRAY(sp->p->arena, struct uid_range, set.count);
        ok = key->set.ranges != NULL || imap_parse_failed(sp->p, "command too long");
        if (ok)
            memcpy(key->set.ranges, set.ranges, set.count * sizeof(set.ranges[0]));
        key->set.count = set.count;
    }
    uid_set_free(&set);
    return ok;
}

/* MODSEQ ["/flags/\\Seen" all] 7: per-flag modseqs are not kept, so the entry is checked and passed over (RFC 7162 3.1.5). */
static bool parse_modseq(struct search_parser *sp, struct search_key *key)
{
    struct slice ignored;
    sp->has_modseq = true;
    if (!imap_parse_space(sp->p))
        return false;
    if (imap_parse_peeks(sp->p, '"')
        && (!imap_parse_string(sp->p, &ignored) || !imap_parse_space(sp->p) || !imap_parse_atom(sp->p, &ignored)
            || !imap_parse_space(sp->p)))
        return false;
    return imap_parse_number(sp->p, INT64_MAX, &key->number);
}

static bool parse_children(struct search_parser *sp, struct search_key *key, int count, unsigned depth)
{
    for (int i = 0; i < count; i++) {
        struct search_key *child = imap_parse_space(sp->p) ? parse_key(sp, depth + 1) : NULL;
        if (child == NULL)
            return false;
        add_child(key, child);
    }
    return true;
}

static bool parse_argument(struct search_parser *sp, struct search_key *key, enum argument argument, unsigned depth)
{
    struct imap_parser *p = sp->p;
    switch (argument) {
    case ARG_NONE:
        return true;
    case ARG_TEXT:
        return parse_text(sp, &key->text);
    case ARG_DAY:
        return imap_parse_space(p) && imap_parse_day(p, &key->day);
    case ARG_NUMBER:
        return imap_parse_space(p) && imap_parse_number(p, UINT32_MAX, &key->number);
    case ARG_KEYWORD:
        return imap_parse_space(p) && imap_parse_atom(p, &key->name);
    case ARG_UIDS:
        return imap_parse_space(p) && parse_set(sp, key, true);
    case ARG_HEADER:
        return imap_parse_space(p) && imap_parse_astring(p, &key->name) && parse_text(sp, &key->text);
    case ARG_MODSEQ:
        return parse_modseq(sp, key);
    case ARG_ID:
        return imap_parse_space(p) && imap_parse_atom(p, &key->name);
    case ARG_KEY:
        return parse_children(sp, key, 1, depth);
    case ARG_TWO_KEYS:
        return parse_children(sp, key, 2, depth);
    }
    return false;
}

/* The body's id; 0, which no message has, for what was never an id of ours. */
static uint64_t email_of(struct slice name)
{
    char text[17], *end;
    if (!slice_take_byte(&name, 'M') || !slice_to_str(name, text, sizeof(text)) || strspn(text, "0123456789abcdef") != name.len)
        return 0;
    uint64_t id = strtoull(text, &end, 16);
    return *end == '\0' ? id : 0;
}

/* A keyword that the mailbox does not have is on no message; number is its bit as a mask. */
static void resolve_keyword(struct search_parser *sp, struct search_key *key)
{
    uint32_t bit;
    uint64_t wait;
    struct imap_session *s = sp->session;
    if (store_keyword(s->options.store, s->selected.mailbox_id, key->name, false, &bit, &wait, NULL) == RC_OK)
        key->number = 1ull << bit;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------ */

static bool parse_keys(struct search_parser *sp, struct search_key *key, unsigned depth)
{
    do {
        struct search_key *child = parse_key(sp, depth);
        if (child == NULL)
            return false;
        add_child(key, child);
    } while (imap_parse_takes(sp->p, ' '));
    return true;
}

static struct search_key *parse_named(struct search_parser *sp, unsigned depth)
{
    struct slice name;
    if (!imap_parse_atom(sp->p, &name))
        return NULL;
    for (size_t i = 0; i < sizeof(criteria) / sizeof(criteria[0]); i++) {
        const struct criterion *criterion = &criteria[i];
        if (!slice_equal_nocase(name, criterion->name))
            continue;
        struct search_key *key = new_key(sp, criterion->kind);
        if (key == NULL)
            return NULL;
        key->flags = criterion->flags;
        key->is_negated = criterion->is_negated;
        key->name = slice_from_str(criterion->header);
        if (!parse_argument(sp, key, criterion->argument, depth))
            return NULL;
        if (key->kind == SEARCH_KEYWORD)
            resolve_keyword(sp, key);
        if (key->kind == SEARCH_EMAILID)
            key->number = email_of(key->name);
        return key;
    }
    (void)imap_parse_failed(sp->p, "there is no such search key");
    return NULL;
}

static struct search_key *parse_key(struct search_parser *sp, unsigned depth)
{
    struct imap_parser *p = sp->p;
    if (depth > DEPTH_MAX) {
        (void)imap_parse_failed(p, "search keys are nested too deep");
        return NULL;
    }
    if (imap_parse_takes(p, '(')) {
        struct search_key *key = new_key(sp, SEARCH_AND);
        return key != NULL && parse_keys(sp, key, depth + 1) && imap_parse_byte(p, ')') ? key : NULL;
    }
    if (imap_parse_peeks(p, '*') || imap_parse_peeks(p, '$') || (p->in.len > 0 && byte_is_digit((unsigned char)p->in.ptr[0]))) {
        struct search_key *key = new_key(sp, SEARCH_SET);
        return key != NULL && parse_set(sp, key, false) ? key : NULL;
    }
    return parse_named(sp, depth);
}

/* ---- what is to be returned --------------------------------------------------------------------------------------------------- */

static const struct {
    struct slice name;
    unsigned option;
} returns[] = {
    { SLICE_INIT("MIN"), RETURN_MIN },     { SLICE_INIT("MAX"), RETURN_MAX },   { SLICE_INIT("ALL"), RETURN_ALL },
    { SLICE_INIT("COUNT"), RETURN_COUNT }, { SLICE_INIT("SAVE"), RETURN_SAVE }, { SLICE_INIT("PARTIAL"), RETURN_PARTIAL },
};

static bool parse_return(struct imap_parser *p, struct search_return *r)
{
    struct slice name;
    unsigned option = 0;
    if (!imap_parse_atom(p, &name))
        return false;
    for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
        if (slice_equal_nocase(name, returns[i].name))
            option = returns[i].option;
    }
    r->options |= option;
    if (option == 0)
        return imap_parse_failed(p, "there is no such RETURN option");
    return option != RETURN_PARTIAL || (imap_parse_space(p) && imap_parse_partial(p, &r->partial));
}

bool imap_parse_returns(struct imap_parser *p, struct search_return *r)
{
    if (!slice_take_prefix_nocase(&p->in, SLICE("RETURN (")))
        return true;
    r->is_extended = true;
    if (!imap_parse_peeks(p, ')')) {
        do {
            if (!parse_return(p, r))
                return false;
        } while (imap_parse_takes(p, ' '));
    }
    if (r->options == 0)
        r->options = RETURN_ALL;                /* RFC 4731 3.1 */
    if ((r->options & RETURN_ALL) != 0 && (r->options & RETURN_PARTIAL) != 0)
        return imap_parse_failed(p, "PARTIAL and ALL exclude each other");
    return imap_parse_byte(p, ')') && imap_parse_space(p);
}

enum search_syntax imap_parse_search(struct imap_session *s, struct slice charset, struct search_key **root, bool *has_modseq)
{
    struct search_parser sp = { s, &s->args, false };
    if (!slice_equal_nocase(charset, SLICE("UTF-8")) && !slice_equal_nocase(charset, SLICE("US-ASCII")))
        return SEARCH_BAD_CHARSET;
    *root = new_key(&sp, SEARCH_AND);
    if (*root == NULL || !parse_keys(&sp, *root, 0) || !imap_parse_end(&s->args))
        return SEARCH_BAD;
    *has_modseq = sp.has_modseq;
    return SEARCH_GOOD;
}
