/* The configuration file: see config.h. The file becomes a tree (node.h), the tree is held against the table of settings
 * (settings.h), what is missing gets its preset. */
#include "config/config.h"

#include "base/text.h"
#include "config/node.h"
#include "config/settings.h"
#include "config/value.h"

#include <errno.h>
#include <stdio.h>

enum {
    FILE_MAX = 1 << 20,
    ARENA_MAX = 16 << 20,           /* the file, its tree and the values */
    LISTENERS_MAX = 64,
    ROUTES_MAX = 10000,
    SERVERS_MAX = 16,
    TYPING_ERRORS_MAX = 3,          /* between a word and what it was meant to be */
};

struct reader {
    struct config *config;
    struct fault *fault;
    bool seen[64];                  /* by place in the table */
};

/* ---- errors ----------------------------------------------------------------------------------------------------- */

static enum rc wrong(struct reader *r, const struct node *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static enum rc wrong(struct reader *r, const struct node *at, const char *format, ...)
{
    char text[FAULT_TEXT_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return fault_perm(r->fault, 0, "%s:%u:%u: %s", r->config->path, at->line, at->column, text);
}

/* The same, about a name and not its value. */
static struct node name_of(const struct node *node)
{
    return (struct node){ .line = node->key_line, .column = node->key_column };
}

/* Levenshtein's distance, of short words. */
static size_t distance(struct slice a, struct slice b)
{
    size_t row[65];
    if (a.len > 64 || b.len > 64)
        return 64;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t change = diagonal + (byte_lower(a.ptr[i - 1]) != byte_lower(b.ptr[j - 1]));
            size_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < other ? change : other;
        }
    }
    return row[b.len];
}

static struct slice last_part(struct slice name)
{
    size_t dot = slice_find_byte(name, '.');
    return dot < name.len ? slice_sub(name, dot + 1, name.len) : name;
}

/* The known name nearest to what was written, by its whole or by its last part; NULL when none is near. */
static const char *nearest(const struct setting *table, size_t count, struct slice written)
{
    size_t best = TYPING_ERRORS_MAX + 1;
    const char *name = NULL;
    for (size_t i = 0; i < count; i++) {
        struct slice known = slice_from_str(table[i].name);
        size_t whole = distance(known, written), part = distance(last_part(known), last_part(written));
        size_t d = whole <= part ? whole : part;
        if (d < best && d * 2 <= written.len) {
            best = d;
            name = table[i].name;
        }
    }
    return name;
}

static enum rc unknown(struct reader *r, const struct node *at, const struct setting *table, size_t count, struct slice name)
{
    const char *near_name = nearest(table, count, name);
    struct node key = name_of(at);
    struct buf shown;
    buf_init(&shown, 400);
    buf_append_escaped(&shown, slice_sub(name, 0, 64), false);
    struct slice text = buf_slice(&shown);
    enum rc rc = near_name != NULL
                 ? wrong(r, &key, "there is no setting \"%.*s\"; did you mean \"%s\"?", SLICE_ARG(text), near_name)
                 : wrong(r, &key, "there is no setting \"%.*s\" (thurn.yaml(5) has them all)", SLICE_ARG(text));
    buf_free(&shown);
    return rc;
}

