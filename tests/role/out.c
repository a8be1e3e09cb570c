/* out and dispatch together, in one process: a queue on a store in memory, a resolver with a table, and scripted servers on
 * loopback. Each case is a story about one or two messages; what the servers heard and what the queue knows is compared. */
#include "check.h"
#include "../queue/fixture.h"

#include "dns/dns.h"
#include "os/child.h"
#include "os/conn.h"
#include "os/log.h"
#include "os/tls.h"
#include "role/dispatch.h"
#include "role/out.h"
#include "role/start.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the resolver: a table ---------------------------------------------------------------------------------------------- */

struct zone_row {
    const char *name;
    enum dns_type type;
    uint16_t preference;
    const char *value;
};
static const struct zone_row zone[] = {
    { "two.example",    DNS_MX, 20, "mx2.example" },
    { "two.example",    DNS_MX, 10, "mx1.example" },
    { "one.example",    DNS_MX, 10, "mx2.example" },
    { "dead.example",   DNS_MX, 10, "mx9.example" },
    { "null.example",   DNS_MX, 0,  "" },
    { "mx1.example",    DNS_A, 0, "127.0.0.31" },
    { "mx2.example",    DNS_A, 0, "127.0.0.32" },
    { "mx9.example",    DNS_A, 0, "127.0.0.39" },
    { "smart.example",  DNS_A, 0, "127.0.0.33" },
};

struct dns {
    struct { uint32_t number; char name[100]; enum dns_type type; dns_done *done; void *arg; } asked[100];
    size_t count;
    uint32_t last;
};
static struct dns the_dns;

enum rc dns_open(const struct dns_options *options, struct dns **dns, struct fault *f)
{
    (void)options;
    (void)f;
    *dns = &the_dns;
    return RC_OK;
}
void dns_close(struct dns *dns) { (void)dns; }
int dns_fd(const struct dns *dns) { (void)dns; return -1; }
void dns_cancel(struct dns *dns, uint32_t number)
{
    for (size_t i = 0; i < dns->count; i++)
        if (dns->asked[i].number == number)
            dns->asked[i].done = NULL;
}
uint32_t dns_query(struct dns *dns, struct slice name, enum dns_type type, dns_done *done, void *arg)
{
    must(dns->count < 100 && slice_to_str(name, dns->asked[dns->count].name, 100));
    dns->asked[dns->count].number = ++dns->last;
    dns->asked[dns->count].type = type;
    dns->asked[dns->count].done = done;
    dns->asked[dns->count++].arg = arg;
    return dns->last;
}
void dns_process(struct dns *dns)
{
    struct dns now = *dns;
    dns->count = 0;
    for (size_t i = 0; i < now.count; i++) {
        struct dns_record records[10];
        struct dns_answer answer = { .rc = RC_NONE, .records = records };
        strcpy(answer.why, "no such record");
        for (size_t z = 0; z < sizeof zone / sizeof *zone; z++) {
            if (zone[z].type != now.asked[i].type || strcmp(zone[z].name, now.asked[i].name) != 0)
                continue;
            answer.rc = RC_OK;
            struct dns_record *record = &records[answer.count++];
            *record = (struct dns_record){ .type = zone[z].type, .preference = zone[z].preference, .name = slice_from_str(zone[z].value) };
            snprintf(record->address, sizeof record->address, "%s", zone[z].value);
        }
        if (now.asked[i].done != NULL)
            now.asked[i].done(now.asked[i].arg, &answer);
    }
}

/* ---- servers: a table of what they answer --------------------------------------------------------------------------------- */

struct reply {
    const char *verb;                   /* how the line begins, as heard */
    const char *text;                   /* with CRLF; "" says nothing; NULL closes */
};
struct server {
    const char *address;
    const char *greeting;
    const struct reply *replies;
    struct tls_context *tls;
    struct listener *listener;
    struct buf heard;                   /* all lines, and bodies */
    int connections;
    bool closes_after_message;
    bool breaks_tls;
};
struct server_session {
    struct server *server;
    struct conn *conn;
    bool in_data, is_data_start, closes, breaks;
};

static struct loop *loop;
static uint16_t port;
static struct tls_context *server_tls;

static void say(struct server_session *s, const char *text)
{
    buf_append_str(conn_output(s->conn), text);
    conn_flush(s->conn);
}

