/* Transactions from the edges. What an edge says is typed but not trusted: every recipient is resolved and judged here, the
 * size is counted here, and 250 goes out only after the store has settled the record.
 *
 * A transaction gathers where its message goes: deliveries into mailboxes (each mailbox once, however many recipients lead
 * to it) and recipients for the queue. At commit all of that, the body and the history are one record. */
#include "role/post.h"

#include "os/log.h"
#include "smtp/server.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    TRACE_MAX = 64 * 1024,              /* what the edge may put in front of a message of the largest size */
    SAID_MAX = 512,                     /* of a name, an address, a cipher: longer than any that is */
    ORCPT_MAX = 1024,                   /* RFC 3461 4.2: 500 */
};

struct target {                         /* of a transaction: a mailbox or a queue recipient */
    struct routing_target target;
    struct slice orcpt;
    unsigned notify;
};

struct transaction {
    struct post_edge *edge;
    uint32_t session;
    struct post_sender sender;
    struct arena arena;
    struct smtp_mail mail;
    uint64_t id;
    char id_text[QUEUE_ID_TEXT];
    struct slice user, peer, helo, tls, protocol;
    struct target *targets;
    size_t target_count, target_cap;
    size_t rcpt_count;
    size_t gathered_bytes;              /* counted in post.gathered_bytes */
    struct store_body *body;
    uint32_t trace_bytes;
    struct fault broken;                /* the first thing that went wrong with the body, told at commit */
    struct post_wait wait;
    struct queue_new *accepted;         /* with the body's id and size: what a success report tells of, once it is durable */
    uint64_t body_id, body_size;
    bool is_committing;
    bool is_forgotten;                  /* the edge went away while the record was on its way: nobody is answered */
    int64_t began_ms;
};

static struct post *post_of(const struct transaction *t) { return t->edge->post; }

/* ---- how much is gathered ------------------------------------------------------------------------------------------ */

/* A transaction has its limits, but strangers may have thousands of them. */
static bool may_gather(const struct post *post, struct fault *fault)
{
    if (post->gathered_bytes < POST_GATHERED_MAX)
        return true;
    (void)fault_temp(fault, ESC(4, 3, 1), "too much mail is on its way in at once");
    return false;
}

/* After whatever made it larger or smaller. */
static void count_gathered(struct transaction *t)
{
    uint64_t body = t->body == NULL ? 0 : store_body_size(t->body);
    size_t now = sizeof(*t) + t->arena.used_bytes + (body < POST_BODY_HELD_MAX ? (size_t)body : POST_BODY_HELD_MAX);
    post_of(t)->gathered_bytes = post_of(t)->gathered_bytes - t->gathered_bytes + now;
    t->gathered_bytes = now;
}

static void transaction_free(struct transaction *t)
{
    post_of(t)->gathered_bytes -= t->gathered_bytes;
    if (!t->is_forgotten)
        (void)map_remove_u64(&t->edge->transactions, t->session);
    if (t->body != NULL)
        store_body_abandon(t->body);
    arena_free(&t->arena);
    free(t);
}

void post_mail_forget_all(struct post_edge *edge)
{
    size_t at = 0;
    uint64_t session;
    for (struct transaction *t; (t = map_next_u64(&edge->transactions, &at, &session)) != NULL;) {
        if (t->is_committing) {
            t->is_forgotten = true;
            (void)map_remove_u64(&edge->transactions, session);
        } else {
            transaction_free(t);
        }
    }
}

/* ---- MAIL -------------------------------------------------------------------------------------------------------- */

/* An address as two fields of a frame have it: written and parsed again, so that nothing but an address gets into the queue
 * or into a command for another server, whatever became of the edge. Its slices live in the arena. */
static enum rc address_of(const struct frame *frame, size_t local_part, bool is_literal, struct arena *arena, struct address *out,
                          struct fault *fault)
{
    struct address said = {
        .local_part = frame->field[local_part].bytes, .domain = frame->field[local_part + 1].bytes, .is_literal = is_literal,
    };
    struct buf written;
    buf_init(&written, PATH_MAX_BYTES);
    enum rc rc = buf_reserve(&written, PATH_MAX_BYTES) == NULL ? fault_no_memory(fault)
        : address_write_path(&said, &written) ? RC_OK : fault_perm(fault, ESC(5, 1, 3), "an address that is too long");
    struct slice rest = buf_slice(&written);
    *out = (struct address){ .is_null = false };
    if (rc == RC_OK)
        rc = address_parse_path(&rest, false, arena, out, fault);
    if (rc == RC_OK && (rest.len != 0 || !address_equal(&said, out)))
        rc = fault_perm(fault, ESC(5, 1, 3), "not an address");
    buf_free(&written);
    return rc;
}

