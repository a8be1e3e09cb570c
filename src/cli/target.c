/* Where a tool connects to and as whom: understands the words of net.h's options. */
#include "cli/net.h"

#include "cli/terminal.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_S = 60, TIMEOUT_S_MAX = 86400 };

static bool parse_number(const char *text, uint64_t max, uint64_t *value)
{
    struct slice in = slice_from_str(text);
    return slice_take_number(&in, max, value) && in.len == 0;
}

bool net_parse_host_port(const char *text, char host[NET_HOST_MAX], uint16_t *port)
{
    struct slice in = slice_from_str(text), name;
    uint64_t number;
    if (slice_take_byte(&in, '[')) {
        name = slice_take_until(&in, ']');
        if (in.len > 0 && !slice_take_byte(&in, ':'))
            return false;
    } else if (slice_find_byte(in, ':') != in.len && strchr(text, ':') != strrchr(text, ':')) {
        name = in;              /* a bare IPv6 address */
        in = SLICE("");
    } else {
        name = slice_take_until(&in, ':');
    }
    if (in.len > 0) {
        if (!slice_take_number(&in, 65535, &number) || in.len > 0 || number == 0)
            return false;
        *port = (uint16_t)number;
    }
    return name.len > 0 && slice_to_str(name, host, NET_HOST_MAX);
}

static bool prepare_tls(const struct cli_usage *usage, struct net_target *target, const struct net_ports *ports)
{
    static const char *const names[] = { [NET_TLS_STARTTLS] = "starttls", [NET_TLS_IMPLICIT] = "implicit", [NET_TLS_NONE] = "none" };
    if (target->tls_text == NULL) {
        /* 10993 and 2993 are for TLS from the start, as 993 is. */
        bool is_implicit = ports->implicit != 0 && target->port % 1000 == ports->implicit % 1000;
        target->tls = target->port == 0 || ports->usual == NET_TLS_NONE ? ports->usual : is_implicit ? NET_TLS_IMPLICIT : NET_TLS_STARTTLS;
        return true;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(target->tls_text, names[i]) == 0) {
            target->tls = (enum net_tls)i;
            return true;
        }
    }
    (void)cli_wrong(usage, "--tls %s: starttls, implicit or none is possible", target->tls_text);
    return false;
}

static bool read_password_file(struct net_target *target)
{
    FILE *file = fopen(target->password_file, "re");
    if (file == NULL || fgets(target->password, sizeof(target->password), file) == NULL) {
        fprintf(stderr, "thurn: %s: no password can be read from it: %s\n", target->password_file,
                file == NULL ? strerror(errno) : "it is empty");
        if (file != NULL)
            fclose(file);
        return false;
    }
    fclose(file);
    target->password[strcspn(target->password, "\r\n")] = '\0';
    return true;
}

static bool prepare_password(struct net_target *target)
{
    const char *from_environment = getenv("THURN_PASSWORD");
    if (target->password_file != NULL)
        return read_password_file(target);
    if (from_environment == NULL) {
        char question[NET_HOST_MAX * 2];
        snprintf(question, sizeof(question), "Password of %.200s at %.200s: ", target->user, target->host);
        return terminal_ask_password(question, target->password, sizeof(target->password));
    }
    if (strlen(from_environment) >= sizeof(target->password)) {
        fprintf(stderr, "thurn: $THURN_PASSWORD is longer than %d bytes\n", NET_SECRET_MAX - 1);
        return false;
    }
    strcpy(target->password, from_environment);
    return true;
}

bool net_target_prepare(const struct cli_usage *usage, struct net_target *target, const struct net_ports *ports)
{
    uint64_t seconds = TIMEOUT_S;
    const char *server = target->server != NULL ? target->server : "localhost";
    if (!net_parse_host_port(server, target->host, &target->port)) {
        (void)cli_wrong(usage, "--server %s: HOST, HOST:PORT or [ADDRESS]:PORT is possible", server);
        return false;
    }
    if (!prepare_tls(usage, target, ports))
        return false;
    if (target->port == 0)
        target->port = target->tls == NET_TLS_IMPLICIT ? ports->implicit : ports->starttls;
    if (target->timeout_text != NULL && (!parse_number(target->timeout_text, TIMEOUT_S_MAX, &seconds) || seconds == 0)) {
        (void)cli_wrong(usage, "--timeout %s: a number of seconds from 1 to %d is possible", target->timeout_text, TIMEOUT_S_MAX);
        return false;
    }
    target->timeout_s = (unsigned)seconds;
    if (RAND_bytes(target->nonce, sizeof(target->nonce)) != 1) {
        fprintf(stderr, "thurn: the system gives no random numbers\n");
        return false;
    }
    return target->user == NULL || prepare_password(target);
}

void net_target_wipe(struct net_target *target)
{
    explicit_bzero(target->password, sizeof(target->password));
}
