/* thurn check: is this configuration one that a server can start with? */
#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#include "base/text.h"
#include "config/settings.h"
#include "config/value.h"

#include <stdio.h>

static void print_listeners(const struct config *config)
{
    struct buf line;
    buf_init(&line, 8192);
    for (unsigned p = 0; p < LISTEN_PROTOCOLS; p++) {
        buf_clear(&line);
        for (size_t i = 0; i < config->listener_count; i++)
            if (config->listeners[i].protocol == (enum listener_protocol)p) {
                struct buf one;
                buf_init(&one, 256);
                value_write_listener(&config->listeners[i], &one);
                struct slice text = buf_slice(&one);
                buf_append_byte(&line, ' ');
                buf_append(&line, slice_sub(text, 1, text.len - 2));      /* without the quotes */
                buf_free(&one);
            }
        if (buf_len(&line) > 0)
            printf("  %-12s%.*s\n", config_listener_rows[p].name, SLICE_ARG(buf_slice(&line)));
    }
    buf_free(&line);
}

static void print_summary(const struct config *config)
{
    printf("%s: ok\n", config->path);
    printf("  %-12s %s\n", "host", config->host_name);
    printf("  %-12s %s\n", "data", config->data_dir);
    printf("  %-12s %s\n", "certificate", config->tls_certificate != NULL ? config->tls_certificate : "none: no TLS");
    print_listeners(config);
    for (size_t i = 0; i < config->route_count; i++)
        printf("  %-12s %s: %s port %u\n", "route", config->routes[i].domain, config->routes[i].host, config->routes[i].port);
}

static void print_json(const char *path, const struct fault *fault)
{
    struct buf json;
    buf_init(&json, 64 * 1024);
    buf_append_str(&json, "{\"file\":");
    json_append_string(&json, slice_from_str(path));
    buf_printf(&json, ",\"is_good\":%s", fault == NULL ? "true" : "false");
    if (fault != NULL) {
        buf_append_str(&json, ",\"problem\":");
        json_append_string(&json, slice_from_str(fault->text));
    }
    buf_append_str(&json, "}\n");
    struct slice text = buf_slice(&json);
    fwrite(text.ptr, 1, text.len, stdout);
    buf_free(&json);
}

/* Every setting as it is in force. */
static void print_whole(const struct config *config)
{
    struct buf text;
    buf_init(&text, 4 << 20);
    config_write(config, &text);
    fwrite(buf_slice(&text).ptr, 1, buf_len(&text), stdout);
    buf_free(&text);
}

int cmd_check(int argc, char **argv)
{
    struct admin admin;
    struct fault fault = { 0 };
    bool is_whole = false;
    admin_init(&admin, "check");
    const struct cli_option options[] = {
        ADMIN_OPTIONS(&admin),
        { "print", 'p', NULL, "print every setting as it is in force", CLI_FLAG(&is_whole) },
        CLI_OPTIONS_END };
    const struct cli_usage usage = {
        .name = "check", .words = "[options] [FILE]",
        .text = "Reads the configuration, looks for the files it names, and says what is wrong, with the line, or that all is well.",
        .options = options, .notes = "Exit status: 0 when all is well, 1 when not.\n" };
    int at = cli_parse(&usage, argc, argv);
    if (at < 0)
        return cli_parse_status(at);
    if (argc - at > 1)
        return cli_wrong(&usage, "it wants one FILE");
    if (at < argc)
        admin.config_path = argv[at];
    const char *path = admin_config_path(&admin);
    enum rc rc = config_load(path, &admin.config, &fault);
    if (rc == RC_OK)
        rc = config_check(&admin.config, &fault);
    if (admin.is_json)
        print_json(path, rc == RC_OK ? NULL : &fault);
    else if (rc != RC_OK)
        fprintf(stderr, "%s\n", fault.text);
    else if (is_whole)
        print_whole(&admin.config);
    else
        print_summary(&admin.config);
    admin_free(&admin);
    return rc == RC_OK ? 0 : 1;
}
