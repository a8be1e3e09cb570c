/* The receiving side of SMTP: see server.h. Here are the step loop, the table of verbs, and the verbs (RFC 5321 4.1.1).
 *
 * A step runs the function of the present stage until it needs something: input, an answer, room in the output. While a
 * question stands nothing else happens, so commands are answered in the order in which they came (RFC 2920 3.2). */
#include "smtp/session.h"

#include <stdlib.h>
#include <string.h>

struct smtp_server *smtp_server_new(const struct smtp_server_options *options, const struct peer *peer)
{
    struct smtp_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->options = options;
    s->peer = peer;
    line_reader_init(&s->lines, SMTP_AUTH_LINE_MAX);
    buf_init(&s->output, SMTP_OUTPUT_MAX);
    buf_init(&s->replies, (size_t)(SMTP_RECIPIENTS_MAX + 2) * (SMTP_REPLY_TEXT_MAX + 32));
    buf_init(&s->auth_message, SMTP_AUTH_LINE_MAX);
    arena_init(&s->transaction, 16384);
    arena_init(&s->scratch, 16384);
    return s;
}

void smtp_server_free(struct smtp_server *s)
{
    if (s == NULL)
        return;
    smtp_incoming_clear(s);
    if (s->auth_message.data != NULL)
        explicit_bzero(s->auth_message.data, s->auth_message.cap);
    buf_free(&s->auth_message);
    buf_free(&s->output);
    buf_free(&s->replies);
    arena_free(&s->transaction);
    arena_free(&s->scratch);
    free(s);
}

void smtp_ask_set(struct smtp_server *s, enum smtp_ask_kind kind)
{
    s->ask = (struct smtp_ask){ .kind = kind };
}

void smtp_transaction_clear(struct smtp_server *s)
{
    smtp_incoming_clear(s);
    s->has_mail = s->is_abandoned = false;
    s->rcpt_count = 0;
    s->mail = (struct smtp_mail){ 0 };
    s->first_rcpt = (struct address){ 0 };
    arena_rewind(&s->transaction);
}

void smtp_transaction_abandon(struct smtp_server *s)
{
    if (s->has_mail && !s->is_abandoned)
        smtp_ask_set(s, SMTP_ASK_ABANDON);
    smtp_transaction_clear(s);
}

void smtp_close(struct smtp_server *s)
{
    smtp_transaction_abandon(s);
    s->stage = STAGE_CLOSED;
}

/* ---- verbs ---- */

static void greet(struct smtp_server *s, struct slice name, bool is_extended);

static void on_helo(struct smtp_server *s, struct slice arguments) { greet(s, arguments, false); }
static void on_ehlo(struct smtp_server *s, struct slice arguments) { greet(s, arguments, true); }

static void on_mail(struct smtp_server *s, struct slice arguments)
{
    struct fault f;
    struct smtp_mail mail = { 0 };
    if (s->has_mail) {
        smtp_refuse(s, 503, ESC(5, 5, 1), "nested MAIL");
        return;
    }
    if (s->options->requires_auth && s->user[0] == '\0') {
        smtp_refuse(s, 530, ESC(5, 7, 0), smtp_auth_is_offered(s) ? "authentication required"      /* RFC 4954 6 */
                                          : "authentication required, STARTTLS first");             /* RFC 3207 4 */
        return;
    }
    if (!slice_take_prefix_nocase(&arguments, SLICE("FROM:"))) {
        smtp_refuse(s, 501, ESC(5, 5, 4), "syntax: MAIL FROM:<address>");
        return;
    }
    arguments = slice_trim(arguments);      /* "FROM: <a@b>" is wrong and common */
    arena_rewind(&s->transaction);
    enum rc rc = address_parse_path(&arguments, true, &s->transaction, &mail.reverse_path, &f);
    if (rc == RC_TEMP) {
        smtp_refuse(s, 452, ESC(4, 3, 1), "%s", f.text);
        return;
    }
    if (rc != RC_OK) {
        smtp_refuse(s, 501, ESC(5, 1, 7), "bad sender address: %s", f.text);
        return;
    }
    if (!smtp_params_mail(s, arguments, &mail))
        return;
    if (mail.reverse_path.is_utf8 && !mail.is_utf8) {
        smtp_refuse(s, 553, ESC(5, 6, 7), "this address needs SMTPUTF8");   /* RFC 6531 3.5 */
        return;
    }
    s->mail = mail;
    smtp_ask_set(s, SMTP_ASK_MAIL);
    s->ask.mail = &s->mail;
}

