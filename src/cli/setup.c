/* thurn setup: from a host's name to a server that can be started. */
#include "cli/setup.h"

#include "base/text.h"
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "config/settings.h"
#include "mail/address.h"
#include "os/tls.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIAL_PORT_OFFSET = 10000, PATH_SIZE = 4096 };

static const char *const roles_with_users[] = { "keys", "auth", "edge", "post", "out", "local" };

struct setup {
    const char *prefix, *domain_typed, *certificate_typed, *key_typed, *listen, *offset_typed, *postmaster;
    char host[DOMAIN_MAX + 1], domain[DOMAIN_MAX + 1];
    unsigned port_offset;
    char config[PATH_SIZE], certificate[PATH_SIZE], key[PATH_SIZE], data[PATH_SIZE], run[PATH_SIZE];
    bool is_root_install;           /* not below a prefix */
    struct admin admin;
    struct fault fault;
};

/* ---- what is asked --------------------------------------------------------------------------------------------------- */

static bool understand_name(const char *typed, char out[DOMAIN_MAX + 1], struct fault *f)
{
    struct arena arena;
    struct slice domain;
    struct buf ascii;
    arena_init(&arena, 16 * 1024);
    buf_init(&ascii, DOMAIN_MAX + 1);
    bool is_good = domain_parse(slice_from_str(typed), &arena, &domain, f) == RC_OK && domain_to_ascii(domain, &ascii, f) == RC_OK
                   && slice_to_str(buf_slice(&ascii), out, DOMAIN_MAX + 1);
    arena_free(&arena);
    buf_free(&ascii);
    return is_good;
}

/* mail.example.org serves example.org; example.org serves itself. */
static const char *parent_domain(const char *host)
{
    const char *dot = strchr(host, '.');
    return dot != NULL && strchr(dot + 1, '.') != NULL ? dot + 1 : host;
}

static bool understand_offset(struct setup *s)
{
    struct slice text = slice_from_str(s->offset_typed);
    uint64_t offset = s->is_root_install ? 0 : TRIAL_PORT_OFFSET;
    bool is_good = s->offset_typed == NULL || (slice_take_number(&text, 64000, &offset) && text.len == 0);
    s->port_offset = (unsigned)offset;
    return is_good;
}

/* Below a prefix everything is in one folder, so that removing it removes the trial. */
static bool place(struct setup *s)
{
    char full[PATH_MAX];
    if (s->prefix == NULL) {
        snprintf(s->config, sizeof s->config, "/etc/thurn/thurn.yaml");
        snprintf(s->certificate, sizeof s->certificate, "/etc/thurn/certificate.pem");
        snprintf(s->key, sizeof s->key, "/etc/thurn/key.pem");
        snprintf(s->data, sizeof s->data, "/var/lib/thurn");
        snprintf(s->run, sizeof s->run, "/run/thurn");
        return true;
    }
    if (setup_directory(s->prefix, 0700, NULL, &s->fault) != RC_OK)
        return false;
    if (realpath(s->prefix, full) == NULL || strlen(full) > 1000) {
        fault_perm(&s->fault, 0, "%s: the path cannot be used", s->prefix);
        return false;
    }
    snprintf(s->config, sizeof s->config, "%.1000s/thurn.yaml", full);
    snprintf(s->certificate, sizeof s->certificate, "%.1000s/certificate.pem", full);
    snprintf(s->key, sizeof s->key, "%.1000s/key.pem", full);
    snprintf(s->data, sizeof s->data, "%.1000s/data", full);
    snprintf(s->run, sizeof s->run, "%.1000s/run", full);
    return true;
}

static void take_certificate(struct setup *s)
{
    if (s->certificate_typed == NULL)
        return;
    snprintf(s->certificate, sizeof s->certificate, "%s", s->certificate_typed);
    snprintf(s->key, sizeof s->key, "%s", s->key_typed);
}

