/* Threads out of messages: see thread.h. Trees are walked without recursion: strangers decide how deep they are. */
#include "imap/thread.h"

#include <stdlib.h>

/* ---- walking -------------------------------------------------------------------------------------------------------------- */

/* The node behind this one when parents come after their children; NULL behind `root`. */
static struct thread_node *deepest(struct thread_node *node)
{
    while (node->first != NULL)
        node = node->first;
    return node;
}

static struct thread_node *next_upwards(struct thread_node *root, struct thread_node *node)
{
    if (node == root)
        return NULL;
    return node->next != NULL ? deepest(node->next) : node->parent;
}

/* ---- order ------------------------------------------------------------------------------------------------------------------ */

/* A gap is as old as the first of its children, which are in order already. */
static const struct thread_node *speaks_for(const struct thread_node *node) { return node->seq != 0 || node->first == NULL ? node : node->first; }

static int by_seq(const struct thread_node *a, const struct thread_node *b) { return (a->seq > b->seq) - (a->seq < b->seq); }

static int by_sent(const void *x, const void *y)
{
    const struct thread_node *a = speaks_for(*(struct thread_node *const *)x), *b = speaks_for(*(struct thread_node *const *)y);
    return a->sent_s != b->sent_s ? (a->sent_s > b->sent_s) - (a->sent_s < b->sent_s) : by_seq(a, b);
}

/* arrived_s of a thread's first node is the latest of the thread by then (REFS). */
static int by_latest(const void *x, const void *y)
{
    const struct thread_node *a = *(struct thread_node *const *)x, *b = *(struct thread_node *const *)y;
    return a->arrived_s != b->arrived_s ? (a->arrived_s > b->arrived_s) - (a->arrived_s < b->arrived_s) : by_seq(speaks_for(a), speaks_for(b));
}

static int by_subject(const void *x, const void *y)
{
    const struct thread_node *a = *(struct thread_node *const *)x, *b = *(struct thread_node *const *)y;
    int result = slice_compare(a->subject, b->subject);
    return result != 0 ? result : by_sent(x, y);
}

typedef int order(const void *, const void *);

static void sort_children(struct thread_node *parent, struct thread_node **space, order *compare)
{
    size_t count = 0;
    for (struct thread_node *n = parent->first; n != NULL; n = n->next)
        space[count++] = n;
    if (count < 2)
        return;
    qsort(space, count, sizeof(struct thread_node *), compare);
    parent->first = parent->last = NULL;
    for (size_t i = 0; i < count; i++)
        thread_append(parent, space[i]);
}

/* ---- steps 2 and 3: the forest, without gaps that hold nothing together --------------------------------------------------------- */

static void plant(struct threads *threads)
{
    struct thread_node *node;
    for (size_t i = 0; i < threads->count; i++)
        thread_append(threads->messages[i]->parent != NULL ? threads->messages[i]->parent : &threads->root, threads->messages[i]);
    size_t at = 0;
    struct slice id;
    while ((node = map_next(&threads->by_id, &at, &id)) != NULL) {
        if (node->seq == 0)
            thread_append(node->parent != NULL ? node->parent : &threads->root, node);
    }
}

/* The children of a parent anew: a gap goes, or its children stand in its place. */
static void prune_children(struct threads *threads, struct thread_node *parent)
{
    struct thread_node *next, *child = parent->first;
    parent->first = parent->last = NULL;
    for (; child != NULL; child = next) {
        next = child->next;
        bool is_gap = child->seq == 0;
        bool is_kept = !is_gap || (parent == &threads->root && child->first != NULL && child->first != child->last);
        if (is_kept) {
            thread_append(parent, child);
            continue;
        }
        for (struct thread_node *after, *n = child->first; n != NULL; n = after) {
            after = n->next;
            thread_append(parent, n);
        }
    }
}

static void prune(struct threads *threads)
{
    struct thread_node *next;
    for (struct thread_node *node = deepest(&threads->root); node != NULL; node = next) {
        next = next_upwards(&threads->root, node);
        prune_children(threads, node);
    }
}

/* ---- step 5: threads of one subject are one ---------------------------------------------------------------------------------------- */

static bool is_better(const struct thread_node *known, const struct thread_node *node)
{
    return known->seq != 0 && (node->seq == 0 || (speaks_for(known)->is_reply && !speaks_for(node)->is_reply));
}

