/* Trace headers: see received.h (RFC 5321 4.4, RFC 3848, RFC 6531 4.3). */
#include "mail/received.h"

/* Names that came from a peer, DNS or a library go into a header of ours: anything that could end a word, a comment
 * or the line is made harmless. */
static void append_word(struct buf *out, struct slice word)
{
    for (size_t i = 0; i < word.len; i++) {
        unsigned char c = (unsigned char)word.ptr[i];
        bool is_plain = c > ' ' && c != 0x7f && c != '(' && c != ')' && c != '\\' && c != '"' && c != ';';
        (void)buf_append_byte(out, is_plain ? (char)c : '?');
    }
}

/* TCP-info of RFC 5321 4.4: "(name [192.0.2.1])". */
static void append_peer(struct buf *out, const struct received *r)
{
    if (r->peer_address.len == 0)
        return;
    bool is_v6 = slice_find_byte(r->peer_address, ':') < r->peer_address.len;
    (void)buf_append_str(out, " (");
    if (r->peer_name.len > 0) {
        append_word(out, r->peer_name);
        (void)buf_append_byte(out, ' ');
    }
    (void)buf_append_str(out, is_v6 ? "[IPv6:" : "[");
    append_word(out, r->peer_address);
    (void)buf_append_str(out, "])");
}

static void append_tls(struct buf *out, const struct received *r)
{
    if (r->tls_version.len == 0)
        return;
    (void)buf_append_str(out, "\r\n\t(using ");
    append_word(out, r->tls_version);
    if (r->tls_cipher.len > 0) {
        (void)buf_append_str(out, " with cipher ");
        append_word(out, r->tls_cipher);
    }
    (void)buf_append_byte(out, ')');
}

bool received_write(const struct received *r, struct buf *out)
{
    (void)buf_append_str(out, "Received: from ");
    append_word(out, r->helo.len > 0 ? r->helo : SLICE("unknown"));
    append_peer(out, r);
    append_tls(out, r);
    (void)buf_append_str(out, "\r\n\tby ");
    append_word(out, r->by);
    (void)buf_append_str(out, " with ");
    append_word(out, r->with);
    (void)buf_append_str(out, " id ");
    append_word(out, r->id);
    if (r->for_path != NULL && !r->for_path->is_null) {
        (void)buf_append_str(out, "\r\n\tfor ");
        (void)address_write_path(r->for_path, out);
    }
    (void)buf_append_str(out, ";\r\n\t");
    (void)date_write(r->date, out);
    (void)buf_append_str(out, "\r\n");
    return !out->overflow;
}

const char *received_protocol(bool is_lmtp, bool is_extended, bool is_utf8, bool has_tls, bool has_auth)
{
    /* [has_tls][has_auth] */
    static const char *const lmtp[2][2] = { { "LMTP", "LMTPA" }, { "LMTPS", "LMTPSA" } };
    static const char *const lmtp_utf8[2][2] = { { "UTF8LMTP", "UTF8LMTPA" }, { "UTF8LMTPS", "UTF8LMTPSA" } };
    static const char *const esmtp[2][2] = { { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } };
    static const char *const esmtp_utf8[2][2] = { { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } };

    if (is_lmtp)
        return (is_utf8 ? lmtp_utf8 : lmtp)[has_tls][has_auth];
    if (is_utf8)
        return esmtp_utf8[has_tls][has_auth];
    /* HELO behind STARTTLS or AUTH happens; those are extensions, so it is extended all the same. */
    return is_extended || has_tls || has_auth ? esmtp[has_tls][has_auth] : "SMTP";
}

bool return_path_write(const struct address *path, struct buf *out)
{
    (void)buf_append_str(out, "Return-Path: ");
    (void)address_write_path(path, out);
    (void)buf_append_str(out, "\r\n");
    return !out->overflow;
}