static int understand(struct setup *s, const struct cli_usage *usage, const char *host)
{
    s->is_root_install = s->prefix == NULL;
    if (!understand_name(host, s->host, &s->fault))
        return cli_wrong(usage, "\"%s\" is no host name: %s", host, s->fault.text);
    if (strchr(s->host, '.') == NULL)
        return cli_wrong(usage, "\"%s\": give the host's full name, such as mail.example.org", host);
    if (!understand_name(s->domain_typed != NULL ? s->domain_typed : parent_domain(s->host), s->domain, &s->fault))
        return cli_wrong(usage, "\"%s\" is no domain: %s", s->domain_typed, s->fault.text);
    if (!understand_offset(s))
        return cli_wrong(usage, "--port-offset wants a number up to 64000");
    if ((s->certificate_typed == NULL) != (s->key_typed == NULL))
        return cli_wrong(usage, "--certificate and --key go together");
    if (s->certificate_typed != NULL && (s->certificate_typed[0] != '/' || s->key_typed[0] != '/'))
        return cli_wrong(usage, "--certificate and --key want full paths");
    if (s->is_root_install && geteuid() != 0) {
        fprintf(stderr, "thurn setup: it writes to /etc/thurn and makes users, so run it as root; or try it as you are, below a "
                        "folder: thurn setup --prefix DIR %s\n", host);
        return 1;
    }
    return 0;
}

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

static enum rc make_users(struct setup *s)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; s->is_root_install && i < sizeof roles_with_users / sizeof roles_with_users[0] && rc == RC_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "thurn-%s", roles_with_users[i]);
        rc = setup_user(name, &s->fault);
    }
    return rc;
}

/* The data directory can be passed through by the roles' users and written by none; each has its folder below. */
static enum rc make_folders(struct setup *s)
{
    char below[PATH_SIZE + 16];
    enum rc rc = s->is_root_install ? setup_directory("/etc/thurn", 0755, NULL, &s->fault) : RC_OK;
    if (rc == RC_OK)
        rc = setup_directory(s->data, 0711, NULL, &s->fault);
    snprintf(below, sizeof below, "%s/directory", s->data);
    if (rc == RC_OK)
        rc = setup_directory(below, 0700, s->is_root_install ? "thurn-auth" : NULL, &s->fault);
    snprintf(below, sizeof below, "%s/store", s->data);
    if (rc == RC_OK)
        rc = setup_directory(below, 0700, s->is_root_install ? "thurn-post" : NULL, &s->fault);
    return rc;
}

/* Key and certificate belong together: with one of them there, the other is not made. */
static enum rc make_certificate(struct setup *s)
{
    bool has_certificate = access(s->certificate, F_OK) == 0, has_key = access(s->key, F_OK) == 0;
    const char *names[] = { s->host };
    struct buf chain, key;
    if (has_certificate != has_key)
        return fault_perm(&s->fault, 0, "%s is there and %s is not: put the missing one beside it, or move the other away",
                          has_key ? s->key : s->certificate, has_key ? s->certificate : s->key);
    if (!has_key && s->certificate_typed != NULL)
        return fault_perm(&s->fault, 0, "%s: there is no such file", s->certificate);
    buf_init(&chain, 64 * 1024);
    buf_init(&key, 64 * 1024);
    enum rc rc = has_key ? RC_OK : tls_make_self_signed(names, 1, &chain, &key, &s->fault);
    if (rc == RC_OK)
        rc = setup_file(s->key, buf_slice(&key), 0600, &s->fault);
    if (rc == RC_OK)
        rc = setup_file(s->certificate, buf_slice(&chain), 0644, &s->fault);
    if (key.data != NULL)
        explicit_bzero(key.data, key.cap);
    buf_free(&chain);
    buf_free(&key);
    return rc;
}

static void write_listeners(const struct setup *s, struct buf *out)
{
    bool is_everywhere = s->listen == NULL && s->is_root_install;
    const char *address = s->listen != NULL ? s->listen : is_everywhere ? "0.0.0.0" : "127.0.0.1";
    bool is_ipv6 = strchr(address, ':') != NULL, has_ipv6 = is_everywhere && setup_has_ipv6();
    buf_append_str(out, "\nlisten:\n");
    for (unsigned p = 0; p < LISTEN_PROTOCOLS; p++) {
        unsigned port = config_listener_rows[p].port + s->port_offset;
        if (p == LISTEN_LMTP)
            continue;
        buf_printf(out, is_ipv6 ? "  %s: [\"[%s]:%u\"" : "  %s: [\"%s:%u\"", config_listener_rows[p].name, address, port);
        if (has_ipv6)
            buf_printf(out, ", \"[::]:%u\"", port);
        buf_append_str(out, "]\n");
    }
}

