/* A machine that runs a Thurn server: see node.h. */
#include "sim/node.h"

#include "base/buf.h"
#include "base/fault.h"
#include "config/directory.h"
#include "os/child.h"
#include "os/tls.h"
#include "role/channel.h"
#include "role/control.h"
#include "sim/inner.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { DISK_BYTES = 1 << 30, EDGES = 2, CONFIG_BYTES = 8192 };

/* ---- the disk of a new machine ---------------------------------------------------------------------------------------- */

static void make_file(struct disk *disk, const char *path, struct slice text)
{
    struct disk_file *file;
    must(disk_open(disk, path, O_WRONLY | O_CREAT, 0600, &file) == 0);
    must(disk_write(file, text.ptr, text.len, 0) == (int64_t)text.len && disk_sync(file) == 0);
    disk_close(file);
}

static void make_certificate(struct disk *disk, const char *host_name)
{
    struct buf chain, key;
    struct fault fault;
    buf_init(&chain, CONFIG_BYTES);
    buf_init(&key, CONFIG_BYTES);
    must(tls_make_self_signed(&host_name, 1, &chain, &key, &fault) == RC_OK);
    make_file(disk, "/etc/certificate.pem", buf_slice(&chain));
    make_file(disk, "/etc/key.pem", buf_slice(&key));
    buf_free(&chain);
    buf_free(&key);
}

static void sync_folder(struct disk *disk, const char *path)
{
    struct disk_file *file;
    must(disk_open(disk, path, O_RDONLY | O_DIRECTORY, 0, &file) == 0 && disk_sync(file) == 0);
    disk_close(file);
}

static void make_files(struct disk *disk, const struct node_options *options)
{
    static const struct { const char *protocol; unsigned port; } ports[] = {
        { "smtp", 25 }, { "submission", 587 }, { "submissions", 465 }, { "imap", 143 }, { "imaps", 993 }, { "pop3", 110 }, { "pop3s", 995 },
    };
    char text[CONFIG_BYTES];
    must(disk_make_dir(disk, "/etc", 0755) == 0 && disk_make_dir(disk, "/data", 0755) == 0 && disk_make_dir(disk, "/run", 0755) == 0);
    int len = snprintf(text, sizeof(text),
                       "host_name: %s\ndata_dir: " NODE_DATA "\nrun_dir: " NODE_RUN "\nuser: none\nauth_without_tls_on_loopback: yes\n"
                       "tls:\n  certificate: /etc/certificate.pem\n  key: /etc/key.pem\n"
                       "limits:\n  edges: %u\ndns:\n  servers: [\"" NODE_DNS_SERVER "\"]\nlisten:\n  lmtp: \"127.0.0.1:24\"\n",
                       options->host_name, options->edges != 0 ? options->edges : EDGES);
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "  %s: [\"%s:%u\", \"127.0.0.1:%u\"]\n", ports[i].protocol, options->address,
                        ports[i].port, ports[i].port);
    len += snprintf(text + len, sizeof(text) - (size_t)len, "%s", options->settings != NULL ? options->settings : "");
    must(len > 0 && (size_t)len < sizeof(text));
    make_file(disk, NODE_CONFIG, slice_from_str(text));
    make_certificate(disk, options->host_name);
    sync_folder(disk, "/etc");
    sync_folder(disk, "/");
}

struct node *node_new(const struct node_options *options)
{
    struct node *node = sim_new(sizeof(*node));
    struct disk *disk = disk_new(sim_random(), options->disk_bytes != 0 ? options->disk_bytes : DISK_BYTES, false);
    must(disk != NULL);
    node->options = options;
    node->host = sim_host_new(options->host_name, disk);
    node->host->memory_limit = options->memory_bytes;
    node->host->segment_bytes = UINT64_C(262144) << 2 * sim_below(3);
    node->host->user = node;
    (void)snprintf(node->host->addresses[0], sizeof(node->host->addresses[0]), "%s", options->address);
    make_files(disk, options);
    return node;
}

void node_free(struct node *node)
{
    struct disk *disk = node->host->disk;
    sim_host_free(node->host);
    disk_free(disk);
    sim_delete(node);
}

/* ---- its life ------------------------------------------------------------------------------------------------------------ */

