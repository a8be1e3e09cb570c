/* The administrator's door for messages: what `thurn restore` brings back from a backup while the server runs.
 *
 *     append-mailbox  "account=ID", "mailbox=NAME", "subscribe": it is made when it is not there
 *     append          the same, "date=UNIX SECONDS", "zone=MINUTES", "flags=BITS", "keyword=NAME" (any number),
 *                     "data=BASE64", "more": pieces follow
 *     append-more     "data=BASE64", "more"
 *
 * Each is done when it is on stable storage (a piece that others follow: when it is taken). One message is on its way at a
 * time: a new one takes the place of one that was left unfinished. Quotas do not count here: the mail was there before. */
#include "role/post.h"

#include "base/text.h"
#include "role/control.h"

#include <stdlib.h>

enum { PIECE_MAX = 1 << 20 };

struct post_append {                    /* a message on its way */
    uint64_t account;
    char mailbox[MAILBOX_NAME_MAX + 1];
    struct mail_date date;
    uint32_t flags;
    struct slice keywords[KEYWORDS_MAX];
    size_t keyword_count;
    struct store_body *body;
    char *words;                        /* what the keywords point into */
};

struct arguments {
    struct post_append append;
    struct slice data;
    bool has_more, subscribes;
    struct fault fault;
};

static void append_free(struct post_append *append)
{
    if (append == NULL)
        return;
    store_body_abandon(append->body);
    free(append->words);
    free(append);
}

void post_append_forget(struct post *post)
{
    append_free(post->append);
    post->append = NULL;
}

/* ---- arguments ------------------------------------------------------------------------------------------------------ */