static enum rc wrong_value(struct reader *r, const struct node *at, const char *name, const struct fault *why)
{
    struct buf shown;
    buf_init(&shown, 400);
    buf_append_escaped(&shown, slice_sub(at->text, 0, 64), false);
    struct slice text = buf_slice(&shown);
    enum rc rc = wrong(r, at, "%s: \"%.*s\": %s", name, SLICE_ARG(text), why->text);
    buf_free(&shown);
    return rc;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static enum rc read_scalar(struct reader *r, const struct setting *setting, const struct node *node, void *base)
{
    struct fault why;
    if (node->kind != NODE_SCALAR)
        return wrong(r, node, "%s is %s: expected %s", setting->name, node_kind_name(node), value_kind_text(setting->kind));
    enum rc rc = value_parse(setting, node->text, base, &r->config->arena, &why);
    return rc == RC_OK ? RC_OK : wrong_value(r, node, setting->name, &why);
}

static bool is_none(const struct node *node)
{
    return node->kind == NODE_SCALAR && (slice_equal_nocase(node->text, SLICE("none")) || node->text.len == 0);
}

/* A value alone counts as a list of one; "none" as an empty list. */
static const struct node *first_of(const struct node *node)
{
    return node->kind == NODE_LIST ? node->first : is_none(node) ? NULL : node;
}

static const struct node *next_of(const struct node *list, const struct node *at)
{
    return list->kind == NODE_LIST ? at->next : NULL;
}

static enum rc read_servers(struct reader *r, const struct node *node)
{
    struct config *c = r->config;
    const char **servers = ARENA_ARRAY(&c->arena, const char *, SERVERS_MAX);
    if (servers == NULL)
        return fault_no_memory(r->fault);
    c->dns_servers = servers;
    for (const struct node *at = first_of(node); at != NULL; at = next_of(node, at)) {
        struct fault why;
        if (c->dns_server_count == SERVERS_MAX)
            return wrong(r, at, "more than %d servers", SERVERS_MAX);
        if (at->kind != NODE_SCALAR)
            return wrong(r, at, "dns.servers has %s here: expected a server such as 192.0.2.53", node_kind_name(at));
        if (value_parse_server(at->text, &servers[c->dns_server_count], &c->arena, &why) != RC_OK)
            return wrong_value(r, at, "dns.servers", &why);
        c->dns_server_count++;
    }
    return RC_OK;
}

static bool is_any_address(const char *address) { return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0; }

/* Two listeners that could not both be opened. */
static bool is_same_place(const struct config_listener *a, const struct config_listener *b)
{
    if (strcmp(a->address, b->address) == 0)
        return a->port == b->port;
    bool is_same_family = (strchr(a->address, ':') != NULL) == (strchr(b->address, ':') != NULL);
    return a->port != 0 && a->port == b->port && is_same_family && (is_any_address(a->address) || is_any_address(b->address));
}

static enum rc add_listener(struct reader *r, const struct node *at, enum listener_protocol protocol)
{
    struct config *c = r->config;
    struct config_listener *new = &c->listeners[c->listener_count];
    const char *name = config_listener_rows[protocol].name;
    struct fault why;
    if (c->listener_count == LISTENERS_MAX)
        return wrong(r, at, "more than %d addresses to listen on", LISTENERS_MAX);
    if (at->kind != NODE_SCALAR)
        return wrong(r, at, "listen.%s has %s here: expected \"address:port\"", name, node_kind_name(at));
    new->protocol = protocol;
    if (value_parse_listener(at->text, new, &c->arena, &why) != RC_OK) {
        char label[64];
        snprintf(label, sizeof label, "listen.%s", name);
        return wrong_value(r, at, label, &why);
    }
    for (size_t i = 0; i < c->listener_count; i++)
        if (is_same_place(new, &c->listeners[i]))
            return wrong(r, at, "listen.%s: \"%.*s\" is already taken by listen.%s: give each its own port", name,
                         SLICE_ARG(at->text), config_listener_rows[c->listeners[i].protocol].name);
    c->listener_count++;
    return RC_OK;
}

static enum rc read_listeners(struct reader *r, const struct node *node)
{
    struct config *c = r->config;
    c->listeners = ARENA_ARRAY(&c->arena, struct config_listener, LISTENERS_MAX);
    if (c->listeners == NULL)
        return fault_no_memory(r->fault);
    if (node->kind != NODE_MAP && !is_none(node))
        return wrong(r, node, "listen is %s: expected a map such as \"smtp: 0.0.0.0:25\"", node_kind_name(node));
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        unsigned protocol = 0;
        while (protocol < LISTEN_PROTOCOLS && !slice_equal(child->key, slice_from_str(config_listener_rows[protocol].name)))
            protocol++;
        struct node key = name_of(child);
        if (protocol == LISTEN_PROTOCOLS)
            return wrong(r, &key, "listen: there is no protocol \"%.*s\": expected smtp, submission, submissions, lmtp, imap, "
                         "imaps, pop3 or pop3s", SLICE_ARG(slice_sub(child->key, 0, 64)));
        for (const struct node *at = first_of(child); at != NULL; at = next_of(child, at)) {
            enum rc rc = add_listener(r, at, (enum listener_protocol)protocol);
            if (rc != RC_OK)
                return rc;
        }
    }
    return RC_OK;
}

