/* Delivery status notifications about messages in the queue (RFC 3461 6, RFC 3464), and the record that carries one
 * together with the outcome it tells of (Q3).
 *
 * A report is a message of its own: null reverse-path, own id, delivered locally or queued as `reporter.route` says.
 * A report about a message with the null reverse-path does not exist (Q4): outcome.c never asks for one. */
#include "queue/inner.h"

#include "mail/dsn.h"
#include "mail/received.h"

enum {
    HEADER_RETURNED_MAX = 64 * 1024,    /* so much of the original is read to find its header */
    FULL_RETURNED_MAX = 1024 * 1024,    /* RET=FULL for larger messages returns the header (RFC 3461 6.2 leaves the choice) */
    REPORT_MAX = 16 * 1024 * 1024,
};

static enum dsn_action action_of(enum report_kind kind)
{
    switch (kind) {
    case REPORT_DELAYED: return DSN_DELAYED;
    case REPORT_DELIVERED: return DSN_DELIVERED;
    case REPORT_RELAYED: return DSN_RELAYED;
    case REPORT_NONE:
    case REPORT_FAILED: break;
    }
    return DSN_FAILED;
}

/* The remote's reply as RFC 3464 2.3.6 wants it: with its code. */
static struct slice diagnostic(struct arena *arena, const struct outcome_item *item)
{
    if (!(item->flags & OUTCOME_IS_REMOTE) || item->code == 0)
        return item->text;
    const char *text = arena_printf(arena, "%d %.*s", item->code, SLICE_ARG(slice_sub(item->text, 0, TEXT_MAX)));
    return text == NULL ? item->text : slice_from_str(text);
}

/* "mx.example.org[192.0.2.1]:25" -> the name. */
static struct slice remote_name(struct slice remote)
{
    return slice_sub(remote, 0, slice_find_byte(remote, '['));
}

static enum rc read_original(struct queue *q, const struct queue_entry *entry, bool full, struct buf *out, struct fault *f)
{
    uint64_t len = entry->body_size > entry->trace_bytes ? entry->body_size - entry->trace_bytes : 0;
    if (!full && len > HEADER_RETURNED_MAX)
        len = HEADER_RETURNED_MAX;
    char *to = buf_reserve(out, (size_t)len + 1);
    if (to == NULL)
        return fault_no_memory(f);
    enum rc rc = store_read(q->store, entry->body_id, entry->trace_bytes, (size_t)len, to, f);
    if (rc == RC_OK)
        buf_commit(out, (size_t)len);
    return rc;
}

struct about {                      /* what the parts of a report are made from */
    uint64_t id;                    /* of the report */
    const struct queue_entry *entry;
    enum report_kind kind;
    const struct dsn_recipient *recipients;
    size_t count;
    int64_t now_ms;
};

static enum rc write_report(struct queue *q, const struct about *a, struct buf *message, uint32_t *trace_bytes, struct fault *f)
{
    const struct queue_entry *entry = a->entry;
    char id[QUEUE_ID_TEXT], about_id[QUEUE_ID_TEXT];
    queue_id_write(a->id, id);
    queue_id_write(entry->id, about_id);
    bool full = a->kind == REPORT_FAILED && entry->mail.ret == SMTP_RET_FULL && entry->body_size <= FULL_RETURNED_MAX;
    struct buf original;
    buf_init(&original, FULL_RETURNED_MAX + HEADER_RETURNED_MAX);
    struct fault unread;
    if (read_original(q, entry, full, &original, &unread) != RC_OK)
        buf_clear(&original);                           /* a body that cannot be read is no reason not to tell */
    const char *message_id = arena_printf(q->work, "%s@%.*s", id, SLICE_ARG(q->reporter.host_name));
    struct dsn dsn = {
        .reporting_host = q->reporter.host_name,
        .to = &entry->mail.reverse_path,
        .envid = entry->mail.envid,
        .arrival_s = entry->accepted_ms / 1000,
        .queue_id = slice_from_str(about_id),
        .message_id = slice_from_str(message_id),
        .boundary_seed = slice_from_str(id),
        .now = { a->now_ms / 1000, 0 },
        .recipients = a->recipients,
        .recipient_count = a->count,
        .original = buf_slice(&original),
        .return_full = full,
        .is_utf8 = entry->mail.is_utf8,
    };
    return_path_write(&(struct address){ .is_null = true }, message);
    *trace_bytes = (uint32_t)buf_len(message);
    store_handling_begin(q->store, HANDLING_REPORT, entry->id);
    enum rc rc = dsn_write(&dsn, message, f);
    store_handling_end(q->store);
    buf_free(&original);
    return rc == RC_OK && message->overflow ? fault_no_memory(f) : rc;
}

