/* Tagged and untagged responses of a session: see inner.h. */
#include "imap/inner.h"

void imap_say(struct imap_session *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)buf_vprintf(&s->text, format, args);
    va_end(args);
}

void imap_say_name(struct imap_session *s, struct slice mailbox)
{
    (void)(s->is_utf8 ? imap_write_utf8(&s->text, mailbox) : imap_write_mailbox(&s->text, mailbox));
}

void imap_bye(struct imap_session *s, const char *text)
{
    if (!s->is_closing)
        imap_say(s, "* BYE %s\r\n", text);
    s->is_closing = true;
}

bool imap_is_enough(const struct imap_session *s, unsigned work)
{
    return buf_len(&s->text) >= IMAP_TEXT_SOON || work >= IMAP_WORK_UNITS;
}

bool imap_is_expunge_allowed(const struct imap_session *s)
{
    return s->command == NULL || s->is_uid || !s->command->keeps_numbers;
}

static void say_tagged(struct imap_session *s, const char *status, struct slice code, const char *text)
{
    (void)buf_append(&s->text, s->tag.len == 0 ? SLICE("*") : s->tag);
    imap_say(s, " %s ", status);
    if (code.len > 0) {
        (void)buf_append_byte(&s->text, '[');
        (void)buf_append(&s->text, code);
        (void)buf_append_str(&s->text, "] ");
    }
    imap_say(s, "%s\r\n", text);
}

enum imap_next imap_finish(struct imap_session *s, const char *status, struct slice code, const char *text)
{
    imap_updates(s, imap_is_expunge_allowed(s));
    say_tagged(s, status, code, text);
    s->errors = 0;
    return IMAP_DONE;
}

enum imap_next imap_ok(struct imap_session *s, const char *text) { return imap_finish(s, "OK", SLICE_NONE, text); }

enum imap_next imap_no(struct imap_session *s, const char *code, const char *text)
{
    return imap_finish(s, "NO", slice_from_str(code), text);
}

/* RFC 5530. */
static const char *code_of(enum rc rc, uint32_t esc)
{
    if (ESC_SUBJECT(esc) == 2 && ESC_DETAIL(esc) == 2)
        return "OVERQUOTA";
    if (rc == RC_TEMP)
        return "UNAVAILABLE";
    return rc == RC_NONE ? "NONEXISTENT" : "CANNOT";
}

enum imap_next imap_no_fault(struct imap_session *s, enum rc rc, const struct fault *f)
{
    return imap_no(s, code_of(rc, f->esc), f->text[0] != '\0' ? f->text : "that is not possible");
}

enum imap_next imap_bad(struct imap_session *s, const char *text)
{
    say_tagged(s, "BAD", SLICE_NONE, text);
    if (++s->errors >= IMAP_ERRORS_MAX)
        imap_bye(s, "too many bad commands");
    return IMAP_DONE;
}

enum imap_next imap_bad_syntax(struct imap_session *s)
{
    return imap_bad(s, s->args.error != NULL ? s->args.error : "syntax error");
}

enum imap_next imap_unsettled(struct imap_session *s)
{
    return imap_no(s, "UNAVAILABLE", "the change could not be written, try again later");
}

enum imap_next imap_wait(struct imap_session *s, uint64_t wait, imap_run *then)
{
    s->wait = wait;
    s->resume = then;
    return IMAP_WAIT;
}

enum imap_next imap_again(struct imap_session *s, imap_run *then)
{
    s->resume = then;
    return IMAP_AGAIN;
}
