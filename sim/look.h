/* Looking at mailboxes by IMAP: shared by readers (reader.c) and the end. Each says false when it was not shown everything; what was
 * shown and is not so ends the run. */
#ifndef THURN_SIM_LOOK_H
#define THURN_SIM_LOOK_H

#include "sim/room.h"

void look_wrong(struct imap *);                 /* ends the run when the server has said something impossible */
struct imap_message *look_messages(const struct imap_view *);   /* a copy: the view changes with each answer; the caller frees */
bool look_hold(struct imap *, struct truth_listing *, const struct imap_message *, size_t count);
bool look_view(struct imap *, struct truth_mailbox *, uint64_t since, bool told_all);
bool look_select(struct imap *, struct truth_mailbox *, bool read_only);
/* As one who knows what look_remember kept, if anything. */
bool look_again(struct reader *, struct imap *, struct truth_mailbox *);
void look_remember(struct reader *, const struct truth_mailbox *, const struct imap_view *);
bool look_names(struct imap *, struct truth_account *, struct truth *);

#endif
