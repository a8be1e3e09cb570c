/* thurn backup: a consistent copy of a server that runs, or does not; the second one copies what is new. See backup.h. */
#include "cli/backup.h"

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "config/value.h"
#include "os/child.h"
#include "role/control.h"
#include "store/backup.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HOLD_S = 120, HOLD_AGAIN_MS = 10 * 1000, TRIES = 3, CONFIG_MAX = 16 << 20 };

struct backing_up {
    struct admin admin;
    const char *folder, *rate_text;
    uint64_t rate;
    char store[BACKUP_PATH_MAX];
    const struct file_ops *files;
    struct backup before, now;
    bool has_before;
    int lock_fd;
    /* the server, when there is one */
    bool is_running, is_broken;     /* broken: a segment may have been used anew since we began */
    uint64_t server, hold, end_now; /* as the server said last */
    uint64_t end;                   /* of the log, as far as it is copied */
    int64_t held_ms;
    struct backup_pace pace;
    struct progress progress;
    uint64_t copied, damaged;
};

/* ---- the server's part ---------------------------------------------------------------------------------------------- */

static void on_held(void *arg, struct slice text)
{
    struct backing_up *b = arg;
    struct arena arena;
    struct json *row;
    arena_init(&arena, 1 << 20);
    if (json_parse(text, &arena, &row, NULL) == RC_OK) {
        uint64_t server = (uint64_t)json_number(row, "server"), hold = (uint64_t)json_number(row, "hold");
        b->is_broken |= b->hold != 0 && (b->server != server || b->hold != hold);
        b->server = server;
        b->hold = hold;
        b->end_now = (uint64_t)json_number(row, "end");
    }
    arena_free(&arena);
}

/* Asks the server to give no segment back for a while. RC_NONE: there is no server. */
static enum rc hold(struct backing_up *b, unsigned seconds, struct fault *fault)
{
    char path[BACKUP_PATH_MAX], word[16];
    const char *words[] = { word };
    snprintf(word, sizeof word, "%u", seconds);
    snprintf(path, sizeof path, "%s/control-post.sock", b->admin.config.run_dir);
    b->held_ms = terminal_now_ms();
    return control_call(path, "backup-hold", words, 1, on_held, b, fault);
}

/* Once more, or (0) for the last time: was it held all the while? */
static void hold_on(struct backing_up *b, unsigned seconds)
{
    struct fault fault;
    if (b->is_running && hold(b, seconds, &fault) != RC_OK)
        b->is_broken = true;
}

static void on_tick(void *arg)
{
    struct backing_up *b = arg;
    if (terminal_now_ms() - b->held_ms > HOLD_AGAIN_MS)
        hold_on(b, HOLD_S);
}

/* ---- the folder ----------------------------------------------------------------------------------------------------- */

static void path_in(const struct backing_up *b, char path[BACKUP_PATH_MAX], const char *name) { snprintf(path, BACKUP_PATH_MAX, "%s/%s", b->folder, name); }

static bool is_foreign(const char *folder)
{
    DIR *dir = opendir(folder);
    bool is = false;
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        is |= strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, "lock") != 0 && strcmp(e->d_name, "log") != 0
            && strncmp(e->d_name, "snapshot-", 9) != 0 && strncmp(e->d_name, "MANIFEST", 8) != 0;
    if (dir != NULL)
        closedir(dir);
    return is;
}

static enum rc open_folder(struct backing_up *b, struct fault *fault)
{
    char path[BACKUP_PATH_MAX];
    enum rc rc = dir_make(b->folder, 0700, fault);
    if (rc == RC_OK && is_foreign(b->folder))
        return fault_perm(fault, 0, "%s has other things in it: choose an empty folder, or one with an earlier backup", b->folder);
    path_in(b, path, "log");
    if (rc == RC_OK)
        rc = dir_make(path, 0700, fault);
    path_in(b, path, "lock");
    if (rc == RC_OK && (b->lock_fd = b->files->open(b->files->self, path, true, false)) < 0)
        rc = fault_errno(fault, -b->lock_fd, "%s", path);
    if (rc == RC_OK && b->files->lock(b->files->self, b->lock_fd) < 0)
        rc = fault_perm(fault, 0, "another backup into %s is under way", b->folder);
    if (rc != RC_OK)
        return rc;
    rc = backup_read(b->folder, &b->before, fault);
    b->has_before = rc == RC_OK;
    return rc == RC_NONE ? RC_OK : rc;
}

static void remove_folder(const char *path)
{
    static const char *const names[] = { "state.db", "state.db-journal", "directory.db", "directory.db-journal", "thurn.yaml", "log" };
    char one[BACKUP_PATH_MAX + 32];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(one, sizeof one, "%s/%s", path, names[i]);
        (void)unlink(one);
    }
    (void)rmdir(path);
}

