/* bench-load: many SMTP clients in one process, for measuring servers.
 *
 *     bench-load [options] ADDRESS:PORT
 *
 *     -s N    sessions at once (1)                     -t S    start messages for so many seconds (2)
 *     -m N    at most so many messages (no limit)      -l N    bytes a message, as sent, dots apart (4096)
 *     -k N    messages a connection, 0: all (0)        -P      do not pipeline
 *     -f A    reverse path (load@client.test)          -r A    recipient; a '#' in it becomes 0, 1, ... -n (user#@bench.test)
 *     -n N    how many recipients take turns (1)
 *
 * One thread, one epoll, no copy of the body: a message is a few bytes of its own and a text that all share. A session is a
 * normal client: EHLO, then MAIL, RCPT and DATA in one group where the server offers PIPELINING (RFC 2920 3.1), the text,
 * and the next message only after the answer to the last. When the time is over, messages that were begun are finished.
 *
 * One JSON object on standard output tells what happened. "accepted" counts the 250s after the end of data, and "seconds" is
 * from the first connect to the last of them. "latency_ms" is from MAIL to that 250. What a server refuses is counted as
 * "failed" and the first such answer told in "problem"; a connection that breaks is made anew, up to a limit. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    SESSIONS_MAX = 20000, LINE_BYTES = 76, HEAD_MAX = 1024, REPLY_MAX = 2048, EVENTS = 256, TROUBLES_MAX = 1000,
    STALL_MS = 60000,                   /* nothing from anyone for so long: give up */
    STEPS = 16, BUCKETS = 40 * STEPS    /* latency: sixteen steps to a power of two, in microseconds */
};

struct options {
    struct sockaddr_storage to;
    socklen_t to_len;
    unsigned sessions, messages_max, per_connection, recipients;
    double seconds;
    size_t size;
    bool no_pipelining;
    const char *from, *rcpt;
};

enum stage { CONNECTING, GREETING, EHLO, MAIL, RCPT, DATA, TEXT, IDLE, CLOSED };

struct session {
    int fd;
    enum stage stage;                   /* whose reply comes next */
    bool can_pipeline, waits_to_write, has_greeted;
    unsigned on_connection;             /* messages sent on this connection */
    char head[HEAD_MAX];                /* what is being sent: this, then `tail` bytes from the end of the shared text */
    size_t head_at, head_len, tail;
    char reply[REPLY_MAX];
    size_t reply_len;
    int64_t began_us;
};

struct load {
    struct options options;
    int epoll_fd;
    struct session *sessions;
    char *text;
    size_t text_len;
    int64_t start_us, last_us, stop_us;
    unsigned begun, accepted, failed, connections, troubles, greeted, active;
    char problem[256];
    unsigned latency[BUCKETS];
    int64_t latency_max;
};

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "bench-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- latency ----------------------------------------------------------------------------------------------------- */

