/* The IMAP session as a machine: see session.h and inner.h.
 *
 * RFC 3501 2.2: commands are taken one after another, in order; what a client sends ahead waits in the input. */
#include "imap/inner.h"

#include <stdlib.h>

enum {
    OUTPUT_SOON = IMAP_OUTPUT_MAX / 2,
    SCRATCH_MAX = 16 * 1024 * 1024,
    LIFETIME_MAX = 16 * 1024,
    KEPT_MAX = 8 * 1024,                        /* of output buffers, while the client says nothing */
    TIMEOUT_S = 30 * 60,                        /* RFC 3501 5.4 */
};

struct imap_session *imap_session_new(const struct imap_session_options *options)
{
    struct imap_session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->options = *options;
    arena_init(&s->lifetime, LIFETIME_MAX);
    s->account_name = arena_copy(&s->lifetime, options->account_name);
    s->host_name = arena_copy(&s->lifetime, options->host_name);
    s->tag = arena_copy(&s->lifetime, options->tag);
    imap_input_init(&s->input, IMAP_LINE_MAX, IMAP_COMMAND_MAX);
    buf_init(&s->text, IMAP_TEXT_MAX);
    buf_init(&s->out, IMAP_OUTPUT_MAX);
    buf_init(&s->scratch, SCRATCH_MAX);
    arena_init(&s->arena, IMAP_ARENA_MAX);
    arena_init(&s->scratch_arena, SCRATCH_MAX);
    arena_init(&s->work_arena, IMAP_WORK_MAX);
    arena_init(&s->selected.keyword_arena, KEYWORDS_MAX * (KEYWORD_BYTES_MAX + 1));
    imap_message_init(&s->message, options->store);
    uid_set_init(&s->seqs);
    uid_set_init(&s->uids);
    uid_set_init(&s->from_uids);
    uid_set_init(&s->to_uids);
    uid_set_init(&s->modified);
    uid_set_init(&s->selected.saved);
    return s;
}

void imap_session_free(struct imap_session *s)
{
    if (s == NULL)
        return;
    imap_append_abandon(s);
    imap_deselect(s);
    imap_message_free(&s->message);
    uid_set_free(&s->seqs);
    uid_set_free(&s->uids);
    uid_set_free(&s->from_uids);
    uid_set_free(&s->to_uids);
    uid_set_free(&s->modified);
    buf_free(&s->scratch);
    buf_free(&s->text);
    buf_free(&s->out);
    imap_input_free(&s->input);
    arena_free(&s->arena);
    arena_free(&s->scratch_arena);
    imap_threads_forget(s);
    arena_free(&s->work_arena);
    arena_free(&s->selected.keyword_arena);
    arena_free(&s->lifetime);
    free(s);
}

struct buf *imap_session_output(struct imap_session *s) { return &s->out; }
uint64_t imap_session_wait(const struct imap_session *s) { return s->wait; }

unsigned imap_session_timeout_s(const struct imap_session *s)
{
    (void)s;
    return TIMEOUT_S;
}

void imap_session_answer(struct imap_session *s, enum rc settled)
{
    must(s->is_waiting && settled != RC_MORE);
    s->is_waiting = false;
    s->settled = settled;
}

/* ---- one command ---------------------------------------------------------------------------------------------------- */

static void end_command(struct imap_session *s)
{
    imap_append_abandon(s);
    s->resume = NULL;
    s->job = NULL;
    s->command = NULL;
    s->is_uid = false;
    s->tag = SLICE_NONE;
    arena_rewind(&s->arena);
    imap_message_free(&s->message);
    uid_set_free(&s->seqs);
    uid_set_free(&s->uids);
    uid_set_free(&s->from_uids);
    uid_set_free(&s->to_uids);
    uid_set_free(&s->modified);
    buf_free(&s->scratch);
    imap_threads_forget(s);
    arena_free(&s->work_arena);
    arena_free(&s->scratch_arena);
    imap_input_reset(&s->input);
}

