/* Addresses of the envelope: see address.h. Strict, as RFC 5321 4.1.2 with RFC 6531 3.3 has it: what is not of the
 * grammar does not become an address. Address lists of headers, where reading is generous, are in address_list.c. */
#include "mail/address.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <idn2.h>

enum { LABEL_MAX = 63 };        /* RFC 1035 2.3.4 */

/* RFC 5322 3.2.3 atext. Bytes over 0x7f are checked apart (RFC 6531 3.3). */
static bool is_atext(unsigned char c)
{
    return byte_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* A code point over U+007F that may stand in an address: no C1 control, no line or paragraph separator. */
static bool take_utf8(struct slice *in)
{
    struct slice rest = *in;
    uint32_t c;

    if (utf8_take(&rest, &c) != RC_OK || c < 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff)
        return false;
    *in = rest;
    return true;
}

/* A local part while it is read: decoded bytes. */
struct local {
    char bytes[LOCAL_PART_MAX];
    size_t len;
    bool is_too_long;
    bool is_utf8;
};

static void local_append(struct local *l, struct slice s)
{
    if (s.len > sizeof l->bytes - l->len) {
        l->is_too_long = true;
        return;
    }
    memcpy(l->bytes + l->len, s.ptr, s.len);
    l->len += s.len;
}

/* One byte of atext or one UTF-8 sequence; false when there is none. */
static bool take_local_unit(struct slice *in, bool (*is)(unsigned char), struct local *l)
{
    struct slice from = *in;

    if (in->len == 0)
        return false;
    unsigned char c = (unsigned char)in->ptr[0];
    if (c < 0x80) {
        if (!is(c))
            return false;
        (void)slice_take(in, 1);
    } else {
        if (!take_utf8(in))
            return false;
        l->is_utf8 = true;
    }
    local_append(l, (struct slice){ from.ptr, from.len - in->len });
    return true;
}

static enum rc parse_dot_string(struct slice *in, struct local *l, uint32_t esc, struct fault *f)
{
    for (;;) {
        if (!take_local_unit(in, is_atext, l))
            return fault_perm(f, esc, "local part expected");
        while (take_local_unit(in, is_atext, l))
            ;
        if (!slice_take_byte(in, '.'))
            return RC_OK;
        local_append(l, SLICE("."));
    }
}

static bool is_qtext(unsigned char c)
{
    return c >= 32 && c < 127 && c != '"' && c != '\\';
}

static bool is_quotable(unsigned char c)
{
    return c >= 32 && c < 127;
}

/* Behind the opening quote. */
static enum rc parse_quoted_string(struct slice *in, struct local *l, uint32_t esc, struct fault *f)
{
    while (!slice_take_byte(in, '"')) {
        bool is_good = slice_take_byte(in, '\\')
            ? in->len > 0 && (unsigned char)in->ptr[0] < 0x80 && take_local_unit(in, is_quotable, l)
            : take_local_unit(in, is_qtext, l);
        if (!is_good)
            return fault_perm(f, esc, "bad character in quoted local part");
    }
    return RC_OK;
}

static enum rc parse_local(struct slice *in, struct arena *arena, struct address *a, uint32_t esc, struct fault *f)
{
    struct local l = { .len = 0 };
    enum rc rc = slice_take_byte(in, '"') ? parse_quoted_string(in, &l, esc, f) : parse_dot_string(in, &l, esc, f);

    if (rc != RC_OK)
        return rc;
    if (l.is_too_long)                                                      /* RFC 5321 4.5.3.1.1 */
        return fault_perm(f, esc, "local part longer than %d bytes", (int)LOCAL_PART_MAX);
    if (l.len == 0)
        return fault_perm(f, esc, "empty local part");
    a->local_part = arena_copy(arena, (struct slice){ l.bytes, l.len });
    a->is_utf8 = l.is_utf8;
    return a->local_part.ptr == NULL ? fault_no_memory(f) : RC_OK;
}

/* Domains. */

static bool is_domain_byte(unsigned char c)
{
    return byte_is_alnum(c) || c == '-' || c == '.' || c >= 0x80;
}

static enum rc check_labels(struct slice name, uint32_t esc, struct fault *f)
{
    bool is_last;

    do {
        is_last = slice_find_byte(name, '.') == name.len;
        struct slice label = slice_take_until(&name, '.');
        if (label.len == 0)
            return fault_perm(f, esc, "empty label in domain");
        if (label.len > LABEL_MAX && text_is_ascii(label))
            return fault_perm(f, esc, "label longer than %d bytes in domain", (int)LABEL_MAX);
        if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
            return fault_perm(f, esc, "label begins or ends with a hyphen in domain");
    } while (!is_last);
    return RC_OK;
}

enum { IDNA_FLAGS = IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL };

/* A-labels, to be given back with idn2_free. IDNA maps many characters to others, a full-width @ or dot among them:
 * what comes out is looked at as if it had come in. */
static enum rc to_a_labels(struct slice name, char **ascii, uint32_t esc, struct fault *f)
{
    char in[DOMAIN_MAX + 1];

    *ascii = NULL;
    if (!utf8_is_valid(name) || !slice_to_str(name, in, sizeof in))
        return fault_perm(f, esc, "domain is not UTF-8");
    int result = idn2_to_ascii_8z(in, ascii, IDNA_FLAGS);
    if (result == IDN2_MALLOC)
        return fault_no_memory(f);
    if (result != IDN2_OK)
        return fault_perm(f, esc, "not an internationalized domain name: %s", idn2_strerror(result));
    struct slice mapped = slice_from_str(*ascii), rest = mapped;
    (void)slice_take_while(&rest, is_domain_byte);
    if (rest.len > 0 || mapped.len == 0 || mapped.len > DOMAIN_MAX || !text_is_ascii(mapped))
        return fault_perm(f, esc, "bad character in domain");
    return check_labels(mapped, esc, f);
}

/* The U-label form that registries and other servers agree on: mapped to lower case and NFC (RFC 5895). */
static enum rc parse_u_labels(struct slice name, struct arena *arena, struct slice *domain, uint32_t esc, struct fault *f)
{
    char *ascii, *utf8 = NULL;
    enum rc rc = to_a_labels(name, &ascii, esc, f);

    if (rc == RC_OK && idn2_to_unicode_8z8z(ascii, &utf8, 0) != IDN2_OK)
        rc = fault_perm(f, esc, "not an internationalized domain name");
    if (rc == RC_OK) {
        *domain = arena_copy(arena, slice_from_str(utf8));
        if (domain->ptr == NULL)
            rc = fault_no_memory(f);
    }
    idn2_free(ascii);
    idn2_free(utf8);
    return rc;
}

static enum rc parse_ascii_domain(struct slice name, struct arena *arena, struct slice *domain, struct fault *f)
{
    char *copy = arena_alloc(arena, 1, name.len);

    if (copy == NULL)
        return fault_no_memory(f);
    for (size_t i = 0; i < name.len; i++)
        copy[i] = byte_lower(name.ptr[i]);
    *domain = (struct slice){ copy, name.len };
    return RC_OK;
}

static enum rc take_domain(struct slice *in, struct arena *arena, struct slice *domain, uint32_t esc, struct fault *f)
{
    struct slice name = slice_take_while(in, is_domain_byte);

    if (name.len == 0)
        return fault_perm(f, esc, "domain expected");
    if (name.len > DOMAIN_MAX)                                              /* RFC 5321 4.5.3.1.2 */
        return fault_perm(f, esc, "domain longer than %d bytes", (int)DOMAIN_MAX);
    enum rc rc = check_labels(name, esc, f);
    if (rc != RC_OK)
        return rc;
    return text_is_ascii(name) ? parse_ascii_domain(name, arena, domain, f)
                               : parse_u_labels(name, arena, domain, esc, f);
}

/* RFC 5321 4.1.3, from the opening bracket; a literal of a tag nobody has registered is refused. */
static enum rc take_literal(struct slice *in, struct arena *arena, struct slice *domain, uint32_t esc, struct fault *f)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char address[sizeof(struct in6_addr)];
    size_t close = slice_find_byte(*in, ']');

    if (close == in->len)
        return fault_perm(f, esc, "address literal without closing bracket");
    struct slice inner = slice_sub(*in, 1, close - 1);
    (void)slice_take(in, close + 1);
    bool is_v6 = slice_take_prefix_nocase(&inner, SLICE("IPv6:"));
    if (!slice_to_str(inner, text, sizeof text) || inet_pton(is_v6 ? AF_INET6 : AF_INET, text, address) != 1)
        return fault_perm(f, esc, "bad address literal");
    (void)inet_ntop(is_v6 ? AF_INET6 : AF_INET, address, text, sizeof text);
    const char *literal = arena_printf(arena, "[%s%s]", is_v6 ? "IPv6:" : "", text);
    if (literal == NULL)
        return fault_no_memory(f);
    *domain = slice_from_str(literal);
    return RC_OK;
}

