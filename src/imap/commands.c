/* The table of commands after login: RFC 3501 6 and the extensions. A new command is one row and one file. */
#include "imap/inner.h"

static const struct imap_command commands[] = {
    /* name                       allowed in       UID form, only; keeps numbers   run */
    { SLICE_INIT("APPEND"),       IMAP_ANY,        false, false, false, imap_cmd_append },         /* RFC 3501 6.3.11 */
    { SLICE_INIT("AUTHENTICATE"), IMAP_ANY,        false, false, false, imap_cmd_logged_in },
    { SLICE_INIT("CAPABILITY"),   IMAP_ANY,        false, false, false, imap_cmd_capability },     /* RFC 3501 6.1.1 */
    { SLICE_INIT("CHECK"),        IMAP_SELECTED,   false, false, false, imap_cmd_check },          /* RFC 3501 6.4.1 */
    { SLICE_INIT("CLOSE"),        IMAP_SELECTED,   false, false, false, imap_cmd_close },          /* RFC 3501 6.4.2 */
    { SLICE_INIT("COPY"),         IMAP_SELECTED,   true,  false, false, imap_cmd_copy },           /* RFC 3501 6.4.7 */
    { SLICE_INIT("CREATE"),       IMAP_ANY,        false, false, false, imap_cmd_create },         /* RFC 3501 6.3.3 */
    { SLICE_INIT("DELETE"),       IMAP_ANY,        false, false, false, imap_cmd_delete },         /* RFC 3501 6.3.4 */
    { SLICE_INIT("ENABLE"),       IMAP_ANY,        false, false, false, imap_cmd_enable },         /* RFC 5161 */
    { SLICE_INIT("EXAMINE"),      IMAP_ANY,        false, false, false, imap_cmd_examine },        /* RFC 3501 6.3.2 */
    { SLICE_INIT("EXPUNGE"),      IMAP_SELECTED,   true,  true,  false, imap_cmd_expunge },        /* RFC 3501 6.4.3, RFC 4315 2.1 */
    { SLICE_INIT("FETCH"),        IMAP_SELECTED,   true,  false, true,  imap_cmd_fetch },          /* RFC 3501 6.4.5 */
    { SLICE_INIT("GETQUOTA"),     IMAP_ANY,        false, false, false, imap_cmd_getquota },       /* RFC 9208 4.2 */
    { SLICE_INIT("GETQUOTAROOT"), IMAP_ANY,        false, false, false, imap_cmd_getquotaroot },   /* RFC 9208 4.3 */
    { SLICE_INIT("ID"),           IMAP_ANY,        false, false, false, imap_cmd_id },             /* RFC 2971 */
    { SLICE_INIT("IDLE"),         IMAP_ANY,        false, false, false, imap_cmd_idle },           /* RFC 2177 */
    { SLICE_INIT("LIST"),         IMAP_ANY,        false, false, false, imap_cmd_list },           /* RFC 3501 6.3.8, RFC 6154 */
    { SLICE_INIT("LOGIN"),        IMAP_ANY,        false, false, false, imap_cmd_logged_in },
    { SLICE_INIT("LOGOUT"),       IMAP_ANY,        false, false, false, imap_cmd_logout },         /* RFC 3501 6.1.3 */
    { SLICE_INIT("LSUB"),         IMAP_ANY,        false, false, false, imap_cmd_lsub },           /* RFC 3501 6.3.9 */
    { SLICE_INIT("MOVE"),         IMAP_SELECTED,   true,  false, false, imap_cmd_move },           /* RFC 6851 */
    { SLICE_INIT("NAMESPACE"),    IMAP_ANY,        false, false, false, imap_cmd_namespace },      /* RFC 2342 */
    { SLICE_INIT("NOOP"),         IMAP_ANY,        false, false, false, imap_cmd_noop },           /* RFC 3501 6.1.2 */
    { SLICE_INIT("RENAME"),       IMAP_ANY,        false, false, false, imap_cmd_rename },         /* RFC 3501 6.3.5 */
    { SLICE_INIT("SEARCH"),       IMAP_SELECTED,   true,  false, true,  imap_cmd_search },         /* RFC 3501 6.4.4 */
    { SLICE_INIT("SELECT"),       IMAP_ANY,        false, false, false, imap_cmd_select },         /* RFC 3501 6.3.1 */
    { SLICE_INIT("SETQUOTA"),     IMAP_ANY,        false, false, false, imap_cmd_setquota },       /* RFC 9208 4.4 */
    { SLICE_INIT("SORT"),         IMAP_SELECTED,   true,  false, true,  imap_cmd_sort },           /* RFC 5256 3 */
    { SLICE_INIT("STARTTLS"),     IMAP_ANY,        false, false, false, imap_cmd_logged_in },
    { SLICE_INIT("STATUS"),       IMAP_ANY,        false, false, false, imap_cmd_status },         /* RFC 3501 6.3.10 */
    { SLICE_INIT("STORE"),        IMAP_SELECTED,   true,  false, true,  imap_cmd_store },          /* RFC 3501 6.4.6 */
    { SLICE_INIT("SUBSCRIBE"),    IMAP_ANY,        false, false, false, imap_cmd_subscribe },      /* RFC 3501 6.3.6 */
    { SLICE_INIT("THREAD"),       IMAP_SELECTED,   true,  false, true,  imap_cmd_thread },         /* RFC 5256 3 */
    { SLICE_INIT("UNSELECT"),     IMAP_SELECTED,   false, false, false, imap_cmd_unselect },       /* RFC 3691 */
    { SLICE_INIT("UNSUBSCRIBE"),  IMAP_ANY,        false, false, false, imap_cmd_unsubscribe },    /* RFC 3501 6.3.7 */
};

const struct imap_command *imap_command_find(struct slice name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (slice_equal_nocase(name, commands[i].name))
            return &commands[i];
    }
    return NULL;
}
