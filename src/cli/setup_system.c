/* What `thurn setup` makes on the system: see setup.h. */
#include "cli/setup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static enum rc say(const char *done, const char *what)
{
    printf("  %s  %s\n", done, what);
    return RC_OK;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static enum rc write_and_sync(int fd, struct slice content)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno != EINTR)
            return RC_TEMP;
        slice_take(&content, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) == 0 ? RC_OK : RC_TEMP;
}

enum rc setup_file(const char *path, struct slice content, unsigned mode, struct fault *f)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
    if (fd < 0 && errno == EEXIST)
        return say("kept", path);
    if (fd < 0)
        return fault_errno(f, errno, "%s", path);
    bool is_written = fchmod(fd, (mode_t)mode) == 0 && write_and_sync(fd, content) == RC_OK;
    int err = errno;
    close(fd);
    if (is_written)
        return say("made", path);
    unlink(path);                       /* half a file would be kept the next time */
    return fault_errno(f, err, "%s", path);
}

static enum rc make_directory(const char *path, mode_t mode, bool *is_new, struct fault *f)
{
    char above[4096];
    *is_new = false;
    snprintf(above, sizeof above, "%s", path);
    for (char *slash = strchr(above + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(above, 0755) != 0 && errno != EEXIST)
            return fault_errno(f, errno, "%s", above);
        *slash = '/';
    }
    if (mkdir(path, mode) == 0)
        *is_new = true;
    else if (errno != EEXIST)
        return fault_errno(f, errno, "%s", path);
    return RC_OK;
}

enum rc setup_directory(const char *path, unsigned mode, const char *user, struct fault *f)
{
    bool is_new;
    enum rc rc = make_directory(path, (mode_t)mode, &is_new, f);
    if (rc != RC_OK || !is_new)
        return rc == RC_OK ? say("kept", path) : rc;
    const struct passwd *owner = user != NULL && geteuid() == 0 ? getpwnam(user) : NULL;
    if (chmod(path, (mode_t)mode) != 0 || (owner != NULL && chown(path, owner->pw_uid, owner->pw_gid) != 0))
        return fault_errno(f, errno, "%s", path);
    return say("made", path);
}

/* ---- users ---------------------------------------------------------------------------------------------------------- */