static enum rc parse_mailbox_domain(struct slice *in, struct arena *arena, struct address *a, uint32_t esc,
                                    struct fault *f)
{
    enum rc rc;

    if (in->len > 0 && in->ptr[0] == '[') {
        a->is_literal = true;
        return take_literal(in, arena, &a->domain, esc, f);
    }
    rc = take_domain(in, arena, &a->domain, esc, f);
    if (rc == RC_OK && !text_is_ascii(a->domain))
        a->is_utf8 = true;
    return rc;
}

/* "@a,@b:" is read and dropped (RFC 5321 4.1.1.3, appendix C). */
static enum rc skip_source_route(struct slice *in, struct arena *arena, uint32_t esc, struct fault *f)
{
    struct address hop;
    enum rc rc;

    if (in->len == 0 || in->ptr[0] != '@')
        return RC_OK;
    do {
        if (!slice_take_byte(in, '@'))
            return fault_perm(f, esc, "bad source route");
        rc = parse_mailbox_domain(in, arena, &hop, esc, f);
        if (rc != RC_OK)
            return rc;
    } while (slice_take_byte(in, ','));
    return slice_take_byte(in, ':') ? RC_OK : fault_perm(f, esc, "bad source route");
}

/* A path is limited with its brackets (RFC 5321 4.5.3.1.3), as it would be written again. */
static enum rc check_path_length(const struct address *a, uint32_t esc, struct fault *f)
{
    struct buf written;