/* ---- routes ----------------------------------------------------------------------------------------------------- */

static enum rc preset_all(struct reader *r, const struct setting *table, size_t count, const bool *seen, void *base)
{
    for (size_t i = 0; i < count; i++)
        if (!seen[i] && table[i].preset != NULL && table[i].kind < SETTING_SERVERS) {
            enum rc rc = value_parse(&table[i], slice_from_str(table[i].preset), base, &r->config->arena, r->fault);
            must(rc == RC_OK || rc == RC_TEMP);
            if (rc != RC_OK)
                return rc;
        }
    return RC_OK;
}

static enum rc check_route(struct reader *r, const struct node *node, const struct config_route *route)
{
    const struct config *c = r->config;
    for (size_t i = 0; i < c->route_count; i++)
        if (strcmp(route->domain, c->routes[i].domain) == 0)
            return wrong(r, node, "routes: a second route for \"%s\": keep one", route->domain);
    if ((route->user != NULL) != (route->password_file != NULL))
        return wrong(r, node, "routes: user and password_file go together: give both or neither");
    if (route->host[0] == '/' && !route->is_lmtp)
        return wrong(r, node, "routes: only \"protocol: lmtp\" may deliver to a path");
    if (route->user != NULL && route->tls != ROUTE_TLS_MUST && route->tls != ROUTE_TLS_IMPLICIT)
        return wrong(r, node, "routes: a password is sent over TLS only: add \"tls: must\" or \"tls: implicit\"");
    return RC_OK;
}

static enum rc read_route(struct reader *r, const struct node *node, struct config_route *route)
{
    bool seen[16] = { false };
    must(config_route_setting_count <= 16);
    if (node->kind != NODE_MAP)
        return wrong(r, node, "routes has %s here: expected a map with domain and host", node_kind_name(node));
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        size_t i = 0;
        while (i < config_route_setting_count && !slice_equal(child->key, slice_from_str(config_route_settings[i].name)))
            i++;
        if (i == config_route_setting_count)
            return unknown(r, child, config_route_settings, config_route_setting_count, child->key);
        enum rc rc = read_scalar(r, &config_route_settings[i], child, route);
        if (rc != RC_OK)
            return rc;
        seen[i] = true;
    }
    for (size_t i = 0; i < config_route_setting_count; i++)
        if (!seen[i] && config_route_settings[i].preset == NULL)
            return wrong(r, node, "routes: this route has no \"%s\"", config_route_settings[i].name);
    enum rc rc = preset_all(r, config_route_settings, config_route_setting_count, seen, route);
    return rc == RC_OK ? check_route(r, node, route) : rc;
}

static enum rc read_routes(struct reader *r, const struct node *node)
{
    struct config *c = r->config;
    size_t count = 0;
    if (is_none(node))
        return RC_OK;
    if (node->kind != NODE_LIST)
        return wrong(r, node, "routes is %s: expected a list of maps, each beginning with \"- domain: ...\"", node_kind_name(node));
    for (const struct node *child = node->first; child != NULL; child = child->next)
        count++;
    if (count > ROUTES_MAX)
        return wrong(r, node, "more than %d routes", ROUTES_MAX);
    c->routes = ARENA_ARRAY(&c->arena, struct config_route, count + 1);
    if (c->routes == NULL)
        return fault_no_memory(r->fault);
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        enum rc rc = read_route(r, child, &c->routes[c->route_count]);
        if (rc != RC_OK)
            return rc;
        c->route_count++;
    }
    return RC_OK;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

