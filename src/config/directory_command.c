/* The administrator's commands on the directory: see directory_command.h. */
#include "config/directory_command.h"

#include "base/text.h"
#include "config/names.h"

enum { ARGUMENTS_MAX = 1002, ROW_MAX = 256 * 1024 };

struct request {
    struct directory *directory;
    struct slice *arguments;
    size_t count;
    int64_t now_s;
    struct slice text;              /* what a list is limited to */
    directory_row *row;
    void *arg;
    struct fault *fault;
};

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static bool send_row(struct request *r, struct buf *json)
{
    bool fits = !json->overflow;
    if (fits)
        r->row(r->arg, buf_slice(json));
    buf_free(json);
    return fits;
}

/* {"domain":"example.org"} */
static bool send_name(struct request *r, const char *what, struct slice name)
{
    struct buf json;
    buf_init(&json, ROW_MAX);
    buf_printf(&json, "{\"%s\":", what);
    json_append_string(&json, name);
    buf_append_byte(&json, '}');
    return send_row(r, &json);
}

/* What a change did: {"account":"a@example.org","done":"removed"} */
static enum rc done(struct request *r, enum rc rc, const char *what, const char *word)
{
    struct buf json;
    if (rc != RC_OK)
        return rc;
    buf_init(&json, ROW_MAX);
    buf_printf(&json, "{\"%s\":", what);
    json_append_string(&json, r->arguments[0]);
    buf_printf(&json, ",\"done\":\"%s\"}", word);
    send_row(r, &json);
    return RC_OK;
}

static bool is_wanted(const struct request *r, struct slice name)
{
    return slice_find_nocase(name, r->text) < name.len || r->text.len == 0;
}

static bool each_domain(void *arg, struct slice domain)
{
    struct request *r = arg;
    return !is_wanted(r, domain) || send_name(r, "domain", domain);
}

static bool each_account(void *arg, const struct directory_account *account)
{
    struct request *r = arg;
    struct buf json;
    if (!is_wanted(r, account->name))
        return true;
    buf_init(&json, ROW_MAX);
    buf_append_str(&json, "{\"account\":");
    json_append_string(&json, account->name);
    buf_printf(&json, ",\"id\":%llu,\"quota_bytes\":%llu,\"is_enabled\":%s,\"created\":%lld}", (unsigned long long)account->id,
               (unsigned long long)account->quota_bytes, account->is_enabled ? "true" : "false", (long long)account->created_s);
    return send_row(r, &json);
}

static bool each_alias(void *arg, const struct directory_alias *alias)
{
    struct request *r = arg;
    struct slice targets = alias->targets, one;
    const char *between = "";
    struct buf json;
    if (!is_wanted(r, alias->address) && !is_wanted(r, alias->targets))
        return true;
    buf_init(&json, ROW_MAX);
    buf_append_str(&json, "{\"alias\":");
    json_append_string(&json, alias->address);
    buf_append_str(&json, ",\"targets\":[");
    while (name_take_target(&targets, &one)) {
        buf_append_str(&json, between);
        json_append_string(&json, one);
        between = ",";
    }
    buf_append_str(&json, "]}");
    return send_row(r, &json);
}

/* ---- commands ------------------------------------------------------------------------------------------------------- */

static enum rc take_quota(struct request *r, size_t index, uint64_t *bytes)
{
    struct slice text = index < r->count ? r->arguments[index] : SLICE("0");
    if (!slice_take_number(&text, INT64_MAX, bytes) || text.len > 0)
        return fault_perm(r->fault, 0, "a quota is a number of bytes, 0 for none");
    return RC_OK;
}

static enum rc domain_add(struct request *r)
{
    return done(r, directory_domain_add(r->directory, r->arguments[0], r->fault), "domain", "added");
}

static enum rc domain_remove(struct request *r)
{
    return done(r, directory_domain_remove(r->directory, r->arguments[0], r->fault), "domain", "removed");
}

static enum rc domain_list(struct request *r) { return directory_each_domain(r->directory, each_domain, r, r->fault); }

static enum rc account_add(struct request *r)
{
    uint64_t quota, id;
    enum rc rc = take_quota(r, 2, &quota);
    if (rc == RC_OK)
        rc = directory_account_add(r->directory, r->arguments[0], r->arguments[1], quota, r->now_s, &id, r->fault);
    return done(r, rc, "account", "added");
}

