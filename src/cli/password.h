/* Passwords come from a terminal without echo, from a file, or from standard input: never from the command line, which
 * everybody on the machine can read. */
#ifndef THURN_CLI_PASSWORD_H
#define THURN_CLI_PASSWORD_H

#include "base/fault.h"

#include <stdbool.h>
#include <stddef.h>

enum { PASSWORD_MAX = 1024, PASSWORD_MADE = 24 };

/* file NULL: a terminal is asked (twice when is_new), else the first line of standard input. "-": standard input.
 * Otherwise the first line of the file. The caller wipes it (explicit_bzero). */
enum rc password_read(const char *file, const char *whose, bool is_new, char out[PASSWORD_MAX], struct fault *);
/* A new random one: 24 of 32 letters and digits that no reader confuses (120 bits). */
void password_make(char out[PASSWORD_MADE + 1]);

#endif
