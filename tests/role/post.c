/* What an edge says to post, when the edge is not in its right mind; and sessions that end at an awkward moment. */
#include "check.h"

#include "role/post.h"
#include "smtp/server.h"
#include "../store/gate.h"
#include "../store/support.h"

#include <sys/socket.h>

static struct post *post;
static struct gate gate;
static struct loop_watch bell;
static int bell_fds[2];

static void on_edge_frame(void *arg, struct channel *channel, struct frame *frame)
{
    (void)channel;
    if (frame->type == FRAME_OPEN)
        post_session_open(arg, frame);
    else
        post_mail_frame(arg, frame);
}

static void on_edge_closed(void *arg, struct channel *channel, const char *why)
{
    (void)channel, (void)why;
    ((struct post_edge *)arg)->channel = NULL;
    post_mail_forget_all(arg);
}

static void stop_loop(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(post->loop);
}

static void turn(int64_t ms)
{
    struct loop_timer end = { .expired = stop_loop };
    loop_timer_set(post->loop, &end, ms);
    loop_run(post->loop);
}

enum { EDGE = 0, OTHER_EDGE = 1 };
static int edge_fd;             /* the edge's end of its channel */

static void open_channel(uint32_t index)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    struct channel_owner owner = { .frame = on_edge_frame, .closed = on_edge_closed, .arg = &post->edges[index] };
    post->edges[index].channel = channel_new(post->loop, fds[1], &owner);
    edge_fd = fds[0];
}

static void open_post(const char *folder)
{
    struct queue_options queue_options = { .concurrency = 1, .destination_concurrency = 1, .lifetime_s = 1000, .retry_first_s = 10, .retry_max_s = 100 };
    post = calloc(1, sizeof(*post));
    must(post != NULL);
    post_init(post, loop_new());
    post->config = (struct config){ .host_name = "here.example", .message_size_max = 100000, .connections_max = 3 };
    post->queue = queue_new(&queue_options);
    gate_init(&gate);
    struct store_options store_options = { .dir = folder, .files = &gate.ops, .segment_bytes = SEGMENT, .rider = queue_rider(post->queue) };
    must(store_open(&store_options, &post->store, NULL) == RC_OK);
    queue_attach(post->queue, post->store);
    struct dispatch_options options = { .queue = post->queue, .store = post->store, .loop = post->loop, .config = &post->config };
    post->dispatch = dispatch_new(&options);
    post->routing = routing_new('+', SLICE("here.example"), SLICE_NONE, (uint64_t[2]){ 1, 2 });
    CHECK(routing_add_domain(post->routing, SLICE("here.example")));
    CHECK(routing_add_account(post->routing, 7, SLICE("anna@here.example"), 0, true));
    make_account(post->store, 7);
    open_channel(EDGE);
}

static void say(const struct buf *frame)
{
    must(send(edge_fd, buf_slice(frame).ptr, buf_len(frame), 0) == (ssize_t)buf_len(frame));
}

