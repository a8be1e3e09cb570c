/* A file's bytes: pages with what is shown and what is on the medium. See disk.h.
 *
 * A page has a medium of its own only from a write to the next sync, so clean files cost nothing at a crash. A truncation keeps the
 * pages that it cut off until the next sync: when the power goes before, the file may be as long as it was, with the old bytes. */
#include "sim/disk_inner.h"

#include <string.h>

struct page disk_reserved;
static char zeros[PAGE_BYTES];

static void medium_free(struct page *p)
{
    if (p->medium != zeros)
        disk_give(p->medium);
    p->medium = NULL;
    p->dirty = p->stale = 0;
}

static bool is_real(const struct page *p) { return p != NULL && p != &disk_reserved; }

static void note_node(struct disk *d, struct node *n)
{
    if (n->changed_link != NULL)
        return;
    n->next_changed = d->changed;
    if (d->changed != NULL)
        d->changed->changed_link = &n->next_changed;
    n->changed_link = &d->changed;
    d->changed = n;
}

static void forget_node(struct node *n)
{
    if (n->changed_link == NULL)
        return;
    *n->changed_link = n->next_changed;
    if (n->next_changed != NULL)
        n->next_changed->changed_link = n->changed_link;
    n->changed_link = NULL;
}

static void note_page(struct node *n, uint32_t at)
{
    if (n->changed_count == n->changed_cap) {
        n->changed_cap = n->changed_cap == 0 ? 16 : n->changed_cap * 2;
        n->changed = disk_grow(n->changed, n->changed_cap * sizeof *n->changed);
    }
    n->changed[n->changed_count++] = at;
}

static void reach(struct node *n, size_t pages)
{
    if (pages > n->page_cap) {
        size_t cap = n->page_cap == 0 ? 8 : n->page_cap;
        while (cap < pages)
            cap *= 2;
        n->pages = disk_grow(n->pages, cap * sizeof *n->pages);
        memset(n->pages + n->page_cap, 0, (cap - n->page_cap) * sizeof *n->pages);
        n->page_cap = cap;
    }
    if (pages > n->page_count)
        n->page_count = pages;
}

static bool take_room(struct disk *d, struct node *n)
{
    if (d->capacity != 0 && d->used + PAGE_BYTES > d->capacity)
        return false;
    d->used += PAGE_BYTES;
    n->counted++;
    return true;
}

static void give_room(struct disk *d, struct node *n)
{
    if (!n->is_out)
        d->used -= PAGE_BYTES;
    n->counted--;
}

/* The page with a medium of its own; NULL: no room. */
static struct page *page_for_write(struct disk *d, struct node *n, size_t at)
{
    reach(n, at + 1);
    struct page *p = n->pages[at];
    bool is_counted = p == &disk_reserved || (is_real(p) && p->is_counted);
    if (!is_counted && !take_room(d, n))
        return NULL;
    if (!is_real(p)) {
        p = n->pages[at] = disk_take(sizeof *p);
        p->medium = zeros;
        note_page(n, (uint32_t)at);
    } else if (p->medium == NULL) {
        p->medium = memcpy(disk_take(PAGE_BYTES), p->bytes, PAGE_BYTES);
        note_page(n, (uint32_t)at);
    }
    p->is_counted = true;
    return p;
}

size_t pages_read(const struct node *n, char *to, size_t len, uint64_t offset)
{
    if (offset >= n->size)
        return 0;
    len = len < n->size - offset ? len : (size_t)(n->size - offset);
    for (size_t done = 0; done < len;) {
        size_t at = (size_t)((offset + done) / PAGE_BYTES), in = (size_t)((offset + done) % PAGE_BYTES);
        size_t part = PAGE_BYTES - in < len - done ? PAGE_BYTES - in : len - done;
        const struct page *p = at < n->page_count ? n->pages[at] : NULL;
        memcpy(to + done, is_real(p) ? p->bytes + in : zeros, part);
        done += part;
    }
    return len;
}

static uint8_t sectors(size_t from, size_t len)
{
    unsigned first = (unsigned)(from / SECTOR_BYTES), last = (unsigned)((from + len - 1) / SECTOR_BYTES), bits = 0;
    for (unsigned s = first; s <= last; s++)
        bits |= 1u << s;
    return (uint8_t)bits;
}

static void page_write(struct page *p, size_t in, const char *from, size_t len)
{
    if (from == NULL)
        memset(p->bytes + in, 0, len);
    else
        memcpy(p->bytes + in, from, len);
    uint8_t bits = sectors(in, len);
    p->dirty |= bits;
    p->stale &= (uint8_t)~bits;
}

