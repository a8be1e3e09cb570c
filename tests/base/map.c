/* The map against a plain table; tombstones; iteration with removal; SipHash against its reference vectors. */
#include "base/map.h"

#include "check.h"

static void hash_cases(void)
{
    /* Aumasson and Bernstein's vectors: key 00..0f, message 00..(n-1). */
    static const struct { size_t len; uint64_t hash; } vectors[] = {
        { 0,  0x726fdb47dd0e0e31 }, { 1,  0x74f839c593dc67fd }, { 7,  0xab0200f58b01d137 },
        { 8,  0x93f5f5799a932462 }, { 15, 0xa129ca6149be45e5 },
    };
    static const uint64_t seed[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
    char message[16];
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (char)i;
    CASE("SipHash-2-4 gives its authors' vectors");
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        CHECK(siphash(seed, (struct slice){ message, vectors[i].len }) == vectors[i].hash);
    CHECK(siphash(seed, SLICE_NONE) == vectors[0].hash);
}

static void bytes_cases(void)
{
    static const uint64_t seed[2] = { 1, 2 };
    int one, two, three;
    struct map map;
    map_init(&map, seed);
    CASE("an empty map holds nothing and can be asked");
    size_t at = 0;
    CHECK(map_get(&map, SLICE("a")) == NULL);
    CHECK(map_remove(&map, SLICE("a")) == NULL);
    CHECK(map_next(&map, &at, NULL) == NULL);
    CASE("keys are bytes: empty, with NUL, and a prefix of another");
    CHECK(map_put(&map, SLICE_NONE, &one));
    CHECK(map_put(&map, SLICE("a\0b"), &two));
    CHECK(map_put(&map, SLICE("a"), &three));
    CHECK(map_get(&map, SLICE("")) == &one);
    CHECK(map_get(&map, SLICE("a\0b")) == &two);
    CHECK(map_get(&map, SLICE("a\0c")) == NULL);
    CHECK(map_get(&map, SLICE("a")) == &three);
    CASE("putting again replaces the value and the key's bytes");
    char old_key[] = "key", new_key[] = "key";
    CHECK(map_put(&map, slice_from_str(old_key), &one));
    CHECK(map_put(&map, slice_from_str(new_key), &two));
    old_key[0] = 'x';
    CHECK(map_get(&map, SLICE("key")) == &two);
    CHECK_INT(map.count, 4);
    CASE("what is removed is gone, and given back");
    CHECK(map_remove(&map, SLICE("key")) == &two);
    CHECK(map_remove(&map, SLICE("key")) == NULL);
    CHECK(map_get(&map, SLICE("")) == &one);
    CHECK_INT(map.count, 3);
    map_free(&map);
    CHECK(map_get(&map, SLICE("")) == NULL);
    CASE("a freed map may be used again");
    CHECK(map_put(&map, SLICE("a"), &one));
    CHECK(map_get(&map, SLICE("a")) == &one);
    map_free(&map);
}

static void churn_case(void)
{
    CASE("endless putting and removing of ever new keys does not grow the map: tombstones are reused");
    struct map map;
    int value;
    map_init(&map, NULL);
    for (uint64_t key = 0; key < 100000; key++) {
        CHECK(map_put_u64(&map, key, &value));
        if (key >= 10)
            CHECK(map_remove_u64(&map, key - 10) == &value);
        CHECK(map.used < map.cap);
    }
    CHECK_INT(map.count, 10);
    CHECK(map.cap <= 64);
    CASE("the same key again and again takes one slot");
    for (int i = 0; i < 1000; i++) {
        CHECK(map_put_u64(&map, 7, &value));
        CHECK(map_remove_u64(&map, 7) == &value);
    }
    CHECK(map.cap <= 64);
    map_free(&map);
}

enum { KEYS = 600, ROUNDS = 200000 };

static void check_same(const struct map *map, int *const model[KEYS])
{
    size_t at = 0, seen = 0, want = 0;
    uint64_t key;
    for (void *value; (value = map_next_u64(map, &at, &key)) != NULL; seen++)
        CHECK(key < KEYS && model[key] == value);
    for (uint64_t i = 0; i < KEYS; i++) {
        want += model[i] != NULL;
        CHECK(map_get_u64(map, i) == model[i]);
    }
    CHECK_INT(seen, want);
    CHECK_INT(map->count, want);
}

static void model_case(void)
{
    static int values[16];
    static int *model[KEYS];
    struct map map;
    uint64_t state = 7;
    map_init(&map, NULL);
    CASE("a map behaves like a table under random puts and removals");
    for (int round = 0; round < ROUNDS; round++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t key = (state >> 33) % KEYS;
        /* Phases of growth and of shrinking, so that tombstones gather. */
        bool puts = (state >> 60) < (round / 5000 % 2 == 0 ? 12u : 4u);
        if (puts) {
            model[key] = &values[state >> 50 & 15];
            CHECK(map_put_u64(&map, key, model[key]));
        } else {
            CHECK(map_remove_u64(&map, key) == model[key]);
            model[key] = NULL;
        }
        if (round % 1000 == 0)
            check_same(&map, model);
    }
    CASE("removing each entry as it is returned empties the map");
    size_t at = 0, removed = 0, count = map.count;
    uint64_t key;
    for (void *value; (value = map_next_u64(&map, &at, &key)) != NULL; removed++)
        CHECK(map_remove_u64(&map, key) == value);
    CHECK_INT(removed, count);
    CHECK_INT(map.count, 0);
    map_free(&map);
}

int main(void)
{
    hash_cases();
    bytes_cases();
    churn_case();
    model_case();
    return check_done();
}
