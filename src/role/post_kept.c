/* The administrator's way back: mailboxes as they were, from what is still kept of expunged mail (store/kept.h).
 *
 *     kept-list       "account=ID", "at=UNIX SECONDS" (without it: whenever), "mailbox=NAME", "message=UID or <MESSAGE-ID>"
 *     kept-restore    the same, and "into=NAME"
 *
 * First comes a row that says how far back everything is there. Without a mailbox a list has one row for each, with counts; with one,
 * a row for each message that was there then and is not now. A restore brings these back and gives a row for each mailbox, when
 * it is on stable storage. A message that is in its mailbox now (the same body) is not brought back a second time. */
#include "role/post.h"

#include "base/text.h"
#include "mail/header.h"
#include "role/control.h"
#include "store/kept.h"

#include <stdlib.h>

enum { ROW_MAX = 1 << 20, HEADER_BYTES_MAX = 32 * 1024, THEN_MESSAGES_MAX = 1000 * 1000 };

struct missing {                        /* there then, not now */
    struct store_revived message;
    int64_t gone_s;
    enum store_kept_kind kind;
};

struct then_mailbox {
    uint64_t id;
    char *name;                         /* NULL: not known (yet) */
    int64_t deleted_s;                  /* 0: it is there */
    size_t there;                       /* messages that were there and are */
    char *keywords[KEYWORDS_MAX];
    struct missing *missing;
    size_t count, cap;
};

struct then {                           /* an account as it was */
    struct post *post;
    struct control_call *call;
    uint64_t account;
    int64_t at_s;
    struct slice mailbox, message, into;
    struct map by_id;
    struct then_mailbox **mailboxes;
    size_t count, cap, messages;
    struct fault fault;
    /* restoring */
    struct post_wait wait;
    size_t mailbox_at, message_at;
    bool has_created;
    char *words;                        /* what the slices point into */
};

static void *need_memory(void *memory)
{
    must(memory != NULL);
    return memory;
}

static void then_free(struct then *then)
{
    for (size_t i = 0; i < then->count; i++) {
        struct then_mailbox *m = then->mailboxes[i];
        for (size_t bit = 0; bit < KEYWORDS_MAX; bit++)
            free(m->keywords[bit]);
        free(m->missing);
        free(m->name);
        free(m);
    }
    map_free(&then->by_id);
    free(then->mailboxes);
    free(then->words);
    free(then);
}

static char *copy_of(struct slice text)
{
    char *copy = need_memory(malloc(text.len + 1));
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return copy;
}

/* ---- gathering ------------------------------------------------------------------------------------------------------ */

static struct then_mailbox *mailbox_of(struct then *then, uint64_t id)
{
    struct then_mailbox *m = map_get_u64(&then->by_id, id);
    if (m != NULL)
        return m;
    m = need_memory(calloc(1, sizeof(*m)));
    m->id = id;
    if (then->count == then->cap) {
        then->cap = then->cap == 0 ? 16 : then->cap * 2;
        then->mailboxes = need_memory(realloc(then->mailboxes, then->cap * sizeof(struct then_mailbox *)));
    }
    then->mailboxes[then->count++] = m;
    need_memory(map_put_u64(&then->by_id, id, m) ? m : NULL);
    return m;
}

static void describe(struct then_mailbox *m, struct slice name, const struct slice *keywords, size_t keyword_count)
{
    free(m->name);
    m->name = copy_of(name);
    for (size_t bit = 0; bit < keyword_count; bit++) {
        free(m->keywords[bit]);
        m->keywords[bit] = copy_of(keywords[bit]);
    }
}

static void add_missing(struct then *then, struct then_mailbox *m, const struct store_kept *kept, const struct store_message *row)
{
    if (then->messages == THEN_MESSAGES_MAX) {
        (void)fault_perm(&then->fault, 0, "more than %d messages went since then: choose a later time, or one mailbox", THEN_MESSAGES_MAX);
        return;
    }
    if (m->count == m->cap) {
        m->cap = m->cap == 0 ? 8 : m->cap * 2;
        m->missing = need_memory(realloc(m->missing, m->cap * sizeof(*m->missing)));
    }
    m->missing[m->count++] = (struct missing){ { kept->number, *row }, kept->gone_s, kept->kind };
    then->messages++;
}

