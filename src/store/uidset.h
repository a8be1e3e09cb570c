/* Sets of UIDs or sequence numbers as sorted, disjoint, inclusive ranges (RFC 3501 9 sequence-set, RFC 4315 uid-set). */
#ifndef THURN_STORE_UIDSET_H
#define THURN_STORE_UIDSET_H

#include "base/buf.h"
#include "base/fault.h"

struct uid_range {
    uint32_t first, last;
};

struct uid_set {
    struct uid_range *ranges;
    size_t count, cap;
};

void uid_set_init(struct uid_set *);
void uid_set_free(struct uid_set *);
void uid_set_clear(struct uid_set *);
/* Any order, overlaps are merged; false: out of memory or more than UID_SET_RANGES_MAX ranges. */
enum { UID_SET_RANGES_MAX = 1 << 20 };
bool uid_set_add(struct uid_set *, uint32_t first, uint32_t last);
bool uid_set_contains(const struct uid_set *, uint32_t);
uint64_t uid_set_size(const struct uid_set *);
/* "1:3,7"; nothing for an empty set. */
bool uid_set_write(const struct uid_set *, struct buf *);
/* "2:4,9,12:*"; `star` is what * stands for. RC_PERM on bad syntax (0 is not a number here). */
enum rc uid_set_parse(struct slice, uint32_t star, struct uid_set *);

#endif
