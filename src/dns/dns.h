/* DNS through libunbound, asynchronous, validated with DNSSEC when a trust anchor is there; and the choice of mail
 * exchangers (RFC 5321 5.1, RFC 7505 null MX), which is a machine without I/O: it asks for lookups and takes answers.
 * Only the out role resolves. */
#ifndef THURN_DNS_DNS_H
#define THURN_DNS_DNS_H

#include "base/arena.h"
#include "base/fault.h"

enum dns_type { DNS_A = 1, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_PTR = 12, DNS_TLSA = 52, DNS_CNAME = 5 };

struct dns_record {                 /* typed, already parsed from wire format with every length checked */
    enum dns_type type;
    uint16_t preference;            /* MX */
    struct slice name;              /* MX exchange, PTR, CNAME: lower case, no trailing dot; "" for the root */
    char address[46];               /* A, AAAA: numeric text */
    struct slice data;              /* TXT (strings joined), TLSA (raw) */
};

struct dns_answer {
    enum rc rc;                     /* RC_OK; RC_NONE: NXDOMAIN or no data; RC_TEMP: SERVFAIL, time-out, bogus */
    bool is_nxdomain;
    bool is_secure;                 /* validated */
    bool is_bogus;
    uint32_t ttl_s;
    struct dns_record *records;     /* in the arena handed to the callback's query */
    size_t count;
    char why[160];                  /* for RC_TEMP and RC_NONE */
};

struct dns;
struct dns_options {
    const char *const *servers;     /* "127.0.0.1@5300"; count 0: /etc/resolv.conf */
    size_t server_count;
    const char *trust_anchor_file;  /* NULL: none */
    const char *resolv_conf;        /* NULL: /etc/resolv.conf */
};
/* RC_PERM with a clear line when no server is configured, a file is missing or a server is no "address[@port]".
 * The resolver's thread and all its descriptors and files are there when this returns: open first, confine then (threads
 * are not started later, but UDP and TCP sockets are). */
enum rc dns_open(const struct dns_options *, struct dns **, struct fault *);
void dns_close(struct dns *);
int dns_fd(const struct dns *);     /* readable: call dns_process */
void dns_process(struct dns *);
/* `done` is called once, later, from dns_process (never from within dns_query), with an answer that lives until it
 * returns. 0: could not be asked (then done is not called). */
typedef void dns_done(void *arg, const struct dns_answer *);
uint32_t dns_query(struct dns *, struct slice name_ascii, enum dns_type, dns_done *, void *arg);
void dns_cancel(struct dns *, uint32_t query);

/* ---- choosing exchangers --------------------------------------------------------------------------------- */

struct mx;

enum { MX_MAX = 50, MX_ADDRESSES_MAX = 8, MX_TARGETS_MAX = 24 };     /* exchangers considered; addresses of one; addresses in all */
struct mx_target {
    struct slice name;              /* exchanger */
    char address[46];
    uint16_t preference;
    bool is_secure;                 /* every answer on the way was validated (DANE) */
};
size_t mx_exchangers(const struct mx *);                /* how many there were to choose from */
/* domain: ASCII, or an address literal "[192.0.2.1]" / "[IPv6:2001:db8::1]" (no lookup). with_mx false: the name's own
 * addresses only ("[host]" routes). Lives in the arena; NULL when that is full. `own_name`: our own host name; exchangers at
 * or past our own preference are dropped (RFC 5321 5.1; 5.4.6 when none is left). random orders equals. The addresses of one
 * exchanger alternate between IPv6 and IPv4 in the resolver's order. A target's address may be anything: whether loopback
 * is allowed is the caller's business. */
struct mx *mx_begin(struct slice domain_ascii, bool with_mx, struct slice own_name, uint64_t random, struct arena *);
/* The next lookup needed: RC_MORE with name and type; RC_OK: targets are complete, best first; RC_TEMP / RC_PERM: no way,
 * with the fault a bounce would carry (5.1.2 no such domain, 5.1.10 null MX, 5.4.4 no usable exchanger, 4.4.3 DNS). */
enum rc mx_next(struct mx *, struct slice *name, enum dns_type *, struct fault *);
void mx_answer(struct mx *, const struct dns_answer *);
const struct mx_target *mx_targets(const struct mx *, size_t *count);

#endif
