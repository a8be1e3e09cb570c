/* Messages in a temporary file: see spool.h. */
#include "cli/spool.h"

#include <errno.h>

enum rc spool_open(struct spool *spool, struct fault *f)
{
    *spool = (struct spool){ .file = tmpfile() };
    buf_init(&spool->header, SPOOL_HEADER_MAX);
    return spool->file != NULL ? RC_OK : fault_errno(f, errno, "a temporary file");
}

void spool_close(struct spool *spool)
{
    if (spool->file != NULL)
        fclose(spool->file);
    spool->file = NULL;
    buf_free(&spool->header);
}

static void keep_header(struct spool *spool, struct slice bytes)
{
    while (!spool->is_header_over && bytes.len > 0) {
        size_t lf = slice_find_byte(bytes, '\n');
        struct slice line = slice_take(&bytes, lf + 1);
        spool->is_header_over = !buf_append(&spool->header, line);
        struct slice all = buf_slice(&spool->header);
        if (slice_equal(all, SLICE("\r\n")) || slice_ends_nocase(all, SLICE("\r\n\r\n")))
            spool->is_header_over = true;
    }
}

static void scan(struct spool *spool, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char byte = bytes.ptr[i];
        if (byte == '\n') {
            if (spool->last != '\r')
                spool->has_bare_eol = true;
            spool->line_bytes = 0;
        } else {
            if (spool->last == '\r' || byte == '\0')
                spool->has_bare_eol = true;
            spool->line_bytes += byte != '\r';
            if (spool->line_bytes > SPOOL_LINE_MAX)
                spool->has_long_line = true;
            if ((unsigned char)byte > 0x7f)
                spool->has_8bit = true;
        }
        spool->last = byte;
    }
}

enum rc spool_write(struct spool *spool, struct slice bytes, struct fault *f)
{
    if (bytes.len == 0)
        return RC_OK;
    scan(spool, bytes);
    keep_header(spool, bytes);
    spool->size += bytes.len;
    if (fwrite(bytes.ptr, 1, bytes.len, spool->file) == bytes.len)
        return RC_OK;
    return fault_errno(f, errno, "a temporary file");
}

enum rc spool_write_text(struct spool *spool, struct slice text, struct fault *f)
{
    enum rc rc = RC_OK;
    while (text.len > 0 && rc == RC_OK) {
        struct slice line = slice_take(&text, slice_find_byte(text, '\n'));
        if (spool->has_text_cr && line.len > 0) {
            rc = spool_write(spool, SLICE("\r"), f);
            spool->has_text_cr = false;
        }
        if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
            spool->has_text_cr = true;
            line.len--;
        }
        if (rc == RC_OK)
            rc = spool_write(spool, line, f);
        if (rc == RC_OK && slice_take_byte(&text, '\n')) {
            rc = spool_write(spool, SLICE("\r\n"), f);
            spool->has_text_cr = false;
        }
    }
    return rc;
}

enum rc spool_finish(struct spool *spool, struct fault *f)
{
    enum rc rc = spool->has_text_cr ? spool_write(spool, SLICE("\r"), f) : RC_OK;
    spool->has_text_cr = false;
    if (rc != RC_OK)
        return rc;
    if (spool->last == '\r')
        spool->has_bare_eol = true;
    spool->is_header_over = true;
    if (fflush(spool->file) != 0 || fseek(spool->file, 0, SEEK_SET) != 0)
        return fault_errno(f, errno, "a temporary file");
    return RC_OK;
}

enum rc spool_read(struct spool *spool, char *piece, size_t size, struct slice *out, struct fault *f)
{
    *out = (struct slice){ piece, fread(piece, 1, size, spool->file) };
    return out->len == 0 && ferror(spool->file) ? fault_errno(f, errno, "a temporary file") : RC_OK;
}
