/* thurn restore DIR: a whole server, from a backup into an empty data directory.
 *
 * Everything is written beside ("store.restoring") and gets its name when it is whole and on stable storage, so that no server
 * ever starts on the half of one. */
#include "cli/restore.h"

#include "cli/backup.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "os/child.h"
#include "store/backup.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct restoring {
    struct restore *restore;
    struct backup backup;
    const char *data_dir;
    struct progress progress;
    struct backup_pace pace;
    uint64_t bytes, damaged;
};

static enum rc own(const struct restoring *r, const char *path, const char *role, struct fault *fault)
{
    const struct config *config = &r->restore->admin.config;
    char name[128];
    if (geteuid() != 0 || config->user == NULL)
        return RC_OK;
    snprintf(name, sizeof name, "%s-%s", config->user, role);
    const struct passwd *user = getpwnam(name);
    if (user == NULL)
        return fault_perm(fault, 0, "there is no user %s: \"thurn setup\" makes the roles' users (or set \"user: none\" to run without)", name);
    return chown(path, user->pw_uid, user->pw_gid) == 0 ? RC_OK : fault_errno(fault, errno, "cannot give %s to %s", path, name);
}

/* Nothing in it but what an interrupted restore has left. */
static enum rc check_empty(const struct restoring *r, struct fault *fault)
{
    static const char *const names[] = { "store", "directory" };
    char path[BACKUP_PATH_MAX];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", r->data_dir, names[i]);
        DIR *dir = opendir(path);
        bool is_empty = true;
        for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
            is_empty &= strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (dir != NULL)
            closedir(dir);
        if (!is_empty)
            return fault_perm(fault, 0, "%s is not empty: stop the server, and move it away first", path);
    }
    return RC_OK;
}

static enum rc make_folder(const struct restoring *r, const char *name, const char *role, struct fault *fault)
{
    char path[BACKUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", r->data_dir, name);
    enum rc rc = dir_make(path, 0700, fault);
    return rc == RC_OK ? own(r, path, role, fault) : rc;
}

/* Where a file of the backup goes; false: nowhere. */
static bool target_of(const struct restoring *r, const struct backup_file *file, char path[BACKUP_PATH_MAX], const char **role)
{
    const char *slash = strchr(file->name, '/'), *name = slash != NULL ? slash + 1 : "";
    *role = "post";
    if (strncmp(file->name, "log/", 4) == 0)
        snprintf(path, BACKUP_PATH_MAX, "%s/store.restoring/log/%s", r->data_dir, name);
    else if (strcmp(name, "state.db") == 0)
        snprintf(path, BACKUP_PATH_MAX, "%s/store.restoring/state.db", r->data_dir);
    else if (strcmp(name, "directory.db") == 0) {
        snprintf(path, BACKUP_PATH_MAX, "%s/directory.restoring/directory.db", r->data_dir);
        *role = "auth";
    } else
        return false;
    return true;
}

static enum rc copy_files(struct restoring *r, struct fault *fault)
{
    char from[BACKUP_PATH_MAX], to[BACKUP_PATH_MAX];
    const char *role;
    enum rc rc = RC_OK;
    for (size_t i = 0; i < r->backup.count && rc == RC_OK; i++) {
        const struct backup_file *file = &r->backup.files[i];
        if (!target_of(r, file, to, &role))
            continue;
        snprintf(from, sizeof from, "%s/%s", r->restore->folder, file->name);
        (void)unlink(to);
        rc = backup_copy_file(&file_ops_real, from, to, file->bytes, strncmp(file->name, "log/", 4) == 0 ? r->backup.segment_bytes : 0, file->crc,
                              backup_pace, &r->pace, fault);
        if (rc == RC_OK)
            rc = own(r, to, role, fault);
        r->bytes += file->bytes;
        r->damaged += file->is_damaged;
    }
    return rc;
}

static enum rc sync_folder(const struct restoring *r, const char *name, struct fault *fault)
{
    char path[BACKUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", r->data_dir, name);
    int error = file_ops_real.sync_dir(NULL, path);
    return error < 0 ? fault_errno(fault, -error, "%s: cannot be synced", path) : RC_OK;
}

/* The mail comes last: a server that has no store begins a new one, one that has it has everything. */
static enum rc give_names(const struct restoring *r, struct fault *fault)
{
    static const char *const names[] = { "directory", "store" };
    char from[BACKUP_PATH_MAX], to[BACKUP_PATH_MAX];
    enum rc rc = sync_folder(r, "store.restoring/log", fault);
    if (rc == RC_OK)
        rc = sync_folder(r, "store.restoring", fault);
    if (rc == RC_OK)
        rc = sync_folder(r, "directory.restoring", fault);
    for (size_t i = 0; i < 2 && rc == RC_OK; i++) {
        snprintf(from, sizeof from, "%s/%s.restoring", r->data_dir, names[i]);
        snprintf(to, sizeof to, "%s/%s", r->data_dir, names[i]);
        if (rename(from, to) != 0)          /* an empty folder of that name gives way */
            rc = fault_errno(fault, errno, "%s cannot become %s", from, to);
    }
    return rc == RC_OK ? sync_folder(r, ".", fault) : rc;
}

static enum rc bring_back(struct restoring *r, struct fault *fault)
{
    enum rc rc = backup_read(r->restore->folder, &r->backup, fault);
    if (rc == RC_OK)
        rc = dir_make(r->data_dir, 0711, fault);
    if (rc == RC_OK)
        rc = check_empty(r, fault);
    if (rc == RC_OK)
        rc = make_folder(r, "store.restoring", "post", fault);
    if (rc == RC_OK)
        rc = make_folder(r, "store.restoring/log", "post", fault);
    if (rc == RC_OK)
        rc = make_folder(r, "directory.restoring", "auth", fault);
    if (rc == RC_OK)
        rc = copy_files(r, fault);
    return rc == RC_OK ? give_names(r, fault) : rc;
}

int restore_server(struct restore *restore)
{
    struct restoring r = { .restore = restore };
    struct fault fault = { .rc = RC_OK };
    if (!admin_load(&restore->admin))
        return 1;
    umask(077);
    r.data_dir = restore->to != NULL ? restore->to : restore->admin.config.data_dir;
    progress_begin(&r.progress, "restore", true, 0);
    r.pace = (struct backup_pace){ .began_ms = terminal_now_ms(), .progress = &r.progress };
    enum rc rc = bring_back(&r, &fault);
    progress_end(&r.progress);
    int status = rc == RC_OK ? 0 : cli_failed("restore", &fault);
    if (rc == RC_OK && restore->admin.is_json)
        printf("{\"bytes\":%" PRIu64 ",\"damaged\":%" PRIu64 ",\"began\":%lld}\n", r.bytes, r.damaged, (long long)r.backup.began_s);
    if (rc == RC_OK && !restore->admin.is_json) {
        struct buf size, when;
        buf_init(&size, 64);
        buf_init(&when, 64);
        cli_write_size(&size, r.bytes);
        cli_write_time(&when, r.backup.began_s);
        printf("%s: %.*s brought back, the server as of %.*s\n", r.data_dir, SLICE_ARG(buf_slice(&size)), SLICE_ARG(buf_slice(&when)));
        if (r.damaged > 0)
            printf("%" PRIu64 " segments were damaged already when they were copied\n", r.damaged);
        buf_free(&size);
        buf_free(&when);
    }
    backup_free(&r.backup);
    return status;
}
