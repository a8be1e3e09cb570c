/* Where addresses lead, on one table of domains, accounts and aliases. */
#include "config/routing.h"

#include "check.h"

static const uint64_t seed[2] = { 1, 2 };

static const struct { uint64_t id; const char *address; bool is_enabled; } accounts[] = {
    { 7, "alice@a.example", true },
    { 3, "Bob@a.example", true },
    { 9, "carol+x@a.example", true },
    { 4, "off@a.example", false },
    { 5, "dora@b.example", true },
    { 6, "\"e f\"@b.example", true },
    { 8, "gül@m\303\274nchen.example", true },
    { 2, "list@b.example", true },
};

static const struct { const char *address, *targets; } aliases[] = {
    { "sales@a.example",    "alice@a.example bob@a.example" },
    { "all@a.example",      "sales@a.example dora@b.example far@away.example sales@a.example" },
    { "loop1@a.example",    "loop2@a.example" },
    { "loop2@a.example",    "loop1@a.example" },
    { "self@a.example",     "self@a.example" },
    { "half@a.example",     "loop1@a.example alice@a.example" },
    { "dora@b.example",     "dora@b.example copy@away.example" },
    { "dead@a.example",     "nobody@a.example" },
    { "dying@a.example",    "nobody@a.example off@a.example bob@a.example" },
    { "off-alias@a.example", "off@a.example" },
    { "tagged@a.example",   "alice+given@a.example" },
    { "quoted@a.example",   "\"e f\"@b.example,alice@a.example" },
    { "far@a.example",      "Far@Away.example far@AWAY.example" },
    { "list@b.example",     "list@b.example alice@a.example" },
    { "twice@b.example",    "list@b.example list@b.example" },
    { "@c.example",         "alice@a.example" },
    { "real@c.example",     "bob@a.example" },
};

static struct routing *table(char separator, const char *postmaster)
{
    struct routing *r = routing_new(separator, SLICE("mail.a.example"), slice_from_str(postmaster), seed);
    static const char *const domains[] = { "a.example", "b.example", "c.example", "m\303\274nchen.example" };
    for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++)
        CHECK(routing_add_domain(r, slice_from_str(domains[i])));
    for (size_t i = 0; i < sizeof accounts / sizeof accounts[0]; i++)
        CHECK(routing_add_account(r, accounts[i].id, slice_from_str(accounts[i].address), accounts[i].id * 100, accounts[i].is_enabled));
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        CHECK(routing_add_alias(r, slice_from_str(aliases[i].address), slice_from_str(aliases[i].targets)));
    return r;
}

/* "7 3/tag =far@away.example" with a star for what came through an alias; "5.1.1" when it leads nowhere. */
static struct slice answer(const struct routing *r, const char *typed, struct arena *arena, struct buf *out)
{
    struct address address = { 0 };
    struct routing_target *targets;
    struct fault f = { 0 };
    size_t count = 0;
    buf_clear(out);
    if (strcmp(typed, "<postmaster>") == 0)
        address.local_part = SLICE("postmaster");
    else if (address_parse(slice_from_str(typed), arena, &address, &f) != RC_OK)
        return SLICE("no address");
    enum rc rc = routing_resolve(r, &address, arena, &targets, &count, &f);
    if (rc != RC_OK) {
        CHECK_INT(count, 0);
        CHECK_INT(f.rc, rc);
        buf_printf(out, "%u.%u.%u", ESC_CLASS(f.esc), ESC_SUBJECT(f.esc), ESC_DETAIL(f.esc));
        return buf_slice(out);
    }
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        buf_append_str(out, i > 0 ? " " : "");
        if (targets[i].account == 0) {
            buf_append_byte(out, '=');
            address_write(&targets[i].address, out);
        } else
            buf_printf(out, "%llu", (unsigned long long)targets[i].account);
        if (targets[i].tag.len > 0)
            buf_printf(out, "/%.*s", SLICE_ARG(targets[i].tag));
        buf_append_str(out, targets[i].is_alias ? "*" : "");
        CHECK_INT(targets[i].quota_bytes, targets[i].account * 100);
    }
    return buf_slice(out);
}

