/* Capabilities: see capability.h. */
#include "imap/capability.h"

#include "imap/inner.h"

static const struct {
    const char *name;
    unsigned when;
} capabilities[] = {
    { "IMAP4rev1", IMAP_BEFORE_LOGIN | IMAP_AFTER_LOGIN },          /* RFC 3501 */
    { "IMAP4rev2", IMAP_BEFORE_LOGIN | IMAP_AFTER_LOGIN },          /* RFC 9051 */
    { "LITERAL+", IMAP_BEFORE_LOGIN | IMAP_AFTER_LOGIN },           /* RFC 7888 */
    { "SASL-IR", IMAP_BEFORE_LOGIN },                               /* RFC 4959 */
    { "ID", IMAP_BEFORE_LOGIN | IMAP_AFTER_LOGIN },                 /* RFC 2971 */
    /* Allowed after login only, but said before: Python's imaplib and others never ask again and go by the greeting. */
    { "ENABLE", IMAP_BEFORE_LOGIN | IMAP_AFTER_LOGIN },             /* RFC 5161 */
    { "IDLE", IMAP_BEFORE_LOGIN | IMAP_AFTER_LOGIN },               /* RFC 2177 */
    { "NAMESPACE", IMAP_AFTER_LOGIN },                              /* RFC 2342 */
    { "CHILDREN", IMAP_AFTER_LOGIN },                               /* RFC 3348 */
    { "SPECIAL-USE", IMAP_AFTER_LOGIN },                            /* RFC 6154 */
    { "CREATE-SPECIAL-USE", IMAP_AFTER_LOGIN },                     /* RFC 6154 */
    { "LIST-EXTENDED", IMAP_AFTER_LOGIN },                          /* RFC 5258 */
    { "LIST-STATUS", IMAP_AFTER_LOGIN },                            /* RFC 5819 */
    { "STATUS=SIZE", IMAP_AFTER_LOGIN },                            /* RFC 8438 */
    { "OBJECTID", IMAP_AFTER_LOGIN },                               /* RFC 8474 */
    { "BINARY", IMAP_AFTER_LOGIN },                                 /* RFC 3516 */
    { "UTF8=ACCEPT", IMAP_AFTER_LOGIN },                            /* RFC 6855 */
    { "PREVIEW", IMAP_AFTER_LOGIN },                                /* RFC 8970 */
    { "APPENDLIMIT", IMAP_AFTER_LOGIN },                            /* RFC 7889 */
    { "QUOTA", IMAP_AFTER_LOGIN },                                  /* RFC 9208 */
    { "QUOTA=RES-STORAGE", IMAP_AFTER_LOGIN },
    { "UIDPLUS", IMAP_AFTER_LOGIN },                                /* RFC 4315 */
    { "UNSELECT", IMAP_AFTER_LOGIN },                               /* RFC 3691 */
    { "MOVE", IMAP_AFTER_LOGIN },                                   /* RFC 6851 */
    { "CONDSTORE", IMAP_AFTER_LOGIN },                              /* RFC 7162 */
    { "QRESYNC", IMAP_AFTER_LOGIN },                                /* RFC 7162 */
    { "ESEARCH", IMAP_AFTER_LOGIN },                                /* RFC 4731 */
    { "SEARCHRES", IMAP_AFTER_LOGIN },                              /* RFC 5182 */
    { "SORT", IMAP_AFTER_LOGIN },                                   /* RFC 5256 */
    { "SORT=DISPLAY", IMAP_AFTER_LOGIN },                           /* RFC 5957 */
    { "THREAD=ORDEREDSUBJECT", IMAP_AFTER_LOGIN },                  /* RFC 5256 */
    { "THREAD=REFERENCES", IMAP_AFTER_LOGIN },
    { "THREAD=REFS", IMAP_AFTER_LOGIN },
    { "ESORT", IMAP_AFTER_LOGIN },                                  /* RFC 5267 */
    { "WITHIN", IMAP_AFTER_LOGIN },                                 /* RFC 5032 */
    { "PARTIAL", IMAP_AFTER_LOGIN },                                /* RFC 9394 */
    { "STARTTLS", IMAP_WITH_STARTTLS },
    { "LOGINDISABLED", IMAP_WITHOUT_AUTH },
    { "AUTH=SCRAM-SHA-256-PLUS", IMAP_WITH_BINDING },               /* RFC 7677, RFC 9266 */
    { "AUTH=SCRAM-SHA-256", IMAP_WITH_AUTH },
    { "AUTH=PLAIN", IMAP_WITH_AUTH },
    { "AUTH=LOGIN", IMAP_WITH_AUTH },
};

void imap_capabilities(struct buf *out, unsigned when)
{
    const char *separator = "";
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        if ((capabilities[i].when & when) == 0)
            continue;
        (void)buf_printf(out, "%s%s", separator, capabilities[i].name);
        separator = " ";
    }
}

void imap_write_capabilities(struct buf *out) { imap_capabilities(out, IMAP_AFTER_LOGIN); }
