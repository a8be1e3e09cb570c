/* The one error shape.
 *
 * Mail has its own taxonomy of outcomes, so it is the error type. A function that can fail returns an enum rc
 * and fills a caller-owned fault with what a person needs: the enhanced status (RFC 3463), errno where the
 * system said no, and a fixed text naming the thing and the way out. The SMTP reply, the DSN, the retry
 * decision and the log line all derive from it. Libraries return faults and never log.
 * A fault pointer may be NULL where the caller wants the rc alone. */
#ifndef THURN_BASE_FAULT_H
#define THURN_BASE_FAULT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

enum rc {
    RC_OK,
    RC_MORE,        /* need more input, or not finished yet */
    RC_NONE,        /* no such thing */
    RC_TEMP,        /* failed now, may work later: 4xx */
    RC_PERM,        /* will not work: 5xx */
};

/* Enhanced status code x.y.z; 0 is "none given". */
#define ESC(class, subject, detail) ((uint32_t)((class) << 24 | (subject) << 12 | (detail)))
#define ESC_CLASS(esc) ((esc) >> 24)
#define ESC_SUBJECT(esc) (((esc) >> 12) & 0xfff)
#define ESC_DETAIL(esc) ((esc) & 0xfff)

enum { FAULT_TEXT_MAX = 512 };

struct fault {
    enum rc rc;
    uint32_t esc;                   /* ESC(), or 0 */
    int err;                        /* errno, or 0 */
    char text[FAULT_TEXT_MAX];      /* always terminated, printable, no line end */
};

/* Each fills the fault and returns its rc. */
enum rc fault_temp(struct fault *, uint32_t esc, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum rc fault_perm(struct fault *, uint32_t esc, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum rc fault_none(struct fault *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A system call failed: the text gets ": <reason>" appended. No such file is RC_NONE; wrong by
 * nature (permission, invalid, in use, ...) is permanent; out of space, resources, network and the rest temporary. */
enum rc fault_errno(struct fault *, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum rc fault_no_memory(struct fault *);
/* Put "prefix: " before the text that is there, to say where it happened; keeps everything else. */
void fault_prefix(struct fault *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void fault_clear(struct fault *);

/* Programming errors stop the program, in release builds too. */
#define must(condition) ((condition) ? (void)0 : must_failed(#condition, __FILE__, __LINE__))
_Noreturn void must_failed(const char *condition, const char *file, int line);

#endif
