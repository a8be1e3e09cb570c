/* Operations and rows of the queue: any bytes, applied and loaded, told as JSON and saved again. The first byte says how:
 * 'r' a row, anything else operations, each behind a byte with its length / 4. */
#include "fuzz.h"

#include "queue/queue.h"

#include <stdlib.h>

static struct buf history;

enum rc store_accept(struct store *s, struct store_accept *a, uint64_t *wait, struct fault *f) { (void)s, (void)a; *wait = 1; return fault_temp(f, 0, "no"); }
struct store_body *store_body_begin(struct store *s) { (void)s; return NULL; }
enum rc store_body_write(struct store_body *b, struct slice s, struct fault *f) { (void)b, (void)s, (void)f; return RC_OK; }
void store_body_abandon(struct store_body *b) { (void)b; }
enum rc store_read(struct store *s, uint64_t id, uint64_t at, size_t len, char *out, struct fault *f)
{
    (void)s, (void)id, (void)at, (void)len, (void)out;
    return fault_perm(f, 0, "no");
}
void store_body_ref(struct store *s, uint64_t id, uint64_t size) { (void)s, (void)id, (void)size; }
void store_body_unref(struct store *s, uint64_t id) { (void)s, (void)id; }
bool store_has_room(const struct store *s, uint64_t size, struct fault *f) { (void)s, (void)size, (void)f; return true; }
enum rc store_settled(const struct store *s, uint64_t wait) { (void)s; (void)wait; return RC_OK; }
void store_handling_begin(struct store *s, enum store_handling kind, uint64_t id) { (void)s; (void)kind; (void)id; }
void store_handling_end(struct store *s) { (void)s; }
enum store_handling store_died_handling(const struct store *s, uint64_t *id, uint32_t *deaths) { (void)s; *id = 0; *deaths = 0; return HANDLING_NOTHING; }
bool store_has_reserve(const struct store *s, struct fault *f) { (void)s, (void)f; return true; }
enum rc store_rider_put(struct store *s, uint64_t key, struct slice row, struct fault *f)
{
    (void)s, (void)f;
    if (key & STORE_RIDER_ASIDE) {
        buf_clear(&history);
        (void)buf_append(&history, row);
    }
    return RC_OK;
}
enum rc store_rider_delete(struct store *s, uint64_t key, struct fault *f) { (void)s, (void)key, (void)f; return RC_OK; }
enum rc store_rider_delete_range(struct store *s, uint64_t from, uint64_t to, struct fault *f) { (void)s, (void)from, (void)to, (void)f; return RC_OK; }
enum rc store_rider_get(struct store *s, uint64_t key, struct buf *row, struct fault *f)
{
    (void)s, (void)key, (void)f;
    return buf_append(row, buf_slice(&history)) ? RC_OK : RC_TEMP;
}

static struct slice by_domain(void *arg, const struct address *address, struct arena *arena)
{
    (void)arg, (void)arena;
    return address->domain;
}

static void tell(struct queue *q)
{
    struct buf out;
    struct fault f;
    uint64_t after = 0;
    const struct queue_entry *entry;
    buf_init(&out, 1 << 24);
    for (int i = 0; i < 16 && (entry = queue_after(q, after)) != NULL; i++) {
        after = entry->id;
        buf_clear(&out);
        (void)queue_entry_write_json(entry, 1, &out);
        (void)queue_why(q, after, 1, &out, &f);
    }
    buf_free(&out);
}

static void work(struct queue *q)
{
    struct queue_job job;
    struct fault f;
    for (int i = 0; i < 8 && queue_next_job(q, INT64_MAX / 2, 1, &job) == RC_OK; i++)
        queue_job_lost(q, &job, INT64_MAX / 2 + 1);
    (void)queue_tick(q, INT64_MAX / 4, 1, &f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct queue_options options = { .retry_first_s = 1, .retry_max_s = 2, .lifetime_s = 3, .delay_warning_s = 1, .concurrency = 9,
                                                  .destination_concurrency = 2, .history_days = 1 };
    struct store *nobody = (struct store *)(void *)&history;
    struct slice in = { (const char *)data, size };
    struct fault f;
    if (size == 0)
        return 0;
    buf_init(&history, 1 << 24);
    struct queue *q = queue_new(&options);
    struct store_rider rider = queue_rider(q);
    queue_set_destination(q, by_domain, NULL);
    if (slice_take(&in, 1).ptr[0] == 'r')
        rider.load(rider.self, nobody, 77, in);
    queue_attach(q, nobody);
    while (data[0] != 'r' && in.len > 1) {
        size_t len = (size_t)(unsigned char)slice_take(&in, 1).ptr[0] * 4;
        rider.apply(rider.self, nobody, slice_take(&in, len), 1, 1000);
    }
    tell(q);
    (void)rider.save(rider.self, nobody, &f);
    tell(q);
    work(q);
    queue_free(q);
    buf_free(&history);
    return 0;
}
