/* Arenas: see arena.h.
 *
 * Blocks are chained newest first and only the newest is filled. max_bytes limits what callers asked for (with the
 * padding in front of it); a block's unused tail is not counted, so the limit is met to the byte. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Under the address sanitizer a piece used after its arena was rewound, or past its end, is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

struct arena_block {
    struct arena_block *older;
    size_t size;
    size_t used;
    _Alignas(max_align_t) char data[];
};

enum {
    BLOCK_MIN = 1024,
    BLOCK_DOUBLES_UNTIL = 64 * 1024,
    KEPT_MAX = 64 * 1024,       /* an idle session must not sit on what its largest command once needed */
};

void arena_init(struct arena *arena, size_t max_bytes)
{
    *arena = (struct arena){ .max_bytes = max_bytes };
}

static void free_blocks(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *older = block->older;
        free(block);
        block = older;
    }
}

void arena_free(struct arena *arena)
{
    free_blocks(arena->block);
    arena_init(arena, arena->max_bytes);
}

void arena_rewind(struct arena *arena)
{
    struct arena_block *kept = NULL;
    for (struct arena_block *block = arena->block, *older; block != NULL; block = older) {
        older = block->older;
        if (kept == NULL && block->size <= KEPT_MAX)
            kept = block;
        else
            free(block);
    }
    if (kept != NULL) {
        kept->older = NULL;
        kept->used = 0;
        ASAN_POISON_MEMORY_REGION(kept->data, kept->size);
    }
    arena->block = kept;
    arena->used_bytes = 0;
}

static struct arena_block *add_block(struct arena *arena, size_t need)
{
    size_t size = arena->block == NULL ? BLOCK_MIN : arena->block->size;
    size = size < BLOCK_DOUBLES_UNTIL / 2 ? size * 2 : BLOCK_DOUBLES_UNTIL;
    if (size > arena->max_bytes - arena->used_bytes)
        size = arena->max_bytes - arena->used_bytes;
    if (size < need)
        size = need;
    if (size > SIZE_MAX - sizeof(struct arena_block))
        return NULL;
    struct arena_block *block = malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    *block = (struct arena_block){ .older = arena->block, .size = size };
    arena->block = block;
    ASAN_POISON_MEMORY_REGION(block->data, size);
    return block;
}

/* Not zeroed; align is a power of two up to that of max_align_t. */
static void *take(struct arena *arena, size_t size, size_t align)
{
    struct arena_block *block = arena->block;
    size_t left = arena->max_bytes - arena->used_bytes;
    size_t pad = block == NULL ? 0 : (0 - block->used) & (align - 1);
    if (block == NULL || pad > block->size - block->used || size > block->size - block->used - pad) {
        if (size > left)
            return NULL;
        pad = 0;
        block = add_block(arena, size);
        if (block == NULL)
            return NULL;
    }
    if (pad > left || size > left - pad)
        return NULL;
    void *taken = block->data + block->used + pad;
    block->used += pad + size;
    arena->used_bytes += pad + size;
    ASAN_UNPOISON_MEMORY_REGION(taken, size);
    return taken;
}

void *arena_alloc(struct arena *arena, size_t size, size_t count)
{
    size_t total;
    if (__builtin_mul_overflow(size, count, &total))
        return NULL;
    if (total == 0)
        total = 1;      /* nothing, but not NULL either */
    void *taken = take(arena, total, _Alignof(max_align_t));
    return taken == NULL ? NULL : memset(taken, 0, total);
}

struct slice arena_copy(struct arena *arena, struct slice s)
{
    if (s.len == 0)
        return SLICE("");
    char *copy = take(arena, s.len, 1);
    if (copy == NULL)
        return SLICE_NONE;
    memcpy(copy, s.ptr, s.len);
    return (struct slice){ copy, s.len };
}

char *arena_str(struct arena *arena, struct slice s)
{
    if (s.len == SIZE_MAX)
        return NULL;
    char *copy = take(arena, s.len + 1, 1);
    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *text = len < 0 ? NULL : take(arena, (size_t)len + 1, 1);
    if (text != NULL)
        vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}
