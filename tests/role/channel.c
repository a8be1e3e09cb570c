/* Channels: frames and descriptors in order, whatever the pieces; and how a channel ends. */
#include "check.h"

#include "role/channel.h"
#include "role/signer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;

struct side {
    struct channel *channel;
    unsigned frames, flushed, closed, fds;
    uint64_t next;                      /* numbers come in order */
    bool is_in_order, keeps_fds, frees_itself;
    struct channel *pumps;
    int fd;
    char why[160];
};

static void on_frame(void *arg, struct channel *channel, struct frame *frame)
{
    struct side *side = arg;
    side->frames++;
    if (frame->type == FRAME_CHANNEL) {
        side->is_in_order = side->is_in_order && frame->field[0].number == side->next++;
        side->fds += frame->fd >= 0;
        if (side->keeps_fds) {
            side->fd = frame->fd;
            frame->fd = -1;
        }
    } else if (frame->type == FRAME_BODY) {
        side->is_in_order = side->is_in_order && frame->field[0].number == side->next++;
    }
    if (side->frees_itself) {
        channel_free(channel);
        side->channel = NULL;
    }
    if (side->pumps != NULL)
        channel_pump(side->pumps);
}

static void on_flushed(void *arg, struct channel *channel)
{
    (void)channel;
    ((struct side *)arg)->flushed++;
}

static void on_closed(void *arg, struct channel *channel, const char *why)
{
    struct side *side = arg;
    (void)channel;
    side->closed++;
    side->channel = NULL;
    (void)snprintf(side->why, sizeof(side->why), "%s", why);
}

static void open_side(struct side *side, int fd)
{
    struct channel_owner owner = { .frame = on_frame, .flushed = on_flushed, .closed = on_closed, .arg = side };
    *side = (struct side){ .is_in_order = true, .fd = -1 };
    side->channel = channel_new(loop, fd, &owner);
    must(side->channel != NULL);
}

static void end_side(struct side *side)
{
    if (side->channel != NULL)
        channel_free(side->channel);
    side->channel = NULL;
}

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
    CHECK_STR("waited a minute in vain", "");
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

static struct side a, b, c;
static unsigned frames_wanted;
static bool b_has_frames(void) { return b.frames >= frames_wanted; }
static bool b_is_closed(void) { return b.closed > 0; }
static bool a_is_closed(void) { return a.closed > 0; }
static bool a_has_flushed(void) { return a.flushed > 0; }
static int turns;
static bool after_turns(void) { return --turns <= 0; }

static void open_pair(void)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    open_side(&a, fds[0]);
    open_side(&b, fds[1]);
}

static void check_descriptors(void)
{
    int pipes[2];
    open_pair();
    must(pipe(pipes) == 0);
    for (uint64_t i = 0; i < 500; i++) {        /* more than any queue on the way holds */
        if (i % 2 == 0)
            channel_send_fd(a.channel, dup(pipes[1]), FRAME_CHANNEL, 0, i, (uint64_t)0);
        else
            channel_send(a.channel, FRAME_BODY, 0, i, SLICE("between"));
    }
    frames_wanted = 500;
    until(b_has_frames);
    CASE("each frame has its own descriptor, in order, and those that are not kept are closed");
    CHECK(b.is_in_order);
    CHECK_INT(b.fds, 250);
    (void)close(pipes[1]);
    char byte;
    CHECK_INT(read(pipes[0], &byte, 1), 0);
    (void)close(pipes[0]);
    end_side(&a);
    end_side(&b);
}

/* What a lost descriptor led to must not be taken for what the next one leads to. */
static void check_lost_descriptor(void)
{
    struct rlimit limit, none;
    open_pair();
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    int highest = dup(0);
    for (uint64_t i = 0; i < 2; i++)
        channel_send_fd(a.channel, dup(0), FRAME_CHANNEL, 0, i, (uint64_t)0);
    none = (struct rlimit){ (rlim_t)highest, limit.rlim_max };
    must(setrlimit(RLIMIT_NOFILE, &none) == 0);
    frames_wanted = 2;
    until(b_has_frames);
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CASE("a frame whose descriptor could not be received comes without one");
    CHECK(b.is_in_order);
    CHECK_INT(b.fds, 0);
    channel_send_fd(a.channel, dup(0), FRAME_CHANNEL, 0, (uint64_t)2, (uint64_t)0);
    frames_wanted = 3;
    until(b_has_frames);
    CASE("and the next one has its own");
    CHECK_INT(b.fds, 1);
    (void)close(highest);
    end_side(&a);
    end_side(&b);
}

static void check_volume(void)
{
    static char body[FRAME_BODY_PIECE];
    open_pair();
    CASE("more than a megabyte is full, and the end of that is told");
    for (uint64_t i = 0; i < 400; i++)
        channel_send(a.channel, FRAME_BODY, 5, i, ((struct slice){ body, sizeof(body) }));
    CHECK(channel_is_full(a.channel));
    until(a_has_flushed);
    CHECK(!channel_is_full(a.channel));
    frames_wanted = 400;
    until(b_has_frames);
    CHECK(b.is_in_order);
    CASE("a channel that overflows closes, and its owner hears why: not while it is sending, but in the same turn");
    for (uint64_t i = 0; i < 2000; i++)
        channel_send(a.channel, FRAME_BODY, 5, i, ((struct slice){ body, sizeof(body) }));
    CHECK_INT(a.closed, 0);
    until(a_is_closed);
    CHECK_INT(a.closed, 1);
    CHECK_STR(a.why, "too much waits to be sent");
    until(b_is_closed);
    end_side(&b);

    CASE("whoever frees a channel that has overflowed hears nothing more of it");
    open_pair();
    for (uint64_t i = 0; i < 2000; i++)
        channel_send(a.channel, FRAME_BODY, 5, i, ((struct slice){ body, sizeof(body) }));
    end_side(&a);
    until(b_is_closed);
    CHECK_INT(a.closed, 0);
    end_side(&b);
}

