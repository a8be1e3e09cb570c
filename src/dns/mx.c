/* The choice of mail exchangers (RFC 5321 5.1, RFC 7505), a machine without I/O.
 *
 * First the MX records (or the domain itself when it has none), then AAAA and A of each exchanger in order of preference,
 * equals shuffled. It stops asking when it has enough addresses to try. */
#include "dns/dns.h"

#include <arpa/inet.h>
#include <stdlib.h>

struct exchanger {
    struct slice name;
    uint16_t preference;
    uint64_t order;                 /* random, among equals */
    bool is_secure;
};

struct mx {
    enum { ASK_MX, ASK_AAAA, ASK_A, DONE } stage;
    struct slice domain, own_name;
    struct arena *arena;
    uint64_t random;
    bool is_implicit;               /* no MX: the domain is its own exchanger */
    struct exchanger exchangers[MX_MAX];
    size_t exchanger_count, at;
    struct mx_target found[2][MX_ADDRESSES_MAX];        /* of the exchanger at hand: IPv6, IPv4 */
    size_t found_count[2];
    struct mx_target targets[MX_TARGETS_MAX];
    size_t target_count;
    enum rc rc;                     /* when there are no targets */
    uint32_t esc;
    char why[256];
};

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static void fail(struct mx *mx, enum rc rc, uint32_t esc, const char *why)
{
    mx->stage = DONE;
    mx->rc = rc;
    mx->esc = esc;
    slice_to_str(slice_sub(slice_from_str(why), 0, sizeof mx->why - 1), mx->why, sizeof mx->why);
}

static void fail_printf(struct mx *mx, enum rc rc, uint32_t esc, const char *text)
{
    const char *why = arena_printf(mx->arena, "%.*s: %s", SLICE_ARG(slice_sub(mx->domain, 0, 200)), text);
    fail(mx, rc, esc, why == NULL ? text : why);
}

/* RFC 5321 4.1.3: "[192.0.2.1]", "[IPv6:2001:db8::1]". Bare IPv6 in brackets too, since settings have it. */
static bool take_literal(struct mx *mx)
{
    struct slice text = slice_sub(mx->domain, 1, mx->domain.len - 2);
    bool is_tagged = slice_take_prefix_nocase(&text, SLICE("IPv6:"));
    char plain[46];
    unsigned char bytes[16];
    struct mx_target *target = &mx->targets[0];
    if (!slice_to_str(text, plain, sizeof plain))
        return false;
    int family = is_tagged || slice_find_byte(text, ':') < text.len ? AF_INET6 : AF_INET;
    if (inet_pton(family, plain, bytes) != 1 || inet_ntop(family, bytes, target->address, sizeof target->address) == NULL)
        return false;
    target->name = mx->domain;
    mx->target_count = 1;
    return true;
}

static void use_domain_itself(struct mx *mx)
{
    mx->exchangers[0] = (struct exchanger){ .name = mx->domain };
    mx->exchanger_count = 1;
    mx->is_implicit = true;
    mx->stage = ASK_AAAA;
}

struct mx *mx_begin(struct slice domain, bool with_mx, struct slice own_name, uint64_t random, struct arena *arena)
{
    struct mx *mx = ARENA_NEW(arena, struct mx);
    if (mx == NULL)
        return NULL;
    mx->arena = arena;
    mx->domain = arena_copy(arena, domain);
    mx->own_name = arena_copy(arena, own_name);
    mx->random = random;
    if ((mx->domain.ptr == NULL && domain.len > 0) || (mx->own_name.ptr == NULL && own_name.len > 0))
        return NULL;
    if (domain.len == 0)
        fail(mx, RC_PERM, ESC(5, 1, 2), "an empty domain");
    else if (domain.len >= 2 && domain.ptr[0] == '[' && domain.ptr[domain.len - 1] == ']') {
        mx->stage = DONE;
        if (!take_literal(mx))
            fail_printf(mx, RC_PERM, ESC(5, 1, 2), "not an address literal");
    } else if (!with_mx)
        use_domain_itself(mx);
    return mx;
}

enum rc mx_next(struct mx *mx, struct slice *name, enum dns_type *type, struct fault *f)
{
    static const enum dns_type types[] = { [ASK_MX] = DNS_MX, [ASK_AAAA] = DNS_AAAA, [ASK_A] = DNS_A };
    if (mx->stage != DONE) {
        *name = mx->stage == ASK_MX ? mx->domain : mx->exchangers[mx->at].name;
        *type = types[mx->stage];
        return RC_MORE;
    }
    if (mx->target_count > 0)
        return RC_OK;
    return mx->rc == RC_PERM ? fault_perm(f, mx->esc, "%s", mx->why) : fault_temp(f, mx->esc, "%s", mx->why);
}

/* ---- MX ---------------------------------------------------------------------------------------------------------------- */

