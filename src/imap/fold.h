/* Upper and lower case made equal, for searching: ASCII, Latin, Greek, Cyrillic, Armenian and full-width letters by simple
 * one-to-one mappings. None of them changes the length of the UTF-8, so it is done in place. */
#ifndef THURN_IMAP_FOLD_H
#define THURN_IMAP_FOLD_H

#include "base/slice.h"

/* Bytes that are not UTF-8 stay as they are. */
void imap_fold(char *text, size_t len);

#endif