static size_t bucket_of(int64_t us)
{
    uint64_t value = us < STEPS ? STEPS : (uint64_t)us;
    unsigned log = 63u - (unsigned)__builtin_clzll(value);
    size_t bucket = (log - 4) * (size_t)STEPS + (size_t)((value >> (log - 4)) & (STEPS - 1));
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double bucket_ms(size_t bucket)
{
    return (double)((STEPS + bucket % STEPS) << (bucket / STEPS)) / 1000;
}

static double percentile_ms(const struct load *load, double share)
{
    double want = share * load->accepted;
    unsigned seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += load->latency[i];
        if (seen > 0 && seen >= want)
            return bucket_ms(i);
    }
    return 0;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void trouble(struct load *load, struct session *session, const char *what);

static void watch(struct load *load, struct session *session, int operation, bool writes)
{
    struct epoll_event event = { .events = EPOLLIN | (writes ? EPOLLOUT : 0u), .data.ptr = session };
    session->waits_to_write = writes;
    if (epoll_ctl(load->epoll_fd, operation, session->fd, &event) != 0)
        die("epoll_ctl");
}

static void push(struct load *load, struct session *session)
{
    while (session->head_at < session->head_len || session->tail > 0) {
        struct iovec parts[2] = {
            { session->head + session->head_at, session->head_len - session->head_at },
            { load->text + load->text_len - session->tail, session->tail },
        };
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t sent = sendmsg(session->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            if (!session->waits_to_write)
                watch(load, session, EPOLL_CTL_MOD, true);
            return;
        }
        if (sent < 0) {
            trouble(load, session, strerror(errno));
            return;
        }
        size_t of_head = (size_t)sent < parts[0].iov_len ? (size_t)sent : parts[0].iov_len;
        session->head_at += of_head;
        session->tail -= (size_t)sent - of_head;
    }
    session->head_at = session->head_len = 0;
    if (session->waits_to_write)
        watch(load, session, EPOLL_CTL_MOD, false);
}

static void say(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct session *session, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(session->head + session->head_len, HEAD_MAX - session->head_len, format, arguments);
    va_end(arguments);
    if (len < 0 || (size_t)len >= HEAD_MAX - session->head_len)
        abort();                        /* addresses are checked at the start */
    session->head_len += (size_t)len;
}

static void say_rcpt(const struct load *load, struct session *session)
{
    const char *rcpt = load->options.rcpt, *mark = strchr(rcpt, '#');
    unsigned number = (load->begun - 1) % load->options.recipients;
    if (mark == NULL)
        say(session, "RCPT TO:<%s>\r\n", rcpt);
    else
        say(session, "RCPT TO:<%.*s%u%s>\r\n", (int)(mark - rcpt), rcpt, number, mark + 1);
}

/* ---- a session's life -------------------------------------------------------------------------------------------- */

static void connect_session(struct load *load, struct session *session)
{
    int one = 1;
    session->fd = socket(load->options.to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (session->fd < 0)
        die("socket");
    (void)setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(session->fd, (struct sockaddr *)&load->options.to, load->options.to_len) != 0 && errno != EINPROGRESS)
        die("connect");
    session->stage = CONNECTING;
    session->head_at = session->head_len = session->tail = session->reply_len = 0;
    session->on_connection = 0;
    session->can_pipeline = false;
    load->connections++;
    watch(load, session, EPOLL_CTL_ADD, true);
}

static void disconnect(struct load *load, struct session *session)
{
    if (session->stage == MAIL || session->stage == RCPT || session->stage == DATA || session->stage == TEXT)
        load->active--;
    (void)close(session->fd);
    session->stage = CLOSED;
}

static bool is_over(const struct load *load)
{
    return now_us() >= load->stop_us || (load->options.messages_max != 0 && load->begun >= load->options.messages_max);
}

/* A connection that went wrong: remembered, and made anew while there is still something to send. */
static void trouble(struct load *load, struct session *session, const char *what)
{
    bool had_message = session->stage >= MAIL && session->stage <= TEXT;
    load->failed += had_message;
    if (load->problem[0] == '\0')
        (void)snprintf(load->problem, sizeof(load->problem), "%s", what);
    disconnect(load, session);
    if (++load->troubles > TROUBLES_MAX) {
        fprintf(stderr, "bench-load: too much goes wrong, first: %s\n", load->problem);
        exit(1);
    }
    if (!is_over(load))
        connect_session(load, session);
}

static void begin_message(struct load *load, struct session *session)
{
    if (is_over(load)) {
        say(session, "QUIT\r\n");
        push(load, session);
        if (session->stage != CLOSED)
            disconnect(load, session);
        return;
    }
    load->begun++;
    load->active++;
    session->on_connection++;
    session->began_us = now_us();
    session->stage = MAIL;
    say(session, "MAIL FROM:<%s>\r\n", load->options.from);
    if (session->can_pipeline) {
        say_rcpt(load, session);
        say(session, "DATA\r\n");
    }
    push(load, session);
}

static void begin_text(struct load *load, struct session *session)
{
    session->stage = TEXT;
    say(session, "Message-ID: <%010u.%010u@client.test>\r\n", (unsigned)getpid(), load->begun);
    session->tail = load->text_len;
    push(load, session);
}

static void note_accepted(struct load *load, struct session *session)
{
    load->last_us = now_us();
    load->accepted++;
    load->active--;
    int64_t took = load->last_us - session->began_us;
    load->latency[bucket_of(took)]++;
    if (took > load->latency_max)
        load->latency_max = took;
    session->stage = IDLE;
}

static void on_accepted(struct load *load, struct session *session)
{
    note_accepted(load, session);
    if (load->options.per_connection != 0 && session->on_connection >= load->options.per_connection) {
        say(session, "QUIT\r\n");
        push(load, session);
        if (session->stage == CLOSED)
            return;
        disconnect(load, session);
        if (!is_over(load))
            connect_session(load, session);
        return;
    }
    begin_message(load, session);
}

/* One whole reply: its code and all of its lines. */
static void on_reply(struct load *load, struct session *session, int code, const char *lines)
{
    static const int wanted[] = { [GREETING] = 220, [EHLO] = 250, [MAIL] = 250, [RCPT] = 250, [DATA] = 354, [TEXT] = 250 };
    if (session->stage == CONNECTING || session->stage >= IDLE || code != wanted[session->stage]) {
        char what[200];
        (void)snprintf(what, sizeof(what), "%.*s", (int)strcspn(lines, "\r\n"), lines);
        trouble(load, session, what);
        return;
    }
    switch (session->stage) {
    case GREETING:
        load->greeted += !session->has_greeted;
        session->has_greeted = true;
        session->stage = EHLO;
        say(session, "EHLO client.test\r\n");
        push(load, session);
        break;
    case EHLO:
        session->can_pipeline = !load->options.no_pipelining && strstr(lines, "PIPELINING") != NULL;
        session->stage = IDLE;
        begin_message(load, session);
        break;
    case MAIL:
        session->stage = RCPT;
        if (!session->can_pipeline) {
            say_rcpt(load, session);
            push(load, session);
        }
        break;
    case RCPT:
        session->stage = DATA;
        if (!session->can_pipeline) {
            say(session, "DATA\r\n");
            push(load, session);
        }
        break;
    case DATA:
        begin_text(load, session);
        break;
    case TEXT:
        on_accepted(load, session);
        break;
    case CONNECTING:
    case IDLE:
    case CLOSED:
        break;
    }
}

/* How long the first whole reply in the buffer is; 0: not all of it is there. */
static size_t reply_end(const char *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *eol = memchr(bytes + at, '\n', len - at);
        if (eol == NULL)
            return 0;
        bool is_last = eol - (bytes + at) < 4 || bytes[at + 3] != '-';
        at = (size_t)(eol - bytes) + 1;
        if (is_last)
            return at;
    }
    return 0;
}

