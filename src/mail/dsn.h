/* Delivery status notifications (RFC 3464, RFC 6522, RFC 3461; RFC 6533 for UTF-8): writing them. */
#ifndef THURN_MAIL_DSN_H
#define THURN_MAIL_DSN_H

#include "base/buf.h"
#include "base/fault.h"
#include "mail/address.h"
#include "mail/date.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };

struct dsn_recipient {
    const struct address *final;
    struct slice original;          /* ORCPT as given ("rfc822;user@example.org", xtext decoded), or empty */
    enum dsn_action action;
    uint32_t esc;                   /* enhanced status; 0 becomes x.0.0 of the action */
    struct slice remote_host;       /* empty when none was reached */
    struct slice diagnostic;        /* "550 5.1.1 no such user" from the remote, or our own text */
    bool is_diagnostic_smtp;        /* diagnostic is an SMTP reply of the remote */
    int64_t last_attempt_s;         /* 0: none */
    int64_t will_retry_until_s;     /* for DELAYED; else 0 */
};

struct dsn {
    struct slice reporting_host;
    const struct address *to;       /* the reverse path of the original message, never null */
    struct slice envid;             /* as given, xtext decoded; or empty */
    int64_t arrival_s;
    struct slice queue_id;
    struct slice message_id;        /* for our own Message-ID, unique, without <> */
    struct slice boundary_seed;     /* unique text for the boundary */
    struct mail_date now;
    const struct dsn_recipient *recipients;
    size_t recipient_count;
    struct slice original;          /* the original message as received; headers only are returned unless return_full */
    bool return_full;
    bool is_utf8;                   /* write message/global-* parts (the receiver of the report understands SMTPUTF8) */
};

/* The whole message with CRLF line ends. RC_TEMP when out overflows. */
enum rc dsn_write(const struct dsn *, struct buf *out, struct fault *);

/* xtext (RFC 3461 4). */
enum rc xtext_decode(struct slice, struct buf *out);
bool xtext_encode(struct slice, struct buf *out);

#endif
