/* Entries and histories as JSON objects: what `thurn queue` and `thurn why` show and programs read. */
#include "queue/inner.h"

#include "base/text.h"
#include "mail/date.h"

/* ---- small pieces: every one begins with a comma but the first of an object ------------------------------------------- */

static void member(struct buf *out, const char *name)
{
    struct slice so_far = buf_slice(out);
    if (so_far.len > 0 && so_far.ptr[so_far.len - 1] != '{' && so_far.ptr[so_far.len - 1] != '[')
        buf_append_byte(out, ',');
    buf_printf(out, "\"%s\":", name);
}

static void next_element(struct buf *out)
{
    struct slice so_far = buf_slice(out);
    if (so_far.len > 0 && so_far.ptr[so_far.len - 1] != '[')
        buf_append_byte(out, ',');
}

static void text_member(struct buf *out, const char *name, struct slice text)
{
    if (text.len == 0)
        return;
    member(out, name);
    json_append_string(out, text);
}

static void number_member(struct buf *out, const char *name, uint64_t value)
{
    member(out, name);
    buf_printf(out, "%llu", (unsigned long long)value);
}

static void time_member(struct buf *out, const char *name, int64_t time_ms)
{
    if (time_ms <= 0)
        return;
    member(out, name);
    buf_append_byte(out, '"');
    date_write_iso(time_ms, out);
    buf_append_byte(out, '"');
}

static void id_member(struct buf *out, const char *name, uint64_t id)
{
    char text[QUEUE_ID_TEXT];
    if (id == 0)
        return;
    queue_id_write(id, text);
    text_member(out, name, slice_from_str(text));
}

static void address_string(struct buf *out, const struct address *address)
{
    struct buf text;
    buf_init(&text, 4096);
    if (address->is_null)
        buf_append_str(&text, "<>");
    else
        address_write(address, &text);
    json_append_string(out, buf_slice(&text));
    buf_free(&text);
}

static void status_member(struct buf *out, uint32_t esc)
{
    if (esc == 0)
        return;
    member(out, "status");
    buf_printf(out, "\"%u.%u.%u\"", ESC_CLASS(esc), ESC_SUBJECT(esc), ESC_DETAIL(esc));
}

/* ---- entries -------------------------------------------------------------------------------------------------------------- */

static void write_recipient(struct buf *out, const struct queue_recipient *r)
{
    buf_append_byte(out, '{');
    member(out, "to");
    address_string(out, &r->address);
    text_member(out, "state", slice_from_str(queue_state_name(r->state)));
    number_member(out, "attempts", r->attempts);
    if (r->state == QUEUE_DUE)
        time_member(out, "next_attempt", r->due_ms > r->probe_ms ? r->due_ms : r->probe_ms);
    time_member(out, "last_attempt", r->last_attempt_ms);
    status_member(out, r->last_esc);
    text_member(out, "last", r->last_text.len > 0 ? r->last_text : r->destination_text);       /* never tried: why not */
    text_member(out, "remote", r->last_remote);
    if (r->is_delay_told) {
        member(out, "delay_told");
        buf_append_str(out, "true");
    }
    buf_append_byte(out, '}');
}

static void write_recipients(struct buf *out, const struct queue_entry *entry)
{
    member(out, "recipients");
    buf_append_byte(out, '[');
    for (size_t i = 0; i < entry->recipient_count; i++) {
        next_element(out);
        write_recipient(out, &entry->recipients[i]);
    }
    buf_append_byte(out, ']');
}

bool queue_entry_write_json(const struct queue_entry *entry, int64_t now_ms, struct buf *out)
{
    buf_append_byte(out, '{');
    id_member(out, "id", entry->id);
    member(out, "from");
    address_string(out, &entry->mail.reverse_path);
    text_member(out, "user", entry->user);
    number_member(out, "size", entry->body_size);
    time_member(out, "accepted", entry->accepted_ms);
    number_member(out, "age_s", now_ms > entry->accepted_ms ? (uint64_t)(now_ms - entry->accepted_ms) / 1000 : 0);
    text_member(out, "envelope_id", entry->mail.envid);
    write_recipients(out, entry);
    buf_append_byte(out, '}');
    return !out->overflow;
}

