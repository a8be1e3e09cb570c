/* A backup's folder, as `thurn backup` writes it and `thurn restore` reads it:
 *
 *     DIR/MANIFEST             what belongs to the backup: names, bytes, checksums. Written last, synced, renamed into place:
 *                              what it does not name is not there, and an interrupted run leaves the one before it whole
 *     DIR/log/N.seg            segments; the last one grows, and others are added, from one run to the next
 *     DIR/snapshot-K/          state.db, directory.db, thurn.yaml, and `log`, a link to ../log: a store that can be read
 *     DIR/lock                 held by the run that writes
 *
 * MANIFEST is one JSON object on one line, and on a second one its CRC-32C in hexadecimal. */
#ifndef THURN_CLI_BACKUP_H
#define THURN_CLI_BACKUP_H

#include "base/buf.h"
#include "base/fault.h"

enum { BACKUP_FORMAT = 1, BACKUP_NAME_MAX = 64, BACKUP_PATH_MAX = 4096 };

struct backup_file {
    char name[BACKUP_NAME_MAX];     /* "log/0000000000000004.seg", "snapshot-3/state.db" */
    uint64_t bytes;                 /* of a segment: up to where it was durable */
    uint32_t crc;                   /* CRC-32C of these */
    bool is_damaged;                /* the original was: it was copied as it is */
};

struct backup {
    uint64_t snapshot;              /* K */
    uint64_t segment_bytes, end;    /* the log's durable end, as a position */
    int64_t began_s;                /* what was acknowledged before then is in it */
    char host[256];
    struct backup_file *files;
    size_t count, cap;
};

void backup_free(struct backup *);
struct backup_file *backup_find(const struct backup *, const char *name);
bool backup_add(struct backup *, const struct backup_file *);
/* RC_NONE: there is no MANIFEST; RC_PERM: it is not whole. */
enum rc backup_read(const char *folder, struct backup *, struct fault *);
enum rc backup_write(const char *folder, const struct backup *, struct fault *);

/* Slows down to so many bytes a second; 0: as fast as it goes. */
struct backup_pace {
    uint64_t rate, bytes;
    int64_t began_ms;
    struct progress *progress;
    uint64_t total;                 /* as the progress has it */
    void (*tick)(void *arg);        /* now and then; may be NULL */
    void *arg;
};
void backup_pace(void *pace, uint64_t bytes);

#endif
