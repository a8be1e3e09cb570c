/* DNS through libunbound: see dns.h.
 *
 * The library runs its resolver in a thread of this process (ub_ctx_async with threads) and hands results over a pipe,
 * which is dns_fd. dns_open asks one question that needs no network and waits for its answer, so that the thread and
 * everything it opens are there before the role confines itself. */
#include "dns/answer.h"

#include "base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unbound.h>

enum {
    QUERIES_MAX = 20000,                /* under way at once */
    RECORDS_MAX = 256,                  /* of one answer that are looked at */
    ANSWER_ARENA_MAX = 256 * 1024,
    CLASS_IN = 1,
};

struct query {
    struct dns *dns;
    uint32_t number;
    enum dns_type type;
    dns_done *done;                     /* NULL: cancelled */
    void *arg;
};

struct dns {
    struct ub_ctx *context;
    struct map queries;
    uint32_t last_number;
    struct arena arena;
};

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static enum rc unbound_fault(struct fault *f, int error, const char *what)
{
    return fault_perm(f, 0, "%s: %s", what, ub_strerror(error));
}

/* The library's defaults are for a desktop; and it answers names by itself which test networks serve for real. */
static enum rc set_options(struct ub_ctx *context, const struct dns_options *options, struct fault *f)
{
    static const struct { const char *name, *value; } settings[] = {
        { "do-not-query-localhost:", "no" },            /* test networks and local resolvers stand on loopback */
        { "num-queries-per-thread:", "1024" },
        { "outgoing-range:", "1024" },
        { "msg-cache-size:", "8m" },
        { "rrset-cache-size:", "16m" },
        { "infra-host-ttl:", "60" },                    /* a server that was down is asked again soon */
        { "infra-keep-probing:", "yes" },
        { "unblock-lan-zones:", "yes" },
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        int error = ub_ctx_set_option(context, settings[i].name, settings[i].value);
        if (error != 0)
            return unbound_fault(f, error, settings[i].name);
    }
    if (options->trust_anchor_file != NULL) {
        int error = ub_ctx_add_ta_file(context, options->trust_anchor_file);
        if (error != 0)
            return unbound_fault(f, error, options->trust_anchor_file);
    }
    return RC_OK;
}

static enum rc add_server(struct ub_ctx *context, const char *server, const char *where, struct fault *f)
{
    if (ub_ctx_set_fwd(context, server) != 0)
        return fault_perm(f, 0, "%s: \"%s\" is no DNS server: want an address such as 192.0.2.1 or 127.0.0.1@5300", where, server);
    return RC_OK;
}

static enum rc read_resolv_conf(struct ub_ctx *context, const char *path, struct fault *f)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fault_perm(f, 0, "no DNS server: %s: %s; name one under dns.servers in the configuration", path, strerror(errno));
    char line[512];
    size_t servers = 0;
    enum rc rc = RC_OK;
    while (rc == RC_OK && fgets(line, sizeof line, file) != NULL) {
        char *rest, *word = strtok_r(line, " \t\r\n", &rest);
        if (word == NULL || strcmp(word, "nameserver") != 0 || (word = strtok_r(NULL, " \t\r\n", &rest)) == NULL)
            continue;
        rc = add_server(context, word, path, f);
        servers++;
    }
    fclose(file);
    if (rc == RC_OK && servers == 0)
        return fault_perm(f, 0, "no DNS server: %s has no nameserver line; name one under dns.servers in the configuration", path);
    return rc;
}

static enum rc add_servers(struct ub_ctx *context, const struct dns_options *options, struct fault *f)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < options->server_count && rc == RC_OK; i++)
        rc = add_server(context, options->servers[i], "dns.servers", f);
    if (options->server_count == 0)
        rc = read_resolv_conf(context, options->resolv_conf == NULL ? "/etc/resolv.conf" : options->resolv_conf, f);
    return rc;
}

static void on_started(void *arg, int error, struct ub_result *result)
{
    *(bool *)arg = true;
    if (error == 0)
        ub_resolve_free(result);
}

/* Names that the library would answer by itself with NXDOMAIN are asked like all others. (This fixes the settings.) */
static void forget_own_zones(struct ub_ctx *context)
{
    static const char *const zones[] = { "test.", "invalid.", "onion.", "home.arpa.", "127.in-addr.arpa." };
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        ub_ctx_zone_remove(context, zones[i]);
}

static enum rc start_thread(struct ub_ctx *context, struct fault *f)
{
    bool is_started = false;
    int error = ub_ctx_async(context, 1);
    if (error != 0)
        return unbound_fault(f, error, "DNS resolver");
    forget_own_zones(context);
    error = ub_resolve_async(context, "localhost.", DNS_A, CLASS_IN, &is_started, on_started, NULL);
    if (error != 0)
        return unbound_fault(f, error, "DNS resolver");
    error = ub_wait(context);                           /* a name that it answers by itself: no network is waited for */
    if (error != 0 || !is_started)
        return fault_temp(f, 0, "DNS resolver: its thread does not start");
    return RC_OK;
}

