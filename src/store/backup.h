/* Copying a store that is in use: its segments as far as they are durable, and state.db as of one commit.
 *
 * What is written to a segment below the durable end never changes again, and a segment's number is never given to other
 * bytes, so a copy goes on where the one before it ended. The one thing that takes bytes away is a segment being used
 * anew under another number: store_hold keeps the server from that while it is copied (and only from that). A store that was
 * copied up to the end that store_hold gave after state.db was copied is whole: replay begins at or before that end.
 *
 *   B1  A copied segment's records have been read and their checksums compared; the first that is wrong is reported, with
 *       the rest of the segment copied as it is. */
#ifndef THURN_STORE_BACKUP_H
#define THURN_STORE_BACKUP_H

#include "store/store.h"

/* ---- in the server ---- */

/* From now on for so long no segment is given back. hold: the same as long as it was not broken in between (by time, or
 * because the disk got full: mail goes before backups). end: everything before it is durable. */
struct store_held {
    uint64_t hold, end, segment_bytes;
};
void store_hold(struct store *, uint32_t seconds, struct store_held *);

/* ---- beside it ---- */

/* An SQLite database as of one commit, into a file that is not there yet; synced. is_sealed: its pages carry checksums
 * (os/sealed.h), and so do the copy's. RC_TEMP, RC_PERM. */
enum rc backup_database(const struct file_ops *, const char *from, const char *to, bool is_sealed, struct fault *);

/* What a copy of state.db says of its log. */
struct backup_state {
    uint64_t segment_bytes, replay_from, generation;
};
enum rc backup_read_state(const char *path, struct backup_state *, struct fault *);

/* The numbers of the segments in a store's folder, rising. False out of memory or unreadable. */
enum rc backup_segments(const struct file_ops *, const char *store_dir, uint64_t **numbers, size_t *count, struct fault *);

struct backup_copy {
    const struct file_ops *files;
    const char *from, *to;          /* the segments' files */
    uint64_t number, segment_bytes;
    uint64_t begin;                 /* offset: that much has been copied before */
    uint64_t end;                   /* offset to copy to */
    uint32_t crc;                   /* in: of the bytes before `begin`; out: of all that was copied */
    void (*pace)(void *arg, uint64_t bytes);        /* called behind every piece */
    void *arg;
    /* out */
    uint64_t copied;                /* bytes of this call */
    bool is_damaged;                /* at offset damaged_at */
    uint64_t damaged_at;
};
/* Copies and syncs. RC_NONE: the segment is gone (it was used anew). */
enum rc backup_segment(struct backup_copy *, struct fault *);
/* The checksum of a file's first `bytes`; RC_PERM when it is shorter. */
enum rc backup_checksum(const struct file_ops *, const char *path, uint64_t bytes, uint32_t *crc, struct fault *);
/* Copies that many bytes of a file, makes it `size` bytes long (more: zeros) and syncs it; RC_PERM when the checksum is another. */
enum rc backup_copy_file(const struct file_ops *, const char *from, const char *to, uint64_t bytes, uint64_t size, uint32_t crc,
                         void (*pace)(void *arg, uint64_t bytes), void *arg, struct fault *);

#endif
