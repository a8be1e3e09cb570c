/* Name service: what src/dns asks of libunbound, answered from a table (net.h). The functions have the library's names and are linked
 * instead of it; a context belongs to the process that made it.
 *
 * An answer takes its time. A zone may be in a mood: SERVFAIL at once; silence (for ever, or until the library would give up);
 * lies: no such name, no data, data that is none, a loop of CNAMEs, somebody else's address. */
#include "base/list.h"
#include "sim/net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unbound.h>

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_PTR = 12, TYPE_MX = 15, TYPE_TXT = 16, TYPE_AAAA = 28, TYPE_TLSA = 52 };
enum { RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RECORDS_MAX = 64, CNAMES_MAX = 8, RDATA_MAX = 1024, TTL_S = 60 };
enum { GIVES_UP_MIN_US = 60 * 1000 * 1000, GIVES_UP_MORE_US = 120 * 1000 * 1000 };

/* ---- the table --------------------------------------------------------------------------------------------------- */

struct record {
    struct list all;
    char name[256];
    int type;
    int len;
    char data[RDATA_MAX];               /* as on the wire */
};
struct zone {
    struct list all;
    char name[256];
    enum dns_mood mood;
};
static struct list records = { &records, &records }, zones = { &zones, &zones };
static int64_t delay_min_us = 1000, delay_max_us = 20000;

static void forget_all(struct list *head)
{
    while (!list_is_empty(head)) {
        struct list *node = head->next;
        list_remove(node);
        sim_delete(node);
    }
}

void dns_clear(void)
{
    forget_all(&records);
    forget_all(&zones);
    delay_min_us = 1000;
    delay_max_us = 20000;
}

void dns_set_delay(int64_t min_us, int64_t max_us)
{
    delay_min_us = min_us;
    delay_max_us = max_us > min_us ? max_us : min_us;
}

static int type_of(const char *type)
{
    static const struct { const char *name; int type; } types[] = {
        { "A", TYPE_A }, { "CNAME", TYPE_CNAME }, { "PTR", TYPE_PTR }, { "MX", TYPE_MX }, { "TXT", TYPE_TXT }, { "AAAA", TYPE_AAAA },
        { "TLSA", TYPE_TLSA },
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcasecmp(types[i].name, type) == 0)
            return types[i].type;
    sim_fail("dns: no such type: %s", type);
}

/* Names are kept without the dot at their end. */
static void set_name(char out[256], const char *name)
{
    size_t len = strlen(name);
    (void)snprintf(out, 256, "%.*s", (int)(len > 0 && name[len - 1] == '.' ? len - 1 : len), name);
}

static int put_name(char *out, const char *name)
{
    int len = 0;
    while (*name != '\0' && strcmp(name, ".") != 0) {
        size_t label = strcspn(name, ".");
        if (label == 0 || label > 63 || len + (int)label + 2 > 255)
            sim_fail("dns: no name: %s", name);
        out[len++] = (char)label;
        memcpy(out + len, name, label);
        len += (int)label;
        name += label + (name[label] == '.' ? 1 : 0);
    }
    out[len++] = '\0';
    return len;
}

static int put_text(char *out, const char *text)
{
    int len = 0;
    size_t left = strlen(text);
    do {
        size_t part = left < 255 ? left : 255;
        if (len + (int)part + 1 > RDATA_MAX)
            sim_fail("dns: a text is too long");
        out[len++] = (char)part;
        memcpy(out + len, text, part);
        len += (int)part;
        text += part;
        left -= part;
    } while (left > 0);
    return len;
}

static int put_hex(char *out, const char *hex)
{
    int len = 0;
    for (; hex[0] != '\0' && hex[1] != '\0' && len < RDATA_MAX; hex += 2) {
        char digits[3] = { hex[0], hex[1], '\0' };
        out[len++] = (char)strtoul(digits, NULL, 16);
    }
    return len;
}

