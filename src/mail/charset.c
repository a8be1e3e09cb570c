/* Charsets to UTF-8: see encoded.h.
 *
 * Which converter of the C library a message may reach is a table here, not a name from the message: converters are
 * loaded as modules, have had bugs, and take options behind "//". UTF-8, ASCII and the Latin-1 family, nearly all of
 * mail, need no converter. Labels are read as software really uses them: iso-8859-1 is windows-1252, gb2312 is
 * GB18030, shift_jis is CP932. */
#include "mail/encoded.h"

#include "base/text.h"

#include <errno.h>
#include <iconv.h>

static const char built_in_utf8[] = "utf-8";
static const char built_in_latin1[] = "windows-1252";
static const char built_in_guess[] = "guess";

static const struct charset {
    const char *label;          /* as in mail, in lower case */
    const char *converter;      /* built in, or a name for iconv */
} charsets[] = {
    { "utf-8", built_in_utf8 },            { "utf8", built_in_utf8 },              { "us-ascii", built_in_utf8 },
    { "ascii", built_in_utf8 },            { "ansi_x3.4-1968", built_in_utf8 },    { "unicode-1-1-utf-8", built_in_utf8 },
    { "iso-8859-1", built_in_latin1 },     { "iso8859-1", built_in_latin1 },       { "iso_8859-1", built_in_latin1 },
    { "latin1", built_in_latin1 },         { "windows-1252", built_in_latin1 },    { "cp1252", built_in_latin1 },
    { "cp-1252", built_in_latin1 },        { "x-user-defined", built_in_latin1 },  { "default", built_in_guess },
    { "default_charset", built_in_guess }, { "unknown-8bit", built_in_guess },     { "x-unknown", built_in_guess },
    { "unknown", built_in_guess },         { "8bit", built_in_guess },             { "none", built_in_guess },
    { "iso-8859-2", "ISO-8859-2" },        { "iso8859-2", "ISO-8859-2" },          { "latin2", "ISO-8859-2" },
    { "iso-8859-3", "ISO-8859-3" },        { "iso-8859-4", "ISO-8859-4" },         { "iso-8859-5", "ISO-8859-5" },
    { "iso-8859-6", "ISO-8859-6" },        { "iso-8859-7", "ISO-8859-7" },         { "iso-8859-8", "ISO-8859-8" },
    { "iso-8859-8-i", "ISO-8859-8" },      { "iso-8859-9", "CP1254" },             { "iso-8859-10", "ISO-8859-10" },
    { "iso-8859-11", "TIS-620" },          { "iso-8859-13", "ISO-8859-13" },       { "iso-8859-14", "ISO-8859-14" },
    { "iso-8859-15", "ISO-8859-15" },      { "iso8859-15", "ISO-8859-15" },        { "latin-9", "ISO-8859-15" },
    { "iso-8859-16", "ISO-8859-16" },
    { "windows-1250", "CP1250" },          { "cp1250", "CP1250" },                 { "windows-1251", "CP1251" },
    { "cp1251", "CP1251" },                { "windows-1253", "CP1253" },           { "windows-1254", "CP1254" },
    { "windows-1255", "CP1255" },          { "windows-1256", "CP1256" },           { "windows-1257", "CP1257" },
    { "windows-1258", "CP1258" },          { "windows-874", "CP874" },             { "tis-620", "TIS-620" },
    { "koi8-r", "KOI8-R" },                { "koi8-u", "KOI8-U" },                 { "ibm866", "CP866" },
    { "cp866", "CP866" },                  { "ibm850", "CP850" },                  { "cp850", "CP850" },
    { "ibm437", "CP437" },                 { "cp437", "CP437" },                   { "macintosh", "MACINTOSH" },
    { "gb2312", "GB18030" },               { "gb_2312-80", "GB18030" },            { "gbk", "GB18030" },
    { "gb18030", "GB18030" },              { "cp936", "GB18030" },                 { "big5", "BIG5-HKSCS" },
    { "big5-hkscs", "BIG5-HKSCS" },        { "cp950", "BIG5-HKSCS" },
    { "chinesebig5", "BIG5-HKSCS" },       { "gb2312_charset", "GB18030" },
    { "shift_jis", "CP932" },              { "shift-jis", "CP932" },               { "sjis", "CP932" },
    { "x-sjis", "CP932" },                 { "windows-31j", "CP932" },             { "cp932", "CP932" },
    { "iso-2022-jp", "ISO-2022-JP" },      { "iso-2022-jp-1", "ISO-2022-JP" },     { "euc-jp", "EUC-JP" },
    { "euc-kr", "CP949" },                 { "ks_c_5601-1987", "CP949" },          { "ks_c_5601", "CP949" },
    { "cp949", "CP949" },                  { "windows-949", "CP949" },             { "iso-2022-kr", "ISO-2022-KR" },
    { "utf-16", "UTF-16" },                { "utf-16be", "UTF-16BE" },             { "utf-16le", "UTF-16LE" },
    { "utf-32", "UTF-32" },                { "utf-7", "UTF-7" },                   { "unicode-1-1-utf-7", "UTF-7" },
};

