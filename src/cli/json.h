/* Reading JSON (RFC 8259): what roles answer and a person wants to read. */
#ifndef THURN_CLI_JSON_H
#define THURN_CLI_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

enum { JSON_DEPTH_MAX = 32 };

struct json {
    enum { JSON_NULL, JSON_FLAG, JSON_NUMBER, JSON_STRING, JSON_LIST, JSON_OBJECT } kind;
    struct slice name;          /* in an object */
    struct slice text;          /* of a string, decoded; of a number or flag, as it stands */
    struct json *first, *next;  /* children */
};

enum rc json_parse(struct slice text, struct arena *, struct json **, struct fault *);
/* Members of an object by name; NULL, empty or 0 when there is none (or the object is NULL). */
const struct json *json_get(const struct json *object, const char *name);
struct slice json_text(const struct json *object, const char *name);
int64_t json_number(const struct json *object, const char *name);
bool json_flag(const struct json *object, const char *name);

#endif