static int put_rdata(int type, char *out, const char *data)
{
    char *rest;
    switch (type) {
    case TYPE_A:
        return inet_pton(AF_INET, data, out) == 1 ? 4 : -1;
    case TYPE_AAAA:
        return inet_pton(AF_INET6, data, out) == 1 ? 16 : -1;
    case TYPE_MX: {
        unsigned long preference = strtoul(data, &rest, 10);
        out[0] = (char)(preference >> 8);
        out[1] = (char)(preference & 0xff);
        return *rest == ' ' ? 2 + put_name(out + 2, rest + 1) : -1;
    }
    case TYPE_TXT:
        return put_text(out, data);
    case TYPE_TLSA:
        return put_hex(out, data);
    default:
        return put_name(out, data);
    }
}

void dns_set(const char *name, const char *type, const char *data)
{
    struct record *record = sim_new(sizeof(*record));
    set_name(record->name, name);
    record->type = type_of(type);
    record->len = put_rdata(record->type, record->data, data);
    if (record->len < 0)
        sim_fail("dns: not data of type %s: %s", type, data);
    list_append(&records, &record->all);
}

void dns_remove(const char *name, const char *type)
{
    char own[256];
    set_name(own, name);
    LIST_EACH(node, &records) {
        const struct record *record = LIST_ENTRY(node, struct record, all);
        if (record->type != type_of(type) || strcasecmp(record->name, own) != 0)
            continue;
        list_remove(node);
        sim_delete(node);
    }
}

void dns_set_mood(const char *name, enum dns_mood mood)
{
    struct zone *zone = NULL;
    char own[256];
    set_name(own, name);
    LIST_EACH(node, &zones)
        if (strcasecmp(LIST_ENTRY(node, struct zone, all)->name, own) == 0)
            zone = LIST_ENTRY(node, struct zone, all);
    if (zone == NULL) {
        zone = sim_new(sizeof(*zone));
        memcpy(zone->name, own, sizeof(own));
        list_append(&zones, &zone->all);
    }
    zone->mood = mood;
}

/* Of the closest zone: "" is the root. */
static enum dns_mood mood_of(const char *name)
{
    for (const char *at = name;; at++) {
        LIST_EACH(node, &zones)
            if (strcasecmp(LIST_ENTRY(node, struct zone, all)->name, at) == 0)
                return LIST_ENTRY(node, struct zone, all)->mood;
        if (*at == '\0')
            return DNS_WELL;
        at += strcspn(at, ".");
        if (*at == '\0')
            at--;
    }
}

/* ---- questions under way ----------------------------------------------------------------------------------------- */

struct question {
    struct list all;                    /* of the context */
    struct ub_ctx *context;
    struct ub_result result;            /* first of what is given out */
    char name[256], canonical[256];
    struct sim_event *event;            /* when the answer comes; NULL: it is there, or never comes */
    bool is_answered, is_given;
    ub_callback_type callback;
    void *arg;
    char *data[RECORDS_MAX + 1];
    int len[RECORDS_MAX + 1];
    char room[RECORDS_MAX * 64];
    size_t used;
};
struct ub_ctx {
    struct list questions;
    struct net_end *bell;               /* a byte in it: an answer is there */
    int fd;
    bool is_gone;
};

static void add_data(struct question *question, const char *data, int len)
{
    int count = 0;
    while (question->data[count] != NULL)
        count++;
    if (count == RECORDS_MAX || question->used + (size_t)len > sizeof(question->room))
        return;
    char *place = question->room + question->used;
    memcpy(place, data, (size_t)len);
    question->used += (size_t)len;
    question->data[count] = place;
    question->len[count] = len;
    question->result.havedata = 1;
}

static bool look_up(struct question *question, const char *name, int type)
{
    bool is_there = false;
    LIST_EACH(node, &records) {
        const struct record *record = LIST_ENTRY(node, struct record, all);
        if (strcasecmp(record->name, name) != 0)
            continue;
        is_there = true;
        if (record->type == type)
            add_data(question, record->data, record->len);
    }
    return is_there;
}

