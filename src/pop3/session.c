/* POP3 after login: see session.h.
 *
 * RFC 1939 5 (TRANSACTION), 6 (UPDATE), 7 (TOP, UIDL). Messages are numbered as the view numbers them, and the view is
 * never synced: what arrives or goes meanwhile changes nothing here. A listing or a message that is longer than the
 * output may be goes out in pieces; a message whose disk fails half way ends the connection, never with a false end. */
#include "pop3/session.h"

#include "pop3/reply.h"
#include "wire/dot.h"
#include "wire/line.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    LINE_MAX_BYTES = 1024,          /* RFC 2449 4: 255 */
    OUTPUT_MAX = 64 * 1024,
    OUTPUT_FLUSH = OUTPUT_MAX / 2,
    PIECE_BYTES = 8 * 1024,         /* of a message at a time: doubled by dots it still fits above OUTPUT_FLUSH */
    ERRORS_MAX = 20,
    TIMEOUT_S = 600,                /* RFC 1939 3 */
};

enum state {
    STATE_START,
    STATE_COMMANDS,
    STATE_LISTING,                  /* LIST or UIDL: `list_next` goes on */
    STATE_SENDING,                  /* RETR or TOP: `sending` goes on */
    STATE_COMMITTING,               /* QUIT: waits for the store; from here on no input is read */
    STATE_CLOSING,
};

struct sending {
    uint64_t body_id, offset, size;
    struct dot_writer dots;
    bool has_line_limit;            /* TOP */
    bool in_body;
    uint64_t lines_left;
    size_t line_bytes;              /* of the current header line, without CR */
};

struct pop3_session {
    struct pop3_session_options options;
    enum state state;
    struct line_reader reader;
    struct buf output;
    struct store_view *view;
    uint64_t mailbox_id;
    uint32_t uidvalidity;
    uint32_t count;                 /* messages in the snapshot */
    uint64_t bytes;                 /* of all of them */
    unsigned char *deleted;         /* one bit a message */
    uint32_t deleted_count;
    uint64_t deleted_bytes;
    void (*list_line)(struct pop3_session *, uint32_t seq, const struct store_message *);
    uint32_t list_next;
    struct sending sending;
    uint64_t wait;
    unsigned errors;
    char piece[PIECE_BYTES];
};

struct pop3_session *pop3_session_new(const struct pop3_session_options *options)
{
    struct pop3_session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->options = *options;
    line_reader_init(&session->reader, LINE_MAX_BYTES);
    buf_init(&session->output, OUTPUT_MAX);
    return session;
}

void pop3_session_free(struct pop3_session *session)
{
    if (session == NULL)
        return;
    if (session->view != NULL)
        store_view_close(session->view);
    free(session->deleted);
    buf_free(&session->output);
    free(session);
}

struct buf *pop3_session_output(struct pop3_session *session) { return &session->output; }
uint64_t pop3_session_wait(const struct pop3_session *session) { return session->wait; }

unsigned pop3_session_timeout_s(const struct pop3_session *session)
{
    (void)session;
    return TIMEOUT_S;
}

/* ---- the snapshot ---------------------------------------------------------------------------------------- */

static enum rc open_inbox(struct pop3_session *session, struct fault *f)
{
    struct store_mailbox_info info;
    enum rc rc = store_mailbox_find(session->options.store, session->options.account, SLICE("INBOX"), &info);
    if (rc != RC_OK)
        return fault_temp(f, 0, "there is no mailbox for this account");
    session->mailbox_id = info.id;
    session->uidvalidity = info.uidvalidity;
    /* Read-only: a POP3 reader takes no \Recent away from an IMAP one; deleting goes by UID. */
    rc = store_view_open(session->options.store, info.id, true, &session->view, f);
    if (rc != RC_OK)
        return rc;
    session->count = store_view_count(session->view);
    session->deleted = calloc(session->count / 8 + 1, 1);
    if (session->deleted == NULL)
        return fault_no_memory(f);
    for (uint32_t seq = 1; seq <= session->count; seq++) {
        struct store_message message;
        store_view_at(session->view, seq, &message);
        session->bytes += message.size;
    }
    return RC_OK;
}

static bool is_deleted(const struct pop3_session *session, uint32_t seq)
{
    return (session->deleted[seq / 8] >> (seq % 8) & 1) != 0;
}

static uint32_t left_count(const struct pop3_session *session) { return session->count - session->deleted_count; }
static uint64_t left_bytes(const struct pop3_session *session) { return session->bytes - session->deleted_bytes; }

