/* See numbering.h. */
#include "store/numbering.h"

#include <stdlib.h>

struct run *run_new(uint64_t number, uint32_t cap)
{
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return NULL;
    run->rows = malloc(cap * sizeof *run->rows);
    if (run->rows == NULL) {
        free(run);
        return NULL;
    }
    run->references = 1;
    run->cap = cap;
    run->number = number;
    run->is_dirty = true;
    return run;
}

static void run_release(struct run *run)
{
    if (--run->references > 0)
        return;
    free(run->rows);
    free(run);
}

static bool run_append(struct run *run, const struct store_message *row)
{
    if (run->count == run->cap) {
        uint32_t cap = run->cap * 2 < RUN_ROWS ? run->cap * 2 : RUN_ROWS;
        struct store_message *rows = realloc(run->rows, cap * sizeof *rows);
        if (rows == NULL)
            return false;
        run->rows = rows;
        run->cap = cap;
    }
    run->rows[run->count++] = *row;
    run->unseen += (row->flags & FLAG_SEEN) == 0;
    run->is_dirty = true;
    if (row->modseq > run->max_modseq)
        run->max_modseq = row->modseq;
    return true;
}

struct numbering *numbering_new(void)
{
    struct numbering *n = calloc(1, sizeof *n);
    if (n != NULL)
        n->references = 1;
    return n;
}

struct numbering *numbering_share(struct numbering *n)
{
    n->references++;
    return n;
}

void numbering_release(struct numbering *n)
{
    if (n == NULL || --n->references > 0)
        return;
    for (size_t i = 0; i < n->count; i++)
        run_release(n->entries[i].run);
    free(n->entries);
    free(n);
}

static bool make_room(struct numbering *n)
{
    if (n->count < n->cap)
        return true;
    size_t cap = n->cap == 0 ? 1 : n->cap * 2;
    struct numbering_entry *entries = realloc(n->entries, cap * sizeof *entries);
    if (entries == NULL)
        return false;
    n->entries = entries;
    n->cap = cap;
    return true;
}

static bool add_entry(struct numbering *n, struct run *run, uint32_t from, uint32_t rows)
{
    if (!make_room(n))
        return false;
    n->entries[n->count++] = (struct numbering_entry){ run, from, n->total };
    n->total += rows;
    return true;
}

uint32_t numbering_entry_count(const struct numbering *n, size_t entry)
{
    uint32_t end = entry + 1 < n->count ? n->entries[entry + 1].start : n->total;
    return end - n->entries[entry].start;
}

struct numbering *numbering_copy(const struct numbering *n, uint32_t total)
{
    struct numbering *copy = numbering_new();
    if (copy == NULL)
        return NULL;
    for (size_t i = 0; i < n->count && n->entries[i].start < total; i++) {
        uint32_t rows = numbering_entry_count(n, i), left = total - n->entries[i].start;
        if (!add_entry(copy, n->entries[i].run, n->entries[i].from, rows < left ? rows : left)) {
            numbering_release(copy);
            return NULL;
        }
        n->entries[i].run->references++;
    }
    return copy;
}

struct store_message *numbering_row(const struct numbering *n, uint32_t seq, struct run **run)
{
    must(seq >= 1 && seq <= n->total);
    size_t low = 0, high = n->count;        /* the last entry that starts before seq */
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (n->entries[mid].start < seq)
            low = mid;
        else
            high = mid;
    }
    const struct numbering_entry *e = &n->entries[low];
    if (run != NULL)
        *run = e->run;
    return &e->run->rows[e->from + seq - 1 - e->start];
}

