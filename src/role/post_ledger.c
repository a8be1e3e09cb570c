/* thurn ledger: the balance, and the walk that names what is missing, in pieces between everything else that post does.
 *
 *     ledger          "quick": the balance alone
 *
 * Rows: {"looked_at": N} about once a second, one object for each finding (queue/ledger.h), and at the end {"ledger": {...},
 * "found": N} with the balance as of that moment. */
#include "role/post.h"

#include "os/log.h"
#include "queue/ledger.h"
#include "role/control.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PIECE_MESSAGES = 1000,              /* a turn of the loop: a millisecond or two */
    PIECE_EVERY_MS = 1,
    TELL_EVERY_MS = 1000,
    FINDINGS_MAX = 10000,               /* told one by one; more are counted */
    ROW_MAX = 64 * 1024,
};

struct ledger_call {
    struct post *post;
    struct control_call *call;
    struct ledger_walk *walk;           /* NULL: quick */
    struct loop_timer timer;
    int64_t told_ms;
    uint64_t found;
};

static void on_finding(void *arg, const struct ledger_finding *finding)
{
    struct ledger_call *c = arg;
    struct buf row;
    if (c->found++ >= FINDINGS_MAX)
        return;
    bool has_name = finding->account != 0 && c->post->routing != NULL;
    buf_init(&row, ROW_MAX);
    if (ledger_finding_write_json(finding, has_name ? routing_account_name(c->post->routing, finding->account) : SLICE_NONE, &row)) {
        control_row(c->call, buf_slice(&row));
        log_event(LOG_ERROR, "ledger-missing", LOG_TEXT("what", buf_slice(&row)));
    }
    buf_free(&row);
}

static void finish(struct ledger_call *c)
{
    struct fault fine = { .rc = RC_OK };
    struct ledger ledger;
    struct buf row;
    ledger_take(c->post->queue, c->post->store, c->walk != NULL, &ledger);
    buf_init(&row, ROW_MAX);
    (void)buf_append_str(&row, "{\"ledger\":{");
    (void)ledger_write_json(&ledger, &row);
    (void)buf_printf(&row, "},\"found\":%llu}", (unsigned long long)c->found);
    control_row(c->call, buf_slice(&row));
    buf_free(&row);
    control_done(c->call, &fine);
    if (c->walk != NULL)
        c->post->is_walking_ledger = false;
    ledger_walk_free(c->walk);
    free(c);
}

static void on_piece(struct loop_timer *timer)
{
    struct ledger_call *c = LIST_ENTRY(timer, struct ledger_call, timer);
    int64_t now_ms = loop_now_ms(c->post->loop);
    if (!ledger_walk_step(c->walk, PIECE_MESSAGES)) {
        finish(c);
        return;
    }
    if (now_ms - c->told_ms >= TELL_EVERY_MS) {
        char row[64];
        int len = snprintf(row, sizeof(row), "{\"looked_at\":%llu}", (unsigned long long)ledger_walk_seen(c->walk));
        control_row(c->call, (struct slice){ row, (size_t)len });
        c->told_ms = now_ms;
    }
    loop_timer_set(c->post->loop, &c->timer, PIECE_EVERY_MS);
}

void post_ledger_command(struct post *post, struct control_call *call, struct slice arguments)
{
    struct fault fault = { .rc = RC_OK };
    bool is_quick = slice_equal(slice_take_until(&arguments, '\0'), SLICE("quick"));
    struct ledger_call *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        (void)fault_no_memory(&fault);
    } else if (!is_quick && post->is_walking_ledger) {
        (void)fault_temp(&fault, 0, "somebody else's search is under way: wait for it, or ask with --quick");
    } else if (!is_quick) {
        c->walk = ledger_walk_new(post->queue, post->store, on_finding, c);
        if (c->walk == NULL)
            (void)fault_no_memory(&fault);
    }
    if (fault.rc != RC_OK) {
        free(c);
        control_done(call, &fault);
        return;
    }
    c->post = post;
    c->call = call;
    c->told_ms = loop_now_ms(post->loop);
    c->timer.expired = on_piece;
    if (is_quick) {
        finish(c);
        return;
    }
    post->is_walking_ledger = true;
    loop_timer_set(post->loop, &c->timer, PIECE_EVERY_MS);
}
