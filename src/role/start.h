/* How every role begins, lives and reports: the part that all of them share.
 *
 * role_run takes descriptor 3 as the channel to the launcher and runs the loop. Frames up to FRAME_START hand the role its
 * things (`frame`); at FRAME_START the role opens what it needs (`start`), gives up every other power (os/sandbox.h), and
 * answers FRAME_READY with the text of its sandbox, or FRAME_FAILED with one clear line. Later frames (a new channel to a
 * restarted role, a new configuration, FRAME_STOP) go to `frame` too; FRAME_STATUS is answered with `figures`. When the
 * launcher goes away the role ends. */
#ifndef THURN_ROLE_START_H
#define THURN_ROLE_START_H

#include "base/buf.h"
#include "os/loop.h"
#include "role/channel.h"

struct role_self {
    enum role role;
    struct loop *loop;
    void *self;
    /* FRAME_CONFIG, _CHANNEL, _LISTENER, _CERTIFICATE, _KEY, _SECRET, _STOP: takes frame->fd if it keeps it (sets it to -1).
     * A failure before FRAME_START ends the role with that fault; later it is logged and told to the launcher. */
    enum rc (*frame)(void *self, struct frame *, struct fault *);
    enum rc (*start)(void *self, struct fault *);           /* NULL: nothing to open */
    void (*figures)(void *self, struct buf *json);          /* one JSON object; NULL: none */
    unsigned powers;                                        /* enum sandbox_power */
    struct channel **launcher;                              /* where the channel to it is put, for what a role says unasked; NULL: nowhere */
    const char *data_folder;                                /* below data_dir, for POWER_FILES; NULL: none */
    const char *const *read_paths;                          /* for POWER_READ_FILES; ends with NULL; those not there do not matter */
};

/* The process's exit status. */
int role_run(const struct role_self *);

#endif
