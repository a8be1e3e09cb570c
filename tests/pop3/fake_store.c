/* See fake_store.h. */
#include "fake_store.h"

#include <stdlib.h>

struct store_view {
    struct store *store;
    uint32_t count;
    uint32_t uids[FAKE_MESSAGES_MAX];
};


void fake_store_init(struct store *store)
{
    *store = (struct store){ .reads_left = 1000000, .read_rc = RC_TEMP };
}

void fake_store_add(struct store *store, struct slice message)
{
    must(store->count < FAKE_MESSAGES_MAX);
    store->messages[store->count++] = message;
}

enum rc store_mailbox_find(const struct store *store, uint64_t account, struct slice name, struct store_mailbox_info *info)
{
    *info = (struct store_mailbox_info){ .id = 7, .name = name, .uidvalidity = 1234 };
    return account == 1 ? store->find_rc : RC_NONE;
}

enum rc store_view_open(struct store *store, uint64_t mailbox_id, bool is_read_only, struct store_view **out, struct fault *f)
{
    must(mailbox_id == 7);
    if (store->open_rc != RC_OK)
        return store->open_rc == RC_TEMP ? fault_temp(f, 0, "the disk is away") : fault_perm(f, 0, "the mailbox is broken");
    struct store_view *view = calloc(1, sizeof(*view));
    must(view != NULL);
    view->store = store;
    for (uint32_t i = 0; i < store->count; i++) {
        if (!store->is_expunged[i])
            view->uids[view->count++] = i + 1;
    }
    store->views++;
    store->view_is_read_only = is_read_only;
    *out = view;
    return RC_OK;
}

void store_view_close(struct store_view *view)
{
    view->store->views--;
    free(view);
}

uint32_t store_view_count(const struct store_view *view) { return view->count; }

void store_view_at(const struct store_view *view, uint32_t seq, struct store_message *message)
{
    must(seq >= 1 && seq <= view->count);
    uint32_t uid = view->uids[seq - 1];
    *message = (struct store_message){
        .uid = uid, .body_id = uid, .size = (uint32_t)view->store->messages[uid - 1].len, .modseq = 1,
    };
}

enum rc store_read(struct store *store, uint64_t body_id, uint64_t offset, size_t len, char *out, struct fault *f)
{
    must(body_id >= 1 && body_id <= store->count);
    struct slice message = store->messages[body_id - 1];
    must(offset <= message.len && len <= message.len - offset);
    if (store->reads_left == 0)
        return store->read_rc == RC_TEMP ? fault_temp(f, 0, "read error") : fault_perm(f, 0, "message 1 is damaged");
    store->reads_left--;
    memcpy(out, message.ptr + offset, len);
    return RC_OK;
}

enum rc store_expunge(struct store *store, uint64_t mailbox_id, const struct uid_set *uids, bool any, struct uid_set *expunged,
                      uint64_t *wait, struct fault *f)
{
    must(mailbox_id == 7 && any);
    if (store->expunge_rc != RC_OK)
        return fault_temp(f, 0, "disk full");
    for (uint32_t i = 0; i < store->count; i++) {
        if (!store->is_expunged[i] && uid_set_contains(uids, i + 1)) {
            store->is_expunged[i] = true;
            uid_set_add(expunged, i + 1, i + 1);
        }
    }
    *wait = 42;
    return RC_OK;
}