static void refuse(struct pop3_session *session, const char *text)
{
    pop3_reply_err(&session->output, "", slice_from_str(text));
    if (++session->errors >= ERRORS_MAX) {
        pop3_reply_err(&session->output, "", SLICE("too many errors, good bye"));
        session->state = STATE_CLOSING;
    }
}

/* Takes the number of a message that is there off the front; says what is wrong with it otherwise. */
static bool take_message(struct pop3_session *session, struct slice *argument, uint32_t *seq, struct store_message *message)
{
    uint64_t number;
    if (!slice_take_number(argument, UINT32_MAX, &number) || (argument->len > 0 && argument->ptr[0] != ' ')) {
        refuse(session, "a message number is missing or wrong");
        return false;
    }
    if (number == 0 || number > session->count) {
        refuse(session, "no such message");
        return false;
    }
    *seq = (uint32_t)number;
    if (is_deleted(session, *seq)) {
        refuse(session, "that message is deleted");
        return false;
    }
    *argument = slice_trim(*argument);
    store_view_at(session->view, *seq, message);
    return true;
}

static bool expect_end(struct pop3_session *session, struct slice argument)
{
    if (argument.len > 0)
        refuse(session, "too many arguments");
    return argument.len == 0;
}

/* ---- commands: listings -------------------------------------------------------------------------------------- */

static void on_stat(struct pop3_session *session, struct slice argument)
{
    if (expect_end(session, argument))
        pop3_reply_ok(&session->output, "%" PRIu32 " %" PRIu64, left_count(session), left_bytes(session));
}

static void list_size(struct pop3_session *session, uint32_t seq, const struct store_message *message)
{
    buf_printf(&session->output, "%" PRIu32 " %" PRIu32 "\r\n", seq, message->size);
}

/* A UID is never given twice under one UIDVALIDITY, so the pair is unique for ever (RFC 1939 7, UIDL). */
static void list_uid(struct pop3_session *session, uint32_t seq, const struct store_message *message)
{
    buf_printf(&session->output, "%" PRIu32 " %" PRIu32 ".%" PRIu32 "\r\n", seq, session->uidvalidity, message->uid);
}

static void list(struct pop3_session *session, struct slice argument,
                 void (*line)(struct pop3_session *, uint32_t, const struct store_message *))
{
    uint32_t seq;
    struct store_message message;
    if (argument.len > 0) {
        if (take_message(session, &argument, &seq, &message) && expect_end(session, argument)) {
            buf_append_str(&session->output, "+OK ");
            line(session, seq, &message);
        }
        return;
    }
    pop3_reply_ok(&session->output, "%" PRIu32 " messages (%" PRIu64 " octets)", left_count(session), left_bytes(session));
    session->list_line = line;
    session->list_next = 1;
    session->state = STATE_LISTING;
}

static void on_list(struct pop3_session *session, struct slice argument) { list(session, argument, list_size); }
static void on_uidl(struct pop3_session *session, struct slice argument) { list(session, argument, list_uid); }

static void go_on_listing(struct pop3_session *session)
{
    while (session->list_next <= session->count && buf_len(&session->output) < OUTPUT_FLUSH) {
        uint32_t seq = session->list_next++;
        struct store_message message;
        if (is_deleted(session, seq))
            continue;
        store_view_at(session->view, seq, &message);
        session->list_line(session, seq, &message);
    }
    if (session->list_next > session->count) {
        buf_append_str(&session->output, ".\r\n");
        session->state = STATE_COMMANDS;
    }
}

/* ---- commands: messages -------------------------------------------------------------------------------------- */

static size_t piece_size(const struct sending *sending)
{
    uint64_t rest = sending->size - sending->offset;
    return rest < PIECE_BYTES ? (size_t)rest : (size_t)PIECE_BYTES;
}

/* The next piece of the message, into session->piece. */
static enum rc read_piece(struct pop3_session *session, struct slice *piece, struct fault *f)
{
    struct sending *sending = &session->sending;
    *piece = (struct slice){ session->piece, piece_size(sending) };
    if (piece->len == 0)
        return RC_OK;
    enum rc rc = store_read(session->options.store, sending->body_id, sending->offset, piece->len, session->piece, f);
    if (rc == RC_OK)
        sending->offset += piece->len;
    return rc;
}

/* TOP: cuts the piece behind the last line wanted (RFC 1939 7: the header, the empty line, n lines of the body) and
 * says whether that was the end. */
