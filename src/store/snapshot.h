/* Snapshots: the whole checkpoint once more, as records of the log, so that the log alone gives everything back.
 *
 * Most of what state.db says stands in records: which mailboxes there are, UIDs, flags, the queue. When the segment of such
 * a record is used again, state.db would be the only copy. So no segment is released that is not older than the last whole
 * snapshot (S7): the snapshot and the records from its position on rebuild state.db (repair.c, `thurn verify --repair`).
 *
 * A snapshot is the rows of state.db as of one commit, read in one read transaction of a second connection while the first
 * goes on, as a stream that is cut into records:
 *
 *     OP_SNAPSHOT       u64 as of, u32 part (from 0), u32 offset of the first row that begins in this part, bytes of the stream
 *     OP_SNAPSHOT_END   u64 as of, u64 position of part 0, u32 parts, u64 bytes of the stream
 *     row               u32 length of what follows, u8 table, u8 columns, each: u8 type (SQLite's), then u64 or string
 *
 * "As of" is the checkpoint's position. One part is on its way at a time: whoever delivers mail does not notice. A snapshot that
 * fails or is interrupted was never there; its parts are dead bytes. When it is worth while is said in snapshot_choose. */
#ifndef THURN_STORE_SNAPSHOT_H
#define THURN_STORE_SNAPSHOT_H

#include "store/encode.h"
#include "store/inner.h"

#include <sqlite3.h>

enum { SNAPSHOT_TABLES = 7, SNAPSHOT_COLUMNS_MAX = 5, SNAPSHOT_RIDER = 5 };

/* The tables of state.db: their place here is their number in the stream, for ever. */
struct snapshot_table {
    const char *name, *select, *insert;
    int columns;
};
extern const struct snapshot_table snapshot_tables[SNAPSHOT_TABLES];

struct snapshot_part {
    uint64_t as_of;
    uint32_t number, first_row;
    struct slice bytes;
};
/* Of an operation's body. False: malformed. */
bool snapshot_read_part(struct slice body, struct snapshot_part *);

/* Parts in, rows of a database out. Parts come in order; what a missing one leaves torn is left out and counted. */
struct snapshot_loader {
    sqlite3 *db;
    sqlite3_stmt *inserts[SNAPSHOT_TABLES];
    struct buf stream;              /* the beginning of a row that goes on in the next part */
    uint32_t next_part;
    uint64_t rows, torn;            /* torn: places where rows were lost */
    bool leaves_aside;              /* rows that are never loaded (STORE_RIDER_ASIDE) are passed over */
    bool has_failed;                /* SQLite has */
};
void snapshot_loader_init(struct snapshot_loader *, sqlite3 *db);
void snapshot_loader_add(struct snapshot_loader *, const struct snapshot_part *);
/* `parts`: how many there should have been. */
void snapshot_loader_end(struct snapshot_loader *, uint32_t parts);

#endif
