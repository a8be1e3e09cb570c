/* `thurn --role NAME`: how the launcher starts each role, as this same program. */
#include "role/channel.h"

#include <stdio.h>
#include <string.h>

int role_main(const char *name)
{
    static const struct { enum role role; int (*main)(void); } mains[] = {
        { ROLE_KEYS, role_keys_main }, { ROLE_AUTH, role_auth_main }, { ROLE_EDGE, role_edge_main },
        { ROLE_POST, role_post_main }, { ROLE_OUT, role_out_main }, { ROLE_LOCAL, role_local_main },
    };
    for (size_t i = 0; i < sizeof(mains) / sizeof(mains[0]); i++)
        if (strcmp(name, role_name(mains[i].role)) == 0)
            return mains[i].main();
    (void)fprintf(stderr, "thurn: no role named %s\n", name);
    return 2;
}
