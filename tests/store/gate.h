/* A disk whose syncs wait at a gate until the test opens it. */
#ifndef THURN_TEST_STORE_GATE_H
#define THURN_TEST_STORE_GATE_H

#include "os/file.h"

#include <pthread.h>

struct gate {
    struct file_ops ops;
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool is_closed;
};

static inline int gate_sync(void *self, int fd)
{
    struct gate *gate = self;
    pthread_mutex_lock(&gate->lock);
    while (gate->is_closed)
        pthread_cond_wait(&gate->opened, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    return file_ops_real.sync(file_ops_real.self, fd);
}

static inline void gate_init(struct gate *gate)
{
    *gate = (struct gate){ .ops = file_ops_real };
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->opened, NULL);
    gate->ops.self = gate;          /* the real ones do without */
    gate->ops.sync = gate_sync;
}

static inline void gate_close(struct gate *gate, bool is_closed)
{
    pthread_mutex_lock(&gate->lock);
    gate->is_closed = is_closed;
    pthread_cond_broadcast(&gate->opened);
    pthread_mutex_unlock(&gate->lock);
}

#endif
