/* Hands one message to a server: see submit.h. */
#include "cli/submit.h"

#include <stdlib.h>

enum { PIECE_BYTES = 64 * 1024 };

struct submitting {
    const struct submit *what;
    struct submit_report *report;
    struct net *net;
    struct smtp_client *client;
    struct net_machine machine;
    struct progress progress;
    char piece[PIECE_BYTES];
    uint64_t given;
    char helo[128];
    int64_t began_ms;
    bool has_outcomes;
};

static enum want step(void *self, struct slice *in) { return smtp_client_step(self, in); }
static struct buf *output(void *self) { return smtp_client_output(self); }
static void tls_started(void *self) { smtp_client_tls_started(self); }

static void keep_text(char to[SUBMIT_TEXT_MAX], struct slice text)
{
    struct buf escaped;
    buf_init(&escaped, SUBMIT_TEXT_MAX * 4);
    buf_append_escaped(&escaped, slice_sub(text, 0, SUBMIT_TEXT_MAX), true);
    struct slice kept = slice_sub(buf_slice(&escaped), 0, SUBMIT_TEXT_MAX - 1);
    if (kept.len > 0)
        memcpy(to, kept.ptr, kept.len);
    to[kept.len] = '\0';
    buf_free(&escaped);
}

static void keep_outcome(struct submit_outcome *to, const struct smtp_outcome *from)
{
    *to = (struct submit_outcome){ .rc = from->rc, .esc = from->esc, .code = from->code, .is_remote = from->is_remote };
    keep_text(to->text, from->text);
}

static void keep_outcomes(struct submitting *s)
{
    size_t count = 0;
    const struct smtp_outcome *outcomes = smtp_client_outcomes(s->client, &count);
    for (size_t i = 0; i < count && i < s->what->message->rcpt_count; i++)
        keep_outcome(&s->report->outcomes[i], &outcomes[i]);
    s->has_outcomes = true;
    s->report->done_ms = terminal_now_ms() - s->began_ms;
}

/* What we are called: what we were told, or our address. */
static struct slice name_ourselves(struct submitting *s)
{
    const char *address = net_peer(s->net)->local_address;
    if (s->what->helo != NULL)
        return slice_from_str(s->what->helo);
    bool is_v6 = strchr(address, ':') != NULL;
    snprintf(s->helo, sizeof(s->helo), "[%s%s]", is_v6 ? "IPv6:" : "", address[0] != '\0' ? address : "127.0.0.1");
    return slice_from_str(s->helo);
}

static enum rc connect_and_begin(struct submitting *s, struct fault *f)
{
    const struct submit *what = s->what;
    struct net_target *target = what->target;
    struct smtp_client_options options = { .is_lmtp = what->is_lmtp, .tls = SMTP_TLS_NEVER };
    enum rc rc = target != NULL ? net_connect(target, &s->net, f) : net_connect_local(what->socket_path, what->timeout_s, &s->net, f);
    if (rc != RC_OK)
        return rc;
    s->report->connected_ms = terminal_now_ms() - s->began_ms;
    options.helo = name_ourselves(s);
    if (target != NULL) {
        options.tls = target->tls == NET_TLS_IMPLICIT ? SMTP_TLS_IMPLICIT : target->tls == NET_TLS_STARTTLS ? SMTP_TLS_MUST : SMTP_TLS_NEVER;
        options.user = slice_from_str(target->user);
        options.password = slice_from_str(target->password);
        options.plain_without_tls = target->is_insecure || net_peer(s->net)->is_loopback;
        options.nonce = (struct slice){ (const char *)target->nonce, sizeof(target->nonce) };
    }
    if (options.tls == SMTP_TLS_IMPLICIT && (rc = net_start_tls(s->net, f)) != RC_OK)
        return rc;
    s->client = smtp_client_new(&options, net_peer(s->net));
    if (s->client == NULL)
        return fault_no_memory(f);
    s->machine = (struct net_machine){ .self = s->client, .step = step, .output = output, .tls_started = tls_started };
    return RC_OK;
}

static enum rc give_body(struct submitting *s, struct fault *f)
{
    struct slice piece;
    enum rc rc = spool_read(s->what->spool, s->piece, sizeof(s->piece), &piece, f);
    if (rc != RC_OK)
        return rc;
    s->given += piece.len;
    if (s->what->shows_progress)
        progress_at(&s->progress, s->given);
    smtp_client_body(s->client, piece);
    return RC_OK;
}

/* What the machine asks. RC_NONE: nothing more to do. */
static enum rc answer(struct submitting *s, bool *is_sent, struct fault *f)
{
    switch (smtp_client_ask(s->client)) {
    case SMTP_CLIENT_ASK_MESSAGE:
        if (*is_sent) {
            smtp_client_quit(s->client);
            return RC_OK;
        }
        *is_sent = true;
        s->report->ready_ms = terminal_now_ms() - s->began_ms;
        smtp_client_send(s->client, s->what->message);
        return RC_OK;
    case SMTP_CLIENT_ASK_BODY:
        return give_body(s, f);
    case SMTP_CLIENT_ASK_DONE:
        keep_outcomes(s);
        smtp_client_next(s->client);
        return RC_OK;
    case SMTP_CLIENT_ASK_NONE:
    default:
        return fault_perm(f, 0, "the SMTP client asks nothing");
    }
}

/* The session failed as a whole: its words are the fault. */
static enum rc session_fault(struct submitting *s, struct fault *f)
{
    struct submit_outcome outcome;
    const struct smtp_outcome *said = smtp_client_session_outcome(s->client);
    if (said == NULL || said->rc == RC_OK)
        return RC_OK;
    keep_outcome(&outcome, said);
    if (outcome.code != 0)
        fault_temp(f, outcome.esc, "the server says %d %s", outcome.code, outcome.text);
    else
        fault_temp(f, outcome.esc, "%s", outcome.text);
    f->rc = outcome.rc;
    return outcome.rc;
}

static enum rc converse(struct submitting *s, struct fault *f)
{
    bool is_sent = false;
    for (;;) {
        enum rc rc = net_run(s->net, &s->machine, f);
        if (rc == RC_NONE)
            return s->has_outcomes ? RC_OK : session_fault(s, f) != RC_OK ? f->rc : fault_temp(f, 0, "the server closed the connection");
        if (rc == RC_OK)
            rc = answer(s, &is_sent, f);
        if (rc != RC_OK)
            return s->has_outcomes ? RC_OK : rc;
    }
}

enum rc submit(const struct submit *what, struct submit_report *report, struct fault *f)
{
    struct submitting *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return fault_no_memory(f);
    s->what = what;
    s->report = report;
    s->began_ms = terminal_now_ms();
    report->mechanism = "";
    what->message->size = what->spool->size;
    what->message->has_8bit = what->spool->has_8bit;
    what->message->has_long_line = what->spool->has_long_line;
    what->message->has_bare_eol = what->spool->has_bare_eol;
    if (what->shows_progress)
        progress_begin(&s->progress, "send", true, what->spool->size);
    enum rc rc = connect_and_begin(s, f);
    if (rc == RC_OK)
        rc = converse(s, f);
    if (what->shows_progress)
        progress_end(&s->progress);
    if (s->net != NULL)
        report->peer = *net_peer(s->net);
    if (s->client != NULL) {
        keep_text(report->greeting, smtp_client_greeting(s->client));
        report->mechanism = smtp_client_mechanism(s->client);
    }
    smtp_client_free(s->client);
    net_close(s->net);
    free(s);
    return rc;
}
