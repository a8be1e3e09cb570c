/* The heap against a plain array: whatever is added and removed, wherever it stands, the first is the smallest. */
#include "base/heap.h"

#include "check.h"

enum { NODES = 200, ROUNDS = 30000 };

static unsigned next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33);
}

static void small_cases(void)
{
    struct heap heap;
    heap_init(&heap);
    CASE("an empty heap has no first");
    CHECK(heap_first(&heap) == NULL);
    CASE("removing what is in no heap does nothing");
    struct heap_node a = { 0 }, b = { 0 }, c = { 0 };
    heap_remove(&heap, &a);
    CHECK(!heap_holds(&a));
    CASE("the smallest key is first, also a negative one and the extremes");
    CHECK(heap_add(&heap, &a, INT64_MAX));
    CHECK(heap_add(&heap, &b, INT64_MIN));
    CHECK(heap_add(&heap, &c, -1));
    CHECK(heap_holds(&a));
    CHECK(heap_first(&heap) == &b);
    heap_remove(&heap, &b);
    CHECK(heap_first(&heap) == &c);
    CASE("a node may be added again after its removal, with another key");
    CHECK(heap_add(&heap, &b, 5));
    heap_remove(&heap, &c);
    CHECK(heap_first(&heap) == &b);
    CASE("freeing the heap takes its nodes out");
    heap_free(&heap);
    CHECK(!heap_holds(&a) && !heap_holds(&b));
    CHECK(heap_first(&heap) == NULL);
}

static int64_t smallest(const struct heap_node nodes[NODES])
{
    int64_t key = INT64_MAX;
    for (size_t i = 0; i < NODES; i++)
        if (heap_holds(&nodes[i]) && nodes[i].key < key)
            key = nodes[i].key;
    return key;
}

static bool is_heap(const struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++)
        if (heap->nodes[i]->place != i + 1 || (i > 0 && heap->nodes[(i - 1) / 2]->key > heap->nodes[i]->key))
            return false;
    return true;
}

static void model_case(unsigned keys)
{
    struct heap heap;
    static struct heap_node nodes[NODES];
    uint64_t state = keys;
    size_t count = 0;
    heap_init(&heap);
    for (int round = 0; round < ROUNDS; round++) {
        struct heap_node *node = &nodes[next_random(&state) % NODES];
        if (heap_holds(node)) {
            heap_remove(&heap, node);
            count--;
        } else {
            CHECK(heap_add(&heap, node, (int64_t)(next_random(&state) % keys)));
            count++;
        }
        CHECK_INT(heap.count, count);
        CHECK(is_heap(&heap));
        if (count > 0)
            CHECK_INT(heap_first(&heap)->key, smallest(nodes));
    }
    CASE("taking the first again and again gives the keys in order");
    for (int64_t last = INT64_MIN; heap.count > 0; heap_remove(&heap, heap_first(&heap))) {
        CHECK(heap_first(&heap)->key >= last);
        last = heap_first(&heap)->key;
    }
    heap_free(&heap);
}

int main(void)
{
    small_cases();
    CASE("random adds and removals in the middle, keys mostly different");
    model_case(1000000);
    CASE("random adds and removals in the middle, keys mostly equal");
    model_case(3);
    return check_done();
}
