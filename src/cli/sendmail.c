/* The sendmail that cron, PHP and scripts call, when `thurn` is installed under that name.
 *
 * A message from standard input goes by SMTP over the local socket submit.sock of the run folder; the server knows who
 * calls (SO_PEERCRED). Options that mean nothing here are taken and ignored, as every such program does. */
#include "cli/addresses.h"
#include "cli/commands.h"
#include "cli/raw.h"
#include "cli/submit.h"

#include "base/text.h"
#include "config/config.h"
#include "mail/compose.h"
#include "mail/header.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum { ARENA_MAX = 16 * 1024 * 1024, TIMEOUT_S = 300, HOST_NAME_MAX_BYTES = 256, PUMP_BYTES = 16 * 1024, AFTER_END_MS = 10000 };

enum sendmail_mode { MODE_MESSAGE, MODE_SMTP, MODE_QUEUE, MODE_ALIASES };

struct sendmail {
    enum sendmail_mode mode;
    const char *sender, *full_name, *notify, *ret, *envid;
    bool reads_recipients, ignores_dot, is_verbose;
    char host[HOST_NAME_MAX_BYTES];
    char user[128];
    char socket_path[4096];
    struct arena arena;
    struct raw raw;
    struct spool spool;
    struct smtp_message message;
    struct address *recipients;
    size_t recipient_count;
};

/* ---- who and where ----------------------------------------------------------------------------------------------------- */

static void find_server(struct sendmail *s)
{
    struct config config;
    struct fault f;
    const char *from_environment = getenv("THURN_CONFIG"), *run_dir = "/run/thurn";
    /* Not every caller may read the configuration: then the usual place is tried. */
    bool is_loaded = config_load(from_environment != NULL ? from_environment : "/etc/thurn/thurn.yaml", &config, &f) == RC_OK;
    if (is_loaded && config.run_dir != NULL)
        run_dir = config.run_dir;
    if (is_loaded && config.host_name != NULL)
        snprintf(s->host, sizeof(s->host), "%s", config.host_name);
    else if (gethostname(s->host, sizeof(s->host) - 1) != 0 || s->host[0] == '\0')
        strcpy(s->host, "localhost");
    snprintf(s->socket_path, sizeof(s->socket_path), "%s/submit.sock", run_dir);
    config_free(&config);
}

static void find_user(struct sendmail *s)
{
    const struct passwd *entry = getpwuid(getuid());
    if (entry == NULL) {
        snprintf(s->user, sizeof(s->user), "uid%u", (unsigned)getuid());
        return;
    }
    snprintf(s->user, sizeof(s->user), "%s", entry->pw_name);
    if (s->full_name == NULL && entry->pw_gecos != NULL)
        s->full_name = arena_str(&s->arena, slice_sub(slice_from_str(entry->pw_gecos), 0, strcspn(entry->pw_gecos, ",")));
}

/* "root" means root at this host. */
static enum rc qualify(struct sendmail *s, struct mailbox_entry *entry)
{
    if (entry->kind != ENTRY_INVALID && entry->domain.len > 0)
        return RC_OK;
    struct slice name = slice_trim(entry->kind == ENTRY_INVALID ? entry->name : entry->local_part);
    if (name.len == 0 || slice_find_byte(name, '@') < name.len || slice_find_byte(name, ' ') < name.len)
        return RC_PERM;
    *entry = (struct mailbox_entry){ .kind = ENTRY_MAILBOX, .local_part = name, .domain = slice_from_str(s->host) };
    return RC_OK;
}

static enum rc to_address(struct sendmail *s, struct mailbox_entry *entry, struct address *address, struct fault *f)
{
    struct buf written;
    buf_init(&written, PATH_MAX_BYTES * 4);
    enum rc rc = qualify(s, entry);
    struct address raw = { .local_part = entry->local_part, .domain = entry->domain };
    if (rc == RC_OK && address_write(&raw, &written))
        rc = address_parse(buf_slice(&written), &s->arena, address, f);
    else
        rc = fault_perm(f, ESC(5, 1, 3), "this is no address: %.*s", SLICE_ARG(slice_sub(entry->name, 0, 200)));
    buf_free(&written);
    return rc;
}

