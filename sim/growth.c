/* What the servers hold, measured twice in quiet times. See growth.h. */
#include "sim/growth.h"

#include "base/fault.h"
#include "sim/inner.h"

#include <stdio.h>

enum { MORE_BYTES = 4 << 10 };          /* a line of the log in the making, a time that became longer to write */

static void measure_process(const struct sim_process *process, struct growth *out)
{
    must(out->count < GROWTH_PROCESSES);
    unsigned descriptors = 0, watches = 0;
    for (int fd = 0; fd < process->fd_cap; fd++)
        if (process->fds[fd] != NULL) {
            descriptors++;
            watches += file_watch_count(process->fds[fd]);
        }
    out->processes[out->count].id = process->id;
    out->processes[out->count].bytes = process->memory;
    out->processes[out->count].descriptors = descriptors;
    out->processes[out->count].watches = watches;
    out->count++;
}

void growth_measure(struct room *room, struct growth *out)
{
    *out = (struct growth){ .count = 0 };
    for (unsigned i = 0; i < room->plan.nodes; i++) {
        struct sim_host *host = room->servers[i].node->host;
        char *names;
        must(disk_list(host->disk, NODE_DATA "/store/log", &names, &out->segments[i]) == 0);
        disk_list_free(names);
        LIST_EACH(node, &host_inner(host)->processes) {
            const struct sim_process *process = LIST_ENTRY(node, struct sim_process, list);
            if (process->is_server && !process->is_dead)
                measure_process(process, out);
        }
    }
}

static bool is_more(const char *whose, const char *what, uint64_t before, uint64_t after, uint64_t margin, char text[GROWTH_TEXT])
{
    if (after <= before + margin)
        return false;
    (void)snprintf(text, GROWTH_TEXT, "%s of %s were %llu in a quiet time, and are %llu in the next", what, whose, (unsigned long long)before,
                   (unsigned long long)after);
    sim_trace("%s", text);
    return true;
}

bool growth_between(struct room *room, const struct growth *before, const struct growth *after, char text[GROWTH_TEXT])
{
    bool grows = false;
    for (unsigned i = 0; i < room->plan.nodes; i++)
        grows |= is_more(room->servers[i].name, "segments of the log", before->segments[i], after->segments[i], 0, text);
    for (size_t i = 0; i < after->count; i++)
        for (size_t k = 0; k < before->count; k++) {
            const struct sim_process *process = process_by_id(after->processes[i].id);
            if (process == NULL || before->processes[k].id != after->processes[i].id)
                continue;
            char whose[120];
            (void)snprintf(whose, sizeof whose, "%s on %s", process->name, process->host->name);
            grows |= is_more(whose, "descriptors", before->processes[k].descriptors, after->processes[i].descriptors, 0, text);
            grows |= is_more(whose, "epoll registrations", before->processes[k].watches, after->processes[i].watches, 0, text);
            grows |= is_more(whose, "allocated bytes", before->processes[k].bytes, after->processes[i].bytes, MORE_BYTES, text);
        }
    return grows;
}