size_t pages_write(struct disk *d, struct node *n, const char *from, size_t len, uint64_t offset)
{
    size_t done = 0;
    note_node(d, n);
    while (done < len) {
        size_t in = (size_t)((offset + done) % PAGE_BYTES), part = PAGE_BYTES - in < len - done ? PAGE_BYTES - in : len - done;
        struct page *p = page_for_write(d, n, (size_t)((offset + done) / PAGE_BYTES));
        if (p == NULL)
            break;
        page_write(p, in, from + done, part);
        done += part;
    }
    if (done > 0 && offset + done > n->size)
        n->size = offset + done;
    return done;
}

bool pages_reserve(struct disk *d, struct node *n, uint64_t offset, uint64_t len)
{
    size_t first = (size_t)(offset / PAGE_BYTES), end = (size_t)((offset + len + PAGE_BYTES - 1) / PAGE_BYTES);
    uint64_t missing = 0;
    reach(n, end);
    for (size_t at = first; at < end; at++)
        missing += n->pages[at] == NULL;
    if (d->capacity != 0 && d->used + missing * PAGE_BYTES > d->capacity)
        return false;
    for (size_t at = first; at < end; at++)
        if (n->pages[at] == NULL && take_room(d, n))
            n->pages[at] = &disk_reserved;
    if (offset + len > n->size)
        n->size = offset + len;
    note_node(d, n);
    return true;
}

/* What is shown behind `size` in its page becomes zeros. */
static void clear_rest(struct disk *d, struct node *n, uint64_t size)
{
    size_t at = (size_t)(size / PAGE_BYTES), in = (size_t)(size % PAGE_BYTES);
    if (in == 0 || at >= n->page_count || !is_real(n->pages[at]) || !n->pages[at]->is_counted)
        return;
    struct page *p = page_for_write(d, n, at);
    if (p != NULL)
        page_write(p, in, NULL, PAGE_BYTES - in);
}

void pages_truncate(struct disk *d, struct node *n, uint64_t size)
{
    note_node(d, n);
    if (size < n->size) {
        clear_rest(d, n, size);
        for (size_t at = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES); at < n->page_count; at++) {
            struct page *p = n->pages[at];
            if (p == &disk_reserved) {
                n->pages[at] = NULL;
                give_room(d, n);
            } else if (p != NULL && p->is_counted) {
                if (p->medium == NULL) {
                    p->medium = memcpy(disk_take(PAGE_BYTES), p->bytes, PAGE_BYTES);
                    note_page(n, (uint32_t)at);
                }
                memset(p->bytes, 0, PAGE_BYTES);
                p->dirty = p->stale = 0;
                p->is_counted = false;
                give_room(d, n);
            }
        }
        n->cut = size < n->cut ? size : n->cut;
    }
    n->size = size;
}

/* What a cut has taken is no longer on the medium either. */
static void apply_cut(struct node *n, size_t at, struct page *p)
{
    uint64_t start = (uint64_t)at * PAGE_BYTES;
    if (n->cut == NOT_CUT || start + PAGE_BYTES <= n->cut)
        return;
    size_t keep = n->cut > start ? (size_t)(n->cut - start) : 0;
    if (p->medium == zeros)
        return;
    memset(p->medium + keep, 0, PAGE_BYTES - keep);
    p->stale = 0;
}

static void to_medium(struct page *p, unsigned sector, size_t len)
{
    if (p->medium == zeros)
        p->medium = disk_take(PAGE_BYTES);
    memcpy(p->medium + sector * SECTOR_BYTES, p->bytes + sector * SECTOR_BYTES, len);
}

void pages_settle(struct node *n)
{
    size_t left = 0;
    for (size_t i = 0; i < n->changed_count; i++) {
        struct page *p = n->pages[n->changed[i]];
        if (!is_real(p) || p->medium == NULL)
            continue;
        apply_cut(n, n->changed[i], p);
        if (!p->is_counted) {                           /* cut off, and not written since */
            medium_free(p);
            disk_give(p);
            n->pages[n->changed[i]] = NULL;
        } else if (p->stale == 0) {
            medium_free(p);
        } else {
            for (unsigned s = 0; s < PAGE_SECTORS; s++)
                if (p->dirty & 1u << s)
                    to_medium(p, s, SECTOR_BYTES);
            p->dirty = 0;
            n->changed[left++] = n->changed[i];
        }
    }
    n->changed_count = left;
    n->medium_size = n->size;
    n->cut = NOT_CUT;
    if (left == 0)
        forget_node(n);
}

