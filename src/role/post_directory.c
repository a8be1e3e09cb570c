/* The routing table as auth streams it: received beside the one in force, then swapped as a whole. An account that is new
 * gets its mailboxes here; one that is gone keeps its mail for a while, unreachable, since a slip of the hand must not delete
 * it (store.keep_expunged). */
#include "role/post.h"

#include "os/log.h"
#include "store/kept.h"

#include <stdlib.h>

/* Asked again soon: the disk may be full, and an account without its mailboxes can neither get mail nor read. */
static void try_again(struct post *post)
{
    post->lacks_mailboxes = true;
    loop_timer_set(post->loop, &post->tick, POST_AGAIN_MS);
}

/* Better the old table whole than a new one with holes; without any, no mail is taken. */
static void refuse(struct post *post)
{
    log_event(LOG_ERROR, "directory-refused", LOG_STR("why", "out of memory: the directory in force stays"));
    routing_free(post->routing_next);
    post->routing_next = NULL;
    post->lacks_directory = true;
    loop_timer_set(post->loop, &post->tick, POST_AGAIN_MS);
}

static void begin(struct post *post)
{
    routing_free(post->routing_next);
    post->routing_next = routing_new(post->config.subaddress_separator, slice_from_str(post->config.host_name),
                                     slice_from_str(post->config.postmaster), post->hash_seed);
    post->lacks_directory = false;
    if (post->routing_next == NULL)
        refuse(post);
}

/* Accounts that the directory does not have any more, and those that it has again (store/kept.h). A directory without any was
 * lost rather than emptied. The position of the last change. */
static uint64_t mark_removed(struct post *post)
{
    size_t at = 0;
    uint64_t any, wait, last = 0;
    int64_t removed_s;
    struct fault fault;
    if (!routing_next_account(post->routing, &at, &any))
        return 0;
    for (uint64_t id = 0; (id = store_account_after(post->store, id, &removed_s)) != 0;) {
        bool is_owned = routing_account_name(post->routing, id).len != 0;
        if (is_owned == (removed_s == 0))
            continue;
        if (store_account_removed(post->store, id, !is_owned, &wait, &fault) != RC_OK) {
            log_fault(LOG_ERROR, "account-removed", &fault);
            try_again(post);
            break;
        }
        log_event(LOG_NOTICE, is_owned ? "account-restored" : "account-removed", LOG_NUMBER("account", id));
        last = wait > last ? wait : last;
    }
    return last;
}

/* The position of the last mailbox made. */
static uint64_t make_mailboxes(struct post *post)
{
    size_t at = 0;
    uint64_t account, wait, last = mark_removed(post);
    struct fault fault;
    while (routing_next_account(post->routing, &at, &account)) {
        if (store_account_exists(post->store, account))
            continue;
        if (store_account_create(post->store, account, loop_time_ms(post->loop) / 1000, &wait, &fault) != RC_OK) {
            log_fault(LOG_ERROR, "account-create", &fault);
            try_again(post);
            break;                      /* the next one would fare no better */
        }
        if (wait > last)
            last = wait;
    }
    return last;
}

struct settling {                       /* a directory whose mailboxes are on their way to stable storage */
    struct post_wait wait;
    struct post *post;
    uint64_t version;
};

static void settled(struct post_wait *wait, enum rc rc)
{
    struct settling *settling = LIST_ENTRY(wait, struct settling, wait);
    if (rc != RC_OK)
        try_again(settling->post);
    if (settling->post->auth != NULL)
        channel_send(settling->post->auth, FRAME_DIRECTORY_END, 0, settling->version);
    free(settling);
}

static void settle(struct post *post)
{
    struct settling *settling = calloc(1, sizeof(*settling));
    must(settling != NULL);
    settling->post = post;
    settling->version = post->routing_version;
    settling->wait.settled = settled;
    post_wait_add(post, &settling->wait, make_mailboxes(post));
}

void post_directory_tick(struct post *post)
{
    if (post->lacks_directory && post->auth != NULL)
        channel_send(post->auth, FRAME_DIRECTORY, 0, (uint64_t)0);
    if (post->lacks_directory)
        loop_timer_set(post->loop, &post->tick, POST_AGAIN_MS);
    if (!post->lacks_mailboxes || post->routing == NULL)
        return;
    if (!store_has_room(post->store, 0, NULL)) {
        try_again(post);
        return;
    }
    post->lacks_mailboxes = false;
    settle(post);
}

static void end(struct post *post, uint64_t version)
{
    if (post->routing_next == NULL)
        return;
    routing_free(post->routing);
    post->routing = post->routing_next;
    post->routing_next = NULL;
    post->routing_version = version;
    log_event(LOG_INFO, "directory", LOG_NUMBER("version", version));
    post_ticket_drop_disabled(post);            /* whoever is no longer let in is not let stay either */
    post_session_stop_disabled(post);
    settle(post);
}

void post_directory_frame(struct post *post, const struct frame *frame)
{
    bool fits = true;
    if (frame->type == FRAME_DIRECTORY) {
        begin(post);
        return;
    }
    if (post->routing_next == NULL)
        return;
    if (frame->type == FRAME_DOMAIN)
        fits = routing_add_domain(post->routing_next, frame->field[0].bytes);
    else if (frame->type == FRAME_ACCOUNT)
        fits = routing_add_account(post->routing_next, frame->field[0].number, frame->field[1].bytes, frame->field[2].number,
                                   frame->field[3].number != 0);
    else if (frame->type == FRAME_ALIAS)
        fits = routing_add_alias(post->routing_next, frame->field[0].bytes, frame->field[1].bytes);
    else if (frame->type == FRAME_DIRECTORY_END)
        end(post, frame->field[0].number);
    if (!fits)
        refuse(post);
}
