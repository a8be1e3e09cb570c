/* Choosing a mailbox and learning what is in it: all of it, or what changed since (RFC 7162). See client.h. */
#include "sim/client_imap.h"

#include <stdio.h>
#include <stdlib.h>

/* What a server that expunges during SELECT's own answer would have to be told about is new each time. */
static void begin_view(struct imap *imap, const char *mailbox, bool read_only)
{
    struct imap_message *messages = imap->view.messages;
    imap->view = (struct imap_view){ .is_read_only = read_only, .messages = messages };
    (void)snprintf(imap->view.name, sizeof(imap->view.name), "%s", mailbox);
    imap->has_view = false;
}

static enum client_result entered(struct imap *imap, enum imap_end end)
{
    imap->has_view = end == IMAP_OK;
    if (end == IMAP_OK && (imap->view.uid_validity == 0 || imap->view.uid_next == 0))
        imap_is_wrong(imap, "SELECT told no UIDVALIDITY or UIDNEXT");
    return imap_judge(imap, end);
}

enum client_result imap_enter(struct imap *imap, const char *mailbox, bool read_only)
{
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    begin_view(imap, mailbox, read_only);
    return entered(imap, imap_ask(imap, "%s %s%s", read_only ? "EXAMINE" : "SELECT", imap_quote(mailbox), imap_can(imap, "CONDSTORE") ? " (CONDSTORE)" : ""));
}

static bool is_whole(struct imap *imap)
{
    for (size_t i = 0; i < imap->view.count; i++)
        if (imap->view.messages[i].uid == 0)
            return false;
    return true;
}

enum client_result imap_fill(struct imap *imap)
{
    if (!imap_is_alive(imap) || !imap->has_view)
        return CLIENT_UNSENT;
    if (imap->view.count == 0)
        return imap_noop(imap);
    size_t before = imap->view.count;
    enum client_result result = imap_judge(imap, imap_ask(imap, "FETCH 1:%zu (UID FLAGS%s)", before, imap_can(imap, "CONDSTORE") ? " MODSEQ" : ""));
    if (result == CLIENT_DONE && imap->view.count == before && !is_whole(imap))
        imap_is_wrong(imap, "FETCH 1:%zu left some out", before);
    return result == CLIENT_DONE && imap->view.count > before ? imap_noop(imap) : result;
}

enum client_result imap_select(struct imap *imap, const char *mailbox, bool read_only)
{
    enum client_result result = imap_enter(imap, mailbox, read_only);
    return result == CLIENT_DONE ? imap_fill(imap) : result;
}

enum client_result imap_unselect(struct imap *imap)
{
    if (!imap_is_alive(imap) || !imap->has_view)
        return CLIENT_UNSENT;
    imap->has_view = false;
    if (imap_can(imap, "UNSELECT"))
        return imap_judge(imap, imap_ask(imap, "UNSELECT"));
    enum imap_end end = imap_ask(imap, "EXAMINE \"no such mailbox\"");
    return end == IMAP_LOST ? CLIENT_UNKNOWN : CLIENT_DONE;
}

/* ---- who was away ------------------------------------------------------------------------------------------------ */

enum client_result imap_changed(struct imap *imap, uint64_t since, struct imap_changes *changes)
{
    *changes = (struct imap_changes){ NULL, 0 };
    if (!imap_is_alive(imap) || !imap->has_view)
        return CLIENT_UNSENT;
    if (!imap_can(imap, "CONDSTORE"))
        return CLIENT_REFUSED;
    if (imap->view.count == 0)
        return CLIENT_DONE;
    enum imap_end end = imap_ask(imap, "FETCH 1:* (UID FLAGS) (CHANGEDSINCE %llu)", (unsigned long long)since);
    *changes = (struct imap_changes){ imap->changed, imap->changed_count };
    return imap_judge(imap, end);
}

enum client_result imap_enter_again(struct imap *imap, const char *mailbox, bool read_only, uint32_t uid_validity, uint64_t since,
                                    struct imap_changes *changes, struct imap_vanished *vanished)
{
    *changes = (struct imap_changes){ NULL, 0 };
    *vanished = (struct imap_vanished){ NULL, NULL, 0 };
    if (!imap_is_alive(imap))
        return CLIENT_UNSENT;
    if (!imap_can(imap, "QRESYNC"))
        return CLIENT_REFUSED;
    enum imap_end end = imap_ask(imap, "ENABLE QRESYNC");
    if (end != IMAP_OK)
        return imap_judge(imap, end);
    begin_view(imap, mailbox, read_only);
    end = imap_ask(imap, "%s %s (QRESYNC (%u %llu))", read_only ? "EXAMINE" : "SELECT", imap_quote(mailbox), uid_validity, (unsigned long long)since);
    *changes = (struct imap_changes){ imap->changed, imap->changed_count };
    *vanished = (struct imap_vanished){ imap->gone_from.list, imap->gone_to.list, imap->gone_from.count };
    return entered(imap, end);
}