/* The ticket alone says who it is; what the edge calls him does not count. */
static bool sender_of(struct post_edge *edge, const struct frame *frame, struct post_sender *sender, struct slice *user, struct fault *fault)
{
    uint64_t number = frame->field[1].number;
    *sender = (struct post_sender){ .face = (enum smtp_face)frame->field[0].number };
    sender->is_local_user = edge->index == POST_LOCAL;
    *user = sender->is_local_user ? SLICE("(local user)") : SLICE_NONE;
    if (number == 0)
        return true;
    const struct ticket *ticket = post_ticket_find(edge->post, number, edge->index);
    if (ticket == NULL) {
        (void)fault_temp(fault, ESC(4, 7, 0), "the login has expired, connect again");
        return false;
    }
    sender->account = ticket->account;
    if (!sender->is_local_user)
        *user = slice_from_str(ticket->name);
    return true;
}

/* For the log and the history: as much as an honest edge ever says. */
static struct slice keep(struct arena *arena, struct slice text) { return arena_copy(arena, slice_sub(text, 0, SAID_MAX)); }

static enum rc remember(struct transaction *t, const struct frame *frame, struct slice user, struct fault *fault)
{
    struct arena *arena = &t->arena;
    struct slice version = slice_sub(frame->field[4].bytes, 0, SAID_MAX), cipher = slice_sub(frame->field[5].bytes, 0, SAID_MAX);
    t->peer = keep(arena, frame->field[2].bytes);
    t->helo = keep(arena, frame->field[3].bytes);
    t->tls = slice_from_str(arena_printf(arena, "%.*s%s%.*s", SLICE_ARG(version), version.len != 0 ? " " : "", SLICE_ARG(cipher)));
    t->user = keep(arena, user);
    t->mail.envid = keep(arena, frame->field[10].bytes);
    t->mail.size = frame->field[11].number;
    t->mail.body = (enum smtp_body)frame->field[12].number;
    t->mail.is_utf8 = frame->field[13].number != 0;
    t->mail.ret = (enum smtp_ret)frame->field[14].number;
    t->protocol = keep(arena, frame->field[16].bytes);
    if (frame->field[7].number == 0)
        return address_of(frame, 8, frame->field[15].number != 0, arena, &t->mail.reverse_path, fault);
    t->mail.reverse_path.is_null = true;
    return RC_OK;
}

/* What an edge in its right mind never says, and what must not get as far as the queue. */
static bool is_sound(const struct frame *frame)
{
    return frame->field[0].number <= SMTP_LMTP && frame->field[12].number <= SMTP_BODY_BINARYMIME && frame->field[14].number <= SMTP_RET_HDRS;
}

static struct transaction *begin(struct post_edge *edge, const struct frame *frame, struct fault *fault)
{
    struct post *post = edge->post;
    struct post_sender sender;
    struct slice user;
    if (post->is_stopping) {
        (void)fault_temp(fault, ESC(4, 3, 2), "the server is stopping");
        return NULL;
    }
    if (!is_sound(frame)) {
        (void)fault_perm(fault, ESC(5, 5, 4), "parameters out of range");
        return NULL;
    }
    if (edge->transactions.count >= post->config.connections_max) {         /* an edge has no more sessions */
        (void)fault_temp(fault, ESC(4, 3, 2), "too many transactions at once");
        return NULL;
    }
    if (!may_gather(post, fault) || !sender_of(edge, frame, &sender, &user, fault))
        return NULL;
    struct transaction *t = calloc(1, sizeof(*t));
    if (t == NULL || !map_put_u64(&edge->transactions, frame->session, t)) {
        free(t);
        (void)fault_no_memory(fault);
        return NULL;
    }
    arena_init(&t->arena, POST_TRANSACTION_MEMORY_MAX);
    t->edge = edge;
    t->session = frame->session;
    t->sender = sender;
    t->began_ms = loop_time_ms(post->loop);
    if (remember(t, frame, user, fault) != RC_OK || post_may_send(post, &t->sender, &t->mail.reverse_path, fault) != RC_OK ||
        !store_has_room(post->store, t->mail.size, fault)) {
        transaction_free(t);
        return NULL;
    }
    count_gathered(t);
    t->id = queue_next_id(post->queue, t->began_ms);
    queue_id_write(t->id, t->id_text);
    return t;
}