void pages_give_up(struct node *n)
{
    for (size_t i = 0; i < n->changed_count; i++) {
        struct page *p = n->pages[n->changed[i]];
        if (!is_real(p) || p->medium == NULL)
            continue;
        p->stale |= p->dirty;
        p->dirty = 0;
    }
}

static bool coin(struct disk *d, enum disk_loss loss) { return loss == DISK_LOSE_NOTHING || (loss != DISK_LOSE_ALL && disk_random(d) % 2 == 0); }

static uint64_t size_after(struct disk *d, const struct node *n, enum disk_loss loss, bool is_cut)
{
    if (loss == DISK_LOSE_ALL || (n->cut != NOT_CUT && !is_cut))
        return n->medium_size;
    uint64_t low = n->cut != NOT_CUT ? n->cut : n->medium_size;
    if (loss == DISK_LOSE_NOTHING || disk_random(d) % 2 == 0)
        return n->size;
    if (disk_random(d) % 2 == 0 || n->size <= low)
        return low;
    return low + disk_random(d) % (n->size - low + 1) / SECTOR_BYTES * SECTOR_BYTES;
}

static void page_crash(struct disk *d, struct page *p, enum disk_loss loss, bool *tears)
{
    for (unsigned s = 0; s < PAGE_SECTORS; s++) {
        if (!(p->dirty & 1u << s))
            continue;
        if (coin(d, loss)) {
            to_medium(p, s, SECTOR_BYTES);
        } else if (*tears && disk_random(d) % 4 == 0) {
            *tears = false;
            size_t len = disk_random(d) % SECTOR_BYTES;
            to_medium(p, s, len);
            d->figures.bytes_lost += SECTOR_BYTES - len;
        } else {
            d->figures.bytes_lost += SECTOR_BYTES;
        }
    }
    if (p->medium == zeros)
        memset(p->bytes, 0, PAGE_BYTES);
    else
        memcpy(p->bytes, p->medium, PAGE_BYTES);
    medium_free(p);
}

static void drop_page(struct disk *d, struct node *n, size_t at)
{
    struct page *p = n->pages[at];
    bool is_counted = p == &disk_reserved || (is_real(p) && p->is_counted);
    if (is_counted)
        give_room(d, n);
    if (is_real(p)) {
        medium_free(p);
        disk_give(p);
    }
    n->pages[at] = NULL;
}

void pages_crash(struct disk *d, struct node *n, enum disk_loss loss)
{
    bool is_cut = n->cut != NOT_CUT && coin(d, loss), tears = loss == DISK_LOSE_TORN;
    uint64_t size = size_after(d, n, loss, is_cut);
    for (size_t i = 0; i < n->changed_count; i++) {
        struct page *p = n->pages[n->changed[i]];
        if (!is_real(p) || p->medium == NULL)
            continue;
        if (is_cut)
            apply_cut(n, n->changed[i], p);
        page_crash(d, p, loss, &tears);
        if (!p->is_counted) {
            p->is_counted = true;
            if (!n->is_out)
                d->used += PAGE_BYTES;
            n->counted++;
        }
    }
    forget_node(n);
    n->changed_count = 0;
    n->cut = NOT_CUT;
    for (size_t at = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES); at < n->page_count; at++)
        drop_page(d, n, at);
    if (size % PAGE_BYTES != 0 && size / PAGE_BYTES < n->page_count && is_real(n->pages[size / PAGE_BYTES]))
        memset(n->pages[size / PAGE_BYTES]->bytes + size % PAGE_BYTES, 0, PAGE_BYTES - (size_t)(size % PAGE_BYTES));
    n->size = n->medium_size = size;
}

void pages_free(struct disk *d, struct node *n)
{
    for (size_t at = 0; at < n->page_count; at++)
        drop_page(d, n, at);
    forget_node(n);
    disk_give(n->pages);
    disk_give(n->changed);
}

void pages_count(struct disk *d, struct node *n, bool is_out)
{
    if (n->is_out == is_out)
        return;
    n->is_out = is_out;
    if (is_out)
        d->used -= n->counted * PAGE_BYTES;
    else
        d->used += n->counted * PAGE_BYTES;
}

void pages_flip(struct disk *d, struct node *n, uint64_t offset, unsigned bit)
{
    size_t at = (size_t)(offset / PAGE_BYTES);
    char mask = (char)(1u << bit % 8);
    struct page *p = page_for_write(d, n, at);
    if (p == NULL)
        return;
    p->bytes[offset % PAGE_BYTES] ^= mask;
    if (p->medium == zeros)
        p->medium = disk_take(PAGE_BYTES);
    p->medium[offset % PAGE_BYTES] ^= mask;
    note_node(d, n);
}
