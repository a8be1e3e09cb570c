/* Readiness: epoll, poll and eventfd, for every kind of simulated file.
 *
 * Level-triggered. A watch stands in its set's list of ready ones from when its file may have become ready until a wait finds
 * that it is not any more. EPOLLEXCLUSIVE is as in Linux: of several sets, up to the first in which somebody waits are told. */
#include "sim/inner.h"
#include "sim/wrap.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct epoll_set {
    struct sim_file file;
    struct list watches;
    struct list ready;
    unsigned waiting;                   /* threads in epoll_wait */
};

struct watch {
    struct list of_set, of_file, ready; /* ready: initialised when not in the list */
    struct epoll_set *set;
    struct sim_file *file;
    int fd;
    struct epoll_event event;
};

static unsigned ready_bits(struct sim_file *file)
{
    return file->ops->ready == NULL ? SIM_READABLE | SIM_WRITABLE : file->ops->ready(file);
}

static unsigned wanted(const struct watch *watch) { return (watch->event.events & 0xffff) | SIM_ERROR | SIM_HANGUP; }

/* ---- who watches a file ------------------------------------------------------------------------------------------------- */

static struct list *watchers_of(struct sim_file *file)
{
    if (file->watchers == NULL) {
        file->watchers = sim_new(sizeof(struct list));
        list_init(file->watchers);
    }
    return file->watchers;
}

/* True: somebody was waiting. */
static bool notice(struct watch *watch)
{
    struct epoll_set *set = watch->set;
    if (list_is_empty(&watch->ready))
        list_append(&set->ready, &watch->ready);
    if (set->waiting == 0)
        return false;
    sim_wake(set);
    return true;
}

void sim_file_changed(struct sim_file *file)
{
    sim_wake(file);
    if (file->watchers == NULL || list_is_empty(file->watchers))
        return;
    unsigned bits = ready_bits(file);
    bool is_told = false;
    LIST_EACH(node, (struct list *)file->watchers) {
        struct watch *watch = LIST_ENTRY(node, struct watch, of_file);
        bool is_exclusive = (watch->event.events & EPOLLEXCLUSIVE) != 0;
        if ((bits & wanted(watch)) != 0 && !(is_exclusive && is_told))
            is_told = notice(watch) && is_exclusive ? true : is_told;
    }
}

static void watch_free(struct watch *watch)
{
    list_remove(&watch->of_set);
    list_remove(&watch->of_file);
    list_remove(&watch->ready);
    sim_delete(watch);
}

void file_forget_watchers(struct sim_file *file)
{
    struct list *watchers = file->watchers;
    if (watchers == NULL)
        return;
    while (!list_is_empty(watchers))
        watch_free(LIST_ENTRY(watchers->next, struct watch, of_file));
    sim_delete(watchers);
    file->watchers = NULL;
}

bool file_wait(struct sim_file *file, unsigned bits, int64_t until_us)
{
    while ((ready_bits(file) & (bits | SIM_ERROR | SIM_HANGUP)) == 0)
        if (!sim_wait(file, until_us))
            return false;
    return true;
}

/* ---- epoll ---------------------------------------------------------------------------------------------------------------- */

static void set_closed(struct sim_file *file)
{
    struct epoll_set *set = LIST_ENTRY(file, struct epoll_set, file);
    while (!list_is_empty(&set->watches))
        watch_free(LIST_ENTRY(set->watches.next, struct watch, of_set));
    sim_delete(set);
}

static unsigned set_ready(struct sim_file *file)
{
    return list_is_empty(&LIST_ENTRY(file, struct epoll_set, file)->ready) ? 0 : SIM_READABLE;
}

static const struct sim_file_ops set_ops = { .kind = "epoll", .ready = set_ready, .closed = set_closed };

unsigned file_watch_count(const struct sim_file *file)
{
    unsigned count = 0;
    if (file->ops != &set_ops)
        return 0;
    const struct epoll_set *set = (const struct epoll_set *)(const void *)file;
    for (const struct list *node = set->watches.next; node != &set->watches; node = node->next)
        count++;
    return count;
}

int file_give(struct sim_file *file)
{
    int fd = sim_fd_install(file);
    if (fd < 0)
        file->ops->closed(file);
    return (int)call_result(fd);
}

int __wrap_epoll_create1(int flags)
{
    int error = sim_enter("epoll_create1");
    (void)flags;
    if (error != 0)
        return (int)call_result(-error);
    struct epoll_set *set = sim_new(sizeof(*set));
    set->file.ops = &set_ops;
    list_init(&set->watches);
    list_init(&set->ready);
    return file_give(&set->file);
}

static struct epoll_set *set_of(int fd)
{
    struct sim_file *file = sim_fd(fd);
    return file == NULL || file->ops != &set_ops ? NULL : LIST_ENTRY(file, struct epoll_set, file);
}

static struct watch *find(struct epoll_set *set, struct sim_file *file, int fd)
{
    LIST_EACH(node, watchers_of(file)) {
        struct watch *watch = LIST_ENTRY(node, struct watch, of_file);
        if (watch->set == set && watch->fd == fd)
            return watch;
    }
    return NULL;
}

