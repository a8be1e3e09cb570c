/* Accounts and the names of their mailboxes (RFC 3501 5.1, 6.3.3 to 6.3.7).
 *
 * The upper half is memory, changed when records are applied; the lower half checks what is asked and hands it over.
 * Two changes of names that cross in the log (both handed over before either is visible) are settled when they are
 * applied, in log order: one that finds its name taken or gone does nothing. A name being created is remembered, so that
 * only one of two creations is answered OK. */
#include "store/inner.h"

#include "base/text.h"
#include "store/encode.h"

#include <stdlib.h>

/* ---- memory ---- */

static bool is_inbox(struct slice name) { return slice_equal(name, SLICE("INBOX")); }

/* Bytewise, with INBOX first. */
int name_order(struct slice a, struct slice b)
{
    bool a_inbox = is_inbox(a), b_inbox = is_inbox(b);
    if (a_inbox || b_inbox)
        return (int)b_inbox - (int)a_inbox;
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.ptr, b.ptr, common);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

struct account *account_get(const struct store *store, uint64_t id) { return map_get_u64(&store->accounts, id); }

struct account *account_new(struct store *store, uint64_t id)
{
    struct account *a = need(calloc(1, sizeof *a));
    a->id = id;
    a->is_dirty = true;
    need(map_put_u64(&store->accounts, id, a) ? a : NULL);
    store->account_count++;
    return a;
}

void account_free(struct store *store, struct account *a)
{
    map_remove_u64(&store->accounts, a->id);
    store->account_count--;
    for (size_t i = 0; i < a->subscribed_count; i++)
        name_free(&a->subscribed[i]);
    for (size_t i = 0; i < a->pending_count; i++)
        name_free(&a->pending[i].name);
    free(a->subscribed);
    free(a->pending);
    free(a->mailboxes);
    free(a);
}