/* The outcome that comes back, which all answers to an edge begin with. */
static struct fault hear(void)
{
    char bytes[4096];
    struct frame frame;
    struct fault fault = { .rc = RC_NONE };
    turn(5);
    ssize_t got = recv(edge_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    struct slice in = { bytes, got > 0 ? (size_t)got : 0 };
    return got > 0 && frame_parse(&in, &frame, &fault) == RC_OK ? frame.field[0].fault : fault;
}

struct mail {
    const char *sentence;
    uint64_t face, ticket;
    const char *local_part, *domain;
    uint64_t body, ret;
    enum rc rc;
};

static struct fault mail(uint32_t session, const struct mail *m)
{
    struct buf out;
    buf_init(&out, 8192);
    CHECK(frame_write(&out, FRAME_MAIL, session, m->face, m->ticket, SLICE("192.0.2.1"), SLICE("helo"), SLICE_NONE, SLICE_NONE,
                      SLICE("somebody else"), (uint64_t)0, slice_from_str(m->local_part), slice_from_str(m->domain), SLICE_NONE,
                      (uint64_t)0, m->body, (uint64_t)0, m->ret, (uint64_t)0, SLICE("submit"), (uint64_t)0));      /* what it calls the protocol lends it nothing */
    say(&out);
    buf_free(&out);
    return hear();
}

static void abandon(uint32_t session)
{
    struct buf out;
    buf_init(&out, 64);
    CHECK(frame_write(&out, FRAME_ABANDON, session));
    say(&out);
    buf_free(&out);
    turn(5);
}

static void check_mail(void)
{
    static const struct mail mails[] = {
        { "a stranger's mail is taken",                     SMTP_MX, 0, "bob", "away.example", 0, 0, RC_OK },
        { "a local part that must be quoted is one",        SMTP_MX, 0, "b o b", "away.example", 0, 0, RC_OK },
        { "there is no fourth kind of body",                SMTP_MX, 0, "bob", "away.example", 3, 0, RC_PERM },
        { "nor one whose number is wide",                   SMTP_MX, 0, "bob", "away.example", UINT64_C(1) << 32, 0, RC_PERM },
        { "there is no such RET",                           SMTP_MX, 0, "bob", "away.example", 0, 9, RC_PERM },
        { "there is no such face",                          9, 0, "bob", "away.example", 0, 0, RC_PERM },
        { "a local part with a line end is no address",     SMTP_MX, 0, "bob>\r\nRCPT TO:<x", "away.example", 0, 0, RC_PERM },
        { "a domain with a line end is no address",         SMTP_MX, 0, "bob", "a.example>\r\nDATA\r\n", 0, 0, RC_PERM },
        { "a domain with a space is no address",            SMTP_MX, 0, "bob", "a.example> SIZE=1 <", 0, 0, RC_PERM },
        { "a local part that closes the path is quoted",    SMTP_MX, 0, "bob> SIZE=1", "a.example", 0, 0, RC_OK },
        { "an empty local part is no address",              SMTP_MX, 0, "", "away.example", 0, 0, RC_PERM },
        { "a ticket that was not given is none",            SMTP_SUBMISSION, 99, "anna", "here.example", 0, 0, RC_TEMP },
        { "another edge's ticket is none",                  SMTP_SUBMISSION, 40, "anna", "here.example", 0, 0, RC_TEMP },
        { "submission takes a ticket",                      SMTP_SUBMISSION, 0, "anna", "here.example", 0, 0, RC_PERM },
        { "the edge's own ticket is good",                  SMTP_SUBMISSION, 41, "anna", "here.example", 0, 0, RC_OK },
        { "for its owner's address alone",                  SMTP_SUBMISSION, 41, "bob", "here.example", 0, 0, RC_PERM },
    };
    post_ticket_add(post, 40, 7, OTHER_EDGE, SLICE("anna@here.example"));
    post_ticket_add(post, 41, 7, EDGE, SLICE("anna@here.example"));
    for (size_t i = 0; i < sizeof(mails) / sizeof(mails[0]); i++) {
        CASE(mails[i].sentence);
        struct fault fault = mail(5, &mails[i]);
        CHECK_INT(fault.rc, mails[i].rc);
        if (fault.rc == RC_OK)
            abandon(5);
        CHECK_INT(post->edges[EDGE].transactions.count, 0);
    }
    CASE("an edge has no more transactions than it may have sessions");
    for (uint32_t session = 1; session <= 3; session++)
        CHECK_INT(mail(session, &mails[0]).rc, RC_OK);
    CHECK_INT(mail(4, &mails[0]).rc, RC_TEMP);
    CHECK_INT(mail(3, &mails[0]).rc, RC_OK);            /* one that begins again gives up the one before */
    for (uint32_t session = 1; session <= 3; session++)
        abandon(session);
}

/* The role local is known by its channel, and speaks for people who need no ticket. */
static void check_local(void)
{
    static const struct mail local = { "", SMTP_SUBMISSION, 0, "anybody", "here.example", 0, 0, RC_OK };
    int edge = edge_fd;
    open_channel(POST_LOCAL);
    CASE("a local user needs no ticket");
    CHECK_INT(mail(5, &local).rc, RC_OK);
    abandon(5);
    (void)close(edge_fd);
    edge_fd = edge;
    turn(5);
    CHECK(post->edges[POST_LOCAL].channel == NULL);
}

static void check_disabled(void)
{
    struct routing *next = routing_new('+', SLICE("here.example"), SLICE_NONE, (uint64_t[2]){ 1, 2 });
    CHECK(routing_add_account(next, 7, SLICE("anna@here.example"), 0, false));
    routing_free(post->routing);
    post->routing = next;
    post_ticket_drop_disabled(post);
    CASE("the tickets of an account that has been disabled go");
    CHECK_INT(post->tickets.count, 0);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static struct post_wait already;
static void settled(struct post_wait *wait, enum rc rc) { (void)wait, (void)rc; }

/* As the store's own event does: what has become durable is settled, in the turn in which the client went. */
static void on_bell(struct loop_watch *watch, unsigned events)
{
    char byte;
    (void)events;
    must(read(watch->fd, &byte, 1) == 1);
    (void)store_poll(post->store, 1700000000000);
    already.settled = settled;
    post_wait_add(post, &already, 0);
}

static void open_stream(int fd)
{
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct buf out;
    buf_init(&out, 4096);
    post_ticket_add(post, 50, 7, EDGE, SLICE("anna@here.example"));
    CHECK(frame_write(&out, FRAME_OPEN, 6, (uint64_t)1, (uint64_t)50, SLICE("a"), (uint64_t)1, SLICE("b CREATE new\r\n"), SLICE("192.0.2.1")));
    struct iovec part = { .iov_base = (void *)(uintptr_t)buf_slice(&out).ptr, .iov_len = buf_len(&out) };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.space) };
    memset(&control, 0, sizeof(control));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    must(sendmsg(edge_fd, &message, 0) > 0);
    buf_free(&out);
}

