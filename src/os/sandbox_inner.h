/* What sandbox*.c share, and nobody else. */
#ifndef THURN_OS_SANDBOX_INNER_H
#define THURN_OS_SANDBOX_INNER_H

#include "os/sandbox.h"

/* Each appends its words to the report; RC_PERM only when a part that is available fails. */
enum rc sandbox_restrict_files(const struct sandbox *, struct buf *report, struct fault *);    /* Landlock */
enum rc sandbox_restrict_calls(const struct sandbox *, struct buf *report, struct fault *);    /* seccomp */

#endif
