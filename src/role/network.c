/* Who counts as one stranger: see network.h. */
#include "role/network.h"

#include <arpa/inet.h>

/* From the bytes, not from the text: "2001:db8::1:2:3:4" has its /64 elsewhere than "2001:db8:1:2::1". */
struct slice network_of(struct slice address, char text[NETWORK_TEXT])
{
    unsigned char bytes[16];
    (void)slice_to_str(slice_sub(address, 0, NETWORK_TEXT - 1), text, NETWORK_TEXT);
    if (inet_pton(AF_INET6, text, bytes) == 1) {
        memset(bytes + 8, 0, 8);
        if (inet_ntop(AF_INET6, bytes, text, NETWORK_TEXT) != NULL)
            (void)strcat(text, "/64");          /* 46 bytes at most, without it */
    }
    return slice_from_str(text);
}