/* What the store says of a disk names folders of ours: that is for the log, not for strangers. */
static struct fault fault_for_peer(const struct fault *fault)
{
    struct fault said = *fault;
    if (fault->rc == RC_TEMP && fault->esc == ESC(4, 3, 1))
        (void)fault_temp(&said, fault->esc, "insufficient storage here, try again later");
    else if (fault->rc == RC_TEMP && fault->esc == ESC(4, 3, 0))
        (void)fault_temp(&said, fault->esc, "not possible now, try again later");
    return said;
}

static void on_mail(struct post_edge *edge, const struct frame *frame)
{
    struct fault fault = { .rc = RC_OK };
    struct transaction *t = begin(edge, frame, &fault);
    if (t == NULL) {
        edge->post->messages_refused++;
        log_event(LOG_INFO, "sender-refused", LOG_TEXT("peer", frame->field[2].bytes), LOG_TEXT("user", frame->field[6].bytes),
                  LOG_TEXT("from", frame->field[8].bytes), LOG_TEXT("domain", frame->field[9].bytes), LOG_STR("why", fault.text));
    }
    struct fault said = fault_for_peer(&fault);
    channel_send(edge->channel, FRAME_MAIL_ANSWER, frame->session, &said, t != NULL ? slice_from_str(t->id_text) : SLICE_NONE);
}

/* ---- RCPT -------------------------------------------------------------------------------------------------------- */

static bool same_target(const struct routing_target *a, const struct routing_target *b)
{
    if (a->account != 0 || b->account != 0)
        return a->account == b->account;
    return address_equal(&a->address, &b->address);
}

/* Adds what is not there yet. False: out of memory. */
static bool add_targets(struct transaction *t, const struct routing_target *targets, size_t count, unsigned notify, struct slice orcpt)
{
    for (size_t i = 0; i < count; i++) {
        bool is_there = false;
        for (size_t k = 0; k < t->target_count && !is_there; k++)
            is_there = same_target(&t->targets[k].target, &targets[i]);
        if (is_there)
            continue;
        if (t->target_count == t->target_cap) {
            size_t cap = t->target_cap == 0 ? 8 : t->target_cap * 2;
            struct target *grown = ARENA_ARRAY(&t->arena, struct target, cap);
            if (grown == NULL)
                return false;
            if (t->target_count != 0)
                memcpy(grown, t->targets, t->target_count * sizeof(*grown));
            t->targets = grown;
            t->target_cap = cap;
        }
        t->targets[t->target_count++] = (struct target){ targets[i], orcpt, notify };
    }
    return true;
}

static void log_refusal(const struct transaction *t, struct slice local_part, struct slice domain, const struct fault *fault)
{
    char to[400];                   /* as the edge role took it apart: more than this is no address */
    snprintf(to, sizeof(to), "%.*s%s%.*s", SLICE_ARG(local_part), domain.len != 0 ? "@" : "", SLICE_ARG(domain));
    log_event(LOG_INFO, "recipient-refused", LOG_STR("id", t->id_text), LOG_STR("to", to), LOG_STR("why", fault->text));
}

static void take_recipient(struct transaction *t, const struct frame *frame, struct fault *fault)
{
    struct routing_target *targets = NULL;
    size_t count = 0;
    struct address address = { .is_null = false };
    struct slice orcpt = arena_copy(&t->arena, slice_sub(frame->field[4].bytes, 0, ORCPT_MAX));
    unsigned notify = (unsigned)(frame->field[3].number & (NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY));
    if (address_of(frame, 0, frame->field[2].number != 0, &t->arena, &address, fault) == RC_OK &&
        post_resolve(post_of(t), &t->sender, &address, t->mail.size, &t->arena, &targets, &count, fault) == RC_OK &&
        !add_targets(t, targets, count, notify, orcpt))
        (void)fault_temp(fault, ESC(4, 5, 3), "the recipients lead to too many addresses");
}

