/* Bodies: every part that must be in the log, and every reference to one (S5). See verify.h. */
#include "store/verify_inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int part_order(const void *a, const void *b)
{
    const struct verify_part *x = a, *y = b;
    return x->position < y->position ? -1 : x->position > y->position;
}

static void add_part(struct verify *v, struct verify_part part)
{
    if (v->part_count == v->part_cap) {
        v->part_cap = v->part_cap == 0 ? 1024 : v->part_cap * 2;
        v->parts = need(realloc(v->parts, v->part_cap * sizeof *v->parts));
    }
    v->parts[v->part_count++] = part;
}

static void gather_placed(struct verify *v, const struct body *b, const struct placed *p)
{
    uint64_t left = b->size;
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t bytes = left < p->piece_bytes || i + 1 == p->count ? (uint32_t)left : p->piece_bytes;
        add_part(v, (struct verify_part){ .position = p->positions[i], .body_id = b->id, .bytes = bytes, .tag = OP_PIECE });
        left -= bytes;
    }
    if (left > 0 || p->count == 0)
        verify_found(v, (struct verify_finding){ .kind = VERIFY_BODY, .offset = b->id }, "the pieces of body %016" PRIx64 " are fewer than its size says", b->id);
}

void verify_gather_parts(struct verify *v)
{
    const struct body_table *t = &v->store->bodies;
    for (size_t i = 0; i < t->cap; i++) {
        const struct body *b = &t->slots[i];
        if (b->id == 0)
            continue;
        const struct placed *p = map_get_u64(&t->placed, b->id);
        if (p != NULL)
            gather_placed(v, b, p);
        else
            add_part(v, (struct verify_part){ .position = b->id, .body_id = b->id, .bytes = b->size, .tag = OP_BODY });
    }
    if (v->part_count > 0)
        qsort(v->parts, v->part_count, sizeof *v->parts, part_order);
}

/* Records come in ascending order. */
void verify_part_read(struct verify *v, uint64_t position, struct slice payload)
{
    while (v->next_part < v->part_count && v->parts[v->next_part].position < position)
        v->next_part++;
    struct op op;
    if (v->next_part == v->part_count || v->parts[v->next_part].position != position || op_next(&payload, &op) != RC_OK)
        return;
    for (size_t i = v->next_part; i < v->part_count && v->parts[i].position == position; i++)
        v->parts[i].is_good = op.tag == v->parts[i].tag && op.body.len == v->parts[i].bytes;
}

/* ---- what could not be read ------------------------------------------------------------------------------------------ */

