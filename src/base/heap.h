/* A binary min-heap of things that are due: timers, retries.
 * The node is embedded; `key` (a time in ms) must not change while it is in the heap. */
#ifndef THURN_BASE_HEAP_H
#define THURN_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t place;           /* index + 1 in the heap; 0 when in none */
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t cap;
};

void heap_init(struct heap *);
void heap_free(struct heap *);
bool heap_add(struct heap *, struct heap_node *, int64_t key);     /* false: out of memory */
void heap_remove(struct heap *, struct heap_node *);               /* nothing when it is in no heap */
struct heap_node *heap_first(const struct heap *);                 /* smallest key, or NULL */
static inline bool heap_holds(const struct heap_node *node) { return node->place != 0; }

#endif
