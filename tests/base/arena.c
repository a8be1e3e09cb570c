/* Arenas: limits, alignment, zeroing, rewinding. */
#include "base/arena.h"

#include "check.h"

static bool is_zero(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static void limit_cases(void)
{
    struct arena arena;
    arena_init(&arena, 100);
    CASE("exactly the maximum fits, and not a byte more");
    CHECK(arena_alloc(&arena, 100, 1) != NULL);
    CHECK(arena_alloc(&arena, 1, 1) == NULL);
    CHECK_INT(arena.used_bytes, 100);
    CASE("an empty slice can always be copied");
    CHECK(arena_copy(&arena, SLICE_NONE).ptr != NULL);
    CHECK(arena_copy(&arena, SLICE("x")).ptr == NULL);
    CHECK(arena_str(&arena, SLICE("")) == NULL);
    CHECK(arena_printf(&arena, "%s", "") == NULL);
    CASE("after a rewind everything fits again");
    arena_rewind(&arena);
    CHECK_INT(arena.used_bytes, 0);
    CHECK(arena_alloc(&arena, 1, 101) == NULL);
    CHECK(arena_alloc(&arena, 10, 10) != NULL);
    CASE("a product that wraps around is out of room");
    arena_free(&arena);
    CHECK(arena_alloc(&arena, SIZE_MAX / 2 + 1, 2) == NULL);
    CHECK(arena_alloc(&arena, SIZE_MAX, 1) == NULL);
    CASE("no elements is not out of room");
    CHECK(arena_alloc(&arena, 8, 0) != NULL);
    CHECK(arena_alloc(&arena, 0, 8) != NULL);
    arena_free(&arena);
    arena_init(&arena, SIZE_MAX);
    CHECK(arena_alloc(&arena, SIZE_MAX, 1) == NULL);
    CHECK(arena_alloc(&arena, SIZE_MAX - 8, 1) == NULL);
    CHECK(arena_str(&arena, (struct slice){ "x", SIZE_MAX }) == NULL);
    arena_free(&arena);
    CASE("an arena of nothing gives nothing");
    arena_init(&arena, 0);
    CHECK(arena_alloc(&arena, 1, 1) == NULL);
    arena_rewind(&arena);
    arena_free(&arena);
}

static void content_cases(void)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    CASE("memory is zeroed and aligned, also when it was used before");
    for (int round = 0; round < 3; round++) {
        for (size_t size = 1; size < 900; size += 7) {
            char *bytes = arena_alloc(&arena, size, 1);
            CHECK(bytes != NULL && (uintptr_t)bytes % _Alignof(max_align_t) == 0 && is_zero(bytes, size));
            if (bytes != NULL)
                memset(bytes, 0xff, size);
            CHECK(arena_copy(&arena, SLICE("odd")).len == 3);
        }
        arena_rewind(&arena);
    }
    CASE("copies are equal and independent");
    char original[] = "a\0b";
    struct slice copy = arena_copy(&arena, (struct slice){ original, 3 });
    original[0] = 'x';
    CHECK_SLICE(copy, SLICE("a\0b"));
    CHECK_STR(arena_str(&arena, SLICE("abc")), "abc");
    CHECK_STR(arena_str(&arena, SLICE_NONE), "");
    CHECK_STR(arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
    CASE("pieces do not overlap");
    struct slice first = arena_copy(&arena, SLICE("first")), second = arena_copy(&arena, SLICE("second"));
    CHECK_SLICE(first, SLICE("first"));
    CHECK_SLICE(second, SLICE("second"));
    CASE("one piece larger than any block is given whole");
    char *large = arena_alloc(&arena, 500000, 1);
    CHECK(large != NULL && is_zero(large, 500000));
    CASE("a rewind gives large blocks back and keeps a small one");
    arena_rewind(&arena);
    CHECK(arena.block != NULL);
    CHECK_INT(arena.used_bytes, 0);
    CHECK(ARENA_NEW(&arena, struct slice) != NULL);
    CHECK(ARENA_ARRAY(&arena, uint64_t, 100) != NULL);
    arena_free(&arena);
    CHECK(arena.block == NULL);
}

int main(void)
{
    limit_cases();
    content_cases();
    return check_done();
}