static enum rc add_recipients(struct sendmail *s, struct slice text, struct fault *f)
{
    struct mailbox_entry *entries;
    size_t count;
    text = arena_copy(&s->arena, text);
    if (address_list_parse(text, ADDRESSES_MAX + 1, &s->arena, &entries, &count) != RC_OK)
        return fault_no_memory(f);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind == ENTRY_GROUP_START || entries[i].kind == ENTRY_GROUP_END)
            continue;
        if (s->recipient_count == ADDRESSES_MAX)
            return fault_perm(f, 0, "more than %d recipients", ADDRESSES_MAX);
        struct address *address = &s->recipients[s->recipient_count];
        enum rc rc = to_address(s, &entries[i], address, f);
        if (rc != RC_OK)
            return rc;
        bool is_known = false;
        for (size_t j = 0; j < s->recipient_count; j++)
            is_known = is_known || address_equal(&s->recipients[j], address);
        s->recipient_count += !is_known;
    }
    return RC_OK;
}

static enum rc add_header_recipients(struct sendmail *s, struct fault *f)
{
    struct slice rest = buf_slice(&s->raw.header);
    struct header_field field;
    enum rc rc = buf_len(&s->raw.bcc) > 0 ? add_recipients(s, buf_slice(&s->raw.bcc), f) : RC_OK;
    for (enum rc at; rc == RC_OK && (at = header_next(&rest, &field)) != RC_NONE; ) {
        if (at == RC_OK && (slice_equal_nocase(field.name, SLICE("To")) || slice_equal_nocase(field.name, SLICE("Cc"))))
            rc = add_recipients(s, field.body, f);
    }
    return rc;
}

static enum rc find_reverse_path(struct sendmail *s, struct fault *f)
{
    struct address *path = &s->message.mail.reverse_path;
    const char *sender = s->sender != NULL ? s->sender : s->user;
    struct mailbox_entry *entries;
    size_t count;
    if (sender[0] == '\0' || strcmp(sender, "<>") == 0) {
        *path = (struct address){ .is_null = true };
        return RC_OK;
    }
    if (address_list_parse(slice_from_str(sender), 2, &s->arena, &entries, &count) != RC_OK || count != 1)
        return fault_perm(f, ESC(5, 1, 7), "-f %s: this is no address", sender);
    return to_address(s, &entries[0], path, f);
}

/* ---- the message ----------------------------------------------------------------------------------------------------------- */

static void write_from(const struct sendmail *s, struct buf *out)
{
    buf_append_str(out, "From: ");
    if (s->full_name != NULL && s->full_name[0] != '\0') {
        header_write_phrase(out, slice_from_str(s->full_name), false);
        buf_append_byte(out, ' ');
    }
    if (s->message.mail.reverse_path.is_null)
        buf_printf(out, "<%s@%s>\r\n", s->user, s->host);
    else {
        address_write_path(&s->message.mail.reverse_path, out);
        buf_append_str(out, "\r\n");
    }
}

/* The fields that a message must have (RFC 5322 3.6) and this one lacks. */
static enum rc add_fields(struct sendmail *s, struct fault *f)
{
    struct buf out;
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    buf_init(&out, 64 * 1024);
    if (!raw_has_field(&s->raw, SLICE("Date"))) {
        buf_append_str(&out, "Date: ");
        date_write((struct mail_date){ .unix_s = now, .zone_min = (int16_t)(local.tm_gmtoff / 60) }, &out);
        buf_append_str(&out, "\r\n");
    }
    if (!raw_has_field(&s->raw, SLICE("From")))
        write_from(s, &out);
    if (!raw_has_field(&s->raw, SLICE("Message-ID"))) {
        unsigned char random[16];
        if (RAND_bytes(random, sizeof(random)) != 1)
            return fault_temp(f, 0, "the system gives no random numbers");
        buf_append_str(&out, "Message-ID: <");
        hex_encode((struct slice){ (const char *)random, sizeof(random) }, &out);
        buf_printf(&out, "@%s>\r\n", s->host);
    }
    enum rc rc = spool_write(&s->spool, buf_slice(&out), f);
    buf_free(&out);
    return rc;
}

