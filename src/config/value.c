/* Single values of settings: see value.h. One row a kind in the table at the end. */
#include "config/value.h"

#include "base/text.h"
#include "mail/address.h"

#include <arpa/inet.h>

/* A value has a place in a struct; what type is there stands beside the kind in settings.h. */
struct place {
    const struct setting *setting;
    void *at;
    struct arena *arena;
    struct fault *fault;
};

enum { VALUE_MAX = 4096 };

static bool is_word(struct slice text, const char *word) { return slice_equal_nocase(text, slice_from_str(word)); }

struct slice value_word(const char *words, size_t index)
{
    struct slice rest = slice_from_str(words);
    for (size_t i = 0; i < index; i++)
        slice_take_until(&rest, ' ');
    return slice_take_until(&rest, ' ');
}

static enum rc expected(struct place *p, const char *what)
{
    return fault_perm(p->fault, 0, "expected %s", what);
}

/* ---- texts ---------------------------------------------------------------------------------------------------- */

static enum rc keep(struct place *p, struct slice text)
{
    char *copy = arena_str(p->arena, text);
    if (copy == NULL)
        return fault_no_memory(p->fault);
    *(const char **)p->at = copy;
    return RC_OK;
}

static enum rc parse_text(struct place *p, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f)
            return expected(p, "text without control characters");
    if (text.len == 0)
        return expected(p, "text that is not empty");
    return keep(p, text);
}

static enum rc parse_host(struct place *p, struct slice text)
{
    struct slice domain;
    struct fault why;
    if (domain_parse(text, p->arena, &domain, &why) != RC_OK)
        return fault_perm(p->fault, 0, "expected a name such as mail.example.org: %s", why.text);
    return keep(p, domain);
}

static enum rc parse_path(struct place *p, struct slice text)
{
    if (text.len == 0 || text.ptr[0] != '/')
        return expected(p, "a path that begins with '/'");
    return parse_text(p, text);
}

static enum rc parse_mailbox(struct place *p, struct slice text)
{
    struct address address;
    struct fault why;
    if (address_parse(text, p->arena, &address, &why) != RC_OK)
        return fault_perm(p->fault, 0, "expected an address such as alice@example.org: %s", why.text);
    return keep(p, text);
}

static bool is_ip(struct slice text)
{
    char name[INET6_ADDRSTRLEN];
    struct in6_addr address;
    return slice_to_str(text, name, sizeof name)
           && (inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1);
}

static enum rc parse_ip(struct place *p, struct slice text)
{
    return is_ip(text) ? keep(p, text) : expected(p, "a numeric address such as 192.0.2.1 or 2001:db8::1");
}

static enum rc parse_route_domain(struct place *p, struct slice text)
{
    struct slice name = text, domain;
    if (slice_equal(text, SLICE("*")))
        return keep(p, text);
    bool has_dot = slice_take_byte(&name, '.');
    if (domain_parse(name, p->arena, &domain, NULL) != RC_OK)
        return expected(p, "a domain such as example.org, .example.org for its subdomains, or \"*\" for everything");
    char *kept = arena_printf(p->arena, "%s%.*s", has_dot ? "." : "", SLICE_ARG(domain));
    *(const char **)p->at = kept;
    return kept != NULL ? RC_OK : fault_no_memory(p->fault);
}

static enum rc parse_route_host(struct place *p, struct slice text)
{
    if (text.len > 0 && text.ptr[0] == '/')
        return parse_text(p, text);
    if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']') {
        struct slice inner = slice_sub(text, 1, text.len - 2);
        slice_take_prefix_nocase(&inner, SLICE("IPv6:"));
        return is_ip(inner) ? keep(p, text) : expected(p, "a numeric address between the brackets, such as [192.0.2.1]");
    }
    if (is_ip(text))
        return fault_perm(p->fault, 0, "an address stands in brackets: \"[%.*s]\"", SLICE_ARG(text));
    return parse_host(p, text);
}

static bool write_text(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    const char *text = *(const char *const *)at;
    return text != NULL ? json_append_string(out, slice_from_str(text)) : buf_append_str(out, "none");
}

static enum rc parse_byte(struct place *p, struct slice text)
{
    bool is_none = is_word(text, "none");
    unsigned char byte = text.len == 1 ? (unsigned char)text.ptr[0] : 0;
    if (!is_none && (byte <= ' ' || byte >= 0x7f || byte == '@' || byte == '"' || byte == '\\' || byte_is_alnum(byte)))
        return expected(p, "one mark such as \"+\", or none");
    *(char *)p->at = is_none ? '\0' : (char)byte;
    return RC_OK;
}

