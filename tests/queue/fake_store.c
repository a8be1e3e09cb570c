/* See fake_store.h. */
#include "fake_store.h"

#include <stdlib.h>

struct store_body {
    struct store *store;
    struct buf bytes;
};

struct store *fake_store_new(void) { return calloc(1, sizeof(struct store)); }

void fake_store_free(struct store *s)
{
    for (size_t i = 0; i < s->record_count; i++)
        free(s->records[i].ops);
    for (size_t i = 0; i < s->body_count; i++)
        free(s->bodies[i].bytes);
    for (size_t i = 0; i < s->row_count; i++)
        free(s->rows[i].bytes);
    free(s);
}

static char *copy_of(struct slice s)
{
    char *bytes = malloc(s.len + 1);
    must(bytes != NULL);
    if (s.len > 0)
        memcpy(bytes, s.ptr, s.len);
    return bytes;
}

struct fake_body *fake_body_find(struct store *s, uint64_t id)
{
    return id == 0 || id > s->body_count ? NULL : &s->bodies[id - 1];
}

uint64_t fake_body_add(struct store *s, struct slice bytes)
{
    must(s->body_count < sizeof s->bodies / sizeof *s->bodies);
    struct fake_body *body = &s->bodies[s->body_count++];
    *body = (struct fake_body){ .id = s->body_count, .bytes = copy_of(bytes), .len = bytes.len };
    return body->id;
}

struct store_body *store_body_begin(struct store *s)
{
    struct store_body *body = calloc(1, sizeof *body);
    must(body != NULL);
    body->store = s;
    buf_init(&body->bytes, SIZE_MAX / 2);
    return body;
}

enum rc store_body_write(struct store_body *body, struct slice bytes, struct fault *f)
{
    return buf_append(&body->bytes, bytes) ? RC_OK : fault_no_memory(f);
}

void store_body_abandon(struct store_body *body)
{
    buf_free(&body->bytes);
    free(body);
}

enum rc store_accept(struct store *s, struct store_accept *a, uint64_t *wait, struct fault *f)
{
    uint64_t body_id = a->body_id, body_size = a->body_size;
    if (s->accept_fails) {
        if (a->body != NULL)
            store_body_abandon(a->body);
        return fault_temp(f, ESC(4, 3, 0), "the test says no");
    }
    if (a->body != NULL) {
        body_size = buf_len(&a->body->bytes);
        body_id = fake_body_add(s, buf_slice(&a->body->bytes));
        store_body_abandon(a->body);
    }
    struct buf ops;
    buf_init(&ops, SIZE_MAX / 2);
    if (a->write_op != NULL) {
        struct buf op;
        buf_init(&op, 1 << 20);
        must(a->write_op(a->write_op_arg, &op));
        buf_append_u32(&ops, (uint32_t)buf_len(&op));
        buf_append(&ops, buf_slice(&op));
        buf_free(&op);
    }
    for (size_t i = 0; i < a->rider_op_count; i++) {
        buf_append_u32(&ops, (uint32_t)a->rider_ops[i].len);
        buf_append(&ops, a->rider_ops[i]);
    }
    must(s->record_count < sizeof s->records / sizeof *s->records);
    s->records[s->record_count++] = (struct fake_record){ body_id, body_size, copy_of(buf_slice(&ops)), buf_len(&ops), a->delivery_count,
                                                          a->delivery_count > 0 ? a->deliveries[0].account : 0 };
    buf_free(&ops);
    *wait = s->record_count;
    return RC_OK;
}

void fake_poll(struct store *s)
{
    for (; s->applied < s->record_count; s->applied++) {
        const struct fake_record *r = &s->records[s->applied];
        struct slice in = { r->ops, r->ops_len };
        while (in.len >= 4) {
            uint32_t len;
            memcpy(&len, slice_take(&in, 4).ptr, 4);
            s->rider.apply(s->rider.self, s, slice_take(&in, len), r->body_id, r->body_size);
        }
    }
}

enum rc fake_checkpoint(struct store *s)
{
    fake_poll(s);
    struct fault f;
    enum rc rc = s->rider.save(s->rider.self, s, &f);
    if (rc == RC_OK)
        s->checkpoint = s->applied;
    return rc;
}

