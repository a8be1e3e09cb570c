/* Reading messages into threads: see thread.h. What follows RFC 5256 3, REFERENCES, step 1; the other steps are in thread_build.c. */
#include "imap/thread.h"

#include "imap/fold.h"
#include "mail/header.h"
#include "mail/subject.h"

#include <string.h>

enum { DEPTH_MAX = 10000 };     /* of a thread: nobody answers so often, and each link looks for a loop above it */

static const struct slice kinds[] = {
    [THREAD_ORDEREDSUBJECT] = SLICE_INIT("ORDEREDSUBJECT"), [THREAD_REFERENCES] = SLICE_INIT("REFERENCES"), [THREAD_REFS] = SLICE_INIT("REFS"),
};

bool imap_parse_thread_kind(struct imap_parser *p, enum thread_kind *kind)
{
    struct slice name;
    if (!imap_parse_atom(p, &name))
        return false;
    for (enum thread_kind i = THREAD_ORDEREDSUBJECT; i <= THREAD_REFS; i++) {
        if (!slice_equal_nocase(name, kinds[i]))
            continue;
        *kind = i;
        return true;
    }
    return imap_parse_failed(p, "threads are made by ORDEREDSUBJECT, REFERENCES or REFS");
}

void threads_init(struct threads *threads, enum thread_kind kind, struct arena *arena, const uint64_t seed[2])
{
    *threads = (struct threads){ .kind = kind, .arena = arena };
    map_init(&threads->by_id, seed);
}

void threads_free(struct threads *threads) { map_free(&threads->by_id); }

/* ---- links --------------------------------------------------------------------------------------------------------------- */

void thread_append(struct thread_node *parent, struct thread_node *child)
{
    child->parent = parent;
    child->next = NULL;
    if (parent->last == NULL)
        parent->first = child;
    else
        parent->last->next = child;
    parent->last = child;
}

/* Only the parent is noted while messages come: the lists are made when all are there. */
static bool would_loop(const struct thread_node *parent, const struct thread_node *child)
{
    unsigned depth = 0;
    for (const struct thread_node *n = parent; n != NULL; n = n->parent) {
        if (n == child || ++depth > DEPTH_MAX)
            return true;
    }
    return false;
}

static void link_to(struct thread_node *parent, struct thread_node *child)
{
    if (!would_loop(parent, child))
        child->parent = parent;
}

/* ---- message ids ------------------------------------------------------------------------------------------------------------ */

/* The next "<id>" of a field's body, without its brackets; white space within is no part of it. */
static bool next_id(struct slice *body, struct slice *id)
{
    while (body->len > 0) {
        if (!slice_take_byte(body, '<')) {
            (void)slice_take(body, 1);
            continue;
        }
        size_t end = slice_find(*body, SLICE(">"));
        if (end >= body->len)
            return false;
        *id = slice_trim(slice_take(body, end));
        (void)slice_take(body, 1);
        if (id->len > 0)
            return true;
    }
    return false;
}

static struct thread_node *new_node(struct threads *threads) { return ARENA_NEW(threads->arena, struct thread_node); }

/* The node of an id, a gap when nobody has it yet; NULL: out of memory. */
static struct thread_node *node_of(struct threads *threads, struct slice id)
{
    struct thread_node *node = map_get(&threads->by_id, id);
    if (node != NULL)
        return node;
    struct slice key = arena_copy(threads->arena, id);
    node = new_node(threads);
    return key.ptr != NULL && node != NULL && map_put(&threads->by_id, key, node) ? node : NULL;
}

/* ---- one message ---------------------------------------------------------------------------------------------------------------- */

static struct slice field_body(struct slice header, struct slice name)
{
    struct header_field field;
    return header.len > 0 && header_find(header, name, &field) == RC_OK ? field.body : SLICE_NONE;
}

/* Step 1.A: each one that is named answers the one before it; 1.B: the message answers the last one. */
static bool link_references(struct threads *threads, struct thread_node *message, struct slice header)
{
    struct slice references = field_body(header, SLICE("References")), id;
    struct slice rest = references;
    size_t count = 0, skip = 0;
    while (next_id(&rest, &id))
        count++;
    bool is_reply_to = count == 0;              /* of In-Reply-To the first id counts, and no other */
    if (is_reply_to)
        references = field_body(header, SLICE("In-Reply-To"));
    else if (count > THREAD_REFERENCES_MAX)
        skip = count - THREAD_REFERENCES_MAX;
    struct thread_node *before = NULL;
    for (size_t i = 0; next_id(&references, &id) && !(is_reply_to && i > 0); i++) {
        if (i < skip)
            continue;
        struct thread_node *node = node_of(threads, id);
        if (node == NULL)
            return false;
        if (before != NULL && node->parent == NULL)
            link_to(before, node);
        before = node;
    }
    message->parent = NULL;                     /* what others made of it was a guess */
    if (before != NULL)
        link_to(before, message);
    return true;
}

/* An id that another message has already is none. */
static struct thread_node *own_node(struct threads *threads, struct slice header)
{
    struct slice body = field_body(header, SLICE("Message-ID")), id;
    if (threads->kind == THREAD_ORDEREDSUBJECT || !next_id(&body, &id))
        return new_node(threads);
    struct thread_node *node = node_of(threads, id);
    return node != NULL && node->seq != 0 ? new_node(threads) : node;
}

static bool set_subject(struct threads *threads, struct imap_session *s, struct thread_node *node, struct slice header)
{
    buf_clear(&s->scratch);
    (void)subject_base(field_body(header, SLICE("Subject")), &s->scratch, &node->is_reply);
    imap_fold(s->scratch.data + s->scratch.start, buf_len(&s->scratch));
    node->subject = arena_copy(threads->arena, buf_slice(&s->scratch));
    return node->subject.ptr != NULL || node->subject.len == 0;
}

static bool keep(struct threads *threads, struct thread_node *node)
{
    if (threads->count == threads->cap) {
        size_t cap = threads->cap == 0 ? 64 : threads->cap * 2;
        struct thread_node **larger = ARENA_ARRAY(threads->arena, struct thread_node *, cap);
        if (larger == NULL)
            return false;
        if (threads->count > 0)
            memcpy(larger, threads->messages, threads->count * sizeof(struct thread_node *));
        threads->messages = larger;
        threads->cap = cap;
    }
    threads->messages[threads->count++] = node;
    return true;
}

enum rc threads_add(struct threads *threads, struct imap_session *s, uint32_t seq)
{
    struct store_message message;
    struct slice header = SLICE_NONE;
    struct mail_date date;
    store_view_at(s->selected.view, seq, &message);
    imap_message_use(&s->message, &message);
    enum rc rc = imap_message_header(&s->message, &header);
    if (rc != RC_OK)
        header = SLICE_NONE;
    struct thread_node *node = own_node(threads, header);
    if (node == NULL || !keep(threads, node))
        return RC_TEMP;
    node->seq = seq;
    node->arrived_s = message.internal_s;
    struct slice sent = field_body(header, SLICE("Date"));
    node->sent_s = sent.ptr != NULL && date_parse(sent, &date) == RC_OK ? date.unix_s : message.internal_s;
    if (!set_subject(threads, s, node, header))
        return RC_TEMP;
    if (threads->kind != THREAD_ORDEREDSUBJECT && !link_references(threads, node, header))
        return RC_TEMP;
    return rc == RC_OK ? RC_OK : RC_PERM;
}
