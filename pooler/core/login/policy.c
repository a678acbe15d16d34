/* What the configuration says of logins: its life, and what is looked up in it (see policy.h). */
#include "login/policy.h"

#include <stdlib.h>
#include <string.h>

#include "login/crypto.h"
#include "login/packet.h"

struct policy *policy_new(const uint64_t key[2]) {
    struct policy *p = calloc(1, sizeof(*p));
    if (!p) return NULL;
    p->references = 1;
    struct name_set *sets[] = {&p->secrets, &p->databases, &p->users, &p->consoles, &p->ignored};
    for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) memcpy(sets[i]->key, key, sizeof(sets[i]->key));
    return p;
}

struct policy *policy_keep(struct policy *p) {
    __atomic_add_fetch(&p->references, 1, __ATOMIC_RELAXED);
    return p;
}

static void free_secret(void *secret) { secret_free(secret); }

void policy_drop(struct policy *p) {
    if (!p || __atomic_sub_fetch(&p->references, 1, __ATOMIC_ACQ_REL)) return;
    names_free_all(&p->secrets, free_secret);
    names_free_all(&p->databases, free);
    names_free_all(&p->users, free);
    names_free_all(&p->consoles, NULL);
    names_free_all(&p->ignored, NULL);
    rules_free(&p->rules);
    if (p->tls) SSL_CTX_free(p->tls);
    free(p->notice);
    free(p);
}

static void *value_of(const struct name_set *s, const char *name) {
    struct name_entry *entry = names_get(s, name);
    return entry ? entry->value : NULL;
}

bool policy_is_console(const struct policy *p, const char *database) {
    return names_get(&p->consoles, database) != NULL;
}

const struct policy_database *policy_find(const struct policy *p, const char *database) {
    const struct policy_database *found = value_of(&p->databases, database);
    if (policy_is_console(p, database)) return NULL;
    if (found || !p->settings.has_automatic) return found;
    return *database && strlen(database) <= DATABASE_BYTES_MAX ? &p->automatic : NULL;
}

bool policy_follows(const struct policy *p, const char *database, const char *user) {
    const struct policy_database *d = policy_find(p, database);
    if (!d) return false;
    const struct policy_user *u = value_of(&p->users, d->forced_user && *d->user ? d->user : user);
    return u && u->has_follows ? u->follows : d->follows;
}

struct secret *policy_secret(const struct policy *p, const char *user) { return value_of(&p->secrets, user); }

static bool is_same(const struct secret *a, const struct secret *b) {
    return a->kind == b->kind && a->raw_bytes == b->raw_bytes
        && memcmp(secret_raw(a), secret_raw(b), a->raw_bytes) == 0;
}

void policy_keep_keys(struct policy *p, struct secret *s, const struct scram_keys *keys,
                      uint32_t iterations) {
    struct secret *oldest = p->derived[p->derived_at];
    if (!s->derived) {
        if (oldest) {
            oldest->derived = false;
            crypto_wipe(&oldest->keys, sizeof(oldest->keys));
        }
        p->derived[p->derived_at] = s;
        p->derived_at = (p->derived_at + 1) % DERIVED_MAX;
    }
    s->keys = *keys;
    s->derived_iterations = iterations;
    s->derived = true;
}

void policy_inherit(struct policy *p, const struct policy *old) {
    for (uint32_t i = 0; i < old->secrets.capacity; i++) {
        const struct name_entry *entry = &old->secrets.entries[i];
        const struct secret *known = entry->name ? entry->value : NULL;
        if (!known || !known->derived) continue;
        struct secret *s = policy_secret(p, entry->name);
        if (s && !s->derived && is_same(s, known))
            policy_keep_keys(p, s, &known->keys, known->derived_iterations);
    }
}
