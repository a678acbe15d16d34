/* What a worker knows of one database: see database.c. */
#ifndef POOLER_CATALOG_DATABASE_H
#define POOLER_CATALOG_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/catalog_names.h"
#include "sql/effects.h"

struct relay;

#define PROFILE_CHECK_US 2000000u /* the catalogs are looked at again after this, where there is traffic */
#define CUSTOM_NAMES_MAX 512      /* names of settings with a dot that this worker has met in one database */
#define ABSENT_MAX 64
#define LEARNT_MAX 4096 /* names that are known to be in no catalog; then all are learnt again */

/* A name that was called and is in no catalog, and when it was first. */
struct absent { uint64_t hash, at; };

/* A name of a setting with a dot; lasting: the catalogs have it. */
struct custom {
    char *name;
    bool lasting;
};

/* What one worker knows of one database. */
struct profile {
    struct words words; /* what was called and is in no catalog */
    struct catalog catalog;
    uint32_t row_generation; /* the row may have become another database's */
    uint32_t serial;         /* changes with what texts are judged by */
    uint32_t everything;     /* effect flags of every statement: what no word tells of */
    /* dblink or postgres_fdw: their connections are the session's, and nothing asks for them */
    bool connects;
    /* code in languages whose interpreters keep variables; nothing asks for those either */
    bool interpreters;
    struct absent absent[ABSENT_MAX];
    uint32_t absent_count, absent_next, learnt;
    bool folds;             /* something in its catalogs may leave a setting of its client in a plan */
    bool nameless;          /* something in its catalogs may set settings whose names are not in its text */
    struct custom *customs; /* most databases have none */
    int custom_count, custom_space;
    uint32_t victim; /* whose place a new name takes when there are too many */
};

bool profile_custom(struct profile *p, const char *name, bool lasting);
bool profile_ready(struct relay *r, int32_t pool);
struct profile *profile_of(struct relay *r, int32_t pool);
void profile_unknown(struct relay *r, int32_t pool, const uint64_t *unknown, uint32_t count,
                     uint32_t *effect_flags, uint32_t *ends);

#endif
