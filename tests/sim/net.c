/* The simulated network by itself: what TCP and Unix sockets promise, and what they do not. */
#include "check.h"
#include "fake_kernel.h"
#include "sim/net.h"

#include <errno.h>
#include <sys/socket.h>

enum { SECOND = 1000 * 1000, PORT = 25 };

static struct sim_host here = { .name = "here", .addresses = { "192.0.2.1", "2001:db8::1" }, .is_up = true };
static struct sim_host there = { .name = "there", .addresses = { "192.0.2.2", "2001:db8::2" }, .is_up = true };

static void begin(uint64_t seed)
{
    fake_begin(seed, &here);
    net_begin();
    net_set_faults(&(struct net_faults){ .delay_us = 5000, .jitter_us = 1000 });
    here.is_up = there.is_up = true;
}

static unsigned ready(struct net_end *end)
{
    struct sim_file *file = (struct sim_file *)end;
    return file->ops->ready(file);
}

/* A connection from here to there. */
static void join(struct net_end **listener, struct net_end **near, struct net_end **far)
{
    *listener = net_serve(&there, "0.0.0.0", PORT);
    CHECK(*listener != NULL);
    *near = net_dial(&here, "192.0.2.2", PORT, 10000);
    CHECK(*near != NULL);
    *far = net_next(*listener, 10000);
    CHECK(*far != NULL);
}

static void leave(struct net_end *listener, struct net_end *near, struct net_end *far)
{
    net_close(listener);
    net_close(near);
    net_close(far);
}

static void names_and_bytes(void)
{
    struct net_end *listener, *near, *far;
    char local[48], remote[48], bytes[64];
    uint16_t local_port, remote_port;
    begin(1);
    join(&listener, &near, &far);
    CASE("both ends know each other's address and port");
    net_names(near, local, &local_port, remote, &remote_port);
    CHECK_STR(local, "192.0.2.1");
    CHECK_STR(remote, "192.0.2.2");
    CHECK_INT(remote_port, PORT);
    uint16_t ephemeral = local_port;
    net_names(far, local, &local_port, remote, &remote_port);
    CHECK_STR(local, "192.0.2.2");
    CHECK_STR(remote, "192.0.2.1");
    CHECK_INT(remote_port, ephemeral);
    CASE("bytes take time, and arrive");
    CHECK_INT(net_write(near, "hello\r\n", 7), 7);
    CHECK_INT(net_read(far, bytes, sizeof(bytes), false), -EAGAIN);
    CHECK(sim_now_us() < SECOND);
    CHECK_INT(net_line(far, bytes, sizeof(bytes), 1000), 5);
    CHECK_STR(bytes, "hello");
    CASE("a half-closed connection still carries the other direction");
    CHECK_INT(net_shutdown(near, SHUT_WR), 0);
    CHECK_INT(net_get(far, bytes, sizeof(bytes), 1000), 0);
    CHECK((ready(far) & SIM_PEER_SHUT) != 0 && (ready(far) & SIM_HANGUP) == 0);
    CHECK_INT(net_write(near, "x", 1), -EPIPE);
    CHECK_INT(net_write(far, "answer", 6), 6);
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 1000), 6);
    leave(listener, near, far);
}

static void closing(void)
{
    struct net_end *listener, *near, *far;
    char bytes[64];
    begin(2);
    CASE("a close with nothing unread is an end; who writes afterwards is reset, then has a broken pipe");
    join(&listener, &near, &far);
    net_close(far);
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 1000), 0);
    CHECK_INT(net_write(near, "more", 4), 4);
    fake_run(sim_now_us() + SECOND);
    CHECK((ready(near) & SIM_ERROR) != 0);
    CHECK_INT(net_write(near, "more", 4), -EPIPE);
    leave(listener, near, NULL);
    CASE("a close with something unread is a reset");
    join(&listener, &near, &far);
    CHECK_INT(net_write(near, "unread", 6), 6);
    fake_run(sim_now_us() + SECOND);
    net_close(far);
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 1000), -ECONNRESET);
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 1000), 0);
    leave(listener, near, NULL);
}

