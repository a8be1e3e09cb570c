/* Mail servers of other domains: see peer.h. */
#include "sim/peer.h"

#include "sim/stream.h"

#include <stdio.h>
#include <stdlib.h>

enum { TO_MAX = 100, LINE_WAIT_MS = 600 * 1000, STALL_MS = 600 * 1000, LONG_MAX = 4 * 1024 * 1024, SLOW_BYTE_US = 300 * 1000 };
enum lie { LIE_TLS = 1, LIE_CHUNKING = 2, LIE_PIPELINING = 4, LIE_SIZE = 8, LIE_8BIT = 16 };

const struct peer_moods peer_friendly = { .well = 1000000 };
const struct peer_moods peer_moody = {
    .well = 500000, .stall = 4000, .garbage = 8000, .long_line = 4000, .close = 20000, .temporary = 40000, .permanent = 8000,
    .lost_answer = 40000, .later = 40000, .lies = 150000, .no_tls = 100000, .slow = 50000,
};

struct peer_server {                    /* the simulator's memory: lives while one of its processes does */
    struct sim_process *process;
    struct peer_server *next;
    unsigned references;
    struct sim_host *host;
    char address[48], domain[128];
    uint16_t port;
    struct peer_moods moods;
    struct peer_owner owner;
    uint64_t letters;
};

struct session {
    struct stream stream;
    struct peer_server *server;
    bool is_well, is_slow, has_no_tls;
    unsigned lies;
    bool has_from;
    char from[320];
    char *to[TO_MAX];
    size_t to_count;
    struct buf text;
    bool is_chunking;                   /* BDAT has begun */
    uint64_t unconfirmed;               /* the letter whose 250 may not have arrived; 0 */
};

/* ---- replies ----------------------------------------------------------------------------------------------------- */

static bool put(struct session *session, struct slice bytes)
{
    while (session->is_slow && bytes.len > 0) {
        sim_sleep_us(SLOW_BYTE_US);
        if (!stream_put(&session->stream, slice_take(&bytes, 1)))
            return false;
    }
    return bytes.len == 0 || stream_put(&session->stream, bytes);
}

static bool reply(struct session *session, const char *line)
{
    char text[600];
    int len = snprintf(text, sizeof(text), "%s\r\n", line);
    return put(session, (struct slice){ text, (size_t)len });
}

static bool put_garbage(struct session *session)
{
    char noise[200];
    size_t len = 1 + (size_t)sim_below(sizeof(noise) - 2);
    for (size_t i = 0; i < len; i++)
        noise[i] = (char)sim_random();
    memcpy(noise + len, "\r\n", 2);
    return put(session, (struct slice){ noise, sim_chance(500000) ? len : len + 2 });
}

/* A line of megabytes; it may have no end. */
static bool put_long_line(struct session *session)
{
    char piece[4096];
    memset(piece, 'x', sizeof(piece));
    if (!put(session, SLICE("250-")))
        return false;
    for (size_t sent = 0, total = (size_t)sim_below(LONG_MAX); sent < total; sent += sizeof(piece))
        if (!stream_put(&session->stream, (struct slice){ piece, sizeof(piece) }))
            return false;
    return sim_chance(500000) && reply(session, "");
}

static bool close_in_reply(struct session *session)
{
    static const struct slice whole = SLICE_INIT("250 2.0.0 this is how far i");
    (void)put(session, slice_sub(whole, 0, (size_t)sim_below(whole.len + 1)));
    return false;
}

static bool stall(struct session *session)
{
    sim_sleep_us((int64_t)STALL_MS * 1000);
    return sim_chance(300000) && reply(session, "421 4.4.2 sorry");
}

/* ---- moods ------------------------------------------------------------------------------------------------------- */

enum doing { ANSWER, ANSWERED, END };

/* What happens instead of an answer to a command. *code: 4xx or 5xx that the answer is to be; 0. */
static enum doing be_moody(struct session *session, int *code)
{
    const struct peer_moods *moods = &session->server->moods;
    *code = 0;
    if (session->is_well)
        return ANSWER;
    if (sim_chance(moods->stall))
        return stall(session) ? ANSWERED : END;
    if (sim_chance(moods->garbage))
        return put_garbage(session) && sim_chance(500000) ? ANSWERED : END;
    if (sim_chance(moods->long_line))
        return put_long_line(session) ? ANSWERED : END;
    if (sim_chance(moods->close))
        return close_in_reply(session) ? ANSWERED : END;
    if (sim_chance(moods->temporary))
        *code = sim_chance(200000) ? 421 : sim_chance(500000) ? 450 : 451;
    else if (sim_chance(moods->permanent))
        *code = sim_chance(500000) ? 550 : 554;
    return ANSWER;
}

