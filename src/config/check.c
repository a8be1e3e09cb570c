/* What a configuration asks of the machine: files that can be read, a certificate and a key that fit, a place for the data. */
#include "config/config.h"
#include "config/settings.h"
#include "os/file.h"
#include "os/tls.h"

#include <errno.h>
#include <stdio.h>

static enum rc check_readable(const char *setting, const char *path, struct fault *f)
{
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        bool is_file = getc(file) != EOF || !ferror(file);
        fclose(file);
        return is_file ? RC_OK : fault_perm(f, 0, "%s: %s is not a file", setting, path);
    }
    int err = errno;
    fault_errno(f, err, "%s: %s cannot be read", setting, path);
    return RC_PERM;
}

static void ignore_name(void *arg, const char *name)
{
    (void)arg;
    (void)name;
}

/* The directory, or the nearest one above it that exists. */
static enum rc check_directory(const char *setting, const char *path, struct fault *f)
{
    char at[4096];
    int got = -ENOENT;
    snprintf(at, sizeof at, "%s", path);
    for (;;) {
        got = file_ops_real.list(file_ops_real.self, at, ignore_name, NULL);
        char *slash = strrchr(at, '/');
        if (got != -ENOENT || slash == NULL || slash == at)
            break;
        *slash = '\0';
    }
    if (got >= 0 || got == -ENOENT)
        return RC_OK;
    fault_errno(f, -got, "%s: %s cannot be used", setting, at);
    return RC_PERM;
}

enum rc config_check(const struct config *config, struct fault *f)
{
    enum rc rc = RC_OK;
    if (config->tls_certificate != NULL) {
        rc = check_readable("tls.certificate", config->tls_certificate, f);
        if (rc == RC_OK)
            rc = check_readable("tls.key", config->tls_key, f);
        if (rc == RC_OK)
            rc = tls_check_pair(config->tls_certificate, config->tls_key, f);
    }
    for (size_t i = 0; i < config->route_count && rc == RC_OK; i++)
        if (config->routes[i].password_file != NULL)
            rc = check_readable("routes: password_file", config->routes[i].password_file, f);
    if (rc == RC_OK)
        rc = check_directory("data_dir", config->data_dir, f);
    if (rc == RC_OK)
        rc = check_directory("run_dir", config->run_dir, f);
    if (rc == RC_OK && config->listener_count == 0)
        rc = fault_perm(f, 0, "%s: listen names no protocol: there is nothing to serve", config->path);
    if (rc != RC_OK && f != NULL && strncmp(f->text, config->path, strlen(config->path)) != 0)
        fault_prefix(f, "%s", config->path);
    return rc == RC_OK ? RC_OK : RC_PERM;
}
