/* What the log's own files share; nobody else includes this. */
#ifndef THURN_STORE_LOG_INNER_H
#define THURN_STORE_LOG_INNER_H

#include "store/log.h"

#include <pthread.h>

enum {
    LOG_READ_FILES_MAX = 64,                /* open for reading at a time */
    LOG_CACHE_RECORDS = 16,                 /* each up to about LOG_CACHE_RECORD_MAX */
    LOG_FREE_SEGMENTS_MAX = 8,              /* kept for recycling; more are unlinked */
    LOG_WRITE_BYTES = 1 << 20,              /* per write call */
    LOG_ZERO_AHEAD_BYTES = 2 << 20,         /* written before, so that a sync has no metadata to write */
};
#define LOG_STAGED_MAX (64ull << 20)        /* waiting to be written: a disk this far behind is not working */
#define LOG_BEHIND (8ull << 20)         /* from here on nobody should bring more than he has in his hands */
#define LOG_STAGED_WAIT (16ull << 20)       /* from here on the writers of large bodies wait */

enum log_state { LOG_WORKING, LOG_FAILED, LOG_POISONED };

struct log_file {                           /* a segment that is open */
    uint64_t number;
    int fd;                                 /* -1: none */
    uint64_t used;                          /* reading: when last used; writing: everything before was written before */
    bool is_dirty;                          /* written since its last sync */
};

struct log_cached {
    uint64_t position;
    uint64_t used;
    struct buf bytes;                       /* header and payload; empty: nothing here */
};

struct log {
    const struct file_ops *files;
    char dir[LOG_PATH_MAX];                 /* ending in /log */
    uint64_t segment_bytes;
    bool is_read_only;
    int event_fd;

    /* The user's thread. */
    uint64_t tail;                          /* where the next record goes */
    uint64_t next_sequence;
    uint64_t last_generation;               /* seen by replay */
    uint64_t batch_start;                   /* of the last batch that replay saw, UINT64_MAX: none */
    struct log_file readers[LOG_READ_FILES_MAX];
    struct log_cached cache[LOG_CACHE_RECORDS];
    uint64_t clock;                         /* for both caches: least recently used goes */

    /* Both threads, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t work;                    /* for the commit thread */
    pthread_cond_t progress;                /* for whoever waits for it */
    struct log_record *staged, **staged_end;
    struct log_record *durable, **durable_list_end;
    struct log_record *failed, **failed_end;
    uint64_t staged_bytes;                  /* staged or being written */
    uint64_t durable_end;
    uint64_t generation;
    enum log_state state;
    int error;                              /* errno of the last failure */
    bool is_stopping, is_writing, has_thread;
    uint64_t *segments;                     /* numbers that exist, ascending */
    size_t segment_count, segment_cap;
    uint64_t *free_segments;                /* those of them that are dead */
    size_t free_count, free_cap;
    struct log_figures figures;

    /* The commit thread. */
    pthread_t thread;
    struct log_file writers[2];             /* the segment being written and another */
    char *gather;                           /* LOG_WRITE_BYTES */
    char *zeros;                            /* LOG_WRITE_BYTES */
};

void log_segment_path(const struct log *, uint64_t number, char path[LOG_PATH_MAX + 32]);
/* Under the lock, or before the thread runs. */
size_t log_segment_index(const struct log *, uint64_t number);
bool log_segment_exists(const struct log *, uint64_t number);
bool log_segment_add(struct log *, uint64_t number);
void log_segment_remove(struct log *, uint64_t number);

struct log_header {
    uint32_t length;
    uint64_t position, generation;
    uint32_t flags, crc;
};
void log_header_write(char *to, const struct log_header *, const char *payload);
/* False: not a header of ours. */
bool log_header_parse(const char *from, struct log_header *);
bool log_header_crc_matches(const char *header, const struct log_header *, const char *payload);

enum rc log_thread_start(struct log *, struct fault *);
void log_thread_stop(struct log *);
int log_reader(struct log *, uint64_t number);      /* a descriptor, or -errno */
void log_readers_forget(struct log *, uint64_t number);

#endif
