/* Bits flip at rest in one file of a store that was closed: a segment of the log or state.db. The store opens with everything in it as it
 * was, but for bodies that it says are damaged; or it does not open, names the file and says how to repair it. After the repair it is in
 * order, and what is missing was told. (directory.db is not among the files: doc/durability.md has the exceptions.) */
#include "sim/flips.h"

#include "base/fault.h"
#include "base/text.h"
#include "queue/queue.h"
#include "sim/disk.h"
#include "sim/kernel.h"
#include "sim/node.h"
#include "store/verify.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLIPS_STORE NODE_DATA "/store"
enum { ACCOUNTS = 64, BITS_MAX = 3, CHUNK = 64 << 10 };

struct copy {                   /* a message in a mailbox */
    uint64_t mailbox, modseq, keywords;
    int64_t internal_s;
    uint32_t uid, size, crc;
    uint16_t flags;
    bool is_named, is_damaged;  /* the repair says that it is lost; the store that it cannot be read */
};
struct copies {
    struct copy *rows;
    size_t count, cap;
};

struct round {
    struct flips *flips;
    struct copies was;          /* before the damage */
    char file[64];              /* that was damaged, below the store's folder */
};

/* ---- what is there -------------------------------------------------------------------------------------------------------- */

static struct copy *add_copy(struct copies *copies)
{
    if (copies->count == copies->cap) {
        copies->cap = copies->cap == 0 ? 64 : copies->cap * 2;
        struct copy *rows = realloc(copies->rows, copies->cap * sizeof *rows);
        must(rows != NULL);
        copies->rows = rows;
    }
    return &copies->rows[copies->count++];
}

static bool is_named_damage(const struct fault *fault)
{
    return fault->rc == RC_PERM && strstr(fault->text, "segment") != NULL && strstr(fault->text, "damaged") != NULL;
}

static void take_copy(const struct flips *flips, struct store *store, uint64_t mailbox, const struct store_message *message, struct copies *out)
{
    struct fault fault = { .rc = RC_OK };
    char *bytes = malloc(message->size + 1u);
    must(bytes != NULL);
    struct copy *copy = add_copy(out);
    *copy = (struct copy){ .mailbox = mailbox, .uid = message->uid, .size = message->size, .modseq = message->modseq, .keywords = message->keywords,
                           .internal_s = message->internal_s, .flags = message->flags };
    if (store_read(store, message->body_id, 0, message->size, bytes, &fault) == RC_OK)
        copy->crc = crc32c(0, bytes, message->size);
    else if (is_named_damage(&fault))
        copy->is_damaged = true;
    else
        sim_fail("flips: %s: UID %u cannot be read, and what is damaged is not said: %s", flips->name, message->uid, fault.text);
    free(bytes);
}

static void take_mailbox(const struct flips *flips, struct store *store, uint64_t mailbox, struct copies *out)
{
    struct store_view *view;
    struct fault fault;
    if (store_view_open(store, mailbox, true, &view, &fault) != RC_OK)      /* a parent that is no mailbox any more */
        return;
    for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
        struct store_message message;
        store_view_at(view, seq, &message);
        take_copy(flips, store, mailbox, &message, out);
    }
    store_view_close(view);
}

static void take_all(const struct flips *flips, struct store *store, struct copies *out)
{
    struct store_mailbox_info info;
    char name[MAILBOX_NAME_MAX];
    for (uint64_t account = 1; account <= ACCOUNTS; account++)
        for (struct slice after = SLICE_NONE; store_mailbox_next(store, account, after, &info) == RC_OK;) {
            memcpy(name, info.name.ptr, info.name.len);
            after = (struct slice){ name, info.name.len };
            take_mailbox(flips, store, info.id, out);
        }
}

/* Opens the store as the server does, with its queue, and closes it. */
static enum rc look(const struct flips *flips, struct copies *out, struct fault *fault)
{
    struct queue *queue = queue_new(&(struct queue_options){ .history_days = 1 });
    must(queue != NULL);
    struct store_options options = { .dir = FLIPS_STORE, .files = &file_ops_real, .rider = queue_rider(queue) };
    struct store *store;
    *fault = (struct fault){ .rc = RC_OK };
    enum rc rc = store_open(&options, &store, fault);
    if (rc == RC_OK) {
        queue_attach(queue, store);
        take_all(flips, store, out);
        store_close(store);
    }
    queue_free(queue);
    return rc;
}

