/* The log: segments of records, group commit by one thread.
 *
 * A position is a logical byte address: segment number * segment_bytes + offset in its file, `log/NNNNNNNNNNNNNNNN.seg`
 * (16 hex digits). Records follow one another without gaps and never cross a segment; what is left of a segment holds a
 * pad record, or nothing when not even a header fits.
 *
 *     record = magic "TLR1"  u32 payload length  u64 position  u64 generation  u32 flags  u32 crc32c     (32 bytes)
 *              payload
 * The checksum covers the header up to itself and the payload. `position` tells a record from what stood in a recycled
 * segment before. `generation` rises with each opening and with each failed batch: replay stops at a record of an older
 * generation than the one before it, since that is a remainder of a write that was given up.
 *
 *   L1  One batch is written and synced before the next is begun. So everything before the last batch is on stable
 *       storage, and only the last batch can be torn. Its first record carries LOG_BATCH_FIRST.
 *   L2  A batch is published as durable after the sync of every segment that it touches, and as a whole.
 *   L3  A batch that could not be written is made unreadable before it is published as failed: the header of its first
 *       record is overwritten with zeros and synced, so replay ends there; the next batch is written over it with a
 *       greater generation, so nothing of it that may stand behind the new batch is taken for valid. When that does not
 *       work, or when a sync failed, nothing is written any more until the log is opened anew (poisoned).
 *   L4  What replay has read is on stable storage before anything is appended: the last batch is written and synced once
 *       more at opening, since it may have been in the system's cache only (a process killed between write and sync, or
 *       a sync that failed and left its pages behind as if clean).
 *   L5  Replay does not stop silently at damage: a batch that begins behind the place where it stopped proves that the
 *       place was durable once, and that is an error.
 * L1 to L5 rest on sectors being written whole or not at all: the tail of an old batch shares its last sector with the
 * head of the new one, where the same bytes are written again. */
#ifndef THURN_STORE_LOG_H
#define THURN_STORE_LOG_H

#include "base/buf.h"
#include "base/fault.h"
#include "os/file.h"

enum { LOG_HEADER_BYTES = 32 };
enum { LOG_START = 64 };            /* the first record's position: 0 is free to mean none */
enum { LOG_PATH_MAX = 512 };         /* of the store's folder */
enum { LOG_BATCH_FIRST = 1, LOG_PAD = 2 };

struct log;

struct log_record {
    struct log_record *next;
    uint64_t sequence;          /* rising, never given twice in a process; 0 for pads */
    uint64_t position;
    uint32_t flags;
    struct buf bytes;           /* room for the header, then the payload */
};

/* A record with room for its header, taking up to max_payload bytes; NULL out of memory. */
struct log_record *log_record_new(size_t max_payload);
void log_record_free(struct log_record *);
/* Where the log goes on behind it: behind a pad in the next segment. */
uint64_t log_record_end(const struct log *, const struct log_record *);

struct log_options {
    const struct file_ops *files;
    const char *dir;            /* of the store; the segments are in log/ below it */
    uint64_t segment_bytes;
    bool is_read_only;
};

/* Opens the folder and finds the segments. */
enum rc store_log_open(const struct log_options *, struct log **, struct fault *);
/* Stops the thread (after writing what waits) and closes. */
void log_close(struct log *);
uint64_t log_segment_bytes(const struct log *);
/* The size of the first segment's file; 0 when there is none. */
enum rc log_file_bytes(struct log *, uint64_t *bytes, struct fault *);
uint64_t log_segment_of(const struct log *, uint64_t position);
/* The largest payload that a record of this log may have. */
size_t log_payload_max(const struct log *);
bool log_has_segment(struct log *, uint64_t number);
/* Segment numbers in order, from `from` on; UINT64_MAX at the end. */
uint64_t log_next_segment(struct log *, uint64_t from);

/* Reads every record from a position on, and finds the end. RC_PERM: damage (L5), a missing segment. */
enum rc log_replay(struct log *, uint64_t from, void (*each)(void *arg, uint64_t position, struct slice payload), void *arg, struct fault *);
uint64_t log_last_generation(const struct log *);       /* the newest that replay saw, also in remainders behind the end */
/* After replay: makes the tail durable (L4) and starts the thread. */
enum rc log_start(struct log *, uint64_t generation, struct fault *);

/* ---- reading where it may be damaged ---- */

/* One pass over segments in ascending order, each record's checksum verified. A record that is older than the one before it is
 * a remainder (`generation`), not a record. Nothing is written. */
struct log_scan_calls {
    void *arg;
    void (*record)(void *arg, uint64_t position, struct slice payload);
    void (*damage)(void *arg, uint64_t position, uint64_t bytes);      /* no records, where some must have been */
    void (*progress)(void *arg, uint64_t bytes);                       /* read; may be NULL */
};
struct log_scan;
struct log_scan *log_scan_new(struct log *, const struct log_scan_calls *);
/* From position `from` on, if that is in this segment. Before position `known` everything is part of the log; from there on
 * what is no record is the log's end, unless a batch begins behind it (L5), perhaps in a later segment. */
enum rc log_scan_segment(struct log_scan *, uint64_t number, uint64_t from, uint64_t known, struct fault *);
uint64_t log_scan_tail(const struct log_scan *);            /* behind the last good record */
uint64_t log_scan_generation(const struct log_scan *);      /* the newest that was ever written, also in remainders */
void log_scan_free(struct log_scan *);
/* log_replay for a log that is damaged: passes over what cannot be read and tells of it. */
enum rc log_replay_damaged(struct log *, uint64_t from, const struct log_scan_calls *, struct fault *);

/* ---- appending: from one thread ---- */

/* Takes the record, gives it a sequence and a position. may_wait: wait for room instead of refusing (only pieces of
 * large bodies do, so that a fast sender is slowed down to the disk). RC_TEMP: too much waits, or writing has failed. */
enum rc log_submit(struct log *, struct log_record *, bool may_wait, struct fault *);
/* So much waits to be written that bringing more should wait for the disk. */
bool log_is_behind(struct log *);
/* What comes next begins a new segment. */
enum rc log_begin_segment(struct log *, struct fault *);
uint64_t log_next_sequence(const struct log *);         /* what the next record to be taken gets */
uint64_t log_tail(const struct log *);                  /* where it goes */
void log_skip_sequence(struct log *);                   /* the next one is not given to any */
/* What has become durable and what has failed since the last call, each in order; the caller frees the records. */
void log_collect(struct log *, struct log_record **durable, struct log_record **failed);
/* Blocks until nothing is waiting to be written. */
void log_flush(struct log *);
int log_event_fd(const struct log *);
uint64_t log_durable_end(struct log *);
bool log_is_poisoned(struct log *);

/* ---- reading ---- */

/* The payload of the record at a position, checked; it lives until the next call. */
enum rc log_read(struct log *, uint64_t position, struct slice *payload, struct fault *);

/* Nothing in that segment is needed any more (S7): it is used again, or unlinked when there are enough free ones. */
void log_release(struct log *, uint64_t number);

struct log_figures {
    uint64_t records, batches, syncs, bytes_written, segments, segments_free;
};
void log_figures(struct log *, struct log_figures *);

#endif
