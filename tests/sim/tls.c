/* The stand-in for TLS on real connections: it promises what the real one promises to its owner. */
#include "check.h"

#include "os/child.h"
#include "os/conn.h"
#include "os/tls.h"

#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;

struct counting_signer {
    struct tls_key *key;
    unsigned asked;
    bool refuses;
};

static int count_and_sign(void *self, uint32_t number, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out,
                          size_t out_max)
{
    struct counting_signer *signer = self;
    signer->asked += number == 7;
    return signer->refuses ? -1 : tls_key_sign(signer->key, kind, padding, in, in_len, out, out_max);
}

struct side {
    struct conn *conn;
    struct buf taken;
    unsigned started, closed;
    const char *after;                  /* sent when TLS has started, then the end */
    char why[160];
};

static void on_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct side *side = arg;
    if (event == CONN_INPUT) {
        (void)buf_append(&side->taken, buf_slice(conn_input(conn)));
        buf_consume(conn_input(conn), buf_len(conn_input(conn)));
    } else if (event == CONN_TLS_STARTED) {
        side->started++;
        if (side->after != NULL) {
            (void)buf_append_str(conn_output(conn), side->after);
            conn_close_after_flush(conn);
            side->conn = NULL;
        }
    } else if (event == CONN_CLOSED) {
        side->closed++;
        (void)snprintf(side->why, sizeof(side->why), "%s", conn_why(conn));
        loop_stop(loop);
    }
}

static void begin(struct side *client, struct side *server, int fds[2])
{
    static const struct conn_limits limits = { .input_max = 65536, .output_max = 65536 };
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    *client = *server = (struct side){ .conn = NULL };
    buf_init(&client->taken, 65536);
    buf_init(&server->taken, 65536);
    server->conn = conn_new(loop, fds[1], &limits, &(struct conn_owner){ on_event, server });
    must(server->conn != NULL);
}

static void connect_client(struct side *client, int fd, struct tls_context *tls, const char *name)
{
    static const struct conn_limits limits = { .input_max = 65536, .output_max = 65536 };
    client->conn = conn_new(loop, fd, &limits, &(struct conn_owner){ on_event, client });
    must(client->conn != NULL);
    conn_tls_connect(client->conn, tls, name);
}

static void end(struct side *client, struct side *server)
{
    if (client->conn != NULL)
        conn_close(client->conn);
    if (server->conn != NULL)
        conn_close(server->conn);
    buf_free(&client->taken);
    buf_free(&server->taken);
}

struct contexts {
    struct tls_context *server, *client, *strict;
    struct counting_signer signer;
};

static void handshakes(struct contexts *with)
{
    struct side client, server;
    int fds[2];
    CASE("both sides start, the server has asked its signer once, and the name is verified");
    begin(&client, &server, fds);
    conn_tls_accept(server.conn, with->server);
    connect_client(&client, fds[0], with->strict, "mail.example.org");
    client.after = "EHLO me\r\n";
    loop_run(loop);
    CHECK_INT(client.started, 1);
    CHECK_INT(server.started, 1);
    CHECK_INT(with->signer.asked, 1);
    CHECK_SLICE(buf_slice(&server.taken), SLICE("EHLO me\r\n"));
    CHECK(conn_peer(server.conn)->has_tls);
    CASE("the peer's close_notify ends the connection");
    CHECK_STR(server.why, "TLS ended by the peer");
    end(&client, &server);

    CASE("another name is refused by who verifies, and taken by who does not");
    begin(&client, &server, fds);
    conn_tls_accept(server.conn, with->server);
    connect_client(&client, fds[0], with->strict, "other.example.org");
    loop_run(loop);
    CHECK_INT(client.started, 0);
    CHECK_STR(client.why, "TLS handshake failed: hostname mismatch");
    end(&client, &server);
    begin(&client, &server, fds);
    conn_tls_accept(server.conn, with->server);
    connect_client(&client, fds[0], with->client, "other.example.org");
    client.after = "x";
    loop_run(loop);
    CHECK_INT(client.started, 1);
    end(&client, &server);

    CASE("no signature, no handshake");
    with->signer.refuses = true;
    begin(&client, &server, fds);
    conn_tls_accept(server.conn, with->server);
    connect_client(&client, fds[0], with->client, "mail.example.org");
    loop_run(loop);
    CHECK_INT(server.started + client.started, 0);
    CHECK_INT(server.started, 0);
    end(&client, &server);
    with->signer.refuses = false;
}

static void strangers(struct contexts *with)
{
    static const struct { const char *sentence, *bytes; size_t len; } cases[] = {
        { "a line of SMTP is no handshake", "EHLO stranger\r\n", 15 },
        { "nor is a record too long", "\x16\xff\xff", 3 },
        { "nor data before hello", "\x17\x00\x01x", 4 },
        { "nor a hello in other words", "\x16\x00\x05hello", 8 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct side client, server;
        int fds[2];
        CASE(cases[i].sentence);
        begin(&client, &server, fds);
        conn_tls_accept(server.conn, with->server);
        must(write(fds[0], cases[i].bytes, cases[i].len) == (ssize_t)cases[i].len);
        loop_run(loop);
        CHECK_INT(server.started, 0);
        CHECK(strncmp(server.why, "TLS handshake failed", 20) == 0);
        (void)close(fds[0]);
        end(&client, &server);
    }
}

static void on_timer(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

/* What was closed last is freed at the end of a turn. */
static void one_more_turn(void)
{
    struct loop_timer timer = { .expired = on_timer };
    loop_timer_set(loop, &timer, 0);
    loop_run(loop);
}

int main(void)
{
    static const char *const names[] = { "mail.example.org", "192.0.2.1" };
    struct contexts with = { .server = NULL };
    struct fault fault;
    struct buf chain, key;
    buf_init(&chain, 65536);
    buf_init(&key, 65536);
    loop = loop_new();
    must(loop != NULL && tls_make_self_signed(names, 2, &chain, &key, &fault) == RC_OK);
    must(tls_key_new(buf_slice(&key).ptr, buf_len(&key), &with.signer.key, &fault) == RC_OK);
    struct tls_signer signer = { &with.signer, count_and_sign };
    must(tls_server_new(buf_slice(&chain).ptr, buf_len(&chain), 7, &signer, &with.server, &fault) == RC_OK);
    must(tls_client_new(false, NULL, &with.client, &fault) == RC_OK && tls_client_new(true, NULL, &with.strict, &fault) == RC_OK);
    handshakes(&with);
    strangers(&with);
    one_more_turn();
    loop_free(loop);
    tls_context_free(with.server);
    tls_context_free(with.client);
    tls_context_free(with.strict);
    tls_key_free(with.signer.key);
    buf_free(&chain);
    buf_free(&key);
    return check_done();
}