static void name_of_rdata(const char *data, char out[256])
{
    size_t len = 0;
    for (unsigned label; (label = (unsigned char)*data) != 0; data += label + 1) {
        if (len > 0)
            out[len++] = '.';
        memcpy(out + len, data + 1, label);
        len += label;
    }
    out[len] = '\0';
}

static const struct record *cname_of(const char *name)
{
    LIST_EACH(node, &records) {
        const struct record *record = LIST_ENTRY(node, struct record, all);
        if (record->type == TYPE_CNAME && strcasecmp(record->name, name) == 0)
            return record;
    }
    return NULL;
}

static void fail(struct question *question, int rcode)
{
    question->result.rcode = rcode;
    question->result.nxdomain = rcode == RCODE_NXDOMAIN;
}

static void answer_well(struct question *question)
{
    const struct record *cname;
    int type = question->result.qtype;
    set_name(question->canonical, question->name);
    if (strcasecmp(question->canonical, "localhost") == 0 && type == TYPE_A) {
        add_data(question, "\x7f\0\0\1", 4);
        return;
    }
    for (unsigned hops = 0; type != TYPE_CNAME && (cname = cname_of(question->canonical)) != NULL; hops++) {
        if (hops == CNAMES_MAX) {
            fail(question, RCODE_SERVFAIL);
            return;
        }
        name_of_rdata(cname->data, question->canonical);
    }
    if (!look_up(question, question->canonical, type))
        fail(question, RCODE_NXDOMAIN);
}

/* The data of some other name. */
static void answer_for_another(struct question *question)
{
    size_t count = 0, chosen;
    LIST_EACH(node, &records)
        count += LIST_ENTRY(node, struct record, all)->type == question->result.qtype;
    chosen = (size_t)sim_below(count);
    LIST_EACH(node, &records) {
        const struct record *record = LIST_ENTRY(node, struct record, all);
        if (record->type == question->result.qtype && chosen-- == 0)
            add_data(question, record->data, record->len);
    }
}

static void answer_lies(struct question *question)
{
    char noise[16];
    switch (sim_below(5)) {
    case 0:
        fail(question, RCODE_NXDOMAIN);
        break;
    case 1:
        break;                          /* the name is there, of another type */
    case 2:
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (char)sim_random();
        add_data(question, noise, 1 + (int)sim_below(sizeof(noise)));
        break;
    case 3:
        fail(question, RCODE_SERVFAIL); /* a loop of CNAMEs, as the library tells it */
        break;
    default:
        answer_for_another(question);
        break;
    }
}

/* Runs outside of any process. */
static void on_answer(void *arg)
{
    struct question *question = arg;
    char name[256];
    set_name(name, question->name);
    question->event = NULL;
    switch (strcasecmp(name, "localhost") == 0 ? DNS_WELL : mood_of(name)) {
    case DNS_WELL: answer_well(question); break;
    case DNS_LIES: answer_lies(question); break;
    case DNS_SERVFAIL:
    case DNS_SILENT: fail(question, RCODE_SERVFAIL); break;
    }
    question->is_answered = true;
    sim_trace("dns: %s type %d: %s", name, question->result.qtype,
              question->result.rcode != 0 ? "none" : question->result.havedata ? "data" : "no data");
    (void)net_write(question->context->bell, "!", 1);
    sim_wake(question->context);
}

static void schedule(struct question *question)
{
    char name[256];
    set_name(name, question->name);
    int64_t delay = delay_min_us + (int64_t)sim_below((uint64_t)(delay_max_us - delay_min_us) + 1);
    if (strcasecmp(name, "localhost") == 0)
        delay = 0;
    else if (mood_of(name) == DNS_SILENT && sim_chance(500000))
        return;
    else if (mood_of(name) == DNS_SILENT)
        delay = GIVES_UP_MIN_US + (int64_t)sim_below(GIVES_UP_MORE_US);
    question->event = sim_at(sim_now_us() + delay, on_answer, question);
}

static void free_question(struct question *question)
{
    if (question->event != NULL)
        sim_cancel(question->event);
    list_remove(&question->all);
    sim_delete(question);
}

