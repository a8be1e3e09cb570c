/* MANIFEST of a backup, and how fast one goes: see backup.h. */
#include "cli/backup.h"

#include "base/text.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "mail/date.h"
#include "os/child.h"
#include "os/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MANIFEST_MAX = 64 << 20 };

void backup_free(struct backup *b)
{
    free(b->files);
    b->files = NULL;
    b->count = b->cap = 0;
}

struct backup_file *backup_find(const struct backup *b, const char *name)
{
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->files[i].name, name) == 0)
            return &b->files[i];
    return NULL;
}

bool backup_add(struct backup *b, const struct backup_file *file)
{
    if (b->count == b->cap) {
        size_t cap = b->cap == 0 ? 16 : b->cap * 2;
        struct backup_file *more = realloc(b->files, cap * sizeof *more);
        if (more == NULL)
            return false;
        b->files = more;
        b->cap = cap;
    }
    b->files[b->count++] = *file;
    return true;
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static void write_json(struct buf *out, const struct backup *b)
{
    buf_printf(out, "{\"format\":%d,\"snapshot\":%llu,\"segment_bytes\":%llu,\"end\":%llu,\"began\":%lld,\"host\":", BACKUP_FORMAT,
               (unsigned long long)b->snapshot, (unsigned long long)b->segment_bytes, (unsigned long long)b->end, (long long)b->began_s);
    (void)json_append_string(out, slice_from_str(b->host));
    buf_append_str(out, ",\"files\":[");
    for (size_t i = 0; i < b->count; i++) {
        const struct backup_file *f = &b->files[i];
        buf_printf(out, "%s{\"name\":\"%s\",\"bytes\":%llu,\"crc32c\":%u%s}", i > 0 ? "," : "", f->name, (unsigned long long)f->bytes, f->crc,
                   f->is_damaged ? ",\"damaged\":true" : "");
    }
    buf_append_str(out, "]}\n");
}

enum rc backup_write(const char *folder, const struct backup *b, struct fault *fault)
{
    struct buf text;
    char path[BACKUP_PATH_MAX];
    buf_init(&text, MANIFEST_MAX);
    write_json(&text, b);
    uint32_t crc = crc32c(0, buf_slice(&text).ptr, buf_len(&text));
    buf_printf(&text, "%08x\n", crc);
    snprintf(path, sizeof path, "%s/MANIFEST", folder);
    enum rc rc = text.overflow ? fault_no_memory(fault) : file_write_all(path, buf_slice(&text), 0600, fault);
    buf_free(&text);
    int error = rc == RC_OK ? file_ops_real.sync_dir(NULL, folder) : 0;
    return error < 0 ? fault_errno(fault, -error, "%s: cannot be synced", folder) : rc;
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static bool read_file(struct backup *b, const struct json *json)
{
    struct backup_file file = { .bytes = (uint64_t)json_number(json, "bytes"), .crc = (uint32_t)json_number(json, "crc32c"),
                                .is_damaged = json_flag(json, "damaged") };
    struct slice name = json_text(json, "name");
    if (name.len == 0 || name.len >= sizeof file.name || name.ptr[0] == '/' || slice_find(name, SLICE("..")) < name.len)
        return false;
    memcpy(file.name, name.ptr, name.len);
    return backup_add(b, &file);
}

static bool read_json(struct backup *b, struct slice text)
{
    struct arena arena;
    struct json *json;
    arena_init(&arena, 4 * (size_t)MANIFEST_MAX);
    bool ok = json_parse(text, &arena, &json, NULL) == RC_OK && json_number(json, "format") == BACKUP_FORMAT;
    if (ok) {
        b->snapshot = (uint64_t)json_number(json, "snapshot");
        b->segment_bytes = (uint64_t)json_number(json, "segment_bytes");
        b->end = (uint64_t)json_number(json, "end");
        b->began_s = json_number(json, "began");
        (void)slice_to_str(slice_sub(json_text(json, "host"), 0, sizeof b->host - 1), b->host, sizeof b->host);
        const struct json *files = json_get(json, "files");
        for (const struct json *one = files != NULL ? files->first : NULL; one != NULL && ok; one = one->next)
            ok = read_file(b, one);
    }
    arena_free(&arena);
    return ok && b->segment_bytes > 0;
}

enum rc backup_read(const char *folder, struct backup *b, struct fault *fault)
{
    struct buf text;
    char path[BACKUP_PATH_MAX], want[16];
    *b = (struct backup){ .snapshot = 0 };
    buf_init(&text, MANIFEST_MAX + 1);
    snprintf(path, sizeof path, "%s/MANIFEST", folder);
    enum rc rc = file_read_all(path, MANIFEST_MAX, &text, fault);
    if (rc == RC_OK) {
        struct slice rest = buf_slice(&text), line = slice_sub(rest, 0, slice_find(rest, SLICE("\n")) + 1);
        snprintf(want, sizeof want, "%08x\n", crc32c(0, line.ptr, line.len));
        if (!slice_equal(slice_sub(rest, line.len, SIZE_MAX), slice_from_str(want)) || !read_json(b, line))
            rc = fault_perm(fault, ESC(5, 3, 0), "%s is damaged, or of a newer version", path);
    } else if (rc == RC_NONE) {
        (void)fault_none(fault, "%s is no backup, or the first one was interrupted: there is no MANIFEST", folder);
    }
    buf_free(&text);
    if (rc != RC_OK)
        backup_free(b);
    return rc;
}

/* ---- speed ---------------------------------------------------------------------------------------------------------- */

void backup_pace(void *arg, uint64_t bytes)
{
    struct backup_pace *p = arg;
    int64_t now_ms = terminal_now_ms();
    p->bytes += bytes;
    p->total += bytes;
    if (p->progress != NULL)
        progress_at(p->progress, p->total);
    if (p->tick != NULL)
        p->tick(p->arg);
    int64_t due_ms = p->rate == 0 ? 0 : (int64_t)(p->bytes * 1000 / p->rate), early_ms = p->began_ms + due_ms - now_ms;
    if (early_ms <= 0)
        return;
    struct timespec pause = { .tv_sec = early_ms / 1000, .tv_nsec = early_ms % 1000 * 1000000 };
    (void)nanosleep(&pause, NULL);
}
