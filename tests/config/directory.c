/* The directory: what may be added, found, changed and removed, and what is refused. */
#include "config/directory.h"
#include "config/directory_command.h"
#include "sasl/sasl.h"

#include "check.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void remove_all(void)
{
    static const char *const names[] = { "directory.db", "directory.db-wal", "directory.db-shm", "" };
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (unlink(path) != 0)
            rmdir(path);
    }
}

static struct directory *open_new(void)
{
    struct directory *d;
    struct fault f = { 0 };
    snprintf(folder, sizeof folder, "/tmp/thurn-directory-XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
    CHECK_INT(directory_open(folder, &d, &f), RC_OK);
    CHECK_STR(f.text, "");
    if (d == NULL)
        abort();
    return d;
}

struct transcript {
    struct buf rows;
};

static void collect(void *arg, struct slice json)
{
    struct transcript *t = arg;
    buf_append(&t->rows, json);
    buf_append_byte(&t->rows, '\n');
}

/* Runs "account add|alice@a.example|secret" and gives its rows, or what the fault says. */
static struct slice run(struct directory *d, struct transcript *t, const char *line)
{
    struct fault f = { 0 };
    struct slice rest = slice_from_str(line), command = slice_take_until(&rest, '|');
    struct buf arguments;
    buf_init(&arguments, 1 << 20);
    while (rest.len > 0) {
        buf_append(&arguments, slice_take_until(&rest, '|'));
        buf_append_byte(&arguments, '\0');
    }
    buf_clear(&t->rows);
    if (directory_command(d, command, buf_slice(&arguments), 1700000000, collect, t, &f) != RC_OK)
        buf_printf(&t->rows, "%s: %s", f.rc == RC_NONE ? "none" : f.rc == RC_PERM ? "perm" : "temp", f.text);
    buf_free(&arguments);
    return buf_slice(&t->rows);
}

static void test_commands(void)
{
    static const struct { const char *sentence, *command, *says; } cases[] = {
        { "an account wants its domain first", "account add|alice@a.example|secret", "perm: a.example is not one of this server's domains: \"thurn domain add a.example\" makes it one" },
        { "a domain is added", "domain add|A.Example", "{\"domain\":\"A.Example\",\"done\":\"added\"}\n" },
        { "a domain twice", "domain add|a.example", "perm: domain a.example is there already" },
        { "a domain of the same name in other letters", "domain add|m\303\274nchen.example", "{\"domain\":\"m\303\274nchen.example\",\"done\":\"added\"}\n" },
        { "is the same domain", "domain add|xn--mnchen-3ya.example", "perm: domain xn--mnchen-3ya.example is there already" },
        { "a bad name is no domain", "domain add|a..b", "perm: " },
        { "domains are listed", "domain list", "{\"domain\":\"a.example\"}\n{\"domain\":\"m\303\274nchen.example\"}\n" },
        { "an account is added", "account add|Alice@A.example|secret", "{\"account\":\"Alice@A.example\",\"done\":\"added\"}\n" },
        { "an account twice, in another case", "account add|ALICE@a.example|secret", "perm: account ALICE@a.example is there already" },
        { "an account with a quota", "account add|bob@a.example|secret|1000", "{\"account\":\"bob@a.example\",\"done\":\"added\"}\n" },
        { "a quota is a number", "account add|carol@a.example|secret|10M", "perm: a quota is a number of bytes, 0 for none" },
        { "an account at an address literal", "account add|carol@[192.0.2.1]|secret", "perm: an account or alias lives in a domain, not at an address in brackets" },
        { "an account is an address", "account add|carol|secret", "perm: " },
        { "a password is not empty of everything", "account add|carol@a.example", "perm: account add: wrong number of arguments" },
        { "accounts are listed", "account list", "{\"account\":\"Alice@a.example\",\"id\":1,\"quota_bytes\":0,\"is_enabled\":true,\"created\":1700000000}\n"
                                                 "{\"account\":\"bob@a.example\",\"id\":2,\"quota_bytes\":1000,\"is_enabled\":true,\"created\":1700000000}\n" },
        { "a quota is changed", "account quota|BOB@a.example|7", "{\"account\":\"BOB@a.example\",\"done\":\"quota set\"}\n" },
        { "an account is disabled", "account disable|bob@a.example", "{\"account\":\"bob@a.example\",\"done\":\"disabled\"}\n" },
        { "a list can be narrowed", "account list|bob", "{\"account\":\"bob@a.example\",\"id\":2,\"quota_bytes\":7,\"is_enabled\":false,\"created\":1700000000}\n" },
        { "an account that is not there is not changed", "account quota|dora@a.example|7", "none: there is no account dora@a.example" },
        { "an account is removed", "account remove|bob@a.example", "{\"account\":\"bob@a.example\",\"done\":\"removed\"}\n" },
        { "an account is not removed twice", "account remove|bob@a.example", "none: there is no account bob@a.example" },
        { "and comes back", "account add|bob@a.example|secret", "{\"account\":\"bob@a.example\",\"done\":\"added\"}\n" },
        { "with another id, since a mailbox is never given to somebody else", "account list|bob", "{\"account\":\"bob@a.example\",\"id\":3,\"quota_bytes\":0,\"is_enabled\":true,\"created\":1700000000}\n" },

        { "an alias is added", "alias add|sales@a.example|alice@a.example|\"x y\"@away.example", "{\"alias\":\"sales@a.example\",\"done\":\"set\"}\n" },
        { "a catch-all is added", "alias add|@a.example|bob@a.example", "{\"alias\":\"@a.example\",\"done\":\"set\"}\n" },
        { "aliases are listed", "alias list", "{\"alias\":\"@a.example\",\"targets\":[\"bob@a.example\"]}\n"
                                              "{\"alias\":\"sales@a.example\",\"targets\":[\"alice@a.example\",\"\\\"x y\\\"@away.example\"]}\n" },
        { "an alias is replaced", "alias add|Sales@a.example|bob@a.example,alice@a.example", "{\"alias\":\"Sales@a.example\",\"done\":\"set\"}\n" },
        { "a list can be narrowed by target too", "alias list|alice", "{\"alias\":\"Sales@a.example\",\"targets\":[\"bob@a.example\",\"alice@a.example\"]}\n" },
        { "an alias leads somewhere", "alias add|x@a.example| ", "perm: an alias leads somewhere: give at least one address" },
        { "an alias leads to addresses", "alias add|x@a.example|bob", "perm: target \"bob\": " },
        { "an alias is of this server", "alias add|x@away.example|bob@a.example", "perm: away.example is not one of this server's domains" },
        { "a domain in use is not removed", "domain remove|a.example", "perm: domain a.example still has 2 accounts and 2 aliases: remove them first" },
        { "an alias is removed", "alias remove|SALES@a.example", "{\"alias\":\"SALES@a.example\",\"done\":\"removed\"}\n" },
        { "an alias is not removed twice", "alias remove|sales@a.example", "none: there is no alias sales@a.example" },
        { "a catch-all is removed", "alias remove|@A.example", "{\"alias\":\"@A.example\",\"done\":\"removed\"}\n" },
        { "a domain that is empty is removed", "domain remove|xn--mnchen-3ya.example", "{\"domain\":\"xn--mnchen-3ya.example\",\"done\":\"removed\"}\n" },
        { "a domain is not removed twice", "domain remove|m\303\274nchen.example", "none: there is no domain m" },
        { "SQL is a name like any other", "account remove|\"'; DROP TABLE account; --\"@a.example", "none: there is no account \"'; DROP TABLE account; --\"@a.example" },
        { "an unknown command", "account explode|x", "perm: there is no such command" },
        { "too many arguments", "domain add|a.example|b.example", "perm: domain add: wrong number of arguments" },
    };
    struct directory *d = open_new();
    struct transcript t;
    buf_init(&t.rows, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice want = slice_from_str(cases[i].says);
        CASE(cases[i].sentence);
        CHECK_SLICE(slice_sub(run(d, &t, cases[i].command), 0, want.len), want);
    }
    buf_free(&t.rows);
    directory_close(d);
    remove_all();
}

static void test_verifiers(void)
{
    struct directory *d = open_new(), *other;
    struct fault f = { 0 };
    struct directory_account account;
    struct sasl_verifier verifier;
    struct arena arena;
    uint64_t id;
    arena_init(&arena, 1 << 16);
    CHECK_INT(directory_domain_add(d, SLICE("a.example"), &f), RC_OK);
    CHECK_INT(directory_account_add(d, SLICE("Alice@a.example"), SLICE("open sesame"), 5, 42, &id, &f), RC_OK);
    CASE("an account is found by its login and judged by its verifier");
    CHECK_INT(directory_verifier(d, SLICE("alice@A.EXAMPLE"), &account, &arena, &verifier, &f), RC_OK);
    CHECK_INT(account.id, id);
    CHECK_SLICE(account.name, SLICE("Alice@a.example"));
    CHECK_INT(account.quota_bytes, 5);
    CHECK_INT(account.created_s, 42);
    CHECK(sasl_verifier_check(&verifier, SLICE("open sesame")));
    CHECK(!sasl_verifier_check(&verifier, SLICE("open sesam")));
    CASE("the local part is enough while there is one domain");
    CHECK_INT(directory_verifier(d, SLICE("ALICE"), &account, &arena, &verifier, &f), RC_OK);
    CHECK_INT(directory_domain_add(d, SLICE("b.example"), &f), RC_OK);
    CHECK_INT(directory_verifier(d, SLICE("alice"), &account, &arena, &verifier, &f), RC_NONE);
    CASE("who is not there");
    CHECK_INT(directory_verifier(d, SLICE("alice@b.example"), &account, &arena, &verifier, &f), RC_NONE);
    CHECK_INT(directory_verifier(d, SLICE(""), &account, &arena, &verifier, &f), RC_NONE);
    CHECK_INT(directory_verifier(d, SLICE("@"), &account, &arena, &verifier, &f), RC_NONE);
    CHECK_INT(directory_verifier(d, SLICE("\0\xff@a.example"), &account, &arena, &verifier, &f), RC_NONE);
    CASE("a new password");
    CHECK_INT(directory_account_password(d, SLICE("alice@a.example"), SLICE("new"), &f), RC_OK);
    CHECK_INT(directory_verifier(d, SLICE("alice@a.example"), &account, &arena, &verifier, &f), RC_OK);
    CHECK(sasl_verifier_check(&verifier, SLICE("new")));
    CHECK(!sasl_verifier_check(&verifier, SLICE("open sesame")));
    CHECK_INT(directory_account_password(d, SLICE("bob@a.example"), SLICE("new"), &f), RC_NONE);
    CASE("a disabled account is as good as none");
    CHECK_INT(directory_account_enable(d, SLICE("alice@a.example"), false, &f), RC_OK);
    CHECK_INT(directory_verifier(d, SLICE("alice@a.example"), &account, &arena, &verifier, &f), RC_NONE);
    CASE("a second one who opens sees the change, and the first sees his");
    uint64_t version = directory_version(d);
    CHECK(version > 0);
    CHECK_INT(directory_open(folder, &other, &f), RC_OK);
    CHECK_INT(directory_version(other), version);
    CHECK_INT(directory_account_enable(other, SLICE("alice@a.example"), true, &f), RC_OK);
    CHECK(directory_version(d) > version);
    CHECK_INT(directory_verifier(d, SLICE("alice@a.example"), &account, &arena, &verifier, &f), RC_OK);
    CASE("a removed account comes back as it was, once, and not over another of its name");
    uint64_t alice = account.id, back = 0, other_id = 0;
    CHECK_INT(directory_account_remove(d, SLICE("alice@a.example"), &id, &f), RC_OK);
    CHECK_INT(id, alice);
    CHECK_INT(directory_verifier(d, SLICE("alice@a.example"), &account, &arena, &verifier, &f), RC_NONE);
    CHECK_INT(directory_account_add(d, SLICE("alice@a.example"), SLICE("another"), 0, 43, &other_id, &f), RC_OK);
    CHECK(other_id != alice);
    CHECK_INT(directory_account_restore(d, SLICE("alice@a.example"), &back, &f), RC_PERM);
    CHECK_INT(directory_account_remove(d, SLICE("alice@a.example"), &id, &f), RC_OK);
    CHECK_INT(directory_account_restore(d, SLICE("Alice@A.example"), &back, &f), RC_OK);
    CHECK_INT(back, other_id);                  /* the one that was removed last */
    CHECK_INT(directory_account_remove(d, SLICE("alice@a.example"), &id, &f), RC_OK);
    CHECK_INT(directory_account_restore(d, SLICE("nobody@a.example"), &back, &f), RC_NONE);
    CHECK_INT(directory_account_add(d, SLICE("alice@a.example"), SLICE("new"), 5, 42, &id, &f), RC_OK);
    CASE("what was refused changes no version");
    version = directory_version(d);
    CHECK_INT(directory_domain_add(d, SLICE("a.example"), &f), RC_PERM);
    CHECK_INT(directory_account_remove(d, SLICE("x@a.example"), &id, &f), RC_NONE);
    CHECK_INT(directory_version(d), version);
    CASE("the secret stays");
    unsigned char secret[32], again[32];
    CHECK_INT(directory_secret(d, secret, &f), RC_OK);
    CHECK_INT(directory_secret(other, again, &f), RC_OK);
    CHECK(memcmp(secret, again, 32) == 0);
    CHECK(memcmp(secret, (unsigned char[32]){ 0 }, 32) != 0);
    directory_close(other);
    directory_close(d);
    arena_free(&arena);
    remove_all();
}

static void test_files(void)
{
    struct directory *d = open_new();
    struct fault f = { 0 };
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "%s/directory.db", folder);
    CASE("the file is for its owner alone");
    CHECK_INT(stat(path, &status), 0);
    CHECK_INT(status.st_mode & 0777, 0600);
    directory_close(d);
    CASE("a file of a newer version is refused, and stays as it is");
    sqlite3 *db;
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "UPDATE meta SET value = 2 WHERE name = 'format'", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CHECK_INT(directory_open(folder, &d, &f), RC_PERM);
    CHECK(d == NULL);
    CHECK(strstr(f.text, "directory.db was written by a newer version of thurn (format 2, this one knows 1): install") != NULL);
    CASE("a file that is no database says so");
    FILE *file = fopen(path, "w");
    for (int i = 0; file != NULL && i < 1000; i++)
        fputs("this is no database ", file);
    if (file != NULL)
        fclose(file);
    CHECK_INT(directory_open(folder, &d, &f), RC_PERM);
    CHECK(strstr(f.text, path) != NULL && strstr(f.text, "not a database") != NULL);
    remove_all();
    CASE("a place that cannot be is named");
    CHECK_INT(directory_open("/nonexistent/data", &d, &f), RC_PERM);
    CHECK(strstr(f.text, "/nonexistent/data") != NULL);
}

