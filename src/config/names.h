/* Names of the directory as keys: two spellings of one address have one key.
 *
 * Local parts are compared without case (ASCII), domains as DNS sees them (A-labels, lower case), so that mail for
 * "Alice@xn--mnchen-3ya.example" finds the account alice@münchen.example. */
#ifndef THURN_CONFIG_NAMES_H
#define THURN_CONFIG_NAMES_H

#include "base/arena.h"
#include "base/fault.h"
#include "mail/address.h"

/* RC_PERM for what is no domain, RC_TEMP when the arena is full. An address literal is its own key. */
enum rc name_domain_key(struct slice domain, struct arena *, struct slice *key, struct fault *);
/* "local@domain"; for a catch-all ("@domain") the local part is empty. */
enum rc name_key(struct slice local_part, struct slice domain, struct arena *, struct slice *key, struct fault *);
/* Takes the next of addresses that are separated by spaces or commas (quoted local parts may hold either); false at the end. */
bool name_take_target(struct slice *targets, struct slice *one);

#endif
