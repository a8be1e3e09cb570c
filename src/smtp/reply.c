/* Replies (RFC 5321 4.2, enhanced status codes of RFC 2034 in all of them), and what reply a fault becomes. */
#include "smtp/session.h"

#include <stdio.h>

/* LMTP's outcomes may be more than the output has room for: then they wait in `replies`, and so does all behind them. */
static struct buf *reply_place(struct smtp_server *s)
{
    bool has_room = buf_len(&s->replies) == 0 && buf_len(&s->output) < SMTP_OUTPUT_MAX - SMTP_REPLY_ROOM / 2;
    return has_room ? &s->output : &s->replies;
}

__attribute__((format(printf, 5, 0)))
static void write_reply(struct buf *out, int code, uint32_t esc, bool has_esc, const char *format, va_list args)
{
    char text[SMTP_REPLY_TEXT_MAX];
    if (vsnprintf(text, sizeof text, format, args) < 0)
        text[0] = '\0';
    for (char *at = text; *at != '\0'; at++)        /* whatever was formatted in: one printable line goes out */
        if (*at < 0x20 || *at > 0x7e)
            *at = '?';
    if (has_esc)
        buf_printf(out, "%d %u.%u.%u %s\r\n", code, ESC_CLASS(esc), ESC_SUBJECT(esc), ESC_DETAIL(esc), text);
    else
        buf_printf(out, "%d %s\r\n", code, text);
}

void smtp_reply(struct smtp_server *s, int code, uint32_t esc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_reply(reply_place(s), code, esc, esc != 0, format, args);
    va_end(args);
}

void smtp_refuse(struct smtp_server *s, int code, uint32_t esc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_reply(reply_place(s), code, esc, esc != 0, format, args);
    va_end(args);
    s->errors++;
}

/* Statuses that have a reply code of their own; RFC 5248 2.4 and the RFC that names each. */
static const struct code_row {
    uint32_t esc;
    int code;
} codes[] = {
    { ESC(5, 1, 1), 550 }, { ESC(5, 1, 2), 550 }, { ESC(5, 1, 3), 501 }, { ESC(5, 1, 6), 551 },
    { ESC(5, 1, 7), 501 }, { ESC(5, 1, 8), 550 }, { ESC(5, 1, 10), 556 },   /* RFC 7505 4.2 */
    { ESC(5, 2, 1), 550 }, { ESC(5, 2, 2), 552 }, { ESC(5, 2, 3), 552 },
    { ESC(5, 3, 4), 552 },                                                  /* RFC 1870 6.1 */
    { ESC(5, 4, 6), 554 },
    { ESC(5, 5, 1), 503 }, { ESC(5, 5, 2), 501 }, { ESC(5, 5, 4), 501 },
    { ESC(5, 6, 3), 554 }, { ESC(5, 6, 7), 553 }, { ESC(5, 6, 11), 550 },   /* RFC 6531 3.5; RFC 7293 */
    { ESC(5, 7, 0), 550 }, { ESC(5, 7, 1), 550 }, { ESC(5, 7, 8), 535 },    /* RFC 4954 6 */
    { ESC(4, 2, 2), 452 }, { ESC(4, 3, 1), 452 }, { ESC(4, 5, 3), 452 },
    { ESC(4, 2, 1), 450 }, { ESC(4, 7, 1), 450 }, { ESC(4, 1, 1), 450 }, { ESC(4, 7, 0), 451 },
};

int smtp_code_of(enum rc rc, uint32_t esc, int otherwise_code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].esc == esc)
            return codes[i].code;
    return rc == RC_TEMP ? 451 : otherwise_code;
}

/* The class of a status has to agree with the reply code (RFC 2034 4). */
static uint32_t esc_for(enum rc rc, uint32_t esc)
{
    uint32_t class = rc == RC_TEMP ? 4 : 5;
    if (esc == 0)
        return rc == RC_TEMP ? ESC(4, 3, 0) : ESC(5, 0, 0);
    return ESC(class, ESC_SUBJECT(esc), ESC_DETAIL(esc));
}

void smtp_reply_coded(struct smtp_server *s, int code, enum rc rc, const struct fault *f)
{
    const char *text = f != NULL && f->text[0] != '\0' ? f->text : rc == RC_TEMP ? "try again later" : "refused";
    smtp_reply(s, code, esc_for(rc, f != NULL ? f->esc : 0), "%s", text);
}

void smtp_reply_fault(struct smtp_server *s, enum rc rc, const struct fault *f, int otherwise_code)
{
    uint32_t esc = esc_for(rc, f != NULL ? f->esc : 0);
    smtp_reply_coded(s, smtp_code_of(rc, esc, otherwise_code), rc, f);
}
