/* What the disk's own files share; nobody else includes this. */
#ifndef THURN_SIM_DISK_INNER_H
#define THURN_SIM_DISK_INNER_H

#include "sim/disk.h"

#include <pthread.h>

enum { PAGE_BYTES = 4096, SECTOR_BYTES = 512, PAGE_SECTORS = PAGE_BYTES / SECTOR_BYTES, BUCKETS_MIN = 64 };
#define NOT_CUT UINT64_MAX

struct page {
    char bytes[PAGE_BYTES];             /* as shown */
    char *medium;                       /* NULL: the same */
    uint8_t dirty;                      /* sectors that the next sync writes */
    uint8_t stale;                      /* sectors that differ and that no sync will write: one has failed */
    bool is_counted;                    /* in the disk's used bytes */
};

struct node {                           /* a file or a folder */
    bool is_folder;
    unsigned mode;
    unsigned references;                /* names shown, open files, undo */
    unsigned links, opens;              /* both among the references */
    uint64_t number;
    int64_t changed_us;
    /* a file */
    struct page **pages;                /* NULL: zeros; disk_reserved: zeros that have their place */
    size_t page_count, page_cap;
    uint64_t counted;                   /* pages of it in the disk's used bytes */
    uint32_t *changed;                  /* pages with a medium of their own; may name one that is gone or the same again */
    size_t changed_count, changed_cap;
    uint64_t size, medium_size;
    uint64_t cut;                       /* the least size since the last sync; NOT_CUT */
    const struct disk_file *exclusive;  /* flock */
    unsigned shared;
    struct node *next_changed, **changed_link;          /* in the disk's list; link NULL: not in it */
    bool is_out;                        /* without name and open file: takes no room, and is there for an undo only */
    /* a folder */
    struct entry *entries;
    size_t changes, keeps;              /* while the power is cut */
};

struct entry {                          /* a name that is shown */
    struct node *folder, *node;
    char *name;
    uint64_t hash;
    struct entry *next_in_bucket, *next, **link;        /* in the folder */
};

struct undo_name {
    struct node *folder, *before;       /* before: NULL, there was none */
    char *name;
};
struct undo { struct undo_name names[2]; };             /* the second only of a rename: folder NULL otherwise */

struct disk {
    pthread_mutex_t lock;
    bool is_locked;
    struct node *root, *changed;        /* changed: files with pages or sizes that are not on the medium */
    struct entry **buckets;
    size_t bucket_count, entry_count;
    struct undo *undo;                  /* changes of names that are not on the medium, in order */
    size_t undo_count, undo_cap;
    struct disk_file *open_files;
    uint64_t capacity, used, random, next_number, ticks, cuts;
    struct disk_faults faults;
    struct disk_figures figures;
    int64_t (*now_us)(void *arg);
    void *clock_arg;
    uint64_t fail_at, stop_at;
    int fail_with;
    const char *failed_call;
    struct disk_file **fds;             /* disk_ops.c */
    size_t fd_count;
};

struct disk_file {
    struct disk *disk;
    struct node *node;                  /* NULL: dead */
    struct disk_file *next, **link;
    char *path;
    int flags;
    int locked;                         /* LOCK_SH, LOCK_EX or 0 */
};

extern struct page disk_reserved;

void *disk_take(size_t bytes);          /* zeroed; never NULL */
void *disk_grow(void *block, size_t bytes);
void disk_give(void *block);

void disk_enter(struct disk *);
void disk_leave(struct disk *);
uint64_t disk_random(struct disk *);
int64_t disk_now(struct disk *);
/* Counts a call; 0, or what it fails with. Inside. */
int disk_call(struct disk *, const char *call, const char *path);

/* ---- disk_names.c ---- */
struct node *disk_node_new(struct disk *, bool is_folder, unsigned mode);
void disk_node_unref(struct disk *, struct node *);
struct entry *entry_find(const struct disk *, const struct node *folder, const char *name, size_t len);
void entry_set(struct disk *, struct node *folder, const char *name, size_t len, struct node *);     /* NULL: no such name */
/* The folder and the last name of a path; -ENOENT, -ENOTDIR. A path of "/" has an empty name and the root. */
int path_walk(const struct disk *, const char *path, struct node **folder, const char **name, size_t *len);
/* The node that a path names; -ENOENT, -ENOTDIR. */
int path_find(const struct disk *, const char *path, struct node **);
/* What the names were is kept for a crash. */
void undo_add(struct disk *, const struct undo_name *first, const struct undo_name *second);
void undo_settle(struct disk *, struct node *folder);
void undo_crash(struct disk *, enum disk_loss);

/* ---- disk_pages.c ---- */
size_t pages_read(const struct node *, char *to, size_t len, uint64_t offset);
/* How much was written: less than len when the disk is full. */
size_t pages_write(struct disk *, struct node *, const char *from, size_t len, uint64_t offset);
bool pages_reserve(struct disk *, struct node *, uint64_t offset, uint64_t len);
void pages_truncate(struct disk *, struct node *, uint64_t size);
void pages_settle(struct node *);                       /* a sync */
void pages_give_up(struct node *);                      /* a sync that failed */
void pages_crash(struct disk *, struct node *, enum disk_loss);
void pages_free(struct disk *, struct node *);
/* Its pages take room (again), or not. */
void pages_count(struct disk *, struct node *, bool is_out);
void pages_flip(struct disk *, struct node *, uint64_t offset, unsigned bit);

#endif