static void test_resolve(void)
{
    static const struct { const char *sentence, *address, *leads; } cases[] = {
        { "an account's address is the account",                "alice@a.example",          "7" },
        { "the local part's case does not matter",              "ALICE@a.example",          "7" },
        { "nor does it in the account's own name",              "bob@a.example",            "3" },
        { "nor the domain's",                                   "alice@A.Example",          "7" },
        { "a domain is the same in A-labels",                   "gül@xn--mnchen-3ya.example", "8" },
        { "a quoted local part",                                "\"e f\"@b.example",        "6" },
        { "quotes that are not needed change nothing",          "\"alice\"@a.example",      "7" },
        { "a tag is parted from the account",                   "alice+news@a.example",     "7/news" },
        { "the first separator parts",                          "alice+a+b@a.example",      "7/a+b" },
        { "an empty tag parts nothing",                         "alice+@a.example",         "5.1.1" },
        { "a tag alone is nobody",                              "+tag@a.example",           "5.1.1" },
        { "a name with the separator in it wins over the tag",  "carol+x@a.example",        "9" },
        { "carol without it is nobody",                         "carol@a.example",          "5.1.1" },
        { "the same local part in another domain is nobody",    "alice@b.example",          "5.1.1" },
        { "a disabled account",                                 "off@a.example",            "5.2.1" },
        { "another domain is left to others",                   "x@away.example",           "=x@away.example" },
        { "a subdomain is another domain",                      "alice@x.a.example",        "=alice@x.a.example" },
        { "an address literal is left to others",               "alice@[192.0.2.1]",        "=alice@[192.0.2.1]" },

        { "an alias leads to all its targets",                  "sales@a.example",          "7* 3*" },
        { "an alias takes a tag along",                         "sales+q@a.example",        "7/q* 3/q*" },
        { "a target's own tag wins",                            "tagged+q@a.example",       "7/given*" },
        { "aliases of aliases, each target once",               "all@a.example",            "7* 3* 5* =copy@away.example* =far@away.example*" },
        { "two spellings of a remote address are one",          "far@a.example",            "=Far@away.example*" },
        { "an alias that leads back through another",           "loop1@a.example",          "5.4.6" },
        { "an alias that leads to itself",                      "self@a.example",           "5.4.6" },
        { "a loop is cut where something else remains",         "half@a.example",           "7*" },
        { "an alias of an account's name keeps a copy",         "dora@b.example",           "5* =copy@away.example*" },
        { "and one that is asked for twice gives one",          "twice@b.example",          "2* 7*" },
        { "an alias to nobody",                                 "dead@a.example",           "5.1.1" },
        { "an alias to somebody among nobodies",                "dying@a.example",          "3*" },
        { "an alias to a disabled account",                     "off-alias@a.example",      "5.2.1" },
        { "targets are parted by commas too",                   "quoted@a.example",         "6* 7*" },

        { "a catch-all takes the rest",                         "anything@c.example",       "7*" },
        { "a catch-all takes no more than the rest",            "real@c.example",           "3*" },
        { "a catch-all is for its domain",                      "anything@b.example",       "5.1.1" },

        { "postmaster without a domain is ours",                "<postmaster>",             "2*" },
        { "postmaster is always somebody",                      "Postmaster@a.example",     "2*" },
        { "postmaster with a tag too",                          "postmaster+x@a.example",   "2*" },
        { "root of this host, where cron writes, is postmaster", "Root@mail.a.example",      "2*" },
        { "root of a domain is nobody special",                 "root@a.example",           "5.1.1" },
        { "the host's name is a local domain",                  "postmaster@mail.a.example", "2*" },
        { "whose others are nobody",                            "alice@mail.a.example",     "5.1.1" },
    };
    struct routing *r = table('+', "");
    struct buf out;
    struct arena arena;
    buf_init(&out, 1 << 16);
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE(cases[i].sentence);
        struct slice got = answer(r, cases[i].address, &arena, &out);
        CHECK_SLICE(got, slice_from_str(cases[i].leads));
        arena_rewind(&arena);
    }
    buf_free(&out);
    arena_free(&arena);
    routing_free(r);
}

