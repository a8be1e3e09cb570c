/* See uidset.h. Ranges stay sorted, disjoint and not adjacent; adding at the end, the usual case, costs O(1). */
#include "store/uidset.h"

#include <stdlib.h>

void uid_set_init(struct uid_set *set) { *set = (struct uid_set){ NULL, 0, 0 }; }

void uid_set_free(struct uid_set *set)
{
    free(set->ranges);
    uid_set_init(set);
}

void uid_set_clear(struct uid_set *set) { set->count = 0; }

static bool make_room(struct uid_set *set)
{
    if (set->count < set->cap)
        return true;
    if (set->count >= UID_SET_RANGES_MAX)
        return false;
    size_t cap = set->cap == 0 ? 8 : set->cap * 2;
    struct uid_range *ranges = realloc(set->ranges, cap * sizeof *ranges);
    if (ranges == NULL)
        return false;
    set->ranges = ranges;
    set->cap = cap;
    return true;
}

/* The first range that ends at or behind `uid`. */
static size_t find(const struct uid_set *set, uint32_t uid)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (set->ranges[mid].last < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool insert(struct uid_set *set, size_t at, struct uid_range range)
{
    if (!make_room(set))
        return false;
    memmove(set->ranges + at + 1, set->ranges + at, (set->count - at) * sizeof range);
    set->ranges[at] = range;
    set->count++;
    return true;
}

bool uid_set_add(struct uid_set *set, uint32_t first, uint32_t last)
{
    if (first > last) {
        uint32_t swap = first;
        first = last;
        last = swap;
    }
    size_t from = find(set, first == 0 ? 0 : first - 1);        /* adjacent ones merge too */
    size_t to = from;
    while (to < set->count && (last == UINT32_MAX || set->ranges[to].first <= last + 1))
        to++;
    if (from == to)
        return insert(set, from, (struct uid_range){ first, last });
    struct uid_range *merged = &set->ranges[from];
    uint32_t end = set->ranges[to - 1].last;
    merged->first = merged->first < first ? merged->first : first;
    merged->last = end > last ? end : last;
    memmove(merged + 1, set->ranges + to, (set->count - to) * sizeof *merged);
    set->count -= to - from - 1;
    return true;
}

bool uid_set_contains(const struct uid_set *set, uint32_t uid)
{
    size_t at = find(set, uid);
    return at < set->count && set->ranges[at].first <= uid;
}

uint64_t uid_set_size(const struct uid_set *set)
{
    uint64_t size = 0;
    for (size_t i = 0; i < set->count; i++)
        size += (uint64_t)set->ranges[i].last - set->ranges[i].first + 1;
    return size;
}

bool uid_set_write(const struct uid_set *set, struct buf *out)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct uid_range *r = &set->ranges[i];
        bool ok = r->first == r->last ? buf_printf(out, "%s%u", i == 0 ? "" : ",", r->first)
                                      : buf_printf(out, "%s%u:%u", i == 0 ? "" : ",", r->first, r->last);
        if (!ok)
            return false;
    }
    return true;
}

/* seq-number = nz-number / "*" (RFC 3501 9). */
static bool take_number(struct slice *in, uint32_t star, uint32_t *number)
{
    if (slice_take_byte(in, '*')) {
        *number = star;
        return true;
    }
    uint64_t value;
    if (in->len == 0 || in->ptr[0] == '0' || !slice_take_number(in, UINT32_MAX, &value))
        return false;
    *number = (uint32_t)value;
    return true;
}

enum rc uid_set_parse(struct slice in, uint32_t star, struct uid_set *set)
{
    uid_set_clear(set);
    do {
        uint32_t first, last;
        if (!take_number(&in, star, &first))
            return RC_PERM;
        last = first;
        if (slice_take_byte(&in, ':') && !take_number(&in, star, &last))
            return RC_PERM;
        if (!uid_set_add(set, first, last))
            return RC_TEMP;
    } while (slice_take_byte(&in, ','));
    return in.len == 0 ? RC_OK : RC_PERM;
}
