/* Verifying: the two looks, reading the log once, and what is told. See verify.h. */
#include "store/verify_inner.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FINDINGS_MAX = 100000, TEXTS_MAX = 256 << 20, TEXT_MAX = 400 };

const char *verify_kind_name(enum verify_kind kind)
{
    static const char *const names[] = {
        [VERIFY_DAMAGE] = "damage", [VERIFY_SEGMENT] = "segment", [VERIFY_MESSAGE] = "message", [VERIFY_KEPT] = "kept", [VERIFY_ENTRY] = "queue",
        [VERIFY_MAILBOX] = "mailbox", [VERIFY_BODY] = "body", [VERIFY_STATE] = "state", [VERIFY_INDEX] = "index", [VERIFY_SNAPSHOT] = "snapshot",
    };
    must((size_t)kind < sizeof names / sizeof names[0]);
    return names[kind];
}

bool verify_make_rider(const struct verify_options *options, struct store_rider *rider)
{
    *rider = (struct store_rider){ 0 };
    return options->rider.make == NULL || options->rider.make(options->rider.arg, rider);
}

void verify_free_rider(const struct verify_options *options, struct store_rider *rider)
{
    if (options->rider.make != NULL && rider->self != NULL)
        options->rider.free(options->rider.arg, rider);
    rider->self = NULL;
}

void verify_init(struct verify *v, const struct verify_options *options)
{
    *v = (struct verify){ .options = options };
    arena_init(&v->findings.texts, TEXTS_MAX);
}

void verify_free(struct verify *v)
{
    store_close(v->store);
    store_close(v->from_log);
    verify_free_rider(v->options, &v->rider);
    verify_free_rider(v->options, &v->log_rider);
    free(v->parts);
    free(v->bad_bodies);
    free(v->damaged);
    free(v->findings.list);
    arena_free(&v->findings.texts);
}

/* ---- findings ------------------------------------------------------------------------------------------------------ */

void verify_place(struct verify *v, uint64_t position, struct verify_finding *f)
{
    f->file = slice_from_str(arena_printf(&v->findings.texts, "log/%016" PRIx64 ".seg", position / v->segment_bytes));
    f->offset = position % v->segment_bytes;
}

void verify_found(struct verify *v, struct verify_finding f, const char *format, ...)
{
    struct verify_findings *all = &v->findings;
    char text[TEXT_MAX];
    if (all->count == FINDINGS_MAX)
        return;
    if (all->count == all->cap) {
        all->cap = all->cap == 0 ? 16 : all->cap * 2;
        all->list = need(realloc(all->list, all->cap * sizeof *all->list));
    }
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f.text = arena_copy(&all->texts, (struct slice){ text, len < (int)sizeof text ? (size_t)len : sizeof text - 1 });
    f.file = arena_copy(&all->texts, f.file);
    f.mailbox = arena_copy(&all->texts, f.mailbox);
    all->list[all->count++] = f;
}

static bool is_same(const struct verify_finding *a, const struct verify_finding *b)
{
    return a->kind == b->kind && slice_equal(a->file, b->file) && a->offset == b->offset && a->account == b->account
        && a->mailbox_id == b->mailbox_id && a->uid == b->uid && a->entry == b->entry;
}

static int finding_order(const void *a, const void *b)
{
    const struct verify_finding *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->mailbox_id != y->mailbox_id)
        return x->mailbox_id < y->mailbox_id ? -1 : 1;
    if (x->uid != y->uid)
        return x->uid < y->uid ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void sort_findings(struct verify_findings *all)
{
    if (all->count > 0)
        qsort(all->list, all->count, sizeof *all->list, finding_order);
}

static bool was_found(const struct verify_findings *all, const struct verify_finding *f)
{
    for (size_t i = 0; i < all->count; i++)
        if (is_same(&all->list[i], f))
            return true;
    return false;
}

/* ---- reading the log --------------------------------------------------------------------------------------------------- */

