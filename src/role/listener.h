/* What kinds of listening descriptors the launcher hands out (first field of FRAME_LISTENER). */
#ifndef THURN_ROLE_LISTENER_H
#define THURN_ROLE_LISTENER_H

enum listener_kind {
    LISTENER_PROTOCOL,      /* second field: enum listener_protocol (config/config.h) */
    LISTENER_SUBMIT,        /* submit.sock: local users' mail; goes to the role local */
    LISTENER_CONTROL,       /* control sockets: to auth and post */
};

#endif
