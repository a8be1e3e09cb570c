/* Dates of mail: RFC 5322 3.3 (with obsolete forms and what software really writes), IMAP date-time (RFC 3501 9),
 * ISO 8601 for logs. A date is Unix seconds and the zone it was written in. */
#ifndef THURN_MAIL_DATE_H
#define THURN_MAIL_DATE_H

#include "base/buf.h"
#include "base/fault.h"

struct mail_date {
    int64_t unix_s;
    int16_t zone_min;           /* minutes east of UTC */
};

enum rc date_parse(struct slice header_field_body, struct mail_date *);       /* RC_PERM: not a date */
bool date_write(struct mail_date, struct buf *);                              /* "Sun, 22 Nov 2026 06:47:28 +0000" */
enum rc date_parse_imap(struct slice, struct mail_date *);                    /* "22-Nov-2026 06:47:28 +0000", day may be SP-padded */
bool date_write_imap(struct mail_date, struct buf *);                         /* with a two-byte day; no quotes */
enum rc date_parse_imap_day(struct slice, int64_t *day);                      /* "22-Nov-2026": days since 1970-01-01 */
int64_t date_day(struct mail_date);                                           /* day in its own zone, disregarding time (SEARCH SENTON) */
bool date_write_iso(int64_t unix_ms, struct buf *);                           /* "2026-11-22T06:47:28.123Z" */
bool date_write_asctime(int64_t unix_s, struct buf *);                        /* mbox From_ lines: "Sun Nov 22 06:47:28 2026", UTC */
enum rc date_parse_asctime(struct slice, int64_t *unix_s);

#endif