static enum rc account_remove(struct request *r)
{
    return done(r, directory_account_remove(r->directory, r->arguments[0], NULL, r->fault), "account", "removed");
}

static enum rc account_restore(struct request *r)
{
    uint64_t id;
    return done(r, directory_account_restore(r->directory, r->arguments[0], &id, r->fault), "account", "restored");
}

static enum rc account_password(struct request *r)
{
    return done(r, directory_account_password(r->directory, r->arguments[0], r->arguments[1], r->fault), "account",
                "password set");
}

static enum rc account_quota(struct request *r)
{
    uint64_t quota;
    enum rc rc = take_quota(r, 1, &quota);
    if (rc == RC_OK)
        rc = directory_account_quota(r->directory, r->arguments[0], quota, r->fault);
    return done(r, rc, "account", "quota set");
}

static enum rc account_enable(struct request *r)
{
    return done(r, directory_account_enable(r->directory, r->arguments[0], true, r->fault), "account", "enabled");
}

static enum rc account_disable(struct request *r)
{
    return done(r, directory_account_enable(r->directory, r->arguments[0], false, r->fault), "account", "disabled");
}

static enum rc account_list(struct request *r) { return directory_each_account(r->directory, each_account, r, r->fault); }

/* The targets follow the address, each an argument. */
static enum rc alias_add(struct request *r)
{
    struct buf targets;
    buf_init(&targets, ROW_MAX);
    for (size_t i = 1; i < r->count; i++) {
        buf_append(&targets, r->arguments[i]);
        buf_append_byte(&targets, ' ');
    }
    enum rc rc = targets.overflow ? fault_perm(r->fault, 0, "more targets than an alias can have")
                                  : directory_alias_add(r->directory, r->arguments[0], buf_slice(&targets), r->fault);
    buf_free(&targets);
    return done(r, rc, "alias", "set");
}

static enum rc alias_remove(struct request *r)
{
    return done(r, directory_alias_remove(r->directory, r->arguments[0], r->fault), "alias", "removed");
}

static enum rc alias_list(struct request *r) { return directory_each_alias(r->directory, each_alias, r, r->fault); }

static const struct command {
    const char *name;
    size_t least, most;             /* arguments */
    bool takes_text;                /* its argument limits a list */
    enum rc (*run)(struct request *);
} commands[] = {
    { "domain add",       1, 1,             false, domain_add },
    { "domain remove",    1, 1,             false, domain_remove },
    { "domain list",      0, 1,             true,  domain_list },
    { "account add",      2, 3,             false, account_add },
    { "account remove",   1, 1,             false, account_remove },
    { "account restore",  1, 1,             false, account_restore },
    { "account password", 2, 2,             false, account_password },
    { "account quota",    2, 2,             false, account_quota },
    { "account enable",   1, 1,             false, account_enable },
    { "account disable",  1, 1,             false, account_disable },
    { "account list",     0, 1,             true,  account_list },
    { "alias add",        2, ARGUMENTS_MAX, false, alias_add },
    { "alias remove",     1, 1,             false, alias_remove },
    { "alias list",       0, 1,             true,  alias_list },
};

static const struct command *find(struct slice name)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (slice_equal(name, slice_from_str(commands[i].name)))
            return &commands[i];
    return NULL;
}

bool directory_command_is_known(struct slice command) { return find(command) != NULL; }

static size_t split(struct slice arguments, struct slice *out, size_t max)
{
    size_t count = 0;
    for (; arguments.len > 0 && count < max; count++)
        out[count] = slice_take_until(&arguments, '\0');
    return arguments.len > 0 ? max + 1 : count;
}

enum rc directory_command(struct directory *d, struct slice name, struct slice arguments, int64_t now_s, directory_row *row,
                          void *arg, struct fault *f)
{
    struct slice list[ARGUMENTS_MAX];
    const struct command *command = find(name);
    if (command == NULL)
        return fault_perm(f, 0, "there is no such command");
    struct request r = { .directory = d, .arguments = list, .now_s = now_s, .row = row, .arg = arg, .fault = f };
    r.count = split(arguments, list, ARGUMENTS_MAX);
    if (r.count < command->least || r.count > command->most)
        return fault_perm(f, 0, "%s: wrong number of arguments", command->name);
    if (command->takes_text && r.count > 0)
        r.text = list[0];
    return command->run(&r);
}
