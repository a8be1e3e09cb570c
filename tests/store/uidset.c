/* Sets of UIDs: syntax (RFC 3501 9 sequence-set) and merging. */
#include "support.h"

static const struct {
    const char *sentence;
    const char *in;
    uint32_t star;
    enum rc rc;
    const char *out;
    uint64_t size;
} parses[] = {
    { "one number",                                 "7",                9, RC_OK,   "7", 1 },
    { "ranges in any order come out sorted",        "9:10,1:3,5",       9, RC_OK,   "1:3,5,9:10", 6 },
    { "a range may be written backwards",           "4:2",              9, RC_OK,   "2:4", 3 },
    { "neighbours become one",                      "1,2,3,5:6,4",      9, RC_OK,   "1:6", 6 },
    { "overlaps are counted once",                  "1:5,3:8,8",        9, RC_OK,   "1:8", 8 },
    { "a range that swallows several",              "2,4,6,8,1:7",      9, RC_OK,   "1:8", 8 },
    { "* is the largest",                           "*",                9, RC_OK,   "9", 1 },
    { "from a number to *",                         "7:*",              9, RC_OK,   "7:9", 3 },
    { "n:* with n over the largest has it still",   "12:*",             9, RC_OK,   "9:12", 4 },
    { "the largest number there is",                "4294967295",       9, RC_OK,   "4294967295", 1 },
    { "everything",                                 "1:4294967295",     9, RC_OK,   "1:4294967295", 4294967295u },
    { "nothing is not a set",                       "",                 9, RC_PERM, "", 0 },
    { "0 is not a number here",                     "0",                9, RC_PERM, "", 0 },
    { "no leading zero",                            "01",               9, RC_PERM, "", 0 },
    { "too large",                                  "4294967296",       9, RC_PERM, "", 0 },
    { "a comma at the end",                         "1,",               9, RC_PERM, "", 0 },
    { "a comma at the beginning",                   ",1",               9, RC_PERM, "", 0 },
    { "a range without an end",                     "1:",               9, RC_PERM, "", 0 },
    { "a range of three",                           "1:2:3",            9, RC_PERM, "", 0 },
    { "white space",                                "1, 2",             9, RC_PERM, "", 0 },
    { "a sign",                                     "-1",               9, RC_PERM, "", 0 },
    { "letters behind it",                          "1x",               9, RC_PERM, "", 0 },
};

/* Against a plain array of bits. */
static void random_adds(void)
{
    CASE("random ranges are the same as an array of bits");
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 200; round++) {
        bool bits[301] = { false };
        struct uid_set set;
        uid_set_init(&set);
        for (int i = 0; i < 40; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            uint32_t first = 1 + (uint32_t)(random >> 20) % 290, last = first + (uint32_t)(random >> 40) % 10;
            CHECK(uid_set_add(&set, first, last));
            for (uint32_t uid = first; uid <= last; uid++)
                bits[uid] = true;
        }
        uint64_t size = 0;
        for (uint32_t uid = 1; uid <= 300; uid++) {
            CHECK(uid_set_contains(&set, uid) == bits[uid]);
            size += bits[uid];
        }
        CHECK_INT(uid_set_size(&set), size);
        for (size_t i = 1; i < set.count; i++)
            CHECK(set.ranges[i].first > set.ranges[i - 1].last + 1);
        uid_set_free(&set);
    }
}

int main(void)
{
    for (size_t i = 0; i < sizeof parses / sizeof parses[0]; i++) {
        struct uid_set set;
        CASE(parses[i].sentence);
        uid_set_init(&set);
        CHECK_INT(uid_set_parse(slice_from_str(parses[i].in), parses[i].star, &set), parses[i].rc);
        if (parses[i].rc == RC_OK) {
            CHECK(set_is(&set, parses[i].out));
            CHECK_INT(uid_set_size(&set), parses[i].size);
        }
        uid_set_free(&set);
    }
    random_adds();
    CASE("there is a limit, and it is a refusal");
    struct uid_set many;
    uid_set_init(&many);
    bool ok = true;
    for (uint32_t i = 1; i <= UID_SET_RANGES_MAX; i++)
        ok = uid_set_add(&many, 2 * i, 2 * i) && ok;
    CHECK(ok);
    CHECK(!uid_set_add(&many, 1u << 30, 1u << 30));
    CHECK(uid_set_add(&many, 3, 3));
    CHECK_INT(many.count, UID_SET_RANGES_MAX - 1);
    uid_set_free(&many);
    return check_done();
}