/* A file that may not grow stands for a disk that is full. */
static void test_full_disk(void)
{
    struct directory *d = open_new();
    struct fault f = { 0 };
    struct rlimit limit, old;
    uint64_t version = 0, refused = 0, added = 0;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_INT(directory_domain_add(d, SLICE("a.example"), &f), RC_OK);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){ 200 * 1024, old.rlim_max };
    setrlimit(RLIMIT_FSIZE, &limit);
    CASE("what cannot be written is refused for now, and has not changed anything");
    for (unsigned i = 0; i < 200; i++) {
        char name[64];
        snprintf(name, sizeof name, "a%u@a.example", i);
        version = directory_version(d);
        enum rc rc = directory_alias_add(d, slice_from_str(name), SLICE("b@a.example"), &f);
        added += rc == RC_OK;
        refused += rc != RC_OK;
        CHECK(rc == RC_OK || rc == RC_TEMP);
        CHECK_INT(directory_version(d), version + (rc == RC_OK));
    }
    CHECK(refused > 0);
    setrlimit(RLIMIT_FSIZE, &old);
    CASE("and it goes on when there is room again");
    CHECK_INT(directory_alias_add(d, SLICE("last@a.example"), SLICE("b@a.example"), &f), RC_OK);
    directory_close(d);
    CHECK_INT(directory_open(folder, &d, &f), RC_OK);
    struct transcript t;
    buf_init(&t.rows, 1 << 20);
    run(d, &t, "alias list");
    uint64_t rows = 0;
    for (size_t i = 0; i < buf_len(&t.rows); i++)
        rows += buf_slice(&t.rows).ptr[i] == '\n';
    CHECK_INT(rows, added + 1);
    buf_free(&t.rows);
    directory_close(d);
    remove_all();
}

int main(void)
{
    test_commands();
    test_verifiers();
    test_files();
    test_full_disk();
    return check_done();
}
