/* Several clients on one mailbox, doing what they please in random order (seeded), each keeping the picture that RFC 3501
 * gives it: EXISTS, EXPUNGE and FETCH as they come. What is told must fit that picture at every moment (numbers in range,
 * a number's UID never changes but by EXPUNGE, no EXPUNGE while a command by numbers is answered), and when everybody has
 * caught up, every picture is the mailbox (RFC 3501 2.3.1.2, 5.2, 7.4.1; RFC 7162 3.1). */
#include "check.h"

#include "imap/session.h"
#include "store/support.h"

enum { CLIENTS = 4, MESSAGES_MAX = 4000, ROUNDS = 1500, ACCOUNT = 1, SEEDS = 40 };

static const struct mail_date now = { 1795330048, 0 };

struct picture {
    uint32_t uid;               /* 0: not known yet */
    unsigned flags;             /* bits of flag_names */
    bool has_flags;             /* known */
};

struct client {
    struct imap_session *session;
    struct store *store;
    struct buf in, said;
    struct picture messages[MESSAGES_MAX];
    uint32_t count;
    uint64_t highest_modseq;
    bool by_numbers;            /* the command under way forbids EXPUNGE */
    bool is_idling;
    bool is_lazy, is_pending;   /* lets others go on while it waits for the disk */
    unsigned tag;
};

struct random { uint64_t state; };

static uint32_t next(struct random *r, uint32_t below)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 33) % below;
}

/* ---- the client's picture ---------------------------------------------------------------------------------------- */

static void on_expunge(struct client *c, uint64_t seq)
{
    CHECK(!c->by_numbers);
    CHECK(seq >= 1 && seq <= c->count);
    if (seq < 1 || seq > c->count)
        return;
    memmove(&c->messages[seq - 1], &c->messages[seq], (c->count - seq) * sizeof(c->messages[0]));
    c->count--;
}

static void on_exists(struct client *c, uint64_t count)
{
    CHECK(count >= c->count && count <= MESSAGES_MAX);
    if (count > MESSAGES_MAX)
        return;
    for (; c->count < count; c->count++)
        c->messages[c->count] = (struct picture){ .uid = 0 };
}

static const char *const flag_names[] = { "\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "$Work", "$Junk" };

static unsigned flags_of(struct slice words)
{
    unsigned flags = 0;
    while (words.len > 0) {
        struct slice word = slice_take_until(&words, ' ');
        bool is_known = slice_equal(word, SLICE("\\Recent"));
        for (unsigned i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++) {
            if (!slice_equal(word, slice_from_str(flag_names[i])))
                continue;
            flags |= 1u << i;
            is_known = true;
        }
        CHECK(is_known);
    }
    return flags;
}

static void on_fetch(struct client *c, uint64_t seq, struct slice items)
{
    CHECK(seq >= 1 && seq <= c->count);
    if (seq < 1 || seq > c->count)
        return;
    struct picture *message = &c->messages[seq - 1];
    while (items.len > 0 && items.ptr[0] != ')') {
        uint64_t number;
        if (slice_take_prefix_nocase(&items, SLICE("UID ")) && slice_take_number(&items, UINT32_MAX, &number)) {
            CHECK(message->uid == 0 || message->uid == number);
            CHECK(seq < 2 || c->messages[seq - 2].uid < number);
            message->uid = (uint32_t)number;
        } else if (slice_take_prefix_nocase(&items, SLICE("FLAGS ("))) {
            message->flags = flags_of(slice_take_until(&items, ')'));
            message->has_flags = true;
        } else if (slice_take_prefix_nocase(&items, SLICE("MODSEQ (")) && slice_take_number(&items, UINT64_MAX, &number)) {
            CHECK(number > 0);
            slice_take(&items, 1);
        } else {
            CHECK_SLICE(items, SLICE("something known"));
            return;
        }
        (void)slice_take_byte(&items, ' ');
    }
}

static void on_line(struct client *c, struct slice line)
{
    uint64_t number;
    if (!slice_take_prefix_nocase(&line, SLICE("* "))) {
        CHECK(slice_find(line, SLICE("BAD")) == line.len);
        return;
    }
    if (!slice_take_number(&line, UINT32_MAX, &number))
        return;
    if (slice_equal(line, SLICE(" EXPUNGE")))
        on_expunge(c, number);
    else if (slice_equal(line, SLICE(" EXISTS")))
        on_exists(c, number);
    else if (slice_take_prefix_nocase(&line, SLICE(" FETCH (")))
        on_fetch(c, number, line);
    else
        CHECK_SLICE(line, SLICE(" RECENT"));
}

/* ---- the driver ------------------------------------------------------------------------------------------------------ */

static void step_on(struct client *c)
{
    for (;;) {
        struct slice in = buf_slice(&c->in);
        size_t before = in.len;
        enum want want = imap_session_step(c->session, &in, now);
        buf_consume(&c->in, before - in.len);
        struct buf *out = imap_session_output(c->session);
        buf_append(&c->said, buf_slice(out));
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER && c->is_lazy)
            c->is_pending = true;
        else if (want == WANT_ANSWER)
            imap_session_answer(c->session, store_wait(c->store, imap_session_wait(c->session)));
        if (c->is_pending || want == WANT_INPUT || want == WANT_CLOSE)
            break;
    }
    struct slice said = buf_slice(&c->said);
    while (said.len > 0) {
        struct slice line = slice_take(&said, slice_find(said, SLICE("\r\n")));
        slice_take(&said, 2);
        on_line(c, line);
    }
    buf_clear(&c->said);
}

