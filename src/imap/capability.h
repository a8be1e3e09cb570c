/* The table of capabilities: what is advertised, when (RFC 3501 7.2.1). What stands here is complete. */
#ifndef THURN_IMAP_CAPABILITY_H
#define THURN_IMAP_CAPABILITY_H

#include "base/buf.h"

enum imap_capability_when {
    IMAP_BEFORE_LOGIN = 1,
    IMAP_AFTER_LOGIN = 2,
    IMAP_WITH_STARTTLS = 4,         /* before login, STARTTLS is possible */
    IMAP_WITHOUT_AUTH = 8,          /* before login, it is not allowed yet */
    IMAP_WITH_AUTH = 16,            /* before login, it is allowed */
    IMAP_WITH_BINDING = 32,         /* and the TLS channel has binding data */
};

/* "IMAP4rev1 ..." without a line end: each row of which one condition holds. */
void imap_capabilities(struct buf *, unsigned when);

#endif
