/* Expressions as PostgreSQL keeps them (pg_node_tree): what they refer to. */
#include "catalog/tree.h"

#include <string.h>
#include <unistd.h>

#include "catalog/body.h"
#include "catalog/customs.h"
#include "catalog/graph.h"
#include "sql/effects.h"

#define NEXTVAL 1574 /* nextval(regclass) */

static uint32_t number_at(const unsigned char **at, const unsigned char *end) {
    uint64_t n = 0;
    while (*at < end && (unsigned)(**at - '0') < 10)
        n = n > UINT32_MAX ? n : n * 10 + (uint64_t)(*(*at)++ - '0');
    return n > UINT32_MAX ? 0 : (uint32_t)n;
}

void tree_scan_oids(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n) {
    for (const unsigned char *at = text, *end = n ? text + n : text; at < end; at++) {
        uint32_t oid = number_at(&at, end);
        if (oid >= USER_OID) draft_reference(g, d, symbol_of_oid(oid));
    }
}

static bool ends_with(const unsigned char *field, uint32_t n, const char *tail) {
    uint32_t bytes = (uint32_t)strlen(tail);
    return n >= bytes && memcmp(field + n - bytes, tail, bytes) == 0;
}

/* [ 28 0 0 0 97 112 112 ... ]: a text, of which the first four bytes are its length. */
static void scan_constant(const unsigned char *at, const unsigned char *end, struct customs *customs) {
    unsigned char value[80];
    uint32_t n = 0;
    if (at >= end || *at != '[') return;
    for (at++; at < end && *at != ']' && n < sizeof value; at++)
        if ((unsigned)(*at - '0') < 10) value[n++] = (unsigned char)number_at(&at, end);
    if (n > 4 && n < sizeof value) customs_add(customs, value + 4, n - 4, false);
}

/* Every field whose value is an oid of something that a user made; of PostgreSQL's own functions and
 * relations matter. */
void tree_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool is_default,
               struct customs *customs) {
    /* nodes.h: UPDATE, which may say DEFAULT, INSERT, MERGE */
    static const char COMMAND[] = "commandType", WRITES[] = "235";
    if (!n) return;
    const unsigned char *end = text + n;
    for (const unsigned char *at = text; (at = memchr(at, ':', (size_t)(end - at)));) {
        const unsigned char *field = ++at;
        while (at < end && *at != ' ' && *at != ':') at++;
        uint32_t bytes = (uint32_t)(at - field);
        if (at >= end) return;
        if (*at == ':') continue;
        at++;
        if (ends_with(field, bytes, "location") || ends_with(field, bytes, "len")) continue;
        const unsigned char *value = at;
        uint32_t oid = number_at(&value, end);
        bool calls = ends_with(field, bytes, "funcid") || ends_with(field, bytes, "fnoid")
            || ends_with(field, bytes, "relid");
        if (is_default && oid == NEXTVAL) continue; /* who writes says so itself (EFFECT_INSERT) */
        if (bytes == sizeof COMMAND - 1 && memcmp(field, COMMAND, bytes) == 0 && strchr(WRITES, *at))
            d->effect_flags |= EFFECT_INSERT;
        if (oid >= USER_OID || (oid && calls)) draft_reference(g, d, symbol_of_oid(oid));
        if (end - at > 3 && at[0] == '(' && at[1] == 'o') { /* a list of oids */
            const unsigned char *close = memchr(at, ')', (size_t)(end - at));
            tree_scan_oids(g, d, at, (uint32_t)((close ? close : end) - at));
        }
        if (ends_with(field, bytes, "constvalue")) {
            number_at(&at, end);
            if (at < end) scan_constant(at + 1, end, customs);
        }
    }
}
