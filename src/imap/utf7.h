/* Mailbox names on the wire: they are also file names of Maildir++, so the codec stands in mail/. */
#ifndef THURN_IMAP_UTF7_H
#define THURN_IMAP_UTF7_H

#include "mail/utf7.h"

#endif