/* Before it is written: a wrong --listen or --postmaster must not leave a file that would be kept the next time. */
static enum rc try_config(struct setup *s, const struct buf *text)
{
    struct config config;
    struct buf encoded;
    buf_init(&encoded, 128 * 1024);
    buf_append(&encoded, SLICE("setup\0"));
    buf_append(&encoded, buf_slice(text));
    enum rc rc = text->overflow || encoded.overflow ? fault_no_memory(&s->fault)
                                                    : config_decode(buf_slice(&encoded), &config, &s->fault);
    if (!text->overflow && !encoded.overflow)
        config_free(&config);
    buf_free(&encoded);
    return rc;
}

static enum rc make_config(struct setup *s)
{
    struct buf out;
    buf_init(&out, 64 * 1024);
    buf_printf(&out, "# Made by \"thurn setup\". \"thurn help --sample\" prints every setting there is; thurn.yaml(5) explains them.\n"
                     "# After a change: \"thurn check\", then \"thurn reload\".\n\nhost_name: %s\n", s->host);
    if (!s->is_root_install)
        buf_printf(&out, "data_dir: \"%s\"\nrun_dir: \"%s\"\nuser: none\n", s->data, s->run);
    if (s->postmaster != NULL) {
        buf_append_str(&out, "postmaster: ");
        json_append_string(&out, slice_from_str(s->postmaster));
        buf_append_byte(&out, '\n');
    }
    buf_append_str(&out, "\ntls:\n  certificate: ");
    json_append_string(&out, slice_from_str(s->certificate));
    buf_append_str(&out, "\n  key: ");
    json_append_string(&out, slice_from_str(s->key));
    buf_append_byte(&out, '\n');
    write_listeners(s, &out);
    enum rc rc = try_config(s, &out);
    if (rc == RC_OK)
        rc = setup_file(s->config, buf_slice(&out), 0644, &s->fault);
    buf_free(&out);
    return rc;
}

/* What was made, or kept from before, must be what a server can start with. */
static enum rc check_config(struct setup *s)
{
    enum rc rc = config_load(s->config, &s->admin.config, &s->fault);
    if (rc == RC_OK)
        rc = config_check(&s->admin.config, &s->fault);
    if (rc == RC_OK && strcmp(s->admin.config.host_name, s->host) != 0)
        printf("  note  %s says host_name: %s, and that is what counts\n", s->config, s->admin.config.host_name);
    return rc;
}

static enum rc make_unit(struct setup *s)
{
    char program[PATH_SIZE];
    struct buf unit;
    if (!s->is_root_install)
        return RC_OK;
    if (access("/etc/systemd/system", W_OK) != 0) {
        printf("  note  no systemd here: run \"thurn serve\" by what starts services on this host\n");
        return RC_OK;
    }
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    snprintf(program + (len > 0 ? len : 0), sizeof program - (size_t)(len > 0 ? len : 0), "%s", len > 0 ? "" : "/usr/bin/thurn");
    buf_init(&unit, 64 * 1024);
    enum rc rc = setup_write_unit(program, &s->admin.config, &unit)
                 ? setup_file("/etc/systemd/system/thurn.service", buf_slice(&unit), 0644, &s->fault) : fault_no_memory(&s->fault);
    buf_free(&unit);
    return rc;
}

/* ---- the first domain -------------------------------------------------------------------------------------------------- */

struct search {
    const char *domain;
    bool is_there;
};

static void look(void *arg, const struct json *row)
{
    struct search *search = arg;
    char name[DOMAIN_MAX + 1], typed[4 * DOMAIN_MAX];
    if (slice_to_str(json_text(row, "domain"), typed, sizeof typed) && understand_name(typed, name, NULL))
        search->is_there |= strcmp(name, search->domain) == 0;
}

static void ignore_row(void *arg, const struct json *row)
{
    (void)arg;
    (void)row;
}

/* The last step: as root it becomes the auth role's user for it. */
static int add_domain(struct setup *s)
{
    struct search search = { .domain = s->domain };
    int status = admin_directory(&s->admin, "domain list", look, &search);
    if (status == 0 && !search.is_there) {
        admin_add(&s->admin, s->domain);
        status = admin_directory(&s->admin, "domain add", ignore_row, NULL);
    }
    if (status == 0)
        printf("  %s  domain %s\n", search.is_there ? "kept" : "made", s->domain);
    return status;
}

/* ---- what to do next --------------------------------------------------------------------------------------------------- */

