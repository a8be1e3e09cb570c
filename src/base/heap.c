/* A binary min-heap: see heap.h. The children of index i are 2i+1 and 2i+2. */
#include "base/heap.h"

#include "base/fault.h"

#include <stdlib.h>

void heap_init(struct heap *heap) { *heap = (struct heap){ 0 }; }

void heap_free(struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++)
        heap->nodes[i]->place = 0;
    free(heap->nodes);
    heap_init(heap);
}

static void set(struct heap *heap, size_t i, struct heap_node *node)
{
    heap->nodes[i] = node;
    node->place = i + 1;
}

static void sift_up(struct heap *heap, size_t i, struct heap_node *node)
{
    while (i > 0 && heap->nodes[(i - 1) / 2]->key > node->key) {
        set(heap, i, heap->nodes[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    set(heap, i, node);
}

static void sift_down(struct heap *heap, size_t i, struct heap_node *node)
{
    for (size_t child = 2 * i + 1; child < heap->count; child = 2 * i + 1) {
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key)
            child++;
        if (heap->nodes[child]->key >= node->key)
            break;
        set(heap, i, heap->nodes[child]);
        i = child;
    }
    set(heap, i, node);
}

bool heap_add(struct heap *heap, struct heap_node *node, int64_t key)
{
    must(node->place == 0);
    if (heap->count == heap->cap) {
        size_t cap = heap->cap == 0 ? 64 : heap->cap * 2;
        struct heap_node **nodes = reallocarray(heap->nodes, cap, sizeof *nodes);
        if (nodes == NULL)
            return false;
        heap->nodes = nodes;
        heap->cap = cap;
    }
    node->key = key;
    sift_up(heap, heap->count++, node);
    return true;
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (node->place == 0)
        return;
    size_t i = node->place - 1;
    must(i < heap->count && heap->nodes[i] == node);
    node->place = 0;
    struct heap_node *last = heap->nodes[--heap->count];
    if (last == node)
        return;
    /* The last one fills the hole, and may belong above it as well as below: the hole is in another branch. */
    if (last->key < node->key)
        sift_up(heap, i, last);
    else
        sift_down(heap, i, last);
}

struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->nodes[0];
}
