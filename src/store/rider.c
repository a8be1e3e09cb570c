/* The rows of whoever rides on the log (store.h). They are kept here until they are committed, since the rider has forgotten
 * by then what it has put: when a checkpoint is given up, the next one writes them again. */
#include "store/checkpoint.h"

#include <stdlib.h>

void checkpoint_forget_rider(struct checkpoint *c)
{
    size_t at = 0;
    uint64_t key;
    for (struct rider_row *r; (r = map_next_u64(&c->rider_rows, &at, &key)) != NULL;) {
        buf_free(&r->row);
        free(r);
        map_remove_u64(&c->rider_rows, key);
    }
    c->range_count = 0;
}

bool checkpoint_save_rider(struct store *store)
{
    struct checkpoint *c = store->checkpoint;
    const struct store_rider *rider = &store->options.rider;
    c->is_saving_rider = true;
    bool ok = rider->save == NULL || rider->save(rider->self, store, NULL) == RC_OK;
    c->is_saving_rider = false;
    size_t at = 0;
    uint64_t key;
    for (size_t i = 0; ok && i < c->range_count; i++) {
        sqlite3_stmt *s = checkpoint_bound(c, RIDER_RANGE_DROP, c->rider_ranges[i].from);
        ok = s != NULL && sqlite3_bind_int64(s, 2, (sqlite3_int64)c->rider_ranges[i].to) == SQLITE_OK && checkpoint_run(s);
    }
    for (struct rider_row *r; ok && (r = map_next_u64(&c->rider_rows, &at, &key)) != NULL;) {
        sqlite3_stmt *s = checkpoint_bound(c, r->is_deleted ? RIDER_DROP : RIDER_PUT, key);
        ok = (r->is_deleted || checkpoint_bind_blob(s, 2, buf_slice(&r->row))) && checkpoint_run(s);
    }
    return ok;
}

static enum rc put_rider(struct store *store, uint64_t key, struct slice row, bool is_deleted, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    must(c->is_saving_rider);
    struct buf copy;
    buf_init(&copy, CHECKPOINT_ROW_MAX);
    struct rider_row *r = map_get_u64(&c->rider_rows, key), *made = NULL;
    if (r == NULL)
        r = made = calloc(1, sizeof *made);
    if (r == NULL || !buf_append(&copy, row) || (made != NULL && !map_put_u64(&c->rider_rows, key, made))) {
        buf_free(&copy);
        free(made);
        return fault_no_memory(fault);          /* what was put before stays */
    }
    buf_free(&r->row);
    r->row = copy;
    r->is_deleted = is_deleted;
    return RC_OK;
}

enum rc store_rider_put(struct store *store, uint64_t key, struct slice row, struct fault *fault)
{
    return put_rider(store, key, row, false, fault);
}

enum rc store_rider_delete(struct store *store, uint64_t key, struct fault *fault)
{
    return put_rider(store, key, SLICE_NONE, true, fault);
}

/* Ranges go before rows when they are saved, so rows that were put before are taken back here. */
enum rc store_rider_delete_range(struct store *store, uint64_t from, uint64_t to, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    must(c->is_saving_rider);
    if (c->range_count == c->range_cap) {
        size_t cap = c->range_cap == 0 ? 4 : c->range_cap * 2;
        struct rider_range *more = realloc(c->rider_ranges, cap * sizeof *more);
        if (more == NULL)
            return fault_no_memory(fault);
        c->rider_ranges = more;
        c->range_cap = cap;
    }
    c->rider_ranges[c->range_count++] = (struct rider_range){ from, to };
    size_t at = 0;
    uint64_t key;
    for (struct rider_row *r; (r = map_next_u64(&c->rider_rows, &at, &key)) != NULL;)
        if (key >= from && key < to)
            r->is_deleted = true;
    return RC_OK;
}

enum rc store_rider_get(struct store *store, uint64_t key, struct buf *row, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    const struct rider_row *r = map_get_u64(&c->rider_rows, key);
    if (r != NULL)
        return r->is_deleted ? RC_NONE : buf_append(row, buf_slice(&r->row)) ? RC_OK : fault_no_memory(fault);
    for (size_t i = 0; i < c->range_count; i++)
        if (key >= c->rider_ranges[i].from && key < c->rider_ranges[i].to)
            return RC_NONE;
    sqlite3_stmt *s = checkpoint_bound(c, RIDER_GET, key);
    int code = s == NULL ? SQLITE_ERROR : sqlite3_step(s);
    enum rc rc = code == SQLITE_DONE ? RC_NONE : RC_OK;
    if (code == SQLITE_ROW)
        rc = buf_append(row, checkpoint_column(s, 0)) ? RC_OK : fault_no_memory(fault);
    else if (code != SQLITE_DONE)
        rc = checkpoint_fault(c, fault);
    sqlite3_reset(s);
    return rc;
}

enum rc store_rider_next(struct store *store, uint64_t after, uint64_t *key, struct fault *fault)
{
    struct checkpoint *c = store->checkpoint;
    sqlite3_stmt *s = checkpoint_bound(c, RIDER_NEXT, after);
    bool has_row = s != NULL && sqlite3_step(s) == SQLITE_ROW;
    enum rc rc = RC_NONE;
    if (!has_row)
        rc = checkpoint_fault(c, fault);
    else if (sqlite3_column_type(s, 0) != SQLITE_NULL) {
        *key = (uint64_t)sqlite3_column_int64(s, 0);
        rc = RC_OK;
    }
    sqlite3_reset(s);
    return rc;
}
