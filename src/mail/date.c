/* Dates of mail: see date.h.
 *
 * The header parser reads words, not a grammar: RFC 5322 3.3 with its obsolete forms, asctime, ISO 8601 and what
 * decades of software made of them differ in the order of the same words, and each word says by its shape what it
 * is. Writing, and the dates of IMAP, are strict. */
#include "mail/date.h"

enum { SECONDS_PER_DAY = 86400, INPUT_MAX = 256 };

static const char months[12][4] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
};
static const char week_days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };

/* RFC 5322 4.3, and those that are written often and mean one thing only. */
static const struct zone {
    char name[6];
    int16_t minutes;
} zones[] = {
    { "UT", 0 },       { "UTC", 0 },     { "GMT", 0 },     { "Z", 0 },
    { "EST", -5 * 60 }, { "EDT", -4 * 60 }, { "CST", -6 * 60 }, { "CDT", -5 * 60 },
    { "MST", -7 * 60 }, { "MDT", -6 * 60 }, { "PST", -8 * 60 }, { "PDT", -7 * 60 },
    { "WET", 0 },      { "WEST", 60 },   { "CET", 60 },    { "CEST", 120 },  { "MET", 60 },    { "MEST", 120 },
    { "EET", 120 },    { "EEST", 180 },  { "MSK", 180 },   { "JST", 540 },   { "KST", 540 },   { "HKT", 480 },
};

/* Days since 1970-01-01 of a day in the Gregorian calendar, and back; eras of 400 years starting on 1 March. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

struct civil {
    int64_t year;
    int month, day, hour, minute, second, week_day;
};

static struct civil civil_from_unix(int64_t unix_s)
{
    /* 0001-01-01 to 9999-12-31: what can be written with four digits. */
    const int64_t first = -62135596800, last = 253402300799;
    unix_s = unix_s < first ? first : unix_s > last ? last : unix_s;

    int64_t days = unix_s / SECONDS_PER_DAY, seconds = unix_s % SECONDS_PER_DAY;
    if (seconds < 0) {
        seconds += SECONDS_PER_DAY;
        days--;
    }
    int64_t shifted = days + 719468, era = shifted / 146097;
    int64_t doe = shifted - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    struct civil c = {
        .month = (int)(mp < 10 ? mp + 3 : mp - 9),
        .day = (int)(doy - (153 * mp + 2) / 5 + 1),
        .hour = (int)(seconds / 3600),
        .minute = (int)(seconds / 60 % 60),
        .second = (int)(seconds % 60),
        .week_day = (int)(((days % 7) + 7 + 4) % 7),
    };
    c.year = yoe + era * 400 + (c.month <= 2);
    return c;
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && is_leap ? 29 : days[month - 1];
}

/* 1 to 12, or 0; the first three letters decide ("September", "Sept."). */
static int month_of(struct slice word)
{
    for (int i = 0; i < 12; i++) {
        if (slice_starts_nocase(word, (struct slice){ months[i], 3 }))
            return i + 1;
    }
    return 0;
}

static bool is_week_day(struct slice word)
{
    for (int i = 0; i < 7; i++) {
        if (slice_starts_nocase(word, (struct slice){ week_days[i], 3 }))
            return true;
    }
    return false;
}

/* What has been seen so far; -1 is not yet. */
struct reading {
    int64_t year;
    int month, day, hour, minute, second, zone_min;
    bool has_zone;
    bool is_afternoon, is_morning;
};

static enum rc finish(struct reading *r, struct mail_date *date)
{
    if (r->year < 0 || r->month < 1 || r->day < 1 || r->day > days_in_month(r->year, r->month))
        return RC_PERM;
    if (r->hour < 0)
        r->hour = r->minute = r->second = 0;
    if (r->is_afternoon && r->hour < 12)
        r->hour += 12;
    if (r->is_morning && r->hour == 12)
        r->hour = 0;
    if (r->hour > 23 || r->minute > 59 || r->second > 60)          /* 60: a leap second */
        return RC_PERM;
    int64_t day = days_from_civil(r->year, r->month, r->day);
    int64_t seconds = ((int64_t)r->hour * 60 + r->minute - r->zone_min) * 60 + r->second;
    *date = (struct mail_date){ day * SECONDS_PER_DAY + seconds, (int16_t)r->zone_min };
    return RC_OK;
}

/* "hh:mm", "hh:mm:ss", "hh.mm.ss"; a fraction is dropped. */
static bool read_time(struct slice word, struct reading *r)
{
    uint64_t hour, minute, second = 0;

    if (r->hour >= 0 || !slice_take_number(&word, 99, &hour))
        return false;
    char separator = slice_take_byte(&word, ':') ? ':' : slice_take_byte(&word, '.') ? '.' : '\0';
    if (separator == '\0' || !slice_take_number(&word, 99, &minute))
        return false;
    if (slice_take_byte(&word, separator) && !slice_take_number(&word, 99, &second))
        return false;
    r->hour = (int)hour;
    r->minute = (int)minute;
    r->second = (int)second;
    if (slice_equal_nocase(word, SLICE("PM")))
        r->is_afternoon = true;
    else if (slice_equal_nocase(word, SLICE("AM")))
        r->is_morning = true;
    else if (slice_equal_nocase(word, SLICE("Z")))
        r->has_zone = true;
    return true;
}

