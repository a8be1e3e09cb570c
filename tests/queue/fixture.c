/* See fixture.h. */
#include "fixture.h"

static struct slice by_domain(void *arg, const struct address *address, struct arena *arena)
{
    (void)arg;
    (void)arena;
    return address->domain;
}

static enum rc route(void *self, const struct queue_report *report, struct arena *arena, struct store_delivery **deliveries, size_t *delivery_count,
                     struct slice **names, struct queue_recipient **recipients, size_t *recipient_count)
{
    struct fixture *fx = self;
    (void)arena;
    if (fx->routing == ROUTE_NOWHERE)
        return RC_PERM;
    fx->reports++;
    struct slice text = buf_slice(report->message);
    must(text.len < sizeof fx->last_report);
    memcpy(fx->last_report, text.ptr, text.len);
    fx->last_report[text.len] = '\0';
    fx->route_name = SLICE("sender");
    fx->route_delivery = (struct store_delivery){ .account = 7, .mailbox = SLICE("INBOX") };
    fx->route_recipient = (struct queue_recipient){ .address = report->to };
    bool is_local = fx->routing == ROUTE_LOCAL;
    *deliveries = &fx->route_delivery;
    *names = &fx->route_name;
    *recipients = &fx->route_recipient;
    *delivery_count = is_local;
    *recipient_count = !is_local;
    return RC_OK;
}

static void begin(struct fixture *fx)
{
    fx->queue = queue_new(&fx->options);
    must(fx->queue != NULL);
    queue_set_destination(fx->queue, by_domain, NULL);
    queue_set_reporter(fx->queue, &(struct queue_reporter){ fx, SLICE("mail.home.example"), route });
}

void fixture_open(struct fixture *fx, const struct queue_options *options)
{
    static const struct queue_options usual = {
        .retry_first_s = 300, .retry_max_s = 4 * 3600, .lifetime_s = 5 * 24 * 3600, .delay_warning_s = 4 * 3600,
        .concurrency = 100, .destination_concurrency = 10, .history_days = 30,
    };
    *fx = (struct fixture){ .store = fake_store_new(), .options = options == NULL ? usual : *options };
    must(fx->store != NULL);
    arena_init(&fx->arena, 1 << 26);
    begin(fx);
    fx->store->rider = queue_rider(fx->queue);
    queue_attach(fx->queue, fx->store);
}

void fixture_close(struct fixture *fx)
{
    queue_free(fx->queue);
    fake_store_free(fx->store);
    arena_free(&fx->arena);
}

void fixture_reopen(struct fixture *fx, size_t keep_records)
{
    queue_free(fx->queue);
    begin(fx);
    fake_reopen(fx->store, queue_rider(fx->queue), keep_records);
    queue_attach(fx->queue, fx->store);
}

struct address fixture_address(struct fixture *fx, const char *text)
{
    struct address address = { .is_null = true };
    if (*text != '\0')
        must(address_parse(slice_from_str(text), &fx->arena, &address, NULL) == RC_OK);
    return address;
}

uint64_t fixture_add_mail(struct fixture *fx, const struct smtp_mail *mail, const char *to, unsigned notify, const char *orcpt, int64_t now_ms)
{
    static struct queue_recipient recipients[2000];
    size_t count = 0;
    for (struct slice in = slice_from_str(to); in.len > 0; count++) {
        struct slice one = slice_take_until(&in, ' ');
        must(count < sizeof recipients / sizeof *recipients);
        recipients[count] = (struct queue_recipient){ .address = fixture_address(fx, arena_str(&fx->arena, one)), .notify = notify,
                                                      .orcpt = slice_from_str(orcpt) };
    }
    struct queue_new n = { .id = queue_next_id(fx->queue, now_ms), .mail = mail, .trace_bytes = 5, .now_ms = now_ms, .user = SLICE("alice"),
                           .peer = SLICE("192.0.2.1"), .helo = SLICE("client.example"), .protocol = SLICE("ESMTPSA"),
                           .recipients = recipients, .recipient_count = count };
    struct buf op;
    buf_init(&op, 1 << 26);
    must(queue_encode_new(&n, &op));
    struct store_body *body = store_body_begin(fx->store);
    store_body_write(body, SLICE("TRACESubject: hello\r\nFrom: me\r\n\r\nThe text of it\r\n"), NULL);
    struct slice ops[] = { buf_slice(&op) };
    struct store_accept accept = { .body = body, .rider_ops = ops, .rider_op_count = 1 };
    must(store_accept(fx->store, &accept, &fx->wait, NULL) == RC_OK);
    buf_free(&op);
    fake_poll(fx->store);
    return n.id;
}

uint64_t fixture_add(struct fixture *fx, const char *from, const char *recipients, unsigned notify, int64_t now_ms)
{
    struct smtp_mail mail = { .reverse_path = fixture_address(fx, from) };
    return fixture_add_mail(fx, &mail, recipients, notify, NULL, now_ms);
}

enum rc fixture_done(struct fixture *fx, const struct queue_job *job, enum rc rc, int code, const char *text, bool is_dead, int64_t now_ms)
{
    static const uint32_t classes[] = { [RC_OK] = 2, [RC_TEMP] = 4, [RC_PERM] = 5 };
    struct smtp_outcome outcomes[QUEUE_JOB_RECIPIENTS_MAX];
    struct slice remotes[QUEUE_JOB_RECIPIENTS_MAX];
    for (size_t i = 0; i < job->recipient_count; i++) {
        outcomes[i] = (struct smtp_outcome){ .rc = rc, .esc = ESC(classes[rc], 1, 1), .code = code, .text = slice_from_str(text), .is_remote = code > 0 };
        remotes[i] = code > 0 ? SLICE("mx.there.example[192.0.2.9]:25") : SLICE_NONE;
    }
    struct queue_attempt attempt = { .tls = SLICE("TLSv1.3 AES"), .mx = SLICE("mx.there.example (10)"), .greeting = SLICE("mx.there.example"),
                                     .is_destination_dead = is_dead };
    enum rc done = queue_job_done(fx->queue, job, outcomes, remotes, &attempt, now_ms, 42, &fx->wait, &fx->fault);
    fake_poll(fx->store);
    return done;
}
