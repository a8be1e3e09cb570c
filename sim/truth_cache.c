/* A client's memory of a mailbox, brought up to date by what changed and then held against a reading of everything. */
#include "sim/truth_inner.h"

enum { ROW_BUCKETS = 256 };

struct row {
    struct row *next;
    uint32_t uid, flags;
    uint64_t modseq;
    uint64_t present, full;         /* rounds */
    bool is_gone;
};

struct truth_cache {
    struct truth *truth;
    struct truth_mailbox *mailbox;
    uint32_t uidvalidity, uidnext;
    uint64_t modseq, next_modseq;
    uint64_t round;
    bool was_reset;                 /* this round began from nothing */
    struct row *rows[ROW_BUCKETS];
};

struct truth_cache *truth_cache_new(struct truth *t, struct truth_mailbox *mailbox)
{
    struct truth_cache *cache = truth_alloc(t, sizeof *cache);
    *cache = (struct truth_cache){ .truth = t, .mailbox = mailbox };
    return cache;
}

uint64_t truth_cache_modseq(const struct truth_cache *cache)
{
    return cache->modseq;
}

uint32_t truth_cache_uidvalidity(const struct truth_cache *cache)
{
    return cache->uidvalidity;
}

void truth_cache_clear(struct truth_cache *cache)
{
    for (size_t i = 0; i < ROW_BUCKETS; i++)
        for (struct row *row = cache->rows[i]; row != NULL; row = row->next)
            row->is_gone = true;
    cache->modseq = 0;
    cache->uidvalidity = 0;
}

static struct row *find(struct truth_cache *cache, uint32_t uid, bool creates)
{
    struct row **bucket = &cache->rows[uid % ROW_BUCKETS];
    for (struct row *row = *bucket; row != NULL; row = row->next)
        if (row->uid == uid)
            return row;
    if (!creates)
        return NULL;
    struct row *row = truth_alloc(cache->truth, sizeof *row);
    *row = (struct row){ .next = *bucket, .uid = uid, .is_gone = true };
    return *bucket = row;
}

static void differs(const struct truth_cache *cache, uint32_t uid, const char *what)
{
    truth_broken(cache->truth, "resync: UID %u in %s of %s: %s", uid, cache->mailbox->name, cache->mailbox->account->address, what);
}

void truth_cache_begin(struct truth_cache *cache, uint32_t uidvalidity, uint32_t uidnext, uint64_t highest_modseq)
{
    if (cache->uidvalidity != 0 && uidvalidity != cache->uidvalidity) {
        differs(cache, 0, "UIDVALIDITY is another");
        truth_cache_clear(cache);
    }
    cache->uidvalidity = uidvalidity;
    cache->uidnext = uidnext;
    cache->next_modseq = highest_modseq;
    cache->round++;
}

void truth_cache_changed(struct truth_cache *cache, uint32_t uid, uint32_t flags, uint64_t modseq)
{
    struct row *row = find(cache, uid, true);
    if (!row->is_gone && modseq < row->modseq)
        differs(cache, uid, "its modseq has fallen");
    row->is_gone = false;
    row->flags = flags;
    row->modseq = modseq;
}

void truth_cache_present(struct truth_cache *cache, uint32_t uid)
{
    struct row *row = find(cache, uid, false);
    if ((row == NULL || row->is_gone) && uid < cache->uidnext)
        differs(cache, uid, "it is there, and was named neither before nor among the changes");
    if (row != NULL)
        row->present = cache->round;
}

void truth_cache_vanished(struct truth_cache *cache, uint32_t first, uint32_t last)
{
    for (size_t i = 0; i < ROW_BUCKETS; i++)
        for (struct row *row = cache->rows[i]; row != NULL; row = row->next)
            if (row->uid >= first && row->uid <= last)
                row->is_gone = true;
}

void truth_cache_full(struct truth_cache *cache, uint32_t uid, uint32_t flags, uint64_t modseq)
{
    struct row *row = find(cache, uid, true);
    if (uid < cache->uidnext && row->is_gone)
        differs(cache, uid, "it is there, and one that was away was not told of it");
    else if (!row->is_gone && modseq <= cache->next_modseq && (row->flags != flags || row->modseq != modseq))
        differs(cache, uid, "one that was away was not told of its last change");
    row->full = cache->round;
    if (modseq > cache->next_modseq || uid >= cache->uidnext)
        return;                                     /* changed while we looked: the next round has to tell it */
    row->flags = flags;
    row->modseq = modseq;
}

void truth_cache_end(struct truth_cache *cache, bool uses_present)
{
    for (size_t i = 0; i < ROW_BUCKETS; i++)
        for (struct row *row = cache->rows[i]; row != NULL; row = row->next) {
            if (uses_present && row->present != cache->round && row->uid < cache->uidnext)
                row->is_gone = true;
            if (!row->is_gone && row->full != cache->round)
                differs(cache, row->uid, "it is gone, and one that was away was not told of it");
        }
    cache->modseq = cache->next_modseq;
}
