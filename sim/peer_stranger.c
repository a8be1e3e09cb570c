/* Strangers: see peer.h. Each visit is one of these, with pauses and an end by chance. None of it is a whole letter: a server that finds one
 * in it has read what was not sent. */
#include "sim/peer.h"

#include "sim/stream.h"

#include <stdio.h>

enum { WAIT_MS = 30 * 1000, LONG_LINE_MAX = 3 * 1024 * 1024, NOISE_MAX = 64 * 1024, FLOOD_MAX = 20000, SILENCE_S = 3 * 3600 };

struct visit {
    struct sim_host *host;
    char address[48], bait[200];
    uint16_t port;
};

static bool say(struct stream *stream, struct slice bytes) { return stream_put(stream, bytes); }

static void say_nothing(struct stream *stream, const char *bait)
{
    (void)bait;
    (void)stream_wait(stream, (int64_t)sim_below(SILENCE_S) * 1000);
}

static void half_a_line(struct stream *stream, const char *bait)
{
    static const struct slice lines[] = {
        SLICE_INIT("EHLO stran"), SLICE_INIT("a1 LOGIN {100}"), SLICE_INIT("USER"), SLICE_INIT("\r"), SLICE_INIT("a1 LOGIN \"half"), SLICE_INIT("BDAT 10000000 LAST\r\nx"),
    };
    (void)bait;
    if (say(stream, lines[sim_below(sizeof(lines) / sizeof(lines[0]))]))
        say_nothing(stream, bait);
}

static void long_line(struct stream *stream, const char *bait)
{
    char piece[8192];
    size_t total = (size_t)sim_below(LONG_LINE_MAX);
    (void)bait;
    memset(piece, 'A', sizeof(piece));
    for (size_t sent = 0; sent < total; sent += sizeof(piece))
        if (!say(stream, (struct slice){ piece, sizeof(piece) }))
            return;
    (void)say(stream, SLICE("\r\n"));
    (void)stream_wait(stream, WAIT_MS);
}

static void noise(struct stream *stream, const char *bait)
{
    char bytes[512];
    (void)bait;
    for (size_t left = (size_t)sim_below(NOISE_MAX); left > sizeof(bytes); left -= sizeof(bytes)) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)sim_random();
        if (!say(stream, (struct slice){ bytes, sizeof(bytes) }))
            return;
    }
    (void)stream_wait(stream, WAIT_MS);
}

/* Commands without end, and nobody who reads the answers. */
static void flood(struct stream *stream, const char *bait)
{
    static const struct slice lines[] = {
        SLICE_INIT("NOOP\r\n"), SLICE_INIT("EHLO flood\r\n"), SLICE_INIT("a1 CAPABILITY\r\n"), SLICE_INIT("CAPA\r\n"), SLICE_INIT("RSET\r\n"), SLICE_INIT("HELP\r\n"),
        SLICE_INIT("RCPT TO:<nobody@nowhere.example>\r\n"), SLICE_INIT("AUTH PLAIN AGEAYgo=\r\n"), SLICE_INIT("VRFY postmaster\r\n"),
    };
    struct slice line = lines[sim_below(sizeof(lines) / sizeof(lines[0]))];
    (void)bait;
    for (size_t left = (size_t)sim_below(FLOOD_MAX); left > 0; left--)
        if (!say(stream, line))
            return;
    (void)stream_wait(stream, WAIT_MS);
}

static bool read_reply(struct stream *stream)
{
    struct slice line;
    while (stream_line(stream, &line))
        if (line.len < 4 || line.ptr[3] != '-')
            return line.len > 0 && (line.ptr[0] == '2' || line.ptr[0] == '3');
    return false;
}

static bool open_letter(struct stream *stream, const char *bait)
{
    return read_reply(stream) && say(stream, SLICE("EHLO stranger.example\r\n")) && read_reply(stream) &&
           say(stream, SLICE("MAIL FROM:<stranger@stranger.example>\r\n")) && read_reply(stream) && stream_printf(stream, "RCPT TO:<%s>\r\n", bait) &&
           read_reply(stream);
}

