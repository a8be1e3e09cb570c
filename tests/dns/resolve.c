/* The resolver against a real server: nsd (Debian package nsd) on a free loopback port, started here. */
#include "check.h"
#include "dns/dns.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char dir[] = "/tmp/thurn-dns-XXXXXX";
static int port;

static void write_file(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    must(file != NULL);
    fputs(text, file);
    fclose(file);
}

static const char *path_of(const char *name)
{
    static char path[4][200];
    static unsigned at;
    char *out = path[at++ % 4];
    snprintf(out, 200, "%s/%s", dir, name);
    return out;
}

static int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    must(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

static const char *find_nsd(void)
{
    static const char *const places[] = { "/usr/sbin/nsd", "/usr/local/sbin/nsd", "/usr/bin/nsd" };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

static void write_zone(void)
{
    char conf[2000];
    snprintf(conf, sizeof conf,
             "server:\n ip-address: 127.0.0.1\n port: %d\n username: \"\"\n chroot: \"\"\n zonesdir: \"%s\"\n database: \"\"\n"
             " pidfile: \"%s/nsd.pid\"\n xfrdfile: \"%s/xfrd\"\n zonelistfile: \"%s/zones\"\n logfile: \"%s/log\"\n"
             " server-count: 1\nremote-control:\n control-enable: no\nzone:\n name: test\n zonefile: test.zone\n",
             port, dir, dir, dir, dir, dir);
    write_file("nsd.conf", conf);
    write_file("test.zone",
               "$ORIGIN test.\n$TTL 60\n@ SOA ns.test. root.test. 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
               "recipient MX 10 mx1.Recipient\nrecipient MX 20 mx2.recipient\nmx1.recipient A 127.0.0.3\nmx1.recipient AAAA ::1\n"
               "mx2.recipient CNAME mx1.recipient\nnull MX 0 .\nspf TXT \"v=spf1 \" \"-all\"\nbare A 127.0.0.9\n"
               "3.0.0.127.rev PTR mail.recipient.test.\n");
}

/* Listening when its TCP port takes connections. */
static bool wait_for_server(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 0; i < 500; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool is_there = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
        close(fd);
        if (is_there)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    return false;
}

struct seen {
    int calls;
    enum rc rc;
    bool is_nxdomain;
    size_t count;
    char text[500];
};

static void on_done(void *arg, const struct dns_answer *answer)
{
    struct seen *seen = arg;
    seen->calls++;
    seen->rc = answer->rc;
    seen->is_nxdomain = answer->is_nxdomain;
    seen->count = answer->count;
    seen->text[0] = '\0';
    if (answer->count == 0)
        snprintf(seen->text, sizeof seen->text, "%s", answer->why);
    for (size_t i = 0; i < answer->count; i++) {
        const struct dns_record *r = &answer->records[i];
        sprintf(seen->text + strlen(seen->text), "%s%.*s%.*s%s(%u) ", "", SLICE_ARG(r->name), SLICE_ARG(r->data), r->address, r->preference);
    }
}

static void process_until(struct dns *dns, const struct seen *seen, int calls)
{
    struct pollfd p = { .fd = dns_fd(dns), .events = POLLIN };
    while (seen->calls < calls && poll(&p, 1, 20000) > 0)
        dns_process(dns);
}

static void questions(struct dns *dns)
{
    static const struct { const char *name, *question; enum dns_type type; enum rc rc; bool is_nxdomain; const char *has, *has_too; } cases[] = {
        { "an address below .test", "mx1.recipient.test", DNS_A, RC_OK, false, "127.0.0.3(0) ", "" },
        { "exchangers, in lower case", "recipient.test", DNS_MX, RC_OK, false, "mx1.recipient.test(10) ", "mx2.recipient.test(20) " },
        { "a name that leads to another", "mx2.recipient.test", DNS_A, RC_OK, false, "127.0.0.3(0) ", "" },
        { "an IPv6 address", "mx1.recipient.test", DNS_AAAA, RC_OK, false, "::1(0) ", "" },
        { "null MX", "null.test", DNS_MX, RC_OK, false, "(0) ", "" },
        { "text", "spf.test", DNS_TXT, RC_OK, false, "v=spf1 -all(0) ", "" },
        { "a pointer", "3.0.0.127.rev.test", DNS_PTR, RC_OK, false, "mail.recipient.test(0) ", "" },
        { "a name without such a record", "bare.test", DNS_MX, RC_NONE, false, "no such record", "" },
        { "no such name", "nobody.test", DNS_MX, RC_NONE, true, "no such domain", "" },
        { "a zone the server refuses", "example.com", DNS_MX, RC_TEMP, false, "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CASE(cases[i].name);
        struct seen seen = { 0 };
        CHECK(dns_query(dns, slice_from_str(cases[i].question), cases[i].type, on_done, &seen) != 0);
        CHECK_INT(seen.calls, 0);
        process_until(dns, &seen, 1);
        CHECK_INT(seen.calls, 1);
        CHECK_INT(seen.rc, cases[i].rc);
        CHECK_INT(seen.is_nxdomain, cases[i].is_nxdomain);
        CHECK(strstr(seen.text, cases[i].has) != NULL && strstr(seen.text, cases[i].has_too) != NULL);
        if (strstr(seen.text, cases[i].has) == NULL)
            fprintf(stderr, "saw \"%s\"\n", seen.text);
    }
    CASE("a question that was cancelled is not answered");
    struct seen cancelled = { 0 }, other = { 0 };
    uint32_t number = dns_query(dns, SLICE("cancelled.test"), DNS_A, on_done, &cancelled);
    dns_cancel(dns, number);
    for (int i = 0; i < 200; i++)
        CHECK(dns_query(dns, SLICE("mx1.recipient.test"), DNS_A, on_done, &other) != 0);
    process_until(dns, &other, 200);
    CHECK_INT(other.calls, 200);
    CHECK_INT(cancelled.calls, 0);
    CASE("names that are none are not asked");
    CHECK_INT(dns_query(dns, SLICE(""), DNS_A, on_done, &other), 0);
    CHECK_INT(dns_query(dns, SLICE("a\0b.test"), DNS_A, on_done, &other), 0);
}

static void with_server(const char *nsd)
{
    port = free_port();
    write_zone();
    char *const argv[] = { (char *)(uintptr_t)nsd, (char *)(uintptr_t)"-d", (char *)(uintptr_t)"-c", (char *)(uintptr_t)path_of("nsd.conf"), NULL };
    pid_t pid;
    must(posix_spawn(&pid, nsd, NULL, NULL, argv, environ) == 0);
    CHECK(wait_for_server());
    char server[40];
    snprintf(server, sizeof server, "127.0.0.1@%d", port);
    const char *servers[] = { server };
    struct dns *dns;
    struct fault f;
    CHECK_INT(dns_open(&(struct dns_options){ .servers = servers, .server_count = 1 }, &dns, &f), RC_OK);
    questions(dns);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    dns_close(dns);
}

static void settings(void)
{
    struct dns *dns = NULL;
    struct fault f;
    write_file("empty.conf", "search example.org\n# nameserver 192.0.2.1\n");
    write_file("bad.conf", "nameserver somewhere\n");
    write_file("good.conf", "search example.org\nnameserver 127.0.0.1\nnameserver ::1\n");
    const char *bad[] = { "dns.example.org" };
    static const char *const nothing = NULL;
    CASE("no file that names a server: one clear line");
    CHECK_INT(dns_open(&(struct dns_options){ .servers = &nothing, .resolv_conf = path_of("none.conf") }, &dns, &f), RC_PERM);
    CHECK(strstr(f.text, "no DNS server") != NULL && strstr(f.text, "none.conf") != NULL && strstr(f.text, "dns.servers") != NULL);
    CASE("a file that names none");
    CHECK_INT(dns_open(&(struct dns_options){ .resolv_conf = path_of("empty.conf") }, &dns, &f), RC_PERM);
    CHECK(strstr(f.text, "empty.conf has no nameserver line") != NULL);
    CASE("a server that is no address");
    CHECK_INT(dns_open(&(struct dns_options){ .resolv_conf = path_of("bad.conf") }, &dns, &f), RC_PERM);
    CHECK(strstr(f.text, "\"somewhere\"") != NULL);
    CHECK_INT(dns_open(&(struct dns_options){ .servers = bad, .server_count = 1 }, &dns, &f), RC_PERM);
    CHECK(strstr(f.text, "\"dns.example.org\"") != NULL);
    CASE("a good file");
    CHECK_INT(dns_open(&(struct dns_options){ .resolv_conf = path_of("good.conf") }, &dns, &f), RC_OK);
    dns_close(dns);
}

static void clean_up(void)
{
    static const char *const names[] = { "nsd.conf", "test.zone", "nsd.pid", "xfrd", "zones", "log", "empty.conf", "bad.conf", "good.conf" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    rmdir(dir);
}

int main(void)
{
    must(mkdtemp(dir) != NULL);
    settings();
    const char *nsd = find_nsd();
    CASE("nsd is installed (tools/packages test)");
    CHECK(nsd != NULL);
    if (nsd != NULL)
        with_server(nsd);
    clean_up();
    return check_done();
}
