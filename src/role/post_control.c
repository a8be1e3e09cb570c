/* The administrator's commands to post: the queue, and the life of a message.
 *
 *     queue-list, queue-hold, queue-release, queue-retry, queue-bounce, queue-delete
 *                     arguments choose: "id=ID" (any number), or together "domain=", "sender=", "recipient=", "error=",
 *                     "older=SECONDS", "younger=SECONDS", "held", "due"; "all" for everything
 *     why             "id=ID"
 *     backup-hold     "SECONDS" (store/backup.h)
 *     ledger          see post_ledger.c
 *
 * Every chosen message is a row (what it was when chosen); the call is done when what it changed is on stable storage. */
#include "role/post.h"

#include "role/control.h"
#include "role/listener.h"
#include "store/backup.h"

#include <stdlib.h>

enum { IDS_MAX = 10000, ROW_MAX = 16 * 1024 * 1024, BACKUP_HOLD_MAX_S = 120 };

struct choice {
    struct queue_query query;
    uint64_t *ids;
    size_t id_count;
    bool is_everything;
    bool has_query;
};

struct control_action {
    const char *command;
    bool only_lists;
    enum queue_action action;
};

static const struct control_action actions[] = {
    { "queue-list", true, QUEUE_HOLD },
    { "queue-hold", false, QUEUE_HOLD },
    { "queue-release", false, QUEUE_RELEASE },
    { "queue-retry", false, QUEUE_RETRY },
    { "queue-bounce", false, QUEUE_BOUNCE },
    { "queue-delete", false, QUEUE_DELETE },
};

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static enum rc take_id(struct choice *choice, struct slice text, struct fault *fault)
{
    if (choice->id_count == IDS_MAX)
        return fault_perm(fault, 0, "more than %d ids: say it with a query", IDS_MAX);
    if (choice->ids == NULL)
        choice->ids = calloc(IDS_MAX, sizeof(*choice->ids));
    if (choice->ids == NULL)
        return fault_no_memory(fault);
    if (queue_id_parse(text, &choice->ids[choice->id_count]) != RC_OK)
        return fault_perm(fault, 0, "'%.*s' is not a message id: it has 13 characters, as in the log and in the reply to a submission",
                          (int)(text.len < 40 ? text.len : 40), text.ptr);
    choice->id_count++;
    return RC_OK;
}

static enum rc take_seconds(struct slice text, int64_t *seconds, struct fault *fault)
{
    uint64_t value;
    if (!slice_take_number(&text, INT64_MAX / 1000, &value) || text.len != 0)
        return fault_perm(fault, 0, "an age is a number of seconds");
    *seconds = (int64_t)value;
    return RC_OK;
}

static enum rc take_argument(struct choice *choice, struct slice argument, struct fault *fault)
{
    struct queue_query *query = &choice->query;
    const struct { struct slice name; struct slice *text; } texts[] = {
        { SLICE("domain"), &query->domain }, { SLICE("sender"), &query->sender },
        { SLICE("recipient"), &query->recipient }, { SLICE("error"), &query->error },
    };
    struct slice value = argument;
    struct slice name = slice_take_until(&value, '=');
    if (slice_equal(name, SLICE("id")))
        return take_id(choice, value, fault);
    if (slice_equal(name, SLICE("all"))) {
        choice->is_everything = true;
        return RC_OK;
    }
    choice->has_query = true;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (slice_equal(name, texts[i].name)) {
            *texts[i].text = value;
            return RC_OK;
        }
    if (slice_equal(name, SLICE("older")))
        return take_seconds(value, &query->older_than_s, fault);
    if (slice_equal(name, SLICE("younger")))
        return take_seconds(value, &query->younger_than_s, fault);
    if (slice_equal(name, SLICE("held")))
        query->only_held = true;
    else if (slice_equal(name, SLICE("due")))
        query->only_due = true;
    else
        return fault_perm(fault, 0, "no such argument: id, domain, sender, recipient, error, older, younger, held, due or all");
    return RC_OK;
}