/* Ends of data that are none (RFC 5321 4.1.1.4: only CRLF "." CRLF), and what others would take for the next letter. */
static void smuggle(struct stream *stream, const char *bait)
{
    static const char *const ends[] = { "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\n\n.\r\n", "\r\r\n.\r\r\n" };
    const char *end = ends[sim_below(sizeof(ends) / sizeof(ends[0]))];
    if (!open_letter(stream, bait) || !say(stream, SLICE("DATA\r\n")) || !read_reply(stream))
        return;
    (void)stream_printf(stream, "Subject: outer\r\n\r\nouter%sMAIL FROM:<stranger@stranger.example>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: inner\r\n\r\ninner%sQUIT\r\n", end, bait, end);
    (void)stream_wait(stream, (int64_t)sim_below(WAIT_MS));
}

/* A letter that breaks off: in its text, in the middle of its last line, behind the dot, in a chunk. */
static void break_off(struct stream *stream, const char *bait)
{
    static const struct slice texts[] = {
        SLICE_INIT("DATA\r\nSubject: never ends\r\n\r\nx"), SLICE_INIT("DATA\r\nSubject: x\r\n\r\nx\r\n."), SLICE_INIT("DATA\r\nSubject: x\r\n\r\nx\r\n.\r"),
        SLICE_INIT("BDAT 100 LAST\r\nSubject: x\r\n\r\nx\r\n.\r\n"), SLICE_INIT("BDAT 20\r\nSubject: x\r\n\r\nxx\r\n\r\n"), SLICE_INIT("DATA\r\n"),
    };
    if (!open_letter(stream, bait) || !say(stream, texts[sim_below(sizeof(texts) / sizeof(texts[0]))]))
        return;
    (void)stream_wait(stream, (int64_t)sim_below(WAIT_MS));
}

/* Commands behind STARTTLS in the same breath (CVE-2011-0411), and handshakes that are none. */
static void bad_tls(struct stream *stream, const char *bait)
{
    static const struct slice lines[] = {
        SLICE_INIT("EHLO a\r\nSTARTTLS\r\nMAIL FROM:<stranger@stranger.example>\r\n"), SLICE_INIT("STARTTLS\r\n"), SLICE_INIT("a1 STARTTLS\r\na2 LOGIN a b\r\n"),
        SLICE_INIT("STLS\r\nUSER a\r\n"),
    };
    if (!say(stream, lines[sim_below(sizeof(lines) / sizeof(lines[0]))]) || !read_reply(stream))
        return;
    if (sim_chance(500000) && stream_start_tls(stream))
        (void)stream_printf(stream, "RCPT TO:<%s>\r\nDATA\r\nSubject: injected\r\n\r\n", bait);
    else
        noise(stream, bait);
    (void)stream_wait(stream, WAIT_MS);
}

static int visit_main(void *arg)
{
    static void (*const acts[])(struct stream *, const char *bait) = { say_nothing, half_a_line, long_line, noise, flood, smuggle, smuggle, break_off, break_off, bad_tls };
    struct visit visit = *(struct visit *)arg;
    struct stream stream;
    sim_delete(arg);
    struct client_server server = { .address = visit.address, .port = visit.port, .timeout_ms = WAIT_MS, .tls = sim_chance(100000) ? CLIENT_TLS : CLIENT_PLAIN };
    if (stream_open(&stream, visit.host, &server))
        acts[sim_below(sizeof(acts) / sizeof(acts[0]))](&stream, visit.bait);
    stream_close(&stream);
    return 0;
}

struct sim_process *peer_stranger(struct sim_host *host, const char *address, uint16_t port, const char *bait)
{
    struct visit *visit = sim_new(sizeof(*visit));
    visit->host = host;
    visit->port = port;
    (void)snprintf(visit->address, sizeof(visit->address), "%s", address);
    (void)snprintf(visit->bait, sizeof(visit->bait), "%s", bait);
    return sim_spawn(host, "stranger", visit_main, visit);
}
