/* Arenas: memory that is given back all at once.
 *
 * Three lifetimes in this program have one each: process, session or transaction, and scratch (rewound around
 * each command). Nobody frees pieces. An arena never holds more than `max_bytes`; past it, or out of memory,
 * arena_alloc returns NULL. Memory comes zeroed and aligned for any type. */
#ifndef THURN_BASE_ARENA_H
#define THURN_BASE_ARENA_H

#include "base/slice.h"

struct arena_block;

struct arena {
    struct arena_block *block;      /* newest first */
    size_t used_bytes;              /* over all blocks */
    size_t max_bytes;
};

void arena_init(struct arena *, size_t max_bytes);
void arena_free(struct arena *);                       /* everything; the arena may be used again */
void arena_rewind(struct arena *);                     /* everything, keeping one block for the next round */
void *arena_alloc(struct arena *, size_t size, size_t count);
struct slice arena_copy(struct arena *, struct slice); /* ptr is NULL when out of room (never for an empty slice) */
char *arena_str(struct arena *, struct slice);         /* NUL-terminated copy, NULL when out of room */
char *arena_printf(struct arena *, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), sizeof(type), 1))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_alloc((arena), sizeof(type), (count)))

#endif
