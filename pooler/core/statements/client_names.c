/* The names of one client's prepared statements, and the journal of changes that are not answered yet. */
#include "statements/client_names.h"

#include <stdlib.h>
#include <string.h>

#include "session/settings.h"
#include "sql/digest.h"
#include "sql/lexer.h"
#include "statements/statement_store.h"
#include "tables/server_statements.h"

static uint32_t hash_name(const struct names *n, const char *text, uint32_t bytes) {
    return (uint32_t)(lexer_hash(n->key, (const unsigned char *)text, bytes) >> 32);
}

struct name *names_find(const struct names *n, const char *text, uint32_t bytes) {
    if (!n || !n->count) return NULL;
    uint32_t hash = hash_name(n, text, bytes);
    for (struct name *at = n->buckets[hash & (n->capacity - 1)]; at; at = at->next)
        if (at->hash == hash && at->bytes == bytes && memcmp(at->text, text, bytes) == 0) return at;
    return NULL;
}

static void link_same(struct names *n, struct name *name) {
    struct name **place = &n->by_digest[name->statement->digest.low & (n->capacity - 1)];
    name->next_same = *place;
    name->place_same = place;
    if (*place) (*place)->place_same = &name->next_same;
    *place = name;
}

static void unlink_same(struct name *name) {
    *name->place_same = name->next_same;
    if (name->next_same) name->next_same->place_same = name->place_same;
}

/* Without memory chains become longer. */
static void names_grow(struct names *n) {
    struct name **old = n->buckets;
    uint32_t before = n->capacity, capacity = before ? before * 2 : 8;
    struct name **buckets = calloc(capacity, sizeof *buckets),
                **by_digest = calloc(capacity, sizeof *by_digest);
    if (!buckets || !by_digest) {
        free(buckets);
        free(by_digest);
        return;
    }
    free(n->by_digest);
    n->capacity = capacity;
    n->buckets = buckets;
    n->by_digest = by_digest;
    for (uint32_t b = 0; b < before; b++)
        for (struct name *at = old[b], *next; at; at = next) {
            next = at->next;
            at->next = n->buckets[at->hash & (n->capacity - 1)];
            n->buckets[at->hash & (n->capacity - 1)] = at;
            link_same(n, at);
        }
    free(old);
}

static void link_name(struct names *n, struct name *name) {
    struct name **bucket = &n->buckets[name->hash & (n->capacity - 1)];
    name->next = *bucket;
    *bucket = name;
    link_same(n, name);
    n->count++;
}

/* False: it is not there. */
static bool unlink_name(struct names *n, struct name *name) {
    if (!n->capacity) return false;
    struct name **at = &n->buckets[name->hash & (n->capacity - 1)];
    while (*at && *at != name) at = &(*at)->next;
    if (!*at) return false;
    *at = name->next;
    unlink_same(name);
    n->count--;
    return true;
}

static struct pending *pending_of(struct names *n, uint32_t hash) {
    struct pending *p = &n->pending[hash % PENDING_BUCKETS];
    if (p->pipeline != n->pipeline) { /* what was of the pipeline under way is of an earlier one now */
        p->pipeline = n->pipeline;
        p->of_pipeline = 0;
    }
    return p;
}

static void note_change(struct names *n, struct change *c, struct name *name, bool added) {
    *c = (struct change){.added = added, .pipeline = n->pipeline, .hash = name->hash, .name = name};
    if (!added) name->removal = c;
    if (n->last) n->last->next = c;
    else n->first = c;
    n->last = c;
    struct pending *p = pending_of(n, name->hash);
    p->all++;
    p->of_pipeline++;
}

static uint64_t name_cost(const struct name *name) {
    return sizeof *name + name->bytes + 2 * sizeof(struct change);
}

/* Settings that many share count for each: they are small, unless somebody makes many of them. */
static uint64_t text_cost(const struct statement *s) { return sizeof *s + s->bytes + s->under->bytes; }

