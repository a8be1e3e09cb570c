/* A program that reads and keeps mail: IMAP4rev1 with what it finds of LITERAL+, IDLE, UIDPLUS, MOVE, UNSELECT, CONDSTORE, QRESYNC, SASL-IR.
 * See client.h. */
#include "sim/client_imap.h"

#include <stdio.h>
#include <stdlib.h>

const struct imap_view *imap_view(const struct imap *imap) { return imap->has_view ? &imap->view : NULL; }
const char *imap_wrong(const struct imap *imap) { return imap->wrong[0] != '\0' ? imap->wrong : NULL; }
const char *imap_reply(const struct imap *imap) { return imap->reply; }
bool imap_is_alive(const struct imap *imap) { return stream_is_alive(&imap->stream) && !imap->is_bye; }

bool imap_can(const struct imap *imap, const char *capability)
{
    char word[80];
    (void)snprintf(word, sizeof(word), " %s ", capability);
    struct slice all = buf_slice(&imap->capabilities);
    return slice_find_nocase(all, slice_from_str(word)) < all.len;
}

const char *imap_quote(const char *name)
{
    static char rooms[2][600];
    static unsigned next;
    char *out = rooms[next++ % 2];
    size_t len = 0;
    out[len++] = '"';
    for (; *name != '\0' && len < 590; name++) {
        if (*name == '"' || *name == '\\')
            out[len++] = '\\';
        out[len++] = *name;
    }
    out[len++] = '"';
    out[len] = '\0';
    return out;
}

/* As ranges where they are. */
void imap_uid_set(const uint32_t *uids, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count;) {
        size_t last = i;
        while (last + 1 < count && uids[last + 1] == uids[last] + 1)
            last++;
        (void)buf_printf(out, "%s%u", i > 0 ? "," : "", uids[i]);
        if (last > i)
            (void)buf_printf(out, ":%u", uids[last]);
        i = last + 1;
    }
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void forget_answers(struct imap *imap)
{
    imap->from.count = imap->to.count = imap->found.count = imap->gone_from.count = imap->gone_to.count = 0;
    imap->changed_count = imap->name_count = 0;
    imap->answer_uid = imap->answer_validity = 0;
    imap->has_text = false;
    buf_clear(&imap->names);
}

enum imap_end imap_read_to_end(struct imap *imap)
{
    bool is_go_on;
    while (stream_is_alive(&imap->stream)) {
        enum imap_end end = imap_read(imap, &is_go_on);
        if (end != IMAP_LOST)
            return end;
    }
    return IMAP_LOST;
}

/* Waits for "+" (true) or for the command's end before it. */
static bool wait_for_go_on(struct imap *imap, enum imap_end *end)
{
    bool is_go_on;
    while (stream_is_alive(&imap->stream)) {
        *end = imap_read(imap, &is_go_on);
        if (is_go_on || *end != IMAP_LOST)
            return is_go_on;
    }
    *end = IMAP_LOST;
    return false;
}

