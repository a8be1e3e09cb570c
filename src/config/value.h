/* Single values of settings: from text into their place in a struct, and back. */
#ifndef THURN_CONFIG_VALUE_H
#define THURN_CONFIG_VALUE_H

#include "config/settings.h"

/* Stores the value at base + setting->offset; strings live in the arena. RC_PERM: the fault says what was expected
 * ("expected a size such as 50M ..."), not where. */
enum rc value_parse(const struct setting *, struct slice text, void *base, struct arena *, struct fault *);
/* As it would be written in the file, quoted where YAML wants that. */
bool value_write(const struct setting *, const void *base, struct buf *);
/* "address:port", "[address]:port" or a path. */
enum rc value_parse_listener(struct slice text, struct config_listener *, struct arena *, struct fault *);
bool value_write_listener(const struct config_listener *, struct buf *);
/* A server to ask: "192.0.2.1", "192.0.2.1@5300", "2001:db8::1@53". */
enum rc value_parse_server(struct slice text, const char **, struct arena *, struct fault *);
/* "a size such as 50M", for the manual. */
const char *value_kind_text(enum setting_kind);
/* The word number `index` of "text json"; empty past the end. */
struct slice value_word(const char *words, size_t index);

#endif
