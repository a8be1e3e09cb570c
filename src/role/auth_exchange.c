/* SASL exchanges in the auth role.
 *
 * An edge relays what a client says, message by message; the machine of sasl/sasl.h judges it against the directory. On
 * success a ticket goes to `post` first and then to the edge with the good news: `post` opens a mailbox, or takes mail for
 * the world, only against a ticket, so an edge that has been taken over reaches only who just logged in through it.
 * Failures are answered late to an address that keeps failing (guesses.h); nothing here tells which part was wrong. */
#include "role/auth.h"

#include "base/map.h"
#include "os/child.h"
#include "os/log.h"

#include <stdlib.h>

enum { EXCHANGE_MEMORY_MAX = 64 * 1024 };

struct exchange {
    struct list list;               /* in its edge's */
    struct auth_edge *edge;
    uint32_t session;
    struct arena arena;
    struct sasl_server *sasl;
    struct directory_account account;
    bool has_account;
    char peer[64];
    struct loop_timer timer;        /* a failure that waits to be told */
    struct fault fault;
};

static void forget(struct exchange *exchange)
{
    loop_timer_stop(exchange->edge->auth->loop, &exchange->timer);
    list_remove(&exchange->list);
    exchange->edge->auth->exchange_count--;
    arena_free(&exchange->arena);
    free(exchange);
}

void auth_exchange_forget_all(struct auth_edge *edge)
{
    LIST_EACH(node, &edge->exchanges)
        forget(LIST_ENTRY(node, struct exchange, list));
}

static struct exchange *find(const struct auth_edge *edge, uint32_t session)
{
    LIST_EACH(node, &edge->exchanges) {
        struct exchange *exchange = LIST_ENTRY(node, struct exchange, list);
        if (exchange->session == session)
            return exchange;
    }
    return NULL;
}

static void answer(const struct auth_edge *edge, uint32_t session, enum sasl_state state, struct slice bytes,
                   const struct fault *fault, uint64_t ticket, const struct directory_account *account)
{
    struct fault fine = { .rc = RC_OK };
    channel_send(edge->channel, FRAME_AUTH_ANSWER, session, (uint64_t)state, bytes, fault != NULL ? fault : &fine, ticket,
                 account != NULL ? account->id : 0, account != NULL ? account->name : SLICE_NONE);
}

static void tell_failure(struct loop_timer *timer)
{
    struct exchange *exchange = LIST_ENTRY(timer, struct exchange, timer);
    answer(exchange->edge, exchange->session, SASL_FAILED, SLICE_NONE, &exchange->fault, 0, NULL);
    forget(exchange);
}

static void failed(struct exchange *exchange, const struct fault *fault)
{
    struct auth *auth = exchange->edge->auth;
    struct slice peer = slice_from_str(exchange->peer);
    exchange->fault = *fault;
    auth->failed++;
    log_event(LOG_NOTICE, "auth-failed", LOG_TEXT("user", sasl_server_name(exchange->sasl)), LOG_TEXT("peer", peer),
              LOG_STR("why", fault->text));
    int64_t delay = fault->rc == RC_PERM ? guesses_failed(&auth->guesses, peer, loop_now_ms(auth->loop)) : 0;
    if (delay == 0)
        tell_failure(&exchange->timer);
    else
        loop_timer_set(auth->loop, &exchange->timer, delay);
}

static void succeeded(struct exchange *exchange, struct slice bytes)
{
    struct auth *auth = exchange->edge->auth;
    struct slice authorize = sasl_server_authorize(exchange->sasl);
    struct fault fault;
    if (authorize.len != 0 && !slice_equal_nocase(authorize, exchange->account.name)) {
        fault_perm(&fault, ESC(5, 7, 8), "this login may not act for another account");
        failed(exchange, &fault);
        return;
    }
    if (auth->post == NULL) {
        fault_temp(&fault, ESC(4, 3, 0), "the mail store is being restarted, try again");
        failed(exchange, &fault);
        return;
    }
    uint64_t ticket = random_u64();
    auth->succeeded++;
    channel_send(auth->post, FRAME_TICKET, 0, ticket, exchange->account.id, (uint64_t)exchange->edge->index,
                 exchange->account.name);
    answer(exchange->edge, exchange->session, SASL_OK, bytes, NULL, ticket, &exchange->account);
    forget(exchange);
}

