/* Maildir names: see maildir.h. */
#include "mail/maildir.h"

#include "base/text.h"
#include "mail/utf7.h"

static const struct {
    char letter;
    enum maildir_flags flag;
} letters[] = {                 /* in ASCII order, as the file name has them */
    { 'D', MAILDIR_DRAFT }, { 'F', MAILDIR_FLAGGED }, { 'P', MAILDIR_PASSED },
    { 'R', MAILDIR_REPLIED }, { 'S', MAILDIR_SEEN }, { 'T', MAILDIR_TRASHED },
};
enum { LETTERS = sizeof letters / sizeof letters[0] };

static unsigned flag_of(char letter)
{
    for (size_t i = 0; i < LETTERS; i++) {
        if (letters[i].letter == letter)
            return letters[i].flag;
    }
    return MAILDIR_UNKNOWN;
}

/* ",S=1234" somewhere in the unique name. */
static uint64_t size_of(struct slice unique)
{
    uint64_t size;
    size_t at = slice_find(unique, SLICE(",S="));
    struct slice rest = slice_sub(unique, at, unique.len);

    if (rest.len == 0)
        return 0;
    (void)slice_take(&rest, 3);
    return slice_take_number(&rest, INT64_MAX, &size) ? size : 0;
}

enum rc maildir_parse_name(struct slice file_name, struct maildir_name *name)
{
    uint64_t time_s;

    *name = (struct maildir_name){ .flags = 0 };
    if (file_name.len == 0 || file_name.ptr[0] == '.' || slice_find_byte(file_name, '/') < file_name.len)
        return RC_PERM;
    struct slice rest = file_name;
    name->unique = slice_take_until(&rest, ':');
    if (slice_take_prefix_nocase(&rest, SLICE("2,"))) {
        while (rest.len > 0 && rest.ptr[0] != ',')
            name->flags |= flag_of(slice_take(&rest, 1).ptr[0]);
    }
    struct slice digits = name->unique;
    if (slice_take_number(&digits, INT64_MAX, &time_s) && digits.len > 0 && digits.ptr[0] == '.')
        name->time_s = (int64_t)time_s;
    name->size_bytes = size_of(name->unique);
    return RC_OK;
}

bool maildir_write_name(struct slice unique, unsigned flags, struct buf *out)
{
    (void)buf_append(out, unique);
    (void)buf_append_str(out, ":2,");
    for (size_t i = 0; i < LETTERS; i++) {
        if (flags & letters[i].flag)
            (void)buf_append_byte(out, letters[i].letter);
    }
    return !out->overflow;
}

/* One level, decoded; Dovecot can be told to write UTF-8 instead. */
static enum rc parse_level(struct slice level, char separator, struct buf *utf8)
{
    struct buf decoded;

    buf_init(&decoded, level.len * 3 + 1);
    enum rc rc = utf7_decode(level, &decoded);
    struct slice text = rc == RC_OK ? buf_slice(&decoded) : level;
    if (text.len == 0 || !utf8_is_valid(text) || slice_find_byte(text, '\0') < text.len) {
        buf_free(&decoded);
        return RC_PERM;
    }
    for (size_t i = 0; i < text.len; i++)
        (void)buf_append_byte(utf8, text.ptr[i] == separator ? '_' : text.ptr[i]);
    buf_free(&decoded);
    return utf8->overflow ? RC_TEMP : RC_OK;
}

enum rc maildir_parse_folder(struct slice name, char separator, struct buf *utf8)
{
    bool is_first = true;

    if (name.len == 0 || slice_equal(name, SLICE(".")))
        return buf_append_str(utf8, "INBOX") ? RC_OK : RC_TEMP;
    if (!slice_take_byte(&name, '.') || name.ptr[name.len - 1] == '.' || slice_find_byte(name, '/') < name.len)
        return RC_PERM;
    while (name.len > 0) {
        if (!is_first)
            (void)buf_append_byte(utf8, separator);
        enum rc rc = parse_level(slice_take_until(&name, '.'), separator, utf8);
        if (rc != RC_OK)
            return rc;
        is_first = false;
    }
    return RC_OK;
}

static enum rc write_level(struct slice level, struct buf *out)
{
    struct buf encoded;

    if (level.len == 0 || slice_find_byte(level, '\0') < level.len)
        return RC_PERM;
    buf_init(&encoded, level.len * 6 + 8);
    enum rc rc = utf7_encode(level, &encoded);
    struct slice text = buf_slice(&encoded);
    for (size_t i = 0; rc == RC_OK && i < text.len; i++)
        (void)buf_append_byte(out, text.ptr[i] == '.' || text.ptr[i] == '/' ? '_' : text.ptr[i]);
    buf_free(&encoded);
    return rc == RC_OK && out->overflow ? RC_TEMP : rc;
}

enum rc maildir_write_folder(struct slice utf8, char separator, struct buf *out)
{
    bool is_last;

    if (slice_equal_nocase(utf8, SLICE("INBOX")))
        return RC_OK;
    do {
        is_last = slice_find_byte(utf8, separator) == utf8.len;
        (void)buf_append_byte(out, '.');
        enum rc rc = write_level(slice_take_until(&utf8, separator), out);
        if (rc != RC_OK)
            return rc;
    } while (!is_last);
    return RC_OK;
}
