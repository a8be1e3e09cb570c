/* The end of all: the servers are stopped, and what lies on their disks is opened and counted. The ledger balances and names nothing as missing, and
 * nobody waits in the queue. */
#include "sim/audit.h"

#include "base/fault.h"
#include "queue/ledger.h"
#include "queue/queue.h"
#include "sim/kernel.h"
#include "sim/node.h"

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
    if (ledger_difference(&ledger) != 0)
        sim_fail("ledger: %s: %llu received, %llu accounted for", audit->name, (unsigned long long)ledger_received(&ledger),
                 (unsigned long long)ledger_accounted(&ledger));
    if (ledger.queue.waiting != 0)
        sim_fail("unsettled: %llu recipients wait in the queue of %s", (unsigned long long)ledger.queue.waiting, audit->name);
}

int audit_main(void *arg)
{
    struct audit *audit = arg;
    struct fault fault;
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
