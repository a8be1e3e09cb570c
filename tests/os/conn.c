/* Connections without TLS: events, limits, descriptors, closing. Pairs of connections on one loop. */
#include "check.h"

#include "os/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct loop *loop;

struct side {
    struct conn *conn;
    size_t keep;                /* leaves so many bytes of input unread */
    unsigned input, flushed, closed, connected, timed_out;
    size_t taken_bytes;
    struct buf taken;
    char why[160];
    bool closes_on_input, replies_and_leaves;
};

static void on_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct side *side = arg;
    switch (event) {
    case CONN_INPUT: {
        side->input++;
        if (side->closes_on_input) {
            conn_close(conn);
            side->conn = NULL;
            return;
        }
        struct slice all = buf_slice(conn_input(conn));
        size_t take = all.len > side->keep ? all.len - side->keep : 0;
        (void)buf_append(&side->taken, slice_sub(all, 0, take));
        buf_consume(conn_input(conn), take);
        side->taken_bytes += take;
        if (side->replies_and_leaves) {
            (void)buf_append_str(conn_output(conn), "bye");
            conn_close_after_flush(conn);
            side->conn = NULL;
        }
        break;
    }
    case CONN_FLUSHED: side->flushed++; break;
    case CONN_CONNECTED: side->connected++; break;
    case CONN_TIMED_OUT: side->timed_out++; break;
    case CONN_TLS_STARTED: break;
    case CONN_CLOSED:
        side->closed++;
        (void)snprintf(side->why, sizeof(side->why), "%s", conn_why(conn));
        conn_close(conn);
        side->conn = NULL;
        break;
    }
}

static void init_side(struct side *side)
{
    *side = (struct side){ .keep = 0 };
    buf_init(&side->taken, 1 << 22);
}

static const struct conn_limits small = { .input_max = 1000, .output_max = 1 << 20, .output_full = 64 * 1024 };

static void tcp_pair(int fds[2])
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(listening, (struct sockaddr *)&at, len) == 0 && listen(listening, 1) == 0);
    must(getsockname(listening, (struct sockaddr *)&at, &len) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(fds[0], (struct sockaddr *)&at, len) == 0);
    fds[1] = accept(listening, NULL, NULL);
    must(fds[1] >= 0);
    (void)close(listening);
}

static void open_side(struct side *side, int fd, const struct conn_limits *limits)
{
    struct conn_owner owner = { .event = on_event, .arg = side };
    init_side(side);
    side->conn = conn_new(loop, fd, limits, &owner);
    must(side->conn != NULL);
}

static void open_pair(struct side *a, struct side *b, bool is_tcp)
{
    int fds[2];
    if (is_tcp)
        tcp_pair(fds);
    else
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    open_side(a, fds[0], &small);
    open_side(b, fds[1], &small);
}

static void end_side(struct side *side)
{
    if (side->conn != NULL)
        conn_close(side->conn);
    side->conn = NULL;
    buf_free(&side->taken);
}

/* Turns the loop until it is so; a test that would wait for ever fails instead. */
static bool (*wanted)(void);
static struct loop_timer look, give_up;

static void on_look(struct loop_timer *timer)
{
    if (wanted())
        loop_stop(loop);
    else
        loop_timer_set(loop, timer, 1);
}

static void on_give_up(struct loop_timer *timer)
{
    (void)timer;
    CHECK(false && "waited a minute in vain");
    loop_stop(loop);
}

static void until(bool (*is_so)(void))
{
    wanted = is_so;
    look.expired = on_look;
    give_up.expired = on_give_up;
    loop_timer_set(loop, &look, 0);
    loop_timer_set(loop, &give_up, 60000);
    loop_run(loop);
    loop_timer_stop(loop, &look);
    loop_timer_stop(loop, &give_up);
}

static int turns;
static bool after_turns(void) { return --turns <= 0; }
static void turn_some(void)
{
    turns = 20;
    until(after_turns);
}

static struct side a, b;

static void say(struct side *side, const char *text)
{
    (void)buf_append_str(conn_output(side->conn), text);
    conn_flush(side->conn);
}

static bool b_has_5(void) { return b.taken_bytes >= 5; }
static bool b_is_closed(void) { return b.closed > 0; }
static bool a_is_closed(void) { return a.closed > 0; }
static bool b_has_300000(void) { return b.taken_bytes >= 300000; }

