/* Sessions of one mailbox against a naive model: random changes, each session keeps what it was told and nothing else. */
#include "support.h"

enum { SESSIONS = 5, MODEL_MAX = 40000 };

struct known {
    uint32_t uid;
    uint16_t flags;
    uint64_t keywords;
};

struct session {
    struct store_view *view;
    struct known *messages;         /* what the client knows, by sequence number */
    uint32_t count;
    bool is_read_only;
    uint32_t reported;              /* changes in the last sync */
    uint32_t pokes;
};

struct model {
    struct store *store;
    uint64_t mailbox;
    struct known *messages;
    uint32_t count;
    uint32_t uidnext;
    struct session sessions[SESSIONS];
    uint64_t random;
};

static uint32_t draw(struct model *m, uint32_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return below == 0 ? 0 : (uint32_t)(m->random >> 16) % below;
}

/* ---- the client's side ---- */

static void learn(struct session *s, uint32_t seq)
{
    struct store_message row;
    store_view_at(s->view, seq, &row);
    s->messages[seq - 1] = (struct known){ row.uid, row.flags, row.keywords };
}

static void on_change(void *arg, const struct store_change *c)
{
    struct session *s = arg;
    s->reported++;
    switch (c->kind) {
    case CHANGE_EXPUNGED:
        CHECK(c->seq >= 1 && c->seq <= s->count);
        CHECK_INT(s->messages[c->seq - 1].uid, c->uid);
        memmove(s->messages + c->seq - 1, s->messages + c->seq, (s->count - c->seq) * sizeof *s->messages);
        s->count--;
        break;
    case CHANGE_FLAGS:
        CHECK(c->seq >= 1 && c->seq <= s->count);
        CHECK_INT(s->messages[c->seq - 1].uid, c->uid);
        learn(s, c->seq);
        break;
    case CHANGE_APPEARED:
        CHECK(c->seq > s->count);
        for (uint32_t seq = s->count + 1; seq <= c->seq; seq++)
            learn(s, seq);
        s->count = c->seq;
        break;
    case CHANGE_KEYWORDS:
    case CHANGE_GONE:
        break;
    }
}

static void on_poke(void *arg) { ((struct session *)arg)->pokes++; }

static void open_session(struct model *m, struct session *s)
{
    s->is_read_only = draw(m, 2) == 0;
    CHECK_INT(store_view_open(m->store, m->mailbox, s->is_read_only, &s->view, NULL), RC_OK);
    store_view_watch(s->view, on_poke, s);
    s->count = store_view_count(s->view);
    CHECK_INT(s->count, m->count);
    for (uint32_t seq = 1; seq <= s->count; seq++)
        learn(s, seq);
}

/* The numbering is what the client believes; what it has not been told does not shift anything. */
static void check_numbering(struct model *m, struct session *s)
{
    CHECK_INT(store_view_count(s->view), s->count);
    for (int i = 0; i < 8 && s->count > 0; i++) {
        uint32_t seq = 1 + draw(m, s->count);
        struct store_message row;
        store_view_at(s->view, seq, &row);
        CHECK_INT(row.uid, s->messages[seq - 1].uid);
        CHECK_INT(store_view_seq(s->view, row.uid), seq);
        char text[32], bytes[32] = { 0 };
        snprintf(text, sizeof text, "message %u", row.uid);
        CHECK_INT(store_read(m->store, row.body_id, 0, row.size, bytes, NULL), RC_OK);      /* gone or not (S5) */
    }
    CHECK_INT(store_view_seq(s->view, UINT32_MAX), s->count + 1);
}

