/* The ledger of the mailboxes: the counters of apply.c to and from the checkpoint, the balance, and a walk that names what is
 * missing. See store.h.
 *
 * The counters and what is present are counted by different means: the counters from what records say and from rows that were
 * let go, what is present from the numberings as they are. So a row that gets lost anywhere (a run that a checkpoint forgot,
 * a message that found no mailbox, a move that took more than it put) shows as a difference. */
#include "store/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- counters ---- */

static const struct {
    const char *key;
    size_t offset;
} counters[] = {
    { "ledger_brought", offsetof(struct store_ledger, brought) },
    { "ledger_delivered", offsetof(struct store_ledger, delivered) },
    { "ledger_appended", offsetof(struct store_ledger, appended) },
    { "ledger_copied", offsetof(struct store_ledger, copied) },
    { "ledger_expunged", offsetof(struct store_ledger, expunged) },
    { "ledger_removed", offsetof(struct store_ledger, removed) },
};

static uint64_t *counter(struct store *store, size_t i)
{
    return (uint64_t *)(void *)((char *)&store->ledger + counters[i].offset);
}

bool ledger_save(struct store *store)
{
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof counters / sizeof counters[0]; i++)
        ok = checkpoint_put_meta(store->checkpoint, counters[i].key, *counter(store, i));
    return ok;
}

/* A checkpoint without counters: of an older version, or of a store that is new. */
void ledger_load(struct store *store)
{
    store->ledger = (struct store_ledger){ 0 };
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        if (!checkpoint_get_meta(store->checkpoint, counters[i].key, counter(store, i))) {
            store->ledger = (struct store_ledger){ .brought = store->message_count };
            return;
        }
}

void store_ledger(const struct store *store, struct store_ledger *out)
{
    size_t at = 0;
    uint64_t id;
    *out = store->ledger;
    out->present = 0;
    for (const struct mailbox *m; (m = map_next_u64(&store->mailboxes, &at, &id)) != NULL;)
        out->present += m->numbering->total;
}

int64_t store_ledger_missing(const struct store_ledger *l)
{
    return (int64_t)(l->brought + l->delivered + l->appended + l->copied - l->expunged - l->removed - l->present);
}

/* ---- one message ---- */

/* The newest are asked for most. */
static bool has_vanished(const struct mailbox *m, uint32_t uid)
{
    for (size_t i = m->vanished_count; i-- > 0;)
        if (uid >= m->vanished[i].first && uid <= m->vanished[i].last)
            return true;
    return false;
}

enum store_fate store_message_fate(const struct store *store, uint64_t mailbox_id, uint32_t uid)
{
    const struct mailbox *m = mailbox_get(store, mailbox_id);
    if (m == NULL || m->is_noselect)
        return FATE_MAILBOX_GONE;
    if (numbering_find(m->numbering, uid, NULL) != NULL)
        return FATE_PRESENT;
    return has_vanished(m, uid) ? FATE_EXPUNGED : FATE_MISSING;
}

/* ---- the walk ---- */

struct store_walk {
    struct store *store;
    void (*found)(void *arg, const struct store_finding *);
    void *arg;
    uint64_t *mailboxes;            /* ids */
    size_t mailbox_count, at;
    uint32_t next_uid;              /* in that mailbox; 0: it has not been begun */
    bool looks_for_gaps;
    struct map segments;            /* number -> is_there or is_gone */
};

static char is_there[1], is_gone[1];

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

struct store_walk *store_walk_new(struct store *store, void (*found)(void *arg, const struct store_finding *), void *arg)
{
    struct store_walk *w = calloc(1, sizeof *w);
    if (w == NULL || (w->mailboxes = malloc((store->mailbox_count + 1) * sizeof *w->mailboxes)) == NULL) {
        free(w);
        return NULL;
    }
    w->store = store;
    w->found = found;
    w->arg = arg;
    map_init(&w->segments, NULL);
    size_t at = 0;
    uint64_t id;
    while (map_next_u64(&store->mailboxes, &at, &id) != NULL)
        w->mailboxes[w->mailbox_count++] = id;
    qsort(w->mailboxes, w->mailbox_count, sizeof *w->mailboxes, by_number);
    struct store_ledger ledger;
    store_ledger(store, &ledger);
    w->looks_for_gaps = store_ledger_missing(&ledger) != 0;
    return w;
}

void store_walk_free(struct store_walk *w)
{
    if (w == NULL)
        return;
    map_free(&w->segments);
    free(w->mailboxes);
    free(w);
}

/* The log's own list does not know of a file that somebody else took away. */
static bool segment_is_on_disk(const struct store_walk *w, uint64_t number)
{
    const struct file_ops *f = w->store->options.files;
    char path[LOG_PATH_MAX + 48];
    snprintf(path, sizeof path, "%s/log/%016" PRIx64 ".seg", w->store->dir, number);
    int fd = f->open(f->self, path, false, true);
    if (fd >= 0)
        f->close(f->self, fd);
    return fd != -ENOENT;
}