static void choose_mood(struct session *session)
{
    const struct peer_moods *moods = &session->server->moods;
    session->is_well = sim_chance(moods->well);
    if (session->is_well)
        return;
    session->is_slow = sim_chance(moods->slow);
    session->has_no_tls = sim_chance(moods->no_tls);
    session->lies = sim_chance(moods->lies) ? (unsigned)sim_below(32) : 0;
}

static bool reply_code(struct session *session, int code)
{
    char line[80];
    (void)snprintf(line, sizeof(line), "%d %d.%s", code, code / 100, code / 100 == 2 ? "0.0 fine" : code == 421 ? "3.2 going away" : "7.0 not in the mood");
    return reply(session, line) && code != 421;
}

/* ---- letters ----------------------------------------------------------------------------------------------------- */

static void forget_letter(struct session *session)
{
    for (size_t i = 0; i < session->to_count; i++)
        free(session->to[i]);
    session->to_count = 0;
    session->has_from = session->is_chunking = false;
    buf_free(&session->text);
}

static void tell(struct session *session, enum peer_answer answer, int code)
{
    struct peer_server *server = session->server;
    struct peer_letter letter = {
        .number = ++server->letters, .from = session->from, .to = (const char *const *)session->to, .to_count = session->to_count,
        .text = buf_slice(&session->text), .answer = answer, .code = code,
    };
    sim_trace("%s: letter %llu from <%s>, %zu bytes: %s", server->domain, (unsigned long long)letter.number, letter.from, letter.text.len,
              answer == PEER_SAID_YES ? "taken" : answer == PEER_SAID_NOTHING ? "taken without a word" : answer == PEER_SAID_LATER ? "taken, and told to come again" : "refused");
    if (server->owner.took != NULL)
        server->owner.took(server->owner.arg, &letter);
    session->unconfirmed = answer == PEER_SAID_YES ? letter.number : 0;
}

/* The whole text is there. False: the connection ends. */
static bool judge_letter(struct session *session)
{
    const struct peer_moods *moods = &session->server->moods;
    bool goes_on;
    if (!session->is_well && sim_chance(moods->lost_answer)) {
        tell(session, PEER_SAID_NOTHING, 0);
        return sim_chance(300000) && stall(session) && false;
    }
    if (!session->is_well && sim_chance(moods->later)) {
        tell(session, PEER_SAID_LATER, 451);
        goes_on = reply_code(session, 451);
    } else if (!session->is_well && sim_chance(moods->temporary + moods->permanent)) {
        int code = sim_chance(700000) ? 452 : 554;
        tell(session, PEER_REFUSED, code);
        goes_on = reply_code(session, code);
    } else {
        tell(session, PEER_SAID_YES, 250);
        goes_on = reply(session, "250 2.0.0 taken");
    }
    forget_letter(session);
    return goes_on;
}

static bool read_data(struct session *session)
{
    struct slice line;
    while (stream_line(&session->stream, &line)) {
        if (slice_equal(line, SLICE(".")))
            return judge_letter(session);
        (void)slice_take_byte(&line, '.');
        if (!buf_append(&session->text, line) || !buf_append_str(&session->text, "\r\n"))
            return false;
        if (!session->is_well && sim_chance(session->server->moods.close / 50))
            return false;
    }
    return false;
}

static bool on_data(struct session *session)
{
    if (session->to_count == 0 || session->is_chunking)
        return reply(session, "503 5.5.1 no valid recipients");
    return reply(session, "354 go ahead") && read_data(session);
}

