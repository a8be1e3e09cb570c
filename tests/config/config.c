/* The configuration file: what is read, and what errors say. */
#include "base/text.h"
#include "config/config.h"
#include "config/settings.h"

#include "check.h"

#include <unistd.h>

#define HOST "host_name: mail.example.org\n"
#define TLS "tls: {certificate: /c, key: /k}\n"

static enum rc load(struct slice text, struct config *config, struct fault *f)
{
    char path[] = "/tmp/thurn-config-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, text.ptr, text.len) != (ssize_t)text.len)
        abort();
    close(fd);
    enum rc rc = config_load(path, config, f);
    unlink(path);
    return rc;
}

/* What the fault says after the file's name. */
static const char *said(const struct fault *f)
{
    const char *colon = strchr(f->text, ':');
    return colon != NULL ? colon : "";
}

static void test_errors(void)
{
    static const struct { const char *sentence, *text, *says; } cases[] = {
        { "an empty file lacks the host's name", "", ": host_name is missing: add a line such as \"host_name: mail.example.org\"" },
        { "a file of comments is empty", "# nothing\n", ": host_name is missing" },
        { "a misspelt setting is answered with the near one", HOST "listne: {}\n", ":2:1: there is no setting \"listne\"; did you mean \"listen\"?" },
        { "a misspelt setting of a section too", HOST "tls:\n  certifcate: /c\n", ":3:3: there is no setting \"tls.certifcate\"; did you mean \"tls.certificate\"?" },
        { "a setting outside of its section is shown its place", HOST "message_size: 5M\n", ":2:1: there is no setting \"message_size\"; did you mean \"limits.message_size\"?" },
        { "a setting in the wrong section is shown the right one", HOST "limits:\n  retry_max: 5h\n", "; did you mean \"delivery.retry_max\"?" },
        { "nonsense gets the manual", HOST "xyzzyplugh: 1\n", "there is no setting \"xyzzyplugh\" (thurn.yaml(5) has them all)" },
        { "control characters of a name are shown, not sent", HOST "\"a\\e[31mred\": 1\n", "there is no setting \"a\\x1b[31mred\"" },
        { "a setting twice names both lines", HOST "data_dir: /a\n" HOST, ":3:1: \"host_name\" stands here a second time (first in line 1): keep one" },
        { "a section twice is refused too", HOST "log: {format: text}\nlog: {file: /x}\n", "\"log\" stands here a second time" },
        { "a tab is not YAML", HOST "tls:\n\tkey: /k\n", ":3:1: found character that cannot start any token" },
        { "an open bracket is not YAML", HOST "dns: {servers: [1\n", "did not find expected" },
        { "a list is no file", "- a\n- b\n", ":1:1: the file is a list: expected settings" },
        { "a value is no file", "hello\n", ":1:1: the file is a value: expected settings" },
        { "a second document is refused", HOST "---\n" HOST, "a second document begins" },
        { "anchors are refused", HOST "data_dir: *here\n", "anchors and aliases" },
        { "a map where a value should be", HOST "data_dir: {a: b}\n", ":2:11: data_dir is a map: expected a path" },
        { "a value where a section should be", HOST "tls: /etc/cert\n", ":2:6: tls is a value: expected a map of its settings" },
        { "deep nesting ends", HOST "routes: [[[[[[[[[[[[[[[[a]]]]]]]]]]]]]]]]\n", "nested deeper than any setting is" },
        { "a name as key is expected", HOST "? [a]\n: b\n", "a setting's name was expected here" },

        { "a host name is a name", "host_name: mail..example\n", ":1:12: host_name: \"mail..example\": expected a name such as mail.example.org" },
        { "a relative path has no place to be relative to", HOST "data_dir: var/mail\n", "expected a path that begins with '/'" },
        { "a postmaster is an address", HOST "postmaster: root\n", "expected an address such as alice@example.org" },
        { "a separator is one mark", HOST "subaddress_separator: ++\n", "expected one mark such as \"+\", or none" },
        { "a letter does not separate", HOST "subaddress_separator: a\n", "expected one mark" },
        { "a flag is yes or no", HOST "auth_without_tls_on_loopback: maybe\n", "\"maybe\": expected yes or no" },
        { "a choice says its words", HOST "log: {format: xml}\n", "log.format: \"xml\": expected one of these words: text json" },
        { "a size has a known unit", HOST "limits: {message_size: 5X}\n", "limits.message_size: \"5X\": expected a size such as 50M" },
        { "a size is within limits", HOST "limits: {message_size: 1K}\n", "expected something between 64K and 2G" },
        { "a size of 2^64 is no small size", HOST "limits: {message_size: 18446744073709551616}\n", "expected a size" },
        { "a size does not wrap around", HOST "limits: {message_size: 4294967295G}\n", "expected something between" },
        { "a time wants a unit", HOST "delivery: {retry_first: 300}\n", "\"300\": expected a time such as 30m" },
        { "a time is within limits", HOST "delivery: {give_up_after: 90d}\n", "expected something between 1s and 60d" },
        { "a negative time is none", HOST "delivery: {give_up_after: -1d}\n", "expected a time such as" },
        { "history is in whole days", HOST "history: 36h\n", "expected whole days" },
        { "a number is a number", HOST "limits: {edges: four}\n", "expected a number between 0 and 64" },
        { "a number is within limits", HOST "limits: {edges: 65}\n", "expected a number between 0 and 64" },
        { "a port is not 0", HOST "delivery: {port: 0}\n", "expected a port between 1 and 65535" },
        { "a port ends at 65535", HOST "delivery: {port: 65536}\n", "expected a port between 1 and 65535" },
        { "an address is numeric", HOST "delivery: {source: localhost}\n", "expected a numeric address" },
        { "retries that begin after they end", HOST "delivery: {retry_first: 5h, retry_max: 4h}\n", "delivery.retry_first is longer than delivery.retry_max" },

        { "an unknown protocol", HOST "listen: {http: \"0.0.0.0:80\"}\n", ":2:10: listen: there is no protocol \"http\": expected smtp" },
        { "a listener has a port", HOST "listen: {smtp: 0.0.0.0}\n", "listen.smtp: \"0.0.0.0\": expected \"address:port\" such as \"0.0.0.0:25\"" },
        { "a listener has an address", HOST "listen: {smtp: 25}\n", "expected \"address:port\"" },
        { "IPv6 stands in brackets", HOST "listen: {smtp: \"::1:25\"}\n", "expected \"address:port\"" },
        { "IPv4 does not", HOST "listen: {smtp: \"[127.0.0.1]:25\"}\n", "expected \"address:port\"" },
        { "a path is for lmtp", HOST "listen: {smtp: /run/x}\n", "only lmtp may listen on a path" },
        { "a list of one protocol has values", HOST "listen: {smtp: [[a]]}\n", "listen.smtp has a list here" },
        { "listen is a map", HOST "listen: \"0.0.0.0:25\"\n", "listen is a value: expected a map" },
        { "two on one port", HOST "listen: {smtp: \"127.0.0.1:25\", lmtp: \"127.0.0.1:25\"}\n", ":2:38: listen.lmtp: \"127.0.0.1:25\" is already taken by listen.smtp" },
        { "one on all addresses and one on the same port", HOST "listen: {smtp: [\"127.0.0.1:25\", \"0.0.0.0:25\"]}\n", "is already taken by listen.smtp" },
        { "implicit TLS wants a certificate", HOST "listen: {imaps: \"0.0.0.0:993\"}\n", ": listen.imaps needs TLS: set tls.certificate and tls.key" },
        { "a certificate wants its key", HOST "tls: {certificate: /c}\n", "tls.certificate and tls.key go together: tls.key is missing" },

        { "a route is a map", HOST "routes: [a]\n", "routes has a value here" },
        { "routes are a list", HOST "routes: {domain: a}\n", "routes is a map: expected a list" },
        { "a route has a host", HOST "routes: [{domain: a.example}]\n", "routes: this route has no \"host\"" },
        { "a route's misspelt setting", HOST "routes: [{domain: a.example, hots: b}]\n", "did you mean \"host\"?" },
        { "a route's address stands in brackets", HOST "routes: [{domain: a.example, host: 192.0.2.1}]\n", "an address stands in brackets: \"[192.0.2.1]\"" },
        { "a route's path is for lmtp", HOST "routes: [{domain: a.example, host: /run/x}]\n", "only \"protocol: lmtp\" may deliver to a path" },
        { "a route twice", HOST "routes: [{domain: a.example, host: b}, {domain: A.EXAMPLE, host: c}]\n", "a second route for \"a.example\"" },
        { "a user has a password", HOST "routes: [{domain: \"*\", host: b, tls: must, user: u}]\n", "user and password_file go together" },
        { "a password goes over TLS", HOST "routes: [{domain: \"*\", host: b, user: u, password_file: /p}]\n", "a password is sent over TLS only" },
        { "a server to ask is numeric", HOST "dns: {servers: [dns.example]}\n", "dns.servers: \"dns.example\": expected a server such as" },
        { "a server's port is a port", HOST "dns: {servers: [\"127.0.0.1@0\"]}\n", "expected a server such as" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config config;
        struct fault f = { 0 };
        CASE(cases[i].sentence);
        CHECK_INT(load(slice_from_str(cases[i].text), &config, &f), RC_PERM);
        CHECK_INT(f.rc, RC_PERM);
        CHECK(strstr(said(&f), cases[i].says) != NULL);
        if (strstr(said(&f), cases[i].says) == NULL)
            fprintf(stderr, "  it said: %s\n", f.text);
        config_free(&config);
    }
}

static void test_presets(void)
{
    struct config c;
    CASE("the host's name is enough");
    CHECK_INT(load(SLICE("host_name: MAIL.Example.ORG"), &c, NULL), RC_OK);
    CHECK_STR(c.host_name, "mail.example.org");
    CHECK_STR(c.data_dir, "/var/lib/thurn");
    CHECK_STR(c.run_dir, "/run/thurn");
    CHECK_STR(c.user, "thurn");
    CHECK(c.tls_certificate == NULL && c.tls_key == NULL && c.postmaster == NULL && c.log_file == NULL);
    CHECK_INT(c.message_size_max, 50 * 1024 * 1024);
    CHECK_INT(c.subaddress_separator, '+');
    CHECK_INT(c.retry_first_s, 300);
    CHECK_INT(c.retry_max_s, 4 * 3600);
    CHECK_INT(c.queue_lifetime_s, 5 * 86400);
    CHECK_INT(c.delay_warning_s, 4 * 3600);
    CHECK_INT(c.delivery_port, 25);
    CHECK_INT(c.delivery_concurrency, 100);
    CHECK_INT(c.destination_concurrency, 10);
    CHECK_INT(c.connections_max, 5000);
    CHECK_INT(c.connections_per_address_max, 50);
    CHECK_INT(c.history_days, 30);
    CHECK_INT(c.keep_expunged_s, 7 * 24 * 3600);
    CHECK(!c.auth_without_tls_on_loopback && !c.dns_allow_loopback_mx && !c.full_mailbox_is_permanent && !c.log_json);
    CHECK_INT(c.dns_server_count, 0);
    CHECK_INT(c.route_count, 0);
    CHECK_INT(c.listener_count, 2);
    config_free(&c);

    CASE("with a certificate everything but lmtp is served");
    CHECK_INT(load(SLICE(HOST TLS), &c, NULL), RC_OK);
    CHECK_INT(c.listener_count, 14);
    config_free(&c);
}

static const char full[] =
    HOST TLS
    "data_dir: /d\nrun_dir: /r\nuser: none\npostmaster: \"\\\"p m\\\"@example.org\"\nsubaddress_separator: none\n"
    "full_mailbox: refuse\nauth_without_tls_on_loopback: yes\nhistory: 2w\n"
    "listen:\n  smtp: [\"127.0.0.2:25\", \"[::1]:2525\"]\n  lmtp: /run/thurn/lmtp\n  imaps: 127.0.0.2:993\n"
    "limits: {message_size: 1M, connections: 7, connections_per_address: 3, edges: 2}\n"
    "delivery: {port: 2525, source: 127.0.0.2, connections: 4, connections_per_destination: 2, retry_first: 1s, retry_max: 90s,\n"
    "  give_up_after: 1w, warn_after: never}\n"
    "routes:\n  - {domain: Example.NET, host: \"[IPv6:::1]\", port: 24, protocol: lmtp, tls: never}\n"
    "  - {domain: \"*\", host: Smart.example, tls: implicit, port: 465, user: u, password_file: /p}\n"
    "dns: {servers: [\"127.0.0.1@5300\", \"::1\"], allow_loopback_mx: on}\n"
    "log: {format: json, file: /l}\n";

static void check_full(const struct config *c)
{
    CHECK(c->user == NULL);
    CHECK_STR(c->postmaster, "\"p m\"@example.org");
    CHECK_INT(c->subaddress_separator, 0);
    CHECK(c->full_mailbox_is_permanent && c->auth_without_tls_on_loopback && c->dns_allow_loopback_mx && c->log_json);
    CHECK_INT(c->history_days, 14);
    CHECK_INT(c->listener_count, 4);
    CHECK_INT(c->listeners[1].protocol, LISTEN_SMTP);
    CHECK_STR(c->listeners[1].address, "::1");
    CHECK_INT(c->listeners[1].port, 2525);
    CHECK_STR(c->listeners[2].address, "/run/thurn/lmtp");
    CHECK_INT(c->listeners[2].protocol, LISTEN_LMTP);
    CHECK_INT(c->message_size_max, 1 << 20);
    CHECK_INT(c->delay_warning_s, 0);
    CHECK_INT(c->retry_max_s, 90);
    CHECK_INT(c->queue_lifetime_s, 7 * 86400);
    CHECK_STR(c->delivery_source, "127.0.0.2");
    CHECK_INT(c->route_count, 2);
    CHECK_STR(c->routes[0].domain, "example.net");
    CHECK_STR(c->routes[0].host, "[IPv6:::1]");
    CHECK(c->routes[0].is_lmtp && c->routes[0].user == NULL);
    CHECK_INT(c->routes[0].tls, ROUTE_TLS_NEVER);
    CHECK_STR(c->routes[1].host, "smart.example");
    CHECK_INT(c->routes[1].tls, ROUTE_TLS_IMPLICIT);
    CHECK_STR(c->routes[1].password_file, "/p");
    CHECK_INT(c->dns_server_count, 2);
    CHECK_STR(c->dns_servers[0], "127.0.0.1@5300");
    CHECK_STR(c->log_file, "/l");
}

static void test_full(void)
{
    struct config c, again;
    struct fault f = { 0 };
    struct buf text, frame;
    buf_init(&text, 1 << 16);
    buf_init(&frame, 1 << 16);
    CASE("every setting is read");
    CHECK_INT(load(SLICE(full), &c, &f), RC_OK);
    CHECK_STR(f.text, "");
    check_full(&c);
    CASE("what is encoded is decoded the same");
    CHECK(config_encode(&c, &frame));
    CHECK_INT(config_decode(buf_slice(&frame), &again, &f), RC_OK);
    check_full(&again);
    CHECK_STR(again.path, c.path);
    config_free(&again);
    CASE("what is written is read the same");
    CHECK(config_write(&c, &text));
    CHECK_INT(load(buf_slice(&text), &again, &f), RC_OK);
    check_full(&again);
    config_free(&again);
    config_free(&c);
    CASE("bytes that are no configuration are refused");
    CHECK_INT(config_decode(SLICE("/path\0host_name: ["), &again, &f), RC_PERM);
    config_free(&again);
    CHECK_INT(config_decode(SLICE("\xff\xfe\x00"), &again, &f), RC_PERM);
    config_free(&again);
    buf_free(&text);
    buf_free(&frame);
}

/* Takes away the marks of what is commented out: "#name:", not "# prose". */
static void uncomment(struct slice sample, struct buf *out)
{
    while (sample.len > 0) {
        struct slice line = slice_take_until(&sample, '\n');
        bool is_setting = line.len > 1 && line.ptr[0] == '#' && (line.ptr[1] != ' ' || (line.len > 2 && line.ptr[2] == ' '));
        buf_append(out, is_setting ? slice_sub(line, 1, line.len) : line);
        buf_append_byte(out, '\n');
    }
}

static void test_sample(void)
{
    struct config c;
    struct fault f = { 0 };
    struct buf sample, bare, manual, presets, got;
    struct buf *all[] = { &sample, &bare, &manual, &presets, &got };
    for (size_t i = 0; i < 5; i++)
        buf_init(all[i], 1 << 16);
    CASE("the sample is the default configuration");
    CHECK(config_write_sample(&sample));
    CHECK_INT(load(buf_slice(&sample), &c, &f), RC_OK);
    CHECK(config_write(&c, &got));
    config_free(&c);
    CHECK_INT(load(SLICE(HOST), &c, &f), RC_OK);
    CHECK(config_write(&c, &presets));
    CHECK_SLICE(buf_slice(&got), buf_slice(&presets));
    config_free(&c);
    CASE("every line of the sample that is commented out is right");
    uncomment(buf_slice(&sample), &bare);
    CHECK_INT(load(buf_slice(&bare), &c, &f), RC_OK);
    CHECK_STR(f.text, "");
    CHECK_INT(c.listener_count, 15);
    CHECK_INT(c.route_count, 1);
    CHECK_INT(c.dns_server_count, 2);
    config_free(&c);
    CASE("the manual has every setting");
    CHECK(config_write_manual(&manual));
    for (size_t i = 0; i < config_setting_count; i++) {
        char head[64];
        snprintf(head, sizeof head, ".B %s\n", config_settings[i].name);
        CHECK(slice_find(buf_slice(&manual), slice_from_str(head)) < buf_len(&manual));
    }
    for (size_t i = 0; i < 5; i++)
        buf_free(all[i]);
}

static void test_files(void)
{
    struct config c;
    struct fault f = { 0 };
    CASE("a file that is not there says how to make one");
    CHECK_INT(config_load("/nonexistent/thurn.yaml", &c, &f), RC_PERM);
    CHECK(strstr(f.text, "/nonexistent/thurn.yaml: there is no such file: \"thurn setup\" makes one") != NULL);
    config_free(&c);
    CASE("a folder is no file");
    CHECK_INT(config_load("/tmp", &c, &f), RC_PERM);
    CHECK(strstr(f.text, "/tmp") != NULL);
    config_free(&c);
    CASE("NUL is no text");
    CHECK_INT(load(SLICE("host_name: a\0b\n"), &c, &f), RC_PERM);
    config_free(&c);
    CASE("text is UTF-8");
    CHECK_INT(load(SLICE("host_name: a\xff\n"), &c, &f), RC_PERM);
    CHECK(strstr(f.text, "must be UTF-8") != NULL);
    config_free(&c);
    struct buf big;
    buf_init(&big, 3 << 20);
    while (buf_len(&big) < 2 << 20)
        buf_append_str(&big, "# a comment\n");
    CASE("a file larger than a configuration can be");
    CHECK_INT(load(buf_slice(&big), &c, &f), RC_PERM);
    CHECK(strstr(f.text, "larger than a configuration can be") != NULL);
    config_free(&c);
    buf_free(&big);
}

int main(void)
{
    test_errors();
    test_presets();
    test_full();
    test_sample();
    test_files();
    return check_done();
}