    buf_init(&written, PATH_MAX_BYTES);
    if (buf_reserve(&written, PATH_MAX_BYTES) == NULL)
        return fault_no_memory(f);              /* which must not look like a path that is too long */
    bool fits = address_write_path(a, &written);
    buf_free(&written);
    return fits ? RC_OK : fault_perm(f, esc, "path longer than %d bytes", (int)PATH_MAX_BYTES);
}

static enum rc take_path(struct slice *in, bool null_allowed, struct arena *arena, struct address *a, uint32_t esc,
                         struct fault *f)
{
    if (!slice_take_byte(in, '<'))
        return fault_perm(f, esc, "address in angle brackets expected");
    if (slice_take_byte(in, '>')) {
        a->is_null = true;
        return null_allowed ? RC_OK : fault_perm(f, esc, "empty address");
    }
    enum rc rc = skip_source_route(in, arena, esc, f);
    if (rc == RC_OK)
        rc = parse_local(in, arena, a, esc, f);
    if (rc != RC_OK)
        return rc;
    if (slice_take_byte(in, '@'))
        rc = parse_mailbox_domain(in, arena, a, esc, f);
    else if (!slice_equal_nocase(a->local_part, SLICE("postmaster")))       /* RFC 5321 4.1.1.3 */
        rc = fault_perm(f, esc, "@ and domain expected behind local part");
    if (rc != RC_OK)
        return rc;
    if (!slice_take_byte(in, '>'))
        return fault_perm(f, esc, "closing angle bracket expected");
    return check_path_length(a, esc, f);
}

