/* Slices: bytes that belong to someone else.
 *
 * A slice is a pointer and a length; it owns nothing, may hold any byte (NUL too) and is valid as long as
 * what it points into. Bytes from outside travel as slices until a parser has named them.
 * Nothing here allocates or fails. Case-insensitive means ASCII only, as in every mail grammar. */
#ifndef THURN_BASE_SLICE_H
#define THURN_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

/* A slice of a string literal (the terminating NUL is not part of it). */
#define SLICE(literal) ((struct slice){ (literal), sizeof(literal) - 1 })
/* The same where C wants a constant: in the initializer of a static table. */
#define SLICE_INIT(literal) { (literal), sizeof(literal) - 1 }
#define SLICE_NONE ((struct slice){ NULL, 0 })
/* For printf: "%.*s", SLICE_ARG(s). Only for text that cannot hold NUL and is short. */
#define SLICE_ARG(s) (int)(s).len, (s).ptr

struct slice slice_from_str(const char *str);                       /* NULL gives an empty slice */
struct slice slice_sub(struct slice, size_t from, size_t len);      /* clamped to the slice */
bool slice_equal(struct slice, struct slice);
bool slice_equal_nocase(struct slice, struct slice);
int slice_compare(struct slice, struct slice);                      /* bytewise, shorter first */
bool slice_starts_nocase(struct slice, struct slice prefix);
bool slice_ends_nocase(struct slice, struct slice suffix);
/* Position of the first such byte, or s.len when there is none. */
size_t slice_find_byte(struct slice, char byte);
/* Position of the first occurrence, or s.len when there is none. An empty needle is found at 0. */
size_t slice_find(struct slice haystack, struct slice needle);
size_t slice_find_nocase(struct slice haystack, struct slice needle);

/* Take from the front: `in` moves past what is returned. */
struct slice slice_take(struct slice *in, size_t len);              /* at most len bytes */
struct slice slice_take_while(struct slice *in, bool (*is)(unsigned char));
bool slice_take_byte(struct slice *in, char byte);                  /* true and moved when it stood there */
bool slice_take_prefix_nocase(struct slice *in, struct slice prefix);
/* Up to the separator, which is consumed but not returned; the rest when there is none. */
struct slice slice_take_until(struct slice *in, char separator);
/* Unsigned decimal, at least one digit; false (and `in` untouched) on no digit or a value over max. */
bool slice_take_number(struct slice *in, uint64_t max, uint64_t *value);

struct slice slice_trim(struct slice);                              /* SP, HTAB, CR, LF on both sides */
/* Copy into a NUL-terminated string of at most size bytes; false when it did not fit or holds NUL. */
bool slice_to_str(struct slice, char *out, size_t size);
/* Equal in time that depends on the lengths only: for secrets. */
bool slice_equal_secret(struct slice, struct slice);

bool byte_is_digit(unsigned char);
bool byte_is_alpha(unsigned char);
bool byte_is_alnum(unsigned char);
bool byte_is_space(unsigned char);       /* SP or HTAB */
char byte_lower(char);

#endif
