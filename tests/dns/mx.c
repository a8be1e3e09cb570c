/* Choosing exchangers: a table of zones, and where their mail goes. */
#include "check.h"
#include "dns/dns.h"

#include <string.h>

struct row {
    const char *name;
    enum dns_type type;
    const char *value;              /* "10 mx.example", an address; NULL: fails as `rc` says */
    enum rc rc;
    bool is_nxdomain;
};

static const struct row zone[] = {
    { "two.example",     DNS_MX,   "20 b.two.example", RC_OK, false },
    { "two.example",     DNS_MX,   "10 a.two.example", RC_OK, false },
    { "a.two.example",   DNS_A,    "192.0.2.1", RC_OK, false },
    { "a.two.example",   DNS_A,    "192.0.2.2", RC_OK, false },
    { "a.two.example",   DNS_AAAA, "2001:db8::1", RC_OK, false },
    { "b.two.example",   DNS_A,    "192.0.2.3", RC_OK, false },
    { "bare.example",    DNS_A,    "192.0.2.4", RC_OK, false },
    { "null.example",    DNS_MX,   "0 ", RC_OK, false },
    { "gone.example",    DNS_MX,   NULL, RC_NONE, true },
    { "slow.example",    DNS_MX,   NULL, RC_TEMP, false },
    { "half.example",    DNS_MX,   "10 slow.half.example", RC_OK, false },
    { "half.example",    DNS_MX,   "20 a.two.example", RC_OK, false },
    { "slow.half.example", DNS_A,  NULL, RC_TEMP, false },
    { "allslow.example", DNS_MX,   "10 slow.half.example", RC_OK, false },
    { "dangling.example", DNS_MX,  "10 nowhere.example", RC_OK, false },
    { "backup.example",  DNS_MX,   "10 a.two.example", RC_OK, false },
    { "backup.example",  DNS_MX,   "20 us.example", RC_OK, false },
    { "backup.example",  DNS_MX,   "30 b.two.example", RC_OK, false },
    { "ours.example",    DNS_MX,   "10 US.example", RC_OK, false },
    { "ours.example",    DNS_MX,   "10 b.two.example", RC_OK, false },
    { "us.example",      DNS_A,    "192.0.2.99", RC_OK, false },
    { "nullandmore.example", DNS_MX, "0 ", RC_OK, false },
    { "nullandmore.example", DNS_MX, "10 b.two.example", RC_OK, false },
    { "mxonly.example",  DNS_MX,   "10 mxonly.example", RC_OK, false },
    { "mxonly.example",  DNS_A,    "192.0.2.7", RC_OK, false },
};

static void look_up(struct slice name, enum dns_type type, struct dns_answer *answer, struct dns_record *records)
{
    *answer = (struct dns_answer){ .rc = RC_NONE, .records = records };
    for (size_t i = 0; i < sizeof zone / sizeof *zone; i++) {
        const struct row *row = &zone[i];
        if (row->type != type || !slice_equal(name, slice_from_str(row->name)))
            continue;
        answer->rc = row->rc;
        answer->is_nxdomain = row->is_nxdomain;
        strcpy(answer->why, "the test's server says so");
        if (row->value == NULL)
            continue;
        struct dns_record *record = &records[answer->count++];
        *record = (struct dns_record){ .type = type };
        struct slice value = slice_from_str(row->value);
        uint64_t preference = 0;
        if (type == DNS_MX) {
            slice_take_number(&value, 65535, &preference);
            slice_take(&value, 1);
            record->preference = (uint16_t)preference;
            record->name = value;
        } else
            strcpy(record->address, row->value);
    }
}

/* Runs to the end; writes "name=address " for each target. */
static enum rc run(const char *domain, bool with_mx, uint64_t random, char *out, struct fault *f)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct mx *mx = mx_begin(slice_from_str(domain), with_mx, SLICE("us.example"), random, &arena);
    struct slice name;
    enum dns_type type;
    enum rc rc;
    size_t lookups = 0;
    while ((rc = mx_next(mx, &name, &type, f)) == RC_MORE && lookups++ < 1000) {
        struct dns_answer answer;
        struct dns_record records[64];
        look_up(name, type, &answer, records);
        mx_answer(mx, &answer);
    }
    CHECK(lookups <= 2 * MX_MAX + 1);
    size_t count;
    const struct mx_target *targets = mx_targets(mx, &count);
    *out = '\0';
    for (size_t i = 0; i < count; i++)
        sprintf(out + strlen(out), "%.*s=%s ", SLICE_ARG(targets[i].name), targets[i].address);
    arena_free(&arena);
    return rc;
}