static void refusals(void)
{
    begin(3);
    CASE("nobody listens there: refused after a round trip");
    struct net_end *listener = net_serve(&there, "192.0.2.2", PORT), *end = net_socket(AF_INET);
    CHECK_INT(net_connect(end, &here, "192.0.2.2", 26), -EINPROGRESS);
    CHECK_INT(ready(end), 0);
    fake_run(SECOND);
    CHECK((ready(end) & SIM_ERROR) != 0);
    CHECK_INT(net_connect_result(end), ECONNREFUSED);
    CHECK_INT(net_connect_result(end), 0);
    net_close(end);
    CASE("an address that nobody has, or a host without power, does not answer");
    CHECK(net_dial(&here, "192.0.2.99", PORT, 60000) == NULL);
    CHECK(sim_now_us() >= 60 * SECOND);
    there.is_up = false;
    end = net_socket(AF_INET);
    CHECK_INT(net_connect(end, &here, "192.0.2.2", PORT), -EINPROGRESS);
    fake_run(sim_now_us() + 300LL * SECOND);
    CHECK_INT(net_connect_result(end), ETIMEDOUT);
    there.is_up = true;
    net_close(end);
    CASE("an address and port is listened on once; on another host it is another");
    end = net_socket(AF_INET);
    CHECK_INT(net_bind(end, &there, "0.0.0.0", PORT), -EADDRINUSE);
    CHECK_INT(net_bind(end, &there, "192.0.2.1", PORT), -EADDRNOTAVAIL);
    CHECK_INT(net_bind(end, &here, "0.0.0.0", PORT), 0);
    net_close(end);
    CASE("each host has a loopback of its own");
    net_close(listener);
    listener = net_serve(&there, "127.0.0.1", PORT);
    CHECK(net_dial(&here, "127.0.0.1", PORT, 1000) == NULL);
    end = net_dial(&there, "127.0.0.1", PORT, 1000);
    CHECK(end != NULL);
    leave(listener, end, NULL);
}

static void power(void)
{
    struct net_end *listener, *near, *far;
    char bytes[8];
    begin(4);
    CASE("a host that lost its power says nothing; the peer hears of it two hours later");
    join(&listener, &near, &far);
    net_host_lost(&there);
    there.is_up = false;
    net_close(far);
    net_close(listener);
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 3600 * 1000), -ETIMEDOUT);
    CHECK_INT(ready(near) & SIM_ERROR, 0);
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 3 * 3600 * 1000), -ETIMEDOUT);
    CHECK((ready(near) & SIM_HANGUP) != 0);
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 0), 0);
    net_close(near);
    CASE("... or when it speaks: a quarter of an hour later, or at once when the host is back");
    there.is_up = true;
    join(&listener, &near, &far);
    net_host_lost(&there);
    there.is_up = false;
    leave(listener, NULL, far);
    CHECK(net_put(near, "hello", 5, 1000));
    fake_run(sim_now_us() + 600LL * SECOND);
    CHECK_INT(ready(near) & SIM_ERROR, 0);
    there.is_up = true;
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 1000 * 1000), -ECONNRESET);
    net_close(near);
}

static void partitions(void)
{
    struct net_end *listener, *near, *far;
    char bytes[8];
    begin(5);
    CASE("nothing passes a partition; when it heals, what was sent arrives");
    join(&listener, &near, &far);
    net_partition(&there, &here, true);
    CHECK(net_put(near, "hello", 5, 1000));
    CHECK_INT(net_get(far, bytes, sizeof(bytes), 100 * 1000), -ETIMEDOUT);
    net_partition(&here, &there, false);
    CHECK_INT(net_get(far, bytes, sizeof(bytes), 5000), 5);
    CASE("one that lasts ends what waits for an answer, on that side");
    net_partition(&here, &there, true);
    CHECK(net_put(near, "hello", 5, 1000));
    CHECK_INT(net_get(near, bytes, sizeof(bytes), 2000 * 1000), -ETIMEDOUT);
    CHECK_INT(net_get(far, bytes, sizeof(bytes), 1000), -ETIMEDOUT);
    leave(listener, near, far);
}

static void room(void)
{
    struct net_end *listener, *near, *far;
    static char block[4096];
    size_t sent = 0, got = 0;
    begin(6);
    CASE("a writer has to wait for a reader");
    join(&listener, &near, &far);
    for (int64_t put; (put = net_write(near, block, sizeof(block))) > 0;)
        sent += (size_t)put;
    CHECK(sent <= NET_BUFFER_BYTES && sent >= 4096);
    CHECK_INT(net_write(near, block, sizeof(block)), -EAGAIN);
    CHECK_INT(ready(near) & SIM_WRITABLE, 0);
    for (int64_t part; (part = net_get(far, block, sizeof(block), 1000)) > 0;)
        got += (size_t)part;
    CHECK_INT(got, sent);
    CHECK((ready(near) & SIM_WRITABLE) != 0);
    leave(listener, near, far);
}