static void check_passing(void)
{
    open_pair(&a, &b, true);
    say(&a, "hel");
    say(&a, "lo");
    until(b_has_5);
    CASE("what is appended in one turn goes out together");
    CHECK_SLICE(buf_slice(&b.taken), SLICE("hello"));
    CHECK_INT(b.input, 1);
    CASE("the peer is described");
    CHECK_STR(conn_peer(b.conn)->address, "127.0.0.1");
    CHECK(conn_peer(b.conn)->is_loopback && conn_peer(b.conn)->port != 0 && conn_peer(b.conn)->local_port != 0 && !conn_peer(b.conn)->has_tls);
    CASE("an idle connection holds no buffer");
    CHECK(conn_input(b.conn)->data == NULL && conn_output(b.conn)->data == NULL && conn_output(a.conn)->data == NULL);
    say(&a, "last");
    conn_close_after_flush(a.conn);
    a.conn = NULL;
    until(b_is_closed);
    CASE("what was said before the end arrives before it");
    CHECK_SLICE(buf_slice(&b.taken), SLICE("hellolast"));
    CHECK_STR(b.why, "closed by the peer");
    end_side(&b);
    end_side(&a);
}

/* The client has sent more than the server reads; the server's last words must not be lost to a reset. */
static void check_last_words(void)
{
    int fds[2];
    char text[16] = "", junk[20000];
    memset(junk, 'j', sizeof(junk));
    tcp_pair(fds);
    open_side(&b, fds[1], &small);
    b.replies_and_leaves = true;
    must(write(fds[0], junk, sizeof(junk)) == (ssize_t)sizeof(junk));
    turn_some();
    CASE("last words are not destroyed by what the peer still sends");
    must(write(fds[0], junk, 100) == 100);
    turn_some();
    CHECK_INT(read(fds[0], text, sizeof(text)), 3);
    CHECK_STR(text, "bye");
    CHECK_INT(read(fds[0], text, sizeof(text)), 0);
    (void)close(fds[0]);
    turn_some();
    end_side(&b);
}

static void check_half_close(void)
{
    int fds[2];
    char text[16] = "";
    tcp_pair(fds);
    open_side(&b, fds[1], &small);
    b.replies_and_leaves = true;
    must(write(fds[0], "QUIT", 4) == 4 && shutdown(fds[0], SHUT_WR) == 0);
    turn_some();
    CASE("who sends and shuts down his side still gets the answer");
    CHECK_INT(read(fds[0], text, sizeof(text)), 3);
    (void)close(fds[0]);
    end_side(&b);
}

static void check_limits(void)
{
    char block[10000];
    memset(block, 'x', sizeof(block));
    open_pair(&a, &b, true);
    b.keep = 1 << 30;
    for (int i = 0; i < 30; i++)
        (void)buf_append(conn_output(a.conn), (struct slice){ block, sizeof(block) });
    conn_flush(a.conn);
    turn_some();
    CASE("no more is read than the input may hold");
    CHECK_INT(buf_len(conn_input(b.conn)), 1000);
    CASE("a full input that nobody takes from does not keep the loop busy");
    unsigned before = b.input;
    turn_some();
    CHECK_INT(b.input, before);
    CASE("reading goes on when there is room, though no event told so");
    b.keep = 0;
    b.taken_bytes += buf_len(conn_input(b.conn));
    buf_consume(conn_input(b.conn), buf_len(conn_input(b.conn)));
    until(b_has_300000);
    CHECK_INT(b.taken_bytes, 300000);
    CASE("more output than may wait ends the connection");
    conn_pause(b.conn, true);
    while (buf_append(conn_output(a.conn), (struct slice){ block, sizeof(block) }))
        ;
    conn_flush(a.conn);
    until(a_is_closed);
    CHECK(a.why[0] != '\0');
    end_side(&a);
    end_side(&b);
}

static bool a_has_flushed(void) { return a.flushed > 0; }

