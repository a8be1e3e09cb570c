/* SMTP, submission and LMTP in the edge: the server machine's questions become frames, the answers come back. */
#include "role/edge.h"

#include "os/log.h"
#include "smtp/server.h"

#include <stdlib.h>

enum { EDGE_ID_MAX = 40, AUTHORS_MAX = 100, PROGRESS_BYTES = 16 * 1024 };

struct edge_smtp {
    struct edge_session session;
    struct smtp_server_options options;
    struct smtp_server *machine;
    uint64_t ticket;                    /* of the login; 0: none */
    char id[EDGE_ID_MAX];              /* of the open transaction, for logs */
    bool is_open;                       /* post knows of a transaction */
    bool waits_for_post, waits_for_auth, waits_for_room, is_held;
    uint32_t trace_bytes;
    size_t body_bytes;                  /* since the last progress */
    size_t recipients;                  /* accepted in this transaction */
    struct fault *outcomes;             /* LMTP: as they arrive, `recipients` of them */
    size_t outcome_count;
};

static enum want step(void *machine, struct slice *in, struct mail_date now) { return smtp_server_step(machine, in, now); }
static struct buf *output(void *machine) { return smtp_server_output(machine); }
static void tls_started(void *machine) { smtp_server_tls_started(machine); }
static void stop(void *machine, const char *text) { smtp_server_stop(machine, text); }
static bool is_idle(void *machine) { return smtp_server_is_idle(machine); }
static void free_machine(void *machine) { smtp_server_free(machine); }

static const struct machine_type smtp_machine = { step, output, tls_started, stop, is_idle, free_machine, false };

static void answer(struct edge_smtp *smtp, enum rc rc, const struct fault *fault, struct slice id)
{
    smtp->waits_for_post = smtp->waits_for_room = false;
    smtp_server_answer(smtp->machine, rc, fault, id);
    driver_answered(&smtp->session.driver);
}

static void answer_unavailable(struct edge_smtp *smtp)
{
    struct fault fault;
    fault_temp(&fault, ESC(4, 3, 0), "the mail store is being restarted, try again");
    answer(smtp, RC_TEMP, &fault, SLICE_NONE);
}

/* Not even read further while post is held back (by its disk, for long maybe): of thousands of clients in the middle of a message
 * each could add a piece otherwise. */