static void on_record(void *arg, uint64_t position, struct slice payload)
{
    struct verify *v = arg;
    v->figures.records++;
    if (v->store == NULL)
        return;
    verify_part_read(v, position, payload);
    struct store *l = v->from_log;
    if (l != NULL && position >= l->applied_position && position < v->known) {
        if (!apply_record(l, position, payload))
            verify_found(v, (struct verify_finding){ .kind = VERIFY_DAMAGE, .offset = position }, "a record that this version does not know");
        l->applied_position = position + LOG_HEADER_BYTES + payload.len;
        bodies_sweep(l);
    }
}

static void on_damage(void *arg, uint64_t position, uint64_t bytes)
{
    struct verify *v = arg;
    if (v->damaged_count == v->damaged_cap) {
        v->damaged_cap = v->damaged_cap == 0 ? 8 : v->damaged_cap * 2;
        v->damaged = need(realloc(v->damaged, v->damaged_cap * sizeof *v->damaged));
    }
    v->damaged[v->damaged_count++] = (struct verify_range){ position, bytes };
    struct verify_finding f = { .kind = VERIFY_DAMAGE, .bytes = bytes };
    verify_place(v, position, &f);
    verify_found(v, f, "%" PRIu64 " bytes are no records, or their checksums are wrong", bytes);
}

static void on_progress(void *arg, uint64_t bytes)
{
    struct verify *v = arg;
    v->figures.bytes += bytes;
    if (v->options->progress != NULL)
        v->options->progress(v->options->arg, v->figures.bytes, v->total_bytes);
}

/* At the second look only what the first one found something in is read again; what it compared, from there on. */
static bool is_wanted(const struct verify *v, const struct log *log, uint64_t number)
{
    if (v->store != NULL && number < store_first_needed(v->store) && bodies_live(v->store, number) == 0)
        return false;                       /* nothing is needed of it */
    if (v->before == NULL)
        return true;
    char file[40];
    snprintf(file, sizeof file, "log/%016" PRIx64 ".seg", number);
    for (size_t i = 0; i < v->before->count; i++) {
        const struct verify_finding *f = &v->before->list[i];
        if (slice_equal(f->file, slice_from_str(file)))
            return true;
        if (f->kind == VERIFY_INDEX && v->store != NULL && number >= log_segment_of(log, v->store->snapshot.as_of))
            return true;
    }
    return false;
}

static void note_missing(struct verify *v, uint64_t number)
{
    struct verify_finding f = { .kind = VERIFY_SEGMENT };
    verify_place(v, number * log_segment_bytes(v->store->log), &f);
    verify_found(v, f, "the segment is missing");
}

static void look_for_missing(struct verify *v, struct log *log)
{
    size_t at = 0;
    uint64_t number, first = store_first_needed(v->store), last = log_segment_of(log, v->known);
    while (map_next_u64(&v->store->bodies.live, &at, &number) != NULL)
        if (number < first && !log_has_segment(log, number))
            note_missing(v, number);
    if (v->known % log_segment_bytes(log) == 0 && last > 0)
        last--;                             /* the next one may not have been made yet */
    for (number = first; number <= last && v->known > LOG_START; number++)
        if (!log_has_segment(log, number))
            note_missing(v, number);
}

enum rc verify_read_log(struct verify *v, struct log *log, struct fault *fault)
{
    struct log_scan_calls calls = { v, on_record, on_damage, on_progress };
    struct log_scan *scan = log_scan_new(log, &calls);
    if (scan == NULL)
        return fault_no_memory(fault);
    v->segment_bytes = log_segment_bytes(log);
    for (uint64_t n = log_next_segment(log, 0); n != UINT64_MAX; n = log_next_segment(log, n + 1))
        v->total_bytes += is_wanted(v, log, n) ? log_segment_bytes(log) : 0;
    for (uint64_t n = log_next_segment(log, 0); n != UINT64_MAX; n = log_next_segment(log, n + 1)) {
        if (!is_wanted(v, log, n))
            continue;
        struct fault why;
        v->figures.segments++;
        if (log_scan_segment(scan, n, 0, v->known, &why) != RC_OK && v->store != NULL)
            note_missing(v, n);             /* it was there a moment ago: used anew meanwhile, or gone */
    }
    if (v->store != NULL)
        look_for_missing(v, log);
    log_scan_free(scan);
    return RC_OK;
}