static void test_postmaster(void)
{
    struct buf out;
    struct arena arena;
    buf_init(&out, 1 << 16);
    arena_init(&arena, 1 << 20);
    CASE("the setting says who postmaster is");
    struct routing *r = table('+', "sales@a.example");
    CHECK_SLICE(answer(r, "postmaster@b.example", &arena, &out), SLICE("7* 3*"));
    CASE("postmaster of a domain with a catch-all is the set one too");
    CHECK_SLICE(answer(r, "postmaster@c.example", &arena, &out), SLICE("7* 3*"));
    CASE("a domain's own postmaster comes first");
    CHECK(routing_add_alias(r, SLICE("postmaster@b.example"), SLICE("dora+pm@b.example")));
    CHECK_SLICE(answer(r, "POSTMASTER@b.example", &arena, &out), SLICE("5/pm* =copy@away.example*"));
    routing_free(r);
    CASE("a remote postmaster may be sent to by anybody");
    r = table('+', "admin@away.example");
    CHECK_SLICE(answer(r, "<postmaster>", &arena, &out), SLICE("=admin@away.example*"));
    routing_free(r);
    CASE("a postmaster that is set to postmaster");
    r = table('+', "postmaster@mail.a.example");
    CHECK_SLICE(answer(r, "<postmaster>", &arena, &out), SLICE("2*"));
    CASE("the host's postmaster is everybody's");
    CHECK(routing_add_alias(r, SLICE("postmaster@mail.a.example"), SLICE("bob@a.example")));
    CHECK_SLICE(answer(r, "postmaster@a.example", &arena, &out), SLICE("3*"));
    routing_free(r);
    CASE("postmaster of nobody");
    r = routing_new('+', SLICE("mail.a.example"), SLICE_NONE, seed);
    CHECK_SLICE(answer(r, "<postmaster>", &arena, &out), SLICE("5.1.1"));
    routing_free(r);
    buf_free(&out);
    arena_free(&arena);
}

static void test_separator(void)
{
    struct buf out;
    struct arena arena;
    buf_init(&out, 1 << 16);
    arena_init(&arena, 1 << 20);
    CASE("without a separator there are no tags");
    struct routing *r = table('\0', "");
    CHECK_SLICE(answer(r, "alice+x@a.example", &arena, &out), SLICE("5.1.1"));
    routing_free(r);
    CASE("another separator");
    r = table('-', "");
    CHECK_SLICE(answer(r, "alice-x-y@a.example", &arena, &out), SLICE("7/x-y"));
    CHECK_SLICE(answer(r, "off-alias@a.example", &arena, &out), SLICE("5.2.1"));
    routing_free(r);
    buf_free(&out);
    arena_free(&arena);
}

static void test_limits(void)
{
    struct buf out;
    struct arena arena;
    char name[64], next[64];
    buf_init(&out, 1 << 20);
    arena_init(&arena, 16 << 20);
    struct routing *r = table('+', "");
    for (unsigned i = 0; i <= ROUTING_DEPTH_MAX; i++) {
        snprintf(name, sizeof name, "deep%u@b.example", i);
        snprintf(next, sizeof next, "deep%u@b.example", i + 1);
        CHECK(routing_add_alias(r, slice_from_str(name), slice_from_str(i == ROUTING_DEPTH_MAX ? "alice@a.example" : next)));
    }
    CASE("aliases as deep as allowed");
    CHECK_SLICE(answer(r, "deep1@b.example", &arena, &out), SLICE("7*"));
    CASE("and one deeper");
    CHECK_SLICE(answer(r, "deep0@b.example", &arena, &out), SLICE("5.4.6"));

    struct buf targets;
    buf_init(&targets, 1 << 20);
    for (unsigned i = 0; i < ROUTING_TARGETS_MAX; i++)
        buf_printf(&targets, "u%u@away.example ", i);
    CHECK(routing_add_alias(r, SLICE("many@b.example"), buf_slice(&targets)));
    buf_append_str(&targets, "one.more@away.example");
    CHECK(routing_add_alias(r, SLICE("toomany@b.example"), buf_slice(&targets)));
    CASE("as many targets as allowed");
    struct slice got = answer(r, "many@b.example", &arena, &out);
    size_t count = 1;
    for (size_t i = 0; i < got.len; i++)
        count += got.ptr[i] == ' ';
    CHECK_INT(count, ROUTING_TARGETS_MAX);
    CASE("and one more");
    CHECK_SLICE(answer(r, "toomany@b.example", &arena, &out), SLICE("5.4.6"));

    CASE("a lattice of aliases is walked once, not once for every path");
    for (unsigned level = 0; level < 9; level++) {
        buf_clear(&targets);
        for (unsigned i = 0; i < 50; i++)
            buf_printf(&targets, "n%u.%u@b.example ", level + 1, i);
        for (unsigned i = 0; i < 50; i++) {
            snprintf(name, sizeof name, "n%u.%u@b.example", level, i);
            CHECK(routing_add_alias(r, slice_from_str(name), level == 8 ? SLICE("alice@a.example") : buf_slice(&targets)));
        }
    }
    CHECK_SLICE(answer(r, "n0.0@b.example", &arena, &out), SLICE("7*"));
    CASE("too little memory is temporary");
    struct arena small;
    struct routing_target *list;
    struct address address = { .local_part = SLICE("alice"), .domain = SLICE("a.example") };
    arena_init(&small, 40);
    CHECK_INT(routing_resolve(r, &address, &small, &list, &count, NULL), RC_TEMP);
    arena_free(&small);
    CASE("the null path is no recipient");
    address.is_null = true;
    CHECK_INT(routing_resolve(r, &address, &arena, &list, &count, NULL), RC_PERM);
    buf_free(&targets);
    buf_free(&out);
    arena_free(&arena);
    routing_free(r);
}