/* Runs a program to its end. No shell is near. */
static enum rc run_program(const char *const words[], struct fault *f)
{
    static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C";
    char *const environment[] = { path, locale, NULL };
    char *argv[16] = { NULL };
    char text[16][128];
    for (size_t i = 0; words[i] != NULL && i < 15; i++) {
        snprintf(text[i], sizeof text[i], "%s", words[i]);
        argv[i] = text[i];
    }
    pid_t child = fork();
    if (child < 0)
        return fault_errno(f, errno, "%s", words[0]);
    if (child == 0) {
        execve(argv[0], argv, environment);
        _exit(127);
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return RC_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return fault_none(f, "%s is not there", words[0]);
    return fault_perm(f, 0, "%s failed", words[0]);
}

enum rc setup_user(const char *name, struct fault *f)
{
    const char *const useradd[] = { "/usr/sbin/useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                                    "--shell", "/usr/sbin/nologin", "--comment", "Thurn mail", name, NULL };
    const char *const adduser[] = { "/usr/sbin/adduser", "--system", "--group", "--no-create-home", "--home", "/nonexistent",
                                    "--shell", "/usr/sbin/nologin", name, NULL };
    char text[160];
    snprintf(text, sizeof text, "user %s", name);
    if (getpwnam(name) != NULL)
        return say("kept", text);
    enum rc rc = run_program(useradd, f);
    if (rc == RC_NONE)
        rc = run_program(adduser, f);
    if (rc != RC_OK)
        return fault_perm(f, 0, "the user %s could not be made: make it as a system user that cannot log in, then run this again", name);
    return say("made", text);
}

/* ---- the unit ------------------------------------------------------------------------------------------------------- */

bool setup_write_unit(const char *program, const struct config *config, struct buf *out)
{
    buf_printf(out,
        "# Made by \"thurn setup\". Every role confines itself further than this (thurn status).\n"
        "[Unit]\n"
        "Description=Thurn mail system\n"
        "Documentation=man:thurn(1) man:thurn.yaml(5)\n"
        "After=network-online.target nss-lookup.target\n"
        "Wants=network-online.target\n"
        "\n"
        "[Service]\n"
        "Type=notify\n"
        "ExecStartPre=%s check --config %s\n"
        "ExecStart=%s serve --config %s\n"
        "ExecReload=%s reload --config %s\n"
        "Restart=on-failure\n"
        "RestartSec=2\n"
        "KillMode=mixed\n"
        "TimeoutStopSec=60\n"
        "LimitNOFILE=65536\n"
        "UMask=0077\n",
        program, config->path, program, config->path, program, config->path);
    if (strcmp(config->run_dir, "/run/thurn") == 0)
        buf_append_str(out, "RuntimeDirectory=thurn\nRuntimeDirectoryMode=0755\n");
    buf_append_str(out,
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_CHOWN CAP_KILL CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE\n"
        "NoNewPrivileges=yes\n"
        "ProtectSystem=strict\n");
    buf_printf(out, "ReadWritePaths=%s -%s -/var/log\n", config->data_dir, config->run_dir);
    buf_append_str(out,
        "ProtectHome=read-only\n"
        "PrivateTmp=yes\n"
        "PrivateDevices=yes\n"
        "ProtectClock=yes\n"
        "ProtectHostname=yes\n"
        "ProtectKernelTunables=yes\n"
        "ProtectKernelModules=yes\n"
        "ProtectKernelLogs=yes\n"
        "ProtectControlGroups=yes\n"
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n"
        "RestrictNamespaces=yes\n"
        "RestrictRealtime=yes\n"
        "RestrictSUIDSGID=yes\n"
        "LockPersonality=yes\n"
        "MemoryDenyWriteExecute=yes\n"
        "SystemCallArchitectures=native\n"
        "SystemCallFilter=@system-service seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self\n"
        "\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n");
    return !out->overflow;
}

/* ---- DNS ------------------------------------------------------------------------------------------------------------- */

static void write_address(const char *host, const char *type, const char *address, const char *example, struct buf *out)
{
    if (address[0] != '\0')
        buf_printf(out, "%s. %s %s\n", host, type, address);
    else
        buf_printf(out, "; %s. %s %s ; this host's public address, when it has one\n", host, type, example);
}

/* RFC 6186 and RFC 8314 5.1: where clients find what, TLS from the start before STARTTLS. */
static void write_services(const struct config *config, const char *domain, struct buf *out)
{
    static const struct { enum listener_protocol protocol; const char *service; unsigned preference; } services[] = {
        { LISTEN_SUBMISSIONS, "submissions", 0 }, { LISTEN_SUBMISSION, "submission", 10 }, { LISTEN_IMAPS, "imaps", 0 },
        { LISTEN_IMAP, "imap", 10 }, { LISTEN_POP3S, "pop3s", 20 },
    };
    for (size_t s = 0; s < sizeof services / sizeof services[0]; s++)
        for (size_t i = 0; i < config->listener_count; i++)
            if (config->listeners[i].protocol == services[s].protocol) {
                buf_printf(out, "_%s._tcp.%s. SRV %u 1 %u %s.\n", services[s].service, domain, services[s].preference,
                           config->listeners[i].port, config->host_name);
                break;
            }
}

bool setup_write_records(const struct config *config, const char *domain, const char *address4, const char *address6, struct buf *out)
{
    const char *host = config->host_name;
    buf_printf(out, "%s. MX 10 %s.\n", domain, host);
    write_address(host, "A", address4, "192.0.2.1", out);
    write_address(host, "AAAA", address6, "2001:db8::1", out);
    buf_printf(out, "%s. TXT \"v=spf1 mx -all\"\n", domain);
    if (strcmp(domain, host) != 0)
        buf_printf(out, "%s. TXT \"v=spf1 a -all\"\n", host);
    write_services(config, domain, out);
    return !out->overflow;
}

/* A UDP socket that is connected has looked up its route and sent nothing (the address is for documentation, RFC 5737). */
void setup_public_address(int family, char *out, size_t size)
{
    struct sockaddr_storage own = { 0 };
    struct sockaddr_in far4 = { .sin_family = AF_INET, .sin_port = htons(9) };
    struct sockaddr_in6 far6 = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
    socklen_t len = sizeof own;
    inet_pton(AF_INET, "192.0.2.1", &far4.sin_addr);
    inet_pton(AF_INET6, "2001:db8::1", &far6.sin6_addr);
    out[0] = '\0';
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    const void *far = family == AF_INET ? (const void *)&far4 : (const void *)&far6;
    socklen_t far_len = family == AF_INET ? sizeof far4 : sizeof far6;
    if (connect(fd, far, far_len) == 0 && getsockname(fd, (struct sockaddr *)&own, &len) == 0) {
        const void *address = family == AF_INET ? (const void *)&((struct sockaddr_in *)&own)->sin_addr
                                                : (const void *)&((struct sockaddr_in6 *)&own)->sin6_addr;
        const unsigned char *b = address;
        bool is_private = family == AF_INET
            ? b[0] == 10 || b[0] == 127 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168)
              || (b[0] == 100 && (b[1] & 0xc0) == 64) || (b[0] == 169 && b[1] == 254)
            : (b[0] & 0xe0) != 0x20;    /* RFC 4291 2.5.4: global unicast is 2000::/3 */
        if (!is_private && inet_ntop(family, address, out, (socklen_t)size) == NULL)
            out[0] = '\0';
    }
    close(fd);
}

bool setup_has_ipv6(void)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = in6addr_any };
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}