/* ---- what is compared ------------------------------------------------------------------------------------------------------- */

static struct copy *find_copy(const struct copies *copies, uint64_t mailbox, uint32_t uid)
{
    for (size_t i = 0; i < copies->count; i++)
        if (copies->rows[i].mailbox == mailbox && copies->rows[i].uid == uid)
            return &copies->rows[i];
    return NULL;
}

static bool is_same(const struct copy *a, const struct copy *b)
{
    return a->size == b->size && a->modseq == b->modseq && a->keywords == b->keywords && a->internal_s == b->internal_s && a->flags == b->flags &&
           (b->is_damaged || a->crc == b->crc);
}

/* Everything that is there now is as it was; what is not there any more was told. */
static void compare(const struct round *round, const struct copies *now, const char *when)
{
    const char *name = round->flips->name;
    for (size_t i = 0; i < now->count; i++) {
        const struct copy *copy = &now->rows[i], *was = find_copy(&round->was, copy->mailbox, copy->uid);
        if (was == NULL)
            sim_fail("flips: %s: %s was damaged, and %s mailbox %" PRIu64 " has UID %u, which was not there", name, round->file, when, copy->mailbox, copy->uid);
        if (!is_same(was, copy))
            sim_fail("flips: %s: %s was damaged, and %s UID %u of mailbox %" PRIu64 " is another message than it was", name, round->file, when, copy->uid,
                     copy->mailbox);
    }
    for (size_t i = 0; i < round->was.count; i++) {
        const struct copy *was = &round->was.rows[i];
        if (!was->is_named && find_copy(now, was->mailbox, was->uid) == NULL)
            sim_fail("flips: %s: %s was damaged, and %s UID %u of mailbox %" PRIu64 " is gone without a word", name, round->file, when, was->uid, was->mailbox);
    }
}

/* ---- damage ------------------------------------------------------------------------------------------------------------------- */

static void choose_file(struct round *round)
{
    char *names;
    size_t count;
    must(disk_list(sim_self_host()->disk, FLIPS_STORE "/log", &names, &count) == 0);
    (void)snprintf(round->file, sizeof round->file, "state.db");
    const char *name = names;
    for (uint64_t left = sim_below(count + 1 + count / 3); left < count && *name != '\0'; name += strlen(name) + 1)
        if (left-- == 0) {
            (void)snprintf(round->file, sizeof round->file, "log/%s", name);
            break;
        }
    disk_list_free(names);
}

/* The byte behind the last that is not 0: a segment is allocated as a whole. */
static uint64_t used_bytes(struct disk *disk, const char *path)
{
    struct disk_file *file;
    uint64_t used = 0;
    char *chunk = malloc(CHUNK);
    must(chunk != NULL && disk_open(disk, path, O_RDONLY, 0, &file) == 0);
    int64_t got;
    for (uint64_t at = 0; (got = disk_read(file, chunk, CHUNK, at)) > 0; at += (uint64_t)got)
        for (int64_t i = got - 1; i >= 0; i--)
            if (chunk[i] != 0) {
                used = at + (uint64_t)i + 1;
                break;
            }
    disk_close(file);
    free(chunk);
    return used;
}

static void damage(struct round *round)
{
    struct disk *disk = sim_self_host()->disk;
    char path[120];
    choose_file(round);
    (void)snprintf(path, sizeof path, FLIPS_STORE "/%s", round->file);
    uint64_t used = used_bytes(disk, path);
    for (uint64_t bits = used > 0 ? 1 + sim_below(BITS_MAX) : 0; bits > 0; bits--) {
        uint64_t at = sim_below(used);
        unsigned bit = (unsigned)sim_below(8);
        must(disk_flip(disk, path, at, bit) == 0);
        round->flips->flipped++;
        sim_trace("fault flips at %s: bit %u of byte %" PRIu64 " of %s", round->flips->name, bit, at, round->file);
    }
}

/* ---- repair --------------------------------------------------------------------------------------------------------------------- */

