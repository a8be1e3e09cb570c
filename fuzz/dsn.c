/* Reports: whatever peers and senders wrote, what dsn_write makes is a report of three parts that says what it was
 * told to say, and the returned message is the original. */
#include "fuzz.h"

#include "base/text.h"
#include "mail/dsn.h"
#include "mail/mime.h"

static struct address to = { .local_part = SLICE_INIT("s"), .domain = SLICE_INIT("a.example") };
static struct address final = { .local_part = SLICE_INIT("r"), .domain = SLICE_INIT("b.example") };

static size_t count_fields(struct slice section, struct slice name)
{
    struct header_field field;
    size_t count = 0;
    enum rc rc;

    while ((rc = header_next(&section, &field)) != RC_NONE)
        count += rc == RC_OK && slice_equal_nocase(field.name, name);
    return count;
}

static struct slice body_of(struct slice message, const struct mime_part *part)
{
    return slice_sub(message, part->body_start, part->body_end - part->body_start);
}

static void check_report(const struct dsn *d, struct slice message)
{
    struct mime_message m;
    struct arena arena;

    arena_init(&arena, message.len * 8 + (8 << 20));
    must(mime_parse(message, &arena, &m, NULL) == RC_OK && m.root->is_multipart);
    must(slice_equal(m.root->type.value, SLICE("multipart/report")));
    must(count_fields(message, SLICE("To")) == 1 && count_fields(message, SLICE("From")) == 1);
    const struct mime_part *text = m.root->first_child, *status = text->next, *original = status->next;
    must(original != NULL && original->next == NULL);
    struct slice fields = body_of(message, status);
    must(count_fields(fields, SLICE("Reporting-MTA")) == 1 && count_fields(fields, SLICE("Action")) == 0);
    struct slice recipient = slice_sub(fields, header_end(fields), fields.len);
    must(count_fields(recipient, SLICE("Action")) == 1 && count_fields(recipient, SLICE("Final-Recipient")) == 1);
    must(header_end(recipient) == recipient.len);
    if (original->is_message) {
        struct slice returned = body_of(message, original);
        bool has_end = d->original.len == 0 || slice_ends_nocase(d->original, SLICE("\r\n"));
        must(slice_starts_nocase(returned, d->original) && returned.len == d->original.len + (has_end ? 0 : 2));
    }
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = { (const char *)data, size };
    unsigned flags = size > 0 ? (unsigned char)slice_take(&in, 1).ptr[0] : 0;
    struct dsn_recipient r = { .final = &final, .action = (enum dsn_action)(flags % 5), .is_diagnostic_smtp = (flags & 8) != 0 };
    struct dsn d = {
        .reporting_host = SLICE("mail.a.example"), .to = &to, .arrival_s = 1, .message_id = SLICE("m@a.example"),
        .boundary_seed = SLICE("s"), .now = { 1795330048, 60 }, .recipients = &r, .recipient_count = 1,
        .return_full = (flags & 16) != 0, .is_utf8 = (flags & 32) != 0,
    };
    struct buf out;

    r.original = slice_take(&in, in.len / 8);
    r.diagnostic = slice_take(&in, in.len / 4);
    r.remote_host = slice_take(&in, in.len / 8);
    d.envid = slice_take(&in, in.len / 8);
    d.original = in;
    buf_init(&out, size * 16 + 65536);
    must(dsn_write(&d, &out, NULL) == RC_OK);
    check_report(&d, buf_slice(&out));
    buf_clear(&out);
    if (xtext_decode(in, &out) == RC_OK) {
        struct buf again;
        buf_init(&again, in.len * 3 + 1);
        must(xtext_encode(buf_slice(&out), &again));
        buf_free(&again);
    }
    buf_free(&out);
    return 0;
}