/* Counts a name that is not linked yet, and its text if no other name of the client has it. */
static void count_name(struct names *n, struct name *name) {
    struct name *other = n->by_digest[name->statement->digest.low & (n->capacity - 1)];
    while (other && other->statement != name->statement) other = other->next_same;
    name->next_of_text = other ? other->next_of_text : name;
    name->previous_of_text = other ? other : name;
    name->next_of_text->previous_of_text = name;
    name->previous_of_text->next_of_text = name;
    n->kept_bytes += name_cost(name) + (other ? 0 : text_cost(name->statement));
}

static void uncount_name(struct names *n, struct name *name) {
    bool last = name->next_of_text == name;
    name->next_of_text->previous_of_text = name->previous_of_text;
    name->previous_of_text->next_of_text = name->next_of_text;
    n->kept_bytes -= name_cost(name) + (last ? text_cost(name->statement) : 0);
}

/* Notes a name, which takes over the reference to `s`; to be confirmed or undone.  False: no memory, nothing
 * is noted. */
bool names_set(struct names *n, const char *text, uint32_t bytes, struct statement *s, uint64_t made) {
    struct name *name = calloc(1, sizeof *name + bytes);
    struct change *added = malloc(sizeof *added), *spare = malloc(sizeof *spare);
    if (n->count >= n->capacity) names_grow(n);
    if (!name || !added || !spare || !n->capacity) {
        free(name);
        free(added);
        free(spare);
        return false;
    }
    name->statement = s;
    name->spare = spare;
    name->made = made;
    name->hash = hash_name(n, text, bytes);
    name->bytes = (uint16_t)bytes;
    memcpy(name->text, text, bytes);
    count_name(n, name);
    link_name(n, name);
    note_change(n, added, name, true);
    return true;
}

/* Forgets a name; to be confirmed or undone. */
void names_unset(struct names *n, struct name *name) {
    if (!unlink_name(n, name)) return;
    note_change(n, name->spare, name, false);
    name->spare = NULL;
}

static bool is_called(const struct name *name, const char *text, uint32_t bytes) {
    return name && name->bytes == bytes && memcmp(name->text, text, bytes) == 0;
}

/* Whether an earlier pipeline, which may still fail, makes or closes this name, or one with a similar hash:
 * what says it now has to wait.  It does not matter how many changes there are. */
bool names_unconfirmed(struct names *n, const char *text, uint32_t bytes) {
    if (!n || !n->first) return false;
    const struct pending *p = pending_of(n, hash_name(n, text, bytes));
    return p->all > p->of_pipeline;
}

/* All that earlier pipelines did to names has been answered. */
bool names_confirmed(const struct names *n) { return !n || !n->first || n->first->pipeline == n->pipeline; }

/* The same as names_find(), before all changes in the journal. */
struct name *names_find_old(const struct names *n, const char *text, uint32_t bytes) {
    for (const struct change *c = n->first; c; c = c->next)
        if (is_called(c->name, text, bytes)) return c->added ? NULL : c->name;
    return names_find(n, text, bytes);
}

static struct change *take_change(struct names *n) {
    struct change *c = n->first;
    n->first = c->next;
    if (!n->first) n->last = NULL;
    struct pending *p = pending_of(n, c->hash);
    p->all--;
    if (c->pipeline == n->pipeline) p->of_pipeline--;
    return c;
}

static void name_free(struct statement_store *store, struct names *n, struct name *name) {
    if (n->bound == name) n->bound = NULL;
    if (n->used == name) n->used = NULL;
    if (n->taken == name) n->taken = NULL;
    if (name->place_confirmed) *name->place_confirmed = name->next_confirmed;
    if (name->next_confirmed) name->next_confirmed->place_confirmed = name->place_confirmed;
    uncount_name(n, name);
    statement_drop(store, name->statement);
    free(name->spare);
    free(name);
}