static void on_rcpt(struct transaction *t, const struct frame *frame)
{
    struct fault fault = { .rc = RC_OK };
    if (t->rcpt_count >= SMTP_RECIPIENTS_MAX)
        (void)fault_temp(&fault, ESC(4, 5, 3), "too many recipients");
    else if (may_gather(post_of(t), &fault))
        take_recipient(t, frame, &fault);
    if (fault.rc == RC_OK)
        t->rcpt_count++;
    else
        log_refusal(t, frame->field[0].bytes, frame->field[1].bytes, &fault);
    count_gathered(t);
    struct fault said = fault_for_peer(&fault);
    channel_send(t->edge->channel, FRAME_RCPT_ANSWER, t->session, &said);
}

/* ---- body -------------------------------------------------------------------------------------------------------- */

static void on_body(struct transaction *t, const struct frame *frame)
{
    struct store *store = post_of(t)->store;
    if (t->broken.rc != RC_OK)
        return;                                 /* told at commit */
    if (t->body == NULL) {
        if (!may_gather(post_of(t), &t->broken))
            return;
        t->body = store_body_begin(store);
        t->trace_bytes = (uint32_t)frame->field[0].number;
    }
    if (t->body == NULL) {
        (void)fault_no_memory(&t->broken);
        return;
    }
    if (store_body_size(t->body) + frame->field[1].bytes.len > post_of(t)->config.message_size_max + TRACE_MAX)
        (void)fault_perm(&t->broken, ESC(5, 3, 4), "the message is larger than this server takes");
    else if ((store_body_size(t->body) >= POST_BODY_HELD_MAX || may_gather(post_of(t), &t->broken)) &&
             store_body_write(t->body, frame->field[1].bytes, &t->broken) == RC_OK)
        t->broken.rc = RC_OK;
    if (t->broken.rc != RC_OK) {                /* nobody reads it any more */
        store_body_abandon(t->body);
        t->body = NULL;
    }
    count_gathered(t);
}

/* ---- commit ------------------------------------------------------------------------------------------------------ */

/* LMTP has an outcome for each recipient (RFC 2033 4.2): here they share one. */
static void answer_commit(const struct transaction *t, const struct fault *fault)
{
    size_t answers = t->sender.face == SMTP_LMTP ? t->rcpt_count : 1;
    if (t->is_forgotten)
        return;
    for (size_t i = 0; i < answers; i++)
        channel_send(t->edge->channel, FRAME_COMMIT_ANSWER, t->session, fault);
}

static void refuse_commit(struct transaction *t, const struct fault *fault)
{
    post_of(t)->messages_refused++;
    log_event(LOG_WARNING, "message-refused", LOG_STR("id", t->id_text), LOG_STR("why", fault->text));
    struct fault said = fault_for_peer(fault);
    answer_commit(t, &said);
    transaction_free(t);
}

static void report_success(struct transaction *t)
{
    struct slice addresses[SMTP_RECIPIENTS_MAX], orcpts[SMTP_RECIPIENTS_MAX];
    unsigned notify[SMTP_RECIPIENTS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < t->target_count && count < SMTP_RECIPIENTS_MAX; i++) {
        const struct target *target = &t->targets[i];
        if (target->target.account == 0 || (target->notify & NOTIFY_SUCCESS) == 0)
            continue;
        addresses[count] = routing_account_name(post_of(t)->routing, target->target.account);
        orcpts[count] = target->orcpt;
        notify[count++] = target->notify;
    }
    struct fault fault;
    uint64_t wait;
    if (count != 0 && !t->mail.reverse_path.is_null &&
        queue_report_local(post_of(t)->queue, t->accepted, addresses, notify, orcpts, count, t->body_id, t->body_size,
                           t->began_ms, &wait, &fault) != RC_OK)
        log_fault(LOG_WARNING, "report-failed", &fault);
}