static void passing_files(void)
{
    struct net_end *pair[2], *other[2];
    char bytes[64];
    begin(7);
    CASE("a file comes with the byte it was sent with, and a read ends behind its message");
    CHECK_INT(net_pair(pair), 0);
    CHECK_INT(net_pair(other), 0);
    CHECK_INT(net_write(pair[0], "before", 6), 6);
    CHECK_INT(net_send_file(pair[0], (struct sim_file *)other[0]), 0);
    CHECK_INT(net_write(pair[0], "with", 4), 4);
    CHECK_INT(net_write(pair[0], "after", 5), 5);
    CHECK_INT(net_read(pair[1], bytes, sizeof(bytes), false), 10);
    struct sim_file *file = net_take_file(pair[1]);
    CHECK(file == (struct sim_file *)other[0]);
    CHECK(net_take_file(pair[1]) == NULL);
    CHECK_INT(net_read(pair[1], bytes, sizeof(bytes), false), 5);
    CASE("the file lives as long as one side has it");
    net_close(other[0]);
    CHECK_INT(net_read(other[1], bytes, 1, false), -EAGAIN);
    sim_file_unref(file);
    CHECK_INT(net_read(other[1], bytes, 1, false), 0);
    net_close(other[1]);
    CASE("files that nobody receives are closed with the connection, or at the next read");
    CHECK_INT(net_pair(other), 0);
    CHECK_INT(net_send_file(pair[0], (struct sim_file *)other[0]), 0);
    CHECK_INT(net_write(pair[0], "x", 1), 1);
    net_close(other[0]);
    CHECK_INT(net_read(pair[1], bytes, 1, false), 1);
    CHECK_INT(net_read(other[1], bytes, 1, false), -EAGAIN);
    CHECK_INT(net_read(pair[1], bytes, 1, false), -EAGAIN);
    CHECK_INT(net_read(other[1], bytes, 1, false), 0);
    leave(pair[0], pair[1], other[1]);
}

static void path_sockets(void)
{
    begin(8);
    CASE("a path's name stays when its socket closes: then nobody listens there, until it is unlinked");
    struct net_end *listener = net_socket(AF_UNIX), *end = net_socket(AF_UNIX), *far;
    CHECK_INT(net_connect(end, &here, "/run/thurn.sock", 0), -ENOENT);
    CHECK_INT(net_bind(listener, &here, "/run/thurn.sock", 0), 0);
    CHECK_INT(net_listen(listener), 0);
    CHECK_INT(net_connect(end, &there, "/run/thurn.sock", 0), -ENOENT);
    CHECK_INT(net_connect(end, &here, "/run/thurn.sock", 0), 0);
    CHECK_INT(net_accept(listener, &far), 0);
    CHECK_INT(net_accept(listener, &far), -EAGAIN);
    net_close(listener);
    net_close(end);
    end = net_socket(AF_UNIX);
    CHECK_INT(net_connect(end, &here, "/run/thurn.sock", 0), -ECONNREFUSED);
    CHECK(net_path_is_socket(&here, "/run/thurn.sock"));
    CHECK(!net_path_is_socket(&there, "/run/thurn.sock"));
    CHECK_INT(net_bind(end, &here, "/run/thurn.sock", 0), -EADDRINUSE);
    CHECK(net_path_unlink(&here, "/run/thurn.sock"));
    CHECK(!net_path_unlink(&here, "/run/thurn.sock"));
    CHECK_INT(net_bind(end, &here, "/run/thurn.sock", 0), 0);
    leave(NULL, end, far);
}

/* Sends `total` numbered bytes under faults; what comes is a prefix of what was sent, in order. A hash of the whole. */
static uint64_t under_faults(uint64_t seed, size_t total, size_t *came)
{
    struct net_end *listener, *near, *far;
    char bytes[512];
    uint64_t hash = seed;
    size_t sent = 0;
    begin(seed);
    join(&listener, &near, &far);
    net_set_faults(&(struct net_faults){ .reset = 3000, .cut_silently = 1000, .tiny_pieces = 300000, .delay_us = 2000, .jitter_us = 90000 });
    *came = 0;
    for (int64_t got = 1; got > 0;) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)((sent + i) * 7 % 251);
        int64_t put = sent < total ? net_write(near, bytes, 1 + sim_below(sizeof(bytes))) : 0;
        sent += put > 0 ? (size_t)put : 0;
        if (sent == total || put < 0)
            (void)net_shutdown(near, SHUT_WR);
        got = net_get(far, bytes, 1 + sim_below(sizeof(bytes)), 1200 * 1000);
        for (int64_t i = 0; i < got; i++, (*came)++)
            CHECK(bytes[i] == (char)(*came * 7 % 251));
        hash = (hash ^ (uint64_t)sim_now_us() ^ (uint64_t)got) * 0x100000001b3;
    }
    CHECK(*came <= sent);
    leave(listener, near, far);
    return hash;
}

static void faults(void)
{
    unsigned whole = 0, broken = 0;
    size_t came, again;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        CASE("whatever happens on the way: what arrives is the beginning of what was sent, in order");
        uint64_t hash = under_faults(seed, 20000, &came);
        whole += came >= 20000;
        broken += came < 20000;
        CASE("the same seed, the same run");
        CHECK(hash == under_faults(seed, 20000, &again) && came == again);
    }
    CASE("some connections break and some do not");
    CHECK(whole > 0 && broken > 0);
}

int main(void)
{
    names_and_bytes();
    closing();
    refusals();
    power();
    partitions();
    room();
    passing_files();
    path_sockets();
    faults();
    net_begin();
    return check_done();
}
