/* YAML as a tree: see node.h. */
#include "config/node.h"

#include <yaml.h>

struct builder {
    yaml_parser_t parser;
    struct arena *arena;
    const char *path;
    struct fault *fault;
};

const char *node_kind_name(const struct node *node)
{
    static const char *const names[] = { [NODE_SCALAR] = "a value", [NODE_LIST] = "a list", [NODE_MAP] = "a map" };
    return names[node->kind];
}

static enum rc refuse(struct builder *b, yaml_mark_t mark, const char *why)
{
    return fault_perm(b->fault, 0, "%s:%zu:%zu: %s", b->path, mark.line + 1, mark.column + 1, why);
}

static enum rc next_event(struct builder *b, yaml_event_t *event)
{
    if (yaml_parser_parse(&b->parser, event) != 0)
        return RC_OK;
    yaml_mark_t mark = b->parser.problem_mark;
    const char *problem = b->parser.problem != NULL ? b->parser.problem : "this is not YAML";
    if (b->parser.error == YAML_MEMORY_ERROR)
        return fault_no_memory(b->fault);
    if (b->parser.error == YAML_READER_ERROR)
        return fault_perm(b->fault, 0, "%s: byte %zu: %s (the file must be UTF-8 text)", b->path,
                          b->parser.problem_offset, problem);
    if (b->parser.context != NULL)
        return fault_perm(b->fault, 0, "%s:%zu:%zu: %s %s", b->path, mark.line + 1, mark.column + 1, problem, b->parser.context);
    return refuse(b, mark, problem);
}

static enum rc refuse_twice(struct builder *b, const struct node *parent, struct slice key, yaml_mark_t mark)
{
    for (const struct node *node = parent->first; node != NULL; node = node->next)
        if (slice_equal(node->key, key))
            return fault_perm(b->fault, 0, "%s:%zu:%zu: \"%.*s\" stands here a second time (first in line %u): keep one",
                              b->path, mark.line + 1, mark.column + 1, SLICE_ARG(key), node->key_line);
    return RC_OK;
}

static enum rc build(struct builder *, yaml_event_t *, unsigned depth, struct node **);

static void add_child(struct node *parent, struct node *child)
{
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

static enum rc take_key(struct builder *b, const struct node *parent, const yaml_event_t *event, struct slice *key)
{
    if (event->type != YAML_SCALAR_EVENT)
        return refuse(b, event->start_mark, "a setting's name was expected here");
    struct slice text = { (const char *)event->data.scalar.value, event->data.scalar.length };
    *key = arena_copy(b->arena, text);
    if (key->ptr == NULL)
        return fault_no_memory(b->fault);
    return refuse_twice(b, parent, *key, event->start_mark);
}

/* One child, from the event that begins it (a key, in a map). */
static enum rc build_child(struct builder *b, struct node *parent, yaml_event_t *event, unsigned depth)
{
    struct slice key = SLICE_NONE;
    yaml_mark_t mark = event->start_mark;
    if (parent->kind == NODE_MAP) {
        enum rc rc = take_key(b, parent, event, &key);
        yaml_event_delete(event);
        if (rc == RC_OK)
            rc = next_event(b, event);
        if (rc != RC_OK) {
            *event = (yaml_event_t){ 0 };
            return rc;
        }
    }
    struct node *child;
    enum rc rc = build(b, event, depth, &child);
    if (rc != RC_OK)
        return rc;
    child->key = key;
    child->key_line = (unsigned)mark.line + 1;
    child->key_column = (unsigned)mark.column + 1;
    add_child(parent, child);
    return RC_OK;
}

static enum rc build_children(struct builder *b, struct node *parent, unsigned depth)
{
    for (;;) {
        yaml_event_t event;
        enum rc rc = next_event(b, &event);
        if (rc != RC_OK)
            return rc;
        bool is_end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        if (!is_end)
            rc = build_child(b, parent, &event, depth);
        yaml_event_delete(&event);
        if (is_end || rc != RC_OK)
            return rc;
    }
}

/* The node that this event begins. The event is the caller's to delete. */
static enum rc build(struct builder *b, yaml_event_t *event, unsigned depth, struct node **out)
{
    if (depth > NODE_DEPTH_MAX)
        return refuse(b, event->start_mark, "nested deeper than any setting is");
    struct node *node = ARENA_NEW(b->arena, struct node);
    if (node == NULL)
        return fault_no_memory(b->fault);
    *out = node;
    node->line = (unsigned)event->start_mark.line + 1;
    node->column = (unsigned)event->start_mark.column + 1;
    if (event->type == YAML_SCALAR_EVENT) {
        struct slice text = { (const char *)event->data.scalar.value, event->data.scalar.length };
        node->kind = NODE_SCALAR;
        node->is_quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        node->text = arena_copy(b->arena, text);
        return text.len == 0 || node->text.ptr != NULL ? RC_OK : fault_no_memory(b->fault);
    }
    if (event->type == YAML_SEQUENCE_START_EVENT)
        node->kind = NODE_LIST;
    else if (event->type == YAML_MAPPING_START_EVENT)
        node->kind = NODE_MAP;
    else
        return refuse(b, event->start_mark, "anchors and aliases (& and *) have no use here; quote the value if it begins with one");
    return build_children(b, node, depth + 1);
}

static enum rc parse_document(struct builder *b, struct node **root)
{
    bool has_root = false;
    for (;;) {
        yaml_event_t event;
        enum rc rc = next_event(b, &event);
        if (rc != RC_OK)
            return rc;
        yaml_event_type_t type = event.type;
        if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT
            && type != YAML_STREAM_END_EVENT) {
            rc = has_root ? refuse(b, event.start_mark, "a second document begins: settings are one document")
                          : build(b, &event, 0, root);
            has_root = true;
        }
        yaml_event_delete(&event);
        if (rc != RC_OK || type == YAML_STREAM_END_EVENT)
            return rc;
    }
}

enum rc node_parse(struct slice text, const char *path, struct arena *arena, struct node **root, struct fault *f)
{
    struct builder b = { .arena = arena, .path = path, .fault = f };
    *root = ARENA_NEW(arena, struct node);
    if (*root == NULL || yaml_parser_initialize(&b.parser) == 0)
        return fault_no_memory(f);
    (*root)->kind = NODE_MAP;
    (*root)->line = (*root)->column = 1;
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text.ptr, text.len);
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    enum rc rc = parse_document(&b, root);
    yaml_parser_delete(&b.parser);
    if (rc == RC_OK && (*root)->kind == NODE_SCALAR && (*root)->text.len == 0)
        (*root)->kind = NODE_MAP;
    return rc;
}
