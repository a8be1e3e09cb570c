/* What an IMAP server says (RFC 9051 7, RFC 3501 7; RFC 4315, RFC 7162): responses with their literals, into the client's view. */
#include "sim/client_imap.h"

#include <stdio.h>
#include <stdlib.h>

static const struct { const char *name; uint32_t bit; } flag_names[] = {
    { "\\Seen", IMAP_SEEN }, { "\\Answered", IMAP_ANSWERED }, { "\\Flagged", IMAP_FLAGGED }, { "\\Deleted", IMAP_DELETED },
    { "\\Draft", IMAP_DRAFT }, { "$Forwarded", IMAP_FORWARDED }, { "$Junk", IMAP_JUNK }, { "work", IMAP_WORK }, { "home", IMAP_HOME },
    { "\\Recent", 0 },
};

void imap_is_wrong(struct imap *imap, const char *format, ...)
{
    va_list arguments;
    if (imap->wrong[0] != '\0')
        return;
    va_start(arguments, format);
    (void)vsnprintf(imap->wrong, sizeof(imap->wrong), format, arguments);
    va_end(arguments);
}

bool numbers_add(struct imap_numbers *numbers, uint32_t number)
{
    if (numbers->count == numbers->cap) {
        size_t cap = numbers->cap == 0 ? 64 : numbers->cap * 2;
        uint32_t *list = realloc(numbers->list, cap * sizeof(*list));
        if (list == NULL)
            return false;
        numbers->list = list;
        numbers->cap = cap;
    }
    numbers->list[numbers->count++] = number;
    return true;
}

void imap_flags_text(uint32_t flags, char text[160])
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
        if ((flag_names[i].bit & flags) != 0)
            len += (size_t)snprintf(text + len, 160 - len, "%s%s", len > 0 ? " " : "", flag_names[i].name);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static bool ends_atom(unsigned char c) { return c == ' ' || c == '(' || c == ')' || c == '\r' || c == '\n'; }
static bool is_atom_byte(unsigned char c) { return !ends_atom(c); }

static void skip_space(struct slice *in)
{
    while (slice_take_byte(in, ' '))
        ;
}

/* A literal stands in the response as "{n}" CRLF and its bytes. */
static bool take_literal(struct slice *in, struct slice *out)
{
    uint64_t len;
    if (!slice_take_byte(in, '{') || !slice_take_number(in, STREAM_MAX, &len) || !slice_take_prefix_nocase(in, SLICE("}\r\n")) || in->len < len)
        return false;
    *out = slice_take(in, (size_t)len);
    return true;
}

/* Atom, quoted string (escapes stay: these clients' names have none but in tests of their own) or literal. */
static bool take_string(struct slice *in, struct slice *out)
{
    skip_space(in);
    if (in->len > 0 && in->ptr[0] == '{')
        return take_literal(in, out);
    if (!slice_take_byte(in, '"')) {
        *out = slice_take_while(in, is_atom_byte);
        return out->len > 0;
    }
    size_t len = 0;
    while (len < in->len && in->ptr[len] != '"')
        len += in->ptr[len] == '\\' ? 2 : 1;
    if (len >= in->len)
        return false;
    *out = slice_take(in, len);
    return slice_take_byte(in, '"');
}

static uint32_t take_flags(struct slice *in)
{
    uint32_t flags = 0;
    skip_space(in);
    if (!slice_take_byte(in, '('))
        return 0;
    while (in->len > 0 && !slice_take_byte(in, ')')) {
        struct slice word = slice_take_while(in, is_atom_byte);
        uint32_t bit = IMAP_OTHER;
        for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
            if (slice_equal_nocase(word, slice_from_str(flag_names[i].name)))
                bit = flag_names[i].bit;
        flags |= word.len > 0 ? bit : 0;
        if (word.len == 0 && !slice_take_byte(in, ' '))
            break;
    }
    return flags;
}

