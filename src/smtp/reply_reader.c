/* Reads replies: see reply_reader.h. */
#include "smtp/reply_reader.h"

void smtp_reply_reader_init(struct smtp_reply_reader *r)
{
    *r = (struct smtp_reply_reader){ .code = 0 };
    line_reader_init(&r->lines, REPLY_LINE_MAX);
    buf_init(&r->text, REPLY_TEXT_KEPT_MAX);
}

void smtp_reply_reader_free(struct smtp_reply_reader *r)
{
    buf_free(&r->text);
}

/* "250-text", "250 text" or "250". */
static bool parse_line(struct slice *line, int *code, bool *is_last)
{
    uint64_t value;
    struct slice digits = slice_take(line, 3);
    if (digits.len < 3 || !slice_take_number(&digits, 599, &value) || digits.len > 0 || value < 200)
        return false;
    *code = (int)value;
    *is_last = line->len == 0 || line->ptr[0] == ' ';
    if (!*is_last && line->ptr[0] != '-')
        return false;
    slice_take(line, 1);
    return true;
}

/* RFC 2034 4: class agrees with the code, digits and dots, then a space. */
static uint32_t parse_esc(int code, struct slice text)
{
    uint64_t class, subject, detail;
    uint32_t fallback = ESC(code / 100, 0, 0);
    if (!slice_take_number(&text, 5, &class) || (int)class != code / 100 || !slice_take_byte(&text, '.') ||
        !slice_take_number(&text, 999, &subject) || !slice_take_byte(&text, '.') ||
        !slice_take_number(&text, 999, &detail) || (text.len > 0 && text.ptr[0] != ' ' && text.ptr[0] != '\n'))
        return fallback;
    return ESC(class, subject, detail);
}

static void keep_text(struct smtp_reply_reader *r, struct slice text)
{
    if (r->line_count > 1)
        buf_append_byte(&r->text, '\n');
    buf_append(&r->text, slice_sub(text, 0, REPLY_TEXT_KEPT_MAX - buf_len(&r->text)));
}

static enum rc take_line(struct smtp_reply_reader *r, struct slice line)
{
    int code;
    bool is_last;
    if (!parse_line(&line, &code, &is_last) || (r->code != 0 && code != r->code) || ++r->line_count > REPLY_LINES_MAX)
        return RC_PERM;
    r->code = code;
    keep_text(r, line);
    return is_last ? RC_OK : RC_MORE;
}

enum rc smtp_reply_read(struct smtp_reply_reader *r, struct slice *in, struct smtp_reply *reply)
{
    if (r->is_complete) {
        r->is_complete = false;
        r->code = 0;
        r->line_count = 0;
        buf_clear(&r->text);
    }
    for (;;) {
        struct slice line;
        enum line_kind kind = line_read(&r->lines, in, &line);
        if (kind == LINE_NONE)
            return RC_MORE;
        enum rc rc = kind == LINE_WHOLE ? take_line(r, line) : RC_PERM;
        if (rc == RC_MORE)
            continue;
        r->is_complete = true;
        if (rc == RC_OK)
            *reply = (struct smtp_reply){ r->code, parse_esc(r->code, buf_slice(&r->text)), buf_slice(&r->text) };
        return rc;
    }
}

enum rc smtp_reply_rc(const struct smtp_reply *reply)
{
    static const enum rc by_class[] = { [2] = RC_OK, [3] = RC_MORE, [4] = RC_TEMP, [5] = RC_PERM };
    return by_class[reply->code / 100];
}
