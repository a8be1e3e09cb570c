/* Where an address leads: see routing.h.
 *
 * Everything is looked up by key (config/names.h). In a local domain the order is: alias, account; then both again without
 * the tag; postmaster's special ways; the domain's catch-all; no such mailbox. An alias may name itself among its targets,
 * which means the account of the same name (keep a copy). */
#include "config/routing.h"

#include "base/map.h"
#include "config/names.h"

#include <stdlib.h>

enum {
    SCRATCH_MAX = 4 << 20,          /* of one question */
};
#define TABLE_MAX ((size_t)4 << 30)     /* of everything: some ten million accounts */

struct routing_account {
    uint64_t id;
    uint64_t quota_bytes;
    struct slice key, name;
    struct address address;
    bool is_enabled;
};

struct routing_alias {
    struct slice key;
    struct address *targets;
    size_t target_count;
};

struct routing {
    struct arena arena;
    struct map domains, accounts, aliases;      /* by key */
    struct map accounts_by_id;
    struct slice host_key, postmaster;
    uint64_t oldest;                /* enabled account; 0: none */
    char separator;
};

/* ---- building ------------------------------------------------------------------------------------------------------ */

struct routing *routing_new(char subaddress_separator, struct slice host_name, struct slice postmaster,
                            const uint64_t hash_seed[2])
{
    struct routing *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    arena_init(&r->arena, TABLE_MAX);
    map_init(&r->domains, hash_seed);
    map_init(&r->accounts, hash_seed);
    map_init(&r->aliases, hash_seed);
    map_init(&r->accounts_by_id, hash_seed);
    r->separator = subaddress_separator;
    r->postmaster = arena_copy(&r->arena, postmaster);
    if (name_domain_key(host_name, &r->arena, &r->host_key, NULL) != RC_OK || !map_put(&r->domains, r->host_key, r)) {
        routing_free(r);
        return NULL;
    }
    return r;
}

void routing_free(struct routing *r)
{
    if (r == NULL)
        return;
    map_free(&r->domains);
    map_free(&r->accounts);
    map_free(&r->aliases);
    map_free(&r->accounts_by_id);
    arena_free(&r->arena);
    free(r);
}

/* The directory has parsed every row before it kept it. What comes otherwise is passed over: one bad row must not keep the
 * rest from taking force. False is for memory alone. */
static bool is_passed_over(enum rc rc) { return rc == RC_PERM; }

bool routing_add_domain(struct routing *r, struct slice domain)
{
    struct slice key;
    enum rc rc = name_domain_key(domain, &r->arena, &key, NULL);
    return is_passed_over(rc) || (rc == RC_OK && map_put(&r->domains, key, r));
}

bool routing_add_account(struct routing *r, uint64_t id, struct slice address, uint64_t quota_bytes, bool is_enabled)
{
    struct routing_account *account = ARENA_NEW(&r->arena, struct routing_account);
    struct slice name = arena_copy(&r->arena, address);
    if (account == NULL || name.ptr == NULL)
        return false;
    enum rc rc = address_parse(name, &r->arena, &account->address, NULL);
    if (rc == RC_OK)
        rc = name_key(account->address.local_part, account->address.domain, &r->arena, &account->key, NULL);
    if (is_passed_over(rc) || id == 0)
        return true;
    account->id = id;
    account->name = name;
    account->quota_bytes = quota_bytes;
    account->is_enabled = is_enabled;
    if (is_enabled && (r->oldest == 0 || id < r->oldest))
        r->oldest = id;
    return rc == RC_OK && map_put(&r->accounts, account->key, account) && map_put_u64(&r->accounts_by_id, id, account);
}

static enum rc alias_key(struct routing *r, struct slice address, struct slice *key)
{
    struct slice rest = address;
    struct address parsed;
    if (slice_take_byte(&rest, '@'))
        return name_key(SLICE_NONE, rest, &r->arena, key, NULL);
    enum rc rc = address_parse(address, &r->arena, &parsed, NULL);
    return rc == RC_OK ? name_key(parsed.local_part, parsed.domain, &r->arena, key, NULL) : rc;
}