void fake_reopen(struct store *s, struct store_rider rider, size_t keep)
{
    if (keep < s->checkpoint)
        keep = s->checkpoint;
    while (s->record_count > keep)
        free(s->records[--s->record_count].ops);
    s->rider = rider;
    for (size_t i = 0; i < s->body_count; i++)
        s->bodies[i].refs = 0;
    for (size_t i = s->row_count; i > 0; i--)
        if (s->rows[i - 1].key < STORE_RIDER_ASIDE)
            rider.load(rider.self, s, s->rows[i - 1].key, (struct slice){ s->rows[i - 1].bytes, s->rows[i - 1].len });
    s->applied = s->checkpoint;
    fake_poll(s);
}

enum rc store_read(struct store *s, uint64_t body_id, uint64_t offset, size_t len, char *out, struct fault *f)
{
    const struct fake_body *body = fake_body_find(s, body_id);
    if (body == NULL || offset > body->len || len > body->len - offset)
        return fault_perm(f, 0, "no such bytes");
    memcpy(out, body->bytes + offset, len);
    return RC_OK;
}

void store_body_ref(struct store *s, uint64_t body_id, uint64_t size)
{
    (void)size;
    struct fake_body *body = fake_body_find(s, body_id);
    must(body != NULL);
    body->refs++;
}

void store_body_unref(struct store *s, uint64_t body_id)
{
    struct fake_body *body = fake_body_find(s, body_id);
    must(body != NULL && body->refs > 0);
    body->refs--;
}

enum rc store_settled(const struct store *s, uint64_t wait) { return wait <= s->applied ? RC_OK : RC_MORE; }

bool store_has_room(const struct store *s, uint64_t size_bytes, struct fault *f)
{
    (void)size_bytes;
    if (s->is_full)
        fault_temp(f, ESC(4, 3, 1), "the test's disk is full");
    return !s->is_full;
}

bool store_has_reserve(const struct store *s, struct fault *f) { return store_has_room(s, 0, f); }

static struct fake_row *row_find(struct store *s, uint64_t key)
{
    for (size_t i = 0; i < s->row_count; i++)
        if (s->rows[i].key == key)
            return &s->rows[i];
    return NULL;
}

enum rc store_rider_put(struct store *s, uint64_t key, struct slice row, struct fault *f)
{
    if (s->save_fails || (s->failing_put > 0 && --s->failing_put == 0))
        return fault_temp(f, 0, "the test says no");
    struct fake_row *r = row_find(s, key);
    if (r == NULL) {
        must(s->row_count < sizeof s->rows / sizeof *s->rows);
        r = &s->rows[s->row_count++];
        *r = (struct fake_row){ .key = key };
    }
    free(r->bytes);
    r->bytes = copy_of(row);
    r->len = row.len;
    return RC_OK;
}

enum rc store_rider_delete(struct store *s, uint64_t key, struct fault *f)
{
    (void)f;
    struct fake_row *r = row_find(s, key);
    if (r == NULL)
        return RC_NONE;
    free(r->bytes);
    *r = s->rows[--s->row_count];
    return RC_OK;
}

enum rc store_rider_delete_range(struct store *s, uint64_t from, uint64_t to, struct fault *f)
{
    for (size_t i = s->row_count; i > 0; i--)
        if (s->rows[i - 1].key >= from && s->rows[i - 1].key < to)
            store_rider_delete(s, s->rows[i - 1].key, f);
    return RC_OK;
}

enum rc store_rider_get(struct store *s, uint64_t key, struct buf *row, struct fault *f)
{
    const struct fake_row *r = row_find(s, key);
    if (r == NULL)
        return fault_none(f, "no such row");
    return buf_append(row, (struct slice){ r->bytes, r->len }) ? RC_OK : fault_no_memory(f);
}

/* Nothing that a test here does dies of a message. */
void store_handling_begin(struct store *s, enum store_handling kind, uint64_t id) { (void)s, (void)kind, (void)id; }
void store_handling_end(struct store *s) { (void)s; }

enum store_handling store_died_handling(const struct store *s, uint64_t *id, uint32_t *deaths)
{
    *id = s->died_of;
    *deaths = s->deaths;
    return s->deaths > 0 ? HANDLING_REPORT : HANDLING_NOTHING;
}
