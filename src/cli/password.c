/* Passwords from people: see password.h. */
#include "cli/password.h"

#include "cli/terminal.h"
#include "os/child.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One line without its end; RC_PERM when there is none, or a longer one than a password is. */
static enum rc read_line(FILE *from, const char *where, char out[PASSWORD_MAX], struct fault *f)
{
    if (fgets(out, PASSWORD_MAX, from) == NULL)
        return ferror(from) ? fault_errno(f, errno, "%s", where) : fault_perm(f, 0, "%s: no password there", where);
    size_t len = strcspn(out, "\r\n");
    if (out[len] == '\0' && len + 1 == PASSWORD_MAX)
        return fault_perm(f, 0, "%s: the password is longer than %d bytes", where, PASSWORD_MAX - 2);
    out[len] = '\0';
    return len > 0 ? RC_OK : fault_perm(f, 0, "%s: the password is empty", where);
}

static enum rc ask_terminal(const char *whose, bool is_new, char out[PASSWORD_MAX], struct fault *f)
{
    char question[320], again[PASSWORD_MAX];
    snprintf(question, sizeof question, "%s for %.256s: ", is_new ? "New password" : "Password", whose);
    if (!terminal_ask_password(question, out, PASSWORD_MAX))
        return fault_perm(f, 0, "nothing has changed");
    if (out[0] == '\0')
        return fault_perm(f, 0, "the password is empty: nothing has changed");
    if (!is_new)
        return RC_OK;
    bool is_same = terminal_ask_password("The same again: ", again, PASSWORD_MAX) && strcmp(out, again) == 0;
    explicit_bzero(again, sizeof again);
    return is_same ? RC_OK : fault_perm(f, 0, "these are two passwords: nothing has changed");
}

enum rc password_read(const char *file, const char *whose, bool is_new, char out[PASSWORD_MAX], struct fault *f)
{
    if (file != NULL && strcmp(file, "-") != 0) {
        FILE *from = fopen(file, "re");
        if (from == NULL)
            return fault_errno(f, errno, "%s", file);
        enum rc rc = read_line(from, file, out, f);
        fclose(from);
        return rc;
    }
    if (file == NULL && isatty(STDIN_FILENO))
        return ask_terminal(whose, is_new, out, f);
    return read_line(stdin, "standard input", out, f);
}

void password_make(char out[PASSWORD_MADE + 1])
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";     /* 32 of them: no l, o, 0, 1 */
    unsigned char random[PASSWORD_MADE];
    _Static_assert(sizeof letters == 33, "as many letters as five bits have values");
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < PASSWORD_MADE; i++)
        out[i] = letters[random[i] & 31];
    out[PASSWORD_MADE] = '\0';
    explicit_bzero(random, sizeof random);
}
