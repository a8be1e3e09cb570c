/* Sorting messages: see sort.h. */
#include "imap/sort.h"

#include "imap/fold.h"
#include "mail/address.h"
#include "mail/subject.h"

#include <string.h>

enum { TEXT_MAX = 64 * 1024 };

static const struct {
    struct slice name;
    enum sort_key key;
} names[] = {
    { SLICE_INIT("ARRIVAL"), SORT_ARRIVAL }, { SLICE_INIT("CC"), SORT_CC },     { SLICE_INIT("DATE"), SORT_DATE },
    { SLICE_INIT("FROM"), SORT_FROM },       { SLICE_INIT("SIZE"), SORT_SIZE }, { SLICE_INIT("SUBJECT"), SORT_SUBJECT },
    { SLICE_INIT("TO"), SORT_TO },           { SLICE_INIT("DISPLAYFROM"), SORT_DISPLAY_FROM },
    { SLICE_INIT("DISPLAYTO"), SORT_DISPLAY_TO },
};

static bool add_key(struct imap_parser *p, struct sort_order *order, struct slice name, bool is_reverse)
{
    if (order->count == SORT_KEYS_MAX)
        return imap_parse_failed(p, "too many sort keys");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!slice_equal_nocase(name, names[i].name))
            continue;
        order->by[order->count].key = names[i].key;
        order->by[order->count++].is_reverse = is_reverse;
        return true;
    }
    return imap_parse_failed(p, "there is no such sort key");
}

bool imap_parse_sort_order(struct imap_parser *p, struct sort_order *order)
{
    order->count = 0;
    if (!imap_parse_byte(p, '('))
        return false;
    do {
        struct slice name;
        if (!imap_parse_atom(p, &name))
            return false;
        bool is_reverse = slice_equal_nocase(name, SLICE("REVERSE"));
        if (is_reverse && (!imap_parse_space(p) || !imap_parse_atom(p, &name)))
            return false;
        if (!add_key(p, order, name, is_reverse))
            return false;
    } while (imap_parse_takes(p, ' '));
    return imap_parse_byte(p, ')');
}

/* ---- values ------------------------------------------------------------------------------------------------------------ */

static bool is_number(enum sort_key key) { return key == SORT_ARRIVAL || key == SORT_DATE || key == SORT_SIZE; }

static struct slice field_of(enum sort_key key)
{
    switch (key) {
    case SORT_CC:
        return SLICE("Cc");
    case SORT_FROM:
    case SORT_DISPLAY_FROM:
        return SLICE("From");
    case SORT_TO:
    case SORT_DISPLAY_TO:
        return SLICE("To");
    case SORT_DATE:
        return SLICE("Date");
    case SORT_SUBJECT:
        return SLICE("Subject");
    case SORT_ARRIVAL:
    case SORT_SIZE:
        break;
    }
    return SLICE_NONE;
}

/* The first address: its mailbox, or (RFC 5957) its display name, or without one the whole of it. */
static void write_address(struct imap_session *s, enum sort_key key, struct slice body)
{
    struct mailbox_entry *entries = NULL;
    size_t count = 0;
    if (address_list_parse(body, 100, &s->scratch_arena, &entries, &count) != RC_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct mailbox_entry *entry = &entries[i];
        if (entry->kind != ENTRY_MAILBOX)
            continue;
        bool is_display = key == SORT_DISPLAY_FROM || key == SORT_DISPLAY_TO;
        (void)buf_append(&s->scratch, is_display && entry->name.len > 0 ? entry->name : entry->local_part);
        if (is_display && entry->name.len == 0 && entry->domain.len > 0)
            (void)buf_printf(&s->scratch, "@%.*s", SLICE_ARG(entry->domain));
        return;
    }
}

static bool keep_text(struct sorter *sorter, struct imap_session *s, struct slice *text)
{
    imap_fold(s->scratch.data + s->scratch.start, buf_len(&s->scratch));
    *text = arena_copy(sorter->arena, slice_sub(buf_slice(&s->scratch), 0, TEXT_MAX));
    return text->ptr != NULL || text->len == 0;
}

/* RFC 5256 2.2: a Date that is none counts as the time of arrival. */
static int64_t sent(struct slice body, const struct store_message *message)
{
    struct mail_date date;
    return body.ptr != NULL && date_parse(body, &date) == RC_OK ? date.unix_s : message->internal_s;
}

