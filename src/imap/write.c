/* Writing strings: see write.h. */
#include "imap/write.h"

#include "imap/parser.h"
#include "mail/utf7.h"
#include "store/store.h"

enum { QUOTED_MAX = 1000 };

static bool can_be_quoted(struct slice s, bool is_utf8)
{
    if (s.len > QUOTED_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < ' ' || c == 0x7f || (c > '~' && !is_utf8))
            return false;
    }
    return true;
}

bool imap_write_literal(struct buf *out, struct slice s)
{
    return buf_printf(out, "{%zu}\r\n", s.len) && buf_append(out, s);
}

static bool write_string(struct buf *out, struct slice s, bool is_utf8)
{
    if (!can_be_quoted(s, is_utf8))
        return imap_write_literal(out, s);
    bool ok = buf_append_byte(out, '"');
    while (s.len > 0) {
        size_t plain = 0;
        while (plain < s.len && s.ptr[plain] != '"' && s.ptr[plain] != '\\')
            plain++;
        ok = ok && buf_append(out, slice_take(&s, plain));
        if (s.len > 0)
            ok = ok && buf_append_byte(out, '\\') && buf_append(out, slice_take(&s, 1));
    }
    return ok && buf_append_byte(out, '"');
}

bool imap_write_string(struct buf *out, struct slice s) { return write_string(out, s, false); }

bool imap_write_nstring(struct buf *out, struct slice s)
{
    return s.ptr == NULL ? buf_append(out, SLICE("NIL")) : imap_write_string(out, s);
}

static bool write_astring(struct buf *out, struct slice s, bool is_utf8)
{
    struct slice rest = s;
    (void)slice_take_while(&rest, imap_is_atom_byte);
    bool is_atom = s.len > 0 && rest.len == 0 && !slice_equal_nocase(s, SLICE("NIL"));
    return is_atom ? buf_append(out, s) : write_string(out, s, is_utf8);
}

bool imap_write_astring(struct buf *out, struct slice s) { return write_astring(out, s, false); }
bool imap_write_utf8(struct buf *out, struct slice s) { return write_astring(out, s, true); }

bool imap_write_mailbox(struct buf *out, struct slice utf8)
{
    struct buf wire;
    buf_init(&wire, utf8.len * 4 + 16);
    bool ok = utf7_encode(utf8, &wire) == RC_OK && imap_write_astring(out, buf_slice(&wire));
    buf_free(&wire);
    return ok;
}

static const struct {
    uint32_t flag;
    const char *name;
} flag_names[] = {
    { FLAG_ANSWERED, "\\Answered" }, { FLAG_FLAGGED, "\\Flagged" }, { FLAG_DELETED, "\\Deleted" },
    { FLAG_SEEN, "\\Seen" },         { FLAG_DRAFT, "\\Draft" },
};

bool imap_write_system_flags(struct buf *out, uint32_t flags, const char **separator)
{
    bool ok = true;
    for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++) {
        if ((flags & flag_names[i].flag) == 0)
            continue;
        ok = buf_append_str(out, *separator) && buf_append_str(out, flag_names[i].name) && ok;
        *separator = " ";
    }
    return ok;
}