static void test_send_as(void)
{
    static const struct { const char *sentence; uint64_t account; const char *address; bool may; } cases[] = {
        { "one's own address",                      7, "alice@a.example",       true },
        { "in any case",                            7, "Alice@A.example",       true },
        { "with a tag",                             7, "alice+x@a.example",     true },
        { "an alias that leads there",              7, "sales@a.example",       true },
        { "with a tag",                             7, "sales+x@a.example",     true },
        { "through an alias of an alias",           3, "all@a.example",         true },
        { "a catch-all that leads there",           7, "whoever@c.example",     true },
        { "somebody else's address",                7, "bob@a.example",         false },
        { "an alias that leads elsewhere",          5, "sales@a.example",       false },
        { "one's local part in another domain",     7, "alice@b.example",       false },
        { "one's local part abroad",                7, "alice@away.example",    false },
        { "an address of nobody",                   7, "nobody@a.example",      false },
        { "an address that an alias takes away is still one's own", 2, "list@b.example", true },
        { "an account that is not there",           77, "alice@a.example",      false },
    };
    struct routing *r = table('+', "");
    struct arena arena;
    arena_init(&arena, 1 << 16);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address address;
        CASE(cases[i].sentence);
        CHECK_INT(address_parse(slice_from_str(cases[i].address), &arena, &address, NULL), RC_OK);
        CHECK_INT(routing_may_send_as(r, cases[i].account, &address), cases[i].may);
    }
    CASE("the null path is nobody's");
    CHECK(!routing_may_send_as(r, 7, &(struct address){ .is_null = true }));
    CASE("names and accounts are found");
    CHECK_SLICE(routing_account_name(r, 3), SLICE("Bob@a.example"));
    CHECK_SLICE(routing_account_name(r, 33), SLICE(""));
    CHECK(routing_account_is_enabled(r, 3));
    CHECK(!routing_account_is_enabled(r, 4));
    CHECK(!routing_account_is_enabled(r, 33));
    size_t at = 0, count = 0;
    for (uint64_t account; routing_next_account(r, &at, &account); count++)
        CHECK(routing_account_name(r, account).len > 0);
    CHECK_INT(count, sizeof accounts / sizeof accounts[0]);
    CASE("which domains are local");
    CHECK(routing_is_local_domain(r, SLICE("A.EXAMPLE")));
    CHECK(routing_is_local_domain(r, SLICE("xn--mnchen-3ya.example")));
    CHECK(!routing_is_local_domain(r, SLICE("x.a.example")));
    CHECK(!routing_is_local_domain(r, SLICE("")));
    CASE("rows that make no sense are passed over");
    CHECK(routing_add_account(r, 99, SLICE("no address"), 0, true));
    CHECK(routing_add_alias(r, SLICE("@"), SLICE("alice@a.example")));
    CHECK(routing_add_alias(r, SLICE("x@a.example"), SLICE("no address")));
    CHECK(routing_add_domain(r, SLICE("..")));
    CHECK_SLICE(routing_account_name(r, 99), SLICE(""));
    arena_free(&arena);
    routing_free(r);
}

int main(void)
{
    test_resolve();
    test_postmaster();
    test_separator();
    test_limits();
    test_send_as();
    return check_done();
}
