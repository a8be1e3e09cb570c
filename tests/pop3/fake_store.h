/* One mailbox in memory behind store/store.h's names, as far as POP3 uses them: linked in front of the real store, so
 * that tests can make every call fail and fuzzing needs no disk. */
#ifndef THURN_TEST_POP3_FAKE_STORE_H
#define THURN_TEST_POP3_FAKE_STORE_H

#include "store/store.h"

enum { FAKE_MESSAGES_MAX = 5000 };

struct store {
    struct slice messages[FAKE_MESSAGES_MAX];   /* body id and UID are the index + 1 */
    bool is_expunged[FAKE_MESSAGES_MAX];
    uint32_t count;
    enum rc find_rc, open_rc, expunge_rc;       /* RC_OK: works */
    unsigned reads_left;                        /* then reads fail with read_rc */
    enum rc read_rc;
    unsigned views;                             /* open now */
    bool view_is_read_only;                     /* of the last one opened */
};

void fake_store_init(struct store *);
void fake_store_add(struct store *, struct slice message);

#endif