static void check_ends(void)
{
    int fds[2];
    CASE("a malformed frame closes the channel");
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    open_side(&b, fds[1]);
    must(write(fds[0], "\377\377\377\377rubbish", 11) == 11);
    until(b_is_closed);
    CHECK_INT(b.frames, 0);
    (void)close(fds[0]);

    CASE("what was sent before the end is told before it");
    open_pair();
    channel_send(a.channel, FRAME_BODY, 0, (uint64_t)0, SLICE("last"));
    turns = 3;
    until(after_turns);
    end_side(&a);
    until(b_is_closed);
    CHECK_INT(b.frames, 1);

    CASE("a channel may be freed within its own frame");
    open_pair();
    b.frees_itself = true;
    for (uint64_t i = 0; i < 3; i++)
        channel_send(a.channel, FRAME_BODY, 0, i, SLICE("x"));
    frames_wanted = 1;
    until(b_has_frames);
    turns = 5;
    until(after_turns);
    CHECK_INT(b.frames, 1);
    CHECK_INT(b.closed, 0);
    end_side(&a);
}

/* A ticket on one channel must be there when the mail that needs it comes on another. */
static void check_pump(void)
{
    enum { TICKETS = 40 };
    static char directory[4000];
    int fds[2];
    open_pair();
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    open_side(&c, fds[1]);
    struct buf ticket;
    buf_init(&ticket, 1 << 20);
    for (uint64_t i = 0; i < TICKETS; i++)      /* more than one read takes */
        (void)frame_write(&ticket, FRAME_BODY, 0, i, ((struct slice){ directory, sizeof(directory) }));
    b.pumps = c.channel;
    channel_send(a.channel, FRAME_BODY, 0, (uint64_t)0, SLICE("needs it"));
    must(write(fds[0], buf_slice(&ticket).ptr, buf_len(&ticket)) == (ssize_t)buf_len(&ticket));
    frames_wanted = 1;
    until(b_has_frames);
    CASE("a pump takes all that has arrived on another channel, now");
    CHECK_INT(c.frames, TICKETS);
    b.pumps = b.channel;
    channel_send(a.channel, FRAME_BODY, 0, (uint64_t)1, SLICE("pumps itself"));
    channel_send(a.channel, FRAME_BODY, 0, (uint64_t)2, SLICE("and goes on"));
    frames_wanted = 3;
    until(b_has_frames);
    CASE("a pump within the same channel does no harm");
    CHECK(b.is_in_order);
    buf_free(&ticket);
    (void)close(fds[0]);
    end_side(&a);
    end_side(&b);
    end_side(&c);
}

/* --- signatures that are asked for and waited for --- */

static void answer(int fd, uint32_t session, enum rc rc, const char *signature)
{
    struct buf out;
    struct fault fault = { .rc = rc, .text = "no" };
    buf_init(&out, 4096);
    (void)frame_write(&out, FRAME_SIGNED, session, &fault, slice_from_str(signature));
    must(write(fd, buf_slice(&out).ptr, buf_len(&out)) == (ssize_t)buf_len(&out));
    buf_free(&out);
}

static void check_signer(void)
{
    int fds[2];
    unsigned char out[64];
    struct signer *signer = signer_new();
    const unsigned char in[] = "digest";
    CASE("without a channel there is no signature");
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, sizeof(out)), -1);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    signer_channel(signer, fds[1]);
    answer(fds[0], 1, RC_OK, "signature");      /* before it is asked: it waits in the socket */
    CASE("the answer is the signature");
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, sizeof(out)), 9);
    CHECK(memcmp(out, "signature", 9) == 0);
    CASE("a refusal is none, and the channel stays");
    answer(fds[0], 2, RC_PERM, "");
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, sizeof(out)), -1);
    CASE("a late answer to another question is passed over");
    answer(fds[0], 1, RC_OK, "stale");
    answer(fds[0], 3, RC_OK, "fresh");
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, sizeof(out)), 5);
    CHECK(memcmp(out, "fresh", 5) == 0);
    CASE("a signature that does not fit is none");
    answer(fds[0], 4, RC_OK, "too long");
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, 3), -1);
    CASE("nonsense ends the channel");
    must(write(fds[0], "\377\377\377\377", 4) == 4);
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, sizeof(out)), -1);
    (void)close(fds[0]);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    signer_channel(signer, fds[1]);
    CASE("a new channel brings new signatures");
    answer(fds[0], 6, RC_OK, "again");
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, sizeof(out)), 5);
    CASE("keys that died is noticed at once");
    (void)close(fds[0]);
    CHECK_INT(signer_sign(signer, 1, 2, 0, in, 6, out, sizeof(out)), -1);
    signer_channel(signer, -1);
    free(signer);
}

int main(void)
{
    loop = loop_new();
    must(loop != NULL);
    check_descriptors();
    check_lost_descriptor();
    check_volume();
    check_ends();
    check_pump();
    check_signer();
    turns = 5;
    until(after_turns);
    loop_free(loop);
    return check_done();
}
