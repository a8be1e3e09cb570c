/* Addresses as a person writes them: see addresses.h. */
#include "cli/addresses.h"

/* As typed values, by way of the one parser there is for them. */
static enum rc check_entry(const struct mailbox_entry *entry, const char *text, struct arena *arena, struct address *address, struct fault *f)
{
    struct buf written;
    struct address raw = { .local_part = entry->local_part, .domain = entry->domain };
    if (entry->kind != ENTRY_MAILBOX || entry->domain.len == 0)
        return fault_perm(f, ESC(5, 1, 3), "\"%s\": an address like ann@example.org or Ann <ann@example.org> is possible", text);
    buf_init(&written, PATH_MAX_BYTES * 4);
    enum rc rc = address_write(&raw, &written) ? address_parse(buf_slice(&written), arena, address, f)
                                               : fault_perm(f, ESC(5, 1, 3), "the address is too long");
    if (rc != RC_OK)
        fault_prefix(f, "\"%s\"", text);
    buf_free(&written);
    return rc;
}

enum rc addresses_parse(const char *text, struct arena *arena, struct addresses *list, struct fault *f)
{
    struct mailbox_entry *found;
    size_t count, room = ADDRESSES_MAX - list->count;
    if (address_list_parse(slice_from_str(text), ADDRESSES_MAX + 1, arena, &found, &count) != RC_OK)
        return fault_no_memory(f);
    if (count > room)
        return fault_perm(f, 0, "more than %d addresses", ADDRESSES_MAX);
    struct mailbox_entry *entries = ARENA_ARRAY(arena, struct mailbox_entry, list->count + count + 1);
    struct address *addresses = ARENA_ARRAY(arena, struct address, list->count + count + 1);
    if (entries == NULL || addresses == NULL)
        return fault_no_memory(f);
    if (list->count > 0) {
        memcpy(entries, list->entries, list->count * sizeof(*entries));
        memcpy(addresses, list->addresses, list->count * sizeof(*addresses));
    }
    size_t before = list->count;
    *list = (struct addresses){ .entries = entries, .addresses = addresses, .count = before };
    for (size_t i = 0; i < count; i++) {
        if (found[i].kind == ENTRY_GROUP_START || found[i].kind == ENTRY_GROUP_END)
            continue;
        enum rc rc = check_entry(&found[i], text, arena, &addresses[list->count], f);
        if (rc != RC_OK)
            return rc;
        entries[list->count++] = found[i];
    }
    return list->count > before ? RC_OK : fault_perm(f, 0, "\"%s\" holds no address", text);
}