static void mail_answered(struct smtp_server *s, enum rc rc, const struct fault *f, struct slice id)
{
    if (rc != RC_OK) {
        smtp_reply_fault(s, rc, f, 550);
        s->errors += rc != RC_TEMP;
        smtp_transaction_clear(s);
        return;
    }
    if (!slice_to_str(id, s->id, sizeof s->id))
        s->id[0] = '\0';
    s->has_mail = true;
    smtp_reply(s, 250, ESC(2, 1, 0), "sender taken");
}

static uint32_t recipients_max(const struct smtp_server *s)
{
    uint32_t max = s->options->recipients_max;
    return max == 0 || max > SMTP_RECIPIENTS_MAX ? SMTP_RECIPIENTS_MAX : max;
}

static void on_rcpt(struct smtp_server *s, struct slice arguments)
{
    struct fault f;
    struct smtp_rcpt rcpt = { 0 };
    if (!s->has_mail || s->in.has_begun) {
        smtp_refuse(s, 503, ESC(5, 5, 1), s->has_mail ? "the body has begun" : "MAIL first");
        return;
    }
    if (!slice_take_prefix_nocase(&arguments, SLICE("TO:"))) {
        smtp_refuse(s, 501, ESC(5, 5, 4), "syntax: RCPT TO:<address>");
        return;
    }
    arguments = slice_trim(arguments);
    enum rc rc = address_parse_path(&arguments, false, &s->scratch, &rcpt.forward_path, &f);
    if (rc == RC_TEMP) {
        smtp_refuse(s, 452, ESC(4, 3, 1), "%s", f.text);
        return;
    }
    if (rc != RC_OK) {
        smtp_refuse(s, 501, ESC(5, 1, 3), "bad recipient address: %s", f.text);
        return;
    }
    if (!smtp_params_rcpt(s, arguments, &rcpt))
        return;
    if (rcpt.forward_path.is_utf8 && !s->mail.is_utf8) {
        smtp_refuse(s, 553, ESC(5, 6, 7), "this address needs SMTPUTF8");
        return;
    }
    if (s->rcpt_count >= recipients_max(s)) {
        smtp_reply(s, 452, ESC(4, 5, 3), "too many recipients");            /* RFC 5321 4.5.3.1.10 */
        return;
    }
    s->rcpt = rcpt;
    smtp_ask_set(s, SMTP_ASK_RCPT);
    s->ask.mail = &s->mail;
    s->ask.rcpt = &s->rcpt;
}

static void rcpt_answered(struct smtp_server *s, enum rc rc, const struct fault *f)
{
    if (rc == RC_OK && s->rcpt_count == 0 &&
        address_copy(&s->rcpt.forward_path, &s->transaction, &s->first_rcpt) != RC_OK)
        rc = RC_TEMP;
    if (rc != RC_OK) {
        smtp_reply_fault(s, rc, f, 550);
        s->errors += rc != RC_TEMP && s->rcpt_count == 0;   /* lists age: not who also has good recipients */
        return;
    }
    s->rcpt_count++;
    smtp_reply(s, 250, ESC(2, 1, 5), "recipient taken");
}

static void on_rset(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    smtp_transaction_abandon(s);
    smtp_reply(s, 250, ESC(2, 0, 0), "reset");
}

static void on_noop(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    smtp_reply(s, 250, ESC(2, 0, 0), "ok");
}