bool routing_add_alias(struct routing *r, struct slice address, struct slice targets)
{
    struct routing_alias *alias = ARENA_NEW(&r->arena, struct routing_alias);
    struct slice rest = targets, one;
    size_t count = 0;
    if (alias == NULL)
        return false;
    enum rc rc = alias_key(r, address, &alias->key);
    if (rc != RC_OK)
        return is_passed_over(rc);
    while (name_take_target(&rest, &one))
        count++;
    alias->targets = ARENA_ARRAY(&r->arena, struct address, count + 1);
    if (alias->targets == NULL)
        return false;
    while (name_take_target(&targets, &one)) {
        rc = address_parse(one, &r->arena, &alias->targets[alias->target_count], NULL);
        if (rc == RC_OK)
            alias->target_count++;
        else if (!is_passed_over(rc))
            return false;
    }
    return alias->target_count == 0 || map_put(&r->aliases, alias->key, alias);
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

bool routing_is_local_domain(const struct routing *r, struct slice domain)
{
    struct arena scratch;
    struct slice key;
    arena_init(&scratch, SCRATCH_MAX);
    bool is_local = name_domain_key(domain, &scratch, &key, NULL) == RC_OK && map_get(&r->domains, key) != NULL;
    arena_free(&scratch);
    return is_local;
}

/* One question: what was found so far, and the aliases that were followed. */
struct walk {
    const struct routing *routing;
    struct arena *arena;
    struct fault *fault;            /* of the last place that led nowhere */
    enum rc refused;
    struct routing_target *targets;
    size_t count, room;
    const struct routing_alias *chain[ROUTING_DEPTH_MAX];
    struct map seen;                /* accounts and aliases done, by pointer */
    struct map seen_remote;         /* other addresses done, by key */
    bool is_postmaster_tried;
};

struct place {
    struct address address;
    struct slice tag;               /* of the address, or of the alias that led here */
    unsigned depth;                 /* aliases above */
    bool is_alias;                  /* not what was asked for, but what stands for it */
};

static enum rc follow(struct walk *, const struct place *);

/* Most questions have one answer, so room for many is not there from the start. */
static enum rc make_room(struct walk *w)
{
    if (w->count < w->room)
        return RC_OK;
    if (w->count == ROUTING_TARGETS_MAX)
        return fault_perm(w->fault, ESC(5, 4, 6), "the alias leads to more than %d addresses", ROUTING_TARGETS_MAX);
    size_t room = w->room == 0 ? 2 : w->room * 4 < ROUTING_TARGETS_MAX ? w->room * 4 : ROUTING_TARGETS_MAX;
    struct routing_target *targets = ARENA_ARRAY(w->arena, struct routing_target, room);
    if (targets == NULL)
        return fault_no_memory(w->fault);
    if (w->count > 0)
        memcpy(targets, w->targets, w->count * sizeof *targets);
    w->targets = targets;
    w->room = room;
    return RC_OK;
}

/* True once for each account or alias. */
static bool is_first_time(struct walk *w, const void *thing, enum rc *rc)
{
    uint64_t key = (uintptr_t)thing;
    *rc = RC_OK;
    if (map_get_u64(&w->seen, key) != NULL)
        return false;
    if (!map_put_u64(&w->seen, key, w))
        *rc = fault_no_memory(w->fault);
    return *rc == RC_OK;
}

static enum rc add_account(struct walk *w, const struct place *place, const struct routing_account *account, struct slice tag)
{
    if (!account->is_enabled) {
        w->refused = fault_perm(w->fault, ESC(5, 2, 1), "the mailbox is disabled");
        return RC_OK;
    }
    enum rc rc;
    if (!is_first_time(w, account, &rc))
        return rc;
    rc = make_room(w);
    if (rc != RC_OK)
        return rc;
    struct routing_target *target = &w->targets[w->count++];
    *target = (struct routing_target){ .account = account->id, .quota_bytes = account->quota_bytes, .is_alias = place->is_alias };
    target->tag = arena_copy(w->arena, tag.len > 0 ? tag : place->tag);
    return address_copy(&account->address, w->arena, &target->address);
}

static enum rc add_remote(struct walk *w, const struct place *place, struct slice key)
{
    if (map_get(&w->seen_remote, key) != NULL)
        return RC_OK;
    enum rc rc = make_room(w);
    if (rc != RC_OK)
        return rc;
    if (!map_put(&w->seen_remote, key, w))
        return fault_no_memory(w->fault);
    struct routing_target *target = &w->targets[w->count++];
    *target = (struct routing_target){ .is_alias = place->is_alias };
    return address_copy(&place->address, w->arena, &target->address);
}

static bool is_in_chain(const struct walk *w, unsigned depth, const struct routing_alias *alias)
{
    for (unsigned i = 0; i < depth; i++)
        if (w->chain[i] == alias)
            return true;
    return false;
}

static enum rc follow_alias(struct walk *w, const struct place *place, const struct routing_alias *alias, struct slice tag)
{
    if (place->depth == ROUTING_DEPTH_MAX) {
        w->refused = fault_perm(w->fault, ESC(5, 4, 6), "aliases lead to aliases more than %d deep", ROUTING_DEPTH_MAX);
        return RC_OK;
    }
    w->chain[place->depth] = alias;
    for (size_t i = 0; i < alias->target_count; i++) {
        struct place next = { .address = alias->targets[i], .tag = tag.len > 0 ? tag : place->tag,
                              .depth = place->depth + 1, .is_alias = true };
        enum rc rc = follow(w, &next);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* What bears exactly this key: *found is false when nothing does. */
static enum rc try_key(struct walk *w, const struct place *place, struct slice key, struct slice tag, bool *found)
{
    const struct routing_alias *alias = map_get(&w->routing->aliases, key);
    const struct routing_account *account = map_get(&w->routing->accounts, key);
    *found = alias != NULL || account != NULL;
    if (alias == NULL)
        return account != NULL ? add_account(w, place, account, tag) : RC_OK;
    if (is_in_chain(w, place->depth, alias)) {
        if (account != NULL)
            return add_account(w, place, account, tag);
        w->refused = fault_perm(w->fault, ESC(5, 4, 6), "the alias leads back to itself");
        return RC_OK;
    }
    enum rc rc;
    if (!is_first_time(w, alias, &rc))      /* another alias of the same question has led here before */
        return rc;
    return follow_alias(w, place, alias, tag);
}

/* RFC 5321 4.5.1: postmaster always has a mailbox: its own (found before), the one that is set, this host's, or else that
 * of the oldest account. */
static enum rc follow_postmaster(struct walk *w, const struct place *place, bool *found)
{
    const struct routing *r = w->routing;
    struct place next = { .depth = place->depth, .is_alias = true };
    *found = false;
    if (!w->is_postmaster_tried && r->postmaster.len > 0
        && address_parse(r->postmaster, w->arena, &next.address, NULL) == RC_OK) {
        w->is_postmaster_tried = *found = true;
        return follow(w, &next);
    }
    struct slice key;
    enum rc rc = name_key(SLICE("postmaster"), r->host_key, w->arena, &key, w->fault);
    if (rc == RC_OK)
        rc = try_key(w, &next, key, SLICE_NONE, found);
    if (rc != RC_OK || *found)
        return rc;
    const struct routing_account *oldest = map_get_u64(&r->accounts_by_id, r->oldest);
    *found = oldest != NULL;
    return oldest != NULL ? add_account(w, &next, oldest, SLICE_NONE) : RC_OK;
}

/* Besides postmaster this host's root: programs such as cron write to it, and nobody would read that otherwise. */
static bool is_for_postmaster(const struct routing *r, struct slice base, struct slice domain_key)
{
    return slice_equal_nocase(base, SLICE("postmaster"))
        || (slice_equal_nocase(base, SLICE("root")) && slice_equal(domain_key, r->host_key));
}

/* The part of a local part before its tag. A separator at either end parts nothing. */
static bool split_tag(const struct routing *r, struct slice local_part, struct slice *base, struct slice *tag)
{
    size_t at = r->separator != '\0' ? slice_find_byte(local_part, r->separator) : local_part.len;
    if (at == 0 || at + 1 >= local_part.len)
        return false;
    *base = slice_sub(local_part, 0, at);
    *tag = slice_sub(local_part, at + 1, local_part.len);
    return true;
}

static enum rc follow_local(struct walk *w, const struct place *place, struct slice domain_key, struct slice key)
{
    const struct address *address = &place->address;
    struct slice base = address->local_part, tag = SLICE_NONE;
    bool found;
    enum rc rc = try_key(w, place, key, SLICE_NONE, &found);
    if (rc == RC_OK && !found && split_tag(w->routing, address->local_part, &base, &tag)) {
        rc = name_key(base, address->domain, w->arena, &key, w->fault);
        if (rc == RC_OK)
            rc = try_key(w, place, key, tag, &found);
    }
    if (rc == RC_OK && !found && is_for_postmaster(w->routing, base, domain_key))
        rc = follow_postmaster(w, place, &found);
    if (rc == RC_OK && !found) {
        rc = name_key(SLICE_NONE, address->domain, w->arena, &key, w->fault);
        if (rc == RC_OK)
            rc = try_key(w, place, key, SLICE_NONE, &found);
    }
    if (rc == RC_OK && !found)
        w->refused = fault_perm(w->fault, ESC(5, 1, 1), "there is no such mailbox here");
    return rc;
}

static enum rc follow(struct walk *w, const struct place *given)
{
    struct place place = *given;
    struct slice domain_key, key;
    if (place.address.domain.len == 0) {        /* <postmaster> */
        place.address = (struct address){ .local_part = SLICE("postmaster"), .domain = w->routing->host_key };
    }
    enum rc rc = name_domain_key(place.address.domain, w->arena, &domain_key, w->fault);
    if (rc == RC_OK)
        rc = name_key(place.address.local_part, place.address.domain, w->arena, &key, w->fault);
    if (rc == RC_PERM) {
        w->refused = RC_PERM;
        return RC_OK;
    }
    if (rc != RC_OK)
        return rc;
    bool is_local = !place.address.is_literal && map_get(&w->routing->domains, domain_key) != NULL;
    return is_local ? follow_local(w, &place, domain_key, key) : add_remote(w, &place, key);
}

enum rc routing_resolve(const struct routing *r, const struct address *address, struct arena *arena,
                        struct routing_target **targets, size_t *count, struct fault *f)
{
    struct fault unheard;
    struct walk w = { .routing = r, .arena = arena, .fault = f != NULL ? f : &unheard };
    struct place place = { .address = *address };
    *count = 0;
    if (address->is_null)
        return fault_perm(f, ESC(5, 1, 3), "the null path is no recipient");
    map_init(&w.seen, r->domains.seed);
    map_init(&w.seen_remote, r->domains.seed);
    enum rc rc = follow(&w, &place);
    map_free(&w.seen);
    map_free(&w.seen_remote);
    if (rc == RC_OK && w.count == 0) {
        must(w.refused == RC_PERM);
        return RC_PERM;
    }
    if (rc != RC_OK)
        return rc;
    *targets = w.targets;
    *count = w.count;
    fault_clear(f);
    return RC_OK;
}

bool routing_may_send_as(const struct routing *r, uint64_t account, const struct address *address)
{
    const struct routing_account *own = map_get_u64(&r->accounts_by_id, account);
    struct arena scratch;
    struct routing_target *targets;
    struct slice key, base, tag;
    size_t count;
    bool may = false;
    if (own == NULL || address->is_null)
        return false;
    arena_init(&scratch, SCRATCH_MAX);
    if (name_key(address->local_part, address->domain, &scratch, &key, NULL) == RC_OK)
        may = slice_equal(key, own->key);
    if (!may && split_tag(r, address->local_part, &base, &tag)
        && name_key(base, address->domain, &scratch, &key, NULL) == RC_OK)
        may = slice_equal(key, own->key);
    if (!may && routing_resolve(r, address, &scratch, &targets, &count, NULL) == RC_OK)
        for (size_t i = 0; i < count && !may; i++)
            may = targets[i].account == account;
    arena_free(&scratch);
    return may;
}

struct slice routing_account_name(const struct routing *r, uint64_t account)
{
    const struct routing_account *found = map_get_u64(&r->accounts_by_id, account);
    return found != NULL ? found->name : SLICE_NONE;
}

uint64_t routing_account_quota(const struct routing *r, uint64_t account)
{
    const struct routing_account *found = map_get_u64(&r->accounts_by_id, account);
    return found != NULL ? found->quota_bytes : 0;
}

bool routing_account_is_enabled(const struct routing *r, uint64_t account)
{
    const struct routing_account *found = map_get_u64(&r->accounts_by_id, account);
    return found != NULL && found->is_enabled;
}

bool routing_next_account(const struct routing *r, size_t *at, uint64_t *account)
{
    return map_next_u64(&r->accounts_by_id, at, account) != NULL;
}