/* Whatever stands there, with its parentheses and brackets. */
static void skip_value(struct slice *in)
{
    struct slice ignored;
    size_t depth = 0;
    do {
        skip_space(in);
        if (slice_take_byte(in, '('))
            depth++;
        else if (slice_take_byte(in, ')'))
            depth -= depth > 0 ? 1 : 0;
        else if (!take_string(in, &ignored))
            return;
    } while (depth > 0 && in->len > 0);
}

/* "1:3,7": each number, or as ranges into two lists. */
static void take_set(struct imap *imap, struct slice *in, struct imap_numbers *from, struct imap_numbers *to)
{
    enum { RANGE_MAX = 1000000 };
    do {
        uint64_t first, last;
        if (!slice_take_number(in, UINT32_MAX, &first))
            return;
        last = first;
        if (slice_take_byte(in, ':') && !slice_take_number(in, UINT32_MAX, &last))
            return;
        if (last < first || last - first > RANGE_MAX) {
            imap_is_wrong(imap, "a range %llu:%llu", (unsigned long long)first, (unsigned long long)last);
            return;
        }
        if (to != NULL) {
            (void)numbers_add(from, (uint32_t)first);
            (void)numbers_add(to, (uint32_t)last);
            continue;
        }
        for (uint64_t n = first; n <= last; n++)
            (void)numbers_add(from, (uint32_t)n);
    } while (slice_take_byte(in, ','));
}

/* ---- the view ---------------------------------------------------------------------------------------------------- */

static void on_exists(struct imap *imap, uint64_t count)
{
    struct imap_view *view = &imap->view;
    if (count < view->count)
        imap_is_wrong(imap, "EXISTS fell from %zu to %llu without an EXPUNGE", view->count, (unsigned long long)count);
    if (count <= view->count)
        return;
    if (count > imap->view_cap) {
        size_t cap = (size_t)count + 64;
        struct imap_message *messages = realloc(view->messages, cap * sizeof(*messages));
        if (messages == NULL)
            return;
        view->messages = messages;
        imap->view_cap = cap;
    }
    memset(view->messages + view->count, 0, ((size_t)count - view->count) * sizeof(view->messages[0]));
    view->count = (size_t)count;
}

static void remove_at(struct imap_view *view, size_t at)
{
    view->count--;
    memmove(view->messages + at, view->messages + at + 1, (view->count - at) * sizeof(view->messages[0]));
    view->expunged++;
}

static void on_expunge(struct imap *imap, uint64_t number)
{
    if (number == 0 || number > imap->view.count)
        imap_is_wrong(imap, "EXPUNGE of %llu where there are %zu", (unsigned long long)number, imap->view.count);
    else
        remove_at(&imap->view, (size_t)number - 1);
}

/* A message whose uid this client was not told stands between those that it knows. */
static size_t place_of(const struct imap_view *view, uint32_t uid)
{
    size_t unknown = view->count;
    for (size_t at = 0; at < view->count; at++) {
        uint32_t here = view->messages[at].uid;
        if (here == uid)
            return at;
        if (here > uid)
            break;
        unknown = here == 0 && unknown == view->count ? at : here == 0 ? unknown : view->count;
    }
    return unknown;
}

static void vanish(struct imap *imap, uint32_t first, uint32_t last)
{
    for (uint64_t uid = first; uid <= last; uid++) {
        size_t at = place_of(&imap->view, (uint32_t)uid);
        if (at < imap->view.count)
            remove_at(&imap->view, at);
        else
            imap_is_wrong(imap, "VANISHED %u:%u names %llu that was not there", first, last, (unsigned long long)uid);
    }
}

static void on_vanished(struct imap *imap, struct slice rest)
{
    skip_space(&rest);
    if (slice_take_prefix_nocase(&rest, SLICE("(EARLIER) "))) {
        take_set(imap, &rest, &imap->gone_from, &imap->gone_to);
        return;
    }
    struct imap_numbers from = { NULL, 0, 0 }, to = { NULL, 0, 0 };
    take_set(imap, &rest, &from, &to);
    for (size_t i = 0; i < from.count; i++)
        vanish(imap, from.list[i], to.list[i]);
    free(from.list);
    free(to.list);
}

