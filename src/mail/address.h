/* Addresses as typed values (RFC 5321 4.1.2, RFC 6531 3.3, RFC 5322 3.4).
 *
 * An address is a typed value or does not exist: code downstream never parses it again and never builds it from
 * pieces of input. Local parts keep their case; domains are compared without case and kept in lower case; U-labels
 * are kept as UTF-8 and A-labels as they came (domain_to_ascii gives what DNS wants). */
#ifndef THURN_MAIL_ADDRESS_H
#define THURN_MAIL_ADDRESS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

enum { LOCAL_PART_MAX = 64, DOMAIN_MAX = 255, PATH_MAX_BYTES = 256 };   /* RFC 5321 4.5.3.1 */

struct address {
    struct slice local_part;    /* decoded: without quotes and backslashes */
    struct slice domain;        /* "example.org", or "[192.0.2.1]" / "[IPv6:2001:db8::1]" for a literal; may be empty
                                   only for <> and for <postmaster> */
    bool is_null;               /* the null reverse-path <> */
    bool is_literal;            /* domain is an address literal */
    bool is_utf8;               /* needs SMTPUTF8 */
};

/* "<...>" as in MAIL FROM and RCPT TO, taken off the front of `in`. A source route (RFC 5321 appendix F.2,
 * "@a,@b:user@c") is accepted and dropped. "<>" only when null_allowed; "<postmaster>" in any case.
 * Slices of the result live in the arena. RC_PERM with ESC 5.1.3 / 5.1.7 style text on bad syntax. */
enum rc address_parse_path(struct slice *in, bool null_allowed, struct arena *, struct address *, struct fault *);
/* "user@example.org" alone, as typed by a person or found in a setting or a file: the whole slice. */
enum rc address_parse(struct slice in, struct arena *, struct address *, struct fault *);
/* A domain name alone (LDH labels or U-labels, no trailing dot kept), lower-cased. */
enum rc domain_parse(struct slice in, struct arena *, struct slice *domain, struct fault *);
/* For DNS and for peers without SMTPUTF8: IDNA 2008 A-labels. RC_PERM when it cannot be one. */
enum rc domain_to_ascii(struct slice domain, struct buf *out, struct fault *);

/* "user@example.org", quoting the local part where needed; nothing for the null path. */
bool address_write(const struct address *, struct buf *out);
/* The same within <>; "<>" for the null path. */
bool address_write_path(const struct address *, struct buf *out);
bool address_equal(const struct address *, const struct address *);   /* local part with case, domain without */
/* A copy whose slices live in the arena. */
enum rc address_copy(const struct address *, struct arena *, struct address *out);

/* Header address lists (RFC 5322 3.4, obsolete forms accepted, as readers must): From, To, Cc, Reply-To ... */
struct mailbox_entry {
    struct slice name;          /* display name, decoded to UTF-8; empty when none */
    struct slice local_part;    /* as decoded; both empty for a group marker */
    struct slice domain;
    struct slice route;         /* obsolete route or empty */
    enum { ENTRY_MAILBOX, ENTRY_GROUP_START, ENTRY_GROUP_END, ENTRY_INVALID } kind;
    struct slice raw_name;      /* display name as it stands (encoded words kept, quotes and comments removed): IMAP ENVELOPE wants this */
};
/* A mailbox of one word without a domain ("root", as programs on one machine write) has an empty domain. Every group
 * start has its end. Commas, quotes, brackets and comments that are not closed, and ";" between addresses are forgiven.
 * Never fails on bad mail: what cannot be understood becomes ENTRY_INVALID with the text in name. At most max
 * entries. *entries lives in the arena. */
enum rc address_list_parse(struct slice field_body, size_t max, struct arena *, struct mailbox_entry **entries, size_t *count);

#endif