static bool had_come(const struct then *then, const struct store_message *row) { return then->at_s == 0 || row->appended_s <= then->at_s; }

/* What was there at that moment: it had come, and had not gone. */
static bool on_kept(void *arg, const struct store_kept *kept)
{
    struct then *then = arg;
    if (kept->gone_s <= then->at_s)
        return true;
    struct then_mailbox *m = mailbox_of(then, kept->mailbox_id);
    if (kept->kind == KEPT_MAILBOX) {
        describe(m, kept->name, kept->keywords, kept->keyword_count);
        m->deleted_s = kept->gone_s;
        return true;
    }
    for (size_t i = 0; i < kept->count; i++)
        if (had_come(then, &kept->rows[i]))
            add_missing(then, m, kept, &kept->rows[i]);
    return then->fault.rc == RC_OK;
}

static void gather_present(struct then *then)
{
    struct store *store = then->post->store;
    struct store_mailbox_info info;
    char name[MAILBOX_NAME_MAX];
    for (struct slice after = SLICE_NONE; store_mailbox_next(store, then->account, after, &info) == RC_OK;) {
        memcpy(name, info.name.ptr, info.name.len);
        after = (struct slice){ name, info.name.len };
        if (info.id != 0 && !info.is_noselect)
            describe(mailbox_of(then, info.id), info.name, info.keywords, info.keyword_count);
    }
}

/* ---- what is there now ---------------------------------------------------------------------------------------------- */

static int missing_order(const void *a, const void *b)
{
    const struct missing *x = a, *y = b;
    return x->message.row.uid < y->message.row.uid ? -1 : x->message.row.uid > y->message.row.uid;
}

/* Takes out of what is missing the messages whose body is in that mailbox now; counts those that were there then. */
static void leave_present(struct then *then, struct then_mailbox *m, uint64_t mailbox_id, bool counts)
{
    struct store_view *view;
    struct store_message row;
    struct map bodies;
    if (store_view_open(then->post->store, mailbox_id, true, &view, NULL) != RC_OK)
        return;
    map_init(&bodies, then->post->hash_seed);
    for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
        store_view_at(view, seq, &row);
        m->there += counts && had_come(then, &row);
        if (m->count > 0)
            need_memory(map_put_u64(&bodies, row.body_id, m) ? m : NULL);
    }
    store_view_close(view);
    size_t left = 0;
    for (size_t i = 0; i < m->count; i++)
        if (map_get_u64(&bodies, m->missing[i].message.row.body_id) == NULL)
            m->missing[left++] = m->missing[i];
    m->count = left;
    map_free(&bodies);
}

static bool is_named(struct slice name, struct slice want)
{
    return slice_equal(name, want) || (slice_equal_nocase(want, SLICE("INBOX")) && slice_equal(name, SLICE("INBOX")));
}

static struct slice target_of(const struct then *then, const struct then_mailbox *m)
{
    return then->into.len > 0 ? then->into : slice_from_str(m->name);
}

static bool is_wanted(const struct then *then, const struct then_mailbox *m)
{
    return m->name != NULL && (then->mailbox.len == 0 || is_named(slice_from_str(m->name), then->mailbox)) && (m->deleted_s == 0 || m->count > 0);
}

static void compare(struct then *then, struct then_mailbox *m)
{
    struct store_mailbox_info info;
    if (m->deleted_s == 0)
        leave_present(then, m, m->id, true);
    struct slice target = target_of(then, m);
    if (store_mailbox_find(then->post->store, then->account, target, &info) == RC_OK && info.id != m->id && !info.is_noselect)
        leave_present(then, m, info.id, false);
    qsort(m->missing, m->count, sizeof(*m->missing), missing_order);
}

/* ---- one message ---------------------------------------------------------------------------------------------------- */

