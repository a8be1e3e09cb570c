/* The end of all: the servers are stopped, and what lies on their disks is looked at. `thurn verify` finds nothing, the ledger balances and names
 * nothing as missing, and nobody waits in the queue. */
#include "sim/audit.h"

#include "base/fault.h"
#include "queue/ledger.h"
#include "queue/queue.h"
#include "sim/kernel.h"
#include "sim/node.h"
#include "store/verify.h"

#include <stdlib.h>

enum { PIECE = 1000, ROW_MAX = 4096 };

static void missing(void *arg, const struct ledger_finding *finding)
{
    const struct audit *audit = arg;
    struct buf row;
    buf_init(&row, ROW_MAX);
    (void)ledger_finding_write_json(finding, SLICE_NONE, &row);
    sim_fail("ledger: %s: %.*s", audit->name, SLICE_ARG(buf_slice(&row)));
}

static void check_balance(const struct audit *audit, const struct queue *queue, const struct store *store)
{
    struct ledger ledger;
    ledger_take(queue, store, true, &ledger);
    struct buf json;
    buf_init(&json, ROW_MAX);
    (void)ledger_write_json(&ledger, &json);
    if (ledger_difference(&ledger) != 0)
        sim_fail("ledger: %s: {%.*s}", audit->name, SLICE_ARG(buf_slice(&json)));
    buf_free(&json);
    if (ledger.queue.waiting != 0)
        sim_fail("unsettled: %llu recipients wait in the queue of %s", (unsigned long long)ledger.queue.waiting, audit->name);
}

static bool make_rider(void *arg, struct store_rider *rider)
{
    (void)arg;
    struct queue *queue = queue_new(&(struct queue_options){ .history_days = 1 });
    if (queue != NULL)
        *rider = queue_rider(queue);
    return queue != NULL;
}

static void free_rider(void *arg, struct store_rider *rider)
{
    (void)arg;
    queue_free(rider->self);
}

static void damaged(void *arg, const struct verify_finding *finding)
{
    const struct audit *audit = arg;
    sim_fail("verify: %s: %s: %.*s at %llu: mailbox %.*s UID %u: %.*s", audit->name, verify_kind_name(finding->kind), SLICE_ARG(finding->file),
             (unsigned long long)finding->offset, SLICE_ARG(finding->mailbox), finding->uid, SLICE_ARG(finding->text));
}

static void verify(struct audit *audit)
{
    struct fault fault;
    struct verify_figures figures;
    struct verify_options options = { .dir = NODE_DATA "/store", .files = &file_ops_real, .rider = { make_rider, free_rider, NULL },
                                      .found = damaged, .arg = audit };
    if (store_verify(&options, &figures, &fault) != RC_OK)
        sim_fail("verify: %s cannot be verified: %s", audit->name, fault.text);
}

int audit_main(void *arg)
{
    struct audit *audit = arg;
    struct fault fault;
    verify(audit);
    struct queue *queue = queue_new(&(struct queue_options){ .history_days = 1 });
    must(queue != NULL);
    struct store_options options = { .dir = NODE_DATA "/store", .files = &file_ops_real, .is_read_only = true, .rider = queue_rider(queue) };
    struct store *store;
    if (store_open(&options, &store, &fault) != RC_OK)
        sim_fail("unreadable: the store of %s: %s", audit->name, fault.text);
    queue_attach(queue, store);
    struct ledger_walk *walk = ledger_walk_new(queue, store, missing, audit);
    must(walk != NULL);
    while (ledger_walk_step(walk, PIECE))
        continue;
    ledger_walk_free(walk);
    check_balance(audit, queue, store);
    store_close(store);
    queue_free(queue);
    audit->is_done = true;
    return 0;
}