static void place_uid(struct imap *imap, size_t at, uint32_t uid)
{
    const struct imap_message *messages = imap->view.messages;
    if (messages[at].uid != 0 && messages[at].uid != uid)
        imap_is_wrong(imap, "message %zu was uid %u and is now %u", at + 1, messages[at].uid, uid);
    if (at > 0 && messages[at - 1].uid >= uid)
        imap_is_wrong(imap, "message %zu has uid %u behind %u", at + 1, uid, messages[at - 1].uid);
    if (at + 1 < imap->view.count && messages[at + 1].uid != 0 && messages[at + 1].uid <= uid)
        imap_is_wrong(imap, "message %zu has uid %u before %u", at + 1, uid, messages[at + 1].uid);
    imap->view.messages[at].uid = uid;
}

static void add_changed(struct imap *imap, const struct imap_message *message)
{
    if (imap->changed_count == imap->changed_cap) {
        size_t cap = imap->changed_cap == 0 ? 64 : imap->changed_cap * 2;
        struct imap_message *list = realloc(imap->changed, cap * sizeof(*list));
        if (list == NULL)
            return;
        imap->changed = list;
        imap->changed_cap = cap;
    }
    imap->changed[imap->changed_count++] = *message;
}

static void keep_text(struct imap *imap, struct slice text)
{
    buf_clear(&imap->text);
    imap->has_text = buf_append(&imap->text, text) || text.len == 0;
}

static void on_fetch(struct imap *imap, uint64_t number, struct slice rest)
{
    struct slice key, text = SLICE_NONE;
    uint64_t value, modseq = 0, uid = 0;
    uint32_t flags = 0;
    bool has_flags = false, has_text = false;
    skip_space(&rest);
    if (!slice_take_byte(&rest, '('))
        imap_is_wrong(imap, "FETCH without a list");
    while (rest.len > 0 && !slice_take_byte(&rest, ')')) {
        skip_space(&rest);
        key = slice_take_while(&rest, is_atom_byte);
        if (key.len == 0)
            break;
        skip_space(&rest);
        if (slice_equal_nocase(key, SLICE("UID"))) {
            (void)slice_take_number(&rest, UINT32_MAX, &uid);
        } else if (slice_equal_nocase(key, SLICE("FLAGS"))) {
            flags = take_flags(&rest);
            has_flags = true;
        } else if (slice_equal_nocase(key, SLICE("MODSEQ")) && slice_take_byte(&rest, '(') && slice_take_number(&rest, INT64_MAX, &value) &&
                   slice_take_byte(&rest, ')')) {
            modseq = value;
        } else if (slice_equal_nocase(key, SLICE("BODY[]"))) {
            has_text = take_string(&rest, &text);
        } else {
            skip_value(&rest);
        }
    }
    if (number == 0 || number > imap->view.count) {
        imap_is_wrong(imap, "FETCH of %llu where there are %zu", (unsigned long long)number, imap->view.count);
        return;
    }
    struct imap_message *message = &imap->view.messages[number - 1];
    if (uid != 0)
        place_uid(imap, (size_t)number - 1, (uint32_t)uid);
    if (modseq != 0 && modseq < message->modseq)
        imap_is_wrong(imap, "uid %u: modseq fell from %llu to %llu", message->uid, (unsigned long long)message->modseq, (unsigned long long)modseq);
    message->modseq = modseq != 0 ? modseq : message->modseq;
    message->flags = has_flags ? flags : message->flags;
    if (has_text && message->uid == imap->wanted_uid)
        keep_text(imap, text);
    if (uid != 0 && has_flags)
        add_changed(imap, &(struct imap_message){ (uint32_t)uid, flags, modseq });
}

/* ---- codes and data ---------------------------------------------------------------------------------------------- */

static void take_capabilities(struct imap *imap, struct slice rest)
{
    buf_clear(&imap->capabilities);
    (void)buf_append_byte(&imap->capabilities, ' ');
    (void)buf_append(&imap->capabilities, slice_trim(rest));
    (void)buf_append_byte(&imap->capabilities, ' ');
}