static void confirm(struct names *n, struct name *name) {
    name->next_confirmed = n->confirmed;
    name->place_confirmed = &n->confirmed;
    if (n->confirmed) n->confirmed->place_confirmed = &name->next_confirmed;
    n->confirmed = name;
}

/* The oldest change has been answered: it holds. */
void names_confirm(struct statement_store *store, struct names *n) {
    if (!n || !n->first) return;
    struct change *c = take_change(n);
    if (c->name && c->added) confirm(n, c->name);
    else if (c->name) name_free(store, n, c->name);
    free(c);
}

/* The oldest `changes` changes were skipped: undone, the latest first.  False: they do not fit to the
 * names. */
bool names_undo(struct statement_store *store, struct names *n, uint32_t changes) {
    struct change *reversed = NULL;
    bool fits = true;
    while (n && n->first && changes--) {
        struct change *c = take_change(n);
        c->next = reversed;
        reversed = c;
    }
    while (reversed) {
        struct change *c = reversed;
        reversed = c->next;
        if (c->name && c->added && !unlink_name(n, c->name)) {
            fits = false; /* whatever it is, it may be in use: rather lost than freed twice */
        } else if (c->name && c->added) {
            name_free(store, n, c->name);
        } else if (c->name) {
            c->name->removal = NULL;
            c->name->spare = c;
            link_name(n, c->name);
            continue;
        }
        free(c);
    }
    return fits;
}

/* DEALLOCATE ALL, DISCARD ALL: the names are gone that were there when it was sent.  What the journal has was
 * sent behind it: names that are made there stay; those that are closed there are gone already, and the
 * change stays, void, for its answer. */
void names_clear(struct statement_store *store, struct names *n) {
    for (struct name *at = n ? n->confirmed : NULL, *next; at; at = next) {
        next = at->next_confirmed;
        if (at->removal) at->removal->name = NULL;
        else unlink_name(n, at);
        name_free(store, n, at);
    }
    if (n && !n->count && !n->first) n->floating = false;
}

void names_free(struct statement_store *store, struct names *n) {
    if (!n) return;
    while (n->first) names_confirm(store, n);
    names_clear(store, n);
    settings_drop(store->settings, n->unnamed_under);
    free(n->buckets);
    free(n->by_digest);
    free(n->unnamed);
    free(n);
}

/* The client has parsed an unnamed statement under these settings (NULL: unknown).  False: no
 * memory. */
bool names_keep_unnamed(struct statement_store *store, struct names *n, const unsigned char *body,
                        uint32_t bytes, struct settings *under) {
    n->unnamed_number++;
    n->unnamed_live = true;
    n->unnamed_kept = bytes <= UNNAMED_BYTES_MAX && under;
    settings_drop(store->settings, n->unnamed_under);
    n->unnamed_under = n->unnamed_kept ? settings_keep(under) : NULL;
    if (!n->unnamed_kept) return true;
    if (bytes > n->unnamed_space) {
        free(n->unnamed);
        n->unnamed_space = bytes < 256 ? 256 : bytes;
        n->unnamed_kept = (n->unnamed = malloc(n->unnamed_space)) != NULL;
        if (!n->unnamed_kept) n->unnamed_space = n->unnamed_bytes = 0;
    }
    if (!n->unnamed_kept) return false;
    memcpy(n->unnamed, body, bytes);
    n->unnamed_bytes = bytes;
    return true;
}

/* The name under which a client knows what a server has under this number, to tell it of an error in its own
 * words. */
const struct name *names_of_number(const struct names *n, const struct prepared_set *set, uint32_t number) {
    struct digest found, *d = &found;
    if (n && n->used && n->used_number == number) return n->used;
    if (n && n->taken && n->taken_number == number) return n->taken;
    if (!prepared_digest(set, number, d)) return NULL;
    const struct name *at = n && n->capacity ? n->by_digest[d->low & (n->capacity - 1)] : NULL;
    while (at && !digest_is(&at->statement->digest, d)) at = at->next_same;
    return at;
}
