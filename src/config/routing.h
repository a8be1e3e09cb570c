/* Where an address leads: the directory as memory, without secrets, in the post role.
 *
 * Built from rows (domains, accounts, aliases) that auth streams at start and on change; replaced as a whole.
 * Resolution follows aliases (depth and fan-out limited, loops cut), subaddresses, catch-all, postmaster. */
#ifndef THURN_CONFIG_ROUTING_H
#define THURN_CONFIG_ROUTING_H

#include "base/arena.h"
#include "base/fault.h"
#include "mail/address.h"

struct routing;

enum { ROUTING_TARGETS_MAX = 1000, ROUTING_DEPTH_MAX = 10 };

struct routing *routing_new(char subaddress_separator, struct slice host_name, struct slice postmaster, const uint64_t hash_seed[2]);
void routing_free(struct routing *);
bool routing_add_domain(struct routing *, struct slice domain);
bool routing_add_account(struct routing *, uint64_t id, struct slice address, uint64_t quota_bytes, bool is_enabled);
bool routing_add_alias(struct routing *, struct slice address, struct slice targets);

struct routing_target {
    uint64_t account;               /* 0: not local; then address says where */
    uint64_t quota_bytes;
    struct slice tag;               /* subaddress, or empty */
    struct address address;         /* final address; in the arena */
    bool is_alias;                  /* came through an alias */
};
bool routing_is_local_domain(const struct routing *, struct slice domain);
/* Local: an alias or account of that name, or of that name without its tag; for postmaster whom the settings name, or else
 * the oldest account (RFC 5321 4.5.1: there is always someone); the domain's catch-all. An alias that names itself means
 * the account of its name. Of an alias's targets those that lead nowhere are passed over when others do lead somewhere.
 * RC_OK with at least one target; a remote address gives itself as one remote target (whether that may be relayed is
 * the caller's decision: compare is_alias). RC_PERM 5.1.1 no such mailbox, 5.2.1 disabled; 5.4.6 alias loop. An empty
 * domain is <postmaster>. */
enum rc routing_resolve(const struct routing *, const struct address *, struct arena *, struct routing_target **, size_t *count, struct fault *);
/* May this account send as that address: its own, an alias that leads to it, either with a tag. */
bool routing_may_send_as(const struct routing *, uint64_t account, const struct address *);
struct slice routing_account_name(const struct routing *, uint64_t account);    /* empty: no such */
uint64_t routing_account_quota(const struct routing *, uint64_t account);       /* bytes; 0: none */
bool routing_account_is_enabled(const struct routing *, uint64_t account);      /* false: disabled, or no such */
/* Every account once, for creating mailboxes at start: *at starts at 0; false at the end. */
bool routing_next_account(const struct routing *, size_t *at, uint64_t *account);

#endif