/* "+hhmm", "-hh:mm", "+h", behind the sign; out of range counts as no zone given (RFC 5322 4.3). */
static bool read_offset(struct slice word, bool is_west, struct reading *r)
{
    uint64_t number, minutes = 0;
    size_t digits = word.len;

    if (!slice_take_number(&word, 9999, &number))
        return false;
    digits -= word.len;
    if (digits > 2) {
        minutes = number % 100;
        number /= 100;
    } else if (slice_take_byte(&word, ':') && !slice_take_number(&word, 99, &minutes)) {
        return false;
    }
    r->has_zone = true;
    r->zone_min = number < 24 && minutes < 60 ? (int)(number * 60 + minutes) : 0;
    if (is_west)
        r->zone_min = -r->zone_min;
    return true;
}

static bool read_zone(struct slice word, struct reading *r)
{
    if (r->has_zone)
        return true;
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        struct slice name = slice_from_str(zones[i].name);
        if (slice_equal_nocase(word, name)) {
            r->has_zone = zones[i].minutes != 0;        /* "GMT+0200": the offset is still to come */
            r->zone_min = zones[i].minutes;
            return true;
        }
    }
    return true;        /* a zone nobody knows is -0000 (RFC 5322 4.3) */
}

/* RFC 5322 4.3 for two and three digits; "0102" is what some made of 102. */
static int64_t full_year(uint64_t number)
{
    if (number < 50)
        return (int64_t)number + 2000;
    if (number < 1000)
        return (int64_t)number + 1900;
    return number >= 1900 ? (int64_t)number : -1;
}

static bool read_number(struct slice word, struct reading *r)
{
    uint64_t number;
    size_t digits = word.len;

    if (!slice_take_number(&word, 9999, &number))
        return false;
    digits -= word.len;
    if (word.len > 0 && byte_is_digit((unsigned char)word.ptr[0]))
        return false;
    if (digits >= 3 || r->day >= 0) {
        /* A four-digit year first is ISO 8601; then a month in digits and the day follow. */
        if (r->year < 0)
            r->year = full_year(number);
        return r->year >= 0;
    }
    if (r->year >= 0 && r->month < 0) {
        r->month = number >= 1 && number <= 12 ? (int)number : 0;
        return r->month > 0;
    }
    r->day = (int)number;
    return true;
}

static bool is_word_byte(unsigned char c)
{
    return c > ' ' && c != ',' && c != '(' && c != '-' && c != '+' && c != '/' && c != 0x7f;
}

/* Comments nest (RFC 5322 3.2.2). */
static void skip_comment(struct slice *in)
{
    size_t depth = 0;

    do {
        char c = in->ptr[0];
        if (c == '\\')
            (void)slice_take(in, 1);
        else if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
        (void)slice_take(in, 1);
    } while (depth > 0 && in->len > 0);
}

/* ISO 8601 glues the time to the day: "22T06:47:28". */
static struct slice split_iso(struct slice *word)
{
    size_t t = slice_find_byte(*word, 'T');
    struct slice whole = *word, day = slice_sub(whole, 0, t);

    *word = SLICE_NONE;
    if (t == whole.len || t == 0 || !byte_is_digit((unsigned char)whole.ptr[0]))
        return whole;
    *word = slice_sub(whole, t + 1, whole.len);
    return day;
}

static bool read_plain_word(struct slice word, struct reading *r)
{
    int month = month_of(word);

    if (byte_is_digit((unsigned char)word.ptr[0]))
        return read_time(word, r) || read_number(word, r);
    if (month > 0 && r->month < 0) {
        r->month = month;
        return true;
    }
    if (is_week_day(word))
        return true;
    if (slice_equal_nocase(word, SLICE("PM")))
        r->is_afternoon = true;
    else if (slice_equal_nocase(word, SLICE("AM")))
        r->is_morning = true;
    else if (r->hour >= 0)
        return read_zone(word, r);
    return true;
}

static bool read_word(struct slice word, char before, struct reading *r)
{
    if (r->hour >= 0 && !r->has_zone && (before == '+' || before == '-') && read_offset(word, before == '-', r))
        return true;
    struct slice first = split_iso(&word);
    return read_plain_word(first, r) && (word.len == 0 || read_plain_word(word, r));
}

enum rc date_parse(struct slice in, struct mail_date *date)
{
    struct reading r = { .year = -1, .month = -1, .day = -1, .hour = -1 };
    char before = ' ';

    *date = (struct mail_date){ .unix_s = 0 };
    in = slice_sub(in, 0, INPUT_MAX);
    while (in.len > 0) {
        if (in.ptr[0] == '(') {
            skip_comment(&in);
            continue;
        }
        struct slice word = slice_take_while(&in, is_word_byte);
        if (word.len == 0)
            before = slice_take(&in, 1).ptr[0];
        else if (!read_word(word, before, &r))
            return RC_PERM;
    }
    return finish(&r, date);
}