/* The first mailbox whose name is not before `name`. */
static size_t find_mailbox(const struct account *a, struct slice name)
{
    size_t low = 0, high = a->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (name_order(name_slice(&a->mailboxes[mid]->name), name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static size_t find_subscribed(const struct account *a, struct slice name)
{
    size_t low = 0, high = a->subscribed_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (name_order(name_slice(&a->subscribed[mid]), name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct mailbox *account_find(const struct account *a, struct slice name)
{
    size_t at = find_mailbox(a, name);
    return at < a->count && slice_equal(name_slice(&a->mailboxes[at]->name), name) ? a->mailboxes[at] : NULL;
}

void account_add_mailbox(struct account *a, struct mailbox *m)
{
    if (a->count == a->cap) {
        a->cap = a->cap == 0 ? 8 : a->cap * 2;
        a->mailboxes = need(realloc(a->mailboxes, a->cap * sizeof *a->mailboxes));
    }
    size_t at = find_mailbox(a, name_slice(&m->name));
    memmove(a->mailboxes + at + 1, a->mailboxes + at, (a->count - at) * sizeof m);
    a->mailboxes[at] = m;
    a->count++;
}

void account_remove_mailbox(struct account *a, struct mailbox *m)
{
    size_t at = find_mailbox(a, name_slice(&m->name));
    must(at < a->count && a->mailboxes[at] == m);
    memmove(a->mailboxes + at, a->mailboxes + at + 1, (a->count - at - 1) * sizeof m);
    a->count--;
}

void account_rename_mailbox(struct account *a, struct mailbox *m, struct slice name)
{
    account_remove_mailbox(a, m);
    name_free(&m->name);
    need(name_set(&m->name, name) ? m : NULL);
    account_add_mailbox(a, m);
}

static bool is_subscribed(const struct account *a, struct slice name)
{
    size_t at = find_subscribed(a, name);
    return at < a->subscribed_count && slice_equal(name_slice(&a->subscribed[at]), name);
}

void account_subscribe(struct account *a, struct slice name, bool on)
{
    if (is_subscribed(a, name) == on)
        return;
    a->is_dirty = true;
    size_t at = find_subscribed(a, name);
    if (!on) {
        name_free(&a->subscribed[at]);
        memmove(a->subscribed + at, a->subscribed + at + 1, (a->subscribed_count - at - 1) * sizeof *a->subscribed);
        a->subscribed_count--;
        return;
    }
    if (a->subscribed_count == a->subscribed_cap) {
        a->subscribed_cap = a->subscribed_cap == 0 ? 8 : a->subscribed_cap * 2;
        a->subscribed = need(realloc(a->subscribed, a->subscribed_cap * sizeof *a->subscribed));
    }
    memmove(a->subscribed + at + 1, a->subscribed + at, (a->subscribed_count - at) * sizeof *a->subscribed);
    a->subscribed[at] = (struct name){ 0 };
    need(name_set(&a->subscribed[at], name) ? a : NULL);
    a->subscribed_count++;
}

/* ---- names ---- */

/* INBOX in its spelling, as a name of its own or as the first level. One separator at the end is taken off: clients put it
 * there to say that there will be children (RFC 3501 6.3.3). */
static struct slice canonical(struct slice name, char buffer[MAILBOX_NAME_MAX + 1])
{
    if (name.len > 1 && name.ptr[name.len - 1] == '/')
        name.len--;
    if (name.len > MAILBOX_NAME_MAX || name.len < 5 || !slice_starts_nocase(name, SLICE("INBOX"))
        || (name.len > 5 && name.ptr[5] != '/'))
        return name;
    memcpy(buffer, name.ptr, name.len);
    memcpy(buffer, "INBOX", 5);
    return (struct slice){ buffer, name.len };
}

static enum rc check_name(struct slice name, struct fault *fault)
{
    if (name.len == 0 || name.len > MAILBOX_NAME_MAX)
        return fault_perm(fault, 0, "a mailbox name has from 1 to %d bytes", MAILBOX_NAME_MAX);
    if (!utf8_is_valid(name))
        return fault_perm(fault, 0, "the mailbox name is not valid UTF-8");
    if (name.ptr[0] == '/' || name.ptr[name.len - 1] == '/' || slice_find(name, SLICE("//")) < name.len)
        return fault_perm(fault, 0, "the mailbox name has an empty level");
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.ptr[i] < ' ' || name.ptr[i] == 0x7f || name.ptr[i] == '*' || name.ptr[i] == '%')
            return fault_perm(fault, 0, "the mailbox name has a control character or a wildcard");
    return RC_OK;
}

/* Children stand together, but not always directly behind their parent ("a", "a-b", "a/c"). `at` is the first one. */
static bool first_child(const struct account *a, struct slice name, size_t *at)
{
    char prefix[MAILBOX_NAME_MAX + 1];
    if (name.len > MAILBOX_NAME_MAX)
        return false;
    memcpy(prefix, name.ptr, name.len);
    prefix[name.len] = '/';
    *at = find_mailbox(a, (struct slice){ prefix, name.len + 1 });
    return *at < a->count && a->mailboxes[*at]->name.len > name.len
        && memcmp(a->mailboxes[*at]->name.bytes, prefix, name.len + 1) == 0;
}

bool account_has_children(const struct account *a, struct slice name)
{
    size_t at;
    return first_child(a, name, &at);
}

static bool is_child(const struct mailbox *m, struct slice parent)
{
    return m->name.len > parent.len && m->name.bytes[parent.len] == '/' && memcmp(m->name.bytes, parent.ptr, parent.len) == 0;
}

static void full_info(const struct store *store, const struct account *a, const struct mailbox *m, struct store_mailbox_info *info)
{
    mailbox_info(store, m, info);
    info->is_subscribed = is_subscribed(a, info->name);
    info->has_children = account_has_children(a, info->name);
}

enum rc store_mailbox_next(const struct store *store, uint64_t account, struct slice after, struct store_mailbox_info *info)
{
    const struct account *a = account_get(store, account);
    if (a == NULL)
        return RC_NONE;
    size_t at = after.len == 0 ? 0 : find_mailbox(a, after), subscribed = after.len == 0 ? 0 : find_subscribed(a, after);
    if (after.len > 0 && at < a->count && slice_equal(name_slice(&a->mailboxes[at]->name), after))
        at++;
    if (after.len > 0 && subscribed < a->subscribed_count && slice_equal(name_slice(&a->subscribed[subscribed]), after))
        subscribed++;
    bool has_mailbox = at < a->count, has_subscribed = subscribed < a->subscribed_count;
    if (!has_mailbox && !has_subscribed)
        return RC_NONE;
    if (has_mailbox && (!has_subscribed || name_order(name_slice(&a->mailboxes[at]->name), name_slice(&a->subscribed[subscribed])) <= 0)) {
        full_info(store, a, a->mailboxes[at], info);
        return RC_OK;
    }
    *info = (struct store_mailbox_info){ .name = name_slice(&a->subscribed[subscribed]), .is_subscribed = true, .is_noselect = true };
    info->has_children = account_has_children(a, info->name);
    return RC_OK;
}

enum rc store_mailbox_find(const struct store *store, uint64_t account, struct slice name, struct store_mailbox_info *info)
{
    char buffer[MAILBOX_NAME_MAX + 1];
    const struct account *a = account_get(store, account);
    const struct mailbox *m = a == NULL ? NULL : account_find(a, canonical(name, buffer));
    if (m == NULL)
        return RC_NONE;
    full_info(store, a, m, info);
    return RC_OK;
}

enum rc store_mailbox_by_id(const struct store *store, uint64_t id, struct store_mailbox_info *info)
{
    const struct mailbox *m = mailbox_get(store, id);
    if (m == NULL)
        return RC_NONE;
    full_info(store, m->account, m, info);
    return RC_OK;
}

bool store_account_exists(const struct store *store, uint64_t account)
{
    const struct account *a = account_get(store, account);
    return a != NULL && !store_is_pending(store, a->delete_wait);
}

/* What has failed meanwhile never comes: it is forgotten when nothing is on its way. */
void account_hand(const struct store *store, struct account *a, uint64_t bytes)
{
    if (!store_is_pending(store, a->handed_wait))
        a->handed_bytes = a->applied_bytes;
    a->handed_bytes += bytes;
    a->handed_wait = store_next_wait(store);
}

enum rc store_account_usage(const struct store *store, uint64_t account, struct store_usage *usage)
{
    const struct account *a = account_get(store, account);
    *usage = (struct store_usage){ 0 };
    if (a == NULL)
        return RC_NONE;
    usage->mailboxes = a->count;
    if (store_is_pending(store, a->handed_wait) && a->handed_bytes > a->applied_bytes)
        usage->coming_bytes = a->handed_bytes - a->applied_bytes;
    for (size_t i = 0; i < a->count; i++) {
        usage->bytes += a->mailboxes[i]->size_bytes;
        usage->messages += a->mailboxes[i]->numbering->total;
    }
    return RC_OK;
}

/* ---- handing over ---- */

static struct account *account_to_change(const struct store *store, uint64_t id, enum rc *rc, struct fault *fault)
{
    struct account *a = account_get(store, id);
    if (a != NULL && store_is_pending(store, a->delete_wait))
        a = NULL;
    *rc = a == NULL ? fault_none(fault, "no such account") : RC_OK;
    return a;
}

/* A re-created mailbox gets another uidvalidity than the one before it (RFC 3501 2.3.1.1). */
static uint32_t next_uidvalidity(struct store *store, int64_t now_s)
{
    uint32_t now = now_s < 1 ? 1 : now_s > UINT32_MAX - 1 ? UINT32_MAX - 1 : (uint32_t)now_s;
    store->reserved_uidvalidity = now > store->reserved_uidvalidity ? now : store->reserved_uidvalidity + 1;
    return store->reserved_uidvalidity;
}

static uint64_t write_create(struct store *store, struct buf *out, uint64_t account, struct slice name,
                             enum store_special special, bool subscribe, int64_t now_s)
{
    uint64_t id = store->reserved_mailbox_id++;
    size_t op = op_begin(out, OP_MAILBOX_CREATE);
    write_u64(out, id);
    write_u64(out, account);
    write_u32(out, next_uidvalidity(store, now_s));
    write_u8(out, (uint8_t)special);
    write_u8(out, subscribe);
    write_string(out, name);
    op_end(out, op);
    return id;
}

enum rc store_account_create(struct store *store, uint64_t account, int64_t now_s, uint64_t *wait, struct fault *fault)
{
    static const struct {
        const char *name;
        enum store_special special;
    } standard[] = {
        { "INBOX", SPECIAL_NONE }, { "Drafts", SPECIAL_DRAFTS }, { "Sent", SPECIAL_SENT },
        { "Archive", SPECIAL_ARCHIVE }, { "Junk", SPECIAL_JUNK }, { "Trash", SPECIAL_TRASH },
    };
    *wait = 0;
    if (store_account_exists(store, account))
        return RC_OK;
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_ACCOUNT_CREATE);
    write_u64(&record->bytes, account);
    op_end(&record->bytes, op);
    for (size_t i = 0; i < sizeof standard / sizeof standard[0]; i++)
        write_create(store, &record->bytes, account, slice_from_str(standard[i].name), standard[i].special, true, now_s);
    return store_hand(store, record, wait, fault);
}

enum rc store_account_delete(struct store *store, uint64_t account, uint64_t *wait, struct fault *fault)
{
    enum rc rc;
    *wait = 0;
    struct account *a = account_to_change(store, account, &rc, fault);
    struct log_record *record = a == NULL ? NULL : store_record(store, fault);
    if (record == NULL)
        return a == NULL ? rc : RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_ACCOUNT_DELETE);
    write_u64(&record->bytes, account);
    op_write_when(&record->bytes, kept_when(store));
    op_end(&record->bytes, op);
    rc = store_hand(store, record, wait, fault);
    if (rc == RC_OK)
        a->delete_wait = *wait;
    return rc;
}

/* ---- names being created ---- */

static void forget_settled(const struct store *store, struct account *a)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->pending_count; i++)
        if (store_is_pending(store, a->pending[i].wait))
            a->pending[kept++] = a->pending[i];
        else
            name_free(&a->pending[i].name);
    a->pending_count = kept;
}

static bool is_being_created(const struct store *store, struct account *a, struct slice name)
{
    forget_settled(store, a);
    for (size_t i = 0; i < a->pending_count; i++)
        if (slice_equal(name_slice(&a->pending[i].name), name))
            return true;
    return false;
}

static void remember_creation(struct account *a, struct slice name, uint64_t wait)
{
    if (a->pending_count == a->pending_cap) {
        a->pending_cap = a->pending_cap == 0 ? 4 : a->pending_cap * 2;
        a->pending = need(realloc(a->pending, a->pending_cap * sizeof *a->pending));
    }
    a->pending[a->pending_count] = (struct pending_name){ .wait = wait };
    if (name_set(&a->pending[a->pending_count].name, name))
        a->pending_count++;
}

static bool can_be_made(const struct store *store, struct account *a, struct slice name)
{
    const struct mailbox *m = account_find(a, name);
    bool is_there = m != NULL && !m->is_noselect && !store_is_pending(store, m->delete_wait);
    return !is_there && !is_being_created(store, a, name);
}

/* Creations of the missing parents of a name. */
static void write_parents(struct store *store, struct buf *out, struct account *a, struct slice name, int64_t now_s)
{
    for (size_t i = 1; i < name.len; i++) {
        struct slice parent = { name.ptr, i };
        if (name.ptr[i] == '/' && account_find(a, parent) == NULL && !is_being_created(store, a, parent))
            write_create(store, out, a->id, parent, SPECIAL_NONE, false, now_s);
    }
}

/* Checks before a name is made; RC_OK: it can be. */
static enum rc check_new_name(const struct store *store, struct account *a, struct slice name, struct fault *fault)
{
    enum rc rc = check_name(name, fault);
    if (rc != RC_OK)
        return rc;
    if (!can_be_made(store, a, name))
        return fault_perm(fault, 0, "there is a mailbox of that name");
    if (a->count + a->pending_count >= MAILBOXES_MAX)
        return fault_perm(fault, ESC(5, 2, 2), "an account has up to %d mailboxes", MAILBOXES_MAX);
    return RC_OK;
}

enum rc store_mailbox_create(struct store *store, uint64_t account, struct slice name, enum store_special special, int64_t now_s,
                             uint64_t *wait, struct fault *fault)
{
    enum rc rc;
    char buffer[MAILBOX_NAME_MAX + 1];
    *wait = 0;
    struct account *a = account_to_change(store, account, &rc, fault);
    if (a == NULL)
        return rc;
    name = canonical(name, buffer);
    if ((rc = check_new_name(store, a, name, fault)) != RC_OK)
        return rc;
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    write_parents(store, &record->bytes, a, name, now_s);
    write_create(store, &record->bytes, account, name, special, false, now_s);
    if ((rc = store_hand(store, record, wait, fault)) == RC_OK)
        remember_creation(a, name, *wait);
    return rc;
}

enum rc store_mailbox_delete(struct store *store, uint64_t account, struct slice name, uint64_t *wait, struct fault *fault)
{
    enum rc rc;
    char buffer[MAILBOX_NAME_MAX + 1];
    *wait = 0;
    struct account *a = account_to_change(store, account, &rc, fault);
    if (a == NULL)
        return rc;
    name = canonical(name, buffer);
    if (is_inbox(name))
        return fault_perm(fault, 0, "INBOX cannot be deleted");        /* RFC 3501 6.3.4 */
    struct mailbox *m = account_find(a, name);
    if (m == NULL || store_is_pending(store, m->delete_wait))
        return fault_none(fault, "no such mailbox");
    bool has_children = account_has_children(a, name);
    if (has_children && m->is_noselect)
        return fault_perm(fault, 0, "the mailbox has mailboxes below it");
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_MAILBOX_DELETE);
    write_u64(&record->bytes, m->id);
    write_u8(&record->bytes, has_children);
    op_write_when(&record->bytes, kept_when(store));
    op_end(&record->bytes, op);
    if ((rc = store_hand(store, record, wait, fault)) == RC_OK)
        m->delete_wait = m->change_wait = *wait;
    return rc;
}