/* What no MANIFEST names any more, or does not yet. */
static void sweep(const struct backing_up *b, const struct backup *keep)
{
    char path[BACKUP_PATH_MAX], name[BACKUP_NAME_MAX + 256], own[BACKUP_NAME_MAX];
    snprintf(own, sizeof own, "snapshot-%" PRIu64, keep != NULL ? keep->snapshot : 0);
    for (int in_log = 0; in_log < 2; in_log++) {
        path_in(b, path, in_log ? "log" : ".");
        DIR *dir = opendir(path);
        for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
            snprintf(name, sizeof name, "log/%s", e->d_name);
            path_in(b, path, in_log ? name : e->d_name);
            if (in_log && strstr(e->d_name, ".seg") != NULL && (keep == NULL || backup_find(keep, name) == NULL))
                (void)unlink(path);
            else if (!in_log && strncmp(e->d_name, "snapshot-", 9) == 0 && strcmp(e->d_name, own) != 0)
                remove_folder(path);
        }
        if (dir != NULL)
            closedir(dir);
    }
}

/* ---- databases and configuration ------------------------------------------------------------------------------------ */

static enum rc note_file(struct backing_up *b, const char *name, struct fault *fault)
{
    struct backup_file file = { .bytes = 0 };
    char path[BACKUP_PATH_MAX];
    struct stat st;
    snprintf(file.name, sizeof file.name, "snapshot-%" PRIu64 "/%s", b->now.snapshot, name);
    path_in(b, path, file.name);
    if (stat(path, &st) != 0)
        return fault_errno(fault, errno, "%s", path);
    file.bytes = (uint64_t)st.st_size;
    b->copied += file.bytes;
    enum rc rc = backup_checksum(b->files, path, file.bytes, &file.crc, fault);
    return rc != RC_OK ? rc : backup_add(&b->now, &file) ? RC_OK : fault_no_memory(fault);
}

static enum rc copy_snapshot(struct backing_up *b, struct fault *fault)
{
    char folder[BACKUP_PATH_MAX], from[BACKUP_PATH_MAX + 32], to[BACKUP_PATH_MAX + 32], name[BACKUP_NAME_MAX];
    struct buf config;
    snprintf(name, sizeof name, "snapshot-%" PRIu64, b->now.snapshot);
    path_in(b, folder, name);
    remove_folder(folder);
    enum rc rc = dir_make(folder, 0700, fault);
    snprintf(to, sizeof to, "%s/log", folder);
    if (rc == RC_OK && symlink("../log", to) != 0)
        rc = fault_errno(fault, errno, "%s", to);
    snprintf(from, sizeof from, "%s/state.db", b->store);
    snprintf(to, sizeof to, "%s/state.db", folder);
    if (rc == RC_OK)
        rc = backup_database(b->files, from, to, true, fault);
    if (rc == RC_OK)
        rc = note_file(b, "state.db", fault);
    snprintf(from, sizeof from, "%s/directory/directory.db", b->admin.config.data_dir);
    snprintf(to, sizeof to, "%s/directory.db", folder);
    if (rc == RC_OK)
        rc = backup_database(b->files, from, to, false, fault);
    if (rc == RC_OK)
        rc = note_file(b, "directory.db", fault);
    snprintf(to, sizeof to, "%s/thurn.yaml", folder);
    buf_init(&config, CONFIG_MAX + 1);
    if (rc == RC_OK)
        rc = file_read_all(admin_config_path(&b->admin), CONFIG_MAX, &config, fault);
    if (rc == RC_OK)
        rc = file_write_all(to, buf_slice(&config), 0600, fault);
    if (rc == RC_OK)
        rc = note_file(b, "thurn.yaml", fault);
    buf_free(&config);
    int error = rc == RC_OK ? b->files->sync_dir(b->files->self, folder) : 0;
    return error < 0 ? fault_errno(fault, -error, "%s", folder) : rc;
}

/* ---- segments ------------------------------------------------------------------------------------------------------- */

/* Is the copy's beginning still the segment's? Of a server that was itself brought back from a backup it may not be. */
static bool goes_on(const struct backing_up *b, const struct backup_copy *c, const struct backup_file *old, uint64_t want)
{
    uint64_t bytes = old->bytes < want ? old->bytes : 4096 < old->bytes ? 4096 : old->bytes;
    uint32_t here, there;
    if (old->bytes > want || backup_checksum(b->files, c->from, bytes, &here, NULL) != RC_OK)
        return false;
    if (old->bytes < want)                  /* it has grown: the whole of what is there is compared */
        return here == old->crc;
    return backup_checksum(b->files, c->to, bytes, &there, NULL) == RC_OK && here == there;
}

