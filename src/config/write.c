/* The table of settings as text: the file that says what a configuration says, the sample file, the manual's section. */
#include "base/text.h"
#include "config/config.h"
#include "config/settings.h"
#include "config/value.h"

#include <stdio.h>

enum { COLUMNS = 100 };

/* ---- the file --------------------------------------------------------------------------------------------------- */

/* Settings of one section stand together in the table, so its head is due when the section changes. */
static bool write_section(const char *name, struct slice *section, const char *before, struct buf *out)
{
    struct slice rest = slice_from_str(name), head = slice_take_until(&rest, '.');
    if (rest.len == 0)
        head = SLICE_NONE;
    if (!slice_equal(head, *section) && head.len > 0)
        buf_printf(out, "%s%.*s:\n", before, SLICE_ARG(head));
    *section = head;
    return !out->overflow;
}

static bool write_name(const char *name, const char *before, struct buf *out)
{
    const char *dot = strchr(name, '.');
    return dot != NULL ? buf_printf(out, "%s  %s:", before, dot + 1) : buf_printf(out, "%s%s:", before, name);
}

static bool write_listeners(const struct config *config, struct buf *out)
{
    if (config->listener_count == 0)
        return buf_append_str(out, " none\n");
    for (unsigned p = 0; p < LISTEN_PROTOCOLS; p++) {
        size_t written = 0;
        for (size_t i = 0; i < config->listener_count; i++)
            if (config->listeners[i].protocol == (enum listener_protocol)p) {
                if (written++ == 0)
                    buf_printf(out, "\n  %s: [", config_listener_rows[p].name);
                else
                    buf_append_str(out, ", ");
                value_write_listener(&config->listeners[i], out);
            }
        if (written > 0)
            buf_append_byte(out, ']');
    }
    return buf_append_byte(out, '\n');
}

static bool write_routes(const struct config *config, struct buf *out)
{
    if (config->route_count == 0)
        return buf_append_str(out, " none\n");
    buf_append_byte(out, '\n');
    for (size_t i = 0; i < config->route_count; i++)
        for (size_t s = 0; s < config_route_setting_count; s++) {
            buf_printf(out, "%s%s: ", s == 0 ? "  - " : "    ", config_route_settings[s].name);
            value_write(&config_route_settings[s], &config->routes[i], out);
            buf_append_byte(out, '\n');
        }
    return !out->overflow;
}

bool config_write(const struct config *config, struct buf *out)
{
    struct slice section = SLICE_NONE;
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct setting *setting = &config_settings[i];
        write_section(setting->name, &section, "", out);
        write_name(setting->name, "", out);
        if (setting->kind == SETTING_LISTENERS)
            write_listeners(config, out);
        else if (setting->kind == SETTING_ROUTES)
            write_routes(config, out);
        else {
            buf_append_byte(out, ' ');
            value_write(setting, config, out);
            buf_append_byte(out, '\n');
        }
    }
    return !out->overflow;
}

/* ---- the sample ------------------------------------------------------------------------------------------------- */

/* Words of `text` in lines that each begin with `before`. */
static bool write_wrapped(const char *text, const char *before, struct buf *out)
{
    struct slice rest = slice_from_str(text);
    size_t column = 0;
    while (rest.len > 0) {
        struct slice word = slice_take_until(&rest, ' ');
        if (column > 0 && column + 1 + word.len > COLUMNS) {
            buf_append_byte(out, '\n');
            column = 0;
        }
        buf_append_str(out, column == 0 ? before : " ");
        buf_append(out, word);
        column += (column == 0 ? strlen(before) : 1) + word.len;
    }
    return buf_append_byte(out, '\n');
}

static bool write_sample_listeners(struct buf *out)
{
    buf_append_byte(out, '\n');
    for (unsigned p = 0; p < LISTEN_PROTOCOLS; p++) {
        const struct listener_row *row = &config_listener_rows[p];
        if (p == LISTEN_LMTP)
            buf_printf(out, "#  %-13s \"127.0.0.1:%u\"%*s# %s\n", "lmtp:", row->port, 16, "", row->text);
        else {
            char name[16];
            snprintf(name, sizeof name, "%s:", row->name);
            buf_printf(out, "#  %-13s [\"0.0.0.0:%u\", \"[::]:%u\"]%*s# %s\n", name, row->port, row->port,
                       row->port < 100 ? 5 : 3, "", row->text);
        }
    }
    return !out->overflow;
}

