/* Addresses as a person or a program writes them, checked: "Ann Example <ann@example.org>, bob@example.org". */
#ifndef THURN_CLI_ADDRESSES_H
#define THURN_CLI_ADDRESSES_H

#include "mail/address.h"

enum { ADDRESSES_MAX = 1000 };

struct addresses {
    struct mailbox_entry *entries;      /* as written: display names */
    struct address *addresses;          /* the same, as typed values */
    size_t count;
};

/* Adds what stands in `text`. RC_PERM: says which address is none and what one looks like. */
enum rc addresses_parse(const char *text, struct arena *, struct addresses *, struct fault *);

#endif