static bool cut_at_line_limit(struct sending *sending, struct slice *piece)
{
    if (!sending->has_line_limit)
        return false;
    for (size_t i = 0; i < piece->len; i++) {
        if (sending->in_body && sending->lines_left == 0) {
            piece->len = i;
            return true;
        }
        char byte = piece->ptr[i];
        if (byte != '\n') {
            sending->line_bytes += byte != '\r';
            continue;
        }
        if (sending->in_body)
            sending->lines_left--;
        else if (sending->line_bytes == 0)
            sending->in_body = true;
        sending->line_bytes = 0;
    }
    return false;
}

static void send_piece(struct pop3_session *session, struct slice piece)
{
    struct sending *sending = &session->sending;
    bool is_end = cut_at_line_limit(sending, &piece) || sending->offset == sending->size;
    dot_write(&sending->dots, &piece, &session->output);
    if (piece.len > 0) {
        session->state = STATE_CLOSING;     /* out of memory */
    } else if (is_end) {
        (void)dot_write_end(&sending->dots, &session->output);
        session->state = STATE_COMMANDS;
    }
}

static void go_on_sending(struct pop3_session *session)
{
    while (session->state == STATE_SENDING && buf_len(&session->output) < OUTPUT_FLUSH) {
        struct slice piece;
        if (read_piece(session, &piece, NULL) != RC_OK) {
            session->state = STATE_CLOSING;     /* without the final dot: the client must not take it for whole */
            return;
        }
        send_piece(session, piece);
    }
}

/* The first piece is read before +OK, so that a message that cannot be read is an honest -ERR. */
static void begin_sending(struct pop3_session *session, const struct store_message *message, bool has_line_limit, uint64_t lines)
{
    struct fault f = { .rc = RC_OK };
    struct slice piece;
    session->sending = (struct sending){
        .body_id = message->body_id, .size = message->size, .has_line_limit = has_line_limit, .lines_left = lines,
    };
    dot_writer_init(&session->sending.dots);
    session->sending.dots.keeps_bare_cr = true;
    enum rc rc = read_piece(session, &piece, &f);
    if (rc != RC_OK) {
        pop3_reply_err(&session->output, rc == RC_TEMP ? "SYS/TEMP" : "SYS/PERM", slice_from_str(f.text));
        return;
    }
    if (has_line_limit)
        pop3_reply_ok(&session->output, "top of message follows");
    else
        pop3_reply_ok(&session->output, "%" PRIu32 " octets", message->size);
    session->state = STATE_SENDING;
    send_piece(session, piece);
}

static void on_retr(struct pop3_session *session, struct slice argument)
{
    uint32_t seq;
    struct store_message message;
    if (take_message(session, &argument, &seq, &message) && expect_end(session, argument))
        begin_sending(session, &message, false, 0);
}

static void on_top(struct pop3_session *session, struct slice argument)
{
    uint32_t seq;
    uint64_t lines;
    struct store_message message;
    if (!take_message(session, &argument, &seq, &message))
        return;
    if (!slice_take_number(&argument, UINT32_MAX, &lines) || argument.len > 0)
        refuse(session, "how many lines? TOP message lines");
    else
        begin_sending(session, &message, true, lines);
}

static void on_dele(struct pop3_session *session, struct slice argument)
{
    uint32_t seq;
    struct store_message message;
    if (!take_message(session, &argument, &seq, &message) || !expect_end(session, argument))
        return;
    session->deleted[seq / 8] |= (unsigned char)(1u << (seq % 8));
    session->deleted_count++;
    session->deleted_bytes += message.size;
    pop3_reply_ok(&session->output, "message %" PRIu32 " goes at QUIT", seq);
}

/* ---- commands: the session ----------------------------------------------------------------------------------- */

static void on_noop(struct pop3_session *session, struct slice argument)
{
    if (expect_end(session, argument))
        pop3_reply_ok(&session->output, "still here");
}

static void on_rset(struct pop3_session *session, struct slice argument)
{
    if (!expect_end(session, argument))
        return;
    memset(session->deleted, 0, session->count / 8 + 1);
    session->deleted_count = 0;
    session->deleted_bytes = 0;
    pop3_reply_ok(&session->output, "%" PRIu32 " messages (%" PRIu64 " octets)", session->count, session->bytes);
}

static void on_capa(struct pop3_session *session, struct slice argument)
{
    (void)argument;
    pop3_reply_capabilities(&session->output);
    buf_append_str(&session->output, ".\r\n");
}

static void on_late(struct pop3_session *session, struct slice argument)
{
    (void)argument;
    refuse(session, "you are logged in already");
}

static void end_session(struct pop3_session *session, enum rc rc)
{
    if (rc == RC_OK)
        pop3_reply_ok(&session->output, "good bye");
    else
        pop3_reply_err(&session->output, rc == RC_TEMP ? "SYS/TEMP" : "SYS/PERM", SLICE("the deleted messages could not be removed"));
    session->state = STATE_CLOSING;
}