static enum rc parse_dsn(struct sendmail *s, unsigned *notify, struct fault *f)
{
    static const struct { const char *name; unsigned flag; } kinds[] = {
        { "never", NOTIFY_NEVER }, { "success", NOTIFY_SUCCESS }, { "failure", NOTIFY_FAILURE }, { "delay", NOTIFY_DELAY },
    };
    struct slice words = slice_from_str(s->notify);
    while (words.len > 0) {
        struct slice word = slice_take_until(&words, ',');
        unsigned flag = 0;
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
            flag |= slice_equal_nocase(word, slice_from_str(kinds[i].name)) ? kinds[i].flag : 0;
        *notify |= flag;
        if (flag == 0 || (*notify & NOTIFY_NEVER && *notify != NOTIFY_NEVER))
            return fault_perm(f, 0, "-N %s: never, or success,failure,delay is possible", s->notify);
    }
    if (s->ret != NULL && strcasecmp(s->ret, "hdrs") != 0 && strcasecmp(s->ret, "full") != 0)
        return fault_perm(f, 0, "-R %s: hdrs or full is possible", s->ret);
    if (s->ret != NULL)
        s->message.mail.ret = strcasecmp(s->ret, "hdrs") == 0 ? SMTP_RET_HDRS : SMTP_RET_FULL;
    s->message.mail.envid = slice_from_str(s->envid);
    return RC_OK;
}

static enum rc set_envelope(struct sendmail *s, struct fault *f)
{
    struct smtp_message *message = &s->message;
    unsigned notify = NOTIFY_DEFAULT;
    enum rc rc = parse_dsn(s, &notify, f);
    if (rc != RC_OK)
        return rc;
    message->rcpts = ARENA_ARRAY(&s->arena, struct smtp_rcpt, s->recipient_count);
    if (message->rcpts == NULL)
        return fault_no_memory(f);
    message->rcpt_count = s->recipient_count;
    message->needs_utf8 = message->mail.reverse_path.is_utf8 || !text_is_ascii(buf_slice(&s->spool.header));
    for (size_t i = 0; i < s->recipient_count; i++) {
        message->rcpts[i] = (struct smtp_rcpt){ .forward_path = s->recipients[i], .notify = notify };
        message->needs_utf8 = message->needs_utf8 || s->recipients[i].is_utf8;
    }
    message->mail.is_utf8 = message->needs_utf8;
    message->mail.body = s->spool.has_bare_eol ? SMTP_BODY_BINARYMIME : s->spool.has_8bit ? SMTP_BODY_8BITMIME : SMTP_BODY_7BIT;
    return RC_OK;
}

static enum rc read_message(struct sendmail *s, struct fault *f)
{
    enum rc rc = raw_read_header(&s->raw, stdin, !s->ignores_dot, f);
    if (rc == RC_OK)
        rc = find_reverse_path(s, f);
    if (rc == RC_OK && s->reads_recipients)
        rc = add_header_recipients(s, f);
    if (rc == RC_OK && s->recipient_count == 0)
        rc = fault_perm(f, 0, s->reads_recipients ? "the message names no recipient" : "no recipient: name one, or use -t");
    if (rc == RC_OK)
        rc = spool_open(&s->spool, f);
    if (rc == RC_OK)
        rc = add_fields(s, f);
    if (rc == RC_OK)
        rc = raw_copy(&s->raw, &s->spool, f);
    if (rc == RC_OK)
        rc = spool_finish(&s->spool, f);
    return rc == RC_OK ? set_envelope(s, f) : rc;
}

/* ---- handing over ------------------------------------------------------------------------------------------------------------ */

static int exit_status(const struct submit_outcome *outcome)
{
    if (outcome->rc == RC_OK)
        return EX_OK;
    if (outcome->rc == RC_TEMP)
        return EX_TEMPFAIL;
    return ESC_SUBJECT(outcome->esc) == 1 ? EX_NOUSER : EX_UNAVAILABLE;
}

