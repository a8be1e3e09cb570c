/* Import into and export from the store of this machine, without a server: see archive.h.
 *
 * Whoever is root here is not the role that will read these files afterwards: what was made is given to the owner of the
 * folder. */
#include "cli/archive.h"

#include "cli/owner.h"
#include "config/config.h"
#include "config/directory.h"
#include "queue/queue.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    IN_FLIGHT_MAX = 512,                    /* messages handed to the store and not yet on stable storage */
    IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024,
    POLL_EVERY = 64,                        /* messages between the store's background work */
};

/* ---- opening ------------------------------------------------------------------------------------------------------- */

struct finding {
    struct slice name;
    uint64_t id;
};

static bool on_account(void *arg, const struct directory_account *account)
{
    struct finding *finding = arg;
    if (slice_equal_nocase(account->name, finding->name))
        finding->id = account->id;
    return finding->id == 0;
}

static enum rc find_account(const char *data_dir, const char *name, uint64_t *id, struct fault *f)
{
    char folder[4096];
    struct directory *directory;
    struct finding finding = { .name = slice_from_str(name) };
    snprintf(folder, sizeof(folder), "%s/directory", data_dir);
    if (access(folder, F_OK) != 0)
        return fault_errno(f, errno, "%s", folder);
    enum rc rc = directory_open(folder, &directory, f);
    if (rc != RC_OK)
        return rc;
    rc = directory_each_account(directory, on_account, &finding, f);
    directory_close(directory);
    *id = finding.id;
    return rc != RC_OK ? rc : *id != 0 ? RC_OK : fault_perm(f, 0, "%s: no such account (thurn account list shows them)", name);
}

static enum rc open_in(const char *data_dir, bool is_read_only, struct archive_store *archive, struct fault *f)
{
    struct queue_options queue_options = { .history_days = 30 };
    archive->queue = queue_new(&queue_options);
    if (archive->queue == NULL)
        return fault_no_memory(f);
    snprintf(archive->folder, sizeof(archive->folder), "%s/store", data_dir);
    struct store_options options = {
        .dir = archive->folder, .files = &file_ops_real, .rider = queue_rider(archive->queue), .is_read_only = is_read_only,
    };
    enum rc rc = store_open(&options, &archive->store, f);
    if (rc != RC_OK)
        return rc;
    queue_attach(archive->queue, archive->store);
    return RC_OK;
}

static enum rc open_data(const char *data_dir, const char *account, bool is_read_only, struct archive_store *archive, struct fault *f)
{
    *archive = (struct archive_store){ .store = NULL };
    enum rc rc = find_account(data_dir, account, &archive->account, f);
    if (rc == RC_OK)
        rc = open_in(data_dir, is_read_only, archive, f);
    if (rc == RC_OK && is_read_only && !store_account_exists(archive->store, archive->account))
        rc = fault_perm(f, 0, "%s: this account has no mailboxes yet", account);
    uint64_t wait;
    if (rc == RC_OK && !is_read_only) {
        rc = store_account_create(archive->store, archive->account, time(NULL), &wait, f);
        if (rc == RC_OK && store_wait(archive->store, wait) != RC_OK)
            rc = fault_temp(f, 0, "the account's mailboxes cannot be made");
    }
    if (rc != RC_OK)
        archive_store_close(archive);
    return rc;
}

enum rc archive_store_open(const char *config_path, const char *account, bool is_read_only, struct archive_store *archive, struct fault *f)
{
    struct config config;
    enum rc rc = config_load(config_path, &config, f);
    if (rc == RC_OK)
        rc = open_data(config.data_dir, account, is_read_only, archive, f);
    config_free(&config);
    return rc;
}

void archive_store_close(struct archive_store *archive)
{
    if (archive->store != NULL) {
        store_close(archive->store);
        owner_hand_over(archive->folder);
    }
    if (archive->queue != NULL)
        queue_free(archive->queue);
    archive->store = NULL;
    archive->queue = NULL;
}

/* ---- import --------------------------------------------------------------------------------------------------------- */

struct in_flight {
    uint64_t ticket, wait, bytes;
};

