/* Dates: what is read can be written and reads the same. */
#include "fuzz.h"

#include "mail/date.h"

static void check_written(struct mail_date date)
{
    struct mail_date again;
    struct buf out;

    must(date.zone_min > -24 * 60 && date.zone_min < 24 * 60);
    buf_init(&out, 128);
    must(date_write(date, &out) && date_parse(buf_slice(&out), &again) == RC_OK);
    must(again.unix_s == date.unix_s && again.zone_min == date.zone_min);
    buf_clear(&out);
    must(date_write_imap(date, &out) && date_parse_imap(buf_slice(&out), &again) == RC_OK);
    must(again.unix_s == date.unix_s && again.zone_min == date.zone_min);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = { (const char *)data, size };
    struct mail_date date;
    int64_t day, unix_s;

    if (date_parse(in, &date) == RC_OK)
        check_written(date);
    (void)date_parse_imap(in, &date);
    (void)date_parse_imap_day(in, &day);
    (void)date_parse_asctime(in, &unix_s);
    return 0;
}