static int deliver(struct sendmail *s)
{
    struct fault f = { .rc = RC_OK };
    int status = EX_OK;
    struct submit_report report = { .outcomes = ARENA_ARRAY(&s->arena, struct submit_outcome, s->recipient_count) };
    struct submit what = { .socket_path = s->socket_path, .timeout_s = TIMEOUT_S, .helo = s->host, .spool = &s->spool, .message = &s->message };
    enum rc rc = report.outcomes == NULL ? fault_no_memory(&f) : submit(&what, &report, &f);
    if (rc != RC_OK) {
        fprintf(stderr, "sendmail: %s\n", f.text);
        /* That no server listens is no verdict on the message. */
        return rc == RC_PERM && ESC_CLASS(f.esc) == 5 ? EX_UNAVAILABLE : EX_TEMPFAIL;
    }
    for (size_t i = 0; i < s->recipient_count; i++) {
        const struct submit_outcome *outcome = &report.outcomes[i];
        struct buf address;
        buf_init(&address, PATH_MAX_BYTES * 4);
        address_write(&s->recipients[i], &address);
        if (outcome->rc != RC_OK)
            fprintf(stderr, "sendmail: %.*s: %d %s\n", SLICE_ARG(buf_slice(&address)), outcome->code, outcome->text);
        else if (s->is_verbose)
            printf("%.*s... %s\n", SLICE_ARG(buf_slice(&address)), outcome->text);
        buf_free(&address);
        /* Something to try again comes before everything else. */
        if (status != EX_TEMPFAIL && outcome->rc != RC_OK)
            status = exit_status(outcome);
    }
    return status;
}