static bool on_bdat(struct session *session, struct slice rest)
{
    uint64_t len;
    struct slice bytes;
    if (!slice_take_number(&rest, STREAM_MAX / 2, &len))
        return reply(session, "501 5.5.4 how many bytes?");
    bool is_last = slice_equal_nocase(slice_trim(rest), SLICE("LAST"));
    if (!stream_bytes(&session->stream, (size_t)len, &bytes))
        return false;
    if ((session->lies & LIE_CHUNKING) != 0)
        return reply(session, "500 5.5.1 what is BDAT?");
    if (session->to_count == 0)
        return reply(session, "503 5.5.1 no valid recipients");
    session->is_chunking = true;
    if (!buf_append(&session->text, bytes))
        return false;
    return is_last ? judge_letter(session) : reply(session, "250 2.0.0 go on");
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static bool on_ehlo(struct session *session)
{
    char text[600];
    forget_letter(session);
    int len = snprintf(text, sizeof(text), "250-%s greets you\r\n250-PIPELINING\r\n%s250-SIZE %u\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
                       "250 ENHANCEDSTATUSCODES\r\n", session->server->domain, session->stream.has_tls ? "" : "250-STARTTLS\r\n",
                       (session->lies & LIE_SIZE) != 0 ? 0u : 50000000u);
    return put(session, (struct slice){ text, (size_t)len });
}

static bool on_starttls(struct session *session)
{
    forget_letter(session);
    if (session->stream.has_tls)
        return reply(session, "503 5.5.1 there is TLS");
    if ((session->lies & LIE_TLS) != 0)
        return reply(session, "454 4.7.0 there is no TLS");
    if (!reply(session, "220 2.0.0 go ahead"))
        return false;
    if (session->has_no_tls)
        return put_garbage(session) && false;
    return stream_accept_tls(&session->stream, session->server->domain);
}

/* Between < and >. */
static bool take_path(struct slice rest, char out[320])
{
    (void)slice_take_until(&rest, '<');
    return slice_to_str(slice_take_until(&rest, '>'), out, 320);
}

static bool on_mail(struct session *session, struct slice rest)
{
    if (session->has_from || !take_path(rest, session->from))
        return reply(session, "503 5.5.1 one letter at a time");
    if ((session->lies & LIE_SIZE) != 0 && sim_chance(500000))
        return reply(session, "552 5.3.4 too big");
    session->has_from = true;
    return reply(session, "250 2.1.0 fine");
}

/* Is it of this server's domain, or of the one that its host name is in? Somebody else's mail comes where name service lies. */
static bool is_ours(const struct session *session, const char *path)
{
    const char *own = session->server->domain, *domain = strrchr(path, '@'), *above = strchr(own, '.');
    return domain == NULL || strcasecmp(domain + 1, own) == 0 || (above != NULL && strcasecmp(domain + 1, above + 1) == 0);
}

static bool on_rcpt(struct session *session, struct slice rest)
{
    char path[320];
    if (!session->has_from || !take_path(rest, path))
        return reply(session, "503 5.5.1 who is it from?");
    if (!is_ours(session, path))
        return reply(session, "550 5.7.1 nobody here");
    if (session->to_count == TO_MAX)
        return reply(session, "452 4.5.3 so many");
    session->to[session->to_count] = strdup(path);
    if (session->to[session->to_count] == NULL)
        return false;
    session->to_count++;
    return reply(session, "250 2.1.5 fine");
}

static bool is_verb(struct slice *line, const char *verb)
{
    struct slice word = slice_from_str(verb), rest = *line;
    if (!slice_take_prefix_nocase(&rest, word) || (rest.len > 0 && rest.ptr[0] != ' '))
        return false;
    *line = slice_trim(rest);
    return true;
}

static void told_refusal(struct session *session, struct slice line, int code)
{
    char path[320];
    if (is_verb(&line, "RCPT") && take_path(line, path) && session->server->owner.refused != NULL)
        session->server->owner.refused(session->server->owner.arg, session->from, path, code);
}

static bool obey(struct session *session, struct slice line)
{
    if (is_verb(&line, "EHLO") || is_verb(&line, "HELO"))
        return on_ehlo(session);
    if (is_verb(&line, "MAIL"))
        return on_mail(session, line);
    if (is_verb(&line, "RCPT"))
        return on_rcpt(session, line);
    if (is_verb(&line, "DATA"))
        return on_data(session);
    if (is_verb(&line, "BDAT"))
        return on_bdat(session, line);
    if (is_verb(&line, "STARTTLS"))
        return on_starttls(session);
    if (is_verb(&line, "QUIT"))
        return reply(session, "221 2.0.0 bye") && false;
    if (is_verb(&line, "RSET"))
        forget_letter(session);
    else if (!is_verb(&line, "NOOP"))
        return reply(session, "500 5.5.1 what?");
    return reply(session, "250 2.0.0 fine");
}

/* A sender that was promised pipelining and was lied to finds its other commands gone. */
static void lose_pipelined(struct session *session)
{
    if ((session->lies & LIE_PIPELINING) == 0)
        return;
    session->stream.taken = 0;
    buf_clear(&session->stream.in);
}

/* A chunk comes with its command: whatever is answered, its bytes are to be read (on_bdat). */
static bool serve_line(struct session *session, struct slice line)
{
    int code = 0;
    bool is_chunk = slice_starts_nocase(line, SLICE("BDAT "));
    if (session->unconfirmed != 0 && session->server->owner.confirmed != NULL)
        session->server->owner.confirmed(session->server->owner.arg, session->unconfirmed);
    session->unconfirmed = 0;
    enum doing doing = is_chunk ? ANSWER : be_moody(session, &code);
    if (doing != ANSWER)
        return doing == ANSWERED;
    if (code == 0)
        return obey(session, line);
    told_refusal(session, line, code);
    return reply_code(session, code);
}

static void let_go(void *arg);

static int session_main(void *arg)
{
    struct session session = { .server = ((void **)arg)[0] };
    struct net_end *end = ((void **)arg)[1];
    struct slice line;
    int code = 0;
    sim_delete(arg);
    sim_at_exit(sim_self(), let_go, session.server);
    net_adopt(end);
    stream_accepted(&session.stream, end, LINE_WAIT_MS);
    buf_init(&session.text, STREAM_MAX);
    choose_mood(&session);
    enum doing doing = be_moody(&session, &code);
    char greeting[200];
    (void)snprintf(greeting, sizeof(greeting), "%d %s %s", code == 0 ? 220 : code, session.server->domain, code == 0 ? "ESMTP" : "not now");
    bool goes_on = doing == ANSWERED || (doing == ANSWER && reply(&session, greeting) && code == 0);
    while (goes_on && stream_line(&session.stream, &line)) {
        char own[2048];
        (void)slice_to_str(slice_sub(line, 0, sizeof(own) - 1), own, sizeof(own));
        goes_on = serve_line(&session, slice_from_str(own));
        lose_pipelined(&session);
    }
    forget_letter(&session);
    stream_close(&session.stream);
    return 0;
}

/* ---- servers ----------------------------------------------------------------------------------------------------- */

static struct peer_server *servers;

static void let_go(void *arg)
{
    struct peer_server *server = arg;
    if (--server->references > 0)
        return;
    for (struct peer_server **at = &servers; *at != NULL; at = &(*at)->next)
        if (*at == server) {
            *at = server->next;
            break;
        }
    sim_delete(server);
}

static int server_main(void *arg)
{
    struct peer_server *server = arg;
    struct net_end *end;
    sim_at_exit(sim_self(), let_go, server);
    struct net_end *listener = net_serve(server->host, server->address, server->port);
    if (listener == NULL)
        sim_fail("%s cannot listen on %s:%u", server->domain, server->address, server->port);
    while ((end = net_next(listener, -1)) != NULL) {
        void **hand = sim_new(2 * sizeof(*hand));
        hand[0] = server;
        hand[1] = end;
        server->references++;
        (void)sim_spawn(server->host, "mx-session", session_main, hand);
    }
    return 0;
}

struct sim_process *peer_smtp_start(struct sim_host *host, const char *address, uint16_t port, const char *domain, const struct peer_moods *moods,
                                    const struct peer_owner *owner)
{
    struct peer_server *server = sim_new(sizeof(*server));
    server->references = 1;
    server->host = host;
    server->port = port;
    server->moods = *moods;
    server->owner = *owner;
    server->next = servers;
    servers = server;
    (void)snprintf(server->address, sizeof(server->address), "%s", address);
    (void)snprintf(server->domain, sizeof(server->domain), "%s", domain);
    return server->process = sim_spawn(host, "mx", server_main, server);
}

void peer_smtp_set_moods(struct sim_process *process, const struct peer_moods *moods)
{
    for (struct peer_server *server = servers; server != NULL; server = server->next)
        if (server->process == process)
            server->moods = *moods;
}
