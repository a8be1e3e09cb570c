/* Hash map from bytes or numbers to pointers (open addressing, SipHash with a per-process key, since
 * strangers choose many of the keys). Keys are not copied: key bytes must live as long as the entry. */
#ifndef THURN_BASE_MAP_H
#define THURN_BASE_MAP_H

#include "base/slice.h"

struct map_slot;

struct map {
    struct map_slot *slots;
    size_t count;           /* entries alive */
    size_t used;            /* entries and tombstones */
    size_t cap;             /* power of two, or 0 */
    uint64_t seed[2];
};

void map_init(struct map *, const uint64_t seed[2]);      /* NULL seed: a fixed one, for trusted keys */
void map_free(struct map *);
void *map_get(const struct map *, struct slice key);      /* NULL when there is none */
bool map_put(struct map *, struct slice key, void *value);/* replaces; value not NULL; false: out of memory */
void *map_remove(struct map *, struct slice key);         /* what was there, or NULL */
/* Iterate: start with *at = 0; NULL at the end. Removing the entry just returned is allowed. */
void *map_next(const struct map *, size_t *at, struct slice *key);

/* The same for numbers. A map holds either numbers or bytes. */
void *map_get_u64(const struct map *, uint64_t key);
bool map_put_u64(struct map *, uint64_t key, void *value);
void *map_remove_u64(struct map *, uint64_t key);
void *map_next_u64(const struct map *, size_t *at, uint64_t *key);

uint64_t siphash(const uint64_t seed[2], struct slice);

#endif