static void zones(void)
{
    static const struct { const char *name, *domain; bool with_mx; enum rc rc; uint32_t esc; const char *targets; } cases[] = {
        { "by preference, and IPv6 and IPv4 in turn", "two.example", true, RC_OK, 0,
          "a.two.example=2001:db8::1 a.two.example=192.0.2.1 a.two.example=192.0.2.2 b.two.example=192.0.2.3 " },
        { "without MX the domain itself", "bare.example", true, RC_OK, 0, "bare.example=192.0.2.4 " },
        { "null MX: no mail at all (RFC 7505)", "null.example", true, RC_PERM, ESC(5, 1, 10), "" },
        { "a root beside other exchangers is ignored", "nullandmore.example", true, RC_OK, 0, "b.two.example=192.0.2.3 " },
        { "no such domain", "gone.example", true, RC_PERM, ESC(5, 1, 2), "" },
        { "neither MX nor address", "empty.example", true, RC_PERM, ESC(5, 4, 4), "" },
        { "DNS does not answer", "slow.example", true, RC_TEMP, ESC(4, 4, 3), "" },
        { "one exchanger's address is not to be had now: the other one", "half.example", true, RC_OK, 0,
          "a.two.example=2001:db8::1 a.two.example=192.0.2.1 a.two.example=192.0.2.2 " },
        { "no exchanger's address is to be had now: later", "allslow.example", true, RC_TEMP, ESC(4, 4, 3), "" },
        { "exchangers without any address", "dangling.example", true, RC_PERM, ESC(5, 4, 4), "" },
        { "we are a backup: only better exchangers", "backup.example", true, RC_OK, 0,
          "a.two.example=2001:db8::1 a.two.example=192.0.2.1 a.two.example=192.0.2.2 " },
        { "we are the best exchanger: a loop", "ours.example", true, RC_PERM, ESC(5, 4, 6), "" },
        { "our own name without MX: a loop", "us.example", true, RC_PERM, ESC(5, 4, 6), "" },
        { "a host named by a route: no MX", "us.example", false, RC_OK, 0, "us.example=192.0.2.99 " },
        { "a domain that is its own exchanger", "mxonly.example", true, RC_OK, 0, "mxonly.example=192.0.2.7 " },
        { "an address literal needs no DNS", "[192.0.2.55]", true, RC_OK, 0, "[192.0.2.55]=192.0.2.55 " },
        { "an IPv6 address literal", "[IPv6:2001:DB8::5]", true, RC_OK, 0, "[IPv6:2001:DB8::5]=2001:db8::5 " },
        { "a broken address literal", "[192.0.2.555]", true, RC_PERM, ESC(5, 1, 2), "" },
        { "an empty address literal", "[]", true, RC_PERM, ESC(5, 1, 2), "" },
        { "an empty domain", "", true, RC_PERM, ESC(5, 1, 2), "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CASE(cases[i].name);
        char out[4096];
        struct fault f = { .rc = RC_OK };
        CHECK_INT(run(cases[i].domain, cases[i].with_mx, 1, out, &f), cases[i].rc);
        CHECK_SLICE(slice_from_str(out), slice_from_str(cases[i].targets));
        if (cases[i].rc != RC_OK) {
            CHECK_INT(f.esc, cases[i].esc);
            CHECK(f.text[0] != '\0');
        }
    }
}

/* A domain with many exchangers of one preference, each with many addresses. */
static enum rc run_large(size_t exchangers, size_t addresses, uint64_t random, struct arena *arena, struct mx **mx)
{
    *mx = mx_begin(SLICE("large.example"), true, SLICE("us.example"), random, arena);
    static struct dns_record records[300];
    struct slice name;
    enum dns_type type;
    struct fault f;
    enum rc rc;
    while ((rc = mx_next(*mx, &name, &type, &f)) == RC_MORE) {
        struct dns_answer answer = { .rc = RC_OK, .records = records, .count = type == DNS_MX ? exchangers : addresses };
        for (size_t i = 0; i < answer.count; i++) {
            records[i] = (struct dns_record){ .type = type, .preference = 10 };
            if (type == DNS_MX)
                records[i].name = slice_from_str(arena_printf(arena, "mx%zu.large.example", i));
            else
                sprintf(records[i].address, type == DNS_A ? "192.0.2.%zu" : "2001:db8::%zx", i);
        }
        mx_answer(*mx, &answer);
    }
    return rc;
}

static void limits_and_chance(void)
{
    struct arena arena;
    arena_init(&arena, 1 << 26);
    struct mx *mx;
    size_t count, first[4] = { 0 };
    CASE("two hundred exchangers with two hundred addresses: the limits hold");
    CHECK_INT(run_large(200, 200, 1, &arena, &mx), RC_OK);
    const struct mx_target *targets = mx_targets(mx, &count);
    CHECK_INT(count, MX_TARGETS_MAX);
    CHECK_INT(mx_exchangers(mx), MX_MAX);
    size_t of_one = 0;
    for (size_t i = 0; i < count; i++)
        of_one += slice_equal(targets[i].name, targets[0].name);
    CHECK_INT(of_one, MX_ADDRESSES_MAX);
    CASE("among equals chance decides, and evenly");
    for (uint64_t random = 0; random < 4000; random++) {
        arena_rewind(&arena);
        CHECK_INT(run_large(4, 1, random * 0x9e3779b97f4a7c15, &arena, &mx), RC_OK);
        targets = mx_targets(mx, &count);
        first[targets[0].name.ptr[2] - '0']++;
    }
    for (size_t i = 0; i < 4; i++)
        CHECK(first[i] > 850 && first[i] < 1150);
    arena_free(&arena);
}

int main(void)
{
    zones();
    limits_and_chance();
    return check_done();
}