static enum rc read_setting(struct reader *r, size_t index, const struct node *node)
{
    const struct setting *setting = &config_settings[index];
    r->seen[index] = true;
    switch (setting->kind) {
    case SETTING_SERVERS:   return read_servers(r, node);
    case SETTING_LISTENERS: return read_listeners(r, node);
    case SETTING_ROUTES:    return read_routes(r, node);
    case SETTING_HOST: case SETTING_PATH: case SETTING_WORD: case SETTING_MAILBOX: case SETTING_IP: case SETTING_ROUTE_DOMAIN:
    case SETTING_ROUTE_HOST: case SETTING_BYTE: case SETTING_FLAG: case SETTING_EITHER: case SETTING_CHOICE:
    case SETTING_NUMBER: case SETTING_PORT: case SETTING_SIZE: case SETTING_DURATION: case SETTING_DAYS: case SETTING_KINDS:
        break;
    }
    return read_scalar(r, setting, node, r->config);
}

static bool is_section(struct slice name)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        struct slice rest = slice_from_str(config_settings[i].name);
        struct slice section = slice_take_until(&rest, '.');
        if (rest.len > 0 && slice_equal(section, name))
            return true;
    }
    return false;
}

static enum rc read_node(struct reader *r, const char *section, const struct node *node)
{
    char name[160];
    if (node->key.len > 64)
        return wrong(r, node, "no setting has a name this long");
    snprintf(name, sizeof name, "%s%s%.*s", section, section[0] != '\0' ? "." : "", SLICE_ARG(node->key));
    for (size_t i = 0; i < config_setting_count; i++)
        if (strcmp(name, config_settings[i].name) == 0)
            return read_setting(r, i, node);
    if (section[0] != '\0' || !is_section(node->key))
        return unknown(r, node, config_settings, config_setting_count, slice_from_str(name));
    if (is_none(node))
        return RC_OK;
    if (node->kind != NODE_MAP)
        return wrong(r, node, "%s is %s: expected a map of its settings, indented below it", name, node_kind_name(node));
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        enum rc rc = read_node(r, name, child);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc preset_listeners(struct reader *r)
{
    static const char *const any[] = { "0.0.0.0", "::" };
    struct config *c = r->config;
    c->listeners = ARENA_ARRAY(&c->arena, struct config_listener, LISTENERS_MAX);
    if (c->listeners == NULL)
        return fault_no_memory(r->fault);
    for (unsigned p = 0; p < LISTEN_PROTOCOLS; p++)
        if (p == LISTEN_SMTP || (p != LISTEN_LMTP && c->tls_certificate != NULL))
            for (unsigned i = 0; i < 2; i++)
                c->listeners[c->listener_count++] = (struct config_listener){
                    .protocol = (enum listener_protocol)p, .address = any[i], .port = config_listener_rows[p].port };
    return RC_OK;
}

/* What no single setting can say. */
static enum rc check_whole(struct reader *r)
{
    const struct config *c = r->config;
    if ((c->tls_certificate == NULL) != (c->tls_key == NULL))
        return fault_perm(r->fault, 0, "%s: tls.certificate and tls.key go together: %s is missing", c->path,
                          c->tls_key == NULL ? "tls.key" : "tls.certificate");
    for (size_t i = 0; i < c->listener_count; i++) {
        const struct listener_row *row = &config_listener_rows[c->listeners[i].protocol];
        if (row->is_tls && c->tls_certificate == NULL)
            return fault_perm(r->fault, 0, "%s: listen.%s needs TLS: set tls.certificate and tls.key", c->path, row->name);
    }
    if (c->retry_first_s > c->retry_max_s)
        return fault_perm(r->fault, 0, "%s: delivery.retry_first is longer than delivery.retry_max", c->path);
    return RC_OK;
}

static enum rc read_all(struct reader *r, struct slice text)
{
    struct config *c = r->config;
    struct node *root;
    must(config_setting_count <= sizeof r->seen);
    enum rc rc = node_parse(text, c->path, &c->arena, &root, r->fault);
    if (rc == RC_OK && root->kind != NODE_MAP)
        return wrong(r, root, "the file is %s: expected settings, each as \"name: value\"", node_kind_name(root));
    for (const struct node *node = rc == RC_OK ? root->first : NULL; node != NULL && rc == RC_OK; node = node->next)
        rc = read_node(r, "", node);
    if (rc != RC_OK)
        return rc;
    rc = preset_all(r, config_settings, config_setting_count, r->seen, c);
    for (size_t i = 0; i < config_setting_count && rc == RC_OK; i++) {
        if (!r->seen[i] && config_settings[i].preset == NULL)
            return fault_perm(r->fault, 0, "%s: %s is missing: add a line such as \"%s: %s\"", c->path, config_settings[i].name,
                              config_settings[i].name, config_settings[i].sample);
        if (!r->seen[i] && config_settings[i].kind == SETTING_LISTENERS)
            rc = preset_listeners(r);
    }
    return rc == RC_OK ? check_whole(r) : rc;
}

static enum rc read_file(const char *path, struct buf *text, struct fault *f)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int err = errno;
        if (err == ENOENT)
            return fault_perm(f, 0, "%s: there is no such file: \"thurn setup\" makes one, --config names another", path);
        fault_errno(f, err, "%s", path);
        return RC_PERM;
    }
    char *room = buf_reserve(text, FILE_MAX + 1);
    size_t len = room != NULL ? fread(room, 1, FILE_MAX + 1, file) : 0;
    int err = ferror(file) ? errno : 0;
    fclose(file);
    if (room == NULL)
        return fault_no_memory(f);
    buf_commit(text, len);
    if (err != 0) {
        fault_errno(f, err, "%s", path);
        return RC_PERM;
    }
    return len <= FILE_MAX ? RC_OK : fault_perm(f, 0, "%s: larger than a configuration can be (1 MiB)", path);
}

