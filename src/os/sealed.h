/* SQLite files whose pages carry checksums: a page that the disk has changed is not believed.
 *
 * SQLite checks its write-ahead log and its structure, not the bytes of a page: a flipped bit in a row is another row. So the last 8
 * bytes of each page of the file are kept free (sqlite.org/fileformat2.html 1.3.4) and filled, when a page is written to the file,
 * with a checksum of what is before them. Reading a page that does not match gives SQLITE_IOERR_DATA. This is a VFS above the default
 * one (sqlite.org/vfs.html), whichever that is; files that are not databases pass by it. Other programs can read such a file; what
 * they write to it will not be believed. Files made before are read as they are until sealed_make has rewritten them. */
#ifndef THURN_OS_SEALED_H
#define THURN_OS_SEALED_H

#include <sqlite3.h>
#include <stdbool.h>

/* The name to open a database with (sqlite3_open_v2). Not while another thread does the same. */
const char *sealed_vfs(void);
/* For a database that is open by that name and will be written to, before its first statement and outside of a transaction: an empty
 * one gets sealed pages; one that has none is rewritten. An SQLite result code. */
int sealed_make(sqlite3 *);
/* Whether the last error of the database is a damaged page or a damaged structure. */
bool sealed_is_damaged(sqlite3 *);

#endif