static bool has_segment(struct store_walk *w, uint64_t number)
{
    const char *known = map_get_u64(&w->segments, number);
    if (known == NULL) {
        bool is = log_has_segment(w->store->log, number) && segment_is_on_disk(w, number);
        known = is ? is_there : is_gone;
        (void)map_put_u64(&w->segments, number, is ? is_there : is_gone);       /* else it is asked again */
    }
    /* One that was found may have been recycled since, with what is alive in it moved. */
    return known == is_there && log_has_segment(w->store->log, number);
}

bool store_walk_has_body(struct store_walk *w, uint64_t body_id)
{
    uint32_t size;
    const struct placed *p;
    const struct log *log = w->store->log;
    if (!body_places(w->store, body_id, &size, &p))
        return false;
    if (p == NULL)
        return has_segment(w, log_segment_of(log, body_id));
    for (uint32_t i = 0; i < p->count; i++)
        if (!has_segment(w, log_segment_of(log, p->positions[i])))
            return false;
    return true;
}

static void tell(struct store_walk *w, const struct mailbox *m, enum store_finding_kind kind, uint32_t first, uint32_t last, uint64_t body)
{
    w->found(w->arg, &(struct store_finding){ .kind = kind, .account = m->account->id, .mailbox_id = m->id, .mailbox = name_slice(&m->name),
                                              .first_uid = first, .last_uid = last, .body_id = body });
}

static int by_first_uid(const void *a, const void *b)
{
    const struct vanished *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* UIDs that were given and are neither there nor among those that vanished. */
static void tell_gaps(struct store_walk *w, const struct mailbox *m)
{
    struct vanished *v = malloc((m->vanished_count + 1) * sizeof *v);
    if (v == NULL)
        return;
    if (m->vanished_count > 0)
        memcpy(v, m->vanished, m->vanished_count * sizeof *v);
    qsort(v, m->vanished_count, sizeof *v, by_first_uid);
    size_t next = 0;
    uint32_t uid = 1;                   /* everything before it is accounted for */
    for (uint32_t seq = 1; seq <= m->numbering->total + 1; seq++) {
        uint32_t here = seq > m->numbering->total ? m->uidnext : numbering_row(m->numbering, seq, NULL)->uid;
        while (uid < here) {
            while (next < m->vanished_count && v[next].last < uid)
                next++;
            bool is_covered = next < m->vanished_count && v[next].first <= uid;
            uint32_t end = next == m->vanished_count ? here : is_covered ? v[next].last + 1 : v[next].first;
            end = end < here ? end : here;
            if (!is_covered)
                tell(w, m, FINDING_UIDS_GONE, uid, end - 1, 0);
            uid = end;
        }
        uid = here + 1;
    }
    free(v);
}

static void begin_mailbox(struct store_walk *w, const struct mailbox *m)
{
    uint32_t rows = 0;
    for (size_t i = 0; i < m->numbering->count; i++)
        rows += numbering_entry_count(m->numbering, i);
    if (rows != m->numbering->total)
        tell(w, m, FINDING_COUNT, 0, 0, 0);
    if (w->looks_for_gaps)
        tell_gaps(w, m);
    w->next_uid = 1;
}

/* The mailbox in turn, from next_uid on. How many messages it looked at. */
static size_t step_mailbox(struct store_walk *w, const struct mailbox *m, size_t messages)
{
    size_t looked = 0;
    const struct numbering *n = m->numbering;
    uint32_t seq = numbering_seq(n, n->total, w->next_uid);
    for (; seq <= n->total && looked < messages; seq++, looked++) {
        const struct store_message *row = numbering_row(n, seq, NULL);
        w->next_uid = row->uid + 1;
        if (!store_walk_has_body(w, row->body_id))
            tell(w, m, FINDING_BODY_GONE, row->uid, row->uid, row->body_id);
    }
    if (seq > n->total)
        w->next_uid = 0;
    return looked;
}

bool store_walk_step(struct store_walk *w, size_t messages)
{
    for (size_t looked = 0; w->at < w->mailbox_count && looked < messages; looked++) {      /* an empty mailbox is work too */
        const struct mailbox *m = mailbox_get(w->store, w->mailboxes[w->at]);
        if (m != NULL && w->next_uid == 0)
            begin_mailbox(w, m);
        if (m != NULL)
            looked += step_mailbox(w, m, messages - looked);
        if (m == NULL)
            w->next_uid = 0;
        w->at += w->next_uid == 0;
    }
    return w->at < w->mailbox_count;
}