static enum rc take_arguments(struct choice *choice, struct slice arguments, struct fault *fault)
{
    while (arguments.len != 0) {
        enum rc rc = take_argument(choice, slice_take_until(&arguments, '\0'), fault);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* ---- the queue --------------------------------------------------------------------------------------------------- */

struct run {                                    /* one call on its way through the queue */
    struct post *post;
    struct control_call *call;
    const struct control_action *action;
    int64_t now_ms;
    uint64_t wait;
    struct fault fault;
};

static void visit(struct run *run, const struct queue_entry *entry)
{
    struct buf row;
    uint64_t id = entry->id, wait = 0;
    buf_init(&row, ROW_MAX);
    bool is_shown = queue_entry_write_json(entry, run->now_ms, &row);       /* as it was: the action may be its end */
    if (!run->action->only_lists) {
        enum rc rc = queue_act(run->post->queue, id, run->action->action, run->now_ms, &wait, &run->fault);
        is_shown = is_shown && rc == RC_OK;
        if (rc == RC_OK)
            run->fault.rc = RC_OK;
    }
    if (is_shown)
        control_row(run->call, buf_slice(&row));
    buf_free(&row);
    if (wait > run->wait)
        run->wait = wait;
}

static void visit_ids(struct run *run, const struct choice *choice)
{
    for (size_t i = 0; i < choice->id_count && run->fault.rc == RC_OK; i++) {
        const struct queue_entry *entry = queue_find(run->post->queue, choice->ids[i]);
        char text[QUEUE_ID_TEXT];
        queue_id_write(choice->ids[i], text);
        if (entry != NULL)
            visit(run, entry);
        else
            (void)fault_none(&run->fault, "%s is not in the queue (\"thurn why %s\" tells what became of it)", text, text);
    }
}

static void visit_matching(struct run *run, const struct choice *choice)
{
    const struct queue_entry *entry;
    for (uint64_t after = 0; run->fault.rc == RC_OK && (entry = queue_after(run->post->queue, after)) != NULL;) {
        after = entry->id;
        if (queue_matches(entry, &choice->query, run->now_ms))
            visit(run, entry);
    }
}

struct finishing {                              /* a call that waits until its changes are durable */
    struct post_wait wait;
    struct control_call *call;
};

static void finish(struct post_wait *wait, enum rc rc)
{
    struct finishing *finishing = LIST_ENTRY(wait, struct finishing, wait);
    struct fault fault = { .rc = RC_OK };
    if (rc != RC_OK)
        (void)fault_temp(&fault, ESC(4, 3, 0), "the change could not be written: nothing has changed");
    control_done(finishing->call, &fault);
    free(finishing);
}

static void queue_command(struct post *post, struct control_call *call, const struct control_action *action, struct slice arguments)
{
    struct choice choice = { .ids = NULL };
    struct run run = { .post = post, .call = call, .action = action, .now_ms = loop_time_ms(post->loop), .fault = { .rc = RC_OK } };
    struct finishing *finishing = NULL;
    bool is_whole = false;
    if (take_arguments(&choice, arguments, &run.fault) == RC_OK) {
        run.fault.rc = RC_OK;
        is_whole = choice.id_count == 0 && !choice.has_query;
        if (is_whole && !choice.is_everything && !action->only_lists)
            (void)fault_perm(&run.fault, 0, "which messages? Give ids, a query, or all");
        else if (choice.id_count != 0)
            visit_ids(&run, &choice);
        else
            visit_matching(&run, &choice);
    }
    free(choice.ids);
    if (run.fault.rc == RC_OK && run.wait != 0)
        finishing = calloc(1, sizeof(*finishing));
    if (finishing == NULL) {
        control_done(call, &run.fault);
        return;
    }
    finishing->call = call;
    finishing->wait.settled = finish;
    post_wait_add(post, &finishing->wait, run.wait);
    dispatch_poke(post->dispatch);
}

/* ---- why --------------------------------------------------------------------------------------------------------- */

static void why_command(struct post *post, struct control_call *call, struct slice arguments)
{
    struct choice choice = { .ids = NULL };
    struct fault fault = { .rc = RC_OK };
    struct buf row;
    buf_init(&row, ROW_MAX);
    if (take_arguments(&choice, arguments, &fault) == RC_OK) {
        if (choice.id_count != 1)
            (void)fault_perm(&fault, 0, "why wants one message id");
        else if (queue_why(post->queue, choice.ids[0], loop_time_ms(post->loop), &row, &fault) == RC_OK)
            fault.rc = RC_OK;
    }
    if (fault.rc == RC_OK)
        control_row(call, buf_slice(&row));
    control_done(call, &fault);
    buf_free(&row);
    free(choice.ids);
}

/* ---- backup ------------------------------------------------------------------------------------------------------ */

/* "SECONDS": for so long no segment is given back. One row says up to where the log is durable, and which hold this is. */
static void backup_hold_command(struct post *post, struct control_call *call, struct slice arguments)
{
    struct fault fault = { .rc = RC_OK };
    struct store_held held;
    struct buf row;
    uint64_t seconds;
    struct slice word = slice_take_until(&arguments, '\0');
    buf_init(&row, ROW_MAX);
    if (!slice_take_number(&word, BACKUP_HOLD_MAX_S, &seconds) || word.len != 0) {
        (void)fault_perm(&fault, 0, "a hold is up to %d seconds", BACKUP_HOLD_MAX_S);
    } else {
        store_hold(post->store, (uint32_t)seconds, &held);
        (void)buf_printf(&row, "{\"hold\":%llu,\"server\":%llu,\"end\":%llu,\"segment_bytes\":%llu}", (unsigned long long)held.hold,
                         (unsigned long long)(post->hash_seed[0] >> 1), (unsigned long long)held.end, (unsigned long long)held.segment_bytes);
        control_row(call, buf_slice(&row));
    }
    control_done(call, &fault);
    buf_free(&row);
}

static void on_control(void *arg, struct control_call *call, struct slice command, struct slice arguments)
{
    struct post *post = arg;
    struct fault fault;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (slice_equal(command, slice_from_str(actions[i].command))) {
            queue_command(post, call, &actions[i], arguments);
            return;
        }
    if (slice_equal(command, SLICE("why"))) {
        why_command(post, call, arguments);
        return;
    }
    if (slice_equal(command, SLICE("backup-hold"))) {
        backup_hold_command(post, call, arguments);
        return;
    }
    if (post_append_command(post, call, command, arguments))
        return;
    if (slice_equal(command, SLICE("kept-list")) || slice_equal(command, SLICE("kept-restore"))) {
        post_kept_command(post, call, arguments, slice_equal(command, SLICE("kept-restore")));
        return;
    }
    if (slice_equal(command, SLICE("ledger"))) {
        post_ledger_command(post, call, arguments);
        return;
    }
    (void)fault_perm(&fault, 0, "no such command");
    control_done(call, &fault);
}

void post_control_begin(struct post *post, struct frame *listener)
{
    control_free(post->control);
    post->control = control_listen(post->loop, listener->fd, on_control, post);
    listener->fd = -1;
}