/* mbox From_ lines: "Sun Nov 22 06:47:28 2026", some with a zone before or behind the year. */
enum rc date_parse_asctime(struct slice in, int64_t *unix_s)
{
    struct mail_date date;
    struct slice rest = slice_trim(in);

    *unix_s = 0;
    struct slice day = slice_take_until(&rest, ' ');
    if (!is_week_day(day) || month_of(slice_trim(rest)) == 0)
        return RC_PERM;
    enum rc rc = date_parse(rest, &date);
    *unix_s = date.unix_s;
    return rc;
}

/* Exactly `digits` digits. */
static bool take_digits(struct slice *in, size_t digits, int *value)
{
    struct slice head = slice_take(in, digits);
    uint64_t number;

    if (head.len != digits || !slice_take_number(&head, 9999, &number) || head.len != 0)
        return false;
    *value = (int)number;
    return true;
}

/* "dd-Mon-yyyy", the day with one or two digits or SP-padded (RFC 3501 9: date, date-time). */
static bool take_imap_day(struct slice *in, struct reading *r)
{
    int year;
    uint64_t day;

    (void)slice_take_byte(in, ' ');
    if (!slice_take_number(in, 31, &day) || !slice_take_byte(in, '-'))
        return false;
    r->day = (int)day;
    struct slice month = slice_take(in, 3);
    r->month = month.len == 3 ? month_of(month) : 0;
    if (!slice_take_byte(in, '-') || !take_digits(in, 4, &year))
        return false;
    r->year = year;
    return true;
}

enum rc date_parse_imap(struct slice in, struct mail_date *date)
{
    struct reading r = { .has_zone = true };
    int zone;

    *date = (struct mail_date){ .unix_s = 0 };
    bool is_good = take_imap_day(&in, &r) && slice_take_byte(&in, ' ')
        && take_digits(&in, 2, &r.hour) && slice_take_byte(&in, ':')
        && take_digits(&in, 2, &r.minute) && slice_take_byte(&in, ':')
        && take_digits(&in, 2, &r.second) && slice_take_byte(&in, ' ');
    bool is_west = is_good && slice_take_byte(&in, '-');
    if (!is_good || (!is_west && !slice_take_byte(&in, '+')) || !take_digits(&in, 4, &zone) || in.len > 0)
        return RC_PERM;
    if (zone % 100 > 59 || zone / 100 > 23)
        return RC_PERM;
    r.zone_min = zone / 100 * 60 + zone % 100;
    if (is_west)
        r.zone_min = -r.zone_min;
    return finish(&r, date);
}

enum rc date_parse_imap_day(struct slice in, int64_t *day)
{
    struct reading r = { .has_zone = true };
    struct mail_date date;

    *day = 0;
    if (!take_imap_day(&in, &r) || in.len > 0 || finish(&r, &date) != RC_OK)
        return RC_PERM;
    *day = date_day(date);
    return RC_OK;
}

int64_t date_day(struct mail_date date)
{
    int64_t local = date.unix_s + (int64_t)date.zone_min * 60;
    int64_t day = local / SECONDS_PER_DAY;
    return local % SECONDS_PER_DAY < 0 ? day - 1 : day;
}

static struct civil civil_in_zone(struct mail_date date)
{
    const int64_t far = INT64_C(1) << 60;
    int64_t s = date.unix_s < -far ? -far : date.unix_s > far ? far : date.unix_s;
    return civil_from_unix(s + (int64_t)date.zone_min * 60);
}

static bool write_zone(int zone_min, struct buf *out)
{
    int minutes = zone_min < 0 ? -zone_min : zone_min;
    return buf_printf(out, " %c%02d%02d", zone_min < 0 ? '-' : '+', minutes / 60 % 100, minutes % 60);
}

bool date_write(struct mail_date date, struct buf *out)
{
    struct civil c = civil_in_zone(date);
    (void)buf_printf(out, "%s, %02d %s %04d %02d:%02d:%02d", week_days[c.week_day], c.day, months[c.month - 1],
                     (int)c.year, c.hour, c.minute, c.second);
    return write_zone(date.zone_min, out);
}

bool date_write_imap(struct mail_date date, struct buf *out)
{
    struct civil c = civil_in_zone(date);
    (void)buf_printf(out, "%2d-%s-%04d %02d:%02d:%02d", c.day, months[c.month - 1], (int)c.year, c.hour, c.minute,
                     c.second);
    return write_zone(date.zone_min, out);
}

bool date_write_iso(int64_t unix_ms, struct buf *out)
{
    int64_t ms = unix_ms % 1000;
    struct civil c = civil_from_unix(unix_ms / 1000 - (ms < 0));
    return buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)c.year, c.month, c.day, c.hour, c.minute,
                      c.second, (int)(ms < 0 ? ms + 1000 : ms));
}

bool date_write_asctime(int64_t unix_s, struct buf *out)
{
    struct civil c = civil_from_unix(unix_s);
    return buf_printf(out, "%s %s %2d %02d:%02d:%02d %04d", week_days[c.week_day], months[c.month - 1], c.day, c.hour,
                      c.minute, c.second, (int)c.year);
}