static void on_settled(struct post_wait *wait, enum rc rc)
{
    struct transaction *t = LIST_ENTRY(wait, struct transaction, wait);
    struct post *post = post_of(t);
    struct fault fault = { .rc = RC_OK };
    if (rc != RC_OK) {
        (void)fault_temp(&fault, ESC(4, 3, 0), "the message could not be written, try again later");
        refuse_commit(t, &fault);
        return;
    }
    post->messages_accepted++;
    answer_commit(t, &fault);
    report_success(t);                          /* the header that it returns can be read now */
    transaction_free(t);
    dispatch_poke(post->dispatch);
}

struct plan {                           /* a transaction as what the store takes */
    struct store_delivery *deliveries;
    struct slice *names;
    size_t delivery_count;
    struct queue_recipient *recipients;
    size_t recipient_count;
};

static bool make_plan(struct transaction *t, struct plan *plan)
{
    plan->deliveries = ARENA_ARRAY(&t->arena, struct store_delivery, t->target_count);
    plan->names = ARENA_ARRAY(&t->arena, struct slice, t->target_count);
    plan->recipients = ARENA_ARRAY(&t->arena, struct queue_recipient, t->target_count);
    plan->delivery_count = plan->recipient_count = 0;
    if (plan->deliveries == NULL || plan->names == NULL || plan->recipients == NULL)
        return false;
    for (size_t i = 0; i < t->target_count; i++) {
        const struct target *target = &t->targets[i];
        if (target->target.account != 0) {
            plan->names[plan->delivery_count] = routing_account_name(post_of(t)->routing, target->target.account);
            plan->deliveries[plan->delivery_count++] =
                (struct store_delivery){ .account = target->target.account, .mailbox = SLICE("INBOX") };
        } else {
            plan->recipients[plan->recipient_count++] = (struct queue_recipient){
                .address = target->target.address, .orcpt = target->orcpt, .notify = target->notify,
            };
        }
    }
    return true;
}

static void log_accepted(const struct transaction *t, uint64_t size, const struct plan *plan)
{
    struct buf from;
    buf_init(&from, 1024);
    (void)address_write(&t->mail.reverse_path, &from);
    log_event(LOG_INFO, "accepted", LOG_STR("id", t->id_text), LOG_TEXT("from", buf_slice(&from)), LOG_TEXT("peer", t->peer),
              LOG_TEXT("protocol", t->protocol), LOG_TEXT("user", t->user), LOG_TEXT("tls", t->tls), LOG_NUMBER("size", size),
              LOG_NUMBER("mailboxes", plan->delivery_count), LOG_NUMBER("queued", plan->recipient_count));
    buf_free(&from);
}

static enum rc hand_over(struct transaction *t, const struct frame *frame, const struct plan *plan, uint64_t *wait, struct fault *fault)
{
    struct queue_new *new = ARENA_NEW(&t->arena, struct queue_new);
    if (new == NULL)
        return fault_no_memory(fault);
    *new = (struct queue_new){
        .id = t->id, .mail = &t->mail, .trace_bytes = t->trace_bytes,
        .has_8bit = frame->field[1].number != 0, .has_long_line = frame->field[2].number != 0,
        .has_bare_eol = frame->field[3].number != 0, .has_utf8_header = frame->field[4].number != 0,
        .lacks_final_eol = frame->field[5].number != 0,
        .now_ms = t->began_ms, .user = t->user, .peer = t->peer, .helo = t->helo, .tls = t->tls, .protocol = t->protocol,
        .recipients = plan->recipients, .recipient_count = plan->recipient_count,
        .deliveries = plan->deliveries, .delivery_count = plan->delivery_count, .delivery_names = plan->names,
    };
    uint64_t size = store_body_size(t->body);
    struct store_accept accept = {
        .body = t->body, .internal_date = { loop_time_ms(post_of(t)->loop) / 1000, loop_zone_min(post_of(t)->loop) },
        .deliveries = plan->deliveries, .delivery_count = plan->delivery_count, .write_op = queue_write_new, .write_op_arg = new,
    };
    t->body = NULL;                             /* consumed in every case */
    enum rc rc = store_accept(post_of(t)->store, &accept, wait, fault);
    if (rc != RC_OK)
        return rc;
    log_accepted(t, size, plan);
    t->accepted = new;
    t->body_id = accept.body_id;
    t->body_size = accept.body_size;
    return RC_OK;
}

