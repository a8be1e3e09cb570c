/* YAML as a tree: what config.c walks. Events of libyaml, with the place of every node for errors.
 *
 * The small part of YAML that settings need: maps, lists, scalars, one document. Anchors, tags and a key that stands
 * twice are refused, by line. Everything lives in the arena. */
#ifndef THURN_CONFIG_NODE_H
#define THURN_CONFIG_NODE_H

#include "base/arena.h"
#include "base/fault.h"

enum { NODE_DEPTH_MAX = 8 };

struct node {
    enum { NODE_SCALAR, NODE_LIST, NODE_MAP } kind;
    unsigned line, column;      /* from 1 */
    unsigned key_line, key_column;
    struct slice key;           /* in a map */
    struct slice text;          /* of a scalar */
    bool is_quoted;
    struct node *first, *last;  /* children */
    struct node *next;
};

/* An empty file is an empty map. `path` is what errors name. */
enum rc node_parse(struct slice text, const char *path, struct arena *, struct node **, struct fault *);
const char *node_kind_name(const struct node *);    /* "a list" */

#endif