static bool send_command(struct imap *imap, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
static bool send_command(struct imap *imap, const char *format, va_list arguments)
{
    struct buf line;
    buf_init(&line, STREAM_MAX);
    forget_answers(imap);
    imap->tag++;
    (void)buf_printf(&line, "a%u ", imap->tag);
    (void)buf_vprintf(&line, format, arguments);
    (void)buf_append_str(&line, "\r\n");
    bool is_put = stream_put(&imap->stream, buf_slice(&line));
    buf_free(&line);
    return is_put;
}

static bool say(struct imap *imap, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool say(struct imap *imap, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    bool is_put = send_command(imap, format, arguments);
    va_end(arguments);
    return is_put;
}

enum imap_end imap_ask(struct imap *imap, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    bool is_put = send_command(imap, format, arguments);
    va_end(arguments);
    return is_put ? imap_read_to_end(imap) : IMAP_LOST;
}

/* RFC 5530: these say that it may be otherwise later. */
static bool is_for_now(const struct imap *imap)
{
    static const char *const codes[] = { "[UNAVAILABLE]", "[INUSE]", "[SERVERBUG]", "[LIMIT]" };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strstr(imap->reply, codes[i]) != NULL)
            return true;
    return false;
}

enum client_result imap_judge(const struct imap *imap, enum imap_end end)
{
    switch (end) {
    case IMAP_OK: return CLIENT_DONE;
    case IMAP_NO: return is_for_now(imap) ? CLIENT_TEMP : CLIENT_REFUSED;
    case IMAP_BAD: return CLIENT_REFUSED;
    case IMAP_LOST: break;
    }
    return CLIENT_UNKNOWN;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

void imap_drop(struct imap *imap)
{
    if (imap == NULL)
        return;
    stream_close(&imap->stream);
    buf_free(&imap->response);
    buf_free(&imap->capabilities);
    buf_free(&imap->text);
    buf_free(&imap->names);
    free(imap->from.list);
    free(imap->to.list);
    free(imap->found.list);
    free(imap->gone_from.list);
    free(imap->gone_to.list);
    free(imap->changed);
    free(imap->name_list);
    free(imap->view.messages);
    free(imap);
}

void imap_close(struct imap *imap)
{
    if (imap != NULL && imap_is_alive(imap))
        (void)imap_ask(imap, "LOGOUT");
    imap_drop(imap);
}

static enum client_result log_in(struct imap *imap, const struct client_server *server)
{
    char command[32];
    struct slice line, offered = SLICE("SCRAM-SHA-256 PLAIN");
    if (!imap_can(imap, "SASL-IR") || (!server->scram && sim_chance(500000)))
        return imap_judge(imap, imap_ask(imap, "LOGIN %s %s", imap_quote(server->user), imap_quote(server->password)));
    imap->tag++;
    (void)snprintf(command, sizeof(command), "a%u AUTHENTICATE", imap->tag);
    if (!stream_login(&imap->stream, command, "+ ", imap_can(imap, "AUTH=SCRAM-SHA-256") ? offered : SLICE("PLAIN"), server, &line))
        return CLIENT_UNKNOWN;
    /* What ended the exchange may be untagged, with the tagged answer behind it. */
    (void)snprintf(command, sizeof(command), "a%u ", imap->tag);
    if (!slice_take_prefix_nocase(&line, slice_from_str(command)))
        return imap_judge(imap, imap_read_to_end(imap));
    (void)snprintf(imap->reply, sizeof(imap->reply), "%.*s", (int)(line.len < 200 ? line.len : 200), line.ptr);
    return imap_judge(imap, slice_starts_nocase(line, SLICE("OK")) ? IMAP_OK : slice_starts_nocase(line, SLICE("NO")) ? IMAP_NO : IMAP_BAD);
}

static enum client_result begin(struct imap *imap, const struct client_server *server)
{
    bool is_go_on;
    (void)imap_read(imap, &is_go_on);           /* the greeting */
    if (!stream_is_alive(&imap->stream))
        return CLIENT_UNSENT;
    if (imap->is_bye)
        return CLIENT_TEMP;
    if (server->tls == CLIENT_STARTTLS && (imap_ask(imap, "STARTTLS") != IMAP_OK || !stream_start_tls(&imap->stream)))
        return CLIENT_UNSENT;
    if (imap_ask(imap, "CAPABILITY") != IMAP_OK)
        return CLIENT_UNSENT;
    enum client_result result = log_in(imap, server);
    if (result == CLIENT_DONE && imap_ask(imap, "CAPABILITY") != IMAP_OK)
        return CLIENT_UNSENT;
    return result == CLIENT_UNKNOWN ? CLIENT_UNSENT : result;
}

struct imap *imap_open(struct sim_host *host, const struct client_server *server, enum client_result *result)
{
    struct imap *imap = calloc(1, sizeof(*imap));
    *result = CLIENT_UNSENT;
    if (imap == NULL)
        return NULL;
    buf_init(&imap->response, STREAM_MAX);
    buf_init(&imap->capabilities, STREAM_MAX);
    buf_init(&imap->text, STREAM_MAX);
    buf_init(&imap->names, STREAM_MAX);
    if (stream_open(&imap->stream, host, server))
        *result = begin(imap, server);
    if (*result == CLIENT_DONE)
        return imap;
    imap_drop(imap);
    return NULL;
}

/* ---- what changes something -------------------------------------------------------------------------------------- */

enum client_result imap_append(struct imap *imap, const char *mailbox, uint32_t flags, struct slice text, uint32_t *uid_validity, uint32_t *uid)
{
    char names[160];
    enum imap_end end;
    bool is_at_once = imap_can(imap, "LITERAL+") && sim_chance(500000);
    *uid_validity = *uid = 0;
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    imap_flags_text(flags, names);
    if (!say(imap, "APPEND %s (%s) {%zu%s}", imap_quote(mailbox), names, text.len, is_at_once ? "+" : ""))
        return CLIENT_UNKNOWN;
    if (!is_at_once && !wait_for_go_on(imap, &end))
        return end == IMAP_LOST ? CLIENT_UNSENT : imap_judge(imap, end);
    while (text.len > 0)
        if (!stream_put(&imap->stream, slice_take(&text, 1 + (size_t)sim_below(64 * 1024))))
            return CLIENT_UNKNOWN;
    end = stream_put(&imap->stream, SLICE("\r\n")) ? imap_read_to_end(imap) : IMAP_LOST;
    *uid_validity = imap->answer_validity;
    *uid = imap->answer_uid;
    return imap_judge(imap, end);
}

/* What .SILENT did not tell; what STORE said of MODIFIED stays. Whatever comes of this, the STORE is done. */
static void look_again(struct imap *imap, struct slice set)
{
    char reply[sizeof(imap->reply)];
    size_t count = imap->found.count;
    memcpy(reply, imap->reply, sizeof(reply));
    (void)imap_ask(imap, "UID FETCH %.*s (UID FLAGS%s)", SLICE_ARG(set), imap_can(imap, "CONDSTORE") ? " MODSEQ" : "");
    memcpy(imap->reply, reply, sizeof(reply));
    imap->found.count = count;
}

enum client_result imap_store(struct imap *imap, const uint32_t *uids, size_t count, enum imap_store_how how, uint32_t flags, uint64_t unchanged_since,
                              struct imap_uids *modified)
{
    static const char *const hows[] = { "+FLAGS", "-FLAGS", "FLAGS" };
    char names[160], since[64] = "";
    struct buf set;
    if (!imap_is_alive(imap) || count == 0)
        return CLIENT_UNSENT;
    buf_init(&set, STREAM_MAX);
    imap_uid_set(uids, count, &set);
    imap_flags_text(flags, names);
    if (unchanged_since != 0)
        (void)snprintf(since, sizeof(since), " (UNCHANGEDSINCE %llu)", (unsigned long long)unchanged_since);
    bool is_silent = sim_chance(300000);
    enum imap_end end = imap_ask(imap, "UID STORE %.*s%s %s%s (%s)", SLICE_ARG(buf_slice(&set)), since, hows[how], is_silent ? ".SILENT" : "", names);
    if (is_silent && end == IMAP_OK)
        look_again(imap, buf_slice(&set));
    buf_free(&set);
    if (modified != NULL)
        *modified = (struct imap_uids){ imap->found.list, imap->found.count };
    return imap_judge(imap, end);
}

static enum client_result copy(struct imap *imap, const char *verb, const uint32_t *uids, size_t count, const char *mailbox, uint32_t *uid_validity,
                               struct imap_uids *from, struct imap_uids *to)
{
    struct buf set;
    *uid_validity = 0;
    *from = *to = (struct imap_uids){ NULL, 0 };
    if (!imap_is_alive(imap) || count == 0)
        return CLIENT_UNSENT;
    buf_init(&set, STREAM_MAX);
    imap_uid_set(uids, count, &set);
    enum imap_end end = imap_ask(imap, "UID %s %.*s %s", verb, SLICE_ARG(buf_slice(&set)), imap_quote(mailbox));
    buf_free(&set);
    *uid_validity = imap->answer_validity;
    *from = (struct imap_uids){ imap->from.list, imap->from.count };
    *to = (struct imap_uids){ imap->to.list, imap->to.count };
    return imap_judge(imap, end);
}

enum client_result imap_copy(struct imap *imap, const uint32_t *uids, size_t count, const char *mailbox, uint32_t *uid_validity, struct imap_uids *from,
                             struct imap_uids *to)
{
    return copy(imap, "COPY", uids, count, mailbox, uid_validity, from, to);
}

enum client_result imap_move(struct imap *imap, const uint32_t *uids, size_t count, const char *mailbox, uint32_t *uid_validity, struct imap_uids *from,
                             struct imap_uids *to)
{
    if (imap_is_alive(imap) && !imap_can(imap, "MOVE"))
        return CLIENT_REFUSED;
    return copy(imap, "MOVE", uids, count, mailbox, uid_validity, from, to);
}

enum client_result imap_expunge(struct imap *imap, const uint32_t *uids, size_t count)
{
    struct buf set;
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    if (uids == NULL)
        return imap_judge(imap, imap_ask(imap, "EXPUNGE"));
    if (count == 0)
        return CLIENT_UNSENT;
    buf_init(&set, STREAM_MAX);
    imap_uid_set(uids, count, &set);
    enum imap_end end = imap_ask(imap, "UID EXPUNGE %.*s", SLICE_ARG(buf_slice(&set)));
    buf_free(&set);
    return imap_judge(imap, end);
}

static enum client_result about(struct imap *imap, const char *verb, const char *mailbox)
{
    return imap_is_alive(imap) ? imap_judge(imap, imap_ask(imap, "%s %s", verb, imap_quote(mailbox))) : CLIENT_UNSENT;
}

enum client_result imap_create(struct imap *imap, const char *mailbox) { return about(imap, "CREATE", mailbox); }
enum client_result imap_delete(struct imap *imap, const char *mailbox) { return about(imap, "DELETE", mailbox); }
enum client_result imap_subscribe(struct imap *imap, const char *mailbox, bool is_subscribed)
{
    return about(imap, is_subscribed ? "SUBSCRIBE" : "UNSUBSCRIBE", mailbox);
}

enum client_result imap_rename(struct imap *imap, const char *from, const char *to)
{
    return imap_is_alive(imap) ? imap_judge(imap, imap_ask(imap, "RENAME %s %s", imap_quote(from), imap_quote(to))) : CLIENT_UNSENT;
}

/* ---- what reads -------------------------------------------------------------------------------------------------- */

enum client_result imap_fetch_text(struct imap *imap, uint32_t uid, bool peek, struct slice *text)
{
    *text = SLICE_NONE;
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    imap->wanted_uid = uid;
    enum client_result result = imap_judge(imap, imap_ask(imap, "UID FETCH %u (UID %s)", uid, peek ? "BODY.PEEK[]" : "FLAGS BODY[]"));
    if (result == CLIENT_DONE && !imap->has_text)
        return CLIENT_REFUSED;
    *text = buf_slice(&imap->text);
    return result;
}

enum client_result imap_list(struct imap *imap, bool subscribed_only, struct imap_names *names)
{
    *names = (struct imap_names){ NULL, 0 };
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    enum client_result result = imap_judge(imap, imap_ask(imap, "%s \"\" \"*\"", subscribed_only ? "LSUB" : "LIST"));
    const char **list = realloc(imap->name_list, (imap->name_count + 1) * sizeof(*list));
    if (list == NULL)
        return CLIENT_UNKNOWN;
    imap->name_list = list;
    struct slice rest = buf_slice(&imap->names);
    for (size_t i = 0; i < imap->name_count; i++)
        list[i] = slice_take_until(&rest, '\0').ptr;
    *names = (struct imap_names){ list, imap->name_count };
    return result;
}

enum client_result imap_status(struct imap *imap, const char *mailbox, struct imap_status *status)
{
    memset(status, 0, sizeof(*status));
    memset(&imap->status, 0, sizeof(imap->status));
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    enum client_result result = imap_judge(imap, imap_ask(imap, "STATUS %s (MESSAGES UIDNEXT UIDVALIDITY UNSEEN%s)", imap_quote(mailbox),
                                                          imap_can(imap, "CONDSTORE") ? " HIGHESTMODSEQ" : ""));
    *status = imap->status;
    return result;
}

enum client_result imap_find(struct imap *imap, const char *criteria, struct imap_uids *uids)
{
    *uids = (struct imap_uids){ NULL, 0 };
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    enum client_result result = imap_judge(imap, imap_ask(imap, "UID SEARCH %s", criteria));
    *uids = (struct imap_uids){ imap->found.list, imap->found.count };
    return result;
}

/* ---- news -------------------------------------------------------------------------------------------------------- */

static enum client_result learn_new(struct imap *imap)
{
    size_t first = 0;
    while (imap->has_view && first < imap->view.count && imap->view.messages[first].uid != 0)
        first++;
    if (!imap->has_view || first == imap->view.count)
        return CLIENT_DONE;
    return imap_judge(imap, imap_ask(imap, "FETCH %zu:%zu (UID FLAGS%s)", first + 1, imap->view.count, imap_can(imap, "CONDSTORE") ? " MODSEQ" : ""));
}

enum client_result imap_noop(struct imap *imap)
{
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    enum client_result result = imap_judge(imap, imap_ask(imap, "NOOP"));
    return result == CLIENT_DONE ? learn_new(imap) : result;
}

enum client_result imap_idle(struct imap *imap, int64_t ms)
{
    enum imap_end end;
    bool is_go_on;
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    if (!imap_can(imap, "IDLE"))
        return CLIENT_REFUSED;
    if (!say(imap, "IDLE"))
        return CLIENT_UNKNOWN;
    if (!wait_for_go_on(imap, &end))
        return imap_judge(imap, end);
    if (stream_wait(&imap->stream, ms))
        end = imap_read(imap, &is_go_on);
    end = stream_put(&imap->stream, SLICE("DONE\r\n")) ? imap_read_to_end(imap) : IMAP_LOST;
    return end == IMAP_OK ? learn_new(imap) : imap_judge(imap, end);
}
