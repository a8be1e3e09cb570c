/* A store in memory for tests of the queue: records wait until polled, rows can be kept across a "crash", and
 * any call can be told to fail. Only what the queue uses of store/store.h is there. */
#ifndef THURN_TEST_QUEUE_FAKE_STORE_H
#define THURN_TEST_QUEUE_FAKE_STORE_H

#include "queue/queue.h"

struct fake_record {
    uint64_t body_id, body_size;
    char *ops;                      /* each: u32 length, bytes */
    size_t ops_len;
    size_t delivery_count;
    uint64_t account;               /* of the first delivery */
};
struct fake_body {
    uint64_t id;
    char *bytes;
    size_t len;
    long refs;
};
struct fake_row {
    uint64_t key;
    char *bytes;
    size_t len;
};
struct store {
    struct store_rider rider;
    struct fake_record records[20000];
    size_t record_count, applied, checkpoint;       /* applied, and written in rows, so far */
    struct fake_body bodies[20000];
    size_t body_count;
    struct fake_row rows[20000];
    size_t row_count;
    bool is_full, accept_fails, save_fails;
    size_t failing_put;                             /* that many-th store_rider_put from now on fails, once */
    uint64_t died_of;                               /* a report about this message killed the process, */
    uint32_t deaths;                                /* so many times */
};

struct store *fake_store_new(void);
void fake_store_free(struct store *);
void fake_poll(struct store *);                     /* applies what waits */
enum rc fake_checkpoint(struct store *);
/* Power cut after `keep` records (SIZE_MAX: all that were written): rows are loaded into the new queue, the rest replayed. */
void fake_reopen(struct store *, struct store_rider, size_t keep);
struct fake_body *fake_body_find(struct store *, uint64_t id);
uint64_t fake_body_add(struct store *, struct slice bytes);

#endif
