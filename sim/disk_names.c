/* Folders: names that are shown, and how to undo the changes that are not on the medium. See disk.h. */
#include "sim/disk_inner.h"

#include <errno.h>
#include <string.h>

struct node *disk_node_new(struct disk *d, bool is_folder, unsigned mode)
{
    struct node *n = disk_take(sizeof *n);
    *n = (struct node){ .is_folder = is_folder, .mode = mode & 07777, .references = 1, .number = ++d->next_number, .cut = NOT_CUT,
                        .changed_us = disk_now(d) };
    return n;
}

void disk_node_unref(struct disk *d, struct node *n)
{
    if (n == NULL)
        return;
    if (--n->references > 0) {
        if (!n->is_folder && n->links + n->opens == 0)
            pages_count(d, n, true);
        return;
    }
    while (n->entries != NULL)
        entry_set(d, n, n->entries->name, strlen(n->entries->name), NULL);
    pages_free(d, n);
    disk_give(n);
}

/* ---- names ---- */

static uint64_t hash_of(const struct node *folder, const char *name, size_t len)
{
    uint64_t hash = 14695981039346656037u ^ folder->number * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)name[i]) * 1099511628211u;
    return hash ^ hash >> 29;
}

struct entry *entry_find(const struct disk *d, const struct node *folder, const char *name, size_t len)
{
    uint64_t hash = hash_of(folder, name, len);
    struct entry *e = d->bucket_count == 0 ? NULL : d->buckets[hash % d->bucket_count];
    while (e != NULL && (e->hash != hash || e->folder != folder || strncmp(e->name, name, len) != 0 || e->name[len] != '\0'))
        e = e->next_in_bucket;
    return e;
}

static void grow_buckets(struct disk *d)
{
    size_t count = d->bucket_count == 0 ? BUCKETS_MIN : d->bucket_count * 2;
    struct entry **buckets = disk_take(count * sizeof *buckets);
    for (size_t i = 0; i < d->bucket_count; i++)
        for (struct entry *e = d->buckets[i], *next; e != NULL; e = next) {
            next = e->next_in_bucket;
            e->next_in_bucket = buckets[e->hash % count];
            buckets[e->hash % count] = e;
        }
    disk_give(d->buckets);
    d->buckets = buckets;
    d->bucket_count = count;
}

static void entry_add(struct disk *d, struct node *folder, const char *name, size_t len, struct node *node)
{
    if (d->entry_count >= d->bucket_count)
        grow_buckets(d);
    struct entry *e = disk_take(sizeof *e);
    *e = (struct entry){ .folder = folder, .node = node, .name = disk_take(len + 1), .hash = hash_of(folder, name, len) };
    memcpy(e->name, name, len);
    struct entry **bucket = &d->buckets[e->hash % d->bucket_count];
    e->next_in_bucket = *bucket;
    *bucket = e;
    e->next = folder->entries;
    e->link = &folder->entries;
    if (e->next != NULL)
        e->next->link = &e->next;
    folder->entries = e;
    d->entry_count++;
}

static void entry_drop(struct disk *d, struct entry *e)
{
    struct entry **at = &d->buckets[e->hash % d->bucket_count];
    while (*at != e)
        at = &(*at)->next_in_bucket;
    *at = e->next_in_bucket;
    *e->link = e->next;
    if (e->next != NULL)
        e->next->link = e->link;
    d->entry_count--;
    disk_give(e->name);
    disk_give(e);
}

static void node_unlink(struct disk *d, struct node *n)
{
    n->links--;
    disk_node_unref(d, n);
}

void entry_set(struct disk *d, struct node *folder, const char *name, size_t len, struct node *node)
{
    struct entry *e = entry_find(d, folder, name, len);
    struct node *old = e == NULL ? NULL : e->node;
    if (node != NULL) {
        node->references++;
        node->links++;
        pages_count(d, node, false);
    }
    if (e != NULL && node != NULL)
        e->node = node;
    else if (e != NULL)
        entry_drop(d, e);
    else if (node != NULL)
        entry_add(d, folder, name, len, node);
    folder->changed_us = disk_now(d);
    if (old != NULL)
        node_unlink(d, old);
}

/* ---- paths ---- */

/* The next part of a path; NULL at its end. */
static const char *next_part(const char **path, size_t *len)
{
    for (;;) {
        while (**path == '/')
            (*path)++;
        if (**path == '\0')
            return NULL;
        const char *part = *path;
        *len = strcspn(part, "/");
        *path += *len;
        if (*len != 1 || part[0] != '.')
            return part;
    }
}

