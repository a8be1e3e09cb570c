/* People who fetch by POP3: list, read some, delete some, quit. */
#include "sim/look.h"

#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>

enum { DELETE_MAX = 4 };

/* "UIDVALIDITY.UID", as this server writes them. */
static uint32_t uid_of(const char *uidl)
{
    unsigned validity, uid;
    if (sscanf(uidl, "%u.%u", &validity, &uid) != 2)
        sim_fail("protocol: POP3: UIDL gave \"%s\"", uidl);
    return uid;
}

struct shelf {
    uint32_t *uids;
    size_t count;
};

static bool list(struct pop3 *pop3, struct shelf *shelf)
{
    const struct pop3_message *messages;
    if (pop3_list(pop3, &messages, &shelf->count) != CLIENT_DONE)
        return false;
    shelf->uids = malloc(shelf->count * sizeof shelf->uids[0] + 1);
    must(shelf->uids != NULL);
    for (size_t i = 0; i < shelf->count; i++)
        shelf->uids[i] = uid_of(messages[i].uidl);
    return true;
}

static bool hold(struct pop3 *pop3, const struct shelf *shelf, struct truth_mailbox *inbox, uint64_t since, uint32_t reads_per_million)
{
    struct truth_listing l;
    truth_listing_begin(&l, inbox, since, false);
    for (size_t i = 0; i < shelf->count; i++) {
        uint64_t token;
        struct slice text = SLICE_NONE;
        bool is_known = truth_listing_knows(&l, shelf->uids[i], &token);
        bool is_read = !is_known || sim_chance(reads_per_million);
        if (is_read && pop3_fetch(pop3, i + 1, &text) != CLIENT_DONE)
            return false;
        truth_listing_message(&l, shelf->uids[i], is_read ? truth_token_of(text) : token, 0, 0);
        if (is_read)
            truth_text(inbox, shelf->uids[i], text);
    }
    truth_listing_end(&l);
    return true;
}

static void wrong(const struct pop3 *pop3)
{
    if (pop3_wrong(pop3) != NULL)
        sim_fail("protocol: POP3: %s", pop3_wrong(pop3));
}

/* Deletes some and quits; in every case the session is over. */
static void clear_away(struct person *person, struct pop3 *pop3, const struct shelf *shelf, struct truth_mailbox *inbox)
{
    struct truth_copy *marked[DELETE_MAX];
    size_t count = 0;
    for (size_t i = 0; i < shelf->count && count < DELETE_MAX; i++) {
        struct truth_copy *copy = sim_chance(200000) ? truth_claim_uid(inbox, shelf->uids[i]) : NULL;
        if (copy == NULL)
            continue;
        if (pop3_delete(pop3, i + 1) == CLIENT_DONE)
            marked[count++] = copy;
        else
            truth_release(copy);
    }
    wrong(pop3);
    if (sim_chance(200000)) {
        for (size_t i = 0; i < count; i++)
            truth_release(marked[i]);
        pop3_drop(pop3);
        return;
    }
    for (size_t i = 0; i < count; i++)
        truth_expunge_begin(marked[i]);
    enum client_result result = pop3_quit(pop3);
    for (size_t i = 0; i < count; i++)          /* "-ERR some deleted messages not removed" (RFC 1939 6): any of them may be gone */
        truth_expunge_end(marked[i], result == CLIENT_REFUSED ? TRUTH_UNKNOWN : answer_of(person->room, result));
}

static bool session(struct person *person, bool deletes, uint32_t reads_per_million)
{
    struct truth_mailbox *inbox = truth_mailbox_find(person->account, "INBOX");
    struct client_server server = server_of(person, 110, 995);
    enum client_result result;
    uint64_t since = truth_mark(person->room->truth);
    struct pop3 *pop3 = pop3_open(person->desk, &server, &result);
    if (pop3 == NULL)
        return false;
    struct shelf shelf = { .count = 0 };
    bool is_whole = list(pop3, &shelf) && hold(pop3, &shelf, inbox, since, reads_per_million);
    wrong(pop3);
    if (is_whole && deletes)
        clear_away(person, pop3, &shelf, inbox);
    else
        pop3_drop(pop3);
    free(shelf.uids);
    return is_whole;
}

int popper_main(void *arg)
{
    struct person *person = arg;
    struct room *room = person->room;
    while (!room->is_over) {
        pause_for(room, room->plan.pause_us * 4);
        if (!room->is_over)
            (void)session(person, sim_chance(500000), 200000);
    }
    room->at_work--;
    return 0;
}

bool popper_look(struct person *person)
{
    return session(person, false, 1000000);
}
