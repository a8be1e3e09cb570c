/* Trace headers (RFC 5321 4.4): writing Received and Return-Path. */
#ifndef THURN_MAIL_RECEIVED_H
#define THURN_MAIL_RECEIVED_H

#include "base/buf.h"
#include "mail/address.h"
#include "mail/date.h"

enum { RECEIVED_MAX = 100 };    /* RFC 5321 6.3: more is a loop */

struct received {
    struct slice helo;              /* as given, already checked for syntax */
    struct slice peer_address;      /* numeric */
    struct slice peer_name;         /* empty when unknown */
    struct slice by;                /* our host name */
    struct slice with;              /* "ESMTPSA" and so on: received_protocol */
    struct slice id;                /* message id on this server */
    const struct address *for_path; /* one recipient, or NULL */
    struct slice tls_version, tls_cipher;   /* empty without TLS */
    struct mail_date date;
};

/* "Received: ... \r\n", folded. */
bool received_write(const struct received *, struct buf *out);
/* RFC 3848, RFC 6531 4.3: SMTP, ESMTP, ESMTPS, ESMTPSA, UTF8SMTPS, LMTP, LMTPS, ... */
const char *received_protocol(bool is_lmtp, bool is_extended, bool is_utf8, bool has_tls, bool has_auth);
/* "Return-Path: <...>\r\n". */
bool return_path_write(const struct address *, struct buf *out);

#endif
