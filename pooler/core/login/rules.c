/* The rules of auth_hba_file: which one decides (see rules.h). */
#include "login/rules.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define IPV4_BYTES 4
#define IPV6_BYTES 16

bool rules_address(const char *text, uint8_t *family, unsigned char address[16]) {
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96 */
    char bare[INET6_ADDRSTRLEN];
    size_t n = strcspn(text, "%");
    if (n >= sizeof(bare)) return false;
    memcpy(bare, text, n);
    bare[n] = 0;
    memset(address, 0, IPV6_BYTES);
    *family = 4;
    if (inet_pton(AF_INET, bare, address) == 1) return true;
    if (inet_pton(AF_INET6, bare, address) != 1) return false;
    if (memcmp(address, mapped, sizeof(mapped)) != 0) {
        *family = 6;
        return true;
    }
    memmove(address, address + sizeof(mapped), IPV4_BYTES);
    memset(address + IPV4_BYTES, 0, IPV6_BYTES - IPV4_BYTES);
    return true;
}

static bool is_within(const struct rule *rule, const struct rule_client *c) {
    if (!rule->family) return true;
    if (rule->family != c->family) return false;
    uint32_t n = rule->family == 4 ? IPV4_BYTES : IPV6_BYTES;
    for (uint32_t i = 0; i < n; i++)
        if ((c->address[i] & rule->mask[i]) != rule->address[i]) return false;
    return true;
}

static bool comes_so(const struct rule *rule, const struct rule_client *c) {
    switch (rule->kind) {
    case RULE_LOCAL: return !c->family;
    case RULE_HOST: break;
    case RULE_HOSTSSL:
        if (!c->tls) return false;
        break;
    case RULE_HOSTNOSSL:
        if (c->tls) return false;
        break;
    default: return false;
    }
    return c->family && is_within(rule, c);
}

/* `other` is the user where `name` is a database, and the reverse. */
static bool has_name(uint8_t words, const struct name_set *names, const char *name, const char *other) {
    if (words & RULE_ALL) return true;
    if ((words & RULE_SAMEUSER) && strcmp(name, other) == 0) return true;
    return names_get(names, name) != NULL;
}

static bool fits(const struct rule *rule, const struct rule_client *c) {
    if (!comes_so(rule, c)) return false;
    if (c->physical_replication) {
        if (!(rule->database_words & RULE_REPLICATION)) return false;
    } else if (!has_name(rule->database_words, &rule->databases, c->database, c->user)) return false;
    return has_name(rule->user_words, &rule->users, c->user, c->database);
}

const struct rule *rules_find(const struct rules *r, const struct rule_client *c) {
    for (uint32_t i = 0; i < r->count; i++)
        if (fits(&r->rules[i], c)) return &r->rules[i];
    return NULL;
}

void rules_free(struct rules *r) {
    for (uint32_t i = 0; i < r->count; i++) {
        names_free_all(&r->rules[i].databases, NULL);
        names_free_all(&r->rules[i].users, NULL);
    }
    free(r->rules);
    r->rules = NULL;
    r->count = 0;
}