static void on_quit(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    smtp_reply(s, 221, ESC(2, 0, 0), "bye");
    smtp_close(s);
}

/* RFC 5321 3.5: a person may be asked for by name alone, which we do not answer. */
static void on_vrfy(struct smtp_server *s, struct slice arguments)
{
    static const char utf8[] = " SMTPUTF8";                 /* RFC 6531 3.7.4 */
    struct fault f;
    if (slice_ends_nocase(arguments, SLICE(utf8)))
        arguments = slice_trim(slice_sub(arguments, 0, arguments.len - (sizeof utf8 - 1)));
    s->rcpt = (struct smtp_rcpt){ 0 };
    bool is_path = arguments.len > 0 && arguments.ptr[0] == '<';
    enum rc rc = is_path ? address_parse_path(&arguments, false, &s->scratch, &s->rcpt.forward_path, &f)
                         : address_parse(arguments, &s->scratch, &s->rcpt.forward_path, &f);
    if (rc != RC_OK || (is_path && arguments.len > 0)) {
        smtp_reply(s, 252, ESC(2, 5, 0), "cannot verify that, send and see");
        return;
    }
    smtp_ask_set(s, SMTP_ASK_VRFY);
    s->ask.rcpt = &s->rcpt;
}

static void vrfy_answered(struct smtp_server *s, enum rc rc, const struct fault *f)
{
    if (rc == RC_TEMP || rc == RC_PERM) {
        smtp_reply_fault(s, rc, f, 550);
        s->errors += rc == RC_PERM;
    } else if (rc == RC_NONE || s->rcpt.forward_path.is_utf8) {
        smtp_reply(s, 252, ESC(2, 5, 0), "cannot verify that, send and see");
    } else {
        struct buf path;
        buf_init(&path, 2 * PATH_MAX_BYTES + 8);
        address_write_path(&s->rcpt.forward_path, &path);
        smtp_reply(s, 250, ESC(2, 1, 5), "%.*s", SLICE_ARG(buf_slice(&path)));
        buf_free(&path);
    }
}

static void on_expn(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    smtp_refuse(s, 502, ESC(5, 5, 1), "EXPN is not offered");
}

static void on_starttls(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    if (s->peer->has_tls) {
        smtp_refuse(s, 503, ESC(5, 5, 1), "TLS is active already");
    } else if (!s->options->offers_tls) {
        smtp_refuse(s, 502, ESC(5, 5, 1), "STARTTLS is not offered");
    } else {
        smtp_transaction_abandon(s);
        smtp_reply(s, 220, ESC(2, 0, 0), "go ahead with TLS");
        s->wants_tls = true;
    }
}

/* Cross-protocol attacks make a browser speak to us: not a word more to those. */
static void on_http(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    smtp_reply(s, 421, ESC(4, 7, 0), "this is a mail server");
    smtp_close(s);
}

static void on_help(struct smtp_server *s, struct slice arguments);

/* ---- the table of verbs ---- */

enum {
    FACE_SMTP = 1 << SMTP_MX | 1 << SMTP_SUBMISSION,
    FACE_LMTP = 1 << SMTP_LMTP,
    FACE_ALL = FACE_SMTP | FACE_LMTP,
};
enum verb_rule { ANY_TIME, AFTER_HELO };
enum verb_arguments { NO_ARGUMENTS, MAY_HAVE_ARGUMENTS, NEEDS_ARGUMENTS };

