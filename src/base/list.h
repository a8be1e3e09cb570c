/* Intrusive doubly linked lists: a node is embedded in what it links.
 * A list head is a node that points to itself when empty. */
#ifndef THURN_BASE_LIST_H
#define THURN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define LIST_ENTRY(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))
/* The body may remove the node it is at, and no other. */
#define LIST_EACH(node, head) \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head); \
         node = node##_next, node##_next = node->next)

static inline void list_init(struct list *head) { head->next = head->prev = head; }
static inline bool list_is_empty(const struct list *head) { return head->next == head; }
static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
/* Safe on a node that is in no list, when it was initialised with list_init. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#endif