static int connect_local(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path)) {
        fprintf(stderr, "sendmail: %s: longer than the path of a socket may be\n", path);
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const void *)&address, sizeof(address)) == 0)
        return fd;
    fprintf(stderr, "sendmail: %s: %s: is the server running? (thurn serve)\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Moves what is there; 0 at the end of `from`, -1 when `to` does not take it. */
static ssize_t move_bytes(int from, int to)
{
    char piece[PUMP_BYTES];
    ssize_t got = read(from, piece, sizeof(piece));
    for (ssize_t at = 0, put; at < got; at += put) {
        if ((put = write(to, piece + at, (size_t)(got - at))) <= 0)
            return -1;
    }
    return got < 0 ? 0 : got;
}

/* -bs: standard input and output speak SMTP with the server. When the input has ended, what was said may still be answered:
 * only a server that has nothing more to say is left. */
static int pump(const char *path)
{
    int fd = connect_local(path);
    if (fd < 0)
        return EX_TEMPFAIL;
    struct pollfd ends[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
    for (int timeout_ms = -1; ; ) {
        int ready = poll(ends, 2, timeout_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return ready == 0 ? EX_OK : EX_OSERR;
        if (ends[1].revents != 0 && move_bytes(fd, STDOUT_FILENO) <= 0)
            return EX_OK;
        ssize_t moved = ends[0].revents != 0 ? move_bytes(STDIN_FILENO, fd) : 1;
        if (moved < 0)
            return EX_IOERR;
        if (moved == 0) {
            ends[0].fd = -1;
            timeout_ms = AFTER_END_MS;
        }
        ends[0].revents = 0;
    }
}

/* ---- the command --------------------------------------------------------------------------------------------------------------- */

static const char help[] =
    "Usage: sendmail [options] [recipient...]\n"
    "\n"
    "Reads a message from standard input and hands it to the mail server of this machine.\n"
    "\n"
    "  -t          recipients are those in To, Cc and Bcc, besides those named\n"
    "  -i, -oi     a line with a single dot does not end the message\n"
    "  -f ADDR     the sender: where bounces go (-r is the same)\n"
    "  -F NAME     the sender's full name, for a From that has to be added\n"
    "  -N WHEN     reports wanted: never, or some of success,failure,delay\n"
    "  -R WHAT     what a report returns: hdrs or full\n"
    "  -V ID       envelope id for reports\n"
    "  -v          say what the server answers\n"
    "  -bm         take a message (the default); -bs speak SMTP; -bp list the queue (mailq); -bi nothing (newaliases)\n"
    "Other options of other sendmails are taken and ignored.\n"
    "\n"
    "Exit status (sysexits): 0 accepted, 64 called wrongly, 67 no such recipient, 69 refused, 75 try again later.\n";

static bool set_mode(struct sendmail *s, const char *mode)
{
    static const struct { char letter; enum sendmail_mode mode; } modes[] = {
        { 'm', MODE_MESSAGE }, { 's', MODE_SMTP }, { 'p', MODE_QUEUE }, { 'i', MODE_ALIASES },
    };
    for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
        if (mode[0] == modes[i].letter && mode[1] == '\0') {
            s->mode = modes[i].mode;
            return true;
        }
    }
    fprintf(stderr, "sendmail: -b%s: -bm, -bs, -bp or -bi is possible (the server is started by thurn serve)\n", mode);
    return false;
}

/* False: called wrongly. */
static bool parse(struct sendmail *s, int argc, char **argv)
{
    int option;
    opterr = 0;
    optind = 1;
    while ((option = getopt(argc, argv, "+A:B:C:F:GI:L:M:N:O:R:UV:X:b:d::e:f:h:imno:p:q::r:stv")) != -1) {
        switch (option) {
        case 't': s->reads_recipients = true; break;
        case 'i': s->ignores_dot = true; break;
        case 'o': s->ignores_dot = s->ignores_dot || strcmp(optarg, "i") == 0; break;
        case 'f':
        case 'r': s->sender = optarg; break;
        case 'F': s->full_name = optarg; break;
        case 'N': s->notify = optarg; break;
        case 'R': s->ret = optarg; break;
        case 'V': s->envid = optarg; break;
        case 'v': s->is_verbose = true; break;
        case 'O': s->ignores_dot = s->ignores_dot || strcasecmp(optarg, "IgnoreDots") == 0 || strcasecmp(optarg, "IgnoreDots=true") == 0; break;
        case 'b':
            if (!set_mode(s, optarg))
                return false;
            break;
        case '?':
            fprintf(stderr, "sendmail: -%c: no such option, or its argument is missing; sendmail --help tells all of them\n", optopt);
            return false;
        default: break;         /* taken and ignored */
        }
    }
    return true;
}

static int run(struct sendmail *s, int argc, char **argv)
{
    struct fault f = { .rc = RC_OK };
    s->recipients = ARENA_ARRAY(&s->arena, struct address, ADDRESSES_MAX);
    if (s->recipients == NULL)
        return EX_OSERR;
    find_server(s);
    find_user(s);
    if (s->mode == MODE_SMTP)
        return pump(s->socket_path);
    for (int i = optind; i < argc; i++) {
        if (add_recipients(s, slice_from_str(argv[i]), &f) != RC_OK) {
            fprintf(stderr, "sendmail: %s: %s\n", argv[i], f.text);
            return EX_USAGE;
        }
    }
    enum rc rc = read_message(s, &f);
    if (rc == RC_OK)
        return deliver(s);
    fprintf(stderr, "sendmail: %s\n", f.text);
    return rc == RC_TEMP ? EX_TEMPFAIL : EX_USAGE;
}

int cmd_sendmail(int argc, char **argv)
{
    struct sendmail *s;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return EX_OK;
    }
    if ((s = calloc(1, sizeof(*s))) == NULL)
        return EX_OSERR;
    arena_init(&s->arena, ARENA_MAX);
    int status = EX_USAGE;
    if (parse(s, argc, argv))
        status = s->mode == MODE_QUEUE ? cmd_mailq(1, argv) : s->mode == MODE_ALIASES ? cmd_newaliases(1, argv) : run(s, argc, argv);
    spool_close(&s->spool);
    raw_free(&s->raw);
    arena_free(&s->arena);
    free(s);
    return status;
}
