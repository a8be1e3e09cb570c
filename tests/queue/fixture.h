/* A queue on a fake store, and short ways to put messages into it and to end jobs. */
#ifndef THURN_TEST_QUEUE_FIXTURE_H
#define THURN_TEST_QUEUE_FIXTURE_H

#include "fake_store.h"

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };
#define START ((int64_t)1800000000000)

struct fixture {
    struct store *store;
    struct queue *queue;
    struct queue_options options;
    struct arena arena;
    struct queue_recipient route_recipient;
    struct store_delivery route_delivery;
    struct slice route_name;
    enum { ROUTE_REMOTE, ROUTE_LOCAL, ROUTE_NOWHERE } routing;
    size_t reports;
    char last_report[200000];
    uint64_t wait;
    struct fault fault;
};

void fixture_open(struct fixture *, const struct queue_options *);      /* NULL: the usual */
void fixture_close(struct fixture *);
void fixture_reopen(struct fixture *, size_t keep_records);
/* "a@x.example b@y.example", from "" for the null path. NOTIFY for all. Applied at once. */
uint64_t fixture_add(struct fixture *, const char *from, const char *recipients, unsigned notify, int64_t now_ms);
uint64_t fixture_add_mail(struct fixture *, const struct smtp_mail *, const char *recipients, unsigned notify, const char *orcpt, int64_t now_ms);
/* Ends a job with the same outcome for all. */
enum rc fixture_done(struct fixture *, const struct queue_job *, enum rc, int code, const char *text, bool is_dead, int64_t now_ms);
struct address fixture_address(struct fixture *, const char *text);

#endif