static int bad_order(const void *a, const void *b)
{
    const struct verify_bad *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void add_bad(struct verify *v, const struct verify_part *part)
{
    if (v->bad_count == v->bad_cap) {
        v->bad_cap = v->bad_cap == 0 ? 16 : v->bad_cap * 2;
        v->bad_bodies = need(realloc(v->bad_bodies, v->bad_cap * sizeof *v->bad_bodies));
    }
    v->bad_bodies[v->bad_count++] = (struct verify_bad){ part->body_id, part->position };
}

/* At the second look only some segments are read: what is in the others is as good as it was. */
static bool was_read(const struct verify *v, uint64_t position)
{
    char file[40];
    if (v->before == NULL)
        return true;
    snprintf(file, sizeof file, "log/%016" PRIx64 ".seg", log_segment_of(v->store->log, position));
    for (size_t i = 0; i < v->before->count; i++)
        if (slice_equal(v->before->list[i].file, slice_from_str(file)))
            return true;
    return false;
}

void verify_gather_bad(struct verify *v)
{
    for (size_t i = 0; i < v->part_count; i++)
        if (!v->parts[i].is_good && was_read(v, v->parts[i].position))
            add_bad(v, &v->parts[i]);
    if (v->bad_count > 0)
        qsort(v->bad_bodies, v->bad_count, sizeof *v->bad_bodies, bad_order);
}

const struct verify_bad *verify_bad_body(const struct verify *v, uint64_t id)
{
    struct verify_bad key = { .id = id };
    return v->bad_count == 0 ? NULL : bsearch(&key, v->bad_bodies, v->bad_count, sizeof key, bad_order);
}

/* ---- references -------------------------------------------------------------------------------------------------------- */

struct counted {
    uint64_t id;
    uint32_t size, references;
};

struct counting {
    struct verify *verify;
    struct counted *list;           /* by id */
    size_t count;
};

static int counted_order(const void *a, const void *b)
{
    const struct counted *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static struct counted *find_counted(const struct counting *c, uint64_t id)
{
    struct counted key = { .id = id };
    return c->count == 0 ? NULL : bsearch(&key, c->list, c->count, sizeof key, counted_order);
}

static void count_message(struct counting *c, const struct mailbox *m, const struct store_message *row)
{
    struct verify *v = c->verify;
    struct verify_finding f = {
        .kind = VERIFY_MESSAGE, .account = m->account->id, .mailbox_id = m->id, .mailbox = name_slice(&m->name), .uid = row->uid,
    };
    struct counted *body = find_counted(c, row->body_id);
    if (row->body_id == 0)
        return;                     /* told with the mailbox */
    if (body == NULL) {
        verify_found(v, f, "its body %016" PRIx64 " is not known", row->body_id);
        return;
    }
    body->references++;
    if (body->size != row->size)
        verify_found(v, f, "it has %" PRIu32 " bytes, its body %" PRIu32, row->size, body->size);
    const struct verify_bad *bad = verify_bad_body(v, row->body_id);
    if (bad != NULL) {
        verify_place(v, bad->position, &f);
        verify_found(v, f, "its body of %" PRIu32 " bytes cannot be read", row->size);
    }
}

static void count_entry(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size)
{
    struct counting *c = arg;
    struct verify *v = c->verify;
    struct verify_finding f = { .kind = VERIFY_ENTRY, .entry = key };
    struct counted *body = find_counted(c, body_id);
    (void)row;
    if (body_id == 0)
        return;
    if (body == NULL) {
        verify_found(v, f, "its body %016" PRIx64 " is not known", body_id);
        return;
    }
    body->references++;
    if (body->size != body_size)
        verify_found(v, f, "it has %" PRIu64 " bytes, its body %" PRIu32, body_size, body->size);
    const struct verify_bad *bad = verify_bad_body(v, body_id);
    if (bad != NULL) {
        verify_place(v, bad->position, &f);
        verify_found(v, f, "its body of %" PRIu64 " bytes cannot be read", body_size);
    }
}

static bool count_kept(void *arg, const struct store_kept *kept)
{
    struct counting *c = arg;
    for (size_t i = 0; i < kept->count; i++) {
        const struct store_message *row = &kept->rows[i];
        struct verify_finding f = {
            .kind = VERIFY_KEPT, .account = kept->account, .mailbox_id = kept->mailbox_id, .uid = row->uid, .offset = kept->number,
        };
        struct counted *body = row->body_id == 0 ? NULL : find_counted(c, row->body_id);
        if (body != NULL)
            body->references++;
        else
            verify_found(c->verify, f, "its body %016" PRIx64 " is not known", row->body_id);
        const struct verify_bad *bad = verify_bad_body(c->verify, row->body_id);
        if (bad == NULL)
            continue;
        verify_place(c->verify, bad->position, &f);
        verify_found(c->verify, f, "it was expunged, and its body of %" PRIu32 " bytes could not be brought back", row->size);
    }
    return true;
}

static void compare_counts(struct counting *c)
{
    const struct body_table *t = &c->verify->store->bodies;
    for (size_t i = 0; i < t->cap; i++) {
        const struct body *b = &t->slots[i];
        const struct counted *counted = b->id == 0 ? NULL : find_counted(c, b->id);
        if (counted != NULL && counted->references != b->references)
            verify_found(c->verify, (struct verify_finding){ .kind = VERIFY_BODY, .offset = b->id },
                         "body %016" PRIx64 " counts %" PRIu32 " references and has %" PRIu32, b->id, b->references, counted->references);
    }
}

void verify_references(struct verify *v)
{
    const struct body_table *t = &v->store->bodies;
    struct counting c = { .verify = v, .list = need(calloc(t->count + 1, sizeof *c.list)) };
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].id != 0)
            c.list[c.count++] = (struct counted){ .id = t->slots[i].id, .size = t->slots[i].size };
    if (c.count > 0)
        qsort(c.list, c.count, sizeof *c.list, counted_order);
    size_t at = 0;
    uint64_t id;
    for (struct mailbox *m; (m = map_next_u64(&v->store->mailboxes, &at, &id)) != NULL;)
        for (uint32_t seq = 1; seq <= m->numbering->total; seq++)
            count_message(&c, m, numbering_row(m->numbering, seq, NULL));
    bool has_entries = v->rider.apply == NULL || v->rider.each != NULL;
    if (v->rider.each != NULL)
        v->rider.each(v->rider.self, count_entry, &c);
    struct fault why;
    if (store_kept_each(v->store, 0, count_kept, &c, &why) != RC_OK)
        verify_found(v, (struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("state.db") }, "%s", why.text);
    else if (has_entries)                   /* else it refers to bodies that it does not tell of */
        compare_counts(&c);
    free(c.list);
}