static void check_late_settling(void)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0 && pipe(bell_fds) == 0);
    bell = (struct loop_watch){ .fd = bell_fds[0], .events = LOOP_READ, .ready = on_bell };
    must(loop_watch(post->loop, &bell));
    open_stream(fds[1]);
    (void)close(fds[1]);
    turn(5);
    CASE("the session waits for its change to be settled");
    CHECK_INT(post->session_count, 1);
    CHECK(!list_is_empty(&post->waits));
    uint64_t position = list_is_empty(&post->waits) ? 0 : LIST_ENTRY(post->waits.next, struct post_wait, list)->position;
    CHECK_INT(store_wait(post->store, position), RC_OK);
    must(write(bell_fds[1], "!", 1) == 1);
    (void)close(fds[0]);
    turn(5);
    CASE("a session whose client went in the turn in which its change is settled just ends");
    CHECK_INT(post->session_count, 0);
    CHECK(list_is_empty(&post->waits));
    loop_unwatch(post->loop, &bell);
    (void)close(bell_fds[0]);
    (void)close(bell_fds[1]);
}

/* ---- a disk that does not keep up ----------------------------------------------------------------------------------- */

enum { SLOW_BYTES = 14 << 20, SLOW_PIECE = 64 * 1024, QUIET_TURNS = 20 };

/* So many of these bytes as post takes until nothing moves any more. */
static size_t push(struct slice bytes)
{
    size_t sent = 0;
    for (int quiet = 0; quiet < QUIET_TURNS && sent < bytes.len; quiet++) {
        ssize_t got = send(edge_fd, bytes.ptr + sent, bytes.len - sent, MSG_DONTWAIT);
        if (got > 0) {
            sent += (size_t)got;
            quiet = 0;
        }
        turn(1);
        (void)store_poll(post->store, 1700000000000);
        post_mail_go_on(post);
    }
    return sent;
}

static void write_slow(struct buf *out)
{
    static char piece[SLOW_PIECE];
    memset(piece, 'x', sizeof(piece));
    buf_init(out, 2 * SLOW_BYTES);
    CHECK(frame_write(out, FRAME_RCPT, 1, SLICE("anna"), SLICE("here.example"), (uint64_t)0, (uint64_t)0, SLICE_NONE, (uint64_t)0));
    for (size_t at = 0; at < SLOW_BYTES; at += sizeof(piece))
        CHECK(frame_write(out, FRAME_BODY, 1, (uint64_t)0, (struct slice){ piece, sizeof(piece) }));
    CHECK(frame_write(out, FRAME_COMMIT, 1, (uint64_t)SLOW_BYTES, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)1, SLICE_NONE));
}

