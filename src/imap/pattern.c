/* Matching mailbox patterns: see pattern.h.
 *
 * Only the latest wildcard of each kind has to be tried again. A '*' can take whatever an earlier '*' could have taken
 * instead; the same holds for '%' within a level, and at a '/' there is only one place where a '%' can have ended. */
#include "imap/pattern.h"

struct retry {
    bool is_set;
    size_t pattern_at, name_at;
};

static bool bytes_match(char pattern, char name, bool any_case)
{
    return pattern == name || (any_case && byte_lower(pattern) == byte_lower(name));
}

bool imap_pattern_matches(struct slice pattern, struct slice name)
{
    struct retry star = { .is_set = false }, percent = { .is_set = false };
    bool any_case = slice_equal(name, SLICE("INBOX"));
    size_t p = 0, n = 0;
    while (p < pattern.len || n < name.len) {
        char byte = p < pattern.len ? pattern.ptr[p] : '\0';
        if (p < pattern.len && byte == '*') {
            star = (struct retry){ true, ++p, n };
            percent.is_set = false;
        } else if (p < pattern.len && byte == '%') {
            percent = (struct retry){ true, ++p, n };
        } else if (p < pattern.len && n < name.len && bytes_match(byte, name.ptr[n], any_case)) {
            p++;
            n++;
        } else if (percent.is_set && percent.name_at < name.len && name.ptr[percent.name_at] != '/') {
            n = ++percent.name_at;
            p = percent.pattern_at;
        } else if (star.is_set && star.name_at < name.len) {
            n = ++star.name_at;
            p = star.pattern_at;
            percent.is_set = false;
        } else {
            return false;
        }
    }
    return true;
}
