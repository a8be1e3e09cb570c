/* Log lines: one write each, escaped, cut where they must be, in both shapes. */
#include "check.h"

#include "os/log.h"

#include <fcntl.h>
#include <unistd.h>

static int fds[2];
static char line[8192];

static const char *written(void)
{
    ssize_t got = read(fds[0], line, sizeof(line) - 1);
    line[got > 0 ? got : 0] = '\0';
    return line;
}

static size_t lines_in(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void check_shapes(void)
{
    log_open("edge", fds[1], false);
    log_event(LOG_INFO, "accepted", LOG_STR("id", "1k81"), LOG_NUMBER("size", 18446744073709551615u), LOG_STR("user", "a b\"c\r\nd"));
    CASE("key=value, quoted where it must be, and no line end from a value");
    CHECK(strncmp(written(), "time=2", 6) == 0);
    CHECK(strstr(line, " level=info role=edge pid=") != NULL && strstr(line, " event=accepted id=1k81 size=18446744073709551615 user=\"") != NULL);
    CHECK_INT(lines_in(line), 1);
    CHECK(strchr(line, '\r') == NULL);

    log_open("edge", fds[1], true);
    log_event(LOG_WARNING, "refused", LOG_TEXT("why", SLICE("\0\x1b[31m\xff\"\\")), LOG_NUMBER("n", 1));
    CASE("JSON, whatever the bytes");
    CHECK(strncmp(written(), "{\"time\":\"2", 10) == 0 && strstr(line, "\"level\":\"warning\"") != NULL && strstr(line, "\"n\":1}\n") != NULL);
    CHECK(strchr(line, '\x1b') == NULL && strstr(line, "\\\"\\\\") != NULL);
    CHECK_INT(lines_in(line), 1);

    log_fields(LOG_NOTICE, "bare", NULL, 0);
    CASE("no fields at all");
    CHECK(strstr(written(), "\"event\":\"bare\"}\n") != NULL);
}

static void check_long(bool is_json)
{
    char value[5000];
    struct log_field fields[10];
    memset(value, 'x', sizeof(value));
    for (size_t i = 0; i < 10; i++)
        fields[i] = LOG_TEXT("v", ((struct slice){ value, sizeof(value) }));
    log_open("post", fds[1], is_json);
    log_fields(LOG_ERROR, "long", fields, 10);
    CASE("a long line is cut with a mark, below what a pipe writes whole");
    size_t len = strlen(written());
    CHECK(len <= 4096 && len > 1000 && lines_in(line) == 1);
    CHECK(strstr(line, is_json ? ",\"cut\":1}\n" : " cut=1\n") != NULL);
    memset(value, 1, sizeof(value));
    log_fields(LOG_ERROR, "long", fields, 10);
    CASE("also when each byte becomes six");
    len = strlen(written());
    CHECK(len <= 4096 && lines_in(line) == 1);
}

static void check_levels(void)
{
    struct fault fault;
    log_open("out", fds[1], false);
    log_set_level(LOG_WARNING);
    log_fields(LOG_INFO, "quiet", NULL, 0);
    (void)fault_temp(&fault, ESC(4, 4, 1), "no answer from %s", "host");
    log_fault(LOG_WARNING, "deferred", &fault);
    CASE("what is below the level is not written; a fault tells its story");
    CHECK(strstr(written(), "quiet") == NULL);
    CHECK(strstr(line, "event=deferred status=4.4.1 why=\"no answer from host\"") != NULL);
    log_set_level(LOG_INFO);
    log_open("out", 9999, false);
    log_fields(LOG_ERROR, "nowhere", NULL, 0);
    CASE("a log that cannot be written stops nothing");
    CHECK(true);
}

int main(void)
{
    must(pipe(fds) == 0 && fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
    check_shapes();
    check_long(false);
    check_long(true);
    check_levels();
    return check_done();
}
