/* Hash map: see map.h. Linear probing; at most three quarters of the slots are ever in use, so a probe ends.
 * A removed entry leaves a tombstone only when something may lie behind it. */
#include "base/map.h"

#include "base/fault.h"

#include <stdlib.h>

/* The two hashes that no entry has. */
enum { HASH_FREE = 0, HASH_TOMBSTONE = 1, HASH_FIRST = 2 };
enum { CAP_MIN = 16 };

/* A number key has no bytes and is its own `number`; for a byte key `number` is the length. */
struct map_slot {
    uint64_t hash;
    const char *bytes;
    uint64_t number;
    void *value;
};

static uint64_t load_u64(const unsigned char *from, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static uint64_t rotate(uint64_t value, int bits) { return value << bits | value >> (64 - bits); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotate(v[1], 13); v[1] ^= v[0]; v[0] = rotate(v[0], 32);
    v[2] += v[3]; v[3] = rotate(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = rotate(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = rotate(v[1], 17); v[1] ^= v[2]; v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 (Aumasson, Bernstein 2012). */
uint64_t siphash(const uint64_t seed[2], struct slice s)
{
    uint64_t v[4] = { seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
                      seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573 };
    const unsigned char *at = (const unsigned char *)s.ptr;
    for (size_t words = s.len / 8; words > 0; words--, at += 8) {
        uint64_t word = load_u64(at, 8);
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)s.len << 56 | load_u64(at, s.len % 8);
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *map, const uint64_t seed[2])
{
    static const uint64_t fixed[2] = { 0x243f6a8885a308d3, 0x13198a2e03707344 };
    *map = (struct map){ 0 };
    memcpy(map->seed, seed == NULL ? fixed : seed, sizeof map->seed);
}

void map_free(struct map *map)
{
    free(map->slots);
    map->slots = NULL;
    map->count = map->used = map->cap = 0;
}

static struct map_slot key_of_bytes(const struct map *map, struct slice key)
{
    uint64_t hash = siphash(map->seed, key);
    return (struct map_slot){ hash < HASH_FIRST ? hash + HASH_FIRST : hash, key.ptr, key.len, NULL };
}

static struct map_slot key_of_number(const struct map *map, uint64_t key)
{
    char bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(unsigned char)(key >> (8 * i));
    uint64_t hash = siphash(map->seed, (struct slice){ bytes, sizeof bytes });
    return (struct map_slot){ hash < HASH_FIRST ? hash + HASH_FIRST : hash, NULL, key, NULL };
}

static bool same_key(const struct map_slot *a, const struct map_slot *b)
{
    if (a->hash != b->hash || a->number != b->number)
        return false;
    return a->bytes == b->bytes || a->number == 0 || a->bytes == NULL || b->bytes == NULL
        || memcmp(a->bytes, b->bytes, a->number) == 0;
}

/* The slot of this key, or NULL; *vacant becomes the first slot where it could be put. */
static struct map_slot *find(const struct map *map, const struct map_slot *key, struct map_slot **vacant)
{
    *vacant = NULL;
    if (map->cap == 0)
        return NULL;
    for (size_t i = key->hash & (map->cap - 1);; i = (i + 1) & (map->cap - 1)) {
        struct map_slot *slot = &map->slots[i];
        if (slot->hash < HASH_FIRST && *vacant == NULL)
            *vacant = slot;
        if (slot->hash == HASH_FREE)
            return NULL;
        if (same_key(slot, key))
            return slot;
    }
}

static bool rebuild(struct map *map, size_t cap)
{
    struct map_slot *slots = calloc(cap, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t from = 0; from < map->cap; from++) {
        if (map->slots[from].hash < HASH_FIRST)
            continue;
        size_t to = map->slots[from].hash & (cap - 1);
        while (slots[to].hash != HASH_FREE)
            to = (to + 1) & (cap - 1);
        slots[to] = map->slots[from];
    }
    free(map->slots);
    map->slots = slots;
    map->cap = cap;
    map->used = map->count;
    return true;
}

static bool make_room(struct map *map)
{
    if (map->cap != 0 && map->used < map->cap / 4 * 3)
        return true;
    if (map->cap == 0)
        return rebuild(map, CAP_MIN);
    /* Full of tombstones rather than of entries: the same size does. */
    return rebuild(map, map->count < map->cap / 2 ? map->cap : map->cap * 2);
}

static bool put(struct map *map, struct map_slot key, void *value)
{
    must(value != NULL);
    key.value = value;
    struct map_slot *vacant, *slot = find(map, &key, &vacant);
    if (slot == NULL && (vacant == NULL || vacant->hash == HASH_FREE)) {
        if (!make_room(map))
            return false;
        find(map, &key, &vacant);
    }
    if (slot == NULL) {
        map->count++;
        if (vacant->hash == HASH_FREE)
            map->used++;
        slot = vacant;
    }
    *slot = key;        /* on replacement too: the old key's bytes may go away with the old value */
    return true;
}

static void *get(const struct map *map, struct map_slot key)
{
    struct map_slot *vacant, *slot = find(map, &key, &vacant);
    return slot == NULL ? NULL : slot->value;
}

static void *remove_key(struct map *map, struct map_slot key)
{
    struct map_slot *vacant, *slot = find(map, &key, &vacant);
    if (slot == NULL)
        return NULL;
    void *value = slot->value;
    size_t i = (size_t)(slot - map->slots);
    bool ends_probe = map->slots[(i + 1) & (map->cap - 1)].hash == HASH_FREE;
    *slot = (struct map_slot){ .hash = HASH_TOMBSTONE };
    map->count--;
    /* Nothing lies behind: this slot, and tombstones right before it, are free again. */
    while (ends_probe && map->slots[i].hash == HASH_TOMBSTONE) {
        map->slots[i].hash = HASH_FREE;
        map->used--;
        i = (i - 1) & (map->cap - 1);
    }
    return value;
}

static struct map_slot *next_slot(const struct map *map, size_t *at)
{
    while (*at < map->cap) {
        struct map_slot *slot = &map->slots[(*at)++];
        if (slot->hash >= HASH_FIRST)
            return slot;
    }
    return NULL;
}

void *map_get(const struct map *map, struct slice key) { return get(map, key_of_bytes(map, key)); }
bool map_put(struct map *map, struct slice key, void *value) { return put(map, key_of_bytes(map, key), value); }
void *map_remove(struct map *map, struct slice key) { return remove_key(map, key_of_bytes(map, key)); }

void *map_next(const struct map *map, size_t *at, struct slice *key)
{
    struct map_slot *slot = next_slot(map, at);
    if (slot == NULL)
        return NULL;
    if (key != NULL)
        *key = (struct slice){ slot->bytes, (size_t)slot->number };
    return slot->value;
}

void *map_get_u64(const struct map *map, uint64_t key) { return get(map, key_of_number(map, key)); }
bool map_put_u64(struct map *map, uint64_t key, void *value) { return put(map, key_of_number(map, key), value); }
void *map_remove_u64(struct map *map, uint64_t key) { return remove_key(map, key_of_number(map, key)); }

void *map_next_u64(const struct map *map, size_t *at, uint64_t *key)
{
    struct map_slot *slot = next_slot(map, at);
    if (slot == NULL)
        return NULL;
    if (key != NULL)
        *key = slot->number;
    return slot->value;
}
