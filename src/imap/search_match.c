/* Asking SEARCH criteria about a message: see search.h.
 *
 * Texts are compared after everything that hides them has been taken off: folding, encoded words, transfer encodings,
 * charsets, case. */
#include "imap/search.h"

#include "imap/fold.h"
#include "mail/html.h"

enum { LOAD_WORK = 50 };

/* ---- texts ------------------------------------------------------------------------------------------------------------ */

static bool scratch_has(struct imap_session *s, struct slice needle)
{
    struct buf *text = &s->scratch;
    size_t len = buf_len(text);
    if (len == 0)
        return needle.len == 0;
    imap_fold(text->data + text->start, len);
    return slice_find(buf_slice(text), needle) < len || needle.len == 0;
}

static bool field_has(struct imap_session *s, struct slice body, struct slice needle)
{
    buf_clear(&s->scratch);
    (void)header_decode(body, &s->scratch);
    return scratch_has(s, needle);
}

static bool load_header(struct search_message *m, struct slice *header)
{
    imap_message_use(&m->session->message, &m->message);
    m->work += LOAD_WORK;
    bool ok = imap_message_header(&m->session->message, header) == RC_OK;
    m->has_failed |= !ok;
    return ok;
}

/* RFC 3501 6.4.4 HEADER: an empty text asks whether the field is there. */
static bool header_has(struct search_message *m, struct slice name, struct slice needle)
{
    struct slice header;
    struct header_field field;
    enum rc rc;
    if (!load_header(m, &header))
        return false;
    while ((rc = header_next(&header, &field)) != RC_NONE) {
        if (rc == RC_OK && slice_equal_nocase(field.name, name) && field_has(m->session, field.body, needle))
            return true;
    }
    return false;
}

static bool any_field_has(struct imap_session *s, struct slice header, struct slice needle)
{
    struct header_field field;
    enum rc rc;
    while ((rc = header_next(&header, &field)) != RC_NONE) {
        buf_clear(&s->scratch);
        if (rc == RC_OK) {
            (void)buf_append(&s->scratch, field.name);
            (void)buf_append_str(&s->scratch, ": ");
            (void)header_decode(field.body, &s->scratch);
        } else {
            (void)buf_append(&s->scratch, field.whole);
        }
        if (scratch_has(s, needle))
            return true;
    }
    return false;
}

/* Of HTML what a reader sees; into the scratch buffer. */
static void load_text(struct imap_session *s, struct slice message, const struct mime_part *part)
{
    struct buf html;
    buf_clear(&s->scratch);
    (void)mime_decode_text(message, part, &s->scratch);
    if (!slice_equal(part->type.value, SLICE("text/html")))
        return;
    html = s->scratch;
    buf_init(&s->scratch, html.max_bytes);
    (void)html_text(buf_slice(&html), &s->scratch);
    buf_free(&html);
}

static bool part_has(struct imap_session *s, struct slice message, const struct mime_part *part, struct slice needle)
{
    if (part->parent != NULL && part->parent->is_message
        && any_field_has(s, slice_sub(message, part->header_start, part->body_start - part->header_start), needle))
        return true;
    bool is_leaf = part->first_child == NULL;
    if (is_leaf && slice_starts_nocase(part->type.value, SLICE("text/"))) {
        load_text(s, message, part);
        if (scratch_has(s, needle))
            return true;
    }
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next) {
        if (part_has(s, message, child, needle))
            return true;
    }
    return false;
}

static bool body_has(struct search_message *m, struct slice needle)
{
    struct slice whole;
    const struct mime_message *mime = NULL;
    if (needle.len == 0)
        return true;
    imap_message_use(&m->session->message, &m->message);
    m->work += LOAD_WORK + m->message.size / 256;
    if (imap_message_mime(&m->session->message, &whole, &mime) != RC_OK) {
        m->has_failed = true;
        return false;
    }
    return part_has(m->session, whole, mime->root, needle);
}

static bool text_has(struct search_message *m, struct slice needle)
{
    struct slice header;
    return (load_header(m, &header) && any_field_has(m->session, header, needle)) || body_has(m, needle);
}

/* ---- dates -------------------------------------------------------------------------------------------------------------- */

static int64_t received_day(const struct search_message *m)
{
    return date_day((struct mail_date){ m->message.internal_s, m->message.internal_zone_min });
}

/* A message that does not say when it was sent was sent when it came. */
static int64_t sent_day(struct search_message *m)
{
    struct slice header;
    struct header_field field;
    struct mail_date date;
    bool has_date = load_header(m, &header) && header_find(header, SLICE("Date"), &field) == RC_OK
                    && date_parse(field.body, &date) == RC_OK;
    return has_date ? date_day(date) : received_day(m);
}

/* ---- keys ----------------------------------------------------------------------------------------------------------------- */

static bool is_recent(const struct search_message *m)
{
    return m->message.uid >= store_view_recent_uid(m->session->selected.view);
}

static bool matches(struct search_message *m, const struct search_key *key)
{
    switch (key->kind) {
    case SEARCH_ALL:
        return true;
    case SEARCH_AND:
        for (const struct search_key *child = key->first; child != NULL; child = child->next) {
            if (!imap_search_matches(m, child))
                return false;
        }
        return true;
    case SEARCH_OR:
        return imap_search_matches(m, key->first) || imap_search_matches(m, key->first->next);
    case SEARCH_NOT:
        return !imap_search_matches(m, key->first);
    case SEARCH_SET:
        return key->set.count > 0 && uid_set_contains(&key->set, m->seq);
    case SEARCH_FLAG:
        return (m->message.flags & key->flags) != 0;
    case SEARCH_KEYWORD:
        return (m->message.keywords & key->number) != 0;
    case SEARCH_RECENT:
        return is_recent(m);
    case SEARCH_NEW:
        return is_recent(m) && (m->message.flags & FLAG_SEEN) == 0;
    case SEARCH_LARGER:
        return m->message.size > key->number;
    case SEARCH_SMALLER:
        return m->message.size < key->number;
    case SEARCH_MODSEQ:
        return m->message.modseq >= key->number;
    case SEARCH_BEFORE:
        return received_day(m) < key->day;
    case SEARCH_ON:
        return received_day(m) == key->day;
    case SEARCH_SINCE:
        return received_day(m) >= key->day;
    case SEARCH_EMAILID:
        return key->number != 0 && m->message.body_id == key->number;
    case SEARCH_NOTHING:
        return false;
    case SEARCH_OLDER:                          /* RFC 5032 */
        return m->message.internal_s < m->session->now.unix_s - (int64_t)key->number;
    case SEARCH_YOUNGER:
        return m->message.internal_s >= m->session->now.unix_s - (int64_t)key->number;
    case SEARCH_SENT_BEFORE:
        return sent_day(m) < key->day;
    case SEARCH_SENT_ON:
        return sent_day(m) == key->day;
    case SEARCH_SENT_SINCE:
        return sent_day(m) >= key->day;
    case SEARCH_HEADER:
        return header_has(m, key->name, key->text);
    case SEARCH_BODY:
        return body_has(m, key->text);
    case SEARCH_TEXT:
        return text_has(m, key->text);
    }
    return false;
}

bool imap_search_matches(struct search_message *m, const struct search_key *key)
{
    m->work++;
    return matches(m, key) != key->is_negated;
}
