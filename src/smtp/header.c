/* The filter of the header section: see header.h. */
#include "smtp/header.h"

void header_filter_init(struct header_filter *f, bool completes)
{
    *f = (struct header_filter){ .completes = completes, .state = FILTER_LINE_START };
    buf_init(&f->from, HEADER_FILTER_FROM_MAX);
}

void header_filter_free(struct header_filter *f)
{
    buf_free(&f->from);
}

static void found_received(struct header_filter *f) { f->received_count++; }
static void found_date(struct header_filter *f) { f->has_date = true; }
static void found_message_id(struct header_filter *f) { f->has_message_id = true; }
static void found_bcc(struct header_filter *f) { f->is_dropping = f->completes; }
static void found_from(struct header_filter *f) { f->is_in_from = f->completes && f->from_count++ == 0; }

static const struct known_field {
    const char *name;
    void (*found)(struct header_filter *);
} known_fields[] = {
    { "received",   found_received },        /* RFC 5321 6.3 */
    { "date",       found_date },            /* RFC 6409 8.2 */
    { "message-id", found_message_id },      /* RFC 6409 8.3 */
    { "bcc",        found_bcc },             /* RFC 5322 3.6.3 */
    { "resent-bcc", found_bcc },
    { "from",       found_from },            /* RFC 6409 8.1 */
};

static struct slice held_name(const struct header_filter *f) { return (struct slice){ f->name, f->name_len }; }

static void enter_field(struct header_filter *f, struct buf *out)
{
    struct slice name = slice_trim(held_name(f));
    f->has_field = true;
    for (size_t i = 0; i < sizeof known_fields / sizeof known_fields[0]; i++)
        if (slice_equal_nocase(name, slice_from_str(known_fields[i].name)))
            known_fields[i].found(f);
    if (!f->is_dropping) {
        buf_append(out, held_name(f));
        buf_append_byte(out, ':');
    }
    f->state = FILTER_REST;
}

/* A line that turned out to be no field. Old mail folders begin with "From " lines; elsewhere in a header such lines
 * are passed on, since readers get over them. False: there is no header at all. */
static bool enter_odd_line(struct header_filter *f, struct buf *out)
{
    if (!f->has_field && !slice_starts_nocase(held_name(f), SLICE("From ")) &&
        !slice_starts_nocase(held_name(f), SLICE(">From ")))
        return false;
    f->has_field = true;
    buf_append(out, held_name(f));
    f->state = FILTER_REST;
    return true;
}

static bool is_name_byte(unsigned char byte) { return byte > ' ' && byte < 0x7f && byte != ':'; }

/* Collects the name. False: no header at all. */
static bool feed_name(struct header_filter *f, struct slice *in, struct buf *out)
{
    char byte = in->ptr[0];
    bool is_behind_name = f->name_len > 0 && byte_is_space((unsigned char)f->name[f->name_len - 1]);
    bool continues = is_name_byte((unsigned char)byte) ? !is_behind_name : byte_is_space((unsigned char)byte);
    if (byte == ':' && f->name_len > 0) {
        slice_take(in, 1);
        enter_field(f, out);
        return true;
    }
    if (!continues || f->name_len == sizeof f->name)
        return enter_odd_line(f, out);
    f->name[f->name_len++] = byte;
    slice_take(in, 1);
    return true;
}

/* The rest of a line, through its CRLF. A bare LF ends nothing. */
static void feed_rest(struct header_filter *f, struct slice *in, struct buf *out)
{
    size_t at = slice_find_byte(*in, '\n');
    struct slice run = slice_take(in, at + 1);
    bool has_newline = run.ptr[run.len - 1] == '\n';
    bool is_behind_cr = run.len > 1 ? run.ptr[run.len - 2] == '\r' : f->last_was_cr;
    f->last_was_cr = run.ptr[run.len - 1] == '\r';
    for (size_t i = 0; i < run.len && !f->has_8bit && !f->is_dropping; i++)
        f->has_8bit = (unsigned char)run.ptr[i] >= 0x80;
    if (!f->is_dropping)
        buf_append(out, run);
    if (f->is_in_from)
        buf_append(&f->from, run);
    if (has_newline && is_behind_cr)
        f->state = FILTER_LINE_START;
}

/* False: no header at all. */
static bool feed_line_start(struct header_filter *f, struct slice *in)
{
    unsigned char byte = (unsigned char)in->ptr[0];
    f->last_was_cr = false;
    if (byte_is_space(byte)) {                  /* belongs to the field before */
        f->state = FILTER_REST;
        return f->has_field;
    }
    f->is_dropping = f->is_in_from = false;
    f->name_len = 0;
    f->state = FILTER_NAME;
    if (byte == '\r') {
        slice_take(in, 1);
        f->state = FILTER_EMPTY_LINE;
    }
    return true;
}

/* Behind a CR at the start of a line. */
static void feed_empty_line(struct header_filter *f, struct slice *in, struct buf *out)
{
    if (slice_take_byte(in, '\n')) {
        f->has_empty_line = true;
        f->state = FILTER_DONE;
        return;
    }
    buf_append_byte(out, '\r');
    f->has_field = true;
    f->last_was_cr = true;
    f->state = FILTER_REST;
}

enum rc header_filter_feed(struct header_filter *f, struct slice *in, struct buf *out)
{
    bool has_header = true;
    while (in->len > 0 && has_header && f->state != FILTER_DONE) {
        switch (f->state) {
        case FILTER_LINE_START: has_header = feed_line_start(f, in); break;
        case FILTER_NAME:       has_header = feed_name(f, in, out); break;
        case FILTER_REST:       feed_rest(f, in, out); break;
        case FILTER_EMPTY_LINE: feed_empty_line(f, in, out); break;
        case FILTER_DONE:       break;
        }
    }
    if (!has_header) {
        f->is_headerless = true;
        f->state = FILTER_DONE;
    }
    return f->state == FILTER_DONE ? RC_OK : RC_MORE;
}

static void add_missing(struct header_filter *f, struct mail_date now, struct slice id, struct slice host, struct buf *out)
{
    if (!f->has_date) {
        buf_append_str(out, "Date: ");
        date_write(now, out);
        buf_append_str(out, "\r\n");
    }
    if (!f->has_message_id) {
        buf_append_str(out, "Message-ID: <");
        buf_append(out, id);
        buf_append_byte(out, '@');
        buf_append(out, host);
        buf_append_str(out, ">\r\n");
    }
}

void header_filter_end(struct header_filter *f, struct mail_date now, struct slice id, struct slice host, struct buf *out)
{
    bool is_in_name = f->state == FILTER_NAME;      /* the message ends there */
    bool is_in_line = is_in_name || (f->state == FILTER_REST && !f->is_dropping);
    bool adds = f->completes && !(f->has_date && f->has_message_id);
    if (f->is_headerless) {
        if (f->completes) {
            add_missing(f, now, id, host, out);
            buf_append_str(out, "\r\n");
        }
        buf_append(out, held_name(f));
    } else {
        if (is_in_name)
            buf_append(out, held_name(f));
        if (f->state == FILTER_EMPTY_LINE)
            buf_append_byte(out, '\r');
        if (is_in_line && adds)
            buf_append_str(out, "\r\n");
        if (adds)
            add_missing(f, now, id, host, out);
        if (f->has_empty_line)
            buf_append_str(out, "\r\n");
    }
    f->state = FILTER_DONE;
}