static bool hear_data(struct server_session *s, struct slice in)
{
    size_t end = slice_find(in, SLICE("\r\n.\r\n"));
    if (s->is_data_start && slice_starts_nocase(in, SLICE(".\r\n"))) {
        in = slice_sub(in, 0, 3);
        end = 0;
    }
    s->is_data_start = s->is_data_start && in.len < 3;
    size_t len = end < in.len ? (in.len == 3 ? 3 : end + 5) : in.len > 4 ? in.len - 4 : 0;
    buf_append(&s->server->heard, slice_sub(in, 0, len));
    buf_consume(conn_input(s->conn), len);
    if (end == in.len)
        return false;
    s->in_data = false;
    const char *text = "250 2.0.0 taken\r\n";
    for (const struct reply *r = s->server->replies; r->verb != NULL; r++)
        if (strcmp(r->verb, ".") == 0)
            text = r->text;
    if (text == NULL) {
        conn_close(s->conn);
        free(s);
        return false;
    }
    say(s, text);
    s->closes = s->server->closes_after_message;
    return true;
}

/* False: no more, or the session is gone. */
static bool hear_line(struct server_session *s, struct slice in)
{
    static const struct reply usual[] = {
        { "EHLO", "250-there\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n" }, { "LHLO", "250-there\r\n250 PIPELINING\r\n" },
        { "MAIL", "250 2.1.0 ok\r\n" }, { "RCPT", "250 2.1.5 ok\r\n" }, { "DATA", "354 go\r\n" }, { "RSET", "250 ok\r\n" },
        { "QUIT", "221 bye\r\n" }, { "STARTTLS", "220 go\r\n" }, { "AUTH", "235 2.7.0 ok\r\n" }, { NULL, NULL },
    };
    size_t end = slice_find(in, SLICE("\r\n"));
    if (end == in.len)
        return false;
    struct slice line = slice_sub(in, 0, end);
    const char *text = "500 what?\r\n";
    const struct reply *tables[] = { usual, s->server->replies };
    for (size_t t = 0; t < 2; t++)
        for (const struct reply *r = tables[t]; r->verb != NULL; r++)
            if (slice_starts_nocase(line, slice_from_str(r->verb)))
                text = r->text;
    buf_append(&s->server->heard, slice_sub(in, 0, end + 2));
    bool starts_tls = slice_starts_nocase(line, SLICE("STARTTLS"));
    s->in_data = slice_starts_nocase(line, SLICE("DATA")) && text != NULL && *text == '3';
    buf_consume(conn_input(s->conn), end + 2);
    if (text == NULL) {
        conn_close(s->conn);
        free(s);
        return false;
    }
    say(s, text);
    s->is_data_start = s->in_data;
    s->breaks = starts_tls && s->server->breaks_tls;
    if (s->breaks)
        return false;
    if (starts_tls && *text == '2')
        conn_tls_accept(s->conn, s->server->tls);
    return !starts_tls;
}

static void server_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct server_session *s = arg;
    if (event == CONN_CLOSED) {
        conn_close(conn);
        free(s);
        return;
    }
    if (s->breaks)
        say(s, "this is not TLS at all, is it? surely it is not\r\n");
    for (bool more = event == CONN_INPUT && !s->breaks; more;) {
        struct slice in = buf_slice(conn_input(conn));
        more = in.len > 0 && (s->in_data ? hear_data(s, in) : hear_line(s, in));
        if (more && s->closes) {
            conn_close_after_flush(conn);
            free(s);
            return;
        }
    }
}

static void on_accept(void *arg, int fd, const struct peer *peer)
{
    (void)peer;
    struct server_session *s = calloc(1, sizeof *s);
    s->server = arg;
    s->server->connections++;
    s->conn = conn_new(loop, fd, &(struct conn_limits){ .input_max = 65536, .output_max = 65536 }, &(struct conn_owner){ server_event, s });
    say(s, s->server->greeting == NULL ? "220 there ESMTP\r\n" : s->server->greeting);
}

static void server_open(struct server *server)
{
    static const struct reply none[] = { { NULL, NULL } };
    struct fault f;
    int fd;
    if (server->replies == NULL)
        server->replies = none;
    server->tls = server_tls;
    buf_init(&server->heard, 1 << 26);
    must(listen_open(server->address, server->address[0] == '/' ? 0 : port, 0600, &fd, &f) == RC_OK);
    server->listener = listener_new(loop, fd, on_accept, server);
}