static bool is_held(void *arg)
{
    struct edge_smtp *smtp = arg;
    smtp->is_held = smtp->is_open && smtp->session.edge->post != NULL && channel_is_full(smtp->session.edge->post);
    return smtp->is_held;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

static void ask_mail(struct edge_smtp *smtp, const struct smtp_ask *ask)
{
    const struct edge_session *session = &smtp->session;
    const struct smtp_mail *mail = ask->mail;
    const struct peer *peer = conn_peer(session->driver.conn);
    smtp->is_open = true;
    smtp->recipients = 0;
    smtp->id[0] = '\0';
    channel_send(session->edge->post, FRAME_MAIL, session->number, (uint64_t)smtp->options.face, smtp->ticket,
                 slice_from_str(session->peer.address), smtp_server_helo(smtp->machine), slice_from_str(peer->tls_version),
                 slice_from_str(peer->tls_cipher), smtp_server_user(smtp->machine), (uint64_t)mail->reverse_path.is_null,
                 mail->reverse_path.local_part, mail->reverse_path.domain, mail->envid, mail->size, (uint64_t)mail->body,
                 (uint64_t)mail->is_utf8, (uint64_t)mail->ret, (uint64_t)mail->reverse_path.is_literal,
                 slice_from_str(session->protocol), (uint64_t)session->peer.is_loopback);
}

static void ask_rcpt(struct edge_smtp *smtp, const struct smtp_rcpt *rcpt)
{
    const struct address *to = &rcpt->forward_path;
    channel_send(smtp->session.edge->post, FRAME_RCPT, smtp->session.number, to->local_part, to->domain,
                 (uint64_t)to->is_literal, (uint64_t)rcpt->notify, rcpt->orcpt, (uint64_t)to->is_utf8);
}

/* Body pieces need no answer from post; a full channel holds the client back. */
static void ask_body(struct edge_smtp *smtp, const struct smtp_ask *ask)
{
    struct channel *post = smtp->session.edge->post;
    uint64_t trace_bytes = ask->trace_bytes;
    smtp->body_bytes += ask->body.len;
    if (smtp->body_bytes >= PROGRESS_BYTES) {
        smtp->body_bytes = 0;
        edge_session_progress(&smtp->session);
    }
    for (struct slice rest = ask->body; rest.len != 0; trace_bytes = 0) {
        struct slice piece = slice_take(&rest, FRAME_BODY_PIECE);
        channel_send(post, FRAME_BODY, smtp->session.number, trace_bytes, piece);
    }
    if (channel_is_full(post))
        smtp->waits_for_room = true;
    else
        answer(smtp, RC_OK, NULL, SLICE_NONE);
}

/* The addresses of a submitted message's From, for post to compare with the login; false: it cannot be understood. */
static bool write_authors(const struct smtp_ask *ask, struct buf *out)
{
    struct arena arena;
    struct mailbox_entry *entries;
    size_t count;
    arena_init(&arena, 256 * 1024);
    bool is_understood = ask->header_from_count <= 1 &&
                         address_list_parse(ask->header_from, AUTHORS_MAX, &arena, &entries, &count) == RC_OK && count < AUTHORS_MAX;
    for (size_t i = 0; is_understood && i < count; i++) {
        struct address author = { .local_part = entries[i].local_part, .domain = entries[i].domain };
        if (entries[i].kind == ENTRY_INVALID)
            is_understood = false;
        else if (entries[i].kind == ENTRY_MAILBOX)
            is_understood = address_write(&author, out) && buf_append_byte(out, '\0');
    }
    arena_free(&arena);
    return is_understood;
}

static void ask_commit(struct edge_smtp *smtp, const struct smtp_ask *ask)
{
    struct buf authors;
    bool is_understood = true;
    buf_init(&authors, 64 * 1024);
    if (smtp->options.face == SMTP_SUBMISSION)
        is_understood = write_authors(ask, &authors);
    smtp->outcome_count = 0;
    channel_send(smtp->session.edge->post, FRAME_COMMIT, smtp->session.number, ask->body_bytes, (uint64_t)ask->has_8bit,
                 (uint64_t)ask->has_long_line, (uint64_t)ask->has_bare_eol, (uint64_t)ask->has_utf8_header,
                 (uint64_t)ask->lacks_final_eol, (uint64_t)is_understood, buf_slice(&authors));
    buf_free(&authors);
}

static void abandon(struct edge_smtp *smtp)
{
    if (smtp->is_open && smtp->session.edge->post != NULL)
        channel_send(smtp->session.edge->post, FRAME_ABANDON, smtp->session.number);
    smtp->is_open = false;
}

static void ask_auth(struct edge_smtp *smtp, const struct smtp_ask *ask)
{
    if (edge_auth_ask(&smtp->session, ask->is_auth_start, ask->auth_mechanism, ask->has_message, ask->message)) {
        smtp->waits_for_auth = true;
        return;
    }
    struct fault fault;
    fault_temp(&fault, ESC(4, 7, 0), "logins are not possible right now, try again");
    smtp_server_answer_auth(smtp->machine, SASL_FAILED, SLICE_NONE, &fault);
    driver_answered(&smtp->session.driver);
}

static void on_ask(void *arg)
{
    struct edge_smtp *smtp = arg;
    const struct smtp_ask *ask = smtp_server_ask(smtp->machine);
    if (ask->kind == SMTP_ASK_AUTH) {
        ask_auth(smtp, ask);
        return;
    }
    if (ask->kind == SMTP_ASK_ABANDON) {
        abandon(smtp);
        answer(smtp, RC_OK, NULL, SLICE_NONE);
        return;
    }
    bool needs_transaction = ask->kind != SMTP_ASK_MAIL && ask->kind != SMTP_ASK_VRFY;
    if (smtp->session.edge->post == NULL || (needs_transaction && !smtp->is_open)) {
        answer_unavailable(smtp);               /* post went away, and the transaction with it */
        return;
    }
    smtp->waits_for_post = true;
    switch (ask->kind) {
    case SMTP_ASK_MAIL:
        ask_mail(smtp, ask);
        break;
    case SMTP_ASK_RCPT:
        ask_rcpt(smtp, ask->rcpt);
        break;
    case SMTP_ASK_BODY:
        ask_body(smtp, ask);
        break;
    case SMTP_ASK_COMMIT:
        ask_commit(smtp, ask);
        break;
    case SMTP_ASK_VRFY:
        channel_send(smtp->session.edge->post, FRAME_VRFY, smtp->session.number, ask->rcpt->forward_path.local_part,
                     ask->rcpt->forward_path.domain);
        break;
    case SMTP_ASK_NONE:
    case SMTP_ASK_AUTH:
    case SMTP_ASK_ABANDON:
        must_failed("a question that is one", __FILE__, __LINE__);
    }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void on_mail_answer(struct edge_smtp *smtp, const struct frame *frame)
{
    const struct fault *fault = &frame->field[0].fault;
    (void)slice_to_str(slice_sub(frame->field[1].bytes, 0, sizeof(smtp->id) - 1), smtp->id, sizeof(smtp->id));
    if (fault->rc != RC_OK)
        smtp->is_open = false;
    answer(smtp, fault->rc, fault, slice_from_str(smtp->id));
}

static void on_rcpt_answer(struct edge_smtp *smtp, const struct frame *frame)
{
    const struct fault *fault = &frame->field[0].fault;
    if (fault->rc == RC_OK && smtp_server_ask(smtp->machine)->kind == SMTP_ASK_RCPT)
        smtp->recipients++;
    answer(smtp, fault->rc, fault, SLICE_NONE);
}

static void on_lmtp_outcome(struct edge_smtp *smtp, const struct fault *fault)
{
    if (smtp->outcomes == NULL)
        smtp->outcomes = calloc(smtp->recipients, sizeof(*smtp->outcomes));
    must(smtp->outcomes != NULL);               /* at most SMTP_RECIPIENTS_MAX */
    smtp->outcomes[smtp->outcome_count++] = *fault;
    if (smtp->outcome_count < smtp->recipients)
        return;
    smtp->is_open = smtp->waits_for_post = false;
    smtp_server_answer_recipients(smtp->machine, smtp->outcomes, smtp->outcome_count);
    free(smtp->outcomes);
    smtp->outcomes = NULL;
    driver_answered(&smtp->session.driver);
}

static void on_commit_answer(struct edge_smtp *smtp, const struct frame *frame)
{
    const struct fault *fault = &frame->field[0].fault;
    edge_session_progress(&smtp->session);
    if (smtp->options.face == SMTP_LMTP) {
        on_lmtp_outcome(smtp, fault);
        return;
    }
    smtp->is_open = false;
    answer(smtp, fault->rc, fault, SLICE_NONE);
}

static void on_auth_answer(struct edge_smtp *smtp, const struct frame *frame)
{
    enum sasl_state state = (enum sasl_state)frame->field[0].number;
    smtp->waits_for_auth = false;
    struct slice bytes = frame->field[1].bytes;
    if (state == SASL_OK) {
        edge_session_progress(&smtp->session);
        smtp->ticket = frame->field[3].number;
        bytes = frame->field[5].bytes;
        log_event(LOG_INFO, "login", LOG_STR("protocol", smtp->session.protocol), LOG_TEXT("user", bytes),
                  LOG_STR("peer", smtp->session.peer.address));
    }
    smtp_server_answer_auth(smtp->machine, state, bytes, &frame->field[2].fault);
    driver_answered(&smtp->session.driver);
}

static void on_frame(struct edge_session *session, const struct frame *frame)
{
    struct edge_smtp *smtp = (struct edge_smtp *)session;
    if (frame->type == FRAME_AUTH_ANSWER && smtp->waits_for_auth)
        on_auth_answer(smtp, frame);
    else if (frame->type == FRAME_MAIL_ANSWER && smtp->waits_for_post)
        on_mail_answer(smtp, frame);
    else if (frame->type == FRAME_RCPT_ANSWER && smtp->waits_for_post)
        on_rcpt_answer(smtp, frame);
    else if (frame->type == FRAME_COMMIT_ANSWER && smtp->waits_for_post)
        on_commit_answer(smtp, frame);
}

static void on_lost(struct edge_session *session, bool is_post)
{
    struct edge_smtp *smtp = (struct edge_smtp *)session;
    if (is_post) {
        smtp->is_open = false;
        smtp->ticket = 0;               /* post knows no tickets of before; the client logs in again (RFC 4954 4: it may not
                                           within this connection, so it is told to come back) */
        if (smtp_server_user(smtp->machine).len != 0)
            driver_stop(&session->driver, "the mail store has been restarted, please come again");
        if (smtp->waits_for_post && smtp->options.face == SMTP_LMTP && smtp_server_ask(smtp->machine)->kind == SMTP_ASK_COMMIT) {
            struct fault fault;
            fault_temp(&fault, ESC(4, 3, 0), "the mail store is being restarted, try again");
            while (smtp->waits_for_post)
                on_lmtp_outcome(smtp, &fault);
        } else if (smtp->waits_for_post || smtp->waits_for_room) {
            answer_unavailable(smtp);
        } else if (smtp->is_held) {
            driver_wake(&session->driver);
        }
    } else if (smtp->waits_for_auth) {
        struct fault fault;
        fault_temp(&fault, ESC(4, 7, 0), "logins are not possible right now, try again");
        smtp->waits_for_auth = false;
        smtp_server_answer_auth(smtp->machine, SASL_FAILED, SLICE_NONE, &fault);
        driver_answered(&session->driver);
    }
}

static void on_flushed(struct edge_session *session)
{
    struct edge_smtp *smtp = (struct edge_smtp *)session;
    if (smtp->waits_for_room)
        answer(smtp, RC_OK, NULL, SLICE_NONE);
    else if (smtp->is_held)
        driver_wake(&session->driver);
}

static void on_stop(struct edge_session *session, const char *text) { driver_stop(&session->driver, text); }

static void on_ended(void *arg, const char *why)
{
    struct edge_smtp *smtp = arg;
    abandon(smtp);
    if (smtp->waits_for_auth)
        edge_auth_end(&smtp->session);
    if (smtp->ticket != 0 && smtp->session.edge->post != NULL)
        channel_send(smtp->session.edge->post, FRAME_TICKET_END, 0, smtp->ticket);
    log_event(LOG_INFO, "disconnected", LOG_STR("protocol", smtp->session.protocol), LOG_STR("peer", smtp->session.peer.address),
              LOG_STR("last-id", smtp->id), LOG_STR("why", why));
    free(smtp->outcomes);
    edge_session_free(&smtp->session);
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

static enum smtp_face face_of(enum listener_protocol protocol)
{
    if (protocol == LISTEN_LMTP)
        return SMTP_LMTP;
    return protocol == LISTEN_SUBMISSION || protocol == LISTEN_SUBMISSIONS ? SMTP_SUBMISSION : SMTP_MX;
}

void edge_smtp_begin(struct edge *edge, int fd, const struct peer *peer, enum listener_protocol protocol, bool is_local_submission)
{
    const char *name = is_local_submission ? "submit" : edge_protocol_name(protocol);
    struct edge_smtp *smtp = (struct edge_smtp *)edge_session_new(edge, sizeof(*smtp), fd, peer, name);
    if (smtp == NULL)
        return;
    bool is_implicit = protocol == LISTEN_SUBMISSIONS;
    smtp->options = (struct smtp_server_options){
        .face = is_local_submission ? SMTP_SUBMISSION : face_of(protocol),
        .host_name = slice_from_str(smtp->session.host_name),
        .size_max = edge->config.message_size_max,
        .offers_tls = edge->tls != NULL && !is_implicit && !is_local_submission,
        .auth_without_tls = !is_local_submission && edge_auth_without_tls(edge, peer),
        .requires_auth = face_of(protocol) == SMTP_SUBMISSION && !is_local_submission,
    };
    smtp->machine = smtp_server_new(&smtp->options, conn_peer(smtp->session.driver.conn));
    smtp->session.frame = on_frame;
    smtp->session.lost = on_lost;
    smtp->session.flushed = on_flushed;
    smtp->session.stop = on_stop;
    smtp->session.driver.is_held = is_held;
    edge_session_start(&smtp->session, &smtp_machine, smtp->machine, on_ask, on_ended, is_implicit, EDGE_TIMEOUT_MS);
}