/* ---- histories -------------------------------------------------------------------------------------------------------------- */

/* The addresses of the message's recipients, for events that name them by index. */
struct names {
    const struct address *addresses;
    size_t count;
};

static void recipient_member(struct buf *out, const struct names *names, size_t index)
{
    member(out, "to");
    if (index < names->count)
        address_string(out, &names->addresses[index]);
    else
        buf_printf(out, "\"recipient %zu\"", index);
}

static void write_deliveries(struct buf *out, struct reader *r)
{
    size_t count = (size_t)read_number(r, ENTRY_RECIPIENTS_MAX);
    if (count == 0)
        return;
    member(out, "delivered");
    buf_append_byte(out, '[');
    for (size_t i = 0; i < count && !r->is_bad; i++) {
        uint64_t account = read_number(r, UINT64_MAX), uid = read_number(r, UINT32_MAX);
        struct slice mailbox = read_string(r), name = read_string(r);
        next_element(out);
        buf_append_byte(out, '{');
        text_member(out, "to", name);
        number_member(out, "account", account);
        text_member(out, "mailbox", mailbox);
        if (uid != 0)
            number_member(out, "uid", uid);
        buf_append_byte(out, '}');
    }
    buf_append_byte(out, ']');
}

static void write_accepted(struct buf *out, struct op *op, uint64_t body_size, struct arena *arena, struct names *names)
{
    struct static_head head;
    if (!static_head_read(&op->rest, &head))
        return;
    struct address *addresses = ARENA_ARRAY(arena, struct address, head.recipient_count);
    struct static_recipient recipient;
    text_member(out, "event", SLICE("accepted"));
    member(out, "from");
    address_string(out, &head.mail.reverse_path);
    text_member(out, "user", head.user);
    number_member(out, "size", body_size);
    text_member(out, "envelope_id", head.mail.envid);
    if (head.recipient_count > 0) {
        member(out, "queued");
        buf_append_byte(out, '[');
    }
    for (size_t i = 0; i < head.recipient_count && static_recipient_read(&op->rest, &recipient); i++) {
        next_element(out);
        address_string(out, &recipient.address);
        if (addresses != NULL) {
            addresses[i] = recipient.address;
            *names = (struct names){ addresses, i + 1 };
        }
    }
    if (head.recipient_count > 0)
        buf_append_byte(out, ']');
    text_member(out, "peer", read_string(&op->rest));
    text_member(out, "helo", read_string(&op->rest));
    text_member(out, "tls", read_string(&op->rest));
    text_member(out, "protocol", read_string(&op->rest));
    id_member(out, "reports_on", read_u64(&op->rest));
    write_deliveries(out, &op->rest);
}

static void untold_member(struct buf *out, enum untold untold)
{
    switch (untold) {
    case TOLD_OR_NOT_WANTED: break;
    case UNTOLD_NULL_SENDER: text_member(out, "not_reported", SLICE("the sender is <>: reports about reports are dropped")); break;
    case UNTOLD_NO_ROUTE: text_member(out, "not_reported", SLICE("the sender's address does not exist")); break;
    }
}

static void write_outcome_item(struct buf *out, const struct outcome_item *item, const struct names *names)
{
    buf_append_byte(out, '{');
    recipient_member(out, names, item->index);
    text_member(out, "state", slice_from_str(queue_state_name(item->state)));
    if (item->code > 0)
        number_member(out, "code", (uint64_t)item->code);
    status_member(out, item->esc);
    text_member(out, item->flags & OUTCOME_IS_REMOTE ? "reply" : "reason", item->text);
    text_member(out, "remote", item->remote);
    if (item->state == QUEUE_DUE)
        time_member(out, "next_attempt", item->due_ms);
    buf_append_byte(out, '}');
}

