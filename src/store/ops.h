/* What the records of the log say. A payload is a sequence of operations: u8 tag, u32 length, that many bytes.
 * Numbers are little-endian, strings have a u32 length in front. Tags are never given a new meaning. An operation names
 * what was assigned when it was handed over, so applying it needs nothing but the state before it (S8). A body, when
 * there is one, comes first; "body 0" in what follows means that one. */
#ifndef THURN_STORE_OPS_H
#define THURN_STORE_OPS_H

#include "base/buf.h"
#include "base/fault.h"

enum op_tag {
    OP_BODY = 1,                /* the bytes. The body's id is the position of the record */
    OP_BODY_PLACED = 2,         /* u64 id (0: of this record; else: it has moved), u64 size, u32 piece size, u32 count, u64 position of each piece */
    OP_PIECE = 3,               /* bytes of a large body; alone in its record */
    OP_ACCOUNT_CREATE = 4,      /* u64 account */
    OP_ACCOUNT_DELETE = 5,      /* u64 account, when */
    OP_MAILBOX_CREATE = 6,      /* u64 id, u64 account, u32 uidvalidity, u8 special, u8 subscribe, string name */
    OP_MAILBOX_DELETE = 7,      /* u64 id, u8 keep as noselect, when */
    OP_MAILBOX_RENAME = 8,      /* u64 id, string name */
    OP_SUBSCRIBE = 9,           /* u64 account, u8 on, string name */
    OP_KEYWORD = 10,            /* u64 mailbox, u32 bit, string name */
    OP_MESSAGE = 11,            /* u64 mailbox, message (below) */
    OP_FLAGS = 12,              /* u64 mailbox, u64 modseq, u8 store_flag_op, u32 flags, u64 keywords, ranges */
    OP_EXPUNGE = 13,            /* u64 mailbox, u64 modseq, ranges, when */
    OP_COPY = 14,               /* u64 from, u64 to, u32 first uid, u64 modseq there, u64 modseq here (0: not a move), ranges, when */
    OP_RECENT = 15,             /* u64 mailbox, u32 uid: those before it are not recent any more */
    OP_RIDER = 16,              /* bytes */
    OP_SNAPSHOT = 17,           /* a part of the checkpoint (snapshot.h) */
    OP_SNAPSHOT_END = 18,
    OP_KEPT_FORGET = 19,        /* u64 number: what was expunged before that one is gone for good; u8 early (for want of room) */
    OP_ACCOUNT_REMOVED = 20,    /* u64 account, i64 Unix seconds since when nobody owns it (0: somebody does) */
    OP_ACCOUNT_EXPIRE = 21,     /* u64 account, i64 removed since: if that is still so it is deleted, for good */
    OP_LAST = OP_ACCOUNT_EXPIRE,
};
/* message: u32 uid, u64 modseq, u64 keywords, u16 flags, i64 internal_s, i16 zone, u64 body id, u32 size, u32 appended_s
 * ranges:  u32 count, count times u32 first, u32 last
 * when:    i64 Unix seconds, u8 is what goes kept (kept.c); absent: it is not */

enum { OP_HEADER_BYTES = 5, MESSAGE_BYTES = 48 };

/* Begins an operation; its length is filled in by op_end, given what op_begin gave. */
size_t op_begin(struct buf *, enum op_tag);
void op_end(struct buf *, size_t begin);

struct op {
    enum op_tag tag;
    struct slice body;
};
/* Takes the next operation: RC_OK, RC_NONE at the end, RC_PERM for what is none. */
enum rc op_next(struct slice *payload, struct op *);

struct store_message;
struct uid_set;
void op_write_message(struct buf *, const struct store_message *);
struct reader;
void op_read_message(struct reader *, struct store_message *);
struct op_when {
    int64_t s;                  /* 0: not known */
    bool is_kept;
};
void op_write_when(struct buf *, struct op_when);
struct op_when op_read_when(struct reader *);
void op_write_ranges(struct buf *, const struct uid_set *);
/* False: out of memory or not ranges (descending, overlapping). */
bool op_read_ranges(struct reader *, struct uid_set *);

#endif