/* The command that was left waiting comes to its end. */
static void finish(struct client *c)
{
    c->is_lazy = false;
    if (c->is_pending) {
        c->is_pending = false;
        imap_session_answer(c->session, store_wait(c->store, imap_session_wait(c->session)));
        step_on(c);
    }
    c->by_numbers = false;
}

__attribute__((format(printf, 3, 4))) static void say(struct client *c, bool by_numbers, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    c->by_numbers = by_numbers;
    buf_printf(&c->in, "a%u ", ++c->tag);
    buf_vprintf(&c->in, format, args);
    buf_append_str(&c->in, "\r\n");
    va_end(args);
    step_on(c);
    c->by_numbers &= c->is_pending;
}

/* Before a command is thought of: what is told at its end may change the numbers. */
static void end_idle(struct client *c)
{
    finish(c);
    if (!c->is_idling)
        return;
    c->is_idling = false;
    buf_append_str(&c->in, "DONE\r\n");
    step_on(c);
}

static void open_client(struct client *c, struct store *store, bool is_condstore)
{
    struct imap_session_options options = { .store = store, .account = ACCOUNT, .host_name = SLICE("x"), .tag = SLICE("in") };
    c->session = imap_session_new(&options);
    must(c->session != NULL);
    c->store = store;
    buf_init(&c->in, 1 << 20);
    buf_init(&c->said, 64 << 20);
    say(c, false, "NOOP");
    say(c, false, is_condstore ? "SELECT INBOX (CONDSTORE)" : "SELECT INBOX");
}

static void close_client(struct client *c)
{
    imap_session_free(c->session);
    buf_free(&c->in);
    buf_free(&c->said);
    free(c);
}

/* ---- what clients do --------------------------------------------------------------------------------------------------- */

/* RFC 3501 6.4.6: the client works out for itself what its change comes to; what others do besides it is told. */
static void change_silently(struct client *c, uint32_t first, uint32_t last, const char *op, unsigned flags)
{
    for (uint32_t seq = first; seq <= last; seq++) {
        struct picture *message = &c->messages[seq - 1];
        if (op[0] == '+')
            message->flags |= flags;
        else if (op[0] == '-')
            message->flags &= ~flags;
        else
            message->flags = flags;
        message->has_flags |= op[0] == 'F';
    }
}