uint32_t numbering_seq(const struct numbering *n, uint32_t total, uint32_t uid)
{
    uint32_t low = 1, high = total + 1;
    size_t first = 0, behind = n->count;    /* by runs, then within one: no search by seq at each step */
    while (behind - first > 1) {
        size_t mid = first + (behind - first) / 2;
        const struct numbering_entry *e = &n->entries[mid];
        if (e->start < total && e->run->rows[e->from].uid <= uid)
            first = mid;
        else
            behind = mid;
    }
    if (n->count == 0 || total == 0)
        return 1;
    const struct numbering_entry *e = &n->entries[first];
    uint32_t end = e->start + numbering_entry_count(n, first);
    low = e->start + 1;
    high = (end < total ? end : total) + 1;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (e->run->rows[e->from + mid - 1 - e->start].uid < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct store_message *numbering_find(const struct numbering *n, uint32_t uid, struct run **run)
{
    uint32_t seq = numbering_seq(n, n->total, uid);
    if (seq > n->total)
        return NULL;
    struct store_message *row = numbering_row(n, seq, run);
    return row->uid == uid ? row : NULL;
}

const struct store_message *numbering_seek(const struct numbering *n, struct numbering_cursor *c, uint32_t uid)
{
    for (; c->entry < n->count; c->entry++, c->row = 0) {
        const struct numbering_entry *e = &n->entries[c->entry];
        uint32_t rows = numbering_entry_count(n, c->entry);
        if (rows == 0 || e->run->rows[e->from + rows - 1].uid < uid)
            continue;
        while (e->run->rows[e->from + c->row].uid < uid)
            c->row++;
        return &e->run->rows[e->from + c->row];
    }
    return NULL;
}

bool numbering_append(struct numbering *n, const struct store_message *row, uint64_t *next_run)
{
    struct run *last = n->count > 0 ? n->entries[n->count - 1].run : NULL;
    if (last == NULL || last->count == RUN_ROWS) {
        last = run_new(*next_run, 4);
        if (last == NULL || !run_append(last, row))
            return false;
        if (!add_entry(n, last, 0, 1)) {
            run_release(last);
            return false;
        }
        (*next_run)++;
        return true;
    }
    if (!run_append(last, row))
        return false;
    n->total++;
    return true;
}

bool numbering_append_run(struct numbering *n, struct run *run) { return add_entry(n, run, 0, run->count); }

bool numbering_extend(struct numbering *n, const struct numbering *current, uint32_t uid)
{
    uint32_t seq = numbering_seq(current, current->total, uid);
    for (size_t i = 0; i < current->count; i++) {
        const struct numbering_entry *e = &current->entries[i];
        uint32_t end = e->start + numbering_entry_count(current, i);
        if (end < seq)
            continue;
        uint32_t skip = seq - 1 > e->start ? seq - 1 - e->start : 0;
        if (end - e->start == skip)
            continue;
        if (!add_entry(n, e->run, e->from + skip, end - e->start - skip))
            return false;
        e->run->references++;
    }
    return true;
}

/* ---- expunging ---- */

static void recount(struct run *run)
{
    run->unseen = 0;
    for (uint32_t i = 0; i < run->count; i++)
        run->unseen += (run->rows[i].flags & FLAG_SEEN) == 0;
}

/* Is any row of the run in the set? `at` is the first range that may matter, and moves along. */
static bool run_is_touched(const struct run *run, const struct uid_set *uids, size_t *at)
{
    while (*at < uids->count && uids->ranges[*at].last < run->rows[0].uid)
        (*at)++;
    return *at < uids->count && uids->ranges[*at].first <= run->rows[run->count - 1].uid;
}

/* The run without those rows, in place when nobody else counts by it. */
static struct run *run_without(struct run *old, const struct uid_set *uids, size_t at, const struct numbering_expunge *x)
{
    struct run *run = old;
    if (old->references > 1) {
        run = run_new(old->number, old->count);
        if (run == NULL)
            return NULL;
        run->max_modseq = old->max_modseq;
    }
    uint32_t kept = 0, count = old->count;
    for (uint32_t i = 0; i < count; i++) {
        struct store_message row = old->rows[i];
        while (at < uids->count && uids->ranges[at].last < row.uid)
            at++;
        if (at < uids->count && uids->ranges[at].first <= row.uid)
            x->gone(x->arg, &row);
        else
            run->rows[kept++] = row;
    }
    run->count = kept;
    if (kept < count) {
        recount(run);
        run->is_dirty = true;
    } else {
        run->is_dirty = old->is_dirty;
    }
    if (run != old) {
        old->is_superseded = true;
        run_release(old);
    }
    return run;
}

/* Small neighbours become one, so that a mailbox that is mostly expunged does not stay a list of crumbs. */
static void merge_into(struct numbering *n, size_t keep, const struct numbering_expunge *x)
{
    struct run *left = n->entries[keep].run, *right = n->entries[keep + 1].run;
    if (left->count + right->count > RUN_ROWS / 2 || left->references > 1 || right->references > 1)
        return;
    struct store_message *rows = realloc(left->rows, RUN_ROWS / 2 * sizeof *rows);
    if (rows == NULL)
        return;
    left->rows = rows;
    left->cap = RUN_ROWS / 2;
    memcpy(rows + left->count, right->rows, right->count * sizeof *rows);
    left->count += right->count;
    left->unseen += right->unseen;
    left->max_modseq = left->max_modseq > right->max_modseq ? left->max_modseq : right->max_modseq;
    left->is_dirty = true;
    right->count = 0;
    (void)x;
}

static void tidy(struct numbering *n, const struct numbering_expunge *x)
{
    for (size_t i = n->count; i-- > 1;)
        if (n->entries[i].run->count > 0 && n->entries[i - 1].run->count > 0)
            merge_into(n, i - 1, x);
    size_t kept = 0;
    n->total = 0;
    for (size_t i = 0; i < n->count; i++) {
        struct run *run = n->entries[i].run;
        if (run->count == 0) {
            x->dropped(x->arg, run->number);
            run->is_superseded = true;
            run_release(run);
            continue;
        }
        n->entries[kept++] = (struct numbering_entry){ run, 0, n->total };
        n->total += run->count;
    }
    n->count = kept;
}

bool numbering_expunge(struct numbering *n, const struct uid_set *uids, const struct numbering_expunge *x)
{
    must(n->references == 1);
    size_t at = 0;
    for (size_t i = 0; i < n->count; i++) {
        struct run *run = n->entries[i].run;
        if (!run_is_touched(run, uids, &at))
            continue;
        run = run_without(run, uids, at, x);
        if (run == NULL)
            return false;
        n->entries[i].run = run;
    }
    tidy(n, x);
    return true;
}
