/* The one error shape: see fault.h. */
#include "base/fault.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the system's refusals mean to mail. What is not listed is temporary: mail that waits for an administrator
 * is better than mail that bounces because of him. */
static const struct errno_meaning {
    int err;
    enum rc rc;
    uint32_t esc;
} meanings[] = {
    { ENOENT,          RC_NONE, 0 },
    { EACCES,          RC_PERM, ESC(5, 3, 0) },
    { EPERM,           RC_PERM, ESC(5, 3, 0) },
    { EROFS,           RC_PERM, ESC(5, 3, 0) },
    { EINVAL,          RC_PERM, ESC(5, 3, 0) },
    { EBADF,           RC_PERM, ESC(5, 3, 0) },
    { EEXIST,          RC_PERM, ESC(5, 3, 0) },
    { EISDIR,          RC_PERM, ESC(5, 3, 0) },
    { ENOTDIR,         RC_PERM, ESC(5, 3, 0) },
    { ELOOP,           RC_PERM, ESC(5, 3, 0) },
    { ENAMETOOLONG,    RC_PERM, ESC(5, 3, 0) },
    { ENOSYS,          RC_PERM, ESC(5, 3, 0) },
    { ENOTSUP,         RC_PERM, ESC(5, 3, 0) },
    { EADDRINUSE,      RC_PERM, ESC(5, 3, 0) },
    { EADDRNOTAVAIL,   RC_PERM, ESC(5, 3, 0) },
    { EAFNOSUPPORT,    RC_PERM, ESC(5, 3, 0) },
    { ENOSPC,          RC_TEMP, ESC(4, 3, 1) },     /* RFC 3463 3.4: mail system full */
    { EDQUOT,          RC_TEMP, ESC(4, 3, 1) },
    { ECONNREFUSED,    RC_TEMP, ESC(4, 4, 1) },     /* RFC 3463 3.5: no answer from host */
    { ETIMEDOUT,       RC_TEMP, ESC(4, 4, 1) },
    { EHOSTUNREACH,    RC_TEMP, ESC(4, 4, 1) },
    { ENETUNREACH,     RC_TEMP, ESC(4, 4, 1) },
    { ECONNRESET,      RC_TEMP, ESC(4, 4, 2) },     /* RFC 3463 3.5: bad connection */
    { ECONNABORTED,    RC_TEMP, ESC(4, 4, 2) },
    { EPIPE,           RC_TEMP, ESC(4, 4, 2) },
};

static struct errno_meaning meaning_of(int err)
{
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (meanings[i].err == err)
            return meanings[i];
    return (struct errno_meaning){ err, RC_TEMP, ESC(4, 3, 0) };
}

/* A fault's text may end up in an SMTP reply or a log line whatever was formatted into it. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

__attribute__((format(printf, 2, 0)))
static void format_text(char text[FAULT_TEXT_MAX], const char *format, va_list args)
{
    if (vsnprintf(text, FAULT_TEXT_MAX, format, args) < 0)
        text[0] = '\0';
    make_printable(text);
}

__attribute__((format(printf, 5, 0)))
static enum rc fill(struct fault *f, enum rc rc, uint32_t esc, int err, const char *format, va_list args)
{
    if (f != NULL) {
        char text[FAULT_TEXT_MAX];          /* the arguments may point into the fault itself */
        format_text(text, format, args);
        f->rc = rc;
        f->esc = esc;
        f->err = err;
        memcpy(f->text, text, sizeof text);
    }
    return rc;
}

enum rc fault_temp(struct fault *f, uint32_t esc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(f, RC_TEMP, esc, 0, format, args);
    va_end(args);
    return RC_TEMP;
}

enum rc fault_perm(struct fault *f, uint32_t esc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(f, RC_PERM, esc, 0, format, args);
    va_end(args);
    return RC_PERM;
}

enum rc fault_none(struct fault *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(f, RC_NONE, 0, 0, format, args);
    va_end(args);
    return RC_NONE;
}

enum rc fault_errno(struct fault *f, int err, const char *format, ...)
{
    struct errno_meaning meaning = meaning_of(err);
    va_list args;
    va_start(args, format);
    fill(f, meaning.rc, meaning.esc, err, format, args);
    va_end(args);
    if (f == NULL)
        return meaning.rc;
    /* The reason is the better half: a long text gives way to it. */
    const char *reason = strerrordesc_np(err);      /* unlike strerror: no shared buffer, no locale */
    char ending[80];
    int len = reason != NULL ? snprintf(ending, sizeof ending, ": %s", reason)
                             : snprintf(ending, sizeof ending, ": errno %d", err);
    must(len > 0 && (size_t)len < sizeof ending);
    size_t at = strlen(f->text);
    if (at > FAULT_TEXT_MAX - 1 - (size_t)len)
        at = FAULT_TEXT_MAX - 1 - (size_t)len;
    memcpy(f->text + at, ending, (size_t)len + 1);
    return meaning.rc;
}

enum rc fault_no_memory(struct fault *f)
{
    return fault_temp(f, ESC(4, 3, 0), "out of memory");
}

void fault_prefix(struct fault *f, const char *format, ...)
{
    if (f == NULL)
        return;
    char prefix[FAULT_TEXT_MAX], old[FAULT_TEXT_MAX];
    va_list args;
    va_start(args, format);
    format_text(prefix, format, args);
    va_end(args);
    memcpy(old, f->text, sizeof old);
    size_t prefix_len = strlen(prefix);
    if (prefix_len > FAULT_TEXT_MAX - 3)
        prefix_len = FAULT_TEXT_MAX - 3;
    memcpy(f->text, prefix, prefix_len);
    memcpy(f->text + prefix_len, ": ", 2);
    size_t room = FAULT_TEXT_MAX - 1 - (prefix_len + 2);
    size_t old_len = strnlen(old, room);
    memcpy(f->text + prefix_len + 2, old, old_len);
    f->text[prefix_len + 2 + old_len] = '\0';
}

void fault_clear(struct fault *f)
{
    if (f == NULL)
        return;
    f->rc = RC_OK;
    f->esc = 0;
    f->err = 0;
    f->text[0] = '\0';
}

void must_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: must hold: %s\n", file, line, condition);
    abort();
}