static void write_rename(struct buf *out, uint64_t id, struct slice to, struct slice rest)
{
    size_t op = op_begin(out, OP_MAILBOX_RENAME);
    write_u64(out, id);
    write_u32(out, (uint32_t)(to.len + rest.len));
    buf_append(out, to);
    buf_append(out, rest);
    op_end(out, op);
}

/* INBOX stays and is empty; its messages are in the new mailbox, its children stay where they are (RFC 3501 6.3.5). */
static enum rc rename_inbox(struct store *store, struct account *a, struct mailbox *inbox, struct slice to, int64_t now_s,
                            uint64_t *wait, struct fault *fault)
{
    struct uid_set everything;
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    uid_set_init(&everything);
    struct buf *out = &record->bytes;
    write_parents(store, out, a, to, now_s);
    uint64_t id = write_create(store, out, a->id, to, SPECIAL_NONE, false, now_s);
    for (uint32_t bit = 0; inbox->keywords != NULL && bit < KEYWORDS_MAX; bit++) {
        if (inbox->keywords[bit].name.bytes == NULL)
            continue;
        size_t op = op_begin(out, OP_KEYWORD);
        write_u64(out, id);
        write_u32(out, bit);
        write_string(out, name_slice(&inbox->keywords[bit].name));
        op_end(out, op);
    }
    if (inbox->reserved_uid > 1 && !uid_set_add(&everything, 1, inbox->reserved_uid - 1))
        out->overflow = true;
    size_t op = op_begin(out, OP_COPY);
    write_u64(out, inbox->id);
    write_u64(out, id);
    write_u32(out, 1);
    write_u64(out, 2);
    write_u64(out, ++inbox->reserved_modseq);
    op_write_ranges(out, &everything);
    op_write_when(out, kept_when(store));
    op_end(out, op);
    uid_set_free(&everything);
    enum rc rc = store_hand(store, record, wait, fault);
    if (rc == RC_OK)
        inbox->change_wait = *wait;
    return rc;
}