static bool has_8bit(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] > 0x7f)
            return true;
    return false;
}

static bool has_long_line(struct slice s)
{
    for (size_t at = 0; at < s.len;) {
        size_t len = slice_find_byte(slice_sub(s, at, s.len - at), '\n');
        if (len > 999)                                  /* 998 and the CR */
            return true;
        at += len + 1;
    }
    return false;
}

/* Accepts the report, with `op` (what it tells of) in the same record. RC_PERM: there is nowhere to send it. */
static enum rc accept_report(struct queue *q, const struct about *a, struct buf *message, uint32_t trace_bytes, struct slice op,
                             uint64_t *wait, struct fault *f)
{
    struct smtp_mail mail = { .reverse_path = { .is_null = true }, .is_utf8 = a->entry->mail.is_utf8 };
    struct queue_report report = { a->entry->id, a->entry->mail.reverse_path, message, mail.is_utf8 };
    struct queue_new n = {
        .id = a->id,
        .mail = &mail,
        .trace_bytes = trace_bytes,
        .has_8bit = has_8bit(buf_slice(message)),
        .has_long_line = has_long_line(buf_slice(message)),
        .has_utf8_header = mail.is_utf8,
        .now_ms = a->now_ms,
        .protocol = SLICE("report"),
        .parent = a->entry->id,
    };
    mail.body = n.has_8bit ? SMTP_BODY_8BITMIME : SMTP_BODY_7BIT;
    struct store_delivery *deliveries = NULL;
    struct slice *names = NULL;
    struct queue_recipient *recipients = NULL;
    if (q->reporter.route == NULL)
        return fault_perm(f, 0, "reports cannot be sent yet");
    enum rc rc = q->reporter.route(q->reporter.self, &report, q->work, &deliveries, &n.delivery_count, &names, &recipients, &n.recipient_count);
    if (rc != RC_OK || n.delivery_count + n.recipient_count == 0)
        return rc == RC_TEMP ? fault_temp(f, ESC(4, 3, 0), "the report cannot be routed now")
                             : fault_perm(f, ESC(5, 1, 1), "the report has nowhere to go");
    n.deliveries = deliveries;
    n.delivery_names = names;
    n.recipients = recipients;

    struct store_body *body = store_body_begin(q->store);
    if (body == NULL)
        return fault_no_memory(f);
    rc = store_body_write(body, buf_slice(message), f);
    if (rc != RC_OK) {
        store_body_abandon(body);
    } else {
        struct store_accept accept = { .body = body, .internal_date = { a->now_ms / 1000, 0 }, .deliveries = deliveries,
                                       .delivery_count = n.delivery_count, .rider_ops = &op, .rider_op_count = 1,
                                       .write_op = queue_write_new, .write_op_arg = &n };
        rc = store_accept(q->store, &accept, wait, f);
    }
    return rc == RC_PERM ? RC_TEMP : rc;                /* the store's refusals are no reason to lose a report */
}

static bool write_outcome(struct buf *op, uint64_t id, const struct outcome_head *head, const struct decision *decisions, size_t count,
                          int64_t now_ms)
{
    buf_clear(op);
    queue_op_begin(op, OP_OUTCOME, id, now_ms);
    outcome_head_write(op, head);
    for (size_t i = 0; i < count; i++)
        outcome_item_write(op, &decisions[i].item);
    return !op->overflow;
}

static struct dsn_recipient *report_recipients(struct queue *q, const struct queue_entry *entry, const struct decision *decisions, size_t count,
                                               enum report_kind kind, int64_t now_ms)
{
    struct dsn_recipient *out = ARENA_ARRAY(q->work, struct dsn_recipient, count);
    for (size_t i = 0; out != NULL && i < count; i++) {
        const struct outcome_item *item = &decisions[i].item;
        const struct queue_recipient *r = &entry->recipients[item->index];
        out[i] = (struct dsn_recipient){
            .final = &r->address,
            .original = r->orcpt,
            .action = action_of(kind),
            .esc = item->esc,
            .remote_host = remote_name(item->remote),
            .diagnostic = diagnostic(q->work, item),
            .is_diagnostic_smtp = (item->flags & OUTCOME_IS_REMOTE) != 0,
            .last_attempt_s = (item->flags & OUTCOME_IS_ATTEMPT ? now_ms : r->last_attempt_ms) / 1000,
            .will_retry_until_s = kind == REPORT_DELAYED ? entry->accepted_ms / 1000 + (int64_t)q->options.lifetime_s : 0,
        };
    }
    return out;
}