static void on_code(struct imap *imap, struct slice text)
{
    uint64_t number = 0, validity = 0;
    skip_space(&text);
    if (!slice_take_byte(&text, '['))
        return;
    struct slice code = slice_take_until(&text, ']'), name = slice_take_until(&code, ' '), rest = code;
    if (slice_equal_nocase(name, SLICE("CAPABILITY"))) {
        take_capabilities(imap, rest);
    } else if (slice_equal_nocase(name, SLICE("UIDVALIDITY")) && slice_take_number(&rest, UINT32_MAX, &number)) {
        imap->view.uid_validity = (uint32_t)number;
    } else if (slice_equal_nocase(name, SLICE("UIDNEXT")) && slice_take_number(&rest, UINT32_MAX, &number)) {
        imap->view.uid_next = (uint32_t)number;
    } else if (slice_equal_nocase(name, SLICE("HIGHESTMODSEQ")) && slice_take_number(&rest, INT64_MAX, &number)) {
        if (imap->has_view && number < imap->view.highest_modseq)
            imap_is_wrong(imap, "HIGHESTMODSEQ fell from %llu to %llu", (unsigned long long)imap->view.highest_modseq, (unsigned long long)number);
        imap->view.highest_modseq = number;
    } else if (slice_equal_nocase(name, SLICE("APPENDUID")) && slice_take_number(&rest, UINT32_MAX, &validity) && slice_take_byte(&rest, ' ') &&
               slice_take_number(&rest, UINT32_MAX, &number)) {
        imap->answer_validity = (uint32_t)validity;
        imap->answer_uid = (uint32_t)number;
    } else if (slice_equal_nocase(name, SLICE("COPYUID")) && slice_take_number(&rest, UINT32_MAX, &validity) && slice_take_byte(&rest, ' ')) {
        imap->answer_validity = (uint32_t)validity;
        take_set(imap, &rest, &imap->from, NULL);
        if (slice_take_byte(&rest, ' '))
            take_set(imap, &rest, &imap->to, NULL);
        if (imap->from.count != imap->to.count)
            imap_is_wrong(imap, "COPYUID has %zu uids for %zu", imap->to.count, imap->from.count);
    } else if (slice_equal_nocase(name, SLICE("MODIFIED"))) {
        take_set(imap, &rest, &imap->found, NULL);
    }
}

static void on_status(struct imap *imap, struct slice rest)
{
    struct slice name, key;
    uint64_t value;
    (void)take_string(&rest, &name);
    skip_space(&rest);
    if (!slice_take_byte(&rest, '('))
        return;
    while ((key = slice_take_while(&rest, is_atom_byte)).len > 0 && slice_take_byte(&rest, ' ') && slice_take_number(&rest, INT64_MAX, &value)) {
        if (slice_equal_nocase(key, SLICE("MESSAGES")))
            imap->status.messages = (uint32_t)value;
        else if (slice_equal_nocase(key, SLICE("UIDNEXT")))
            imap->status.uid_next = (uint32_t)value;
        else if (slice_equal_nocase(key, SLICE("UIDVALIDITY")))
            imap->status.uid_validity = (uint32_t)value;
        else if (slice_equal_nocase(key, SLICE("UNSEEN")))
            imap->status.unseen = (uint32_t)value;
        else if (slice_equal_nocase(key, SLICE("HIGHESTMODSEQ")))
            imap->status.highest_modseq = value;
        skip_space(&rest);
    }
}

static void on_list(struct imap *imap, struct slice rest)
{
    struct slice name, separator;
    skip_space(&rest);
    struct slice attributes = slice_take_until(&rest, ')');
    if (slice_find_nocase(attributes, SLICE("\\NonExistent")) < attributes.len || !take_string(&rest, &separator) || !take_string(&rest, &name))
        return;
    (void)buf_append(&imap->names, name);
    (void)buf_append_byte(&imap->names, '\0');
    imap->name_count++;
}

static void on_search(struct imap *imap, struct slice rest)
{
    uint64_t number;
    skip_space(&rest);
    while (slice_take_number(&rest, UINT32_MAX, &number)) {
        (void)numbers_add(&imap->found, (uint32_t)number);
        skip_space(&rest);
    }
}