enum rc address_parse_path(struct slice *in, bool null_allowed, struct arena *arena, struct address *a,
                           struct fault *f)
{
    struct slice rest = *in;

    *a = (struct address){ .is_null = false };
    /* RFC 3463 3.2: a bad sender is 5.1.7, a bad recipient 5.1.3; only a sender may be null. */
    enum rc rc = take_path(&rest, null_allowed, arena, a, null_allowed ? ESC(5, 1, 7) : ESC(5, 1, 3), f);
    if (rc == RC_OK)
        *in = rest;
    return rc;
}

enum rc address_parse(struct slice in, struct arena *arena, struct address *a, struct fault *f)
{
    const uint32_t esc = ESC(5, 1, 3);

    *a = (struct address){ .is_null = false };
    enum rc rc = parse_local(&in, arena, a, esc, f);
    if (rc != RC_OK)
        return rc;
    if (!slice_take_byte(&in, '@'))
        return fault_perm(f, esc, "@ and domain expected behind local part");
    rc = parse_mailbox_domain(&in, arena, a, esc, f);
    if (rc != RC_OK)
        return rc;
    return in.len == 0 ? check_path_length(a, esc, f) : fault_perm(f, esc, "text behind address");
}

enum rc domain_parse(struct slice in, struct arena *arena, struct slice *domain, struct fault *f)
{
    const uint32_t esc = ESC(5, 1, 2);

    if (in.len > 1 && in.ptr[in.len - 1] == '.')
        in.len--;
    enum rc rc = take_domain(&in, arena, domain, esc, f);
    if (rc != RC_OK)
        return rc;
    return in.len == 0 ? RC_OK : fault_perm(f, esc, "bad character in domain");
}

enum rc domain_to_ascii(struct slice domain, struct buf *out, struct fault *f)
{
    char *ascii;

    if (text_is_ascii(domain))
        return buf_append(out, domain) ? RC_OK : fault_no_memory(f);
    enum rc rc = to_a_labels(domain, &ascii, ESC(5, 1, 2), f);
    if (rc == RC_OK && !buf_append_str(out, ascii))
        rc = fault_no_memory(f);
    idn2_free(ascii);
    return rc;
}

/* Writing. */

static bool is_dot_string(struct slice s)
{
    bool is_atom_start = true;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '.' ? is_atom_start : !is_atext(c) && c < 0x80)
            return false;
        is_atom_start = c == '.';
    }
    return !is_atom_start;
}

bool address_write(const struct address *a, struct buf *out)
{
    if (a->is_null)
        return true;
    if (is_dot_string(a->local_part)) {
        (void)buf_append(out, a->local_part);
    } else {
        (void)buf_append_byte(out, '"');
        for (size_t i = 0; i < a->local_part.len; i++) {
            char c = a->local_part.ptr[i];
            if (c == '"' || c == '\\')
                (void)buf_append_byte(out, '\\');
            (void)buf_append_byte(out, c);
        }
        (void)buf_append_byte(out, '"');
    }
    if (a->domain.len > 0) {
        (void)buf_append_byte(out, '@');
        (void)buf_append(out, a->domain);
    }
    return !out->overflow;
}

bool address_write_path(const struct address *a, struct buf *out)
{
    (void)buf_append_byte(out, '<');
    (void)address_write(a, out);
    (void)buf_append_byte(out, '>');
    return !out->overflow;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->is_null == b->is_null && slice_equal(a->local_part, b->local_part)
        && slice_equal_nocase(a->domain, b->domain);
}

enum rc address_copy(const struct address *a, struct arena *arena, struct address *out)
{
    struct address copy = *a;

    copy.local_part = arena_copy(arena, a->local_part);
    copy.domain = arena_copy(arena, a->domain);
    if ((copy.local_part.ptr == NULL && copy.local_part.len > 0) || (copy.domain.ptr == NULL && copy.domain.len > 0))
        return RC_TEMP;
    *out = copy;
    return RC_OK;
}