int path_walk(const struct disk *d, const char *path, struct node **folder, const char **name, size_t *len)
{
    *folder = d->root;
    *len = 0;
    *name = next_part(&path, len);
    for (;;) {
        size_t next_len;
        const char *next = *name == NULL ? NULL : next_part(&path, &next_len);
        if (next == NULL)
            return 0;
        struct entry *e = entry_find(d, *folder, *name, *len);
        if (e == NULL)
            return -ENOENT;
        if (!e->node->is_folder)
            return -ENOTDIR;
        *folder = e->node;
        *name = next;
        *len = next_len;
    }
}

int path_find(const struct disk *d, const char *path, struct node **node)
{
    const char *name;
    size_t len;
    int error = path_walk(d, path, node, &name, &len);
    if (error < 0 || name == NULL)
        return error;
    struct entry *e = entry_find(d, *node, name, len);
    *node = e == NULL ? NULL : e->node;
    return e == NULL ? -ENOENT : 0;
}

/* ---- what a crash may undo ---- */

static struct undo_name kept(const struct undo_name *from)
{
    struct undo_name to = *from;
    size_t len = strlen(from->name);
    to.name = memcpy(disk_take(len + 1), from->name, len);
    to.folder->references++;
    if (to.before != NULL)
        to.before->references++;
    return to;
}

void undo_add(struct disk *d, const struct undo_name *first, const struct undo_name *second)
{
    if (d->undo_count == d->undo_cap) {
        d->undo_cap = d->undo_cap == 0 ? 64 : d->undo_cap * 2;
        d->undo = disk_grow(d->undo, d->undo_cap * sizeof *d->undo);
    }
    struct undo *u = &d->undo[d->undo_count++];
    *u = (struct undo){ .names[0] = kept(first) };
    if (second != NULL)
        u->names[1] = kept(second);
}

static void undo_drop(struct disk *d, struct undo *u)
{
    for (size_t i = 0; i < 2 && u->names[i].folder != NULL; i++) {
        disk_give(u->names[i].name);
        disk_node_unref(d, u->names[i].before);
        disk_node_unref(d, u->names[i].folder);
    }
}

static bool touches(const struct undo *u, const struct node *folder) { return u->names[0].folder == folder || u->names[1].folder == folder; }
static bool is_across(const struct undo *u) { return u->names[1].folder != NULL && u->names[1].folder != u->names[0].folder; }

/* A rename between two folders takes everything before it along, of whatever folder: so no folder's changes get out of order. */
void undo_settle(struct disk *d, struct node *folder)
{
    size_t all = 0, left = 0;
    for (size_t i = 0; i < d->undo_count; i++)
        if (touches(&d->undo[i], folder) && is_across(&d->undo[i]))
            all = i + 1;
    for (size_t i = 0; i < d->undo_count; i++) {
        struct undo u = d->undo[i];
        if (i < all || touches(&u, folder))
            undo_drop(d, &u);
        else
            d->undo[left++] = u;
    }
    d->undo_count = left;
}

static void undo_one(struct disk *d, const struct undo *u)
{
    for (size_t i = 0; i < 2 && u->names[i].folder != NULL; i++)
        entry_set(d, u->names[i].folder, u->names[i].name, strlen(u->names[i].name), u->names[i].before);
}

/* How many of each folder's changes stay: the first so many. */
static void choose(struct disk *d, enum disk_loss loss)
{
    for (size_t i = 0; i < d->undo_count; i++)
        d->undo[i].names[0].folder->changes = 0;
    for (size_t i = 0; i < d->undo_count; i++)
        d->undo[i].names[0].folder->keeps = ++d->undo[i].names[0].folder->changes;
    for (size_t i = 0; i < d->undo_count; i++) {
        struct node *folder = d->undo[i].names[0].folder;
        if (folder->keeps == folder->changes && loss != DISK_LOSE_NOTHING)
            folder->keeps = loss == DISK_LOSE_ALL ? 0 : disk_random(d) % (folder->changes + 1);
    }
}

void undo_crash(struct disk *d, enum disk_loss loss)
{
    bool has_across = false;
    for (size_t i = 0; i < d->undo_count; i++)
        has_across |= is_across(&d->undo[i]);
    choose(d, loss);
    size_t keeps = loss == DISK_LOSE_ALL ? 0 : loss == DISK_LOSE_NOTHING ? d->undo_count : disk_random(d) % (d->undo_count + 1);
    for (size_t i = d->undo_count; i-- > 0;) {
        struct undo *u = &d->undo[i];
        struct node *folder = u->names[0].folder;
        if (has_across ? i >= keeps : folder->changes > folder->keeps)
            undo_one(d, u);
        folder->changes--;
    }
    for (size_t i = 0; i < d->undo_count; i++)
        undo_drop(d, &d->undo[i]);
    d->undo_count = 0;
}
