/* Two IMAP sessions of one account in the hands of a hostile client, on a real store in memory-backed files.
 *
 * The first byte chooses how the rest is cut up; 0xFE in the input switches between the sessions. The account is new for
 * every input; the store itself is made anew every so many. What is said must be grammatical, whatever was asked. */
#include "fuzz.h"

#include "imap/session.h"
#include "imap_output.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ACCOUNTS_PER_STORE = 2000, SAID_MAX = 64 * 1024 * 1024, STEPS_MAX = 1000000 };

static const struct mail_date now = { 1795330048, 60 };

struct place {
    struct store *store;
    char dir[64];
    uint64_t accounts;
};

struct connection {
    struct imap_session *session;
    struct buf in, said;
    bool is_over;
};

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static struct place place;      /* the store alone outlives a call */

static void close_place(void)
{
    if (place.store == NULL)
        return;
    store_close(place.store);
    nftw(place.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    place.store = NULL;
}

static void open_place(void)
{
    static bool is_registered;
    if (place.store != NULL && place.accounts < ACCOUNTS_PER_STORE)
        return;
    close_place();
    if (!is_registered)
        atexit(close_place);
    is_registered = true;
    (void)snprintf(place.dir, sizeof(place.dir), "%s/thurn-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    must(mkdtemp(place.dir) != NULL);
    struct store_options options = { .dir = place.dir, .files = &file_ops_real, .segment_bytes = 1024 * 1024 };
    must(store_open(&options, &place.store, NULL) == RC_OK);
    place.accounts = 0;
}

static const struct slice messages[] = {
    SLICE_INIT("From: A <a@example.org>, g: b@c;\r\nSubject: =?utf-8?Q?=C3=BC?=\r\nDate: Sun, 22 Nov 2026 06:47:28 +0000\r\n\r\none\r\n"),
    SLICE_INIT("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: \"\\\r\n\r\n"
               "y\r\n--b\r\nContent-Type: text/html; charset=\"a\\\"b\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"),
    SLICE_INIT("\xff\x00\r: \n\n"),
};

static void fill(uint64_t account)
{
    struct store_mailbox_info info;
    uint64_t wait;
    uint32_t uid;
    must(store_account_create(place.store, account, 1, &wait, NULL) == RC_OK && store_wait(place.store, wait) == RC_OK);
    must(store_mailbox_find(place.store, account, SLICE("INBOX"), &info) == RC_OK);
    uint64_t inbox = info.id;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct store_body *body = store_body_begin(place.store);
        must(body != NULL && store_body_write(body, messages[i], NULL) == RC_OK);
        must(store_append(place.store, inbox, body, now, 0, 0, &uid, &wait, NULL) == RC_OK);
    }
    must(store_wait(place.store, wait) == RC_OK);
}

static void open_connection(struct connection *c, uint64_t account)
{
    struct imap_session_options options = { .store = place.store, .account = account, .host_name = SLICE("imap.example.org"),
                                            .append_max = 100000, .tag = SLICE("in") };
    c->session = imap_session_new(&options);
    must(c->session != NULL);
    buf_init(&c->in, SIZE_MAX / 2);
    buf_init(&c->said, SAID_MAX);
}

static void feed(struct connection *c, struct slice bytes)
{
    must(buf_append(&c->in, bytes));
    for (unsigned steps = 0; !c->is_over; steps++) {
        must(steps < STEPS_MAX);
        struct slice in = buf_slice(&c->in);
        size_t before = in.len;
        enum want want = imap_session_step(c->session, &in, now);
        buf_consume(&c->in, before - in.len);
        struct buf *out = imap_session_output(c->session);
        must(!out->overflow && buf_len(out) <= IMAP_OUTPUT_MAX);
        (void)buf_append(&c->said, buf_slice(out));
        buf_consume(out, buf_len(out));
        if (want == WANT_ANSWER)
            imap_session_answer(c->session, store_wait(place.store, imap_session_wait(c->session)));
        else if (want == WANT_INPUT)
            break;
        else if (want == WANT_CLOSE)
            c->is_over = true;
        else
            must(want == WANT_FLUSH);
    }
}

static void close_connection(struct connection *c)
{
    if (!c->said.overflow)
        imap_output_check(buf_slice(&c->said), c->is_over);
    imap_session_free(c->session);
    buf_free(&c->in);
    buf_free(&c->said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    open_place();
    uint64_t account = ++place.accounts, wait;
    struct connection connections[2] = { { .session = NULL } };
    fill(account);
    open_connection(&connections[0], account);
    open_connection(&connections[1], account);
    size_t chunk = data[0] == 0 ? size : data[0], who = 0;
    struct slice rest = { (const char *)data + 1, size - 1 };
    while (rest.len > 0) {
        struct slice mine = slice_sub(rest, 0, slice_find_byte(slice_sub(rest, 0, chunk), '\xfe'));
        feed(&connections[who], mine);
        (void)slice_take(&rest, mine.len);
        if (rest.len > 0 && rest.ptr[0] == '\xfe') {
            (void)slice_take(&rest, 1);
            who = 1 - who;
        }
        (void)store_poll(place.store, now.unix_s * 1000);
    }
    close_connection(&connections[0]);
    close_connection(&connections[1]);
    must(store_account_delete(place.store, account, &wait, NULL) == RC_OK && store_wait(place.store, wait) == RC_OK);
    return 0;
}