static void on_readable(struct load *load, struct session *session)
{
    ssize_t got = recv(session->fd, session->reply + session->reply_len, REPLY_MAX - 1 - session->reply_len, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        trouble(load, session, got == 0 ? "the server closed the connection" : strerror(errno));
        return;
    }
    session->reply_len += (size_t)got;
    unsigned connection = load->connections;
    size_t end;
    while ((end = reply_end(session->reply, session->reply_len)) != 0) {
        char lines[REPLY_MAX];
        memcpy(lines, session->reply, end);
        lines[end] = '\0';
        session->reply_len -= end;
        memmove(session->reply, session->reply + end, session->reply_len);
        on_reply(load, session, atoi(lines), lines);
        if (session->stage == CLOSED || load->connections != connection)
            return;                     /* this connection is over */
    }
    if (session->reply_len >= REPLY_MAX - 1)
        trouble(load, session, "a reply that does not end");
}

static void on_event(struct load *load, struct session *session, unsigned events)
{
    if (session->stage == CLOSED)
        return;
    if (session->stage == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int err = 0;
        socklen_t len = sizeof(err);
        (void)getsockopt(session->fd, SOL_SOCKET, SO_ERROR, &err, &len);
        if (err != 0) {
            trouble(load, session, strerror(err));
            return;
        }
        session->stage = GREETING;
        watch(load, session, EPOLL_CTL_MOD, false);
    } else if ((events & EPOLLOUT) && session->waits_to_write) {
        push(load, session);
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && session->stage != CLOSED && session->stage != CONNECTING)
        on_readable(load, session);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void make_text(struct load *load)
{
    size_t want = load->options.size, id_len = strlen("Message-ID: <0123456789.0123456789@client.test>\r\n");
    char head[HEAD_MAX];
    int head_len = snprintf(head, sizeof(head), "From: <%s>\r\nTo: <reader@bench.test>\r\nSubject: a message of %zu bytes\r\n"
                            "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n", load->options.from, want);
    size_t body = want > id_len + (size_t)head_len ? want - id_len - (size_t)head_len : 0;
    load->text = malloc((size_t)head_len + body + 8);
    if (load->text == NULL)
        die("malloc");
    memcpy(load->text, head, (size_t)head_len);
    char *at = load->text + head_len;
    while (body > 2) {
        size_t len = body < LINE_BYTES ? body : LINE_BYTES;
        for (size_t i = 0; i < len - 2; i++)
            at[i] = (char)('a' + (i + len) % 26);
        memcpy(at + len - 2, "\r\n", 2);
        at += len;
        body -= len;
    }
    memcpy(at, ".\r\n", 3);
    load->text_len = (size_t)(at - load->text) + 3;
}

static void run(struct load *load)
{
    struct epoll_event events[EVENTS];
    load->start_us = load->last_us = now_us();
    load->stop_us = load->start_us + (int64_t)(load->options.seconds * 1e6);
    for (unsigned i = 0; i < load->options.sessions; i++)
        connect_session(load, &load->sessions[i]);
    while (!is_over(load) || load->active > 0) {
        int64_t left_ms = (load->stop_us - now_us()) / 1000;
        int timeout = left_ms > 0 ? (int)left_ms + 1 : STALL_MS;
        int count = epoll_wait(load->epoll_fd, events, EVENTS, timeout);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        if (count == 0 && left_ms <= 0) {
            fprintf(stderr, "bench-load: no answer for %d s to %u messages\n", STALL_MS / 1000, load->active);
            exit(1);
        }
        for (int i = 0; i < count; i++)
            on_event(load, events[i].data.ptr, events[i].events);
    }
}

static void report(const struct load *load)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"accepted\": %u, \"failed\": %u, \"seconds\": %.6f, \"sessions\": %u, \"sessions_served\": %u, \"connections\": %u, "
           "\"troubles\": %u, \"cpu_seconds\": %.3f, \"latency_ms\": {\"p50\": %.3f, \"p95\": %.3f, \"p99\": %.3f, \"max\": %.3f}, "
           "\"problem\": \"",
           load->accepted, load->failed, (double)(load->last_us - load->start_us) / 1e6, load->options.sessions, load->greeted,
           load->connections, load->troubles, cpu, percentile_ms(load, 0.5), percentile_ms(load, 0.95), percentile_ms(load, 0.99),
           (double)load->latency_max / 1000);
    for (const char *at = load->problem; *at != '\0'; at++)
        putchar(*at < ' ' || *at > '~' || *at == '"' || *at == '\\' ? '?' : *at);
    printf("\"}\n");
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static bool parse_target(struct options *options, const char *target)
{
    char host[64];
    const char *colon = strrchr(target, ':');
    if (colon == NULL || (size_t)(colon - target) >= sizeof(host))
        return false;
    memcpy(host, target, (size_t)(colon - target));
    host[colon - target] = '\0';
    struct sockaddr_in *to = (struct sockaddr_in *)&options->to;
    *to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
    options->to_len = sizeof(*to);
    return inet_pton(AF_INET, host, &to->sin_addr) == 1 && to->sin_port != 0;
}

