/* The settings of a session as interned sets: comparing two is comparing digests (SipHash under the key of
 * the tables, 128 bits: no client can make its set pass for another's).
 *
 * A set has the values of the tracked parameters (client_encoding, TimeZone, ...), which the server reports
 * itself, and behind them `extras`: all other settings that the session has changed, as the server told when
 * it was asked (session.h), or the client in its startup packet. */
#ifndef POOLER_SESSION_SETTINGS_H
#define POOLER_SESSION_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/digest.h"

#define TRACKED_MAX 32
#define SETTINGS_BYTES 16384 /* all values of one client together; a larger set cannot follow its client */
#define EXTRAS_MAX 128

/* The pool that a set belongs to, so that what a server said of it counts for no other
 * (accepted_settings.h). */
struct settings_scope {
    int32_t database, user, instance;
    uint32_t database_generation, user_generation, instance_generation;
};

struct settings {
    struct settings *next; /* in the same bucket */
    struct settings_scope scope;
    /* if `remembered`: what a server made of these values of a startup packet; NULL: the same */
    struct settings *canonical;
    struct digest digest;
    struct digest literals; /* of what may decide how a statement is read when it is parsed; */
    struct digest run;      /* of that, and of what may decide its names and its plan, when it is run */
    uint32_t references;
    unsigned char *reports; /* if `remembered`: ParameterStatus messages of others that the server reports */
    uint32_t reports_bytes;
    uint32_t welcome_version; /* if `remembered`: of the pool's row then */
    bool remembered;          /* a server has accepted them from a startup packet */
    bool backslash;           /* standard_conforming_strings is off */
    bool misleading; /* a byte of a character of the client's encoding can look like a letter of SQL */
    bool particular; /* a server that has used temporary tables would refuse it */
    bool verified;   /* a server has accepted these values: they may be sent ahead of a statement */
    /* of values[]: tracked_count NUL-terminated texts, then names and values */
    uint32_t bytes, tracked_bytes;
    char values[];
};

struct tracked {
    int count;
    char *names[TRACKED_MAX];
};

struct settings_store {
    struct tracked tracked;
    uint64_t key[2];
    uint32_t count, capacity;
    bool starved; /* there was no memory for the last set */
    struct settings **buckets;
};

void settings_open(struct settings_store *store, const uint64_t key[2], const char *const *names, int count);
struct settings *settings_intern(struct settings_store *store, const struct settings_scope *scope,
                                 const char *values, uint32_t bytes, bool verified);
bool settings_starved(const struct settings_store *store);
struct settings *settings_keep(struct settings *s);
void settings_drop(struct settings_store *store, struct settings *s);
struct settings *settings_change(struct settings_store *store, const struct settings *from, const char *name,
                                 const char *value);
struct settings *settings_with_extras(struct settings_store *store, const struct settings *from,
                                      const char *pairs, uint32_t bytes);
struct settings *settings_extra(struct settings_store *store, const struct settings *from, const char *name,
                                const char *value);
bool settings_next_extra(const struct settings *s, const char **name, const char **value);
const char *settings_find_extra(const struct settings *s, const char *name);
bool settings_has_extras(const struct settings *s);
const char *settings_value(const struct settings_store *store, const struct settings *s, const char *name);
bool settings_tracked(const struct settings_store *store, const char *name);
uint32_t settings_statement(const struct settings_store *store, const struct settings *s, bool reset,
                            char *out, uint32_t space);
uint32_t settings_select(const struct settings_store *store, const struct settings *s, char *out,
                         uint32_t space);
uint32_t settings_assign_all(const struct settings_store *store, const struct settings *s, char *out,
                             uint32_t space);
uint32_t settings_assign(const struct settings_store *store, const struct settings *s, const char *name,
                         char *out, uint32_t at, uint32_t space);
uint32_t settings_assign_unset(const struct settings_store *store, const struct settings *s, const char *name,
                               char *out, uint32_t at, uint32_t space);

#endif
