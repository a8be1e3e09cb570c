/* What every fuzz target defines: one input, run to the end. Returns 0; stops the program (must()) when something
 * that must hold does not. No state may outlive a call. */
#ifndef THURN_FUZZ_FUZZ_H
#define THURN_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