static void server_close(struct server *server)
{
    listener_free(server->listener);
    buf_free(&server->heard);
    if (server->address[0] == '/')
        unlink(server->address);
}

static bool heard(const struct server *server, const char *text)
{
    return slice_find(buf_slice(&server->heard), slice_from_str(text)) < buf_len(&server->heard);
}

/* ---- both roles ------------------------------------------------------------------------------------------------------------- */

struct world {
    struct fixture fx;
    struct out out;
    struct config config;
    struct config_route route;
    struct dispatch *dispatch;
    struct loop_timer timer;
    int64_t until_ms;
    bool (*is_over)(struct world *);
    bool timed_out;
};

static void turn(struct loop_timer *timer)
{
    struct world *w = LIST_ENTRY(timer, struct world, timer);
    dns_process(&the_dns);
    fake_poll(w->fx.store);
    if (w->dispatch != NULL)
        dispatch_poke(w->dispatch);
    if (w->is_over(w)) {
        loop_stop(loop);
        return;
    }
    w->timed_out = loop_now_ms(loop) >= w->until_ms;
    if (w->timed_out)
        loop_stop(loop);
    else
        loop_timer_set(loop, &w->timer, 1);
}

static void run_until(struct world *w, bool (*is_over)(struct world *))
{
    w->is_over = is_over;
    w->timer.expired = turn;
    w->until_ms = loop_now_ms(loop) + 20000;
    loop_timer_set(loop, &w->timer, 1);
    loop_run(loop);
    CHECK(!w->timed_out);
}

static void connect_roles(struct world *w)
{
    int fds[2];
    struct fault f;
    must(channel_pair(fds, &f) == RC_OK);
    dispatch_channel(w->dispatch, fds[0]);
    struct frame frame = { .type = FRAME_CHANNEL, .count = 2, .fd = fds[1] };
    frame.field[0].number = ROLE_POST;
    struct role_self self = out_self(&w->out);
    must(self.frame(self.self, &frame, &f) == RC_OK);
}

static void world_open(struct world *w, const struct config_route *route)
{
    struct fault f;
    memset(w, 0, sizeof *w);
    fixture_open(&w->fx, NULL);
    w->config.host_name = "mail.home.example";
    w->config.delivery_port = port;
    w->config.dns_allow_loopback_mx = true;
    if (route != NULL) {
        w->route = *route;
        w->config.routes = &w->route;
        w->config.route_count = 1;
    }
    out_init(&w->out, loop);
    w->out.config = w->config;
    w->out.dns = &the_dns;
    must(tls_client_new(false, NULL, &w->out.tls, &f) == RC_OK && tls_client_new(true, NULL, &w->out.tls_verified, &f) == RC_OK);
    w->dispatch = dispatch_new(&(struct dispatch_options){ .queue = w->fx.queue, .store = w->fx.store, .loop = loop, .config = &w->config });
    connect_roles(w);
}

static bool never(struct world *w) { return loop_now_ms(loop) + 19950 >= w->until_ms; }

static void world_close(struct world *w)
{
    dispatch_free(w->dispatch);
    w->dispatch = NULL;
    run_until(w, never);                /* out hears that post has gone */
    CHECK_INT(w->out.job_count, 0);
    out_free(&w->out);
    fixture_close(&w->fx);
}

static bool all_settled(struct world *w)
{
    uint64_t after = 0;
    const struct queue_entry *e;
    while ((e = queue_after(w->fx.queue, after)) != NULL) {
        after = e->id;
        for (size_t i = 0; i < e->recipient_count; i++)
            if (e->recipients[i].state == QUEUE_TRYING || (e->recipients[i].state == QUEUE_DUE && e->recipients[i].attempts == 0))
                return false;
    }
    return dispatch_running(w->dispatch) == 0;
}

static struct buf why_text;
static const char *why(struct world *w, uint64_t id)
{
    buf_free(&why_text);
    buf_init(&why_text, 1 << 20);
    CHECK_INT(queue_why(w->fx.queue, id, START, &why_text, &w->fx.fault), RC_OK);
    buf_append_byte(&why_text, '\0');
    return buf_slice(&why_text).ptr;
}