static int exchanger_compare(const void *a, const void *b)
{
    const struct exchanger *x = a, *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static bool is_known(const struct mx *mx, struct slice name)
{
    for (size_t i = 0; i < mx->exchanger_count; i++)
        if (slice_equal(mx->exchangers[i].name, name))
            return true;
    return false;
}

static void take_exchangers(struct mx *mx, const struct dns_answer *answer)
{
    for (size_t i = 0; i < answer->count && mx->exchanger_count < MX_MAX; i++) {
        const struct dns_record *record = &answer->records[i];
        if (record->type != DNS_MX || record->name.len == 0 || is_known(mx, record->name))
            continue;
        struct slice name = arena_copy(mx->arena, record->name);
        if (name.ptr != NULL)
            mx->exchangers[mx->exchanger_count++] = (struct exchanger){ name, record->preference, random_next(&mx->random), answer->is_secure };
    }
    qsort(mx->exchangers, mx->exchanger_count, sizeof *mx->exchangers, exchanger_compare);
}

/* RFC 5321 5.1: we are an exchanger ourselves: only better ones make sense, or the mail goes round in circles. */
static void drop_loops(struct mx *mx)
{
    for (size_t i = 0; i < mx->exchanger_count; i++) {
        if (!slice_equal_nocase(mx->exchangers[i].name, mx->own_name))
            continue;
        uint16_t own = mx->exchangers[i].preference;
        while (mx->exchanger_count > 0 && mx->exchangers[mx->exchanger_count - 1].preference >= own)
            mx->exchanger_count--;
        return;
    }
}

static bool is_null_mx(const struct dns_answer *answer)
{
    return answer->count == 1 && answer->records[0].type == DNS_MX && answer->records[0].name.len == 0;
}

static void answer_mx(struct mx *mx, const struct dns_answer *answer)
{
    if (answer->rc == RC_TEMP) {
        fail(mx, RC_TEMP, ESC(4, 4, 3), answer->why);
    } else if (answer->rc == RC_NONE && answer->is_nxdomain) {
        fail_printf(mx, RC_PERM, ESC(5, 1, 2), "no such domain");
    } else if (answer->rc != RC_OK) {
        use_domain_itself(mx);
        if (slice_equal_nocase(mx->domain, mx->own_name))
            fail_printf(mx, RC_PERM, ESC(5, 4, 6), "its mail would come back to this server");
    } else if (is_null_mx(answer)) {
        fail_printf(mx, RC_PERM, ESC(5, 1, 10), "the domain does not accept mail (null MX)");       /* RFC 7505 */
    } else {
        take_exchangers(mx, answer);
        size_t all = mx->exchanger_count;
        drop_loops(mx);
        mx->stage = ASK_AAAA;
        if (all > 0 && mx->exchanger_count == 0)
            fail_printf(mx, RC_PERM, ESC(5, 4, 6), "its mail would come back to this server");
        else if (all == 0)
            fail_printf(mx, RC_PERM, ESC(5, 4, 4), "no usable mail exchanger");
    }
}

/* ---- addresses ---------------------------------------------------------------------------------------------------------- */

static void take_addresses(struct mx *mx, const struct dns_answer *answer, size_t kind, enum dns_type type)
{
    const struct exchanger *exchanger = &mx->exchangers[mx->at];
    for (size_t i = 0; i < answer->count && mx->found_count[kind] < MX_ADDRESSES_MAX; i++) {
        if (answer->records[i].type != type)
            continue;
        struct mx_target *target = &mx->found[kind][mx->found_count[kind]++];
        *target = (struct mx_target){ .name = exchanger->name, .preference = exchanger->preference,
                                      .is_secure = exchanger->is_secure && answer->is_secure };
        memcpy(target->address, answer->records[i].address, sizeof target->address);
    }
}

/* IPv6 and IPv4 in turn, so that a family that leads nowhere costs one attempt before the other is tried. */
static void merge_addresses(struct mx *mx)
{
    size_t taken = 0;
    for (size_t i = 0; i < MX_ADDRESSES_MAX && taken < MX_ADDRESSES_MAX; i++)
        for (size_t kind = 0; kind < 2 && taken < MX_ADDRESSES_MAX; kind++)
            if (i < mx->found_count[kind] && mx->target_count < MX_TARGETS_MAX) {
                mx->targets[mx->target_count++] = mx->found[kind][i];
                taken++;
            }
    mx->found_count[0] = mx->found_count[1] = 0;
}

static void end_of_addresses(struct mx *mx)
{
    mx->stage = DONE;
    if (mx->target_count == 0 && mx->rc != RC_TEMP)
        fail_printf(mx, RC_PERM, ESC(5, 4, 4), mx->is_implicit ? "the domain has no mail exchanger and no address"
                                                              : "no mail exchanger has an address");
}

static void answer_address(struct mx *mx, const struct dns_answer *answer, size_t kind, enum dns_type type)
{
    if (answer->rc == RC_OK)
        take_addresses(mx, answer, kind, type);
    else if (answer->rc == RC_TEMP && mx->rc != RC_TEMP) {
        fail(mx, RC_TEMP, ESC(4, 4, 3), answer->why);   /* told at the end, if nothing else is found */
        mx->stage = kind == 0 ? ASK_AAAA : ASK_A;
    }
    if (mx->stage == ASK_AAAA) {
        mx->stage = ASK_A;
        return;
    }
    merge_addresses(mx);
    mx->at++;
    mx->stage = ASK_AAAA;
    if (mx->at == mx->exchanger_count || mx->target_count == MX_TARGETS_MAX)
        end_of_addresses(mx);
}

void mx_answer(struct mx *mx, const struct dns_answer *answer)
{
    switch (mx->stage) {
    case ASK_MX: answer_mx(mx, answer); break;
    case ASK_AAAA: answer_address(mx, answer, 0, DNS_AAAA); break;
    case ASK_A: answer_address(mx, answer, 1, DNS_A); break;
    case DONE: break;
    }
}

const struct mx_target *mx_targets(const struct mx *mx, size_t *count)
{
    *count = mx->target_count;
    return mx->targets;
}

size_t mx_exchangers(const struct mx *mx) { return mx->exchanger_count; }