static void run(struct imap_session *s, imap_run *step)
{
    enum imap_next next = step(s);
    if (next == IMAP_DONE)
        end_command(s);
    s->is_waiting = next == IMAP_WAIT;
}

static unsigned state_of(const struct imap_session *s)
{
    return s->selected.view != NULL ? IMAP_SELECTED : IMAP_AUTHENTICATED;
}

/* "UID" makes the next word's command mean UIDs. */
static bool take_command(struct imap_session *s, const char **error)
{
    struct slice name;
    *error = "the command's name is missing";
    if (!imap_parse_atom(&s->args, &name))
        return false;
    s->is_uid = slice_equal_nocase(name, SLICE("UID"));
    if (s->is_uid && (!imap_parse_space(&s->args) || !imap_parse_atom(&s->args, &name)))
        return false;
    s->command = imap_command_find(name);
    *error = "there is no such command";
    if (s->command == NULL || (s->is_uid && !s->command->has_uid_form))
        return false;
    *error = "no mailbox is selected";
    return (s->command->states & state_of(s)) != 0;
}

/* RFC 3501 7.1.3: without a tag nobody can tell which command was wrong, so that is said untagged. */
static void on_command(struct imap_session *s)
{
    const char *error;
    imap_parser_init(&s->args, buf_slice(&s->input.text), &s->arena);
    s->args.is_utf8 = s->is_utf8;
    if (!imap_parse_tag(&s->args, &s->tag) || !imap_parse_space(&s->args)) {
        if (s->args.in.len > 0)
            s->tag = SLICE_NONE;
        (void)imap_bad(s, "a tag and a command were expected");
        end_command(s);
    } else if (!take_command(s, &error)) {
        (void)imap_bad(s, error);
        end_command(s);
    } else {
        run(s, s->command->run);
    }
}

static void refuse(struct imap_session *s, const char *why)
{
    s->tag = imap_input_tag(&s->input);
    (void)imap_bad(s, why);
    end_command(s);
}

/* A literal is announced: of a message that is appended, or one that is kept in the command, or one too many. */
static void on_literal(struct imap_session *s)
{
    struct imap_input *input = &s->input;
    enum imap_append_literal append = input->refused == NULL ? imap_append_begin(s) : IMAP_APPEND_OTHER;
    bool is_too_long = input->refused != NULL || input->literal_bytes > IMAP_LITERAL_MAX
                       || input->literal_bytes + buf_len(&input->text) > IMAP_COMMAND_MAX;
    if (append == IMAP_APPEND_REFUSED) {
        end_command(s);                         /* answered; the client was waiting for "+" and does not send it */
        return;
    }
    if (append == IMAP_APPEND_OTHER && is_too_long && input->is_synchronising) {
        refuse(s, input->refused != NULL ? input->refused : "literal too long");
        return;
    }
    if (append == IMAP_APPEND_TAKEN)
        imap_input_stream(input);
    else if (is_too_long)
        imap_input_skip(input);
    else
        imap_input_take(input);
    if (input->is_synchronising)
        imap_say(s, "+ Ready\r\n");
}

/* RFC 2177: the only thing that ends IDLE is DONE. */
static void on_idle_line(struct imap_session *s, enum imap_input_kind kind)
{
    s->is_idling = false;
    s->tag = slice_from_str(s->idle_tag);
    if (s->selected.view != NULL)
        store_view_watch(s->selected.view, NULL, NULL);
    bool is_done = kind == IMAP_INPUT_COMMAND && slice_equal_nocase(buf_slice(&s->input.text), SLICE("DONE"));
    (void)(is_done ? imap_ok(s, "IDLE ended") : imap_bad(s, "DONE was expected"));
    end_command(s);
}