static int add(struct epoll_set *set, struct sim_file *file, int fd, const struct epoll_event *event)
{
    struct watch *watch = sim_new(sizeof(*watch));
    *watch = (struct watch){ .set = set, .file = file, .fd = fd, .event = *event };
    list_init(&watch->ready);
    list_append(&set->watches, &watch->of_set);
    list_append(watchers_of(file), &watch->of_file);
    if ((ready_bits(file) & wanted(watch)) != 0)
        (void)notice(watch);
    return 0;
}

int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    int error = sim_enter("epoll_ctl");
    struct epoll_set *set = set_of(epoll_fd);
    struct sim_file *file = sim_fd(fd);
    if (error != 0 || set == NULL || file == NULL)
        return (int)call_result(error != 0 ? -error : -EBADF);
    if (file->ops->ready == NULL)
        return (int)call_result(-EPERM);
    struct watch *watch = find(set, file, fd);
    if (operation == EPOLL_CTL_ADD)
        return watch != NULL ? (int)call_result(-EEXIST) : add(set, file, fd, event);
    if (watch == NULL)
        return (int)call_result(-ENOENT);
    if (operation == EPOLL_CTL_DEL) {
        watch_free(watch);
        return 0;
    }
    watch->event = *event;
    if ((ready_bits(file) & wanted(watch)) != 0)
        (void)notice(watch);
    return 0;
}

/* Those found ready go to the end, so that all get their turn when more are than fit. */
static int take(struct epoll_set *set, struct epoll_event *events, int max)
{
    struct list found;
    int count = 0;
    list_init(&found);
    while (count < max && !list_is_empty(&set->ready)) {
        struct watch *watch = LIST_ENTRY(set->ready.next, struct watch, ready);
        unsigned bits = ready_bits(watch->file) & wanted(watch);
        list_remove(&watch->ready);
        if (bits == 0)
            continue;
        list_append(&found, &watch->ready);
        events[count].events = bits;
        events[count++].data = watch->event.data;
    }
    while (!list_is_empty(&found)) {
        struct list *node = found.next;
        list_remove(node);
        list_append(&set->ready, node);
    }
    return count;
}

static int64_t until_of(int timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : sim_now_us() + (int64_t)timeout_ms * 1000;
}

int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
    int64_t until = until_of(timeout_ms);
    int error = sim_enter("epoll_wait");
    struct epoll_set *set = set_of(epoll_fd);
    if (error != 0 || set == NULL)
        return (int)call_result(error != 0 ? -error : -EBADF);
    int count;
    while ((count = take(set, events, max)) == 0 && sim_now_us() < until) {
        set->waiting++;
        (void)sim_wait(set, until);
        set->waiting--;
    }
    return count;
}

/* ---- poll ------------------------------------------------------------------------------------------------------------------- */

/* As the server uses it: of one descriptor. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    int64_t until = until_of(timeout_ms);
    int error = sim_enter("poll");
    must(count == 1);
    if (error != 0)
        return (int)call_result(-error);
    struct sim_file *file = sim_fd(fds[0].fd);
    fds[0].revents = POLLNVAL;
    if (file == NULL)
        return 1;
    unsigned bits = (unsigned)fds[0].events;
    fds[0].revents = 0;
    if (!file_wait(file, bits, until) && (ready_bits(file) & (bits | SIM_ERROR | SIM_HANGUP)) == 0)
        return 0;
    fds[0].revents = (short)(ready_bits(file) & (bits | SIM_ERROR | SIM_HANGUP));
    return 1;
}

/* ---- eventfd ---------------------------------------------------------------------------------------------------------------- */

struct event_count {
    struct sim_file file;
    uint64_t count;
};

static unsigned count_ready(struct sim_file *file)
{
    return SIM_WRITABLE | (LIST_ENTRY(file, struct event_count, file)->count != 0 ? SIM_READABLE : 0u);
}

static void count_closed(struct sim_file *file) { sim_delete(LIST_ENTRY(file, struct event_count, file)); }

static const struct sim_file_ops count_ops = { .kind = "eventfd", .ready = count_ready, .closed = count_closed };

bool file_is_event(const struct sim_file *file) { return file->ops == &count_ops; }

int __wrap_eventfd(unsigned initial, int flags)
{
    int error = sim_enter("eventfd");
    if (error != 0)
        return (int)call_result(-error);
    struct event_count *event = sim_new(sizeof(*event));
    event->file.ops = &count_ops;
    event->file.flags = (flags & EFD_NONBLOCK) != 0 ? O_NONBLOCK : 0;
    event->count = initial;
    return file_give(&event->file);
}

int64_t event_read(struct sim_file *file, void *data, size_t len)
{
    struct event_count *event = LIST_ENTRY(file, struct event_count, file);
    if (len < sizeof(uint64_t))
        return -EINVAL;
    if (event->count == 0)
        return -EAGAIN;
    memcpy(data, &event->count, sizeof(uint64_t));
    event->count = 0;
    sim_file_changed(file);
    return sizeof(uint64_t);
}

int64_t event_write(struct sim_file *file, const void *data, size_t len)
{
    struct event_count *event = LIST_ENTRY(file, struct event_count, file);
    uint64_t more;
    if (len < sizeof(uint64_t))
        return -EINVAL;
    memcpy(&more, data, sizeof(uint64_t));
    event->count += more;
    sim_file_changed(file);
    return sizeof(uint64_t);
}