/* The header of a message, as far as it is short; empty when it cannot be read. */
static struct slice read_header(const struct then *then, const struct store_message *row, char *buffer)
{
    size_t len = row->size < HEADER_BYTES_MAX ? row->size : HEADER_BYTES_MAX;
    if (len == 0 || store_read(then->post->store, row->body_id, 0, len, buffer, NULL) != RC_OK)
        return SLICE_NONE;
    struct slice bytes = { buffer, len };
    return slice_sub(bytes, 0, header_end(bytes));
}

static bool has_message_id(const struct then *then, const struct store_message *row, char *buffer)
{
    struct header_field field;
    if (header_find(read_header(then, row, buffer), SLICE("Message-ID"), &field) != RC_OK)
        return false;
    return slice_find(field.body, then->message) < field.body.len;
}

static void choose_message(struct then *then, struct then_mailbox *m)
{
    static char buffer[HEADER_BYTES_MAX];
    struct slice text = then->message;
    uint64_t uid;
    bool is_uid = slice_take_number(&text, UINT32_MAX, &uid) && text.len == 0;
    size_t left = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct store_message *row = &m->missing[i].message.row;
        if (is_uid ? row->uid == uid : has_message_id(then, row, buffer))
            m->missing[left++] = m->missing[i];
    }
    m->count = left;
}