/* The new names of a mailbox and of everything below it. */
static enum rc write_renames(struct buf *out, const struct account *a, const struct mailbox *m, struct slice to, struct fault *fault)
{
    struct slice from = name_slice(&m->name);
    size_t at;
    write_rename(out, m->id, to, SLICE_NONE);
    if (!first_child(a, from, &at))
        return RC_OK;
    for (; at < a->count && is_child(a->mailboxes[at], from); at++) {
        struct slice name = name_slice(&a->mailboxes[at]->name), rest = slice_sub(name, from.len, SIZE_MAX);
        if (to.len + rest.len > MAILBOX_NAME_MAX)
            return fault_perm(fault, 0, "the name of a mailbox below it would be longer than %d bytes", MAILBOX_NAME_MAX);
        write_rename(out, a->mailboxes[at]->id, to, rest);
    }
    return RC_OK;
}

enum rc store_mailbox_rename(struct store *store, uint64_t account, struct slice from, struct slice to, int64_t now_s,
                             uint64_t *wait, struct fault *fault)
{
    enum rc rc;
    char from_buffer[MAILBOX_NAME_MAX + 1], to_buffer[MAILBOX_NAME_MAX + 1];
    *wait = 0;
    struct account *a = account_to_change(store, account, &rc, fault);
    if (a == NULL)
        return rc;
    from = canonical(from, from_buffer);
    to = canonical(to, to_buffer);
    struct mailbox *m = account_find(a, from);
    if (m == NULL || store_is_pending(store, m->delete_wait))
        return fault_none(fault, "no such mailbox");
    if ((rc = check_new_name(store, a, to, fault)) != RC_OK)
        return rc;
    if (account_find(a, to) != NULL)
        return fault_perm(fault, 0, "there is a mailbox of that name");
    if (is_inbox(from)) {
        rc = rename_inbox(store, a, m, to, now_s, wait, fault);
    } else {
        if (to.len > from.len && to.ptr[from.len] == '/' && memcmp(to.ptr, from.ptr, from.len) == 0)
            return fault_perm(fault, 0, "a mailbox cannot be moved below itself");
        struct log_record *record = store_record(store, fault);
        if (record == NULL)
            return RC_TEMP;
        write_parents(store, &record->bytes, a, to, now_s);
        if ((rc = write_renames(&record->bytes, a, m, to, fault)) != RC_OK) {
            log_record_free(record);
            return rc;
        }
        rc = store_hand(store, record, wait, fault);
    }
    if (rc == RC_OK)
        remember_creation(a, to, *wait);
    return rc;
}

enum rc store_subscribe(struct store *store, uint64_t account, struct slice name, bool on, uint64_t *wait, struct fault *fault)
{
    enum rc rc;
    char buffer[MAILBOX_NAME_MAX + 1];
    *wait = 0;
    struct account *a = account_to_change(store, account, &rc, fault);
    if (a == NULL)
        return rc;
    name = canonical(name, buffer);
    if ((rc = check_name(name, fault)) != RC_OK)
        return rc;
    if (on && a->subscribed_count >= MAILBOXES_MAX)
        return fault_perm(fault, ESC(5, 2, 2), "an account has up to %d subscriptions", MAILBOXES_MAX);
    struct log_record *record = store_record(store, fault);
    if (record == NULL)
        return RC_TEMP;
    size_t op = op_begin(&record->bytes, OP_SUBSCRIBE);
    write_u64(&record->bytes, account);
    write_u8(&record->bytes, on);
    write_string(&record->bytes, name);
    op_end(&record->bytes, op);
    return store_hand(store, record, wait, fault);
}
