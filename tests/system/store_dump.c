/* Opens a store as the post role does, for writing, with all its recovery, and says everything that is in it:
 *
 *     store_dump FOLDER ACCOUNT...
 *
 *     account NUMBER
 *     mailbox UIDNEXT IS_SUBSCRIBED IS_THERE NAME
 *     message UID SIZE FLAG FLAG ...              then SIZE bytes of it, and a line end
 *     queued ID
 *     end
 *
 * Exit status 0 only when all of it could be read. It ends without closing, as a program that loses its power does. */
#include "base/fault.h"
#include "mail/address.h"
#include "queue/queue.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct { unsigned bit; const char *name; } system_flags[] = {
    { FLAG_ANSWERED, "\\Answered" }, { FLAG_FLAGGED, "\\Flagged" }, { FLAG_DELETED, "\\Deleted" }, { FLAG_SEEN, "\\Seen" }, { FLAG_DRAFT, "\\Draft" },
};

_Noreturn static void die(const struct fault *fault)
{
    (void)fprintf(stderr, "store_dump: %s\n", fault->text);
    exit(EXIT_FAILURE);
}

static void say_message(struct store *store, const struct store_message *m, const struct store_mailbox_info *box)
{
    struct fault fault;
    (void)printf("message %u %u", m->uid, m->size);
    for (size_t i = 0; i < sizeof(system_flags) / sizeof(system_flags[0]); i++)
        if ((m->flags & system_flags[i].bit) != 0)
            (void)printf(" %s", system_flags[i].name);
    for (size_t i = 0; i < KEYWORDS_MAX; i++)
        if ((m->keywords >> i & 1) != 0)
            (void)printf(" %.*s", SLICE_ARG(box->keywords[i]));
    (void)putchar('\n');
    char *bytes = malloc(m->size + 1u);
    must(bytes != NULL);
    if (store_read(store, m->body_id, 0, m->size, bytes, &fault) != RC_OK)
        die(&fault);
    (void)fwrite(bytes, 1, m->size, stdout);
    (void)putchar('\n');
    free(bytes);
}

static void say_mailbox(struct store *store, const struct store_mailbox_info *box)
{
    struct store_view *view;
    struct fault fault;
    bool is_there = box->id != 0 && !box->is_noselect;
    (void)printf("mailbox %u %d %d %.*s\n", box->uidnext, box->is_subscribed, is_there, SLICE_ARG(box->name));
    if (!is_there)
        return;
    if (store_view_open(store, box->id, true, &view, &fault) != RC_OK)
        die(&fault);
    for (uint32_t seq = 1; seq <= store_view_count(view); seq++) {
        struct store_message m;
        store_view_at(view, seq, &m);
        say_message(store, &m, box);
    }
    store_view_close(view);
}

static void say_account(struct store *store, uint64_t account)
{
    struct store_mailbox_info box;
    char name[MAILBOX_NAME_MAX + 1] = "";
    if (!store_account_exists(store, account))
        return;
    (void)printf("account %llu\n", (unsigned long long)account);
    while (store_mailbox_next(store, account, slice_from_str(name), &box) == RC_OK) {
        (void)slice_to_str(box.name, name, sizeof(name));
        say_mailbox(store, &box);
    }
}

int main(int argc, char **argv)
{
    struct store *store;
    struct fault fault;
    struct queue_options queue_options = { .history_days = 30, .hash_seed = { 1, 2 } };
    struct queue *queue = queue_new(&queue_options);
    must(argc > 1 && queue != NULL);
    struct store_options options = { .dir = argv[1], .files = &file_ops_real, .rider = queue_rider(queue), .hash_seed = { 1, 2 } };
    if (store_open(&options, &store, &fault) != RC_OK)
        die(&fault);
    queue_attach(queue, store);
    for (int i = 2; i < argc; i++)
        say_account(store, strtoull(argv[i], NULL, 10));
    uint64_t id = 0;
    for (const struct queue_entry *entry; (entry = queue_after(queue, id)) != NULL; id = entry->id) {
        char text[QUEUE_ID_TEXT];
        queue_id_write(entry->id, text);
        (void)printf("queued %s\n", text);
    }
    (void)puts("end");
    (void)fflush(stdout);
    _exit(ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
}