static int serve(void *arg)
{
    (void)arg;
    return role_launcher_main(NODE_CONFIG);
}

static void on_ready(void *arg)
{
    struct node *node = arg;
    node->is_ready = true;
    sim_trace("%s is ready", node->host->name);
    sim_wake(node);
}

static void on_end(void *arg)
{
    struct node *node = arg;
    node->status = node->launcher->status;
    node->launcher = NULL;
    node->is_ready = false;
    sim_wake(node);
}

void node_boot(struct node *node)
{
    must(node->launcher == NULL);
    if (!node->host->is_up)
        sim_power_on(node->host);
    node->boots++;
    node->launcher = sim_spawn(node->host, "launcher", serve, node);
    sim_process_serves(node->launcher);
    node->launcher->on_ready = on_ready;
    node->launcher->on_ready_arg = node;
    sim_at_exit(node->launcher, on_end, node);
}

void node_power_cut(struct node *node, enum disk_loss loss)
{
    sim_power_off(node->host);
    disk_power_cut(node->host->disk, loss);
}

void node_stop(struct node *node)
{
    if (node->launcher != NULL)
        process_signal(node->launcher, SIGTERM);
    process_leave_if_dead();
}

void node_reload(struct node *node)
{
    if (!node->is_ready)
        return;
    sim_trace("%s is told to reload", node->host->name);
    process_signal(node->launcher, SIGHUP);
    process_leave_if_dead();
}

bool node_wait_ready(struct node *node, int64_t timeout_ms)
{
    int64_t until = sim_now_us() + timeout_ms * 1000;
    while (!node->is_ready && node->launcher != NULL && sim_now_us() < until)
        (void)sim_wait(node, until);
    return node->is_ready;
}

static void no_row(void *arg, struct slice json) { (void)arg, (void)json; }

static int release_held(void *arg)
{
    static const char *const held[] = { "held" };
    struct fault fault = { .rc = RC_OK };
    (void)arg;
    if (control_call(NODE_RUN "/control-post.sock", "queue-release", held, 1, no_row, NULL, &fault) != RC_OK)
        sim_trace("nothing was released: %s", fault.text);
    return 0;
}

void node_release_held(struct node *node)
{
    if (node->launcher == NULL)
        return;
    (void)sim_spawn(node->host, "admin", release_held, NULL);
    while (sim_process_find(node->host, "admin", 0) != NULL)
        sim_sleep_us(10000);
}

/* ---- its people ------------------------------------------------------------------------------------------------------------ */

struct people {
    const char *const *domains;
    size_t domain_count;
    const struct node_account *accounts;
    size_t account_count;
    int64_t now_s;
    bool is_done;
};

static void need(enum rc rc, const struct fault *fault)
{
    if (rc != RC_OK)
        sim_fail("the directory refuses: %s", fault->text);
}

static int add_people(void *arg)
{
    struct people *people = arg;
    struct directory *directory;
    struct fault fault;
    uint64_t id;
    need(dir_make(NODE_DATA "/directory", 0700, &fault), &fault);
    need(directory_open(NODE_DATA "/directory", &directory, &fault), &fault);
    for (size_t i = 0; i < people->domain_count; i++)
        need(directory_domain_add(directory, slice_from_str(people->domains[i]), &fault), &fault);
    for (size_t i = 0; i < people->account_count; i++) {
        const struct node_account *account = &people->accounts[i];
        need(directory_account_add(directory, slice_from_str(account->address), slice_from_str(account->password), account->quota_bytes,
                                   people->now_s, &id, &fault), &fault);
    }
    directory_close(directory);
    people->is_done = true;
    sim_wake(people);
    return 0;
}

void node_add(struct node *node, const char *const *domains, size_t domain_count, const struct node_account *accounts, size_t account_count)
{
    struct people *people = sim_new(sizeof(*people));
    *people = (struct people){ .domains = domains, .domain_count = domain_count, .accounts = accounts, .account_count = account_count,
                               .now_s = sim_unix_us(node->host) / 1000000 };
    must(node->launcher == NULL);
    sim_at_exit(sim_spawn(node->host, "setup", add_people, people), sim_delete, people);
    while (sim_self() != NULL && sim_process_find(node->host, "setup", 0) != NULL)
        sim_sleep_us(100);
}
