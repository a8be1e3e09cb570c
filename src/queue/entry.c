/* Packed entries, their index by id, and outcome texts kept once: see inner.h. */
#include "queue/inner.h"

#include <stdlib.h>

/* ---- entries ------------------------------------------------------------------------------------------------------ */

/* Finds where the static part ends and whether it is whole, before anything is allocated. */
static bool measure(struct reader *r, struct slice *whole, size_t *count)
{
    struct slice start = r->in;
    struct static_head head;
    if (!static_head_read(r, &head))
        return false;
    struct static_recipient recipient;
    for (size_t i = 0; i < head.recipient_count; i++)
        if (!static_recipient_read(r, &recipient))
            return false;
    *whole = slice_sub(start, 0, start.len - r->in.len);
    *count = head.recipient_count;
    return whole->len <= UINT32_MAX;
}

struct entry *entry_new(struct reader *r, uint64_t id, uint64_t body_id, uint64_t body_size, int64_t due_ms)
{
    struct slice whole;
    size_t count;
    if (!measure(r, &whole, &count))
        return NULL;
    size_t fixed = sizeof(struct entry) + count * sizeof(struct recipient);
    struct entry *entry = calloc(1, fixed + whole.len);
    must(entry != NULL);
    entry->id = id;
    entry->body_id = body_id;
    entry->body_size = body_size;
    entry->packed = (char *)entry + fixed;
    memcpy(entry->packed, whole.ptr, whole.len);
    entry->packed_len = (uint32_t)whole.len;
    entry->count = entry->open = (uint32_t)count;

    struct reader again = { whole, false };
    struct static_head head;
    struct static_recipient recipient;
    static_head_read(&again, &head);
    for (size_t i = 0; i < count; i++) {
        struct recipient *to = &entry->recipients[i];
        to->node.key = due_ms;
        to->offset = (uint32_t)(whole.len - again.in.len);
        to->index = (uint32_t)i;
        to->state = QUEUE_DUE;
        static_recipient_read(&again, &recipient);
    }
    return entry;
}

struct static_recipient entry_recipient(const struct entry *entry, size_t index)
{
    must(index < entry->count);
    size_t offset = entry->recipients[index].offset;
    struct reader r = { { entry->packed + offset, entry->packed_len - offset }, false };
    struct static_recipient recipient;
    must(static_recipient_read(&r, &recipient));
    return recipient;
}

struct static_head entry_head(const struct entry *entry)
{
    struct reader r = { { entry->packed, entry->packed_len }, false };
    struct static_head head;
    must(static_head_read(&r, &head));
    return head;
}

static struct queue_recipient unpack_recipient(const struct entry *entry, size_t index)
{
    const struct recipient *r = &entry->recipients[index];
    struct static_recipient fixed = entry_recipient(entry, index);
    const struct destination *dead = r->destination != NULL && r->destination->is_dead ? r->destination : NULL;
    return (struct queue_recipient){
        .address = fixed.address,
        .orcpt = fixed.orcpt,
        .notify = fixed.notify,
        .state = (enum queue_state)r->state,
        .attempts = r->attempts,
        .is_delay_told = (r->flags & RECIPIENT_DELAY_TOLD) != 0,
        .due_ms = r->node.key,
        .last_text = note_text(r->note),
        .last_remote = note_remote(r->note),
        .last_esc = r->esc,
        .last_attempt_ms = r->attempt_ms,
        .destination_text = dead == NULL ? SLICE_NONE : note_text(dead->why),
        .probe_ms = dead == NULL ? 0 : dead->probe_ms,
    };
}

/* Strings are not copied: they point into the entry and its notes. */
struct queue_entry *entry_unpack(const struct entry *entry, struct arena *arena)
{
    struct queue_entry *out = ARENA_NEW(arena, struct queue_entry);
    struct queue_recipient *recipients = ARENA_ARRAY(arena, struct queue_recipient, entry->count);
    if (out == NULL || (recipients == NULL && entry->count > 0))
        return NULL;
    struct static_head head = entry_head(entry);
    *out = (struct queue_entry){
        .id = entry->id,
        .body_id = entry->body_id,
        .body_size = entry->body_size,
        .trace_bytes = head.trace_bytes,
        .mail = head.mail,
        .has_8bit = (head.has & HAS_8BIT) != 0,
        .has_long_line = (head.has & HAS_LONG_LINE) != 0,
        .has_bare_eol = (head.has & HAS_BARE_EOL) != 0,
        .has_utf8_header = (head.has & HAS_UTF8_HEADER) != 0,
        .lacks_final_eol = (head.has & HAS_NO_FINAL_EOL) != 0,
        .accepted_ms = entry_accepted_ms(entry),
        .user = head.user,
        .recipients = recipients,
        .recipient_count = entry->count,
    };
    for (size_t i = 0; i < entry->count; i++)
        recipients[i] = unpack_recipient(entry, i);
    return out;
}

/* ---- the index ---------------------------------------------------------------------------------------------------- */

static void index_grow(struct entry_index *x)
{
    size_t cap = x->cap == 0 ? 64 : x->cap + x->cap / 2;
    struct entry_slot *slots = realloc(x->slots, cap * sizeof *slots);
    must(slots != NULL);
    x->slots = slots;
    x->cap = cap;
}

