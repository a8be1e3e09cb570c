/* What the parts of a scenario share: the room, who is in it, the plan that the seed drew. */
#ifndef THURN_SIM_ROOM_H
#define THURN_SIM_ROOM_H

#include "sim/client.h"
#include "sim/node.h"
#include "sim/peer.h"
#include "sim/scenario.h"

enum { ROOM_NODES = 4, ROOM_STRANGE = 2, PERSONS = 5, ROOM_PEOPLE = 20, ROOM_DESKS = 2, PERSON_READERS = 2, KNOWN_VIEWS = 8 };
#define SECOND_US ((int64_t)1000000)
#define MINUTE_US (60 * SECOND_US)
#define HOUR_US (60 * MINUTE_US)

struct plan {
    unsigned nodes, strange, people;        /* people: on each node */
    int64_t busy_us;
    int64_t pause_us;                       /* of a person between two deeds, in the mean */
    uint32_t faults;                        /* bits of fault_kind */
    uint32_t strength[FAULT_KINDS];         /* 1 .. 100 */
    int64_t delay_us;
    bool has_big;                           /* letters of hundreds of kilobytes too */
};

struct room;

struct server {                             /* one of ours */
    struct room *room;
    struct node *node;
    struct node_options options;
    const char *domains[1];
    struct node_account accounts[PERSONS];
    char name[64], domain[32], address[32], settings[400];
    bool stays_down;                        /* the caretaker leaves it alone */
    uint64_t fatal_in;                      /* 0: nothing; else that many system calls from now on something dies */
    bool fatal_to_all;                      /* the machine, not the process that makes the call */
    bool lacks_descriptors, lacks_memory;
    uint32_t sync_fails, write_fails, shortens;     /* per million */
};

struct strange {                            /* one of others */
    struct room *room;
    struct sim_host *host;
    struct sim_process *mx;
    char name[64], domain[32], address[32];
};

struct known {                              /* what a reader has kept of a mailbox between two sessions */
    const struct truth_mailbox *mailbox;
    struct imap_view view;
};

struct person;
struct reader {
    struct person *person;
    unsigned number;
    struct known known[KNOWN_VIEWS];
};

struct person {
    struct room *room;
    struct server *server;
    struct sim_host *desk;
    struct truth_account *account;
    char address[64], password[32];
    bool is_bait;
    bool is_arranging;                      /* one of its readers makes, renames or deletes a mailbox */
    unsigned folders;                       /* so far: their names are never used again */
    struct reader readers[PERSON_READERS];
};

struct room {
    struct plan plan;
    struct truth *truth;
    struct server servers[ROOM_NODES];
    struct strange strange[ROOM_STRANGE];
    struct person people[ROOM_PEOPLE];
    unsigned people_count;
    struct sim_host *desks[ROOM_DESKS];
    bool has_faults;                        /* now: between the beginning and the healing */
    bool is_over;                           /* nobody begins anything new */
    unsigned at_work;                       /* coroutines of people that have not ended */
    struct trouble *troubles;               /* of trouble.c */
    uint64_t faults[FAULT_KINDS];
};

/* room.c */
struct room *room_new(const struct scenario_options *);
void room_fault(struct room *, enum fault_kind, const struct sim_host *, const char *what);     /* counts, and tells the trace */
bool room_has(const struct room *, enum fault_kind);
struct sim_host *room_host(struct room *, unsigned number);            /* all servers, ours and others', counted through */
unsigned room_hosts(const struct room *);

/* letters.c, reader.c, popper.c: coroutines of people; arg: struct person or struct reader */
int letters_main(void *person);
int reader_main(void *reader);
int popper_main(void *person);
/* What an answer means for the truth. A "not now" may come from a server that has done it and then failed. */
enum truth_answer answer_of(const struct room *, enum client_result);
struct client_server server_of(const struct person *, uint16_t plain_port, uint16_t tls_port);
void pause_for(const struct room *, int64_t mean_us);
/* One look at everything that a person has; for the end. False: it could not be read to the end. */
bool reader_look_at_all(struct person *);
bool popper_look(struct person *);

/* trouble.c */
void trouble_begin(struct room *);              /* from now on things go wrong, as the plan has it */
void trouble_end(struct room *);                /* and from now on no more: everything is whole again */
int caretaker_main(void *server);               /* starts a server again that has ended, unless it is to stay down */

#endif
