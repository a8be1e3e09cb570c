/* People's programs, other people's servers and strangers against one server: each request of a client does what it says, what goes
 * to another domain arrives there whatever mood its server is in, and strangers reach nothing. */
#include "sim/client.h"
#include "sim/node.h"
#include "sim/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct node_options options = { .host_name = "mail.one.example", .address = "192.0.2.1" };
static struct node *node;
static struct sim_host *people, *elsewhere;

#define WANT(condition) ((condition) ? (void)0 : sim_fail("%s:%d: not so: %s", __FILE__, __LINE__, #condition))
#define WANT_DONE(call) \
    do { \
        enum client_result result_ = (call); \
        if (result_ != CLIENT_DONE) \
            sim_fail("%s:%d: %s: %s", __FILE__, __LINE__, client_result_name(result_), #call); \
    } while (0)

static const struct client_server relay = { .address = "192.0.2.1", .port = 25, .timeout_ms = 600000 };
static const struct client_server submit = { .address = "192.0.2.1", .port = 587, .tls = CLIENT_STARTTLS, .user = "alice@one.example", .password = "secret",
                                             .timeout_ms = 600000 };
static const struct client_server submits = { .address = "192.0.2.1", .port = 465, .tls = CLIENT_TLS, .user = "alice@one.example", .password = "secret",
                                              .scram = true, .timeout_ms = 600000 };
static const struct client_server imap = { .address = "192.0.2.1", .port = 143, .tls = CLIENT_STARTTLS, .user = "alice@one.example", .password = "secret",
                                           .timeout_ms = 600000 };
static const struct client_server imaps = { .address = "192.0.2.1", .port = 993, .tls = CLIENT_TLS, .user = "alice@one.example", .password = "secret",
                                            .scram = true, .timeout_ms = 600000 };
static const struct client_server pop3s = { .address = "192.0.2.1", .port = 995, .tls = CLIENT_TLS, .user = "alice@one.example", .password = "secret",
                                            .timeout_ms = 600000 };

/* ---- SMTP --------------------------------------------------------------------------------------------------------- */

static void set_text(char text[400], const char *from, unsigned number)
{
    (void)snprintf(text, 400, "From: <%s>\r\nDate: Fri, 2 Jan 2026 10:00:00 +0000\r\nSubject: number %u\r\nMessage-ID: <%u@people.example>\r\n\r\nBody %u.\r\n.\r\n..two dots\r\n", from, number, number, number);
}

static void mail(const struct client_server *server, const char *from, const char *to, unsigned number, bool in_chunks, enum client_result wanted)
{
    char text[400];
    struct smtp_outcome outcome;
    set_text(text, from, number);
    struct smtp_letter letter = { .from = from, .to = &to, .to_count = 1, .text = slice_from_str(text), .by_chunks = in_chunks, .pipelined = number % 2 == 1 };
    enum client_result result = smtp_send(people, server, &letter, &outcome);
    if (result != wanted || outcome.to[0] != result)
        sim_fail("letter %u to %s: %s, wanted %s: %s", number, to, client_result_name(result), client_result_name(wanted), outcome.reply);
}

static void some_mail(void)
{
    mail(&relay, "bob@elsewhere.example", "alice@one.example", 1, false, CLIENT_DONE);
    mail(&relay, "bob@elsewhere.example", "alice@one.example", 2, true, CLIENT_DONE);
    mail(&relay, "bob@elsewhere.example", "nobody@one.example", 3, false, CLIENT_REFUSED);
    mail(&relay, "bob@elsewhere.example", "carol@two.example", 4, false, CLIENT_REFUSED);
    mail(&submit, "alice@one.example", "alice@one.example", 5, true, CLIENT_DONE);
    mail(&submits, "alice@one.example", "alice@one.example", 6, false, CLIENT_DONE);
    struct client_server stranger = submit;
    stranger.password = "wrong";
    mail(&stranger, "alice@one.example", "alice@one.example", 7, false, CLIENT_REFUSED);
    stranger = relay;
    stranger.port = 26;
    mail(&stranger, "bob@elsewhere.example", "alice@one.example", 8, false, CLIENT_UNSENT);
}

static int local_mail(void *arg)
{
    static const char *const to[] = { "alice@one.example", "nobody@one.example", "alice@one.example" };
    struct client_server lmtp = { .address = "127.0.0.1", .port = 24, .timeout_ms = 600000 };
    char text[400];
    struct smtp_outcome outcome;
    set_text(text, "bob@elsewhere.example", 9);
    struct smtp_letter letter = { .from = "", .to = to, .to_count = 2, .text = slice_from_str(text), .is_lmtp = true, .pipelined = true };
    WANT_DONE(smtp_send(node->host, &lmtp, &letter, &outcome));
    WANT(outcome.to[0] == CLIENT_DONE && outcome.to[1] == CLIENT_REFUSED);
    *(bool *)arg = true;
    sim_wake(arg);
    return 0;
}

static void lmtp(void)
{
    bool is_done = false;
    (void)sim_spawn(node->host, "lmtp", local_mail, &is_done);
    WANT(sim_wait(&is_done, sim_now_us() + 60 * 1000 * 1000) && is_done);
}

/* ---- IMAP --------------------------------------------------------------------------------------------------------- */

static void want_well(const struct imap *client)
{
    if (imap_wrong(client) != NULL)
        sim_fail("imap: %s", imap_wrong(client));
}

static void want_text(struct imap *client, uint32_t uid, unsigned number)
{
    char wanted[400];
    struct slice text;
    set_text(wanted, number < 5 || number == 9 ? "bob@elsewhere.example" : "alice@one.example", number);
    WANT_DONE(imap_fetch_text(client, uid, true, &text));
    WANT(slice_ends_nocase(text, slice_from_str(wanted)));
}

static void changes(struct imap *client, uint32_t other_uid)
{
    const struct imap_view *view = imap_view(client);
    uint32_t uid = view->messages[0].uid, validity, own;
    struct imap_uids from, to, found;
    char text[400];
    set_text(text, "alice@one.example", 20);
    WANT_DONE(imap_create(client, "Work"));
    WANT(imap_create(client, "Work") == CLIENT_REFUSED);
    WANT_DONE(imap_append(client, "Work", IMAP_SEEN | IMAP_WORK, slice_from_str(text), &validity, &own));
    WANT(validity != 0 && own == 1);
    WANT_DONE(imap_store(client, &uid, 1, IMAP_ADD, IMAP_FLAGGED | IMAP_JUNK, 0, NULL));
    WANT_DONE(imap_noop(client));
    WANT(view->messages[0].flags == (IMAP_FLAGGED | IMAP_JUNK));
    WANT_DONE(imap_store(client, &uid, 1, IMAP_REMOVE, IMAP_JUNK, 1, &found));
    WANT(found.count == 1 && found.uids[0] == uid);             /* it has changed since modseq 1 */
    WANT_DONE(imap_copy(client, &uid, 1, "Work", &validity, &from, &to));
    WANT(from.count == 1 && from.uids[0] == uid && to.count == 1 && to.uids[0] == 2);
    WANT_DONE(imap_move(client, &other_uid, 1, "Work", &validity, &from, &to));
    WANT(to.count == 1 && to.uids[0] == 3 && view->count == 4);
    WANT_DONE(imap_store(client, &uid, 1, IMAP_ADD, IMAP_DELETED, 0, NULL));
    WANT_DONE(imap_expunge(client, &uid, 1));
    WANT(view->count == 3 && view->messages[0].uid != uid);
    want_well(client);
}

static void names(struct imap *client)
{
    struct imap_names list;
    struct imap_status status;
    WANT_DONE(imap_rename(client, "Work", "Done"));
    WANT_DONE(imap_subscribe(client, "Done", true));
    WANT_DONE(imap_list(client, true, &list));
    bool is_named = false;
    for (size_t i = 0; i < list.count; i++)
        is_named |= strcmp(list.names[i], "Done") == 0;
    WANT(is_named);
    WANT_DONE(imap_status(client, "Done", &status));
    WANT(status.messages == 3 && status.uid_next == 4);
    WANT(imap_status(client, "Work", &status) == CLIENT_REFUSED);
    WANT_DONE(imap_delete(client, "Done"));
    WANT_DONE(imap_list(client, false, &list));
    WANT(list.count >= 1);
    want_well(client);
}

/* One client was away while another changed things: it asks for the changes, both ways, and knows what the other knows. */
static void away(struct imap *client, struct imap *other)
{
    struct imap_changes changed;
    struct imap_vanished vanished;
    struct imap_uids all;
    uint64_t modseq = imap_view(client)->highest_modseq;
    uint32_t validity = imap_view(client)->uid_validity, first = imap_view(client)->messages[0].uid, last = imap_view(client)->messages[2].uid;
    WANT_DONE(imap_unselect(client));
    WANT_DONE(imap_select(other, "INBOX", false));
    modseq = imap_view(other)->highest_modseq;
    WANT_DONE(imap_store(other, &last, 1, IMAP_REPLACE, IMAP_ANSWERED | IMAP_DELETED, 0, NULL));
    WANT_DONE(imap_store(other, &first, 1, IMAP_ADD, IMAP_DELETED, 0, NULL));
    WANT_DONE(imap_expunge(other, &first, 1));
    WANT_DONE(imap_enter(client, "INBOX", true));
    WANT_DONE(imap_changed(client, modseq, &changed));
    WANT(changed.count == 1 && changed.messages[0].uid == last && changed.messages[0].flags == (IMAP_ANSWERED | IMAP_DELETED));
    WANT_DONE(imap_find(client, "ALL", &all));
    WANT(all.count == 2 && all.uids[1] == last);
    WANT_DONE(imap_enter_again(client, "INBOX", false, validity, modseq, &changed, &vanished));
    WANT(changed.count == 1 && changed.messages[0].uid == last);
    WANT(vanished.count == 1 && vanished.from[0] == first && vanished.to[0] == first);
    WANT_DONE(imap_fill(client));
    WANT(imap_view(client)->count == 2 && imap_view(client)->messages[1].flags == (IMAP_ANSWERED | IMAP_DELETED));
    want_well(client);
    want_well(other);
}

static void idle(struct imap *client, struct imap *other)
{
    char text[400];
    uint32_t validity, uid;
    set_text(text, "alice@one.example", 21);
    size_t before = imap_view(client)->count;
    int64_t began_us = sim_now_us();
    WANT_DONE(imap_idle(client, 1000));
    WANT(sim_now_us() - began_us >= 1000 * 1000);
    WANT_DONE(imap_append(other, "INBOX", 0, slice_from_str(text), &validity, &uid));
    for (unsigned i = 0; i < 10 && imap_view(client)->count == before; i++)
        WANT_DONE(imap_idle(client, 1000));
    WANT(imap_view(client)->count == before + 1 && imap_view(client)->messages[before].uid == uid);
    want_well(client);
}

static void reading(void)
{
    enum client_result result;
    struct imap *client = imap_open(people, &imap, &result), *other = imap_open(people, &imaps, &result);
    WANT(client != NULL && other != NULL);
    WANT_DONE(imap_select(client, "INBOX", false));
    WANT(imap_view(client)->count == 5);
    static const unsigned numbers[] = { 1, 2, 5, 6, 9 };
    for (size_t i = 0; i < 5; i++)
        want_text(client, imap_view(client)->messages[i].uid, numbers[i]);
    changes(client, imap_view(client)->messages[4].uid);
    names(client);
    away(client, other);
    idle(client, other);
    imap_close(client);
    imap_close(other);
    struct client_server wrong = imaps;
    wrong.password = "wrong";
    WANT(imap_open(people, &wrong, &result) == NULL && result == CLIENT_REFUSED);
}

static void fetching(void)
{
    enum client_result result;
    const struct pop3_message *messages;
    size_t count, again;
    struct slice text;
    struct pop3 *client = pop3_open(people, &pop3s, &result);
    WANT(client != NULL);
    WANT_DONE(pop3_list(client, &messages, &count));
    WANT(count == 3);
    WANT_DONE(pop3_fetch(client, 1, &text));
    WANT(slice_ends_nocase(text, SLICE("\r\n.\r\n..two dots\r\n")));
    WANT_DONE(pop3_delete(client, 1));
    if (pop3_wrong(client) != NULL)
        sim_fail("pop3: %s", pop3_wrong(client));
    pop3_drop(client);                  /* without QUIT nothing is deleted */
    sim_sleep_us(5 * 1000 * 1000);
    client = pop3_open(people, &pop3s, &result);
    WANT(client != NULL);
    WANT_DONE(pop3_list(client, &messages, &again));
    WANT(again == count);
    WANT_DONE(pop3_delete(client, 1));
    WANT_DONE(pop3_quit(client));
    client = pop3_open(people, &pop3s, &result);
    WANT(client != NULL);
    WANT_DONE(pop3_list(client, &messages, &again));
    WANT(again == count - 1);
    WANT_DONE(pop3_quit(client));
}

/* ---- other people's servers ---------------------------------------------------------------------------------------- */

enum { LETTERS = 30, FIRST_LETTER = 100 };
static struct arrived { unsigned yes, lost, later, confirmed; } arrived[LETTERS];
static size_t last_of[10000];

static size_t number_of(struct slice text)
{
    uint64_t number;
    size_t at = slice_find(text, SLICE("Subject: number "));
    struct slice rest = slice_sub(text, at + 16, text.len);
    return at < text.len && slice_take_number(&rest, FIRST_LETTER + LETTERS - 1, &number) ? (size_t)number - FIRST_LETTER : LETTERS;
}

static void took(void *arg, const struct peer_letter *letter)
{
    char wanted[400];
    size_t number = number_of(letter->text);
    (void)arg;
    WANT(number < LETTERS && letter->to_count == 1 && strcmp(letter->to[0], "carol@two.example") == 0);
    set_text(wanted, "alice@one.example", (unsigned)number + FIRST_LETTER);
    WANT(slice_ends_nocase(letter->text, slice_from_str(wanted)));
    arrived[number].yes += letter->answer == PEER_SAID_YES;
    arrived[number].lost += letter->answer == PEER_SAID_NOTHING;
    arrived[number].later += letter->answer == PEER_SAID_LATER;
    last_of[letter->number % 10000] = number;
}

static void confirmed(void *arg, uint64_t number)
{
    (void)arg;
    arrived[last_of[number % 10000]].confirmed++;
}

static void send_away(const struct peer_moods *moods, const char *what)
{
    static const struct peer_owner owner = { .took = took, .confirmed = confirmed };
    unsigned missing = LETTERS, twice = 0;
    memset(arrived, 0, sizeof(arrived));
    struct sim_process *server = peer_smtp_start(elsewhere, "192.0.2.50", 25, "mx.two.example", moods, &owner);
    for (unsigned i = 0; i < LETTERS; i++)
        mail(&submit, "alice@one.example", "carol@two.example", FIRST_LETTER + i, false, CLIENT_DONE);
    for (unsigned hours = 0; hours < 96 && missing > 0; hours++) {
        sim_sleep_us(3600LL * 1000 * 1000);
        missing = 0;
        for (size_t i = 0; i < LETTERS; i++)
            missing += arrived[i].yes == 0;
    }
    sim_kill(server);
    for (size_t i = 0; i < LETTERS; i++) {
        twice += arrived[i].yes > 1;
        if (arrived[i].yes > 1 && arrived[i].confirmed > 0 && arrived[i].confirmed >= arrived[i].yes)
            sim_fail("%s: letter %zu was taken %u times, and its sender knew", what, i, arrived[i].yes);
    }
    (void)printf("people: %s server: %u of %d letters missing, %u came twice\n", what, missing, LETTERS, twice);
    WANT(missing == 0 || moods->permanent > 0);
}

/* ---- strangers ----------------------------------------------------------------------------------------------------- */

static void strangers(void)
{
    static const uint16_t ports[] = { 25, 587, 465, 143, 993, 110, 995 };
    enum client_result result;
    struct client_server bait = imaps;
    bait.user = "bait@one.example";
    for (unsigned i = 0; i < 150; i++) {
        (void)peer_stranger(elsewhere, "192.0.2.1", ports[sim_below(sizeof(ports) / sizeof(ports[0]))], "bait@one.example");
        sim_sleep_us((int64_t)sim_below(60) * 1000 * 1000);
    }
    sim_sleep_us(6 * 3600LL * 1000 * 1000);
    WANT(sim_process_find(elsewhere, "stranger", 0) == NULL);
    struct imap *client = imap_open(people, &bait, &result);
    WANT(client != NULL);
    WANT_DONE(imap_select(client, "INBOX", true));
    if (imap_view(client)->count != 0)
        sim_fail("a stranger's mail has arrived");
    imap_close(client);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------- */

static int tester(void *arg)
{
    bool *is_done = arg;
    WANT(node_wait_ready(node, 60000));
    sim_sleep_us(1000 * 1000);
    some_mail();
    lmtp();
    reading();
    fetching();
    send_away(&peer_friendly, "a friendly");
    send_away(&peer_moody, "a moody");
    strangers();
    node_stop(node);
    *is_done = true;
    return 0;
}

static void run(uint64_t seed)
{
    static const char *const domains[] = { "one.example" };
    static const struct node_account accounts[] = { { "alice@one.example", "secret", 0 }, { "bait@one.example", "secret", 0 } };
    bool is_done = false;
    sim_begin(seed);
    node = node_new(&options);
    people = sim_host_new("people", NULL);
    elsewhere = sim_host_new("elsewhere", NULL);
    (void)snprintf(people->addresses[0], sizeof(people->addresses[0]), "192.0.2.9");
    (void)snprintf(elsewhere->addresses[0], sizeof(elsewhere->addresses[0]), "192.0.2.50");
    dns_clear();
    dns_set("two.example", "MX", "10 mx.two.example");
    dns_set("mx.two.example", "A", "192.0.2.50");
    net_set_faults(&(struct net_faults){ .tiny_pieces = 20000, .delay_us = 2000, .jitter_us = 20000 });
    node_add(node, domains, 1, accounts, 2);
    sim_run(10000000, NULL);
    node_boot(node);
    (void)sim_spawn(people, "tester", tester, &is_done);
    sim_run(400LL * 3600 * 1000 * 1000, NULL);
    WANT(is_done && node->launcher == NULL && node->status == 0);
    dns_clear();
    sim_host_free(people);
    sim_host_free(elsewhere);
    node_free(node);
}

int main(int argc, char **argv)
{
    sim_traces = argc > 1 && strcmp(argv[1], "--trace") == 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    run(seed);
    return EXIT_SUCCESS;
}