enum rc report_record(struct queue *q, const struct queue_entry *entry, const struct outcome_head *head, const struct decision *decisions,
                      size_t count, enum report_kind kind, int64_t now_ms, uint64_t *wait, struct fault *f)
{
    struct outcome_head h = *head;
    struct buf op, message;
    buf_init(&op, OP_MAX);
    buf_init(&message, REPORT_MAX);
    enum rc rc = RC_PERM;
    if (kind != REPORT_NONE) {
        struct about about = { queue_next_id(q, now_ms), entry, kind, NULL, count, now_ms };
        uint32_t trace_bytes;
        about.recipients = report_recipients(q, entry, decisions, count, kind, now_ms);
        h.report = about.id;
        rc = about.recipients == NULL || !write_outcome(&op, entry->id, &h, decisions, count, now_ms) ? fault_no_memory(f)
           : write_report(q, &about, &message, &trace_bytes, f);
        if (rc == RC_OK)
            rc = accept_report(q, &about, &message, trace_bytes, buf_slice(&op), wait, f);
        h.untold = UNTOLD_NO_ROUTE;
    }
    if (rc == RC_PERM) {                                /* nothing to tell, or nobody to tell it to: the outcome alone */
        h.report = 0;
        rc = write_outcome(&op, entry->id, &h, decisions, count, now_ms) ? queue_submit(q, &op, wait, f) : fault_no_memory(f);
    }
    buf_free(&op);
    buf_free(&message);
    return rc;
}

/* ---- success at once ---------------------------------------------------------------------------------------------------- */

static struct dsn_recipient *local_recipients(struct queue *q, const struct slice *names, const unsigned *notify, const struct slice *orcpt,
                                              size_t count, int64_t now_ms, size_t *wanted)
{
    struct dsn_recipient *out = ARENA_ARRAY(q->work, struct dsn_recipient, count);
    struct address *addresses = ARENA_ARRAY(q->work, struct address, count);
    *wanted = 0;
    if (out == NULL || addresses == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct address *to = &addresses[*wanted];
        if (!notify_wants(notify[i], REPORT_DELIVERED) || address_parse(names[i], q->work, to, NULL) != RC_OK)
            continue;
        out[(*wanted)++] = (struct dsn_recipient){
            .final = to,
            .original = orcpt == NULL ? SLICE_NONE : orcpt[i],
            .action = DSN_DELIVERED,
            .esc = ESC(2, 1, 5),
            .last_attempt_s = now_ms / 1000,
        };
    }
    return out;
}

enum rc queue_report_local(struct queue *q, const struct queue_new *n, const struct slice *names, const unsigned *notify, const struct slice *orcpt,
                           size_t count, uint64_t body_id, uint64_t body_size, int64_t now_ms, uint64_t *wait, struct fault *f)
{
    *wait = 0;
    if (n->mail->reverse_path.is_null)
        return RC_OK;                                   /* keeps Q4 */
    arena_rewind(q->work);
    size_t wanted;
    struct dsn_recipient *recipients = local_recipients(q, names, notify, orcpt, count, now_ms, &wanted);
    if (recipients == NULL)
        return fault_no_memory(f);
    if (wanted == 0)
        return RC_OK;
    struct queue_entry entry = { .id = n->id, .body_id = body_id, .body_size = body_size, .trace_bytes = n->trace_bytes, .mail = *n->mail,
                                 .accepted_ms = n->now_ms };
    struct about about = { queue_next_id(q, now_ms), &entry, REPORT_DELIVERED, recipients, wanted, now_ms };
    struct buf op, message;
    buf_init(&op, OP_MAX);
    buf_init(&message, REPORT_MAX);
    queue_op_begin(&op, OP_REPORTED, n->id, now_ms);
    buf_append_u64(&op, about.id);
    buf_append_byte(&op, TOLD_OR_NOT_WANTED);
    uint32_t trace_bytes;
    enum rc rc = write_report(q, &about, &message, &trace_bytes, f);
    if (rc == RC_OK)
        rc = accept_report(q, &about, &message, trace_bytes, buf_slice(&op), wait, f);
    buf_free(&op);
    buf_free(&message);
    return rc == RC_PERM ? RC_OK : rc;
}
