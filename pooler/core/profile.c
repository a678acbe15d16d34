/* What a database's catalogs say about words: which functions may leave something behind in a session, which tables
 * and views call such functions, and that all other functions are harmless.  Read once, and again when the catalogs'
 * fingerprint has changed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"

static struct database_row *database_of(const struct relay *r, const struct server *s) {
    return &r->t->databases[r->t->pools[r->t->slots[s->slot].pool].database];
}

/* A name of a setting with a dot: pg_settings does not show it, so it has to be asked for by name.  When there are too
 * many, the oldest goes that only statements have said. */
void profile_custom(struct profile *p, const char *name, bool lasting) {
    for (int i = 0; i < p->custom_count; i++)
        if (strcmp(p->customs[i].name, name) == 0) {
            p->customs[i].lasting |= lasting;
            return;
        }
    uint32_t at = (uint32_t)p->custom_count;
    if (p->custom_count < CUSTOM_NAMES_MAX) {
        p->custom_count++;
    } else {
        for (int tries = 0; tries < CUSTOM_NAMES_MAX; tries++) {
            at = p->victim++ % CUSTOM_NAMES_MAX;
            if (!p->customs[at].lasting) break;
        }
        free(p->customs[at].name);
    }
    p->customs[at].lasting = lasting;
    if (!(p->customs[at].name = strdup(name))) abort();   /* out of memory */
}

static void forget(struct relay *r, struct profile *p) {
    words_free(&p->words);
    words_free(&p->next);
    for (int i = 0; i < p->custom_count; i++) free(p->customs[i].name);
    *p = (struct profile){.serial = ++r->profile_serial};
}

struct profile *profile_of(struct relay *r, int32_t pool) {
    int32_t row = r->t->pools[pool].database;
    struct profile **p = &r->profiles[row];
    if (!*p && !(*p = calloc(1, sizeof **p))) abort();   /* out of memory */
    if ((*p)->row_generation != r->t->databases[row].generation) forget(r, *p);
    (*p)->row_generation = r->t->databases[row].generation;
    (*p)->words.key = r->builtin.key;
    return *p;
}

static struct profile *of_server(struct relay *r, const struct server *s) {
    return profile_of(r, r->t->slots[s->slot].pool);
}

/* What the client's statements did cannot be told with the words that we have. */
bool profile_stale(struct relay *r, const struct server *s) {
    const struct profile *p = of_server(r, s);
    return p->loaded && (s->session.unknown_count || p->version != database_of(r, s)->schema_version);
}

/* It is time to look whether the catalogs are as they were. */
bool profile_due(struct relay *r, const struct server *s) {
    const struct profile *p = of_server(r, s);
    return !p->checked_at || r->now > p->checked_at + PROFILE_CHECK_US;
}

void profile_check(struct relay *r, struct server *s) {
    struct profile *p = of_server(r, s);
    p->version = database_of(r, s)->schema_version;
    p->checked_at = r->now;
    p->next_fingerprint[0] = '\0';
    server_own(r, s, OWN_FINGERPRINT, r->questions[QUESTION_FINGERPRINT], true);
}

/* Rows: `f` fingerprint, `k` harmless function, `d` word that may leave anything, `o` one that may set a setting
 * whose name nobody knows, `l` one that loads a library or the like, `s` one that counts by a sequence, `q` one that
 * reads sequences, `n` name of a custom setting, `x` a call that tells of dblink's connections, `e` no word tells (`o`: nor the name of the setting). */
void profile_row(struct relay *r, struct server *s, const unsigned char *const *fields, const uint32_t *bytes,
                 int count) {
    char name[128];
    if (count < 2 || !fields[1] || bytes[1] >= sizeof name) return;
    struct profile *p = of_server(r, s);
    memcpy(name, fields[1], bytes[1]);
    name[bytes[1]] = '\0';
    struct word word = {.hash = word_hash(&r->builtin, name, bytes[1])};
    switch (fields[0][0]) {
    case 'f':
        snprintf(p->next_fingerprint, sizeof p->next_fingerprint, "%s", name);
        return;
    case 'n':
        profile_custom(p, name, true);
        return;
    case 'x':
        snprintf(p->next_connections, sizeof p->next_connections, "%s", name);
        return;
    case 'd': word.traits = word.ends = ASK_ALL; break;
    case 'o': word.traits = ASK_ALL | PIN_OPAQUE; word.ends = ASK_ALL; break;
    case 'l': word.traits = PIN_LOADED; break;
    case 's': word.traits = PIN_SEQUENCE; break;
    case 'q': word.traits = TRAIT_CURRVAL; break;
    case 'e': p->next_everything |= ASK_ALL | (name[0] == 'o' ? TRAIT_UNSURE : 0); return;
    case 'k': break;
    default: return;
    }
    words_add(&p->next, &word);
}

/* What was called and is in no catalog is no function: it will not be asked for again. */
static void learn_unknown(struct profile *p, struct session *x) {
    for (uint32_t i = 0; i < x->unknown_count; i++) {
        const struct word *known = words_find(&p->words, x->unknown[i]);
        if (known) {
            x->traits |= known->traits;
            x->ends |= known->ends;
        } else {
            words_add(&p->words, &(struct word){.hash = x->unknown[i]});
        }
    }
    x->unknown_count = 0;
    x->traits &= ~(uint32_t)TRAIT_UNKNOWN;
}

/* Nothing could be learned: what the statements did is asked for instead. */
void profile_failed(struct relay *r, struct server *s) {
    if (s->own_failed) of_server(r, s)->reader = 0;
    s->session.unknown_count = 0;
    if (s->client) s->session.traits |= ASK_ALL;
}

/* The fingerprint, or the whole, has come.  True: the whole has to be read now. */
bool profile_answered(struct relay *r, struct server *s, bool loaded) {
    struct profile *p = of_server(r, s);
    struct session *x = &s->session;
    if (loaded) {
        p->reader = 0;
        p->everything = p->next_everything;
        memcpy(p->connections, p->next_connections, sizeof p->connections);
        words_free(&p->words);
        p->words = p->next;
        p->next = (struct words){0};
        memcpy(p->fingerprint, p->next_fingerprint, sizeof p->fingerprint);
        p->loaded = true;
        p->serial = ++r->profile_serial;
        if (s->client) x->traits |= ASK_ALL;   /* its statements were looked at with old words */
    } else if (!p->loaded || strcmp(p->fingerprint, p->next_fingerprint) != 0) {
        if (p->reader > r->now) {   /* another server is telling */
            profile_failed(r, s);
            return false;
        }
        p->reader = r->now + PROFILE_CHECK_US;
        words_free(&p->next);
        p->next.key = r->builtin.key;
        p->next_everything = 0;
        p->next_connections[0] = '\0';
        return true;
    }
    learn_unknown(p, x);
    return false;
}