static uint64_t submit(struct world *w, const char *to)
{
    return fixture_add(&w->fx, "me@home.example", to, NOTIFY_NEVER, loop_time_ms(loop));
}

/* ---- stories ------------------------------------------------------------------------------------------------------------------ */

static void plain(void)
{
    struct world w;
    struct server mx1 = { .address = "127.0.0.31" }, mx2 = { .address = "127.0.0.32" };
    CASE("the best exchanger gets the message, without our trace header");
    server_open(&mx1);
    server_open(&mx2);
    world_open(&w, NULL);
    uint64_t id = submit(&w, "a@two.example b@two.example");
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    CHECK(heard(&mx1, "EHLO mail.home.example\r\n"));
    CHECK(heard(&mx1, "MAIL FROM:<me@home.example>"));
    CHECK(heard(&mx1, "RCPT TO:<a@two.example>") && heard(&mx1, "RCPT TO:<b@two.example>"));
    CHECK(heard(&mx1, "DATA\r\nSubject: hello\r\nFrom: me\r\n\r\nThe text of it\r\n.\r\n"));
    CHECK_INT(mx2.connections, 0);
    char expected[200];
    snprintf(expected, sizeof expected, "\"mx\":\"mx1.example (10) of 2, 127.0.0.31:%u\"", port);
    CHECK(strstr(why(&w, id), expected) != NULL);
    snprintf(expected, sizeof expected, "\"remote\":\"mx1.example[127.0.0.31]:%u\"", port);
    CHECK(strstr(why(&w, id), expected) != NULL);
    CHECK(strstr(why(&w, id), "\"reply\":\"taken\"") != NULL || strstr(why(&w, id), "taken\"") != NULL);
    CHECK(strstr(why(&w, id), "\"greeting\":\"there ESMTP\"") != NULL);

    CASE("the next message takes the same connection");
    submit(&w, "c@two.example");
    run_until(&w, all_settled);
    CHECK(heard(&mx1, "RCPT TO:<c@two.example>"));
    CHECK_INT(mx1.connections, 1);
    CHECK_INT(w.out.reused, 1);
    world_close(&w);
    server_close(&mx1);
    server_close(&mx2);
}

