/* Dates: what real mail writes is read, what we write is exact. */
#include "mail/date.h"

#include "check.h"

static const struct {
    const char *sentence;
    const char *input;
    enum rc rc;
    const char *written;        /* by date_write */
} dates[] = {
    { "the form of RFC 5322", "Sun, 22 Nov 2026 06:47:28 +0000", RC_OK, "Sun, 22 Nov 2026 06:47:28 +0000" },
    { "a zone is kept", "Thu, 22 Aug 2002 18:26:25 +0700", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0700" },
    { "a zone with half an hour west", "1 Jan 2020 00:00:00 -0330", RC_OK, "Wed, 01 Jan 2020 00:00:00 -0330" },
    { "no weekday and no seconds", "22 Aug 2002 18:26 -0400", RC_OK, "Thu, 22 Aug 2002 18:26:00 -0400" },
    { "a wrong weekday does not matter", "Mon, 22 Aug 2002 18:26:25 +0000", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "a comment behind the zone", "Thu, 22 Aug 2002 18:26:25 +0700 (ICT)", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0700" },
    { "comments everywhere", "(a)Thu(b(c)\\)),(x) 22 (y)Aug(z) 2002 18:26:25 (w) +0700", RC_OK,
      "Thu, 22 Aug 2002 18:26:25 +0700" },
    { "folding white space", "Thu,\r\n\t22 Aug\r\n 2002 18:26:25\r\n +0700", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0700" },
    { "an alphabetic zone", "Thu, 22 Aug 2002 18:26:25 EST", RC_OK, "Thu, 22 Aug 2002 18:26:25 -0500" },
    { "a zone nobody knows is UTC", "Thu, 22 Aug 2002 18:26:25 XYZ", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "a military zone is UTC", "Thu, 22 Aug 2002 18:26:25 A", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "GMT and an offset", "Thu, 22 Aug 2002 18:26:25 GMT+0200", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0200" },
    { "a zone with a colon", "Thu, 22 Aug 2002 18:26:25 +02:00", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0200" },
    { "an impossible zone counts as none", "Thu, 22 Aug 2002 18:26:25 +9999", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "no zone", "Thu, 22 Aug 2002 18:26:25", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "a two-digit year of this century", "22 Aug 02 18:26:25 GMT", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "a two-digit year of the last century", "22 Aug 97 18:26:25 GMT", RC_OK, "Fri, 22 Aug 1997 18:26:25 +0000" },
    { "a three-digit year of the year 2000 bug", "22 Aug 102 18:26:25 GMT", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "the same in four digits", "Thu, 22 Aug 0102 12:07:35 +0800", RC_OK, "Thu, 22 Aug 2002 12:07:35 +0800" },
    { "hyphens in the date", "Thu, 22-Aug-2002 18:26:25 +0700", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0700" },
    { "asctime", "Thu Aug 22 18:26:25 2002", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "asctime with a zone before the year", "Thu Aug 22 18:26:25 PDT 2002", RC_OK, "Thu, 22 Aug 2002 18:26:25 -0700" },
    { "ISO 8601", "2002-08-22T18:26:25Z", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "ISO 8601 with a space and an offset", "2002-08-22 18:26:25 +0200", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0200" },
    { "ISO 8601 with an offset and a fraction", "2002-08-22T18:26:25.123+02:00", RC_OK,
      "Thu, 22 Aug 2002 18:26:25 +0200" },
    { "a month name in full", "22 August 2002 18:26:25 +0000", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "upper case", "THU, 22 AUG 2002 18:26:25 GMT", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "half a day", "Thu, 22 Aug 2002 6:26:25 PM", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "midnight in half days", "Thu, 22 Aug 2002 12:26:25 AM", RC_OK, "Thu, 22 Aug 2002 00:26:25 +0000" },
    { "dots in the time", "Thu, 22 Aug 2002 18.26.25 +0000", RC_OK, "Thu, 22 Aug 2002 18:26:25 +0000" },
    { "no time", "22 Aug 2002", RC_OK, "Thu, 22 Aug 2002 00:00:00 +0000" },
    { "a leap day", "29 Feb 2000 00:00:00 +0000", RC_OK, "Tue, 29 Feb 2000 00:00:00 +0000" },
    { "a leap second is the next minute", "31 Dec 2016 23:59:60 +0000", RC_OK, "Sun, 01 Jan 2017 00:00:00 +0000" },
    { "before 1970", "1 Jan 1900 00:00:00 +0000", RC_OK, "Mon, 01 Jan 1900 00:00:00 +0000" },
    { "the last day there is", "31 Dec 9999 23:59:59 +0000", RC_OK, "Fri, 31 Dec 9999 23:59:59 +0000" },

    { "nothing", "", RC_PERM, "" },
    { "words", "the day after tomorrow", RC_PERM, "" },
    { "no year", "Thu, 22 Aug 18:26:25", RC_PERM, "" },
    { "no day", "Aug 2002 18:26:25", RC_PERM, "" },
    { "no month", "22 2002 18:26:25", RC_PERM, "" },
    { "the 31st of February", "31 Feb 2002 18:26:25 +0000", RC_PERM, "" },
    { "the 29th of February in 1900", "29 Feb 1900 18:26:25 +0000", RC_PERM, "" },
    { "a day 0", "0 Feb 2002 18:26:25 +0000", RC_PERM, "" },
    { "an hour 24", "22 Aug 2002 24:00:00 +0000", RC_PERM, "" },
    { "a minute 60", "22 Aug 2002 18:60:00 +0000", RC_PERM, "" },
    { "a year before there was mail", "22 Aug 1815 18:26:25", RC_PERM, "" },
    { "a year of many digits", "22 Aug 99999999999999999999 18:26:25", RC_PERM, "" },
    { "an open comment", "(((((((((", RC_PERM, "" },
    { "an open comment that ends in a backslash", "(a\\", RC_PERM, "" },
    { "a day of many digits", "222222222 Aug 2002", RC_PERM, "" },
};

static void check_dates(void)
{
    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        struct mail_date date;
        struct buf out;
        CASE(dates[i].sentence);
        enum rc rc = date_parse(slice_from_str(dates[i].input), &date);
        CHECK_INT(rc, dates[i].rc);
        if (rc != RC_OK)
            continue;
        buf_init(&out, 64);
        CHECK(date_write(date, &out));
        CHECK_SLICE(buf_slice(&out), slice_from_str(dates[i].written));
        buf_free(&out);
    }
}

static const struct {
    const char *sentence;
    const char *input;
    enum rc rc;
    int64_t unix_s;
    const char *written;
} imap[] = {
    { "an IMAP date-time", "22-Nov-2026 06:47:28 +0000", RC_OK, 1795330048, "22-Nov-2026 06:47:28 +0000" },
    { "a padded day", " 2-Nov-2026 06:47:28 +0100", RC_OK, 1793598448, " 2-Nov-2026 06:47:28 +0100" },
    { "a zone in the west", "01-Jan-1970 00:00:00 -0130", RC_OK, 5400, " 1-Jan-1970 00:00:00 -0130" },
    { "no zone", "22-Nov-2026 06:47:28", RC_PERM, 0, "" },
    { "text behind it", "22-Nov-2026 06:47:28 +0000 ", RC_PERM, 0, "" },
    { "two digits of a year", "22-Nov-26 06:47:28 +0000", RC_PERM, 0, "" },
    { "no such month", "22-Xxx-2026 06:47:28 +0000", RC_PERM, 0, "" },
    { "a month in full", "22-November-2026 06:47:28 +0000", RC_PERM, 0, "" },
    { "no such day", "31-Nov-2026 06:47:28 +0000", RC_PERM, 0, "" },
    { "no such zone", "22-Nov-2026 06:47:28 +0060", RC_PERM, 0, "" },
    { "a sign instead of a digit", "22-Nov-2026 06:+7:28 +0000", RC_PERM, 0, "" },
    { "nothing", "", RC_PERM, 0, "" },
};

static void check_imap(void)
{
    int64_t day;

    for (size_t i = 0; i < sizeof imap / sizeof imap[0]; i++) {
        struct mail_date date;
        struct buf out;
        CASE(imap[i].sentence);
        enum rc rc = date_parse_imap(slice_from_str(imap[i].input), &date);
        CHECK_INT(rc, imap[i].rc);
        if (rc != RC_OK)
            continue;
        CHECK_INT(date.unix_s, imap[i].unix_s);
        buf_init(&out, 64);
        CHECK(date_write_imap(date, &out));
        CHECK_SLICE(buf_slice(&out), slice_from_str(imap[i].written));
        buf_free(&out);
    }
    CASE("the days of SEARCH");
    CHECK_INT(date_parse_imap_day(SLICE("2-Jan-1970"), &day), RC_OK);
    CHECK_INT(day, 1);
    CHECK_INT(date_parse_imap_day(SLICE("01-Jan-2000"), &day), RC_OK);
    CHECK_INT(day, 10957);
    CHECK_INT(date_parse_imap_day(SLICE("1-Jan-2000 "), &day), RC_PERM);
    CHECK_INT(date_day((struct mail_date){ 0, -60 }), -1);
    CHECK_INT(date_day((struct mail_date){ 86399, 60 }), 1);
}

static void check_others(void)
{
    int64_t unix_s;
    struct buf out;

    buf_init(&out, 256);
    CASE("ISO 8601 for logs");
    CHECK(date_write_iso(1795330048123, &out) && buf_append_byte(&out, ' ') && date_write_iso(-1, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("2026-11-22T06:47:28.123Z 1969-12-31T23:59:59.999Z"));
    buf_clear(&out);
    CASE("From_ lines");
    CHECK(date_write_asctime(1795330048, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("Sun Nov 22 06:47:28 2026"));
    CHECK_INT(date_parse_asctime(buf_slice(&out), &unix_s), RC_OK);
    CHECK_INT(unix_s, 1795330048);
    CHECK_INT(date_parse_asctime(SLICE("Thu Aug  2 18:26:25 2002\r\n"), &unix_s), RC_OK);
    CHECK_INT(unix_s, 1028312785);
    CHECK_INT(date_parse_asctime(SLICE("22 Aug 2002 18:26:25"), &unix_s), RC_PERM);
    CHECK_INT(date_parse_asctime(SLICE(""), &unix_s), RC_PERM);
    buf_clear(&out);
    CASE("times beyond the calendar are written as its ends");
    CHECK(date_write((struct mail_date){ INT64_MAX, 0 }, &out) && date_write((struct mail_date){ INT64_MIN, 0 }, &out));
    CHECK_SLICE(slice_sub(buf_slice(&out), 0, 16), SLICE("Fri, 31 Dec 9999"));
    CHECK_SLICE(slice_sub(buf_slice(&out), 31, 16), SLICE("Mon, 01 Jan 0001"));
    buf_free(&out);
}

static void check_every_day(void)
{
    CASE("every day from 1900 to 2200 is written and read back");
    for (int64_t day = -25567; day < 84006; day++) {
        struct buf out;
        struct mail_date date = { day * 86400 + 4242, 0 }, again;
        buf_init(&out, 64);
        CHECK(date_write(date, &out) && date_parse(buf_slice(&out), &again) == RC_OK);
        CHECK_INT(again.unix_s, date.unix_s);
        buf_free(&out);
    }
}

int main(void)
{
    check_dates();
    check_imap();
    check_others();
    check_every_day();
    return check_done();
}