static void write_outcome(struct buf *out, struct op *op, const struct names *names)
{
    struct outcome_head head;
    struct outcome_item item;
    if (!outcome_head_read(&op->rest, &head) || !outcome_item_read(&op->rest, &item))
        return;
    const char *event = item.flags & OUTCOME_IS_DEATH ? "died" : item.flags & OUTCOME_IS_ATTEMPT ? "attempt" : item.flags & OUTCOME_IS_DELAY_TOLD ? "delayed" : "ended";
    text_member(out, "event", slice_from_str(event));
    text_member(out, "tls", head.tls);
    text_member(out, "mx", head.mx);
    text_member(out, "greeting", head.greeting);
    id_member(out, "report", head.report);
    untold_member(out, head.untold);
    member(out, "outcomes");
    buf_append_byte(out, '[');
    for (size_t i = 1;; i++) {
        next_element(out);
        write_outcome_item(out, &item, names);
        if (i >= head.count || !outcome_item_read(&op->rest, &item))
            break;
    }
    buf_append_byte(out, ']');
}

static void write_action(struct buf *out, struct op *op, const struct names *names)
{
    static const char *const events[] = { "held", "released", "retried", "bounced", "deleted" };
    uint8_t action = read_u8(&op->rest);
    size_t count = (size_t)read_number(&op->rest, ENTRY_RECIPIENTS_MAX);
    text_member(out, "event", slice_from_str(action < sizeof events / sizeof *events ? events[action] : "action"));
    member(out, "recipients");
    buf_append_byte(out, '[');
    for (size_t i = 0; i < count && !op->rest.is_bad; i++) {
        size_t index = (size_t)read_number(&op->rest, ENTRY_RECIPIENTS_MAX);
        next_element(out);
        buf_append_byte(out, '{');
        recipient_member(out, names, index);
        buf_append_byte(out, '}');
    }
    buf_append_byte(out, ']');
}

static void write_event(struct buf *out, struct op *op, uint64_t body_size, struct arena *arena, struct names *names)
{
    next_element(out);
    buf_append_byte(out, '{');
    time_member(out, "time", op->time_ms);
    switch (op->kind) {
    case OP_NEW:
        write_accepted(out, op, body_size, arena, names);
        break;
    case OP_OUTCOME:
        write_outcome(out, op, names);
        break;
    case OP_ACTION:
        write_action(out, op, names);
        break;
    case OP_REPORTED:
        text_member(out, "event", SLICE("reported"));
        id_member(out, "report", read_u64(&op->rest));
        break;
    }
    buf_append_byte(out, '}');
}

enum rc queue_why(struct queue *q, uint64_t id, int64_t now_ms, struct buf *out, struct fault *f)
{
    (void)now_ms;
    struct buf history;
    buf_init(&history, OP_MAX);
    enum rc rc = history_read(q, id, &history, f);
    const struct entry *packed = queue_entry_get(q, id);
    if (rc != RC_OK && !(rc == RC_NONE && packed != NULL)) {
        buf_free(&history);
        return rc;
    }
    arena_rewind(q->work);
    struct names names = { NULL, 0 };
    struct reader r = { buf_slice(&history), false };
    buf_append_byte(out, '{');
    id_member(out, "id", id);
    member(out, "events");
    buf_append_byte(out, '[');
    while (r.in.len > 0 && !r.is_bad) {
        uint64_t body_size = read_number(&r, UINT64_MAX);
        struct op op;
        if (op_parse(read_string(&r), &op))
            write_event(out, &op, body_size, q->work, &names);
    }
    buf_append_byte(out, ']');
    const struct queue_entry *entry = packed == NULL ? NULL : entry_unpack(packed, q->work);
    if (entry != NULL)
        write_recipients(out, entry);
    buf_append_byte(out, '}');
    buf_free(&history);
    return out->overflow ? fault_no_memory(f) : RC_OK;
}
