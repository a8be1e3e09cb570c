/* `thurn export`: what its writers of mbox files and of Maildirs have in common. */
#ifndef THURN_CLI_EXPORT_H
#define THURN_CLI_EXPORT_H

#include "cli/archive.h"

/* A folder being written. */
struct export_writer {
    void *self;
    enum rc (*open_folder)(void *self, const struct archive_folder *, struct fault *);
    enum rc (*add)(void *self, const struct archive_item *, struct fault *);
    enum rc (*close_folder)(void *self, struct fault *);    /* on stable storage */
    enum rc (*finish)(void *self, struct fault *);          /* subscriptions */
    void (*close)(void *self);
};

/* is_single: path is one file for one folder. */
enum rc export_to_mbox(const char *path, bool is_single, struct export_writer *, struct fault *);
enum rc export_to_maildir(const char *path, struct export_writer *, struct fault *);

#endif
