/* Statements that reset something, which a client has parsed in session pooling.
 *
 * Nothing is known of its statements there, but a RESET has to lead back to the values of the client's
 * startup packet whenever it runs: drivers prepare once what they run again and again.  What a Bind by such a
 * name runs is looked up here; a name that is used for another statement meanwhile costs a question that
 * finds nothing. */
#include "session/parsed_resets.h"

#include <stdlib.h>
#include <string.h>

#include "relay/internal.h"
#include "sql/effects.h"
#include "sql/scan.h"

#define PARSED_RESETS_MAX 64 /* of one client: the oldest is forgotten */

static struct parsed_reset **place_of(struct client *c, const char *name) {
    struct parsed_reset **at = &c->parsed_resets;
    while (*at && strcmp((*at)->text, name) != 0) at = &(*at)->next;
    return at;
}

static void forget(struct parsed_reset **at) {
    struct parsed_reset *gone = *at;
    *at = gone->next;
    free(gone);
}

/* The client parses a statement by this name, which resets something or does not.  False: no memory. */
bool parsed_resets_note(struct client *c, const char *name, const struct scan *scan) {
    struct parsed_reset **at = place_of(c, name);
    bool resets = scan->effect_flags & (EFFECT_RESET | EFFECT_RESET_ALL);
    /* a Parse of a name may be refused, or skipped; the unnamed statement is gone with the next one */
    if (*at && (!*name || resets)) forget(at);
    if (!resets) return true;
    uint32_t name_bytes = (uint32_t)strlen(name) + 1, count = 0, next = 0;
    struct parsed_reset *p = malloc(sizeof *p + name_bytes + scan->names_bytes);
    char kind;
    const char *setting;
    if (!p) return false;
    *p = (struct parsed_reset){.next = c->parsed_resets, .name_bytes = name_bytes, .bytes = name_bytes};
    p->effect_flags = scan->effect_flags & (EFFECT_RESET | EFFECT_RESET_ALL);
    memcpy(p->text, name, name_bytes);
    while (scan_next_name(scan->names, scan->names_bytes, &next, &kind, &setting)) {
        uint32_t n = (uint32_t)strlen(setting) + 1;
        if (kind != 'r') continue;
        p->text[p->bytes] = kind;
        memcpy(p->text + p->bytes + 1, setting, n);
        p->bytes += n + 1;
    }
    c->parsed_resets = p;
    for (at = &c->parsed_resets; *at && count < PARSED_RESETS_MAX; at = &(*at)->next) count++;
    if (*at) forget(at);
    return true;
}

/* What a statement of that name resets; NULL: nothing. */
const struct parsed_reset *parsed_resets_find(const struct client *c, const char *name) {
    const struct parsed_reset *p = c->parsed_resets;
    while (p && strcmp(p->text, name) != 0) p = p->next;
    return p;
}

void parsed_resets_free(struct client *c) {
    while (c->parsed_resets) forget(&c->parsed_resets);
}
