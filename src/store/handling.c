/* What is being handled, and what a process died of: see store.h.
 *
 * The file is 16 bytes of what is under way, then as many again for each thing that a process died of: u32 kind, u32 deaths, u64
 * id, little-endian. A file that is torn or not ours costs a memory of deaths, nothing else. */
#include "store/inner.h"

#include "store/encode.h"

#include <stdio.h>

enum { SLOT_BYTES = 16, FILE_BYTES = SLOT_BYTES * (1 + HANDLED_MAX) };

static void put(char *to, const struct handled *h)
{
    put_number(to, h->kind, 4);
    put_number(to + 4, h->deaths, 4);
    put_number(to + 8, h->id, 8);
}

static struct handled get(const char *from)
{
    struct reader r = { .in = { from, SLOT_BYTES } };
    struct handled h = { .kind = read_u32(&r) };
    h.deaths = read_u32(&r);
    h.id = read_u64(&r);
    return h.kind == HANDLING_READ || h.kind == HANDLING_REPORT ? h : (struct handled){ .kind = HANDLING_NOTHING };
}

static void write_at(const struct store *store, const char *bytes, size_t len, uint64_t offset)
{
    const struct file_ops *f = store->options.files;
    if (store->handling.fd >= 0)
        (void)f->write_at(f->self, store->handling.fd, bytes, len, offset);
}

static void write_now(const struct store *store)
{
    char slot[SLOT_BYTES];
    put(slot, &store->handling.now);
    write_at(store, slot, sizeof slot, 0);
}

static void write_all(const struct store *store)
{
    const struct handling *h = &store->handling;
    char bytes[FILE_BYTES] = { 0 };
    put(bytes, &h->now);
    for (size_t i = 0; i < h->count; i++)
        put(bytes + SLOT_BYTES * (1 + i), &h->past[i]);
    write_at(store, bytes, sizeof bytes, 0);
}

/* Its place; h->count: it is none of them. */
static size_t find(const struct handling *h, uint32_t kind, uint64_t id)
{
    size_t at = 0;
    while (at < h->count && (h->past[at].kind != kind || h->past[at].id != id))
        at++;
    return at;
}

static void forget(struct handling *h, size_t at)
{
    h->count--;
    memmove(h->past + at, h->past + at + 1, (h->count - at) * sizeof *h->past);
}

static void make_room(struct handling *h)
{
    size_t at = 0;
    while (at < h->count && h->past[at].deaths >= HANDLING_DEATHS_MAX)
        at++;
    forget(h, at == h->count ? 0 : at);
}

/* The process before this one died of it, or happened to be killed meanwhile: that is why once is not enough. */
static void note_death(struct handling *h, struct handled what)
{
    size_t at = find(h, what.kind, what.id);
    if (at == h->count) {
        if (h->count == HANDLED_MAX)
            make_room(h);
        at = h->count++;
        h->past[at] = (struct handled){ .kind = what.kind, .id = what.id };
    }
    h->past[at].deaths += h->past[at].deaths < UINT32_MAX;
    h->died = h->past[at];
}

void handling_open(struct store *store)
{
    const struct file_ops *f = store->options.files;
    struct handling *h = &store->handling;
    char path[LOG_PATH_MAX + 16], bytes[FILE_BYTES] = { 0 };
    snprintf(path, sizeof path, "%s/handling", store->dir);
    h->fd = f->open(f->self, path, true, false);
    if (h->fd < 0)
        return;
    if (f->read_at(f->self, h->fd, bytes, sizeof bytes, 0) < SLOT_BYTES)
        return;
    for (size_t i = 0; i < HANDLED_MAX; i++) {
        struct handled past = get(bytes + SLOT_BYTES * (1 + i));
        if (past.kind != HANDLING_NOTHING)
            h->past[h->count++] = past;
    }
    struct handled last = get(bytes);
    if (last.kind != HANDLING_NOTHING)
        note_death(h, last);
    write_all(store);
}

void handling_close(struct store *store)
{
    const struct file_ops *f = store->options.files;
    if (store->handling.fd >= 0)
        f->close(f->self, store->handling.fd);
    store->handling.fd = -1;
}

/* What was begun has gone well: true when that is news of something in the table. */
static bool forgive(struct handling *h)
{
    size_t at = h->now.kind == HANDLING_NOTHING ? h->count : find(h, h->now.kind, h->now.id);
    h->now = (struct handled){ .kind = HANDLING_NOTHING };
    if (at == h->count)
        return false;
    forget(h, at);
    return true;
}

void store_handling_begin(struct store *store, enum store_handling kind, uint64_t id)
{
    struct handling *h = &store->handling;
    if (h->now.kind == (uint32_t)kind && h->now.id == id)
        return;
    bool is_news = forgive(h);
    h->now = (struct handled){ .kind = (uint32_t)kind, .id = id };
    if (is_news)
        write_all(store);
    else
        write_now(store);
}

void store_handling_end(struct store *store)
{
    if (store->handling.now.kind == HANDLING_NOTHING)
        return;
    if (forgive(&store->handling))
        write_all(store);
    else
        write_now(store);
}

bool store_is_set_aside(const struct store *store, enum store_handling kind, uint64_t id)
{
    const struct handling *h = &store->handling;
    size_t at = find(h, (uint32_t)kind, id);
    return at < h->count && h->past[at].deaths >= HANDLING_DEATHS_MAX;
}

enum store_handling store_died_handling(const struct store *store, uint64_t *id, uint32_t *deaths)
{
    const struct handled *died = &store->handling.died;
    *id = died->id;
    *deaths = died->deaths;
    return (enum store_handling)died->kind;
}
