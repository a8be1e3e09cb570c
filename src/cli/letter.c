/* A message from words, a text and files: see letter.h. */
#include "cli/letter.h"

#include "mail/compose.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum { HEADER_MAX = 1024 * 1024, PIECE_BYTES = COMPOSE_PIECE_BYTES * 16 };

enum rc letter_read_text(struct letter *letter, FILE *file, const char *name, struct arena *arena, struct fault *f)
{
    char piece[16 * 1024];
    struct buf text;
    buf_init(&text, LETTER_TEXT_MAX);
    enum rc rc = RC_OK;
    for (size_t got; rc == RC_OK && (got = fread(piece, 1, sizeof(piece), file)) > 0; ) {
        if (!buf_append(&text, (struct slice){ piece, got }))
            rc = fault_perm(f, 0, "%s: longer than %d MiB: attach it instead", name, LETTER_TEXT_MAX >> 20);
    }
    if (rc == RC_OK && ferror(file))
        rc = fault_errno(f, errno, "%s", name);
    letter->text = rc == RC_OK ? arena_copy(arena, buf_slice(&text)) : SLICE_NONE;
    if (rc == RC_OK && letter->text.ptr == NULL && buf_len(&text) > 0)
        rc = fault_no_memory(f);
    buf_free(&text);
    return rc;
}

static struct mail_date date_now(void)
{
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    return (struct mail_date){ .unix_s = now, .zone_min = (int16_t)(local.tm_gmtoff / 60) };
}

static struct compose_mailbox *mailboxes(const struct addresses *list)
{
    struct compose_mailbox *out = calloc(list->count + 1, sizeof(*out));
    for (size_t i = 0; i < list->count && out != NULL; i++)
        out[i] = (struct compose_mailbox){ .name = list->entries[i].name, .address = &list->addresses[i] };
    return out;
}

/* Takes what was composed so far out of memory. */
static enum rc move(bool is_written, struct buf *out, struct spool *spool, struct fault *f)
{
    enum rc rc = is_written ? spool_write(spool, buf_slice(out), f) : fault_perm(f, 0, "the message is too large");
    buf_clear(out);
    return rc;
}

static enum rc copy_content(FILE *file, const char *path, struct spool *spool, struct buf *out, struct fault *f)
{
    static const size_t size = PIECE_BYTES;
    char *piece = malloc(size);
    enum rc rc = piece == NULL ? fault_no_memory(f) : RC_OK;
    for (size_t got; rc == RC_OK && (got = fread(piece, 1, size, file)) > 0; )
        rc = move(compose_write_content((struct slice){ piece, got }, out), out, spool, f);
    free(piece);
    return rc == RC_OK && ferror(file) ? fault_errno(f, errno, "%s", path) : rc;
}

static enum rc write_attachment(const struct compose *compose, const char *path, struct spool *spool, struct buf *out, struct fault *f)
{
    struct stat st;
    struct compose_attachment attachment = { .file_name = slice_from_str(path) };
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fault_errno(f, errno, "%s", path);
    enum rc rc = RC_OK;
    if (fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode))
        rc = fault_perm(f, 0, "%s: not a file that can be attached", path);
    if (rc == RC_OK)
        rc = move(compose_write_attachment_head(compose, &attachment, out), out, spool, f);
    if (rc == RC_OK)
        rc = copy_content(file, path, spool, out, f);
    fclose(file);
    return rc;
}

enum rc letter_write(const struct letter *letter, struct spool *spool, struct fault *f)
{
    struct buf out;
    struct compose_mailbox *from = mailboxes(letter->sender), *to = mailboxes(letter->to), *cc = mailboxes(letter->cc);
    enum rc rc = from == NULL || to == NULL || cc == NULL ? fault_no_memory(f) : RC_OK;
    buf_init(&out, (size_t)LETTER_TEXT_MAX * 4 + HEADER_MAX);
    if (rc == RC_OK) {
        struct compose compose = {
            .from = from[0], .to = to, .cc = cc, .to_count = letter->to->count, .cc_count = letter->cc->count,
            .subject = letter->subject, .date = date_now(), .text = letter->text, .attachment_count = letter->attachment_count,
            .utf8_allowed = letter->needs_utf8,
        };
        if (RAND_bytes(compose.random, sizeof(compose.random)) != 1)
            rc = fault_temp(f, 0, "the system gives no random numbers");
        if (rc == RC_OK)
            rc = move(compose_write_start(&compose, &out), &out, spool, f);
        for (size_t i = 0; i < letter->attachment_count && rc == RC_OK; i++)
            rc = write_attachment(&compose, letter->attachments[i], spool, &out, f);
        if (rc == RC_OK)
            rc = move(compose_write_end(&compose, &out), &out, spool, f);
    }
    buf_free(&out);
    free(from);
    free(to);
    free(cc);
    return rc;
}
