/* Whoever is root here is not the role that will open these files afterwards. */
#ifndef THURN_CLI_OWNER_H
#define THURN_CLI_OWNER_H

/* Gives what was made in a folder, and in folders in it, as root to the folder's owner. */
void owner_hand_over(const char *folder);

#endif