static bool write_sample_routes(struct buf *out)
{
    buf_append_byte(out, '\n');
    for (size_t i = 0; i < config_route_setting_count; i++) {
        const struct setting *setting = &config_route_settings[i];
        static const struct { const char *name, *value; } example[] = {
            { "domain", "\"*\"" }, { "host", "smarthost.example.net" }, { "port", "587" }, { "tls", "must" },
            { "user", "mail.example.org" }, { "password_file", "/etc/thurn/smarthost.password" },
        };
        for (size_t e = 0; e < sizeof example / sizeof example[0]; e++)
            if (strcmp(example[e].name, setting->name) == 0)
                buf_printf(out, "#%s%s: %s\n", i == 0 ? "  - " : "    ", setting->name, example[e].value);
    }
    return !out->overflow;
}

static bool is_unset(const struct setting *setting) { return setting->preset == NULL || strcmp(setting->preset, "none") == 0; }

/* A value as a person would write it: quotes only where YAML would read it otherwise. */
static bool write_plain(const char *value, struct buf *out)
{
    bool needs_quotes = strchr("*+&!%@`\"'", value[0]) != NULL;
    return needs_quotes ? json_append_string(out, slice_from_str(value)) : buf_append_str(out, value);
}

bool config_write_sample(struct buf *out)
{
    struct slice section = SLICE_NONE;
    buf_append_str(out, "# Thurn's configuration; thurn.yaml(5) says more, \"thurn check\" tries it, \"thurn reload\" puts it in force.\n"
                        "# Every setting stands here with its default, or with an example where the default is none.\n"
                        "# Only host_name must be given. Domains, accounts and aliases are not set here: see thurn-domain(1),\n"
                        "# thurn-account(1) and thurn-alias(1).\n");
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct setting *setting = &config_settings[i];
        const char *before = setting->preset == NULL ? "" : "#";
        buf_append_byte(out, '\n');
        write_section(setting->name, &section, before, out);
        write_wrapped(setting->text, strchr(setting->name, '.') != NULL ? "#  # " : "# ", out);
        write_name(setting->name, before, out);
        if (setting->kind == SETTING_LISTENERS)
            write_sample_listeners(out);
        else if (setting->kind == SETTING_ROUTES)
            write_sample_routes(out);
        else {
            buf_append_byte(out, ' ');
            write_plain(is_unset(setting) ? setting->sample : setting->preset, out);
            buf_append_byte(out, '\n');
        }
    }
    return !out->overflow;
}

/* ---- the manual's section (man(7)) --------------------------------------------------------------------------------- */

static bool write_roff(const char *text, struct buf *out)
{
    if (text[0] == '.' || text[0] == '\'')
        buf_append_str(out, "\\&");
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            buf_append_str(out, "\\e");
        else if (*text == '-')
            buf_append_str(out, "\\-");
        else
            buf_append_byte(out, *text);
    }
    return !out->overflow;
}

static void write_manual_row(const struct setting *setting, struct buf *out)
{
    buf_printf(out, ".TP\n.B %s\n", setting->name);
    write_roff(setting->text, out);
    buf_append_str(out, "\nA value is ");
    if (setting->words != NULL)
        for (size_t i = 0; value_word(setting->words, i).len > 0; i++)
            buf_printf(out, "%s\\fB%.*s\\fR", i == 0 ? "one of " : ", ", SLICE_ARG(value_word(setting->words, i)));
    else
        write_roff(value_kind_text(setting->kind), out);
    if (setting->preset == NULL)
        buf_append_str(out, "; it must be given.\n");
    else {
        buf_append_str(out, "; default: \\fB");
        write_roff(setting->preset, out);
        buf_append_str(out, "\\fR.\n");
    }
}

bool config_write_manual(struct buf *out)
{
    for (size_t i = 0; i < config_setting_count; i++)
        write_manual_row(&config_settings[i], out);
    buf_append_str(out, ".SS Protocols under listen\n");
    for (unsigned p = 0; p < LISTEN_PROTOCOLS; p++) {
        const struct listener_row *row = &config_listener_rows[p];
        buf_printf(out, ".TP\n.B %s\n%s (usual port: %u).\n", row->name, row->text, row->port);
    }
    buf_append_str(out, ".SS Settings of a route\n");
    for (size_t i = 0; i < config_route_setting_count; i++)
        write_manual_row(&config_route_settings[i], out);
    return !out->overflow;
}