static bool note_subjects(struct threads *threads, struct map *subjects)
{
    for (struct thread_node *n = threads->root.first; n != NULL; n = n->next) {
        struct slice subject = speaks_for(n)->subject;
        const struct thread_node *known = subject.len > 0 ? map_get(subjects, subject) : NULL;
        if (subject.len > 0 && (known == NULL || is_better(known, n)) && !map_put(subjects, subject, n))
            return false;
    }
    return true;
}

static void move_children(struct thread_node *from, struct thread_node *to)
{
    for (struct thread_node *next, *n = from->first; n != NULL; n = next) {
        next = n->next;
        thread_append(to, n);
    }
}

/* `node` goes to the thread of its subject. False: out of memory. The new gap takes the place of `known` in the forest. */
static bool merge(struct threads *threads, struct map *subjects, struct thread_node *known, struct thread_node *node)
{
    if (known->seq == 0 && node->seq == 0) {
        move_children(node, known);
    } else if (known->seq == 0 || (speaks_for(node)->is_reply && !speaks_for(known)->is_reply)) {
        thread_append(known, node);
    } else {
        struct thread_node *copy = ARENA_NEW(threads->arena, struct thread_node);
        if (copy == NULL)
            return false;
        *copy = *known;                         /* the message becomes a child of what was its own place */
        for (struct thread_node *n = copy->first; n != NULL; n = n->next)
            n->parent = copy;
        *known = (struct thread_node){ .parent = known->parent, .next = known->next };
        thread_append(known, copy);
        thread_append(known, node);
    }
    return map_put(subjects, speaks_for(known)->subject, known);
}

static bool merge_subjects(struct threads *threads)
{
    struct map subjects;
    map_init(&subjects, threads->by_id.seed);
    bool ok = note_subjects(threads, &subjects);
    struct thread_node *next, *node = threads->root.first;
    struct thread_node *last = NULL;
    for (; ok && node != NULL; node = next) {
        next = node->next;
        struct slice subject = speaks_for(node)->subject;
        struct thread_node *known = subject.len > 0 ? map_get(&subjects, subject) : node;
        if (known == node) {
            last = node;
            continue;
        }
        if (last == NULL)                       /* out of the list of threads */
            threads->root.first = next;
        else
            last->next = next;
        if (threads->root.last == node)
            threads->root.last = last;
        ok = merge(threads, &subjects, known, node);
    }
    map_free(&subjects);
    return ok;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------------------- */

static void sort_all(struct threads *threads, struct thread_node **space)
{
    struct thread_node *next;
    for (struct thread_node *node = deepest(&threads->root); node != NULL; node = next) {
        next = next_upwards(&threads->root, node);
        sort_children(node, space, by_sent);
    }
}

/* REFS: the threads in the order of their latest arrivals. */
static void sort_by_latest(struct threads *threads, struct thread_node **space)
{
    struct thread_node *next;
    for (struct thread_node *node = deepest(&threads->root); node != &threads->root; node = next) {
        next = next_upwards(&threads->root, node);
        if (node->parent != &threads->root && node->parent->arrived_s < node->arrived_s)
            node->parent->arrived_s = node->arrived_s;
    }
    sort_children(&threads->root, space, by_latest);
}

static void group_by_subject(struct threads *threads)
{
    struct thread_node *head = NULL;
    qsort(threads->messages, threads->count, sizeof(struct thread_node *), by_subject);
    for (size_t i = 0; i < threads->count; i++) {
        struct thread_node *node = threads->messages[i];
        bool is_same = head != NULL && slice_equal(head->subject, node->subject);
        thread_append(is_same ? head : &threads->root, node);
        head = is_same ? head : node;
    }
}

bool threads_build(struct threads *threads)
{
    size_t nodes = threads->count + threads->by_id.count + 1;
    struct thread_node **space = ARENA_ARRAY(threads->arena, struct thread_node *, nodes);
    if (space == NULL)
        return false;
    if (threads->count == 0)
        return true;
    if (threads->kind == THREAD_ORDEREDSUBJECT) {
        group_by_subject(threads);
        sort_children(&threads->root, space, by_sent);
        return true;
    }
    plant(threads);
    prune(threads);
    sort_all(threads, space);
    if (threads->kind == THREAD_REFERENCES) {
        if (!merge_subjects(threads))
            return false;
        sort_all(threads, space);
    } else {
        sort_by_latest(threads, space);
    }
    return true;
}
