/* The table of settings: what parses the file, writes the sample and the manual, and is what errors quote. */
#ifndef THURN_CONFIG_SETTINGS_H
#define THURN_CONFIG_SETTINGS_H

#include "config/config.h"

enum setting_kind {
    SETTING_HOST,           /* const char *: a domain name */
    SETTING_PATH,           /* const char *: begins with '/' */
    SETTING_WORD,           /* const char *: any text on one line */
    SETTING_MAILBOX,        /* const char *: an e-mail address */
    SETTING_IP,             /* const char *: a numeric address */
    SETTING_ROUTE_DOMAIN,   /* const char *: "example.org", ".example.org", "*" */
    SETTING_ROUTE_HOST,     /* const char *: a domain name, "[192.0.2.1]" or a path */
    SETTING_BYTE,           /* char: one ASCII mark, or "none" */
    SETTING_FLAG,           /* bool: yes or no */
    SETTING_EITHER,         /* bool: one of two words, `words`: the false one first */
    SETTING_CHOICE,         /* int: one of `words`, from 0 */
    SETTING_NUMBER,         /* uint32_t */
    SETTING_PORT,           /* uint16_t */
    SETTING_SIZE,           /* uint64_t in bytes: "50M" */
    SETTING_DURATION,       /* uint32_t in seconds: "4h" */
    SETTING_DAYS,           /* uint32_t in days: "30d" */
    SETTING_SERVERS,        /* const char *const * and a size_t after it: "192.0.2.1@53" */
    SETTING_LISTENERS,      /* a map of protocols: config.c */
    SETTING_ROUTES,         /* a list of maps: config.c */
    SETTING_KINDS,
};

struct setting {
    const char *name;               /* "tls.certificate": in the section tls */
    enum setting_kind kind;
    const char *preset;             /* default as it would be written; NULL: must be given, "none": nothing */
    size_t offset;                  /* in struct config, or in struct config_route */
    uint64_t min, max;              /* numbers, sizes, durations */
    const char *words;              /* "text json" */
    const char *sample;             /* for the sample file when the preset shows nothing */
    const char *text;               /* a sentence or more */
};

extern const struct setting config_settings[];
extern const size_t config_setting_count;
extern const struct setting config_route_settings[];
extern const size_t config_route_setting_count;

struct listener_row {
    const char *name;               /* as in the file */
    uint16_t port;                  /* the usual one */
    bool is_tls;                    /* TLS from the start */
    const char *text;
};
extern const struct listener_row config_listener_rows[LISTEN_PROTOCOLS];

#endif