struct store_sink {
    struct archive_store archive;
    struct archive_fates fates;
    uint64_t mailbox_id;
    struct in_flight ring[IN_FLIGHT_MAX];
    size_t first, count;
    uint64_t bytes, added;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum rc settle_first(struct store_sink *sink, struct fault *f)
{
    struct in_flight *oldest = &sink->ring[sink->first];
    enum rc rc = store_wait(sink->archive.store, oldest->wait);
    sink->first = (sink->first + 1) % IN_FLIGHT_MAX;
    sink->count--;
    sink->bytes -= oldest->bytes;
    sink->fates.settled(sink->fates.arg, oldest->ticket, rc == RC_OK, "it could not be written");
    return rc == RC_OK ? RC_OK : fault_temp(f, 0, "%s: writing failed: is the disk full?", sink->archive.folder);
}

static enum rc finish(void *self, struct fault *f)
{
    struct store_sink *sink = self;
    enum rc rc = RC_OK;
    while (sink->count > 0) {
        enum rc settled = settle_first(sink, f);
        rc = rc == RC_OK ? settled : rc;
    }
    return rc;
}

static enum rc open_folder(void *self, struct slice name, bool is_subscribed, struct fault *f)
{
    struct store_sink *sink = self;
    struct store *store = sink->archive.store;
    struct store_mailbox_info *info = &sink->archive.info;
    uint64_t wait;
    enum rc rc = finish(sink, f);
    if (rc != RC_OK)
        return rc;
    rc = store_mailbox_find(store, sink->archive.account, name, info);
    if (rc == RC_NONE || (rc == RC_OK && info->is_noselect)) {
        rc = store_mailbox_create(store, sink->archive.account, name, SPECIAL_NONE, time(NULL), &wait, f);
        if (rc == RC_OK && store_wait(store, wait) != RC_OK)
            rc = fault_temp(f, 0, "%s: writing failed: is the disk full?", sink->archive.folder);
        if (rc == RC_OK)
            rc = store_mailbox_find(store, sink->archive.account, name, info);
    }
    if (rc != RC_OK)
        return rc;
    sink->mailbox_id = info->id;
    if (!is_subscribed || info->is_subscribed)
        return RC_OK;
    rc = store_subscribe(store, sink->archive.account, name, true, &wait, f);
    return rc == RC_OK ? store_wait(store, wait) : rc;
}

static enum rc keyword_bits(struct store_sink *sink, const struct archive_item *item, uint64_t *bits)
{
    *bits = 0;
    for (size_t i = 0; i < item->keyword_count; i++) {
        uint32_t bit;
        uint64_t wait;
        enum rc rc = store_keyword(sink->archive.store, sink->mailbox_id, item->keywords[i], true, &bit, &wait, NULL);
        if (rc == RC_OK)
            *bits |= UINT64_C(1) << bit;
    }
    return RC_OK;
}

static enum rc append(struct store_sink *sink, const struct archive_item *item, uint64_t ticket, struct fault *f)
{
    struct store *store = sink->archive.store;
    struct fault why = { .rc = RC_OK };
    struct mail_date date = item->has_date ? item->date : (struct mail_date){ .unix_s = time(NULL) };
    uint64_t keywords, wait;
    uint32_t uid;
    struct store_body *body = store_body_begin(store);
    if (body == NULL)
        return fault_no_memory(f);
    enum rc rc = store_body_write(body, item->bytes, f);
    if (rc != RC_OK) {
        store_body_abandon(body);
        return rc;
    }
    keyword_bits(sink, item, &keywords);
    rc = store_append(store, sink->mailbox_id, body, date, item->flags, keywords, &uid, &wait, &why);
    if (rc == RC_PERM) {
        sink->fates.settled(sink->fates.arg, ticket, false, why.text);
        return RC_OK;
    }
    if (rc != RC_OK) {
        *f = why;
        return rc;
    }
    size_t place = (sink->first + sink->count++) % IN_FLIGHT_MAX;
    sink->ring[place] = (struct in_flight){ .ticket = ticket, .wait = wait, .bytes = item->bytes.len };
    sink->bytes += item->bytes.len;
    return RC_OK;
}

static enum rc add(void *self, const struct archive_item *item, uint64_t ticket, struct fault *f)
{
    struct store_sink *sink = self;
    enum rc rc = store_has_room(sink->archive.store, item->bytes.len, f) ? RC_OK : RC_TEMP;
    while (rc == RC_OK && (sink->count == IN_FLIGHT_MAX || (sink->count > 0 && sink->bytes + item->bytes.len > IN_FLIGHT_BYTES_MAX)))
        rc = settle_first(sink, f);
    if (rc == RC_OK)
        rc = append(sink, item, ticket, f);
    if (++sink->added % POLL_EVERY == 0)
        (void)store_poll(sink->archive.store, now_ms());
    return rc;
}

static void close_sink(void *self)
{
    struct store_sink *sink = self;
    archive_store_close(&sink->archive);
    free(sink);
}

enum rc archive_sink_store(const char *config_path, const char *account, const struct archive_fates *fates, struct archive_sink *out, struct fault *f)
{
    struct store_sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL)
        return fault_no_memory(f);
    sink->fates = *fates;
    enum rc rc = archive_store_open(config_path, account, false, &sink->archive, f);
    if (rc != RC_OK) {
        free(sink);
        return rc;
    }
    *out = (struct archive_sink){ .self = sink, .open_folder = open_folder, .add = add, .finish = finish, .close = close_sink };
    return RC_OK;
}

