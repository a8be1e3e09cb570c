/* The whole of the unit test harness: a case is a sentence, a check that fails says what it saw.
 * A program's main runs its cases and ends with `return check_done();`. Output is TAP for the test runner. */
#ifndef THURN_TEST_CHECK_H
#define THURN_TEST_CHECK_H

#include "base/slice.h"

#include <stdio.h>
#include <stdlib.h>

static const char *check_case = "";
static unsigned check_ran, check_failed;

#define CASE(sentence) (check_case = (sentence))

#define CHECK(condition) \
    (check_ran++, (condition) ? (void)0 \
     : (check_failed++, (void)fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, check_case, #condition)))

#define CHECK_INT(got, want) \
    do { \
        long long got_ = (long long)(got), want_ = (long long)(want); \
        check_ran++; \
        if (got_ != want_) { \
            check_failed++; \
            fprintf(stderr, "%s:%d: %s: %s is %lld, want %lld\n", __FILE__, __LINE__, check_case, #got, got_, want_); \
        } \
    } while (0)

#define CHECK_SLICE(got, want) \
    do { \
        struct slice got_ = (got), want_ = (want); \
        check_ran++; \
        if (!slice_equal(got_, want_)) { \
            check_failed++; \
            fprintf(stderr, "%s:%d: %s: %s is \"%.*s\", want \"%.*s\"\n", __FILE__, __LINE__, check_case, #got, \
                    SLICE_ARG(got_), SLICE_ARG(want_)); \
        } \
    } while (0)

#define CHECK_STR(got, want) CHECK_SLICE(slice_from_str(got), slice_from_str(want))

static inline int check_done(void)
{
    if (check_ran == 0) {
        fprintf(stderr, "no check ran\n");
        return 1;
    }
    fprintf(stderr, "%u checks, %u failed\n", check_ran, check_failed);
    return check_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