/* ---- the library's functions ------------------------------------------------------------------------------------- */

static void forget_context(struct ub_ctx *context)
{
    while (!list_is_empty(&context->questions))
        free_question(LIST_ENTRY(context->questions.next, struct question, all));
    if (context->bell != NULL)
        sim_file_unref((struct sim_file *)context->bell);
    context->bell = NULL;
}

static void on_exit_of_process(void *arg)
{
    forget_context(arg);
    sim_delete(arg);
}

struct ub_ctx *ub_ctx_create(void)
{
    struct net_end *pair[2];
    (void)net_pair(pair);
    int fd = sim_fd_install((struct sim_file *)pair[0]);
    sim_file_unref((struct sim_file *)pair[0]);
    if (fd < 0) {
        sim_file_unref((struct sim_file *)pair[1]);
        return NULL;
    }
    struct ub_ctx *context = sim_new(sizeof(*context));
    list_init(&context->questions);
    context->bell = pair[1];
    context->fd = fd;
    sim_at_exit(sim_self(), on_exit_of_process, context);
    return context;
}

/* Its descriptor stays open: nobody deletes a context but at its process's end. */
void ub_ctx_delete(struct ub_ctx *context) { forget_context(context); }

int ub_ctx_debugout(struct ub_ctx *context, void *out) { return (void)context, (void)out, 0; }
int ub_ctx_set_option(struct ub_ctx *context, const char *name, const char *value) { return (void)context, (void)name, (void)value, 0; }
int ub_ctx_add_ta_file(struct ub_ctx *context, const char *path) { return (void)context, (void)path, 0; }
int ub_ctx_set_fwd(struct ub_ctx *context, const char *address) { return (void)context, (void)address, 0; }
int ub_ctx_zone_remove(struct ub_ctx *context, const char *zone) { return (void)context, (void)zone, 0; }
int ub_ctx_async(struct ub_ctx *context, int uses_thread) { return (void)context, (void)uses_thread, 0; }
int ub_fd(struct ub_ctx *context) { return context->fd; }
const char *ub_strerror(int error) { return error == 0 ? "no error" : "the resolver fails"; }

int ub_resolve_async(struct ub_ctx *context, const char *name, int type, int class, void *arg, ub_callback_type callback, int *number)
{
    struct question *question = sim_new(sizeof(*question));
    (void)snprintf(question->name, sizeof(question->name), "%s", name);
    question->context = context;
    question->callback = callback;
    question->arg = arg;
    question->result = (struct ub_result){
        .qname = question->name, .qtype = type, .qclass = class, .data = question->data, .len = question->len, .canonname = question->canonical, .ttl = TTL_S,
    };
    list_append(&context->questions, &question->all);
    if (number != NULL)
        *number = 0;
    schedule(question);
    return 0;
}

/* A callback may ask again or end its process. */
static bool give_one(struct ub_ctx *context)
{
    LIST_EACH(node, &context->questions) {
        struct question *question = LIST_ENTRY(node, struct question, all);
        if (!question->is_answered || question->is_given)
            continue;
        question->is_given = true;
        question->callback(question->arg, 0, &question->result);
        return true;
    }
    return false;
}

int ub_process(struct ub_ctx *context)
{
    char bytes[64];
    struct net_end *end = (struct net_end *)sim_fd(context->fd);
    while (end != NULL && net_read(end, bytes, sizeof(bytes), false) > 0)
        ;
    while (give_one(context))
        ;
    return 0;
}

static bool is_waiting(const struct ub_ctx *context)
{
    LIST_EACH(node, &context->questions)
        if (!LIST_ENTRY(node, struct question, all)->is_given)
            return true;
    return false;
}

int ub_wait(struct ub_ctx *context)
{
    while (is_waiting(context)) {
        (void)ub_process(context);
        if (is_waiting(context))
            (void)sim_wait(context, INT64_MAX);
    }
    return 0;
}

void ub_resolve_free(struct ub_result *result)
{
    if (result != NULL)
        free_question(LIST_ENTRY(result, struct question, result));
}