static void sync_session(struct model *m, struct session *s, bool expunges)
{
    bool had_news = store_view_has_news(s->view);
    s->reported = 0;
    store_view_sync(s->view, expunges, on_change, s);
    CHECK(had_news || s->reported == 0);
    check_numbering(m, s);
    if (!expunges)
        return;
    CHECK(!store_view_has_news(s->view));
    CHECK_INT(s->count, m->count);
    for (uint32_t i = 0; i < m->count && i < s->count; i++)
        if (m->messages[i].uid != s->messages[i].uid || m->messages[i].flags != s->messages[i].flags
            || m->messages[i].keywords != s->messages[i].keywords) {
            fprintf(stderr, "message %u: uid %u/%u flags %u/%u\n", i + 1, s->messages[i].uid, m->messages[i].uid, s->messages[i].flags, m->messages[i].flags);
            CHECK(false);
            break;
        }
}

/* ---- changes ---- */

static void append_some(struct model *m, uint32_t count)
{
    uint64_t wait = 0;
    for (uint32_t i = 0; i < count && m->count < MODEL_MAX; i++) {
        char text[32];
        uint32_t uid, flags = draw(m, 32);
        struct slice body = { text, (size_t)snprintf(text, sizeof text, "message %u", m->uidnext) };
        CHECK_INT(store_append(m->store, m->mailbox, body_of(m->store, body), (struct mail_date){ 1, 0 }, flags, 3, &uid, &wait, NULL), RC_OK);
        CHECK_INT(uid, m->uidnext);
        m->messages[m->count++] = (struct known){ uid, (uint16_t)flags, 3 };
        m->uidnext++;
    }
    CHECK_INT(store_wait(m->store, wait), RC_OK);
}

static struct uid_set random_set(struct model *m)
{
    struct uid_set set;
    uid_set_init(&set);
    for (uint32_t ranges = 1 + draw(m, 4); ranges > 0; ranges--) {
        uint32_t first = 1 + draw(m, m->uidnext + 3), len = draw(m, 3) == 0 ? draw(m, 3000) : draw(m, 4);
        uid_set_add(&set, first, first + len);
    }
    return set;
}

static void change_flags(struct model *m)
{
    struct uid_set set = random_set(m);
    enum store_flag_op op = (enum store_flag_op)draw(m, 3);
    uint16_t flags = (uint16_t)draw(m, 32);
    uint64_t keywords = draw(m, 4), modseq, wait;
    struct session *own = draw(m, 2) == 0 ? &m->sessions[draw(m, SESSIONS)] : NULL;
    CHECK_INT(store_flags(m->store, m->mailbox, &set, op, flags, keywords, UINT64_MAX, NULL, &modseq, &wait, NULL), RC_OK);
    bool is_changed = false;
    for (uint32_t i = 0; i < m->count; i++) {
        struct known *k = &m->messages[i], old = *k;
        if (!uid_set_contains(&set, k->uid))
            continue;
        k->flags = op == FLAGS_REPLACE ? flags : op == FLAGS_ADD ? k->flags | flags : k->flags & (uint16_t)~flags;
        k->keywords = op == FLAGS_REPLACE ? keywords : op == FLAGS_ADD ? k->keywords | keywords : k->keywords & ~keywords;
        is_changed = is_changed || k->flags != old.flags || k->keywords != old.keywords;
    }
    CHECK_INT(modseq != 0, is_changed);
    if (own != NULL)
        store_view_own_change(own->view, modseq);
    CHECK_INT(store_wait(m->store, wait), RC_OK);
    for (uint32_t i = 0; own != NULL && i < own->count; i++)        /* the session answers itself */
        if (uid_set_contains(&set, own->messages[i].uid))
            learn(own, i + 1);
    uid_set_free(&set);
}

static void expunge_some(struct model *m)
{
    struct uid_set set = random_set(m), gone;
    bool any = draw(m, 2) == 0;
    uint64_t wait;
    uid_set_init(&gone);
    CHECK_INT(store_expunge(m->store, m->mailbox, &set, any, &gone, &wait, NULL), RC_OK);
    uint32_t kept = 0;
    uint64_t expunged = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        bool goes = uid_set_contains(&set, m->messages[i].uid) && (any || (m->messages[i].flags & FLAG_DELETED) != 0);
        CHECK(uid_set_contains(&gone, m->messages[i].uid) == goes);
        expunged += goes;
        if (!goes)
            m->messages[kept++] = m->messages[i];
    }
    CHECK_INT(uid_set_size(&gone), expunged);
    m->count = kept;
    CHECK_INT(store_wait(m->store, wait), RC_OK);
    uid_set_free(&set);
    uid_set_free(&gone);
}