static enum rc expunge_deleted(struct pop3_session *session)
{
    enum rc rc = RC_OK;
    struct uid_set uids, expunged;
    uid_set_init(&uids);
    uid_set_init(&expunged);
    for (uint32_t seq = 1; seq <= session->count && rc == RC_OK; seq++) {
        struct store_message message;
        if (!is_deleted(session, seq))
            continue;
        store_view_at(session->view, seq, &message);
        if (!uid_set_add(&uids, message.uid, message.uid))
            rc = RC_TEMP;
    }
    if (rc == RC_OK)
        rc = store_expunge(session->options.store, session->mailbox_id, &uids, true, &expunged, &session->wait, NULL);
    uid_set_free(&uids);
    uid_set_free(&expunged);
    return rc;
}

/* UPDATE (RFC 1939 6): the only place where anything is removed. */
static void on_quit(struct pop3_session *session, struct slice argument)
{
    if (!expect_end(session, argument))
        return;
    enum rc rc = session->deleted_count == 0 ? RC_OK : expunge_deleted(session);
    if (session->deleted_count > 0 && rc == RC_OK)
        session->state = STATE_COMMITTING;
    else
        end_session(session, rc);
}

static const struct verb {
    const char *name;
    void (*run)(struct pop3_session *, struct slice argument);
} verbs[] = {
    { "STAT", on_stat }, { "LIST", on_list }, { "RETR", on_retr }, { "DELE", on_dele },     /* RFC 1939 5 */
    { "NOOP", on_noop }, { "RSET", on_rset }, { "QUIT", on_quit },
    { "TOP", on_top },   { "UIDL", on_uidl },                                               /* RFC 1939 7 */
    { "CAPA", on_capa },                                                                    /* RFC 2449 5 */
    { "USER", on_late }, { "PASS", on_late }, { "AUTH", on_late }, { "STLS", on_late },
};

static void run_line(struct pop3_session *session, enum line_kind kind, struct slice line)
{
    if (kind == LINE_TOO_LONG || kind == LINE_BARE) {
        refuse(session, kind == LINE_BARE ? "a line ends with CRLF and holds no other CR, LF or NUL" : "the line is too long");
        return;
    }
    struct slice name = slice_take_until(&line, ' ');
    for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
        if (slice_equal_nocase(name, slice_from_str(verbs[i].name))) {
            verbs[i].run(session, slice_trim(line));
            return;
        }
    }
    refuse(session, "no such command");
}

/* ---- the machine ----------------------------------------------------------------------------------------------- */

static void start(struct pop3_session *session)
{
    struct fault f = { .rc = RC_OK };
    enum rc rc = open_inbox(session, &f);
    if (rc != RC_OK) {
        pop3_reply_err(&session->output, rc == RC_PERM ? "SYS/PERM" : "SYS/TEMP", slice_from_str(f.text));
        session->state = STATE_CLOSING;
        return;
    }
    pop3_reply_ok(&session->output, "%" PRIu32 " messages (%" PRIu64 " octets)", session->count, session->bytes);
    session->state = STATE_COMMANDS;
}

enum want pop3_session_step(struct pop3_session *session, struct slice *in)
{
    if (session->state == STATE_START)
        start(session);
    while (session->state < STATE_COMMITTING && !session->output.overflow) {
        struct slice line;
        if (buf_len(&session->output) >= OUTPUT_FLUSH)
            return WANT_FLUSH;
        if (session->state == STATE_LISTING) {
            go_on_listing(session);
            continue;
        }
        if (session->state == STATE_SENDING) {
            go_on_sending(session);
            continue;
        }
        enum line_kind kind = line_read(&session->reader, in, &line);
        if (kind == LINE_NONE)
            return WANT_INPUT;
        run_line(session, kind, line);
    }
    return session->state == STATE_COMMITTING ? WANT_ANSWER : WANT_CLOSE;
}

void pop3_session_answer(struct pop3_session *session, enum rc settled)
{
    must(session->state == STATE_COMMITTING && settled != RC_MORE);
    end_session(session, settled);
}

void pop3_session_stop(struct pop3_session *session, const char *text)
{
    if (session->state == STATE_CLOSING)
        return;
    bool is_within_reply = session->state == STATE_LISTING || session->state == STATE_SENDING;
    if (text != NULL && !is_within_reply)
        pop3_reply_err(&session->output, "SYS/TEMP", slice_from_str(text));
    session->state = STATE_CLOSING;
}