/* A verifier for a name that does not exist: always the same salt, so that names cannot be told apart. */
static void make_up_verifier(const struct auth *auth, struct slice name, struct sasl_verifier *verifier)
{
    uint64_t seed[2], part;
    memset(verifier, 0, sizeof(*verifier));
    for (size_t half = 0; half < 2; half++) {
        memcpy(seed, auth->secret + 16 * half, sizeof(seed));
        part = siphash(seed, name);
        memcpy(verifier->salt + 8 * half, &part, sizeof(part));
    }
    verifier->iterations = SASL_ITERATIONS_DEFAULT;
    random_bytes(verifier->stored_key, sizeof(verifier->stored_key));
    random_bytes(verifier->server_key, sizeof(verifier->server_key));
}

static enum sasl_state look_up(struct exchange *exchange, struct buf *out, struct fault *fault)
{
    const struct auth *auth = exchange->edge->auth;
    struct sasl_verifier verifier;
    struct slice name = sasl_server_name(exchange->sasl);
    enum rc rc = directory_verifier(auth->directory, name, &exchange->account, &exchange->arena, &verifier, fault);
    if (rc != RC_OK && rc != RC_NONE) {
        log_fault(LOG_ERROR, "directory", fault);
        fault_temp(fault, ESC(4, 3, 0), "the account directory cannot be read now, try again later");
        return SASL_FAILED;
    }
    exchange->has_account = rc == RC_OK;
    if (rc == RC_NONE)
        make_up_verifier(auth, name, &verifier);
    fault_clear(fault);
    return sasl_server_verifier(exchange->sasl, &verifier, rc == RC_OK, out, fault);
}

static void step(struct exchange *exchange, bool has_message, struct slice message)
{
    struct fault fault = { .rc = RC_OK };
    struct buf out;
    buf_init(&out, SASL_MESSAGE_MAX);
    enum sasl_state state = sasl_server_step(exchange->sasl, has_message, message, &out, &fault);
    if (state == SASL_LOOKUP)
        state = look_up(exchange, &out, &fault);

    switch (state) {
    case SASL_CHALLENGE:
        answer(exchange->edge, exchange->session, SASL_CHALLENGE, buf_slice(&out), NULL, 0, NULL);
        break;
    case SASL_OK:
        must(exchange->has_account);
        succeeded(exchange, buf_slice(&out));
        break;
    case SASL_LOOKUP:
    case SASL_FAILED:
        if (fault.rc == RC_OK)
            fault_perm(&fault, ESC(5, 7, 8), "authentication failed");
        failed(exchange, &fault);
        break;
    }
    buf_free(&out);
}

static struct exchange *begin(struct auth_edge *edge, const struct frame *frame)
{
    struct exchange *exchange = edge->auth->exchange_count < AUTH_EXCHANGES_MAX ? calloc(1, sizeof(*exchange)) : NULL;
    if (exchange == NULL)
        return NULL;
    unsigned char nonce[18];
    random_bytes(nonce, sizeof(nonce));
    struct sasl_binding binding = {
        .tls_server_end_point = frame->field[4].bytes,
        .tls_exporter = frame->field[5].bytes,
        .offers_plus = frame->field[6].number != 0,
    };
    arena_init(&exchange->arena, EXCHANGE_MEMORY_MAX);
    exchange->sasl = sasl_server_begin((enum sasl_mechanism)frame->field[1].number, &binding,
                                       (struct slice){ (const char *)nonce, sizeof(nonce) }, &exchange->arena);
    if (exchange->sasl == NULL) {
        arena_free(&exchange->arena);
        free(exchange);
        return NULL;
    }
    exchange->edge = edge;
    exchange->session = frame->session;
    exchange->timer.expired = tell_failure;
    (void)slice_to_str(slice_sub(frame->field[7].bytes, 0, sizeof(exchange->peer) - 1), exchange->peer, sizeof(exchange->peer));
    list_append(&edge->exchanges, &exchange->list);
    edge->auth->exchange_count++;
    return exchange;
}

void auth_exchange_frame(struct auth_edge *edge, const struct frame *frame)
{
    struct exchange *exchange = find(edge, frame->session);
    bool is_start = frame->type == FRAME_AUTH && frame->field[0].number != 0;
    if (exchange != NULL && (frame->type == FRAME_AUTH_END || is_start)) {
        forget(exchange);
        exchange = NULL;
    }
    if (frame->type == FRAME_AUTH_END)
        return;
    if (is_start)
        exchange = begin(edge, frame);
    if (exchange == NULL) {
        struct fault fault;
        fault_temp(&fault, ESC(4, 7, 0), "too many logins at once, try again later");
        answer(edge, frame->session, SASL_FAILED, SLICE_NONE, &fault, 0, NULL);
        return;
    }
    step(exchange, frame->field[2].number != 0, frame->field[3].bytes);
}