/* ---- one look --------------------------------------------------------------------------------------------------------------- */

static void count_row(void *arg, uint64_t key, struct slice row, uint64_t body_id, uint64_t body_size)
{
    (void)key, (void)row, (void)body_id, (void)body_size;
    ++*(uint64_t *)arg;
}

static void count_all(struct verify *v)
{
    v->figures.accounts = v->store->account_count;
    v->figures.mailboxes = v->store->mailbox_count;
    v->figures.messages = v->store->message_count;
    v->figures.bodies = v->store->bodies.count;
    if (v->rider.each != NULL)
        v->rider.each(v->rider.self, count_row, &v->figures.entries);
    int64_t removed_s;
    for (uint64_t id = 0; v->before == NULL && v->options->account != NULL && (id = store_account_after(v->store, id, &removed_s)) != 0;)
        v->options->account(v->options->arg, id, removed_s != 0);
}

/* Without state.db only the records can be looked at. */
static enum rc look_without_state(struct verify *v, struct fault *why, struct fault *fault)
{
    struct log_options options = { .files = v->options->files, .dir = v->options->dir, .segment_bytes = 64ull << 20, .is_read_only = true };
    struct log *log;
    uint64_t bytes;
    verify_found(v, (struct verify_finding){ .kind = VERIFY_STATE, .file = SLICE("state.db") }, "%s", why->text);
    enum rc rc = store_log_open(&options, &log, fault);
    if (rc == RC_OK)
        rc = log_file_bytes(log, &bytes, fault);
    if (rc == RC_OK && bytes != options.segment_bytes && bytes >= LOG_HEADER_BYTES) {
        log_close(log);
        options.segment_bytes = bytes;
        rc = store_log_open(&options, &log, fault);
    }
    if (rc == RC_OK && bytes >= LOG_HEADER_BYTES)
        rc = verify_read_log(v, log, fault);
    log_close(log);
    return rc;
}

static enum rc look(struct verify *v, struct fault *fault)
{
    struct fault why = { 0 };
    if (!verify_make_rider(v->options, &v->rider))
        return fault_no_memory(fault);
    struct store_options options = { .dir = v->options->dir, .files = v->options->files, .rider = v->rider, .is_read_only = true };
    enum rc rc = store_open(&options, &v->store, &why);
    if (rc == RC_TEMP && fault != NULL)
        *fault = why;
    if (rc == RC_TEMP)
        return rc;
    if (rc != RC_OK)
        return look_without_state(v, &why, fault);
    v->known = v->store->applied_position;
    v->segment_bytes = log_segment_bytes(v->store->log);
    count_all(v);
    verify_mailboxes(v);
    verify_database(v);
    verify_gather_parts(v);
    verify_open_from_log(v);
    rc = verify_read_log(v, v->store->log, fault);
    if (rc != RC_OK)
        return rc;
    verify_gather_bad(v);
    verify_references(v);
    verify_compare(v);
    verify_name_messages(v);
    return RC_OK;
}

enum rc store_verify(const struct verify_options *options, struct verify_figures *figures, struct fault *fault)
{
    struct verify first, second;
    verify_init(&first, options);
    verify_init(&second, options);
    enum rc rc = look(&first, fault);
    *figures = first.figures;
    if (rc == RC_OK && first.findings.count > 0) {
        store_close(first.store);           /* it may be large */
        store_close(first.from_log);
        first.store = first.from_log = NULL;
        second.before = &first.findings;
        rc = look(&second, fault);
        sort_findings(&second.findings);
        for (size_t i = 0; i < second.findings.count && rc == RC_OK; i++)
            if (was_found(&first.findings, &second.findings.list[i])) {
                figures->findings++;
                options->found(options->arg, &second.findings.list[i]);
            }
    }
    verify_free(&first);
    verify_free(&second);
    return rc;
}
