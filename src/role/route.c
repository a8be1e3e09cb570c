/* Routes: see route.h. A route is for one domain ("example.org"), for those below one (".example.org") or for all ("*");
 * the most exact wins. */
#include "role/route.h"

/* How exactly a route's domain fits: 0 not at all; longer parents are more exact than shorter ones. */
static size_t fits(const char *route, struct slice domain)
{
    struct slice pattern = slice_from_str(route);
    if (slice_equal(pattern, SLICE("*")))
        return 1;
    if (pattern.len > 0 && pattern.ptr[0] == '.')
        return domain.len > pattern.len && slice_ends_nocase(domain, pattern) ? 1 + pattern.len : 0;
    return slice_equal_nocase(pattern, domain) ? SIZE_MAX : 0;
}

static const struct config_route *find_route(const struct config *config, struct slice domain)
{
    const struct config_route *best = NULL;
    size_t best_fit = 0;
    for (size_t i = 0; i < config->route_count; i++) {
        size_t fit = fits(config->routes[i].domain, domain);
        if (fit > best_fit) {
            best = &config->routes[i];
            best_fit = fit;
        }
    }
    return best;
}

/* A named host has exchangers only on the port for mail between servers; brackets say that it has none. */
static void route_host(const struct config_route *route, struct next_hop *hop)
{
    enum { SMTP_PORT = 25 };
    struct slice host = slice_from_str(route->host);
    bool is_bracketed = host.len > 0 && (host.ptr[0] == '[' || host.ptr[0] == '/');
    hop->host = route->host;
    if (is_bracketed || (route->port == SMTP_PORT && !route->is_lmtp) || host.len > DOMAIN_MAX)
        return;
    hop->buffer[0] = '[';
    memcpy(hop->buffer + 1, host.ptr, host.len);
    memcpy(hop->buffer + 1 + host.len, "]", 2);
    hop->host = hop->buffer;
}

static void domain_host(struct slice domain, struct next_hop *hop)
{
    struct buf ascii;
    buf_init(&ascii, DOMAIN_MAX);
    bool is_literal = domain.len > 0 && domain.ptr[0] == '[';
    if (!is_literal && domain_to_ascii(domain, &ascii, NULL) == RC_OK)
        domain = buf_slice(&ascii);
    if (!slice_to_str(domain, hop->buffer, sizeof hop->buffer))
        hop->buffer[0] = '\0';
    hop->host = hop->buffer;
    buf_free(&ascii);
}

void route_next_hop(const struct config *config, const struct address *address, struct next_hop *hop)
{
    const struct config_route *route = find_route(config, address->domain);
    *hop = (struct next_hop){ .user = "", .port = config->delivery_port, .tls = ROUTE_TLS_MAY };
    if (route == NULL) {
        domain_host(address->domain, hop);
        return;
    }
    hop->port = route->port;
    hop->is_lmtp = route->is_lmtp;
    hop->tls = (int)route->tls;
    hop->user = route->user == NULL ? "" : route->user;
    route_host(route, hop);
}

struct slice next_hop_key(const struct next_hop *hop, struct arena *arena)
{
    const char *key = arena_printf(arena, "%s:%u%s%s %s %d", hop->host, (unsigned)hop->port, hop->is_lmtp ? " lmtp" : "",
                                   hop->user[0] == '\0' ? "" : " as", hop->user, hop->tls);
    return key == NULL ? SLICE("?") : slice_from_str(key);
}

const struct config_route *route_of_next_hop(const struct config *config, struct slice host, uint16_t port, struct slice user, bool is_lmtp)
{
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        struct next_hop hop;
        route_host(route, &hop);
        if (slice_equal(slice_from_str(hop.host), host) && route->port == port && route->is_lmtp == is_lmtp
            && slice_equal(slice_from_str(route->user == NULL ? "" : route->user), user))
            return route;
    }
    return NULL;
}