static void second_choice(void)
{
    static const struct { const char *name, *greeting; bool is_there; } cases[] = {
        { "an exchanger that is down gives way to the next", NULL, false },
        { "so does one that is busy", "421 4.3.2 busy\r\n", true },
        { "and one that wants nothing of us", "554 5.7.1 no\r\n", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct server mx1 = { .address = "127.0.0.31", .greeting = cases[i].greeting }, mx2 = { .address = "127.0.0.32" };
        CASE(cases[i].name);
        if (cases[i].is_there)
            server_open(&mx1);
        server_open(&mx2);
        world_open(&w, NULL);
        submit(&w, "a@two.example");
        run_until(&w, all_settled);
        CHECK_INT(queue_count(w.fx.queue, NULL), 0);
        CHECK(heard(&mx2, "RCPT TO:<a@two.example>"));
        world_close(&w);
        if (cases[i].is_there)
            server_close(&mx1);
        server_close(&mx2);
    }
}

static void outcomes(void)
{
    static const struct reply refuses_b[] = { { "RCPT TO:<b@", "550 5.1.1 no b here\r\n" }, { "RCPT TO:<c@", "450 4.2.1 later\r\n" }, { NULL, NULL } };
    static const struct reply hangs_up[] = { { ".", NULL }, { NULL, NULL } };
    static const struct reply no_mail[] = { { "MAIL", "451 4.3.0 not now\r\n" }, { NULL, NULL } };
    struct world w;
    struct server mx2 = { .address = "127.0.0.32", .replies = refuses_b };
    CASE("each recipient has its own outcome");
    server_open(&mx2);
    world_open(&w, NULL);
    uint64_t id = submit(&w, "a@one.example b@one.example c@one.example");
    run_until(&w, all_settled);
    const struct queue_entry *e = queue_find(w.fx.queue, id);
    CHECK(e != NULL);
    if (e != NULL) {
        CHECK_INT(e->recipients[0].state, QUEUE_DELIVERED);
        CHECK_INT(e->recipients[1].state, QUEUE_BOUNCED);
        CHECK_INT(e->recipients[1].last_esc, ESC(5, 1, 1));
        CHECK_INT(e->recipients[2].state, QUEUE_DUE);
        CHECK_INT(e->recipients[2].last_esc, ESC(4, 2, 1));
    }
    world_close(&w);

    CASE("a server that is gone before its last answer: later again");
    mx2.replies = hangs_up;
    world_open(&w, NULL);
    id = submit(&w, "a@one.example");
    run_until(&w, all_settled);
    e = queue_find(w.fx.queue, id);
    CHECK(e != NULL && e->recipients[0].state == QUEUE_DUE && e->recipients[0].attempts == 1);
    world_close(&w);

    CASE("a server that refuses the sender for now: later again");
    mx2.replies = no_mail;
    world_open(&w, NULL);
    id = submit(&w, "a@one.example");
    run_until(&w, all_settled);
    e = queue_find(w.fx.queue, id);
    CHECK(e != NULL && e->recipients[0].last_esc == ESC(4, 3, 0));
    world_close(&w);
    server_close(&mx2);
}

static void nowhere(void)
{
    static const struct { const char *name, *to; bool allows_loopback; enum queue_state state; uint32_t esc; const char *text; } cases[] = {
        { "nobody listens there", "a@dead.example", true, QUEUE_DUE, ESC(4, 4, 1), "mx9.example[127.0.0.39]" },
        { "null MX", "a@null.example", true, QUEUE_BOUNCED, ESC(5, 1, 10), "null MX" },
        { "neither MX nor address", "a@nothing.example", true, QUEUE_BOUNCED, ESC(5, 4, 4), "no address" },
        { "an exchanger on loopback is not trusted", "a@one.example", false, QUEUE_BOUNCED, ESC(5, 4, 4), "loopback" },
        { "nor is an address literal on loopback", "a@[127.0.0.32]", false, QUEUE_BOUNCED, ESC(5, 4, 4), "loopback" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        CASE(cases[i].name);
        world_open(&w, NULL);
        w.out.config.dns_allow_loopback_mx = cases[i].allows_loopback;
        /* A second recipient that is held keeps the entry where it can be seen. */
        uint64_t id = submit(&w, arena_printf(&w.fx.arena, "%s k@kept.example", cases[i].to));
        run_until(&w, all_settled);
        CHECK(strstr(why(&w, id), cases[i].text) != NULL);
        char status[40];
        snprintf(status, sizeof status, "\"state\":\"%s\",\"status\":\"%u.%u.%u\"", queue_state_name(cases[i].state), ESC_CLASS(cases[i].esc),
                 ESC_SUBJECT(cases[i].esc), ESC_DETAIL(cases[i].esc));
        CHECK(strstr(why(&w, id), status) != NULL);
        world_close(&w);
    }
}

static void tls(void)
{
    static const struct reply offers[] = { { "EHLO", "250-there\r\n250-STARTTLS\r\n250-DSN\r\n250 PIPELINING\r\n" }, { NULL, NULL } };
    struct world w;
    struct server mx2 = { .address = "127.0.0.32", .replies = offers };
    CASE("TLS when it is offered, whatever the certificate");
    server_open(&mx2);
    world_open(&w, NULL);
    uint64_t id = submit(&w, "a@one.example");
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    CHECK(strstr(why(&w, id), "\"tls\":\"TLSv1.3 ") != NULL);
    CHECK(heard(&mx2, "NOTIFY=NEVER"));
    world_close(&w);

    CASE("when the handshake fails, in the clear");
    mx2.breaks_tls = true;
    mx2.connections = 0;
    world_open(&w, NULL);
    id = submit(&w, "b@one.example");
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    CHECK_INT(mx2.connections, 2);
    CHECK(strstr(why(&w, id), "\"tls\"") == NULL);
    world_close(&w);

    CASE("but not when the route insists");
    struct config_route route = { .domain = "one.example", .host = "[127.0.0.32]", .port = port, .tls = ROUTE_TLS_MUST };
    world_open(&w, &route);
    id = submit(&w, "c@one.example");
    run_until(&w, all_settled);
    const struct queue_entry *e = queue_find(w.fx.queue, id);
    CHECK(e != NULL && e->recipients[0].state == QUEUE_DUE && e->recipients[0].last_esc == ESC(4, 7, 5));
    CHECK(!heard(&mx2, "RCPT TO:<c@one.example>"));
    world_close(&w);
    server_close(&mx2);
}

static void add_secret(struct world *w, const char *route, const char *password)
{
    struct frame frame = { .type = FRAME_SECRET, .count = 2, .fd = -1 };
    struct fault f;
    frame.field[0].bytes = slice_from_str(route);
    frame.field[1].bytes = slice_from_str(password);
    struct role_self self = out_self(&w->out);
    must(self.frame(self.self, &frame, &f) == RC_OK);
}

static void routes(void)
{
    static const struct reply smart[] = { { "EHLO", "250-there\r\n250 AUTH PLAIN\r\n" }, { NULL, NULL } };
    static const struct reply refuses[] = { { "EHLO", "250-there\r\n250 AUTH PLAIN\r\n" }, { "AUTH", "535 5.7.8 wrong\r\n" }, { NULL, NULL } };
    struct world w;
    struct server host = { .address = "127.0.0.33", .replies = smart };
    struct config_route route = { .domain = "*", .host = "smart.example", .port = port, .tls = ROUTE_TLS_NEVER, .user = "me" };
    server_open(&host);

    CASE("without the password mail for the smarthost waits");
    world_open(&w, &route);
    uint64_t id = submit(&w, "a@anywhere.example");
    run_until(&w, all_settled);
    const struct queue_entry *e = queue_find(w.fx.queue, id);
    CHECK(e != NULL && e->recipients[0].last_esc == ESC(4, 7, 0));
    world_close(&w);

    CASE("the smarthost gets everything, after AUTH");
    world_open(&w, &route);
    add_secret(&w, "*", "secret");
    submit(&w, "a@anywhere.example b@elsewhere.example");
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    CHECK(heard(&host, "AUTH PLAIN AG1lAHNlY3JldA==\r\n"));
    CHECK(heard(&host, "RCPT TO:<a@anywhere.example>\r\nRCPT TO:<b@elsewhere.example>\r\n") || heard(&host, "RCPT TO:<b@elsewhere.example>"));
    CHECK_INT(host.connections, 1);
    world_close(&w);

    CASE("a smarthost that refuses us does not make mail bounce");
    host.replies = refuses;
    world_open(&w, &route);
    add_secret(&w, "*", "secret");
    id = submit(&w, "a@anywhere.example");
    run_until(&w, all_settled);
    e = queue_find(w.fx.queue, id);
    CHECK(e != NULL && e->recipients[0].state == QUEUE_DUE && e->recipients[0].last_esc == ESC(5, 7, 8));
    world_close(&w);
    server_close(&host);
}

static void lmtp(void)
{
    static const struct reply two[] = { { "RCPT TO:<b@", "550 5.1.1 no b\r\n" }, { NULL, NULL } };
    char path[] = "/tmp/thurn-lmtp-XXXXXX/sock";
    path[strlen(path) - 5] = '\0';
    must(mkdtemp(path) != NULL);
    path[strlen(path)] = '/';
    struct world w;
    struct server host = { .address = path, .replies = two };
    struct config_route route = { .domain = "local.example", .host = path, .is_lmtp = true };
    CASE("a route to LMTP on a local socket");
    server_open(&host);
    world_open(&w, &route);
    uint64_t id = submit(&w, "a@local.example b@local.example");
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    CHECK(heard(&host, "LHLO mail.home.example\r\n"));
    CHECK(strstr(why(&w, id), "no b") != NULL);
    world_close(&w);
    server_close(&host);
    *strrchr(path, '/') = '\0';
    rmdir(path);
}

static void large(void)
{
    struct world w;
    struct server mx2 = { .address = "127.0.0.32" };
    CASE("a large body arrives whole, through bounded buffers");
    server_open(&mx2);
    world_open(&w, NULL);
    static char text[3 * 1024 * 1024];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : i % 64 == 0 ? '.' : (char)('a' + i / 64 % 26);
    uint64_t id = submit(&w, "a@one.example");
    struct fake_body *body = fake_body_find(w.fx.store, queue_find(w.fx.queue, id)->body_id);
    free(body->bytes);
    body->bytes = malloc(sizeof text);
    memcpy(body->bytes, text, sizeof text);
    body->len = sizeof text;
    /* The entry knows its size from acceptance: give it another by a restart. */
    w.fx.store->records[0].body_size = sizeof text;
    dispatch_free(w.dispatch);
    fixture_reopen(&w.fx, SIZE_MAX);
    w.dispatch = dispatch_new(&(struct dispatch_options){ .queue = w.fx.queue, .store = w.fx.store, .loop = loop, .config = &w.config });
    connect_roles(&w);
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    struct slice all = buf_slice(&mx2.heard);
    size_t at = slice_find(all, SLICE("DATA\r\n")) + 6;
    size_t from = 5, wrong = 0;         /* the trace header is not relayed */
    bool is_line_start = true;
    for (; from < sizeof text && at < all.len; from++, at++) {
        if (is_line_start && text[from] == '.')
            wrong += all.ptr[at++] != '.';
        wrong += all.ptr[at] != text[from];
        is_line_start = text[from] == '\n';
    }
    CHECK_INT(wrong, 0);
    CHECK_INT(from, sizeof text);
    CHECK_SLICE(slice_sub(all, at, 3), SLICE(".\r\n"));
    world_close(&w);
    server_close(&mx2);
}

static bool server_has_rcpt(struct world *w)
{
    (void)w;
    return w->out.job_count > 0 && !list_is_empty(&w->out.busy);
}

static void lost(void)
{
    static const struct reply silent[] = { { "MAIL", "" }, { "RCPT", "" }, { "DATA", "" }, { NULL, NULL } };
    struct world w;
    struct server mx2 = { .address = "127.0.0.32", .replies = silent };
    CASE("when out dies its jobs are due again, after a while, and a new out does them");
    server_open(&mx2);
    world_open(&w, NULL);
    uint64_t id = submit(&w, "a@one.example");
    run_until(&w, server_has_rcpt);
    CHECK_INT(queue_find(w.fx.queue, id)->recipients[0].state, QUEUE_TRYING);
    static const struct reply none[] = { { NULL, NULL } };
    mx2.replies = none;
    connect_roles(&w);
    fake_poll(w.fx.store);
    CHECK(queue_find(w.fx.queue, id)->recipients[0].due_ms > loop_time_ms(loop));
    CHECK_INT(queue_act(w.fx.queue, id, QUEUE_RETRY, loop_time_ms(loop), &w.fx.wait, &w.fx.fault), RC_OK);
    fake_poll(w.fx.store);
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    CHECK(heard(&mx2, "RCPT TO:<a@one.example>"));

    CASE("a connection that died while it was idle costs the message nothing");
    mx2.closes_after_message = true;
    submit(&w, "b@one.example");
    run_until(&w, all_settled);
    submit(&w, "c@one.example");
    run_until(&w, all_settled);
    CHECK_INT(queue_count(w.fx.queue, NULL), 0);
    CHECK(heard(&mx2, "RCPT TO:<c@one.example>"));
    world_close(&w);
    server_close(&mx2);
    buf_free(&why_text);
}

/* ---- beginning ------------------------------------------------------------------------------------------------------------------ */

static void make_certificate(void)
{
    static const char *const names[] = { "there" };
    char dir[] = "/tmp/thurn-out-XXXXXX", chain_file[100], key_file[100];
    struct buf chain, key;
    struct fault f;
    must(mkdtemp(dir) != NULL);
    buf_init(&chain, 1 << 16);
    buf_init(&key, 1 << 16);
    snprintf(chain_file, sizeof chain_file, "%s/chain", dir);
    snprintf(key_file, sizeof key_file, "%s/key", dir);
    must(tls_make_self_signed(names, 1, &chain, &key, &f) == RC_OK);
    must(file_write_all(chain_file, buf_slice(&chain), 0600, &f) == RC_OK && file_write_all(key_file, buf_slice(&key), 0600, &f) == RC_OK);
    must(tls_server_new_with_key(chain_file, key_file, &server_tls, &f) == RC_OK);
    buf_free(&chain);
    buf_free(&key);
    unlink(chain_file);
    unlink(key_file);
    rmdir(dir);
}

static uint16_t free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    must(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

int main(void)
{
    log_open("test", 2, false);
    log_set_level(getenv("VERBOSE") != NULL ? LOG_DEBUG : LOG_ERROR);
    loop = loop_new();
    port = free_port();
    make_certificate();
    plain();
    second_choice();
    outcomes();
    nowhere();
    tls();
    routes();
    lmtp();
    large();
    lost();
    tls_context_free(server_tls);
    loop_free(loop);
    return check_done();
}