static void act(struct client *c, struct random *r)
{
    static const char *const flags[] = { "\\Seen", "\\Deleted", "\\Flagged \\Answered", "$Work", "\\Deleted $Junk", "" };
    static const char *const ops[] = { "FLAGS", "+FLAGS", "-FLAGS", "+FLAGS", "FLAGS.SILENT", "+FLAGS.SILENT", "-FLAGS.SILENT" };
    end_idle(c);
    c->is_lazy = next(r, 2) != 0;
    uint32_t first = c->count > 0 ? 1 + next(r, c->count) : 1, last = c->count > 0 ? 1 + next(r, c->count) : 1;
    uint32_t uid = c->count > 0 ? c->messages[first - 1].uid : 1;
    const char *op = ops[next(r, 7)], *set = flags[next(r, 6)];
    bool is_empty = c->count == 0;
    switch (next(r, 14)) {
    case 0: case 1:
        if (c->count < 200)
            say(c, false, "APPEND INBOX (%s) {3+}\r\nx: ", set);
        break;
    case 2:
        if (!is_empty)
            say(c, true, "FETCH %u:%u (UID FLAGS)", first, last);
        break;
    case 3:
        say(c, false, "UID FETCH %u:* (FLAGS)", uid == 0 ? 1 : uid);
        break;
    case 4: case 5: case 6:
        if (is_empty)
            break;
        if (strstr(op, "SILENT") != NULL)
            change_silently(c, first < last ? first : last, first < last ? last : first, op, flags_of(slice_from_str(set)));
        say(c, true, "STORE %u:%u %s (%s)", first, last, op, set);
        break;
    case 7:
        say(c, false, "UID STORE %u:%u %s (%s)", uid == 0 ? 1 : uid, uid + next(r, 20) + 1, "+FLAGS", set);
        break;
    case 8:
        say(c, false, "EXPUNGE");
        break;
    case 9:
        if (!is_empty && uid != 0)
            say(c, false, "UID EXPUNGE %u:%u", uid, uid + next(r, 10));
        break;
    case 10:
        if (!is_empty)
            say(c, false, next(r, 2) ? "COPY %u INBOX" : "MOVE %u INBOX", first);
        break;
    case 11:
        say(c, true, "SEARCH OR DELETED SEEN");
        break;
    case 12:
        say(c, false, "NOOP");
        break;
    default:
        say(c, false, "IDLE");
        c->is_idling = true;
        break;
    }
}

static void compare(const struct client *c, const struct client *truth)
{
    CHECK_INT(c->count, truth->count);
    for (uint32_t i = 0; i < c->count && i < truth->count; i++) {
        const struct picture *mine = &c->messages[i], *real = &truth->messages[i];
        CHECK(mine->uid == 0 || mine->uid == real->uid);
        if (mine->has_flags)
            CHECK_INT(mine->flags, real->flags);
    }
}

static void play(uint64_t seed)
{
    char dir[64];
    struct random r = { seed };
    temporary_folder(dir);
    struct store *store = open_store(dir, SEGMENT, (struct store_rider){ .self = NULL });
    make_account(store, ACCOUNT);
    struct client *clients[CLIENTS + 1];
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = calloc(1, sizeof(struct client));
        must(clients[i] != NULL);
        open_client(clients[i], store, i == 1);
    }
    for (int round = 1; round <= ROUNDS; round++) {
        act(clients[next(&r, CLIENTS)], &r);
        (void)store_poll(store, now.unix_s * 1000);
        if (round % 250 != 0)
            continue;
        for (size_t i = 0; i < CLIENTS; i++)
            end_idle(clients[i]);
        struct client *truth = clients[CLIENTS] = calloc(1, sizeof(struct client));
        must(truth != NULL);
        open_client(truth, store, false);
        say(truth, true, "FETCH 1:* (UID FLAGS)");
        for (size_t i = 0; i < CLIENTS; i++) {
            say(clients[i], false, "NOOP");
            compare(clients[i], truth);
        }
        close_client(truth);
    }
    for (size_t i = 0; i < CLIENTS; i++)
        close_client(clients[i]);
    store_close(store);
    remove_folder(dir);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        CASE("what every client has been told is the mailbox");
        play(seed);
    }
    return check_done();
}
