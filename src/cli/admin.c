/* How the administrator's commands find the server: see admin.h. */
#include "cli/admin.h"

#include "cli/output.h"
#include "config/directory_command.h"
#include "os/child.h"
#include "role/control.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 1 << 20, ROW_ARENA_MAX = 64 << 20 };

void admin_init(struct admin *admin, const char *name)
{
    *admin = (struct admin){ .name = name };
    buf_init(&admin->arguments, ARGUMENTS_MAX);
}

void admin_free(struct admin *admin)
{
    if (admin->arguments.data != NULL)
        explicit_bzero(admin->arguments.data, admin->arguments.cap);
    buf_free(&admin->arguments);
    config_free(&admin->config);
}

const char *admin_config_path(const struct admin *admin)
{
    const char *from_environment = getenv("THURN_CONFIG");
    if (admin->config_path != NULL)
        return admin->config_path;
    return from_environment != NULL && from_environment[0] != '\0' ? from_environment : "/etc/thurn/thurn.yaml";
}

bool admin_load(struct admin *admin)
{
    struct fault fault;
    if (config_load(admin_config_path(admin), &admin->config, &fault) == RC_OK)
        return true;
    cli_failed(admin->name, &fault);
    return false;
}

void admin_add(struct admin *admin, const char *argument)
{
    buf_append_str(&admin->arguments, argument);
    buf_append_byte(&admin->arguments, '\0');
    admin->argument_count++;
}

void admin_addf(struct admin *admin, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    buf_vprintf(&admin->arguments, format, list);
    va_end(list);
    buf_append_byte(&admin->arguments, '\0');
    admin->argument_count++;
}

/* ---- calls ---------------------------------------------------------------------------------------------------------- */

struct call {
    struct admin *admin;
    admin_row *row;
    void *arg;
    struct arena arena;
};

static void on_row(void *arg, struct slice text)
{
    struct call *call = arg;
    struct json *row;
    if (call->admin->is_json) {
        fwrite(text.ptr, 1, text.len, stdout);
        putchar('\n');
    }
    if ((!call->admin->is_json || call->admin->reads_json) && json_parse(text, &call->arena, &row, NULL) == RC_OK)
        call->row(call->arg, row);
    arena_rewind(&call->arena);
}

static enum rc call_role(struct call *call, const char *socket, const char *command, struct fault *f)
{
    struct admin *admin = call->admin;
    char path[4096];
    struct slice rest = buf_slice(&admin->arguments);
    const char **arguments = calloc(admin->argument_count + 1, sizeof *arguments);
    if (arguments == NULL || admin->arguments.overflow) {
        free(arguments);
        return fault_perm(f, 0, "more arguments than one call can take: use fewer");
    }
    for (size_t i = 0; i < admin->argument_count; i++)
        arguments[i] = slice_take_until(&rest, '\0').ptr;
    snprintf(path, sizeof path, "%s/%s", admin->config.run_dir, socket);
    enum rc rc = control_call(path, command, arguments, admin->argument_count, on_row, call, f);
    free(arguments);
    return rc;
}

int admin_call(struct admin *admin, const char *socket, const char *command, admin_row *row, void *arg)
{
    struct fault fault = { 0 };
    struct call call = { .admin = admin, .row = row, .arg = arg };
    arena_init(&call.arena, ROW_ARENA_MAX);
    enum rc rc = call_role(&call, socket, command, &fault);
    arena_free(&call.arena);
    fflush(stdout);
    return rc == RC_OK ? 0 : cli_failed(admin->name, &fault);
}

/* ---- the directory without a server ----------------------------------------------------------------------------------- */

/* What root writes here the auth role must be able to read: so it is not root who writes. */
static enum rc become_auth(const struct config *config, struct fault *f)
{
    char name[128];
    if (geteuid() != 0 || config->user == NULL)
        return RC_OK;
    snprintf(name, sizeof name, "%s-auth", config->user);
    const struct passwd *user = getpwnam(name);
    if (user == NULL)
        return fault_perm(f, 0, "there is no user %s: \"thurn setup\" makes it (or set \"user: none\")", name);
    if (initgroups(name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)
        return fault_errno(f, errno, "cannot become the user %s", name);
    return RC_OK;
}

static enum rc open_directory(const struct config *config, struct directory **directory, struct fault *f)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/directory", config->data_dir);
    enum rc rc = dir_make(config->data_dir, 0711, f);
    if (rc == RC_OK)
        rc = become_auth(config, f);
    return rc == RC_OK ? directory_open(folder, directory, f) : rc;
}

static enum rc call_directory(struct call *call, const char *command, struct fault *f)
{
    struct directory *directory = NULL;
    enum rc rc = open_directory(&call->admin->config, &directory, f);
    if (rc == RC_OK)
        rc = directory_command(directory, slice_from_str(command), buf_slice(&call->admin->arguments), (int64_t)time(NULL),
                               on_row, call, f);
    directory_close(directory);
    return rc;
}

/* Nobody listens there: no socket, or one that a server left behind when it was killed. Whoever may not connect is told so
 * by the call itself. */
bool admin_server_is_absent(const struct admin *admin, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int len = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", admin->config.run_dir, name);
    int fd = len > 0 && (size_t)len < sizeof address.sun_path ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return true;
    bool is_absent = connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && (errno == ENOENT || errno == ECONNREFUSED);
    close(fd);
    return is_absent;
}

int admin_directory(struct admin *admin, const char *command, admin_row *row, void *arg)
{
    struct fault fault = { 0 };
    struct call call = { .admin = admin, .row = row, .arg = arg };
    arena_init(&call.arena, ROW_ARENA_MAX);
    enum rc rc = admin_server_is_absent(admin, "control-auth.sock") ? call_directory(&call, command, &fault)
                                         : call_role(&call, "control-auth.sock", command, &fault);
    arena_free(&call.arena);
    fflush(stdout);
    return rc == RC_OK ? 0 : cli_failed(admin->name, &fault);
}