static enum rc copy_segment(struct backing_up *b, uint64_t number, struct fault *fault)
{
    struct backup_file file = { .bytes = 0 };
    char from[BACKUP_PATH_MAX + 64], to[BACKUP_PATH_MAX];
    uint64_t size = b->now.segment_bytes, start = number * size;
    snprintf(file.name, sizeof file.name, "log/%016" PRIx64 ".seg", number);
    snprintf(from, sizeof from, "%s/%s", b->store, file.name);
    path_in(b, to, file.name);
    struct backup_copy c = { .files = b->files, .from = from, .to = to, .number = number, .segment_bytes = size, .pace = backup_pace, .arg = &b->pace };
    c.end = b->end < start + size ? b->end - start : size;
    const struct backup_file *old = b->has_before ? backup_find(&b->before, file.name) : NULL;
    if (old != NULL && goes_on(b, &c, old, c.end)) {
        if (old->bytes == c.end)
            return backup_add(&b->now, old) ? RC_OK : fault_no_memory(fault);
        c.begin = old->bytes;
        c.crc = old->crc;
        file.is_damaged = old->is_damaged;
    }
    enum rc rc = backup_segment(&c, fault);
    if (rc != RC_OK)
        return rc;
    file.bytes = c.end;
    file.crc = c.crc;
    file.is_damaged |= c.is_damaged;
    b->copied += c.copied;
    b->damaged += c.is_damaged;
    if (c.is_damaged)
        fprintf(stderr, "thurn backup: %s is damaged at byte %" PRIu64 ": it is copied as it is\n", from, c.damaged_at);
    return backup_add(&b->now, &file) ? RC_OK : fault_no_memory(fault);
}

/* One that goes away while it is being copied was dead before we began, as long as the server holds the others. */
static enum rc copy_segments(struct backing_up *b, struct fault *fault)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    enum rc rc = backup_segments(b->files, b->store, &numbers, &count, fault);
    b->progress.total = 0;
    for (size_t i = 0; i < count && rc == RC_OK && !b->is_broken; i++) {
        if (numbers[i] * b->now.segment_bytes >= b->end)
            continue;
        rc = copy_segment(b, numbers[i], fault);
        if (rc == RC_NONE)
            rc = RC_OK;
    }
    free(numbers);
    char path[BACKUP_PATH_MAX];
    path_in(b, path, "log");
    int error = rc == RC_OK ? b->files->sync_dir(b->files->self, path) : 0;
    return error < 0 ? fault_errno(fault, -error, "%s", path) : rc;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

/* Where the log of a server that does not run ends: it is opened, read only, and told. */
static enum rc find_end(struct backing_up *b, struct fault *fault)
{
    struct store_options options = { .dir = b->store, .files = b->files, .is_read_only = true };
    struct store *store;
    struct store_figures figures;
    enum rc rc = store_open(&options, &store, fault);
    if (rc != RC_OK)
        return rc;
    store_figures(store, &figures);
    b->end_now = figures.durable_position;
    store_close(store);
    return RC_OK;
}

