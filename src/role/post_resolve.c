/* Who may send what to whom. Everything that keeps this server from being an open relay is in this file. */
#include "role/post.h"

static enum rc starting(struct fault *fault)
{
    return fault_temp(fault, ESC(4, 3, 0), "the mail store is starting, try again");
}

enum rc post_may_send(struct post *post, const struct post_sender *sender, const struct address *reverse_path, struct fault *fault)
{
    if (post->routing == NULL)
        return starting(fault);
    if (sender->is_local_user)
        return RC_OK;
    if (sender->face == SMTP_SUBMISSION && sender->account == 0)
        return fault_perm(fault, ESC(5, 7, 0), "log in first");
    if (sender->account == 0 || reverse_path->is_null)
        return RC_OK;                   /* strangers may be anyone; reports have no sender */
    if (!routing_may_send_as(post->routing, sender->account, reverse_path))
        return fault_perm(fault, ESC(5, 7, 1), "this address is not yours: send as the account you logged in with or an alias of it");
    return RC_OK;
}

enum rc post_may_author(struct post *post, const struct post_sender *sender, bool is_understood, struct slice addresses,
                        struct arena *arena, struct fault *fault)
{
    struct address author;
    if (sender->account == 0 || sender->is_local_user)
        return RC_OK;
    if (post->routing == NULL)
        return starting(fault);
    if (!is_understood)
        return fault_perm(fault, ESC(5, 6, 0), "the From header cannot be understood: one From, with addresses as RFC 5322 has them");
    while (addresses.len != 0) {
        struct slice text = slice_take_until(&addresses, '\0');
        if (address_parse(text, arena, &author, fault) != RC_OK || !routing_may_send_as(post->routing, sender->account, &author))
            return fault_perm(fault, ESC(5, 7, 1), "the From header names %.*s, which is not yours", (int)(text.len < 200 ? text.len : 200), text.ptr);
    }
    return RC_OK;
}

static bool may_relay(const struct post_sender *sender)
{
    return sender->face != SMTP_LMTP && (sender->account != 0 || sender->is_local_user);
}

enum rc post_check_room(struct post *post, const struct routing_target *target, uint64_t size_bytes, struct fault *fault)
{
    struct store_usage usage;
    if (!store_account_exists(post->store, target->account))
        return fault_temp(fault, ESC(4, 2, 0), "the mailbox is being created, try again");
    if (target->quota_bytes == 0 || store_account_usage(post->store, target->account, &usage) != RC_OK)
        return RC_OK;
    uint64_t bytes = usage.bytes + usage.coming_bytes;
    if (bytes + size_bytes <= target->quota_bytes && bytes < target->quota_bytes)
        return RC_OK;
    if (post->config.full_mailbox_is_permanent)
        return fault_perm(fault, ESC(5, 2, 2), "the mailbox is full");
    return fault_temp(fault, ESC(4, 2, 2), "the mailbox is full");
}

enum rc post_resolve(struct post *post, const struct post_sender *sender, const struct address *address, uint64_t size_bytes,
                     struct arena *arena, struct routing_target **targets, size_t *count, struct fault *fault)
{
    if (post->routing == NULL)
        return starting(fault);
    enum rc rc = routing_resolve(post->routing, address, arena, targets, count, fault);
    if (rc != RC_OK)
        return rc;
    for (size_t i = 0; i < *count; i++) {
        const struct routing_target *target = &(*targets)[i];
        if (target->account != 0)
            rc = post_check_room(post, target, size_bytes, fault);
        else if (!target->is_alias && !may_relay(sender))
            rc = fault_perm(fault, ESC(5, 7, 1), sender->face == SMTP_LMTP ? "not a mailbox of this server" : "relaying denied");
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

enum rc post_route_report(void *self, const struct queue_report *report, struct arena *arena, struct store_delivery **deliveries,
                          size_t *delivery_count, struct slice **names, struct queue_recipient **recipients, size_t *recipient_count)
{
    struct post *post = self;
    struct routing_target *targets;
    size_t count;
    struct fault fault;
    *delivery_count = *recipient_count = 0;
    if (post->routing == NULL)
        return RC_TEMP;
    enum rc rc = routing_resolve(post->routing, &report->to, arena, &targets, &count, &fault);
    if (rc != RC_OK)
        return rc;
    *deliveries = ARENA_ARRAY(arena, struct store_delivery, count);
    *names = ARENA_ARRAY(arena, struct slice, count);
    *recipients = ARENA_ARRAY(arena, struct queue_recipient, count);
    if (*deliveries == NULL || *names == NULL || *recipients == NULL)
        return RC_TEMP;
    for (size_t i = 0; i < count; i++) {
        if (targets[i].account == 0) {
            (*recipients)[*recipient_count].address = targets[i].address;
            (*recipients)[(*recipient_count)++].notify = NOTIFY_NEVER;     /* RFC 3461 6.2: of a report nothing is reported */
        } else if (store_account_exists(post->store, targets[i].account)) {
            (*names)[*delivery_count] = routing_account_name(post->routing, targets[i].account);
            (*deliveries)[*delivery_count].account = targets[i].account;
            (*deliveries)[(*delivery_count)++].mailbox = SLICE("INBOX");
        }
    }
    return RC_OK;
}
