/* Not a test of limits but of orders of magnitude: how long the store takes for much mail. Figures go to stderr; checks are
 * of counts only. The folder is the first argument (a real disk says more than memory), then the number of messages. */
#include "support.h"

#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void ignore_change(void *arg, const struct store_change *c) { *(uint32_t *)arg += 1; (void)c; }

static uint64_t put(struct store *store, uint64_t account, struct slice text)
{
    struct store_delivery to = { .account = account, .mailbox = SLICE("INBOX") };
    struct store_accept accept = { .body = body_of(store, text), .deliveries = &to, .delivery_count = 1 };
    uint64_t wait;
    if (store_accept(store, &accept, &wait, NULL) != RC_OK)
        abort();
    return wait;
}

/* `flight` senders, each sending its next message when the one before is durable. */
static void durable(struct store *store, uint32_t messages, uint32_t flight, size_t bytes)
{
    static char text[65536];
    uint64_t waits[512] = { 0 };
    struct store_figures before, after;
    memset(text, 'x', sizeof text);
    store_figures(store, &before);
    double start = now_s(), cpu = cpu_s(), longest = 0, last = start;
    for (uint32_t sent = 0; sent < messages;) {
        for (uint32_t i = 0; i < flight && sent < messages; i++)
            if (store_settled(store, waits[i]) != RC_MORE) {
                waits[i] = put(store, 1 + i % 4, (struct slice){ text, bytes });
                sent++;
            }
        store_wait(store, waits[0]);
        longest = now_s() - last > longest ? now_s() - last : longest;
        last = now_s();
    }
    for (uint32_t i = 0; i < flight; i++)
        store_wait(store, waits[i]);
    double took = now_s() - start;
    store_figures(store, &after);
    fprintf(stderr, "%6zu bytes, %3u in flight: %8.0f messages/s, %5.1f us CPU each, %.1f per sync, longest round %.1f ms\n", bytes, flight, messages / took,
            (cpu_s() - cpu) * 1e6 / messages, (double)(after.records - before.records) / (double)(after.syncs - before.syncs), longest * 1e3);
}

static void large_mailbox(const char *dir, uint32_t messages)
{
    struct store *store = open_store(dir, 0, (struct store_rider){ 0 });
    make_account(store, 9);
    uint64_t inbox = mailbox_id(store, 9, "INBOX"), wait = 0;
    uint32_t uid;
    double start = now_s();
    for (uint32_t i = 0; i < messages; i++) {
        CHECK(store_append(store, inbox, body_of(store, SLICE("a small message")), (struct mail_date){ i, 0 }, 0, 0, &uid, &wait, NULL) == RC_OK);
        if (i % 1000 == 999)
            store_wait(store, wait);
    }
    store_wait(store, wait);
    fprintf(stderr, "%u messages in one mailbox: appended in %.2f s\n", messages, now_s() - start);
    struct store_view *views[50];
    start = now_s();
    for (int i = 0; i < 50; i++)
        CHECK_INT(store_view_open(store, inbox, false, &views[i], NULL), RC_OK);
    fprintf(stderr, "  a view opens in %.1f us\n", (now_s() - start) * 1e6 / 50);
    start = now_s();
    uint32_t changes = 0;
    for (int i = 0; i < 1000; i++) {
        store_wait(store, put(store, 9, SLICE("news")));
        for (int v = 0; v < 50; v++)
            store_view_sync(views[v], true, ignore_change, &changes);
    }
    CHECK_INT(changes, 50000);
    fprintf(stderr, "  a durable message and the sync of 50 views: %.0f us\n", (now_s() - start) * 1e6 / 1000);
    start = now_s();
    for (uint32_t i = 1; i <= 1000; i++) {
        struct uid_set one;
        uint64_t modseq;
        uid_set_init(&one);
        uid_set_add(&one, i * (messages / 1000), i * (messages / 1000));
        CHECK(store_flags(store, inbox, &one, FLAGS_ADD, FLAG_SEEN, 0, UINT64_MAX, NULL, &modseq, &wait, NULL) == RC_OK);
        store_wait(store, wait);
        for (int v = 0; v < 50; v++)
            store_view_sync(views[v], true, ignore_change, &changes);
        uid_set_free(&one);
    }
    CHECK_INT(changes, 100000);
    fprintf(stderr, "  a durable flag and the sync of 50 views: %.0f us\n", (now_s() - start) * 1e6 / 1000);
    start = now_s();
    for (uint32_t i = 1; i <= 1000; i++) {
        struct uid_set one;
        uid_set_init(&one);
        uid_set_add(&one, i * (messages / 1000), i * (messages / 1000));
        CHECK(store_expunge(store, inbox, &one, true, NULL, &wait, NULL) == RC_OK);
        store_wait(store, wait);
        uid_set_free(&one);
    }
    fprintf(stderr, "  a durable expunge: %.0f us\n", (now_s() - start) * 1e6 / 1000);
    start = now_s();
    for (int v = 0; v < 50; v++)
        store_view_sync(views[v], true, ignore_change, &changes);
    CHECK_INT(changes, 150000);
    fprintf(stderr, "  1000 expunges told to a view: %.0f us\n", (now_s() - start) * 1e6 / 50);
    start = now_s();
    struct uid_set all = set_of("1:*");
    uint64_t modseq;
    CHECK(store_flags(store, inbox, &all, FLAGS_ADD, FLAG_FLAGGED, 0, UINT64_MAX, NULL, &modseq, &wait, NULL) == RC_OK);
    store_wait(store, wait);
    uid_set_free(&all);
    fprintf(stderr, "  a flag on all of them: %.3f s\n", now_s() - start);
    for (int i = 0; i < 50; i++)
        store_view_close(views[i]);
    start = now_s();
    store_close(store);
    fprintf(stderr, "  closed with a checkpoint in %.2f s\n", now_s() - start);
    start = now_s();
    store = open_store(dir, 0, (struct store_rider){ 0 });
    fprintf(stderr, "  opened in %.2f s\n", now_s() - start);
    struct store_mailbox_info info;
    CHECK_INT(store_mailbox_by_id(store, inbox, &info), RC_OK);
    CHECK_INT(info.messages, messages);
    store_close(store);
}

int main(int argc, char **argv)
{
    char dir[128];
    uint32_t messages = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 20000;
    snprintf(dir, sizeof dir, "%.100s/thurn-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (mkdtemp(dir) == NULL)
        abort();
    struct store *store = open_store(dir, 0, (struct store_rider){ 0 });
    for (uint64_t account = 1; account <= 4; account++)
        make_account(store, account);
    static const uint32_t flights[] = { 1, 20, 64, 500 };
    for (size_t i = 0; i < 4; i++)
        durable(store, messages / (i == 0 ? 8 : 1), flights[i], 4096);
    durable(store, messages / 10, 64, 65536);
    store_close(store);
    large_mailbox(dir, messages * 5);
    remove_folder(dir);
    return check_done();
}
