/* The names of one client's prepared statements: the theory stands in statement_store.h. */
#ifndef POOLER_STATEMENTS_CLIENT_NAMES_H
#define POOLER_STATEMENTS_CLIENT_NAMES_H

#include <stdbool.h>
#include <stdint.h>

struct prepared_set;
struct settings;
struct statement;
struct statement_store;

#define PENDING_BUCKETS 32

/* One client's names; allocated with the first. */
struct name {
    struct name *next;
    struct name *next_same, **place_same;           /* in by_digest */
    struct name *next_confirmed, **place_confirmed; /* place_confirmed NULL: its Parse is not answered yet */
    struct change *removal;                         /* of it, in the journal; NULL: it can be found */
    struct statement *statement;
    struct name *next_of_text, *previous_of_text; /* a ring of those with the same statement */
    struct change *spare;                         /* for its removal, which must not fail */
    uint64_t made; /* when its Parse was sent: older ones are of no use for it */
    uint32_t hash;
    uint32_t columns; /* hash of those of its result, as the client may know them; 0: unknown */
    uint16_t bytes;
    bool told; /* the client asked for them */
    char text[];
};
/* name: NULL: void */
struct change {
    struct change *next;
    bool added;
    uint32_t pipeline, hash;
    struct name *name;
};
/* How many changes in the journal are of names with one of these hashes: `all`, and those of `pipeline` among
 * them. */
struct pending { uint32_t all, of_pipeline, pipeline; };

struct names {
    uint64_t key; /* of the hashes: nobody can choose names that meet */
    struct name **buckets;
    struct name **by_digest; /* as many buckets */
    struct name *confirmed;  /* names whose Parse has been answered, removed ones too while that is not */
    uint32_t count, capacity;
    /* of names, their changes and texts, each text once; one that is made again while the Close of its last
     * name is not answered counts twice */
    uint64_t kept_bytes;
    struct pending pending[PENDING_BUCKETS];
    struct change *first, *last;        /* the journal, oldest first */
    uint32_t pipeline;                  /* Syncs that the client has sent since it has names */
    struct name *bound, *used;          /* what the last Bind used, and the last message of any kind */
    struct name *taken;                 /* what the last Parse of a name that is there was about */
    uint32_t used_number, taken_number; /* the server's, of `used` and `taken` */
    bool floating;                      /* some may be of such a statement */
    unsigned char *unnamed;             /* body of the unnamed Parse, */
    struct settings *unnamed_under;     /* and the settings of then */
    uint32_t unnamed_bytes, unnamed_space;
    uint64_t unnamed_number;         /* counts them: another server may have an earlier one */
    uint32_t unnamed_pipeline;       /* in which it was parsed here */
    bool unnamed_live, unnamed_kept; /* there is one; its text is in `unnamed` */
    bool unnamed_misleading;         /* as of a statement */
};

struct name *names_find(const struct names *n, const char *text, uint32_t bytes);
bool names_set(struct names *n, const char *text, uint32_t bytes, struct statement *s, uint64_t made);
void names_unset(struct names *n, struct name *name);
bool names_unconfirmed(struct names *n, const char *text, uint32_t bytes);
bool names_confirmed(const struct names *n);
struct name *names_find_old(const struct names *n, const char *text, uint32_t bytes);
void names_confirm(struct statement_store *store, struct names *n);
bool names_undo(struct statement_store *store, struct names *n, uint32_t changes);
void names_clear(struct statement_store *store, struct names *n);
void names_free(struct statement_store *store, struct names *n);
bool names_keep_unnamed(struct statement_store *store, struct names *n, const unsigned char *body,
                        uint32_t bytes, struct settings *under);
const struct name *names_of_number(const struct names *n, const struct prepared_set *set, uint32_t number);

#endif