/* ---- export --------------------------------------------------------------------------------------------------------- */

static enum rc each_folder(void *self, bool (*each)(void *, const struct archive_folder *), void *arg, struct fault *f)
{
    struct archive_store *archive = self;
    char name[MAILBOX_NAME_MAX];
    size_t len = 0;
    (void)f;
    while (store_mailbox_next(archive->store, archive->account, (struct slice){ name, len }, &archive->info) == RC_OK) {
        len = archive->info.name.len < sizeof(name) ? archive->info.name.len : sizeof(name);
        memcpy(name, archive->info.name.ptr, len);
        struct archive_folder folder = {
            .name = { name, len }, .is_subscribed = archive->info.is_subscribed, .is_selectable = !archive->info.is_noselect,
        };
        if (!each(arg, &folder))
            return RC_PERM;
    }
    return RC_OK;
}

static enum rc read_message(struct archive_store *archive, struct store_view *view, uint32_t seq, struct buf *bytes, struct archive_item *item,
                            struct fault *f)
{
    struct store_message message;
    store_view_at(view, seq, &message);
    buf_clear(bytes);
    char *to = buf_reserve(bytes, message.size);
    if (to == NULL)
        return fault_no_memory(f);
    enum rc rc = message.size > 0 ? store_read(archive->store, message.body_id, 0, message.size, to, f) : RC_OK;
    if (rc != RC_OK)
        return rc;
    buf_commit(bytes, message.size);
    *item = (struct archive_item){
        .bytes = buf_slice(bytes), .date = { message.internal_s, message.internal_zone_min }, .has_date = true,
        .flags = message.flags, .uid = message.uid,
    };
    for (size_t bit = 0; bit < archive->info.keyword_count; bit++) {
        if (message.keywords >> bit & 1 && archive->info.keywords[bit].len > 0)
            item->keywords[item->keyword_count++] = archive->info.keywords[bit];
    }
    return RC_OK;
}

/* The slices of info live until the next store call that changes something: reading bodies changes nothing. */
static enum rc each_message(void *self, struct slice folder, bool (*each)(void *, const struct archive_item *), void *arg, struct fault *f)
{
    struct archive_store *archive = self;
    struct store_view *view;
    struct buf bytes;
    enum rc rc = store_mailbox_find(archive->store, archive->account, folder, &archive->info);
    if (rc == RC_OK)
        rc = store_view_open(archive->store, archive->info.id, true, &view, f);
    if (rc != RC_OK)
        return rc == RC_NONE ? fault_perm(f, 0, "%.*s: no such folder", SLICE_ARG(slice_sub(folder, 0, 200))) : rc;
    buf_init(&bytes, UINT32_MAX);
    for (uint32_t seq = 1; seq <= store_view_count(view) && rc == RC_OK; seq++) {
        struct archive_item *item = calloc(1, sizeof(*item));
        rc = item == NULL ? fault_no_memory(f) : read_message(archive, view, seq, &bytes, item, f);
        if (rc == RC_OK && !each(arg, item))
            rc = RC_PERM;
        free(item);
    }
    buf_free(&bytes);
    store_view_close(view);
    return rc;
}

static void close_source(void *self)
{
    archive_store_close(self);
    free(self);
}

static enum rc open_source(const char *config_path, const char *data_dir, const char *account, struct archive_source *out, struct fault *f)
{
    struct archive_store *archive = calloc(1, sizeof(*archive));
    if (archive == NULL)
        return fault_no_memory(f);
    enum rc rc = data_dir != NULL ? open_data(data_dir, account, true, archive, f) : archive_store_open(config_path, account, true, archive, f);
    if (rc != RC_OK) {
        free(archive);
        return rc;
    }
    *out = (struct archive_source){ .self = archive, .each_folder = each_folder, .each_message = each_message, .close = close_source };
    return RC_OK;
}

enum rc archive_source_store(const char *config_path, const char *account, struct archive_source *out, struct fault *f)
{
    return open_source(config_path, NULL, account, out, f);
}

enum rc archive_source_folder(const char *data_dir, const char *account, struct archive_source *out, struct fault *f)
{
    return open_source(NULL, data_dir, account, out, f);
}
