/* What the store's tests share: a folder that goes away, opening, and short ways to do what takes a few calls. */
#ifndef THURN_TEST_STORE_SUPPORT_H
#define THURN_TEST_STORE_SUPPORT_H

#include "check.h"
#include "os/file.h"
#include "store/store.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

enum { SEGMENT = 256 << 10 };

static inline void temporary_folder(char path[64])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 64, "%.40s/thurn-XXXXXX", base == NULL ? "/dev/shm" : base);
    if (mkdtemp(path) != NULL)
        return;
    snprintf(path, 64, "/tmp/thurn-XXXXXX");
    if (mkdtemp(path) == NULL)
        abort();
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void remove_folder(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static inline struct store *open_store(const char *dir, uint64_t segment_bytes, struct store_rider rider)
{
    struct store_options options = { .dir = dir, .files = &file_ops_real, .segment_bytes = segment_bytes, .rider = rider, .hash_seed = { 1, 2 } };
    struct store *store;
    struct fault fault = { 0 };
    if (store_open(&options, &store, &fault) != RC_OK) {
        fprintf(stderr, "cannot open: %s\n", fault.text);
        abort();
    }
    return store;
}

static inline struct store_body *body_of(struct store *store, struct slice text)
{
    struct store_body *body = store_body_begin(store);
    struct fault fault = { 0 };
    if (body == NULL || store_body_write(body, text, &fault) != RC_OK) {
        fprintf(stderr, "cannot write a body: %s\n", fault.text);
        abort();
    }
    return body;
}

static inline void make_account(struct store *store, uint64_t account)
{
    uint64_t wait;
    CHECK_INT(store_account_create(store, account, 1700000000, &wait, NULL), RC_OK);
    CHECK_INT(store_wait(store, wait), RC_OK);
}

static inline uint64_t mailbox_id(struct store *store, uint64_t account, const char *name)
{
    struct store_mailbox_info info;
    return store_mailbox_find(store, account, slice_from_str(name), &info) == RC_OK ? info.id : 0;
}

static inline uint32_t append(struct store *store, uint64_t mailbox, struct slice text, uint32_t flags)
{
    uint32_t uid = 0;
    uint64_t wait;
    struct mail_date date = { 1700000000 + (int64_t)text.len, 60 };
    enum rc rc = store_append(store, mailbox, body_of(store, text), date, flags, 0, &uid, &wait, NULL);
    CHECK_INT(rc, RC_OK);
    if (rc == RC_OK)
        CHECK_INT(store_wait(store, wait), RC_OK);
    return uid;
}

static inline void check_body(struct store *store, const struct store_message *m, struct slice want)
{
    char *bytes = malloc(want.len + 1);
    struct fault fault = { 0 };
    CHECK_INT(m->size, want.len);
    if (store_read(store, m->body_id, 0, m->size, bytes, &fault) != RC_OK)
        fprintf(stderr, "read: %s\n", fault.text);
    CHECK_SLICE(((struct slice){ bytes, m->size }), want);
    free(bytes);
}

/* A set written as "1:3,7". */
static inline bool set_is(const struct uid_set *set, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    uid_set_write(set, &out);
    bool is = slice_equal(buf_slice(&out), slice_from_str(want));
    if (!is)
        fprintf(stderr, "set is \"%.*s\", want \"%s\"\n", SLICE_ARG(buf_slice(&out)), want);
    buf_free(&out);
    return is;
}

static inline struct uid_set set_of(const char *text)
{
    struct uid_set set;
    uid_set_init(&set);
    if (uid_set_parse(slice_from_str(text), UINT32_MAX, &set) != RC_OK)
        abort();
    return set;
}

#endif