static enum rc check_state(struct backing_up *b, struct backup_state *state, struct fault *fault)
{
    char path[BACKUP_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/state.db", b->store);
    return backup_read_state(path, state, fault);
}

static enum rc copy_once(struct backing_up *b, struct fault *fault)
{
    struct backup_state first, last;
    b->is_broken = false;
    b->hold = 0;
    backup_free(&b->now);
    b->now = (struct backup){ .snapshot = b->before.snapshot + 1, .began_s = (int64_t)time(NULL) };
    snprintf(b->now.host, sizeof b->now.host, "%s", b->admin.config.host_name);
    enum rc rc = hold(b, HOLD_S, fault);
    b->is_running = rc == RC_OK;
    if (rc == RC_OK || rc == RC_NONE)
        rc = check_state(b, &first, fault);
    if (rc == RC_OK)
        b->now.segment_bytes = first.segment_bytes;
    if (rc == RC_OK)
        rc = copy_snapshot(b, fault);
    if (rc == RC_OK)                        /* now that state.db is copied: the end is behind whatever it knows */
        rc = b->is_running ? hold(b, HOLD_S, fault) : find_end(b, fault);
    b->now.end = b->end = b->end_now;
    if (rc == RC_OK)
        rc = copy_segments(b, fault);
    if (rc == RC_OK)
        rc = check_state(b, &last, fault);
    if (rc == RC_OK)
        hold_on(b, 0);
    if (rc == RC_OK && last.generation != first.generation)     /* a server was started meanwhile */
        b->is_broken = true;
    return rc == RC_OK && b->is_broken ? RC_MORE : rc;
}

static enum rc back_up(struct backing_up *b, struct fault *fault)
{
    enum rc rc = open_folder(b, fault);
    if (rc != RC_OK)
        return rc;
    sweep(b, b->has_before ? &b->before : NULL);
    progress_begin(&b->progress, "backup", true, 0);
    b->pace = (struct backup_pace){ .rate = b->rate, .began_ms = terminal_now_ms(), .progress = &b->progress, .tick = on_tick, .arg = b };
    rc = RC_MORE;
    for (int i = 0; i < TRIES && rc == RC_MORE; i++)
        rc = copy_once(b, fault);
    progress_end(&b->progress);
    if (rc == RC_MORE)
        rc = fault_temp(fault, 0, "the server was restarted, or gave space back because its disk got full, again and again: try later");
    if (rc == RC_OK)
        rc = backup_write(b->folder, &b->now, fault);
    if (rc == RC_OK)
        sweep(b, &b->now);
    return rc;
}

static int tell(const struct backing_up *b, int64_t began_ms)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < b->now.count; i++)
        bytes += b->now.files[i].bytes;
    double seconds = (double)(terminal_now_ms() - began_ms) / 1000;
    if (b->admin.is_json) {
        printf("{\"files\":%zu,\"bytes\":%" PRIu64 ",\"copied\":%" PRIu64 ",\"seconds\":%.3f,\"damaged\":%" PRIu64 ",\"running\":%s}\n", b->now.count,
               bytes, b->copied, seconds, b->damaged, b->is_running ? "true" : "false");
    } else {
        struct buf all, new;
        buf_init(&all, 64);
        buf_init(&new, 64);
        cli_write_size(&all, bytes);
        cli_write_size(&new, b->copied);
        printf("%s: %.*s, of which %.*s copied now, in %.1f s\n", b->folder, SLICE_ARG(buf_slice(&all)), SLICE_ARG(buf_slice(&new)), seconds);
        buf_free(&all);
        buf_free(&new);
    }
    return b->damaged > 0 ? 1 : 0;
}

static int run(const struct cli_usage *usage, struct backing_up *b, int count, char **words)
{
    static const struct setting rate = { .name = "rate", .kind = SETTING_SIZE, .min = 1, .max = UINT32_MAX };
    struct fault fault = { .rc = RC_OK };
    int64_t began_ms = terminal_now_ms();
    uint64_t value = 0;
    if (count != 1)
        return cli_wrong(usage, "where to? One folder");
    if (b->rate_text != NULL && value_parse(&rate, slice_from_str(b->rate_text), &value, NULL, &fault) != RC_OK)
        return cli_wrong(usage, "--rate \"%s\": %s", b->rate_text, fault.text);
    if (!admin_load(&b->admin))
        return 1;
    b->rate = value;
    b->folder = words[0];
    snprintf(b->store, sizeof b->store, "%s/store", b->admin.config.data_dir);
    umask(077);
    enum rc rc = back_up(b, &fault);
    int status = rc == RC_OK ? tell(b, began_ms) : cli_failed("backup", &fault);
    if (b->lock_fd >= 0)
        b->files->close(b->files->self, b->lock_fd);
    backup_free(&b->before);
    backup_free(&b->now);
    return status;
}

static const char notes[] =
    "DIR is a folder of its own, on another disk. The first backup copies everything; each later one into the same DIR only what is new, "
    "and takes away what is no longer needed. Every record's checksum is compared as it is read; what is damaged is said, copied "
    "as it is, and the exit status is 1.\n"
    "\n"
    "The server goes on meanwhile: whatever it had acknowledged before the backup began is in it. What it "
    "would give back to the disk waits until the backup is done, unless the disk gets full. When it is interrupted, the backup before it stays whole.\n"
    "\n"
    "A backup has the mail, the queue, accounts with their passwords' verifiers, and thurn.yaml. It does not have the private keys that "
    "thurn.yaml names. \"thurn restore DIR\" brings back all of it.\n"
    "\n"
    "Examples:\n"
    "  thurn backup /mnt/backup/thurn\n"
    "  thurn backup --rate 20M /mnt/backup/thurn\n";

int cmd_backup(int argc, char **argv)
{
    struct backing_up b = { .files = &file_ops_real, .lock_fd = -1 };
    admin_init(&b.admin, "backup");
    const struct cli_option options[] = {
        { "rate", 'r', "BYTES", "no more than so many bytes a second, such as 20M", CLI_TEXT(&b.rate_text) },
        ADMIN_OPTIONS(&b.admin), CLI_OPTIONS_END
    };
    const struct cli_usage usage = { "backup", "[options] DIR", "Copies mail, queue and accounts of a server, while it runs.", options, notes };
    int first = cli_parse(&usage, argc, argv);
    int status = first < 0 ? cli_parse_status(first) : run(&usage, &b, argc - first, argv + first);
    admin_free(&b.admin);
    return status;
}
