/* Files that were made as root, given to the role they are for: see owner.h. */
#include "cli/owner.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 2 };

static void hand_over(const char *folder, const struct stat *owner, int depth)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char path[8192];
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (lchown(path, owner->st_uid, owner->st_gid) != 0)
            fprintf(stderr, "thurn: %s: cannot be given to its owner: %s\n", path, strerror(errno));
        if (depth < DEPTH_MAX && lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            hand_over(path, owner, depth + 1);
    }
    if (dir != NULL)
        closedir(dir);
}

void owner_hand_over(const char *folder)
{
    struct stat st;
    if (geteuid() == 0 && stat(folder, &st) == 0)
        hand_over(folder, &st, 1);
}