/* Windows-1252 0x80 to 0x9f; what it leaves open stays a C1 control. */
static const uint16_t windows_1252[32] = {
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008d, 0x017d, 0x008f,
    0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178,
};

static bool from_windows_1252(struct slice in, struct buf *out)
{
    while (in.len > 0) {
        size_t plain = 0;
        while (plain < in.len && (unsigned char)in.ptr[plain] < 0x80)
            plain++;
        (void)buf_append(out, slice_take(&in, plain));
        if (in.len > 0) {
            unsigned char c = (unsigned char)slice_take(&in, 1).ptr[0];
            (void)utf8_append(out, c < 0xa0 ? windows_1252[c - 0x80] : c);
        }
    }
    return !out->overflow;
}

/* What is not UTF-8 becomes U+FFFD. */
static bool from_utf8(struct slice in, struct buf *out)
{
    while (in.len > 0) {
        struct slice rest = in;
        uint32_t c;
        while (rest.len > 0 && utf8_take(&rest, &c) == RC_OK)
            ;
        (void)buf_append(out, slice_take(&in, in.len - rest.len));
        if (in.len > 0) {
            (void)utf8_append(out, 0xfffd);
            (void)slice_take(&in, 1);
        }
    }
    return !out->overflow;
}

static bool from_unknown(struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        if ((unsigned char)in.ptr[i] < 0x80)
            (void)buf_append_byte(out, in.ptr[i]);
        else
            (void)utf8_append(out, 0xfffd);
    }
    return !out->overflow;
}

/* Runs a converter; what it cannot read becomes U+FFFD, a byte at a time. */
static bool convert(iconv_t converter, struct slice in, struct buf *out)
{
    char *from = (char *)(uintptr_t)in.ptr;     /* iconv does not write there, its type is older than const */
    size_t left = in.len;

    while (left > 0 && !out->overflow) {
        char piece[512], *to = piece;
        size_t room = sizeof piece;
        size_t result = iconv(converter, &from, &left, &to, &room);
        int err = errno;
        (void)buf_append(out, (struct slice){ piece, sizeof piece - room });
        if (result != (size_t)-1 || err == E2BIG)
            continue;
        (void)utf8_append(out, 0xfffd);
        if (err != EILSEQ)
            break;                              /* EINVAL: the input ends within a character */
        from++;
        left--;
    }
    char piece[64], *to = piece;
    size_t room = sizeof piece;
    (void)iconv(converter, NULL, NULL, &to, &room);
    (void)buf_append(out, (struct slice){ piece, sizeof piece - room });
    return !out->overflow;
}

static const char *converter_of(struct slice label)
{
    for (size_t i = 0; i < sizeof charsets / sizeof charsets[0]; i++) {
        if (slice_equal_nocase(label, slice_from_str(charsets[i].label)))
            return charsets[i].converter;
    }
    return NULL;
}

bool charset_guess_to_utf8(struct slice in, struct buf *out)
{
    return utf8_is_valid(in) ? buf_append(out, in) : from_windows_1252(in, out);
}

enum rc charset_to_utf8(struct slice charset, struct slice in, struct buf *out)
{
    const char *name = converter_of(slice_trim(charset));

    if (charset.len == 0 || name == built_in_guess)
        return charset_guess_to_utf8(in, out) ? RC_OK : RC_TEMP;
    if (name == built_in_utf8)
        return from_utf8(in, out) ? RC_OK : RC_TEMP;
    if (name == built_in_latin1)
        return from_windows_1252(in, out) ? RC_OK : RC_TEMP;
    iconv_t converter = name == NULL ? (iconv_t)-1 : iconv_open("UTF-8", name);
    if (converter == (iconv_t)-1)
        return from_unknown(in, out) ? RC_NONE : RC_TEMP;
    bool fits = convert(converter, in, out);
    (void)iconv_close(converter);
    return fits ? RC_OK : RC_TEMP;
}

static bool is_built_in(const char *name)
{
    return name == built_in_utf8 || name == built_in_latin1 || name == built_in_guess;
}

void charset_load(struct charset_converters *loaded)
{
    *loaded = (struct charset_converters){ .count = 0 };
    for (size_t i = 0; i < sizeof charsets / sizeof charsets[0]; i++) {
        const char *name = charsets[i].converter;
        bool is_known = is_built_in(name);
        for (size_t before = 0; before < i && !is_known; before++)
            is_known = strcmp(charsets[before].converter, name) == 0;
        if (is_known || loaded->count == CHARSET_CONVERTERS_MAX)
            continue;
        iconv_t converter = iconv_open("UTF-8", name);
        if (converter != (iconv_t)-1)
            loaded->open[loaded->count++] = converter;
    }
}

void charset_unload(struct charset_converters *loaded)
{
    for (size_t i = 0; i < loaded->count; i++)
        (void)iconv_close(loaded->open[i]);
    loaded->count = 0;
}
