/* Records of the log: any bytes, applied to a store in memory, twice with the same result (S8). */
#include "fuzz.h"

#include "base/text.h"
#include "store/inner.h"

#include <stdlib.h>

static int list_nothing(void *self, const char *dir, void (*each)(void *arg, const char *name), void *arg)
{
    (void)self, (void)dir, (void)each, (void)arg;
    return 0;
}

static void open_bare(struct store *store, const struct file_ops *files)
{
    *store = (struct store){ .lock_fd = -1, .reserved_mailbox_id = 1 };
    struct log_options options = { .files = files, .dir = "/nowhere", .segment_bytes = 1 << 20, .is_read_only = true };
    must(store_log_open(&options, &store->log, NULL) == RC_OK);
    map_init(&store->accounts, NULL);
    map_init(&store->mailboxes, NULL);
    bodies_init(&store->bodies);
    list_init(&store->bodies_handed);
    list_init(&store->pokes);
    list_init(&store->changed);
    list_init(&store->dirty);
    list_init(&store->saving);
}

static void close_bare(struct store *store)
{
    size_t at = 0;
    uint64_t key;
    for (struct mailbox *m; (m = map_next_u64(&store->mailboxes, &at, &key)) != NULL;)
        mailbox_free(store, m);
    at = 0;
    for (struct account *a; (a = map_next_u64(&store->accounts, &at, &key)) != NULL;)
        account_free(store, a);
    map_free(&store->mailboxes);
    map_free(&store->accounts);
    bodies_free(&store->bodies);
    log_close(store->log);
    free(store->dropped_mailboxes);
    free(store->dropped_accounts);
}

/* Every byte after 0xff 0xfe begins another record. */
static uint32_t apply_all(struct slice in, const struct file_ops *files)
{
    struct store store;
    uint32_t sum = 0;
    open_bare(&store, files);
    for (uint64_t position = LOG_START; in.len > 0; position += 1000) {
        size_t end = slice_find(in, SLICE("\xff\xfe"));
        struct slice record = slice_take(&in, end);
        (void)slice_take(&in, 2);
        bool ok = apply_record(&store, position, record);
        bodies_sweep(&store);
        sum = crc32c(sum, &ok, sizeof ok);
    }
    struct store_mailbox_info info;
    for (uint64_t id = 0; id < 64; id++)
        if (store_mailbox_by_id(&store, id, &info) == RC_OK) {
            sum = crc32c(sum, &info.uidnext, sizeof info.uidnext);
            sum = crc32c(sum, &info.messages, sizeof info.messages);
            sum = crc32c(sum, &info.unseen, sizeof info.unseen);
            sum = crc32c(sum, &info.highest_modseq, sizeof info.highest_modseq);
            must(info.unseen <= info.messages && info.messages < info.uidnext);
        }
    sum = crc32c(sum, &store.message_count, sizeof store.message_count);
    views_poke(&store);
    close_bare(&store);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct file_ops files = { .list = list_nothing };
    struct slice in = { (const char *)data, size };
    must(apply_all(in, &files) == apply_all(in, &files));
    return 0;
}
