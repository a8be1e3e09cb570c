/* How much memory and time a large queue takes: `test-queue-speed 1000000`. The store is nobody here. */
#include "check.h"
#include "queue/queue.h"

#include <malloc.h>
#include <time.h>

enum rc store_accept(struct store *s, struct store_accept *a, uint64_t *wait, struct fault *f) { (void)s; (void)a; (void)f; *wait = 1; return RC_OK; }
struct store_body *store_body_begin(struct store *s) { (void)s; return NULL; }
enum rc store_body_write(struct store_body *b, struct slice s, struct fault *f) { (void)b; (void)s; (void)f; return RC_OK; }
void store_body_abandon(struct store_body *b) { (void)b; }
enum rc store_read(struct store *s, uint64_t id, uint64_t at, size_t len, char *out, struct fault *f) { (void)s; (void)id; (void)at; (void)len; (void)out; (void)f; return RC_PERM; }
void store_body_ref(struct store *s, uint64_t id, uint64_t size) { (void)s; (void)id; (void)size; }
void store_body_unref(struct store *s, uint64_t id) { (void)s; (void)id; }
bool store_has_room(const struct store *s, uint64_t size, struct fault *f) { (void)s; (void)size; (void)f; return true; }
bool store_has_reserve(const struct store *s, struct fault *f) { (void)s; (void)f; return true; }
void store_handling_begin(struct store *s, enum store_handling kind, uint64_t id) { (void)s; (void)kind; (void)id; }
void store_handling_end(struct store *s) { (void)s; }
enum store_handling store_died_handling(const struct store *s, uint64_t *id, uint32_t *deaths) { (void)s; *id = 0; *deaths = 0; return HANDLING_NOTHING; }
enum rc store_settled(const struct store *s, uint64_t wait) { (void)s; (void)wait; return RC_OK; }
struct rows { char **bytes; size_t *len; uint64_t *key; size_t count; };
static struct rows rows;
enum rc store_rider_put(struct store *s, uint64_t key, struct slice row, struct fault *f)
{
    (void)s;
    (void)f;
    rows.bytes[rows.count] = malloc(row.len);
    memcpy(rows.bytes[rows.count], row.ptr, row.len);
    rows.len[rows.count] = row.len;
    rows.key[rows.count++] = key;
    return RC_OK;
}
enum rc store_rider_delete(struct store *s, uint64_t key, struct fault *f) { (void)s; (void)key; (void)f; return RC_OK; }
enum rc store_rider_delete_range(struct store *s, uint64_t from, uint64_t to, struct fault *f) { (void)s; (void)from; (void)to; (void)f; return RC_OK; }
enum rc store_rider_get(struct store *s, uint64_t key, struct buf *row, struct fault *f) { (void)s; (void)key; (void)row; (void)f; return RC_NONE; }

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct slice by_domain(void *arg, const struct address *address, struct arena *arena)
{
    (void)arg;
    (void)arena;
    return address->domain;
}

static struct queue *make(void)
{
    struct queue_options options = { .retry_first_s = 300, .retry_max_s = 14400, .lifetime_s = 432000, .concurrency = 1000000,
                                     .destination_concurrency = 1000000, .history_days = 0 };
    struct queue *q = queue_new(&options);
    queue_set_destination(q, by_domain, NULL);
    return q;
}

static double say(const char *what, double since, size_t count)
{
    double now = seconds();
    fprintf(stderr, "%-34s %8.3f s, %6.2f us each\n", what, now - since, (now - since) * 1e6 / (double)count);
    return seconds();
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    struct store *nobody = (struct store *)(void *)&rows;
    CASE("a large queue");
    rows = (struct rows){ calloc(count + 1, sizeof(char *)), calloc(count + 1, sizeof(size_t)), calloc(count + 1, sizeof(uint64_t)), 0 };      /* and the counters */
    size_t before = mallinfo2().uordblks;
    struct queue *q = make();
    struct store_rider rider = queue_rider(q);
    queue_attach(q, nobody);
    struct buf op;
    buf_init(&op, 10000);
    double t = seconds();
    for (size_t i = 0; i < count; i++) {
        char local[40], domain[40];
        snprintf(local, sizeof local, "some.person.%zu", i);
        snprintf(domain, sizeof domain, "domain-%zu.example.org", i % 5000);
        struct queue_recipient to = { .address = { .local_part = slice_from_str(local), .domain = slice_from_str(domain) } };
        struct smtp_mail mail = { .reverse_path = { .local_part = SLICE("newsletter"), .domain = SLICE("lists.example.net") } };
        struct queue_new n = { .id = queue_next_id(q, 1800000000000 + (int64_t)i / 10), .mail = &mail, .now_ms = 1800000000000, .user = SLICE("newsletter@lists.example.net"),
                               .recipients = &to, .recipient_count = 1 };
        buf_clear(&op);
        must(queue_encode_new(&n, &op));
        rider.apply(rider.self, nobody, buf_slice(&op), 1 + i, 4000);
    }
    t = say("accept and schedule", t, count);
    fprintf(stderr, "%.0f bytes a recipient\n", (double)(mallinfo2().uordblks - before) / (double)count);
    struct fault f;
    CHECK_INT(rider.save(rider.self, nobody, &f), RC_OK);
    t = say("save", t, count);
    struct queue_job job;
    size_t jobs = 0;
    while (queue_next_job(q, 1800000100000, jobs, &job) == RC_OK) {
        jobs++;
        queue_job_lost(q, &job, 1800000100000 + 3600000 + (int64_t)jobs);
    }
    CHECK_INT(jobs, count);
    t = say("start and end a job", t, count);
    queue_free(q);
    q = make();
    rider = queue_rider(q);
    t = seconds();
    for (size_t i = 0; i < rows.count; i++)
        rider.load(rider.self, nobody, rows.key[i], (struct slice){ rows.bytes[i], rows.len[i] });
    t = say("load", t, count);
    queue_attach(q, nobody);
    t = say("schedule", t, count);
    CHECK_INT(queue_count(q, NULL), count);
    queue_free(q);
    for (size_t i = 0; i < rows.count; i++)
        free(rows.bytes[i]);
    free(rows.bytes);
    free(rows.len);
    free(rows.key);
    buf_free(&op);
    return check_done();
}