static void on_word(struct imap *imap, struct slice word, struct slice rest)
{
    if (slice_equal_nocase(word, SLICE("OK")) || slice_equal_nocase(word, SLICE("NO")) || slice_equal_nocase(word, SLICE("PREAUTH")))
        on_code(imap, rest);
    else if (slice_equal_nocase(word, SLICE("BYE")))
        imap->is_bye = true;
    else if (slice_equal_nocase(word, SLICE("CAPABILITY")))
        take_capabilities(imap, rest);
    else if (slice_equal_nocase(word, SLICE("LIST")) || slice_equal_nocase(word, SLICE("LSUB")))
        on_list(imap, rest);
    else if (slice_equal_nocase(word, SLICE("STATUS")))
        on_status(imap, rest);
    else if (slice_equal_nocase(word, SLICE("SEARCH")))
        on_search(imap, rest);
    else if (slice_equal_nocase(word, SLICE("VANISHED")))
        on_vanished(imap, rest);
}

static void on_untagged(struct imap *imap, struct slice rest)
{
    uint64_t number;
    bool is_number = slice_take_number(&rest, UINT32_MAX, &number);
    skip_space(&rest);
    struct slice word = slice_take_while(&rest, is_atom_byte);
    if (!is_number)
        on_word(imap, word, rest);
    else if (slice_equal_nocase(word, SLICE("EXISTS")))
        on_exists(imap, number);
    else if (slice_equal_nocase(word, SLICE("EXPUNGE")))
        on_expunge(imap, number);
    else if (slice_equal_nocase(word, SLICE("FETCH")))
        on_fetch(imap, number, rest);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool literal_follows(struct slice line, uint64_t *len)
{
    size_t at = line.len;
    if (at < 3 || line.ptr[at - 1] != '}')
        return false;
    while (at > 0 && line.ptr[at - 1] != '{')
        at--;
    struct slice digits = slice_sub(line, at, line.len - at - 1);
    return at > 0 && slice_take_number(&digits, STREAM_MAX, len) && digits.len == 0;
}

/* Lines and literals up to the line that ends without one. */
static bool read_response(struct imap *imap)
{
    struct slice line, literal;
    uint64_t len;
    buf_clear(&imap->response);
    while (stream_line(&imap->stream, &line)) {
        bool has_literal = literal_follows(line, &len);
        (void)buf_append(&imap->response, line);
        if (!has_literal)
            return true;
        (void)buf_append_str(&imap->response, "\r\n");
        if (!stream_bytes(&imap->stream, (size_t)len, &literal))
            return false;
        (void)buf_append(&imap->response, literal);
    }
    return false;
}

enum imap_end imap_read(struct imap *imap, bool *is_go_on)
{
    char tag[16];
    *is_go_on = false;
    (void)snprintf(tag, sizeof(tag), "a%u ", imap->tag);
    if (!read_response(imap))
        return IMAP_LOST;
    struct slice rest = buf_slice(&imap->response);
    if (slice_take_prefix_nocase(&rest, SLICE("* "))) {
        on_untagged(imap, rest);
        if (imap->is_bye)
            (void)snprintf(imap->reply, sizeof(imap->reply), "%.*s", (int)(rest.len < 200 ? rest.len : 200), rest.ptr);
        return IMAP_LOST;
    }
    if (rest.len > 0 && rest.ptr[0] == '+') {
        *is_go_on = true;
        return IMAP_LOST;
    }
    if (!slice_take_prefix_nocase(&rest, slice_from_str(tag))) {
        imap_is_wrong(imap, "neither tagged nor untagged: %.*s", (int)(rest.len < 60 ? rest.len : 60), rest.ptr);
        return IMAP_BAD;
    }
    (void)snprintf(imap->reply, sizeof(imap->reply), "%.*s", (int)(rest.len < 200 ? rest.len : 200), rest.ptr);
    struct slice word = slice_take_while(&rest, is_atom_byte);
    on_code(imap, rest);
    return slice_equal_nocase(word, SLICE("OK")) ? IMAP_OK : slice_equal_nocase(word, SLICE("NO")) ? IMAP_NO : IMAP_BAD;
}