static bool write_byte(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    char byte = *(const char *)at;
    return byte != '\0' ? json_append_string(out, (struct slice){ &byte, 1 }) : buf_append_str(out, "none");
}

/* ---- choices -------------------------------------------------------------------------------------------------- */

static enum rc parse_flag(struct place *p, struct slice text)
{
    static const char *const words[2][3] = { { "no", "false", "off" }, { "yes", "true", "on" } };
    for (unsigned is_yes = 0; is_yes < 2; is_yes++)
        for (unsigned i = 0; i < 3; i++)
            if (is_word(text, words[is_yes][i])) {
                *(bool *)p->at = is_yes == 1;
                return RC_OK;
            }
    return expected(p, "yes or no");
}

static bool write_flag(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    return buf_append_str(out, *(const bool *)at ? "yes" : "no");
}

static enum rc find_word(struct place *p, struct slice text, size_t *index)
{
    for (*index = 0; ; (*index)++) {
        struct slice word = value_word(p->setting->words, *index);
        if (word.len == 0)
            return fault_perm(p->fault, 0, "expected one of these words: %s", p->setting->words);
        if (slice_equal_nocase(text, word))
            return RC_OK;
    }
}

static enum rc parse_either(struct place *p, struct slice text)
{
    size_t index;
    enum rc rc = find_word(p, text, &index);
    if (rc == RC_OK)
        *(bool *)p->at = index == 1;
    return rc;
}

static bool write_either(const struct setting *setting, const void *at, struct buf *out)
{
    return buf_append(out, value_word(setting->words, *(const bool *)at ? 1 : 0));
}

static enum rc parse_choice(struct place *p, struct slice text)
{
    size_t index;
    enum rc rc = find_word(p, text, &index);
    if (rc == RC_OK)
        *(unsigned *)p->at = (unsigned)index;
    return rc;
}

static bool write_choice(const struct setting *setting, const void *at, struct buf *out)
{
    return buf_append(out, value_word(setting->words, *(const unsigned *)at));
}

/* ---- numbers -------------------------------------------------------------------------------------------------- */