static void check_full(void)
{
    static const struct conn_limits large = { .input_max = 1 << 20, .output_max = 16 << 20, .output_full = 64 * 1024 };
    char block[10000];
    int fds[2], tiny = 4096;
    memset(block, 'y', sizeof(block));
    tcp_pair(fds);
    (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
    open_side(&a, fds[0], &large);
    open_side(&b, fds[1], &small);
    conn_pause(b.conn, true);
    size_t total = 0;
    for (; total < (8 << 20); total += sizeof(block))
        (void)buf_append(conn_output(a.conn), (struct slice){ block, sizeof(block) });
    conn_flush(a.conn);
    turn_some();
    CASE("output beyond its mark is full, and the end of that is told once");
    CHECK(conn_output_is_full(a.conn));
    CHECK_INT(a.flushed, 0);
    conn_pause(b.conn, false);
    until(a_has_flushed);
    CHECK(!conn_output_is_full(a.conn));
    turn_some();
    CHECK_INT(a.flushed, 1);
    end_side(&a);
    end_side(&b);
}

static void check_closing(void)
{
    open_pair(&a, &b, false);
    b.closes_on_input = true;
    say(&a, "x");
    until(a_is_closed);
    CASE("a connection may be closed within its own event");
    CHECK_INT(b.input, 1);
    CHECK_INT(b.closed, 0);
    end_side(&a);
    end_side(&b);

    open_pair(&a, &b, false);
    conn_pause(b.conn, true);
    say(&a, "late");
    turn_some();
    conn_close(a.conn);
    a.conn = NULL;
    turn_some();
    CASE("what was sent before a hang-up is read when the pause is over");
    CHECK_INT(b.closed, 0);
    conn_pause(b.conn, false);
    until(b_is_closed);
    CHECK_SLICE(buf_slice(&b.taken), SLICE("late"));
    end_side(&a);
    end_side(&b);
}

static bool b_has_timed_out(void) { return b.closed > 0; }

static void check_timeouts(void)
{
    open_pair(&a, &b, true);
    conn_timeout(b.conn, 30);
    until(b_has_timed_out);
    CASE("silence ends a connection, after its owner was told");
    CHECK_INT(b.timed_out, 1);
    CHECK_STR(b.why, "timed out");
    end_side(&a);
    end_side(&b);
}

/* --- descriptors --- */

static bool b_has_6(void) { return b.taken_bytes >= 6; }

static void check_fds(void)
{
    int pipes[3][2];
    char byte;
    open_pair(&a, &b, false);
    conn_carry_fds(a.conn);
    conn_carry_fds(b.conn);
    (void)buf_append_str(conn_output(a.conn), "1");
    for (int i = 0; i < 3; i++) {
        must(pipe(pipes[i]) == 0);
        conn_send_fd(a.conn, pipes[i][1]);
        (void)buf_append_str(conn_output(a.conn), i == 1 ? "22" : "2");
    }
    (void)buf_append_str(conn_output(a.conn), "3");
    conn_flush(a.conn);
    until(b_has_6);
    turn_some();
    CASE("descriptors come in the order in which they were sent");
    int got[3] = { conn_take_fd(b.conn), conn_take_fd(b.conn), conn_take_fd(b.conn) };
    CHECK(got[0] >= 0 && got[1] >= 0 && got[2] >= 0 && conn_take_fd(b.conn) < 0);
    for (int i = 0; i < 3; i++) {
        CHECK(write(got[i], "z", 1) == 1 && read(pipes[i][0], &byte, 1) == 1);
        CHECK((fcntl(got[i], F_GETFD) & FD_CLOEXEC) != 0);
        (void)close(got[i]);
        CASE("and the sender keeps none of them");
        CHECK_INT(read(pipes[i][0], &byte, 1), 0);
        (void)close(pipes[i][0]);
    }
    end_side(&a);
    end_side(&b);

    open_pair(&a, &b, false);
    must(pipe(pipes[0]) == 0);
    conn_carry_fds(a.conn);
    conn_send_fd(a.conn, pipes[0][1]);
    say(&a, "hello");
    until(b_has_5);
    CASE("who was not told to carry descriptors takes none from anybody");
    CHECK_INT(conn_take_fd(b.conn), -1);
    CHECK_INT(read(pipes[0][0], &byte, 1), 0);
    (void)close(pipes[0][0]);
    end_side(&a);
    end_side(&b);

    open_pair(&a, &b, false);
    must(pipe(pipes[0]) == 0);
    conn_carry_fds(a.conn);
    conn_carry_fds(b.conn);
    for (int i = 0; i < 300; i++) {
        conn_send_fd(a.conn, dup(pipes[0][1]));
        (void)buf_append_str(conn_output(a.conn), "f");
    }
    conn_flush(a.conn);
    int taken = 0;
    for (int i = 0; i < 40 && taken < 300; i++) {
        turn_some();
        for (int fd; (fd = conn_take_fd(b.conn)) >= 0; taken++)
            (void)close(fd);
    }
    CASE("many descriptors wait until they are taken, and none is lost");
    CHECK_INT(taken, 300);
    CHECK_INT(b.taken_bytes, 300);
    (void)close(pipes[0][0]);
    (void)close(pipes[0][1]);
    end_side(&a);
    end_side(&b);
}

/* --- listening and connecting --- */

static struct listener *listener;
static bool frees_listener;

static void on_accept(void *arg, int fd, const struct peer *peer)
{
    (void)arg;
    CHECK(peer->is_loopback);
    open_side(&b, fd, &small);
    if (frees_listener) {
        listener_free(listener);
        listener = NULL;
    }
}

static bool both_there(void) { return a.connected > 0 && b.conn != NULL; }

static uint16_t port_of(int fd)
{
    struct peer peer;
    must(listener_name_of_fd(fd, &peer));
    return peer.local_port;
}

static void check_listening(void)
{
    int fd, other;
    struct fault fault;
    struct conn_owner owner = { .event = on_event, .arg = &a };
    CASE("a port is listened on and connected to");
    CHECK_INT(listen_open("127.0.0.1", 0, 0, &fd, &fault), RC_OK);
    uint16_t port = port_of(fd);
    CASE("a port in use is one clear line that names it");
    CHECK_INT(listen_open("127.0.0.1", port, 0, &other, &fault), RC_PERM);
    CHECK(strstr(fault.text, "in use") != NULL && strstr(fault.text, "127.0.0.1") != NULL);
    CASE("what is not an address is said to be none");
    CHECK_INT(listen_open("localhost", 0, 0, &other, &fault), RC_PERM);
    CHECK(strstr(fault.text, "localhost") != NULL);
    CHECK_INT(listen_open("192.0.2.1", 0, 0, &other, &fault), RC_PERM);
    CHECK(strstr(fault.text, "192.0.2.1") != NULL);

    listener = listener_new(loop, fd, on_accept, NULL);
    frees_listener = true;
    init_side(&a);
    init_side(&b);
    a.conn = conn_connect(loop, "127.0.0.1", port, "127.0.0.1", 5000, &small, &owner, &fault);
    must(a.conn != NULL);
    until(both_there);
    CASE("a listener may be freed while it is telling of a connection");
    CHECK(listener == NULL);
    end_side(&a);
    end_side(&b);

    init_side(&a);
    a.conn = conn_connect(loop, "127.0.0.1", port, NULL, 5000, &small, &owner, &fault);
    CASE("a refused connection is closed with the reason");
    if (a.conn != NULL)
        until(a_is_closed);
    CHECK_STR(a.conn == NULL && a.closed == 0 ? "" : a.why, "Connection refused");
    end_side(&a);
}

static void check_local(void)
{
    char path[64], file[64];
    struct fault fault;
    struct stat status;
    int fd, other;
    struct conn_owner owner = { .event = on_event, .arg = &a };
    (void)snprintf(path, sizeof(path), "/tmp/thurn-conn-%d.sock", (int)getpid());
    (void)snprintf(file, sizeof(file), "/tmp/thurn-conn-%d.txt", (int)getpid());
    CASE("a local socket has just the mode that was asked for");
    CHECK_INT(listen_open(path, 0, 0600, &fd, &fault), RC_OK);
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600);
    listener = listener_new(loop, fd, on_accept, NULL);
    frees_listener = false;
    init_side(&a);
    init_side(&b);
    a.conn = conn_connect_local(loop, path, &small, &owner, &fault);
    must(a.conn != NULL);
    until(both_there);
    CHECK_STR(conn_peer(b.conn)->address, "");
    CASE("a local socket that is served is not taken away from its server");
    CHECK_INT(listen_open(path, 0, 0600, &other, &fault), RC_PERM);
    CHECK(strstr(fault.text, path) != NULL);
    listener_free(listener);
    end_side(&a);
    end_side(&b);
    CASE("one that was left behind is");
    CHECK_INT(listen_open(path, 0, 0666, &fd, &fault), RC_OK);
    (void)close(fd);
    (void)unlink(path);
    CASE("a file of that name is nobody's to remove");
    fd = open(file, O_CREAT | O_WRONLY, 0600);
    (void)close(fd);
    CHECK_INT(listen_open(file, 0, 0600, &other, &fault), RC_PERM);
    CHECK(stat(file, &status) == 0);
    (void)unlink(file);
}

int main(void)
{
    loop = loop_new();
    must(loop != NULL);
    check_passing();
    check_last_words();
    check_half_close();
    check_limits();
    check_full();
    check_closing();
    check_timeouts();
    check_fds();
    check_listening();
    check_local();
    turn_some();
    loop_free(loop);
    return check_done();
}
