/* What verify*.c and repair.c share. */
#ifndef THURN_STORE_VERIFY_INNER_H
#define THURN_STORE_VERIFY_INNER_H

#include "base/arena.h"
#include "store/checkpoint.h"
#include "store/snapshot.h"
#include "store/verify.h"

struct verify_part {                /* a part of a body that must be in the log */
    uint64_t position, body_id;
    uint32_t bytes;
    uint32_t tag;
    bool is_good;
};

struct verify_bad {
    uint64_t id, position;          /* of a part of it that cannot be read */
};

struct verify_range {               /* positions without records */
    uint64_t position, bytes;
};

struct verify_findings {
    struct verify_finding *list;
    size_t count, cap;
    struct arena texts;
};

struct verify {
    const struct verify_options *options;
    const struct verify_findings *before;       /* of the first look; NULL: this is the first one */
    struct store *store;                        /* as state.db and the log have it; NULL: state.db cannot be read */
    struct store *from_log;                     /* as the snapshot and the log have it; NULL: not compared */
    struct store_rider rider, log_rider;
    struct verify_part *parts;                  /* by position */
    size_t part_count, part_cap, next_part;
    struct verify_bad *bad_bodies;              /* by id, once the log has been read */
    size_t bad_count, bad_cap;
    struct verify_range *damaged;
    size_t damaged_count, damaged_cap;
    struct verify_findings findings;
    struct verify_figures figures;
    uint64_t total_bytes;
    uint64_t segment_bytes;
    uint64_t known;                             /* the log goes at least to here */
};

void verify_init(struct verify *, const struct verify_options *);
void verify_free(struct verify *);
bool verify_make_rider(const struct verify_options *, struct store_rider *);
void verify_free_rider(const struct verify_options *, struct store_rider *);

/* verify.c: adds a finding; text is a format. The slices are copied. */
void verify_found(struct verify *, struct verify_finding, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "log/....seg" and the offset of a position. */
void verify_place(struct verify *, uint64_t position, struct verify_finding *);
enum rc verify_read_log(struct verify *, struct log *, struct fault *);

/* verify_bodies.c: what the store says must be there, and what refers to it. */
void verify_gather_parts(struct verify *);
void verify_part_read(struct verify *, uint64_t position, struct slice payload);
void verify_gather_bad(struct verify *);
const struct verify_bad *verify_bad_body(const struct verify *, uint64_t id);       /* NULL: it is good */
void verify_references(struct verify *);

/* verify_state.c: memory and state.db by themselves. */
void verify_mailboxes(struct verify *);
void verify_database(struct verify *);
/* Gives the messages among the findings the ids that the history knows them by. */
void verify_name_messages(struct verify *);

/* verify_log.c: the store as the log alone gives it. */
bool verify_write_empty(struct sqlite3 *, uint64_t segment_bytes);          /* an empty state.db */
bool verify_put_meta(struct sqlite3 *, const char *key, uint64_t value);
enum rc verify_load_snapshot(struct log *, const struct store_snapshot *, struct sqlite3 *db, bool leaves_aside, uint64_t *torn, struct fault *);
void verify_open_from_log(struct verify *);
void verify_compare(struct verify *);
/* What differs between two stores first; false: nothing. */
bool verify_differ(const struct store *, const struct store *, const struct store_rider *, const struct store_rider *, struct verify_finding *, char text[200]);

#endif