/* Once more, with the size that it came to have and what has come since RCPT. One that is full by now refuses the message for
 * all: when the client comes again, RCPT tells it which one (RFC 5321 4.2.5 has one reply). */
static enum rc check_quotas(const struct transaction *t, struct fault *fault)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < t->target_count && rc == RC_OK; i++)
        if (t->targets[i].target.account != 0)
            rc = post_check_room(post_of(t), &t->targets[i].target, store_body_size(t->body), fault);
    return rc;
}

static void on_commit(struct transaction *t, const struct frame *frame)
{
    struct fault fault = t->broken;
    struct plan plan;
    uint64_t wait = 0;
    if (fault.rc == RC_OK && t->body == NULL) {
        t->body = store_body_begin(post_of(t)->store);          /* an empty message is one */
        if (t->body == NULL)
            (void)fault_no_memory(&fault);
    }
    if (fault.rc == RC_OK && store_body_size(t->body) != frame->field[0].number)
        (void)fault_temp(&fault, ESC(4, 3, 0), "the message did not arrive whole");
    if (fault.rc == RC_OK && t->trace_bytes > store_body_size(t->body))
        (void)fault_perm(&fault, ESC(5, 3, 0), "more in front of the message than there is of it");
    if (fault.rc == RC_OK && t->target_count == 0)
        (void)fault_perm(&fault, ESC(5, 5, 1), "no recipients");
    if (fault.rc == RC_OK &&
        post_may_author(post_of(t), &t->sender, frame->field[6].number != 0, frame->field[7].bytes, &t->arena, &fault) == RC_OK)
        fault.rc = RC_OK;
    if (fault.rc == RC_OK && check_quotas(t, &fault) == RC_OK)
        fault.rc = RC_OK;
    if (fault.rc == RC_OK && !make_plan(t, &plan))
        (void)fault_no_memory(&fault);
    if (fault.rc == RC_OK && hand_over(t, frame, &plan, &wait, &fault) == RC_OK)
        fault.rc = RC_OK;
    if (fault.rc != RC_OK) {
        refuse_commit(t, &fault);
        return;
    }
    t->is_committing = true;
    t->wait.settled = on_settled;
    post_wait_add(post_of(t), &t->wait, wait);
}

/* ---- holding back ------------------------------------------------------------------------------------------------- */

static void hold_edges(struct post *post, bool are_held)
{
    post->are_edges_held = are_held;
    for (size_t i = 0; i < POST_EDGES_MAX; i++)
        if (post->edges[i].channel != NULL)
            channel_hold(post->edges[i].channel, are_held);
}

void post_mail_go_on(struct post *post)
{
    if (post->are_edges_held && !store_is_behind(post->store, NULL))
        hold_edges(post, false);
}

/* After what has brought bytes: the disk's pace becomes that of the clients. */
static void look_behind(struct post *post)
{
    if (!post->are_edges_held && store_is_behind(post->store, NULL))
        hold_edges(post, true);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

void post_mail_frame(struct post_edge *edge, const struct frame *frame)
{
    struct fault untold = { .rc = RC_NONE };
    struct transaction *t = map_get_u64(&edge->transactions, frame->session);
    if (frame->type == FRAME_VRFY) {            /* RFC 5321 7.3: names are not given away; the machine says 252 */
        channel_send(edge->channel, FRAME_RCPT_ANSWER, frame->session, &untold);
        return;
    }
    if (t != NULL && t->is_committing)
        return;                                 /* nothing can follow a commit before its answer */
    if (frame->type == FRAME_MAIL) {
        if (t != NULL)
            transaction_free(t);
        on_mail(edge, frame);
        return;
    }
    if (t == NULL)
        return;                                 /* of a transaction that was refused */
    if (frame->type == FRAME_RCPT)
        on_rcpt(t, frame);
    else if (frame->type == FRAME_BODY)
        on_body(t, frame);
    else if (frame->type == FRAME_COMMIT)
        on_commit(t, frame);
    else if (frame->type == FRAME_ABANDON)
        transaction_free(t);
    if (frame->type == FRAME_BODY || frame->type == FRAME_COMMIT)
        look_behind(edge->post);
}
