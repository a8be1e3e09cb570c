/* mbox files: see mbox.h. */
#include "mail/mbox.h"

#include "mail/date.h"

enum { FROM_LINE_MAX = 1000 };

void mbox_reader_init(struct mbox_reader *r)
{
    *r = (struct mbox_reader){ .is_behind_empty_line = true };
}

static struct slice without_line_end(struct slice line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\n')
        line.len--;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool is_from(struct slice line)
{
    return line.len >= 5 && memcmp(line.ptr, "From ", 5) == 0;
}

/* "From sender date", the date being the first thing that is one: senders with spaces exist. */
static bool parse_from_line(struct slice line, struct slice *sender, int64_t *date_s)
{
    *sender = SLICE_NONE;
    *date_s = 0;
    line = without_line_end(line);
    if (!is_from(line) || line.len > FROM_LINE_MAX)
        return false;
    struct slice text = slice_trim(slice_sub(line, 5, line.len)), rest = text;
    while (rest.len > 0) {
        if (date_parse_asctime(rest, date_s) == RC_OK) {
            *sender = slice_trim(slice_sub(text, 0, text.len - rest.len));
            return true;
        }
        (void)slice_take_until(&rest, ' ');
    }
    return false;
}

/* What stands before the next From_ line is the message, save the empty line in between. */
static struct slice without_last_empty_line(struct slice raw)
{
    if (raw.len >= 2 && raw.ptr[raw.len - 1] == '\n') {
        size_t empty = raw.ptr[raw.len - 2] == '\r' ? 2 : 1;
        if (raw.len == empty || raw.ptr[raw.len - empty - 1] == '\n')
            raw.len -= empty;
    } else if (raw.len == 1 && raw.ptr[0] == '\n') {
        raw.len = 0;
    }
    return raw;
}

static void take_message(struct mbox_reader *r, struct slice *in, size_t end, struct mbox_message *m)
{
    struct slice whole = slice_take(in, end), rest = whole;
    struct slice line = slice_take(&rest, slice_find_byte(rest, '\n') + 1);

    *m = (struct mbox_message){ .raw = whole };
    if (parse_from_line(line, &m->sender, &m->date_s))
        m->raw = without_last_empty_line(rest);
    else if (in->len > 0)
        m->raw = without_last_empty_line(whole);
    mbox_reader_init(r);
}

enum rc mbox_next(struct mbox_reader *r, struct slice *in, bool is_end, struct mbox_message *m)
{
    *m = (struct mbox_message){ .date_s = 0 };
    if (in->len == 0)
        return is_end ? RC_NONE : RC_MORE;
    while (r->scanned < in->len) {
        struct slice rest = slice_sub(*in, r->scanned, in->len - r->scanned);
        size_t lf = slice_find_byte(rest, '\n');
        if (lf == rest.len && !is_end)
            return RC_MORE;
        struct slice line = slice_take(&rest, lf + 1), sender;
        int64_t date_s;
        if (r->scanned > 0 && r->is_behind_empty_line && parse_from_line(line, &sender, &date_s)) {
            take_message(r, in, r->scanned, m);
            return RC_OK;
        }
        r->is_behind_empty_line = without_line_end(line).len == 0;
        r->scanned += line.len;
    }
    if (!is_end)
        return RC_MORE;
    take_message(r, in, in->len, m);
    return RC_OK;
}

/* How many ">" stand before "From "; SIZE_MAX when it does not stand there. */
static size_t quotes_of(struct slice line)
{
    size_t quotes = 0;

    while (quotes < line.len && line.ptr[quotes] == '>')
        quotes++;
    return is_from(slice_sub(line, quotes, line.len)) ? quotes : SIZE_MAX;
}

bool mbox_unquote(struct slice raw, enum mbox_variant variant, struct buf *out)
{
    while (raw.len > 0 && !out->overflow) {
        size_t lf = slice_find_byte(raw, '\n');
        bool has_end = lf < raw.len;
        struct slice line = slice_take(&raw, lf);
        (void)slice_take(&raw, 1);
        if (has_end && line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        size_t quotes = variant == MBOX_CL ? SIZE_MAX : quotes_of(line);
        if (quotes == 1 || (quotes != SIZE_MAX && quotes > 1 && variant == MBOX_RD))
            (void)slice_take(&line, 1);
        (void)buf_append(out, line);
        if (has_end)
            (void)buf_append_str(out, "\r\n");
    }
    return !out->overflow;
}

static void write_from_line(struct slice sender, int64_t date_s, struct buf *out)
{
    (void)buf_append_str(out, "From ");
    if (sender.len == 0)
        sender = SLICE("MAILER-DAEMON");
    for (size_t i = 0; i < sender.len; i++) {
        unsigned char c = (unsigned char)sender.ptr[i];
        (void)buf_append_byte(out, c <= ' ' || c == 0x7f ? '-' : (char)c);
    }
    (void)buf_append_byte(out, ' ');
    (void)date_write_asctime(date_s, out);
    (void)buf_append_byte(out, '\n');
}

bool mbox_write(struct slice sender, int64_t date_s, struct slice message, struct buf *out)
{
    write_from_line(sender, date_s, out);
    while (message.len > 0 && !out->overflow) {
        size_t lf = slice_find_byte(message, '\n');
        bool has_end = lf < message.len;
        struct slice line = slice_take(&message, lf);
        (void)slice_take(&message, 1);
        if (has_end && line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (quotes_of(line) != SIZE_MAX)
            (void)buf_append_byte(out, '>');
        (void)buf_append(out, line);
        /* A CR that is text stays text: CR LF would be read back as a line end. */
        (void)buf_append_str(out, line.len > 0 && line.ptr[line.len - 1] == '\r' ? "\r\n" : "\n");
    }
    return buf_append_byte(out, '\n');
}