static bool parse_options(struct options *options, int argc, char **argv)
{
    *options = (struct options){ .sessions = 1, .recipients = 1, .seconds = 2, .size = 4096, .from = "load@client.test", .rcpt = "user#@bench.test" };
    for (int letter; (letter = getopt(argc, argv, "s:t:m:l:k:Pf:r:n:")) != -1;) {
        switch (letter) {
        case 's': options->sessions = (unsigned)atoi(optarg); break;
        case 't': options->seconds = atof(optarg); break;
        case 'm': options->messages_max = (unsigned)atoi(optarg); break;
        case 'l': options->size = (size_t)atol(optarg); break;
        case 'k': options->per_connection = (unsigned)atoi(optarg); break;
        case 'P': options->no_pipelining = true; break;
        case 'f': options->from = optarg; break;
        case 'r': options->rcpt = optarg; break;
        case 'n': options->recipients = (unsigned)atoi(optarg); break;
        default: return false;
        }
    }
    return optind == argc - 1 && parse_target(options, argv[optind]) && options->sessions > 0 && options->sessions <= SESSIONS_MAX &&
           options->recipients > 0 && strlen(options->from) < 256 && strlen(options->rcpt) < 256;
}

int main(int argc, char **argv)
{
    static struct load load;
    if (!parse_options(&load.options, argc, argv)) {
        fprintf(stderr, "Usage: bench-load [-s sessions] [-t seconds] [-m messages] [-l bytes] [-k messages-a-connection] [-P]\n"
                        "                  [-f reverse-path] [-r recipient] [-n recipients] ADDRESS:PORT\n");
        return 2;
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    load.sessions = calloc(load.options.sessions, sizeof(*load.sessions));
    load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (load.sessions == NULL || load.epoll_fd < 0)
        die("cannot start");
    make_text(&load);
    run(&load);
    report(&load);
    return 0;
}