static void print_records(const struct setup *s)
{
    char address4[64], address6[64];
    struct buf out;
    buf_init(&out, 64 * 1024);
    setup_public_address(AF_INET, address4, sizeof address4);
    setup_public_address(AF_INET6, address6, sizeof address6);
    setup_write_records(&s->admin.config, s->domain, address4, address6, &out);
    printf("\nPublish these DNS records:\n\n");
    for (struct slice rest = buf_slice(&out); rest.len > 0;) {
        struct slice line = slice_take_until(&rest, '\n');
        printf("    %.*s\n", SLICE_ARG(line));
    }
    printf("\nand have the provider of your address name it %s (PTR): many servers refuse mail from hosts without a name.\n",
           s->admin.config.host_name);
    buf_free(&out);
}

static void print_next_steps(const struct setup *s)
{
    const char *config = s->is_root_install ? "" : " --config ", *path = s->is_root_install ? "" : s->config;
    printf("\nNext:\n\n");
    printf("    thurn account add%s%s you@%s\n", config, path, s->domain);
    if (s->is_root_install && access("/etc/systemd/system/thurn.service", F_OK) == 0)
        printf("    systemctl daemon-reload && systemctl enable --now thurn\n");
    else
        printf("    thurn serve%s%s\n", config, path);
    printf("    thurn status%s%s\n", config, path);
    if (s->admin.config.postmaster == NULL)
        printf("\nMail for postmaster@%s goes to the oldest account until you say otherwise:\n"
               "    thurn alias add%s%s postmaster@%s you@%s\n", s->domain, config, path, s->domain, s->domain);
    if (s->certificate_typed == NULL)
        printf("\nThe certificate was signed by nobody but this host. Put a real one (from Let's Encrypt, say) under tls.certificate\n"
               "and tls.key in %s, then \"thurn reload%s%s\".\n", s->config, config, path);
}

/* ---- the command --------------------------------------------------------------------------------------------------------- */

static int run(struct setup *s)
{
    static enum rc (*const steps[])(struct setup *) = { make_users, make_folders, make_certificate, make_config, check_config, make_unit };
    umask(022);
    if (!place(s))
        return cli_failed("setup", &s->fault);
    take_certificate(s);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i](s) != RC_OK)
            return cli_failed("setup", &s->fault);
    int status = add_domain(s);
    if (status != 0)
        return status;
    print_records(s);
    print_next_steps(s);
    return 0;
}

int cmd_setup(int argc, char **argv)
{
    struct setup s = { .prefix = NULL };
    admin_init(&s.admin, "setup");
    const struct cli_option options[] = {
        { "domain", 'd', "DOMAIN", "the first domain whose mail is kept here (default: HOST without its first part)", CLI_TEXT(&s.domain_typed) },
        { "prefix", 0, "DIR", "make everything below DIR, for this user, on 127.0.0.1 and ports from 10000 on: a trial", CLI_TEXT(&s.prefix) },
        { "listen", 'l', "ADDRESS", "listen on this address only", CLI_TEXT(&s.listen) },
        { "port-offset", 0, "NUMBER", "add NUMBER to the usual ports (default: 0; 10000 with --prefix)", CLI_TEXT(&s.offset_typed) },
        { "certificate", 0, "FILE", "use this certificate (with its chain, PEM) rather than make one", CLI_TEXT(&s.certificate_typed) },
        { "key", 0, "FILE", "its private key (PEM)", CLI_TEXT(&s.key_typed) },
        { "postmaster", 'p', "ADDRESS", "who gets postmaster's mail", CLI_TEXT(&s.postmaster) },
        CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "setup", .words = "[options] HOST",
        .text = "Makes what a server on this host needs: the configuration /etc/thurn/thurn.yaml, a key with a self-signed certificate, the "
                "system users thurn-keys, thurn-auth, thurn-edge, thurn-post, thurn-out and thurn-local, the data directory, a systemd unit and the first "
                "domain. Then it prints the DNS records to publish and the next steps. HOST is this host's full name.",
        .options = options,
        .notes = "What is there already is kept, never overwritten: running it again makes only what is missing.\n\n"
                 "    thurn setup mail.example.org\n"
                 "    thurn setup --prefix /tmp/trial mail.example.test\n" };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (argc - at != 1)
        return cli_wrong(&usage, "it wants one HOST");
    int status = understand(&s, &usage, argv[at]);
    if (status == 0)
        status = run(&s);
    admin_free(&s.admin);
    return status;
}