static bool make_rider(void *arg, struct store_rider *rider)
{
    (void)arg;
    struct queue *queue = queue_new(&(struct queue_options){ .history_days = 1 });
    if (queue != NULL)
        *rider = queue_rider(queue);
    return queue != NULL;
}

static void free_rider(void *arg, struct store_rider *rider)
{
    (void)arg;
    queue_free(rider->self);
}

static void is_lost(void *arg, const struct verify_finding *finding)
{
    struct round *round = arg;
    sim_trace("repair of %s: %s: %.*s at %" PRIu64 ": mailbox %.*s UID %u: %.*s", round->flips->name, verify_kind_name(finding->kind),
              SLICE_ARG(finding->file), finding->offset, SLICE_ARG(finding->mailbox), finding->uid, SLICE_ARG(finding->text));
    struct copy *copy = finding->kind == VERIFY_MESSAGE ? find_copy(&round->was, finding->mailbox_id, finding->uid) : NULL;
    if (copy != NULL)
        copy->is_named = true;
}

static void is_left(void *arg, const struct verify_finding *finding)
{
    const struct round *round = arg;
    sim_fail("flips: %s: %s was damaged and repaired, and verify finds: %s: %.*s at %" PRIu64 ": mailbox %.*s UID %u: %.*s", round->flips->name,
             round->file, verify_kind_name(finding->kind), SLICE_ARG(finding->file), finding->offset, SLICE_ARG(finding->mailbox), finding->uid,
             SLICE_ARG(finding->text));
}

static void repair(struct round *round)
{
    struct fault fault;
    struct repair_figures repaired;
    struct verify_figures figures;
    struct verify_options options = { .dir = FLIPS_STORE, .files = &file_ops_real, .rider = { make_rider, free_rider, NULL }, .found = is_lost,
                                      .arg = round };
    if (store_repair(&options, sim_now_us() / 1000, &repaired, &fault) != RC_OK)
        sim_fail("flips: %s: %s was damaged and cannot be repaired: %s", round->flips->name, round->file, fault.text);
    options.found = is_left;
    if (store_verify(&options, &figures, &fault) != RC_OK)
        sim_fail("flips: %s: %s was repaired and cannot be verified: %s", round->flips->name, round->file, fault.text);
}

/* ---- a round ---------------------------------------------------------------------------------------------------------------------- */

static void must_name(const struct round *round, const struct fault *fault)
{
    bool names_file = strstr(fault->text, round->file) != NULL || strstr(fault->text, "segment") != NULL;
    if (fault->rc != RC_PERM || !names_file || strstr(fault->text, "thurn verify --repair") == NULL)
        sim_fail("flips: %s: %s was damaged, and the store does not open and does not say so: %s", round->flips->name, round->file, fault->text);
}

static void look_at_damaged(struct round *round)
{
    struct copies now = { .count = 0 };
    struct fault fault;
    if (look(round->flips, &now, &fault) == RC_OK) {
        compare(round, &now, "at once");
        for (size_t i = 0; i < now.count; i++)
            round->flips->unreadable += now.rows[i].is_damaged;
    } else {
        must_name(round, &fault);
        round->flips->refused++;
    }
    free(now.rows);
}

static void look_at_repaired(struct round *round)
{
    struct copies now = { .count = 0 };
    struct fault fault;
    if (look(round->flips, &now, &fault) != RC_OK)
        sim_fail("flips: %s: %s was repaired, and the store does not open: %s", round->flips->name, round->file, fault.text);
    compare(round, &now, "after the repair");
    for (size_t i = 0; i < now.count; i++)
        if (now.rows[i].is_damaged)
            sim_fail("flips: %s: %s was repaired, and UID %u cannot be read", round->flips->name, round->file, now.rows[i].uid);
    round->flips->lost += round->was.count - now.count;
    free(now.rows);
}

int flips_main(void *arg)
{
    struct flips *flips = arg;
    for (unsigned i = 0; i < flips->rounds; i++) {
        struct round round = { .flips = flips };
        struct fault fault;
        if (look(flips, &round.was, &fault) != RC_OK)
            sim_fail("flips: the store of %s, which is in order, does not open: %s", flips->name, fault.text);
        damage(&round);
        look_at_damaged(&round);
        repair(&round);
        look_at_repaired(&round);
        free(round.was.rows);
    }
    flips->is_done = true;
    return 0;
}
