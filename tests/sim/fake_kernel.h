/* Time that a test moves: see fake_kernel.c. */
#ifndef THURN_TEST_FAKE_KERNEL_H
#define THURN_TEST_FAKE_KERNEL_H

#include "sim/kernel.h"

void fake_begin(uint64_t seed, struct sim_host *running);       /* sim_self_host() says `running`; ends what was before */
void fake_run(int64_t until_us);                                /* what is due until then; it is then afterwards */

#endif
