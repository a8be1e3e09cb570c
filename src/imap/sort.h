/* Sorting messages (RFC 5256 3, RFC 5957): what each is sorted by, and a sort that gives way to others. */
#ifndef THURN_IMAP_SORT_H
#define THURN_IMAP_SORT_H

#include "imap/search.h"

enum sort_key { SORT_ARRIVAL, SORT_CC, SORT_DATE, SORT_FROM, SORT_SIZE, SORT_SUBJECT, SORT_TO, SORT_DISPLAY_FROM, SORT_DISPLAY_TO };
enum { SORT_KEYS_MAX = 16 };

struct sort_order {
    struct { enum sort_key key; bool is_reverse; } by[SORT_KEYS_MAX];
    size_t count;
};
/* "(REVERSE DATE SUBJECT)" */
bool imap_parse_sort_order(struct imap_parser *, struct sort_order *);

struct sort_row {
    uint32_t seq;
    union { int64_t number; struct slice text; } values[];      /* one for each key of the order; texts folded */
};

struct sorter {
    struct sort_order order;
    struct arena *arena;        /* of rows and texts */
    struct sort_row **rows, **spare;
    size_t count, cap;
    size_t width, start, left, right, out;      /* of the merge that is under way; width 0: not begun */
};
void sorter_init(struct sorter *, const struct sort_order *, struct arena *);
/* RC_TEMP: out of memory; RC_PERM: the message could not be read, and stands where one without a header would. */
enum rc sorter_add(struct sorter *, struct imap_session *, uint32_t seq);
/* So many steps of the work; RC_OK when the rows are in order, RC_MORE: not yet, RC_TEMP: out of memory. */
enum rc sorter_run(struct sorter *, unsigned steps);

#endif
