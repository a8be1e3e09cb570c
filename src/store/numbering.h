/* Numberings: which messages a mailbox has, in UID order, as rows in runs of up to RUN_ROWS.
 *
 * A numbering is shared: the mailbox holds the current one, every view the one its client knows. Appending changes the
 * current one in place, since a view counts only as far as it has told its client. Expunging first makes the current one
 * the mailbox's own (a copy of the list of runs, not of the rows), and copies the one run it takes rows out of; the old
 * run is marked superseded and stays as it was for whoever still counts by it. So an append is O(1) and an expunge is
 * O(run + runs), however many views there are.
 *
 * A row in a run that is not superseded is current (flags change in place). One in a superseded run may have changed or
 * be gone since: the mailbox's own numbering knows by UID. */
#ifndef THURN_STORE_NUMBERING_H
#define THURN_STORE_NUMBERING_H

#include "store/store.h"

enum { RUN_ROWS = 1024 };

struct run {
    uint32_t references;        /* by numberings */
    uint32_t count, cap;
    uint32_t unseen;
    uint64_t max_modseq;        /* at least that of every row */
    uint64_t number;            /* in the mailbox, for the checkpoint */
    bool is_superseded;
    bool is_dirty;              /* not as the checkpoint has it */
    struct store_message *rows;
};

struct numbering_entry {
    struct run *run;
    uint32_t from;              /* first row of the run that counts here */
    uint32_t start;             /* messages before it */
};

struct numbering {
    uint32_t references;
    uint32_t total;
    size_t count, cap;
    struct numbering_entry *entries;
};

struct numbering *numbering_new(void);
struct numbering *numbering_share(struct numbering *);
void numbering_release(struct numbering *);
/* A numbering of one's own with the same first `total` messages; NULL out of memory. */
struct numbering *numbering_copy(const struct numbering *, uint32_t total);

/* seq from 1 to total. */
struct store_message *numbering_row(const struct numbering *, uint32_t seq, struct run **run);
/* The smallest seq, up to total + 1, whose UID is at least uid. */
uint32_t numbering_seq(const struct numbering *, uint32_t total, uint32_t uid);
/* The row with this UID, or NULL. */
struct store_message *numbering_find(const struct numbering *, uint32_t uid, struct run **run);
/* Walks in order: at the first row whose UID is at least uid, never back. NULL behind the last. */
struct numbering_cursor {
    size_t entry;
    uint32_t row;               /* of the entry */
};
const struct store_message *numbering_seek(const struct numbering *, struct numbering_cursor *, uint32_t uid);
uint32_t numbering_entry_count(const struct numbering *, size_t entry);

/* Only for a mailbox's current numbering. The row's UID is greater than all. next_run: the number for a new run. */
bool numbering_append(struct numbering *, const struct store_message *row, uint64_t *next_run);
/* A run behind the last one, as read from a checkpoint. */
bool numbering_append_run(struct numbering *, struct run *run);
/* Adds the messages of `current` from `uid` on behind those of a view's own numbering. */
bool numbering_extend(struct numbering *, const struct numbering *current, uint32_t uid);
/* Takes out the rows with those UIDs. The numbering has one reference. `gone` hears of each row, `dropped` of each run that is
 * no more (its number). False out of memory, nothing changed. */
struct numbering_expunge {
    void (*gone)(void *arg, const struct store_message *);
    void (*dropped)(void *arg, uint64_t run_number);
    void *arg;
};
bool numbering_expunge(struct numbering *, const struct uid_set *uids, const struct numbering_expunge *);

struct run *run_new(uint64_t number, uint32_t cap);

#endif