static bool set_value(struct sorter *sorter, struct imap_session *s, struct sort_row *row, size_t i, const struct store_message *message,
                      struct slice header)
{
    enum sort_key key = sorter->order.by[i].key;
    struct header_field field = { .body = SLICE_NONE };
    if (key == SORT_ARRIVAL || key == SORT_SIZE) {
        row->values[i].number = key == SORT_SIZE ? message->size : message->internal_s;
        return true;
    }
    bool has_field = header.len > 0 && header_find(header, field_of(key), &field) == RC_OK;
    if (key == SORT_DATE) {
        row->values[i].number = sent(has_field ? field.body : SLICE_NONE, message);
        return true;
    }
    buf_clear(&s->scratch);
    arena_rewind(&s->scratch_arena);
    if (has_field && key == SORT_SUBJECT)
        (void)subject_base(field.body, &s->scratch, NULL);
    else if (has_field)
        write_address(s, key, field.body);
    return keep_text(sorter, s, &row->values[i].text);
}

static bool needs_header(const struct sort_order *order)
{
    for (size_t i = 0; i < order->count; i++) {
        if (order->by[i].key != SORT_ARRIVAL && order->by[i].key != SORT_SIZE)
            return true;
    }
    return false;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------ */

void sorter_init(struct sorter *sorter, const struct sort_order *order, struct arena *arena)
{
    *sorter = (struct sorter){ .order = *order, .arena = arena };
}

static bool grow(struct sorter *sorter)
{
    size_t cap = sorter->cap == 0 ? 64 : sorter->cap * 2;
    struct sort_row **rows = ARENA_ARRAY(sorter->arena, struct sort_row *, cap);
    if (rows == NULL)
        return false;
    if (sorter->count > 0)
        memcpy(rows, sorter->rows, sorter->count * sizeof(*rows));
    sorter->rows = rows;
    sorter->cap = cap;
    return true;
}

enum rc sorter_add(struct sorter *sorter, struct imap_session *s, uint32_t seq)
{
    struct store_message message;
    struct slice header = SLICE_NONE;
    struct sort_row *row = arena_alloc(sorter->arena, 1, sizeof(*row) + sorter->order.count * sizeof(row->values[0]));
    enum rc rc = RC_OK;
    if (row == NULL || (sorter->count == sorter->cap && !grow(sorter)))
        return RC_TEMP;
    row->seq = seq;
    store_view_at(s->selected.view, seq, &message);
    if (needs_header(&sorter->order)) {
        imap_message_use(&s->message, &message);
        if (imap_message_header(&s->message, &header) != RC_OK) {
            header = SLICE_NONE;
            rc = RC_PERM;
        }
    }
    for (size_t i = 0; i < sorter->order.count; i++) {
        if (!set_value(sorter, s, row, i, &message, header))
            return RC_TEMP;
    }
    sorter->rows[sorter->count++] = row;
    return rc;
}

/* ---- order: a merge sort from below, which can stop anywhere ------------------------------------------------------------------- */

/* RFC 5256 3: what is equal in all keys stands as in the mailbox, also when a key is reversed. */
static int compare(const struct sort_order *order, const struct sort_row *a, const struct sort_row *b)
{
    for (size_t i = 0; i < order->count; i++) {
        int result = is_number(order->by[i].key)
                         ? (a->values[i].number > b->values[i].number) - (a->values[i].number < b->values[i].number)
                         : slice_compare(a->values[i].text, b->values[i].text);
        if (result != 0)
            return order->by[i].is_reverse ? -result : result;
    }
    return (a->seq > b->seq) - (a->seq < b->seq);
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void begin_pair(struct sorter *sorter, size_t start)
{
    sorter->start = sorter->left = sorter->out = start;
    sorter->right = least(start + sorter->width, sorter->count);
}

/* One row from the two runs that begin at start into the spare array; false: both are used up. */
static bool merge_one(struct sorter *sorter)
{
    size_t middle = least(sorter->start + sorter->width, sorter->count), end = least(sorter->start + 2 * sorter->width, sorter->count);
    bool has_left = sorter->left < middle, has_right = sorter->right < end;
    if (!has_left && !has_right)
        return false;
    bool takes_left = has_left && (!has_right || compare(&sorter->order, sorter->rows[sorter->left], sorter->rows[sorter->right]) <= 0);
    sorter->spare[sorter->out++] = sorter->rows[takes_left ? sorter->left++ : sorter->right++];
    return true;
}

enum rc sorter_run(struct sorter *sorter, unsigned steps)
{
    if (sorter->count < 2)
        return RC_OK;
    if (sorter->width == 0) {
        sorter->spare = ARENA_ARRAY(sorter->arena, struct sort_row *, sorter->count);
        if (sorter->spare == NULL)
            return RC_TEMP;
        sorter->width = 1;
        begin_pair(sorter, 0);
    }
    for (; steps > 0 && sorter->width < sorter->count; steps--) {
        if (merge_one(sorter))
            continue;
        if (sorter->out < sorter->count) {
            begin_pair(sorter, sorter->out);
            continue;
        }
        struct sort_row **sorted = sorter->spare;
        sorter->spare = sorter->rows;
        sorter->rows = sorted;
        sorter->width *= 2;
        begin_pair(sorter, 0);
    }
    return sorter->width >= sorter->count ? RC_OK : RC_MORE;
}