static void gather(struct then *then)
{
    if (!store_account_exists(then->post->store, then->account)) {
        (void)fault_none(&then->fault, "this account has no mailboxes");
        return;
    }
    gather_present(then);
    struct fault fault = { .rc = RC_OK };
    if (store_kept_each(then->post->store, then->account, on_kept, then, &fault) != RC_OK)
        then->fault = fault;
    size_t wanted = 0;
    for (size_t i = 0; i < then->count && then->fault.rc == RC_OK; i++) {
        struct then_mailbox *m = then->mailboxes[i];
        bool is_one = is_wanted(then, m);
        wanted += is_one;
        if (is_one)
            compare(then, m);
        else
            m->count = 0;
        if (then->message.len > 0)
            choose_message(then, m);
    }
    if (then->fault.rc == RC_OK && wanted == 0 && then->mailbox.len > 0)
        (void)fault_none(&then->fault, "%.*s: there is no such mailbox, and none of that name was deleted since then",
                         SLICE_ARG(slice_sub(then->mailbox, 0, 200)));
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static void add_text(struct buf *out, const char *name, struct slice text)
{
    buf_printf(out, ",\"%s\":", name);
    (void)json_append_string(out, text);
}

static void add_time(struct buf *out, const char *name, int64_t time_s)
{
    buf_printf(out, ",\"%s\":\"", name);
    (void)date_write_iso(time_s * 1000, out);
    buf_append_byte(out, '"');
}

static void send_row(const struct then *then, struct buf *row)
{
    if (buf_append_byte(row, '}'))
        control_row(then->call, buf_slice(row));
    buf_free(row);
}

/* {"account":7,"at":..,"is_complete":false,"missing_before":..} */
static void send_head(const struct then *then)
{
    struct store_kept_figures kept;
    struct buf row;
    buf_init(&row, ROW_MAX);
    store_kept_figures(then->post->store, &kept);
    buf_printf(&row, "{\"account\":%llu", (unsigned long long)then->account);
    if (then->at_s != 0)
        add_time(&row, "at", then->at_s);
    buf_printf(&row, ",\"keep_s\":%u,\"is_complete\":%s", then->post->config.keep_expunged_s,
               then->at_s == 0 || kept.forgotten_s <= then->at_s ? "true" : "false");
    if (kept.forgotten_s > 0)
        add_time(&row, "complete_since", kept.forgotten_s);
    send_row(then, &row);
}

static void send_mailbox(const struct then *then, const struct then_mailbox *m)
{
    struct buf row;
    buf_init(&row, ROW_MAX);
    buf_append_str(&row, "{\"mailbox\":");
    (void)json_append_string(&row, slice_from_str(m->name));
    buf_printf(&row, ",\"messages\":%zu,\"there\":%zu,\"missing\":%zu", m->there + m->count, m->there, m->count);
    if (m->deleted_s != 0)
        add_time(&row, "deleted", m->deleted_s);
    send_row(then, &row);
}

static void add_header(struct buf *out, const char *name, struct slice header, struct slice field_name)
{
    struct header_field field;
    struct buf text;
    buf_init(&text, HEADER_BYTES_MAX);
    if (header_find(header, field_name, &field) == RC_OK && header_decode(field.body, &text))
        add_text(out, name, buf_slice(&text));
    buf_free(&text);
}

static void add_flags(struct buf *out, uint16_t flags, const struct then_mailbox *m, uint64_t keywords)
{
    static const char *const names[] = { "\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft" };
    const char *between = "";
    buf_append_str(out, ",\"flags\":[");
    for (size_t bit = 0; bit < sizeof(names) / sizeof(names[0]); bit++)
        if (flags >> bit & 1) {
            buf_append_str(out, between);
            (void)json_append_string(out, slice_from_str(names[bit]));
            between = ",";
        }
    for (size_t bit = 0; bit < KEYWORDS_MAX; bit++)
        if ((keywords >> bit & 1) != 0 && m->keywords[bit] != NULL) {
            buf_append_str(out, between);
            (void)json_append_string(out, slice_from_str(m->keywords[bit]));
            between = ",";
        }
    buf_append_byte(out, ']');
}

static void send_message(const struct then *then, const struct then_mailbox *m, const struct missing *missing)
{
    static const char *const kinds[] = { "expunged", "moved", "deleted with its mailbox", "" };
    static char buffer[HEADER_BYTES_MAX];
    const struct store_message *row = &missing->message.row;
    struct slice header = read_header(then, row, buffer);
    struct buf out;
    buf_init(&out, ROW_MAX);
    buf_append_str(&out, "{\"mailbox\":");
    (void)json_append_string(&out, slice_from_str(m->name));
    buf_printf(&out, ",\"uid\":%u,\"size\":%u", row->uid, row->size);
    add_time(&out, "date", row->internal_s);
    add_time(&out, "gone", missing->gone_s);
    add_text(&out, "how", slice_from_str(kinds[missing->kind]));
    add_flags(&out, row->flags, m, row->keywords);
    add_header(&out, "from", header, SLICE("From"));
    add_header(&out, "subject", header, SLICE("Subject"));
    add_header(&out, "message_id", header, SLICE("Message-ID"));
    send_row(then, &out);
}

static void send_list(const struct then *then)
{
    for (size_t i = 0; i < then->count; i++) {
        const struct then_mailbox *m = then->mailboxes[i];
        if (!is_wanted(then, m))
            continue;
        if (then->mailbox.len == 0 && then->message.len == 0)
            send_mailbox(then, m);
        for (size_t k = 0; k < m->count && (then->mailbox.len > 0 || then->message.len > 0); k++)
            send_message(then, m, &m->missing[k]);
    }
}

/* ---- restoring: a mailbox that is gone is made, then messages come back by the thousand, each step when the one before is durable -- */

static void done(struct then *then)
{
    control_done(then->call, &then->fault);
    then_free(then);
}

static void send_restored(const struct then *then, const struct then_mailbox *m)
{
    struct buf row;
    buf_init(&row, ROW_MAX);
    buf_append_str(&row, "{\"mailbox\":");
    (void)json_append_string(&row, slice_from_str(m->name));
    add_text(&row, "into", target_of(then, m));
    buf_printf(&row, ",\"restored\":%zu", m->count);
    send_row(then, &row);
}

static enum rc revive(struct then *then, const struct then_mailbox *m, uint64_t mailbox_id, uint64_t *wait)
{
    struct store_revived *messages = need_memory(calloc(REVIVE_MAX, sizeof(*messages)));
    struct slice keywords[KEYWORDS_MAX];
    uint32_t uid;
    size_t count = m->count - then->message_at < REVIVE_MAX ? m->count - then->message_at : REVIVE_MAX;
    for (size_t bit = 0; bit < KEYWORDS_MAX; bit++)
        keywords[bit] = m->keywords[bit] != NULL ? slice_from_str(m->keywords[bit]) : SLICE_NONE;
    for (size_t i = 0; i < count; i++)
        messages[i] = m->missing[then->message_at + i].message;
    enum rc rc = store_revive(then->post->store, mailbox_id, messages, count, keywords, &uid, wait, &then->fault);
    free(messages);
    then->message_at += rc == RC_OK ? count : 0;
    return rc;
}

/* What comes next: RC_MORE: something was handed over; RC_OK: all is done. */
static enum rc restore_next(struct then *then, uint64_t *wait)
{
    struct store *store = then->post->store;
    for (; then->mailbox_at < then->count; then->mailbox_at++, then->message_at = 0, then->has_created = false) {
        struct then_mailbox *m = then->mailboxes[then->mailbox_at];
        struct store_mailbox_info info;
        if (m->count == 0)
            continue;
        if (then->message_at == m->count) {
            send_restored(then, m);
            continue;
        }
        struct slice target = target_of(then, m);
        bool is_there = store_mailbox_find(store, then->account, target, &info) == RC_OK && !info.is_noselect;
        enum rc rc = RC_TEMP;
        if (is_there)
            rc = revive(then, m, info.id, wait);
        else if (!then->has_created)
            rc = store_mailbox_create(store, then->account, target, SPECIAL_NONE, loop_time_ms(then->post->loop) / 1000, wait, &then->fault);
        else
            (void)fault_temp(&then->fault, 0, "the mailbox cannot be made");
        then->has_created = !is_there;
        if (rc != RC_OK)
            return rc;
        then->fault.rc = RC_OK;
        return RC_MORE;
    }
    return RC_OK;
}

static void restore_step(struct then *then)
{
    uint64_t wait = 0;
    if (restore_next(then, &wait) == RC_MORE)
        post_wait_add(then->post, &then->wait, wait);
    else
        done(then);
}

static void on_settled(struct post_wait *wait, enum rc rc)
{
    struct then *then = LIST_ENTRY(wait, struct then, wait);
    if (rc == RC_OK) {
        restore_step(then);
        return;
    }
    (void)fault_temp(&then->fault, ESC(4, 3, 0), "it could not be written: what was reported before is there, nothing else");
    done(then);
}

/* ---- the call ------------------------------------------------------------------------------------------------------- */

static bool take_number(struct slice value, uint64_t *number) { return slice_take_number(&value, INT64_MAX / 1000, number) && value.len == 0; }

static void take_argument(struct then *then, struct slice argument)
{
    struct slice name = slice_take_until(&argument, '=');
    uint64_t number = 0;
    bool ok = true;
    if (slice_equal(name, SLICE("account")))
        ok = take_number(argument, &then->account);
    else if (slice_equal(name, SLICE("at")) && (ok = take_number(argument, &number)))
        then->at_s = (int64_t)number;
    else if (slice_equal(name, SLICE("mailbox")))
        then->mailbox = argument;
    else if (slice_equal(name, SLICE("message")))
        then->message = argument;
    else if (slice_equal(name, SLICE("into")))
        then->into = argument;
    else
        ok = false;
    if (!ok)
        (void)fault_perm(&then->fault, 0, "arguments are account=ID, at=SECONDS, mailbox, message and into");
}

void post_kept_command(struct post *post, struct control_call *call, struct slice arguments, bool restores)
{
    struct then *then = need_memory(calloc(1, sizeof(*then)));
    then->post = post;
    then->call = call;
    then->wait.settled = on_settled;
    then->words = copy_of(arguments);
    map_init(&then->by_id, post->hash_seed);
    struct slice rest = { then->words, arguments.len };
    while (rest.len != 0)
        take_argument(then, slice_take_until(&rest, '\0'));
    if (then->fault.rc == RC_OK && then->account == 0)
        (void)fault_perm(&then->fault, 0, "whose mailboxes?");
    if (then->fault.rc == RC_OK)
        gather(then);
    if (then->fault.rc == RC_OK)
        send_head(then);
    if (then->fault.rc == RC_OK && !restores)
        send_list(then);
    if (then->fault.rc == RC_OK && restores)
        restore_step(then);
    else
        done(then);
}
