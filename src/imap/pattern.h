/* Mailbox patterns (RFC 3501 6.3.8): '*' stands for anything, '%' for anything within one level. */
#ifndef THURN_IMAP_PATTERN_H
#define THURN_IMAP_PATTERN_H

#include "base/slice.h"

/* Cost is at most pattern times name squared, whatever the pattern. INBOX is matched in any case. */
bool imap_pattern_matches(struct slice pattern, struct slice name);

#endif