static enum rc load_text(struct slice path, struct slice text, struct config *config, struct fault *f)
{
    struct fault unheard;
    struct reader reader = { .config = config, .fault = f != NULL ? f : &unheard };
    config->path = arena_str(&config->arena, path);
    if (config->path == NULL)
        return fault_no_memory(f);
    enum rc rc = read_all(&reader, text);
    return rc == RC_OK ? RC_OK : RC_PERM;
}

static void config_init(struct config *config)
{
    *config = (struct config){ 0 };
    arena_init(&config->arena, ARENA_MAX);
}

enum rc config_load(const char *path, struct config *config, struct fault *f)
{
    struct buf text;
    config_init(config);
    buf_init(&text, FILE_MAX + 2);
    enum rc rc = read_file(path, &text, f);
    if (rc == RC_OK)
        rc = load_text(slice_from_str(path), buf_slice(&text), config, f);
    buf_free(&text);
    return rc;
}

void config_free(struct config *config)
{
    arena_free(&config->arena);
}

/* Between roles the configuration is the path it was read from, NUL, and a file as config_write would write it. */
bool config_encode(const struct config *config, struct buf *out)
{
    return buf_append(out, slice_from_str(config->path)) && buf_append_byte(out, '\0') && config_write(config, out);
}

enum rc config_decode(struct slice encoded, struct config *config, struct fault *f)
{
    config_init(config);
    struct slice path = slice_take_until(&encoded, '\0');
    return load_text(path, encoded, config, f);
}