/* Drops the removed ones: when half of the slots are. */
static void index_compact(struct entry_index *x)
{
    size_t to = 0, sorted = 0;
    for (size_t from = 0; from < x->count; from++) {
        if (x->slots[from].entry == NULL)
            continue;
        x->slots[to++] = x->slots[from];
        sorted += from < x->sorted;
    }
    x->count = to;
    x->sorted = sorted;
}

static int slot_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct entry_slot *)a)->id, y = ((const struct entry_slot *)b)->id;
    return (x > y) - (x < y);
}

/* Sorts the tail and merges it into the front from behind: what stands before the tail's smallest is not touched. */
static void index_sort(struct entry_index *x)
{
    size_t tail_len = x->count - x->sorted;
    if (tail_len == 0)
        return;
    struct entry_slot *tail = malloc(tail_len * sizeof *tail);
    must(tail != NULL);
    memcpy(tail, x->slots + x->sorted, tail_len * sizeof *tail);
    qsort(tail, tail_len, sizeof *tail, slot_compare);
    size_t front = x->sorted, to = x->count;
    while (tail_len > 0) {
        if (front > 0 && x->slots[front - 1].id > tail[tail_len - 1].id)
            x->slots[--to] = x->slots[--front];
        else
            x->slots[--to] = tail[--tail_len];
    }
    free(tail);
    x->sorted = x->count;
}

void index_add(struct entry_index *x, struct entry *entry)
{
    if (x->count == x->cap)
        index_grow(x);
    bool in_order = x->sorted == x->count && (x->count == 0 || x->slots[x->count - 1].id < entry->id);
    x->slots[x->count++] = (struct entry_slot){ entry->id, entry };
    x->alive++;
    if (in_order)
        x->sorted = x->count;
}

/* The first slot whose id is at least `id`. */
static size_t index_place(struct entry_index *x, uint64_t id)
{
    index_sort(x);
    size_t low = 0, high = x->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (x->slots[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The one that is not removed: an id that comes again (from a log that is not ours) does no harm. */
static struct entry_slot *index_slot(struct entry_index *x, uint64_t id)
{
    /* The newest are looked for most, and a tail out of order is mostly a few messages that took long to arrive. */
    for (size_t i = x->count; i > x->sorted && x->count - i < 64; i--)
        if (x->slots[i - 1].id == id && x->slots[i - 1].entry != NULL)
            return &x->slots[i - 1];
    for (size_t at = index_place(x, id); at < x->count && x->slots[at].id == id; at++)
        if (x->slots[at].entry != NULL)
            return &x->slots[at];
    return NULL;
}

struct entry *index_find(struct entry_index *x, uint64_t id)
{
    struct entry_slot *slot = index_slot(x, id);
    return slot == NULL ? NULL : slot->entry;
}

struct entry *index_after(struct entry_index *x, uint64_t id)
{
    if (id == UINT64_MAX)
        return NULL;
    for (size_t at = index_place(x, id + 1); at < x->count; at++)
        if (x->slots[at].entry != NULL)
            return x->slots[at].entry;
    return NULL;
}

void index_remove(struct entry_index *x, uint64_t id)
{
    struct entry_slot *slot = index_slot(x, id);
    if (slot == NULL)
        return;
    slot->entry = NULL;
    x->alive--;
    if (x->count > 64 && x->alive < x->count / 2)
        index_compact(x);
}

/* ---- notes -------------------------------------------------------------------------------------------------------- */

/* NULL for nothing at all to say. */
struct note *note_get(struct map *notes, struct slice text, struct slice remote)
{
    text = slice_sub(text, 0, TEXT_MAX);
    remote = slice_sub(remote, 0, TEXT_MAX);
    if (text.len + remote.len == 0)
        return NULL;
    char key[2 * TEXT_MAX + 2];
    memcpy(key, text.ptr, text.len);
    if (remote.len > 0)
        memcpy(key + text.len, remote.ptr, remote.len);
    size_t len = text.len + remote.len;
    key[len] = (char)(text.len & 0xff);
    key[len + 1] = (char)(text.len >> 8);
    struct note *note = map_get(notes, (struct slice){ key, len + 2 });
    if (note == NULL) {
        note = malloc(sizeof *note + len + 2);
        must(note != NULL);
        *note = (struct note){ .len = len, .text_len = text.len };
        memcpy(note->bytes, key, len + 2);
        must(map_put(notes, (struct slice){ note->bytes, len + 2 }, note));
    }
    note->refs++;
    return note;
}

void note_put(struct map *notes, struct note *note)
{
    if (note == NULL || --note->refs > 0)
        return;
    map_remove(notes, (struct slice){ note->bytes, note->len + 2 });
    free(note);
}

struct slice note_text(const struct note *note)
{
    return note == NULL ? SLICE_NONE : (struct slice){ note->bytes, note->text_len };
}

struct slice note_remote(const struct note *note)
{
    return note == NULL ? SLICE_NONE : (struct slice){ note->bytes + note->text_len, note->len - note->text_len };
}