static const struct verb {
    const char *name;
    int faces;
    enum verb_rule when;
    enum verb_arguments arguments;
    void (*run)(struct smtp_server *, struct slice arguments);
} verbs[] = {
    /* Another transaction state than these rules say is each verb's own matter. */
    { "HELO",     FACE_SMTP, ANY_TIME,   NEEDS_ARGUMENTS,    on_helo },         /* RFC 5321 4.1.1.1 */
    { "EHLO",     FACE_SMTP, ANY_TIME,   NEEDS_ARGUMENTS,    on_ehlo },
    { "LHLO",     FACE_LMTP, ANY_TIME,   NEEDS_ARGUMENTS,    on_ehlo },         /* RFC 2033 4.1 */
    { "MAIL",     FACE_ALL,  AFTER_HELO, NEEDS_ARGUMENTS,    on_mail },         /* RFC 5321 4.1.1.2 */
    { "RCPT",     FACE_ALL,  AFTER_HELO, NEEDS_ARGUMENTS,    on_rcpt },         /* RFC 5321 4.1.1.3 */
    { "DATA",     FACE_ALL,  AFTER_HELO, NO_ARGUMENTS,       smtp_on_data },    /* RFC 5321 4.1.1.4 */
    { "BDAT",     FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, smtp_on_bdat },    /* RFC 3030 2: its chunk follows always */
    { "RSET",     FACE_ALL,  ANY_TIME,   NO_ARGUMENTS,       on_rset },         /* RFC 5321 4.1.1.5 */
    { "VRFY",     FACE_ALL,  ANY_TIME,   NEEDS_ARGUMENTS,    on_vrfy },         /* RFC 5321 4.1.1.6 */
    { "EXPN",     FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_expn },         /* RFC 5321 4.1.1.7 */
    { "HELP",     FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_help },         /* RFC 5321 4.1.1.8 */
    { "NOOP",     FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_noop },         /* RFC 5321 4.1.1.9 */
    { "QUIT",     FACE_ALL,  ANY_TIME,   NO_ARGUMENTS,       on_quit },         /* RFC 5321 4.1.1.10 */
    { "STARTTLS", FACE_ALL,  AFTER_HELO, NO_ARGUMENTS,       on_starttls },     /* RFC 3207 4 */
    { "AUTH",     FACE_ALL,  AFTER_HELO, NEEDS_ARGUMENTS,    smtp_on_auth },    /* RFC 4954 4 */
    { "GET",      FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_http },
    { "POST",     FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_http },
    { "PUT",      FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_http },
    { "HEAD",     FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_http },
    { "OPTIONS",  FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_http },
    { "CONNECT",  FACE_ALL,  ANY_TIME,   MAY_HAVE_ARGUMENTS, on_http },
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static bool is_of_face(const struct smtp_server *s, const struct verb *verb)
{
    return (verb->faces & 1 << s->options->face) != 0;
}

static void on_help(struct smtp_server *s, struct slice arguments)
{
    (void)arguments;
    struct buf names;
    buf_init(&names, SMTP_REPLY_TEXT_MAX);
    for (size_t i = 0; i < VERBS; i++)
        if (is_of_face(s, &verbs[i]) && verbs[i].run != on_http && verbs[i].run != on_expn)
            buf_printf(&names, " %s", verbs[i].name);
    smtp_reply(s, 214, ESC(2, 0, 0), "commands:%.*s", SLICE_ARG(buf_slice(&names)));
    buf_free(&names);
}

static const struct verb *find_verb(const struct smtp_server *s, struct slice word)
{
    for (size_t i = 0; i < VERBS; i++)
        if (is_of_face(s, &verbs[i]) && slice_equal_nocase(word, slice_from_str(verbs[i].name)))
            return &verbs[i];
    return NULL;
}

static void run_command(struct smtp_server *s, struct slice line)
{
    struct slice arguments = line, word = slice_take_until(&arguments, ' ');
    const struct verb *verb = find_verb(s, word);
    if (verb == NULL) {
        smtp_refuse(s, 500, ESC(5, 5, 2), "unknown command");
        return;
    }
    if (line.len > SMTP_LINE_MAX && verb->run != smtp_on_auth) {
        smtp_refuse(s, 500, ESC(5, 5, 2), "line too long");
        return;
    }
    arguments = slice_trim(arguments);
    if (verb->when == AFTER_HELO && s->helo[0] == '\0')
        smtp_refuse(s, 503, ESC(5, 5, 1), "%s first", s->options->face == SMTP_LMTP ? "LHLO" : "EHLO");
    else if (verb->arguments == NEEDS_ARGUMENTS && arguments.len == 0)
        smtp_refuse(s, 501, ESC(5, 5, 4), "%s needs an argument", verb->name);
    else if (verb->arguments == NO_ARGUMENTS && arguments.len > 0)
        smtp_refuse(s, 501, ESC(5, 5, 4), "%s takes no argument", verb->name);
    else
        verb->run(s, arguments);
}

/* ---- greeting ---- */

static void write_extensions(struct smtp_server *s)
{
    struct buf *out = &s->output;
    static const char *const always[] = {
        "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME", "DSN",
    };
    buf_printf(out, "250-%.*s\r\n", SLICE_ARG(s->options->host_name));
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        buf_printf(out, "250-%s\r\n", always[i]);
    if (s->options->offers_tls && !s->peer->has_tls)
        buf_append_str(out, "250-STARTTLS\r\n");
    if (smtp_auth_is_offered(s)) {
        buf_append_str(out, "250-AUTH");
        smtp_auth_list(s, out);
        buf_append_str(out, "\r\n");
    }
    buf_printf(out, "250 SIZE %llu\r\n", (unsigned long long)s->options->size_max);
}

/* What clients call themselves is seldom a domain name (RFC 5321 4.1.4: not to be refused for that). It will stand in a
 * comment of Received and in logs, so bytes with a meaning there are masked. */
static bool take_helo(struct smtp_server *s, struct slice name)
{
    name = slice_take_until(&name, ' ');
    if (name.len > SMTP_HELO_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char byte = name.ptr[i];
        bool is_plain = byte > ' ' && byte < 0x7f && slice_find_byte(SLICE("()<>,;\\\"@"), byte) == 9;
        s->helo[i] = is_plain ? byte : '?';
    }
    s->helo[name.len] = '\0';
    return true;
}

static void greet(struct smtp_server *s, struct slice name, bool is_extended)
{
    if (!take_helo(s, name)) {
        smtp_refuse(s, 501, ESC(5, 5, 4), "name too long");
        return;
    }
    s->is_extended = is_extended;
    smtp_transaction_abandon(s);                /* RFC 5321 4.1.4: as if RSET */
    if (is_extended)
        write_extensions(s);
    else
        buf_printf(&s->output, "250 %.*s\r\n", SLICE_ARG(s->options->host_name));
}

/* ---- stages ---- */

static bool stage_greeting(struct smtp_server *s, struct slice *in)
{
    (void)in;
    buf_printf(&s->output, "220 %.*s %s\r\n", SLICE_ARG(s->options->host_name),
               s->options->face == SMTP_LMTP ? "LMTP" : "ESMTP");
    s->stage = STAGE_COMMAND;
    return true;
}

static bool stage_command(struct smtp_server *s, struct slice *in)
{
    struct slice line;
    if (s->errors >= SMTP_ERRORS_MAX) {
        smtp_reply(s, 421, ESC(4, 7, 0), "too many errors");
        smtp_close(s);
        return true;
    }
    arena_rewind(&s->scratch);
    switch (line_read(&s->lines, in, &line)) {
    case LINE_NONE:     return false;
    case LINE_TOO_LONG: smtp_refuse(s, 500, ESC(5, 5, 2), "line too long"); break;
    case LINE_BARE:     smtp_refuse(s, 500, ESC(5, 5, 2), "bare CR, LF or NUL in a command"); break;
    case LINE_WHOLE:    run_command(s, line); break;
    }
    return true;
}

/* False: more input is needed. */
static bool (*const stages[STAGES])(struct smtp_server *, struct slice *in) = {
    [STAGE_GREETING] = stage_greeting,
    [STAGE_COMMAND] = stage_command,
    [STAGE_AUTH] = smtp_stage_auth,
    [STAGE_DATA] = smtp_stage_data,
    [STAGE_CHUNK] = smtp_stage_chunk,
};

/* False: the output is near its limit. */
static bool has_room(struct smtp_server *s)
{
    size_t used = buf_len(&s->output);
    size_t room = used < SMTP_OUTPUT_MAX - SMTP_REPLY_ROOM ? SMTP_OUTPUT_MAX - SMTP_REPLY_ROOM - used : 0;
    struct slice waiting = buf_slice(&s->replies), part = slice_sub(waiting, 0, room);
    if (part.len > 0) {
        buf_append(&s->output, part);
        buf_consume(&s->replies, part.len);
        room -= part.len;
    }
    return room > 0 && buf_len(&s->replies) == 0;
}

/* A message that is there to its last byte is still brought to its end. */
static void stop(struct smtp_server *s)
{
    bool is_in_body = s->stage == STAGE_DATA || s->stage == STAGE_CHUNK;
    if (s->stage == STAGE_CLOSED || (is_in_body && s->in.is_at_end))
        return;
    if (!is_in_body && !s->wants_tls)
        smtp_reply(s, 421, ESC(4, 3, 2), "%s", s->stop_text);
    smtp_close(s);
}

enum want smtp_server_step(struct smtp_server *s, struct slice *in, struct mail_date now)
{
    s->now = now;
    for (;;) {
        if (s->ask.kind != SMTP_ASK_NONE)
            return WANT_ANSWER;
        if (!has_room(s))
            return WANT_FLUSH;
        if (s->stop_text[0] != '\0')
            stop(s);
        if (s->stage == STAGE_CLOSED)
            return s->ask.kind == SMTP_ASK_NONE ? WANT_CLOSE : WANT_ANSWER;
        if (s->wants_tls) {
            slice_take(in, in->len);        /* RFC 3207 4.2: nothing said in the clear counts */
            return WANT_TLS;
        }
        if (!stages[s->stage](s, in))
            return WANT_INPUT;
    }
}

void smtp_server_answer(struct smtp_server *s, enum rc rc, const struct fault *f, struct slice id)
{
    enum smtp_ask_kind kind = s->ask.kind;
    must(kind != SMTP_ASK_NONE && kind != SMTP_ASK_AUTH);
    smtp_ask_set(s, SMTP_ASK_NONE);
    switch (kind) {
    case SMTP_ASK_MAIL:    mail_answered(s, rc, f, id); break;
    case SMTP_ASK_RCPT:    rcpt_answered(s, rc, f); break;
    case SMTP_ASK_VRFY:    vrfy_answered(s, rc, f); break;
    case SMTP_ASK_BODY:    smtp_body_answered(s, rc, f); break;
    case SMTP_ASK_COMMIT:  smtp_commit_answered(s, rc, f); break;
    case SMTP_ASK_ABANDON: break;
    case SMTP_ASK_NONE:
    case SMTP_ASK_AUTH:    break;
    }
}

void smtp_server_tls_started(struct smtp_server *s)
{
    must(s->wants_tls);
    s->wants_tls = false;
    s->helo[0] = s->user[0] = '\0';
    s->is_extended = false;
    line_reader_init(&s->lines, SMTP_AUTH_LINE_MAX);
}

void smtp_server_stop(struct smtp_server *s, const char *text)
{
    if (s->stop_text[0] != '\0' || text[0] == '\0')
        return;
    struct slice whole = slice_from_str(text);
    slice_to_str(slice_sub(whole, 0, sizeof s->stop_text - 1), s->stop_text, sizeof s->stop_text);
}

const struct smtp_ask *smtp_server_ask(const struct smtp_server *s) { return &s->ask; }
struct buf *smtp_server_output(struct smtp_server *s) { return &s->output; }
bool smtp_server_is_idle(const struct smtp_server *s) { return !s->has_mail && s->ask.kind == SMTP_ASK_NONE; }
struct slice smtp_server_user(const struct smtp_server *s) { return slice_from_str(s->user); }
struct slice smtp_server_helo(const struct smtp_server *s) { return slice_from_str(s->helo); }
