/* The configuration file: no file crashes its reader, and what is read comes back the same from what is written. */
#include "config/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config, again;
    struct fault fault = { 0 };
    struct buf path_and_text, encoded, twice;
    buf_init(&path_and_text, size + 16);
    buf_init(&encoded, 4 << 20);
    buf_init(&twice, 4 << 20);
    buf_append(&path_and_text, SLICE("/fuzz\0"));
    buf_append(&path_and_text, (struct slice){ (const char *)data, size });
    if (config_decode(buf_slice(&path_and_text), &config, &fault) == RC_OK && config_encode(&config, &encoded)) {
        must(config_decode(buf_slice(&encoded), &again, &fault) == RC_OK);
        must(config_encode(&again, &twice));
        must(slice_equal(buf_slice(&encoded), buf_slice(&twice)));
        config_free(&again);
    }
    config_free(&config);
    buf_free(&path_and_text);
    buf_free(&encoded);
    buf_free(&twice);
    return 0;
}
