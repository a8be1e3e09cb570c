/* Reads a message as programs write it: see raw.h. */
#include "cli/raw.h"

#include "mail/header.h"

#include <errno.h>
#include <stdlib.h>

/* A line without its end; false at the end of the input. */
static bool read_line(struct raw *raw, char **line, size_t *cap, struct slice *out, bool *has_end)
{
    ssize_t got = raw->is_ended ? -1 : getline(line, cap, raw->in);
    if (got <= 0) {
        raw->is_ended = true;
        return false;
    }
    *out = (struct slice){ *line, (size_t)got };
    *has_end = out->ptr[out->len - 1] == '\n';
    if (*has_end)
        out->len--;
    if (*has_end && out->len > 0 && out->ptr[out->len - 1] == '\r')
        out->len--;
    if (raw->dot_ends && slice_equal(*out, SLICE("."))) {
        raw->is_ended = true;
        return false;
    }
    return true;
}

static bool is_field(struct slice line)
{
    size_t colon = slice_find_byte(line, ':');
    struct slice name = slice_trim(slice_sub(line, 0, colon));
    if (colon == line.len || name.len == 0)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] <= ' ' || name.ptr[i] == 0x7f)
            return false;
    }
    return true;
}

static bool keep_line(struct raw *raw, struct slice line, bool *is_bcc)
{
    bool continues = line.len > 0 && byte_is_space((unsigned char)line.ptr[0]);
    if (!continues) {
        struct slice rest = line, name = slice_trim(slice_take_until(&rest, ':'));
        *is_bcc = slice_equal_nocase(name, SLICE("Bcc"));
        if (*is_bcc) {
            line = rest;
            buf_append_str(&raw->bcc, buf_len(&raw->bcc) > 0 ? "," : "");
        }
    }
    if (*is_bcc)
        return buf_append(&raw->bcc, line);
    buf_append(&raw->header, line);
    return buf_append_str(&raw->header, "\r\n");
}

enum rc raw_read_header(struct raw *raw, FILE *in, bool dot_ends, struct fault *f)
{
    char *text = NULL;
    size_t cap = 0;
    struct slice line;
    bool has_end, is_first = true, is_bcc = false;
    *raw = (struct raw){ .in = in, .dot_ends = dot_ends };
    buf_init(&raw->header, SPOOL_HEADER_MAX);
    buf_init(&raw->bcc, SPOOL_HEADER_MAX);
    while (read_line(raw, &text, &cap, &line, &has_end) && line.len > 0) {
        bool was_first = is_first;
        is_first = false;
        if (was_first && slice_starts_nocase(line, SLICE("From ")))
            continue;       /* what some programs leave of an mbox */
        bool continues = !was_first && byte_is_space((unsigned char)line.ptr[0]);
        if (!continues && !is_field(line)) {
            raw->first_body_line = text;
            raw->first_body_len = (size_t)(line.ptr - text) + line.len;
            text = NULL;
            break;
        }
        if (!keep_line(raw, line, &is_bcc)) {
            free(text);
            return fault_perm(f, 0, "the header of the message is longer than %d bytes", SPOOL_HEADER_MAX);
        }
    }
    free(text);
    return ferror(in) ? fault_errno(f, errno, "reading the message") : RC_OK;
}

bool raw_has_field(const struct raw *raw, struct slice name)
{
    struct header_field field;
    return header_find(buf_slice(&raw->header), name, &field) == RC_OK;
}

static enum rc copy_lines(struct raw *raw, struct spool *spool, struct fault *f)
{
    char *text = NULL;
    size_t cap = 0;
    struct slice line;
    bool has_end;
    enum rc rc = RC_OK;
    while (rc == RC_OK && read_line(raw, &text, &cap, &line, &has_end)) {
        rc = spool_write(spool, line, f);
        if (rc == RC_OK)
            rc = spool_write(spool, SLICE("\r\n"), f);
    }
    free(text);
    return rc;
}

static enum rc copy_bytes(struct raw *raw, struct spool *spool, struct fault *f)
{
    char piece[16 * 1024];
    enum rc rc = RC_OK;
    for (size_t got; rc == RC_OK && (got = fread(piece, 1, sizeof(piece), raw->in)) > 0; )
        rc = spool_write_text(spool, (struct slice){ piece, got }, f);
    return rc;
}

enum rc raw_copy(struct raw *raw, struct spool *spool, struct fault *f)
{
    enum rc rc = spool_write(spool, buf_slice(&raw->header), f);
    if (rc == RC_OK)
        rc = spool_write(spool, SLICE("\r\n"), f);
    if (rc == RC_OK && raw->first_body_line != NULL) {
        rc = spool_write(spool, (struct slice){ raw->first_body_line, raw->first_body_len }, f);
        if (rc == RC_OK)
            rc = spool_write(spool, SLICE("\r\n"), f);
    }
    if (rc == RC_OK && !raw->is_ended)
        rc = raw->dot_ends ? copy_lines(raw, spool, f) : copy_bytes(raw, spool, f);
    return rc == RC_OK && ferror(raw->in) ? fault_errno(f, errno, "reading the message") : rc;
}

void raw_free(struct raw *raw)
{
    buf_free(&raw->header);
    buf_free(&raw->bcc);
    free(raw->first_body_line);
    raw->first_body_line = NULL;
}
