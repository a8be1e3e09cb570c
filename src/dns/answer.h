/* Inside dns: one resolver result, in DNS wire format (RFC 1035 3.2.1), into typed records. */
#ifndef THURN_DNS_ANSWER_H
#define THURN_DNS_ANSWER_H

#include "dns/dns.h"

/* Parses one RDATA. False: not well-formed, or a name that nobody should connect to. Names and data live in the arena. */
bool dns_record_parse(enum dns_type, struct slice rdata, struct arena *, struct dns_record *);
/* An uncompressed name: lower case text without trailing dot, "" for the root; what follows it stays in `in`.
 * Labels may hold letters, digits, "-" and "_": anything else would have to be escaped, and is refused. */
bool dns_name_parse(struct slice *in, struct arena *, struct slice *name);

#endif