static void check_slow_disk(void)
{
    static const struct mail from = { "", SMTP_MX, 0, "bob", "away.example", 0, 0, RC_OK };
    struct buf frames;
    struct store_usage before, after;
    uint64_t max = post->config.message_size_max;
    post->config.message_size_max = 2 * SLOW_BYTES;
    CHECK_INT(store_account_usage(post->store, 7, &before), RC_OK);
    CASE("while the disk does not keep up nothing more is read from the edges, and the loop goes on");
    CHECK_INT(mail(1, &from).rc, RC_OK);
    write_slow(&frames);
    gate_close(&gate, true);
    size_t sent = push(buf_slice(&frames));
    CHECK(post->are_edges_held);
    CHECK(sent > (8 << 20) && sent < (13 << 20));
    struct fault answer = hear();               /* to RCPT, of before */
    CHECK_INT(answer.rc, RC_OK);
    CASE("when it has caught up the rest is taken, and nobody is refused");
    gate_close(&gate, false);
    buf_consume(&frames, sent);
    CHECK_INT(push(buf_slice(&frames)), buf_len(&frames));
    for (int i = 0; i < 20000 && (after.messages = 0, store_account_usage(post->store, 7, &after), after.messages == before.messages); i++) {
        turn(1);
        (void)store_poll(post->store, 1700000000000);
        post_mail_go_on(post);
    }
    CHECK_INT(after.messages, before.messages + 1);
    CHECK_INT(after.bytes, before.bytes + SLOW_BYTES);
    CHECK(!post->are_edges_held);
    buf_free(&frames);
    post->config.message_size_max = max;
    struct post_wait *wait = list_is_empty(&post->waits) ? NULL : LIST_ENTRY(post->waits.next, struct post_wait, list);
    if (wait != NULL) {
        list_remove(&wait->list);
        wait->settled(wait, RC_OK);
    }
    CHECK_INT(hear().rc, RC_OK);
}

/* ---- quota ---------------------------------------------------------------------------------------------------------------- */

/* One message of 600 bytes, up to its commit. The answer to that; RC_NONE: there is none yet. */
static struct fault bring(uint32_t session)
{
    static const struct mail from = { "", SMTP_MX, 0, "bob", "away.example", 0, 0, RC_OK };
    static char text[600];
    struct buf out;
    memset(text, 'x', sizeof(text));
    CHECK_INT(mail(session, &from).rc, RC_OK);
    buf_init(&out, 8192);
    CHECK(frame_write(&out, FRAME_RCPT, session, SLICE("small"), SLICE("here.example"), (uint64_t)0, (uint64_t)0, SLICE_NONE, (uint64_t)0));
    say(&out);
    buf_clear(&out);
    CHECK_INT(hear().rc, RC_OK);
    CHECK(frame_write(&out, FRAME_BODY, session, (uint64_t)0, (struct slice){ text, sizeof(text) }));
    CHECK(frame_write(&out, FRAME_COMMIT, session, (uint64_t)sizeof(text), (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)1, SLICE_NONE));
    say(&out);
    buf_free(&out);
    return hear();
}

static void check_quota(void)
{
    struct store_usage usage;
    CHECK(routing_add_account(post->routing, 8, SLICE("small@here.example"), 1000, true));
    make_account(post->store, 8);
    gate_close(&gate, true);
    CASE("two messages at once that have room one at a time: the second is refused at its end, for now");
    CHECK_INT(bring(1).rc, RC_NONE);            /* on its way to the disk */
    CHECK_INT(store_account_usage(post->store, 8, &usage), RC_OK);
    CHECK(usage.bytes == 0 && usage.coming_bytes == 600);
    struct fault second = bring(2);
    CHECK_INT(second.rc, RC_TEMP);
    CHECK_INT(second.esc, ESC(4, 2, 2));
    gate_close(&gate, false);
    for (int i = 0; i < 20000 && (store_account_usage(post->store, 8, &usage), usage.bytes == 0); i++) {
        turn(1);
        (void)store_poll(post->store, 1700000000000);
    }
    CHECK(usage.bytes == 600 && usage.coming_bytes == 0 && usage.messages == 1);
    while (!list_is_empty(&post->waits)) {
        struct post_wait *wait = LIST_ENTRY(post->waits.next, struct post_wait, list);
        list_remove(&wait->list);
        wait->settled(wait, RC_OK);
    }
    CHECK_INT(hear().rc, RC_OK);                /* the first */
}

int main(void)
{
    char folder[64];
    temporary_folder(folder);
    open_post(folder);
    check_mail();
    check_local();
    check_late_settling();
    check_slow_disk();
    check_quota();
    check_disabled();
    (void)close(edge_fd);
    turn(5);
    dispatch_free(post->dispatch);
    store_close(post->store);
    queue_free(post->queue);
    routing_free(post->routing);
    map_free(&post->tickets);
    for (size_t i = 0; i <= POST_LOCAL; i++)
        map_free(&post->edges[i].transactions);
    charset_unload(&post->charsets);
    loop_free(post->loop);
    free(post);
    remove_folder(folder);
    return check_done();
}
