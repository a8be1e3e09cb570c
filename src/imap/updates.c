/* What has changed in the selected mailbox, told at the end of commands and during IDLE (RFC 3501 5.2, 7.3, 7.4). */
#include "imap/inner.h"

struct news {
    struct imap_session *session;
    struct uid_set flagged, vanished;
    bool has_keywords, is_gone;
};

static void report(void *arg, const struct store_change *change)
{
    struct news *news = arg;
    switch (change->kind) {
    case CHANGE_EXPUNGED:
        if (!news->session->is_qresync)
            imap_say(news->session, "* %" PRIu32 " EXPUNGE\r\n", change->seq);
        else if (!uid_set_add(&news->vanished, change->uid, change->uid))
            imap_bye(news->session, "out of memory");
        news->session->selected.told_count--;
        break;
    case CHANGE_FLAGS:
        (void)uid_set_add(&news->flagged, change->uid, change->uid);
        break;
    case CHANGE_APPEARED:
        break;                                  /* the counts say it */
    case CHANGE_KEYWORDS:
        news->has_keywords = true;
        break;
    case CHANGE_GONE:
        news->is_gone = true;
        break;
    }
}

/* ---- keywords ------------------------------------------------------------------------------------------------------ */

static bool load_keywords(struct imap_session *s)
{
    struct imap_selected *selected = &s->selected;
    struct store_mailbox_info info;
    if (store_mailbox_by_id(s->options.store, selected->mailbox_id, &info) != RC_OK)
        return false;
    uint64_t known = 0;
    arena_rewind(&selected->keyword_arena);
    for (size_t i = 0; i < KEYWORDS_MAX; i++) {
        selected->keywords[i] = i < info.keyword_count ? arena_copy(&selected->keyword_arena, info.keywords[i]) : SLICE_NONE;
        if (selected->keywords[i].len > 0)
            known |= 1ull << i;
    }
    bool is_new = known != selected->told_keywords;
    selected->told_keywords = known;
    return is_new;
}

static void say_keywords(struct imap_session *s)
{
    for (size_t i = 0; i < KEYWORDS_MAX; i++) {
        if (s->selected.keywords[i].len == 0)
            continue;
        (void)buf_append_byte(&s->text, ' ');
        (void)buf_append(&s->text, s->selected.keywords[i]);
    }
}

void imap_say_flags(struct imap_session *s)
{
    (void)load_keywords(s);
    imap_say(s, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft");
    say_keywords(s);
    imap_say(s, ")\r\n");
    if (s->selected.is_read_only) {
        imap_say(s, "* OK [PERMANENTFLAGS ()] read-only\r\n");
        return;
    }
    imap_say(s, "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft");
    say_keywords(s);
    imap_say(s, s->selected.told_keywords == UINT64_MAX ? ")] flags\r\n" : " \\*)] flags\r\n");
}

void imap_learn_keywords(struct imap_session *s, uint64_t bits)
{
    if ((bits & ~s->selected.told_keywords) != 0 && load_keywords(s))
        imap_say_flags(s);
}

void imap_write_flags(struct imap_session *s, const struct store_message *message)
{
    const char *separator = "";
    (void)buf_append_str(&s->text, "FLAGS (");
    (void)imap_write_system_flags(&s->text, message->flags, &separator);
    if (!s->is_rev2 && message->uid >= store_view_recent_uid(s->selected.view)) {
        (void)buf_append_str(&s->text, separator);
        (void)buf_append_str(&s->text, "\\Recent");
        separator = " ";
    }
    for (size_t i = 0; i < KEYWORDS_MAX; i++) {
        if ((message->keywords >> i & 1) == 0 || s->selected.keywords[i].len == 0)
            continue;
        (void)buf_append_str(&s->text, separator);
        (void)buf_append(&s->text, s->selected.keywords[i]);
        separator = " ";
    }
    (void)buf_append_byte(&s->text, ')');
}

/* ---- the report -------------------------------------------------------------------------------------------------------- */

static void say_changed_flags(struct imap_session *s, const struct uid_set *flagged)
{
    struct store_view *view = s->selected.view;
    for (size_t i = 0; i < flagged->count; i++) {
        uint32_t end = store_view_count(view);
        for (uint32_t seq = store_view_seq(view, flagged->ranges[i].first); seq <= end; seq++) {
            struct store_message message;
            store_view_at(view, seq, &message);
            if (message.uid > flagged->ranges[i].last)
                break;
            imap_learn_keywords(s, message.keywords);
            imap_say(s, "* %" PRIu32 " FETCH (UID %" PRIu32 " ", seq, message.uid);
            imap_write_flags(s, &message);
            if (s->is_condstore)
                imap_say(s, " MODSEQ (%" PRIu64 ")", message.modseq);
            imap_say(s, ")\r\n");
        }
    }
}

/* RECENT goes with EXISTS (RFC 3501 7.3.2), also after expunges have lowered it. */
static void say_counts(struct imap_session *s)
{
    struct imap_selected *selected = &s->selected;
    uint32_t count = store_view_count(selected->view), recent = store_view_recent_count(selected->view);
    if (count != selected->told_count)
        imap_say(s, "* %" PRIu32 " EXISTS\r\n", count);
    if (!s->is_rev2 && (count != selected->told_count || recent != selected->told_recent))
        imap_say(s, "* %" PRIu32 " RECENT\r\n", recent);
    selected->told_count = count;
    selected->told_recent = recent;
}

void imap_own_change(struct imap_session *s, uint64_t modseq, bool is_silent)
{
    if (modseq != 0 && (!is_silent || modseq == s->selected.told_modseq + 1))
        store_view_own_change(s->selected.view, modseq);
}

static void tell_news(struct imap_session *s, bool expunges_allowed)
{
    struct news news = { .session = s };
    uid_set_init(&news.flagged);
    uid_set_init(&news.vanished);
    store_view_sync(s->selected.view, expunges_allowed, report, &news);
    if (news.is_gone) {
        imap_bye(s, "the selected mailbox was deleted");
    } else {
        if (news.has_keywords && load_keywords(s))
            imap_say_flags(s);
        imap_say_vanished(s, &news.vanished);
        say_counts(s);
        say_changed_flags(s, &news.flagged);
    }
    uid_set_free(&news.flagged);
    uid_set_free(&news.vanished);
}

void imap_updates(struct imap_session *s, bool expunges_allowed)
{
    struct store_mailbox_info info;
    if (s->selected.view == NULL)
        return;
    if (store_view_has_news(s->selected.view))
        tell_news(s, expunges_allowed);
    if (store_mailbox_by_id(s->options.store, s->selected.mailbox_id, &info) == RC_OK)
        s->selected.told_modseq = info.highest_modseq;
}
