/* ENVELOPE (RFC 3501 7.4.2): ten fields of a header, the addresses taken apart. */
#include "imap/fetch.h"

#include "mail/address.h"

enum envelope_field { DATE, SUBJECT, FROM, SENDER, REPLY_TO, TO, CC, BCC, IN_REPLY_TO, MESSAGE_ID, ENVELOPE_FIELDS };
enum { ADDRESSES_MAX = 100000 };

static const struct {
    struct slice name;
    bool is_address_list;
} fields[ENVELOPE_FIELDS] = {
    [DATE] = { SLICE_INIT("Date"), false },         [SUBJECT] = { SLICE_INIT("Subject"), false },
    [FROM] = { SLICE_INIT("From"), true },          [SENDER] = { SLICE_INIT("Sender"), true },
    [REPLY_TO] = { SLICE_INIT("Reply-To"), true },  [TO] = { SLICE_INIT("To"), true },
    [CC] = { SLICE_INIT("Cc"), true },              [BCC] = { SLICE_INIT("Bcc"), true },
    [IN_REPLY_TO] = { SLICE_INIT("In-Reply-To"), false }, [MESSAGE_ID] = { SLICE_INIT("Message-ID"), false },
};

static void find_fields(struct slice header, struct slice bodies[ENVELOPE_FIELDS])
{
    struct header_field field;
    enum rc rc;
    while ((rc = header_next(&header, &field)) != RC_NONE) {
        for (size_t i = 0; rc == RC_OK && i < ENVELOPE_FIELDS; i++) {
            if (bodies[i].ptr == NULL && slice_equal_nocase(field.name, fields[i].name))
                bodies[i] = field.body;
        }
    }
}

static bool write_text(struct buf *out, struct slice body)
{
    if (body.ptr == NULL)
        return buf_append_str(out, "NIL");
    struct buf text;
    buf_init(&text, body.len + 1);
    bool ok = header_unfold(body, &text);
    struct slice unfolded = buf_len(&text) > 0 ? buf_slice(&text) : SLICE("");
    ok = imap_write_string(out, unfolded) && ok;
    buf_free(&text);
    return ok;
}

static bool write_or_nil(struct buf *out, struct slice s)
{
    return imap_write_nstring(out, s.len > 0 ? s : SLICE_NONE);
}

static bool write_parts(struct buf *out, struct slice name, struct slice route, struct slice mailbox, struct slice host)
{
    return buf_append_byte(out, '(') && write_or_nil(out, name) && buf_append_byte(out, ' ') && write_or_nil(out, route)
           && buf_append_byte(out, ' ') && imap_write_nstring(out, mailbox) && buf_append_byte(out, ' ')
           && imap_write_nstring(out, host) && buf_append_byte(out, ')');
}

static struct slice not_nil(struct slice s) { return s.ptr != NULL ? s : SLICE(""); }

/* NIL as host starts a group, NIL as mailbox ends it, so neither stands for something that is merely missing. */
static bool write_entry(struct buf *out, const struct mailbox_entry *entry)
{
    switch (entry->kind) {
    case ENTRY_MAILBOX:
        return write_parts(out, entry->raw_name, entry->route, not_nil(entry->local_part), not_nil(entry->domain));
    case ENTRY_GROUP_START:
        return write_parts(out, SLICE_NONE, SLICE_NONE, not_nil(entry->raw_name.len > 0 ? entry->raw_name : entry->name), SLICE_NONE);
    case ENTRY_GROUP_END:
        return write_parts(out, SLICE_NONE, SLICE_NONE, SLICE_NONE, SLICE_NONE);
    case ENTRY_INVALID:
        return write_parts(out, entry->name, SLICE_NONE, SLICE("INVALID_ADDRESS"), SLICE(".SYNTAX-ERROR."));
    }
    return false;
}

static bool write_addresses(struct buf *out, struct slice body, struct arena *arena)
{
    struct mailbox_entry *entries = NULL;
    size_t count = 0;
    if (body.ptr != NULL && address_list_parse(body, ADDRESSES_MAX, arena, &entries, &count) != RC_OK)
        count = 0;
    if (count == 0)
        return buf_append_str(out, "NIL");
    bool ok = buf_append_byte(out, '(');
    for (size_t i = 0; i < count; i++)
        ok = write_entry(out, &entries[i]) && ok;
    return buf_append_byte(out, ')') && ok;
}

/* RFC 3501 7.4.2: Sender and Reply-To that are missing or empty are what From is. */
static struct slice address_field(const struct slice bodies[ENVELOPE_FIELDS], size_t i)
{
    bool defaults = i == SENDER || i == REPLY_TO;
    return defaults && slice_trim(bodies[i]).len == 0 ? bodies[FROM] : bodies[i];
}

bool imap_write_envelope(struct buf *out, struct slice header, struct arena *scratch)
{
    struct slice bodies[ENVELOPE_FIELDS] = { { NULL, 0 } };
    find_fields(header, bodies);
    bool ok = true;
    for (size_t i = 0; i < ENVELOPE_FIELDS; i++) {
        ok = buf_append_byte(out, i == 0 ? '(' : ' ') && ok;
        ok = (fields[i].is_address_list ? write_addresses(out, address_field(bodies, i), scratch) : write_text(out, bodies[i])) && ok;
    }
    return buf_append_byte(out, ')') && ok;
}