struct unit {
    char letter;
    uint64_t factor;
};
static const struct unit size_units[] = { { 'G', 1u << 30 }, { 'M', 1u << 20 }, { 'K', 1u << 10 }, { '\0', 1 } };
static const struct unit time_units[] = { { 'w', 7 * 86400 }, { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };

static const struct unit *find_unit(const struct unit *units, size_t count, struct slice suffix)
{
    for (size_t i = 0; i < count; i++)
        if (units[i].letter == '\0' ? suffix.len == 0
                                    : suffix.len == 1 && byte_lower(suffix.ptr[0]) == byte_lower(units[i].letter))
            return &units[i];
    return NULL;
}

/* The largest unit that the value is a whole number of. */
static bool write_units(const struct unit *units, size_t count, uint64_t value, struct buf *out)
{
    for (size_t i = 0; i < count; i++)
        if (value % units[i].factor == 0 && (value > 0 || i + 1 == count))
            return buf_printf(out, "%llu", (unsigned long long)(value / units[i].factor))
                   && (units[i].letter == '\0' || buf_append_byte(out, units[i].letter));
    return false;
}

/* A number with a unit, within the setting's limits (which are in the smallest unit, times `scale`). */
static enum rc take_units(struct place *p, struct slice text, const struct unit *units, size_t count, uint64_t scale,
                          const char *what, uint64_t *value)
{
    if (!slice_take_number(&text, UINT32_MAX, value))
        return expected(p, what);
    const struct unit *unit = find_unit(units, count, text);
    if (unit == NULL && !(text.len == 0 && *value == 0))
        return expected(p, what);
    *value *= unit != NULL ? unit->factor : 1;
    if (*value >= p->setting->min * scale && *value <= p->setting->max * scale)
        return RC_OK;
    struct buf range;
    buf_init(&range, 128);
    write_units(units, count, p->setting->min * scale, &range);
    buf_append_str(&range, " and ");
    write_units(units, count, p->setting->max * scale, &range);
    struct slice limits = buf_slice(&range);
    enum rc rc = fault_perm(p->fault, 0, "expected something between %.*s", SLICE_ARG(limits));
    buf_free(&range);
    return rc;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static enum rc parse_size(struct place *p, struct slice text)
{
    return take_units(p, text, size_units, COUNT(size_units), 1, "a size such as 50M (K, M or G, or bytes)", p->at);
}

static bool write_size(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    return write_units(size_units, COUNT(size_units), *(const uint64_t *)at, out);
}

static enum rc parse_duration(struct place *p, struct slice text)
{
    uint64_t seconds = 0;
    if (p->setting->min > 0 || !is_word(text, "never")) {
        enum rc rc = take_units(p, text, time_units, COUNT(time_units), 1, "a time such as 30m (s, m, h, d or w)", &seconds);
        if (rc != RC_OK)
            return rc;
    }
    *(uint32_t *)p->at = (uint32_t)seconds;
    return RC_OK;
}

static bool write_duration(const struct setting *setting, const void *at, struct buf *out)
{
    uint32_t seconds = *(const uint32_t *)at;
    if (seconds == 0 && setting->min == 0)
        return buf_append_str(out, "never");
    return write_units(time_units, COUNT(time_units), seconds, out);
}

static enum rc parse_days(struct place *p, struct slice text)
{
    uint64_t seconds;
    enum rc rc = take_units(p, text, time_units, COUNT(time_units), 86400, "a number of days such as 30d", &seconds);
    if (rc != RC_OK)
        return rc;
    if (seconds % 86400 != 0)
        return expected(p, "whole days, such as 30d");
    *(uint32_t *)p->at = (uint32_t)(seconds / 86400);
    return RC_OK;
}

static bool write_days(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    return buf_printf(out, "%ud", *(const uint32_t *)at);
}

static enum rc parse_number(struct place *p, struct slice text)
{
    uint64_t value;
    if (!slice_take_number(&text, p->setting->max, &value) || text.len > 0 || value < p->setting->min)
        return fault_perm(p->fault, 0, "expected a number between %llu and %llu", (unsigned long long)p->setting->min,
                          (unsigned long long)p->setting->max);
    *(uint32_t *)p->at = (uint32_t)value;
    return RC_OK;
}

static bool write_number(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    return buf_printf(out, "%u", *(const uint32_t *)at);
}

static bool take_port(struct slice text, uint16_t *port)
{
    uint64_t value;
    if (!slice_take_number(&text, UINT16_MAX, &value) || text.len > 0 || value == 0)
        return false;
    *port = (uint16_t)value;
    return true;
}

static enum rc parse_port(struct place *p, struct slice text)
{
    return take_port(text, p->at) ? RC_OK : expected(p, "a port between 1 and 65535");
}

static bool write_port(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    return buf_printf(out, "%u", *(const uint16_t *)at);
}

/* ---- servers and listeners -------------------------------------------------------------------------------------- */

enum rc value_parse_server(struct slice text, const char **server, struct arena *arena, struct fault *f)
{
    struct slice rest = text, address = slice_take_until(&rest, '@');
    uint16_t port;
    if (!is_ip(address) || (address.len != text.len && !take_port(rest, &port)))
        return fault_perm(f, 0, "expected a server such as 192.0.2.53 or 192.0.2.53@5353");
    *server = arena_str(arena, text);
    return *server != NULL ? RC_OK : fault_no_memory(f);
}

static bool write_servers(const struct setting *setting, const void *at, struct buf *out)
{
    (void)setting;
    const char *const *servers = *(const char *const *const *)at;
    size_t count;
    memcpy(&count, (const char *)at + sizeof servers, sizeof count);
    if (count == 0)
        return buf_append_str(out, "none");
    for (size_t i = 0; i < count; i++) {
        buf_append_str(out, i == 0 ? "[" : ", ");
        json_append_string(out, slice_from_str(servers[i]));
    }
    return buf_append_byte(out, ']');
}

/* "address:port" in its two parts; a bare IPv6 address with a port is ambiguous and so wants brackets. */
static bool split_port(struct slice text, struct slice *address, struct slice *port)
{
    if (slice_take_byte(&text, '[')) {
        *address = slice_take_until(&text, ']');
        bool has_colon = slice_take_byte(&text, ':');
        *port = text;
        return has_colon && slice_find_byte(*address, ':') < address->len;
    }
    *address = slice_take_until(&text, ':');
    *port = text;
    return slice_find_byte(*port, ':') == port->len;
}

enum rc value_parse_listener(struct slice text, struct config_listener *listener, struct arena *arena, struct fault *f)
{
    struct slice address = text, port;
    listener->port = 0;
    if (text.len > 0 && text.ptr[0] == '/') {
        if (listener->protocol != LISTEN_LMTP)
            return fault_perm(f, 0, "expected \"address:port\": only lmtp may listen on a path");
        if (text.len > 100)
            return fault_perm(f, 0, "expected a path of at most 100 bytes: a socket's name is that short");
    } else if (!split_port(text, &address, &port) || !is_ip(address) || !take_port(port, &listener->port))
        return fault_perm(f, 0, "expected \"address:port\" such as \"0.0.0.0:%u\" or \"[::]:%u\"",
                          config_listener_rows[listener->protocol].port, config_listener_rows[listener->protocol].port);
    listener->address = arena_str(arena, address);
    return listener->address != NULL ? RC_OK : fault_no_memory(f);
}

bool value_write_listener(const struct config_listener *listener, struct buf *out)
{
    if (listener->port == 0)
        return json_append_string(out, slice_from_str(listener->address));
    return buf_printf(out, strchr(listener->address, ':') != NULL ? "\"[%s]:%u\"" : "\"%s:%u\"", listener->address,
                      listener->port);
}

/* ---- the table of kinds ----------------------------------------------------------------------------------------- */

static const struct kind {
    const char *text;
    bool may_be_none;               /* a NULL of const char * */
    enum rc (*parse)(struct place *, struct slice);
    bool (*write)(const struct setting *, const void *at, struct buf *);
} kinds[SETTING_KINDS] = {
    [SETTING_HOST]         = { "a host name",                                       true,  parse_host,         write_text },
    [SETTING_PATH]         = { "a path",                                            true,  parse_path,         write_text },
    [SETTING_WORD]         = { "text",                                              true,  parse_text,         write_text },
    [SETTING_MAILBOX]      = { "an e-mail address",                                 true,  parse_mailbox,      write_text },
    [SETTING_IP]           = { "a numeric address",                                 true,  parse_ip,           write_text },
    [SETTING_ROUTE_DOMAIN] = { "a domain",                                          false, parse_route_domain, write_text },
    [SETTING_ROUTE_HOST]   = { "a host name, an address in brackets or a path",     false, parse_route_host,   write_text },
    [SETTING_BYTE]         = { "one mark, or none",                                 false, parse_byte,         write_byte },
    [SETTING_FLAG]         = { "yes or no",                                         false, parse_flag,         write_flag },
    [SETTING_EITHER]       = { "one of two words",                                  false, parse_either,       write_either },
    [SETTING_CHOICE]       = { "one of some words",                                 false, parse_choice,       write_choice },
    [SETTING_NUMBER]       = { "a number",                                          false, parse_number,       write_number },
    [SETTING_PORT]         = { "a port",                                            false, parse_port,         write_port },
    [SETTING_SIZE]         = { "a size with K, M or G",                             false, parse_size,         write_size },
    [SETTING_DURATION]     = { "a time with s, m, h, d or w",                       false, parse_duration,     write_duration },
    [SETTING_DAYS]         = { "days",                                              false, parse_days,         write_days },
    [SETTING_SERVERS]      = { "a list of addresses",                               false, NULL,               write_servers },
    [SETTING_LISTENERS]    = { "a map of protocols",                                false, NULL,               NULL },
    [SETTING_ROUTES]       = { "a list of routes",                                  false, NULL,               NULL },
};

const char *value_kind_text(enum setting_kind kind) { return kinds[kind].text; }

enum rc value_parse(const struct setting *setting, struct slice text, void *base, struct arena *arena, struct fault *f)
{
    const struct kind *kind = &kinds[setting->kind];
    must(kind->parse != NULL);
    struct place p = { .setting = setting, .at = (char *)base + setting->offset, .arena = arena, .fault = f };
    if (text.len > VALUE_MAX)
        return expected(&p, "something shorter");
    if (kind->may_be_none && setting->preset != NULL && is_word(text, "none")) {
        *(const char **)p.at = NULL;
        return RC_OK;
    }
    return kind->parse(&p, text);
}

bool value_write(const struct setting *setting, const void *base, struct buf *out)
{
    must(kinds[setting->kind].write != NULL);
    return kinds[setting->kind].write(setting, (const char *)base + setting->offset, out);
}