static bool read_append(struct imap_session *s, struct slice *in)
{
    while (s->input.is_streaming && s->input.literal_left > 0) {
        struct slice piece = imap_input_streamed(&s->input, in);
        if (piece.len == 0)
            return false;
        imap_append_bytes(s, piece);
        if (store_is_behind(s->options.store, &s->wait)) {      /* the client waits with the disk */
            s->is_waiting = true;
            return false;
        }
    }
    return true;
}

/* False: nothing more can be done without input. */
static bool read_input(struct imap_session *s, struct slice *in)
{
    if (!read_append(s, in))
        return false;
    enum imap_input_kind kind = imap_input_read(&s->input, in);
    if (kind == IMAP_INPUT_NONE)
        return false;
    if (s->is_idling)
        on_idle_line(s, kind);
    else if (kind == IMAP_INPUT_LITERAL)
        on_literal(s);
    else if (kind == IMAP_INPUT_REFUSED)
        refuse(s, s->input.refused);
    else
        on_command(s);
    return true;
}

/* ---- the machine -------------------------------------------------------------------------------------------------- */

/* The tagged OK of the login command (imap/login.h), with what can be done from here on. */
static void greet(struct imap_session *s)
{
    s->has_greeted = true;
    if (!store_account_exists(s->options.store, s->options.account)) {
        (void)imap_no(s, "UNAVAILABLE", "the mailbox of this account is not there");
        imap_bye(s, "good bye");
    } else {
        struct buf code;
        buf_init(&code, 1024);
        buf_append_str(&code, "CAPABILITY ");
        imap_write_capabilities(&code);
        (void)imap_finish(s, "OK", buf_slice(&code), "logged in");
        buf_free(&code);
    }
    end_command(s);
}

static void move_output(struct imap_session *s)
{
    size_t room = OUTPUT_SOON > buf_len(&s->out) ? OUTPUT_SOON - buf_len(&s->out) : 0;
    struct slice text = slice_sub(buf_slice(&s->text), 0, room);
    if (!buf_append(&s->out, text)) {
        s->is_closing = true;                   /* out of memory */
        return;
    }
    buf_consume(&s->text, text.len);
}

/* An idle session holds little memory: what a long answer needed goes back when it has been sent. */
static enum want wait_for_input(struct imap_session *s)
{
    if (s->text.cap > KEPT_MAX)
        buf_free(&s->text);
    if (s->out.cap <= KEPT_MAX)
        return WANT_INPUT;
    if (buf_len(&s->out) > 0)
        return WANT_FLUSH;
    buf_free(&s->out);
    return WANT_INPUT;
}

/* In the middle of an answer a BYE would be taken for a part of it. */
void imap_session_stop(struct imap_session *s, const char *text)
{
    if (s->resume == NULL)
        imap_bye(s, text);
    s->is_closing = true;
    move_output(s);
}

static enum want step(struct imap_session *s, struct slice *in, struct mail_date now)
{
    s->now = now;
    if (!s->has_greeted)
        greet(s);
    if (s->is_idling)
        imap_updates(s, true);
    for (bool is_a_turn = false;;) {                /* a command has run, or a piece of a long one: others want theirs too */
        if (s->text.overflow && !s->is_closing)
            s->is_closing = true;               /* an answer with a hole in it would be worse than none */
        move_output(s);
        if (buf_len(&s->text) > 0 || buf_len(&s->out) >= OUTPUT_SOON)
            return WANT_FLUSH;
        if (s->is_closing)
            return WANT_CLOSE;
        if (s->is_waiting)
            return WANT_ANSWER;
        if (is_a_turn)
            return WANT_FLUSH;
        if (s->resume != NULL)
            run(s, s->resume);
        else if (!read_input(s, in) && !s->is_waiting)
            return wait_for_input(s);
        is_a_turn = (s->resume != NULL && !s->is_waiting) || buf_len(&s->text) > 0;
    }
}

enum want imap_session_step(struct imap_session *s, struct slice *in, struct mail_date now)
{
    enum want want = step(s, in, now);
    store_handling_end(s->options.store);
    return want;
}