enum rc dns_open(const struct dns_options *options, struct dns **out, struct fault *f)
{
    struct dns *dns = calloc(1, sizeof *dns);
    if (dns == NULL)
        return fault_no_memory(f);
    map_init(&dns->queries, NULL);
    arena_init(&dns->arena, ANSWER_ARENA_MAX);
    dns->context = ub_ctx_create();
    enum rc rc = RC_OK;
    if (dns->context == NULL)
        rc = fault_no_memory(f);
    else {
        ub_ctx_debugout(dns->context, NULL);
        rc = set_options(dns->context, options, f);
    }
    if (rc == RC_OK)
        rc = add_servers(dns->context, options, f);
    if (rc == RC_OK)
        rc = start_thread(dns->context, f);
    if (rc != RC_OK) {
        dns_close(dns);
        return rc;
    }
    *out = dns;
    return RC_OK;
}

void dns_close(struct dns *dns)
{
    if (dns == NULL)
        return;
    if (dns->context != NULL)
        ub_ctx_delete(dns->context);
    struct query *query;
    for (size_t at = 0; (query = map_next_u64(&dns->queries, &at, NULL)) != NULL;)
        free(query);
    map_free(&dns->queries);
    arena_free(&dns->arena);
    free(dns);
}

int dns_fd(const struct dns *dns) { return ub_fd(dns->context); }

void dns_process(struct dns *dns) { ub_process(dns->context); }

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

/* The name as people write it: without the dot that we asked with. */
#define NAME_ARG(result) (int)strlen((result)->qname) - 1, (result)->qname

static void fill_records(struct dns *dns, enum dns_type type, const struct ub_result *result, struct dns_answer *answer)
{
    size_t count = 0;
    while (count < RECORDS_MAX && result->data[count] != NULL)
        count++;
    answer->records = ARENA_ARRAY(&dns->arena, struct dns_record, count);
    for (size_t i = 0; answer->records != NULL && i < count; i++) {
        if (result->len[i] < 0)
            continue;
        struct slice rdata = { result->data[i], (size_t)result->len[i] };
        if (dns_record_parse(type, rdata, &dns->arena, &answer->records[answer->count]))
            answer->count++;
    }
    if (answer->count > 0)
        return;
    answer->rc = RC_TEMP;
    snprintf(answer->why, sizeof answer->why, "%.*s: the answer makes no sense", NAME_ARG(result));
}

static void fill(struct dns *dns, enum dns_type type, int error, const struct ub_result *result, struct dns_answer *answer)
{
    enum { SERVFAIL = 2, NXDOMAIN = 3 };
    if (error != 0) {
        answer->rc = RC_TEMP;
        snprintf(answer->why, sizeof answer->why, "DNS resolver: %s", ub_strerror(error));
        return;
    }
    answer->ttl_s = result->ttl < 0 ? 0 : (uint32_t)result->ttl;
    answer->is_secure = result->secure != 0;
    answer->is_bogus = result->bogus != 0;
    answer->is_nxdomain = result->nxdomain != 0;
    if (result->bogus) {
        answer->rc = RC_TEMP;
        snprintf(answer->why, sizeof answer->why, "%.*s: DNSSEC validation failed: %s", NAME_ARG(result), result->why_bogus == NULL ? "" : result->why_bogus);
    } else if (result->rcode != 0 && result->rcode != NXDOMAIN) {
        answer->rc = RC_TEMP;
        snprintf(answer->why, sizeof answer->why, "%.*s: %s", NAME_ARG(result),
                 result->rcode == SERVFAIL ? "no answer from DNS (SERVFAIL or time-out)" : "the DNS server refuses");
    } else if (result->nxdomain) {
        answer->rc = RC_NONE;
        snprintf(answer->why, sizeof answer->why, "%.*s: no such domain", NAME_ARG(result));
    } else if (!result->havedata) {
        answer->rc = RC_NONE;
        snprintf(answer->why, sizeof answer->why, "%.*s: no such record", NAME_ARG(result));
    } else
        fill_records(dns, type, result, answer);
}

static void on_answer(void *arg, int error, struct ub_result *result)
{
    struct query *query = arg;
    struct dns *dns = query->dns;
    map_remove_u64(&dns->queries, query->number);
    if (query->done != NULL) {
        struct dns_answer answer = { .rc = RC_OK };
        arena_rewind(&dns->arena);
        fill(dns, query->type, error, result, &answer);
        query->done(query->arg, &answer);
    }
    free(query);
    if (error == 0)
        ub_resolve_free(result);
}

/* ---- questions -------------------------------------------------------------------------------------------------------- */

uint32_t dns_query(struct dns *dns, struct slice name, enum dns_type type, dns_done *done, void *arg)
{
    char text[256];
    if (dns->queries.count >= QUERIES_MAX || name.len == 0 || name.len > 253 || !slice_to_str(name, text, sizeof text))
        return 0;
    text[name.len] = '.';                               /* no search list */
    text[name.len + 1] = '\0';
    struct query *query = calloc(1, sizeof *query);
    if (query == NULL)
        return 0;
    do
        dns->last_number++;
    while (dns->last_number == 0 || map_get_u64(&dns->queries, dns->last_number) != NULL);
    *query = (struct query){ dns, dns->last_number, type, done, arg };
    uint32_t number = query->number;
    if (!map_put_u64(&dns->queries, number, query)) {
        free(query);
        return 0;
    }
    if (ub_resolve_async(dns->context, text, (int)type, CLASS_IN, query, on_answer, NULL) != 0) {
        map_remove_u64(&dns->queries, number);
        free(query);
        return 0;
    }
    return number;
}

/* The library's own cancelling races with a result that is on its way in the pipe; the query is just forgotten here. */
void dns_cancel(struct dns *dns, uint32_t number)
{
    struct query *query = map_get_u64(&dns->queries, number);
    if (query != NULL)
        query->done = NULL;
}