static bool take_number(struct slice text, int64_t *out)
{
    uint64_t value;
    bool is_negative = slice_take_byte(&text, '-');
    if (!slice_take_number(&text, INT64_MAX / 1000, &value) || text.len != 0)
        return false;
    *out = is_negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool take_argument(struct arguments *a, struct slice argument)
{
    struct post_append *append = &a->append;
    struct slice value = argument, name = slice_take_until(&value, '=');
    int64_t number = 0;
    if (slice_equal(name, SLICE("mailbox")))
        return value.len <= MAILBOX_NAME_MAX && slice_to_str(value, append->mailbox, sizeof(append->mailbox));
    if (slice_equal(name, SLICE("keyword"))) {
        if (append->keyword_count < KEYWORDS_MAX)
            append->keywords[append->keyword_count++] = value;
        return true;
    }
    if (slice_equal(name, SLICE("data")))
        a->data = value;
    else if (slice_equal(name, SLICE("more")))
        a->has_more = true;
    else if (slice_equal(name, SLICE("subscribe")))
        a->subscribes = true;
    else if (!take_number(value, &number))
        return false;
    if (slice_equal(name, SLICE("account")))
        append->account = (uint64_t)number;
    else if (slice_equal(name, SLICE("date")))
        append->date.unix_s = number;
    else if (slice_equal(name, SLICE("zone")))
        append->date.zone_min = (int16_t)number;
    else if (slice_equal(name, SLICE("flags")))
        append->flags = (uint32_t)number & FLAG_SYSTEM_MASK;
    return true;
}

/* The words are copied: keywords outlive the call when pieces follow. */
static bool take_arguments(struct arguments *a, struct slice text)
{
    a->append.words = malloc(text.len + 1);
    must(a->append.words != NULL);
    if (text.len > 0)
        memcpy(a->append.words, text.ptr, text.len);
    struct slice rest = { a->append.words, text.len };
    while (rest.len != 0)
        if (!take_argument(a, slice_take_until(&rest, '\0'))) {
            (void)fault_perm(&a->fault, 0, "an argument makes no sense");
            return false;
        }
    return true;
}

/* ---- done when durable ---------------------------------------------------------------------------------------------- */

struct appending {
    struct post_wait wait;
    struct control_call *call;
};

static void on_settled(struct post_wait *wait, enum rc rc)
{
    struct appending *appending = LIST_ENTRY(wait, struct appending, wait);
    struct fault fault = { .rc = RC_OK };
    if (rc != RC_OK)
        (void)fault_temp(&fault, ESC(4, 3, 0), "it could not be written");
    control_done(appending->call, &fault);
    free(appending);
}

static void done_when(struct post *post, struct control_call *call, uint64_t wait)
{
    struct appending *appending = calloc(1, sizeof(*appending));
    must(appending != NULL);
    appending->call = call;
    appending->wait.settled = on_settled;
    post_wait_add(post, &appending->wait, wait);
}

/* ---- the commands --------------------------------------------------------------------------------------------------- */

static enum rc make_mailbox(struct post *post, struct arguments *a, uint64_t *wait)
{
    struct store_mailbox_info info;
    struct slice name = slice_from_str(a->append.mailbox);
    enum rc rc = store_mailbox_find(post->store, a->append.account, name, &info);
    uint64_t subscribed = 0;
    *wait = 0;
    if (rc != RC_OK || info.is_noselect)
        rc = store_mailbox_create(post->store, a->append.account, name, SPECIAL_NONE, loop_time_ms(post->loop) / 1000, wait, &a->fault);
    if (rc == RC_OK && a->subscribes)
        rc = store_subscribe(post->store, a->append.account, name, true, &subscribed, &a->fault);
    *wait = subscribed > *wait ? subscribed : *wait;
    return rc;
}

static enum rc write_data(struct store_body *body, struct slice data, struct fault *fault)
{
    struct buf bytes;
    buf_init(&bytes, PIECE_MAX);
    enum rc rc = base64_decode(data, &bytes);
    if (rc == RC_OK)
        rc = store_body_write(body, buf_slice(&bytes), fault);
    else
        (void)fault_perm(fault, 0, "the data is not base64");
    buf_free(&bytes);
    return rc;
}

static uint64_t keyword_bits(struct post *post, uint64_t mailbox_id, const struct post_append *append)
{
    uint64_t bits = 0, wait;
    for (size_t i = 0; i < append->keyword_count; i++) {
        uint32_t bit;
        if (store_keyword(post->store, mailbox_id, append->keywords[i], true, &bit, &wait, NULL) == RC_OK)
            bits |= UINT64_C(1) << bit;
    }
    return bits;
}

static enum rc finish(struct post *post, struct post_append *append, uint64_t *wait, struct fault *fault)
{
    struct store_mailbox_info info;
    uint32_t uid;
    if (store_mailbox_find(post->store, append->account, slice_from_str(append->mailbox), &info) != RC_OK || info.is_noselect)
        return fault_none(fault, "there is no such mailbox");
    if (!store_has_room(post->store, store_body_size(append->body), fault))
        return RC_TEMP;
    struct store_body *body = append->body;
    append->body = NULL;                /* consumed, whatever comes of it */
    return store_append(post->store, info.id, body, append->date, append->flags, keyword_bits(post, info.id, append), &uid, wait, fault);
}

/* Writes what came; when that was all: hands the message over. */
static void go_on(struct post *post, struct control_call *call, struct arguments *a)
{
    uint64_t wait = 0;
    enum rc rc = write_data(post->append->body, a->data, &a->fault);
    if (rc == RC_OK && a->has_more) {
        a->fault.rc = RC_OK;
        control_done(call, &a->fault);
        return;
    }
    if (rc == RC_OK)
        rc = finish(post, post->append, &wait, &a->fault);
    post_append_forget(post);
    if (rc == RC_OK)
        done_when(post, call, wait);
    else
        control_done(call, &a->fault);
}

static void begin(struct post *post, struct control_call *call, struct arguments *a)
{
    post_append_forget(post);
    post->append = calloc(1, sizeof(*post->append));
    must(post->append != NULL);
    *post->append = a->append;
    a->append.words = NULL;
    post->append->body = store_body_begin(post->store);
    must(post->append->body != NULL);
    go_on(post, call, a);
}

static void make(struct post *post, struct control_call *call, struct arguments *a)
{
    uint64_t wait;
    if (make_mailbox(post, a, &wait) == RC_OK)
        done_when(post, call, wait);
    else
        control_done(call, &a->fault);
}

bool post_append_command(struct post *post, struct control_call *call, struct slice command, struct slice text)
{
    static const char *const names[] = { "append-mailbox", "append", "append-more" };
    size_t which = 0;
    while (which < sizeof(names) / sizeof(names[0]) && !slice_equal(command, slice_from_str(names[which])))
        which++;
    if (which == sizeof(names) / sizeof(names[0]))
        return false;
    struct arguments *a = calloc(1, sizeof(*a));
    must(a != NULL);
    bool ok = take_arguments(a, text);
    if (ok && !store_account_exists(post->store, a->append.account))
        ok = fault_none(&a->fault, "this account has no mailboxes") == RC_OK;
    if (ok && which == 2 && post->append == NULL)
        ok = fault_perm(&a->fault, 0, "another message came between") == RC_OK;
    if (!ok)
        control_done(call, &a->fault);
    else if (which == 0)
        make(post, call, a);
    else if (which == 1)
        begin(post, call, a);
    else
        go_on(post, call, a);
    free(a->append.words);
    free(a);
    return true;
}
