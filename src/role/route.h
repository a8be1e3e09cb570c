/* Where mail for an address goes next: the configured route for its domain, or its domain's exchangers. */
#ifndef THURN_ROLE_ROUTE_H
#define THURN_ROLE_ROUTE_H

#include "config/config.h"
#include "mail/address.h"

struct next_hop {
    const char *host;               /* a domain (A-labels; MX applies), "[name]" or "[address]" (no MX), or "/path" (LMTP) */
    const char *user;               /* "" without AUTH */
    uint16_t port;
    bool is_lmtp;
    int tls;                        /* ROUTE_TLS_* (config/config.h) */
    char buffer[DOMAIN_MAX + 3];
};

/* Never fails: a domain that cannot be written in ASCII stays as it is, and `out` refuses it. */
void route_next_hop(const struct config *, const struct address *, struct next_hop *);
/* One text for all that share connections and limits. */
struct slice next_hop_key(const struct next_hop *, struct arena *);
/* The route of the configuration that leads there; NULL: none, the next hop came from an address. */
const struct config_route *route_of_next_hop(const struct config *, struct slice host, uint16_t port, struct slice user, bool is_lmtp);

#endif
