/* Who counts as one stranger: an IPv4 address, or an IPv6 /64, which is what one subscriber has to choose from. */
#ifndef THURN_ROLE_NETWORK_H
#define THURN_ROLE_NETWORK_H

#include "base/slice.h"

enum { NETWORK_TEXT = 64 };

/* "2001:db8:0:1::/64" for any address in it; everything else is itself, cut to the room there is. */
struct slice network_of(struct slice address, char text[NETWORK_TEXT]);

#endif