static void check_info(const struct model *m)
{
    struct store_mailbox_info info;
    CHECK_INT(store_mailbox_by_id(m->store, m->mailbox, &info), RC_OK);
    uint32_t unseen = 0, first = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        bool is_unseen = (m->messages[i].flags & FLAG_SEEN) == 0;
        unseen += is_unseen;
        first = first == 0 && is_unseen ? i + 1 : first;
    }
    CHECK_INT(info.messages, m->count);
    CHECK_INT(info.uidnext, m->uidnext);
    CHECK_INT(info.unseen, unseen);
    CHECK_INT(info.first_unseen_seq, first);
}

static void one_round(struct model *m)
{
    struct session *s = &m->sessions[draw(m, SESSIONS)];
    switch (draw(m, 12)) {
    case 0: append_some(m, 1 + draw(m, 30)); break;
    case 1: append_some(m, draw(m, 8) == 0 ? 1500 : 1); break;
    case 2: case 3: case 4: change_flags(m); break;
    case 5: expunge_some(m); break;
    case 6: case 7: sync_session(m, s, true); break;
    case 8: case 9: sync_session(m, s, false); break;
    case 10: check_numbering(m, s); break;
    default:
        if (draw(m, 4) == 0) {
            store_view_close(s->view);
            open_session(m, s);
        }
    }
}

static void run(uint64_t seed, unsigned rounds)
{
    char dir[64], sentence[64];
    snprintf(sentence, sizeof sentence, "random sessions, seed %llu", (unsigned long long)seed);
    CASE(sentence);
    temporary_folder(dir);
    struct model *m = calloc(1, sizeof *m);
    *m = (struct model){ .random = seed * 7919 + 1, .uidnext = 1, .messages = calloc(MODEL_MAX, sizeof *m->messages) };
    m->store = open_store(dir, 1 << 20, (struct store_rider){ 0 });
    make_account(m->store, 1);
    m->mailbox = mailbox_id(m->store, 1, "INBOX");
    append_some(m, 3000);
    for (int i = 0; i < SESSIONS; i++) {
        m->sessions[i].messages = calloc(MODEL_MAX, sizeof *m->messages);
        open_session(m, &m->sessions[i]);
    }
    int64_t now = 1;
    for (unsigned i = 0; i < rounds && check_failed == 0; i++) {
        one_round(m);
        if (i % 20 == 0)
            check_info(m);
        store_poll(m->store, now += 5000);      /* a checkpoint every dozen rounds */
    }
    for (int i = 0; i < SESSIONS; i++) {
        sync_session(m, &m->sessions[i], true);
        CHECK(m->sessions[i].pokes > 0);
        store_view_close(m->sessions[i].view);
    }
    store_close(m->store);
    m->store = open_store(dir, 0, (struct store_rider){ 0 });
    check_info(m);
    struct store_figures figures;
    store_figures(m->store, &figures);
    CHECK_INT(figures.messages, m->count);
    CHECK_INT(figures.bodies, m->count);
    open_session(m, &m->sessions[0]);
    sync_session(m, &m->sessions[0], true);
    store_view_close(m->sessions[0].view);
    store_close(m->store);
    for (int i = 0; i < SESSIONS; i++)
        free(m->sessions[i].messages);
    free(m->messages);
    free(m);
    remove_folder(dir);
}

int main(int argc, char **argv)
{
    unsigned seeds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
    for (uint64_t seed = 1; seed <= seeds && check_failed == 0; seed++)
        run(seed, 400);
    return check_done();
}
